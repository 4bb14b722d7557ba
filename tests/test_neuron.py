"""Neuron arithmetic, for every operand of small widths, against plain integers."""

import itertools
import random

import pytest
from amaranth.hdl import Cat, Const, Module, Signal, Value, signed
from amaranth.sim import Simulator

import oracle
from networks import layer_of, leak_of, random_spec
from spikeloom.blocks.neuron import NeuronParameters, add_small, fires, leaked, saturate
from spikeloom.mapping.plan import LayerPlan


class Checker:
    """Many expressions of a few inputs, compared with their models over all values of the inputs in one simulation."""

    def __init__(self):
        self.m, self.outputs, self.models = Module(), [], []

    def add(self, value: Value, model) -> None:
        """`model(*inputs)` is the integer that `value` shall show, or None where anything may stand."""
        output = Signal(value.shape())
        self.m.d.comb += output.eq(value)
        self.outputs.append(output)
        self.models.append(model)

    def run(self, *inputs: tuple[Signal, range]) -> int:
        """Try all combinations; returns how many values were compared."""
        compared = 0

        async def bench(ctx):
            nonlocal compared
            for values in itertools.product(*(numbers for _, numbers in inputs)):
                for (signal, _), value in zip(inputs, values, strict=True):
                    ctx.set(signal, value)
                packed = ctx.get(Cat(*self.outputs))
                for output, model in zip(self.outputs, self.models, strict=True):
                    shown, packed = packed & ((1 << len(output)) - 1), packed >> len(output)
                    if output.shape().signed and shown >> (len(output) - 1):
                        shown -= 1 << len(output)
                    expected = model(*values)
                    if expected is not None:
                        compared += 1
                        assert shown == expected, f"{output.shape()!r} of {values}"

        sim = Simulator(self.m)
        sim.add_testbench(bench)
        sim.run()
        return compared


def limits(bits: int) -> range:
    """All values of signed(bits)."""
    return range(-(1 << bits - 1), 1 << bits - 1)


def wrapped(value: int, bits: int) -> int:
    """The lowest `bits` bits."""
    return value & (1 << bits) - 1


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_saturate(width):
    checker, value = Checker(), Signal(signed(width))
    for bits in range(2, 9):
        low, high = limits(bits)[0], limits(bits)[-1]
        result = saturate(value, bits)
        assert len(result) <= bits
        assert result.shape().signed
        checker.add(result, lambda v, low=low, high=high: min(max(v, low), high))
    assert checker.run((value, limits(width))) == 7 << width


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_fires(bits):
    """Also in front of the saturation: an accumulator wider than the potential."""
    checker, value, threshold = Checker(), Signal(signed(bits + 2)), Signal(bits - 1, init=1)
    for theta in range(1, 1 << bits - 1):
        checker.add(fires(value, theta), lambda v, _, theta=theta: int(v >= theta))
        stored = value[:bits].as_signed()
        checker.add(fires(stored, theta), lambda v, _, theta=theta: int(v >= theta) if v in limits(bits) else None)
    checker.add(fires(value, threshold), lambda v, theta: int(v >= theta))
    checker.run((value, limits(bits + 2)), (threshold, range(1, 1 << bits - 1)))


LEAKS = [
    ("none",),
    *(("linear", amount) for amount in (1, 2, 7, 15, 16)),
    *(("shift", k) for k in (1, 2, 4, 5, 30)),
    *(("shift", a, b) for a, b in ((1, 1), (1, 2), (2, 1), (2, 3), (4, 4), (5, 9), (1, 30))),
    *(("multiply", m, f) for f in (1, 3, 6) for m in (0, 1, (1 << f) - 1, 1 << f)),
]
BITS = 5


def parameters_of(leak: tuple, *, loaded: bool) -> tuple[NeuronParameters, LayerPlan]:
    spec = random_spec(random.Random(0), fan_in=2, neurons=2, potential_bits=BITS, leak=leak, reset="subtract")
    plan = LayerPlan(
        layer=layer_of(spec, "fc1"),
        lanes=2,
        weights="fixed",
        parameters="loaded" if loaded else "fixed",
        direct=False,
        clears=True,
    )
    return NeuronParameters.of(plan.layer, plan.registers), plan


def test_fixed_leaks():
    checker, v = Checker(), Signal(signed(BITS))
    for leak in LEAKS:
        parameters, plan = parameters_of(leak, loaded=False)
        assert parameters.registers == ()
        result = leaked(v, plan.layer.leak.kind, plan.layer.leak.fraction_bits, parameters)
        checker.add(result, lambda v, leak=leak: oracle.leaked(v, leak))
    assert checker.run((v, limits(BITS))) == len(LEAKS) << BITS


@pytest.mark.parametrize("leak", [("linear", 3), ("shift", 2), ("shift", 1, 3), ("multiply", 5, 4)], ids=str)
def test_loaded_leaks(leak):
    """Every value that a register can hold and a leak can have."""
    checker, v = Checker(), Signal(signed(BITS))
    parameters, plan = parameters_of(leak, loaded=True)
    registers = dict(zip(plan.registers, parameters.registers, strict=True))
    assert parameters.threshold is registers["threshold"]
    assert parameters.subtracts is registers["subtracts"]
    assert [register.init for register in parameters.registers] == [value for _, value in plan.registers.values()]
    own = [name for name in registers if name.startswith("leak")]
    numbers = [range(1, 8) if "shift" in name else range(1, 16) for name in own]
    if leak[0] == "multiply":
        numbers = [range(0, (1 << leak[2]) + 1)]

    def model(value, *given):
        return oracle.leaked(value, (leak[0], *given, *(leak[2:] if leak[0] == "multiply" else ())))

    checker.add(leaked(v, plan.layer.leak.kind, plan.layer.leak.fraction_bits, parameters), model)
    values = [(registers[name], range_) for name, range_ in zip(own, numbers, strict=True)]
    assert checker.run((v, limits(BITS)), *values) > 200


def test_a_linear_leak_beyond_the_potentials_is_not_wider():
    for amount in (16, 17, 1000, 1 << 40):
        parameters, _ = parameters_of(("linear", amount), loaded=False)
        assert parameters.leak_amount == 16
        assert [oracle.leaked(v, ("linear", 16)) for v in limits(BITS)] == [0] * (1 << BITS)
    assert leak_of(("linear", 1000)).amount == 1000


@pytest.mark.parametrize("narrow", range(1, 7))
def test_add_small(narrow):
    """Sum, and sum with a carry, of all operands, whatever the widths; too large sums wrap."""
    checker = Checker()
    wide, small, carry = Signal(signed(5)), Signal(signed(narrow)), Signal()
    for bits in range(2, 6):
        part = wide[:bits].as_signed()
        total = add_small(part, small, carry, bits=bits)
        assert len(total) == bits
        checker.add(total, lambda w, s, c, bits=bits: wrapped(w + s + c, bits))
        checker.add(add_small(part, small, 0, bits=bits), lambda w, s, c, bits=bits: wrapped(w + s, bits))
        if bits == 2:
            constant = Const(limits(narrow)[0], signed(narrow))
            checker.add(add_small(part, constant, carry, bits=2), lambda w, s, c: wrapped(w + limits(narrow)[0] + c, 2))
    checker.run((wide, limits(5)), (small, limits(narrow)), (carry, range(2)))
