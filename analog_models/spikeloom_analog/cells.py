"""Cells that are written and read one by one, in integers, and the write-verify algorithm on whole arrays at once.

The state of a cell is x = 1024 ln(G / lowest), a whole number. A pulse of amplitude a moves it, up (SET) or down
(RESET), by

    d = max(0, (base (4096 + ((z write_noise) >> 12))) >> 12)
    base = (((step[a] strength) >> 8) slope[x]) >> 12,  slope = rise for SET, fall for RESET

and no further than the ends of its range; a stuck cell stays where it is (`writing` has the physics of a pulse). A read
averaged over 2**k values gives

    code = clamp(offset + (((code16[x] + ((z sigma + 2**11) >> 12)) gain + 2**15) >> 16))
    sigma = isqrt(variance[x] >> k)

of 12 bits; code16 and sigma have 4 fraction bits, gain and slope have 12, strength 8. z are standard normal numbers
times 2**12, rounded once, from Philox streams keyed by chip, core, purpose and by how many pulses (or reads) the cell
has had.
"""

from dataclasses import dataclass, field

import numpy as np

from spikeloom.errors import InputError
from spikeloom.mapping.write_verify import (
    AMPLITUDES,
    BOOST_LIMIT,
    CODE_BITS,
    NEAREST,
    WriteVerifyPlan,
)

from .checks import fraction
from .devices import Device
from .laws import combined_sigma
from .neurons import IFNeuron
from .programmed import QUANTUM, integer_root
from .samples import scaled, whole_samples
from .streams import Purpose, normals, stream
from .writing import GapPulse, Response

__all__ = [
    "CellArray",
    "CellTables",
    "Written",
    "calibrated",
    "cell_tables",
    "conductances",
    "levels_of",
    "write_verify",
]

STATE = 1024
"""States per e-fold of the conductance."""
FULL_SCALE = 1.25
"""Full scale of the reading converter, over g_max."""
CODE_MAX = (1 << CODE_BITS) - 1
SET, RESET, READ, REFERENCE = range(4)


@dataclass(frozen=True, kw_only=True, eq=False)
class CellTables:
    """Integers of an array of R x N synapses of K cells on one chip.

    Members
    -------
    code16, variance : int64 [states], of a read. charge, charge_variance : int64 [states], of an open gate per cycle.
    step : int64 [32]. rise, fall : int64 [states], of its slope. write_noise : relative standard deviation times 2**12.
    state : int64 [R, N, K], at first. strength : int64 [R, N, K]. stuck : bool [R, N, K].
    offset, gain, drive : int64 [N], of the read of a column, and of the charges of a column times 2**12.
    reference : code of the reference row without offset and gain error.
    lowest : S, conductance of state 0.
    """

    code16: np.ndarray
    variance: np.ndarray
    charge: np.ndarray
    charge_variance: np.ndarray
    step: np.ndarray
    rise: np.ndarray
    fall: np.ndarray
    write_noise: int
    state: np.ndarray
    strength: np.ndarray
    stuck: np.ndarray
    offset: np.ndarray
    gain: np.ndarray
    drive: np.ndarray
    reference: int
    lowest: float
    seed: int
    core: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """R, N, K."""
        return self.state.shape  # type: ignore[return-value]


