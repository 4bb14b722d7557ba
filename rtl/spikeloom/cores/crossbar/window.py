"""The integration window: spikes of a whole input in, pulses of the rows out, nothing in between that could wait."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.events import event_signature
from ...blocks.sram import Sram
from ...windows import WindowTiming

__all__ = ["WindowBuffer", "WindowSequencer"]

REPEAT_BITS = 16


class WindowBuffer(wiring.Component):
    """Spikes of a window as one row of flags per step; while one window is played the next one comes in.

    A window is a whole input, or `steps` steps of a longer one.

    Members
    -------
    i : In(event stream)
    full : Out(1)
        A whole window is here: `length` (its steps less one), `starts` and `ends` (an input) are about it.
    done : In(1)
        Forget it.
    r_en, r_step, r_flags
        Read port; the flags come one cycle later and hold.
    repeated : Out(16), saturating
        Spikes of a row that had one in the step already: lost.
    """

    i: stream.Interface

    def __init__(self, rows: int, steps: int, *, name: str):
        self._rows, self._steps, self._name = rows, steps, name
        step = range(max(2, steps))
        super().__init__(
            {
                "i": In(event_signature(rows)),
                "full": Out(1),
                "length": Out(step),
                "starts": Out(1),
                "ends": Out(1),
                "done": In(1),
                "r_en": In(1),
                "r_step": In(step),
                "r_flags": Out(rows),
                "repeated": Out(REPEAT_BITS),
            }
        )

    def elaborate(self, platform):
        m, rows, steps = Module(), self._rows, self._steps
        m.submodules.spikes = memory = Sram(name=f"{self._name}.spikes", depth=2 * steps, width=rows, port_type="1r1w")
        flags = Signal(rows)
        mark = Signal(rows)
        filling, playing = Signal(), Signal()  # halves
        step = Signal(range(max(2, steps)))
        fresh = Signal(init=1)  # the window that comes in starts an input
        full, starts, ends = (Array(Signal(name=f"{name}{n}") for n in range(2)) for name in ("full", "starts", "ends"))
        lengths = Array(Signal(range(max(2, steps)), name=f"length{n}") for n in range(2))
        item = self.i
        whole, tick = Signal(), Signal()

        def half(which, index):
            return Mux(which, steps, 0) + index

        m.d.comb += [
            item.ready.eq(~full[filling]),
            tick.eq(item.valid & item.ready & item.p.tick),
            whole.eq(tick & (item.p.last | (step == steps - 1))),
            memory.w_en.eq(tick),
            memory.w_addr.eq(half(filling, step)),
            memory.w_data.eq(flags),
            memory.r_en.eq(self.r_en),
            memory.r_addr.eq(half(playing, self.r_step)),
            self.r_flags.eq(memory.r_data),
            self.full.eq(full[playing]),
            self.length.eq(lengths[playing]),
            self.starts.eq(starts[playing]),
            self.ends.eq(ends[playing]),
        ]
        with m.If(item.valid & item.ready & ~item.p.tick):
            m.d.comb += mark.eq((1 << item.p.address)[:rows])
            m.d.sync += flags.eq(flags | mark)
            with m.If((flags & mark).any() & ~self.repeated.all()):
                m.d.sync += self.repeated.eq(self.repeated + 1)
        with m.If(tick):
            m.d.sync += [flags.eq(0), step.eq(Mux(whole, 0, step + 1))]
        with m.If(whole):
            m.d.sync += [
                full[filling].eq(1),
                starts[filling].eq(fresh),
                ends[filling].eq(item.p.last),
                lengths[filling].eq(step),
                fresh.eq(item.p.last),
                filling.eq(~filling),
            ]
        with m.If(self.done):
            m.d.sync += [full[playing].eq(0), playing.eq(~playing)]
        return m


class WindowSequencer(wiring.Component):
    """Plays a window: pulses of its rows at the start of each step, step after step, without a pause.

    Members
    -------
    go : In(1)
        A window is there and may start; it then runs to its end whatever happens.
    length, starts : In
        Its steps less one, and whether membranes go to rest before it.
    idle : Out(1)
    begin : Out(1)
        `go` was taken.
    r_en, r_step : Out; r_flags : In
        Read port of its spikes.
    run, cycle, window, clear, gate : Out
        Of the analog port; all from flip-flops.
    end : Out(1)
        The last cycle of analog time but one: its spikes are no longer needed.
    """

    def __init__(self, rows: int, steps: int, timing: WindowTiming):
        self._rows, self._steps, self._timing = rows, steps, timing
        step = range(max(2, steps))
        super().__init__(
            {
                "go": In(1),
                "length": In(step),
                "starts": In(1),
                "idle": Out(1),
                "begin": Out(1),
                "end": Out(1),
                "r_en": Out(1),
                "r_step": Out(step),
                "r_flags": In(rows),
                "run": Out(1),
                "cycle": Out(range(max(2, steps * timing.step))),
                "window": Out(32),
                "clear": Out(1),
                "gate": Out(rows),
            }
        )

    def elaborate(self, platform):
        m, timing = Module(), self._timing
        clearing, fetching, running = Signal(), Signal(), Signal()
        count = Signal(range(max(2, timing.reset)))
        step = Signal(range(max(2, self._steps)))
        phase = Signal(range(max(2, timing.step)))
        elapsed = Signal.like(self.cycle)
        number = Signal(32)
        over = Signal()  # of a step
        final = Signal()
        m.d.comb += [
            self.idle.eq(~(clearing | fetching | running)),
            self.begin.eq(self.go & self.idle),
            over.eq(running & (phase == timing.step - 1)),
            final.eq(step == self.length),
            self.end.eq(over & final),
            self.r_en.eq(fetching | (over & ~final)),
            self.r_step.eq(Mux(fetching, 0, step + 1)),
        ]
        with m.If(self.begin):
            m.d.sync += [clearing.eq(self.starts), fetching.eq(~self.starts), count.eq(0)]
        with m.If(clearing):
            m.d.sync += count.eq(count + 1)
            with m.If(count == timing.reset - 1):
                m.d.sync += [clearing.eq(0), fetching.eq(1)]
        with m.If(fetching):
            m.d.sync += [fetching.eq(0), running.eq(1), step.eq(0), phase.eq(0), elapsed.eq(0)]
        with m.If(running):
            m.d.sync += [phase.eq(Mux(over, 0, phase + 1)), elapsed.eq(elapsed + 1)]
            with m.If(over):
                m.d.sync += step.eq(step + 1)
        with m.If(self.end):
            m.d.sync += [running.eq(0), number.eq(number + 1)]
        # What leaves: one cycle later, so that nothing on a gate line is ever between two values.
        open_ = running & (phase < timing.pulse)
        m.d.sync += [
            self.run.eq(running),
            self.cycle.eq(Mux(running, elapsed, 0)),
            self.window.eq(number),
            self.clear.eq(clearing),
            self.gate.eq(Mux(open_, self.r_flags, 0)),
        ]
        return m
