"""How a pruned dense layer is placed on a sparse engine: only weights that are not 0 are stored and added.

Neuron n sits in lane n mod P of group n // P, as everywhere. The weights of a source are dealt to the lanes that they
belong to: lane p has a list of {weight, group} entries. Row k of a source holds the k-th entry of each lane's list;
lanes whose list has ended have weight 0 there. So a spike takes as many cycles as its longest list. An index gives each
source its {first row, rows}. With a part d of weights left, lists are about d N / P long, and the longest of P is
longer by about sqrt(2 ln P) standard deviations, which is why few lanes gain most. Packing costs O(weights).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..errors import InputError
from ..items import address_bits
from ..network.integer import IntegerLayer
from .rows import pack_rows
from .sweep import ConnectionPlan, SweepPlan

__all__ = ["SparsePlan", "can_be_sparse"]


def can_be_sparse(layer: IntegerLayer, source_shape: tuple[int, ...], lanes: int) -> bool:
    """Whether a sparse engine can run `layer`: one dense connection between flat populations, lanes that are shared."""
    one = len(layer.connections) == 1 and not layer.connections[0].is_convolution
    return one and len(layer.shape) == 1 and len(source_shape) == 1 and lanes < layer.neurons


@dataclass(frozen=True, kw_only=True, eq=False)
class _Listed(ConnectionPlan):
    counts: np.ndarray

    def touched_rows(self) -> np.ndarray:
        return self.counts

    def reached(self) -> np.ndarray:
        return np.count_nonzero(self.connection.weights, axis=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class SparsePlan(SweepPlan):
    """One layer on a sparse engine; see the module. `weight_depth` is the rows of entries."""

    def _packed(self, layer: IntegerLayer) -> tuple[np.ndarray, np.ndarray]:
        """Rows of entries int64 [rows, lanes], and the number of rows of each source int64 [sources]."""
        weights = layer.connections[0].weights
        neurons, sources = weights.shape
        padded = np.zeros((self.groups * self.lanes, sources), np.int64)
        padded[:neurons] = weights
        source, lane, group = np.nonzero(padded.T.reshape(sources, self.groups, self.lanes).transpose(0, 2, 1))
        lists = np.bincount(source * self.lanes + lane, minlength=sources * self.lanes)
        place = np.arange(len(source)) - (np.cumsum(lists) - lists)[source * self.lanes + lane]
        counts = lists.reshape(sources, self.lanes).max(axis=1)
        first = np.cumsum(counts) - counts
        rows = np.zeros((max(1, int(counts.sum())), self.lanes), np.int64)
        bits = layer.weight_bits
        value = padded[group * self.lanes + lane, source] & ((1 << bits) - 1)
        rows[first[source] + place, lane] = value | group << bits
        return rows, counts

    @cached_property
    def row_counts(self) -> np.ndarray:
        """Rows that a spike of each source takes, int64 [sources]."""
        return self._packed(self.layer)[1]

    @cached_property
    def connections(self) -> tuple[ConnectionPlan, ...]:
        """The layer's one connection, of which a spike takes the rows of its lists."""
        given = super().connections[0]
        return (_Listed(connection=given.connection, lanes=given.lanes, base=given.base, counts=self.row_counts),)

    @property
    def weight_depth(self) -> int:
        """Rows of entries."""
        return max(1, int(self.row_counts.sum()))

    @property
    def group_bits(self) -> int:
        """Bits of the group of an entry."""
        return address_bits(self.groups)

    @property
    def entry_bits(self) -> int:
        """Bits of an entry {weight, group}."""
        return self.layer.weight_bits + self.group_bits

    @property
    def weight_row_bits(self) -> int:
        """Bits of a row of entries."""
        return self.lanes * self.entry_bits

    @property
    def count_bits(self) -> int:
        """Bits of the rows of a source; of any source whose list is no longer than the groups."""
        return self.groups.bit_length()

    @property
    def index_bits(self) -> int:
        """Bits of a source's index {first row, rows}."""
        return address_bits(self.weight_depth) + self.count_bits

    def weight_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """Contents of the memory of entries, filled up to its depth.

        Raises
        ------
        InputError
            If `layer` has more entries than the memory holds.
        """
        rows, _ = self._packed(layer or self.layer)
        if len(rows) > self.weight_depth:
            raise InputError(
                f"layer {self.name!r}: {len(rows)} rows of non-zero weights do not fit the core; "
                f"accepted are up to {self.weight_depth}"
            )
        return pack_rows(rows, self.entry_bits) + [0] * (self.weight_depth - len(rows))

    def index_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """Contents of the index, a row per source."""
        _, counts = self._packed(layer or self.layer)
        first, bits = np.cumsum(counts) - counts, address_bits(self.weight_depth)
        # A source without weights points nowhere, and must not point behind the last row either.
        first = np.where(counts > 0, first, 0)
        return [int(a) | int(b) << bits for a, b in zip(first, counts, strict=True)]

    @property
    def sparse_bits(self) -> int:
        """Bits of entries, index and the further pair of accumulator banks that a sparse engine has."""
        sums = 2 * self.groups * sum(self.lane_bits)
        return self.weight_depth * self.weight_row_bits + len(self.row_counts) * self.index_bits + sums

    @property
    def pays(self) -> bool:
        """Whether the layer takes fewer bits and, with equally active sources, fewer cycles than dense rows."""
        sources = len(self.row_counts)
        fewer_bits = self.sparse_bits < sources * self.groups * self.lanes * self.layer.weight_bits
        return fewer_bits and int(self.row_counts.sum()) < sources * self.groups

    @property
    def regions(self) -> list[tuple[str, int, int]]:
        """What the load port writes: (kind, rows, bits of a row)."""
        regions = super().regions
        if self.weights == "loaded":
            regions.insert(1, ("index", len(self.row_counts), self.index_bits))
        return regions

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        return super().structure() | {"engine": "sparse", "rows": self.weight_depth}
