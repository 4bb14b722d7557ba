"""The trained network before quantisation: a graph of layers in double precision.

One step of a neuron with stored potential v and input spikes s_i::

    u = decay v + bias + sum_i w_i s_i
    s = u > theta, or u >= theta          per layer: `fires_above`
    v = 0 | u - theta | u                 zero, subtract, none

With a linear decay d in place of `decay`, decay v is v - sign(v) min(abs(v), d).

The delayed kinds reset in the *next* step: u = decay v - theta s', or 0 where s', plus the inputs; s' is the last
step's spike and v = u. With a synaptic current i = current_decay i + sum_i w_i s_i, and u = decay v + bias + i, or the
bias goes into i: `bias_in_current`. In the
`refractory` steps after a spike v = 0 and s = 0. With an adaptive threshold u passes theta + b instead, and
b = adaptation_decay b + adaptation theta s. A stochastic neuron has no potential: with u = bias + sum_i w_i s_i it
spikes with probability 1 - exp(-exp(z)), z = (u - theta) / width + ln ln 2, by the random words of the integer network
of the same seed. This is the integer network's definition without its rounding and
without its limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from .connections import FloatConnection
from .graph import INPUT, Layer, LayerGraph
from .integer import RESET_KINDS, ResetKind
from .reference import Trace
from .stochastic import cloglog, words

__all__ = ["FloatLayer", "FloatNetwork", "simulate_float", "with_habits"]

HALF = float(np.log(np.log(2)))
"""z of probability 1/2."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatLayer(Layer):
    """A layer of real-valued neurons and the connections that lead to it.

    Parameters
    ----------
    name : str
        Unique in the network.
    connections : tuple of FloatConnection
        Their spikes add up.
    bias : float64 array [neurons], optional
        Added once per step. Zero by default.
    decay : float, or float64 array [neurons]
        Share of the potential that is left after a step, 0 to 1; 1 means no leak.
    linear_decay : float, or float64 array [neurons]
        What a step takes off the potential, towards 0 and never across it; 0, or `decay` is 1.
    threshold : float, float64 array [neurons] or None
        theta, above 0; None makes a read-out: it never fires, its potential is the answer.
    reset : str
        zero, subtract, delayed_zero, delayed_subtract or none.
    fires_above : bool
        True: fires at u > theta (NIR, snnTorch); False: at u >= theta.
    current_decay : float, float64 array [neurons] or None
        Share of the synaptic current that is left after a step; None: spikes go straight into the potential.
    bias_in_current : bool
        Whether the bias, and a direct current, enter the synaptic current in place of the potential.
    refractory : int
        Steps after a spike in which the neuron rests.
    adaptation : float
        What a spike adds to the threshold, as a share of it; 0 for a threshold that stays.
    adaptation_decay : float
        Share of what was added that is left after a step, 0 to 1.
    cloglog : float or None
        Width of the activation of stochastic neurons, in potential.
    nodes : tuple of str
        The nodes of the NIR graph that this layer was made of.

    Raises
    ------
    InputError
        Where a value is not finite, does not fit the others or is outside what is accepted.
    """

    name: str
    connections: tuple[FloatConnection, ...]
    bias: np.ndarray = field(default=None)  # type: ignore[assignment]
    decay: float | np.ndarray = 1.0
    linear_decay: float | np.ndarray = 0.0
    threshold: float | np.ndarray | None = None
    reset: ResetKind = "none"
    fires_above: bool = True
    current_decay: float | np.ndarray | None = None
    bias_in_current: bool = False
    refractory: int = 0
    adaptation: float = 0.0
    adaptation_decay: float = 1.0
    cloglog: float | None = None
    nodes: tuple[str, ...] = ()

    @classmethod
    def dense(cls, *, name: str, weights: np.ndarray, **rest) -> "FloatLayer":
        """A layer with one dense connection, weights [neurons, fan_in], from the layer before it."""
        try:
            return cls(name=name, connections=(FloatConnection(weights=weights),), **rest)
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith("layer ") else f"layer {name!r}: {text}") from None

    def __post_init__(self):
        def fail(text: str):
            raise InputError(f"layer {self.name!r}: {text}")

        object.__setattr__(self, "connections", tuple(self.connections))
        wrong = self.check_connections()
        if wrong:
            fail(wrong)
        bias = np.zeros(self.neurons) if self.bias is None else np.array(self.bias, np.float64)
        if bias.shape != (self.neurons,):
            fail(f"bias of shape {bias.shape}: accepted are {self.neurons} values, one per neuron")
        if not np.isfinite(bias).all():
            index = int(np.argmin(np.isfinite(bias)))
            fail(f"bias[{index}] = {bias[index]}: accepted are finite numbers")
        bias.flags.writeable = False
        object.__setattr__(self, "bias", bias)
        for what in ("decay", "current_decay"):
            value = self._numbers(what)
            if value is not None and not ((value >= 0) & (value <= 1)).all():
                fail(f"{what} = {value[~((value >= 0) & (value <= 1))].flat[0]}: accepted is 0 to 1")
        if self.bias_in_current and self.current_decay is None:
            fail("a bias into the synaptic current without one: accepted is a current_decay")
        lost = self._numbers("linear_decay")
        assert lost is not None
        if not ((lost >= 0) & (lost < np.inf)).all():
            fail(f"linear_decay = {lost[~((lost >= 0) & (lost < np.inf))].flat[0]}: accepted is a finite number from 0")
        if lost.any() and np.any(self.decay != 1.0):
            fail("both decay and linear_decay: accepted is one of them")
        if self.reset not in RESET_KINDS:
            fail(f"reset {self.reset!r}: accepted are {', '.join(RESET_KINDS)}")
        if self.refractory < 0:
            fail(f"refractory = {self.refractory}: accepted is at least 0 steps")
        if not 0 <= self.adaptation < np.inf:
            fail(f"adaptation = {self.adaptation}: accepted is a finite share of the threshold, at least 0")
        if not 0 <= self.adaptation_decay <= 1:
            fail(f"adaptation_decay = {self.adaptation_decay}: accepted is 0 to 1")
        theta = self._numbers("threshold")
        width = self._numbers("cloglog")
        if width is not None:
            if len(width) > 1 and not (width == width[0]).all():
                fail(f"widths of the activation from {width.min():g} to {width.max():g}: accepted is one for a layer")
            if not 0 < width[0] < np.inf:
                fail(f"a width of the activation of {width[0]:g}: accepted is a finite number above 0")
            plain = np.all(self.decay == 1.0) and not lost.any() and self.current_decay is None and not self.refractory
            if theta is None or self.reset != "none" or not plain:
                fail("stochastic neurons with a potential or without a threshold; accepted is a threshold alone")
        if theta is None:
            if self.reset != "none":
                fail(f"reset {self.reset!r} without a threshold: a read-out has reset = 'none'")
            if self.refractory:
                fail("a refractory period without a threshold: a read-out has none")
            if self.adaptation:
                fail("an adaptive threshold without a threshold: a read-out has none")
        elif not ((theta > 0) & (theta < np.inf)).all():
            fail(
                f"threshold = {theta[~((theta > 0) & (theta < np.inf))].flat[0]}: accepted is a finite number above 0, "
                "the potential after a reset"
            )
        elif self.adaptation and self.reset.startswith("delayed"):
            fail(f"an adaptive threshold with reset {self.reset!r}: accepted are zero, subtract, none")
        elif self.adaptation and theta.size > 1 and np.ptp(theta):
            fail(
                f"an adaptive threshold with thresholds from {theta.min():g} to {theta.max():g}, which shared weights "
                "keep from being made equal: accepted is one for all neurons"
            )

    def z(self, u: np.ndarray) -> np.ndarray:
        """z = (u - theta) / width + ln ln 2 of stochastic neurons with sums u."""
        assert self.cloglog is not None
        assert self.threshold is not None
        return (u - self.threshold) / self.cloglog + HALF

    def _numbers(self, what: str) -> np.ndarray | None:
        """A parameter as an array of one value or one for each neuron; arrays of one value become a number."""
        value = getattr(self, what)
        if value is None:
            return None
        array = np.atleast_1d(np.array(value, np.float64))
        if array.shape not in ((1,), (self.neurons,)):
            raise InputError(
                f"layer {self.name!r}: {what} of shape {array.shape}: accepted is one value, or {self.neurons}"
            )
        same = (array == array[0]).all()
        array.flags.writeable = False
        object.__setattr__(self, what, float(array[0]) if same else array)
        return array


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatNetwork(LayerGraph):
    """A graph of real-valued layers; `dt` is the time of a step in the unit of the file's time constants.

    `seed` is that of the random words of stochastic neurons; a layer's place in the network is its stream.

    Raises
    ------
    InputError
        Where the layers do not fit each other.
    """

    name: str
    layers: tuple[FloatLayer, ...]
    dt: float
    seed: int = 0

    def __post_init__(self):
        self.check_graph()


