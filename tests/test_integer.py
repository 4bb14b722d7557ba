"""The integer network's own rules: what it refuses, the range of a leak, what its hash covers."""

import dataclasses
import itertools

import numpy as np
import pytest

import oracle
from spikeloom.errors import InputError
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak, signed_bits

LEAKS = [
    Leak(),
    *(Leak(kind="linear", amount=n) for n in (1, 2, 3, 7, 8, 31, 32, 1000, 1 << 70)),
    *(Leak(kind="shift", shifts=(k,)) for k in (1, 2, 3, 5, 6, 62)),
    *(Leak(kind="shift", shifts=pair) for pair in itertools.product((1, 2, 3, 4, 6, 62), repeat=2)),
    *(Leak(kind="multiply", factor=m, fraction_bits=f) for f in (1, 3, 8) for m in (0, 1, (1 << f) - 1, 1 << f)),
]


def plain(leak: Leak) -> tuple:
    """The leak as the oracle takes it."""
    return {
        "none": ("none",),
        "linear": ("linear", leak.amount),
        "shift": ("shift", *leak.shifts),
        "multiply": ("multiply", leak.factor, leak.fraction_bits),
    }[leak.kind]


def layer(**changes) -> IntegerLayer:
    given = {
        "name": "fc1",
        "weights": np.array([[1, -2], [3, 0]]),
        "weight_bits": 4,
        "potential_bits": 8,
        "threshold": 9,
    }
    return IntegerLayer.dense(**{**given, **changes})


def network(*layers, **changes) -> IntegerNetwork:
    return IntegerNetwork(**{"name": "net", "layers": layers or (layer(),), **changes})


def test_signed_bits():
    for low, high in itertools.combinations_with_replacement(range(-20, 21), 2):
        bits = signed_bits(low, high)
        assert -(1 << bits - 1) <= low <= high < 1 << bits - 1
        assert bits == 1 or not -(1 << bits - 2) <= low <= high < 1 << bits - 2


@pytest.mark.parametrize("leak", LEAKS, ids=Leak.describe)
def test_leak_and_its_range(leak):
    for bits, kind in itertools.product((2, 4, 6), (np.int16, np.int32, np.int64)):
        numbers = range(-(1 << bits - 1), 1 << bits - 1)
        expected = [oracle.leaked(v, plain(leak)) for v in numbers]
        answer = leak.apply(np.array(numbers, kind))
        assert answer.dtype == kind
        assert answer.tolist() == expected
    for low, high in itertools.combinations_with_replacement(numbers, 2):
        values = expected[low - numbers[0] : high - numbers[0] + 1]
        assert leak.range(low, high) == (min(values), max(values))


@pytest.mark.parametrize("leak", LEAKS, ids=Leak.describe)
@pytest.mark.parametrize("bits", [2, 3, 6])
def test_no_leak_leaves_the_width_of_the_potential(leak, bits):
    """So a core is wide enough for leaks that are loaded later, whatever they are."""
    low, high = leak.range(-(1 << bits - 1), (1 << bits - 1) - 1)
    assert -(1 << bits - 1) <= low <= high < 1 << bits - 1


def test_leak_takes_the_lowest_potential_to_zero():
    for bits in (8, 16, 32):
        low = -(1 << bits - 1)
        assert Leak(kind="linear", amount=-low).range(low, -low - 1) == (0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "exp"}, "leak kind 'exp': accepted are none, linear, shift, multiply"),
        ({"kind": "linear"}, "linear leak of 0 per step: accepted is an integer of at least 1"),
        ({"kind": "shift"}, "shift leak by (): accepted are one or two shifts of 1 to 62"),
        ({"kind": "shift", "shifts": (0,)}, "shift leak by (0,): accepted are one or two shifts of 1 to 62"),
        ({"kind": "shift", "shifts": (1, 63)}, "shift leak by (1, 63): accepted are one or two shifts of 1 to 62"),
        ({"kind": "shift", "shifts": (1, 2, 3)}, "shift leak by (1, 2, 3): accepted are one or two shifts of 1 to 62"),
        (
            {"kind": "multiply", "factor": 9, "fraction_bits": 3},
            "multiply leak by 9 / 2**3: accepted are 1 to 24 fraction bits and a factor of 0 to 2**fraction_bits",
        ),
        (
            {"kind": "multiply", "factor": -1, "fraction_bits": 3},
            "multiply leak by -1 / 2**3: accepted are 1 to 24 fraction bits and a factor of 0 to 2**fraction_bits",
        ),
        (
            {"kind": "multiply", "factor": 1, "fraction_bits": 25},
            "multiply leak by 1 / 2**25: accepted are 1 to 24 fraction bits and a factor of 0 to 2**fraction_bits",
        ),
        ({"amount": 1}, "leak parameter amount = 1 does not belong to kind 'none'"),
        (
            {"kind": "linear", "amount": 1, "shifts": (2,)},
            "leak parameter shifts = (2,) does not belong to kind 'linear'",
        ),
        ({"kind": "shift", "shifts": (1,), "factor": 1}, "leak parameter factor = 1 does not belong to kind 'shift'"),
        (
            {"kind": "multiply", "fraction_bits": 2, "amount": 1},
            "leak parameter amount = 1 does not belong to kind 'multiply'",
        ),
    ],
)
def test_refused_leaks(options, message):
    with pytest.raises(InputError) as caught:
        Leak(**options)
    assert str(caught.value) == message


