"""Pruned dense layers: a spike adds only weights that are not 0, each lane from a list of its own.

A sweep engine (see `sweep`) whose lanes have accumulator memories with addresses of their own::

    0 index: first row, rows    1, 2 walk: read entries    3 read the sum of each lane's group    4 add and write back

Lanes whose list is shorter than the longest of the source have weight 0 in its last rows, and write nothing there.
"""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.events import event_signature
from ...blocks.neuron import add_small
from ...blocks.sram import Sram
from ...items import address_bits
from ...mapping.sparse import SparsePlan
from .sweep import SweepEngine

__all__ = ["EntryLayout", "EntryReader", "SparseEngine"]


class EntryLayout(data.StructLayout):
    """A row of entries {weight, group}, one per lane; or a tick, which may be the `last`."""

    def __init__(self, plan: SparsePlan):
        entry = data.StructLayout({"weight": plan.layer.weight_bits, "group": plan.group_bits})
        super().__init__({"entries": data.ArrayLayout(entry, plan.lanes), "tick": 1, "last": 1})


class EntryReader(wiring.Component):
    """Looks up each spike in the index and reads its rows, one per cycle.

    Spikes follow each other without a bubble; one without any row costs no cycle behind a spike that has some.

    Members
    -------
    i : In(event stream)
    o : Out(stream of EntryLayout)
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, plan: SparsePlan, *, index: Sram, rows: Sram):
        self._plan, self._index, self._rows = plan, index, rows
        super().__init__(
            {"i": In(event_signature(plan.input_addresses)), "o": Out(stream.Signature(EntryLayout(plan)))}
        )

    def elaborate(self, platform):
        m, plan, index, rows = Module(), self._plan, self._index, self._rows
        row_bits = address_bits(plan.weight_depth)
        control = data.StructLayout({"tick": 1, "last": 1})

        # Stage 1: what the index says; its memory holds it until it is taken.
        looked = Signal(control, reset_less=True)
        looked_valid, looked_ready = Signal(), Signal()
        empty = Signal()
        m.d.comb += [
            empty.eq(~looked.tick & (index.r_data[row_bits:] == 0)),
            self.i.ready.eq(~looked_valid | looked_ready | empty),
            index.r_en.eq(self.i.valid & self.i.ready & ~self.i.p.tick),
            index.r_addr.eq(self.i.p.address),
        ]
        with m.If(self.i.ready):
            m.d.sync += [looked_valid.eq(self.i.valid), looked.tick.eq(self.i.p.tick), looked.last.eq(self.i.p.last)]

        # Stage 2: so that no memory's output is another's address.
        start = Signal(control, reset_less=True)
        start_valid, start_ready = Signal(), Signal()
        first = Signal(row_bits, reset_less=True)
        count = Signal(plan.count_bits, reset_less=True)
        m.d.comb += looked_ready.eq(~start_valid | start_ready)
        with m.If(looked_ready):
            m.d.sync += [
                start_valid.eq(looked_valid & ~empty),
                start.eq(looked),
                Cat(first, count).eq(index.r_data),
            ]

        # Stage 3: the walk over the rows of a source; their memory holds the one that is offered.
        walk = Signal(control, reset_less=True)
        valid, more = Signal(), Signal()
        row = Signal(row_bits, reset_less=True)  # the one behind it
        left = Signal(plan.count_bits, reset_less=True)
        m.d.comb += [
            more.eq(~walk.tick & (left != 1)),
            start_ready.eq(~valid | (self.o.ready & ~more)),
            rows.r_en.eq(Mux(start_ready, start_valid & ~start.tick, self.o.ready)),
            rows.r_addr.eq(Mux(start_ready, first, row)),
            self.o.valid.eq(valid),
            Value.cast(self.o.p.entries).eq(rows.r_data),
            self.o.p.tick.eq(walk.tick),
            self.o.p.last.eq(walk.tick & walk.last),
        ]
        with m.If(start_ready):
            m.d.sync += [valid.eq(start_valid), walk.eq(start), left.eq(count), row.eq(first + 1)]
        with m.Elif(self.o.ready):
            m.d.sync += [left.eq(left - 1), row.eq(row + 1)]
        return m


class SparseEngine(SweepEngine):
    """A layer of which only weights that are not 0 are stored; see the module."""

    plan: SparsePlan

    def _memory_shapes(self) -> dict[str, tuple]:
        plan, wanted = self.plan, super()._memory_shapes()
        fixed = plan.weights == "fixed"
        wanted["index"] = (
            len(plan.row_counts), plan.index_bits, "rom" if fixed else "1r1w", plan.index_rows() if fixed else ()
        )  # fmt: skip
        for bank in (0, 1):
            del wanted[f"sums{bank}"]
            wanted |= {f"sums{bank}_{n}": (plan.groups, bits, "1r1w", ()) for n, bits in enumerate(plan.lane_bits)}
        return wanted

    def _expander(self, memories):
        return EntryReader(self.plan, index=memories["index"], rows=memories["weights"])

    def _sums(self, m, memories, touch, *, issue, start, bank, read, row, clearing, zeroing, swept) -> Value:
        """As in the sweep engine, each lane with addresses of its own."""
        plan, swept_sums = self.plan, []
        for n, bits in enumerate(plan.lane_bits):
            banks = memories[f"sums0_{n}"], memories[f"sums1_{n}"]
            entry = touch.p.entries[n]
            group, weight = Signal(plan.group_bits, name=f"group{n}"), Signal(len(entry.weight), name=f"weight{n}")
            adding = Signal(name=f"adding{n}")
            with m.If(issue):
                m.d.sync += [group.eq(entry.group), weight.eq(entry.weight)]
            m.d.sync += adding.eq(issue & entry.weight.any())
            total = Signal(signed(bits), name=f"total{n}")
            stored = self._forwarded(m, Mux(bank, banks[1].r_data, banks[0].r_data), total, group, adding, start)
            m.d.comb += total.eq(add_small(stored[:bits].as_signed(), weight.as_signed(), 0, bits=bits))
            for number, memory in enumerate(banks):
                events = bank == number
                writing = adding & events
                m.d.comb += [
                    memory.r_en.eq(Mux(events, issue, read)),
                    memory.r_addr.eq(Mux(events, entry.group, row)),
                    memory.w_en.eq(writing | (zeroing & (swept.bank == number)) | clearing),
                    memory.w_addr.eq(Mux(clearing, row, Mux(writing, group, swept.row))),
                    memory.w_data.eq(Mux(writing, total, 0)),
                ]
            swept_sums.append(Mux(swept.bank, banks[1].r_data, banks[0].r_data))
        return Cat(*swept_sums)
