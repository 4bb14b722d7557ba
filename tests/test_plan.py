"""Placement of layers on lanes: groups, rows, widths, what is refused, and what the hash of a core covers."""

import dataclasses
import random
from typing import Any

import numpy as np
import pytest

from networks import network_of, random_spec
from spikeloom.config import DigitalConfig
from spikeloom.errors import InputError
from spikeloom.mapping.plan import CorePlan, plan_core
from spikeloom.mapping.rows import pack_rows
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork


def example(**changes) -> IntegerNetwork:
    rng = random.Random(0)
    first = random_spec(rng, fan_in=3, neurons=7, leak=("shift", 2, 3), reset="subtract", bias=True)
    return network_of([first | changes, random_spec(rng, fan_in=7, neurons=4)])


def plan_of(network: IntegerNetwork | None = None, *, steps: int = 5, direct: bool = False, **core) -> CorePlan:
    return plan_core(network or example(), DigitalConfig(**core), steps=steps, direct=direct)


@pytest.mark.parametrize("bits", [1, 2, 3, 8, 13, 40])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (300, 2)])
def test_packed_rows(shape, bits):
    rng = random.Random(bits)
    values = [[rng.randrange(-(1 << bits - 1), 1 << bits - 1) for _ in range(shape[1])] for _ in range(shape[0])]
    expected = [sum((v & (1 << bits) - 1) << bits * n for n, v in enumerate(row)) for row in values]
    assert pack_rows(np.array(values), bits) == expected
    assert pack_rows(np.zeros(shape, int), 0) == [0] * shape[0]


