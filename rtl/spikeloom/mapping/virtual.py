"""How a layer is placed on engines of virtual neurons: slots, and the three tables that lead a spike to them.

A core has M engines; an engine emulates up to N neurons, one at a time: each has a slot, a capacitor of the engine or
a word of its membrane memory. The neuron in slot k of engine m leaves its spikes as address ``k M + m``, under which
the next layer looks them up; the neurons of the last layer lie in order, so that there it is their number. A spike
goes through three tables::

    events     of each source address: {base, length}, rows of the dispatch memory
    dispatch   a row of M entries {valid, slot, weight address}, one for each engine
    weights    of each engine, a memory of its own: synapses that share a kernel weight share its address

A source that has c_m targets on engine m takes length = max_m c_m rows, and as many cycles. Making the tables costs
O(synapses log synapses).

Several layers can share a core: each has slots and rows of all memories of its own, one behind the other.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from ..config import VirtualConfig
from ..errors import InputError
from ..items import AddressMap, address_bits
from ..network.integer import INPUT, IntegerLayer, IntegerNetwork, signed_bits
from .plan import SPIKE_QUEUE, LayerPlan
from .rows import pack_rows

__all__ = ["EVENT_MEMORY", "Share", "VirtualPlan", "VirtualTables", "place_virtual", "synapses"]

EVENT_MEMORY = 64
"""Items that the event memory of a layer holds unless the configuration says another number."""


NOWHERE: Any = None
"""The share of a layer that is not placed yet."""


def synapses(layer: IntegerLayer) -> tuple[sparse.csr_array, np.ndarray]:
    """Where the spikes of a layer go: weight numbers + 1, int64 [sources of all connections, neurons], and weights.

    Weight number w is ``weights[w]``; synapses that share a kernel weight share it. A weight of 0 is no synapse.
    """
    parts, weights, first = [], [], 0
    for connection in layer.connections:
        flat = connection.weights.reshape(-1)
        numbers = np.where(flat != 0, first + 1 + np.arange(flat.size), 0).reshape(connection.weights.shape)
        matrix = connection.geometry.matrix(numbers)
        matrix.eliminate_zeros()
        parts.append(matrix.T)
        weights.append(flat)
        first += flat.size
    return sparse.csr_array(sparse.vstack(parts)), np.concatenate(weights)


@dataclass(frozen=True, kw_only=True, eq=False)
class VirtualTables:
    """The tables of one layer; see the module.

    Members: `base`, `length` int64 [sources]; `valid` bool, `slot`, `address` int64 [rows, engines]; `weights` int64
    [engines] arrays of each engine's own length.
    """

    base: np.ndarray
    length: np.ndarray
    valid: np.ndarray
    slot: np.ndarray
    address: np.ndarray
    weights: tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a layer has of its core: where its part of each memory begins, and how large these are in all.

    Members: `core`, its name; `index` of the layer among the `layers` of the core; first `slot`, `event`, `row` (of the
    dispatch memory) and `word` (of a weight memory) of the layer; `slots`, `events`, `rows`, `words` of all layers;
    `length_bits` of an event entry, `weight_bits`, `bias_bits` (0: no biases), `lane_bits` of each engine's potentials.
    """

    core: str
    index: int
    layers: int
    slot: int
    event: int
    row: int
    word: int
    slots: int
    events: int
    rows: int
    words: int
    length_bits: int
    weight_bits: int
    bias_bits: int
    lane_bits: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class VirtualPlan(LayerPlan):
    """One layer on `lanes` engines."""

    share: Share

    engine: np.ndarray
    """Engine of each neuron, int64 [neurons]."""
    listens: tuple[np.ndarray, ...]
    """Of each connection, the input address of every source, int64 [sources]."""
    addresses: tuple[int, ...]
    """Of each connection, below which its input addresses lie."""
    rows: int | None
    """Rows of the dispatch memory; None: as many as it takes."""
    depth: int | None
    """Words of an engine's weight memory; None: as many as it takes."""

    @property
    def parallel(self) -> bool:
        """Never: potentials are words of memories, whatever the width of the layer."""
        return False

    @cached_property
    def slot(self) -> np.ndarray:
        """Slot of each neuron on its engine, in ascending order, int64 [neurons]."""
        slot = np.empty(self.layer.neurons, np.int64)
        for engine in range(self.lanes):
            mine = np.flatnonzero(self.engine == engine)
            slot[mine] = np.arange(len(mine))
        return slot

    @cached_property
    def output(self) -> np.ndarray:
        """Address of each neuron's spikes, int64 [neurons]."""
        return self.slot * self.lanes + self.engine

    @cached_property
    def neuron_at(self) -> np.ndarray:
        """Neuron in each slot and engine, int64 [slots, engines]; -1 where there is none."""
        neurons = np.full((self.groups, self.lanes), -1)
        neurons[self.slot, self.engine] = np.arange(self.layer.neurons)
        return neurons

    @property
    def in_order(self) -> bool:
        """Whether addresses are neuron numbers."""
        return bool((self.output == np.arange(self.layer.neurons)).all())

    @cached_property
    def groups(self) -> int:
        """Slots in use: rows of the sweep that fires."""
        return int(self.slot.max()) + 1

    @property
    def spike_queue(self) -> int:
        """Rows of spikes that wait for the serialiser: all of a sweep, where other layers need the engines."""
        return SPIKE_QUEUE if self.share.layers == 1 else max(2, self.groups)

    @property
    def output_addresses(self) -> int:
        """Addresses of the engine's output lie below this."""
        return self.layer.neurons if self.in_order else self.groups * self.lanes

    @property
    def input_addresses(self) -> int:
        """Addresses of the engine's input lie below this."""
        return sum(self.addresses)

    @property
    def bases(self) -> tuple[int, ...]:
        """Address at which the spikes of each connection begin."""
        return tuple(sum(self.addresses[:n]) for n in range(len(self.addresses)))

    @cached_property
    def tables(self) -> VirtualTables:
        """The tables of the layer itself."""
        return self.tabulate(self.layer)

    def tabulate(self, layer: IntegerLayer) -> VirtualTables:
        """The tables of `layer`, which has other weights, maybe other zeros."""
        targets, values = synapses(layer)
        sources = len(targets.indptr) - 1
        source = np.repeat(np.arange(sources), np.diff(targets.indptr))
        neuron, number = np.asarray(targets.indices, np.int64), np.asarray(targets.data, np.int64) - 1
        engine = self.engine[neuron]
        order = np.lexsort((self.slot[neuron], engine, source))
        source, neuron, number, engine = source[order], neuron[order], number[order], engine[order]
        run = source * self.lanes + engine
        _, first, inverse = np.unique(run, return_index=True, return_inverse=True)
        place = np.arange(len(run)) - first[inverse]
        length = np.zeros(sources, np.int64)
        np.maximum.at(length, source, place + 1)
        base = np.cumsum(length) - length
        row = base[source] + place
        shape = (max(1, int(length.sum())), self.lanes)
        valid, slot, address = np.zeros(shape, bool), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        valid[row, engine], slot[row, engine] = True, self.slot[neuron]
        weights = []
        for m in range(self.lanes):
            mine = engine == m
            used, where = np.unique(number[mine], return_inverse=True)
            address[row[mine], m] = where
            weights.append(values[used] if len(used) else np.zeros(1, np.int64))
        return VirtualTables(
            base=base, length=length, valid=valid, slot=slot, address=address, weights=tuple(weights)
        )  # fmt: skip

    def touched_rows(self) -> list[np.ndarray]:
        """Of each connection, the dispatch rows of a spike of every source, int64 [sources]."""
        sizes = np.cumsum([connection.sources for connection in self.layer.connections])[:-1]
        return np.split(self.tables.length, sizes)

    # ---- memories ----

    @cached_property
    def dispatch_depth(self) -> int:
        """Rows of its part of the dispatch memory."""
        return self.rows if self.rows is not None else len(self.tables.valid)

    @cached_property
    def weight_depth(self) -> int:
        """Words of its part of an engine's weight memory."""
        return self.depth if self.depth is not None else max(len(words) for words in self.tables.weights)

    @property
    def weight_row_bits(self) -> int:
        """Bits of the words of all engines at one address."""
        return self.lanes * self.share.weight_bits

    @property
    def event_bits(self) -> tuple[int, int]:
        """Bits of base and length of an entry of the event table."""
        return address_bits(self.share.rows), self.share.length_bits

    @property
    def event_row_bits(self) -> int:
        """Bits of an entry of the event table."""
        return sum(self.event_bits)

    @property
    def slot_bits(self) -> int:
        """Bits of a slot number."""
        return address_bits(self.share.slots)

    @property
    def entry_bits(self) -> int:
        """Bits of one engine's entry of a dispatch row: {valid, slot, weight address} from the lowest on."""
        return 1 + self.slot_bits + address_bits(self.share.words)

    @property
    def dispatch_row_bits(self) -> int:
        """Bits of a dispatch row."""
        return self.lanes * self.entry_bits

    def _fits(self, layer: IntegerLayer | None) -> VirtualTables:
        """The tables of `layer`, or InputError where they do not fit the memories."""
        tables = self.tables if layer is None else self.tabulate(layer)
        rows, words = len(tables.valid), max(len(words) for words in tables.weights)
        if rows > self.dispatch_depth:
            raise InputError(
                f"layer {self.name!r}: its spikes take {rows} dispatch rows; accepted are up to {self.dispatch_depth}, "
                "or more core.dispatch_rows"
            )
        if words > self.weight_depth:
            raise InputError(
                f"layer {self.name!r}: {words} weights on one engine; accepted are up to {self.weight_depth}, or more "
                "core.weight_depth"
            )
        return tables

    def events_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """Contents of the event table, one row per input address; a source of no spikes has length 0."""
        tables, (bits, _) = self._fits(layer), self.event_bits
        rows = [0] * self.input_addresses
        where = np.concatenate([base + at for base, at in zip(self.bases, self.listens, strict=True)])
        for address, base, length in zip(where.tolist(), tables.base.tolist(), tables.length.tolist(), strict=True):
            rows[address] = (self.share.row + base if length else 0) | length << bits
        return rows

    def dispatch_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """Contents of the dispatch memory."""
        tables = self._fits(layer)
        slot, word = tables.slot + self.share.slot, tables.address + self.share.word
        fields = np.where(tables.valid, 1 | slot << 1 | word << (1 + self.slot_bits), 0)
        rows = pack_rows(fields, self.entry_bits)
        return rows + [0] * (self.dispatch_depth - len(rows))

    def weight_words(self, layer: IntegerLayer | None = None) -> np.ndarray:
        """Contents of the weight memories, int64 [words, engines]."""
        tables = self._fits(layer)
        words = np.zeros((self.weight_depth, self.lanes), np.int64)
        for m, mine in enumerate(tables.weights):
            words[: len(mine), m] = mine
        return words

    def weight_rows(self, layer: IntegerLayer | None = None) -> list[int]:
        """The words of all engines at one address, side by side."""
        return pack_rows(self.weight_words(layer), self.share.weight_bits)

    def placed(self, values: np.ndarray) -> np.ndarray:
        """Values [neurons] as [slots, engines]; 0 where there is no neuron."""
        result = np.zeros((self.groups, self.lanes), np.int64)
        result[self.slot, self.engine] = values
        return result

    def bias_rows(self, bias: np.ndarray | None = None) -> list[int]:
        """Contents of the bias memory, one row per slot."""
        return pack_rows(self.placed(self.layer.bias if bias is None else bias), self.share.bias_bits)

    @property
    def lane_bits(self) -> tuple[int, ...]:
        """Accumulator bits of each engine."""
        return self.share.lane_bits

    def own_lane_bits(self) -> np.ndarray:
        """Accumulator bits that this layer needs on each engine; alike on all where weights are loaded, [engines]."""
        if self.weights == "loaded":
            return np.full(self.lanes, self.neuron_bits.max())
        return np.maximum(self.placed(self.neuron_bits).max(axis=0), 2)

    @cached_property
    def bias_bits(self) -> int:
        """Bits of one bias; 0 where the layer has none and can get none."""
        layer, bounds = self.layer, [int(self.layer.bias.min()), int(self.layer.bias.max())]
        if self.direct:  # W x + bias with every x in 0 .. 1
            low, high = layer.summed_range()
            bounds += [int((low + layer.bias).min()), int((high + layer.bias).max())]
        elif self.parameters == "loaded":
            return max(layer.potential_bits, signed_bits(min(bounds), max(bounds)))
        return signed_bits(min(bounds), max(bounds)) if self.direct or any(bounds) else 0

    def fixed_digest(self) -> str:
        """SHA-256 of the contents that are hardware, as hex digits."""
        layer, digest = self.layer, hashlib.sha256()
        if self.weights == "fixed":
            for connection in layer.connections:
                digest.update(connection.weights.astype("<i8").tobytes())
        if not self.bias_loaded:
            digest.update(layer.bias.astype("<i8").tobytes())
        if self.parameters == "fixed":
            digest.update(repr((layer.threshold, layer.subtracts, layer.leak.describe())).encode())
        return digest.hexdigest()

    def lane_needs(self, bits: np.ndarray) -> list[int]:
        """Of each engine, the most of `bits` [neurons]."""
        return self.placed(bits).max(axis=0).tolist()

    @property
    def regions(self) -> list[tuple[str, int, int]]:
        """What the load port writes: (kind, rows, bits of a row)."""
        regions = [
            (kind, rows, self.lanes * self.share.bias_bits if kind == "bias" else bits)
            for kind, rows, bits in super().regions
        ]
        if self.weights == "loaded":
            tables = [("events", self.input_addresses, self.event_row_bits)]
            tables.append(("dispatch", self.dispatch_depth, self.dispatch_row_bits))
            regions = tables + regions
        return regions

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        placed = hashlib.sha256(self.engine.astype("<i8").tobytes())
        for addresses in self.listens:
            placed.update(addresses.astype("<i8").tobytes())
        return super().structure() | {
            "engine": "virtual",
            "placed": placed.hexdigest(),
            "addresses": list(self.addresses),
            "memories": [self.groups, self.dispatch_depth, self.weight_depth],
            "share": dataclasses.asdict(self.share),
        }


