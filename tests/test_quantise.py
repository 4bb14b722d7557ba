"""Quantisation: what must come back exactly does, every promise of the options holds, and bad networks are refused."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import projects
from spikeloom.errors import InputError
from spikeloom.network.coding import CodingOptions, current, rate
from spikeloom.network.float_network import FloatLayer, FloatNetwork, simulate_float
from spikeloom.network.integer import IntegerNetwork, Leak
from spikeloom.network.quantise import Calibration, QuantiseOptions, calibrate, fit_leak, quantise
from spikeloom.network.reference import simulate

RESETS = ("zero", "subtract", "delayed_zero", "delayed_subtract", "none")


def net(*layers, **options):
    made = []
    for index, values in enumerate(layers):
        default = {"name": f"fc{index + 1}", "reset": "none" if values.get("threshold") is None else "zero"}
        made.append(FloatLayer.dense(**{**default, **values}))
    return FloatNetwork(**{"name": "net", "layers": tuple(made), "dt": 1.0, **options})


def message(*arguments, **options):
    with pytest.raises(InputError) as error:
        quantise(*arguments, **options)
    return str(error.value)


def noise(shape, density=0.5, seed=0):
    return (np.random.default_rng(seed).random(shape) < density).astype(np.uint8)


@st.composite
def grid_layers(draw):
    """Integer weights of some width with its largest value, and the step they are multiples of."""
    bits = draw(st.integers(2, 16))
    limit = (1 << (bits - 1)) - 1
    neurons, fan_in = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    number = st.integers(-limit, limit)
    integers = np.array(draw(st.lists(number, min_size=neurons * fan_in, max_size=neurons * fan_in)))
    integers[draw(st.integers(0, integers.size - 1))] = draw(st.sampled_from([limit, -limit]))
    return bits, integers.reshape(neurons, fan_in), draw(st.floats(1e-6, 1e6))


@settings(max_examples=300)
@given(grid_layers(), st.integers(1, 1000), st.integers(-1000, 1000), st.sampled_from(RESETS), st.booleans())
def test_grid_trained_networks_come_back(layer, theta, bias, reset, fires_above):
    bits, integers, step = layer
    single = (integers * step).astype(np.float32)  # as frameworks store them
    network = net(
        {
            "weights": single,
            "bias": np.full(len(integers), bias * step),
            "threshold": theta * step,
            "reset": reset,
            "fires_above": fires_above,
        }
    )
    integer, report = quantise(network, QuantiseOptions(weight_bits=bits))
    (got,) = integer.layers
    assert (got.weights == integers).all()
    assert (got.bias == bias).all()
    assert got.threshold == theta + fires_above
    assert got.subtracts == (theta if reset.endswith("subtract") else 0)
    assert report.layers[0].on_grid
    assert report.layers[0].clipped_weights == 0
    assert report.layers[0].weight_error_max < 1e-6


@pytest.mark.parametrize("scale", ["max", "mse"])
def test_grids_that_leave_levels_unused_come_back(scale):
    rng = np.random.default_rng(1)
    full = rng.integers(-8, 7, (20, 30))  # all of 4-bit two's complement but 7
    full[0, 0] = -8
    (layer,) = quantise(net({"weights": full * 0.3}), QuantiseOptions(weight_bits=4, scale=scale))[0].layers
    assert (layer.weights == full).all()
    few = rng.integers(-5, 6, (20, 30))
    (layer,) = quantise(net({"weights": few * 0.3}), QuantiseOptions(weight_bits=4, scale=scale))[0].layers
    assert (layer.weights == few).all()
    (layer,) = quantise(net({"weights": few * 0.3}), QuantiseOptions(weight_bits=6, scale=scale))[0].layers
    assert (layer.weights == 6 * few).all()  # the finest multiple: leaks and thresholds round less


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from(RESETS), st.booleans(), st.integers(2, 10))
def test_without_leak_a_grid_network_does_the_same(seed, reset, fires_above, bits):
    """Spikes and read-out equal at every step, ties at the threshold included: the step is a power of two."""
    rng = np.random.default_rng(seed)
    limit, step = (1 << (bits - 1)) - 1, 2.0**-5
    layers = []
    for neurons, fan_in in ((7, 5), (6, 7), (4, 6)):
        weights = rng.integers(-limit, limit + 1, (neurons, fan_in))
        weights[0, 0] = limit
        bias = rng.integers(-limit, limit + 1, neurons)
        layers.append({"weights": weights * step, "bias": bias * step})
        if len(layers) < 3:
            theta = int(rng.integers(1, 3 * limit + 1))
            layers[-1] |= {"threshold": theta * step, "reset": reset, "fires_above": fires_above}
    network = net(*layers)
    spikes = noise((4, 20, 5), seed=seed)
    options = QuantiseOptions(weight_bits=bits, check="report")
    integer, report = quantise(network, options, calibration=Calibration(spikes=spikes))
    before, after = simulate_float(network, spikes, potentials=True), simulate(integer, spikes, potentials=True)
    assert all((a == b).all() for a, b in zip(before.spikes, after.spikes, strict=True))
    assert before.potentials is not None
    assert after.potentials is not None
    for index, (a, b) in enumerate(zip(before.potentials, after.potentials, strict=True)):
        if not reset.endswith("zero") or index == 2:  # else a clamp above the threshold is allowed, and invisible
            assert (a == b * step).all()
    assert report.agreement == 1


@given(st.integers(0, 2**32), st.integers(2, 12))
def test_weight_errors_are_bounded_and_reported(seed, bits):
    weights = np.random.default_rng(seed).normal(size=(12, 15))
    results = {}
    for scale in ("max", "mse"):
        integer, report = quantise(net({"weights": weights}), QuantiseOptions(weight_bits=bits, scale=scale))
        (layer,), (line,) = integer.layers, report.layers
        error = layer.weights * line.scale - weights
        results[scale] = (error**2).sum()
        assert line.weight_error_max == pytest.approx(np.abs(error).max() / np.abs(weights).max())
        assert line.weight_error_rms == pytest.approx(math.sqrt((error**2).mean() / (weights**2).mean()))
        limit = (1 << (bits - 1)) - 1
        if scale == "max":
            assert np.abs(error).max() <= line.scale / 2 * (1 + 1e-9)
            assert np.abs(layer.weights).max() == limit
            assert line.clipped_weights == 0
        else:
            beyond = np.rint(weights / line.scale)
            assert line.clipped_weights == ((beyond > limit) | (beyond < -limit - 1)).sum()
    assert results["mse"] <= results["max"] * (1 + 1e-12)
    if bits == 2:
        assert results["mse"] < 0.8 * results["max"]


@given(st.integers(0, 2**32), st.floats(0.01, 100), st.booleans())
def test_threshold_rule(seed, theta, fires_above):
    weights = np.random.default_rng(seed).normal(size=(3, 4))
    network = net({"weights": weights, "threshold": theta, "fires_above": fires_above})
    integer, report = quantise(network)
    got, ratio = integer.layers[0].threshold, theta / report.layers[0].scale
    assert got is not None
    assume(abs(ratio - round(ratio)) > 2e-6 * ratio)  # nearer, it counts as the integer
    for u in range(max(1, got - 2), got + 3):
        assert (u >= got) == (u > ratio if fires_above else u >= ratio)
    assert report.layers[0].threshold_wanted == pytest.approx(ratio)


def true_decay(leak):
    """Share that is left of a very large potential."""
    big = np.array([1 << 36])
    return int(leak.apply(big)[0]) / (1 << 36)


@settings(max_examples=200)
@given(st.one_of(st.floats(0, 1), st.integers(1, 6000).map(lambda n: 1 - 1 / n)))
def test_auto_leak_is_the_cheapest_within_tolerance(decay):
    def good(leak, slack=1.0):
        off = abs(true_decay(leak) - decay)
        return off <= slack * 0.01 * decay + 1e-9 and off <= slack * 0.1 * (1 - decay) + 1e-9

    leak = fit_leak("auto", decay)
    one = [Leak(kind="shift", shifts=(k,)) for k in range(1, 25)]
    two = [Leak(kind="shift", shifts=(a, b)) for a in range(1, 24) for b in range(a + 1, 25)]
    if decay == 1:
        assert leak == Leak()
    elif any(good(other, 0.999) for other in one):
        assert leak.kind == "shift"
        assert len(leak.shifts) == 1
        assert good(leak)
    elif any(good(other, 0.999) for other in two):
        assert leak.kind == "shift"
        assert good(leak)
    elif 1e-4 < decay < 0.9999:
        assert leak.kind == "multiply"
        assert good(leak)
        bits = leak.fraction_bits
        fewer = [Leak(kind="multiply", factor=round(decay * 2**f), fraction_bits=f) for f in range(1, bits)]
        assert not any(good(other, 0.999) for other in fewer)
    else:
        assert abs(true_decay(leak) - decay) < 1e-6


@pytest.mark.parametrize(
    ("choice", "decay", "expected"),
    [
        ("auto", 1.0, "none"),
        ("auto", 0.9375, "shift 4"),
        ("auto", 0.25, "shift 1+2"),
        ("auto", 0.9, "shift 4+5"),
        ("auto", 0.0, "multiply 0/2^1"),
        ("auto", 0.8, "multiply 51/2^6"),
        ("shift", 0.8, "shift 2"),
        ("shift2", 0.8, "shift 3+4"),
        ("multiply", 0.75, "multiply 3/2^2"),
        ("multiply", 1.0, "none"),
        ("none", 0.8, "none"),
        (Leak(kind="shift", shifts=(7,)), 0.9, "shift 7"),
    ],
)
def test_leak_choices(choice, decay, expected):
    assert fit_leak(choice, decay).describe() == expected


def test_a_linear_leak_is_not_found_from_a_decay():
    with pytest.raises(InputError, match="layer 'fc': leak = 'linear' from a decay alone; accepted is a fit"):
        fit_leak("linear", 0.9, layer="fc")


@pytest.mark.parametrize("leak", ["shift", "shift2", "multiply", "linear"])
@pytest.mark.parametrize("decay", [0.5, 0.77, 0.9, 0.97])
def test_dead_zone_is_what_never_decays(leak, decay):
    network = net({"weights": np.eye(2), "threshold": 50 / 127, "decay": decay, "fires_above": False})
    calibration = Calibration(spikes=noise((3, 10, 2), 0.7))
    integer, report = quantise(network, QuantiseOptions(leak=leak), calibration=calibration)
    (layer,), (line,) = integer.layers, report.layers
    v = np.arange(-300, 300)
    still = v[layer.leak.apply(v) == v]
    assert still.tolist() == list(range(line.dead_zone[0], line.dead_zone[1] + 1))
    assert line.dead_zone_share == max(-line.dead_zone[0], line.dead_zone[1]) / 50
    zone = [text for text in report.warnings if "never decay" in text]
    assert bool(zone) == (line.dead_zone_share >= 0.1)


def test_report_of_a_poor_leak():
    network = net({"weights": np.eye(2), "threshold": 1.0, "decay": 0.8})
    _, report = quantise(network, QuantiseOptions(leak="shift"))
    (line,) = report.layers
    assert (line.decay_wanted, line.decay_got) == (0.8, 0.75)
    assert line.decay_error == pytest.approx(0.0625)
    assert report.warnings == ("layer 'fc1': leak shift 2 decays by 0.75000 per step, wanted is 0.80000 (6.25 % off)",)
    _, report = quantise(network, QuantiseOptions(leak="shift", decay_tolerance=0.07))
    assert report.warnings == ()


def with_bits(integer: IntegerNetwork, bits):
    layers = [dataclasses.replace(layer, potential_bits=bits) for layer in integer.layers]
    return dataclasses.replace(integer, layers=tuple(layers))


@settings(max_examples=40)
@given(
    st.integers(0, 2**32), st.sampled_from(RESETS), st.sampled_from([1.0, 0.9, 0.5]), st.sampled_from(["clear", "keep"])
)
def test_auto_width_is_the_smallest_that_loses_nothing(seed, reset, decay, state):
    rng = np.random.default_rng(seed)
    first = {"weights": rng.normal(size=(6, 8)), "threshold": 1.0, "reset": reset, "decay": decay}
    network = net(first)
    spikes = noise((5, 12, 8), seed=seed)
    options = QuantiseOptions(weight_bits=6, margin=0, state=state, check="report")
    integer, report = quantise(network, options, calibration=Calibration(spikes=spikes))
    (layer,), (line,) = integer.layers, report.layers
    wide = simulate(with_bits(integer, 32), spikes, potentials=True)
    fits = simulate(integer, spikes, potentials=True)
    assert (wide.spikes[0] == fits.spikes[0]).all()
    assert wide.potentials is not None
    assert fits.potentials is not None
    if not reset == "delayed_zero":  # there, only what lies above the threshold is clamped
        assert (wide.potentials[0] == fits.potentials[0]).all()
    v = wide.potentials[0]
    assert line.potential_low == min(0, v.min())
    # one bit less cannot hold the threshold, or clamps a potential that matters
    assert layer.threshold is not None
    smaller = layer.v_max >> 1
    highest = (
        layer.threshold
        if reset.endswith("zero")
        else max(layer.threshold, (v + layer.subtracts * (reset == "subtract") * wide.spikes[0]).max())
    )
    assert highest > smaller or v.min() < -smaller - 1


def test_margin_widens_what_was_seen():
    network = net({"weights": np.array([[-1.0]]), "threshold": 0.1})
    spikes = np.ones((1, 100, 1), np.uint8)  # falls to -127 * 100 = -12700
    for margin, bits in ((0, 15), (0.25, 15), (0.3, 16), (2, 17)):
        options = QuantiseOptions(margin=margin, check="report")
        integer, report = quantise(network, options, calibration=Calibration(spikes=spikes))
        assert integer.layers[0].potential_bits == bits
        assert report.layers[0].potential_low == -12700


def test_auto_width_holds_the_sum_before_the_reset():
    network = net({"weights": np.array([[1.0, 38 / 127]]), "threshold": 114 / 127, "reset": "subtract"})
    spikes = np.ones((1, 1, 2), np.uint8)  # 165, of which the reset leaves 51: 8 bits hold that and the threshold
    integer, report = quantise(
        network, QuantiseOptions(margin=0, check="report"), calibration=Calibration(spikes=spikes)
    )
    assert report.layers[0].potential_high == 165
    assert integer.layers[0].potential_bits == 9


def test_auto_width_without_calibration():
    weights = np.array([[127, 100, -20], [-127, -30, 0]])
    (layer,) = quantise(net({"weights": weights, "threshold": 50.0}))[0].layers
    assert layer.potential_bits == 10  # -157 .. 227 takes 9
    (layer,) = quantise(net({"weights": weights, "threshold": 5000.0}))[0].layers
    assert layer.potential_bits == 14


def test_explicit_width_must_hold_the_threshold():
    network = net(
        {"weights": np.eye(3), "threshold": 1.0}, {"name": "fc_out", "weights": np.eye(3) * 127, "threshold": 1000.0}
    )
    assert message(network, QuantiseOptions(potential_bits=10)) == (
        "layer 'fc_out': potential_bits = 10 cannot hold its threshold 1001; accepted is 11 or more, or \"auto\""
    )
    integer, _ = quantise(network, QuantiseOptions(potential_bits={"fc_out": 11, "fc1": 9}))
    assert [layer.potential_bits for layer in integer.layers] == [9, 11]


def test_options_by_layer():
    network = net({"weights": np.eye(3), "threshold": 1.0, "decay": 0.9}, {"weights": np.eye(3), "decay": 0.9})
    options = QuantiseOptions(weight_bits={"fc2": 4}, leak={"fc1": "multiply"}, scale={"fc1": "mse"})
    integer, _ = quantise(network, options)
    assert [layer.weight_bits for layer in integer.layers] == [8, 4]
    assert [layer.leak.kind for layer in integer.layers] == ["multiply", "shift"]
    assert message(network, QuantiseOptions(weight_bits={"fc3": 4})) == (
        "weight_bits: there is no layer 'fc3'; accepted are fc1, fc2; did you mean 'fc2'?"
    )


def labelled():
    """A layer that copies its inputs and a read-out that sums them, with inputs of both classes."""
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 40)
    values = rng.random((40, 6)) * 0.4 + np.where(labels[:, None] == (np.arange(6) < 3), 0.3, 0.0)
    network = net(
        {"weights": np.eye(6) + rng.normal(0, 0.1, (6, 6)), "threshold": 1.0, "decay": 0.9, "reset": "subtract"},
        {"weights": rng.normal(0, 0.1, (2, 6)) + (np.arange(2)[:, None] == (np.arange(6) < 3)), "decay": 0.95},
    )
    return network, values, labels


@pytest.mark.parametrize("coding", ["rate", "current"])
def test_report_numbers(coding):
    network, values, labels = labelled()
    calibration = calibrate(CodingOptions(coding=coding, steps=30), values, 6, labels=labels)
    integer, report = quantise(network, QuantiseOptions(weight_bits=8), calibration=calibration)
    if coding == "rate":
        assert (calibration.spikes == rate(values, 30)).all()
        before, after = simulate_float(network, calibration.spikes), simulate(integer, calibration.spikes)
    else:
        assert not calibration.spikes.any()
        direct = values @ network.layers[0].weights.T
        before = simulate_float(network, calibration.spikes, current=direct)
        after = simulate(integer, calibration.spikes, current=current(values, integer.layers[0]))
    assert report.samples == 40
    assert report.steps == 30
    assert report.accuracy_before == (before.decision() == labels).mean()
    assert report.accuracy_after == (after.decision() == labels).mean()
    assert report.agreement == (before.decision() == after.decision()).mean()
    assert report.accuracy_before > 0.8
    assert report.accuracy_after > 0.8
    line, readout = report.layers
    assert line.rate_before == before.spikes[0].mean()
    assert line.rate_after == after.spikes[0].mean()
    assert line.rate_after == pytest.approx(line.rate_before, rel=0.1)
    assert line.silent_before == (before.spikes[0].sum(axis=(0, 1)) == 0).sum()
    assert line.silent_after == (after.spikes[0].sum(axis=(0, 1)) == 0).sum()
    assert readout.rate_after is None
    assert readout.threshold is None
    assert readout.potential_high == after.readout.max() if after.readout is not None else False


@pytest.mark.parametrize("state", ["clear", "keep"])
def test_report_does_not_depend_on_the_blocks(monkeypatch, state):
    from spikeloom.network import quantise as module

    network, values, labels = labelled()
    calibration = calibrate(CodingOptions(steps=30), values, 6, labels=labels)
    whole = quantise(network, QuantiseOptions(state=state), calibration=calibration)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 1000)
    parts = quantise(network, QuantiseOptions(state=state), calibration=calibration)
    assert whole[0].content_hash() == parts[0].content_hash()
    assert whole[1] == parts[1]


def test_report_renders():
    from rich.console import Console

    network, values, labels = labelled()
    calibration = calibrate(CodingOptions(steps=30), values, 6, labels=labels)
    _, report = quantise(network, QuantiseOptions(leak="shift"), calibration=calibration)
    again = json.loads(json.dumps(report.to_json(), sort_keys=True))
    assert again["layers"][0]["dead_zone"] == [0, 7]
    assert again["layers"][1]["name"] == "fc2"
    assert again["accuracy_after"] == report.accuracy_after
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    for part in (
        "fc1",
        "fc2",
        "shift 3",
        "0 .. 7 (",
        "read-out",
        "firing rate",
        "accuracy",
        "on 40 inputs of 30 steps",
    ):
        assert part in text
    static = quantise(network)[1]
    assert "rate_before" in static.to_json()["layers"][0]
    console.print(static.table())
    assert "firing rate" not in console.export_text()


def test_layer_that_went_silent_is_refused():
    # one large weight that is never used makes the step so large that all others round to 0
    weights = np.full((3, 4), 0.3) + np.arange(12).reshape(3, 4) / 997
    weights[:, 3] = 40.0
    network = net({"weights": np.eye(4), "threshold": 0.5}, {"weights": weights, "threshold": 1.0, "name": "hidden"})
    spikes = noise((3, 20, 4))
    spikes[..., 3] = 0
    calibration = Calibration(spikes=spikes)
    before = simulate_float(network, spikes).spikes[1].mean()
    assert message(network, QuantiseOptions(weight_bits=4), calibration=calibration) == (
        f"layer 'hidden' has gone silent: {100 * before:.3g} % of its neuron steps had a spike before quantisation, "
        "none has now; accepted is a layer that fires: use more weight_bits or potential_bits, or a leak nearer to the "
        "decay"
    )
    _, report = quantise(network, QuantiseOptions(weight_bits=4, check="report"), calibration=calibration)
    assert report.warnings[0].startswith("layer 'hidden' has gone silent")
    assert (report.layers[1].silent_before, report.layers[1].silent_after) == (0, 3)
    quantise(network, QuantiseOptions(weight_bits=10), calibration=calibration)


def test_network_that_was_silent_is_refused():
    network = net({"weights": np.eye(4), "threshold": 1e3, "decay": 0.5})
    assert message(network, calibration=Calibration(spikes=noise((3, 20, 4)))) == (
        "layer 'fc1' is silent already before quantisation: none of its 4 neurons fires on the calibration data; "
        "check dt, reset and the input coding"
    )
    network = net({"weights": np.eye(4)})
    assert message(network, calibration=Calibration(spikes=np.zeros((3, 20, 4), np.uint8))) == (
        "layer 'fc1' is silent already before quantisation: its read-out stays 0 on all calibration data; accepted is "
        "a network whose outputs move: use more weight_bits, or check dt, reset and the input coding"
    )


def test_saturated_layers_are_refused():
    spikes = np.ones((1, 200, 1), np.uint8)
    # half is lost in each step: v comes near 1, and is above 0.99 from the seventh input in a row
    network = net({"weights": np.array([[0.5]]), "threshold": 0.99, "decay": 0.5, "reset": "none"})
    assert simulate_float(network, spikes).spikes[0].sum() == 194
    assert message(network, calibration=Calibration(spikes=spikes)) == (
        "layer 'fc1' is saturated already before quantisation: 97 % of its neuron steps have a spike, 97 % had one "
        "before quantisation; accepted is below 95 %: use more weight_bits or potential_bits, or check dt, reset and "
        "the input coding"
    )
    # 12 inputs keep it above for 6 steps; without the leak it stays there for ever, from the second input on
    sparse = np.zeros((1, 200, 1), np.uint8)
    sparse[0, :12] = 1
    assert simulate_float(network, sparse).spikes[0].sum() == 6
    assert message(network, QuantiseOptions(leak="none"), calibration=Calibration(spikes=sparse)) == (
        "layer 'fc1' has saturated: 99.5 % of its neuron steps have a spike, 3 % had one before quantisation; accepted "
        "is below 95 %: use more weight_bits or potential_bits, or check dt, reset and the input coding"
    )
    quantise(network, calibration=Calibration(spikes=sparse))


def test_potentials_at_their_limit_are_refused():
    network = net({"weights": np.array([[1.0], [0.5]])})
    spikes = np.ones((1, 200, 1), np.uint8)
    assert message(network, QuantiseOptions(potential_bits=10), calibration=Calibration(spikes=spikes)) == (
        "layer 'fc1' has saturated: 97 % of its potentials lie at a limit of 10 bits; accepted is below 50 %: "
        "the calibration data needs 16 bits"
    )
    _, report = quantise(network, QuantiseOptions(potential_bits=15), calibration=Calibration(spikes=spikes))
    assert 0 < report.layers[0].pinned_share < 0.5


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"weight_bits": 1}, "weight_bits = 1: accepted is an integer from 2 to 16"),
        ({"weight_bits": 17}, "weight_bits = 17: accepted is an integer from 2 to 16"),
        ({"weight_bits": {"a": 8.0}}, "weight_bits of layer 'a' = 8.0: accepted is an integer from 2 to 16"),
        ({"potential_bits": "wide"}, "potential_bits = 'wide': accepted is \"auto\" or an integer from 2 to 32"),
        ({"leak": "exp"}, "leak = 'exp': accepted is one of auto, none, linear, shift, shift2, multiply"),
        ({"scale": "best"}, "scale = 'best': accepted is one of max, mse"),
        ({"state": "hold"}, "state = 'hold': accepted is one of clear, keep"),
        ({"max_count": 0}, "max_count = 0: accepted is an integer from 1 to 255"),
        ({"margin": -1}, "margin = -1: accepted is a number from 0 to 10"),
        ({"check": "no"}, "check = 'no': accepted is one of refuse, report"),
    ],
)
def test_bad_options(options, expected):
    with pytest.raises(InputError) as error:
        QuantiseOptions(**options)
    assert str(error.value) == expected


def test_bad_networks_and_calibration():
    assert message(net({"weights": np.zeros((2, 3))})) == (
        "layer 'fc1': all its weights are 0; accepted is a trained layer"
    )
    assert message(net({"weights": np.eye(2), "threshold": 1e15})) == (
        "layer 'fc1': its threshold is 1.27e+17 weight steps; accepted is below 2**36: its weights are too small to "
        "reach it"
    )
    assert message(net({"weights": np.eye(2), "bias": np.array([1e15, 0])})) == (
        "layer 'fc1': a bias is 1.27e+17 weight steps; accepted is below 2**36: give it more even weights and biases"
    )
    assert message(net({"weights": np.eye(2)}), calibration=Calibration(spikes=noise((2, 3, 4)))) == (
        "calibration data for 4 inputs; accepted are 2, the inputs of network 'net'"
    )
    for values, expected in (
        (
            {"spikes": noise((0, 3, 4))},
            "calibration spikes of shape (0, 3, 4): accepted is [samples, steps, inputs], none of them 0",
        ),
        (
            {"spikes": noise((2, 3, 4)), "labels": np.zeros(3)},
            "calibration labels for 3 samples: accepted are 2, one per input",
        ),
    ):
        with pytest.raises(InputError) as error:
            Calibration(**values)
        assert str(error.value) == expected


def test_event_counts_reach_the_layer():
    integer, _ = quantise(
        net({"weights": np.eye(2), "threshold": 1.0}, {"weights": np.eye(2)}), QuantiseOptions(max_count=3)
    )
    assert [layer.max_count for layer in integer.layers] == [3, 1]


def test_digits_lose_little():
    from sklearn.linear_model import LogisticRegression

    from spikeloom.network.datasets import load_digits_split

    data = load_digits_split()
    model = LogisticRegression(max_iter=300).fit(data.train_x, data.train_y)
    network = net(
        {"weights": np.eye(64), "threshold": 0.99, "reset": "subtract"},
        {"weights": model.coef_, "bias": model.intercept_},
    )
    calibration = calibrate(CodingOptions(steps=20), data.test_x, 64, labels=data.test_y)
    before = None
    for bits, loss in ((8, 0.01), (6, 0.02), (4, 0.05)):
        _, report = quantise(network, QuantiseOptions(weight_bits=bits), calibration=calibration)
        before = report.accuracy_before
        assert before is not None
        assert before > 0.9
        assert report.accuracy_after is not None
        assert report.accuracy_after > before - loss


@pytest.mark.parametrize("refractory", [2, [2, 0], [0, 3], [1, 4]])
def test_a_refractory_period_comes_from_the_configuration(tmp_path, refractory):
    """Against the same network without one, whose neurons fire in a row."""
    project = projects.load(projects.make_project(tmp_path, habits={"refractory": refractory}, network={"decay": 1.0}))
    steps = refractory if isinstance(refractory, list) else [refractory, refractory]
    assert [layer.refractory for layer in project.network.layers] == steps
    spikes = np.ones((1, 40, 6), np.uint8)
    for trace in (simulate(project.network, spikes), simulate_float(project.float_network, spikes)):
        for fired, rest in zip(trace.spikes, steps, strict=True):
            times = [np.flatnonzero(fired[0, :, neuron]) for neuron in range(fired.shape[2])]
            assert min(np.diff(t).min() for t in times if len(t) > 1) >= rest + 1
    free = simulate(
        dataclasses.replace(
            project.network, layers=tuple(dataclasses.replace(layer, refractory=0) for layer in project.network.layers)
        ),
        spikes,
    )
    assert any((np.diff(np.flatnonzero(free.spikes[0][0, :, neuron])) == 1).any() for neuron in range(5))


def test_habits_that_do_not_fit_are_refused(tmp_path):
    for network, habits, expected in (
        (
            {},
            {"refractory": [1, 2, 3]},
            "network: refractory = [1, 2, 3]: accepted is one number, or one for each of 2 layers: w1, w2",
        ),
        (
            {"readout": True},
            {"refractory": [1, 1]},
            "network: layer 'w2': a refractory period without a threshold: a read-out has none",
        ),
        (
            {"readout": True},
            {"adaptation": [0.5, 0.5]},
            "network: layer 'w2': an adaptive threshold without a threshold: a read-out has none",
        ),
        ({}, {"adaptation": 3e9}, "quantise: layer 'w1': adaptation = 3e+09 is "),
    ):
        path = projects.make_project(tmp_path, network=network, habits=habits)
        with pytest.raises(InputError) as error:
            _ = projects.load(path).network
        assert str(error.value).startswith(f"{path}: {expected}")
    project = projects.load(projects.make_project(tmp_path, network={"readout": True}, habits={"refractory": 3}))
    assert [layer.refractory for layer in project.network.layers] == [3, 0]


def test_an_adaptive_threshold_does_not_go_with_a_delayed_reset(tmp_path):
    path = projects.make_project(tmp_path, reset="delayed_zero", habits={"adaptation": 0.5})
    with pytest.raises(
        InputError, match="an adaptive threshold with reset 'delayed_zero': accepted are zero, subtract"
    ):
        _ = projects.load(path).network


def test_an_adaptive_threshold_comes_from_the_configuration(tmp_path):
    """Integers that need no rounding: both networks fire alike, ever more rarely, as computed here by hand."""
    habits = {"adaptation": [0.5, 0.0], "adaptation_decay": 0.5}
    project = projects.load(projects.make_project(tmp_path, habits=habits, network={"decay": 1.0}))
    layer, second = project.network.layers
    assert second.adaptation is None
    assert layer.adaptation is not None
    assert layer.adaptation.leak == Leak(kind="multiply", factor=1, fraction_bits=1)
    report = project.quantised[1].layers[0]
    assert report.adaptation == layer.adaptation.increment == round(0.5 * report.threshold_wanted)
    assert layer.adaptation.bits == (2 * layer.adaptation.increment).bit_length()
    spikes = np.ones((1, 40, 6), np.uint8)
    weights, theta = layer.connections[0].weights, int(layer.threshold)  # type: ignore[arg-type]
    v, b, expected = np.zeros(5, np.int64), np.zeros(5, np.int64), []
    for _ in range(40):
        v = np.clip(v + weights.sum(1), layer.v_min, layer.v_max)
        s = v >= theta + b
        v = np.where(s, 0, v)
        b = b // 2 + layer.adaptation.increment * s
        expected.append(s)
    fired = simulate(project.network, spikes).spikes[0][0]
    assert (fired == np.array(expected)).all()
    free = dataclasses.replace(layer, adaptation=None)
    assert fired.sum() < simulate(IntegerNetwork(name="free", layers=(free,)), spikes).spikes[0].sum()


def test_an_adaptive_threshold_in_reals_and_integers(tmp_path):
    """A fine weight step: the integer network fires as the trained one, and its b never leaves its width."""
    habits = {"adaptation": 0.3, "adaptation_decay": 0.875}
    project = projects.load(
        projects.make_project(
            tmp_path, habits=habits, reset="subtract", quantise={"weight_bits": 16, "potential_bits": 32}
        )
    )
    rng = np.random.Generator(np.random.Philox(key=[5, 1]))
    spikes = (rng.random((4, 60, 6)) < 0.6).astype(np.uint8)
    real, integer = simulate_float(project.float_network, spikes), simulate(project.network, spikes)
    assert real.spikes[0].sum() > 20
    assert (real.spikes[0] == integer.spikes[0]).mean() > 0.99
    for layer in project.network.layers:
        assert layer.adaptation is not None
        b = np.zeros(1, np.int64)
        for _ in range(400):
            b = layer.adaptation.leak.apply(b) + layer.adaptation.increment
        assert b < 1 << layer.adaptation.bits
