"""What a program reads about the latest answered input: a number per output, the largest one, the first spike.

Two memories take turns: one is filled by the input under way while the other shows the input before.
"""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..blocks.events import event_signature
from ..blocks.sram import Sram
from ..items import address_bits

__all__ = ["SpikeResults", "ValueResults"]


class _Results(wiring.Component):
    """The window and the ports that both kinds share.

    Members
    -------
    i, o : streams; what goes in comes out unchanged
    w_en, w_index : In, moves the window; step : In(1), moves it to the next output
    index : Out, where it is; value : Out, what it shows, two cycles after it was moved
    best, best_value : Out
    done : Out(1), high in the cycle in which an input is answered; what is shown changes after it
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, signature: stream.Signature, depth: int, shape, extra: dict):
        self._depth, self._shape = depth, shape
        index = address_bits(depth)
        super().__init__(
            {
                "i": In(signature),
                "o": Out(signature),
                "w_en": In(1),
                "w_index": In(index),
                "step": In(1),
                "index": Out(index),
                "value": Out(shape),
                "best": Out(index),
                "best_value": Out(shape),
                "done": Out(1),
            }
            | extra
        )

    def _memories(self, m: Module) -> tuple[Signal, list[Sram]]:
        """The half that is being filled, and both memories; the other one is read for the window."""
        width = Shape.cast(self._shape).width
        memories = [Sram(name=f"host.results{n}", depth=self._depth, width=width, port_type="1r1w") for n in range(2)]
        m.submodules.results0, m.submodules.results1 = memories
        half, shown, answered, refresh = Signal(), Signal(), Signal(), Signal(init=1)
        with m.If(self.w_en):
            m.d.sync += self.index.eq(self.w_index)
        with m.Elif(self.step):
            m.d.sync += self.index.eq(self.index + 1)
        m.d.sync += [refresh.eq(self.w_en | self.step | self.done), shown.eq(half)]
        with m.If(self.done):
            m.d.sync += [half.eq(~half), answered.eq(1)]
        for n, memory in enumerate(memories):
            with m.If(half != n):
                m.d.comb += [memory.r_en.eq(refresh), memory.r_addr.eq(self.index)]
        # Nothing was answered yet: what the memories hold means nothing.
        read = Mux(shown, memories[0].r_data, memories[1].r_data)
        m.d.comb += Value.cast(self.value).eq(Mux(answered & (self.index < self._depth), read, 0))
        return half, memories


class SpikeResults(_Results):
    """Spike counts of the outputs (saturating), and the first spike.

    After an input, and after reset, `addresses` + 1 cycles pass in which no event is taken: the counts are cleared, as
    those of the decision unit are at the same time.

    Members
    -------
    first, first_step, first_valid : Out
        Step of the first spike, saturating.
    """

    def __init__(self, addresses: int, *, steps: int):
        count, step = unsigned(steps.bit_length()), steps.bit_length() + 1
        extra = {"first": Out(address_bits(addresses)), "first_step": Out(step), "first_valid": Out(1)}
        super().__init__(event_signature(addresses), addresses, count, extra)

    def elaborate(self, platform):
        m, item = Module(), self.i.p
        half, memories = self._memories(m)
        clearing, closing, updating = Signal(init=1), Signal(), Signal()
        sweep = Signal(range(max(2, self._depth)))
        address = Signal(self.index.shape(), reset_less=True)
        accept, spike, tick = Signal(), Signal(), Signal()
        m.d.comb += [
            accept.eq(~clearing & ~closing),
            Value.cast(self.o.payload).eq(Value.cast(self.i.payload)),
            self.o.valid.eq(self.i.valid & accept),
            self.i.ready.eq(self.o.ready & accept),
            spike.eq(self.i.valid & self.i.ready & ~item.tick),
            tick.eq(self.i.valid & self.i.ready & item.tick),
            self.done.eq(closing),
        ]
        # An output fires once in a step, so its next spike comes at least two cycles later, after the tick: the write
        # below has then happened.
        old, new = Signal(self._shape), Signal(self._shape)
        m.d.comb += [old.eq(Mux(half, memories[1].r_data, memories[0].r_data)), new.eq(Mux(old.all(), old, old + 1))]
        m.d.sync += [updating.eq(spike), address.eq(item.address), closing.eq(tick & item.last)]
        for n, memory in enumerate(memories):
            with m.If(half == n):
                m.d.comb += [
                    memory.r_en.eq(spike),
                    memory.r_addr.eq(item.address),
                    memory.w_en.eq(updating | clearing),
                    memory.w_addr.eq(Mux(clearing, sweep, address)),
                    memory.w_data.eq(Mux(clearing, 0, new)),
                ]
        with m.If(clearing):
            m.d.sync += sweep.eq(sweep + 1)
            with m.If(sweep == self._depth - 1):
                m.d.sync += [sweep.eq(0), clearing.eq(0)]
        with m.If(closing):
            m.d.sync += clearing.eq(1)

        best, best_value = Signal(self.best.shape()), Signal(self._shape)
        with m.If(updating & ((new > best_value) | ((new == best_value) & (address < best)))):
            m.d.sync += [best.eq(address), best_value.eq(new)]
        seen, first, first_step = Signal(), Signal(self.first.shape()), Signal(self.first_step.shape())
        step = Signal(self.first_step.shape())
        with m.If(spike & ~seen):
            m.d.sync += [seen.eq(1), first.eq(item.address), first_step.eq(step)]
        with m.If(tick & ~step.all()):
            m.d.sync += step.eq(step + 1)
        with m.If(closing):
            m.d.sync += [
                self.best.eq(best),
                self.best_value.eq(best_value),
                self.first.eq(first),
                self.first_step.eq(first_step),
                self.first_valid.eq(seen),
                best.eq(0),
                best_value.eq(0),
                seen.eq(0),
                first.eq(0),
                first_step.eq(0),
                step.eq(0),
            ]
        return m


class ValueResults(_Results):
    """Values of a read-out at the last step of the input; costs no cycle."""

    def __init__(self, layout: data.StructLayout, *, neurons: int):
        super().__init__(stream.Signature(layout), neurons, layout.members["value"], {})

    def elaborate(self, platform):
        m, item = Module(), self.i.p
        half, memories = self._memories(m)
        taken = Signal()
        m.d.comb += [
            Value.cast(self.o.payload).eq(Value.cast(self.i.payload)),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            taken.eq(self.i.valid & self.i.ready),
        ]
        for n, memory in enumerate(memories):
            m.d.comb += [
                memory.w_en.eq(taken & (half == n)),
                memory.w_addr.eq(item.index),
                memory.w_data.eq(item.value),
            ]
        # Values come in ascending order of index, every step anew from index 0.
        best, best_value = Signal(self.best.shape()), Signal(self._shape)
        better = Signal()
        m.d.comb += [better.eq((item.index == 0) | (item.value > best_value)), self.done.eq(taken & item.last)]
        with m.If(taken & better):
            m.d.sync += [best.eq(item.index), best_value.eq(item.value)]
        with m.If(self.done):
            m.d.sync += [
                self.best.eq(Mux(better, item.index, best)),
                self.best_value.eq(Mux(better, item.value, best_value)),
            ]
        return m
