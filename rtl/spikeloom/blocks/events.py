"""The event protocol: all spikes of a step, then one tick, on a stream."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..items import EventSlots, address_bits

__all__ = ["EventLayout", "EventQueue", "SlotsLayout", "event_signature"]


class EventLayout(data.StructLayout):
    """A spike {address}, or a tick (then `address` is 0) that may be the `last` of an input."""

    def __init__(self, addresses: int):
        super().__init__({"address": address_bits(addresses), "tick": 1, "last": 1})


class SlotsLayout(data.StructLayout):
    """Several spikes of a step, each in the slot of a bank: {rows, valid}; or a tick, then none is valid."""

    def __init__(self, slots: EventSlots):
        rows = data.ArrayLayout(slots.row_bits, slots.events)
        super().__init__({"rows": rows, "valid": slots.events, "tick": 1, "last": 1})


def event_signature(addresses: int, slots: EventSlots | None = None) -> stream.Signature:
    """The stream of events with addresses below `addresses`; with `slots` for several, of words of events."""
    many = slots is not None and slots.events > 1
    return stream.Signature(SlotsLayout(slots) if many else EventLayout(addresses))


class EventQueue(wiring.Component):
    """First in, first out, of `depth` payloads in flip-flops; a payload can be read in the cycle after it was taken.

    One payload per cycle goes through as soon as `depth` >= 2. No path leads from `o.ready` to `i.ready`.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape, *, depth: int):
        if depth < 2:
            raise ValueError(f"a queue of depth {depth} cannot sustain one payload per cycle; accepted is 2 or more")
        self._shape, self._depth = shape, depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m, depth = Module(), self._depth
        # Entries are data only: which of them count is kept by `level`, so they need no reset.
        entries = Array(Signal(self._shape, name=f"entry{n}", reset_less=True) for n in range(depth))
        read = Signal(range(depth))
        write = Signal(range(depth))
        level = Signal(range(depth + 1))
        push = Signal()
        pop = Signal()
        m.d.comb += [
            self.i.ready.eq(level != depth),
            self.o.valid.eq(level != 0),
            self.o.payload.eq(entries[read]),
            push.eq(self.i.valid & self.i.ready),
            pop.eq(self.o.valid & self.o.ready),
        ]

        def following(pointer):
            return Mux(pointer == depth - 1, 0, pointer + 1)

        with m.If(push):
            m.d.sync += [entries[write].eq(self.i.payload), write.eq(following(write))]
        with m.If(pop):
            m.d.sync += read.eq(following(read))
        m.d.sync += level.eq(level + push - pop)
        return m
