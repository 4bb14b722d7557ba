"""How each layer is placed on lanes and memories: the numbers that gateware, export and image tool share.

A layer of N neurons on P lanes has G = ceil(N / P) groups; neuron n sits in lane n mod P of group n // P. A weight
row holds one weight per lane: row `source * G + group`. Packing a layer costs O(N * fan_in).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ..config import CoreConfig
from ..errors import InputError
from ..network.integer import IntegerLayer, IntegerNetwork, signed_bits

__all__ = ["CorePlan", "LayerPlan", "pack_rows", "plan_core"]

WORD_BITS = 32
TAKEN = ("decision", "load")
"""Parts of a core that stand beside its layers."""
MAGIC = 0x4C_4B_50_53  # "SPKL" as four little-endian bytes


def pack_rows(values: np.ndarray, bits: int) -> list[int]:
    """Rows of signed fields as integers: field p of a row is its bits [p * bits, (p + 1) * bits).

    `values` is an integer array [rows, fields].
    """
    rows, fields = values.shape
    if bits == 0:
        return [0] * rows
    packed = []
    shifts = np.arange(bits, dtype=np.int64)
    for start in range(0, rows, 256):  # bounds the memory of the unpacked bits
        block = values[start : start + 256].astype(np.int64)
        unpacked = ((block[:, :, None] >> shifts) & 1).astype(np.uint8).reshape(len(block), fields * bits)
        packed += [int.from_bytes(row.tobytes(), "little") for row in np.packbits(unpacked, axis=1, bitorder="little")]
    return packed


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerPlan:
    """One layer on the lanes of its engine.

    `direct` marks a first layer whose bias arrives with each input (direct current coding).
    """

    layer: IntegerLayer
    lanes: int
    weights: Literal["fixed", "loaded"]
    parameters: Literal["fixed", "loaded"]
    direct: bool
    clears: bool
    """Whether potentials start each input at 0."""

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.layer.name

    @property
    def groups(self) -> int:
        """Rows of lanes that cover the layer."""
        return -(-self.layer.neurons // self.lanes)

    @property
    def parallel(self) -> bool:
        """Whether every neuron has a lane of its own."""
        return self.lanes == self.layer.neurons

    @property
    def bias_loaded(self) -> bool:
        """Whether biases are written at run time."""
        return self.direct or self.parameters == "loaded"

    @cached_property
    def bias_bits(self) -> int:
        """Bits of one bias; 0 where the layer has none and can get none."""
        layer, bounds = self.layer, [int(self.layer.bias.min()), int(self.layer.bias.max())]
        if self.direct:  # W x + bias with every x in 0 .. 1
            bounds += [int((np.minimum(layer.weights, 0).sum(axis=1) + layer.bias).min())]
            bounds += [int((np.maximum(layer.weights, 0).sum(axis=1) + layer.bias).max())]
        elif self.parameters == "loaded":
            return max(layer.potential_bits, signed_bits(min(bounds), max(bounds)))
        return signed_bits(min(bounds), max(bounds)) if self.direct or any(bounds) else 0

    @cached_property
    def neuron_bits(self) -> np.ndarray:
        """Accumulator bits that each neuron needs, int64 [neurons]."""
        layer = self.layer
        low, high = layer.accumulator_range()
        if self.bias_loaded:
            low = low - np.minimum(layer.bias, 0) - (1 << (self.bias_bits - 1))
            high = high - np.maximum(layer.bias, 0) + (1 << (self.bias_bits - 1)) - 1
        return np.array([signed_bits(a, b) for a, b in zip(low, high, strict=True)], dtype=np.int64)

    @cached_property
    def lane_bits(self) -> tuple[int, ...]:
        """Accumulator bits of each lane.

        A lane is as wide as the widest neuron on it; with loaded weights all lanes are equal, since which neuron
        needs the width is not known yet.
        """
        if self.weights == "loaded":
            return (int(self.neuron_bits.max()),) * self.lanes
        return tuple(int(self.neuron_bits[lane :: self.lanes].max()) for lane in range(self.lanes))

    @property
    def weight_row_bits(self) -> int:
        """Bits of one row of the weight memory."""
        return self.lanes * self.layer.weight_bits

    def weight_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """Contents of the weight memory; lanes beyond the layer hold 0."""
        layer = layer or self.layer
        padded = np.zeros((self.groups * self.lanes, layer.fan_in), np.int64)
        padded[: layer.neurons] = layer.weights
        return pack_rows(padded.T.reshape(layer.fan_in * self.groups, self.lanes), layer.weight_bits)

    def bias_rows(self, bias: np.ndarray | None = None) -> list[int]:
        """Contents of the bias memory, one row per group."""
        padded = np.zeros(self.groups * self.lanes, np.int64)
        padded[: self.layer.neurons] = self.layer.bias if bias is None else bias
        return pack_rows(padded.reshape(self.groups, self.lanes), self.bias_bits)

    @cached_property
    def registers(self) -> dict[str, tuple[int, int]]:
        """Parameter registers of a layer with loaded parameters: name -> (bits, value)."""
        layer, fields = self.layer, {}
        if self.parameters == "fixed":
            return fields
        if layer.threshold is not None:
            fields["threshold"] = (layer.potential_bits - 1, layer.threshold)
        if layer.reset.endswith("subtract"):
            fields["subtracts"] = (layer.potential_bits - 1, layer.subtracts)
        leak = layer.leak
        if leak.kind == "linear":
            fields["leak_amount"] = (layer.potential_bits - 1, leak.amount)
        elif leak.kind == "shift":
            for index, k in enumerate(leak.shifts):
                fields[f"leak_shift{index}"] = (layer.potential_bits.bit_length(), k)
        elif leak.kind == "multiply":
            fields["leak_factor"] = (leak.fraction_bits + 1, leak.factor)
        for name, (bits, value) in fields.items():
            if value >= 1 << bits:
                raise InputError(f"layer {self.name!r}: {name} = {value}: accepted is at most {(1 << bits) - 1}")
        return fields

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        layer = self.layer
        return {
            "name": layer.name,
            "fan_in": layer.fan_in,
            "neurons": layer.neurons,
            "lanes": self.lanes,
            "lane_bits": list(self.lane_bits),
            "weight_bits": layer.weight_bits,
            "potential_bits": layer.potential_bits,
            "bias_bits": self.bias_bits,
            "leak": layer.leak.kind,
            "leak_shifts": len(layer.leak.shifts),
            "leak_fraction_bits": layer.leak.fraction_bits,
            "reset": layer.reset,
            "readout": layer.threshold is None,
            "weights": self.weights,
            "parameters": self.parameters,
            "direct": self.direct,
            "clears": self.clears,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class CorePlan:
    """A network placed on a digital core."""

    network: IntegerNetwork
    core: CoreConfig
    steps: int
    """Steps of one input: sizes the spike counters of the decision unit."""
    layers: tuple[LayerPlan, ...]

    @property
    def decision(self) -> Literal["count", "first", "value", "none"]:
        """What the decision unit looks at."""
        if self.core.decision != "auto":
            return self.core.decision
        return "value" if self.network.layers[-1].threshold is None else "count"

    @property
    def loads(self) -> bool:
        """Whether the core has a load port."""
        return bool(self.regions)

    @cached_property
    def regions(self) -> list[tuple[str, str, int, int]]:
        """What the load port writes: (layer, kind, rows, bits of a row); the index is the number of the region."""
        regions = []
        for plan in self.layers:
            if plan.weights == "loaded":
                regions.append((plan.name, "weights", plan.layer.fan_in * plan.groups, plan.weight_row_bits))
            if plan.bias_loaded and plan.bias_bits:
                regions.append((plan.name, "bias", plan.groups, plan.lanes * plan.bias_bits))
            if plan.registers:
                regions.append((plan.name, "registers", 1, WORD_BITS * len(plan.registers)))
        return regions

    @cached_property
    def hash(self) -> str:
        """64-bit hash of the hardware, 16 hex digits: an image for another core is told by it.

        Contents that are fixed at elaboration are hardware; contents that are loaded are not.
        """
        structure = {
            "layers": [plan.structure() for plan in self.layers],
            "core": [self.core.kind, self.core.queue_depth, self.core.spike_queue, self.decision, self.core.readout],
            "probe": self.core.probe,
            "steps": self.steps,
            "fixed": [
                hashlib.sha256(
                    repr(
                        (
                            plan.layer.weights.tolist() if plan.weights == "fixed" else None,
                            plan.layer.bias.tolist() if not plan.bias_loaded else None,
                            (plan.layer.threshold, plan.layer.subtracts, plan.layer.leak.describe())
                            if plan.parameters == "fixed"
                            else None,
                        )
                    ).encode()
                ).hexdigest()
                for plan in self.layers
            ],
        }
        return hashlib.sha256(json.dumps(structure, sort_keys=True).encode()).hexdigest()[:16]


def plan_core(network: IntegerNetwork, core: CoreConfig, *, steps: int, direct: bool = False) -> CorePlan:
    """Place `network` on the lanes that `core` asks for.

    Raises
    ------
    InputError
        For a number of lanes outside 1 .. layer width, or an option that the network cannot have.
    """
    for layer in network.layers:
        if layer.name in TAKEN:
            raise InputError(f"layer {layer.name!r}: the core has a part of that name; accepted is any other name")
    wanted: Sequence[int | str] = core.lanes if isinstance(core.lanes, list) else [core.lanes] * len(network.layers)
    if len(wanted) != len(network.layers):
        names = ", ".join(layer.name for layer in network.layers)
        raise InputError(f"core.lanes: {len(wanted)} numbers were given; accepted is one, or one for each of {names}")
    layers = []
    for index, (layer, lanes) in enumerate(zip(network.layers, wanted, strict=True)):
        if isinstance(lanes, str):  # "full"
            count = layer.neurons
        elif isinstance(core.lanes, list):
            count = lanes
        else:
            count = min(lanes, layer.neurons)  # one number for all: narrow layers take what they can use
            if lanes > max(entry.neurons for entry in network.layers):
                widest = max(network.layers, key=lambda entry: entry.neurons)
                raise InputError(
                    f"core.lanes: {lanes} was given; accepted is 1 to {widest.neurons}, "
                    f'the width of the widest layer {widest.name!r}, or "full"'
                )
        if not 1 <= count <= layer.neurons:
            raise InputError(
                f'core.lanes: {count} was given for layer {layer.name!r}; accepted is 1 to {layer.neurons} or "full"'
            )
        layers.append(
            LayerPlan(
                layer=layer,
                lanes=count,
                weights=core.weights,
                parameters=core.parameters,
                direct=direct and index == 0,
                clears=network.state == "clear",
            )
        )
    readout = network.layers[-1].threshold is None
    if core.decision in ("count", "first") and readout:
        raise InputError(
            f"core.decision: {core.decision!r} was given, but the last layer is a read-out; accepted: value, none, auto"
        )
    if core.decision == "value" and not readout:
        raise InputError(
            "core.decision: 'value' was given, but the last layer fires; accepted: count, first, none, auto"
        )
    return CorePlan(network=network, core=core, steps=steps, layers=tuple(layers))
