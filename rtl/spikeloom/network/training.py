"""Trains the networks of the zoo: fully connected LIF layers, trained as the integer networks that they will be.

The forward pass of training computes exactly what the reference simulator computes (integer weights, floored shift
leak, one clamp a step, hard reset); gradients pass its roundings as if they were not there. So the accuracy of the
integer network is that of training, and nothing is lost afterwards. The result is written as a NIR file in the unit of
the threshold::

    w = w_int / theta_int                       tau = dt 2**k, r = tau / dt    decay 1 - 2**-k and gain 1 per step dt
    v_threshold = (theta_int - 1/4) / theta_int   v_leak = v_reset = 0

NIR fires at v > v_threshold and an integer neuron at v >= theta_int. On integer potentials both are the same with the
quarter of a step below, and so are all ways to make the threshold an integer again: to the nearest, up, or floor + 1.
One weight of each layer is the largest that its width holds, so that the quantiser finds the same step again.

The recipe of a network is a table entry here; what it reached is measured by the reference simulator and written to
`zoo/zoo.toml` by the same run.
"""

import contextlib
import difflib
import hashlib
import importlib.metadata
import io
import itertools
import json
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError, SpikeloomError
from ..output import write_atomic
from ..tools import require_tool
from .coding import rate
from .datasets import Dataset, load_digits_split, load_mnist
from .integer import IntegerLayer, IntegerNetwork, Leak
from .nir_import import import_nir
from .quantise import QuantiseOptions, quantise
from .reference import simulate

__all__ = ["RECIPES", "Recipe", "TrainingResult", "nir_bytes", "noise", "train", "write_record"]

DT = 1e-3
SCHEMA = 1
MEASURE_BATCH = 500
NOISE_STEPS = 100
NOISE_SAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network with one hidden layer is trained. Pairs hold the value of the hidden and of the output layer.

    Parameters
    ----------
    data : str
        digits or mnist.
    hidden : int
        Neurons of the hidden layer.
    weight_bits, potential_bits : int
        Widths, of both layers.
    threshold : (int, int)
        theta, powers of two: cheap comparators, and weights that are exact in any float.
    leak_shift : (int, int)
        k; a step leaves v - (v >> k).
    steps, max_rate : int, float
        Rate coding in training, and of the accuracy that is reported.
    also : tuple of (steps, max_rate)
        Other input codings to measure.
    epochs, batch, learning_rate : int, int, float
        Adam, one cycle.
    distortion : float
        Strength of random rotation, scaling, shear and shift of the training pictures; 0 is none, 1 is 10 degrees.
    accumulator_bits : (int, int) or None
        Widest accumulators that are wanted; weights that need more are penalised.
    hidden_limit : float or None
        Hidden spikes per step, summed over the layer and averaged over pictures, above which they are penalised.
    noise_events : tuple of int
        Numbers of random input events per step on which the hidden layer should stay quiet.
    noise_limit : float
        Hidden spikes per step on such noise above which they are penalised.
    """

    data: Literal["digits", "mnist"]
    hidden: int
    weight_bits: int
    potential_bits: int
    threshold: tuple[int, int]
    leak_shift: tuple[int, int]
    steps: int
    max_rate: float
    also: tuple[tuple[int, float], ...] = ()
    epochs: int
    batch: int
    learning_rate: float
    distortion: float = 1.0
    accumulator_bits: tuple[int, int] | None = None
    hidden_limit: float | None = None
    noise_events: tuple[int, ...] = ()
    noise_limit: float = 1.0


RECIPES: dict[str, Recipe] = {
    "digits": Recipe(
        data="digits",
        hidden=32,
        weight_bits=6,
        potential_bits=8,
        threshold=(64, 64),
        leak_shift=(2, 3),
        steps=16,
        max_rate=1.0,
        epochs=120,
        batch=32,
        learning_rate=5e-3,
    ),
    "mnist4": Recipe(
        data="mnist",
        hidden=128,
        weight_bits=4,
        potential_bits=7,
        threshold=(16, 16),
        leak_shift=(3, 3),
        steps=25,
        max_rate=1.0,
        also=((100, 1.0), (100, 0.25)),
        epochs=8,
        batch=128,
        learning_rate=2e-3,
        accumulator_bits=(8, 9),
        hidden_limit=8.0,
        noise_events=(8, 78, 157),
    ),
    "mnist8": Recipe(
        data="mnist",
        hidden=128,
        weight_bits=8,
        potential_bits=12,
        threshold=(512, 512),
        leak_shift=(3, 3),
        steps=20,
        max_rate=1.0,
        also=((25, 1.0), (100, 1.0)),
        epochs=8,
        batch=128,
        learning_rate=2e-3,
        hidden_limit=12.0,
    ),
}
"""The networks that `spikeloom train` knows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingResult:
    """A trained network, the bytes of its NIR file, and its table of `zoo.toml`: settings and measurements."""

    name: str
    network: IntegerNetwork
    nir: bytes
    table: dict[str, Any]
    seconds: float


