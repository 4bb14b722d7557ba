"""Static timing: arrivals added up by hand from the tiny library, and names of the source at both ends."""

import functools
import re

import pytest

from spikeloom_synth.errors import FlowError
from spikeloom_synth.flow import asic
from spikeloom_synth.options import SynthOptions
from spikeloom_synth.timing import analyse, run_sta
from spikeloom_synth.yosys import Design
from synth_designs import DATA, LIF_FILES, TINY, map_text, needs_osu018, needs_pdk, needs_sta, needs_yosys, pdk_file

pytestmark = [needs_yosys, needs_sta]

approx = functools.partial(pytest.approx, rel=1e-5)  # OpenSTA computes in single precision
CLOCK_TO_Q, INVERTER, NAND, SETUP = 0.5, 0.25, 0.5, 0.125  # of tiny.lib, in nanoseconds

STAGES = """
module inner(input clk, input d, output reg held); always @(posedge clk) held <= d; endmodule
module stages(input clk, input a, input b, output y);
  wire q, r;
  inner first (.clk(clk), .d(a), .held(q));
  inner second (.clk(clk), .d(!q), .held(r));
  assign y = !(b & r);
endmodule
"""


def test_fmax_by_hand(tmp_path):
    """Clock to Q, one inverter, set-up; the paths from and to ports do not count."""
    netlist, libraries, plain, options = map_text(STAGES, "stages", tmp_path)
    timing = analyse(netlist, libraries, plain, options, tmp_path, memory_timing=False)
    period = CLOCK_TO_Q + INVERTER + SETUP
    assert timing.fmax_mhz == approx(1000 / period)
    assert len(timing.paths) == 1
    path = timing.paths[0]
    assert (path.start, path.end) == ("first.held", "second.held")
    assert path.arrival_ns == approx(CLOCK_TO_Q + INVERTER)
    assert path.setup_ns == approx(SETUP)
    assert path.slack_ns == approx(10 - period)
    assert [(stage["cell"], stage["arrival_ns"]) for stage in path.stages] == [
        ("DFF", CLOCK_TO_Q),
        ("INV", CLOCK_TO_Q + INVERTER),
        ("DFF", CLOCK_TO_Q + INVERTER),
    ]
    assert path.stages[0]["term"] == "first.held"
    assert timing.label["corner"] == "bench"
    assert timing.label["voltage_v"] == 2.0
    assert timing.label["paths"] == "register to register"
    assert re.fullmatch(r"OpenSTA \d+\.\d+\.\d+", timing.label["tool"])


def test_target_clock_does_not_move_fmax(tmp_path):
    netlist, libraries, plain, options = map_text(STAGES, "stages", tmp_path, clock_mhz=5000.0)
    timing = analyse(netlist, libraries, plain, options, tmp_path, memory_timing=False)
    assert timing.fmax_mhz == approx(1000 / 0.875)
    assert timing.paths[0].slack_ns == approx(0.2 - 0.875)


def test_other_time_unit(tmp_path):
    """The same library written in picoseconds and femtofarads gives the same clock."""
    text = TINY.read_text().replace('"1ns"', '"1ps"').replace("(1, pf)", "(1, ff)")
    text = re.sub(r'values \("([\d.]+)"\)', lambda found: f'values ("{float(found[1]) * 1000:g}")', text)
    text = re.sub(r"capacitance : ([\d.]+)", lambda found: f"capacitance : {float(found[1]) * 1000:g}", text)
    path = tmp_path / "pico.lib"
    path.write_text(text)
    netlist, libraries, plain, options = map_text(STAGES, "stages", tmp_path, liberty=str(path))
    timing = analyse(netlist, libraries, plain, options, tmp_path, memory_timing=False)
    assert timing.fmax_mhz == approx(1000 / 0.875)
    assert timing.paths[0].arrival_ns == approx(0.75)


def test_design_without_register_paths(tmp_path):
    text = "module one(input clk, input a, output reg q);\n  always @(posedge clk) q <= a;\nendmodule\n"
    netlist, libraries, plain, options = map_text(text, "one", tmp_path)
    timing = analyse(netlist, libraries, plain, options, tmp_path, memory_timing=False)
    assert timing.fmax_mhz is None
    assert timing.paths == ()


MEMORY = """
module rows(input clk, input step, output [1:0] y);
  reg [1:0] at; reg [1:0] held;
  wire [1:0] data;
  spikeloom_rom #(.WIDTH(2), .DEPTH(4), .ADDRESS(2), .INIT_FILE("rows.mem")) weights (
    .clk(clk), .r_en(step), .r_addr(at), .r_data(data));
  always @(posedge clk) begin at[0] <= !at[0]; at[1] <= !at[1]; held <= ~data; end
  assign y = held;
endmodule
"""


