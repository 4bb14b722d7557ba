"""Laws that a device is made of: noise against conductance, drift, current against voltage, wear. SI units."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .checks import finite_array, not_negative, positive
from .checks import fraction as checked_fraction

__all__ = [
    "BOLTZMANN",
    "ELECTRON",
    "CubicIV",
    "Endurance",
    "FixedNoise",
    "Flicker",
    "IVLaw",
    "MiloIV",
    "NoiseLaw",
    "PolynomialNoise",
    "PowerLawDrift",
    "RelativeNoise",
    "SaturatingNoise",
    "SinhIV",
    "TableNoise",
    "combined_sigma",
    "thermal_current_noise",
]

BOLTZMANN = 1.380649e-23
"""J/K, exact in the SI."""
ELECTRON = 1.602176634e-19
"""C, exact in the SI."""


class NoiseLaw(Protocol):
    """Standard deviation of a conductance, as a function of that conductance."""

    def sigma(self, g: np.ndarray) -> np.ndarray:
        """Standard deviation [S] at conductances g [S], any shape."""
        ...


class IVLaw(Protocol):
    """Current of a cell against its voltage; g is its conductance at 0 V."""

    def current(self, g: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Current [A]."""
        ...

    def slope(self, g: np.ndarray, v: np.ndarray) -> np.ndarray:
        """dI/dV [S]."""
        ...


@dataclass(frozen=True)
class FixedNoise:
    """The same standard deviation `value` [S] at every conductance."""

    value: float

    def __post_init__(self) -> None:
        not_negative("noise", self.value, "S")

    def sigma(self, g: np.ndarray) -> np.ndarray:
        """`value` for every cell."""
        return np.full(np.shape(g), self.value)


@dataclass(frozen=True)
class RelativeNoise:
    """sigma = fraction * g."""

    fraction: float

    def __post_init__(self) -> None:
        not_negative("relative noise", self.fraction, "parts of the conductance")

    def sigma(self, g: np.ndarray) -> np.ndarray:
        """`fraction` of each conductance."""
        return self.fraction * np.asarray(g)


@dataclass(frozen=True)
class PolynomialNoise:
    """sigma = unit * max(0, c0 + c1 x + c2 x**2 + ...), x = g / scale; how fits are published."""

    coefficients: tuple[float, ...]
    scale: float = 1e-6
    unit: float = 1e-6

    def sigma(self, g: np.ndarray) -> np.ndarray:
        """The polynomial, never below 0."""
        return self.unit * np.maximum(
            np.polynomial.polynomial.polyval(np.asarray(g) / self.scale, self.coefficients), 0
        )


@dataclass(frozen=True)
class SaturatingNoise:
    """sigma = g * limit * r / (limit + r), r = at_reference * (g / reference)**-exponent."""

    at_reference: float
    reference: float
    exponent: float
    limit: float

    def sigma(self, g: np.ndarray) -> np.ndarray:
        """0 where the conductance is 0."""
        g = np.asarray(g, np.float64)
        raw = self.at_reference * (np.where(g > 0, g, 1.0) / self.reference) ** -self.exponent
        return np.where(g > 0, g * self.limit * raw / (self.limit + raw), 0.0)


@dataclass(frozen=True, eq=False)
class TableNoise:
    """Measured points (g, sigma) in S, ascending, joined by straight lines and constant outside."""

    g: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        finite_array("noise table: conductance", self.g, 1, "S")
        finite_array("noise table: sigma", self.values, 1, "S")

    def sigma(self, g: np.ndarray) -> np.ndarray:
        """Interpolated."""
        return np.interp(g, self.g, self.values)


def combined_sigma(laws: tuple[NoiseLaw, ...], g: np.ndarray) -> np.ndarray:
    """Standard deviation of the sum of independent noises, shape of g."""
    total = np.zeros(np.shape(g))
    for law in laws:
        total += law.sigma(g) ** 2
    return np.sqrt(total)


def thermal_current_noise(g: np.ndarray, temperature: float, bandwidth: float) -> np.ndarray:
    """Johnson-Nyquist noise sqrt(4 k T g B) [A]: 1.29 nA for 10 uS, 10 MHz, 300 K."""
    return np.sqrt(4 * BOLTZMANN * temperature * np.asarray(g) * bandwidth)


