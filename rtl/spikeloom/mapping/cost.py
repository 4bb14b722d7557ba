"""The cost model of the digital core: memory bits, and the exact number of clock cycles for given events.

It is written from what the core does and when, and shares no code with it: where the two disagree, one is wrong.

Every part of the core takes items (spikes and ticks) in order and answers when it takes them. A time is the number
of a clock cycle; x is the cycle of a transfer, and an item taken at x can be used from x + 1 on. All rules are
maxima of sums, for example of a queue of depth D whose items leave at p::

    x[i] = max(offered[i], p[i - D] + 1)

Only the first items of a burst can meet different limits: from the second or third item on, a burst of n spikes runs
at the pace of its slowest part, so that a burst costs O(1) and an input O(steps * layers + groups with spikes).
The order of the spikes within a step does not matter, their numbers do.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..config import CoreConfig
from ..errors import InputError
from ..network.integer import IntegerLayer, IntegerNetwork, signed_bits
from .words import fullest, packed, sent

__all__ = ["CostModel", "CycleReport", "LayerReport", "MemoryCost"]

SPIKE, TICK, LAST = 0, 1, 2  # how a burst ends: with a spike, with a tick, with the tick of an input's last step
LONG_AGO = -(1 << 60)
MOST_INPUTS_UNDER_WAY = 255  # a core with a load port counts them in 8 bits
MARGIN = 30  # cycles from the first item in to the last out that belong to no step: fill and answer


@dataclass(frozen=True, kw_only=True)
class MemoryCost:
    """One memory of the core: `fc1.weights`, its rows and the bits of a row."""

    name: str
    depth: int
    width: int
    port_type: Literal["rom", "rom2", "1r1w", "2r1w"]

    @property
    def bits(self) -> int:
        """Capacity in bits."""
        return self.depth * self.width


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
        neuron one per step (one more per input with a bias); with fewer lanes only in steps without a spike.
    weight_rows : int
        Rows read from the weight memory.
    lane_slots, useful_lane_slots : int
        Weights in these rows, and those of them that belong to a neuron (the rest pads the last group).
    sops : int
        Synaptic operations: one spike delivered to one weight that is not 0.
    dense_operations : int
        Multiply-adds of a network of the same shape that is not event-driven: steps * fan-in * neurons.
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
    """Memories and cycles of `network` on the digital core `core`.

    Parameters
    ----------
    network : IntegerNetwork
    core : CoreConfig
    steps : int
        Time steps of one input; sizes the spike counters of the decision unit.
    direct : bool
        The bias of the first layer arrives with each input (direct current coding).

    Raises
    ------
    InputError
        For a number of lanes outside 1 .. layer width, or a decision that the network cannot take.
    """

    def __init__(self, network: IntegerNetwork, core: CoreConfig, *, steps: int, direct: bool = False):
        if steps < 1:
            raise InputError(f"steps = {steps}: accepted is at least 1")
        self.network, self.core, self.steps, self.direct = network, core, steps, direct
        self.lanes = _lanes(network, core)
        self.groups = tuple(-(-layer.neurons // p) for layer, p in zip(network.layers, self.lanes, strict=True))
        reads_out = network.layers[-1].threshold is None
        self.decision = core.decision if core.decision != "auto" else "value" if reads_out else "count"
        if (self.decision == "value") != reads_out and self.decision != "none":
            accepted = "value, none, auto" if reads_out else "count, first, none, auto"
            raise InputError(f"core.decision: {core.decision!r} does not fit the last layer; accepted: {accepted}")

    # ---- memories ----

    def _bias_bits(self, index: int) -> int:
        """Bits of a stored bias of layer `index`; 0 where there is none."""
        layer = self.network.layers[index]
        low, high = int(layer.bias.min()), int(layer.bias.max())
        if index == 0 and self.direct:  # the weighted sum of inputs from 0 to 1, on top of the bias
            low = min(low, int((layer.bias + np.where(layer.weights < 0, layer.weights, 0).sum(axis=1)).min()))
            high = max(high, int((layer.bias + np.where(layer.weights > 0, layer.weights, 0).sum(axis=1)).max()))
            return signed_bits(low, high) if low or high else 0
        if self.core.parameters == "loaded":
            return max(layer.potential_bits, signed_bits(low, high))
        return signed_bits(low, high) if low or high else 0

    def _loads_bias(self, index: int) -> bool:
        return self.core.parameters == "loaded" or (self.direct and index == 0)

    def lane_bits(self, index: int) -> tuple[int, ...]:
        """Accumulator bits of each lane of layer `index`, from the proven range of the neurons that it serves."""
        layer, lanes = self.network.layers[index], self.lanes[index]
        low, high = layer.accumulator_range()
        if self._loads_bias(index):  # any bias of the stored width, in place of the layer's own
            reach = 1 << self._bias_bits(index) >> 1
            low = low - np.minimum(layer.bias, 0) - reach
            high = high - np.maximum(layer.bias, 0) + reach - 1
        if self.core.parameters == "loaded" and layer.leak.kind == "shift":  # rounding of shifts yet unknown
            low, high = low - 2, high + 2
        needed = [signed_bits(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        if self.core.weights == "loaded":
            return (max(needed),) * lanes
        return tuple(max(needed[lane::lanes]) for lane in range(lanes))

    @cached_property
    def memories(self) -> list[MemoryCost]:
        """Every memory of the core; registers and queues are not memories."""
        found: list[MemoryCost] = []

        def add(name: str, depth: int, width: int, writable: bool, reads: int = 1) -> None:
            kind: Any = f"{reads}r1w" if writable else "rom2" if reads == 2 else "rom"
            found.append(MemoryCost(name=name, depth=depth, width=width, port_type=kind))

        for index, layer in enumerate(self.network.layers):
            lanes, groups = self.lanes[index], self.groups[index]
            loaded = self.core.weights == "loaded"
            ports = self.core.weight_ports
            banks = self.core.events_per_cycle // ports
            for bank in range(banks):  # every banks-th row
                name = f"{layer.name}.weights{bank if banks > 1 else ''}"
                depth = -(-(layer.fan_in * groups - bank) // banks)
                add(name, depth, lanes * layer.weight_bits, loaded, ports)
            if groups == 1:
                continue  # potentials and biases are registers
            add(f"{layer.name}.potentials", groups, sum(self.lane_bits(index)), True)
            bias_bits = self._bias_bits(index)
            if bias_bits:
                add(f"{layer.name}.biases", groups, lanes * bias_bits, self._loads_bias(index))
        if self.decision == "count":
            add("decision.counts", self.network.outputs, self.steps.bit_length(), True)
        return found

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
        inputs, spikes = self._checked(inputs, spikes)
        if gap not in ("isolated", "back_to_back"):
            raise InputError(f"gap {gap!r}: accepted are isolated, back_to_back")
        arriving = self._words(0, inputs).tolist()
        patterns = [self._pattern(index, array) for index, array in enumerate(spikes)]
        work = self._work(inputs, spikes)
        chain, reports = None, []
        for b, steps in enumerate(arriving):
            if chain is None or gap == "isolated":
                chain = _Chain(self, since_reset=after_reset)
            first, last_out = chain.play(steps, [pattern[b] for pattern in patterns])
            empty = gap == "back_to_back" and b + 1 < len(arriving) and arriving[b + 1][0] == 0
            layers = tuple(LayerReport(**entry[b]) for entry in work)
            interval = chain.entry(tick=empty) - first
            reports.append(CycleReport(first_in=first, last_out=last_out, interval=interval, layers=layers))
        return reports

    def bound(self, inputs: np.ndarray, spikes: Sequence[np.ndarray], *, drain: bool = True) -> np.ndarray:
        """A plain upper bound for steady activity; int64 [B].

        The sum over steps of the busiest layer's work + 2, and 30 more; with `drain`, also the work of all layers for
        the first and the last step, when the layers cannot yet, or no longer, work at once.

        The work of a layer with a lane for every neuron is its spikes in or its spikes out, whichever are more.
        With fewer lanes it is a pass over its groups for each spike in (at least one); where the spike
        queue cannot hold the flags of all groups, the last pass lasts until the spikes out have left.

        Where activity comes in single large steps the layers wait for each other and this is no bound; `cycles` knows.
        """
        inputs, spikes = self._checked(inputs, spikes)
        last = self.network.layers[-1]
        values = last.neurons if last.threshold is None else 0
        busiest = np.zeros(inputs.shape[:2], np.int64)
        margin = np.full(len(inputs), MARGIN + values)
        for index, (before, after) in enumerate(zip([inputs, *spikes], spikes, strict=False)):
            events, leaving = self._words(index, before), self._words(index + 1, after)
            groups = self.groups[index]
            leaving = leaving * (*self.groups, 1)[index + 1]
            every = values if index == len(self.groups) - 1 and self.core.readout == "tick" else 0
            if groups == 1:
                work = np.maximum(events + every, leaving)
            else:
                waits = leaving if groups > _spike_queue(self.core, self.lanes[index]) else 0
                passes = (np.maximum(events, 1) - 1) * groups + np.maximum(waits, max(groups, every))
                work = np.maximum(leaving, passes)
            busiest = np.maximum(busiest, work)
            if drain:
                margin += work[:, 0] + work[:, -1]
        return (busiest + 2).sum(axis=1) + margin

    def estimate(self, rates: Sequence[float]) -> float:
        """Cycles of an input from average activity, before any simulation.

        Parameters
        ----------
        rates : sequence of float
            Spikes per step: of the input, then of each layer.

        The slowest layer sets the pace of a step, which is taken `steps` times; the layers in front of it and behind
        it add what they need for the first and the last step. A step takes a layer max(in, out, 1) + 1 cycles
        with a lane for every neuron. With fewer it takes max(in, 1) * groups, and longer when its spikes out, at the
        pace of the layer behind, outlast the last pass and the spike queue. Fluctuations around the averages are left
        out: an input whose activity jumps from step to step takes longer.

        Raises
        ------
        InputError
            For a wrong number of rates, or a negative one.
        """
        if len(rates) != len(self.groups) + 1 or not all(rate >= 0 for rate in rates):
            raise InputError(
                f"rates {list(rates)}: accepted are {len(self.groups) + 1} numbers of at least 0: "
                "spikes per step of the input and of each layer"
            )
        events, ports = self.core.events_per_cycle, self.core.weight_ports
        words = [float(rate) for rate in rates]
        if events > 1:
            words = [fullest(rate, events=events, ports=1 if n else ports) for n, rate in enumerate(words[:-1])]
            words.append(float(rates[-1]))
        paces, first, last = [], [], []  # of a step in each layer, and what the first and the last one take
        following = (*self.groups[1:], 1)
        for index, (layer, groups) in enumerate(zip(self.network.layers, self.groups, strict=True)):
            before, after = words[index], words[index + 1]
            values = layer.neurons if layer.threshold is None else 0  # a tick waits for them
            held = max(0, values - groups)
            every = held if self.core.readout == "tick" else 0
            sending = after * following[index]
            if groups == 1:
                paces.append(max(before + every, sending, 1) + 1)
            else:
                queued = (_spike_queue(self.core, self.lanes[index]) + 1) * max(1, after / groups) * following[index]
                paces.append(max(before, 1) * groups + max(every, sending - groups - queued, 0))
            first.append(before + 2)
            last.append(4 + (groups if groups > 1 else 0) + held + sending)
        slowest = max(range(len(paces)), key=lambda n: paces[n])
        return self.steps * paces[slowest] + sum(first[:slowest]) + sum(last[slowest:])

    def to_json(self) -> dict[str, Any]:
        """Memories and the placement, as JSON values."""
        return {
            "memories": [asdict(memory) | {"bits": memory.bits} for memory in self.memories],
            "memory_bits": self.memory_bits,
            "layers": [
                {
                    "name": layer.name,
                    "lanes": self.lanes[index],
                    "groups": self.groups[index],
                    "cycles_per_event": self.groups[index],
                    "cycles_per_empty_step": 3 if self.groups[index] == 1 else self.groups[index],
                }
                for index, layer in enumerate(self.network.layers)
            ],
        }

    def _checked(self, inputs: np.ndarray, spikes: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        inputs, arrays = np.asarray(inputs), [np.asarray(array) for array in spikes]
        layers = self.network.layers
        if inputs.ndim != 3 or inputs.shape[1] == 0 or inputs.shape[2] != self.network.inputs:
            raise InputError(f"inputs of shape {inputs.shape}: accepted is [batch, steps, {self.network.inputs}]")
        accepted = [(*inputs.shape[:2], layer.neurons) for layer in layers]
        if [array.shape for array in arrays] != accepted:
            raise InputError(f"spikes of shapes {[array.shape for array in arrays]}: accepted are {accepted}")
        return inputs, arrays

    def _words(self, index: int, spikes: np.ndarray) -> np.ndarray:
        """Words per step of the spikes that layer `index` takes, or, behind the last layer, that leave the core."""
        events = self.core.events_per_cycle
        if events == 1 or index == len(self.groups):
            return spikes.sum(axis=2, dtype=np.int64)
        # A serialiser fills slot n mod events from neuron n, whatever the ports.
        return packed(spikes, events=events, ports=1 if index else self.core.weight_ports)

    def _pattern(self, index: int, spikes: np.ndarray) -> list:
        """What the serialiser of layer `index` gets, per input and step.

        With a lane for every neuron: (spikes, spikes of the last group of flags that has any). With fewer: the
        (group, spikes) of each group that has some, without the last group, and the spikes of that.
        """
        batch, steps, neurons = spikes.shape
        groups, events = self.groups[index], self.core.events_per_cycle
        if events > 1 and index + 1 < len(self.groups):
            width = _flag_group(-(-neurons // events))
            return np.stack(sent(spikes, events=events, width=width), axis=2).tolist()
        width = self.lanes[index] if groups > 1 else _flag_group(neurons)
        sums = np.add.reduceat(spikes, np.arange(0, neurons, width), axis=2, dtype=np.int64)
        if groups == 1:
            final = sums.shape[2] - 1 - (sums[:, :, ::-1] > 0).argmax(axis=2)
            tail = np.take_along_axis(sums, final[:, :, None], axis=2)
            return np.concatenate([sums.sum(axis=2, keepdims=True), tail], axis=2).tolist()
        finals = sums[:, :, -1].tolist()
        patterns = [[([], finals[b][t]) for t in range(steps)] for b in range(batch)]
        found = np.nonzero(sums[:, :, :-1])
        for b, t, group, count in zip(*(axis.tolist() for axis in found), sums[found].tolist(), strict=True):
            patterns[b][t][0].append((group, count))
        return patterns

    def _work(self, inputs: np.ndarray, spikes: list[np.ndarray]) -> list[list[dict]]:
        """Fields of `LayerReport` for each layer and input."""
        steps = inputs.shape[1]
        result = []
        for index, (before, after) in enumerate(zip([inputs, *spikes], spikes, strict=False)):
            layer, lanes, groups = self.network.layers[index], self.lanes[index], self.groups[index]
            arrivals = before.sum(axis=2, dtype=np.int64)
            events = arrivals.sum(axis=1)
            if groups == 1:
                leak = np.full(len(events), steps + bool(self._bias_bits(index)))
            else:
                leak = (arrivals == 0).sum(axis=1) * groups
            held = 0
            if layer.threshold is None:
                held = (layer.neurons - groups) * (steps if self.core.readout == "tick" else 1)
            rows = events * groups
            sops = before.sum(axis=1, dtype=np.int64) @ np.count_nonzero(layer.weights, axis=0)
            columns = {
                "events_in": events,
                "events_out": after.sum(axis=(1, 2), dtype=np.int64),
                "busy_cycles": self._words(index, before).sum(axis=1) * groups + leak + held,
                "leak_cycles": leak,
                "weight_rows": rows,
                "lane_slots": rows * lanes,
                "useful_lane_slots": events * layer.neurons,
                "sops": sops,
                "dense_operations": np.full(len(events), steps * layer.fan_in * layer.neurons),
            }
            values = zip(*(column.tolist() for column in columns.values()), strict=True)
            result.append([{"name": layer.name} | dict(zip(columns, row, strict=True)) for row in values])
        return result


def _lanes(network: IntegerNetwork, core: CoreConfig) -> tuple[int, ...]:
    """Lanes of each layer; one number for all is cut to the width of narrow layers."""
    layers = network.layers
    if isinstance(core.lanes, list):
        if len(core.lanes) != len(layers):
            raise InputError(f"core.lanes: {len(core.lanes)} numbers were given; accepted is one, or {len(layers)}")
        counts = [layer.neurons if p == "full" else p for layer, p in zip(layers, core.lanes, strict=True)]
    elif core.lanes == "full":
        counts = [layer.neurons for layer in layers]
    else:
        widest = max(layer.neurons for layer in layers)
        if core.lanes > widest:
            raise InputError(f'core.lanes: {core.lanes} was given; accepted is 1 to {widest} or "full"')
        counts = [min(core.lanes, layer.neurons) for layer in layers]
    for layer, count in zip(layers, counts, strict=True):
        if not 1 <= count <= layer.neurons:
            raise InputError(
                f'core.lanes: {count} was given for layer {layer.name!r}; accepted is 1 to {layer.neurons} or "full"'
            )
    return tuple(counts)


def _spike_queue(core: CoreConfig, lanes: int) -> int:
    """Groups of spikes held between shared lanes and their serialiser; 0: none."""
    if core.spike_queue == "auto":
        return 0 if lanes == 1 else 4
    return core.spike_queue


def _flag_group(neurons: int) -> int:
    """Flags that are searched at a time: the power of two nearest above the square root of the layer, at most 64."""
    width = 1
    while width * width < neurons and width < 64:
        width *= 2
    return width


# ---- the parts of the core; each `burst` returns the cycle in which its last item was taken ----


class _Outputs:
    """Sinks of the core, always ready."""

    def __init__(self):
        self.last = LONG_AGO  # cycle of the latest transfer on any of them

    def burst(self, count: int, end: int, time: int) -> int:
        """`count` spikes, then a tick unless `end` is SPIKE; the first is offered at `time`, each other 1 later."""
        self.last = time + count - (end == SPIKE)
        return self.last


class _Decision:
    """Tells the answer before it passes the last tick on; by counting it takes no item while it clears its counts."""

    def __init__(self, outputs: _Outputs, *, neurons: int, kind: str, since_reset: int):
        self.outputs, self.neurons, self.counts = outputs, neurons, kind == "count"
        self.accepts = neurons - since_reset if self.counts else LONG_AGO
        self.spike = LONG_AGO

    def burst(self, count: int, end: int, time: int) -> int:
        time = max(time, self.accepts)
        if count:
            self.spike = time + count - 1
        if end != LAST:
            return self.outputs.burst(count, end, time)
        time += count
        if self.counts and time == self.spike + 1:
            time += 1  # the count of the last spike is being written
        time += 1  # the answer leaves, then the tick
        if self.counts:
            self.accepts = time + self.neurons + 1
        return self.outputs.burst(0, LAST, time)


class _Readout:
    """Values of a read-out, one per cycle; its decision takes the place of a value after the last of an input."""

    def __init__(self, outputs: _Outputs, *, decides: bool):
        self.outputs, self.decides, self.free = outputs, decides, LONG_AGO

    def values(self, count: int, time: int, *, final: bool) -> int:
        """`count` values from `time` on, the last of an input among them where `final`; returns the last transfer."""
        time = max(time, self.free) + count - 1
        self.outputs.last = max(self.outputs.last, time + (final and self.decides))
        if final and self.decides:
            self.free = time + 2
        return time


class _Layer:
    """What both kinds of engine have: the input queue, and the spikes that the trace says will leave."""

    def __init__(self, layer: IntegerLayer, after: Any, readout: _Readout | None, core: CoreConfig, *, depth: int):
        self.after, self.readout, self.every_tick = after, readout, core.readout == "tick"
        self.neurons = layer.neurons
        self.depth = depth  # of the queue; 0: none
        self.left = deque([LONG_AGO] * depth, maxlen=depth)  # when the latest items left it
        self.popped = LONG_AGO
        self.pattern: Any = iter(())
        self.serialised = LONG_AGO  # when the latest group of flags was sent whole

    def _taken_last(self, first: int, behind: int, start: int, pace: int) -> int:
        """When the item `behind` >= 1 places behind one taken at `first` is taken.

        `left` holds the items up to that one; the items behind it leave at `start`, `start + pace`, ...
        Items leave in order and at least a cycle apart, so the latest limit is the one that counts.
        """
        freed = self.left[behind - 1] if behind <= self.depth else start + (behind - 1 - self.depth) * pace
        return max(first + behind, freed + 1)

    def _leave(self, count: int, start: int, pace: int) -> None:
        """Note that `count` items leave the queue at `start`, `start + pace`, ..."""
        skipped = max(0, count - self.depth)
        self.left.extend(range(start + skipped * pace, start + count * pace, pace))
        self.popped = start + (count - 1) * pace


class _Parallel(_Layer):
    """A lane for every neuron: an item per cycle; a tick waits until the flags of the one before have moved on."""

    def __init__(self, layer, after, readout, core, *, bias: bool):
        super().__init__(layer, after, readout, core, depth=2 if core.queue_depth == "auto" else core.queue_depth)
        self.bias = self.fresh = bias  # fresh: the bias of an input's first step is still to be added
        self.done = LONG_AGO  # when the latest tick was executed
        self.moved = LONG_AGO  # when its last flags moved to the serialiser: 1 later at the earliest

    def entry(self, time: int, *, tick: bool) -> int:
        """When an item offered from `time` on, the first of an input, would be taken."""
        return max(time, self.left[0] + 1)

    def _head(self, taken: int) -> int:
        """When the lanes can take an item that entered the queue at `taken`."""
        time = max(taken + 1, self.popped + 1, self.done)
        if self.fresh:
            self.fresh = False
            time += 1
        return time

    def burst(self, count: int, end: int, time: int) -> int:
        if count:
            taken = max(time, self.left[0] + 1)
            issue = self._head(taken)
            self._leave(1, issue, 1)
            if count > 1:
                rest = count - 1
                taken = self._taken_last(taken, rest, issue + 1, 1)
                self._leave(rest, issue + 1, 1)
            if end == SPIKE:
                return taken
            time = taken + 1
        taken = max(time, self.left[0] + 1)
        issue = max(self._head(taken), self.moved)
        self._leave(1, issue, 1)
        last = end == LAST
        self.fresh = self.bias and last
        self.done = issue + 1
        if self.readout is not None and (last or self.every_tick):
            self.done = self.readout.values(self.neurons, self.done, final=last)
        spikes, tail = next(self.pattern)
        move = max(self.done + 1, self.serialised)
        if spikes > tail:  # flags of further groups go first
            move = self.after.burst(spikes - tail, SPIKE, move + 1)
        self.moved = move
        self.serialised = self.after.burst(tail, end, move + 1)
        return taken


class _Grouped(_Layer):
    """Fewer lanes than neurons: a pass over the groups for each spike, the last of a step together with its tick.

    A pass is a row per group. A row is issued, two cycles later it is summed and committed; a row that cannot hand
    on its spikes or values is committed late and holds up the rows behind it.
    """

    def __init__(self, layer, after, readout, core, *, lanes: int):
        super().__init__(layer, after, readout, core, depth=0 if core.queue_depth == "auto" else core.queue_depth)
        self.groups = -(-layer.neurons // lanes)
        self.lanes, self.tail = lanes, layer.neurons - (self.groups - 1) * lanes
        self.waiting = False  # a spike waits for its successor
        self.issued = LONG_AGO  # the latest row
        self.summed = self.committed = self.committed_before = LONG_AGO  # latest row; the row before that
        depth = _spike_queue(core, lanes)
        self.fetched = deque([LONG_AGO] * depth, maxlen=depth)  # when the latest groups left the spike queue

    def _issue(self) -> int:
        """Issue the next row; returns when it is ready to commit."""
        time = max(self.issued + 1, self.committed_before)
        if self.summed <= time < self.committed:
            time = self.committed
        self.issued = time
        self.summed = max(time + 2, self.committed + 1)
        return self.summed

    def _commit(self, time: int) -> None:
        self.committed_before, self.committed = self.committed, time

    def _rows(self, count: int) -> None:
        """Rows that hand nothing on."""
        for _ in range(min(count, 2)):
            self._commit(self._issue())
        if count > 2:  # two such rows in a row: no stall is left
            self.issued += count - 2
            self.summed = self.committed = self.issued + 2
            self.committed_before = self.issued + 1

    def _hand_on(self, spikes: int, end: int, ready: int) -> None:
        """Commit a row that sends its spikes, and the tick with the last row."""
        if self.fetched.maxlen:
            self._commit(max(ready, self.fetched[0] + 1))
            fetched = max(self.committed + 1, self.serialised)
            self.fetched.append(fetched)
        else:
            fetched = max(ready, self.serialised)
            self._commit(fetched)
        self.serialised = self.after.burst(spikes, end, fetched + 1)

    def entry(self, time: int, *, tick: bool) -> int:
        """When an item offered from `time` on, the first of an input, would be taken."""
        if self.depth:
            return max(time, self.left[0] + 1)
        return max(time, self.issued if tick else self.popped + 1)

    def _offered(self, time: int) -> tuple[int, int]:
        """When the queue takes an item, and when that can leave it; without a queue both are one transfer."""
        if not self.depth:
            return time, time
        taken = max(time, self.left[0] + 1)
        return taken, max(taken + 1, self.popped + 1)

    def burst(self, count: int, end: int, time: int) -> int:
        taken, rest, steady = time - 1, count, False
        while rest and not steady:
            taken, leaves = self._offered(taken + 1)
            steady = self.waiting
            if self.waiting:  # the pass of the spike before begins
                self.issued = leaves = max(leaves, self.issued)
                self._rows(self.groups)
            self.waiting = True
            taken = self._left(taken, leaves)
            rest -= 1
        if rest:  # items wait for the lanes: each pass begins as the one before ends
            if self.depth:
                taken = self._taken_last(taken, rest, self.issued, self.groups)
            else:
                taken = self.issued + (rest - 1) * self.groups
            self._leave(rest, self.issued, self.groups)
            self._rows(rest * self.groups)
        if end == SPIKE:
            return taken
        taken, leaves = self._offered(taken + 1)
        self.issued = leaves = max(leaves, self.issued)
        self.waiting = False
        taken = self._left(taken, leaves)
        self._tick(end)
        return taken

    def _left(self, taken: int, leaves: int) -> int:
        """Note that an item leaves the queue; returns when it was taken."""
        self._leave(1, leaves, 1)
        return taken if self.depth else leaves

    def _tick(self, end: int) -> None:
        spiking, final = next(self.pattern)
        if self.readout is not None and (end == LAST or self.every_tick):
            ready = 0
            for group in range(self.groups):
                last = group == self.groups - 1
                count = self.tail if last else self.lanes
                ready = self.readout.values(count, self._issue(), final=last and end == LAST)
                if not last:
                    self._commit(ready)
            self._hand_on(final, end, ready)
            return
        at = 0
        for group, spikes in spiking:
            self._rows(group - at)
            self._hand_on(spikes, SPIKE, self._issue())
            at = group + 1
        self._rows(self.groups - 1 - at)
        self._hand_on(final, end, self._issue())


class _Chain:
    """The whole core: the source pushes bursts into the first layer, each layer into the one behind it."""

    def __init__(self, model: CostModel, *, since_reset: int | None):
        core, layers = model.core, model.network.layers
        self.outputs = _Outputs()
        since = -LONG_AGO if since_reset is None else since_reset
        after: Any = self.outputs
        if model.decision in ("count", "first"):
            after = _Decision(self.outputs, neurons=model.network.outputs, kind=model.decision, since_reset=since)
        self.layers: list[_Parallel | _Grouped] = []
        for index in range(len(layers) - 1, -1, -1):
            layer, lanes = layers[index], model.lanes[index]
            readout = None
            if layer.threshold is None:
                readout = _Readout(self.outputs, decides=model.decision == "value")
            if lanes == layer.neurons:
                after = _Parallel(layer, after, readout, core, bias=model._bias_bits(index) > 0)
            else:
                after = _Grouped(layer, after, readout, core, lanes=lanes)
            self.layers.insert(0, after)
        self.offer = 0  # when the source can offer its next item
        loads = core.weights == "loaded" or core.parameters == "loaded" or (model.direct and model._bias_bits(0) > 0)
        # A core with a load port counts the inputs under way and takes no more than it can count.
        self.gone = deque([LONG_AGO] * MOST_INPUTS_UNDER_WAY, maxlen=MOST_INPUTS_UNDER_WAY) if loads else None

    def play(self, steps: list[int], patterns: list) -> tuple[int, int]:
        """One input: its first transfer and its last output."""
        for layer, pattern in zip(self.layers, patterns, strict=True):
            layer.pattern = iter(pattern)
        first = time = self.entry(tick=not steps[0])
        final = len(steps) - 1
        for index, count in enumerate(steps):
            time = self.layers[0].burst(count, LAST if index == final else TICK, time) + 1
        self.offer = time
        if self.gone is not None:
            self.gone.append(self.outputs.last)
        return first, self.outputs.last

    def entry(self, *, tick: bool) -> int:
        """When the first item of an input, a tick or a spike, is taken."""
        time = self.offer if self.gone is None else max(self.offer, self.gone[0] + 1)
        return self.layers[0].entry(time, tick=tick)
