"""Images: what they hold, and every network that a core could not compute exactly is refused."""

import dataclasses
import random
import struct
from typing import Any

import numpy as np
import pytest

from core_bench import run_core
from networks import network_of, random_spec
from spikeloom.config import DigitalConfig
from spikeloom.errors import InputError
from spikeloom.mapping.image import build_image, image_words, read_image
from spikeloom.mapping.plan import MAGIC, CorePlan, plan_core
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import simulate


def specs() -> list[dict]:
    rng = random.Random(0)
    return [
        random_spec(rng, fan_in=3, neurons=5, leak=("shift", 2), reset="subtract", bias=True)
        | {"weights": [[-8, -8, 7], [7, 7, 7], [-8, 1, 2], [0, 0, 0], [3, -3, 4]], "bias": [3, -4, 0, 1, 7]},
        random_spec(rng, fan_in=5, neurons=2, readout=True),
    ]


def plan_of(*, direct: bool = False, **core) -> CorePlan:
    return plan_core(network_of(specs()), DigitalConfig(**core), steps=4, direct=direct)


def changed(state: str = "clear", **changes) -> IntegerNetwork:
    network = network_of(specs())
    if "weights" in changes:
        changes = {"connections": (Connection(weights=changes["weights"]),)} | changes
        del changes["weights"]
    first = dataclasses.replace(network.layers[0], **changes)
    return IntegerNetwork(name="other", layers=(first, network.layers[1]), state=state)  # type: ignore[arg-type]


BOTH: dict[str, Any] = {"weights": "loaded", "parameters": "loaded"}


def test_words_by_hand():
    """Head, then region, count and rows in turn; a row fills whole words, lowest lane in the lowest bits."""
    plan = plan_of(lanes=2, **BOTH)
    words = image_words(plan)
    core = int(plan.hash, 16)
    assert words[:4] == [MAGIC, core & 0xFFFF_FFFF, core >> 32, len(words) - 4]
    assert [region[:3] for region in plan.regions[:3]] == [
        ("fc1", "weights", 9),
        ("fc1", "bias", 3),
        ("fc1", "registers", 1),
    ]
    # Source 0 of groups (0, 1), (2, 3), (4, -): 4-bit weights, the second lane above the first.
    assert words[4:8] == [0 << 24 | 9, 7 << 4 | 8, 0 << 4 | 8, 3]
    at = 5 + 9
    assert words[at : at + 4] == [1 << 24 | 3, 60 << 6 | 3, 1 << 6 | 0, 7]  # 6-bit biases 3, -4; 0, 1; 7
    assert words[at + 4 : at + 8] == [2 << 24 | 1, 15, 15, 2]  # threshold, r, shift
    assert build_image(plan) == struct.pack(f"<{len(words)}I", *words)
    assert read_image(build_image(plan), plan) == words


def test_rows_wider_than_a_word():
    plan = plan_of(lanes="full", weights="loaded")
    words = image_words(plan)
    row = sum((w & 15) << 4 * n for n, w in enumerate([-8, 7, -8, 0, 3]))
    assert words[4:6] == [3, row]
    wide = plan_core(changed(weights=np.full((5, 3), -5), weight_bits=9), DigitalConfig(weights="loaded"), steps=1)
    row = sum((-5 & 511) << 9 * n for n in range(5))
    assert image_words(wide)[4:8] == [3, row & 0xFFFF_FFFF, row >> 32, row & 0xFFFF_FFFF]


def test_direct_current():
    plan = plan_of(lanes=3, direct=True)
    current = np.array([1, -2, 3, -4, 5])
    words = image_words(plan, current=current)
    assert words[3] == 1 + 2  # only the biases of the first layer
    bits = plan.layers[0].bias_bits
    sums = current + np.array([3, -4, 0, 1, 7])
    rows = [sum((int(v) & (1 << bits) - 1) << bits * n for n, v in enumerate(part)) for part in (sums[:3], sums[3:])]
    assert words[4:] == [0 << 24 | 2, *rows]


CHANGES = [
    (
        {"weights": np.zeros((5, 4), int)},
        BOTH,
        "layer 'fc1': shape [5, 4] does not fit the core; accepted: [5, 3] [neurons, fan_in]",
    ),
    ({"weight_bits": 5}, BOTH, "layer 'fc1': weight_bits 5 does not fit the core; accepted: 4"),
    ({"potential_bits": 7}, BOTH, "layer 'fc1': potential_bits 7 does not fit the core; accepted: 6"),
    (
        {"reset": "delayed_subtract"},
        BOTH,
        "layer 'fc1': reset 'delayed_subtract' does not fit the core; accepted: 'subtract'",
    ),
    ({"max_count": 2}, BOTH, "layer 'fc1': max_count 2 does not fit the core; accepted: 1"),
    (
        {"leak": Leak(kind="linear", amount=2)},
        BOTH,
        "layer 'fc1': leak 'linear 2' does not fit the core; accepted: the kind of 'shift 2'",
    ),
    (
        {"leak": Leak(kind="shift", shifts=(2, 3))},
        BOTH,
        "layer 'fc1': leak 'shift 2+3' does not fit the core; accepted: the kind of 'shift 2'",
    ),
    (
        {"leak": Leak(kind="shift", shifts=(8,))},
        BOTH,
        "layer 'fc1': leak_shift0 = 8 does not fit the core; accepted: 0 to 7",
    ),
    (
        {"bias": np.array([0, 0, 0, 0, 32])},
        BOTH,
        "layer 'fc1': bias from 0 to 32 does not fit the core; accepted: -32 to 31",
    ),
    (
        {"weights": np.full((5, 3), 1)},
        {"parameters": "loaded"},
        "layer 'fc1': another set of weights does not fit the core; accepted: the one fixed at elaboration, "
        "or core.weights = 'loaded'",
    ),
    (
        {"bias": np.zeros(5, int)},
        {"weights": "loaded"},
        "layer 'fc1': another bias does not fit the core; accepted: the one fixed at elaboration, "
        "or core.parameters = 'loaded'",
    ),
    (
        {"threshold": 9},
        {"weights": "loaded"},
        "layer 'fc1': another threshold, reset or leak does not fit the core; accepted: those fixed at elaboration, "
        "or core.parameters = 'loaded'",
    ),
    (
        {"reset_amount": 9},
        {"weights": "loaded"},
        "layer 'fc1': another threshold, reset or leak does not fit the core; accepted: those fixed at elaboration, "
        "or core.parameters = 'loaded'",
    ),
    ({"state": "keep"}, BOTH, "the network's state is 'keep'; the core was built for 'clear'"),
]


