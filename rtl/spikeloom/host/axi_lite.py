"""AXI4-Lite slave in front of a register bank.

The channels are independent: addresses and data of a write arrive in any order, and each channel's `ready` comes from
a flip-flop, so that no path leads from an input of the bus to an output. The answer stands three cycles after the
address (and data) were taken; a read and a write that wait together take turns.
"""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .csr import BYTES, CsrBus
from .registers import REGISTER_BITS

__all__ = ["OKAY", "SLVERR", "AxiLiteSlave", "axi_lite_ports"]

OKAY, SLVERR = 0b00, 0b10
"""Responses, AMBA AXI and ACE protocol specification (ARM IHI 0022E), table A3-4."""


def axi_lite_ports(address_bits: int) -> dict:
    """Ports of an AXI4-Lite slave with 32-bit data, by their names in the specification (table B1-1)."""
    return {
        "awaddr": In(address_bits),
        "awprot": In(3),
        "awvalid": In(1),
        "awready": Out(1),
        "wdata": In(REGISTER_BITS),
        "wstrb": In(BYTES),
        "wvalid": In(1),
        "wready": Out(1),
        "bresp": Out(2),
        "bvalid": Out(1),
        "bready": In(1),
        "araddr": In(address_bits),
        "arprot": In(3),
        "arvalid": In(1),
        "arready": Out(1),
        "rdata": Out(REGISTER_BITS),
        "rresp": Out(2),
        "rvalid": Out(1),
        "rready": In(1),
    }


class AxiLiteSlave(wiring.Component):
    """One access at a time; an access that the bank refuses is answered with SLVERR and read data 0.

    Members
    -------
    awaddr ... rready : the five channels, `axi_lite_ports`; `awprot` and `arprot` are taken and not looked at
    bus : Out(CsrBus)
    """

    def __init__(self, address_bits: int):
        self._address_bits = address_bits
        super().__init__(axi_lite_ports(address_bits) | {"bus": Out(CsrBus(address_bits))})

    def elaborate(self, platform):
        m, bus = Module(), self.bus
        # What each channel has taken and is not done with; `ready` is that there is none.
        address = Signal(self._address_bits)
        address_held = Signal()
        word = Signal(REGISTER_BITS)
        strobe = Signal(BYTES)
        word_held = Signal()
        wanted = Signal(self._address_bits)
        wanted_held = Signal()
        m.d.comb += [self.awready.eq(~address_held), self.wready.eq(~word_held), self.arready.eq(~wanted_held)]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [address.eq(self.awaddr), address_held.eq(1)]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [word.eq(self.wdata), strobe.eq(self.wstrb), word_held.eq(1)]
        with m.If(self.arvalid & self.arready):
            m.d.sync += [wanted.eq(self.araddr), wanted_held.eq(1)]

        # An access starts only when its answer has a place; the bank answers in the next cycle.
        can_write = Signal()
        can_read = Signal()
        writing = Signal()  # the bank's answer is there in this cycle
        reading = Signal()
        write_turn = Signal()  # who was served last lets the other one go first
        m.d.comb += [
            can_write.eq(address_held & word_held & ~self.bvalid & ~writing & ~reading),
            can_read.eq(wanted_held & ~self.rvalid & ~writing & ~reading),
            bus.write.eq(can_write & (write_turn | ~can_read)),
            bus.read.eq(can_read & ~(can_write & write_turn)),
            bus.address.eq(Mux(bus.write, address, wanted)),
            bus.w_data.eq(word),
            bus.w_strobe.eq(strobe),
        ]
        m.d.sync += [writing.eq(bus.write), reading.eq(bus.read)]
        with m.If(bus.write):
            m.d.sync += [address_held.eq(0), word_held.eq(0), write_turn.eq(0)]
        with m.If(bus.read):
            m.d.sync += [wanted_held.eq(0), write_turn.eq(1)]

        response = Mux(bus.error, SLVERR, OKAY)
        with m.If(writing):
            m.d.sync += [self.bvalid.eq(1), self.bresp.eq(response)]
        with m.Elif(self.bready):
            m.d.sync += self.bvalid.eq(0)
        with m.If(reading):
            m.d.sync += [self.rvalid.eq(1), self.rresp.eq(response), self.rdata.eq(bus.r_data)]
        with m.Elif(self.rready):
            m.d.sync += self.rvalid.eq(0)
        return m
