"""From a configuration to a bitstream for a board: checks, Yosys, nextpnr, bitstream, and a report of what was used.

What does not fit is said before the long work: memories from the design itself, look-up tables and flip-flops after
Yosys; only then place and route begins. The result replaces `build/<name>/fpga/<board>` as a whole.
"""

import json
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spikeloom.blocks.sram import spram_count
from spikeloom.errors import InputError, SpikeloomError
from spikeloom.host.board import BAUD, Board, BoardTop, check_memories, memories_of, prepare
from spikeloom.output import MARKER, check_replaceable, replace_folder
from spikeloom.project import Project
from spikeloom.tools import require_tool

from .errors import FlowError
from .fpga import LUT, LUT_RAM, flip_flops
from .processes import run_logged
from .yosys import run_yosys, yosys_version

__all__ = ["FpgaOptions", "build"]

SCHEMA = 1
Progress = Callable[[str], None]

_SYNTH = {
    "ice40": "synth_ice40 -device u -dsp -top top",
    "ecp5": "synth_ecp5 -top top",
    # Amaranth gives the clock buffer a parameter, for simulators alone, that Yosys does not know.
    "xc7": "setparam -unset SIM_DEVICE t:BUFGCTRL\nsynth_xilinx -family xc7 -top top -flatten",
}
_BLOCKS = {
    # in units of the board's blocks: a RAMB36E1 is two halves
    "ice40": {"SB_RAM40_4K": 1, "SB_RAM40_4KNR": 1, "SB_RAM40_4KNW": 1, "SB_RAM40_4KNRNW": 1},
    "ecp5": {"DP16KD": 1, "PDPW16KD": 1},
    "xc7": {"RAMB18E1": 1, "RAMB36E1": 2},
}
_DSPS = {"ice40": "SB_MAC16", "ecp5": "MULT18X18D", "xc7": "DSP48E1"}
# What nextpnr calls the resources of a chip in its report.
_PLACED = {
    "ice40": {"luts": "ICESTORM_LC", "block_rams": "ICESTORM_RAM", "sprams": "ICESTORM_SPRAM", "dsps": "ICESTORM_DSP"},
    "ecp5": {"luts": "TRELLIS_COMB", "flip_flops": "TRELLIS_FF", "block_rams": "DP16KD", "dsps": "MULT18X18D"},
}


@dataclass(frozen=True, kw_only=True)
class FpgaOptions:
    """Choices of a build."""

    baud: int = BAUD
    seed: int = 1
    """Of the placer."""
    place: bool = True
    """False: stop after Yosys."""


def build(
    project: Project, board: Board, folder: Path, options: FpgaOptions, progress: Progress = lambda text: None
) -> dict:
    """Build the bitstream of `project` for `board` into `folder`; returns the report.

    Raises
    ------
    InputError
        If the board is too small, by which resource and how far, or the baud rate or the folder cannot be used.
    ToolMissing
        If nextpnr or the packer is not installed; said before Yosys runs.
    FlowError
        If a tool fails.
    SpikeloomError
        If the clock of the board is missed: the report and the log are kept, a bitstream is not.
    """
    design = folder.parents[1]  # build/<name>, which `elaborate` replaces
    if (design / MARKER).is_file() or not design.exists():
        check_replaceable(folder)
    else:
        check_replaceable(design)
    place = options.place and board.place_and_route
    if place:
        for tool in _tools(board):
            require_tool(tool)
    started = time.monotonic()
    progress("memories")
    plan = project.plan
    memories = memories_of(plan, board, baud=options.baud)
    fixed = any(entry.weights == "fixed" for entry in plan.layers)
    spram = check_memories(board, memories, fixed)
    progress("gateware")
    files = prepare(BoardTop(plan, board, baud=options.baud), spram)
    seconds = {"gateware": round(time.monotonic() - started, 1)}
    design.mkdir(parents=True, exist_ok=True)
    (design / MARKER).touch()
    with replace_folder(folder) as work:
        for name, text in files.items():
            (work / name).write_text(text)
        progress("Yosys")
        started = time.monotonic()
        script = f"read_rtlil top.il\n{_SYNTH[board.family]}\nwrite_json top.json\n"
        run_yosys(script, work, "yosys", cwd=work)
        seconds["yosys"] = round(time.monotonic() - started, 1)
        mapped = count_cells(work / "top.json", board)
        check_fit(board, mapped)
        report = {
            "schema": SCHEMA,
            "name": project.config.name,
            "core": plan.hash,
            "board": board.name,
            "chip": board.title,
            "clock_mhz": board.clock_hz / 1e6,
            "baud": options.baud,
            "mapped": mapped,
            "available": available(board),
            "memories": [
                {
                    "instance": m.name, "depth": m.depth, "width": m.width, "bits": m.bits,
                    "spram": spram_count(m) if m.name in spram else 0,
                    "blocks": 0 if m.name in spram else board.blocks(m),
                }
                for m in sorted(memories, key=lambda m: m.name)
            ],
            "tools": {"yosys": yosys_version()},
            "seconds": seconds,
        }  # fmt: skip
        missed = None
        if place:
            started = time.monotonic()
            missed = _place(board, work, options, report, progress)
            seconds["place_and_route"] = round(time.monotonic() - started, 1)
        report["bitstream"] = next((p.name for p in sorted(work.iterdir()) if p.suffix in (".bin", ".bit")), None)
        for name in ("top.il", "top.json", "top.asc", "top.config", "nextpnr.json"):
            (work / name).unlink(missing_ok=True)
        shutil.rmtree(work / "tmp", ignore_errors=True)
        (work / "report.json").write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
    if missed:
        raise SpikeloomError(f"{missed}; see {folder / 'nextpnr.log'}")
    return report


