"""What `elaborate` leaves behind: the same bytes everywhere, clean for every tool, and a bench that can fail."""

import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import projects
from graph_networks import two_maps
from spikeloom.errors import InputError
from spikeloom.export import check_fresh, elaborate, read_manifest
from spikeloom.network.integer import IntegerNetwork
from spikeloom.network.storage import load_network
from spikeloom.tools import tool_environment

LOADED = {"weights": "loaded", "parameters": "loaded"}
VALUES = {"count": 6}
CASES: dict[str, dict] = {
    "full": {},
    "shared": {"core": {"lanes": 2}},
    "serial": {"core": {"lanes": 1}, "network": {"bias": True}},
    "mixed": {"core": {"lanes": [3, "full"]}, "network": {"bias": True}, "quantise": {"leak": "shift2"}},
    "loaded": {"core": {"lanes": 2, **LOADED}, "network": {"bias": True}, "reset": "subtract"},
    "loaded_full": {"core": LOADED, "quantise": {"leak": "multiply"}},
    "readout": {"core": {"lanes": 2, "readout": "tick"}, "network": {"readout": True, "bias": True}, "data": VALUES},
    "readout_full": {"network": {"readout": True}, "quantise": {"leak": "multiply"}, "data": VALUES},
    "probe": {"core": {"lanes": [2, "full"], "probe": True}, "state": "keep"},
    "delayed_subtract": {"core": {"lanes": 3}, "reset": "delayed_subtract", "quantise": {"leak": "multiply"}},
    "delayed_zero": {"reset": "delayed_zero", "core": {"decision": "none"}},
    "linear": {"core": {"lanes": 2, "decision": "first"}, "network": {"linear": 1 / 8}},
    "no_leak": {"network": {"decay": 1.0}, "core": {"lanes": 4}, "reset": "subtract"},
    "current": {"core": {"lanes": 2}, "network": {"bias": True}, "input": {"coding": "current"}, "data": VALUES},
    "one": {"network": {"sizes": (1, 1)}},
    "folded": {"network": {"bias": True}, "core": {"schedule": "folded", "lanes": 2}},
    "streamed": {
        "network": {"bias": True},
        "core": {"schedule": "folded", "lanes": 2, "weight_buffer": 20, "load_bits": 64, **LOADED},
    },
    "maps": {},  # two convolutions, of an integer network
}


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """Return a function that gives the build folder of a case."""
    root = tmp_path_factory.mktemp("exports")

    def build(case: str) -> Path:
        folder = root / "build" / case
        if not folder.exists():
            if case == "maps":
                project = projects.of_network(two_maps(), root, name=case, probe=True)
            else:
                project = projects.load(projects.make_project(root, name=case, **CASES[case]))
            elaborate(project, folder)
        return folder

    return build


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def run(command: list, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Output of a tool that must end well."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# ---------------------------------------------------------------------------------------------------------------------
# The folder


@pytest.mark.parametrize("case", ["loaded", "readout"])
def test_same_input_same_bytes(case, exports, tmp_path):
    """Another folder, another process, another hash seed, another environment."""
    builds = [contents(exports(case))]
    for seed in "1", "2":
        place = tmp_path / f"place{seed}"
        config = projects.make_project(place, name=case, **CASES[case])
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": f"UTC{seed}", "LC_ALL": "C"}
        command = [sys.executable, "-m", "spikeloom.cli", "elaborate", config.name, "--out", "there"]
        run(command, place, environment)
        builds.append(contents(place / "there" / case))
    assert builds[0].keys() == builds[1].keys() == builds[2].keys()
    assert [name for name in builds[0] if not builds[0][name] == builds[1][name] == builds[2][name]] == []


def test_no_machine_in_any_file(exports):
    """No path, date or user of this machine."""
    words = [
        str(Path.home()).encode(),
        str(Path(sys.prefix)).encode(),
        str(exports("loaded").parent).encode(),
        b"/tmp/",
    ]
    for name, data in contents(exports("loaded")).items():
        assert not [word for word in words if word in data], name


@pytest.mark.parametrize("case", ["loaded", "readout", "probe"])
def test_manifest(case, exports):
    folder = exports(case)
    files, manifest = contents(folder), read_manifest(folder)
    named = {
        name: hashlib.sha256(files[name]).hexdigest() for name in files if name not in (".spikeloom", "manifest.json")
    }
    assert manifest["content"] == named
    network = load_network(folder / "network.npz")
    assert manifest["network"] == network.content_hash()
    assert (manifest["inputs"], manifest["outputs"], manifest["steps"]) == (6, 3, 6)
    assert re.fullmatch("[0-9a-f]{16}", manifest["hash"])
    body = files[f"rtl/{case}.v"].decode()
    header = re.search(rf"^module {case}\((.*?)\);", body, re.M | re.S)
    assert header is not None
    assert sorted(name.strip() for name in header[1].split(",")) == sorted(port["name"] for port in manifest["ports"])
    assert all(port["meaning"] for port in manifest["ports"])
    # Every memory of the list is an instance in the Verilog, with its size, and nothing else is.
    sizes = re.findall(r"spikeloom_(rom|sram_1r1w) #\((.*?)\) ", body, re.S)
    found = []
    for kind, parameters in sizes:
        values = {key: value for key, value in re.findall(r"\.(\w+)\((.*?)\)", parameters)}
        image = values["INIT_FILE"].split('"')[1] if '"' in values["INIT_FILE"] else ""
        found.append((kind, int(values["DEPTH"].split("d")[-1]), int(values["WIDTH"].split("d")[-1]), image))
    listed = [
        (memory["port_type"], memory["depth"], memory["width"], memory["image"] or "")
        for memory in manifest["memories"]
    ]
    assert sorted(found) == sorted((kind.replace("1r1w", "sram_1r1w"), *rest) for kind, *rest in listed)
    assert all(memory["bits"] == memory["depth"] * memory["width"] for memory in manifest["memories"])
    assert sum(memory["bits"] for memory in manifest["memories"]) == manifest["cost"]["memory_bits"]


def packed(rows: list[list[int]], bits: int, digits: int) -> str:
    """Rows as a .mem file: lane 0 in the lowest bits, negative numbers in two's complement."""
    text = ""
    for row in rows:
        value = 0
        for lane, number in enumerate(row):
            value += (number % (1 << bits)) << (bits * lane)
        text += f"{value:0{digits}x}\n"
    return text


@pytest.mark.parametrize(
    ("case", "lanes"), [("full", [5, 3]), ("shared", [2, 2]), ("mixed", [3, 3]), ("serial", [1, 1])]
)
def test_memory_images_hold_the_weights(case, lanes, exports):
    """Against a packing written here: row `source * groups + group`, lane p holds neuron group * lanes + p."""
    folder = exports(case)
    network = load_network(folder / "network.npz")
    assert isinstance(network, IntegerNetwork)
    for layer, width in zip(network.layers, lanes, strict=True):
        groups = -(-layer.neurons // width)
        rows = [
            [
                int(layer.weights[group * width + lane, source]) if group * width + lane < layer.neurons else 0
                for lane in range(width)
            ]
            for source in range(layer.fan_in)
            for group in range(groups)
        ]
        digits = -(-width * layer.weight_bits // 4)
        text = (folder / "rtl" / f"{layer.name}_weights.mem").read_text()
        assert text == packed(rows, layer.weight_bits, digits)


def test_loaded_weights_are_in_the_image_only(exports):
    folder = exports("loaded")
    assert not list((folder / "rtl").glob("*weights.mem"))
    words = np.fromfile(folder / "loaded.image", "<u4")
    stimulus = [int(line, 16) for line in (folder / "bench" / "stimulus.mem").read_text().split()]
    assert stimulus[: len(words)] == [1 << 32 | int(word) for word in words]


def test_build_is_known_as_fresh_or_stale(exports, tmp_path):
    config = projects.make_project(tmp_path, name="full")
    folder = tmp_path / "full"
    project = projects.load(config)
    with pytest.raises(InputError) as caught:
        check_fresh(project, folder)
    assert str(caught.value) == f"{folder}/manifest.json: no such file; `spikeloom elaborate CONFIG` writes it"
    elaborate(project, folder)
    assert check_fresh(projects.load(config), folder)["name"] == "full"
    old = project.plan.hash
    for changed in ({"core": {"lanes": 2}}, {"input": {"steps": 7}}, {"network": {"seed": 1}}, {"state": "keep"}):
        other = projects.load(projects.make_project(tmp_path, name="full", **changed))
        with pytest.raises(InputError) as caught:
            check_fresh(other, folder)
        assert str(caught.value) == (
            f"{folder}: elaborated from another configuration or network (core {old}, now {other.plan.hash}); "
            "run `spikeloom elaborate` again"
        )
    # A manifest of a later version, a damaged one, and one that holds something else.
    path = folder / "manifest.json"
    whole = json.loads(path.read_text())
    for text, message in (
        (json.dumps(whole | {"schema": 2}), f"{path}: schema 2 was given; accepted is 1"),
        ("[]", f"{path}: schema [] was given; accepted is 1"),
        ('{"schema": 1}', f"{folder}: elaborated from another configuration or network (core None, now {old}); "
         "run `spikeloom elaborate` again"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            check_fresh(project, folder)
        assert str(caught.value) == message
    path.write_text("{")
    with pytest.raises(InputError, match=r"manifest\.json: cannot be read \(.*\); `spikeloom elaborate CONFIG` writes"):
        check_fresh(project, folder)


# ---------------------------------------------------------------------------------------------------------------------
# Other tools read it


@pytest.mark.parametrize("case", CASES)
def test_lint(case, exports, need_tool):
    """No warning from Verilator and Icarus, no problem for Yosys."""
    rtl = exports(case) / "rtl"
    sources = sorted(path.name for path in rtl.glob("*.v"))
    verilator = need_tool("verilator").path
    command = [verilator, "--lint-only", "-Wall", "-Wwarn-lint", "--top-module", case, *sources]
    assert "%" not in run(command, rtl, tool_environment("verilator"))
    assert run([need_tool("iverilog").path, "-Wall", "-g2005", "-s", case, "-t", "null", *sources], rtl) == ""
    steps = f"read_verilog {' '.join(sources)}; hierarchy -check -top {case}; proc; opt_clean; check -assert"
    script = "\n".join(
        ["import sys", "from pyosys import libyosys", "design = libyosys.Design()"]
        + ["for step in sys.argv[1].split('; '): libyosys.run_pass(step, design)"]
    )
    text = run([sys.executable, "-c", script, steps], rtl)
    assert "Found and reported 0 problems." in text
    assert "Warning" not in text


def icarus(build: Path, work: Path, *, stall: int = 1) -> str:
    """What the plain-Verilog bench of a build says."""
    name, program = build.name, work / "bench.vvp"
    sources = sorted(path.name for path in (build / "rtl").glob("*.v"))
    command = ["iverilog", "-g2005", f"-P{name}_tb.STALL={stall}", "-s", f"{name}_tb", "-o", program, *sources]
    environment = tool_environment("iverilog")
    assert run([*command, f"../bench/{name}_tb.v"], build / "rtl", environment) == ""
    return run(["vvp", "-n", program], build / "rtl", environment)


@pytest.mark.cosim
@pytest.mark.parametrize("case", CASES)
def test_bench_passes_on_icarus(case, exports, need_tool, tmp_path):
    need_tool("iverilog")
    build = exports(case)
    words = {
        path.stem.removeprefix("expected_"): len(path.read_text().split())
        for path in (build / "bench").glob("expected_*.mem")
    }
    for stall in (0, 1):
        text = icarus(build, tmp_path, stall=stall)
        assert text.count("PASS") == 1
        assert "FAIL" not in text
        for name, count in words.items():
            assert f"{count} {name}" in text


def copied(build: Path, folder: Path) -> Path:
    for name, data in contents(build).items():
        path = folder / build.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / build.name


@pytest.mark.cosim
@pytest.mark.parametrize("stream", ["events_out", "decision", "readout"])
def test_bench_fails_on_another_expected_word(stream, exports, need_tool, tmp_path):
    need_tool("iverilog")
    build = copied(exports("readout"), tmp_path)
    path = build / "bench" / f"expected_{stream}.mem"
    words = path.read_text().split()
    words[-1] = f"{int(words[-1], 16) ^ 1:0{len(words[-1])}x}"
    path.write_text("\n".join(words) + "\n")
    text = icarus(build, tmp_path)
    assert f"FAIL: {stream} word {len(words) - 1} is" in text
    assert "PASS" not in text


@pytest.mark.cosim
def test_bench_fails_on_a_missing_word(exports, need_tool, tmp_path):
    """A design that says less, or more, than the reference does not pass either."""
    need_tool("iverilog")
    for position, text in ((0, "STIMULUS"), (1, "EXPECTED")):
        build = copied(exports("readout"), tmp_path / text)
        path = build / "bench" / ("stimulus.mem" if position == 0 else "expected_readout.mem")
        bench = build / "bench" / "readout_tb.v"
        words = path.read_text().split()
        path.write_text("\n".join(words[:-1]) + "\n")
        size = f"localparam {'ITEMS' if position == 0 else 'READOUT'} = "
        changed = bench.read_text().replace(f"{size}{len(words)};", f"{size}{len(words) - 1};")
        changed = changed.replace(f"[0:{len(words) - 1}]", f"[0:{len(words) - 2}]").replace("100000", "2000")
        assert changed != bench.read_text()
        bench.write_text(changed)
        said = icarus(build, tmp_path)
        assert "PASS" not in said
        assert ("FAIL: nothing moved" if position == 0 else f"FAIL: readout word {len(words) - 1}") in said


@pytest.mark.cosim
def test_bench_fails_on_another_weight(exports, need_tool, tmp_path):
    """One bit of one weight that an input spike of the bench meets."""
    need_tool("iverilog")
    build = copied(exports("readout"), tmp_path)
    events = [int(word, 16) for word in (build / "bench" / "stimulus.mem").read_text().split()]
    source = next(word for word in events if word < 8)  # three address bits, then tick
    path = build / "rtl" / "w1_weights.mem"
    rows = path.read_text().split()
    assert len(rows) == 6 * 3
    rows[source * 3] = f"{int(rows[source * 3], 16) ^ 8:02x}"  # the sign of neuron 0
    path.write_text("\n".join(rows) + "\n")
    text = icarus(build, tmp_path)
    assert "FAIL" in text
    assert "PASS" not in text


@pytest.mark.cosim
@pytest.mark.slow
def test_bench_passes_on_verilator(exports, need_tool, tmp_path):
    """As the head of the bench says."""
    need_tool("verilator"), need_tool("g++"), need_tool("make")
    build = copied(exports("readout"), tmp_path)
    name = build.name
    line = next(
        line for line in (build / "bench" / f"{name}_tb.v").read_text().splitlines() if "verilator --binary" in line
    )
    compile_, _, start = line.removeprefix("//   $ ").partition("&&")
    command = compile_.replace("verilator", str(need_tool("verilator").path), 1).split()
    run(command, build / "rtl", tool_environment("verilator"))
    text = run(start.split(), build / "rtl")
    assert "PASS" in text
    assert "FAIL" not in text


# ---------------------------------------------------------------------------------------------------------------------
# Names


def test_names_that_the_design_cannot_have(tmp_path):
    for name, what in (
        ("wire", "a word of SystemVerilog"),
        ("logic", "a word of SystemVerilog"),
        ("spikeloom_rom", "the name of a memory module"),
    ):
        config = projects.make_project(tmp_path, name=name)
        with pytest.raises(InputError) as caught:
            elaborate(projects.load(config), tmp_path / "build")
        assert str(caught.value) == f"{config}: name: {name!r} was given, {what}; accepted is any other name"
        assert not (tmp_path / "build").exists()


def test_layers_named_after_verilog_or_parts_of_the_core(tmp_path, need_tool):
    """Names of nodes are the user's: they do not break the Verilog."""
    import nir

    graph = projects.graph((4, 3, 3, 2))
    names = ["input", "reg", "x1", "load", "x2", "decision", "x3", "output"]
    nodes = dict(zip(names, graph.nodes.values(), strict=True))
    nir.write(str(tmp_path / "odd.nir"), nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(names))))
    config = projects.write_config(
        tmp_path / "odd.toml",
        {
            "name": "odd",
            "network": {"file": "odd.nir", "dt": projects.DT},
            "core": {"lanes": 2, "probe": True, **LOADED},
        },
    )
    manifest = elaborate(projects.load(config), tmp_path / "odd")
    assert [layer["name"] for layer in manifest["layers"]] == ["reg", "load_2", "decision_2"]
    rtl = tmp_path / "odd" / "rtl"
    sources = sorted(path.name for path in rtl.glob("*.v"))
    command = [need_tool("verilator").path, "--lint-only", "-Wall", "--top-module", "odd", *sources]
    assert "%" not in run(command, rtl, tool_environment("verilator"))
    assert "PASS" in icarus(tmp_path / "odd", tmp_path)
