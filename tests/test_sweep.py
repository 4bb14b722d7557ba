"""The sweep engine against the reference: every kind of layer and connection, under stalls."""

import numpy as np
import pytest

from core_bench import check_core, run_core
from spikeloom.config import DigitalConfig
from spikeloom.mapping.image import image_words
from spikeloom.mapping.plan import plan_core
from spikeloom.mapping.sweep import SweepPlan, axis_table
from spikeloom.network.connections import Connection
from spikeloom.network.integer import Adaptation, IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import simulate


def rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[0x5EE9, sum(k << 8 * n for n, k in enumerate(key))]))


def weights(generator, *shape: int, bits: int = 4) -> np.ndarray:
    half = 1 << (bits - 1)
    return generator.integers(-half + 1, half, shape)


def layer(name: str, *connections: Connection, **given) -> IntegerLayer:
    common = {"weight_bits": 4, "potential_bits": 9, "threshold": 9, "reset": "subtract"}
    return IntegerLayer(name=name, connections=connections, **common | given)


def readout(name: str, *connections: Connection, **given) -> IntegerLayer:
    return layer(name, *connections, **{"threshold": None, "reset": "none", "potential_bits": 12} | given)


def conv(g, source_shape, channels, kernel, **given) -> Connection:
    groups = given.get("groups", 1)
    shape = (channels, source_shape[0] // groups, *kernel)
    return Connection(weights=weights(g, *shape), source_shape=source_shape, **given)


def check(network: IntegerNetwork, *, lanes="full", stall=0, inputs=2, steps=6, density=0.3, seed=0, **core) -> None:
    g = rng(99, seed)
    spikes = (g.random((inputs, steps, network.inputs)) < density).astype(np.uint8)
    spikes[:, min(2, steps - 1)] = 0  # a step without an event
    trace = simulate(network, spikes, potentials=True)
    plan = plan_core(network, DigitalConfig(lanes=lanes, probe=True, **core), steps=steps)
    images = None
    if plan.loads:
        images = {0: image_words(plan)}
    run = run_core(plan, spikes, stall=stall, seed=seed, images=images, limit=60_000)
    check_core(plan, spikes, run, trace)
    assert run.dropped == 0


CONVOLUTIONS = {
    "3x3": dict(source=(2, 6, 5), channels=4, kernel=(3, 3)),
    "padded, stride 2": dict(source=(3, 7, 7), channels=4, kernel=(3, 3), padding=(1, 1), stride=(2, 2)),
    "5x5, stride 3": dict(source=(1, 9, 8), channels=2, kernel=(5, 5), padding=(2, 1), stride=(3, 2)),
    "7x7": dict(source=(1, 8, 8), channels=2, kernel=(7, 7), padding=(3, 3)),
    "1x1": dict(source=(4, 3, 3), channels=8, kernel=(1, 1)),
    "1x1, stride 2": dict(source=(2, 5, 5), channels=4, kernel=(1, 1), stride=(2, 2)),
    "depthwise": dict(source=(4, 5, 5), channels=4, kernel=(3, 3), groups=4),
    "depthwise, two each": dict(source=(3, 4, 4), channels=6, kernel=(3, 3), groups=3),
    "groups": dict(source=(4, 4, 5), channels=8, kernel=(3, 2), groups=2, padding=(1, 0)),
    "pooled": dict(source=(2, 7, 8), channels=4, kernel=(3, 3), pool=(2, 2)),
    "one dimension": dict(source=(3, 1, 12), channels=4, kernel=(1, 5), padding=(0, 2), stride=(1, 2)),
}


@pytest.mark.parametrize("stall", [0, 3])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, stall):
    given = dict(CONVOLUTIONS[name])
    g = rng(1, list(CONVOLUTIONS).index(name))
    source, channels, kernel = given.pop("source"), given.pop("channels"), given.pop("kernel")
    first = layer("conv", conv(g, source, channels, kernel, **given), leak=Leak(kind="shift", shifts=(3,)))
    dense = Connection(weights=weights(g, 5, first.neurons), source_shape=first.shape)
    network = IntegerNetwork(name="net", layers=(first, readout("out", dense)))
    for lanes in ("full", 2, 1) if not stall else ("full",):
        check(network, lanes=lanes, stall=stall, inputs=2, steps=4)


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_axis_tables(size):
    """Against the definition: target t takes tap k of source y where t stride + k - padding = y."""
    for pool, kernel, stride, padding in [(1, 1, 1, 0), (1, 3, 1, 1), (1, 3, 2, 0), (2, 2, 1, 1), (1, 2, 3, 0)]:
        pooled = size // pool
        targets = (pooled + 2 * padding - kernel) // stride + 1
        if targets < 1:
            continue
        for y, entry in enumerate(axis_table(size, pool, kernel, stride, padding, targets)):
            expected = [
                (t, k)
                for t in range(targets)
                for k in range(kernel)
                if t * stride + k - padding == y // pool and y // pool < pooled
            ]
            assert [(entry.first + n, entry.tap - n * stride) for n in range(entry.count)] == expected