@pytest.mark.parametrize("lanes", [1, 2, 3, 6, 7])
def test_rows_of_weights_and_biases(lanes):
    """Neuron n sits in lane n mod P of group n // P; lanes without a neuron hold 0."""
    entry = plan_of(lanes=[lanes, 1]).layers[0]
    layer, groups = entry.layer, -(-7 // lanes)
    assert (entry.groups, entry.parallel) == (groups, lanes == 7)

    def field(row: int, lane: int, bits: int) -> int:
        value = row >> bits * lane & (1 << bits) - 1
        return value - (value >> bits - 1 << bits)

    weights, biases = entry.weight_rows(), entry.bias_rows()
    assert (len(weights), len(biases)) == (3 * groups, groups)
    for group in range(groups):
        for lane in range(lanes):
            n = group * lanes + lane
            for source in range(3):
                expected = layer.weights[n, source] if n < 7 else 0
                assert field(weights[source * groups + group], lane, layer.weight_bits) == expected
            assert field(biases[group], lane, entry.bias_bits) == (layer.bias[n] if n < 7 else 0)
    assert max(weights) < 1 << entry.weight_row_bits == 1 << lanes * layer.weight_bits


def test_widths_of_lanes():
    weights = [[0, 0, 0], [7, 7, 7], [0, 1, 0], [-1, 0, 0], [0, 0, 0], [0, -8, -8], [0, 0, 0]]
    network = example(weights=weights, bias=[0, 0, -60, 0, 0, 0, 90])
    need = network.layers[0].accumulator_bits()
    assert need.tolist() == [6, 7, 8, 7, 6, 7, 8]
    for lanes in (1, 2, 3, 7):
        assert plan_of(network, lanes=lanes).layers[0].lane_bits == tuple(max(need[n::lanes]) for n in range(lanes))
    assert plan_of(network, lanes=3).layers[0].lane_bits == (8, 7, 8)
    # Which neuron is the widest is not known before the weights are.
    assert plan_of(network, lanes=3, weights="loaded").layers[0].lane_bits == (max(need),) * 3


def test_bias_bits():
    plain = example(bias=[0] * 7)
    assert plan_of(plain).layers[0].bias_bits == 0
    assert plan_of(plain, parameters="loaded").layers[0].bias_bits == 6
    assert plan_of(example(bias=[0, 3, -4, 0, 0, 0, 0])).layers[0].bias_bits == 3
    assert plan_of(example(bias=[0, 4, -4, 0, 0, 0, 0])).layers[0].bias_bits == 4
    # Every current of W x with x in 0 .. 1 fits.
    weights = [[7, 7, -8]] * 6 + [[-8, -8, -8]]
    assert plan_of(example(weights=weights, bias=[0] * 7), direct=True).layers[0].bias_bits == 6
    assert plan_of(example(weights=[[0] * 3] * 7, bias=[0] * 7), direct=True).layers[0].bias_bits == 1


def test_one_number_of_lanes_suits_narrower_layers():
    assert [entry.lanes for entry in plan_of(lanes=6).layers] == [6, 4]
    assert [entry.lanes for entry in plan_of(lanes="full").layers] == [7, 4]
    assert [entry.lanes for entry in plan_of(lanes=["full", 3]).layers] == [7, 3]


@pytest.mark.parametrize(
    ("core", "message"),
    [
        (
            {"lanes": 8},
            "core.lanes: 8 was given; accepted is 1 to 7, the width of the widest layer 'fc1', or \"full\"",
        ),
        ({"lanes": [8, 4]}, "core.lanes: 8 was given for layer 'fc1'; accepted is 1 to 7 or \"full\""),
        ({"lanes": [7, 5]}, "core.lanes: 5 was given for layer 'fc2'; accepted is 1 to 4 or \"full\""),
        ({"lanes": [7]}, "core.lanes: 1 numbers were given; accepted is one, or one for each of fc1, fc2"),
        ({"lanes": []}, "core.lanes: 0 numbers were given; accepted is one, or one for each of fc1, fc2"),
        (
            {"decision": "value"},
            "core.decision: 'value' was given, but the last layer fires; accepted: count, first, none, auto",
        ),
    ],
)
def test_refused_placements(core, message):
    with pytest.raises(InputError) as caught:
        plan_of(**core)
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", ["count", "first"])
def test_refused_decisions_on_a_read_out(kind):
    readout = network_of([random_spec(random.Random(0), fan_in=2, neurons=3, readout=True)])
    with pytest.raises(InputError) as caught:
        plan_of(readout, decision=kind)
    assert str(caught.value) == (
        f"core.decision: {kind!r} was given, but the last layer is a read-out; accepted: value, none, auto"
    )


@pytest.mark.parametrize(
    ("leak", "message"),
    [
        (("linear", 32), "layer 'fc1': leak_amount = 32: accepted is at most 31"),
        (("shift", 8), "layer 'fc1': leak_shift0 = 8: accepted is at most 7"),
        (("shift", 1, 9), "layer 'fc1': leak_shift1 = 9: accepted is at most 7"),
    ],
)
def test_refused_registers(leak, message):
    plan = plan_of(example(leak=leak), parameters="loaded")
    with pytest.raises(InputError) as caught:
        _ = plan.regions
    assert str(caught.value) == message


def test_regions():
    kinds = {
        ("fixed", "fixed", False): [],
        ("fixed", "fixed", True): [("fc1", "bias")],
        ("loaded", "fixed", False): [("fc1", "weights"), ("fc2", "weights")],
        ("fixed", "loaded", False): [("fc1", "bias"), ("fc1", "registers"), ("fc2", "bias"), ("fc2", "registers")],
    }
    for (weights, parameters, direct), expected in kinds.items():
        plan = plan_of(weights=weights, parameters=parameters, direct=direct, lanes=3)
        assert [region[:2] for region in plan.regions] == expected
        assert plan.loads == bool(expected)
    rows = {region[:2]: region[2:] for region in plan_of(weights="loaded", parameters="loaded", lanes=3).regions}
    assert rows["fc1", "weights"] == (3 * 3, 3 * 4)
    assert rows["fc1", "bias"] == (3, 3 * 6)
    assert rows["fc1", "registers"] == (1, 32 * 4)  # threshold, r and two shifts
    assert rows["fc2", "registers"] == (1, 32)


def test_hash_covers_the_hardware():
    wider = dataclasses.replace(example().layers[0], potential_bits=7)
    networks = [
        None,
        example(theta=14),
        example(r=14),
        example(leak=("shift", 3, 2)),
        example(reset="delayed_subtract"),
        example(bias=[1] * 7),
        example(weights=[[1, 2, 3]] * 7),
        IntegerNetwork(name="net", layers=(wider, example().layers[1])),
        IntegerNetwork(name="net", layers=example().layers, state="keep"),
    ]
    cores: list[dict[str, Any]] = [
        {},
        {"lanes": 3},
        {"weights": "loaded"},
        {"parameters": "loaded"},
        {"queue_depth": 4},
        {"spike_queue": 8},
        {"decision": "first"},
        {"decision": "none"},
        {"readout": "tick"},
        {"probe": True},
        {"direct": True},
        {"steps": 6},
    ]
    hashes = [plan_of(network).hash for network in networks] + [plan_of(**core).hash for core in cores[1:]]
    assert len(set(hashes)) == len(hashes)
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in hashes)
    assert plan_of().hash == hashes[0]
    # What is loaded is not hardware.
    same: dict[str, Any] = {"weights": "loaded", "parameters": "loaded"}
    assert plan_of(example(theta=14), **same).hash == plan_of(**same).hash


