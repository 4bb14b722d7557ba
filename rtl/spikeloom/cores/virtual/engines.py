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

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.neuron import NeuronParameters, add_small, fires, leaked, saturate
from ...blocks.sram import Sram
from ...items import address_bits
from ...mapping.virtual import VirtualPlan
from ..ports import LoadRow

__all__ = ["DigitalEngines", "RowLayout"]


class RowLayout(data.StructLayout):
    """A row for all engines.

    `takes` and `slot` say which engine does something, and to which of its neurons; `fires` that the step ends for
    these, `clears` that 0 stays behind.
    """

    def __init__(self, engines: int, slots: int):
        super().__init__(
            {"takes": engines, "slot": data.ArrayLayout(address_bits(slots), engines), "fires": 1, "clears": 1}
        )


class DigitalEngines(wiring.Component):
    """All engines of a layer; see the module.

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
    load_bias, load_registers : In(LoadRow), where loaded at run time
    """

    def __init__(self, plan: VirtualPlan):
        self.plan, layer = plan, plan.layer
        loads = {kind: (rows, bits) for kind, rows, bits in plan.regions if kind in ("bias", "registers")}
        super().__init__(
            {
                "row": In(RowLayout(plan.lanes, plan.groups)),
                "advance": In(1),
                "weights": In(data.ArrayLayout(signed(layer.weight_bits), plan.lanes)),
                "fired": Out(plan.lanes),
                "values": Out(data.ArrayLayout(signed(layer.potential_bits), plan.lanes)),
            }
            | {f"load_{kind}": In(LoadRow(*sizes)) for kind, sizes in loads.items()}
        )

    def elaborate(self, platform):
        m, plan = Module(), self.plan
        p = NeuronParameters.of(plan.layer, plan.registers)
        if plan.registers:
            with m.If(self.load_registers.en):
                for n, register in enumerate(p.registers):
                    m.d.sync += register.eq(self.load_registers.data.word_select(n, 32))
        held = Signal(self.row.shape(), reset_less=True)  # the row that is being done
        takes = Signal(plan.lanes)
        with m.If(self.advance):
            m.d.sync += [held.eq(self.row), takes.eq(self.row.takes)]
        biases = self._biases(m) if plan.bias_bits else None
        for n in range(plan.lanes):
            bias = None if biases is None else biases.r_data.word_select(n, plan.bias_bits).as_signed()
            self._engine(m, n, held, takes[n], bias, p)
        return m

    def _biases(self, m: Module) -> Sram:
        plan = self.plan
        m.submodules.biases = biases = Sram(
            name=f"{plan.name}.biases", depth=plan.groups, width=plan.lanes * plan.bias_bits,
            port_type="1r1w" if plan.bias_loaded else "rom", contents=plan.bias_rows(),
        )  # fmt: skip
        m.d.comb += [biases.r_en.eq(self.row.fires & self.advance), biases.r_addr.eq(self.row.slot[0])]
        if plan.bias_loaded:
            load = self.load_bias
            m.d.comb += [biases.w_en.eq(load.en), biases.w_addr.eq(load.row), biases.w_data.eq(load.data)]
        return biases

    def _engine(self, m: Module, n: int, held, takes, bias, p: NeuronParameters) -> None:
        plan, layer = self.plan, self.plan.layer
        bits = plan.lane_bits[n]
        m.submodules[f"membrane{n}"] = membrane = Sram(
            name=f"{plan.name}.membrane{n}", depth=plan.groups, width=bits, port_type="1r1w"
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
            added = (weight.as_unsigned() & ~held.fires.replicate(layer.weight_bits)).as_signed()
        else:
            added = Mux(held.fires, bias, weight)
        acc = Signal(signed(bits), name=f"sum{n}")
        v = Signal(signed(layer.potential_bits), name=f"v{n}")
        fire = Signal(name=f"fire{n}")
        m.d.comb += acc.eq(add_small(stored, added, 0, bits=bits))
        if layer.threshold is not None:
            m.d.comb += fire.eq(fires(acc, p.threshold))
        u = saturate(acc, layer.potential_bits)
        if layer.reset == "zero":
            u = Mux(fire, 0, u)
        elif layer.reset == "subtract":
            u = Mux(fire, u - p.subtracts, u)
        m.d.comb += v.eq(u)
        after = leaked(v, layer.leak.kind, layer.leak.fraction_bits, p)
        if layer.reset == "delayed_zero":
            after = Mux(fire, 0, after)
        elif layer.reset == "delayed_subtract":
            after = after - Mux(fire, p.subtracts, 0)
        m.d.comb += [
            self.fired[n].eq(fire),
            self.values[n].eq(v),
            word.eq(Mux(held.fires, Mux(held.clears, 0, after), acc)),
        ]