def place_virtual(network: IntegerNetwork, core: VirtualConfig, *, direct: bool = False) -> tuple[VirtualPlan, ...]:
    """Place the layers of `network` on engines.

    Raises
    ------
    InputError
        For a layer that engines cannot compute, or that does not fit them.
    """
    cores = _cores(network, core)
    plans: dict[str, VirtualPlan] = {}
    for index, layer in enumerate(network.layers):
        _check_kind(layer)
        if layer.neurons > core.engines * core.slots:
            raise InputError(
                f"layer {layer.name!r}: {layer.neurons} neurons; accepted with core.engines = {core.engines} and "
                f"core.slots = {core.slots} are up to {core.engines * core.slots}"
            )
        widest = max(other.neurons for other, at in zip(network.layers, cores, strict=True) if at == cores[index])
        lanes = min(core.engines, widest)
        plan = VirtualPlan(
            layer=layer,
            lanes=lanes,
            weights=core.weights,
            parameters=core.parameters,
            direct=direct and index == 0,
            clears=network.state == "clear",
            share=NOWHERE,
            engine=np.arange(layer.neurons) % lanes,
            listens=(),
            addresses=(),
            rows=None if core.dispatch_rows == "auto" else core.dispatch_rows,
            depth=None if core.weight_depth == "auto" else core.weight_depth,
        )
        # The neurons of the last layer stay in order: their addresses are what leaves the core.
        last = index + 1 == len(network.layers)
        plans[layer.name] = plan if last else dataclasses.replace(plan, engine=_assigned(plan, core))
    # Sources may come later in the network, on loops; so who listens to whom is known only now.
    addressing = AddressMap(network.input_shape)
    spaces = {INPUT: (addressing.of(np.arange(addressing.neurons)), addressing.addresses)}
    spaces |= {name: (plan.output, plan.output_addresses) for name, plan in plans.items()}
    layers = []
    for plan in plans.values():
        heard = [spaces[source] for source in network.sources(plan.layer)]
        listens, addresses = tuple(each for each, _ in heard), tuple(size for _, size in heard)
        layers.append(dataclasses.replace(plan, listens=listens, addresses=addresses))
        layers[-1]._fits(None)
    for number in dict.fromkeys(cores):
        members = [n for n, at in enumerate(cores) if at == number]
        for n, share in zip(members, _shares([layers[n] for n in members], core), strict=True):
            layers[n] = dataclasses.replace(layers[n], share=share)
    return tuple(layers)


