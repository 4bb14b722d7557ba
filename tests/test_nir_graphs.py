"""NIR graphs with convolutions, pools, joins, loops and delays, node by node."""

import itertools

import nir
import numpy as np
import pytest

from nir_oracle import convolve, euler, graph_of
from spikeloom.errors import InputError
from spikeloom.network.float_network import simulate_float
from spikeloom.network.nir_import import import_nir
from spikeloom.network.quantise import Calibration, QuantiseOptions, quantise
from spikeloom.network.reference import simulate

T = 12


def rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([*key, 77][:2], np.uint64)))


def chain(*names: str) -> list[tuple[str, str]]:
    return list(itertools.pairwise(names))


def port(kind: str, *shape: int):
    return getattr(nir, kind)(**{f"{kind.lower()}_type": np.array(shape)})


def lif(*shape: int, **given):
    values = {"tau": 4.0, "r": 4.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | given
    return nir.LIF(**{name: np.broadcast_to(value, shape).astype(float) for name, value in values.items()})


def cuba(*shape: int, **given):
    values = {"tau_syn": 2.0, "tau_mem": 4.0, "r": 4.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0} | given
    values = {"w_in": 2.0} | values
    return nir.CubaLIF(**{name: np.broadcast_to(value, shape).astype(float) for name, value in values.items()})


def check(graph, order: list[str], layers: dict[str, str], *, density: float = 0.3, seed: int = 0, **options):
    """The imported network fires as the graph does; `layers` names the neuron node of each layer. Returns it."""
    network = import_nir(graph, dt=1.0, reset="zero", **options)
    assert [layer.name for layer in network.layers] == list(layers)
    spikes = (rng(seed, 9).random((1, T, network.inputs)) < density).astype(np.uint8)
    nodes = {name: graph.nodes[name] for name in order}
    rows = spikes[0].reshape(T, *nodes[order[0]].input_type["input"])
    expected, _ = euler(nodes, rows, graph.edges, **options)
    trace = simulate_float(network, spikes, potentials=True)
    for layer, fired in zip(network.layers, trace.spikes, strict=True):
        if layer.threshold is not None:
            shown = expected[layers[layer.name]].reshape(T, -1)
            np.testing.assert_array_equal(fired[0], shown, err_msg=layer.name)
            assert 0 < shown.mean() < 1, layer.name
    if trace.readout is not None:
        np.testing.assert_allclose(trace.readout[0], expected[list(layers.values())[-1]].reshape(T, -1), atol=1e-9)
    return network


CONVOLUTIONS = {
    "plain": {},
    "stride": {"stride": (2, 1), "padding": (1, 2)},
    "groups": {"groups": 2},
    "depthwise": {"groups": 4, "padding": (1, 1)},
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_pool_flatten(name):
    given = {"stride": (1, 1), "padding": (0, 0), "groups": 1} | CONVOLUTIONS[name]
    g = rng(1, 0)
    conv = nir.Conv2d(
        input_shape=(6, 7), weight=g.normal(0.2, 0.5, (4, 4 // given["groups"], 3, 2)), dilation=(1, 1),
        bias=g.normal(0, 0.1, 4), **given,
    )  # fmt: skip
    shape = convolve(conv, np.zeros((4, 6, 7))).shape
    pooled = (4, shape[1] // 2, shape[2] // 2)
    nodes = {
        "input": port("Input", 4, 6, 7),
        "conv": conv,
        "lif1": lif(*shape),
        "pool": nir.AvgPool2d(kernel_size=np.array([2, 2]), stride=np.array([2, 2]), padding=np.array([0, 0])),
        "flat": nir.Flatten(input_type={"input": np.array(pooled)}, start_dim=0, end_dim=-1),
        "fc": nir.Affine(g.normal(0.3, 1.0, (5, int(np.prod(pooled)))), g.normal(0, 0.1, 5)),
        "lif2": lif(5),
        "output": port("Output", 5),
    }
    network = check(graph_of(nodes, chain(*nodes)), list(nodes), {"conv": "lif1", "fc": "lif2"})
    assert network.input_shape == (4, 6, 7)
    assert network.layers[0].shape == shape
    assert network.layers[1].connections[0].pool == (2, 2)


def test_pool_before_and_behind_a_convolution():
    """Sums of input spikes, and a pool of a convolution without neurons between them: one with a larger kernel."""
    g = rng(2, 0)
    two = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2]), "padding": np.array([0, 0])}
    conv = nir.Conv2d(
        input_shape=(6, 6), weight=g.normal(0.1, 0.4, (3, 2, 3, 3)), stride=(1, 1), padding=(1, 1), dilation=(1, 1),
        groups=1, bias=g.normal(0, 0.05, 3),
    )  # fmt: skip
    nodes = {
        "input": port("Input", 2, 12, 13), "sum": nir.SumPool2d(**two), "conv": conv, "mean": nir.AvgPool2d(**two),
        "lif": lif(3, 3, 3, v_threshold=0.5), "output": port("Output", 3, 3, 3),
    }  # fmt: skip
    network = check(graph_of(nodes, chain(*nodes)), list(nodes), {"conv": "lif"})
    (connection,) = network.layers[0].connections
    assert (connection.pool, connection.stride, connection.weights.shape) == ((2, 2), (2, 2), (3, 2, 4, 4))


def test_one_dimension():
    g = rng(3, 0)
    conv = nir.Conv1d(
        input_shape=9, weight=g.normal(0.3, 0.5, (3, 2, 3)), stride=2, padding=1, dilation=1, groups=1, bias=np.zeros(3)
    )
    conv.stride, conv.padding = (2,), (1,)
    nodes = {
        "input": port("Input", 2, 9), "conv": conv, "lif": lif(3, 5), "output": port("Output", 3, 5),
    }  # fmt: skip
    network = check(graph_of(nodes, chain(*nodes)), list(nodes), {"conv": "lif"})
    assert network.layers[0].shape == (3, 1, 5)


def test_residual_block():
    """A branch past two convolutions joins the spikes as they are: a kernel of one tap for each channel."""
    g = rng(4, 0)

    def conv():
        return nir.Conv2d(
            input_shape=(5, 5), weight=g.normal(0.2, 0.5, (2, 2, 3, 3)), stride=(1, 1), padding=(1, 1), dilation=(1, 1),
            groups=1, bias=np.zeros(2),
        )  # fmt: skip

    nodes = {
        "input": port("Input", 2, 5, 5), "conv1": conv(), "lif1": lif(2, 5, 5), "conv2": conv(), "lif2": lif(2, 5, 5),
        "conv3": conv(), "lif3": lif(2, 5, 5), "output": port("Output", 2, 5, 5),
    }  # fmt: skip
    edges = [*chain(*nodes), ("lif1", "lif3")]
    network = check(graph_of(nodes, edges), list(nodes), {"conv1": "lif1", "conv2": "lif2", "conv3": "lif3"})
    skip = network.layers[2].connections[1]
    assert (skip.source, skip.groups, skip.weights.shape) == ("conv1", 2, (2, 1, 1, 1))


@pytest.mark.parametrize("kind", ["lif", "cuba", "cuba_next"])
def test_recurrent_subgraph(kind):
    """As exporters write it: a graph of neurons and their feedback inside the network."""
    g = rng(5, 0)
    neuron = lif(6) if kind == "lif" else cuba(6)
    inner = graph_of(
        {"input": port("Input", 6), "cell": neuron, "rec": nir.Linear(g.normal(-0.2, 0.5, (6, 6))),
         "output": port("Output", 6)},
        [("input", "cell"), ("cell", "rec"), ("rec", "cell"), ("cell", "output")],
    )  # fmt: skip
    nodes = {
        "input": port("Input", 4), "fc": nir.Linear(g.normal(0.5, 0.5, (6, 4))), "hidden": inner,
        "out": nir.Linear(g.normal(0.3, 0.7, (3, 6))), "lif": lif(3), "output": port("Output", 3),
    }  # fmt: skip
    flat = {**{k: v for k, v in nodes.items() if k != "hidden"}, "cell": inner.nodes["cell"], "rec": inner.nodes["rec"]}
    edges = [("input", "fc"), ("fc", "cell"), ("rec", "cell"), ("cell", "rec"), ("cell", "out"), ("out", "lif")]
    synapse = {"synapse": "next_step"} if kind == "cuba_next" else {}
    network = import_nir(graph_of(nodes, chain(*nodes)), dt=1.0, reset="zero", **synapse)
    spikes = (rng(5, 1).random((1, T, 4)) < 0.5).astype(np.uint8)
    order = {name: flat[name] for name in ("input", "fc", "cell", "rec", "out", "lif")}
    expected, _ = euler(order, spikes[0], edges, **synapse)
    trace = simulate_float(network, spikes)
    np.testing.assert_array_equal(trace.spikes[0][0], expected["cell"])
    np.testing.assert_array_equal(trace.spikes[1][0], expected["lif"])
    assert expected["cell"].any()
    assert expected["lif"].any()
    late = int(kind == "cuba_next")
    assert [c.delay for c in network.layers[0].connections] == [late, 1 + late]


def test_feedback_over_two_layers_and_delays():
    g = rng(6, 0)
    nodes = {
        "input": port("Input", 4), "fc1": nir.Linear(g.normal(0.5, 0.5, (5, 4))), "lif1": lif(5),
        "late": nir.Delay(delay=np.full(5, 2.0)), "fc2": nir.Linear(g.normal(0.5, 0.5, (6, 5))), "lif2": lif(6),
        "back": nir.Linear(g.normal(-0.5, 0.5, (5, 6))), "out": nir.Linear(g.normal(0.4, 0.5, (3, 6))), "lif3": lif(3),
        "output": port("Output", 3),
    }  # fmt: skip
    edges = [
        *chain("input", "fc1", "lif1", "late", "fc2", "lif2", "out", "lif3", "output"),
        ("lif2", "back"), ("back", "lif1"),
    ]  # fmt: skip
    # The feedback runs behind what it feeds, so it brings the spikes of the step before.
    order = ["input", "fc1", "lif1", "late", "fc2", "lif2", "back", "out", "lif3", "output"]
    network = check(graph_of(nodes, edges), order, {"fc1": "lif1", "fc2": "lif2", "out": "lif3"}, density=0.5)
    assert [c.delay for c in network.layers[0].connections] == [0, 1]
    assert network.layers[1].connections[0].delay == 2


def test_neurons_of_their_own():
    """Time constants and thresholds that differ: each neuron keeps its leak; a shared kernel keeps the thresholds."""
    g = rng(7, 0)
    conv = nir.Conv2d(
        input_shape=(4, 4), weight=g.normal(0.3, 0.5, (2, 1, 3, 3)), stride=(1, 1), padding=(1, 1), dilation=(1, 1),
        groups=1, bias=np.zeros(2),
    )  # fmt: skip
    taus, thetas = g.uniform(2, 6, (2, 4, 4)), g.uniform(0.5, 1.5, (2, 4, 4))
    nodes = {
        "input": port("Input", 1, 4, 4), "conv": conv, "lif1": lif(2, 4, 4, tau=taus, v_threshold=thetas),
        "flat": nir.Flatten(input_type={"input": np.array([2, 4, 4])}, start_dim=0, end_dim=-1),
        "fc": nir.Linear(g.normal(0.3, 0.6, (3, 32))), "lif2": lif(3, v_threshold=np.array([0.5, 1.0, 2.0])),
        "output": port("Output", 3),
    }  # fmt: skip
    network = check(graph_of(nodes, chain(*nodes)), list(nodes), {"conv": "lif1", "fc": "lif2"})
    first, second = network.layers
    assert np.shape(first.decay) == (32,)
    assert np.shape(first.threshold) == (32,)
    assert isinstance(second.threshold, float)  # made equal by scaling each neuron
    integer, report = quantise(network, QuantiseOptions(weight_bits=8))
    assert np.shape(integer.layers[0].threshold) == (32,)
    assert integer.layers[0].leak.per_neuron
    assert report.layers[0].decay_error < 0.01


def test_quantised_graph_is_close_to_the_real_one():
    """A recurrent network of currents in 12 bits: rates and read-out follow the real one."""
    g = rng(8, 0)
    inner = graph_of(
        {"input": port("Input", 8), "cell": cuba(8), "rec": nir.Linear(g.normal(-0.1, 0.3, (8, 8))),
         "output": port("Output", 8)},
        [("input", "cell"), ("cell", "rec"), ("rec", "cell"), ("cell", "output")],
    )  # fmt: skip
    li = nir.LI(tau=np.full(3, 4.0), r=np.full(3, 4.0), v_leak=np.zeros(3))
    nodes = {
        "input": port("Input", 6), "fc": nir.Linear(g.normal(0.3, 0.4, (8, 6))), "hidden": inner,
        "out": nir.Linear(g.normal(0, 0.7, (3, 8))), "li": li, "output": port("Output", 3),
    }  # fmt: skip
    network = import_nir(graph_of(nodes, chain(*nodes)), dt=1.0, reset="zero")
    spikes = (rng(8, 1).random((20, T, 6)) < 0.4).astype(np.uint8)
    integer, report = quantise(network, QuantiseOptions(weight_bits=12), calibration=Calibration(spikes=spikes))
    hidden = integer.layers[0]
    assert hidden.current_bits is not None
    assert hidden.current_leak.shifts == (1,)
    assert [c.delay for c in hidden.connections] == [0, 1]
    real, exact = simulate_float(network, spikes), simulate(integer, spikes)
    assert np.mean(real.spikes[0] != exact.spikes[0]) < 0.01
    scale = report.layers[1].scale
    assert np.corrcoef(real.readout.ravel(), exact.readout.ravel() * scale)[0, 1] > 0.99


def conv_with(**given):
    values = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "bias": np.zeros(2)} | given
    return nir.Conv2d(input_shape=(4, 4), weight=values.pop("weight", np.ones((2, 1, 3, 3))), **values)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (lambda: conv_with(dilation=(2, 2), weight=np.ones((2, 1, 2, 2))), "dilation [2, 2]; accepted is 1"),
        (
            lambda: conv_with(weight=np.ones((2, 1, 5, 5))),
            "a kernel of 5 over height 4 with padding 0: accepted is a kernel of at most 4",
        ),
        (
            lambda: conv_with(weight=np.ones((2, 3, 3, 3))),
            "1 groups with weights of shape [2, 3, 3, 3] from 1 channels: accepted are groups that divide both numbers "
            "of channels, and weights for the source channels of one group",
        ),
        (
            lambda: nir.SumPool2d(kernel_size=np.array([2, 2]), stride=np.array([1, 1]), padding=np.array([0, 0])),
            "kernel_size [2, 2], stride [1, 1], padding [0, 0]; accepted are windows that do not overlap: "
            "stride = kernel_size, padding = 0",
        ),
        (
            lambda: nir.AvgPool2d(kernel_size=np.array([5, 5]), stride=np.array([5, 5]), padding=np.array([0, 0])),
            "kernel_size [5, 5] over a map of [1, 4, 4]; accepted is at most the map",
        ),
    ],
    ids=["dilation", "kernel", "channels", "overlap", "window"],
)
def test_refused_windows(node, message):
    try:
        built = node()
    except ValueError:
        pytest.skip("this nir refuses it already")
    nodes = {"input": port("Input", 1, 4, 4), "odd": built, "lif": lif(2, 2, 2), "output": port("Output", 2, 2, 2)}
    with pytest.raises(InputError) as error:
        import_nir(graph_of(nodes, chain(*nodes)), dt=1.0, reset="zero")
    assert str(error.value).endswith(f"node 'odd': {message}"), str(error.value)