def train(
    name: str,
    *,
    data: Path | str | None = None,
    out: Path | str | None = None,
    seed: int = 0,
    epochs: int | None = None,
    record: Path | str | None = None,
    progress: bool = True,
    threads: int = 1,
) -> TrainingResult:
    """Train a network of `RECIPES` and measure it on the test set.

    The same recipe, data, seed and versions give the same bytes on the same kind of processor.
    After each epoch the state goes to `<out>.checkpoint`; the same call again goes on from there, with the same
    result. It is removed at the end. Nothing else is written before the end.

    Parameters
    ----------
    name : str
        digits, mnist8 or mnist4.
    data : path, optional
        Folder of the MNIST idx files; not for digits, which come with scikit-learn.
    out : path, optional
        The NIR file to write.
    seed : int
        0 to 2**64 - 1: of the first weights, the order of the samples, their distortion and the noise.
    epochs : int, optional
        Other than the recipe's.
    record : path, optional
        A TOML file of settings and measurements, such as `zoo/zoo.toml`, in which to replace the network's table.
    progress : bool
        Show a bar on standard error.
    threads : int
        Threads of torch. The tensors are small: one is as fast as two, and faster where others use the machine too.

    Raises
    ------
    ToolMissing
        Without torch or snntorch.
    InputError
        For an unknown name, unusable options, or data that are not there; before any training.
    """
    recipe = _recipe(name)
    for key, value, low, high in (
        ("seed", seed, 0, (1 << 64) - 1),
        ("epochs", recipe.epochs if epochs is None else epochs, 1, 100_000),
        ("threads", threads, 1, 1024),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InputError(f"{key} = {value!r}: accepted is an integer from {low} to {high}")
    if out is not None and Path(out).is_dir():
        raise InputError(f"{out}: is a folder; accepted is the name of the NIR file to write")
    if record is not None:
        _read_record(Path(record))  # what cannot be written at the end is refused now
    for tool in ("torch", "snntorch"):
        require_tool(tool)
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    dataset = _dataset(name, recipe, data)
    from .training_torch import fit  # seconds to import, and only here are torch and snnTorch needed

    start = time.monotonic()
    checkpoint = None if out is None else Path(f"{out}.checkpoint")
    with _bar(name, progress) as advance:
        weights = fit(
            recipe,
            dataset,
            seed=seed,
            threads=threads,
            checkpoint=checkpoint,
            key=_key(recipe, dataset, seed),
            advance=advance,
        )
    network = _network(name, recipe, weights)
    content = nir_bytes(network)
    table = _table(name, recipe, dataset, seed, network, content)
    if out is not None:
        write_atomic(out, content)
    if record is not None:
        write_record(record, name, table)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return TrainingResult(name=name, network=network, nir=content, table=table, seconds=time.monotonic() - start)


def _network(name: str, recipe: Recipe, weights: list[np.ndarray]) -> IntegerNetwork:
    """The network of the recipe with these integer weights, [neurons, fan_in] each."""
    return IntegerNetwork(
        name=name,
        layers=tuple(
            IntegerLayer.dense(
                name=f"fc{index + 1}",
                weights=array,
                weight_bits=recipe.weight_bits,
                potential_bits=recipe.potential_bits,
                leak=Leak(kind="shift", shifts=(recipe.leak_shift[index],)),
                reset="zero",
                threshold=recipe.threshold[index],
            )
            for index, array in enumerate(weights)
        ),
    )


def nir_bytes(network: IntegerNetwork, dt: float = DT) -> bytes:
    """The NIR file of a network, by the equations at the top; the same bytes for the same network.

    Parameters
    ----------
    network : IntegerNetwork
        Its layers have a leak by one shift, reset zero, no bias, and one weight that is the largest of its width.
    dt : float
        Length of a step in seconds.

    Raises
    ------
    InputError
        Where the equations do not hold for a layer.
    SpikeloomError
        Where the importer and the quantiser do not give the same network back.
    """
    import nir

    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([network.inputs])})}
    for index, layer in enumerate(network.layers, 1):
        if layer.threshold is None or layer.leak.kind != "shift" or len(layer.leak.shifts) != 1:
            raise InputError(f"layer {layer.name!r}: accepted here is a firing layer with a leak by one shift")
        if layer.reset != "zero" or layer.bias.any():
            raise InputError(f"layer {layer.name!r}: accepted here are reset 'zero' and no bias")
        if np.abs(layer.weights).max() != (1 << (layer.weight_bits - 1)) - 1:
            raise InputError(
                f"layer {layer.name!r}: its largest weight is {np.abs(layer.weights).max()}; "
                f"accepted here is {(1 << (layer.weight_bits - 1)) - 1}, the largest of {layer.weight_bits} bits"
            )
        ones, factor = np.ones(layer.neurons), float(1 << layer.leak.shifts[0])
        nodes[layer.name] = nir.Linear(weight=(layer.weights / layer.threshold).astype(np.float32))
        nodes[f"lif{index}"] = nir.LIF(
            tau=dt * factor * ones,
            r=factor * ones,
            v_leak=0 * ones,
            v_threshold=(layer.threshold - 0.25) / layer.threshold * ones,  # v_reset is 0 where it is not given
        )
    nodes["output"] = nir.Output({"output": np.array([network.outputs])})
    keys = list(nodes)
    graph = nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(keys)), metadata={})
    again, _ = quantise(import_nir(graph, dt=dt, reset="zero", name=network.name), _options(network))
    if again.content_hash() != network.content_hash():
        raise SpikeloomError(f"network {network.name!r}: its NIR file does not import to the same integer network")
    buffer = io.BytesIO()
    nir.write(buffer, graph)  # pyright: ignore[reportArgumentType] - h5py takes any binary file
    return buffer.getvalue()


