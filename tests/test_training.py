"""Training, and what it left in the zoo. Tests that train skip without torch; those of the files need none."""

import dataclasses
import hashlib
import tomllib

import numpy as np
import pytest

from spikeloom import tools
from spikeloom.errors import InputError, ToolMissing
from spikeloom.network import training, zoo
from spikeloom.network.coding import CodingOptions, encode_spikes, rate
from spikeloom.network.connections import Connection
from spikeloom.network.datasets import load_digits_split, load_mnist, read_nmnist
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.moving import MovingDigits
from spikeloom.network.nir_import import import_nir
from spikeloom.network.quantise import Calibration, QuantiseOptions, quantise
from spikeloom.network.reference import simulate
from spikeloom.network.sequence import SequenceTask
from spikeloom.network.sharing import distinct_levels

EVENTS = ("nmnist", "nmnist_mlp", "nmnist_mlp_pruned", "nmnist_pruned")
SHARED = tuple(f"mnist_shared{levels}" for levels in (4, 8, 16, 32))
PICTURES = ("digits", "mnist4", "mnist512", "mnist8", "mnist_linear", *SHARED)
STOCHASTIC = ("stochastic_cnn", "stochastic_mlp")
NAMES = tuple(sorted((*PICTURES, "interception", "moving", *EVENTS, "recurrent", *STOCHASTIC)))
FITTED = tuple(
    name for name in NAMES if name not in ("interception", *STOCHASTIC)
)  # see test_interception for the other
SHORT = {"epochs": 2, "seed": 3, "progress": False}


def quantised(name, calibration=None):
    """The integer network of a zoo entry, by the path and the settings that a user has."""
    table = zoo.settings(name)
    options = QuantiseOptions(
        weight_bits=table["weight_bits"],
        potential_bits=table["potential_bits"],
        current_bits=table.get("current_bits", "auto"),
        leak=table["leak"],
    )
    return quantise(zoo.load(name), options, calibration=calibration)


def accuracy(network, x, y, steps, max_rate):
    right = 0
    for start in range(0, len(x), 500):
        part = slice(start, start + 500)
        right += int((simulate(network, rate(x[part], steps, max_rate)).counts.argmax(axis=1) == y[part]).sum())
    return right / len(x)


def linear(amount):
    return Leak(kind="linear", amount=amount)


def tiny(**changes):
    """A network that `nir_bytes` accepts."""
    rng = np.random.default_rng(1)
    first, second = rng.integers(-7, 8, (5, 6)), rng.integers(-7, 8, (3, 5))
    first[0, 0] = second[1, 2] = 7
    common = {"weight_bits": 4, "potential_bits": 7, "reset": "zero", "leak": Leak(kind="shift", shifts=(2,))}
    options = {"name": "fc1", "threshold": 16, **common, **changes}
    if "connections" in changes:
        layer = IntegerLayer(**options)
    else:
        layer = IntegerLayer.dense(**{"weights": first, **options})
    return IntegerNetwork(
        name="tiny", layers=(layer, IntegerLayer.dense(name="fc2", weights=second, threshold=32, **common))
    )


def looping(**feedback):
    """Connections of the first layer of `tiny` with a feedback."""
    shape = (5, 3) if feedback.get("source") == "fc2" else (5, 5)
    forward = np.full((5, 6), 7)
    return (
        Connection(weights=forward, source="input"),
        Connection(weights=np.ones(shape, int), **{"source": "fc1", **feedback}),
    )


