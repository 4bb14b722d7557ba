"""NIR import of chains, and what it refuses, against the slow simulation of the graph itself."""

import itertools

import nir
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nir_oracle import euler, graph_of, message
from spikeloom.errors import InputError
from spikeloom.network.float_network import FloatLayer, FloatNetwork, simulate_float
from spikeloom.network.nir_import import SUPPORTED, import_nir

SPIKING = ("zero", "subtract", "delayed_zero", "delayed_subtract", "none")


def neuron(kind, v_reset=None, **values):
    if v_reset is not None:
        values["v_reset"] = np.asarray(v_reset)
    return getattr(nir, kind)(**{key: np.asarray(value) for key, value in values.items()})


@st.composite
def chains(draw):
    """A random chain of nodes, with dt, spikes, and the names of the nodes that are layers of the network.

    Numbers come from a seeded generator: hypothesis likes 0 and 1, and a potential that is exactly at its threshold
    would depend on how floating point rounds.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dt = draw(st.sampled_from([1.0, 1e-4]))
    rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    flat = draw(st.booleans())
    size = rows * columns
    nodes = {"in": nir.Input(input_type=np.array([size] if flat else [rows, columns]))}
    if not flat:
        nodes["flat"] = nir.Flatten(input_type=np.array([rows, columns]), start_dim=0, end_dim=-1)
    layers = []

    def add(kind, node):
        name = f"{kind}{len(nodes)}"
        nodes[name] = node
        return name

    depth = draw(st.integers(1, 3))
    for level in range(depth):
        last = level == depth - 1
        for kind in draw(st.lists(st.sampled_from(["linear", "affine", "scale"]), max_size=3)):
            if kind == "scale":
                add(kind, nir.Scale(scale=rng.uniform(-2, 2, size)))
                continue
            wide = draw(st.integers(1, 4))
            weight = rng.normal(0, 1, (wide, size))
            add(kind, nir.Linear(weight) if kind == "linear" else nir.Affine(weight, rng.normal(0, 0.5, wide)))
            size = wide
        kind = draw(st.sampled_from(["IF", "LIF", "LI+T", "I+T", "T"] + (["LI", "I", "LI+S"] if last else [])))
        one_each = draw(st.booleans())
        r = rng.uniform(0.5, 2, size)
        theta = rng.uniform(0.3, 1.5, size) if one_each else np.full(size, 0.7)
        origin = rng.uniform(-0.5, 0.2, size) if draw(st.booleans()) else np.zeros(size)
        leak = {"tau": np.full(size, dt * rng.uniform(1, 20)), "v_leak": rng.uniform(-0.3, 0.3, size)}
        gain = {"r": r / dt}
        if kind == "IF":
            layers.append(add(kind, neuron("IF", origin, v_threshold=theta, **gain)))
        elif kind == "LIF":
            layers.append(add(kind, neuron("LIF", origin, v_threshold=theta, r=r * 4, **leak)))
        elif kind == "T":
            layers.append(add(kind, nir.Threshold(threshold=theta)))
            plain = [type(node).__name__ for node in list(nodes.values())[:-1]][-1] in ("Input", "Flatten", "Threshold")
            plain |= [type(node).__name__ for node in list(nodes.values())[:-1]][-1] in ("IF", "LIF")
            if plain:  # on spikes: must be below 1, and is no layer of its own
                nodes[layers.pop()].threshold = np.minimum(theta, 0.9)
        else:
            base = neuron("LI", r=r * 4, **leak) if kind.startswith("LI") else neuron("I", **gain)
            name = add(kind, base)
            if kind.endswith("T"):
                name = add("threshold", nir.Threshold(threshold=theta))
            elif kind.endswith("S"):
                name = add("scale", nir.Scale(scale=rng.uniform(-2, 2, size)))
            layers.append(name)
        if kind != "T" and draw(st.booleans()):
            node = next(
                node for name, node in reversed(nodes.items()) if type(node).__name__ in ("IF", "LIF", "LI", "I")
            )
            node.metadata = {"linear_decay": rng.uniform(0.01, 0.3, size) / dt}
        if not last and draw(st.booleans()):
            add("flatten", nir.Flatten(input_type=np.array([size]), start_dim=0, end_dim=-1))
    nodes["out"] = nir.Output(output_type=np.array([size]))
    assume(layers)
    spikes = rng.random((2, 15, rows * columns)) < draw(st.sampled_from([0.2, 0.6]))
    return nodes, dt, spikes, layers


@settings(max_examples=300)
@given(chains(), st.sampled_from(SPIKING))
def test_folded_network_is_the_graph(chain, reset):
    nodes, dt, spikes, layers = chain
    network = import_nir(graph_of(nodes), dt=dt, reset=reset)
    assert len(network.layers) == len(layers)
    assert all(layer.fires_above for layer in network.layers)
    trace = simulate_float(network, spikes)
    for sample in range(len(spikes)):
        rows = spikes[sample].reshape(-1, *nodes["in"].input_type["input"])
        expected, margin = euler(nodes, rows, dt=dt, reset=reset)
        assume(margin > 1e-9)
        for index, name in enumerate(layers):
            if network.layers[index].threshold is None:
                assert trace.readout is not None
                np.testing.assert_allclose(trace.readout[sample], expected[name], rtol=1e-9, atol=1e-9)
            else:
                assert (trace.spikes[index][sample] == expected[name]).all()


@settings(max_examples=25)
@given(chain=chains())
def test_file_equals_graph(tmp_path_factory, chain):
    nodes, dt, _, _ = chain
    path = tmp_path_factory.mktemp("nir") / "net.nir"
    nir.write(str(path), graph_of(nodes))
    from_file, direct = import_nir(path, dt=dt, reset="subtract"), import_nir(graph_of(nodes), dt=dt, reset="subtract")
    assert from_file.name == "net"
    assert from_file.dt == dt
    for a, b in zip(from_file.layers, direct.layers, strict=True):
        assert (a.weights == b.weights).all()
        assert (a.bias == b.bias).all()
        assert np.array_equal(a.linear_decay, b.linear_decay)
        assert (a.name, a.decay, a.threshold, a.reset, a.nodes) == (b.name, b.decay, b.threshold, b.reset, b.nodes)


def lif(size, **values):
    default = {"tau": np.full(size, 4.0), "r": np.ones(size), "v_leak": np.zeros(size), "v_threshold": np.ones(size)}
    return neuron("LIF", **{**default, **values})


def simple(**replaced):
    nodes = {
        "input": nir.Input(input_type=np.array([3])),
        "fc1": nir.Linear(weight=np.arange(6.0).reshape(2, 3)),
        "lif1": lif(2),
        "output": nir.Output(output_type=np.array([2])),
    }
    nodes.update(replaced)
    return nodes


def test_hand_computed_fold():
    nodes = simple(
        fc1=nir.Affine(weight=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), bias=np.array([0.5, -0.5])),
        lif1=lif(2, r=np.array([2.0, 4.0]), v_leak=np.array([0.25, 0.25]), v_threshold=np.array([1.0, 2.0])),
    )
    (layer,) = import_nir(graph_of(nodes), dt=1.0, reset="zero").layers
    assert layer.decay == 0.75
    assert layer.threshold == 2.0
    # r dt / tau = 0.5 and 1; the first row doubled because its threshold is half; v_leak dt / tau = 0.0625
    assert layer.weights.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert layer.bias.tolist() == [2 * (0.25 + 0.0625), -0.5 + 0.0625]
    assert layer.name == "fc1"
    assert layer.nodes == ("fc1", "lif1")


def test_linear_decay_in_the_metadata():
    notes = {"linear_decay": np.array([0.5, 0.5]), "from": "elsewhere"}
    node = lif(2, v_threshold=np.array([1.0, 2.0]))
    node.metadata = notes
    (layer,) = import_nir(graph_of(simple(lif1=node)), dt=0.5, reset="zero").layers
    assert layer.decay == 1.0
    assert layer.linear_decay.tolist() == [0.5, 0.25]  # the first neuron was doubled: its threshold is half
    assert layer.weights.tolist() == (np.arange(6.0).reshape(2, 3) / 8 * [[2], [1]]).tolist()  # dt / tau, as without
    notes["linear_decay"] = np.array([0.5, -0.5])
    assert message(graph_of(simple(lif1=node))).endswith(
        "node 'lif1': linear_decay = -0.5 in its metadata; accepted is at least 0"
    )
    notes["linear_decay"] = np.ones(3)
    assert "linear_decay of shape [3] for 2 inputs" in message(graph_of(simple(lif1=node)))
    notes["linear_decay"] = np.inf
    assert "linear_decay is inf; accepted are finite numbers" in message(graph_of(simple(lif1=node)))


def test_rest_above_zero_is_the_origin():
    rest = {"v_leak": np.full(2, -65.0), "v_reset": np.full(2, -65.0), "v_threshold": np.full(2, -50.0)}
    (layer,) = import_nir(graph_of(simple(lif1=lif(2, **rest))), dt=1.0, reset="subtract").layers
    assert layer.threshold == 15
    assert not layer.bias.any()


def test_names_are_identifiers():
    nodes = {
        "input": nir.Input(input_type=np.array([2])),
        "0": nir.Linear(weight=np.eye(2)),
        "1": lif(2),
        "a b": nir.Linear(weight=np.eye(2)),
        "x": lif(2),
        "a.b": nir.Linear(weight=np.eye(2)),
        "y": lif(2),
        "output": nir.Output(output_type=np.array([2])),
    }
    network = import_nir(graph_of(nodes), dt=1.0, reset="zero", name="named")
    assert [layer.name for layer in network.layers] == ["layer_0", "a_b", "a_b_2"]
    assert network.name == "named"


def test_single_values_serve_all_neurons():
    scalar = lif(1)
    network = import_nir(graph_of(simple(lif1=scalar)), dt=1.0, reset="zero")
    same = import_nir(graph_of(simple()), dt=1.0, reset="zero")
    assert (network.layers[0].weights == same.layers[0].weights).all()
    zero_d = neuron("LIF", tau=4.0, r=1.0, v_leak=0.0, v_threshold=1.0)
    network = import_nir(graph_of(simple(lif1=zero_d)), dt=1.0, reset="zero")
    assert (network.layers[0].weights == same.layers[0].weights).all()


def test_subgraphs_are_flattened(tmp_path):
    inner = graph_of(
        {
            "input": nir.Input(input_type=np.array([3])),
            "lin": nir.Linear(weight=np.arange(6.0).reshape(2, 3)),
            "deep": graph_of(
                {
                    "input": nir.Input(input_type=np.array([2])),
                    "lif": lif(2),
                    "output": nir.Output(output_type=np.array([2])),
                }
            ),
            "output": nir.Output(output_type=np.array([2])),
        }
    )
    nodes = {
        "input": nir.Input(input_type=np.array([3])),
        "block": inner,
        "output": nir.Output(output_type=np.array([2])),
    }
    nir.write(str(tmp_path / "sub.nir"), graph_of(nodes))
    for source in (graph_of(nodes), tmp_path / "sub.nir"):
        (layer,) = import_nir(source, dt=1.0, reset="zero").layers
        assert layer.name == "block_lin"
        assert "block.lin" in layer.nodes
        assert layer.weights.tolist() == [[0, 0.25, 0.5], [0.75, 1, 1.25]]


def test_edges_written_twice_count_once():
    nodes = simple()
    names = list(nodes)
    edges = list(itertools.pairwise(names))
    network = import_nir(graph_of(nodes, edges[::-1] + edges), dt=1.0, reset="zero")
    assert len(network.layers) == 1


ACCEPTED = ", ".join(SUPPORTED)


def test_unsupported_nodes_are_named(tmp_path):
    path = tmp_path / "odd.nir"
    nir.write(str(path), graph_of(simple()))
    import h5py

    with h5py.File(path, "a") as file:  # a class that no version of nir knows
        del file["node/nodes/lif1/type"]
        file["node/nodes/lif1/type"] = "Izhikevich"
    assert message(path) == f"{path}: node 'lif1': Izhikevich is not supported; accepted are {ACCEPTED}"


def test_missing_and_damaged_files(tmp_path):
    path = tmp_path / "net.nir"
    assert message(path) == f"{path}: no such file; accepted is a NIR file (.nir)"
    assert message(tmp_path) == f"{tmp_path}: is a folder; accepted is a NIR file (.nir)"
    path.write_bytes(b"not HDF5")
    assert message(path).startswith(f"{path}: not a readable NIR file (")
    assert message(path).endswith("); accepted is one that nir.write wrote")
    nir.write(str(path), graph_of(simple()))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert message(path).startswith(f"{path}: not a readable NIR file (")
    import h5py

    with h5py.File(path, "w") as file:
        file["other"] = 1
    assert message(path) == f"{path}: an HDF5 file without a NIR graph; accepted is a file that nir.write wrote"
    nir.write(str(path), lif(2))
    assert message(path) == f"{path}: a single LIF node; accepted is a NIRGraph"
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        del file["node/nodes/lif1/tau"]
    assert message(path) == f"{path}: node 'lif1': LIF without tau; accepted are all of tau, r, v_leak, v_threshold"
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        del file["node/edges"]
    assert message(path) == f"{path}: graph '' without nodes or edges; accepted is a file that nir.write wrote"
    path.write_bytes(whole)
    with h5py.File(path, "a") as file:
        del file["node/nodes/lif1/type"]
    assert message(path) == f"{path}: node 'lif1' has no type; accepted is a file that nir.write wrote"


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "net.nir"
    nir.write(str(path), graph_of(simple()))
    whole = path.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        assert message(path).startswith(f"{path}: not a readable NIR file (")


@pytest.mark.parametrize(
    ("replaced", "expected"),
    [
        (
            {"fc1": nir.Linear(np.array([[0, 1, 2], [3, np.nan, 5]]))},
            "node 'fc1': weight[1][1] is nan; accepted are finite numbers",
        ),
        (
            {"fc1": nir.Affine(np.ones((2, 3)), np.array([0, np.inf]))},
            "node 'fc1': bias[1] is inf; accepted are finite numbers",
        ),
        (
            {"lif1": lif(2, tau=np.array([np.inf, np.inf]))},
            "node 'lif1': tau[0] is inf; accepted are finite numbers; IF has no leak",
        ),
        (
            {"fc1": nir.Linear(np.ones((2, 4)))},
            "node 'fc1': weight of shape [2, 4] after 3 values; accepted is [n, 3]",
        ),
        (
            {"fc1": nir.Linear(np.ones((1, 2, 3)))},
            "node 'fc1': weight of shape [1, 2, 3]; accepted is [neurons, inputs]",
        ),
        (
            {"fc1": nir.Affine(np.ones((2, 3)), np.ones(3))},
            "node 'fc1': bias of shape [3]; accepted is [2]",
        ),
        ({"fc1": nir.Scale(np.ones(2))}, "node 'fc1': scale of shape [2] for 3 inputs; accepted is [3]"),
        ({"lif1": lif(4)}, "node 'lif1': tau of shape [4] for 2 inputs; accepted is [2]"),
        (
            {"lif1": lif(2, tau=np.array([0.5, 0.5]))},
            "node 'lif1': tau = 0.5 is shorter than dt = 1, so a step would turn the sign of the potential; "
            "accepted is a dt of at most 0.5, or integration = 'exponential'",
        ),
        ({"lif1": lif(2, tau=np.zeros(2))}, "node 'lif1': tau = 0.0; accepted is a time above 0"),
        (
            {"lif1": lif(2, v_threshold=np.array([1.0, -0.5]))},
            "node 'lif1': the threshold of neuron 1 is -0.5 above its reset potential; accepted is above 0",
        ),
        (
            {"input": nir.Input(input_type=np.array([1, 3, 1, 2]))},
            "node 'fc1': its input has shape [1, 3, 1, 2]; accepted is one axis: put a Flatten before it",
        ),
        (
            {"output": nir.Output(output_type=np.array([5]))},
            "node 'output': shape [5] for 2 outputs; accepted is [2]",
        ),
        (
            {"lif1": nir.Scale(np.ones(2))},
            "node 'output': no neurons before the output; accepted is at least one of IF, LIF, LI, I, CubaLIF, CubaLI, "
            "Threshold",
        ),
        (
            {"fc1": nir.Threshold(np.full(3, 1.0))},
            "node 'fc1': threshold 1.0 on spikes, which are 0 or 1; accepted is 0 up to below 1",
        ),
    ],
)
def test_bad_values_are_named(replaced, expected):
    assert message(graph_of(simple(**replaced))) == f"NIR graph: {expected}"


def test_chain_faults_are_named():
    nodes = simple()
    names = list(nodes)
    edges = list(itertools.pairwise(names))
    assert message(graph_of(nodes, [*edges, ("lif1", "fc1")])) == (
        "NIR graph: node 'fc1': receives [3] from 'input' and [2] from 'lif1'; accepted is one shape"
    )
    two = {"second": nir.Input(input_type=np.array([2])), **nodes}
    assert message(graph_of(two, edges)) == "NIR graph: 2 Input nodes (input, second); accepted is exactly one"
    assert message(graph_of({name: nodes[name] for name in names[:-1]})) == (
        "NIR graph: no Output node; accepted is exactly one"
    )
    assert message(graph_of(nodes, edges[:-1])) == (
        "NIR graph: node 'output': no path from the input reaches it; accepted are nodes on a path from Input to Output"
    )
    aside = {**nodes, "aside": lif(2)}
    assert message(graph_of(aside, [*edges, ("fc1", "aside")])) == (
        "NIR graph: node 'aside': no path to the output leaves it; accepted are nodes on a path from Input to Output"
    )
    assert message(graph_of(nodes, [*edges, ("lif1", "input")])) == (
        "NIR graph: node 'input': receives from 'lif1'; accepted is an Input without edges into it"
    )
    assert message(graph_of(nodes, [*edges, ("output", "lif1")])) == (
        "NIR graph: node 'output': sends to 'lif1'; accepted is an Output without edges out of it"
    )
    assert message(graph_of(nodes, [*edges, ("fc1", "output")])) == (
        "NIR graph: node 'output': the outputs of 'lif1', 'fc1' add up; accepted is one node before the output"
    )
    assert message(graph_of(nodes, [*edges, ("lif1", "lif9")])) == (
        "NIR graph: edge 'lif1' -> 'lif9': there is no node 'lif9'; accepted are edges between nodes of the graph"
    )
    inner = graph_of({"lif": lif(2), "output": nir.Output(output_type=np.array([2]))})
    assert message(graph_of(simple(lif1=inner))) == (
        "NIR graph: subgraph 'lif1' has 0 Input nodes; accepted is exactly one"
    )


def test_read_out_must_be_last():
    li = neuron("LI", tau=np.full(2, 4.0), r=np.ones(2), v_leak=np.zeros(2))
    nodes = simple(lif1=li)
    output = nodes.pop("output")
    nodes |= {"fc2": nir.Linear(np.ones((2, 2))), "lif2": lif(2), "output": output}
    assert message(graph_of(nodes)) == (
        "NIR graph: node 'fc2': Linear after 'lif1', which sends potentials, not spikes; accepted between layers is "
        "IF, LIF, CubaLIF or Threshold (LI, I and CubaLI only as the last layer)"
    )
    nodes = simple()
    output = nodes.pop("output")
    nodes |= {"fc2": nir.Linear(np.ones((2, 2))), "output": output}
    assert message(graph_of(nodes)) == (
        "NIR graph: node 'output': the output is that of 'fc2', which has no neurons after it; "
        "accepted at the end is one of IF, LIF, LI, I, CubaLIF, CubaLI, Threshold"
    )


def test_bad_arguments():
    graph = graph_of(simple())
    assert message(graph, dt=0) == ("NIR graph: dt = 0: accepted is a time above 0, in the unit of the time constants")
    assert message(graph, dt=float("nan")).startswith("NIR graph: dt = nan: accepted is a time above 0")
    assert message(graph, reset="hard") == (
        "NIR graph: reset = 'hard': accepted are zero, subtract, delayed_zero, delayed_subtract, none"
    )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (
            {"weights": np.zeros(3)},
            "layer 'a': weights of shape (3,): accepted is [neurons, fan_in] or "
            "[channels, source channels of a group, kernel height, kernel width]",
        ),
        ({"weights": np.array([[np.nan]])}, "layer 'a': weights[0, 0] = nan: accepted are finite numbers"),
        ({"bias": np.zeros(2)}, "layer 'a': bias of shape (2,): accepted are 1 values, one per neuron"),
        ({"decay": 1.5}, "layer 'a': decay = 1.5: accepted is 0 to 1"),
        (
            {"threshold": -1.0},
            "layer 'a': threshold = -1.0: accepted is a finite number above 0, the potential after a reset",
        ),
        ({"threshold": None}, "layer 'a': reset 'zero' without a threshold: a read-out has reset = 'none'"),
    ],
)
def test_float_layer_checks(changed, expected):
    options = {"name": "a", "weights": np.ones((1, 2)), "threshold": 1.0, "reset": "zero", **changed}
    with pytest.raises(InputError) as error:
        FloatLayer.dense(**options)
    assert str(error.value) == expected


def test_float_network_checks():
    a = FloatLayer.dense(name="a", weights=np.ones((2, 3)), threshold=1.0, reset="zero")
    b = FloatLayer.dense(name="b", weights=np.ones((2, 3)))
    with pytest.raises(InputError, match=r"^layer 'b' has a fan-in of 3, but 'a' has 2 neurons$"):
        FloatNetwork(name="n", layers=(a, b), dt=1.0)
    with pytest.raises(InputError, match=r"^layer 'b' is a read-out; only the last layer may be one$"):
        FloatNetwork(name="n", layers=(b, a), dt=1.0)
    network = FloatNetwork(name="n", layers=(a,), dt=1.0)
    with pytest.raises(
        InputError, match=r"^spikes of shape \(1, 2, 4\): accepted is \[inputs of the batch, steps, 3\]$"
    ):
        simulate_float(network, np.zeros((1, 2, 4)))


def test_float_state_keep_is_one_long_input():
    layers = (FloatLayer.dense(name="a", weights=np.array([[0.4, 0.3]]), decay=0.9, threshold=1.0, reset="subtract"),)
    network = FloatNetwork(name="n", layers=layers, dt=1.0)
    spikes = np.random.default_rng(3).random((4, 6, 2)) < 0.5
    current = np.array([[0.1], [0.0], [0.2], [0.3]])
    kept = simulate_float(network, spikes, current=current, potentials=True, state="keep")
    v = 0.0
    assert kept.potentials is not None
    for (b, t), _ in np.ndenumerate(spikes[:, :, 0]):
        v = 0.9 * v + current[b, 0] + spikes[b, t] @ np.array([0.4, 0.3])
        assert kept.spikes[0][b, t, 0] == (v > 1)
        v -= 1.0 * (v > 1)
        assert kept.potentials[0][b, t, 0] == pytest.approx(v)
    cleared = simulate_float(network, spikes, current=current)
    assert (cleared.spikes[0][:1] == kept.spikes[0][:1]).all()
    assert (cleared.spikes[0] != kept.spikes[0]).any()
