"""Manufactured and programmed cells of many chips at once, one effect after the other.

Order: quantise to a level -> programming noise -> stuck-at (faults, worn-out cells) -> drift and 1/f noise(t) ->
temperature -> read noise (per read). What is before the read is frozen by the chip's seed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .checks import count, finite_array, fraction, not_negative, positive
from .devices import OFF, Device, Quantised
from .laws import combined_sigma
from .streams import Purpose, chip_seeds, normals, uniforms

__all__ = ["Chips", "StuckAt"]


@dataclass(frozen=True)
class StuckAt:
    """Parts of all cells that cannot be programmed: at g_min (`low`) and at g_max (`high`). Default: none (assumed)."""

    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        fraction("stuck-at low", self.low)
        fraction("stuck-at high", self.high)
        fraction("stuck-at low + high", self.low + self.high)


class Chips:
    """Cells of one array on several chips.

    A synapse is `cells` devices in parallel, each programmed to an equal part of its conductance.

    Parameters
    ----------
    target : conductance of each synapse [S], [rows, columns].
    seeds : one seed or one for each of C chips.
    core : id of the core on its chip; other cores of the same chip draw other numbers.
    off : cells of conductance 0 are never selected (they need an access device).
    temperature : K. cycles : writes that every cell has already seen.

    Raises
    ------
    InputError
        For NaN, a conductance outside the range of the device (`off`: 0 is accepted, and what is between 0 and g_min
        goes to the nearer of the two), a temperature of 0 K or less.
    """

    def __init__(
        self,
        device: Device,
        target: np.ndarray,
        *,
        seeds: int | Iterable[int] = 0,
        core: int = 0,
        cells: int = 1,
        off: bool = False,
        faults: StuckAt | None = None,
        temperature: float = 300.0,
        cycles: float = 0.0,
    ) -> None:
        self.device = device
        self.seeds = chip_seeds(seeds)
        self.core = count("core", core, 0)
        self.cells = count("cells", cells, 1)
        self.faults = faults or StuckAt()
        self.temperature = positive("temperature", temperature, "K")
        self.cycles = not_negative("cycles", cycles, "writes")
        self.target = finite_array("conductance", target, 2, "S")
        device.check_range("conductance", self.target, off=off, cells=self.cells)
        self.quantised: Quantised = device.quantise(self.target / self.cells, off=off)
        self._seconds = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.target.shape[0], self.target.shape[1]

    @property
    def level_conductance(self) -> np.ndarray:
        """Conductance of each synapse on its level, without any error [S], [rows, columns]."""
        return self.quantised.conductance * self.cells

    @property
    def mapping_error(self) -> np.ndarray:
        """`level_conductance` minus what was asked for [S], [rows, columns]."""
        return self.quantised.error * self.cells

    @property
    def seconds(self) -> float:
        """Time since the first reading after programming."""
        return self._seconds

    def age(self, seconds: float) -> None:
        """Let time pass."""
        self._seconds += not_negative("seconds", seconds, "s")
        for name in ("cell_conductance", "conductance", "read_sigma"):
            self.__dict__.pop(name, None)

    @property
    def _cell_shape(self) -> tuple[int, int, int]:
        return (self.cells, *self.shape)

    @cached_property
    def stuck(self) -> np.ndarray:
        """Faults int8 [C, cells, rows, columns]: -1 at g_min, 1 at g_max, 0 good."""
        state = np.zeros((len(self.seeds), *self._cell_shape), np.int8)
        if self.faults.low or self.faults.high:
            u = uniforms(self.seeds, self._cell_shape, core=self.core, purpose=Purpose.STUCK)
            state[u < self.faults.low] = -1
            state[(u >= self.faults.low) & (u < self.faults.low + self.faults.high)] = 1
        wear = self.device.endurance
        if wear is not None and self.cycles:
            u = uniforms(self.seeds, (2, *self._cell_shape), core=self.core, purpose=Purpose.ENDURANCE)
            worn = (wear.limits(u[:, 0]) <= self.cycles) & (state == 0)
            state[worn] = np.where(u[:, 1] < wear.low, -1, 1)[worn]
        return state

    @cached_property
    def programmed(self) -> np.ndarray:
        """Conductance of each cell after programming and faults [S], [C, cells, rows, columns]."""
        device, level = self.device, self.quantised.conductance
        g = np.broadcast_to(level, (len(self.seeds), *self._cell_shape)).copy()
        if device.programming:
            z = normals(self.seeds, self._cell_shape, core=self.core, purpose=Purpose.PROGRAMMING)
            g = np.maximum(g + combined_sigma(device.programming, level) * z, 0.0)
        g[self.stuck < 0] = device.g_min
        g[self.stuck > 0] = device.g_max
        return np.where(self.quantised.levels == OFF, 0.0, g)

    @cached_property
    def cell_conductance(self) -> np.ndarray:
        """Conductance of each cell now, before read noise [S], [C, cells, rows, columns]."""
        device, g = self.device, self.programmed
        if self._seconds and device.drift is not None:
            z = normals(self.seeds, self._cell_shape, core=self.core, purpose=Purpose.DRIFT)
            g = g * device.drift.factor(device.drift.nu(g, device.g_max, z), self._seconds)
        if device.flicker is not None:
            z = normals(self.seeds, self._cell_shape, core=self.core, purpose=Purpose.FLICKER)
            g = np.maximum(g + device.flicker.sigma(g, device.g_max, self._seconds) * z, 0.0)
        return g * device.temperature_factor(self.temperature)

    @cached_property
    def conductance(self) -> np.ndarray:
        """Conductance of each synapse now, before read noise [S], [C, rows, columns]."""
        return self.cell_conductance.sum(axis=1)

    @cached_property
    def read_sigma(self) -> np.ndarray:
        """Standard deviation of each synapse's conductance in one value of the read noise [S], [C, rows, columns]."""
        return np.sqrt((combined_sigma(self.device.read, self.cell_conductance) ** 2).sum(axis=1)) * (
            self.quantised.levels != OFF
        )

    def read(self, index: int) -> np.ndarray:
        """Conductances in read `index`, read noise on [S], [C, rows, columns]: the same for the same index."""
        z = normals(self.seeds, self.shape, core=self.core, purpose=Purpose.READ, index=count("index", index, 0))
        return np.maximum(self.conductance + self.read_sigma * z, 0.0)
