"""The Liberty reader: what it must find is read off the file by eye or by another way of counting."""

import gzip
import re

import pytest

from spikeloom.errors import InputError
from spikeloom.tools import find_tool
from spikeloom_synth.liberty import evaluate, inputs_of, load_libraries, read_liberty
from synth_designs import TINY, needs_osu018, needs_pdk, pdk_file


def test_tiny_library():
    library = read_liberty(TINY)
    assert (library.name, library.corner, library.voltage, library.temperature) == ("tiny", "bench", 2.0, 25.0)
    assert (library.time_unit, library.capacitance_unit, library.leakage_unit) == (1e-9, 1e-12, 1e-9)
    assert {name: cell.area for name, cell in library.cells.items()} == {"INV": 10, "BUF": 15, "NAND2": 20, "DFF": 40}
    assert [cell.name for cell in library.flip_flops] == ["DFF"]
    dff = library.cells["DFF"]
    assert dff.leakage == pytest.approx(7e-9)
    assert dff.state is not None
    assert (dff.state.next_state, dff.state.clocked_on, dff.state.clear) == ("D", "CK", None)
    assert {pin.name: pin.capacitance for pin in dff.inputs} == pytest.approx({"D": 0.02e-12, "CK": 0.03e-12})
    assert dff.pins["CK"].clock
    assert not dff.pins["D"].clock
    assert library.buffer().name == "BUF"
    assert library.tie(0) is None
    assert library.full_adder() is None
    assert library.cells["NAND2"].truth_table("Y") == (1, 1, 1, 0)


@pytest.mark.parametrize(
    ("function", "ones"),
    [
        ("A B", {3}),
        ("A*B", {3}),
        ("(A&B)", {3}),
        ("A + B", {1, 2, 3}),
        ("A|B", {1, 2, 3}),
        ("A^B", {1, 2}),
        ("!A B", {2}),
        ("A' B", {2}),
        ("(A B)'", {0, 1, 2}),
        ("!(A+B)", {0}),
        ("A ^ B A", {1}),  # XOR binds tighter than AND: (A ^ B) & A
        ("A + B A", {1, 3}),
        ("!A'", {1, 3}),
        ("1 A", {1, 3}),
        ("A 0 + B", {2, 3}),
    ],
)
def test_functions(function, ones):
    """A is bit 0 of the pattern, B is bit 1."""
    assert {p for p in range(4) if evaluate(function, {"A": p & 1, "B": p >> 1})} == ones


def test_function_inputs_in_order():
    assert inputs_of("!((B A)+(C[1] B))") == ["B", "A", "C[1]"]


@pytest.mark.parametrize("function", ["A +", "(A", "A)", "A $ B", "*A", ""])
def test_bad_functions(function):
    with pytest.raises(InputError, match="Liberty function"):
        evaluate(function, {"A": 1, "B": 1})


def test_full_adder_is_found_by_its_function(tmp_path):
    cell = """  cell (ADD) { area : 33;
    pin (P, Q) { direction : input; capacitance : 0.02; }
    pin (R) { direction : input; capacitance : 0.01; }
    pin (S) { direction : output; function : "P ^ Q ^ R"; }
    pin (K) { direction : output; function : "(P Q) + R (P + Q)"; } }
  cell (ONE) { area : 1; pin (Z) { direction : output; function : "1"; } }
  cell (BAD) { area : 1; dont_use : true; ff (a, b) { next_state : "D"; clocked_on : "C"; } }
}
"""
    path = tmp_path / "more.lib"
    path.write_text(TINY.read_text().rstrip().removesuffix("}") + cell)
    library = read_liberty(path)
    # The pin with the least load carries.
    assert library.full_adder() == ("ADD", ("P", "Q", "R"), "S", "K")
    assert library.tie(1) == ("ONE", "Z")
    assert library.tie(0) is None
    assert [each.name for each in library.flip_flops] == ["DFF"]


