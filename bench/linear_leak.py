"""Linear against exponential decay under one recipe: MNIST, and N-MNIST, where the leak matters.

Each network is trained twice, alike in seed, order of samples, distortion and first weights: with a leak by shift, and
with the linear leak that takes as much off half the threshold. The third figure is the first network converted to
linear decay without training. All are integer networks with the widths of the recipe, on inputs that took no part in
training: the 10 000 test images of MNIST, and for N-MNIST a fifth of the recordings in each run, so that the five runs
test every recording once.
"""

import dataclasses
import multiprocessing
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _common import data_folder, main

from spikeloom.errors import SpikeloomError, ToolMissing
from spikeloom.network import training
from spikeloom.network.coding import CodingOptions, encode_spikes, rate
from spikeloom.network.datasets import Dataset, NMnist, load_mnist, read_nmnist
from spikeloom.network.integer import IntegerNetwork
from spikeloom.network.nir_import import import_nir
from spikeloom.network.quantise import Calibration, QuantiseOptions, quantise
from spikeloom.network.recipes import RECIPES, EventRecipe, Recipe
from spikeloom.network.reference import simulate
from spikeloom.tools import require_tool

TASKS: dict[str, tuple[Recipe | EventRecipe, int]] = {  # with the number of seeds
    "nmnist": (dataclasses.replace(RECIPES["nmnist"], epochs=24, leak_shift=(2, 2, 2)), 5),  # type: ignore[dict-item]
    "mnist": (dataclasses.replace(RECIPES["mnist8"], epochs=2), 3),  # type: ignore[dict-item]
}
MATTERS = "nmnist", 0.1
"""The task where the leak must matter: share of the threshold that a step at least takes off half of it."""
LEAKS = "shift", "linear"
CALIBRATION = 500  # inputs of the training half
BATCH = 500


def measure() -> dict:
    """The figures."""
    try:
        for tool in ("torch", "snntorch"):
            require_tool(tool)
    except ToolMissing as error:
        return {"skipped": str(error)}
    folders = {name: str(data_folder(name)) for name in TASKS}
    jobs = [
        (name, folders[name], seed, leak)
        for seed in range(max(seeds for _, seeds in TASKS.values()))
        for name, (_, seeds) in TASKS.items()
        if seed < seeds
        for leak in LEAKS
    ]
    # each on one thread: a training ends in the same bits wherever it runs
    with multiprocessing.get_context("spawn").Pool(min(2, os.cpu_count() or 1)) as pool:
        results: list[dict[str, Any]] = []
        for result in pool.imap_unordered(train, jobs, chunksize=1):
            print(result, file=sys.stderr, flush=True)
            results.append(result)
    return {name: summary(name, [result for result in results if result["task"] == name]) for name in TASKS}


def train(job: tuple[str, str, int, str]) -> dict[str, Any]:
    """Train one network; its accuracy, what its leaks take off, and the accuracy once it is converted."""
    from spikeloom.network.training_torch import fit

    name, folder, seed, leak = job
    recipe = dataclasses.replace(TASKS[name][0], leak=leak)
    data = load_mnist(folder) if name == "mnist" else dataclasses.replace(read_nmnist(folder), fold=seed)
    weights, amounts = fit(recipe, data, seed=seed, threads=1, checkpoint=None, key="", advance=lambda *_: None)
    network = IntegerNetwork(name=name, layers=recipe.layers(weights, amounts))
    result = {
        "task": name,
        "seed": seed,
        "leak": leak,
        "accuracy": accuracy(network, recipe, data),
        "loss_at_half_threshold": min(loss(network)),
        "tested": len(half(recipe, data, train=False)[1]),
    }
    if leak == "shift":
        converted, report = convert(network, recipe, data)
        result |= {
            "converted": accuracy(converted, recipe, data),
            "converted_loss": min(loss(converted)),
            "activity": {layer.name: layer.fit.text() for layer in report.layers if layer.fit is not None},
            "amounts": {layer.name: layer.leak.amount for layer in converted.layers},
        }
    return result


