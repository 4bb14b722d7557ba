"""The virtual core against the reference: every spike and potential, whatever the placement and the stalls."""

import dataclasses
import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest

from core_bench import check_cycles, check_memories, play, run_core
from graph_networks import random_graph, random_graph_spikes
from networks import LEAKS, RESETS, network_of, random_chain, random_spec, random_spikes, seeds
from spikeloom.config import VirtualConfig
from spikeloom.errors import InputError
from spikeloom.mapping.image import image_words
from spikeloom.mapping.mapping_file import write_mapping
from spikeloom.mapping.placement import place, synapses
from spikeloom.mapping.plan import plan_core
from spikeloom.mapping.virtual import VirtualPlan, placement_problems
from spikeloom.mapping.virtual_cost import VirtualCost
from spikeloom.network.integer import IntegerNetwork, Leak
from spikeloom.network.reference import simulate


def virtual(**keys) -> VirtualConfig:
    return VirtualConfig(kind="virtual", **keys)


def random_network(rng: random.Random, *, zeros: float = 0.0) -> IntegerNetwork:
    return random_chain(rng, lambda w: w * (rng.random() >= zeros))


@pytest.mark.parametrize("seed", seeds(14))
def test_random_networks(seed):
    """Odd shapes, every leak and reset, biases, kept states, silent sources, any number of engines, stalls."""
    rng = random.Random(seed)
    network = random_network(rng, zeros=rng.choice([0.0, 0.5, 0.95]))
    engines = rng.choice([1, 2, 3, 8, 16])
    core = virtual(
        engines=engines, queue_depth=rng.choice(["auto", 2, 9]), probe=True, readout=rng.choice(["last", "tick"])
    )
    spikes = random_spikes(seed, rng.randint(1, 3), rng.randint(1, 4), network.inputs)
    play(network, core, spikes, seed=seed)


@pytest.mark.parametrize("seed", seeds(10))
def test_shared_cores(seed):
    """Any layers on any cores: spikes, potentials and cycles, also where everything fires and nothing is taken."""
    network = plain(random_graph(seed, chain=seed % 2 == 0)) if seed % 4 else random_network(random.Random(seed))
    rng = random.Random(seed)
    cores = rng.choice(["one", [rng.randint(0, 1) for _ in network.layers]])
    core = virtual(engines=rng.choice([1, 3, 8]), slots=4096, cores=cores, queue_depth=rng.choice(["auto", 2]))
    spikes = random_graph_spikes(seed, network, batch=3)
    play(network, dataclasses.replace(core, probe=True), spikes, seed=seed)
    plan, trace = plan_core(network, core, steps=spikes.shape[1]), simulate(network, spikes)
    model = VirtualCost(network, core, steps=spikes.shape[1])
    check_cycles(plan, model, spikes, trace, rest=plan.settle + 200)
    check_memories(plan, model)


