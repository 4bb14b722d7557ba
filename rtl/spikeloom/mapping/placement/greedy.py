"""Mapping without a solver: round-robin, and greedy by co-target degree with 2-opt.

Greedy takes the neurons in an order and puts each where it adds least to the expected rows; among equals where the
fewest of its co-targets (neurons that share a source) are, then on the emptier engine. Three orders are tried, and the
best is kept: by co-target degree, by index, and by index with the channels of a position together. 2-opt
then exchanges neurons of two engines, or moves one to a free slot, while the expected rows get fewer.
"""

import time
from collections.abc import Callable

import numpy as np
from scipy import sparse

from ...errors import InputError
from .state import Reduced, State

__all__ = ["constructed", "round_robin", "two_opt"]

ORDERS_WORK = 1 << 29
"""Largest synapses x bins for which more than one order is tried."""
LATTICE_WORK = 1 << 25
"""Most synapses that are counted in search of a pattern, some seconds."""
SLACK = 1e-5
"""A change below this part of the mean rate counts as none: it is the rounding of float32."""


def round_robin(given: Reduced, passes: int) -> np.ndarray:
    """Neuron n on engine n mod M, and a new pass when all slots are taken: bins, int64 [neurons]; enough `passes`.

    Raises
    ------
    InputError
        Where the memories of a core are too small for that.
    """
    problem = given.problem
    numbers, size = np.arange(problem.neurons), problem.engines * problem.slots
    bins = numbers // size * problem.engines + numbers % problem.engines
    state = State(given, passes, bins)
    if not state.allowed(*range(state.bins)):
        rows, words = int(state.rows.max()), max(state.distinct(b) for b in range(state.bins))
        raise InputError(
            f"layer {problem.name!r}: round_robin needs {rows} rows and {words} words of weights per engine; there are "
            f"{problem.rows} and {problem.weight_depth}; accepted are larger memories or the methods ilp, greedy"
        )
    return bins


def orders(given: Reduced, passes: int) -> list[np.ndarray]:
    """Orders in which greedy takes the neurons: the last keeps those together whose first source is the same."""
    neurons, table = given.problem.neurons, given.synapses
    degree = table @ (given.rates * (given.fan_out - 1))
    some = np.diff(table.indptr) > 0
    first = np.zeros(neurons, np.int64)
    first[some] = table.indices[table.indptr[:-1][some]]
    by_source = np.argsort(first, kind="stable")
    if table.nnz * passes * given.problem.engines > ORDERS_WORK:
        return [by_source]
    return [np.argsort(-degree, kind="stable"), np.arange(neurons), by_source]


def constructed(given: Reduced, passes: int) -> State:
    """The best of the greedy placements in so many passes; neurons that found no place have bin -1."""
    found = [_filled(State(given, passes), order) for order in orders(given, passes)]
    pattern = lattice(given, passes)
    if pattern is not None:
        found.append(pattern)
    return min(found, key=lambda state: (int((state.bin < 0).sum()), state.cost))


