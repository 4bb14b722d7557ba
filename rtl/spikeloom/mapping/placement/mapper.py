"""From a problem to a placement: fewest passes first, then fewest expected rows.

`round_robin` deals neurons to engines in turn. `greedy` is `greedy.constructed` and 2-opt. `ilp` starts from exactly
that, anneals it, and then lets the integer program finish: the whole one where it is small, else one for some
tens of neurons at a time (large-neighbourhood search): those around a source that takes more rows than it must.

The bound is the larger of two: each event needs at least ceil(targets / M) rows, in whichever passes (`engines`), and
what CP-SAT proves of the whole program (`integer program`). A greedy placement has the first one only.
"""

import math
import time
from collections.abc import Callable

import numpy as np

from ...errors import InputError
from ...tools import require_tool
from . import ilp
from .anneal import anneal
from .greedy import constructed, round_robin, two_opt
from .limits import explain_failure, fewest_passes
from .problem import Method, Placement, Problem, lengths_of, shape_of
from .state import SAMPLE, Reduced, State, reduced

__all__ = ["place"]

Progress = Callable[[str, float | None], None]
TWO_OPT, FIRST_TRY, ANNEALING = 0.2, 0.1, 0.5
"""Parts of the time."""
WHOLE_TERMS = 60_000
"""Largest integer program that is solved as a whole to the end."""
LARGEST_TERMS = 2_000_000
"""Largest one that is built at all, to see whether a layer fits."""
NEIGHBOURHOOD = 24
"""Neurons that the first round of the search frees; more while rounds are solved to the end, fewer where not."""
ROUND_SECONDS = 1.0
EXACT = 1e-6
"""A gap below this is none: the integer program rounds rates to about a millionth of the largest."""


def place(
    problem: Problem,
    method: Method = "ilp",
    *,
    seconds: float = 60.0,
    seed: int = 0,
    workers: int = 2,
    progress: Progress | None = None,
) -> Placement:
    """Give each neuron an engine and a pass.

    Parameters
    ----------
    problem : Problem
    method : str
        `ilp` (needs OR-tools), `greedy` or `round_robin`.
    seconds : float
        How long to search; less where optimality is proven before. It is a limit, not part of the answer, unless the
        machine is too slow for the work that is planned by it: the same problem, seed, seconds and workers then give
        the same placement with the same versions of NumPy, SciPy and OR-tools.
    seed : int
        Key of the Philox streams, and the seed of CP-SAT.
    workers : int
        Threads of CP-SAT.
    progress : callable, optional
        Called with a text and the part that is done, or None.

    Raises
    ------
    InputError
        Where the layer does not fit in the passes allowed: says which constraint binds and what would be accepted.
    ToolMissing
        `ilp` without OR-tools.
    """
    if method not in ("ilp", "greedy", "round_robin"):
        raise InputError(f"method {method!r}: accepted are ilp, greedy, round_robin")
    if not (seconds > 0 and math.isfinite(seconds)) or workers < 1 or seed < 0:
        raise InputError(
            f"seconds = {seconds}, workers = {workers}, seed = {seed}: accepted are seconds above 0, at least one "
            "worker, a seed of at least 0"
        )
    if method == "ilp":
        require_tool("ortools")
    begin = time.monotonic()
    given = reduced(problem)
    fewest = fewest_passes(given)
    bound, bound_from = given.bound, "engines"
    if method == "round_robin":
        state = State(given, fewest, round_robin(given, fewest))
    else:
        state, fewest = _fitting(given, fewest, method == "ilp", seconds, seed, workers, progress)
        two_opt(state, _stream(seed, 0), deadline=begin + TWO_OPT * seconds, progress=progress)
        if method == "ilp":
            found = _searched(state, begin, seconds, seed, workers, progress)
            if found > bound:
                bound, bound_from = found, "integer program"
    turn = np.unique(state.bin // problem.engines, return_inverse=True)[1].astype(np.int64)  # a pass may have emptied
    engine = state.bin % problem.engines
    expected = problem.expected_rows(lengths_of(problem, engine, turn))
    proven = expected - bound <= EXACT * expected
    return Placement(
        engine=engine,
        turn=turn,
        method=method,
        status="optimal" if proven and turn.max() + 1 == fewest else "feasible",
        expected_rows=expected,
        bound=min(bound, expected) if bound - expected <= EXACT * expected else bound,
        bound_from=bound_from,
        fewest_passes=fewest,
        seconds=time.monotonic() - begin,
    )


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, number]))


