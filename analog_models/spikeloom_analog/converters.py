"""Converters at the edges of an array: ADCs at its columns, DACs at its rows. Mismatch is
frozen by the chip's seed.

A code is the number of decision levels at or below the input. Both kinds of ADC differ only in how mismatch moves these
levels from their ideal places, low + (k - 1/2) LSB for code k = 1 .. 2**bits - 1:

    ramp   one staircase of equal steps for all columns, each with an error: integral errors walk, ends are trimmed
    sar    binary-weighted capacitors of each column, each with an error: the largest jump is at the middle
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spikeloom.errors import InputError

from .checks import count, finite_array, not_negative, positive
from .streams import Purpose, chip_seeds, normals

__all__ = ["ADC", "DAC", "ConverterArray", "DACArray", "search"]


@dataclass(frozen=True, kw_only=True)
class ADC:
    """One current-input ADC.

    Members: `bits` 1 to 16; `low`, `high` A, range (high is the end of the last code); `unit_sigma`, relative mismatch
    of a unit element (a ramp step, or the smallest capacitor); `offset_sigma`, `noise` A, of each column and of each
    conversion. Default: ideal.
    """

    kind: Literal["ramp", "sar"] = "sar"
    bits: int = 8
    low: float = 0.0
    high: float
    unit_sigma: float = 0.0
    offset_sigma: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in ("ramp", "sar"):
            raise InputError(f"ADC kind: {self.kind!r} was given; accepted: ramp, sar")
        if count("ADC bits", self.bits, 1) > 16:
            raise InputError(f"ADC bits: {self.bits} was given; accepted: 1 to 16")
        if not self.high > self.low:
            raise InputError(f"ADC high: {self.high!r} was given; accepted: above low, {self.low:g} A")
        for name in ("unit_sigma", "offset_sigma", "noise"):
            not_negative(f"ADC {name}", getattr(self, name), "A" if name != "unit_sigma" else "parts of a unit")

    @property
    def lsb(self) -> float:
        """A per code."""
        return (self.high - self.low) / (1 << self.bits)


class ConverterArray:
    """An ADC at each column of C chips. `thresholds` [C, columns, codes - 1], A, ascending but for mismatch."""

    def __init__(self, adc: ADC, columns: int, *, seeds: int | Iterable[int] = 0, core: int = 0) -> None:
        self.adc, self.columns, self.core = adc, count("columns", columns, 1), core
        self.seeds = chip_seeds(seeds)
        self.noise = adc.noise
        codes = 1 << adc.bits
        place = np.broadcast_to(np.arange(1, codes) - 0.5, (len(self.seeds), columns, codes - 1)).copy()
        if adc.unit_sigma and adc.kind == "ramp":
            error = adc.unit_sigma * normals(self.seeds, (codes,), core=core, purpose=Purpose.CONVERTER)
            walk = np.cumsum(error - error.mean(axis=1, keepdims=True), axis=1)[:, :-1]
            place += walk[:, None, :]
        elif adc.unit_sigma:
            weight = np.exp2(np.arange(adc.bits))
            error = normals(self.seeds, (columns, adc.bits), core=core, purpose=Purpose.CAPACITOR)
            actual = weight + adc.unit_sigma * np.sqrt(weight) * error  # a capacitor of n units
            actual *= (codes - 1) / actual.sum(axis=2, keepdims=True)  # full scale is trimmed
            bits = (np.arange(1, codes)[:, None] >> np.arange(adc.bits)) & 1
            place = actual @ bits.T - 0.5
        self.thresholds = adc.low + adc.lsb * place
        if adc.offset_sigma:
            z = normals(self.seeds, (columns,), core=core, purpose=Purpose.CONVERTER, index=1)
            self.thresholds = self.thresholds - adc.offset_sigma * z[:, :, None]

    def inl(self) -> np.ndarray:
        """Integral nonlinearity [LSB], [C, columns, codes - 1]: levels minus a line through the first and last."""
        first, last = self.thresholds[..., :1], self.thresholds[..., -1:]
        line = first + (last - first) * np.linspace(0, 1, self.thresholds.shape[-1])
        return (self.thresholds - line) / self.adc.lsb

    def convert(self, current: np.ndarray, *, index: int) -> np.ndarray:
        """Codes int64 of currents [A], both [C, B, columns]; item b is conversion `index + b` of its chip.

        A SAR with mismatch searches bit by bit, so that it may skip codes; a ramp counts the levels it passed.
        """
        current = finite_array("current", current, 3, "A")
        if current.shape[0] != len(self.seeds) or current.shape[2] != self.columns:
            raise InputError(
                f"current: shape {current.shape} was given; accepted: [{len(self.seeds)}, batch, {self.columns}]"
            )
        if self.noise:
            current = current + self.noise * np.stack(
                [
                    normals(self.seeds, (self.columns,), core=self.core, purpose=Purpose.CONVERSION, index=index + b)
                    for b in range(current.shape[1])
                ],
                axis=1,
            )
        return search(self.thresholds[:, None], current)


def search(thresholds: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Codes int64 of values, bit by bit as a SAR does; the number of thresholds at or below it where they ascend.

    thresholds [..., codes - 1], values broadcast against [...].
    """
    codes = np.zeros(np.broadcast_shapes(values.shape, thresholds.shape[:-1]), np.int64)
    levels = np.broadcast_to(thresholds, (*codes.shape, thresholds.shape[-1]))
    for bit in reversed(range((thresholds.shape[-1] + 1).bit_length() - 1)):
        trial = codes + (1 << bit)
        reached = np.take_along_axis(levels, trial[..., None] - 1, axis=-1)[..., 0]
        codes = np.where(values >= reached, trial, codes)
    return codes


