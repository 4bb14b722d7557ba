"""Designs and libraries that the tests of the synthesis flow share. Nothing here comes from the generator."""

import os
import random
import subprocess
from pathlib import Path

import pytest

from spikeloom.tools import find_tool
from spikeloom_synth.options import SynthOptions
from spikeloom_synth.yosys import Design, elaborate, liberty_files, map_to_cells

DATA = Path(__file__).parent / "data"
TINY = DATA / "tiny.lib"
MEMORY_FILES = (DATA / "spikeloom_rom.v", DATA / "spikeloom_sram_1r1w.v")
LIF_FILES = (DATA / "lif_small.v", *MEMORY_FILES)

# What lif_small.v declares: 16 potentials of 11 bits; event, tick, last; sending, send_last, 16 pending;
# busy, 4 of where, 4 of held_at, held_valid, 8 of count. `held` is left out: it always equals `count`.
LIF_FLIP_FLOPS = 16 * 11 + 3 + 2 + 16 + 1 + 4 + 4 + 1 + 8
LIF_MEMORY_BITS = 64 * 16 * 4 + 16 * 8

needs_yosys = pytest.mark.skipif(find_tool("yosys") is None, reason="pyosys is not installed")
needs_sta = pytest.mark.skipif(find_tool("sta") is None, reason="OpenSTA (sta) is not installed")
needs_osu018 = pytest.mark.skipif(find_tool("osu018") is None, reason="the osu018 library is not installed")
needs_iverilog = pytest.mark.skipif(find_tool("iverilog") is None, reason="Icarus Verilog is not installed")
needs_compiler = pytest.mark.skipif(find_tool("g++") is None, reason="g++ is not installed")
needs_pdk = pytest.mark.skipif("SPIKELOOM_PDK" not in os.environ, reason="SPIKELOOM_PDK is not set")


def pdk_file(pattern: str) -> Path:
    """The one file of the test PDKs that matches."""
    found = sorted(Path(os.environ["SPIKELOOM_PDK"]).glob(pattern))
    if not found:
        pytest.skip(f"SPIKELOOM_PDK has no {pattern}")
    return found[0]


def map_text(text: str, top: str, folder: Path, *, extra: tuple[Path, ...] = (), recipe: str = "area", **options):
    """Synthesise Verilog text with the tiny library: (netlist, libraries, plain files, options)."""
    source = folder / f"{top}.v"
    source.write_text(text)
    given = SynthOptions(**{"liberty": str(TINY), "clock_mhz": 100.0, **options})
    libraries, plain = liberty_files(given, folder)
    coarse = elaborate(Design(files=(source, *extra), top=top, folder=folder), given, folder)
    return map_to_cells(coarse, libraries, plain, given, folder, recipe=recipe), libraries, plain, given


def write_lif_image(folder: Path) -> None:
    """Random weights for lif_small: 64 rows of 16 signed 4-bit weights, more positive than negative."""
    rng = random.Random(7)
    rows = []
    for _ in range(64):
        weights = [rng.choice([-2, -1, 0, 1, 2, 3, 5]) & 15 for _ in range(16)]
        rows.append("".join(f"{weight:x}" for weight in reversed(weights)))
    (folder / "lif_small.mem").write_text("\n".join(rows) + "\n")


def write_lif_stimulus(path: Path, inputs: int = 4, steps: int = 8) -> list[int]:
    """Random events for lif_small; some steps have none."""
    rng, words = random.Random(11), []
    for _ in range(inputs):
        for step in range(steps):
            words += rng.sample(range(64), rng.choice([0, 3, 12, 20]))
            words.append(0x40 | (0x80 if step == steps - 1 else 0))
    path.write_text("".join(f"{word:02x}\n" for word in words))
    return words


def icarus_outputs(
    files: list[Path], stimulus: Path, images: Path, folder: Path, start_at_0: tuple[str, ...] = ()
) -> list[tuple[int, int]]:
    """Play a stimulus into lif_small with Icarus Verilog: [(cycle since reset, payload)] of events_out.

    Cycle 0 is the first one without reset; items are offered back to back and the output is always ready, as in the
    gate-level simulation, of which this bench shares nothing. `start_at_0` are read registers of memories: an unknown
    row that is not used comes out of some netlists as X, where silicon has a 0 or a 1.
    """
    words = [line for line in stimulus.read_text().splitlines() if line]
    bench = folder / "bench.v"
    initial = " ".join(f"{name} = 0;" for name in start_at_0)
    bench.write_text(f"""
`timescale 1ns / 1ps
module bench;
  reg clk = 0, rst = 1;
  reg [7:0] items [0:{len(words)}];
  integer next = 0, cycle = 0, quiet = 0;
  wire ready, valid;
  wire [5:0] payload;
  lif_small dut (.clk(clk), .rst(rst), .events_in__payload(items[next]), .events_in__valid(!rst && next < {len(words)}),
    .events_in__ready(ready), .events_out__payload(payload), .events_out__valid(valid), .events_out__ready(1'b1),
    .last_count());
  always #5 clk = !clk;
  initial begin
    {initial}
    $readmemh("{stimulus.absolute()}", items, 0, {len(words) - 1});
    items[{len(words)}] = 0;
    repeat (8) @(posedge clk);
    #1 rst = 0;
  end
  always @(posedge clk) if (!rst) begin
    if (valid) $display("OUT %0d %h", cycle, payload);
    quiet <= valid || next < {len(words)} ? 0 : quiet + 1;
    cycle <= cycle + 1;
    if (next < {len(words)} && ready) next <= next + 1;
    if (quiet == 100 || cycle == 20000) $finish;
  end
endmodule
""")
    program = folder / "bench.vvp"
    subprocess.run(
        [find_tool("iverilog").path, "-g2005", "-o", program, bench, *files], check=True, capture_output=True
    )
    vvp = find_tool("iverilog").path.with_name("vvp")
    text = subprocess.run(
        [vvp, "-n", program], cwd=images, check=True, capture_output=True, text=True, timeout=120
    ).stdout
    rows = [line.split() for line in text.splitlines() if line.startswith("OUT")]
    return [(int(cycle), int(payload, 16)) for _, cycle, payload in rows]