def test_memory_access_by_hand(tmp_path):
    """Access time, one inverter, set-up of the register; or clock to Q and set-up of the memory."""
    netlist, libraries, plain, options = map_text(
        MEMORY,
        "rows",
        tmp_path,
        extra=(DATA / "spikeloom_rom.v",),
        memory_access_ns=1.5,
        memory_setup_ns=0.75,
    )
    without = analyse(netlist, libraries, plain, options, tmp_path, memory_timing=False)
    assert without.fmax_mhz == approx(1000 / (CLOCK_TO_Q + INVERTER + SETUP))
    assert all("weights" not in path.start + path.end for path in without.paths)
    timing = analyse(netlist, libraries, plain, options, tmp_path, memory_timing=True)
    worst = timing.paths[0]
    assert worst.start.startswith("weights.r_data[")
    assert worst.end.startswith("held[")
    assert worst.period_ns == approx(1.5 + INVERTER + SETUP)
    assert worst.stages[0]["cell"] == "spikeloom_rom"
    assert timing.label["memory"] == "estimated: access 1.5 ns for each memory; set-up 0.75 ns for each memory"
    to_memory = [path for path in timing.paths if path.end.startswith("weights.r_addr[")]
    assert to_memory
    assert all(path.period_ns == approx(CLOCK_TO_Q + 0.75) for path in to_memory)
    assert all(path.start.startswith("at[") for path in to_memory)


def test_error_in_a_script_is_found(tmp_path):
    with pytest.raises(FlowError, match=r"OpenSTA failed \(odd\): .*nothing\.lib") as caught:
        run_sta("read_liberty nothing.lib\n", tmp_path, "odd")
    assert caught.value.log.is_file()
    with pytest.raises(FlowError, match=r"OpenSTA failed \(odd\)"):
        run_sta("puts -nonewline half\nno_such_command\n", tmp_path, "odd")


@needs_osu018
def test_recipes_until_the_clock_is_reached(tmp_path):
    """`auto` stops at the first recipe that is fast enough, and keeps the fastest when none is."""
    design = Design(files=LIF_FILES, top="lif_small", folder=tmp_path)
    slow, fast = tmp_path / "slow", tmp_path / "fast"
    slow.mkdir()
    fast.mkdir()
    easy = asic(design, SynthOptions(clock_mhz=20), slow)
    assert list(easy.tried) == ["area", "area, full-adder", "area, full-adder-inverted"]
    assert easy.recipe == "area"
    smallest = min(easy.tried, key=lambda name: easy.tried[name]["um2"])
    assert ", ".join(["area"] + [easy.adders] * (easy.adders != "gates")) == smallest
    assert ("FAX1" in easy.netlist.counts()) == (easy.adders != "gates")
    assert easy.registers is not None
    assert easy.registers.fmax_mhz > 100
    names = {path.start.split(".")[0] for path in easy.registers.paths}
    assert names <= {"fc1", "counter"}
    hopeless = asic(design, SynthOptions(clock_mhz=5000), fast)
    assert list(hopeless.tried) == ["area", "balanced", "speed"]
    assert hopeless.recipe == max(hopeless.tried, key=lambda recipe: hopeless.tried[recipe]["fmax_mhz"])
    assert hopeless.tried["area"]["um2"] < hopeless.tried["speed"]["um2"]
    assert hopeless.tried["speed"]["fmax_mhz"] > hopeless.tried["area"]["fmax_mhz"]
    assert (fast / "netlist.v").is_file()
    assert not list(fast.glob("map_*/"))


@needs_osu018
def test_adders_on_request(tmp_path):
    """`gates` has no full-adder cell, `cells` keeps the smaller way to use them."""
    design = Design(files=LIF_FILES, top="lif_small", folder=tmp_path)
    for adders, tried in (("gates", ["area"]), ("cells", ["area, full-adder", "area, full-adder-inverted"])):
        (tmp_path / adders).mkdir()
        result = asic(design, SynthOptions(clock_mhz=20, adders=adders), tmp_path / adders, timed=False)
        assert list(result.tried) == tried
        assert ("FAX1" in result.netlist.counts()) == (adders == "cells")
        assert result.netlist.area() == min(row["um2"] for row in result.tried.values())
        assert result.summary()["area"]["label"]["adders"] == result.adders


@needs_pdk
def test_picosecond_library(tmp_path):
    """asap7 comes in five files, gzipped, in picoseconds."""
    files = tuple(str(pdk_file(f"asap7/lib/*_{kind}_RVT_TT_*")) for kind in ("SEQ", "SIMPLE", "INVBUF", "AO", "OA"))
    netlist, libraries, plain, options = map_text(STAGES, "stages", tmp_path, liberty=files)
    timing = analyse(netlist, libraries, plain, options, tmp_path, memory_timing=False)
    assert timing.fmax_mhz is not None
    assert 3_000 < timing.fmax_mhz < 50_000  # three gates of a 7 nm library: tens of picoseconds
