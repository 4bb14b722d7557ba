"""Every proof holds, and fails on each fault planted for it; no `valid` depends on a `ready`; the harness itself."""

import re
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from spikeloom.blocks.events import EventQueue
from spikeloom.blocks.routing import Fork
from spikeloom.errors import InputError
from spikeloom_sim.formal import Fault, Proof, combinational_paths, planted, prove
from spikeloom_sim.formal.proofs import HANDSHAKES, PROOFS

pytestmark = pytest.mark.formal


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_holds(proof, tmp_path):
    outcome = prove(proof, tmp_path)
    assert outcome.status == ("proven" if proof.induction else "bounded"), outcome
    assert outcome.depth == proof.depth
    assert (outcome.k is not None) == proof.induction


@pytest.mark.parametrize(
    ("proof", "fault"),
    [pytest.param(proof, fault, id=f"{proof.name}-{n}") for proof in PROOFS for n, fault in enumerate(proof.faults)],
)
def test_planted_fault_is_found(proof, fault, tmp_path):
    outcome = prove(proof, tmp_path, fault=fault)
    assert outcome.status == "counterexample", (str(fault), outcome)
    assert outcome.violated
    assert outcome.trace is not None
    assert outcome.trace.stat().st_size > 0


def test_names_and_faults():
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)
    assert [proof.name for proof in PROOFS if not proof.faults] == []


def test_the_table_tells_what_is_proven():
    text = (Path(__file__).parent.parent / "docs" / "verification.md").read_text()
    rows = re.findall(
        r"^\| `(\w+)` \| (.*) \| (for ever|\d+ cycles)(?:, k = \d)? \| (\d+) of \4 \|$", text, re.MULTILINE
    )
    told = [
        (proof.name, proof.claim, "for ever" if proof.induction else f"{proof.depth} cycles", str(len(proof.faults)))
        for proof in PROOFS
    ]
    assert rows == told  # made by bench/formal.py --table


@pytest.mark.parametrize("block", HANDSHAKES)
def test_valid_never_waits_for_ready(block, tmp_path):
    assert combinational_paths(HANDSHAKES[block], tmp_path) == []


def test_a_path_from_ready_to_valid_is_found(tmp_path):
    fault = Fault(cls=EventQueue, old="self.o.valid.eq(level != 0)", new="self.o.valid.eq((level != 0) & self.o.ready)")
    with planted(fault):
        paths = combinational_paths(lambda: EventQueue(3, depth=2), tmp_path / "queue")
    assert paths == [("o__ready", "o__valid")]
    fault = Fault(cls=Fork, old="o.valid.eq(self.i.valid & ~done[n])", new="o.valid.eq(self.i.valid & served[1])")
    with planted(fault):
        paths = combinational_paths(lambda: Fork(3, 3), tmp_path / "fork")
    assert paths == [("o1__ready", f"o{n}__valid") for n in range(3)]


class Counter(wiring.Component):
    """Counts while told to, up to 5."""

    def __init__(self):
        super().__init__({"go": In(1), "count": Out(4)})

    def elaborate(self, platform):
        m, full = Module(), Signal()
        m.d.comb += full.eq(self.count == 5)
        with m.If(self.go & ~full):
            m.d.sync += self.count.eq(self.count + 1)
        return m


def counter(claims, *, depth=3, induction=True) -> Proof:
    return Proof(name="counter", claim="", make=Counter, claims=claims, depth=depth, induction=induction)


def test_what_holds_for_ever_is_proven(tmp_path):
    outcome = prove(counter(lambda c, dut: c.check("small", dut.count <= 5)), tmp_path)
    assert (outcome.status, outcome.depth, outcome.k, outcome.trace) == ("proven", 3, 1, None)


def test_what_holds_for_a_while_is_not(tmp_path):
    """Never 7: true, but from 6, which is never reached either, it would be."""

    def claims(c, dut):
        c.check("never_seven", dut.count != 7)

    assert prove(counter(claims), tmp_path / "a").status == "bounded"
    assert prove(counter(claims), tmp_path / "a").violated == ("never_seven",)

    def claims_stronger(c, dut):
        claims(c, dut)
        c.invariant("small", dut.count <= 5)

    assert prove(counter(claims_stronger), tmp_path / "b").status == "proven"

    def claims_false(c, dut):
        c.check("never_two", dut.count != 2)

    assert prove(counter(claims_false, depth=3), tmp_path / "c").status == "bounded"  # reset, 0, 1
    outcome = prove(counter(claims_false, depth=4), tmp_path / "d")
    assert (outcome.status, outcome.depth, outcome.violated) == ("counterexample", 3, ("never_two",))
    assert "never_two" in outcome.trace.read_text()


def test_assumptions(tmp_path):
    def claims(c, dut):
        c.assume("stands", ~dut.go)
        c.check("zero", dut.count == 0)

    assert prove(counter(claims), tmp_path / "a").status == "proven"

    def contradicting(c, dut):
        claims(c, dut)
        c.assume("moves", dut.go)

    with pytest.raises(RuntimeError, match="counter: the assumptions contradict each other"):
        prove(counter(contradicting), tmp_path / "b")


def test_nothing_starts_without_reset(tmp_path):
    """A register without reset is not 0 at the start."""

    class Unreset(Counter):
        def elaborate(self, platform):
            m = Module()
            kept = Signal(4, reset_less=True)
            m.d.sync += kept.eq(kept)
            m.d.comb += self.count.eq(kept)
            return m

    proof = Proof(
        name="u", claim="", make=Unreset, claims=lambda c, dut: c.check("zero", dut.count == 0), depth=3
    )  # fmt: skip
    assert prove(proof, tmp_path).status == "counterexample"


def test_wrong_names(tmp_path):
    with pytest.raises(InputError, match=r"^nothing: 0 signals have that name; there are: count, full"):
        prove(counter(lambda c, dut: c.inner("nothing")), tmp_path)
    with pytest.raises(InputError, match=r"^sub\.count: no submodule sub; there are: $"):
        prove(counter(lambda c, dut: c.inner("sub.count")), tmp_path)
    fault = Fault(cls=EventQueue, old="no such line", new="")
    before = EventQueue.elaborate
    with pytest.raises(InputError, match="elaborate holds the line 0 times; accepted is once"), planted(fault):
        pass
    assert EventQueue.elaborate is before
