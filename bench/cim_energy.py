"""Energy per synaptic operation, in place against sequential, as a ratio, and what the assumptions do to it.

The paper's ratio is 1.1 to 16.7; its baselines and widths are not public: the figures here stand beside it, not for it.
"""

import dataclasses

from _common import data_folder, main, zoo_project
from cim_mnist import linear

from spikeloom.config import CimConfig, DataConfig
from spikeloom.mapping.cim_cost import CimCost
from spikeloom.mapping.cim_energy import EnergyParameters, energy_pj
from spikeloom.network.reference import simulate

INPUTS = 10
PAPER = (1.1, 16.7)


def measure() -> dict:
    """The figures of docs/cim.md."""
    data = DataConfig(set="mnist", path=str(data_folder("mnist")), inputs=INPUTS)
    project = linear(zoo_project("mnist8", data=data))
    inputs, network, steps = project.inputs(INPUTS), project.network, project.config.input.steps
    trace = simulate(network, inputs.spikes)
    cores = {
        "in_place": CimConfig(kind="cim"),
        "in_place_8_banks": CimConfig(kind="cim", banks=8),
        "sequential_1rw": CimConfig(kind="cim", update="sequential", ports="1rw"),
        "sequential_1r1w": CimConfig(kind="cim", update="sequential"),
        "sequential_lanes_8": CimConfig(kind="cim", update="sequential", lanes=8),
    }
    models = {name: CimCost(network, core, steps=steps) for name, core in cores.items()}
    reports = {name: model.cycles(inputs.spikes, trace.spikes) for name, model in models.items()}

    def per_sop(name: str, parameters: EnergyParameters) -> float:
        total = sum(energy_pj(models[name].plan, each, parameters)["total"] for each in reports[name])
        return total / sum(layer.sops for each in reports[name] for layer in each.layers)

    base = EnergyParameters.default()
    changes = {
        "as assumed": {},
        "divided word lines (no half-selected columns)": {"column_multiplex": 1.0},
        "column multiplex of 8": {"column_multiplex": 8.0},
        "whole row of 256 columns moves for a word": {"column_multiplex": 256 / 16},
        "row energy x 0.25": {"row_pj": base.row_pj / 4},
        "row energy x 4": {"row_pj": base.row_pj * 4},
        "column energy x 0.25": {"column_pj": base.column_pj / 4},
        "column energy x 4": {"column_pj": base.column_pj * 4},
        "bitlines x 0.25": {
            name: getattr(base, name) / 4 for name in ("read_pj_per_bit", "write_pj_per_bit", "half_select_pj_per_bit")
        },
        "standing power x 100": {"standing_pw_per_bit": base.standing_pw_per_bit * 100},
    }
    table = {}
    for what, change in changes.items():
        parameters = dataclasses.replace(base, **change)
        each = {name: per_sop(name, parameters) for name in cores}
        table[what] = {
            ours: {name: round(value / each[ours], 2) for name, value in each.items() if name.startswith("seq")}
            for ours in ("in_place", "in_place_8_banks")
        }
    return {
        "inputs": INPUTS,
        "parameters": base.name,
        "sources": base.sources,
        "pj_per_sop": {name: round(per_sop(name, base), 2) for name in cores},
        "parts_in_place": {
            part: round(value)
            for part, value in energy_pj(models["in_place"].plan, reports["in_place"][0], base).items()
        },
        "cycles": {name: round(sum(each.latency for each in reports[name]) / INPUTS) for name in cores},
        "ratio": table,
        "paper_ratio": PAPER,
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
