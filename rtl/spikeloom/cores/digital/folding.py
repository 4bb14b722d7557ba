"""What a folded core works on, and in which order: chunks of steps, layers, tiles, steps, spikes."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.events import event_signature
from ...blocks.neuron import per_layer
from ...blocks.serialiser import any_and_many, first_one
from ...blocks.spike_store import SpikeStore
from ...blocks.sram import Sram
from ...items import address_bits
from ...mapping.folded import FoldedPlan

__all__ = ["Sequencer", "UnitLayout"]


class UnitLayout(data.StructLayout):
    """A unit of work: one step of one tile. A tile is `groups` + 1 groups from group `first` of `layer` on.

    `spikes` is the row at which the step's spikes of the layer begin in the memory of hidden spikes. `fresh`: the
    potentials start at 0. `last`: the step is the last of its input. `ends`: the step is the last of its chunk.
    """

    def __init__(self, plan: FoldedPlan):
        most = max(entry.groups for entry in plan.layers)
        spikes = max(1, plan.hidden_halves * plan.steps * plan.hidden_rows)
        super().__init__(
            {
                "layer": address_bits(len(plan.layers)),
                "first": address_bits(most),
                "groups": address_bits(max(plan.tile_groups(n) for n in range(len(plan.layers)))),
                "spikes": address_bits(spikes),
                "half": 1,
                "fresh": 1,
                "last": 1,
                "ends": 1,
            }
        )


class Sequencer(wiring.Component):
    """Reads the spikes that each unit of work needs and sends them, then a tick, with the unit beside them.

    The input's spikes come from a store that is filled meanwhile, those of a layer from the memory in which its
    spikes were written. A layer starts once the one before has written everything; nothing else waits.

    Members
    -------
    i : In(event stream)
    o : Out(event stream); `unit` : Out(UnitLayout), that of the item offered
    sent : Out(1), nothing is held that has not been sent
    settled : In(1), everything that was sent has been done
    filled : In(2), where weights are streamed: a half of the weight buffer has been filled with the tile it waits for
    lacks : Out(1), a row could be read, but its tile's weights have not come
    renew : In(1), potentials mean nothing any more: the next input starts from 0 whatever the network says
    w_en, w_row, w_data : In, writes a row of hidden spikes
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, plan: FoldedPlan):
        self.plan = plan
        self._sources = max(entry.layer.fan_in for entry in plan.layers)
        depth = max(1, plan.hidden_halves * plan.steps * plan.hidden_rows)
        super().__init__(
            {
                "i": In(event_signature(plan.input_addresses)),
                "o": Out(event_signature(self._sources)),
                "unit": Out(UnitLayout(plan)),
                "sent": Out(1),
                "settled": In(1),
                "filled": In(2),
                "lacks": Out(1),
                "renew": In(1),
                "w_en": In(1),
                "w_row": In(address_bits(depth)),
                "w_data": In(plan.lanes),
            }
        )

    def elaborate(self, platform):
        m, plan = Module(), self.plan
        layers, steps = plan.layers, plan.steps
        count = len(layers)
        m.submodules.store = store = SpikeStore(
            plan.input_addresses, width=plan.input_width, steps=steps, name=f"{plan.name}.inputs"
        )
        m.d.comb += [
            store.i.valid.eq(self.i.valid), store.i.payload.eq(self.i.payload), self.i.ready.eq(store.i.ready),
        ]  # fmt: skip
        width = max(plan.lanes if count > 1 else 0, plan.input_width)

        # Where the work stands: chunk, layer, tile, step, row of the source's spikes.
        half = Signal()  # of the store
        weights = Signal()  # half of the weight buffer
        begins = Signal(init=1)  # the chunk is the first of its input
        layer = Signal(range(max(2, count)))
        first = Signal(address_bits(max(entry.groups for entry in layers)))
        step = Signal(range(max(2, steps)))
        row = Signal(range(max(2, plan.input_rows, plan.hidden_rows)))
        input_base = Signal(address_bits(steps * plan.input_rows))
        hidden_base = Signal(address_bits(max(1, steps * plan.hidden_rows)))
        opened = Signal()  # the layer has started
        stale = Signal(init=1)
        # Of the chunk; the store is free again before the later layers start.
        chunk_steps = Signal(range(max(2, steps)))
        chunk_last = Signal()
        kept_steps = Signal(range(max(2, steps)))
        kept_last = Signal()
        at_input = Signal()
        m.d.comb += at_input.eq(layer == 0)
        shown_steps = Mux(half, store.steps1, store.steps0)
        shown_last = Mux(half, store.last1, store.last0)
        m.d.comb += [
            chunk_steps.eq(Mux(at_input, shown_steps, kept_steps)),
            chunk_last.eq(Mux(at_input, shown_last, kept_last)),
        ]
        groups = per_layer([entry.groups for entry in layers], layer)
        size = per_layer([plan.tile_groups(n) for n in range(count)], layer)
        rows = [plan.input_rows] + [entry.groups for entry in layers[:-1]]
        row_end, step_end, tile_end, layer_end = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            row_end.eq(row == per_layer([n - 1 for n in rows], layer)),
            step_end.eq(step == chunk_steps),
            tile_end.eq(first + size >= groups),
            layer_end.eq(layer == count - 1),
        ]
        issue, taking = Signal(), Signal()  # a row is read; the row read before moves on
        reading = Signal()
        # A half is the lanes' until they have worked on all that was sent, but nothing more of its tile will be read.
        ready = Signal(2)
        present = Const(1) if plan.half is None else Mux(weights, ready[1], ready[0])
        for n in range(2):
            with m.If(self.filled[n]):
                m.d.sync += ready[n].eq(1)
            with m.Elif(issue & row_end & step_end & (weights == n)):
                m.d.sync += ready[n].eq(0)
        permitted = Mux(at_input, Mux(half, store.full[1], store.full[0]), opened | self.settled)
        m.d.comb += issue.eq(permitted & present & (~reading | taking))
        m.d.comb += self.lacks.eq(permitted & ~present & (~reading | taking))
        with m.If(issue):
            m.d.sync += [row.eq(row + 1), opened.eq(1)]
            with m.If(row_end):
                m.d.sync += [
                    row.eq(0),
                    step.eq(step + 1),
                    input_base.eq(input_base + plan.input_rows),
                    hidden_base.eq(hidden_base + plan.hidden_rows),
                ]
                with m.If(step_end):
                    m.d.sync += [step.eq(0), input_base.eq(0), hidden_base.eq(0), first.eq(first + size)]
                    if plan.half is not None:
                        m.d.sync += weights.eq(~weights)
                    with m.If(tile_end):
                        m.d.sync += [first.eq(0), opened.eq(0), layer.eq(layer + 1)]
                        with m.If(at_input):
                            m.d.sync += [half.eq(~half), kept_steps.eq(shown_steps), kept_last.eq(shown_last)]
                        with m.If(layer_end):
                            m.d.sync += [layer.eq(0), begins.eq(chunk_last), stale.eq(0)]
        with m.If(self.renew):
            m.d.sync += stale.eq(1)

        # A row that was read, and what it belongs to.
        unit = Signal(UnitLayout(plan))
        unit_final, unit_input, unit_half, unit_frees = (
            Signal(name=f"unit_{name}") for name in ("final", "input", "half", "frees")
        )
        unit_base = Signal(address_bits(max(1, self._sources)))
        half_rows = steps * plan.hidden_rows
        own_half = half_rows if plan.hidden_halves == 2 else 0
        m.d.comb += [store.r_en.eq(issue & at_input), store.r_half.eq(half), store.r_row.eq(input_base + row)]
        with m.If(issue):
            m.d.sync += [
                unit.layer.eq(layer),
                unit.first.eq(first),
                unit.groups.eq(Mux(tile_end, groups - first - 1, size - 1)),
                unit.spikes.eq(hidden_base + Mux(layer[0], own_half, 0)),
                unit.half.eq(weights),
                unit.fresh.eq(begins & (step == 0) & (stale | int(layers[0].clears))),
                unit.last.eq(step_end & chunk_last),
                unit.ends.eq(step_end),
                unit_final.eq(row_end),
                unit_input.eq(at_input),
                unit_half.eq(half),
                unit_frees.eq(at_input & tile_end & step_end & row_end),
                unit_base.eq(Mux(row == 0, 0, unit_base + Mux(at_input, plan.input_width, plan.lanes))),
            ]
        m.d.sync += reading.eq(issue | (reading & ~taking))
        erasable = Signal()
        m.d.sync += erasable.eq(issue & at_input & tile_end)
        m.d.comb += store.erase.eq(erasable)
        flags = Mux(unit_half, store.data1, store.data0)
        if count > 1:
            depth = plan.hidden_halves * half_rows
            m.submodules.hidden = hidden = Sram(
                name=f"{plan.name}.spikes", depth=depth, width=plan.lanes, port_type="1r1w"
            )
            m.d.comb += [
                hidden.r_en.eq(issue & ~at_input),
                hidden.r_addr.eq(hidden_base + row + Mux(layer[0], 0, own_half)),
                hidden.w_en.eq(self.w_en),
                hidden.w_addr.eq(self.w_row),
                hidden.w_data.eq(self.w_data),
            ]
            flags = Mux(unit_input, flags, hidden.r_data)

        # The row that is being sent. A row without spikes goes no further, unless it brings its unit's tick.
        held = Signal(width, reset_less=True)
        valid, tick = Signal(), Signal()
        base = Signal.like(unit_base)
        shown = Signal(width)
        skip, sending = Signal(), Signal()
        first_flag, index = Signal(width), Signal(range(max(2, width)))
        some, many = any_and_many(held)
        final = Signal()
        m.d.comb += [
            shown.eq(flags),
            skip.eq(~shown.any() & ~unit_final),
            first_flag.eq(first_one(held)),
            index.eq(
                Cat(*[Cat(*[first_flag[n] for n in range(width) if n >> b & 1]).any() for b in range(len(index))])
            ),
            self.o.valid.eq(valid),
            self.o.p.tick.eq(~some),
            self.o.p.last.eq(~some & self.unit.last),
            self.o.p.address.eq(Mux(some, base + index, 0)),
            final.eq(~some | ~(many | tick)),
            sending.eq(~valid | (self.o.ready & final)),
            taking.eq(skip | sending),
            store.free.eq(Mux(reading & taking & unit_frees, Cat(~unit_half, unit_half), 0)),
            self.sent.eq(~valid & ~reading),
        ]
        with m.If(sending):
            m.d.sync += [
                valid.eq(reading & ~skip), held.eq(shown), base.eq(unit_base), tick.eq(unit_final), self.unit.eq(unit),
            ]  # fmt: skip
        with m.Elif(self.o.ready):
            m.d.sync += held.eq(held & ~first_flag)
        return m