def available(board: Board) -> dict[str, int]:
    """What the chip holds."""
    return {
        "luts": board.luts,
        "flip_flops": board.flip_flops,
        "block_rams": board.block_rams,
        "sprams": board.sprams,
        "dsps": board.dsps,
    }


def count_cells(path: Path, board: Board) -> dict[str, int]:
    """Resources of the netlist that Yosys wrote to `path`."""
    cells = Counter(cell["type"] for cell in json.loads(path.read_text())["modules"]["top"]["cells"].values())
    family = board.family
    return {
        "luts": sum(cells[kind] * n for kind, n in (LUT[family] | LUT_RAM[family]).items()),
        "flip_flops": flip_flops(cells, family),
        "block_rams": sum(cells[kind] * n for kind, n in _BLOCKS[family].items()),
        "sprams": cells["SB_SPRAM256KA"],
        "dsps": cells[_DSPS[family]],
    }


def check_fit(board: Board, used: dict[str, int]) -> None:
    """Refuse a netlist that cannot be placed.

    Raises
    ------
    InputError
        With each resource that is exceeded, and how far.
    """
    have = available(board)
    words = {"luts": "look-up tables", "flip_flops": "flip-flops", "block_rams": "blocks of memory", "dsps": "DSPs"}
    beyond = [
        f"{used[key]} {words.get(key, 'SPRAM')}, accepted are at most {have[key]} ({used[key] / max(1, have[key]):.2f} "
        "times what is there)"
        for key in have
        if used[key] > have[key]
    ]
    if beyond:
        raise InputError(
            f"{board.name}: too small after synthesis: {'; '.join(beyond)}; fewer core.lanes take less logic"
        )


def _tools(board: Board) -> tuple[str, str]:
    return ("nextpnr-ice40", "icepack") if board.family == "ice40" else ("nextpnr-ecp5", "ecppack")


def _place(board: Board, work: Path, options: FpgaOptions, report: dict, progress: Progress) -> str | None:
    """Place, route and pack; returns what was missed."""
    router, packer = _tools(board)
    common = ["--json", "top.json", "--report", "nextpnr.json", "--seed", str(options.seed), "--timing-allow-fail"]
    if board.family == "ice40":
        arguments = [*common, "--up5k", "--package", "sg48", "--pcf", "top.pcf", "--asc", "top.asc"]
        pack, bitstream = ["top.asc", f"{report['name']}.bin"], f"{report['name']}.bin"
    else:
        arguments = [
            *common, "--85k", "--package", "CABGA381", "--speed", "6", "--lpf", "top.lpf", "--textcfg", "top.config"
        ]  # fmt: skip
        bitstream = f"{report['name']}.bit"
        pack = ["--compress", "--input", "top.config", "--bit", bitstream]
    progress("place and route")
    _run(router, arguments, work, "nextpnr")
    placed = json.loads((work / "nextpnr.json").read_text())
    clock = _clock(placed["fmax"])
    report["fmax_mhz"] = round(clock["achieved"], 2)
    report["placed"] = {
        key: placed["utilization"][name]["used"]
        for key, name in _PLACED[board.family].items()
        if name in placed["utilization"]
    }
    report["tools"] |= {tool: require_tool(tool).version for tool in (router, packer)}
    if clock["achieved"] < board.clock_hz / 1e6:
        return (
            f"{board.name}: {clock['achieved']:.1f} MHz after place and route; accepted is at least "
            f"{board.clock_hz / 1e6:g} MHz, the clock of the core; another --seed or fewer core.lanes may reach it"
        )
    progress("bitstream")
    _run(packer, pack, work, "pack")
    if not (work / bitstream).is_file() or not (work / bitstream).stat().st_size:
        raise FlowError(f"{packer} left no bitstream", work / "pack.log")
    return None


def _clock(fmax: dict) -> dict:
    """The clock of the core: the one with the most logic is the slowest."""
    if not fmax:
        raise SpikeloomError("nextpnr reports no clock")
    return min(fmax.values(), key=lambda clock: clock["achieved"])


def _run(tool: str, arguments: list[str], work: Path, name: str) -> None:
    """Run a tool in `work`; its output goes to `name`.log.

    Raises
    ------
    FlowError
        If it fails; with its own words.
    """
    log = work / f"{name}.log"
    code = run_logged([str(require_tool(tool).path), *arguments], log=log, cwd=work)
    if code:
        text = log.read_text(errors="replace")
        lines = [line for line in text.splitlines() if re.match(r"ERROR|error", line)] or text.strip().splitlines()[-3:]
        kept = Path(tempfile.mkdtemp(prefix="spikeloom-fpga-"), log.name)  # the work folder goes away
        shutil.copyfile(log, kept)
        raise FlowError(f"{tool} failed (exit {code}): {' '.join(lines[:3])}", kept)
