"""A hosted core in simulation: streams without bubbles, results, and what its registers refuse to be made for."""

import dataclasses
import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from networks import network_of, random_spec
from spikeloom.blocks.events import EventLayout
from spikeloom.config import DigitalConfig
from spikeloom.cores.accelerator import Accelerator
from spikeloom.cores.ports import ReadoutLayout
from spikeloom.errors import InputError
from spikeloom.host.axi_stream import AxiStreamSink, AxiStreamSource
from spikeloom.host.map import host_registers
from spikeloom.host.ports import DISCARD, REGISTERS, STREAM, InputPort, OutputPort
from spikeloom.host.results import SpikeResults, ValueResults
from spikeloom.host.system import HostedAccelerator
from spikeloom.mapping.plan import plan_core
from spikeloom.network.integer import IntegerNetwork
from spikeloom_sim.streams import held, stream_get, stream_put, watchdog


def simulate(m, *benches, background=(), limit=20_000) -> None:
    sim = Simulator(m)
    sim.add_clock(1e-6)
    for bench in benches:
        sim.add_testbench(bench)
    for bench in (*background, watchdog(limit)):
        sim.add_testbench(bench, background=True)
    sim.run()


def network(**options) -> IntegerNetwork:
    rng = random.Random(0)
    return network_of(
        [
            random_spec(rng, fan_in=9, neurons=6, leak=("shift", 2)),
            random_spec(rng, fan_in=6, neurons=5, **options),
        ]
    )


@pytest.mark.parametrize("stall", [0, 3])
def test_axi_stream_there_and_back(stall):
    """Words arrive unchanged and in order; without pauses one in every cycle; TLAST makes a tick the last."""
    rng, m, layout = random.Random(stall), Module(), EventLayout(300)
    m.submodules.sink, m.submodules.source = sink, source = AxiStreamSink(layout), AxiStreamSource(layout)
    wiring.connect(m, sink.o, source.i)
    assert len(sink.tdata) == len(source.tdata) == 16
    words = [
        (rng.getrandbits(9) | rng.getrandbits(1) << 9 | rng.getrandbits(1) << 10, rng.getrandbits(1))
        for _ in range(200)
    ]
    got, cycles = [], []

    async def send(ctx):
        for word, last in words:
            for _ in range(rng.randint(0, stall)):
                await ctx.tick()
            ctx.set(sink.tdata, word | 0xF800)  # bits beyond the payload count for nothing
            ctx.set(sink.tlast, last)
            ctx.set(sink.tvalid, 1)
            while not (await ctx.tick().sample(sink.tready))[-1]:
                pass
            ctx.set(sink.tvalid, 0)

    async def receive(ctx):
        cycle, offered = 0, None
        while len(got) < len(words):
            ctx.set(source.tready, rng.randint(0, stall) == 0)
            *_, valid, ready, word, last = await ctx.tick().sample(
                source.tvalid, source.tready, source.tdata, source.tlast
            )
            cycle += 1
            assert offered is None or (valid and (word, last) == offered), "what is offered stays"
            offered = (word, last) if valid and not ready else None
            if valid and ready:
                got.append((word, last))
                cycles.append(cycle)

    simulate(m, send, receive)
    expected = []
    for word, last in words:
        final = word >> 9 & 1 and (word >> 10 or last)
        expected.append((word & 0x3FF | final << 10, final))
    assert got == expected
    if not stall:
        assert cycles[-1] - cycles[0] == len(words) - 1, "no bubble"


