"""The serial link: protocol in Python, gateware on compiled Verilog through the pins rx and tx."""

import binascii
import dataclasses
import json
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import given
from hypothesis import strategies as st

import projects
from spikeloom.blocks.sram import verilog_body
from spikeloom.errors import InputError
from spikeloom.export import to_verilog
from spikeloom.host.board import BOARDS, BoardTop, prepare
from spikeloom.host.link import LinkedCore
from spikeloom.host.player import SerialLine
from spikeloom.host.player import play as play_data
from spikeloom.host.protocol import (
    MAX_PAYLOAD,
    REPORT_BYTES,
    Decoder,
    Frame,
    FrameType,
    LinkError,
    LinkFormat,
    Report,
    Session,
    crc16,
    encode_frame,
)  # fmt: skip
from spikeloom.host.uart import UartReceiver, UartTransmitter, divisor_of
from spikeloom.network.reference import simulate
from spikeloom.project import Project, propose
from spikeloom.vectors import expected_streams, stimulus_words
from spikeloom_sim.flow import run_bench
from spikeloom_synth.yosys import run_yosys

# --- the protocol ----------------------------------------------------------------------------------------------------


def test_crc_is_the_published_one():
    assert crc16(b"123456789") == 0x29B1  # check value of CRC-16/CCITT-FALSE


@given(st.binary(max_size=300))
def test_crc_equals_another_implementation(data):
    assert crc16(data) == binascii.crc_hqx(data, 0xFFFF)


FRAMES = st.builds(Frame, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=MAX_PAYLOAD))


@given(st.lists(FRAMES, max_size=5), st.integers(1, 50), st.binary(max_size=40))
def test_frames_survive_pieces_and_garbage(frames, piece, garbage):
    garbage = garbage.replace(b"\xa5", b"")
    data = b"".join(garbage + encode_frame(frame) for frame in frames)
    decoder = Decoder()
    found = [f for n in range(0, len(data), piece) for f in decoder.feed(data[n : n + piece])]
    assert found == frames
    assert decoder.corrupt == 0


@given(FRAMES, st.data())
def test_a_damaged_frame_is_never_taken(frame, data):
    whole = bytearray(encode_frame(frame))
    place = data.draw(st.integers(1, len(whole) - 1))
    whole[place] ^= data.draw(st.integers(1, 255))
    decoder = Decoder()
    after = Frame(FrameType.ACK, 7)
    found = list(decoder.feed(bytes(whole) + encode_frame(after) + bytes(300)))
    assert frame not in found
    if place != 3:  # a damaged length may hide the next frame; it is found again inside
        assert after in found
    assert decoder.corrupt >= 1


def test_a_payload_too_long_is_refused():
    with pytest.raises(InputError, match="241 bytes; accepted is at most 240"):
        encode_frame(Frame(FrameType.EVENTS, 0, bytes(241)))


def test_divisor():
    assert divisor_of(12e6, 1_000_000) == 12
    assert divisor_of(25e6, 115_200) == 217
    with pytest.raises(InputError, match="5000000 was given; with a clock of 12 MHz"):
        divisor_of(12e6, 5_000_000)
    with pytest.raises(InputError, match=r"to within 2% \(here 4"):
        divisor_of(12e6, 2_500_000)


class Board:
    """A board in Python that answers as `docs/fpga.md` says; loses frames where the test wants it to."""

    def __init__(self, link: LinkFormat, answers: list[bytes], rng: random.Random, loss: float):
        self.link, self.rng, self.loss = link, rng, loss
        self.decoder, self.taken, self.played = Decoder(), 0, []
        self.answers, self.number = answers, 0

    def exchange(self, data: bytes) -> bytes:
        out = b""
        for frame in self.decoder.feed(data):
            if self.rng.random() < self.loss:
                continue
            if frame.type in (FrameType.RESET, FrameType.STATUS):
                report = bytes([1]) + self.link.core_hash.to_bytes(8, "little") + bytes(REPORT_BYTES - 9)
                out += self._send(Frame(FrameType.REPORT, frame.sequence, report))
            elif frame.type == FrameType.ACK:
                if frame.sequence == self.number & 0xFF and self.number < len(self.answers):
                    self.number += 1
            else:
                if frame.sequence == self.taken & 0xFF:
                    self.taken += 1
                    self.played.append(frame.payload)
                out += self._send(Frame(FrameType.ACK, (self.taken - 1) & 0xFF))
        if self.taken and self.number < len(self.answers):
            out += self._send(Frame(FrameType.OUTPUT, self.number & 0xFF, self.answers[self.number]))
        return out

    def _send(self, frame: Frame) -> bytes:
        return b"" if self.rng.random() < self.loss else encode_frame(frame)


