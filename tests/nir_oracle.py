"""A slow simulation of NIR graphs, written from the node definitions of NIR: what an import is judged against.

One Euler step after the other, with loops over the positions of a convolution. Nodes run in the order in which they are
given: an edge to an earlier node closes a loop and brings what was sent a step before.
"""

import itertools

import nir
import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom.network.nir_import import import_nir

STATES = ("IF", "LIF", "LI", "I", "CubaLIF", "CubaLI")


def graph_of(nodes, edges=None):
    """A NIRGraph; by default a chain in the order of `nodes`."""
    edges = list(itertools.pairwise(nodes)) if edges is None else edges
    return nir.NIRGraph(nodes=nodes, edges=edges, type_check=False)


def message(nodes, edges=None, dt=1.0, reset="zero"):
    """What the import says to a graph (of `nodes`, or a NIRGraph or path) that it refuses."""
    source = graph_of(nodes, edges) if isinstance(nodes, dict) else nodes
    with pytest.raises(InputError) as error:
        import_nir(source, dt=dt, reset=reset)
    return str(error.value)


def pair(value):
    return tuple(np.broadcast_to(np.asarray(value), (2,)).tolist())


def convolve(node, x):
    """torch's Conv2d, position by position; a Conv1d is one of height 1."""
    weight = np.asarray(node.weight)
    flat = weight.ndim == 3
    if flat:
        weight, x = weight[:, :, None], x[:, None]
    channels, inner, tall, wide = weight.shape
    down, right = pair(node.stride) if not flat else (1, int(np.ravel(node.stride)[0]))
    padding = node.padding
    if isinstance(padding, str):
        total = (tall - 1, wide - 1) if padding == "same" else (0, 0)
        pads = [(0, 0), *((n // 2, n - n // 2) for n in total)]
    else:
        high, side = pair(padding) if not flat else (0, int(np.ravel(padding)[0]))
        pads = [(0, 0), (high, high), (side, side)]
    x = np.pad(x, pads)
    rows, columns = (x.shape[1] - tall) // down + 1, (x.shape[2] - wide) // right + 1
    out = np.zeros((channels, rows, columns))
    for o, r, c in np.ndindex(out.shape):
        first = o // (channels // node.groups) * inner
        window = x[first : first + inner, r * down : r * down + tall, c * right : c * right + wide]
        out[o, r, c] = (window * weight[o]).sum() + np.ravel(node.bias)[o]
    return out[:, 0] if flat else out


def pool(node, x):
    tall, wide = pair(node.kernel_size)
    rows, columns = x.shape[1] // tall, x.shape[2] // wide
    out = np.zeros((len(x), rows, columns))
    for c, i, j in np.ndindex(out.shape):
        out[c, i, j] = x[c, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide].sum()
    return out / (tall * wide) if type(node).__name__ == "AvgPool2d" else out


class Euler:
    """Runs a graph; `margin` is the smallest distance of a potential from its threshold."""

    def __init__(self, nodes, edges, dt, reset, synapse="same_step", integration="euler"):
        self.nodes, self.edges, self.dt, self.reset = nodes, edges, dt, reset
        self.synapse, self.integration = synapse, integration
        self.sent = {name: [] for name in nodes}
        self.v, self.i, self.z, self.margin = {}, {}, {}, np.inf

    def step(self, row):
        t, order = len(self.sent[next(iter(self.nodes))]), list(self.nodes)
        for name, node in self.nodes.items():
            if type(node).__name__ == "Delay":
                before = t - round(float(np.ravel(node.delay)[0]) / self.dt)
                (source,) = [a for a, b in self.edges if b == name]
                known = self.sent[source]
                self.sent[name].append(known[before] if before >= 0 else np.float64(0))
                continue
            arriving = []
            for a, b in self.edges:
                if b != name:
                    continue
                back = order.index(a) >= order.index(name)
                if not back:
                    arriving.append(self.sent[a][t])
                elif t:
                    arriving.append(self.sent[a][t - 1])
            x = row.astype(float) if type(node).__name__ == "Input" else sum(arriving, np.float64(0))
            self.sent[name].append(self.compute(name, node, x))

    def share(self, tau):
        return self.dt / tau if self.integration == "euler" else 1 - np.exp(-self.dt / tau)

    def compute(self, name, node, x):
        kind, dt = type(node).__name__, self.dt
        if kind in ("Linear", "Affine"):
            x = np.broadcast_to(x, (node.weight.shape[1],)) if np.ndim(x) == 0 else x
            return node.weight @ x + (node.bias if kind == "Affine" else 0)
        if kind.startswith("Conv"):
            return convolve(node, x)
        if kind.endswith("Pool2d"):
            return pool(node, x)
        if kind == "Flatten":
            return np.reshape(x, -1)
        if kind == "Scale":
            return node.scale * x
        if kind == "Threshold":
            self.margin = min(self.margin, np.abs(x - node.threshold).min())
            return (x > node.threshold).astype(float)
        if kind not in STATES:
            return x
        origin = getattr(node, "v_reset", 0.0) if kind in ("IF", "LIF", "CubaLIF") else 0.0
        v = self.v.get(name, np.zeros_like(x) + origin)
        z = self.z.get(name, np.zeros(np.shape(x), bool))
        if self.reset == "delayed_zero" and kind not in ("LI", "I", "CubaLI"):
            v = np.where(z, origin, v)
        drive = x
        if kind.startswith("Cuba"):
            i = self.i.get(name, np.zeros_like(x))
            jump = self.synapse == "jump"
            self.i[name] = i - self.share(node.tau_syn) * (i if jump else i - node.w_in * x) + jump * node.w_in * x
            drive = i if self.synapse == "next_step" else self.i[name]
        tau = getattr(node, "tau_mem", getattr(node, "tau", None))
        lost, away = getattr(node, "metadata", {}).get("linear_decay"), v
        if lost is not None:  # towards the reset potential, in place of a share; what enters is the same
            away = origin
            v = origin + np.sign(v - origin) * np.maximum(abs(v - origin) - dt * lost, 0)
        v = v + (dt * node.r * drive if tau is None else self.share(tau) * (node.v_leak - away + node.r * drive))
        if kind in ("LI", "I", "CubaLI"):
            self.v[name] = v
            return v
        step = node.v_threshold - origin
        if self.reset == "delayed_subtract":
            v = v - np.where(z, step, 0)
        self.margin = min(self.margin, np.abs(v - node.v_threshold).min())
        z = v > node.v_threshold
        if self.reset == "zero":
            v = np.where(z, origin, v)
        elif self.reset == "subtract":
            v = np.where(z, v - step, v)
        self.v[name], self.z[name] = v, z
        return z.astype(float)


def euler(nodes, spikes, edges=None, dt=1.0, reset="zero", **how):
    """Run nodes on spikes [T, ...].

    Returns {name: what it sends in each step, float [T, ...]}, and the smallest distance from a threshold.
    """
    edges = list(itertools.pairwise(nodes)) if edges is None else edges
    model = Euler(nodes, edges, dt, reset, **how)
    for row in spikes:
        model.step(row)
    sent = {name: np.array([np.broadcast_to(x, rows[-1].shape) for x in rows]) for name, rows in model.sent.items()}
    return sent, model.margin