def test_gzip_units_and_odd_layout(tmp_path):
    text = """library("odd") { time_unit : "10ps" capacitive_load_unit (10, "ff") ; leakage_power_unit : 100pW ;
      /* a brace { in a comment */ nom_voltage : 0.5; nom_temperature : 0
      cell ("A{B") { area : 1.5e1 ; pin("Z") { direction : "output" ; function : "(X)" ;
        timing() { values ("} {", "1") ; nested () { } } } pin (X) { direction : input ; capacitance : 2 ; } } }"""
    path = tmp_path / "odd.lib.gz"
    path.write_bytes(gzip.compress(text.encode()))
    library = read_liberty(path)
    assert library.time_unit == pytest.approx(10e-12)
    assert library.capacitance_unit == pytest.approx(10e-15)
    assert library.leakage_unit == pytest.approx(100e-12)
    assert (library.voltage, library.temperature, library.corner) == (0.5, 0.0, None)
    cell = library.cells["A{B"]
    assert cell.area == 15
    assert cell.pins["X"].capacitance == pytest.approx(20e-15)
    assert cell.is_combinational


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.lib: Liberty file cannot be read: .*give the path of a .lib"):
        read_liberty(tmp_path / "none.lib")


def test_file_cut_short(tmp_path):
    path = tmp_path / "cut.lib"
    path.write_text(TINY.read_text()[: TINY.read_text().index("cell (NAND2)") + 20])
    with pytest.raises(InputError, match=r"cut\.lib: line \d+: the file ends inside group `cell \(NAND2\)`"):
        read_liberty(path)


def test_not_liberty(tmp_path):
    path = tmp_path / "netlist.lib"
    path.write_text("module m (input a);\nendmodule\n")
    with pytest.raises(InputError, match=r"netlist\.lib: line \d+: .*a Liberty file .* is needed"):
        read_liberty(path)
    path.write_text("")
    with pytest.raises(InputError, match="0 library groups"):
        read_liberty(path)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "bad.lib.gz"
    path.write_bytes(gzip.compress(TINY.read_bytes())[:-200])
    with pytest.raises(InputError, match=r"bad\.lib\.gz: damaged gzip file"):
        read_liberty(path)


def test_library_without_flip_flops(tmp_path):
    text = TINY.read_text()
    path = tmp_path / "gates.lib"
    path.write_text(text[: text.index("  cell (DFF)")] + "}\n")
    with pytest.raises(InputError, match=r"gates\.lib: no flip-flop .*give a standard-cell library with flip-flops"):
        load_libraries([path])
    # Two files are one library: the registers may come from the other one.
    assert len(load_libraries([path, TINY])) == 2


@needs_osu018
def test_osu018():
    path = find_tool("osu018").path
    library = read_liberty(path)
    assert len(library.cells) == len(re.findall(r"^\s*cell\s*\(", path.read_text(), re.MULTILINE)) == 32
    assert library.cells["DFFPOSX1"].area == 96
    assert library.full_adder() == ("FAX1", ("A", "B", "C"), "YS", "YC")
    assert library.buffer().name == "BUFX2"
    assert not library.cells["TBUFX1"].is_combinational
    assert library.cells["LATCH"].is_latch
    assert (library.corner, library.voltage) == ("typical", 1.8)


@needs_pdk
@pytest.mark.parametrize(
    ("pattern", "time", "capacitance", "ties"),
    [
        ("nangate45/lib/Nangate*", 1e-9, 1e-15, True),
        ("ihp-sg13g2/lib/sg13g2_stdcell*", 1e-9, 1e-12, True),
        ("asap7/lib/*SEQ*", 1e-12, 1e-15, False),
    ],
)
def test_pdk_libraries(pattern, time, capacitance, ties):
    library = read_liberty(pdk_file(pattern))
    assert (library.time_unit, library.capacitance_unit) == (pytest.approx(time), pytest.approx(capacitance))
    assert library.flip_flops
    assert (library.tie(0) is not None) == (library.tie(1) is not None) == ties