LINK = LinkFormat(core_hash=0x1234, event_bits=9, loads=True, streams=(("events_out", 6), ("decision", 11)))


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_session_is_reliable(loss):
    rng = random.Random(5)
    words = [1 << 32 | rng.getrandbits(32) for _ in range(500)] + [rng.getrandbits(9) for _ in range(40_000)]
    values = [(rng.randrange(2), rng.randrange(64)) for _ in range(40_000)]
    packed = [(n | v << 2).to_bytes(LINK.output_bytes, "little") for n, v in values]
    answers = [b"".join(packed[n : n + 120]) for n in range(0, len(packed), 120)]
    board = Board(LINK, answers, rng, loss)
    expected = [[v for n, v in values if n == wanted] for wanted in (0, 1)]
    session = Session(
        LINK, words, {"events_out": len(expected[0]), "decision": len(expected[1])}, retry_s=3, attempts=60
    )
    now = 0
    while not session.done:
        session.feed(board.exchange(session.poll(now)))
        now += 1
    assert b"".join(board.played) == b"".join(f.payload for f in LINK.frames(words))  # each once and in order
    assert len(board.played) > 256  # the numbers went round
    assert [session.outputs["events_out"], session.outputs["decision"]] == expected
    assert (session.resent > 0) == (loss > 0)


def test_session_names_what_is_wrong():
    session = Session(LINK, [], {}, retry_s=1, attempts=2)
    assert session.poll(0)
    assert not session.poll(0.5)
    assert session.poll(1)
    with pytest.raises(LinkError, match="no answer to a reset"):
        session.poll(2)
    session = Session(LINK, [], {})
    session.poll(0)
    report = bytes([1]) + (0x9999).to_bytes(8, "little") + bytes(4)
    with pytest.raises(InputError, match="runs core 0000000000009999; accepted is 0000000000001234"):
        session.feed(encode_frame(Frame(FrameType.REPORT, 1, report)))
    session = Session(LINK, [], {})
    with pytest.raises(InputError, match="version 9 of the protocol; accepted is 1"):
        session.feed(encode_frame(Frame(FrameType.REPORT, 1, b"\x09" + report[1:])))
    with pytest.raises(LinkError, match="words of 2"):
        LINK.outputs(b"123")
    with pytest.raises(LinkError, match="output stream 3; the core has 2"):
        LINK.outputs(b"\3\0")
    with pytest.raises(LinkError, match="report of 3 bytes"):
        Report.of(b"123")


class StubLine:
    """A transport to a board in Python that knows its answers."""

    def __init__(self, project: Project, inputs: int, change: int = 0):
        plan, given = project.plan, project.inputs(inputs)
        link = LinkFormat.of(plan)
        streams = expected_streams(plan, simulate(project.network, given.spikes, current=given.current))
        numbers = {name: n for n, (name, _) in enumerate(link.streams)}
        streams["decision"][-1] ^= change
        words = [(numbers[name] | word << 2) for name, stream in streams.items() for word in stream]
        packed = [word.to_bytes(link.output_bytes, "little") for word in words]
        answers = [b"".join(packed[n : n + 60]) for n in range(0, len(packed), 60)]
        self.board, self.answer = Board(link, answers, random.Random(1), 0.0), b""
        self.now = 0.0

    def write(self, data: bytes) -> None:
        self.answer += self.board.exchange(data)

    def read(self) -> bytes:
        self.now += 0.01
        answer, self.answer = self.answer, b""
        return answer


