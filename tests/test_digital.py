"""Whole digital cores, simulated, against the reference: every spike, decision, read-out and potential."""

import itertools
import random
from collections import Counter

import numpy as np
import pytest
from amaranth.sim import Simulator

from core_bench import check_core, items_of, run_core
from networks import RESETS, network_of, random_spec
from spikeloom.blocks.sram import Sram
from spikeloom.config import DigitalConfig
from spikeloom.cores import accelerator
from spikeloom.cores.accelerator import Accelerator
from spikeloom.cores.digital.grouped import GroupedEngine
from spikeloom.mapping.image import image_words
from spikeloom.mapping.plan import plan_core
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import Trace, simulate
from spikeloom_sim.streams import stream_get, stream_put, watchdog

LEAKS = {
    "none": ("none",),
    "linear": ("linear", 3),
    "beyond": ("linear", 100),  # more than any potential
    "shift": ("shift", 2),
    "far": ("shift", 9),  # further than the potential is wide
    "shift2": ("shift", 1, 3),
    "multiply": ("multiply", 13, 4),
}


@pytest.fixture(autouse=True)
def unknown_memories(monkeypatch):
    """Memories without contents start with noise, as on a chip, and not with the simulator's zeros."""
    original = Sram.__init__

    def noisy(self, *, name, depth, width, port_type, contents=(), **options):
        rng = random.Random(f"{name} {depth}")
        contents = contents or ([rng.getrandbits(width) for _ in range(depth)] if port_type.endswith("w") else ())
        original(self, name=name, depth=depth, width=width, port_type=port_type, contents=contents, **options)

    monkeypatch.setattr(Sram, "__init__", noisy)


def pairwise(factors: dict[str, list], seed: int = 0) -> list[dict]:
    """Few combinations in which every two values of every two factors meet at least once."""
    rng, names = random.Random(seed), list(factors)
    open_pairs = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(names, 2)
        for x, y in itertools.product(range(len(factors[a])), range(len(factors[b])))
    }
    rows = []
    while open_pairs:
        start = dict(min(open_pairs))

        def completed(start=start):
            return {name: start.get(name, rng.randrange(len(factors[name]))) for name in names}

        row = max((completed() for _ in range(30)), key=lambda row: len(open_pairs & _pairs(row)))
        open_pairs -= _pairs(row)
        rows.append({name: factors[name][index] for name, index in row.items()})
    return rows


def _pairs(row: dict) -> set:
    return set(itertools.combinations(row.items(), 2))


def random_spikes(rng: random.Random, batch: int, steps: int, inputs: int, density: float = 0.5) -> np.ndarray:
    """Random inputs in which a silent step, a single event and all events at once occur, each kind often."""
    spikes = np.zeros((batch, steps, inputs), np.uint8)
    for b, t in itertools.product(range(batch), range(steps)):
        kind = rng.choice(["empty", "one", "all", "some", "some"])
        if kind == "one":
            spikes[b, t, rng.randrange(inputs)] = 1
        elif kind != "empty":
            spikes[b, t] = [kind == "all" or rng.random() < density for _ in range(inputs)]
    return spikes


def play(
    networks: IntegerNetwork | list[IntegerNetwork],
    core: DigitalConfig,
    spikes: np.ndarray,
    *,
    stall: int = 0,
    seed: int = 0,
    currents: np.ndarray | None = None,
) -> Trace:
    """Run a core and compare it; returns what was compared, so that a test can look at how lively it was.

    Several networks are loaded in turn, one before each input, into the core of the first; so are `currents`, the
    direct current of each input.
    """
    several = networks if isinstance(networks, list) else [networks]
    plan = plan_core(several[0], core, steps=spikes.shape[1], direct=currents is not None)
    images: dict[int, list[int]] = {}
    if "loaded" in (core.weights, core.parameters):
        images = {b: image_words(plan, several[b % len(several)]) for b in range(len(spikes))}
    if currents is not None:
        for b, current in enumerate(currents):
            images[b] = images.get(b, []) + image_words(plan, several[b % len(several)], current=current)
    trace = reference(several, spikes, currents)
    run = run_core(plan, spikes, stall=stall, seed=seed, limit=40_000, images=images)
    check_core(plan, spikes, run, trace)
    assert run.dropped == 0
    assert (run.refused, run.complete) == (0, int(plan.loads))
    return trace


