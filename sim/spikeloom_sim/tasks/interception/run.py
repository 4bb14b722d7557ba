"""`spikeloom task interception`: reference, digital and crossbar core on RTL, analog models, open loop and each in its
own loop."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.config import render_config
from spikeloom.errors import InputError
from spikeloom.network.interception import (
    FAMILIES,
    Controller,
    Pursuit,
    ReferenceController,
    Weights,
    draw_prey,
    load_weights,
    pure_pursuit,
    pursue,
    steer,
)
from spikeloom.output import check_replaceable, replace_folder

from .analog import LADDER, AnalogController
from .core import CoreController, CrossbarController, DigitalController, crossbar_config, task_project
from .measure import compare, compare_chips, describe_inputs, loop_figures

__all__ = ["CONTROLLERS", "NAME", "TaskOptions", "climb", "run_task"]

SCHEMA = 1
NAME, CROSSBAR = "interception", "interception_crossbar"
"""The digital and the crossbar core, and their folders."""
CONTROLLERS = ("float", "digital", "crossbar", "analog")
MAX_TRAJECTORIES = 100_000
MAX_CHIPS = 10_000
CHIPS_AT_A_TIME = 5

Progress = Callable[[str, float | None], None]


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What to run.

    `controller` is one of CONTROLLERS or all; the float reference always runs, for the others are measured against
    it. `trajectories` prey of `seed`. `weights`: own, published or a folder. `chips`: chips of the analog models, seeds
    0, 1, ... of the Monte-Carlo figures; chip 0 is the one in the loops. `animate` writes pursuit.gif.

    Raises
    ------
    InputError
        Where a value is outside what is accepted.
    """

    controller: str = "all"
    trajectories: int = 200
    seed: int = 0
    weights: str = "own"
    chips: int = 20
    animate: bool = True

    def __post_init__(self):
        if self.controller not in (*CONTROLLERS, "all"):
            raise InputError(f"controller {self.controller!r}: accepted are {', '.join(CONTROLLERS)}, all")
        if not 1 <= self.trajectories <= MAX_TRAJECTORIES:
            raise InputError(f"{self.trajectories} trajectories: accepted is 1 to {MAX_TRAJECTORIES}")
        if not 1 <= self.chips <= MAX_CHIPS:
            raise InputError(f"{self.chips} chips: accepted is 1 to {MAX_CHIPS}")
        if not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed {self.seed}: accepted is 0 to {(1 << 63) - 1}")

    @property
    def wanted(self) -> tuple[str, ...]:
        """The controllers to run."""
        return CONTROLLERS if self.controller == "all" else tuple(dict.fromkeys(["float", self.controller]))


def climb(
    weights: Weights,
    values: np.ndarray,
    keys: np.ndarray,
    chips: int,
    progress: Callable[[str, float], None] = lambda name, share: None,
) -> dict[str, dict[str, Any]]:
    """The ladder: the analog models with one effect after the other, open loop, against the float reference.

    Parameters
    ----------
    values, keys : float64 [B, 4], int64 [B]
        Observations, B at least 1.
    chips : int
        How many chips, seeds 0 to chips - 1, where an effect differs from chip to chip; else one.
    progress : function
        Called with the effect and the share of it that is done.
    """
    wanted = ReferenceController(weights).counts(values)
    found = {}
    for name, effects in LADDER.items():
        seeds, parts = list(range(chips if effects.varies else 1)), []
        for first in range(0, len(seeds), CHIPS_AT_A_TIME):
            progress(name, first / len(seeds))
            some = AnalogController(weights, effects, seeds[first : first + CHIPS_AT_A_TIME])
            parts.append(some.chip_counts(values, keys))
        found[name] = compare_chips(np.concatenate(parts), wanted)
    return found


def run_task(options: TaskOptions, folder: Path, progress: Progress = lambda text, share=None: None) -> dict[str, Any]:
    """Run the task; the digital core goes to `folder`, the crossbar core to a folder beside it, results to
    `folder`/task, each replaced as a whole.

    Returns what result.json holds. A mismatch is not an exception: it is in the result.

    Raises
    ------
    InputError, ToolMissing
        Before anything is run.
    SpikeloomError
        If the simulation fails.
    """
    weights = load_weights(options.weights)
    for place in (folder, folder.parent / CROSSBAR):
        check_replaceable(place)
    with tempfile.TemporaryDirectory(prefix="spikeloom-") as scratch:
        return _Run(options, weights, folder, Path(scratch), progress).run()


