"""The cocotb bench of a core behind a serial line: the host's `Session` against the pins rx and tx, bit by bit.

The JSON file named by SPIKELOOM_LINK holds `link` (fields of LinkFormat), `words`, `expected` {stream: words},
`divisor`, `clock_ratio` (periods of the core's clock in one of `clk`, where a PLL multiplies it), `faults` (percent of
the frames to the board that the line damages, and hundredths of a percent of the bytes from it), `refused` (play
senseless frames first), `seed`, `settle`, `quiet_cycles`, `retry_cycles`, `attempts`, `pins` {part: name} and `report`
(file for what the bench saw).
"""

import json
import os
import random
from collections import deque
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer

from spikeloom.host.protocol import SYNC, Frame, FrameType, LinkFormat, Session, encode_frame

CYCLE_NS = 10


def damage(rng: random.Random, data: bytes) -> bytes:
    """What a bad line makes of a frame: one of five, none of which a CRC lets through."""
    kind = rng.randrange(5)
    if kind == 0:  # one bit, not of the first byte alone: the frame is still found
        place = rng.randrange(1, len(data))
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if kind == 1:  # broken off
        return data[: rng.randrange(1, len(data))]
    if kind == 2:  # a byte is lost
        place = rng.randrange(len(data))
        return data[:place] + data[place + 1 :]
    if kind == 3:  # lost whole
        return b""
    return bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20))).replace(bytes([SYNC]), b"") + data


@cocotb.test()
async def plays_over_the_line(dut):
    """Every word that comes back equals the reference, whatever the line does to the frames."""
    given = json.loads(Path(os.environ["SPIKELOOM_LINK"]).read_text())
    link = LinkFormat(**{**given["link"], "streams": tuple(map(tuple, given["link"]["streams"]))})
    divisor, rng = given["divisor"], random.Random(given["seed"])
    clk, rx, tx = (getattr(dut, given["pins"][part]) for part in ("clk", "rx", "tx"))
    bit = divisor * CYCLE_NS
    Clock(clk, CYCLE_NS * given.get("clock_ratio", 1), unit="ns").start()
    rx.value = 1
    if "rst" in given["pins"]:
        reset = getattr(dut, given["pins"]["rst"])
        reset.value = 1
        await Timer(3 * CYCLE_NS, unit="ns")  # never ClockCycles: it wakes Python at every edge
        reset.value = 0
    await Timer(given["settle"] * CYCLE_NS, unit="ns")

    to_board: deque[int] = deque()
    to_host = bytearray()

    async def line_in():
        while True:
            if not to_board:
                await Timer(bit, unit="ns")
                continue
            byte = to_board.popleft()
            for level in [0, *(byte >> n & 1 for n in range(8)), 1]:
                rx.value = level
                await Timer(bit, unit="ns")

    async def line_out():
        while True:
            await FallingEdge(tx)
            await Timer(bit + bit // 2, unit="ns")
            byte = 0
            for n in range(8):
                byte |= int(tx.value) << n
                await Timer(bit, unit="ns")
            assert int(tx.value) == 1, "a byte without a stop bit"
            to_host.append(byte)

    cocotb.start_soon(line_in())
    cocotb.start_soon(line_out())

    session = Session(
        link, given["words"], {name: len(words) for name, words in given["expected"].items()},
        retry_s=given["retry_cycles"], attempts=given["attempts"], nonce=given["seed"],
    )  # fmt: skip
    damaged = 0
    if given[
        "refused"
    ]:  # whole frames, by their CRC, that make no sense: dropped and counted before anything is played
        to_board.extend(encode_frame(Frame(FrameType.EVENTS, 0, b"")))
        to_board.extend(encode_frame(Frame(0x7E, 0, b"\1\2")))
        to_board.extend(bytes([SYNC, FrameType.EVENTS, 0, 255]) + b"\0" * 20)  # longer than any frame
        to_board.extend(encode_frame(Frame(FrameType.STATUS, 0, b"\0")))
        while to_board:
            await Timer(bit, unit="ns")
        await Timer((given["quiet_cycles"] + 20 * divisor) * CYCLE_NS, unit="ns")
    cycles = 0
    while not session.done:
        sent = session.poll(cycles)
        # The session puts whole frames into what it sends: each meets its own fate.
        while sent:
            size = sent[3] + 6
            frame, sent = sent[:size], sent[size:]
            if rng.random() * 100 < given["faults"]:
                frame, damaged = damage(rng, frame), damaged + 1
            to_board.extend(frame)
        await Timer(10 * bit, unit="ns")
        cycles += 10 * divisor
        if to_host:
            received = bytes(to_host)
            to_host.clear()
            if rng.random() * 10_000 < given["faults"]:  # a byte or so at a time: half of the long frames
                received, damaged = bytes([received[0] ^ 1 << rng.randrange(8)]) + received[1:], damaged + 1
            session.feed(received)
    for name, expected in given["expected"].items():
        words = session.outputs[name]
        assert words == expected, f"{name}: {len(words)} words, {len(expected)} expected, or others"
    assert session.report is not None
    seen = {
        "cycles": cycles,
        "damaged": damaged,
        "resent": session.resent,
        "corrupt": session.report.corrupt,
        "line_errors": session.report.line_errors,
        "dropped": session.report.dropped,
        "load_complete": session.report.load_complete,
        "load_refused": session.report.load_refused,
        "error": int(getattr(dut, given["pins"]["error"]).value) if "error" in given["pins"] else None,
        "answer": int(dut.answer.value) if given["pins"].get("answer") else None,
    }
    Path(given["report"]).write_text(json.dumps(seen))