def test_a_core_behind_axi_stream_takes_an_event_in_every_cycle():
    dut = HostedAccelerator(Accelerator(plan_core(network(), DigitalConfig(), steps=6)), bus="axi4-lite", name="core")
    stalls = []

    async def bench(ctx):
        ctx.set(dut.s_axi_awaddr, dut.registers["control"].address)
        for name, value in {"awvalid": 1, "wvalid": 1, "wdata": 1, "wstrb": 15, "bready": 1}.items():
            ctx.set(getattr(dut, f"s_axi_{name}"), value)
        await ctx.tick()
        ctx.set(dut.s_axi_awvalid, 0)
        ctx.set(dut.s_axi_wvalid, 0)
        ctx.set(dut.m_axis_events_tready, 1)
        ctx.set(dut.m_axis_answers_tready, 1)
        for _ in range(20):
            await ctx.tick()
        ctx.set(dut.s_axis_events_tvalid, 1)
        for word in [*(n % 9 for n in range(500)), 1 << 4]:
            ctx.set(dut.s_axis_events_tdata, word)
            while not (await ctx.tick().sample(dut.s_axis_events_tready))[-1]:
                stalls.append(word)

    simulate(dut, bench)
    assert not stalls


@pytest.mark.parametrize("stall", [0, 2])
@pytest.mark.parametrize("addresses", [1, 3, 8])
def test_spike_results(stall, addresses):
    """Counts, the largest, the first spike of each input, while the next one is already coming."""
    rng, steps = random.Random(addresses), 5
    dut = SpikeResults(addresses, steps=steps)
    inputs = [
        np.array([[rng.random() < d for _ in range(addresses)] for _ in range(steps)]) for d in (0.5, 0, 1, 0.2, 0.6)
    ]
    seen = []

    async def send(ctx):
        for number, spikes in enumerate(inputs):
            for t, step in enumerate(spikes):
                order = np.flatnonzero(step).tolist()
                rng.shuffle(order)
                for address in order:
                    item = {"address": address, "tick": 0, "last": 0}
                    await stream_put(ctx, dut.i, item, pause=rng.randint(0, stall))
                while t == steps - 1 and len(seen) < number:  # what is shown stays until the next input ends
                    await ctx.tick()
                item = {"address": 0, "tick": 1, "last": t == steps - 1}
                await stream_put(ctx, dut.i, item, pause=rng.randint(0, stall))
                first = next((t for t, step in enumerate(spikes) if step.any()), None)
                if t == first:
                    firsts.append(order[0])
            if first is None:
                firsts.append(0)

    firsts: list[int] = []

    async def receive(ctx):
        while True:
            await stream_get(ctx, dut.o, pause=rng.randint(0, stall))

    async def read(ctx):
        for _ in inputs:
            while not (await ctx.tick().sample(dut.done))[-1]:
                pass
            await ctx.tick().repeat(2)
            counts = []
            ctx.set(dut.w_en, 1)
            ctx.set(dut.w_index, 0)
            await ctx.tick()
            ctx.set(dut.w_en, 0)
            for _ in range(addresses):
                await ctx.tick()
                counts.append(ctx.get(dut.value))
                ctx.set(dut.step, 1)
                await ctx.tick()
                ctx.set(dut.step, 0)
            first = (ctx.get(dut.first), ctx.get(dut.first_step)) if ctx.get(dut.first_valid) else None
            seen.append((counts, ctx.get(dut.best), ctx.get(dut.best_value), first))

    simulate(dut, send, read, background=[receive, held(dut.o)])
    expected = []
    for spikes, address in zip(inputs, firsts, strict=True):
        counts, when = spikes.sum(axis=0).tolist(), np.flatnonzero(spikes.any(axis=1))
        first = (address, int(when[0])) if len(when) else None
        expected.append((counts, int(np.argmax(counts)), max(counts), first))
    assert seen == expected