KINDS = {
    "current": dict(current_bits=8, current_leak=Leak(kind="shift", shifts=(1,)), leak=Leak(kind="shift", shifts=(2,))),
    "current, zero": dict(
        current_bits=6, current_leak=Leak(kind="multiply", factor=13, fraction_bits=4), reset="zero",
        leak=Leak(kind="multiply", factor=29, fraction_bits=5), bias=np.arange(-3, 4), bias_in_current=True,
    ),
    "current, delayed": dict(current_bits=6, current_leak=Leak(kind="linear", amount=2), reset="delayed_subtract"),
    "refractory": dict(refractory=2, leak=Leak(kind="linear", amount=1)),
    "refractory, delayed": dict(refractory=1, reset="delayed_zero"),
    "adaptive": dict(adaptation=Adaptation(bits=6, leak=Leak(kind="shift", shifts=(2,)), increment=5)),
    "adaptive to the limit": dict(adaptation=Adaptation(bits=3, leak=Leak(kind="linear", amount=1), increment=6)),
    "everything": dict(
        current_bits=7, current_leak=Leak(kind="shift", shifts=(2,)), refractory=1, reset="zero",
        adaptation=Adaptation(bits=5, leak=Leak(kind="multiply", factor=200, fraction_bits=8), increment=3),
        bias=np.arange(-3, 4),
    ),
    "thresholds": dict(threshold=np.array([3, 5, 7, 9, 11, 13, 2])),
    "thresholds, amounts": dict(threshold=np.arange(5, 12), reset_amount=np.arange(1, 8), bias=np.arange(-3, 4)),
    "leaks": dict(leak=Leak(kind="multiply", factor=(1, 3, 5, 7, 11, 14, 16), fraction_bits=4)),
    "linear leaks": dict(leak=Leak(kind="linear", amount=(1, 2, 3, 4, 5, 600, 1)), threshold=np.arange(5, 12)),
    "current leaks": dict(
        current_bits=8, current_leak=Leak(kind="multiply", factor=(1, 3, 5, 7, 11, 14, 16), fraction_bits=4)
    ),
    "narrow": dict(potential_bits=4, threshold=5, current_bits=3),
}  # fmt: skip


# Each kind on each number of lanes; fixed and loaded in turn, so that each kind, and each number of lanes, has both.
LANES = ("full", 3, 1)
CORES = [(kind, lanes, bool((n + m) % 2)) for n, kind in enumerate(KINDS) for m, lanes in enumerate(LANES)]


@pytest.mark.parametrize(("kind", "lanes", "loaded"), CORES)
def test_kinds_of_neurons(kind, lanes, loaded):
    g = rng(2, list(KINDS).index(kind))
    first = layer("fc1", Connection(weights=weights(g, 7, 11)), **KINDS[kind])
    out = readout("out", Connection(weights=weights(g, 3, 7)), leak=Leak(kind="shift", shifts=(2,)))
    network = IntegerNetwork(name="net", layers=(first, out))
    core = {"weights": "loaded", "parameters": "loaded"} if loaded else {}
    check(network, lanes=[lanes, 1], stall=2 if loaded else 0, steps=9, **core)


