"""Cells as a programming circuit meets them: pulses that do not do the same twice, noisy reads, cells that stick.

`WritableCells` is what stands behind the write port; `write_verify` is the reference of pulse, read, compare, adjust,
give up. How far a pulse moves a cell is a response:

    LogResponse    ln G moves by +- step * strength: a filament or gap that moves evenly (G ~ exp(-gap / g0))
    TableResponse  measured: conductance against pulse number, for both directions
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from spikeloom.errors import InputError

from .checks import finite_array, fraction, not_negative, positive, whole_array
from .chip import StuckAt
from .devices import Device
from .laws import combined_sigma
from .streams import Purpose, Streams, stream

__all__ = ["LogResponse", "Response", "TableResponse", "Verified", "WritableCells", "write_verify"]


class Response(Protocol):
    """What one write pulse does."""

    def change(self, g: np.ndarray, up: np.ndarray, strength: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Conductances [S] after a pulse, before the limits of the device.

        `up`: towards g_max. `strength`: 0 to 1 of the strongest pulse. `z`: standard normal, of this pulse.
        """
        ...


@dataclass(frozen=True)
class LogResponse:
    """ln G moves by `step` * strength * (1 + cycle_to_cycle * z), never backwards. Defaults: assumed."""

    step: float = 0.5
    cycle_to_cycle: float = 0.3

    def __post_init__(self) -> None:
        positive("step", self.step, "ln S")
        not_negative("cycle_to_cycle", self.cycle_to_cycle, "parts of the step")

    def change(self, g: np.ndarray, up: np.ndarray, strength: np.ndarray, z: np.ndarray) -> np.ndarray:
        """See `Response`."""
        size = self.step * strength * np.maximum(1 + self.cycle_to_cycle * z, 0.0)
        return g * np.exp(np.where(up, size, -size))


@dataclass(frozen=True, eq=False)
class TableResponse:
    """Measured curves: conductance [S] after pulse 0, 1, 2 ...; `up` ascending, `down` descending.

    A pulse of strength 1 moves a cell one pulse along the curve from where its conductance is on it.
    """

    up: np.ndarray
    down: np.ndarray
    cycle_to_cycle: float = 0.0

    def __post_init__(self) -> None:
        for name, sign in (("up", 1), ("down", -1)):
            curve = finite_array(f"pulse response {name}", getattr(self, name), 1, "S")
            if len(curve) < 2 or (sign * np.diff(curve) <= 0).any() or (curve < 0).any():
                word = "ascending" if sign > 0 else "descending"
                raise InputError(f"pulse response {name}: accepted: two or more conductances of 0 S or more, {word}")
        not_negative("cycle_to_cycle", self.cycle_to_cycle, "parts of the step")

    def change(self, g: np.ndarray, up: np.ndarray, strength: np.ndarray, z: np.ndarray) -> np.ndarray:
        """See `Response`."""
        pulses = strength * np.maximum(1 + self.cycle_to_cycle * z, 0.0)
        place = np.arange(len(self.up))
        higher = np.interp(np.interp(g, self.up, place) + pulses, place, self.up)
        place = np.arange(len(self.down))
        lower = np.interp(np.interp(-g, -self.down, place) + pulses, place, self.down)
        return np.where(up, np.maximum(higher, g), np.minimum(lower, g))


