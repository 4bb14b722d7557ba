"""Random numbers that depend on what they are for and on nothing else.

Each stream is a Philox 4x64 generator (Salmon et al., SC 2011) with

    key     = (chip seed, core id * 2**32 + purpose)
    counter = (draws, 0, index, 0)

so a chip is the same in any order, in any batch and on any number of threads. `index` numbers the events of one chip:
reads, inputs, writes.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import numpy as np

from spikeloom.errors import InputError

__all__ = ["Purpose", "Streams", "chip_seeds", "normals", "stream", "uniforms"]


class Purpose(IntEnum):
    """What a stream is for: never renumber, chips would change."""

    PROGRAMMING = 1
    STUCK = 2
    DRIFT = 3
    READ = 4
    FLICKER = 5
    ENDURANCE = 6
    OFFSET = 7
    THRESHOLD = 8
    CONVERTER = 9
    CONVERSION = 10
    INPUT_DELAY = 11
    WRITE = 12
    CAPACITOR = 13
    LADDER = 14
    FEEDBACK = 15
    AMPLIFIER = 16
    DROOP = 17
    ENGINE = 18
    SWITCH = 19
    DEVICE = 20


def stream(seed: int, core: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """The generator of one chip, core, purpose and event."""
    key = np.array([seed, (int(core) << 32) | int(purpose)], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, index, 0], np.uint64)))


class Streams:
    """`stream` for many chips or events in turn, without making a generator for each: several times faster.

    A generator is valid until the next call.
    """

    def __init__(self, core: int, purpose: Purpose) -> None:
        self._key = (int(core) << 32) | int(purpose)
        self._bits = np.random.Philox(key=[0, self._key])
        self._state: Any = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def at(self, seed: int, index: int = 0) -> np.random.Generator:
        """The generator of `stream(seed, core, purpose, index)`."""
        state = self._state
        state["state"] = {
            "counter": np.array([0, 0, index, 0], np.uint64),
            "key": np.array([seed, self._key], np.uint64),
        }
        self._bits.state = state
        return self._generator


def normals(seeds: Iterable[int], shape: tuple[int, ...], *, core: int, purpose: Purpose, index: int = 0) -> np.ndarray:
    """Standard normal numbers float64 [chips, *shape], each chip from its own stream."""
    streams = Streams(core, purpose)
    return np.stack([streams.at(seed, index).standard_normal(shape) for seed in seeds])


def uniforms(
    seeds: Iterable[int], shape: tuple[int, ...], *, core: int, purpose: Purpose, index: int = 0
) -> np.ndarray:
    """Uniform numbers in [0, 1), float64 [chips, *shape], each chip from its own stream."""
    streams = Streams(core, purpose)
    return np.stack([streams.at(seed, index).random(shape) for seed in seeds])


def chip_seeds(seeds: Any) -> tuple[int, ...]:
    """One seed or several as a tuple of whole numbers 0 to 2**64 - 1; InputError names what is not."""
    given: list[Any] = list(seeds) if isinstance(seeds, Iterable) else [seeds]
    for seed in given:
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= int(seed) < 1 << 64:
            raise InputError(f"seeds: {seed!r} was given; accepted: whole numbers from 0 to 2**64 - 1")
    if not given:
        raise InputError("seeds: none was given; accepted: at least one chip")
    return tuple(int(seed) for seed in given)
