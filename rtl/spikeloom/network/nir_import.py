"""A trained network from a NIR file: read, checked, and folded to a chain of layers with one state variable each.

NIR defines continuous time; step t of length dt is one explicit Euler step, then fire, then reset::

    LIF   tau dv/dt = v_leak - v + r I      v <- v + dt / tau (v_leak - v + r I)
    LI    the same, never fires
    IF    dv/dt = r I                       v <- v + dt r I
    I     the same, never fires
    fire  z = v > v_threshold               reset  v <- v_reset (NIR), or the kind that the user names

NIR stores neither dt nor the kind of reset, so both are given by the user. What the nodes hold is folded:

- r and dt / tau multiply the weights and biases of their neuron. The decay of a layer is 1 - dt / tau (IF, I: 1).
- Potentials are counted from v_reset: v' = v - v_reset (0 for LI and I), which starts at 0, decays to 0 and resets to
  0. The threshold becomes v_threshold - v_reset, and what v_leak is above v_reset a bias of dt / tau (v_leak -
  v_reset) per step. The kinds that subtract take v_threshold - v_reset off.
- Thresholds that differ between the neurons of a layer are made equal (to the largest) by scaling each neuron.
- Linear, Affine and Scale nodes in a row are multiplied together; Flatten keeps the order of elements.
- Threshold after LI or I makes it fire and never reset. Threshold after a linear node is a neuron without memory
  (decay 0). After spikes it changes nothing where 0 <= threshold < 1, and is refused elsewhere.

Sources: Pedersen et al., "Neuromorphic intermediate representation", Nat. Commun. 15:8122 (2024); the file format and
the node definitions of the `nir` package 1.0.4 to 1.0.8. Files are read with h5py directly: the reader of `nir` fails
without naming the node, and rejects files of other versions of itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import InputError
from .float_network import FloatLayer, FloatNetwork
from .integer import RESET_KINDS, ResetKind

__all__ = ["SUPPORTED", "import_nir"]

SUPPORTED = ("Input", "Output", "Linear", "Affine", "Scale", "Flatten", "Threshold", "IF", "LIF", "LI", "I")
FIELDS = {  # what each node must hold; v_reset is missing in files of nir before 1.0.5 and is then 0
    "Input": (),
    "Output": (),
    "Linear": ("weight",),
    "Affine": ("weight", "bias"),
    "Scale": ("scale",),
    "Flatten": (),
    "Threshold": ("threshold",),
    "IF": ("r", "v_threshold"),
    "LIF": ("tau", "r", "v_leak", "v_threshold"),
    "LI": ("tau", "r", "v_leak"),
    "I": ("r",),
}
UNIFORM = 1e-6
"""Neurons of a layer share one decay where theirs differ by less: files often hold single precision."""


@dataclass
class _Node:
    """One node: NIR class, and its numeric fields by name."""

    kind: str
    values: dict[str, Any]


@dataclass
class _Graph:
    """Nodes by name (a subgraph is a _Graph) and edges."""

    nodes: dict[str, "_Node | _Graph"]
    edges: list[tuple[str, str]]


@dataclass
class _Signal:
    """What flows on an edge: y = matrix @ (gain * x) + bias, where x are the spikes of the last layer or the input.

    `size` is None until it is known; None for matrix, gain and bias are identity, ones and zeros. `shape` has the
    axes that Flatten has not yet removed.
    """

    size: int | None
    shape: tuple[int, ...]
    matrix: np.ndarray | None = None
    gain: np.ndarray | None = None
    bias: np.ndarray | None = None
    nodes: list[str] = field(default_factory=list)
    name: str | None = None

    @property
    def plain(self) -> bool:
        """Whether the signal is still the spikes themselves."""
        return self.matrix is None and self.gain is None and self.bias is None


def import_nir(source: Path | str | Any, *, dt: float, reset: ResetKind, name: str | None = None) -> FloatNetwork:
    """Read a network from a NIR file.

    Parameters
    ----------
    source : path, or nir.NIRGraph
        A file that `nir.write` or an exporter wrote, or the graph itself.
    dt : float
        Time of a step in the unit of the file's time constants (NIR: seconds). Frameworks that count time in steps
        write r = 1 for IF and expect dt = 1; snnTorch writes for dt = 1e-4.
    reset : str
        zero, subtract, delayed_zero, delayed_subtract or none. snnTorch resets in the next step: delayed_subtract by
        default, delayed_zero for reset_mechanism = "zero".
    name : str, optional
        Name of the network; by default that of the file.

    Returns
    -------
    FloatNetwork
        Its layers fire at u > theta, as NIR defines. Layers are named after their Linear or Affine node, else after
        their neuron node, with what Verilog would not accept replaced by `_`.

    Raises
    ------
    InputError
        Where the file is missing or damaged, a node is not supported, or the graph is not a chain; the message names
        file and node.
    """
    graph_given = hasattr(source, "nodes") and hasattr(source, "edges")
    origin = "NIR graph" if graph_given else str(source)
    if not _is_number(dt) or not 0 < dt < np.inf:
        raise InputError(f"{origin}: dt = {dt!r}: accepted is a time above 0, in the unit of the time constants")
    if reset not in RESET_KINDS:
        raise InputError(f"{origin}: reset = {reset!r}: accepted are {', '.join(RESET_KINDS)}")
    graph = _from_object(source, origin, "") if graph_given else _read(Path(source))
    if name is None:
        name = "network" if graph_given else Path(source).stem
    return _Folder(origin, float(dt), reset).fold(_flatten(graph, origin), name)


class _Folder:
    """Walks a chain of nodes and builds the layers."""

    def __init__(self, origin: str, dt: float, reset: ResetKind):
        self.origin, self.dt = origin, dt
        self.reset: ResetKind = reset
        self.layers: list[FloatLayer] = []
        self.analog = False  # the last layer is a read-out so far

    def fail(self, node: str, text: str) -> NoReturn:
        raise InputError(f"{self.origin}: node {node!r}: {text}")

    def fold(self, graph: _Graph, name: str) -> FloatNetwork:
        """The network of a flat graph."""
        order = _chain(graph, self.origin)
        nodes: list[tuple[str, _Node]] = [(key, graph.nodes[key]) for key in order]  # type: ignore[misc]
        for key, node in nodes:
            self.check(key, node)
        shape = self.shape(nodes[0][1])
        if shape and min(shape) < 1:
            self.fail(order[0], f"shape {list(shape)}; accepted are axes of at least 1")
        signal = _Signal(int(np.prod(shape)) if shape else None, shape)
        for key, node in nodes[1:-1]:
            signal = getattr(self, "fold_" + node.kind.lower())(key, node, signal)
        self.finish(*nodes[-1], signal)
        return FloatNetwork(name=name, layers=tuple(self.layers), dt=self.dt)

    def check(self, key: str, node: _Node):
        """Refuse missing fields and numbers that are not finite, before anything is computed."""
        for what in FIELDS[node.kind]:
            if node.values.get(what) is None:
                self.fail(key, f"{node.kind} without {what}; accepted are all of {', '.join(FIELDS[node.kind])}")
        for what in (*FIELDS[node.kind], "v_reset"):
            value = node.values.get(what)
            if value is None:
                continue
            try:
                array = np.asarray(value, np.float64)
            except (TypeError, ValueError):
                self.fail(key, f"{what} = {value!r}; accepted are numbers")
            bad = ~np.isfinite(array)
            if bad.any():
                index = "".join(f"[{i}]" for i in np.argwhere(bad)[0]) if array.ndim else ""
                hint = "; IF has no leak" if what == "tau" else ""
                self.fail(key, f"{what}{index} is {array[bad].flat[0]}; accepted are finite numbers{hint}")
            if array.size == 0:
                self.fail(key, f"{what} of shape {list(array.shape)} is empty; accepted is at least one value")
            node.values[what] = array

    @staticmethod
    def shape(node: _Node) -> tuple[int, ...]:
        """The stored shape of an Input or Output node; () where the file does not say."""
        stored = node.values.get("shape")
        return () if stored is None else tuple(int(n) for n in np.ravel(stored))

    def finish(self, key: str, node: _Node, signal: _Signal):
        """Check what arrives at the Output node."""
        if not self.layers:
            self.fail(key, "no neurons before the output; accepted is at least one of IF, LIF, LI, I, Threshold")
        if not self.analog and not signal.plain:
            self.fail(
                key,
                f"the output is that of {signal.nodes[-1]!r}, which has no neurons after it; "
                "accepted at the end is one of IF, LIF, LI, I, Threshold",
            )
        stored = self.shape(node)
        if stored and int(np.prod(stored)) != signal.size:
            self.fail(key, f"shape {list(stored)} for {signal.size} outputs; accepted is [{signal.size}]")

    def spikes_only(self, key: str, node: _Node):
        """Refuse a linear node behind a read-out."""
        if self.analog:
            self.fail(
                key,
                f"{node.kind} after {self.layers[-1].nodes[-1]!r}, which sends potentials, not spikes; accepted "
                "between layers is IF, LIF or Threshold (LI and I only as the last layer)",
            )

    def per_neuron(self, key: str, node: _Node, what: str, size: int | None) -> np.ndarray:
        """A field as one value per neuron, float64 [size]; a single value serves all."""
        value = np.ravel(node.values[what])
        if size is None:
            return value
        if value.size not in (1, size):
            self.fail(key, f"{what} of shape {list(node.values[what].shape)} for {size} inputs; accepted is [{size}]")
        return np.broadcast_to(value, (size,))

    def fold_linear(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Linear and Affine: multiply into the pending matrix."""
        self.spikes_only(key, node)
        weight = node.values["weight"]
        if weight.ndim != 2:
            self.fail(key, f"weight of shape {list(weight.shape)}; accepted is [neurons, inputs]")
        outputs, inputs = weight.shape
        if sum(n != 1 for n in signal.shape) > 1:
            self.fail(key, f"its input has shape {list(signal.shape)}; accepted is one axis: put a Flatten before it")
        if signal.size not in (None, inputs):
            self.fail(
                key, f"weight of shape {list(weight.shape)} after {signal.size} values; accepted is [n, {signal.size}]"
            )
        bias = None if signal.bias is None else weight @ signal.bias
        if node.kind == "Affine":
            own = np.ravel(node.values["bias"])
            if own.size != outputs:
                self.fail(key, f"bias of shape {list(node.values['bias'].shape)}; accepted is [{outputs}]")
            bias = own if bias is None else bias + own
        if signal.matrix is not None:
            matrix = weight @ signal.matrix
        else:
            matrix = weight if signal.gain is None else weight * signal.gain
        return _Signal(outputs, (outputs,), matrix, None, bias, [*signal.nodes, key], key)

    fold_affine = fold_linear

    def fold_scale(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Scale: a factor for each element."""
        factor = self.per_neuron(key, node, "scale", signal.size)
        size = signal.size or factor.size
        nodes = [*signal.nodes, key]
        if self.analog:  # a linear neuron: scaling its potential scales all that enters it
            last = self.layers.pop()
            self.layers.append(
                FloatLayer(
                    name=last.name,
                    weights=last.weights * factor[:, None],
                    bias=last.bias * factor,
                    decay=last.decay,
                    nodes=(*last.nodes, key),
                )
            )
            return signal
        bias = None if signal.bias is None else signal.bias * factor
        if signal.matrix is not None:
            return _Signal(size, signal.shape, signal.matrix * factor[:, None], None, bias, nodes, signal.name)
        gain = factor if signal.gain is None else signal.gain * factor
        return _Signal(size, signal.shape or (size,), None, gain, bias, nodes, signal.name)

    def fold_flatten(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Flatten: only the shape changes."""
        stored = node.values.get("input_type")
        if stored is not None and np.size(stored) and np.asarray(stored).dtype.kind in "iuf":
            size = int(np.prod(np.ravel(stored)))
            if signal.size not in (None, size):
                shape = [int(n) for n in np.ravel(stored)]
                self.fail(key, f"input_type {shape} after {signal.size} values; accepted is the shape of its input")
            signal.size = size
        signal.shape = () if signal.size is None else (signal.size,)
        if not signal.plain:
            signal.nodes.append(key)
        return signal

    def fold_if(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """IF, I."""
        return self.neuron(key, node, signal)

    fold_lif = fold_li = fold_i = fold_if

    def fold_threshold(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Threshold: on potentials, on a linear signal, or on spikes."""
        theta = self.per_neuron(key, node, "threshold", signal.size)
        if self.analog:
            last = self.layers.pop()
            self.analog = False
            self.add(key, last.weights, last.bias, last.decay, theta, "none", last.nodes, last.name)
            return signal
        if signal.plain:
            if not ((theta >= 0) & (theta < 1)).all():
                bad = theta[~((theta >= 0) & (theta < 1))][0]
                self.fail(key, f"threshold {bad} on spikes, which are 0 or 1; accepted is 0 up to below 1")
            return signal
        size = signal.size or theta.size
        matrix, bias = self.pending(signal, size)
        self.add(key, matrix, bias, 0.0, theta, "none", tuple(signal.nodes), signal.name)
        return _Signal(size, (size,))

    def pending(self, signal: _Signal, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The signal as a full matrix and bias."""
        matrix = signal.matrix
        if matrix is None:
            matrix = np.diag(np.ones(size) if signal.gain is None else np.broadcast_to(signal.gain, (size,)))
        return matrix, np.zeros(size) if signal.bias is None else signal.bias

    def neuron(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Turn the pending linear map and this neuron node into a layer."""
        self.spikes_only(key, node)
        kind = node.kind
        size = signal.size or max(np.size(node.values[what]) for what in FIELDS[kind])
        values = {what: self.per_neuron(key, node, what, size) for what in FIELDS[kind]}
        zero = np.zeros(size)
        origin = self.per_neuron(key, node, "v_reset", size) if node.values.get("v_reset") is not None else zero
        if "tau" in values:
            tau = values["tau"]
            if not (tau > 0).all():
                self.fail(key, f"tau = {tau[~(tau > 0)][0]}; accepted is a time above 0")
            if self.dt > tau.min() * (1 + UNIFORM):
                self.fail(
                    key,
                    f"tau = {tau.min():g} is shorter than dt = {self.dt:g}, so a step would turn the sign of the "
                    f"potential; accepted is a dt of at most {tau.min():g}",
                )
            share = np.minimum(self.dt / tau, 1.0)
            if np.ptp(share) > UNIFORM:
                self.fail(
                    key,
                    f"tau from {tau.min():g} to {tau.max():g}: per-neuron leaks are not supported yet; "
                    "accepted is one tau for all neurons of a layer",
                )
            decay, gain, drive = 1.0 - float(share[0]), share * values["r"], share * (values["v_leak"] - origin)
        else:
            decay, gain, drive = 1.0, self.dt * values["r"], zero
        matrix, bias = self.pending(signal, size)
        matrix, bias = matrix * gain[:, None], bias * gain + drive
        theta = values["v_threshold"] - origin if "v_threshold" in values else None
        self.add(key, matrix, bias, decay, theta, self.reset, tuple(signal.nodes), signal.name)
        self.analog = theta is None
        return _Signal(size, (size,))

    def add(
        self,
        key: str,
        matrix: np.ndarray,
        bias: np.ndarray,
        decay: float,
        theta: np.ndarray | None,
        reset: ResetKind,
        nodes: tuple[str, ...],
        name: str | None,
    ):
        """Append a layer with one threshold."""
        threshold = None
        if theta is not None:
            if not (theta > 0).all():
                neuron = int(np.argmin(theta))
                self.fail(
                    key,
                    f"the threshold of neuron {neuron} is {theta[neuron]:g} above its reset potential; "
                    "accepted is above 0",
                )
            threshold = float(theta.max())
            if theta.min() != theta.max():
                equal = threshold / theta
                matrix, bias = matrix * equal[:, None], bias * equal
        try:
            layer = FloatLayer(
                name=self.unique(name or key),
                weights=matrix,
                bias=bias,
                decay=decay,
                threshold=threshold,
                reset="none" if threshold is None else reset,
                nodes=(*nodes, key),
            )
        except InputError as error:  # finite fields whose product is not
            self.fail(key, f"folded with the nodes before it: {error}")
        self.layers.append(layer)

    def unique(self, name: str) -> str:
        """`name` as an identifier that no other layer has, nor a part of a core that stands beside its layers."""
        text = re.sub(r"\W", "_", name, flags=re.ASCII)
        if not re.match("[A-Za-z]", text):
            text = "layer_" + text.lstrip("_")
        used, number, unique = {"decision", "load"} | {layer.name for layer in self.layers}, 2, text
        while unique in used:
            unique, number = f"{text}_{number}", number + 1
        return unique


def _chain(graph: _Graph, origin: str) -> list[str]:
    """Names of the nodes from Input to Output; InputError unless the graph is one chain."""
    edges = graph.edges
    following: dict[str, list[str]] = {key: [] for key in graph.nodes}
    before: dict[str, list[str]] = {key: [] for key in graph.nodes}
    for a, b in edges:
        following[a].append(b)
        before[b].append(a)
    cycle = _cycle(following)
    if cycle:
        raise InputError(
            f"{origin}: the graph has a cycle: {' -> '.join(cycle)}; accepted are chains without feedback until "
            "recurrence exists"
        )
    for keys, end in ((following, "sends to"), (before, "receives from")):
        for key, others in keys.items():
            if len(others) > 1:
                raise InputError(
                    f"{origin}: node {key!r} {end} {', '.join(map(repr, sorted(others)))}: branches and joins are not "
                    "supported; accepted is one chain from Input to Output"
                )
    ends = {}
    for kind in ("Input", "Output"):
        found = [key for key, node in graph.nodes.items() if isinstance(node, _Node) and node.kind == kind]
        if len(found) != 1:
            what = f"{len(found)} {kind} nodes ({', '.join(sorted(found))})" if found else f"no {kind} node"
            raise InputError(f"{origin}: {what}; accepted is exactly one")
        ends[kind] = found[0]
    order = [ends["Input"]]
    while following[order[-1]]:
        order += following[order[-1]]
    lost = sorted(set(graph.nodes) - set(order))
    if lost or order[-1] != ends["Output"]:
        culprit = f"node {lost[0]!r} is not connected to the input" if lost else f"it ends at node {order[-1]!r}"
        raise InputError(f"{origin}: {culprit}; accepted is one chain from Input to Output")
    return order


def _cycle(following: Mapping[str, list[str]]) -> list[str] | None:
    """Names along one cycle, its first node repeated at the end, or None. Iterative: graphs may be deep."""
    done: set[str] = set()
    for start in following:
        if start in done:
            continue
        path, position, stack = [start], {start: 0}, [(start, iter(following[start]))]
        while stack:
            key, rest = stack[-1]
            successor = next(rest, None)
            if successor is None:
                stack.pop()
                path.pop()
                del position[key]
                done.add(key)
            elif successor in position:
                return [*path[position[successor] :], successor]
            elif successor not in done:
                position[successor] = len(path)
                path.append(successor)
                stack.append((successor, iter(following[successor])))
    return None


def _flatten(graph: _Graph, origin: str, prefix: str = "") -> _Graph:
    """The graph with each subgraph replaced by its nodes, named `subgraph.node`, and every node of a known kind."""
    nodes: dict[str, _Node | _Graph] = {}
    entry: dict[str, str] = {}
    leave: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for key, node in graph.nodes.items():
        full = prefix + key
        if isinstance(node, _Node):
            if node.kind not in FIELDS:
                raise InputError(
                    f"{origin}: node {full!r}: {node.kind} is not supported; accepted are {', '.join(SUPPORTED)}"
                )
            nodes[full] = node
            entry[key] = leave[key] = full
            continue
        inner = _flatten(node, origin, full + ".")
        ends = []
        for kind in ("Input", "Output"):
            # Inputs and Outputs of deeper subgraphs are already gone: they became plain connections.
            found = [name for name, item in inner.nodes.items() if isinstance(item, _Node) and item.kind == kind]
            if len(found) != 1:
                raise InputError(f"{origin}: subgraph {full!r} has {len(found)} {kind} nodes; accepted is exactly one")
            ends += found
        for name, item in inner.nodes.items():
            # to a chain, the ends of a subgraph are a Flatten that changes nothing
            nodes[name] = _Node("Flatten", {}) if name in ends else item
        edges += inner.edges
        entry[key], leave[key] = ends
    for a, b in graph.edges:
        for key in (a, b):
            if key not in graph.nodes:
                raise InputError(
                    f"{origin}: edge {prefix + a!r} -> {prefix + b!r}: there is no node {prefix + key!r}; "
                    "accepted are edges between nodes of the graph"
                )
        edges.append((leave[a], entry[b]))
    return _Graph(nodes, list(dict.fromkeys(edges)))  # some exporters write an edge twice


def _from_object(graph: Any, origin: str, prefix: str) -> _Graph:
    """A nir.NIRGraph as a _Graph."""
    nodes: dict[str, _Node | _Graph] = {}
    for key, node in graph.nodes.items():
        if hasattr(node, "nodes") and hasattr(node, "edges"):
            nodes[key] = _from_object(node, origin, f"{prefix}{key}.")
            continue
        kind = type(node).__name__
        values = dict(vars(node))
        if kind in ("Input", "Output"):
            side = kind.lower()
            values = {"shape": (values.get(f"{side}_type") or {}).get(side)}
        elif kind == "Flatten":
            values["input_type"] = (values.get("input_type") or {}).get("input")
        nodes[key] = _Node(kind, values)
    return _Graph(nodes, [(str(a), str(b)) for a, b in graph.edges])


def _read(path: Path) -> _Graph:
    """The graph of a NIR file."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {what}; accepted is a NIR file (.nir)")
    import h5py  # a dependency of nir; slow to import, and needed here only

    try:
        with h5py.File(path, "r") as file:
            if "node" not in file:
                raise InputError(f"{path}: an HDF5 file without a NIR graph; accepted is a file that nir.write wrote")
            graph = _read_group(file["node"], str(path), "")
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: not a readable NIR file ({reason}); accepted is one that nir.write wrote") from error
    if isinstance(graph, _Node):
        raise InputError(f"{path}: a single {graph.kind} node; accepted is a NIRGraph")
    return graph


def _read_group(group: Any, origin: str, name: str) -> _Node | _Graph:
    """One node of the file; `name` is empty for the graph itself."""
    if not hasattr(group, "keys") or "type" not in group:
        raise InputError(f"{origin}: node {name!r} has no type; accepted is a file that nir.write wrote")
    kind = _text(group["type"][()])
    if kind != "NIRGraph":
        return _Node(kind, {key: item[()] for key, item in group.items() if not hasattr(item, "keys")})
    prefix = name + "." if name else ""
    if "nodes" not in group or "edges" not in group:
        raise InputError(f"{origin}: graph {name!r} without nodes or edges; accepted is a file that nir.write wrote")
    nodes = {str(key): _read_group(item, origin, prefix + str(key)) for key, item in group["nodes"].items()}
    pairs = np.asarray(group["edges"][()])
    if pairs.size and (pairs.ndim != 2 or pairs.shape[1] != 2):
        raise InputError(f"{origin}: edges of shape {list(pairs.shape)}; accepted is [edges, 2]")
    return _Graph(nodes, [(_text(a), _text(b)) for a, b in pairs.reshape(-1, 2)])


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
