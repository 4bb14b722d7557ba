"""The load port by itself: rows arrive whole, and only from images that are for this core and undamaged."""

import random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from spikeloom.blocks.load import LoadPort
from spikeloom.cores.ports import LoadRow
from spikeloom.mapping.plan import MAGIC
from spikeloom_sim.streams import stream_put, watchdog

HASH = 0x1234_5678_9ABC_DEF0
REGIONS = [(3, 20), (1, 32), (5, 33), (2, 100), (300, 7)]


def record(region: int, rows: list[int], bits: int, count: int | None = None) -> list[int]:
    """One record: its head, and each row as 32-bit words, lowest first."""
    length = -(-bits // 32)
    words = [row >> 32 * n & 0xFFFF_FFFF for row in rows for n in range(length)]
    return [region << 24 | (len(rows) if count is None else count), *words]


def image(records: list[list[int]], core: int = HASH, words: int | None = None) -> list[int]:
    body = [word for one in records for word in one]
    return [MAGIC, core & 0xFFFF_FFFF, core >> 32, len(body) if words is None else words, *body]


def random_rows(rng: random.Random, region: int, count: int | None = None) -> list[int]:
    rows, bits = REGIONS[region]
    return [rng.getrandbits(bits) for _ in range(rows if count is None else count)]


def play(words: list[int], regions=REGIONS, *, stall: int = 0, seed: int = 0) -> tuple[list, dict]:
    """Send words; returns the rows that were written, (region, row, data), and the flags at the end."""
    rng, m = random.Random(seed), Module()
    m.submodules.dut = dut = LoadPort(
        core_hash=HASH, regions=regions, row_signatures=[LoadRow(rows, bits) for rows, bits in regions]
    )
    written, flags = [], {}

    async def producer(ctx):
        for word in words:
            await stream_put(ctx, dut.i, word, pause=rng.randint(0, stall))
        flags.update({name: ctx.get(getattr(dut, name)) for name in ("busy", "refused", "complete")})
        for _ in range(3):
            await ctx.tick()

    async def observer(ctx):
        while True:
            targets = [getattr(dut, f"region{n}") for n in range(len(regions))]
            signals = [signal for target in targets for signal in (target.en, target.row, target.data)]
            _, _, *values = await ctx.tick().sample(*signals)
            for n in range(len(regions)):
                enabled, row, data = values[3 * n : 3 * n + 3]
                if enabled:
                    written.append((n, row, data))

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(producer)
    sim.add_testbench(observer, background=True)
    sim.add_testbench(watchdog(20_000), background=True)
    sim.run()
    return written, flags


GOOD = {"busy": 0, "refused": 0, "complete": 1}
REFUSED = {"busy": 0, "refused": 1, "complete": 0}


@pytest.mark.parametrize("stall", [0, 3])
def test_rows_of_all_regions(stall):
    rng = random.Random(0)
    order = [2, 0, 4, 1, 3, 0]
    contents = [(region, random_rows(rng, region)) for region in order]
    words = image([record(region, rows, REGIONS[region][1]) for region, rows in contents])
    written, flags = play(words, stall=stall)
    assert written == [(region, n, row) for region, rows in contents for n, row in enumerate(rows)]
    assert flags == GOOD


def test_fewer_rows_and_no_rows():
    rng = random.Random(1)
    short = random_rows(rng, 2, 2)
    written, flags = play(image([record(2, short, 33), record(0, [], 20), record(1, [7], 32)]))
    assert written == [(2, 0, short[0]), (2, 1, short[1]), (1, 0, 7)]
    assert flags == GOOD
    assert play(image([record(0, [], 20)])) == ([], GOOD)
    assert play(image([])) == ([], GOOD)


def test_one_region_of_one_row():
    assert play(image([record(0, [1], 1)]), regions=[(1, 1)]) == ([(0, 0, 1)], GOOD)


@pytest.mark.parametrize("bit", [0, 31, 32, 63])
def test_an_image_for_another_core_writes_nothing(bit):
    rows = random_rows(random.Random(2), 0)
    other = image([record(0, rows, 20)], core=HASH ^ 1 << bit)
    assert play(other) == ([], REFUSED)
    # Its end is known, so the next image is understood, whatever words the refused one was made of.
    tricky = image([record(0, [MAGIC, MAGIC, MAGIC], 32)], core=HASH ^ 1 << bit)
    written, flags = play(tricky + image([record(0, rows, 20)]))
    assert written == [(0, n, row) for n, row in enumerate(rows)]
    assert flags == GOOD
    assert play(image([record(0, rows, 20)]) + other)[1] == REFUSED
    assert play(image([], core=HASH ^ 1 << bit)) == ([], REFUSED)


@pytest.mark.parametrize(
    "records",
    [
        [record(5, [1], 20)],  # a region that is not there
        [record(255, [1], 20)],
        [record(5, [], 20)],
        [record(0, [1, 2, 3, 4], 20)],  # more rows than it has
        [record(4, [1] * 301, 7)],
        [record(0, [], 20, count=0x10003)],  # a count whose low bits would fit
        [record(1, [1], 32), record(0, [1], 20, count=2)],  # ends within a record
        [record(0, [1], 20, count=2)],
        [record(3, [1], 64, count=1)],  # ends within a row
        [record(1, [1], 32), record(0, [], 20, count=1)],  # ends after a head
    ],
)
def test_damaged_images_are_refused(records):
    good = [record(1, [9], 32)]
    written, flags = play(image(records))
    assert flags == REFUSED
    assert len(written) <= sum(len(one) for one in records)
    assert all(region < 5 and row < REGIONS[region][0] for region, row, _ in written), "nothing beyond a memory"
    again, flags = play(image(records) + image(good))
    assert again == [*written, (1, 0, 9)]
    assert flags == GOOD


def test_what_follows_damage_is_not_taken_for_rows():
    written, flags = play(image([record(9, [1, 2], 32), record(1, [5], 32)]))
    assert (written, flags) == ([], REFUSED)


def test_words_before_an_image_are_passed_over():
    noise = [0, 1, MAGIC ^ 1, 0xFFFF_FFFF]
    assert play(noise) == ([], {"busy": 0, "refused": 0, "complete": 0})
    assert play(noise + image([record(1, [3], 32)]) + noise) == ([(1, 0, 3)], GOOD)


def test_flags_on_the_way():
    words = image([record(1, [3], 32)])
    for length in range(1, len(words)):
        assert play(words[:length]) == ([], {"busy": 1, "refused": 0, "complete": 0})
    # A new image takes back what was said of the one before, as soon as it begins.
    assert play(words + words[:1])[1] == {"busy": 1, "refused": 0, "complete": 0}
    refused = image([], core=1)
    assert play(refused + words[:1])[1] == {"busy": 1, "refused": 0, "complete": 0}
