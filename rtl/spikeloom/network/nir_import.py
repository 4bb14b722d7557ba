"""A trained network from a NIR file: read, checked, and folded to a graph of layers.

NIR defines continuous time; step t of length dt is one explicit Euler step, then fire, then reset::

    LIF      tau dv/dt = v_leak - v + r I                v <- v + dt / tau (v_leak - v + r I)
    LI       the same, never fires
    IF       dv/dt = r I                                 v <- v + dt r I
    I        the same, never fires
    CubaLIF  tau_syn di/dt = -i + w_in I                 i <- i + dt / tau_syn (w_in I - i)
             tau_mem dv/dt = v_leak - v + r i            v <- v + dt / tau_mem (v_leak - v + r i), with the new i
    CubaLI   the same, never fires
    fire     z = v > v_threshold                         reset  v <- v_reset (NIR), or the kind that the user names

NIR stores neither dt, nor the kind of reset, nor whether v sees the new i or the one before (`synapse`), so all are
given by the user. What the nodes hold is folded:

- r, w_in, dt / tau, dt / tau_mem and dt / tau_syn multiply the weights and biases of their neuron. What is left of a
  potential after a step is 1 - dt / tau (IF, I: 1), of a current 1 - dt / tau_syn; they may differ between neurons.
- Potentials are counted from v_reset: v' = v - v_reset (0 for LI and I), which starts at 0, decays to 0 and resets to
  0. The threshold becomes v_threshold - v_reset, and what v_leak is above v_reset a bias of dt / tau (v_leak -
  v_reset) per step. The kinds that subtract take v_threshold - v_reset off.
- Thresholds that differ between the neurons of a layer are made equal (to the largest) by scaling each neuron. Neurons
  of one channel share a kernel: where theirs differ, each keeps its own.
- Linear, Affine and Scale nodes in a row are multiplied together; Flatten keeps the order of elements. A pool is part
  of the connection behind it (a mean: its share multiplies the weights); a pool right behind a convolution makes one
  convolution with a larger kernel and stride.
- Signals that meet at a node add up. An edge that closes a loop through neurons takes one step, or as many as a Delay
  in it says; a loop without neurons is refused. A Delay is a whole number of steps.
- Threshold after LI or I makes it fire and never reset. Threshold after a linear node is a neuron without memory
  (decay 0). After spikes it changes nothing where 0 <= threshold < 1, and is refused elsewhere.

Sources: Pedersen et al., "Neuromorphic intermediate representation", Nat. Commun. 15:8122 (2024); the file format and
the node definitions of the `nir` package 1.0.4 to 1.0.8. Files are read with h5py directly: the reader of `nir` fails
without naming the node, and rejects files of other versions of itself.
"""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import numpy as np

from ..errors import InputError
from .connections import FloatConnection
from .float_network import FloatLayer, FloatNetwork
from .graph import INPUT
from .integer import RESET_KINDS, ResetKind

__all__ = ["SUPPORTED", "SynapseTiming", "import_nir"]

