"""The load port: rows within their memories, and nothing written by an image for another core."""

from amaranth.hdl import Cat, Mux, Signal

from spikeloom.blocks.load import MAGIC, LoadPort
from spikeloom.cores.ports import LoadRow

from .harness import Claims, Fault, Proof

__all__ = ["PROOFS"]

HASH = 0x0123_4567_89AB_CDEF
REGIONS = [(5, 40), (3, 32), (1, 7)]


def load_port(c: Claims, block: LoadPort) -> None:
    """A second reader of the words: where in an image it is, and whether the hash was right so far."""
    taken, word = block.i.valid & block.i.ready, block.i.payload
    place = Signal(3, name="place")  # before the magic word, then low, high, length, records
    left = Signal(32, name="words_left")
    right = Signal(name="hash_right")
    records = place == 4
    with c.m.If(taken):
        with c.m.Switch(place):
            with c.m.Case(0):
                c.m.d.sync += [place.eq(Mux(word == MAGIC, 1, 0)), right.eq(1)]
            with c.m.Case(1):
                c.m.d.sync += [place.eq(2), right.eq(right & (word == HASH & 0xFFFF_FFFF))]
            with c.m.Case(2):
                c.m.d.sync += [place.eq(3), right.eq(right & (word == HASH >> 32))]
            with c.m.Case(3):
                c.m.d.sync += [place.eq(Mux(word == 0, 0, 4)), left.eq(word)]
            with c.m.Default():
                c.m.d.sync += [place.eq(Mux(left == 1, 0, 4)), left.eq(left - 1)]
    writes = Cat(*[getattr(block, f"region{n}").en for n in range(len(REGIONS))])
    c.check("takes_every_word", block.i.ready)
    c.implies("another_core_changes_nothing", writes.any(), records & right & taken)
    c.check("one_memory_at_a_time", ~(writes & (writes - 1)[: len(writes)]).any())
    for n, (rows, _) in enumerate(REGIONS):
        target = getattr(block, f"region{n}")
        c.implies(f"row_of_region_{n}_below_{rows}", target.en, target.row < rows)
    c.check("busy_within_an_image", block.busy == (place != 0))
    c.implies("another_core_is_refused", ~right & ((place == 3) | (place == 4)), block.refused)
    c.implies("complete_is_not_refused", block.complete, ~block.refused & ~block.busy & right)

    state, row, rows_left = c.inner("fsm_state"), c.inner("row"), c.inner("rows_left")
    # The states of the block in the order in which it names them: MAGIC, LOW, HIGH, LENGTH, SKIP, RECORD, ROWS.
    _, _, _, _, skip, record, rows_state = range(7)
    c.invariant("state", (state <= rows_state) & (place <= 4) & (Mux(place == 4, (state >= skip), state == place)))
    c.invariant("left", (place != 4) | (c.inner("left") == left))
    c.invariant("left_over", (place != 4) | (left != 0))
    c.invariant("refused", ((place == 0) | (place == 4) | (block.refused == ~right)))
    c.invariant("skips", ((state != record) & (state != rows_state)) | (right & ~block.refused))
    c.invariant("good", ~c.inner("good") | (place == 0) | (place == 4))
    c.invariant("remembered", (place != 0) | ~c.inner("good") | right | block.refused)
    region = c.inner("region")
    for n, (rows, _) in enumerate(REGIONS):
        inside = (row + rows_left <= rows) & (rows_left != 0) & (row < rows)
        c.invariant(f"rows{n}", (state != rows_state) | (region != n) | inside)
    c.invariant("region", (state != rows_state) | (region < len(REGIONS)))


PROOFS = (
    Proof(
        name="load_port",
        claim="LoadPort: rows within their memory; an image for another core writes nothing and is refused",
        make=lambda: LoadPort(
            core_hash=HASH, regions=REGIONS, row_signatures=[LoadRow(rows, bits) for rows, bits in REGIONS]
        ),
        claims=load_port,
        depth=4,
        search=16,
        faults=(
            Fault(cls=LoadPort, old="count <= rows", new="count <= rows + 1"),
            Fault(cls=LoadPort, old="self._hash >> shift & 0xFFFF_FFFF",
                  new="self._hash & 0xFFFF_FFFF if shift == 0 else self.i.payload"),
            Fault(cls=LoadPort, old="with m.Elif(self.refused):", new="with m.Elif(0):"),
        ),
    ),
)  # fmt: skip
