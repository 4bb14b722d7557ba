"""Words of several events: how many a step takes, for the cost model. It shares no code with the packing itself."""

import numpy as np

__all__ = ["fullest", "packed", "sent"]


def packed(spikes: np.ndarray, *, events: int, ports: int) -> np.ndarray:
    """Words of the spikes [B, T, n] that a source packs: what the fullest of ``events / ports`` banks needs; [B, T]."""
    banks = events // ports
    loads = [spikes[:, :, bank::banks].sum(axis=2, dtype=np.int64) for bank in range(banks)]
    return -(-np.max(loads, axis=0) // ports)


def sent(spikes: np.ndarray, *, events: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Words in which `events` serialisers side by side send the spikes [B, T, n], and the last of them; [B, T] each.

    The last words are those that remain when every serialiser has its last group, of `width` flags, with a spike.
    """
    words = ahead = np.zeros(spikes.shape[:2], np.int64)
    for slot in range(min(events, spikes.shape[2])):
        mine = spikes[:, :, slot::events]
        sums = np.add.reduceat(mine, np.arange(0, mine.shape[2], width), axis=2, dtype=np.int64)
        final = sums.shape[2] - 1 - (sums[:, :, ::-1] > 0).argmax(axis=2)
        tail = np.take_along_axis(sums, final[:, :, None], axis=2)[:, :, 0]
        count = sums.sum(axis=2)
        words, ahead = np.maximum(words, count), np.maximum(ahead, count - tail)
    return words, words - ahead


def fullest(rate: float, *, events: int, ports: int) -> float:
    """Expected words of `rate` independent spikes per step: a normal approximation of the fullest bank."""
    banks = events // ports
    spread = {1: 0.0, 2: 0.564, 4: 1.029}[banks]  # the largest of so many normal variables, in standard deviations
    return (rate / banks + spread * (rate / banks) ** 0.5) / ports