def recurrent(g, *, delay: int = 1, state="clear", **given) -> IntegerNetwork:
    loop = Connection(weights=weights(g, 6, 6), source="fc1", delay=delay)
    first = layer("fc1", Connection(weights=weights(g, 6, 5)), loop, **given)
    return IntegerNetwork(name="net", layers=(first, layer("fc2", Connection(weights=weights(g, 4, 6)))), state=state)


@pytest.mark.parametrize("stall", [0, 3])
@pytest.mark.parametrize("state", ["clear", "keep"])
@pytest.mark.parametrize("delay", [1, 2, 3])
@pytest.mark.parametrize("kind", ["plain", "current"])
def test_recurrence(kind, delay, state, stall):
    given = KINDS["current"] if kind == "current" else {}
    network = recurrent(rng(3, delay), delay=delay, state=state, **given)
    for lanes in ("full", 2):
        check(network, lanes=lanes, stall=stall, inputs=3, steps=7)
    check(network, lanes="full", inputs=3, steps=1)
    check(network, lanes=1, stall=stall, inputs=3, steps=2)


@pytest.mark.parametrize("stall", [0, 3])
def test_residual(stall):
    g = rng(4)
    shape = (4, 4, 4)
    first = layer("conv1", conv(g, (2, 6, 6), 4, (3, 3)))
    second = layer("conv2", conv(g, shape, 4, (3, 3), padding=(1, 1)))
    identity = Connection(weights=np.full((4, 1, 1, 1), 5), source_shape=shape, groups=4, source="conv1")
    third = layer("conv3", conv(g, shape, 4, (3, 3), padding=(1, 1), source="conv2"), identity)
    out = readout("out", Connection(weights=weights(g, 3, 64), source_shape=shape))
    check(IntegerNetwork(name="net", layers=(first, second, third, out)), stall=stall, steps=5)


@pytest.mark.parametrize("state", ["clear", "keep"])
@pytest.mark.parametrize("stall", [0, 3])
def test_delays_without_a_loop(stall, state):
    """A chain through a delay, and a loop over two layers whose second one hears nothing of the same step."""
    g = rng(5)
    first = layer(
        "fc1", Connection(weights=weights(g, 6, 5)), Connection(weights=weights(g, 6, 4), source="fc2", delay=1)
    )
    second = layer("fc2", Connection(weights=weights(g, 4, 6), delay=2))
    third = layer(
        "fc3", Connection(weights=weights(g, 3, 4)), Connection(weights=weights(g, 3, 5), source="input", delay=3)
    )
    network = IntegerNetwork(name="net", layers=(first, second, third), state=state)
    for steps in (1, 2, 3, 8):
        check(network, stall=stall, inputs=3, steps=steps)


@pytest.mark.parametrize("lanes", ["full", 2])
def test_every_neuron_fires_in_every_step(lanes):
    """The most spikes that loops and short cuts can meet: nothing may lock up."""
    shape = (2, 4, 4)
    ones = np.full((2, 2, 3, 3), 7)
    first = layer("conv1", Connection(weights=ones, source_shape=shape, padding=(1, 1)),
                  Connection(weights=ones, source_shape=shape, padding=(1, 1), source="conv1", delay=1),
                  Connection(weights=ones, source_shape=shape, padding=(1, 1), source="conv2", delay=2),
                  threshold=1)  # fmt: skip
    second = layer("conv2", Connection(weights=ones, source_shape=shape, padding=(1, 1)), threshold=1)
    skip = Connection(weights=ones, source_shape=shape, padding=(1, 1), source="input")
    third = layer("conv3", Connection(weights=ones, source_shape=shape, padding=(1, 1)), skip, threshold=1)
    network = IntegerNetwork(name="net", layers=(first, second, third))
    for stall in (0, 3):
        check(network, lanes=lanes, stall=stall, density=1.1, steps=4)


