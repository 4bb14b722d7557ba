"""Linear leaks: trained ones come through exactly, exponential ones become what a brute-force search finds as well."""

import dataclasses
import itertools

import numpy as np
import pytest
from rich.console import Console

import oracle
import projects
from spikeloom.errors import InputError
from spikeloom.network.coding import CodingOptions, current
from spikeloom.network.connections import FloatConnection
from spikeloom.network.float_network import FloatLayer, FloatNetwork, simulate_float
from spikeloom.network.integer import Leak
from spikeloom.network.linear_leak import search
from spikeloom.network.quantise import Calibration, QuantiseOptions, calibrate, quantise
from spikeloom.network.reference import simulate


def net(*layers):
    made = []
    for index, values in enumerate(layers):
        default = {"name": f"fc{index + 1}", "reset": "none" if values.get("threshold") is None else "zero"}
        make = FloatLayer if "connections" in values else FloatLayer.dense
        made.append(make(**{**default, **values}))
    return FloatNetwork(name="net", layers=tuple(made), dt=1.0)


def noise(shape, density=0.4, seed=0):
    return (np.random.default_rng(seed).random(shape) < density).astype(np.uint8)


def weights(*shape, seed=1, mean=0.15):
    return np.random.default_rng(seed).normal(mean, 0.4, shape)


def linear(network, spikes, **options):
    settings = {"weight_bits": 5, "leak": "linear", "check": "report", **options}
    return quantise(network, QuantiseOptions(**settings), calibration=Calibration(spikes=spikes))


def described(layer, d):
    """An integer layer of one dense connection as the oracle takes it, with a linear leak of d."""
    return {
        "weights": layer.connections[0].weights.tolist(),
        "bias": layer.bias.tolist(),
        "leak": ("linear", d),
        "theta": layer.threshold,
        "r": 0 if layer.threshold is None else layer.subtracts,
        "reset": layer.reset,
        "potential_bits": layer.potential_bits,
    }


def errors_of_all(layer, arriving, target, top):
    """Squared distance of the activity [input][neuron or step, neuron] from the target, for d = 1 .. top: [d, neuron].

    By the oracle, in Python integers.
    """
    table = []
    for d in range(1, top + 1):
        answer = oracle.simulate([described(layer, d)], arriving.tolist())
        if layer.threshold is None:
            got = np.array(answer.potentials[0])
        else:
            got = np.array(answer.spikes[0]).sum(axis=1, dtype=np.int64)
        table.append(((got - target) ** 2).sum(axis=tuple(range(got.ndim - 1))))
    return np.array(table)


@pytest.mark.parametrize("reset", ["zero", "subtract", "delayed_subtract"])
def test_a_fit_is_that_of_brute_force(reset):
    first = {"weights": weights(5, 6), "threshold": 0.9, "decay": 0.8, "reset": reset, "bias": np.full(5, 0.02)}
    network, spikes = net(first), noise((6, 12, 6))
    integer, report = linear(network, spikes)
    (layer,), (line,) = integer.layers, report.layers
    trained = simulate_float(network, spikes).spikes[0].sum(axis=1, dtype=np.int64)
    top = int(layer.threshold)
    assert top <= 64  # where every candidate is tried
    errors = errors_of_all(layer, spikes, trained, top).sum(axis=1, dtype=np.int64)
    assert errors.max() > 2 * errors.min()
    assert layer.leak == Leak(kind="linear", amount=int(errors.argmin()) + 1)
    got = simulate(integer, spikes).spikes[0].sum(axis=1, dtype=np.int64)
    assert line.fit.inputs == 6
    assert line.fit.before == pytest.approx(trained.mean())
    assert line.fit.after == pytest.approx(got.mean())
    assert line.fit.difference == pytest.approx(np.sqrt(((got - trained) ** 2).mean()))


