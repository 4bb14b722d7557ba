"""Crossbars of many chips at once: conductances in, column currents out, wires included.

Arrays have the leading axis C, one entry per seed; rows M are inputs, columns N outputs; voltages are against the
virtual ground of the columns.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from spikeloom.errors import InputError

from .checks import count, finite_array, not_negative, positive
from .chip import Chips, StuckAt
from .devices import Device
from .ladder import bit_line_currents, bit_line_gains, bit_line_voltages, transfer_matrix
from .laws import thermal_current_noise
from .nodal import ArrayNodes
from .streams import Purpose, normals

__all__ = ["Crossbar", "IRLossWarning", "Wire", "differential"]

IR_LOSS_LIMIT = 0.1
"""Mean loss on the wires above which a warning says so."""


class IRLossWarning(UserWarning):
    """The wires of a crossbar take more than a tenth of its current."""


@dataclass(frozen=True)
class Wire:
    """Ohms per segment of word and bit lines. 1 ohm: assumed, see the loss table of docs/analog.md."""

    r_wl: float = 1.0
    r_bl: float = 1.0

    def __post_init__(self) -> None:
        not_negative("wire r_wl", self.r_wl, "ohm")
        not_negative("wire r_bl", self.r_bl, "ohm")


class Crossbar:
    """One array on C chips.

    Topologies
    ----------
    row_driven : every row always has its source (0 V when inactive), input voltages on word lines: I = V @ T, and T
        holds every wire. Cells cannot be off.
    gated_1t1r : a cell conducts only while the gate of its row is open; source lines are ideal, each bit line is a
        ladder of the open cells. A conductance of 0 is a cell never selected.

    Parameters
    ----------
    target : conductance of each synapse [S], [M, N].
    cells : devices in parallel per synapse.
    access_resistance : ohm, of the open access device in series with each cell (gated_1t1r; default 0, assumed).
    tile : largest array (rows, columns) that the chip has; None: as large as asked.
    bandwidth : Hz, adds the thermal noise of the cells to every read; None: without.
    Others as `chip.Chips`.

    Raises
    ------
    InputError
        For a conductance outside the device's range, NaN, negative resistance, an array that does not fit `tile`.
    """

    def __init__(
        self,
        target: np.ndarray,
        *,
        device: Device,
        topology: Literal["row_driven", "gated_1t1r"] = "row_driven",
        wire: Wire | None = None,
        seeds: int | Iterable[int] = 0,
        core: int = 0,
        cells: int = 1,
        access_resistance: float = 0.0,
        faults: StuckAt | None = None,
        temperature: float = 300.0,
        cycles: float = 0.0,
        tile: tuple[int, int] | None = None,
        bandwidth: float | None = None,
    ) -> None:
        if topology not in ("row_driven", "gated_1t1r"):
            raise InputError(f"topology: {topology!r} was given; accepted: row_driven, gated_1t1r")
        target = finite_array("conductance", target, 2, "S")
        if tile is not None and (target.shape[0] > tile[0] or target.shape[1] > tile[1]):
            raise InputError(
                f"crossbar: {target.shape[0]} x {target.shape[1]} was given; accepted: up to {tile[0]} x {tile[1]}, "
                "the tile; TiledCrossbar splits larger layers"
            )
        self.topology = topology
        self.wire = wire or Wire()
        self.access_resistance = not_negative("access_resistance", access_resistance, "ohm")
        if self.access_resistance and topology == "row_driven":
            raise InputError(
                "access_resistance: accepted with gated_1t1r only; row_driven arrays have no access device"
            )
        if device.iv is not None and cells != 1:
            raise InputError(f"cells: {cells} was given; accepted with {device.name}, which has an I-V curve: 1")
        self.bandwidth = None if bandwidth is None else positive("bandwidth", bandwidth, "Hz")
        self.chips = Chips(
            device,
            target,
            seeds=seeds,
            core=core,
            cells=cells,
            off=topology == "gated_1t1r",
            faults=faults,
            temperature=temperature,
            cycles=cycles,
        )

    @property
    def device(self) -> Device:
        """The cell."""
        return self.chips.device

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.chips.shape

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each chip."""
        return self.chips.seeds

    def age(self, seconds: float) -> None:
        """Let time pass: cells drift, and the transfer matrix is built anew."""
        self.chips.age(seconds)
        for name in ("conductance", "read_sigma", "transfer", "_nodes"):
            self.__dict__.pop(name, None)

    @cached_property
    def conductance(self) -> np.ndarray:
        """Conductance of each synapse with its access devices [S], [C, M, N]."""
        cells = self.chips.cell_conductance
        return (cells / (1 + self.access_resistance * cells)).sum(axis=1)

    @cached_property
    def read_sigma(self) -> np.ndarray:
        """Standard deviation of `conductance` in one value of the read noise [S], [C, M, N]."""
        if not self.access_resistance:
            return self.chips.read_sigma
        g = self.conductance / self.chips.cells
        return self.chips.read_sigma * (1 - self.access_resistance * g) ** 2

    @cached_property
    def transfer(self) -> np.ndarray:
        """Column current per row voltage [S], [C, M, N].

        row_driven: exact, I = V @ T. gated_1t1r: of each row when it is the only one open; `superposition_error` says
        how far sums of these are from several rows open at once.
        """
        g, rows = self.conductance, self.shape[0]
        if self.topology == "row_driven":
            result = np.stack([transfer_matrix(chip, self.wire.r_wl, self.wire.r_bl) for chip in g])
        else:
            segments = np.arange(rows, 0, -1)[:, None] * self.wire.r_bl
            result = g / (1 + segments * g)
        loss = self._loss(result)
        if loss > IR_LOSS_LIMIT:
            warnings.warn(
                f"the wires of this {self.shape[0]} x {self.shape[1]} crossbar take {loss:.0%} of its current on "
                "average; smaller tiles, smaller conductances or gain calibration help",
                IRLossWarning,
                stacklevel=2,
            )
        return result

    def _loss(self, transfer: np.ndarray) -> float:
        """Mean part of the current that wires take, all rows on."""
        g = self.conductance
        if self.topology == "gated_1t1r":
            transfer = g * bit_line_gains(g, self.wire.r_bl)
        ideal = g.sum(axis=1)
        part = np.divide(transfer.sum(axis=1), ideal, out=np.ones_like(ideal), where=ideal > 0)
        return float(1 - part.mean())

    @property
    def ir_loss(self) -> float:
        """Mean part of the column currents that is lost on the wires, all rows on, over columns and chips."""
        return self._loss(self.transfer)

    @property
    def superposition_error(self) -> float:
        """Largest relative difference between all rows open at once and the sum of each row alone; 0 for row_driven."""
        if self.topology == "row_driven":
            return 0.0
        alone = self.transfer.sum(axis=1)
        at_once = bit_line_currents(self.conductance, np.ones((1, 1)), self.wire.r_bl)
        error = np.divide(np.abs(alone - at_once), at_once, out=np.zeros_like(alone), where=at_once > 0)
        return float(error.max())

    @cached_property
    def _nodes(self) -> list[ArrayNodes]:
        everywhere = [np.ones(n, bool) for n in self.shape]
        return [ArrayNodes(chip, self.wire.r_wl, self.wire.r_bl, *everywhere) for chip in self.conductance]

    def array_nodes(self, chip: int = 0) -> ArrayNodes:
        """The nodal matrix of one chip of a row_driven array with wires."""
        return self._nodes[chip]

    def currents(self, v: np.ndarray, active: np.ndarray | None = None) -> np.ndarray:
        """Column currents without read noise [A], [C, B, N].

        Parameters
        ----------
        v : row voltages against the virtual ground [V], [B, M].
        active : rows whose gates are open, bool [B, M]; gated_1t1r only, default: where v is not 0.
        """
        v = finite_array("v", v, 2, "V")
        if v.shape[1] != self.shape[0]:
            raise InputError(f"v: shape {v.shape} was given; accepted: [batch, {self.shape[0]}]")
        if self.topology == "row_driven":
            if active is not None:
                raise InputError("active: accepted with gated_1t1r only; inactive rows of row_driven have 0 V")
            if self.device.iv is None:
                return v @ self.transfer
            ground = np.zeros((len(v), self.shape[1]))
            if self.wire.r_wl == 0 and self.wire.r_bl == 0:
                return self.device.iv.current(self.conductance[:, None], v[None, :, :, None]).sum(axis=2)
            return np.stack([nodes.solve(v, ground, self.device.iv)[0] for nodes in self._nodes])
        open_rows = v != 0 if active is None else np.asarray(active, bool)
        if open_rows.shape != v.shape:
            raise InputError(f"active: shape {open_rows.shape} was given; accepted: that of v, {v.shape}")
        parts = [self._gated(v[first : first + 64], open_rows[first : first + 64]) for first in range(0, len(v), 64)]
        return np.concatenate(parts, axis=1) if parts else np.zeros((len(self.seeds), 0, self.shape[1]))

    def _gated(self, v: np.ndarray, open_rows: np.ndarray) -> np.ndarray:
        """`currents` of some vectors of gated_1t1r."""
        g = np.where(open_rows[None, :, :, None], self.conductance[:, None], 0.0)
        across = v[None, :, :, None]
        if self.device.iv is None:
            return bit_line_currents(g, across, self.wire.r_bl)
        node, result = bit_line_voltages(g, across, self.wire.r_bl)
        for _ in range(60):
            extra = self.device.iv.current(g, across - node) - g * (across - node)
            last, (node, result) = node, bit_line_voltages(g, across, self.wire.r_bl, extra)
            if np.abs(node - last).max(initial=0) <= 1e-13 * np.abs(v).max(initial=0):
                return result
        raise InputError("the cells are too nonlinear for their wires: no convergence; accepted: less r_bl")

    def noise_sigma(self, v: np.ndarray, active: np.ndarray | None = None) -> np.ndarray:
        """Standard deviation of the column currents of one read [A], [C, B, N], to first order in the read noise:

        variance = sum_i (V_i T_ij / G_ij sigma_ij)^2, and the thermal noise of the column where a bandwidth is given.
        """
        v = np.asarray(v, np.float64)
        weight = self.noise_weight()
        if active is not None:
            v = np.where(active, v, 0.0)
        variance = (v**2) @ (weight**2)
        if self.bandwidth is not None:
            open_rows = np.ones(v.shape) if self.topology == "row_driven" else (v != 0 if active is None else active)
            g = np.asarray(open_rows, np.float64) @ self.conductance
            variance = variance + thermal_current_noise(g, self.chips.temperature, self.bandwidth) ** 2
        return np.sqrt(variance)

    def noise_weight(self) -> np.ndarray:
        """T_ij / G_ij sigma_ij [S], [C, M, N]."""
        g = self.conductance
        part = np.divide(self.transfer, g, out=np.zeros_like(g), where=g > 0)
        return part * self.read_sigma

    def read(self, v: np.ndarray, active: np.ndarray | None = None, *, index: int) -> np.ndarray:
        """Column currents with read noise [A], [C, B, N]; item b of the batch is read `index + b` of its chip."""
        currents = self.currents(v, active)
        sigma = self.noise_sigma(v, active)
        first = count("index", index, 0)
        for b in range(currents.shape[1]):
            z = normals(self.seeds, (self.shape[1],), core=self.chips.core, purpose=Purpose.READ, index=first + b)
            currents[:, b] += sigma[:, b] * z
        return currents

    def column_gain(self) -> np.ndarray:
        """Calibration [C, N]: what column currents are multiplied by so that a read of all rows gives the sum of the
        levels, as measured on each chip once. One gain serves every input, the loss hardly depends on activity."""
        ideal = self.chips.level_conductance.sum(axis=0)
        if self.topology == "row_driven":
            found = self.transfer.sum(axis=1)
        else:
            found = bit_line_currents(self.conductance, np.ones((1, 1)), self.wire.r_bl)
        return np.divide(np.broadcast_to(ideal, found.shape), found, out=np.ones_like(found), where=found > 0)

    def passive_read(
        self, row: int, column: int, v: float, *, others: Literal["floating", "grounded", "half"] = "floating"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read one cell of an array without access devices: its row at v, its column grounded.

        The other lines float, are grounded, or are at v / 2. Returns the current out of the column and the part of it
        that the selected cell does not carry (sneak paths), both [C], A.
        """
        if self.topology != "row_driven":
            raise InputError(
                "passive_read: gated_1t1r was given; accepted: row_driven, closed gates leave no sneak path"
            )
        if others not in ("floating", "grounded", "half"):
            raise InputError(f"others: {others!r} was given; accepted: floating, grounded, half")
        rows, columns = self.shape
        if not (0 <= row < rows and 0 <= column < columns):
            raise InputError(f"cell: ({row}, {column}) was given; accepted: (0, 0) to ({rows - 1}, {columns - 1})")
        level = {"floating": 0.0, "grounded": 0.0, "half": v / 2}[others]
        tied = others != "floating"
        driven, read = np.full(rows, tied), np.full(columns, tied)
        driven[row] = read[column] = True
        row_voltage, column_voltage = np.full((1, rows), level), np.full((1, columns), level)
        row_voltage[0, row], column_voltage[0, column] = v, 0.0
        total, sneak = np.empty(len(self.seeds)), np.empty(len(self.seeds))
        for c, g in enumerate(self.conductance):
            nodes = ArrayNodes(g, self.wire.r_wl, self.wire.r_bl, driven, read)
            out, _, cells = nodes.solve(row_voltage, column_voltage, self.device.iv)
            total[c] = out[0, column]
            sneak[c] = total[c] - cells[0, row, column]
        return total, sneak


def differential(
    weights: np.ndarray, device: Device, largest: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Conductances of pairs of cells for signed weights: G+ - G- = weight * siemens.

    The larger of the two carries the weight, the other stays at g_min. Returns (G+, G-, siemens per unit of weight), in
    the shape of the weights. `largest` is the weight that gets g_max; default: the largest there is.

    Raises
    ------
    InputError
        For a weight beyond `largest`, or weights that are all 0 without it.
    """
    weights = np.asarray(weights, np.float64)
    top = float(np.abs(weights).max(initial=0.0)) if largest is None else positive("largest", largest, "weight")
    if top == 0:
        raise InputError("weights: all are 0; accepted: at least one other, or `largest`")
    if np.abs(weights).max(initial=0.0) > top:
        raise InputError(f"weights: {np.abs(weights).max():g} was given; accepted: up to `largest`, {top:g}")
    siemens = (device.g_max - device.g_min) / top
    return (
        device.g_min + np.maximum(weights, 0) * siemens,
        device.g_min + np.maximum(-weights, 0) * siemens,
        siemens,
    )
