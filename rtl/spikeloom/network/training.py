"""Trains the networks of the zoo, as the integer networks that they will be.

The forward pass of training computes exactly what the reference simulator computes (integer weights, floored shift
leak or linear leak, one clamp a step, hard reset); gradients pass its roundings as if they were not there. So the
accuracy of the integer network is that of training, and nothing is lost afterwards. The result is written as a NIR file
in the unit of the threshold::

    w = w_int / theta_int                       tau = dt 2**k, r = tau / dt    decay 1 - 2**-k and gain 1 per step dt
    d = d_int / theta_int per step of a linear leak, which NIR has not: dt linear_decay = d in the metadata of a neuron
        whose tau loses as much at half the threshold, tau = dt theta_int / (2 d_int), or all of it
    v_threshold = (theta_int - 1/4) / theta_int   v_leak = v_reset = 0
    tau_syn = dt 2**j, w_in = tau_syn / dt      of a synaptic current

NIR fires at v > v_threshold and an integer neuron at v >= theta_int. On integer potentials both are the same with the
quarter of a step below, and so are all ways to make the threshold an integer again: to the nearest, up, or floor + 1.
One weight of each layer is the largest that its width holds, so that the quantiser finds the same step again.

The recipe of a network is a table entry of `recipes`; what it reached is measured by the reference simulator and
written to `zoo/zoo.toml` by the same run.
"""

import contextlib
import difflib
import hashlib
import importlib.metadata
import io
import json
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, SpikeloomError
from ..output import write_atomic
from ..tools import require_tool
from .coding import CodingOptions, encode_spikes, rate
from .connections import Connection
from .datasets import Dataset, EventData, load_digits_split, load_mnist, read_nmnist
from .integer import INPUT, IntegerLayer, IntegerNetwork
from .moving import MovingDigits
from .nir_import import import_nir
from .quantise import QuantiseOptions, quantise
from .recipes import RECIPES, AnyRecipe, EventRecipe, EvolutionRecipe, Recipe, SequenceRecipe, StochasticRecipe
from .reference import simulate
from .sequence import SequenceTask

__all__ = ["RECIPES", "Recipe", "TrainingResult", "nir_bytes", "noise", "train", "write_record"]

DT = 1e-3
SCHEMA = 1
MEASURE_BATCH = 500
NOISE_STEPS = 100
NOISE_SAMPLES = 20

DataRecipe = Recipe | EventRecipe | SequenceRecipe
GradientRecipe = DataRecipe | StochasticRecipe


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
        A key of `RECIPES`.
    data : path, optional
        Folder of the MNIST idx files or of the N-MNIST recordings; not for the others, which need none.
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
        Without torch or snntorch (interception needs neither).
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
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    checkpoint = None if out is None else Path(f"{out}.checkpoint")
    start = time.monotonic()
    if isinstance(recipe, EvolutionRecipe):
        network, content, table = _evolved(name, recipe, data, seed, checkpoint, progress)
    else:
        network, content, table = _fitted(name, recipe, data, seed, threads, checkpoint, progress)
    if out is not None:
        write_atomic(out, content)
    if record is not None:
        write_record(record, name, table)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return TrainingResult(name=name, network=network, nir=content, table=table, seconds=time.monotonic() - start)


def _evolved(
    name: str, recipe: EvolutionRecipe, data: Path | str | None, seed: int, checkpoint: Path | None, progress: bool
) -> tuple[IntegerNetwork, bytes, dict[str, Any]]:
    """Network, NIR file and table of a network that is trained in its loop."""
    from .interception.evolution import evolve, record_table
    from .interception.weights import integer_network, network_nir

    if data is not None:
        raise InputError(f"data {str(data)!r}: network {name!r} is trained on prey that are made for it; give none")
    with _bar(name, progress) as advance:
        weights = evolve(recipe, seed=seed, checkpoint=checkpoint, advance=advance)
    network, content = integer_network(weights, name), network_nir(weights, name)
    return network, content, record_table(recipe, seed, network, content)


