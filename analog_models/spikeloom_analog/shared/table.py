"""Tables of shared conductances on chips, in integers: what a conversion of them answers.

A level w of a table is a pair of devices (or one) of conductances

    G+ = g_min + max(w, 0) u        G- = g_min + max(-w, 0) u        u = (g_max - g_min) / largest abs(w)

that go through all effects of a device: quantised, programmed with an error, stuck, aged. Rounded once, a level is a
charge q in 2**-12 of a weight, and so is the noise of its read. A conversion of d_k pulses on each level k answers

    a = sum_k d_k q_k + ((z isqrt(n + sum_k d_k n_k) + 2**11) >> 12)
    code = how many of the 2**bits - 1 ascending decision levels are at or below a, less 2**(bits - 1)

with n_k the variances of the reads and n that of the converter; z are samples of noise (`samples`), from a memory of
the chip that is read at the row of the conversion within its step. With copies of the
table (`replicate`), each copy has levels of its own and d is 0 or 1.

Calibration reads each device and writes it again until it is within a tolerance of its level, up to a number of times.
Remapping moves the synapses of a level to the level that was read nearest to what that one should be: q_k becomes
q_map(k), for all cores from their own readings.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from spikeloom.errors import InputError
from spikeloom.mapping.shared import Gang

from ..checks import count, fraction, not_negative
from ..chip import Chips, StuckAt
from ..converters import ADC, ConverterArray
from ..devices import RRAM, Device
from ..laws import RelativeNoise, combined_sigma
from ..programmed import integer_root
from ..samples import NOISE_ROWS, scaled, whole_samples
from ..streams import Purpose, chip_seeds, normals

__all__ = ["CHARGE_BITS", "ProgrammedTables", "TableParameters", "program_tables"]

CHARGE_BITS = 12


@dataclass(frozen=True, kw_only=True)
class TableParameters:
    """What tables are made of.

    Members: `device`; `sigma`, relative error after programming in place of what is known of the device, or None;
    `faults`, parts of the devices that are stuck; `stuck`, devices that are: ((core, copy, level, side), -1 at g_min or
    1 at g_max), side 0 for G+; `read_noise`; `calibrate` within `tolerance` of the range, in up to `attempts` writes;
    `remap`; `converter_noise` and `unit_sigma` (mismatch of its elements), of a step of the converter (assumed).
    """

    device: Device = field(default_factory=RRAM.wan2022)
    sigma: float | None = None
    faults: StuckAt = field(default_factory=StuckAt)
    stuck: tuple[tuple[tuple[int, int, int, int], int], ...] = ()
    read_noise: bool = True
    calibrate: bool = False
    tolerance: float = 0.01
    attempts: int = 200
    remap: bool = False
    converter_noise: float = 0.25
    unit_sigma: float = 0.02

    def __post_init__(self) -> None:
        if self.sigma is not None:
            not_negative("sigma", self.sigma, "parts of a conductance")
        fraction("tolerance", self.tolerance)
        count("attempts", self.attempts, 1)
        not_negative("converter_noise", self.converter_noise, "steps")
        not_negative("unit_sigma", self.unit_sigma, "parts of a unit")


@dataclass(frozen=True, kw_only=True, eq=False)
class ProgrammedTables:
    """The tables of a gang on C chips, as integers; see the module.

    Members: `charge`, `variance` int64 [C, cores, copies, levels]; `base` int64 [C, cores], of the converter;
    `decisions` int64 [C, cores, 2**bits - 1]; `moved` int64 [C, cores, copies, levels], where the synapses of each
    level are.
    """

    gang: Gang
    charge: np.ndarray
    variance: np.ndarray
    base: np.ndarray
    decisions: np.ndarray
    moved: np.ndarray
    seeds: tuple[int, ...]
    number: int

    def chip(self, index: int) -> "ProgrammedTables":
        """One of the chips."""
        names = ("charge", "variance", "base", "decisions", "moved")
        arrays = {name: getattr(self, name)[index : index + 1] for name in names}
        return replace(self, **arrays, seeds=self.seeds[index : index + 1])

    @property
    def noisy(self) -> bool:
        """Whether any conversion has noise."""
        return bool(self.base.any() or self.variance.any())

    def samples(self) -> np.ndarray:
        """The noise memory, int64 [C, 4096, cores]."""
        if not self.noisy:
            return np.zeros((len(self.seeds), NOISE_ROWS, self.gang.cores), np.int64)
        z = normals(self.seeds, (NOISE_ROWS, self.gang.cores), core=self.number, purpose=Purpose.READ)
        return whole_samples(z)

    def codes(self, charge: np.ndarray, variance: np.ndarray, z: np.ndarray, core: int) -> np.ndarray:
        """Codes of conversions of one core of the first chip: sums of charges and variances, and samples."""
        sigma = integer_root(variance + self.base[0, core])
        a = charge + scaled(z, sigma)
        return np.searchsorted(self.decisions[0, core], a, side="right") - (1 << (self.gang.code_bits - 1))


def program_tables(
    gang: Gang, parameters: TableParameters | None = None, *, seeds: int | Iterable[int] = 0, number: int = 0
) -> ProgrammedTables:
    """Program the tables of `gang` on chips of these seeds; `number` is that of the gang on its chip.

    Raises
    ------
    InputError
        For a gang of digital tables, or a stuck device that it has not.
    """
    p, seeds = parameters or TableParameters(), chip_seeds(seeds)
    if not gang.analog:
        raise InputError("core.engine: 'digital' was given; accepted for analog tables: 'analog'")
    levels, copies = np.array(gang.table, np.float64), gang.block if gang.replicates else 1
    device = p.device if p.sigma is None else replace(p.device, programming=(RelativeNoise(p.sigma),))
    unit = (device.g_max - device.g_min) / max(1.0, float(np.abs(levels).max()))
    sides = [np.maximum(levels, 0), np.maximum(-levels, 0)][: 2 if gang.pairs else 1]
    target = np.tile(device.g_min + unit * np.stack(sides, axis=1), (gang.cores * copies, 1))
    shape = (len(seeds), gang.cores, copies, len(levels), len(sides))
    chips = Chips(device, target, seeds=seeds, core=number, faults=p.faults)
    stuck = chips.stuck.reshape(shape).copy()
    for at, end in p.stuck:
        if not all(0 <= n < size for n, size in zip(at, shape[1:], strict=True)) or end not in (-1, 1):
            raise InputError(f"stuck device {at} at {end}: accepted are {shape[1:]} and -1 or 1")
        stuck[(slice(None), *at)] = end
    g = chips.conductance.reshape(shape)
    if p.calibrate:
        g = _written_again(p, chips, target, g, unit)
    g = np.where(stuck < 0, device.g_min, np.where(stuck > 0, device.g_max, g))
    # One device: what its smallest conductance adds is taken off by the converter, as it is for all.
    real = (g[..., 0] - g[..., 1] if gang.pairs else g[..., 0] - device.g_min) / unit
    charge = np.rint(real * (1 << CHARGE_BITS)).astype(np.int64)
    variance = np.zeros(charge.shape, np.int64)
    if p.read_noise:
        sigma = np.sqrt((chips.read_sigma.reshape(shape) ** 2).sum(axis=-1)) / unit
        variance = np.rint((sigma * (1 << CHARGE_BITS)) ** 2).astype(np.int64)
    moved = np.broadcast_to(np.arange(len(levels)), charge.shape)
    if p.remap:
        wanted = np.rint(levels * (1 << CHARGE_BITS)).astype(np.int64)
        moved = np.abs(charge[..., None, :] - wanted[:, None]).argmin(axis=-1)
        charge, variance = (np.take_along_axis(each, moved, axis=-1) for each in (charge, variance))
    step = float(1 << (gang.code_shift + CHARGE_BITS))
    half = 1 << (gang.code_bits - 1)
    adc = ADC(bits=gang.code_bits, low=-half * step, high=half * step, unit_sigma=p.unit_sigma)
    decisions = ConverterArray(adc, gang.cores, seeds=seeds, core=number).thresholds
    noise = (p.converter_noise * step) ** 2 if p.read_noise else 0.0
    return ProgrammedTables(
        gang=gang, charge=charge, variance=variance, moved=moved, seeds=seeds, number=number,
        base=np.full((len(seeds), gang.cores), round(noise), np.int64),
        decisions=np.sort(np.rint(decisions).astype(np.int64), axis=-1),
    )  # fmt: skip


def _written_again(p: TableParameters, chips: Chips, target: np.ndarray, g: np.ndarray, unit: float) -> np.ndarray:
    """Conductances after devices that are not within the tolerance were written again, with other errors."""
    device, shape = chips.device, g.shape
    wanted = np.broadcast_to(chips.level_conductance.reshape(shape[1:]), shape)
    near = p.tolerance * (device.g_max - device.g_min)
    for attempt in range(1, p.attempts):
        away = np.abs(g - wanted) > near
        if not away.any():
            break
        z = normals(chips.seeds, target.shape, core=chips.core, purpose=Purpose.PROGRAMMING, index=attempt)
        sigma = combined_sigma(device.programming, wanted)
        again = np.maximum(wanted + sigma * z.reshape(shape), 0.0)
        g = np.where(away & (np.abs(again - wanted) < np.abs(g - wanted)), again, g)
    return g
