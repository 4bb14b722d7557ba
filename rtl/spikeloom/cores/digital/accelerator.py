"""A network as one accelerator: layers chained, each working on its own time step, a decision unit at the end."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.decision import DecisionUnit, ValueDecision
from ...blocks.events import event_signature
from ...blocks.load import LoadPort
from ...mapping.plan import CorePlan
from .grouped import GroupedEngine
from .parallel import ParallelEngine
from .ports import LayerEngine

__all__ = ["Accelerator"]

DROP_COUNTER_BITS = 8
IN_FLIGHT_BITS = 8


class Accelerator(wiring.Component):
    """The top of a digital core.

    Members
    -------
    events_in : In(event stream)
        Addresses beyond the network's inputs are dropped and counted.
    events_out : Out(event stream)
        Spikes and ticks of the last layer (ticks only for a read-out).
    decision : Out(stream {index, value}), unless `decision = "none"`
    readout : Out(stream {index, value, last}), read-outs only
    probe_<layer> : Out(stream {row, values}), where probed
    load : In(stream of 32-bit words), where anything is loaded
        Taken only while no input is under way; while an image is under way no event is taken. Loading parameters
        clears the potentials, also of a network that keeps them between inputs.
    load_refused, load_complete : Out(1)
    dropped : Out(8), saturating
    """

    events_in: stream.Interface
    events_out: stream.Interface

    def __init__(self, plan: CorePlan):
        self.plan = plan
        layers = plan.network.layers
        self.engines: list[LayerEngine] = [
            (ParallelEngine if entry.parallel else GroupedEngine)(
                entry,
                queue_depth=_depth(plan.core.queue_depth, 2 if entry.parallel else 0),
                spike_queue=_depth(plan.core.spike_queue, 0 if entry.lanes == 1 else 4),
                readout_ticks=plan.core.readout == "tick",
                probe=plan.core.probe,
            )
            for entry in plan.layers
        ]
        last = self.engines[-1]
        self._decision = None
        if plan.decision in ("count", "first"):
            bits = plan.steps.bit_length() + (plan.decision == "first")
            self._decision = DecisionUnit(layers[-1].neurons, kind=plan.decision, value_bits=bits)
        elif plan.decision == "value":
            self._decision = ValueDecision(last.readout.payload.shape(), neurons=layers[-1].neurons)
        ports = {
            "events_in": In(event_signature(layers[0].fan_in)),
            "events_out": Out(event_signature(layers[-1].neurons)),
            "dropped": Out(DROP_COUNTER_BITS),
        }
        if self._decision is not None:
            ports["decision"] = Out(self._decision.decision.signature)
        if layers[-1].threshold is None:
            ports["readout"] = Out(last.readout.signature)
        for engine in self.engines:
            if plan.core.probe:
                ports[f"probe_{engine.plan.name}"] = Out(engine.probe.signature)
        if plan.loads:
            ports |= {"load": In(stream.Signature(32)), "load_refused": Out(1), "load_complete": Out(1)}
        super().__init__(ports)

    def elaborate(self, platform):
        m, plan = Module(), self.plan
        for engine in self.engines:
            m.submodules[engine.plan.name] = engine
        for before, after in zip(self.engines, self.engines[1:], strict=False):
            _pipe(m, before.o, after.i)
        first, last = self.engines[0], self.engines[-1]

        # Addresses that no neuron listens to go no further than here.
        inputs = plan.network.inputs
        open_ = Signal()
        blocked = Signal()
        item = self.events_in.p
        if inputs == 1 << len(item.address):
            outside = Const(0)
        else:
            outside = ~item.tick & (item.address >= inputs)
        m.d.comb += [
            open_.eq(~blocked),
            first.i.payload.eq(self.events_in.payload),
            first.i.valid.eq(self.events_in.valid & open_ & ~outside),
            self.events_in.ready.eq(open_ & (first.i.ready | outside)),
        ]
        with m.If(self.events_in.valid & open_ & outside & ~self.dropped.all()):
            m.d.sync += self.dropped.eq(self.dropped + 1)

        if isinstance(self._decision, DecisionUnit):
            m.submodules.decision = self._decision
            _pipe(m, last.o, self._decision.i)
            _pipe(m, self._decision.o, self.events_out)
            _pipe(m, self._decision.decision, self.decision)
        else:
            _pipe(m, last.o, self.events_out)
        if not last._fires:
            if isinstance(self._decision, ValueDecision):
                m.submodules.decision = self._decision
                _pipe(m, last.readout, self._decision.i)
                _pipe(m, self._decision.o, self.readout)
                _pipe(m, self._decision.decision, self.decision)
            else:
                _pipe(m, last.readout, self.readout)
        if plan.core.probe:
            for engine in self.engines:
                _pipe(m, engine.probe, getattr(self, f"probe_{engine.plan.name}"))
        if plan.loads:
            m.d.comb += blocked.eq(self._load(m))
        return m

    def _load(self, m: Module) -> Value:
        """The load port and its interlock with the events; returns when no event may enter."""
        plan, targets = self.plan, []
        engines = {engine.plan.name: engine for engine in self.engines}
        for layer, kind, _, _ in plan.regions:
            targets.append(getattr(engines[layer], f"load_{kind}"))
        m.submodules.load = port = LoadPort(
            core_hash=int(plan.hash, 16),
            regions=[(rows, bits) for _, _, rows, bits in plan.regions],
            row_signatures=[target.signature.flip() for target in targets],
        )
        for n, target in enumerate(targets):
            source = getattr(port, f"region{n}")
            m.d.comb += [target.en.eq(source.en), target.row.eq(source.row), target.data.eq(source.data)]
        # Inputs under way, from their first item in to their last tick out.
        flying = Signal(IN_FLIGHT_BITS)
        inside = Signal()
        entered = self.events_in.valid & self.events_in.ready
        ended = entered & self.events_in.p.tick & self.events_in.p.last
        left = self.events_out.valid & self.events_out.ready & self.events_out.p.tick & self.events_out.p.last
        m.d.sync += flying.eq(flying + (entered & ~inside) - left)
        with m.If(entered):
            m.d.sync += inside.eq(~ended)
        idle = flying == 0
        m.d.comb += [
            port.i.payload.eq(self.load.payload),
            port.i.valid.eq(self.load.valid & idle),
            self.load.ready.eq(port.i.ready & idle),
            self.load_refused.eq(port.refused),
            self.load_complete.eq(port.complete),
        ]
        # An image that is being offered goes before the next input.
        return port.busy | (self.load.valid & ~inside) | (~inside & flying.all())


def _depth(given: int | str, default: int) -> int:
    return default if isinstance(given, str) else given


def _pipe(m: Module, source, sink) -> None:
    """Connect two streams of one payload shape, whichever side of the component they are on."""
    m.d.comb += [
        Value.cast(sink.payload).eq(source.payload),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]