def test_leak_descriptions():
    described = [Leak().describe(), *(leak.describe() for leak in (LEAKS[1], LEAKS[10], LEAKS[17], LEAKS[-2]))]
    assert described == ["none", "linear 1", "shift 1", "shift 1+2", "multiply 255/2^8"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"weights": np.ones((2, 2))},
            "weights of shape (2, 2) and type float64: accepted is [neurons, fan_in] or "
            "[channels, source channels of a group, kernel height, kernel width] of integers",
        ),
        (
            {"weights": np.ones(3, int)},
            "weights of shape (3,) and type int64: accepted is [neurons, fan_in] or "
            "[channels, source channels of a group, kernel height, kernel width] of integers",
        ),
        (
            {"weights": np.ones((2, 0), int)},
            "weights of shape (2, 0) and type int64: accepted is [neurons, fan_in] or "
            "[channels, source channels of a group, kernel height, kernel width] of integers",
        ),
        ({"bias": np.zeros(3, int)}, "bias of shape (3,) and type int64: accepted are 2 integers"),
        ({"bias": np.zeros(2)}, "bias of shape (2,) and type float64: accepted are 2 integers"),
        (
            {"weights": np.full((1, 1), (1 << 64) - 1, np.uint64)},
            "weights from 18446744073709551615 to 18446744073709551615 need more than 62 bits",
        ),
        (
            {"bias": np.array([0, -(1 << 63)])},
            "bias from -9223372036854775808 to 0 need more than 62 bits",
        ),
        ({"weight_bits": 0}, "weight_bits = 0: accepted is 1 to 32"),
        ({"weight_bits": 33}, "weight_bits = 33: accepted is 1 to 32"),
        ({"potential_bits": 1}, "potential_bits = 1: accepted is 2 to 48"),
        ({"potential_bits": 49}, "potential_bits = 49: accepted is 2 to 48"),
        ({"weight_bits": 2}, "weights from -2 to 3 need 3 bits; weight_bits is 2"),
        ({"reset": "soft"}, "reset 'soft': accepted are zero, subtract, delayed_zero, delayed_subtract, none"),
        ({"max_count": 0}, "max_count = 0: accepted is at least 1"),
        ({"threshold": None}, "reset 'zero' without a threshold: a read-out has reset = 'none'"),
        (
            {"threshold": 0},
            "threshold 0 is unreachable: 8-bit potentials reach 1 to 127; raise potential_bits or lower the threshold",
        ),
        (
            {"threshold": 128},
            "threshold 128 is unreachable: 8-bit potentials reach 1 to 127; "
            "raise potential_bits or lower the threshold",
        ),
        ({"reset_amount": 3}, "reset_amount = 3 does not belong to reset 'zero'"),
        ({"reset": "subtract", "reset_amount": 0}, "reset_amount = 0: accepted is 1 to 127"),
        ({"reset": "delayed_subtract", "reset_amount": 128}, "reset_amount = 128: accepted is 1 to 127"),
        (
            {"leak": Leak(kind="multiply", factor=1, fraction_bits=24), "potential_bits": 39},
            "potential_bits = 39 and 24 fraction bits of the leak: accepted are at most 62 together",
        ),
        # 2**64 would be 0 in 64-bit arithmetic
        (
            {"weights": np.array([[1 << 30]]), "weight_bits": 32, "max_count": 1 << 34},
            f"its sums reach {(1 << 64) + 128} and need more than 62 bits",
        ),
    ],
)
def test_refused_layers(changes, message):
    with pytest.raises(InputError) as caught:
        layer(**changes)
    assert str(caught.value) == f"layer 'fc1': {message}"


