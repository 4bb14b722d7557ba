"""Memory macros: the estimate against published ones and by hand; a user's macro as the black box in its place."""

import dataclasses
import gzip
import re

import pytest

from spikeloom.blocks.sram import verilog_body
from spikeloom.config import CimConfig
from spikeloom.errors import InputError
from spikeloom.export import elaborate
from spikeloom_synth.flow import asic, synthesise
from spikeloom_synth.liberty import read_liberty
from spikeloom_synth.macros import MacroModel, MacroParameters, memory_lef, memory_liberty, read_given
from spikeloom_synth.memories import Memory
from spikeloom_synth.options import SynthOptions
from spikeloom_synth.pdks import pdk_of_library
from spikeloom_synth.report import write_report
from spikeloom_synth.yosys import Design
from synth_designs import TINY, needs_compiler, needs_osu018, needs_pdk, needs_sta, needs_yosys, pdk_file
from test_cim import cim_project

ARRAY = Memory(instance="a", module="spikeloom_cim_array", width=4, depth=5, address=3)
INVERTER, SETUP = 0.25, 0.125  # of tiny.lib


def model_of(name: str = "sg13g2_stdcell", voltage: float = 1.2, **options) -> MacroModel:
    library = dataclasses.replace(read_liberty(TINY), name=name, voltage=voltage, pdk=pdk_of_library(name))
    return MacroModel.of(library, SynthOptions(**options))


@needs_pdk
@pytest.mark.parametrize(
    "shape",
    ["1024x16_c2", "1024x64_c2", "1024x8_c2", "2048x64_c2", "256x48_c2", "256x64_c2", "4096x16_c3", "4096x8_c3",
     "512x64_c2", "64x64_c2"],
)  # fmt: skip
def test_estimate_of_published_macros(shape):
    """Size within 3 % and access time within 8 % of IHP's own LEF and Liberty files; one port, 4 or 8 columns each."""
    words, bits, multiplex = map(int, re.findall(r"\d+", shape))
    model = model_of()
    model = dataclasses.replace(
        model, parameters=dataclasses.replace(model.parameters, column_multiplex=1 << multiplex)
    )
    macro = model.macro(Memory(instance="m", module="spikeloom_rom", width=bits, depth=words, address=12))
    lef = gzip.decompress(pdk_file(f"ihp-sg13g2/lef/*{shape}*.lef.gz").read_bytes()).decode()
    width, height = map(float, re.search(r"SIZE\s+([\d.]+)\s+BY\s+([\d.]+)", lef).groups())  # type: ignore[union-attr]
    assert macro.width_um == pytest.approx(width, rel=0.02)
    assert macro.height_um == pytest.approx(height, rel=0.03)
    assert macro.um2 == pytest.approx(width * height, rel=0.03)
    liberty = gzip.decompress(pdk_file(f"ihp-sg13g2/lib/*{shape}*.lib.gz").read_bytes()).decode()
    delays = re.search(r"cell_rise\(.*?values \((.*?)\)", liberty[liberty.index("bus(A_DOUT)") :], re.DOTALL)
    assert macro.access_ns == pytest.approx(float(re.findall(r"[\d.]+", delays[1])[6 * 2 + 2]), rel=0.08)  # type: ignore[index]


def test_estimate_by_hand():
    """An array has a sense amplifier per column and read port; another process scales; options take its place."""
    macro = model_of().macro(dataclasses.replace(ARRAY, width=256, depth=1024))
    assert macro.width_um == pytest.approx(3 * 53.9 + 256 * 2.85 * 1.6)
    assert macro.height_um == pytest.approx(23.7 + 2 * 24 * 4 + 1024 * 1.121)
    assert (macro.access_ns, macro.setup_ns) == (pytest.approx(3 + 4.68e-3 * 1024), 0.2)
    halved = model_of("gf180mcu_fd_sc_mcu7t5v0__x", 2.4).macro(dataclasses.replace(ARRAY, width=256, depth=1024))
    assert halved.um2 == pytest.approx(macro.um2 * (180 / 130) ** 2)
    assert halved.access_ns == pytest.approx(macro.access_ns * 180 / 130)
    assert halved.read_pj == pytest.approx(macro.read_pj * 180 / 130 * 4)
    flat = model_of(memory_access_ns=1.0, memory_setup_ns=0.5)
    assert (flat.macro(ARRAY).access_ns, flat.macro(ARRAY).setup_ns) == (1.0, 0.5)
    assert flat.timing_label() == "estimated: access 1 ns for each memory; set-up 0.5 ns for each memory"


