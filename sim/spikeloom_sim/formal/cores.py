"""Whole cores of small networks: every address within its memory, every stream held; the weights may be anything.

The networks are chosen for their shapes: groups that are no power of two, lanes without a neuron, maps with edges.
Their potentials are narrow, since no claim looks at them.
"""

import functools
from collections.abc import Callable

import numpy as np
from amaranth.hdl import Mux, Signal

from spikeloom.blocks.decision import DecisionUnit
from spikeloom.config import DigitalConfig
from spikeloom.cores.accelerator import Accelerator
from spikeloom.cores.digital.expander import Expander
from spikeloom.cores.digital.folded import FoldedEngine
from spikeloom.cores.digital.grouped import GroupedEngine
from spikeloom.cores.digital.parallel import ParallelEngine
from spikeloom.cores.digital.sparse import EntryReader
from spikeloom.cores.digital.sweep import SweepEngine
from spikeloom.cores.ports import LayerEngine
from spikeloom.errors import InputError
from spikeloom.mapping.plan import plan_core
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak

from .harness import Claims, Fault, Proof

__all__ = ["PROOFS"]


def _dense(name: str, outputs: int, inputs: int, **given) -> IntegerLayer:
    common = {
        "weights": np.resize([1, -1], (outputs, inputs)),
        "weight_bits": 2,
        "potential_bits": 3,
        "leak": Leak(kind="shift", shifts=(1,)),
        "threshold": 2,
    }
    return IntegerLayer.dense(name=name, **common | given)


def _convolution(*, channels: int, kernel: int, size: int, groups: int = 1, padding: int = 1) -> IntegerLayer:
    inner = 2 // groups
    weights = np.resize([1, -1, 1], (channels, inner, kernel, kernel))
    connection = Connection(weights=weights, source_shape=(2, size, size), groups=groups, padding=(padding, 0))
    return IntegerLayer(name="conv", connections=(connection,), weight_bits=2, potential_bits=3, threshold=2,
                        reset="subtract")  # fmt: skip


@functools.cache
def _plan(shape: str):
    """The plan of a small network."""
    core: dict = {"decision": "none"}
    layers: tuple[IntegerLayer, ...]
    match shape:
        case "grouped_5_by_2":  # three groups, the last of one neuron
            layers, core["lanes"] = (_dense("fc", 5, 3),), 2
        case "grouped_4_by_1_loaded":
            layers = (_dense("fc", 4, 5, bias=np.array([1, 0, -1, 1])),)
            core |= {"lanes": 1, "weights": "loaded"}
        case "sweep":
            layers, core["lanes"] = (_convolution(channels=2, kernel=2, size=4, padding=0),), 2
        case "two_rows":
            layers, core["lanes"] = (_convolution(channels=3, kernel=3, size=5),), 2
        case "groups":
            layers, core["lanes"] = (_convolution(channels=4, kernel=3, size=5, groups=2),), 4
        case "two_layers":
            layers = (_dense("fc1", 3, 3), _dense("fc2", 2, 3, threshold=None, reset="none"))
            core |= {"lanes": [2, 2], "decision": "value", "probe": True}
        case "two_layers_counted":
            layers = (_dense("fc1", 3, 3), _dense("fc2", 2, 3))
            core |= {"lanes": [2, "full"], "decision": "count", "weights": "loaded"}
        case "sparse":  # the last source has the most rows, one has none
            weights = np.array([[1, 0, 0, 1], [0, 0, 0, -1], [-1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]])
            layers = (_dense("fc", 5, 4, weights=weights),)
            core |= {"lanes": 2, "sparse": "on"}
        case "folded":
            layers = (_dense("fc1", 3, 3), _dense("fc2", 3, 3))
            core |= {"lanes": 2, "schedule": "folded"}
        case "two_events":  # banks of three rows and of two
            layers = (_dense("fc1", 3, 5), _dense("fc2", 2, 3))
            core["events_per_cycle"] = 2
        case _:
            raise InputError(f"{shape}: no such network")
    network = IntegerNetwork(name="net", layers=layers)
    return plan_core(network, DigitalConfig(**core), steps=3)


def _engine(cls: type[LayerEngine], shape: str) -> Callable[[], LayerEngine]:
    return lambda: cls(_plan(shape).layers[0], queue_depth=0, spike_queue=0, readout_ticks=False, probe=False)


