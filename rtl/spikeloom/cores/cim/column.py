"""The circuits below the columns of an array: a full adder, a carry latch and a few flags for each neuron.

A pass runs over the B rows of the potentials, from the lowest bit up. In each cycle a column has the bit v of its
potential that the array has just read, adds an operand and the carry, and hands a bit back to be written::

    add       v + sum of the weight bits of the banks that take part (a weight ends, its sign bit stays)
    merge     v + the same row of another tile
    compare   v + not theta + 1, nothing written: the carry into the sign is (v >= theta) where v >= 0
    subtract  v - r in the columns that fired
    decay     v - d, or v + d where v < 0; a sign that changes has crossed 0
    clamp     v_min or v_max into the columns that passed them

A column whose `zero` flag is up reads 0 whatever its cells hold, until a pass writes it. The flag is how a decay stops
at 0, how a potential is reset to 0 and how an input ends: none of them costs a pass. Likewise a column that a compare
found out of range reads the limit (v_min or v_max) in the next pass, which writes it.
"""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ColumnControl", "ColumnPeriphery"]


class ColumnControl(data.StructLayout):
    """What all columns of a tile do with the row that has just been read.

    `run` and one of the passes; `first` and `last` row; `active` banks; `bit` of theta, r or d; the row is `head`, the
    sign row of a stored potential, or `above` it; `clear` the potentials behind the last row.
    """

    def __init__(self, banks: int):
        passes = ("add", "merge", "compare", "subtract", "decay", "clamp")
        fields = ("run", "first", "last", "bit", "head", "above", "clear", *passes)
        super().__init__({**dict.fromkeys(fields, 1), "active": banks})


