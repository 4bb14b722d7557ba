"""One layer on a crossbar: events in, windows on the analog port, events out."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ...blocks.events import event_signature
from ...blocks.routing import MemoryQueue
from ...blocks.serialiser import GroupSerialiser
from ...mapping.crossbar import CrossbarPlan
from ..ports import LayerEngine
from .capture import COUNTER_BITS, SpikeCapture
from .port import AnalogPort
from .programmer import CommandLayout, OutcomeLayout, Programmer
from .window import WindowBuffer, WindowSequencer

__all__ = ["COUNTERS", "CrossbarEngine", "StampLayout"]

COUNTERS = ("captured", "near_ties", "repeated", "stray", "merged")
"""Counters of a layer: four of the capture, and spikes of a row that had one in the step already."""


class StampLayout(data.StructLayout):
    """Time stamps of a step: `flags` of the neurons that spiked, the cycle of the step in which each did, `last`."""

    def __init__(self, columns: int, bits: int):
        super().__init__({"flags": columns, "cycles": data.ArrayLayout(bits, columns), "last": 1})


class CrossbarEngine(LayerEngine):
    """A layer whose synapses are cells and whose neurons are analog circuits.

    A window starts when all spikes of an input have come in (or `steps` steps of a longer one) and all its steps have
    room in the queue behind the capture: from then on nothing can hold it up, and nothing has to. Time within a step
    does not pass from layer to layer: a spike of step t, whenever in it, pulses its row at the start of step t of the
    next layer's window.

    Members
    -------
    i, o : event streams
    analog : AnalogPort
    command, outcome : programming streams; a command waits for the end of a window, a window for that of a command
    stamps : Out(stream of StampLayout), where kept: one per step
    captured, near_ties, repeated, stray, merged : Out(16)
    """

    plan: CrossbarPlan

    def __init__(self, plan: CrossbarPlan):
        self.plan = plan
        self._fires = True
        self.outside = ("analog", "command", "outcome", *(("stamps",) if plan.stamps else ()), *COUNTERS)
        rows, columns = plan.rows, plan.columns
        self._capture = SpikeCapture(columns, plan.timing, stamps=plan.stamps)
        ports = {
            "i": In(event_signature(rows)),
            "o": Out(event_signature(columns)),
            "analog": Out(AnalogPort(rows, columns, cells=plan.cells, cycles=plan.cycles)),
            "command": In(stream.Signature(CommandLayout(rows, columns, plan.cells))),
            "outcome": Out(stream.Signature(OutcomeLayout())),
        } | {name: Out(COUNTER_BITS) for name in COUNTERS}
        self._stamps = StampLayout(columns, self._capture.stamp_bits)
        if plan.stamps:
            ports["stamps"] = Out(stream.Signature(self._stamps))
        wiring.Component.__init__(self, ports)

    def elaborate(self, platform):
        m, plan = Module(), self.plan
        columns, steps = plan.columns, plan.steps
        m.submodules.buffer = buffer = WindowBuffer(plan.rows, steps, name=plan.name)
        m.submodules.sequencer = sequencer = WindowSequencer(plan.rows, steps, plan.timing)
        m.submodules.capture = capture = self._capture
        m.submodules.programmer = programmer = Programmer(
            plan.rows, columns, plan.cells, plan.write_verify, name=plan.name
        )
        layout = self._stamps if plan.stamps else data.StructLayout({"flags": columns, "last": 1})
        # Rows of spike flags: `promised` counts those that are in the queue and those that a window may still bring.
        m.submodules.queue = queue = MemoryQueue(layout, depth=plan.queue_rows, name=plan.name)
        m.submodules.serialiser = serialiser = GroupSerialiser(columns, width=columns)
        connect(m, flipped(self.i), buffer.i)
        connect(m, programmer.command, flipped(self.command))
        connect(m, flipped(self.outcome), programmer.outcome)
        connect(m, programmer.access, flipped(self.analog.access))
        connect(m, flipped(self.analog.answer), programmer.answer)

        promised = Signal(range(plan.queue_rows + 1))
        popped, begins = Signal(), Signal()
        virgin = Signal(init=1)  # no window yet: membranes are anywhere
        with m.If(begins):
            m.d.sync += virgin.eq(0)
        free = Signal()  # the array is at rest: nothing runs and no spike is on its way
        m.d.comb += [
            free.eq(sequencer.idle & ~capture.busy),
            programmer.granted.eq(free),
            sequencer.go.eq(free & buffer.full & ~programmer.wanted & (promised + buffer.length < plan.queue_rows)),
            begins.eq(sequencer.begin),
            sequencer.length.eq(buffer.length),
            sequencer.starts.eq(buffer.starts & int(plan.clears) | virgin),
            buffer.done.eq(sequencer.end),
            buffer.r_en.eq(sequencer.r_en),
            buffer.r_step.eq(sequencer.r_step),
            sequencer.r_flags.eq(buffer.r_flags),
            capture.run.eq(sequencer.run),
            capture.spike.eq(self.analog.spike),
        ]
        m.d.sync += promised.eq(promised + Mux(begins, buffer.length + 1, 0) - popped)
        m.d.comb += [
            getattr(self.analog, name).eq(getattr(sequencer, name))
            for name in ("run", "cycle", "window", "clear", "gate")
        ]
        # The last step of an input, as the capture will see it.
        length, ends = Signal.like(buffer.length), Signal()
        step = Signal.like(buffer.length)
        with m.If(begins):
            m.d.sync += [length.eq(buffer.length), ends.eq(buffer.ends), step.eq(0)]
        with m.Elif(capture.step):
            m.d.sync += step.eq(step + 1)
        m.d.comb += [
            queue.i.valid.eq(capture.step),
            queue.i.p.flags.eq(capture.flags),
            queue.i.p.last.eq(ends & (step == length)),
        ]

        spikes = serialiser.i
        m.d.comb += [
            spikes.p.flags.eq(queue.o.p.flags),
            spikes.p.tick.eq(1),
            spikes.p.last.eq(queue.o.p.last),
            popped.eq(queue.o.valid & queue.o.ready),
        ]
        if plan.stamps:
            m.d.comb += queue.i.p.cycles.eq(capture.stamps)
            sent, shown = Signal(), Signal()  # to the serialiser, to whoever reads the stamps
            m.d.comb += [
                spikes.valid.eq(queue.o.valid & ~sent),
                self.stamps.valid.eq(queue.o.valid & ~shown),
                self.stamps.payload.eq(queue.o.payload),
                queue.o.ready.eq((sent | spikes.ready) & (shown | self.stamps.ready)),
            ]
            m.d.sync += [
                sent.eq(~popped & queue.o.valid & (sent | spikes.ready)),
                shown.eq(~popped & queue.o.valid & (shown | self.stamps.ready)),
            ]
        else:
            m.d.comb += [spikes.valid.eq(queue.o.valid), queue.o.ready.eq(spikes.ready)]
        connect(m, serialiser.o, flipped(self.o))
        m.d.comb += [
            self.captured.eq(capture.captured),
            self.near_ties.eq(capture.near_ties),
            self.repeated.eq(capture.repeated),
            self.stray.eq(capture.stray),
            self.merged.eq(buffer.repeated),
        ]
        return m
