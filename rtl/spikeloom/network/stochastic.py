"""Stochastic neurons in integers: where their probabilities and their random words come from.

A stochastic neuron has no potential. In step t::

    a  = bias + sum_i w_i s_i                       exact
    z8 = clamp(a >> shift, -128, 127)               >> floors
    s  = table[z8 + 128] > r                        r a random word, 0 to 65535

so it spikes with probability table[z8 + 128] / 2**16. Of a memristive device it is P = 1 - exp(-exp(z)), the
complementary log-log function of a z that is linear in the voltage of the write pulse.

The random word r of neuron n (its event address, `items.AddressMap`) in step t is a block cipher of the pair: eight
rounds of Speck32 (Beaulieu et al., "The SIMON and SPECK families of lightweight block ciphers", 2013) on 16-bit words,
x = t mod 2**16 and y = n, with t div 2**16 added to x (xor) after four rounds::

    x = (ror(x, 7) + y) xor k_i        y = rol(y, 2) xor x         r = x after the last round

k_0 to k_7 are Speck's round keys of the four key words (seed mod 2**16, seed div 2**16, stream, 0x736C). There is no
state but t: nothing is stored for a neuron. For a given t div 2**16 the pair (x, y) runs through all 2**32 values as n
and t mod 2**16 do, each once, so over all neurons and steps every word is equally frequent; the words of a neuron
repeat after 2**32 steps. The full cipher has 22 rounds; eight of them are no secret, but tests of uniformity and of
correlation between neurons and steps do not tell them from chance.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..errors import InputError

__all__ = ["P_BITS", "ROUNDS", "Z_BITS", "Stochastic", "cloglog", "cloglog_table", "round_keys", "words"]

Z_BITS = 8
P_BITS = 16
"""Fraction bits of a probability, and bits of a random word."""
ROUNDS = 8
MOST_ADDRESSES = 1 << 16
"""Of the neurons of a layer: they are words of the cipher."""
WORD = 0xFFFF
KEY_CONSTANT = 0x736C
Z_TOP = math.log(math.log(1 << P_BITS))
"""Where P comes within 2**-16 of 1."""
LARGEST_STEP = 1 / 12
"""Of z between entries of a table."""


def cloglog(z: np.ndarray | float) -> np.ndarray:
    """P = 1 - exp(-exp(z))."""
    return -np.expm1(-np.exp(np.minimum(z, 700.0)))


def cloglog_table(z_zero: float, z_step: float) -> tuple[int, ...]:
    """P of z = z_zero + z_step z8 for all z8 from -128, times 2**16, rounded, at most 2**16 - 1."""
    z = z_zero + z_step * np.arange(-128, 128)
    return tuple(np.minimum(np.rint(cloglog(z) * (1 << P_BITS)), WORD).astype(int).tolist())


@dataclass(frozen=True, kw_only=True)
class Stochastic:
    """What makes the neurons of a layer stochastic; see the module.

    Parameters
    ----------
    table : 256 integers
        Probability of a spike for z8 = -128 to 127, times 2**16; 0 to 65535.
    shift : int
        0 to 31.
    seed, stream : int
        Of the random words: 0 to 2**32 - 1, and 0 to 2**16 - 1. Layers of a network have streams of their own.

    Raises
    ------
    InputError
        For numbers outside of these, and a table in which nothing is random.
    """

    table: tuple[int, ...]
    shift: int
    seed: int
    stream: int

    def __post_init__(self):
        table = tuple(self.table)
        object.__setattr__(self, "table", table)
        if len(table) != 1 << Z_BITS or not all(type(p) is int and 0 <= p <= WORD for p in table):
            raise InputError(f"a table of {len(table)} probabilities: accepted are 256 integers of 0 to 65535")
        if max(table) == 0 or min(table) == WORD:
            what = "never" if max(table) == 0 else "always"
            raise InputError(
                f"a table of probabilities from {min(table)} to {max(table)} / 65536: its neurons {what} spike; "
                "accepted is one with entries between"
            )
        for name, high in (("shift", 31), ("seed", (1 << 32) - 1), ("stream", WORD)):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= high:
                raise InputError(f"stochastic {name} = {value!r}: accepted is an integer from 0 to {high}")

    def z8(self, a: np.ndarray) -> np.ndarray:
        """clamp(a >> shift) of integer sums, of their type."""
        return np.clip(a >> self.shift, -128, 127)

    def fires(self, z8: np.ndarray, words: np.ndarray) -> np.ndarray:
        """Whether neurons of z8 spike with these words, bool."""
        return np.array(self.table, np.int32)[z8.astype(np.int64) + 128] > words


def words(seed: int, stream: int, addresses: np.ndarray, first: int, steps: int) -> np.ndarray:
    """The random words of the neurons at `addresses` in `steps` steps from `first` on, uint16 [steps, neurons]."""
    neurons = len(addresses)
    t = (np.arange(first, first + steps) & 0xFFFF_FFFF)[:, None]
    x = np.broadcast_to((t & WORD).astype(np.uint16), (steps, neurons)).copy()
    y = np.broadcast_to(addresses.astype(np.uint16), (steps, neurons)).copy()
    for number, key in enumerate(round_keys(seed, stream)):
        if number == ROUNDS // 2:
            x ^= (t >> 16).astype(np.uint16)
        x = (((x >> 7) | (x << 9)) + y) ^ np.uint16(key)
        y = ((y << 2) | (y >> 14)) ^ x
    return x


def round_keys(seed: int, stream: int) -> tuple[int, ...]:
    """k_0 to k_7."""
    return speck_keys((seed & WORD, seed >> 16, stream, KEY_CONSTANT), ROUNDS)


def speck_keys(key: tuple[int, int, int, int], rounds: int) -> tuple[int, ...]:
    """Round keys of Speck32/64 from its four key words, the one of the first round first."""
    first, *rest = key
    keys = [first]
    for number in range(rounds - 1):
        word = rest[number]
        rest.append(((((word >> 7) | (word << 9)) & WORD) + keys[-1] & WORD) ^ number)
        keys.append(((keys[-1] << 2 | keys[-1] >> 14) & WORD) ^ rest[-1])
    return tuple(keys)
