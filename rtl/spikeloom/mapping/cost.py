"""The cost model of the digital core: memory bits, and the exact number of clock cycles for given events.

The timing is written from what the core does and when, and shares no code with it: where the two disagree, one is
wrong. It has two forms: `bursts` for chains of dense layers, O(steps * layers + groups with spikes), and
`graph_cycles` for all other networks, O(spikes * blocks on their way). Both are exact.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..config import CoreConfig
from ..errors import InputError
from ..network.integer import INPUT, IntegerNetwork
from ..network.reference import arriving, synaptic_operations
from .bursts import Chain, is_dense_chain, spike_pattern, spike_queue
from .graph_cycles import play_graph, touched_rows
from .memories import MemoryCost, core_memories
from .plan import CorePlan, LayerPlan, plan_core
from .sweep import SweepPlan
from .words import fullest, packed

__all__ = ["CostModel", "CycleReport", "LayerReport", "MemoryCost", "TurnsCost"]

MARGIN = 30
"""Cycles of a core of up to three dense layers, from the first item in to the last out, that belong to no step."""
SWEEP_MARGIN = 16
"""The same of a layer on a sweep engine, its joins and queues included."""


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What one layer did for one input.

    Attributes
    ----------
    events_in, events_out : int
        Spikes that arrived and left.
    busy_cycles : int
        Cycles in which the lanes compute or hold a tick whose values are being read out.
    leak_cycles : int
        Cycles of `busy_cycles` in which lanes leak and fire without integrating a spike: with a lane for every
        neuron one per step (one more per input with a bias); with fewer lanes only in steps without a spike. On a
        sweep engine they are the rows of its sweeps, which go on beside the spikes of the next step.
    weight_rows : int
        Rows read from the weight memory: those that the spikes touch.
    lane_slots, useful_lane_slots : int
        Weights in these rows, and those of them that go to a neuron (the rest pads a last row, or belongs to other
        channel groups).
    sops : int
        Synaptic operations: one spike delivered to one weight that is not 0.
    dense_operations : int
        Multiply-adds of a network of the same shape that is not event-driven: steps * connected pairs (fan-in *
        neurons where all are).
    """

    name: str
    events_in: int
    events_out: int
    busy_cycles: int
    leak_cycles: int
    weight_rows: int
    lane_slots: int
    useful_lane_slots: int
    sops: int
    dense_operations: int

    @property
    def lane_use(self) -> float:
        """Useful part of the lane slots; 1 where no row was read."""
        return self.useful_lane_slots / self.lane_slots if self.lane_slots else 1.0


@dataclass(frozen=True, kw_only=True)
class CycleReport:
    """Timing of one input, in clock cycles.

    Attributes
    ----------
    first_in, last_out : int
        Cycle in which its first item was accepted, and in which its last output (event, decision, read-out value)
        was; counted from the moment at which the source could offer the first item of the first input.
    interval : int
        Cycles from its first item accepted to the first item of the next input accepted, when that is offered right
        behind this input (the last of a batch, and one alone: an input that begins with a spike).
    """

    first_in: int
    last_out: int
    interval: int
    layers: tuple[LayerReport, ...]

    @property
    def latency(self) -> int:
        """Cycles from the first input item to the last output, both included."""
        return self.last_out - self.first_in + 1


