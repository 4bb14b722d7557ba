"""A network as one accelerator: layers wired as its graph, each working on its own time step, a decision at the end."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from ..blocks.decision import DecisionUnit, ValueDecision
from ..blocks.events import event_signature
from ..blocks.load import LoadPort
from ..blocks.routing import Delay, Fork, Join, MemoryQueue
from ..items import AddressMap
from ..mapping.bursts import spike_queue
from ..mapping.cim import CimPlan, SequentialPlan
from ..mapping.crossbar import CrossbarPlan
from ..mapping.plan import SPIKE_QUEUE, CorePlan, Edge, LayerPlan
from ..mapping.shared import SharedPlan
from ..mapping.sparse import SparsePlan
from ..mapping.virtual import EVENT_MEMORY, VirtualPlan
from .cim.engine import CimEngine
from .cim.sequential import SequentialEngine
from .crossbar.engine import CrossbarEngine
from .digital.folded import FoldedEngine
from .digital.grouped import GroupedEngine
from .digital.parallel import ParallelEngine
from .digital.sparse import SparseEngine
from .digital.sweep import SweepEngine
from .ports import LayerEngine, LoadRow
from .shared.gang import SharedGang
from .shared.layer import SharedEngine
from .stochastic.twin import StochasticEngine
from .virtual.controller import VirtualCore
from .virtual.layer import VirtualEngine

__all__ = ["Accelerator"]

DROP_COUNTER_BITS = 8
IN_FLIGHT_BITS = 8


class Accelerator(wiring.Component):
    """The top of a core of any kind.

    Members
    -------
    events_in : In(event stream)
        Addresses beyond the network's inputs are dropped and counted. With several events per cycle a word has a slot
        for each, and spikes beside a tick are dropped and counted too.
    events_out : Out(event stream)
        Spikes and ticks of the last layer (ticks only for a read-out).
    decision : Out(stream {index, value}), unless `decision = "none"`
    readout : Out(stream {index, value, last}), read-outs only
    probe_<layer> : Out(stream {row, values}), where probed
    load : In(stream of words of `load_bits` bits), where anything is loaded
        With streamed weights, images that only bring tiles are taken at any time, and `load_tile` is the number of
        the tile that must come next; `weight_waits` counts the cycles in which idle lanes waited for weights.
        All else is taken only while no input is under way; while an image is under way no event is taken. Loading
        parameters clears the potentials, also of a network that keeps them between inputs.
    load_refused, load_complete : Out(1)
    dropped : Out(8), saturating
    <member>_<layer> : what engines of a kind have beside these (their `outside`), such as the port of an analog array
    """

    events_in: stream.Interface
    events_out: stream.Interface

    def __init__(self, plan: CorePlan):
        self.plan = plan
        layers = plan.network.layers
        self.engines: list[LayerEngine] = [
            _engine(entry, plan) for entry in (plan.layers if plan.folded is None else ())
        ]
        if plan.folded is not None:
            depth = spike_queue(plan.digital, plan.folded.lanes)
            ticks = plan.core.readout == "tick"
            self.engines = [FoldedEngine(plan.folded, spike_queue=depth, readout_ticks=ticks, probe=plan.core.probe)]
        last = self.engines[-1]
        self._addressing = AddressMap(plan.network.input_shape)
        outputs = plan.layers[-1].output_addresses
        self._decision = None
        if plan.decision in ("count", "first"):
            bits = plan.steps.bit_length() + (plan.decision == "first")
            self._decision = DecisionUnit(outputs, kind=plan.decision, value_bits=bits)
        elif plan.decision == "value":
            self._decision = ValueDecision(last.readout.payload.shape(), neurons=layers[-1].neurons)
        ports = {
            "events_in": In(event_signature(self._addressing.addresses, plan.input_slots)),
            "events_out": Out(event_signature(outputs)),
            "dropped": Out(DROP_COUNTER_BITS),
        }
        if self._decision is not None:
            ports["decision"] = Out(self._decision.decision.signature)
        if layers[-1].threshold is None:
            ports["readout"] = Out(last.readout.signature)
        for name, probe in self.probes.items():
            ports[f"probe_{name}"] = Out(probe.signature)
        if plan.loads:
            bits = plan.load_bits
            ports |= {"load": In(stream.Signature(bits)), "load_refused": Out(1), "load_complete": Out(1)}
        if isinstance(last, FoldedEngine) and plan.streams:
            ports |= {"load_tile": Out(last.tile_wanted.shape()), "weight_waits": Out(len(last.weight_waits))}
        for engine in self.engines:
            for member in engine.outside:
                ports[f"{member}_{engine.plan.name}"] = engine.signature.members[member]
        shared: dict[str, list[VirtualEngine]] = {}
        for engine in self.engines:
            if isinstance(engine, VirtualEngine):
                shared.setdefault(engine.plan.share.core, []).append(engine)
        self._cores = {f"analog_{name}": VirtualCore(engines) for name, engines in shared.items()}
        ports |= {name: Out(core.analog.signature) for name, core in self._cores.items() if core.analog is not None}
        gangs: dict[str, list[SharedEngine]] = {}
        for engine in self.engines:
            if isinstance(engine, SharedEngine):
                gangs.setdefault(engine.plan.gang.name, []).append(engine)
        self._gangs = [SharedGang(engines) for engines in gangs.values()]
        ports |= {name: Out(port.signature) for gang in self._gangs for name, port in gang.ports.items()}
        super().__init__(ports)

    @property
    def probes(self) -> dict:
        """The probe stream of each layer; empty unless probed."""
        if not self.plan.core.probe:
            return {}
        (first, *_) = self.engines
        if isinstance(first, FoldedEngine):
            return first.probes
        return {engine.plan.name: engine.probe for engine in self.engines}

    def elaborate(self, platform):
        m, plan = Module(), self.plan
        for engine in self.engines:
            m.submodules[engine.plan.name] = engine
        for name, core in self._cores.items():
            m.submodules[core.name] = core
            if core.analog is not None:
                connect(m, core.analog, flipped(getattr(self, name)))
        for gang in self._gangs:
            m.submodules[gang.name] = gang
            for name, port in gang.ports.items():
                connect(m, port, flipped(getattr(self, name)))
        # Addresses that no neuron listens to go no further than here.
        entrance = event_signature(self._addressing.addresses, plan.input_slots).create(path=("entrance",))
        open_ = Signal()
        blocked = Signal()
        item, many = self.events_in.p, plan.input_slots.events > 1
        outside = self._slots_outside(item) if many else self._outside(item)
        # A word of which nothing is left goes no further.
        empty = ~item.tick & ~(item.valid & ~outside).any() if many else outside
        m.d.comb += [
            open_.eq(~blocked),
            entrance.payload.eq(self.events_in.payload),
            entrance.valid.eq(self.events_in.valid & open_ & ~empty),
            self.events_in.ready.eq(open_ & (entrance.ready | empty)),
        ]
        if many:
            m.d.comb += entrance.p.valid.eq(item.valid & ~outside)
        count = Signal(DROP_COUNTER_BITS + 1)
        lost: Value = Const(0, 1)
        for n in range(len(outside)):
            lost = lost + outside[n]
        m.d.comb += count.eq(self.dropped + lost)
        with m.If(self.events_in.valid & self.events_in.ready):
            m.d.sync += self.dropped.eq(Mux(count[-1], (1 << DROP_COUNTER_BITS) - 1, count))
        leaving = self._wire(m, entrance)
        last = self.engines[-1]

        if isinstance(self._decision, DecisionUnit):
            m.submodules.decision = self._decision
            _pipe(m, leaving, self._decision.i)
            _pipe(m, self._decision.o, self.events_out)
            _pipe(m, self._decision.decision, self.decision)
        else:
            _pipe(m, leaving, self.events_out)
        if not last._fires:
            if isinstance(self._decision, ValueDecision):
                m.submodules.decision = self._decision
                _pipe(m, last.readout, self._decision.i)
                _pipe(m, self._decision.o, self.readout)
                _pipe(m, self._decision.decision, self.decision)
            else:
                _pipe(m, last.readout, self.readout)
        for name, probe in self.probes.items():
            _pipe(m, probe, getattr(self, f"probe_{name}"))
        for engine in self.engines:
            for member in engine.outside:
                inner, outer = getattr(engine, member), getattr(self, f"{member}_{engine.plan.name}")
                if isinstance(inner, Signal):
                    m.d.comb += outer.eq(inner)
                else:
                    connect(m, inner, flipped(outer))
        if plan.loads:
            m.d.comb += blocked.eq(self._load(m))
        return m

    def _outside(self, item) -> Value:
        """Whether an item is a spike of no input."""
        addressing = self._addressing
        if addressing.flat:
            outside = Const(0) if addressing.addresses == 1 << len(item.address) else item.address >= addressing.neurons
        else:
            channels, height, width = addressing.shape
            position, beyond = 0, []
            for size, bits in zip((channels, width, height), addressing.fields, strict=True):
                if size != 1 << bits:
                    beyond.append(item.address[position : position + bits] >= size)
                position += bits
            outside = Cat(*beyond).any() if beyond else Const(0)
        return ~item.tick & outside

    def _slots_outside(self, item) -> Value:
        """The spikes of a word that are of no input, or beside a tick."""
        slots = self.plan.input_slots
        beyond = []
        for slot in range(slots.events):
            depth = slots.depth(slot % slots.banks)
            beyond.append(Const(0) if depth == 1 << slots.row_bits else item.rows[slot] >= depth)
        return item.valid & (Cat(*beyond) | item.tick.replicate(slots.events))

    def _wire(self, m: Module, entrance):
        """Lead the spikes of every source to the layers that listen; returns the last layer's, as they leave."""
        plan = self.plan
        if plan.folded is not None:
            (engine,) = self.engines
            _pipe(m, entrance, engine.i)
            return engine.o
        sources = {"input": entrance} | {engine.plan.name: engine.o for engine in self.engines}
        listeners: dict[str, list] = {name: [] for name in sources}
        for engine, layer in zip(self.engines, plan.network.layers, strict=True):
            edges = [edge for edge in plan.edges if edge.layer == layer.name]
            if len(edges) == 1:
                sinks = [engine.i]
            else:
                m.submodules[f"{layer.name}_join"] = join = Join(
                    sources=[1 << len(sources[edge.source].p.address) for edge in edges],
                    bases=list(engine.plan.bases),
                    addresses=engine.plan.input_addresses,
                    leader=next(edge.connection for edge in edges if edge.leads),
                )
                _pipe(m, join.o, engine.i)
                sinks = [getattr(join, f"i{n}") for n in range(len(edges))]
            for edge, sink in zip(edges, sinks, strict=True):
                listeners[edge.source].append(self._lagging(m, edge, sink))
        leaving = stream.Signature(self.engines[-1].o.payload.shape()).create(path=("leaving",))
        listeners[self.engines[-1].plan.name].append(leaving)
        for name, sinks in listeners.items():
            source = sources[name]
            if len(sinks) == 1:
                _pipe(m, source, sinks[0])
                continue
            m.submodules[f"{name}_fork"] = fork = Fork(source.payload.shape(), len(sinks))
            _pipe(m, source, fork.i)
            for n, sink in enumerate(sinks):
                _pipe(m, getattr(fork, f"o{n}"), sink)
        return leaving

    def _lagging(self, m: Module, edge: Edge, sink):
        """What stands in front of `sink` on an edge: a delay, a queue, or nothing."""
        if not edge.queue:
            return sink
        name, shape = edge.name, sink.payload.shape()
        if edge.delay:
            m.submodules[name] = block = Delay(
                1 << len(sink.p.address), steps=edge.delay, capacity=edge.queue, follows=edge.leads,
                clears=self.plan.network.state == "clear", name=name,
            )  # fmt: skip
        else:
            m.submodules[name] = block = MemoryQueue(shape, depth=edge.queue, name=name)
        _pipe(m, block.o, sink)
        return block.i

    def _load(self, m: Module) -> Value:
        """The load port and its interlock with the events; returns when no event may enter."""
        plan, targets = self.plan, []
        engines = {engine.plan.name: engine for engine in self.engines}
        for layer, kind, *_ in plan.regions:
            if plan.folded is None:
                targets.append(getattr(engines[layer], f"load_{kind}"))
            else:
                targets.append(getattr(self.engines[0], f"load_{layer}_{kind}"))
        m.submodules.load = port = LoadPort(
            core_hash=int(plan.hash, 16),
            regions=[(rows, bits) for _, _, rows, bits in plan.regions],
            row_signatures=[target.signature.flip() for target in targets],
            word_bits=plan.load_bits,
            tile=(plan.folded.weight_row_bits, LoadRow(plan.folded.half, plan.folded.weight_row_bits))
            if plan.folded is not None and plan.folded.half is not None
            else None,
        )
        for n, target in enumerate(targets):
            source = getattr(port, f"region{n}")
            m.d.comb += [target.en.eq(source.en), target.row.eq(source.row), target.data.eq(source.data)]
        # Inputs under way, from their first item in to their last tick out, and to that of each layer that lags.
        inside = Signal()
        entered = self.events_in.valid & self.events_in.ready
        with m.If(entered):
            m.d.sync += inside.eq(~(self.events_in.p.tick & self.events_in.p.last))
        idle: Value = Const(1)
        full: Value = Const(0)
        for name, o in {"": self.events_out, **{f"_{name}": engines[name].o for name in plan.lagging}}.items():
            flying = Signal(IN_FLIGHT_BITS, name=f"flying{name}")
            left = o.valid & o.ready & o.p.tick & o.p.last
            m.d.sync += flying.eq(flying + (entered & ~inside) - left)
            idle, full = idle & (flying == 0), full | flying.all()
        streaming = plan.streams
        m.d.comb += [
            port.i.payload.eq(self.load.payload),
            port.i.valid.eq(self.load.valid & (idle | int(streaming))),
            self.load.ready.eq(port.i.ready & (idle | int(streaming))),
            self.load_refused.eq(port.refused),
            self.load_complete.eq(port.complete),
        ]
        if streaming:
            engine = self.engines[0]
            assert isinstance(engine, FoldedEngine)
            m.d.comb += [
                engine.tile_rows.en.eq(port.tile.en),
                engine.tile_rows.row.eq(port.tile.row),
                engine.tile_rows.data.eq(port.tile.data),
                engine.tile_filled.eq(port.filled),
                port.wanted.eq(engine.tile_wanted),
                port.rows.eq(engine.tile_size),
                port.free.eq(engine.tile_free),
                port.still.eq(idle),
                self.load_tile.eq(engine.tile_wanted),
                self.weight_waits.eq(engine.weight_waits),
            ]
            return (port.first & ~inside) | (~inside & full)
        # An image that is being offered goes before the next input.
        return port.busy | (self.load.valid & ~inside) | (~inside & full)