@pytest.mark.parametrize("change", [0, 1])
def test_play_checks_every_word(tmp_path, change):
    project = tiny(tmp_path, data={"count": 20})
    line, shares = StubLine(project, 12, change), []
    result = play_data(
        project, line, inputs=12, progress=lambda text, share: shares.append(share), clock=lambda: line.now
    )
    assert result["mismatches"] == {"events_out": 0, "decision": change}
    assert result["words"]["decision"] == result["inputs"] == 12
    assert shares[-1] == 1.0
    assert 0 <= result["accuracy"] <= 1


def test_play_needs_a_port(tmp_path):
    pytest.importorskip("serial")
    with pytest.raises(InputError, match=r"--port: '/dev/no_such_port' was given: .*accepted is the serial port"):
        SerialLine("/dev/no_such_port", 1_000_000)


# --- the line --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("divisor", "skew"), [(4, 1), (5, 1), (12, 0.975), (12, 1), (12, 1.025)])
def test_receiver(divisor, skew):
    """Bytes without a pause, from a sender whose clock is off."""
    sent = [0x00, 0xFF, 0xA5, 0x5A, *random.Random(1).randbytes(30)]
    dut, got, errors = UartReceiver(divisor), [], []
    levels = [level for byte in sent for level in [0, *(byte >> n & 1 for n in range(8)), 1]] + [1] * 3

    async def bench(ctx):
        for cycle in range(round(len(levels) * divisor * skew)):
            ctx.set(dut.rx, levels[min(int(cycle / (divisor * skew)), len(levels) - 1)])
            await ctx.tick()
            if ctx.get(dut.o.valid):
                got.append(ctx.get(dut.o.payload))
            errors.append(ctx.get(dut.error))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert got == sent
    assert not any(errors)


def test_receiver_drops_what_is_no_byte():
    """A byte without a stop bit, a break and a glitch: two errors, and the next byte is whole."""
    dut, got, errors = UartReceiver(8), [], []
    parts = [([0] * 9 + [0] + [1] * 2, 8), ([0] * 40 + [1] * 2, 8), ([0] + [1] * 20, 2)]
    parts.append(([0, 1, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1], 8))

    async def bench(ctx):
        for levels, length in parts:
            for level in levels:
                ctx.set(dut.rx, level)
                for _ in range(length):
                    await ctx.tick()
                    if ctx.get(dut.o.valid):
                        got.append(ctx.get(dut.o.payload))
                    errors.append(ctx.get(dut.error))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert got == [0b01100101]
    assert sum(errors) == 2


@pytest.mark.parametrize("divisor", [4, 7])
def test_transmitter(divisor):
    sent, levels = [0x00, 0xFF, 0xA5, 0x3C], []
    dut = UartTransmitter(divisor)

    async def producer(ctx):
        for byte in sent:
            ctx.set(dut.i.payload, byte)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def listener(ctx):
        for _ in range(11 * divisor * (len(sent) + 1)):
            levels.append(ctx.get(dut.tx))
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(producer)
    sim.add_testbench(listener)
    sim.run()
    got, at = [], 0
    while 0 in levels[at:]:
        at = levels.index(0, at)
        bits = [levels[at + n * divisor : at + (n + 1) * divisor] for n in range(10)]
        assert all(len(set(bit)) == 1 for bit in bits)  # each bit holds for its length
        assert bits[9][0] == 1
        got.append(sum(bit[0] << n for n, bit in enumerate(bits[1:9])))
        at += 10 * divisor
    assert got == sent


# --- end to end ------------------------------------------------------------------------------------------------------

TIMES = {"quiet_cycles": 4_000, "flush_cycles": 600, "retry_cycles": 80_000}


