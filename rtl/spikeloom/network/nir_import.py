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
- A neuron whose metadata hold `linear_decay`, in potential per time, loses dt linear_decay per step towards v_reset in
  place of its share of the potential: v <- v - sign(v) min(abs(v), dt linear_decay). What enters it is not changed by
  that, and NIR, which has no such neuron, reads it as one that leaks by its tau.
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
- A Threshold after a linear node whose metadata hold `cloglog`, a width in potential, spikes at random: with
  probability 1 - exp(-exp(z)), z = (u - threshold) / cloglog + ln ln 2, so 1/2 at the threshold. NIR, which has no such
  neuron, reads it as one that is sure of itself.
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
from typing import Any, Literal, get_args

import numpy as np

from ..errors import InputError
from .connections import FloatConnection
from .float_network import FloatLayer, FloatNetwork
from .graph import INPUT
from .integer import RESET_KINDS, ResetKind
from .nir_graph import FIELDS, SUPPORTED, Graph, Node, flatten, from_object, read
from .nir_linear import LinearNodes
from .nir_order import ANALOG, NEURONS, SOURCES, Walk
from .nir_terms import Population, Signal, Term, resolve, takes, times
from .nir_values import Values, stored_shape
from .walks import depth_first

__all__ = ["SUPPORTED", "Integration", "SynapseTiming", "import_nir"]

SynapseTiming = Literal["same_step", "next_step", "jump"]
Integration = Literal["euler", "exponential"]