@pytest.mark.parametrize(("changes", "core", "message"), CHANGES)
def test_refused_networks(changes, core, message):
    plan, network = plan_of(**core), changed(**changes)
    with pytest.raises(InputError) as caught:
        image_words(plan, network)
    assert str(caught.value) == message


def test_refused_kinds_of_layers():
    plan = plan_of(**BOTH)
    first, last = network_of(specs()).layers
    with pytest.raises(InputError) as caught:
        image_words(plan, IntegerNetwork(name="short", layers=(first,)))
    assert str(caught.value) == "the network has 1 layers; the core has 2"
    fires = dataclasses.replace(last, threshold=5)
    with pytest.raises(InputError) as caught:
        image_words(plan, IntegerNetwork(name="fires", layers=(first, fires)))
    assert str(caught.value) == "layer 'fc2': threshold 5 does not fit the core; accepted: a read-out"


def test_refused_cores_and_currents():
    with pytest.raises(InputError) as caught:
        image_words(plan_of())
    assert str(caught.value) == (
        "this core loads nothing: weights and parameters are fixed; set core.weights or core.parameters to 'loaded'"
    )
    with pytest.raises(InputError) as caught:
        image_words(plan_of(weights="loaded"), current=np.zeros(5, int))
    assert str(caught.value) == "layer 'fc1': this core takes no direct current: its biases are fixed"
    plan = plan_of(direct=True)
    for current, given in ((np.zeros(4, int), "(4,) and type int64"), (np.zeros(5), "(5,) and type float64")):
        with pytest.raises(InputError) as caught:
            image_words(plan, current=current)
        assert str(caught.value) == f"current of shape {given}: accepted are 5 integers"
    with pytest.raises(InputError) as caught:
        image_words(plan, current=np.array([0, 0, 0, 99, 0]))
    assert str(caught.value) == "layer 'fc1': bias from -4 to 100 does not fit the core; accepted: -32 to 31"


def test_refused_files():
    plan = plan_of(**BOTH)
    data = build_image(plan)
    not_one = "f.bin: not an image: accepted is a file that `spikeloom image` wrote"
    other = plan_of(lanes=2, **BOTH)
    cases = {
        b"": not_one,
        data[:12]: not_one,
        data[:-1]: not_one,
        b"\0" + data[1:]: not_one,
        data[:-4]: f"f.bin: holds {len(data) // 4 - 5} words where its head says {len(data) // 4 - 4}; it is damaged",
        build_image(other): f"f.bin: made for core {other.hash}; accepted here is core {plan.hash}: "
        "build the image for this core",
    }
    for content, message in cases.items():
        with pytest.raises(InputError) as caught:
            read_image(content, plan, origin="f.bin")
        assert str(caught.value) == message


def one_neuron(weights: list[int]) -> IntegerNetwork:
    layer = IntegerLayer.dense(name="fc1", weights=np.array([weights]), weight_bits=5, potential_bits=4, reset="none")
    return IntegerNetwork(name="net", layers=(layer,))


def test_weights_that_overflow_a_lane_are_refused():
    plan = plan_core(one_neuron([1, -1, 0, 0]), DigitalConfig(weights="loaded"), steps=2)
    assert plan.layers[0].lane_bits == (5,)
    for weights in ([8, 0, -8, 0], [2, 6, -1, -7]):
        assert image_words(plan, one_neuron(weights))
    for weights in ([9, 0, 0, 0], [0, -8, 0, -1]):
        with pytest.raises(InputError) as caught:
            image_words(plan, one_neuron(weights))
        message = "layer 'fc1': an accumulator of 6 bits in lane 0 does not fit the core; accepted: 5 bits"
        assert str(caught.value) == message


def test_weights_are_refused_that_overflow_only_with_a_direct_current():
    """Sums of weights that fit the lane alone do not fit beside the largest current."""
    plan = plan_core(one_neuron([2, 2, 2, 1]), DigitalConfig(weights="loaded"), steps=2, direct=True)
    assert plan.layers[0].lane_bits == (6,)
    with pytest.raises(InputError, match="an accumulator of 7 bits in lane 0 does not fit the core; accepted: 6 bits"):
        image_words(plan, one_neuron([10, 10, 4, 0]))
    # At the very edge it is accepted, and right: 7 + 7 + 17 = 31.
    edge = one_neuron([10, 5, 2, 0])
    spikes, current = np.ones((2, 2, 4), np.uint8), np.array([[7], [7]])
    load = image_words(plan, edge)
    run = run_core(plan, spikes, images={b: load + image_words(plan, edge, current=current[b]) for b in range(2)})
    readout = simulate(edge, spikes, current=current).readout
    assert readout is not None
    assert [int(item.value) for item in run.readouts] == readout[:, -1, 0].tolist()