@pytest.mark.parametrize("seed", seeds(8))
def test_several_passes(seed):
    """Layers of more neurons than slots: answers, cycles and memories; alone and on shared cores."""
    rng = random.Random(seed)
    sizes = [rng.randint(1, 40), rng.randint(5, 40), rng.randint(3, 30), rng.randint(1, 12)][: rng.randint(3, 4)]
    specs = [
        random_spec(
            rng, fan_in=fan_in, neurons=neurons, leak=rng.choice(LEAKS), reset=rng.choice(RESETS), theta=9, r=5,
            bias=rng.random() < 0.4,
        )
        for fan_in, neurons in itertools.pairwise(sizes)
    ]  # fmt: skip
    network = network_of(specs)
    cores = rng.choice(["layer", "one"])
    slots = max(len(sizes) - 1, -(-max(sizes[1:]) // rng.randint(4, 8)))
    core = virtual(engines=rng.choice([2, 3]), slots=slots, cores=cores)
    spikes = random_spikes(seed, 3, rng.randint(1, 5), network.inputs)
    plan, _ = play(network, core, spikes, seed=seed, stall=rng.choice([0, 3]))
    model, trace = VirtualCost(network, core, steps=spikes.shape[1]), simulate(network, spikes)
    check_cycles(plan, model, spikes, trace, rest=plan.settle + 200)
    check_memories(plan, model)
    assert max(entry.turns for entry in plan.layers) > 1


@pytest.mark.parametrize("seed", range(3))
def test_loaded_networks(seed):
    """Tables, weights, biases and parameters arrive through the load port, another network before each input."""
    rng = random.Random(seed)
    nets = []
    for theta, leak in ((9, 3), (5, 1)):
        shared = {"reset": "subtract", "bias": True, "leak": ("linear", leak)}
        specs = [
            random_spec(rng, fan_in=13, neurons=11, theta=theta, r=theta, **shared),
            random_spec(rng, fan_in=11, neurons=5, theta=7, r=4, **shared),
        ]
        for spec in specs:
            spec["weights"] = [[w * (rng.random() < 0.7) for w in row] for row in spec["weights"]]
        nets.append(network_of(specs))
    widest = max(nets, key=lambda net: max(int(layer.accumulator_bits().max()) for layer in net.layers))
    core = virtual(engines=4, weights="loaded", parameters="loaded", probe=True, dispatch_rows=64, weight_depth=48)
    core = dataclasses.replace(core, cores="one" if seed == 2 else "layer")
    plan = plan_core(widest, core, steps=4)
    spikes = random_spikes(3, 2, 4, 13)
    for order in (nets, nets[::-1]):
        run = run_core(plan, spikes, images={b: image_words(plan, net) for b, net in enumerate(order)}, stall=2)
        traces = [simulate(net, spikes[b : b + 1]) for b, net in enumerate(order)]
        np.testing.assert_array_equal(run.spikes, np.concatenate([trace.spikes[-1] for trace in traces]))
    small = plan_core(widest, dataclasses.replace(core, dispatch_rows="auto", weight_depth="auto"), steps=4)
    full = network_of([spec | {"weights": [[1] * len(row) for row in spec["weights"]]} for spec in specs])
    with pytest.raises(InputError, match=r"layer 'fc1': .* accepted are up to"):
        image_words(small, full)


def plain(network: IntegerNetwork) -> IntegerNetwork:
    """The same connections between neurons of kinds that an engine computes."""
    layers = []
    for layer in network.layers:
        threshold = layer.threshold if layer.threshold is None else int(np.min(layer.threshold))
        amount = None if layer.reset_amount is None else int(np.min(layer.reset_amount))
        changes = {
            "current_bits": None,
            "refractory": 0,
            "adaptation": None,
            "threshold": threshold,
            "current_leak": Leak(),
        }
        changes |= {"reset_amount": amount}
        if layer.leak.per_neuron:
            changes["leak"] = Leak()
        layers.append(dataclasses.replace(layer, **changes))
    return dataclasses.replace(network, layers=tuple(layers))


@pytest.mark.parametrize("seed", seeds(10))
def test_random_graphs(seed):
    """Convolutions, pools, joins, loops and delays; kernel weights lie once on each engine."""
    network = plain(random_graph(seed, chain=seed % 2 == 0))
    core = virtual(engines=random.Random(seed).choice([1, 3, 4, 16]), slots=4096, probe=True)
    spikes = random_graph_spikes(seed, network, batch=2)
    plan, _ = play(network, core, spikes, seed=seed)
    for entry in plan.layers:
        assert isinstance(entry, VirtualPlan)
        weights = sum(connection.weights.size for connection in entry.layer.connections)
        assert all(len(words) <= max(1, weights) for words in entry.tables.weights)


@pytest.mark.parametrize("seed", seeds(8))
def test_cycles(seed):
    """The cost model has the cycle of every first and last item, alone and back to back, and every memory."""
    rng = random.Random(seed)
    network = random_network(rng, zeros=rng.choice([0.0, 0.7])) if seed % 3 else plain(random_graph(seed, chain=False))
    core = virtual(
        engines=rng.choice([1, 2, 5, 16]), slots=4096, queue_depth=rng.choice(["auto", 2, 9]),
        readout=rng.choice(["last", "tick"]),
    )  # fmt: skip
    spikes = random_spikes(seed + 99, 3, rng.randint(1, 4), network.inputs)
    plan = plan_core(network, core, steps=spikes.shape[1])
    model = VirtualCost(network, core, steps=spikes.shape[1])
    trace = simulate(network, spikes)
    reports = check_cycles(plan, model, spikes, trace, rest=plan.settle + 200)
    check_memories(plan, model)
    assert [report.last_out - report.first_in for report in reports] <= model.bound(spikes, trace.spikes).tolist()


def test_synapses():
    """The synapse table is the connection, with the zeros left out."""
    rng = random.Random(5)
    for seed in range(6):
        for layer in random_graph(seed, chain=False).layers:
            targets, weights = synapses(layer)
            table = targets.toarray()
            matrix = np.concatenate([connection.matrix.toarray().T for connection in layer.connections])
            found = np.where(table > 0, weights[np.maximum(table, 1) - 1], 0)
            np.testing.assert_array_equal(found, matrix)
    assert rng


def pruned_pair() -> IntegerNetwork:
    """Two layers, 9 sources, 30 neurons, 4 neurons; half of the weights are 0."""
    rng = random.Random(1)
    specs = [random_spec(rng, fan_in=9, neurons=30), random_spec(rng, fan_in=30, neurons=4)]
    for spec in specs:
        spec["weights"] = [[w * (rng.random() < 0.5) for w in row] for row in spec["weights"]]
    return network_of(specs)


def mapped(tmp_path, network, core) -> tuple[Path, VirtualConfig]:
    """A mapping file of `network`, and the core that reads it."""
    problems = placement_problems(network, core)
    path = write_mapping(tmp_path / "net.json", network, {n: place(p, "greedy") for n, p in problems.items()})
    return path, dataclasses.replace(core, mapping=str(path))


def test_mapping_files(tmp_path):
    """A file says where neurons run; the same placement makes the same bytes, another one another core."""
    network = pruned_pair()
    core = virtual(engines=3, probe=True)
    path, reading = mapped(tmp_path, network, core)
    first = path.read_bytes()
    assert mapped(tmp_path, network, core)[0].read_bytes() == first
    plan, _ = play(network, reading, random_spikes(1, 2, 3, network.inputs))
    assert plan.hash == plan_core(network, core, steps=3).hash
    content = json.loads(first)
    name = network.layers[0].name
    content["layers"][name]["engine"] = content["layers"][name]["engine"][::-1]
    path.write_text(json.dumps(content))
    other, _ = play(network, reading, random_spikes(1, 2, 3, network.inputs))
    assert other.layers[0].engine.tolist() == content["layers"][name]["engine"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c | {"network": "0" * 64},
            r"net.json: made for network 0{16}; accepted here is one for [0-9a-f]{16}: ",
        ),
        (lambda c: c | {"schema": 2}, r"net.json: no mapping of schema 1; accepted: a file that `spikeloom map` wrote"),
        (lambda c: c | {"layers": {}}, r"layer 'fc1': accepted are `engine` and `turn` of \d+ neurons"),
        (lambda c: 7, r"net.json: no mapping of schema 1"),
        (lambda c: _changed(c, "engine", 5), r"layer 'fc1': engine \d to 5; accepted with this core are 0 to 2"),
        (lambda c: _changed(c, "turn", -1), r"layer 'fc1': turn -1 to 0; accepted with this core are 0 to 63"),
        (lambda c: _crowded(c), r"layer 'fc1': \d+ neurons on one engine; accepted with this core are up to \d+"),
    ],
)
def test_refused_mapping_files(change, message, tmp_path):
    network = pruned_pair()
    path, core = mapped(tmp_path, network, virtual(engines=3, slots=10))
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=message):
        plan_core(network, core, steps=3)
    path.write_text("{")
    with pytest.raises(InputError, match=r"net.json: .*; accepted: a file that `spikeloom map` wrote"):
        plan_core(network, core, steps=3)


