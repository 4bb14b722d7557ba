"""What a layer has of its own on a gang of weight-shared cores: the list of its spikes, and their way out."""

from amaranth.hdl import *
from amaranth.lib.wiring import connect, flipped

from ...blocks.routing import MemoryQueue
from ...mapping.shared import SharedPlan
from ..multiplexed import MultiplexedEngine
from .spikes import SpikeList

__all__ = ["SharedEngine"]


class SharedEngine(MultiplexedEngine):
    """A layer of a gang; `SharedGang` stands between `spikes` and `done`.

    Members
    -------
    spikes : the SpikeList of the layer
    others as of every engine
    """

    plan: SharedPlan

    def __init__(self, plan: SharedPlan, **options):
        super().__init__(plan, **options)
        self.spikes = SpikeList(plan.input_addresses, depth=plan.spike_depth, name=plan.name)

    def elaborate(self, platform):
        m, plan = Module(), self.plan
        m.submodules.steps = spikes = self.spikes
        connect(m, flipped(self.i), spikes.i)
        if plan.gang.layers == 1:
            # Alone, a step may wait for its spikes to leave: nothing that they wait for needs the gang.
            self._leave(m, self._serialised(m))
            m.d.comb += self.done.room.eq(1)
            return m
        groups = self._serialised(m)
        m.submodules.fired = fired = MemoryQueue(
            groups.payload.shape(), depth=plan.spike_queue, name=f"{plan.name}.fired"
        )
        connect(m, fired.o, groups)
        self._leave(m, fired.i)
        inside = Signal(range(plan.spike_queue + 8))  # rows that have not left
        m.d.sync += inside.eq(inside + (fired.i.valid & fired.i.ready) - (fired.o.valid & fired.o.ready))
        m.d.comb += self.done.room.eq(inside == 0)
        return m
