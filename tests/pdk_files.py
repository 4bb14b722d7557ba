"""A small process design kit, made from tests/data/tiny.lib."""

import gzip
from pathlib import Path

from spikeloom_synth.liberty import read_liberty
from synth_designs import TINY

KIT = """
schema = 1
name = "tiny"
title = "a library of a few cells"
licence = "none"
manufacturable = false
node_nm = 100
libraries = ["tiny*"]
dont_use = ["NAND*"]
areas_differ = []
default_corner = "typical"
macros = ["ram_*"]

[corners.typical]
liberty = ["tiny.lib"]
voltage = 2.0
temperature = 25

[corners.slow]
liberty = ["tiny_slow.lib"]
voltage = 1.8
temperature = 125

[layout]
tech_lef = ["tech.lef"]
cell_lef = ["cells.lef"]
scale = 1
site = "unit"
metal = "m"
signal_layers = ["m1", "m2"]
pin_layers = ["m1", "m2"]
power = "VDD"
ground = "VSS"
tie_high = ""
tie_low = ""
fill = ["FILL*"]
tap = ""
clock_buffer = "BUF"

[[places]]
what = "a folder"
folders = ["tiny", "."]
lib = ["lib", "more"]
lef = ["lef"]
"""

TECH = """
SITE unit
  SIZE 1 BY 10 ;
END unit
LAYER m1
  TYPE ROUTING ;
  DIRECTION HORIZONTAL ;
END m1
LAYER via
  TYPE CUT ;
END via
LAYER m2
  TYPE ROUTING ;
  DIRECTION VERTICAL ;
END m2
"""


def kit_folder(root: Path) -> Path:
    """The files of `KIT` as its place says, from tests/data/tiny.lib: the same areas in both views."""
    for name in ("lib", "lef"):
        (root / "tiny" / name).mkdir(parents=True)
    (root / "tiny" / "lib" / "tiny.lib.gz").write_bytes(gzip.compress(TINY.read_bytes()))
    (root / "tiny" / "lef" / "tech.lef").write_text(TECH)
    cells = {name: cell.area for name, cell in read_liberty(TINY).cells.items()} | {"FILL1": 10}
    lines = [f"MACRO {name}\n  SITE unit ;\n  SIZE {area / 10} BY 10 ;\nEND {name}" for name, area in cells.items()]
    (root / "tiny" / "lef" / "cells.lef").write_text("\n".join(lines) + "\n")
    return root