def with_habits(network: FloatNetwork, **habits: float | Sequence[float]) -> FloatNetwork:
    """The network with what NIR does not store of its neurons: fields of the layers, such as `refractory`, by name.

    Each is a number for every layer that fires, or a sequence with one for each layer in order.

    Raises
    ------
    InputError
        Where there are not as many numbers as layers, or a layer cannot have its own.
    """
    layers = network.layers
    changes: list[dict[str, Any]] = [{} for _ in layers]
    for name, given in habits.items():
        if isinstance(given, int | float):
            given = [getattr(FloatLayer, name) if layer.threshold is None else given for layer in layers]
        if len(given) != len(layers):
            raise InputError(
                f"{name} = {list(given)}: accepted is one number, or one for each of {len(layers)} layers: "
                f"{', '.join(layer.name for layer in layers)}"
            )
        for change, value in zip(changes, given, strict=True):
            change[name] = value
    return replace(network, layers=tuple(replace(layer, **each) for layer, each in zip(layers, changes, strict=True)))


def simulate_float(
    network: FloatNetwork,
    spikes: np.ndarray,
    *,
    current: np.ndarray | None = None,
    potentials: bool = False,
    state: Literal["clear", "keep"] = "clear",
) -> Trace:
    """Run the real-valued network on a batch of inputs.

    Parameters
    ----------
    network : FloatNetwork
    spikes : array [B, T, inputs] of bool or integer
        Spikes of each source in each step.
    current : float array [B, neurons of the first layer], optional
        Direct current: added to the bias of the first layer throughout an input.
    potentials : bool
        Also record every potential.
    state : str
        `clear`: each input starts at v = 0; `keep`: the inputs of the batch follow each other in time.

    Returns
    -------
    Trace
        Its potentials and read-out are float64.

    Raises
    ------
    InputError
        For shapes that do not fit the network.
    """
    spikes = np.asarray(spikes)
    first = network.layers[0]
    if spikes.ndim != 3 or spikes.shape[2] != network.inputs or spikes.shape[1] == 0:
        raise InputError(f"spikes of shape {spikes.shape}: accepted is [inputs of the batch, steps, {network.inputs}]")
    batch, steps, _ = spikes.shape
    extra = np.zeros((batch, 1, first.neurons))
    if current is not None:
        current = np.asarray(current, np.float64)
        if current.shape != (batch, first.neurons):
            raise InputError(f"current of shape {current.shape}: accepted is [{batch}, {first.neurons}]")
        extra = current[:, None, :]
    if state == "keep":
        extra = np.repeat(extra[:, 0], steps, axis=0)[None]
        spikes = spikes.reshape(1, batch * steps, network.inputs)

    shape = spikes.shape[:2]
    fired = {layer.name: np.zeros((*shape, layer.neurons), np.uint8) for layer in network.layers}
    stored = [np.empty((*shape, layer.neurons)) for layer in network.layers]
    sources = {INPUT: spikes} | fired
    populations = [_Population(layer, shape[0], network.seed, stream) for stream, layer in enumerate(network.layers)]
    # Without delays each layer can run through all steps at once, behind the one that feeds it.
    parts = [slice(t, t + 1) for t in range(shape[1])] if network.is_recurrent else [slice(0, shape[1])]
    for part in parts:
        for index, (layer, population) in enumerate(zip(network.layers, populations, strict=True)):
            summed = population.summed(part, [sources[source] for source in network.sources(layer)])
            added = extra if index == 0 else np.zeros((1, 1, 1))
            for n, t in enumerate(range(part.start, part.stop)):
                offset = added[:, min(t, added.shape[1] - 1)]
                population.advance(summed[n], offset, fired[layer.name][:, t], stored[index][:, t])

    def shaped(array: np.ndarray) -> np.ndarray:
        return array.reshape(batch, steps, array.shape[-1])

    return Trace(
        spikes=tuple(shaped(array) for array in fired.values()),
        potentials=tuple(shaped(array) for array in stored) if potentials else None,
        readout=shaped(stored[-1]) if network.layers[-1].threshold is None else None,
    )


