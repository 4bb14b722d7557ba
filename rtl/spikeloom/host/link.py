"""A core behind a serial line: frames become events and image words, output words become frames.

Nothing is lost and nothing comes twice: a frame is passed on only when its CRC was right and it is the next one, and it
is acknowledged when the core has taken all of it; an output frame stays in its buffer, and is sent again, until the
host has acknowledged it. When the host does not, the core waits.
"""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect

from ..blocks.sram import Sram
from ..cores.accelerator import Accelerator
from ..mapping.plan import CorePlan
from .frames import FrameHeader, FrameReceiver, FrameTransmitter
from .protocol import MAX_PAYLOAD, REPORT_BYTES, TAG_BITS, VERSION, FrameType, LinkFormat
from .uart import UartReceiver, UartTransmitter

__all__ = ["Inbox", "LinkedCore", "Outbox"]

BUFFER = 256
IMAGE_BYTES = 4
COUNTER_BITS = 8
FRAME_OVERHEAD_BITS = 60
"""Bits on the line of a frame without a payload."""


class Inbox(wiring.Component):
    """Frames in order become words.

    Members
    -------
    header, begins, w_en, w_addr, w_data, good : In, as `FrameReceiver` gives them
    events, load : Out(stream), their words (`load` only where the core loads)
    acknowledge : Out(1), a pulse: send an acknowledgement of `taken`
    taken : Out(8), sequence number of the latest frame that the core has taken whole
    refused : Out(1), a pulse: a whole frame of a type or length that the core does not know
    """

    def __init__(self, link: LinkFormat):
        self._link = link
        ports = {
            "header": In(FrameHeader()),
            "begins": In(1),
            "w_en": In(1),
            "w_addr": In(8),
            "w_data": In(8),
            "good": In(1),
            "events": Out(stream.Signature(link.event_bits)),
            "acknowledge": Out(1),
            "taken": Out(8),
            "refused": Out(1),
        }
        if link.loads:
            ports["load"] = Out(stream.Signature(32))
        super().__init__(ports)

    def elaborate(self, platform):
        m, link, header = Module(), self._link, self.header
        m.submodules.buffer = buffer = Sram(name="link.inbox", depth=2 * BUFFER, width=8, port_type="1r1w")
        filled = Array(Signal(name=f"filled{n}") for n in range(2))
        loading = Array(Signal(name=f"loading{n}") for n in range(2))
        length = Array(Signal(8, name=f"length{n}") for n in range(2))
        expected = Signal(8)  # sequence number of the next new frame
        current = Signal(8)  # of the frame that goes to the core, or will
        bank = current[0]

        # What comes in. Whether a frame may be stored is settled by its header: its buffer may become free half way.
        is_events = header.type == FrameType.EVENTS
        is_image = (header.type == FrameType.IMAGE) if link.loads else Const(0)
        sequenced = is_events | is_image
        storing = Signal()
        part = Signal(2)  # bytes of a word so far
        last_part = Mux(is_image, IMAGE_BYTES - 1, link.event_bytes - 1)
        with m.If(self.begins):
            m.d.sync += [
                storing.eq(sequenced & (header.sequence == expected) & ~filled[header.sequence[0]]),
                part.eq(0),
            ]
        m.d.comb += [
            buffer.w_en.eq(self.w_en & storing),
            buffer.w_addr.eq(Cat(self.w_addr, header.sequence[0])),
            buffer.w_data.eq(self.w_data),
        ]
        with m.If(self.w_en):
            m.d.sync += part.eq(Mux(part == last_part, 0, part + 1))
        whole_words = (part == 0) & (header.length != 0)
        known = (header.type == FrameType.STATUS) | (header.type == FrameType.RESET) | (header.type == FrameType.ACK)
        m.d.comb += self.refused.eq(self.good & ~Mux(sequenced, whole_words, known & (header.length == 0)))
        accept = self.good & sequenced & whole_words & storing
        repeated = self.good & sequenced & whole_words & ~storing
        with m.If(self.good):
            m.d.sync += storing.eq(0)

        # What goes out: bytes into a word, the word to its stream.
        offset = Signal(8)
        word = Signal(32)
        have = Signal(3)
        size = Mux(loading[bank], IMAGE_BYTES, link.event_bytes)
        passed, finished = Signal(), Signal()
        m.d.comb += [buffer.r_addr.eq(Cat(offset, bank)), self.taken.eq(current - 1)]
        m.d.comb += self.events.payload.eq(word[32 - 8 * link.event_bytes :][: link.event_bits])
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.sync += [offset.eq(0), have.eq(0)]
                with m.If(filled[bank]):
                    m.next = "READ"
            with m.State("READ"):
                m.d.comb += buffer.r_en.eq(1)
                m.d.sync += [offset.eq(offset + 1), have.eq(have + 1)]
                m.next = "SHIFT"
            with m.State("SHIFT"):
                m.d.sync += word.eq(Cat(word[8:], buffer.r_data))  # lowest byte first: a word ends in the highest bits
                m.next = "READ"
                with m.If(have == size):
                    m.next = "WORD"
            with m.State("WORD"), m.If(passed):
                m.d.sync += have.eq(0)
                m.next = "READ"
                with m.If(offset == length[bank]):
                    m.d.comb += finished.eq(1)
                    m.next = "IDLE"
            offered = fsm.ongoing("WORD")
        m.d.comb += self.events.valid.eq(offered & ~loading[bank])
        taken = self.events.valid & self.events.ready
        if link.loads:
            m.d.comb += [self.load.valid.eq(offered & loading[bank]), self.load.payload.eq(word)]
            taken = taken | (self.load.valid & self.load.ready)
        m.d.comb += [passed.eq(taken), self.acknowledge.eq(finished | repeated)]

        with m.If(accept):
            slot = header.sequence[0]
            m.d.sync += [
                expected.eq(expected + 1),
                filled[slot].eq(1),
                loading[slot].eq(is_image),
                length[slot].eq(header.length),
            ]
        with m.If(finished):
            m.d.sync += [filled[bank].eq(0), current.eq(current + 1)]
        return m


