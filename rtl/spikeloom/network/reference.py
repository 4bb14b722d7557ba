"""The reference simulator of the integer network, batched and vectorised.

Cost of a run: O(B T sum_l fan_in_l neurons_l) multiply-adds in BLAS and O(B T sum_l neurons_l) for the neurons;
memory beside the result stays within one block of samples.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import InputError
from .integer import IntegerLayer, IntegerNetwork

__all__ = ["DecisionKind", "Trace", "simulate"]

DecisionKind = Literal["count", "first", "value"]
BLOCK_ELEMENTS = 1 << 21
"""Input elements converted to floating point at a time: small enough for the cache, large enough for BLAS."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What a network did: one entry per layer, first axis the input of the batch, second the step.

    Attributes
    ----------
    spikes : tuple of uint8 [B, T, neurons]
        1 where a neuron fired; zeros for a read-out.
    potentials : tuple of int [B, T, neurons], or None
        The stored potential v at the end of each step, where it was asked for.
    readout : int [B, T, outputs], or None
        Potentials of the last layer, where that is a read-out.
    """

    spikes: tuple[np.ndarray, ...]
    potentials: tuple[np.ndarray, ...] | None
    readout: np.ndarray | None

    @property
    def counts(self) -> np.ndarray:
        """Output spikes of each neuron over the input, int64 [B, outputs]."""
        return self.spikes[-1].sum(axis=1, dtype=np.int64)

    def decision(self, kind: DecisionKind | None = None) -> np.ndarray:
        """The class of each input, int64 [B].

        `count`: most output spikes; `first`: first output spike; `value`: largest read-out at the last step.
        Ties, and an input without any output spike, go to the lowest index. By default `value` for a read-out,
        else `count`.
        """
        kind = kind or ("count" if self.readout is None else "value")
        if kind == "value":
            if self.readout is None:
                raise InputError("decision 'value' needs a read-out as the last layer; accepted here: count, first")
            return self.readout[:, -1].argmax(axis=1).astype(np.int64)
        if kind == "count":
            return self.counts.argmax(axis=1).astype(np.int64)
        if kind == "first":
            spikes = self.spikes[-1]
            steps, outputs = spikes.shape[1:]
            flat = spikes.reshape(len(spikes), steps * outputs)  # step-major: the first 1 is the earliest, lowest index
            return np.where(flat.any(axis=1), flat.argmax(axis=1) % outputs, 0).astype(np.int64)
        raise InputError(f"decision {kind!r}: accepted are count, first, value")


def simulate(
    network: IntegerNetwork,
    spikes: np.ndarray,
    *,
    current: np.ndarray | None = None,
    potentials: bool = False,
) -> Trace:
    """Run the network on a batch of inputs; the answer that every core must reproduce.

    Parameters
    ----------
    network : IntegerNetwork
    spikes : array [B, T, inputs] of bool or integer
        Spikes of each source in each step, 0 to the first layer's `max_count`.
    current : integer array [B, neurons of the first layer], optional
        Direct current: added to the bias of the first layer throughout an input.
    potentials : bool
        Also record every potential.

    With `state = "keep"` the inputs of the batch follow each other in time; with `clear` they are independent.

    Raises
    ------
    InputError
        For shapes or spike counts that do not fit the network.
    """
    spikes = np.asarray(spikes)
    first = network.layers[0]
    if spikes.ndim != 3 or spikes.shape[2] != network.inputs or spikes.shape[1] == 0:
        raise InputError(f"spikes of shape {spikes.shape}: accepted is [inputs of the batch, steps, {network.inputs}]")
    if spikes.dtype != bool:
        if spikes.dtype.kind not in "iu":
            raise InputError(f"spikes of type {spikes.dtype}: accepted are bool and integers")
        if spikes.size and (spikes.max() > first.max_count or (spikes.dtype.kind == "i" and spikes.min() < 0)):
            raise InputError(
                f"spike counts from {spikes.min()} to {spikes.max()}: "
                f"layer {first.name!r} accepts 0 to {first.max_count}"
            )
    batch, steps, _ = spikes.shape
    if current is not None:
        current = np.asarray(current)
        if current.shape != (batch, first.neurons) or current.dtype.kind not in "iu":
            raise InputError(
                f"current of shape {current.shape} and type {current.dtype}: "
                f"accepted are integers [{batch}, {first.neurons}]"
            )
        _check_current(first, current)
        current = current.astype(np.int64)  # unsigned 64-bit numbers would turn the sums into floating point
    if network.state == "keep":  # consecutive inputs are one long input
        spikes = spikes.reshape(1, batch * steps, network.inputs)
        current = None if current is None else np.repeat(current, steps, axis=0)[None]
    elif current is not None:
        current = current[:, None, :]

    fired = tuple(np.empty((*spikes.shape[:2], layer.neurons), np.uint8) for layer in network.layers)
    stored = tuple(
        np.empty((*spikes.shape[:2], layer.neurons), _integer_type(layer))
        if potentials or layer.threshold is None
        else None
        for layer in network.layers
    )
    block = max(1, BLOCK_ELEMENTS // max(1, spikes.shape[1] * max(layer.fan_in for layer in network.layers)))
    weights = [_float_weights(layer) for layer in network.layers]
    for start in range(0, len(spikes), block):
        part = slice(start, start + block)
        arriving = spikes[part]
        for index, layer in enumerate(network.layers):
            extra = current[part] if current is not None and index == 0 else None
            summed = _currents(layer, weights[index], arriving, extra)
            recorded = stored[index]
            _advance(layer, summed, fired[index][part], None if recorded is None else recorded[part])
            arriving = fired[index][part]

    def shaped(array: np.ndarray) -> np.ndarray:
        return array.reshape(batch, steps, array.shape[-1])

    last = stored[-1]
    return Trace(
        spikes=tuple(shaped(array) for array in fired),
        potentials=tuple(shaped(array) for array in stored if array is not None) if potentials else None,
        readout=shaped(last) if network.layers[-1].threshold is None and last is not None else None,
    )


def _check_current(layer: IntegerLayer, current: np.ndarray) -> None:
    """Refuse a current that leaves the range in which the arithmetic below was chosen."""
    limit = 1 << 40
    if current.size and max(abs(int(current.min())), abs(int(current.max()))) >= limit:
        reached = np.abs(current).max()
        raise InputError(f"layer {layer.name!r}: direct current reaches {reached}; accepted is below 2**40")


def _float_weights(layer: IntegerLayer) -> np.ndarray:
    """Weights [fan_in, neurons] in the smallest float type in which every partial sum is an exact integer."""
    largest = int(np.abs(layer.weights).sum(axis=1).max()) * layer.max_count
    if largest >= 1 << 53:
        raise InputError(f"layer {layer.name!r}: sums of weights reach {largest}; accepted is below 2**53")
    return np.ascontiguousarray(layer.weights.T, dtype=np.float32 if largest < 1 << 24 else np.float64)


def _integer_type(layer: IntegerLayer) -> type:
    """The smallest integer type that holds the accumulator and the product of a multiplying leak."""
    low, high = layer.accumulator_range()
    bits = max(int(abs(low.min())), int(high.max())).bit_length() + 1
    bits = max(bits, layer.potential_bits + layer.leak.fraction_bits + 1)
    return np.int16 if bits <= 16 else np.int32 if bits <= 32 else np.int64


def _currents(layer: IntegerLayer, weights: np.ndarray, spikes: np.ndarray, extra: np.ndarray | None) -> np.ndarray:
    """bias + sum_i w_i s_i of every step, [steps, B, neurons]: step-major, so that each step is contiguous."""
    batch, steps, fan_in = spikes.shape
    flat = np.ascontiguousarray(spikes.transpose(1, 0, 2), dtype=weights.dtype).reshape(batch * steps, fan_in)
    summed = (flat @ weights).reshape(steps, batch, layer.neurons)
    kind = _integer_type(layer)
    if extra is None:
        summed = summed.astype(kind)
        if layer.bias.any():
            summed += layer.bias.astype(kind)
        return summed
    return summed.astype(np.int64) + layer.bias + extra.transpose(1, 0, 2)


def _advance(layer: IntegerLayer, summed: np.ndarray, fired: np.ndarray, stored: np.ndarray | None) -> None:
    """All steps of a layer; fills `fired` and `stored` [B, steps, neurons] in place."""
    kind = summed.dtype.type
    low, high, theta, r = kind(layer.v_min), kind(layer.v_max), layer.threshold, kind(layer.subtracts)
    v = np.zeros(summed.shape[1:], summed.dtype)
    delayed = layer.reset.startswith("delayed")
    for step, u in enumerate(summed):  # u is overwritten in place: it is nobody else's
        leaked = layer.leak.apply(v)
        if delayed:
            above = v >= theta
            leaked = leaked - r * above if layer.reset == "delayed_subtract" else leaked * ~above
        np.add(u, leaked, out=u)
        np.minimum(u, high, out=u)
        np.maximum(u, low, out=u)
        if theta is None:
            fired[:, step] = 0
            v = u
        else:
            s = u >= theta
            fired[:, step] = s
            if layer.reset == "zero":
                v = np.multiply(u, ~s, out=u)
            elif layer.reset == "subtract":
                v = np.subtract(u, r * s, out=u)
            else:
                v = u
        if stored is not None:
            stored[:, step] = v
