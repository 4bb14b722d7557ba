"""Energy and delay of an analog core, by supply rail, over the whole window.

Two rails: `core` (amplifiers, comparators, gate lines, converters) and `read` (row drivers, bleed resistors). The
energy of a rail is the charge it delivers times the voltage at which that charge is bought. Of one window T:

    bias          core   (amplifiers per neuron) I_bias T, for every neuron, input neurons too, busy or not
    amplifier     core   C u at every spike: the output stage brings the membrane back to rest
    comparators   core   I_comparator T per neuron + C V per spike
    gate_lines    core   C V per pulse, C = wire + the gates of all selected cells of the row
    converters    core   energy of a conversion x conversions
    drivers       read   sum over pulses of I_row x width, and C_row dV per pulse
    bleed         read   (V_read - V_virtual ground) / R T, for every neuron

The current of a cell flows read rail -> driver -> cell -> virtual ground -> C -> amplifier output -> ground. So it is
bought once, by the driver; the heat in a cell, (V_read - V_virtual ground) I, is a part of that, as are the heat in the
driver, in the amplifier's output stage and what C stores. A cell conducts for the whole pulse, also while its neuron is
deaf. Read noise is left out: its mean is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.errors import InputError

from .checks import count, not_negative, positive
from .network import AnalogNetwork, Pulses
from .neurons import Spikes
from .parameters import ASSUMED, described, load_parameters, sourced

__all__ = ["ITEMS", "AnalogEnergy", "EnergyParameters", "analog_energy", "load_energy"]

ITEMS = {
    "bias": "core",
    "amplifier": "core",
    "comparators": "core",
    "gate_lines": "core",
    "converters": "core",
    "drivers": "read",
    "bleed": "read",
}
"""What is counted, and the rail it is drawn from."""

CIRCUIT = "interception circuit, arXiv 2605.31141 and its authors' code"


@dataclass(frozen=True, kw_only=True)
class EnergyParameters:
    """What the energy depends on besides the network: SI, each with unit and source in its metadata.

    Parameters marked assumed have no public value. `describe` lists them; `load_energy` reads others from a file.
    """

    supply: float = sourced(1.8, "V", CIRCUIT)
    """Rail of amplifiers, comparators, gates."""
    read_rail: float = sourced(0.95, "V", CIRCUIT)
    """Level of an open row, and the other end of the bleed resistors."""
    virtual_ground: float = sourced(0.90, "V", CIRCUIT)
    """Level of a closed row and of the neurons' inputs."""
    read_supply: float = sourced(1.8, "V", f"{ASSUMED}: a linear regulator on the core rail makes the read level")
    """Voltage at which the charge of the read rail is bought; `read_rail` for an ideal converter."""
    bias_current: float = sourced(6e-6, "A", CIRCUIT)
    """Bias of one amplifier."""
    amplifiers: float = sourced(2, "1", CIRCUIT)
    """Amplifiers per neuron."""
    input_neurons: int = sourced(4, "1", CIRCUIT)
    """Neurons before the first array, with the same bias and comparators."""
    bleed_hidden: float = sourced(90e6, "ohm", CIRCUIT)
    """Bleed resistor of a neuron in every layer but the last; 0: none."""
    bleed_output: float = sourced(9e6, "ohm", CIRCUIT)
    """Bleed resistor of a neuron of the last layer; 0: none."""
    gate_capacitance: float = sourced(
        1e-15, "F", f"{ASSUMED}: minimum 0.42 x 0.15 um transistor with overlaps, rounded up"
    )
    """Gate of one access transistor."""
    cell_pitch: float = sourced(2e-6, "m", f"{ASSUMED}: twice the height of a 1T1R cell at the smallest rules")
    """Length of row wire and gate line per cell."""
    wire_capacitance: float = sourced(0.2e-9, "F/m", f"{ASSUMED}: 0.2 fF/um, usual for minimum metal at any node")
    """Of row wires and gate lines."""
    comparator_current: float = sourced(0.0, "A", f"{ASSUMED}: one of the two amplifiers of a neuron is the comparator")
    """Standing current of a comparator on top of the amplifiers."""
    spike_capacitance: float = sourced(
        20e-15, "F", f"{ASSUMED}: about ten gates of comparator, latch and pulse generator"
    )
    """Switched once per spike in comparator and pulse generator."""
    conversion_energy: float = sourced(12.8e-12, "J", f"{ASSUMED}: 8 bits at 50 fJ per step")
    """One conversion of an ADC."""

    def __post_init__(self) -> None:
        may_be_zero = ("bleed_hidden", "bleed_output", "comparator_current", "amplifiers", "bias_current")
        may_be_zero += ("gate_capacitance", "cell_pitch", "wire_capacitance", "spike_capacitance", "conversion_energy")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "input_neurons":
                count(each.name, value, 0)
            elif each.name in may_be_zero:
                not_negative(each.name, value, each.metadata["unit"])
            else:
                positive(each.name, value, each.metadata["unit"])
        if not self.virtual_ground < self.read_rail:
            raise InputError(
                f"virtual_ground: {self.virtual_ground:g} V was given; accepted: below read_rail, {self.read_rail:g} V"
            )
        for rail in ("supply", "read_supply"):
            if getattr(self, rail) < self.read_rail:
                raise InputError(
                    f"{rail}: {getattr(self, rail):g} V was given; accepted: at least read_rail, {self.read_rail:g} V"
                )

    @property
    def drive(self) -> float:
        """V across an open cell."""
        return self.read_rail - self.virtual_ground

    @classmethod
    def describe(cls) -> dict[str, dict[str, Any]]:
        """{name: {"default", "unit", "source", "assumed"}}."""
        return described(cls)