def grouped(shape: str):
    def claims(c: Claims, engine: GroupedEngine) -> None:
        plan = _plan(shape).layers[0]
        fan_in, groups = plan.layer.fan_in, plan.groups
        c.assume_events("i", engine.i, fan_in)
        if hasattr(engine, "load_weights"):
            c.assume("loads_within", ~engine.load_weights.en | (engine.load_weights.row < plan.weight_depth))
        c.check_events("o", engine.o, plan.output_addresses)
        group, valid = c.inner("group"), c.inner("valid")
        current_bits = c.inner("current")
        address, event = current_bits[: len(engine.i.p.address)], current_bits[len(engine.i.p.address)]
        c.invariant("group", (group < groups) & (valid | (group == 0)))
        c.invariant("waiting", ~c.inner("merger.waiting") | (c.inner("merger.address") < fan_in))
        c.invariant("current", ~(valid & event) | (address < fan_in))
        if groups & (groups - 1):
            c.invariant("row", ~(valid & event) | (c.inner("row") == address * groups + group))
        for stage in ("adding", "firing"):
            staged = c.inner(stage)
            c.invariant(stage, ~c.inner(f"{stage}_valid") | (staged[2:] < groups))
        _serialised(c, plan)

    return claims


def _serialised(c: Claims, plan) -> None:
    """A group in the serialiser holds something, and only what belongs to neurons."""
    held, lanes = c.inner("serialiser.held"), plan.lanes
    flags, group = held[:lanes], held[lanes:-2]
    tail = plan.layer.neurons - (plan.groups - 1) * lanes
    good = (group < plan.groups) & ((group != plan.groups - 1) | (flags >> tail == 0))
    c.invariant("serialised", ~c.inner("serialiser.valid") | (good & (flags.any() | held[-2])))


def expander(shape: str):
    def claims(c: Claims, block: Expander) -> None:
        plan = _plan(shape).layers[0]
        c.assume_stream("i", block.i, ~block.i.p.last | block.i.p.tick)
        # The fields of an address that stand for a place outside the map have no targets.
        source = plan.connections[0].source
        at = 0
        for size, bits in zip((source.shape[0], source.shape[2], source.shape[1]), source.fields, strict=True):
            field = block.i.p.address[at : at + bits]
            c.assume(f"field_at_{at}", ~block.i.valid | (field < size))
            at += bits
        c.check_stream("o", block.o)
        spike = block.o.valid & ~block.o.p.tick
        c.implies("row_in_range", spike, block.o.p.row < plan.groups)
        c.implies("weight_in_range", spike, block.o.p.weight < plan.weight_depth)

    return claims


def accelerator(c: Claims, core: Accelerator) -> None:
    """Any items whatever come in; every output stream keeps to the rules."""
    c.assume_stream("events_in", core.events_in, ~core.events_in.p.last | core.events_in.p.tick)
    if hasattr(core, "load"):
        c.assume_stream("load", core.load)
    outputs = core.plan.layers[-1].output_addresses
    c.check_events("events_out", core.events_out, outputs)
    for name in core.signature.members:
        if name in ("decision", "readout") or name.startswith("probe_"):
            c.check_stream(name, getattr(core, name))


def decision(neurons: int):
    def claims(c: Claims, unit: DecisionUnit) -> None:
        c.assume_events("i", unit.i, neurons)
        c.check_events("o", unit.o, neurons)
        c.check_stream("decision", unit.decision)
        taken, left = unit.i.valid & unit.i.ready, unit.o.valid & unit.o.ready
        c.check("passes_unchanged", ~left | (taken & (unit.o.payload.as_value() == unit.i.payload.as_value())))
        c.implies("nothing_swallowed", taken, left)
        told = Signal(name="answered")
        ends = left & unit.o.p.tick & unit.o.p.last
        answers = unit.decision.valid & unit.decision.ready
        c.m.d.sync += told.eq(Mux(ends, 0, told | answers))
        c.implies("one_answer_an_input", unit.decision.valid, ~told)
        c.implies("answer_before_its_tick", unit.o.valid & unit.o.p.tick & unit.o.p.last, told)
        c.implies("answer_at_the_end_only", unit.decision.valid, unit.i.valid & unit.i.p.tick & unit.i.p.last)
        c.implies("answer_in_range", unit.decision.valid, unit.decision.p.index < neurons)
        c.invariant("told", c.inner("told") == told)
        c.invariant("told_at_the_end", ~told | (unit.i.valid & unit.i.p.tick & unit.i.p.last) | ~c.started)
        best = c.inner("best")
        c.invariant("best", best[: len(unit.decision.p.index)] < neurons)
        c.invariant("sweep", c.inner("sweep") < neurons)
        c.invariant("address", ~c.inner("updating") | (c.inner("address") < neurons))
        c.invariant("rests", ~c.inner("clearing") | ~c.inner("updating"))
        c.invariant("told_settled", ~told | (~c.inner("clearing") & ~c.inner("updating")))

    return claims