def _changed(content: dict, key: str, value: int) -> dict:
    content["layers"]["fc1"][key][0] = value
    return content


def _crowded(content: dict) -> dict:
    content["layers"]["fc1"]["engine"] = [0] * len(content["layers"]["fc1"]["engine"])
    return content


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"engines": 2, "slots": 2, "passes": 3}, r"layer 'fc1': rows|layer 'fc1': .*(slots|passes)"),
        (
            {"engines": 4, "slots": 4, "probe": True},
            r"layer 'fc1': 30 neurons take 2 passes .*potentials are not probed",
        ),
        ({"engines": 4, "cores": [0]}, r"core.cores: 1 numbers were given; accepted is one for each of fc1, fc2"),
        ({"engines": 4, "dispatch_rows": 3}, r"layer 'fc1': "),
        ({"engines": 4, "weight_depth": 3}, r"layer 'fc1': "),
    ],
)
def test_refused_cores(keys, message):
    with pytest.raises(InputError, match=message):
        plan_core(pruned_pair(), virtual(**keys), steps=3)


def test_refused_kinds():
    network = random_graph(1, chain=False)
    layer = dataclasses.replace(plain(network).layers[0], refractory=2)
    with pytest.raises(InputError, match=r"layer 'l0': a virtual core takes layers of plain kinds .*'digital'"):
        plan_core(dataclasses.replace(network, layers=(layer, *plain(network).layers[1:])), virtual(), steps=3)
