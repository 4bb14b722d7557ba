"""The load port: images of 32-bit words become rows of memories and registers.

An image is `MAGIC, hash low, hash high, n`, then n words of records; a record is one word {region (8 bits, high), rows
(24 bits, low)} followed by its rows, each as many words as it needs, lowest bits first. An image whose hash is not
the core's is read to its end and changes nothing.
"""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..items import address_bits

__all__ = ["LoadPort"]

MAGIC = 0x4C_4B_50_53
WORD_BITS = 32


class LoadPort(wiring.Component):
    """Takes images and writes rows.

    Parameters
    ----------
    core_hash : int
        64 bits; images for another core are refused.
    regions : list of (rows, bits)
        The memories, numbered from 0.

    Members
    -------
    i : In(stream.Signature(32))
    rows : Out array of {en, row, data}, one per region
    busy : Out(1), an image has begun and not ended
    refused : Out(1), the latest image was for another core, or damaged: a region that is not there, too many rows
    complete : Out(1), the latest image was taken whole
    """

    i: stream.Interface

    def __init__(self, *, core_hash: int, regions: list[tuple[int, int]], row_signatures: list):
        self._hash, self._regions = core_hash, regions
        ports = {f"region{n}": Out(signature) for n, signature in enumerate(row_signatures)}
        super().__init__(
            {"i": In(stream.Signature(WORD_BITS)), "busy": Out(1), "refused": Out(1), "complete": Out(1)} | ports
        )

    def elaborate(self, platform):
        m = Module()
        words = [-(-bits // WORD_BITS) for _, bits in self._regions]
        left = Signal(WORD_BITS)  # words of the image still to come
        region = Signal(range(max(2, len(words))))
        row = Signal(24)
        rows_left = Signal(24)
        word = Signal(range(max(2, max(words))))
        # Words enter at the top and move down, so a row of k words ends in the highest k words.
        buffer = Signal(WORD_BITS * max(words))
        full = Cat(buffer[WORD_BITS:], self.i.payload)
        good = Signal()
        taken = Signal()
        named, count = self.i.payload[24:], self.i.payload[:24]
        m.d.comb += [self.i.ready.eq(1), taken.eq(self.i.valid)]
        m.d.comb += self.complete.eq(good & ~self.refused & ~self.busy)
        row_end = Signal()
        m.d.comb += row_end.eq(word == Array([Const(n - 1, len(word)) for n in words])[region])
        with m.If(taken):
            m.d.sync += buffer.eq(full)

        with m.FSM() as fsm:
            m.d.comb += self.busy.eq(~fsm.ongoing("MAGIC"))
            with m.State("MAGIC"):
                with m.If(taken & (self.i.payload == MAGIC)):
                    m.d.sync += [good.eq(0), self.refused.eq(0)]
                    m.next = "LOW"
            for state, shift, following in (("LOW", 0, "HIGH"), ("HIGH", 32, "LENGTH")):
                with m.State(state), m.If(taken):
                    with m.If(self.i.payload != (self._hash >> shift & 0xFFFF_FFFF)):
                        m.d.sync += self.refused.eq(1)
                    m.next = following
            with m.State("LENGTH"), m.If(taken):
                m.d.sync += [left.eq(self.i.payload), good.eq(1)]
                with m.If(self.i.payload == 0):
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
                m.d.sync += [left.eq(left - 1), region.eq(named), rows_left.eq(count), row.eq(0), word.eq(0)]
                fits = Cat(*[(named == n) & (count <= rows) for n, (rows, _) in enumerate(self._regions)]).any()
                with m.If(left == 1):
                    m.d.sync += self.refused.eq(~fits | (count != 0))
                    m.next = "MAGIC"
                with m.Elif(~fits):
                    m.d.sync += self.refused.eq(1)
                    m.next = "SKIP"
                with m.Elif(count != 0):
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
        for n, ((rows, bits), length) in enumerate(zip(self._regions, words, strict=True)):
            target = getattr(self, f"region{n}")
            m.d.comb += [
                target.en.eq(writing & (region == n)),
                target.row.eq(row[: address_bits(rows)]),
                target.data.eq(full[len(full) - length * WORD_BITS :][:bits]),
            ]
        return m
