"""What ngspice says of a circuit beside what the closed form says: spike times, membranes, energy."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikeloom.errors import InputError

from ..checks import positive
from ..energy import EnergyParameters, analog_energy
from ..network import Pulses
from ..neurons import Spikes
from .circuit import Circuit, Stage, Timed
from .devices import SUPPLY
from .run import Waveforms

__all__ = ["Comparison", "StageComparison", "calibrate_dead_time", "compare", "spike_times", "u_of"]

GRID = 4000
"""Points at which membranes are compared."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StageComparison:
    """One stage: spike times [s] of each neuron, `spice` and `closed`; `pairs`, errors [s] of the k-th with the k-th.

    `grid` [s], [K], and u at its points [V], [K, N]: `spice_u`, `closed_u`. `energy` {item: (spice, closed)}, J.
    """

    spice: list[np.ndarray]
    closed: list[np.ndarray]
    pairs: list[np.ndarray]
    grid: np.ndarray
    spice_u: np.ndarray
    closed_u: np.ndarray
    threshold: np.ndarray
    energy: dict[str, tuple[float, float]]

    @property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Spikes of each neuron, int64 [N]: ngspice, closed form."""
        return np.array([len(t) for t in self.spice]), np.array([len(t) for t in self.closed])

    @property
    def interval(self) -> float | None:
        """Mean inter-spike interval of the closed form [s]; None where no neuron fires twice."""
        intervals = np.concatenate([np.diff(t) for t in self.closed])
        return float(intervals.mean()) if len(intervals) else None

    def figures(self) -> dict[str, Any]:
        """Errors in numbers, ready for JSON; None where there is nothing to compare."""
        errors = np.abs(np.concatenate(self.pairs))
        intervals = [
            np.diff(a[: len(e)]) - np.diff(b[: len(e)])
            for a, b, e in zip(self.spice, self.closed, self.pairs, strict=True)
        ]
        of_intervals, interval = np.abs(np.concatenate(intervals)), self.interval
        mean = float(errors.mean()) if len(errors) else None
        rms = float(np.sqrt(np.mean((self.spice_u - self.closed_u) ** 2)))
        spice, closed = self.counts
        return {
            "spikes_spice": int(spice.sum()),
            "spikes_closed": int(closed.sum()),
            "neurons_of_other_count": int((spice != closed).sum()),
            "error_mean_s": mean,
            "error_median_s": float(np.median(errors)) if len(errors) else None,
            "error_max_s": float(errors.max()) if len(errors) else None,
            "interval_s": interval,
            "error_percent": None if mean is None or interval is None else 100 * mean / interval,
            "interval_error_percent": (
                100 * float(of_intervals.mean()) / interval if len(of_intervals) and interval else None
            ),
            "membrane_rms_v": rms,
            "membrane_rms_percent": 100 * rms / float(self.threshold.mean()),
            "energy_j": {item: {"spice": a, "closed": b} for item, (a, b) in self.energy.items()},
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """All stages; `rails` {item: (spice, closed)} of the energy by rail [J], where there is one; seconds of both.

    Those of the closed form are the best of three.
    """

    circuit: Circuit
    stages: tuple[StageComparison, ...]
    rails: dict[str, tuple[float, float]]
    spice_seconds: float
    closed_seconds: float
    version: str

    def figures(self) -> dict[str, Any]:
        """Everything in numbers, ready for JSON."""
        return {
            "ngspice": self.version,
            "step_s": self.circuit.step,
            "reltol": self.circuit.reltol,
            "window_s": self.circuit.window,
            "amplifier": self.circuit.amplifier.kind,
            "stages": [stage.figures() for stage in self.stages],
            "rails_j": {item: {"spice": a, "closed": b} for item, (a, b) in self.rails.items()},
            "spice_seconds": self.spice_seconds,
            "closed_form_seconds": self.closed_seconds,
            "speed_ratio": self.spice_seconds / self.closed_seconds,
        }


def spike_times(waveforms: Waveforms, stage: int, neuron: int) -> np.ndarray:
    """Times [s] at which a neuron fired in its window: where its comparator raised f.

    The membrane is no good for it: its switch closes within a time point, so no stored point ever reaches threshold.
    """
    flag, at = waveforms[f"v(f{stage}_{neuron})"] > 0.5, waveforms.time
    times = at[1:][flag[1:] & ~flag[:-1]]
    return times[times > 0]


def u_of(circuit: Circuit, waveforms: Waveforms, stage: int, neuron: int) -> np.ndarray:
    """u [V] at the time points of ngspice: the membrane's distance from rest towards threshold."""
    of = circuit.stages[stage]
    shift = of.neuron.polarity * float(of.offset[neuron])  # the virtual ground, and with it the rest
    membrane = waveforms[f"v(o{stage}_{neuron})"]
    return of.neuron.polarity * (membrane - of.neuron.rest + shift)


