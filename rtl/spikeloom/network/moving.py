"""Synthetic recordings in the shape of CIFAR10-DVS, 2 x 128 x 128 and ten classes, of a stated activity.

CIFAR10-DVS was made by moving pictures on a loop before a camera of 128 x 128 pixels. Here it is the digits that come
with scikit-learn, 8 x 8, enlarged 13 times, that move on a circle; a pixel that becomes brighter or darker sends events
of one or the other polarity, the more likely the more it changes. One in ten events is noise.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .recordings import Recording

if TYPE_CHECKING:
    from .datasets import Dataset

__all__ = ["RATE", "SIZE", "STEPS", "STEP_US", "MovingDigits"]

SIZE = 128
STEPS = 10
STEP_US = 10_000
RATE = 0.05
PICTURE = 8
ENLARGED = 13.0
RADIUS = 6.0  # of the circle, in pixels; a recording shows one turn
NOISE = 0.1
TRAIN, TEST = 800, 200
TEST_KEY = 1 << 32  # added to the number of a test recording in the key of its random stream


@dataclass(frozen=True, eq=False)
class MovingDigits:
    """The first `train` digits of the training half and the first `test` of the test half, moving.

    Brightness at a pixel is that of the digit, bilinear between the middles of its 8 x 8 pixels and 0 around them, with
    the middle of the digit at that of the camera and (cos a, sin a) RADIUS beside it. Recording i of the training half
    draws from Philox-4x64-10 with key (seed, i), of the test half with key (seed, 2**32 + i); u is
    floor(number / 2**11) / 2**53. In t steps, a is 2 pi (u + s t / STEPS), with u from number 0 and s -1 where that of
    number 1 is at least a half, else 1. The numbers behind them decide, step by step and address by address, and an
    event comes where u is below

        0.1 rate + m abs(d), of the polarity of d;   0.1 rate, of the other one

    with d the change of brightness in this step and m such that 0.9 rate is the mean of m abs(d) over all addresses and
    steps of the recording.

    Parameters
    ----------
    rate : share of the 2 x 128 x 128 addresses that send an event in a step; less where m abs(d) passes 1.
    """

    seed: int = 0
    train: int = TRAIN
    test: int = TEST
    rate: float = RATE

    shape = (2, SIZE, SIZE)
    classes = 10

    @cached_property
    def _digits(self) -> "Dataset":
        from .datasets import load_digits_split  # which has this set among others

        return load_digits_split()

    @cached_property
    def _made(self) -> dict[int, Recording]:
        return {}

    def half(self, *, train: bool, count: int | None = None) -> tuple[list[Recording], np.ndarray]:
        """The first `count` recordings of one half, and their classes int64 [recordings]; made when asked for."""
        digits = self._digits
        values, labels = (digits.train_x, digits.train_y) if train else (digits.test_x, digits.test_y)
        first, most = (0, self.train) if train else (TEST_KEY, self.test)
        labels = labels[:most][:count]
        for number, label in enumerate(labels):
            if first + number not in self._made:
                self._made[first + number] = self._draw(first + number, values[number], int(label))
        return [self._made[first + number] for number in range(len(labels))], labels

    def _draw(self, key: int, values: np.ndarray, label: int) -> Recording:
        # random_raw: numpy promises that the raw stream never changes
        raw = np.random.Philox(key=np.array([self.seed, key], np.uint64)).random_raw(2 + STEPS * 2 * SIZE * SIZE)
        u = (raw >> np.uint64(11)).astype(np.float64) / 2.0**53
        turn = 2 * np.pi * (u[0] + np.where(u[1] < 0.5, 1, -1) * np.arange(STEPS + 1) / STEPS)
        rows, columns = _weights(RADIUS * np.sin(turn)), _weights(RADIUS * np.cos(turn))
        change = np.diff(rows @ values.reshape(PICTURE, PICTURE).astype(np.float64) @ columns.swapaxes(1, 2), axis=0)
        likely = np.stack([np.maximum(-change, 0), np.maximum(change, 0)], axis=1)  # [steps, 2, rows, columns]
        likely *= (1 - NOISE) * self.rate / likely.mean()
        step, polarity, y, x = np.nonzero(u[2:].reshape(likely.shape) < NOISE * self.rate + likely)
        times, y, x, polarity = (array.astype(np.int32) for array in (step * STEP_US, y, x, polarity))
        return Recording(times, x, y, polarity, label, SIZE)


def _weights(moved: np.ndarray) -> np.ndarray:
    """Share of each of the digit's 8 pixels in each of the camera's 128, with the digit moved: [steps, 128, 8]."""
    at = (np.arange(SIZE) - (SIZE - 1) / 2 - moved[:, None]) / ENLARGED + (PICTURE - 1) / 2
    return np.maximum(0.0, 1 - np.abs(at[..., None] - np.arange(PICTURE)))