def test_value_results():
    rng, dut = random.Random(3), ValueResults(ReadoutLayout(4, 7), neurons=4)
    inputs = [[[rng.randrange(-64, 64) for _ in range(4)] for _ in range(3)] for _ in range(4)]
    inputs.append([[5, 5, 5, 5]])  # of equals the first
    seen = []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        assert ctx.get(dut.value) == 0, "nothing was answered"
        for steps in inputs:
            for t, values in enumerate(steps):
                for n, value in enumerate(values):
                    item = {"index": n, "value": value, "last": t == len(steps) - 1 and n == 3}
                    await stream_put(ctx, dut.i, item)
            shown = []
            for n in range(4):
                ctx.set(dut.w_en, 1)
                ctx.set(dut.w_index, n)
                await ctx.tick()
                ctx.set(dut.w_en, 0)
                await ctx.tick()
                shown.append(ctx.get(dut.value))
            seen.append((shown, ctx.get(dut.best), ctx.get(dut.best_value)))

    simulate(dut, bench)
    assert seen == [(steps[-1], steps[-1].index(max(steps[-1])), max(steps[-1])) for steps in inputs]


def test_input_port_keeps_what_it_offered_and_discards():
    dut, got = InputPort(8), []

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.payload, 7)
        assert not ctx.get(dut.o.valid), "closed"
        ctx.set(dut.open, 1)
        await ctx.tick()
        ctx.set(dut.open, 0)
        await ctx.tick()
        assert ctx.get(dut.o.valid), "offered once, offered until taken"
        ctx.set(dut.o.ready, 1)
        await ctx.tick()
        assert not ctx.get(dut.o.valid)
        ctx.set(dut.source, DISCARD)
        assert ctx.get(dut.i.ready)
        assert not ctx.get(dut.o.valid)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.source, REGISTERS)
        room = ctx.get(dut.room)
        for n in range(room):
            ctx.set(dut.w_en, 1)
            ctx.set(dut.w_data, n)
            await ctx.tick()
        ctx.set(dut.w_en, 0)
        assert ctx.get(dut.room) == 0
        ctx.set(dut.open, 1)
        while len(got) < room:
            *_, valid, payload = await ctx.tick().sample(dut.o.valid, dut.o.payload)
            got.extend([payload] * valid)
        assert ctx.get(dut.room) == room
        assert got == list(range(room))

    simulate(dut, bench)


@pytest.mark.parametrize("sink", [STREAM, REGISTERS, DISCARD])
def test_output_port(sink):
    rng, dut, words = random.Random(sink), OutputPort(8), list(range(40))
    got = []

    async def send(ctx):
        ctx.set(dut.sink, sink)
        for word in words:
            await stream_put(ctx, dut.i, word, pause=rng.randint(0, 2))
        for _ in range(100):
            await ctx.tick()

    def taker(name):
        async def bench(ctx):
            while True:
                got.append((name, await stream_get(ctx, getattr(dut, name), pause=rng.randint(0, 2))))

        return bench

    simulate(dut, send, background=[taker("o"), taker("head"), held(dut.o), held(dut.head)])
    where = {STREAM: "o", REGISTERS: "head", DISCARD: None}[sink]
    assert got == ([(where, word) for word in words] if where else [])


def test_registers_follow_the_core():
    plain = host_registers(plan_core(network(), DigitalConfig(decision="none"), steps=6), "core")
    for absent in ("load_data", "answer", "readout", "fc1_threshold"):
        assert absent not in plain
    loaded = DigitalConfig(weights="loaded", parameters="loaded")
    full = host_registers(plan_core(network(readout=True), loaded, steps=6), "core")
    for there in ("load_data", "answer", "readout", "fc1_threshold"):
        assert there in full
    assert "first" not in full
    assert full["fc1_threshold"].reset == network().layers[0].threshold


def test_registers_that_cannot_be():
    loaded = DigitalConfig(weights="loaded", parameters="loaded")
    layers = tuple(dataclasses.replace(layer, name=f"{n}-a") for n, layer in enumerate(network().layers[:1]))
    plan = plan_core(IntegerNetwork(name="n", layers=layers), loaded, steps=2)
    assert "layer_0_a_threshold" in host_registers(plan, "core"), "a name as C and Python accept it"
    with pytest.raises(InputError, match=r"core\.events_per_cycle: 2 was given; accepted is 1"):
        host_registers(plan_core(network(), DigitalConfig(events_per_cycle=2), steps=6), "core")
