"""Numbers into spikes and spikes into a number, as the published controller does it.

A value x in [0, 1] becomes n = rint(25 x) spikes (ties to even) in T = 50 steps, at the steps k * interval,
k = 1 .. n, with interval = max(1, rint(49 / (n + 1))) (ties to even); what falls on step 50 or later is lost. The
answer is the number of output spikes / 25: 1 stands for 120 degrees.
"""

import numpy as np

from ...errors import InputError

__all__ = ["INPUTS", "MAX_SPIKES", "STEPS", "decode", "encode", "spike_counts"]

INPUTS = 4
STEPS = 50
MAX_SPIKES = 25


def _patterns() -> np.ndarray:
    """Spikes of each count, uint8 [26, STEPS]."""
    patterns = np.zeros((MAX_SPIKES + 1, STEPS), np.uint8)
    for n in range(1, MAX_SPIKES + 1):
        interval = max(1, round((STEPS - 1) / (n + 1)))  # Python rounds ties to even
        for k in range(1, n + 1):
            if k * interval < STEPS:
                patterns[n, k * interval] = 1
    return patterns


PATTERNS = _patterns()


def spike_counts(values: np.ndarray) -> np.ndarray:
    """n of each value: int64 [B, INPUTS], 0 to 25.

    Parameters
    ----------
    values : float array [B, INPUTS], each in [0, 1]

    Raises
    ------
    InputError
        For another shape, or a value outside [0, 1] or NaN.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or values.shape[1] != INPUTS:
        raise InputError(f"values of shape {values.shape}: accepted is [inputs of the batch, {INPUTS}]")
    if values.size and not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"values from {values.min()} to {values.max()}: accepted is 0 to 1")
    return np.rint(MAX_SPIKES * values).astype(np.int64)


def encode(values: np.ndarray) -> np.ndarray:
    """Spikes of a batch of values [B, INPUTS] in [0, 1]: uint8 [B, STEPS, INPUTS]. Raises InputError for others."""
    return PATTERNS[spike_counts(values)].transpose(0, 2, 1)


def decode(counts: np.ndarray) -> np.ndarray:
    """What a number of output spikes stands for: float64, 1 is 120 degrees."""
    return np.asarray(counts) / MAX_SPIKES
