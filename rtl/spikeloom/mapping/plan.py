"""How each layer is placed on lanes and memories: the numbers that gateware, export and image tool share.

A layer of N neurons on P lanes has G = ceil(N / P) groups; neuron n sits in lane n mod P of group n // P. A weight
row holds one weight per lane: row `source * G + group`. Packing a layer costs O(N * fan_in).
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..config import (
    CimConfig,
    CoreConfig,
    CrossbarConfig,
    DigitalConfig,
    SharedConfig,
    StochasticConfig,
    VirtualConfig,
)
from ..errors import InputError
from ..items import AddressMap, EventSlots
from ..network.integer import IntegerLayer, IntegerNetwork, signed_bits
from .rows import WORD_BITS, bias_bits, pack_rows
from .sparse import SparsePlan, can_be_sparse
from .sweep import SweepPlan

if TYPE_CHECKING:
    from .folded import FoldedPlan

__all__ = ["SPIKE_QUEUE", "CorePlan", "Edge", "LayerPlan", "dense_weights", "plan_core", "shares_of_layers"]

TAKEN = ("decision", "load")
"""Parts of a core that stand beside its layers."""
MOST_WORD_BITS = 64
"""Of an input word: what benches and the batch runner hold in one integer."""
SPIKE_QUEUE = 4
"""Rows of spikes that wait between an engine that fires row by row and its serialiser."""
MAGIC = 0x4C_4B_50_53  # "SPKL" as four little-endian bytes


def shares_of_layers(network: IntegerNetwork, given: str | list[int], key: str) -> list[int]:
    """Number of the core that each layer is on: one of its own ("layer"), the same ("one"), or as `given`.

    Raises
    ------
    InputError
        If there is not a number for each layer; the message names `key`.
    """
    names = [layer.name for layer in network.layers]
    if isinstance(given, str):
        return [0] * len(names) if given == "one" else list(range(len(names)))
    if len(given) != len(names):
        raise InputError(f"{key}: {len(given)} numbers were given; accepted is one for each of {', '.join(names)}")
    return given


def dense_weights(layer: IntegerLayer) -> np.ndarray:
    """Weights of a layer whose connections are all dense, side by side: int64 [neurons, sources of all]."""
    if len(layer.connections) == 1:
        return layer.connections[0].weights
    return np.concatenate([connection.weights for connection in layer.connections], axis=1)


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
    events: int = 1
    """Spikes taken per cycle."""
    events_out: int = 1
    """Spikes sent per cycle."""
    ports: int = 1
    """Read ports of a weight memory."""

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.layer.name

    @property
    def input_addresses(self) -> int:
        """Addresses of the engine's input lie below this: sources of all connections, one after the other."""
        return self.layer.fan_in

    @property
    def output_addresses(self) -> int:
        """Addresses of the engine's output lie below this."""
        return self.layer.neurons

    @property
    def slots(self) -> EventSlots:
        """Slots of an input word, and the banks of weights behind them."""
        return EventSlots(self.input_addresses, self.events, self.ports)

    @property
    def output_slots(self) -> EventSlots:
        """Slots of an output word."""
        return EventSlots(self.output_addresses, self.events_out, min(self.ports, self.events_out))

    @property
    def bases(self) -> tuple[int, ...]:
        """Address at which the spikes of each connection begin."""
        sizes = [connection.sources for connection in self.layer.connections]
        return tuple(sum(sizes[:n]) for n in range(len(sizes)))

    @property
    def weight_depth(self) -> int:
        """Rows of the weight memory."""
        return self.layer.fan_in * self.groups

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
        return bias_bits(self.layer, direct=self.direct, loaded=self.parameters == "loaded")

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
    def cleared(self) -> int:
        """Cycles after reset in which memories are cleared."""
        return 0

    def lane_needs(self, bits: np.ndarray) -> list[int]:
        """Of each lane, the most of `bits` [neurons]; 1 without a neuron."""
        return [max(bits[lane :: self.lanes].tolist(), default=1) for lane in range(self.lanes)]

    @property
    def weight_row_bits(self) -> int:
        """Bits of one row of the weight memory."""
        return self.lanes * self.layer.weight_bits

    def weight_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """Contents of the weight memory, of all its banks in turn; lanes beyond the layer hold 0."""
        layer = layer or self.layer
        padded = np.zeros((self.groups * self.lanes, layer.fan_in), np.int64)
        padded[: layer.neurons] = dense_weights(layer)
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

    @property
    def regions(self) -> list[tuple[str, int, int]]:
        """What the load port writes: (kind, rows, bits of a row)."""
        regions = []
        if self.weights == "loaded":
            regions.append(("weights", self.weight_depth, self.weight_row_bits))
        if self.bias_loaded and self.bias_bits:
            regions.append(("bias", self.groups, self.lanes * self.bias_bits))
        if self.registers:
            regions.append(("registers", 1, WORD_BITS * len(self.registers)))
        return regions

    def fixed_digest(self) -> str:
        """SHA-256 of the contents that are hardware, as hex digits."""
        layer = self.layer
        fixed = (
            dense_weights(layer).tolist() if self.weights == "fixed" else None,
            layer.bias.tolist() if not self.bias_loaded else None,
            (layer.threshold, layer.subtracts, layer.leak.describe()) if self.parameters == "fixed" else None,
        )
        return hashlib.sha256(repr(fixed).encode()).hexdigest()

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        layer = self.layer
        return {
            "engine": "parallel" if self.parallel else "grouped",
            "connections": [[connection.sources, connection.delay] for connection in layer.connections],
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
            "events": [self.events, self.events_out, self.ports],
        }


