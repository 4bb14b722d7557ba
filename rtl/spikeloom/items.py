"""Event items as words: what goes over `events_in` and comes out of `events_out`, without any HDL.

A word holds the payload of an event stream: the address in the lowest bits, then `tick`, then `last`. Where a core
takes several events per cycle its input words have as many slots: their addresses, a `valid` bit each, `tick`, `last`.
"""

import math
from dataclasses import dataclass

import numpy as np

from .errors import InputError

__all__ = ["AddressMap", "EventSlots", "address_bits", "decode_events", "encode_events"]


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


@dataclass(frozen=True)
class EventSlots:
    """Places for the events of one cycle.

    Rows of weights lie in ``banks = events // ports`` memories of `ports` read ports: that of address a in memory
    ``a mod banks``, at row ``a // banks``. Slot s reads memory ``s mod banks`` and holds the row.
    """

    addresses: int
    events: int = 1
    ports: int = 1

    @property
    def banks(self) -> int:
        """Memories, each with every `banks`-th address."""
        return self.events // self.ports

    def depth(self, bank: int) -> int:
        """Addresses in a bank."""
        return len(range(bank, self.addresses, self.banks))

    @property
    def row_bits(self) -> int:
        """Bits of a slot's row; of the address, with a single event."""
        return address_bits(self.depth(0))

    @property
    def bits(self) -> int:
        """Bits of a word."""
        return self.events * (self.row_bits + (self.events > 1)) + 2


def encode_events(
    spikes: np.ndarray,
    addressing: AddressMap | None = None,
    *,
    slots: EventSlots | None = None,
    leaving: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The words of a batch of inputs, and how many belong to each input.

    Parameters
    ----------
    spikes : uint8 [B, T, neurons]
        A count of c becomes c words, or c slots.
    addressing : AddressMap, optional
        Addresses of the population; by default neuron numbers.
    slots : EventSlots, optional
        With several events per word, the slots of each bank are filled in ascending order of the addresses, so that a
        step takes as many words as its fullest bank needs, and a word for its tick.
    leaving : bool
        Addresses ascend within a step, as they do where spikes leave a core; by default neurons do.

    Returns
    -------
    words : uint32 (uint64 where a word has more bits) [sum of counts], the spikes of each step, then its tick
    counts : int64 [B]
    """
    batch, steps, neurons = spikes.shape
    addressing = addressing or AddressMap((neurons,))
    slots = slots or EventSlots(addressing.addresses)
    flat = spikes.reshape(batch * steps, neurons)
    step, neuron = np.nonzero(flat)
    if spikes.dtype != bool and spikes.size and spikes.max() > 1:
        repeats = flat[step, neuron]
        step, neuron = np.repeat(step, repeats), np.repeat(neuron, repeats)
    address = addressing.of(neuron)
    if leaving:
        order = np.lexsort((address, step))
        step, address = step[order], address[order]
    bank = address % slots.banks
    # Place of each event among those of its step and bank.
    order = np.lexsort((bank, step)) if slots.banks > 1 else np.arange(len(step))
    key = step[order] * slots.banks + bank[order]
    in_bank = np.bincount(key, minlength=batch * steps * slots.banks)
    place = np.empty(len(step), np.int64)
    place[order] = np.arange(len(step)) - (np.cumsum(in_bank) - in_bank)[key]
    in_step = -(-in_bank.reshape(-1, slots.banks).max(axis=1, initial=0) // slots.ports)  # words of spikes
    ticks = np.cumsum(in_step) + np.arange(batch * steps)
    words = np.zeros(int(in_step.sum()) + batch * steps, np.uint32 if slots.bits <= 32 else np.uint64)
    position = (ticks - in_step)[step] + place // slots.ports
    if slots.events == 1:
        words[position] = address
    else:
        slot = place % slots.ports * slots.banks + bank
        row = (address // slots.banks).astype(np.uint64) << (slot * slots.row_bits).astype(np.uint64)
        valid = np.uint64(1) << (slots.events * slots.row_bits + slot).astype(np.uint64)
        np.bitwise_or.at(words, position, (row | valid).astype(words.dtype))
    words[ticks] = 1 << slots.bits - 2
    words[ticks[steps - 1 :: steps]] = 3 << slots.bits - 2
    return words, in_step.reshape(batch, steps).sum(axis=1) + steps


def decode_events(
    words: np.ndarray, *, batch: int, steps: int, addressing: AddressMap, slots: EventSlots | None = None
) -> np.ndarray:
    """Spikes uint8 [batch, steps, neurons] of a sequence of words; the inverse of `encode_events`.

    Raises
    ------
    InputError
        If the words are not `batch` inputs of `steps` steps, or an address or a count is out of range.
    """
    slots = slots or EventSlots(addressing.addresses)
    words = np.asarray(words, dtype=np.uint64)

    def field(start: int, bits: int) -> np.ndarray:
        return (words >> np.uint64(start) & np.uint64((1 << bits) - 1)).astype(np.int64)

    tick, last = field(slots.bits - 2, 1), field(slots.bits - 1, 1)
    expected = np.zeros(batch * steps, np.int64)
    expected[steps - 1 :: steps] = 1
    if not np.array_equal(last[tick == 1], expected) or last[tick == 0].any() or not tick[-1:].all():
        raise InputError(
            f"{int(tick.sum())} ticks, {int(last.sum())} of them last; accepted are {batch} inputs of {steps} steps"
        )
    rows, step, row_bits = [], np.cumsum(tick), slots.row_bits
    for slot in range(slots.events):
        valid = tick == 0
        if slots.events > 1:
            valid &= field(slots.events * row_bits + slot, 1) == 1
        address = field(slot * row_bits, row_bits) * slots.banks + slot % slots.banks
        rows.append((step[valid], address[valid]))
    step, address = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    neuron = addressing.neuron(address)
    if np.any(neuron < 0):
        outside = int(address[neuron < 0].max())
        raise InputError(f"address {outside}: accepted are those of {list(addressing.shape)} neurons")
    cells = batch * steps * addressing.neurons
    counts = np.bincount(step * addressing.neurons + neuron, minlength=cells)
    if counts.max(initial=0) > 255:
        raise InputError(f"{int(counts.max())} spikes of one address in one step: accepted is up to 255")
    return counts.astype(np.uint8).reshape(batch, steps, addressing.neurons)