UNIFORM = 1e-6
"""Neurons of a layer share one decay where theirs differ by less: files often hold single precision."""


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
    """Builds the layers of a flat graph."""

    def __init__(
        self,
        graph: Graph,
        origin: str,
        dt: float,
        reset: ResetKind,
        synapse: SynapseTiming,
        integration: Integration,
    ):
        self.dt, self.synapse, self.integration = dt, synapse, integration
        self.reset: ResetKind = reset
        self.values = Values(origin)
        self.walk = Walk(graph, self.values)
        self.linear = LinearNodes(self.walk.nodes, self.values, dt)

    def fold(self, name: str) -> FloatNetwork:
        """The network of the graph."""
        walk, signals = self.walk, self.linear.signals
        source, output = walk.ends()
        for key, node in walk.nodes.items():
            self.values.check(key, node)
        order = walk.order(source)
        shapes = walk.shapes(order)
        # What neurons send is known before what they receive: that is what lets loops through them be.
        for key, node in walk.nodes.items():
            if node.kind in ANALOG:
                signals[key] = Signal(shape=shapes[key], analog=key)
            elif node.kind in SOURCES:
                start = INPUT if key == source else key
                signals[key] = Signal(shape=shapes[key], terms=(Term(source=start, shape=shapes[key]),))
        for key in order:
            if key not in signals and key != output:
                signals[key] = self.linear.fold(key, self.linear.join(key, walk.before[key]))
        populations, aliases = self.populate()
        last = self.finish(output, populations, aliases)
        return FloatNetwork(name=name, layers=self.layers(populations, aliases, last), dt=self.dt)

    def populate(self) -> tuple[dict[str, Population], dict[str, Term]]:
        """Neurons by the node that sends their spikes, and thresholds that change nothing, with what they pass on."""
        populations: dict[str, Population] = {}
        aliases: dict[str, Term] = {}
        thresholds: dict[str, str] = {}  # behind a linear neuron
        for key, node in self.walk.nodes.items():
            if node.kind not in NEURONS and node.kind != "Threshold":
                continue
            # what comes back from the neurons themselves stands last: the layer is named after what leads to it
            keys = sorted(
                self.walk.before[key], key=lambda k: any(t.source == key for t in self.linear.signals[k].terms)
            )
            signal = self.linear.join(key, keys)
            if node.kind in NEURONS:
                self.linear.spikes_only(key, signal)
                populations[key] = self.neuron(key, node, signal)
                continue
            theta = self.values.per_neuron(key, node, "threshold", signal.size)
            if signal.analog is not None:
                thresholds[signal.analog] = key
            elif signal.bias is None and len(signal.terms) == 1 and replace(signal.terms[0], delay=0).plain:
                if not ((theta >= 0) & (theta < 1)).all():
                    bad = theta[~((theta >= 0) & (theta < 1))][0]
                    self.values.fail(key, f"threshold {bad} on spikes, which are 0 or 1; accepted is 0 up to below 1")
                aliases[key] = signal.terms[0]
            else:
                one, zero = np.ones(signal.size), np.zeros(signal.size)
                width = None
                if node.values.get("cloglog") is not None:
                    width = self.values.per_neuron(key, node, "cloglog", signal.size)
                    if not (width > 0).all():
                        self.values.fail(key, f"cloglog = {width.min():g} in its metadata; accepted is a width above 0")
                populations[key] = Population(
                    key=key,
                    enters=signal,
                    gain=one,
                    drive=zero,
                    decay=zero if width is None else one,  # without a potential, nothing decays
                    lost=zero,
                    theta=theta,
                    reset="none",
                    width=width,
                    nodes=(key,),
                )
        for analog in [key for key, node in self.walk.nodes.items() if node.kind in ANALOG]:
            population = populations.pop(analog)
            for key in self.linear.after.get(analog, ()):
                factor = self.values.per_neuron(key, self.walk.nodes[key], "scale", population.enters.size)
                population.gain, population.drive = population.gain * factor, population.drive * factor
                population.lost = population.lost * np.abs(factor)
                population.nodes = (*population.nodes, key)
            if analog in thresholds:
                key = thresholds[analog]
                population.key, population.nodes = key, (*population.nodes, key)
                population.theta = self.values.per_neuron(
                    key, self.walk.nodes[key], "threshold", population.enters.size
                )
            users = [key for key in self.users_of(analog) if key != analog]
            if len(users) > 1:
                self.values.fail(analog, f"sends potentials to {', '.join(map(repr, users))}; accepted is one of them")
            populations[population.key] = population
        return populations, aliases

    def users_of(self, analog: str) -> list[str]:
        """The nodes where the potentials of a linear neuron split up, or nothing."""
        key = analog
        while len(self.walk.following[key]) == 1:
            key = self.walk.following[key][0]
            if self.linear.signals.get(key, Signal(shape=())).analog != analog:
                return []
        return self.walk.following[key]

    def neuron(self, key: str, node: Node, signal: Signal) -> Population:
        """The population of a neuron node and what enters it."""
        kind, size = node.kind, signal.size
        values = {what: self.values.per_neuron(key, node, what, size) for what in FIELDS[kind]}
        zero = np.zeros(size)
        origin = self.values.per_neuron(key, node, "v_reset", size) if node.values.get("v_reset") is not None else zero
        current_decay = None
        if kind in ("IF", "I"):
            decay, gain, drive = np.ones(size), self.dt * values["r"], zero
        else:
            share = self.share(key, "tau_mem" if kind.startswith("Cuba") else "tau", values)
            decay, gain, drive = 1.0 - share, share * values["r"], share * (values["v_leak"] - origin)
        if kind.startswith("Cuba"):
            share = self.share(key, "tau_syn", values)
            w_in = (
                self.values.per_neuron(key, node, "w_in", size)
                if node.values.get("w_in") is not None
                else np.ones(size)
            )
            current_decay = 1.0 - share
            gain = gain * w_in * (1.0 if self.synapse == "jump" else share)
            if signal.bias is not None and signal.bias.any():
                given = f"a bias of {signal.bias[np.flatnonzero(signal.bias)[0]]:g} into a synaptic current"
                if drive.any():
                    self.values.fail(key, f"{given}, and a v_leak other than its reset; accepted is one of them")
                if self.synapse == "next_step":
                    self.values.fail(key, f"{given} that is seen in the next step; accepted is a bias of 0")
        lost = zero
        if node.values.get("linear_decay") is not None:
            lost = self.dt * self.values.per_neuron(key, node, "linear_decay", size)
            if not (lost >= 0).all():
                bad = node.values["linear_decay"].min()
                self.values.fail(key, f"linear_decay = {bad:g} in its metadata; accepted is at least 0")
            decay = np.ones(size)
        theta = None if kind in ANALOG else values["v_threshold"] - origin
        return Population(
            key=key,
            enters=signal,
            gain=gain,
            drive=drive,
            decay=decay,
            lost=lost,
            theta=theta,
            reset="none" if theta is None else self.reset,
            current_decay=current_decay,
            nodes=(key,),
        )

    def share(self, key: str, what: str, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """dt / tau, at most 1; equal for all where the taus differ by no more than rounding."""
        tau = values[what]
        if not (tau > 0).all():
            self.values.fail(key, f"{what} = {tau[~(tau > 0)][0]}; accepted is a time above 0")
        if self.integration == "exponential":
            share = -np.expm1(-self.dt / tau)
            return share if np.ptp(share) > UNIFORM else np.full(len(share), share[0])
        if self.dt > tau.min() * (1 + UNIFORM):
            state = "synaptic current" if what == "tau_syn" else "potential"
            self.values.fail(
                key,
                f"{what} = {tau.min():g} is shorter than dt = {self.dt:g}, so a step would turn the sign of the "
                f"{state}; accepted is a dt of at most {tau.min():g}, or integration = 'exponential'",
            )
        share = np.minimum(self.dt / tau, 1.0)
        return share if np.ptp(share) > UNIFORM else np.full(len(share), share[0])

    def finish(self, key: str, populations: Mapping[str, Population], aliases: Mapping[str, Term]) -> str:
        """Check what arrives at the Output node; the population that sends it."""
        if not populations:
            self.values.fail(
                key, f"no neurons before the output; accepted is at least one of {', '.join(NEURONS)}, Threshold"
            )
        if len(self.walk.before[key]) > 1:
            names = ", ".join(map(repr, self.walk.before[key]))
            self.values.fail(key, f"the outputs of {names} add up; accepted is one node before the output")
        signal = self.linear.signals[self.walk.before[key][0]]
        if signal.analog is None and not signal.plain:
            self.values.fail(
                key,
                f"the output is that of {signal.nodes[-1]!r}, which has no neurons after it; "
                f"accepted at the end is one of {', '.join(NEURONS)}, Threshold",
            )
        stored = stored_shape(self.walk.nodes[key])
        if stored and math.prod(stored) != signal.size:
            self.values.fail(key, f"shape {list(stored)} for {signal.size} outputs; accepted is [{signal.size}]")
        if signal.analog is not None:
            return signal.analog
        term = resolve(signal.terms[0], aliases)
        if term.source == INPUT or term.delay:
            self.values.fail(
                key, "its spikes are those of the input, or delayed; accepted is what neurons send at once"
            )
        return term.source

    def layers(
        self, populations: dict[str, Population], aliases: Mapping[str, Term], last: str
    ) -> tuple[FloatLayer, ...]:
        """The layers in the order of computation, the output last."""
        for population in populations.values():
            terms = tuple(resolve(term, aliases) for term in population.enters.terms)
            population.enters = replace(population.enters, terms=terms)
        feeds: dict[str, list[str]] = {key: [] for key in (INPUT, *populations)}
        for key, population in populations.items():
            for term in population.enters.terms:
                if term.source != last:  # nothing is computed after the output
                    feeds[term.source].append(key)
        order = [key for key in depth_first([INPUT, *populations], feeds) if key not in (INPUT, last)] + [last]
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
                self.values.fail(key, f"folded with the nodes before it: {error}")
        return tuple(layers)

    def draft(self, population: Population, terms: tuple[Term, ...]) -> "_Draft":
        """The weights, biases and thresholds of a layer."""
        key, gain, theta = population.key, population.gain, population.theta
        drive, bias, lost, width = population.drive, population.enters.bias, population.lost, population.width
        bias = np.zeros(len(gain)) if bias is None else bias
        if theta is not None and not (theta > 0).all():
            neuron = int(np.argmin(theta))
            self.values.fail(
                key,
                f"the threshold of neuron {neuron} is {theta[neuron]:g} above its reset potential; accepted is above 0",
            )
        equal = np.ones(len(gain)) if theta is None else theta.max() / theta
        if all(takes(term, gain * equal) for term in terms):
            bias = (bias * gain + drive) * equal
            gain, lost, width = gain * equal, lost * equal, None if width is None else width * equal
            theta = None if theta is None else np.full(len(gain), theta.max())
        elif all(takes(term, gain) for term in terms):
            bias = bias * gain + drive
        elif theta is not None and (gain > 0).all():  # v / gain: shared weights stay, thresholds take the factor
            bias, theta, lost, gain = bias + drive / gain, theta / gain, lost / gain, np.ones(len(gain))
        else:
            self.values.fail(
                key,
                "r, dt / tau or w_in differ within a channel of a convolution"
                + (", and there is no threshold that could take the factor" if theta is None else " and are not all "
                "above 0") + "; accepted is one value per channel",
            )  # fmt: skip
        connections = [(given, given.geometry().source_shape) for given in (times(term, gain) for term in terms)]
        shape = next((t.geometry().shape for t, _ in connections if t.is_convolution), (len(gain),))
        options = {
            "bias": bias,
            "decay": population.decay,
            "linear_decay": lost,
            "threshold": theta,
            "reset": population.reset,
            "current_decay": population.current_decay,
            "bias_in_current": population.current_decay is not None and not drive.any(),
            "cloglog": width,
            "nodes": (*population.enters.nodes, *population.nodes),
        }
        return _Draft(connections=connections, shape=shape, options=options)


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A layer before the shapes of all populations are known: terms with weights and the shape they take."""

    connections: list[tuple[Term, tuple[int, ...]]]
    shape: tuple[int, ...]
    options: dict[str, Any]


def _unique(name: str, others: Iterable[str]) -> str:
    """`name` as an identifier that no other layer has, nor a part of a core that stands beside its layers."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not re.match("[A-Za-z]", text):
        text = "layer_" + text.lstrip("_")
    used, number, unique = {"decision", "load", *others}, 2, text
    while unique in used:
        unique, number = f"{text}_{number}", number + 1
    return unique


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
