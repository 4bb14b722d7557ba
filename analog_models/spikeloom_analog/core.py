"""Analog cores as the gateware sees them: integers, rounded once, a pure function of the ordered requests.

Tables are made from one programmed chip and are integers from then on; whoever computes from the same tables and the
same noise samples, in Python or in SystemVerilog, gets the same answers under any stalls.

`PulseCore`, spikes out. Time is counted in quanta within a window. Row pulse p of a window (in order of start, then
row) on row i drives into column j, in each quantum of its width,

    rate_pj = max(0, rate[i, j] + ((sigma[i, j] * z[p, j] + 2**11) >> 12))

charge units, z from `samples(window)`. Column j, in quantum k, unless it is deaf:

    charge_j += sum of rate_pj over the pulses with start_p <= k < start_p + width
    fires if charge_j >= threshold_j:  stamp k, charge_j = 0, deaf for the next `deaf` quanta

`CodeCore`, codes out: i_j = sum of table[i, j] over the active rows + noise, in current units; code: bit by bit from
the highest, kept if i_j >= thresholds[j, code - 1]; where thresholds ascend, the number of them at or below i_j.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from spikeloom.errors import InputError

from .checks import count, positive, whole_array
from .converters import ConverterArray, search
from .crossbar import Crossbar
from .network import AnalogLayer
from .streams import Purpose, stream

__all__ = ["CodeCore", "PulseCore"]

SAMPLE_BITS = 12
"""Fraction bits of a noise sample; 16 bits in all, signed."""


class PulseCore:
    """Integer model of one layer of one chip. Call `run` for a window, or `begin`, `pulse`, `advance` as time goes on.

    Parameters
    ----------
    layer : the crossbar and its neurons; single rows add up (`superposition_error` of the crossbar says how well).
    chip : which of its chips.
    quantum : s, of time. window : s, of one inference. threshold_units : charge units of the nominal threshold.

    Members: `rate`, `sigma` int64 [rows, columns]; `threshold` int64 [columns]; `width`, `deaf`, `quanta` (length of a
    window) in quanta; `rows`, `columns`.

    Raises
    ------
    InputError
        If a pulse or a window is not a whole number of quanta, or the neurons have a leak, a bias or a switched reset.
    """

    def __init__(
        self,
        layer: AnalogLayer,
        *,
        chip: int = 0,
        quantum: float = 1e-9,
        window: float = 24e-6,
        threshold_units: int = 1 << 20,
    ) -> None:
        neuron, crossbar = layer.neuron, layer.crossbar
        if (
            neuron.leak_resistance is not None
            or neuron.bias_current
            or neuron.reset != "timed"
            or neuron.floor is not None
        ):
            raise InputError("neuron: a leak, bias, floor or switched reset was given; accepted: plain IF, timed reset")
        self.quantum = positive("quantum", quantum, "s")
        self.width = self._quanta("pulse_width", neuron.pulse_width)
        self.quanta = self._quanta("window", window)
        self.deaf = round((neuron.reset_time + neuron.dead_time) / quantum)
        if count("chip", chip, 0) >= len(layer.seeds):
            raise InputError(f"chip: {chip} was given; accepted: 0 to {len(layer.seeds) - 1}")
        self.seed, self.core = layer.seeds[chip], crossbar.chips.core
        unit = neuron.capacitance * neuron.threshold / count("threshold_units", threshold_units, 1)  # coulomb
        self.threshold = np.rint(layer.neurons.threshold[chip] * neuron.capacitance / unit).astype(np.int64)
        self.rate = np.rint(layer.currents[chip] * quantum / unit).astype(np.int64)
        self.sigma = np.rint(layer.sigma[chip] * layer.pulse_noise_scale * quantum / unit).astype(np.int64)
        self.rows, self.columns = self.rate.shape
        self.begin(0)

    def _quanta(self, name: str, seconds: float) -> int:
        number = round(positive(name, seconds, "s") / self.quantum)
        if number < 1 or abs(number * self.quantum - seconds) > 1e-6 * self.quantum:
            raise InputError(
                f"{name}: {seconds:g} s was given; accepted: a whole number of quanta of {self.quantum:g} s"
            )
        return number

    def tables(self) -> dict[str, Any]:
        """Everything another implementation needs but the samples, and a SHA-256 of it."""
        arrays = {"rate": self.rate, "sigma": self.sigma, "threshold": self.threshold}
        numbers = {"width": self.width, "deaf": self.deaf, "quanta": self.quanta, "sample_bits": SAMPLE_BITS}
        digest = hashlib.sha256()
        for name in sorted(arrays):
            digest.update(name.encode() + np.ascontiguousarray(arrays[name], "<i8").tobytes())
        digest.update(repr(sorted(numbers.items())).encode())
        return {**arrays, **numbers, "sha256": digest.hexdigest()}

    def samples(self, window: int, pulses: int) -> np.ndarray:
        """Noise samples of the first pulses of a window, int64 [pulses, columns], 16 bits, 12 of them fraction.

        They depend on the chip, the core and the window, not on rows or times: a file of them serves any stimulus.
        """
        z = stream(self.seed, self.core, Purpose.READ, window).standard_normal((pulses, self.columns))
        return np.clip(np.rint(z * (1 << SAMPLE_BITS)), -(1 << 15), (1 << 15) - 1).astype(np.int64)

    def begin(self, window: int) -> None:
        """Start a window: all membranes at rest, no pulse open."""
        self.window = count("window", window, 0)
        self.now = 0
        self._charge = np.zeros(self.columns, np.int64)
        self._free = np.zeros(self.columns, np.int64)
        self._open: list[tuple[int, np.ndarray]] = []  # (quantum it ends, rates)
        self._ends: dict[int, int] = {}
        self._spikes: list[tuple[int, int]] = []
        self._last = (-1, -1)
        self._generator = stream(self.seed, self.core, Purpose.READ, window)

    def pulse(self, row: int, start: int) -> None:
        """Open row `row` in quantum `start`; pulses come in order of start, then row."""
        if not 0 <= row < self.rows:
            raise InputError(f"row: {row} was given; accepted: 0 to {self.rows - 1}")
        if not self.now <= start < self.quanta or (start, row) <= self._last:
            raise InputError(
                f"pulse: row {row} at {start} was given after row {self._last[1]} at {self._last[0]}, time {self.now}; "
                f"accepted: in order of start, then row, below {self.quanta}"
            )
        if self._ends.get(row, 0) > start:
            raise InputError(
                f"pulse: row {row} at {start} was given; accepted: from {self._ends[row]}, it is still open"
            )
        self._pass(start)
        self._last, self._ends[row] = (start, row), start + self.width
        z = np.rint(self._generator.standard_normal(self.columns) * (1 << SAMPLE_BITS))
        z = np.clip(z, -(1 << 15), (1 << 15) - 1).astype(np.int64)
        noise = (self.sigma[row] * z + (1 << (SAMPLE_BITS - 1))) >> SAMPLE_BITS
        self._open.append((start + self.width, np.maximum(self.rate[row] + noise, 0)))

    def advance(self, until: int) -> list[tuple[int, int]]:
        """Let the quanta before `until` pass; returns the spikes since the last call, (stamp, column), in order."""
        self._pass(until)
        found, self._spikes = sorted(self._spikes), []
        return found

    def _pass(self, until: int) -> None:
        until = min(until, self.quanta)
        while self.now < until:
            self._open = [pulse for pulse in self._open if pulse[0] > self.now]
            end = min([until, *(pulse[0] for pulse in self._open)])
            if self._open:
                self._integrate(sum(rates for _, rates in self._open), self.now, end)
            self.now = end

    def _integrate(self, rate: Any, begin: int, end: int) -> None:
        """From quantum `begin` to `end` at a constant rate: the crossing is a division, not a loop over quanta."""
        since = np.maximum(self._free, begin)
        while True:
            quanta = np.maximum(end - since, 0)
            short = np.maximum(self.threshold - self._charge, 1)
            needed = np.where(rate > 0, -(-short // np.maximum(rate, 1)), self.quanta + 1)
            fires = needed <= quanta
            self._charge += np.where(fires, 0, rate * quanta)
            if not fires.any():
                return
            stamp = since + needed - 1
            self._spikes.extend((int(stamp[j]), int(j)) for j in np.flatnonzero(fires))
            self._charge[fires] = 0
            self._free[fires] = stamp[fires] + 1 + self.deaf
            since = np.where(fires, np.maximum(self._free, begin), end)

    def run(self, window: int, start: Sequence[int] | np.ndarray, row: Sequence[int] | np.ndarray) -> np.ndarray:
        """Spikes of a whole window, int64 [spikes, 2]: stamp and column, in order of stamp, then column.

        start, row : pulses, in any order; they are served in order of start, then row.
        """
        start, row = whole_array("start", start, 0, self.quanta), whole_array("row", row, 0, self.rows)
        self.begin(window)
        for p in np.lexsort((row, start)):
            self.pulse(int(row[p]), int(start[p]))
        return np.array(self.advance(self.quanta), np.int64).reshape(-1, 2)


class CodeCore:
    """Integer model of a crossbar with a converter at each column, of one chip.

    Members: `table` int64 [rows, columns], current units of each active row; `thresholds` int64 [columns, codes - 1].

    Parameters
    ----------
    v_read : V, on active rows. i_quantum : A, the current unit.
    """

    def __init__(
        self, crossbar: Crossbar, converters: ConverterArray, *, chip: int = 0, v_read: float, i_quantum: float
    ) -> None:
        self.v_read, self.i_quantum = positive("v_read", v_read, "V"), positive("i_quantum", i_quantum, "A")
        if count("chip", chip, 0) >= len(crossbar.seeds):
            raise InputError(f"chip: {chip} was given; accepted: 0 to {len(crossbar.seeds) - 1}")
        if converters.columns != crossbar.shape[1]:
            raise InputError(
                f"converters: {converters.columns} were given; accepted: {crossbar.shape[1]}, one per column"
            )
        self.seed, self.core = crossbar.seeds[chip], crossbar.chips.core
        self.table = np.rint(crossbar.transfer[chip] * v_read / i_quantum).astype(np.int64)
        self.thresholds = np.rint(converters.thresholds[chip] / i_quantum).astype(np.int64)
        self._variance = (v_read * crossbar.noise_weight()[chip] / i_quantum) ** 2
        self._converter = converters.noise / i_quantum
        self.rows, self.columns = self.table.shape

    def read(self, active: np.ndarray, index: int) -> np.ndarray:
        """Codes int64 [columns] of read `index`; active: rows as bool [rows] or their numbers, in any order."""
        given = np.asarray(active)
        rows = np.flatnonzero(given) if given.dtype == bool else np.unique(whole_array("active", given, 0, self.rows))
        current = self.table[rows].sum(axis=0)
        sigma = np.sqrt(self._variance[rows].sum(axis=0) + self._converter**2)
        z = stream(self.seed, self.core, Purpose.READ, count("index", index, 0)).standard_normal(self.columns)
        current = current + np.rint(sigma * z).astype(np.int64)
        return search(self.thresholds, current)