class Outbox(wiring.Component):
    """Words of the output streams become frames, one at a time, each kept until it was acknowledged.

    Parameters
    ----------
    flush_cycles : int
        A frame that is not full is sent when no word has come for so long.
    retry_cycles : int
        An unacknowledged frame is sent again after so long.

    Members
    -------
    <name> : In(stream), for each output stream of the link
    send : Out(1), the frame of `length` bytes and number `sequence` is to be sent
    sent : In(1), a pulse: it was
    r_addr, r_data : its payload
    acknowledged : In(1), `ack` : In(8), an acknowledgement came in
    """

    def __init__(self, link: LinkFormat, *, flush_cycles: int, retry_cycles: int):
        self._link, self._flush_cycles, self._retry_cycles = link, flush_cycles, retry_cycles
        ports = {name: In(stream.Signature(bits)) for name, bits in link.streams}
        super().__init__(
            ports
            | {
                "send": Out(1),
                "sent": In(1),
                "length": Out(8),
                "sequence": Out(8),
                "r_addr": In(8),
                "r_data": Out(8),
                "acknowledged": In(1),
                "ack": In(8),
            }
        )

    def elaborate(self, platform):
        m, link = Module(), self._link
        m.submodules.buffer = buffer = Sram(name="link.outbox", depth=BUFFER, width=8, port_type="1r1w")
        size = link.output_bytes
        word = Signal(8 * size)
        left = Signal(range(size + 1))
        timer = Signal(range(max(self._flush_cycles, self._retry_cycles) + 1))
        streams = [getattr(self, name) for name, _ in link.streams]
        m.d.comb += [
            buffer.r_en.eq(1),
            buffer.r_addr.eq(self.r_addr),
            self.r_data.eq(buffer.r_data),
            buffer.w_addr.eq(self.length),
            buffer.w_data.eq(word[:8]),
        ]
        collecting = Signal()
        # The lowest number goes first: none can hold up another for ever, because every input has an end.
        free = collecting
        for port in streams:
            m.d.comb += port.ready.eq(free)
            free = free & ~port.valid
        with m.FSM() as fsm:
            m.d.comb += collecting.eq(fsm.ongoing("COLLECT"))
            with m.State("COLLECT"):
                m.d.sync += timer.eq(timer + 1)
                with m.If(Cat(port.valid for port in streams).any()):
                    m.d.sync += left.eq(size)
                    m.next = "STORE"
                    for number, port in reversed(list(enumerate(streams))):
                        with m.If(port.valid & port.ready):
                            m.d.sync += word.eq(number | port.payload << TAG_BITS)
                with m.Elif(timer == self._flush_cycles):
                    m.d.sync += timer.eq(0)
                    with m.If(self.length != 0):
                        m.next = "SEND"
            with m.State("STORE"):
                m.d.comb += buffer.w_en.eq(1)
                m.d.sync += [word.eq(word >> 8), left.eq(left - 1), self.length.eq(self.length + 1), timer.eq(0)]
                with m.If(left == 1):
                    m.next = "COLLECT"
                    with m.If(self.length == MAX_PAYLOAD - 1):
                        m.next = "SEND"
            with m.State("SEND"):
                m.d.comb += self.send.eq(1)
                m.d.sync += timer.eq(0)
                with m.If(self.sent):
                    m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += timer.eq(timer + 1)
                with m.If(self.acknowledged & (self.ack == self.sequence)):
                    m.d.sync += [self.sequence.eq(self.sequence + 1), self.length.eq(0), timer.eq(0)]
                    m.next = "COLLECT"
                with m.Elif(timer == self._retry_cycles):
                    m.next = "SEND"
        return m


