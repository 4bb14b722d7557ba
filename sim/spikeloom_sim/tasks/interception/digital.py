"""The digital core as controller: compiled RTL in the loop, one batch of inferences per step of all pursuits."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spikeloom.config import DigitalConfig
from spikeloom.export import elaborate
from spikeloom.network.interception import Weights, encode, network_nir
from spikeloom.network.reference import simulate
from spikeloom.project import Project, propose

from ...batch import CompiledDesign, compile_design

__all__ = ["NETWORK_FILE", "DigitalController", "task_project"]

NETWORK_FILE = "interception.nir"


def task_project(weights: Weights, folder: Path, core: DigitalConfig | None = None) -> Project:
    """The project of the network with these weights, as `spikeloom new` would make it; writes its NIR to `folder`.

    Raises
    ------
    InputError
        Where the weights do not fit Q0.8.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NETWORK_FILE).write_bytes(network_nir(weights))
    config = propose("zoo:interception")
    network = dataclasses.replace(config.network, file=NETWORK_FILE)
    config = dataclasses.replace(config, network=network, core=core or config.core)
    return Project(config=config, folder=folder, origin=str(folder / NETWORK_FILE))


@dataclass(eq=False)
class DigitalController:
    """The compiled core. Every inference is compared with the integer reference on the way.

    Attributes
    ----------
    inferences, cycles : int
        How many were run, in how many clock cycles altogether.
    wrong_counts, wrong_spikes : int
        Inferences whose number of output spikes (from the decision unit and from the events), or any single output
        spike, is not that of the integer reference.
    """

    project: Project
    design: CompiledDesign
    name: str = "digital"
    inferences: int = field(default=0, init=False)
    cycles: int = field(default=0, init=False)
    wrong_counts: int = field(default=0, init=False)
    wrong_spikes: int = field(default=0, init=False)

    @classmethod
    def build(
        cls, project: Project, folder: Path, progress: Callable[[str], None] = lambda text: None
    ) -> "DigitalController":
        """Elaborate the project to `folder` and compile it.

        Raises
        ------
        InputError
            Where the folder cannot be replaced.
        ToolMissing
            Without Verilator, make or a C++ compiler.
        """
        manifest = elaborate(project, folder, progress=progress)
        return cls(project, compile_design(folder, manifest, progress=progress))

    def counts(self, values: np.ndarray, keys: np.ndarray | None = None) -> np.ndarray:
        """Output spikes of the core, int64 [B]."""
        return self.spikes(values)[1].sum(axis=1, dtype=np.int64)

    def spikes(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Hidden spikes of the integer reference, uint8 [B, STEPS, 30], and output spikes of the core [B, STEPS].

        The core does not show its hidden spikes; they are right where its output is.
        """
        given = encode(values)
        trace = simulate(self.project.network, given)
        result = self.design.run(given)
        seen, wanted = result.spikes[:, :, 0], trace.spikes[-1][:, :, 0]
        counted = seen.sum(axis=1, dtype=np.int64)
        wrong = counted != wanted.sum(axis=1, dtype=np.int64)
        if result.decisions is not None:
            wrong |= result.decisions[:, 1] != counted
        self.inferences += len(given)
        self.cycles += result.cycles
        self.wrong_counts += int(wrong.sum())
        self.wrong_spikes += int((seen != wanted).any(axis=1).sum())
        return trace.spikes[0], seen