PROOFS = (
    *(
        Proof(
            name=shape,
            claim=f"GroupedEngine ({text}): addresses within its memories, o an event stream",
            make=_engine(GroupedEngine, shape),
            claims=grouped(shape),
            depth=4,
            search=12,
            faults=(
                Fault(cls=GroupedEngine, old="weights.r_en.eq(issue & current.event)", new="weights.r_en.eq(issue)"),
                *([Fault(cls=GroupedEngine, old="at_end.eq(group == groups - 1)", new="at_end.eq(group == groups)"),
                   Fault(cls=GroupedEngine, old="fire & ~final if lane >= tail else fire", new="fire"),
                   Fault(cls=GroupedEngine, old="row.eq(merger.o.p.address * groups)",
                         new="row.eq((merger.o.p.address + 1) * groups)")] if shape == "grouped_5_by_2" else []),
            ),
        )
        for shape, text in (
            ("grouped_5_by_2", "5 neurons on 2 lanes, fixed weights"),
            ("grouped_4_by_1_loaded", "4 neurons on 1 lane, loaded weights, bias"),
        )
    ),
    Proof(
        name="decision_count",
        claim="DecisionUnit(3, count): one answer an input, before its tick; events pass unchanged; addresses in range",
        make=lambda: DecisionUnit(3, kind="count", value_bits=2),
        claims=decision(3),
        depth=4,
        faults=(
            Fault(cls=DecisionUnit, old="self.decision.valid.eq(ending & answer & ~told)",
                  new="self.decision.valid.eq(ending & answer)"),
            Fault(cls=DecisionUnit, old="self.o.valid.eq(self.i.valid & accept & (~ending | told))",
                  new="self.o.valid.eq(self.i.valid & accept)"),
            Fault(cls=DecisionUnit, old="sweep == self._neurons - 1", new="sweep == self._neurons", method="_count"),
        ),
    ),
    *(
        Proof(
            name=f"expander_{shape}",
            claim=f"Expander ({text}): rows and weight rows in range, touches held",
            make=lambda shape=shape: Expander(_plan(shape).layers[0]),
            claims=expander(shape),
            depth=12,
            search=16,
            induction=False,
            faults=(
                Fault(cls=Expander, old="next_row_x.eq(row_x + row_step_x)",
                      new="next_row_x.eq(row_x + row_step_x + 1)"),
                Fault(cls=Expander, old="next_weight_y.eq(weight_y - step_y)",
                      new="next_weight_y.eq(weight_y + step_y)"),
            ),
        )
        for shape, text in (
            ("two_rows", "3x3 kernel, padded, 2 rows a position"),
            ("groups", "3x3 kernel, 2 groups on 4 lanes"),
        )
    ),
    *(
        Proof(
            name=f"core_{shape}",
            claim=f"Accelerator ({text}): addresses within all memories, every output stream held, for any items",
            make=lambda shape=shape: Accelerator(_plan(shape)),
            claims=accelerator,
            depth=depth,
            search=depth,
            induction=False,
            memories="stored" if shape in ("sparse", "folded") else "arbitrary",
            faults=faults,
        )
        for shape, text, depth, faults in (
            ("sweep", "a convolution of 9 rows", 13, (
                Fault(cls=SweepEngine, old="at_end.eq(row == plan.groups - 1)", new="at_end.eq(row == plan.groups)",
                      method="_row_counter"),
            )),
            ("two_layers", "two layers, read-out, probes, decision by value", 13, (
                Fault(cls=LayerEngine, old="self.readout.valid.eq(wanted & ~sent)",
                      new="self.readout.valid.eq(wanted & ~sent & ~self.i.valid)", method="_report"),
                Fault(cls=Accelerator, old="self.events_in.valid & open_ & ~empty",
                      new="self.events_in.valid & open_"),
            )),
            ("two_layers_counted", "two layers, loaded weights, decision by count", 13, (
                Fault(cls=DecisionUnit, old="self.o.valid.eq(self.i.valid & accept & (~ending | told))",
                      new="self.o.valid.eq(self.i.valid & accept & (~ending | told) & self.decision.ready)"),
            )),
            ("two_events", "two layers, two events a cycle", 13, (
                Fault(cls=ParallelEngine, old="enable.eq(item.ready & ~item.p.tick & valid)",
                      new="enable.eq(item.ready & ~item.p.tick)"),
            )),
            ("sparse", "a layer without its zeros, weights as they are", 13, (
                Fault(cls=EntryReader, old="more.eq(~walk.tick & (left != 1))",
                      new="more.eq(~walk.tick & (left != 0))"),
            )),
            ("folded", "two layers on one engine, weights as they are", 18, (
                Fault(cls=FoldedEngine, old="at_end.eq(group == unit.groups)",
                      new="at_end.eq(group == unit.groups + 1)"),
            )),
        )
    ),
)  # fmt: skip
