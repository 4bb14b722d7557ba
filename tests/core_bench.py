"""Runs an accelerator in `amaranth.sim` and returns everything its streams say."""

import itertools
import random
from dataclasses import dataclass, field

import numpy as np
from amaranth.hdl import Cat
from amaranth.sim import Simulator

from spikeloom.cores.accelerator import Accelerator
from spikeloom.export import verilog
from spikeloom.items import AddressMap, EventSlots
from spikeloom.mapping.cost import CostModel
from spikeloom.mapping.plan import CorePlan, plan_core
from spikeloom.mapping.sweep import SweepPlan
from spikeloom.mapping.virtual import VirtualPlan
from spikeloom.network.reference import simulate
from spikeloom_sim.streams import held, stream_get, stream_put, watchdog


@dataclass
class CoreRun:
    """What came out, in order: events as (step, address) per input, and the other streams as they were."""

    spikes: np.ndarray
    decisions: list = field(default_factory=list)
    readouts: list = field(default_factory=list)
    probes: dict = field(default_factory=dict)
    cycles: int = 0
    dropped: int = 0
    refused: int = 0  # of the latest image, where anything is loaded
    complete: int = 0
    loaded: int = 0  # words of streamed weights that were taken
    waits: int = 0
    origin: int = 0  # cycle in which the first event is offered
    first_in: list = field(default_factory=list)  # cycle after reset in which each input's first item was taken
    last_out: list = field(default_factory=list)  # and in which its last output was, on whichever stream


def items_of(spikes: np.ndarray, order: random.Random | None = None, addressing: AddressMap | None = None) -> list:
    """Events of the inputs [B, T, I]: a spike of count c is sent c times; order within a step is free."""
    items = []
    addressing = addressing or AddressMap((spikes.shape[2],))
    for sample in spikes:
        for t, step in enumerate(sample):
            addresses = [int(addressing.of(a)) for a in np.flatnonzero(step) for _ in range(int(step[a]))]
            if order is not None:
                order.shuffle(addresses)
            items += [{"address": a, "tick": 0, "last": 0} for a in addresses]
            items.append({"address": 0, "tick": 1, "last": int(t == len(sample) - 1)})
    return items


def words_of(items: list, slots: EventSlots) -> list:
    """The same events in words of several slots, each at once in the first word of its step with a free slot for it."""
    words, step = [], []
    for item in items:
        if item["tick"]:
            words += [*step, {"rows": [0] * slots.events, "valid": 0, "tick": 1, "last": item["last"]}]
            step = []
            continue
        bank, row = item["address"] % slots.banks, item["address"] // slots.banks
        mine = [slot for slot in range(slots.events) if slot % slots.banks == bank]
        free = [(word, slot) for word in step for slot in mine if not word["valid"] >> slot & 1]
        if not free:
            step.append({"rows": [0] * slots.events, "valid": 0, "tick": 0, "last": 0})
            free = [(step[-1], mine[0])]
        word, slot = free[0]
        word["rows"][slot], word["valid"] = row, word["valid"] | 1 << slot
    return words


