"""The engines of a virtual core as an analog macro outside of it: its port, and what stands between it and the rows.

The macro gets a row one cycle after the engines took it, with the weights that were read meanwhile, in one cycle of
`go`, however long the core then waits. What fired comes from the macro in the cycle behind `go` and is kept here until
the core has moved on::

    cycle     0        1        2
    row       k
    weights            of k
    port               go
    fired                       of k
"""

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...items import address_bits
from ...mapping.virtual import VirtualPlan
from ..macro import kept_answer
from .engines import RowLayout

__all__ = ["AnalogEngines", "EnginePort"]

STEP_BITS = 32


class EnginePort(wiring.Signature):
    """Between a virtual core and the analog engines of its layers.

    Members
    -------
    go : Out(1)
        The other outputs are a row, to be done by the end of the cycle. At most one comes per cycle, in order.
    fires : Out(1)
        The row ends a step for the slot (the same for all engines); else it adds weights.
    clears : Out(1), with `fires`: nothing stays behind.
    layer : Out, of the layers of the core. step : Out(32), number of the step of that layer since reset, from
        2**32 - 1 in the sweep that clears all slots after reset, and 0. Elapsed time is this field and nothing else.
    takes : Out(engines)
        Which engines do something; the slots and weights of the others are 0.
    slot : Out(ArrayLayout of engines), code : Out(ArrayLayout of engines), signed weights; 0 in rows that fire.
    fired : In(engines)
        Which engines fired, of a row that fires: in the cycle behind `go`.
    """

    def __init__(self, plans: Sequence[VirtualPlan]):
        share, lanes = plans[0].share, plans[0].lanes
        super().__init__(
            {
                "go": Out(1),
                "fires": Out(1),
                "clears": Out(1),
                "layer": Out(address_bits(share.layers)),
                "step": Out(STEP_BITS),
                "takes": Out(lanes),
                "slot": Out(data.ArrayLayout(address_bits(share.slots), lanes)),
                "code": Out(data.ArrayLayout(signed(share.weight_bits), lanes)),
                "fired": In(lanes),
            }
        )


class AnalogEngines(wiring.Component):
    """All engines of a core and its layers; see the module.

    Members
    -------
    row, advance, weights : as of `DigitalEngines`; `row.layer` belongs to rows that add, too
    ends : In(1)
        With a row: it is the last of a sweep.
    fired : Out(engines)
        Of a row that fires, two cycles behind it, or with the second `advance` after it.
    port : Out(EnginePort)
    """

    def __init__(self, plans: Sequence[VirtualPlan]):
        self.plans, self.share, self.lanes = plans, plans[0].share, plans[0].lanes
        super().__init__(
            {
                "row": In(RowLayout(plans)),
                "advance": In(1),
                "ends": In(1),
                "weights": In(data.ArrayLayout(signed(self.share.weight_bits), self.lanes)),
                "fired": Out(self.lanes),
                "port": Out(EnginePort(plans)),
            }
        )

    def elaborate(self, platform):
        m, port = Module(), self.port
        held = Signal(self.row.shape(), reset_less=True)
        ends = Signal()
        m.d.sync += port.go.eq(self.advance & self.row.takes.any())
        with m.If(self.advance):
            m.d.sync += [held.eq(self.row), ends.eq(self.ends)]
        # The sweep after reset is the step before the first, and of the first layer.
        before = (1 << STEP_BITS) - 1
        steps = [Signal(STEP_BITS, init=0 if n else before, name=f"step{n}") for n in range(self.share.layers)]
        for n, step in enumerate(steps):
            with m.If(port.go & held.fires & ends & (held.layer == n)):
                m.d.sync += step.eq(step + 1)
        m.d.comb += [
            port.fires.eq(held.fires),
            port.clears.eq(held.clears & held.fires),
            port.layer.eq(held.layer),
            port.step.eq(Array(steps)[held.layer] if len(steps) > 1 else steps[0]),
            port.takes.eq(held.takes),
        ]
        for n in range(self.lanes):
            # Lines of engines that do nothing stay still.
            takes, adds = held.takes[n], held.takes[n] & ~held.fires
            m.d.comb += [
                port.slot[n].eq(Mux(takes, held.slot[n], 0)),
                port.code[n].eq(Mux(adds, self.weights[n], 0)),
            ]
        m.d.comb += self.fired.eq(kept_answer(m, go=port.go, advance=self.advance, answer=port.fired))
        return m
