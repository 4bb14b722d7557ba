"""The report: everything in it comes from the build folder, and a browser shows it without a word on its console."""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import nir
import numpy as np
import pytest

from spikeloom.config import parse_config
from spikeloom.errors import InputError
from spikeloom.export import elaborate
from spikeloom.mapping.cost import CostModel
from spikeloom.network.reference import simulate
from spikeloom.output import MARKER
from spikeloom.project import Inputs, Project
from spikeloom_synth import figures
from spikeloom_synth.flow import synthesise
from spikeloom_synth.options import SynthOptions
from spikeloom_synth.report import FIGURES, write_report

SYNTHESIS = Path(__file__).parent / "data" / "report_synthesis.json"
"""What the flow wrote for the sample design, its long lists cut short."""
INPUTS, SHAPE, STEPS = 24, (4, 4), 10
CONFIG = """
name = "sample"
[network]
file = "sample.nir"
dt = 1.0
reset = "zero"
[quantise]
weight_bits = 5
potential_bits = 9
leak = "shift"
[input]
coding = "rate"
steps = 10
[core]
probe = true
"""


# ---------------------------------------------------------------------------------------------------------------------
# A build folder: a real export, the results that an RTL without faults gives, and the real synthesis of this design


def write_network(path: Path) -> None:
    """16-8-4 LIF with weights on a grid, as NIR."""
    rng = np.random.Generator(np.random.Philox(key=7))
    nodes, edges, before = {"input": nir.Input(input_type=np.array([16]))}, [], "input"
    for name, fan_in, neurons in (("fc1", 16, 8), ("fc2", 8, 4)):
        weights = rng.integers(-5, 11, (neurons, fan_in)) / 16
        nodes[name] = nir.Linear(weight=weights)
        rest = {"tau": np.full(neurons, 4.0), "r": np.full(neurons, 4.0), "v_leak": np.zeros(neurons)}
        nodes[f"lif_{name}"] = nir.LIF(**rest, v_threshold=np.full(neurons, 1.0))
        edges += [(before, name), (name, f"lif_{name}")]
        before = f"lif_{name}"
    nodes["output"] = nir.Output(output_type=np.array([4]))
    edges.append((before, "output"))
    nir.write(str(path), nir.NIRGraph(nodes=nodes, edges=edges))


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    """The build folder; tests work on copies."""
    place = tmp_path_factory.mktemp("sample")
    write_network(place / "sample.nir")
    project = Project(config=parse_config(CONFIG), folder=place)
    rng = np.random.Generator(np.random.Philox(key=8))
    values = rng.random((INPUTS, 16))
    spikes = np.stack([rng.random((STEPS, 16)) < value for value in values]).astype(np.uint8)
    labels = rng.integers(0, 4, INPUTS)
    build = place / "build" / "sample"
    inputs = Inputs(spikes=spikes[:3], current=None, labels=labels[:3], values=values[:3], shape=SHAPE)
    manifest = elaborate(project, build, inputs=inputs)
    network = project.network
    trace = simulate(network, spikes, potentials=True)
    assert trace.potentials is not None
    reports = CostModel(network, project.config.core, steps=STEPS).cycles(spikes, trace.spikes)
    latency = np.array([report.latency for report in reports])
    sop = np.array([sum(layer.sops for layer in report.layers) for report in reports])
    decisions = trace.decision()
    arrays = {
        "labels": labels,
        "decision_rtl": decisions,
        "decision_reference": decisions,
        "latency": latency,
        "latency_model": latency,
        "input_events": spikes.sum(axis=(1, 2), dtype=np.int64),
        "sop": sop,
        "layer_spikes": np.stack([fired.sum(axis=(1, 2), dtype=np.int64) for fired in trace.spikes], axis=1),
        "example_index": np.array([0]),
        "example_values": values[0],
        "example_shape": np.array(SHAPE),
        "example_input": spikes[0],
        "example_output_rtl": trace.spikes[-1][0],
    }
    for n in range(len(network.layers)):
        arrays[f"example_spikes_{n}"] = trace.spikes[n][0]
        arrays[f"example_potentials_{n}"] = arrays[f"example_potentials_rtl_{n}"] = trace.potentials[n][0]
    assert all(0 < fired[0].sum() < fired[0].size for fired in trace.spikes)  # the rasters show something
    right = float((decisions == labels).mean())
    simulation = {
        "schema": 1,
        "name": "sample",
        "hash": manifest["hash"],
        "network": manifest["network"],
        "engine": "batch",
        "versions": {"verilator": "5.48"},
        "inputs": INPUTS,
        "steps": STEPS,
        "data": "random inputs",
        "isolated": True,
        "stall": 0,
        "seed": 0,
        "mismatches": {"spikes": 0, "decisions": 0, "readouts": None, "potentials": 0, "cycles": 0},
        "accuracy": {"rtl": right, "reference": right},
        "latency_cycles": {"min": int(latency.min()), "median": 72.0, "mean": 72.5, "max": int(latency.max())},
        "sop_mean": float(sop.mean()),
        "dense_operations_mean": 1600.0,
        "input_events_mean": float(arrays["input_events"].mean()),
        "waveform": None,
    }
    (build / "sim").mkdir()
    (build / "sim" / "simulation.json").write_text(json.dumps(simulation))
    np.savez(build / "sim" / "simulation.npz", **arrays)
    (build / "synth").mkdir()
    synthesis = json.loads(SYNTHESIS.read_text()) | {"hash": manifest["hash"]}
    (build / "synth" / "synthesis.json").write_text(json.dumps(synthesis))
    return build


