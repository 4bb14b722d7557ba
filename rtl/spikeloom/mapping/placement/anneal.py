"""Simulated annealing on a smooth cost: what brings large layers near the bound, where a solver alone does not.

The expected rows change only where an engine is the fullest of a source, so most exchanges change nothing and give a
search no direction. Instead each source pays for its targets on each engine, more and more steeply::

    cost = sum_e rate_e sum_j exp(beta (c_ej - t_e)) / 4 + expected rows,     t_e = ceil(targets in the pass / M)

beta = 2 / sqrt(mean t): steep where counts are small. A step takes two bins, looks at the exchanges between up to 96
neurons of each at once (`State.table`), and takes one of them by heat bath: exchange k with odds exp(-change_k / T)
against 1 for none. T falls geometrically. The best placement in expected rows is kept, within all limits.
"""

import math
import time
from collections.abc import Callable

import numpy as np

from .state import State

__all__ = ["anneal"]

HOT, COLD = 1.0, 0.1
"""First and last temperature, in mean rates of a source."""
WEIGHT = 0.3
SAME_PASS = 0.8
"""Part of the steps within a pass."""


def anneal(
    state: State,
    rng: np.random.Generator,
    *,
    steps: int,
    deadline: float,
    progress: Callable[[str, float | None], None] | None = None,
) -> None:
    """Take so many steps, fewer where `time.monotonic()` passes the deadline; leaves the best placement in `state`."""
    given, engines = state.given, state.engines
    several = given.fan_out > 1
    if not several.any() or state.bins < 2:
        return
    rates = given.rates
    unit = float((rates[several] ** 2).sum() / max(rates[several].sum(), 1e-300))
    if unit <= 0:
        return
    target = _targets(state, slice(None))
    busy = (target * rates[:, None]).sum() / max((rates[:, None] * (target > 0)).sum(), 1e-300)
    beta = 2.0 / math.sqrt(max(1.0, float(busy)))
    up, down = math.exp(beta) - 1, 1 - math.exp(-beta)
    price = np.zeros(state.counts.shape, np.float32)

    def refresh(sources: np.ndarray | slice) -> None:
        counts = state.counts[sources].astype(np.float32)
        over = counts - np.repeat(_targets(state, sources), engines, axis=1)
        price[sources] = np.exp(np.minimum(beta * over, 20.0)) * (WEIGHT * rates[sources, None])

    refresh(slice(None))
    best, kept = state.cost, state.bin.copy()
    for step in range(steps):
        if best <= given.bound * (1 + 1e-12) or (step % 16 == 0 and time.monotonic() > deadline):
            break
        temperature = unit * HOT * (COLD / HOT) ** (step / steps)
        i, j = _pair(state, rng)
        if not state.members[i] and not state.members[j]:
            continue
        x, y = state.sample(i, rng), state.sample(j, rng)
        u, w = state.row_changes(i, j)
        if i // engines == j // engines:
            pi, pj = price[:, i], price[:, j]
            u = u + (pj * up - pi * down)
            w = w + (pi * up - pj * down)
        table = state.table(u, w, i, x, j, y)
        # A race: the first of exponential arrivals with rates exp(-change / T) is a draw with those odds.
        waits = rng.standard_exponential(table.shape, np.float32)
        waits *= np.exp(np.clip(table / np.float32(temperature), -80, 80))
        row, column = divmod(int(waits.argmin()), table.shape[1])
        if waits[row, column] >= rng.standard_exponential():
            continue
        moved = [state.members[b][k] for b, k in ((i, int(x[row])), (j, int(y[column]))) if k < len(state.members[b])]
        if not moved or not state.swap(i, int(x[row]), j, int(y[column])):
            continue
        refresh(np.concatenate([state.sources_of(neuron) for neuron in moved]))
        if state.cost < best - 1e-9 * unit:
            best, kept = state.cost, state.bin.copy()
        if progress is not None and step % 500 == 0:
            progress(f"annealing: {best:g} rows", step / steps)
    state.place(kept)


def _targets(state: State, sources: np.ndarray | slice) -> np.ndarray:
    """t of the module, [sources, passes]: fewest rows for the targets that a source has in each pass."""
    table = state.counts[sources].reshape(-1, state.passes, state.engines)
    return -(-table.sum(axis=2, dtype=np.int32) // state.engines)


def _pair(state: State, rng: np.random.Generator) -> tuple[int, int]:
    """Two bins, mostly of one pass."""
    i = int(rng.integers(state.bins))
    if state.engines > 1 and (state.passes == 1 or rng.random() < SAME_PASS):
        base = i // state.engines * state.engines
        return i, base + (i - base + 1 + int(rng.integers(state.engines - 1))) % state.engines
    return i, (i + 1 + int(rng.integers(state.bins - 1))) % state.bins
