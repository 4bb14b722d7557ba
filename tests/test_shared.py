"""The weight-shared core against the reference: every spike and potential, whatever the gangs, read-outs and stalls."""

import random

import numpy as np
import pytest

from core_bench import check_core, check_cycles, check_memories, play, run_core
from networks import random_chain, random_spikes, seeds
from spikeloom.config import SharedConfig
from spikeloom.errors import InputError
from spikeloom.mapping.cost_models import cost_model
from spikeloom.mapping.plan import CorePlan, plan_core
from spikeloom.mapping.shared import SharedPlan
from spikeloom.mapping.shared_cost import SharedCost
from spikeloom.network.integer import IntegerLayer, IntegerNetwork
from spikeloom.network.reference import simulate
from spikeloom_sim.streams import stream_get, stream_put


def shared(**keys) -> SharedConfig:
    return SharedConfig(kind="shared", **keys)


def shared_plans(plan: CorePlan) -> list[SharedPlan]:
    return [entry for entry in plan.layers if isinstance(entry, SharedPlan)]


def random_network(rng: random.Random, *, levels: int = 4) -> IntegerNetwork:
    """A chain of layers whose weights take `levels` values."""
    table = rng.sample(range(-16, 16), levels)
    return random_chain(rng, lambda w: rng.choice(table), weight_bits=(5,))


def random_core(rng: random.Random, network: IntegerNetwork, **keys) -> SharedConfig:
    """Any core that `network` of 4 levels fits."""
    gangs = rng.choice(["layer", "one", [rng.randint(0, 1) for _ in network.layers]])
    narrowest = min(layer.neurons for layer in network.layers)
    return shared(
        gangs=gangs, cores=rng.randint(1, min(3, narrowest)), levels=rng.choice([4, 8]),
        read=rng.choice(["histogram", "replicate"]), copies=rng.choice([1, 3, 8]), count_bits=rng.choice([1, 2, 5]),
        pulse_bits=1, lanes=rng.choice([1, 2, 3, 8]), **keys,
    )  # fmt: skip


@pytest.mark.parametrize("seed", seeds(24))
def test_random_networks(seed):
    """Odd shapes, every leak and reset, biases, kept states, either read-out, any gangs, stalls."""
    rng = random.Random(seed)
    network = random_network(rng)
    core = random_core(rng, network, probe=True, readout=rng.choice(["last", "tick"]))
    spikes = random_spikes(seed, rng.randint(1, 3), rng.randint(1, 4), network.inputs)
    play(network, core, spikes, seed=seed, stall=rng.choice([0, 3]))


@pytest.mark.parametrize("seed", seeds(12))
def test_cycles(seed):
    """The cost model knows every cycle, also of graphs, and where everything fires."""
    rng = random.Random(seed)
    network = random_network(rng)
    core = random_core(rng, network, readout=rng.choice(["last", "tick"]))
    spikes = random_spikes(seed, 3, rng.randint(1, 4), network.inputs)
    plan, trace = plan_core(network, core, steps=spikes.shape[1]), simulate(network, spikes)
    model = cost_model(network, core, steps=spikes.shape[1])
    check_cycles(plan, model, spikes, trace, rest=plan.settle + 200)
    check_memories(plan, model)


def outside(plan: CorePlan, *, stall: int, seed: int):
    """Testbenches of the index memories outside, which answer in order, as late as they like."""

    def memory(port, rows: list[int]):
        rng, asked = random.Random(seed), []

        async def take(ctx):
            while True:
                asked.append(int(await stream_get(ctx, port.row, pause=rng.randint(0, stall))))

        async def give(ctx):
            while True:
                if asked:
                    await stream_put(ctx, port.indices, rows[asked.pop(0)], pause=rng.randint(0, stall))
                else:
                    await ctx.tick()

        return take, give

    def benches(dut):
        for name in dict.fromkeys(entry.gang.name for entry in shared_plans(plan)):
            entries = [entry for entry in shared_plans(plan) if entry.gang.name == name]
            rows = [int.from_bytes(row.tobytes(), "little") for entry in entries for row in entry.index_bytes]
            yield from memory(getattr(dut, f"indices_{name}"), rows)

    return benches