def half(recipe: Recipe | EventRecipe, data: Dataset | NMnist, *, train: bool, count: int | None = None) -> tuple:
    """Coded inputs of one half, a batch at a time, and the labels."""
    if isinstance(data, Dataset):
        assert isinstance(recipe, Recipe)
        x, y = (data.train_x, data.train_y) if train else (data.test_x, data.test_y)
        x, y = x[:count], y[:count]
        return (rate(x[k : k + BATCH], recipe.steps, recipe.max_rate) for k in range(0, len(x), BATCH)), y
    assert isinstance(recipe, EventRecipe)
    recordings, labels = data.half(train=train, count=count)
    coding = CodingOptions(coding="events", steps=recipe.steps, step_us=recipe.step_us)
    inputs = int(np.prod(data.shape))
    parts = (recordings[k : k + BATCH] for k in range(0, len(recordings), BATCH))
    return (encode_spikes(coding, part, inputs) for part in parts), labels


def accuracy(network: IntegerNetwork, recipe: Recipe | EventRecipe, data: Dataset | NMnist) -> float:
    """Share of the test half that the integer network decides rightly."""
    batches, labels = half(recipe, data, train=False)
    decided = np.concatenate([simulate(network, spikes).decision("count") for spikes in batches])
    return float((decided == labels).mean())


def convert(network: IntegerNetwork, recipe: Recipe | EventRecipe, data: Dataset | NMnist) -> tuple:
    """The network with linear leaks that are fitted on the training half, and the report of the quantiser."""
    batches, labels = half(recipe, data, train=True, count=CALIBRATION)
    spikes = np.concatenate(list(batches))
    options = QuantiseOptions(weight_bits=recipe.weight_bits, potential_bits=recipe.potential_bits, leak="linear")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "trained.nir")
        file.write_bytes(training.nir_bytes(network))
        real = import_nir(file, dt=training.DT, reset="zero")
    return quantise(real, options, calibration=Calibration(spikes=spikes, labels=labels))


def loss(network: IntegerNetwork) -> list[float]:
    """What a step takes off half the threshold in each layer, by the threshold."""
    losses = []
    for layer in network.layers:
        potential = np.array([layer.threshold]) // 2
        losses.append(float((potential - layer.leak.apply(potential))[0] / layer.threshold))
    return losses


def summary(name: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Accuracies in percent by seed, their means and spreads, and the difference in points."""
    by_leak = {leak: sorted((r for r in results if r["leak"] == leak), key=lambda r: r["seed"]) for leak in LEAKS}
    losses = {leak: min(r["loss_at_half_threshold"] for r in runs) for leak, runs in by_leak.items()}
    task, least = MATTERS
    if name == task and min(losses.values()) < least:
        raise SpikeloomError(f"{name}: a step takes {losses} off half the threshold: the leak does not matter here")
    series = {
        "exponential": [100 * r["accuracy"] for r in by_leak["shift"]],
        "linear": [100 * r["accuracy"] for r in by_leak["linear"]],
        "converted": [100 * r["converted"] for r in by_leak["shift"]],
    }
    paired = [a - b for a, b in zip(series["exponential"], series["linear"], strict=True)]
    answer: dict[str, Any] = {
        "seeds": [r["seed"] for r in by_leak["shift"]],
        "tested_per_seed": by_leak["shift"][0]["tested"],
        "epochs": TASKS[name][0].epochs,
        "loss_at_half_threshold": {"exponential": losses["shift"], "linear": losses["linear"]},
        "converted_amounts": [r["amounts"] for r in by_leak["shift"]],
        "converted_activity": [r["activity"] for r in by_leak["shift"]],
    }
    for key, values in series.items():
        answer[f"{key}_percent"] = [round(value, 2) for value in values]
        answer[f"{key}_mean"] = round(statistics.mean(values), 3)
        answer[f"{key}_spread"] = round(statistics.stdev(values), 3)
    answer["linear_below_exponential_points"] = round(statistics.mean(paired), 3)
    answer["standard_error_points"] = round(statistics.stdev(paired) / len(paired) ** 0.5, 3)
    answer["converted_below_exponential_points"] = round(answer["exponential_mean"] - answer["converted_mean"], 3)
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