def noise(inputs: int, events: int, *, samples: int, steps: int, seed: int = 0) -> np.ndarray:
    """Random input: exactly `events` distinct addresses in every step. uint8 [samples, steps, inputs].

    Raises
    ------
    InputError
        Where there are not that many addresses.
    """
    if not 0 <= events <= inputs:
        raise InputError(f"{events} events per step: accepted is 0 to {inputs}, the inputs")
    spikes = np.zeros((samples, steps, inputs), np.uint8)
    for sample in range(samples):
        draw = np.random.Philox(key=np.array([seed, sample], np.uint64)).random_raw(steps * inputs)
        chosen = np.argsort(draw.reshape(steps, inputs), axis=1, kind="stable")[:, :events]
        np.put_along_axis(spikes[sample], chosen, 1, axis=1)
    return spikes


def write_record(path: Path | str, name: str, table: dict[str, Any]) -> None:
    """Replace the table `name` of a TOML file, or add it; tables and keys are sorted, other tables stay.

    Raises
    ------
    InputError
        Where the file is not such a record, or cannot be written.
    """
    content = {**_read_record(Path(path)), name: table}
    lines = [
        "# Written by `spikeloom train NAME --record FILE`: settings and what the reference simulator measured.",
        "# Rates are spikes per step, summed over the layer. Thresholds in the files: (theta - 1/4) / theta, see",
        "# `spikeloom.network.training`.",
        f"schema = {SCHEMA}",
    ]
    for key in sorted(content):
        lines += ["", f"[{key}]", *(f"{k} = {_toml(v)}" for k, v in sorted(content[key].items()))]
    write_atomic(path, "\n".join(lines) + "\n")


def _read_record(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of a record; none where there is no file yet."""
    if not path.exists():
        return {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable TOML file ({error}); nothing was changed") from error
    if content.pop("schema", None) != SCHEMA:
        raise InputError(f"{path}: not a record of trained networks with schema = {SCHEMA}; nothing was changed")
    return content


def _toml(value: Any) -> str:
    """A value of the record in TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)  # strings, numbers and booleans are spelt alike


def _recipe(name: str) -> Recipe:
    """The recipe of a network, or InputError that suggests the nearest name."""
    if name not in RECIPES:
        close = difflib.get_close_matches(str(name), RECIPES, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"network {name!r}: `train` knows {', '.join(sorted(RECIPES))}{hint}")
    return RECIPES[name]