@pytest.fixture
def build(sample, tmp_path) -> Path:
    """A copy of the sample to change."""
    return Path(shutil.copytree(sample, tmp_path / "sample"))


@pytest.fixture(scope="module")
def intact(sample, tmp_path_factory) -> str:
    """The page of the sample as it is."""
    return write_report(shutil.copytree(sample, tmp_path_factory.mktemp("intact") / "sample")).read_text("utf-8")


@contextlib.contextmanager
def edited(path: Path):
    """The object in a JSON file, written back afterwards."""
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))


@contextlib.contextmanager
def edited_arrays(build: Path):
    """The arrays of simulation.npz, written back afterwards."""
    path = build / "sim" / "simulation.npz"
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    yield arrays
    np.savez(path, **arrays)


class Page(HTMLParser):
    """Text by id, figures with what they hold, and everything that an HTML page can load."""

    VOID = frozenset({"meta", "link", "br", "img", "hr"})

    def __init__(self, text: str):
        super().__init__()
        self.open: list[tuple[str, str | None]] = []
        self.ids: list[str] = []
        self.text: dict[str, str] = {}
        self.svgs: dict[str, dict] = {}
        self.tags: dict[str, int] = {}
        self.loads: list[str] = []
        self.uses: list[str] = []
        self.feed(text)
        assert self.open == [], "unclosed elements"

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag not in self.VOID:
            self.open.append((tag, found.get("id")))
        self._note(tag, found)

    def handle_startendtag(self, tag, attrs):
        self._note(tag, dict(attrs))

    def _note(self, tag, found):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if "id" in found:
            self.ids.append(found["id"])
        for key in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            if key in found:
                self.loads.append(found[key])
        for value in found.values():
            self.uses += re.findall(r"url\(([^)]*)\)", value or "")
        figure = next((name for kind, name in reversed(self.open) if kind == "figure"), None)
        if figure:
            entry = self.svgs.setdefault(figure, {"label": None, "shapes": 0})
            if tag == "svg":
                entry["label"] = found.get("aria-label")
            entry["shapes"] += tag in ("path", "use", "text", "image")

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> without an element"
        assert self.open[-1][0] == tag, f"</{tag}> closes <{self.open[-1][0]}>"
        self.open.pop()

    def handle_data(self, data):
        for _, name in self.open:
            if name:
                self.text[name] = self.text.get(name, "") + data


def page_of(build: Path) -> Page:
    return Page(write_report(build).read_text(encoding="utf-8"))


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


# ---------------------------------------------------------------------------------------------------------------------
# What is on the page


def test_every_figure_is_there_and_full(intact):
    page = Page(intact)
    for name in FIGURES:
        assert name in page.svgs, name
        assert page.svgs[name]["shapes"] > 12, name
        assert len(page.svgs[name]["label"]) > 30, name
    assert not [name for name in page.ids if name.startswith("skipped")]
    assert len(set(page.ids)) == len(page.ids)


def test_nothing_is_loaded(intact):
    text, page = intact, Page(intact)
    assert not re.search(r"(?i)\b(https?|ftp|wss?|file):", text)
    assert not re.search(r"(?i)<script|<iframe|<object|<embed|@import|javascript:|\son\w+=", text)
    known = set(page.ids)
    for target in page.loads + page.uses:
        assert target.startswith("data:") or target[1:] in known, target
    assert "Content-Security-Policy" in text
    assert len(text) < 700_000


