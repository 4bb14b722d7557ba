"""From spike flags to a stream of spike addresses, one per cycle, in ascending order, then the tick."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from ..items import EventSlots, address_bits
from .events import event_signature

__all__ = ["FlagGroup", "FlagRegister", "GroupSerialiser", "SlotSerialiser", "first_one"]


def first_one(bits: Value) -> Value:
    """One-hot mask of the lowest 1 of `bits`, in logarithmic depth."""
    below, step = bits, 1
    while step < len(bits):  # afterwards bit i says whether any of bits 0 .. i is set
        below = below | Cat(Const(0, step), below[:-step])
        step *= 2
    return bits & ~Cat(Const(0, 1), below[:-1])


def any_and_many(bits: Value) -> tuple[Value, Value]:
    """Whether at least one, and at least two, of `bits` are 1: a tree beside the search for the first one."""
    if len(bits) == 1:
        return bits[0], Const(0, 1)
    half = len(bits) // 2
    (low, two_low), (high, two_high) = any_and_many(bits[:half]), any_and_many(bits[half:])
    return low | high, two_low | two_high | (low & high)


class FlagGroup(data.StructLayout):
    """Spike flags of one group of neurons; `tick` follows them where set, `last` belongs to that tick."""

    def __init__(self, groups: int, width: int):
        super().__init__({"flags": width, "group": address_bits(groups), "tick": 1, "last": 1})


class GroupSerialiser(wiring.Component):
    """Sends the addresses `group * pitch + index` of a group's flags, then its tick; `pitch` is `width` by default.

    A group of k flags takes k cycles, one more with a tick; groups follow each other without a bubble.

    Members
    -------
    i : In(stream of FlagGroup)
        A group without flags must have a tick.
    o : Out(event stream)
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, addresses: int, *, width: int, pitch: int | None = None):
        self._width, self._pitch = width, pitch or width
        groups = -(-addresses // self._pitch)
        super().__init__({"i": In(stream.Signature(FlagGroup(groups, width))), "o": Out(event_signature(addresses))})

    def elaborate(self, platform):
        m, width = Module(), self._width
        held = Signal(self.i.payload.shape(), reset_less=True)
        valid = Signal()
        first = Signal(width)
        rest = Signal(width)
        index = Signal(range(max(2, width)))
        final = Signal()
        some, many = any_and_many(held.flags)
        m.d.comb += [
            first.eq(first_one(held.flags)),
            rest.eq(held.flags & ~first),
            index.eq(Cat(*[(Cat(*[first[n] for n in range(width) if n >> b & 1])).any() for b in range(len(index))])),
            self.o.valid.eq(valid),
            self.o.p.tick.eq(~some),
            self.o.p.last.eq(self.o.p.tick & held.last),
            self.o.p.address.eq(Mux(self.o.p.tick, 0, held.group * self._pitch + index)),
            final.eq(~some | ~(many | held.tick)),
            self.i.ready.eq(~valid | (self.o.ready & final)),
        ]
        with m.If(self.i.ready):
            m.d.sync += [valid.eq(self.i.valid), held.eq(self.i.payload)]
        with m.Elif(self.o.ready):
            m.d.sync += held.flags.eq(rest)
        return m


class FlagRegister(wiring.Component):
    """Holds the flags of a whole layer after a tick and hands them on in groups, skipping empty ones.

    Two levels keep the search for the next spike shallow: this block finds the next group that has a flag, the
    serialiser behind it the next flag of a group. The group with the last flags carries the tick.

    Members
    -------
    flags, last, load : In
        Taken when `load` is high, which is allowed from the clock edge on at which `free` was.
    free : Out(1)
        High already in the cycle in which the last group leaves, so that an empty step takes two cycles.
    o : Out(stream of FlagGroup)
    """

    o: stream.Interface

    def __init__(self, neurons: int, *, width: int):
        self._neurons, self._width, self._groups = neurons, width, -(-neurons // width)
        super().__init__(
            {
                "flags": In(neurons),
                "last": In(1),
                "load": In(1),
                "free": Out(1),
                "o": Out(stream.Signature(FlagGroup(self._groups, width))),
            }
        )

    def elaborate(self, platform):
        m, width, groups = Module(), self._width, self._groups
        flags = Signal(self._neurons, reset_less=True)
        pending = Signal()
        last = Signal(reset_less=True)
        occupied = Signal(groups)
        sent = Signal(groups)
        first = Signal(groups)
        move = Signal()
        parts = [flags[n * width : (n + 1) * width] for n in range(groups)]
        m.d.comb += [
            # Sent groups are remembered instead of cleared: the late `ready` then drives few registers.
            occupied.eq(Cat(*[part.any() for part in parts]) & ~sent),
            first.eq(first_one(occupied)),
            self.free.eq(~pending | (move & self.o.p.tick)),
            self.o.valid.eq(pending),
            self.o.p.tick.eq(~any_and_many(occupied)[1]),
            self.o.p.last.eq(last),
            move.eq(pending & self.o.ready),
        ]
        picked = [part & first[n].replicate(len(part)) for n, part in enumerate(parts)]
        for bit in range(width):
            m.d.comb += self.o.p.flags[bit].eq(Cat(*[part[bit] for part in picked if bit < len(part)]).any())
        for bit in range(len(self.o.p.group)):
            m.d.comb += self.o.p.group[bit].eq(Cat(*[first[n] for n in range(groups) if n >> bit & 1]).any())
        with m.If(self.load):
            m.d.sync += [flags.eq(self.flags), last.eq(self.last), sent.eq(0), pending.eq(1)]
        with m.Elif(move):
            m.d.sync += [sent.eq(sent | first), pending.eq(~self.o.p.tick)]
        return m


class SlotSerialiser(wiring.Component):
    """Holds the flags of a layer after a tick and sends them as words of several events, then the tick.

    A serialiser for each slot, on every E-th neuron: neuron n leaves in slot ``n mod E``. They get their flags in one
    cycle and all wait for the tick, so all of them have something to send or none has; a word takes one of each that
    is not at its tick yet. A step takes as many words as the slot with most spikes, and one for its tick.

    Members
    -------
    flags, last, load : In
        Taken when `load` is high, which is allowed from the clock edge on at which `free` was.
    free : Out(1)
    o : Out(stream of SlotsLayout)
    """

    o: stream.Interface

    def __init__(self, slots: EventSlots, *, width: int):
        self._slots, self._width = slots, width
        super().__init__(
            {
                "flags": In(slots.addresses),
                "last": In(1),
                "load": In(1),
                "free": Out(1),
                "o": Out(event_signature(slots.addresses, slots)),
            }
        )

    def elaborate(self, platform):
        m, slots = Module(), self._slots
        free, valid, ticks, senders = [], [], [], []
        for slot in range(slots.events):
            mine = [self.flags[n] for n in range(slot, slots.addresses, slots.events)] or [Const(0)]
            m.submodules[f"flags{slot}"] = held = FlagRegister(len(mine), width=self._width)
            m.submodules[f"serialiser{slot}"] = sender = GroupSerialiser(len(mine), width=self._width)
            connect(m, held.o, sender.i)
            m.d.comb += [held.flags.eq(Cat(mine)), held.last.eq(self.last), held.load.eq(self.load)]
            free.append(held.free)
            valid.append(sender.o.valid)
            ticks.append(sender.o.p.tick)
            senders.append(sender.o)
            # Neuron q E + slot has row (q E + slot) div banks.
            row = sender.o.p.address * slots.ports + slot // slots.banks
            m.d.comb += [
                self.o.p.rows[slot].eq(Mux(sender.o.p.tick, 0, row)),
                self.o.p.valid[slot].eq(~sender.o.p.tick),
            ]
        together = Signal()
        at_tick = Signal()
        m.d.comb += [
            self.free.eq(Cat(free).all()),
            together.eq(Cat(valid).all()),
            at_tick.eq(Cat(ticks).all()),
            self.o.valid.eq(together),
            self.o.p.tick.eq(at_tick),
            self.o.p.last.eq(at_tick & senders[0].p.last),
        ]
        m.d.comb += [each.ready.eq(self.o.ready & together & (at_tick | ~each.p.tick)) for each in senders]
        return m