def play(
    project: Project, folder, *, inputs, engine="verilator", divisor=8, faults=0, seed=1, refused=False, times=TIMES,
    board=None,
):  # fmt: skip
    """Play `inputs` through the pins of a linked core, or a board; returns what the bench saw, and the answers."""
    plan = project.plan
    rtl = folder / "rtl"
    rtl.mkdir(parents=True)
    if board is None:
        ports = export_link(plan, rtl, divisor=divisor, **times)
        top, pins, settle, ratio = "linked_core", {"rst": "rst", "error": "error", "answer": "answer"}, plan.settle, 1
    else:
        ports = export_board(plan, rtl, board, divisor=divisor, **times)
        top, pins, settle = "board", {"error": "error", "answer": "answer"}, plan.settle + 400  # its power-on reset
        ratio = round(board.clock_hz / board.input_hz)
    words = stimulus_words(plan, inputs.spikes, inputs.current)
    expected = expected_streams(plan, simulate(project.network, inputs.spikes, current=inputs.current))
    work = folder / "work"
    work.mkdir()
    vectors = {
        "link": dataclasses.asdict(LinkFormat.of(plan)), "words": words, "expected": expected, "divisor": divisor,
        "faults": faults, "seed": seed, "retry_cycles": 3_000_000 if not times else 120_000, "attempts": 60,
        "settle": settle, "refused": refused, "quiet_cycles": times.get("quiet_cycles", 250_000),
        "pins": {"clk": "clk", "rx": "rx", "tx": "tx"} | pins, "clock_ratio": ratio,
        "report": str(folder / "seen.json"),
    }  # fmt: skip
    (folder / "link.json").write_text(json.dumps(vectors))
    log = run_bench(
        sources=sorted(rtl.glob("*.v")), top=top, module="spikeloom_sim.link_bench", engine=engine,
        work=work, data=rtl, waves=False, plays=[{"SPIKELOOM_LINK": str(folder / "link.json")}], ports=ports,
    )  # fmt: skip
    assert " PASS=1 FAIL=0" in log, log[-3000:]
    return json.loads((folder / "seen.json").read_text()), expected


def export_link(plan, rtl, *, divisor, **times) -> list[str]:
    """The Verilog of a linked core; returns its ports."""
    exported = to_verilog(LinkedCore(plan, divisor=divisor, clock_hz=12e6, **times), "linked_core")
    (rtl / "linked_core.v").write_text(exported.verilog)
    for record in exported.memories:
        (rtl / f"{record.module}.v").write_text(verilog_body(record.port_type))
        if record.image:
            digits = -(-record.width // 4)
            (rtl / record.image).write_text("".join(f"{row:0{digits}x}\n" for row in record.contents))
    return [port for port, _, _ in exported.ports]


LIGHTS = {  # the pins of the error light and of the bits of the answer, as the board's schematic has them
    "icebreaker": ("clk12_0__io", "~led_r_0__io", ["led_g_1__io", "led_g_2__io"]),
    "ulx3s": ("clk25_0__io", "led_2__io", ["led_3__io", "led_4__io"]),
    "arty_a7_100": ("clk100_0__io", "led_2__io", ["rgb_led_0__g__io", "rgb_led_1__g__io"]),
}


def export_board(plan, rtl, board, *, divisor, **times) -> list[str]:
    """The Verilog of a whole board design with its own pins, clock and lights, as Yosys gets it for a bitstream."""
    top = BoardTop(plan, board, baud=round(board.clock_hz / divisor), **times)
    files = prepare(top)
    (rtl / "top.il").write_text(files["top.il"])
    run_yosys("read_rtlil top.il\nproc\nmemory_collect\nwrite_verilog -noattr top.v\n", rtl, "verilog", cwd=rtl)
    ports = re.search(r"^module top\((.*?)\);", (rtl / "top.v").read_text(), re.M)[1].split(", ")
    clock, error, answer = LIGHTS[board.name]
    nets = {clock: "clk", "uart_0__rx__io": "rx", "uart_0__tx__io": "tx", "rst_0__io": "1'b1"}
    pins = ", ".join(f".{port}({nets.get(port, port)})" for port in ports)
    wires = "".join(f"  wire {port};\n" for port in ports if port not in nets)
    (rtl / "board.v").write_text(
        "`timescale 1ns / 1ps\nmodule board(input clk, input rx, output tx, output error, output [1:0] answer);\n"
        f"{wires}  top top({pins});\n  assign error = {error};\n"
        f"  assign answer = {{{', '.join(reversed(answer))}}};\nendmodule\n"
    )
    shutil.copyfile(Path(__file__).with_name("board_cells.v"), rtl / "board_cells.v")
    return ["clk", "rx", "tx", "error", "answer"]


def tiny(folder, **sections) -> Project:
    return projects.load(projects.make_project(folder, **sections))


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["verilator", "icarus"])
def test_tiny_network(tmp_path, engine):
    project = tiny(tmp_path / "p")
    seen, expected = play(project, tmp_path / "s", inputs=project.inputs(4), engine=engine)
    assert seen["resent"] == seen["corrupt"] == seen["dropped"] == seen["error"] == 0
    assert seen["answer"] == expected["decision"][-1] & 0b11 or project.network.outputs > 4


