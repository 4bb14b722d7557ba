"""A small discrete-event simulator: processes that pass items through timed streams.

A process is a generator. It yields a cycle to sleep until, ``(cycle, LATE)`` to wake behind everything that happens in
that cycle by itself, or None until somebody wakes it. In a cycle, what is on offer is known first (nothing offered in
a cycle depends on what is taken in it), then items are taken; so only who chooses between streams has to be late.

Cost: O(log processes) per event; a cycle in which nothing moves costs nothing.
"""

import heapq
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any

__all__ = ["LATE", "Clock", "Process", "Stream", "Waits"]

LATE = 1
Waits = Generator[int | tuple[int, int] | None, None, Any]
"""What a process is made of."""


class Process:
    """A generator on a clock."""

    __slots__ = ("_clock", "_generator", "_idle")

    def __init__(self, clock: "Clock", generator: Waits):
        self._clock, self._generator, self._idle = clock, generator, False

    def wake(self) -> None:
        """Go on in this cycle, if it waits to be woken."""
        if self._idle:
            self._idle = False
            self._clock.woken.append(self)

    def resume(self) -> None:
        """Go on to the next wait."""
        clock = self._clock
        clock.running = self
        until = next(self._generator, _ENDED)
        if until is None:
            self._idle = True
        elif isinstance(until, tuple):
            clock.at(until[0], self.resume, until[1])
        elif until is not _ENDED:
            clock.at(until, self.resume)


_ENDED: Any = object()


class Clock:
    """Time in cycles, and what is to happen when."""

    def __init__(self):
        self.now = 0
        self.running: Process
        self.woken: deque[Process] = deque()
        self._agenda: list[tuple[int, int, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, cycle: int, action: Callable[[], None], phase: int = 0) -> None:
        """Do `action` in a cycle that has not passed."""
        self._count += 1
        heapq.heappush(self._agenda, (cycle, phase, self._count, action))

    def start(self, generator: Waits) -> Process:
        """Start a process at time 0."""
        process = Process(self, generator)
        self.at(self.now, process.resume)
        return process

    def run(self) -> Iterator[int]:
        """Let time pass; yields the cycle after each event, until nothing is left to happen."""
        while True:
            if self.woken:
                self.woken.popleft().resume()
            elif self._agenda:
                self.now, _, _, action = heapq.heappop(self._agenda)
                action()
            else:
                return
            yield self.now


class Stream:
    """From one process to one other, with places for items between them; without any, a wire.

    On a wire an item is offered until it is taken. With `depth` places an offered item enters when one is free, can
    be taken `latency` cycles later, and its place can be used again `reuse` cycles after it was taken: 1 as in
    a queue, or 0 as in a pipeline register. Offers, and takings, are at least a cycle apart.
    """

    def __init__(self, clock: Clock, *, depth: int = 0, latency: int = 1, reuse: int = 1):
        self._clock, self._depth, self._latency, self._reuse = clock, depth, latency, reuse
        self.offered: Any = None
        self.entered = 0
        """Cycle in which the latest item entered."""
        self._held: deque[tuple[int, Any]] = deque()  # with the cycle from which it can be taken
        self._used = 0
        self._shown = False  # the first of `held` can be taken
        self._reader: Process | None = None
        self._writer: Process | None = None

    # ---- the giving side ----

    def offer(self, item: Any) -> None:
        """Offer `item`, which is not None, from now on."""
        self.offered = item
        if self._depth:
            self._enter()
        else:
            self._wake_reader()

    def given(self) -> Waits:
        """Wait until what was offered is taken, or has entered."""
        while self.offered is not None:
            self._writer = self._clock.running
            yield None

    @property
    def has_room(self) -> bool:
        """Whether an item that is offered now enters at once."""
        return self._used < self._depth

    def room(self) -> Waits:
        """Wait until there is room."""
        while not self.has_room:
            self._writer = self._clock.running
            yield None

    def _enter(self) -> None:
        if self.offered is None or self._used == self._depth:
            return
        item, self.offered, self.entered = self.offered, None, self._clock.now
        if self._keeps(item):
            self._used += 1
            self._held.append((self.entered + self._latency, item))
            if len(self._held) == 1:
                self._clock.at(self.entered + self._latency, self._show)
        self._wake_writer()

    def _keeps(self, item: Any) -> bool:
        """Whether an item that enters comes out again."""
        return True

    def _free(self) -> None:
        self._used -= 1
        self._enter()
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.wake()

    # ---- the taking side ----

    def peek(self) -> Any:
        """The item that can be taken now, or None."""
        if not self._depth:
            return self.offered
        return self._held[0][1] if self._shown else None

    def watch(self) -> None:
        """Wake the running process when an item can be taken."""
        self._reader = self._clock.running

    def head(self) -> Waits:
        """Wait until an item can be taken; returns it, still to be taken."""
        while (item := self.peek()) is None:
            self._reader = self._clock.running
            yield None
        return item

    def take(self) -> None:
        """Take the item that is shown."""
        if not self._depth:
            self.offered = None
            self._wake_writer()
            return
        self._held.popleft()
        self._shown = False
        now = self._clock.now
        if self._held:
            self._clock.at(max(self._held[0][0], now + 1), self._show)
        if self._reuse:
            self._clock.at(now + self._reuse, self._free)
        else:
            self._free()

    def clear(self) -> None:
        """Forget all items, also those on their way."""
        self._used -= len(self._held)
        self._held.clear()
        self._shown = False
        self._wake_writer()

    def _show(self) -> None:
        if self._held and self._held[0][0] <= self._clock.now:
            self._shown = True
            self._wake_reader()

    def _wake_reader(self) -> None:
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.wake()
