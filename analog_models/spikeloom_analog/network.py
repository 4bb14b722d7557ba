"""Layers of crossbars and integrate-and-fire neurons, on many chips and inputs at once.

A lane is one input on one chip; all lanes of a block run together, each with its own events. A spike of one layer opens
its row of the next array for the pulse width.

Read noise is refreshed every `read_refresh` seconds of a pulse. By default a pulse carries the mean of its values,
which has the same mean and the same integral; `noise="refresh"` runs each of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spikeloom.errors import InputError

from .checks import count, finite_array, not_negative, positive, whole_array
from .chip import StuckAt
from .crossbar import Crossbar, Wire
from .devices import Device
from .neurons import IFNeuron, NeuronArray, Spikes, integrate, settled_share
from .streams import Purpose, Streams, chip_seeds, normals

__all__ = ["AnalogLayer", "AnalogNetwork", "Pulses"]

BLOCK = 1 << 21
"""Numbers in the largest array of a block: what keeps memory bounded and caches warm."""


@dataclass(frozen=True)
class Pulses:
    """Input pulses: which row opens when, for B inputs.

    Members: `start` [s], [B, P], inf behind the last pulse of an input; `row` int64 [B, P]; `width` [s]; `rows`, how
    many there are. Pulses of one row must not overlap.
    """

    start: np.ndarray
    row: np.ndarray
    width: float
    rows: int

    def __post_init__(self) -> None:
        positive("pulse width", self.width, "s")
        if self.start.shape != self.row.shape or self.start.ndim != 2:
            raise InputError(
                f"pulses: shapes {self.start.shape} and {self.row.shape} were given; accepted: both [B, P]"
            )
        if np.isnan(self.start).any() or (self.start < 0).any():
            raise InputError("pulses: a start that is NaN or below 0 was given; accepted: seconds from 0, or inf")
        order = np.lexsort((self.start, self.row), axis=-1)
        start, row = np.take_along_axis(self.start, order, 1), np.take_along_axis(self.row, order, 1)
        with np.errstate(invalid="ignore"):
            close = (np.diff(start, axis=1) < self.width * (1 - 1e-9)) & (np.diff(row, axis=1) == 0)
        if close.any():
            b, p = (int(i) for i in np.argwhere(close)[0])
            raise InputError(
                f"pulses of input {b}, row {int(row[b, p])} at {start[b, p]:g} and {start[b, p + 1]:g} s were given; "
                f"accepted: at least the pulse width, {self.width:g} s, apart"
            )

    @staticmethod
    def from_steps(spikes: np.ndarray, *, step: float, width: float) -> "Pulses":
        """A pulse at the beginning of each step with a spike; spikes 0 or 1, [B, T, rows]."""
        spikes = np.asarray(spikes)
        if spikes.ndim != 3 or not np.isin(spikes, (0, 1)).all():
            raise InputError(f"spikes: shape {spikes.shape} was given; accepted: 0 or 1, [inputs, steps, rows]")
        if width > positive("step", step, "s") * (1 + 1e-12):
            raise InputError(f"pulse width: {width:g} s was given; accepted: up to the time step, {step:g} s")
        inputs, _, rows = spikes.shape
        b, t, i = np.nonzero(spikes)
        return _pack(b, i, t * step, inputs, rows, width)

    @staticmethod
    def spread(counts: np.ndarray, *, window: float, width: float) -> "Pulses":
        """counts[b, i] pulses on row i, evenly over the window: at k (window - width) / (n + 1), k = 1 .. n."""
        counts = np.asarray(counts)
        if counts.ndim != 2 or counts.dtype.kind not in "iu" or (counts < 0).any():
            raise InputError(
                f"counts: {counts.dtype} {counts.shape} was given; accepted: whole numbers, [inputs, rows]"
            )
        inputs, rows = counts.shape
        flat = counts.ravel().astype(np.int64)
        which = np.repeat(np.arange(flat.size), flat)
        k = np.arange(len(which)) - np.repeat(np.cumsum(flat) - flat, flat) + 1
        time = k * ((window - width) / (flat[which] + 1))
        return _pack(which // rows, which % rows, time, inputs, rows, width)

    def __len__(self) -> int:
        return len(self.start)


def _pack(b: np.ndarray, row: np.ndarray, time: np.ndarray, inputs: int, rows: int, width: float) -> Pulses:
    order = np.lexsort((row, time, b))
    b, row, time = b[order], row[order], time[order]
    start, of = Spikes(b, row, time, inputs, rows).padded()
    return Pulses(start, of, width, rows)


class AnalogLayer:
    """A crossbar and the neurons at its columns."""

    def __init__(self, crossbar: Crossbar, neuron: IFNeuron) -> None:
        if crossbar.topology != "gated_1t1r":
            raise InputError("topology: row_driven was given; accepted for spiking layers: gated_1t1r")
        self.crossbar, self.neuron = crossbar, neuron
        self.neurons = NeuronArray(neuron, crossbar.shape[1], seeds=crossbar.seeds, core=crossbar.chips.core)
        alone = neuron.drive * crossbar.transfer
        if crossbar.device.iv is not None:
            alone = crossbar.currents(neuron.drive * np.eye(crossbar.shape[0]))
        self.currents = alone * self.neurons.gain[:, None, :]
        self.currents *= settled_share(crossbar.transfer, neuron)
        """A, [C, rows, columns]: what an open row drives into each neuron, alone. An offset scales it (first order
        where the cells have an I-V curve)."""
        part = np.divide(
            self.currents, crossbar.conductance, out=np.zeros_like(self.currents), where=crossbar.conductance > 0
        )
        self.sigma = part * crossbar.read_sigma
        """A, [C, rows, columns]: standard deviation of `currents` in one value of the read noise."""
        self.noisy = bool(self.sigma.any())

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each chip."""
        return self.crossbar.seeds

    def noise_parts(self, width: float) -> np.ndarray:
        """Where the values of the read noise begin and end in a pulse of `width` [s]: 0, refresh, ..., width."""
        refresh = self.crossbar.device.read_refresh or width
        return np.append(np.arange(0.0, width * (1 - 1e-9), refresh), width)

    @property
    def pulse_noise_scale(self) -> float:
        """Standard deviation of the mean of a pulse's noise values, in that of one value."""
        parts = self.noise_parts(self.neuron.pulse_width)
        return float(np.sqrt((np.diff(parts) ** 2).sum())) / self.neuron.pulse_width

    def run(
        self,
        pulses: Pulses,
        *,
        chip: np.ndarray,
        index: np.ndarray,
        window: float,
        noise: Literal["mean", "refresh"] = "mean",
        probes: np.ndarray | None = None,
    ) -> Spikes:
        """Spikes of lanes, each with its chip [L], its pulses [L, P] and the index [L] of its noise."""
        start, row, width = pulses.start, pulses.row, pulses.width
        stop = start + width
        scale = 1.0
        if self.noisy:
            parts = self.noise_parts(width)
            if noise == "refresh":
                begin = (start[:, :, None] + parts[:-1]).reshape(len(start), -1)
                stop = (start[:, :, None] + parts[1:]).reshape(len(start), -1)
                start, row = begin, np.repeat(row, len(parts) - 1, axis=1)
            else:
                scale = float(np.sqrt((np.diff(parts) ** 2).sum())) / width
        place = chip[:, None] * self.currents.shape[1] + row
        current = _rows(self.currents, place)
        if self.noisy:
            number = np.isfinite(start).sum(axis=1)
            streams = Streams(self.crossbar.chips.core, Purpose.READ)
            z = np.zeros(current.shape)
            for lane in range(len(chip)):
                generator = streams.at(self.seeds[chip[lane]], index[lane])
                generator.standard_normal(out=z[lane, : number[lane]].reshape(-1))
            z *= _rows(self.sigma * scale, place)
            current += z
            np.maximum(current, 0.0, out=current)
        return integrate(
            self.neuron,
            start,
            stop,
            current,
            window=window,
            threshold=self.neurons.threshold[chip],
            probes=probes,
        )


