"""What a write pulse does to a cell: a response, from a switching model or from measured curves.

A pulse has one of AMPLITUDES amplitudes. In a cell of conductance G, amplitude a moves ln G, up or down, by

    moves()[a] * slope(G, up)

in the mean; single pulses spread by `cycle_spread` (relative), single cells by `cell_spread` (of ln). `cells` rounds
this to integers once and adds the noise.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from spikeloom.errors import InputError
from spikeloom.mapping.write_verify import AMPLITUDES, DISTANCES, NEAREST

from .checks import finite_array, not_negative, positive
from .switching import StanfordPKU

__all__ = ["GapPulse", "Response", "TableResponse", "first_amplitudes"]

ON_POINT = 1.001
"""A cell this near to a point of a measured curve is on it."""
FINEST = 0.02
"""|d ln G| of the weakest pulse: about the tolerance of a verified cell."""


class Response(Protocol):
    """What one write pulse does."""

    @property
    def cycle_spread(self) -> float:
        """Standard deviation from pulse to pulse, relative."""
        ...

    @property
    def cell_spread(self) -> float:
        """Standard deviation from cell to cell, of the logarithm of its moves."""
        ...

    def moves(self) -> np.ndarray:
        """|d ln G| of each amplitude in a cell of slope 1, float64 [AMPLITUDES], ascending."""
        ...

    def slope(self, g: np.ndarray, *, up: bool) -> np.ndarray:
        """Factor of that at conductances g [S], of the shape of g."""
        ...


def _constant_speed() -> StanfordPKU:
    """Without what makes the speed depend on the gap: the field enhancement's cubic term, heating, the least field."""
    return StanfordPKU(beta=0.0, r_th=0.0, f_min=0.0, t_ambient=300.0)


@dataclass(frozen=True, kw_only=True)
class GapPulse:
    """A gap that moves evenly, G ~ exp(-gap / g0), at the speed of the Stanford-PKU model:

        |d ln G| = width |speed(V)| / g0,  V = first + a * step

    Assumed: the speed does not depend on the gap (`law` is without its cubic term, its heating and its least field,
    none of which matters for pulses of 55 ns that are given again and again), the voltages, and the two spreads.
    """

    width: float = 55e-9
    first: float = 0.80
    step: float = 0.02
    cycle_spread: float = 0.3
    cell_spread: float = 0.3
    law: StanfordPKU = field(default_factory=_constant_speed)

    def __post_init__(self) -> None:
        for name, unit in (("width", "s"), ("first", "V"), ("step", "V")):
            positive(f"write pulse {name}", getattr(self, name), unit)
        for name in ("cycle_spread", "cell_spread"):
            not_negative(f"write pulse {name}", getattr(self, name), "parts of a move")

    def moves(self) -> np.ndarray:
        """See `Response`."""
        volts = self.first + self.step * np.arange(AMPLITUDES)
        return self.width * np.abs(self.law.speed(np.zeros(AMPLITUDES), volts)) / self.law.g0

    def slope(self, g: np.ndarray, *, up: bool) -> np.ndarray:
        """1 everywhere."""
        return np.ones_like(g)


@dataclass(frozen=True, eq=False)
class TableResponse:
    """Measured curves: conductance [S] after pulse 0, 1, 2 ... of one shape; `up` ascending, `down` descending.

    The slope at G is what one pulse moved ln G by where the curve passes G, 0 beyond its end. An amplitude is a part
    of that pulse, at most all of it (assumed: shorter pulses move in proportion): amplitude 0 moves the fastest cell by
    FINEST, the others grow as those of `GapPulse` do, so that one write-verify plan serves all devices.
    """

    up: np.ndarray
    down: np.ndarray
    cycle_spread: float = 0.0
    cell_spread: float = 0.0

    def __post_init__(self) -> None:
        for name, sign in (("up", 1), ("down", -1)):
            curve = finite_array(f"pulse response {name}", getattr(self, name), 1, "S")
            if len(curve) < 2 or (sign * np.diff(curve) <= 0).any() or (curve < 0).any():
                word = "ascending" if sign > 0 else "descending"
                raise InputError(f"pulse response {name}: accepted: two or more conductances of 0 S or more, {word}")
        for name in ("cycle_spread", "cell_spread"):
            not_negative(name, getattr(self, name), "parts of a move")

    def moves(self) -> np.ndarray:
        """See `Response`: parts of a measured pulse."""
        fastest = max(self._steps(True).max(), self._steps(False).max())
        growth = GapPulse().moves()
        return np.minimum(1.0, FINEST / fastest * growth / growth[0])

    def _ends(self, up: bool) -> np.ndarray:
        """Conductances between the pulses, ascending; one of 0 S is taken as a thousandth of the largest."""
        curve = self.up if up else self.down[::-1]
        return np.maximum(curve, 1e-3 * curve[-1]) if curve[0] == 0 else np.asarray(curve)

    def _steps(self, up: bool) -> np.ndarray:
        """|d ln G| of each pulse, in the order of `_ends`."""
        return np.diff(np.log(self._ends(up)))

    def slope(self, g: np.ndarray, *, up: bool) -> np.ndarray:
        """See `Response`."""
        ends, steps = self._ends(up), self._steps(up)
        if up:
            return np.concatenate([steps[:1], steps, [0.0]])[np.searchsorted(ends / ON_POINT, g, side="right")]
        return np.concatenate([[0.0], steps, steps[-1:]])[np.searchsorted(ends * ON_POINT, g, side="left")]


def first_amplitudes(response: Response) -> tuple[int, ...]:
    """The first amplitude for each distance of a cell from its target: at a ratio of 2**d it moves by ln(1 + 2**d).

    That of `GapPulse` is the default of `WriteVerifyPlan`.
    """
    wanted = np.log1p(2.0 ** np.arange(NEAREST, NEAREST + DISTANCES))
    places = np.searchsorted(response.moves(), wanted, side="right") - 1
    return tuple(int(a) for a in np.clip(places, 0, AMPLITUDES - 1))
