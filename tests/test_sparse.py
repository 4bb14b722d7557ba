"""Pruned layers: the reference's answers from stored non-zero weights only; rows, bits and what is refused."""

import itertools
import random

import numpy as np
import pytest

from core_bench import check_cycles, check_memories, run_core
from networks import RESETS, network_of, random_spec
from spikeloom.config import DigitalConfig
from spikeloom.errors import InputError
from spikeloom.mapping.cost import CostModel
from spikeloom.mapping.image import image_words
from spikeloom.mapping.plan import LayerPlan, plan_core
from spikeloom.mapping.sparse import SparsePlan
from spikeloom.network.reference import simulate
from test_digital import LEAKS, pairwise, play, random_spikes, unknown_memories  # noqa: F401

CASES = pairwise(
    {
        "lanes": [1, 2, 3, 5],
        "sizes": [[9, 7, 6], [5, 11], [12, 23, 10, 6]],
        "density": [0.0, 0.1, 0.4, 1.0],
        "weights": ["fixed", "loaded"],
        "parameters": ["fixed", "loaded"],
        "leak": ["none", "linear", "shift", "shift2", "multiply"],
        "reset": list(RESETS),
        "bias": [False, True],
        "readout": [False, True],
        "state": ["clear", "keep"],
        "stall": [0, 3],
    }
)


def pruned(rng: random.Random, sizes: list[int], density: float, *, state="clear", readout=False, **options):
    """A network in which a part `density` of the weights is left."""
    specs = []
    for n, (fan_in, neurons) in enumerate(itertools.pairwise(sizes)):
        spec = random_spec(rng, fan_in=fan_in, neurons=neurons, readout=readout and n == len(sizes) - 2, **options)
        spec["weights"] = [[w if rng.random() < density else 0 for w in row] for row in spec["weights"]]
        specs.append(spec)
    return network_of(specs, state)


@pytest.mark.parametrize("part", range(4))
def test_equals_the_reference(part):
    """Every spike, decision, read-out and potential: lists of any length, empty sources, one lane and several."""
    fired = 0
    for number, case in list(enumerate(CASES))[part::4]:
        rng = random.Random(number)
        network = pruned(
            rng, case["sizes"], case["density"], leak=LEAKS[case["leak"]], reset=case["reset"], bias=case["bias"],
            readout=case["readout"], theta=7,
            state=case["state"] if case["parameters"] == "fixed" else "clear",  # loading parameters clears
        )  # fmt: skip
        core = DigitalConfig(
            sparse="on", lanes=case["lanes"], weights=case["weights"], parameters=case["parameters"], probe=True,
            readout="tick" if number % 2 else "last",
        )  # fmt: skip
        assert any(isinstance(entry, SparsePlan) for entry in plan_core(network, core, steps=6).layers)
        spikes = random_spikes(rng, 2, 6, case["sizes"][0])
        trace = play(network, core, spikes, stall=case["stall"], seed=number)
        fired += sum(int(each.sum()) for each in trace.spikes)
    assert fired > 100


def test_rows_by_hand():
    """Three neurons on two lanes; a lane's list is padded with weight 0, a source without weights has no row."""
    spec = random_spec(random.Random(1), fan_in=3, neurons=3)
    spec["weights"] = [[3, 0, 1], [0, 0, -2], [5, 0, 7]]  # neurons 0 and 2 in lane 0
    plan = plan_core(network_of([spec]), DigitalConfig(lanes=2, sparse="on"), steps=1).layers[0]
    assert isinstance(plan, SparsePlan)
    assert plan.row_counts.tolist() == [2, 0, 2]
    entry = plan.entry_bits
    assert entry == 4 + 1
    assert plan.weight_rows() == [3, 5 | 1 << 4, 1 | (-2 & 15) << entry, 7 | 1 << 4]
    assert plan.index_rows() == [0 | 2 << 2, 0, 2 | 2 << 2]


