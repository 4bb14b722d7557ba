"""Mapping to library cells: areas and counts by hand, memories kept, the netlist equal to the RTL, errors named."""

import json
import subprocess
import sys

import pytest

from spikeloom.errors import InputError, SpikeloomError
from spikeloom_synth.errors import FlowError
from spikeloom_synth.liberty import read_liberty
from spikeloom_synth.macros import MacroModel, memory_liberty
from spikeloom_synth.netlist import load_netlist
from spikeloom_synth.options import SynthOptions
from spikeloom_synth.yosys import (
    Design,
    cell_models,
    design_from_build,
    elaborate,
    liberty_files,
    map_to_cells,
    run_yosys,
)
from synth_designs import (
    DATA,
    LIF_FILES,
    LIF_FLIP_FLOPS,
    LIF_MEMORY_BITS,
    MEMORY_FILES,
    TINY,
    icarus_outputs,
    map_text,
    needs_iverilog,
    needs_osu018,
    needs_pdk,
    needs_yosys,
    pdk_file,
    write_lif_image,
    write_lif_stimulus,
)

pytestmark = needs_yosys

TOGGLE = "module toggle(input clk, output reg q);\n  always @(posedge clk) q <= !q;\nendmodule\n"


def test_area_by_hand(tmp_path):
    """One flip-flop (40) and one inverter (10): nothing else can do it."""
    netlist, *_ = map_text(TOGGLE, "toggle", tmp_path)
    assert netlist.counts() == {"DFF": 1, "INV": 1}
    assert netlist.area() == 50
    assert netlist.area_by_block() == {"top": {"cells": 2, "flip_flops": 1, "area": 50.0, "flip_flop_area": 40.0}}


def test_blocks_by_hand(tmp_path):
    """Registers count to the module that declares them, logic to the one block that it feeds, else shared."""
    text = """
module bit_(input clk, input d, output reg q); always @(posedge clk) q <= d; endmodule
module pair(input clk, input [1:0] d, output [1:0] q);
  genvar n; generate for (n = 0; n < 2; n = n + 1) begin : lane bit_ b (.clk(clk), .d(!d[n]), .q(q[n])); end endgenerate
endmodule
module tree(input clk, input a, input b, input c, output [1:0] q, output [1:0] r);
  wire shared = !(a & b);
  pair one (.clk(clk), .d({shared, a}), .q(q));
  pair two (.clk(clk), .d({shared, c}), .q(r));
endmodule
"""
    netlist, *_ = map_text(text, "tree", tmp_path)
    rows = netlist.area_by_block()
    assert {block: row["flip_flops"] for block, row in rows.items() if row["flip_flops"]} == {
        "one.lane": 2,
        "two.lane": 2,
    } or rows["one.lane"]["flip_flops"] + rows["two.lane"]["flip_flops"] == 3  # the shared bit may be merged
    assert sum(row["area"] for row in rows.values()) == netlist.area()
    assert "top" not in rows


@pytest.fixture(scope="module")
def osu018_lif(tmp_path_factory):
    """lif_small, elaborated for osu018."""
    folder = tmp_path_factory.mktemp("lif")
    options = SynthOptions(clock_mhz=200)
    libraries, plain = liberty_files(options, folder)
    coarse = elaborate(Design(files=LIF_FILES, top="lif_small", folder=folder), options, folder)
    return coarse, libraries, plain, folder


@needs_osu018
def test_memories_stay_memories(osu018_lif):
    coarse, *_ = osu018_lif
    assert sum(memory.bits for memory in coarse.memories) == LIF_MEMORY_BITS
    assert [(each.name, each.port_type, each.depth, each.width, each.image) for each in coarse.memories] == [
        ("counter.counts", "1r1w", 16, 8, ""),
        ("fc1.weights", "rom", 64, 64, "lif_small.mem"),
    ]
    assert coarse.register_memories == ()
    assert {"fc1.lane[3].neuron.potential", "counter.count", "fc1.tick_q"} <= coarse.registers