def reference(networks: list[IntegerNetwork], spikes: np.ndarray, currents: np.ndarray | None = None) -> Trace:
    """The reference's answer where input b is for network b, counted round."""
    if len(networks) == 1:
        return simulate(networks[0], spikes, current=currents, potentials=True)
    parts = [
        simulate(
            networks[b % len(networks)],
            spikes[b : b + 1],
            current=None if currents is None else currents[b : b + 1],
            potentials=True,
        )
        for b in range(len(spikes))
    ]
    return Trace(
        spikes=tuple(np.concatenate(layer) for layer in zip(*(part.spikes for part in parts), strict=True)),
        potentials=tuple(
            np.concatenate(layer) for layer in zip(*(part.potentials or () for part in parts), strict=True)
        ),
        readout=None
        if parts[0].readout is None
        else np.concatenate([part.readout for part in parts if part.readout is not None]),
    )


def lively(traces: list[Trace]) -> None:
    """Together the traces hold spikes and silence in every layer, so equality has said something."""
    for depth in range(max(len(trace.spikes) for trace in traces)):
        parts = [trace.spikes[depth] for trace in traces if len(trace.spikes) > depth]
        rate = sum(part.sum() for part in parts) / sum(part.size for part in parts)
        assert 0.02 < rate < 0.98


# One factor a line; all pairs of values of two lines meet in the cases.
FACTORS = {
    "leak": list(LEAKS),
    "reset": list(RESETS),
    "readout": [False, True],
    "bias": [False, True],
    "state": ["clear", "keep"],
    "lanes": ["full", 1, 2, 3, 4, [3, "full"], ["full", 3]],
    "stall": [0, 1, 4],
    "r": [None, 3, 31],
    "probe": [False, True],
    "ticks": ["last", "tick"],
    "queues": [("auto", "auto"), (2, 2), (5, "auto"), ("auto", 3)],
}
CASES = pairwise(FACTORS)


@pytest.mark.parametrize("part", range(4))
def test_everything_with_everything(part):
    traces = []
    for number, case in list(enumerate(CASES))[part::4]:
        rng = random.Random(number)
        common = {"leak": LEAKS[case["leak"]], "reset": case["reset"], "bias": case["bias"], "r": case["r"]}
        specs = [
            random_spec(rng, fan_in=5, neurons=7, **common),
            random_spec(rng, fan_in=7, neurons=5, readout=case["readout"], theta=6, **common),
        ]
        core = DigitalConfig(
            lanes=case["lanes"],
            probe=case["probe"],
            readout=case["ticks"],
            queue_depth=case["queues"][0],
            spike_queue=case["queues"][1],
            decision=rng.choice(["auto", "none"] if case["readout"] else ["auto", "first", "none"]),
        )
        spikes = random_spikes(rng, 4, 5, 5)
        try:
            traces.append(play(network_of(specs, case["state"]), core, spikes, stall=case["stall"], seed=number))
        except Exception as error:
            error.add_note(f"case {number}: {case}, {core}")
            raise
    lively([trace for trace in traces if trace.readout is None])


def test_the_cases_cover_all_pairs():
    for a, b in itertools.combinations(FACTORS, 2):
        met = Counter((str(case[a]), str(case[b])) for case in CASES)
        assert len(met) == len(FACTORS[a]) * len(FACTORS[b])
    assert len(CASES) < 100