def test_a_fit_over_many_candidates_is_near_that_of_brute_force():
    network, spikes = net({"weights": weights(8, 6), "threshold": 0.9, "decay": 0.8}), noise((10, 12, 6))
    (layer,) = linear(network, spikes, weight_bits=9)[0].layers
    trained = simulate_float(network, spikes).spikes[0].sum(axis=1, dtype=np.int64)
    assert layer.threshold > 200
    errors = errors_of_all(layer, spikes, trained, layer.threshold).sum(axis=1, dtype=np.int64)
    assert errors[layer.leak.amount - 1] <= 1.02 * errors.min()


def test_neurons_of_different_decays_get_a_decay_each():
    decay = np.array([0.6, 0.9, 0.6, 0.9])
    network, spikes = net({"weights": weights(4, 6), "threshold": 0.9, "decay": decay}), noise((8, 12, 6))
    (layer,) = linear(network, spikes)[0].layers
    trained = simulate_float(network, spikes).spikes[0].sum(axis=1, dtype=np.int64)
    errors = errors_of_all(layer, spikes, trained, layer.threshold)
    fast, slow = (errors[:, decay == value].sum(axis=1).argmin() + 1 for value in (0.6, 0.9))
    assert fast > slow
    assert layer.leak.amount == (fast, slow, fast, slow)


def test_a_read_out_is_fitted_by_its_potentials():
    network = net(
        {"weights": weights(5, 6), "threshold": 0.9, "decay": 0.6}, {"weights": weights(2, 5, seed=6), "decay": 0.7}
    )
    spikes = noise((4, 10, 6))
    integer, report = linear(network, spikes, weight_bits=4)
    hidden, layer = integer.layers
    assert hidden.leak.kind == "linear"
    target = simulate_float(network, spikes).readout / report.layers[1].scale
    best = []
    for arriving in (simulate(integer, spikes).spikes[0], simulate_float(network, spikes).spikes[0]):
        errors = errors_of_all(layer, arriving, target, int(np.ceil(np.abs(target).max())))
        best.append(errors.sum(axis=1).argmin() + 1)
    assert layer.leak.amount == best[0] != best[1]  # on the spikes of the converted layer, not of the trained one
    assert report.layers[1].fit.before == pytest.approx(np.abs(target).mean())
    assert np.isnan(report.layers[1].decay_got)


def test_feedback_is_that_of_the_trained_network():
    shape = {"source_shape": (5,)}
    first = {
        "connections": (
            FloatConnection(weights=weights(5, 6), source="input"),
            FloatConnection(weights=weights(5, 5, seed=3), source="fc1", delay=1, **shape),
        ),
        "threshold": 0.9,
        "decay": 0.8,
    }
    network, spikes = net(first), noise((6, 12, 6))
    (layer,) = linear(network, spikes)[0].layers
    fired = simulate_float(network, spikes).spikes[0]
    late = np.concatenate([np.zeros((6, 1, 5), np.uint8), fired[:, :-1]], axis=1)
    both = np.concatenate([c.weights for c in layer.connections], axis=1)
    joined = dataclasses.replace(
        layer, connections=(dataclasses.replace(layer.connections[0], weights=both, source_shape=(11,)),)
    )
    errors = errors_of_all(joined, np.concatenate([spikes, late], axis=2), fired.sum(axis=1), int(layer.threshold))
    assert layer.leak.amount == errors.sum(axis=1).argmin() + 1


def test_direct_current_and_kept_states_are_fitted_as_they_run():
    network = net({"weights": weights(5, 6, mean=0.3), "threshold": 2.0, "decay": 0.85})
    values = np.random.default_rng(3).random((6, 6)) * 0.8
    for state in ("clear", "keep"):
        calibration = calibrate(CodingOptions(coding="current", steps=9), values, 6)
        options = QuantiseOptions(weight_bits=5, leak="linear", state=state)
        integer, report = quantise(network, options, calibration=calibration)
        (layer,) = integer.layers
        direct = values @ network.layers[0].weights.T
        trained = (
            simulate_float(network, calibration.spikes, current=direct, state=state)
            .spikes[0]
            .sum(axis=1, dtype=np.int64)
        )
        errors = []
        for d in range(1, int(layer.threshold) + 1):
            changed = dataclasses.replace(layer, leak=Leak(kind="linear", amount=d))
            trace = simulate(
                dataclasses.replace(integer, layers=(changed,)), calibration.spikes, current=current(values, layer)
            )
            errors.append(((trace.spikes[0].sum(axis=1, dtype=np.int64) - trained) ** 2).sum())
        assert layer.leak.amount == int(np.argmin(errors)) + 1
        assert report.layers[0].fit.before == pytest.approx(trained.mean())


