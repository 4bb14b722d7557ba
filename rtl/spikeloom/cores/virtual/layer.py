"""What a layer has of its own on a virtual core: its event memory, and the way of its spikes out."""

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.events import event_signature
from ...blocks.routing import MemoryQueue
from ...items import address_bits
from ...mapping.virtual import VirtualPlan
from ..ports import LayerEngine
from .turns import FlagStore, Replay

__all__ = ["RowsDone", "VirtualEngine"]


class RowsDone(wiring.Signature):
    """What a layer sees of its sweeps: `row` of its slots is done while `active`, until the core moves on (`advance`).

    `flags` and `values` are those of the engines; `final` marks the last row, `last` the last step of an input.
    `served` lets the core move on. `room`: all rows of a sweep can be served without any other layer.
    """

    def __init__(self, plan: VirtualPlan):
        values = data.ArrayLayout(signed(plan.layer.potential_bits), plan.lanes)
        outputs = {"active": 1, "row": address_bits(plan.groups), "flags": plan.lanes, "values": values}
        outputs |= {"final": 1, "last": 1, "advance": 1}
        super().__init__({name: Out(shape) for name, shape in outputs.items()} | {"served": In(1), "room": In(1)})


class VirtualEngine(LayerEngine):
    """A layer of a virtual core; `VirtualCore` stands between `items` and `done`, and has what the load ports write.

    Members
    -------
    items : event stream of the event memory
    done : RowsDone, from the core
    turn : the present pass over the input
    others as of every engine
    """

    plan: VirtualPlan

    def __init__(self, plan: VirtualPlan, **options):
        super().__init__(plan, **options)
        self.items = event_signature(plan.turns * plan.turn_addresses).create(path=("items",))
        self.done = RowsDone(plan).create(path=("done",))
        self.turn = Signal(range(max(2, plan.turns)))

    def elaborate(self, platform):
        m = Module()
        if self.plan.turns > 1:
            self._several_turns(m)
        else:
            self._one_turn(m)
        return m

    def _one_turn(self, m: Module) -> None:
        """A queue in front, and a short one behind."""
        plan, done = self.plan, self.done
        m.submodules.waiting = queue = MemoryQueue(
            self.i.payload.shape(), depth=self._queue_depth, name=f"{plan.name}.waiting"
        )
        m.d.comb += [queue.i.valid.eq(self.i.valid), queue.i.payload.eq(self.i.payload)]
        m.d.comb += [self.i.ready.eq(queue.i.ready), queue.o.ready.eq(self.items.ready)]
        m.d.comb += [self.items.valid.eq(queue.o.valid), self.items.payload.eq(queue.o.payload)]
        spikes = self._serialised(m)
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
        # Alone, a sweep may wait for its spikes to leave: nothing that they wait for needs the engines.
        room = Const(1) if plan.share.layers == 1 else ~m.submodules.spikes.o.valid
        m.d.comb += [done.served.eq(advance), done.room.eq(room)]

    def _several_turns(self, m: Module) -> None:
        """The whole input is kept in front, and all flags behind."""
        plan, done = self.plan, self.done
        m.submodules.replay = replay = Replay(plan)
        m.d.comb += [
            replay.i.valid.eq(self.i.valid),
            replay.i.payload.eq(self.i.payload),
            self.i.ready.eq(replay.i.ready),
            self.items.valid.eq(replay.o.valid),
            self.items.payload.eq(replay.o.payload),
            replay.o.ready.eq(self.items.ready),
        ]
        groups = self._serialised(m)
        m.submodules.kept = kept = FlagStore(plan, groups.signature.flip())
        m.d.comb += [
            groups.valid.eq(kept.o.valid),
            groups.payload.eq(kept.o.payload),
            kept.o.ready.eq(groups.ready),
            kept.en.eq(done.active & done.advance),
            kept.row.eq(done.row),
            kept.flags.eq(done.flags),
            kept.final.eq(done.final),
            kept.last.eq(done.last),
            self.turn.eq(kept.turn),
            done.served.eq(1),
            done.room.eq(kept.free),
        ]