@dataclass(frozen=True, kw_only=True)
class DAC:
    """A row driver of `bits` bits from `low` to `high` V (its last code); binary-weighted, mismatch `unit_sigma`."""

    bits: int = 8
    low: float = 0.0
    high: float
    unit_sigma: float = 0.0

    def __post_init__(self) -> None:
        if count("DAC bits", self.bits, 1) > 16:
            raise InputError(f"DAC bits: {self.bits} was given; accepted: 1 to 16")
        if not self.high > self.low:
            raise InputError(f"DAC high: {self.high!r} was given; accepted: above low, {self.low:g} V")
        not_negative("DAC unit_sigma", self.unit_sigma, "parts of a unit")


class DACArray:
    """A DAC at each row of C chips. `levels` V, [C, rows, codes]."""

    def __init__(self, dac: DAC, rows: int, *, seeds: int | Iterable[int] = 0, core: int = 0) -> None:
        self.dac, self.rows, self.seeds = dac, count("rows", rows, 1), chip_seeds(seeds)
        codes = 1 << dac.bits
        weight = np.exp2(np.arange(dac.bits))
        bits = (np.arange(codes)[:, None] >> np.arange(dac.bits)) & 1
        error = np.zeros((len(self.seeds), rows, dac.bits))
        if dac.unit_sigma:
            error = dac.unit_sigma * normals(
                self.seeds, (rows, dac.bits), core=core, purpose=Purpose.CONVERTER, index=2
            )
        step = positive("DAC step", (dac.high - dac.low) / (codes - 1), "V")
        self.levels = dac.low + step * ((weight + np.sqrt(weight) * error) @ bits.T)

    def voltages(self, codes: np.ndarray) -> np.ndarray:
        """Row voltages [C, B, rows] of codes [B, rows]."""
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.rows or codes.dtype.kind not in "iu":
            raise InputError(
                f"codes: {codes.dtype} {codes.shape} was given; accepted: whole numbers [batch, {self.rows}]"
            )
        if codes.min(initial=0) < 0 or codes.max(initial=0) >= 1 << self.dac.bits:
            raise InputError(
                f"codes: {codes.min()} to {codes.max()} were given; accepted: 0 to {(1 << self.dac.bits) - 1}"
            )
        return self.levels[:, np.arange(self.rows), codes]