def test_first_screen(intact):
    page = Page(intact)
    assert page.text["verdict"] == (
        "Bit-exact: 24 inputs of 10 steps, 0 mismatches in output spikes, decisions and potentials of the first input. "
        "Cycles of 24 inputs equal the cost model."
    )
    header = words(re.search(r"<header>.*</header>", intact, re.S)[0])  # type: ignore[index]
    synthesis = json.loads(SYNTHESIS.read_text())
    area, power = synthesis["area"], synthesis["power"]
    for expected in (
        f"{area['um2']:,.0f} µm²",
        f"{synthesis['timing']['registers']['fmax_mhz']:,.1f} MHz",
        f"{power['energy_per_inference_j']['total'] * 1e9:.4g} nJ",
        f"memories (assumed) {power['energy_per_inference_j']['memory_assumed'] * 1e9:.4g} nJ",
        "72 cycles",
        "720 ns at 100 MHz",
        "library osu018_stdcells · corner typical · 1.8 V · 25 °C",
        "workload sample: the 3 inputs of its bench",
        area["label"]["tool"],
        power["label"]["tool"],
        "workload random inputs · each input alone · no stalls · Verilator 5.48",
    ):
        assert expected in header, expected


def test_every_figure_says_its_conditions(intact):
    page = Page(intact)
    for name in ("fig-area", "fig-energy", "fig-timing"):
        for part in ("library osu018_stdcells", "corner typical", "1.8 V", "25 °C"):
            assert part in page.text[name], (name, part)
    assert "clock 100 MHz" in page.text["fig-energy"]
    assert json.loads(SYNTHESIS.read_text())["power"]["label"]["memory"] in page.text["fig-energy"]
    assert "assumed" in page.text["fig-energy"]
    for name in ("fig-input", "fig-spikes", "fig-membrane", "fig-confusion", "fig-cycles"):
        assert "Verilator 5.48" in page.text[name], name
        assert "workload random inputs" in page.text[name], name


def test_nets_that_mapping_made_are_no_source_terms(build):
    with edited(build / "synth" / "synthesis.json") as synthesis:
        path = synthesis["timing"]["registers"]["critical_path"]
        path["start"] = "fc1.$signal$7"
        for stage, term in zip(path["stages"][1:], ["fc1._03988_[2]", "fc1.busy", "_12_"], strict=False):
            stage["term"] = term
    figure = page_of(build).text["fig-timing"]
    assert "From fc1 (a register without a name) to" in figure
    assert "fc1.busy" in figure
    for name in ("$signal", "_03988_", "_12_"):
        assert name not in figure


def test_energy_table_has_memories_in_their_own_column(intact):
    power = json.loads(SYNTHESIS.read_text())["power"]
    assert "0.0715 of the synaptic operations performed, 0.147 of those of a dense network" in intact
    (table,) = re.findall(r"<h3>Energy of an inference</h3>.*?</table>", intact, re.S)
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", table, re.S)]
    assert rows[0][-2:] == ["cells", "memories, assumed"]
    last = {row[0]: row[-2:] for row in rows[1:]}
    energy = power["energy_per_inference_j"]
    assert last["total"] == [f"{energy['logic'] * 1e9:.4g} nJ", f"{energy['memory_assumed'] * 1e9:.3g} nJ"]
    assert last["fc1"][1] != "-"
    assert last["fc1.queue"][1] == "-"
    assert len(rows) == len(power["by_block"]) + 2


def test_mismatches_are_not_hidden(build):
    with edited(build / "sim" / "simulation.json") as simulation:
        simulation["mismatches"] |= {"spikes": 2, "potentials": 1, "cycles": 4}
    with edited_arrays(build) as arrays:
        wrong = arrays["example_potentials_rtl_1"].copy()
        wrong[3, 2] += 1
        arrays["example_potentials_rtl_1"] = wrong
        arrays["latency_model"] = arrays["latency"] + (np.arange(INPUTS) < 4)
    page = page_of(build)
    assert page.text["verdict"] == (
        "Not bit-exact: 24 inputs of 10 steps, 3 mismatches "
        "(2 in output spikes and 1 in potentials of the first input). The cost model misses the cycles of 4 inputs."
    )
    assert "119 of 120 RTL potentials of this input equal the reference. Crosses mark" in page.text["fig-membrane"]
    assert "fc2, neuron 2" in page.text["fig-membrane"]  # a neuron that differs is among those drawn
    assert "says the same for 20 of 24 inputs" in page.text["fig-cycles"]