def _fitting(
    given: Reduced, fewest: int, by_program: bool, seconds: float, seed: int, workers: int, progress: Progress | None
) -> tuple[State, int]:
    """A placement of all neurons in as few passes as can be found, and how many are proven to be needed."""
    problem, state = given.problem, None
    for passes in range(fewest, problem.passes + 1):
        if progress is not None:
            progress(f"greedy in {passes} passes" if passes > 1 else "greedy", None)
        state = constructed(given, passes)
        if (state.bin >= 0).all():
            return state, fewest
        if by_program and ilp.terms(state) <= LARGEST_TERMS:
            solved = ilp.solve(state, seconds=seconds / 3, workers=workers, seed=seed, maximise_placed=True)
            if solved.bins is not None:
                state.place(solved.bins)
                if (state.bin >= 0).all():
                    return state, fewest
            if solved.bound < problem.neurons and fewest == passes:
                fewest = passes + 1
    assert state is not None
    raise InputError(explain_failure(given, state, proven=fewest > problem.passes))


def _searched(state: State, begin: float, seconds: float, seed: int, workers: int, progress: Progress | None) -> float:
    """Bring the expected rows down for the rest of the time; return what the integer program proved, or 0."""
    given, end = state.given, begin + seconds
    unit = EXACT * max(given.bound, 1e-300)
    if state.cost - given.bound <= unit:
        return 0.0
    small, bound = ilp.terms(state) <= WHOLE_TERMS, 0.0

    def whole(limit: float) -> bool:
        """The whole program for so many seconds; whether that ends the search."""
        nonlocal bound
        solved = ilp.solve(state, seconds=limit, workers=workers, seed=seed, progress=progress)
        if solved.bins is not None:
            _keep(state, solved.bins)
        bound = max(bound, solved.bound)
        return state.cost - bound <= unit

    if small and whole(FIRST_TRY * seconds):
        return bound
    rng, now = _stream(seed, 1), time.monotonic()
    anneal(
        state,
        rng,
        steps=_steps(state, ANNEALING * seconds),
        deadline=min(end, now + 1.4 * ANNEALING * seconds),
        progress=progress,
    )
    two_opt(state, rng, deadline=min(end, time.monotonic() + seconds / 10), progress=progress)
    left = end - time.monotonic()
    if state.cost - max(bound, given.bound) <= unit or left <= 0:
        return bound
    if small:
        whole(left)
    else:
        _neighbourhoods(state, end, seed, progress)
    return bound


def _keep(state: State, bins: np.ndarray) -> bool:
    """Take over a placement that is not worse."""
    before, kept = state.cost, state.bin.copy()
    state.place(bins)
    if state.cost <= before + EXACT * before:
        return True
    state.place(kept)
    return False


def _steps(state: State, seconds: float) -> int:
    """Steps of annealing that take about so many seconds, from the size of the problem and not from a clock."""
    synapses, members = state.given.synapses, min(state.slots, SAMPLE)
    neurons, sources = shape_of(synapses)
    fan_in = synapses.nnz / neurons
    products = members * fan_in * (fan_in / sources * members)
    return int(seconds / (9e-4 + 5e-9 * products + 2e-8 * sources)) + 1


def _neighbourhoods(state: State, end: float, seed: int, progress: Progress | None) -> None:
    """Free some neurons, solve the program for them, and again, until the time is over or the bound is met."""
    given, rng, number = state.given, _stream(seed, 2), 0
    least = -(-given.fan_out // state.engines)
    by_source = given.synapses.T.tocsr()
    size = float(NEIGHBOURHOOD)
    while time.monotonic() < end - ROUND_SECONDS and state.cost - given.bound > EXACT * given.bound:
        excess = np.maximum(state.most.sum(axis=1) - least, 0) * given.rates
        if not excess.any():
            return
        free: set[int] = set()
        # Sources drawn by what they take too much, and their targets, until there are enough.
        for source in rng.choice(len(excess), min(64, int((excess > 0).sum())), replace=False, p=excess / excess.sum()):
            targets = by_source.indices[by_source.indptr[source] : by_source.indptr[source + 1]]
            room = int(size) - len(free)
            if room <= 0:
                break
            free.update((targets if len(targets) <= room else rng.choice(targets, room, replace=False)).tolist())
        solved = ilp.solve(state, np.array(sorted(free)), seconds=ROUND_SECONDS, workers=1, seed=seed + number)
        size = min(size * 1.1, len(state.bin)) if solved.status == "optimal" else max(size * 0.8, 8.0)
        number += 1
        if solved.bins is not None:
            _keep(state, solved.bins)
        if progress is not None:
            progress(f"search: {state.cost:g} rows after {number} neighbourhoods", None)
