"""Process design kits: their descriptions, where they are found, and what a check sees."""

import re
from dataclasses import replace

import pytest

from pdk_files import KIT, TECH, kit_folder
from spikeloom.errors import InputError, ToolMissing
from spikeloom_synth.lef import read_lef
from spikeloom_synth.liberty import read_liberty
from spikeloom_synth.options import SynthOptions
from spikeloom_synth.pdk_check import check_pdk
from spikeloom_synth.pdks import all_pdks, find_pdk, pdk_named, pdk_of_library
from spikeloom_synth.pdks.description import parse_pdk
from spikeloom_synth.yosys import Design, elaborate, liberty_files, map_to_cells
from synth_designs import LIF_FILES, TINY, needs_osu018, needs_pdk, needs_yosys, write_lif_image

NAMES = ("asap7", "gf180", "ihp-sg13g2", "nangate45", "osu018", "sky130hd")


def tiny_kit():
    """`KIT`, with the buffer and the operating point that the library has."""
    library = read_liberty(TINY)
    buffer = library.buffer()
    assert buffer is not None
    pdk = parse_pdk(KIT, "tiny.toml")
    corner = replace(pdk.corners["typical"], voltage=library.voltage, temperature=library.temperature)
    return replace(
        pdk,
        libraries=[library.name],
        corners={**pdk.corners, "typical": corner},
        layout=replace(pdk.layout, clock_buffer=buffer.name),
    )


def test_known():
    """Six kits; each file is named after its kit; the nearest name is offered."""
    assert tuple(all_pdks()) == NAMES
    assert pdk_named("gf180").node_nm == 180
    with pytest.raises(InputError, match=r"'nangate' is not known; accepted are asap7, .*mean 'nangate45'"):
        pdk_named("nangate")
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        pdk_named("none.toml")


def test_of_library():
    """A Liberty file given by itself is still known by the name of its library; a user's own kit is asked first."""
    assert pdk_of_library("NangateOpenCellLibrary").name == "nangate45"  # type: ignore[union-attr]
    assert pdk_of_library("mine") is None
    own = replace(pdk_named("gf180"), name="own", libraries=["Nangate*"])
    assert pdk_of_library("NangateOpenCellLibrary", own) is own


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", r"mine\.toml: schema: 2 was given; accepted is 1"),
        ("node_nm = 100", "node_nm = 0", r"mine\.toml: node_nm: 0 was given; .*greater than 0"),
        ("node_nm = 100", "nodes = 100", r"(?s)node_nm: .*mine\.toml: nodes: 100 was given; .*[Uu]nexpected"),
        ('clock_buffer = "BUF"', 'clock_buffer = "BUF"\ncolour = 1', r"layout\.colour: 1 was given; .*[Uu]nexpected"),
        ('tie_high = ""', 'tie_high = "HIGH"', r"layout\.tie_high: 'HIGH' was given; .*pattern"),
        ('corner = "typical"', 'corner = "hot"', r"default_corner: corner: tiny has no 'hot'; accepted"),
        ("schema = 1", "schema", r"mine\.toml: not TOML"),
    ],
)  # fmt: skip
def test_bad_descriptions(old, new, message):
    with pytest.raises(InputError, match=message):
        parse_pdk(KIT.replace(old, new), "mine.toml")


