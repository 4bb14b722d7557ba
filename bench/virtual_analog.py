"""N-MNIST through a virtual core with analog engines on compiled RTL, against the integers of the chip; energy.

All held-out recordings one after the other, noise on; the model behind the ports is the exported SystemVerilog one.
Energy is that of the analog engines alone, over the cycles that the RTL took at the clock of the configuration.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
from _common import data_folder, main, scratch, zoo_project

from spikeloom.config import DataConfig, VirtualConfig
from spikeloom.errors import InputError
from spikeloom.export import elaborate
from spikeloom.network.reference import synaptic_operations
from spikeloom_analog.virtual import EngineParameters, virtual_chips
from spikeloom_sim.batch import compile_design

ALL = 1 << 30  # more recordings than there are
CORE = VirtualConfig(kind="virtual", engine="analog", engines=16, slots=256)


def measure() -> dict:
    """The figures."""
    data = DataConfig(set="nmnist", path=str(data_folder("nmnist")))
    project = zoo_project("nmnist", data=data, core=CORE)
    inputs, chips = project.inputs(ALL), project.virtual_chips
    labels = np.asarray(inputs.labels)
    fired = chips.run(inputs.spikes)
    expected = fired[-1][0]
    with scratch() as place:
        folder = Path(place, "build")
        design = compile_design(folder, elaborate(project, folder, inputs=project.inputs(2)))
        result = design.run(inputs.spikes, processes=1)
    energy = chips.energy(inputs.spikes, fired, cycles=result.cycles)
    sops = synaptic_operations(project.network, inputs.spikes, [layer[0] for layer in fired])
    items = {item: sum(each.items[item] for each in energy.values()) for item in next(iter(energy.values())).items}
    total, operations = sum(items.values()), int(sops.sum())
    assert result.decisions is not None

    def factor(name: str, times: float) -> float | None:
        """Energy with one parameter changed, over that without."""
        try:
            changed = replace(EngineParameters(), **{name: getattr(EngineParameters(), name) * times})
            other = virtual_chips(project.plan, parameters=changed).energy(inputs.spikes, fired, cycles=result.cycles)
        except InputError:
            return None  # such as a supply below the swing
        return round(sum(each.total for each in other.values()) / total, 3)

    assumed = [n for n, row in EngineParameters.describe().items() if row["assumed"] and type(row["default"]) is float]
    halved = {name: [factor(name, 0.5), factor(name, 2.0)] for name in assumed}
    return {
        "recordings": len(labels),
        "mismatches": {
            "spikes": int((result.spikes != expected).sum()),
            "decisions": int((result.decisions[:, 0] != expected.sum(axis=1).argmax(axis=1)).sum()),
        },
        "accuracy": float((result.decisions[:, 0] == labels).mean()),
        "cycles": result.cycles,
        "cycles_per_recording": round(result.cycles / len(labels), 1),
        "synaptic_operations": operations,
        "engine_nj_per_recording": round(total / len(labels) * 1e9, 3),
        "engine_items_nj": {item: round(joule / len(labels) * 1e9, 3) for item, joule in items.items()},
        "engine_fj_per_sop": round(total / operations * 1e15, 2),
        "energy_factor_of_half_and_double": {k: v for k, v in halved.items() if v != [1.0, 1.0]},
        "tail_ua": {name: round(each.tail * 1e6, 2) for name, each in chips.integrators.items()},
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
