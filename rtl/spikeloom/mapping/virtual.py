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

A layer of more neurons than slots runs in several turns: the spikes of an input are kept, as bits, and played once for
each turn, with tables of its own, to other neurons in the same slots; the flags of all turns leave at the end, step by
step. Its addresses are ``(turn G + k) M + m`` with G slots in use.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..config import VirtualConfig
from ..errors import InputError
from ..items import AddressMap, address_bits
from ..network.integer import INPUT, IntegerLayer, IntegerNetwork
from .mapping_file import read_mapping
from .placement import Problem, place, problem_of, synapses
from .plan import SPIKE_QUEUE, LayerPlan, shares_of_layers
from .rows import pack_rows

__all__ = [
    "EVENT_MEMORY",
    "Share",
    "VirtualPlan",
    "VirtualTables",
    "analog_leak",
    "place_virtual",
    "placement_problems",
]

EVENT_MEMORY = 64
"""Items that the event memory of a layer holds unless the configuration says another number."""


MOST_TURNS = 64
"""Passes over an input unless the configuration says another number."""
PLACEMENT_SECONDS = 600.0
"""Longest search of a placement at elaboration; what it does there ends far earlier by itself."""
STORE_WIDTH = 32
"""Bits of a row of the memory that keeps the spikes of an input."""
NOWHERE: Any = None
"""The share of a layer that is not placed yet."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VirtualTables:
    """The tables of one layer; see the module.

    Members: `base`, `length` int64 [turns, sources]; `valid` bool, `slot`, `address` int64 [rows, engines]; `weights`,
    for each engine an int64 array of its own length.
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
    dispatch memory), `word` (of a weight memory) and `bias` of the layer; `slots`, `events`, `rows`, `words`, `biases`
    of all layers;
    `length_bits` of an event entry, `weight_bits`, `bias_bits` (0: no biases), `lane_bits` of each engine's potentials;
    `analog`, whether the engines are.
    """

    core: str
    index: int
    layers: int
    slot: int
    event: int
    row: int
    word: int
    bias: int
    slots: int
    events: int
    rows: int
    words: int
    biases: int
    length_bits: int
    weight_bits: int
    bias_bits: int
    analog: bool
    lane_bits: tuple[int, ...]

    @property
    def late(self) -> int:
        """Cycles by which what fired is known later than from digital engines."""
        return int(self.analog)


@dataclass(frozen=True, kw_only=True, eq=False)
class VirtualPlan(LayerPlan):
    """One layer on `lanes` engines."""

    share: Share

    engine: np.ndarray
    """Engine of each neuron, int64 [neurons]."""
    turn: np.ndarray
    """Turn of each neuron, int64 [neurons]."""
    steps: int
    """Most steps of an input."""
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
    def turns(self) -> int:
        """How often the spikes of an input are played."""
        return int(self.turn.max()) + 1

    @cached_property
    def slot(self) -> np.ndarray:
        """Slot of each neuron on its engine, in ascending order, int64 [neurons]."""
        slot, place = np.empty(self.layer.neurons, np.int64), self.turn * self.lanes + self.engine
        for each in np.unique(place):
            mine = np.flatnonzero(place == each)
            slot[mine] = np.arange(len(mine))
        return slot

    @cached_property
    def row(self) -> np.ndarray:
        """Row of each neuron: its slot, behind those of the turns before, int64 [neurons]."""
        return self.turn * self.groups + self.slot

    @cached_property
    def output(self) -> np.ndarray:
        """Address of each neuron's spikes, int64 [neurons]."""
        return self.row * self.lanes + self.engine

    @cached_property
    def neuron_at(self) -> np.ndarray:
        """Neuron in each row and engine, int64 [turns * slots, engines]; -1 where there is none."""
        neurons = np.full((self.turns * self.groups, self.lanes), -1)
        neurons[self.row, self.engine] = np.arange(self.layer.neurons)
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
        if self.turns > 1:
            return 0  # a memory holds them
        return SPIKE_QUEUE if self.share.layers == 1 else max(2, self.groups)

    @property
    def output_addresses(self) -> int:
        """Addresses of the engine's output lie below this."""
        return self.layer.neurons if self.in_order else self.turns * self.groups * self.lanes

    @property
    def input_addresses(self) -> int:
        """Addresses of the engine's input lie below this."""
        return sum(self.addresses)

    @property
    def bases(self) -> tuple[int, ...]:
        """Address at which the spikes of each connection begin."""
        return tuple(sum(self.addresses[:n]) for n in range(len(self.addresses)))

    @cached_property
    def source_addresses(self) -> np.ndarray:
        """Input address of every source, of all connections in turn, int64 [sources]."""
        return np.concatenate([base + at for base, at in zip(self.bases, self.listens, strict=True)])

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
        source = self.turn[neuron] * sources + source  # each turn has its own
        order = np.lexsort((self.slot[neuron], self.engine[neuron], source))
        source, neuron, number = source[order], neuron[order], number[order]
        engine = self.engine[neuron]
        _, first, inverse = np.unique(source * self.lanes + engine, return_index=True, return_inverse=True)
        place = np.arange(len(source)) - first[inverse]
        length = np.zeros(self.turns * sources, np.int64)
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
        base, length = base.reshape(self.turns, sources), length.reshape(self.turns, sources)
        return VirtualTables(
            base=base, length=length, valid=valid, slot=slot, address=address, weights=tuple(weights)
        )  # fmt: skip

    def touched_rows(self) -> list[np.ndarray]:
        """Of each connection, the dispatch rows of a spike of every source in all turns, int64 [sources]."""
        sizes = np.cumsum([connection.sources for connection in self.layer.connections])[:-1]
        return np.split(self.tables.length.sum(axis=0), sizes)

    @property
    def store_width(self) -> int:
        """Bits of a row of the memory that keeps the spikes of an input for several turns."""
        return min(STORE_WIDTH, 1 << (self.input_addresses - 1).bit_length())

    @property
    def store_rows(self) -> int:
        """Rows of a step in that memory."""
        return -(-self.input_addresses // self.store_width)

    @property
    def turn_addresses(self) -> int:
        """Rows of the event table from one turn to the next."""
        return self.store_rows * self.store_width if self.turns > 1 else self.input_addresses

    @property
    def flag_rows(self) -> int:
        """Rows of the memory of flags of several turns."""
        return self.steps * self.turns * self.groups

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
        """Contents of the event table, one row per turn and input address; a source of no spikes has length 0."""
        tables, (bits, _) = self._fits(layer), self.event_bits
        rows = [0] * (self.turns * self.turn_addresses)
        where = self.source_addresses + np.arange(self.turns)[:, None] * self.turn_addresses
        numbers = (table.reshape(-1).tolist() for table in (where, tables.base, tables.length))
        for address, base, length in zip(*numbers, strict=True):
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
        """Values [neurons] as [turns * slots, engines]; 0 where there is no neuron."""
        result = np.zeros((self.turns * self.groups, self.lanes), np.int64)
        result[self.row, self.engine] = values
        return result

    def bias_rows(self, bias: np.ndarray | None = None) -> list[int]:
        """Contents of the bias memory, one row per turn and slot."""
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

    @property
    def cleared(self) -> int:
        """Cycles after reset in which memories are cleared."""
        kept = self.steps * self.store_rows if self.turns > 1 else 0
        return max(self.share.slots + 2, kept)

    def lane_needs(self, bits: np.ndarray) -> list[int]:
        """Of each engine, the most of `bits` [neurons]."""
        return self.placed(bits).max(axis=0).tolist()

    @property
    def regions(self) -> list[tuple[str, int, int]]:
        """What the load port writes: (kind, rows, bits of a row)."""
        regions = [
            (kind, self.turns * self.groups, self.lanes * self.share.bias_bits)
            if kind == "bias"
            else (kind, rows, bits)
            for kind, rows, bits in super().regions
        ]
        if self.weights == "loaded":
            tables = [("events", self.turns * self.turn_addresses, self.event_row_bits)]
            tables.append(("dispatch", self.dispatch_depth, self.dispatch_row_bits))
            regions = tables + regions
        return regions

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        placed = hashlib.sha256()
        for table in (self.engine, self.turn, *self.listens):
            placed.update(table.astype("<i8").tobytes())
        return super().structure() | {
            "engine": "virtual",
            "placed": placed.hexdigest(),
            "addresses": list(self.addresses),
            "steps": self.steps,
            "memories": [self.groups, self.dispatch_depth, self.weight_depth],
            "share": dataclasses.asdict(self.share),
        }


def place_virtual(
    network: IntegerNetwork, core: VirtualConfig, *, steps: int, direct: bool = False
) -> tuple[VirtualPlan, ...]:
    """Place the layers of `network` on engines.

    Raises
    ------
    InputError
        For a layer that engines cannot compute, or that does not fit them.
    """
    if core.engine == "analog":
        _check_analog(network, core, direct=direct)
    cores = shares_of_layers(network, core.cores, "core.cores")
    limits = _limits(network, core, cores)
    for layer in network.layers:
        _check_kind(layer)
    problems = placement_problems(network, core)
    if core.mapping:
        placed = read_mapping(core.mapping, network, problems)
    else:
        found = {name: place(problem, core.placement, seconds=PLACEMENT_SECONDS) for name, problem in problems.items()}
        placed = {name: (each.engine, each.turn) for name, each in found.items()}
    plans: dict[str, VirtualPlan] = {}
    for index, layer in enumerate(network.layers):
        lanes, slots = limits[index]
        every = np.arange(layer.neurons)  # in order, where nothing else is said: the last layer
        engine, turn = placed.get(layer.name, (every % lanes, every // (lanes * max(1, slots))))
        turns, most = int(turn.max()) + 1, _most_passes(core)
        if not slots or turns > most:
            raise InputError(
                f"layer {layer.name!r}: {layer.neurons} neurons; accepted with {lanes} engines, {slots} of the "
                f"{core.slots} slots of its core and {most} passes are up to {lanes * slots * most}: more "
                "core.engines, core.slots, core.passes, or other core.cores"
            )
        if turns > 1:
            _check_turns(network, layer, core, turns)
        plans[layer.name] = VirtualPlan(
            layer=layer,
            lanes=lanes,
            weights=core.weights,
            parameters=core.parameters,
            direct=direct and index == 0,
            clears=network.state == "clear",
            share=NOWHERE,
            engine=engine,
            turn=turn,
            steps=steps,
            listens=(),
            addresses=(),
            rows=None if core.dispatch_rows == "auto" else core.dispatch_rows,
            depth=None if core.weight_depth == "auto" else core.weight_depth,
        )
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


def _limits(network: IntegerNetwork, core: VirtualConfig, cores: list[int]) -> list[tuple[int, int]]:
    """Engines of the core of each layer, and how many of its slots the layer may take.

    Where the slots do not suffice, read-outs take what they need and the others share what is left in proportion.
    """
    limits = []
    for layer, number in zip(network.layers, cores, strict=True):
        members = [other for other, at in zip(network.layers, cores, strict=True) if at == number]
        lanes = min(core.engines, max(other.neurons for other in members))
        needs = {other.name: -(-other.neurons // lanes) for other in members}
        fixed = sum(needs[other.name] for other in members if other.threshold is None)
        left, wanted = core.slots - fixed, sum(needs.values()) - fixed
        if layer.threshold is None or wanted <= left:
            limits.append((lanes, needs[layer.name] if fixed <= core.slots else 0))
        else:
            spare = left - sum(other.threshold is not None for other in members)  # beside a slot for each
            extra = (needs[layer.name] - 1) * spare // max(1, wanted - left + spare)
            limits.append((lanes, 1 + extra if spare >= 0 else 0))
    return limits


def _shares(plans: list[VirtualPlan], core: VirtualConfig) -> list[Share]:
    """The shares of layers on one core, one behind the other in every memory."""
    sizes = np.array(
        [(p.groups, p.turns * p.turn_addresses, p.dispatch_depth, p.weight_depth, p.turns * p.groups) for p in plans],
        np.int64,
    )
    starts, totals = np.cumsum(sizes, axis=0) - sizes, sizes.sum(axis=0)
    return [
        Share(
            core="_".join(plan.name for plan in plans),
            index=n,
            layers=len(plans),
            **dict(zip(("slot", "event", "row", "word", "bias"), map(int, starts[n]), strict=True)),
            **dict(zip(("slots", "events", "rows", "words", "biases"), map(int, totals), strict=True)),
            length_bits=max(plan.groups for plan in plans).bit_length(),
            weight_bits=max(plan.layer.weight_bits for plan in plans),
            bias_bits=max(plan.bias_bits for plan in plans),
            analog=core.engine == "analog",
            lane_bits=tuple(int(bits) for bits in np.max([plan.own_lane_bits() for plan in plans], axis=0)),
        )
        for n in range(len(plans))
    ]


def placement_problems(
    network: IntegerNetwork, core: VirtualConfig, *, rates: Sequence[np.ndarray] | None = None
) -> dict[str, Problem]:
    """What is to be placed on `core`, by layer: all layers but the last, whose neurons stay in order.

    `rates` are expected events of the sources of each layer (`placement.measured_rates`), by default alike.
    """
    limits = _limits(network, core, shares_of_layers(network, core.cores, "core.cores"))
    problems = {}
    for index, layer in enumerate(network.layers[:-1]):
        lanes, slots = limits[index]
        weights = sum(connection.weights.size for connection in layer.connections)
        each = sum(int(connection.fan_out.sum()) for connection in layer.connections)
        if slots:
            problems[layer.name] = problem_of(
                layer,
                engines=lanes,
                slots=slots,
                weight_depth=weights if core.weight_depth == "auto" else core.weight_depth,
                rows=max(1, each) if core.dispatch_rows == "auto" else core.dispatch_rows,
                passes=_most_passes(core),
                rates=None if rates is None else rates[index],
            )
    return problems


def _most_passes(core: VirtualConfig) -> int:
    return MOST_TURNS if core.passes == "auto" else core.passes


def _check_turns(network: IntegerNetwork, layer: IntegerLayer, core: VirtualConfig, turns: int) -> None:
    """Raise InputError unless an input can be played to `layer` several times before anything leaves it."""
    before, chain = INPUT, True
    for each in network.layers:
        chain &= tuple(network.sources(each)) == (before,) and each.connections[0].delay == 0
        before = each.name
    reasons = {
        "every layer listens to the one before it only": chain,
        'state is "clear"': network.state == "clear",
        "a source spikes once in a step": layer.max_count == 1,
        "the layer is no read-out": layer.threshold is not None,
        "potentials are not probed": not core.probe,
    }
    for accepted, holds in reasons.items():
        if not holds:
            raise InputError(
                f"layer {layer.name!r}: {layer.neurons} neurons take {turns} passes over an input on {core.engines} "
                f"engines with {core.slots} slots; accepted where {accepted}; more engines or slots take one pass"
            )


def _check_analog(network: IntegerNetwork, core: VirtualConfig, *, direct: bool) -> None:
    """Raise InputError for what a core with analog engines cannot do."""
    accepted = {
        "core.probe": (core.probe, "false, potentials are charges"),
        "core.parameters": (core.parameters != "fixed" and core.parameters, "'fixed', they are voltages"),
        "input.coding": (direct and "current", "spikes"),
    }
    for key, (given, what) in accepted.items():
        if given:
            text = str(given).lower() if given is True else repr(given)
            raise InputError(f"{key}: {text} was given; accepted with core.engine = 'analog': {what}")
    for layer in network.layers:
        analog_leak(layer)


def analog_leak(layer: IntegerLayer) -> float:
    """Part of a potential that `layer` keeps from step to step, which a leak through a resistor can do.

    Raises
    ------
    InputError
        For what analog engines do not do: another kind of neuron, a linear leak, a bias, a read-out, a late reset.
    """
    leak, kind = layer.leak, None
    if layer.threshold is None:
        kind = "a read-out: its potential would need a converter"
    elif layer.reset not in ("zero", "subtract"):
        kind = f"reset {layer.reset!r}"
    elif leak.kind == "linear":
        kind = "a linear leak: a resistor's is exponential"
    elif layer.bias.any():
        kind = "a bias"
    elif layer.current_bits is not None or layer.refractory or layer.adaptation is not None:
        kind = "a synaptic current, refractory period or adaptation"
    elif leak.per_neuron or not isinstance(layer.threshold, int):
        kind = "a leak or threshold per neuron"
    elif layer.max_count > 1:
        kind = "several spikes of a source in a step"
    if kind is not None:
        raise InputError(
            f"layer {layer.name!r}: {kind}; accepted for analog engines: plain neurons with reset zero or subtract, no "
            "or an exponential leak, no bias; or core.engine = 'digital'"
        )
    kept = 1.0
    if leak.kind == "shift":
        kept = 1.0 - sum(2.0**-k for k in leak.shifts)
    elif leak.kind == "multiply":
        assert isinstance(leak.factor, int)
        kept = leak.factor / (1 << leak.fraction_bits)
    if kept <= 0:
        raise InputError(f"layer {layer.name!r}: a leak of everything; accepted for analog engines: a part is kept")
    return kept


def _check_kind(layer: IntegerLayer) -> None:
    if not layer.has_plain_neurons:
        raise InputError(
            f"layer {layer.name!r}: a virtual core takes layers of plain kinds (no synaptic current, refractory "
            "period, adaptation or parameter per neuron); accepted for this one is core.kind = 'digital'"
        )
