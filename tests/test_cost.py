"""The cost model against the core itself: cycles of random networks in simulation, memories of elaborated cores."""

import itertools
import random

import numpy as np
import pytest
from amaranth.back import rtlil

from core_bench import run_core
from spikeloom.blocks.sram import ExportPlatform
from spikeloom.config import DigitalConfig
from spikeloom.cores import accelerator
from spikeloom.cores.accelerator import Accelerator
from spikeloom.errors import InputError
from spikeloom.mapping import bursts
from spikeloom.mapping.cost import CostModel, MemoryCost
from spikeloom.mapping.plan import plan_core
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import simulate

SETTLE = 40  # cycles after which a core at rest has cleared its counters (more than neurons of any layer below)


def random_network(rng: random.Random, *, layers: int, widest: int, zero_weights: bool = False) -> IntegerNetwork:
    """Layers whose activity ranges from silence to every neuron in every step."""
    widths = [rng.randint(1, widest) for _ in range(layers + 1)]
    built = []
    for n, (fan_in, neurons) in enumerate(itertools.pairwise(widths), 1):
        numbers = np.random.Generator(np.random.Philox(rng.getrandbits(64)))
        reads_out = n == layers and rng.random() < 0.3
        reset = "none" if reads_out else rng.choice(["zero", "subtract", "delayed_zero", "delayed_subtract", "none"])
        low = rng.choice([-7, -4, 0, 1])  # from balanced to purely exciting
        weights = numbers.integers(low, 8, (neurons, fan_in)) * (not zero_weights)
        biased = rng.random() < 0.4 or zero_weights
        built.append(
            IntegerLayer.dense(
                name=f"fc{n}",
                weights=weights,
                weight_bits=4,
                potential_bits=8,
                bias=numbers.integers(-3, 12, neurons) * biased,
                leak=rng.choice(
                    [
                        Leak(),
                        Leak(kind="linear", amount=3),
                        Leak(kind="shift", shifts=(2,)),
                        Leak(kind="shift", shifts=(1, 3)),
                        Leak(kind="multiply", factor=9, fraction_bits=4),
                    ]
                ),
                reset=reset,
                threshold=None if reads_out else rng.choice([1, 5, 15, 40]),
                max_count=rng.choice([1, 1, 1, 3]) if n == 1 else 1,
            )
        )
    return IntegerNetwork(name="random", layers=tuple(built), state=rng.choice(["clear", "keep"]))


