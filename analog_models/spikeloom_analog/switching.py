"""Physical models of switching, for the write path: state against applied voltage and time. SI units, vectorised.

Both integrate dx/dt with steps so small that the state moves by at most 1 part in 500 of its range in one.
"""

from dataclasses import dataclass

import numpy as np

from spikeloom.errors import InputError

from .checks import not_negative, positive
from .laws import BOLTZMANN, ELECTRON

__all__ = ["VTEAM", "StanfordPKU"]

MOVE = 2e-3
"""Part of the range that a state may move in one step."""


@dataclass(frozen=True, kw_only=True)
class VTEAM:
    """Kvatinsky et al., IEEE TCAS-II 62, 786 (2015): thresholds, polynomial speed, linear resistance.

        dx/dt = k_off (v / v_off - 1)**alpha_off   v >= v_off        R = r_on + (r_off - r_on) x / d
                k_on (v / v_on - 1)**alpha_on      v <= v_on
                0                                  between

    Defaults: those of MemTorch's VTEAM (x_on = 0, x_off = d).
    """

    r_on: float = 50.0
    r_off: float = 1000.0
    d: float = 3e-9
    k_on: float = -10.0
    k_off: float = 5e-4
    alpha_on: float = 3.0
    alpha_off: float = 1.0
    v_on: float = -0.2
    v_off: float = 0.02

    def __post_init__(self) -> None:
        for name, unit in (("r_on", "ohm"), ("d", "m"), ("k_off", "m/s"), ("v_off", "V")):
            positive(f"VTEAM {name}", getattr(self, name), unit)
        if not self.r_off > self.r_on:
            raise InputError(f"VTEAM r_off: {self.r_off!r} was given; accepted: above r_on, {self.r_on:g} ohm")
        for name, unit in (("k_on", "m/s"), ("v_on", "V")):
            positive(f"VTEAM -{name}", -getattr(self, name), unit)

    @property
    def g_min(self) -> float:
        """S, fully off."""
        return 1 / self.r_off

    @property
    def g_max(self) -> float:
        """S, fully on."""
        return 1 / self.r_on

    def conductance(self, x: np.ndarray) -> np.ndarray:
        """S, of states x [m]."""
        return 1 / (self.r_on + (self.r_off - self.r_on) * np.asarray(x) / self.d)

    def state(self, g: np.ndarray) -> np.ndarray:
        """x [m] of conductances in range [S]."""
        return self.d * (1 / np.asarray(g) - self.r_on) / (self.r_off - self.r_on)

    def speed(self, v: np.ndarray) -> np.ndarray:
        """dx/dt [m/s] at voltages v."""
        v = np.asarray(v, np.float64)
        up = self.k_off * np.maximum(v / self.v_off - 1, 0) ** self.alpha_off
        down = self.k_on * np.maximum(v / self.v_on - 1, 0) ** self.alpha_on
        return np.where(v >= self.v_off, up, np.where(v <= self.v_on, down, 0.0))

    def apply(self, g: np.ndarray, v: float | np.ndarray, seconds: float) -> np.ndarray:
        """Conductances [S] after a rectangular pulse of v volts: the speed does not depend on x, so exact."""
        not_negative("seconds", seconds, "s")
        return self.conductance(np.clip(self.state(g) + self.speed(np.asarray(v)) * seconds, 0.0, self.d))


