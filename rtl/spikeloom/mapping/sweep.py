"""How a layer of any kind is placed on a sweep engine: rows of lanes, geometry tables, weight rows.

A population of C channels on H x W positions (a flat one is C = neurons on a single position) has R = H W ceil(C / P)
rows; channel c sits in lane c mod P of row ``(y W + x) ceil(C / P) + c // P``. A spike of a source touches a rectangle
of positions and, on each, the rows of its channel group. Kernel weights are stored once: weight row
``((i KH + ky) KW + kx) ceil(C / P) + c // P`` with i the source channel within its group. A dense connection is a
convolution whose kernel covers the whole map. Packing a layer costs O(weights + neurons).
"""

import dataclasses
import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ..errors import InputError
from ..items import AddressMap
from ..network.connections import Connection
from ..network.integer import IntegerLayer, Leak, signed_bits
from .rows import WORD_BITS, bias_bits, pack_rows

__all__ = ["AxisEntry", "ConnectionPlan", "SweepPlan", "leak_fields"]


@dataclass(frozen=True)
class AxisEntry:
    """Where a spike at one coordinate of an axis goes: `count` target positions from `first` on, falling taps.

    The tap of target `first` is `tap`, that of each next target is `stride` lower. Count 0: it reaches nothing.
    """

    first: int
    tap: int
    count: int


