"""A core with everything that a system needs around it: registers on a bus, AXI4-Streams, results, counters.

::

    s_axis_events -> queue -+-> gate (run) -> core -> results -+-> queue -> m_axis_events
    event_in      -> queue -+                                  +-> queue -> event_out

Answers of the decision unit, values of a read-out and image words go the same two ways. The queues of the AXI4-Streams
that leave stand outside of the soft reset: a word that is offered stays until it is taken.
"""

from collections.abc import Callable
from typing import Literal

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..blocks.sram import ExportPlatform
from ..cores.accelerator import Accelerator
from .axi_lite import AxiLiteSlave, axi_lite_ports
from .axi_stream import AxiStreamSink, AxiStreamSource, axi_stream_ports
from .csr import RegisterBank
from .map import COUNTER_BITS, COUNTERS, host_registers, parameter_registers
from .parameters import ParameterWriter
from .ports import REGISTERS, InputPort, OutputPort, PushQueue
from .registers import REGISTER_BITS
from .results import SpikeResults, ValueResults
from .wishbone import WishboneSlave, wishbone_ports

__all__ = ["HostedAccelerator"]

IN_FLIGHT_BITS = 8
KNOWN = ("events_in", "events_out", "decision", "readout", "load", "load_refused", "load_complete", "dropped")
"""Members of a core that are led to registers and streams; any other output leaves as it is."""


