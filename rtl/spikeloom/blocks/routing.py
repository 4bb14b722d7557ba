"""Event streams as a graph: to several layers, from several layers, past steps. See docs/graphs.md.

All items of a step, then its tick: whatever joins or delays streams keeps to that.
"""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .events import EventLayout, EventQueue, event_signature
from .sram import Sram

__all__ = ["Delay", "Fork", "Join", "MemoryQueue"]

REGISTER_DEPTH = 8
"""Queues up to this deep are flip-flops; a memory would be larger."""
AHEAD = 3
"""Payloads read ahead of a memory: one on its way and one to show while the next is asked for."""


class MemoryQueue(wiring.Component):
    """First in, first out, of at least `depth` payloads in a memory; one payload per cycle goes through.

    Members
    -------
    i : In(stream.Signature(shape))
    o : Out(stream.Signature(shape))
    flush : In(1)
        Forgets everything, also what is taken or shown in that cycle.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, shape, *, depth: int, name: str):
        self._shape, self._depth, self._name = shape, max(2, depth), name
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape)), "flush": In(1)})

    def elaborate(self, platform):
        m, depth = Module(), self._depth
        reset = ResetInserter(self.flush)
        if depth <= REGISTER_DEPTH:
            queue = EventQueue(self._shape, depth=depth)
            m.submodules.queue = reset(queue)
            m.d.comb += [queue.i.valid.eq(self.i.valid), queue.i.payload.eq(self.i.payload)]
            m.d.comb += [self.i.ready.eq(queue.i.ready)]
            return self._show(m, queue)
        width = Shape.cast(self._shape).width
        m.submodules.contents = memory = Sram(name=f"{self._name}.items", depth=depth, width=width, port_type="1r1w")
        shown = EventQueue(self._shape, depth=AHEAD)
        m.submodules.shown = reset(shown)
        read = Signal(range(depth))
        write = Signal(range(depth))
        level = Signal(range(depth + 1))  # written, not yet asked for
        asked = Signal()
        room = Signal(range(AHEAD + 1), init=AHEAD)  # of `shown`, less what was asked for
        push = Signal()
        ask = Signal()
        pop = Signal()
        m.d.comb += [
            self.i.ready.eq(level != depth),
            push.eq(self.i.valid & self.i.ready),
            ask.eq((level != 0) & (room != 0)),
            pop.eq(shown.o.valid & shown.o.ready),
            memory.w_en.eq(push),
            memory.w_addr.eq(write),
            memory.w_data.eq(self.i.payload),
            memory.r_en.eq(ask),
            memory.r_addr.eq(read),
            shown.i.valid.eq(asked),
            shown.i.payload.eq(memory.r_data),
        ]
        m.d.sync += [level.eq(level + push - ask), asked.eq(ask), room.eq(room + pop - ask)]
        for enable, pointer in ((push, write), (ask, read)):
            with m.If(enable):
                m.d.sync += pointer.eq(Mux(pointer == depth - 1, 0, pointer + 1))
        with m.If(self.flush):
            m.d.sync += [write.eq(0), read.eq(0), level.eq(0), asked.eq(0), room.eq(AHEAD)]
        return self._show(m, shown)

    def _show(self, m: Module, queue: EventQueue) -> Module:
        m.d.comb += [
            self.o.valid.eq(queue.o.valid),
            self.o.payload.eq(queue.o.payload),
            queue.o.ready.eq(self.o.ready),
        ]
        return m


class Fork(wiring.Component):
    """Copies a stream to `count` sinks; each takes a payload when it can, the source when all have.

    Members
    -------
    i : In(stream.Signature(shape))
    o0, o1, ... : Out(stream.Signature(shape))
    """

    i: stream.Interface

    def __init__(self, shape, count: int):
        self._count = count
        ports = {f"o{n}": Out(stream.Signature(shape)) for n in range(count)}
        super().__init__({"i": In(stream.Signature(shape))} | ports)

    def elaborate(self, platform):
        m = Module()
        done = Signal(self._count)
        served = Signal(self._count)
        for n in range(self._count):
            o = getattr(self, f"o{n}")
            m.d.comb += [
                o.valid.eq(self.i.valid & ~done[n]),
                o.payload.eq(self.i.payload),
                served[n].eq(done[n] | o.ready),
            ]
        m.d.comb += self.i.ready.eq(served.all())
        m.d.sync += done.eq(Mux(self.i.valid & ~served.all(), served, 0))
        return m


class Join(wiring.Component):
    """Merges event streams: spikes of a step in any order, one tick when every branch shows its own.

    A branch that shows a tick waits there until all do, so none is read past its step; the ticks are taken together.
    Spikes of branch k get `bases[k]` added to their address. One item leaves per cycle.

    Parameters
    ----------
    sources : list of int
        Addresses of each branch lie below these.
    bases : list of int
    addresses : int
        Addresses that leave lie below this.
    leader : int
        The branch whose ticks say which one is `last`.

    Members
    -------
    i0, i1, ... : In(event stream)
    o : Out(event stream)
    """

    o: stream.Interface

    def __init__(self, *, sources: list[int], bases: list[int], addresses: int, leader: int):
        self._bases, self._leader, self._count = bases, leader, len(sources)
        ports = {f"i{n}": In(event_signature(size)) for n, size in enumerate(sources)}
        super().__init__(ports | {"o": Out(event_signature(addresses))})

    def elaborate(self, platform):
        m = Module()
        branches = [getattr(self, f"i{n}") for n in range(self._count)]
        ticks, spikes = Signal(self._count), Signal(self._count)
        free, all_tick = Signal(), Signal()
        m.d.comb += [
            ticks.eq(Cat(*[branch.valid & branch.p.tick for branch in branches])),
            spikes.eq(Cat(*[branch.valid & ~branch.p.tick for branch in branches])),
            all_tick.eq(ticks.all()),
            free.eq(~self.o.valid | self.o.ready),
        ]
        item = Signal(self.o.payload.shape())
        m.d.comb += [item.tick.eq(all_tick), item.last.eq(all_tick & branches[self._leader].p.last)]
        taken = Const(0, 1)
        for n, (branch, base) in enumerate(zip(branches, self._bases, strict=True)):
            chosen = Signal(name=f"chosen{n}")
            m.d.comb += [chosen.eq(spikes[n] & ~taken), branch.ready.eq(free & (chosen | all_tick))]
            with m.If(chosen):
                m.d.comb += item.address.eq(branch.p.address + base)
            taken = taken | spikes[n]
        with m.If(free):
            m.d.sync += [self.o.valid.eq(all_tick | spikes.any()), self.o.payload.eq(item)]
        return m


class Delay(wiring.Component):
    """Brings the spikes of step t in step t + `steps`; each input begins with that many empty steps.

    A step is let out when it is certain that the input has it, that is when the source's tick before it has come and
    was not the last (the first step always is). So nothing of an input that has ended is ever in the way of the next,
    and what the delay still holds then is forgotten at once.

    Parameters
    ----------
    addresses : int
    steps : int
        At least 1.
    capacity : int
        Items held; at least `steps` times the most items of a step, ticks included, and one more where it follows.
    follows : bool
        False: a tick is let out as soon as its step is certain, before the source's tick of that step (which may
        depend on it, in a loop); its `last` is 0. True: a tick waits for the source's and says what that says.
    clears : bool
        Whether spikes on their way are dropped at the end of an input; else they arrive in the next one, and only
        the first input of all begins with empty steps.
    name : str
        Of the memory.

    Members
    -------
    i, o : event streams
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, addresses: int, *, steps: int, capacity: int, follows: bool, clears: bool, name: str):
        if steps < 1:
            raise ValueError(f"a delay of {steps} steps; accepted is 1 or more")
        self._layout, self._steps, self._capacity = EventLayout(addresses), steps, capacity
        self._follows, self._clears, self._name = follows, clears, name
        super().__init__({"i": In(event_signature(addresses)), "o": Out(event_signature(addresses))})

    def elaborate(self, platform):
        m, steps = Module(), self._steps
        m.submodules.queue = queue = MemoryQueue(self._layout, depth=self._capacity, name=self._name)
        empty = Signal(range(steps + 1), init=steps)  # steps without a source still to be let out
        entered, passed = Signal(), Signal()  # a tick comes in, a tick goes out
        blocked = Signal()  # an input has ended inside
        certain = Const(1, 1)
        spike, tick = Signal(), Signal()
        head = queue.o
        room = Const(1, 1)
        m.d.comb += [
            spike.eq((empty == 0) & head.valid & ~head.p.tick),
            tick.eq((empty != 0) | (head.valid & head.p.tick)),
        ]
        flag = Const(1, 1)
        if self._follows:
            m.submodules.flags = flags = EventQueue(1, depth=steps + 2)
            room, flag = flags.i.ready, flags.o.valid
            m.d.comb += [
                flags.i.valid.eq(self.i.valid & self.i.p.tick & queue.i.ready & ~blocked),
                flags.i.payload.eq(self.i.p.last),
                flags.o.ready.eq(passed),
                self.o.p.last.eq(self.o.p.tick & flags.o.payload),
            ]
        if self._clears:
            # Ticks that came in and were not the last, less those that went out: the next step is certain from 0 on.
            lead = Signal(signed(len(Const(self._capacity)) + 1))
            ended = Signal()
            certain = lead >= 0
            m.d.comb += [blocked.eq(ended), queue.flush.eq(ended & (lead == -1))]
            m.d.sync += lead.eq(lead + (entered & ~self.i.p.last) - passed)
            with m.If(entered & self.i.p.last):
                m.d.sync += ended.eq(1)
            with m.If(queue.flush):
                m.d.sync += [ended.eq(0), lead.eq(0), empty.eq(steps)]
        m.d.comb += [
            queue.i.payload.eq(self.i.payload),
            queue.i.valid.eq(self.i.valid & ~blocked & (room | ~self.i.p.tick)),
            self.i.ready.eq(queue.i.ready & ~blocked & (room | ~self.i.p.tick)),
            entered.eq(self.i.valid & self.i.ready & self.i.p.tick),
            self.o.valid.eq(certain & (spike | (tick & flag))),
            self.o.p.tick.eq(tick),
            self.o.p.address.eq(Mux(tick, 0, head.p.address)),
            passed.eq(self.o.valid & self.o.ready & tick),
            head.ready.eq((empty == 0) & self.o.valid & self.o.ready),
        ]
        with m.If(passed & (empty != 0)):
            m.d.sync += empty.eq(empty - 1)
        return m
