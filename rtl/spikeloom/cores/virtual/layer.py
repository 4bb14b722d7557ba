"""What a layer has of its own on a virtual core: its event memory, and the way of its spikes out."""

from amaranth.hdl import *

from ...blocks.events import event_signature
from ...blocks.routing import MemoryQueue
from ...mapping.virtual import VirtualPlan
from ..multiplexed import MultiplexedEngine
from .turns import FlagStore, Replay

__all__ = ["VirtualEngine"]


class VirtualEngine(MultiplexedEngine):
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
        self._leave(m, self._serialised(m))
        # Alone, a sweep may wait for its spikes to leave: nothing that they wait for needs the engines.
        room = Const(1) if plan.share.layers == 1 else ~m.submodules.spikes.o.valid
        m.d.comb += done.room.eq(room)

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