def random_core(rng: random.Random, network: IntegerNetwork, **options) -> DigitalConfig:
    """Any lanes, depths, decision and read-out that the network can have."""
    widths = [layer.neurons for layer in network.layers]
    lanes = [rng.choice(["full", 1, min(2, n), min(3, n), rng.randint(1, n), (n + 1) // 2]) for n in widths]
    reads_out = network.layers[-1].threshold is None
    return DigitalConfig(
        lanes=rng.choice(["full", 1, rng.randint(1, max(widths)), lanes, lanes, lanes]),
        queue_depth=rng.choice(["auto", "auto", 2, 3, 4, 7, 16]),
        spike_queue=rng.choice(["auto", "auto", 2, 3, 4, 8]),
        decision=rng.choice(["auto", "none", *(["value"] if reads_out else ["count", "first"])]),
        readout=rng.choice(["last", "tick"]),
        probe=rng.random() < 0.2,
        **options,
    )


def random_spikes(rng: random.Random, network: IntegerNetwork, *, batch: int, steps: int) -> np.ndarray:
    """Counts [batch, steps, inputs] of one density, some steps empty and some full."""
    numbers = np.random.Generator(np.random.Philox(rng.getrandbits(64)))
    shape, most = (batch, steps, network.inputs), network.layers[0].max_count
    density = rng.choice([0, 0.02, 0.1, 0.3, 0.6, 1])
    spikes = (numbers.random(shape) < density) * numbers.integers(1, most + 1, shape)
    if rng.random() < 0.5:
        kinds = numbers.integers(0, 4, (batch, steps, 1))
        spikes = np.where(kinds == 0, 0, np.where(kinds == 1, most, spikes))
    return spikes.astype(np.uint8)


def compare(network, core, spikes, *, rest=None, direct=False):
    """The cycles of every input, in the model and in simulation; returns the model's reports."""
    steps = spikes.shape[1]
    run = run_core(plan_core(network, core, steps=steps, direct=direct), spikes, rest=rest)
    trace = simulate(network, spikes)
    np.testing.assert_array_equal(run.spikes, trace.spikes[-1])
    model = CostModel(network, core, steps=steps, direct=direct)
    gap = "back_to_back" if rest is None else "isolated"
    reports = model.cycles(spikes, trace.spikes, gap=gap, after_reset=0 if rest is None else None)
    latencies = [last - first + 1 for first, last in zip(run.first_in, run.last_out, strict=True)]
    assert [report.latency for report in reports] == latencies
    if rest is None:
        assert [report.first_in for report in reports] == run.first_in
        assert [report.last_out for report in reports] == run.last_out
        assert [report.interval for report in reports[:-1]] == np.diff(run.first_in).tolist()
    return reports


def random_case(seed: int, *, widest: int | None = None, **options):
    """A network, a core for it and three inputs."""
    rng = random.Random(seed)
    widest = widest or rng.choice([2, 3, 5, 9, 14])
    network = random_network(rng, layers=rng.randint(1, 3), widest=widest, zero_weights=bool(options))
    spikes = random_spikes(rng, network, batch=3, steps=rng.choice([1, 2, 5, 9]))
    return network, random_core(rng, network, **options), spikes


# Found by search, because few random cores do it: the first two begin a pass while the one before is held up, two
# fill a deep queue that is drained slowly, two answer while the counters are being cleared after reset.
RARE = [6520, 2372, 1965, 5381, 2833, 4482]


@pytest.mark.parametrize("seed", [*range(32), *RARE])
def test_cycles_back_to_back(seed):
    compare(*random_case(seed))


@pytest.mark.parametrize("seed", range(100, 120))
def test_cycles_isolated(seed):
    compare(*random_case(seed), rest=SETTLE)


@pytest.mark.parametrize("seed", range(200, 206))
@pytest.mark.parametrize(
    "options", [{"weights": "loaded"}, {"parameters": "loaded"}, {"weights": "loaded", "parameters": "loaded"}]
)
def test_cycles_of_cores_that_load(seed, options):
    # Nothing is loaded: weights are then 0 in simulation, and biases and parameters those of the network.
    compare(*random_case(seed, **options))


@pytest.mark.parametrize("seed", range(300, 303))
def test_cycles_of_several_flag_groups(seed):
    # 70 neurons have flags in five groups; the layer behind them is at times the slower one.
    numbers = np.random.Generator(np.random.Philox(seed))
    layers = []
    for n, (fan_in, neurons) in enumerate([(4, 70), (70, 3)], 1):
        weights = numbers.integers(-6, 8, (neurons, fan_in))
        layers.append(IntegerLayer.dense(name=f"fc{n}", weights=weights, weight_bits=4, potential_bits=8, threshold=9))
    network = IntegerNetwork(name="net", layers=tuple(layers))
    spikes = (numbers.random((3, 5, 4)) < 0.4).astype(np.uint8)
    compare(network, DigitalConfig(lanes=["full", [1, 2, 3][seed % 3]]), spikes)


@pytest.mark.parametrize("lanes", ["full", 1, 2, 4])
def test_cycles_of_direct_current(lanes):
    network = chain([3, 5, 4], threshold=4, bias=2)
    reports = compare(network, DigitalConfig(lanes=lanes), np.zeros((2, 7, 3), np.uint8), direct=True)
    assert reports[0].layers[0].events_in == 0 < reports[0].layers[1].events_out


@pytest.mark.parametrize("lanes", ["full", 1, 2, 3, [5, 3, 1], [2, "full", 4]])
def test_cycles_when_every_neuron_fires_in_every_step(lanes):
    network = chain([3, 5, 7, 4], threshold=1, bias=1)
    reports = compare(network, DigitalConfig(lanes=lanes), np.ones((3, 6, 3), np.uint8))
    assert [layer.events_out for layer in reports[-1].layers] == [6 * 5, 6 * 7, 6 * 4]


def test_inputs_under_way_are_limited_where_something_loads(monkeypatch):
    assert bursts.MOST_INPUTS_UNDER_WAY == 2**accelerator.IN_FLIGHT_BITS - 1
    # The same with a counter of 3 bits, which short queues can fill: inputs of one tick before a slow layer.
    monkeypatch.setattr(accelerator, "IN_FLIGHT_BITS", 3)
    monkeypatch.setattr(bursts, "MOST_INPUTS_UNDER_WAY", 7)
    network, spikes = chain([1, 1, 1, 12], threshold=1, bias=0), np.zeros((20, 1, 1), np.uint8)
    options = {"lanes": ["full", "full", 1], "queue_depth": 8}
    counted = compare(network, DigitalConfig(**options, weights="loaded"), spikes)
    free = compare(network, DigitalConfig(**options), spikes)
    assert free[-1].first_in < counted[-1].first_in


def chain(widths: list[int], *, threshold: int, bias: int) -> IntegerNetwork:
    """Layers whose weights are all 1."""
    layers = tuple(
        IntegerLayer.dense(
            name=f"fc{n}",
            weights=np.ones((neurons, fan_in), np.int64),
            weight_bits=2,
            potential_bits=8,
            bias=np.full(neurons, bias),
            threshold=threshold,
        )
        for n, (fan_in, neurons) in enumerate(itertools.pairwise(widths), 1)
    )
    return IntegerNetwork(name="chain", layers=layers)


@pytest.mark.parametrize("seed", range(400, 418))
def test_memories_are_those_of_the_core(seed):
    rng = random.Random(seed)
    options = {key: rng.choice(["fixed", "loaded"]) for key in ("weights", "parameters")}
    network = random_network(rng, layers=rng.randint(1, 3), widest=9)
    core, steps, direct = random_core(rng, network, **options), rng.choice([1, 2, 7, 8, 100]), rng.random() < 0.3
    platform = ExportPlatform()
    rtlil.convert(Accelerator(plan_core(network, core, steps=steps, direct=direct)), platform=platform)
    built = [(r.name, r.depth, r.width, r.bits, r.port_type) for r in platform.memories]
    model = CostModel(network, core, steps=steps, direct=direct)
    assert sorted((m.name, m.depth, m.width, m.bits, m.port_type) for m in model.memories) == sorted(built)
    assert model.memory_bits == sum(record.bits for record in platform.memories)


def test_memories_by_hand():
    model = CostModel(chain([6, 5, 4], threshold=3, bias=1), DigitalConfig(lanes=[2, "full"]), steps=25)
    assert model.memories == [
        MemoryCost(name="fc1.weights", depth=18, width=4, port_type="rom"),
        # -128 .. 127 + 1 + 6: nine bits for each of two lanes
        MemoryCost(name="fc1.potentials", depth=3, width=18, port_type="1r1w"),
        MemoryCost(name="fc1.biases", depth=3, width=4, port_type="rom"),
        MemoryCost(name="fc2.weights", depth=5, width=8, port_type="rom"),
        MemoryCost(name="decision.counts", depth=4, width=5, port_type="1r1w"),
    ]
    assert model.memory_bits == 72 + 54 + 12 + 40 + 20


def test_work_by_hand():
    weights = np.array([[1, 0, 2], [0, 0, 1], [1, 1, 1], [0, 3, 0], [1, 0, 0]])
    layer = IntegerLayer.dense(name="fc1", weights=weights, weight_bits=4, potential_bits=8, threshold=3)
    network = IntegerNetwork(name="net", layers=(layer,))
    spikes = np.array([[[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 0]]], np.uint8)
    trace = simulate(network, spikes)
    report = CostModel(network, DigitalConfig(lanes=2), steps=4).cycles(spikes, trace.spikes)[0].layers[0]
    assert (report.events_in, report.events_out) == (3, 3)
    assert report.weight_rows == 3 * 3
    assert report.sops == 3 + 3 + 2
    assert report.leak_cycles == 2 * 3  # the two empty steps
    assert report.busy_cycles == 9 + 6
    assert report.dense_operations == 4 * 3 * 5
    assert (report.lane_slots, report.useful_lane_slots) == (18, 15)
    assert report.lane_use == 15 / 18
    full = CostModel(network, DigitalConfig(), steps=4).cycles(spikes, trace.spikes)[0].layers[0]
    assert (full.weight_rows, full.busy_cycles, full.leak_cycles, full.lane_use) == (3, 3 + 4, 4, 1)


@pytest.mark.parametrize("lanes", ["full", 1, 4, 10, 16, [16, 1]])
@pytest.mark.parametrize("active", [0, 1, 5, 40, 96])
def test_bound_and_estimate_of_steady_activity(lanes, active):
    numbers = np.random.Generator(np.random.Philox(5))
    layers = []
    for n, (fan_in, neurons) in enumerate(itertools.pairwise([96, 32, 10]), 1):
        weights = numbers.integers(-6, 8, (neurons, fan_in))
        layers.append(
            IntegerLayer.dense(name=f"fc{n}", weights=weights, weight_bits=4, potential_bits=10, threshold=60)
        )
    network, steps = IntegerNetwork(name="net", layers=tuple(layers)), 50
    spikes = np.zeros((4, steps, 96), np.uint8)
    for step in spikes.reshape(-1, 96):
        step[numbers.permutation(96)[:active]] = 1
    trace = simulate(network, spikes)
    model = CostModel(network, DigitalConfig(lanes=lanes), steps=steps)
    latencies = np.array([report.latency for report in model.cycles(spikes, trace.spikes)])
    assert (latencies <= model.bound(spikes, trace.spikes)).all()
    rates = [active, *(array.sum() / array.shape[0] / steps for array in trace.spikes)]
    # With [16, 1] lanes both layers take about as long, now one and now the other: averages tell less.
    assert model.estimate(rates) == pytest.approx(latencies.mean(), rel=0.3 if lanes == [16, 1] else 0.03)


@pytest.mark.parametrize("seed", range(500, 560))
def test_bound_of_random_networks(seed):
    rng, numbers = random.Random(seed), np.random.Generator(np.random.Philox(seed))
    widths = [rng.choice([8, 20, 64]), *(rng.choice([4, 10, 32, 100]) for _ in range(rng.randint(1, 3)))]
    layers = []
    for n, (fan_in, neurons) in enumerate(itertools.pairwise(widths), 1):
        theta, weights = rng.choice([10, 40, 150]), numbers.integers(-5, 7, (neurons, fan_in))
        layers.append(
            IntegerLayer.dense(name=f"fc{n}", weights=weights, weight_bits=4, potential_bits=11, threshold=theta)
        )
    network, active = IntegerNetwork(name="net", layers=tuple(layers)), rng.randint(0, widths[0])
    spikes = np.zeros((2, 20, widths[0]), np.uint8)
    for step in spikes.reshape(-1, widths[0]):
        step[numbers.permutation(widths[0])[:active]] = 1
    lanes = rng.choice(["full", 1, [rng.choice(["full", 2, n]) for n in widths[1:]]])
    trace, model = simulate(network, spikes), CostModel(network, DigitalConfig(lanes=lanes), steps=20)
    latencies = [report.latency for report in model.cycles(spikes, trace.spikes)]
    assert (latencies <= model.bound(spikes, trace.spikes)).all()


def test_cycles_of_a_wide_step_are_its_events_and_its_tick():
    network = chain([300, 20], threshold=127, bias=0)
    spikes = np.zeros((2, 60, 300), np.uint8)
    spikes[:, :, ::10] = 1
    trace = simulate(network, spikes)
    reports = CostModel(network, DigitalConfig(), steps=60).cycles(spikes, trace.spikes, gap="back_to_back")
    assert [report.first_in for report in reports] == [0, 60 * 31]
    assert reports[0].latency <= 60 * 31 + 30
    assert reports[0].interval == 60 * 31
    bound = CostModel(network, DigitalConfig(), steps=60).bound(spikes, trace.spikes, drain=False)
    assert bound.tolist() == [60 * 32 + 30] * 2


@pytest.mark.parametrize(
    ("lanes", "message"),
    [
        (21, r"core.lanes: 21 was given; accepted is 1 to 20, the width of the widest"),
        ([1, 2], r"core.lanes: 2 numbers were given; accepted is one, or one for each of fc1"),
        ([21], r"core.lanes: 21 was given for layer 'fc1'; accepted is 1 to 20"),
    ],
)
def test_refuses_lanes_that_do_not_exist(lanes, message):
    with pytest.raises(InputError, match=message):
        CostModel(chain([3, 20], threshold=1, bias=0), DigitalConfig(lanes=lanes), steps=1)


def test_refuses_what_does_not_fit():
    network = chain([3, 2], threshold=1, bias=0)
    with pytest.raises(InputError, match="'value' was given, but the last layer fires; accepted: count, first"):
        CostModel(network, DigitalConfig(decision="value"), steps=1)
    with pytest.raises(InputError, match="steps = 0: accepted is at least 1"):
        CostModel(network, DigitalConfig(), steps=0)
    model, inputs = CostModel(network, DigitalConfig(), steps=4), np.zeros((1, 4, 3), np.uint8)
    with pytest.raises(InputError, match=r"inputs of shape \(1, 4, 2\): accepted is \[batch, steps, 3\]"):
        model.cycles(inputs[:, :, :2], [np.zeros((1, 4, 2))])
    with pytest.raises(InputError, match=r"spikes of shapes \[\(1, 4, 3\)\]: accepted are \[\(1, 4, 2\)\]"):
        model.cycles(inputs, [inputs])
    with pytest.raises(InputError, match="gap 'none': accepted are isolated, back_to_back"):
        model.cycles(inputs, [np.zeros((1, 4, 2), np.uint8)], gap="none")
    with pytest.raises(InputError, match="accepted are 2 numbers of at least 0"):
        model.estimate([1])
