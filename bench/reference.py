"""Speed of the reference simulator beside the float forward pass of the same network in snnTorch, and its correctness.

Both at batch 1000 on 2 threads over the whole MNIST test set, warm, median of 5, in turns in one process.
"""

import os
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")
os.environ.setdefault("OMP_NUM_THREADS", "2")

import numpy as np
from _common import data_folder, main, zoo_project

from spikeloom.config import DataConfig
from spikeloom.network.coding import rate
from spikeloom.network.reference import simulate

BATCH, STEPS, REPEATS = 1000, 25, 5


def slow(network, spikes: np.ndarray) -> np.ndarray:
    """Output spikes of one input by the written equations, in plain integers (shift leak, reset to zero)."""
    arriving = spikes.astype(int).tolist()
    for layer in network.layers:
        weights, k = layer.weights.tolist(), layer.leak.shifts[0]
        low, high, theta = layer.v_min, layer.v_max, layer.threshold
        v, leaving = [0] * layer.neurons, []
        for step in arriving:
            active = [i for i, s in enumerate(step) if s]
            fired = []
            for n, row in enumerate(weights):
                u = v[n] - (v[n] >> k) + int(layer.bias[n]) + sum(row[i] for i in active)
                u = max(low, min(high, u))
                fired.append(int(u >= theta))
                v[n] = 0 if fired[-1] else u
            leaving.append(fired)
        arriving = leaving
    return np.array(arriving, np.uint8)


def measure() -> dict:
    """The figures of the table in the README."""
    data = DataConfig(set="mnist", path=str(data_folder("mnist")))
    project = zoo_project("mnist8", steps=STEPS, data=data)
    network = project.network
    images = project.inputs(10_000)
    spikes = [images.spikes[start : start + BATCH] for start in range(0, len(images.spikes), BATCH)]
    mismatches = 0
    for index in range(0, 10_000, 500):
        expected = slow(network, images.spikes[index])
        mismatches += int(
            not np.array_equal(simulate(network, images.spikes[index : index + 1]).spikes[-1][0], expected)
        )
    answer = {"images": len(images.spikes), "checked": 20, "mismatches": mismatches, "speed_vs_snntorch": None}
    try:
        import snntorch  # pyright: ignore[reportMissingImports]
        import torch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        return answer | {"why": f"{error.name} is not installed; the extra `train` brings it"}
    torch.set_num_threads(2)
    weights = [torch.tensor(layer.weights, dtype=torch.float32).T.contiguous() for layer in network.layers]
    neurons = [
        snntorch.Leaky(
            beta=1 - 2.0 ** -layer.leak.shifts[0], threshold=float(layer.threshold or 0), reset_mechanism="zero",
            reset_delay=False,
        )
        for layer in network.layers
    ]  # fmt: skip
    floats = [torch.tensor(part, dtype=torch.float32) for part in spikes]

    def forward() -> None:
        with torch.no_grad():
            for part in floats:
                states = [neuron.init_leaky() for neuron in neurons]
                outputs = []
                for step in range(STEPS):
                    x = part[:, step]
                    for index, neuron in enumerate(neurons):
                        x, states[index] = neuron(x @ weights[index], states[index])
                    outputs.append(x)
                torch.stack(outputs)

    def reference() -> None:
        for part in spikes:
            simulate(network, part)

    times: dict[str, list[float]] = {"snntorch": [], "reference": []}
    for turn in range(REPEATS + 1):
        for name, run in (("snntorch", forward), ("reference", reference)):
            begin = time.perf_counter()
            run()
            if turn:  # the first is the warm-up
                times[name].append(time.perf_counter() - begin)
    medians = {name: float(np.median(values)) for name, values in times.items()}
    return answer | {
        "speed_vs_snntorch": round(medians["snntorch"] / medians["reference"], 3),
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "rate_coding_seconds": round(_coding(images), 3),
    }


def _coding(images) -> float:
    begin = time.perf_counter()
    rate(images.values[:BATCH], STEPS)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main(measure, __doc__ or "")