class AnalogNetwork:
    """Layers in a row, all on the same C chips. Run it with `run`.

    Parameters
    ----------
    layers : AnalogLayer, from the input; each as wide as the next is high.
    window : s, length of one inference.
    input_delay_sigma : s, delay of each input row of each chip, normal, drawn once (spread of the input neurons).
    """

    def __init__(self, layers: Sequence[AnalogLayer], *, window: float, input_delay_sigma: float = 0.0) -> None:
        self.layers = tuple(layers)
        self.window = positive("window", window, "s")
        self.input_delay_sigma = not_negative("input_delay_sigma", input_delay_sigma, "s")
        if not self.layers:
            raise InputError("layers: none was given; accepted: at least one")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.crossbar.shape[1] != after.crossbar.shape[0]:
                raise InputError(
                    f"layers: {before.crossbar.shape[1]} columns before {after.crossbar.shape[0]} rows were given; "
                    "accepted: the same number"
                )
            if before.seeds != after.seeds:
                raise InputError("layers: other seeds were given; accepted: the same chips in every layer")
            before.neuron.check_pulses()

    @staticmethod
    def from_weights(
        weights: Sequence[np.ndarray],
        *,
        siemens: float,
        device: Device,
        neuron: IFNeuron,
        window: float,
        seeds: int | Iterable[int] = 0,
        cells: int = 1,
        wire: Wire | None = None,
        access_resistance: float = 0.0,
        faults: StuckAt | None = None,
        temperature: float = 300.0,
        seconds: float = 0.0,
        input_delay_sigma: float = 0.0,
    ) -> "AnalogNetwork":
        """A network of non-negative weight matrices [outputs, inputs]: conductance = siemens * weight, core = layer.

        Weights of 0 are cells never selected; what lies between 0 and the smallest conductance goes to the nearer of
        the two (`layer.crossbar.chips.mapping_error`). `seconds` have passed since programming.
        """
        seeds = chip_seeds(seeds)
        layers = []
        for core, matrix in enumerate(weights):
            matrix = finite_array(f"weights of layer {core}", matrix, 2, "units of weight")
            if (matrix < 0).any():
                raise InputError(
                    f"weights of layer {core}: {matrix.min():g} was given; accepted: 0 or more, single-ended"
                )
            crossbar = Crossbar(
                siemens * matrix.T,
                device=device,
                topology="gated_1t1r",
                wire=wire,
                seeds=seeds,
                core=core,
                cells=cells,
                access_resistance=access_resistance,
                faults=faults,
                temperature=temperature,
            )
            crossbar.age(seconds)
            layers.append(AnalogLayer(crossbar, neuron))
        return AnalogNetwork(layers, window=window, input_delay_sigma=input_delay_sigma)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seed of each chip."""
        return self.layers[0].seeds

    @property
    def input_delay(self) -> np.ndarray:
        """Delay of each input row of each chip [s], [C, rows]."""
        rows = self.layers[0].crossbar.shape[0]
        if not self.input_delay_sigma:
            return np.zeros((len(self.seeds), rows))
        return self.input_delay_sigma * normals(self.seeds, (rows,), core=0, purpose=Purpose.INPUT_DELAY)

    def run(
        self, pulses: Pulses, *, index: int | np.ndarray = 0, noise: Literal["mean", "refresh"] = "mean"
    ) -> list[Spikes]:
        """Spikes of each layer; lane c * B + b is input b on chip c.

        Input b has the read noise of index `index + b`, or `index[b]` of an array, whatever it is run together with.
        """
        rows, inputs, chips = self.layers[0].crossbar.shape[0], len(pulses), len(self.seeds)
        if isinstance(index, np.ndarray):
            numbers = whole_array("index", index, 0, 1 << 62)
            if numbers.shape != (inputs,):
                raise InputError(f"index: shape {numbers.shape} was given; accepted: ({inputs},), one for each input")
        else:
            numbers = count("index", index, 0) + np.arange(inputs)
        if noise not in ("mean", "refresh"):
            raise InputError(f"noise: {noise!r} was given; accepted: mean, refresh")
        if pulses.rows != rows:
            raise InputError(f"pulses: {pulses.rows} rows were given; accepted: {rows}, those of the first array")
        delay = self.input_delay
        number = np.isfinite(pulses.start).sum(axis=1)
        size = max(1, int(number.max(initial=0))) * self.layers[0].crossbar.shape[1]
        size *= 6 if noise == "refresh" else 1
        block = max(1, BLOCK // size)
        # Lanes with as many pulses run together: none waits for another.
        lanes = (np.argsort(number, kind="stable")[:, None] + inputs * np.arange(chips)).ravel()
        parts: list[list[Spikes]] = []
        for first in range(0, len(lanes), block):
            chip, b = np.divmod(lanes[first : first + block], inputs)
            most = int(number[b].max())
            start, row = pulses.start[b, :most], pulses.row[b, :most]
            if self.input_delay_sigma:
                start = np.maximum(start + delay[chip[:, None], row], 0.0)
            given = _lanes(start, row, pulses.width, rows)
            spikes = []
            for layer in self.layers:
                found = layer.run(given, chip=chip, index=numbers[b], window=self.window, noise=noise)
                spikes.append(found)
                time, who = found.padded()
                given = _lanes(time, who, layer.neuron.pulse_width, found.neurons)
            parts.append(spikes)
        return [_joined([part[k] for part in parts], lanes) for k in range(len(self.layers))]

    def counts(
        self, pulses: Pulses, *, index: int | np.ndarray = 0, noise: Literal["mean", "refresh"] = "mean"
    ) -> np.ndarray:
        """Spike counts of the last layer, int64 [C, B, neurons]."""
        last = self.run(pulses, index=index, noise=noise)[-1]
        return last.counts().reshape(len(self.seeds), len(pulses), last.neurons)


def _rows(table: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Rows of a table [chips, rows, columns] by their place chip * rows + row, [L, P, columns]."""
    return table.reshape(-1, table.shape[-1]).take(place, axis=0)


def _lanes(start: np.ndarray, row: np.ndarray, width: float, rows: int) -> Pulses:
    """Pulses that need no check: they were checked, or come from neurons that cannot overlap themselves."""
    pulses = object.__new__(Pulses)
    for name, value in (("start", start), ("row", row), ("width", width), ("rows", rows)):
        object.__setattr__(pulses, name, value)
    return pulses


def _joined(parts: list[Spikes], lanes: np.ndarray) -> Spikes:
    """Blocks of lanes as one run, in the order of `lanes`' numbers."""
    first = np.cumsum([0] + [part.lanes for part in parts])
    lane = np.concatenate([lanes[part.lane + offset] for part, offset in zip(parts, first[:-1], strict=True)])
    order = np.argsort(lane, kind="stable")
    return Spikes(
        lane[order],
        np.concatenate([part.neuron for part in parts])[order],
        np.concatenate([part.time for part in parts])[order],
        len(lanes),
        parts[0].neurons,
    )
