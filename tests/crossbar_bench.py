"""Benches of the crossbar's gateware on `amaranth.sim`, with the integer model behind its analog port."""

import random
from dataclasses import dataclass, field

import numpy as np
from amaranth.sim import Simulator

from spikeloom.cores.crossbar.engine import COUNTERS, CrossbarEngine
from spikeloom.mapping.crossbar import CrossbarPlan
from spikeloom.mapping.write_verify import WriteVerifyPlan
from spikeloom.network.integer import IntegerLayer
from spikeloom.windows import WindowTiming
from spikeloom_analog.port import ArrayPort
from spikeloom_analog.programmed import ProgrammedArray, quantum_tables
from spikeloom_sim.streams import held, stream_get, stream_put, watchdog

UNIT = 178.2e3
SHORT = WindowTiming(step=16, pulse=5, reset=5, dead=1)
"""A step that a simulator gets through; charges are scaled to its pulse."""


def sigma_of(g):
    """Read noise of SYSTEMS.md A."""
    r = 0.035 * (np.maximum(g, 1e-12) / 7e-6) ** -0.95
    return np.where(g > 0, g * 0.35 * r / (0.35 + r), 0.0)


def random_array(rows, columns, *, seed=0, timing=SHORT, noise=True, core=0) -> ProgrammedArray:
    """An array of random weights, one pulse of which moves a membrane by up to 0.9 of its swing."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.03, 0.9, (1, rows, columns)) * (rng.random((rows, columns)) < 0.8)
    g = weights / UNIT * 11 / timing.pulse
    return quantum_tables(
        0.05 * g, 0.05 * sigma_of(g) if noise else None, 0.21, timing=timing, clock=200e6, capacitance=73.5e-15,
        seeds=[seed + 10], core=core,
    )  # fmt: skip


def layer_of(rows: int, columns: int, name: str = "fc", weights=None) -> IntegerLayer:
    """An integrate-and-fire layer of that shape."""
    weights = np.zeros((columns, rows), np.int64) if weights is None else weights
    return IntegerLayer.dense(
        name=name, weights=weights, weight_bits=16, potential_bits=20, reset="zero", threshold=10_000,
        bias=np.zeros(columns, np.int64),
    )  # fmt: skip


def plan_of(
    array: ProgrammedArray, steps: int, *, stamps=False, clears=True, cells=1, write_verify=None
) -> CrossbarPlan:
    return CrossbarPlan(
        layer=layer_of(array.rows, array.columns), lanes=array.columns, weights="fixed", parameters="fixed",
        direct=False, clears=clears, timing=array.timing, steps=steps, stamps=stamps, cells=cells,
        write_verify=write_verify or WriteVerifyPlan(),
    )  # fmt: skip


@dataclass
class EngineRun:
    """What came out: spikes [B, T, N], stamps of each step, counters, and the cycle of each tick."""

    spikes: np.ndarray
    stamps: list = field(default_factory=list)
    counters: dict = field(default_factory=dict)
    outcomes: list = field(default_factory=list)
    cycles: int = 0
    first_in: list = field(default_factory=list)
    last_out: list = field(default_factory=list)


def behind(port, model: ArrayPort):
    """A background bench: `model` behind the analog port `port`."""

    async def bench(ctx):
        outside = (port.run, port.clear, port.gate, port.cycle, port.window)
        while True:
            sampled = ctx.tick().sample(*outside, port.access.valid & port.access.ready, port.access.payload)
            *_, run, clear, gate, cycle, window, asked, access = await sampled
            ctx.set(port.spike, model.clock(run=run, clear=clear, gate=gate, cycle=cycle, window=window))
            ctx.set(port.answer.valid, 0)
            if asked:
                code = model.access(
                    kind=access.kind.value, row=access.row, column=access.column, cell=access.cell,
                    amount=access.amount,
                )  # fmt: skip
                ctx.set(port.answer.payload, code)
                ctx.set(port.answer.valid, 1)
            ctx.set(port.access.ready, 1)

    return bench


def items_of(spikes, rng=None):
    """Items of one input [T, rows]: spikes of a step in any order, then its tick."""
    items = []
    for t, row in enumerate(spikes):
        addresses = np.flatnonzero(row).tolist()
        if rng is not None:
            rng.shuffle(addresses)
        items += [{"address": a, "tick": 0, "last": 0} for a in addresses]
        items.append({"address": 0, "tick": 1, "last": int(t == len(spikes) - 1)})
    return items


def run_engine(
    plan: CrossbarPlan,
    model: ArrayPort,
    inputs: list[np.ndarray],
    *,
    stall=0,
    seed=0,
    commands=(),
    limit=200_000,
    twice=False,
) -> EngineRun:
    """Play `inputs` (each [T, rows]) back to back, `stall` the longest pause of every stream.

    `twice` sends the first spike of each input two times.
    """
    rng = random.Random(seed)
    dut = CrossbarEngine(plan)
    run = EngineRun(spikes=np.zeros((len(inputs), max(map(len, inputs)), plan.columns), np.uint8))
    sim = Simulator(dut)
    sim.add_clock(5e-9)

    async def producer(ctx):
        for spikes in inputs:
            items = items_of(spikes, rng)
            for item in items[: int(twice)] + items:
                await stream_put(ctx, dut.i, item, pause=rng.randint(0, stall))

    async def consumer(ctx):
        for b, spikes in enumerate(inputs):
            t, before = 0, -1
            while t < len(spikes):
                item = await stream_get(ctx, dut.o, pause=rng.randint(0, stall))
                if item.tick:
                    assert item.last == (t == len(spikes) - 1)
                    t, before = t + 1, -1
                else:
                    assert item.address > before  # ascending columns
                    before = item.address
                    run.spikes[b, t, item.address] += 1
        wanted = sum(map(len, inputs)) if plan.stamps else 0
        while len(run.outcomes) < len(commands) or len(run.stamps) < wanted:
            await ctx.tick()
        run.counters = {name: ctx.get(getattr(dut, name)) for name in COUNTERS}

    async def stamps(ctx):
        while True:
            shown = await stream_get(ctx, dut.stamps, pause=rng.randint(0, stall))
            run.stamps.append([shown.cycles[n] if shown.flags >> n & 1 else -1 for n in range(plan.columns)])

    async def commander(ctx):
        for command in commands:
            await stream_put(ctx, dut.command, command, pause=rng.randint(0, stall))

    async def listener(ctx):
        while True:
            run.outcomes.append(await stream_get(ctx, dut.outcome, pause=rng.randint(0, stall)))

    async def clock(ctx):
        first = True
        while True:
            *_, taken, item, left = await ctx.tick().sample(
                dut.i.valid & dut.i.ready, dut.i.payload, dut.o.valid & dut.o.ready & dut.o.p.last
            )
            if taken and first:
                run.first_in.append(run.cycles)
            if taken:
                first = bool(item.last)
            if left:
                run.last_out.append(run.cycles)
            run.cycles += 1

    sim.add_testbench(producer)
    sim.add_testbench(consumer)
    sim.add_testbench(commander)
    sim.add_testbench(listener, background=True)
    if plan.stamps:
        sim.add_testbench(stamps, background=True)
    sim.add_testbench(clock, background=True)
    sim.add_testbench(behind(dut.analog, model), background=True)
    sim.add_testbench(held(dut.o), background=True)
    sim.add_testbench(held(dut.analog.access), background=True)
    sim.add_testbench(held(dut.outcome), background=True)
    sim.add_testbench(watchdog(limit), background=True)
    sim.run()
    return run