@pytest.mark.parametrize("stall", [0, 3])
@pytest.mark.parametrize("lanes", [7, 4, 3, 2, 1])
def test_one_row_two_rows_and_more(lanes, stall, monkeypatch):
    """Rows that come back at once: events of one step hit each row again while it is still in the pipeline."""
    monkeypatch.setattr(accelerator, "ParallelEngine", GroupedEngine)  # also for a single row
    rng = random.Random(lanes)
    traces = []
    for reset, leak in (("subtract", "linear"), ("delayed_subtract", "shift2"), ("zero", "none")):
        spec = random_spec(rng, fan_in=6, neurons=7, reset=reset, leak=LEAKS[leak], bias=True) | {"max_count": 3}
        spikes = random_spikes(rng, 2, 6, 6) * np.array([1, 3, 2, 1, 3, 1], np.uint8)  # an address again and again
        network = network_of([spec], "keep" if reset == "zero" else "clear")
        core = DigitalConfig(lanes=lanes, probe=True, decision="none")
        traces.append(play(network, core, spikes, stall=stall, seed=lanes))
    lively(traces)


@pytest.mark.parametrize("lanes", ["full", 1, 3, [2, "full", 3, 1]])
def test_four_layers(lanes):
    rng = random.Random(4)
    widths = [4, 5, 3, 6, 4]
    specs = [
        random_spec(rng, fan_in=a, neurons=b, leak=LEAKS["shift"], reset="subtract", theta=5)
        for a, b in itertools.pairwise(widths)
    ]
    lively([play(network_of(specs), DigitalConfig(lanes=lanes, probe=True), random_spikes(rng, 3, 4, 4), stall=2)])


@pytest.mark.parametrize("stall", [0, 5])
@pytest.mark.parametrize("lanes", ["full", 2, 1])
def test_every_neuron_fires_in_every_step(lanes, stall):
    specs = [
        random_spec(random.Random(0), fan_in=a, neurons=b, bias=True, theta=1) | {"bias": [31] * b}
        for a, b in ((3, 9), (9, 8), (8, 7))
    ]
    for spec in specs:
        spec["weights"] = [[1] * len(row) for row in spec["weights"]]
    trace = play(network_of(specs), DigitalConfig(lanes=lanes), np.ones((3, 4, 3), np.uint8), stall=stall)
    assert all(layer.all() for layer in trace.spikes)


@pytest.mark.parametrize("lanes", ["full", 1, 2])
@pytest.mark.parametrize("kind", ["silence", "one event", "one step", "one address"])
def test_sparse_inputs(lanes, kind):
    rng = random.Random(kind)
    batch, steps, inputs = (6, 1, 3) if kind == "one step" else (3, 4, 1 if kind == "one address" else 3)
    spikes = np.zeros((batch, steps, inputs), np.uint8)
    if kind == "one event":
        for b, t in itertools.product(range(batch), range(steps)):
            spikes[b, t, rng.randrange(inputs)] = 1
    elif kind != "silence":
        spikes = random_spikes(rng, batch, steps, inputs)
    specs = [
        random_spec(rng, fan_in=inputs, neurons=3, reset="delayed_zero", leak=LEAKS["linear"], bias=True, theta=4),
        random_spec(rng, fan_in=3, neurons=1, reset="subtract", theta=2),
    ]
    play(network_of(specs, rng.choice(["clear", "keep"])), DigitalConfig(lanes=lanes, probe=True), spikes, stall=1)


@pytest.mark.parametrize("lanes", ["full", 2])
def test_back_to_back_equals_alone(lanes):
    rng = random.Random(8)
    specs = [random_spec(rng, fan_in=4, neurons=5, bias=True), random_spec(rng, fan_in=5, neurons=4, theta=4)]
    plan = plan_core(network_of(specs), DigitalConfig(lanes=lanes, probe=True), steps=4)
    spikes = random_spikes(rng, 4, 4, 4)
    together = run_core(plan, spikes, stall=2)
    alone = [run_core(plan, spikes[b : b + 1]) for b in range(len(spikes))]
    np.testing.assert_array_equal(together.spikes, np.concatenate([run.spikes for run in alone]))
    assert together.spikes.any()
    for name, rows in together.probes.items():
        assert [str(row) for row in rows] == [str(row) for run in alone for row in run.probes[name]]


