"""How a layer is placed on compute-in-memory arrays: rows, tiles, banks, and the passes of a tick.

A column is a neuron; row b of an array holds bit b of the potentials of all its columns, B rows in all, and behind
them each source has a weight row per bit. A layer with more sources than fit is cut into T tiles (a power of two),
each with partial sums of its own; in a tile the weights lie in K banks, arrays that are read at once. The spike of
source s goes to slot ``s mod T K``: bank ``slot mod K`` of tile ``slot // K``, there to weight ``s // T K``::

    bank 0      rows 0 .. B-1 sums, then the weights, W rows each, and in tile 0 the biases
    other banks weights only

A layer wider than an array takes several side by side, which work as one.

Everything is done in passes of B cycles, a row a cycle, from the lowest bit up; `passes` lists those of a tick.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ..config import CimConfig
from ..errors import InputError
from ..network.integer import IntegerLayer, IntegerNetwork
from .plan import LayerPlan, dense_weights

__all__ = ["SLOT_DEPTH", "ArrayPlan", "CimPlan", "SequentialPlan", "place_cim"]

Pass = Literal["bias", "merge", "compare", "clamp", "subtract", "decay"]
SLOT_DEPTH = 2
"""Spikes that wait in front of each bank."""


@dataclass(frozen=True, kw_only=True)
class ArrayPlan:
    """One array: the piece of a bank that holds columns `first` .. `first + columns - 1`."""

    tile: int
    bank: int
    first: int
    columns: int
    rows: int

    @property
    def name(self) -> str:
        """Name of the memory within its layer."""
        return f"array{self.tile}_{self.bank}_{self.first}"


@dataclass(frozen=True, kw_only=True, eq=False)
class CimPlan(LayerPlan):
    """One layer on arrays, all neurons at once; see the module."""

    bits: int
    """B, rows of a potential."""
    tiles: int
    banks: int
    columns: int
    """Most columns of an array."""

    @cached_property
    def lane_bits(self) -> tuple[int, ...]:
        """Accumulator bits of each neuron: all columns have as many rows."""
        return (self.bits,) * self.lanes

    @property
    def slots_in(self) -> int:
        """Weight rows that can be added at once: banks of all tiles."""
        return self.tiles * self.banks

    @property
    def weight_bits(self) -> int:
        """W, rows of a weight: its sign is extended, and no weight needs more bits than a potential."""
        return min(self.layer.weight_bits, self.bits)

    @property
    def bias_row_count(self) -> int:
        """Rows of the biases."""
        return min(self.bias_bits, self.bits)

    @property
    def weights_each(self) -> int:
        """Weights in a bank."""
        return -(-self.layer.fan_in // self.slots_in)

    @property
    def bias_row(self) -> int:
        """First row of the biases, in bank 0 of tile 0."""
        return self.bits + self.weights_each * self.weight_bits

    def base(self, bank: int) -> int:
        """First row of weights."""
        return 0 if bank else self.bits

    def rows(self, tile: int, bank: int) -> int:
        """Rows of an array."""
        biases = self.bias_row_count if (tile, bank) == (0, 0) else 0
        return max(2, self.base(bank) + self.weights_each * self.weight_bits + biases)

    @cached_property
    def arrays(self) -> tuple[ArrayPlan, ...]:
        """All arrays of the layer."""
        neurons = self.layer.neurons
        return tuple(
            ArrayPlan(
                tile=tile,
                bank=bank,
                first=first,
                columns=min(self.columns, neurons - first),
                rows=self.rows(tile, bank),
            )
            for tile in range(self.tiles)
            for bank in range(self.banks)
            for first in range(0, neurons, self.columns)
        )

    @property
    def saturates(self) -> bool:
        """Whether sums can pass the range of a stored potential."""
        return self.bits > self.layer.potential_bits

    @cached_property
    def passes(self) -> tuple[tuple[Pass, int], ...]:
        """What a tick does, in order: (pass, level of a merge)."""
        layer = self.layer
        passes: list[tuple[Pass, int]] = []
        if self.bias_bits:
            passes.append(("bias", 0))
        passes.extend(("merge", level) for level in range((self.tiles - 1).bit_length()))
        passes.append(("compare", 0))
        decays = layer.leak.kind == "linear"
        if layer.reset == "subtract":
            passes.append(("subtract", 0))
        if decays:
            passes.append(("decay", 0))
        if layer.reset == "delayed_subtract":
            passes.append(("subtract", 0))
        if passes[-1][0] == "compare" and self.saturates:
            passes.append(("clamp", 0))
        return tuple(passes)

    @property
    def late(self) -> bool:
        """Whether a tick leaves behind its last pass: what loads the arrays waits for ticks that have left."""
        return any(kind in ("weights", "bias") for kind, *_ in self.regions)

    @property
    def shows_after(self) -> Pass:
        """The pass that a probe and a read-out listen to."""
        return "subtract" if self.layer.reset == "subtract" else "compare"

    # ---- contents ----

    @property
    def weight_depth(self) -> int:
        """Rows of all weights."""
        return self.layer.fan_in * self.weight_bits

    @property
    def weight_row_bits(self) -> int:
        """Bits of one row of weights."""
        return self.layer.neurons

    def weight_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """Rows of all weights, from the lowest bit of source 0 on."""
        return _bit_rows(dense_weights(layer or self.layer).T, self.weight_bits)

    def bias_rows(self, bias: np.ndarray | None = None) -> list[int]:
        """Rows of the biases, from the lowest bit on."""
        return _bit_rows((self.layer.bias if bias is None else bias)[None], self.bias_row_count)

    def contents(self, array: ArrayPlan) -> list[int]:
        """Initial rows of an array: sums 0, and the weights and biases that are fixed; none where nothing is fixed."""
        mask = (1 << array.columns) - 1
        rows = [0] * array.rows
        biased = self.bias_bits and not self.direct and self.parameters == "fixed"
        biased = biased and (array.tile, array.bank) == (0, 0)
        if self.weights != "fixed" and not biased:
            return []
        if self.weights == "fixed":
            given, bits = self.weight_rows(), self.weight_bits
            slot = array.tile * self.banks + array.bank
            for place, source in enumerate(range(slot, self.layer.fan_in, self.slots_in)):
                at = self.base(array.bank) + place * bits
                rows[at : at + bits] = given[source * bits : (source + 1) * bits]
        if biased:
            rows[self.bias_row : self.bias_row + self.bias_row_count] = self.bias_rows()
        return [row >> array.first & mask for row in rows]

    @property
    def regions(self) -> list[tuple[str, int, int]]:
        """What the load port writes: (kind, rows, bits of a row)."""
        rows = {"weights": self.weight_depth, "bias": self.bias_row_count}
        return [
            (kind, rows.get(kind, count), self.layer.neurons if kind in rows else bits)
            for kind, count, bits in super().regions
        ]

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        place = {"bits": self.bits, "tiles": self.tiles, "banks": self.banks, "columns": self.columns}
        return super().structure() | {"engine": "cim"} | place


@dataclass(frozen=True, kw_only=True, eq=False)
class SequentialPlan(LayerPlan):
    """One layer with potentials as words, changed by sweeps over rows of `lanes` of them."""

    bits: int
    """B, bits of a word."""
    memory: Literal["1rw", "1r1w"]

    @property
    def parallel(self) -> bool:
        """Never: potentials are rows of a memory, whatever the width of the layer."""
        return False

    @cached_property
    def lane_bits(self) -> tuple[int, ...]:
        """Bits of each word of a row."""
        return (self.bits,) * self.lanes

    @property
    def sweep(self) -> int:
        """Cycles from one sweep to the next."""
        return 2 * self.groups if self.memory == "1rw" else self.groups + 1

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        return super().structure() | {"engine": "sequential", "bits": self.bits, "memory": self.memory}


def _bit_rows(values: np.ndarray, bits: int) -> list[int]:
    """Bit-sliced rows of integers [words, columns]: `bits` rows a word, from its lowest bit on."""
    rows = []
    for word in values.astype(np.int64):
        sliced = (word >> np.arange(bits)[:, None] & 1).astype(np.uint8)
        rows += [int.from_bytes(row.tobytes(), "little") for row in np.packbits(sliced, axis=1, bitorder="little")]
    return rows


def place_cim(
    network: IntegerNetwork, core: CimConfig, *, direct: bool = False
) -> tuple[CimPlan | SequentialPlan, ...]:
    """Place the layers of `network` on arrays.

    Raises
    ------
    InputError
        For a layer or a leak that arrays cannot compute, too few bits, or arrays that cannot hold a layer.
    """
    if core.update == "in_place" and core.lanes > 1:
        raise InputError(f"core.lanes: {core.lanes} was given; accepted is 1 with core.update = 'in_place'")
    if core.update == "sequential" and core.banks > 1:
        raise InputError(f"core.banks: {core.banks} was given; accepted is 1 with core.update = 'sequential'")
    shapes = {"input": network.input_shape} | {layer.name: layer.shape for layer in network.layers}
    layers: list[CimPlan | SequentialPlan] = []
    for index, layer in enumerate(network.layers):
        _check_kind(layer, flat=all(len(shapes[source]) == 1 for source in network.sources(layer)))
        layers.append(_place(layer, core, direct=direct and index == 0, clears=network.state == "clear"))
    used = sum(len(entry.arrays) for entry in layers if isinstance(entry, CimPlan))
    if core.arrays != "auto" and used > core.arrays:
        each = ", ".join(f"{entry.name} {len(entry.arrays)}" for entry in layers if isinstance(entry, CimPlan))
        raise InputError(
            f"core.arrays: {core.arrays} was given; the network takes {used} of {core.array_rows} rows and "
            f"{core.array_columns} columns ({each}); accepted is at least that, or larger arrays"
        )
    return tuple(layers)


def _check_kind(layer: IntegerLayer, *, flat: bool) -> None:
    def fail(text: str):
        raise InputError(f"layer {layer.name!r}: {text}")

    if layer.leak.kind not in ("none", "linear"):
        fail(
            f"leak {layer.leak.describe()}: a cim core takes a constant off all columns at once; accepted are none and "
            'linear: [quantise] leak = "linear" converts it'
        )
    if not layer.is_plain or not flat:
        fail(
            "a cim core takes dense layers of plain kinds on flat populations (no convolution, synaptic current, "
            "refractory period, adaptation or parameter per neuron); accepted for this one is core.kind = 'digital'"
        )


def _place(layer: IntegerLayer, core: CimConfig, *, direct: bool, clears: bool) -> CimPlan | SequentialPlan:
    plan = CimPlan(
        layer=layer,
        lanes=layer.neurons,
        weights=core.weights,
        parameters=core.parameters,
        direct=direct,
        clears=clears,
        bits=0,
        tiles=1,
        banks=min(core.banks, 1 << (layer.fan_in.bit_length() - 1)),
        columns=core.array_columns,
    )
    needed = max(2, int(plan.neuron_bits.max()))
    bits = needed if core.bits == "auto" else core.bits
    if bits < needed:
        raise InputError(
            f"core.bits: {core.bits} was given; layer {layer.name!r} needs {needed} for its weights, whatever the "
            'spikes; accepted is at least that, or "auto"'
        )
    most = (1 << (bits - 1)) - 1
    amount = layer.leak.amount
    if layer.leak.kind == "linear" and isinstance(amount, int) and amount > most:
        raise InputError(
            f"layer {layer.name!r}: a decay of {amount} is beyond its {bits}-bit potentials; accepted is 1 to {most}, "
            "or more core.bits"
        )
    if core.update == "sequential":
        return SequentialPlan(
            layer=layer,
            lanes=min(core.lanes, layer.neurons),
            weights=core.weights,
            parameters=core.parameters,
            direct=direct,
            clears=clears,
            bits=bits,
            memory=core.ports,
        )
    tiles = 1
    while True:
        plan = dataclasses.replace(plan, bits=bits, tiles=tiles)
        rows = max(plan.rows(0, bank) for bank in range(plan.banks))
        if rows <= core.array_rows:
            return plan
        if plan.weights_each == 1:
            raise InputError(
                f"core.array_rows: {core.array_rows} was given; layer {layer.name!r} needs {rows} rows even with one "
                f"weight in a bank ({bits} for sums, {plan.weight_bits} for a weight, {plan.bias_row_count} for biases)"
            )
        tiles *= 2
