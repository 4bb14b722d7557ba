"""The load port: images of 32-bit words become rows of memories and registers.

An image is `MAGIC, hash low, hash high, n`, then n words of records; a record is one word {region (8 bits, high), rows
(24 bits, low)} followed by its rows, each as many words as it needs, lowest bits first. An image whose hash is not
the core's is read to its end and changes nothing.

Where weights are streamed, a record {TILE, number} is followed by the rows of a tile: of the one that is wanted next,
or the image is refused from there on. Such records may come while inputs are under way; all others wait until none is,
so an image with such must be offered before the first event of an input whose tiles come behind it.
"""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LoadPort"]

MAGIC = 0x4C_4B_50_53
WORD_BITS = 32
TILE = 0xFF
"""Region of a record that brings a tile of streamed weights."""


class LoadPort(wiring.Component):
    """Takes images and writes rows.

    Parameters
    ----------
    core_hash : int
        64 bits; images for another core are refused.
    regions : list of (rows, bits)
        The memories, numbered from 0.
    row_signatures : list
        The LoadRow of each.
    word_bits : int
        At least 32; words of a head or a record use the lowest 32 bits.
    tile : (bits of a row, LoadRow) or None
        Where weights are streamed.

    Members
    -------
    i : In(stream.Signature(word_bits))
    rows : Out array of {en, row, data}, one per region
    busy : Out(1), an image has begun and not ended
    refused : Out(1), the latest image was for another core, or damaged: a region that is not there, too many rows
    complete : Out(1), the latest image was taken whole

    And with `tile`:

    tile : Out(LoadRow), filled : Out(1), with the last row of a tile
    wanted : In(24), number of the tile that must come next; rows : In(24), its rows; free : In(1), there is room for it
    still : In(1), no input is under way; first : Out(1), an image has begun, or is offered, that may have to go before
    the next input
    """

    i: stream.Interface

    def __init__(
        self, *, core_hash: int, regions: list[tuple[int, int]], row_signatures: list, word_bits: int = WORD_BITS,
        tile: tuple[int, wiring.Signature] | None = None,
    ):  # fmt: skip
        self._hash, self._regions, self._word_bits, self._tile = core_hash, regions, word_bits, tile
        ports = {f"region{n}": Out(signature) for n, signature in enumerate(row_signatures)}
        if tile is not None:
            ports |= {"tile": Out(tile[1]), "filled": Out(1), "wanted": In(24), "rows": In(24), "free": In(1)}
            ports |= {"still": In(1), "first": Out(1)}
        super().__init__(
            {"i": In(stream.Signature(word_bits)), "busy": Out(1), "refused": Out(1), "complete": Out(1)} | ports
        )

    def elaborate(self, platform):
        m = Module()
        word_bits, streams = self._word_bits, self._tile is not None
        words = [-(-bits // word_bits) for _, bits in self._regions]
        if self._tile is not None:
            words.append(-(-self._tile[0] // word_bits))
        head = self.i.payload[:WORD_BITS]
        left = Signal(WORD_BITS)  # words of the image still to come
        region = Signal(range(max(2, len(words))))
        row = Signal(24)
        rows_left = Signal(24)
        word = Signal(range(max(2, max(words))))
        # Words enter at the top and move down, so a row of k words ends in the highest k words.
        buffer = Signal(word_bits * max(words))
        full = Cat(buffer[word_bits:], self.i.payload)
        good = Signal()
        taken = Signal()
        named, count = head[24:], head[:24]
        is_tile = (named == TILE) if streams else Const(0, 1)
        waits = Signal()
        opening = Signal()  # the image has brought no tile yet
        m.d.comb += [self.i.ready.eq(~waits), taken.eq(self.i.valid & ~waits)]
        m.d.comb += self.complete.eq(good & ~self.refused & ~self.busy)
        row_end = Signal()
        m.d.comb += row_end.eq(word == Array([Const(n - 1, len(word)) for n in words])[region])
        with m.If(taken):
            m.d.sync += buffer.eq(full)

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("MAGIC"))
            with m.State("MAGIC"):
                with m.If(taken & (head == MAGIC)):
                    m.d.sync += [good.eq(0), self.refused.eq(0), opening.eq(1)]
                    m.next = "LOW"
            for state, shift, following in (("LOW", 0, "HIGH"), ("HIGH", 32, "LENGTH")):
                with m.State(state), m.If(taken):
                    with m.If(head != (self._hash >> shift & 0xFFFF_FFFF)):
                        m.d.sync += self.refused.eq(1)
                    m.next = following
            with m.State("LENGTH"), m.If(taken):
                m.d.sync += [left.eq(head), good.eq(1)]
                with m.If(head == 0):
                    m.next = "MAGIC"
                with m.Elif(self.refused):
                    m.next = "SKIP"
                with m.Else():
                    m.next = "RECORD"
            with m.State("SKIP"), m.If(taken):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 1):
                    m.next = "MAGIC"
            with m.State("RECORD"), m.If(taken):
                m.d.sync += [left.eq(left - 1), row.eq(0), word.eq(0)]
                fitting = [(named == n) & (count <= rows) for n, (rows, _) in enumerate(self._regions)]
                if streams:
                    with m.If(is_tile):
                        m.d.sync += opening.eq(0)
                    m.d.sync += region.eq(Mux(is_tile, len(self._regions), named))
                    m.d.sync += rows_left.eq(Mux(is_tile, self.rows, count))
                    fitting.append(is_tile & (count == self.wanted))
                else:
                    m.d.sync += [region.eq(named), rows_left.eq(count)]
                fits = Cat(*fitting).any()
                with m.If(left == 1):
                    m.d.sync += self.refused.eq(~fits | is_tile | (count != 0))
                    m.next = "MAGIC"
                with m.Elif(~fits):
                    m.d.sync += self.refused.eq(1)
                    m.next = "SKIP"
                with m.Elif(is_tile | (count != 0)):
                    m.next = "ROWS"
            with m.State("ROWS"), m.If(taken):
                m.d.sync += [left.eq(left - 1), word.eq(word + 1)]
                with m.If(row_end):
                    m.d.sync += [word.eq(0), row.eq(row + 1), rows_left.eq(rows_left - 1)]
                    with m.If(rows_left == 1):
                        m.next = "RECORD"
                with m.If(left == 1):
                    with m.If(~row_end | (rows_left != 1)):
                        m.d.sync += self.refused.eq(1)
                    m.next = "MAGIC"
            writing = fsm.ongoing("ROWS") & taken & row_end
            at_record = fsm.ongoing("RECORD")
        if self._tile is not None:
            # Until an image is seen to bring tiles, it goes before the next input.
            tile_shown = at_record & self.i.valid & is_tile
            m.d.comb += [
                waits.eq(at_record & self.i.valid & Mux(is_tile, (count == self.wanted) & ~self.free, ~self.still)),
                self.filled.eq(writing & (region == len(self._regions)) & (rows_left == 1)),
                self.first.eq(
                    (~self.busy & self.i.valid)
                    | (opening & self.busy & ~tile_shown)
                    | (at_record & self.i.valid & ~is_tile)
                ),
            ]
        for n, length in enumerate(words):
            streamed = n == len(self._regions)
            target = self.tile if streamed else getattr(self, f"region{n}")
            bits = self._tile[0] if self._tile is not None and streamed else self._regions[n][1]
            m.d.comb += [
                target.en.eq(writing & (region == n)),
                target.row.eq(row[: len(target.row)]),
                target.data.eq(full[len(full) - length * word_bits :][:bits]),
            ]
        return m
