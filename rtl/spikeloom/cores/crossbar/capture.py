"""Capture of asynchronous spikes: synchronised, stamped in clock cycles, sorted into steps."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...windows import CAPTURE_LATENCY, WindowTiming

__all__ = ["COUNTER_BITS", "SpikeCapture"]

COUNTER_BITS = 16


class SpikeCapture(wiring.Component):
    """Which neurons spiked in each step of a window, and in which of its cycles.

    Two flip-flops synchronise each column; a rising edge behind them is a spike. Its time stamp is the cycle of analog
    time in which it crossed its threshold: what passed since is the same for all and is taken off. Its step is that of
    the stamp. Spikes of one cycle need no order: a step is handed on whole, and leaves in ascending columns.

    Members
    -------
    run : In(1)
        Of the analog port.
    spike : In(columns), asynchronous
    step : Out(1)
        A step of analog time is over; `flags` says who spiked in it, `stamps` in which cycle of it (where kept).
    busy : Out(1)
        Steps of the window are still to come.
    captured, near_ties, repeated, stray : Out(16), saturating
        Spikes; spikes stamped in the first or last cycle of a step; further ones of a neuron in one step; ones outside
        of windows. The last two are lost, and the model of the array makes none.
    """

    def __init__(self, columns: int, timing: WindowTiming, *, stamps: bool):
        self._columns, self._timing, self._stamped = columns, timing, stamps
        self.stamp_bits = (timing.step - 1).bit_length()
        ports = {
            "run": In(1), "spike": In(columns), "step": Out(1), "flags": Out(columns), "busy": Out(1),
            "captured": Out(COUNTER_BITS), "near_ties": Out(COUNTER_BITS), "repeated": Out(COUNTER_BITS),
            "stray": Out(COUNTER_BITS),
        }  # fmt: skip
        if stamps:
            ports["stamps"] = Out(columns * self.stamp_bits)
        super().__init__(ports)

    def elaborate(self, platform):
        m, columns, timing = Module(), self._columns, self._timing
        first, second, before = (Signal(columns, name=f"synchronised{n}") for n in range(3))
        rising = Signal(columns)
        m.d.sync += [first.eq(self.spike), second.eq(first), before.eq(second)]
        m.d.comb += rising.eq(second & ~before)
        # Analog time as the synchronised spikes see it.
        past = Signal(CAPTURE_LATENCY)
        m.d.sync += past.eq(Cat(self.run, past)[:CAPTURE_LATENCY])
        now = past[-1]
        cycle = Signal(range(max(2, timing.step)))
        over = Signal()
        m.d.comb += [
            over.eq(now & (cycle == timing.step - 1)),
            self.busy.eq(self.run | past.any()),
            self.step.eq(over),
        ]
        with m.If(now):
            m.d.sync += cycle.eq(Mux(over, 0, cycle + 1))
        flags = Signal(columns)
        m.d.comb += self.flags.eq(flags | rising)
        with m.If(now):
            m.d.sync += flags.eq(Mux(over, 0, self.flags))
        if self._stamped:
            for n in range(columns):
                stamp = Signal(self.stamp_bits, name=f"stamp{n}")
                here = self.stamps.word_select(n, self.stamp_bits)
                m.d.comb += here.eq(Mux(flags[n], stamp, Mux(rising[n], cycle, 0)))
                m.d.sync += stamp.eq(here)
        edge = (cycle == 0) | (cycle == timing.step - 1)
        for counter, what in (
            (self.captured, rising & now.replicate(columns)),
            (self.near_ties, rising & (now & edge).replicate(columns)),
            (self.repeated, rising & flags & now.replicate(columns)),
            (self.stray, rising & (~now).replicate(columns)),
        ):
            total = Signal(range((1 << COUNTER_BITS) + columns), name=f"{counter.name}_next")
            count = Signal(range(columns + 1), name=f"{counter.name}_more")  # added a cycle later: a shorter path
            more: Value = Const(0)
            for n in range(columns):
                more = more + what[n]
            m.d.sync += count.eq(more)
            m.d.comb += total.eq(counter + count)
            m.d.sync += counter.eq(Mux(total[COUNTER_BITS:].any(), (1 << COUNTER_BITS) - 1, total))
        return m
