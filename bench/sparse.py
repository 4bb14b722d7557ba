"""Pruned layers: cycles of 784-1024-10 with 90 % zero weights against dense rows, memory bits, and the break-even.

Weights that are 0 lie anywhere. Cycles are those of the compiled RTL, from the first event in to the last output, of
inputs that spike in 10 % of the steps; every spike must be the reference's. `rows_` and `bits_` are what `auto` looks
at: rows of entries to rows of weights, and memory bits to memory bits, of a 784-1024 layer by the part of weights left.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from _common import fixed_project, main, scratch, silent_inputs, stream

from spikeloom.config import DigitalConfig
from spikeloom.errors import SpikeloomError
from spikeloom.export import elaborate
from spikeloom.mapping.plan import plan_core
from spikeloom.mapping.sparse import SparsePlan
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import simulate
from spikeloom_sim.batch import compile_design

INPUTS, STEPS, RATE, LEFT = 4, 20, 0.1, 0.1


def pruned(sizes: list[int], left: float) -> IntegerNetwork:
    """LIF layers with uniform random 4-bit weights, a part `left` of which is not 0."""
    layers = []
    for n in range(1, len(sizes)):
        rng = stream(11, n)
        weights = rng.integers(1, 8, (sizes[n], sizes[n - 1])) * rng.choice([-1, 1], (sizes[n], sizes[n - 1]))
        weights *= rng.random(weights.shape) < left
        layers.append(
            IntegerLayer.dense(
                name=f"fc{n}", weights=weights, weight_bits=4, potential_bits=8, leak=Leak(kind="shift", shifts=(3,)),
                threshold=24,
            )
        )  # fmt: skip
    return IntegerNetwork(name="pruned", layers=tuple(layers))


def measure() -> dict:
    network = pruned([784, 1024, 10], LEFT)
    spikes = (stream(12, 0).random((INPUTS, STEPS, 784)) < RATE).astype(np.uint8)
    trace = simulate(network, spikes)
    answer: dict = {"limit": 0.2, "hidden_spikes_per_step": round(float(trace.spikes[0].sum(axis=2).mean()), 1)}
    with scratch() as place:
        for lanes in (4, 8, 16):
            ways: tuple[Literal["off", "on"], ...] = ("off", "on")
            for sparse in ways:
                core = DigitalConfig(lanes=lanes, sparse=sparse)
                project = fixed_project(network, steps=STEPS, core=core, name="pruned")
                build = Path(place, f"{lanes}_{sparse}")
                manifest = elaborate(project, build, inputs=silent_inputs(project))
                result = compile_design(build, manifest).run(spikes, isolated=True)
                if not np.array_equal(result.spikes, trace.spikes[-1]):
                    raise SpikeloomError(f"sparse = {sparse!r}: spikes differ from the reference")
                answer[f"cycles_{lanes}_{sparse}"] = int(result.latency.sum())
                answer[f"memory_bits_{lanes}_{sparse}"] = sum(each["bits"] for each in manifest["memories"])
            for what in ("cycles", "memory_bits"):
                answer[f"{what}_{lanes}_ratio"] = round(answer[f"{what}_{lanes}_on"] / answer[f"{what}_{lanes}_off"], 4)
    for left in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
        layer = pruned([784, 1024], left)
        for lanes in (1, 8, 32):
            entry = plan_core(layer, DigitalConfig(lanes=lanes, sparse="on"), steps=1).layers[0]
            assert isinstance(entry, SparsePlan)
            dense = 784 * entry.groups
            answer[f"rows_{lanes}_{left}"] = round(entry.weight_depth / dense, 3)
            answer[f"bits_{lanes}_{left}"] = round(entry.sparse_bits / (dense * lanes * 4), 3)
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
