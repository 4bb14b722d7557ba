"""Forks, joins and delays: every spike leaves exactly once, in its step; no branch is read past its tick."""

from amaranth.hdl import Cat, Const, Mux, Signal, Value, signed

from spikeloom.blocks.events import EventLayout
from spikeloom.blocks.routing import Delay, Fork, Join

from .harness import Claims, Fault, Proof

__all__ = ["PROOFS"]

SOURCES, BASES = [2, 3, 4], [0, 2, 5]


def fork(c: Claims, block: Fork) -> None:
    """Each sink takes each payload once, and the source moves on when all have."""
    c.assume_stream("i", block.i)
    got = Signal(3, name="got")
    sinks = [getattr(block, f"o{n}") for n in range(3)]
    taking = [o.valid & o.ready for o in sinks]
    moves = block.i.valid & block.i.ready
    c.m.d.sync += got.eq(Mux(moves, 0, got | Cat(*taking)))
    for n, o in enumerate(sinks):
        c.check(f"o{n}_offered_once", o.valid == (block.i.valid & ~got[n]))
        c.implies(f"o{n}_same", o.valid, Value.cast(o.payload) == Value.cast(block.i.payload))
        c.implies(f"o{n}_served", moves, got[n] | taking[n])
        c.check_stream(f"o{n}", o)
    c.implies("moves_on", block.i.valid & (got | Cat(*taking)).all(), moves)
    c.invariant("remembered", got == c.inner("done"))


def join(c: Claims, block: Join) -> None:
    """What is taken in one cycle, and only that, is offered from the next one on."""
    branches = [getattr(block, f"i{n}") for n in range(len(SOURCES))]
    for n, (branch, size) in enumerate(zip(branches, SOURCES, strict=True)):
        c.assume_events(f"i{n}", branch, size)
    c.check_events("o", block.o, BASES[-1] + SOURCES[-1])
    spikes = Cat(*[branch.valid & branch.ready & ~branch.p.tick for branch in branches])
    ticks = Cat(*[branch.valid & branch.ready & branch.p.tick for branch in branches])
    offered = Cat(*[branch.valid & ~branch.p.tick for branch in branches])
    waiting = Cat(*[branch.valid & branch.p.tick for branch in branches])
    free = ~block.o.valid | block.o.ready
    c.implies("ticks_taken_together", ticks.any(), ticks.all())
    c.check("one_spike_at_a_time", ~(spikes & (spikes - 1)[: len(spikes)]).any())
    c.implies("tick_alone", ticks.any(), ~spikes.any())
    c.implies("taken_only_when_free", spikes.any() | ticks.any(), free)
    c.implies("moves_on", free & (offered.any() | waiting.all()), spikes.any() | ticks.any())
    for n, (branch, base) in enumerate(zip(branches, BASES, strict=True)):
        taken, address = c.past(spikes[n], f"taken{n}"), c.past(branch.p.address, f"address{n}")
        c.implies(f"i{n}_leaves", taken, block.o.valid & ~block.o.p.tick & (block.o.p.address == address + base))
    tick, last = c.past(ticks.all(), "tick"), c.past(branches[1].p.last, "last")
    c.implies("tick_leaves", tick, block.o.valid & block.o.p.tick & (block.o.p.last == last))
    before = c.past(spikes.any() | ticks.any() | (block.o.valid & ~block.o.ready), "before")
    c.implies("nothing_else", block.o.valid, before)


