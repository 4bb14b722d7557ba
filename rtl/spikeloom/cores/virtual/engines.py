"""The engines of a virtual core as digital logic: a membrane memory and an adder each.

Rows come from the controller one per cycle. A row of spikes adds a weight to one slot of each engine that takes part; a
row that fires ends the step for one slot of all engines: leak, compare and reset, and nothing or 0 stays behind.
A slot that is changed in two rows in a row is forwarded past its memory::

    cycle     0        1        2        3
    row       k, k'
    read      slot k   slot k'
    add                k + w    k' + w'       where k' = k, the sum of k goes in instead of what was read
    write              k        k'
"""

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.neuron import NeuronParameters, add_small, layers_step_end
from ...blocks.sram import Sram
from ...items import address_bits
from ...mapping.rows import WORD_BITS
from ...mapping.virtual import VirtualPlan
from ..ports import LoadRow

__all__ = ["DigitalEngines", "RowLayout"]


class RowLayout(data.StructLayout):
    """A row for all engines.

    `takes` and `slot` say which engine does something, and to which of its neurons; `fires` that the step ends for
    these, which are of `layer` and have the biases of row `bias`; `clears` that 0 stays behind.
    """

    def __init__(self, plans: Sequence[VirtualPlan]):
        share = plans[0].share
        super().__init__(
            {
                "takes": plans[0].lanes,
                "slot": data.ArrayLayout(address_bits(share.slots), plans[0].lanes),
                "fires": 1,
                "clears": 1,
                "layer": address_bits(share.layers),
                "bias": address_bits(share.biases),
            }
        )


class DigitalEngines(wiring.Component):
    """All engines of a core and its layers; see the module.

    Members
    -------
    row : In(RowLayout)
        Taken with `advance`.
    advance : In(1)
        The row before this one is done.
    weights : In(ArrayLayout)
        Of each engine, in the cycle behind its row, and until `advance`.
    fired : Out(engines), values : Out(ArrayLayout)
        Of a row that fires, with its weights: spikes, and potentials after the step.
    load_bias_<layer>, load_registers_<layer> : In(LoadRow), where loaded at run time
    """

    def __init__(self, plans: Sequence[VirtualPlan]):
        self.plans, self.share, self.lanes = plans, plans[0].share, plans[0].lanes
        loads = {
            f"load_{kind}_{plan.name}": In(LoadRow(rows, bits))
            for plan in plans
            for kind, rows, bits in plan.regions
            if kind in ("bias", "registers")
        }
        widest = max(plan.layer.potential_bits for plan in plans)
        super().__init__(
            {
                "row": In(RowLayout(plans)),
                "advance": In(1),
                "weights": In(data.ArrayLayout(signed(self.share.weight_bits), self.lanes)),
                "fired": Out(self.lanes),
                "values": Out(data.ArrayLayout(signed(widest), self.lanes)),
            }
            | loads
        )

    def elaborate(self, platform):
        m, parameters = Module(), []
        for plan in self.plans:
            p = NeuronParameters.of(plan.layer, plan.registers)
            parameters.append(p)
            if plan.registers:
                load = getattr(self, f"load_registers_{plan.name}")
                with m.If(load.en):
                    for n, register in enumerate(p.registers):
                        m.d.sync += register.eq(load.data.word_select(n, WORD_BITS))
        held = Signal(self.row.shape(), reset_less=True)  # the row that is being done
        takes = Signal(self.lanes)
        with m.If(self.advance):
            m.d.sync += [held.eq(self.row), takes.eq(self.row.takes)]
        biases = self._biases(m) if self.share.bias_bits else None
        for n in range(self.lanes):
            bias = None if biases is None else biases.r_data.word_select(n, self.share.bias_bits).as_signed()
            self._engine(m, n, held, takes[n], bias, parameters)
        return m

    def _biases(self, m: Module) -> Sram:
        loaded = any(plan.bias_loaded for plan in self.plans)
        m.submodules.biases = biases = Sram(
            name=f"{self.share.core}.biases", depth=self.share.biases, width=self.lanes * self.share.bias_bits,
            port_type="1r1w" if loaded else "rom", contents=[row for plan in self.plans for row in plan.bias_rows()],
        )  # fmt: skip
        m.d.comb += [biases.r_en.eq(self.row.fires & self.advance), biases.r_addr.eq(self.row.bias)]
        for plan in self.plans:
            if (load := getattr(self, f"load_bias_{plan.name}", None)) is not None:
                with m.If(load.en):
                    m.d.comb += [
                        biases.w_en.eq(1),
                        biases.w_addr.eq(load.row + plan.share.bias),
                        biases.w_data.eq(load.data),
                    ]
        return biases

    def _engine(self, m: Module, n: int, held, takes, bias, parameters: list[NeuronParameters]) -> None:
        bits = self.share.lane_bits[n]
        m.submodules[f"membrane{n}"] = membrane = Sram(
            name=f"{self.share.core}.membrane{n}", depth=self.share.slots, width=bits, port_type="1r1w"
        )
        slot, weight = self.row.slot[n], self.weights[n]
        word = Signal(signed(bits), name=f"word{n}")
        forward = Signal(name=f"forward{n}")
        before = Signal(signed(bits), name=f"before{n}", reset_less=True)
        m.d.comb += [
            membrane.r_en.eq(self.row.takes[n] & self.advance),
            membrane.r_addr.eq(slot),
            membrane.w_en.eq(takes & self.advance),
            membrane.w_addr.eq(held.slot[n]),
            membrane.w_data.eq(word),
        ]
        with m.If(self.advance):
            m.d.sync += [forward.eq(takes & (slot == held.slot[n])), before.eq(word)]
        stored = Mux(forward, before, membrane.r_data.as_signed())
        if bias is None:
            added = (weight.as_unsigned() & ~held.fires.replicate(len(weight))).as_signed()
        else:
            added = Mux(held.fires, bias, weight)
        acc = Signal(signed(bits), name=f"sum{n}")
        m.d.comb += acc.eq(add_small(stored, added, 0, bits=bits))
        fire, v, after = layers_step_end(m, [plan.layer for plan in self.plans], acc, parameters, held.layer, name=n)
        m.d.comb += [
            self.fired[n].eq(fire),
            self.values[n].eq(v),
            word.eq(Mux(held.fires, Mux(held.clears, 0, after), acc)),
        ]
