"""The memory block: one cycle of latency, held output, old data while writing; what is recorded for export."""

import gc
import random

import pytest
from amaranth.hdl import Fragment
from amaranth.sim import Simulator

from spikeloom.blocks.sram import ExportPlatform, MemoryRecord, Sram


@pytest.mark.parametrize(("depth", "width"), [(1, 1), (2, 3), (5, 8), (16, 70)])
def test_reads_and_writes(depth, width):
    rng = random.Random(depth)
    contents = [rng.getrandbits(width) for _ in range(depth)]
    dut, model = Sram(name="m", depth=depth, width=width, port_type="1r1w", contents=contents), list(contents)
    collisions = 0

    async def bench(ctx):
        nonlocal collisions
        shown = None
        for _ in range(400):
            reading, writing = rng.random() < 0.6, rng.random() < 0.6
            r_addr, w_addr, w_data = rng.randrange(depth), rng.randrange(depth), rng.getrandbits(width)
            for name, value in {"r_en": reading, "r_addr": r_addr, "w_en": writing, "w_addr": w_addr}.items():
                ctx.set(getattr(dut, name), value)
            ctx.set(dut.w_data, w_data)
            if shown is not None:  # and not changed by what stands at the inputs now
                assert ctx.get(dut.r_data) == shown
            if reading:
                shown = model[r_addr]
                collisions += writing and r_addr == w_addr
            if writing:
                model[w_addr] = w_data
            await ctx.tick()
            if shown is not None:
                assert ctx.get(dut.r_data) == shown

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert collisions > 0


def test_rom():
    dut = Sram(name="m", depth=3, width=4, port_type="rom", contents=[9, 0, 15])
    assert not hasattr(dut, "w_en")

    async def bench(ctx):
        for address, enable, expected in ((0, 1, 9), (2, 1, 15), (1, 0, 15), (1, 1, 0), (0, 0, 0)):
            ctx.set(dut.r_en, enable)
            ctx.set(dut.r_addr, address)
            await ctx.tick()
            assert ctx.get(dut.r_data) == expected

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("given", [0, 2, 4])
def test_a_rom_needs_all_of_its_contents(given):
    message = rf"^memory fc1\.weights: a ROM of 3 rows was given {given} rows of contents$"
    with pytest.raises(ValueError, match=message):
        Sram(name="fc1.weights", depth=3, width=4, port_type="rom", contents=[0] * given)
    gc.collect()  # here, while the warning about an unused block is ignored


def test_export_lists_the_memory_and_keeps_it_a_module():
    platform = ExportPlatform()
    rom = Sram(name="fc1.weights", depth=3, width=4, port_type="rom", contents=[9, 0, 15])
    ram = Sram(name="fc1.potentials", depth=5, width=7, port_type="1r1w")
    for memory in (rom, ram):
        Fragment.get(memory, platform)
    assert platform.memories == [
        MemoryRecord(name="fc1.weights", port_type="rom", depth=3, width=4, contents=(9, 0, 15)),
        MemoryRecord(name="fc1.potentials", port_type="1r1w", depth=5, width=7, contents=()),
    ]
    assert [(entry.module, entry.bits, entry.image) for entry in platform.memories] == [
        ("spikeloom_rom", 12, "fc1_weights.mem"),
        ("spikeloom_sram_1r1w", 35, None),
    ]