def lattice(given: Reduced, passes: int) -> State | None:
    """The best regular pattern of a map: neuron (c, y, x) on engine (c + a y + b x) mod M, over all a and b.

    A window then meets every engine about as often. Passes are bands of the map, or of its channels. Neurons that
    would overfill an engine are placed as greedy does. On large maps a and b are chosen on the first passes alone. None
    for layers that are no map.
    """
    problem, engines = given.problem, given.problem.engines
    if len(problem.shape) != 3:
        return None
    c, y, x = (axis.reshape(-1) for axis in np.indices(problem.shape))
    numbers = np.arange(problem.neurons)
    bands = np.empty_like(numbers)
    bands[np.argsort(y * problem.shape[2] + x, kind="stable")] = numbers
    share = -(-problem.neurons // passes)
    each = engines * engines * given.synapses.nnz / passes
    looked = max(1, min(passes, int(LATTICE_WORK / max(each, 1))))
    best, chosen = np.inf, numbers
    for rank in [bands] if passes == 1 else [bands, numbers]:
        turn = rank // share
        some = np.flatnonzero(turn < looked)
        pattern = min(
            ((a, b) for a in range(engines) for b in range(engines)),
            key=lambda ab: _cost(given, some, turn[some] * engines + (c + ab[0] * y + ab[1] * x)[some] % engines),
        )
        bins = turn * engines + (c + pattern[0] * y + pattern[1] * x) % engines
        cost = _cost(given, numbers, bins)
        if cost < best:
            best, chosen = cost, bins
    state, keep = State(given, passes), np.full(problem.neurons, -1, np.int64)
    for b in range(state.bins):
        keep[np.flatnonzero(chosen == b)[: problem.slots]] = b
    state.place(keep)
    if not state.allowed(*range(state.bins)):
        return None
    return _filled(state, np.flatnonzero(keep < 0))


def _cost(given: Reduced, neurons: np.ndarray, bins: np.ndarray) -> float:
    """Expected rows of some neurons in these bins."""
    engines = given.problem.engines
    size = (int(bins.max()) // engines + 1) * engines
    where = sparse.csr_array((np.ones(len(bins), np.float32), (bins, np.arange(len(bins)))), shape=(size, len(bins)))
    counts = (where @ given.synapses[neurons]).toarray().reshape(size // engines, engines, -1)
    return float(counts.max(axis=1).sum(axis=0) @ given.rates)


def _filled(state: State, order: np.ndarray) -> State:
    """Each neuron of a list in turn where it adds least to what `state` holds."""
    given, problem = state.given, state.given.problem
    engines, size = problem.engines, problem.engines * problem.slots
    load = np.bincount(state.bin[state.bin >= 0], minlength=state.bins)
    words = np.array([state.distinct(b) for b in range(state.bins)])
    # Where rows bind, each row of the dispatch memory counts as well as the rows that are issued.
    scale = float(given.rates.sum()) / float(given.count.sum()) if given.rows_bind else 0.0
    prices = given.rates + scale * given.count
    unit = max(float(prices.mean()), 1e-30)
    for neuron in order.tolist():
        held = load.reshape(-1, engines).sum(axis=1)
        passes = np.flatnonzero((held > 0) & (held < size))
        empty = np.flatnonzero(held == 0)  # all alike: the first stands for the others
        passes = np.concatenate([passes, empty[:1]])
        if not len(passes):
            break
        bins = (passes[:, None] * engines + np.arange(engines)).reshape(-1)
        turn = bins // engines
        sources = state.sources_of(neuron)
        counts, price = state.counts[np.ix_(sources, bins)], prices[sources]
        fills = counts == np.repeat(state.most[np.ix_(sources, passes)], engines, axis=1)
        added = price @ fills
        near = price @ counts
        added = added + 1e-3 * unit * near / max(float(near.max(initial=0.0)), 1e-30)
        added += 1e-6 * unit * load[bins] / problem.slots
        open_ = load[bins] < problem.slots
        fresh = np.full(len(bins), given.own[neuron])
        if state.uses is not None:
            fresh = fresh + (state.uses[np.ix_(state.weights_of(neuron), bins)] == 0).sum(axis=0)
            open_ &= words[bins] + fresh <= problem.weight_depth
        if given.rows_bind:
            open_ &= state.rows[turn] + given.count[sources] @ fills <= problem.rows
        if not open_.any():
            continue
        best = int(np.where(open_, added, np.inf).argmin())
        chosen = int(bins[best])
        state.move(neuron, chosen)
        load[chosen] += 1
        words[chosen] += fresh[best]
    state.members = [np.flatnonzero(state.bin == b).tolist() for b in range(state.bins)]
    return state


def two_opt(
    state: State,
    rng: np.random.Generator,
    *,
    deadline: float,
    progress: Callable[[str, float | None], None] | None = None,
) -> None:
    """Exchange neurons while the expected rows get fewer, until no exchange helps or `time.monotonic()` says stop."""
    slack = SLACK * max(float(state.given.rates.mean()), 1e-30)
    pairs = [(i, j) for i in range(state.bins) for j in range(i)]
    bound = state.given.bound
    while state.cost > bound * (1 + 1e-12):
        before = state.cost
        for k in rng.permutation(len(pairs)).tolist():
            if time.monotonic() > deadline:
                return
            i, j = pairs[k]
            _improve(state, i, j, slack, rng)
        if progress is not None:
            progress(f"2-opt: {state.cost:g} rows", None)
        if state.cost > before - slack:
            return


def _improve(state: State, i: int, j: int, slack: float, rng: np.random.Generator) -> None:
    """Make the best exchange of two bins as long as there is one."""
    while state.members[i] or state.members[j]:
        x, y = state.sample(i, rng), state.sample(j, rng)
        u, w = state.row_changes(i, j)
        table = state.table(u, w, i, x, j, y)
        while True:
            best = int(table.argmin())
            row, column = divmod(best, table.shape[1])
            if table[row, column] > -slack:
                return
            before = state.cost
            if state.swap(i, int(x[row]), j, int(y[column])):
                if state.cost > before - slack / 2:  # rounding of float32
                    return
                break
            table[row, column] = np.inf