def delay(steps: int, *, clears: bool, follows: bool):
    """One address in one step, both chosen by the solver, is followed: it fires `steps` later if, and only if."""

    def claims(c: Claims, block: Delay) -> None:
        i, o = block.i, block.o
        c.assume_events("i", i, 2)
        c.check_stream("o", o)
        entered, left = i.valid & i.ready, o.valid & o.ready
        tick_in, tick_out = entered & i.p.tick, left & o.p.tick
        last_in = tick_in & i.p.last
        address, chosen = c.constant(1, "address"), c.anything(1, "chosen")
        # An address fires once in a step, which is what sizes the memory.
        fired_here = Signal(2, name="fired_here")
        spike = Cat(*[entered & ~i.p.tick & (i.p.address == n) for n in range(2)])
        c.m.d.sync += fired_here.eq(Mux(tick_in, 0, fired_here | spike))
        c.assume("once_in_a_step", ~(fired_here & spike).any())
        lead = Signal(signed(6), name="ticks_in_less_ticks_out")
        gone = Signal(range(steps + 1), name="steps_out")  # of this input, up to `steps`
        ended, done = Signal(name="ended"), Signal(name="done")
        after = lead + tick_in - tick_out
        if clears:
            c.m.d.comb += done.eq((ended | last_in) & (after == 0))
            c.m.d.sync += ended.eq((ended | last_in) & ~done)
            c.implies("no_step_past_the_end", ended & (lead == 0), ~o.valid)
        c.m.d.sync += [lead.eq(Mux(done, 0, after)), gone.eq(Mux(done, 0, gone + (tick_out & (gone != steps))))]
        if clears or follows:
            c.check("no_step_twice", lead >= -1)
        if follows:
            lasts = Signal(8, name="lasts")  # of the ticks inside, the oldest at bit 0
            inside = Mux(tick_out, lead - 1, lead)
            c.m.d.sync += lasts.eq((lasts >> tick_out) | Mux(last_in, Const(1, 8) << inside[:3], 0))
            c.implies("tick_after_its_own", o.valid & o.p.tick, lead > 0)
            c.implies("last_as_it_came", o.valid & o.p.tick, o.p.last == lasts[0])
        c.implies("first_steps_empty", o.valid & ~o.p.tick, gone == steps)
        # The followed step: begins with a choice, is recorded, then awaited.
        recording, awaited = Signal(name="recording"), Signal(name="awaited")
        fired, seen = Signal(name="fired"), Signal(name="seen")
        remaining = Signal(signed(6), name="steps_before_it")
        begins = Signal(name="step_begins", init=1)
        c.m.d.sync += begins.eq(Mux(entered, i.p.tick, begins))
        follow = begins & chosen & entered & ~awaited & ~recording
        here = entered & ~i.p.tick & (i.p.address == address)
        now = recording | follow
        shown = left & ~o.p.tick & (o.p.address == address) & (awaited | recording) & (remaining == 0)
        with c.m.If(follow):
            c.m.d.sync += [fired.eq(here), seen.eq(0), remaining.eq(lead + steps - tick_out)]
        with c.m.Elif(awaited | recording):
            c.m.d.sync += [fired.eq(fired | (here & recording)), remaining.eq(remaining - tick_out)]
            c.m.d.sync += seen.eq(seen | shown)
        c.m.d.sync += recording.eq(now & ~tick_in)
        with c.m.If(now & tick_in):
            c.m.d.sync += awaited.eq(1)
        with c.m.If((awaited & tick_out & (remaining == 0)) | done):
            c.m.d.sync += [awaited.eq(0), recording.eq(0)]
        c.implies("spike_once", shown, fired & ~seen)
        c.implies("spike_not_lost", awaited & tick_out & (remaining == 0), seen == fired)
        if not clears:
            c.implies("recorded_in_time", recording & tick_out & ~tick_in, remaining > 0)

    return claims


PROOFS = (
    Proof(
        name="fork",
        claim="Fork(3): each sink takes each payload exactly once; the source moves on when all have",
        make=lambda: Fork(EventLayout(3), 3),
        claims=fork,
        depth=3,
        faults=(
            Fault(cls=Fork, old="o.valid.eq(self.i.valid & ~done[n])", new="o.valid.eq(self.i.valid)"),
            Fault(cls=Fork, old="served.all(), served, 0", new="served.all(), done, 0"),
            Fault(cls=Fork, old="self.i.ready.eq(served.all())", new="self.i.ready.eq(served.any())"),
        ),
    ),
    Proof(
        name="join",
        claim="Join of 3: no branch read past its tick, ticks together, every spike leaves exactly once",
        make=lambda: Join(sources=SOURCES, bases=BASES, addresses=BASES[-1] + SOURCES[-1], leader=1),
        claims=join,
        depth=3,
        faults=(
            Fault(cls=Join, old="branch.ready.eq(free & (chosen | all_tick))",
                  new="branch.ready.eq(free & chosen | free & ticks[n])"),
            Fault(cls=Join, old="spikes[n] & ~taken", new="spikes[n]"),
            Fault(cls=Join, old="branch.p.address + base", new="branch.p.address"),
            Fault(cls=Join, old="branches[self._leader].p.last", new="branches[0].p.last"),
            Fault(cls=Join, old="with m.If(free):", new="with m.If(1):"),
        ),
    ),
    *(
        Proof(
            name=f"delay_{steps}{'_clears' * clears}{'_follows' * follows}",
            claim=f"Delay({steps}, clears={clears}, follows={follows}): each spike once, {steps} steps later; "
            "no step past an end",
            make=lambda steps=steps, clears=clears, follows=follows: Delay(
                2, steps=steps, capacity=3 * steps + 1, follows=follows, clears=clears, name="delay"
            ),
            claims=delay(steps, clears=clears, follows=follows),
            depth=8,
            search=8,
            induction=False,
            faults=faults,
        )
        for steps, clears, follows, faults in (
            (2, False, False, (
                Fault(cls=Delay, old="range(steps + 1), init=steps)", new="range(steps + 1), init=steps - 1)"),
                Fault(cls=Delay, old="head.ready.eq((empty == 0) & self.o.valid & self.o.ready)",
                      new="head.ready.eq(self.o.valid & self.o.ready)"),
            )),
            (1, True, False, (
                Fault(cls=Delay, old="certain = lead >= 0", new="certain = lead >= -1"),
                Fault(cls=Delay, old="lead.eq(0), empty.eq(steps)", new="lead.eq(0)"),
            )),
            (1, True, True, (
                Fault(cls=Delay, old="ended & (lead == -1)", new="ended & (lead == 0)"),
                Fault(cls=Delay, old="flags.i.payload.eq(self.i.p.last)", new="flags.i.payload.eq(0)"),
            )),
        )
    ),
)  # fmt: skip
