"""Fewer lanes than neurons: P lanes sweep the layer's G groups, with the potentials in a 1R1W memory.

An event costs G cycles, one per group; fire and reset ride on the pass of a step's last event and the leak on the
pass of its first, so a step with an event has no further cycle, and a step without one takes a single pass::

    stage   0 issue          1 leak                         2 integrate
    work    read v           u = first ? leak(v) + bias : v a = u + w; last ? reset(clamp(a)) : a; write back
            read bias        read w
"""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from ...blocks.events import EventLayout, EventQueue, event_signature
from ...blocks.neuron import NeuronParameters, add_small, fires, leaked, saturate
from ...blocks.serialiser import FlagGroup, GroupSerialiser
from ...blocks.sram import Sram
from ...items import address_bits
from .ports import LayerEngine

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
        waiting, address = Signal(), Signal(len(self.i.p.address), reset_less=True)
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
        m.submodules.queue = queue = EventQueue(EventLayout(layer.fan_in), depth=self._queue_depth)
        m.submodules.merger = merger = PassMerger(layer.fan_in)
        connect(m, queue.o, merger.i)
        i = queue.i
        m.d.comb += [i.valid.eq(self.i.valid), i.payload.eq(self.i.payload), self.i.ready.eq(i.ready)]
        parameters = NeuronParameters.of(layer, plan.registers)
        self._load_registers(m, parameters.registers)
        weights, potentials = self._memories(m)

        advance = Signal()  # stages 1 and 2 move on

        # Stage 0: the pass and its group counter.
        current, valid = Signal(PassLayout(layer.fan_in), reset_less=True), Signal()
        group, row = Signal(range(max(2, groups))), Signal(range(max(2, layer.fan_in * groups)), reset_less=True)
        first, fresh = Signal(init=1), Signal(init=1)  # first pass of a step; of the first step of an input
        issue, at_end = Signal(), Signal()
        m.d.comb += [
            issue.eq(valid & advance),
            at_end.eq(group == groups - 1),
            merger.o.ready.eq(~valid | (issue & at_end)),
            potentials.r_en.eq(issue),
            potentials.r_addr.eq(group),
        ]
        with m.If(merger.o.ready):
            m.d.sync += [
                valid.eq(merger.o.valid),
                current.eq(merger.o.payload),
                row.eq(merger.o.p.address * groups),
            ]
        with m.Elif(issue):
            m.d.sync += row.eq(row + 1)
        with m.If(issue):
            m.d.sync += group.eq(Mux(at_end, 0, group + 1))
            with m.If(at_end):
                m.d.sync += first.eq(current.tick)
                with m.If(current.tick):
                    m.d.sync += fresh.eq(current.last & int(plan.clears))

        # Stage 1: what was read, leaked once per step.
        control = data.StructLayout({"event": 1, "tick": 1, "last": 1, "group": len(group)})
        in_leak, leak_valid = Signal(control, reset_less=True), Signal()
        leak_first, leak_fresh = Signal(reset_less=True), Signal(reset_less=True)
        leak_row = Signal.like(row, reset_less=True)
        with m.If(advance):
            m.d.sync += [
                leak_valid.eq(valid),
                in_leak.event.eq(current.event),
                in_leak.tick.eq(current.tick),
                in_leak.last.eq(current.last),
                in_leak.group.eq(group),
                leak_first.eq(first),
                leak_fresh.eq(first & fresh),
                leak_row.eq(row),
            ]
        m.d.comb += [
            weights.r_en.eq(leak_valid & advance & in_leak.event),
            weights.r_addr.eq(leak_row),
        ]

        # Stage 2: integrate; on a step's last pass fire and reset.
        in_sum, sum_valid = Signal(control, reset_less=True), Signal()
        with m.If(advance):
            m.d.sync += [sum_valid.eq(leak_valid), in_sum.eq(in_leak)]
        m.d.comb += [
            potentials.w_en.eq(sum_valid & advance),
            potentials.w_addr.eq(in_sum.group),
        ]

        bias_row = self._bias_row(m, issue & first, group)
        written = Signal(sum(lane_bits))
        stored = self._forwarded(m, potentials.r_data, written, in_leak, in_sum, sum_valid, advance)
        fired, values, offset = [], [], 0
        for lane, bits in enumerate(lane_bits):
            field = slice(offset, offset + bits)
            offset += bits
            u = Signal(signed(bits), name=f"leaked{lane}", reset_less=True)
            bias = bias_row.word_select(lane, plan.bias_bits).as_signed() if bias_row is not None else None
            with m.If(advance):
                m.d.sync += u.eq(self._leaked(stored[field].as_signed(), bias, parameters, leak_first, leak_fresh))
            weight = weights.r_data.word_select(lane, layer.weight_bits).as_signed()
            fire, v, back = self._integrated(m, lane, bits, u, weight, in_sum, parameters)
            # The last group may have lanes without a neuron.
            exists = in_sum.group != groups - 1 if lane >= layer.neurons - (groups - 1) * lanes else Const(1)
            fired.append(fire & exists)
            values.append(v)
            m.d.comb += written[field].eq(back)
        m.d.comb += potentials.w_data.eq(written)

        # A pass with a tick hands on its spikes, group by group; the last group carries the tick.
        m.submodules.spikes = spikes = EventQueue(FlagGroup(groups, lanes), depth=self._spike_queue)
        m.submodules.serialiser = serialiser = GroupSerialiser(layer.neurons, width=lanes)
        connect(m, spikes.o, serialiser.i)
        o = serialiser.o
        m.d.comb += [self.o.valid.eq(o.valid), self.o.payload.eq(o.payload), o.ready.eq(self.o.ready)]
        active, final, pushes = sum_valid & in_sum.tick, in_sum.group == groups - 1, Signal()
        tail = layer.neurons - (groups - 1) * lanes
        served = self._report(
            m, active=active, commit=active & advance, last=in_sum.last, row=in_sum.group, values=values,
            count=Mux(final, tail, lanes),
        )  # fmt: skip
        m.d.comb += [
            spikes.i.p.flags.eq(Cat(*fired)),
            spikes.i.p.group.eq(in_sum.group),
            spikes.i.p.tick.eq(final),
            spikes.i.p.last.eq(final & in_sum.last),
            pushes.eq(active & (final | spikes.i.p.flags.any())),
            spikes.i.valid.eq(pushes & served),
            advance.eq(~active | (served & (~pushes | spikes.i.ready))),
        ]
        return m

    def _leaked(self, v, bias, p, first, fresh) -> Value:
        """What a pass adds its weight to: v, in the first pass of a step leak(v) + bias."""
        layer = self.plan.layer
        start = Cat(v[: layer.potential_bits] & ~fresh.replicate(layer.potential_bits)).as_signed()
        u = leaked(start, layer.leak.kind, layer.leak.fraction_bits, p)
        if layer.reset == "delayed_zero":
            u = Mux(fires(start, p.threshold), 0, u)
        elif layer.reset == "delayed_subtract":
            u = u - Mux(fires(start, p.threshold), p.subtracts, 0)
        return Mux(first, u if bias is None else u + bias, v)

    def _integrated(self, m, lane, bits, u, weight, control, p) -> tuple[Value, Value, Value]:
        """Spike flag, potential after the step (both for a pass with a tick), and what is written back."""
        layer = self.plan.layer
        acc, v = Signal(signed(bits), name=f"sum{lane}"), Signal(signed(layer.potential_bits), name=f"v{lane}")
        fire = Signal(name=f"fire{lane}")
        gated = (weight.as_unsigned() & control.event.replicate(len(weight))).as_signed()
        m.d.comb += acc.eq(add_small(u, gated, 0, bits=bits))
        if self._fires:
            m.d.comb += fire.eq(fires(acc, p.threshold))
        clamped = saturate(acc, layer.potential_bits)
        if layer.reset == "zero":
            clamped = Mux(fire, 0, clamped)
        elif layer.reset == "subtract":
            clamped = Mux(fire, clamped - p.subtracts, clamped)
        m.d.comb += v.eq(clamped)
        return fire, v, Mux(control.tick, v, acc)

    def _memories(self, m) -> tuple[Sram, Sram]:
        plan, layer = self.plan, self.plan.layer
        fixed = plan.weights == "fixed"
        m.submodules.weights = weights = Sram(
            name=f"{plan.name}.weights",
            depth=layer.fan_in * plan.groups,
            width=plan.weight_row_bits,
            port_type="rom" if fixed else "1r1w",
            contents=plan.weight_rows() if fixed else (),
        )
        if not fixed:
            load = self.load_weights
            m.d.comb += [weights.w_en.eq(load.en), weights.w_addr.eq(load.row), weights.w_data.eq(load.data)]
        m.submodules.potentials = potentials = Sram(
            name=f"{plan.name}.potentials", depth=plan.groups, width=sum(plan.lane_bits), port_type="1r1w"
        )
        return weights, potentials

    def _bias_row(self, m, enable, group) -> Value | None:
        """Biases of a group, in the cycle after `enable`."""
        plan = self.plan
        if not plan.bias_bits:
            return None
        m.submodules.biases = biases = Sram(
            name=f"{plan.name}.biases",
            depth=plan.groups,
            width=plan.lanes * plan.bias_bits,
            port_type="1r1w" if plan.bias_loaded else "rom",
            contents=plan.bias_rows(),
        )
        m.d.comb += [biases.r_en.eq(enable), biases.r_addr.eq(group)]
        if plan.bias_loaded:
            load = self.load_bias
            m.d.comb += [biases.w_en.eq(load.en), biases.w_addr.eq(load.row), biases.w_data.eq(load.data)]
        return biases.r_data

    def _forwarded(self, m, read, written, in_leak, in_sum, sum_valid, advance) -> Value:
        """The row in stage 1 as it stands once the rows ahead of it are written.

        A row comes back G issues later at the earliest. Its write happens two issues after its read was issued and
        is seen by the read issued one later: three groups need no forwarding, two need the row written last, a
        single one needs also the row that is being computed.
        """
        groups = self.plan.groups
        if groups > 2:
            return read
        kept, kept_group = Signal.like(written, reset_less=True), Signal.like(in_sum.group, reset_less=True)
        kept_valid = Signal()
        with m.If(advance):
            m.d.sync += [kept.eq(written), kept_group.eq(in_sum.group), kept_valid.eq(sum_valid)]
        row = Mux(kept_valid & (kept_group == in_leak.group), kept, read)
        return row if groups == 2 else Mux(sum_valid, written, row)