def compare(circuit: Circuit, waveforms: Waveforms) -> Comparison:
    """ngspice's run of `netlist(circuit)` against the closed form."""
    found, closed_seconds = circuit.closed_form(), np.inf
    for _ in range(3):  # the transfer matrix is built by now
        begin = time.perf_counter()
        found = circuit.closed_form()
        closed_seconds = min(closed_seconds, time.perf_counter() - begin)
    grid = np.linspace(0.0, circuit.window, GRID, endpoint=False)
    probed = circuit.closed_form(grid)
    stages = []
    for s, stage in enumerate(circuit.stages):
        number = range(len(stage.columns))
        spice = [spike_times(waveforms, s, j) for j in number]
        closed = [found[s].of(0, j) for j in number]
        pairs = [a[: len(b)] - b[: len(a)] for a, b in zip(spice, closed, strict=True)]
        spice_u = [np.interp(grid, waveforms.time, u_of(circuit, waveforms, s, j)) for j in number]
        probes = probed[s].probes
        closed_u = np.zeros((GRID, len(stage.columns))) if probes is None else probes[0]
        given = circuit.inputs_of(found, s)
        stages.append(
            StageComparison(
                spice=spice,
                closed=closed,
                pairs=pairs,
                grid=grid,
                spice_u=np.stack(spice_u, axis=1),
                closed_u=closed_u,
                threshold=stage.threshold,
                energy=_energy(circuit, s, waveforms, given, found[s], closed_u, grid),
            )
        )
    return Comparison(
        circuit=circuit,
        stages=tuple(stages),
        rails=_rails(circuit, waveforms, found),
        spice_seconds=waveforms.seconds,
        closed_seconds=closed_seconds,
        version=waveforms.version,
    )


def calibrate_dead_time(runs: Sequence[tuple[Circuit, Waveforms]], *, longest: float = 1e-6) -> float:
    """The one dead time per reset [s], 0 to `longest`, with which the closed form is nearest to these runs.

    Least mean absolute error of the k-th spike of each neuron, one that is missing on either side counted as if it came
    at the end of the window. Score it on another circuit.

    Raises
    ------
    InputError
        For no run, or runs in which nothing fires.
    """
    positive("longest", longest, "s")
    measured = [
        (circuit, [[spike_times(w, s, j) for j in range(len(stage.columns))] for s, stage in enumerate(circuit.stages)])
        for circuit, w in runs
    ]
    if not any(len(times) for _, stages in measured for neurons in stages for times in neurons):
        raise InputError("runs: no spike was given; accepted: at least one run in which neurons fire")

    def cost(seconds: float) -> float:
        errors = []
        for circuit, stages in measured:
            found = circuit.with_neurons(dead_time=seconds).closed_form()
            for s, neurons in enumerate(stages):
                for j, times in enumerate(neurons):
                    closed = found[s].of(0, j)
                    most = max(len(times), len(closed))
                    padded = np.full((2, most), circuit.window)
                    padded[0, : len(times)], padded[1, : len(closed)] = times, closed
                    errors.append(np.abs(padded[0] - padded[1]))
        return float(np.concatenate(errors).mean())

    # The cost has kinks but one valley: shrink a grid around its lowest point.
    low, high = 0.0, longest
    while high - low > 1e-12 * (1 + longest / 1e-6):
        points = np.linspace(low, high, 17)
        best = int(np.argmin([cost(float(point)) for point in points]))
        low, high = points[max(best - 1, 0)], points[min(best + 1, 16)]
    return float((low + high) / 2)


# --- energy ----------------------------------------------------------------------------------------------------------


def _integral(time: np.ndarray, power: np.ndarray, begin: float) -> float:
    """Of a power over the window, by trapezoids on the points of ngspice."""
    inside = time >= begin
    power, time = power[inside], time[inside]
    return float(((power[1:] + power[:-1]) * np.diff(time)).sum() / 2)


def _row_current(circuit: Circuit, s: int, waveforms: Waveforms) -> tuple[np.ndarray, np.ndarray]:
    """Of the rows of a stage against the virtual ground: power [W] and current [A] of the active ones."""
    stage = circuit.stages[s]
    if stage.crossbar.topology == "gated_1t1r":
        current = -waveforms[f"i(vr{s})"]
        return stage.level * current, np.abs(current)
    power, total = np.zeros_like(waveforms.time), np.zeros_like(waveforms.time)
    for i in range(stage.rows):
        current = waveforms[f"i(vr{s}_{i})"]
        power += stage.level * waveforms[f"v(g{s}_{i})"] * current
        total += np.abs(current) * waveforms[f"v(g{s}_{i})"]
    return power, total


def _energy(
    circuit: Circuit, s: int, waveforms: Waveforms, given: Timed, found: Spikes, u: np.ndarray, grid: np.ndarray
) -> dict[str, tuple[float, float]]:
    """Energy of one stage by source.

    rows : what the row drivers give against the virtual ground: heat of cells, wires and access devices.
    membrane : what amplifiers give against the rest level, sum of I u dt: C u^2 / 2 of each ramp, and heat of the leak.
        With transistors it cannot be told from their supply, and is left out.
    """
    stage, time = circuit.stages[s], waveforms.time
    power, _ = _row_current(circuit, s, waveforms)
    energy = {"rows": (_integral(time, power, 0.0), _rows_closed(stage, given, circuit.window))}
    if circuit.amplifier.kind != "transistor":
        out = 0.0
        for j in range(len(stage.columns)):
            current = stage.neuron.polarity * waveforms[f"i(vo{s}_{j})"]
            out += _integral(time, u_of(circuit, waveforms, s, j) * current, 0.0)
        energy["membrane"] = (out, _membrane_closed(stage, given, found, u, grid, circuit.window))
    return energy


