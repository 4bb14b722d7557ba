"""Register bank, AXI4-Lite and Wishbone slaves against a model of the registers, with stalls on every channel."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from host_model import MAP, Model
from spikeloom.host.axi_lite import OKAY, SLVERR, AxiLiteSlave
from spikeloom.host.csr import RegisterBank
from spikeloom.host.wishbone import WishboneSlave
from spikeloom_sim.streams import watchdog

ADDRESSES = [0x0, 0x4, 0x8, 0xC, 0x10, 0x14, 0x18, 0x40] * 4 + [0x1, 0x6, 0x1B, 0x1C, 0x44, 0x400, 0x7FC, 0xFFC, 0xFFF]


def behind(bank, model: Model, seen: dict):
    """What stands behind the bank, in step with the model: a queue, a word taken, a value kept elsewhere."""

    async def bench(ctx):
        items, room, theta = list(model.items), model.room, model.theta
        ctx.set(bank.level.value, {"level": model.level})
        while True:
            ctx.set(bank.next.value, {"item": items[0] if items else 0, "valid": bool(items)})
            ctx.set(bank.data.room, room > 0)
            ctx.set(bank.theta.value, {"theta": theta})
            *_, taken, pushed, word, w_en, w_data, pulse = await ctx.tick().sample(
                bank.next.r_en, bank.data.w_en, bank.data.w_data.word, bank.theta.w_en, bank.theta.w_data.theta,
                bank.command.value.as_value(),
            )  # fmt: skip
            if taken and items:
                items.pop(0)
            if pushed:
                assert room > 0
                room -= 1
                seen["pushed"].append(word)
            if w_en:
                theta = w_data
            if pulse:
                seen["pulses"].append(pulse)

    return bench


def accesses(rng: random.Random, count: int, aligned: bool) -> list[tuple]:
    """(address, None) for a read and (address, data, strobe) for a write."""
    chosen = []
    for _ in range(count):
        address = rng.choice([a for a in ADDRESSES if not aligned or a % 4 == 0])
        if rng.random() < 0.5:
            chosen.append((address, None, None))
        else:
            strobe = rng.choice([15, 15, 15, rng.randrange(16)])
            chosen.append((address, rng.getrandbits(32), strobe))
    return chosen


def play(slave_of, master, *, seed: int, stall: int, count: int = 300, aligned: bool = False):
    """Accesses one after the other; every answer, and everything behind the bank, as the model has it."""
    rng, m, model, seen = random.Random(seed), Module(), Model(), {"pushed": [], "pulses": []}
    m.submodules.slave = slave = slave_of(MAP.address_bits)
    m.submodules.bank = bank = RegisterBank(MAP)
    wiring.connect(m, slave.bus, bank.bus)
    wrong = []

    async def program(ctx):
        for address, data, strobe in accesses(rng, count, aligned):
            if data is None:
                expected, got = model.read(address), await master(ctx, slave, rng, stall, address, None, None)
            else:
                expected = model.write(address, data, strobe)
                _, got = await master(ctx, slave, rng, stall, address, data, strobe)
            if got != expected:
                wrong.append((hex(address), data, strobe, got, expected))
            if rng.random() < 0.1:  # the design raises flags now and then
                bits = {"early": rng.randrange(4), "late": rng.randrange(4)}
                ctx.set(bank.flags.set, bits)
                await ctx.tick()
                ctx.set(bank.flags.set, {"early": 0, "late": 0})
                model.flags |= bits["early"] | bits["late"] << 15
        for _ in range(3):
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(behind(bank, model, seen), background=True)
    sim.add_testbench(program)
    sim.add_testbench(watchdog(40 * count), background=True)
    sim.run()
    assert not wrong
    assert (seen["pushed"], seen["pulses"]) == (model.pushed, model.pulses)
    assert model.pushed, "the stimulus pushed"
    assert model.pulses
    assert not model.items


async def axi(ctx, slave, rng, stall, address, data, strobe):
    """One AXI4-Lite access: the channels of a write start in any order, answers are taken late."""

    async def offer(valid, ready, values, pause):
        for _ in range(pause):
            await ctx.tick()
        for signal, value in values.items():
            ctx.set(getattr(slave, signal), value)
        ctx.set(valid, 1)
        while not (await ctx.tick().sample(ready))[-1]:
            pass
        ctx.set(valid, 0)
        for signal, value in values.items():  # what is not offered is noise
            ctx.set(getattr(slave, signal), value ^ 0xF)

    pause = rng.randint(0, stall)
    if data is None:
        await offer(slave.arvalid, slave.arready, {"araddr": address}, pause)
        valid, ready, response, payload = slave.rvalid, slave.rready, slave.rresp, slave.rdata
    else:
        first = rng.randrange(2)
        parts = [
            (slave.awvalid, slave.awready, {"awaddr": address}),
            (slave.wvalid, slave.wready, {"wdata": data, "wstrb": strobe}),
        ]
        for n in (first, 1 - first):
            await offer(*parts[n], rng.randint(0, stall))
        valid, ready, response, payload = slave.bvalid, slave.bready, slave.bresp, slave.rdata
    early = rng.random() < 0.5
    ctx.set(ready, early)
    seen = []
    while not ctx.get(valid):
        await ctx.tick()
    if not early:
        for _ in range(rng.randint(0, stall)):
            seen.append((ctx.get(response), ctx.get(payload)))
            await ctx.tick()
            assert ctx.get(valid), "an answer that waits stays"
        ctx.set(ready, 1)
    seen.append((ctx.get(response), ctx.get(payload)))
    await ctx.tick()
    ctx.set(ready, 0)
    assert not ctx.get(valid), "one answer for one access"
    assert len(set(seen)) == 1, "an answer that waits does not change"
    code, word = seen[0]
    assert code in (OKAY, SLVERR)
    return (word if data is None else 0), code == SLVERR


async def wishbone(ctx, slave, rng, stall, address, data, strobe):
    """One classic Wishbone cycle; `cyc` may come before `stb`."""
    ctx.set(slave.cyc, 1)
    for _ in range(rng.randint(0, stall)):
        await ctx.tick()
    ctx.set(slave.stb, 1)
    ctx.set(slave.adr, address >> 2)
    ctx.set(slave.we, data is not None)
    ctx.set(slave.dat_w, data or 0)
    ctx.set(slave.sel, 15 if strobe is None else strobe)
    ack = err = False
    while not (ack or err):
        *_, ack, err, word = await ctx.tick().sample(slave.ack, slave.err, slave.dat_r)
    assert ack != err
    ctx.set(slave.stb, 0)
    ctx.set(slave.cyc, rng.randrange(2))
    return (word if data is None else 0), bool(err)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stall", [0, 4])
def test_axi_lite(seed, stall):
    play(AxiLiteSlave, axi, seed=seed, stall=stall)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stall", [0, 3])
def test_wishbone(seed, stall):
    play(WishboneSlave, wishbone, seed=seed, stall=stall, aligned=True)


@pytest.mark.parametrize("stall", [0, 5])
def test_axi_lite_reads_and_writes_at_once(stall):
    """Both directions kept full: none starves the other, and no answer is lost or doubled."""
    m = Module()
    m.submodules.slave = slave = AxiLiteSlave(MAP.address_bits)
    m.submodules.bank = bank = RegisterBank(MAP)
    wiring.connect(m, slave.bus, bank.bus)
    rng, answers = random.Random(5), {"b": 0, "r": 0}
    words = [rng.getrandbits(32) for _ in range(50)]

    async def keep_offering(ctx, valid, ready, payload, values):
        for value in values:
            ctx.set(valid, 1)
            ctx.set(payload, value)
            while not (await ctx.tick().sample(ready))[-1]:
                pass
        ctx.set(valid, 0)

    def offerer(*arguments):
        async def bench(ctx):
            await keep_offering(ctx, *arguments)

        return bench

    def taker(name, valid, ready):
        async def bench(ctx):
            while answers[name] < 50:
                ctx.set(ready, rng.randint(0, stall) == 0)
                if (await ctx.tick().sample(valid & ready))[-1]:
                    answers[name] += 1
                    assert stall or abs(answers["b"] - answers["r"]) <= 2, "reads and writes take turns"
            for _ in range(10):
                assert not (await ctx.tick().sample(valid))[-1], "no answer without an access"

        return bench

    async def setup(ctx):
        ctx.set(slave.wstrb, 15)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(setup)
    sim.add_testbench(offerer(slave.awvalid, slave.awready, slave.awaddr, [0x4] * 50))
    sim.add_testbench(offerer(slave.wvalid, slave.wready, slave.wdata, words))
    sim.add_testbench(offerer(slave.arvalid, slave.arready, slave.araddr, [0x0] * 50))
    sim.add_testbench(taker("b", slave.bvalid, slave.bready))
    sim.add_testbench(taker("r", slave.rvalid, slave.rready))
    sim.add_testbench(watchdog(4_000), background=True)
    sim.run()
    assert answers == {"b": 50, "r": 50}


def test_a_flag_that_is_set_while_it_is_cleared_stays():
    m = Module()
    m.submodules.bank = bank = RegisterBank(MAP)

    async def bench(ctx):
        ctx.set(bank.flags.set, {"early": 1, "late": 0})
        ctx.set(bank.bus.address, 0x14)
        ctx.set(bank.bus.write, 1)
        ctx.set(bank.bus.w_strobe, 15)
        ctx.set(bank.bus.w_data, 0xFFFF_FFFF)
        await ctx.tick()
        ctx.set(bank.flags.set, {"early": 0, "late": 0})
        assert ctx.get(bank.flags.value.early) == 1
        await ctx.tick()
        assert ctx.get(bank.flags.value.early) == 0

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