@needs_osu018
@needs_iverilog
@pytest.mark.parametrize(
    ("recipe", "adders"),
    [
        ("area", "auto"),
        ("balanced", "auto"),
        ("speed", "auto"),
        ("area", "full-adder"),
        ("area", "full-adder-inverted"),
        ("area", "kogge-stone"),
    ],
)
def test_netlist_equals_rtl(osu018_lif, recipe, adders, tmp_path):
    """Random events through RTL and netlist in Icarus: the same words in the same cycles."""
    coarse, libraries, plain, _ = osu018_lif
    options = SynthOptions(clock_mhz=200, adders=adders)
    netlist = map_to_cells(coarse, libraries, plain, options, tmp_path, recipe=recipe)
    assert len(netlist.flip_flops()) == LIF_FLIP_FLOPS
    assert ("FAX1" in netlist.counts()) == adders.startswith("full-adder")
    rows = netlist.area_by_block()
    assert sum(row["area"] for row in rows.values()) == pytest.approx(netlist.area())
    assert rows["fc1.lane"]["flip_flops"] == 16 * 11
    assert rows["counter"]["flip_flops"] == 1 + 4 + 4 + 1 + 8
    cells = cell_models(netlist, plain, tmp_path)
    write_lif_image(tmp_path)
    stimulus = tmp_path / "stimulus.mem"
    words = write_lif_stimulus(stimulus)
    rtl, gates = tmp_path / "rtl", tmp_path / "gates"
    rtl.mkdir()
    gates.mkdir()
    expected = icarus_outputs([*LIF_FILES], stimulus, tmp_path, rtl)
    given = icarus_outputs(
        [tmp_path / "netlist.v", cells, tmp_path / "memories.v", *MEMORY_FILES],
        stimulus,
        tmp_path,
        gates,
        start_at_0=("dut.\\fc1.weights .contents.r_data", "dut.\\counter.counts .contents.r_data"),
    )
    assert given == expected
    ticks = sum(word >> 6 & 1 for word in words)
    assert len(expected) > ticks + 30  # spikes went out, not only ticks


@needs_pdk
@pytest.mark.parametrize("pattern", ["nangate45/lib/Nangate*", "ihp-sg13g2/lib/sg13g2_stdcell*"])
def test_other_libraries(pattern, tmp_path):
    options = SynthOptions(liberty=str(pdk_file(pattern)), clock_mhz=100)
    libraries, plain = liberty_files(options, tmp_path)
    coarse = elaborate(Design(files=LIF_FILES, top="lif_small", folder=tmp_path), options, tmp_path)
    netlist = map_to_cells(coarse, libraries, plain, options, tmp_path, recipe="area")
    assert len(netlist.flip_flops()) == LIF_FLIP_FLOPS
    # Constants must come from tie cells where the library has them.
    assert not [1 for each in netlist.instances.values() for bits in each.pins.values() for net in bits if net == "1"]


MEMORY = """module store(input clk, input we, input [5:0] a, input [7:0] d, output reg [7:0] q);
  reg [7:0] table_ [0:63];
  always @(posedge clk) begin q <= table_[a]; if (we) table_[a] <= d; end
endmodule
"""


def test_memory_as_registers_is_refused(tmp_path):
    with pytest.raises(SpikeloomError, match=r"would turn into flip-flops: table_ \(512 bits\).*register_memory_bits"):
        map_text(MEMORY, "store", tmp_path)


def test_memory_as_registers_on_request(tmp_path):
    source = tmp_path / "store.v"
    source.write_text(MEMORY)
    options = SynthOptions(liberty=str(TINY), register_memory_bits=512)
    coarse = elaborate(Design(files=(source,), top="store", folder=tmp_path), options, tmp_path)
    assert coarse.register_memories == ({"instance": "table_", "bits": 512},)
    libraries, plain = liberty_files(options, tmp_path)
    netlist = map_to_cells(coarse, libraries, plain, options, tmp_path, recipe="area")
    assert len(netlist.flip_flops()) == 512 + 8


def test_memory_module_in_a_shared_file(tmp_path):
    path = tmp_path / "all.v"
    path.write_text((DATA / "spikeloom_rom.v").read_text() + TOGGLE)
    options = SynthOptions(liberty=str(TINY))
    with pytest.raises(InputError, match=r"all\.v: spikeloom_rom must be in a file of its own"):
        elaborate(Design(files=(path,), top="toggle", folder=tmp_path), options, tmp_path)


def test_latch_cannot_be_mapped(tmp_path):
    text = "module latch(input g, input d, output reg q);\n  always @* if (g) q = d;\nendmodule\n"
    with pytest.raises(FlowError, match="D latches are not supported"):
        map_text(text, "latch", tmp_path)


