"""The reference simulator of the integer network, batched and vectorised.

Cost of a run: O(B T weights) multiply-adds, in BLAS for dense connections and by a sparse matrix for convolutions, and
O(B T neurons) for the neurons; memory beside the result stays within one block of samples. A layer is taken through all
steps at once; the layers of a network with delays go together from step to step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import InputError
from .integer import INPUT, IntegerLayer, IntegerNetwork, Leak
from .stochastic import words

__all__ = ["DecisionKind", "LayerRun", "Trace", "arriving", "simulate", "synaptic_operations"]

DecisionKind = Literal["count", "first", "value"]
WORD_BLOCK = 32
"""Steps that random words are made for at a time."""
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
        The stored potential v at the end of each step, z8 of a stochastic layer, where it was asked for.
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
    widest = max(connection.sources for layer in network.layers for connection in layer.connections)
    block = max(1, BLOCK_ELEMENTS // max(1, spikes.shape[1] * widest))
    adders = [_Adder(layer) for layer in network.layers]
    for start in range(0, len(spikes), block):
        part = slice(start, start + block)
        results = [
            (fired[index][part], None if recorded is None else recorded[part]) for index, recorded in enumerate(stored)
        ]
        extra = None if current is None else current[part]
        (_run_recurrent if network.is_recurrent else _run)(network, adders, spikes[part], extra, results)

    def shaped(array: np.ndarray) -> np.ndarray:
        return array.reshape(batch, steps, array.shape[-1])

    last = stored[-1]
    return Trace(
        spikes=tuple(shaped(array) for array in fired),
        potentials=tuple(shaped(array) for array in stored if array is not None) if potentials else None,
        readout=shaped(last) if network.layers[-1].threshold is None and last is not None else None,
    )


def arriving(network: IntegerNetwork, inputs: np.ndarray, spikes: Sequence[np.ndarray]) -> list[tuple[np.ndarray, ...]]:
    """What every connection of each layer brings: spikes [B, T, sources], those of a delay in the step they arrive in.

    Parameters
    ----------
    network : IntegerNetwork
    inputs : array [B, T, inputs]
    spikes : arrays [B, T, neurons], one of each layer, as `simulate` gives them

    What a delay still holds at the end of an input arrives in the next one, or never where the state is cleared.
    """
    batch, steps, _ = inputs.shape
    sources = {INPUT: inputs} | {layer.name: fired for layer, fired in zip(network.layers, spikes, strict=True)}

    def late(sent: np.ndarray, delay: int) -> np.ndarray:
        if not delay:
            return sent
        lines = sent.reshape(1, batch * steps, -1) if network.state == "keep" else sent
        nothing = np.zeros((len(lines), delay, lines.shape[2]), sent.dtype)
        return np.concatenate([nothing, lines], axis=1)[:, : lines.shape[1]].reshape(sent.shape)

    return [
        tuple(
            late(sources[source], connection.delay)
            for source, connection in zip(network.sources(layer), layer.connections, strict=True)
        )
        for layer in network.layers
    ]


def synaptic_operations(network: IntegerNetwork, inputs: np.ndarray, spikes: Sequence[np.ndarray]) -> np.ndarray:
    """Spikes delivered to weights that are not 0, int64 [B, layers]; the arrays are those of `arriving`."""
    counts = np.zeros((len(inputs), len(network.layers)), np.int64)
    for index, (layer, brought) in enumerate(zip(network.layers, arriving(network, inputs, spikes), strict=True)):
        for connection, sent in zip(layer.connections, brought, strict=True):
            counts[:, index] += sent.sum(axis=1, dtype=np.int64) @ connection.fan_out
    return counts


class LayerRun:
    """One layer alone, on spikes that are given: their sums are taken once, for any number of runs with other leaks.

    Parameters
    ----------
    layer : IntegerLayer
    spikes : arrays [B, T, sources], one of each connection, as `arriving` gives them
    current : integer array [B, neurons], optional
        Direct current, as in `simulate`.
    state : str
        `clear` or `keep`, as in a network.
    """

    def __init__(
        self,
        layer: IntegerLayer,
        spikes: Sequence[np.ndarray],
        *,
        current: np.ndarray | None = None,
        state: Literal["clear", "keep"] = "clear",
    ):
        batch, steps = spikes[0].shape[:2]
        self.shape = batch, steps, layer.neurons
        extra = None if current is None else np.asarray(current, np.int64)[:, None, :]
        if state == "keep":
            spikes = [given.reshape(1, batch * steps, -1) for given in spikes]
            extra = None if extra is None else np.repeat(extra[:, 0], steps, axis=0)[None]
        adder = _Adder(layer)
        self.layer, self.summed, self.offsets = layer, adder.currents(list(spikes), extra), adder.offsets(extra)

    @classmethod
    def of_sums(cls, layer: IntegerLayer, summed: np.ndarray) -> "LayerRun":
        """A layer whose sums w s of each step are given, int64 [B, T, neurons]; each input starts at 0."""
        made = cls.__new__(cls)
        made.layer, made.shape = layer, summed.shape  # type: ignore[assignment]
        made.summed = np.ascontiguousarray(summed.transpose(1, 0, 2)).astype(np.int64) + layer.bias
        made.offsets = np.zeros((1, 1, 1), np.int64)
        return made

    def run(self, leak: Leak) -> tuple[np.ndarray, np.ndarray]:
        """Spikes uint8 and potentials, both [B, T, neurons], with another leak without fraction bits."""
        steps, batch, neurons = self.summed.shape
        layer = self.layer if leak is self.layer.leak else replace(self.layer, leak=leak)
        population = _Neurons(layer, batch, self.summed.dtype)
        fired, stored = np.empty((batch, steps, neurons), np.uint8), np.empty(self.summed.shape, self.summed.dtype)
        for step, total in enumerate(self.summed):
            offset = self.offsets[min(step, len(self.offsets) - 1)]
            population.advance(total.copy(), offset, fired[:, step], stored[step])
        return fired.reshape(self.shape), stored.transpose(1, 0, 2).reshape(self.shape)


def _check_current(layer: IntegerLayer, current: np.ndarray) -> None:
    """Refuse a current that leaves the range in which the arithmetic below was chosen."""
    limit = 1 << 40
    if current.size and max(abs(int(current.min())), abs(int(current.max()))) >= limit:
        reached = np.abs(current).max()
        raise InputError(f"layer {layer.name!r}: direct current reaches {reached}; accepted is below 2**40")


def _run(network: IntegerNetwork, adders: list["_Adder"], spikes, extra, results) -> None:
    """All steps of one layer after the other; fills `results`, (spikes, potentials or None) of each layer."""
    sources = {INPUT: spikes} | {layer.name: fired for layer, (fired, _) in zip(network.layers, results, strict=True)}
    for index, (layer, adder, (fired, stored)) in enumerate(zip(network.layers, adders, results, strict=True)):
        arriving = [sources[source] for source in network.sources(layer)]
        summed = adder.currents(arriving, extra if index == 0 else None)
        neurons = _Neurons(layer, summed.shape[1], summed.dtype)
        offsets = adder.offsets(extra if index == 0 else None)
        for step, total in enumerate(summed):
            offset = offsets[min(step, len(offsets) - 1)]
            neurons.advance(total, offset, fired[:, step], None if stored is None else stored[:, step])


def _run_recurrent(network: IntegerNetwork, adders: list["_Adder"], spikes, extra, results) -> None:
    """All layers from step to step, because a step needs spikes of the steps before; fills `results`."""
    sources = {INPUT: spikes} | {layer.name: fired for layer, (fired, _) in zip(network.layers, results, strict=True)}
    batch, steps, _ = spikes.shape
    populations = [
        _Neurons(layer, batch, np.int64 if extra is not None and layer is network.layers[0] else _integer_type(layer))
        for layer in network.layers
    ]
    for step in range(steps):
        for index, (layer, adder, (fired, stored)) in enumerate(zip(network.layers, adders, results, strict=True)):
            arriving = []
            for source, connection in zip(network.sources(layer), layer.connections, strict=True):
                before = step - connection.delay
                nothing = np.zeros((batch, 1, connection.sources), np.uint8)
                arriving.append(sources[source][:, before : before + 1] if before >= 0 else nothing)
            now = None
            if index == 0 and extra is not None:
                now = extra if extra.shape[1] == 1 else extra[:, step : step + 1]
            total = adder.currents(arriving, now)[0].astype(populations[index].dtype, copy=False)
            offset = adder.offsets(now)[0]
            populations[index].advance(total, offset, fired[:, step], None if stored is None else stored[:, step])


class _Adder:
    """bias + sum_i w_i s_i of a layer, in the smallest float type in which every partial sum is an exact integer."""

    def __init__(self, layer: IntegerLayer):
        low, high = layer.summed_range()
        largest = int((high - low).max())
        if largest >= 1 << 53:
            raise InputError(f"layer {layer.name!r}: sums of weights reach {largest}; accepted is below 2**53")
        self.layer, self.kind = layer, np.float32 if largest < 1 << 24 else np.float64
        self.weights = [
            connection.matrix.astype(self.kind)
            if connection.is_convolution
            else np.ascontiguousarray(
                (
                    connection.weights
                    if connection.sources == connection.weights.shape[1]
                    else connection.matrix.toarray()
                ).T,
                self.kind,
            )
            for connection in layer.connections
        ]

    def currents(self, arriving: list[np.ndarray], extra: np.ndarray | None) -> np.ndarray:
        """[steps, B, neurons] from spikes [B, steps, sources] of each connection; each step is contiguous."""
        layer, total = self.layer, None
        batch, steps = arriving[0].shape[:2]
        for weights, spikes in zip(self.weights, arriving, strict=True):
            flat = np.ascontiguousarray(spikes.transpose(1, 0, 2), dtype=self.kind).reshape(
                batch * steps, spikes.shape[2]
            )
            part = flat @ weights if isinstance(weights, np.ndarray) else (weights @ flat.T).T
            total = part if total is None else total + part
        assert total is not None
        summed = total.reshape(steps, batch, layer.neurons)
        if _adds_beside(layer):
            return summed.astype(np.int64 if extra is not None else _integer_type(layer))
        if extra is None:
            kind = _integer_type(layer)
            summed = summed.astype(kind)
            if layer.bias.any():
                summed += layer.bias.astype(kind)
            return summed
        return summed.astype(np.int64) + layer.bias + extra.transpose(1, 0, 2)

    def offsets(self, extra: np.ndarray | None) -> np.ndarray:
        """What a step adds to the potential beside a synaptic current: [1 or steps, B or 1, neurons]; else zeros."""
        beside = _adds_beside(self.layer)
        bias = self.layer.bias if beside else np.zeros(1, np.int64)
        if extra is None or not beside:
            return bias[None, None]
        return bias + extra.transpose(1, 0, 2)


def _adds_beside(layer: IntegerLayer) -> bool:
    """Whether bias and direct current go into the potential beside a synaptic current."""
    return layer.current_bits is not None and not layer.bias_in_current


def _integer_type(layer: IntegerLayer) -> type:
    """The smallest integer type that holds the accumulator and the product of a multiplying leak."""
    low, high = layer.accumulator_range()
    reach = max(int(abs(low.min())), int(high.max()))
    if layer.current_bits is not None:  # the sums are added to a current before it is clamped
        reach += 1 << (layer.current_bits - 1)
    bits = reach.bit_length() + 1
    bits = max(bits, layer.potential_bits + layer.leak.fraction_bits + 1)
    if layer.current_bits is not None:
        bits = max(bits, layer.current_bits + layer.current_leak.fraction_bits + 1, layer.current_bits + 2)
        bits = max(bits, max(layer.potential_bits, layer.current_bits) + 2)
    return np.int16 if bits <= 16 else np.int32 if bits <= 32 else np.int64


class _Neurons:
    """The neurons of a layer for a batch, from step to step."""

    def __init__(self, layer: IntegerLayer, batch: int, dtype):
        self.layer, self.dtype = layer, np.dtype(dtype)
        kind = self.dtype.type
        self.low, self.high = kind(layer.v_min), kind(layer.v_max)
        self.theta = None if layer.threshold is None else np.array(layer.threshold, kind)
        self.r = np.array(layer.subtracts, kind)
        self.v = np.zeros((batch, layer.neurons), kind)
        self.delayed = layer.reset.startswith("delayed")
        if layer.current_bits is not None:
            self.i = np.zeros_like(self.v)
            self.i_high = kind((1 << (layer.current_bits - 1)) - 1)
        self.b = np.zeros(self.v.shape, np.int64) if layer.adaptation is not None else None
        self.resting = np.zeros(self.v.shape, np.int64) if layer.refractory else None
        self.step, self.words = 0, np.empty((0, layer.neurons), np.uint16)

    def draw(self, u: np.ndarray, fired: np.ndarray) -> np.ndarray:
        """One step of stochastic neurons with sums u: fills `fired`, returns z8."""
        stochastic, at = self.layer.stochastic, self.step % WORD_BLOCK
        assert stochastic is not None
        if at == 0:
            self.words = words(stochastic.seed, stochastic.stream, self.layer.addresses, self.step, WORD_BLOCK)
        z8 = stochastic.z8(u)
        fired[:] = stochastic.fires(z8, self.words[at])
        self.step += 1
        return z8

    def advance(self, u: np.ndarray, offset: np.ndarray, fired: np.ndarray, stored: np.ndarray | None) -> None:
        """One step with the sums `u` [B, neurons], which are overwritten; fills `fired` and `stored`.

        `offset` is what is added to the potential beside a synaptic current.
        """
        layer, v = self.layer, self.v
        if layer.stochastic is not None:
            v = self.draw(u, fired)
            if stored is not None:
                stored[:] = v
            return
        if layer.current_bits is not None:
            self.i = np.clip(layer.current_leak.apply(self.i) + u, ~self.i_high, self.i_high)
            u = self.i + offset.astype(self.dtype)
        leaked = layer.leak.apply(v)
        if self.delayed:
            above = v >= self.theta
            leaked = leaked - self.r * above if layer.reset == "delayed_subtract" else leaked * ~above
        np.add(u, leaked, out=u)
        np.minimum(u, self.high, out=u)
        np.maximum(u, self.low, out=u)
        if self.theta is None:
            fired[:] = 0
            v = u
        else:
            s = u >= (self.theta if self.b is None else self.theta + self.b)
            if self.resting is not None:
                s &= self.resting == 0
            fired[:] = s
            if layer.reset == "zero":
                v = np.multiply(u, ~s, out=u)
            elif layer.reset == "subtract":
                v = np.subtract(u, self.r * s, out=u)
            else:
                v = u
            if self.b is not None:
                adaptation = layer.adaptation
                assert adaptation is not None
                b = adaptation.leak.apply(self.b) + adaptation.increment * s
                self.b = np.clip(b, 0, (1 << adaptation.bits) - 1)
            if self.resting is not None:
                v = np.where(self.resting > 0, 0, v).astype(u.dtype, copy=False)
                self.resting = np.where(self.resting > 0, self.resting - 1, layer.refractory * s)
        self.v = v
        if stored is not None:
            stored[:] = v