def test_a_dense_connection_into_a_map_is_refused():
    """Its weights differ from position to position, which the rows of a map cannot have."""
    kernel = Connection(weights=np.ones((2, 1, 2, 2), int), source_shape=(1, 3, 3))
    dense = Connection(weights=np.ones((8, 9), int), source_shape=(1, 3, 3), source="input")
    layer = IntegerLayer(name="m", connections=(kernel, dense), weight_bits=2, potential_bits=6, threshold=3)
    with pytest.raises(InputError, match=r"layer 'm': a dense connection into a map of \[2, 2, 2\]; accepted there"):
        plan_core(IntegerNetwork(name="net", layers=(layer,)), DigitalConfig(), steps=2)


def test_refuses_a_readout_on_a_map():
    kernel = np.ones((3, 1, 2, 2), np.int64)
    layer = IntegerLayer(
        name="conv", connections=(Connection(weights=kernel, source_shape=(1, 3, 3)),), weight_bits=4,
        potential_bits=9, threshold=None, reset="none",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"a read-out of 3 channels on a map of \[2, 2\]; accepted is one"):
        plan_core(IntegerNetwork(name="net", layers=(layer,)), DigitalConfig(), steps=1)


def test_decisions_on_a_map():
    """Addresses of a map are not in the order of its neurons: none by itself, and none on request."""
    kernel = Connection(weights=np.ones((2, 1, 2, 2), int), source_shape=(1, 3, 3))
    spread = IntegerLayer(name="m", connections=(kernel,), weight_bits=2, potential_bits=6, threshold=3)
    kernel = Connection(weights=np.ones((2, 1, 3, 3), int), source_shape=(1, 3, 3))
    single = IntegerLayer(name="m", connections=(kernel,), weight_bits=2, potential_bits=6, threshold=3)
    spread, single = (IntegerNetwork(name="net", layers=(layer,)) for layer in (spread, single))
    assert plan_core(spread, DigitalConfig(), steps=2).decision == "none"
    assert plan_core(single, DigitalConfig(), steps=2).decision == "count"
    for kind in ("count", "first"):
        assert plan_core(single, DigitalConfig(decision=kind), steps=2).decision == kind
        with pytest.raises(
            InputError, match=rf"core.decision: '{kind}' was given, but the last layer is a map of \[2, 2"
        ):
            plan_core(spread, DigitalConfig(decision=kind), steps=2)
