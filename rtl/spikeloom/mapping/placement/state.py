"""A placement in the making: targets of each source on each engine, kept up to date while neurons move.

A *bin* is an engine in a pass: number ``turn M + engine``. Sources with the same targets are one (`Reduced`). A change
is a swap of two neurons, or of a neuron and a free slot, between bins i and j. What it does to a sum over sources
depends on a source only by whether the neuron, its partner, both or neither is a target. So the changes of all swaps
of two bins are one product of matrices: with u_e the change of source e where only the neuron of i is a target, w_e
where only that of j is, and nothing where both are::

    change[n, m] = sum_e A[n, e] u_e + sum_e A[m, e] w_e - sum_e A[n, e] A[m, e] (u_e + w_e)

The cost of a swap is O(fan-in M); of a table of changes between k and k neurons O(k^2 sources).
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from .problem import Problem, shape_of

__all__ = ["Reduced", "State", "reduced"]

SAMPLE = 96
"""Neurons of a bin that are looked at together; others have their turn later."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reduced:
    """The problem as the solvers see it: sources with the same targets are merged, those without any are gone.

    Attributes
    ----------
    synapses : csr_array float32 [neurons, sources], of ones
    rates : float64 [sources]
        Summed over what was merged.
    count : int64 [sources]
        Sources that were merged.
    fan_out : int64 [sources]
    own : int64 [neurons]
        Weights that only this neuron uses.
    shared : csr_array int64 [neurons, weights], of ones
        Weights that several neurons use.
    depth_binds, rows_bind : bool
        Whether weight depth and rows can be exceeded at all.
    """

    problem: Problem
    synapses: sparse.csr_array
    rates: np.ndarray
    count: np.ndarray
    fan_out: np.ndarray
    own: np.ndarray
    shared: sparse.csr_array
    depth_binds: bool
    rows_bind: bool

    @property
    def bound(self) -> float:
        """sum_e rate_e ceil(targets_e / M): a row serves at most M targets, in whichever pass."""
        return float(self.rates @ -(-self.fan_out // self.problem.engines))


def reduced(problem: Problem) -> Reduced:
    """Merge the sources of a problem."""
    targets = problem.targets
    first: dict[bytes, int] = {}
    group = np.full(problem.sources, -1, np.int64)
    for source in np.flatnonzero(problem.fan_out):
        key = targets.indices[targets.indptr[source] : targets.indptr[source + 1]].tobytes()
        group[source] = first.setdefault(key, len(first))
    used = group >= 0
    kept = np.unique(group[used], return_index=True)[1]
    chosen = np.flatnonzero(used)[kept]
    table = sparse.csr_array(targets[chosen].T) if len(chosen) else sparse.csr_array((problem.neurons, 1), dtype=int)
    synapses = sparse.csr_array((np.ones(table.nnz, np.float32), table.indices, table.indptr), shape=table.shape)
    sources = max(1, len(chosen))
    weights = problem.weights_of
    users = np.bincount(weights.indices, minlength=shape_of(weights)[1])
    owner = users[weights.indices] == 1
    own = np.bincount(np.repeat(np.arange(problem.neurons), np.diff(weights.indptr))[owner], minlength=problem.neurons)
    shared = sparse.csr_array(weights[:, np.flatnonzero(users > 1)])
    own = own.astype(np.int64)
    most_own = np.sort(own)[::-1][: problem.slots].sum()
    fan_out = np.diff(targets.indptr)[chosen].astype(np.int64) if len(chosen) else np.zeros(1, np.int64)
    count = np.bincount(group[used], minlength=sources).astype(np.int64)
    return Reduced(
        problem=problem,
        synapses=synapses,
        rates=np.bincount(group[used], weights=problem.rates[used], minlength=sources),
        count=count,
        fan_out=fan_out,
        own=own,
        shared=shared,
        depth_binds=bool(most_own + shape_of(shared)[1] > problem.weight_depth),
        rows_bind=bool(count @ np.minimum(fan_out, problem.slots) > problem.rows),
    )


class State:
    """Neurons in bins, in a number of passes; -1 in `bin` is a neuron without a place."""

    def __init__(self, given: Reduced, passes: int, bins: np.ndarray | None = None):
        problem = given.problem
        self.given, self.passes, self.engines, self.slots = given, passes, problem.engines, problem.slots
        self.bins = passes * problem.engines
        neurons, sources = shape_of(given.synapses)
        self.bin = np.full(neurons, -1, np.int64)
        self.members: list[list[int]] = [[] for _ in range(self.bins)]
        self.counts = np.zeros((sources, self.bins), np.int16)
        self.most = np.zeros((sources, passes), np.int32)
        self.at_most = np.full((sources, passes), self.engines, np.int32)
        self.own = np.zeros(self.bins, np.int64)
        self.uses = np.zeros((shape_of(given.shared)[1], self.bins), np.int32) if given.depth_binds else None
        self.rows = np.zeros(passes, np.int64)
        self.cost = 0.0
        if bins is not None:
            self.place(bins)

    def place(self, bins: np.ndarray) -> None:
        """Put every neuron in the bin of a list; -1: nowhere."""
        given, placed = self.given, np.flatnonzero(bins >= 0)
        self.bin = np.array(bins, np.int64)
        self.members = [np.flatnonzero(self.bin == b).tolist() for b in range(self.bins)]
        where = sparse.csr_array(
            (np.ones(len(placed), np.float32), (placed, self.bin[placed])), shape=(len(bins), self.bins)
        )
        self.counts = np.asarray((given.synapses.T @ where).toarray()).astype(np.int16)
        table = self.counts.reshape(-1, self.passes, self.engines)
        self.most = table.max(axis=2)
        self.at_most = (table == self.most[:, :, None]).sum(axis=2, dtype=np.int32)
        self.own = np.bincount(self.bin[placed], weights=given.own[placed], minlength=self.bins).astype(np.int64)
        if self.uses is not None:
            self.uses = np.asarray((given.shared.T @ where).toarray()).astype(np.int16)
        self.rows = given.count @ self.most
        self.cost = float(given.rates @ self.most.sum(axis=1))

    def sources_of(self, neuron: int) -> np.ndarray:
        """Sources of a neuron; none of -1, a free slot."""
        if neuron < 0:
            return np.empty(0, np.int32)
        table = self.given.synapses
        return table.indices[table.indptr[neuron] : table.indptr[neuron + 1]]

    def weights_of(self, neuron: int) -> np.ndarray:
        """Shared weights of a neuron."""
        table = self.given.shared
        return table.indices[table.indptr[neuron] : table.indptr[neuron + 1]]

    def move(self, neuron: int, target: int) -> None:
        """Take a neuron out of its bin, and put it into another unless that is -1. Members are the caller's affair."""
        before, given = int(self.bin[neuron]), self.given
        sources = self.sources_of(neuron)
        for b, step in ((before, -1), (target, 1)):
            if b < 0:
                continue
            self.own[b] += step * given.own[neuron]
            if self.uses is not None:
                self.uses[self.weights_of(neuron), b] += step
            turn = b // self.engines
            self.counts[sources, b] += step
            table = self.counts[sources, turn * self.engines : (turn + 1) * self.engines]
            most = table.max(axis=1, initial=0)
            change = most - self.most[sources, turn]
            self.rows[turn] += int(given.count[sources] @ change)
            self.cost += float(given.rates[sources] @ change)
            self.most[sources, turn] = most
            self.at_most[sources, turn] = (table == most[:, None]).sum(axis=1)
        self.bin[neuron] = target

    def distinct(self, b: int) -> int:
        """Words that a bin needs in its weight memory (where those can be too many)."""
        return int(self.own[b]) + (0 if self.uses is None else int(np.count_nonzero(self.uses[:, b])))

    def allowed(self, *bins: int) -> bool:
        """Whether these bins and their passes are within weight depth and rows."""
        problem = self.given.problem
        if self.given.rows_bind and any(self.rows[b // self.engines] > problem.rows for b in bins):
            return False
        return not self.given.depth_binds or all(self.distinct(b) <= problem.weight_depth for b in bins)

    def swap(self, i: int, x: int, j: int, y: int) -> bool:
        """Exchange member x of bin i and member y of bin j (behind the last: a free slot); False where not allowed."""
        here, there = self.members[i], self.members[j]
        n, m = (bin_[k] if k < len(bin_) else -1 for bin_, k in ((here, x), (there, y)))
        pairs = [(neuron, target) for neuron, target in ((n, j), (m, i)) if neuron >= 0]
        for neuron, target in pairs:
            self.move(neuron, target)
        if not self.allowed(i, j):
            for neuron, target in pairs:
                self.move(neuron, i if target == j else j)
            return False
        for bin_, k, new in ((here, x, m), (there, y, n)):
            if k == len(bin_):
                if new >= 0:
                    bin_.append(new)
            elif new >= 0:
                bin_[k] = new
            else:
                del bin_[k]
        return True

    def sample(self, b: int, rng: np.random.Generator) -> np.ndarray:
        """Positions of up to `SAMPLE` members of a bin, and that of a free slot where there is one."""
        members = len(self.members[b])
        chosen = np.arange(members) if members <= SAMPLE else rng.choice(members, SAMPLE, replace=False)
        return np.append(chosen, members) if members < self.slots else chosen

    def table(self, u: np.ndarray, w: np.ndarray, i: int, x: np.ndarray, j: int, y: np.ndarray) -> np.ndarray:
        """Changes of the module between members x of bin i and y of bin j, float32 [x, y]; free slots at the end."""
        u, w = u.astype(np.float32), w.astype(np.float32)
        rows = []
        for b, chosen in ((i, x), (j, y)):
            members = self.members[b]
            rows.append([members[k] for k in chosen.tolist() if k < len(members)])
        changes = np.zeros((len(x), len(y)), np.float32)
        n, m = len(rows[0]), len(rows[1])
        a, b = self.given.synapses[rows[0]], self.given.synapses[rows[1]]
        weighted = sparse.csr_array((a.data * (u + w)[a.indices], a.indices, a.indptr), shape=a.shape)
        changes[:n, :m] = -(weighted @ b.T).toarray()
        changes[:n] += (a @ u)[:, None]
        changes[:, :m] += (b @ w)[None, :]
        return changes

    def row_changes(self, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        """u and w of the module for the expected rows: change where only the neuron of i, or of j, is a target."""
        p, q = i // self.engines, j // self.engines
        ci, cj = self.counts[:, i], self.counts[:, j]
        top, alone = self.most[:, p], self.at_most[:, p] == 1
        if p == q:
            u = (cj == top).astype(np.float32) - ((ci == top) & alone & (cj <= top - 2))
            w = (ci == top).astype(np.float32) - ((cj == top) & alone & (ci <= top - 2))
        else:
            top_q, alone_q = self.most[:, q], self.at_most[:, q] == 1
            full_i, full_j = ci == top, cj == top_q
            u = full_j.astype(np.float32) - (full_i & alone)
            w = full_i.astype(np.float32) - (full_j & alone_q)
        return u * self.given.rates, w * self.given.rates
