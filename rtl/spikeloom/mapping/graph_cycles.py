"""The exact cycles of any network on the digital core, item by item: sweep engines, joins, short cuts, loops.

Each block of the core is a process that takes items from timed streams and offers them to others (see `clock`). An
item is the number of rows that a spike touches in the layer it goes to (1 for a dense engine's; 0: none), or TICK, or
LAST. What the layers do is given by the trace; what is computed here is when.

Cost: O(items * blocks on their way) events of some microseconds each: an input of 20 000 spikes in all layers takes
about a second. Rows without a spike cost nothing.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..network.integer import INPUT
from . import bursts
from .bursts import LONG_AGO, Outputs, Readout, flag_group, spike_queue
from .cim import SLOT_DEPTH, CimPlan, SequentialPlan
from .clock import LATE, Clock, Process, Stream, Waits
from .memories import REGISTER_DEPTH
from .plan import SPIKE_QUEUE, CorePlan, Edge, LayerPlan
from .shared import SharedPlan
from .shared_cycles import Job
from .sweep import SweepPlan
from .virtual import EVENT_MEMORY, VirtualPlan

__all__ = ["CimWork", "play_graph", "touched_rows"]

TICK, LAST = -1, -2
LATER = 1 << 62
"""A cycle that never comes."""
SHOWN = 3
"""Items that a memory queue has read ahead."""


def touched_rows(entry: LayerPlan | SweepPlan) -> list[np.ndarray]:
    """For each connection, how many rows a spike of each source takes the engine: int64 [sources]."""
    if isinstance(entry, SweepPlan):
        return [connection.touched_rows() for connection in entry.connections]
    if isinstance(entry, VirtualPlan):
        return entry.touched_rows()
    return [np.full(connection.sources, entry.groups) for connection in entry.layer.connections]


def play_graph(
    plan: CorePlan,
    inputs: np.ndarray,
    spikes: Sequence[np.ndarray],
    *,
    isolated: bool,
    since_reset: int | None,
    work: list[list["CimWork"]] | None = None,
) -> list[tuple[int, int, int]]:
    """(first item in, last output, interval to the next input) of each input; see `CostModel.cycles`.

    `work` gets what each array layer did, by layer, for every input.
    """
    sources = {INPUT: inputs} | dict(zip((entry.name for entry in plan.layers), spikes, strict=True))
    times = []
    batches = [range(b, b + 1) for b in range(len(inputs))] if isolated else [range(len(inputs))]
    for batch in batches:
        core = _Core(plan, sources, batch, since_reset=since_reset)
        found = core.play()
        if any(
            (isinstance(entry, VirtualPlan) and entry.share.layers > 1)
            or (isinstance(entry, SharedPlan) and entry.gang.layers > 1)
            for entry in plan.layers
        ):
            # What follows takes engines from the layers behind: only the interval is that of an input that is followed.
            alone = _Core(plan, sources, batch, since_reset=since_reset).play(follows=False)
            found = [(*ours, following) for (*_, following), (*ours, _) in zip(found, alone, strict=True)]
        times += found
        if work is not None:
            done = [engine.work for engine in core.engines if isinstance(engine, _Cim | _Sequential)]
            work += [list(each) for each in zip(*(layer[: len(batch)] for layer in done), strict=True)]
    return times


# ---- blocks ----


@dataclass
class _Outlet:
    """Where the spikes of a source go; each listener takes an item when it can, the source goes on when all have."""

    listeners: list[tuple[Stream, list[int] | None]] = field(default_factory=list)
    """With the rows that a spike of each neuron touches there, where that matters."""

    def send(self, item: int, *, neuron: bool) -> Waits:
        """Offer a tick, or the spike of neuron `item`; ends in the cycle in which the last listener takes it."""
        for stream, rows in self.listeners:
            stream.offer(item if not neuron else 1 if rows is None else rows[item])
        for stream, _ in self.listeners:
            yield from stream.given()


class _Expander(Stream):
    """Two pipeline registers in front of the walk; a spike that touches nothing goes no further than in."""

    def __init__(self, clock: Clock):
        super().__init__(clock, depth=2, latency=2, reuse=0)

    def _keeps(self, item: int) -> bool:
        return item != 0


def _move(clock: Clock, source: Stream, sink: Stream) -> Waits:
    """Take items from one stream and give them to the other in the same cycle."""
    while True:
        sink.offer((yield from source.head()))
        yield from sink.given()
        source.take()
        yield clock.now + 1


def _memory_queue(clock: Clock, depth: int) -> tuple[Stream, Stream]:
    """The entrance and the exit of a queue of at least `depth` items; one stream where it is made of registers.

    A memory is read ahead into a few registers, an item per cycle, which takes two cycles.
    """
    depth = max(2, depth)
    entrance = Stream(clock, depth=depth)
    if depth <= REGISTER_DEPTH:
        return entrance, entrance
    shown = Stream(clock, depth=SHOWN, latency=2)

    def read_ahead() -> Waits:
        while True:
            yield from entrance.head()
            yield from shown.room()
            if (item := entrance.peek()) is not None:  # nothing is left if the queue was cleared meanwhile
                shown.offer(item)
                entrance.take()
                yield clock.now + 1

    clock.start(read_ahead())
    return entrance, shown


def _join(clock: Clock, branches: list[Stream], sink: Stream, leader: int) -> Waits:
    """Spikes of any branch, the first that has one; one tick when all branches show theirs. Holds one item."""
    while True:
        while True:
            yield clock.now, LATE
            shown = [branch.peek() for branch in branches]
            chosen = next((n for n, item in enumerate(shown) if item is not None and item >= 0), None)
            if chosen is not None:
                branches[chosen].take()
                item = shown[chosen]
                break
            if None not in shown:
                item = shown[leader]
                for branch in branches:
                    branch.take()
                break
            for branch in branches:
                branch.watch()
            yield None
        yield clock.now + 1
        sink.offer(item)
        yield from sink.given()


class _Delay:
    """Brings a step's items `steps` steps later; see `blocks.routing.Delay`, whose names these are."""

    def __init__(self, clock: Clock, edge: Edge, i: Stream, o: Stream, *, clears: bool, before: list[int]):
        self.clock, self.i, self.o, self.clears, self.follows, self.steps = (
            clock, i, o, clears, edge.leads, edge.delay
        )  # fmt: skip
        self.write, self.read = _memory_queue(clock, edge.queue)
        self.flags = Stream(clock, depth=edge.delay + 2) if edge.leads else None
        # `before` are the items of steps that a network that keeps its state has already played.
        self.empty = edge.delay - sum(item < 0 for item in before)
        self.lead, self.ended = 0, False
        self.leaver = clock.start(self.leave())
        self.enterer = clock.start(self.enter(before))

    def enter(self, before: list[int]) -> Waits:
        for item in before:
            self.write.offer(item)
            yield from self.write.given()
            yield self.clock.now + 1
        while True:
            item = yield from self.i.head()
            while self.ended:
                yield None
            while not (self.write.has_room and (item >= 0 or self.flags is None or self.flags.has_room)):
                yield from self.write.room()
                if item < 0 and self.flags is not None:
                    yield from self.flags.room()
            self.i.take()
            self.write.offer(TICK if item < 0 else item)
            if item < 0 and self.flags is not None:
                self.flags.offer(item)
            yield self.clock.now + 1
            if self.clears and item < 0:
                self.lead += item == TICK
                self.ended = item == LAST
                if self.ended and self.lead < 0:
                    yield from self.flush()
                self.leaver.wake()

    def leave(self) -> Waits:
        while True:
            while self.clears and self.lead < 0:
                if self.ended:
                    yield from self.flush()
                else:
                    yield None
            item = TICK if self.empty else (yield from self.read.head())
            if item < 0 and self.flags is not None:
                item = yield from self.flags.head()
            self.o.offer(item)
            yield from self.o.given()
            if item < 0 and self.flags is not None:
                self.flags.take()
            if item < 0 and self.empty:
                self.empty -= 1
            else:
                self.read.take()
            yield self.clock.now + 1
            self.lead -= self.clears and item < 0

    def flush(self) -> Waits:
        """One cycle in which all that is left of an input is forgotten."""
        if self.write is not self.read:
            self.write.clear()
        self.read.clear()
        yield self.clock.now + 1
        self.ended, self.lead, self.empty = False, 0, self.steps
        self.enterer.wake()