def _dataset(name: str, recipe: Recipe, data: Path | str | None) -> Dataset:
    """The data that the recipe asks for."""
    if recipe.data == "digits":
        if data is not None:
            raise InputError(f"data {str(data)!r}: network {name!r} is trained on scikit-learn's digits; give none")
        return load_digits_split()
    if data is None:
        raise InputError(f"network {name!r} is trained on MNIST: give the folder of its idx files (--data FOLDER)")
    return load_mnist(data)


def _options(network: IntegerNetwork) -> QuantiseOptions:
    """Quantiser options that give `network` back."""
    return QuantiseOptions(
        weight_bits={layer.name: layer.weight_bits for layer in network.layers},
        potential_bits={layer.name: layer.potential_bits for layer in network.layers},
        leak="shift",
        state=network.state,
    )


def _measure(network: IntegerNetwork, dataset: Dataset, steps: int, max_rate: float) -> dict[str, Any]:
    """Accuracy on the test set and mean spikes per step, with this input coding."""
    right, events, hidden = 0, 0, 0
    for start in range(0, len(dataset.test_x), MEASURE_BATCH):
        part = slice(start, start + MEASURE_BATCH)
        spikes = rate(dataset.test_x[part], steps, max_rate)
        trace = simulate(network, spikes)
        right += int((trace.decision("count") == dataset.test_y[part]).sum())
        events += int(spikes.sum(dtype=np.int64))
        hidden += int(trace.spikes[0].sum(dtype=np.int64))
    total = len(dataset.test_x) * steps
    return {
        "steps": steps,
        "max_rate": max_rate,
        "accuracy": round(right / len(dataset.test_x), 6),
        "input_rate": round(events / total, 3),
        "hidden_rate": round(hidden / total, 3),
    }


def _table(
    name: str, recipe: Recipe, dataset: Dataset, seed: int, network: IntegerNetwork, content: bytes
) -> dict[str, Any]:
    """The network's table of the record: how to use it, how it was made, what it reached."""
    layers = network.layers
    main = _measure(network, dataset, recipe.steps, recipe.max_rate)
    quiet = []
    for events in recipe.noise_events:
        spikes = noise(network.inputs, events, samples=NOISE_SAMPLES, steps=NOISE_STEPS, seed=seed)
        fired = simulate(network, spikes).spikes[0].sum(axis=2, dtype=np.int64)
        quiet.append({"input_rate": events, "hidden_rate": round(float(fired.mean()), 3), "most": int(fired.max())})
    command = f"spikeloom train {name} --out {name}.nir --seed {seed}"
    if recipe.data == "mnist":
        command += " --data FOLDER"
    if recipe.epochs != RECIPES[name].epochs:
        command += f" --epochs {recipe.epochs}"
    table = {
        "data": recipe.data,
        "dt": DT,
        "reset": "zero",
        "weight_bits": recipe.weight_bits,
        "potential_bits": recipe.potential_bits,
        "leak": "shift",
        "coding": "rate",
        "decision": "count",
        **main,
        "test_samples": len(dataset.test_x),
        "threshold": {layer.name: layer.threshold for layer in layers},
        "leak_shift": {layer.name: layer.leak.shifts[0] for layer in layers},
        "accumulator_bits": {layer.name: round(float(layer.accumulator_bits().mean()), 3) for layer in layers},
        "nonzero_weights": {layer.name: round(float((layer.weights != 0).mean()), 4) for layer in layers},
        "sha256": hashlib.sha256(content).hexdigest(),
        "network": network.content_hash(),
        "command": command,
        "seed": seed,
        "epochs": recipe.epochs,
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "snntorch", "nir")},
    }
    if recipe.also:
        table["also"] = [_measure(network, dataset, steps, max_rate) for steps, max_rate in recipe.also]
    if quiet:
        table["noise"] = quiet
    return table


def _key(recipe: Recipe, dataset: Dataset, seed: int) -> str:
    """SHA-256 of what decides the result of a training, versions included."""
    digest = hashlib.sha256(json.dumps([asdict(recipe), seed], sort_keys=True).encode())
    for package in ("torch", "snntorch"):
        digest.update(importlib.metadata.version(package).encode())
    digest.update(np.ascontiguousarray(dataset.train_x).tobytes())
    digest.update(np.ascontiguousarray(dataset.train_y).tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _bar(name: str, show: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar on standard error; call what it yields as advance(done, total, note)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), "{task.fields[note]}", TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(
        *(TextColumn(column) if isinstance(column, str) else column for column in columns),
        console=Console(stderr=True),
        disable=not show,
    ) as bar:
        task = bar.add_task(f"train {name}", total=None, note="")
        yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)
