"""The integer program of a placement, solved by CP-SAT of OR-tools: as a whole, or for a few neurons at a time.

Variables: x[n, b] = 1 where neuron n is in bin b (an engine in a pass), length[e, p], and y[w, b] = 1 where bin b holds
weight w, which is needed only where weight depth can bind. Which virtual neuron of its engine a neuron gets changes
nothing and is no variable. ::

    minimise    sum rate_e length[e, p]                 or first maximise sum x[n, b], where not all find a place
    subject to  sum_b x[n, b] = 1                       (<= 1 where their number is maximised)
                sum_n x[n, b] <= slots
                length[e, p] >= sum of x[n, b] over targets n of e, for every engine b of pass p
                M sum_p length[e, p] >= targets_e
                y[w, b] >= x[n, b] for users n of w,  sum_w y[w, b] <= weight depth
                sum_e length[e, p] <= rows

Engines of a pass are alike, and so are passes: in the whole program neuron k of an order may use only the first k + 1
of each, because any placement can be renumbered by first use. Rates are rounded down to integers, so a bound of the
program is one of the placement. A program for a few neurons holds the others where they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ...tools import require_tool
from .state import State

__all__ = ["Solution", "solve", "terms"]

LARGEST_RATE = 1 << 20
"""Integer that the largest rate becomes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """What CP-SAT found.

    Attributes
    ----------
    status : str
        `optimal`, `feasible`, `infeasible` or `unknown` (nothing found in the time given).
    bins : int64 [neurons] or None
        Of all neurons, those that were held as well.
    bound : float
        Proven for the program that was solved: expected rows, or number of neurons that find a place.
    """

    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    bins: np.ndarray | None
    bound: float


def terms(state: State) -> int:
    """Size of the whole program: variables in the constraints of its lengths."""
    return int(state.given.synapses.nnz) * state.bins


def solve(
    state: State,
    free: np.ndarray | None = None,
    *,
    seconds: float,
    workers: int,
    seed: int,
    maximise_placed: bool = False,
    progress: Callable[[str, float | None], None] | None = None,
) -> Solution:
    """Solve the program for the neurons `free` (default: all), starting from what `state` holds.

    Time is counted in CP-SAT's deterministic units, about a second each; `seconds` of the clock end it as well. What
    it finds within those units is the same every time.

    Raises
    ------
    ToolMissing
        Without OR-tools.
    """
    require_tool("ortools")
    from ortools.sat.python import cp_model

    program = _Program(cp_model, state, free, maximise_placed)
    solver = cp_model.CpSolver()
    given = solver.parameters
    given.max_time_in_seconds, given.max_deterministic_time = seconds, seconds
    given.num_workers, given.random_seed = workers, seed
    given.interleave_search = workers > 1  # several workers in turns that do not depend on the clock
    watch = _watch(cp_model, program, progress) if progress is not None else None
    result = solver.solve(program.model, watch)
    status = {cp_model.OPTIMAL: "optimal", cp_model.FEASIBLE: "feasible", cp_model.INFEASIBLE: "infeasible"}
    bins = None
    if result in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        bins = state.bin.copy()
        for row, neuron in enumerate(program.free.tolist()):
            chosen = [b for b, x in program.x[row].items() if solver.boolean_value(x)]
            bins[neuron] = chosen[0] if chosen else -1
    return Solution(
        status=status.get(result, "unknown"),  # type: ignore[arg-type]
        bins=bins,
        bound=program.bound(solver.best_objective_bound),
    )


def _watch(cp_model: Any, program: "_Program", progress: Callable[[str, float | None], None]) -> Any:
    """Tells of every better placement."""

    class Watch(cp_model.CpSolverSolutionCallback):
        def on_solution_callback(self):
            found, bound = (program.bound(v) for v in (self.objective_value, self.best_objective_bound))
            progress(f"integer program: {found:g}, bound {bound:g}", None)

    return Watch()


