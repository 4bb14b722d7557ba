"""`spikeloom simulate` on every engine: equal to the reference, and never so for a design with a fault."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import projects
from spikeloom.errors import InputError
from spikeloom.export import elaborate
from spikeloom.network.reference import simulate
from spikeloom_sim.flow import SimulationOptions, simulate_build

LOADED = {"weights": "loaded", "parameters": "loaded"}
VALUES = {"count": 6}
CASES: dict[str, dict] = {
    "shared": {
        "network": {"sizes": (6, 7, 4), "bias": True},
        "reset": "subtract",
        "core": {"lanes": [3, 2]},
        "data": VALUES,
    },
    "current": {
        "network": {"sizes": (6, 5, 3), "bias": True, "readout": True},
        "core": {"lanes": 2, "readout": "tick", "probe": True, **LOADED},
        "input": {"coding": "current"},
        "data": VALUES,
    },
    "kept": {
        "state": "keep",
        "core": {"decision": "first"},
        "reset": "delayed_subtract",
        "network": {"sizes": (5, 9, 1)},
    },
    "adaptive": {
        "habits": {"adaptation": [0.4, 0.9], "adaptation_decay": [0.8, 1.0], "refractory": [2, 1]},
        "reset": "subtract",
        "core": {"lanes": [2, "full"], "probe": True},
        "input": {"steps": 20},
    },
    "silent": {"core": {"lanes": 1, "decision": "none"}, "input": {"steps": 1}, "network": {"linear": 1 / 8}},
}


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> Callable[[str], Path]:
    """Return a function that gives the configuration of a case, whose build lies beside it in build/."""
    root = tmp_path_factory.mktemp("simulate")

    def build(case: str) -> Path:
        config = root / f"{case}.toml"
        if not config.exists():
            projects.make_project(root, name=case, **CASES[case])
            elaborate(projects.load(config), root / "build" / case)
        return config

    return build


def copied(config: Path, folder: Path) -> Path:
    """The configuration with its build in another folder, to be changed there."""
    shutil.copytree(config.parent / "build" / config.stem, folder / "build" / config.stem)
    for path in (config, config.with_suffix(".nir"), config.parent / "values.npz"):
        if path.exists():
            shutil.copy(path, folder)
    shutil.rmtree(folder / "build" / config.stem / "sim", ignore_errors=True)
    return folder / config.name


def command(config: Path, *words: str) -> tuple[int, dict, str]:
    """Exit code, JSON object and standard error of `spikeloom simulate`."""
    done = subprocess.run(
        [sys.executable, "-m", "spikeloom.cli", "simulate", config.name, "--json", *words],
        cwd=config.parent,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 1, done.stderr
    return done.returncode, json.loads(lines[0]), done.stderr


def of_file(config: Path) -> dict:
    return json.loads((config.parent / "build" / config.stem / "sim" / "simulation.json").read_text())


# ---------------------------------------------------------------------------------------------------------------------
# Batch


@pytest.mark.cosim
@pytest.mark.slow
def test_batch(exports, need_tool):
    """Every figure of the result, recomputed from the arrays beside it and from the reference."""
    need_tool("verilator"), need_tool("make"), need_tool("g++")
    config = exports("shared")
    code, result, said = command(config, "--potentials", "--waveform")
    assert (code, [line for line in said.splitlines() if not line.startswith("warning")]) == (0, [])
    assert result.pop("folder") == "build/shared/sim"
    assert result == of_file(config)
    assert result["mismatches"] == {"spikes": 0, "decisions": 0, "readouts": None, "potentials": 0, "cycles": 0}
    assert (result["engine"], result["inputs"], result["steps"], result["stall"]) == ("batch", 6, 6, 0)

    folder = config.parent / "build" / "shared" / "sim"
    arrays = dict(np.load(folder / "simulation.npz"))
    project = projects.load(config)
    inputs = project.inputs(6)
    trace = simulate(project.network, inputs.spikes, potentials=True)
    assert trace.potentials is not None
    np.testing.assert_array_equal(arrays["labels"], inputs.labels)
    np.testing.assert_array_equal(arrays["decision_rtl"], trace.decision("count"))
    assert (
        result["accuracy"]["rtl"]
        == result["accuracy"]["reference"]
        == np.mean(trace.decision("count") == inputs.labels)
    )
    np.testing.assert_array_equal(arrays["latency"], arrays["latency_model"])
    latency = arrays["latency"]
    assert result["latency_cycles"] == {
        "min": latency.min(), "max": latency.max(), "mean": latency.mean(), "median": np.median(latency),
    }  # fmt: skip
    sops = []
    for b in range(6):
        total = 0
        for layer, spikes in zip(project.network.layers, (inputs.spikes[b], trace.spikes[0][b]), strict=True):
            total += sum(int(np.count_nonzero(layer.weights[:, i])) for _, i in np.argwhere(spikes))
        sops.append(total)
    assert arrays["sop"].tolist() == sops
    assert result["sop_mean"] == np.mean(sops)
    assert arrays["input_events"].tolist() == inputs.spikes.sum(axis=(1, 2)).tolist()
    assert arrays["layer_spikes"].tolist() == [[int(s[b].sum()) for s in trace.spikes] for b in range(6)]
    for n, (spikes, potentials) in enumerate(zip(trace.spikes, trace.potentials, strict=True)):
        np.testing.assert_array_equal(arrays[f"example_spikes_{n}"], spikes[0])
        np.testing.assert_array_equal(arrays[f"example_potentials_{n}"], potentials[0])
        np.testing.assert_array_equal(arrays[f"example_potentials_rtl_{n}"], potentials[0])
    np.testing.assert_array_equal(arrays["example_output_rtl"], trace.spikes[-1][0])
    np.testing.assert_array_equal(arrays["example_input"], inputs.spikes[0])

    assert result["waveform"] == "example.vcd"
    wave = (folder / "example.vcd").read_text()
    assert wave.startswith("$version")
    assert re.search(r"\$var wire +\d+ \S+ events_in__payload ", wave)
    assert max(int(time) for time in re.findall(r"^#(\d+)$", wave, re.M)) >= 2 * latency[0]


@pytest.mark.cosim
@pytest.mark.slow
def test_batch_with_stalls(exports, need_tool):
    """Stalls change no answer; there are no cycles to compare, and the result is replaced as a whole."""
    need_tool("verilator"), need_tool("make"), need_tool("g++")
    config = exports("shared")
    left = config.parent / "build" / "shared" / "sim" / "example.vcd"
    code, result, _ = command(config, "--stall", "40", "--seed", "7", "--inputs", "4")
    assert code == 0
    assert result["mismatches"] == {"spikes": 0, "decisions": 0, "readouts": None, "potentials": None, "cycles": None}
    assert (result["inputs"], result["stall"], result["seed"], result["waveform"]) == (4, 40, 7, None)
    assert not left.exists()
    arrays = np.load(left.parent / "simulation.npz")
    assert arrays["latency_model"].tolist() == [-1] * 4


@pytest.mark.cosim
@pytest.mark.slow
def test_batch_in_chunks(exports, need_tool, monkeypatch):
    """Large data sets are done in parts: nothing is lost, doubled or out of order."""
    need_tool("verilator"), need_tool("make"), need_tool("g++")
    monkeypatch.setattr("spikeloom_sim.flow.CHUNK", 4)
    monkeypatch.setattr("spikeloom_sim.flow.MODEL_INPUTS", 5)
    config = exports("shared")
    project, said = projects.load(config), []
    result = simulate_build(
        project, config.parent / "build" / "shared", SimulationOptions(), lambda text, share: said.append(share)
    )
    assert result["inputs"] == 6
    assert not any(result["mismatches"].values())
    arrays = np.load(config.parent / "build" / "shared" / "sim" / "simulation.npz")
    inputs = project.inputs(6)
    assert arrays["decision_rtl"].tolist() == simulate(project.network, inputs.spikes).decision("count").tolist()
    model = arrays["latency_model"].tolist()
    assert model[:5] == arrays["latency"].tolist()[:5]
    assert model[5] == -1
    assert said == sorted(said)


# ---------------------------------------------------------------------------------------------------------------------
# cocotb


@pytest.mark.cosim
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("stall", "seed"), [(0, 0), (40, 3)])
def test_icarus(case, stall, seed, exports, need_tool):
    need_tool("iverilog"), need_tool("libpython")
    config = exports(case)
    code, result, said = command(config, "--engine", "icarus", "--stall", str(stall), "--seed", str(seed))
    assert code == 0, said
    assert (result["engine"], result["inputs"], result["stall"]) == ("icarus", 3, stall)
    assert set(result["versions"]) == {"iverilog"}
    wrong = dict(result["mismatches"])
    assert wrong.pop("cycles") == (None if stall else 0)  # equal to the cost model
    assert wrong.pop("readouts") == (0 if case == "current" else None)
    assert wrong.pop("decisions") == (None if case == "silent" else 0)
    assert wrong == {"spikes": 0, "potentials": None}
    log = (config.parent / "build" / case / "sim" / "cocotb.log").read_text()
    assert log.count("== play") == 4 + 1  # each of three inputs, then all in a row; and the line at the end


@pytest.mark.cosim
@pytest.mark.slow
def test_verilator(exports, need_tool):
    """The same bench on Verilator, with pauses and a waveform."""
    for tool in ("verilator", "make", "g++", "libpython"):
        need_tool(tool)
    config = exports("shared")
    code, result, said = command(config, "--engine", "verilator", "--stall", "30", "--waveform")
    assert code == 0, said
    assert not any(result["mismatches"].values())
    assert result["engine"] == "verilator"
    assert (config.parent / "build" / "shared" / "sim" / result["waveform"]).stat().st_size > 500


@pytest.mark.cosim
def test_waveform_of_icarus(exports, need_tool, tmp_path):
    need_tool("iverilog"), need_tool("libpython")
    config = copied(exports("silent"), tmp_path)
    code, result, _ = command(config, "--engine", "icarus", "--waveform", "--inputs", "1")
    assert code == 0
    wave = (config.parent / "build" / "silent" / "sim" / result["waveform"]).read_bytes()
    assert result["waveform"] == "example.fst"
    assert wave[0] == 0  # an FST file begins with its header block, whose length is always 329
    assert int.from_bytes(wave[1:9], "big") == 329


# ---------------------------------------------------------------------------------------------------------------------
# Faults


def planted(config: Path, pattern: str, replacement: str, *, which: int = 0) -> None:
    """Change one place of the exported Verilog."""
    path = config.parent / "build" / config.stem / "rtl" / f"{config.stem}.v"
    text = path.read_text()
    found = list(re.finditer(pattern, text))
    assert found, pattern
    at = found[which]
    path.write_text(text[: at.start()] + at.expand(replacement) + text[at.end() :])


LEAK = (r"(assign \w+ = \{ [^;\n]*\}) - (\{ \w+\[7\])", r"\1 + \2")
THRESHOLD = (r"(sum0\[7:0\]) >= ", r"\1 > ")
COUNT = (r"(assign \w+ = count) > (decision__payload)", r"\1 < \2")


@pytest.mark.cosim
@pytest.mark.parametrize("fault", [LEAK, THRESHOLD, COUNT], ids=["leak", "threshold", "count"])
def test_faults_on_icarus(fault, exports, need_tool, tmp_path):
    """Reported as mismatches, with exit code 1; the results are written all the same."""
    need_tool("iverilog"), need_tool("libpython")
    config = copied(exports("shared"), tmp_path)
    planted(config, *fault)
    code, result, said = command(config, "--engine", "icarus", "--stall", "20", "--inputs", "6")
    assert code == 1
    assert result["mismatches"]["spikes"] > 0
    assert re.search(r"^error: shared: \d+ spikes.* differ from the reference; see build/shared/sim$", said, re.M)
    result.pop("folder")
    assert of_file(config) == result
    log = (config.parent / "build" / "shared" / "sim" / "cocotb.log").read_text()
    assert "the reference has" in log
    assert str(tmp_path) not in log


@pytest.mark.cosim
@pytest.mark.slow
def test_fault_on_batch(exports, need_tool, tmp_path):
    need_tool("verilator"), need_tool("make"), need_tool("g++")
    config = copied(exports("shared"), tmp_path)
    planted(config, *LEAK)
    code, result, said = command(config)
    assert code == 1
    assert 0 < result["mismatches"]["spikes"] <= 6
    assert re.search(r"^error: shared: \d+ spikes.* differ from the reference; see build/shared/sim$", said, re.M)
    assert of_file(config)["mismatches"] == result["mismatches"]
    # The Verilog is whole again, a weight is not: memories are read when the design runs.
    (tmp_path / "again").mkdir()
    config = copied(exports("shared"), tmp_path / "again")
    path = config.parent / "build" / "shared" / "rtl" / "w1_weights.mem"
    rows = path.read_text().split()
    path.write_text("\n".join(f"{int(row, 16) ^ 0x888:03x}" for row in rows) + "\n")
    code, result, _ = command(config)
    assert code == 1
    assert result["mismatches"]["spikes"] > 0


@pytest.mark.cosim
@pytest.mark.slow
def test_cycles_alone_can_be_wrong(exports, need_tool, monkeypatch):
    """A cost model that is off by one is a mismatch, too."""
    need_tool("verilator"), need_tool("make"), need_tool("g++")
    config = exports("shared")
    from spikeloom.mapping.cost import CycleReport

    right = CycleReport.latency.fget
    assert right is not None
    monkeypatch.setattr(CycleReport, "latency", property(lambda self: right(self) + 1))
    result = simulate_build(projects.load(config), config.parent / "build" / "shared", SimulationOptions())
    assert result["mismatches"] == {"spikes": 0, "decisions": 0, "readouts": None, "potentials": None, "cycles": 6}


@pytest.mark.cosim
def test_a_simulator_that_cannot_build(exports, need_tool, tmp_path):
    need_tool("iverilog"), need_tool("libpython")
    config = copied(exports("silent"), tmp_path)
    planted(config, "endmodule", "endmodul")
    done = subprocess.run(
        [sys.executable, "-m", "spikeloom.cli", "simulate", config.name, "--engine", "icarus"],
        cwd=config.parent,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: silent: the icarus simulation could not be run (exit " in done.stderr
    assert "Traceback" not in done.stderr.split("error: silent")[0]
    assert not (config.parent / "build" / "silent" / "sim").exists()


# ---------------------------------------------------------------------------------------------------------------------
# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "vcs"}, "engine 'vcs': accepted are batch, icarus, verilator"),
        ({"inputs": 0}, "0 inputs: accepted is at least 1"),
        ({"stall": -1}, "stall of -1 percent: accepted is 0 to 90"),
        ({"stall": 91}, "stall of 91 percent: accepted is 0 to 90"),
    ],
)
def test_options(options, message):
    with pytest.raises(InputError) as caught:
        SimulationOptions(**options)
    assert str(caught.value) == message
