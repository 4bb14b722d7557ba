"""The event queue: order, capacity and pace, under any stalls; the shape of an event."""

import gc
import random
from collections import deque

import pytest
from amaranth.sim import Simulator

from spikeloom.blocks.events import EventLayout, EventQueue, event_signature
from spikeloom.items import address_bits
from spikeloom_sim.streams import held, stream_get, stream_put, watchdog


def simulation(dut) -> Simulator:
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    return sim


@pytest.mark.parametrize("stall", [(0, 0), (3, 0), (0, 3), (3, 3)])
@pytest.mark.parametrize("depth", [2, 3, 4, 7])
def test_first_in_first_out(depth, stall):
    rng = random.Random(depth)
    items = [rng.getrandbits(9) for _ in range(150)]
    dut, taken = EventQueue(9, depth=depth), []

    async def producer(ctx):
        for item in items:
            await stream_put(ctx, dut.i, item, pause=rng.randint(0, stall[0]))

    async def consumer(ctx):
        for _ in items:
            taken.append(await stream_get(ctx, dut.o, pause=rng.randint(0, stall[1])))
        await ctx.tick()
        assert not ctx.get(dut.o.valid)

    sim = simulation(dut)
    sim.add_testbench(producer)
    sim.add_testbench(consumer)
    sim.add_testbench(held(dut.o), background=True)
    sim.add_testbench(watchdog(3000), background=True)
    sim.run()
    assert taken == items


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_every_cycle_against_a_model(depth):
    """`valid` and `ready` in each cycle: full at `depth`, readable one cycle after, one payload per cycle for ever."""
    rng, dut = random.Random(depth), EventQueue(8, depth=depth)
    model: deque[int] = deque()
    levels = set()

    async def bench(ctx):
        for cycle in range(400):
            flowing = cycle >= 300  # at the end both sides always want
            offered, wanted = (1, 1) if flowing else (rng.random() < 0.6, rng.random() < 0.5)
            payload = rng.getrandbits(8)
            ctx.set(dut.i.valid, offered)
            ctx.set(dut.i.payload, payload)
            ctx.set(dut.o.ready, wanted)
            assert ctx.get(dut.i.ready) == (len(model) < depth)
            assert ctx.get(dut.o.valid) == (len(model) > 0)
            if model:
                assert ctx.get(dut.o.payload) == model[0]
            levels.add(len(model))
            accepted = offered and len(model) < depth
            if wanted and model:
                model.popleft()
            if accepted:
                model.append(payload)
            if flowing and cycle > 301:
                assert accepted
                assert ctx.get(dut.o.valid)
            await ctx.tick()

    sim = simulation(dut)
    sim.add_testbench(bench)
    sim.run()
    assert levels == set(range(depth + 1))


def test_payloads_keep_their_shape():
    dut = EventQueue(EventLayout(10), depth=2)

    async def bench(ctx):
        await stream_put(ctx, dut.i, {"address": 9, "tick": 0, "last": 0})
        item = await stream_get(ctx, dut.o)
        assert (item.address, item.tick, item.last) == (9, 0, 0)
        await stream_put(ctx, dut.i, {"address": 0, "tick": 1, "last": 1})
        item = await stream_get(ctx, dut.o)
        assert (item.address, item.tick, item.last) == (0, 1, 1)

    sim = simulation(dut)
    sim.add_testbench(bench)
    sim.add_testbench(watchdog(50), background=True)
    sim.run()


def test_shapes():
    assert [address_bits(n) for n in (1, 2, 3, 4, 5, 256, 257)] == [1, 1, 2, 2, 3, 8, 9]
    for addresses in (1, 2, 3, 784):
        layout = event_signature(addresses).create().payload.shape()
        assert layout == EventLayout(addresses)
        assert layout.size == address_bits(addresses) + 2
        # lowest bits first, as in the exported Verilog
        assert [(name, field.offset) for name, field in layout] == [
            ("address", 0),
            ("tick", address_bits(addresses)),
            ("last", address_bits(addresses) + 1),
        ]


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("depth", [1, 0, -1])
def test_refused_depths(depth):
    message = f"a queue of depth {depth} cannot sustain one payload per cycle; accepted is 2 or more"
    with pytest.raises(ValueError, match=f"^{message}$"):
        EventQueue(8, depth=depth)
    gc.collect()  # here, while the warning about an unused block is ignored
