"""`spikeloom task interception`: figures of a controller, the core in the loop, what is written and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import interception_oracle as oracle
from spikeloom.cli import app
from spikeloom.errors import InputError, SpikeloomError
from spikeloom.network.interception import (
    IntegerController,
    ReferenceController,
    Weights,
    draw_prey,
    encode,
    load_weights,
    own_weights,
    pure_pursuit,
    pursue,
    spike_counts,
    steer,
)
from spikeloom.project import Project
from spikeloom_sim.batch import CompiledDesign
from spikeloom_sim.commands import register
from spikeloom_sim.tasks.interception import (
    ALL_EFFECTS,
    LADDER,
    AnalogController,
    CrossbarController,
    DigitalController,
    Effects,
    TaskOptions,
    climb,
    compare,
    compare_chips,
    crossbar_config,
    run_task,
    task_project,
)
from spikeloom_sim.tasks.interception import core as interception_core
from spikeloom_sim.tasks.interception.measure import describe_inputs


def command(*words):
    if not any(group.name == "task" for group in app.registered_groups):
        register(app)
    return CliRunner().invoke(app, ["task", "interception", *map(str, words)])


def test_figures_by_hand():
    found = compare(np.array([10, 12, 15, 9]), np.array([10, 13, 13, 9]))
    assert found.mse == pytest.approx((1 + 4) / 4 / 625)
    assert (found.count_error_mean, found.count_error_max, found.count_bias, found.equal) == (0.75, 2, 0.25, 0.5)
    assert found.correlation == pytest.approx(np.corrcoef([10, 12, 15, 9], [10, 13, 13, 9])[0, 1])
    assert compare(np.array([1, 1]), np.array([1, 2])).correlation is None
    described = describe_inputs(np.tile([[0.0], [0.5], [1.0]], (1, 4)))
    assert described["theta2"] == {"mean": 0.5, "std": 0.4082, "quartile1": 0.25, "median": 0.5, "quartile3": 0.75}


def test_figures_of_chips_by_hand():
    reference = np.array([10, 13, 13, 9])
    chips = np.array([[10, 12, 15, 9], [10, 13, 13, 9], [11, 14, 14, 10]])
    found = compare_chips(chips, reference)
    assert found["mse_median"] == pytest.approx(1 / 625)
    assert found["mse_p95"] == pytest.approx((1 + 0.9 * 0.25) / 625)
    assert found["correlation_median"] == pytest.approx(1)
    assert (found["chips"], found["count_error_max"]) == (3, 2)
    assert found["count_bias"] == pytest.approx((0.25 + 0 + 1) / 3)
    assert compare_chips(np.ones((2, 4), int), reference)["correlation_p5"] is None


def slow_circuit(weights, values, *, spread):
    """Output spikes of one observation on the ideal circuit, by time steps of 1 ns, from the circuit's equation.

    dV/dt = sum 0.05 V / (R C) with R = 178.2 kOhm / w and C = 73.5 fF, threshold 0.21 V, pulses and resets of 55 ns.
    """
    dt, window, pulse, slope = 1e-9, 24e-6, 55e-9, 0.05 / (178.2e3 * 73.5e-15)
    if spread:
        counts = [int(n) for n in spike_counts(values[None])[0]]
        starts = [[(k + 1) * (window - pulse) / (n + 1) for k in range(n)] for n in counts]
    else:
        starts = [[step * window / 50 for step in oracle.spike_steps(x)] for x in values]
    ticks = int(window / dt)
    driven = np.zeros((ticks, 4), bool)
    for i, times in enumerate(starts):
        for start in times:
            driven[int(np.ceil(start / dt)) : int(np.ceil((start + pulse) / dt)), i] = True
    v, rest, fires_until = np.zeros(30), np.zeros(30), np.zeros(30)
    u, output_rest, count = 0.0, 0.0, 0
    for tick in range(ticks):
        now = tick * dt
        v = np.where(now >= rest, v + slope * dt * (weights.hidden @ driven[tick]), 0.0)
        fired = v >= 0.21
        v[fired] = 0.0
        rest[fired] = fires_until[fired] = now + pulse
        if now >= output_rest:
            u += slope * dt * float(weights.output @ (now < fires_until))
            if u >= 0.21:
                u, output_rest, count = 0.0, now + pulse, count + 1
    return count


@pytest.mark.parametrize("spread", [False, True])
def test_analog_models_follow_the_equation_of_the_circuit(spread):
    rng = np.random.default_rng(5)
    weights = Weights(rng.uniform(0.03, 0.9, (30, 4)), rng.uniform(0.03, 0.3, 30))
    values = rng.uniform(0.1, 0.8, (3, 4))
    found = AnalogController(weights, Effects(spread=spread)).counts(values, np.arange(3))
    wanted = [slow_circuit(weights, row, spread=spread) for row in values]
    assert np.abs(found - wanted).sum() <= 1  # a near-tie may fall either way on the grid
    assert min(wanted) >= 5


def test_analog_models_do_not_depend_on_the_batch():
    values, keys = np.random.default_rng(1).random((12, 4)), np.arange(12) * 7 + 1
    chip = AnalogController(own_weights(), chips=3)
    together = chip.counts(values, keys)
    order = np.array([5, 2, 9])
    assert (chip.counts(values[order], keys[order]) == together[order]).all()
    chips = AnalogController(own_weights(), chips=[8, 3])
    assert (chips.chip_counts(values, keys)[1] == together).all()
    assert (chips.chip_counts(values, keys)[0] != together).any()
    assert chip.counts(values[:0], keys[:0]).shape == (0,)


def test_analog_models_show_the_spikes_that_they_count():
    values, keys = np.random.default_rng(2).random((5, 4)), np.arange(5)
    chip = AnalogController(own_weights())
    for trains, count, given in zip(
        chip.trains(values, keys), chip.counts(values, keys), spike_counts(values), strict=True
    ):
        assert len(trains) == 35
        assert [len(train) for train in trains[:4]] == given.tolist()
        assert len(trains[-1]) == count
        assert max(train.max(initial=0) for train in trains) < 50


def test_ladder_adds_one_effect_after_the_other():
    names = list(LADDER)
    assert len(names) == 7
    changed = [
        {field.name for field in dataclasses.fields(Effects) if getattr(a, field.name) != getattr(b, field.name)}
        for a, b in zip(LADDER.values(), list(LADDER.values())[1:], strict=False)
    ]
    assert changed == [{"spread"}, {"levels"}, {"dead_time"}, {"offset"}, {"read_noise"}, {"spread"}]
    assert LADDER["+ read noise"] == ALL_EFFECTS
    with pytest.raises(InputError, match="read noise without levels"):
        Effects(read_noise=True)


def test_ladder_of_the_published_weights(data_folder):
    """What the issue of the ladder is: where each effect leads to, on the inputs of the closed loop."""
    weights = load_weights("published")
    loop = pursue(draw_prey(0, range(60)), steer(ReferenceController(weights)))  # 200: bench/interception.py
    steps = climb(weights, loop.recorded(), loop.recorded_keys(), chips=2)
    assert list(steps) == list(LADDER)
    assert [row["chips"] for row in steps.values()] == [1, 1, 1, 1, 2, 2, 2]
    assert steps["spikes on step boundaries"]["mse_median"] <= 5e-4
    assert steps["+ read noise"]["mse_median"] <= 0.01
    assert steps["spread over the window"]["mse_median"] > steps["spikes on step boundaries"]["mse_median"]


def test_project_is_what_the_zoo_has(tmp_path):
    project = task_project(own_weights(), tmp_path)
    zoo = Project.load(_written(tmp_path))
    assert project.network.content_hash() == zoo.network.content_hash()
    assert project.plan.hash == zoo.plan.hash
    assert project.plan.decision == "count"


def _written(folder):
    from spikeloom.config import render_config
    from spikeloom.project import propose

    path = folder / "zoo.toml"
    path.write_text(render_config(propose("zoo:interception")))
    return path


def test_float_and_analog_need_no_tool(tmp_path):
    options = TaskOptions(controller="analog", trajectories=12, seed=7, chips=1)
    result = run_task(options, tmp_path / "interception")
    assert list(result["controllers"]) == ["float", "analog"]
    assert list(result["controllers"]["analog"]["ladder"]) == list(LADDER)
    assert result["controllers"]["analog"]["open_loop"]["mse"] == pytest.approx(
        result["controllers"]["analog"]["ladder"]["+ read noise"]["mse_median"]
    )
    prey = draw_prey(7, range(12))
    reference = pursue(prey, steer(ReferenceController(own_weights())))
    assert result["controllers"]["float"]["closed_loop"]["mean_steps"] == reference.mean_steps
    assert result["pure_pursuit"]["mean_steps"] == pursue(prey, pure_pursuit).mean_steps
    assert result["observations"] == len(reference.recorded())
    task = tmp_path / "interception" / "task"
    assert json.loads((task / "result.json").read_text()) == result
    with np.load(task / "pursuits.npz") as arrays:
        assert (arrays["float_captured"] == reference.captured).all()
    with Image.open(task / "pursuit.gif") as movie:
        assert movie.n_frames >= reference.captured.max() + 1  # the longest pursuit of the reference is shown
    # a second run takes the place of the first, also where the build of a core is missing
    run_task(TaskOptions(controller="float", trajectories=2, animate=False), tmp_path / "interception")
    assert not (task / "pursuit.gif").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--controller", "spice"], "controller 'spice': accepted are float, digital, crossbar, analog, all"),
        (["--trajectories", "0"], "0 trajectories: accepted is 1 to 100000"),
        (["--chips", "0"], "0 chips: accepted is 1 to 10000"),
        (["--seed", "-1"], "seed -1: accepted is 0 to"),
        (["--weights", "mine"], "weights 'mine': accepted are own, published, or a folder"),
    ],
)
def test_bad_input_leaves_nothing(tmp_path, words, message):
    result = command(*words, "--out", tmp_path / "build")
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert not (tmp_path / "build").exists()


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "interception").mkdir()
    (tmp_path / "interception" / "thesis.txt").write_text("mine")
    result = command("--controller", "float", "--trajectories", 2, "--out", tmp_path)
    assert isinstance(result.exception, InputError)
    assert "was not made by Spikeloom" in str(result.exception)
    assert [path.name for path in (tmp_path / "interception").iterdir()] == ["thesis.txt"]


@pytest.fixture(scope="module")
def core(tmp_path_factory, need_tool):
    need_tool("verilator")
    place = tmp_path_factory.mktemp("core")
    return DigitalController.build(task_project(own_weights(), place / "network"), place / "build")


@pytest.mark.cosim
def test_core_in_the_loop_equals_the_integer_reference(core):
    core = DigitalController(core.project, core.design)
    prey = draw_prey(11, range(24))
    on_rtl, wanted = pursue(prey, steer(core)), pursue(prey, steer(IntegerController(own_weights())))
    assert (on_rtl.predator == wanted.predator).all()
    assert (on_rtl.captured == wanted.captured).all()
    assert core.inferences == on_rtl.asked.sum()
    assert (core.wrong_counts, core.wrong_spikes) == (0, 0)
    assert 50 < core.cycles / core.inferences < 1800


@pytest.mark.cosim
def test_a_core_that_answers_wrong_is_found(core, tmp_path, monkeypatch):
    true = CompiledDesign.run

    def lies(self, spikes, **options):
        result = true(self, spikes, **options)
        wrong = result.spikes.copy()
        wrong[0, 7] ^= 1
        return dataclasses.replace(result, spikes=wrong)

    monkeypatch.setattr(CompiledDesign, "run", lies)
    monkeypatch.setattr(DigitalController, "build", lambda project, folder, progress: core)
    broken = DigitalController(core.project, core.design)
    broken.counts(np.full((3, 4), 0.5), np.arange(3))
    assert (broken.wrong_counts, broken.wrong_spikes) == (1, 1)
    result = command("--controller", "digital", "--trajectories", 2, "--no-animation", "--json", "--out", tmp_path)
    assert isinstance(result.exception, SpikeloomError)
    assert result.exception.exit_code == 1
    assert "the answers of digital on RTL differ from the model's" in str(result.exception)


@pytest.mark.cosim
def test_crossbar_core_in_the_loop_equals_the_model_of_its_chip(need_tool, tmp_path, monkeypatch):
    """Noise by the key of an observation, in any batch and in several runs; the effects are those asked for."""
    need_tool("verilator")
    monkeypatch.setattr(interception_core, "WINDOWS", 8)
    project = task_project(own_weights(), tmp_path / "network", crossbar_config(chip=5), "interception_crossbar")
    core = CrossbarController.build(project, tmp_path / "build")
    values, keys = np.random.default_rng(3).uniform(0.2, 0.8, (20, 4)), np.arange(20) * 1000 + 7
    found = core.counts(values, keys)
    assert (core.inferences, core.wrong_counts, core.wrong_spikes) == (20, 0, 0)
    assert 50 * 96 < core.cycles / 20 < 2 * 50 * 96
    fired = project.chip.run(encode(values), windows=keys.tolist())[-1][0]
    assert (fired[0, :, :, 0].sum(axis=1) == found).all()
    order = np.array([11, 2, 19])
    assert (core.counts(values[order], keys[order]) == found[order]).all()
    assert (core.counts(values, keys + 1) != found).any()  # other noise
    # The closed form of the same circuit, of another chip with the same effects, answers much the same.
    closed = AnalogController(own_weights(), LADDER["the same, on step boundaries"], 5).counts(values, keys)
    assert np.abs(closed - found).mean() < 1
    assert core.wrong_spikes == 0
    # A model that gets the wrong noise is found.
    monkeypatch.setattr(interception_core, "noise_files", lambda name, plan, array, windows: {})
    core.counts(values[:8], keys[:8] + 5)
    assert core.wrong_spikes > 0


@pytest.mark.cosim
def test_command_end_to_end(need_tool, tmp_path):
    need_tool("verilator")
    result = command("--trajectories", 6, "--chips", 1, "--json", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output.splitlines()[-1])
    digital, crossbar = answer["controllers"]["digital"], answer["controllers"]["crossbar"]
    assert crossbar["rtl"]["wrong_counts"] == crossbar["rtl"]["wrong_spikes"] == 0
    assert crossbar["rtl"]["inferences"] >= answer["observations"]
    assert digital["rtl"]["wrong_counts"] == digital["rtl"]["wrong_spikes"] == 0
    assert digital["open_loop"]["mse"] == 0  # own weights are multiples of 1 / 256: nothing is rounded
    assert digital["closed_loop"] == answer["controllers"]["float"]["closed_loop"]
    task = tmp_path / "interception" / "task"
    project = Project.load(task / "interception.toml")
    assert project.network.content_hash() == task_project(own_weights(), tmp_path / "again").network.content_hash()
    assert (tmp_path / "interception" / "rtl" / "interception.v").is_file()
    assert Project.load(task / "interception_crossbar.toml").config.core == crossbar_config()
    assert (tmp_path / "interception_crossbar" / "chip" / "interception_crossbar_chip.v").is_file()
