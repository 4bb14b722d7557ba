"""NIR import of random maps, loops, joins and synaptic currents, against the slow simulation of the graph itself."""

import inspect
import itertools

import nir
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nir_oracle import convolve, euler, graph_of, message
from spikeloom.network.float_network import simulate_float
from spikeloom.network.nir_import import import_nir

RESETS = ("zero", "subtract", "delayed_zero", "delayed_subtract", "none")


def ends(shape, size):
    return nir.Input(input_type=np.array(shape)), nir.Output(output_type=np.atleast_1d(np.array(size)))


def same(nodes, edges=None, *, neurons, dt=1.0, reset="zero", steps=20, density=0.3, seed=0, samples=2, **how):
    """Import, run and compare the layers that `neurons` became; returns the network and the spike rates."""
    edges = list(itertools.pairwise(nodes)) if edges is None else edges
    network = import_nir(graph_of(nodes, edges), dt=dt, reset=reset, **how)
    assert len(network.layers) == len(neurons)
    shape = np.ravel(next(iter(nodes.values())).input_type["input"])
    spikes = np.random.default_rng(seed).random((samples, steps, *shape)) < density
    trace = simulate_float(network, spikes.reshape(samples, steps, -1))
    for sample in range(samples):
        sent, margin = euler(nodes, spikes[sample], edges, dt, reset, **how)
        assume(margin > 1e-9)
        for name in neurons:
            (index,) = [n for n, layer in enumerate(network.layers) if name in layer.nodes]
            expected = np.array([np.reshape(x, -1) for x in sent[name]])
            if network.layers[index].threshold is None:
                np.testing.assert_allclose(trace.readout[sample], expected, rtol=1e-9, atol=1e-9)
            else:
                assert (trace.spikes[index][sample] == expected).all()
    return network, [array.mean() for array in trace.spikes]


def conv(rng, out, inner, kernel, stride=(1, 1), padding=(0, 0), groups=1, bias=True, dilation=(1, 1)):
    return nir.Conv2d(
        input_shape=None,
        weight=rng.normal(0.1, 1, (out, inner, *kernel)),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=rng.normal(0, 0.2, out) if bias else np.zeros(out),
    )


def spiking(rng, shape, kind="LIF", spread="one"):
    """Neurons whose numbers are one for all, one per channel, or one each."""

    def numbers(low, high):
        if spread == "one":
            return np.full(shape, rng.uniform(low, high))
        each = rng.uniform(low, high, shape if spread == "each" else (shape[0], *(1 for _ in shape[1:])))
        return np.broadcast_to(each, shape).copy()

    values = {"r": numbers(0.5, 2), "v_threshold": numbers(0.4, 1.5)}
    if "v_reset" in inspect.signature(nir.LIF).parameters:
        values["v_reset"] = numbers(-0.2, 0.1)
    if kind == "LIF":
        values |= {"tau": numbers(1.5, 10), "v_leak": numbers(-0.2, 0.1)}
        values["r"] = values["r"] * 3
    if kind == "CubaLIF":
        values |= {"tau_mem": numbers(1.5, 10), "tau_syn": numbers(1.5, 5), "v_leak": numbers(-0.2, 0.1)}
        values |= {"w_in": numbers(0.5, 2), "r": values["r"] * 9}
    return getattr(nir, kind)(**values)


