"""The spikes of whole time steps, as they came: one step is being filled in while the one before is walked again."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...blocks.events import event_signature
from ...blocks.sram import Sram
from ...items import address_bits

__all__ = ["SpikeList"]


class SpikeList(wiring.Component):
    """Two lists of up to `depth` source addresses each; takes an item per cycle. Spikes beyond `depth` are lost.

    Members
    -------
    i : In(event stream)
    valid : Out(1)
        A whole step is there: `count` spikes, and whether it is the `last` of its input.
    r_en, at : In
        Reads spike number `at` of it; `source` shows it from the next cycle on.
    free : In(1)
        Gives the step back.
    """

    def __init__(self, addresses: int, *, depth: int, name: str):
        self._addresses, self._depth, self._name = addresses, depth, name
        super().__init__(
            {
                "i": In(event_signature(addresses)),
                "valid": Out(1),
                "count": Out(range(depth + 1)),
                "last": Out(1),
                "r_en": In(1),
                "at": In(range(max(2, depth))),
                "source": Out(address_bits(addresses)),
                "free": In(1),
            }
        )

    def elaborate(self, platform):
        m, depth = Module(), self._depth
        m.submodules.memory = memory = Sram(
            name=f"{self._name}.spikes", depth=2 * depth, width=len(self.source), port_type="1r1w"
        )
        filling, reading = Signal(), Signal()
        full = Signal(2)
        level = Signal(range(depth + 1))
        counts = [Signal(range(depth + 1), name=f"count{n}") for n in range(2)]
        last = Signal(2)
        taken, spike, ends = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~Mux(filling, full[1], full[0])),
            taken.eq(self.i.valid & self.i.ready),
            spike.eq(taken & ~self.i.p.tick & (level != depth)),
            ends.eq(taken & self.i.p.tick),
            memory.w_en.eq(spike),
            memory.w_addr.eq(level + Mux(filling, depth, 0)),
            memory.w_data.eq(self.i.p.address),
            memory.r_en.eq(self.r_en),
            memory.r_addr.eq(self.at + Mux(reading, depth, 0)),
            self.source.eq(memory.r_data),
            self.valid.eq(Mux(reading, full[1], full[0])),
            self.count.eq(Mux(reading, counts[1], counts[0])),
            self.last.eq(Mux(reading, last[1], last[0])),
        ]
        m.d.sync += level.eq(Mux(ends, 0, level + spike))
        m.d.sync += [filling.eq(filling ^ ends), reading.eq(reading ^ self.free)]
        for n in range(2):
            with m.If(ends & (filling == n)):
                m.d.sync += [full[n].eq(1), counts[n].eq(level), last[n].eq(self.i.p.last)]
            with m.Elif(self.free & (reading == n)):
                m.d.sync += full[n].eq(0)
        return m
