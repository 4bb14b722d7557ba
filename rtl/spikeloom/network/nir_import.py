"""A trained network from a NIR file: read, checked, and folded to a graph of layers of neurons.

NIR defines continuous time; step t of length dt is one explicit Euler step, then fire, then reset::

    LIF      tau dv/dt = v_leak - v + r I      v <- v + dt / tau (v_leak - v + r I)
    LI       the same, never fires
    IF       dv/dt = r I                       v <- v + dt r I
    I        the same, never fires
    CubaLIF  tau_syn di/dt = w_in I - i        i <- i + dt / tau_syn (w_in I - i), then, with this new i,
             tau_mem dv/dt = v_leak - v + r i  v <- v + dt / tau_mem (v_leak - v + r i)
    CubaLI   the same, never fires
    fire     z = v > v_threshold               reset  v <- v_reset (NIR), or the kind that the user names

NIR stores neither dt, nor the kind of reset, nor how a framework steps (`synapse`, `integration`), so these are given
by the user. What the nodes hold is folded:

- r and dt / tau (of both kinds, and w_in) multiply the weights and biases of their neuron. The decay of a potential is
  1 - dt / tau (IF, I: 1), that of a synaptic current 1 - dt / tau_syn; each neuron has its own where the taus differ.
- Potentials are counted from v_reset: v' = v - v_reset (0 for LI and I), which starts at 0, decays to 0 and resets to
  0. The threshold becomes v_threshold - v_reset, and what v_leak is above v_reset a bias of dt / tau (v_leak -
  v_reset) per step. The kinds that subtract take v_threshold - v_reset off.
- Thresholds that differ between the neurons of a layer are made equal (to the largest) by scaling each neuron. Behind a
  convolution, whose weights are shared, that is done where each channel has one factor; else every neuron keeps its own
  threshold, and its factor divides its threshold and bias instead of multiplying its weights.
- Linear, Affine, Scale, Conv1d, Conv2d, SumPool2d and AvgPool2d nodes in a row are multiplied together, as far as one
  connection can hold the result: an average pool is a sum pool whose 1 / window goes into the weights; pools after a
  convolution widen its kernel; a Linear after a convolution becomes dense. Flatten keeps the order of elements. A
  Conv1d works on maps of height 1.
- Several edges into a node add up. Each path from neurons to neurons is one connection.
- Delay is a whole number of steps, one for all elements. A loop goes through neurons, and the connection that closes it
  (seen from the input) takes one step, or as many as a Delay in it says; a loop without neurons is refused.
- Threshold after LI, I or CubaLI makes it fire and never reset. Threshold after a linear node is a neuron without
  memory (decay 0). After spikes it changes nothing where 0 <= threshold < 1, and is refused elsewhere.

Sources: Pedersen et al., "Neuromorphic intermediate representation", Nat. Commun. 15:8122 (2024); the file format and
the node definitions of the `nir` package 1.0.4 to 1.0.8.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import numpy as np

from ..errors import InputError
from .connections import FloatConnection, Geometry
from .float_network import FloatLayer, FloatNetwork
from .graph import INPUT
from .integer import RESET_KINDS, ResetKind
from .nir_graph import FIELDS, SUPPORTED, Graph, Node, flatten, from_object, read, text

__all__ = ["SUPPORTED", "Integration", "SynapseTiming", "import_nir"]

SynapseTiming = Literal["same_step", "next_step", "jump"]
Integration = Literal["euler", "exponential"]

OPTIONAL = ("v_reset", "w_in", "bias", "stride", "padding", "dilation", "groups")
"""Fields that are checked where they are there."""
NEURONS = ("IF", "LIF", "LI", "I", "CubaLIF", "CubaLI")
ANALOG = ("LI", "I", "CubaLI")
"""Neurons that send potentials, unless a Threshold follows."""
SOURCES = ("Input", *NEURONS, "Threshold")
"""What sends spikes or potentials of its own; all other nodes are linear."""
UNIFORM = 1e-6
"""Neurons of a layer share one decay where theirs differ by less: files often hold single precision."""
WHOLE = 1e-3
"""A delay may be off a whole number of steps by this share of a step."""


@dataclass(frozen=True, kw_only=True)
class _Term:
    """A linear map of the spikes of one population: pool, then `gain` or `weights`.

    `source` is INPUT or a neuron node. `weights` are None (the pooled spikes themselves, times `gain`), a matrix, or
    kernels. `shape` is the source's, with the axes that NIR gives it; (C, L) is (C, 1, L) to a convolution.
    """

    source: str
    shape: tuple[int, ...]
    delay: int = 0
    pool: tuple[int, int] = (1, 1)
    gain: np.ndarray | None = None
    weights: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    @property
    def plain(self) -> bool:
        """Whether the term is the spikes themselves."""
        return self.weights is None and self.gain is None and self.pool == (1, 1) and self.delay == 0

    @property
    def is_convolution(self) -> bool:
        """Whether a kernel moves over the source."""
        return self.weights is not None and self.weights.ndim == 4

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """The source as a map (C, H, W)."""
        c, *rest = self.shape
        return (c, *rest) if len(rest) == 2 else (c, 1, rest[0])  # type: ignore[return-value]

    @property
    def pooled(self) -> tuple[int, ...]:
        """Shape of the source after the pool."""
        if self.pool == (1, 1):
            return self.shape
        c, h, w = self.map_shape
        return (c, h // self.pool[0], w // self.pool[1])

    def geometry(self) -> Geometry:
        """Of a term with weights."""
        assert self.weights is not None
        shape = self.map_shape if self.is_convolution or self.pool != (1, 1) else (math.prod(self.shape),)
        return Geometry(
            weights=self.weights.shape,
            source_shape=shape,
            pool=self.pool,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
        )


@dataclass(frozen=True, kw_only=True)
class _Signal:
    """What a node sends: the sum of its terms and a bias [size]; or the potentials of the neuron `analog`.

    `shape` has the axes that Flatten has not yet removed; `nodes` are what it went through since the last neurons.
    """

    shape: tuple[int, ...]
    terms: tuple[_Term, ...] = ()
    bias: np.ndarray | None = None
    nodes: tuple[str, ...] = ()
    name: str | None = None
    analog: str | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def plain(self) -> bool:
        """Whether the signal is the spikes of one population."""
        return self.bias is None and len(self.terms) == 1 and self.terms[0].plain


@dataclass(kw_only=True)
class _Population:
    """Neurons on their way to a layer: potentials v <- decay v + gain (what enters) + drive, all arrays [neurons].

    `theta` is None for a read-out; `current_decay` is None without a synaptic current, into which `gain` then goes.
    """

    key: str
    enters: _Signal
    gain: np.ndarray
    drive: np.ndarray
    decay: np.ndarray
    theta: np.ndarray | None
    reset: ResetKind
    current_decay: np.ndarray | None = None
    nodes: tuple[str, ...] = ()


def import_nir(
    source: Path | str | Any,
    *,
    dt: float,
    reset: ResetKind,
    synapse: SynapseTiming = "same_step",
    integration: Integration = "euler",
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
        How spikes change the synaptic current of CubaLIF and CubaLI: same_step, the Euler step above (snnTorch);
        next_step, the same, but the potential sees the current of the step before; jump, i <- (1 - dt / tau_syn) i +
        w_in I, with the new i (Norse, whose exporter leaves w_in = 1).
    integration : str
        What a step leaves of a potential or current: euler, 1 - dt / tau; exponential, exp(-dt / tau) (sinabs). What
        enters is multiplied by one minus that.
    name : str, optional
        Name of the network; by default that of the file.

    Returns
    -------
    FloatNetwork
        Its layers fire at u > theta, as NIR defines. Layers are named after the last node with weights before their
        neurons, else after their neuron node, with what Verilog would not accept replaced by `_`.

    Raises
    ------
    InputError
        Where the file is missing or damaged, a node is not supported or a value outside what is accepted, or the graph
        cannot be computed; the message names file and node.
    """
    graph_given = hasattr(source, "nodes") and hasattr(source, "edges")
    origin = "NIR graph" if graph_given else str(source)
    if not _is_number(dt) or not 0 < dt < np.inf:
        raise InputError(f"{origin}: dt = {dt!r}: accepted is a time above 0, in the unit of the time constants")
    if reset not in RESET_KINDS:
        raise InputError(f"{origin}: reset = {reset!r}: accepted are {', '.join(RESET_KINDS)}")
    for what, value, accepted in (("synapse", synapse, SynapseTiming), ("integration", integration, Integration)):
        if value not in get_args(accepted):
            raise InputError(f"{origin}: {what} = {value!r}: accepted are {', '.join(get_args(accepted))}")
    graph = from_object(source, origin, "") if graph_given else read(Path(source))
    if name is None:
        name = "network" if graph_given else Path(source).stem
    return _Folder(flatten(graph, origin), origin, float(dt), reset, synapse, integration).fold(name)