@st.composite
def maps(draw):
    """A random stack of convolutions, pools and scales with neurons between, then a dense layer."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(5, 9)), draw(st.integers(5, 9)))
    nodes, neurons = {"in": nir.Input(input_type=np.array(shape))}, []

    def add(kind, node):
        nodes[f"{kind}{len(nodes)}"] = node

    def pooling():
        nonlocal shape
        window = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
        if shape[1] // window[0] and shape[2] // window[1]:
            make = draw(st.sampled_from([nir.SumPool2d, nir.AvgPool2d]))
            add("pool", make(kernel_size=np.array(window), stride=np.array(window), padding=np.array([0, 0])))
            shape = (shape[0], shape[1] // window[0], shape[2] // window[1])

    def scaling():
        add("scale", nir.Scale(np.broadcast_to(rng.uniform(0.5, 2, (shape[0], 1, 1)), shape).copy()))

    for _ in range(draw(st.integers(1, 2))):
        for step in draw(st.lists(st.sampled_from([pooling, scaling]), max_size=2)):
            step()
        if draw(st.integers(0, 4)):  # now and then neurons directly after a pool
            groups = draw(st.sampled_from([g for g in (1, shape[0]) if shape[0] % g == 0]))
            out = groups * draw(st.integers(1, 2))
            padding = draw(st.sampled_from(["same", "valid", (0, 1), (1, 0), (2, 2)]))
            stride = (1, 1) if padding == "same" else (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
            pads = {"same": (9, 9), "valid": (0, 0)}.get(padding, padding) if isinstance(padding, str) else padding
            kernel = tuple(draw(st.integers(1, min(4, n + 2 * p))) for n, p in zip(shape[1:], pads, strict=True))
            node = conv(rng, out, shape[0] // groups, kernel, stride, padding, groups, draw(st.booleans()))
            add("conv", node)
            shape = convolve(node, np.zeros(shape)).shape
            for step in draw(st.lists(st.sampled_from([pooling, scaling]), max_size=2)):
                step()
        kind, spread = draw(st.sampled_from(["IF", "LIF"])), draw(st.sampled_from(["one", "channel", "each"]))
        add(kind, spiking(rng, shape, kind, spread))
        neurons.append(list(nodes)[-1])
    if draw(st.booleans()):
        pooling()
    size = int(np.prod(shape))
    add("flatten", nir.Flatten(input_type=np.array(shape), start_dim=0, end_dim=-1))
    add("linear", nir.Affine(rng.normal(0, 1, (3, size)), rng.normal(0, 0.3, 3)))
    li = nir.LI(tau=np.full(3, 4.0), r=np.ones(3), v_leak=np.zeros(3))
    add("last", spiking(rng, (3,), "LIF", "each") if draw(st.booleans()) else li)
    neurons.append(list(nodes)[-1])
    nodes["out"] = nir.Output(output_type=np.array([3]))
    return nodes, neurons


@settings(max_examples=120, deadline=None)
@given(maps(), st.sampled_from(RESETS), st.integers(0, 2**32 - 1))
def test_maps_are_the_graph(stack, reset, seed):
    nodes, neurons = stack
    same(nodes, neurons=neurons, reset=reset, seed=seed, steps=6, samples=1)


def bad_map(**changes):
    """A graph with one Conv2d whose fields are changed, as a NIR object that no constructor has checked."""
    rng = np.random.default_rng(0)
    source, output = ends((2, 6, 6), 3 * 4 * 4)
    node = conv(rng, 3, 2, (3, 3))
    for name, value in changes.items():
        setattr(node, name, value)
    return {"in": source, "conv": node, "if": spiking(rng, (1,), "IF"), "out": output}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dilation": (2, 1)}, "dilation [2, 1]; accepted is 1"),
        ({"dilation": 2}, "dilation [2, 2]; accepted is 1"),
        ({"input_shape": (4, 4)}, "input_shape [4, 4] behind maps of [6, 6]; accepted is the same of both"),
        ({"padding": "circular"}, "padding 'circular'; accepted are numbers, same, valid"),
        ({"padding_mode": "reflect"}, "padding_mode 'reflect'; accepted is zeros"),
        (
            {"padding": "same", "stride": 2},
            "padding 'same' with stride [2, 2]; accepted is a stride of 1, or numbers",
        ),
        ({"padding": (-1, 0)}, "padding = [-1.0, 0.0]; accepted are 2 integers of at least 0"),
        ({"stride": 0}, "stride [0, 0]: accepted are numbers of at least 1"),
        ({"stride": 1.5}, "stride = [1.5]; accepted are 2 integers of at least 0"),
        (
            {"weight": np.ones((3, 2, 7, 3))},
            "a kernel of 7 over height 6 with padding 0: accepted is a kernel of at most 6",
        ),
        (
            {"weight": np.ones((3, 2, 3, 9)), "padding": (0, 1)},
            "a kernel of 9 over width 6 with padding 1: accepted is a kernel of at most 8",
        ),
        (
            {"groups": 2},
            "2 groups with weights of shape [3, 2, 3, 3] from 2 channels: accepted are groups that divide both numbers "
            "of channels, and weights for the source channels of one group",
        ),
        ({"bias": np.ones(2)}, "bias of shape [2]; accepted is [3]"),
        (
            {"weight": np.ones((3, 3, 3))},
            "weight of shape [3, 3, 3]; accepted is [channels, channels of a group, height, width]",
        ),
    ],
)
def test_bad_convolutions_are_named(changes, expected):
    assert message(bad_map(**changes)) == f"NIR graph: node 'conv': {expected}".replace("padding [-1", "padding = [-1")


def test_bad_pools_are_named():
    def pooled(kernel, stride, padding, shape=(1, 6, 6)):
        node = nir.SumPool2d(*(np.array(x) for x in (kernel, stride, padding)))
        source, output = ends(shape, 9)
        return message({"in": source, "pool": node, "if": spiking(np.random.default_rng(0), (1,), "IF"), "out": output})

    windows = "accepted are windows that do not overlap: stride = kernel_size, padding = 0"
    for numbers in (([2, 2], [1, 1], [0, 0]), ([2, 2], [2, 2], [1, 0]), ([2, 2], [2, 3], [0, 0])):
        kernel, stride, padding = numbers
        assert pooled(*numbers) == (
            f"NIR graph: node 'pool': kernel_size {kernel}, stride {stride}, padding {padding}; {windows}"
        )
    assert pooled([7, 2], [7, 2], [0, 0]) == (
        "NIR graph: node 'pool': kernel_size [7, 2] over a map of [1, 6, 6]; accepted is at most the map"
    )
    assert pooled([2, 2], [2, 2], [0, 0], (36,)) == (
        "NIR graph: node 'pool': its input has shape [36]; accepted is [channels, height, width]"
    )


def test_convolutions_need_neurons_between():
    nodes = bad_map()
    nodes = {**{k: nodes[k] for k in ("in", "conv")}, "second": conv(np.random.default_rng(1), 3, 3, (1, 1)), **nodes}
    nodes = {key: nodes[key] for key in ("in", "conv", "second", "if", "out")}
    assert message(nodes) == (
        "NIR graph: node 'second': Conv2d after 'conv' without neurons between them; accepted is one of IF, LIF or "
        "CubaLIF between convolutions"
    )


def test_maps_survive_the_file(tmp_path):
    nodes = bad_map(padding="same", input_shape=np.array([6, 6]))  # nir cannot write None
    nodes["out"] = nir.Output(output_type=np.array([3, 6, 6]))
    nir.write(str(tmp_path / "net.nir"), graph_of(nodes))
    a, b = import_nir(tmp_path / "net.nir", dt=1.0, reset="zero"), import_nir(graph_of(nodes), dt=1.0, reset="zero")
    (x,), (y,) = a.layers[0].connections, b.layers[0].connections
    assert (x.weights == y.weights).all()
    assert (x.padding, x.source_shape, a.layers[0].shape) == ((1, 1), (2, 6, 6), (3, 6, 6))


@st.composite
def loops(draw):
    """Populations in a row, with random skips, feedback and delays between them; the last may be a read-out."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    depth, dt = draw(st.integers(1, 3)), draw(st.sampled_from([1.0, 1e-3]))
    sizes = [draw(st.integers(1, 4)) for _ in range(depth + 1)]
    kinds = [draw(st.sampled_from(["IF", "LIF", "CubaLIF"])) for _ in range(depth)]
    sender = ["in", *(f"n{n}" for n in range(depth))]
    nodes, edges = {"in": nir.Input(input_type=np.array(sizes[:1]))}, []

    def wire(a, b):
        """From population a to population b, 0 the input; listed before b, so that feedback comes a step late."""
        name = f"w{a}_{b}"
        weights = nir.Linear(rng.normal(0.4 if a < b else -0.2, 1, (sizes[b], sizes[a])))
        late = draw(st.integers(0, 3))
        if late:
            nodes[name] = nir.Delay(np.full(sizes[a], late * dt))
            nodes[name + "w"] = weights
            edges.extend([(sender[a], name), (name, name + "w"), (name + "w", sender[b])])
        else:
            nodes[name] = weights
            edges.extend([(sender[a], name), (name, sender[b])])

    for b in range(1, depth + 1):
        wire(b - 1, b)
        for a in range(depth + 1):
            if a != b - 1 and draw(st.integers(0, 2)) == 0 and (a or b == 1 or draw(st.booleans())):
                wire(a, b)
        node = spiking(rng, (sizes[b],), kinds[b - 1], "each")
        if kinds[b - 1] == "IF":
            node.r = node.r / dt
        for what in ("tau", "tau_mem", "tau_syn"):
            if hasattr(node, what):
                setattr(node, what, getattr(node, what) * dt)
        nodes[sender[b]] = node
    nodes["out"] = nir.Output(output_type=np.array(sizes[-1:]))
    edges.append((sender[-1], "out"))
    return nodes, edges, sender[1:], dt


