"""Fewer lanes than neurons: P lanes sweep the layer's G groups, with the potentials in a 1R1W memory.

An event costs G cycles, one per group; fire and reset ride on the pass of a step's last event and the leak on the
pass of its first, so a step with an event has no further cycle, and a step without one takes a single pass::

    stage   0 issue                1 integrate                                2 fire
    work    read v, bias and w     a = (first ? leak(v) + bias : v) + w       last ? reset(clamp(a)) : a; write back
"""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from ...blocks.events import EventLayout, EventQueue, event_signature
from ...blocks.neuron import NeuronParameters, add_small, fires, leaked, step_end
from ...blocks.sram import Sram
from ...items import address_bits
from ..ports import LayerEngine

__all__ = ["GroupedEngine", "PassMerger"]


class PassLayout(data.StructLayout):
    """One pass over the layer: an event, the tick that follows it, or both at once."""

    def __init__(self, addresses: int):
        super().__init__({"address": address_bits(addresses), "event": 1, "tick": 1, "last": 1})


class PassMerger(wiring.Component):
    """Looks one item ahead: an event that is followed by a tick becomes one pass with it.

    An event waits for its successor, which belongs to the same step; nothing waits for the next step.

    Members
    -------
    i : In(event stream), o : Out(stream of PassLayout)
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, addresses: int):
        super().__init__({"i": In(event_signature(addresses)), "o": Out(stream.Signature(PassLayout(addresses)))})

    def elaborate(self, platform):
        m = Module()
        waiting = Signal()
        address = Signal(len(self.i.p.address), reset_less=True)
        tick = self.i.p.tick
        m.d.comb += [
            self.o.valid.eq(self.i.valid & (waiting | tick)),
            self.o.p.event.eq(waiting),
            self.o.p.address.eq(address),
            self.o.p.tick.eq(tick),
            self.o.p.last.eq(tick & self.i.p.last),
            self.i.ready.eq(self.o.ready | ~(waiting | tick)),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [waiting.eq(~tick), address.eq(self.i.p.address)]
        return m


class GroupedEngine(LayerEngine):
    """A layer whose lanes are shared by several groups of neurons."""

    def elaborate(self, platform):
        m, plan, layer = Module(), self.plan, self.plan.layer
        groups, lanes, lane_bits = plan.groups, plan.lanes, plan.lane_bits
        m.submodules.merger = merger = PassMerger(layer.fan_in)
        i = merger.i
        if self._queue_depth:  # the look-ahead and the current pass hold two events already
            m.submodules.queue = queue = EventQueue(EventLayout(layer.fan_in), depth=self._queue_depth)
            connect(m, queue.o, merger.i)
            i = queue.i
        m.d.comb += [i.valid.eq(self.i.valid), i.payload.eq(self.i.payload), self.i.ready.eq(i.ready)]
        parameters = NeuronParameters.of(layer, plan.registers)
        self._load_registers(m, parameters.registers)
        weights = self._weight_memory(m)
        m.submodules.potentials = potentials = Sram(
            name=f"{plan.name}.potentials", depth=groups, width=sum(lane_bits), port_type="1r1w"
        )

        advance = Signal()  # all stages move on

        # Stage 0: the pass and its group counter.
        current = Signal(PassLayout(layer.fan_in), reset_less=True)
        valid = Signal()
        group = Signal(range(max(2, groups)))
        # First pass of a step; of the first step of an input.
        first = Signal(init=1)
        fresh = Signal(init=1)
        issue = Signal()
        at_end = Signal()
        m.d.comb += [
            issue.eq(valid & advance),
            at_end.eq(group == groups - 1),
            merger.o.ready.eq(~valid | (issue & at_end)),
            potentials.r_en.eq(issue),
            potentials.r_addr.eq(group),
            weights.r_en.eq(issue & current.event),
        ]
        with m.If(merger.o.ready):
            m.d.sync += [valid.eq(merger.o.valid), current.eq(merger.o.payload)]
        with m.If(issue):
            m.d.sync += group.eq(Mux(at_end, 0, group + 1))
            with m.If(at_end):
                m.d.sync += first.eq(current.tick)
                with m.If(current.tick):
                    m.d.sync += fresh.eq(current.last & int(plan.clears))
        if plan.registers:  # potentials under other parameters mean nothing: loading them clears, as reset does
            with m.If(self.load_registers.en):
                m.d.sync += fresh.eq(1)
        if groups & (groups - 1) == 0:
            m.d.comb += weights.r_addr.eq(Cat(group[: (groups - 1).bit_length()], current.address))
        else:  # multiplies once per event, then counts
            row = Signal(range(layer.fan_in * groups), reset_less=True)
            m.d.comb += weights.r_addr.eq(row)
            with m.If(merger.o.ready):
                m.d.sync += row.eq(merger.o.p.address * groups)
            with m.Elif(issue):
                m.d.sync += row.eq(row + 1)
        bias_row = self._bias_row(m, issue & first, group)

        # Stage 1: what was read, leaked once per step, and the weights.
        control = data.StructLayout({"tick": 1, "last": 1, "group": len(group)})
        adding = Signal(control, reset_less=True)
        adding_valid = Signal()
        adds, leaks, clean = (Signal(reset_less=True, name=name) for name in ("adds", "leaks", "clean"))
        # Stage 2.
        firing = Signal(control, reset_less=True)
        firing_valid = Signal()
        with m.If(advance):
            m.d.sync += [
                adding_valid.eq(valid),
                adding.tick.eq(current.tick),
                adding.last.eq(current.last),
                adding.group.eq(group),
                adds.eq(current.event),
                leaks.eq(first),
                clean.eq(fresh),  # looked at in a first pass only
                firing_valid.eq(adding_valid),
                firing.eq(adding),
            ]
        written = Signal(sum(lane_bits))
        m.d.comb += [
            potentials.w_en.eq(firing_valid & advance),
            potentials.w_addr.eq(firing.group),
            potentials.w_data.eq(written),
        ]
        final, tail = firing.group == groups - 1, layer.neurons - (groups - 1) * lanes
        stored = self._forwarded(m, potentials.r_data, written, adding, firing, firing_valid, advance)
        fired, values, offset = [], [], 0
        for lane, bits in enumerate(lane_bits):
            field = slice(offset, offset + bits)
            offset += bits
            bias = bias_row.word_select(lane, plan.bias_bits).as_signed() if bias_row is not None else None
            start = self._start(stored[field].as_signed(), bias, parameters, leaks, clean)
            weight = weights.r_data.word_select(lane, layer.weight_bits)
            base, acc = (Signal(signed(bits), name=f"{name}{lane}") for name in ("base", "sum"))
            m.d.comb += base.eq(start)
            with m.If(advance):
                gated = (weight & adds.replicate(len(weight))).as_signed()
                m.d.sync += acc.eq(add_small(base, gated, 0, bits=bits))
            fire, v = step_end(m, layer, acc, parameters, name=lane)
            # The last group may have lanes without a neuron.
            fired.append(fire & ~final if lane >= tail else fire)
            values.append(v)
            m.d.comb += written[field].eq(Mux(firing.tick, v, acc))

        # A pass with a tick hands on its spikes, group by group; the last group carries the tick.
        spikes = self._serialised(m)
        active = firing_valid & firing.tick
        served = self._report(
            m, active=active, commit=active & advance, last=firing.last, row=firing.group, values=values,
            count=Mux(final, tail, lanes),
        )  # fmt: skip
        self._hand_on(
            m, spikes, advance, active=active, served=served, flags=fired, group=firing.group, final=final,
            last=firing.last,
        )  # fmt: skip
        return m

    def _start(self, v, bias, p, leaks, clean) -> Value:
        """What a pass adds its weight to: v, in the first pass of a step leak(v) + bias."""
        layer = self.plan.layer
        start = (v[: layer.potential_bits] & ~clean.replicate(layer.potential_bits)).as_signed()
        u = leaked(start, layer.leak.kind, layer.leak.fraction_bits, p)
        if layer.reset == "delayed_zero":
            u = Mux(fires(start, p.threshold), 0, u)
        elif layer.reset == "delayed_subtract":
            u = u - Mux(fires(start, p.threshold), p.subtracts, 0)
        return Mux(leaks, u if bias is None else u + bias, v)

    def _bias_row(self, m, enable, group) -> Value | None:
        """Biases of a group, in the cycle after `enable`."""
        if not self.plan.bias_bits:
            return None
        biases = self._bias_memory(m)
        m.d.comb += [biases.r_en.eq(enable), biases.r_addr.eq(group)]
        return biases.r_data

    def _forwarded(self, m, read, written, adding, firing, firing_valid, advance) -> Value:
        """The row in stage 1 as it stands once the rows ahead of it are written.

        A row comes back G issues later at the earliest. Its write happens two issues after its read was issued and
        is seen by the read issued one later: three groups need no forwarding, two need the row written last, a
        single one needs also the row that is being computed.
        """
        groups = self.plan.groups
        if groups > 2:
            return read
        kept = Signal.like(written, reset_less=True)
        kept_group = Signal.like(firing.group, reset_less=True)
        kept_valid = Signal()
        with m.If(advance):
            m.d.sync += [kept.eq(written), kept_group.eq(firing.group), kept_valid.eq(firing_valid)]
        row = Mux(kept_valid & (kept_group == adding.group), kept, read)
        return row if groups == 2 else Mux(firing_valid, written, row)
