"""Frames on a stream of bytes: `SYNC, type, sequence, length, payload, CRC`; see `spikeloom.host.protocol`."""

from contextlib import contextmanager

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .protocol import MAX_PAYLOAD, SYNC

__all__ = ["FrameHeader", "FrameReceiver", "FrameTransmitter"]

CRC_INIT = 0xFFFF
OFFSET_BITS = 8


class FrameHeader(data.StructLayout):
    """What stands in front of the payload."""

    def __init__(self):
        super().__init__({"type": 8, "sequence": 8, "length": 8})


def _crc_after(crc: Value, byte: Value) -> Value:
    """CRC-16/CCITT of one more byte: eight steps of the bitwise division, most significant bit first."""
    bits = [crc[n] for n in range(16)]
    for n in reversed(range(8)):
        out = bits[15] ^ byte[n]
        bits = [out, *bits[:15]]
        bits[5], bits[12] = bits[5] ^ out, bits[12] ^ out
    return Cat(*bits)


class FrameReceiver(wiring.Component):
    """Finds frames; the payload is written away while it comes in and counts only when `good` follows.

    Parameters
    ----------
    quiet_cycles : int
        A frame that pauses for so many cycles was broken off.

    Members
    -------
    i : In(stream of bytes), always taken
    header : Out(FrameHeader), stable from `begins` to `good` or `bad`
    begins : Out(1), a pulse: the header is complete
    w_en, w_addr, w_data : Out, the payload's bytes and their place in it
    good, bad : Out(1), a pulse: the frame ended with the right CRC, or it was damaged
    """

    i: stream.Interface

    def __init__(self, *, quiet_cycles: int):
        self._quiet_cycles = quiet_cycles
        super().__init__(
            {
                "i": In(stream.Signature(8, always_ready=True)),
                "header": Out(FrameHeader()),
                "begins": Out(1),
                "w_en": Out(1),
                "w_addr": Out(OFFSET_BITS),
                "w_data": Out(8),
                "good": Out(1),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform):
        m, byte, header = Module(), self.i.payload, self.header
        crc = Signal(16)
        offset = Signal(OFFSET_BITS)
        quiet = Signal(range(self._quiet_cycles + 1))
        broken = Signal()
        m.d.sync += [self.begins.eq(0), self.good.eq(0), self.bad.eq(0)]
        m.d.comb += [self.w_addr.eq(offset), self.w_data.eq(byte)]

        @contextmanager
        def state_of(name):
            """A state inside of a frame: what to do with a byte; left when the frame is broken off."""
            with m.State(name):
                with m.If(broken):
                    m.next = "HUNT"
                with m.Elif(self.i.valid):
                    yield

        with m.FSM() as fsm:
            with m.State("HUNT"), m.If(self.i.valid & (byte == SYNC)):
                m.d.sync += [crc.eq(CRC_INIT), offset.eq(0)]
                m.next = "TYPE"
            for state, following in (("TYPE", "SEQUENCE"), ("SEQUENCE", "LENGTH")):
                with state_of(state):
                    m.d.sync += header[state.lower()].eq(byte)
                    m.next = following
            with state_of("LENGTH"):
                m.d.sync += header.length.eq(byte)
                with m.If(byte > MAX_PAYLOAD):
                    m.d.sync += self.bad.eq(1)
                    m.next = "HUNT"
                with m.Else():
                    m.d.sync += self.begins.eq(1)
                    m.next = "PAYLOAD"
                    with m.If(byte == 0):
                        m.next = "HIGH"
            with state_of("PAYLOAD"):
                m.d.comb += self.w_en.eq(1)
                m.d.sync += offset.eq(offset + 1)
                with m.If(offset == header.length - 1):
                    m.next = "HIGH"
            with state_of("HIGH"):
                m.next = "LOW"
            with state_of("LOW"):
                # The division of a message and its own remainder leaves nothing.
                whole = _crc_after(crc, byte) == 0
                m.d.sync += [self.good.eq(whole), self.bad.eq(~whole)]
                m.next = "HUNT"
        within = ~fsm.ongoing("HUNT")
        with m.If(within & self.i.valid):
            m.d.sync += crc.eq(_crc_after(crc, byte))
        m.d.sync += quiet.eq(Mux(within & ~self.i.valid, quiet + 1, 0))
        m.d.comb += broken.eq(quiet == self._quiet_cycles)
        with m.If(broken):
            m.d.sync += [self.bad.eq(1), quiet.eq(0)]
        return m


class FrameTransmitter(wiring.Component):
    """Sends a frame: header, then the payload's bytes as they are read, then the CRC.

    Members
    -------
    i : In(stream of FrameHeader), taken when the frame was sent
    r_addr, r_data : the payload: `r_data` follows a cycle after `r_addr`
    o : Out(stream of bytes)
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(FrameHeader())),
                "r_addr": Out(OFFSET_BITS),
                "r_data": In(8),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform):
        m, header = Module(), self.i.payload
        crc = Signal(16)
        offset = Signal(OFFSET_BITS)
        passed = Signal()
        m.d.comb += [passed.eq(self.o.valid & self.o.ready), self.r_addr.eq(offset)]

        states = (
            ("SYNC", C(SYNC, 8), "TYPE"),
            ("TYPE", header.type, "SEQUENCE"),
            ("SEQUENCE", header.sequence, "LENGTH"),
            ("LENGTH", header.length, "FETCH"),
            ("PAYLOAD", self.r_data, "FETCH"),
            ("HIGH", crc[8:], "LOW"),
            ("LOW", crc[:8], "DONE"),
        )
        with m.FSM() as fsm:
            with m.State("IDLE"), m.If(self.i.valid):
                m.d.sync += [crc.eq(CRC_INIT), offset.eq(0)]
                m.next = "SYNC"
            for state, byte, following in states:
                with m.State(state):
                    m.d.comb += self.o.payload.eq(byte)
                    with m.If(passed):
                        m.next = following
                        if state not in ("SYNC", "HIGH", "LOW"):
                            m.d.sync += crc.eq(_crc_after(crc, byte))
                        if state == "PAYLOAD":
                            m.d.sync += offset.eq(offset + 1)
                        if following == "FETCH":
                            end = header.length == (0 if state == "LENGTH" else offset + 1)
                            with m.If(end):
                                m.next = "HIGH"
            with m.State("FETCH"):
                m.next = "PAYLOAD"
            with m.State("DONE"):
                m.next = "IDLE"
        m.d.comb += [
            self.o.valid.eq(~(fsm.ongoing("IDLE") | fsm.ongoing("FETCH") | fsm.ongoing("DONE"))),
            self.i.ready.eq(fsm.ongoing("DONE")),
        ]
        return m