@pytest.mark.cosim
@pytest.mark.parametrize("name", list(BOARDS))
def test_whole_board(tmp_path, name):
    """From the serial pin to the lights of each board, through its own pin cells, clock, PLL and reset."""
    project = tiny(tmp_path / "p", core={"weights": "loaded", "parameters": "loaded", "lanes": 2})
    assert project.network.outputs <= 4
    seen, expected = play(
        project, tmp_path / "s", inputs=project.inputs(4), engine="icarus", board=BOARDS[name], refused=True
    )
    assert seen["corrupt"] == 4
    assert seen["resent"] == seen["dropped"] == 0
    assert seen["error"] == 1
    assert seen["load_complete"]
    assert seen["answer"] == expected["decision"][-1] & 0b11


@pytest.mark.cosim
def test_loaded_network_on_a_bad_line(tmp_path):
    """Two frames in five are damaged, and some from the board: everything is loaded and played, once, and counted."""
    project = tiny(tmp_path / "p", core={"weights": "loaded", "parameters": "loaded", "lanes": 2})
    seen, _ = play(project, tmp_path / "s", inputs=project.inputs(200), faults=40, seed=5)
    assert seen["damaged"] > 5
    assert seen["resent"] > 0
    assert seen["corrupt"] > 0
    assert seen["error"] == 1
    assert seen["load_complete"]
    assert not seen["load_refused"]


@pytest.mark.cosim
def test_senseless_frames_are_counted(tmp_path):
    project = tiny(tmp_path / "p")
    seen, _ = play(project, tmp_path / "s", inputs=project.inputs(2), refused=True)
    assert seen["corrupt"] == 4
    assert seen["error"] == 1


@pytest.mark.cosim
def test_digits_at_the_real_rate(tmp_path):
    """The digits network as on an iCEBreaker: 12 MHz, 1 Mbaud, its own times."""
    config = propose("zoo:digits")
    config = dataclasses.replace(config, core=dataclasses.replace(config.core, lanes=[8, 2]))
    project = Project(config=config, folder=tmp_path)
    seen, expected = play(
        project, tmp_path / "s", inputs=project.inputs(8), divisor=divisor_of(12e6, 1_000_000), times={}
    )
    assert len(expected["decision"]) == 8
    assert len({word & 15 for word in expected["decision"]}) > 3  # the answers differ
    assert seen["resent"] == seen["corrupt"] == 0


def test_potentials_stay_on_the_chip(tmp_path):
    with pytest.raises(InputError, match=r"core.probe: true was given; accepted on a board is false"):
        LinkFormat.of(tiny(tmp_path, core={"probe": True}).plan)


def test_several_events_at_once_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"core.events_per_cycle: 2 was given; accepted on a board is 1"):
        LinkFormat.of(tiny(tmp_path, core={"events_per_cycle": 2}).plan)


def test_frames_hold_whole_words_of_one_kind():
    words = [1 << 32 | n for n in range(61)] + list(range(121)) + [1 << 32]
    frames = list(LINK.frames(words))
    assert [len(f.payload) for f in frames] == [240, 4, 240, 2, 4]
    assert [f.type for f in frames] == [2, 2, 1, 1, 2]
    assert [f.sequence for f in frames] == [0, 1, 2, 3, 4]
    assert np.frombuffer(frames[2].payload, "<u2").tolist() == list(range(120))