def cell_tables(
    device: Device,
    shape: tuple[int, int, int],
    *,
    seed: int = 0,
    core: int = 0,
    clock: float = 200e6,
    neuron: IFNeuron | None = None,
    response: Response | None = None,
    stuck: float = 0.0,
    column_offset: float = 20.0,
    column_gain: float = 0.05,
    drive_offset: np.ndarray | float = 0.0,
    quantum: float = QUANTUM,
    reference: int = 2048,
    conductance: np.ndarray | None = None,
    stuck_cells: np.ndarray | None = None,
) -> CellTables:
    """Cells of `device`: as made, with states anywhere in its range and some stuck at either end; or as they are.

    Parameters
    ----------
    shape : rows, columns, cells per synapse. stuck : part of the cells, half at each end.
    column_offset, column_gain : standard deviations of the reading of a column, in codes and relative. Assumed.
    drive_offset : V, of each column's amplifier in a window. response : of write pulses, by default `GapPulse`.
    conductance, stuck_cells : [S] and bool, of cells that are there already, [R, N, K].

    Raises
    ------
    InputError
        For a part of stuck cells outside 0 .. 1.
    """
    neuron, response = neuron or IFNeuron.sky130(), response or GapPulse()
    fraction("stuck", stuck)
    scale = CODE_MAX / (FULL_SCALE * device.g_max) * 16
    lowest = max(device.g_min, 16 / scale)  # below one code a cell cannot be told from one that does not conduct
    states = round(STATE * np.log(device.g_max / lowest)) + 1
    g = lowest * np.exp(np.arange(states) / STATE)
    sigma = combined_sigma(device.read, g)
    per_cycle = 1 / (neuron.capacitance * clock * quantum)
    current = neuron.drive * g if device.iv is None else device.iv.current(g, np.array(neuron.drive))
    columns = shape[1]
    made = stream(seed, core, Purpose.ENDURANCE)  # of what never changes about a cell
    u = made.random(shape)
    ends = made.random(shape) < 0.5
    is_stuck = u < stuck
    state = np.where(is_stuck, np.where(ends, states - 1, 0), made.integers(0, states, shape))
    if conductance is not None:
        ratio = np.maximum(np.asarray(conductance, np.float64), lowest) / lowest
        state = np.clip(np.rint(STATE * np.log(ratio)).astype(np.int64), 0, states - 1)
        is_stuck = np.zeros(shape, bool) if stuck_cells is None else np.asarray(stuck_cells, bool)
    drive = 1 - np.broadcast_to(np.asarray(drive_offset, np.float64), (columns,)) / neuron.drive
    return CellTables(
        code16=np.rint(g * scale).astype(np.int64),
        variance=np.rint((sigma * scale) ** 2).astype(np.int64),
        charge=np.rint(per_cycle * current).astype(np.int64),
        charge_variance=np.rint((per_cycle * sigma * current / g) ** 2).astype(np.int64),
        step=np.maximum(1, np.rint(response.moves() * STATE)).astype(np.int64),
        rise=np.rint(4096 * response.slope(g, up=True)).astype(np.int64),
        fall=np.rint(4096 * response.slope(g, up=False)).astype(np.int64),
        write_noise=round(response.cycle_spread * 4096),
        state=state,
        strength=np.rint(256 * np.exp(response.cell_spread * made.standard_normal(shape))).astype(np.int64),
        stuck=is_stuck,
        offset=np.maximum(0, np.rint(64 + column_offset * made.standard_normal(columns))).astype(np.int64),
        gain=np.rint(4096 * (1 + column_gain * made.standard_normal(columns))).astype(np.int64),
        drive=np.rint(4096 * drive).astype(np.int64),
        reference=reference,
        lowest=lowest,
        seed=seed,
        core=core,
    )


class CellArray:
    """Cells of one array as they are now."""

    def __init__(self, tables: CellTables):
        self.tables = tables
        self.state = tables.state.copy()
        self.pulses = np.zeros(tables.shape, np.int64)
        self.reads = np.zeros(tables.shape, np.int64)
        self._samples: dict[tuple[Purpose, int], np.ndarray] = {}

    def samples(self, purpose: Purpose, count: int) -> np.ndarray:
        """Noise samples of the pulse (or read) after `count` others, int64 [R, N, K]."""
        key = (purpose, count)
        if key not in self._samples:
            z = normals([self.tables.seed], self.tables.shape, core=self.tables.core, purpose=purpose, index=count)[0]
            self._samples[key] = whole_samples(z)
        return self._samples[key]

    def pulse(self, where: np.ndarray, up: np.ndarray, amplitude: np.ndarray) -> None:
        """A pulse for the cells `where` (bool), SET where `up`; all [R, N, K]."""
        t = self.tables
        z = self._drawn(Purpose.WRITE, self.pulses, where)
        slope = np.where(up, t.rise[self.state], t.fall[self.state])
        base = (((t.step[amplitude] * t.strength) >> 8) * slope) >> 12
        move = np.maximum(0, (base * (4096 + ((z * t.write_noise) >> 12))) >> 12)
        moved = np.clip(self.state + np.where(up, move, -move), 0, len(t.code16) - 1)
        self.state = np.where(where & ~t.stuck, moved, self.state)
        self.pulses += where

    def read(self, where: np.ndarray, average: int) -> np.ndarray:
        """Codes of the cells `where`, int64 [R, N, K]; what others hold means nothing."""
        t = self.tables
        z = self._drawn(Purpose.CONVERSION, self.reads, where)
        sigma = integer_root(t.variance[self.state] >> average)
        value = t.code16[self.state] + scaled(z, sigma)
        code = t.offset[:, None] + ((value * t.gain[:, None] + (1 << 15)) >> 16)
        self.reads += where
        return np.clip(code, 0, CODE_MAX)

    def _drawn(self, purpose: Purpose, counts: np.ndarray, where: np.ndarray) -> np.ndarray:
        z = np.zeros(self.tables.shape, np.int64)
        for count in np.unique(counts[where]).tolist():
            here = where & (counts == count)
            z[here] = self.samples(purpose, count)[here]
        return z

    def access(self, kind: int, row: int, column: int, cell: int, amount: int) -> int:
        """One access as on the port; returns its code, 0 for a pulse."""
        t = self.tables
        if kind == REFERENCE:
            code = int(t.offset[column]) + ((row * 16 * t.reference * int(t.gain[column]) + (1 << 15)) >> 16)
            return min(CODE_MAX, code)
        where = np.zeros(t.shape, bool)
        where[row, column, cell] = True
        if kind == READ:
            return int(self.read(where, amount)[row, column, cell])
        self.pulse(where, np.full(t.shape, kind == SET), np.full(t.shape, amount))
        return 0

    def charge(self, row: int, column: int) -> tuple[int, int]:
        """Charge and variance per cycle of a synapse as its cells are now, for `ProgrammedArray`."""
        t, states = self.tables, self.state[row, column]
        drive = int(t.drive[column])
        charge = int(t.charge[states].sum()) * drive >> 12
        return charge, (int(t.charge_variance[states].sum()) * drive >> 12) * drive >> 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Written:
    """What write-verify left: `code` last read, `pulses` given, `fault` where it gave up; all [R, N, K]."""

    code: np.ndarray
    pulses: np.ndarray
    fault: np.ndarray
    calibration: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))


