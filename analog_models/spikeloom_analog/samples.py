"""Noise of integer models: samples of 16 bits, how they are scaled, and where the memory of a chip keeps which.

A sample z is a standard normal number times 2**12, rounded once; noise of a deviation sigma is (z sigma + 2**11) >> 12.
A model whose requests have a number within their step and layer reads its samples from a memory of 4096 rows, at

    2531 step + 1327 layer + number        mod 4096
"""

import numpy as np

__all__ = ["NOISE_BITS", "NOISE_ROWS", "noise_row", "scaled", "whole_samples"]

NOISE_BITS = 12
"""Fraction bits of a sample."""
SAMPLE_LIMIT = (1 << 15) - 1
"""Largest sample: 8 standard deviations."""
NOISE_ROWS = 4096
STRIDE, LAYER_STRIDE = 2531, 1327
"""How far the rows of one step, or layer, lie from those of the next; odd: no two of 4096 steps begin alike."""


def whole_samples(z: np.ndarray) -> np.ndarray:
    """Samples int64 of standard normal numbers."""
    return np.clip(np.rint(z * (1 << NOISE_BITS)), -SAMPLE_LIMIT, SAMPLE_LIMIT).astype(np.int64)


def scaled(z: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Noise of deviations `sigma`, of samples."""
    return (z * sigma + (1 << (NOISE_BITS - 1))) >> NOISE_BITS


def noise_row(step: np.ndarray | int, layer: int, number: np.ndarray | int) -> np.ndarray:
    """Row of the memory for request `number` of a step of a layer."""
    return (STRIDE * np.asarray(step) + LAYER_STRIDE * layer + np.asarray(number)) % NOISE_ROWS