@dataclass(frozen=True, kw_only=True)
class PowerLawDrift:
    """G(t) = G (1 + t / t0)**-nu, t seconds after the first reading at t0; nu is drawn once for each cell:

    nu = |mean + sigma * N(0, 1)|, mean = clip(a ln x + b), sigma = clip(c ln x + d), x = g / g_max.
    """

    t0: float
    mean: tuple[float, float]
    mean_range: tuple[float, float]
    spread: tuple[float, float]
    spread_range: tuple[float, float]

    def nu(self, g: np.ndarray, g_max: float, z: np.ndarray) -> np.ndarray:
        """Exponents of the cells; z are standard normal numbers."""
        x = np.log(np.maximum(np.asarray(g) / g_max, 1e-7))
        mean = np.clip(self.mean[0] * x + self.mean[1], *self.mean_range)
        spread = np.clip(self.spread[0] * x + self.spread[1], *self.spread_range)
        return np.abs(mean + spread * z)

    def factor(self, nu: np.ndarray, seconds: float) -> np.ndarray:
        """What is left of a conductance."""
        return (1 + seconds / self.t0) ** -nu


@dataclass(frozen=True, kw_only=True)
class Flicker:
    """Accumulated 1/f noise: sigma / G = min(a x**-p, limit) sqrt(ln((t + tr) / (2 tr))), x = g / g_max, t since
    programming."""

    a: float
    exponent: float
    limit: float
    t_read: float
    t0: float

    def sigma(self, g: np.ndarray, g_max: float, seconds: float) -> np.ndarray:
        """Standard deviation [S], `seconds` after the first reading."""
        g = np.asarray(g, np.float64)
        part = np.minimum(self.a * np.maximum(g / g_max, 1e-7) ** -self.exponent, self.limit)
        t = seconds + self.t0
        return g * part * np.sqrt(np.log((t + self.t_read) / (2 * self.t_read)))


@dataclass(frozen=True)
class CubicIV:
    """I = g (V + a2 V**2 + a3 V**3)."""

    a2: float = 0.0
    a3: float = 0.0

    def current(self, g: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Current [A]."""
        return g * (v + self.a2 * v**2 + self.a3 * v**3)

    def slope(self, g: np.ndarray, v: np.ndarray) -> np.ndarray:
        """dI/dV [S]."""
        return g * (1 + 2 * self.a2 * v + 3 * self.a3 * v**2)


@dataclass(frozen=True)
class SinhIV:
    """I = g v0 sinh(V / v0)."""

    v0: float

    def __post_init__(self) -> None:
        positive("v0", self.v0, "V")

    def current(self, g: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Current [A]."""
        return g * self.v0 * np.sinh(v / self.v0)

    def slope(self, g: np.ndarray, v: np.ndarray) -> np.ndarray:
        """dI/dV [S]."""
        return g * np.cosh(v / self.v0)


@dataclass(frozen=True)
class MiloIV:
    """I = g V + n2(g) V**2 + n3(g) V**3; n2, n3 polynomials in log10(g / S), highest power first.

    Fitted to the curves of Milo et al., IRPS 2021, Fig. 1, between 62.5 and 110 uS and |V| <= 0.5 V; a fifth point, 0
    at 225 uS, was assumed by those who fitted (Sandia CrossSim 3.2, RRAM_Milo).
    """

    n2: tuple[float, ...] = (0.0001388, 0.001541, 0.005711, 0.007063)
    n3: tuple[float, ...] = (8.8710e-05, 6.7919e-04, 1.2968e-03)

    def _coefficients(self, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        g = np.asarray(g, np.float64)
        on = g > 1e-9
        x = np.log10(np.where(on, g, 1.0))
        return np.polyval(self.n2, x) * on, np.polyval(self.n3, x) * on

    def current(self, g: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Current [A]."""
        n2, n3 = self._coefficients(g)
        return g * v + n2 * v**2 + n3 * v**3

    def slope(self, g: np.ndarray, v: np.ndarray) -> np.ndarray:
        """dI/dV [S]."""
        n2, n3 = self._coefficients(g)
        return g + 2 * n2 * v + 3 * n3 * v**2


@dataclass(frozen=True, kw_only=True)
class Endurance:
    """Write cycles until a cell is stuck: Weibull, scale [cycles] and shape; `low` is the part that fails at g_min.

    No default: the two numbers belong to a device and its pulses.
    """

    scale: float
    shape: float
    low: float = 0.5

    def __post_init__(self) -> None:
        positive("endurance scale", self.scale, "cycles")
        positive("endurance shape", self.shape, "1")
        checked_fraction("endurance low", self.low)

    def limits(self, u: np.ndarray) -> np.ndarray:
        """Cycles that cells live, from uniform numbers u in [0, 1)."""
        return self.scale * (-np.log1p(-u)) ** (1 / self.shape)
