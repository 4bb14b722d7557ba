"""When a gang of weight-shared cores does what, for `graph_cycles`, written from the description of `cores.shared`.

A job is a step of a layer. With b_j spikes in block j, first row of indices there at cycle r, and bank j moved on at
m_j::

    rows         one per cycle from max(r, m_(j-1)) on, b_j of them
    m_j          the cycle behind the last row, and not before the last draw of block j - 1
    draws        one per cycle from m_j + 1 on: neurons of the group times digits
    done         a neuron ends its step in the cycle behind its last draw (analog tables: one later); what it waits for
                 then, draws wait for, too
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .memories import REGISTER_DEPTH
from .shared import SharedPlan

__all__ = ["QUEUE_LATENCY", "Job"]

QUEUE_LATENCY = 3
"""Cycles through a queue in a memory, without waiting; one through registers."""


@dataclass
class Job:
    """The conversions of one step of `spikes` spikes that begins at cycle `start`.

    Who holds up a neuron that is done at cycle `froze` until `resume` says so: nothing moves in between.
    """

    plan: SharedPlan
    spikes: int
    start: int

    def __post_init__(self):
        gang = self.plan.gang
        self.froze, self.resume, self.moved, self.drawn = 0, 0, 0, 0
        self.blocks = gang.blocks(self.spikes)
        self.taken = self.start + (2 if self.spikes else 0)  # when the row before the first one was, or would have been
        self.wanted = self.start + 1  # when the row before the first one was asked for
        self.latency, self.window = 0, None
        if gang.buffer is not None:
            self.window = [self.start] * gang.buffer  # when the latest rows under way were taken
            self.latency = gang.latency + (QUEUE_LATENCY if gang.buffer > REGISTER_DEPTH else 1)

    def neurons(self) -> Iterator[tuple[int, int]]:
        """(neuron of a core, cycle in which it is done) of each neuron in order, if nothing waits from there on."""
        plan, gang, number = self.plan, self.plan.gang, 0
        for group in range(plan.index_groups):
            count = plan.tail if group == plan.index_groups - 1 else gang.lanes
            for block, size in enumerate(self.blocks):
                self.moved = max(self._collected(size), self.drawn)
                digits = gang.digits(size)
                self.drawn = self.moved
                if block < len(self.blocks) - 1:
                    self._draw(count * digits)
                    continue
                for _ in range(count):
                    self._draw(digits)
                    # What is on the port of analog tables meanwhile waits, too.
                    held = self.resume - self.froze if self.drawn < self.froze <= self.drawn + gang.late else 0
                    yield number, self.drawn + 1 + gang.late + held
                    number += 1

    def _draw(self, count: int) -> None:
        """So many further draws."""
        first = self.drawn + 1
        self.drawn += count
        if self.froze <= first < self.resume:
            self.drawn += self.resume - first
        elif first < self.froze <= self.drawn:
            self.drawn += self.resume - self.froze

    def _collected(self, size: int) -> int:
        """The cycle behind the last row of the next block."""
        if not self.spikes:
            self.taken = max(self.taken + 1, self.moved)
            return self.taken + 1
        if self.window is None:
            self.taken = max(self.taken + 1, self.moved) + size - 1
            return self.taken + 1
        for _ in range(size):
            self.wanted = max(self.wanted + 1, self.window.pop(0) + 1)
            self.taken = max(self.taken + 1, self.moved, self.wanted + self.latency)
            self.window.append(self.taken)
        return self.taken + 1
