"""What is to be placed: the synapses of a layer, how often its sources fire, and the memories of a core.

A core has M engines of N virtual neurons. A *pass* is one filling of its memories; a layer that does not fit runs in
several, and each event is then issued once in each. An event of source e is issued as length_e rows, one per cycle: a
row holds at most one target of e on each engine, so in every pass::

    length_e = max over engines j of the number of targets of e on engine j
    neurons on engine j            <= slots
    different weights on engine j  <= weight_depth
    sum over e of length_e         <= rows

What is minimised is the number of passes, then sum_e rate_e length_e over all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import sparse

from ...errors import InputError
from ...network.integer import IntegerLayer, IntegerNetwork
from ...network.reference import arriving, simulate

__all__ = ["Method", "Placement", "Problem", "Status", "lengths", "measured_rates", "problem_of", "synapses"]

Method = Literal["ilp", "greedy", "round_robin"]
Status = Literal["optimal", "feasible"]


def shape_of(table: Any) -> tuple[int, int]:
    """Rows and columns of a sparse array; type stubs of SciPy leave them open."""
    rows, columns = table.shape
    return int(rows), int(columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A layer to be placed.

    Parameters
    ----------
    name : str
        Of the layer, for messages.
    targets : csr_array int64 [sources, neurons]
        Number of the weight + 1 of each synapse; synapses with the same number share one word of a weight memory.
        0, or no entry: no synapse.
    rates : float64 array [sources]
        Expected events of each source.
    engines, slots : int
        M, and N virtual neurons of each.
    weight_depth : int
        Words of the weight memory of each engine.
    rows : int
        Rows of the dispatch memory.
    passes : int
        Most passes.
    shape : tuple of int
        Of the layer; a map (C, H, W) is also tried in regular patterns.

    Raises
    ------
    InputError
        Where these do not fit each other.
    """

    name: str
    targets: sparse.csr_array
    rates: np.ndarray
    engines: int
    slots: int
    weight_depth: int
    rows: int
    passes: int = 1
    shape: tuple[int, ...] = ()

    def __post_init__(self):
        def fail(text: str):
            raise InputError(f"layer {self.name!r}: {text}")

        for key in ("engines", "slots", "weight_depth", "rows", "passes"):
            value = getattr(self, key)
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                fail(f"{key} = {value!r}: accepted is an integer of at least 1")
        targets: Any = sparse.csr_array(self.targets)
        if targets.ndim != 2 or min(shape_of(targets)) < 1 or targets.dtype.kind not in "iu":
            fail(f"targets of shape {targets.shape} and type {targets.dtype}: accepted are integers [sources, neurons]")
        targets = targets.astype(np.int64, copy=True)
        targets.sum_duplicates()
        targets.eliminate_zeros()
        if targets.nnz and targets.data.min() < 0:
            fail(f"targets down to {targets.data.min()}: accepted is 0 (no synapse) or number of the weight + 1")
        rates = np.asarray(self.rates, np.float64)
        if rates.shape != (targets.shape[0],) or not np.isfinite(rates).all() or (rates < 0).any():
            fail(f"rates of shape {rates.shape}: accepted are {targets.shape[0]} finite numbers of at least 0")
        if self.shape and math.prod(self.shape) != targets.shape[1]:
            fail(f"shape {list(self.shape)}: accepted is one of {targets.shape[1]} neurons")
        object.__setattr__(self, "targets", targets)
        object.__setattr__(self, "rates", rates)

    @property
    def sources(self) -> int:
        """Sources, of all connections of the layer."""
        return shape_of(self.targets)[0]

    @property
    def neurons(self) -> int:
        """Neurons to be placed."""
        return shape_of(self.targets)[1]

    @cached_property
    def fan_out(self) -> np.ndarray:
        """Targets of each source, int64 [sources]."""
        return np.diff(self.targets.indptr).astype(np.int64)

    @cached_property
    def by_neuron(self) -> sparse.csr_array:
        """The transpose: numbers of weights, int64 [neurons, sources]."""
        return sparse.csr_array(self.targets.T)

    @cached_property
    def weights_of(self) -> sparse.csr_array:
        """Which weights a neuron uses: ones, int64 [neurons, weights]; a weight is renumbered to those in use."""
        table = self.by_neuron
        data = np.asarray(table.data, np.int64)
        in_use = np.bincount(data) > 0
        number = np.cumsum(in_use) - 1
        shape = (self.neurons, max(1, int(in_use.sum())))
        ones = np.ones(len(data), np.int64)
        result = sparse.csr_array((ones, number[data], table.indptr), shape=shape)
        result.sum_duplicates()
        result.data[:] = 1
        return result

    @property
    def useful(self) -> float:
        """Expected synapses served: sum_e rate_e targets_e."""
        return float(self.rates @ self.fan_out)

    def expected_rows(self, each: np.ndarray) -> float:
        """sum_e rate_e length_e of lengths [passes, sources]."""
        return float(math.fsum((each.sum(axis=0) * self.rates).tolist()))


