"""The digital twin of the stochastic core against the reference: spikes, z8, cycles, memories."""

from dataclasses import replace

import numpy as np
import pytest

from core_bench import check_core, check_cycles, check_memories, play, run_core
from graph_networks import random_graph
from spikeloom.config import CimConfig, DigitalConfig, StochasticConfig, VirtualConfig
from spikeloom.errors import InputError
from spikeloom.mapping.cost_models import cost_model
from spikeloom.mapping.plan import plan_core
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork
from spikeloom.network.reference import simulate
from spikeloom.network.stochastic import Stochastic, cloglog_table

TABLE = cloglog_table(-5.5, 1 / 16)


def stochastic_layer(name, stream, *connections, shift=1, seed=5):
    rng = np.random.Generator(np.random.Philox(key=[seed, stream]))
    neurons = connections[0].neurons
    return IntegerLayer(
        name=name, connections=connections, weight_bits=7, potential_bits=8, reset="none", threshold=1,
        bias=rng.integers(60, 200, neurons), stochastic=Stochastic(table=TABLE, shift=shift, seed=seed, stream=stream),
    )  # fmt: skip


def small_cnn(state="clear", seed=5) -> IntegerNetwork:
    """Two convolutions and a dense layer; odd sizes, so that rows and addresses have gaps."""
    rng = np.random.Generator(np.random.Philox(key=[3, seed]))

    def weights(*shape):
        return rng.integers(-60, 61, shape)

    one = Connection(weights=weights(3, 1, 3, 3), source_shape=(1, 5, 4), stride=(2, 2), padding=(1, 1))
    two = Connection(weights=weights(2, 3, 3, 3), source_shape=(3, 3, 2), padding=(1, 1))
    fc = Connection(weights=weights(3, 12), source_shape=(2, 3, 2))
    layers = (stochastic_layer("conv1", 0, one), stochastic_layer("conv2", 1, two), stochastic_layer("fc1", 2, fc))
    return IntegerNetwork(name="cnn", layers=layers, state=state)


def inputs(network, *, batch=2, steps=3, density=0.4):
    rng = np.random.Generator(np.random.Philox(key=[4, steps]))
    return (rng.random((batch, steps, network.inputs)) < density).astype(np.uint8)


@pytest.mark.parametrize(("lanes", "state", "stall"), [("full", "keep", 0), (1, "clear", 0), ([3, 2, 2], "clear", 3)])
def test_twin_equals_reference(lanes, state, stall):
    network = small_cnn(state)
    core = StochasticConfig(kind="stochastic", lanes=lanes, probe=True)
    spikes = inputs(network)
    trace = simulate(network, spikes)
    assert all(0.02 < array.mean() < 0.9 for array in trace.spikes)
    play(network, core, spikes, stall=stall)


def test_weights_that_are_loaded():
    """Words belong to neurons, not to lanes or to weights: another image, the same words."""
    network = small_cnn()
    from spikeloom.mapping.image import image_words

    core = StochasticConfig(kind="stochastic", lanes=2, weights="loaded")
    plan = plan_core(network, core, steps=3)
    spikes = inputs(network)
    run = run_core(plan, spikes, images={0: image_words(plan)})
    check_core(plan, spikes, run, simulate(network, spikes))


def test_cycles_and_memories():
    network = small_cnn()
    core = StochasticConfig(kind="stochastic", lanes=2)
    plan, spikes = plan_core(network, core, steps=3), inputs(network)
    model, trace = cost_model(network, core, steps=3), simulate(network, spikes)
    check_memories(plan, model)
    reports = check_cycles(plan, model, spikes, trace, rest=plan.settle)
    for b, report in enumerate(reports):
        for index, layer in enumerate(report.layers):
            assert layer.writes == layer.reads == 3 * network.layers[index].neurons
            assert layer.resets == trace.spikes[index][b].sum()
    assert (model.bound(spikes, trace.spikes) >= [r.latency for r in model.cycles(spikes, trace.spikes)]).all()


def test_graphs():
    """Joins, short cuts, loops: a layer of any graph may be stochastic."""
    for seed in (1, 2):
        network = random_graph(seed, chain=False)
        layers = tuple(
            stochastic_layer(layer.name, n, *layer.connections, shift=0) for n, layer in enumerate(network.layers)
        )
        changed = replace(network, layers=layers)
        play(changed, StochasticConfig(kind="stochastic", lanes="full"), inputs(changed, steps=2), limit=100_000)


def test_long_inputs_take_the_upper_half_of_the_step():
    """The words of step 2**16 are not those of step 0."""
    fc = Connection(weights=np.array([[0], [0]]))
    network = IntegerNetwork(name="net", layers=(stochastic_layer("fc1", 0, fc),), state="keep")
    trace = simulate(network, np.zeros((1, (1 << 16) + 64, 1), np.uint8))
    once, again = trace.spikes[0][0, :64], trace.spikes[0][0, 1 << 16 :]
    assert (once != again).any()


@pytest.mark.parametrize(
    ("core", "text"),
    [
        (DigitalConfig(), "'digital' was given, but layer 'conv1' has stochastic neurons; accepted: stochastic"),
        (CimConfig(kind="cim"), "'cim' was given, but layer 'conv1' has stochastic neurons"),
        (VirtualConfig(kind="virtual"), "'virtual' was given"),
        (StochasticConfig(kind="stochastic", parameters="loaded"), "core.parameters: 'loaded' was given"),
    ],
)
def test_refuses_other_cores(core, text):
    with pytest.raises(InputError, match=text):
        plan_core(small_cnn(), core, steps=5)


def test_refuses_neurons_with_potentials():
    network = random_graph(0, chain=True)
    with pytest.raises(InputError, match=r"'stochastic' was given, but layer .* has potentials"):
        plan_core(network, StochasticConfig(kind="stochastic"), steps=5)
