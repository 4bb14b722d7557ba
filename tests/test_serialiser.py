"""From flags to addresses: order, ticks, pace, and stalls on both sides."""

import itertools
import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from spikeloom.blocks.serialiser import FlagRegister, GroupSerialiser, any_and_many, first_one
from spikeloom_sim.streams import held, stream_get, stream_put, watchdog


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_searches(width):
    m, bits = Module(), Signal(width)
    first, some, many = Signal(width), Signal(), Signal()
    m.d.comb += [first.eq(first_one(bits)), some.eq(any_and_many(bits)[0]), many.eq(any_and_many(bits)[1])]

    async def bench(ctx):
        for value in range(1 << width):
            ctx.set(bits, value)
            assert ctx.get(first) == value & -value
            assert ctx.get(some) == (value > 0)
            assert ctx.get(many) == (value.bit_count() > 1)

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()


def addresses(flags: int, base: int = 0) -> list[tuple]:
    """The spikes of some flags, as (address, tick, last)."""
    return [(base + n, 0, 0) for n in range(flags.bit_length()) if flags >> n & 1]


def plain(item) -> tuple:
    return int(item.address), int(item.tick), int(item.last)


@pytest.mark.parametrize("stall", [(0, 0), (4, 0), (0, 2), (2, 2)])
@pytest.mark.parametrize(("neurons", "width"), [(1, 1), (5, 1), (7, 2), (9, 3), (8, 8), (20, 5)])
def test_group_serialiser(neurons, width, stall):
    rng = random.Random(neurons)
    groups = -(-neurons // width)
    stimulus, expected = [], []
    for number in range(60):
        group = rng.randrange(groups)
        present = min(width, neurons - group * width)
        flags = rng.choice([0, (1 << present) - 1, 1 << rng.randrange(present), rng.getrandbits(present)])
        tick = int(flags == 0 or rng.random() < 0.4)  # a group without flags must have a tick
        last = rng.getrandbits(1)
        stimulus.append({"flags": flags, "group": group, "tick": tick, "last": last})
        expected += addresses(flags, group * width) + [(0, 1, last)] * tick
        if number == 40:
            steady = len(expected)
    dut, taken, times = GroupSerialiser(neurons, width=width), [], []

    async def producer(ctx):
        for item in stimulus:
            await stream_put(ctx, dut.i, item, pause=rng.randint(0, stall[0]))

    async def consumer(ctx):
        for _ in expected:
            taken.append(plain(await stream_get(ctx, dut.o, pause=rng.randint(0, stall[1]))))
            times.append(cycle)
        await ctx.tick().repeat(2)
        assert not ctx.get(dut.o.valid)

    cycle = 0

    async def clock(ctx):
        nonlocal cycle
        while True:
            await ctx.tick()
            cycle += 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(clock, background=True)
    sim.add_testbench(producer)
    sim.add_testbench(consumer)
    sim.add_testbench(held(dut.o), background=True)
    sim.add_testbench(watchdog(5000), background=True)
    sim.run()
    assert taken == expected
    if stall == (0, 0):  # one item per cycle without a bubble, from group to group
        assert times[steady] - times[0] == steady


@pytest.mark.parametrize("stall", [(0, 0), (3, 0), (0, 2), (2, 2)])
@pytest.mark.parametrize(("neurons", "width"), [(1, 1), (3, 2), (4, 2), (7, 4), (12, 4), (17, 4), (9, 16)])
def test_a_whole_layer(neurons, width, stall):
    """Flags of a layer after each tick, through register and serialiser: ascending addresses, then the tick."""
    rng = random.Random(neurons)
    everything = (1 << neurons) - 1
    steps = [(0, 0), (everything, 1), (1, 0), (1 << neurons - 1, 0), (0, 1), (0, 0), (everything, 0)]
    steps += [(rng.getrandbits(neurons) & rng.getrandbits(neurons), rng.getrandbits(1)) for _ in range(40)]
    expected = list(itertools.chain(*(addresses(flags) + [(0, 1, last)] for flags, last in steps)))
    m = Module()
    m.submodules.register = register = FlagRegister(neurons, width=width)
    m.submodules.serialiser = serialiser = GroupSerialiser(neurons, width=width)
    connect(m, register.o, serialiser.i)
    taken = []

    async def producer(ctx):
        for flags, last in steps:
            for _ in range(rng.randint(0, stall[0])):
                await ctx.tick()
            while not (await ctx.tick().sample(register.free))[-1]:  # free at a clock edge: load from then on
                pass
            ctx.set(register.flags, flags)
            ctx.set(register.last, last)
            ctx.set(register.load, 1)
            await ctx.tick()
            ctx.set(register.load, 0)
            ctx.set(register.flags, ~flags)  # what stands there now means nothing
            ctx.set(register.last, not last)

    async def consumer(ctx):
        for _ in expected:
            taken.append(plain(await stream_get(ctx, serialiser.o, pause=rng.randint(0, stall[1]))))

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(producer)
    sim.add_testbench(consumer)
    sim.add_testbench(held(serialiser.o), background=True)
    sim.add_testbench(watchdog(6000), background=True)
    sim.run()
    assert taken == expected


def test_register_is_free_while_its_last_group_is_serialised():
    """The next tick may come as soon as the last group has moved on: the serialiser overlaps the next step."""
    dut = FlagRegister(4, width=2)

    async def bench(ctx):
        assert ctx.get(dut.free)
        ctx.set(dut.flags, 0b1111)
        ctx.set(dut.load, 1)
        await ctx.tick()
        ctx.set(dut.load, 0)
        ctx.set(dut.o.ready, 1)
        seen = []
        free = False
        while not free:
            *_, free, flags, group, tick = await ctx.tick().sample(dut.free, dut.o.p.flags, dut.o.p.group, dut.o.p.tick)
            seen.append((flags, group, tick))
        assert seen == [(0b11, 0, 0), (0b11, 1, 1)]
        assert not ctx.get(dut.o.valid)

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.add_testbench(watchdog(20), background=True)
    sim.run()
