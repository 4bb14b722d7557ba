"""Layers larger than an array: split into tiles, whose column currents are added."""

from typing import Any, Literal

import numpy as np

from spikeloom.errors import InputError

from .checks import count, finite_array
from .crossbar import Crossbar, differential
from .devices import Device

__all__ = ["TiledCrossbar"]


class TiledCrossbar:
    """A matrix of signed or non-negative weights [outputs, inputs] on row-driven tiles: W x for input voltages x.

    Parameters
    ----------
    weights : [outputs, inputs].
    tile : largest (rows, columns) of an array; default 64 x 64, where the default wires cost 5 % of the current.
    encoding : "differential" (two columns per output, signed weights) or "single" (weights of 0 or more).
    calibrated : multiply each column by its `column_gain`.
    core : id of the first tile; tile k is core + k. Others as `Crossbar`.

    Members: `tiles`, list of (Crossbar, input slice, output slice); `siemens`, conductance per unit of weight.
    """

    def __init__(
        self,
        weights: np.ndarray,
        *,
        device: Device,
        tile: tuple[int, int] = (64, 64),
        encoding: Literal["differential", "single"] = "differential",
        calibrated: bool = False,
        core: int = 0,
        **options: Any,
    ) -> None:
        weights = finite_array("weights", weights, 2, "units of weight")
        if encoding not in ("differential", "single"):
            raise InputError(f"encoding: {encoding!r} was given; accepted: differential, single")
        if encoding == "single" and (weights < 0).any():
            raise InputError(f"weights: {weights.min():g} was given; accepted with a single-ended array: 0 or more")
        pair = 2 if encoding == "differential" else 1
        height, width = count("tile rows", tile[0], 1), count("tile columns", tile[1], pair) // pair
        plus, minus, self.siemens = differential(weights, device)
        self.encoding, self.outputs, self.calibrated = encoding, weights.shape[0], calibrated
        self._offset = device.g_min if encoding == "single" else 0.0  # what g_min adds to every weight
        self.tiles: list[tuple[Crossbar, slice, slice]] = []
        for first in range(0, weights.shape[1], height):
            for left in range(0, weights.shape[0], width):
                rows, columns = slice(first, first + height), slice(left, left + width)
                target = plus[columns, rows].T
                if pair == 2:
                    target = np.stack([target, minus[columns, rows].T], axis=2).reshape(len(target), -1)
                crossbar = Crossbar(target, device=device, core=core + len(self.tiles), tile=tile, **options)
                self.tiles.append((crossbar, rows, columns))

    def currents(self, v: np.ndarray, *, index: int | None = None) -> np.ndarray:
        """Signed output currents [A], [C, B, outputs], of row voltages v [B, inputs].

        With `index`, the noise of that read is on. Divided by `siemens` they are W v. Of a single-ended array, what its
        g_min conducts is subtracted.
        """
        v = finite_array("v", v, 2, "V")
        total: Any = None
        for crossbar, rows, columns in self.tiles:
            part = crossbar.currents(v[:, rows]) if index is None else crossbar.read(v[:, rows], index=index)
            if self.calibrated:
                part = part * crossbar.column_gain()[:, None]
            if self.encoding == "differential":
                part = part[..., 0::2] - part[..., 1::2]
            else:
                part = part - self._offset * v[:, rows].sum(axis=1)[:, None]
            if total is None:
                total = np.zeros((*part.shape[:2], self.outputs))
            total[..., columns] += part
        return total