def test_files_of_an_estimate(tmp_path):
    """Liberty and LEF have the same size and the same pins, inside the macro, none on another; both are read back."""
    model = model_of()
    macro = model.macro(ARRAY)
    (tmp_path / "a.lib").write_text(memory_liberty([ARRAY], model))
    (tmp_path / "a.lef").write_text(text := memory_lef([ARRAY], model))
    (path, cell) = read_given([tmp_path / "a.lib", tmp_path / "a.lef"], tmp_path).cells[ARRAY.cell]
    assert path == tmp_path / "a.lib"
    assert cell.area == pytest.approx(macro.um2, rel=1e-4)
    assert cell.is_macro
    bits = {f"{pin.name}[{n}]" if pin.bits else pin.name for pin in cell.pins.values() for n in range(pin.bits or 1)}
    assert len(bits) == 1 + 3 + 3 * 3 + 4 * 4
    pins = dict(re.findall(r"PIN (\S+)\n.*?RECT ([\d. ]+) ;", text, re.DOTALL))
    assert set(pins) == bits | {"VDD", "VSS"}
    boxes = [tuple(map(float, box.split())) for box in pins.values()]
    for n, (x0, y0, x1, y1) in enumerate(boxes):
        assert 0 <= x0 < x1 <= round(macro.width_um, 3)
        assert 0 <= y0 < y1 <= round(macro.height_um, 3)
        assert all(x1 <= u0 or u1 <= x0 or y1 <= v0 or v1 <= y0 for u0, v0, u1, v1 in boxes[:n])


def test_parameters_of_the_user(tmp_path):
    text = "\n".join(
        f"[{key}]\nvalue = {2 * value}\nsource = 'mine'"
        for key, value in vars(MacroParameters.default()).items()
        if key not in ("name", "sources")
    )
    (tmp_path / "mine.toml").write_text(f"schema = 1\nname = 'mine'\n{text}\n")
    model = model_of(memory_model=str(tmp_path / "mine.toml"))
    assert model.parameters.cell_width_um == 2 * 2.85
    assert "mine" in model.timing_label()
    (tmp_path / "mine.toml").write_text(f"schema = 1\nname = 'mine'\n{text}\n".replace("value = 5.7", "value = 0"))
    with pytest.raises(InputError, match=r"mine\.toml: cell_width_um: 0 was given; accepted is a number above 0"):
        model_of(memory_model=str(tmp_path / "mine.toml"))


ROWS = """
module rows(input clk, input rst, input [3:0] mask, output reg [3:0] held);
  reg at; wire [3:0] data, other;
  spikeloom_cim_array #(.WIDTH(4), .DEPTH(5), .ADDRESS(3)) a (
    .clk(clk), .r_en(1'b1), .r_addr({2'b0, at}), .r_data(data), .r2_en(1'b0), .r2_addr(3'd4), .r2_data(other),
    .w_en(at), .w_addr(3'd3), .w_data(held), .w_mask(mask));
  always @(posedge clk) begin at <= !at; held <= ~data; end
endmodule
"""


def user_macro(folder, access_ns: float = 1.75):
    """Liberty and LEF as a user would bring them."""
    given = dataclasses.replace(ARRAY, liberty=folder / "arrays.lib")
    model = model_of("tiny", 2.0, memory_access_ns=access_ns, memory_setup_ns=0.5)
    (folder / "arrays.lib").write_text(memory_liberty([given], model))
    (folder / "arrays.lef").write_text(memory_lef([given], model))
    return str(folder / "arrays.lib"), str(folder / "arrays.lef")


def rows_design(folder) -> Design:
    (folder / "rows.v").write_text(ROWS)
    (folder / "array.v").write_text(verilog_body("cim"))
    return Design(files=(folder / "rows.v", folder / "array.v"), top="rows", folder=folder)


@needs_yosys
@needs_sta
@pytest.mark.parametrize("given", [False, True], ids=["estimated", "given"])
def test_timing_through_a_macro(given, tmp_path):
    """The path from the array through an inverter to a register takes the access time that the macro has."""
    options = SynthOptions(liberty=str(TINY), macros=user_macro(tmp_path) if given else ())
    folder = tmp_path / "work"
    folder.mkdir()
    result = asic(rows_design(tmp_path), options, folder)
    access = 1.75 if given else 3 + 4.68e-3 * 5
    assert result.memories is not None
    assert result.memories.paths[0].start.startswith("a.r_data[")
    assert result.memories.paths[0].period_ns == pytest.approx(access + INVERTER + SETUP, abs=1e-4)
    assert result.registers is not None
    assert not any(path.start.startswith("a.") or path.end.startswith("a.") for path in result.registers.paths)
    summary = result.summary()["memories"]
    netlist = (folder / "netlist.v").read_text()
    if given:
        assert summary["label"] == "given: arrays.lib"
        assert "spikeloom_cim_array_5x4 " in netlist
        assert not (folder / "macros.lib").exists()
        assert summary["um2"] == pytest.approx(model_of("tiny", 2.0).macro(ARRAY).um2, rel=1e-4)
    else:
        assert summary["label"].startswith("estimated: IHP SG13G2 SRAM macros")
        assert "spikeloom_cim_array_5x4__a " in netlist
        assert "MACRO spikeloom_cim_array_5x4__a\n" in (folder / "macros.lef").read_text()
        assert summary["instances"][0]["access_ns"] == pytest.approx(access)
    assert result.memories.label["memory"] == summary["label"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("array_5x4)", "array_6x4)", r"no memory is a spikeloom_cim_array_6x4; accepted are spikeloom_cim_array_5x4"),
        ("pin (r_en)", "pin (enable)", r"cell spikeloom_cim_array_5x4: enable, r_en: not a pin .*input w_mask\[3:0\]"),
        ("bit_width : 3", "bit_width : 2", r"r2_addr, r_addr, w_addr: not a pin of this memory"),
    ],
)
def test_macros_that_do_not_fit(old, new, message, tmp_path):
    liberty, _ = user_macro(tmp_path)
    text = (tmp_path / "arrays.lib").read_text()
    assert old in text
    (tmp_path / "arrays.lib").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_given([liberty], tmp_path).fit([ARRAY])


