"""The AXI4-Lite slave with registers behind it: one answer a request, in order, and what is refused changes nothing."""

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from spikeloom.host.axi_lite import OKAY, SLVERR, AxiLiteSlave, axi_lite_ports
from spikeloom.host.csr import RegisterBank, register_signature
from spikeloom.host.registers import REGISTER_BITS, Field, Register, RegisterMap

from .harness import Claims, Fault, Proof

__all__ = ["PROOFS"]


def _register(name: str, address: int, access: Any, *fields: tuple[str, int, int, int], **given) -> Register:
    parts = tuple(Field(name=field, offset=at, bits=bits, reset=reset, doc="") for field, at, bits, reset in fields)
    return Register(name=name, address=address, access=access, doc="", fields=parts, **given)


MAP = RegisterMap(
    name="proof",
    registers=(
        _register("identity", 0x0, "ro", ("value", 0, 32, 0x5B1DE), constant=True),
        _register("status", 0x4, "ro", ("value", 0, 3, 0)),
        _register("control", 0x8, "rw", ("low", 0, 3, 5), ("high", 8, 2, 1)),
        _register("word", 0x14, "push", ("value", 0, 32, 0)),
    ),
)
"""One register of each kind that matters here, with a gap in the addresses and one in the bits."""


class Registers(wiring.Component):
    """The slave and a bank of `MAP`."""

    def __init__(self):
        ports = axi_lite_ports(MAP.address_bits)
        ports |= {register.name: Out(register_signature(register)) for register in MAP if not register.constant}
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = slave = AxiLiteSlave(MAP.address_bits)
        m.submodules.bank = bank = RegisterBank(MAP)
        connect(m, slave.bus, bank.bus)
        for name, member in axi_lite_ports(MAP.address_bits).items():
            mine, its = getattr(self, name), getattr(slave, name)
            m.d.comb += its.eq(mine) if member.flow == In else mine.eq(its)
        for register in MAP:
            if register.constant:
                continue
            mine, its = getattr(self, register.name), getattr(bank, register.name)
            for name, member in register_signature(register).members.items():
                inner, outer = Value.cast(getattr(its, name)), Value.cast(getattr(mine, name))
                m.d.comb += inner.eq(outer) if member.flow == In else outer.eq(inner)
        return m


@dataclass
class Waiting:
    """What was taken on a channel and not answered, oldest first: at most two, one held and one in the answer."""

    count: Signal
    oldest: Signal
    newest: Signal


def _waiting(c: Claims, name: str, taken, value, answered) -> Waiting:
    bits = len(value)
    count = Signal(range(4), name=f"{name}_waiting")
    first, second = Signal(bits, name=f"{name}_oldest"), Signal(bits, name=f"{name}_next")
    left = count - answered
    c.m.d.sync += count.eq(left + taken)
    with c.m.If(answered):
        c.m.d.sync += first.eq(second)
    with c.m.If(taken):
        with c.m.If(left[:2] == 0):
            c.m.d.sync += first.eq(value)
        with c.m.Else():
            c.m.d.sync += second.eq(value)
    return Waiting(count, first, Array([first, first, second, second])[count])


def _held(say, c: Claims, name: str, valid, ready, payload) -> None:
    waits, shown = c.past(valid & ~ready, f"{name}_waits"), c.past(payload, f"{name}_shown")
    say(f"{name}_held", ~waits | (valid & (payload == shown)))


