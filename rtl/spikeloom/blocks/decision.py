"""The decision unit: which output neuron answers, told at the end of each input."""

from typing import Literal

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..items import address_bits
from .events import event_signature
from .sram import Sram

__all__ = ["DecisionLayout", "DecisionUnit", "ValueDecision"]


class DecisionLayout(data.StructLayout):
    """`index` of the answering neuron, and its spike count, the step of its first spike, or its value."""

    def __init__(self, neurons: int, value):
        super().__init__({"index": address_bits(neurons), "value": value})


class DecisionUnit(wiring.Component):
    """Most spikes (`count`) or first spike (`first`) of an event stream, which passes through unchanged.

    Ties, and an input without a spike, go to the lowest index (then `value` is 0 for `count`, the largest number for
    `first`). Counts live in a memory that is swept clear after each input: `neurons` cycles in which no event is
    taken. They saturate at `2**value_bits - 1` as far as the decision goes.

    Members
    -------
    i : In(event stream), o : Out(event stream)
    decision : Out(stream of DecisionLayout)
        One payload per tick with `last`, offered before that tick is passed on.
    """

    i: stream.Interface
    o: stream.Interface
    decision: stream.Interface

    def __init__(self, neurons: int, *, kind: Literal["count", "first"], value_bits: int, name: str = "decision"):
        self._neurons, self._kind, self._bits, self._name = neurons, kind, value_bits, name
        super().__init__(
            {
                "i": In(event_signature(neurons)),
                "o": Out(event_signature(neurons)),
                "decision": Out(stream.Signature(DecisionLayout(neurons, value_bits))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        accept = Signal()
        told = Signal()
        item = self.i.p
        nothing = -1 if self._kind == "first" else 0
        best = Signal(self.decision.payload.shape(), init={"index": 0, "value": nothing & ((1 << self._bits) - 1)})
        ending = self.i.valid & item.tick & item.last
        # The answer leaves first, then its tick; `told` remembers that it has left.
        answer = Signal()
        m.d.comb += [
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid & accept & (~ending | told)),
            self.i.ready.eq(self.o.ready & accept & (~ending | told)),
            self.decision.valid.eq(ending & answer & ~told),
            self.decision.payload.eq(best),
        ]
        taken = self.i.valid & self.i.ready
        spike, tick = taken & ~item.tick, taken & item.tick
        with m.If(ending & told & self.o.ready & accept):
            m.d.sync += told.eq(0)
        with m.Elif(self.decision.valid & self.decision.ready):
            m.d.sync += told.eq(1)
        if self._kind == "first":
            self._first(m, best, spike, tick, item, accept, answer)
        else:
            self._count(m, best, spike, tick, item, accept, answer)
        return m

    def _first(self, m, best, spike, tick, item, accept, answer) -> None:
        seen = Signal()
        step = Signal(self._bits)
        m.d.comb += [accept.eq(1), answer.eq(1)]
        with m.If(spike & ~seen):
            m.d.sync += [seen.eq(1), best.index.eq(item.address), best.value.eq(step)]
        with m.If(tick):
            m.d.sync += step.eq(Mux(item.last, 0, Mux(step.all(), step, step + 1)))
            with m.If(item.last):
                m.d.sync += [seen.eq(0), best.index.eq(0), best.value.eq(-1)]

    def _count(self, m, best, spike, tick, item, accept, answer) -> None:
        m.submodules.counts = counts = Sram(
            name=f"{self._name}.counts", depth=self._neurons, width=self._bits, port_type="1r1w"
        )
        # A neuron fires once in a step, so its next spike comes at least two cycles later, after the tick: the
        # write below has then happened and needs no forwarding.
        updating = Signal()
        address = Signal(len(item.address), reset_less=True)
        clearing = Signal(init=1)
        sweep = Signal(range(max(2, self._neurons)))
        count = Signal(self._bits)
        m.d.comb += [
            accept.eq(~clearing),
            answer.eq(~updating & ~clearing),
            counts.r_en.eq(spike),
            counts.r_addr.eq(item.address),
            count.eq(counts.r_data + 1),  # may wrap: the largest number it showed has been compared by then
            counts.w_en.eq(updating | clearing),
            counts.w_addr.eq(Mux(clearing, sweep, address)),
            counts.w_data.eq(Mux(clearing, 0, count)),
        ]
        m.d.sync += [updating.eq(spike), address.eq(item.address)]
        with m.If(updating & ((count > best.value) | ((count == best.value) & (address < best.index)))):
            m.d.sync += [best.value.eq(count), best.index.eq(address)]
        with m.If(clearing):
            m.d.sync += sweep.eq(sweep + 1)
            with m.If(sweep == self._neurons - 1):
                m.d.sync += [sweep.eq(0), clearing.eq(0)]
        with m.Elif(tick & item.last):
            m.d.sync += [clearing.eq(1), best.as_value().eq(0)]


class ValueDecision(wiring.Component):
    """Arg-max of a read-out stream at the last step of an input; the stream passes through unchanged.

    Ties go to the lowest index.

    Members
    -------
    i, o : streams of read-out values {index, value, last}
    decision : Out(stream of DecisionLayout)
        Offered after the last value of an input was passed on; the next value waits until it has left.
    """

    i: stream.Interface
    o: stream.Interface
    decision: stream.Interface

    def __init__(self, layout: data.StructLayout, *, neurons: int):
        self._value = layout.members["value"]
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "o": Out(stream.Signature(layout)),
                "decision": Out(stream.Signature(DecisionLayout(neurons, self._value))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        best = Signal(self.decision.payload.shape())
        ready = Signal()
        m.d.comb += [
            self.o.payload.eq(self.i.payload),
            self.o.valid.eq(self.i.valid & ~ready),
            self.i.ready.eq(self.o.ready & ~ready),
            self.decision.valid.eq(ready),
            self.decision.payload.eq(best),
        ]
        with m.If(self.i.valid & self.i.ready):
            # Values come in ascending order of index, every step anew from index 0.
            with m.If((self.i.p.index == 0) | (self.i.p.value > best.value)):
                m.d.sync += [best.index.eq(self.i.p.index), best.value.eq(self.i.p.value)]
            m.d.sync += ready.eq(self.i.p.last)
        with m.Elif(ready & self.decision.ready):
            m.d.sync += ready.eq(0)
        return m
