"""The ports that all engines share, and their small common parts."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect

from ..blocks.events import EventQueue, event_signature
from ..blocks.serialiser import GroupSerialiser
from ..blocks.sram import Sram
from ..items import address_bits
from ..mapping.plan import LayerPlan
from ..mapping.rows import WORD_BITS
from ..mapping.sweep import SweepPlan

__all__ = ["LayerEngine", "LoadRow", "ReadoutLayout"]


class ReadoutLayout(data.StructLayout):
    """One value of a read-out; `last` marks the last neuron of the last step of an input."""

    def __init__(self, neurons: int, bits: int):
        super().__init__({"index": address_bits(neurons), "value": signed(bits), "last": 1})


class LoadRow(wiring.Signature):
    """One row for one memory or register set: taken when `en` is high."""

    def __init__(self, rows: int, bits: int):
        super().__init__({"en": Out(1), "row": Out(address_bits(rows)), "data": Out(bits)})


class LayerEngine(wiring.Component):
    """Base of the engines: one layer, events in, events out.

    Members
    -------
    i, o : event streams; words of several events where the plan has slots for them
    readout : Out(stream of ReadoutLayout), read-outs only
    probe : Out(stream {row, values}), where probed: the potentials of a group after the step
    load_weights, load_bias, load_parameters, load_registers : In(LoadRow), where loaded at run time
    """

    i: stream.Interface
    o: stream.Interface
    outside: tuple[str, ...] = ()
    """Further members that the accelerator hands on as MEMBER_LAYER."""

    def __init__(
        self, plan: LayerPlan | SweepPlan, *, queue_depth: int, spike_queue: int, readout_ticks: bool, probe: bool
    ):
        layer = plan.layer
        self.plan = plan
        self._queue_depth, self._spike_queue, self._readout_ticks = queue_depth, spike_queue, readout_ticks
        self._fires = layer.threshold is not None
        self._probed = probe
        into, out = (plan.slots, plan.output_slots) if isinstance(plan, LayerPlan) else (None, None)
        ports = {
            "i": In(event_signature(plan.input_addresses, into)),
            "o": Out(event_signature(plan.output_addresses, out)),
        }
        if not self._fires:
            ports["readout"] = Out(stream.Signature(ReadoutLayout(layer.neurons, layer.potential_bits)))
        if probe:
            values = data.ArrayLayout(signed(layer.potential_bits), plan.lanes)
            row = address_bits(plan.groups)
            ports["probe"] = Out(stream.Signature(data.StructLayout({"row": row, "values": values})))
        for kind, rows, bits in plan.regions:
            ports[f"load_{kind}"] = In(LoadRow(rows, bits))
        super().__init__(ports)

    def _load_registers(self, m: Module, registers: tuple[Signal, ...], port: str = "load_registers") -> None:
        """Write the parameter registers, one 32-bit word each."""
        if not registers:
            return
        load = getattr(self, port)
        with m.If(load.en):
            for n, register in enumerate(registers):
                m.d.sync += register.eq(load.data[n * WORD_BITS : (n + 1) * WORD_BITS])

    def _entrance(self, m: Module):
        """The stream of items, behind a queue where one is asked for."""
        if not self._queue_depth:
            return self.i
        m.submodules.queue = queue = EventQueue(self.i.payload.shape(), depth=self._queue_depth)
        i = queue.i
        m.d.comb += [i.valid.eq(self.i.valid), i.payload.eq(self.i.payload), self.i.ready.eq(i.ready)]
        return queue.o

    def _weight_memory(self, m: Module) -> Sram:
        """Rows of weights, a lane beside the other; loaded where they are not fixed."""
        plan = self.plan
        fixed = plan.weights == "fixed"
        m.submodules.weights = weights = Sram(
            name=f"{plan.name}.weights",
            depth=plan.weight_depth,
            width=plan.weight_row_bits,
            port_type="rom" if fixed else "1r1w",
            contents=plan.weight_rows() if fixed else (),
            exclusive=True,  # loaded only while no input is under way
        )
        if not fixed:
            _write_rows(m, weights, self.load_weights)
        return weights

    def _bias_memory(self, m: Module) -> Sram:
        """Rows of biases; written at run time where they are loaded."""
        plan = self.plan
        m.submodules.biases = biases = Sram(
            name=f"{plan.name}.biases",
            depth=plan.groups,
            width=plan.lanes * plan.bias_bits,
            port_type="1r1w" if plan.bias_loaded else "rom",
            contents=plan.bias_rows(),
        )
        if plan.bias_loaded:
            _write_rows(m, biases, self.load_bias)
        return biases

    def _serialised(self, m: Module, *, pitch: int | None = None):
        """The stream of flag groups whose spikes leave on `o`, through the spike queue where there is one."""
        m.submodules.serialiser = serialiser = GroupSerialiser(
            self.plan.output_addresses, width=self.plan.lanes, pitch=pitch
        )
        spikes = serialiser.i
        if self._spike_queue:
            m.submodules.spikes = queue = EventQueue(spikes.payload.shape(), depth=self._spike_queue)
            connect(m, queue.o, serialiser.i)
            spikes = queue.i
        o = serialiser.o
        m.d.comb += [self.o.valid.eq(o.valid), self.o.payload.eq(o.payload), o.ready.eq(self.o.ready)]
        return spikes

    def _hand_on(self, m: Module, spikes, advance, *, active, served, flags: list, group, final, last) -> None:
        """Give the spikes of a row to `spikes`, if it has any, and the tick with the `final` row.

        Drives `advance`: whether the row may go, while `active` when all its readers are `served` and it was taken.
        """
        pushes = Signal()
        m.d.comb += [
            spikes.p.flags.eq(Cat(*flags)),
            spikes.p.group.eq(group),
            spikes.p.tick.eq(final),
            spikes.p.last.eq(last),  # goes with the tick only
            pushes.eq(active & (final | spikes.p.flags.any())),
            spikes.valid.eq(pushes & served),
            advance.eq(~active | (served & (~pushes | spikes.ready))),
        ]

    def _show(self, m: Module, probe, *, active, commit, row, values: list, name: str = "shown") -> Value:
        """Show the potentials `values` of group `row` on a probe once, while `active`; returns whether that is done."""
        shown = Signal(name=name)
        m.d.comb += [probe.valid.eq(active & ~shown), probe.p.row.eq(row)]
        m.d.comb += [probe.p.values[n].eq(v) for n, v in enumerate(values)]
        seen = shown | (active & probe.ready)
        m.d.sync += shown.eq(active & seen & ~commit)
        return ~active | seen

    def _report(self, m: Module, *, active, commit, last, row, values: list, count) -> Value:
        """Show the potentials `values` of group `row` to whoever reads them, while `active`.

        `count` of them belong to neurons. Returns whether every reader has been served, in the cycle of the last
        transfer already; `commit` ends the showing. Each reader sees each group exactly once.
        """
        plan, served = self.plan, Const(1)
        if not self._fires:
            wanted = active & (last | int(self._readout_ticks))
            lane = Signal(range(max(2, len(values))))
            sent = Signal()
            at_end = Signal()
            passed = self.readout.valid & self.readout.ready
            m.d.comb += [
                at_end.eq(lane == count - 1),
                self.readout.valid.eq(wanted & ~sent),
                self.readout.p.index.eq(row * plan.lanes + lane),
                self.readout.p.value.eq(Array(values)[lane]),
                self.readout.p.last.eq(last & at_end & (row == plan.groups - 1)),
            ]
            with m.If(passed):
                m.d.sync += [lane.eq(Mux(at_end, 0, lane + 1)), sent.eq(at_end)]
            with m.If(commit):
                m.d.sync += sent.eq(0)
            served = ~wanted | sent | (passed & at_end)
        if self._probed:
            served = served & self._show(m, self.probe, active=active, commit=commit, row=row, values=values)
        return served


def _write_rows(m: Module, memory: Sram, load) -> None:
    """Let the load port write whole rows."""
    m.d.comb += [memory.w_en.eq(load.en), memory.w_addr.eq(load.row), memory.w_data.eq(load.data)]
