"""The trained network before quantisation: a chain of fully connected layers in double precision.

One step of a neuron with stored potential v and input spikes s_i::

    u = decay v + bias + sum_i w_i s_i
    s = u > theta, or u >= theta          per layer: `fires_above`
    v = 0 | u - theta | u                 zero, subtract, none

The delayed kinds reset in the *next* step: u = decay v - theta s', or 0 where s', plus the inputs; s' is the last
step's spike and v = u. This is the integer network's definition without its rounding and without its limits.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..errors import InputError
from .integer import RESET_KINDS, ResetKind
from .reference import Trace

__all__ = ["FloatLayer", "FloatNetwork", "simulate_float"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatLayer:
    """A fully connected layer of real-valued neurons.

    Parameters
    ----------
    name : str
        Unique in the network.
    weights : float64 array [neurons, fan_in]
    bias : float64 array [neurons], optional
        Added once per step. Zero by default.
    decay : float
        Share of the potential that is left after a step, 0 to 1; 1 means no leak.
    threshold : float or None
        theta, above 0; None makes a read-out: it never fires, its potential is the answer.
    reset : str
        zero, subtract, delayed_zero, delayed_subtract or none.
    fires_above : bool
        True: fires at u > theta (NIR, snnTorch); False: at u >= theta.
    nodes : tuple of str
        The nodes of the NIR graph that this layer was made of.

    Raises
    ------
    InputError
        Where a value is not finite, does not fit the others or is outside what is accepted.
    """

    name: str
    weights: np.ndarray
    bias: np.ndarray = field(default=None)  # type: ignore[assignment]
    decay: float = 1.0
    threshold: float | None = None
    reset: ResetKind = "none"
    fires_above: bool = True
    nodes: tuple[str, ...] = ()

    def __post_init__(self):
        def fail(text: str):
            raise InputError(f"layer {self.name!r}: {text}")

        weights = np.array(self.weights, np.float64)
        if weights.ndim != 2 or 0 in weights.shape:
            fail(f"weights of shape {weights.shape}: accepted is [neurons, fan_in]")
        bias = np.zeros(len(weights)) if self.bias is None else np.array(self.bias, np.float64)
        if bias.shape != (len(weights),):
            fail(f"bias of shape {bias.shape}: accepted are {len(weights)} values, one per neuron")
        for what, array in (("weights", weights), ("bias", bias)):
            if not np.isfinite(array).all():
                index = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
                fail(f"{what}{list(index)} = {array[index]}: accepted are finite numbers")
            array.flags.writeable = False
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "bias", bias)
        if not 0 <= self.decay <= 1:
            fail(f"decay = {self.decay}: accepted is 0 to 1")
        if self.reset not in RESET_KINDS:
            fail(f"reset {self.reset!r}: accepted are {', '.join(RESET_KINDS)}")
        if self.threshold is None:
            if self.reset != "none":
                fail(f"reset {self.reset!r} without a threshold: a read-out has reset = 'none'")
        elif not 0 < self.threshold < np.inf:
            fail(f"threshold = {self.threshold}: accepted is a finite number above 0, the potential after a reset")

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return self.weights.shape[0]

    @property
    def fan_in(self) -> int:
        """Number of input addresses."""
        return self.weights.shape[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatNetwork:
    """A chain of real-valued layers, input first; `dt` is the time of a step in the unit of the file's time constants.

    Raises
    ------
    InputError
        Where the layers do not fit each other.
    """

    name: str
    layers: tuple[FloatLayer, ...]
    dt: float

    def __post_init__(self):
        if not self.layers:
            raise InputError(f"network {self.name!r} has no layer; accepted is at least one")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise InputError(f"network {self.name!r}: layer names {names} must differ")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.threshold is None:
                raise InputError(f"layer {before.name!r} is a read-out; only the last layer may be one")
            if before.neurons != after.fan_in:
                raise InputError(
                    f"layer {after.name!r} has a fan-in of {after.fan_in}, "
                    f"but {before.name!r} has {before.neurons} neurons"
                )

    @property
    def inputs(self) -> int:
        """Number of input addresses."""
        return self.layers[0].fan_in

    @property
    def outputs(self) -> int:
        """Number of neurons of the last layer."""
        return self.layers[-1].neurons


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
        spikes = spikes.reshape(1, batch * steps, -1)

    arriving, fired, stored = spikes, [], []
    for index, layer in enumerate(network.layers):
        summed = arriving.reshape(-1, layer.fan_in).astype(np.float64) @ layer.weights.T
        summed = summed.reshape(*spikes.shape[:2], -1) + layer.bias
        arriving, potential = _advance(layer, summed + extra if index == 0 else summed)
        fired.append(arriving.reshape(batch, steps, -1))
        stored.append(potential.reshape(batch, steps, -1))
    return Trace(
        spikes=tuple(fired),
        potentials=tuple(stored) if potentials else None,
        readout=stored[-1] if network.layers[-1].threshold is None else None,
    )


def _advance(layer: FloatLayer, summed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (uint8) and stored potentials (float64) [B, steps, neurons] of a layer, from its summed inputs."""
    fired, stored = np.zeros(summed.shape, np.uint8), np.empty_like(summed)
    v = np.zeros((summed.shape[0], summed.shape[2]))
    s = np.zeros(v.shape, bool)
    theta = layer.threshold
    for step in range(summed.shape[1]):
        u = layer.decay * v
        if theta is not None and layer.reset == "delayed_subtract":
            u = u - theta * s
        elif layer.reset == "delayed_zero":
            u = np.where(s, 0.0, u)
        v = u + summed[:, step]
        if theta is not None:
            s = v > theta if layer.fires_above else v >= theta
            fired[:, step] = s
            if layer.reset == "zero":
                v = np.where(s, 0.0, v)
            elif layer.reset == "subtract":
                v = v - theta * s
        stored[:, step] = v
    return fired, stored