class _Engine:
    """What all engines have: the stream in front, groups of flags, the serialiser, the values of a read-out."""

    def __init__(self, core: "_Core", entry: LayerPlan | SweepPlan, spikes: np.ndarray, outlet: _Outlet):
        self.core, self.clock, self.entry, self.outlet = core, core.clock, entry, outlet
        self.steps = iter(spikes)  # spikes [neurons] of every step
        self.readout = None
        if entry.layer.threshold is None:
            self.readout = Readout(Outputs(), decides=core.plan.decision == "value")
            self.every_tick = core.plan.core.readout == "tick"
        self.i: Stream
        self.groups: Stream  # of (neurons that fire, the tick behind them or None)

    def reports(self, tick: int) -> bool:
        """Whether the step that `tick` ends shows its values."""
        return self.readout is not None and (tick == LAST or self.every_tick)

    def shown(self, count: int, time: int, *, final: bool) -> int:
        """The cycle in which the last of `count` values from `time` on is read."""
        assert self.readout is not None
        last = self.readout.values(count, time, final=final)
        if final:
            self.core.left["readout"].append(self.readout.outputs.last)
        return last

    def group_taken(self) -> None:
        """The serialiser has just taken a group."""

    def serialise(self) -> Waits:
        """A spike per cycle, then the tick; the next group is taken in the cycle in which the last item leaves."""
        clock, groups, send = self.clock, self.groups, self.outlet.send
        while True:
            neurons, tick = yield from groups.head()
            groups.take()
            self.group_taken()
            for neuron in neurons:
                yield clock.now + 1
                yield from send(neuron, neuron=True)
            if tick is not None:
                yield clock.now + 1
                yield from send(tick, neuron=False)