def _depth(given: int | str, default: int) -> int:
    return default if isinstance(given, str) else given


def _pipe(m: Module, source, sink) -> None:
    """Connect two streams of one payload shape, whichever side of the component they are on."""
    m.d.comb += [
        Value.cast(sink.payload).eq(source.payload),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]


def _engine(entry, plan: CorePlan) -> LayerEngine:
    """The engine for a planned layer."""
    core = plan.core
    if isinstance(entry, CrossbarPlan):
        return CrossbarEngine(entry)
    shared = {"readout_ticks": core.readout == "tick", "probe": core.probe}
    if isinstance(entry, CimPlan):
        return CimEngine(entry, queue_depth=_depth(core.queue_depth, 0), spike_queue=0, **shared)
    if isinstance(entry, SequentialPlan):
        return SequentialEngine(entry, queue_depth=_depth(core.queue_depth, 0), spike_queue=SPIKE_QUEUE, **shared)
    if isinstance(entry, VirtualPlan):
        depth = _depth(core.queue_depth, EVENT_MEMORY)
        return VirtualEngine(entry, queue_depth=depth, spike_queue=entry.spike_queue, **shared)
    if isinstance(entry, SharedPlan):
        depth = 0 if entry.gang.layers > 1 else SPIKE_QUEUE
        return SharedEngine(entry, queue_depth=0, spike_queue=depth, **shared)
    if isinstance(entry, LayerPlan):
        kind = ParallelEngine if entry.parallel else GroupedEngine
    else:
        kind = SparseEngine if isinstance(entry, SparsePlan) else SweepEngine
        if entry.layer.stochastic is not None:
            kind = StochasticEngine
    return kind(
        entry,
        queue_depth=_depth(core.queue_depth, 2 if entry.parallel else 0),
        spike_queue=spike_queue(plan.digital, entry.lanes),
        **shared,
    )
