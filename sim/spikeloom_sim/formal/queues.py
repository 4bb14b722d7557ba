"""Queues: first in, first out, nothing lost, nothing twice, as long as any payload is followed."""

from amaranth.hdl import Array, Mux, Signal, Value

from spikeloom.blocks.events import EventQueue
from spikeloom.blocks.routing import AHEAD, REGISTER_DEPTH, MemoryQueue

from .harness import Claims, Fault, Proof

__all__ = ["PROOFS"]

BITS = 3


class Followed:
    """One payload, chosen by the solver among those that enter, and the number of payloads in front of it."""

    def __init__(self, c: Claims, i, o, capacity: int, *, forget=0):
        self.count = Signal(range(capacity + 2), name="count")
        self.inside = Signal(name="followed_inside")
        self.ahead = Signal(range(capacity + 2), name="followed_ahead")
        self.payload = Signal(len(Value.cast(i.payload)), name="followed_payload")
        chosen = c.anything(1, "chosen")
        push, pop = i.valid & i.ready, o.valid & o.ready
        c.implies("nothing_from_nothing", o.valid, self.count != 0)
        c.implies("in_order", self.inside & (self.ahead == 0) & o.valid, Value.cast(o.payload) == self.payload)
        with c.m.If(forget):
            c.m.d.sync += [self.count.eq(0), self.inside.eq(0)]
        with c.m.Else():
            c.m.d.sync += self.count.eq(self.count + push - pop)
            with c.m.If(~self.inside & push & chosen):
                c.m.d.sync += [self.inside.eq(1), self.payload.eq(i.payload), self.ahead.eq(self.count - pop)]
            with c.m.Elif(pop):
                c.m.d.sync += [self.inside.eq(self.inside & (self.ahead != 0)), self.ahead.eq(self.ahead - 1)]
        c.check("nothing_lost", ~self.inside | (self.ahead < self.count))
        c.check("no_more_than_fit", self.count <= capacity)


def wrapped(position, depth: int):
    """`position` modulo `depth`, where it is below twice that."""
    return Mux(position >= depth, position - depth, position)


def event_queue(depth: int):
    def claims(c: Claims, queue: EventQueue) -> None:
        follows = Followed(c, queue.i, queue.o, depth)
        level, read, write = (c.inner(name) for name in ("level", "read", "write"))
        entries = Array(c.inner(f"entry{n}") for n in range(depth))
        c.invariant("level_counts", level == follows.count)
        c.invariant("level_in_range", level <= depth)
        c.check("full_only_at_depth", queue.i.ready == (follows.count != depth))
        c.check("shown_as_soon_as_held", queue.o.valid == (follows.count != 0))
        c.invariant("pointers", (read < depth) & (write < depth) & (write == wrapped(read + level, depth)))
        held = entries[wrapped(read + follows.ahead, depth)]
        c.invariant("entry_kept", ~follows.inside | (held == follows.payload))
        c.check_stream("o", queue.o)

    return claims


def memory_queue(depth: int):
    def claims(c: Claims, queue: MemoryQueue) -> None:
        capacity = depth + (AHEAD if depth > REGISTER_DEPTH else 0)
        follows = Followed(c, queue.i, queue.o, capacity, forget=queue.flush)
        c.check_stream("o", queue.o, unless=queue.flush)
        if depth <= REGISTER_DEPTH:
            c.invariant("level_counts", (c.inner("queue.level") == follows.count) & (follows.count <= depth))
            read, entries = c.inner("queue.read"), Array(c.inner(f"queue.entry{n}") for n in range(depth))
            write = c.inner("queue.write")
            c.invariant("pointers", (read < depth) & (write < depth) & (write == wrapped(read + follows.count, depth)))
            held = entries[wrapped(read + follows.ahead, depth)]
            c.invariant("entry_kept", ~follows.inside | (held == follows.payload))
            c.check("full_only_at_depth", queue.i.ready == (follows.count != depth))
            return
        level, read, write = (c.inner(name) for name in ("level", "read", "write"))
        asked, room, shown_level = c.inner("asked"), c.inner("room"), c.inner("shown.level")
        shown_read, shown_write = c.inner("shown.read"), c.inner("shown.write")
        shown = Array(c.inner(f"shown.entry{n}") for n in range(AHEAD))
        rows = Array(c.inner(f"contents.body.row{n}") for n in range(depth))
        c.invariant("level_counts", level + asked + shown_level == follows.count)
        c.invariant("level_in_range", level <= depth)
        c.invariant("room_kept", room + asked + shown_level == AHEAD)
        c.implies("room_for_depth", follows.count < depth, queue.i.ready)
        c.invariant("pointers", (read < depth) & (write < depth) & (write == wrapped(read + level, depth)))
        c.invariant("shown_pointers", (shown_read < AHEAD) & (shown_write == wrapped(shown_read + shown_level, AHEAD)))
        # Where the followed payload is: shown, on its way from the memory, or in it.
        ahead, behind = follows.ahead, follows.ahead - shown_level - asked
        place = Mux(
            ahead < shown_level,
            shown[wrapped(shown_read + ahead, AHEAD)],
            Mux(asked & (ahead == shown_level), c.inner("contents.body.r_shown"), rows[wrapped(read + behind, depth)]),
        )
        c.invariant("kept", ~follows.inside | (place == follows.payload))

    return claims


def _event_queues():
    faults = (
        Fault(cls=EventQueue, old="level.eq(level + push - pop)", new="level.eq(level + push)"),
        Fault(cls=EventQueue, old="self.i.ready.eq(level != depth)", new="self.i.ready.eq(1)"),
        Fault(cls=EventQueue, old="Mux(pointer == depth - 1, 0, pointer + 1)", new="(pointer + 1)[:len(pointer)]"),
        Fault(cls=EventQueue, old="self.o.valid.eq(level != 0)", new="self.o.valid.eq((level != 0) & self.o.ready)"),
    )
    for depth in (2, 3, 5):
        yield Proof(
            name=f"event_queue_{depth}",
            claim=f"EventQueue({depth}): in order, nothing lost or twice, full at its depth, payload held",
            make=lambda depth=depth: EventQueue(BITS, depth=depth),
            claims=event_queue(depth),
            depth=4,
            # A wrong wrap of the pointers shows only where the depth is no power of two.
            faults=faults if depth == 3 else faults[:1],
        )


def _memory_queues():
    faults = (
        Fault(cls=MemoryQueue, old="ask.eq((level != 0) & (room != 0))", new="ask.eq(level != 0)"),
        Fault(cls=MemoryQueue, old="shown.i.valid.eq(asked)", new="shown.i.valid.eq(ask)"),
        Fault(cls=MemoryQueue, old="Mux(pointer == depth - 1, 0, pointer + 1)", new="(pointer + 1)[:len(pointer)]"),
        Fault(cls=MemoryQueue, old="level.eq(0), asked.eq(0)", new="level.eq(0)"),
    )
    flush = (Fault(cls=MemoryQueue, old="reset(queue)", new="queue"),)
    for depth in (2, 9, 11):
        yield Proof(
            name=f"memory_queue_{depth}",
            claim=f"MemoryQueue({depth}): the same, addresses within its memory, a flush forgets all",
            make=lambda depth=depth: MemoryQueue(BITS, depth=depth, name="queue"),
            claims=memory_queue(depth),
            depth=4,
            memories="stored",
            faults={2: flush, 9: faults, 11: faults[:1]}[depth],
        )


PROOFS = (*_event_queues(), *_memory_queues())
