"""From a build folder to synthesis.json: whole or not at all, labelled, checked against the expected words."""

import json
import random

import numpy as np
import pytest

import spikeloom_synth.flow
from spikeloom.errors import InputError, SpikeloomError, ToolMissing
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.storage import save_network
from spikeloom.output import MARKER
from spikeloom.tools import find_tool
from spikeloom_synth.flow import bench_workload, synthesise
from spikeloom_synth.options import SynthOptions
from synth_designs import (
    LIF_FILES,
    LIF_FLIP_FLOPS,
    LIF_MEMORY_BITS,
    icarus_outputs,
    needs_compiler,
    needs_iverilog,
    needs_osu018,
    needs_sta,
    needs_yosys,
    write_lif_image,
    write_lif_stimulus,
)

pytestmark = [needs_yosys, needs_sta, needs_osu018, needs_compiler, needs_iverilog]

STEPS, INPUTS = 8, 4
OPTIONS = SynthOptions(clock_mhz=50, fpga=())


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A build folder as an export leaves it, around the hand-written lif_small; expected words from Icarus."""
    build = tmp_path_factory.mktemp("original") / "lif_small"
    (build / "rtl").mkdir(parents=True)
    (build / "bench").mkdir()
    (build / MARKER).write_text("")
    for path in LIF_FILES:
        (build / "rtl" / path.name).write_bytes(path.read_bytes())
    write_lif_image(build / "rtl")
    stimulus = build / "bench" / "stimulus.mem"
    write_lif_stimulus(stimulus, INPUTS, STEPS)
    work = tmp_path_factory.mktemp("icarus")
    words = icarus_outputs([*LIF_FILES], stimulus, build / "rtl", work)
    (build / "bench" / "expected_events_out.mem").write_text("".join(f"{word:02x}\n" for _, word in words))
    layer = IntegerLayer.dense(
        name="fc1",
        weights=lif_weights(build),
        weight_bits=4,
        potential_bits=11,
        leak=Leak(kind="shift", shifts=(3,)),
        threshold=9,
    )
    save_network(IntegerNetwork(name="lif_small", layers=(layer,)), build / "network.npz")
    manifest = {
        "schema": 1,
        "name": "lif_small",
        "hash": "0123456789abcdef",
        "top": "lif_small",
        "steps": STEPS,
        "ports": [{"name": "events_in__payload", "direction": "input", "bits": 8, "meaning": "events"}],
        "memories": [{"instance": "fc1.weights", "bits": 4096}, {"instance": "counter.counts", "bits": 128}],
        "content": {f"rtl/{path.name}": "" for path in LIF_FILES},
    }
    (build / "manifest.json").write_text(json.dumps(manifest))
    return build


def lif_weights(build):
    """[16 neurons, 64 inputs] as the memory image holds them: neuron 0 in the lowest digit of a row."""
    rows = (build / "rtl" / "lif_small.mem").read_text().split()
    digits = np.array([[int(digit, 16) for digit in reversed(row)] for row in rows])
    return np.where(digits > 7, digits - 16, digits).T


@pytest.fixture
def build(original, tmp_path):
    """A copy that a test may spoil."""
    import shutil

    return shutil.copytree(original, tmp_path / "lif_small")


def test_everything(build):
    seen = []
    result = synthesise(build, OPTIONS, progress=seen.append)
    folder = build / "synth"
    assert json.loads((folder / "synthesis.json").read_text()) == json.loads(json.dumps(result))
    assert (result["schema"], result["name"], result["hash"]) == (1, "lif_small", "0123456789abcdef")
    assert result["area"]["flip_flops"] == LIF_FLIP_FLOPS
    assert result["memories"]["bits"] == LIF_MEMORY_BITS
    assert result["area"]["um2"] == pytest.approx(sum(row["area"] for row in result["area"]["by_block"].values()))
    assert result["timing"]["registers"]["fmax_mhz"] >= 50
    assert result["timing"]["memories"]["fmax_mhz"] <= result["timing"]["registers"]["fmax_mhz"]
    words = (build / "bench" / "expected_events_out.mem").read_text().split()
    assert result["netlist_check"]["equal_words"] == {"events_out": len(words)}
    assert result["power"]["inferences"] == INPUTS
    assert result["skipped"] == {}
    # DESIGN: every figure says its level, library, corner, voltage, workload and tool; clock where it matters.
    labels = [result["area"]["label"], *(result["timing"][kind]["label"] for kind in ("registers", "memories"))]
    for label in [*labels, result["power"]["label"]]:
        assert {"level", "library", "corner", "voltage_v", "tool"} <= label.keys()
    assert {"workload", "clock_mhz", "memory"} <= result["power"]["label"].keys()
    assert result["options"]["clock_mhz"] == 50
    left = {path.name for path in folder.iterdir()}
    assert {"netlist.v", "memories.v", "cells.v", "design.sdc", "elaborate.log", "timing.log", "power.log"} <= left
    assert not any(path.is_dir() for path in folder.iterdir())
    assert str(build.parent) not in (folder / "synthesis.json").read_text()
    assert any("mapping" in text for text in seen)
    # Again, to the byte, in place of the old folder.
    before = (folder / "synthesis.json").read_bytes()
    (folder / "stray").write_text("")
    synthesise(build, OPTIONS)
    assert (folder / "synthesis.json").read_bytes() == before
    assert not (folder / "stray").exists()


def test_synaptic_operations_by_hand(build):
    """Each event is delivered to the non-zero weights of its column."""
    weights = lif_weights(build)
    events = [int(word, 16) for word in (build / "bench" / "stimulus.mem").read_text().split()]
    expected = sum(int((weights[:, event & 63] != 0).sum()) for event in events if not event >> 6 & 1)
    manifest = json.loads((build / "manifest.json").read_text())
    workload = bench_workload(build, manifest)
    assert workload.sops == expected
    assert 0 < expected < 16 * sum(1 for event in events if not event >> 6 & 1)
    assert workload.warmup == 0
    assert f"the {INPUTS} inputs" in workload.name


def test_wrong_answer_is_a_mismatch(build):
    path = build / "bench" / "expected_events_out.mem"
    words = path.read_text().split()
    place = random.Random(3).randrange(len(words))
    words[place] = f"{int(words[place], 16) ^ 1:02x}"
    path.write_text("\n".join(words) + "\n")
    with pytest.raises(SpikeloomError, match=rf"events_out differs from .*: word {place} is") as caught:
        synthesise(build, OPTIONS)
    assert caught.value.exit_code == 1
    assert not (build / "synth").exists()


def test_lost_memory_is_noticed(build):
    manifest = json.loads((build / "manifest.json").read_text())
    manifest["memories"].append({"instance": "fc2.weights", "bits": 10})
    (build / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SpikeloomError, match="netlist has 4224 bits of memory, its manifest 4234"):
        synthesise(build, OPTIONS)


def test_failure_keeps_the_log_and_the_old_result(build):
    (build / "synth").mkdir()
    (build / "synth" / MARKER).write_text("")
    (build / "synth" / "synthesis.json").write_text("old")
    source = build / "rtl" / "lif_small.v"
    source.write_text(source.read_text().replace("endmodule", "endmodul", 1))
    with pytest.raises(SpikeloomError, match=r"Yosys failed \(elaborate\): .*lif_small\.v:\d+: ERROR") as caught:
        synthesise(build, OPTIONS)
    log = build / "synth_failed.log"
    assert str(log) in str(caught.value)
    assert "ERROR" in log.read_text()
    assert (build / "synth" / "synthesis.json").read_text() == "old"
    assert {path.name for path in build.iterdir() if path.name.startswith(".")} == {MARKER}


def test_interrupt_leaves_nothing(build):
    def stop(text):
        if "timing" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(build, OPTIONS, progress=stop)
    assert not (build / "synth").exists()
    assert {path.name for path in build.iterdir() if path.name.startswith(".")} == {MARKER}


@pytest.fixture
def without(monkeypatch):
    """Make tools disappear for the flow."""

    def hide(*names):
        def require(name):
            if name in names:
                raise ToolMissing(f"{name}: not found; get it")
            return find_tool(name)

        monkeypatch.setattr(spikeloom_synth.flow, "require_tool", require)

    return hide


@pytest.mark.parametrize("tool", ["sta", "g++", "yosys", "osu018"])
def test_missing_tool_is_told_before_the_work(build, without, tool):
    without(tool)
    seen = []
    with pytest.raises(ToolMissing, match=tool.replace("+", r"\+")):
        synthesise(build, OPTIONS, progress=seen.append)
    assert seen == []
    assert not (build / "synth").exists()


def test_missing_kit_is_told_before_the_work(build, tmp_path):
    seen = []
    with pytest.raises(ToolMissing, match="files of nangate45 were not found"):
        synthesise(build, SynthOptions(pdk="nangate45", pdk_root=str(tmp_path)), progress=seen.append)
    assert seen == []
    assert not (build / "synth").exists()


def test_missing_tools_are_skipped_on_request(build, without):
    without("sta", "g++")
    result = synthesise(build, OPTIONS, skip_missing=True)
    assert result["skipped"] == {"timing": "sta: not found; get it", "power": "g++: not found; get it"}
    assert result["area"]["flip_flops"] == LIF_FLIP_FLOPS
    assert result["timing"] is None
    assert result["power"] is None
    without("yosys")
    with pytest.raises(ToolMissing):
        synthesise(build, OPTIONS, skip_missing=True)


def test_bench_is_missing(build):
    (build / "bench" / "expected_events_out.mem").unlink()
    with pytest.raises(InputError, match=r"no expected_\*\.mem; elaborate again"):
        synthesise(build, OPTIONS)
    (build / "bench" / "stimulus.mem").unlink()
    with pytest.raises(InputError, match=r"stimulus\.mem: stimulus cannot be read"):
        synthesise(build, OPTIONS)


def test_library_without_flip_flops(build, tmp_path):
    path = tmp_path / "gates.lib"
    path.write_text(
        "library (gates) { cell (BUF) { area : 1; pin (A) { direction : input; }\n"
        'pin (Y) { direction : output; function : "A"; } } }\n'
    )
    with pytest.raises(InputError, match=r"gates\.lib: no flip-flop") as caught:
        synthesise(build, SynthOptions(liberty=str(path)))
    assert caught.value.exit_code == 2
    assert not (build / "synth").exists()