@pytest.mark.parametrize("seed", seeds(8))
def test_streamed_indices(seed):
    """Rows that come from outside, late and irregularly, change nothing."""
    rng = random.Random(seed)
    network = random_network(rng)
    core = random_core(rng, network, probe=True, indices="streamed", row_buffer=rng.choice([2, 5, 12]))
    spikes = random_spikes(seed, 2, rng.randint(1, 3), network.inputs)
    plan = plan_core(network, core, steps=spikes.shape[1])
    stall = rng.choice([0, 3])
    run = run_core(plan, spikes, seed=seed, stall=stall, behind=outside(plan, stall=stall, seed=seed))
    check_core(plan, spikes, run, simulate(network, spikes, potentials=True))


def test_rows_hold_the_index_of_each_synapse():
    """By the formula of the documentation, one synapse at a time."""
    rng = random.Random(5)
    network = random_network(rng)
    plan = plan_core(network, shared(cores=1, gangs="one", levels=4, lanes=3), steps=2)
    for entry in shared_plans(plan):
        gang, rows = entry.gang, entry.core_index_rows(0)
        for neuron, weights in enumerate(entry.layer.connections[0].weights.tolist()):
            group, lane = divmod(neuron // gang.cores, gang.lanes)
            for source, weight in enumerate(weights):
                index = rows[group * entry.layer.fan_in + source] >> (lane * gang.index_bits) & 3
                assert gang.table[index] == weight
    depths = [entry.index_depth for entry in shared_plans(plan)]
    assert [entry.gang.row for entry in shared_plans(plan)] == [sum(depths[:n]) for n in range(len(depths))]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"levels": 12}, r"core\.levels: 12 was given; accepted are powers of two, as 8 or 16: an index of 4 bits"),
        ({"levels": 2}, r"gang 'fc1_fc2': 4 distinct weights; accepted are up to core\.levels = 2"),
        (
            {"neurons": 8},
            r"6 \+ 4 neurons take 10 of each of 1 cores; accepted are up to core\.neurons = 8",
        ),
        ({"fan_in": 4}, r"layer 'fc1': 5 sources; accepted are up to core\.fan_in = 4"),
        ({"cores": 9}, r"core\.cores: 9 was given for 'fc1_fc2'; accepted are up to its 6 neurons"),
        (
            {"pair": "single"},
            r"weights down to -7; accepted with core\.pair = 'single' are none below 0",
        ),
        ({"pulse_bits": 9}, r"core\.pulse_bits: 9 was given; accepted are 1 to core\.count_bits = 8"),
        ({"gangs": [0]}, r"core\.gangs: 1 numbers were given; accepted is one for each of fc1, fc2"),
        ({"cores": [1, 2]}, r"core\.cores: 2 numbers were given; accepted is one, or one for each of 1 gangs"),
        ({"weights": "loaded"}, r"core\.weights: 'loaded' was given; accepted with core\.kind = 'shared': 'fixed'"),
    ],
)
def test_refused(keys, message):
    table = np.array([-7, -2, 0, 5])
    weights = [table[np.arange(30).reshape(6, 5) % 4], table[np.arange(24).reshape(4, 6) % 4]]
    layers = tuple(
        IntegerLayer.dense(name=f"fc{n}", weights=array, weight_bits=4, potential_bits=8, threshold=9)
        for n, array in enumerate(weights, 1)
    )
    network = IntegerNetwork(name="net", layers=layers)
    with pytest.raises(InputError, match=message):
        plan_core(network, shared(**({"gangs": "one"} | keys)), steps=4)


def test_devices():
    """Two for each level of a pair, for each copy of the table, on each core."""
    rng = random.Random(5)
    network = random_network(rng)
    model = SharedCost(network, shared(gangs="one", levels=16), steps=2)
    assert model.devices == 32
    assert SharedCost(network, shared(gangs="one", read="replicate", copies=8), steps=2).devices == 8 * 32
    assert model.index_memory_bits >= 4 * sum(layer.synapses for layer in network.layers)