def _cores(network: IntegerNetwork, core: VirtualConfig) -> list[int]:
    """Number of the core of each layer."""
    names = [layer.name for layer in network.layers]
    if isinstance(core.cores, str):
        return [0] * len(names) if core.cores == "one" else list(range(len(names)))
    if len(core.cores) != len(names):
        raise InputError(
            f"core.cores: {len(core.cores)} numbers were given; accepted is one for each of {', '.join(names)}"
        )
    return core.cores


def _shares(plans: list[VirtualPlan], core: VirtualConfig) -> list[Share]:
    """The shares of layers on one core, one behind the other in every memory."""
    sizes = np.array([(p.groups, p.input_addresses, p.dispatch_depth, p.weight_depth) for p in plans], np.int64)
    starts, totals = np.cumsum(sizes, axis=0) - sizes, sizes.sum(axis=0)
    if totals[0] > core.slots:
        each = ", ".join(f"{plan.name} {plan.groups}" for plan in plans)
        raise InputError(
            f"core.slots: {core.slots} was given; the layers of one core take {totals[0]} ({each}); accepted is at "
            "least that, more engines, or other core.cores"
        )
    return [
        Share(
            core="_".join(plan.name for plan in plans),
            index=n,
            layers=len(plans),
            **dict(zip(("slot", "event", "row", "word"), map(int, starts[n]), strict=True)),
            **dict(zip(("slots", "events", "rows", "words"), map(int, totals), strict=True)),
            length_bits=max(plan.groups for plan in plans).bit_length(),
            weight_bits=max(plan.layer.weight_bits for plan in plans),
            bias_bits=max(plan.bias_bits for plan in plans),
            lane_bits=tuple(int(bits) for bits in np.max([plan.own_lane_bits() for plan in plans], axis=0)),
        )
        for n in range(len(plans))
    ]


def _assigned(plan: VirtualPlan, core: VirtualConfig) -> np.ndarray:
    """The engine of each neuron, as `core.placement` asks for."""
    return plan.engine


def _check_kind(layer: IntegerLayer) -> None:
    plain = (
        layer.current_bits is None
        and not layer.refractory
        and layer.adaptation is None
        and not isinstance(layer.threshold, np.ndarray)
        and not isinstance(layer.reset_amount, np.ndarray)
        and not layer.leak.per_neuron
    )
    if not plain:
        raise InputError(
            f"layer {layer.name!r}: a virtual core takes layers of plain kinds (no synaptic current, refractory "
            "period, adaptation or parameter per neuron); accepted for this one is core.kind = 'digital'"
        )