LOADS = pairwise(
    {
        "leak": list(LEAKS),
        "reset": list(RESETS),
        "readout": [False, True],
        "lanes": ["full", 1, 2, [3, "full"], ["full", 2]],
        "loaded": ["weights", "parameters", "both"],
        "stall": [0, 3],
        "direct": [False, True],
    },
    seed=1,
)


def like(rng: random.Random, spec: dict, loaded: str) -> dict:
    """Another layer for the same core: what is loaded may differ."""
    other = random_spec(
        rng,
        fan_in=len(spec["weights"][0]),
        neurons=len(spec["weights"]),
        bias=True,
        theta=rng.randrange(1, 31),
        r=rng.randrange(1, 31),
    )
    leak = {
        "none": lambda: ("none",),
        "linear": lambda: ("linear", rng.randrange(1, 32)),
        "shift": lambda: ("shift", *(rng.randrange(1, 8) for _ in spec["leak"][1:])),
        "multiply": lambda: ("multiply", rng.randrange(0, 17), spec["leak"][-1]),
    }[spec["leak"][0]]()
    merged = dict(spec)
    if loaded != "parameters":
        merged["weights"] = other["weights"]
    if loaded != "weights":
        merged |= {"bias": other["bias"], "leak": leak}
        if spec["theta"] is not None:
            merged |= {"theta": other["theta"], "r": other["r"]}
    return merged


def widest(spec: dict) -> dict:
    """The layer with weights that make every lane as wide as any weights of that format can need."""
    half = 1 << spec["weight_bits"] - 1
    return spec | {"weights": [[-half] * (len(row) - 1) + [half - 1] for row in spec["weights"]]}


@pytest.mark.parametrize("part", range(3))
def test_loading(part):
    """A core built for one network computes others that are loaded between its inputs."""
    traces = []
    for number, case in list(enumerate(LOADS))[part::3]:
        rng = random.Random(number)
        leak = LEAKS[case["leak"]]
        if case["loaded"] != "weights":  # a register holds what a potential can need
            leak = {"beyond": ("linear", 31), "far": ("shift", 7)}.get(case["leak"], leak)
        common = {"leak": leak, "reset": case["reset"], "bias": True}
        specs = [
            random_spec(rng, fan_in=5, neurons=7, **common),
            random_spec(rng, fan_in=7, neurons=5, readout=case["readout"], **common),
        ]
        core = DigitalConfig(
            lanes=case["lanes"],
            weights="loaded" if case["loaded"] != "parameters" else "fixed",
            parameters="loaded" if case["loaded"] != "weights" else "fixed",
            probe=True,
        )
        built = [widest(spec) for spec in specs] if case["loaded"] != "parameters" else specs
        networks = [network_of(built)] + [network_of([like(rng, spec, case["loaded"]) for spec in built]) for _ in "ab"]
        spikes, currents = random_spikes(rng, 4, 4, 5), None
        if case["direct"]:
            values = np.array([[rng.random() for _ in range(5)] for _ in spikes])
            currents = np.rint(values @ networks[0].layers[0].weights.T).astype(int)
        try:
            traces.append(play(networks, core, spikes, stall=case["stall"], seed=number, currents=currents))
        except Exception as error:
            error.add_note(f"case {number}: {case}")
            raise
    lively([trace for trace in traces if trace.readout is None])


