"""One lane per neuron: potentials in registers, one event per cycle, a tick in one cycle.

Between steps a register holds what the next step starts from, leak(v) + bias, so that the leak of a step costs no
cycle and shares the adder of its events::

    event:  acc <- acc + w                          tick:  v = reset(clamp(acc));  acc <- leak(v) + bias

With E events per cycle the sum of E weights, each of a bank of its own (or of a second read port), takes the place of
the weight: a word of events costs one cycle.

The bias of an input's first step is added by one `prime` cycle before it (its value may have been loaded just then).
"""

from amaranth.hdl import *
from amaranth.lib.wiring import connect

from ...blocks.events import EventQueue
from ...blocks.neuron import NeuronParameters, add_small, fires, leaked, saturate
from ...blocks.serialiser import FlagRegister, GroupSerialiser, SlotSerialiser
from ...blocks.sram import Sram
from ..ports import LayerEngine

__all__ = ["ParallelEngine", "flag_group_width"]


def flag_group_width(neurons: int) -> int:
    """Width of a serialiser group: the power of two nearest above the square root, so both searches are shallow."""
    return min(64, 1 << ((neurons - 1).bit_length() + 1) // 2)


class ParallelEngine(LayerEngine):
    """A layer whose lanes cover all its neurons."""

    def elaborate(self, platform):
        m, plan, layer = Module(), self.plan, self.plan.layer
        m.submodules.queue = queue = EventQueue(self.i.payload.shape(), depth=self._queue_depth or 2)
        ports = self._weights(m)
        width = flag_group_width(-(-layer.neurons // plan.events_out))
        if plan.events_out > 1:
            m.submodules.serialiser = flags = serialiser = SlotSerialiser(plan.output_slots, width=width)
        else:
            m.submodules.flags = flags = FlagRegister(layer.neurons, width=width)
            m.submodules.serialiser = serialiser = GroupSerialiser(layer.neurons, width=width)
            connect(m, flags.o, serialiser.i)
        parameters = NeuronParameters.of(layer, plan.registers)
        self._load_registers(m, parameters.registers)

        # What the lanes do in this cycle. Reset makes them clear, so the potentials themselves need no reset.
        event = Signal(plan.events)
        prime = Signal()
        tick = Signal(init=1)
        clear = Signal(init=1)
        last = Signal(init=1)  # of an input: its bias is not added before the next input begins
        real = Signal()  # a tick of the stream, not of the reset
        done = Signal()  # a tick that reports values waits for its readers
        item, go = queue.o, Signal()
        m.d.comb += go.eq(item.valid & (~real | done))
        # The flags of a tick need the register behind the lanes, which the tick before it may still occupy.
        take = go & (~item.p.tick | (flags.free & ~real))
        if plan.bias_bits:
            fresh = Signal(init=1)  # the bias of the coming step is still to be added
            m.d.comb += item.ready.eq(take & ~fresh)
            with m.If(~real | done):
                m.d.sync += prime.eq(go & fresh)
            with m.If(go & fresh):
                m.d.sync += fresh.eq(0)
            with m.Elif(item.ready & item.p.tick & item.p.last):
                m.d.sync += fresh.eq(1)
        else:
            m.d.comb += item.ready.eq(take)
        rows = [(item.p.address, 1)] if plan.events == 1 else list(zip(item.p.rows, item.p.valid, strict=True))
        for (enable, address, _), (row, valid) in zip(ports, rows, strict=True):
            m.d.comb += [enable.eq(item.ready & ~item.p.tick & valid), address.eq(row)]
        with m.If(~real | done):
            m.d.sync += [
                event.eq(Cat(enable for enable, _, _ in ports)),
                tick.eq(item.ready & item.p.tick),
                real.eq(item.ready & item.p.tick),
                clear.eq(item.ready & item.p.tick & item.p.last & int(plan.clears)),
                last.eq(item.p.last),
            ]

        if plan.registers:  # potentials under other parameters mean nothing: loading them clears, as reset does
            with m.If(self.load_registers.en):
                m.d.sync += [tick.eq(1), clear.eq(1), last.eq(1)]

        now = Signal()  # the tick happens in this cycle
        m.d.comb += now.eq(tick & done)
        lanes = [
            self._lane(
                m, n, parameters, [row.word_select(n, layer.weight_bits).as_signed() for *_, row in ports],
                self._bias(m, n),
                event=event, prime=prime, tick=now, clear=clear, last=last,
            )
            for n in range(layer.neurons)
        ]  # fmt: skip
        m.d.comb += [
            flags.flags.eq(Cat(fire for fire, _ in lanes)),
            flags.last.eq(last),
            flags.load.eq(real & done),
        ]
        served = self._report(
            m, active=real, commit=real & done, last=last, row=Const(0), values=[v for _, v in lanes],
            count=layer.neurons,
        )  # fmt: skip
        m.d.comb += done.eq(~real | served)

        o = serialiser.o
        m.d.comb += [self.o.valid.eq(o.valid), self.o.payload.eq(o.payload), o.ready.eq(self.o.ready)]
        i = queue.i
        m.d.comb += [i.valid.eq(self.i.valid), i.payload.eq(self.i.payload), self.i.ready.eq(i.ready)]
        return m

    def _weights(self, m) -> list[tuple[Value, Value, Value]]:
        """The weight memories; returns (enable, row, data) of the read port behind each slot."""
        plan, slots = self.plan, self.plan.slots
        fixed, second, banks = plan.weights == "fixed", slots.ports == 2, slots.banks
        contents = plan.weight_rows() if fixed else []
        ports, further = [], []
        for bank in range(banks):
            name = f"weights{bank}" if banks > 1 else "weights"
            m.submodules[name] = memory = Sram(
                name=f"{plan.name}.{name}",
                depth=slots.depth(bank),
                width=plan.weight_row_bits,
                port_type=("rom2" if second else "rom") if fixed else ("2r1w" if second else "1r1w"),
                contents=contents[bank::banks],
                exclusive=True,  # loaded only while no input is under way
            )
            ports.append((memory.r_en, memory.r_addr, memory.r_data))
            if second:
                further.append((memory.r2_en, memory.r2_addr, memory.r2_data))
            if not fixed:
                load, bits = self.load_weights, (banks - 1).bit_length()
                m.d.comb += [
                    memory.w_en.eq(load.en & (load.row[:bits] == bank)),
                    memory.w_addr.eq(load.row[bits:]),
                    memory.w_data.eq(load.data),
                ]
        return ports + further

    def _bias(self, m, n) -> Value | None:
        """Bias of neuron n: a constant, a register that the load port writes, or None."""
        plan = self.plan
        if plan.bias_loaded and plan.bias_bits:
            bias = Signal(signed(plan.bias_bits), name=f"bias{n}", init=int(plan.layer.bias[n]))
            with m.If(self.load_bias.en):
                m.d.sync += bias.eq(self.load_bias.data.word_select(n, plan.bias_bits))
            return bias
        value = int(plan.layer.bias[n])
        return Const(value, signed(plan.bias_bits)) if value else None

    def _lane(self, m, n, p, weights, bias, *, event, prime, tick, clear, last) -> tuple[Value, Value]:
        """One neuron; returns its spike flag and its potential v, both meant for a tick."""
        layer, bits = self.plan.layer, self.plan.lane_bits[n]
        acc = Signal(signed(bits), name=f"potential{n}", reset_less=True)
        weight = _sum(m, weights, event, n)
        fire = Signal(name=f"fire{n}")
        v = Signal(signed(layer.potential_bits), name=f"v{n}")
        if self._fires:
            m.d.comb += fire.eq(fires(acc, p.threshold))
        # What the adder starts from: the accumulator, in a tick the potential after reset (0 where it is cleared).
        base = Signal(signed(bits), name=f"base{n}")
        if layer.reset.endswith("zero"):
            if self._probed or not self._fires:  # else nobody reads v
                u = saturate(acc, layer.potential_bits)
                m.d.comb += v.eq(Mux(fire, 0, u) if layer.reset == "zero" else u)
            # Below the threshold nothing saturates above, so only the lower clamp is left. No multiplexer is needed:
            # a tick either keeps a bit, or clears it, or sets a head bit.
            zeroed = Signal(name=f"zeroed{n}")
            under = Signal(name=f"under{n}")
            m.d.comb += [
                zeroed.eq(tick & (fire | clear)),
                under.eq(tick & _underflows(acc, layer.potential_bits)),
            ]
            low = layer.potential_bits - 1
            m.d.comb += base.eq(
                Cat(
                    acc[:low] & ~(zeroed | under).replicate(low),
                    (acc[low:] | under.replicate(bits - low)) & ~zeroed.replicate(bits - low),
                )
            )
        else:
            u = saturate(acc, layer.potential_bits)
            m.d.comb += v.eq(Mux(fire, u - p.subtracts, u) if layer.reset == "subtract" else u)
            m.d.comb += base.eq(Mux(tick, v & ~clear.replicate(len(v)).as_signed(), acc))
        start = base[: layer.potential_bits].as_signed()  # as a tick sees it

        leak = layer.leak.kind
        shares = bias is None and layer.reset != "delayed_subtract"
        if shares and (leak in ("none", "linear") or (leak == "shift" and len(p.leak_shifts) == 1)):
            # One adder serves events and leak; between items it adds 0.
            if leak == "none":
                addend, carry = Const(0, signed(1)), 0
            elif leak == "shift":
                addend, carry = ~(start >> p.leak_shifts[0]), tick
            else:
                amount = p.leak_amount if isinstance(p.leak_amount, Value) else Const(p.leak_amount)
                lower = ~start[-1]
                addend = Cat(amount ^ lower.replicate(len(amount)), lower).as_signed()
                carry = tick & lower
            small = Signal(signed(max(len(weight), len(addend))), name=f"addend{n}")
            m.d.comb += small.eq(weight | _gated(addend, tick))
            total = add_small(base, small, carry, bits=bits)
            if leak == "linear":  # a leak that changes the sign has crossed 0
                total = total & ~(tick & (total[-1] ^ start[-1])).replicate(bits)
            m.d.sync += acc.eq(total)
            return fire, v

        after = leaked(start, leak, layer.leak.fraction_bits, p)
        if layer.reset == "delayed_subtract":
            after = after - Mux(fire & ~clear, p.subtracts, 0)
        if bias is not None:
            after = after + Mux(last, 0, bias)
        with m.If(tick):
            m.d.sync += acc.eq(after)
        with m.Else():
            m.d.sync += acc.eq(acc + (weight if bias is None else weight | _gated(bias, prime)))
        return fire, v


def _sum(m, weights: list, event, n) -> Value:
    """The weights of this cycle's events, added in pairs; 0 without any."""
    terms = [_gated(weight, event[slot]) for slot, weight in enumerate(weights)]
    while len(terms) > 1:
        terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=True)]
    if len(weights) == 1:
        return terms[0]
    total = Signal(signed(len(terms[0])), name=f"total{n}")
    m.d.comb += total.eq(terms[0])
    return total


def _underflows(value: Value, bits: int) -> Value:
    """Whether a signed `value` is below the range of signed(bits)."""
    return value[-1] & ~value[bits - 1 : -1].all()


def _gated(value: Value, enable: Value) -> Value:
    """`value` where `enable`, else 0; keeps the sign."""
    return (value.as_unsigned() & enable.replicate(len(value))).as_signed()
