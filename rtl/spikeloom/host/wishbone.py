"""Wishbone B4 slave (classic cycles, 32-bit port, byte granularity) in front of a register bank."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .csr import BYTES, CsrBus
from .registers import REGISTER_BITS

__all__ = ["WishboneSlave", "wishbone_ports"]


def wishbone_ports(address_bits: int) -> dict:
    """Ports of the slave; `adr` counts words: bit 2 of a byte address is its bit 0."""
    return {
        "cyc": In(1),
        "stb": In(1),
        "we": In(1),
        "adr": In(address_bits - 2),
        "sel": In(BYTES),
        "dat_w": In(REGISTER_BITS),
        "dat_r": Out(REGISTER_BITS),
        "ack": Out(1),
        "err": Out(1),
    }


class WishboneSlave(wiring.Component):
    """Answers one cycle after `stb`, with `ack` or, where the bank refused, with `err`; each for one cycle.

    `ack`, `err` and `dat_r` come from flip-flops (a registered feedback slave): an access every two cycles. A master
    keeps `cyc` and `stb` until it is answered, as classic cycles demand.

    Members
    -------
    cyc ... err : `wishbone_ports`
    bus : Out(CsrBus)
    """

    def __init__(self, address_bits: int):
        super().__init__(wishbone_ports(address_bits) | {"bus": Out(CsrBus(address_bits))})

    def elaborate(self, platform):
        m, bus = Module(), self.bus
        answering, ask = Signal(), Signal()
        m.d.comb += [
            ask.eq(self.cyc & self.stb & ~answering),
            bus.write.eq(ask & self.we),
            bus.read.eq(ask & ~self.we),
            bus.address.eq(self.adr << 2),
            bus.w_data.eq(self.dat_w),
            bus.w_strobe.eq(self.sel),
            self.ack.eq(answering & ~bus.error),
            self.err.eq(answering & bus.error),
            self.dat_r.eq(bus.r_data),
        ]
        m.d.sync += answering.eq(ask)
        return m
