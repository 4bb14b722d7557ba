"""The exact cycles of a chain of dense layers, burst by burst.

Every part of the core takes items (spikes and ticks) in order and answers when it takes them. A time is the number
of a clock cycle; x is the cycle of a transfer, and an item taken at x can be used from x + 1 on. All rules are
maxima of sums, for example of a queue of depth D whose items leave at p::

    x[i] = max(offered[i], p[i - D] + 1)

Only the first items of a burst can meet different limits: from the second or third item on, a burst of n spikes runs
at the pace of its slowest part, so that a burst costs O(1) and an input O(steps * layers + groups with spikes).
The order of the spikes within a step does not matter, their numbers do.

`graph_cycles` knows the same engines item by item, and every other one.
"""

from collections import deque
from typing import Any

import numpy as np

from ..config import DigitalConfig, StochasticConfig
from ..network.integer import IntegerLayer
from .plan import CorePlan, LayerPlan
from .words import sent

__all__ = [
    "LAST",
    "LONG_AGO",
    "SPIKE",
    "TICK",
    "Chain",
    "Decision",
    "Grouped",
    "Outputs",
    "Readout",
    "flag_group",
    "is_dense_chain",
    "spike_pattern",
    "spike_queue",
]

SPIKE, TICK, LAST = 0, 1, 2  # how a burst ends: with a spike, with a tick, with the tick of an input's last step
LONG_AGO = -(1 << 60)
MOST_INPUTS_UNDER_WAY = 255
"""A core with a load port counts them in 8 bits and takes no more than it can count."""


def is_dense_chain(plan: CorePlan) -> bool:
    """Whether every layer is dense and listens to the layer before it and to nothing else."""
    if not isinstance(plan.core, DigitalConfig):
        return False
    return all(isinstance(entry, LayerPlan) for entry in plan.layers) and all(
        len(layer.connections) == 1 and edge.delay == 0 and edge.source == before
        for layer, edge, before in zip(
            plan.network.layers, plan.edges, ["input", *(layer.name for layer in plan.network.layers)], strict=False
        )
    )


def spike_queue(core: DigitalConfig | StochasticConfig, lanes: int) -> int:
    """Groups of spikes held between shared lanes and their serialiser; 0: one lane sends what it finds at once."""
    if core.spike_queue == "auto":
        return 0 if lanes == 1 else 4
    return core.spike_queue


def flag_group(neurons: int) -> int:
    """Flags that are searched at a time: the power of two nearest above the square root of the layer, at most 64."""
    width = 1
    while width * width < neurons and width < 64:
        width *= 2
    return width


def spike_pattern(entry: LayerPlan, spikes: np.ndarray) -> list:
    """What the serialiser of a layer gets, per input and step; `spikes` is an array [B, T, neurons].

    With a lane for every neuron: (words of spikes, those of the last group of flags that has any). With fewer: the
    (group, spikes) of each group that has some, without the last group, and the spikes of that.
    """
    batch, steps, neurons = spikes.shape
    if entry.events_out > 1:
        width = flag_group(-(-neurons // entry.events_out))
        return np.stack(sent(spikes, events=entry.events_out, width=width), axis=2).tolist()
    width = flag_group(neurons) if entry.parallel else entry.lanes
    sums = np.add.reduceat(spikes, np.arange(0, neurons, width), axis=2, dtype=np.int64)
    if entry.parallel:
        final = sums.shape[2] - 1 - (sums[:, :, ::-1] > 0).argmax(axis=2)
        tail = np.take_along_axis(sums, final[:, :, None], axis=2)
        return np.concatenate([sums.sum(axis=2, keepdims=True), tail], axis=2).tolist()
    finals = sums[:, :, -1].tolist()
    patterns = [[([], finals[b][t]) for t in range(steps)] for b in range(batch)]
    found = np.nonzero(sums[:, :, :-1])
    for b, t, group, count in zip(*(axis.tolist() for axis in found), sums[found].tolist(), strict=True):
        patterns[b][t][0].append((group, count))
    return patterns


# ---- the parts of the core; each `burst` returns the cycle in which its last item was taken ----


class Outputs:
    """Sinks of the core, always ready."""

    def __init__(self):
        self.last = LONG_AGO  # cycle of the latest transfer on any of them

    def burst(self, count: int, end: int, time: int) -> int:
        """`count` spikes, then a tick unless `end` is SPIKE; the first is offered at `time`, each other 1 later."""
        self.last = time + count - (end == SPIKE)
        return self.last


class Decision:
    """Tells the answer before it passes the last tick on; by counting it takes no item while it clears its counts."""

    def __init__(self, outputs: Outputs, *, neurons: int, kind: str, since_reset: int):
        self.outputs, self.neurons, self.counts = outputs, neurons, kind == "count"
        self.accepts = neurons - since_reset if self.counts else LONG_AGO
        self.spike = LONG_AGO

    def burst(self, count: int, end: int, time: int) -> int:
        """Take a burst; see `Outputs.burst`."""
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


class Readout:
    """Values of a read-out, one per cycle; its decision takes the place of a value after the last of an input."""

    def __init__(self, outputs: Outputs, *, decides: bool):
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

    def __init__(self, layer: IntegerLayer, after: Any, readout: Readout | None, core: DigitalConfig, *, depth: int):
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


class Grouped(_Layer):
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
        depth = spike_queue(core, lanes)
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
        """Take a burst; see `Outputs.burst`."""
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


class Chain:
    """The whole core: the source pushes bursts into the first layer, each layer into the one behind it."""

    def __init__(self, plan: CorePlan, *, since_reset: int | None):
        core = plan.digital
        self.outputs = Outputs()
        since = -LONG_AGO if since_reset is None else since_reset
        after: Any = self.outputs
        if plan.decision in ("count", "first"):
            after = Decision(self.outputs, neurons=plan.network.outputs, kind=plan.decision, since_reset=since)
        self.layers: list[_Parallel | Grouped] = []
        for entry in reversed(plan.layers):
            assert isinstance(entry, LayerPlan)
            layer = entry.layer
            readout = None
            if layer.threshold is None:
                readout = Readout(self.outputs, decides=plan.decision == "value")
            if entry.parallel:
                after = _Parallel(layer, after, readout, core, bias=entry.bias_bits > 0)
            else:
                after = Grouped(layer, after, readout, core, lanes=entry.lanes)
            self.layers.insert(0, after)
        self.offer = 0  # when the source can offer its next item
        self.gone = deque([LONG_AGO] * MOST_INPUTS_UNDER_WAY, maxlen=MOST_INPUTS_UNDER_WAY) if plan.loads else None

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