def test_another_network_is_loaded_where_it_fits():
    """A loaded sparse core takes other weights, as many as its rows hold."""
    rng = random.Random(3)
    networks = [pruned(rng, [8, 12], 0.5) for _ in range(3)]
    networks.sort(key=lambda each: -_rows(each))
    core = DigitalConfig(lanes=2, sparse="on", weights="loaded", probe=True)
    play(networks, core, random_spikes(rng, 3, 5, 8))
    plan = plan_core(networks[-1], core, steps=5)
    with pytest.raises(InputError, match=r"layer 'fc1': \d+ rows of non-zero weights do not fit .* up to \d+"):
        image_words(plan, pruned(rng, [8, 12], 1.0))


def _rows(network) -> int:
    entry = plan_core(network, DigitalConfig(lanes=2, sparse="on"), steps=1).layers[0]
    return entry.weight_depth


def test_auto_looks_at_the_weights():
    """Sparse where few weights are left, dense where that costs bits or cycles, or the weights come later."""
    rng = random.Random(5)
    few, many = (pruned(rng, [40, 64], density) for density in (0.08, 0.9))
    for network, weights, kind in ((few, "fixed", SparsePlan), (many, "fixed", LayerPlan), (few, "loaded", LayerPlan)):
        core = DigitalConfig(lanes=4, weights=weights)
        assert type(plan_core(network, core, steps=1).layers[0]) is kind
        assert type(plan_core(network, DigitalConfig(lanes=4, sparse="off"), steps=1).layers[0]) is LayerPlan


def test_nothing_to_be_sparse_is_refused():
    with pytest.raises(InputError, match=r"core.sparse: 'on' was given, but no layer .* accepted here are auto, off"):
        plan_core(pruned(random.Random(1), [4, 3], 0.5), DigitalConfig(sparse="on"), steps=1)
    with pytest.raises(InputError, match=r"core.sparse: 'on' was given with schedule = .folded.; accepted are auto"):
        plan_core(
            pruned(random.Random(1), [4, 3], 0.5), DigitalConfig(sparse="on", schedule="folded", lanes=2), steps=1
        )


@pytest.mark.parametrize("lanes", [1, 3, 8])
@pytest.mark.parametrize("density", [0.02, 0.2])
def test_cost_model_is_exact(lanes, density):
    """Cycles of each input, isolated and back to back, memories, and the weights that were of use."""
    rng = random.Random(lanes)
    network = pruned(rng, [30, 26, 5], density, theta=9, leak=("shift", 3), bias=lanes == 3)
    core = DigitalConfig(lanes=[lanes, 2], sparse="on")
    plan, model = plan_core(network, core, steps=7), CostModel(network, core, steps=7)
    spikes = random_spikes(rng, 3, 7, 30, 0.3)
    trace = simulate(network, spikes)
    reports = check_cycles(plan, model, spikes, trace, rest=120)
    check_memories(plan, model)
    layer = reports[0].layers[0]
    assert layer.weight_rows == int((spikes[0].sum(axis=0) * plan.layers[0].row_counts).sum())
    assert layer.useful_lane_slots == layer.sops <= layer.lane_slots == lanes * layer.weight_rows


def test_rows_are_cycles():
    """A step takes the rows of its spikes, not a sweep per spike."""
    rng = random.Random(9)
    network = pruned(rng, [60, 64], 0.1, theta=31)
    core = DigitalConfig(lanes=4, sparse="on")
    plan = plan_core(network, core, steps=4)
    spikes = np.zeros((1, 4, 60), np.uint8)
    spikes[:, :, ::2] = 1
    run = run_core(plan, spikes, rest=50)
    rows = int((spikes.sum(axis=(0, 1)) * plan.layers[0].row_counts).sum())
    cycles = run.last_out[0] - run.first_in[0] + 1
    assert rows < 0.35 * spikes.sum() * plan.layers[0].groups
    assert rows <= cycles <= rows + plan.layers[0].groups + 150