@dataclass(frozen=True, kw_only=True, eq=False)
class Placement:
    """Where each neuron runs, and how good that is known to be.

    Attributes
    ----------
    engine, turn : int64 arrays [neurons]
        Engine of each neuron, and the pass in which it runs (0 ..).
    method : str
        What made it.
    status : str
        `optimal`: no placement in as many passes has fewer expected rows, and none has fewer passes; else `feasible`.
    expected_rows : float
        sum_e rate_e length_e over all passes.
    bound : float
        No placement in as many passes has fewer expected rows.
    bound_from : str
        The relaxation that proves it; see `bounds`.
    passes : int
        Passes used; `fewest_passes` is proven to be needed.
    seconds : float
        Time taken; not part of the answer.
    """

    engine: np.ndarray
    turn: np.ndarray
    method: Method
    status: Status
    expected_rows: float
    bound: float
    bound_from: str
    fewest_passes: int
    seconds: float = 0.0

    @property
    def passes(self) -> int:
        """Passes used."""
        return int(self.turn.max()) + 1

    @property
    def gap(self) -> float:
        """(expected rows - bound) / expected rows; 0 where there is nothing to issue."""
        return (self.expected_rows - self.bound) / self.expected_rows if self.expected_rows > 0 else 0.0


def lengths(problem: Problem, placement: Placement) -> np.ndarray:
    """Rows that an event of each source takes in each pass, int64 [passes, sources]: most targets on one engine."""
    return lengths_of(problem, placement.engine, placement.turn)


def lengths_of(problem: Problem, engine: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """`lengths` of engine and pass of each neuron."""
    passes, engines = int(turn.max()) + 1, problem.engines
    neuron = problem.targets.indices
    source = np.repeat(np.arange(problem.sources), problem.fan_out)
    place = turn[neuron] * engines + engine[neuron]
    each = np.bincount(source * (passes * engines) + place, minlength=problem.sources * passes * engines)
    return each.reshape(problem.sources, passes, engines).max(axis=2).T.astype(np.int64)


def synapses(layer: IntegerLayer) -> tuple[sparse.csr_array, np.ndarray]:
    """Where the spikes of a layer go: weight numbers + 1, int64 [sources of all connections, neurons], and weights.

    Weight number w is ``weights[w]``; synapses that share a kernel weight share it. A weight of 0 is no synapse.
    """
    blocks, first = [], 1
    for connection in layer.connections:
        weights = connection.weights
        numbers = np.where(weights == 0, 0, first + np.arange(weights.size).reshape(weights.shape))
        table = connection.geometry.matrix(numbers)
        table.eliminate_zeros()
        blocks.append(table.T)
        first += weights.size
    values = np.concatenate([connection.weights.reshape(-1) for connection in layer.connections])
    return sparse.csr_array(sparse.vstack(blocks, format="csr")), values


def problem_of(
    layer: IntegerLayer,
    *,
    engines: int,
    slots: int,
    weight_depth: int,
    rows: int,
    passes: int = 1,
    rates: np.ndarray | None = None,
) -> Problem:
    """The placement problem of a layer: its sources are those of all its connections, one after the other.

    A weight of a dense connection is a word of its own, one of a kernel is shared by the synapses that use it, and a
    weight that is 0 is no synapse. `rates`: expected events of each source (`measured_rates`), by default 1 each.
    """
    targets, _ = synapses(layer)
    return Problem(
        name=layer.name,
        targets=targets,
        rates=np.ones(shape_of(targets)[0]) if rates is None else rates,
        engines=engines,
        slots=slots,
        weight_depth=weight_depth,
        rows=rows,
        passes=passes,
        shape=layer.shape,
    )


def measured_rates(
    network: IntegerNetwork, spikes: np.ndarray, *, current: np.ndarray | None = None
) -> list[np.ndarray]:
    """Events of each source of each layer per input, from the reference simulation: float64 [sources] for each layer.

    Parameters
    ----------
    network : IntegerNetwork
    spikes : array [B, T, inputs]
        The inputs, as in `simulate`; `current` likewise.

    Several spikes of one source in one step are one event with a count.
    """
    trace = simulate(network, spikes, current=current)
    brought: list[Sequence[np.ndarray]] = list(arriving(network, np.asarray(spikes), trace.spikes))
    return [
        np.concatenate([(sent > 0).sum(axis=(0, 1), dtype=np.int64) / len(sent) for sent in each]) for each in brought
    ]
