"""Event items as words: what goes over `events_in` and comes out of `events_out`, without any HDL.

A word holds the payload of an event stream: the address in the lowest bits, then `tick`, then `last`.
"""

import numpy as np

from .errors import InputError

__all__ = ["address_bits", "decode_events", "encode_events"]


def address_bits(addresses: int) -> int:
    """Bits of the address field for addresses below `addresses`."""
    return max(1, (addresses - 1).bit_length())


def encode_events(spikes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The words of a batch of inputs, and how many belong to each input.

    Parameters
    ----------
    spikes : uint8 [B, T, addresses]
        A count of c becomes c words.

    Returns
    -------
    words : uint32 [sum of counts], ascending addresses in a step, then its tick
    counts : int64 [B]
    """
    batch, steps, addresses = spikes.shape
    width = address_bits(addresses)
    flat = spikes.reshape(batch * steps, addresses)
    step, address = np.nonzero(flat)
    if spikes.dtype != bool and spikes.size and spikes.max() > 1:
        repeats = flat[step, address]
        step, address = np.repeat(step, repeats), np.repeat(address, repeats)
    total = len(step) + batch * steps
    words = np.empty(total, np.uint32)
    words[np.arange(len(step)) + step] = address  # each earlier step has put one tick before
    in_step = np.bincount(step, minlength=batch * steps)
    ticks = np.cumsum(in_step) + np.arange(batch * steps)
    words[ticks] = 1 << width
    words[ticks[steps - 1 :: steps]] = 3 << width
    return words, in_step.reshape(batch, steps).sum(axis=1) + steps


def decode_events(words: np.ndarray, *, batch: int, steps: int, addresses: int) -> np.ndarray:
    """Spikes uint8 [batch, steps, addresses] of a sequence of words; the inverse of `encode_events`.

    Raises
    ------
    InputError
        If the words are not `batch` inputs of `steps` steps, or an address or a count is out of range.
    """
    width = address_bits(addresses)
    words = np.asarray(words, dtype=np.int64)
    tick, last, address = words >> width & 1, words >> (width + 1) & 1, words & ((1 << width) - 1)
    expected = np.zeros(batch * steps, np.int64)
    expected[steps - 1 :: steps] = 1
    if not np.array_equal(last[tick == 1], expected) or last[tick == 0].any() or not tick[-1:].all():
        raise InputError(
            f"{int(tick.sum())} ticks, {int(last.sum())} of them last; accepted are {batch} inputs of {steps} steps"
        )
    spike = tick == 0
    if np.any(address[spike] >= addresses):
        raise InputError(f"address {int(address[spike].max())}: accepted is 0 to {addresses - 1}")
    step = np.cumsum(tick)
    cells = batch * steps * addresses
    counts = np.bincount(step[spike] * addresses + address[spike], minlength=cells)
    if counts.max(initial=0) > 255:
        raise InputError(f"{int(counts.max())} spikes of one address in one step: accepted is up to 255")
    return counts.astype(np.uint8).reshape(batch, steps, addresses)
