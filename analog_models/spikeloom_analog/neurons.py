"""Integrate-and-fire neurons in closed form, from event to event: no time steps.

u is the distance of the membrane from rest towards its threshold [V]. Between two events the current I is constant:

    IF    u(t) = u0 + I t / C                          fires after (theta - u0) C / I
    LIF   u(t) = I R + (u0 - I R) exp(-t / RC)         fires after RC ln((I R - u0) / (I R - theta))

A spike resets the membrane, by one of two circuits:

    timed    back at rest after `reset_time`; currents are ignored meanwhile
    switch   a switch of `switch_resistance` across C closes at theta and opens at `release` volts; with Ron' = Ron || R
             u(t) = I Ron' + (u0 - I Ron') exp(-t / Ron' C), currents count

With a `gain_bandwidth` an input loses a share of its current (`settled_share`), and the output follows the capacitor
with the time constant 1 / (2 pi GBW): a switched reset takes longer and leaves less on C. The lag at the threshold, and
what else there is, goes into `dead_time`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from spikeloom.errors import InputError

from .checks import finite_array, not_negative, positive
from .streams import Purpose, normals, uniforms

__all__ = ["IFNeuron", "NeuronArray", "Spikes", "dead_time", "integrate", "settled_share"]


def dead_time(gain_bandwidth: float) -> float:
    """Dead time per reset [s] of an integrator whose op-amp has this gain-bandwidth product [Hz]: 2.6 / GBW.

    Fitted to ngspice runs of one netlist (8 x 4 crossbar, C = 10 pF, Ron = 100 ohm): 26.6 ns at 100 MHz, 2.44 ns at
    1 GHz. That is for a neuron without `gain_bandwidth`, and other circuits differ: calibrate (`spice`). With it, what
    is left is near 1 / (2 pi GBW) on any of them.
    """
    return 2.6 / positive("gain_bandwidth", gain_bandwidth, "Hz")


def settled_share(conductance: np.ndarray, neuron: "IFNeuron") -> np.ndarray:
    """Share of the current of a conductance [S] that an amplifier of finite bandwidth takes, any shape:

        1 / (1 + G / (2 pi GBW C))

    To move its output at I / C the amplifier needs an input of I / (2 pi GBW C) volts, which is missing across G. 1
    where the neuron has no `gain_bandwidth`. Of a gated array G is taken as that of each row alone.
    """
    if neuron.gain_bandwidth is None:
        return np.ones_like(conductance)
    return 1 / (1 + conductance / (2 * np.pi * neuron.gain_bandwidth * neuron.capacitance))


@dataclass(frozen=True, kw_only=True)
class IFNeuron:
    """Parameters of one neuron circuit, SI.

    Members
    -------
    capacitance : F, effective.
    threshold : V, from rest to firing. rest, polarity : V and +1 or -1, membrane = rest + polarity * u.
    reset : "timed" (with reset_time) or "switch" (with switch_resistance, release).
    pulse_width : s, how long a spike drives the next array. dead_time : s after each reset without integration.
    leak_resistance : ohm across the capacitor; None is an IF neuron. bias_current : A, constant, positive fires.
    floor : V, lowest u (a supply rail); None: none.
    drive : V, row voltage against the virtual ground during a pulse; needed for the effect of an offset.
    offset_low, offset_high : V, amplifier offset of each neuron, uniform; lowers the drive.
    threshold_sigma : V, spread of the threshold over neurons.
    gain_bandwidth : Hz, of the amplifier: its virtual ground gives way (`settled_share`); None: it does not. The time
        that it needs after a reset is `dead_time`.
    """

    capacitance: float
    threshold: float
    rest: float = 0.0
    polarity: int = 1
    reset: Literal["timed", "switch"] = "timed"
    reset_time: float = 0.0
    switch_resistance: float = 0.0
    release: float = 0.0
    pulse_width: float = 0.0
    dead_time: float = 0.0
    leak_resistance: float | None = None
    bias_current: float = 0.0
    floor: float | None = None
    drive: float = 0.05
    offset_low: float = 0.0
    offset_high: float = 0.0
    threshold_sigma: float = 0.0
    gain_bandwidth: float | None = None

    def __post_init__(self) -> None:
        positive("capacitance", self.capacitance, "F")
        if self.gain_bandwidth is not None:
            positive("gain_bandwidth", self.gain_bandwidth, "Hz")
        positive("threshold", self.threshold, "V")
        positive("drive", self.drive, "V")
        for name in ("reset_time", "switch_resistance", "pulse_width", "dead_time"):
            not_negative(name, getattr(self, name), "s" if "resistance" not in name else "ohm")
        not_negative("threshold_sigma", self.threshold_sigma, "V")
        if self.polarity not in (1, -1):
            raise InputError(f"polarity: {self.polarity!r} was given; accepted: 1, -1")
        if self.reset not in ("timed", "switch"):
            raise InputError(f"reset: {self.reset!r} was given; accepted: timed, switch")
        if self.reset == "switch":
            positive("switch_resistance", self.switch_resistance, "ohm")
            if not 0 < self.release < self.threshold:
                raise InputError(
                    f"release: {self.release!r} was given; accepted: above 0 and below the threshold, "
                    f"{self.threshold:g} V: a switch that discharges to 0 never opens"
                )
        if self.leak_resistance is not None:
            positive("leak_resistance", self.leak_resistance, "ohm")
        if self.offset_low > self.offset_high:
            raise InputError(f"offset_low: {self.offset_low:g} V was given; accepted: up to offset_high")
        if self.floor is not None and not self.floor <= 0:
            raise InputError(f"floor: {self.floor!r} was given; accepted: 0 V or below, or None")

    @staticmethod
    def sky130(**changes: Any) -> "IFNeuron":
        """The neuron of the interception circuit (arXiv 2605.31141 and its authors' code).

        Rest 0.92 V, fires at or below 0.71 V, 73.5 fF, pulse and reset 55 ns, drive 50 mV. The bleed resistors of that
        circuit (90 MOhm hidden, 9 MOhm output) run from the neuron's input to the 0.95 V rail, a constant current that
        makes up for leakage not modelled here: they cost energy and are left out of the membrane (`bias_current` = 0).
        """
        values: dict[str, Any] = {
            "capacitance": 73.5e-15,
            "threshold": 0.21,
            "rest": 0.92,
            "polarity": -1,
            "reset": "timed",
            "reset_time": 55e-9,
            "pulse_width": 55e-9,
            "drive": 0.05,
        }
        return IFNeuron(**(values | changes))

    def check_current(self, current: float) -> None:
        """Raise InputError where the largest current [A] keeps a switched reset from completing: I Ron >= release."""
        if self.reset == "switch" and current * self.switch_resistance >= self.release:
            raise InputError(
                f"reset: {current:g} A through {self.switch_resistance:g} ohm, {current * self.switch_resistance:g} V, "
                f"were given; accepted: below release, {self.release:g} V, or the reset never completes"
            )

    def check_pulses(self) -> None:
        """Raise InputError if a spike's pulse outlasts the reset: two pulses of one row could then overlap."""
        positive("pulse_width", self.pulse_width, "s")
        if self.reset == "timed" and self.pulse_width > (self.reset_time + self.dead_time) * (1 + 1e-12):
            raise InputError(
                f"pulse_width: {self.pulse_width:g} s was given; accepted: up to the reset with its dead time, "
                f"{self.reset_time + self.dead_time:g} s"
            )

    def check_step(self, step: float) -> None:
        """Raise InputError if a pulse, or a reset with its dead time, is longer than a time step [s]."""
        positive("step", step, "s")
        lengths = {"pulse_width": self.pulse_width, "reset_time + dead_time": self.reset_time + self.dead_time}
        for name, value in lengths.items():
            if value > step * (1 + 1e-12):
                raise InputError(f"{name}: {value:g} s was given; accepted: up to the time step, {step:g} s")


class NeuronArray:
    """N neurons of one kind on C chips: their thresholds and offsets.

    Members: `threshold`, `offset` [V], [C, N]; `gain` [C, N], what an offset leaves of the drive:
    (drive - offset) / drive, because only rows with open gates see it (an array that always conducts would also drift).
    """

    def __init__(self, neuron: IFNeuron, neurons: int, *, seeds: Iterable[int], core: int = 0) -> None:
        self.neuron, self.neurons, self.core = neuron, neurons, core
        self.seeds = tuple(seeds)
        shape = (len(self.seeds), neurons)
        self.threshold, self.offset = np.full(shape, neuron.threshold), np.full(shape, neuron.offset_low)
        if neuron.threshold_sigma:
            z = normals(self.seeds, (neurons,), core=core, purpose=Purpose.THRESHOLD)
            self.threshold += neuron.threshold_sigma * z
            self.threshold = np.maximum(self.threshold, 1e-3 * neuron.threshold)
        if neuron.offset_high > neuron.offset_low:
            u = uniforms(self.seeds, (neurons,), core=core, purpose=Purpose.OFFSET)
            self.offset += (neuron.offset_high - neuron.offset_low) * u
        self.gain = (neuron.drive - self.offset) / neuron.drive


@dataclass(frozen=True)
class Spikes:
    """Spikes of many lanes (independent runs), sorted by lane, time, neuron.

    Members: `lane`, `neuron` int64, `time` [s]; `lanes`, `neurons` how many there are. `probes` [lanes, K, neurons]: u
    [V] at the probe times, when asked for.
    """

    lane: np.ndarray
    neuron: np.ndarray
    time: np.ndarray
    lanes: int
    neurons: int
    probes: np.ndarray | None = None

    def counts(self) -> np.ndarray:
        """Spikes of each neuron, int64 [lanes, neurons]."""
        flat = np.bincount(self.lane * self.neurons + self.neuron, minlength=self.lanes * self.neurons)
        return flat.reshape(self.lanes, self.neurons)

    def of(self, lane: int, neuron: int) -> np.ndarray:
        """Spike times of one neuron in one lane [s], ascending."""
        return self.time[(self.lane == lane) & (self.neuron == neuron)]

    def padded(self) -> tuple[np.ndarray, np.ndarray]:
        """Spike times [lanes, most], inf behind the last, and their neurons, int64 [lanes, most]."""
        number = np.bincount(self.lane, minlength=self.lanes)
        most = int(number.max(initial=0))
        time, neuron = np.full((self.lanes, most), np.inf), np.zeros((self.lanes, most), np.int64)
        place = np.arange(len(self.lane)) - np.repeat(np.cumsum(number) - number, number)
        time[self.lane, place], neuron[self.lane, place] = self.time, self.neuron
        return time, neuron


def integrate(
    neuron: IFNeuron,
    start: np.ndarray,
    stop: np.ndarray,
    current: np.ndarray,
    *,
    window: float,
    threshold: np.ndarray | None = None,
    bias: np.ndarray | float | None = None,
    probes: np.ndarray | None = None,
) -> Spikes:
    """Spikes of N neurons in each of L lanes, driven by P pulses of current that add up.

    Parameters
    ----------
    start, stop : s, [L, P], inf for pulses that are not there.
    current : A, [L, P, N], positive towards the threshold.
    window : s, how long the run lasts. threshold : V, [L, N]; default: the neuron's.
    bias : A, [L, N] or a number; default: the neuron's bias_current.
    probes : s, [K] ascending: record u at these times.
    """
    lanes, pulses, neurons = current.shape
    window = positive("window", window, "s")
    probe_times = np.zeros(0) if probes is None else finite_array("probes", probes, 1, "s")
    edges = np.concatenate([start, stop, np.broadcast_to(probe_times, (lanes, len(probe_times)))], axis=1)
    order = np.argsort(edges, axis=1, kind="stable").T
    times = np.take_along_axis(edges.T, order, axis=0)
    used = int((times < window).sum(axis=0).max(initial=0))
    order = np.ascontiguousarray(order[:used])
    live = times[:used] < window
    times = np.concatenate([np.zeros((1, lanes)), np.minimum(times[:used], window), np.full((1, lanes), window)])
    # +1 where a pulse begins, -1 where one ends, 0 at probes and for lanes that have no more edges
    signs = live * np.where(order < pulses, 1.0, np.where(order < 2 * pulses, -1.0, 0.0))
    idle = np.cumsum(signs, axis=0) == 0
    rows = np.arange(lanes) * pulses + order % max(pulses, 1)
    base = neuron.bias_current if bias is None else bias
    biased = bool(np.any(base))
    begins, ends = times[1:-1], times[2:]
    if not (biased or neuron.leak_resistance or neuron.reset == "switch" or len(probe_times)):
        # Nothing happens between pulses: each lane goes from one segment with a current to its next.
        busy = live & ~idle
        source = np.flatnonzero(busy)
        place = (np.cumsum(busy, axis=0) - 1).take(source) * lanes + source % lanes
        fresh = np.ones(idle.shape, bool)
        fresh[1:] = idle[:-1]
        used = int(busy.sum(axis=0).max(initial=0))

        def packed(values: np.ndarray, behind: float | bool) -> np.ndarray:
            result = np.full((used, lanes), behind, values.dtype)
            result.reshape(-1)[place] = values.take(source)
            return result

        begins, ends, signs, rows = packed(begins, window), packed(ends, window), packed(signs, 0.0), packed(rows, 0)
        idle = packed(fresh, True)
    else:
        idle = np.concatenate([np.ones((1, lanes), bool), idle])[:used]
    flat = np.ascontiguousarray(current).reshape(-1, neurons)
    run = _Run(neuron, lanes, neurons, neuron.threshold if threshold is None else threshold)
    total = np.zeros((lanes, neurons))
    recorded = None if probes is None else np.full((lanes, len(probe_times), neurons), np.nan)
    if biased or neuron.leak_resistance:
        run.advance(total + base, times[0], times[1])
    for s in range(used):
        if pulses:
            change = flat.take(rows[s], axis=0)
            change *= signs[s][:, None]
            total[idle[s]] = 0.0  # before this edge no pulse was open: rounding must not stay behind
            total += change
        if recorded is not None:
            at = np.flatnonzero(live[s] & (order[s] >= 2 * pulses))
            recorded[at, order[s, at] - 2 * pulses] = run.u[at]
        run.advance(total + base if biased else total, begins[s], ends[s])
    return run.spikes(recorded)


def _lagging_fall(ratio: np.ndarray, tau: float, omega: float) -> np.ndarray:
    """Time [s] in which the output of an amplifier falls by `ratio`, while the capacitor that it follows does by `tau`.

    With a = 1 / tau and the lag u' = omega (v - u): u / u0 = (omega e^-at - a e^-omega t) / (omega - a), bisected.
    """
    rate = 1 / tau
    if abs(omega - rate) < 1e-6 * rate:
        omega = rate * (1 + 1e-6)
    low, high = np.zeros(len(ratio)), (np.log(ratio) + 1) * (tau + 1 / omega) * 2
    for _ in range(50):
        middle = (low + high) / 2
        above = (omega * np.exp(-rate * middle) - rate * np.exp(-omega * middle)) / (omega - rate) * ratio > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return high


class _Run:
    """State of all neurons, and what they have done so far. Few of them fire at a time: those are flat indices `at`."""

    def __init__(self, neuron: IFNeuron, lanes: int, neurons: int, threshold: np.ndarray | float) -> None:
        self.neuron = neuron
        self.leak = neuron.leak_resistance or 0.0  # ohm; 0: none
        self.tau = self.leak * neuron.capacitance
        self.theta = np.broadcast_to(threshold, (lanes, neurons)).copy()
        self.u = np.zeros((lanes, neurons))
        self.free = np.zeros((lanes, neurons))  # integrates from then on; inf: the reset switch is closed
        self._found: list[tuple[np.ndarray, np.ndarray]] = []

    def advance(self, current: np.ndarray, begin: np.ndarray, end: np.ndarray) -> None:
        """From `begin` to `end` [L] at constant current [L, N]."""
        neurons = current.shape[1]
        since = np.maximum(self.free, begin[:, None])
        dt = end[:, None] - since
        np.maximum(dt, 0.0, out=dt)
        before, self.u = self.u, self._integrated(self.u, current, dt)
        hit = self.u >= self.theta
        if self.leak:
            hit &= dt > 0
        if self.neuron.floor is not None:
            np.maximum(self.u, self.neuron.floor, out=self.u)
        if self.neuron.reset == "switch":
            closed = np.isinf(self.free)
            if closed.any():
                hit &= ~closed
                self.u[closed] = before[closed]
                at = np.flatnonzero(closed)
                again = self._discharge(at, begin[at // neurons], current.take(at), end[at // neurons])
                self._cycle(*self._resume(*again))
        at = np.flatnonzero(hit)
        if len(at):
            self._cycle(at, current.take(at), end[at // neurons], before.take(at), since.take(at))

    def _integrated(self, u: np.ndarray, current: np.ndarray, dt: np.ndarray) -> np.ndarray:
        if not self.leak:
            change = current * dt
            change *= 1 / self.neuron.capacitance
            change += u
            return change
        goal = current * self.leak
        return np.where(dt > 0, goal + (u - goal) * np.exp(-dt / self.tau), u)

    def _cycle(self, *hits: np.ndarray) -> None:
        """Spikes, resets and spikes again, until nobody crosses before the end of the segment."""
        while len(hits[0]):
            hits = self._resume(*self._fire(*hits))

    def _fire(
        self, at: np.ndarray, current: np.ndarray, end: np.ndarray, u0: np.ndarray, since: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Neurons that cross between `since` (at u0) and `end`; returns those that recover before the end."""
        n, theta = self.neuron, self.theta.take(at)
        if self.leak:
            goal = current * self.leak
            above = np.maximum(goal - theta, np.finfo(float).tiny)  # the caller saw it reached: at the end, then
            time = since + self.tau * np.log(np.maximum((goal - u0) / above, 1.0))
        else:
            time = since + np.maximum(theta - u0, 0.0) * n.capacitance / np.where(current > 0, current, np.inf)
        time = np.minimum(time, end)
        self._found.append((at, time))
        if n.reset == "switch":
            self.u.reshape(-1)[at] = theta
            return self._discharge(at, time, current, end)
        free = time + (n.reset_time + n.dead_time)
        self.u.reshape(-1)[at] = 0.0
        self.free.reshape(-1)[at] = free
        again = free < end
        return at[again], current[again], end[again]

    def _discharge(
        self, at: np.ndarray, begin: np.ndarray, current: np.ndarray, end: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Closed switches from `begin` to `end`: they open at `release`; returns those that integrate by then."""
        n = self.neuron
        ron = n.switch_resistance
        if self.leak:
            ron = ron * self.leak / (ron + self.leak)
        goal, u0 = current * ron, self.u.take(at)
        tau = ron * n.capacitance
        can = (goal < n.release) & (u0 > n.release)
        ratio = np.where(can, (u0 - goal) / np.where(can, n.release - goal, 1.0), 1.0)
        lasts, left = tau * np.log(ratio), np.full(len(at), n.release)
        if n.gain_bandwidth is not None:
            lasts = _lagging_fall(ratio, tau, 2 * np.pi * n.gain_bandwidth)
            left = np.where(can, goal + (u0 - goal) * np.exp(-lasts / tau), n.release)
        time = np.where(u0 <= n.release, begin, np.where(can, begin + lasts, np.inf))
        done = time <= end
        self.u.reshape(-1)[at] = np.where(done, left, goal + (u0 - goal) * np.exp(-(end - begin) / tau))
        self.free.reshape(-1)[at] = np.where(done, time + n.dead_time, np.inf)
        again = done & (time + n.dead_time < end)
        return at[again], current[again], end[again]

    def _resume(self, at: np.ndarray, current: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, ...]:
        """Integrate from `free` to `end`; returns those that cross, with where they began."""
        since, u0 = self.free.take(at), self.u.take(at)
        u = self._integrated(u0, current, end - since)
        hit = u >= self.theta.take(at)
        self.u.reshape(-1)[at] = u if self.neuron.floor is None else np.maximum(u, self.neuron.floor)
        return at[hit], current[hit], end[hit], u0[hit], since[hit]

    def spikes(self, probes: np.ndarray | None) -> Spikes:
        """Everything that fired, in order."""
        lanes, neurons = self.u.shape
        if not self._found:
            nothing = np.zeros(0, np.int64)
            return Spikes(nothing, nothing, np.zeros(0), lanes, neurons, probes)
        at, time = (np.concatenate(part) for part in zip(*self._found, strict=True))
        lane, who = np.divmod(at, neurons)
        if lanes <= 1 << 16:  # a radix sort; neurons that fire at the very same time are in order as they were found
            order = np.argsort(time, kind="stable")
            order = order[np.argsort(lane[order].astype(np.uint16), kind="stable")]
        else:
            order = np.lexsort((time, lane))
        return Spikes(lane[order], who[order], time[order], lanes, neurons, probes)