def _fitted(
    name: str,
    recipe: GradientRecipe,
    data: Path | str | None,
    seed: int,
    threads: int,
    checkpoint: Path | None,
    progress: bool,
) -> tuple[IntegerNetwork, bytes, dict[str, Any]]:
    """Network, NIR file and table of a network that torch trains on a data set."""
    for tool in ("torch", "snntorch"):
        require_tool(tool)
    dataset = _dataset(name, recipe, data)
    from .training_torch import fit  # seconds to import, and only here are torch and snnTorch needed

    def fitted(recipe: GradientRecipe, title: str, checkpoint: Path | None) -> tuple[list[np.ndarray], tuple[int, ...]]:
        with _bar(title, progress) as advance:
            return fit(
                recipe,
                dataset,
                seed=seed,
                threads=threads,
                checkpoint=checkpoint,
                key=_key(recipe, dataset, seed),
                advance=advance,
            )

    def trained(recipe: Recipe | EventRecipe | SequenceRecipe, title: str, checkpoint: Path | None) -> IntegerNetwork:
        weights, amounts = fitted(recipe, title, checkpoint)
        return _network(name, recipe, weights, amounts)

    if isinstance(recipe, StochasticRecipe):
        from .stochastic_files import integer_network, nir_file, record_table

        assert isinstance(dataset, Dataset)
        arrays, _ = fitted(recipe, name, checkpoint)
        content = nir_file(recipe, arrays)
        network = integer_network(name, recipe, content)
        usual = RECIPES[name].epochs
        return network, content, record_table(name, recipe, dataset, seed, network, content, usual)

    network = trained(recipe, name, checkpoint)
    content = nir_bytes(network)
    table = _table(name, recipe, dataset, seed, network, content)
    if isinstance(recipe, SequenceRecipe):  # what is the feedback worth?
        assert not isinstance(dataset, Dataset)
        control = trained(replace(recipe, recurrent=False), f"{name} without feedback", None)
        table["accuracy_without_feedback"] = _measure_events(control, recipe, dataset)["accuracy"]
    return network, content, table


def _network(
    name: str,
    recipe: DataRecipe,
    weights: list[np.ndarray],
    amounts: tuple[int, ...] | None = None,
) -> IntegerNetwork:
    """The network of the recipe with these integer weights and linear decays."""
    return IntegerNetwork(name=name, layers=recipe.layers(weights, amounts))