def test_a_step_costs_what_its_spikes_touch():
    """Behind the first step, cycles are rows touched plus ticks: no bubble, and the sweep is hidden."""
    g = rng(6)
    first = layer("conv", conv(g, (2, 12, 12), 4, (5, 5), padding=(2, 2)))
    network = IntegerNetwork(name="net", layers=(first,))
    steps = 8
    spikes = (g.random((1, steps, network.inputs)) < 0.2).astype(np.uint8)
    plan = plan_core(network, DigitalConfig(lanes=4, decision="none"), steps=steps)
    run = run_core(plan, spikes)
    entry = plan.layers[0]
    assert isinstance(entry, SweepPlan)
    touched = int((spikes[0].sum(axis=0) * entry.connections[0].touched_rows()).sum())
    geometry = first.connections[0].geometry
    reached = geometry.matrix(np.ones(geometry.weights, np.int64)).sum(axis=0)
    assert 4 * touched == int(spikes[0].sum(axis=0) @ reached)
    assert run.cycles <= touched + 2 * steps + entry.groups + 4 * int(run.spikes[0, -1].sum()) + 40


def _lagging(state: str) -> IntegerNetwork:
    """A convolution whose spikes reach the output a step late: its last step goes on when the answer has left."""
    numbers = np.random.Generator(np.random.Philox(key=[3, 1]))
    common = {"weight_bits": 4, "potential_bits": 9, "threshold": 60, "reset": "subtract"}
    kernel = Connection(weights=numbers.integers(1, 8, (2, 1, 3, 3)), source_shape=(1, 6, 6), padding=(1, 1))
    into = Connection(weights=numbers.integers(-5, 8, (3, 36)), source="input", source_shape=(1, 6, 6))
    late = Connection(weights=numbers.integers(2, 8, (3, 72)), source="c", source_shape=(2, 6, 6), delay=1)
    layers = (
        IntegerLayer(name="c", connections=(kernel,), **common),
        IntegerLayer(name="out", connections=(into, late), **common),
    )
    return IntegerNetwork(name="net", layers=layers, state=state)


def _part_of(plan, layer: str, kind: str) -> list[int]:
    """The image of what the core holds, of one region alone."""
    words, at = image_words(plan), 4
    for number, (name, what, rows, bits) in enumerate(plan.regions):
        size = 1 + rows * -(-bits // 32)
        assert words[at] == number << 24 | rows
        if (name, what) == (layer, kind):
            return [*words[:3], size, *words[at : at + size]]
        at += size
    raise KeyError(layer, kind)


@pytest.mark.parametrize("parts", [("c", "registers"), ("c", "weights"), ("out", "registers")])
def test_an_image_waits_for_layers_that_lag(parts):
    """Between two inputs a part of the core is loaded with what it holds: nothing changes, whatever lags."""
    core = DigitalConfig(lanes=[1, 3], decision="none", parameters="loaded", weights="loaded", probe=True)
    network = _lagging("clear")
    plan = plan_core(network, core, steps=3)
    assert plan.lagging == ("c",)
    words = image_words(plan)
    spikes = (np.random.Generator(np.random.Philox(key=[3, 2])).random((3, 3, 36)) < 0.5).astype(np.uint8)
    trace = simulate(network, spikes, potentials=True)
    part = _part_of(plan, *parts)
    for stall in (0, 3):
        run = run_core(plan, spikes, images={0: words, 1: part, 2: part}, stall=stall, seed=stall)
        assert (run.refused, run.complete) == (0, 1)
        check_core(plan, spikes, run, trace)


def test_kept_potentials_are_cleared_by_parameters_whatever_lags():
    core = DigitalConfig(lanes=[1, 3], decision="none", parameters="loaded", probe=True)
    network = _lagging("keep")
    plan = plan_core(network, core, steps=3)
    spikes = (np.random.Generator(np.random.Philox(key=[3, 4])).random((3, 3, 36)) < 0.5).astype(np.uint8)
    words = dict.fromkeys(range(3), image_words(plan))
    at_once, rested = (run_core(plan, spikes, images=words, rest=rest) for rest in (None, plan.settle))
    np.testing.assert_array_equal(at_once.spikes, rested.spikes)
    assert at_once.spikes.any()
    assert [int(p.values[0]) for p in at_once.probes["c"]] == [int(p.values[0]) for p in rested.probes["c"]]