def test_nothing_compared_is_not_verified(build):
    with edited(build / "sim" / "simulation.json") as simulation:
        simulation["mismatches"] = dict.fromkeys(simulation["mismatches"])
    assert page_of(build).text["verdict"].startswith("Not verified")


def test_clock_that_is_not_reached(build):
    with edited(build / "synth" / "synthesis.json") as synthesis:
        synthesis["options"]["clock_mhz"] = 5000.0
    text = write_report(build).read_text()
    assert "MHz, not the 5000 MHz that times and powers are stated at." in text
    assert "14.4 ns at 5000 MHz" in text


def test_spikes_and_decisions_are_those_of_the_data(sample, intact):
    with np.load(sample / "sim" / "simulation.npz") as arrays:
        strokes = arrays["example_input"].sum()
        labels, decided = arrays["labels"], arrays["decision_rtl"]
        ringed = arrays["example_output_rtl"].sum()
    figure = {name: re.search(rf'<figure id="{name}".*?</figure>', intact, re.S)[0] for name in FIGURES}  # type: ignore[index]
    drawn = [path.count("M") for path in re.findall(r'\sd="([^"]*)"', figure["fig-input"])]
    assert strokes in drawn
    assert f"input spikes: {strokes} in 10 steps" in figure["fig-input"]
    uses = [len(re.findall("<use", group)) for group in re.split(r"</defs>", figure["fig-spikes"])]
    assert any(count >= ringed for count in uses)
    cells = re.findall(r">(\d+)</text>", figure["fig-confusion"])
    axes = [str(n) for n in range(4)] * 2
    for number in axes:
        cells.remove(number)
    assert sum(map(int, cells)) == INPUTS
    assert f"{(labels == decided).sum()} of 24 inputs decided right" in figure["fig-confusion"]


def test_blocks_and_memories(intact):
    page = Page(intact)
    synthesis = json.loads(SYNTHESIS.read_text())
    names = {re.sub(r"\$\d+", "", name) for name in synthesis["area"]["by_block"]}
    for name in names:
        assert name in page.text["fig-area"], name
        assert name in page.text["fig-energy"], name
    for memory in synthesis["memories"]["instances"]:
        assert memory["instance"] in page.text["fig-energy"]
    assert synthesis["timing"]["registers"]["critical_path"]["start"] in page.text["fig-timing"]
    assert synthesis["timing"]["registers"]["critical_path"]["end"] in page.text["fig-timing"]


# ---------------------------------------------------------------------------------------------------------------------
# The same folder, the same bytes


def test_deterministic_to_the_byte(build, intact):
    first = intact.encode()
    before = dict(matplotlib.rcParams)
    try:
        matplotlib.rcParams["font.size"] = 23.0
        matplotlib.rcParams["axes.facecolor"] = "red"
        assert write_report(build).read_bytes() == first
        assert matplotlib.rcParams["font.size"] == 23.0  # the user's settings come back
    finally:
        matplotlib.rcParams.update(before)
    assert re.search(rb"20\d\d-\d\d-\d\d", first) is None
    assert str(build).encode() not in first


# ---------------------------------------------------------------------------------------------------------------------
# What is missing


def test_without_simulation(build):
    shutil.rmtree(build / "sim")
    page = page_of(build)
    reason = "no simulation in this build folder; spikeloom simulate adds one"
    for name in ("input", "spikes", "membrane", "confusion", "cycles"):
        assert f"fig-{name}" not in page.svgs
        assert f"skipped: {reason}" in words(page.text[f"skipped-{name}"])
    assert "fig-area" in page.svgs
    assert page.text["verdict"] == f"Not verified. Simulation skipped: {reason}."


def test_without_synthesis_and_with_a_reason(build):
    shutil.rmtree(build / "synth")
    path = write_report(build, skipped={"synthesis": "no osu018; `make setup` gets it"})
    page = Page(path.read_text())
    for name in ("area", "energy", "timing"):
        assert "skipped: no osu018; make setup gets it" in words(page.text[f"skipped-{name}"])
    assert "no osu018" in page.text["skipped"]
    assert "fig-membrane" in page.svgs
    assert "720 ns at 100 MHz" in path.read_text()  # the clock of the configuration


