"""Cores as controllers: compiled RTL in the loop, one batch of inferences per step of all pursuits."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from spikeloom.config import CoreConfig, CrossbarConfig
from spikeloom.export import elaborate
from spikeloom.network.interception import STEPS, Weights, encode, network_nir
from spikeloom.network.reference import Trace, simulate
from spikeloom.project import Project, propose
from spikeloom_analog import dead_time
from spikeloom_analog.verilog import noise_files

from ...batch import BatchResult, CompiledDesign, compile_chip, compile_design
from .analog import BANDWIDTH, OFFSET, PULSE, UNIT_RESISTANCE, WINDOW

__all__ = ["CoreController", "CrossbarController", "DigitalController", "crossbar_config", "task_project"]

WINDOWS = 256
"""Inferences that the analog model of the crossbar has noise samples for in one run; more go through in several."""

Progress = Callable[[str], None]


def task_project(weights: Weights, folder: Path, core: CoreConfig | None = None, name: str = "interception") -> Project:
    """The project of the network with these weights, as `spikeloom new` would make it; writes its NIR to `folder`.

    Raises
    ------
    InputError
        Where the weights do not fit Q0.8.
    """
    file = f"{name}.nir"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(network_nir(weights))
    config = propose("zoo:interception")
    network = dataclasses.replace(config.network, file=file)
    config = dataclasses.replace(config, name=name, network=network, core=core or config.core)
    return Project(config=config, folder=folder, origin=str(folder / file))


def crossbar_config(chip: int = 0) -> CrossbarConfig:
    """The published circuit behind a core at 200 MHz, with every effect of the ladder but the spread of the spikes."""
    return CrossbarConfig(
        kind="crossbar",
        step_ns=WINDOW / STEPS * 1e9,
        pulse_ns=PULSE * 1e9,
        reset_ns=PULSE * 1e9,
        dead_ns=dead_time(BANDWIDTH) * 1e9,
        unit_kohm=UNIT_RESISTANCE / 1e3,
        offset_mv=OFFSET * 1e3,
        chip=chip,
    )


@dataclass(eq=False)
class CoreController:
    """A compiled core. Every inference is compared on the way with what the core must answer.

    Attributes
    ----------
    inferences, cycles : int
        How many were run, in how many clock cycles altogether.
    wrong_counts, wrong_spikes : int
        Inferences whose number of output spikes (from the decision unit and from the events), or any single output
        spike, is not that of the model.
    """

    project: Project
    design: CompiledDesign
    name: str = ""
    inferences: int = field(default=0, init=False)
    cycles: int = field(default=0, init=False)
    wrong_counts: int = field(default=0, init=False)
    wrong_spikes: int = field(default=0, init=False)

    @classmethod
    def build(cls, project: Project, folder: Path, progress: Progress = lambda text: None) -> Self:
        """Elaborate the project to `folder` and compile it.

        Raises
        ------
        InputError
            Where the folder cannot be replaced.
        ToolMissing
            Without Verilator, make or a C++ compiler.
        """
        raise NotImplementedError

    def model(self, given: np.ndarray, keys: np.ndarray) -> Trace:
        """What the core must answer to spikes [B, STEPS, 4]; `keys` int64 [B] name the observations."""
        raise NotImplementedError

    def play(self, given: np.ndarray, keys: np.ndarray) -> list[BatchResult]:
        """What it answers, in one run or several."""
        raise NotImplementedError

    def counts(self, values: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Output spikes of the core, int64 [B]."""
        return self.spikes(values, keys)[1].sum(axis=1, dtype=np.int64)

    def spikes(self, values: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hidden spikes of the model, uint8 [B, STEPS, 30], and output spikes of the core [B, STEPS].

        The core does not show its hidden spikes; they are right where its output is.
        """
        given = encode(values)
        trace = self.model(given, keys)
        results = self.play(given, keys)
        seen = np.concatenate([result.spikes[:, :, 0] for result in results] or [np.zeros((0, STEPS), np.uint8)])
        wanted = trace.spikes[-1][:, :, 0]
        counted = seen.sum(axis=1, dtype=np.int64)
        decided = [result.decisions[:, 1] for result in results if result.decisions is not None]
        wrong = (counted != wanted.sum(axis=1, dtype=np.int64)) | (np.concatenate([counted[:0], *decided]) != counted)
        self.inferences += len(given)
        self.cycles += sum(result.cycles for result in results)
        self.wrong_counts += int(wrong.sum())
        self.wrong_spikes += int((seen != wanted).any(axis=1).sum())
        return trace.spikes[0], seen

    def rtl_figures(self) -> dict[str, float]:
        """What the attributes say, as JSON values."""
        return {
            "inferences": self.inferences,
            "wrong_counts": self.wrong_counts,
            "wrong_spikes": self.wrong_spikes,
            "cycles_per_inference": round(self.cycles / max(1, self.inferences), 2),
        }


@dataclass(eq=False)
class DigitalController(CoreController):
    """The digital core; the integer reference says what is right."""

    name: str = "digital"

    @classmethod
    def build(cls, project: Project, folder: Path, progress: Progress = lambda text: None) -> Self:
        """See `CoreController`."""
        manifest = elaborate(project, folder, progress=progress)
        return cls(project, compile_design(folder, manifest, progress=progress))

    def model(self, given: np.ndarray, keys: np.ndarray) -> Trace:
        """The integer network."""
        return simulate(self.project.network, given)

    def play(self, given: np.ndarray, keys: np.ndarray) -> list[BatchResult]:
        """See `CoreController`."""
        return [self.design.run(given)]


@dataclass(eq=False)
class CrossbarController(CoreController):
    """The crossbar core, the exported SystemVerilog model of one chip behind its analog ports.

    The Python model of the chip says what is right. Window b of a run has the read noise of the key of its
    observation: the samples are written to the model's file before each run.
    """

    name: str = "crossbar"

    @classmethod
    def build(cls, project: Project, folder: Path, progress: Progress = lambda text: None) -> Self:
        """See `CoreController`; the tables of the model that runs are in the folder of the project."""
        manifest = elaborate(project, folder, progress=progress)
        design = compile_chip(project, folder, manifest, project.folder, windows=WINDOWS, progress=progress)
        return cls(project, design)

    def model(self, given: np.ndarray, keys: np.ndarray) -> Trace:
        """The Python model of the chip."""
        return self.project.chip.trace(given, windows=keys.tolist())

    def play(self, given: np.ndarray, keys: np.ndarray) -> list[BatchResult]:
        """See `CoreController`."""
        chip, results = self.project.chip, []
        for first in range(0, len(given), WINDOWS):
            part = slice(first, first + WINDOWS)
            for plan, array in zip(chip.plans, chip.arrays, strict=True):
                for name, text in noise_files(self.project.config.name, plan, array, keys[part].tolist()).items():
                    (self.design.folder / name).write_text(text)
            results.append(self.design.run(given[part]))
        return results