def test_widest_layers_are_accepted():
    wide = Leak(kind="multiply", factor=1 << 24, fraction_bits=24)
    assert layer(leak=wide, potential_bits=38, threshold=(1 << 37) - 1).v_max == (1 << 37) - 1
    assert layer(weights=np.array([[-(1 << 31), (1 << 31) - 1]]), weight_bits=32, potential_bits=48).v_min == -(1 << 47)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IntegerNetwork(name="net", layers=()), "network 'net' has no layer; accepted is at least one"),
        (lambda: network(state="reset"), "network 'net': state 'reset': accepted are clear, keep"),
        (lambda: network(layer(), layer()), "network 'net': layer names ['fc1', 'fc1'] must differ"),
        (
            lambda: network(layer(threshold=None, reset="none"), layer(name="fc2")),
            "layer 'fc1' is a read-out; only the last layer may be one",
        ),
        (
            lambda: network(layer(), layer(name="fc2", weights=np.ones((4, 3), int))),
            "layer 'fc2' has a fan-in of 3, but 'fc1' has 2 neurons",
        ),
    ],
)
def test_refused_networks(make, message):
    with pytest.raises(InputError) as caught:
        make()
    assert str(caught.value) == message


def test_properties():
    one = layer(weights=np.ones((3, 5), int), weight_bits=2)
    two = layer(name="fc2", weights=np.ones((4, 3), int), reset="subtract", reset_amount=5)
    net = network(one, two)
    assert (one.neurons, one.fan_in, one.v_min, one.v_max, one.subtracts) == (3, 5, -128, 127, 0)
    assert (two.subtracts, dataclasses.replace(two, reset_amount=None).subtracts) == (5, 9)
    assert (net.inputs, net.outputs) == (5, 4)
    assert one.bias.tolist() == [0, 0, 0]


def test_arrays_are_copied_and_cannot_be_changed():
    weights, bias = np.array([[1, -2], [3, 0]]), np.array([1, 2])
    made = layer(weights=weights, bias=bias)
    weights[0, 0], bias[0] = 7, 7
    assert made.weights[0, 0] == made.bias[0] == 1
    for array in (made.weights, made.bias):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_hash_covers_everything_that_decides_an_answer():
    given = {"reset": "subtract", "reset_amount": 8, "leak": Leak(kind="shift", shifts=(3, 4))}
    multiply = {"kind": "multiply", "factor": 3, "fraction_bits": 4}
    networks = [
        network(layer(**given)),
        network(layer(**given), state="keep"),
        *(
            network(layer(**{**given, **changes}))
            for changes in (
                {"weights": np.array([[1, -2], [3, 1]])},
                {"weights": np.array([[1, -2, 3, 0]])},
                {"bias": np.array([0, 1])},
                {"weight_bits": 5},
                {"potential_bits": 9},
                {"threshold": 10},
                {"reset_amount": 7},
                {"reset": "delayed_subtract"},
                {"max_count": 2},
                {"leak": Leak(kind="shift", shifts=(4, 3))},
                {"leak": Leak(kind="shift", shifts=(3,))},
                {"leak": Leak(kind="linear", amount=3)},
                {"leak": Leak(kind="linear", amount=4)},
                {"leak": Leak(**multiply)},
                {"leak": Leak(**{**multiply, "factor": 4})},
                {"leak": Leak(**{**multiply, "fraction_bits": 5})},
            )
        ),
        network(layer(**given), layer(name="fc2")),
        network(layer(name="fc2"), layer(**given)),
    ]
    hashes = [entry.content_hash() for entry in networks]
    assert len(set(hashes)) == len(networks)
    assert hashes[0] == network(layer(**given)).content_hash()
    # A name, and a default written out, decide nothing.
    assert network(layer(**given, name="other"), name="other").content_hash() == hashes[0]
    whole = {**given, "reset_amount": None}
    assert network(layer(**whole)).content_hash() == network(layer(**{**whole, "reset_amount": 9})).content_hash()