def test_padding_in_words():
    same, valid = conv_with(padding="same"), conv_with(padding="valid")
    shapes = []
    for node, size in ((same, 4), (valid, 2)):
        nodes = {"input": port("Input", 1, 4, 4), "c": node, "lif": lif(2, size, size)}
        nodes["output"] = port("Output", 2, size, size)
        shapes.append(import_nir(graph_of(nodes, chain(*nodes)), dt=1.0, reset="zero").layers[0].shape)
    assert shapes == [(2, 4, 4), (2, 2, 2)]
    odd = conv_with()
    odd.padding = "reflect"  # nir itself would not build it
    nodes = {"input": port("Input", 1, 4, 4), "c": odd, "lif": lif(2, 2, 2), "output": port("Output", 2, 2, 2)}
    with pytest.raises(InputError, match=r"node 'c': padding 'reflect'; accepted are numbers, same, valid"):
        import_nir(graph_of(nodes, chain(*nodes)), dt=1.0, reset="zero")


def test_loops_without_neurons_and_odd_delays_are_refused():
    eye = np.eye(3)
    nodes = {
        "input": port("Input", 3), "a": nir.Linear(eye), "b": nir.Linear(eye), "lif": lif(3),
        "output": port("Output", 3),
    }  # fmt: skip
    edges = [*chain("input", "a", "b", "lif", "output"), ("b", "a")]
    with pytest.raises(InputError, match=r"a loop without a delay: a -> b -> a; accepted are loops through"):
        import_nir(graph_of(nodes, edges), dt=1.0, reset="zero")
    nodes = {
        "input": port("Input", 3), "late": nir.Delay(np.full(3, 1.5)), "a": nir.Linear(eye), "lif": lif(3),
        "output": port("Output", 3),
    }  # fmt: skip
    with pytest.raises(InputError, match=r"node 'late': delay 1.5 is 1.5 steps of dt = 1; accepted is a whole"):
        import_nir(graph_of(nodes, chain(*nodes)), dt=1.0, reset="zero")
    nodes["late"] = nir.Delay(np.array([1.0, 2.0, 1.0]))
    with pytest.raises(InputError, match=r"node 'late': delays from 1 to 2 steps; accepted is one for all"):
        import_nir(graph_of(nodes, chain(*nodes)), dt=1.0, reset="zero")


