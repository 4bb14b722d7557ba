"""The linear nodes of a NIR graph: each is multiplied into the terms that reach it."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from .connections import Geometry
from .nir_graph import Node
from .nir_terms import Signal, Term, as_map, without_batch
from .nir_values import Values

__all__ = ["LinearNodes"]

WHOLE = 1e-3
"""A delay may be off a whole number of steps by this share of a step."""


class LinearNodes:
    """What each node sends, from what reaches it.

    Attributes
    ----------
    signals : dict
        What each node sends, by its key; neurons are put there before the linear nodes are folded.
    after : dict
        Scale nodes that the potentials of a linear neuron go through, by the key of the neuron.
    """

    def __init__(self, nodes: dict[str, Node], values: Values, dt: float):
        self.nodes, self.values, self.dt = nodes, values, dt
        self.signals: dict[str, Signal] = {}
        self.after: dict[str, list[str]] = {}

    def fold(self, key: str, given: Signal) -> Signal:
        """What node `key` sends when it is given `given`."""
        node = self.nodes[key]
        return getattr(self, "fold_" + node.kind.lower())(key, node, given)

    def join(self, key: str, keys: Iterable[str]) -> Signal:
        """The sum of what several nodes send."""
        keys = list(keys)
        first, *others = [self.signals[other] for other in keys]
        if not others:
            return first
        everything = [first, *others]
        for signal in everything:
            if signal.analog is not None:
                self.values.fail(
                    key,
                    f"adds the potentials of {signal.analog!r} to something else; accepted are sums of spikes and "
                    "their weighted sums",
                )
            if signal.size != first.size:
                sizes = " and ".join(f"{list(self.signals[k].shape)} from {k!r}" for k in keys)
                self.values.fail(key, f"receives {sizes}; accepted is one shape")
        biases = [signal.bias for signal in everything if signal.bias is not None]
        return Signal(
            shape=first.shape,
            terms=tuple(term for signal in everything for term in signal.terms),
            bias=sum(biases[1:], biases[0]) if biases else None,
            nodes=tuple(dict.fromkeys(name for signal in everything for name in signal.nodes)),
            name=next((signal.name for signal in everything if signal.name is not None), None),
        )

    def spikes_only(self, key: str, signal: Signal):
        """Refuse a linear node behind a read-out."""
        if signal.analog is not None:
            last = (signal.analog, *self.after.get(signal.analog, ()))[-1]
            self.values.fail(
                key,
                f"{self.nodes[key].kind} after {last!r}, which sends potentials, not spikes; accepted between layers "
                "is IF, LIF, CubaLIF or Threshold (LI, I and CubaLI only as the last layer)",
            )

    def fold_linear(self, key: str, node: Node, signal: Signal) -> Signal:
        """Linear and Affine: multiply into the pending terms."""
        self.spikes_only(key, signal)
        weight = node.values["weight"]
        outputs, inputs = weight.shape
        if sum(n != 1 for n in signal.shape) > 1:
            self.values.fail(
                key, f"its input has shape {list(signal.shape)}; accepted is one axis: put a Flatten before it"
            )
        if signal.size != inputs:
            self.values.fail(
                key, f"weight of shape {list(weight.shape)} after {signal.size} values; accepted is [n, {signal.size}]"
            )
        bias = None if signal.bias is None else weight @ signal.bias
        if node.kind == "Affine":
            bias = self.plus_bias(key, node, bias, np.ones(1, np.int64), outputs)
        terms = []
        for term in signal.terms:
            if term.weights is None:
                terms.append(replace(term, weights=weight if term.gain is None else weight * term.gain, gain=None))
            elif term.is_convolution:
                matrix = term.geometry().matrix(term.weights)
                dense = np.asarray((matrix.T @ weight.T).T)
                terms.append(Term(source=term.source, shape=term.shape, delay=term.delay, weights=dense))
            else:
                terms.append(replace(term, weights=weight @ term.weights))
        return self.moved(signal, key, (outputs,), terms, bias, key)

    fold_affine = fold_linear

    def plus_bias(self, key: str, node: Node, bias: np.ndarray | None, ones: np.ndarray, channels: int):
        """`bias` [channels * len(ones)] plus the node's own, one per channel; None where both are nothing."""
        own = node.values.get("bias")
        if own is None:
            return bias
        if own.size != channels:
            self.values.fail(key, f"bias of shape {list(own.shape)}; accepted is [{channels}]")
        full = np.repeat(np.ravel(own), len(ones))
        return full if bias is None else bias + full

    @staticmethod
    def reshaped(signal: Signal, shape: tuple[int, ...]) -> Signal:
        """The signal with axes of length 1 dropped in front."""
        terms = tuple(replace(term, shape=shape) if term.shape == signal.shape else term for term in signal.terms)
        return replace(signal, shape=shape, terms=terms)

    @staticmethod
    def moved(signal: Signal, key: str, shape, terms, bias, name=None) -> Signal:
        """What leaves node `key`."""
        return Signal(
            shape=tuple(shape), terms=tuple(terms), bias=bias, nodes=(*signal.nodes, key), name=name or signal.name
        )

    def fold_conv2d(self, key: str, node: Node, signal: Signal) -> Signal:
        """Conv1d and Conv2d."""
        self.spikes_only(key, signal)
        signal = self.reshaped(signal, without_batch(signal.shape, 3 if node.kind == "Conv2d" else 2))
        shape, kernels, options = self.values.convolution(key, node, signal.shape)
        groups = options["groups"]
        terms = []
        for term in signal.terms:
            if term.weights is not None:
                last = signal.nodes[-1]
                self.values.fail(
                    key,
                    f"{node.kind} after {last!r} without neurons between them; accepted is one of IF, LIF or CubaLIF "
                    "between convolutions",
                )
            weights = kernels
            if term.gain is not None:
                gain = self.by_channel(key, term.gain, signal.shape[0], "the scale before it")
                inner = kernels.shape[1]
                weights = kernels * np.repeat(gain.reshape(groups, inner), len(kernels) // groups, 0)[:, :, None, None]
            terms.append(replace(term, gain=None, weights=weights, **options))
        bias = signal.bias
        if bias is not None:
            geometry = Geometry(weights=kernels.shape, source_shape=as_map(signal.shape), **options)
            bias = geometry.matrix(kernels) @ bias
        bias = self.plus_bias(key, node, bias, np.ones(math.prod(shape[1:])), len(kernels))
        return self.moved(signal, key, shape, terms, bias, key)

    fold_conv1d = fold_conv2d

    def by_channel(self, key: str, factor: np.ndarray, channels: int, what: str) -> np.ndarray:
        """`factor` [elements] as one number per channel."""
        table = factor.reshape(channels, -1)
        if (table != table[:, :1]).any():
            self.values.fail(
                key, f"{what} differs within a channel; accepted is one value for each of {channels} channels"
            )
        return table[:, 0]

    def fold_sumpool2d(self, key: str, node: Node, signal: Signal) -> Signal:
        """SumPool2d and AvgPool2d."""
        self.spikes_only(key, signal)
        signal = self.reshaped(signal, without_batch(signal.shape, 3))
        high, wide = self.values.pool(key, node, signal.shape)
        channels, height, width = signal.shape
        rows, columns = height // high, width // wide
        shape, share = (channels, rows, columns), 1.0 / (high * wide) if node.kind == "AvgPool2d" else 1.0
        terms = []
        for term in signal.terms:
            if term.weights is None:
                gain = None
                if term.gain is not None or share != 1:
                    each = (
                        np.ones(channels)
                        if term.gain is None
                        else self.by_channel(key, term.gain, channels, "the scale before it")
                    )
                    gain = np.repeat(each * share, rows * columns)
                terms.append(replace(term, pool=(term.pool[0] * high, term.pool[1] * wide), gain=gain))
                continue
            # windows of a convolution's outputs are a convolution with a wider kernel
            _, _, tall, broad = term.weights.shape
            down, right = term.stride
            wider = np.zeros((*term.weights.shape[:2], tall + down * (high - 1), broad + right * (wide - 1)))
            for j in range(high):
                for i in range(wide):
                    wider[:, :, j * down : j * down + tall, i * right : i * right + broad] += term.weights
            terms.append(replace(term, weights=wider * share, stride=(down * high, right * wide)))
        bias = signal.bias
        if bias is not None:
            kept = bias.reshape(signal.shape)[:, : rows * high, : columns * wide]
            bias = (kept.reshape(channels, rows, high, columns, wide).sum(axis=(2, 4)) * share).reshape(-1)
        return self.moved(signal, key, shape, terms, bias)

    fold_avgpool2d = fold_sumpool2d

    def fold_scale(self, key: str, node: Node, signal: Signal) -> Signal:
        """Scale: a factor for each element."""
        factor = self.values.per_neuron(key, node, "scale", signal.size)
        if signal.analog is not None:  # a linear neuron: scaling its potential scales all that enters it
            self.after.setdefault(signal.analog, []).append(key)
            return signal
        terms = []
        for term in signal.terms:
            if term.weights is None:
                terms.append(replace(term, gain=factor if term.gain is None else term.gain * factor))
            elif term.is_convolution:
                each = self.by_channel(key, factor, len(term.weights), "scale")
                terms.append(replace(term, weights=term.weights * each[:, None, None, None]))
            else:
                terms.append(replace(term, weights=term.weights * factor[:, None]))
        bias = None if signal.bias is None else signal.bias * factor
        return self.moved(signal, key, signal.shape, terms, bias)

    def fold_flatten(self, key: str, node: Node, signal: Signal) -> Signal:
        """Flatten: only the shape changes."""
        stored = node.values.get("input_type")
        if stored is not None and np.size(stored) and np.asarray(stored).dtype.kind in "iuf":
            size = int(np.prod(np.ravel(stored)))
            if signal.size != size:
                shape = [int(n) for n in np.ravel(stored)]
                self.values.fail(
                    key, f"input_type {shape} after {signal.size} values; accepted is the shape of its input"
                )
        shape = signal.shape if node.values.get("passes") else (signal.size,)
        nodes = signal.nodes if signal.plain or signal.analog is not None else (*signal.nodes, key)
        return replace(signal, shape=shape, nodes=nodes)

    def fold_delay(self, key: str, node: Node, signal: Signal) -> Signal:
        """Delay: a whole number of steps, one for all."""
        self.spikes_only(key, signal)
        delay = np.ravel(node.values["delay"])
        if delay.size not in (1, signal.size):
            self.values.fail(
                key,
                f"delay of shape {list(node.values['delay'].shape)} for {signal.size} inputs; accepted is "
                f"[{signal.size}]",
            )
        steps = np.rint(delay / self.dt)
        off = np.abs(delay / self.dt - steps)
        if delay.min() < 0 or off.max() > WHOLE:
            bad = delay[np.argmax(np.where(delay < 0, np.inf, off))]
            self.values.fail(
                key, f"delay {bad:g} is {bad / self.dt:.6g} steps of dt = {self.dt:g}; accepted is a whole number"
            )
        if steps.min() != steps.max():
            self.values.fail(
                key, f"delays from {int(steps.min())} to {int(steps.max())} steps; accepted is one for all elements"
            )
        if signal.bias is not None and signal.bias.any() and steps[0]:
            self.values.fail(key, "a delayed bias; accepted is a Delay before the node that has the bias")
        terms = [replace(term, delay=term.delay + int(steps[0])) for term in signal.terms]
        return self.moved(signal, key, signal.shape, terms, signal.bias)
