"""What a layer has of its own where engines work for several neurons, or layers, in turn: the way of its spikes out."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..items import address_bits
from ..mapping.plan import LayerPlan
from .ports import LayerEngine

__all__ = ["MultiplexedEngine", "RowsDone"]


class RowsDone(wiring.Signature):
    """What a layer sees of the end of its steps: `row` of it is done while `active`, until its core moves on.

    `flags` and `values` are those of the row's neurons; `final` marks the last row, `last` the last step of an input.
    `served` lets the core move on. `room`: all rows of a step can be served without any other layer.
    """

    def __init__(self, plan: LayerPlan):
        values = data.ArrayLayout(signed(plan.layer.potential_bits), plan.lanes)
        outputs = {"active": 1, "row": address_bits(plan.groups), "flags": plan.lanes, "values": values}
        outputs |= {"final": 1, "last": 1, "advance": 1}
        super().__init__({name: Out(shape) for name, shape in outputs.items()} | {"served": In(1), "room": In(1)})


class MultiplexedEngine(LayerEngine):
    """A layer whose neurons are computed elsewhere, and that hands on what is `done`.

    Members
    -------
    done : RowsDone, from the core
    others as of every engine
    """

    plan: LayerPlan

    def __init__(self, plan: LayerPlan, **options):
        super().__init__(plan, **options)
        self.done = RowsDone(plan).create(path=("done",))

    def _leave(self, m: Module, spikes) -> None:
        """Hand each row on to the stream `spikes` of flag groups, and to whoever reads values."""
        plan, done = self.plan, self.done
        advance = Signal()
        tail = plan.layer.neurons - (plan.groups - 1) * plan.lanes
        served = self._report(
            m, active=done.active, commit=done.active & done.advance, last=done.last, row=done.row,
            values=[done.values[n] for n in range(plan.lanes)], count=Mux(done.final, tail, plan.lanes),
        )  # fmt: skip
        self._hand_on(
            m, spikes, advance, active=done.active, served=served, flags=[done.flags], group=done.row,
            final=done.final, last=done.last,
        )  # fmt: skip
        m.d.comb += done.served.eq(advance)
