"""The controller of a virtual core: from a spike to the rows that it makes its engines do, one per cycle.

An item is taken from the event memory and looked up; then its rows of the dispatch memory are issued; each is done by
the engines two cycles later. The next item is looked up while the last row is issued, so a spike takes as many cycles
as it has rows (one, if it has none), and one more when it comes alone. A tick is a sweep over all slots, behind which
the next item is taken::

    cycle      0    1    2    3    4    5    6
    look up    a              b    c             a has 3 rows, b has 1
    issue           a0   a1   a2   b0   ...
    engines                   a0   a1   a2   b0
"""

from amaranth.hdl import *

from ...blocks.routing import MemoryQueue
from ...blocks.sram import Sram
from ...mapping.virtual import VirtualPlan
from ..ports import LayerEngine
from .engines import DigitalEngines

__all__ = ["VirtualEngine"]


class VirtualEngine(LayerEngine):
    """A layer on engines of virtual neurons; see the module."""

    plan: VirtualPlan

    def elaborate(self, platform):
        m, plan = Module(), self.plan
        item = self._entrance(m)
        m.submodules.engines = engines = DigitalEngines(plan)
        loaded = plan.weights == "loaded"
        tables = {}
        for kind, depth, width in (
            ("events", plan.input_addresses, plan.event_row_bits),
            ("dispatch", plan.dispatch_depth, plan.dispatch_row_bits),
        ):
            m.submodules[kind] = tables[kind] = table = Sram(
                name=f"{plan.name}.{kind}", depth=depth, width=width, port_type="1r1w" if loaded else "rom",
                contents=() if loaded else getattr(plan, f"{kind}_rows")(), exclusive=True,
            )  # fmt: skip
            if loaded:
                load = getattr(self, f"load_{kind}")
                m.d.comb += [table.w_en.eq(load.en), table.w_addr.eq(load.row), table.w_data.eq(load.data)]
        events, dispatch = tables["events"], tables["dispatch"]
        for kind in ("bias", "registers"):
            if kind in (region for region, *_ in plan.regions):
                inner, outer = getattr(engines, f"load_{kind}"), getattr(self, f"load_{kind}")
                m.d.comb += [inner.en.eq(outer.en), inner.row.eq(outer.row), inner.data.eq(outer.data)]

        # Look-up and issue. `busy` with a tick lasts until the engines have done its last row.
        advance, free, at_end = Signal(), Signal(), Signal()
        walking, first = Signal(), Signal()
        sweeping, busy, silent, last = Signal(init=1), Signal(init=1), Signal(init=1), Signal(init=1)
        base_bits, length_bits = plan.event_bits
        row, left = Signal(base_bits), Signal(length_bits)
        base, length = events.r_data[:base_bits], events.r_data[base_bits:]
        slot = Signal(range(max(2, plan.groups)))
        at_last_slot = Signal()
        final = Signal()  # the engines do the last row of a sweep
        here, rest = Mux(first, base, row), Mux(first, length, left)
        issues = Signal()
        m.d.comb += [
            at_last_slot.eq(slot == plan.groups - 1),
            at_end.eq(rest <= 1),
            issues.eq(walking & (rest != 0)),
            free.eq(advance & Mux(busy, final, ~walking | at_end)),
            item.ready.eq(free),
            events.r_en.eq(free & item.valid & ~item.p.tick),
            events.r_addr.eq(item.p.address),
            dispatch.r_en.eq(issues & advance),
            dispatch.r_addr.eq(here),
        ]
        with m.If(advance):
            m.d.sync += [first.eq(0), row.eq(here + 1), left.eq(rest - 1)]
            with m.If(at_end):
                m.d.sync += walking.eq(0)
            with m.If(sweeping):
                m.d.sync += slot.eq(Mux(at_last_slot, 0, slot + 1))
                with m.If(at_last_slot):
                    m.d.sync += sweeping.eq(0)
        with m.If(free):
            taken = item.valid
            m.d.sync += [
                walking.eq(taken & ~item.p.tick),
                first.eq(1),
                sweeping.eq(taken & item.p.tick),
                busy.eq(taken & item.p.tick),
                last.eq(item.p.last),
                silent.eq(0),
            ]
        if plan.registers:  # potentials under other parameters mean nothing: loading them clears, as reset does
            with m.If(self.load_registers.en):
                m.d.sync += [sweeping.eq(1), busy.eq(1), silent.eq(1), slot.eq(0)]

        # The row that goes to the engines, and the one that they do.
        adds, ends, ends_with, ends_at = Signal(), Signal(), Signal(), Signal.like(slot)
        does, doing = Signal(), Signal.like(slot)
        with m.If(advance):
            m.d.sync += [adds.eq(issues), ends.eq(sweeping), ends_with.eq(at_last_slot), ends_at.eq(slot)]
            m.d.sync += [does.eq(ends), final.eq(ends & ends_with), doing.eq(ends_at)]
        m.d.comb += [
            engines.advance.eq(advance),
            engines.row.fires.eq(ends),
            engines.row.clears.eq(silent | (last & int(plan.clears))),
        ]
        for n in range(plan.lanes):
            entry = dispatch.r_data.word_select(n, plan.entry_bits)
            takes, there, address = entry[0], entry[1 : 1 + plan.slot_bits], entry[1 + plan.slot_bits :]
            weights = self._weights(m, n)
            m.d.comb += [
                engines.row.takes[n].eq(ends | (adds & takes)),
                engines.row.slot[n].eq(Mux(ends, ends_at, there)),
                weights.r_en.eq(adds & takes & advance),
                weights.r_addr.eq(address),
                engines.weights[n].eq(weights.r_data),
            ]

        spikes = self._serialised(m)
        active = does & ~silent
        tail = plan.layer.neurons - (plan.groups - 1) * plan.lanes
        values = [engines.values[n] for n in range(plan.lanes)]
        served = self._report(
            m, active=active, commit=active & advance, last=last, row=doing, values=values,
            count=Mux(final, tail, plan.lanes),
        )  # fmt: skip
        self._hand_on(
            m, spikes, advance, active=active, served=served, flags=[engines.fired], group=doing, final=final, last=last
        )
        return m

    def _entrance(self, m: Module):
        """The event memory."""
        m.submodules.events_waiting = queue = MemoryQueue(
            self.i.payload.shape(), depth=self._queue_depth, name=f"{self.plan.name}.waiting"
        )
        i = queue.i
        m.d.comb += [i.valid.eq(self.i.valid), i.payload.eq(self.i.payload), self.i.ready.eq(i.ready)]
        return queue.o

    def _weights(self, m: Module, n: int) -> Sram:
        """The weight memory of engine n."""
        plan, bits = self.plan, self.plan.layer.weight_bits
        loaded = plan.weights == "loaded"
        m.submodules[f"weights{n}"] = weights = Sram(
            name=f"{plan.name}.weights{n}", depth=plan.weight_depth, width=bits, port_type="1r1w" if loaded else "rom",
            contents=() if loaded else plan.weight_memory(n), exclusive=True,
        )  # fmt: skip
        if loaded:
            load = self.load_weights
            m.d.comb += [weights.w_en.eq(load.en), weights.w_addr.eq(load.row)]
            m.d.comb += weights.w_data.eq(load.data.word_select(n, bits))
        return weights