@pytest.mark.parametrize("lanes", ["full", 2])
@pytest.mark.parametrize("state", ["clear", "keep"])
def test_direct_current_in_a_fixed_core(lanes, state):
    rng = random.Random(11)
    specs = [
        random_spec(rng, fan_in=6, neurons=5, leak=LEAKS["shift"], reset="subtract"),
        random_spec(rng, fan_in=5, neurons=4, theta=4),
    ]
    network = network_of(specs, state)
    values = np.array([[rng.random() for _ in range(6)] for _ in range(4)])
    currents = np.rint(values @ network.layers[0].weights.T).astype(int)
    spikes = np.zeros((4, 6, 6), np.uint8)  # the current is all that arrives
    trace = play(network, DigitalConfig(lanes=lanes, probe=True), spikes, stall=1, currents=currents)
    lively([trace])


def spoilt(words: list[int], index: int, value: int) -> list[int]:
    return [*words[:index], value, *words[index + 1 :]]


@pytest.mark.parametrize("lanes", ["full", 2])
def test_an_image_for_another_core_changes_nothing(lanes):
    rng = random.Random(12)
    specs = [random_spec(rng, fan_in=4, neurons=5, bias=True), random_spec(rng, fan_in=5, neurons=4, theta=4)]
    network = network_of([widest(spec) for spec in specs])
    core = DigitalConfig(lanes=lanes, weights="loaded", parameters="loaded", probe=True)
    plan = plan_core(network, core, steps=4)
    spikes = random_spikes(rng, 4, 4, 4)
    later = network_of([like(rng, spec, "both") for spec in specs])
    good, other = image_words(plan, network), image_words(plan, later)
    assert good[:4] == other[:4]
    assert good[4:] != other[4:]
    images = {0: good, 1: spoilt(other, 1, other[1] ^ 1), 2: spoilt(other, 2, other[2] ^ 1 << 31), 3: [1, 2, 3]}
    for count, refused in ((4, 1), (1, 0)):
        run = run_core(plan, spikes[:count], images={b: images[b] for b in range(count)}, stall=1, limit=20_000)
        check_core(plan, spikes[:count], run, simulate(network, spikes[:count], potentials=True))
        assert (run.refused, run.complete) == (refused, 1 - refused)
    # A core that has refused an image takes the next one that is its own.
    run = run_core(plan, spikes, images=images | {3: other}, stall=1, limit=20_000)
    expected = [simulate(network, spikes[:3]).spikes[-1], simulate(later, spikes[3:]).spikes[-1]]
    np.testing.assert_array_equal(run.spikes, np.concatenate(expected))
    assert (run.refused, run.complete) == (0, 1)


@pytest.mark.parametrize("pause", [0, 2])
@pytest.mark.parametrize("lanes", ["full", 2])
def test_an_image_goes_between_the_input_under_way_and_the_next(lanes, pause):
    """Events are offered all the time: the image waits for the input under way only, and the next one waits for it."""
    rng = random.Random(16)
    specs = [random_spec(rng, fan_in=4, neurons=5, theta=4), random_spec(rng, fan_in=5, neurons=4, theta=4)]
    first = specs[0] | {"weights": [[4] * 4] * 5}
    one, other = specs[1] | {"weights": [[4] * 5] * 4}, specs[1] | {"weights": [[4] * 5, [0] * 5] * 2}
    networks = [network_of([first, last]) for last in (one, other)]
    core = DigitalConfig(lanes=lanes, weights="loaded", decision="none")
    plan = plan_core(network_of([widest(spec) for spec in specs]), core, steps=3)
    spikes = np.ones((5, 3, 4), np.uint8)
    dut = Accelerator(plan)
    started, taken = 0, []

    async def events(ctx):
        nonlocal started
        for word in image_words(plan, networks[0]):
            await stream_put(ctx, dut.load, word)
        for sample in range(len(spikes)):
            for item in items_of(spikes[sample : sample + 1]):
                await stream_put(ctx, dut.events_in, item)
                started = sample + 1

    async def image(ctx):
        while started < 2:
            await ctx.tick()
        for word in image_words(plan, networks[1]):
            await stream_put(ctx, dut.load, word, pause=pause)

    async def consumer(ctx):
        while sum(int(item.tick) for item in taken) < 15:
            taken.append(await stream_get(ctx, dut.events_out))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in (events, image, consumer):
        sim.add_testbench(bench)
    sim.add_testbench(watchdog(3000), background=True)
    sim.run()
    fired, steps = np.zeros((15, 4), np.uint8), itertools.count()
    step = next(steps)
    for item in taken:
        if item.tick:
            step = next(steps)
        else:
            fired[step, item.address] += 1
    expected = [simulate(networks[b >= 2], spikes[b : b + 1]).spikes[-1][0] for b in range(5)]
    assert not np.array_equal(expected[1], expected[2])
    np.testing.assert_array_equal(fired.reshape(5, 3, 4), np.array(expected))


