"""The digital twin of stochastic neurons: tables of probabilities against random words, on a sweep engine.

The sums are those of a sweep engine, and so is its timing; a row of neurons has no state::

    sweep    0 issue: read sum and bias    1 add    2 z8, look the probability up    3 compare, hand on
    words    0 rounds 0 to 2               1 rounds 3 to 5    2 rounds 6 and 7       3 compare

The random word of a neuron is a block cipher of its event address and of the number of the step
(`network.stochastic`), so nothing is stored for it and the steps need no more than a counter.
"""

from amaranth.hdl import *

from ...items import AddressMap
from ...network.stochastic import P_BITS, ROUNDS, Z_BITS, round_keys
from ..digital.sweep import SweepEngine, held

__all__ = ["StochasticEngine", "cipher_round"]

STEP_BITS = 32
LAST_ROUND = (3, 6, ROUNDS)
"""Rounds of the words end with these in stages 0, 1 and 2."""


def cipher_round(x: Value, y: Value, key: int) -> tuple[Value, Value]:
    """x and y after one round of Speck32, as values of 16 bits."""
    mixed = (x.rotate_right(7) + y)[:P_BITS] ^ key
    return mixed, y.rotate_left(2) ^ mixed


class StochasticEngine(SweepEngine):
    """A layer of stochastic neurons; see the module."""

    def _memory_shapes(self) -> dict[str, tuple]:
        stochastic = self.plan.layer.stochastic
        assert stochastic is not None
        tables = {f"table{lane}": (1 << Z_BITS, P_BITS, "rom", stochastic.table) for lane in range(self.plan.lanes)}
        return super()._memory_shapes() | tables

    def _sweep_begun(self, m, *, row, place, read, end, last, clearing) -> None:
        """Rounds 0 to 2 of the words of `row`, and the number of the step."""
        plan = self.plan
        step = Signal(STEP_BITS)
        with m.If(clearing):
            m.d.sync += step.eq(0)
        with m.Elif(read & end):
            m.d.sync += step.eq(Mux(last & int(plan.clears), 0, step + 1))
        self._words, self._high = [], Signal(P_BITS, reset_less=True)
        with m.If(read):
            m.d.sync += self._high.eq(step[P_BITS:])
        for lane in range(plan.lanes):
            x, y = self._rounds(m, 0, lane, step[:P_BITS], self._address(place, lane), step[P_BITS:])
            self._words.append((held(m, read, x, f"x{lane}_1"), held(m, read, y, f"y{lane}_1")))

    def _address(self, place: Value, lane: int) -> Value:
        """Event address of the neuron in a lane of the row at `place`, of 16 bits."""
        bits = max(1, (AddressMap(self.plan.layer.shape).addresses - 1).bit_length())
        address = (place * self.plan.address_pitch + lane)[:bits]
        return Cat(address, Const(0, P_BITS))[:P_BITS]

    def _rounds(self, m, stage: int, lane: int, x: Value, y: Value, high: Value) -> tuple[Value, Value]:
        """The rounds of a stage: signals of 16 bits."""
        stochastic = self.plan.layer.stochastic
        assert stochastic is not None
        keys = round_keys(stochastic.seed, stochastic.stream)
        for number in range(LAST_ROUND[stage - 1] if stage else 0, LAST_ROUND[stage]):
            if number == ROUNDS // 2:
                x = x ^ high
            x, y = cipher_round(x, y, keys[number])
            named = [Signal(P_BITS, name=f"{name}{lane}_round{number}") for name in "xy"]
            m.d.comb += [signal.eq(value) for signal, value in zip(named, (x, y), strict=True)]
            x, y = named
        return x, y

    def _lanes(self, m, advance, memories, sums, parameters) -> list:
        plan, offset, lanes = self.plan, 0, []
        biases = memories["biases"].r_data if "biases" in memories else None
        for n, bits in enumerate(plan.lane_bits):
            total = sums[offset : offset + bits].as_signed()
            offset += bits
            if biases is not None:
                total = total + biases.word_select(n, plan.bias_bits).as_signed()
            lanes.append(_Neuron(self, m, n, advance, total, memories[f"table{n}"]))
        return lanes


class _Neuron:
    """The neuron in one lane: `fire` and `value` (z8) in stage 3; no state."""

    state: tuple = ()

    def __init__(self, engine: StochasticEngine, m: Module, n: int, advance, total: Value, table):
        stochastic = engine.plan.layer.stochastic
        assert stochastic is not None
        x, y = engine._words[n]
        for stage in (1, 2):
            x, y = engine._rounds(m, stage, n, x, y, engine._high)
            x, y = held(m, advance, x, f"x{n}_{stage + 1}"), held(m, advance, y, f"y{n}_{stage + 1}")
        acc = held(m, advance, total, f"sum{n}")
        shifted = acc >> stochastic.shift
        z8 = Signal(signed(Z_BITS), name=f"z{n}")
        m.d.comb += [
            z8.eq(Mux(shifted < -128, -128, Mux(shifted > 127, 127, shifted))),
            table.r_en.eq(advance),
            table.r_addr.eq(Cat(z8[:-1], ~z8[-1])),
        ]
        self.value = held(m, advance, z8, f"v{n}")
        self.fire = Signal(name=f"fire{n}")
        m.d.comb += self.fire.eq(table.r_data > x)
