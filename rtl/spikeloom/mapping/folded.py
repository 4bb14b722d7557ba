"""A chain of dense layers folded onto one engine: where its rows lie, and the order in which tiles are worked on.

All layers share P lanes. Neuron n of a layer sits in lane n mod P of the layer's group n // P; groups of all layers are
rows of one memory of potentials, one layer after the other. Weights lie group by group: row ``group * fan_in + source``
of a layer, so that a range of groups is a range of rows. Such a range is a *tile*.

The engine works on `steps` time steps at a time (a *chunk*)::

    for each chunk of an input:
        for each layer:
            for each tile of the layer:
                for each step of the chunk:
                    every spike of the layer before (or of the input) sweeps the groups of the tile

With all weights on chip a layer is one tile, and a chunk of one step keeps the rule that no output of a step waits for
an input of the next. With a weight buffer of two halves the tiles come in through the load port in this very order,
one half while the other is worked on; then a chunk is a whole input, so that each tile is needed once per input.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..config import DigitalConfig
from ..errors import InputError
from ..network.integer import IntegerLayer, IntegerNetwork
from .plan import LayerPlan
from .rows import pack_rows

__all__ = ["FoldedLayer", "FoldedPlan", "Tile", "fold"]

NAME = "folded"
"""What the engine and its memories are called."""
MOST_STEPS = 1 << 12
"""Steps of a chunk: bounds the spike memories."""
MOST_TILES = 1024
"""Tiles of a network: a record names one in 24 bits, and their sizes are a table in the gateware."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all layers have in common because they share lanes and memories."""

    lane_bits: tuple[int, ...]
    bias_bits: int
    weight_bits: int


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldedLayer(LayerPlan):
    """One layer on the shared lanes.

    `row` is that of its first group in the memories of potentials and biases, `weight_row` that of its first weights
    where all weights are on chip.
    """

    row: int
    weight_row: int
    streamed: bool
    shared: Shared

    @property
    def parallel(self) -> bool:
        """Never: potentials are rows of a memory, whatever the width of the layer."""
        return False

    @cached_property
    def bias_bits(self) -> int:
        """Bits of one bias of any layer; 0 where no layer has any."""
        return self.shared.bias_bits

    @cached_property
    def lane_bits(self) -> tuple[int, ...]:
        """Accumulator bits of each lane: those of the widest neuron of any layer on it."""
        return self.shared.lane_bits

    @property
    def weight_row_bits(self) -> int:
        """Bits of one row of the weight memory."""
        return self.lanes * self.shared.weight_bits

    def weight_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """Rows of weights, group by group; lanes beyond the layer hold 0."""
        layer = layer or self.layer
        padded = np.zeros((self.groups * self.lanes, layer.fan_in), np.int64)
        padded[: layer.neurons] = layer.weights
        rows = padded.reshape(self.groups, self.lanes, layer.fan_in).transpose(0, 2, 1)
        return pack_rows(rows.reshape(self.weight_depth, self.lanes), self.shared.weight_bits)

    @property
    def regions(self) -> list[tuple[str, int, int]]:
        """What the load port writes; streamed weights are no region, they come tile by tile."""
        return [region for region in super().regions if not (self.streamed and region[0] == "weights")]

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        return super().structure() | {"engine": "folded", "streamed": self.streamed}


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Groups `first_group` .. `first_group + groups - 1` of layer number `layer`."""

    layer: int
    first_group: int
    groups: int


@dataclass(frozen=True, kw_only=True, eq=False)
class FoldedPlan:
    """The one engine of a folded core.

    `steps` is the length of a chunk. `half` is the number of rows of each half of the weight buffer, None where all
    weights are on chip.
    """

    layers: tuple[FoldedLayer, ...]
    lanes: int
    steps: int
    half: int | None
    shared: Shared
    load_bits: int

    name = NAME

    @property
    def layer(self) -> IntegerLayer:
        """The output layer."""
        return self.layers[-1].layer

    @property
    def groups(self) -> int:
        """Groups of the output layer."""
        return self.layers[-1].groups

    @property
    def input_addresses(self) -> int:
        """Addresses of the engine's input lie below this."""
        return self.layers[0].input_addresses

    @property
    def output_addresses(self) -> int:
        """Addresses of the engine's output lie below this."""
        return self.layers[-1].output_addresses

    @property
    def regions(self) -> list[tuple[str, int, int]]:
        """What the load port writes, of all layers: (layer_kind, rows, bits of a row)."""
        return [(f"{entry.name}_{kind}", rows, bits) for entry in self.layers for kind, rows, bits in entry.regions]

    @property
    def input_width(self) -> int:
        """Flags in a row of the input memories: the largest power of two that is not above the lanes."""
        return 1 << (self.lanes.bit_length() - 1)

    @property
    def input_rows(self) -> int:
        """Rows that hold the input spikes of one step."""
        return -(-self.input_addresses // self.input_width)

    @property
    def hidden_rows(self) -> int:
        """Rows that hold the spikes of one step of the widest hidden layer; 0 where there is none."""
        return max((entry.groups for entry in self.layers[:-1]), default=0)

    @property
    def hidden_halves(self) -> int:
        """A layer reads the spikes of the one before while it writes its own, unless these leave the core."""
        return min(2, len(self.layers) - 1)

    @property
    def rows(self) -> int:
        """Groups of all layers: rows of potentials."""
        return sum(entry.groups for entry in self.layers)

    @property
    def weight_depth(self) -> int:
        """Rows of the weight memory."""
        return sum(entry.weight_depth for entry in self.layers) if self.half is None else 2 * self.half

    @property
    def weight_row_bits(self) -> int:
        """Bits of a row of weights."""
        return self.lanes * self.shared.weight_bits

    def tile_groups(self, layer: int) -> int:
        """Groups of each tile of layer number `layer` but its last, which may have fewer."""
        entry = self.layers[layer]
        return entry.groups if self.half is None else min(entry.groups, self.half // entry.layer.fan_in)

    @cached_property
    def tiles(self) -> tuple[Tile, ...]:
        """All tiles in the order in which they are worked on."""
        found = []
        for index, entry in enumerate(self.layers):
            size = self.tile_groups(index)
            for first in range(0, entry.groups, size):
                found.append(Tile(layer=index, first_group=first, groups=min(size, entry.groups - first)))
        return tuple(found)

    def tile_rows(self, tile: Tile) -> slice:
        """Which rows of weights of its layer are those of `tile`."""
        fan_in = self.layers[tile.layer].layer.fan_in
        return slice(tile.first_group * fan_in, (tile.first_group + tile.groups) * fan_in)

    def structure(self) -> list:
        """Everything that decides the hardware beside the layers, as JSON values."""
        return [self.lanes, self.steps, self.half, self.load_bits]


def fold(network: IntegerNetwork, core: DigitalConfig, *, steps: int, direct: bool) -> FoldedPlan:
    """Place `network` on one engine.

    Raises
    ------
    InputError
        For a network that is not a chain of dense layers of plain kinds, or options that do not fit together.
    """
    for index, layer in enumerate(network.layers):
        if not layer.is_plain:
            raise InputError(
                f"layer {layer.name!r}: core.schedule 'folded' takes dense layers of plain kinds (no convolution, "
                "synaptic current, adaptation, refractory period or parameter per neuron); accepted here: 'pipeline'"
            )
        before = network.layers[index - 1].name if index else "input"
        if network.sources(layer) != (before,) or layer.connections[0].delay:
            raise InputError(
                f"layer {layer.name!r}: connections from {', '.join(network.sources(layer))}: core.schedule 'folded' "
                f"takes chains, here one connection from {before!r} without a delay; accepted here: 'pipeline'"
            )
        if layer.max_count > 1:
            raise InputError(
                f"layer {layer.name!r}: max_count {layer.max_count}: core.schedule 'folded' holds spikes as single "
                "bits; accepted here: 'pipeline'"
            )
        if layer.name == NAME:
            raise InputError(f"layer {layer.name!r}: the core has a part of that name; accepted is any other name")
    if isinstance(core.lanes, list):
        raise InputError(f"core.lanes: {core.lanes} was given; accepted on a folded core is one number for all layers")
    if core.queue_depth != "auto":
        raise InputError(
            f"core.queue_depth: {core.queue_depth} was given; a folded core stores whole steps instead: accepted is "
            '"auto"'
        )
    widest = max(network.layers, key=lambda layer: layer.neurons)
    lanes = widest.neurons if isinstance(core.lanes, str) else core.lanes
    if lanes > widest.neurons:
        raise InputError(
            f"core.lanes: {lanes} was given; accepted is 1 to {widest.neurons}, the width of the widest layer "
            f'{widest.name!r}, or "full"'
        )
    half = _half(network, core)
    if half is not None and direct:
        raise InputError(
            f"core.weight_buffer: {core.weight_buffer} rows were given with direct current coding, which loads biases "
            'between inputs; accepted is "auto"'
        )
    chunk = core.fold_steps
    if isinstance(chunk, str):
        chunk = 1 if half is None else min(steps, MOST_STEPS)
    outer = network.layers[-1]
    needed = outer.fan_in * -(-outer.neurons // lanes)
    if half is not None and chunk > 1 and needed > half:
        raise InputError(
            f"core.weight_buffer: {core.weight_buffer} rows were given; accepted is at least {2 * needed}: the output "
            f"layer {outer.name!r} must be one tile, so that spikes of all its neurons leave before their tick "
            "(or fold_steps = 1)"
        )
    shared = Shared(lane_bits=(), bias_bits=0, weight_bits=max(layer.weight_bits for layer in network.layers))
    entries, row, weight_row = [], 0, 0
    for index, layer in enumerate(network.layers):
        entry = FoldedLayer(
            layer=layer, lanes=lanes, weights=core.weights, parameters=core.parameters,
            direct=direct and index == 0, clears=network.state == "clear",
            row=row, weight_row=weight_row, streamed=half is not None, shared=shared,
        )  # fmt: skip
        row, weight_row = row + entry.groups, weight_row + entry.weight_depth
        entries.append(entry)
    shared = replace(shared, bias_bits=max(super(FoldedLayer, entry).bias_bits for entry in entries))  # type: ignore[misc]
    entries = [replace(entry, shared=shared) for entry in entries]
    shared = replace(shared, lane_bits=_lane_bits(entries, lanes, equal=core.weights == "loaded"))
    plan = FoldedPlan(
        layers=tuple(replace(entry, shared=shared) for entry in entries),
        lanes=lanes, steps=chunk, half=half, shared=shared, load_bits=core.load_bits,
    )  # fmt: skip
    if len(plan.tiles) > MOST_TILES:
        raise InputError(
            f"core.weight_buffer: {core.weight_buffer} rows were given, which makes {len(plan.tiles)} tiles; accepted "
            f"are at most {MOST_TILES}"
        )
    return plan


def _half(network: IntegerNetwork, core: DigitalConfig) -> int | None:
    """Rows of half of the weight buffer, or None where all weights are on chip."""
    if isinstance(core.weight_buffer, str):
        if core.load_bits != 32:
            raise InputError(
                f"core.load_bits: {core.load_bits} was given; accepted is 32 where no weights are streamed "
                '(core.weight_buffer = "auto")'
            )
        return None
    if core.weights != "loaded":
        raise InputError(
            f"core.weight_buffer: {core.weight_buffer} rows were given, but weights are fixed; accepted is "
            'weights = "loaded", or weight_buffer = "auto"'
        )
    fan_in = max(layer.fan_in for layer in network.layers)
    if core.weight_buffer < 2 * fan_in:
        raise InputError(
            f"core.weight_buffer: {core.weight_buffer} rows were given; accepted is at least {2 * fan_in}: two halves "
            f"that hold one group of the layer with the largest fan-in, {fan_in}"
        )
    return core.weight_buffer // 2


def _lane_bits(entries: list[FoldedLayer], lanes: int, *, equal: bool) -> tuple[int, ...]:
    """Accumulator bits of each lane over all layers; equal ones where it is not known which neuron needs them."""
    bits = np.ones(lanes, np.int64)
    for entry in entries:
        padded = np.ones(entry.groups * lanes, np.int64)
        padded[: entry.layer.neurons] = entry.neuron_bits
        bits = np.maximum(bits, padded.reshape(entry.groups, lanes).max(axis=0))
    return (int(bits.max()),) * lanes if equal else tuple(int(n) for n in bits)
