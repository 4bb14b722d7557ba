"""All held-out N-MNIST recordings through compiled RTL: every output spike, every potential, accuracy and cycles.

Cycles are compared with the rows that the spikes touch: touched outputs / P, summed over all spikes. The engines of a
chain work at the same time, so the busiest one sets the pace and its sum is what the whole run is compared with; the
sums of the others stand beside it.
"""

from pathlib import Path

import numpy as np
from _common import data_folder, main, scratch, touched_rows, zoo_project

from spikeloom.config import DataConfig, DigitalConfig
from spikeloom.export import elaborate
from spikeloom.network.reference import simulate
from spikeloom.project import Inputs, Project
from spikeloom_sim.batch import compile_design

ALL = 1 << 30  # more than there are
PROBED = 10
"""Recordings of which every potential is compared."""


def measure() -> dict:
    """The figures."""
    data = DataConfig(set="nmnist", path=str(data_folder("nmnist")))
    project = zoo_project("nmnist", data=data)
    probed = zoo_project("nmnist", data=data, core=DigitalConfig(probe=True))
    return compare(project, probed, project.inputs(ALL))


def compare(project: Project, probed: Project, inputs: Inputs) -> dict:
    """Run `inputs` on the core of `project`, and the first of them on that of `probed`, which shows potentials."""
    network, plan = project.network, project.plan
    trace = simulate(network, inputs.spikes)
    decision = trace.decision()
    with scratch() as place:
        folder = Path(place, "plain")
        design = compile_design(folder, elaborate(project, folder))
        chained = design.run(inputs.spikes, processes=1)
        alone = design.run(inputs.spikes, isolated=True)
        folder = Path(place, "probed")
        shown = compile_design(folder, elaborate(probed, folder)).run(inputs.spikes[:PROBED])
    potentials = simulate(network, inputs.spikes[:PROBED], potentials=True).potentials
    assert potentials is not None
    assert chained.decisions is not None
    assert alone.decisions is not None
    decided = [chained.decisions[:, 0], alone.decisions[:, 0]]
    wrong = {
        "spikes": int(sum((run.spikes != trace.spikes[-1]).sum() for run in (chained, alone))),
        "decisions": int(sum((given != decision).sum() for given in decided)),
        "potentials": int(
            sum((shown.potentials[e.name] != v).sum() for e, v in zip(network.layers, potentials, strict=True))
        ),
    }
    rows = touched_rows(plan, inputs.spikes, trace.spikes)
    sums = {name: int(array.sum()) for name, array in rows.items()}
    busiest = max(sums, key=lambda name: sums[name])
    labels = np.asarray(inputs.labels)
    return {
        "recordings": len(labels),
        "steps": inputs.spikes.shape[1],
        "mismatches": wrong,
        "potentials_compared": int(sum(array.size for array in potentials)),
        "accuracy": float((decided[0] == labels).mean()),
        "accuracy_reference": float((decision == labels).mean()),
        "input_events": int(inputs.spikes.sum(dtype=np.int64)),
        "lanes": {engine.name: engine.lanes for engine in plan.layers},
        "touched_rows": sums,
        "cycles": chained.cycles,
        "busiest_layer": busiest,
        "cycles_over_touched": round(chained.cycles / sums[busiest], 4),
        "cycles_alone": int(alone.latency.sum()),
        "cycles_alone_over_touched": round(int(alone.latency.sum()) / sums[busiest], 4),
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