class _Folder:
    """Walks the nodes of a flat graph and builds the layers."""

    def __init__(
        self,
        graph: Graph,
        origin: str,
        dt: float,
        reset: ResetKind,
        synapse: SynapseTiming,
        integration: Integration,
    ):
        self.origin, self.dt, self.synapse, self.integration = origin, dt, synapse, integration
        self.reset: ResetKind = reset
        self.nodes: dict[str, Node] = graph.nodes  # type: ignore[assignment]
        self.before: dict[str, list[str]] = {key: [] for key in graph.nodes}
        self.following: dict[str, list[str]] = {key: [] for key in graph.nodes}
        for a, b in graph.edges:
            self.following[a].append(b)
            self.before[b].append(a)
        self.signals: dict[str, _Signal] = {}
        self.after: dict[str, list[str]] = {}  # nodes that a linear neuron's potentials go through

    def fail(self, node: str, text: str) -> NoReturn:
        raise InputError(f"{self.origin}: node {node!r}: {text}")

    def fold(self, name: str) -> FloatNetwork:
        """The network of the graph."""
        source, output = self.ends()
        for key, node in self.nodes.items():
            self.check(key, node)
        order = self.order(source)
        shapes = self.shapes(order)
        # What neurons send is known before what they receive: that is what lets loops through them be.
        for key, node in self.nodes.items():
            if node.kind in ANALOG:
                self.signals[key] = _Signal(shape=shapes[key], analog=key)
            elif node.kind in SOURCES:
                start = INPUT if key == source else key
                self.signals[key] = _Signal(shape=shapes[key], terms=(_Term(source=start, shape=shapes[key]),))
        for key in order:
            node = self.nodes[key]
            if key not in self.signals and key != output:
                given = self.join(key, self.before[key])
                self.signals[key] = getattr(self, "fold_" + node.kind.lower())(key, node, given)
        populations, aliases = self.populate()
        last = self.finish(output, populations, aliases)
        return FloatNetwork(name=name, layers=self.layers(populations, aliases, last), dt=self.dt)

    # --- the graph ---------------------------------------------------------------------------------------------------

    def ends(self) -> tuple[str, str]:
        """The Input and the Output node; every other node lies on a path between them."""
        found = {kind: [key for key, node in self.nodes.items() if node.kind == kind] for kind in ("Input", "Output")}
        for kind, keys in found.items():
            if len(keys) != 1:
                what = f"{len(keys)} {kind} nodes ({', '.join(sorted(keys))})" if keys else f"no {kind} node"
                raise InputError(f"{self.origin}: {what}; accepted is exactly one")
        source, output = found["Input"][0], found["Output"][0]
        for reached, lack in (
            (_reach(source, self.following), "no path from the input reaches it"),
            (_reach(output, self.before), "no path to the output leaves it"),
        ):
            lost = sorted(set(self.nodes) - reached)
            if lost:
                self.fail(lost[0], f"{lack}; accepted are nodes on a path from Input to Output")
        if self.before[source]:
            self.fail(source, f"receives from {self.before[source][0]!r}; accepted is an Input without edges into it")
        if self.following[output]:
            self.fail(output, f"sends to {self.following[output][0]!r}; accepted is an Output without edges out of it")
        return source, output

    def order(self, source: str) -> list[str]:
        """All nodes, each after the nodes before it; what neurons send does not count.

        Loops without neurons are refused here: nothing in them takes time.
        """
        sends = {
            key: [] if self.nodes[key].kind in SOURCES and key != source else others
            for key, others in self.following.items()
        }
        cycle = _cycle(sends)
        if cycle:
            raise InputError(
                f"{self.origin}: a loop without a delay: {' -> '.join(cycle)}; accepted are loops through neurons, "
                "which take one step or that of a Delay in them"
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
                self.fail(key, "its shape is not known; accepted is an Input node with a shape")
        return shapes

    def shape_of(self, key: str, node: Node, given: tuple[int, ...] | None) -> tuple[int, ...] | None:
        """The shape that a node sends for one that it is given (None: not known yet)."""
        if node.kind == "Input":
            stored = _stored_shape(node)
            if stored and min(stored) < 1:
                self.fail(key, f"shape {list(stored)}; accepted are axes of at least 1")
            return stored or self.wanted(key, set())
        if node.kind in ("Linear", "Affine"):
            return node.values["weight"].shape[:1]
        if node.kind in ("Conv1d", "Conv2d"):
            given = given or self.wanted_by(node)
            return None if given is None else self.convolution(key, node, given)[0]
        if given is None:
            return None
        if node.kind == "Flatten":
            return (math.prod(given),)
        if node.kind.endswith("Pool2d"):
            high, wide = self.pool(key, node, given)
            given = _without_batch(given, 3)
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

    # --- values ------------------------------------------------------------------------------------------------------

    def check(self, key: str, node: Node):
        """Refuse missing fields and numbers that are not finite, before anything is computed."""
        for what in FIELDS[node.kind]:
            if node.values.get(what) is None:
                self.fail(key, f"{node.kind} without {what}; accepted are all of {', '.join(FIELDS[node.kind])}")
        for what in (*FIELDS[node.kind], *OPTIONAL):
            value = node.values.get(what)
            if value is None or (what == "padding" and isinstance(value, (str, bytes))):
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
        axes = {"Linear": 2, "Affine": 2, "Conv1d": 3, "Conv2d": 4}.get(node.kind)
        if axes is not None and np.ndim(node.values["weight"]) != axes:
            accepted = (
                "[neurons, inputs]"
                if axes == 2
                else "[channels, channels of a group, " + ("length]" if axes == 3 else "height, width]")
            )
            self.fail(key, f"weight of shape {list(np.shape(node.values['weight']))}; accepted is {accepted}")

    def integers(self, key: str, node: Node, what: str, count: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """A field of one or `count` integers."""
        value = node.values.get(what)
        if value is None:
            return default
        flat = np.ravel(value)
        if flat.size not in (1, count) or (flat != np.rint(flat)).any() or flat.min() < 0:
            self.fail(key, f"{what} = {np.ravel(value).tolist()}; accepted are {count} integers of at least 0")
        return tuple(int(n) for n in np.broadcast_to(flat, (count,)))

    def per_neuron(self, key: str, node: Node, what: str, size: int) -> np.ndarray:
        """A field as one value per neuron, float64 [size]; a single value serves all."""
        value = np.ravel(node.values[what])
        if value.size not in (1, size):
            self.fail(key, f"{what} of shape {list(node.values[what].shape)} for {size} inputs; accepted is [{size}]")
        return np.broadcast_to(value, (size,))

    def convolution(
        self, key: str, node: Node, given: tuple[int, ...]
    ) -> tuple[tuple[int, ...], np.ndarray, dict[str, Any]]:
        """Shape sent, kernels [channels, channels of a group, height, width], and stride, padding and groups."""
        axes = 2 if node.kind == "Conv2d" else 1
        weight = node.values["weight"]
        given = _without_batch(given, axes + 1)
        if len(given) != axes + 1:
            names = "[channels, height, width]" if axes == 2 else "[channels, length]"
            self.fail(key, f"its input has shape {list(given)}; accepted is {names}")
        stride = self.integers(key, node, "stride", axes, (1,) * axes)
        dilation = self.integers(key, node, "dilation", axes, (1,) * axes)
        if any(n != 1 for n in dilation):
            self.fail(key, f"dilation {list(dilation)}; accepted is 1")
        (groups,) = self.integers(key, node, "groups", 1, (1,))
        padding = node.values.get("padding")
        if isinstance(padding, (str, bytes)):
            mode = text(padding)
            if mode not in ("same", "valid"):
                self.fail(key, f"padding {mode!r}; accepted are numbers, same, valid")
            if mode == "same" and any(n != 1 for n in stride):
                self.fail(key, f"padding 'same' with stride {list(stride)}; accepted is a stride of 1, or numbers")
            padding = (0,) * axes
            if mode == "same":
                # (kernel - 1) // 2 zeros before and kernel // 2 behind: a row of zero weights makes both alike
                even = [(0, 0), (0, 0), *((1 - n % 2, 0) for n in weight.shape[2:])]
                weight = np.pad(weight, even)
                padding = tuple(n // 2 for n in weight.shape[2:])
        else:
            padding = self.integers(key, node, "padding", axes, (0,) * axes)
        if axes == 1:
            weight, stride, padding = weight[:, :, None], (1, *stride), (0, *padding)
        options = {"stride": stride, "padding": padding, "groups": groups}
        try:
            geometry = Geometry(weights=weight.shape, source_shape=_as_map(given), **options)
        except InputError as error:
            self.fail(key, str(error))
        shape = geometry.shape if axes == 2 else (geometry.shape[0], geometry.shape[2])
        return shape, weight, options

    def pool(self, key: str, node: Node, given: tuple[int, ...]) -> tuple[int, int]:
        """The window of a pool node over maps of shape `given`."""
        kernel = self.integers(key, node, "kernel_size", 2, (1, 1))
        stride = self.integers(key, node, "stride", 2, kernel)
        padding = self.integers(key, node, "padding", 2, (0, 0))
        if min(kernel) < 1 or stride != kernel or any(padding):
            self.fail(
                key,
                f"kernel_size {list(kernel)}, stride {list(stride)}, padding {list(padding)}; accepted are windows "
                "that do not overlap: stride = kernel_size, padding = 0",
            )
        given = _without_batch(given, 3)
        if len(given) != 3:
            self.fail(key, f"its input has shape {list(given)}; accepted is [channels, height, width]")
        if kernel[0] > given[1] or kernel[1] > given[2]:
            self.fail(key, f"kernel_size {list(kernel)} over a map of {list(given)}; accepted is at most the map")
        return kernel  # type: ignore[return-value]

    # --- linear nodes ------------------------------------------------------------------------------------------------

    def join(self, key: str, keys: Iterable[str]) -> _Signal:
        """The sum of what several nodes send."""
        keys = list(keys)
        first, *others = [self.signals[other] for other in keys]
        if not others:
            return first
        everything = [first, *others]
        for signal in everything:
            if signal.analog is not None:
                self.fail(
                    key,
                    f"adds the potentials of {signal.analog!r} to something else; accepted are sums of spikes and "
                    "their weighted sums",
                )
            if signal.size != first.size:
                sizes = " and ".join(f"{list(self.signals[k].shape)} from {k!r}" for k in keys)
                self.fail(key, f"receives {sizes}; accepted is one shape")
        biases = [signal.bias for signal in everything if signal.bias is not None]
        return _Signal(
            shape=first.shape,
            terms=tuple(term for signal in everything for term in signal.terms),
            bias=sum(biases[1:], biases[0]) if biases else None,
            nodes=tuple(dict.fromkeys(name for signal in everything for name in signal.nodes)),
            name=next((signal.name for signal in everything if signal.name is not None), None),
        )

    def spikes_only(self, key: str, signal: _Signal):
        """Refuse a linear node behind a read-out."""
        if signal.analog is not None:
            last = (signal.analog, *self.after.get(signal.analog, ()))[-1]
            self.fail(
                key,
                f"{self.nodes[key].kind} after {last!r}, which sends potentials, not spikes; accepted between layers "
                "is IF, LIF, CubaLIF or Threshold (LI, I and CubaLI only as the last layer)",
            )

    def fold_linear(self, key: str, node: Node, signal: _Signal) -> _Signal:
        """Linear and Affine: multiply into the pending terms."""
        self.spikes_only(key, signal)
        weight = node.values["weight"]
        outputs, inputs = weight.shape
        if sum(n != 1 for n in signal.shape) > 1:
            self.fail(key, f"its input has shape {list(signal.shape)}; accepted is one axis: put a Flatten before it")
        if signal.size != inputs:
            self.fail(
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
                terms.append(_Term(source=term.source, shape=term.shape, delay=term.delay, weights=dense))
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
            self.fail(key, f"bias of shape {list(own.shape)}; accepted is [{channels}]")
        full = np.repeat(np.ravel(own), len(ones))
        return full if bias is None else bias + full

    @staticmethod
    def reshaped(signal: _Signal, shape: tuple[int, ...]) -> _Signal:
        """The signal with axes of length 1 dropped in front."""
        terms = tuple(replace(term, shape=shape) if term.shape == signal.shape else term for term in signal.terms)
        return replace(signal, shape=shape, terms=terms)

    @staticmethod
    def moved(signal: _Signal, key: str, shape, terms, bias, name=None) -> _Signal:
        """What leaves node `key`."""
        return _Signal(
            shape=tuple(shape), terms=tuple(terms), bias=bias, nodes=(*signal.nodes, key), name=name or signal.name
        )

    def fold_conv2d(self, key: str, node: Node, signal: _Signal) -> _Signal:
        """Conv1d and Conv2d."""
        self.spikes_only(key, signal)
        signal = self.reshaped(signal, _without_batch(signal.shape, 3 if node.kind == "Conv2d" else 2))
        shape, kernels, options = self.convolution(key, node, signal.shape)
        groups = options["groups"]
        terms = []
        for term in signal.terms:
            if term.weights is not None:
                last = signal.nodes[-1]
                self.fail(key, f"{node.kind} after {last!r} without neurons between them; accepted is one of IF, LIF "
                               "or CubaLIF between convolutions")  # fmt: skip
            weights = kernels
            if term.gain is not None:
                gain = self.by_channel(key, term.gain, signal.shape[0], "the scale before it")
                inner = kernels.shape[1]
                weights = kernels * np.repeat(gain.reshape(groups, inner), len(kernels) // groups, 0)[:, :, None, None]
            terms.append(replace(term, gain=None, weights=weights, **options))
        bias = signal.bias
        if bias is not None:
            geometry = Geometry(weights=kernels.shape, source_shape=_as_map(signal.shape), **options)
            bias = geometry.matrix(kernels) @ bias
        bias = self.plus_bias(key, node, bias, np.ones(math.prod(shape[1:])), len(kernels))
        return self.moved(signal, key, shape, terms, bias, key)

    fold_conv1d = fold_conv2d

    def by_channel(self, key: str, factor: np.ndarray, channels: int, what: str) -> np.ndarray:
        """`factor` [elements] as one number per channel."""
        table = factor.reshape(channels, -1)
        if (table != table[:, :1]).any():
            self.fail(key, f"{what} differs within a channel; accepted is one value for each of {channels} channels")
        return table[:, 0]

    def fold_sumpool2d(self, key: str, node: Node, signal: _Signal) -> _Signal:
        """SumPool2d and AvgPool2d."""
        self.spikes_only(key, signal)
        signal = self.reshaped(signal, _without_batch(signal.shape, 3))
        high, wide = self.pool(key, node, signal.shape)
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

    def fold_scale(self, key: str, node: Node, signal: _Signal) -> _Signal:
        """Scale: a factor for each element."""
        factor = self.per_neuron(key, node, "scale", signal.size)
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

    def fold_flatten(self, key: str, node: Node, signal: _Signal) -> _Signal:
        """Flatten: only the shape changes."""
        stored = node.values.get("input_type")
        if stored is not None and np.size(stored) and np.asarray(stored).dtype.kind in "iuf":
            size = int(np.prod(np.ravel(stored)))
            if signal.size != size:
                shape = [int(n) for n in np.ravel(stored)]
                self.fail(key, f"input_type {shape} after {signal.size} values; accepted is the shape of its input")
        shape = signal.shape if node.values.get("passes") else (signal.size,)
        nodes = signal.nodes if signal.plain or signal.analog is not None else (*signal.nodes, key)
        return replace(signal, shape=shape, nodes=nodes)

    def fold_delay(self, key: str, node: Node, signal: _Signal) -> _Signal:
        """Delay: a whole number of steps, one for all."""
        self.spikes_only(key, signal)
        delay = np.ravel(node.values["delay"])
        if delay.size not in (1, signal.size):
            self.fail(key, f"delay of shape {list(node.values['delay'].shape)} for {signal.size} inputs; accepted is "
                           f"[{signal.size}]")  # fmt: skip
        steps = np.rint(delay / self.dt)
        off = np.abs(delay / self.dt - steps)
        if delay.min() < 0 or off.max() > WHOLE:
            bad = delay[np.argmax(np.where(delay < 0, np.inf, off))]
            self.fail(
                key, f"delay {bad:g} is {bad / self.dt:.6g} steps of dt = {self.dt:g}; accepted is a whole number"
            )
        if steps.min() != steps.max():
            self.fail(
                key, f"delays from {int(steps.min())} to {int(steps.max())} steps; accepted is one for all elements"
            )
        if signal.bias is not None and signal.bias.any() and steps[0]:
            self.fail(key, "a delayed bias; accepted is a Delay before the node that has the bias")
        terms = [replace(term, delay=term.delay + int(steps[0])) for term in signal.terms]
        return self.moved(signal, key, signal.shape, terms, signal.bias)

    # --- neurons -----------------------------------------------------------------------------------------------------

    def populate(self) -> tuple[dict[str, _Population], dict[str, _Term]]:
        """Neurons by the node that sends their spikes, and thresholds that change nothing, with what they pass on."""
        populations: dict[str, _Population] = {}
        aliases: dict[str, _Term] = {}
        thresholds: dict[str, str] = {}  # behind a linear neuron
        for key, node in self.nodes.items():
            if node.kind not in NEURONS and node.kind != "Threshold":
                continue
            # what comes back from the neurons themselves stands last: the layer is named after what leads to it
            keys = sorted(self.before[key], key=lambda k: any(t.source == key for t in self.signals[k].terms))
            signal = self.join(key, keys)
            if node.kind in NEURONS:
                self.spikes_only(key, signal)
                populations[key] = self.neuron(key, node, signal)
                continue
            theta = self.per_neuron(key, node, "threshold", signal.size)
            if signal.analog is not None:
                thresholds[signal.analog] = key
            elif signal.bias is None and len(signal.terms) == 1 and replace(signal.terms[0], delay=0).plain:
                if not ((theta >= 0) & (theta < 1)).all():
                    bad = theta[~((theta >= 0) & (theta < 1))][0]
                    self.fail(key, f"threshold {bad} on spikes, which are 0 or 1; accepted is 0 up to below 1")
                aliases[key] = signal.terms[0]
            else:
                one, zero = np.ones(signal.size), np.zeros(signal.size)
                populations[key] = _Population(
                    key=key, enters=signal, gain=one, drive=zero, decay=zero, theta=theta, reset="none", nodes=(key,)
                )
        for analog in [key for key, node in self.nodes.items() if node.kind in ANALOG]:
            population = populations.pop(analog)
            for key in self.after.get(analog, ()):
                factor = self.per_neuron(key, self.nodes[key], "scale", population.enters.size)
                population.gain, population.drive = population.gain * factor, population.drive * factor
                population.nodes = (*population.nodes, key)
            if analog in thresholds:
                key = thresholds[analog]
                population.key, population.nodes = key, (*population.nodes, key)
                population.theta = self.per_neuron(key, self.nodes[key], "threshold", population.enters.size)
            users = [key for key in self.users_of(analog) if key != analog]
            if len(users) > 1:
                self.fail(analog, f"sends potentials to {', '.join(map(repr, users))}; accepted is one of them")
            populations[population.key] = population
        return populations, aliases

    def users_of(self, analog: str) -> list[str]:
        """The nodes where the potentials of a linear neuron split up, or nothing."""
        key = analog
        while len(self.following[key]) == 1:
            key = self.following[key][0]
            if self.signals.get(key, _Signal(shape=())).analog != analog:
                return []
        return self.following[key]

    def neuron(self, key: str, node: Node, signal: _Signal) -> _Population:
        """The population of a neuron node and what enters it."""
        kind, size = node.kind, signal.size
        values = {what: self.per_neuron(key, node, what, size) for what in FIELDS[kind]}
        zero = np.zeros(size)
        origin = self.per_neuron(key, node, "v_reset", size) if node.values.get("v_reset") is not None else zero
        current_decay = None
        if kind in ("IF", "I"):
            decay, gain, drive = np.ones(size), self.dt * values["r"], zero
        else:
            share = self.share(key, "tau_mem" if kind.startswith("Cuba") else "tau", values)
            decay, gain, drive = 1.0 - share, share * values["r"], share * (values["v_leak"] - origin)
        if kind.startswith("Cuba"):
            share = self.share(key, "tau_syn", values)
            w_in = self.per_neuron(key, node, "w_in", size) if node.values.get("w_in") is not None else np.ones(size)
            current_decay = 1.0 - share
            gain = gain * w_in * (1.0 if self.synapse == "jump" else share)
            if signal.bias is not None and signal.bias.any():
                self.fail(
                    key,
                    f"a bias of {signal.bias[np.flatnonzero(signal.bias)[0]]:g} into a synaptic current; accepted is "
                    "Linear, or a bias of 0: move it into v_leak",
                )
        theta = None if kind in ANALOG else values["v_threshold"] - origin
        return _Population(
            key=key,
            enters=signal,
            gain=gain,
            drive=drive,
            decay=decay,
            theta=theta,
            reset="none" if theta is None else self.reset,
            current_decay=current_decay,
            nodes=(key,),
        )

    def share(self, key: str, what: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """dt / tau, at most 1; equal for all where the taus differ by no more than rounding."""
        tau = values[what]
        if not (tau > 0).all():
            self.fail(key, f"{what} = {tau[~(tau > 0)][0]}; accepted is a time above 0")
        if self.integration == "exponential":
            share = -np.expm1(-self.dt / tau)
            return share if np.ptp(share) > UNIFORM else np.full(len(share), share[0])
        if self.dt > tau.min() * (1 + UNIFORM):
            state = "synaptic current" if what == "tau_syn" else "potential"
            self.fail(
                key,
                f"{what} = {tau.min():g} is shorter than dt = {self.dt:g}, so a step would turn the sign of the "
                f"{state}; accepted is a dt of at most {tau.min():g}",
            )
        share = np.minimum(self.dt / tau, 1.0)
        return share if np.ptp(share) > UNIFORM else np.full(len(share), share[0])

    def finish(self, key: str, populations: Mapping[str, _Population], aliases: Mapping[str, _Term]) -> str:
        """Check what arrives at the Output node; the population that sends it."""
        if not populations:
            self.fail(key, f"no neurons before the output; accepted is at least one of {', '.join(NEURONS)}, Threshold")
        if len(self.before[key]) > 1:
            names = ", ".join(map(repr, self.before[key]))
            self.fail(key, f"the outputs of {names} add up; accepted is one node before the output")
        signal = self.signals[self.before[key][0]]
        if signal.analog is None and not signal.plain:
            self.fail(
                key,
                f"the output is that of {signal.nodes[-1]!r}, which has no neurons after it; "
                f"accepted at the end is one of {', '.join(NEURONS)}, Threshold",
            )
        stored = _stored_shape(self.nodes[key])
        if stored and math.prod(stored) != signal.size:
            self.fail(key, f"shape {list(stored)} for {signal.size} outputs; accepted is [{signal.size}]")
        if signal.analog is not None:
            return signal.analog
        term = _resolve(signal.terms[0], aliases)
        if term.source == INPUT or term.delay:
            self.fail(key, "its spikes are those of the input, or delayed; accepted is what neurons send at once")
        return term.source

    # --- layers ------------------------------------------------------------------------------------------------------

    def layers(
        self, populations: dict[str, _Population], aliases: Mapping[str, _Term], last: str
    ) -> tuple[FloatLayer, ...]:
        """The layers in the order of computation, the output last."""
        for population in populations.values():
            terms = tuple(_resolve(term, aliases) for term in population.enters.terms)
            population.enters = replace(population.enters, terms=terms)
        feeds: dict[str, list[str]] = {key: [] for key in (INPUT, *populations)}
        for key, population in populations.items():
            for term in population.enters.terms:
                if term.source != last:  # nothing is computed after the output
                    feeds[term.source].append(key)
        order = [key for key in _depth_first([INPUT, *populations], feeds) if key not in (INPUT, last)] + [last]
        place = {key: index for index, key in enumerate(order)}
        names: dict[str, str] = {INPUT: INPUT}
        for key in order:
            names[key] = _unique(populations[key].enters.name or populations[key].nodes[0], names.values())
        drafts = []
        for key in order:
            population = populations[key]
            terms = tuple(
                replace(term, delay=max(1, term.delay))
                if term.source != INPUT and place[term.source] >= place[key]
                else term
                for term in population.enters.terms
            )
            if population.current_decay is not None and self.synapse == "next_step":
                terms = tuple(replace(term, delay=term.delay + 1) for term in terms)
            drafts.append(self.draft(population, terms))
        # A population is a map where anything takes it for one; every connection from it then says so.
        shapes: dict[str, tuple[int, ...]] = {key: draft.shape for key, draft in zip(order, drafts, strict=True)}
        arriving = [(term, shape) for draft in drafts for term, shape in draft.connections]
        sizes = [term.shape for term, _ in arriving if term.source == INPUT]
        maps = [shape for term, shape in arriving if term.source == INPUT and len(shape) == 3]
        shapes[INPUT] = maps[0] if maps else (math.prod(sizes[0]),)
        layers = []
        for index, (key, draft) in enumerate(zip(order, drafts, strict=True)):
            before = order[index - 1] if index else INPUT
            try:
                connections = tuple(
                    FloatConnection(
                        weights=term.weights,  # type: ignore[arg-type]
                        source=None if term.source == before else names[term.source],
                        delay=term.delay,
                        source_shape=shapes[term.source],
                        pool=term.pool,
                        stride=term.stride,
                        padding=term.padding,
                        groups=term.groups,
                    )
                    for term, _ in draft.connections
                )
                layers.append(FloatLayer(name=names[key], connections=connections, **draft.options))
            except InputError as error:  # finite fields whose product is not
                self.fail(key, f"folded with the nodes before it: {error}")
        return tuple(layers)

    def draft(self, population: _Population, terms: tuple[_Term, ...]) -> "_Draft":
        """The weights, biases and thresholds of a layer."""
        key, gain, theta = population.key, population.gain, population.theta
        drive, bias = population.drive, population.enters.bias
        bias = np.zeros(len(gain)) if bias is None else bias
        if theta is not None and not (theta > 0).all():
            neuron = int(np.argmin(theta))
            self.fail(
                key,
                f"the threshold of neuron {neuron} is {theta[neuron]:g} above its reset potential; accepted is above 0",
            )
        equal = np.ones(len(gain)) if theta is None else theta.max() / theta
        if all(_takes(term, gain * equal) for term in terms):
            bias = (bias * gain + drive) * equal
            gain = gain * equal
            theta = None if theta is None else np.full(len(gain), theta.max())
        elif all(_takes(term, gain) for term in terms):
            bias = bias * gain + drive
        elif theta is not None and (gain > 0).all():  # v / gain: shared weights stay, thresholds take the factor
            bias, theta, gain = bias + drive / gain, theta / gain, np.ones(len(gain))
        else:
            self.fail(
                key,
                "r, dt / tau or w_in differ within a channel of a convolution"
                + (", and there is no threshold that could take the factor" if theta is None else " and are not all "
                "above 0") + "; accepted is one value per channel",
            )  # fmt: skip
        connections = [(given, given.geometry().source_shape) for given in (_times(term, gain) for term in terms)]
        shape = next((t.geometry().shape for t, _ in connections if t.is_convolution), (len(gain),))
        options = {
            "bias": bias,
            "decay": population.decay,
            "threshold": theta,
            "reset": population.reset,
            "current_decay": population.current_decay,
            "nodes": (*population.enters.nodes, *population.nodes),
        }
        return _Draft(connections=connections, shape=shape, options=options)


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A layer before the shapes of all populations are known: terms with weights and the shape they take."""

    connections: list[tuple[_Term, tuple[int, ...]]]
    shape: tuple[int, ...]
    options: dict[str, Any]


def _takes(term: _Term, factor: np.ndarray) -> bool:
    """Whether the weights of a term can take a factor per target."""
    if term.weights is None:
        channels = term.pooled[0] if len(term.pooled) == 3 else 0
    else:
        channels = len(term.weights) if term.is_convolution else 0
    if not channels:
        return True
    if term.weights is None and term.gain is not None:
        factor = factor * term.gain
    table = factor.reshape(channels, -1)
    return bool((table == table[:, :1]).all())


def _times(term: _Term, factor: np.ndarray) -> _Term:
    """A term with weights that hold its gain and a factor per target, which they take."""
    weights = term.weights
    if weights is None:
        factor = factor if term.gain is None else factor * term.gain
        if len(term.pooled) != 3:
            return replace(term, gain=None, weights=np.diag(factor))
        channels = term.pooled[0]  # each element to itself: a kernel of one weight per channel
        kernels = factor.reshape(channels, -1)[:, :1, None, None]
        return replace(term, gain=None, weights=kernels, groups=channels)
    if term.is_convolution:
        return replace(term, weights=weights * factor.reshape(len(weights), -1)[:, :1, None, None])
    return replace(term, weights=weights * factor[:, None])


def _resolve(term: _Term, aliases: Mapping[str, _Term]) -> _Term:
    """A term whose source is no threshold that only passes spikes on."""
    while term.source in aliases:
        passed = aliases[term.source]
        term = replace(term, source=passed.source, delay=term.delay + passed.delay)
    return term


def _without_batch(shape: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """`shape` without the axes of length 1 before its last `axes`, which some exporters keep."""
    while len(shape) > axes and shape[0] == 1:
        shape = shape[1:]
    return shape


def _as_map(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(C, H, W) of a map or, with H = 1, of a sequence (C, L)."""
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape


def _stored_shape(node: Node) -> tuple[int, ...]:
    """The stored shape of an Input or Output node; () where the file does not say."""
    stored = node.values.get("shape")
    return () if stored is None else tuple(int(n) for n in np.ravel(stored))


def _unique(name: str, others: Iterable[str]) -> str:
    """`name` as an identifier that no other layer has, nor a part of a core that stands beside its layers."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not re.match("[A-Za-z]", text):
        text = "layer_" + text.lstrip("_")
    used, number, unique = {"decision", "load", *others}, 2, text
    while unique in used:
        unique, number = f"{text}_{number}", number + 1
    return unique


def _reach(start: str, edges: Mapping[str, list[str]]) -> set[str]:
    """The nodes that `start` leads to, itself among them."""
    seen, waiting = {start}, [start]
    while waiting:
        for other in edges[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def _depth_first(starts: Iterable[str], edges: Mapping[str, list[str]]) -> list[str]:
    """All nodes, each before those it leads to but for the edges that close a loop. Iterative: graphs may be deep."""
    done: list[str] = []
    seen: set[str] = set()
    for start in starts:
        if start in seen:
            continue
        seen.add(start)
        stack = [(start, iter(edges[start]))]
        while stack:
            key, rest = stack[-1]
            successor = next((other for other in rest if other not in seen), None)
            if successor is None:
                stack.pop()
                done.append(key)
            else:
                seen.add(successor)
                stack.append((successor, iter(edges[successor])))
    return done[::-1]


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


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