def load_energy(path: Path | str) -> EnergyParameters:
    """Parameters of a TOML file: schema = 1, and any of `EnergyParameters`; the others keep their defaults.

    Raises
    ------
    InputError
        Naming file and key, what was given and what is accepted.
    """
    return load_parameters(EnergyParameters, path, "energy parameters")


@dataclass(frozen=True)
class AnalogEnergy:
    """Energy of inferences on chips, J.

    Members: `items` {item of ITEMS: float64 [C, B]}; `cell_heat` [C, B], in cells with their access devices and
    wires, a part of drivers; `spikes` int64 [C, B], of
    all layers; `pulses` int64 [C, B], rows opened; `delay` s, from the first input to the answer.
    """

    items: dict[str, np.ndarray]
    cell_heat: np.ndarray
    spikes: np.ndarray
    pulses: np.ndarray
    delay: float

    @property
    def total(self) -> np.ndarray:
        """All rails, [C, B]."""
        return np.sum(list(self.items.values()), axis=0)

    @property
    def rails(self) -> dict[str, np.ndarray]:
        """{rail: [C, B]}."""
        return {
            rail: np.sum([self.items[item] for item, of in ITEMS.items() if of == rail], axis=0)
            for rail in dict.fromkeys(ITEMS.values())
        }

    def summary(self) -> dict[str, Any]:
        """Means over chips and inputs, ready for JSON."""
        total, spikes = float(self.total.mean()), float(self.spikes.mean())
        return {
            "energy_j": total,
            "delay_s": self.delay,
            "items_j": {name: float(value.mean()) for name, value in self.items.items()},
            "rails_j": {name: float(value.mean()) for name, value in self.rails.items()},
            "cell_heat_j": float(self.cell_heat.mean()),
            "spikes": spikes,
            "pulses": float(self.pulses.mean()),
            "energy_per_spike_j": total / spikes if spikes else None,
        }


