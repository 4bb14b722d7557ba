"""The analog side of a crossbar project in ngspice, beside its closed form."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.config import CrossbarConfig
from spikeloom.errors import InputError
from spikeloom.output import check_replaceable, replace_folder
from spikeloom.project import Project
from spikeloom.tools import require_tool
from spikeloom_analog import EnergyParameters, Pulses
from spikeloom_analog.spice import (
    Amplifier,
    Circuit,
    compare,
    comparison_figure,
    netlist,
    run_ngspice,
    spiking_circuit,
)

__all__ = ["SpiceOptions", "missed", "spice_project"]

SCHEMA = 1
LIMIT_PERCENT = 1.0
"""Mean error of spike times, in percent of the mean interval, that ideal amplifiers must keep."""
LARGEST_BYTES = 2e9
"""Of waveforms."""
COST = {"ideal": (10e-6, 0.3e-6, 4e-6), "bandwidth": (10e-6, 0.3e-6, 4e-6), "transistor": (10e-6, 20e-6, 100e-6)}
"""s per time step: fixed, per synapse, per neuron. Measured with ngspice 39 on a busy machine: an upper bound."""


@dataclass(frozen=True, kw_only=True)
class SpiceOptions:
    """What to run: `amplifier` and its `bandwidth` [Hz]; number of the `input`; one `layer` of all, `columns` of it;
    `window` [s], None is the whole one; `step` [s]; `timeout` [s]; `netlist_only` runs nothing."""

    amplifier: str = "ideal"
    bandwidth: float = 100e6
    input: int = 0
    layer: int | None = None
    columns: int | None = None
    window: float | None = None
    step: float = 0.25e-9
    timeout: float = 600.0
    netlist_only: bool = False

    def __post_init__(self):
        if self.input < 0:
            raise InputError(f"input: {self.input} was given; accepted: a whole number of at least 0")


def spice_project(
    project: Project,
    folder: Path,
    options: SpiceOptions,
    progress: Callable[[str, float | None], None] = lambda text, share: None,
) -> dict[str, Any]:
    """Netlist, run and comparison of one input; writes `folder` as a whole and returns what its spice.json holds.

    Layers follow each other as circuits do, a spike opens its row at once (the gateware hands spikes on at step
    boundaries). Read noise is off on both sides.

    Raises
    ------
    InputError
        For a core without an analog side, options that do not fit it, and runs that would take longer than `timeout`.
    ToolMissing
        Without ngspice, unless `netlist_only`. Nothing is written then.
    """
    core = project.config.core
    if not isinstance(core, CrossbarConfig):
        raise InputError(f"{project.origin}: core.kind: {core.kind!r} was given; accepted for spice: 'crossbar'")
    if not options.netlist_only:
        require_tool("ngspice")
    check_replaceable(folder)
    progress("circuit", None)
    circuit = _circuit(project, core, options)
    written = netlist(circuit)
    seconds, size = _estimate(circuit, len(written.saved))
    if not options.netlist_only and (seconds > options.timeout or size > LARGEST_BYTES):
        neurons = sum(len(stage.columns) for stage in circuit.stages)
        raise InputError(
            f"{circuit.cells} synapses and {neurons} neurons in {circuit.steps} steps: about {seconds:.0f} s and "
            f"{size / 1e9:.1f} GB; accepted: up to the timeout, {options.timeout:g} s, and {LARGEST_BYTES / 1e9:g} GB. "
            "A layer, fewer columns, a shorter window, a longer step or a longer timeout help"
        )
    names = [entry.name for entry in project.plan.layers]
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "name": project.config.name,
        "input": options.input,
        "layers": names if options.layer is None else [names[options.layer]],
        "neurons": [len(stage.columns) for stage in circuit.stages],
        "synapses": circuit.cells,
    }
    picture = None
    if not options.netlist_only:
        waveforms = run_ngspice(written, timeout=options.timeout, progress=progress)
        progress("comparison", None)
        comparison = compare(_closed_form_of(circuit), waveforms)
        result |= comparison.figures()
        picture = comparison_figure(comparison, f"{project.config.name}, input {options.input}")
    with replace_folder(folder) as target:
        (target / "circuit.cir").write_text(written.text)
        if picture is not None:
            (target / "comparison.png").write_bytes(picture)
            (target / "spice.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return result


def missed(result: dict[str, Any]) -> str:
    """What an ideal circuit has missed, or nothing: other amplifiers are reported, not judged."""
    if result.get("amplifier") != "ideal":
        return ""
    for name, stage in zip(result["layers"], result["stages"], strict=True):
        if stage["neurons_of_other_count"]:
            return f"layer {name}: {stage['neurons_of_other_count']} neurons fire more or less often in ngspice"
        if (stage["error_percent"] or 0.0) > LIMIT_PERCENT:
            return f"layer {name}: spike times are {stage['error_percent']:.3g} % of the mean interval off"
    return ""


def _circuit(project: Project, core: CrossbarConfig, options: SpiceOptions) -> Circuit:
    inputs = project.inputs(options.input + 1)
    if options.input >= len(inputs.spikes):
        raise InputError(f"input: {options.input} was given; accepted: 0 to {len(inputs.spikes) - 1}")
    pulses = Pulses.from_steps(
        inputs.spikes[options.input : options.input + 1], step=core.step_ns * 1e-9, width=core.pulse_ns * 1e-9
    )
    amplifier = Amplifier(kind=options.amplifier, bandwidth=options.bandwidth)  # pyright: ignore[reportArgumentType]
    return spiking_circuit(
        project.chip.network,
        pulses,
        window=options.window,
        layer=options.layer,
        columns=options.columns,
        amplifier=amplifier,
        virtual_ground=EnergyParameters().virtual_ground,
        step=options.step,
    )


def _closed_form_of(circuit: Circuit) -> Circuit:
    """With an amplifier of one pole, the closed form knows it, and a dead time of its time constant."""
    amplifier = circuit.amplifier
    if amplifier.kind != "bandwidth":
        return circuit
    return circuit.with_neurons(gain_bandwidth=amplifier.bandwidth, dead_time=1 / (2 * np.pi * amplifier.bandwidth))


def _estimate(circuit: Circuit, vectors: int) -> tuple[float, float]:
    """Seconds and bytes of a run, about."""
    fixed, synapse, neuron = COST[circuit.amplifier.kind]
    each = fixed + synapse * circuit.cells + neuron * sum(len(stage.columns) for stage in circuit.stages)
    return each * circuit.steps, 8.0 * vectors * circuit.steps
