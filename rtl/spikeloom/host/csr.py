"""The register bank: gateware of a register description, behind a bus of our own that every bus slave drives."""

from typing import Any

from amaranth.hdl import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .registers import REGISTER_BITS, Register, RegisterMap

__all__ = ["CsrBus", "RegisterBank", "register_layout", "register_signature"]

BYTES = REGISTER_BITS // 8


class CsrBus(wiring.Signature):
    """One access at a time, from the slave's point of view of who asks.

    A cycle with `read` or `write` asks; `r_data` and `error` answer in the next one and hold until the next access,
    which comes two cycles after this one at the earliest (what an access sets in motion is then to be seen).

    Members
    -------
    address : Out, of bytes
    read, write : Out(1), never both
    w_data : Out(32), w_strobe : Out(4), which bytes count
    r_data : In(32), 0 after a write or an error
    error : In(1), the access was refused and changed nothing
    """

    def __init__(self, address_bits: int):
        super().__init__(
            {
                "address": Out(address_bits),
                "read": Out(1),
                "write": Out(1),
                "w_data": Out(REGISTER_BITS),
                "w_strobe": Out(BYTES),
                "r_data": In(REGISTER_BITS),
                "error": In(1),
            }
        )


def register_layout(register: Register) -> data.Layout:
    """The fields of a register as a layout of the bits up to the highest used one."""
    return data.FlexibleLayout(
        register.bits,
        {
            field.name: data.Field(signed(field.bits) if field.signed else field.bits, field.offset)
            for field in register.fields
        },
    )


def register_signature(register: Register) -> wiring.Signature:
    """What the bank shows of a register to the design behind it.

    ======================  =======================================================================================
    ro                      value : In; with an effect also r_en : Out(1), high in the cycle of a read
    rw                      value : Out
    rw, not stored          value : In, w_en : Out(1), w_data : Out, bytes that are not written as `value` has them
    w1c                     set : In, bits that become 1 (also while they are cleared); value : Out
    pulse                   value : Out, high in the cycle after the write
    push                    w_en : Out(1), w_data : Out, room : In(1); `w_en` only with `room`
    ======================  =======================================================================================
    """
    shape = register_layout(register)
    if register.access == "ro":
        members = {"value": In(shape)}
        if register.effect:
            members["r_en"] = Out(1)
    elif register.access == "rw" and not register.stored:
        members = {"value": In(shape), "w_en": Out(1), "w_data": Out(shape)}
    elif register.access == "w1c":
        members = {"set": In(shape), "value": Out(shape)}
    elif register.access == "push":
        members = {"w_en": Out(1), "w_data": Out(shape), "room": In(1)}
    else:
        members = {"value": Out(shape)}
    return wiring.Signature(members)


class RegisterBank(wiring.Component):
    """Decodes accesses and keeps what is stored.

    An address that is no register's or no multiple of 4, a write of what is only read, a read of what is only
    written, a push without room or of single bytes: `error`, and nothing changes. A write of no byte changes nothing.

    Members
    -------
    bus : In(CsrBus)
    <register> : Out(register_signature), for all but the constants
    """

    def __init__(self, registers: RegisterMap):
        self._registers = registers
        ports: dict = {"bus": In(CsrBus(registers.address_bits))}
        for register in registers:
            if not register.constant:
                ports[register.name] = Out(register_signature(register))
        super().__init__(ports)

    def elaborate(self, platform):
        m, bus = Module(), self.bus
        mask = Cat(*[strobe.replicate(8) for strobe in bus.w_strobe])
        some, all_ = bus.w_strobe.any(), bus.w_strobe.all()
        aligned = bus.address[:2] == 0
        read_here, write_here, shown = [], [], []
        for register in self._registers:
            here = Signal(name=f"{register.name}_here")
            m.d.comb += here.eq((bus.address[2:] == register.address >> 2) & aligned)
            port: Any = None if register.constant else getattr(self, register.name)
            w_en = Signal(name=f"{register.name}_w_en")
            m.d.comb += w_en.eq(bus.write & here & some)
            value: Value = Const(0, REGISTER_BITS)
            allowed: Value = Const(1)
            match register.access:
                case "ro":
                    value = Const(register.reset, REGISTER_BITS) if register.constant else Value.cast(port.value)
                    if register.effect:
                        m.d.comb += port.r_en.eq(bus.read & here)
                case "rw" if register.stored:
                    stored = Signal(register.bits, init=register.reset, name=register.name)
                    merged = (bus.w_data & mask | stored & ~mask) & register.mask
                    with m.If(w_en):
                        m.d.sync += stored.eq(merged)
                    m.d.comb += Value.cast(port.value).eq(stored)
                    value = stored
                case "rw":
                    value = Value.cast(port.value)
                    m.d.comb += [
                        port.w_en.eq(w_en),
                        Value.cast(port.w_data).eq((bus.w_data & mask | value & ~mask) & register.mask),
                    ]
                case "w1c":
                    stored = Signal(register.bits, name=register.name)
                    cleared = Mux(w_en, bus.w_data & mask, 0)
                    m.d.sync += stored.eq(stored & ~cleared | Value.cast(port.set))
                    m.d.comb += Value.cast(port.value).eq(stored)
                    value = stored
                case "pulse":
                    pulse = Signal(register.bits, name=register.name)
                    m.d.sync += pulse.eq(Mux(w_en, bus.w_data & mask & register.mask, 0))
                    m.d.comb += Value.cast(port.value).eq(pulse)
                case "push":
                    allowed = ~some | (all_ & port.room)
                    m.d.comb += [port.w_en.eq(w_en & all_ & port.room), Value.cast(port.w_data).eq(bus.w_data)]
            if register.readable:
                read_here.append(here)
                shown.append(Mux(here, value, 0))
            if register.writable:
                write_here.append(here & allowed)
        together = shown[0]
        for value in shown[1:]:
            together = together | value
        with m.If(bus.read | bus.write):
            m.d.sync += [
                bus.r_data.eq(Mux(bus.read, together, 0)),
                bus.error.eq(Mux(bus.write, ~Cat(*write_here).any(), ~Cat(*read_here).any())),
            ]
        return m
