"""Event items as words: what goes over `events_in` and comes out of `events_out`, without any HDL.

A word holds the payload of an event stream: the address in the lowest bits, then `tick`, then `last`.
"""

import math
from dataclasses import dataclass

import numpy as np

from .errors import InputError

__all__ = ["AddressMap", "address_bits", "decode_events", "encode_events"]


def address_bits(addresses: int) -> int:
    """Bits of the address field for addresses below `addresses`."""
    return max(1, (addresses - 1).bit_length())


@dataclass(frozen=True)
class AddressMap:
    """Event addresses of a population: neuron n of (N,) has address n; a map (C, H, W) has fields, as sensors have.

    ``address = y << (x_bits + c_bits) | x << c_bits | c`` for neuron ``(c H + y) W + x``, the order in which NIR and
    PyTorch flatten; a field of size 1 has no bits.
    """

    shape: tuple[int, ...]

    @property
    def neurons(self) -> int:
        """Size of the population."""
        return math.prod(self.shape)

    @property
    def flat(self) -> bool:
        """Whether addresses are neuron numbers."""
        return len(self.shape) == 1

    @property
    def fields(self) -> tuple[int, int, int]:
        """Bits of c, x and y, lowest first, of a map."""
        channels, height, width = self.shape
        return (channels - 1).bit_length(), (width - 1).bit_length(), (height - 1).bit_length()

    @property
    def addresses(self) -> int:
        """Addresses lie below this; with fields not each of them is a neuron's."""
        return self.shape[0] if self.flat else 1 << sum(self.fields)

    @property
    def bits(self) -> int:
        """Bits of an address on a stream."""
        return address_bits(self.addresses)

    def of(self, neurons: np.ndarray) -> np.ndarray:
        """Addresses of neuron numbers."""
        if self.flat:
            return neurons
        _, height, width = self.shape
        c_bits, x_bits, _ = self.fields
        x, y, c = neurons % width, neurons // width % height, neurons // (width * height)
        return y << (x_bits + c_bits) | x << c_bits | c

    def neuron(self, addresses: np.ndarray) -> np.ndarray:
        """Neuron numbers of addresses; -1 where there is no such neuron."""
        if self.flat:
            return np.where(addresses < self.neurons, addresses, -1)
        channels, height, width = self.shape
        c_bits, x_bits, _ = self.fields
        c = addresses & ((1 << c_bits) - 1)
        x = addresses >> c_bits & ((1 << x_bits) - 1)
        y = addresses >> (c_bits + x_bits)
        inside = (c < channels) & (x < width) & (y < height)
        return np.where(inside, (c * height + y) * width + x, -1)


def encode_events(spikes: np.ndarray, addressing: AddressMap | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The words of a batch of inputs, and how many belong to each input.

    Parameters
    ----------
    spikes : uint8 [B, T, neurons]
        A count of c becomes c words.
    addressing : AddressMap, optional
        Addresses of the population; by default neuron numbers.

    Returns
    -------
    words : uint32 [sum of counts], ascending neurons in a step, then its tick
    counts : int64 [B]
    """
    batch, steps, neurons = spikes.shape
    addressing = addressing or AddressMap((neurons,))
    width = addressing.bits
    flat = spikes.reshape(batch * steps, neurons)
    step, address = np.nonzero(flat)
    if spikes.dtype != bool and spikes.size and spikes.max() > 1:
        repeats = flat[step, address]
        step, address = np.repeat(step, repeats), np.repeat(address, repeats)
    total = len(step) + batch * steps
    words = np.empty(total, np.uint32)
    words[np.arange(len(step)) + step] = addressing.of(address)  # each earlier step has put one tick before
    in_step = np.bincount(step, minlength=batch * steps)
    ticks = np.cumsum(in_step) + np.arange(batch * steps)
    words[ticks] = 1 << width
    words[ticks[steps - 1 :: steps]] = 3 << width
    return words, in_step.reshape(batch, steps).sum(axis=1) + steps


def decode_events(words: np.ndarray, *, batch: int, steps: int, addressing: AddressMap) -> np.ndarray:
    """Spikes uint8 [batch, steps, neurons] of a sequence of words; the inverse of `encode_events`.

    Raises
    ------
    InputError
        If the words are not `batch` inputs of `steps` steps, or an address or a count is out of range.
    """
    width = addressing.bits
    words = np.asarray(words, dtype=np.int64)
    tick, last, address = words >> width & 1, words >> (width + 1) & 1, words & ((1 << width) - 1)
    expected = np.zeros(batch * steps, np.int64)
    expected[steps - 1 :: steps] = 1
    if not np.array_equal(last[tick == 1], expected) or last[tick == 0].any() or not tick[-1:].all():
        raise InputError(
            f"{int(tick.sum())} ticks, {int(last.sum())} of them last; accepted are {batch} inputs of {steps} steps"
        )
    spike = tick == 0
    neuron = addressing.neuron(address[spike])
    if np.any(neuron < 0):
        outside = int(address[spike][neuron < 0].max())
        raise InputError(f"address {outside}: accepted are those of {list(addressing.shape)} neurons")
    step = np.cumsum(tick)
    cells = batch * steps * addressing.neurons
    counts = np.bincount(step[spike] * addressing.neurons + neuron, minlength=cells)
    if counts.max(initial=0) > 255:
        raise InputError(f"{int(counts.max())} spikes of one address in one step: accepted is up to 255")
    return counts.astype(np.uint8).reshape(batch, steps, addressing.neurons)