def test_lanes_without_a_neuron_stay_silent():
    """Also where an image holds weights for them: their addresses would lie outside the next layer."""
    rng = random.Random(15)
    six = random_spec(rng, fan_in=4, neurons=6, theta=3) | {"weights": [[7] * 4] * 6}
    five = six | {"weights": six["weights"][:5], "bias": six["bias"][:5]}
    core = DigitalConfig(lanes=2, weights="loaded")
    plan, larger = (plan_core(network_of([spec]), core, steps=3) for spec in (five, six))
    good, other = image_words(plan), image_words(larger)
    assert good[3:5] == other[3:5]  # as many rows: the sixth neuron would sit beside the fifth
    assert good[5:] != other[5:]
    spikes = random_spikes(rng, 4, 3, 4)
    run = run_core(plan, spikes, images={0: good[:5] + other[5:]}, limit=5000)
    check_core(plan, spikes, run, simulate(plan.network, spikes))
    assert run.spikes.any()


def test_addresses_out_of_range_are_dropped_and_counted(monkeypatch):
    monkeypatch.setattr(accelerator, "DROP_COUNTER_BITS", 4)  # soon full
    rng = random.Random(13)
    for lanes, inputs in itertools.product(("full", 2), (1, 3, 5)):
        network = network_of([random_spec(rng, fan_in=inputs, neurons=4, theta=3)])
        limit = 1 << max(1, (inputs - 1).bit_length())
        wide = random_spikes(rng, 3, 5, limit)
        plan = plan_core(network, DigitalConfig(lanes=lanes, probe=True), steps=5)
        trace = simulate(network, wide[:, :, :inputs], potentials=True)
        run = run_core(plan, wide, stall=1, limit=5000)
        check_core(plan, wide, run, trace)
        outside = int(wide[:, :, inputs:].sum())
        assert outside > 0
        assert run.dropped == min(outside, 15)
    assert outside > 15, "the counter must have been full once"


@pytest.mark.parametrize("kind", ["count", "first", "value", "none"])
@pytest.mark.parametrize("lanes", ["full", 3])
def test_decisions(kind, lanes):
    rng = random.Random(3)
    readout = kind == "value"
    decided = set()
    for neurons in (1, 2, 6):
        spec = random_spec(rng, fan_in=5, neurons=neurons, readout=readout, theta=6)
        core = DigitalConfig(lanes=min(3, neurons) if lanes == 3 else lanes, decision=kind, readout="tick")
        trace = play(network_of([spec]), core, random_spikes(rng, 8, 3, 5), stall=1)
        decided |= set(trace.decision("count" if kind == "none" else kind).tolist())
    assert decided > {0, 1}


