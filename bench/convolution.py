"""Cycles of a convolutional network on compiled RTL against the neurons that its spikes touch, divided by the lanes."""

from pathlib import Path

import numpy as np
from _common import fixed_project, main, scratch, silent_inputs, stream

from spikeloom.config import DigitalConfig
from spikeloom.export import elaborate, read_manifest
from spikeloom.mapping.cost import CostModel
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import simulate
from spikeloom_sim.batch import compile_design

STEPS = 20
SOURCE = (2, 34, 34)  # that of an N-MNIST recording
DENSITIES = (0.02, 0.1, 0.3)
LANES = (1, 4, 8)
INPUTS = 4
"""Back to back."""


def network() -> IntegerNetwork:
    """Two convolutions, the second over a pool, and a layer that counts; random weights, some spikes in every layer."""
    rng = stream(23)

    def layer(name: str, connection: Connection, threshold: int) -> IntegerLayer:
        leak = Leak(kind="shift", shifts=(3,))
        return IntegerLayer(name=name, connections=(connection,), weight_bits=4, potential_bits=12, leak=leak,
                            threshold=threshold, reset="subtract")  # fmt: skip

    kernel = rng.integers(-5, 8, (8, 2, 5, 5))
    conv1 = layer("conv1", Connection(weights=kernel, source_shape=SOURCE, padding=(2, 2), stride=(2, 2)), 60)
    kernel = rng.integers(-5, 8, (16, 8, 3, 3))
    conv2 = layer("conv2", Connection(weights=kernel, source_shape=conv1.shape, pool=(2, 2), padding=(1, 1)), 60)
    dense = Connection(weights=rng.integers(-5, 7, (10, conv2.neurons)), source_shape=conv2.shape)
    return IntegerNetwork(name="convolution", layers=(conv1, conv2, layer("out", dense, 200)))


def touched_neurons(net: IntegerNetwork, inputs: np.ndarray, spikes: tuple[np.ndarray, ...]) -> np.ndarray:
    """Neurons that the spikes of each step reach, weights of 0 included: int64 [B, T, layers].

    Counted with the matrix of each connection, not with the tables of the engine or of the cost model.
    """
    counts = []
    for layer, arriving in zip(net.layers, [inputs, *spikes], strict=False):
        (connection,) = layer.connections
        geometry = connection.geometry
        reached = geometry.matrix(np.ones(geometry.weights, np.int64)).astype(bool).sum(axis=0)
        counts.append(arriving.astype(np.int64) @ np.asarray(reached).reshape(-1))
    return np.stack(counts, axis=2)


def measure() -> dict:
    """One entry for each number of lanes and density of input spikes; cycles are those of all inputs."""
    net, points, exact, issue = network(), {}, True, []
    with scratch() as place:
        for lanes in LANES:
            folder = Path(place, f"lanes{lanes}")
            core = DigitalConfig(lanes=lanes, decision="none")
            project = fixed_project(net, steps=STEPS, core=core, name="convolution")
            elaborate(project, folder, inputs=silent_inputs(project))
            design = compile_design(folder, read_manifest(folder))
            model = CostModel(net, core, steps=STEPS)
            for density in DENSITIES:
                rng = stream(31, round(1000 * density))
                spikes = (rng.random((INPUTS, STEPS, net.inputs)) < density).astype(np.uint8)
                trace, first = simulate(net, spikes), slice(0, 1)
                chained = design.run(spikes, processes=1)
                alone = design.run(spikes[first], isolated=True)
                if not np.array_equal(chained.spikes, trace.spikes[-1]):
                    raise SystemExit("the RTL's spikes differ from the reference")
                (report,) = model.cycles(spikes[first], [array[first] for array in trace.spikes])
                exact &= alone.latency.tolist() == [report.latency]
                # Layers work at the same time: the busiest one sets the pace. Its sweep is hidden while its spikes
                # touch at least as many rows as it has.
                work = touched_neurons(net, spikes, trace.spikes).sum(axis=(0, 1)) / lanes
                busiest = int(work.argmax())
                cycles, needed = chained.cycles, float(work[busiest])
                sparse = needed < INPUTS * STEPS * model.groups[busiest]
                ratio = round(cycles / needed, 4)
                points[f"lanes {lanes}, density {density}"] = {
                    "cycles": cycles,
                    "busiest": net.layers[busiest].name,
                    "touched_by_lanes": needed,
                    "ratio": ratio,
                    "latency_alone": int(alone.latency[0]),
                    "sweep_bound": sparse,
                    "spikes_per_input": [int(array.sum()) // INPUTS for array in (spikes, *trace.spikes)],
                }
                if not sparse:
                    issue.append(ratio)
    return {
        "points": points,
        "worst_ratio_where_spikes_set_the_pace": max(issue),
        "model_exact": exact,
        "memory_bits": {str(lanes): CostModel(net, DigitalConfig(lanes=lanes, decision="none"), steps=STEPS).memory_bits
                        for lanes in LANES},
    }  # fmt: skip


if __name__ == "__main__":
    main(measure, __doc__ or "")