class HostedAccelerator(wiring.Component):
    """The top of a design with a host.

    Parameters
    ----------
    core : Accelerator
    bus : "axi4-lite" or "wishbone"
    name : str
        Of the core's Verilog module, which exported Verilog instantiates.

    Members
    -------
    s_axi_<signal>, or wb_<signal> : the bus
    s_axis_events_<signal>, m_axis_events_<signal> : AXI4-Streams of events
    m_axis_answers_<signal>, where there is a decision unit
    m_axis_values_<signal>, of a read-out
    s_axis_load_<signal>, where anything is loaded
    irq : Out(1)
    probe_<layer> and what else the core puts out : as of the core
    """

    def __init__(self, core: Accelerator, *, bus: Literal["axi4-lite", "wishbone"], name: str):
        plan = core.plan
        self.core, self.plan, self.registers, self._name = core, plan, host_registers(plan, name), name
        self._prefix = "s_axi" if bus == "axi4-lite" else "wb"
        bits = self.registers.address_bits
        self._slave = AxiLiteSlave(bits) if bus == "axi4-lite" else WishboneSlave(bits)
        bus_ports = axi_lite_ports(bits) if bus == "axi4-lite" else wishbone_ports(bits)
        members = self.core.signature.members
        self._outputs: dict[str, str] = {"events": "events_out"}
        self._outputs |= {
            short: name for short, name in (("answers", "decision"), ("values", "readout")) if name in members
        }
        ports = {f"{self._prefix}_{port}": member for port, member in bus_ports.items()}
        ports |= _named("s_axis_events", axi_stream_ports(self.core.events_in.payload.shape(), source=False))
        for short, member in self._outputs.items():
            shape = getattr(self.core, member).payload.shape()
            ports |= _named(f"m_axis_{short}", axi_stream_ports(shape, source=True))
        if plan.loads:
            ports |= _named("s_axis_load", axi_stream_ports(self.core.load.payload.shape(), source=False))
        ports["irq"] = Out(1)
        self._further = [name for name in members if name not in KNOWN]
        super().__init__(ports | {name: members[name] for name in self._further})

    def elaborate(self, platform):
        m, plan, core = Module(), self.plan, self.core
        m.submodules.bus = self._slave
        m.submodules.bank = bank = RegisterBank(self.registers)
        wiring.connect(m, self._slave.bus, bank.bus)
        self._lead(m, self._prefix, self._slave, [name for name in self._slave.signature.members if name != "bus"])
        soft = Signal()
        m.d.comb += soft.eq(bank.command.value.soft_reset)
        soft_reset = ResetInserter(soft)
        self._place_core(m, platform, soft)
        control = bank.control.value

        # Events into the core.
        m.submodules.entrance = entrance = soft_reset(InputPort(core.events_in.payload.shape()))
        sink = self._stream_in(m, "s_axis_events", core.events_in.payload.shape(), soft_reset)
        _pipe(m, sink.o, entrance.i)
        _pipe(m, entrance.o, core.events_in)
        m.d.comb += [
            entrance.open.eq(control.run),
            entrance.source.eq(control.events_source),
            entrance.w_en.eq(bank.event_in.w_en),
            Value.cast(entrance.w_data).eq(Value.cast(bank.event_in.w_data)),
            bank.event_in.room.eq(entrance.room != 0),
            bank.event_room.value.room.eq(entrance.room),
        ]

        # What the core says, past the results, to streams or registers.
        fires = plan.network.layers[-1].threshold is not None
        if fires:
            results = SpikeResults(plan.layers[-1].output_addresses, steps=plan.steps)
        else:
            results = ValueResults(core.readout.payload.shape(), neurons=plan.network.outputs)
        m.submodules.results = results = soft_reset(results)
        _pipe(m, core.events_out if fires else core.readout, results.i)
        stalls = []
        for short, member in self._outputs.items():
            source = getattr(core, member)
            stalls.append(source.valid & ~source.ready)
            leaving = results.o if member == ("events_out" if fires else "readout") else source
            m.submodules[f"{short}_port"] = port = soft_reset(OutputPort(source.payload.shape()))
            m.submodules[f"m_axis_{short}"] = stream_out = AxiStreamSource(source.payload.shape())
            _pipe(m, leaving, port.i)
            _pipe(m, port.o, stream_out.i)
            m.d.comb += port.sink.eq(getattr(control, f"{short}_sink"))
            self._lead(m, f"m_axis_{short}", stream_out, ["tdata", "tvalid", "tready", "tlast"])
            self._show(m, bank, short, port, soft)
        m.d.comb += [
            results.w_en.eq(bank.result_index.w_en),
            results.w_index.eq(bank.result_index.w_data.index),
            results.step.eq(bank.result_value.r_en),
            bank.result_index.value.index.eq(results.index),
            bank.result_value.value.value.eq(results.value),
            bank.best.value.index.eq(results.best),
            bank.best_value.value.value.eq(results.best_value),
        ]
        if fires:
            m.d.comb += [
                bank.first.value.index.eq(results.first),
                bank.first.value.valid.eq(results.first_valid),
                bank.first_step.value.step.eq(results.first_step),
            ]

        # Inputs under way, from their first item in to their answer out.
        inside, in_flight = Signal(), Signal(IN_FLIGHT_BITS)
        entered = core.events_in.valid & core.events_in.ready
        item = core.events_in.p
        m.d.sync += in_flight.eq(in_flight + (entered & ~inside) - results.done)
        with m.If(entered):
            m.d.sync += inside.eq(~(item.tick & item.last))
        with m.If(soft):
            m.d.sync += [inside.eq(0), in_flight.eq(0)]

        flags = {
            "input_done": results.done,
            "address_dropped": self._rises(m, "dropped", core.dropped, soft, anew=True),
        }
        status = bank.status.value
        m.d.comb += [status.inside.eq(inside), status.in_flight.eq(in_flight), status.dropped.eq(core.dropped)]
        if plan.loads:
            self._load(m, bank, soft_reset)
            m.d.comb += [status.load_refused.eq(core.load_refused), status.load_complete.eq(core.load_complete)]
            for name in ("load_refused", "load_complete"):
                flags[name] = self._rises(m, name, getattr(core, name), soft)
        for name, happens in flags.items():
            m.d.comb += getattr(bank.flags.set, name).eq(happens)
        m.d.sync += self.irq.eq((Value.cast(bank.flags.value) & Value.cast(bank.interrupts.value)).any())

        left = core.events_out.valid & core.events_out.ready
        self._count(
            m,
            bank,
            {
                "inputs_done": results.done,
                "spikes_in": entered & ~item.tick,
                "ticks_in": entered & item.tick,
                "spikes_out": left & ~core.events_out.p.tick,
                "cycles_busy": (in_flight != 0) | entered,
                "stalls_in": core.events_in.valid & ~core.events_in.ready,
                "stalls_out": Cat(*stalls).any(),
            },
        )
        return m

    def _place_core(self, m: Module, platform, soft: Value) -> None:
        """The core, or in exported Verilog an instance of its module; what it puts out besides leaves as it is."""
        core = self.core
        if isinstance(platform, ExportPlatform):
            ports = {}
            for path, member, signal in core.signature.flatten(core):
                name = "__".join(map(str, path))
                ports[("i_" if member.flow is In else "o_") + name] = Value.cast(signal)
            m.submodules.core = Instance(self._name, i_clk=ClockSignal(), i_rst=ResetSignal() | soft, **ports)
        else:
            m.submodules.core = ResetInserter(soft)(core)
        for name in self._further:
            inner, outer = getattr(core, name), getattr(self, name)
            if core.signature.members[name].is_port:
                m.d.comb += outer.eq(inner)
            else:
                _pipe(m, inner, outer)

    def _lead(self, m: Module, prefix: str, component, names: list[str]) -> None:
        """Connect ports of a component to those of the top that have `prefix`."""
        for name in names:
            inner, outer = getattr(component, name), getattr(self, f"{prefix}_{name}")
            inward = component.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if inward else outer.eq(inner)

    def _stream_in(self, m: Module, prefix: str, shape, soft_reset: Callable) -> AxiStreamSink:
        m.submodules[prefix] = sink = soft_reset(AxiStreamSink(shape))
        self._lead(m, prefix, sink, ["tdata", "tvalid", "tready", "tlast"])
        return sink

    def _show(self, m: Module, bank, short: str, port, soft: Value) -> None:
        """The registers that read the queue of an output; 0 where it is empty."""
        head = port.head
        if short == "events":
            shown = bank.event_out
            for name in ("address", "tick", "last"):
                m.d.comb += getattr(shown.value, name).eq(Mux(head.valid, getattr(head.p, name), 0))
            m.d.comb += [shown.value.valid.eq(head.valid), head.ready.eq(shown.r_en)]
            return
        register, beside = ("answer", "answer_value") if short == "answers" else ("readout", "readout_value")
        shown, value = getattr(bank, register), Value.cast(getattr(bank, beside).value)
        kept = Signal(head.p.value.shape(), name=f"{register}_kept")
        m.d.comb += [
            shown.value.index.eq(Mux(head.valid, head.p.index, 0)),
            shown.value.valid.eq(head.valid),
            head.ready.eq(shown.r_en),
            value.eq(kept),
        ]
        if short == "values":
            m.d.comb += shown.value.last.eq(head.valid & head.p.last)
        with m.If(soft):
            m.d.sync += kept.eq(0)
        with m.Elif(shown.r_en & head.valid):
            m.d.sync += kept.eq(head.p.value)

    def _rises(self, m: Module, name: str, signal: Value, soft: Value, *, anew: bool = False) -> Value:
        """Whether a signal goes up; with `anew`, whether it changes."""
        before = Signal(len(signal), name=f"{name}_before")
        m.d.sync += before.eq(Mux(soft, 0, signal))
        return (signal != before) if anew else (signal & ~before).any()

    def _load(self, m: Module, bank, soft_reset: Callable) -> None:
        """Image words from the stream or the register, and those of changed parameters between them."""
        core, plan = self.core, self.plan
        source = self._stream_in(m, "s_axis_load", core.load.payload.shape(), soft_reset).o
        if "load_data" in self.registers:
            m.submodules.load_queue = queue = soft_reset(PushQueue(REGISTER_BITS))
            merged = stream.Signature(REGISTER_BITS).create(path=("load_merged",))
            by_register = bank.control.value.load_source == REGISTERS
            m.d.comb += [
                queue.w_en.eq(bank.load_data.w_en),
                queue.w_data.eq(bank.load_data.w_data.word),
                bank.load_data.room.eq(queue.room != 0),
                bank.load_room.value.room.eq(queue.room),
                merged.payload.eq(Mux(by_register, queue.o.payload, source.payload)),
                merged.valid.eq(Mux(by_register, queue.o.valid, source.valid)),
                queue.o.ready.eq(by_register & merged.ready),
                source.ready.eq(~by_register & merged.ready),
            ]
            source = merged
        parameters = parameter_registers(plan)
        if not parameters:
            _pipe(m, source, core.load)
            return
        m.submodules.parameters = writer = soft_reset(ParameterWriter(plan))
        _pipe(m, source, writer.i)
        _pipe(m, writer.o, core.load)
        m.d.comb += bank.status.value.parameters_pending.eq(writer.pending)
        named = [register for register in self.registers if register.access == "rw" and not register.stored]
        for n, register in enumerate(register for register in named if register.name != "result_index"):
            port = getattr(bank, register.name)
            m.d.comb += [
                Value.cast(port.value).eq(getattr(writer, f"value_{n}")),
                getattr(writer, f"w_en_{n}").eq(port.w_en),
                getattr(writer, f"w_data_{n}").eq(Value.cast(port.w_data)),
            ]

    def _count(self, m: Module, bank, events: dict[str, Value]) -> None:
        high = Signal(COUNTER_BITS - REGISTER_BITS)
        m.d.comb += bank.counter_high.value.high.eq(high)
        for name in COUNTERS:
            counter = Signal(COUNTER_BITS, name=name)
            with m.If(bank.command.value.clear_counters):
                m.d.sync += counter.eq(0)
            with m.Elif(events[name]):
                m.d.sync += counter.eq(counter + 1)
            register = getattr(bank, name)
            m.d.comb += register.value.low.eq(counter[:REGISTER_BITS])
            with m.If(register.r_en):
                m.d.sync += high.eq(counter[REGISTER_BITS:])


def _named(prefix: str, ports: dict) -> dict:
    return {f"{prefix}_{name}": member for name, member in ports.items()}


def _pipe(m: Module, source, sink) -> None:
    """Connect two streams of one width."""
    m.d.comb += [
        Value.cast(sink.payload).eq(Value.cast(source.payload)),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]
