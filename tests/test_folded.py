"""Folded cores, simulated, against the reference, and their cycles against the cost model."""

import dataclasses
import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from core_bench import check_core, items_of, run_core
from networks import RESETS, network_of, random_spec
from spikeloom.blocks.spike_store import SpikeStore
from spikeloom.config import DigitalConfig
from spikeloom.cores.accelerator import Accelerator
from spikeloom.errors import InputError
from spikeloom.export import verilog
from spikeloom.mapping.cost_models import cost_model
from spikeloom.mapping.folded_cost import FoldedReport
from spikeloom.mapping.image import build_image, image_words, read_image, stream_words
from spikeloom.mapping.plan import plan_core
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork
from spikeloom.network.reference import simulate
from spikeloom_sim.streams import stream_put, watchdog
from test_digital import LEAKS, like, lively, pairwise, play, random_spikes, unknown_memories  # noqa: F401

STEPS = 5
FACTORS = {
    "leak": list(LEAKS),
    "other_leak": ["none", "shift", "multiply"],
    "reset": list(RESETS),
    "readout": [False, True],
    "bias": [False, True],
    "state": ["clear", "keep"],
    "sizes": [(5, 7, 6, 4), (7, 9), (4, 8, 3), (3, 5, 9, 5, 2)],
    "lanes": ["full", 1, 2, 3, 5, 8],
    "fold_steps": ["auto", 2, STEPS, 7],  # a chunk, and less and more than an input
    "stall": [0, 1, 4],
    "probe": [False, True],
    "ticks": ["last", "tick"],
    "queue": ["auto", 2],
}
CASES = pairwise(FACTORS, seed=3)


def specs_of(case: dict, rng: random.Random) -> list[dict]:
    """Layers of `case`: two kinds of leak and, after the first layer, of width and reset."""
    sizes, specs = case["sizes"], []
    for n in range(len(sizes) - 1):
        last = n == len(sizes) - 2
        specs.append(
            random_spec(
                rng,
                fan_in=sizes[n],
                neurons=sizes[n + 1],
                leak=LEAKS[case["leak"] if n % 2 == 0 else case["other_leak"]],
                reset=case["reset"] if n != 1 else rng.choice(RESETS),
                bias=case["bias"] and n != 1,
                readout=case["readout"] and last,
                theta=6 + 2 * n,
                potential_bits=6 + (n == 1),
                weight_bits=4 + (n == 2),
            )
        )
    return specs


@pytest.mark.parametrize("part", range(4))
def test_everything_with_everything(part):
    traces = []
    for number, case in list(enumerate(CASES))[part::4]:
        rng = random.Random(number)
        specs = specs_of(case, rng)
        widest = max(case["sizes"][1:])
        core = DigitalConfig(
            schedule="folded",
            lanes=case["lanes"] if case["lanes"] == "full" else min(case["lanes"], widest),
            fold_steps=case["fold_steps"],
            probe=case["probe"],
            readout=case["ticks"],
            spike_queue=case["queue"],
            decision=rng.choice(["auto", "none"] if case["readout"] else ["auto", "first", "none"]),
        )
        spikes = random_spikes(rng, 3, STEPS, case["sizes"][0])
        try:
            traces.append(play(network_of(specs, case["state"]), core, spikes, stall=case["stall"], seed=number))
        except Exception as error:
            error.add_note(f"case {number}: {case}, {core}")
            raise
    lively([trace for trace in traces if trace.readout is None])