def _open_matrix(stage: Stage, given: Timed, window: float) -> tuple[np.ndarray, np.ndarray]:
    """Segments of constant activity: their seconds [S] and active rows, float64 [S, rows]."""
    stop = np.minimum(given.start + given.width, window)
    edges = np.unique(np.concatenate([[0.0, window], given.start, stop]))
    active = np.zeros((len(edges) - 1, stage.rows))
    for start, end, row in zip(given.start, stop, given.row, strict=True):
        active[np.searchsorted(edges, start) : np.searchsorted(edges, end), row] = 1.0
    return np.diff(edges), active


def _rows_closed(stage: Stage, given: Timed, window: float) -> float:
    """Energy from the row drivers against the virtual ground: sum of v I over active rows and seconds.

    An offset moves the columns; of a row-driven array currents also flow from row to row.
    """
    seconds, active = _open_matrix(stage, given, window)
    if stage.crossbar.topology == "gated_1t1r":
        return float(stage.neuron.drive * (seconds @ active) @ stage.currents.sum(axis=1))
    wire, columns = stage.crossbar.wire, -stage.neuron.polarity * stage.offset
    rows = stage.level * active
    if wire.r_wl == 0 or wire.r_bl == 0:  # what enters a row leaves through the columns
        into = rows * stage.transfer.sum(axis=1) - stage.transfer @ columns
    else:
        nodes, silent = stage.crossbar.array_nodes(stage.chip), np.zeros((stage.rows, len(columns)))
        into = rows @ nodes.solve(np.eye(stage.rows), silent)[1]
        into = into + nodes.solve(np.zeros((1, stage.rows)), columns[None])[1]
    return float(seconds @ (rows * into).sum(axis=1))


def _membrane_closed(
    stage: Stage, given: Timed, found: Spikes, u: np.ndarray, grid: np.ndarray, window: float
) -> float:
    neuron, c = stage.neuron, stage.neuron.capacitance
    start = neuron.release if neuron.reset == "switch" else 0.0
    fired = found.counts()[0]
    last = u[-1].copy()  # how far the unfinished ramp has come, nearly: the last point of the grid
    last[found.neuron[found.time > grid[-1]]] = 0.0
    ramps = fired * stage.threshold**2 + last**2 - fired * start**2
    total = 0.5 * c * float(ramps.sum())
    if neuron.leak_resistance is not None:
        total += float((u**2).sum() * (grid[1] - grid[0])) / neuron.leak_resistance
    if neuron.reset == "switch":
        # While the switch is closed u falls by its own time constant, and the inputs go on.
        tau = neuron.switch_resistance * c
        for t, j in zip(found.time, found.neuron, strict=True):
            on = (given.start <= t) & (t < given.start + given.width)
            current = float(stage.currents[given.row[on], j].sum() + stage.bias[j])
            total += current * tau * float(stage.threshold[j] - neuron.release)
    return total


def _rails(circuit: Circuit, waveforms: Waveforms, found: list[Spikes]) -> dict[str, tuple[float, float]]:
    """Items of `analog_energy` that the netlist has, for a whole network of one chip on its rails.

    drivers : charge of open rows x read supply, both without the capacitance of the wires.
    gate_lines : charge of the gates of the access transistors, without that of the wires (transistors only).
    amplifiers : supply of the amplifiers; closed form: bias of one amplifier per neuron, and C u V per spike
        (transistors only).
    """
    network = circuit.network
    parameters = EnergyParameters(wire_capacitance=0.0, amplifiers=1, input_neurons=0, spike_capacitance=0.0)
    if network is None or any(abs(each.neuron.drive - parameters.drive) > 1e-9 for each in network.layers):
        return {}
    given = circuit.pulses
    pulses = Pulses(given.start[None], given.row[None], given.width, circuit.stages[0].rows)
    closed = analog_energy(network, pulses, found, parameters).items
    time = waveforms.time
    charge = sum(_integral(time, _row_current(circuit, s, waveforms)[1], 0.0) for s in range(len(circuit.stages)))
    rails = {"drivers": (parameters.read_supply * charge, float(closed["drivers"][0, 0]))}
    if circuit.amplifier.kind == "transistor":
        gates, supply = 0.0, 0.0
        for s, stage in enumerate(circuit.stages):
            supply += SUPPLY * _integral(time, -waveforms[f"i(vdd{s})"], 0.0)
            for i in range(stage.rows):
                gates += SUPPLY * _integral(time, np.maximum(waveforms[f"i(vgl{s}_{i})"], 0.0), 0.0)
        rails["gate_lines"] = (gates, float(closed["gate_lines"][0, 0]))
        rails["amplifiers"] = (supply, float((closed["bias"] + closed["amplifier"])[0, 0]))
    return rails
