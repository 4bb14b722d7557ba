"""How few rows any placement of a random network can need: a count of placements, where no relaxation is tight.

Let each source e have d_e targets, a random subset of the neurons, independent of the others'. For one given placement
the length L_e is then the fullest of M engines when d_e of n neurons are drawn, and independent of the other lengths.
With B placements in all, Markov's inequality for exp(-lambda cost) and the union bound give, for every lambda > 0::

    P(some placement costs <= C) <= B exp(lambda C) prod_e E[exp(-lambda rate_e L_e)]

So with probability 1 - delta none costs less than::

    C = max over lambda of (ln delta - ln B - sum_e ln E[exp(-lambda rate_e L_e)]) / lambda

Engines of equal load make every L_e stochastically smallest: with f_a(z) the sum of C(a, k) z^k for k <= l, each
coefficient of f_(a-1) f_(b+1) - f_a f_b, which is z^(l+1) (C(a-1, l) f_b - C(b, l) f_(a-1)), is >= 0 for a > b + 1,
because C(m, k) / C(m, l) falls with m for k <= l. So P(L_e <= l) is taken for equal loads.

This is a statement about the network that was drawn, not proof for one network: a trained one is not random. It tells
whether a gap to the proven bound is the mapper's fault or the network's.
"""

import math

import numpy as np
from scipy import special

from ...errors import InputError
from .problem import Problem

__all__ = ["counting_bound"]


def counting_bound(problem: Problem, *, delta: float = 1e-9) -> float:
    """Expected rows that a random network with these fan-outs and rates needs in one pass, except with chance `delta`.

    Raises
    ------
    InputError
        Where the neurons do not fit in one pass.
    """
    neurons, engines, slots = problem.neurons, problem.engines, problem.slots
    if neurons > engines * slots:
        raise InputError(
            f"layer {problem.name!r}: {neurons} neurons in one pass: accepted are at most {engines * slots}"
        )
    if neurons == engines * slots:  # engines are alike
        placements = math.lgamma(neurons + 1) - engines * math.lgamma(slots + 1) - math.lgamma(engines + 1)
    else:
        placements = neurons * math.log(engines)
    counted = (problem.fan_out > 0) & (problem.rates > 0)
    fan_outs, rates = problem.fan_out[counted], problem.rates[counted]
    if not len(rates):
        return 0.0
    chances = {int(d): length_chances(int(d), neurons, engines) for d in np.unique(fan_outs)}
    unit, best = float(rates.mean()), 0.0
    for slope in np.geomspace(0.02, 50, 120) / unit:
        total = 0.0
        for d, chance in chances.items():
            length = np.arange(len(chance))
            given = rates[fan_outs == d]
            with np.errstate(divide="ignore"):
                logs = np.log(chance)[None, :] - slope * given[:, None] * length[None, :]
            total += float(np.sum(special.logsumexp(logs, axis=1)))
        best = max(best, (math.log(delta) - placements - total) / slope)
    return max(best, float(rates @ -(-fan_outs // engines)))


def length_chances(targets: int, neurons: int, engines: int) -> np.ndarray:
    """P(L = l), l = 0 .., of the fullest of `engines` equal engines when `targets` of `neurons` are drawn."""
    small, larger = divmod(neurons, engines)
    part = targets / neurons
    # Loads that are binomial, given their sum, are those of a draw without replacement.
    exactly = _binomial(np.array([targets]), neurons, part)[0]
    below: list[float] = []
    for most in range(targets + 1):
        product = np.ones(1)
        for load, times in ((small, engines - larger), (small + 1, larger)):
            factor = _binomial(np.arange(most + 1), load, part)
            product = np.convolve(product, _power(factor, times, targets))[: targets + 1]
        below.append(min(1.0, float(product[targets] / exactly) if len(product) > targets else 0.0))
        if below[-1] >= 1 - 1e-12:
            below[-1] = 1.0
            break
    return np.diff(below, prepend=0.0).clip(0)


def _binomial(count: np.ndarray, draws: int, part: float) -> np.ndarray:
    """Chance of each count among so many draws; 0 above them."""
    logs = -special.gammaln(count + 1.0) - special.gammaln(np.maximum(draws - count, 0) + 1.0)
    logs += (
        special.gammaln(draws + 1.0) + special.xlogy(count, part) + special.xlog1py(np.maximum(draws - count, 0), -part)
    )
    return np.where(count <= draws, np.exp(logs), 0.0)


def _power(factor: np.ndarray, times: int, degree: int) -> np.ndarray:
    """A polynomial to a power, up to a degree."""
    result = np.ones(1)
    while times:
        if times & 1:
            result = np.convolve(result, factor)[: degree + 1]
        factor = np.convolve(factor, factor)[: degree + 1]
        times >>= 1
    return result
