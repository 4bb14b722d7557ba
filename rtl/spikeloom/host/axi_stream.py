"""AXI4-Stream in front of and behind the event streams of a core.

TDATA is the payload of the stream, lowest bits first, filled up with zeros to whole bytes. TLAST is the payload's
`last`: it stands on the final tick of an input (where a payload has no `last`, on every word); that a word is a tick
is said in TDATA. Going in, a tick with TLAST is the last one whatever its own bit says, so that a DMA engine that
sends one packet per input need not know; TLAST on a spike means nothing. There is no TKEEP: all bytes count.

Both sides have a queue of two words, with all handshakes from flip-flops: one word per cycle, and no path between
TREADY or TVALID of one side and the other.
"""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..blocks.events import EventQueue

__all__ = ["AxiStreamSink", "AxiStreamSource", "axi_stream_ports"]


def axi_stream_ports(shape, *, source: bool) -> dict:
    """Ports of a stream of `shape`, of the side that sends (`source`) or receives."""
    forth, back = (Out, In) if source else (In, Out)
    bits = -(-Shape.cast(shape).width // 8) * 8
    return {"tdata": forth(bits), "tvalid": forth(1), "tready": back(1), "tlast": forth(1)}


def _has(shape, member: str) -> bool:
    return member in getattr(shape, "members", {})


class AxiStreamSink(wiring.Component):
    """From AXI4-Stream to a stream.

    Members
    -------
    tdata, tvalid, tready, tlast : `axi_stream_ports`
    o : Out(stream.Signature(shape))
    """

    o: stream.Interface

    def __init__(self, shape):
        self._shape = shape
        super().__init__(axi_stream_ports(shape, source=False) | {"o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = EventQueue(self._shape, depth=2)
        m.d.comb += [
            Value.cast(queue.i.payload).eq(self.tdata),
            queue.i.valid.eq(self.tvalid),
            self.tready.eq(queue.i.ready),
            Value.cast(self.o.payload).eq(Value.cast(queue.o.payload)),
            self.o.valid.eq(queue.o.valid),
            queue.o.ready.eq(self.o.ready),
        ]
        if _has(self._shape, "last") and _has(self._shape, "tick"):
            word = Signal(self._shape)
            m.d.comb += [
                Value.cast(word).eq(self.tdata),
                queue.i.p.last.eq(word.tick & (word.last | self.tlast)),
            ]
        return m


class AxiStreamSource(wiring.Component):
    """From a stream to AXI4-Stream.

    Members
    -------
    i : In(stream.Signature(shape))
    tdata, tvalid, tready, tlast : `axi_stream_ports`
    """

    i: stream.Interface

    def __init__(self, shape):
        self._shape = shape
        super().__init__(axi_stream_ports(shape, source=True) | {"i": In(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = EventQueue(self._shape, depth=2)
        m.d.comb += [
            Value.cast(queue.i.payload).eq(Value.cast(self.i.payload)),
            queue.i.valid.eq(self.i.valid),
            self.i.ready.eq(queue.i.ready),
            self.tdata.eq(Value.cast(queue.o.payload).as_unsigned()),
            self.tvalid.eq(queue.o.valid),
            queue.o.ready.eq(self.tready),
            self.tlast.eq(queue.o.p.last if _has(self._shape, "last") else 1),
        ]
        return m