def test_a_width_that_clamps_is_part_of_the_fit():
    first = {"weights": weights(5, 6, mean=-0.1), "threshold": 0.9, "decay": 0.8}
    network, spikes = net(first), noise((8, 12, 6))
    trained = simulate_float(network, spikes).spikes[0].sum(axis=1, dtype=np.int64)
    (wide,) = linear(network, spikes)[0].layers
    (layer,) = linear(network, spikes, potential_bits=6)[0].layers
    assert layer.potential_bits == 6 < wide.potential_bits
    errors = errors_of_all(layer, spikes, trained, layer.threshold).sum(axis=1, dtype=np.int64)
    assert layer.leak.amount == errors.argmin() + 1


@pytest.mark.parametrize("top", [1, 2, 3, 63, 64, 65, 1000, 1 << 20])
def test_search_finds_the_bottom_of_a_valley(top):
    groups = np.array([0, 1, 1, 2, 0])
    bottom = np.array([max(1, 7 * top // 10), 1, top])[groups]
    wanted = bottom + np.array([-0.2, 0.2, 0, 0, 0.2])
    calls = []

    def error(amounts):
        calls.append(amounts)
        assert amounts.min() >= 1
        assert amounts.max() <= top
        return (amounts - wanted) ** 2

    best = search(error, groups, 3, top)
    assert (best == bottom).all()
    assert len(calls) <= 150


def test_of_equal_candidates_the_smallest_is_taken():
    assert search(lambda amounts: np.ones(2), np.zeros(2, int), 1, 50).tolist() == [1, 1]
    assert search(lambda amounts: (amounts < 7) * 1.0, np.zeros(1, int), 1, 50).tolist() == [7]


def test_what_cannot_be_fitted_is_refused():
    leaking = {"weights": np.eye(2), "threshold": 1.0, "decay": 0.9}
    still = {"weights": np.eye(2), "threshold": 1.0}
    spikes = noise((2, 3, 2))
    for layers, options, given, expected in (
        (
            [leaking],
            "linear",
            None,
            "layer 'fc1': leak = 'linear' is fitted on calibration data, and there are none; accepted are inputs of a "
            "data set, or auto, none, shift, shift2, multiply",
        ),
        (
            [still, still],
            "linear",
            spikes,
            "network 'net': leak = 'linear', but its layers have no leak to fit; accepted for it are auto, none",
        ),
        (
            [leaking, still],
            {"fc2": "linear"},
            spikes,
            "layer 'fc2': leak = 'linear', but it has no leak to fit; accepted for it are auto, none",
        ),
        (
            [{"weights": np.eye(2), "threshold": 1.0, "linear_decay": 0.1}],
            "shift",
            spikes,
            "layer 'fc1': leak = 'shift', but its leak is linear already; accepted for it are auto, linear, none",
        ),
    ):
        calibration = None if given is None else Calibration(spikes=given)
        with pytest.raises(InputError) as error:
            quantise(net(*layers), QuantiseOptions(leak=options), calibration=calibration)
        assert str(error.value) == expected


def test_layers_without_a_leak_stay_without_one():
    network = net(
        {"weights": weights(4, 6), "threshold": 1.0}, {"weights": weights(3, 4), "threshold": 1.0, "decay": 0.8}
    )
    integer, report = linear(network, noise((4, 10, 6)))
    assert [layer.leak.kind for layer in integer.layers] == ["none", "linear"]
    assert [line.fit is None for line in report.layers] == [True, False]


def test_report_of_a_fit():
    network, spikes = net({"weights": weights(5, 6), "threshold": 0.9, "decay": 0.8}), noise((6, 12, 6))
    _, report = linear(network, spikes)
    console = Console(record=True, width=120, quiet=True)
    with console.capture() as text:
        console.print(report.table())
    del text
    (line,) = report.layers
    assert report.to_json()["layers"][0]["fit"] == dataclasses.asdict(line.fit)
    assert not any("decays by" in warning for warning in report.warnings)
    titles = report.table().columns[0]._cells
    assert "fitted: activity before / after" in titles
    assert quantise(network)[1].layers[0].fit is None


def test_a_leak_that_cannot_keep_the_activity_is_warned_of():
    # 2 bits: a threshold of 2 leaves d = 1 or 2, where 0.97 would take off a thirtieth of a step
    network = net({"weights": np.full((3, 6), 0.2), "threshold": 0.5, "decay": 0.97})
    _, report = linear(network, noise((6, 40, 6), 0.1), weight_bits=2)
    (line,) = report.layers
    assert line.fit.after < 0.9 * line.fit.before
    (warning,) = (text for text in report.warnings if "nearest that calibration finds" in text)
    assert warning.startswith("layer 'fc1': leak linear 1 is the nearest")


def test_a_trained_linear_decay_comes_through_exactly():
    for d, theta, bits in itertools.product((1, 5, 30), (32, 100), (5, 8)):
        limit = 2 ** (bits - 1) - 1
        w = np.random.default_rng(d).integers(-limit, limit + 1, (3, 4)).astype(float)
        w[0, 0] = limit
        network = net({"weights": w / theta, "threshold": (theta - 0.25) / theta, "linear_decay": d / theta})
        for choice in ("auto", "linear"):
            integer, report = quantise(network, QuantiseOptions(weight_bits=bits, leak=choice))
            (layer,) = integer.layers
            assert layer.leak == Leak(kind="linear", amount=d)
            assert layer.threshold == theta
            assert report.warnings == ()
        spikes = noise((4, 20, 4), seed=d)
        assert (simulate(integer, spikes).spikes[0] == simulate_float(network, spikes).spikes[0]).all()


def test_float_networks_decay_linearly():
    network = net({"weights": np.array([[1.0], [-1.0]]), "linear_decay": np.array([0.3, 0.4])})
    spikes = np.array([1, 0, 0, 0, 0, 1], np.uint8).reshape(1, 6, 1)
    v = simulate_float(network, spikes).readout[0]
    np.testing.assert_allclose(v[:, 0], [1, 0.7, 0.4, 0.1, 0, 1], atol=1e-12)
    np.testing.assert_allclose(v[:, 1], [-1, -0.6, -0.2, 0, 0, -1], atol=1e-12)
    for values, expected in (
        ({"linear_decay": -0.1}, "layer 'fc1': linear_decay = -0.1: accepted is a finite number from 0"),
        ({"linear_decay": np.inf}, "layer 'fc1': linear_decay = inf: accepted is a finite number from 0"),
        ({"linear_decay": 0.1, "decay": 0.9}, "layer 'fc1': both decay and linear_decay: accepted is one of them"),
    ):
        with pytest.raises(InputError) as error:
            net({"weights": np.eye(2), **values})
        assert str(error.value) == expected


def test_a_configuration_converts(tmp_path):
    settings = {
        "network": {"sizes": (6, 5, 3)},
        "quantise": {"leak": "linear", "weight_bits": 6},
        "input": {"steps": 20},
    }
    project = projects.load(projects.make_project(tmp_path, name="with", data={"count": 60}, **settings))
    network, report = project.quantised
    assert [layer.leak.kind for layer in network.layers] == ["linear", "linear"]
    assert [line.fit.inputs for line in report.layers] == [60, 60]
    project = projects.load(projects.make_project(tmp_path, name="without", **settings))
    with pytest.raises(InputError, match=r"without\.toml: quantise: layer 'w1': leak = 'linear' is fitted on calibrat"):
        _ = project.quantised
