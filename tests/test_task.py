"""`spikeloom task interception`: figures of a controller, the core in the loop, what is written and what is refused."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from spikeloom.cli import app
from spikeloom.errors import InputError, SpikeloomError
from spikeloom.network.interception import (
    IntegerController,
    ReferenceController,
    draw_prey,
    own_weights,
    pure_pursuit,
    pursue,
    steer,
)
from spikeloom.project import Project
from spikeloom_sim.batch import CompiledDesign
from spikeloom_sim.commands import register
from spikeloom_sim.tasks.interception import DigitalController, TaskOptions, compare, run_task, task_project
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


def test_float_only_needs_no_tool(tmp_path):
    result = run_task(TaskOptions(controller="float", trajectories=24, seed=7), tmp_path / "interception")
    assert list(result["controllers"]) == ["float"]
    prey = draw_prey(7, range(24))
    reference = pursue(prey, steer(ReferenceController(own_weights())))
    assert result["controllers"]["float"]["closed_loop"]["mean_steps"] == reference.mean_steps
    assert result["pure_pursuit"]["mean_steps"] == pursue(prey, pure_pursuit).mean_steps
    assert result["observations"] == len(reference.recorded())
    task = tmp_path / "interception" / "task"
    assert json.loads((task / "result.json").read_text()) == result
    with np.load(task / "pursuits.npz") as arrays:
        assert (arrays["float_captured"] == reference.captured).all()
    with Image.open(task / "pursuit.gif") as movie:
        assert movie.n_frames == reference.captured.max() + 1  # the longest pursuit is shown
    # a second run takes the place of the first, also where the build of a core is missing
    run_task(TaskOptions(controller="float", trajectories=2, animate=False), tmp_path / "interception")
    assert not (task / "pursuit.gif").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--controller", "analog"], "controller 'analog': accepted are float, digital"),
        (["--trajectories", "0"], "0 trajectories: accepted is 1 to 100000"),
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
    broken.counts(np.full((3, 4), 0.5))
    assert (broken.wrong_counts, broken.wrong_spikes) == (1, 1)
    result = command("--controller", "digital", "--trajectories", 2, "--no-animation", "--json", "--out", tmp_path)
    assert isinstance(result.exception, SpikeloomError)
    assert result.exception.exit_code == 1
    assert "differ from the integer reference" in str(result.exception)


@pytest.mark.cosim
def test_command_end_to_end(need_tool, tmp_path):
    need_tool("verilator")
    result = command("--trajectories", 6, "--json", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output.splitlines()[-1])
    digital = answer["controllers"]["digital"]
    assert digital["rtl"]["wrong_counts"] == digital["rtl"]["wrong_spikes"] == 0
    assert digital["open_loop"]["mse"] == 0  # own weights are multiples of 1 / 256: nothing is rounded
    assert digital["closed_loop"] == answer["controllers"]["float"]["closed_loop"]
    task = tmp_path / "interception" / "task"
    project = Project.load(task / "interception.toml")
    assert project.network.content_hash() == task_project(own_weights(), tmp_path / "again").network.content_hash()
    assert (tmp_path / "interception" / "rtl" / "interception.v").is_file()