class _Parallel(_Engine):
    """A lane for every neuron: an item per cycle; a tick waits until the flags of the one before have moved on."""

    def __init__(self, core, entry, spikes, outlet):
        super().__init__(core, entry, spikes, outlet)
        depth = core.plan.core.queue_depth
        self.i = Stream(self.clock, depth=2 if depth == "auto" else depth)
        self.flags = Stream(self.clock, depth=1, reuse=0)
        self.groups = Stream(self.clock)
        for process in (self.compute(), self.find_groups(), self.serialise()):
            self.clock.start(process)

    def compute(self) -> Waits:
        clock, entry = self.clock, self.entry
        biased = fresh = entry.bias_bits > 0  # the bias of an input's first step is still to be added
        while True:
            item = yield from self.i.head()
            if fresh:
                fresh = False
                yield clock.now + 1
            if item >= 0:
                self.i.take()
                continue
            yield from self.flags.room()
            self.i.take()
            fresh = biased and item == LAST
            yield clock.now + 1  # the tick is executed
            if self.reports(item):
                yield self.shown(entry.layer.neurons, clock.now, final=item == LAST)
            self.flags.offer(item)

    def find_groups(self) -> Waits:
        """Groups of flags that have any; the last one carries the tick."""
        width = flag_group(self.entry.layer.neurons)
        while True:
            tick = yield from self.flags.head()
            fired = np.flatnonzero(next(self.steps)).tolist()
            groups = [list(group) for _, group in itertools.groupby(fired, lambda neuron: neuron // width)] or [[]]
            for n, group in enumerate(groups):
                final = n == len(groups) - 1
                self.groups.offer((group, tick if final else None))
                yield from self.groups.given()
                if not final:
                    yield self.clock.now + 1
            self.flags.take()


@dataclass
class CimWork:
    """What the arrays of a layer did for an input: spikes added, passes by tile, cycles in which a spike waited."""

    spikes: int = 0
    adds: int = 0
    """Passes that add spikes, in one tile or in several at once."""
    passes: dict[int, int] = field(default_factory=dict)
    conflicts: int = 0
    """Cycles in which a spike found its bank full while another had room."""


class _Cim(_Parallel):
    """Arrays: passes of B cycles, each adding a spike of every bank that has any; a tick goes through its own passes.

    Items are numbers of banks.
    """

    def __init__(self, core, entry: CimPlan, spikes, outlet):
        _Engine.__init__(self, core, entry, spikes, outlet)
        self.plan, clock = entry, self.clock
        depth = core.plan.core.queue_depth
        self.i = Stream(clock, depth=0 if depth == "auto" else depth)
        self.banks = [Stream(clock, depth=SLOT_DEPTH) for _ in range(entry.slots_in)]
        self.ticks = Stream(clock)
        self.shows = self.readout is not None or core.plan.core.probe
        # What shows its values lets the flags go at once; else they go two cycles behind the last row of a pass.
        self.flags = Stream(clock, depth=1, latency=1 if self.shows else 3, reuse=0)
        self.groups = Stream(clock)
        self.unshown = False
        self.work = [CimWork()]
        names = [name for name, _ in entry.passes]
        self.emits = len(names) - 1 if entry.late else names.index("compare")
        self.collects = names.index(entry.shows_after)
        self.adder = clock.start(self.compute())
        for process in (self.dispatch(), self.find_groups(), self.serialise()):
            clock.start(process)

    def dispatch(self) -> Waits:
        while True:
            item = yield from self.i.head()
            if item < 0:
                self.ticks.offer(item)
                yield from self.ticks.given()
            else:
                # The banks begin together, so what has room now has it until this bank has some.
                begin, others = self.clock.now, any(bank.has_room for bank in self.banks)
                yield from self.banks[item].room()
                self.banks[item].offer(item)
                self.work[-1].conflicts += (self.clock.now - begin) * others
            self.i.take()
            yield self.clock.now + 1

    def compute(self) -> Waits:
        clock, bits, count = self.clock, self.plan.bits, len(self.plan.passes)
        free = clock.now
        while True:
            yield max(free, clock.now), LATE
            waiting = [n for n, bank in enumerate(self.banks) if bank.peek() is not None]
            if waiting:
                work = self.work[-1]
                work.spikes += len(waiting)
                work.adds += 1
                for tile in {n // self.plan.banks for n in waiting}:
                    work.passes[tile] = work.passes.get(tile, 0) + 1
                for n in waiting:
                    self.banks[n].take()
                free = clock.now + bits
                continue
            tick = self.ticks.peek()
            if tick is None or self.unshown:
                for stream in (*self.banks, self.ticks):
                    stream.watch()
                yield None
                continue
            self.ticks.take()
            start = clock.now
            free = start + count * bits
            if tick == LAST:
                self.work.append(CimWork())
            if self.shows:
                self.unshown = True
                clock.start(self.show(tick, start + (self.collects + 1) * bits, free))
            else:
                yield start + (self.emits + 1) * bits
                yield from self.flags.room()
                self.flags.offer(tick)
                free = clock.now + (count - 1 - self.emits) * bits

    def show(self, tick: int, collected: int, ended: int) -> Waits:
        """Let the values of a step be read, then hand on its flags; behind its last pass where that matters."""
        clock = self.clock
        yield collected + 3
        if self.reports(tick):
            yield self.shown(self.entry.layer.neurons, clock.now, final=tick == LAST)
        if self.plan.late and ended + 2 > clock.now:
            yield ended + 2
        yield from self.flags.room()
        self.flags.offer(tick)
        yield clock.now + 1
        self.unshown = False
        self.adder.wake()


class _Rows(_Engine):
    """Engines with rows of lanes: rows of a step's end go through `depth` stages that all move or all wait.

    A row that cannot hand on its spikes or values holds up the rows behind it, at most `depth` of which are under
    way: so the first row of a step's end can still meet the last two of the step before.
    """

    depth: int

    def __init__(self, core, entry, spikes, outlet):
        super().__init__(core, entry, spikes, outlet)
        self.groups = Stream(self.clock, depth=spike_queue(core.plan.digital, entry.lanes))
        self.passes = Stream(self.clock, depth=1, latency=0, reuse=0)
        """The pass that is being issued."""
        self.last = self.before_last = LONG_AGO  # when the latest rows that hand on something left the last stage
        self.clock.start(self.serialise())

    def first_ready(self, entered: int) -> int:
        """When the first row of a pass that was taken at `entered` is in the last stage."""
        return max(entered + self.depth + 1, self.last + self.depth - 1 + (entered >= self.before_last))

    def end_step(self, ready: int, tick: int, release: int | None) -> Waits:
        """All rows of a step's end, the first of which is `ready`; the next pass may enter when `release` leaves."""
        clock, rows = self.clock, self.entry.groups
        reports, at = self.reports(tick), 0
        fired = dict(self.rows_that_fire())
        stops: Sequence[int] = range(rows)
        if not reports:  # the rows in between hand nothing on
            stops = sorted({*fired, rows - 1, rows - 1 if release is None else release})
        for row in stops:
            ready += row - at
            if ready > clock.now:
                yield ready
            final = row == rows - 1
            if reports:
                yield self.shown(self.tail if final else self.entry.lanes, ready, final=final and tick == LAST)
            if final:
                self.before_last = ready - 1
            if final or row in fired:
                self.groups.offer((fired.get(row, ()), tick if final else None))
                yield from self.groups.given()
            if row == release:
                self.passes.take()
            ready, at = clock.now + 1, row + 1
        self.last = clock.now

    def rows_that_fire(self) -> Iterator[tuple[int, list[int]]]:
        """Each row with spikes of the next step, and its neurons in ascending order of their lanes."""
        fired = np.flatnonzero(next(self.steps))
        place = self.place[fired]
        order = np.argsort(place, kind="stable")
        lanes = self.entry.lanes
        pairs = zip((place[order] // lanes).tolist(), fired[order].tolist(), strict=True)
        for row, group in itertools.groupby(pairs, lambda pair: pair[0]):
            yield row, [neuron for _, neuron in group]

    @property
    def tail(self) -> int:
        """Neurons of the last row."""
        return int((self.place // self.entry.lanes == self.entry.groups - 1).sum())

    place: np.ndarray
    """Row times lanes, plus lane, of each neuron; int64 [neurons]."""


class _Sequential(_Engine):
    """Words one after the other: a sweep over all rows for a spike and for a tick."""

    def __init__(self, core, entry: SequentialPlan, spikes, outlet):
        super().__init__(core, entry, spikes, outlet)
        self.plan = entry
        depth = core.plan.core.queue_depth
        self.i = Stream(self.clock, depth=0 if depth == "auto" else depth)
        self.groups = Stream(self.clock, depth=SPIKE_QUEUE)
        self.work = [CimWork()]
        self.clock.start(self.compute())
        self.clock.start(self.serialise())

    def compute(self) -> Waits:
        clock, plan = self.clock, self.plan
        rows, lanes, pace = plan.groups, plan.lanes, 2 if plan.memory == "1rw" else 1
        while True:
            item = yield from self.i.head()
            self.i.take()
            if item >= 0:
                self.work[-1].spikes += 1
                self.work[-1].adds += 1
                yield clock.now + plan.sweep
                continue
            if item == LAST:
                self.work.append(CimWork())
            fired = np.flatnonzero(next(self.steps))
            reports = self.reports(item)
            ready = clock.now + 2
            for row in range(rows):
                final, here = row == rows - 1, fired[fired // lanes == row].tolist()
                if not (reports or here or final):
                    ready += pace
                    continue
                yield ready
                if reports:
                    count = plan.layer.neurons - row * lanes if final else lanes
                    yield self.shown(count, ready, final=final and item == LAST)
                if here or final:
                    self.groups.offer((here, item if final else None))
                    yield from self.groups.given()
                ready = clock.now + pace


class _Virtual(_Engine):
    """A layer of a virtual core: what waits in front of it, and how its spikes leave; items are numbers of rows."""

    def __init__(self, core, entry: VirtualPlan, spikes, outlet):
        super().__init__(core, entry, spikes, outlet)
        self.plan = entry
        depth = core.plan.core.queue_depth
        self.groups = Stream(self.clock, depth=entry.spike_queue)
        self.turn = 0
        if entry.turns > 1:
            self._replay()
        else:
            self.i, self.items = _memory_queue(self.clock, EVENT_MEMORY if depth == "auto" else depth)
        self.emptied = LONG_AGO
        """The first cycle in which the rows of spikes taken so far are gone."""
        self.shared: _VirtualCore
        self.clock.start(self.serialise())

    @property
    def room(self) -> bool:
        """Whether a tick may be taken."""
        if self.plan.turns > 1:
            return self.clock.now >= self.kept_free
        return self.plan.share.layers == 1 or (self.groups.peek() is None and self.clock.now >= self.emptied)

    def group_taken(self) -> None:
        """The queue is one shorter from the next cycle on, and a tick may have waited for that."""
        self.emptied = self.clock.now + 1
        self.clock.at(self.emptied, self.shared.process.wake)

    def sweep(self, tick: int) -> Waits:
        """The rows of a step's end; ends in the cycle in which the last one is done."""
        clock, plan = self.clock, self.plan
        if plan.turns > 1:
            yield clock.now + plan.groups + 2 + plan.share.late
            self.swept += 1
            if tick == LAST:
                self.turn = (self.turn + 1) % plan.turns
                if self.turn == 0:
                    self.kept_free = LATER
                    self.leave.offer(self.swept // plan.turns)
                    self.swept = 0
            return
        fired = np.flatnonzero(next(self.steps))
        rows = {row: fired[plan.slot[fired] == row] for row in np.unique(plan.slot[fired]).tolist()}
        reports, ready, at = self.reports(tick), clock.now + 3 + plan.share.late, 0
        for row in range(plan.groups) if reports else sorted({*rows, plan.groups - 1}):
            ready += row - at
            yield ready
            final = row == plan.groups - 1
            if reports:
                count = plan.layer.neurons - row * plan.lanes if final else plan.lanes
                yield self.shown(count, ready, final=final and tick == LAST)
            if final or row in rows:
                here = rows.get(row, fired[:0])
                self.groups.offer((here[np.argsort(plan.engine[here])].tolist(), tick if final else None))
                yield from self.groups.given()
            ready, at = clock.now + 1, row + 1

    # ---- several turns ----

    def _replay(self) -> None:
        clock, plan = self.clock, self.plan
        self.i, self.items = Stream(clock), Stream(clock)
        self.stored = Stream(clock, depth=2)  # inputs: of each step, the addresses that spiked
        self.read = Stream(clock)  # rows read: (addresses of spikes, tick or None)
        self.leave = Stream(clock, depth=1)
        self.kept_free, self.swept = 0, 0
        since = self.core.since_reset
        self.swept_clear = 0 if since is None else plan.steps * plan.store_rows - since
        for process in (self._store(), self._read_turns(), self._send_turns(), self._read_flags()):
            clock.start(process)

    def _store(self) -> Waits:
        """Keep the spikes of whole inputs; an item per cycle, while a half of the memory is free."""
        clock, steps = self.clock, [set()]
        while True:
            item = yield from self.i.head()
            if self.swept_clear > clock.now:
                yield self.swept_clear
            yield from self.stored.room()
            self.i.take()
            if item >= 0:
                steps[-1].add(item)
            elif item == LAST:
                self.stored.offer(steps)
                steps = [set()]
            else:
                steps.append(set())
            yield clock.now + 1

    def _read_turns(self) -> Waits:
        """A row of kept spikes per cycle; those without a spike end here."""
        clock, plan = self.clock, self.plan
        width = plan.store_width
        while True:
            steps = yield from self.stored.head()
            for _ in range(plan.turns):
                for number, spikes in enumerate(steps):
                    for row in range(plan.store_rows):
                        here = sorted(a for a in spikes if a // width == row)
                        final = row == plan.store_rows - 1
                        tick = (LAST if number == len(steps) - 1 else TICK) if final else None
                        yield clock.now + 1
                        if here or final:
                            self.read.offer((here, tick))
                            yield from self.read.given()
            self.stored.take()

    def _send_turns(self) -> Waits:
        clock, lengths, turn = self.clock, self.plan.tables.length, 0
        at = {int(address): source for source, address in enumerate(self.plan.source_addresses)}
        while True:
            addresses, tick = yield from self.read.head()
            self.read.take()
            for item in [int(lengths[turn, at[address]]) for address in addresses] + ([] if tick is None else [tick]):
                yield clock.now + 1
                self.items.offer(item)
                yield from self.items.given()
            if tick == LAST:
                turn = (turn + 1) % self.plan.turns

    def _read_flags(self) -> Waits:
        """Hand on the flags of all turns, step by step, a row per cycle."""
        clock, plan = self.clock, self.plan
        rows = plan.turns * plan.groups
        while True:
            steps = yield from self.leave.head()
            self.leave.take()
            for step in range(steps):
                fired = np.flatnonzero(next(self.steps))
                for row in range(rows):
                    here, final = fired[plan.row[fired] == row], row == rows - 1
                    if final and step == steps - 1:  # the memory is read
                        self.kept_free = clock.now + 1
                        clock.at(self.kept_free, self.shared.process.wake)
                    yield clock.now + 1
                    if len(here) or final:
                        tick = (LAST if step == steps - 1 else TICK) if final else None
                        self.groups.offer((here[np.argsort(plan.engine[here])].tolist(), tick))
                        yield from self.groups.given()


class _VirtualCore:
    """What layers share: dispatch rows of a spike, sweeps of ticks; the last layer that has an item goes first."""

    def __init__(self, core: "_Core", layers: list[_Virtual]):
        self.clock, self.layers = core.clock, layers
        self.clear = (
            0
            if core.since_reset is None
            else layers[0].plan.share.slots + 1 + layers[0].plan.share.late - core.since_reset
        )
        for layer in layers:
            layer.shared = self
        self.process = self.clock.start(self.compute())

    def compute(self) -> Waits:
        clock = self.clock
        free = max(0, self.clear)
        while True:
            yield max(free, clock.now), LATE
            shown = [(layer, layer.items.peek()) for layer in self.layers]
            offers = [(layer, item) for layer, item in shown if item is not None and (item >= 0 or layer.room)]
            if not offers:
                for layer in self.layers:
                    layer.items.watch()
                yield None
                continue
            layer, item = offers[-1]
            layer.items.take()
            if item >= 0:
                free = clock.now + max(1, item)
            else:
                yield from layer.sweep(item)
                free = clock.now


class _Shared(_Engine):
    """A layer of a gang of weight-shared cores: the lists of its spikes, and how its spikes leave."""

    def __init__(self, core, entry: SharedPlan, spikes, outlet):
        super().__init__(core, entry, spikes, outlet)
        self.plan, clock = entry, self.clock
        self.i = Stream(clock)
        self.lists = Stream(clock, depth=2)  # of whole steps: (spikes, tick)
        self.entrance = self.groups = Stream(clock, depth=entry.spike_queue)
        if entry.gang.layers > 1:
            self.entrance, self.groups = _memory_queue(clock, entry.spike_queue)
        self.inside, self.emptied = 0, LONG_AGO
        self.gang: _Gang
        for process in (self.fill(), self.serialise()):
            clock.start(process)

    @property
    def room(self) -> bool:
        """Whether a step may begin."""
        return self.plan.gang.layers == 1 or (self.inside == 0 and self.clock.now >= self.emptied)

    def group_taken(self) -> None:
        """One row less is inside from the next cycle on, and a step may have waited for that."""
        self.inside -= 1
        self.emptied = self.clock.now + 1
        self.clock.at(self.emptied, self.gang.process.wake)

    def fill(self) -> Waits:
        count = 0
        while True:
            item = yield from self.i.head()
            yield from self.lists.room()
            self.i.take()
            if item < 0:
                self.lists.offer((min(count, self.plan.spike_depth), item))
                count = -1
            count += 1
            yield self.clock.now + 1

    def step(self, spikes: int, tick: int) -> Waits:
        """A step that begins now; ends in the cycle in which its last neuron is done."""
        clock, plan = self.clock, self.plan
        fired = np.flatnonzero(next(self.steps))
        rows = {row: fired[fired // plan.lanes == row].tolist() for row in np.unique(fired // plan.lanes).tolist()}
        reports, job = self.reports(tick), Job(plan, spikes, clock.now)
        for row, ready in job.neurons():
            final = row == plan.groups - 1
            if not (reports or final or row in rows):
                continue
            yield ready
            if reports:
                count = plan.layer.neurons - row * plan.lanes if final else plan.lanes
                yield self.shown(count, ready, final=final and tick == LAST)
            if final or row in rows:
                self.entrance.offer((rows.get(row, ()), tick if final else None))
                yield from self.entrance.given()
                self.inside += 1
            job.froze, job.resume = ready, clock.now


class _Gang:
    """Steps of the layers of a gang, one after the other; the last layer that has one goes first."""

    def __init__(self, core: "_Core", layers: list[_Shared]):
        self.clock, self.layers = core.clock, layers
        self.clear = 0 if core.since_reset is None else layers[0].plan.gang.words - core.since_reset
        for layer in layers:
            layer.gang = self
        self.process = self.clock.start(self.compute())

    def compute(self) -> Waits:
        clock, free = self.clock, max(0, self.clear)
        while True:
            yield max(free, clock.now), LATE
            offers = [layer for layer in self.layers if layer.lists.peek() is not None and layer.room]
            if not offers:
                for layer in self.layers:
                    layer.lists.watch()
                yield None
                continue
            layer = offers[-1]
            yield from layer.step(*layer.lists.peek())
            layer.lists.take()
            free = clock.now + 1


class _Grouped(_Rows):
    """Fewer lanes than neurons: a pass over the groups for each spike, the last of a step together with its tick."""

    depth = 2

    def __init__(self, core, entry, spikes, outlet):
        super().__init__(core, entry, spikes, outlet)
        depth = core.plan.core.queue_depth
        self.i = Stream(self.clock, depth=0 if depth == "auto" else depth)
        self.place = np.arange(entry.layer.neurons)
        self.clock.start(self.merge())
        self.clock.start(self.compute())

    def merge(self) -> Waits:
        """A spike waits for the item behind it."""
        waiting = False
        while True:
            item = yield from self.i.head()
            if waiting or item < 0:
                self.passes.offer(item)
                yield from self.passes.given()
            waiting = item >= 0
            self.i.take()
            yield self.clock.now + 1

    def compute(self) -> Waits:
        rows = self.entry.groups
        while True:
            tick = yield from self.passes.head()
            entered = self.passes.entered
            if tick >= 0:  # the pass of a spike behind which another one comes
                yield max(entered + rows, self.last + rows - 2 + (entered >= self.before_last))
                self.passes.take()
                continue
            ready = self.first_ready(entered)
            if rows == 2:  # the second row is issued before the first one leaves
                yield ready - 1
                self.passes.take()
            yield from self.end_step(ready, tick, rows - 3 if rows > 2 else None)


class _Sweep(_Rows):
    """Spikes walk over the rows that they touch while a sweep over all rows ends the step before."""

    depth = 3

    def __init__(self, core, entry, spikes, outlet):
        super().__init__(core, entry, spikes, outlet)
        expander = _Expander(self.clock)
        self.i = expander
        depth = core.plan.core.queue_depth
        if depth != "auto":
            self.i = Stream(self.clock, depth=depth)
            self.clock.start(_move(self.clock, self.i, expander))
        row, lane = np.nonzero(entry.neuron_at >= 0)
        self.place = np.empty(entry.layer.neurons, np.int64)
        self.place[entry.neuron_at[row, lane]] = row * entry.lanes + lane
        self.clear = 0 if core.since_reset is None else entry.groups - core.since_reset
        self.clock.start(self.walk(expander))
        self.clock.start(self.sweep())

    def walk(self, touches: Stream) -> Waits:
        clock = self.clock
        while True:
            item = yield from touches.head()
            touches.take()
            start = max(clock.now + 1, self.clear)
            if item >= 0:
                yield start + item - 1
                continue
            yield start
            self.passes.offer(item)
            yield from self.passes.given()

    def sweep(self) -> Waits:
        rows = self.entry.groups
        release = rows - 3 if rows > 2 else rows - 1  # its zeros, or its states, are written before they are read
        while True:
            tick = yield from self.passes.head()
            yield from self.end_step(self.first_ready(self.passes.entered), tick, release)


def _kind(entry: LayerPlan | SweepPlan) -> type:
    if isinstance(entry, CimPlan):
        return _Cim
    if isinstance(entry, SequentialPlan):
        return _Sequential
    if isinstance(entry, VirtualPlan):
        return _Virtual
    if isinstance(entry, SharedPlan):
        return _Shared
    return _Sweep if isinstance(entry, SweepPlan) else _Parallel if entry.parallel else _Grouped


def _items(entry: LayerPlan | SweepPlan) -> Sequence[np.ndarray | None]:
    """For each connection, the item that a spike of each source is; None: of no importance."""
    if isinstance(entry, CimPlan):
        bases = zip(entry.bases, entry.layer.connections, strict=True)
        return [(base + np.arange(connection.sources)) % entry.slots_in for base, connection in bases]
    if isinstance(entry, VirtualPlan) and entry.turns > 1:
        return [entry.source_addresses]  # what is kept is which of them spiked
    return touched_rows(entry) if isinstance(entry, SweepPlan | VirtualPlan) else [None] * len(entry.layer.connections)


class _Core:
    """The whole core and its surroundings: a source that always offers, sinks that always take."""

    def __init__(self, plan: CorePlan, sources: dict[str, np.ndarray], batch: range, *, since_reset: int | None):
        self.plan, self.since_reset, self.clock = plan, since_reset, Clock()
        self.left: dict[str, list[int]] = {"events_out": []}  # when an input left each output
        if plan.layers[-1].layer.threshold is None:
            self.left["readout"] = []
        self.batch, self.inputs = batch, sources[INPUT]
        self.first_in: list[int] = []
        outlets = {name: _Outlet() for name in sources}
        engines = []
        for entry in plan.layers:
            spikes = sources[entry.name][batch.start : batch.stop]
            engines.append(_kind(entry)(self, entry, spikes.reshape(-1, spikes.shape[-1]), outlets[entry.name]))
        self.engines = engines
        virtual: dict[str, list[_Virtual]] = {}
        for engine in engines:
            if isinstance(engine, _Virtual):
                virtual.setdefault(engine.plan.share.core, []).append(engine)
        for layers in virtual.values():
            _VirtualCore(self, layers)
        gangs: dict[str, list[_Shared]] = {}
        for engine in engines:
            if isinstance(engine, _Shared):
                gangs.setdefault(engine.plan.gang.name, []).append(engine)
        for layers in gangs.values():
            _Gang(self, layers)
        for entry, engine in zip(plan.layers, engines, strict=True):
            edges = [edge for edge in plan.edges if edge.layer == entry.name]
            branches = [engine.i] if len(edges) == 1 else [Stream(self.clock) for _ in edges]
            if len(edges) > 1:
                leader = next(n for n, edge in enumerate(edges) if edge.leads)
                self.clock.start(_join(self.clock, branches, engine.i, leader))
            touched = _items(entry)
            for edge, branch, rows in zip(edges, branches, touched, strict=True):
                rows = None if rows is None else rows.tolist()
                outlets[edge.source].listeners.append((self._way(edge, branch, rows, sources), rows))
        leaving = Stream(self.clock)
        outlets[plan.layers[-1].name].listeners.append((leaving, None))
        self.clock.start(self._decide(leaving))
        self.outlet = outlets[INPUT]
        self.source: Process

    def _way(self, edge: Edge, branch: Stream, rows: list[int] | None, sources: dict[str, np.ndarray]) -> Stream:
        """Where the items of an edge enter on their way to `branch`."""
        if not edge.queue:
            return branch
        if not edge.delay:
            entrance, shown = _memory_queue(self.clock, edge.queue)
            self.clock.start(_move(self.clock, shown, branch))
            return entrance
        clears, before = self.plan.network.state == "clear", []
        if not clears and self.since_reset is None:
            played = sources[edge.source][: self.batch.start]
            for step in played.reshape(-1, played.shape[-1])[-edge.delay :]:
                before += [1 if rows is None else rows[n] for n in np.repeat(np.arange(len(step)), step)] + [TICK]
        entrance = Stream(self.clock)
        _Delay(self.clock, edge, entrance, branch, clears=clears, before=before)
        return entrance

    def _offer(self, *, follows: bool) -> Waits:
        """Offer all inputs, then the first item of one more if one `follows`; notes when the first of each is taken."""
        clock, outlet, most = self.clock, self.outlet, bursts.MOST_INPUTS_UNDER_WAY
        for b in [*self.batch, None]:
            if self.plan.loads and len(self.first_in) >= most:
                while len(self.left["events_out"]) <= len(self.first_in) - most:
                    yield None
                yield max(clock.now, self.left["events_out"][len(self.first_in) - most] + 1)
            if b is None and not follows:
                self.first_in.append(clock.now)
                return
            if b is None:
                yield from outlet.send(0, neuron=True)
                self.first_in.append(clock.now)
                return
            steps = self.inputs[b]
            for t, step in enumerate(steps):
                neurons = np.repeat(np.arange(len(step)), step).tolist()
                for item in [*neurons, LAST if t == len(steps) - 1 else TICK]:
                    yield from outlet.send(item, neuron=item >= 0)
                    if len(self.first_in) == b - self.batch.start:
                        self.first_in.append(clock.now)
                    yield clock.now + 1

    def _decide(self, i: Stream) -> Waits:
        """The decision unit tells the answer before it passes the last tick on; sinks are always ready.

        By counting it takes no item while it clears its counts.
        """
        clock, kind = self.clock, self.plan.decision
        neurons = self.plan.layers[-1].output_addresses
        accepts = spike = LONG_AGO
        if kind == "count" and self.since_reset is not None:
            accepts = neurons - self.since_reset
        while True:
            item = yield from i.head()
            if clock.now < accepts:
                yield accepts
            if item >= 0:
                spike = clock.now
            elif item == LAST:
                if kind == "count" and clock.now == spike + 1:
                    yield clock.now + 1  # the count of the last spike is being written
                if kind in ("count", "first"):
                    yield clock.now + 1  # the answer leaves, then the tick
                if kind == "count":
                    accepts = clock.now + neurons + 1
                self.left["events_out"].append(clock.now)
                self.source.wake()
            i.take()
            yield clock.now + 1

    def play(self, *, follows: bool = True) -> list[tuple[int, int, int]]:
        """Let all inputs pass, and one more begin if it `follows`; see `play_graph`.

        Raises
        ------
        RuntimeError
            If nothing moves any more before all have passed: queues of this plan are too small.
        """
        count = len(self.batch)
        if self.since_reset is None:
            for _ in self.clock.run():  # what a delay has kept from the inputs before moves as far as it can
                pass
        start = self.clock.now
        self.source = self.clock.start(self._offer(follows=follows))
        for _ in self.clock.run():
            if len(self.first_in) > count and all(len(times) == count for times in self.left.values()):
                break
        else:
            raise RuntimeError(f"nothing moves after cycle {self.clock.now}: a queue of the plan is too small")
        last_out = [max(times) for times in zip(*self.left.values(), strict=True)]
        return [
            (first - start, last - start, following - first)
            for first, last, following in zip(self.first_in, last_out, self.first_in[1:], strict=False)
        ]
