"""Weight sharing: a layer whose weights take few distinct values, as an index per synapse and a table of levels.

    w[n, i] = table[index[n, i]]         K levels, the indices ceil(log2 K) bits each

Levels come from k-means in one dimension (Lloyd), from centres spaced evenly between the extremes, which keeps the rare
large weights (Han et al., "Deep compression", ICLR 2016); cost O(distinct values * iterations). The centre nearest to 0
becomes 0 where weights of both signs exist, so that pruned and unused synapses stay without effect.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from ..errors import InputError
from .integer import IntegerLayer

__all__ = ["MOST_LEVELS", "centroids", "distinct_levels", "level_indices", "share_weights", "shared_weights"]

ITERATIONS = 100
MOST_LEVELS = 256


def centroids(values: np.ndarray, levels: int, *, counts: np.ndarray | None = None) -> np.ndarray:
    """At most `levels` centres of `values` by k-means, ascending, float64; `counts` says how often each value is there.

    Raises
    ------
    InputError
        For fewer than 2 or more than 256 levels, or no values.
    """
    if not 2 <= levels <= MOST_LEVELS:
        raise InputError(f"{levels} levels: accepted are 2 to {MOST_LEVELS}")
    values = np.asarray(values, np.float64).ravel()
    if not values.size:
        raise InputError("no weights to share: accepted is at least one")
    weight = np.ones(len(values)) if counts is None else np.asarray(counts, np.float64)
    order = np.argsort(values, kind="stable")
    values, weight = values[order], weight[order]
    total, moment = (np.concatenate([[0.0], np.cumsum(each)]) for each in (weight, weight * values))
    centres = np.linspace(values[0], values[-1], levels)
    for _ in range(ITERATIONS):
        ends = np.searchsorted(values, (centres[1:] + centres[:-1]) / 2, side="right")
        ends = np.concatenate([[0], ends, [len(values)]])
        mass = np.diff(total[ends])
        moved = np.where(mass > 0, np.diff(moment[ends]) / np.where(mass > 0, mass, 1), centres)
        away = np.abs(values - np.repeat(centres, np.diff(ends)))
        if (mass == 0).any() and away.any():  # a centre without values goes where one is missed most
            moved[mass.argmin()] = values[away.argmax()]
            moved.sort()
        if np.array_equal(moved, centres):
            break
        centres = moved
    if values[0] < 0 < values[-1]:
        centres[np.abs(centres).argmin()] = 0.0
    return np.unique(centres)


def distinct_levels(layers: Iterable[IntegerLayer]) -> np.ndarray:
    """The distinct weights of all connections of `layers`, ascending, int64."""
    found = [_distinct(connection.weights) for layer in layers for connection in layer.connections]
    return np.unique(np.concatenate(found)).astype(np.int64)


def _distinct(weights: np.ndarray) -> np.ndarray:
    """np.unique, in time and memory that do not grow with the sorting of millions of weights."""
    low, high = int(weights.min()), int(weights.max())
    if high - low >= 1 << 16:
        return np.unique(weights)
    seen = np.zeros(high - low + 1, bool)
    for row in weights.reshape(len(weights), -1):
        seen[row - low] = True
    return low + np.flatnonzero(seen)


def level_indices(weights: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The index of each weight in `table` (ascending), of the shape of `weights`, uint8.

    Raises
    ------
    InputError
        For a weight that is no level of the table.
    """
    table = np.asarray(table)
    indices = np.searchsorted(table[1:], weights, side="right").astype(np.uint8)
    wrong = table[indices] != weights
    if wrong.any():
        at = tuple(int(n) for n in np.argwhere(wrong)[0])
        raise InputError(f"weight {int(weights[at])} of synapse {list(at)}: accepted are the levels {table.tolist()}")
    return indices


def shared_weights(indices: np.ndarray, table: np.ndarray) -> np.ndarray:
    """table[indices]: the weights of a layer from the index of each synapse, int64.

    Raises
    ------
    InputError
        For an index that the table has not.
    """
    indices, table = np.asarray(indices), np.asarray(table, np.int64)
    wrong = np.argwhere((indices < 0) | (indices >= len(table)))
    if len(wrong):
        at = tuple(int(n) for n in wrong[0])
        raise InputError(
            f"index {int(indices[at])} of synapse {list(at)}: accepted is 0 to {len(table) - 1}: the table has "
            f"{len(table)} levels"
        )
    return table[indices]


def share_weights(
    layers: Sequence[IntegerLayer], levels: int, *, across: Literal["layer", "network"] = "layer"
) -> list[IntegerLayer]:
    """`layers` with weights of at most `levels` distinct values each, or all together (across the network).

    Layers that have no more already stay as they are.

    Raises
    ------
    InputError
        For fewer than 2 or more than 256 levels.
    """
    groups = [[layer] for layer in layers] if across == "layer" else [list(layers)]
    return [layer for group in groups for layer in _shared(group, levels)]


def _shared(layers: list[IntegerLayer], levels: int) -> list[IntegerLayer]:
    if len(distinct_levels(layers)) <= levels:
        return layers
    parts = [connection.weights.ravel() for layer in layers for connection in layer.connections]
    values, counts = np.unique(np.concatenate(parts), return_counts=True)
    table = np.unique(np.rint(centroids(values, levels, counts=counts))).astype(np.int64)
    return [
        dataclasses.replace(
            layer,
            connections=tuple(
                dataclasses.replace(connection, weights=_nearest(connection.weights, table))
                for connection in layer.connections
            ),
        )
        for layer in layers
    ]


def _nearest(weights: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The level of `table` nearest to each weight; of two, the upper one."""
    return table[np.searchsorted((table[1:] + table[:-1]) / 2, weights, side="right")]
