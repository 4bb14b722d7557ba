"""What a core gathers of the active synapses of L neurons before their table is read, in two banks.

Rows of indices come in, one per spike, until a block is complete; then the whole bank moves on at once, and its neurons
are read one after the other while the next block comes in.
"""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...mapping.shared import Gang

__all__ = ["Collector", "DrawnLayout"]


class DrawnLayout(data.StructLayout):
    """What is read of one neuron in one conversion.

    histogram: `counts`, a digit of each level's counter. replicate: `picks`, the index in each copy of the table, and
    which of them are `taken`.
    """

    def __init__(self, gang: Gang):
        if gang.replicates:
            picks = data.ArrayLayout(gang.index_bits, gang.block)
            super().__init__({"picks": picks, "taken": gang.block})
        else:
            super().__init__({"counts": data.ArrayLayout(gang.pulse_bits, len(gang.table))})


class Collector(wiring.Component):
    """Counters of each level, or the indices themselves, for each of L neurons.

    Members
    -------
    row : In(L indices), taken with `take`; `fresh` with it: it begins a block
    clear : In(1)
        The block is empty.
    move : In(1)
        The block is complete: it goes to the bank that is read.
    drawn : Out(DrawnLayout)
        Of the first neuron of that bank.
    digit : In(1)
        Its next digits are drawn from the next cycle on.
    shift : In(1)
        The next neuron is.
    """

    def __init__(self, gang: Gang):
        self.gang = gang
        super().__init__(
            {
                "row": In(gang.core_row_bits),
                "take": In(1),
                "fresh": In(1),
                "clear": In(1),
                "move": In(1),
                "drawn": Out(DrawnLayout(gang)),
                "digit": In(1),
                "shift": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        (self._replicas if self.gang.replicates else self._counters)(m)
        return m

    def _index(self, lane: int) -> Value:
        return self.row.word_select(lane, self.gang.index_bits)

    def _bank(self, m: Module, cells: list[list[Signal]], first: list[Value]) -> list[Signal]:
        """The bank that is read, by neurons in turn: takes `cells` [lane][n] whole, and shifts towards lane 0.

        `first` is what the cells of lane 0 become with `digit`.
        """
        banks = [
            [Signal.like(cell, name=f"bank{lane}_{n}") for n, cell in enumerate(own)] for lane, own in enumerate(cells)
        ]
        for lane, own in enumerate(banks):
            following = banks[lane + 1] if lane + 1 < len(banks) else [Const(0, len(cell)) for cell in own]
            for n, cell in enumerate(own):
                then = Mux(self.shift, following[n], Mux(self.digit, first[n], cell) if lane == 0 else cell)
                m.d.sync += cell.eq(Mux(self.move, cells[lane][n], then))
        return banks[0]

    def _counters(self, m: Module) -> None:
        gang = self.gang
        levels, bits = len(gang.table), gang.block.bit_length()
        counts = [[Signal(bits, name=f"count{lane}_{k}") for k in range(levels)] for lane in range(gang.lanes)]
        for lane, own in enumerate(counts):
            hits = Signal(levels, name=f"hits{lane}")
            m.d.comb += hits.eq(Mux(self.take, Const(1, levels) << self._index(lane), 0))
            begins = Signal(name=f"begins{lane}")
            m.d.comb += begins.eq(self.clear | (self.take & self.fresh))
            for k, count in enumerate(own):
                m.d.sync += count.eq(Mux(begins, 0, count) + hits[k])
        banks = [Signal(bits, name=f"first_{k}") for k in range(levels)]
        first = self._bank(m, counts, [each >> gang.pulse_bits for each in banks])
        m.d.comb += [each.eq(cell) for each, cell in zip(banks, first, strict=True)]
        m.d.comb += [self.drawn.counts[k].eq(cell) for k, cell in enumerate(first)]

    def _replicas(self, m: Module) -> None:
        gang, bits = self.gang, self.gang.index_bits
        filled = Signal(gang.block)
        picks = [[Signal(bits, name=f"pick{lane}_{p}") for p in range(gang.block)] for lane in range(gang.lanes)]
        with m.If(self.take):
            m.d.sync += filled.eq(Mux(self.fresh, 1, Cat(1, filled)))
            for lane, own in enumerate(picks):
                m.d.sync += own[0].eq(self._index(lane))
                m.d.sync += [own[p].eq(own[p - 1]) for p in range(1, gang.block)]
        with m.If(self.clear):
            m.d.sync += filled.eq(0)
        taken = Signal(gang.block)
        with m.If(self.move):
            m.d.sync += taken.eq(filled)
        first = self._bank(m, picks, [Const(0, bits)] * gang.block)
        m.d.comb += [self.drawn.picks[p].eq(cell) for p, cell in enumerate(first)]
        m.d.comb += self.drawn.taken.eq(taken)
