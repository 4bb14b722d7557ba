"""What is handed to ngspice and to the closed form alike: arrays, neurons, an amplifier, input pulses.

A circuit is one chip and one input. Read noise is left out on both sides: it is a number per read, not a component.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from spikeloom.errors import InputError

from ..checks import count, positive
from ..crossbar import Crossbar
from ..network import AnalogLayer, AnalogNetwork, Pulses
from ..neurons import IFNeuron, NeuronArray, Spikes, integrate, settled_share
from .devices import SINK_CURRENT

__all__ = ["LEAD", "Amplifier", "Circuit", "Stage", "spiking_circuit"]

LEAD = 20e-9
"""s, a netlist runs with all resets closed before the window begins."""


@dataclass(frozen=True, kw_only=True)
class Amplifier:
    """The amplifier of every neuron in a netlist.

    Kinds
    -----
    ideal : a controlled source of `gain`.
    bandwidth : one pole, gain-bandwidth product `bandwidth` [Hz].
    transistor : two CMOS stages with Miller compensation (`devices`), `scale` of them in parallel; cells get their
        access transistors, and the reset switch is a transmission gate.
    """

    kind: Literal["ideal", "bandwidth", "transistor"] = "ideal"
    gain: float = 1e6
    bandwidth: float = 100e6
    scale: int = 1

    def __post_init__(self) -> None:
        if self.kind not in ("ideal", "bandwidth", "transistor"):
            raise InputError(f"amplifier: {self.kind!r} was given; accepted: ideal, bandwidth, transistor")
        positive("gain", self.gain, "1")
        positive("bandwidth", self.bandwidth, "Hz")
        count("scale", self.scale, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """A crossbar and the neurons at (some of) its columns, on one chip.

    Members: `columns` int64 [N], those of the crossbar that are there; `threshold`, `offset` [V], [N]; `currents` [A],
    [rows, N], what an open row drives into each neuron; `bias` [A], [N], what flows all the time.
    """

    crossbar: Crossbar
    neuron: IFNeuron
    chip: int
    columns: np.ndarray
    threshold: np.ndarray
    offset: np.ndarray

    @staticmethod
    def of(what: AnalogLayer | tuple[Crossbar, IFNeuron], *, chip: int = 0, columns: int | None = None) -> "Stage":
        """The first `columns` columns (default: all) of a layer, or of a crossbar with neurons, on one of its chips."""
        if isinstance(what, AnalogLayer):
            crossbar, neuron, array = what.crossbar, what.neuron, what.neurons
        else:
            crossbar, neuron = what
            array = NeuronArray(neuron, crossbar.shape[1], seeds=crossbar.seeds, core=crossbar.chips.core)
        chip = count("chip", chip, 0)
        if chip >= len(crossbar.seeds):
            raise InputError(f"chip: {chip} was given; accepted: 0 to {len(crossbar.seeds) - 1}")
        wide = crossbar.shape[1]
        number = wide if columns is None else count("columns", columns, 1)
        if number > wide:
            raise InputError(f"columns: {number} was given; accepted: 1 to {wide}")
        if number < wide and crossbar.topology == "row_driven":
            raise InputError(
                f"columns: {number} of {wide} was given; accepted with row_driven: all of them, its columns share the "
                "row wires"
            )
        if crossbar.device.iv is not None:
            raise InputError(
                "iv: a nonlinear cell was given; accepted with neurons: ohmic cells, as in the closed form"
            )
        some = np.arange(number)
        return Stage(
            crossbar=crossbar,
            neuron=neuron,
            chip=chip,
            columns=some,
            threshold=array.threshold[chip, some],
            offset=array.offset[chip, some],
        )

    @property
    def rows(self) -> int:
        """Rows of the array."""
        return self.crossbar.shape[0]

    @property
    def level(self) -> float:
        """V, an active row against the virtual ground."""
        return -self.neuron.polarity * self.neuron.drive

    @cached_property
    def transfer(self) -> np.ndarray:
        """Column current per row voltage [S], [rows, N]."""
        return self.crossbar.transfer[self.chip][:, self.columns]

    @cached_property
    def currents(self) -> np.ndarray:
        """A, [rows, N]: what an active row drives into each neuron, alone. An offset lowers it where gates close."""
        if self.crossbar.topology == "row_driven":
            return self.neuron.drive * self.transfer * settled_share(self.transfer.sum(axis=0), self.neuron)
        return self.transfer * (self.neuron.drive - self.offset) * settled_share(self.transfer, self.neuron)

    @cached_property
    def bias(self) -> np.ndarray:
        """A, [N]: the bias current, less what an offset drives back through rows that always conduct."""
        bias = np.full(len(self.columns), self.neuron.bias_current)
        if self.crossbar.topology == "row_driven":
            bias -= self.offset * self.transfer.sum(axis=0)
        return bias

    def run(self, pulses: "Timed", window: float, probes: np.ndarray | None = None) -> Spikes:
        """Spikes in closed form, one lane."""
        start = pulses.start[None]
        return integrate(
            self.neuron,
            start,
            start + pulses.width,
            self.currents[pulses.row][None],
            window=window,
            threshold=self.threshold[None],
            bias=self.bias[None],
            probes=probes,
        )


@dataclass(frozen=True, eq=False)
class Timed:
    """Pulses of one input: `start` [s], [P], ascending; `row` int64 [P]; `width` [s]."""

    start: np.ndarray
    row: np.ndarray
    width: float

    def of_row(self, row: int) -> np.ndarray:
        """Starts of one row."""
        return self.start[self.row == row]


@dataclass(frozen=True, kw_only=True, eq=False)
class Circuit:
    """Stages in a row, the spikes of one opening rows of the next, with the pulses into the first.

    Members: `window` [s]; `virtual_ground` [V]; `step` [s], the largest time step of ngspice; `reltol`, its relative
    tolerance. `network` is there when the circuit is all of it.
    """

    stages: tuple[Stage, ...]
    pulses: Timed
    window: float
    amplifier: Amplifier
    virtual_ground: float
    step: float
    reltol: float
    network: AnalogNetwork | None = None

    def with_neurons(self, **changes: Any) -> "Circuit":
        """The same circuit, its neurons with other members (dead_time, gain_bandwidth) in the closed form."""
        stages = []
        for stage in self.stages:
            neuron = dataclasses.replace(stage.neuron, **changes)
            stages.append(dataclasses.replace(stage, neuron=neuron))
        return dataclasses.replace(self, stages=tuple(stages))

    def closed_form(self, probes: np.ndarray | None = None) -> list[Spikes]:
        """Spikes of each stage, one lane, without read noise; u at the probe times [s] in `probes` of each."""
        pulses, found = self.pulses, []
        for stage in self.stages:
            spikes = stage.run(pulses, self.window, probes)
            found.append(spikes)
            pulses = Timed(spikes.time, spikes.neuron, stage.neuron.pulse_width)
        return found

    def inputs_of(self, found: list[Spikes], stage: int) -> Timed:
        """Pulses into a stage, from `closed_form`."""
        if stage == 0:
            return self.pulses
        return Timed(found[stage - 1].time, found[stage - 1].neuron, self.stages[stage - 1].neuron.pulse_width)

    @property
    def steps(self) -> int:
        """Time steps of ngspice at least."""
        return int(np.ceil((LEAD + self.window) / self.step))

    @property
    def cells(self) -> int:
        """Synapses that are there."""
        return sum(int((s.crossbar.conductance[s.chip][:, s.columns] > 0).sum()) for s in self.stages)


def spiking_circuit(
    what: AnalogNetwork | AnalogLayer | tuple[Crossbar, IFNeuron],
    pulses: Pulses,
    *,
    window: float | None = None,
    chip: int = 0,
    input: int = 0,
    layer: int | None = None,
    columns: int | None = None,
    amplifier: Amplifier | None = None,
    virtual_ground: float | None = None,
    step: float = 0.25e-9,
    reltol: float | None = None,
) -> Circuit:
    """A circuit around a network, a layer, or a crossbar with neurons.

    Parameters
    ----------
    pulses : into the first array; `input` says which of them.
    window : s; default: the network's. chip : number of the chip.
    layer : of a network, this one alone, driven by the spikes that the closed form gives the one before it.
    columns : the first so many of a single gated layer; its bit lines do not know of each other.
    virtual_ground : V; default: the rest of the neurons.
    step, reltol : largest time step [s] and relative tolerance of ngspice; default 1e-5, with transistors 1e-4.

    Raises
    ------
    InputError
        For what does not exist (chip, input, layer, columns), rows that do not fit the pulses, neurons that no circuit
        of these parts can have.
    """
    amplifier = amplifier or Amplifier()
    step = positive("step", step, "s")
    if reltol is None:
        reltol = 1e-4 if amplifier.kind == "transistor" else 1e-5
    if not 0 < reltol < 0.1:
        raise InputError(f"reltol: {reltol!r} was given; accepted: above 0 and below 0.1")
    network = what if isinstance(what, AnalogNetwork) else None
    if network is None and window is None:
        raise InputError("window: none was given; accepted: seconds, above 0 (a network has its own)")
    window = positive("window", network.window if window is None and network is not None else window, "s")
    layers = what.layers if isinstance(what, AnalogNetwork) else (what,)
    stages = [Stage.of(each, chip=chip) for each in layers]
    if stages[0].rows != pulses.rows:
        raise InputError(f"pulses: {pulses.rows} rows were given; accepted: {stages[0].rows}, those of the first array")
    if not 0 <= count("input", input, 0) < len(pulses):
        raise InputError(f"input: {input} was given; accepted: 0 to {len(pulses) - 1}")
    start, row = pulses.start[input], pulses.row[input]
    if network is not None and network.input_delay_sigma:
        start = np.maximum(start + network.input_delay[chip][row], 0.0)
    order = np.argsort(start, kind="stable")
    order = order[start[order] < window]
    given = Timed(start[order], row[order], pulses.width)
    whole = len(stages) > 1 or network is not None
    if layer is not None:
        if not 0 <= count("layer", layer, 0) < len(stages):
            raise InputError(f"layer: {layer} was given; accepted: 0 to {len(stages) - 1}")
        whole = len(stages) == 1
        for before in stages[:layer]:
            spikes = before.run(given, window)
            given = Timed(spikes.time, spikes.neuron, before.neuron.pulse_width)
        stages = [stages[layer]]
    if columns is not None:
        if len(stages) > 1:
            raise InputError(f"columns: {columns} was given; accepted with one layer only: say which")
        stages = [Stage.of(layers[layer or 0], chip=chip, columns=columns)]
        whole = whole and len(stages[0].columns) == stages[0].crossbar.shape[1]
    rest = stages[0].neuron.rest
    ground = rest if virtual_ground is None else float(virtual_ground)
    for stage in stages:
        _check(stage, amplifier, ground)
    return Circuit(
        stages=tuple(stages),
        pulses=given,
        window=window,
        amplifier=amplifier,
        virtual_ground=ground,
        step=step,
        reltol=reltol,
        network=network if whole and network is not None and len(network.seeds) == 1 else None,
    )


def _check(stage: Stage, amplifier: Amplifier, ground: float) -> None:
    """Refuse neurons that a netlist of these parts cannot have."""
    neuron = stage.neuron
    if neuron.reset == "timed" and neuron.reset_time <= 0:
        raise InputError("reset_time: 0 s was given; accepted for a netlist: above 0, a switch takes time to discharge")
    if neuron.reset == "switch" and neuron.dead_time and amplifier.kind == "ideal":
        raise InputError(
            f"dead_time: {neuron.dead_time:g} s was given; accepted with a reset switch and an ideal amplifier: 0, a "
            "netlist of ideal parts has none"
        )
    if amplifier.kind != "transistor":
        return
    most = float(stage.currents.max(initial=0.0))
    if most > SINK_CURRENT * amplifier.scale:
        raise InputError(
            f"scale: {amplifier.scale} amplifiers in parallel were given, which take "
            f"{SINK_CURRENT * amplifier.scale:.3g} A; accepted for the {most:.3g} A of the largest cell: at least "
            f"{int(np.ceil(most / SINK_CURRENT))}"
        )
    low = neuron.rest + min(neuron.polarity * neuron.threshold, 0.0)
    high = neuron.rest + max(neuron.polarity * neuron.threshold, 0.0)
    if not 0.6 <= ground <= 1.4 or low < 0.2 or high > 1.6:
        raise InputError(
            f"membrane from {low:g} to {high:g} V around a virtual ground of {ground:g} V were given; accepted with "
            "transistors on 1.8 V: a membrane from 0.2 to 1.6 V, a virtual ground from 0.6 to 1.4 V"
        )
