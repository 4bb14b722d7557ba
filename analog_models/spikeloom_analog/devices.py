"""Resistive memory devices. Frozen, SI, and every number with its source.

A device is one cell. Its effects are applied by `chip.Chips`, in the order of DESIGN.md: quantise, programming noise,
stuck-at, drift, temperature, read noise; then wires and the I-V curve in `crossbar`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np

from spikeloom.errors import InputError

from .checks import count, finite_array, not_negative, positive
from .laws import (
    BOLTZMANN,
    ELECTRON,
    Endurance,
    FixedNoise,
    Flicker,
    IVLaw,
    MiloIV,
    NoiseLaw,
    PolynomialNoise,
    PowerLawDrift,
    SaturatingNoise,
)

__all__ = ["OFF", "PCM", "RRAM", "Device", "Quantised", "ideal"]

OFF = -1
"""Level of a cell that is never selected: conductance 0."""


@dataclass(frozen=True)
class Quantised:
    """Cells on levels of a device.

    Members: `levels` int64, -1 where the cell is never selected; `conductance` [S] before any error; `error` [S], the
    conductance minus what was asked for; all of the shape asked for.
    """

    levels: np.ndarray
    conductance: np.ndarray
    error: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Device:
    """One resistive cell.

    Members
    -------
    g_min, g_max : S, range that can be programmed.
    levels : states that programming aims at, at least 2; None: any conductance of the range.
    spacing : levels equally far apart in conductance ("linear") or in its logarithm ("log"), or `table`.
    table : conductances of the levels [S], ascending, when they were measured.
    programming : standard deviation after programming, drawn once per chip and cell.
    drift : loss with time. flicker : 1/f noise accumulated since programming, drawn once per chip and cell.
    read : noises of one read. read_refresh : s, how long a value of the read noise lasts; None: a whole read.
    iv : I-V curve; None is ohmic.
    activation_energy : eV, G(T) = G exp(-Ea / k (1/T - 1/T0)); 0 is no dependence.
    endurance : cycles that a cell lives; None for ever.
    sources : where the numbers come from, by member; what has no entry is an assumed neutral default.
    """

    name: str
    g_min: float
    g_max: float
    levels: int | None = None
    spacing: Literal["linear", "log", "table"] = "linear"
    table: tuple[float, ...] | None = None
    programming: tuple[NoiseLaw, ...] = ()
    drift: PowerLawDrift | None = None
    flicker: Flicker | None = None
    read: tuple[NoiseLaw, ...] = ()
    read_refresh: float | None = None
    iv: IVLaw | None = None
    activation_energy: float = 0.0
    reference_temperature: float = 300.0
    endurance: Endurance | None = None
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        not_negative(f"device {self.name}: g_min", self.g_min, "S")
        positive(f"device {self.name}: g_max", self.g_max, "S")
        if self.g_max <= self.g_min:
            raise InputError(
                f"device {self.name}: g_max {self.g_max:g} S was given; accepted: above g_min, {self.g_min:g} S"
            )
        if self.levels is not None:
            count(f"device {self.name}: levels", self.levels, 2)
        if self.spacing not in ("linear", "log", "table"):
            raise InputError(f"device {self.name}: spacing {self.spacing!r} was given; accepted: linear, log, table")
        if self.spacing == "log" and self.g_min <= 0:
            raise InputError(f"device {self.name}: g_min 0 was given; accepted with log spacing: above 0")
        if (self.spacing == "table") != (self.table is not None):
            raise InputError(f"device {self.name}: table and spacing = 'table' belong together")
        if self.table is not None:
            points = finite_array(f"device {self.name}: table", self.table, 1, "S")
            if len(points) != self.levels or (np.diff(points) <= 0).any():
                raise InputError(f"device {self.name}: table was given; accepted: {self.levels} ascending conductances")
            if points[0] < self.g_min or points[-1] > self.g_max:
                raise InputError(
                    f"device {self.name}: table from {points[0]:g} to {points[-1]:g} S was given; "
                    f"accepted: {self.g_min:g} to {self.g_max:g} S"
                )
        if self.read_refresh is not None:
            positive(f"device {self.name}: read_refresh", self.read_refresh, "s")
        not_negative(f"device {self.name}: activation_energy", self.activation_energy, "eV")
        positive(f"device {self.name}: reference_temperature", self.reference_temperature, "K")

    @property
    def level_conductances(self) -> np.ndarray:
        """Conductance of each level [S], ascending; InputError for a device without levels."""
        if self.levels is None:
            raise InputError(f"device {self.name} has no levels; accepted: a device with `levels`")
        if self.table is not None:
            return np.array(self.table)
        if self.spacing == "log":
            grid = np.exp(np.linspace(np.log(self.g_min), np.log(self.g_max), self.levels))
            grid[0], grid[-1] = self.g_min, self.g_max
            return grid
        return np.linspace(self.g_min, self.g_max, self.levels)

    def check_range(self, name: str, g: np.ndarray, *, off: bool, cells: int = 1) -> None:
        """Raise InputError naming the first of g, each of `cells` in parallel, that is outside the range of the device.

        With `off`, 0 is a cell never selected, and what is between 0 and g_min is for `quantise` to decide.
        """
        low, high = cells * self.g_min, cells * self.g_max
        slack = 1e-9 * high  # of rounding in 1 / R, not of devices
        wrong = (g < (0 if off else low - slack)) | (g > high + slack)
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            accepted = f"{low:g} to {high:g} S ({self.name})" + (", or 0, never selected" if off else "")
            raise InputError(f"{name}{list(where)}: {g[where]:g} S was given; accepted: {accepted}")

    def quantise(self, g: np.ndarray, *, off: bool = False) -> Quantised:
        """The nearest level of each conductance g [S] (any shape), which must lie in the range.

        With `off`, a conductance of 0 is a cell never selected, and one between 0 and g_min goes to the nearer of the
        two; `error` reports it.

        Raises
        ------
        InputError
            Below 0, above g_max, or below g_min without `off`.
        """
        g = np.asarray(g, np.float64)
        self.check_range("conductance", g, off=off)
        if self.levels is None:
            conductance = np.clip(g, self.g_min, self.g_max)
            levels = np.zeros(g.shape, np.int64)
        else:
            grid = self.level_conductances
            levels = np.searchsorted((grid[1:] + grid[:-1]) / 2, g, side="right").astype(np.int64)
            conductance = grid[levels]
        if off:
            never = (g == 0) | (g < self.g_min / 2)
            levels, conductance = np.where(never, OFF, levels), np.where(never, 0.0, conductance)
        return Quantised(levels, conductance, conductance - g)

    def temperature_factor(self, temperature: float) -> float:
        """G(T) / G(T0)."""
        beta = self.activation_energy * ELECTRON / BOLTZMANN
        return float(np.exp(-beta * (1 / temperature - 1 / self.reference_temperature)))


_CROSSSIM = "as fitted in Sandia CrossSim 3.2"


class RRAM:
    """Oxide resistive memory."""

    @staticmethod
    def wan2022(*, levels: int | None = None, g_max: float = 39.26e-6) -> Device:
        """Wan et al., Nature 608, 504 (2022), the NeuRRAM chip. No power-law drift was seen.

        Other fits of the same data differ by some 17 % at 20 uS (2.02 against 2.36 uS): that is what sigma is known to.
        """
        positive("g_max", g_max, "S")
        if g_max > 39.27e-6:
            raise InputError(f"g_max: {g_max:g} S was given; accepted: up to 39.26 uS, where the fit ends")
        return Device(
            name="rram_wan2022",
            g_min=0.0,
            g_max=g_max,
            levels=levels,
            programming=(PolynomialNoise((1.053, 0.2374, -1.167e-2, 1.536e-4)),),
            read=(FixedNoise(0.01 * g_max),),
            sources=MappingProxyType(
                {
                    "g_max": f"Wan 2022, Extended Data Fig. 3, {_CROSSSIM}",
                    "programming": f"cubic fit of Wan 2022, Extended Data Fig. 3, t = 1 s, {_CROSSSIM}",
                    "read": "1 % of g_max additive: advice of the authors of aihwkit for this device, not measured",
                    "drift": "none: no power-law drift, Wan 2022",
                }
            ),
        )

    @staticmethod
    def milo2021(*, levels: int | None = None) -> Device:
        """Milo et al., IRPS 2021: 50 to 225 uS, IGVVA-100 programming, slightly nonlinear."""
        return Device(
            name="rram_milo2021",
            g_min=50e-6,
            g_max=225e-6,
            levels=levels,
            programming=(PolynomialNoise((4.782321, -0.009107)),),
            iv=MiloIV(),
            sources=MappingProxyType(
                {
                    "g_min": f"Milo 2021, {_CROSSSIM}",
                    "g_max": f"Milo 2021, {_CROSSSIM}",
                    "programming": f"linear fit of Milo 2021, Fig. 4, {_CROSSSIM}",
                    "iv": f"Milo 2021, Fig. 1, {_CROSSSIM}; accurate from 62.5 to 110 uS, |V| <= 0.5 V",
                }
            ),
        )

    @staticmethod
    def sky130(*, read_noise: bool = True, cells: int = 2) -> Device:
        """One of the `cells` parallel 1T1R cells of a synapse of the interception circuit (arXiv 2605.31141).

        A synapse of weight w has R = 178.2 kOhm / w, 41 levels from 198 kOhm (0.9) to 5.94 MOhm (0.03); its cells share
        the conductance equally.
        """
        cells = count("cells", cells, 1)
        return Device(
            name="rram_sky130_41",
            g_min=1 / 5.94e6 / cells,
            g_max=1 / 198e3 / cells,
            levels=41,
            spacing="log",
            read=(SaturatingNoise(0.035, 7e-6, 0.95, 0.35),) if read_noise else (),
            read_refresh=10e-9,
            sources=MappingProxyType(
                {
                    "g_min": "178.2 kOhm / 0.03, derived: one pulse moves Vm by 0.21 w V (authors' code)",
                    "g_max": "178.2 kOhm / 0.9, derived as g_min",
                    "levels": "authors' code",
                    "spacing": "assumed: the table of the levels is not public",
                    "read": "authors' code, resistor_rand_min.va; taken as the sigma of a normal distribution",
                    "read_refresh": "authors' value, 10 ns",
                }
            ),
        )


class PCM:
    """Phase-change memory."""

    @staticmethod
    def joshi2020(*, levels: int | None = None) -> Device:
        """Nandakumar et al., ICECS 2019, and Joshi et al., Nat. Commun. 11, 2473 (2020): 25 uS, drift, 1/f noise."""
        g_max = 25e-6
        return Device(
            name="pcm_joshi2020",
            g_min=0.0,
            g_max=g_max,
            levels=levels,
            programming=(PolynomialNoise((0.26348, 1.9650, -1.1731), scale=g_max),),
            drift=PowerLawDrift(
                t0=20.0,
                mean=(-0.0155, 0.0244),
                mean_range=(0.049, 0.1),
                spread=(-0.0125, -0.0059),
                spread_range=(0.008, 0.045),
            ),
            flicker=Flicker(a=0.0088, exponent=0.65, limit=0.2, t_read=250e-9, t0=20.0),
            sources=MappingProxyType(
                {
                    "g_max": "Nandakumar 2019, as in aihwkit 1.2",
                    "programming": "Nandakumar 2019, as in aihwkit 1.2; CrossSim's fit of Joshi 2020 agrees in 1 %",
                    "drift": "Nandakumar 2019, as in aihwkit 1.2; t0 = 20 s",
                    "flicker": "Nandakumar 2019, as in aihwkit 1.2",
                }
            ),
        )


def ideal(*, g_min: float = 0.0, g_max: float = 40e-6, levels: int | None = None) -> Device:
    """A cell without any error, for what the circuit alone does.

    Up to 40 uS (assumed): at 1 ohm per wire segment a 64 x 64 array then loses 5 % on its wires.
    """
    return Device(name="ideal", g_min=g_min, g_max=g_max, levels=levels)
