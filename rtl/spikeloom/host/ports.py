"""Between the streams of a core and the registers: queues that a program fills and empties, and where streams go."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..blocks.events import EventQueue
from .map import QUEUE_DEPTH

__all__ = ["DISCARD", "REGISTERS", "STREAM", "InputPort", "OutputPort", "PushQueue"]

STREAM, REGISTERS, DISCARD = 0, 1, 2
"""Sources and sinks, as in the fields of `control`."""


class PushQueue(wiring.Component):
    """A queue that a register writes.

    Members
    -------
    w_en : In(1), w_data : In(shape)
        Only while `room` is not 0.
    room : Out, words that fit
    o : Out(stream.Signature(shape))
    """

    o: stream.Interface

    def __init__(self, shape):
        self._shape = shape
        super().__init__(
            {
                "w_en": In(1),
                "w_data": In(shape),
                "room": Out(range(QUEUE_DEPTH + 1), init=QUEUE_DEPTH),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = EventQueue(self._shape, depth=QUEUE_DEPTH)
        m.d.comb += [
            Value.cast(queue.i.payload).eq(Value.cast(self.w_data)),
            queue.i.valid.eq(self.w_en),
            Value.cast(self.o.payload).eq(Value.cast(queue.o.payload)),
            self.o.valid.eq(queue.o.valid),
            queue.o.ready.eq(self.o.ready),
        ]
        m.d.sync += self.room.eq(self.room - self.w_en + (self.o.valid & self.o.ready))
        return m


class InputPort(wiring.Component):
    """Lets words of one of two sources through.

    Members
    -------
    source : In(2), STREAM, REGISTERS or DISCARD: what the stream brings is thrown away
    open : In(1), whether a word may enter; one that was offered stays offered
    i : In(stream.Signature(shape))
    w_en, w_data, room : as of PushQueue
    o : Out(stream.Signature(shape))
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape):
        self._shape = shape
        super().__init__(
            {
                "source": In(2),
                "open": In(1),
                "i": In(stream.Signature(shape)),
                "w_en": In(1),
                "w_data": In(shape),
                "room": Out(range(QUEUE_DEPTH + 1)),
                "o": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = PushQueue(self._shape)
        waiting = Signal()
        by_register = Signal()
        let = Signal()
        m.d.sync += waiting.eq(self.o.valid & ~self.o.ready)
        m.d.comb += [
            by_register.eq(self.source == REGISTERS),
            let.eq((self.open & ((self.source == STREAM) | by_register)) | waiting),
            queue.w_en.eq(self.w_en),
            Value.cast(queue.w_data).eq(Value.cast(self.w_data)),
            self.room.eq(queue.room),
            Value.cast(self.o.payload).eq(Mux(by_register, Value.cast(queue.o.payload), Value.cast(self.i.payload))),
            self.o.valid.eq(let & Mux(by_register, queue.o.valid, self.i.valid)),
            queue.o.ready.eq(let & by_register & self.o.ready),
            self.i.ready.eq((let & ~by_register & self.o.ready) | (self.source == DISCARD)),
        ]
        return m


class OutputPort(wiring.Component):
    """Sends words to a stream, to a queue that a register reads, or nowhere.

    Members
    -------
    sink : In(2), STREAM, REGISTERS or DISCARD
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    head : Out(stream.Signature(shape)), the oldest word in the queue
    """

    i: stream.Interface
    o: stream.Interface
    head: stream.Interface

    def __init__(self, shape):
        self._shape = shape
        signature = stream.Signature(shape)
        super().__init__({"sink": In(2), "i": In(signature), "o": Out(signature), "head": Out(signature)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = EventQueue(self._shape, depth=QUEUE_DEPTH)
        to_stream, to_queue = self.sink == STREAM, self.sink == REGISTERS
        payload = Value.cast(self.i.payload)
        m.d.comb += [
            Value.cast(self.o.payload).eq(payload),
            self.o.valid.eq(self.i.valid & to_stream),
            Value.cast(queue.i.payload).eq(payload),
            queue.i.valid.eq(self.i.valid & to_queue),
            self.i.ready.eq(Mux(to_stream, self.o.ready, Mux(to_queue, queue.i.ready, 1))),
            Value.cast(self.head.payload).eq(Value.cast(queue.o.payload)),
            self.head.valid.eq(queue.o.valid),
            queue.o.ready.eq(self.head.ready),
        ]
        return m