def test_macros_that_cannot_be(tmp_path):
    liberty, lef = user_macro(tmp_path)
    (fitted,) = read_given([liberty, lef], tmp_path).fit([ARRAY])
    assert (fitted.cell, fitted.liberty) == ("spikeloom_cim_array_5x4", tmp_path / "arrays.lib")
    with pytest.raises(InputError, match=r"a has contents from the start \(a\.mem\).*accepted is core\.weights = 'loa"):
        read_given([liberty], tmp_path).fit([dataclasses.replace(ARRAY, image="a.mem")])
    (tmp_path / "arrays.lef").write_text(re.sub(r"SIZE \S+", "SIZE 9", (tmp_path / "arrays.lef").read_text()))
    with pytest.raises(InputError, match=r"arrays\.lef: macro spikeloom_cim_array_5x4: [\d.]+ um2, but \d+"):
        read_given([liberty, lef], tmp_path)
    with pytest.raises(InputError, match=r"arrays\.lef: macro spikeloom_cim_array_5x4 has no cell in the Liberty"):
        read_given([lef], tmp_path)
    with pytest.raises(InputError, match=r"arrays\.v: accepted are \.lib and \.lef files"):
        read_given([tmp_path / "arrays.v"], tmp_path)
    with pytest.raises(InputError, match=r"none\.lef: LEF file cannot be read"):
        read_given([tmp_path / "none.lef"], tmp_path)
    (tmp_path / "none.lef").write_text("VERSION 5.7 ;\n")
    with pytest.raises(InputError, match=r"none\.lef: no macro with a SIZE"):
        read_given([tmp_path / "none.lef"], tmp_path)


@pytest.mark.slow
@needs_yosys
@needs_sta
@needs_osu018
@needs_compiler
def test_arrays_of_a_core(tmp_path):
    """A user's macro for one array, the estimate for the other; the report says which; power of both."""
    project = cim_project(tmp_path, weights="loaded", parameters="loaded")
    assert isinstance(project.config.core, CimConfig)
    build = tmp_path / "build"
    elaborate(project, build)
    estimated = synthesise(build, SynthOptions(fpga=()))
    arrays = [each for each in estimated["memories"]["instances"] if each["port_type"] == "cim"]
    assert [each["macro"] for each in arrays] == ["estimate", "estimate"]
    first = arrays[0]
    memory = Memory(
        instance=f"{first['instance']}.body", module=first["module"], width=first["width"], depth=first["depth"],
        address=(first["depth"] - 1).bit_length(), liberty=tmp_path / "mine.lib",
    )  # fmt: skip
    (tmp_path / "mine.lib").write_text(memory_liberty([memory], model_of("osu018", 1.8)))
    mixed = synthesise(build, SynthOptions(fpga=(), macros=(str(tmp_path / "mine.lib"),)))
    of = {each["instance"]: each["macro"] for each in mixed["memories"]["instances"]}
    assert of[first["instance"]] == "mine.lib"
    assert of[arrays[1]["instance"]] == "estimate"
    assert mixed["memories"]["label"].endswith("given: mine.lib")
    # The macro says what the estimate says, so everything else must agree.
    assert mixed["memories"]["um2"] == pytest.approx(estimated["memories"]["um2"], rel=1e-4)
    assert mixed["timing"]["memories"]["fmax_mhz"] == pytest.approx(
        estimated["timing"]["memories"]["fmax_mhz"], rel=1e-3
    )
    energy = [
        next(each for each in result["power"]["memories"] if each["instance"] == first["instance"])
        for result in (estimated, mixed)
    ]
    assert energy[0]["reads"] == energy[1]["reads"] > 0
    assert energy[1]["dynamic_j"] == energy[0]["dynamic_j"]
    assert energy[1]["leakage_w"] == pytest.approx(energy[0]["leakage_w"], rel=1e-3)
    page = write_report(build).read_text()
    assert "given: mine.lib" in page
    assert re.search(r">\s*mine\.lib\s*</td>", page)