class ColumnPeriphery(wiring.Component):
    """Periphery of `columns` columns.

    Parameters
    ----------
    columns : int
    banks : int
        Weight rows added at once.
    ends : bool
        Whether this tile holds the potentials; else partial sums, which are only added to and merged.
    fires, zeroes, saturates, decays, subtracts : bool
        Whether neurons fire, are reset to 0, can pass the range of a stored potential, decay, subtract when they fire.

    Members
    -------
    control : In(ColumnControl)
    wipe : In(1), all potentials become 0
    v : In(columns), row of the sums; other : In(columns), that of the tile to merge
    weights : In(columns) each
    seen : Out(columns), v as the columns take it
    sum, mask : Out(columns), the row to write, and into which columns
    fired, beyond, negative : Out(columns), behind a compare: v >= theta; v out of range; v < 0
    """

    def __init__(
        self, columns: int, *, banks: int, ends: bool, fires: bool = True, zeroes: bool = True, saturates: bool = True,
        decays: bool = True, subtracts: bool = True,
    ):  # fmt: skip
        self._columns, self._banks, self._ends = columns, banks, ends
        self._fires, self._zeroes, self._saturates = ends and fires, ends and fires and zeroes, ends and saturates
        self._decays, self._subtracts = ends and decays, ends and fires and subtracts
        ports = {"control": In(ColumnControl(banks)), "wipe": In(1)}
        ports |= {"v": In(columns), "other": In(columns), "weights": In(data.ArrayLayout(columns, banks))}
        ports |= {"seen": Out(columns), "sum": Out(columns), "mask": Out(columns)}
        ports |= {"fired": Out(columns), "beyond": Out(columns), "negative": Out(columns)}
        super().__init__(ports)

    def elaborate(self, platform):
        m, n, do = Module(), self._columns, self.control

        def all_(bit):
            return bit.replicate(n)

        ones = (1 << n) - 1
        zero = Signal(n, init=ones)
        v = self.seen
        at_end = do.run & do.last

        # What the columns read.
        read = self.v & ~zero
        if self._saturates:
            limit = self.negative ^ all_(~do.head & ~do.above)  # bit of v_min where v < 0, else of v_max
            override = self.beyond & all_(~do.compare)
            read = (read & ~override) | (limit & override)
        m.d.comb += v.eq(read)

        # What they add to it, and the carry into the first row.
        first_weight = self.weights[0] & all_(do.active[0])
        operand = first_weight | (self.other & all_(do.merge))
        start = Const(0, n)
        if self._fires:
            operand = operand | all_(do.compare & ~do.bit)
            start = start | all_(do.compare)
        if self._decays:
            operand = operand | (all_(do.decay) & (~self.negative ^ all_(do.bit)))
            start = start | (all_(do.decay) & ~self.negative)
        if self._subtracts:
            operand = operand | (all_(do.subtract & ~do.bit) & self.fired)
            start = start | (all_(do.subtract) & self.fired)
        carry = self._add(m, v, operand, start)

        # What a compare finds.
        if self._fires:
            with m.If(at_end & do.compare):
                m.d.sync += self.fired.eq(carry & ~v)
        if self._ends:
            with m.If(at_end & (do.compare | do.subtract)):
                m.d.sync += self.negative.eq(Mux(do.compare, v, self.sum))
        if self._saturates:
            head = Signal(n, reset_less=True)
            with m.If(do.run & do.compare & do.head):
                m.d.sync += [head.eq(v), self.beyond.eq(0)]
            with m.Elif(do.run & do.compare & do.above):
                m.d.sync += self.beyond.eq(self.beyond | (v ^ head))
            with m.Elif(at_end & ~do.compare):
                m.d.sync += self.beyond.eq(0)

        # What is written, and which columns are 0 from now on.
        beyond = self.beyond if self._saturates else Const(0, n)
        chosen = self.fired | beyond if self._subtracts else beyond
        m.d.comb += self.mask.eq(
            all_(do.add | do.merge)
            | (all_(do.decay) & ~zero)
            | (all_(do.subtract) & chosen)
            | (all_(do.clamp) & beyond & ~zero)  # what is beyond and fired has been reset
        )
        after = Signal(n)
        m.d.comb += after.eq(zero & ~self.mask)
        if self._ends:
            with m.If(do.compare):
                raised = (carry & ~v) if self._zeroes else Const(0, n)
                m.d.comb += after.eq(zero | raised)
        if self._decays:
            with m.If(do.decay):
                m.d.comb += after.eq(zero | (self.sum ^ self.negative))
        with m.If(self.wipe | (at_end & do.clear)):
            m.d.sync += zero.eq(ones)
        with m.Elif(at_end):
            m.d.sync += zero.eq(after)
        return m

    def _add(self, m: Module, v, operand, start) -> Value:
        """Drive `sum`; returns the carry as it comes into this row, of a single operand.

        What a row leaves over is at most one per bank. It is kept as a number per column, bit n of all columns in
        `held[n]`; the bits of a row are counted by full adders, three of a weight into one of it and one of the next.
        """
        n, do = self._columns, self.control
        held = [Signal(n, name=f"held{bit}", reset_less=True) for bit in range(self._banks.bit_length())]
        carry = Signal(n)
        m.d.comb += carry.eq(Mux(do.first, start, held[0]))
        banks = [self.weights[bank] & do.active[bank].replicate(n) for bank in range(1, self._banks)]
        planes = [[v, operand, carry, *banks]]
        planes += [[each & (~do.first).replicate(n)] for each in held[1:]] + [[]]
        for weight, plane in enumerate(planes[:-1]):
            while len(plane) > 1:
                added = plane[:3]
                del plane[:3]
                total, over = (Signal(n, name=f"{name}{weight}_{len(plane)}") for name in ("total", "over"))
                if len(added) == 3:
                    a, b, c = added
                    m.d.comb += [total.eq(a ^ b ^ c), over.eq((a & b) | (c & (a ^ b)))]
                else:
                    a, b = added
                    m.d.comb += [total.eq(a ^ b), over.eq(a & b)]
                plane.append(total)
                planes[weight + 1].append(over)
        m.d.comb += self.sum.eq(planes[0][0])
        last = Const(0, n)
        for each in planes.pop():  # of the highest weight at most one is 1
            last = last | each
        with m.If(do.run):
            left = [*(plane[0] for plane in planes[1:]), last]
            m.d.sync += [register.eq(value) for register, value in zip(held, left, strict=True)]
        return carry