@settings(max_examples=150, deadline=None)
@given(
    loops(),
    st.sampled_from(RESETS),
    st.sampled_from(["same_step", "next_step", "jump"]),
    st.sampled_from(["euler", "exponential"]),
    st.integers(0, 2**32 - 1),
)
def test_loops_are_the_graph(graph, reset, synapse, integration, seed):
    nodes, edges, neurons, dt = graph
    same(nodes, edges, neurons=neurons, dt=dt, reset=reset, seed=seed, synapse=synapse, integration=integration)


def test_loops_do_something():
    """The graphs above spike neither never nor always, and feedback matters."""
    rng = np.random.default_rng(3)
    source, output = ends((4,), 5)
    nodes = {"in": source, "w": nir.Linear(rng.normal(0.5, 1, (5, 4))), "back": nir.Linear(rng.normal(0, 1, (5, 5)))}
    nodes |= {"n": spiking(rng, (5,), "CubaLIF", "each"), "out": output}
    edges = [("in", "w"), ("w", "n"), ("n", "back"), ("back", "n"), ("n", "out")]
    network, rates = same(nodes, edges, neurons=["n"], steps=50)
    assert network.layers[0].name == "w"
    assert 0.05 < rates[0] < 0.95
    del nodes["back"]
    _, alone = same(nodes, [edge for edge in edges if "back" not in edge], neurons=["n"], steps=50)
    assert alone != rates