@pytest.mark.parametrize("loaded", ["weights", "parameters", "both"])
def test_loaded(loaded):
    """Several networks, one after the other, in one core; some with a direct current for each input."""
    traces = []
    for seed in range(4):
        rng = random.Random(seed)
        kinds = {
            "leak": rng.choice(["linear", "shift", "shift2", "multiply"]), "other_leak": rng.choice(["shift", "none"]),
            "reset": rng.choice(RESETS), "readout": seed % 3 == 0, "bias": True, "sizes": (5, 7, 4),
        }  # fmt: skip
        specs = specs_of(kinds, rng)
        networks = [specs, *([like(rng, spec, loaded) for spec in specs] for _ in range(2))]
        options: dict = {} if loaded == "parameters" else {"weights": "loaded"}
        options |= {} if loaded == "weights" else {"parameters": "loaded"}
        core = DigitalConfig(schedule="folded", lanes=rng.choice([1, 2, 3, 4]), probe=True, **options)
        currents = None
        if seed % 2:
            currents = np.array([[rng.randint(-3, 6) for _ in range(7)] for _ in range(4)])
        spikes = random_spikes(rng, 4, STEPS, 5)
        several = [network_of(layers) for layers in networks]
        traces.append(play(several, core, spikes, stall=seed % 3, seed=seed, currents=currents))
    lively([trace for trace in traces if trace.readout is None])


def folded_case(seed: int):
    """A chain, a core and three inputs."""
    rng = random.Random(seed)
    sizes = [rng.randint(1, 12) for _ in range(rng.randint(2, 5))]
    readout = rng.random() < 0.3
    specs = [
        random_spec(
            rng, fan_in=sizes[n], neurons=sizes[n + 1], leak=LEAKS["shift"], readout=readout and n == len(sizes) - 2
        )
        for n in range(len(sizes) - 1)
    ]
    core = DigitalConfig(
        schedule="folded",
        lanes=rng.randint(1, max(sizes[1:])),
        fold_steps=rng.choice(["auto", 2, 5, 9]),
        spike_queue=rng.choice(["auto", 2]),
        readout=rng.choice(["last", "tick"]),
        decision=rng.choice(["auto", "none"]),
    )
    spikes = random_spikes(rng, 3, rng.choice([1, 4, 5]), sizes[0], density=rng.choice([0.2, 0.5]))
    return network_of(specs), core, spikes


def latencies(run) -> list[int]:
    return [last - first + 1 for first, last in zip(run.first_in, run.last_out, strict=True)]


@pytest.mark.parametrize("seed", range(24))
def test_cycles(seed):
    """The cost model is exact: inputs alone, and inputs back to back from reset on."""
    network, core, spikes = folded_case(seed)
    steps = spikes.shape[1]
    plan, trace = plan_core(network, core, steps=steps), simulate(network, spikes)
    model = cost_model(network, core, steps=steps)
    alone = run_core(plan, spikes, rest=plan.settle + 40)
    assert [report.latency for report in model.cycles(spikes, trace.spikes)] == latencies(alone)
    run = run_core(plan, spikes)
    reports = model.cycles(spikes, trace.spikes, gap="back_to_back", after_reset=0)
    assert [(report.first_in, report.last_out) for report in reports] == list(
        zip(run.first_in, run.last_out, strict=True)
    )
    assert [report.interval for report in reports[:-1]] == np.diff(run.first_in).tolist()
    assert (model.bound(spikes, trace.spikes) >= latencies(alone)).all()


@pytest.mark.parametrize("parameters", ["fixed", "loaded"])
@pytest.mark.parametrize("seed", range(3))
def test_memories_are_those_of_the_core(seed, parameters):
    network, core, _ = folded_case(seed)
    core = dataclasses.replace(core, parameters=parameters)
    exported = {
        r.name: (r.depth, r.width, r.port_type) for r in verilog(plan_core(network, core, steps=5), "x").memories
    }
    model = cost_model(network, core, steps=5).memories
    assert {m.name: (m.depth, m.width, m.port_type) for m in model} == exported