SUPPORTED = (
    "Input", "Output", "Linear", "Affine", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Scale", "Flatten", "Delay",
    "Threshold", "IF", "LIF", "CubaLIF", "LI", "CubaLI", "I",
)  # fmt: skip
FIELDS = {  # what each node must hold
    "Input": (),
    "Output": (),
    "Pass": (),
    "Linear": ("weight",),
    "Affine": ("weight", "bias"),
    "Conv1d": ("weight",),
    "Conv2d": ("weight",),
    "SumPool2d": ("kernel_size",),
    "AvgPool2d": ("kernel_size",),
    "Scale": ("scale",),
    "Flatten": (),
    "Delay": ("delay",),
    "Threshold": ("threshold",),
    "IF": ("r", "v_threshold"),
    "LIF": ("tau", "r", "v_leak", "v_threshold"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold"),
    "LI": ("tau", "r", "v_leak"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak"),
    "I": ("r",),
}
OPTIONAL = {  # numbers that may be missing; v_reset in files of nir before 1.0.5, where it is 0
    "IF": ("v_reset",),
    "LIF": ("v_reset",),
    "CubaLIF": ("v_reset", "w_in"),
    "CubaLI": ("w_in",),
    "Conv1d": ("bias",),
    "Conv2d": ("bias",),
}
SPIKING = ("IF", "LIF", "CubaLIF")
NEURONS = (*SPIKING, "LI", "CubaLI", "I")
WINDOWS = ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d")
SynapseTiming = Literal["same_step", "next_step"]
UNIFORM = 1e-6
"""Neurons of a layer share one decay where theirs differ by less: files often hold single precision."""


@dataclass
class _Node:
    """One node: NIR class, and its fields by name."""

    kind: str
    values: dict[str, Any]


@dataclass
class _Graph:
    """Nodes by name (a subgraph is a _Graph) and edges."""

    nodes: dict[str, "_Node | _Graph"]
    edges: list[tuple[str, str]]


@dataclass
class _Term:
    """One summand of a signal: weights over the spikes of a population, as `Geometry` has them.

    Without weights the term is `gain * pooled spikes`; `gain` is None for ones, else one number for each pooled source.
    """

    source: str
    source_shape: tuple[int, ...]
    delay: int = 0
    pool: tuple[int, int] = (1, 1)
    gain: np.ndarray | None = None
    weights: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    @property
    def pooled_shape(self) -> tuple[int, ...]:
        if len(self.source_shape) == 1:
            return self.source_shape
        channels, height, width = self.source_shape
        return channels, height // self.pool[0], width // self.pool[1]

    @property
    def gains(self) -> np.ndarray:
        """The gain of each pooled source."""
        return np.ones(math.prod(self.pooled_shape)) if self.gain is None else self.gain

    def connection(self) -> FloatConnection:
        """The term, which has weights, as a connection."""
        assert self.weights is not None
        return FloatConnection(
            weights=self.weights,
            source=self.source,
            delay=self.delay,
            source_shape=self.source_shape,
            pool=self.pool,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
        )


@dataclass
class _Signal:
    """What flows out of a node: the sum of its terms and a constant bias [elements], of a shape as NIR has it.

    `layer` is the place of the read-out whose potentials the signal is; `name` that of the latest node with weights.
    """

    shape: tuple[int, ...]
    terms: list[_Term]
    bias: np.ndarray | None = None
    nodes: tuple[str, ...] = ()
    name: str | None = None
    readout: int | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def plain(self) -> bool:
        """Whether the signal is the spikes of one population, as they are."""
        term = self.terms[0]
        return (
            len(self.terms) == 1
            and term.weights is None
            and term.gain is None
            and self.bias is None
            and (term.pool == (1, 1) and term.delay == 0)
        )


def import_nir(
    source: Path | str | Any,
    *,
    dt: float,
    reset: ResetKind,
    synapse: SynapseTiming = "same_step",
    name: str | None = None,
) -> FloatNetwork:
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
    synapse : str
        When the synaptic current of CubaLIF and CubaLI reaches the potential: same_step (snnTorch), or next_step, one
        step after the spikes that changed it (Norse).
    name : str, optional
        Name of the network; by default that of the file.

    Returns
    -------
    FloatNetwork
        Its layers fire at u > theta, as NIR defines. Layers are named after their node with weights, else after
        their neuron node, with what Verilog would not accept replaced by `_`.

    Raises
    ------
    InputError
        Where the file is missing or damaged, a node is not supported, or the graph cannot be one of layers; the
        message names file and node.
    """
    graph_given = hasattr(source, "nodes") and hasattr(source, "edges")
    origin = "NIR graph" if graph_given else str(source)
    if not _is_number(dt) or not 0 < dt < np.inf:
        raise InputError(f"{origin}: dt = {dt!r}: accepted is a time above 0, in the unit of the time constants")
    if reset not in RESET_KINDS:
        raise InputError(f"{origin}: reset = {reset!r}: accepted are {', '.join(RESET_KINDS)}")
    if synapse not in get_args(SynapseTiming):
        raise InputError(f"{origin}: synapse = {synapse!r}: accepted are {', '.join(get_args(SynapseTiming))}")
    graph = _from_object(source, origin, "") if graph_given else _read(Path(source))
    if name is None:
        name = "network" if graph_given else Path(source).stem
    return _Folder(_flatten(graph, origin), origin, float(dt), reset, synapse).fold(name)


class _Folder:
    """Follows the signals of a flat graph and builds the layers."""

    def __init__(self, graph: _Graph, origin: str, dt: float, reset: ResetKind, synapse: SynapseTiming):
        self.origin, self.dt = origin, dt
        self.reset: ResetKind = reset
        self.synapse = synapse
        self.nodes: dict[str, _Node] = graph.nodes  # type: ignore[assignment]
        self.before: dict[str, list[str]] = {key: [] for key in self.nodes}
        self.following: dict[str, list[str]] = {key: [] for key in self.nodes}
        for a, b in graph.edges:
            self.following[a].append(b)
            self.before[b].append(a)
        self.layers: list[FloatLayer] = []
        self.populations: dict[str, str] = {}  # name of the layer of each neuron node
        self.signals: dict[str, _Signal] = {}
        self.path: list[str] = []  # nodes whose signals are being worked out
        self.pending: list[str] = []  # neuron nodes whose layers are still to be built

    def fail(self, node: str, text: str) -> NoReturn:
        raise InputError(f"{self.origin}: node {node!r}: {text}")

    def fold(self, name: str) -> FloatNetwork:
        """The network."""
        ends = {}
        for kind in ("Input", "Output"):
            found = [key for key, node in self.nodes.items() if node.kind == kind]
            if len(found) != 1:
                what = f"{len(found)} {kind} nodes ({', '.join(sorted(found))})" if found else f"no {kind} node"
                raise InputError(f"{self.origin}: {what}; accepted is exactly one")
            ends[kind] = found[0]
        self._connected(ends["Input"], ends["Output"])
        for key, node in self.nodes.items():
            self.check(key, node)
        self.shapes = self._shapes(ends["Input"])
        self.signals[ends["Input"]] = self._input(ends["Input"])
        output = self.signal(ends["Output"])
        while self.pending:  # what only loops lead to
            self.build(self.pending[0])
        self.finish(ends["Output"], output)
        return FloatNetwork(name=name, layers=self._ordered(output), dt=self.dt)

    def _connected(self, start: str, end: str) -> None:
        """Refuse nodes that the input does not reach, or that do not reach the output."""
        for first, steps, text in (
            (start, self.following, "is not connected to the input"),
            (end, self.before, "does not lead to the output"),
        ):
            reached, open_ = {first}, [first]
            while open_:
                new = [key for key in steps[open_.pop()] if key not in reached]
                reached.update(new)
                open_ += new
            lost = sorted(set(self.nodes) - reached)
            if lost:
                raise InputError(f"{self.origin}: node {lost[0]!r} {text}; accepted are graphs from Input to Output")

    def check(self, key: str, node: _Node):
        """Refuse missing fields and numbers that are not finite, before anything is computed."""
        for what in FIELDS[node.kind]:
            if node.values.get(what) is None:
                self.fail(key, f"{node.kind} without {what}; accepted are all of {', '.join(FIELDS[node.kind])}")
        for what in (*FIELDS[node.kind], *OPTIONAL.get(node.kind, ())):
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
                hint = "; IF has no leak" if what.startswith("tau") else ""
                self.fail(key, f"{what}{index} is {array[bad].flat[0]}; accepted are finite numbers{hint}")
            if array.size == 0:
                self.fail(key, f"{what} of shape {list(array.shape)} is empty; accepted is at least one value")
            node.values[what] = array

    # ---- shapes ----

    def _shapes(self, start: str) -> dict[str, tuple[int, ...]]:
        """Shape of what leaves each node, from node to node: a loop knows it from its entrance."""
        stored = _stored_shape(self.nodes[start])
        if stored and min(stored) < 1:
            self.fail(start, f"shape {list(stored)}; accepted are axes of at least 1")
        shapes = {start: stored or self._guessed_input(start)}
        grown = True
        while grown:
            grown = False
            for key, node in self.nodes.items():
                given = next((shapes[other] for other in self.before[key] if other in shapes), None)
                if key not in shapes and given is not None:
                    shapes[key] = self._shape_after(key, node, given)
                    grown = True
        return shapes

    def _guessed_input(self, start: str) -> tuple[int, ...]:
        """Shape of an input whose node does not say it, from the first node behind it that does."""
        key = start
        while self.following.get(key):
            key = self.following[key][0]
            node = self.nodes[key]
            if node.kind in ("Linear", "Affine") and node.values["weight"].ndim == 2:
                return (node.values["weight"].shape[1],)
            if node.kind in ("Conv1d", "Conv2d") and node.values.get("input_shape") is not None:
                inner = node.values["weight"].shape[1] * _integer(node.values.get("groups"), 1)
                return (inner, *(int(n) for n in np.ravel(node.values["input_shape"])))
            if node.kind == "Flatten":
                stored = _flatten_shape(node)
                if stored:
                    return stored
                continue
            sizes = [np.shape(node.values[what]) for what in FIELDS[node.kind]]
            if sizes:
                return max(sizes, key=math.prod) or (1,)
        self.fail(start, "no shape, and no node behind it says one; accepted is an Input with a shape")

    def _shape_after(self, key: str, node: _Node, given: tuple[int, ...]) -> tuple[int, ...]:
        if node.kind in ("Linear", "Affine"):
            return (node.values["weight"].shape[0],)
        if node.kind == "Flatten":
            return (math.prod(given),)
        if node.kind in ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d"):
            shape = self._window(key, node, given)[1]
            return (shape[0], shape[2]) if node.kind == "Conv1d" else shape
        return given

    def _map(self, key: str, node: _Node, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """The input of a convolution or a pool as (C, H, W)."""
        axes = 2 if node.kind == "Conv1d" else 3
        if len(shape) != axes:
            wanted = "[channels, length]" if axes == 2 else "[channels, height, width]"
            self.fail(key, f"its input has shape {list(shape)}; accepted is {wanted}")
        return (shape[0], 1, shape[1]) if axes == 2 else (shape[0], shape[1], shape[2])

    def _window(self, key: str, node: _Node, given: tuple[int, ...]) -> tuple[dict[str, Any], tuple[int, int, int]]:
        """Checked window of a convolution {weights, stride, padding, groups} or pool {pool}; its output (C, H, W)."""
        source, values = self._map(key, node, given), node.values
        if node.kind.endswith("Pool2d"):
            size, stride = self._pair(key, node, "kernel_size", 1), self._pair(key, node, "stride", 1)
            padding = self._pair(key, node, "padding", 0)
            if size != stride or padding != (0, 0):
                self.fail(
                    key,
                    f"kernel_size {list(size)}, stride {list(stride)}, padding {list(padding)}; accepted are windows "
                    "that do not overlap: stride = kernel_size, padding = 0",
                )
            if size[0] > source[1] or size[1] > source[2]:
                self.fail(key, f"a window of {list(size)} over a map of {list(source[1:])}; accepted: at most the map")
            return {"pool": size}, (source[0], source[1] // size[0], source[2] // size[1])
        weights = values["weight"]
        if weights.ndim != (3 if node.kind == "Conv1d" else 4):
            self.fail(key, f"weight of shape {list(weights.shape)}; accepted: [channels, source channels, kernel ...]")
        kernel = weights.shape[2:]
        if any(step != 1 for step in self._pair(key, node, "dilation", 1)):
            self.fail(key, f"dilation {_plain(values['dilation'])}; accepted is 1")
        stride = self._pair(key, node, "stride", 1)
        padding = values.get("padding", 0)
        if isinstance(padding, (str, bytes)) or getattr(padding, "dtype", np.dtype(float)).kind in "SUO":
            word = _text(padding if isinstance(padding, (str, bytes)) else np.asarray(padding).item())
            if word == "same" and all(k % 2 for k in kernel) and all(step == 1 for step in stride):
                pads = tuple(k // 2 for k in kernel)
            elif word == "valid":
                pads = (0,) * len(kernel)
            else:
                self.fail(
                    key,
                    f"padding {word!r} with kernel {list(kernel)} and stride {list(stride)}; accepted are numbers, "
                    "'valid', and 'same' for odd kernels at stride 1",
                )
        else:
            pads = self._pair(key, node, "padding", 0)
        groups = _integer(values.get("groups"), 1)
        if node.kind == "Conv1d":
            weights, stride, pads = weights[:, :, None, :], (1, stride[-1]), (0, pads[-1])
        try:
            window = {"weights": weights, "stride": tuple(stride), "padding": tuple(pads), "groups": groups}
            shape = FloatConnection(source_shape=source, **window).shape
        except InputError as error:
            self.fail(key, str(error))
        return window, (shape[0], shape[1], shape[2])

    def _pair(self, key: str, node: _Node, what: str, default: int) -> tuple[int, ...]:
        """A field of one or two numbers, as many as the window has axes."""
        value = node.values.get(what)
        axes = 1 if node.kind == "Conv1d" else 2
        numbers = [default] if value is None else list(np.ravel(value))
        if len(numbers) not in (1, axes) or not all(float(n) == int(n) and n >= (what != "padding") for n in numbers):
            self.fail(key, f"{what} {_plain(value)}; accepted are {axes} whole numbers")
        return tuple(int(n) for n in (numbers * axes if len(numbers) == 1 else numbers))

    # ---- signals ----

    def _input(self, key: str) -> _Signal:
        """The network's input: a map where a convolution or pool looks at it, else flat."""
        shape, looking, open_ = self.shapes[key], False, list(self.following[key])
        while open_:
            node = self.nodes[other := open_.pop()]
            looking |= node.kind in WINDOWS
            if node.kind in ("Scale", "Delay", "Pass") or (node.kind in NEURONS and len(shape) == 3):
                open_ += [] if node.kind in NEURONS else self.following[other]
        return _Signal(shape, [_Term(INPUT, _population(shape) if looking else (math.prod(shape),))])

    def signal(self, key: str) -> _Signal:
        """What leaves a node. A neuron node sends its spikes whether or not its layer has been built."""
        if key in self.signals:
            return self.signals[key]
        if key in self.path:
            loop = [*self.path[self.path.index(key) :], key]
            raise InputError(
                f"{self.origin}: the loop {' -> '.join(reversed(loop))} takes no time: no neurons are in it; "
                "accepted are loops through IF, LIF or CubaLIF"
            )
        node = self.nodes[key]
        if node.kind in SPIKING:
            self.pending.append(key)
            self.populations[key] = key
            shape = self.shapes[key]
            self.signals[key] = _Signal(shape, [_Term(key, self._placed(key))])
            self.build(key)
            return self.signals[key]
        self.path.append(key)
        arriving = self.joined(key)
        self.path.pop()
        fold = {
            "Affine": self.fold_linear, "Linear": self.fold_linear, "Conv1d": self.fold_convolution,
            "Conv2d": self.fold_convolution, "SumPool2d": self.fold_pool, "AvgPool2d": self.fold_pool,
            "Scale": self.fold_scale, "Flatten": self.fold_flatten, "Delay": self.fold_delay,
            "Threshold": self.fold_threshold, "LI": self.neuron, "I": self.neuron, "CubaLI": self.neuron,
        }.get(node.kind)  # fmt: skip
        self.signals[key] = fold(key, node, arriving) if fold else arriving
        return self.signals[key]

    def build(self, key: str) -> None:
        """Build the layer of a spiking neuron node."""
        if key not in self.pending:
            return
        self.pending.remove(key)
        kept, self.path = self.path, []  # a loop through neurons is none of signals
        self.neuron(key, self.nodes[key], self.joined(key))
        self.path = kept

    def _placed(self, key: str) -> tuple[int, ...]:
        """Shape of the population of a neuron node: a map where a map arrives that no Linear has flattened."""
        shape = self.shapes[key]
        return _population(shape) if len(shape) in (2, 3) and self._has_map(key) else (math.prod(shape),)

    def _has_map(self, key: str, seen: frozenset[str] = frozenset()) -> bool:
        """Whether what arrives at a node comes from a convolution, a pool, or a population that is a map."""
        for other in self.before[key]:
            kind = self.nodes[other].kind
            if kind in WINDOWS:
                return True
            if kind == "Input" and len(self.signals[other].terms[0].source_shape) == 3:
                return True
            if kind in ("Scale", "Delay", "Pass", "Threshold", *NEURONS) and other not in seen:
                if self._has_map(other, seen | {other}):
                    return True
        return False

    def joined(self, key: str) -> _Signal:
        """The sum of all that arrives at a node."""
        parts = [self.signal(other) for other in self.before[key]]
        first = parts[0]
        if len(parts) == 1:
            return first
        for other, part in zip(self.before[key], parts, strict=True):
            if part.readout is not None:
                self.fail(key, f"receives the potentials of {other!r}; accepted at a join are spikes")
            if part.shape != first.shape:
                self.fail(
                    key,
                    f"receives {list(first.shape)} from {self.before[key][0]!r} and {list(part.shape)} from {other!r}; "
                    "accepted is one shape",
                )
        biases = [part.bias for part in parts if part.bias is not None]
        return _Signal(
            first.shape,
            [term for part in parts for term in part.terms],
            sum(biases) if biases else None,  # type: ignore[arg-type]
            tuple(dict.fromkeys(node for part in parts for node in part.nodes)),
            next((part.name for part in parts if part.name is not None), None),
        )

    def finish(self, key: str, signal: _Signal):
        """Check what arrives at the Output node."""
        if not self.layers or (signal.readout is None and signal.plain and signal.terms[0].source == INPUT):
            self.fail(key, "no neurons before the output; accepted is at least one of IF, LIF, LI, I, Threshold")
        if signal.readout is None and not signal.plain:
            self.fail(
                key,
                f"the output is that of {[*signal.nodes, '?'][-2]!r}, which has no neurons after it; "
                "accepted at the end is one of IF, LIF, LI, I, Threshold",
            )
        stored = _stored_shape(self.nodes[key])
        if stored and int(np.prod(stored)) != signal.size:
            self.fail(key, f"shape {list(stored)} for {signal.size} outputs; accepted is [{signal.size}]")

    def spikes_only(self, key: str, node: _Node, signal: _Signal):
        """Refuse a linear node behind a read-out."""
        if signal.readout is not None:
            self.fail(
                key,
                f"{node.kind} after {self.layers[signal.readout].nodes[-1]!r}, which sends potentials, not spikes; "
                "accepted between layers is IF, LIF or Threshold (LI and I only as the last layer)",
            )

    def per_neuron(self, key: str, node: _Node, what: str, size: int) -> np.ndarray:
        """A field as one value per neuron, float64 [size]; a single value serves all."""
        value = np.ravel(node.values[what])
        if value.size not in (1, size):
            self.fail(key, f"{what} of shape {list(node.values[what].shape)} for {size} inputs; accepted is [{size}]")
        return np.broadcast_to(value, (size,))

    def fold_linear(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Linear and Affine: multiply into each term."""
        self.spikes_only(key, node, signal)
        weight = node.values["weight"]
        if weight.ndim != 2:
            self.fail(key, f"weight of shape {list(weight.shape)}; accepted is [neurons, inputs]")
        outputs, inputs = weight.shape
        if sum(n != 1 for n in signal.shape) > 1:
            self.fail(key, f"its input has shape {list(signal.shape)}; accepted is one axis: put a Flatten before it")
        if signal.size != inputs:
            self.fail(
                key, f"weight of shape {list(weight.shape)} after {signal.size} values; accepted is [n, {signal.size}]"
            )
        bias = None if signal.bias is None else weight @ signal.bias
        if node.kind == "Affine":
            own = np.ravel(node.values["bias"])
            if own.size != outputs:
                self.fail(key, f"bias of shape {list(node.values['bias'].shape)}; accepted is [{outputs}]")
            bias = own if bias is None else bias + own
        terms = []
        for term in signal.terms:
            if term.weights is None:
                terms.append(replace(term, weights=weight if term.gain is None else weight * term.gain, gain=None))
            elif term.weights.ndim == 2:
                terms.append(replace(term, weights=weight @ term.weights))
            else:  # two linear maps in a row: the first one written out, its pool included
                terms.append(_Term(term.source, term.source_shape, term.delay, weights=_product(weight, term)))
        return _Signal((outputs,), terms, bias, (*signal.nodes, key), key)

    def fold_convolution(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Conv1d and Conv2d: a kernel over each term, which must be spikes."""
        self.spikes_only(key, node, signal)
        window, shape = self._window(key, node, signal.shape)
        kernel, terms = window["weights"], []
        channels = shape[0]
        for term in signal.terms:
            if term.weights is not None:
                self.fail(
                    key, f"{node.kind} after {signal.nodes[-1]!r} without neurons between them; accepted are spikes"
                )
            weights = kernel
            if term.gain is not None:
                scale = self.per_channel(key, "a gain before a convolution", term.gain, term.pooled_shape)
                inner, per_group = kernel.shape[1], channels // window["groups"]
                first = np.arange(channels) // per_group * inner
                weights = kernel * scale[first[:, None] + np.arange(inner)][:, :, None, None]
            terms.append(replace(term, **{**window, "weights": weights}, gain=None))
        positions = shape[1] * shape[2]
        bias = None
        if signal.bias is not None:
            plain = FloatConnection(source_shape=self._map(key, node, signal.shape), **window)
            bias = plain.matrix @ signal.bias
        if node.values.get("bias") is not None:
            own = np.ravel(node.values["bias"])
            if own.size != channels:
                self.fail(key, f"bias of shape {list(node.values['bias'].shape)}; accepted is [{channels}]")
            own = np.repeat(own, positions)
            bias = own if bias is None else bias + own
        if bias is not None and not bias.any():
            bias = None
        outside = (channels, shape[2]) if node.kind == "Conv1d" else shape
        return _Signal(outside, terms, bias, (*signal.nodes, key), key)

    def fold_pool(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """SumPool2d and AvgPool2d: spikes are summed by the connection; the share of a mean is a gain."""
        self.spikes_only(key, node, signal)
        window, shape = self._window(key, node, signal.shape)
        high, wide = window["pool"]
        share = 1.0 if node.kind == "SumPool2d" else 1.0 / (high * wide)
        terms = []
        for term in signal.terms:
            if term.weights is None:
                scale = np.ones(shape[0])
                if term.gain is not None:
                    scale = self.per_channel(key, "a gain before a pool", term.gain, term.pooled_shape)
                pool = (term.pool[0] * high, term.pool[1] * wide)
                pooled = replace(term, pool=pool, gain=None)
                gain = np.repeat(scale * share, math.prod(pooled.pooled_shape[1:]))
                terms.append(replace(pooled, gain=None if (gain == 1).all() else gain))
            elif term.weights.ndim == 4:
                terms.append(_pooled_kernel(term, (high, wide), share))
            else:
                self.fail(key, f"{node.kind} after {signal.nodes[-1]!r}; accepted is a pool of spikes or a convolution")
        bias = None
        if signal.bias is not None:
            channels, rows, columns = self._map(key, node, signal.shape)
            maps = signal.bias.reshape(channels, rows, columns)[:, : shape[1] * high, : shape[2] * wide]
            bias = maps.reshape(channels, shape[1], high, shape[2], wide).sum(axis=(2, 4)).ravel() * share
        return _Signal(shape, terms, bias, (*signal.nodes, key), signal.name)

    def per_channel(self, key: str, what: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """One value for each channel of a map, where all positions of a channel have the same."""
        channels = values.reshape(shape[0], -1)
        if not (channels == channels[:, :1]).all():
            self.fail(key, f"{what} that differs from position to position; accepted is one for each channel")
        return channels[:, 0]

    def fold_scale(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Scale: a factor for each element, or for each channel."""
        given = node.values["scale"]
        if given.size == signal.shape[0] and len(signal.shape) == 3:
            factor = np.repeat(np.ravel(given), math.prod(signal.shape[1:]))
        else:
            factor = self.per_neuron(key, node, "scale", signal.size)
        bias = None if signal.bias is None else signal.bias * factor
        nodes = (*signal.nodes, key)
        if signal.readout is not None:  # a linear neuron: scaling its potential scales all that enters it
            last = self.layers[signal.readout]
            connections = self.scaled(key, last.connections, factor)
            if connections is None:
                self.fail(key, "a factor that differs from position to position; accepted is one for each channel")
            self.layers[signal.readout] = replace(
                last, connections=connections, bias=last.bias * factor, nodes=(*last.nodes, key)
            )
            return signal
        terms = []
        for term in signal.terms:
            if term.weights is None:
                terms.append(replace(term, gain=term.gains * factor))
            elif term.weights.ndim == 2:
                terms.append(replace(term, weights=term.weights * factor[:, None]))
            else:
                scale = self.per_channel(key, "a factor after a convolution", factor, signal.shape)
                terms.append(replace(term, weights=term.weights * scale[:, None, None, None]))
        return _Signal(signal.shape, terms, bias, nodes, signal.name)

    def fold_flatten(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Flatten: only the shape changes."""
        stored = _flatten_shape(node)
        if stored and math.prod(stored) != signal.size:
            self.fail(key, f"input_type {list(stored)} after {signal.size} values; accepted is the shape of its input")
        return replace(signal, shape=(signal.size,), nodes=signal.nodes if signal.plain else (*signal.nodes, key))

    def fold_delay(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Delay: whole steps, the same for all elements."""
        self.spikes_only(key, node, signal)
        times = np.ravel(node.values["delay"])
        steps = times / self.dt
        if np.ptp(times) > UNIFORM * max(self.dt, times.max()):
            self.fail(key, f"delay from {times.min():g} to {times.max():g}; accepted is one for all elements")
        whole = round(float(steps[0]))
        if whole < 0 or abs(steps[0] - whole) > 1e-3:
            self.fail(key, f"delay {times[0]:g}, {steps[0]:g} steps of dt = {self.dt:g}; accepted are whole steps")
        if signal.bias is not None:
            self.fail(key, "a bias before it; accepted is a delay of spikes or of weights without a bias")
        terms = [replace(term, delay=term.delay + whole) for term in signal.terms]
        return replace(signal, terms=terms, nodes=(*signal.nodes, key))

    def fold_threshold(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Threshold: on potentials, on a linear signal, or on spikes."""
        theta = self.per_neuron(key, node, "threshold", signal.size)
        if signal.readout is not None:
            last = self.layers[signal.readout]
            self.layers[signal.readout] = self.layer(
                key, list(last.connections), last.bias, np.ones(signal.size), last.decay, theta, "none", last.nodes,
                last.name, last.current_decay,
            )  # fmt: skip
            return _Signal(signal.shape, [_Term(last.name, last.shape)])
        if signal.plain:
            if not ((theta >= 0) & (theta < 1)).all():
                bad = theta[~((theta >= 0) & (theta < 1))][0]
                self.fail(key, f"threshold {bad} on spikes, which are 0 or 1; accepted is 0 up to below 1")
            return signal
        bias = np.zeros(signal.size) if signal.bias is None else signal.bias
        connections = self.connections(key, signal)
        name = self.unique(signal.name or key)
        self.layers.append(
            self.layer(key, connections, bias, np.ones(signal.size), 0.0, theta, "none", signal.nodes, name)
        )
        return _Signal(signal.shape, [_Term(name, self.layers[-1].shape)])

    # ---- layers ----

    def connections(self, key: str, signal: _Signal) -> list[FloatConnection]:
        """Every term of a signal as a connection."""
        found = []
        for term in signal.terms:
            if term.weights is None:
                if len(signal.shape) == 1 or len(term.source_shape) == 1:
                    term = replace(term, weights=np.diag(term.gains), gain=None)
                else:  # a kernel of one tap for each channel
                    scale = self.per_channel(key, "a gain between maps", term.gains, term.pooled_shape)
                    term = replace(term, weights=scale[:, None, None, None], groups=len(scale), gain=None)
            try:
                found.append(term.connection())
            except InputError as error:
                self.fail(key, str(error))
        return found

    def neuron(self, key: str, node: _Node, signal: _Signal) -> _Signal:
        """Turn what arrives and this neuron node into a layer."""
        self.spikes_only(key, node, signal)
        kind, size = node.kind, signal.size
        values = {what: self.per_channel_or_neuron(key, node, what, signal) for what in FIELDS[kind]}
        zero = np.zeros(size)
        origin = zero
        if node.values.get("v_reset") is not None:
            origin = self.per_channel_or_neuron(key, node, "v_reset", signal)
        bias = zero if signal.bias is None else signal.bias
        decay: float | np.ndarray = 1.0
        current_decay = None
        if "tau" in values or "tau_mem" in values:
            what = "tau" if "tau" in values else "tau_mem"
            share = self.share(key, what, values[what])
            decay, gain, drive = 1.0 - share, share * values["r"], share * (values["v_leak"] - origin)
            if what == "tau_mem":
                entering = self.share(key, "tau_syn", values["tau_syn"])
                w_in = node.values.get("w_in")
                factor = np.ones(size) if w_in is None else self.per_channel_or_neuron(key, node, "w_in", signal)
                current_decay, gain = 1.0 - entering, gain * entering * factor
                if bias.any():
                    self.fail(
                        key,
                        f"a bias of {bias[np.flatnonzero(bias)[0]]:g} into a synaptic current; accepted is Linear, or "
                        "a bias of 0: move it into v_leak",
                    )
        else:
            gain, drive = self.dt * values["r"], zero
        theta = values["v_threshold"] - origin if "v_threshold" in values else None
        connections = self.connections(key, signal)
        name = self.unique(signal.name or key)
        self.populations[key] = name
        self.layers.append(
            self.layer(
                key, connections, bias * gain + drive, gain, decay, theta, self.reset, signal.nodes, name, current_decay
            )
        )
        return _Signal(signal.shape, [_Term(name, self.layers[-1].shape)], readout=len(self.layers) - 1)

    def per_channel_or_neuron(self, key: str, node: _Node, what: str, signal: _Signal) -> np.ndarray:
        """A field as one value per neuron; in a map also one for each channel, as [C], [C, 1] or [C, 1, 1]."""
        value = node.values[what]
        if len(signal.shape) > 1 and value.size == signal.shape[0] and value.size not in (1, signal.size):
            return np.repeat(np.ravel(value), math.prod(signal.shape[1:]))
        return self.per_neuron(key, node, what, signal.size)

    def share(self, key: str, what: str, tau: np.ndarray) -> np.ndarray:
        """dt / tau of each neuron; equal where the time constants hardly differ."""
        if not (tau > 0).all():
            self.fail(key, f"{what} = {tau[~(tau > 0)][0]}; accepted is a time above 0")
        if self.dt > tau.min() * (1 + UNIFORM):
            self.fail(
                key,
                f"{what} = {tau.min():g} is shorter than dt = {self.dt:g}, so a step would turn the sign of the "
                f"potential; accepted is a dt of at most {tau.min():g}",
            )
        share = np.minimum(self.dt / tau, 1.0)
        return np.full_like(share, share[0]) if np.ptp(share) <= UNIFORM else share

    def layer(
        self,
        key: str,
        connections: list[FloatConnection],
        bias: np.ndarray,
        gain: np.ndarray,
        decay: float | np.ndarray,
        theta: np.ndarray | None,
        reset: ResetKind,
        nodes: tuple[str, ...],
        name: str,
        current_decay: float | np.ndarray | None = None,
    ) -> FloatLayer:
        """A layer whose weights are multiplied by `gain` [neurons] (`bias` is already).

        Thresholds that differ are made equal by scaling each neuron, where its weights are its own. Neurons that share
        a kernel keep what differs: their potentials are counted in units of the gain.
        """
        if theta is not None and not (theta > 0).all():
            neuron = int(np.argmin(theta))
            self.fail(
                key,
                f"the threshold of neuron {neuron} is {theta[neuron]:g} above its reset potential; accepted is above 0",
            )
        try:
            scaled = self.scaled(key, connections, gain)
            if scaled is None:
                if not (gain > 0).all():
                    self.fail(key, f"r of {gain.min():g} where kernels are shared; accepted is above 0")
                scaled, bias = connections, bias / gain
                theta = None if theta is None else theta / gain
            if theta is not None and theta.min() != theta.max():
                equal = theta.max() / theta
                evened = self.scaled(key, scaled, equal)
                if evened is not None:
                    scaled, bias, theta = evened, bias * equal, np.full_like(theta, theta.max())
            return FloatLayer(
                name=name,
                connections=tuple(scaled),
                bias=bias,
                decay=decay,
                threshold=theta,
                reset="none" if theta is None else reset,
                current_decay=current_decay,
                nodes=(*nodes, key),
            )
        except InputError as error:  # finite fields whose product is not
            if str(error).startswith(f"{self.origin}: "):
                raise
            self.fail(key, f"folded with the nodes before it: {error}")

    def scaled(self, key: str, connections, factor: np.ndarray) -> list[FloatConnection] | None:
        """Connections with the weights of each neuron multiplied; None where neurons of one kernel differ."""
        result = []
        for connection in connections:
            weights = connection.weights
            if connection.is_convolution:
                channels = factor.reshape(len(weights), -1)
                if not (channels == channels[:, :1]).all():
                    return None
                result.append(replace(connection, weights=weights * channels[:, :1, None, None]))
            else:
                result.append(replace(connection, weights=weights * factor[:, None]))
        return result

    def unique(self, name: str) -> str:
        """`name` as an identifier that no other layer has, nor a part of a core that stands beside its layers."""
        text = re.sub(r"\W", "_", name, flags=re.ASCII)
        if not re.match("[A-Za-z]", text):
            text = "layer_" + text.lstrip("_")
        used, number, unique = {"decision", "load", INPUT} | {layer.name for layer in self.layers}, 2, text
        while unique in used:
            unique, number = f"{text}_{number}", number + 1
        return unique

    def _ordered(self, output: _Signal) -> tuple[FloatLayer, ...]:
        """The layers in an order of computation, the output last; edges that close a loop get a delay of a step."""

        def name_of(source: str | None) -> str:
            assert source is not None  # every term has one
            return self.populations.get(source, source)

        layers = {
            layer.name: replace(
                layer, connections=tuple(replace(c, source=name_of(c.source)) for c in layer.connections)
            )
            for layer in self.layers
        }
        last = self.layers[output.readout].name if output.readout is not None else name_of(output.terms[0].source)
        closing = _closing_edges({name: [str(c.source) for c in layer.connections] for name, layer in layers.items()})
        for name, layer in layers.items():
            connections = [
                replace(c, delay=max(1, c.delay)) if (c.source, name) in closing else c for c in layer.connections
            ]
            if layer.current_decay is not None and self.synapse == "next_step":
                connections = [replace(c, delay=c.delay + 1) for c in connections]
            layers[name] = replace(layer, connections=tuple(connections))
        needs = {n: {c.source for c in layer.connections if c.delay == 0} - {INPUT} for n, layer in layers.items()}
        order: list[str] = []
        while len(order) < len(layers):
            ready = [n for n in layers if n not in order and needs[n] <= set(order)]
            ahead = [n for n in ready if n != last]
            if not ahead and len(order) < len(layers) - 1:
                raise InputError(
                    f"{self.origin}: layer {last!r} is the output and feeds other layers in the same step; accepted is "
                    "an output that feeds nothing, or only layers behind a delay"
                )
            order.append(ahead[0] if ahead else last)
        return tuple(layers[n] for n in order)


def _closing_edges(sources: dict[str, list[str]]) -> set[tuple[str, str]]:
    """Edges (source, layer) that lead back to a layer on the way to it. Iterative: graphs may be deep."""
    following: dict[str, list[str]] = {}
    for name, given in sources.items():
        for source in given:
            following.setdefault(source, []).append(name)
    closing, done, path = set(), set(), [INPUT]
    stack = [iter(following.get(INPUT, []))]
    while stack:
        successor = next(stack[-1], None)
        if successor is None:
            stack.pop()
            done.add(path.pop())
        elif successor in path:
            closing.add((path[-1], successor))
        elif successor not in done:
            path.append(successor)
            stack.append(iter(following.get(successor, [])))
    return closing


def _pooled_kernel(term: _Term, pool: tuple[int, int], share: float) -> _Term:
    """A convolution whose targets are summed over windows: one with a larger kernel and stride."""
    assert term.weights is not None
    channels, inner, high, wide = term.weights.shape
    size = ((pool[0] - 1) * term.stride[0] + high, (pool[1] - 1) * term.stride[1] + wide)
    weights = np.zeros((channels, inner, *size))
    for y in range(pool[0]):
        for x in range(pool[1]):
            top, left = y * term.stride[0], x * term.stride[1]
            weights[:, :, top : top + high, left : left + wide] += term.weights
    stride = (term.stride[0] * pool[0], term.stride[1] * pool[1])
    return replace(term, weights=weights * share, stride=stride)


def _product(weight: np.ndarray, term: _Term) -> np.ndarray:
    """weight @ the matrix of a convolution, dense over its sources."""
    return np.asarray((term.connection().matrix.T @ weight.T).T)


def _population(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A population of a shape as NIR has it: (C, H, W), a row (C, 1, L), or flat."""
    if len(shape) == 3:
        return shape
    return (shape[0], 1, shape[1]) if len(shape) == 2 else (math.prod(shape),)


def _stored_shape(node: _Node) -> tuple[int, ...]:
    """The stored shape of an Input or Output node; () where the file does not say."""
    stored = node.values.get("shape")
    return () if stored is None else tuple(int(n) for n in np.ravel(stored))


def _flatten_shape(node: _Node) -> tuple[int, ...]:
    """The shape that a Flatten node says it gets; () where it does not."""
    stored = node.values.get("input_type")
    if stored is None or not np.size(stored) or np.asarray(stored).dtype.kind not in "iuf":
        return ()
    return tuple(int(n) for n in np.ravel(stored))


def _integer(value: Any, default: int) -> int:
    return default if value is None else int(np.ravel(value)[0])


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else list(value) if isinstance(value, tuple) else value


def _flatten(graph: _Graph, origin: str, prefix: str = "") -> _Graph:
    """The graph with each subgraph replaced by its nodes, named `subgraph.node`, and every node of a known kind."""
    nodes: dict[str, _Node | _Graph] = {}
    entry: dict[str, str] = {}
    leave: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for key, node in graph.nodes.items():
        full = prefix + key
        if isinstance(node, _Node):
            if node.kind not in SUPPORTED:
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
            # the ends of a subgraph change nothing
            nodes[name] = _Node("Pass", {}) if name in ends else item
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
