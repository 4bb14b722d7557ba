"""Spike serialisers and the pass merger: each flag leaves once, in ascending order, then the tick."""

from amaranth.hdl import Array, Cat, Const, Mux, Signal
from amaranth.lib import data

from spikeloom.blocks.serialiser import FlagRegister, GroupSerialiser
from spikeloom.cores.digital.grouped import PassMerger

from .harness import Claims, Fault, Proof

__all__ = ["PROOFS"]


def lower(flags, index):
    """The flags below `index`."""
    return flags & ((Const(1, len(flags)) << index) - 1)[: len(flags)]


def group_serialiser(width: int, pitch: int, addresses: int):
    def claims(c: Claims, block: GroupSerialiser) -> None:
        i, o = block.i, block.o
        groups = -(-addresses // pitch)
        neurons = Cat(*[(i.p.group == g) & i.p.flags[n] for g in range(groups) for n in range(width)
                        if g * pitch + n >= addresses])  # fmt: skip
        c.assume_stream("i", i, (i.p.tick | i.p.flags.any()) & (i.p.group < groups) & ~neurons.any())
        c.check_events("o", o, addresses)
        # Beside it: what is still to leave of the group that was taken.
        flags, tick, last = Signal(width, name="to_leave"), Signal(name="tick_to_leave"), Signal(name="its_last")
        group = Signal(len(i.p.group), name="its_group")
        entered, left = i.valid & i.ready, o.valid & o.ready
        index = (o.p.address - group * pitch)[: max(1, (pitch - 1).bit_length())]
        spike, ends = left & ~o.p.tick, left & o.p.tick
        rest = Signal(width, name="rest")
        c.m.d.comb += rest.eq(Mux(spike, flags & ~(Const(1, width) << index), flags))
        c.m.d.sync += [flags.eq(rest), tick.eq(tick & ~ends)]
        with c.m.If(entered):
            c.m.d.sync += [flags.eq(i.p.flags), tick.eq(i.p.tick), last.eq(i.p.last), group.eq(i.p.group)]
        offered = o.valid & ~o.p.tick
        c.implies("spike_of_the_group", offered, (o.p.address >= group * pitch) & (o.p.address < group * pitch + width))
        c.implies("only_set_flags", offered, (flags >> index)[0])
        c.implies("ascending", offered, ~lower(flags, index).any())
        c.implies("tick_after_the_flags", o.valid & o.p.tick, tick & ~flags.any() & (o.p.last == last))
        c.implies("all_left_before_the_next", entered, ~rest.any() & ~(tick & ~ends))
        c.check("offers_what_it_has", o.valid == (flags.any() | tick))
        # Full rate: with the last item of a group leaving, the next group enters.
        c.implies("no_bubble", ~rest.any() & ~(tick & ~ends), i.ready)
        held, valid = data.View(i.p.shape(), c.inner("held")), c.inner("valid")
        c.invariant("held", ~valid | ((held.flags == flags) & (held.tick == tick)))
        c.invariant("group", ~valid | ((held.group == group) & (held.last == last) & (group < groups)))
        c.invariant("valid", valid == (flags.any() | tick))
        beyond = [g * pitch + n >= addresses for g in range(groups) for n in range(width)]
        c.invariant("no_flag_beyond", ~Cat(*[(group == k // width) & flags[k % width] for k, out in enumerate(beyond)
                                             if out]).any())  # fmt: skip

    return claims


def flag_register(neurons: int, width: int):
    def claims(c: Claims, block: FlagRegister) -> None:
        o, groups = block.o, -(-neurons // width)
        allowed = Signal(name="allowed")  # `free` was high since the last load
        c.m.d.sync += allowed.eq(Mux(block.load, 0, allowed | block.free))
        c.assume("loads_only_when_free", ~block.load | allowed)
        c.check_stream("o", o)
        flags, owed, last = Signal(neurons, name="to_leave"), Signal(name="tick_to_leave"), Signal(name="its_last")
        left = o.valid & o.ready
        parts = [flags[g * width : (g + 1) * width] for g in range(groups)]
        mine = Array(Cat(part, Const(0, width - len(part))) if len(part) < width else part for part in parts)
        rest = Cat(*[part & ~(left & (o.p.group == g)).replicate(len(part)) for g, part in enumerate(parts)])
        c.m.d.sync += [flags.eq(rest), owed.eq(owed & ~(left & o.p.tick))]
        with c.m.If(block.load):
            c.m.d.sync += [flags.eq(block.flags), owed.eq(1), last.eq(block.last)]
        others = Cat(*[part.any() & (o.p.group != g) for g, part in enumerate(parts)]).any()
        below = [parts[g].any() & (g < o.p.group) for g in range(groups)]
        c.check("offers_what_it_has", o.valid == owed)
        c.implies("group_in_range", o.valid, o.p.group < groups)
        c.implies("its_flags", o.valid, o.p.flags == mine[o.p.group])
        c.implies("ascending", o.valid, ~Cat(*below).any())
        c.implies("no_empty_group", o.valid & ~o.p.tick, o.p.flags.any())
        c.implies(
            "tick_with_the_last",
            o.valid & o.p.tick,
            ~others,
        )
        c.implies("no_late_tick", o.valid & ~o.p.tick, others)
        c.implies("last_as_it_came", o.valid, o.p.last == last)
        c.implies("nothing_lost", block.load, ~owed)
        c.implies("free_at_the_end", left & o.p.tick, block.free)
        c.implies("free_means_left", block.free, ~owed | (left & o.p.tick))
        held, sent, pending = c.inner("flags"), c.inner("sent"), c.inner("pending")
        for g, part in enumerate(parts):
            own = held[g * width : (g + 1) * width]
            c.invariant(f"held{g}", ~pending | (part == (own & ~sent[g].replicate(len(own)))))
        c.invariant("pending", (pending == owed) & (~pending | (c.inner("last") == last)))
        c.invariant("idle", ~allowed | ~owed)

    return claims


def pass_merger(c: Claims, block: PassMerger) -> None:
    """Spikes in order, one a pass, each merged with the tick that follows it directly."""
    i, o = block.i, block.o
    c.assume_events("i", i, 5)
    waiting, address = Signal(name="spike_inside"), Signal(3, name="its_address")
    entered, left = i.valid & i.ready, o.valid & o.ready
    with c.m.If(entered & ~i.p.tick):
        c.m.d.sync += [waiting.eq(1), address.eq(i.p.address)]
    with c.m.Elif(left):
        c.m.d.sync += waiting.eq(0)
    c.check_stream("o", o)
    c.implies("spike_as_it_came", o.valid & o.p.event, waiting & (o.p.address == address))
    c.implies("spike_before_the_next", entered & waiting, left & o.p.event)
    c.implies("spike_never_skipped", left & waiting, o.p.event)
    c.implies("tick_as_it_came", o.valid, o.p.tick == i.p.tick)
    c.implies("last_as_it_came", o.valid, o.p.last == i.p.last)
    c.implies("tick_once", left & o.p.tick, entered)
    c.implies("tick_not_lost", entered & i.p.tick, left & o.p.tick)
    c.implies("no_empty_pass", o.valid, o.p.event | o.p.tick)
    c.invariant("waiting", (c.inner("waiting") == waiting) & (~waiting | (c.inner("address") == address)))


PROOFS = (
    *(
        Proof(
            name=f"group_serialiser_{width}_{pitch}",
            claim=f"GroupSerialiser({addresses}, width={width}, pitch={pitch}): flags once, ascending, then the tick",
            make=lambda width=width, pitch=pitch, addresses=addresses: GroupSerialiser(
                addresses, width=width, pitch=pitch
            ),
            claims=group_serialiser(width, pitch, addresses),
            depth=3,
            faults=(
                Fault(cls=GroupSerialiser, old="~some | ~(many | held.tick)", new="~some | ~many"),
                Fault(cls=GroupSerialiser, old="rest.eq(held.flags & ~first)",
                      new="rest.eq(held.flags & (held.flags - 1) & ~(held.flags >> 1))"),
                Fault(cls=GroupSerialiser, old="held.group * self._pitch + index",
                      new="held.group * self._width + index"),
                Fault(cls=GroupSerialiser, old="first.eq(first_one(held.flags))",
                      new="first.eq(first_one(held.flags[::-1])[::-1])"),
            )[: 4 if width == 3 else 1],
        )
        for width, pitch, addresses in ((1, 1, 3), (3, 4, 11), (4, 4, 10))
    ),
    *(
        Proof(
            name=f"flag_register_{neurons}_{width}",
            claim=f"FlagRegister({neurons}, width={width}): groups with flags once, ascending, the last with the tick",
            make=lambda neurons=neurons, width=width: FlagRegister(neurons, width=width),
            claims=flag_register(neurons, width),
            depth=3,
            faults=(
                Fault(cls=FlagRegister, old="pending.eq(~self.o.p.tick)", new="pending.eq(0 if groups > 1 else 1)"),
                Fault(cls=FlagRegister, old="sent.eq(sent | first)", new="sent.eq(first)"),
                Fault(cls=FlagRegister, old="~any_and_many(occupied)[1]", new="~any_and_many(occupied)[0]"),
                Fault(cls=FlagRegister, old="self.free.eq(~pending | (move & self.o.p.tick))",
                      new="self.free.eq(~pending | move)"),
            )[: 4 if neurons == 10 else 1],
        )
        for neurons, width in ((1, 1), (10, 4))
    ),
    Proof(
        name="pass_merger",
        claim="PassMerger: spikes in order, one a pass, none skipped; a tick rides on the spike before it",
        make=lambda: PassMerger(5),
        claims=pass_merger,
        depth=3,
        faults=(
            Fault(cls=PassMerger, old="self.o.ready | ~(waiting | tick)", new="self.o.ready | ~waiting"),
            Fault(cls=PassMerger, old="waiting.eq(~tick)", new="waiting.eq(~tick & ~waiting)"),
        ),
    ),
)  # fmt: skip