@dataclass(frozen=True, kw_only=True)
class StanfordPKU:
    """Jiang et al., IEEE TED 63, 1884 (2016), the Stanford-PKU RRAM model: a tunnelling gap, with Joule heat.

        I = i0 exp(-gap / g0) sinh(V / v0)             T = t_ambient + |V I| r_th
        dgap/dt = -vel0 exp(-q ea / kT) sinh(gamma a0 q V / (t_ox k T)),  gamma = gamma0 - beta (gap / 1 nm)**3

    gamma is 0 below a field of f_min. Defaults: MemTorch's Stanford_PKU. `variation` is the random speed of the model
    (its delta_gap), as a relative spread of the movement in one pulse; default 0.
    """

    i0: float = 1e-3
    g0: float = 0.25e-9
    v0: float = 0.25
    ea: float = 0.6
    vel0: float = 10.0
    gamma0: float = 16.0
    beta: float = 0.8
    a0: float = 0.25e-9
    t_ox: float = 12e-9
    f_min: float = 1.4e9
    r_th: float = 2.1e3
    t_ambient: float = 298.0
    v_read: float = 0.1
    r_on: float = 542.0
    r_off: float = 218586.0
    variation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("i0", "g0", "v0", "ea", "vel0", "gamma0", "a0", "t_ox", "t_ambient", "v_read", "r_on"):
            positive(f"StanfordPKU {name}", getattr(self, name), "SI units")
        for name in ("beta", "f_min", "r_th", "variation"):
            not_negative(f"StanfordPKU {name}", getattr(self, name), "SI units")
        if not self.r_off > self.r_on:
            raise InputError(f"StanfordPKU r_off: {self.r_off!r} was given; accepted: above r_on, {self.r_on:g} ohm")

    @property
    def g_min(self) -> float:
        """S, at v_read."""
        return 1 / self.r_off

    @property
    def g_max(self) -> float:
        """S, at v_read."""
        return 1 / self.r_on

    def gap(self, g: np.ndarray) -> np.ndarray:
        """m, of conductances at v_read [S]."""
        return self.g0 * np.log(self.i0 * np.sinh(self.v_read / self.v0) / (np.asarray(g) * self.v_read))

    def conductance(self, gap: np.ndarray) -> np.ndarray:
        """S at v_read."""
        return self.current(gap, self.v_read) / self.v_read

    def current(self, gap: np.ndarray, v: float | np.ndarray) -> np.ndarray:
        """A."""
        return self.i0 * np.exp(-np.asarray(gap) / self.g0) * np.sinh(np.asarray(v) / self.v0)

    def speed(self, gap: np.ndarray, v: float | np.ndarray) -> np.ndarray:
        """d gap / dt [m/s]."""
        kt = BOLTZMANN * (self.t_ambient + np.abs(v * self.current(gap, v)) * self.r_th)
        gamma = self.gamma0 - self.beta * (np.asarray(gap) / 1e-9) ** 3
        gamma = np.where(gamma * np.abs(v) / self.t_ox < self.f_min, 0.0, gamma)
        return (
            -self.vel0
            * np.exp(-ELECTRON * self.ea / kt)
            * np.sinh(np.clip(gamma * self.a0 / self.t_ox * ELECTRON * v / kt, -700, 700))
        )

    def apply(self, g: np.ndarray, v: float | np.ndarray, seconds: float, z: np.ndarray | float = 0.0) -> np.ndarray:
        """Conductances at v_read [S] after a rectangular pulse; z are standard normal numbers for `variation`."""
        not_negative("seconds", seconds, "s")
        least, most = float(self.gap(np.array(self.g_max))), float(self.gap(np.array(self.g_min)))
        gap = np.clip(self.gap(np.asarray(g, np.float64)), least, most)
        begin, left = gap.copy(), np.broadcast_to(float(seconds), gap.shape).copy()
        for _ in range(100_000):
            speed = self.speed(gap, v)
            step = np.minimum(left, MOVE * (most - least) / np.maximum(np.abs(speed), 1e-300))
            middle = self.speed(np.clip(gap + speed * step / 2, least, most), v)  # midpoint rule
            gap = np.clip(gap + middle * step, least, most)
            stopped = ((gap == least) & (middle < 0)) | ((gap == most) & (middle > 0))
            left = np.where(stopped, 0.0, left - step)
            if not (left > 0).any():
                break
        moved = (gap - begin) * (1 + self.variation * np.asarray(z))
        return self.conductance(np.clip(begin + moved, least, most))