class _Program:
    """The model, built from a state: `x` has a dictionary {bin: variable} for each free neuron."""

    def __init__(self, cp_model: Any, state: State, free: np.ndarray | None, maximise_placed: bool):
        self.state, self.model, self.whole = state, cp_model.CpModel(), free is None
        given = state.given
        order = np.argsort(-(given.synapses @ given.rates), kind="stable")
        self.free = order if free is None else np.asarray(free)
        self.sum = cp_model.LinearExpr.sum
        self.weighted = cp_model.LinearExpr.weighted_sum
        self._take_out()
        self._neurons(maximise_placed)
        self._lengths()
        if given.depth_binds:
            self._weights()
        if maximise_placed:
            self.scale = None
            self.model.maximize(self.sum([x for row in self.x for x in row.values()]))
            return
        largest = float(given.rates[self.sources].max(initial=0.0))
        self.scale = LARGEST_RATE / largest if largest > 0 else 1.0
        integers = np.floor(given.rates[self.sources] * self.scale).astype(np.int64)
        costs = [(int(integers[k]), variable) for (k, _), variable in self.length.items() if integers[k]]
        self.model.minimize(self.weighted([v for _, v in costs], [c for c, _ in costs]))

    def bound(self, objective: float) -> float:
        """An objective of the model in expected rows, or in neurons."""
        return objective if self.scale is None else objective / self.scale

    def _take_out(self) -> None:
        """Counts of what is held: the free neurons are taken out of those of the state."""
        state, table = self.state, self.state.given.synapses[self.free]
        self.sources = np.unique(table.indices)
        self.targets: list[list[int]] = [[] for _ in self.sources]
        self.held = state.counts[self.sources].astype(np.int64)
        for row, neuron in enumerate(self.free.tolist()):
            sources = np.searchsorted(self.sources, state.sources_of(neuron))
            for k in sources.tolist():
                self.targets[k].append(row)
            if state.bin[neuron] >= 0:
                self.held[sources, state.bin[neuron]] -= 1

    def _neurons(self, maximise_placed: bool) -> None:
        """x, slots, and one bin for each neuron; the state is the hint."""
        state, model, engines = self.state, self.model, self.state.engines
        used = set((state.bin[self.free] // engines).tolist()) if not self.whole else range(state.passes)
        hint = renumbered(state.bin[self.free], engines) if self.whole else state.bin[self.free]
        self.x: list[dict[int, Any]] = []
        for row in range(len(self.free)):
            bins = [
                p * engines + j
                for p in sorted(used)
                for j in range(engines)
                if not self.whole or (p <= row and j <= row)
            ]
            self.x.append({b: model.new_bool_var("") for b in bins})
            for b, x in self.x[-1].items():
                model.add_hint(x, int(b == hint[row]))
            (model.add_at_most_one if maximise_placed else model.add_exactly_one)(self.x[-1].values())
        self.in_bin: dict[int, list[int]] = {}
        for row, bins in enumerate(self.x):
            for b in bins:
                self.in_bin.setdefault(b, []).append(row)
        here = np.bincount(state.bin[self.free][state.bin[self.free] >= 0], minlength=state.bins)
        for b, rows in self.in_bin.items():
            left = state.slots - (len(state.members[b]) - int(here[b]))
            if left < len(rows):
                model.add(self.sum([self.x[row][b] for row in rows]) <= left)

    def _lengths(self) -> None:
        """length[source, pass], source by its place in `sources`; rows of the dispatch memory."""
        state, model, given = self.state, self.model, self.state.given
        engines = state.engines
        self.length: dict[tuple[int, int], Any] = {}
        turns = sorted({b // engines for b in self.in_bin})
        for k, targets in enumerate(self.targets):
            for p in turns:
                held = self.held[k, p * engines : (p + 1) * engines]
                low, more = int(held.max()), len(targets)
                self.length[k, p] = length = model.new_int_var(low, min(low + more, max(low, state.slots)), "")
                for j in np.flatnonzero(held + more > low).tolist():
                    variables = [self.x[row][p * engines + j] for row in targets if p * engines + j in self.x[row]]
                    if variables:
                        model.add(self.sum(variables) + int(held[j]) <= length)
            if self.whole and all(state.bin >= 0):
                need = -(-int(given.fan_out[self.sources[k]]) // engines)
                model.add(self.sum([self.length[k, p] for p in turns]) >= need)
        if given.rows_bind:
            count = given.count[self.sources].tolist()
            for p in turns:
                other = int(state.rows[p]) - int(given.count[self.sources] @ state.most[self.sources, p])
                lengths = [self.length[k, p] for k in range(len(self.sources))]
                model.add(self.weighted(lengths, count) <= given.problem.rows - other)

    def _weights(self) -> None:
        """Words of the weight memory of each bin."""
        state, model, given = self.state, self.model, self.state.given
        assert state.uses is not None
        where = state.bin[self.free]
        for b, rows in self.in_bin.items():
            mine = self.free[where == b]
            uses = state.uses[:, b].astype(np.int64)
            for neuron in mine.tolist():
                uses[state.weights_of(neuron)] -= 1
            held = int(state.own[b] - given.own[mine].sum() + np.count_nonzero(uses))
            fresh: dict[int, list[Any]] = {}
            words, sizes = [], []
            for row in rows:
                neuron = int(self.free[row])
                words.append(self.x[row][b])
                sizes.append(int(given.own[neuron]))
                for w in state.weights_of(neuron).tolist():
                    if not uses[w]:
                        fresh.setdefault(w, []).append(self.x[row][b])
            for users in fresh.values():
                y = model.new_bool_var("")
                model.add_max_equality(y, users)
                words.append(y)
                sizes.append(1)
            if held + sum(sizes) > given.problem.weight_depth:
                model.add(self.weighted(words, sizes) <= given.problem.weight_depth - held)


def renumbered(bins: np.ndarray, engines: int) -> np.ndarray:
    """The same placement with passes, and engines of each pass, numbered by first use."""
    passes: dict[int, int] = {}
    seen: dict[int, dict[int, int]] = {}
    result = np.full(len(bins), -1, np.int64)
    for k, b in enumerate(bins.tolist()):
        if b >= 0:
            turn = passes.setdefault(b // engines, len(passes))
            result[k] = turn * engines + seen.setdefault(turn, {}).setdefault(b % engines, len(seen[turn]))
    return result