@pytest.mark.parametrize("synapse", ["same_step", "jump"])
def test_a_bias_into_a_current(synapse):
    """As torch's Linear and Conv2d have it in front of neurons with synaptic currents, unless told otherwise."""
    g = rng(10, 0)
    conv = conv_with(bias=np.array([0.3, -0.1]), weight=g.normal(0.2, 0.4, (2, 1, 3, 3)))
    nodes = {
        "input": port("Input", 1, 4, 4), "conv": conv, "first": cuba(2, 2, 2),
        "flat": nir.Flatten(input_type={"input": np.array([2, 2, 2])}, start_dim=0, end_dim=-1),
        "fc": nir.Affine(g.normal(0, 0.4, (3, 8)), np.array([0.2, -0.1, 0.0])),
        "second": cuba(3, r=g.uniform(2, 5, 3), v_threshold=np.array([0.5, 1.0, 2.0])), "output": port("Output", 3),
    }  # fmt: skip
    names = {"conv": "first", "fc": "second"}
    network = check(graph_of(nodes, chain(*nodes)), list(nodes), names, synapse=synapse)
    assert all(layer.bias_in_current and layer.bias.any() for layer in network.layers)
    spikes = (rng(10, 1).random((10, T, 16)) < 0.3).astype(np.uint8)
    integer, _ = quantise(network, QuantiseOptions(weight_bits=14), calibration=Calibration(spikes=spikes))
    real, exact = simulate_float(network, spikes), simulate(integer, spikes)
    for one, other in zip(real.spikes, exact.spikes, strict=True):
        assert np.mean(one != other) < 0.01
        assert 0 < one.mean() < 1


def test_biases_into_a_current_that_are_refused():
    nodes = {
        "input": port("Input", 3), "a": nir.Affine(np.eye(3), np.array([0, 0.5, 0])), "cell": cuba(3),
        "output": port("Output", 3),
    }  # fmt: skip
    with pytest.raises(
        InputError, match=r"node 'cell': a bias of 0.5 into a synaptic current that is seen in the next"
    ):
        import_nir(graph_of(nodes, chain(*nodes)), dt=1.0, reset="zero", synapse="next_step")
    nodes["cell"] = cuba(3, v_leak=0.1)
    with pytest.raises(InputError, match=r"a bias of 0.5 into a synaptic current, and a v_leak other than its reset"):
        import_nir(graph_of(nodes, chain(*nodes)), dt=1.0, reset="zero")
