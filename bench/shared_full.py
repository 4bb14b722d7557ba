"""The published size of the weight-shared core: 24 cores of 1024 neurons and 32 devices, every layer with fan-in 8192.

8192-8192-8192-8192, three gangs of eight cores in a chain: 24 576 neurons and 192 Mi synapses of random weights on 16
levels, 4-bit indices outside of the core. Elaborates it (time and memory of this process and of Yosys), lints it with
Verilator -Wall, and plays an input through compiled RTL against the reference.
"""

import itertools
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import fixed_project, main, silent_inputs, stream

from spikeloom.config import SharedConfig
from spikeloom.export import elaborate
from spikeloom.mapping.shared_cost import SharedCost
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.project import Project
from spikeloom.tools import require_tool
from spikeloom_sim.flow import SimulationOptions, simulate_build

SIZES, CORES, NEURONS, LEVELS, STEPS = (8192, 8192, 8192, 8192), (8, 8, 8), 1024, 16, 4
CLOCK = 50e6


def network() -> IntegerNetwork:
    """Random weights on 16 levels; thresholds at which about a tenth of the neurons fires in a step."""
    table = np.array([-63, -45, -32, -22, -15, -9, -5, -2, 0, 2, 5, 9, 15, 22, 32, 46], np.int8)
    layers = []
    for index, (fan_in, neurons) in enumerate(itertools.pairwise(SIZES), 1):
        weights = table[stream(11, index).integers(0, LEVELS, (neurons, fan_in), np.uint8)]
        layers.append(
            IntegerLayer.dense(
                name=f"fc{index}", weights=weights, weight_bits=7, potential_bits=13, threshold=1024,
                leak=Leak(kind="shift", shifts=(3,)),
            )
        )  # fmt: skip
    return IntegerNetwork(name="published", layers=tuple(layers))


def peak(who: int) -> float:
    """Largest resident memory so far, GB."""
    return resource.getrusage(who).ru_maxrss * 1024 / 1e9


def measure() -> dict:
    """The figures of docs/shared.md."""
    given = network()
    synapses = sum(layer.synapses for layer in given.layers)
    core = SharedConfig(
        kind="shared", cores=list(CORES), neurons=NEURONS, levels=LEVELS, lanes=16, indices="streamed", decision="none"
    )
    project = fixed_project(given, steps=STEPS, core=core, name="published")
    with tempfile.TemporaryDirectory(prefix="spikeloom-bench-") as place:
        folder, begin, cpu = Path(place, "published"), time.monotonic(), time.process_time()
        elaborate(project, folder, inputs=silent_inputs(project))
        seconds, busy = time.monotonic() - begin, time.process_time() - cpu
        memory = max(peak(resource.RUSAGE_SELF), peak(resource.RUSAGE_CHILDREN))
        busy += resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        sources = sorted(map(str, [*folder.glob("rtl/*.v"), *folder.glob("chip/*.v")]))
        lint = subprocess.run(
            [str(require_tool("verilator").path), "--lint-only", "-Wall", "--top-module", "published_chip", *sources],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        model = SharedCost(given, core, steps=STEPS, plan=project.plan)
        return {
            "neurons": sum(layer.neurons for layer in given.layers),
            "synapses": synapses,
            "devices": model.devices,
            "index_memory_bits": model.index_memory_bits,
            "elaborate_seconds": round(seconds, 1),
            "elaborate_cpu_seconds": round(busy, 1),
            "elaborate_gb": round(memory, 2),
            "lint_exit": lint.returncode,
            "lint_words": len((lint.stdout + lint.stderr).split()),
        } | _played(project, folder)


def _played(project: Project, folder: Path) -> dict:
    """One random input of a tenth of the addresses in each step."""
    inputs = project.inputs(1)
    result = simulate_build(project, folder, SimulationOptions(inputs=1))
    trace = project.reference(inputs)
    cycles = result["latency_cycles"]["median"]
    return {
        "fan_in": SIZES[0],
        "steps": STEPS,
        "input_spikes_per_step": float(inputs.spikes.sum() / STEPS),
        "spikes_per_step": [float(fired.sum() / STEPS) for fired in trace.spikes],
        "neurons_that_fired": [int((fired[0].sum(axis=0) > 0).sum()) for fired in trace.spikes],
        "mismatches": sum(count or 0 for count in result["mismatches"].values()),
        "compared": [name for name, count in result["mismatches"].items() if count is not None],
        "latency_cycles": cycles,
        "frames_per_second": round(CLOCK / cycles, 2),
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
