"""Boards and bitstreams: what is refused before the long work, and a tiny network all the way."""

import json
from pathlib import Path

import pytest

import projects
from spikeloom.blocks.sram import MemoryRecord
from spikeloom.errors import InputError
from spikeloom.host.board import (
    BOARDS,
    BoardTop,
    board_named,
    check_memories,
    memories_of,
    place_memories,
    prepare,
)
from spikeloom_synth.fpga_build import FpgaOptions, available, build, check_fit

BOARD = BOARDS["icebreaker"]
MAPPED = FpgaOptions(place=False)


def memory(name: str, depth: int, width: int, *, loaded: bool = True) -> MemoryRecord:
    port_type = "1r1w" if loaded else "rom"
    contents = () if loaded else (0,) * depth
    return MemoryRecord(
        name=name, port_type=port_type, depth=depth, width=width, contents=contents, exclusive=name.endswith("weights")
    )


def test_blocks_of_a_memory():
    assert BOARD.blocks(memory("a", 256, 16)) == 1
    assert BOARD.blocks(memory("a", 257, 16)) == 2
    assert BOARD.blocks(memory("a", 2048, 2)) == 1
    assert BOARD.blocks(memory("a", 5, 88)) == 6
    assert BOARD.blocks(memory("a", 4, 88)) == 0  # flip-flops
    assert BOARDS["ulx3s"].blocks(memory("a", 512, 36)) == 1


def test_weights_move_to_spram_only_when_needed():
    small, large = memory("fc2.weights", 256, 16), memory("fc1.weights", 6272, 64)
    assert place_memories(BOARD, (small, memory("fc1.potentials", 5, 88))) == (frozenset(), 7, 0)
    assert place_memories(BOARD, (small, large)) == (frozenset({"fc1.weights"}), 1, 4)
    assert check_memories(BOARD, (small, large), weights_fixed=False) == {"fc1.weights"}


def test_too_small_says_by_which_resource_and_how_far():
    with pytest.raises(InputError) as caught:
        check_memories(BOARD, (memory("fc1.weights", 6272, 64, loaded=False),), weights_fixed=True)
    text = str(caught.value)
    assert (
        "icebreaker: memories of 392 kbit are too large: 100 blocks of memory of 4 kbit are needed, 3.3 times" in text
    )
    assert "accepted is at most 30 blocks (120 kbit) and 4 SPRAM (1024 kbit, loaded weights only)" in text
    assert text.endswith(
        "; the most, 100, are taken by fc1.weights with 6272 rows of 64 bits; "
        "with core.weights = 'loaded' the weights fit into the SPRAM"
    )
    with pytest.raises(InputError, match=r"with 8 rows of 900 bits; fewer core.lanes make rows narrower and memories"):
        check_memories(BOARD, (memory("fc1.potentials", 8, 900),), weights_fixed=True)
    with pytest.raises(InputError, match=r"6 SPRAM of 256 kbit are needed, 1\.5 times"):
        check_memories(BOARD, (memory("fc1.weights", 6272, 96),), weights_fixed=False)
    used = available(BOARD) | {"luts": 6000}
    with pytest.raises(InputError, match=r"6000 look-up tables, accepted are at most 5280 \(1\.14 times"):
        check_fit(BOARD, used)
    check_fit(BOARD, available(BOARD))


def test_unknown_board():
    with pytest.raises(InputError, match=r"--board: 'de10' was given; accepted: icebreaker, ulx3s, arty_a7_100"):
        board_named("de10")


@pytest.mark.parametrize("name", list(BOARDS))
def test_every_board_has_its_pins(tmp_path, name):
    project = projects.load(projects.make_project(tmp_path))
    board = BOARDS[name]
    assert {m.name for m in memories_of(project.plan, board)} >= {"link.inbox", "link.outbox"}
    files = prepare(BoardTop(project.plan, board))
    assert "uart_0__rx__io" in files["top.il"]
    pins = {"icebreaker": "set_io uart_0__rx__io 6", "ulx3s": 'LOCATE COMP "uart_0__rx__io" SITE "M1"'}
    if name in pins:
        assert any(pins[name] in text for text in files.values())
        assert any("12.0" in text or "50000000" in text for file, text in files.items() if file != "top.il")


def test_spram_is_an_instance(tmp_path):
    project = projects.load(projects.make_project(tmp_path, core={"weights": "loaded", "lanes": 2}))
    text = prepare(BoardTop(project.plan, BOARD), frozenset({"w1.weights"}))["top.il"]
    assert text.count("cell \\SB_SPRAM256KA") == 1


@pytest.mark.synth
@pytest.mark.slow
def test_large_loaded_weights_are_spram_after_synthesis(tmp_path: Path):
    """131 kbit of weights in rows of 32 bits: two SPRAM of 16 bits side by side, and no block RAM for them."""
    path = projects.make_project(
        tmp_path, network={"sizes": (256, 128, 4)}, core={"weights": "loaded", "lanes": [8, 1], "decision": "first"}
    )
    report = build(projects.load(path), BOARD, tmp_path / "build" / "tiny" / "fpga" / "icebreaker", MAPPED)
    assert {m["instance"]: m["spram"] for m in report["memories"] if m["spram"]} == {"w1.weights": 2}
    assert report["mapped"]["sprams"] == 2
    assert report["mapped"]["block_rams"] == sum(m["blocks"] for m in report["memories"]) <= BOARD.block_rams
    assert report["bitstream"] is None


@pytest.mark.synth
@pytest.mark.slow
def test_arty_by_yosys_alone(tmp_path: Path):
    board = BOARDS["arty_a7_100"]
    project = projects.load(projects.make_project(tmp_path))
    report = build(project, board, tmp_path / "build" / "tiny" / "fpga" / board.name, FpgaOptions())
    assert report["bitstream"] is None
    assert "fmax_mhz" not in report
    assert 100 < report["mapped"]["luts"] < board.luts
    assert report["mapped"]["flip_flops"] > 100
    assert 0 < report["mapped"]["block_rams"] <= sum(m["blocks"] for m in report["memories"])


@pytest.mark.synth
@pytest.mark.slow
def test_tiny_network_to_a_bitstream(tmp_path: Path, need_tool):
    for tool in ("nextpnr-ice40", "icepack"):
        need_tool(tool)
    project = projects.load(projects.make_project(tmp_path))
    folder = tmp_path / "build" / "tiny" / "fpga" / "icebreaker"
    report = build(project, BOARD, folder, FpgaOptions())
    assert report["fmax_mhz"] >= 12
    assert 0 < report["mapped"]["luts"] < 5280
    assert (
        report["placed"]["block_rams"] == report["mapped"]["block_rams"] == sum(m["blocks"] for m in report["memories"])
    )
    image = (folder / report["bitstream"]).read_bytes()
    assert b"\x7e\xaa\x99\x7e" in image[:64]  # the preamble of an iCE40 bitstream
    assert json.loads((folder / "report.json").read_text()) == report
