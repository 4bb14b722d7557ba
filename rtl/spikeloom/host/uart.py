"""A serial line: 8 data bits, no parity, 1 stop bit, lowest bit first."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..errors import InputError

__all__ = ["UartReceiver", "UartTransmitter", "divisor_of"]

SMALLEST_DIVISOR = 4
LARGEST_ERROR = 0.02
"""Of the bit length: a byte is ten bits long, and its last one must still be sampled near its middle at both ends."""


def divisor_of(clock_hz: float, baud: int) -> int:
    """Clock cycles of a bit.

    Raises
    ------
    InputError
        If the clock cannot make the baud rate to within 2 %, or has fewer than 4 cycles for a bit.
    """
    if baud < 1:
        raise InputError(f"baud: {baud} was given; accepted is 1 or more")
    divisor = max(1, round(clock_hz / baud))
    error = abs(clock_hz / divisor / baud - 1)
    if divisor < SMALLEST_DIVISOR or error > LARGEST_ERROR:
        top = int(clock_hz / SMALLEST_DIVISOR)
        raise InputError(
            f"baud: {baud} was given; with a clock of {clock_hz / 1e6:g} MHz accepted are rates up to {top} that it "
            f"divides to within {LARGEST_ERROR:.0%} (here {error:.1%})"
        )
    return divisor


class UartReceiver(wiring.Component):
    """Bits to bytes.

    Members
    -------
    rx : In(1), asynchronous, high when idle
    o : Out(stream of bytes), shown for one cycle: whoever listens must take it
    error : Out(1), a pulse: a byte without a stop bit was dropped
    """

    o: stream.Interface

    def __init__(self, divisor: int):
        self._divisor = divisor
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8, always_ready=True)), "error": Out(1)})

    def elaborate(self, platform):
        m, divisor = Module(), self._divisor
        level = Signal(init=1)
        m.submodules.synchroniser = FFSynchronizer(self.rx, level, init=1)
        timer = Signal(range(divisor + divisor // 2))
        bits = Signal(range(10))  # still to be sampled: 8 of data and the stop bit
        byte = Signal(8)
        complete = Signal()
        m.d.sync += complete.eq(0)
        m.d.comb += [self.o.payload.eq(byte), self.o.valid.eq(complete & level)]
        m.d.comb += self.error.eq(complete & ~level)
        with m.FSM():
            with m.State("IDLE"), m.If(~level):
                m.d.sync += [timer.eq(divisor // 2 - 1), bits.eq(9)]
                m.next = "START"
            with m.State("START"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += timer.eq(divisor - 1)
                    m.next = "BITS"
                    with m.If(level):  # shorter than half a bit: noise
                        m.next = "IDLE"
            with m.State("BITS"):
                m.d.sync += timer.eq(timer - 1)
                with m.If(timer == 0):
                    m.d.sync += [timer.eq(divisor - 1), bits.eq(bits - 1)]
                    with m.If(bits == 1):
                        m.d.sync += complete.eq(1)
                        m.next = "STOP"
                    with m.Else():
                        m.d.sync += byte.eq(Cat(byte[1:], level))
            with m.State("STOP"), m.If(level):  # a line that is held low (a break) is one error
                m.next = "IDLE"
        return m


class UartTransmitter(wiring.Component):
    """Bytes to bits.

    Members
    -------
    i : In(stream of bytes)
    tx : Out(1), from a flip-flop, high when idle
    """

    i: stream.Interface

    def __init__(self, divisor: int):
        self._divisor = divisor
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        timer = Signal(range(self._divisor))
        bits = Signal(range(11))
        shift = Signal(9, init=-1)
        m.d.comb += self.i.ready.eq(bits == 0)
        m.d.sync += self.tx.eq(shift[0])
        with m.If(bits == 0):
            m.d.sync += timer.eq(self._divisor - 1)
            with m.If(self.i.valid):
                m.d.sync += [shift.eq(Cat(C(0, 1), self.i.payload)), bits.eq(10)]
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += [timer.eq(self._divisor - 1), bits.eq(bits - 1), shift.eq(Cat(shift[1:], C(1, 1)))]
        return m