def test_lane_use():
    """Counted over every cycle from the first item in to the last out."""
    rng = random.Random(0)
    specs = [random_spec(rng, fan_in=40, neurons=64), random_spec(rng, fan_in=64, neurons=64, theta=12)]
    network = network_of(specs)
    core = DigitalConfig(schedule="folded", lanes=4, decision="none")
    spikes = (np.random.Generator(np.random.Philox(1)).random((1, 10, 40)) < 0.3).astype(np.uint8)
    trace = simulate(network, spikes)
    (report,) = cost_model(network, core, steps=10).cycles(spikes, trace.spikes)
    assert isinstance(report, FoldedReport)
    useful = 64 * int(spikes.sum()) + 64 * int(trace.spikes[0].sum())
    assert report.lane_use == useful / (4 * report.latency)
    assert 0.9 < report.lane_use < 1


def test_an_answer_waits_for_no_later_step():
    """With chunks of one step, the ticks of a step leave before the next step has been offered."""
    network, core, spikes = folded_case(3)
    core = dataclasses.replace(core, fold_steps="auto", decision="none", readout="last")
    plan = plan_core(network, core, steps=spikes.shape[1])
    dut, left = Accelerator(plan), []

    async def producer(ctx):
        for item in items_of(spikes[:1]):
            await stream_put(ctx, dut.events_in, item)
            ctx.set(dut.events_out.ready, 1)
            while item["tick"]:
                *_, valid, out = await ctx.tick().sample(dut.events_out.valid, dut.events_out.payload)
                if valid and out.tick:
                    left.append(out.last)
                    break

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(producer)
    sim.add_testbench(watchdog(20_000), background=True)
    if hasattr(dut, "readout"):

        async def reader(ctx):
            ctx.set(dut.readout.ready, 1)

        sim.add_testbench(reader, background=True)
    sim.run()
    assert left == [0] * (spikes.shape[1] - 1) + [1]


def test_store():
    """Spikes in any order, the same row at once, chunks that an input ends early, rows that come back empty."""
    dut = SpikeStore(11, width=4, steps=3, name="store")
    rng = random.Random(5)
    inputs = random_spikes(rng, 5, 4, 11)  # chunks of 3 and 1 steps
    seen = []

    async def producer(ctx):
        for item in items_of(inputs, rng):
            await stream_put(ctx, dut.i, item, pause=rng.choice([0, 0, 0, 2]))

    async def reader(ctx):
        half = 0
        for _ in inputs:
            for steps, last in ((3, 0), (1, 1)):
                while not ctx.get(dut.full) >> half & 1:
                    await ctx.tick()
                count = ctx.get(dut.steps1 if half else dut.steps0) + 1
                assert (count, ctx.get(dut.last1 if half else dut.last0)) == (steps, last)
                for row in range(3 * steps):
                    ctx.set(dut.r_en, 1)
                    ctx.set(dut.r_half, half)
                    ctx.set(dut.r_row, row)
                    await ctx.tick()
                    ctx.set(dut.r_en, 0)
                    ctx.set(dut.erase, 1)
                    seen.append(ctx.get(dut.data1 if half else dut.data0))
                    await ctx.tick()
                    ctx.set(dut.erase, 0)
                ctx.set(dut.free, 1 << half)
                await ctx.tick()
                ctx.set(dut.free, 0)
                half ^= 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(producer)
    sim.add_testbench(reader)
    sim.add_testbench(watchdog(5000), background=True)
    sim.run()
    padded = np.pad(inputs, ((0, 0), (0, 0), (0, 1))).reshape(-1, 4)
    assert seen == [int(row @ [1, 2, 4, 8]) for row in padded]