def test_zoo_is_complete():
    assert zoo.names() == NAMES
    assert tuple(sorted(training.RECIPES)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_zoo_file_is_the_recorded_one(name):
    assert hashlib.sha256(zoo.path(name).read_bytes()).hexdigest() == zoo.settings(name)["sha256"]


@pytest.mark.parametrize("name", PICTURES)
def test_zoo_file_is_a_chain(name):
    nir = pytest.importorskip("nir")
    assert set(nir.read(zoo.path(name)).edges) == {
        ("input", "fc1"),
        ("fc1", "lif1"),
        ("lif1", "fc2"),
        ("fc2", "lif2"),
        ("lif2", "output"),
    }


@pytest.mark.parametrize("name", FITTED)
def test_zoo_file_lies_on_its_integer_grid(name):
    nir = pytest.importorskip("nir")
    table, graph = zoo.settings(name), nir.read(zoo.path(name))
    unit = 1
    for layer, number in table["leak_shift" if table["leak"] == "shift" else "linear_decay"].items():
        theta = unit = table["threshold"].get(layer, unit)  # a read-out is in the unit of the layer before it
        assert theta & (theta - 1) == 0
        nodes = [graph.nodes[key] for key in (layer, f"{layer}_feedback") if key in graph.nodes]
        largest = 0
        for node in nodes:
            integers = node.weight.astype(np.float64) * theta
            assert (integers == np.rint(integers)).all()
            largest = max(largest, np.abs(integers).max())
        assert largest == 2 ** (table["weight_bits"] - 1) - 1
        (neuron,) = {after for before, after in graph.edges if before == layer}
        neurons = graph.nodes[neuron]
        if layer in table["threshold"]:
            wanted = neurons.v_threshold * theta
            for nearest in (np.rint(wanted), np.ceil(wanted), np.floor(wanted) + 1):
                assert (nearest == theta).all()
            assert not neurons.v_reset.any()
        slow = neurons.tau_mem if isinstance(neurons, nir.CubaLIF) else neurons.tau
        factor = 2**number
        if table["leak"] == "linear":  # the tau loses as much at half the threshold
            factor = theta / 2 / number
            np.testing.assert_allclose(neurons.metadata["linear_decay"] * table["dt"] * theta, number, rtol=1e-12)
        np.testing.assert_allclose(slow, table["dt"] * factor, rtol=1e-12)
        np.testing.assert_allclose(neurons.r, factor, rtol=1e-12)
        if isinstance(neurons, nir.CubaLIF):
            np.testing.assert_allclose(neurons.tau_syn, table["dt"] * 2 ** table["current_shift"], rtol=1e-12)
            np.testing.assert_allclose(neurons.w_in, 2 ** table["current_shift"], rtol=1e-12)
        assert not neurons.v_leak.any()


@pytest.mark.parametrize("name", FITTED)
def test_zoo_network_comes_back_exactly(name):
    table = zoo.settings(name)
    network, report = quantised(name)
    assert network.content_hash() == table["network"]
    assert all(layer.on_grid and layer.weight_error_max == 0 for layer in report.layers)
    for layer in network.layers:
        if table["leak"] == "linear":
            assert layer.leak == linear(table["linear_decay"][layer.name])
        else:
            assert layer.leak == Leak(kind="shift", shifts=(table["leak_shift"][layer.name],))
        assert layer.threshold == table["threshold"].get(layer.name)
        assert layer.reset == ("none" if layer.threshold is None else "zero")
        assert layer.accumulator_bits().mean() == pytest.approx(table["accumulator_bits"][layer.name], abs=1e-3)


def test_digits_reach_what_is_recorded():
    table, data = zoo.settings("digits"), load_digits_split()
    spikes = rate(data.test_x, table["steps"], table["max_rate"])
    # the quantiser refuses silent or saturated layers
    network, report = quantised("digits", Calibration(spikes=spikes, labels=data.test_y))
    reached = accuracy(network, data.test_x, data.test_y, table["steps"], table["max_rate"])
    assert reached == pytest.approx(table["accuracy"], abs=1e-6)
    assert reached == report.accuracy_after
    assert reached >= 0.96


@pytest.mark.parametrize(
    ("name", "wanted"), [("mnist4", 0.97), ("mnist8", 0.978), ("mnist_linear", 0.97), ("mnist_shared16", 0.975)]
)
def test_mnist_reaches_what_is_recorded(name, wanted, data_folder):
    table, data = zoo.settings(name), load_mnist(data_folder / "mnist", train=False)
    sample = rate(data.test_x[:300], table["steps"], table["max_rate"])
    network, _ = quantised(name, Calibration(spikes=sample, labels=data.test_y[:300]))
    reached = accuracy(network, data.test_x, data.test_y, table["steps"], table["max_rate"])
    assert reached == pytest.approx(table["accuracy"], abs=1e-6)
    assert reached >= wanted
    assert table["steps"] <= 25


def reached_on_events(name, data):
    """Accuracy of a zoo network on the test half of recorded events."""
    table = zoo.settings(name)
    network, _ = quantised(name)
    recordings, labels = data.half(train=False)
    coding = CodingOptions(coding="events", steps=table["steps"], step_us=table["step_us"])
    trace = simulate(network, encode_spikes(coding, recordings, network.inputs))
    assert len(labels) == table["test_samples"]
    for layer, fired in zip(network.layers, trace.spikes, strict=True):
        if layer.threshold is not None:
            assert fired.sum() / fired.shape[0] / fired.shape[1] == pytest.approx(table["rates"][layer.name], abs=1e-3)
    return network, float((trace.decision(table["decision"]) == labels).mean())


@pytest.mark.parametrize(
    ("name", "wanted"), [("nmnist", 0.92), ("nmnist_mlp", 0.9), ("nmnist_mlp_pruned", 0.9), ("nmnist_pruned", 0.92)]
)
def test_nmnist_reaches_what_is_recorded(name, wanted, data_folder):
    network, reached = reached_on_events(name, read_nmnist(data_folder / "nmnist"))
    assert reached == pytest.approx(zoo.settings(name)["accuracy"], abs=1e-6)
    assert reached >= wanted
    convolutions = sum(layer.connections[0].is_convolution for layer in network.layers)
    assert convolutions == (0 if "mlp" in name else 2)


@pytest.mark.slow
def test_moving_digits_reach_what_is_recorded():
    network, reached = reached_on_events("moving", MovingDigits())
    assert [layer.shape for layer in network.layers] == [(8, 32, 32), (16, 16, 16), (32, 8, 8), (10,)]
    assert reached == pytest.approx(zoo.settings("moving")["accuracy"], abs=1e-6)
    assert reached >= 0.8


@pytest.mark.parametrize("name", SHARED)
def test_shared_networks_have_few_levels(name):
    network, _ = quantised(name)
    levels = distinct_levels(network.layers)
    assert len(levels) <= training.RECIPES[name].levels
    assert 0 in levels


@pytest.mark.parametrize(("name", "layers"), [("stochastic_cnn", 6), ("stochastic_mlp", 2)])
def test_stochastic_networks_lie_on_the_levels_of_two_cells(name, layers):
    network, report = quantised(name)
    recipe = training.RECIPES[name]
    assert len(network.layers) == layers
    for layer, row, step in zip(network.layers, report.layers, recipe.weight_step, strict=True):
        assert layer.stochastic is not None
        weights = layer.connections[0].weights
        assert row.scale * recipe.fraction == pytest.approx(step)
        assert not (weights % recipe.fraction).any()
        assert np.abs(weights).max() == recipe.fraction * (recipe.levels - 1)


@pytest.mark.parametrize(("name", "zeros"), [("nmnist_mlp_pruned", 0.9), ("nmnist_pruned", 0.7)])
def test_pruned_networks_are_sparse(name, zeros):
    table, (network, _) = zoo.settings(name), quantised(name)
    arrays = [layer.connections[0].weights for layer in network.layers]
    assert sum(int((array == 0).sum()) for array in arrays) >= zeros * sum(array.size for array in arrays)
    assert table["prune"] == list(training.RECIPES[name].prune)
    for layer, array, share in zip(network.layers, arrays, table["prune"], strict=True):
        part = (array != 0).mean()
        assert part == pytest.approx(table["nonzero_weights"][layer.name], abs=1e-4)
        assert part <= 1 - share + 0.5 / array.size


def test_recurrent_network_needs_its_feedback():
    table, task = zoo.settings("recurrent"), SequenceTask()
    network, reached = reached_on_events("recurrent", task)
    assert network.is_recurrent
    assert reached == pytest.approx(table["accuracy"], abs=1e-6)
    assert reached >= 0.95
    assert table["accuracy_without_feedback"] < 0.5
    hidden, readout = network.layers
    cut = dataclasses.replace(hidden, connections=hidden.connections[:1])
    recordings, labels = task.half(train=False)
    coding = CodingOptions(coding="events", steps=table["steps"], step_us=table["step_us"])
    trace = simulate(
        dataclasses.replace(network, layers=(cut, readout)), encode_spikes(coding, recordings, network.inputs)
    )
    assert (trace.decision() == labels).mean() < 0.5


def test_benchmark_network_is_small_and_quiet_on_noise():
    table = zoo.settings("mnist4")
    network, _ = quantised("mnist4")
    assert network.layers[0].accumulator_bits().mean() < 8.5
    assert [entry["input_rate"] for entry in table["noise"]] == [8, 78, 157]
    for entry in table["noise"]:
        spikes = training.noise(784, entry["input_rate"], samples=20, steps=100, seed=table["seed"])
        fired = simulate(network, spikes).spikes[0].sum(axis=2)
        assert fired.mean() == pytest.approx(entry["hidden_rate"], abs=1e-3)
        assert fired.max() == entry["most"]
        assert fired.mean() <= 4
        assert fired.max() <= 8


def test_noise_has_the_asked_number_of_events_in_every_step():
    spikes = training.noise(20, 7, samples=3, steps=11, seed=5)
    assert spikes.shape == (3, 11, 20)
    assert (spikes.sum(axis=2) == 7).all()
    assert len(np.unique(spikes.reshape(33, 20), axis=0)) > 20
    assert (spikes == training.noise(20, 7, samples=5, steps=11, seed=5)[:3]).all()
    assert (spikes != training.noise(20, 7, samples=3, steps=11, seed=6)).any()
    with pytest.raises(InputError, match="21 events per step: accepted is 0 to 20"):
        training.noise(20, 21, samples=1, steps=1)


@pytest.mark.parametrize("leak", [Leak(kind="shift", shifts=(2,)), *(linear(d) for d in (1, 5, 8, 16, 99))], ids=str)
def test_nir_bytes_import_to_the_same_network(tmp_path, leak):
    network = tiny(leak=leak)
    content = training.nir_bytes(network)
    assert content == training.nir_bytes(network)
    path = tmp_path / "tiny.nir"
    path.write_bytes(content)
    again, _ = quantise(
        import_nir(path, dt=training.DT, reset="zero"),
        QuantiseOptions(weight_bits=4, potential_bits=7, leak={"fc1": "auto", "fc2": "shift"}),
    )
    assert again.content_hash() == network.content_hash()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leak": Leak()}, "accepted here is a layer with leaks by one shift, or a linear leak of its potentials"),
        ({"leak": Leak(kind="linear", amount=(1, 2, 3, 4, 5))}, "leaks by one shift, or a linear leak"),
        ({"leak": Leak(kind="shift", shifts=(2, 5))}, "leaks by one shift"),
        ({"current_bits": 9}, "leaks by one shift"),
        ({"refractory": 2}, "accepted here is one threshold that stays, and no refractory period"),
        ({"threshold": np.array([16, 16, 16, 16, 17])}, "accepted here is one threshold that stays"),
        ({"connections": looping(delay=2)}, "accepted here beside it is one connection from the layer itself"),
        ({"connections": looping(delay=1, source="fc2")}, "accepted here beside it is one connection from the layer"),
        ({"threshold": None, "reset": "none"}, None),
        ({"reset": "subtract"}, "accepted here are reset 'zero' and no bias"),
        ({"bias": np.array([0, 1, 0, 0, 0])}, "accepted here are reset 'zero' and no bias"),
        ({"weights": np.ones((5, 6), int)}, "layer 'fc1': its largest weight is 1; accepted here is 7"),
    ],
)
def test_nir_bytes_refuses_what_it_cannot_write(changes, message):
    if message is None:  # a read-out is the last layer, so it is tried alone
        layer = dataclasses.replace(tiny().layers[1], **changes)
        network, message = IntegerNetwork(name="readout", layers=(layer,)), "a firing layer before a read-out"
    else:
        network = tiny(**changes)
    with pytest.raises(InputError, match=message):
        training.nir_bytes(network)


