"""Rows of memories as integers."""

import numpy as np

from ..network.integer import IntegerLayer, signed_bits

__all__ = ["WORD_BITS", "bias_bits", "pack_rows"]

WORD_BITS = 32
"""Bits of a word of the load port."""


def pack_rows(values: np.ndarray, bits: int) -> list[int]:
    """Rows of signed fields as integers: field p of a row is its bits [p * bits, (p + 1) * bits).

    `values` is an integer array [rows, fields].
    """
    rows, fields = values.shape
    if bits == 0:
        return [0] * rows
    packed = []
    shifts = np.arange(bits, dtype=np.int64)
    for start in range(0, rows, 256):  # bounds the memory of the unpacked bits
        block = values[start : start + 256].astype(np.int64)
        unpacked = ((block[:, :, None] >> shifts) & 1).astype(np.uint8).reshape(len(block), fields * bits)
        packed += [int.from_bytes(row.tobytes(), "little") for row in np.packbits(unpacked, axis=1, bitorder="little")]
    return packed


def bias_bits(layer: IntegerLayer, *, direct: bool, loaded: bool) -> int:
    """Bits of one bias of a layer; 0 where it has none and can get none.

    With `direct` current W x + bias, every x in 0 .. 1, arrives with each input; `loaded` biases are as wide as
    potentials at least.
    """
    bounds = [int(layer.bias.min()), int(layer.bias.max())]
    if direct:
        low, high = layer.summed_range()
        bounds += [int((low + layer.bias).min()), int((high + layer.bias).max())]
    elif loaded:
        return max(layer.potential_bits, signed_bits(min(bounds), max(bounds)))
    return signed_bits(min(bounds), max(bounds)) if any(bounds) or direct else 0