def run_core(
    plan: CorePlan,
    spikes: np.ndarray,
    *,
    stall: int = 0,
    seed: int = 0,
    images=None,
    limit=200_000,
    rest: int | None = None,
    stream: tuple[list[int], list[int]] | None = None,
    ordered: bool = False,
    behind=lambda dut: [],
) -> CoreRun:
    """Play `spikes` back to back; `stall` is the longest pause on every stream; `images[b]` is loaded before input b.

    Where weights are streamed, `stream` is what the load port gets first, and then again and again; events are offered
    once some of it is taken, without stalls once no more is. With `rest`, an input is offered that many cycles after
    the one before has left (the first: after reset). `ordered` keeps the events of a step in order, under stalls, too;
    `behind(dut)` gives testbenches for what stands behind other ports.
    """
    rng = random.Random(seed)
    dut = Accelerator(plan)
    entrance, exit_ = AddressMap(plan.network.input_shape), AddressMap(plan.network.layers[-1].shape)
    batch, steps, _ = spikes.shape
    run = CoreRun(spikes=np.zeros((batch, steps, plan.network.outputs), np.uint8))
    per_input = [items_of(spikes[b : b + 1], rng if stall and not ordered else None, entrance) for b in range(batch)]
    if plan.input_slots.events > 1:
        per_input = [words_of(items, plan.input_slots) for items in per_input]
    sim = Simulator(dut)
    sim.add_clock(1e-6)

    # Cycles in which an input left each output: with its last tick, its last value, its decision.
    left = {name: [] for name in ("events_out", "readout", "decision") if hasattr(dut, name)}

    async def loader(ctx):
        first, again = stream or ([], [])
        for word in itertools.chain(first, itertools.cycle(again)):
            await stream_put(ctx, dut.load, word, pause=rng.randint(0, stall))
            run.loaded += 1

    async def producer(ctx):
        before = -1
        while stream and (not run.loaded or (not stall and run.loaded != before)):
            before = run.loaded
            for _ in range(8):
                await ctx.tick()
        run.origin = run.cycles + 1  # this one has not been counted yet
        for b, items in enumerate(per_input):
            if rest is not None:
                while len(left["events_out"]) < b:
                    await ctx.tick()
                for _ in range(rest):
                    await ctx.tick()
            for word in (images or {}).get(b, []):
                await stream_put(ctx, dut.load, word, pause=rng.randint(0, stall))
            for item in items:
                await stream_put(ctx, dut.events_in, item, pause=rng.randint(0, stall))

    async def consumer(ctx):
        for b in range(batch):
            t = 0
            while t < steps:
                item = await stream_get(ctx, dut.events_out, pause=rng.randint(0, stall))
                if item.tick:
                    assert item.address == 0
                    assert item.last == (t == steps - 1)
                    t += 1
                else:
                    run.spikes[b, t, int(exit_.neuron(np.array(item.address)))] += 1
        while plan.decision != "none" and len(run.decisions) < batch:
            await ctx.tick()
        for entry in plan.layers if plan.core.probe else ():  # layers that lag show potentials after the answer
            while len(run.probes[entry.name]) < batch * steps * entry.groups:
                await ctx.tick()
        run.dropped = ctx.get(dut.dropped)
        if plan.loads:
            run.refused, run.complete = ctx.get(dut.load_refused), ctx.get(dut.load_complete)
        if plan.streams:
            run.waits = ctx.get(dut.weight_waits)

    def listener(stream, into):
        async def bench(ctx):
            while True:
                into.append(await stream_get(ctx, stream, pause=rng.randint(0, stall)))

        return bench

    async def clock(ctx):
        first, entrance, exits = True, dut.events_in, []
        for name in left:
            stream = getattr(dut, name)
            exits.append(stream.valid & stream.ready & getattr(stream.p, "last", 1))
        while True:
            sampled = ctx.tick().sample(entrance.valid & entrance.ready, entrance.payload, Cat(exits))
            *_, taken, item, ended = await sampled
            if taken:
                if first:
                    run.first_in.append(run.cycles)
                first = bool(item.last)
            for n, cycles in enumerate(left.values()):
                if ended >> n & 1:
                    cycles.append(run.cycles)
            run.cycles += 1

    for bench in behind(dut):
        sim.add_testbench(bench, background=True)
    sim.add_testbench(producer)
    if stream:
        sim.add_testbench(loader, background=True)
    sim.add_testbench(consumer)
    sim.add_testbench(clock, background=True)
    for name in left:
        sim.add_testbench(held(getattr(dut, name)), background=True)
    if hasattr(dut, "decision"):
        sim.add_testbench(listener(dut.decision, run.decisions), background=True)
    if hasattr(dut, "readout"):
        sim.add_testbench(listener(dut.readout, run.readouts), background=True)
    if plan.core.probe:
        for name in dut.probes:
            run.probes[name] = []
            sim.add_testbench(listener(getattr(dut, f"probe_{name}"), run.probes[name]), background=True)
            sim.add_testbench(held(getattr(dut, f"probe_{name}")), background=True)
    sim.add_testbench(watchdog(limit), background=True)
    sim.run()
    run.last_out = [max(cycles) for cycles in zip(*left.values(), strict=True)]
    return run