@dataclass
class _Run:
    options: TaskOptions
    weights: Weights
    folder: Path
    scratch: Path
    progress: Progress
    loops: dict[str, Pursuit] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        options, controllers = self.options, self._controllers()
        prey = draw_prey(options.seed, range(options.trajectories))
        pure = pursue(prey, pure_pursuit)
        for name, controller in controllers.items():
            self.loops[name] = pursue(
                prey, steer(controller), progress=lambda share, name=name: self.progress(f"{name} in the loop", share)
            )
        recorded, keys = self.loops["float"].recorded(), self.loops["float"].recorded_keys()
        wanted = controllers["float"].counts(recorded, keys)
        figures: dict[str, Any] = {}
        for name, controller in controllers.items():
            figures[name] = {"closed_loop": loop_figures(self.loops[name])}
            if name != "float":
                self.progress(f"{name} on recorded inputs", None)
                figures[name]["open_loop"] = compare(controller.counts(recorded, keys), wanted).to_json()
            if isinstance(controller, AnalogController) and len(recorded):
                figures[name]["ladder"] = climb(
                    self.weights, recorded, keys, options.chips,
                    lambda effect, share: self.progress(f"analog, {effect}", share),
                )  # fmt: skip
            if isinstance(controller, CoreController):
                figures[name]["rtl"] = controller.rtl_figures()
        result = {
            "schema": SCHEMA,
            "task": NAME,
            "weights": self.weights.origin if options.weights != "published" else "published",
            "trajectories": options.trajectories,
            "seed": options.seed,
            "families": list(FAMILIES),
            "observations": len(recorded),
            "inputs_from": "closed loop of the float reference",
            "inputs": describe_inputs(recorded) if len(recorded) else {},
            "controllers": figures,
            "pure_pursuit": loop_figures(pure),
        }
        self._write(result, controllers)
        return result

    def _controllers(self) -> dict[str, Controller]:
        """The controllers that are wanted, each ready to run: what is missing is told now."""
        made: dict[str, Controller] = {"float": ReferenceController(self.weights)}
        for name, kind, design, core in (
            ("digital", DigitalController, NAME, None),
            ("crossbar", CrossbarController, CROSSBAR, crossbar_config()),
        ):
            if name in self.options.wanted:
                project = task_project(self.weights, self.scratch / design, core, design)
                place = self.folder.parent / design if kind is CrossbarController else self.folder
                made[name] = kind.build(project, place, lambda text, name=name: self.progress(f"{name}, {text}", None))
        if "analog" in self.options.wanted:
            made["analog"] = AnalogController(self.weights)
        return made

    def _write(self, result: dict[str, Any], controllers: dict[str, Controller]) -> None:
        if not self.folder.exists():
            with replace_folder(self.folder):
                pass  # an empty one that is ours
        with replace_folder(self.folder / "task") as target:
            (target / "result.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
            for controller in controllers.values():
                if isinstance(controller, CoreController):  # for `spikeloom synth` and the other commands
                    config = controller.project.config
                    (target / f"{config.name}.toml").write_text(render_config(config))
                    (target / config.network.file).write_bytes(controller.project.network_file.read_bytes())
            arrays: dict[str, Any] = self._arrays()
            np.savez_compressed(target / "pursuits.npz", **arrays)
            if self.options.animate:
                from .animate import animate

                animate(
                    controllers, self.loops, target / "pursuit.gif", lambda share: self.progress("animation", share)
                )

    def _arrays(self) -> dict[str, np.ndarray]:
        """Every pursuit: prey, and of each controller the path of the predator, what it saw and what it answered."""
        arrays = {"prey": self.loops["float"].prey}
        for name, loop in self.loops.items():
            arrays |= {
                f"{name}_predator": loop.predator,
                f"{name}_values": loop.values,
                f"{name}_out": loop.out,
                f"{name}_captured": loop.captured,
            }
        return arrays