def test_steps_that_synthesis_skipped(build):
    with edited(build / "synth" / "synthesis.json") as synthesis:
        synthesis["skipped"] = {"timing": "no OpenSTA: `apt install opensta`", "power": "no OpenSTA for power"}
        synthesis["timing"] = {"registers": None, "memories": None}
        synthesis["power"] = None
    page = page_of(build)
    assert "fig-area" in page.svgs
    assert "no OpenSTA: apt install opensta" in page.text["skipped-timing"]
    assert "no OpenSTA for power" in page.text["skipped-energy"]


def test_results_of_another_design_do_not_count(build):
    with edited(build / "sim" / "simulation.json") as simulation:
        simulation["hash"] = "0000000000000000"
    page = page_of(build)
    assert "sim/simulation.json is of design 0000000000000000" in page.text["skipped-membrane"]
    assert page.text["verdict"].startswith("Not verified")


def test_without_labels_probes_values(build):
    with edited_arrays(build) as arrays:
        arrays["labels"][:] = -1
        for key in ("example_potentials_rtl_0", "example_potentials_rtl_1", "example_values"):
            del arrays[key]
    with edited(build / "sim" / "simulation.json") as simulation:
        simulation["accuracy"] = {"rtl": None, "reference": None}
        simulation["mismatches"]["potentials"] = None
    page = page_of(build)
    assert "no input has both a label and a decision" in page.text["skipped-confusion"]
    assert "core.probe = true adds them" in page.text["fig-membrane"]
    assert "spikes per address" in page.text["fig-input"]
    assert page.text["verdict"].startswith(
        "Bit-exact: 24 inputs of 10 steps, 0 mismatches in output spikes and decisions."
    )


def test_inputs_that_the_cost_model_was_not_asked_for(build):
    with edited_arrays(build) as arrays:
        arrays["latency_model"][5:] = -1
        arrays["latency"][20:] = -1
        arrays["decision_rtl"][20:] = -1
    page = page_of(build)
    assert page.text["verdict"].endswith("Cycles of 5 inputs equal the cost model.")
    assert "says the same for 5 of 5 inputs" in page.text["fig-cycles"]
    assert "of 20 inputs decided right" in page.text["fig-confusion"]


def test_read_out_layer(build):
    with edited(build / "manifest.json") as manifest:
        manifest["layers"][-1] |= {"threshold": None, "reset": "none"}
    page = page_of(build)
    assert "fc2" not in page.text["fig-spikes"]
    assert "fc2, neuron" in page.text["fig-membrane"]


def test_names_are_no_markup(build):
    hostile = 'fc<b>&"$x$'
    with edited(build / "manifest.json") as manifest:
        for layer in (*manifest["layers"], *manifest["cost"]["layers"]):
            layer["name"] = layer["name"].replace("fc1", hostile)
        manifest["ports"][0]["meaning"] = "</td><script>alert(1)</script>"
    with edited(build / "synth" / "synthesis.json") as synthesis:
        synthesis["area"]["by_block"][hostile] = synthesis["area"]["by_block"].pop("fc1")
    page = page_of(build)
    assert "script" not in page.tags
    assert hostile in page.text["fig-spikes"]
    assert hostile in page.text["fig-area"]
    assert hostile in page.text["network"]


# ---------------------------------------------------------------------------------------------------------------------
# Bad input


def damage(build: Path, case: str) -> None:
    files = {
        "manifest": build / "manifest.json",
        "simulation": build / "sim" / "simulation.json",
        "synthesis": build / "synth" / "synthesis.json",
    }
    kind, _, how = case.partition("-")
    path = files.get(kind, build / "sim" / "simulation.npz")
    if how == "missing":
        path.unlink()
    elif how == "torn":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif how == "list":
        path.write_text("[]")
    else:
        with edited(path) as content:
            if how == "schema":
                content["schema"] = 9
            else:
                del content["hash"]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        (
            "manifest-missing",
            "manifest.json: cannot be read: No such file or directory; `spikeloom elaborate` writes it",
        ),
        ("manifest-torn", "manifest.json: not JSON (.*); `spikeloom elaborate` writes it anew"),
        ("manifest-list", "manifest.json: holds a list; accepted is what `spikeloom elaborate` writes"),
        ("manifest-schema", "manifest.json: schema 9 is not known; this version reads 1"),
        ("manifest-hash", "manifest.json: no hash; `spikeloom elaborate` writes it anew"),
        ("simulation-torn", "simulation.json: not JSON (.*); `spikeloom simulate` writes it anew"),
        ("synthesis-schema", "synthesis.json: schema 9 is not known; this version reads 1"),
        ("arrays-torn", "simulation.npz: not a readable .npz file (.*); `spikeloom simulate` writes it"),
        ("arrays-missing", "simulation.npz: not a readable .npz file (.*); `spikeloom simulate` writes it"),
    ],
)
def test_damaged_folder(build, case, message):
    (build / "report.html").write_text("old")
    damage(build, case)
    pattern = re.escape(message).replace(re.escape("(.*)"), r"\(.*\)")
    with pytest.raises(InputError, match=pattern):
        write_report(build)
    assert (build / "report.html").read_text() == "old"
    assert sorted(path.name for path in build.glob(".*")) == [MARKER]


