"""A programmed crossbar with integrate-and-fire neurons, in integers: what stands behind an analog port.

The float physics is rounded once, into tables; from then on there are only integers, so that this model, the exported
SystemVerilog model and the replay memory answer alike. Amounts of charge are changes of a membrane in `quantum` volts.
In clock cycle t of a window, with the gates g of the rows (0 or 1), a neuron that is not in its reset does

    d = max(0, sum_i g_i charge_i + noise)      noise = (z sigma + 2**11) >> 12,  sigma = isqrt(sum_i g_i variance_i)
    v = v + d - ((v leak) >> 24)
    v >= threshold: it fires in cycle t; v = 0, and for the next reset + dead cycles it ignores its inputs

z is a standard normal number times 2**12, rounded once, from a Philox stream keyed by what it is for: chip, core,
purpose; window; step and value within the pulse; neuron. v = 0 is the membrane at rest, positive towards the threshold.

Approximation: charges of rows that are open together add up. On a common bit line they share the wire, so each gets a
little less; the difference is of the order of rows * wire / cell resistance.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from spikeloom.errors import InputError
from spikeloom.windows import WindowTiming

from .checks import finite_array, positive
from .network import AnalogLayer
from .samples import scaled, whole_samples
from .streams import Purpose, stream

__all__ = ["ArrayState", "ProgrammedArray", "noise_samples", "programmed_layer", "quantum_tables"]

QUANTUM = 1e-8
"""V of one unit of charge."""
LEAK_BITS = 24
"""Fraction bits of the leak per cycle."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProgrammedArray:
    """Integer tables of one layer on C chips, R rows and N columns.

    Members
    -------
    charge : int64 [C, R, N], change of a membrane in one cycle of an open gate.
    variance : int64 [C, R, N], variance of it through read noise; 0 everywhere switches the noise off.
    threshold : int64 [C, N], with the offset of each comparator.
    leak : int64 [C, N], part of the membrane lost per cycle, times 2**24.
    seeds : of the chips; `core` : number of the layer on its chip. Both key the noise.
    quantum : V of one unit.
    """

    charge: np.ndarray
    variance: np.ndarray
    threshold: np.ndarray
    leak: np.ndarray
    timing: WindowTiming
    seeds: tuple[int, ...]
    core: int
    quantum: float

    def __post_init__(self):
        chips, rows, columns = self.charge.shape
        shapes = {"variance": (chips, rows, columns), "threshold": (chips, columns), "leak": (chips, columns)}
        for name, shape in {"charge": self.charge.shape, **shapes}.items():
            table = getattr(self, name)
            if table.dtype != np.int64 or table.shape != shape:
                raise InputError(f"{name}: {table.dtype} {table.shape} was given; accepted: int64 {shape}")
            if table.size and (table.min() < (name == "threshold") or table.max() >= 1 << 45):
                raise InputError(f"{name}: values from {table.min()} to {table.max()}; accepted: 0 to 2**45 - 1")
        if len(self.seeds) != chips:
            raise InputError(f"seeds: {len(self.seeds)} were given; accepted: one for each of {chips} chips")
        if self.leak.size and self.leak.max() >= 1 << LEAK_BITS:
            raise InputError("leak: the whole membrane in one cycle; accepted: a time constant above one cycle")
        if (self.charge.sum(axis=1) + self.threshold).max(initial=0) >= 1 << 37:
            raise InputError("charge: a cycle with all gates open passes 2**37 units; accepted: a larger quantum")

    @property
    def chips(self) -> int:
        """C."""
        return self.charge.shape[0]

    @property
    def rows(self) -> int:
        """R."""
        return self.charge.shape[1]

    @property
    def columns(self) -> int:
        """N."""
        return self.charge.shape[2]

    @property
    def noisy(self) -> bool:
        """Whether reads have noise."""
        return bool(self.variance.any())

    def chip(self, index: int) -> "ProgrammedArray":
        """One of the chips."""
        cut = slice(index, index + 1)
        return ProgrammedArray(
            charge=self.charge[cut], variance=self.variance[cut], threshold=self.threshold[cut], leak=self.leak[cut],
            timing=self.timing, seeds=self.seeds[cut], core=self.core, quantum=self.quantum,
        )  # fmt: skip

    def run(
        self, spikes: np.ndarray, windows: Iterable[int] | None = None, *, clears: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Play windows through all chips.

        Parameters
        ----------
        spikes : [B, T, R], or [C, B, T, R] where the chips get different ones
            Rows that are pulsed in each step.
        windows : number of each window, which keys its noise; 0 .. B - 1 by default.
        clears : whether each window starts with all membranes at rest; else with what the window before it left.

        Returns
        -------
        spikes : uint8 [C, B, T, N]
        cycles : int64 [C, B, T, N], the cycle of the step in which the neuron crossed its threshold, or -1
        """
        spikes = np.asarray(spikes)
        shaped = spikes.ndim in (3, 4) and spikes.shape[-1] == self.rows
        if not shaped or (spikes.ndim == 4 and spikes.shape[0] not in (1, self.chips)):
            raise InputError(
                f"spikes: shape {spikes.shape} was given; accepted: [inputs, steps, {self.rows}], "
                f"or [{self.chips}, inputs, steps, {self.rows}]"
            )
        if spikes.ndim == 3:
            spikes = spikes[None]
        batch = spikes.shape[1]
        numbers = list(range(batch)) if windows is None else [int(number) for number in windows]
        if len(numbers) != batch:
            raise InputError(f"windows: {len(numbers)} numbers were given; accepted: one for each of {batch} inputs")
        if clears:
            state = ArrayState(self, batch)
            return self._windows(state, spikes, numbers)
        state, parts = ArrayState(self, 1), []
        for b, number in enumerate(numbers):
            parts.append(self._windows(state, spikes[:, b : b + 1], [number]))
        return (np.concatenate([p[0] for p in parts], axis=1), np.concatenate([p[1] for p in parts], axis=1))

    def _windows(self, state: "ArrayState", spikes: np.ndarray, numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """One window of each input, side by side."""
        timing, steps = self.timing, spikes.shape[2]
        shape = (self.chips, len(numbers), steps, self.columns)
        cycles = np.full(shape, -1, np.int64)
        noise = None
        if self.noisy:
            noise = np.stack([
                np.stack([noise_samples(self, chip, number, steps) for number in numbers]) for chip in range(self.chips)
            ])  # fmt: skip
        for t in range(steps):
            drive, sigma = self.drive_of(spikes[:, :, t])
            for c in range(timing.pulse):
                z = noise[:, :, t * timing.slots + c // timing.refresh] if noise is not None else None
                fired = state.advance(drive, sigma, z)
                cycles[:, :, t][fired] = c
            state.rest(timing.step - timing.pulse)
        return (cycles >= 0).astype(np.uint8), cycles

    def drive_of(self, gates) -> tuple[np.ndarray, np.ndarray]:
        """Charge and standard deviation of a cycle with `gates` [R], or [C or 1, B, R]: two of int64 [C, B, N]."""
        gates = np.atleast_2d(np.asarray(gates, np.int64))
        return gates @ self.charge, integer_root(gates @ self.variance)


class ArrayState:
    """Membranes of a programmed array: `v` and `held` (cycles of reset and dead time left), int64 [C, B, N]."""

    def __init__(self, array: ProgrammedArray, batch: int):
        self.array = array
        self.v = np.zeros((array.chips, batch, array.columns), np.int64)
        self.held = np.zeros_like(self.v)

    def clear(self) -> None:
        """All membranes to rest."""
        self.v[:], self.held[:] = 0, 0

    def advance(self, drive: np.ndarray, sigma: np.ndarray, z: np.ndarray | None) -> np.ndarray:
        """One clock cycle; returns which neurons fired in it, bool [C, B, N]."""
        array = self.array
        if z is not None:
            drive = np.maximum(drive + scaled(z, sigma), 0)
        free = self.held == 0
        v = np.where(free, self.v + drive - ((self.v * array.leak[:, None]) >> LEAK_BITS), 0)
        fired = v >= array.threshold[:, None]
        self.v = np.where(fired, 0, v)
        self.held = np.where(fired, array.timing.reset + array.timing.dead, np.maximum(self.held - 1, 0))
        return fired

    def rest(self, cycles: int) -> None:
        """Cycles in which no gate is open."""
        if self.array.leak.any():
            for _ in range(cycles):
                self.advance(np.int64(0), np.int64(0), None)  # type: ignore[arg-type]
        else:
            self.held = np.maximum(self.held - cycles, 0)

    @property
    def showing(self) -> np.ndarray:
        """Which neurons show a spike at their outputs in the coming cycle, bool [C, B, N]."""
        return self.held > self.array.timing.dead


def noise_samples(array: ProgrammedArray, chip: int, window: int, steps: int) -> np.ndarray:
    """Noise samples z of one window of one chip, int64 [steps * values per pulse, N]."""
    source = stream(array.seeds[chip], array.core, Purpose.READ, window)
    z = source.standard_normal((steps * array.timing.slots, array.columns))
    return whole_samples(z)


def integer_root(values: np.ndarray) -> np.ndarray:
    """floor(sqrt(values)) of int64 numbers 0 .. 2**51."""
    root = np.sqrt(values.astype(np.float64)).astype(np.int64)
    root = root - (root * root > values)
    return root + ((root + 1) * (root + 1) <= values)


def quantum_tables(
    currents: np.ndarray,
    sigma: np.ndarray | None,
    threshold: np.ndarray | float,
    *,
    timing: WindowTiming,
    clock: float,
    capacitance: float,
    leak_resistance: float | None = None,
    seeds: Iterable[int] = (0,),
    core: int = 0,
    quantum: float = QUANTUM,
) -> ProgrammedArray:
    """Round the float physics of a gated array to integer tables.

    Parameters
    ----------
    currents : [A], [C, R, N], what an open row drives into each neuron, alone.
    sigma : [A], of one value of the read noise, or None.
    threshold : V from rest, [C, N] or a number. clock : Hz. capacitance : F. leak_resistance : ohm in parallel.
    quantum : V; the default is 1 / 21 000 000 of the swing of the SKY130 circuit.

    Raises
    ------
    InputError
        For currents that are negative or not finite, a threshold that is not positive, an array with no row.
    """
    amps = finite_array("currents", currents, 3, "A")
    if not amps.size:
        raise InputError(f"currents: shape {amps.shape} was given; accepted: [chips, rows, columns], none of them 0")
    if (amps < 0).any():
        raise InputError(f"currents: {amps.min():g} A was given; accepted: 0 or more, the array is single-ended")
    chips, _, columns = amps.shape
    volts = np.broadcast_to(np.asarray(threshold, np.float64), (chips, columns))
    if not (np.isfinite(volts) & (volts > 0)).all():
        raise InputError(f"threshold: {volts.min():g} V was given; accepted: finite numbers above 0")
    scale = 1 / (positive("capacitance", capacitance, "F") * positive("clock", clock, "Hz") * quantum)
    spread = np.zeros_like(amps) if sigma is None else finite_array("sigma", sigma, 3, "A") * scale
    leak = 0.0
    if leak_resistance is not None:
        leak = -np.expm1(-1 / (positive("leak_resistance", leak_resistance, "ohm") * capacitance * clock))
    return ProgrammedArray(
        charge=np.rint(amps * scale).astype(np.int64),
        variance=np.rint(spread**2).astype(np.int64),
        threshold=np.rint(volts / quantum).astype(np.int64),
        leak=np.full((chips, columns), round(leak * (1 << LEAK_BITS)), np.int64),
        timing=timing,
        seeds=tuple(int(seed) for seed in seeds),
        core=core,
        quantum=quantum,
    )


def programmed_layer(
    layer: AnalogLayer, *, step: float, clock: float, noise: bool = True, quantum: float = QUANTUM
) -> ProgrammedArray:
    """The integer tables of a layer of crossbar and neurons; `step` in s, `clock` in Hz.

    Raises
    ------
    InputError
        For times that do not fit the step (`WindowTiming`), and for neurons that this model has no terms for: a reset
        by a switch, a bias current.
    """
    neuron = layer.neuron
    if neuron.reset != "timed" or neuron.bias_current:
        raise InputError("neuron: accepted for a programmed array: a timed reset, no bias current")
    timing = WindowTiming.from_seconds(
        clock, step=step, pulse=neuron.pulse_width, reset=neuron.reset_time, dead=neuron.dead_time,
        refresh=layer.crossbar.device.read_refresh or neuron.pulse_width,
    )  # fmt: skip
    return quantum_tables(
        layer.currents, layer.sigma if noise else None, layer.neurons.threshold, timing=timing, clock=clock,
        capacitance=neuron.capacitance, leak_resistance=neuron.leak_resistance, seeds=layer.seeds,
        core=layer.crossbar.chips.core, quantum=quantum,
    )  # fmt: skip
