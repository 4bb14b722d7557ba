"""The compute-in-memory core: its columns compute what integers do, and its arrays are used as their ports allow.

Beside a column stands one that holds an integer: it goes through the same passes, in any order that an engine has, with
any weights and pauses. What the column reads from its cells must always be the bits of that integer.
"""

import numpy as np
from amaranth.hdl import Array, Cat, Mux, Signal, Value, signed

from spikeloom.config import CimConfig
from spikeloom.cores.accelerator import Accelerator
from spikeloom.cores.cim.column import ColumnPeriphery
from spikeloom.cores.cim.engine import ADD, FIRST, CimEngine, _Slot
from spikeloom.mapping.cim import SLOT_DEPTH
from spikeloom.mapping.plan import plan_core
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak

from .cores import accelerator
from .harness import Claims, Fault, Proof

__all__ = ["PROOFS"]

BITS = 3
"""Rows of a potential while spikes add up."""


def column(tick: tuple[str, ...], *, banks: int, stored: int):
    """One column; `tick` are the passes of a tick, none for partial sums; potentials are stored in `stored` bits."""
    fires = bool(tick)

    def claims(c: Claims, dut: ColumnPeriphery) -> None:
        do, m = dut.control, c.m
        lo, hi = -(1 << stored - 1), (1 << stored - 1) - 1
        names = ("add", "merge", *tick)
        kind, row = Signal(range(len(names)), name="kind"), Signal(range(BITS), name="row")
        active = Signal(banks, name="active")
        value = Signal(signed(BITS), name="value")
        fired = Signal(name="model_fired")
        cells, given, merged = (Signal(BITS, name=name) for name in ("cells", "given", "merged"))

        def during(name: str) -> Value:
            return (kind == names.index(name)) if name in names else Value.cast(0)

        # What the engine says, from the pass and the row.
        constants = {}
        for name, top in (("compare", hi), ("subtract", hi), ("decay", (1 << BITS - 1) - 1)):
            constants[name] = c.constant(BITS, f"{name}s_by")
            c.assume(f"{name}s_within", (constants[name] >= 1) & (constants[name] <= top))
        bit = Cat(*(during(name) & constants[name].bit_select(row, 1) for name in constants)).any()
        last, ends = row == BITS - 1, kind == len(names) - 1
        stated = {
            "first": row == 0,
            "last": last,
            "bit": bit,
            "head": row == stored - 1,
            "above": row > stored - 1,
            **{name: during(name) for name in ("add", "merge", "compare", "subtract", "decay", "clamp")},
        }
        for name, condition in stated.items():
            c.assume(f"control_{name}", getattr(do, name) == condition)
        c.assume("control_active", do.active == active & during("add").replicate(banks))
        c.assume("clears_behind_a_tick", ~do.clear | (ends & fires))
        c.assume("wipes_outside_ticks", ~dut.wipe | (~do.run & (row == 0) & (kind <= 2)))
        # A pause may be as long as it likes between passes, and a cycle inside one, so that a window of an induction
        # holds the beginning of a pass.
        c.assume("pauses", do.run | (row == 0) | ~c.past(~do.run, "paused"))
        c.assume("cell", dut.v == cells.bit_select(row, 1))

        # The cells, the passes, and the operands as they come in.
        writes = do.run & ~during("compare") & dut.mask
        at_end = do.run & last
        following = c.anything(kind.shape(), "following")
        c.assume("follows", following == Mux((kind < 2) | ends, following, kind + 1))
        c.assume("begins", ((kind >= 2) & ~ends) | (following < 2 + fires))
        new_active = c.anything(banks, "new_active")
        with m.If(writes):
            m.d.sync += Array(cells)[row].eq(dut.sum)
        with m.If(do.run):
            m.d.sync += [row.eq(Mux(last, 0, row + 1)), Array(merged)[row].eq(dut.other)]
        with m.If(at_end):
            m.d.sync += [kind.eq(following), active.eq(new_active)]
        weights = [Signal(BITS, name=f"weight{n}") for n in range(banks)]
        for n, weight in enumerate(weights):
            with m.If(do.run):
                m.d.sync += Array(weight)[row].eq(dut.weights[n])
        m.d.comb += given.eq(Cat(merged[:-1], dut.other))
        whole = [Cat(weight[:-1], dut.weights[n]).as_signed() for n, weight in enumerate(weights)]
        added = [Mux(do.active[n], each, 0) for n, each in enumerate(whole)]

        # The same with integers.
        total = value + sum(added) if banks > 1 else value + added[0]
        fits = Signal(name="fits")
        result = Signal(signed(BITS + 3), name="result")
        m.d.comb += [result.eq(value), fits.eq((result >= -(1 << BITS - 1)) & (result < 1 << BITS - 1))]
        with m.If(during("add")):
            m.d.comb += result.eq(total)
        with m.If(during("merge")):
            m.d.comb += result.eq(value + given.as_signed())
        with m.If(during("compare")):
            m.d.comb += result.eq(Mux(value > hi, hi, Mux(value < lo, lo, value)))
            if "subtract" not in tick:
                with m.If(value >= constants["compare"].as_signed()):
                    m.d.comb += result.eq(0)
        with m.If(during("subtract")):
            m.d.comb += result.eq(value - Mux(fired, constants["subtract"].as_signed(), 0))
        with m.If(during("decay")):
            by = constants["decay"].as_signed()
            m.d.comb += result.eq(Mux(value < 0, Mux(value + by > 0, 0, value + by), Mux(value < by, 0, value - by)))
        c.assume("no_overflow", ~at_end | fits)  # the mapping proves it of the weights
        with m.If(at_end):
            m.d.sync += value.eq(Mux(do.clear, 0, result))
            with m.If(during("compare")):
                m.d.sync += fired.eq(value >= constants["compare"].as_signed())
        with m.If(dut.wipe):
            m.d.sync += value.eq(0)

        told = kind > 2 if fires else Value.cast(0)  # a compare is behind it, in this tick
        # A column that is reset to 0 from beyond its range still sees the limit, and writes nothing.
        idle = told & dut.beyond & fired if "subtract" not in tick else Value.cast(0)
        c.implies("reads_the_integer", do.run & ~idle, dut.seen == value.bit_select(row, 1))
        c.implies("leaves_what_is_reset", do.run & idle, ~writes)
        if not fires:
            c.invariant("value", (row != 0) | (value == Mux(c.inner("zero"), 0, cells.as_signed())))
            c.invariant("kind", kind < len(names))
            return
        c.implies("fires_at_the_threshold", told, dut.fired == fired)
        limit = Mux(dut.negative, lo, hi)
        shown = Mux(c.inner("zero"), 0, Mux(dut.beyond & told, limit, cells.as_signed()))
        c.invariant("value", (row != 0) | (value == shown))
        c.invariant("kind", kind < len(names))
        c.invariant("sign", ~during("decay") | (dut.negative == (value < 0)) | (value == 0))
        c.invariant("apart", ~(told & c.inner("zero") & dut.beyond) | idle)
        c.invariant("reset", ~idle | c.inner("zero"))
        c.invariant("beyond", (kind == 3) | (kind == 2) | ~dut.beyond)

    return claims


