"""The graph that real-valued and integer networks share: layers, the connections between them, and what is refused."""

import math
from typing import Any

import numpy as np

from ..errors import InputError
from ..items import AddressMap

__all__ = ["INPUT", "Layer", "LayerGraph"]

INPUT = "input"
"""What connections call the network's input."""


class LayerGraph:
    """Base of networks: `layers` have a name, connections, a shape, neurons, and a threshold (None for a read-out).

    Layers stand in an order in which every connection without a delay comes from the input or from a layer before.
    A connection of delay d brings the spikes of d steps before. The last layer is the output.
    """

    name: str
    layers: tuple[Any, ...]

    def check_graph(self) -> None:
        """Raise InputError for a wrong source, a loop without a delay, or a read-out that feeds something."""
        if not self.layers:
            raise InputError(f"network {self.name!r} has no layer; accepted is at least one")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise InputError(f"network {self.name!r}: layer names {names} must differ")
        if INPUT in names:
            raise InputError(f"network {self.name!r}: a layer called {INPUT!r}; accepted is any other name")
        shapes: dict[str, tuple[int, ...]] = {layer.name: layer.shape for layer in self.layers}
        earlier = {INPUT}
        for layer in self.layers:
            for source, connection in zip(self.sources(layer), layer.connections, strict=True):
                given = tuple(connection.source_shape or ())
                if source == INPUT:
                    shapes.setdefault(INPUT, given)
                if source not in shapes:
                    raise InputError(
                        f"layer {layer.name!r}: a connection from {source!r}; accepted are {INPUT}, {', '.join(names)}"
                    )
                if source != INPUT and self.layers[names.index(source)].threshold is None:
                    raise InputError(f"layer {source!r} is a read-out; only the last layer may be one")
                if math.prod(given) != math.prod(shapes[source]):
                    of = "the input" if source == INPUT else repr(source)
                    raise InputError(
                        f"layer {layer.name!r} has a fan-in of {math.prod(given)}, "
                        f"but {of} has {math.prod(shapes[source])} neurons"
                    )
                if given != shapes[source]:
                    raise InputError(
                        f"layer {layer.name!r}: a source of shape {list(given)}; accepted is that of {source!r}, "
                        f"{list(shapes[source])}"
                    )
                if connection.delay == 0 and source not in earlier:
                    raise InputError(
                        f"layer {layer.name!r}: a connection without a delay from {source!r}, which does not come "
                        "before it; accepted is a delay of at least one step in every loop"
                    )
            earlier.add(layer.name)
        if INPUT not in shapes:
            raise InputError(f"network {self.name!r}: nothing listens to the input; accepted is at least one layer")
        object.__setattr__(self, "_input_shape", shapes[INPUT])
        used = {source for layer in self.layers for source in self.sources(layer)} | {names[-1]}
        for name in names:
            if name not in used:
                raise InputError(f"layer {name!r} feeds nothing; only the last layer, {names[-1]!r}, may be an output")

    def sources(self, layer: Any) -> tuple[str, ...]:
        """Name of the source of each connection of `layer`."""
        index = next(n for n, other in enumerate(self.layers) if other is layer)
        before = self.layers[index - 1].name if index else INPUT
        return tuple(before if c.source is None else c.source for c in layer.connections)

    @property
    def is_recurrent(self) -> bool:
        """Whether a connection has a delay: then a step needs the steps before."""
        return any(connection.delay for layer in self.layers for connection in layer.connections)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input, (N,) or (C, H, W)."""
        return self._input_shape  # type: ignore[attr-defined]

    @property
    def inputs(self) -> int:
        """Number of input addresses."""
        return math.prod(self.input_shape)

    @property
    def outputs(self) -> int:
        """Number of neurons of the last layer."""
        return self.layers[-1].neurons


class Layer:
    """Base of layers: what follows from their `name` and `connections`."""

    name: str
    connections: tuple[Any, ...]

    def check_connections(self) -> str | None:
        """What is wrong with the connections, or None: they must lead to targets of one shape."""
        connections = self.connections
        if not connections:
            return "no connection; accepted is at least one"
        shapes = {c.shape for c in connections if c.is_convolution} or {connections[0].shape}
        if len(shapes) > 1 or len({c.neurons for c in connections}) > 1:
            return f"connections to {[list(c.shape) for c in connections]}: accepted is one shape for all of them"
        return None

    @property
    def shape(self) -> tuple[int, ...]:
        """(neurons,), or (channels, height, width) where a connection is a convolution."""
        return next((c.shape for c in self.connections if c.is_convolution), self.connections[0].shape)

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return self.connections[0].neurons

    @property
    def addresses(self) -> np.ndarray:
        """Event address of each neuron, int64 [neurons]."""
        return AddressMap(self.shape).of(np.arange(self.neurons))

    @property
    def fan_in(self) -> int:
        """Number of input addresses, those of all connections."""
        return sum(connection.sources for connection in self.connections)

    @property
    def weights(self) -> np.ndarray:
        """Weights [neurons, fan_in] of a layer with a single dense connection and no pool.

        Raises
        ------
        InputError
            For any other layer: it has no such array.
        """
        (first, *others) = self.connections
        if others or first.is_convolution or first.sources != first.weights.shape[1]:
            raise InputError(f"layer {self.name!r}: its connections are not one array; accepted is a dense layer")
        return first.weights

    @property
    def synapses(self) -> int:
        """Stored weights."""
        return sum(connection.weights.size for connection in self.connections)
