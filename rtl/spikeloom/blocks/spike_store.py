"""Spikes of whole time steps as bitmaps in two memories, one being filled while the other is read."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..items import address_bits
from .events import event_signature
from .sram import Sram

__all__ = ["SpikeStore"]


class SpikeStore(wiring.Component):
    """Collects the spikes of up to `steps` steps (a chunk), in any order within a step, one item per cycle.

    Row ``step * rows + address // width`` of a memory holds a bit for each of `width` addresses. A chunk ends with
    its last step, or with the tick that is the last of an input. Reading happens in order: memory 0, 1, 0, ...; who
    reads a chunk erases its rows and frees the memory. After reset both are swept clear, `steps * rows` cycles in
    which nothing is taken.

    Parameters
    ----------
    addresses : int
    width : int
        A power of two.
    steps : int
    name : str
        The memories are called `name`0 and `name`1.

    Members
    -------
    i : In(event stream)
    full : Out(2), which memories hold a whole chunk
    steps0, steps1 : Out, steps of the chunk, less one
    last0, last1 : Out(1), whether the chunk ends its input
    r_en, r_row, r_half : In, reads a row; `data0`, `data1` : Out(width) show it from the next cycle on
    erase : In(1), clears the row that was read in the cycle before
    free : In(2), gives a memory back
    """

    def __init__(self, addresses: int, *, width: int, steps: int, name: str):
        if width & (width - 1):
            raise ValueError(f"a row of {width} flags: accepted is a power of two")
        self._addresses, self._width, self._steps, self._name = addresses, width, steps, name
        self._rows = -(-addresses // width)
        row = address_bits(steps * self._rows)
        count = range(max(2, steps))
        super().__init__(
            {
                "i": In(event_signature(addresses)),
                "full": Out(2),
                "steps0": Out(count),
                "steps1": Out(count),
                "last0": Out(1),
                "last1": Out(1),
                "r_en": In(1),
                "r_row": In(row),
                "r_half": In(1),
                "data0": Out(width),
                "data1": Out(width),
                "erase": In(1),
                "free": In(2),
            }
        )

    def elaborate(self, platform):
        m, width, depth = Module(), self._width, self._steps * self._rows
        memories = [Sram(name=f"{self._name}{n}", depth=depth, width=width, port_type="1r1w") for n in range(2)]
        m.submodules.memory0, m.submodules.memory1 = memories
        column_bits = (width - 1).bit_length()

        sweep = Signal(range(depth))
        clearing = Signal(init=1)
        with m.If(clearing):
            m.d.sync += [sweep.eq(sweep + 1), clearing.eq(sweep != depth - 1)]

        half = Signal()  # being filled
        step = Signal(range(max(2, self._steps)))
        base = Signal(range(depth))  # first row of the step
        row = Signal(range(depth))
        taken, spike, ends = Signal(), Signal(), Signal()
        item = self.i.p
        m.d.comb += [
            self.i.ready.eq(~clearing & ~Mux(half, self.full[1], self.full[0])),
            taken.eq(self.i.valid & self.i.ready),
            spike.eq(taken & ~item.tick),
            ends.eq(taken & item.tick & (item.last | (step == self._steps - 1))),
            row.eq(base + item.address[column_bits:]),
        ]
        with m.If(taken & item.tick):
            m.d.sync += [step.eq(Mux(ends, 0, step + 1)), base.eq(Mux(ends, 0, base + self._rows))]
        with m.If(ends):
            m.d.sync += half.eq(~half)

        # A spike reads its row and writes it back, with its bit set, in the next cycle. Two spikes of a row in a row:
        # the second one's read came before the first one's write.
        adding, adding_half = Signal(), Signal()
        adding_row, bit = Signal(range(depth)), Signal(width)
        kept, kept_valid = Signal(width), Signal()
        written = Signal(width)
        m.d.sync += [adding.eq(spike), adding_half.eq(half), adding_row.eq(row), kept.eq(written)]
        m.d.sync += [bit.eq(Const(1, 1) << item.address[:column_bits] if column_bits else 1)]
        m.d.sync += kept_valid.eq(adding & spike & (adding_row == row) & (adding_half == half))
        stored = Mux(adding_half, memories[1].r_data, memories[0].r_data)
        m.d.comb += written.eq(Mux(kept_valid, kept, stored) | bit)

        read_row = Signal(range(depth))
        read_half = Signal()
        with m.If(self.r_en):
            m.d.sync += [read_row.eq(self.r_row), read_half.eq(self.r_half)]
        for n, memory in enumerate(memories):
            steps, last = (self.steps0, self.last0) if n == 0 else (self.steps1, self.last1)
            with m.If(ends & (half == n)):
                m.d.sync += [self.full[n].eq(1), steps.eq(step), last.eq(item.last)]
            with m.Elif(self.free[n]):
                m.d.sync += self.full[n].eq(0)
            adds, erases = adding & (adding_half == n), self.erase & (read_half == n)
            m.d.comb += [
                memory.r_en.eq(Mux(self.full[n], self.r_en & (self.r_half == n), spike & (half == n))),
                memory.r_addr.eq(Mux(self.full[n], self.r_row, row)),
                memory.w_en.eq(clearing | adds | erases),
                memory.w_addr.eq(Mux(clearing, sweep, Mux(adds, adding_row, read_row))),
                memory.w_data.eq(Mux(adds & ~clearing, written, 0)),
                (self.data0 if n == 0 else self.data1).eq(memory.r_data),
            ]
        return m
