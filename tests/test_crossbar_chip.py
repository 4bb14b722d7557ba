"""A crossbar core as users get it: refused inputs, the export, and three things behind its analog ports that agree."""

import dataclasses
import itertools
import json

import nir
import numpy as np
import pytest
from typer.testing import CliRunner

from projects import write_config
from spikeloom.cli import app
from spikeloom.cores.crossbar.programmer import CommandKind
from spikeloom.errors import InputError, SpikeloomError
from spikeloom.export import check_fresh, elaborate
from spikeloom.items import address_bits
from spikeloom.mapping.crossbar_cost import CrossbarCost
from spikeloom.project import Inputs, Project
from spikeloom.vectors import expected_streams, load_flag, stimulus_words
from spikeloom_analog.cells import CellArray, calibrated, levels_of, write_verify
from spikeloom_analog.verilog import Recording, replay_files
from spikeloom_sim.batch import simulated
from spikeloom_sim.flow import SimulationOptions, run_bench, simulate_build
from spikeloom_synth.flow import SynthOptions, synthesise

SIZES = (4, 6, 3)
STEPS = 5
CORE = {
    "kind": "crossbar", "step_ns": 80.0, "pulse_ns": 25.0, "reset_ns": 25.0, "unit_kohm": 81.0, "offset_mv": 3.0,
    "chip": 5, "most_pulses": 12,
}  # fmt: skip
"""A pulse of 5 cycles moves a membrane as far as one of 11 does at 178.2 kOhm."""


def project(folder, *, sizes=SIZES, matrices=None, **core) -> Project:
    """A chain of IF layers with weights of 0 and 0.03 to 0.4 on a crossbar."""
    rng = np.random.default_rng(3)
    nodes: dict = {"input": nir.Input(np.array([sizes[0]]))}
    for n, (wide, high) in enumerate(itertools.pairwise(sizes)):
        w = rng.uniform(0.15, 0.4, (high, wide)) * (rng.random((high, wide)) < 0.9)
        nodes[f"fc{n}"] = nir.Linear(w if matrices is None else matrices[n])
        nodes[f"if{n}"] = nir.IF(r=np.ones(high), v_threshold=np.ones(high), v_reset=np.zeros(high))
    nodes["output"] = nir.Output(np.array([sizes[-1]]))
    names = list(nodes)
    nir.write(folder / "net.nir", nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(names))))
    sections = {
        "name": "tiny", "network": {"file": "net.nir", "dt": 1.0, "reset": "zero"}, "quantise": {"weight_bits": 14},
        "input": {"steps": STEPS}, "core": CORE | core,
    }  # fmt: skip
    return Project.load(write_config(folder / "tiny.toml", sections))


def unseen(batch=4, seed=9):
    """Inputs that no export has seen."""
    return (np.random.default_rng(seed).random((batch, STEPS, SIZES[0])) < 0.7).astype(np.uint8)