class LinkedCore(wiring.Component):
    """An accelerator with a serial line: all that a board needs but pins and clock.

    Parameters
    ----------
    divisor : int
        Clock cycles of a bit on the line.
    clock_hz : float
        For the times that follow: a broken-off frame is given up after 20 ms, an output frame is sent after 1 ms
        without a word, and again after 200 ms without an acknowledgement, the heart beats once a second.
    quiet_cycles, flush_cycles, retry_cycles : int
        Other times (simulation).

    Members
    -------
    rx, tx : the line
    heartbeat, busy, error : Out(1); busy: an input is under way; error: a frame was damaged or refused or a
        byte had no stop bit (since power came on), or an event was dropped or an image refused (since the last reset)
    answer : Out, index of the latest decision (where there is one)
    """

    def __init__(
        self,
        plan: CorePlan,
        *,
        divisor: int,
        clock_hz: float,
        quiet_cycles: int | None = None,
        flush_cycles: int | None = None,
        retry_cycles: int | None = None,
    ):
        self.plan, self.link = plan, LinkFormat.of(plan)
        self._divisor, self._clock_hz = divisor, clock_hz
        frame_cycles = (FRAME_OVERHEAD_BITS + 10 * MAX_PAYLOAD) * divisor
        self._quiet_cycles = quiet_cycles or max(round(20e-3 * clock_hz), 40 * divisor)
        self._flush_cycles = flush_cycles or max(round(1e-3 * clock_hz), 1)
        self._retry_cycles = retry_cycles or max(round(200e-3 * clock_hz), 4 * frame_cycles)
        self.core = Accelerator(plan)
        ports = {"rx": In(1, init=1), "tx": Out(1, init=1), "heartbeat": Out(1), "busy": Out(1), "error": Out(1)}
        if plan.decision != "none":
            ports["answer"] = Out(self.core.decision.payload["index"].shape())
        super().__init__(ports)

    def elaborate(self, platform):
        m, link = Module(), self.link
        restart = Signal()
        m.submodules.core = ResetInserter(restart)(self.core)
        m.submodules.uart_rx = uart_rx = UartReceiver(self._divisor)
        m.submodules.uart_tx = uart_tx = UartTransmitter(self._divisor)
        m.submodules.receiver = receiver = FrameReceiver(quiet_cycles=self._quiet_cycles)
        m.submodules.transmitter = transmitter = FrameTransmitter()
        inbox = Inbox(link)
        outbox = Outbox(link, flush_cycles=self._flush_cycles, retry_cycles=self._retry_cycles)
        m.submodules.inbox = ResetInserter(restart)(inbox)
        m.submodules.outbox = ResetInserter(restart)(outbox)
        connect(m, uart_rx.o, receiver.i)
        connect(m, transmitter.o, uart_tx.i)
        m.d.comb += [uart_rx.rx.eq(self.rx), self.tx.eq(uart_tx.tx)]
        m.d.comb += [
            getattr(inbox, name).eq(getattr(receiver, name))
            for name in ("header", "begins", "w_en", "w_addr", "w_data", "good")
        ]

        def lead(source, sink):
            m.d.comb += [
                sink.valid.eq(source.valid),
                Value.cast(sink.payload).eq(Value.cast(source.payload)),
                source.ready.eq(sink.ready),
            ]

        lead(inbox.events, self.core.events_in)
        if link.loads:
            lead(inbox.load, self.core.load)
        for name, bits in link.streams:
            source = getattr(self.core, name)
            if len(Value.cast(source.payload)) != bits:
                raise ValueError(f"{name}: the core has {len(Value.cast(source.payload))} bits, the link {bits}")
            lead(source, getattr(outbox, name))
        error = self._counters(m, uart_rx, receiver, inbox)
        self._send(m, receiver, transmitter, inbox, outbox, restart, error)
        self._lights(m, restart, error)
        return m

    def _counters(self, m: Module, uart_rx, receiver, inbox) -> dict[str, Signal]:
        """Saturating counters of what was dropped on the line; a restart leaves them."""
        counters = {}
        for name, event in (("corrupt", receiver.bad | inbox.refused), ("line", uart_rx.error)):
            counters[name] = counter = Signal(COUNTER_BITS, name=f"{name}_count")
            with m.If(event & ~counter.all()):
                m.d.sync += counter.eq(counter + 1)
        return counters

    def _send(self, m: Module, receiver, transmitter, inbox, outbox, restart, counters) -> None:
        """Answers to what came in, and output frames: whichever is due, acknowledgements first."""
        header = receiver.header
        plain = receiver.good & (header.length == 0)
        answered = plain & ((header.type == FrameType.STATUS) | (header.type == FrameType.RESET))
        m.d.comb += [
            restart.eq(plain & (header.type == FrameType.RESET)),
            outbox.acknowledged.eq(plain & (header.type == FrameType.ACK)),
            outbox.ack.eq(header.sequence),
        ]
        acknowledge, report, nonce = Signal(), Signal(), Signal(8)
        with m.If(answered):
            m.d.sync += [report.eq(1), nonce.eq(header.sequence)]
        with m.If(inbox.acknowledge):
            m.d.sync += acknowledge.eq(1)
        request, going = transmitter.i, Signal()
        kind = Signal(FrameHeader())
        m.d.comb += [request.valid.eq(going), request.payload.eq(kind)]
        with m.If(~going):
            m.d.sync += kind.eq(0)
            with m.If(acknowledge):
                m.d.sync += [kind.type.eq(FrameType.ACK), kind.sequence.eq(inbox.taken), going.eq(1)]
                with m.If(~inbox.acknowledge):
                    m.d.sync += acknowledge.eq(0)
            with m.Elif(report):
                m.d.sync += [
                    kind.type.eq(FrameType.REPORT), kind.sequence.eq(nonce), kind.length.eq(REPORT_BYTES), going.eq(1)
                ]  # fmt: skip
                with m.If(~answered):
                    m.d.sync += report.eq(0)
            with m.Elif(outbox.send):
                m.d.sync += [
                    kind.type.eq(FrameType.OUTPUT), kind.sequence.eq(outbox.sequence),
                    kind.length.eq(outbox.length), going.eq(1),
                ]  # fmt: skip
        with m.Elif(request.ready):
            m.d.sync += going.eq(0)
        with m.If(restart):  # what was to be acknowledged belongs to the time before
            m.d.sync += acknowledge.eq(0)
        m.d.comb += outbox.sent.eq(request.ready & (kind.type == FrameType.OUTPUT))

        flags = [self.core.load_complete, self.core.load_refused] if self.link.loads else [C(0, 1), C(0, 1)]
        bytes_ = [
            C(VERSION, 8),
            *(C(self.link.core_hash >> 8 * n & 0xFF, 8) for n in range(8)),
            Cat(*flags),
            self.core.dropped,
            counters["corrupt"],
            counters["line"],
        ]
        chosen = Signal(8)
        m.d.sync += chosen.eq(Array([Value.cast(byte) | C(0, 8) for byte in bytes_])[transmitter.r_addr[:4]])
        m.d.comb += [
            outbox.r_addr.eq(transmitter.r_addr),
            transmitter.r_data.eq(Mux(kind.type == FrameType.REPORT, chosen, outbox.r_data)),
        ]

    def _lights(self, m: Module, restart, counters) -> None:
        core = self.core
        half = max(2, round(self._clock_hz / 2))
        beat = Signal(range(half))
        m.d.sync += beat.eq(Mux(beat == half - 1, 0, beat + 1))
        with m.If(beat == half - 1):
            m.d.sync += self.heartbeat.eq(~self.heartbeat)
        # Inputs that went in and have not come out: as many last ticks leave as enter.
        flying = Signal(8)
        started = Signal()
        bits = len(Value.cast(core.events_in.payload))
        entered = core.events_in.valid & core.events_in.ready
        ended = entered & Value.cast(core.events_in.payload)[bits - 1]
        out = Value.cast(core.events_out.payload)
        left = core.events_out.valid & core.events_out.ready & out[len(out) - 1]
        m.d.sync += flying.eq(flying + (entered & ~started) - left)
        with m.If(entered):
            m.d.sync += started.eq(~ended)
        with m.If(restart):
            m.d.sync += [flying.eq(0), started.eq(0)]
        m.d.comb += self.busy.eq(flying != 0)
        wrong = counters["corrupt"].any() | counters["line"].any() | core.dropped.any()
        if self.link.loads:
            wrong = wrong | core.load_refused
        m.d.comb += self.error.eq(wrong)
        if self.plan.decision != "none":
            with m.If(core.decision.valid & core.decision.ready):
                m.d.sync += self.answer.eq(core.decision.p.index)
