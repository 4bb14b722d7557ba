"""C-2C ladders: a digital weight times a reference, as charge.

Node k = 1 .. n carries bit k, the lowest first; node n is the output::

        Ct            Cs_1          Cs_2
    |--||-- node 1 ---||--- node 2 --||--- ...  node n --> output
              | Cb_1          | Cb_2                | Cb_n      and Cp_k from each node to ground
            b_1 Vref        b_2 Vref              b_n Vref

With all nodes discharged first, bits b move them to v = A^-1 (Cb b Vref), A the nodal capacitance matrix:

    A[k, k] = Cb_k + Cp_k + Cs_k-1 (Ct for k = 1) + Cs_k (load for k = n)      A[k, k + 1] = -Cs_k

so that Vout = Vref sum_k w_k b_k with w = (e_n^T A^-1) Cb. A is tridiagonal: w takes O(n). Into a virtual ground at
node n flows the charge Q = C_out Vout with C_out = 1 / (A^-1)[n, n], the ladder being C_out behind Vout.

Ideal: Cb = Ct = C, Cs = 2 C, w_k = 2^(k - 1 - n), C_out = 2 C. A parasitic Cp at each node breaks the ratio of 2 unless
the ladder is sized for it: Cs = 2 (C + Cp), Ct = C + Cp give w_k = 2^(k - 1 - n) C / (C + Cp) and the charges of the
ideal ladder.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from spikeloom.errors import InputError

from ..checks import count, not_negative, positive
from ..laws import BOLTZMANN
from ..streams import Purpose, chip_seeds, normals

__all__ = ["C2C", "Ladders"]


@dataclass(frozen=True, kw_only=True)
class C2C:
    """One ladder.

    Members
    -------
    bits : n, 1 to 16. unit : F, C. reference : V.
    mismatch : relative standard deviation of C; a capacitor of s C has mismatch / sqrt(s).
    parasitic : at each node, in parts of 3 C, the capacitors that meet there.
    parasitic_spread : relative standard deviation of each parasitic.
    compensated : sized for the parasitics, as the module says.

    Raises
    ------
    InputError
        For numbers outside of these ranges.
    """

    bits: int = 7
    unit: float = 2e-15
    reference: float = 0.8
    mismatch: float = 0.0
    parasitic: float = 0.0
    parasitic_spread: float = 0.0
    compensated: bool = True

    def __post_init__(self) -> None:
        if count("ladder bits", self.bits, 1) > 16:
            raise InputError(f"ladder bits: {self.bits} was given; accepted: 1 to 16")
        positive("ladder unit", self.unit, "F")
        positive("ladder reference", self.reference, "V")
        for name in ("mismatch", "parasitic", "parasitic_spread"):
            value = not_negative(f"ladder {name}", getattr(self, name), "parts of 1")
            if value >= 0.25:
                raise InputError(f"ladder {name}: {value:g} was given; accepted: 0 to below 0.25")

    @property
    def node_parasitic(self) -> float:
        """F, Cp at each node."""
        return 3 * self.parasitic * self.unit

    @property
    def codes(self) -> int:
        """2^n."""
        return 1 << self.bits

    @property
    def series(self) -> float:
        """F, Cs as drawn."""
        return 2 * self.termination

    @property
    def termination(self) -> float:
        """F, Ct as drawn."""
        return self.unit + (self.node_parasitic if self.compensated else 0.0)


class Ladders:
    """The ladders of M engines on C chips, with the mismatch of each.

    Members: `bit`, `parasitic` [C, M, n], `series` [C, M, n - 1], `termination` [C, M], all F.

    Parameters
    ----------
    core : number of the core on its chip; with the seed, it keys the mismatch.
    """

    def __init__(self, ladder: C2C, engines: int, *, seeds: int | Iterable[int] = 0, core: int = 0) -> None:
        self.ladder, self.engines, self.core = ladder, count("engines", engines, 1), core
        self.seeds = chip_seeds(seeds)
        n, unit = ladder.bits, ladder.unit
        drawn = np.concatenate([np.full(n, unit), np.full(n - 1, ladder.series), [ladder.termination]])
        shape = (len(self.seeds), engines, len(drawn))
        caps = np.broadcast_to(drawn, shape)
        if ladder.mismatch:
            z = normals(self.seeds, shape[1:], core=core, purpose=Purpose.LADDER)
            caps = caps * (1 + ladder.mismatch * np.sqrt(unit / drawn) * z)
        parasitic = np.full((*shape[:2], n), ladder.node_parasitic)
        if ladder.parasitic_spread:
            z = normals(self.seeds, parasitic.shape[1:], core=core, purpose=Purpose.LADDER, index=1)
            parasitic = parasitic * np.maximum(1 + ladder.parasitic_spread * z, 0)
        if caps.min() <= 0:
            raise InputError(f"ladder mismatch: {ladder.mismatch:g} makes a capacitor negative; accepted: less")
        self.bit, self.series, self.termination = caps[..., :n], caps[..., n:-1], caps[..., -1]
        self.parasitic = parasitic

    def _solve(self, load: float) -> tuple[np.ndarray, np.ndarray]:
        """(A^-1)[n, :], [C, M, n], and the first members of the eliminated diagonal, see `charge_of_reference`."""
        n = self.ladder.bits
        below = np.concatenate([self.termination[..., None], self.series], axis=-1)
        above = np.concatenate([self.series, np.full((*self.termination.shape, 1), load)], axis=-1)
        diagonal = self.bit + self.parasitic + below + above
        d = diagonal.copy()
        for k in range(1, n):
            d[..., k] -= self.series[..., k - 1] ** 2 / d[..., k - 1]
        x = np.empty_like(d)
        x[..., n - 1] = 1 / d[..., n - 1]
        for k in reversed(range(n - 1)):
            x[..., k] = self.series[..., k] * x[..., k + 1] / d[..., k]
        return x, d

    def weights(self, load: float = 0.0) -> np.ndarray:
        """w [C, M, n], the lowest bit first, with `load` F at the output."""
        not_negative("load", load, "F")
        return self._solve(load)[0] * self.bit

    @property
    def output_capacitance(self) -> np.ndarray:
        """C_out [C, M], F."""
        return 1 / self._solve(0.0)[0][..., -1]

    @property
    def charges(self) -> np.ndarray:
        """Coulomb that each bit sends into a virtual ground, [C, M, n]."""
        x, _ = self._solve(0.0)
        return self.ladder.reference * self.bit * x / x[..., -1:]

    def voltages(self, load: float = 0.0) -> np.ndarray:
        """Vout of every code, [C, M, 2^n] V."""
        return self.ladder.reference * self.weights(load) @ _code_bits(self.ladder.bits)

    def transferred(self) -> np.ndarray:
        """Charge of every code into a virtual ground, [C, M, 2^n] C."""
        return self.charges @ _code_bits(self.ladder.bits)

    def dnl(self) -> np.ndarray:
        """Differential nonlinearity [LSB], [C, M, 2^n - 1]: steps over the mean step, minus 1."""
        levels = self.transferred()
        steps = np.diff(levels, axis=-1)
        return steps / ((levels[..., -1:] - levels[..., :1]) / (self.ladder.codes - 1)) - 1

    def inl(self) -> np.ndarray:
        """Integral nonlinearity [LSB], [C, M, 2^n]: levels minus the line through the first and the last."""
        return np.concatenate([np.zeros((*self.bit.shape[:2], 1)), np.cumsum(self.dnl(), axis=-1)], axis=-1)

    def noise_charge(self, temperature: float = 300.0) -> np.ndarray:
        """Standard deviation of the charge of one transfer into a virtual ground, [C, M] C.

        Opening the reset switches leaves thermal voltages of covariance k T A^-1 on the nodes; what they send out has
        the variance k T C_out. Opening the switch to the virtual ground after the transfer samples as much again.
        """
        return np.sqrt(2 * BOLTZMANN * positive("temperature", temperature, "K") * self.output_capacitance)

    def charge_of_reference(self) -> np.ndarray:
        """Charge that the reference delivers for every code into a virtual ground, [C, M, 2^n] C.

        Bit k takes Cb_k (Vref - v_k) with v_n = 0 and v = A'^-1 (Cb b Vref) of the other nodes.
        """
        n = self.ladder.bits
        bits, vref = _code_bits(n), self.ladder.reference
        drive = vref * self.bit[..., None] * bits  # [C, M, n, codes]
        v = np.zeros_like(drive)
        if n > 1:
            _, d = self._solve(0.0)
            rest = drive[..., : n - 1, :].copy()
            for k in range(1, n - 1):
                rest[..., k, :] += (self.series[..., k - 1] / d[..., k - 1])[..., None] * rest[..., k - 1, :]
            v[..., n - 2, :] = rest[..., n - 2, :] / d[..., n - 2, None]
            for k in reversed(range(n - 2)):
                v[..., k, :] = (rest[..., k, :] + self.series[..., k, None] * v[..., k + 1, :]) / d[..., k, None]
        return (self.bit[..., None] * bits * (vref - v)).sum(axis=-2)


def _code_bits(bits: int) -> np.ndarray:
    """Bits of every code, the lowest first, float64 [bits, 2^bits]."""
    return ((np.arange(1 << bits) >> np.arange(bits)[:, None]) & 1).astype(np.float64)
