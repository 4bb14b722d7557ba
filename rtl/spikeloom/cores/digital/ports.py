"""The ports that both engines of the digital core share, and their small common parts."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.events import event_signature
from ...items import address_bits
from ...mapping.plan import LayerPlan
from ...mapping.rows import WORD_BITS
from ...mapping.sweep import SweepPlan

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

    def _load_registers(self, m: Module, registers: tuple[Signal, ...]) -> None:
        """Write the parameter registers, one 32-bit word each."""
        if not registers:
            return
        with m.If(self.load_registers.en):
            for n, register in enumerate(registers):
                m.d.sync += register.eq(self.load_registers.data[n * WORD_BITS : (n + 1) * WORD_BITS])

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
            shown = Signal()
            m.d.comb += [self.probe.valid.eq(active & ~shown), self.probe.p.row.eq(row)]
            m.d.comb += [self.probe.p.values[n].eq(v) for n, v in enumerate(values)]
            seen = shown | (active & self.probe.ready)
            m.d.sync += shown.eq(active & seen & ~commit)
            served = served & (~active | seen)
        return served