def test_found(tmp_path, monkeypatch):
    """Packed files, a folder above or the kit's own; what the environment names; a corner that is not there."""
    pdk = tiny_kit()
    root = kit_folder(tmp_path / "root")
    for given in (root, root / "tiny"):
        installed = find_pdk(pdk, given)
        assert [path.name for path in installed.liberty()] == ["tiny.lib.gz"]
        assert installed.tech_lef == installed.folder / "lef" / "tech.lef"
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    for name in ("SPIKELOOM_PDK", "PDK_ROOT", "FLOW_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ToolMissing, match=r"files of tiny were not found \(searched: nowhere.*a folder \(tiny or \.\)"):
        find_pdk(pdk)
    monkeypatch.setenv("PDK_ROOT", str(root))
    assert find_pdk(pdk).corners() == ["typical"]
    with pytest.raises(InputError, match=r"corner: slow: .* has no tiny_slow\.lib; .*that are there: typical"):
        find_pdk(pdk).liberty("slow")
    with pytest.raises(InputError, match=r"corner: tiny has no 'fast'; accepted are typical, slow"):
        find_pdk(pdk).liberty("fast")
    with pytest.raises(InputError, match=r"pdk_root: .*nowhere is not a folder"):
        find_pdk(pdk, tmp_path / "nowhere")


def test_as_flows_lay_them_out(tmp_path):
    """A checkout of OpenROAD-flow-scripts, its `flow` folder, and what ciel installs."""
    pdk = pdk_named("sky130hd")
    name = pdk.corner().liberty[0]
    for place in ("orfs/flow/platforms/sky130hd/lib", "ciel/sky130A/libs.ref/sky130_fd_sc_hd/lib"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / name).write_text("")
    for given in ("orfs", "orfs/flow", "orfs/flow/platforms", "ciel", "ciel/sky130A"):
        assert find_pdk(pdk, tmp_path / given).liberty()[0].name == name
    assert find_pdk(pdk, tmp_path / "ciel").place.what == "ciel"


def test_lef(tmp_path):
    path = tmp_path / "a.lef"
    path.write_text(
        TECH + "MACRO A # a cell\n  SITE unit ;\n  SIZE 2.5 BY 10 ;\n  PIN X\n    LAYER m1 ;\n  END X\nEND A\n"
    )
    lef = read_lef(path)
    assert lef.sites == {"unit": (1, 10)}
    assert lef.routing == {"m1": "HORIZONTAL", "m2": "VERTICAL"}
    assert lef.area("A") == 25
    path.write_text("MACRO A\n SIZE x BY 1 ;\nEND A\n")
    with pytest.raises(InputError, match=r"a\.lef: MACRO A: 'SIZE x BY 1 ;': not a size"):
        read_lef(path)


def test_check(tmp_path):
    """A good kit, and one fault after another: each is seen by the check that should see it, and by no other."""
    pdk = tiny_kit()
    root = kit_folder(tmp_path)
    assert all(each.good for each in check_pdk(find_pdk(pdk, root)))
    cells, tech = root / "tiny" / "lef" / "cells.lef", root / "tiny" / "lef" / "tech.lef"
    text = cells.read_text()
    first = re.findall(r"MACRO (\S+)", text)[0]

    def wrong(kit=pdk) -> list[str]:
        return [each.what for each in check_pdk(find_pdk(kit, root)) if not each.good]

    cells.write_text(re.sub(r"SIZE \S+", "SIZE 99", text, count=1))
    assert wrong() == ["Liberty against LEF"]
    assert wrong(replace(pdk, areas_differ=[first])) == []
    cells.write_text(text.replace(f"MACRO {first}\n", "MACRO other\n").replace(f"END {first}", "END other"))
    assert wrong() == ["Liberty against LEF"]
    cells.write_text(text.replace("FILL1", "GAP1"))
    assert wrong() == ["fill cell"]
    cells.write_text("nothing\n")
    assert wrong() == ["cell LEF"]
    cells.write_text(text)
    tech.write_text(TECH.replace("LAYER m2", "LAYER m3").replace("END m2", "END m3"))
    assert wrong() == ["routing layers"]
    tech.write_text(TECH.replace("HORIZONTAL", "VERTICAL"))
    assert wrong() == ["layers of the pins"]
    tech.write_text(TECH)
    corner = replace(pdk.corners["typical"], voltage=9.0)
    assert wrong(replace(pdk, corners={"typical": corner})) == ["corner typical: operating point"]
    tied = replace(pdk.layout, tie_high=f"{first}/Y", clock_buffer="none", site="no")
    assert wrong(replace(pdk, layout=tied)) == ["site no", "tie cell of 1", "clock buffer"]


def test_cells_to_avoid(tmp_path):
    """What the description forbids is not in a netlist."""
    kit_folder(tmp_path)
    (tmp_path / "tiny.toml").write_text(KIT.replace('libraries = ["tiny*"]', 'libraries = ["*"]'))
    options = SynthOptions(pdk=str(tmp_path / "tiny.toml"), pdk_root=str(tmp_path))
    (library,), (plain,) = liberty_files(options, tmp_path)
    assert plain.read_bytes() == TINY.read_bytes()
    avoided = {name for name, cell in library.cells.items() if cell.dont_use}
    assert avoided == {name for name in library.cells if name.startswith("NAND")} != set()
    assert library.label()["pdk"] == "tiny"


@needs_pdk
@needs_yosys
def test_avoided_in_a_netlist(tmp_path):
    """sky130hd without its two-input NANDs."""
    write_lif_image(tmp_path)
    options = SynthOptions(pdk="sky130hd")
    libraries, plain = liberty_files(options, tmp_path)
    design = Design(files=LIF_FILES, top="lif_small", folder=tmp_path)
    coarse = elaborate(design, options, tmp_path)
    used = map_to_cells(coarse, libraries, plain, options, tmp_path, recipe="area").counts()
    favourite = max((name for name in used if "nand2" in name), key=lambda name: used[name])
    assert not any("lpflow" in name or "probe" in name for name in used)
    again = map_to_cells(
        coarse, libraries, plain, replace(options, dont_use=("*nand2*",)), tmp_path, recipe="area"
    ).counts()
    assert favourite in used
    assert not any("nand2" in name for name in again)


@needs_pdk
@needs_osu018
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_published_kits(name):
    """The kits as published: nothing fails, apart from areas that are known to differ."""
    assert [each for each in check_pdk(find_pdk(pdk_named(name))) if not each.good] == []