# ---------------------------------------------------------------------------------------------------------------------
# Large designs stay small pages


def test_figures_of_a_large_workload_are_small():
    rng = np.random.Generator(np.random.Philox(key=3))
    spikes = (rng.random((100, 784)) < 0.3).astype(np.uint8)
    raster = figures.draw("a", figures.input_picture, rng.random(784), (28, 28), spikes, title="")
    assert len(raster) < 200_000
    assert "data:image/png;base64," in raster  # too many strokes for lines
    picture = max(re.findall(r"base64,([^\"]*)", raster.replace("\n", "")), key=len)
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    events = rng.integers(1000, 3000, 10_000)
    assert len(figures.draw("b", figures.cycles, events, events + 30, events + 30, pace=1, isolated=True)) < 500_000
    layers = [("fc1", (rng.random((100, 1024)) < 0.1).astype(np.uint8)), ("fc2", spikes[:, :10])]
    assert len(figures.draw("c", figures.rasters, layers, spikes[:, :10])) < 500_000


def test_long_timing_path_keeps_its_names():
    stages = [
        figures.Stage(
            start=n * 0.1, end=n * 0.1 + 0.1, cell="NAND2X1", term=f"name{n}" if n % 50 == 7 else "", kind="cell"
        )
        for n in range(150)
    ]
    stages[0] = figures.Stage(start=0.0, end=0.1, cell="DFF", term="start", kind="launch")
    stages.append(figures.Stage(start=15.0, end=15.2, cell="set-up", term="end", kind="setup"))
    svg = figures.draw("t", figures.timing_path, stages)
    bars = re.findall(r">([^<]*cells|NAND2X1|DFF|set-up)\s+[\d.]+<", svg)
    assert 20 < len(bars) <= 48
    for name in ("start", "name7", "name57", "name107", "end"):
        assert f">{name}<" in svg, name
    assert sum(int(text.split()[0]) for text in bars if text.endswith("cells")) + bars.count("NAND2X1") == 149


# ---------------------------------------------------------------------------------------------------------------------
# The flow still writes what the fixture holds


def keys_of(value: object) -> object:
    """The shape of JSON data: keys of objects, the shape of a list's first item; names of blocks and cells left out."""
    if isinstance(value, dict):
        named = {"by_block", "by_cell", "fpga", "tried", "cells", "block_rams", "equal_words", "skipped"}
        return {key: None if key in named else keys_of(each) for key, each in sorted(value.items())}
    if isinstance(value, list):
        return [keys_of(value[0])] if value else []
    return None


@pytest.mark.slow
@pytest.mark.synth
def test_fixture_has_the_shape_of_a_real_synthesis(build, need_tool):
    for tool in ("yosys", "osu018", "sta", "g++"):
        need_tool(tool)
    shutil.rmtree(build / "synth")
    synthesise(build, SynthOptions(fpga=("xc7",)))
    written = json.loads((build / "synth" / "synthesis.json").read_text())
    assert keys_of(written) == keys_of(json.loads(SYNTHESIS.read_text()))
    page = page_of(build)
    assert set(FIGURES) <= set(page.svgs)
    assert f"{written['area']['um2']:,.0f} µm²" in (build / "report.html").read_text()


# ---------------------------------------------------------------------------------------------------------------------
# In a browser


