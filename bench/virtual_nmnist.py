"""N-MNIST through the digital twin of a virtual core on compiled RTL: equality, cycles of a spike, use of issue slots.

Every network of the zoo for these recordings, all held-out recordings one after the other, against the reference and
the cost model.

What a spike costs is read from the time of the answer, less that of an input without spikes, whose ticks take one cycle
to be taken and looked up, too. `lone_spike`: one spike in the first step. It is taken and looked up in one cycle, its
rows follow, one per cycle, and the tick is looked up while the last one is issued: 1 + length cycles, of which the tick
waits for `length`. `back_to_back`: `RUN` spikes in the first step: the sum of their lengths, without a gap.
"""

from pathlib import Path

import numpy as np
from _common import data_folder, main, scratch, stream, zoo_project

from spikeloom.config import DataConfig, VirtualConfig
from spikeloom.export import elaborate
from spikeloom.mapping.virtual import VirtualPlan
from spikeloom.mapping.virtual_cost import VirtualCost, VirtualReport
from spikeloom.network import zoo
from spikeloom.project import Project
from spikeloom_sim.batch import CompiledDesign, compile_design

ALL = 1 << 30  # more recordings than there are
ENGINES, SLOTS, CLOCK_MHZ = 16, 256, 100.0
TIMED, RUN = 64, 16
"""Sets of spikes that are timed, and spikes of a set that come back to back."""


def event_cost(project: Project, design: CompiledDesign, count: int) -> dict:
    """By how many cycles `count` spikes in a step delay the answer, beyond the sum of their dispatch rows.

    A spike without rows counts as one of one row.
    """
    entry = project.plan.layers[0]
    assert isinstance(entry, VirtualPlan)
    rows = entry.touched_rows()[0]
    spikes = np.zeros((TIMED + 1, project.config.input.steps, len(rows)), np.uint8)
    for number in range(TIMED):
        spikes[1 + number, 0, stream(61, number).choice(len(rows), count, replace=False)] = 1
    lengths = spikes[1:, 0].astype(np.int64) @ np.maximum(rows, 1)
    result = design.run(spikes, isolated=True, processes=1)
    extra = result.latency[1:] - result.latency[0]
    return {
        "sets": TIMED,
        "length_sums": [int(lengths.min()), int(lengths.max())],
        "delay_less_length_sum": sorted({int(n) for n in extra - lengths}),
    }


def of_network(name: str) -> dict:
    """The figures of one network."""
    data = DataConfig(set="nmnist", path=str(data_folder("nmnist")))
    core = VirtualConfig(kind="virtual", engines=ENGINES, slots=SLOTS)
    project = zoo_project(name, data=data, core=core)
    inputs = project.inputs(ALL)
    trace = project.reference(inputs)
    labels = np.asarray(inputs.labels)
    model = project.cost
    assert isinstance(model, VirtualCost)
    reports = model.cycles(inputs.spikes, trace.spikes)
    with scratch() as folder:
        place = Path(folder)
        design = compile_design(place / name, elaborate(project, place / name, inputs=project.inputs(2)))
        result = design.run(inputs.spikes, isolated=True, processes=1)
        costs = {name: event_cost(project, design, n) for name, n in (("lone_spike", 1), ("back_to_back", RUN))}
    assert result.decisions is not None
    layers: dict = {}
    for report in reports:
        for layer in report.layers:
            assert isinstance(layer, VirtualReport)
            found = layers.setdefault(layer.name, {"places": 0, "used": 0, "rows": 0, "events": 0})
            found["places"] += layer.lane_slots
            found["used"] += layer.useful_lane_slots
            found["rows"] += layer.weight_rows
            found["events"] += layer.events_in
    latency = np.array([report.latency for report in reports])
    return {
        "recordings": len(labels),
        "mismatches": {
            "spikes": int((result.spikes != trace.spikes[-1]).sum()),
            "decisions": int((result.decisions[:, 0] != trace.decision("count")).sum()),
            "cycles": int((result.latency != latency).sum()),
        },
        "accuracy": float((result.decisions[:, 0] == labels).mean()),
        "latency_cycles_median": float(np.median(latency)),
        "recordings_per_second": round(1e6 * CLOCK_MHZ / float(np.mean(latency)), 1),
        **costs,
        "rows_per_event": {n: round(each["rows"] / max(1, each["events"]), 2) for n, each in layers.items()},
        "places_used": {n: round(each["used"] / max(1, each["places"]), 4) for n, each in layers.items()},
        "places_used_all": round(
            sum(each["used"] for each in layers.values()) / sum(each["places"] for each in layers.values()), 4
        ),
        "memory_bits": model.memory_bits,
    }


def measure() -> dict:
    """The figures of docs/virtual.md."""
    names = [name for name in zoo.names() if zoo.settings(name)["data"] == "nmnist"]
    answer: dict = {"engines": ENGINES, "slots": SLOTS, "clock_mhz": CLOCK_MHZ}
    return answer | {name: of_network(name) for name in names}


if __name__ == "__main__":
    main(measure, __doc__ or "")
