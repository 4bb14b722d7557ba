"""The batch runner against the reference: everything that comes out, in every cycle, under stalls and in parts."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import projects
from spikeloom.errors import SpikeloomError, ToolMissing
from spikeloom.export import elaborate, read_manifest
from spikeloom.items import encode_events
from spikeloom.mapping.cost import CostModel
from spikeloom.mapping.cost_models import cost_model
from spikeloom.mapping.image import image_words, stream_words
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import simulate
from spikeloom.project import Project
from spikeloom_sim.batch import BatchResult, CompiledDesign, compile_design

LOADED = {"weights": "loaded", "parameters": "loaded"}
CASES: dict[str, dict] = {
    "shared": {
        "network": {"sizes": (6, 7, 4), "bias": True},
        "reset": "subtract",
        "core": {"lanes": [3, 2], "probe": True},
    },
    "current": {
        "network": {"sizes": (6, 5, 3), "bias": True, "readout": True},
        "core": {"lanes": 2, "readout": "tick", **LOADED},
        "input": {"coding": "current"},
        "data": {"count": 12},
    },
    "kept": {"state": "keep", "core": {"lanes": ["full", 2], "decision": "first"}, "quantise": {"leak": "multiply"}},
}


@dataclass
class Built:
    """A project, its export and the compiled design."""

    project: Project
    folder: Path
    design: CompiledDesign

    def run(self, spikes: np.ndarray, **options) -> BatchResult:
        if self.project.plan.loads:
            options.setdefault("load", image_words(self.project.plan))
        if self.project.plan.streams:
            options.setdefault("stream", stream_words(self.project.plan))
        return self.design.run(spikes, **options)

    @property
    def model(self) -> CostModel:
        config = self.project.config
        direct = config.input.coding == "current"
        return cost_model(self.project.network, config.core, steps=config.input.steps, direct=direct)


@pytest.fixture(scope="session")
def builds(tmp_path_factory, need_tool) -> Callable[[str], Built]:
    """Return a function that gives a compiled case; each is compiled once."""
    for tool in ("verilator", "make", "g++"):
        need_tool(tool)
    made: dict[str, Built] = {}

    def build(case: str) -> Built:
        if case not in made:
            root = tmp_path_factory.mktemp(case)
            project = projects.load(projects.make_project(root, name=case, **CASES[case]))
            manifest = elaborate(project, root / case)
            made[case] = Built(project, root / case, compile_design(root / case, manifest))
        return made[case]

    return build


def maps(kind: str) -> IntegerNetwork:
    """Two convolutions and a dense layer; a convolution that reaches the output a step late; or a recurrent layer of
    synaptic currents with a read-out.
    """
    rng = np.random.Generator(np.random.Philox(key=[5, 0]))

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-3, 5, shape)

    bits = {"weight_bits": 4, "potential_bits": 10}
    if kind == "convolution":
        first = Connection(weights=weights(4, 2, 3, 3), source_shape=(2, 7, 6), padding=(1, 1))
        second = Connection(weights=weights(6, 4, 3, 2), source_shape=(4, 7, 6), stride=(2, 1))
        third = Connection(weights=weights(5, 90), source_shape=(6, 3, 5))
        layers = (
            IntegerLayer(name="conv1", connections=(first,), threshold=9, leak=Leak(kind="shift", shifts=(2,)), **bits),
            IntegerLayer(name="conv2", connections=(second,), threshold=15, reset="subtract", **bits),
            IntegerLayer(name="fc", connections=(third,), threshold=25, **bits),
        )
    elif kind == "lagging":
        first = Connection(weights=weights(2, 1, 3, 3), source_shape=(1, 6, 6), padding=(1, 1))
        now = Connection(weights=weights(3, 36), source="input", source_shape=(1, 6, 6))
        late = Connection(weights=weights(3, 72), source="conv", source_shape=(2, 6, 6), delay=1)
        layers = (
            IntegerLayer(name="conv", connections=(first,), threshold=9, **bits),
            IntegerLayer(name="out", connections=(now, late), threshold=40, **bits),
        )
    else:
        loop = Connection(weights=weights(7, 7), source="hidden", delay=1)
        decay = {"leak": Leak(kind="shift", shifts=(3,)), "current_leak": Leak(kind="shift", shifts=(1,))}
        hidden = (Connection(weights=weights(7, 5)), loop)
        layers = (
            IntegerLayer(name="hidden", connections=hidden, threshold=20, current_bits=8, **decay, **bits),
            IntegerLayer.dense(name="out", weights=weights(3, 7), reset="none", **bits),
        )
    return IntegerNetwork(name=kind, layers=layers)


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "core"),
    [
        ("convolution", {}),
        ("convolution", {"lanes": 2, **LOADED}),
        ("recurrent", {"lanes": 4, "readout": "tick"}),
        ("lagging", {"lanes": 1}),
    ],
    ids=["convolution", "loaded", "recurrent", "lagging"],
)
def test_layers_of_any_kind(kind, core, tmp_path, need_tool):
    """Maps and loops on compiled RTL: all that comes out, and every potential, in a row and alone, with stalls."""
    for tool in ("verilator", "make", "g++"):
        need_tool(tool)
    project = projects.of_network(maps(kind), tmp_path, name=kind, probe=True, **core)
    manifest = elaborate(project, tmp_path / kind)
    built = Built(project, tmp_path / kind, compile_design(tmp_path / kind, manifest))
    spikes = random_spikes(12, 6, project.network.inputs, seed=3)
    trace = simulate(project.network, spikes, potentials=True)
    assert all(layer.any() for layer in trace.spikes[: -1 if trace.readout is not None else None])
    every = {"readout_ticks": project.plan.core.readout == "tick"}
    for options in ({}, {"stall": 30, "seed": 1}, {"isolated": True}):
        check(built, built.run(spikes, **options, **every), trace)


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("buffer", ["auto", 24])
def test_folded(buffer, tmp_path, need_tool):
    """One engine for all layers, weights on chip or streamed in tiles: potentials, cycles, stalls."""
    for tool in ("verilator", "make", "g++"):
        need_tool(tool)
    rng = np.random.Generator(np.random.Philox(key=[6, 0]))
    layers = tuple(
        IntegerLayer.dense(
            name=f"fc{n}", weights=rng.integers(-3, 6, (high, wide)), weight_bits=4, potential_bits=8, threshold=11,
            leak=Leak(kind="shift", shifts=(2,)),
        )
        for n, (wide, high) in enumerate(((6, 9), (9, 11), (11, 3)))
    )  # fmt: skip
    options = {"schedule": "folded", "lanes": 3, "weight_buffer": buffer, "probe": True}
    options |= {"load_bits": 32 if buffer == "auto" else 128, **LOADED}
    project = projects.of_network(IntegerNetwork(name="folded", layers=layers), tmp_path, name="folded", **options)
    manifest = elaborate(project, tmp_path / "folded")
    built = Built(project, tmp_path / "folded", compile_design(tmp_path / "folded", manifest))
    spikes = random_spikes(12, project.config.input.steps, 6, seed=3)
    trace = simulate(project.network, spikes, potentials=True)
    assert all(layer.any() for layer in trace.spikes)
    for given in ({}, {"stall": 30, "seed": 1}, {"isolated": True}):
        result = built.run(spikes, **given)
        check(built, result, trace)
    reports = built.model.cycles(spikes, trace.spikes, gap="isolated")
    assert result.latency.tolist() == [report.latency for report in reports]


def random_spikes(batch: int, steps: int, inputs: int, *, seed: int = 0) -> np.ndarray:
    """Every density: the first input is silent, the second fires everywhere."""
    rng = np.random.default_rng(seed)
    density = np.linspace(0, 1, batch)[:, None, None]
    spikes = (rng.random((batch, steps, inputs)) < density).astype(np.uint8)
    spikes[:2] = [[[0]], [[1]]]
    return spikes


def check(built: Built, result: BatchResult, trace) -> None:
    """Everything but time."""
    plan = built.project.plan
    np.testing.assert_array_equal(result.spikes, trace.spikes[-1])
    assert result.decisions is not None
    np.testing.assert_array_equal(result.decisions[:, 0], trace.decision(plan.decision))
    if plan.decision == "count":
        best = trace.counts[np.arange(len(trace.counts)), result.decisions[:, 0]]
        np.testing.assert_array_equal(result.decisions[:, 1], best)
    if plan.decision == "value":
        assert trace.readout is not None
        assert result.readouts is not None
        np.testing.assert_array_equal(result.readouts, trace.readout)
        np.testing.assert_array_equal(result.decisions[:, 1], trace.readout[:, -1].max(axis=1))
    assert set(result.potentials) == ({layer.name for layer in plan.layers} if plan.core.probe else set())
    for layer, potentials in zip(plan.layers, trace.potentials, strict=True):
        if plan.core.probe:
            np.testing.assert_array_equal(result.potentials[layer.name], potentials)
    assert result.dropped == 0


@pytest.mark.cosim
@pytest.mark.slow
def test_isolated_inputs(builds):
    """Answers and cycles of inputs of every density, each alone."""
    built = builds("shared")
    spikes = random_spikes(40, 6, 6)
    trace = simulate(built.project.network, spikes, potentials=True)
    assert trace.spikes[-1].any()
    result = built.run(spikes, isolated=True)
    check(built, result, trace)
    reports = built.model.cycles(spikes, trace.spikes, gap="isolated")
    assert result.latency.tolist() == [report.latency for report in reports]
    assert np.all(result.first <= result.taken)
    assert np.all(result.taken <= result.last)
    assert np.all(result.last[:-1] < result.first[1:])


@pytest.mark.cosim
@pytest.mark.slow
def test_back_to_back(builds):
    """An input may enter while the one before is still at work, and the distance is what the cost model says."""
    built = builds("shared")
    spikes = random_spikes(40, 6, 6, seed=1)
    trace = simulate(built.project.network, spikes, potentials=True)
    result = built.run(spikes, processes=1)
    check(built, result, trace)
    reports = built.model.cycles(spikes, trace.spikes, gap="back_to_back")
    assert np.diff(result.first).tolist() == [report.interval for report in reports[:-1]]
    assert result.latency.tolist() == [report.latency for report in reports]
    assert np.any(result.first[1:] < result.last[:-1])
    assert result.cycles < built.run(spikes, isolated=True, processes=1).cycles


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize(("stall", "seed"), [(5, 0), (50, 1), (50, 2), (90, 3)])
def test_stalls_change_time_only(stall, seed, isolated, builds):
    built = builds("shared")
    spikes = random_spikes(16, 6, 6, seed=seed)
    trace = simulate(built.project.network, spikes, potentials=True)
    result = built.run(spikes, isolated=isolated, stall=stall, seed=seed, processes=1)
    check(built, result, trace)
    again = built.run(spikes, isolated=isolated, stall=stall, seed=seed, processes=1)
    assert result.last.tolist() == again.last.tolist()  # the seed says when
    other = built.run(spikes, isolated=isolated, stall=stall, seed=seed + 1, processes=1)
    assert result.last.tolist() != other.last.tolist()
    assert result.cycles > built.run(spikes, isolated=isolated, processes=1).cycles


@pytest.mark.cosim
@pytest.mark.slow
def test_several_processes_give_the_same(builds):
    built = builds("shared")
    spikes = random_spikes(11, 6, 6)
    one, three, many = (built.run(spikes, isolated=True, processes=n) for n in (1, 3, 40))
    for name in ("spikes", "decisions", "latency"):
        np.testing.assert_array_equal(getattr(one, name), getattr(three, name))
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    for layer in one.potentials:
        np.testing.assert_array_equal(one.potentials[layer], three.potentials[layer])


@pytest.mark.cosim
@pytest.mark.slow
def test_addresses_that_nobody_listens_to_are_dropped_and_counted(builds):
    built = builds("shared")
    wide = random_spikes(6, 6, 8, seed=4)  # three address bits either way: 6 and 7 are nobody's
    trace = simulate(built.project.network, wide[:, :, :6])
    result = built.run(wide)
    np.testing.assert_array_equal(result.spikes, trace.spikes[-1])
    assert result.dropped == wide[:, :, 6:].sum() > 0


@pytest.mark.cosim
@pytest.mark.slow
def test_direct_current_into_a_loaded_core(builds):
    built = builds("current")
    plan, inputs = built.project.plan, built.project.inputs(12)
    assert inputs.current is not None
    assert len(np.unique(inputs.current)) > 3
    assert not inputs.spikes.any()
    each = [image_words(plan, current=current) for current in inputs.current]
    trace = simulate(built.project.network, inputs.spikes, current=inputs.current)
    for stall in (0, 40):
        result = built.run(inputs.spikes, load_each=each, isolated=True, stall=stall, readout_ticks=True)
        check(built, result, dataclasses.replace(trace, potentials=(None, None)))
        if stall == 0:
            reports = built.model.cycles(inputs.spikes, trace.spikes, gap="isolated")
            assert result.latency.tolist() == [report.latency for report in reports]
    # The image waits for the input before it: what is loaded for one does not reach another.
    check(
        built,
        built.run(inputs.spikes, load_each=each, readout_ticks=True),
        dataclasses.replace(trace, potentials=(None, None)),
    )


@pytest.mark.cosim
@pytest.mark.slow
def test_another_network_in_a_loaded_core(builds):
    """Same hardware, other weights, thresholds of another network: from its image alone."""
    built = builds("current")
    plan = built.project.plan
    layers = tuple(
        dataclasses.replace(layer, connections=(Connection(weights=layer.weights[:, ::-1]),), bias=-layer.bias)
        for layer in plan.network.layers
    )
    other = IntegerNetwork(name="other", layers=layers)
    spikes = random_spikes(8, 6, 6)
    trace = simulate(other, spikes)
    assert np.any(trace.readout != simulate(plan.network, spikes).readout)
    for processes in (1, 3):  # each loads for itself
        load = image_words(plan, other)
        result = built.design.run(spikes, load=load, processes=processes, readout_ticks=True)
        check(built, result, dataclasses.replace(trace, potentials=(None, None)))


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize("stall", [0, 30])
def test_potentials_that_are_kept(stall, builds):
    """With `keep` the inputs follow each other in time: never split over processes, whatever is asked for."""
    built = builds("kept")
    spikes = random_spikes(30, 6, 6, seed=2)
    trace = simulate(built.project.network, spikes)
    alone = simulate(dataclasses.replace(built.project.network, state="clear"), spikes)
    assert np.any(alone.spikes[-1] != trace.spikes[-1])
    result = built.run(spikes, stall=stall, processes=4)
    check(built, result, dataclasses.replace(trace, potentials=(None, None)))
    assert result.decisions is not None
    fired = [np.flatnonzero(sample.any(axis=1)) for sample in trace.spikes[-1]]
    assert result.decisions[:, 1].tolist() == [int(steps[0]) if len(steps) else 15 for steps in fired]
    if not stall:
        reports = built.model.cycles(spikes, trace.spikes, gap="isolated")
        latency = built.run(spikes, isolated=True).latency
        assert latency.tolist() == [report.latency for report in reports]


# ---------------------------------------------------------------------------------------------------------------------
# Compiling, and designs that do not do what they should


@pytest.mark.cosim
@pytest.mark.slow
def test_compiled_once(builds, monkeypatch):
    """The cache is keyed by what goes in: the same export needs no compiler again."""
    built = builds("kept")
    monkeypatch.setattr("spikeloom_sim.batch._compile", lambda *_: pytest.fail("compiled again"))
    again = compile_design(built.folder, read_manifest(built.folder))
    assert again.program == built.design.program


@pytest.mark.cosim
def test_verilog_that_does_not_compile(tmp_path, need_tool, monkeypatch):
    need_tool("verilator"), need_tool("make"), need_tool("g++")
    folder = tmp_path / "tiny"
    manifest = elaborate(projects.load(projects.make_project(tmp_path, name="tiny")), folder)
    source = folder / "rtl" / "tiny.v"
    source.write_text(source.read_text().replace("endmodule", "endmodul", 1))
    cache = tmp_path / "cache"
    monkeypatch.setattr("spikeloom_sim.batch.cache_folder", lambda: cache)
    with pytest.raises(
        SpikeloomError, match=r"^tiny: the Verilog could not be compiled \(exit \d+\):\n(.|\n)*%Error"
    ) as caught:
        compile_design(folder, manifest)
    assert caught.value.exit_code == 1
    assert not [path for path in (cache / "verilated").iterdir() if path.suffix != ".lock"]


def test_without_a_compiler(tmp_path, monkeypatch):
    def missing(name):
        raise ToolMissing(f"{name} is missing")

    monkeypatch.setattr("spikeloom_sim.batch.require_tool", missing)
    with pytest.raises(ToolMissing, match="verilator is missing"):
        compile_design(tmp_path, {})
    assert not list(tmp_path.iterdir())


MANIFEST = {
    "name": "fake",
    "outputs": 3,
    "input_shape": [4],
    "output_shape": [3],
    "decision": "count",
    "stateful": False,
    "layers": [{"name": "fc1", "potential_bits": 6}],
    "ports": [
        {"name": "decision__payload", "direction": "output", "bits": 5},
        {"name": "events_out__payload", "direction": "output", "bits": 4},
    ],
}
TICK, LAST = 0b0100, 0b1100


def fake(folder: Path, body: str) -> CompiledDesign:
    """A design whose program is a script; `sys.argv[2]` is the file to write."""
    program = folder / "design"
    program.write_text(f"#!{sys.executable}\nimport array, sys, time\n{body}\n")
    program.chmod(0o755)
    return CompiledDesign(program=program, folder=folder, manifest=MANIFEST)


def writes(decisions: list[int], events: list[int], inputs: int = 1) -> str:
    words = [9, 0, *[1, 0, 8, 0, 5, 0] * inputs, len(decisions), 0, 0, *decisions, len(events), 0, 0, *events, 0]
    return f"array.array('I', {words}).tofile(open(sys.argv[2], 'wb'))"


def test_output_file_by_hand(tmp_path):
    result = fake(tmp_path, writes([2 | 3 << 2], [1, 1, TICK, 2, LAST])).run(np.zeros((1, 2, 4), np.uint8))
    assert result.spikes.tolist() == [[[0, 2, 0], [0, 0, 1]]]
    assert result.decisions is not None
    assert result.decisions.tolist() == [[2, 3]]
    assert (result.first.tolist(), result.last.tolist(), result.taken.tolist()) == ([1], [8], [5])
    assert (result.latency.tolist(), result.cycles, result.dropped) == ([8], 9, 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "print('nothing moved for 1000000 cycles'); sys.exit(1)",
            "the simulation failed: nothing moved for 1000000 cycles",
        ),
        ("sys.exit(3)", "the simulation failed: exit 3"),
        (writes([0], [TICK, TICK, LAST]), "events_out: 3 ticks, 1 of them last; accepted are 1 inputs of 2 steps"),
        (writes([0], [3, TICK, LAST]), "events_out: address 3: accepted are those of [3] neurons"),
        (writes([], [TICK, LAST]), "0 decisions for 1 inputs"),
        (writes([0, 0], [TICK, LAST]), "2 decisions for 1 inputs"),
    ],
)
def test_a_design_that_goes_wrong_is_no_bad_input(body, message, tmp_path):
    """Exit code 1: the answer is wrong, not what the user gave."""
    with pytest.raises(SpikeloomError) as caught:
        fake(tmp_path, body).run(np.zeros((1, 2, 4), np.uint8))
    assert str(caught.value) == f"fake: {message}"
    assert caught.value.exit_code == 1


def test_what_a_design_is_given(tmp_path):
    """Inputs, what is streamed, then for each input its load words and its events."""
    body = "open('given', 'wb').write(open(sys.argv[1], 'rb').read())\nopen('how', 'w').write(' '.join(sys.argv[3:]))\n"
    spikes = np.zeros((2, 2, 4), np.uint8)
    spikes[0, 0, 3] = 1
    design = fake(tmp_path, body + writes([0, 0], [TICK, LAST, TICK, LAST], 2))
    design.run(spikes, load=[7, 8], load_each=[[9], [10]], isolated=True, stall=30, seed=5)
    events = [encode_events(spikes[b : b + 1])[0].tolist() for b in range(2)]
    expected = [2, 0, 0, 3, 7, 8, 9, len(events[0]), *events[0], 1, 10, len(events[1]), *events[1]]
    assert np.fromfile(tmp_path / "given", np.uint32).tolist() == expected
    assert (tmp_path / "how").read_text() == "1 30 5"
    design.run(spikes, load=[7, 8], stream=[9])
    expected = [2, 2, 1, 7, 8, 9, 0, len(events[0]), *events[0], 0, len(events[1]), *events[1]]
    assert np.fromfile(tmp_path / "given", np.uint32).tolist() == expected


def test_a_signal_ends_every_process(tmp_path):
    """Ctrl-C reaches the main thread only, while threads wait for the processes."""
    fake(tmp_path, "open(f'started{time.time_ns()}', 'w').close()\ntime.sleep(300)")
    script = (
        "import sys, numpy as np; from pathlib import Path; sys.path[:0] = sys.argv[2].split(':')\n"
        "from spikeloom_sim.batch import CompiledDesign\nfrom test_batch import MANIFEST\n"
        "here = Path(sys.argv[1])\n"
        "CompiledDesign(program=here / 'design', folder=here, manifest=MANIFEST)"
        ".run(np.zeros((4, 2, 4), np.uint8), processes=2)"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-c", script, str(tmp_path), ":".join(path for path in sys.path if path)]
    environment = os.environ | {"TMPDIR": str(scratch)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while len(list(tmp_path.glob("started*"))) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)  # the processes would sleep longer
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert not list(scratch.iterdir())