class Browser:
    """Headless Chromium, driven over a pipe by the DevTools protocol; collects all that a page says and asks for."""

    def __init__(self, program: Path, profile: Path):
        to_browser, self.commands = os.pipe()
        self.replies, from_browser = os.pipe()
        command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={profile}",
            "--remote-debugging-pipe", "about:blank",
        ]  # fmt: skip

        def pipes():  # Chromium reads commands from descriptor 3 and answers on 4
            spare = [os.dup(to_browser), os.dup(from_browser)]
            os.dup2(spare[0], 3)
            os.dup2(spare[1], 4)

        self.process = subprocess.Popen(
            list(map(str, command)), preexec_fn=pipes, close_fds=False, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        os.set_blocking(self.replies, False)
        self.buffer, self.events, self.number, self.session = b"", [], 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session and not method.startswith("Target."):
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        answer = self.wait(lambda found: found.get("id") == self.number)
        assert "error" not in answer, answer
        return answer["result"]

    def wait(self, wanted, seconds: float = 90) -> dict:
        """The first message that is wanted."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            while b"\0" in self.buffer:
                text, self.buffer = self.buffer.split(b"\0", 1)
                message = json.loads(text)
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
            try:
                chunk = os.read(self.replies, 1 << 20)
            except BlockingIOError:
                time.sleep(0.01)
                continue
            assert chunk, "Chromium ended"
            self.buffer += chunk
        raise TimeoutError("Chromium does not answer")

    def show(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        if not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.wait(lambda found: found.get("method") == "Page.loadEventFired")

    def value(self, expression: str):
        """Value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"]["value"]

    def said(self) -> list[str]:
        """Everything on the console: calls, errors, exceptions, violations of the page's policy."""
        found = []
        for event in self.events:
            if event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                found.append(json.dumps(event["params"])[:500])
        return found

    def asked(self) -> list[str]:
        """Addresses that were requested."""
        return [
            event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        """End the browser and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.commands)
        os.close(self.replies)


@pytest.fixture(scope="module")
def browser(need_tool, tmp_path_factory):
    found = Browser(need_tool("chromium").path, tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


BOXES = """Object.fromEntries([...document.querySelectorAll("figure")].map(figure => {
    const svg = figure.querySelector("svg"), box = svg.getBoundingClientRect();
    const shapes = [...svg.querySelectorAll("path, use, image, text")].filter(shape => !shape.closest("defs"));
    const seen = shapes.filter(shape => {
        const rect = shape.getBoundingClientRect();
        return rect.width + rect.height > 0 && getComputedStyle(shape).visibility == "visible";
    });
    const inside = shapes.filter(shape => shape.tagName == "text").every(shape => {
        const rect = shape.getBoundingClientRect();
        return rect.left >= box.left - 2 && rect.right <= box.right + 2
            && rect.top >= box.top - 2 && rect.bottom <= box.bottom + 2;
    });
    return [figure.id, {width: box.width, height: box.height, seen: seen.length, inside}];
}))"""


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)], ids=["light", "dark", "phone"]
)
def test_in_chromium(intact, tmp_path, browser, scheme, width):
    path = tmp_path / "report.html"
    path.write_text(intact, encoding="utf-8")
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
    browser.show(path)
    boxes = browser.value(BOXES)
    assert set(FIGURES) <= set(boxes)
    for name, box in boxes.items():
        assert box["width"] >= 300, (name, box)
        assert box["height"] >= 100, (name, box)
        assert box["seen"] > 12, (name, box)
        assert box["inside"], f"{name}: text outside the figure"
    assert browser.value("document.documentElement.scrollWidth") <= width  # wide things scroll inside their cards
    background = browser.value("getComputedStyle(document.body).backgroundColor")
    ink = browser.value("getComputedStyle(document.querySelector('#fig-area text')).fill")
    light, dark = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (background, ink))
    assert (light > 600 and dark < 200) if scheme == "light" else (light < 120 and dark > 550)
    assert browser.said() == []
    assert all(url.startswith(("file:", "data:")) for url in browser.asked()), browser.asked()


def test_the_browser_would_notice(intact, tmp_path, browser):
    """What the test above forbids is seen when it happens."""
    path = tmp_path / "report.html"
    text = intact.replace("</main>", '<script>console.error("here")</script><img src="gone.png"></main>')
    path.write_text(text, encoding="utf-8")
    browser.show(path)
    assert any("Content Security Policy" in line for line in browser.said())
    path.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text), encoding="utf-8")
    browser.show(path)
    assert any('"here"' in line for line in browser.said())
    assert any(url.endswith("gone.png") for url in browser.asked())