def _column(name: str, text: str, tick: tuple[str, ...], faults: tuple[tuple[str, str, str], ...], **options) -> Proof:
    banks, stored = options.pop("banks", 1), options.pop("stored", BITS)
    return Proof(
        name=name,
        claim=f"ColumnPeriphery ({text}): cells and flags hold the integer of the written equations, pauses included",
        make=lambda: ColumnPeriphery(1, banks=banks, ends=bool(tick), saturates=stored < BITS, **options),
        claims=column(tick, banks=banks, stored=stored),
        depth=2 * BITS + 4,
        search=5 * BITS + 3,
        faults=tuple(Fault(cls=ColumnPeriphery, old=old, new=new, method=method) for method, old, new in faults),
    )


# ---- the engine ----


def _network(*, bias: bool, banks: int) -> tuple:
    weights = np.array([[1, -1], [-1, 1]])
    layer = IntegerLayer.dense(
        name="fc", weights=weights, weight_bits=2, potential_bits=2, threshold=1, leak=Leak(kind="linear", amount=1),
        bias=np.array([1, -1]) if bias else None,
    )  # fmt: skip
    network = IntegerNetwork(name="net", layers=(layer,))
    return network, CimConfig(kind="cim", banks=banks, decision="none")


def engine(*, bias: bool, banks: int):
    def claims(c: Claims, dut: CimEngine) -> None:
        plan = dut.plan
        c.assume_events("i", dut.i, plan.layer.fan_in)
        c.check_stream("o", dut.o)
        bits, width = plan.bits, plan.weight_bits
        doing, row, run = c.inner("doing"), c.inner("row"), c.inner("run")
        row_now, doing_now = c.inner("row_now"), c.inner("doing_now")
        c.invariant("doing", (doing < FIRST + len(plan.passes)) & (doing_now < FIRST + len(plan.passes)))
        c.invariant("row", (row < bits) & (row_now < bits))
        c.invariant("at_rest", (doing != 0) | (row == 0))
        c.invariant("behind", ~run | (row == Mux(row_now == bits - 1, 0, row_now + 1)))
        for n in range(plan.slots_in):
            base = plan.base(n % plan.banks)
            top = base + (plan.weights_each - 1) * width
            level, at = c.inner(f"slot{n}_level"), c.inner(f"slot{n}_row")
            c.invariant(f"level{n}", level <= SLOT_DEPTH)
            for place in range(SLOT_DEPTH):
                entry = c.inner(f"slot{n}_entry{place}")
                c.invariant(f"entry{n}_{place}", (level <= place) | ((entry >= base) & (entry <= top)))
            adding = (doing == ADD) & c.inner(f"slot{n}_active")
            c.invariant(f"weights{n}", ~adding | ((at >= base) & (at <= top + row)) | (row >= width))

    return claims


