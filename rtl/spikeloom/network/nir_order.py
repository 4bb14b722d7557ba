"""The order of the nodes of a NIR graph and the shapes between them."""

import math

import numpy as np

from ..errors import InputError
from .nir_graph import FIELDS, Graph, Node
from .nir_terms import without_batch
from .nir_values import Values, stored_shape
from .walks import cycle, reach

__all__ = ["ANALOG", "NEURONS", "SOURCES", "Walk"]

NEURONS = ("IF", "LIF", "LI", "I", "CubaLIF", "CubaLI")
ANALOG = ("LI", "I", "CubaLI")
"""Neurons that send potentials, unless a Threshold follows."""
SOURCES = ("Input", *NEURONS, "Threshold")
"""What sends spikes or potentials of its own; all other nodes are linear."""


class Walk:
    """A flat graph, seen from its Input to its Output.

    Raises
    ------
    InputError
        By its methods, where the graph has not one input and one output with every node between them, a loop that takes
        no time, or a node whose shape cannot be told.
    """

    def __init__(self, graph: Graph, values: Values):
        self.values = values
        self.nodes: dict[str, Node] = graph.nodes  # type: ignore[assignment]
        self.before: dict[str, list[str]] = {key: [] for key in graph.nodes}
        self.following: dict[str, list[str]] = {key: [] for key in graph.nodes}
        for a, b in graph.edges:
            self.following[a].append(b)
            self.before[b].append(a)

    def ends(self) -> tuple[str, str]:
        """The Input and the Output node; every other node lies on a path between them."""
        found = {kind: [key for key, node in self.nodes.items() if node.kind == kind] for kind in ("Input", "Output")}
        for kind, keys in found.items():
            if len(keys) != 1:
                what = f"{len(keys)} {kind} nodes ({', '.join(sorted(keys))})" if keys else f"no {kind} node"
                raise InputError(f"{self.values.origin}: {what}; accepted is exactly one")
        source, output = found["Input"][0], found["Output"][0]
        for reached, lack in (
            (reach(source, self.following), "no path from the input reaches it"),
            (reach(output, self.before), "no path to the output leaves it"),
        ):
            lost = sorted(set(self.nodes) - reached)
            if lost:
                self.values.fail(lost[0], f"{lack}; accepted are nodes on a path from Input to Output")
        if self.before[source]:
            self.values.fail(
                source, f"receives from {self.before[source][0]!r}; accepted is an Input without edges into it"
            )
        if self.following[output]:
            self.values.fail(
                output, f"sends to {self.following[output][0]!r}; accepted is an Output without edges out of it"
            )
        return source, output

    def order(self, source: str) -> list[str]:
        """All nodes, each after the nodes before it; what neurons send does not count.

        Loops without neurons are refused here: nothing in them takes time.
        """
        sends = {
            key: [] if self.nodes[key].kind in SOURCES and key != source else others
            for key, others in self.following.items()
        }
        loop = cycle(sends)
        if loop:
            raise InputError(
                f"{self.values.origin}: a loop without a delay: {' -> '.join(loop)}; accepted are loops through "
                "neurons, which take one step or that of a Delay in them"
            )
        missing = {key: sum(key in others for others in sends.values()) for key in self.nodes}
        ready, order = [key for key in self.nodes if not missing[key]], []
        while ready:
            key = ready.pop(0)
            order.append(key)
            for other in sends[key]:
                missing[other] -= 1
                if not missing[other]:
                    ready.append(other)
        return order

    def shapes(self, order: list[str]) -> dict[str, tuple[int, ...]]:
        """The shape of what each node sends, from its own fields and what is sent to it."""
        shapes: dict[str, tuple[int, ...]] = {}
        changed = True
        while changed:
            changed = False
            for key in order:
                if key in shapes:
                    continue
                given = next((shapes[other] for other in self.before[key] if other in shapes), None)
                shape = self.shape_of(key, self.nodes[key], given)
                if shape is not None:
                    shapes[key] = shape
                    changed = True
        for key in order:
            if key not in shapes:
                self.values.fail(key, "its shape is not known; accepted is an Input node with a shape")
        return shapes

    def shape_of(self, key: str, node: Node, given: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """The shape that a node sends for one that it is given (None: not known yet)."""
        if node.kind == "Input":
            stored = stored_shape(node)
            if stored and min(stored) < 1:
                self.values.fail(key, f"shape {list(stored)}; accepted are axes of at least 1")
            return stored or self.wanted(key, set())
        if node.kind in ("Linear", "Affine"):
            return node.values["weight"].shape[:1]
        if node.kind in ("Conv1d", "Conv2d"):
            given = given or self.wanted_by(node)
            return None if given is None else self.values.convolution(key, node, given)[0]
        if given is None:
            return None
        if node.kind == "Flatten":
            return (math.prod(given),)
        if node.kind.endswith("Pool2d"):
            high, wide = self.values.pool(key, node, given)
            given = without_batch(given, 3)
            return (given[0], given[1] // high, given[2] // wide)
        return given

    def wanted(self, key: str, seen: set[str]) -> tuple[int, ...] | None:
        """The shape that the nodes after `key` want, where the file does not say what the input is."""
        for other in self.following[key]:
            if other not in seen:
                seen.add(other)
                shape = self.wanted_by(self.nodes[other]) or self.wanted(other, seen)
                if shape is not None:
                    return shape
        return None

    @staticmethod
    def wanted_by(node: Node) -> tuple[int, ...] | None:
        """The input shape that a node's own fields tell, or None."""
        values = node.values
        if node.kind in ("Linear", "Affine"):
            return values["weight"].shape[1:]
        if node.kind in ("Conv1d", "Conv2d"):
            if values.get("input_shape") is None:
                return None
            channels = values["weight"].shape[1] * int(values.get("groups", np.ones(1)).flat[0])
            return (channels, *(int(n) for n in np.ravel(values["input_shape"])))
        if node.kind == "Flatten":
            stored = values.get("input_type")
            return None if stored is None else tuple(int(n) for n in np.ravel(stored)) or None
        arrays = [values[what] for what in FIELDS[node.kind]]
        return max((array.shape for array in arrays), key=math.prod, default=()) or (1,) if arrays else None
