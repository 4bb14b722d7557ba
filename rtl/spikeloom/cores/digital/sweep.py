"""Layers of any kind: convolutions, joins, synaptic currents, adaptation, per-neuron parameters.

Two accumulator banks take turns. While the spikes of step t + 1 add their weights to the rows they touch in one bank,
a sweep over all rows ends step t: it takes the sums from the other bank, leaves zeros, and updates the neurons. The
sweep costs no cycle while the spikes of a step touch at least as many rows as the layer has::

    spikes   0 issue: read sum and weight    1 add and write back
    sweep    0 issue: read sum and state     1 leak, current    2 add    3 clamp, fire, reset, write back

Each row is visited once per sweep, so the update may take as many stages as it likes.
"""

import dataclasses

from amaranth.hdl import *
from amaranth.lib import data
from amaranth.lib.wiring import connect

from ...blocks.events import EventQueue
from ...blocks.neuron import NeuronParameters, add_small, fires, leaked, saturate
from ...blocks.sram import Sram
from ...mapping.sweep import SweepPlan
from ..ports import LayerEngine
from .expander import Expander

__all__ = ["SweepEngine", "channel_bits", "held"]


class SweepEngine(LayerEngine):
    """A layer with double accumulators and an update sweep; see the module.

    After reset, and after its parameters were loaded, it clears its memories, one row per cycle, before it takes
    events.
    """

    plan: SweepPlan

    def elaborate(self, platform):
        m, plan, layer = Module(), self.plan, self.plan.layer
        memories = self._memories(m)
        m.submodules.expander = expander = self._expander(memories)
        item = self.i
        if self._queue_depth:
            m.submodules.queue = queue = EventQueue(self.i.payload.shape(), depth=self._queue_depth)
            connect(m, queue.o, expander.i)
            item = queue.i
        else:
            item = expander.i
        m.d.comb += [item.valid.eq(self.i.valid), item.payload.eq(self.i.payload), self.i.ready.eq(item.ready)]
        parameters = NeuronParameters.of(layer, plan.registers)
        self._load_registers(m, parameters.registers)

        advance = Signal()  # the stages of the sweep move on
        bank = Signal()  # the one that spikes are added to
        clearing = Signal(init=1)
        sweeping = Signal()
        sweep_last = Signal()
        row, at_end, place = self._row_counter(m, (sweeping & advance) | clearing)
        swept_valid = Signal()  # stage 1
        swept = Signal(data.StructLayout({"row": len(row), "place": len(place), "final": 1, "last": 1, "bank": 1}))

        # Spikes: read, add, write; a tick hands the bank over.
        touch = expander.o
        start = Signal()
        issue = Signal()
        # The zeros of the bank that is handed over must have been written, and no row may be read before its state
        # of the sweep before is: in a layer of one or two rows that takes longer.
        rested = Signal()
        busy = Signal()
        m.d.comb += rested.eq(~busy if plan.groups < 3 else ~swept_valid | advance)
        m.d.comb += [
            start.eq(touch.valid & touch.p.tick & ~sweeping & rested & ~clearing),
            issue.eq(touch.valid & ~touch.p.tick & ~clearing),
            touch.ready.eq(~clearing & (~touch.p.tick | (~sweeping & rested))),
        ]

        # Sweep, stage 0.
        with m.If(start):
            m.d.sync += [bank.eq(~bank), sweeping.eq(1), sweep_last.eq(touch.p.last)]
        with m.Elif(sweeping & advance & at_end):
            m.d.sync += sweeping.eq(0)
        with m.If(clearing & at_end):
            m.d.sync += clearing.eq(0)
        for kind in ("registers", "parameters"):  # states under other parameters mean nothing
            if hasattr(self, f"load_{kind}"):
                with m.If(getattr(self, f"load_{kind}").en):
                    m.d.sync += clearing.eq(1)
        read = sweeping & advance
        sums = self._sums(
            m, memories, touch, issue=issue, start=start, bank=bank, read=read, row=row, clearing=clearing,
            zeroing=swept_valid & advance, swept=swept,
        )  # fmt: skip
        for name in ("states", "biases", "parameters"):
            if name in memories:
                m.d.comb += [memories[name].r_en.eq(read), memories[name].r_addr.eq(row)]
        self._sweep_begun(m, row=row, place=place, read=read, end=at_end, last=sweep_last, clearing=clearing)
        with m.If(advance):
            m.d.sync += [
                swept_valid.eq(sweeping),
                swept.row.eq(row),
                swept.place.eq(place),
                swept.final.eq(at_end),
                swept.last.eq(sweep_last),
                swept.bank.eq(~bank),
            ]

        # Stages 1 to 3, and the spikes of a row.
        ending, ending_valid, lanes = self._update(m, advance, busy, swept, swept_valid, memories, sums, parameters)
        if "states" in memories:
            states = memories["states"]
            m.d.comb += [
                states.w_en.eq((ending_valid & advance) | clearing),
                states.w_addr.eq(Mux(clearing, row, ending.row)),
                states.w_data.eq(
                    Mux(clearing | (ending.last & int(plan.clears)), 0, Cat(*[Cat(*lane.state) for lane in lanes]))
                ),
            ]
        channels, positions = plan.map[0], plan.map[1] * plan.map[2]
        tail = channels - (plan.channel_rows - 1) * plan.lanes
        fired = [lane.fire for lane in lanes]
        if tail < plan.lanes:  # the last row of a position has lanes without a neuron
            channel_row = ending.place if positions == 1 else ending.place[: channel_bits(plan)]
            full = Signal()
            m.d.comb += full.eq(channel_row != plan.channel_rows - 1)
            fired = [fire & full if n >= tail else fire for n, fire in enumerate(fired)]
        spikes = self._serialised(m, pitch=plan.address_pitch)
        served = self._report(
            m, active=ending_valid, commit=ending_valid & advance, last=ending.last, row=ending.row,
            values=[lane.value for lane in lanes],
            count=Mux(ending.final, tail, plan.lanes),
        )  # fmt: skip
        self._hand_on(
            m, spikes, advance, active=ending_valid, served=served, flags=fired, group=ending.place,
            final=ending.final, last=ending.last,
        )  # fmt: skip
        return m

    def _sweep_begun(self, m, *, row, place, read, end, last, clearing) -> None:
        """For engines that begin something else with stage 0 of the sweep, when `row` is read."""

    def _expander(self, memories):
        """What turns spikes into rows to touch."""
        return Expander(self.plan)

    def _sums(self, m, memories, touch, *, issue, start, bank, read, row, clearing, zeroing, swept) -> Value:
        """Add the weights of spikes to one bank; returns the sums of `swept.row` in the other, which become 0."""
        plan = self.plan
        weights, banks = memories["weights"], (memories["sums0"], memories["sums1"])
        adding_valid = Signal()
        adding_row = Signal.like(touch.p.row, reset_less=True)
        mask = Signal(plan.lanes, reset_less=True) if "mask" in touch.p.shape().members else None
        m.d.comb += [weights.r_en.eq(issue), weights.r_addr.eq(touch.p.weight)]
        m.d.sync += adding_valid.eq(issue)
        with m.If(issue):
            m.d.sync += adding_row.eq(touch.p.row)
            if mask is not None:
                m.d.sync += mask.eq(touch.p.mask)
        summed = Signal(sum(plan.lane_bits))
        stored = self._forwarded(
            m, Mux(bank, banks[1].r_data, banks[0].r_data), summed, adding_row, adding_valid, start
        )
        offset = 0
        for lane, bits in enumerate(plan.lane_bits):
            weight = weights.r_data.word_select(lane, plan.layer.weight_bits)
            if mask is not None:
                weight = weight & mask[lane].replicate(len(weight))
            total = add_small(stored[offset : offset + bits].as_signed(), weight.as_signed(), 0, bits=bits)
            m.d.comb += summed[offset : offset + bits].eq(total)
            offset += bits
        for number, memory in enumerate(banks):
            events = bank == number
            writing = adding_valid & events
            m.d.comb += [
                memory.r_en.eq(Mux(events, issue, read)),
                memory.r_addr.eq(Mux(events, touch.p.row, row)),
                memory.w_en.eq(writing | (zeroing & (swept.bank == number)) | clearing),
                memory.w_addr.eq(Mux(clearing, row, Mux(writing, adding_row, swept.row))),
                memory.w_data.eq(Mux(writing, summed, 0)),
            ]
        return Mux(swept.bank, banks[1].r_data, banks[0].r_data)

    def _row_counter(self, m, enable) -> tuple[Signal, Signal, Signal]:
        """Rows in order: number, whether it is the last, and its place {channel row, x, y} in output addresses."""
        plan = self.plan
        row = Signal(range(max(2, plan.groups)))
        at_end = Signal(name="at_last_row")
        m.d.comb += at_end.eq(row == plan.groups - 1)
        with m.If(enable):
            m.d.sync += row.eq(Mux(at_end, 0, row + 1))
        _, height, width = plan.map
        if height * width == 1:
            return row, at_end, row
        parts, carry = [], Const(1, 1)
        for name, size, bits in (
            ("channel_row", plan.channel_rows, channel_bits(plan)),
            ("x", width, (width - 1).bit_length()),
            ("y", height, (height - 1).bit_length()),
        ):
            if not bits:
                continue
            counter = Signal(bits, name=f"row_{name}")
            full = counter == size - 1
            with m.If(enable & carry):
                m.d.sync += counter.eq(Mux(full, 0, counter + 1))
            carry = carry & full
            parts.append(counter)
        place = Signal(sum(len(part) for part in parts))
        m.d.comb += place.eq(Cat(*parts))
        return row, at_end, place

    def _forwarded(self, m, read, written, row, valid, handed_over) -> Value:
        """The sums of the row in stage 1: those written in the cycle in which they were read, where it is that row."""
        kept = Signal.like(written, name="kept", reset_less=True)
        kept_row = Signal.like(row, name="kept_row", reset_less=True)
        kept_valid = Signal()
        m.d.sync += [kept.eq(written), kept_row.eq(row), kept_valid.eq(valid & ~handed_over)]
        return Mux(kept_valid & (kept_row == row), kept, read)

    def _memory_shapes(self) -> dict[str, tuple]:
        """(rows, bits of a row, port type, contents) of each memory."""
        plan = self.plan
        fixed = plan.weights == "fixed"
        sums = sum(plan.lane_bits)
        wanted: dict[str, tuple] = {
            "weights": (plan.weight_depth, plan.weight_row_bits, "rom" if fixed else "1r1w",
                        plan.weight_rows() if fixed else ()),
            "sums0": (plan.groups, sums, "1r1w", ()),
            "sums1": (plan.groups, sums, "1r1w", ()),
        }  # fmt: skip
        if plan.state_fields:
            states = plan.lanes * sum(bits for _, bits in plan.state_fields)
            wanted["states"] = (plan.groups, states, "1r1w", ())
        if plan.bias_bits:
            loaded = plan.bias_loaded
            wanted["biases"] = (plan.groups, plan.lanes * plan.bias_bits, "1r1w" if loaded else "rom", plan.bias_rows())
        if plan.parameter_row_bits:
            loaded = plan.parameters == "loaded"
            wanted["parameters"] = (
                plan.groups, plan.parameter_row_bits, "1r1w" if loaded else "rom", plan.parameter_rows()
            )  # fmt: skip
        return wanted

    def _memories(self, m) -> dict[str, Sram]:
        plan, memories = self.plan, {}
        for name, (depth, width, port_type, contents) in self._memory_shapes().items():
            memory = Sram(
                name=f"{plan.name}.{name}", depth=depth, width=width, port_type=port_type, contents=contents,
                exclusive=name == "weights",  # loaded only while no input is under way
            )  # fmt: skip
            m.submodules[name] = memories[name] = memory
        loaded = {"weights": "weights", "index": "index", "bias": "biases", "parameters": "parameters"}
        for port, name in loaded.items():
            port = f"load_{port}"
            if hasattr(self, port):
                load, memory = getattr(self, port), memories[name]
                m.d.comb += [memory.w_en.eq(load.en), memory.w_addr.eq(load.row), memory.w_data.eq(load.data)]
        return memories

    def _update(self, m, advance, busy, swept, swept_valid, memories, sums, parameters):
        """Stages 1 to 3 of the sweep; returns control and valid of stage 3, and its lanes."""
        middle, ending = (Signal.like(swept, name=name, reset_less=True) for name in ("middle", "ending"))
        middle_valid, ending_valid = Signal(), Signal()
        with m.If(advance):
            m.d.sync += [
                middle.eq(swept),
                middle_valid.eq(swept_valid),
                ending.eq(middle),
                ending_valid.eq(middle_valid),
            ]
        m.d.comb += busy.eq(swept_valid | middle_valid | (ending_valid & ~advance))
        return ending, ending_valid, self._lanes(m, advance, memories, sums, parameters)

    def _lanes(self, m, advance, memories, sums, parameters) -> list:
        """The neurons of a row in stages 1 to 3."""
        plan = self.plan
        bias_row = memories["biases"].r_data if "biases" in memories else None
        lanes, offset, state_bits = [], 0, sum(bits for _, bits in plan.state_fields)
        for n, bits in enumerate(plan.lane_bits):
            state, at = {}, n * state_bits
            for name, width in plan.state_fields:
                field = memories["states"].r_data[at : at + width]
                state[name] = field.as_signed() if name in ("potential", "current") else field
                at += width
            bias = bias_row.word_select(n, plan.bias_bits).as_signed() if bias_row is not None else None
            own = parameters
            if "parameters" in memories:
                own = self._own(parameters, memories["parameters"].r_data, n)
            lanes.append(_Lane(self, m, n, advance, sums[offset : offset + bits].as_signed(), state, bias, own))
            offset += bits
        return lanes

    def _own(self, parameters: NeuronParameters, row: Value, lane: int) -> NeuronParameters:
        """`parameters` with those of the neuron of `lane` in the row of the parameter memory."""
        at, mine = 0, {}
        for name, (bits, _) in self.plan.neuron_fields().items():
            mine[name] = row[at + lane * bits : at + (lane + 1) * bits]
            at += bits * self.plan.lanes
        current = {name.removeprefix("current_"): mine.pop(name) for name in list(mine) if name.startswith("current_")}
        if current:
            mine["current"] = dataclasses.replace(parameters.current, **current)
        return dataclasses.replace(parameters, **mine)