def _engine(name: str, text: str, *, bias: bool = False, banks: int = 1, faults: tuple[Fault, ...]) -> Proof:
    network, core = _network(bias=bias, banks=banks)
    plan = plan_core(network, core, steps=2)
    options = {"queue_depth": 0, "spike_queue": 0, "readout_ticks": False, "probe": False}
    return Proof(
        name=name,
        claim=f"CimEngine ({text}): rows of its arrays exist, none is read while it is written, o is held",
        make=lambda: CimEngine(plan.layers[0], **options),
        claims=engine(bias=bias, banks=banks),
        depth=6,
        search=16,
        faults=faults,
    )


def _whole(shape: dict) -> Proof:
    network, core = _network(**shape)
    return Proof(
        name="core_cim",
        claim="Accelerator (arrays, biases): rows of arrays as above, every output stream held, for any items",
        make=lambda: Accelerator(plan_core(network, core, steps=2)),
        claims=accelerator,
        depth=18,
        search=18,
        induction=False,
        faults=(Fault(cls=CimEngine, old="self.o.valid.eq(o.valid)", new="self.o.valid.eq(o.valid & ~self.i.valid)"),),
    )


PROOFS = (
    _column(
        "column_subtract", "compare, subtract, decay", ("compare", "subtract", "decay"),
        (
            ("elaborate", "start = start | (all_(do.decay) & ~self.negative)", "start = start"),
            ("elaborate", "after.eq(zero | (self.sum ^ self.negative))", "after.eq(zero)"),
            ("elaborate", "operand = operand | (all_(do.subtract & ~do.bit) & self.fired)", "operand = operand"),
            ("_add", "Mux(do.first, start, held[0])", "held[0]"),
        ),
        zeroes=False,
    ),
    _column(
        "column_zero", "compare with reset to 0, decay", ("compare", "decay"),
        (
            ("elaborate", "after.eq(zero | raised)", "after.eq(zero)"),
            ("elaborate", "read = self.v & ~zero", "read = self.v"),
            ("elaborate", "self.fired.eq(carry & ~v)", "self.fired.eq(carry)"),
            ("elaborate", "(limit & override)", "override"),
        ),
        subtracts=False, stored=2,
    ),
    _column(
        "column_clamp", "compare with reset to 0, clamp", ("compare", "clamp"),
        (("elaborate", "(all_(do.clamp) & beyond & ~zero)", "(all_(do.clamp) & Const(0, n))"),),
        subtracts=False, decays=False, stored=2,
    ),
    _column(
        "column_delayed", "compare, decay, subtract", ("compare", "decay", "subtract"),
        (("elaborate", "start = start | (all_(do.subtract) & self.fired)", "start = start"),),
        zeroes=False,
    ),
    _column(
        "column_banks", "partial sums, three weights at once", (),
        (
            ("_add", "planes[weight + 1].append(over)", "planes[weight + 1].append(over & ~do.first.replicate(n))"),
            ("_add", "self.weights[bank] & do.active[bank]", "self.weights[bank] & do.active[0]"),
        ),
        banks=3,
    ),
    _engine(
        "cim_engine", "one array, biases", bias=True,
        faults=(
            Fault(cls=CimEngine, old="at_end.eq((row == bits - 1) & ~hold)", new="at_end.eq((row == bits) & ~hold)"),
            Fault(cls=CimEngine, old="memory.w_addr.eq(row_now)", new="memory.w_addr.eq(row)"),
            Fault(cls=CimEngine, old="row + plan.bias_row", new="row + plan.bias_row + 2", method="_arrays"),
        ),
    ),
    _engine(
        "cim_engine_banks", "two banks", banks=2,
        faults=(
            Fault(cls=_Slot, old="self.row.eq(self.row + 1)", new="self.row.eq(self.row + 3)", method="issue"),
            Fault(cls=CimEngine, old="self.o.valid.eq(o.valid)", new="self.o.valid.eq(o.valid & ~self.i.valid)"),
        ),
    ),
    _whole({"bias": True, "banks": 1}),
)  # fmt: skip
