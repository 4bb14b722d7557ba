"""The analog side of a planned crossbar core: the integer arrays of one chip, from its network and configuration."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from spikeloom.config import CrossbarConfig
from spikeloom.errors import InputError
from spikeloom.mapping.crossbar import CrossbarPlan, relative_weights
from spikeloom.mapping.plan import CorePlan
from spikeloom.network.reference import Trace

from .cells import CellArray, CellTables, cell_tables
from .chip import StuckAt
from .crossbar import Wire
from .devices import RRAM, Device, ideal
from .network import AnalogNetwork
from .neurons import IFNeuron
from .port import ArrayPort
from .programmed import ProgrammedArray, programmed_layer

__all__ = ["ChipModel", "chip_model"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ChipModel:
    """What stands behind the analog ports of a core: an array for each layer, on one chip or several.

    `network` is the float model that the integers were rounded from; `clears` says whether membranes start each
    input at rest.
    """

    plans: tuple[CrossbarPlan, ...]
    arrays: tuple[ProgrammedArray, ...]
    cells: tuple[CellTables, ...]
    network: AnalogNetwork
    clears: bool

    def run(self, spikes: np.ndarray, windows: Iterable[int] | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
        """Play inputs [B, T, inputs] through all layers of all chips: (spikes, cycles) [C, B, T, N] of each layer.

        An input longer than a window is not taken here: the noise of its windows has other numbers.
        """
        spikes = np.asarray(spikes)
        steps = self.plans[0].steps
        if spikes.shape[1] > steps:
            raise InputError(f"spikes: {spikes.shape[1]} steps were given; accepted: up to {steps}, a window")
        numbers = None if windows is None else list(windows)
        answers = []
        for array in self.arrays:
            answers.append(array.run(spikes, numbers, clears=self.clears))
            spikes = answers[-1][0]
        return answers

    def trace(self, spikes: np.ndarray, windows: Iterable[int] | None = None) -> Trace:
        """What the core does with inputs [B, T, inputs] as the first windows since its reset, on the first chip.

        `windows` are other numbers for the noise of each input.
        """
        answers = self.run(spikes, windows)
        return Trace(spikes=tuple(fired[0] for fired, _ in answers), potentials=None, readout=None)

    def ports(self) -> list[ArrayPort]:
        """A fresh model behind the analog port of each layer, with cells."""
        return [
            ArrayPort(array, steps=plan.steps, cells=CellArray(cells))
            for plan, array, cells in zip(self.plans, self.arrays, self.cells, strict=True)
        ]


def chip_model(plan: CorePlan, *, chips: Iterable[int] | None = None) -> ChipModel:
    """The analog side of `plan`; `chips` are seeds, by default the one of its configuration.

    Raises
    ------
    InputError
        For a core of another kind, and for weights whose conductance is outside the range of the device.
    """
    core = plan.core
    plans = tuple(entry for entry in plan.layers if isinstance(entry, CrossbarPlan))
    if not isinstance(core, CrossbarConfig) or len(plans) != len(plan.layers):
        raise InputError(f"core.kind: {core.kind!r} was given; accepted for an analog model: 'crossbar'")
    seeds = [core.chip] if chips is None else list(chips)
    neuron = IFNeuron.sky130(
        pulse_width=core.pulse_ns * 1e-9, reset_time=core.reset_ns * 1e-9, dead_time=core.dead_ns * 1e-9,
        offset_high=core.offset_mv * 1e-3,
    )  # fmt: skip
    device = _device(core)
    network = _network(plans, core, neuron, device, seeds)
    clock = core.clock_mhz * 1e6
    arrays = tuple(
        programmed_layer(layer, step=core.step_ns * 1e-9, clock=clock, noise=core.read_noise)
        for layer in network.layers
    )
    for entry, array in zip(plans, arrays, strict=True):
        if array.timing != entry.timing:
            raise InputError(f"layer {entry.name!r}: the model has {array.timing}, the gateware {entry.timing}")
    tables = []
    for entry, layer in zip(plans, network.layers, strict=True):
        tables.append(
            cell_tables(
                device,
                (entry.rows, entry.columns, entry.cells),
                seed=seeds[0],
                core=layer.crossbar.chips.core,
                clock=clock,
                neuron=neuron,
                drive_offset=layer.neurons.offset[0],
                conductance=np.moveaxis(layer.crossbar.chips.cell_conductance[0], 0, -1),
                stuck_cells=np.moveaxis(layer.crossbar.chips.stuck[0] != 0, 0, -1),
            )
        )
    return ChipModel(
        plans=plans, arrays=arrays, cells=tuple(tables), network=network, clears=plan.network.state == "clear"
    )


def _device(core: CrossbarConfig) -> Device:
    if core.device == "sky130":
        return RRAM.sky130(read_noise=core.read_noise)
    unit = 1 / (core.unit_kohm * 1e3)
    return ideal(g_min=1e-3 * unit, g_max=1e3 * unit)


def _network(plans, core: CrossbarConfig, neuron: IFNeuron, device: Device, seeds: list[int]) -> AnalogNetwork:
    return AnalogNetwork.from_weights(
        [relative_weights(entry.layer) for entry in plans],
        siemens=1 / (core.unit_kohm * 1e3),
        device=device,
        neuron=neuron,
        window=max(entry.steps for entry in plans) * core.step_ns * 1e-9,
        seeds=seeds,
        cells=plans[0].cells,
        wire=Wire(r_wl=core.wire_ohm, r_bl=core.wire_ohm),
        faults=StuckAt(low=core.stuck / 2, high=core.stuck / 2),
    )
