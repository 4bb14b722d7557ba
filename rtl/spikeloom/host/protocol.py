"""The serial protocol of an FPGA board: frames, and both ends' rules of sending again. No HDL, no input or output.

A frame is ``SYNC, type, sequence, length, payload, CRC high, CRC low``; the CRC is CRC-16/CCITT-FALSE (polynomial
0x1021, initial value 0xFFFF, not reflected) of everything from the type to the end of the payload. A frame counts only
when its CRC is right. `docs/fpga.md` has the whole format.
"""

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..errors import InputError, SpikeloomError
from ..items import AddressMap, address_bits
from ..mapping.plan import CorePlan
from ..vectors import LOAD

__all__ = [
    "MAX_PAYLOAD",
    "REPORT_BYTES",
    "SYNC",
    "TAG_BITS",
    "VERSION",
    "WINDOW",
    "Decoder",
    "Frame",
    "FrameType",
    "LinkError",
    "LinkFormat",
    "Report",
    "Session",
    "crc16",
    "encode_frame",
]

VERSION = 1
SYNC = 0xA5
MAX_PAYLOAD = 240
"""Bytes; a multiple of every word size."""
WINDOW = 2
"""Frames that the host may have sent without an acknowledgement: as many as the board can hold."""
TAG_BITS = 2
"""Lowest bits of an output word: the number of the stream that it is from."""
REPORT_BYTES = 13


class FrameType(enum.IntEnum):
    """What a frame is."""

    EVENTS = 0x01
    """Host to board: words of `events_in`."""
    IMAGE = 0x02
    """Host to board: 32-bit words of the load port."""
    STATUS = 0x03
    """Host to board: asks for a report."""
    RESET = 0x04
    """Host to board: core and link start again; answered by a report with the same sequence number."""
    ACK = 0x05
    """Both ways: the frame with this sequence number, and those before it, were taken."""
    OUTPUT = 0x81
    """Board to host: words of the output streams, each with the number of its stream."""
    REPORT = 0x82
    """Board to host: `Report`."""


class LinkError(SpikeloomError):
    """The board does not answer, or not as it should."""


def crc16(data: bytes, crc: int = 0xFFFF) -> int:
    """CRC-16/CCITT-FALSE of `data`: polynomial x^16 + x^12 + x^5 + 1; `crc16(b"123456789")` is 0x29B1."""
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


@dataclass(frozen=True)
class Frame:
    """A frame whose CRC was right, or is to be computed."""

    type: int
    sequence: int = 0
    payload: bytes = b""


def encode_frame(frame: Frame) -> bytes:
    """The bytes of a frame.

    Raises
    ------
    InputError
        If the payload is longer than a frame can be.
    """
    if len(frame.payload) > MAX_PAYLOAD:
        raise InputError(f"a payload of {len(frame.payload)} bytes; accepted is at most {MAX_PAYLOAD}")
    body = bytes([frame.type, frame.sequence & 0xFF, len(frame.payload)]) + frame.payload
    return bytes([SYNC]) + body + crc16(body).to_bytes(2, "big")


class Decoder:
    """Finds frames in a stream of bytes; after a damaged one it looks for the next inside of it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.corrupt = 0
        """Frames whose length or CRC was wrong."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames that `data` completes."""
        self._buffer += data
        return self._scan()

    def give_up(self) -> Iterator[Frame]:
        """The line has been quiet for long: what is not complete never will be; frames that are hidden inside of it."""
        while self._buffer:
            self.corrupt += 1
            del self._buffer[0]
            yield from self._scan()

    def _scan(self) -> Iterator[Frame]:
        while True:
            start = self._buffer.find(SYNC)
            del self._buffer[: len(self._buffer) if start < 0 else start]
            if len(self._buffer) < 4:
                return
            length = self._buffer[3]
            if length <= MAX_PAYLOAD:
                if len(self._buffer) < length + 6:
                    return
                body, crc = bytes(self._buffer[1 : length + 4]), self._buffer[length + 4 : length + 6]
                if crc16(body) == int.from_bytes(crc, "big"):
                    del self._buffer[: length + 6]
                    yield Frame(body[0], body[1], body[3:])
                    continue
            self.corrupt += 1
            del self._buffer[0]