def test_record_replaces_one_table(tmp_path):
    path = tmp_path / "record.toml"
    training.write_record(path, "b", {"x": 1, "text": 'a "quoted" word', "flag": True, "list": [{"y": 2.5}]})
    training.write_record(path, "a", {"steps": {"fc1": 3}})
    before = path.read_text()
    training.write_record(path, "b", {"x": 2})
    assert tomllib.loads(before) == {
        "schema": 1,
        "a": {"steps": {"fc1": 3}},
        "b": {"x": 1, "text": 'a "quoted" word', "flag": True, "list": [{"y": 2.5}]},
    }
    assert tomllib.loads(path.read_text()) == {"schema": 1, "a": {"steps": {"fc1": 3}}, "b": {"x": 2}}
    assert before.index("[a]") < before.index("[b]")


@pytest.mark.parametrize("text", ["title = 'mine'\n", "schema = 2\n", "not toml"])
def test_record_leaves_other_files_alone(tmp_path, text):
    path = tmp_path / "record.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"record\.toml: not a .*nothing was changed"):
        training.write_record(path, "b", {"x": 2})
    assert path.read_text() == text


def test_committed_record_is_in_the_form_that_train_writes(tmp_path):
    for name in reversed(NAMES):
        table = zoo.settings(name)
        table.pop("file")  # added by `zoo`
        training.write_record(tmp_path / "zoo.toml", name, table)
    assert (tmp_path / "zoo.toml").read_text() == (zoo.path("digits").parent / "zoo.toml").read_text()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "digit",
            {},
            f"network 'digit': `train` knows {', '.join(NAMES)}; did you mean 'digits'",
        ),
        ("digits", {"seed": -1}, "seed = -1: accepted is an integer from 0 to 18446744073709551615"),
        ("digits", {"seed": 1.0}, "seed = 1.0: accepted is an integer"),
        ("digits", {"epochs": 0}, "epochs = 0: accepted is an integer from 1 to 100000"),
        ("digits", {"threads": True}, "threads = True: accepted is an integer from 1 to 1024"),
        ("digits", {"data": "there"}, "data 'there': network 'digits' is trained on scikit-learn's digits; give none"),
        ("mnist4", {}, r"network 'mnist4' is trained on MNIST: give the folder of its idx files \(--data FOLDER\)"),
        ("nmnist", {}, r"network 'nmnist' is trained on N-MNIST: give its folder \(--data FOLDER\)"),
        ("interception", {"data": "there"}, "data 'there': network 'interception' is trained on prey that are made"),
        ("recurrent", {"data": "there"}, "network 'recurrent' is trained on sequences that are made for it; give none"),
        ("moving", {"data": "there"}, "network 'moving' is trained on recordings that are made for it; give none"),
        ("mnist8", {"data": "nowhere"}, "nowhere: not a folder; accepted is the folder that holds"),
    ],
)
def test_bad_options_are_refused(monkeypatch, name, options, message):
    monkeypatch.setattr(training, "require_tool", lambda tool: None)
    with pytest.raises(InputError, match=message):
        training.train(name, progress=False, **options)