@pytest.mark.parametrize(
    ("core", "message"),
    [
        ({"pulse_ns": 81.0}, "core.pulse_ns: 81 was given; accepted: at most step_ns, 80"),
        ({"reset_ns": 90.0}, "core.reset_ns: 90 was given; accepted: at most step_ns, 80"),
        ({"reset_ns": 10.0}, "accepted: together at least 4"),
        ({"pulse_ns": 1.0}, "at 200 MHz, pulse: 0 clock cycles were given; accepted: at least 1"),
        ({"tile_rows": 3}, "layer 'fc0': 4 rows and 6 columns; accepted on a crossbar: up to tile_rows = 3"),
        ({"tile_columns": 5}, "4 rows and 6 columns; .* tile_columns = 5"),
        ({"unit_kohm": 40.0}, "unit_kohm: 40 was given: the largest weight .* accepted with 2 cells .*: 77.89 to 2337"),
        ({"device": "milo2021", "cells": 1, "unit_kohm": 81.0}, "4.856e-06 S; accepted with 1 cells of rram_milo2021"),
        ({"device": "milo2021", "unit_kohm": 2.5}, "cells: 2 was given; accepted with rram_milo2021, .* I-V curve: 1"),
        ({"device": "flash"}, "core.device: 'flash' was given; accepted: cell: sky130"),
        ({"device": "none.toml"}, "none.toml: No such file or directory; accepted: a device file in TOML"),
        ({"cells": 0}, "core.cells: 0 was given; accepted"),
        ({"weights": "loaded"}, "core.weights: 'loaded' was given; accepted on a crossbar is 'fixed'"),
        ({"probe": True}, "core.probe: true was given"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(tmp_path, core, message):
    with pytest.raises(InputError, match=message):
        elaborate(project(tmp_path, **core), tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_networks_that_are_no_array_are_refused(tmp_path):
    weights = [np.full((2, 2), -0.1), np.full((1, 2), 0.2)]
    with pytest.raises(InputError, match=r"layer 'fc0': a weight of -.*accepted on a crossbar: weights of at least 0"):
        _ = project(tmp_path, sizes=(2, 2, 1), matrices=weights).plan


def test_export_stands_alone(tmp_path):
    """Three folders of arrays with the same ports; the manifest says what the chip is; the same bytes again."""
    made = project(tmp_path)
    manifest = elaborate(made, tmp_path / "build")
    names = {"spikeloom_array_model.v", "tiny_fc0_array.v", "tiny_fc1_array.v", "tiny_chip.v"}
    assert names <= {path.name for path in (tmp_path / "build/chip").iterdir()}
    heads = set()
    for folder in ("chip", "chip/replay", "chip/black_box"):
        text = (tmp_path / "build" / folder / "tiny_fc0_array.v").read_text()
        heads.add(text[text.index("module tiny_fc0_array") : text.index(");")])
    assert len(heads) == 1
    first = manifest["chip"]["layers"][0]
    assert (first["step_cycles"], first["pulse_cycles"], first["reset_cycles"]) == (16, 5, 5)
    assert first["window_cycles"] == 80
    assert not any(port["name"].startswith("analog_") for port in manifest["chip"]["ports"])
    again = elaborate(project(tmp_path), tmp_path / "again")
    assert again["content"] == manifest["content"]
    for name, content in manifest["content"].items():
        assert (tmp_path / "build" / name).exists(), content


DEVICE = """schema = 1
name = "mine"
g_min = 1e-7
g_max = 4e-6
levels = 41
spacing = "log"
programming = 2e-9
read = 5e-8
potentiation = "up.csv"
depression = "down.csv"
cycle_to_cycle = 0.2
"""


def measured_device(folder) -> str:
    """A device file with measured curves: 60 pulses that rise ever less, 50 that fall."""
    up = 1e-7 + 3.9e-6 * (1 - np.exp(-np.arange(61) / 20)) / (1 - np.exp(-60 / 20))
    down = 4e-6 * 40 ** (-np.arange(51) / 50)
    for name, curve in (("up", up), ("down", down)):
        lines = [f"{n},{g:.9e}" for n, g in enumerate(curve)]
        (folder / f"{name}.csv").write_text("pulse,conductance_S\n" + "\n".join(lines) + "\n")
    (folder / "mine.toml").write_text(DEVICE)
    return "mine.toml"


@pytest.mark.parametrize(
    ("device", "changes"),
    [
        ("wan2022", {"unit_kohm": 10.0}),
        ("joshi2020", {"unit_kohm": 20.0}),
        ("milo2021", {"unit_kohm": 2.0, "cells": 1}),
        ("mine", {"unit_kohm": 60.0}),
    ],
)
def test_a_pulse_moves_a_membrane_by_what_the_device_conducts(tmp_path, device, changes):
    """Charges of a quiet chip are those of the float model's cells; noise, drift and seeds make other chips."""
    if device == "mine":
        device = measured_device(tmp_path)
    made = project(tmp_path, device=device, **changes, offset_mv=0.0, wire_ohm=0.0)
    array, cells = made.chip.arrays[0], made.chip.cells[0]
    layer = made.chip.network.layers[0].crossbar
    per_cycle = 1 / (73.5e-15 * 200e6 * array.quantum)
    iv = layer.device.iv
    g = layer.chips.cell_conductance[0]
    amps = (0.05 * g if iv is None else iv.current(g, np.array(0.05))).sum(axis=0)
    np.testing.assert_allclose(array.charge[0], per_cycle * amps, atol=2)
    # A cell that is written, here by a pulse that moves it by almost nothing, has the charge of its conductance.
    port = made.chip.ports()[0]
    row, column = np.unravel_index(np.argmax(array.charge[0]), array.charge[0].shape)
    port.access(kind=0, row=int(row), column=int(column), cell=0, amount=0)
    written = port.array.charge[0, row, column] / array.charge[0, row, column]
    assert abs(written - 1) < 0.04, "a state is 0.1 %, the weakest pulse at most about 2 %"
    assert cells.lowest > 0
    hashes = {made.chip.content_hash()}
    if device == "joshi2020":
        aged = project(tmp_path, device=device, **changes, offset_mv=0.0, age_s=1e6).chip
        assert aged.arrays[0].charge.sum() < 0.8 * array.charge.sum()
        hashes.add(aged.content_hash())
    if layer.device.programming or layer.device.read:
        hashes.add(project(tmp_path, device=device, **changes, offset_mv=0.0, chip=6).chip.content_hash())
    assert len(hashes) == 1 + (device == "joshi2020") + 1


def test_inspect_says_what_levels_make_of_weights(tmp_path):
    """By hand: weights of 0.3 (between levels), 0.01 (to 0) and 0.02 (to the lowest level, 0.03) at 178.2 kOhm."""
    project(tmp_path, sizes=(1, 4), matrices=[np.array([[0.3], [0.01], [0.02], [0.0]])], unit_kohm=178.2)
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "tiny.toml"), "--json"])
    (array,) = json.loads(result.output.splitlines()[-1])["arrays"]
    levels = 0.03 * 30 ** (np.arange(41) / 40)
    errors = [np.abs(levels - 0.3).min() / 0.3, 1.0, 0.5]
    assert array["level_error_mean"] == pytest.approx(np.mean(errors), rel=1e-2)
    assert array["level_error_max"] == pytest.approx(1.0)
    assert (array["to_zero"], array["raised"], array["rows"], array["columns"]) == (1, 1, 1, 4)
    assert 0 < array["ir_loss"] < 1e-4


def test_new_writes_a_project_with_a_crossbar(tmp_path):
    target = tmp_path / "mine.toml"
    words = ["new", "zoo:interception", "--core", "crossbar", "--output", str(target)]
    assert CliRunner().invoke(app, words).exit_code == 0
    made = Project.load(target)
    assert made.is_analog
    assert [a["rows"] for a in made.chip.placement()] == [4, 30]
    words[3] = "analog"
    refused = CliRunner().invoke(app, [*words, "--force"])
    assert "--core: 'analog' was given; accepted: digital, cim, crossbar" in str(refused.exception)


def test_another_device_file_wants_another_export(tmp_path):
    made = project(tmp_path, device=measured_device(tmp_path), unit_kohm=100.0)
    elaborate(made, tmp_path / "build")
    check_fresh(made, tmp_path / "build")
    (tmp_path / "mine.toml").write_text(DEVICE.replace("levels = 41", "levels = 21"))
    with pytest.raises(InputError, match="elaborated for another chip or device file; run `spikeloom elaborate` again"):
        check_fresh(Project.load(tmp_path / "tiny.toml"), tmp_path / "build")


def _programming(made: Project, layer: int):
    """Commands that calibrate and program a layer, what must come of them, and the array afterwards."""
    chip = made.chip
    plan, tables = chip.plans[layer], chip.cells[layer]
    levels = np.random.default_rng(2).integers(20, 41, tables.shape)
    targets = levels_of(chip.network.layers[layer].crossbar.device)[levels]
    cells = CellArray(tables)
    written = write_verify(cells, targets, plan.write_verify)
    row_bits, column_bits, cell_bits = (address_bits(n) for n in tables.shape)

    def word(kind, row=0, column=0, cell=0, target=0):
        value, position = kind, 2
        for part, bits in ((row, row_bits), (column, column_bits), (cell, cell_bits), (target, 12)):
            value |= part << position
            position += bits
        return value

    commands, outcomes = [], []
    for column, (offset, _, fault) in enumerate(calibrated(tables, plan.write_verify).tolist()):
        commands.append(word(CommandKind.CALIBRATE.value, column=column))
        outcomes.append(offset | fault << 18)
    for at in np.ndindex(*tables.shape):
        commands.append(word(CommandKind.PROGRAM.value, *at, int(targets[at])))
        outcomes.append(int(written.code[at]) | int(written.pulses[at]) << 12 | int(written.fault[at]) << 18)
    array = chip.arrays[layer]
    charge, variance = array.charge.copy(), array.variance.copy()
    for row, column in np.ndindex(*tables.shape[:2]):
        charge[0, row, column], variance[0, row, column] = cells.charge(row, column)
    assert (charge != array.charge).any()
    return commands, outcomes, dataclasses.replace(array, charge=charge, variance=variance)


@pytest.mark.cosim
@pytest.mark.slow
@pytest.mark.parametrize(("engine", "device"), [("icarus", "sky130"), ("verilator", "sky130"), ("verilator", "mine")])
def test_python_systemverilog_and_replay_give_the_same_integers(tmp_path, engine, device):
    """Noise on, unseen inputs, cells programmed before them, three stall patterns: every word as the model has it."""
    changes = {} if device == "sky130" else {"device": measured_device(tmp_path)}
    made = project(tmp_path, stuck=0.1, **changes)
    build = tmp_path / "build"
    manifest = elaborate(made, build)
    commands, outcomes, array = _programming(made, 1)
    inputs = unseen()
    chip = dataclasses.replace(made.chip, arrays=(made.chip.arrays[0], array))
    trace = chip.trace(inputs)
    before = made.chip.trace(inputs)
    assert 0 < trace.spikes[-1].sum() < trace.spikes[-1].size
    assert any((a != b).any() for a, b in zip(trace.spikes, before.spikes, strict=True)), "programming changed nothing"
    plan, plays = made.plan, []
    for n, stall in enumerate((0, 30, 75)):
        vectors = {
            "load_flag": load_flag(plan.input_slots.bits), "stimulus": stimulus_words(plan, inputs), "stream": ([], []),
            "streams": expected_streams(plan, trace), "probes": ["outcome_fc0", "outcome_fc1"],
            "idle": [f"command_fc{k}__{part}" for k in range(2) for part in ("valid", "payload")],
            "commands": {"fc1": commands}, "outcomes": {"fc1": outcomes}, "stall": stall, "seed": n,
            "settle": plan.settle + 64, "report": str(tmp_path / f"report{n}.json"),
        }  # fmt: skip
        (tmp_path / f"vectors{n}.json").write_text(json.dumps(vectors))
        plays.append(
            {
                "SPIKELOOM_VECTORS": str(tmp_path / f"vectors{n}.json"),
                "SPIKELOOM_PROJECT": str(tmp_path / "tiny.toml"),
                "SPIKELOOM_RECORDING": str(tmp_path / f"recording{n}.json"),
            }
        )

    def run(kind: str, module: str, sources, top: str, data, ports):
        work = tmp_path / kind
        work.mkdir()
        for n in range(3):
            (tmp_path / f"report{n}.json").unlink(missing_ok=True)
        log = run_bench(
            sources=sources, top=top, module=module, engine=engine, work=work, data=data, waves=False, plays=plays,
            ports=ports,
        )  # fmt: skip
        assert all((tmp_path / f"report{n}.json").exists() for n in range(3)), f"{kind}:\n{log[-3000:]}"

    # (a) Python behind the ports; it also writes down what it was asked.
    rtl = sorted((build / "rtl").glob("*.v"))
    names = [port["name"] for port in manifest["ports"]]
    run("python", "spikeloom_sim.crossbar_bench", rtl, "tiny", build / "rtl", names)
    recordings = [json.loads((tmp_path / f"recording{n}.json").read_text()) for n in range(3)]
    assert recordings[0] == recordings[1] == recordings[2]  # requests, too, do not depend on stalls
    # (b) the exported model.
    view, sources, data = simulated(build, manifest)
    names = [port["name"] for port in view["ports"]]
    run("model", "spikeloom_sim.digital_bench", sources, "tiny_chip", data, names)
    # (c) the recording.
    place = tmp_path / "recorded"
    place.mkdir()
    for entry in made.chip.plans:
        found = recordings[0][entry.name]
        recording = Recording(**{key: [tuple(item) for item in items] for key, items in found.items()})
        for name, text in replay_files("tiny", entry, recording).items():
            (place / name).write_text(text)
    (place / "tiny_chip.v").write_bytes((build / "chip/tiny_chip.v").read_bytes())
    run("replay", "spikeloom_sim.digital_bench", [*rtl, *sorted(place.glob("*.v"))], "tiny_chip", place, names)


@pytest.mark.cosim
@pytest.mark.parametrize(
    "changes", [{}, {"device": "wan2022", "unit_kohm": 20.0, "cells": 1}], ids=["sky130", "wan2022"]
)
def test_simulate_command_agrees_and_its_bench_passes(tmp_path, changes):
    """The batch runner on more inputs than the export has noise for: spikes, decisions and the cycles of the model."""
    made = project(tmp_path, **changes)
    elaborate(made, tmp_path / "build")
    result = simulate_build(made, tmp_path / "build", SimulationOptions(inputs=40))
    assert result["mismatches"] == {"spikes": 0, "decisions": 0, "readouts": None, "potentials": None, "cycles": 0}
    assert result["inputs"] == 40
    with pytest.raises(InputError, match="potentials: accepted on a core whose neurons are digital"):
        simulate_build(made, tmp_path / "build", SimulationOptions(potentials=True))


def test_cost_of_windows(tmp_path):
    """An input takes a window a layer, whatever it holds; memories are those of the design."""
    made = project(tmp_path)
    cost = CrossbarCost(made.network, made.config.core, steps=STEPS)  # type: ignore[arg-type]
    silent = np.zeros((1, STEPS, 4), np.uint8)
    (report,) = cost.cycles(silent, [np.zeros((1, STEPS, n), np.uint8) for n in SIZES[1:]])
    window = STEPS * 16
    assert report.latency >= 2 * window
    assert report.latency <= 2 * (window + 5 + 16)
    assert cost.interval == window + 11
    with pytest.raises(InputError, match="accepted on a crossbar is isolated"):
        cost.cycles(silent, [np.zeros((1, STEPS, n), np.uint8) for n in SIZES[1:]], gap="back_to_back")


@pytest.mark.synth
def test_digital_side_is_synthesised_and_plays_with_the_recording(tmp_path):
    """Area, memories and power of the module without its arrays; the netlist gives the words of the bench."""
    spikes = unseen(3)
    inputs = Inputs(spikes=spikes, current=None, labels=None, values=None, shape=(SIZES[0],))
    elaborate(project(tmp_path), tmp_path / "build", inputs=inputs)
    result = synthesise(tmp_path / "build", SynthOptions(fpga=()), skip_missing=True)
    assert result["area"]["cells"] > 100
    names = {memory["instance"].split(".")[-1] for memory in result["memories"]["instances"]}
    assert {"spikes", "faults", "columns"} <= names
    words = (tmp_path / "build/bench/expected_events_out.mem").read_text().split()
    broken = tmp_path / "build/chip/replay/tiny_fc1_clocks.mem"
    lines = broken.read_text().splitlines()
    assert len(words) > 3 * STEPS  # some are spikes
    broken.write_text("".join(f"{int(line, 16) & ~7:x}\n" for line in lines))  # nobody ever spikes
    with pytest.raises(SpikeloomError, match="events_out differs"):
        synthesise(tmp_path / "build", SynthOptions(fpga=()), skip_missing=True)