def calibrated(tables: CellTables, plan: WriteVerifyPlan) -> np.ndarray:
    """Offset, gain factor (times 2**12) and failure of each column, int64 [N, 3], as the calibration finds them."""
    cells, found = CellArray(tables), []
    for column in range(tables.shape[1]):
        closed = cells.access(REFERENCE, 0, column, 0, plan.average)
        span = max(0, cells.access(REFERENCE, 1, column, 0, plan.average) - closed)
        factor = (plan.reference << 12) // span if span else 0
        failed = span == 0 or factor >= 1 << 13
        found.append([0, 4096, 1] if failed else [closed, factor, 0])
    return np.array(found, np.int64)


def write_verify(cells: CellArray, targets: np.ndarray, plan: WriteVerifyPlan, *, calibrate: bool = True) -> Written:
    """Bring every cell to its target code, all side by side: pulse, read, compare, adjust, give up.

    Parameters
    ----------
    targets : int [R, N, K], codes of 1 to 4095.
    calibrate : correct reads by the gain and offset of their column.
    """
    t = cells.tables
    targets = np.asarray(targets, np.int64)
    if targets.shape != t.shape or (targets < 1).any() or (targets > CODE_MAX).any():
        raise InputError(f"targets: accepted: whole numbers from 1 to {CODE_MAX}, shape {t.shape}")
    columns = calibrated(t, plan) if calibrate else np.tile([0, 4096, 0], (t.shape[1], 1))
    offset, factor = columns[:, 0][:, None], columns[:, 1][:, None]
    first = np.array(plan.amplitudes)
    code = np.zeros(t.shape, np.int64)
    pulses = np.zeros(t.shape, np.int64)
    fault = np.zeros(t.shape, bool)
    boost = np.zeros((2, *t.shape), np.int64)
    former, down_before = np.zeros(t.shape, np.int64), np.zeros(t.shape, bool)
    active = np.ones(t.shape, bool)
    while active.any():
        raw = cells.read(active, plan.average)
        now = np.minimum((np.maximum(raw - offset, 0) * factor) >> 12, CODE_MAX)
        code = np.where(active, now, code)
        down = code > targets
        away = np.abs(code - targets)
        good = away * 256 <= targets * plan.tolerance
        over = active & ~good & (pulses == plan.most_pulses)
        fault |= over
        active = active & ~good & ~over
        distance = _length(away) - _length(np.minimum(code, targets))
        again = pulses > 0
        weak = active & again & (down == down_before) & (distance >= former)
        strong = active & again & (down != down_before)
        for way in (0, 1):
            mine = down_before == bool(way)
            boost[way] = np.clip(boost[way] + (weak & mine) - (strong & mine), -BOOST_LIMIT, BOOST_LIMIT)
        amplitude = first[distance - NEAREST] + np.where(down, boost[1], boost[0])
        cells.pulse(active, ~down, np.clip(amplitude, 0, AMPLITUDES - 1))
        pulses += active
        former, down_before = np.where(active, distance, former), np.where(active, down, down_before)
    return Written(code=code, pulses=pulses, fault=fault, calibration=columns)


def _length(values: np.ndarray) -> np.ndarray:
    """Bits of whole numbers without leading zeros."""
    return np.frexp(values.astype(np.float64))[1].astype(np.int64) * (values > 0)


def levels_of(device: Device) -> np.ndarray:
    """Target codes of the levels of `device`, int64."""
    g = np.asarray(device.level_conductances)
    return np.rint(g / (FULL_SCALE * device.g_max) * CODE_MAX).astype(np.int64)


def conductances(cells: CellArray) -> np.ndarray:
    """True conductances [S], float64 [R, N, K]."""
    return cells.tables.lowest * np.exp(cells.state / STATE)