def nir_bytes(network: IntegerNetwork, dt: float = DT) -> bytes:
    """The NIR file of a network, by the equations at the top; the same bytes for the same network.

    Parameters
    ----------
    network : IntegerNetwork
        A chain of layers, each of which may feed itself with a delay of one step; leaks by one shift or, of
        potentials, one linear decay; reset zero or a read-out, no bias, and one weight that is the largest of its
        width.
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

    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(network.input_shape)})}
    edges, shape, unit = [], network.input_shape, 1
    before = "input"
    for index, layer in enumerate(network.layers, 1):
        _check_writable(network, layer)
        if isinstance(layer.threshold, int):  # a read-out has none to be 1, and takes that of the layer before
            unit = layer.threshold
        forward, *feedback = layer.connections
        neuron = f"{'li' if layer.threshold is None else 'cuba' if layer.current_bits else 'lif'}{index}"
        if not forward.is_convolution and len(shape) > 1:
            nodes["flatten"] = nir.Flatten({"input": np.array(shape)}, start_dim=0)
            edges.append((before, "flatten"))
            before = "flatten"
        nodes[layer.name] = _synapses(forward, unit)
        nodes[neuron] = _neurons(layer, unit, dt)
        edges += [(before, layer.name), (layer.name, neuron)]
        for connection in feedback:
            nodes[f"{layer.name}_feedback"] = _synapses(connection, unit)
            edges += [(neuron, f"{layer.name}_feedback"), (f"{layer.name}_feedback", neuron)]
        before, shape = neuron, layer.shape
    nodes["output"] = nir.Output({"output": np.array(network.layers[-1].shape)})
    edges.append((before, "output"))
    graph = nir.NIRGraph(nodes=nodes, edges=edges, metadata={})
    again, _ = quantise(import_nir(graph, dt=dt, reset="zero", name=network.name), _options(network))
    if again.content_hash() != network.content_hash():
        raise SpikeloomError(f"network {network.name!r}: its NIR file does not import to the same integer network")
    buffer = io.BytesIO()
    nir.write(buffer, graph)  # pyright: ignore[reportArgumentType] - h5py takes any binary file
    return buffer.getvalue()


def _check_writable(network: IntegerNetwork, layer: IntegerLayer) -> None:
    """Raise InputError unless the equations at the top hold for the layer."""

    def fail(text: str):
        raise InputError(f"layer {layer.name!r}: {text}")

    leaks = [] if layer.current_bits is None else [layer.current_leak]
    leaks += [] if layer.leak.kind == "linear" and not layer.leak.per_neuron else [layer.leak]
    if any(leak.kind != "shift" or len(leak.shifts) != 1 for leak in leaks):
        fail("accepted here is a layer with leaks by one shift, or a linear leak of its potentials")
    if isinstance(layer.threshold, np.ndarray) or layer.refractory or layer.adaptation is not None:
        fail("accepted here is one threshold that stays, and no refractory period")
    if layer.reset not in ("zero", "none") or (layer.reset == "none") != (layer.threshold is None) or layer.bias.any():
        fail("accepted here are reset 'zero' and no bias")
    if layer.threshold is None and layer is network.layers[0]:
        fail("accepted here is a firing layer before a read-out")
    largest = max(int(np.abs(connection.weights).max()) for connection in layer.connections)
    if largest != (1 << (layer.weight_bits - 1)) - 1:
        fail(
            f"its largest weight is {largest}; "
            f"accepted here is {(1 << (layer.weight_bits - 1)) - 1}, the largest of {layer.weight_bits} bits"
        )
    index = network.layers.index(layer)
    before = network.layers[index - 1].name if index else INPUT
    (source, forward), *feedback = zip(network.sources(layer), layer.connections, strict=True)
    if source != before or forward.delay or len(feedback) > 1:
        fail("accepted here is one connection from the layer before, without a delay")
    if any(source != layer.name or connection.delay != 1 for source, connection in feedback):
        fail("accepted here beside it is one connection from the layer itself, with a delay of one step")


def _synapses(connection: Connection, unit: int) -> Any:
    """The NIR node of a connection, its weights in the unit of the threshold."""
    import nir

    if connection.pool != (1, 1):
        raise InputError(f"a pool of {list(connection.pool)}: accepted here is none")
    weight = (connection.weights / unit).astype(np.float32)
    if not connection.is_convolution:
        return nir.Linear(weight=weight)
    _, height, width = connection.pooled_shape
    return nir.Conv2d(
        input_shape=(height, width),
        weight=weight,
        stride=connection.stride,
        padding=connection.padding,
        dilation=(1, 1),
        groups=connection.groups,
        bias=np.zeros(len(weight), np.float32),
    )


def _neurons(layer: IntegerLayer, unit: int, dt: float) -> Any:
    """The NIR node of the neurons of a layer."""
    import nir

    ones, notes = np.ones(layer.shape), {}
    if layer.leak.kind == "linear":
        assert isinstance(layer.leak.amount, int)
        factor = max(1.0, unit / (2 * layer.leak.amount))
        notes = {"metadata": {"linear_decay": layer.leak.amount / unit / dt * ones}}
    else:
        factor = float(1 << layer.leak.shifts[0])
    common = {"r": factor * ones, "v_leak": 0 * ones, **notes}
    if layer.threshold is None:
        return nir.LI(tau=dt * factor * ones, **common)
    common["v_threshold"] = (unit - 0.25) / unit * ones  # v_reset is 0 where it is not given
    if layer.current_bits is None:
        return nir.LIF(tau=dt * factor * ones, **common)
    slow = float(1 << layer.current_leak.shifts[0])
    return nir.CubaLIF(tau_mem=dt * factor * ones, tau_syn=dt * slow * ones, w_in=slow * ones, **common)


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


def _recipe(name: str) -> AnyRecipe:
    """The recipe of a network, or InputError that suggests the nearest name."""
    if name not in RECIPES:
        close = difflib.get_close_matches(str(name), RECIPES, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"network {name!r}: `train` knows {', '.join(sorted(RECIPES))}{hint}")
    return RECIPES[name]


def _dataset(name: str, recipe: GradientRecipe, data: Path | str | None) -> Dataset | EventData | SequenceTask:
    """The data that the recipe asks for."""
    own = {
        "digits": ("scikit-learn's digits", load_digits_split),
        "sequence": ("sequences that are made for it", SequenceTask),
        "moving": ("recordings that are made for it", MovingDigits),
    }
    if recipe.data in own:
        what, made = own[recipe.data]
        if data is not None:
            raise InputError(f"data {str(data)!r}: network {name!r} is trained on {what}; give none")
        return made()
    if data is None:
        what = "MNIST: give the folder of its idx files" if recipe.data == "mnist" else "N-MNIST: give its folder"
        raise InputError(f"network {name!r} is trained on {what} (--data FOLDER)")
    return load_mnist(data) if recipe.data == "mnist" else read_nmnist(data)


def _options(network: IntegerNetwork) -> QuantiseOptions:
    """Quantiser options that give `network` back."""
    return QuantiseOptions(
        weight_bits={layer.name: layer.weight_bits for layer in network.layers},
        potential_bits={layer.name: layer.potential_bits for layer in network.layers},
        current_bits={layer.name: layer.current_bits for layer in network.layers if layer.current_bits is not None},
        leak={layer.name: layer.leak.kind for layer in network.layers},  # type: ignore[arg-type]
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


def _measure_events(
    network: IntegerNetwork, recipe: EventRecipe | SequenceRecipe, dataset: EventData | SequenceTask
) -> dict[str, Any]:
    """Accuracy on the test half of recorded events, and mean spikes per step of each layer."""
    recordings, labels = dataset.half(train=False)
    coding = CodingOptions(coding="events", steps=recipe.steps, step_us=recipe.step_us)
    right, events, fired = 0, 0, np.zeros(len(network.layers), np.int64)
    for start in range(0, len(recordings), MEASURE_BATCH):
        part = slice(start, start + MEASURE_BATCH)
        spikes = encode_spikes(coding, recordings[part], network.inputs)
        trace = simulate(network, spikes)
        right += int((trace.decision() == labels[part]).sum())
        events += int(spikes.sum(dtype=np.int64))
        fired += [int(array.sum(dtype=np.int64)) for array in trace.spikes]
    total = len(recordings) * recipe.steps
    firing = [layer.threshold is not None for layer in network.layers]
    return {
        "steps": recipe.steps,
        "step_us": recipe.step_us,
        "accuracy": round(right / len(recordings), 6),
        "test_samples": len(recordings),
        "input_rate": round(events / total, 3),
        "rates": {
            layer.name: round(float(count) / total, 3)
            for layer, count, fires in zip(network.layers, fired, firing, strict=True)
            if fires
        },
    }


def _use(
    recipe: DataRecipe, dataset: Dataset | EventData | SequenceTask, seed: int, network: IntegerNetwork
) -> dict[str, Any]:
    """The part of the record that depends on the kind of data: coding, decision and measurements."""
    if not isinstance(recipe, Recipe) or not isinstance(dataset, Dataset):
        assert not isinstance(recipe, Recipe)
        assert not isinstance(dataset, Dataset)
        decision = "value" if network.layers[-1].threshold is None else "count"
        return {"coding": "events", "decision": decision, **_measure_events(network, recipe, dataset)}
    table = {
        "coding": "rate",
        "decision": "count",
        **_measure(network, dataset, recipe.steps, recipe.max_rate),
        "test_samples": len(dataset.test_x),
    }
    if recipe.also:
        table["also"] = [_measure(network, dataset, steps, max_rate) for steps, max_rate in recipe.also]
    quiet = []
    for events in recipe.noise_events:
        spikes = noise(network.inputs, events, samples=NOISE_SAMPLES, steps=NOISE_STEPS, seed=seed)
        fired = simulate(network, spikes).spikes[0].sum(axis=2, dtype=np.int64)
        quiet.append({"input_rate": events, "hidden_rate": round(float(fired.mean()), 3), "most": int(fired.max())})
    if quiet:
        table["noise"] = quiet
    return table


def _table(
    name: str,
    recipe: DataRecipe,
    dataset: Dataset | EventData | SequenceTask,
    seed: int,
    network: IntegerNetwork,
    content: bytes,
) -> dict[str, Any]:
    """The network's table of the record: how to use it, how it was made, what it reached."""
    layers = network.layers
    command = f"spikeloom train {name} --out {name}.nir --seed {seed}"
    if recipe.data in ("mnist", "nmnist"):
        command += " --data FOLDER"
    if recipe.epochs != RECIPES[name].epochs:
        command += f" --epochs {recipe.epochs}"
    table = {
        "data": recipe.data,
        "dt": DT,
        "reset": "zero",
        "weight_bits": recipe.weight_bits,
        "potential_bits": recipe.potential_bits,
        "leak": recipe.leak,
        **_use(recipe, dataset, seed, network),
        "threshold": {layer.name: layer.threshold for layer in layers if layer.threshold is not None},
        **(
            {"linear_decay": {layer.name: layer.leak.amount for layer in layers}, "learn_decay": recipe.learn_decay}
            if recipe.leak == "linear"
            else {"leak_shift": {layer.name: layer.leak.shifts[0] for layer in layers}}
        ),
        **({"prune": list(recipe.prune)} if recipe.prune else {}),
        "accumulator_bits": {layer.name: round(float(layer.accumulator_bits().mean()), 3) for layer in layers},
        "nonzero_weights": {layer.name: _nonzero(layer) for layer in layers},
        "sha256": hashlib.sha256(content).hexdigest(),
        "network": network.content_hash(),
        "command": command,
        "seed": seed,
        "epochs": recipe.epochs,
        "versions": {package: importlib.metadata.version(package) for package in ("torch", "snntorch", "nir")},
    }
    if isinstance(recipe, SequenceRecipe):
        table |= {"current_bits": recipe.current_bits, "current_shift": recipe.current_shift}
    return table


def _nonzero(layer: IntegerLayer) -> float:
    """Share of the stored weights that are not 0."""
    return round(sum(int((c.weights != 0).sum()) for c in layer.connections) / layer.synapses, 4)


def _key(recipe: GradientRecipe, dataset: Dataset | EventData | SequenceTask, seed: int) -> str:
    """SHA-256 of what decides the result of a training, versions included."""
    digest = hashlib.sha256(json.dumps([asdict(recipe), seed], sort_keys=True).encode())
    for package in ("torch", "snntorch"):
        digest.update(importlib.metadata.version(package).encode())
    if isinstance(dataset, Dataset):
        arrays = [dataset.train_x, dataset.train_y]
    else:
        recordings, labels = dataset.half(train=True)
        arrays = [labels, *(array for one in recordings for array in (one.times_us, one.addresses))]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
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
