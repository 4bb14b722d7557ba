"""The recurrent network on compiled RTL: test sequences, and one long input, every read-out and every potential.

`without_feedback` is what the same network reaches when it is trained without its recurrent weights, and
`feedback_cut` when they are taken out of the trained one; chance is one in three.
"""

import dataclasses
from pathlib import Path

import numpy as np
from _common import main, scratch, zoo_project

from spikeloom.config import DigitalConfig
from spikeloom.export import elaborate
from spikeloom.network import zoo
from spikeloom.network.integer import IntegerNetwork
from spikeloom.network.reference import Trace, simulate
from spikeloom.network.sequence import SYMBOLS, SequenceTask, long_input
from spikeloom_sim.batch import BatchResult, compile_design

LONG = 100  # sequences that make the long input
STALL = 20  # percent


def measure() -> dict:
    """The figures."""
    task = SequenceTask()
    project = zoo_project("recurrent", core=DigitalConfig(probe=True, readout="tick"))
    network, inputs = project.network, project.inputs(task.test)
    spikes, labels = inputs.spikes, np.asarray(inputs.labels)
    lasting = long_input(task, LONG)
    with scratch() as place:
        folder = Path(place, "recurrent")
        design = compile_design(folder, elaborate(project, folder))
        many = design.run(spikes, readout_ticks=True)
        single = design.run(lasting, readout_ticks=True)
        stalled = design.run(lasting, readout_ticks=True, stall=STALL, seed=1)
    trace, long_trace = (simulate(network, given, potentials=True) for given in (spikes, lasting))
    runs = [(many, trace), (single, long_trace), (stalled, long_trace)]
    counted = [compare(network, run, expected) for run, expected in runs]
    assert many.decisions is not None
    return {
        "sequences": len(labels),
        "steps": int(spikes.shape[0] * spikes.shape[1]),
        "steps_of_the_long_input": lasting.shape[1],
        "mismatches": {name: sum(count[name] for count in counted) for name in counted[0]},
        "potentials_compared": int(sum(array.size for _, expected in runs for array in expected.potentials or ())),
        "hidden_spikes": int(trace.spikes[0].sum(dtype=np.int64)),
        "accuracy": float((many.decisions[:, 0] == labels).mean()),
        "accuracy_reference": float((trace.decision() == labels).mean()),
        "feedback_cut": float((simulate(cut(network), spikes).decision() == labels).mean()),
        "without_feedback": zoo.settings("recurrent")["accuracy_without_feedback"],
        "chance": round(1 / SYMBOLS, 3),
        "cycles": many.cycles,
        "cycles_of_the_long_input": single.cycles,
    }


def compare(network: IntegerNetwork, run: BatchResult, trace: Trace) -> dict[str, int]:
    """How many numbers of the run are not those of the reference; hidden spikes show in what they reset and feed."""
    assert run.readouts is not None
    assert run.decisions is not None
    assert trace.potentials is not None
    assert trace.readout is not None
    return {
        "readouts": int((run.readouts != trace.readout).sum()),
        "decisions": int((run.decisions[:, 0] != trace.decision()).sum()),
        "potentials": int(
            sum((run.potentials[e.name] != v).sum() for e, v in zip(network.layers, trace.potentials, strict=True))
        ),
    }


def cut(network: IntegerNetwork) -> IntegerNetwork:
    """The network without its feedback."""
    hidden, *rest = network.layers
    return dataclasses.replace(network, layers=(dataclasses.replace(hidden, connections=hidden.connections[:1]), *rest))


if __name__ == "__main__":
    main(measure, __doc__ or "")