def analog_energy(
    network: AnalogNetwork,
    pulses: Pulses,
    spikes: Sequence[Spikes],
    parameters: EnergyParameters | None = None,
    *,
    conversions: int = 0,
) -> AnalogEnergy:
    """Energy of the inferences that `network.run(pulses)` has just computed, from what it counted.

    Parameters
    ----------
    pulses : input pulses of B inputs.
    spikes : of each layer, lane c * B + b, as `AnalogNetwork.run` gives them.
    conversions : of ADCs per inference; the spiking core has none.

    Raises
    ------
    InputError
        Where spikes and network do not belong together, or the drive of the neurons is not that of the parameters.
    """
    p = EnergyParameters() if parameters is None else parameters
    chips, inputs, window = len(network.seeds), len(pulses), network.window
    lanes, shape = chips * inputs, (chips, inputs)
    count("conversions", conversions, 0)
    if [(each.lanes, each.neurons) for each in spikes] != [(lanes, each.crossbar.shape[1]) for each in network.layers]:
        raise InputError(
            f"spikes: {[(each.lanes, each.neurons) for each in spikes]} lanes and neurons were given; accepted: those "
            f"of each layer in a run of {inputs} inputs on {chips} chips"
        )
    for layer in network.layers:
        if abs(layer.neuron.drive - p.drive) > 1e-9:
            raise InputError(
                f"drive: {layer.neuron.drive:g} V of the neurons was given; accepted: read_rail - virtual_ground, "
                f"{p.drive:g} V"
            )
    items = {name: np.zeros(shape) for name in ITEMS}
    cell_heat, opened, fired = np.zeros(shape), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    # Of each chip and input: seconds that each row was open, and how often.
    seconds, times = _open_rows(pulses, window)
    seconds, times = np.repeat(seconds[None], chips, axis=0), np.repeat(times[None], chips, axis=0)
    neurons = p.input_neurons
    for k, (layer, found) in enumerate(zip(network.layers, spikes, strict=True)):
        crossbar = layer.crossbar
        columns = crossbar.shape[1]
        neurons += columns
        charge = np.einsum("cbr,cr->cb", seconds, layer.currents.sum(axis=2))
        drop = p.drive * layer.neurons.gain[:, None, :]  # V: an offset of the amplifier moves the virtual ground
        cells = crossbar.chips.cells
        wire = p.wire_capacitance * p.cell_pitch * cells * columns
        selected = (crossbar.conductance > 0).sum(axis=2) * cells
        gates = wire + p.gate_capacitance * selected
        number = times.sum(axis=2)
        opened += number
        items["drivers"] += p.read_supply * (charge + wire * p.drive * number)
        cell_heat += np.einsum("cbr,cr->cb", seconds, (layer.currents * drop).sum(axis=2))
        items["gate_lines"] += p.supply**2 * np.einsum("cbr,cr->cb", times, gates)
        bleed = p.bleed_output if k == len(network.layers) - 1 else p.bleed_hidden
        if bleed:
            items["bleed"] += p.read_supply * p.drive / bleed * columns * window
        counts = found.counts().reshape(*shape, columns)
        fired += counts.sum(axis=2)
        swing = np.einsum("cbn,cn->cb", counts, layer.neurons.threshold)
        items["amplifier"] += p.supply * layer.neuron.capacitance * swing
        if k + 1 < len(network.layers):
            seconds, times = _spike_rows(found, layer.neuron.pulse_width, window)
            seconds, times = seconds.reshape(*shape, columns), times.reshape(*shape, columns)
    given = np.isfinite(pulses.start).sum(axis=1)  # spikes of the input neurons
    items["bias"] += p.supply * p.amplifiers * p.bias_current * neurons * window
    items["comparators"] += p.supply * p.comparator_current * neurons * window
    items["comparators"] += p.supply**2 * p.spike_capacitance * (fired + (given if p.input_neurons else 0))
    items["converters"] += p.conversion_energy * conversions
    return AnalogEnergy(items, cell_heat, fired + given, opened, window)


def _open_rows(pulses: Pulses, window: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds that each row is open in the window, float64 [B, rows], and how often it opens, int64 [B, rows]."""
    b, at = np.nonzero(pulses.start < window)
    place = b * pulses.rows + pulses.row[b, at]
    return _tally(place, pulses.start[b, at], pulses.width, window, (len(pulses), pulses.rows))


def _spike_rows(spikes: Spikes, width: float, window: float) -> tuple[np.ndarray, np.ndarray]:
    place = spikes.lane * spikes.neurons + spikes.neuron
    return _tally(place, spikes.time, width, window, (spikes.lanes, spikes.neurons))


def _tally(
    place: np.ndarray, start: np.ndarray, width: float, window: float, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    size = shape[0] * shape[1]
    length = np.minimum(width, window - start)
    seconds = np.bincount(place, weights=length, minlength=size).reshape(shape)
    return seconds, np.bincount(place, minlength=size).reshape(shape)
