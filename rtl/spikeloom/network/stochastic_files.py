"""Trained networks of stochastic neurons as NIR files, and their tables in the record of trained networks.

A layer is a Conv2d or an Affine node, then a Threshold of 1 whose metadata hold `cloglog` = 1, so that the potential
is z itself but for a constant, which goes into the bias::

    u = sum_i w_i s_i + b + 1 - ln ln 2         P = 1 - exp(-exp(z)),  z = (u - 1) / 1 + ln ln 2 = sum_i w_i s_i + b
"""

import hashlib
import importlib.metadata
import io
from typing import Any

import numpy as np

from .coding import CodingOptions, encode_spikes
from .datasets import Dataset
from .float_network import HALF
from .integer import IntegerNetwork
from .nir_import import import_nir
from .quantise import QuantiseOptions, quantise
from .recipes import StochasticRecipe
from .reference import simulate

__all__ = ["integer_network", "nir_file", "record_table"]

DT = 1e-3
MEASURE_BATCH = 250
MEASURED_STEPS = (1, 2, 5, 10, 20, 50, 100)


def nir_file(recipe: StochasticRecipe, arrays: list[np.ndarray]) -> bytes:
    """The NIR file of weights and biases in units of their layers, in turn; the same bytes for the same numbers."""
    import nir

    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(_input_shape(recipe))})}
    maps, edges = recipe.maps, []
    before, convolutions = "input", len(recipe.channels)
    for index, (weights, bias, unit) in enumerate(zip(arrays[::2], arrays[1::2], recipe.units, strict=True)):
        kernel = (weights * unit).astype(np.float32)
        offset = (bias * unit + 1 - HALF).astype(np.float32)
        flat = index >= convolutions
        name, shape = f"fc{index - convolutions + 1}", (len(bias),)
        if flat and index == convolutions and convolutions:
            nodes["flatten"] = nir.Flatten({"input": np.array(maps[-1])}, start_dim=0)
            edges.append((before, "flatten"))
            before = "flatten"
        if flat:
            nodes[name] = nir.Affine(weight=kernel, bias=offset)
        else:
            name, shape = f"conv{index + 1}", maps[index + 1]
            padding = recipe.kernel[index] // 2
            nodes[name] = nir.Conv2d(
                input_shape=(maps[index][1], maps[index][2]), weight=kernel, bias=offset, padding=(padding, padding),
                stride=(recipe.stride[index], recipe.stride[index]), dilation=(1, 1), groups=1,
            )  # fmt: skip
        spike = f"spike{index + 1}"
        nodes[spike] = nir.Threshold(threshold=np.ones(shape), metadata={"cloglog": np.ones(shape)})
        edges += [(before, name), (name, spike)]
        before = spike
    nodes["output"] = nir.Output({"output": np.array((recipe.classes,))})
    edges.append((before, "output"))
    buffer = io.BytesIO()
    nir.write(buffer, nir.NIRGraph(nodes=nodes, edges=edges, metadata={}))  # pyright: ignore[reportArgumentType]
    return buffer.getvalue()


def _input_shape(recipe: StochasticRecipe) -> tuple[int, ...]:
    return recipe.input_shape if recipe.channels else (int(np.prod(recipe.input_shape)),)


def integer_network(name: str, recipe: StochasticRecipe, content: bytes) -> IntegerNetwork:
    """The network that the file becomes, with seed 0."""
    import nir

    graph = nir.read(io.BytesIO(content))  # pyright: ignore[reportArgumentType]
    network, _ = quantise(import_nir(graph, dt=DT, reset="zero", name=name), QuantiseOptions(
        weight_bits=recipe.weight_bits
    ))  # fmt: skip
    return network


def record_table(
    name: str,
    recipe: StochasticRecipe,
    dataset: Dataset,
    seed: int,
    network: IntegerNetwork,
    content: bytes,
    epochs: int,
) -> dict[str, Any]:
    """The network's table of the record: how to use it, how it was made, what it reached; see `zoo`."""
    right = {steps: 0 for steps in MEASURED_STEPS}
    spikes, events = {layer.name: 0 for layer in network.layers}, 0
    coding = CodingOptions(coding="bernoulli", steps=recipe.steps)
    samples = min(recipe.measured, len(dataset.test_x))
    for start in range(0, samples, MEASURE_BATCH):
        part = slice(start, min(start + MEASURE_BATCH, samples))
        coded = encode_spikes(coding, dataset.test_x[part], network.inputs, first_index=start)
        trace = simulate(network, coded)
        events += int(coded.sum(dtype=np.int64))
        for layer, fired in zip(network.layers, trace.spikes, strict=True):
            spikes[layer.name] += int(fired.sum(dtype=np.int64))
        totals = trace.spikes[-1].cumsum(axis=1, dtype=np.int64)
        for steps in right:
            if steps <= recipe.steps:
                right[steps] += int((totals[:, steps - 1].argmax(axis=1) == dataset.test_y[part]).sum())
    reached = {str(steps): round(count / samples, 6) for steps, count in right.items() if steps <= recipe.steps}
    command = f"spikeloom train {name} --out {name}.nir --seed {seed} --data FOLDER"
    return {
        "data": recipe.data,
        "core": "stochastic",
        "dt": DT,
        "reset": "zero",
        "weight_bits": recipe.weight_bits,
        "potential_bits": "auto",
        "leak": "auto",
        "coding": "bernoulli",
        "decision": "count",
        "steps": recipe.steps,
        "max_rate": 1.0,
        "accuracy": reached[str(recipe.steps)],
        "accuracy_by_steps": reached,
        "test_samples": samples,
        "input_rate": round(events / samples / recipe.steps, 3),
        "rates": {layer: round(count / samples / recipe.steps, 3) for layer, count in spikes.items()},
        "levels": recipe.levels,
        "sha256": hashlib.sha256(content).hexdigest(),
        "network": network.content_hash(),
        "command": command if recipe.epochs == epochs else f"{command} --epochs {recipe.epochs}",
        "seed": seed,
        "epochs": recipe.epochs,
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "snntorch", "nir")},
    }