class CostModel:
    """Memories and cycles of `network` on the core `core`: here of the digital one; `cost_model` knows all kinds.

    Parameters
    ----------
    network : IntegerNetwork
    core : CoreConfig
    steps : int
        Time steps of one input; sizes the spike counters of the decision unit.
    direct : bool
        The bias of the first layer arrives with each input (direct current coding).
    plan : CorePlan, optional
        The plan of just that, where there is one already.

    Raises
    ------
    InputError
        For a number of lanes outside 1 .. layer width, or a decision that the network cannot take.
    """

    core: Any
    """Its configuration, of its own kind."""

    def __init__(
        self,
        network: IntegerNetwork,
        core: CoreConfig,
        *,
        steps: int,
        direct: bool = False,
        plan: CorePlan | None = None,
    ):
        if steps < 1:
            raise InputError(f"steps = {steps}: accepted is at least 1")
        self.network, self.core, self.steps, self.direct = network, core, steps, direct
        self.plan = plan or plan_core(network, core, steps=steps, direct=direct)
        self.lanes = tuple(entry.lanes for entry in self.plan.layers)
        self.groups = tuple(entry.groups for entry in self.plan.layers)
        self.decision = self.plan.decision

    @cached_property
    def memories(self) -> list[MemoryCost]:
        """Every memory of the core; registers and queues are not memories."""
        return core_memories(self.plan)

    @property
    def memory_bits(self) -> int:
        """Bits of all memories."""
        return sum(memory.bits for memory in self.memories)

    # ---- cycles ----

    def cycles(
        self,
        inputs: np.ndarray,
        spikes: Sequence[np.ndarray],
        *,
        gap: Literal["isolated", "back_to_back"] = "isolated",
        after_reset: int | None = None,
    ) -> list[CycleReport]:
        """The cycles of each input, exactly, when the source always offers an item and all sinks are always ready.

        Parameters
        ----------
        inputs : array [B, T, inputs]
            Spikes, or spike counts, of each source in each step.
        spikes : sequence of arrays [B, T, neurons]
            Spikes of every layer, as `simulate(...).spikes` gives them.
        gap : str
            `isolated`: each input finds the core at rest, and its cycles are counted from 0. `back_to_back`: the
            source offers each input right behind the one before.
        after_reset : int, optional
            Cycles between the end of reset and the first offer; by default the core has come to rest. Of importance
            to inputs so short that they meet the decision unit still clearing its counters.

        Raises
        ------
        InputError
            For arrays that do not fit the network.
        """
        inputs, spikes = self._checked(inputs, spikes, gap)
        isolated = gap == "isolated"
        if is_dense_chain(self.plan):
            times = self._chain_times(inputs, spikes, isolated=isolated, since_reset=after_reset)
        else:
            times = play_graph(self.plan, inputs, spikes, isolated=isolated, since_reset=after_reset)
        work = self._work(inputs, spikes)
        return [
            CycleReport(first_in=first, last_out=last, interval=interval, layers=self._layers(work, b))
            for b, (first, last, interval) in enumerate(times)
        ]

    def _chain_times(
        self, inputs: np.ndarray, spikes: list[np.ndarray], *, isolated: bool, since_reset: int | None
    ) -> list[tuple[int, int, int]]:
        """(first item in, last output, interval) of each input of a chain of dense layers."""
        counts = self._words(0, inputs).tolist()
        layers = [entry for entry in self.plan.layers if isinstance(entry, LayerPlan)]
        patterns = [spike_pattern(entry, array) for entry, array in zip(layers, spikes, strict=True)]
        chain, times = None, []
        for b, steps in enumerate(counts):
            if chain is None or isolated:
                chain = Chain(self.plan, since_reset=since_reset)
            first, last_out = chain.play(steps, [pattern[b] for pattern in patterns])
            empty = not isolated and b + 1 < len(counts) and counts[b + 1][0] == 0
            times.append((first, last_out, chain.entry(tick=empty) - first))
        return times

    def bound(self, inputs: np.ndarray, spikes: Sequence[np.ndarray], *, drain: bool = True) -> np.ndarray:
        """A plain upper bound for steady activity; int64 [B].

        The sum over steps of the busiest layer's work + 2, and 30 more (16 more per sweep engine); with `drain`, also
        the work of all layers for the first and the last step, when the layers cannot yet, or no longer, work at once.

        The work of a layer with a lane for every neuron is its spikes in or its spikes out, whichever are more.
        With fewer lanes it is a pass over its groups for each spike in (at least one); where the spike
        queue cannot hold the flags of all groups, the last pass lasts until the spikes out have left. That of a sweep
        engine is the rows that its spikes touch, its sweep, or its spikes out, whichever takes longest.

        Where activity comes in single large steps the layers wait for each other and this is no bound; `cycles` knows.
        """
        inputs, spikes = self._checked(inputs, spikes)
        values = self._values
        brought = arriving(self.network, inputs, spikes)
        touched = [self._rows(index, layer) for index, layer in enumerate(brought)]
        # What the spikes of a layer take its slowest listener.
        sending = {name: self._words(index + 1, spikes[index]) for name, index in self._index.items()}
        for edge in self.plan.edges:
            if edge.source in sending and not edge.delay:
                rows = touched[self._index[edge.layer]][edge.connection]
                sending[edge.source] = np.maximum(sending[edge.source], rows)
        busiest = np.zeros(inputs.shape[:2], np.int64)
        margin = np.full(len(inputs), MARGIN + values)
        for index, entry in enumerate(self.plan.layers):
            groups, leaving = entry.groups, sending[entry.name]
            rows = np.sum(touched[index], axis=0)
            every = values if index == len(self.groups) - 1 and self.core.readout == "tick" else 0
            if isinstance(entry, SweepPlan):
                work = np.maximum(rows, np.maximum(leaving, max(groups, every)))
                margin += SWEEP_MARGIN
            elif entry.parallel:
                work = np.maximum(rows + every, leaving)
            else:
                waits = leaving if groups > spike_queue(self.core, entry.lanes) else 0
                passes = np.maximum(rows, groups) - groups + np.maximum(waits, max(groups, every))
                work = np.maximum(leaving, passes)
            busiest = np.maximum(busiest, work)
            if drain:
                margin += work[:, 0] + work[:, -1]
        return (busiest + 2).sum(axis=1) + margin

    @property
    def _values(self) -> int:
        """Values that a read-out shows in a step."""
        last = self.network.layers[-1]
        return last.neurons if last.threshold is None else 0

    @cached_property
    def _index(self) -> dict[str, int]:
        return {layer.name: index for index, layer in enumerate(self.network.layers)}

    @cached_property
    def _touched(self) -> list[list[np.ndarray]]:
        """Rows that a spike of each source takes, by layer and connection."""
        return [touched_rows(entry) for entry in self.plan.layers]

    def _check_rates(self, rates: Sequence[float]) -> None:
        """Raise InputError unless there is a rate of the input and of each layer."""
        if len(rates) != len(self.groups) + 1 or not all(rate >= 0 for rate in rates):
            raise InputError(
                f"rates {list(rates)}: accepted are {len(self.groups) + 1} numbers of at least 0: "
                "spikes per step of the input and of each layer"
            )

    def estimate(self, rates: Sequence[float]) -> float:
        """Cycles of an input from average activity, before any simulation.

        Parameters
        ----------
        rates : sequence of float
            Spikes per step: of the input, then of each layer.

        The slowest layer sets the pace of a step, which is taken `steps` times; the layers in front of it and behind
        it add what they need for the first and the last step. A step takes a layer max(in, out, 1) + 1 cycles
        with a lane for every neuron. With fewer it takes max(in, 1) * groups, and longer when its spikes out, at the
        pace of the layer behind, outlast the last pass and the spike queue. A sweep engine takes as long as its sweep,
        its spikes out, or the rows that its spikes in touch, all sources taken as equally active; branches of a graph
        count as if they stood in a row. Fluctuations around the averages are left out: an input whose activity jumps
        from step to step takes longer.

        Raises
        ------
        InputError
            For a wrong number of rates, or a negative one.
        """
        self._check_rates(rates)
        rate = dict(zip((INPUT, *self._index), map(float, rates), strict=True))
        events, ports = self.core.events_per_cycle, self.core.weight_ports
        touched = {}  # rows, or words of several spikes, by layer and connection
        for edge in self.plan.edges:
            taken = rate[edge.source]
            if events > 1:
                taken = fullest(taken, events=events, ports=ports if edge.source == INPUT else 1)
            mean = float(self._touched[self._index[edge.layer]][edge.connection].mean())
            touched[edge.layer, edge.connection] = taken * mean
        paces, first, last = [], [], []  # of a step in each layer, and what the first and the last one take
        for entry in self.plan.layers:
            layer, groups, name = entry.layer, entry.groups, entry.name
            values = layer.neurons if layer.threshold is None else 0  # a tick waits for them
            held = max(0, values - groups)
            every = held if self.core.readout == "tick" else 0
            rows = sum(taken for (listener, _), taken in touched.items() if listener == name)
            heard = [touched[edge.layer, edge.connection] for edge in self.plan.edges if edge.source == name]
            sending = max(heard, default=rate[name])
            if isinstance(entry, SweepPlan):
                paces.append(max(rows, groups + every, sending) + 1)
                last.append(8 + max(groups, sending) + held)
            elif entry.parallel:
                paces.append(max(rows + every, sending, 1) + 1)
                last.append(4 + held + sending)
            else:
                spread = max(1, rate[name] / groups) * (sending / rate[name] if rate[name] else 1)
                queued = (spike_queue(self.core, entry.lanes) + 1) * spread
                paces.append(max(rows, groups) + max(every, sending - groups - queued, 0))
                last.append(4 + groups + held + sending)
            first.append(rows / (groups if isinstance(entry, LayerPlan) else 1) + 2)
        slowest = max(range(len(paces)), key=lambda n: paces[n])
        return self.steps * paces[slowest] + sum(first[:slowest]) + sum(last[slowest:])

    def to_json(self) -> dict[str, Any]:
        """Memories and the placement, as JSON values."""
        return {
            "memories": [asdict(memory) | {"bits": memory.bits} for memory in self.memories],
            "memory_bits": self.memory_bits,
            "layers": [
                {"name": layer.name, "lanes": self.lanes[index], "groups": self.groups[index]} | self._placed(index)
                for index, layer in enumerate(self.network.layers)
            ],
        }

    reports: type[LayerReport] = LayerReport
    """What a layer of this core reports."""

    def _layers(self, work: list[list[dict]], b: int) -> tuple[LayerReport, ...]:
        """The reports of input `b`."""
        return tuple(self.reports(**entry[b]) for entry in work)

    def _placed(self, index: int) -> dict[str, Any]:
        """What `to_json` says of a layer beside its lanes and groups."""
        return {
            "cycles_per_event": self._pace(index),
            "cycles_per_empty_step": _empty_step(self.plan.layers[index]),
        }

    def _pace(self, index: int) -> int | float:
        """Cycles that a spike takes the layer, on the average over its sources."""
        mean = float(np.concatenate(self._touched[index]).mean())
        return int(mean) if mean.is_integer() else round(mean, 3)

    def _words(self, index: int, spikes: np.ndarray) -> np.ndarray:
        """Words per step of the spikes that layer `index` takes, or, behind the last layer, that leave the core."""
        events = self.core.events_per_cycle
        if events == 1 or index == len(self.groups):
            return spikes.sum(axis=2, dtype=np.int64)
        # A serialiser fills slot n mod events from neuron n, whatever the ports.
        return packed(spikes, events=events, ports=1 if index else self.core.weight_ports)

    def _rows(self, index: int, brought: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Rows, or words of several spikes, that a step takes layer `index`, by connection: int64 [B, T] each."""
        if self.core.events_per_cycle > 1:
            return [self._words(index, spikes) for spikes in brought]
        touched = self._touched[index]
        return [spikes.astype(np.int64) @ rows for spikes, rows in zip(brought, touched, strict=True)]

    def _checked(
        self, inputs: np.ndarray, spikes: Sequence[np.ndarray], gap: str = "isolated"
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """What `cycles` is given, as arrays that fit the network."""
        inputs, arrays = np.asarray(inputs), [np.asarray(array) for array in spikes]
        layers = self.network.layers
        if inputs.ndim != 3 or inputs.shape[1] == 0 or inputs.shape[2] != self.network.inputs:
            raise InputError(f"inputs of shape {inputs.shape}: accepted is [batch, steps, {self.network.inputs}]")
        accepted = [(*inputs.shape[:2], layer.neurons) for layer in layers]
        if [array.shape for array in arrays] != accepted:
            raise InputError(f"spikes of shapes {[array.shape for array in arrays]}: accepted are {accepted}")
        if gap not in ("isolated", "back_to_back"):
            raise InputError(f"gap {gap!r}: accepted are isolated, back_to_back")
        return inputs, arrays

    def _brought(self, inputs: np.ndarray, spikes: list[np.ndarray]) -> list[np.ndarray]:
        """Spikes that reach each layer in an input: int64 [B] each."""
        heard = arriving(self.network, inputs, spikes)
        return [np.sum([part.sum(axis=(1, 2), dtype=np.int64) for part in parts], axis=0) for parts in heard]

    def _work(self, inputs: np.ndarray, spikes: list[np.ndarray]) -> list[list[dict]]:
        """Fields of `LayerReport` for each layer and input."""
        steps = inputs.shape[1]
        sops = synaptic_operations(self.network, inputs, spikes)
        result = []
        for index, (brought, after) in enumerate(zip(arriving(self.network, inputs, spikes), spikes, strict=True)):
            entry = self.plan.layers[index]
            layer, groups = entry.layer, entry.groups
            events = np.zeros(inputs.shape[:2], np.int64)
            rows, useful = events.sum(axis=1), events.sum(axis=1)
            for sent, touched, reached in zip(brought, self._touched[index], _reached(entry), strict=True):
                events += sent.sum(axis=2, dtype=np.int64)
                counts = sent.sum(axis=1, dtype=np.int64)
                rows += counts @ touched
                useful += counts @ reached
            if isinstance(entry, SweepPlan):
                leak = np.full(len(events), steps * groups)
            elif entry.parallel:
                leak = np.full(len(events), steps + bool(entry.bias_bits))
            else:
                leak = (events == 0).sum(axis=1) * groups
            work = np.sum([part.sum(axis=1) for part in self._rows(index, brought)], axis=0)
            held = 0
            if layer.threshold is None:
                held = (layer.neurons - groups) * (steps if self.core.readout == "tick" else 1)
            columns = {
                "events_in": events.sum(axis=1),
                "events_out": after.sum(axis=(1, 2), dtype=np.int64),
                "busy_cycles": work + leak + held,
                "leak_cycles": leak,
                "weight_rows": rows,
                "lane_slots": rows * entry.lanes,
                "useful_lane_slots": useful,
                "sops": sops[:, index],
                "dense_operations": np.full(len(events), steps * layer.dense_operations),
            }
            values = zip(*(column.tolist() for column in columns.values()), strict=True)
            result.append([{"name": layer.name} | dict(zip(columns, row, strict=True)) for row in values])
        return result


class TurnsCost(CostModel):
    """Of cores whose layers take turns: `cycles` plays their jobs, and the bound is a plain one."""

    @property
    def _entries(self) -> tuple[LayerPlan, ...]:
        raise NotImplementedError

    def bound(self, inputs: np.ndarray, spikes: Sequence[np.ndarray], *, drain: bool = True) -> np.ndarray:
        """A plain upper bound of the cycles, int64 [B]: all layers one after the other; `cycles` knows."""
        inputs, arrays = self._checked(inputs, spikes)
        total = np.zeros(len(inputs), np.int64)
        steps = inputs.shape[1]
        for entry, work, after in zip(self._entries, self._work(inputs, arrays), arrays, strict=True):
            shown = entry.layer.neurons if entry.layer.threshold is None else 0
            total += np.array([each["busy_cycles"] for each in work]) + steps * (shown + 12)
            total += after.sum(axis=(1, 2), dtype=np.int64)
        return total + inputs.sum(axis=(1, 2), dtype=np.int64) + 30


def _reached(entry: LayerPlan | SweepPlan) -> list[np.ndarray]:
    """For each connection, the neurons that a spike of each source reaches: int64 [sources]."""
    if isinstance(entry, SweepPlan):
        return [plan.reached() for plan in entry.connections]
    return [np.full(connection.sources, entry.layer.neurons) for connection in entry.layer.connections]


def _empty_step(entry: LayerPlan | SweepPlan) -> int:
    """Cycles from one tick to the next where no spike comes between them."""
    if isinstance(entry, SweepPlan):
        return entry.groups + (1 if entry.groups > 2 else 3)
    return 3 if entry.parallel else entry.groups