@dataclass(frozen=True, kw_only=True)
class LinkFormat:
    """The words of a core on the link."""

    core_hash: int
    event_bits: int
    loads: bool
    streams: tuple[tuple[str, int], ...]
    """(name, bits of a payload) of each output stream; its place is its number."""

    @classmethod
    def of(cls, plan: CorePlan) -> "LinkFormat":
        """The format of the core of `plan`.

        Raises
        ------
        InputError
            For a core that shows its potentials, takes several events at once or streams its weights.
        """
        if plan.core.probe:
            raise InputError("core.probe: true was given; accepted on a board is false: potentials stay on the chip")
        if plan.input_slots.events > 1:
            raise InputError(
                f"core.events_per_cycle: {plan.input_slots.events} was given; accepted on a board is 1: the line "
                "brings less than one event in ten cycles"
            )
        if plan.streams:
            raise InputError("streamed weights were given; accepted on a board are weights on the chip")
        if plan.loads and plan.load_bits != 32:
            raise InputError(f"core.load_bits: {plan.load_bits} was given; accepted on a board is 32")
        last = plan.network.layers[-1]
        index = address_bits(plan.network.outputs)
        streams = [("events_out", AddressMap(last.shape).bits + 2)]
        if plan.decision != "none":
            value = {
                "count": plan.steps.bit_length(),
                "first": plan.steps.bit_length() + 1,
                "value": last.potential_bits,
            }[plan.decision]
            streams.append(("decision", index + value))
        if last.threshold is None:
            streams.append(("readout", index + last.potential_bits + 1))
        return cls(
            core_hash=int(plan.hash, 16),
            event_bits=AddressMap(plan.network.input_shape).bits + 2,
            loads=plan.loads,
            streams=tuple(streams),
        )

    @property
    def event_bytes(self) -> int:
        """Bytes of a word of `events_in`."""
        return -(-self.event_bits // 8)

    @property
    def output_bytes(self) -> int:
        """Bytes of an output word, its tag included."""
        return -(-(TAG_BITS + max(bits for _, bits in self.streams)) // 8)

    def frames(self, words: Sequence[int]) -> Iterator[Frame]:
        """Stimulus words (see `spikeloom.vectors`) as frames, numbered from 0."""
        sequence, start = 0, 0
        while start < len(words):
            loading = bool(words[start] & LOAD)
            size = 4 if loading else self.event_bytes
            end = start
            while end < len(words) and end - start < MAX_PAYLOAD // size and bool(words[end] & LOAD) == loading:
                end += 1
            payload = b"".join((word & (LOAD - 1)).to_bytes(size, "little") for word in words[start:end])
            yield Frame(FrameType.IMAGE if loading else FrameType.EVENTS, sequence & 0xFF, payload)
            sequence, start = sequence + 1, end

    def outputs(self, payload: bytes) -> list[tuple[str, int]]:
        """(stream, word) of each word of an OUTPUT payload.

        Raises
        ------
        LinkError
            If the length or a stream number is wrong.
        """
        size = self.output_bytes
        if not payload or len(payload) % size:
            raise LinkError(f"an output frame of {len(payload)} bytes; expected are words of {size}")
        result = []
        for start in range(0, len(payload), size):
            word = int.from_bytes(payload[start : start + size], "little")
            number = word & ((1 << TAG_BITS) - 1)
            if number >= len(self.streams):
                raise LinkError(f"a word of output stream {number}; the core has {len(self.streams)}")
            result.append((self.streams[number][0], word >> TAG_BITS))
        return result


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a board says of itself; counters stop at their largest value."""

    version: int
    core_hash: int
    load_complete: bool
    load_refused: bool
    dropped: int
    """Spikes with an address that no input has."""
    corrupt: int
    """Frames that were dropped: wrong CRC, length or type, or broken off."""
    line_errors: int
    """Bytes without a stop bit."""

    @classmethod
    def of(cls, payload: bytes) -> "Report":
        """Read the payload of a REPORT frame."""
        if len(payload) != REPORT_BYTES:
            raise LinkError(f"a report of {len(payload)} bytes; expected are {REPORT_BYTES}")
        flags = payload[9]
        return cls(
            version=payload[0],
            core_hash=int.from_bytes(payload[1:9], "little"),
            load_complete=bool(flags & 1),
            load_refused=bool(flags & 2),
            dropped=payload[10],
            corrupt=payload[11],
            line_errors=payload[12],
        )


class Session:
    """The host's end of the link, without the line: feed what came in, send what `poll` returns.

    It resets the board, checks that its core is the right one, plays `words` and gathers what comes out, until every
    stream has `expected` words; then it asks for a last report. Frames that are not acknowledged are sent again, with
    all that follow; output frames are taken in order, once, and acknowledged.

    Parameters
    ----------
    words : stimulus words, see `spikeloom.vectors.stimulus_words`
    expected : {stream: number of words}
    retry_s : seconds after which an unanswered frame is sent again; several times what a full window takes on the line
    attempts : how often in a row, without any progress between them
    """

    def __init__(
        self,
        link: LinkFormat,
        words: Sequence[int],
        expected: dict[str, int],
        *,
        retry_s: float = 0.25,
        attempts: int = 20,
        nonce: int = 1,
        progress: Callable[[float], None] = lambda share: None,
    ):
        self._link, self._progress = link, progress
        self._retry_s, self._attempts = retry_s, attempts
        self._frames = link.frames(words)
        self._pending: list[Frame] = []  # sent, not acknowledged
        self._exhausted = False
        self._expected = expected
        self._decoder = Decoder()
        self._next_output = 0
        self._nonce = nonce & 0xFF
        self._state = "reset"
        self._out = bytearray()
        self._last_sent: float | None = None
        self._tries = 0
        self._heard = False
        self._quiet_since = 0.0
        self.outputs: dict[str, list[int]] = {name: [] for name, _ in link.streams}
        self.report: Report | None = None
        self.resent = 0
        """Frames sent again."""

    @property
    def done(self) -> bool:
        """Whether everything was played and everything expected came back."""
        return self._state == "done"

    @property
    def corrupt(self) -> int:
        """Frames from the board whose CRC was wrong."""
        return self._decoder.corrupt

    def feed(self, data: bytes) -> None:
        """Take bytes from the board.

        Raises
        ------
        InputError
            If the board runs another core.
        LinkError
            If its frames are not as they should be.
        """
        self._heard = self._heard or bool(data)
        self._answer(self._decoder.feed(data))

    def _answer(self, frames: Iterator[Frame]) -> None:
        for frame in frames:
            if frame.type == FrameType.REPORT:
                self._reported(frame)
            elif frame.type == FrameType.ACK and self._state == "play":
                self._acknowledged(frame.sequence)
            elif frame.type == FrameType.OUTPUT and self._state != "reset":
                self._take(frame)

    def poll(self, now: float) -> bytes:
        """Bytes to send at the time `now` in seconds.

        Raises
        ------
        LinkError
            If the board has not answered for too long.
        """
        if self._heard:
            self._heard, self._quiet_since = False, now
        elif now - self._quiet_since > self._retry_s / 4:
            self._answer(self._decoder.give_up())
        if self._state == "play" and self._complete():
            self._state, self._last_sent, self._tries = "report", None, 0
        if self._state == "play":
            self._send_window(now)
        elif self._state in ("reset", "report") and self._due(now):
            kind = FrameType.RESET if self._state == "reset" else FrameType.STATUS
            self._out += encode_frame(Frame(kind, self._nonce))
        sent, self._out = bytes(self._out), bytearray()
        return sent

    def _complete(self) -> bool:
        return (
            self._exhausted
            and not self._pending
            and all(len(self.outputs[name]) >= count for name, count in self._expected.items())
        )

    def _due(self, now: float) -> bool:
        """Whether it is time to send (again); counts the attempts."""
        if self._last_sent is not None and now - self._last_sent < self._retry_s:
            return False
        if self._tries == self._attempts:
            heard = {name: len(words) for name, words in self.outputs.items()}
            what = {
                "reset": "no answer to a reset; is this the right port and baud rate, and is the bitstream loaded?",
                "play": f"no progress: {len(self._pending)} frames not acknowledged, {heard} words came back, "
                f"{self._expected} are expected",
                "report": "no report at the end",
            }[self._state]
            raise LinkError(f"the board is silent after {self._attempts} attempts of {self._retry_s:g} s: {what}")
        self._tries += 1
        self._last_sent = now
        return True

    def _send_window(self, now: float) -> None:
        while len(self._pending) < WINDOW and not self._exhausted:
            frame = next(self._frames, None)
            if frame is None:
                self._exhausted = True
                break
            self._pending.append(frame)
            self._out += encode_frame(frame)
        if self._last_sent is None:
            self._last_sent = now
        if self._due(now):
            for frame in self._pending:
                self._out += encode_frame(frame)
            self.resent += len(self._pending)

    def _moved(self) -> None:
        """Something new arrived: the clock of the retries starts afresh."""
        self._last_sent, self._tries = None, 0
        done, wanted = sum(map(len, self.outputs.values())), sum(self._expected.values())
        self._progress(done / wanted if wanted else 1.0)

    def _acknowledged(self, sequence: int) -> None:
        for n, frame in enumerate(self._pending):
            if frame.sequence == sequence:
                del self._pending[: n + 1]
                self._moved()
                return

    def _take(self, frame: Frame) -> None:
        if frame.sequence == self._next_output & 0xFF:
            for name, word in self._link.outputs(frame.payload):
                self.outputs[name].append(word)
            self._next_output += 1
            if self._state == "play":
                self._moved()
        elif frame.sequence != (self._next_output - 1) & 0xFF:
            return
        self._out += encode_frame(Frame(FrameType.ACK, frame.sequence))

    def _reported(self, frame: Frame) -> None:
        if frame.sequence != self._nonce or self._state not in ("reset", "report"):
            return
        report = Report.of(frame.payload)
        if report.version != VERSION:
            raise InputError(f"the board speaks version {report.version} of the protocol; accepted is {VERSION}")
        if report.core_hash != self._link.core_hash:
            raise InputError(
                f"the board runs core {report.core_hash:016x}; accepted is {self._link.core_hash:016x}, the core of "
                "this configuration: build its bitstream and load it"
            )
        self.report = report
        self._state = "play" if self._state == "reset" else "done"
        self._nonce = (self._nonce + 1) & 0xFF
        self._last_sent, self._tries = None, 0
