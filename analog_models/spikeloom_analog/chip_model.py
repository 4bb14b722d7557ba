"""The analog side of a planned crossbar core: the integer arrays of one chip, from its network and configuration."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.config import CrossbarConfig
from spikeloom.errors import InputError
from spikeloom.mapping.crossbar import CrossbarPlan, relative_weights
from spikeloom.mapping.plan import CorePlan
from spikeloom.network.reference import Trace

from .cells import CellArray, CellTables, cell_tables
from .chip import StuckAt
from .crossbar import Wire
from .device_files import load_device
from .devices import PCM, RRAM, Device, ideal
from .network import AnalogNetwork
from .neurons import IFNeuron
from .port import ArrayPort
from .programmed import ProgrammedArray, programmed_layer
from .writing import Response

__all__ = ["ChipModel", "cell_device", "chip_model"]


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

    def placement(self) -> list[dict[str, Any]]:
        """What each array is, and what its levels made of the weights, as JSON values.

        `level_error_mean`, `level_error_max`: |conductance - wanted| / wanted, of weights above 0. `to_zero`, `raised`:
        weights below the smallest conductance that became a cell never selected, or that conductance. `ir_loss`: mean
        part of the current that the wires take with all rows on.
        """
        found = []
        for plan, layer in zip(self.plans, self.network.layers, strict=True):
            chips = layer.crossbar.chips
            wanted, level = chips.target, chips.level_conductance
            used = wanted > 0
            error = np.abs(level - wanted)[used] / wanted[used]
            small = used & (wanted < chips.cells * chips.device.g_min * (1 - 1e-9))
            found.append(
                {
                    "layer": plan.name, "rows": plan.rows, "columns": plan.columns, "cells": plan.cells,
                    "device": chips.device.name, "level_error_mean": float(error.mean()) if error.size else 0.0,
                    "level_error_max": float(error.max(initial=0)), "to_zero": int((used & (level == 0)).sum()),
                    "raised": int((small & (level > 0)).sum()), "ir_loss": layer.crossbar.ir_loss,
                }
            )  # fmt: skip
        return found

    def content_hash(self) -> str:
        """SHA-256 of all integer tables: another chip, device or age has another one."""
        digest = hashlib.sha256()
        for part in (*self.arrays, *self.cells):
            for entry in fields(part):
                value = getattr(part, entry.name)
                digest.update(entry.name.encode())
                digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
        return digest.hexdigest()

    def ports(self) -> list[ArrayPort]:
        """A fresh model behind the analog port of each layer, with cells."""
        return [
            ArrayPort(array, steps=plan.steps, cells=CellArray(cells))
            for plan, array, cells in zip(self.plans, self.arrays, self.cells, strict=True)
        ]


def chip_model(plan: CorePlan, *, chips: Iterable[int] | None = None, folder: Path | None = None) -> ChipModel:
    """The analog side of `plan`; `chips` are seeds, by default the one of its configuration.

    `folder` is where the device file of the configuration is.

    Raises
    ------
    InputError
        For a core of another kind, a device file that says something wrong, and weights whose conductance is outside
        the range of the device.
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
    weights = [relative_weights(entry.layer) for entry in plans]
    largest = max((float(matrix.max(initial=0.0)) for matrix in weights), default=0.0)
    device, response = _device(core, folder or Path(), largest)
    _check_largest(core, device, largest)
    network = _network(plans, core, neuron, device, seeds, weights)
    clock = core.clock_mhz * 1e6
    arrays = tuple(
        programmed_layer(layer, step=core.step_ns * 1e-9, clock=clock, noise=core.read_noise)
        for layer in network.layers
    )
    for entry, array in zip(plans, arrays, strict=True):
        if replace(array.timing, refresh=entry.timing.refresh) != entry.timing:  # noise is no matter of gateware
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
                response=response,
                drive_offset=layer.neurons.offset[0],
                conductance=np.moveaxis(layer.crossbar.chips.cell_conductance[0], 0, -1),
                stuck_cells=np.moveaxis(layer.crossbar.chips.stuck[0] != 0, 0, -1),
            )
        )
    return ChipModel(
        plans=plans, arrays=arrays, cells=tuple(tables), network=network, clears=plan.network.state == "clear"
    )


BUILT_IN = {"wan2022": RRAM.wan2022, "milo2021": RRAM.milo2021, "joshi2020": PCM.joshi2020}


def cell_device(name: str, folder: Path) -> Device:
    """A device by its name in a configuration, or of a device file in `folder`."""
    if name.endswith(".toml"):
        return load_device(folder / name).device
    return ideal() if name == "ideal" else BUILT_IN[name]()


def _device(core: CrossbarConfig, folder: Path, largest: float) -> tuple[Device, Response | None]:
    """The cell, and how pulses move it where that was measured; `largest` is the largest weight over its threshold."""
    if core.device.endswith(".toml"):
        user = load_device(folder / core.device)
        device, response = user.device, user.response
    elif core.device == "sky130":
        device, response = RRAM.sky130(cells=core.cells), None
    elif core.device == "ideal":  # whatever the weights need
        device, response = ideal(g_max=max(largest, 1e-6) / (core.unit_kohm * 1e3) / core.cells), None
    else:
        device, response = cell_device(core.device, folder), None
    return (device if core.read_noise else replace(device, read=())), response


def _check_largest(core: CrossbarConfig, device: Device, largest: float) -> None:
    """Whether the largest weight is a conductance that the device has: else all are too large, or too small."""
    low, high = core.cells * device.g_min, core.cells * device.g_max
    g = largest / (core.unit_kohm * 1e3)
    if largest and not low * (1 - 1e-9) <= g <= high * (1 + 1e-9):
        most = f" to {largest / low / 1e3:.4g}" if low else " or more"
        raise InputError(
            f"unit_kohm: {core.unit_kohm:g} was given: the largest weight ({largest:.4g} of its threshold) is then a "
            f"conductance of {g:.4g} S; accepted with {core.cells} cells of {device.name} ({low:.4g} to {high:.4g} S): "
            f"{largest / high / 1e3:.4g}{most}"
        )


def _network(
    plans, core: CrossbarConfig, neuron: IFNeuron, device: Device, seeds: list[int], weights: list[np.ndarray]
) -> AnalogNetwork:
    return AnalogNetwork.from_weights(
        weights,
        siemens=1 / (core.unit_kohm * 1e3),
        device=device,
        neuron=neuron,
        window=max(entry.steps for entry in plans) * core.step_ns * 1e-9,
        seeds=seeds,
        cells=core.cells,
        wire=Wire(r_wl=core.wire_ohm, r_bl=core.wire_ohm),
        faults=StuckAt(low=core.stuck / 2, high=core.stuck / 2),
        seconds=core.age_s,
    )