def _decided(plan: CorePlan, trace, b: int) -> int:
    """What comes with the decision on input b: spike count, step of the first spike, or value."""
    winner = trace.decision(plan.decision)[b]
    if plan.decision == "value":
        return int(trace.readout[b, -1, winner])
    if plan.decision == "count":
        return int(trace.counts[b, winner])
    steps = np.flatnonzero(trace.spikes[-1][b].any(axis=1))
    return int(steps[0]) if len(steps) else (1 << (plan.steps.bit_length() + 1)) - 1  # all ones: no spike


def check_core(plan: CorePlan, spikes: np.ndarray, run: CoreRun, trace) -> None:
    """Every spike, decision, read-out and probed potential equals the reference."""
    np.testing.assert_array_equal(run.spikes, trace.spikes[-1])
    batch, steps, _ = spikes.shape
    if plan.decision != "none":
        assert [int(d.index) for d in run.decisions] == trace.decision(plan.decision).tolist()
        assert [int(d.value) for d in run.decisions] == [_decided(plan, trace, b) for b in range(batch)]
    if trace.readout is not None:
        shown = trace.readout if plan.core.readout == "tick" else trace.readout[:, -1:]
        assert [int(r.value) for r in run.readouts] == shown.reshape(-1).tolist()
        outputs, per_input = plan.network.outputs, shown[0].size
        assert [int(r.index) for r in run.readouts] == list(range(outputs)) * (len(run.readouts) // outputs)
        assert [int(r.last) for r in run.readouts] == ([0] * (per_input - 1) + [1]) * batch
    for entry, potentials in zip(plan.layers, trace.potentials or (), strict=False):
        if plan.core.probe:
            rows = [[int(v) for v in p.values] for p in run.probes[entry.name]]
            shown = np.array(rows).reshape(batch * steps, -1)
            if isinstance(entry, SweepPlan | VirtualPlan):
                _, neuron = np.unique(entry.neuron_at, return_index=True)  # ascending, with -1 first if there is one
                shown = shown[:, neuron[len(neuron) - entry.layer.neurons :]]
            np.testing.assert_array_equal(shown[:, : entry.layer.neurons], potentials.reshape(batch * steps, -1))


def check_cycles(plan: CorePlan, model: CostModel, spikes: np.ndarray, trace, *, rest: int, **options) -> list:
    """The model has the cycles of each input, isolated and back to back; returns its reports of the latter.

    `rest` cycles are enough for the core to come to rest.
    """
    run = run_core(plan, spikes, rest=rest, **options)
    reports = model.cycles(spikes, trace.spikes)
    latency = [last - first + 1 for first, last in zip(run.first_in, run.last_out, strict=True)]
    assert latency == [report.latency for report in reports]
    run = run_core(plan, spikes, **options)
    reports = model.cycles(spikes, trace.spikes, gap="back_to_back", after_reset=0)
    offset = run.first_in[0] - reports[0].first_in
    assert run.first_in == [report.first_in + offset for report in reports]
    assert run.last_out == [report.last_out + offset for report in reports]
    return reports


def check_memories(plan: CorePlan, model: CostModel) -> None:
    """The model lists the memories that the exported design instantiates."""
    memories = {(each.name, each.port_type, each.depth, each.width) for each in model.memories}
    assert memories == {(each.name, each.port_type, each.depth, each.width) for each in verilog(plan, "core").memories}


def play(network, core, spikes, **options):
    """Play `spikes` to `network` on `core`, all of it compared with the reference; returns plan and run."""
    plan = plan_core(network, core, steps=spikes.shape[1])
    run = run_core(plan, spikes, **options)
    check_core(plan, spikes, run, simulate(network, spikes, potentials=True))
    return plan, run
