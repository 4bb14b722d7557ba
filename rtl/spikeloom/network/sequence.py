"""A task that needs memory: two symbols, a pause of any length between them, and the answer is their sum modulo three.

The second symbol alone says nothing about the answer, and neither does any sum of what the two say apart, so the first
must be kept, across a pause that is several times the time constant of a neuron, until the second one comes.

A symbol is a burst of BURST steps on the INPUTS / SYMBOLS inputs of its own, each of which fires with probability
BURST_RATE in each step; every input fires with probability NOISE_RATE in every other step. The first symbol begins in
step 0 to 5, the second in step 24 to 47 of the STEPS steps.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .coding import events_to_steps

__all__ = ["INPUTS", "STEPS", "STEP_US", "SYMBOLS", "Sequence", "SequenceTask", "long_input"]

STEPS = 60
STEP_US = 1000
SYMBOLS = 3
INPUTS = 12
BURST = 4
BURST_RATE = 0.6
NOISE_RATE = 0.02
FIRST, SECOND = (0, 6), (24, 48)  # steps in which a symbol begins: from, below
TRAIN, TEST = 4000, 1000
TEST_KEY = 1 << 32  # added to the number of a test sequence in the key of its random stream


@dataclass(frozen=True, eq=False)
class Sequence:
    """The events of one sequence: `times_us` and `addresses`, int64 [events], in order of time; `label` the class."""

    times_us: np.ndarray
    addresses: np.ndarray
    label: int


@dataclass(frozen=True, eq=False)
class SequenceTask:
    """`train` sequences to train and `test` to test, made when they are asked for; the same ones on any machine.

    Sequence i of the training half draws from Philox-4x64-10 with key (seed, i), of the test half with key
    (seed, 2**32 + i): numbers 0 and 1 modulo SYMBOLS are the symbols, 2 and 3 modulo the number of steps say where
    they begin, number 4 + t INPUTS + a decides step t of input a, which fires where floor(number / 2**11) is below its
    probability times 2**53.
    """

    seed: int = 0
    train: int = TRAIN
    test: int = TEST

    shape = (INPUTS,)
    classes = SYMBOLS

    @cached_property
    def _halves(self) -> dict[bool, list[Sequence]]:
        return {
            True: [self._draw(number) for number in range(self.train)],
            False: [self._draw(TEST_KEY + number) for number in range(self.test)],
        }

    def half(self, *, train: bool, count: int | None = None) -> tuple[list[Sequence], np.ndarray]:
        """The first `count` sequences of one half, and their classes int64 [sequences]."""
        sequences = self._halves[train][:count]
        return sequences, np.array([sequence.label for sequence in sequences], np.int64)

    def _draw(self, key: int) -> Sequence:
        # random_raw: numpy promises that the raw stream never changes
        raw = np.random.Philox(key=np.array([self.seed, key], np.uint64)).random_raw(4 + STEPS * INPUTS)
        symbols = [int(number) % SYMBOLS for number in raw[:2]]
        rates = np.full((STEPS, INPUTS), NOISE_RATE)
        own = INPUTS // SYMBOLS
        for symbol, number, (low, high) in zip(symbols, raw[2:4], (FIRST, SECOND), strict=True):
            begin = low + int(number) % (high - low)
            rates[begin : begin + BURST, symbol * own : (symbol + 1) * own] = BURST_RATE
        draw = (raw[4:] >> np.uint64(11)).astype(np.float64).reshape(STEPS, INPUTS)
        steps, addresses = np.nonzero(draw < rates * 2.0**53)
        return Sequence(steps * STEP_US, addresses, sum(symbols) % SYMBOLS)


def long_input(task: SequenceTask, count: int) -> np.ndarray:
    """The first `count` test sequences one after the other as a single input: uint8 [1, count * STEPS, INPUTS]."""
    sequences, _ = task.half(train=False, count=count)
    parts = [events_to_steps(one.times_us, one.addresses, STEP_US, STEPS, INPUTS) for one in sequences]
    return np.concatenate(parts)[None]
