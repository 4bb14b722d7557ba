"""Neuron arithmetic as expressions, the gateware's reading of the equations in `network.integer`.

Every function takes and returns Amaranth values; parameters are Python integers where they are fixed at elaboration
and signals where they are loaded at run time.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from amaranth.hdl import *

from ..network.integer import IntegerLayer, Leak

__all__ = [
    "NeuronParameters",
    "add_small",
    "fires",
    "layers_step_end",
    "leaked",
    "next_start",
    "per_layer",
    "saturate",
    "step_end",
]

Parameter = int | Value


@dataclass(frozen=True, kw_only=True)
class NeuronParameters:
    """Threshold, reset and leak of a layer; each a constant or a register.

    `registers` holds the signals to be written by the load port, in the order they were given to `of`.
    """

    threshold: Parameter | None
    subtracts: Parameter
    leak_amount: Parameter
    leak_shifts: tuple[Parameter, ...]
    leak_factor: Parameter
    registers: tuple[Signal, ...]
    current: "NeuronParameters | None" = None
    """Leak of a synaptic current."""

    @classmethod
    def of(cls, layer: IntegerLayer, registers: dict[str, tuple[int, int]]) -> "NeuronParameters":
        """Constants of `layer`, with a register in place of each name in `registers` {name: (bits, initial value)}.

        What differs from neuron to neuron is left at 0: it comes from a memory.
        """
        signals = {name: Signal(bits, init=value, name=name) for name, (bits, value) in registers.items()}
        per_neuron = [isinstance(value, np.ndarray) for value in (layer.threshold, layer.subtracts)]
        current = None
        if layer.current_bits is not None:
            current = cls.of_leak(layer.current_leak, layer.current_bits, signals, "current_")
        return dataclasses.replace(
            cls.of_leak(layer.leak, layer.potential_bits, signals),
            threshold=signals.get("threshold", 0 if per_neuron[0] else layer.threshold),
            subtracts=signals.get("subtracts", 0 if per_neuron[1] else layer.subtracts),
            registers=tuple(signals.values()),
            current=current,
        )

    @classmethod
    def of_leak(cls, leak: Leak, bits: int, signals: dict[str, Signal] | None = None, prefix: str = ""):
        """The leak of a state of `bits` bits, with the signals named `prefix` + parameter where there are any."""
        signals = signals or {}
        # More than the largest state takes every state to 0 just as that does, in a wider adder.
        amount = min(leak.amount, 1 << (bits - 1)) if isinstance(leak.amount, int) else 0
        factor = leak.factor if isinstance(leak.factor, int) else 0
        return cls(
            threshold=None,
            subtracts=0,
            leak_amount=signals.get(f"{prefix}leak_amount", amount),
            leak_shifts=tuple(signals.get(f"{prefix}leak_shift{n}", k) for n, k in enumerate(leak.shifts)),
            leak_factor=signals.get(f"{prefix}leak_factor", factor),
            registers=(),
        )


def saturate(value: Value, bits: int) -> Value:
    """clamp(value, v_min, v_max) of a signed `value`, as signed(bits)."""
    if len(value) <= bits:
        return value
    sign, head = value[-1], value[bits - 1 : -1]
    # In range exactly when the bits above the result all equal the sign.
    over, under = ~sign & head.any(), sign & ~head.all()
    # Multiplexers instead of masks: replicating an expression would elaborate it once per bit.
    low = Mux(under, 0, Mux(over, (1 << (bits - 1)) - 1, value[: bits - 1]))
    return Cat(low[: bits - 1], sign).as_signed()


def fires(value: Value, threshold: Parameter) -> Value:
    """value >= threshold, for a threshold of at least 1.

    Holds for the accumulator as for the saturated potential, because v_min < threshold <= v_max.
    """
    if not isinstance(threshold, int):
        return value >= threshold
    zeros = (threshold & -threshold).bit_length() - 1
    magnitude, rest = value[zeros:-1], threshold >> zeros
    # A power of two needs no comparator: some bit at or above it is set.
    return ~value[-1] & (magnitude.any() if rest == 1 else magnitude >= rest)


def leaked(v: Value, kind: str, fraction_bits: int, p: NeuronParameters) -> Value:
    """leak(v), wide enough for every result."""
    if kind == "none":
        return v
    if kind == "shift":
        u = v
        for k in p.leak_shifts:
            u = u - (v >> k)
        return u
    if kind == "multiply":
        return (v * p.leak_factor) >> fraction_bits
    lowered, raised = v - p.leak_amount, v + p.leak_amount
    return Mux(v >= 0, Mux(lowered >= 0, lowered, 0), Mux(raised < 0, raised, 0))


def add_small(wide: Value, small: Value, carry: Value | int, *, bits: int) -> Value:
    """wide + small + carry, truncated to `bits`, as one adder.

    The carry enters as a bit below the operands, so no second adder is made. The smaller operand comes first: FPGA
    carry chains feed the first one in beside the sum, and the sign that fills it up is the same for all upper bits.
    """
    if isinstance(carry, int) and carry == 0:
        return (_fit(small, bits) + _fit(wide, bits))[:bits]
    return (Cat(carry, _fit(small, bits)) + Cat(Const(1, 1), _fit(wide, bits)))[1 : bits + 1]


def _fit(value: Value, bits: int) -> Value:
    """The lowest `bits` bits of `value`, sign- or zero-extended."""
    if len(value) >= bits:
        return value[:bits]
    fill = value[-1] if value.shape().signed else Const(0, 1)
    return Cat(value, fill.replicate(bits - len(value)))


def step_end(m: Module, layer: IntegerLayer, acc: Value, p: NeuronParameters, *, name: object) -> tuple[Value, Value]:
    """Spike flag and potential of a neuron at the end of a step, from its sum `acc`: signals fire`name`, v`name`."""
    fire = Signal(name=f"fire{name}")
    v = Signal(signed(layer.potential_bits), name=f"v{name}")
    if layer.threshold is not None:
        m.d.comb += fire.eq(fires(acc, p.threshold))
    u = saturate(acc, layer.potential_bits)
    if layer.reset == "zero":
        u = Mux(fire, 0, u)
    elif layer.reset == "subtract":
        u = Mux(fire, u - p.subtracts, u)
    m.d.comb += v.eq(u)
    return fire, v


def next_start(v: Value, fire: Value, layer: IntegerLayer, p: NeuronParameters) -> Value:
    """What the next step starts from: leak(v), and a delayed reset where the neuron spiked."""
    after = leaked(v, layer.leak.kind, layer.leak.fraction_bits, p)
    if layer.reset == "delayed_zero":
        return Mux(fire, 0, after)
    if layer.reset == "delayed_subtract":
        return after - Mux(fire, p.subtracts, 0)
    return after


def per_layer(values, layer: Value):
    """The one of `values` (integers or Values, one per layer) that belongs to `layer`; an integer where all agree.

    Multiplexers, because a table would become a memory in synthesis.
    """
    values = list(values)
    if all(isinstance(value, int) for value in values):
        if len(set(values)) == 1:
            return values[0]
        bits = max(1, max(value.bit_length() for value in values))
        values = [Const(value, bits) for value in values]
    result = values[-1]
    for n, value in enumerate(values[:-1]):
        if value is not values[-1]:
            result = Mux(layer == n, value, result)
    return result


def layers_step_end(
    m: Module,
    layers: Sequence[IntegerLayer],
    acc: Value,
    parameters: Sequence[NeuronParameters],
    layer: Value,
    *,
    name: object,
) -> tuple[Value, Value, Value]:
    """Spike flag, potential and what the next step starts from, of a neuron of the layer that `layer` names.

    Layers of one kind share the arithmetic, and differ in its parameters.
    """
    kinds: dict[tuple, list[int]] = {}
    for index, each in enumerate(layers):
        kinds.setdefault(_kind(each), []).append(index)
    ends = []
    for members in kinds.values():
        p = _of_layer([parameters[index] for index in members], members, layer)
        first = layers[members[0]]
        fire, v = step_end(m, first, acc, p, name=f"{name}_{members[0]}")
        ends.append((members, fire, v, next_start(v, fire, first, p)))
    fire, v, after = ends[-1][1:]
    for members, *others in ends[:-1]:
        mine = Cat(*[layer == index for index in members]).any()
        fire, v, after = (Mux(mine, a, b) for a, b in zip(others, (fire, v, after), strict=True))
    return fire, v, after


def _kind(layer: IntegerLayer) -> tuple:
    """What decides the arithmetic of a layer, beside its parameters."""
    leak = layer.leak
    return (
        layer.potential_bits, layer.reset, layer.threshold is None, leak.kind, len(leak.shifts), leak.fraction_bits,
    )  # fmt: skip


def _of_layer(parameters: list[NeuronParameters], members: list[int], layer: Value) -> NeuronParameters:
    """The parameters of the layer that `layer` names, one of `members`."""
    if len(parameters) == 1:
        return parameters[0]

    def chosen(values: list):
        if values[0] is None:
            return None
        every = [values[-1]] * (max(members) + 1)
        for index, value in zip(members, values, strict=True):
            every[index] = value
        return per_layer(every, layer)

    first = parameters[0]
    return dataclasses.replace(
        first,
        threshold=chosen([p.threshold for p in parameters]),
        subtracts=chosen([p.subtracts for p in parameters]),
        leak_amount=chosen([p.leak_amount for p in parameters]),
        leak_shifts=tuple(chosen([p.leak_shifts[n] for p in parameters]) for n in range(len(first.leak_shifts))),
        leak_factor=chosen([p.leak_factor for p in parameters]),
    )