class WritableCells:
    """Cells of one chip, numbered 0 to cells - 1, that pulses write and reads find; they start at `start` (g_min).

    `conductance` [cells] is what they really are, `stuck` int8 [cells] which do not move (-1 at g_min, 1 at g_max).
    Pulse and read number k of a cell use the noise of (seed, core, cell, k), so the order of the cells does not matter.
    """

    def __init__(
        self,
        device: Device,
        cells: int,
        *,
        response: Response | None = None,
        seed: int = 0,
        core: int = 0,
        faults: StuckAt | None = None,
        start: float | None = None,
    ) -> None:
        self.device, self.response, self.seed, self.core = device, response or LogResponse(), seed, core
        if isinstance(self.response, LogResponse) and device.g_min <= 0:
            raise InputError(f"device {device.name}: g_min 0 was given; accepted with LogResponse: above 0")
        faults = faults or StuckAt()
        begin = device.g_min if start is None else start
        device.check_range("start", np.array([begin]), off=False)
        u = stream(seed, core, Purpose.STUCK).random(cells)
        self.stuck = np.where(u < faults.low, -1, np.where(u < faults.low + faults.high, 1, 0)).astype(np.int8)
        self.conductance = np.full(cells, float(begin))
        self.conductance[self.stuck < 0], self.conductance[self.stuck > 0] = device.g_min, device.g_max
        self.pulses, self.reads = np.zeros(cells, np.int64), np.zeros(cells, np.int64)
        self._noise = {purpose: _CellNoise(seed, core, purpose, cells) for purpose in (Purpose.WRITE, Purpose.READ)}

    def pulse(self, cell: np.ndarray, up: np.ndarray, strength: np.ndarray | float = 1.0) -> None:
        """One pulse on each of the cells (numbers, each at most once)."""
        cell = whole_array("cell", cell, 0, len(self.conductance))
        if np.min(strength, initial=0.0) < 0 or np.max(strength, initial=0.0) > 1:
            raise InputError("strength: accepted: 0 to 1 of the strongest pulse")
        z = self._noise[Purpose.WRITE].take(cell, self.pulses[cell])
        self.pulses[cell] += 1
        g = self.response.change(self.conductance[cell], np.asarray(up, bool), np.asarray(strength), z)
        g = np.clip(g, self.device.g_min, self.device.g_max)
        self.conductance[cell] = np.where(self.stuck[cell] == 0, g, self.conductance[cell])

    def read(self, cell: np.ndarray, seconds: float = 0.0) -> np.ndarray:
        """Conductances [S] of some cells with read noise; a read that integrates for `seconds` averages its values."""
        cell = whole_array("cell", cell, 0, len(self.conductance))
        g = self.conductance[cell]
        z = self._noise[Purpose.READ].take(cell, self.reads[cell])
        self.reads[cell] += 1
        refresh = self.device.read_refresh
        values = max(1.0, not_negative("seconds", seconds, "s") / refresh) if refresh else 1.0
        return np.maximum(g + combined_sigma(self.device.read, g) / np.sqrt(values) * z, 0.0)


class _CellNoise:
    """Standard normal numbers by cell and count: blocks of one stream per count, drawn when first asked for."""

    def __init__(self, seed: int, core: int, purpose: Purpose, cells: int) -> None:
        self._streams, self._seed, self._cells = Streams(core, purpose), seed, cells
        self._blocks: dict[int, np.ndarray] = {}

    def take(self, cell: np.ndarray, number: np.ndarray) -> np.ndarray:
        z = np.empty(len(cell))
        for k in np.unique(number):
            block = self._blocks.get(int(k))
            if block is None:
                block = self._blocks[int(k)] = self._streams.at(self._seed, int(k)).standard_normal(
                    self._cells, np.float32
                )
            z[number == k] = block[cell[number == k]]
        return z


@dataclass(frozen=True)
class Verified:
    """Result of `write_verify`, by cell: `level` asked for, `pulses` used, `fault` bool, given up; `pulses` int64."""

    level: np.ndarray
    pulses: np.ndarray
    fault: np.ndarray


def write_verify(
    cells: WritableCells,
    level: np.ndarray,
    *,
    read_seconds: float = 20e-6,
    limit: int = 60,
    tolerance: float = 0.5,
    gain: float = 0.7,
) -> Verified:
    """Bring each cell to its level: read, compare, pulse in the right direction with a strength that fits the distance.

    level int64 [cells]; a read integrates for `read_seconds`; accepted within `tolerance` of half the distance to the
    neighbouring level; after `limit` pulses the cell is a fault. `gain` is the part of the distance, in ln G, that a
    pulse aims at.
    """
    device = cells.device
    grid = device.level_conductances
    level = whole_array("level", level, 0, len(grid))
    if level.shape != cells.conductance.shape:
        raise InputError(
            f"level: shape {level.shape} was given; accepted: {cells.conductance.shape}, one for each cell"
        )
    fraction("tolerance", tolerance)
    goal = grid[level]
    edges = np.concatenate([[2 * grid[0] - grid[1]], grid, [2 * grid[-1] - grid[-2]]])
    low = goal - tolerance * (goal - edges[level]) / 2
    high = goal + tolerance * (edges[level + 2] - goal) / 2
    step = cells.response.step if isinstance(cells.response, LogResponse) else 1.0
    open_cells, used = np.arange(len(level)), np.zeros(len(level), np.int64)
    for turn in range(limit + 1):
        found = cells.read(open_cells, read_seconds)
        far = (found < low[open_cells]) | (found > high[open_cells])
        open_cells, found = open_cells[far], found[far]
        if not len(open_cells) or turn == limit:
            break
        distance = np.log(goal[open_cells] / np.maximum(found, 1e-3 * device.g_min if device.g_min else 1e-12))
        cells.pulse(open_cells, distance > 0, np.clip(gain * np.abs(distance) / step, 0.01, 1.0))
        used[open_cells] += 1
    fault = np.zeros(len(level), bool)
    fault[open_cells] = True
    return Verified(level, used, fault)
