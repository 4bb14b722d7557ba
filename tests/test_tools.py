"""Where tools are found, and what is said when they are not: small shell scripts play the programs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from spikeloom import tools
from spikeloom.errors import InputError, ToolMissing

ICARUS = "Icarus Verilog version {} (stable) ()"


def program(path: Path, says: str, code: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {code}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without any program: PATH, cache, Python environment and system places are empty folders."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tools.sys, "executable", str(tmp_path / "python" / "bin" / "python"))
    monkeypatch.setattr(tools, "SYSTEM_PROGRAMS", str(tmp_path / "system"))
    monkeypatch.setattr(tools, "SYSTEM_ROOT", tmp_path / "root")
    tools.forget_versions()
    yield tmp_path
    tools.forget_versions()


def test_missing_program_says_what_needs_it_and_how_to_get_it(bare):
    assert tools.find_tool("iverilog") is None
    with pytest.raises(ToolMissing) as caught:
        tools.require_tool("iverilog")
    assert str(caught.value) == (
        "iverilog is missing; needed by: simulate with Icarus Verilog, the exported plain-Verilog bench; "
        "how to get it: `make setup`, or `sudo apt-get install iverilog` on Debian and Ubuntu"
    )
    assert caught.value.exit_code == 3


def test_missing_library_and_python_package(bare, monkeypatch):
    with pytest.raises(ToolMissing, match=r"^osu018 is missing; .*apt-get install qflow-tech-osu018"):
        tools.require_tool("osu018")
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ToolMissing, match=r"^torch is missing; needed by: train; .*`pip install 'spikeloom\[train\]'`$"
    ):
        tools.require_tool("torch")
    with pytest.raises(ToolMissing, match=r"^yosys is missing; needed by: elaborate .*`pip install pyosys`$"):
        tools.require_tool("yosys")


def test_unknown_tool(bare):
    with pytest.raises(InputError, match=r"^magic: not a tool that Spikeloom knows; known: verilator, g\+\+, "):
        tools.find_tool("magic")


def test_too_old_is_not_found_and_said(bare, monkeypatch):
    monkeypatch.setattr(tools, "_package_folder", lambda package: None)
    old = program(bare / "path" / "verilator", "Verilator 5.006 2023-01-22 rev UNKNOWN")
    with pytest.raises(ToolMissing) as caught:
        tools.require_tool("verilator")
    assert str(caught.value).startswith(f"verilator is too old: {old} is 5.006, at least 5.36 is needed; needed by: ")
    new = program(bare / "system" / "verilator", "Verilator 5.040 2025-08-30 rev v5.040")
    found = tools.require_tool("verilator")
    assert (found.path, found.version, found.origin) == (new, "5.040", "system")


def test_order_is_path_python_cache_system(bare):
    places = {
        "system": bare / "system",
        "cache": bare / "cache" / "bin",
        "python": bare / "python" / "bin",
        "path": bare / "path",
    }
    for number, (origin, folder) in enumerate(places.items()):
        program(folder / "vvp", "")
        path = program(folder / "iverilog", ICARUS.format(f"{number}.0"))
        assert tools.find_tool("iverilog") == tools.Found(path=path, version=f"{number}.0", origin=origin)


def test_a_program_that_does_not_answer_is_not_found(bare, monkeypatch):
    program(bare / "path" / "vvp", "")
    broken = program(bare / "path" / "iverilog", ICARUS.format("11.0"), code=1)
    assert tools.find_tool("iverilog") is None
    tools.forget_versions()
    broken.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(tools, "PROBE_SECONDS", 0.2)
    monkeypatch.setenv("PATH", f"{bare / 'path'}{os.pathsep}/usr/bin{os.pathsep}/bin")
    assert tools.find_tool("iverilog") is None or tools.find_tool("iverilog").path != broken


def test_iverilog_without_vvp_is_of_no_use(bare):
    program(bare / "path" / "iverilog", ICARUS.format("11.0"))
    assert tools.find_tool("iverilog") is None


def test_library_of_the_cache_comes_before_that_of_the_system(bare):
    for root, text in ((bare / "root", "system"), (bare / "cache" / "apt" / "root", "cache")):
        file = root / "usr" / "share" / "qflow" / "tech" / "osu018" / "osu018_stdcells.lib"
        file.parent.mkdir(parents=True)
        file.write_text(text)
        found = tools.require_tool("osu018")
        assert (found.path, found.origin) == (file, text)
    # sha256 of the five bytes "cache", by sha256sum
    assert found.version == "sha256:5e1ecee06a7f"


def test_environment_puts_the_found_program_first(bare, monkeypatch):
    program(bare / "path" / "iverilog", "something else")
    program(bare / "cache" / "bin" / "vvp", "")
    program(bare / "cache" / "bin" / "iverilog", ICARUS.format("11.0"))
    monkeypatch.setenv("MAKEFLAGS", " -j8 --jobserver-auth=3,4")
    environment = tools.tool_environment("iverilog")
    assert environment["PATH"] == f"{bare / 'cache' / 'bin'}{os.pathsep}{bare / 'path'}"
    assert "MAKEFLAGS" not in environment
    assert environment["SPIKELOOM_CACHE"] == str(bare / "cache")
    with pytest.raises(ToolMissing, match=r"^sta is missing"):
        tools.tool_environment("sta")


def test_environment_of_the_verilator_package(need_tool, monkeypatch):
    monkeypatch.setenv("MAKEFLAGS", " -j8 --jobserver-auth=3,4")
    found = need_tool("verilator")
    if found.origin != "python":
        pytest.skip(f"the verilator that is used is {found.path}, not that of the Python package")
    environment = tools.tool_environment("verilator")
    root = Path(environment["VERILATOR_ROOT"])
    assert (root / "include" / "verilated.h").is_file()
    assert environment["PATH"].split(os.pathsep)[0] == str(root / "bin")
    assert environment["MAKEFLAGS"] == f"CFG_CXXFLAGS_PCH_I=-include PYTHON3={sys.executable}"


@pytest.mark.cosim
@pytest.mark.parametrize(("split", "target"), [(["--output-split", "1"], "Vt.o"), ([], "Vt__ALL.o")])
def test_verilator_compiles_without_a_python_on_the_path(need_tool, tmp_path, monkeypatch, split, target):
    """The flaws that `tool_environment` cures: one shows when a design is split, one when there is no `python`."""
    for name in ("g++", "make", "perl"):
        need_tool(name)
    (tmp_path / "bin").mkdir()
    for name in ("c++", "g++", "ar", "as", "ld", "make", "perl", "sh", "cat", "rm", "echo", "env", "python3", "gcc"):
        program = shutil.which(name)
        if program:
            (tmp_path / "bin" / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "t.v").write_text(
        "module t(input clk, output reg [31:0] q); always @(posedge clk) q <= q * 3 + 1; initial q = 1; endmodule\n"
    )
    command = [need_tool("verilator").path, "--cc", *split, "--top-module", "t", "t.v"]
    make = [need_tool("make").path, "-C", "obj_dir", "-f", "Vt.mk", "OPT_FAST=-O0", "OPT_SLOW=-O0", target]
    for step in (command, make):
        done = subprocess.run(
            step, cwd=tmp_path, env=tools.tool_environment("verilator"), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "obj_dir" / target).is_file()


def test_doctor_lists_every_tool(bare):
    program(bare / "path" / "make", "GNU Make 4.3")
    rows = {row["name"]: row for row in tools.doctor_rows()}
    assert list(rows) == [tool.name for tool in tools.TOOLS]
    assert rows["make"] == {
        "name": "make",
        "kind": "program",
        "found": True,
        "version": "4.3",
        "path": str(bare / "path" / "make"),
        "needed_by": "verilator (builds what it generates)",
        "how_to_get": "`make setup`, or `sudo apt-get install make` on Debian and Ubuntu",
        "note": None,
    }
    assert (rows["sta"]["found"], rows["sta"]["path"], rows["sta"]["note"]) == (False, None, "is missing")
    assert json.loads(tools.doctor_json()) == {"schema": 1, "tools": tools.doctor_rows()}


def test_doctor_table_keeps_brackets(bare):
    with open(os.devnull, "w") as nowhere:
        console = Console(width=400, record=True, file=nowhere)  # no line is broken inside of a command
        console.print(tools.doctor_table())
    text = console.export_text()
    assert "pip install 'spikeloom[fpga]'" in text  # no program is here, whatever packages are
    assert all(tool.name in text for tool in tools.TOOLS)