def registers(c: Claims, dut: Registers) -> None:
    """A model that does each write when it is answered; between a write and its answer nothing else happens."""
    write_in = Cat(dut.wdata, dut.wstrb)
    _held(c.assume, c, "aw", dut.awvalid, dut.awready, dut.awaddr)
    _held(c.assume, c, "w", dut.wvalid, dut.wready, write_in)
    _held(c.assume, c, "ar", dut.arvalid, dut.arready, dut.araddr)
    _held(c.check, c, "b", dut.bvalid, dut.bready, dut.bresp)
    _held(c.check, c, "r", dut.rvalid, dut.rready, Cat(dut.rresp, dut.rdata))

    b_sent, r_sent = dut.bvalid & dut.bready, dut.rvalid & dut.rready
    aw = _waiting(c, "aw", dut.awvalid & dut.awready, dut.awaddr, b_sent)
    w = _waiting(c, "w", dut.wvalid & dut.wready, write_in, b_sent)
    ar = _waiting(c, "ar", dut.arvalid & dut.arready, dut.araddr, r_sent)
    c.implies("b_after_both", dut.bvalid, (aw.count != 0) & (w.count != 0))
    c.implies("r_after_ar", dut.rvalid, ar.count != 0)

    # No answer is forgotten: six cycles are the longest way, with a read or a write in front.
    for name, waits in (
        ("write", (aw.count != 0) & (w.count != 0) & ~dut.bvalid),
        ("read", (ar.count != 0) & ~dut.rvalid),
    ):
        cycles = Signal(range(9), name=f"{name}_cycles")
        c.m.d.sync += cycles.eq(Mux(waits, cycles + 1, 0))
        c.check(f"{name}_answered_in_time", cycles <= 6)

    # Writes, as the description of the registers says.
    address, word, strobe = aw.oldest, w.oldest[:REGISTER_BITS], w.oldest[REGISTER_BITS:]
    mask, control = Cat(*[bit.replicate(8) for bit in strobe]), MAP["control"]
    model = Signal(control.bits, init=control.reset, name="control_model")
    new = Signal(control.bits, name="control_written")
    pushed = Signal(name="pushed")  # since the answer before
    push = dut.word.w_en
    to_control, to_word = address == control.address, address == MAP["word"].address
    c.m.d.comb += new.eq(Mux(to_control, (model & ~mask | word & mask) & control.mask, model))
    rises = dut.bvalid & ~c.past(dut.bvalid & ~dut.bready, "answer_waited")
    now = Mux(rises, new, model)
    c.m.d.sync += [model.eq(now), pushed.eq(Mux(dut.bvalid, 0, pushed | push))]
    accepted = to_control | (to_word & (pushed | ~strobe.any()))
    c.implies("b_right", rises, dut.bresp == Mux(accepted, OKAY, SLVERR))
    c.implies("pushed_only_so", rises & pushed, to_word & strobe.all())
    c.implies("one_push_a_write", push, ~pushed & (aw.count != 0) & (w.count != 0) & ~dut.bvalid)
    c.implies("push_as_written", push, dut.word.room & (Value.cast(dut.word.w_data) == word))
    shown = Value.cast(dut.control.value)
    writing, reading = c.inner("slave.writing"), c.inner("slave.reading")
    c.check(
        "changed_by_a_write_only", (shown == now) | ((aw.count != 0) & (w.count != 0) & ~dut.bvalid & (shown == new))
    )

    # Reads; the value of a port is that of two cycles before, when the bank was asked.
    status = c.past(c.past(dut.status.value, "status_before"), "status_asked")
    good, value = Const(0, 1), Const(0, REGISTER_BITS)
    for register in MAP:
        if register.readable:
            here = ar.oldest == register.address
            good = good | here
            held = {"status": status, "control": shown}.get(register.name, Const(register.reset, REGISTER_BITS))
            value = value | Mux(here, held, 0)
    first_shown = dut.rvalid & ~c.past(dut.rvalid & ~dut.rready, "read_waited")
    c.implies("r_right", first_shown, dut.rresp == Mux(good, OKAY, SLVERR))
    c.implies("r_value", first_shown, dut.rdata == value)

    # The inside: what is held is the newest that was taken; what is being done is the oldest.
    address_held, word_held = c.inner("slave.address_held"), c.inner("slave.word_held")
    wanted_held = c.inner("slave.wanted_held")
    doing, answering = writing | dut.bvalid, reading | dut.rvalid
    c.invariant("aw_count", aw.count == address_held + doing)
    c.invariant("w_count", w.count == word_held + doing)
    c.invariant("ar_count", ar.count == wanted_held + answering)
    c.invariant("one_answer", ~(writing & dut.bvalid) & ~(reading & dut.rvalid) & ~(reading & writing))
    c.invariant("address_kept", ~address_held | (c.inner("slave.address") == aw.newest))
    kept = Cat(c.inner("slave.word"), c.inner("slave.strobe"))
    c.invariant("word_kept", ~word_held | (kept == w.newest))
    c.invariant("wanted_kept", ~wanted_held | (c.inner("slave.wanted") == ar.newest))
    error, data = c.inner("bank.bus__error"), c.inner("bank.bus__r_data")
    c.invariant("written", ~writing | ((shown == new) & (error == ~accepted)))
    c.invariant("written_push", ~(writing & pushed) | (to_word & strobe.all()))
    c.invariant("stored", writing | (shown == now))
    c.invariant("read", ~reading | ((error == ~good) & (data == _asked(c, dut, ar, shown))))
    c.invariant("not_pushed", ~pushed | writing | rises)


def _asked(c: Claims, dut: Registers, ar: Waiting, shown) -> Value:
    """What the bank answers to the oldest read, one cycle after it was asked."""
    value = Const(0, REGISTER_BITS)
    before = c.past(dut.status.value, "status_one_before")
    for register in MAP:
        if register.readable:
            held = {"status": before, "control": shown}.get(register.name, Const(register.reset, REGISTER_BITS))
            value = value | Mux(ar.oldest == register.address, held, 0)
    return value


PROOFS = (
    Proof(
        name="axi_lite",
        claim="AXI4-Lite slave and registers: one answer a request, never before AW and W, held, within 6 cycles; "
        "what is refused changes nothing",
        make=Registers,
        claims=registers,
        depth=6,
        search=10,
        faults=(
            Fault(cls=AxiLiteSlave, old="address_held & word_held & ~self.bvalid", new="address_held & ~self.bvalid"),
            Fault(cls=AxiLiteSlave, old="with m.Elif(self.bready):", new="with m.Else():"),
            Fault(cls=AxiLiteSlave, old="can_read & ~(can_write & write_turn)", new="can_read"),
            Fault(cls=AxiLiteSlave, old="address_held.eq(0), word_held.eq(0)", new="address_held.eq(0)"),
            Fault(cls=AxiLiteSlave, old="response = Mux(bus.error, SLVERR, OKAY)", new="response = OKAY"),
            Fault(cls=RegisterBank, old="stored & ~mask) & register.mask", new="stored & ~mask)"),
            Fault(cls=RegisterBank, old="aligned = bus.address[:2] == 0", new="aligned = bus.address[0] == 0"),
            Fault(cls=RegisterBank, old="allowed = ~some | (all_ & port.room)", new="allowed = ~some | all_"),
        ),
    ),
)