def test_outputs_that_cannot_be_written_are_refused_first(monkeypatch, tmp_path):
    def too_late(tool):
        pytest.fail("the tools were looked for first")

    monkeypatch.setattr(training, "require_tool", too_late)
    with pytest.raises(InputError, match="is a folder; accepted is the name of the NIR file to write"):
        training.train("digits", out=tmp_path, progress=False)
    record = tmp_path / "pyproject.toml"
    record.write_text("[project]\n")
    with pytest.raises(InputError, match="not a record of trained networks with schema = 1; nothing was changed"):
        training.train("digits", record=record, progress=False)


@pytest.mark.parametrize("package", ["torch", "snntorch"])
def test_a_missing_package_is_named(monkeypatch, tmp_path, package):
    found = tools.Found(path=tmp_path, version="9", origin="python")
    real = tools.require_tool
    monkeypatch.setattr(tools, "_package_folder", lambda name: None)
    monkeypatch.setattr(training, "require_tool", lambda name: real(name) if name == package else found)
    with pytest.raises(ToolMissing, match=rf"^{package} is missing; needed by: train; .*'spikeloom\[train\]'"):
        training.train("digits", out=tmp_path / "digits.nir", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def need_torch(need_tool):
    need_tool("torch")
    need_tool("snntorch")


@pytest.fixture(scope="module")
def trained(need_torch, tmp_path_factory):
    """A short training of digits, and the folder that it wrote to."""
    folder = tmp_path_factory.mktemp("trained")
    out, record = folder / "digits.nir", folder / "record.toml"
    return training.train("digits", out=out, record=record, **SHORT), folder


def test_training_writes_a_network_that_loads(trained):
    result, folder = trained
    assert sorted(path.name for path in folder.iterdir()) == ["digits.nir", "record.toml"]
    table = tomllib.loads((folder / "record.toml").read_text())["digits"]
    assert (folder / "digits.nir").read_bytes() == result.nir
    assert table["sha256"] == hashlib.sha256(result.nir).hexdigest()
    assert table["command"] == "spikeloom train digits --out digits.nir --seed 3 --epochs 2"
    options = QuantiseOptions(weight_bits=table["weight_bits"], potential_bits=table["potential_bits"], leak="shift")
    network, _ = quantise(import_nir(folder / "digits.nir", dt=table["dt"], reset="zero"), options)
    assert network.content_hash() == result.network.content_hash() == table["network"]
    data = load_digits_split()
    reached = accuracy(network, data.test_x, data.test_y, table["steps"], table["max_rate"])
    assert reached == pytest.approx(table["accuracy"], abs=1e-6)
    assert reached > 0.5  # ten classes, two epochs


def test_training_is_reproducible(trained):
    result, _ = trained
    assert training.train("digits", **SHORT).nir == result.nir
    assert training.train("digits", **{**SHORT, "seed": 4}).nir != result.nir


def test_training_goes_on_after_an_interruption(trained, tmp_path, monkeypatch):
    from spikeloom.network import training_torch

    result, _ = trained
    out, real = tmp_path / "digits.nir", training_torch.fit
    batches = len(load_digits_split().train_x) // training.RECIPES["digits"].batch
    calls = []

    def interrupted(*arguments, advance, **options):
        def stop(done, total, note):
            calls.append(done)
            if len(calls) == batches + 5:  # in the second epoch
                raise KeyboardInterrupt

        return real(*arguments, advance=stop, **options)

    monkeypatch.setattr(training_torch, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train("digits", out=out, **SHORT)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.nir.checkpoint"]
    calls.clear()
    calls.extend([0] * 1000)  # no second interruption
    training.train("digits", out=out, **SHORT)
    assert calls[1000] == batches + 1  # the first epoch was not repeated
    assert out.read_bytes() == result.nir
    assert [path.name for path in tmp_path.iterdir()] == ["digits.nir"]


def test_a_checkpoint_of_another_training_is_not_used(trained, tmp_path, monkeypatch):
    from spikeloom.network import training_torch

    result, _ = trained
    out, real = tmp_path / "digits.nir", training_torch.fit

    def stopped(*arguments, advance, **options):
        def stop(done, total, note):
            raise KeyboardInterrupt

        return real(*arguments, advance=stop, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training_torch, "fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            training.train("digits", out=out, **{**SHORT, "seed": 9})
    assert training.train("digits", out=out, **SHORT).nir == result.nir


def test_a_damaged_checkpoint_is_named(need_torch, tmp_path):
    path = tmp_path / "digits.nir.checkpoint"
    path.write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"digits\.nir\.checkpoint: not a readable checkpoint .*delete it"):
        training.train("digits", out=tmp_path / "digits.nir", **SHORT)
    assert path.read_bytes() == b"rubbish"


def test_training_needs_one_batch(need_torch):
    from spikeloom.network import training_torch

    data = load_digits_split()
    few = dataclasses.replace(data, train_x=data.train_x[:9], train_y=data.train_y[:9])
    with pytest.raises(InputError, match="9 training samples: accepted are at least 32, one batch"):
        training_torch.fit(
            training.RECIPES["digits"],
            few,
            seed=0,
            threads=1,
            checkpoint=None,
            key="",
            advance=lambda done, total, note: None,
        )


LEAKS = {
    "shift": {},
    "linear": {"leak": "linear"},
    "given": {"leak": "linear", "linear_decay": "odd"},
    "learnt": {"leak": "linear", "learn_decay": True},
}
EVENT_LAYERS = {
    "convolutions": {},
    "dense": {"channels": (), "kernel": (), "stride": (), "hidden": (50, 20)},
    "both": {"channels": (8,), "kernel": (5,), "stride": (2,), "hidden": (20,)},
}


def with_leak(name, leak, **changes):
    """A recipe with another leak; `odd` decays are 3, 5, 7 for its layers."""
    recipe, options = training.RECIPES[name], dict(LEAKS[leak])
    if options.get("linear_decay") == "odd":
        options["linear_decay"] = (3, 5, 7)[: len(recipe.threshold)]
    return dataclasses.replace(recipe, **changes, **options)


@pytest.mark.parametrize(
    ("name", "leak"), [*((name, "shift") for name in PICTURES[:3]), *(("mnist8", leak) for leak in LEAKS)]
)
def test_the_forward_pass_of_training_is_the_reference(need_torch, name, leak):
    """Every spike of every layer, on random weights that drive the potentials into their limits."""
    import torch

    from spikeloom.network import training_torch

    recipe, data = with_leak(name, leak), load_digits_split()
    model = training_torch._Model(recipe, data, seed=1)
    with torch.no_grad():
        model.weights[0] *= 3
    pictures = data.test_x[:50]
    first, second = model.integers()
    encoded = model.encode(torch.from_numpy(pictures))
    hidden = model.layer(0, encoded, first)
    output = model.layer(1, hidden, second)
    weights = [array.detach().numpy().astype(np.int64) for array in (first, second)]
    network = training._network(name, recipe, weights, model.leaks.amounts())
    assert [layer.leak.kind for layer in network.layers] == [recipe.leak] * 2
    spikes = rate(pictures, recipe.steps, recipe.max_rate)
    assert (encoded.numpy().transpose(1, 0, 2) == spikes).all()
    trace = simulate(network, spikes, potentials=True)
    for got, expected in zip((hidden, output), trace.spikes, strict=True):
        assert (got.detach().numpy().transpose(1, 0, 2) == expected).all()
        assert 0 < expected.sum() < expected.size
    assert trace.potentials[0].min() == network.layers[0].v_min  # the clamp was at work
    limit = 2 ** (recipe.weight_bits - 1) - 1
    assert [np.abs(array).max() for array in weights] == [limit, limit]
    assert not weights[0][:, ~(data.train_x > 0).any(axis=0)].any()


def recordings_like_nmnist(folder, count=12):
    """A folder of random recordings in the format of N-MNIST."""
    rng, rows = np.random.default_rng(4), []
    for number in range(count):
        events = np.zeros((600, 5), np.uint8)
        events[:, :2] = rng.integers(0, 34, (600, 2))
        times = np.sort(rng.integers(0, 300_000, 600))
        events[:, 2] = (rng.integers(0, 2, 600) << 7) | times >> 16
        events[:, 3], events[:, 4] = times >> 8 & 255, times & 255
        (folder / f"{number}.bs2").write_bytes(events.tobytes())
        rows.append(f"{number} {number % 10}")
    (folder / "labels.txt").write_text("\n".join(rows))
    return read_nmnist(folder)


@pytest.mark.parametrize(
    ("layers", "leak"),
    [
        ("convolutions", "shift"),
        ("convolutions", "given"),
        ("convolutions", "learnt"),
        ("dense", "shift"),
        ("both", "given"),
    ],
)
def test_the_forward_pass_on_recordings_is_the_reference(need_torch, tmp_path, layers, leak):
    import torch

    from spikeloom.network.training_events import EventModel

    recipe = with_leak("nmnist", leak, potential_bits=11, **EVENT_LAYERS[layers])
    data = recordings_like_nmnist(tmp_path)
    model = EventModel(recipe, data, seed=1)
    with torch.no_grad():
        for weights in model.weights:
            weights *= 3
    recordings, _ = data.half(train=True)
    coding = CodingOptions(coding="events", steps=recipe.steps, step_us=recipe.step_us)
    spikes = encode_spikes(coding, recordings, int(np.prod(data.shape)))
    still = dataclasses.replace(recipe, turn=0, stretch=0, shear=0, shift=0, jitter_us=0, loss=0)
    model.recipe = still
    given = model.distorted(np.arange(len(recordings)), np.random.default_rng(0))
    assert (given.flatten(2).numpy().transpose(1, 0, 2) == spikes).all()  # nothing moves without distortion
    weights = [w.detach().numpy().astype(np.int64) for w in model.integers()]
    network = training._network("nmnist", recipe, weights, model.leaks.amounts())
    trace = simulate(network, spikes, potentials=True)
    for got, expected in zip(model.layers(given), trace.spikes, strict=True):
        assert (got.detach().flatten(2).numpy().transpose(1, 0, 2) == expected).all()
        assert 0 < expected.sum() < expected.size
    assert any(v.min() == layer.v_min for v, layer in zip(trace.potentials, network.layers, strict=True))  # clamped
    names = {"convolutions": ["conv1", "conv2", "fc"], "dense": ["fc1", "fc2", "fc3"], "both": ["conv1", "fc1", "fc2"]}
    assert [layer.name for layer in network.layers] == names[layers]
    assert training.nir_bytes(network)  # which imports it again


def test_distortion_moves_and_loses_events(need_torch, tmp_path):
    from spikeloom.network.training_events import EventModel

    data = recordings_like_nmnist(tmp_path)
    model = EventModel(training.RECIPES["nmnist"], data, seed=1)
    first, second = (model.distorted(np.arange(9), np.random.default_rng(seed)) for seed in (0, 1))
    assert (first != second).any()
    assert (model.distorted(np.arange(9), np.random.default_rng(0)) == first).all()
    assert 0.5 * 9 * 600 < first.sum() < 9 * 600
    assert first.unique().tolist() == [0, 1]


@pytest.mark.parametrize("leak", ["shift", "given", "learnt"])
def test_the_forward_pass_with_feedback_is_the_reference(need_torch, leak):
    import torch

    from spikeloom.network.training_events import SequenceModel

    recipe, task = with_leak("recurrent", leak, potential_bits=9, current_bits=9), SequenceTask(train=40)
    model = SequenceModel(recipe, task, seed=1)
    with torch.no_grad():
        for weights in model.weights:
            weights *= 4
    weights = [w.detach().numpy().astype(np.int64) for w in model.integers()]
    network = training._network("recurrent", recipe, weights, model.leaks.amounts())
    trace = simulate(network, model.spikes.numpy(), potentials=True)
    hidden, readout = model.layers(model.spikes.float())
    assert (hidden.detach().numpy().transpose(1, 0, 2) == trace.spikes[0]).all()
    assert (readout.detach().numpy().transpose(1, 0, 2) == trace.readout).all()
    assert 0 < trace.spikes[0].sum() < trace.spikes[0].size
    assert trace.potentials[0].min() == network.layers[0].v_min  # the clamps were at work
    wider = dataclasses.replace(network.layers[0], current_bits=16)
    other = simulate(dataclasses.replace(network, layers=(wider, network.layers[1])), model.spikes.numpy())
    assert (other.spikes[0] != trace.spikes[0]).any()


def test_training_of_a_sequence_network_writes_what_it_measured(need_torch, monkeypatch, tmp_path):
    monkeypatch.setattr(training, "SequenceTask", lambda: SequenceTask(train=128, test=60))
    out, record = tmp_path / "recurrent.nir", tmp_path / "record.toml"
    result = training.train("recurrent", out=out, record=record, epochs=1, progress=False)
    table = tomllib.loads(record.read_text())["recurrent"]
    assert out.read_bytes() == result.nir
    assert table["sha256"] == hashlib.sha256(result.nir).hexdigest()
    assert table["network"] == result.network.content_hash()
    assert 0 <= table["accuracy_without_feedback"] <= 1
    assert table["test_samples"] == 60


def test_training_of_a_convolutional_network(need_torch, tmp_path):
    recordings_like_nmnist(tmp_path, 42)
    result = training.train("nmnist", data=tmp_path, epochs=1, progress=False)
    assert result.table["test_samples"] == 9
    assert result.table["command"] == "spikeloom train nmnist --out nmnist.nir --seed 0 --data FOLDER --epochs 1"
    assert result.nir == training.train("nmnist", data=tmp_path, epochs=1, progress=False).nir


def test_the_gradient_of_a_linear_leak(need_torch):
    """Against differences of the leak itself, between its kinks."""
    import torch

    from spikeloom.network.straight_through import linear_leak

    v = torch.tensor([-9.0, -4.0, -1.0, 0.0, 1.0, 4.0, 9.0], requires_grad=True)
    d = torch.tensor(3.0, requires_grad=True)
    assert linear_leak(v, d).tolist() == linear_leak(v, 3).tolist() == [-6, -1, 0, 0, 0, 1, 6]
    for given in (d, 3):
        (slope,) = torch.autograd.grad(linear_leak(v, given).sum(), v)
        shifted = (linear_leak(v + 0.25, given) - linear_leak(v, given)) / 0.25
        assert slope.tolist() == shifted.tolist() == [1, 1, 0, 0, 0, 1, 1]
    values = torch.arange(7.0)  # a weight for each, so that none can stand for another
    (slope,) = torch.autograd.grad((linear_leak(v, d) * values).sum(), d)
    shifted = ((linear_leak(v, d + 0.25) - linear_leak(v, d)) * values).sum() / 0.25
    assert slope == shifted == 0 + 1 - 5 - 6


def test_a_linear_decay_is_learnt(need_torch, monkeypatch):
    recipe = dataclasses.replace(with_leak("digits", "learnt"), learning_rate=2e-2)
    monkeypatch.setitem(training.RECIPES, "digits", recipe)
    result = training.train("digits", **SHORT)
    amounts = tuple(layer.leak.amount for layer in result.network.layers)
    assert result.table["linear_decay"] == dict(zip(("fc1", "fc2"), amounts, strict=True))
    assert result.table["leak"] == "linear"
    assert recipe.amounts() == (8, 4)
    assert amounts != (8, 4)
    assert training.train("digits", **SHORT).nir == result.nir


def test_training_with_a_learnt_decay_goes_on_after_an_interruption(need_torch, monkeypatch, tmp_path):
    monkeypatch.setitem(training.RECIPES, "digits", with_leak("digits", "learnt", learning_rate=2e-2))
    from spikeloom.network import training_torch

    out, real = tmp_path / "digits.nir", training_torch.fit
    batches = len(load_digits_split().train_x) // training.RECIPES["digits"].batch

    def interrupted(*arguments, advance, **options):
        def stop(done, total, note):
            if done == batches + 1:
                raise KeyboardInterrupt

        return real(*arguments, advance=stop, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training_torch, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.train("digits", out=out, **SHORT)
    assert training.train("digits", out=out, **SHORT).nir == training.train("digits", **SHORT).nir


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leak": "exponential"}, "leak = 'exponential': accepted are shift, linear"),
        ({"learn_decay": True}, "a linear decay with leak = 'shift'; accepted is leak = 'linear'"),
        ({"linear_decay": (1, 2)}, "a linear decay with leak = 'shift'; accepted is leak = 'linear'"),
        ({"prune": (0.5, 1.0)}, r"prune = \(0\.5, 1\.0\): accepted are shares of at least 0 and below 1"),
        ({"prune": (-0.1, 0.5)}, r"prune = \(-0\.1, 0\.5\): accepted are shares"),
        (
            {"leak": "linear", "linear_decay": (1, 65)},
            r"linear_decay = \(1, 65\): accepted is an integer of at least 1 for each of 2 layers, at most their thre",
        ),
        ({"leak": "linear", "linear_decay": (1,)}, r"linear_decay = \(1,\): accepted is"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(training.RECIPES["digits"], **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": 16}, "levels = 16: accepted are 2 to 256 distinct weights, of a network to start with"),
        ({"levels": 1, "start": "digits"}, "levels = 1: accepted are 2 to 256"),
        ({"cycle": 8, "epochs": 9}, "cycle = 8: accepted is at least the 9 epochs that are trained"),
    ],
)
def test_refused_sharing(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(training.RECIPES["digits"], **changes)


def test_training_shares_weights(need_torch, monkeypatch):
    """A few batches from a network of the zoo: so many levels, in both layers together, the largest in each."""
    recipe = dataclasses.replace(training.RECIPES["digits"], start="digits", levels=8, epochs=1, samples=96)
    monkeypatch.setitem(training.RECIPES, "digits", recipe)
    result = training.train("digits", seed=3, progress=False)
    levels = distinct_levels(result.network.layers)
    assert len(levels) <= 8
    assert 0 in levels
    for layer in result.network.layers:
        assert np.abs(layer.connections[0].weights).max() == 31
    assert result.table["accuracy"] > 0.9


def test_the_pruned_share_grows_over_the_middle_of_the_training():
    recipe = dataclasses.replace(training.RECIPES["digits"], prune=(0.8, 0.4))
    shares = {0.0: 0, 0.2: 0, 0.4: 0.875, 0.6: 1, 1.0: 1}  # halfway, 1 - (1/2)**3
    for done, part in shares.items():
        assert recipe.pruned(done) == pytest.approx((0.8 * part, 0.4 * part))
    assert training.RECIPES["digits"].pruned(1.0) == ()


def test_the_smallest_weights_are_pruned_and_stay_so(need_torch):
    import torch

    from spikeloom.network.training_torch import Pruning

    recipe = dataclasses.replace(training.RECIPES["digits"], prune=(0.75, 0.0))
    first = torch.tensor([[0.1, -0.2, 0.3, -0.4], [0.8, -0.7, 0.6, -0.5]], requires_grad=True)
    second = torch.tensor([0.1, 0.2], requires_grad=True)
    pruning = Pruning(recipe, [first, second])
    pruning.step(0.2)
    assert (first != 0).all()
    pruning.step(0.4)  # round(0.75 * 0.875 * 8) = 5
    assert first.ne(0).tolist() == [[False] * 4, [True, True, True, False]]
    with torch.no_grad():
        first[0] = 9.0  # an optimiser with momentum moves them
    again = Pruning(recipe, [first, second])
    again.load_state_dict(pruning.state_dict())
    again.step(0.41)
    assert first.ne(0).tolist() == [[False] * 4, [True, True, True, False]]
    again.step(0.6)
    again.step(1.0)
    assert first.ne(0).tolist() == [[False] * 4, [True, True, False, False]]
    assert second.ne(0).all()


def test_a_pruned_training_goes_on_after_an_interruption(need_torch, monkeypatch, tmp_path):
    shares = (0.8, 0.4)
    monkeypatch.setitem(training.RECIPES, "digits", dataclasses.replace(training.RECIPES["digits"], prune=shares))
    from spikeloom.network import training_torch

    out, real = tmp_path / "digits.nir", training_torch.fit
    batches = len(load_digits_split().train_x) // training.RECIPES["digits"].batch

    def interrupted(*arguments, advance, **options):
        def stop(done, total, note):
            if done == batches + 1:
                raise KeyboardInterrupt

        return real(*arguments, advance=stop, **options)

    with monkeypatch.context() as patch:
        patch.setattr(training_torch, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            training.train("digits", out=out, **SHORT)
    whole = training.train("digits", **SHORT)
    assert training.train("digits", out=out, **SHORT).nir == whole.nir
    assert whole.table["prune"] == [0.8, 0.4]
    for layer, share in zip(whole.network.layers, shares, strict=True):
        assert 0 < whole.table["nonzero_weights"][layer.name] <= 1 - share + 1e-3
    assert whole.table["accuracy"] > 0.5


def test_pruning_needs_a_share_for_each_array(need_torch, monkeypatch):
    monkeypatch.setitem(training.RECIPES, "digits", dataclasses.replace(training.RECIPES["digits"], prune=(0.5,)))
    with pytest.raises(InputError, match=r"prune = \(0\.5,\): accepted is a share for each of 2 arrays of weights"):
        training.train("digits", **SHORT)


def test_gradients_pass_the_roundings(need_torch):
    import torch

    from spikeloom.network import training_torch

    data = load_digits_split()
    model = training_torch._Model(training.RECIPES["mnist4"], data, seed=1)
    loss, right = model.loss(np.arange(40), np.random.default_rng(0))
    loss.backward()
    assert 0 <= right <= 40
    for weights in model.weights:
        assert torch.isfinite(weights.grad).all()
        assert (weights.grad != 0).float().mean() > 0.5
