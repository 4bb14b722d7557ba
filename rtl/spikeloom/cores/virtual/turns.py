"""Several passes over an input, for a layer with more neurons than slots: what is kept of its spikes on either side."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ...blocks.events import event_signature
from ...blocks.serialiser import GroupSerialiser
from ...blocks.spike_store import SpikeStore
from ...blocks.sram import Sram
from ...items import address_bits
from ...mapping.virtual import VirtualPlan

__all__ = ["FlagStore", "Replay"]


class Replay(wiring.Component):
    """Keeps the spikes of an input and plays them once for each turn, while the next input comes in.

    A row of kept spikes is read per cycle, those without any too. Spike a of turn n leaves as address
    ``n turn_addresses + a``; each turn ends with the tick that is the last of the input.

    Members
    -------
    i : In(event stream)
    o : Out(event stream)
    """

    def __init__(self, plan: VirtualPlan):
        self.plan = plan
        addresses = plan.turns * plan.turn_addresses
        super().__init__({"i": In(event_signature(plan.input_addresses)), "o": Out(event_signature(addresses))})

    def elaborate(self, platform):
        m, plan = Module(), self.plan
        width, rows = plan.store_width, plan.store_rows
        m.submodules.store = store = SpikeStore(
            plan.input_addresses, width=width, steps=plan.steps, name=f"{plan.name}.inputs"
        )
        m.submodules.serialiser = serialiser = GroupSerialiser(plan.turns * plan.turn_addresses, width=width)
        connect(m, flipped(self.i), store.i)
        connect(m, serialiser.o, flipped(self.o))

        half = Signal()  # of the store
        turn = Signal(range(max(2, plan.turns)))
        step = Signal(range(max(2, plan.steps)))
        row = Signal(range(max(2, rows)))
        at = Signal(address_bits(plan.steps * rows))
        group = Signal(range(plan.turns * rows))  # turn * rows + row
        first = Signal.like(group)  # of the turn
        held, move, issue = Signal(), Signal(), Signal()
        ends_step, ends_turn, ends = Signal(), Signal(), Signal()
        steps = Mux(half, store.steps1, store.steps0)
        m.d.comb += [
            issue.eq(Mux(half, store.full[1], store.full[0]) & (~held | move)),
            ends_step.eq(row == rows - 1),
            ends_turn.eq(ends_step & (step == steps)),
            ends.eq(ends_turn & (turn == plan.turns - 1)),
            store.r_en.eq(issue),
            store.r_row.eq(at),
            store.r_half.eq(half),
        ]
        # What was read, and what it is.
        shown = Signal(serialiser.i.payload.shape())
        of_half, of_last_turn, of_end = Signal(), Signal(), Signal()
        flags = Mux(of_half, store.data1, store.data0)
        m.d.comb += [
            serialiser.i.payload.eq(shown),
            serialiser.i.p.flags.eq(flags),
            serialiser.i.valid.eq(held & (shown.tick | flags.any())),
            move.eq(held & (serialiser.i.ready | ~serialiser.i.valid)),
            store.erase.eq(move & of_last_turn),
            store.free.eq(Mux(move & of_end, Cat(~of_half, of_half), 0)),
        ]
        with m.If(issue):
            m.d.sync += [
                held.eq(1),
                shown.group.eq(group),
                shown.tick.eq(ends_step),
                shown.last.eq(ends_turn),
                of_half.eq(half),
                of_last_turn.eq(turn == plan.turns - 1),
                of_end.eq(ends),
                half.eq(half ^ ends),
                row.eq(Mux(ends_step, 0, row + 1)),
                step.eq(Mux(ends_turn, 0, step + ends_step)),
                at.eq(Mux(ends_turn, 0, at + 1)),
                group.eq(Mux(ends, 0, Mux(ends_turn, first + rows, Mux(ends_step, first, group + 1)))),
            ]
            with m.If(ends_turn):
                m.d.sync += [turn.eq(Mux(ends, 0, turn + 1)), first.eq(Mux(ends, 0, first + rows))]
        with m.Elif(move):
            m.d.sync += held.eq(0)
        return m


class FlagStore(wiring.Component):
    """Keeps the flags of all turns, and hands them on step by step behind the last turn.

    Members
    -------
    en, row, flags : In
        A row of a sweep of the present turn.
    final, last : In(1), with `en`: the row is the last of its step, the step the last of its input
    turn : Out, the present turn
    free : Out(1), a sweep may begin
    o : Out(stream of FlagGroup)
    """

    def __init__(self, plan: VirtualPlan, groups):
        self.plan = plan
        super().__init__(
            {
                "en": In(1),
                "row": In(address_bits(plan.groups)),
                "flags": In(plan.lanes),
                "final": In(1),
                "last": In(1),
                "turn": Out(range(max(2, plan.turns))),
                "free": Out(1),
                "o": Out(groups),
            }
        )

    def elaborate(self, platform):
        m, plan = Module(), self.plan
        rows = plan.turns * plan.groups  # of a step
        m.submodules.memory = memory = Sram(
            name=f"{plan.name}.flags", depth=plan.flag_rows, width=plan.lanes, port_type="1r1w"
        )
        # Row (step * turns + turn) * groups + slot.
        step, base = Signal(address_bits(plan.flag_rows)), Signal(range(max(2, rows)))
        ends = Signal()
        m.d.comb += [
            memory.w_en.eq(self.en),
            memory.w_addr.eq(step + base + self.row),
            memory.w_data.eq(self.flags),
            ends.eq(self.en & self.final & self.last & (self.turn == plan.turns - 1)),
        ]
        with m.If(self.en & self.final):
            m.d.sync += step.eq(Mux(self.last, 0, step + rows))
            with m.If(self.last):
                m.d.sync += [self.turn.eq(Mux(ends, 0, self.turn + 1)), base.eq(Mux(ends, 0, base + plan.groups))]

        leaving = Signal()
        at, end = Signal.like(step), Signal.like(step)  # row that is read, and the last step's first
        row = Signal.like(base)
        held, move, issue = Signal(), Signal(), Signal()
        at_end = Signal()
        shown = Signal(self.o.payload.shape())
        m.d.comb += [
            self.free.eq(~leaving & ~ends),
            issue.eq(leaving & (~held | move)),
            at_end.eq(row == rows - 1),
            memory.r_en.eq(issue),
            memory.r_addr.eq(at + row),
            self.o.payload.eq(shown),
            self.o.p.flags.eq(memory.r_data),
            self.o.valid.eq(held & (shown.tick | memory.r_data.any())),
            move.eq(held & (self.o.ready | ~self.o.valid)),
        ]
        with m.If(issue):
            m.d.sync += [
                held.eq(1),
                shown.group.eq(row),
                shown.tick.eq(at_end),
                shown.last.eq(at_end & (at == end)),
                row.eq(Mux(at_end, 0, row + 1)),
            ]
            with m.If(at_end):
                m.d.sync += [at.eq(Mux(at == end, 0, at + rows)), leaving.eq(at != end)]
        with m.Elif(move):
            m.d.sync += held.eq(0)
        with m.If(ends):
            m.d.sync += [leaving.eq(1), end.eq(step)]
        return m