def streamed_case(seed: int):
    """A chain, a core with a small weight buffer and three inputs."""
    network, core, spikes = folded_case(seed)
    rng = random.Random(-seed)
    outer = network.layers[-1]
    least = max(*(layer.fan_in for layer in network.layers), outer.fan_in * -(-outer.neurons // core.lanes))
    core = dataclasses.replace(
        core,
        weights="loaded",
        parameters=rng.choice(["fixed", "loaded"]),
        weight_buffer=2 * least + rng.choice([0, 1, 2, 20, 50]),
        load_bits=rng.choice([32, 64]),
        fold_steps=rng.choice(["auto", "auto", 2, 1]),
        probe=rng.random() < 0.3,
    )
    return network, core, spikes


@pytest.mark.parametrize("seed", range(10))
def test_streamed(seed):
    """Every bit with stalls on all streams and on the weights; without, every cycle and every wait for weights."""
    network, core, spikes = streamed_case(seed)
    steps = spikes.shape[1]
    plan, trace = plan_core(network, core, steps=steps), simulate(network, spikes)
    stream = (image_words(plan), stream_words(plan))
    stalled = run_core(plan, spikes, stream=stream, stall=1 + seed % 4, seed=seed)
    np.testing.assert_array_equal(stalled.spikes, trace.spikes[-1])
    model = cost_model(network, core, steps=steps)
    run = run_core(plan, spikes, stream=stream, rest=plan.settle + 300)
    np.testing.assert_array_equal(run.spikes, trace.spikes[-1])
    reports = model.cycles(spikes, trace.spikes)
    assert [report.latency for report in reports] == latencies(run)
    assert sum(report.weight_waits for report in reports) == run.waits
    run = run_core(plan, spikes, stream=stream)
    reports = model.cycles(spikes, trace.spikes, gap="back_to_back")
    assert [report.first_in + run.origin for report in reports] == run.first_in
    assert [report.last_out + run.origin for report in reports] == run.last_out
    assert sum(report.weight_waits for report in reports) == run.waits


def test_streamed_cases_are_of_all_kinds():
    """There are layers of several tiles, the last one smaller, waits for weights, and none."""
    several = uneven = 0
    waits = []
    for seed in range(10):
        network, core, spikes = streamed_case(seed)
        plan, trace = plan_core(network, core, steps=spikes.shape[1]), simulate(network, spikes)
        assert plan.folded is not None
        several += len(plan.folded.tiles) > len(network.layers)
        uneven += any(tile.groups < plan.folded.tile_groups(tile.layer) for tile in plan.folded.tiles)
        model = cost_model(network, core, steps=spikes.shape[1])
        waits += [report.weight_waits for report in model.cycles(spikes, trace.spikes)]
    assert several > 2
    assert uneven > 0
    assert 0 in waits
    assert max(waits) > 20


def test_streamed_everything_with_everything():
    """All kinds of neurons through a buffer of two tiles, with stalls everywhere."""
    traces = []
    for number, case in list(enumerate(CASES))[::5]:
        rng = random.Random(number)
        network = network_of(specs_of(case, rng), case["state"])
        lanes = rng.choice([1, 2, 3])
        outer = network.layers[-1]
        least = max(*(layer.fan_in for layer in network.layers), outer.fan_in * -(-outer.neurons // lanes))
        core = DigitalConfig(
            schedule="folded", lanes=lanes, weights="loaded", weight_buffer=2 * least, load_bits=64,
            fold_steps=case["fold_steps"], readout=case["ticks"],
        )  # fmt: skip
        plan, spikes = plan_core(network, core, steps=STEPS), random_spikes(rng, 3, STEPS, network.inputs)
        trace = simulate(network, spikes, potentials=True)
        run = run_core(plan, spikes, stream=(image_words(plan), stream_words(plan)), stall=case["stall"], seed=number)
        check_core(plan, spikes, run, trace)
        traces.append(trace)
    lively([trace for trace in traces if trace.readout is None])


def test_wrong_tiles_are_refused():
    """Of another core, or out of turn: read to their end, nothing changed; the stream goes on with what was wanted."""
    network, core, spikes = streamed_case(0)
    core = dataclasses.replace(core, parameters="fixed", load_bits=32, probe=False)
    plan = plan_core(network, core, steps=spikes.shape[1])
    other = plan_core(network, dataclasses.replace(core, fold_steps=3), steps=spikes.shape[1])
    assert plan.folded is not None
    assert len(plan.folded.tiles) > 1
    good, foreign = stream_words(plan), stream_words(other)
    late = [*good[:4], good[4] + 1, *[0] * (len(good) - 5)]  # the second tile, of zeros, where the first is wanted
    broken = [*good[:3], 5, *good[4:9]]  # ends within a tile
    trace = simulate(network, spikes)
    for bad in (foreign, late, broken):
        run = run_core(plan, spikes, stream=(bad + good, good), stall=1)
        np.testing.assert_array_equal(run.spikes, trace.spikes[-1])


def test_images_of_streamed_cores():
    network, core, spikes = streamed_case(2)
    core = dataclasses.replace(core, parameters="loaded", load_bits=64)
    plan = plan_core(network, core, steps=spikes.shape[1])
    image = build_image(plan)
    assert read_image(image, plan) == image_words(plan)
    assert len(image) == 8 * len(image_words(plan))
    with pytest.raises(InputError, match="damaged"):
        read_image(image[:-8], plan)
    with pytest.raises(InputError, match="streams no weights"):
        stream_words(plan_core(network, dataclasses.replace(core, weight_buffer="auto", load_bits=32), steps=3))


def test_refused():
    rng = random.Random(1)
    chain = network_of([random_spec(rng, fan_in=4, neurons=6), random_spec(rng, fan_in=6, neurons=3)])
    core = DigitalConfig(schedule="folded", lanes=2)

    def refused(network: IntegerNetwork, message: str, **options) -> None:
        with pytest.raises(InputError, match=message):
            plan_core(network, dataclasses.replace(core, **options), steps=4)

    refused(chain, "lanes: .* accepted on a folded core is one number", lanes=[2, 3])
    refused(chain, "lanes: 7 was given; accepted is 1 to 6, .* 'fc1'", lanes=7)
    refused(chain, "queue_depth: 3 was given", queue_depth=3)
    refused(chain, "load_bits: 64 was given; accepted is 32", load_bits=64)
    refused(chain, "weight_buffer: 20 rows were given, but weights are fixed", weight_buffer=20)
    refused(chain, 'fold_steps: 3 was given; accepted is "auto" with core.schedule', schedule="pipeline", fold_steps=3)
    counted = network_of([random_spec(rng, fan_in=4, neurons=6) | {"max_count": 2}])
    refused(counted, "'fc1': max_count 2: .* 'pipeline'")
    weights = np.ones((3, 4), np.int64)
    loop = Connection(weights=np.ones((3, 3), np.int64), source="a", delay=1)
    common: dict = {"weight_bits": 3, "potential_bits": 6, "threshold": 4}
    looped = IntegerLayer(name="a", connections=(Connection(weights=weights), loop), **common)
    refused(IntegerNetwork(name="n", layers=(looped,)), "'a': connections from input, a: .* chains")
    current = IntegerLayer.dense(name="a", weights=weights, current_bits=6, **common)
    refused(IntegerNetwork(name="n", layers=(current,)), "'a': .* dense layers of plain kinds")
    named = IntegerLayer.dense(name="folded", weights=weights, **common)
    refused(IntegerNetwork(name="n", layers=(named,)), "'folded': the core has a part of that name")


def test_an_image_for_the_pipeline_is_refused():
    """Schedules are different cores, and so are chunks of different length."""
    rng = random.Random(1)
    network = network_of([random_spec(rng, fan_in=4, neurons=6), random_spec(rng, fan_in=6, neurons=3)])
    folded = DigitalConfig(schedule="folded", lanes=2, weights="loaded")
    plans = [
        plan_core(network, core, steps=4)
        for core in (folded, dataclasses.replace(folded, fold_steps=3), DigitalConfig(lanes=2, weights="loaded"))
    ]
    assert len({plan.hash for plan in plans}) == 3
    spikes = random_spikes(rng, 1, 4, 4)
    run = run_core(plans[0], spikes, images={0: image_words(plans[0]) + image_words(plans[1])})
    assert (run.refused, run.complete) == (1, 0)
    np.testing.assert_array_equal(run.spikes, simulate(network, spikes).spikes[-1])  # the first image is still there
