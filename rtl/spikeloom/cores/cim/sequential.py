"""The comparison of in-place updates: potentials as words in a memory beside the weights, changed one after the other.

A spike is a sweep over the words that adds its weights; a tick is a sweep that fires, resets and decays them. With a
memory of one port (1rw) a word takes two cycles, a read and a write; with a read and a write port (1r1w) it takes one,
and a sweep one more. `lanes` words are changed at a time::

    1r1w  read   0  1  2  3  |     1rw  read   0     1     2     |
          write     0  1  2  3          write     0     1     2  |
"""

from amaranth.hdl import *

from ...blocks.neuron import NeuronParameters, add_small, next_start, step_end
from ...blocks.sram import Sram
from ...mapping.cim import SequentialPlan
from ..ports import LayerEngine

__all__ = ["SequentialEngine"]


class SequentialEngine(LayerEngine):
    """A layer whose potentials are words; see the module."""

    plan: SequentialPlan

    def elaborate(self, platform):
        m, plan, layer = Module(), self.plan, self.plan.layer
        rows, turns = plan.groups, plan.memory == "1rw"
        item = self._entrance(m)
        p = NeuronParameters.of(layer, plan.registers)
        self._load_registers(m, p.registers)
        m.submodules.potentials = potentials = Sram(
            name=f"{plan.name}.potentials", depth=rows, width=sum(plan.lane_bits), port_type="1r1w", exclusive=turns,
        )  # fmt: skip
        weights = self._weight_memory(m)
        biases = self._bias_memory(m) if plan.bias_bits else None

        sweeping, tick, last = Signal(), Signal(), Signal()
        row = Signal(range(max(2, rows)))
        weight_row = Signal(range(max(2, plan.weight_depth)))
        issue = Signal()  # the row that is read
        changing = Signal()  # the row that was read is changed and written
        changed = Signal.like(row, name="changed")
        advance = Signal()
        fresh = Signal(init=1)  # words count as 0
        at_end = Signal(name="at_last_row")
        final = Signal()
        free = Signal()
        m.d.comb += [
            issue.eq(sweeping & (~changing if turns else advance)),
            at_end.eq(row == rows - 1),
            final.eq(changed == rows - 1),
            free.eq(~sweeping & (~changing | (advance & final))),
            item.ready.eq(free),
            potentials.r_en.eq(issue),
            potentials.r_addr.eq(row),
            weights.r_en.eq(issue & ~tick),
            weights.r_addr.eq(weight_row),
        ]
        with m.If(free):
            m.d.sync += [
                sweeping.eq(item.valid),
                tick.eq(item.p.tick),
                last.eq(item.p.last),
                weight_row.eq(item.p.address * rows),
            ]
        with m.If(issue):
            m.d.sync += [changed.eq(row), row.eq(Mux(at_end, 0, row + 1)), weight_row.eq(weight_row + 1)]
            with m.If(at_end):
                m.d.sync += sweeping.eq(0)
        with m.If(issue):
            m.d.sync += changing.eq(1)
        with m.Elif(advance):
            m.d.sync += changing.eq(0)
        with m.If(changing & advance & final):
            m.d.sync += fresh.eq(tick & last & int(plan.clears))
        if plan.registers:  # potentials under other parameters mean nothing: loading them clears, as reset does
            with m.If(self.load_registers.en):
                m.d.sync += fresh.eq(1)
        if biases is not None:
            m.d.comb += [biases.r_en.eq(issue & tick), biases.r_addr.eq(row)]

        fired, values, words = [], [], []
        tail = layer.neurons - (rows - 1) * plan.lanes
        for lane in range(plan.lanes):
            stored = potentials.r_data.word_select(lane, plan.bits) & ~fresh.replicate(plan.bits)
            weight = weights.r_data.word_select(lane, layer.weight_bits).as_signed()
            if biases is not None:
                bias = biases.r_data.word_select(lane, plan.bias_bits).as_signed()
                weight = Mux(tick, bias, weight)
                gated = weight
            else:
                gated = (weight.as_unsigned() & ~tick.replicate(len(weight))).as_signed()
            acc = Signal(signed(plan.bits), name=f"sum{lane}")
            m.d.comb += acc.eq(add_small(stored.as_signed(), gated, 0, bits=plan.bits))
            fire, value = step_end(m, layer, acc, p, name=lane)
            word = Signal(signed(plan.bits), name=f"word{lane}")
            m.d.comb += word.eq(next_start(value, fire, layer, p))
            fired.append(fire & ~final if lane >= tail else fire)
            values.append(value)
            words.append(Mux(tick, word, acc)[: plan.bits])
        m.d.comb += [
            potentials.w_en.eq(changing & advance),
            potentials.w_addr.eq(changed),
            potentials.w_data.eq(Cat(words)),
        ]
        spikes = self._serialised(m)
        active = changing & tick
        served = self._report(
            m, active=active, commit=active & advance, last=last, row=changed, values=values,
            count=Mux(final, tail, plan.lanes),
        )  # fmt: skip
        self._hand_on(
            m, spikes, advance, active=active, served=served, flags=fired, group=changed, final=final, last=last
        )
        return m