def axis_table(size: int, pool: int, kernel: int, stride: int, padding: int, targets: int) -> tuple[AxisEntry, ...]:
    """The entries of all `size` coordinates of an axis; see `AxisEntry`."""
    entries = []
    for coordinate in range(size):
        at = coordinate // pool + padding
        first = max(0, -(-(at - kernel + 1) // stride))
        final = min(targets - 1, at // stride)
        inside = coordinate // pool < size // pool and final >= first
        entries.append(AxisEntry(first, at - first * stride, final - first + 1) if inside else AxisEntry(0, 0, 0))
    return tuple(entries)


def as_map(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A population as (C, H, W); a flat one is channels on one position."""
    return (shape[0], 1, 1) if len(shape) == 1 else (shape[0], shape[1], shape[2])


@dataclass(frozen=True, kw_only=True, eq=False)
class ConnectionPlan:
    """One connection of a layer, as tables.

    `kernel` holds its weights as [C, source channels of a group, KH, KW].
    """

    connection: Connection
    lanes: int
    base: int
    """First row in the layer's weight memory."""

    @cached_property
    def source(self) -> AddressMap:
        """Addresses of its spikes."""
        return AddressMap(tuple(self.connection.source_shape or ()))

    @cached_property
    def kernel(self) -> np.ndarray:
        """Weights int64 [C, source channels of a group, KH, KW]."""
        weights = self.connection.weights
        if self.connection.is_convolution:
            return weights
        return weights.reshape(len(weights), *as_map(self.connection.pooled_shape))

    @cached_property
    def target(self) -> tuple[int, int, int]:
        """(C, H, W) of the layer."""
        return as_map(self.connection.shape)

    @property
    def channel_rows(self) -> int:
        """Rows that cover the channels of one position."""
        return -(-self.target[0] // self.lanes)

    @cached_property
    def axes(self) -> tuple[tuple[AxisEntry, ...], tuple[AxisEntry, ...]]:
        """Tables of the y and the x axis of the source."""
        given, (_, height, width), (_, high, wide) = self.connection, as_map(self.source.shape), self.target
        kernel, stride, padding = self.kernel.shape[2:], (1, 1), (0, 0)
        if given.is_convolution:
            stride, padding = given.stride, given.padding
        return (
            axis_table(height, given.pool[0], kernel[0], stride[0], padding[0], high),
            axis_table(width, given.pool[1], kernel[1], stride[1], padding[1], wide),
        )

    @property
    def strides(self) -> tuple[int, int]:
        """Taps between neighbouring targets of the y and the x axis."""
        return tuple(self.connection.stride) if self.connection.is_convolution else (1, 1)  # type: ignore[return-value]

    @property
    def group_channels(self) -> int:
        """Target channels that a source channel reaches."""
        return self.target[0] // self.connection.groups

    @property
    def rows_each(self) -> int:
        """Rows of a position that a spike touches."""
        return -(-self.group_channels // self.lanes)

    @property
    def weight_depth(self) -> int:
        """Rows of the weight memory."""
        return math.prod(self.kernel.shape[1:]) * self.channel_rows

    def weight_rows(self, weight_bits: int, connection: Connection | None = None) -> list[int]:
        """Contents of its part of the weight memory; lanes beyond the layer hold 0."""
        plan = self if connection is None else ConnectionPlan(connection=connection, lanes=self.lanes, base=self.base)
        kernel = plan.kernel
        padded = np.zeros((self.channel_rows * self.lanes, *kernel.shape[1:]), np.int64)
        padded[: len(kernel)] = kernel
        return pack_rows(np.moveaxis(padded, 0, -1).reshape(-1, self.lanes), weight_bits)

    def touched_rows(self) -> np.ndarray:
        """Rows that a spike of each source neuron touches, int64 [sources], in canonical order."""
        channels = as_map(self.source.shape)[0]
        y, x = (np.array([entry.count for entry in axis], np.int64) for axis in self.axes)
        return np.tile(np.multiply.outer(y, x).reshape(-1) * self.rows_each, channels)

    def reached(self) -> np.ndarray:
        """Weights that a spike of each source neuron adds, int64 [sources], in canonical order."""
        return self.touched_rows() // self.rows_each * self.group_channels


def leak_fields(leak: Leak, bits: int, prefix: str) -> dict[str, tuple[int, int]]:
    """Parameter registers of a leak over a state of `bits` bits: name -> (bits, value); per-neuron ones left out."""
    fields = {}
    if leak.kind == "linear" and isinstance(leak.amount, int):
        fields[f"{prefix}leak_amount"] = (bits - 1, leak.amount)
    elif leak.kind == "shift":
        fields |= {f"{prefix}leak_shift{n}": (bits.bit_length(), k) for n, k in enumerate(leak.shifts)}
    elif leak.kind == "multiply" and isinstance(leak.factor, int):
        fields[f"{prefix}leak_factor"] = (leak.fraction_bits + 1, leak.factor)
    return fields


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepPlan:
    """One layer on a sweep engine; see the module. The fields mean what those of `LayerPlan` mean."""

    layer: IntegerLayer
    lanes: int
    weights: Literal["fixed", "loaded"]
    parameters: Literal["fixed", "loaded"]
    direct: bool
    clears: bool

    parallel = False

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.layer.name

    @cached_property
    def connections(self) -> tuple[ConnectionPlan, ...]:
        """The layer's connections, as tables."""
        plans, base = [], 0
        for connection in self.layer.connections:
            plans.append(ConnectionPlan(connection=connection, lanes=self.lanes, base=base))
            base += plans[-1].weight_depth
        return tuple(plans)

    @property
    def weight_depth(self) -> int:
        """Rows of the weight memory."""
        return sum(connection.weight_depth for connection in self.connections)

    @property
    def map(self) -> tuple[int, int, int]:
        """(C, H, W) of the layer."""
        return as_map(self.layer.shape)

    @property
    def channel_rows(self) -> int:
        """Rows that cover the channels of one position."""
        return -(-self.map[0] // self.lanes)

    @property
    def groups(self) -> int:
        """Rows of the layer."""
        return self.map[1] * self.map[2] * self.channel_rows

    @property
    def tag_shift(self) -> int:
        """Bits of an input address below the number of its connection."""
        return max(connection.source.bits for connection in self.connections)

    @property
    def bases(self) -> tuple[int, ...]:
        """Address at which the spikes of each connection begin."""
        return tuple(n << self.tag_shift for n in range(len(self.connections)))

    @property
    def input_addresses(self) -> int:
        """Addresses of the engine's input lie below this."""
        if len(self.connections) == 1:
            return self.connections[0].source.addresses
        return len(self.connections) << self.tag_shift

    @property
    def output_addresses(self) -> int:
        """Addresses of the engine's output lie below this."""
        return AddressMap(self.layer.shape).addresses

    @property
    def address_pitch(self) -> int:
        """Output addresses from one place (channel row and position) to the next."""
        channels, height, width = self.map
        return self.lanes if height * width == 1 or self.channel_rows > 1 else 1 << (channels - 1).bit_length()

    @cached_property
    def neuron_at(self) -> np.ndarray:
        """Neuron in each row and lane, int64 [rows, lanes]; -1 where there is none."""
        channels, height, width = self.map
        c = np.arange(self.channel_rows * self.lanes)
        position = np.arange(height * width)
        neurons = np.where(c < channels, c * height * width + position[:, None], -1)
        return neurons.reshape(self.groups, self.lanes)

    def placed(self, values: np.ndarray) -> np.ndarray:
        """Values [neurons] as [rows, lanes]; 0 where there is no neuron."""
        return np.where(self.neuron_at >= 0, np.asarray(values)[np.maximum(self.neuron_at, 0)], 0)

    @property
    def bias_loaded(self) -> bool:
        """Whether biases are written at run time."""
        return self.direct or self.parameters == "loaded"

    @cached_property
    def bias_bits(self) -> int:
        """Bits of one bias; 0 where the layer has none and can get none."""
        return bias_bits(self.layer, direct=self.direct, loaded=self.parameters == "loaded")

    @cached_property
    def neuron_bits(self) -> np.ndarray:
        """Bits that the summed input of each neuron needs, int64 [neurons]."""
        low, high = self.layer.summed_range()
        return np.array([signed_bits(a, b) for a, b in zip(low, high, strict=True)], dtype=np.int64)

    @cached_property
    def lane_bits(self) -> tuple[int, ...]:
        """Bits of each lane's accumulator: of the widest neuron on it; all equal where weights are loaded."""
        if self.weights == "loaded":
            return (int(self.neuron_bits.max()),) * self.lanes
        return tuple(int(bits) for bits in self.placed(self.neuron_bits).max(axis=0))

    @property
    def weight_row_bits(self) -> int:
        """Bits of one row of the weight memory."""
        return self.lanes * self.layer.weight_bits

    def weight_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """Contents of the weight memory."""
        rows = []
        for plan, given in zip(self.connections, (layer or self.layer).connections, strict=True):
            rows += plan.weight_rows(self.layer.weight_bits, given)
        return rows

    def bias_rows(self, bias: np.ndarray | None = None) -> list[int]:
        """Contents of the bias memory, one row per row of the layer."""
        return pack_rows(self.placed(self.layer.bias if bias is None else bias), self.bias_bits)

    def neuron_fields(self, layer: IntegerLayer | None = None) -> dict[str, tuple[int, np.ndarray]]:
        """Parameters that differ from neuron to neuron: name -> (bits, values [neurons])."""
        given, fields = layer or self.layer, {}
        bits = self.layer.potential_bits
        if isinstance(given.threshold, np.ndarray):
            fields["threshold"] = (bits - 1, given.threshold)
        if isinstance(given.subtracts, np.ndarray):
            fields["subtracts"] = (bits - 1, given.subtracts)
        for prefix, leak, width in self._leaks(given):
            if not isinstance(leak.amount, int):
                fields[f"{prefix}leak_amount"] = (width, np.minimum(np.array(leak.amount), 1 << (width - 1)))
            if not isinstance(leak.factor, int):
                fields[f"{prefix}leak_factor"] = (leak.fraction_bits + 1, np.array(leak.factor))
        return fields

    def _leaks(self, layer: IntegerLayer) -> list[tuple[str, Leak, int]]:
        leaks = [("", layer.leak, self.layer.potential_bits)]
        if self.layer.current_bits is not None:
            leaks.append(("current_", layer.current_leak, self.layer.current_bits))
        return leaks

    @property
    def parameter_row_bits(self) -> int:
        """Bits of one row of the memory of per-neuron parameters; 0 without one."""
        return self.lanes * sum(bits for bits, _ in self.neuron_fields().values())

    def parameter_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """Contents of the memory of per-neuron parameters: field by field, each with all lanes."""
        rows, offset = [0] * self.groups, 0
        for name, (bits, values) in self.neuron_fields(layer).items():
            if values.min() < 0 or int(values.max()) >= 1 << bits:
                raise InputError(
                    f"layer {self.name!r}: {name} from {values.min()} to {values.max()}: "
                    f"accepted is 0 to {(1 << bits) - 1}"
                )
            for n, row in enumerate(pack_rows(self.placed(values), bits)):
                rows[n] |= row << offset
            offset += bits * self.lanes
        return rows

    @cached_property
    def registers(self) -> dict[str, tuple[int, int]]:
        """Parameter registers of a layer with loaded parameters: name -> (bits, value)."""
        layer, fields = self.layer, {}
        if self.parameters == "fixed":
            return fields
        if isinstance(layer.threshold, int):
            fields["threshold"] = (layer.potential_bits - 1, layer.threshold)
        if layer.reset.endswith("subtract") and isinstance(layer.subtracts, int):
            fields["subtracts"] = (layer.potential_bits - 1, layer.subtracts)
        for prefix, leak, bits in self._leaks(layer):
            fields |= leak_fields(leak, bits, prefix)
        for name, (bits, value) in fields.items():
            if value >= 1 << bits:
                raise InputError(f"layer {self.name!r}: {name} = {value}: accepted is at most {(1 << bits) - 1}")
        return fields

    @cached_property
    def state_fields(self) -> tuple[tuple[str, int], ...]:
        """What a lane keeps from step to step: (name, bits)."""
        layer = self.layer
        if layer.stochastic is not None:
            return ()
        fields = [("potential", layer.potential_bits)]
        if layer.current_bits is not None:
            fields.append(("current", layer.current_bits))
        if layer.adaptation is not None:
            fields.append(("adaptation", layer.adaptation.bits))
        if layer.refractory:
            fields.append(("refractory", layer.refractory.bit_length()))
        return tuple(fields)

    @property
    def regions(self) -> list[tuple[str, int, int]]:
        """What the load port writes: (kind, rows, bits of a row)."""
        regions = []
        if self.weights == "loaded":
            regions.append(("weights", self.weight_depth, self.weight_row_bits))
        if self.bias_loaded and self.bias_bits:
            regions.append(("bias", self.groups, self.lanes * self.bias_bits))
        if self.parameters == "loaded" and self.parameter_row_bits:
            regions.append(("parameters", self.groups, self.parameter_row_bits))
        if self.registers:
            regions.append(("registers", 1, WORD_BITS * len(self.registers)))
        return regions

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        layer = self.layer

        def kind(leak: Leak) -> list:
            per_neuron = not (isinstance(leak.amount, int) and isinstance(leak.factor, int))
            return [leak.kind, len(leak.shifts), leak.fraction_bits, per_neuron]

        adaptation = layer.adaptation
        return {
            "engine": "sweep",
            "name": layer.name,
            "shape": list(layer.shape),
            "connections": [
                {
                    "source": list(plan.source.shape),
                    "kernel": list(plan.kernel.shape),
                    "delay": plan.connection.delay,
                    "pool": list(plan.connection.pool),
                    "stride": list(plan.connection.stride),
                    "padding": list(plan.connection.padding),
                    "groups": plan.connection.groups,
                }
                for plan in self.connections
            ],
            "lanes": self.lanes,
            "lane_bits": list(self.lane_bits),
            "weight_bits": layer.weight_bits,
            "bias_bits": self.bias_bits,
            "states": [list(field) for field in self.state_fields],
            "leak": kind(layer.leak),
            "current_leak": kind(layer.current_leak),
            "adaptation": None
            if adaptation is None
            else [adaptation.bits, adaptation.leak.describe(), adaptation.increment],
            "refractory": layer.refractory,
            **({"bias_in_current": True} if layer.bias_in_current and self.bias_bits else {}),
            **({} if layer.stochastic is None else {"stochastic": dataclasses.asdict(layer.stochastic)}),
            "reset": layer.reset,
            "readout": layer.threshold is None,
            "per_neuron": [[name, bits] for name, (bits, _) in self.neuron_fields().items()],
            "weights": self.weights,
            "parameters": self.parameters,
            "direct": self.direct,
            "clears": self.clears,
        }

    def fixed_digest(self) -> str:
        """SHA-256 of the contents that are hardware, as hex digits."""
        digest = hashlib.sha256()
        if self.weights == "fixed":
            for connection in self.layer.connections:
                digest.update(connection.weights.astype("<i8").tobytes())
        if not self.bias_loaded:
            digest.update(self.layer.bias.astype("<i8").tobytes())
        if self.parameters == "fixed":
            layer = self.layer
            scalar = [None if isinstance(x, np.ndarray) else x for x in (layer.threshold, layer.subtracts)]
            digest.update(repr((scalar, layer.leak.describe(), layer.current_leak.describe())).encode())
            digest.update(repr(self.parameter_rows()).encode())
        return digest.hexdigest()