@dataclass(frozen=True, kw_only=True)
class Edge:
    """The way of spikes from a source to a connection of a layer.

    `queue` items are held on the way, beside what the blocks of the way hold: on a short cut past other layers, those
    of the steps by which they lag; on a delayed edge, those of its `delay` steps.
    """

    source: str
    layer: str
    connection: int
    delay: int
    queue: int
    leads: bool
    """Whether the ticks of this edge say which one is the last."""

    @property
    def name(self) -> str:
        """Name of what holds its items."""
        return f"{self.layer}_from_{self.source}_{self.connection}"


@dataclass(frozen=True, kw_only=True, eq=False)
class CorePlan:
    """A network placed on a core."""

    network: IntegerNetwork
    core: CoreConfig
    steps: int
    """Steps of one input: sizes the spike counters of the decision unit."""
    layers: tuple[LayerPlan | SweepPlan, ...]
    folded: "FoldedPlan | None" = None
    """The one engine that runs all `layers`, of a folded core."""

    @property
    def digital(self) -> DigitalConfig | StochasticConfig:
        """The configuration of a core of digital engines, each with rows of lanes.

        Raises
        ------
        TypeError
            For a core of another kind.
        """
        if not isinstance(self.core, DigitalConfig | StochasticConfig):
            raise TypeError(f"a core of kind {self.core.kind!r} where only a digital one can be")
        return self.core

    @property
    def load_bits(self) -> int:
        """Bits of a word of the load port."""
        return self.core.load_bits if isinstance(self.core, DigitalConfig) else WORD_BITS

    @property
    def decision(self) -> Literal["count", "first", "value", "none"]:
        """What the decision unit looks at; by itself at nothing where the output is a map."""
        if self.core.decision != "auto":
            return self.core.decision
        if self.network.layers[-1].threshold is None:
            return "value"
        return "none" if _is_spread(self.network.layers[-1]) else "count"

    @property
    def settle(self) -> int:
        """Cycles after which a core that was reset, loaded or has answered is at rest: its memories are cleared.

        Layers that lag may have the spikes of their last step and two sweeps before them when the answer leaves.
        """
        rows = [entry.groups for entry in self.layers if isinstance(entry, SweepPlan)]
        rows += [entry.cleared for entry in self.layers if isinstance(entry, LayerPlan)]
        if self.folded is not None:
            rows = [self.folded.steps * self.folded.input_rows]
        lag = sum(
            min(entry.groups * entry.layer.fan_in, entry.layer.dense_operations) * entry.layer.max_count
            + 2 * entry.groups
            for entry in self.layers
            if entry.name in self.lagging
        )
        return max(self.network.outputs, *rows, 0) + lag + 8

    @cached_property
    def lagging(self) -> tuple[str, ...]:
        """Layers that may be at their last step yet when the last tick of the output has left.

        These are the layers that reach the output through delays only: it does not wait for their last step.
        """
        network = self.network
        if self.folded is not None:
            return ()
        waited, before = {network.layers[-1].name}, 0
        while len(waited) > before:
            before = len(waited)
            for layer in network.layers:
                if layer.name in waited:
                    edges = zip(network.sources(layer), layer.connections, strict=True)
                    waited |= {source for source, connection in edges if connection.delay == 0}
        return tuple(layer.name for layer in network.layers if layer.name not in waited)

    @property
    def input_slots(self) -> EventSlots:
        """Slots of a word of `events_in`."""
        first = self.layers[0]
        if isinstance(first, LayerPlan) and first.events > 1:
            return first.slots
        return EventSlots(AddressMap(self.network.input_shape).addresses)

    @property
    def loads(self) -> bool:
        """Whether the core has a load port."""
        return bool(self.regions) or self.streams

    @property
    def streams(self) -> bool:
        """Whether weights stream in while inputs are under way."""
        return self.folded is not None and self.folded.half is not None

    @cached_property
    def regions(self) -> list[tuple[str, str, int, int]]:
        """What the load port writes: (layer, kind, rows, bits of a row); the index is the number of the region."""
        return [(plan.name, *region) for plan in self.layers for region in plan.regions]

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge of the network, by layer and connection."""
        network, level, edges = self.network, {"input": 0}, []
        for layer in network.layers:
            now = [s for s, c in zip(network.sources(layer), layer.connections, strict=True) if c.delay == 0]
            level[layer.name] = 1 + max((level[source] for source in now), default=0)
        for layer in network.layers:
            sources = network.sources(layer)
            leader = self.leaders[layer.name]
            for n, (source, connection) in enumerate(zip(sources, layer.connections, strict=True)):
                step = connection.sources * layer.max_count + 1  # the most items of a step
                lag = connection.delay or level[layer.name] - 1 - level[source]
                # A delay that leads lets a tick out once that of `lag` steps later has come in, beside it.
                beside = int(connection.delay > 0 and n == leader)
                edges.append(
                    Edge(
                        source=source,
                        layer=layer.name,
                        connection=n,
                        delay=connection.delay,
                        queue=lag * step + beside,
                        leads=n == leader,
                    )
                )
        return tuple(edges)

    @cached_property
    def leaders(self) -> dict[str, int]:
        """The connection of each layer whose ticks say which one is the last, by layer.

        It is the first one without a delay, or else the first one whose source knows without asking this layer.

        Raises
        ------
        InputError
            For layers that the input does not reach.
        """
        network, found = self.network, {}
        knowing, before = {"input"}, -1
        while len(found) > before:
            before = len(found)
            for layer in network.layers:
                sources = network.sources(layer)
                now = [n for n, connection in enumerate(layer.connections) if connection.delay == 0]
                known = [n for n, source in enumerate(sources) if source in knowing]
                if layer.name not in found and known and set(now) <= set(known):
                    found[layer.name] = min(now or known)
                    knowing.add(layer.name)
        for layer in network.layers:
            if layer.name not in found:
                raise InputError(
                    f"layer {layer.name!r} hears {', '.join(network.sources(layer))}, which the input does not reach; "
                    "accepted are layers that it reaches, also past delays: only it says when an input ends"
                )
        return found

    @cached_property
    def hash(self) -> str:
        """64-bit hash of the hardware, 16 hex digits: an image for another core is told by it.

        Contents that are fixed at elaboration are hardware; contents that are loaded are not.
        """
        structure: dict = {
            "layers": [plan.structure() for plan in self.layers],
            "core": [self.core.kind, self.core.queue_depth, self.decision, self.core.readout],
            "spike_queue": getattr(self.core, "spike_queue", None),
            "probe": self.core.probe,
            "steps": self.steps,
            "edges": [dataclasses.asdict(edge) for edge in self.edges],
            "fixed": [plan.fixed_digest() for plan in self.layers],
        }
        if self.folded is not None:
            structure["folded"] = self.folded.structure()
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
        if len(layer.shape) > 1 and not all(connection.is_convolution for connection in layer.connections):
            raise InputError(
                f"layer {layer.name!r}: a dense connection into a map of {list(layer.shape)}; accepted there are "
                "convolutions: the rows of a map share their weights"
            )
    layers: tuple[LayerPlan | SweepPlan, ...]
    folded = None
    _check_stochastic(network, core)
    if isinstance(core, StochasticConfig):
        layers = _pipeline(network, core, direct=direct)
    elif isinstance(core, DigitalConfig):
        layers, folded = _digital(network, core, steps=steps, direct=direct)
    elif isinstance(core, CrossbarConfig):
        from .crossbar import place_crossbar  # builds on LayerPlan

        layers = place_crossbar(network, core, steps=steps, direct=direct)
    elif isinstance(core, VirtualConfig):
        from .virtual import place_virtual  # builds on LayerPlan

        layers = place_virtual(network, core, steps=steps, direct=direct)
    elif isinstance(core, SharedConfig):
        from .shared import place_shared  # builds on LayerPlan

        layers = place_shared(network, core, direct=direct)
    else:
        assert isinstance(core, CimConfig)
        from .cim import place_cim  # builds on LayerPlan

        layers = place_cim(network, core, direct=direct)
    readout = network.layers[-1].threshold is None
    channels, *positions = network.layers[-1].shape
    if _is_spread(network.layers[-1]) and core.decision in ("count", "first"):
        raise InputError(
            f"core.decision: {core.decision!r} was given, but the last layer is a map of {positions}; accepted: none, "
            "auto: a decision names an address, and the lowest address of a map is not that of the lowest neuron"
        )
    if readout and _is_spread(network.layers[-1]):
        raise InputError(
            f"layer {network.layers[-1].name!r}: a read-out of {channels} channels on a map of {positions}; accepted "
            "is one on a single position: its values leave in the order of rows, which on a map is not that of neurons"
        )
    if core.decision in ("count", "first") and readout:
        raise InputError(
            f"core.decision: {core.decision!r} was given, but the last layer is a read-out; accepted: value, none, auto"
        )
    if core.decision == "value" and not readout:
        raise InputError(
            "core.decision: 'value' was given, but the last layer fires; accepted: count, first, none, auto"
        )
    plan = CorePlan(network=network, core=core, steps=steps, layers=layers, folded=folded)
    _ = plan.leaders  # raises where a core could not be wired
    return plan


def _digital(
    network: IntegerNetwork, core: DigitalConfig, *, steps: int, direct: bool
) -> tuple[tuple[LayerPlan | SweepPlan, ...], "FoldedPlan | None"]:
    """The layers of a digital core, and the one engine that runs all of them, if it is one."""
    _check_events(network, core)
    if core.schedule == "folded":
        if core.sparse == "on":
            raise InputError(
                "core.sparse: 'on' was given with schedule = \"folded\"; accepted are auto and off: "
                "a folded core has dense weights"
            )
        from .folded import fold  # builds on LayerPlan

        folded = fold(network, core, steps=steps, direct=direct)
        return folded.layers, folded
    return _pipeline(network, core, direct=direct), None


def _check_stochastic(network: IntegerNetwork, core: CoreConfig) -> None:
    """Raise InputError where neurons are stochastic and the core is not, or the other way round."""
    wanted = isinstance(core, StochasticConfig)
    for layer in network.layers:
        if (layer.stochastic is not None) != wanted:
            raise InputError(
                f"core.kind: {core.kind!r} was given, but layer {layer.name!r} has "
                f"{'potentials' if wanted else 'stochastic neurons'}; accepted: "
                f"{'a network all of whose neurons are stochastic' if wanted else 'stochastic'}"
            )
    if wanted and core.parameters != "fixed":
        raise InputError(
            f"core.parameters: {core.parameters!r} was given; accepted with core.kind = 'stochastic': 'fixed', "
            "probabilities and seeds are part of the hardware"
        )


def _pipeline(
    network: IntegerNetwork, core: DigitalConfig | StochasticConfig, *, direct: bool
) -> tuple[LayerPlan | SweepPlan, ...]:
    """An engine for each layer."""
    if isinstance(core, DigitalConfig):
        for name in ("fold_steps", "weight_buffer"):
            if getattr(core, name) != "auto":
                raise InputError(
                    f"core.{name}: {getattr(core, name)} was given; "
                    "accepted is \"auto\" with core.schedule = 'pipeline'"
                )
        if core.load_bits != 32:
            raise InputError(
                f"core.load_bits: {core.load_bits} was given; accepted is 32 with core.schedule = 'pipeline'"
            )
    wanted: Sequence[int | str] = core.lanes if isinstance(core.lanes, list) else [core.lanes] * len(network.layers)
    if len(wanted) != len(network.layers):
        names = ", ".join(layer.name for layer in network.layers)
        raise InputError(f"core.lanes: {len(wanted)} numbers were given; accepted is one, or one for each of {names}")
    layers = []
    shapes = {"input": network.input_shape} | {layer.name: layer.shape for layer in network.layers}
    for index, (layer, lanes) in enumerate(zip(network.layers, wanted, strict=True)):
        plain = layer.is_plain and all(len(shapes[source]) == 1 for source in network.sources(layer))
        width = layer.neurons if plain else layer.shape[0]
        if isinstance(lanes, str):  # "full"
            count = width
        elif isinstance(core.lanes, list):
            count = lanes
        else:
            count = min(lanes, width)  # one number for all: narrow layers take what they can use
            if lanes > max(entry.neurons for entry in network.layers):
                widest = max(network.layers, key=lambda entry: entry.neurons)
                raise InputError(
                    f"core.lanes: {lanes} was given; accepted is 1 to {widest.neurons}, "
                    f'the width of the widest layer {widest.name!r}, or "full"'
                )
        if not 1 <= count <= width:
            raise InputError(
                f'core.lanes: {count} was given for layer {layer.name!r}; accepted is 1 to {width} or "full"'
            )
        if not plain and not _divides(layer, count):
            accepted = [n for n in range(1, width + 1) if _divides(layer, n)]
            if isinstance(core.lanes, list):
                raise InputError(
                    f"core.lanes: {count} was given for layer {layer.name!r} of {layer.shape[0]} channels; "
                    f"accepted are {', '.join(map(str, accepted))}"
                )
            count = max(n for n in accepted if n <= count)
        events: dict[str, Any] = {}
        if core.events_per_cycle > 1:
            if count != layer.neurons:
                raise InputError(
                    f"core.events_per_cycle: {core.events_per_cycle} was given with {count} lanes for layer "
                    f'{layer.name!r}; accepted is 1, or lanes = "full"'
                )
            sent = core.events_per_cycle if index + 1 < len(network.layers) else 1
            events = {"events": core.events_per_cycle, "events_out": sent, "ports": core.weight_ports}
        placed: dict[str, Any] = {
            "layer": layer,
            "lanes": count,
            "weights": core.weights,
            "parameters": core.parameters,
            "direct": direct and index == 0,
            "clears": network.state == "clear",
        }
        sparse = None
        if core.sparse != "off" and can_be_sparse(layer, shapes[network.sources(layer)[0]], count):
            sparse = SparsePlan(**placed)
            if core.sparse == "auto" and (core.weights == "loaded" or not sparse.pays):
                sparse = None
        layers.append(sparse or (LayerPlan(**placed, **events) if plain else SweepPlan(**placed)))
    if core.sparse == "on" and not any(isinstance(entry, SparsePlan) for entry in layers):
        raise InputError(
            "core.sparse: 'on' was given, but no layer is dense, takes spikes of one flat population and shares its "
            "lanes; accepted here are auto, off"
        )
    return tuple(layers)


def _check_events(network: IntegerNetwork, core: DigitalConfig) -> None:
    """Raise InputError unless every layer can take as many events per cycle as `core` asks for."""
    events, ports = core.events_per_cycle, core.weight_ports
    if ports > events:
        raise InputError(
            f"core.weight_ports: {ports} was given with events_per_cycle = {events}; accepted is 1, "
            "or 2 with 2 or 4 events per cycle"
        )
    if events == 1:
        return
    if core.schedule == "folded":
        raise InputError(
            f'core.events_per_cycle: {events} was given with schedule = "folded"; accepted is 1, or "pipeline"'
        )
    before = "input"
    for layer in network.layers:
        chained = list(network.sources(layer)) == [before] and layer.connections[0].delay == 0
        if not (layer.is_plain and chained) or (before == "input" and len(network.input_shape) > 1):
            raise InputError(
                f"core.events_per_cycle: {events} was given, but layer {layer.name!r} is no dense layer that takes "
                "the spikes of the one before it only; accepted is 1"
            )
        if layer.fan_in < events:
            raise InputError(
                f"core.events_per_cycle: {events} was given, but layer {layer.name!r} has {layer.fan_in} inputs; "
                "accepted is at most one event per input"
            )
        before = layer.name
    bits = EventSlots(network.inputs, events, ports).bits
    if bits > MOST_WORD_BITS:
        raise InputError(
            f"core.events_per_cycle: {events} was given for {network.inputs} inputs, which makes words of {bits} bits; "
            f"accepted are up to {MOST_WORD_BITS}"
        )


def _is_spread(layer: IntegerLayer) -> bool:
    """Whether a layer is a map of more than one position: its addresses are then not in the order of its neurons."""
    return math.prod(layer.shape[1:]) > 1


def _divides(layer: IntegerLayer, lanes: int) -> bool:
    """Whether rows of `lanes` channels fit the channel groups of `layer` and, in a map, its address fields."""
    channels, *positions = layer.shape
    if positions and lanes & (lanes - 1) and lanes != channels:
        return False
    narrow = [channels // c.groups for c in layer.connections if c.is_convolution and c.groups > 1]
    return all(size % lanes == 0 or lanes % size == 0 for size in narrow)