class _Lane:
    """The update of the neuron in one lane: three stages; the last has the new state, the potential and the spike."""

    def __init__(self, engine: SweepEngine, m: Module, n: int, advance, total, state: dict, bias, p: NeuronParameters):
        layer, bits = engine.plan.layer, engine.plan.layer.potential_bits
        v = state["potential"]

        # Stage 1: what the step starts from, and what it adds.
        u = leaked(v, layer.leak.kind, layer.leak.fraction_bits, p)
        if layer.reset.startswith("delayed"):
            above = Signal(name=f"above{n}")
            m.d.comb += above.eq(v >= p.threshold)
            u = Mux(above, 0, u) if layer.reset == "delayed_zero" else u - Mux(above, p.subtracts, 0)
        if bias is not None and not layer.bias_in_current:
            u = u + bias
        if "current" in state:
            decayed = leaked(state["current"], layer.current_leak.kind, layer.current_leak.fraction_bits, p.current)
            entered = decayed + total
            if bias is not None and layer.bias_in_current:
                entered = entered + bias
            unclamped = Signal(entered.shape(), name=f"unclamped{n}")
            clamped = Signal(signed(layer.current_bits), name=f"current{n}_1")
            m.d.comb += [unclamped.eq(entered), clamped.eq(saturate(unclamped, layer.current_bits))]
            total = clamped
        base, added = held(m, advance, u, f"base{n}"), held(m, advance, total, f"added{n}")
        kept = {
            name: held(m, advance, state[name], f"{name}{n}")
            for name in ("adaptation", "refractory") if name in state
        }  # fmt: skip
        level = held(m, advance, p.threshold, f"level{n}") if isinstance(p.threshold, Value) else p.threshold
        minus = held(m, advance, p.subtracts, f"minus{n}") if isinstance(p.subtracts, Value) else p.subtracts

        # Stage 2: the sum.
        acc = held(m, advance, base + added, f"sum{n}")
        current = held(m, advance, added, f"new_current{n}") if "current" in state else None
        kept = {name: held(m, advance, value, f"{name}{n}_3") for name, value in kept.items()}
        level = held(m, advance, level, f"level{n}_3") if isinstance(level, Value) else level
        minus = held(m, advance, minus, f"minus{n}_3") if isinstance(minus, Value) else minus

        # Stage 3: clamp, fire, reset.
        self.fire = Signal(name=f"fire{n}")
        self.value = Signal(signed(bits), name=f"v{n}")
        u = Signal(signed(bits), name=f"clamped{n}")
        m.d.comb += u.eq(saturate(acc, bits))
        resting = kept["refractory"] != 0 if "refractory" in kept else Const(0, 1)
        if level is not None:
            if "adaptation" in kept:
                fire = u >= level + kept["adaptation"]
            else:
                fire = fires(u, level)
            m.d.comb += self.fire.eq(fire & ~resting)
        reset = u
        if layer.reset == "zero":
            reset = Mux(self.fire, 0, u)
        elif layer.reset == "subtract":
            reset = Mux(self.fire, u - minus, u)
        m.d.comb += self.value.eq(Mux(resting, 0, reset) if "refractory" in kept else reset)
        self.state = [self.value]
        if current is not None:
            self.state.append(current)
        adaptation = layer.adaptation
        if adaptation is not None:
            b = kept["adaptation"]
            constants = NeuronParameters.of_leak(adaptation.leak, adaptation.bits + 1)
            lowered = leaked(Cat(b, Const(0, 1)).as_signed(), adaptation.leak.kind, adaptation.leak.fraction_bits,
                             constants)  # fmt: skip
            raised = Signal(signed(len(lowered) + adaptation.increment.bit_length() + 1), name=f"raised{n}")
            m.d.comb += raised.eq(lowered + Mux(self.fire, adaptation.increment, 0))
            new = Signal(adaptation.bits, name=f"adapted{n}")
            top = (1 << adaptation.bits) - 1
            m.d.comb += new.eq(Mux(raised < 0, 0, Mux(raised > top, top, raised)))
            self.state.append(new)
        if "refractory" in kept:
            count = kept["refractory"]
            left = Signal.like(count, name=f"resting{n}")
            m.d.comb += left.eq(Mux(resting, count - 1, Mux(self.fire, layer.refractory, 0)))
            self.state.append(left)


def held(m: Module, advance, value: Value, name: str) -> Signal:
    """`value` one stage later."""
    register = Signal(value.shape(), name=name, reset_less=True)
    with m.If(advance):
        m.d.sync += register.eq(value)
    return register


def channel_bits(plan: SweepPlan) -> int:
    """Bits of the channel row in an output address."""
    return (plan.channel_rows - 1).bit_length()