@pytest.mark.parametrize("stream", ["events_out", "decision", "readout", "probe_fc1", "probe_fc2"])
@pytest.mark.parametrize("lanes", ["full", 2])
def test_a_blocked_reader_stops_the_core_and_loses_nothing(stream, lanes):
    """Whoever does not read holds everything up, for long; then all comes, unchanged."""
    rng = random.Random(14)
    specs = [random_spec(rng, fan_in=4, neurons=5, theta=4), random_spec(rng, fan_in=5, neurons=4, readout=True)]
    plan = plan_core(network_of(specs), DigitalConfig(lanes=lanes, probe=True, readout="tick"), steps=6)
    spikes = random_spikes(rng, 4, 6, 4)
    dut = Accelerator(plan)
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    names = ["events_out", "decision", "readout", "probe_fc1", "probe_fc2"]
    taken: dict[str, list] = {name: [] for name in names}
    sent = []

    async def producer(ctx):
        for item in items_of(spikes):
            await stream_put(ctx, dut.events_in, item)
            sent.append(item)

    def reader(name):
        async def bench(ctx):
            if name == stream:
                for _ in range(400):
                    await ctx.tick()
                stopped.append(len(sent))
            while True:
                taken[name].append(await stream_get(ctx, getattr(dut, name)))

        return bench

    async def end(ctx):
        while len(taken["decision"]) < 4 or sum(int(item.tick) for item in taken["events_out"]) < 24:
            await ctx.tick()

    stopped: list[int] = []
    sim.add_testbench(producer, background=True)
    sim.add_testbench(end)
    for name in names:
        sim.add_testbench(reader(name), background=True)
    sim.add_testbench(watchdog(3000), background=True)
    sim.run()
    assert stopped[0] < len(items_of(spikes)) - 2, "the core went on without its reader"
    trace = simulate(plan.network, spikes, potentials=True)
    assert trace.readout is not None
    assert trace.potentials is not None
    assert [int(item.value) for item in taken["readout"]] == trace.readout.reshape(-1).tolist()
    assert [int(item.index) for item in taken["decision"]] == trace.decision().tolist()
    assert [int(item.last) for item in taken["events_out"]] == [0, 0, 0, 0, 0, 1] * 4
    for entry, potentials in zip(plan.layers, trace.potentials, strict=True):
        rows = np.array([[int(v) for v in item.values] for item in taken[f"probe_{entry.name}"]])
        shown = rows.reshape(24, entry.groups * entry.lanes)[:, : entry.layer.neurons]
        np.testing.assert_array_equal(shown, potentials.reshape(24, -1))


@pytest.mark.parametrize("lanes", ["full", 2, 1])
def test_loading_parameters_clears_kept_potentials(lanes):
    """Parameters that change between the inputs of a network that keeps its state: a new start, on any lanes."""
    rng = np.random.Generator(np.random.Philox(8))

    def network(sign: int, shift: int) -> IntegerNetwork:
        layers = [
            IntegerLayer.dense(
                name=f"fc{n}",
                weights=sign * weights,
                weight_bits=4,
                potential_bits=6,
                bias=bias,
                leak=Leak(kind="shift", shifts=(shift,)),
                reset="subtract",
                threshold=7,
            )
            for n, (weights, bias) in enumerate(arrays)
        ]
        return IntegerNetwork(name="kept", layers=tuple(layers), state="keep")

    arrays = [(rng.integers(-7, 8, (n, i)), rng.integers(-4, 5, n)) for i, n in ((9, 6), (6, 5))]
    before, after = network(1, 1), network(-1, 3)
    plan = plan_core(before, DigitalConfig(lanes=lanes, weights="loaded", parameters="loaded"), steps=6)
    spikes = (rng.random((4, 6, 9)) < 0.7).astype(np.uint8)
    run = run_core(plan, spikes, images={0: image_words(plan), 2: image_words(plan, after)})
    expected = [simulate(before, spikes[:2]).spikes[-1], simulate(after, spikes[2:]).spikes[-1]]
    np.testing.assert_array_equal(run.spikes, np.concatenate(expected))
    assert run.spikes[:2].any()
    assert run.spikes[2:].any()
