"""The controller of a virtual core: from a spike to the rows that it makes the engines do, one per cycle.

An item is taken from the event memory of a layer and looked up; then its rows of the dispatch memory are issued; each
is done by the engines two cycles later. The next item is looked up while the last row is issued, so a spike takes as
many cycles as it has rows (one, if it has none), and one more when it comes alone. A tick is a sweep over the slots of
its layer, behind which the next item is taken::

    cycle      0    1    2    3    4    5    6
    look up    a              b    c             a has 3 rows, b has 1
    issue           a0   a1   a2   b0   ...
    engines                   a0   a1   a2   b0

Where several layers share a core, the last one that has an item goes first. A tick waits until the queue of its layer's
spikes is empty; it holds all rows of a sweep then, so no layer ever waits for another one that needs the engines.
"""

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib.wiring import connect, flipped

from ...blocks.neuron import per_layer
from ...blocks.sram import Sram
from ...mapping.virtual import VirtualPlan
from .analog import AnalogEngines, EnginePort
from .engines import DigitalEngines
from .layer import VirtualEngine

__all__ = ["VirtualCore"]


class VirtualCore(Elaboratable):
    """Tables, controller and engines of the layers `layers`, between their `items` and what they see `done`."""

    def __init__(self, layers: Sequence[VirtualEngine]):
        self.layers = layers
        self.plans: list[VirtualPlan] = [layer.plan for layer in layers]
        self.share = self.plans[0].share
        self.analog = EnginePort(self.plans).create(path=("analog",)) if self.share.analog else None
        """The port of analog engines, which the accelerator hands on."""

    @property
    def name(self) -> str:
        """Name of the submodule."""
        return f"{self.share.core}_core"

    def elaborate(self, platform):
        m, plans, share = Module(), self.plans, self.share
        lanes, first_plan = plans[0].lanes, plans[0]
        m.submodules.engines = engines = (AnalogEngines if share.analog else DigitalEngines)(plans)
        for layer in self.layers:
            for kind in ("bias", "registers"):
                if (inner := getattr(engines, f"load_{kind}_{layer.plan.name}", None)) is not None:
                    outer = getattr(layer, f"load_{kind}")
                    m.d.comb += [inner.en.eq(outer.en), inner.row.eq(outer.row), inner.data.eq(outer.data)]
        events = self._table(m, "events", share.events, first_plan.event_row_bits, [p.share.event for p in plans])
        dispatch = self._table(m, "dispatch", share.rows, first_plan.dispatch_row_bits, [p.share.row for p in plans])
        contents = [word for plan in plans for word in plan.weight_words()]

        # The item that is taken.
        advance, free, at_end = Signal(), Signal(), Signal()
        offers = Signal(len(plans))
        chosen = Signal(range(max(2, len(plans))))
        item, valid = self._choose(m, offers, chosen, free)

        # Look-up and issue. `busy` with a tick lasts until the engines have done its last row.
        walking, first = Signal(), Signal()
        sweeping, busy, silent, last = Signal(init=1), Signal(init=1), Signal(init=1), Signal(init=1)
        layer = Signal(range(max(2, len(plans))))  # whose tick it is
        base_bits, length_bits = first_plan.event_bits
        row, left = Signal(base_bits), Signal(length_bits)
        base, length = events.r_data[:base_bits], events.r_data[base_bits:]
        slot = Signal(range(max(2, share.slots)))
        at_last_slot = Signal()
        final = Signal()  # the engines do the last row of a sweep
        done_with = Signal()  # its flags are there
        here, rest = Mux(first, base, row), Mux(first, length, left)
        issues = Signal()
        end = per_layer([plan.share.slot + plan.groups - 1 for plan in plans], layer)
        m.d.comb += [
            at_last_slot.eq(slot == Mux(silent, share.slots - 1, end)),
            at_end.eq(rest <= 1),
            issues.eq(walking & (rest != 0)),
            free.eq(advance & Mux(busy, done_with, ~walking | at_end)),
            events.r_en.eq(free & valid & ~item.tick),
            events.r_addr.eq(item.address + per_layer([plan.share.event for plan in plans], chosen)),
            dispatch.r_en.eq(issues & advance),
            dispatch.r_addr.eq(here),
        ]
        with m.If(advance):
            m.d.sync += [first.eq(0), row.eq(here + 1), left.eq(rest - 1)]
            with m.If(at_end):
                m.d.sync += walking.eq(0)
            with m.If(sweeping):
                m.d.sync += slot.eq(slot + 1)
                with m.If(at_last_slot):
                    m.d.sync += sweeping.eq(0)
        with m.If(free):
            m.d.sync += [
                walking.eq(valid & ~item.tick),
                first.eq(1),
                sweeping.eq(valid & item.tick),
                busy.eq(valid & item.tick),
                last.eq(item.last),
                layer.eq(chosen),
                slot.eq(per_layer([plan.share.slot for plan in plans], chosen)),
                silent.eq(0),
            ]
        # Potentials under other parameters mean nothing: loading them clears all, as reset does.
        with m.If(Cat(*[each.load_registers.en for each in self.layers if each.plan.registers]).any()):
            m.d.sync += [sweeping.eq(1), busy.eq(1), silent.eq(1), slot.eq(0)]

        # From a slot of a layer to its bias; those of a layer lie turn by turn.
        away = [p.share.bias - p.share.slot + each.turn * p.groups for p, each in zip(plans, self.layers, strict=True)]
        to_biases = per_layer(away, layer)

        # The row that goes to the engines, and the one that they do.
        adds, ends, ends_with, ends_at = Signal(), Signal(), Signal(), Signal.like(slot)
        does, doing = Signal(), Signal.like(slot)
        with m.If(advance):
            m.d.sync += [adds.eq(issues), ends.eq(sweeping), ends_with.eq(at_last_slot), ends_at.eq(slot)]
            m.d.sync += [does.eq(ends & ~silent), final.eq(ends & ends_with), doing.eq(ends_at)]
        if isinstance(engines, AnalogEngines):
            # Their flags come a cycle later, and they want to know whose row it is when it adds, too.
            assert self.analog is not None
            connect(m, engines.port, flipped(self.analog))
            answered, answers, answering = Signal(), Signal(), Signal.like(slot)
            of = Signal.like(layer)
            with m.If(advance):
                m.d.sync += [of.eq(layer), answers.eq(does), answered.eq(final), answering.eq(doing)]
            m.d.comb += engines.ends.eq(ends_with)
        else:
            answered, answers, answering, of = final, does, doing, layer
        m.d.comb += [
            done_with.eq(answered),
            engines.advance.eq(advance),
            engines.row.fires.eq(ends),
            engines.row.clears.eq(silent | (last & int(plans[0].clears))),
            engines.row.layer.eq(of),
            engines.row.bias.eq(ends_at + to_biases),
        ]
        for n in range(lanes):
            entry = dispatch.r_data.word_select(n, first_plan.entry_bits)
            takes, there, address = entry[0], entry[1 : 1 + first_plan.slot_bits], entry[1 + first_plan.slot_bits :]
            weights = self._weights(m, n, [int(word[n]) for word in contents])
            m.d.comb += [
                engines.row.takes[n].eq(ends | (adds & takes)),
                engines.row.slot[n].eq(Mux(ends, ends_at, there)),
                weights.r_en.eq(adds & takes & advance),
                weights.r_addr.eq(address),
                engines.weights[n].eq(weights.r_data),
            ]

        served: Value = Const(1)
        for n, each in enumerate(self.layers):
            done, plan = each.done, each.plan
            active = answers & (layer == n) if len(plans) > 1 else answers
            m.d.comb += [
                done.active.eq(active),
                done.row.eq(answering - plan.share.slot),
                done.flags.eq(engines.fired),
                done.final.eq(answered),
                done.last.eq(last),
                done.advance.eq(advance),
            ]
            if isinstance(engines, DigitalEngines):
                m.d.comb += [done.values[lane].eq(engines.values[lane]) for lane in range(lanes)]
            served = served & (~active | done.served)
        m.d.comb += advance.eq(served)
        return m

    def _choose(self, m: Module, offers, chosen, free):
        """The item of the last layer that offers one, and whether there is any; it is taken with `free`."""
        shape = max((layer.items.payload.shape() for layer in self.layers), key=lambda layout: layout.size)
        item = Signal(shape)
        for n, layer in enumerate(self.layers):
            i, done = layer.items, layer.done
            m.d.comb += offers[n].eq(i.valid & (~i.p.tick | done.room))
            with m.If(offers[n]):
                m.d.comb += [item.address.eq(i.p.address), item.tick.eq(i.p.tick), item.last.eq(i.p.last)]
                m.d.comb += chosen.eq(n)
        for n, layer in enumerate(self.layers):
            others = offers[n + 1 :].any() if n + 1 < len(self.layers) else Const(0)
            waits = layer.items.p.tick & ~layer.done.room
            m.d.comb += layer.items.ready.eq(free & ~others & ~waits)
        return item, offers.any()

    def _table(self, m: Module, kind: str, depth: int, width: int, starts: list[int]) -> Sram:
        """A table of all layers, one behind the other."""
        loaded = self.plans[0].weights == "loaded"
        contents = [] if loaded else [row for plan in self.plans for row in getattr(plan, f"{kind}_rows")()]
        table = Sram(
            name=f"{self.share.core}.{kind}", depth=depth, width=width, port_type="1r1w" if loaded else "rom",
            contents=contents, exclusive=True,
        )  # fmt: skip
        m.submodules[kind] = table
        if loaded:
            for layer, start in zip(self.layers, starts, strict=True):
                load = getattr(layer, f"load_{kind}")
                with m.If(load.en):
                    m.d.comb += [table.w_en.eq(1), table.w_addr.eq(load.row + start), table.w_data.eq(load.data)]
        return table

    def _weights(self, m: Module, n: int, contents: list[int]) -> Sram:
        """The weight memory of engine n."""
        bits, loaded = self.share.weight_bits, self.plans[0].weights == "loaded"
        mask = (1 << bits) - 1
        m.submodules[f"weights{n}"] = weights = Sram(
            name=f"{self.share.core}.weights{n}", depth=self.share.words, width=bits,
            port_type="1r1w" if loaded else "rom", contents=[] if loaded else [word & mask for word in contents],
            exclusive=True,
        )  # fmt: skip
        if loaded:
            for layer in self.layers:
                load, start = layer.load_weights, layer.plan.share.word
                with m.If(load.en):
                    m.d.comb += [weights.w_en.eq(1), weights.w_addr.eq(load.row + start)]
                    m.d.comb += weights.w_data.eq(load.data.word_select(n, bits))
        return weights
