"""Input coding: real values or recorded events in, spikes per time step out.

Every coder is a pure function and gives the same bytes on any machine: values are compared and rounded in double
precision one by one, sums are exact, and random numbers come from the raw Philox stream of each sample, so neither
the batch nor the order of the samples changes an answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np

from ..errors import InputError
from .connections import Synapses
from .graph import INPUT, Layer
from .integer import IntegerLayer

__all__ = [
    "CODINGS",
    "Coding",
    "CodingOptions",
    "Encoded",
    "EventRecording",
    "bernoulli",
    "current",
    "encode",
    "encode_spikes",
    "events_to_steps",
    "latency",
    "rate",
]

Coding = Literal["rate", "bernoulli", "latency", "current", "events"]
CODINGS = ("rate", "bernoulli", "latency", "current", "events")
MAX_STEPS = 100_000
MAX_COUNT = 255  # spikes are stored as uint8
FRACTION_BITS = 24  # of an input value in `current`: sums stay exact in double precision


class EventRecording(Protocol):
    """A recorded event stream: what `coding = "events"` reads."""

    @property
    def times_us(self) -> np.ndarray:
        """Time of each event in microseconds from the start of the recording, integers [events]."""
        ...

    @property
    def addresses(self) -> np.ndarray:
        """Input address of each event, integers [events]."""
        ...


@dataclass(frozen=True, kw_only=True)
class CodingOptions:
    """How an input becomes spikes; the keys of the configuration table `[input]`.

    Parameters
    ----------
    coding : str
        rate, bernoulli, latency, current or events.
    steps : int
        Time steps T of an input.
    max_rate : float
        Spikes per step of the value 1 (rate and bernoulli), in (0, 1].
    seed : int
        Key of the random stream (bernoulli).
    step_us : float
        Microseconds per step (events), above 0.
    max_count : int
        Most spikes of one address in one step (events); more are dropped.

    Raises
    ------
    InputError
        Where a value is outside what is accepted.
    """

    coding: Coding = "rate"
    steps: int = 25
    max_rate: float = 1.0
    seed: int = 0
    step_us: float = 10_000.0
    max_count: int = 1

    def __post_init__(self):
        if self.coding not in CODINGS:
            raise InputError(f"coding = {self.coding!r}: accepted are {', '.join(CODINGS)}")
        _check_steps(self.steps)
        _check_rate(self.max_rate)
        _check_seed(self.seed)
        _check_step_us(self.step_us)
        _check_integer("max_count", self.max_count, 1, MAX_COUNT)


class Encoded(NamedTuple):
    """A coded batch of B inputs.

    `spikes` is uint8 [B, T, inputs]; `current` is the bias int64 [B, neurons] that direct-current coding adds to the
    first layer in every step, else None.
    """

    spikes: np.ndarray
    current: np.ndarray | None


def rate(values: np.ndarray, steps: int, max_rate: float = 1.0) -> np.ndarray:
    """Evenly spaced spikes in number proportional to the value; nothing is random.

    n = rint(x * max_rate * T) spikes (ties to even) in T steps, at the steps where floor((t n + floor(T / 2)) / T)
    rises from t to t + 1.

    Parameters
    ----------
    values : float array [B, inputs], each in [0, 1]
    steps : int
        T, 1 to 100 000.
    max_rate : float
        Spikes per step of the value 1, in (0, 1].

    Returns
    -------
    uint8 array [B, T, inputs]

    Raises
    ------
    InputError
        Where an argument is outside what is accepted.
    """
    values = _check_values(values)
    _check_steps(steps)
    _check_rate(max_rate)
    total = np.rint(values * max_rate * steps).astype(np.int32)
    spikes = np.empty((values.shape[0], steps, values.shape[1]), np.uint8)
    remainder = np.full_like(total, steps // 2)  # (t n + floor(T / 2)) mod T; it wraps where the quotient rises
    for t in range(steps):
        remainder += total
        fires = remainder >= steps
        np.subtract(remainder, steps, out=remainder, where=fires)
        spikes[:, t] = fires
    return spikes


def bernoulli(values: np.ndarray, steps: int, seed: int, max_rate: float = 1.0, *, first_index: int = 0) -> np.ndarray:
    """Random spikes: in each step an input fires with probability x * max_rate, independently.

    Sample i of the data set draws from Philox-4x64-10 with key (seed, i) and counter from 0, step-major: number
    t * inputs + a decides step t of address a, which fires where floor(number / 2**11) < x * max_rate * 2**53. So a
    sample has the same spikes in any batch, and its first steps do not depend on how many follow.

    Parameters
    ----------
    values : float array [B, inputs], each in [0, 1]
    steps : int
        T, 1 to 100 000.
    seed : int
        0 to 2**64 - 1.
    max_rate : float
        Probability at the value 1, in (0, 1].
    first_index : int
        Index in the data set of the first sample of `values`; the others follow it.

    Returns
    -------
    uint8 array [B, T, inputs]

    Raises
    ------
    InputError
        Where an argument is outside what is accepted.
    """
    values = _check_values(values)
    _check_steps(steps)
    _check_rate(max_rate)
    _check_seed(seed)
    _check_integer("first_index", first_index, 0, (1 << 63) - 1)
    samples, inputs = values.shape
    limit = values * max_rate * 2.0**53
    spikes = np.empty((samples, steps, inputs), np.uint8)
    for i in range(samples):
        # random_raw: numpy promises that the raw stream never changes; Generator methods have no such promise
        stream = np.random.Philox(key=np.array([seed, first_index + i], np.uint64))
        raw = stream.random_raw(steps * inputs).reshape(steps, inputs) >> np.uint64(11)
        spikes[i] = raw.astype(np.float64) < limit[i]  # 53 bits: the conversion is exact
    return spikes


def latency(values: np.ndarray, steps: int) -> np.ndarray:
    """One spike per input, the earlier the larger the value: t = rint((1 - x) (T - 1)); the value 0 never fires.

    Parameters
    ----------
    values : float array [B, inputs], each in [0, 1]
    steps : int
        T, 1 to 100 000.

    Returns
    -------
    uint8 array [B, T, inputs]

    Raises
    ------
    InputError
        Where an argument is outside what is accepted.
    """
    values = _check_values(values)
    _check_steps(steps)
    spikes = np.zeros((values.shape[0], steps, values.shape[1]), np.uint8)
    sample, address = np.nonzero(values)
    when = np.rint((1.0 - values[sample, address]) * (steps - 1)).astype(np.int64)
    spikes[sample, when, address] = 1
    return spikes


def listening(layer: Layer) -> Synapses:
    """The connection of a first layer that listens to the input; others bring spikes of steps before."""
    return next(c for c in layer.connections if c.source in (None, INPUT))


def current(values: np.ndarray, layer: IntegerLayer) -> np.ndarray:
    """Direct current: what each neuron of the first layer receives in every step instead of input spikes.

    I = floor(sum_i w_i round(x_i 2**24) / 2**24 + 1/2), computed exactly and rounded once. It lies between the sum
    of the negative and the sum of the positive weights of the neuron, so it fits the accumulator of the layer.

    Parameters
    ----------
    values : float array [B, inputs], each in [0, 1]
    layer : IntegerLayer
        The first layer; I is in the unit of its weights and comes on top of its own bias.

    Returns
    -------
    int64 array [B, layer.neurons]

    Raises
    ------
    InputError
        Where the values do not fit the layer.
    """
    values = _check_values(values)
    connection = listening(layer)
    if values.shape[1] != connection.sources:
        raise InputError(
            f"layer {layer.name!r}: inputs of {values.shape[1]} values; accepted are {connection.sources}, its fan-in"
        )
    fixed = np.rint(values * 2.0**FRACTION_BITS)
    matrix = connection.matrix
    largest = int(abs(matrix).sum(axis=1).max()) << FRACTION_BITS
    if largest < 1 << 53:  # every partial sum is an integer below 2**53: exact in any order of summation
        total = np.rint((matrix.astype(np.float64) @ fixed.T).T).astype(np.int64)
    elif largest < 1 << 62:
        total = (matrix @ fixed.astype(np.int64).T).T
    else:
        raise InputError(
            f"layer {layer.name!r}: the weights of a neuron add up to {largest >> FRACTION_BITS}; "
            f"accepted with direct current is below 2**{62 - FRACTION_BITS}"
        )
    return (total + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS


def events_to_steps(
    times_us: np.ndarray,
    addresses: np.ndarray,
    step_us: float,
    steps: int,
    inputs: int,
    count: bool = False,
    *,
    max_count: int = MAX_COUNT,
) -> np.ndarray:
    """Bin one recorded event stream to time steps: an event at time t belongs to step floor(t / step_us).

    Events after the last step are left out. Several events of an address in one step become one spike, or with
    `count` their number, at most `max_count`.

    Parameters
    ----------
    times_us : integer or float array [events], not negative, in any order
        Microseconds from the start of the input.
    addresses : integer array [events], each 0 to inputs - 1
    step_us : float
        Microseconds per step, above 0.
    steps : int
        T, 1 to 100 000.
    inputs : int
        Number of input addresses.
    count : bool
        Count the events of an address in a step (for a layer with `max_count` above 1).
    max_count : int
        Upper limit of a count, 1 to 255.

    Returns
    -------
    uint8 array [T, inputs]

    Raises
    ------
    InputError
        Where an argument is outside what is accepted; the first bad event is named.
    """
    times, where = np.asarray(times_us), np.asarray(addresses)
    _check_steps(steps)
    _check_integer("inputs", inputs, 1, 1 << 31)
    _check_integer("max_count", max_count, 1, MAX_COUNT)
    _check_step_us(step_us)
    if times.ndim != 1 or times.shape != where.shape:
        raise InputError(
            f"events with times of shape {times.shape} and addresses of shape {where.shape}: "
            "accepted are two lists of the same length"
        )
    if times.size == 0:
        return np.zeros((steps, inputs), np.uint8)
    if where.dtype.kind not in "iu" or times.dtype.kind not in "iuf":
        raise InputError(
            f"events with times of type {times.dtype} and addresses of type {where.dtype}: "
            "accepted are numbers of microseconds and integer addresses"
        )
    bad = ~((times >= 0) & np.isfinite(times))
    if bad.any():
        raise InputError(f"event {int(bad.argmax())} at {times[bad][0]} us: accepted is a time of at least 0")
    bad = (where < 0) | (where >= inputs)
    if bad.any():
        raise InputError(
            f"event {int(bad.argmax())} has address {where[bad][0]}: "
            f"accepted is 0 to {inputs - 1}, the network's inputs"
        )
    kept = times < step_us * steps
    step = np.minimum((times[kept] // step_us).astype(np.int64), steps - 1)
    flat = np.bincount(step * inputs + where[kept].astype(np.int64), minlength=steps * inputs)
    return np.minimum(flat, max_count if count else 1).astype(np.uint8).reshape(steps, inputs)


def encode(
    options: CodingOptions,
    values: np.ndarray | Sequence[EventRecording],
    layer: IntegerLayer,
    *,
    first_index: int = 0,
) -> Encoded:
    """Code a batch of inputs for a network whose first layer is `layer`.

    Parameters
    ----------
    options : CodingOptions
    values : float array [B, inputs] in [0, 1]; for `events`, a sequence of B recordings
    layer : IntegerLayer
        The first layer of the network: its fan-in, its weights (direct current), its `max_count` (events).
    first_index : int
        Index in the data set of the first input (bernoulli).

    Returns
    -------
    Encoded

    Raises
    ------
    InputError
        Where the inputs do not fit the layer or the options.
    """
    if options.coding == "events" and options.max_count > layer.max_count:
        raise InputError(
            f"max_count = {options.max_count}: layer {layer.name!r} accepts up to {layer.max_count} spikes "
            "of one address in one step"
        )
    spikes = encode_spikes(options, values, listening(layer).sources, first_index=first_index)
    return Encoded(spikes, current(np.asarray(values), layer) if options.coding == "current" else None)


def encode_spikes(
    options: CodingOptions, values: np.ndarray | Sequence[EventRecording], inputs: int, *, first_index: int = 0
) -> np.ndarray:
    """The spikes of `encode`, uint8 [B, T, inputs], for which no layer is needed; all 0 for direct current.

    Raises
    ------
    InputError
        Where the inputs do not fit the network's `inputs` addresses or the options.
    """
    if options.coding == "events":
        if isinstance(values, np.ndarray):
            raise InputError(
                'coding = "events" was given values: accepted are recordings with times_us and addresses; '
                "use rate, bernoulli, latency or current for values"
            )
        spikes = np.zeros((len(values), options.steps, inputs), np.uint8)
        for i, recording in enumerate(values):
            spikes[i] = events_to_steps(
                recording.times_us,
                recording.addresses,
                options.step_us,
                options.steps,
                inputs,
                options.max_count > 1,
                max_count=options.max_count,
            )
        return spikes
    array = _check_values(values)
    if array.shape[1] != inputs:
        raise InputError(f"inputs of {array.shape[1]} values; accepted are {inputs}, the network's inputs")
    if options.coding == "rate":
        return rate(array, options.steps, options.max_rate)
    if options.coding == "bernoulli":
        return bernoulli(array, options.steps, options.seed, options.max_rate, first_index=first_index)
    if options.coding == "latency":
        return latency(array, options.steps)
    return np.zeros((len(array), options.steps, inputs), np.uint8)


def _check_values(values) -> np.ndarray:
    """`values` in double precision, or InputError that names the first bad one."""
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise InputError(
            f"input values of shape {array.shape} and type {array.dtype}: accepted are numbers [samples, inputs]"
        )
    array = array.astype(np.float64)
    bad = ~((array >= 0.0) & (array <= 1.0))  # also catches NaN
    if bad.any():
        sample, address = (int(index) for index in np.argwhere(bad)[0])
        raise InputError(
            f"input value {array[sample, address]} (sample {sample}, address {address}): accepted is 0 to 1"
        )
    return array


def _check_steps(steps: int):
    _check_integer("steps", steps, 1, MAX_STEPS)


def _check_seed(seed: int):
    _check_integer("seed", seed, 0, (1 << 64) - 1)


def _check_integer(name: str, value: int, low: int, high: int):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise InputError(f"{name} = {value!r}: accepted is an integer from {low} to {high}")


def _check_rate(max_rate: float):
    if isinstance(max_rate, bool) or not isinstance(max_rate, (int, float, np.number)) or not 0 < max_rate <= 1:
        raise InputError(f"max_rate = {max_rate!r}: accepted is a number above 0 and up to 1")


def _check_step_us(step_us: float):
    if isinstance(step_us, bool) or not isinstance(step_us, (int, float, np.number)) or not 0 < step_us < np.inf:
        raise InputError(f"step_us = {step_us!r}: accepted is a number of microseconds above 0")