class _Population:
    """The neurons of a layer for a batch, from step to step."""

    def __init__(self, layer: FloatLayer, batch: int, seed: int, stream: int):
        self.layer, self.key, self.step = layer, (seed, stream), 0
        self.operators = [
            connection.weights
            if not connection.is_convolution and connection.sources == connection.weights.shape[1]
            else connection.matrix
            for connection in layer.connections
        ]
        self.v = np.zeros((batch, layer.neurons))
        self.i = np.zeros_like(self.v)
        self.s = np.zeros(self.v.shape, bool)
        self.resting = np.zeros(self.v.shape, np.int64)
        self.b = np.zeros(self.v.shape)

    def summed(self, steps: slice, arriving: list[np.ndarray]) -> np.ndarray:
        """sum_i w_i s_i of the `steps` [steps, B, neurons], from spikes [B, T, sources] of each connection."""
        batch, count = len(self.v), steps.stop - steps.start
        total = np.zeros((count, batch, self.layer.neurons))
        for operator, connection, spikes in zip(self.operators, self.layer.connections, arriving, strict=True):
            first = steps.start - connection.delay
            given = spikes[:, max(0, first) : max(0, steps.stop - connection.delay)].transpose(1, 0, 2)
            flat = given.reshape(-1, connection.sources).astype(np.float64)
            # What has not arrived yet stands at the front.
            total[count - len(given) :] += (operator @ flat.T).T.reshape(len(given), batch, self.layer.neurons)
        return total

    def advance(self, summed: np.ndarray, extra: np.ndarray, fired: np.ndarray, stored: np.ndarray) -> None:
        """One step with sums [B, neurons]; fills `fired` and `stored`."""
        layer, theta = self.layer, self.layer.threshold
        if layer.cloglog is not None:
            stored[:] = summed + layer.bias + extra
            p = cloglog(layer.z(stored))
            fired[:] = p * (1 << 16) > words(*self.key, layer.addresses, self.step, 1)[0]
            self.step += 1
            return
        u = layer.decay * self.v
        if np.any(layer.linear_decay):
            u = np.copysign(np.maximum(np.abs(u) - layer.linear_decay, 0.0), u)
        if theta is not None and layer.reset == "delayed_subtract":
            u = u - theta * self.s
        elif layer.reset == "delayed_zero":
            u = np.where(self.s, 0.0, u)
        if layer.current_decay is None:
            v = u + (summed + layer.bias + extra)
        else:
            beside = layer.bias + extra
            self.i = layer.current_decay * self.i + summed + (beside if layer.bias_in_current else 0.0)
            v = u + self.i + (0.0 if layer.bias_in_current else beside)
        if theta is not None:
            level = theta + self.b if layer.adaptation else theta
            s = v > level if layer.fires_above else v >= level
            if layer.refractory:
                s = s & (self.resting == 0)
            fired[:] = s
            if layer.reset == "zero":
                v = np.where(s, 0.0, v)
            elif layer.reset == "subtract":
                v = v - theta * s
            if layer.refractory:
                v = np.where(self.resting > 0, 0.0, v)
                self.resting = np.where(self.resting > 0, self.resting - 1, layer.refractory * s)
            if layer.adaptation:
                self.b = layer.adaptation_decay * self.b + layer.adaptation * theta * s
            self.s = s
        self.v = v
        stored[:] = v
