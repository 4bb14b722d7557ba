"""FPGA resources by Yosys: look-up tables, flip-flops, block RAM before placement; memories are inferred.

`synth_ice40`, `synth_ecp5` and `synth_xilinx -family xc7` map the exported Verilog, memory images included. The counts
are those of the mapped netlist: a placer packs look-up tables and flip-flops together and may need a few more.
"""

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from spikeloom.errors import SpikeloomError

from .yosys import Design, _quoted, run_yosys, yosys_version

__all__ = ["FLIP_FLOP", "LUT", "LUT_RAM", "Fpga", "count", "flip_flops"]

_COMMAND = {
    # No I/O buffers: a core sits inside a design, and its streams have more bits than some packages have pins.
    "ice40": "synth_ice40 -top {top} -noabc9",
    "ecp5": "synth_ecp5 -top {top} -noiopad",
    # Wide functions in look-up tables alone: on these cores fewer of them than with the multiplexers behind them.
    "xc7": "synth_xilinx -family xc7 -top {top} -noiopad -noclkbuf -flatten -nowidelut",
}
LUT = {
    "ice40": {"SB_LUT4": 1},
    # A wide function takes two, four or eight LUT4 and the multiplexers between them, which are not counted.
    "ecp5": {"LUT4": 1, "CCU2C": 2},
    "xc7": {f"LUT{inputs}": 1 for inputs in range(1, 7)},
}
FLIP_FLOP = {
    "ice40": ("SB_DFF",),
    "ecp5": ("TRELLIS_FF",),
    "xc7": ("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1"),
}
_BLOCK_RAM = {
    "ice40": ("SB_RAM40_4K", "SB_RAM40_4KNR", "SB_RAM40_4KNW", "SB_RAM40_4KNRNW"),
    "ecp5": ("DP16KD", "PDPW16KD"),
    "xc7": ("RAMB18E1", "RAMB36E1"),
}
# Look-up tables used as memory: bits of storage they hold are still look-up tables of the chip.
LUT_RAM = {
    "ice40": {},
    "ecp5": {"TRELLIS_DPR16X4": 4},
    "xc7": {
        "RAM32X1D": 2,
        "RAM64X1D": 2,
        "RAM128X1D": 4,
        "RAM32M": 4,
        "RAM64M": 4,
        "RAM32X1S": 1,
        "RAM64X1S": 1,
        "SRL16E": 1,
        "SRLC32E": 1,
    },
}
_CARRY = {"ice40": ("SB_CARRY",), "ecp5": ("CCU2C",), "xc7": ("CARRY4",)}
_DSP = {"ice40": ("SB_MAC16",), "ecp5": ("MULT18X18D",), "xc7": ("DSP48E1",)}


@dataclass(frozen=True, kw_only=True)
class Fpga:
    """Resources on one family."""

    family: str
    luts: int
    """Look-up tables (LUT4 on iCE40 and ECP5, LUT6 on Xilinx 7), those of adders and of small memories included."""
    flip_flops: int
    block_rams: dict[str, int]
    """{kind: number}: 4 kbit on iCE40, 18 kbit on ECP5, 18 and 36 kbit on Xilinx 7."""
    lut_rams: int
    """Look-up tables that serve as memory; they are in `luts` too."""
    carries: int
    dsps: int
    cells: dict[str, int]
    label: dict

    def summary(self) -> dict:
        """Figures with their label, ready for JSON."""
        return {
            "luts": self.luts,
            "flip_flops": self.flip_flops,
            "block_rams": self.block_rams,
            "lut_rams": self.lut_rams,
            "carries": self.carries,
            "dsps": self.dsps,
            "cells": self.cells,
            "label": self.label,
        }


def flip_flops(cells: Counter[str], family: str) -> int:
    """Flip-flops among {kind of cell: number}."""
    return sum(
        number
        for kind, number in cells.items()
        if (kind.startswith(FLIP_FLOP[family]) if family == "ice40" else kind in FLIP_FLOP[family])
    )


def count(design: Design, family: str, folder: Path) -> Fpga:
    """Map a design to an FPGA family and count what it uses.

    Raises
    ------
    ToolMissing, SpikeloomError
        As `run_yosys`.
    """
    work = folder / f"fpga_{family}"
    work.mkdir(parents=True, exist_ok=True)
    for image in design.folder.glob("*.mem"):  # read by name, relative to where Yosys runs
        shutil.copyfile(image, work / image.name)
    script = [
        *(f"read_verilog {_quoted(path.absolute())}" for path in design.files),
        _COMMAND[family].format(top=design.top),
        "flatten -noscopeinfo",
        "opt_clean -purge",
        "write_json mapped.json",
    ]
    run_yosys("\n".join(script) + "\n", work, f"fpga_{family}", cwd=work)
    cells = Counter(
        cell["type"] for cell in json.loads((work / "mapped.json").read_text())["modules"][design.top]["cells"].values()
    )
    inner = sorted(kind for kind in cells if kind.startswith("$") and kind != "$scopeinfo")
    if inner:
        raise SpikeloomError(f"{design.top}: not mapped to {family}: {', '.join(inner)}")
    lut_rams = sum(cells[kind] * luts for kind, luts in LUT_RAM[family].items())
    luts = sum(cells[kind] * number for kind, number in LUT[family].items()) + lut_rams
    result = Fpga(
        family=family,
        luts=luts,
        flip_flops=flip_flops(cells, family),
        block_rams={kind: cells[kind] for kind in _BLOCK_RAM[family] if cells[kind]},
        lut_rams=lut_rams,
        carries=sum(cells[kind] for kind in _CARRY[family]),
        dsps=sum(cells[kind] for kind in _DSP[family]),
        cells=dict(sorted(cells.items())),
        label={
            "level": "mapped netlist, before packing and placement, no I/O cells",
            "tool": f"Yosys {yosys_version()}",
            "command": _COMMAND[family].format(top=design.top),
        },
    )
    (folder / f"fpga_{family}.log").write_bytes((work / f"fpga_{family}.log").read_bytes())
    shutil.rmtree(work)
    return result