def test_cells_that_are_left_over(tmp_path):
    cells = {
        "a": {"type": "INV", "connections": {"A": [2], "Y": [3]}},
        "b": {"type": "$_TBUF_", "connections": {"A": [3], "E": [2], "Y": [4]}},
    }
    path = tmp_path / "mapped.json"
    path.write_text(json.dumps({"modules": {"bus": {"cells": cells, "ports": {}, "netnames": {}}}}))
    with pytest.raises(SpikeloomError, match=r"bus: cells that the library cannot implement are left.*1 x \$_TBUF_"):
        load_netlist(path, "bus", [read_liberty(TINY)], [])


def test_initial_values_are_not_relied_on(tmp_path):
    """A register that only its initial value holds at 0 is no constant in silicon."""
    text = """module held(input clk, input a, output reg q);
  reg never = 0;
  always @(posedge clk) begin never <= never & a; q <= never; end
endmodule
"""
    netlist, *_ = map_text(text, "held", tmp_path)
    assert len(netlist.flip_flops()) == 2


def test_full_adder_needs_a_cell(tmp_path):
    text = (
        "module add(input clk, input [7:0] a, b, output reg [7:0] y);\n always @(posedge clk) y <= a + b;\nendmodule\n"
    )
    with pytest.raises(InputError, match="adders: full-adder needs a library with a full-adder cell, tiny has none"):
        map_text(text, "add", tmp_path, adders="full-adder")


def test_verilog_error_has_excerpt_and_log(tmp_path):
    with pytest.raises(FlowError, match=r"Yosys failed \(elaborate\): .*broken\.v:1: ERROR: syntax error") as caught:
        map_text("module broken(input clk;\nendmodule\n", "broken", tmp_path)
    assert caught.value.log.is_file()
    assert str(caught.value.log) in str(caught.value)
    with pytest.raises(FlowError, match="toggle2"):
        map_text(TOGGLE, "toggle2", tmp_path)


def test_yosys_that_dies_is_reported(tmp_path):
    with pytest.raises(FlowError, match=r"Yosys failed \(odd\): .*No such command: no_such_pass"):
        run_yosys("no_such_pass\n", tmp_path, "odd")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clock_mhz": 0}, "clock_mhz: must be a positive number"),
        ({"clock_mhz": float("nan")}, "clock_mhz: must be a positive number"),
        ({"memory_access_ns": -1}, "memory_access_ns: must be a number of at least 0, not -1"),
        ({"recipe": "tiny"}, "recipe: 'tiny' is not known; accepted: auto, area"),
        ({"adders": "carry-skip"}, "adders: 'carry-skip' is not known; accepted: auto, gates, cells, brent-kung"),
        ({"fpga": ("ice50",)}, "fpga: 'ice50' is not known; accepted: ice40, ecp5, xc7"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        SynthOptions(**options)


def test_missing_library(tmp_path):
    with pytest.raises(InputError, match=r"no_such\.lib: Liberty file cannot be read"):
        liberty_files(SynthOptions(liberty=str(tmp_path / "no_such.lib")), tmp_path)


def test_bad_build_folder(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json: cannot be read: .*give a folder made by `spikeloom elab"):
        design_from_build(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 9, "top": "t", "content": {}}')
    with pytest.raises(InputError, match="schema 9 is not known; this version reads schema 1"):
        design_from_build(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 1, "top": "t", "content": {"rtl/t.v": "00"}}')
    with pytest.raises(InputError, match=r"t\.v is missing; elaborate again"):
        design_from_build(tmp_path)


@needs_osu018
def test_memory_liberty_has_every_pin(osu018_lif):
    """One pin or bus for each port of the memory, in the stub without and with timing."""
    coarse, libraries, *_ = osu018_lif
    bare = memory_liberty(coarse.memories, None)
    timed = memory_liberty(coarse.memories, MacroModel.of(libraries[0], SynthOptions()))
    assert bare.count("bus (") == timed.count("bus (") == 2 + 4
    assert bare.count("timing (") == 0
    assert timed.count("timing (") == 3 + 6
    assert bare.count("{") == bare.count("}")
    assert timed.count("{") == timed.count("}")


def test_command_line(tmp_path):
    """The quick look prints one JSON object; an error goes to stderr with its exit code."""
    source = tmp_path / "toggle.v"
    source.write_text(TOGGLE)
    command = [sys.executable, "-m", "spikeloom_synth.yosys", str(source), "--liberty", str(TINY)]
    done = subprocess.run([*command, "--top", "toggle"], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("OpenSTA (sta) is not installed")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["area"]["um2"] == 50
    done = subprocess.run([*command, "--top", "toggle", "--mhz", "-1"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: clock_mhz: must be a positive number")
