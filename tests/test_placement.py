"""Placement on engines: small problems against all placements and against HiGHS, faults, limits, passes, networks."""

import dataclasses
import itertools
import json
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, sparse

from spikeloom.errors import InputError, SpikeloomError, ToolMissing
from spikeloom.mapping.placement import (
    Placement,
    Problem,
    check,
    counting_bound,
    explain,
    lengths,
    measured_rates,
    place,
    problem_of,
)
from spikeloom.mapping.placement import ilp as program
from spikeloom.mapping.placement.counting import length_chances
from spikeloom.mapping.placement.greedy import constructed
from spikeloom.mapping.placement.mapper import _keep
from spikeloom.mapping.placement.state import State, reduced
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork
from spikeloom.network.reference import simulate


def problem(table: np.ndarray, **rest) -> Problem:
    """A problem from a dense table [sources, neurons] of numbers of weights + 1."""
    options = {"engines": 2, "slots": table.shape[1], "weight_depth": 1 << 20, "rows": 1 << 20, "passes": 1, **rest}
    options.setdefault("rates", np.ones(table.shape[0]))
    return Problem(name="layer", targets=sparse.csr_array(table.astype(np.int64)), **options)


def own_weights(pattern: np.ndarray) -> np.ndarray:
    """A table in which every synapse has a weight of its own."""
    return np.where(pattern, np.arange(1, pattern.size + 1).reshape(pattern.shape), 0)


def random_problem(neurons: int, sources: int, part: float, seed: int, **rest) -> Problem:
    rng = np.random.Generator(np.random.Philox(key=[seed, 17]))
    return problem(own_weights(rng.random((sources, neurons)) < part), **rest)


def every_placement(given: Problem) -> float | None:
    """Fewest expected rows in `passes` passes, from all placements and the definition; None where none fits."""
    table = given.targets.toarray()
    best = None
    for places in itertools.product(range(given.engines * given.passes), repeat=given.neurons):
        total, fits = 0.0, True
        for turn in range(given.passes):
            rows = 0
            each = [[n for n, p in enumerate(places) if p == turn * given.engines + j] for j in range(given.engines)]
            for e in range(given.sources):
                length = max(np.count_nonzero(table[e, members]) for members in each)
                rows, total = rows + length, total + length * given.rates[e]
            words = max(len(set(table[:, members].ravel().tolist()) - {0}) for members in each)
            fits &= rows <= given.rows and words <= given.weight_depth and max(map(len, each)) <= given.slots
        if fits and (best is None or total < best):
            best = total
    return best


def by_highs(given: Problem) -> float:
    """Fewest expected rows of one pass by SciPy's HiGHS: another solver, and a model of its own."""
    table, engines = given.targets.toarray() > 0, given.engines
    sources, neurons = table.shape
    size = neurons * engines + sources
    cost = np.zeros(size)
    cost[neurons * engines :] = given.rates
    rows, low, high = [], [], []
    for n in range(neurons):
        row = np.zeros(size)
        row[n * engines : (n + 1) * engines] = 1
        rows.append(row), low.append(1), high.append(1)
    for j in range(engines):
        row = np.zeros(size)
        row[j : neurons * engines : engines] = 1
        rows.append(row), low.append(0), high.append(given.slots)
        for e in range(sources):
            row = np.zeros(size)
            row[j : neurons * engines : engines] = table[e]
            row[neurons * engines + e] = -1
            rows.append(row), low.append(-np.inf), high.append(0)
    most = np.concatenate([np.ones(neurons * engines), np.full(sources, neurons)])
    answer = optimize.milp(
        cost,
        constraints=optimize.LinearConstraint(np.array(rows), np.array(low), np.array(high)),
        integrality=np.ones(size),
        bounds=optimize.Bounds(0, most),
    )
    assert answer.success
    return float(answer.fun)


@st.composite
def tiny(draw):
    neurons, sources = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    table = np.array(draw(st.lists(st.integers(0, 5), min_size=neurons * sources, max_size=neurons * sources)))
    engines, passes = draw(st.sampled_from([(1, 1), (2, 1), (3, 1), (2, 2)]))
    rates = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.75]), min_size=sources, max_size=sources))
    return problem(
        table.reshape(sources, neurons),
        engines=engines,
        passes=passes,
        slots=draw(st.integers(max(1, math.ceil(neurons / engines / passes)), neurons)),
        weight_depth=draw(st.integers(2, 12)),
        rows=draw(st.integers(2, 14)),
        rates=np.array(rates),
    )


@settings(max_examples=60)
@given(tiny())
def test_integer_program_finds_the_optimum(need_tool, given):
    need_tool("ortools")
    fewest, best = 0, None
    while best is None and fewest < given.passes:
        fewest += 1
        best = every_placement(dataclasses.replace(given, passes=fewest))
    if best is None:
        with pytest.raises(InputError, match="accepted"):
            place(given, seconds=5)
        return
    found = place(given, seconds=20)
    check(given, found)
    assert found.passes == found.fewest_passes == fewest
    assert found.expected_rows == pytest.approx(best)
    assert found.status == "optimal"
    assert found.bound <= best * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_integer_program_and_highs_agree(need_tool, seed):
    need_tool("ortools")
    rates = np.random.Generator(np.random.Philox(key=[seed, 18])).integers(1, 9, 6).astype(float)
    given = random_problem(11, 6, 0.6, seed, engines=3, slots=4, rates=rates)
    found = place(given, seconds=60)
    check(given, found)
    assert found.status == "optimal"
    assert found.expected_rows == pytest.approx(by_highs(given))


@pytest.mark.parametrize("passes", [1, 3])
def test_greedy_and_program_beat_round_robin(need_tool, passes):
    need_tool("ortools")
    given = random_problem(120, 60, 0.08, 3, engines=8, slots=15 if passes == 1 else 5, passes=passes)
    dealt, greedy, found = (place(given, method, seconds=4) for method in ("round_robin", "greedy", "ilp"))
    for placement in (dealt, greedy, found):
        check(given, placement)
        assert placement.passes == passes
        each = lengths(given, placement)
        assert each.shape == (passes, 60)
        assert placement.expected_rows == each.sum()
    assert found.expected_rows <= greedy.expected_rows < dealt.expected_rows
    assert found.bound >= (-(-given.fan_out // 8)).sum()


def test_neighbourhoods_improve(need_tool, monkeypatch):
    need_tool("ortools")
    given = random_problem(150, 100, 0.06, 6, engines=10, slots=15)
    calls, solve = [], program.solve

    def counted(state, free=None, **rest):
        calls.append(free)
        return solve(state, free, **rest)

    monkeypatch.setattr(program, "solve", counted)
    monkeypatch.setattr("spikeloom.mapping.placement.mapper.WHOLE_TERMS", 0)
    for other in ("anneal", "two_opt"):
        monkeypatch.setattr(f"spikeloom.mapping.placement.mapper.{other}", lambda *rest, **more: None)
    greedy, found = place(given, "greedy", seconds=4), place(given, seconds=4)
    check(given, found)
    assert calls
    assert all(free is not None for free in calls)
    assert found.expected_rows < greedy.expected_rows


def test_dense_layer_cannot_improve():
    given = problem(own_weights(np.ones((9, 40), bool)), engines=8, slots=5)
    dealt, greedy = place(given, "round_robin"), place(given, "greedy")
    assert dealt.expected_rows == greedy.expected_rows == greedy.bound == 9 * 5
    assert dealt.status == greedy.status == "optimal"


@pytest.mark.parametrize("method", ["greedy", "ilp"])
def test_same_seed_same_placement(need_tool, method):
    need_tool("ortools")
    given = random_problem(40, 30, 0.15, 7, engines=4, slots=10)
    first, again = (place(given, method, seconds=60, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.engine, again.engine)
    np.testing.assert_array_equal(first.turn, again.turn)
    assert first.expected_rows == again.expected_rows


def test_state_keeps_what_it_counts():
    """Rows, words and cost after many exchanges are those of a fresh count; predicted changes are what happens."""
    rng = np.random.Generator(np.random.Philox(key=[4, 4]))
    table = rng.integers(0, 9, (12, 30)) * (rng.random((12, 30)) < 0.5)
    merged = reduced(problem(table, engines=3, slots=6, passes=2, weight_depth=9, rows=40, rates=rng.random(12)))
    state = State(merged, 2, np.arange(30) % 6)
    refused = 0
    for _ in range(300):
        i, j = (int(b) for b in rng.choice(6, 2, replace=False))
        x, y = state.sample(i, rng), state.sample(j, rng)
        predicted = state.table(*state.row_changes(i, j), i, x, j, y)
        row, column = int(rng.integers(len(x))), int(rng.integers(len(y)))
        before = state.cost
        if state.swap(i, int(x[row]), j, int(y[column])):
            assert state.cost - before == pytest.approx(float(predicted[row, column]), abs=1e-4)
        else:
            assert state.cost == pytest.approx(before)
            refused += 1
        fresh = State(merged, 2, state.bin)
        assert fresh.cost == pytest.approx(state.cost)
        np.testing.assert_array_equal(fresh.rows, state.rows)
        assert [fresh.distinct(b) for b in range(6)] == [state.distinct(b) for b in range(6)]
        assert [sorted(m) for m in fresh.members] == [sorted(m) for m in state.members]
    assert 0 < refused < 300


FAULTS = {
    "engine 5 is not one of 4": lambda p: {"engine": np.where(np.arange(24) == 3, 5, p.engine)},
    "turn 2 is not one of 2": lambda p: {"turn": np.where(np.arange(24) == 3, 2, p.turn)},
    "there are 24 neurons": lambda p: {"engine": p.engine[:-1]},
    "slots: engine 0 holds 24 neurons": lambda p: {"engine": np.zeros_like(p.engine), "turn": np.zeros_like(p.turn)},
    "weight_depth: engine": lambda p: {"turn": np.zeros_like(p.turn)},
    "expected_rows: ": lambda p: {"expected_rows": p.expected_rows - 1},
    "bound: ": lambda p: {"bound": p.expected_rows + 1},
}


@pytest.mark.parametrize("text", FAULTS)
def test_checker_catches(text):
    given = random_problem(24, 20, 0.3, 11, engines=4, slots=23, passes=2, weight_depth=25)
    placement = place(given, "greedy", seconds=2)
    check(given, placement)
    with pytest.raises(SpikeloomError, match=text):
        check(given, dataclasses.replace(placement, **FAULTS[text](placement)))


def test_checker_catches_too_many_rows():
    given = random_problem(24, 20, 0.3, 11, engines=4, slots=6)
    placement = place(given, "greedy", seconds=2)
    need = int(lengths(given, placement).sum())
    check(dataclasses.replace(given, rows=need), placement)
    with pytest.raises(SpikeloomError, match=f"rows: pass 0 needs {need} rows"):
        check(dataclasses.replace(given, rows=need - 1), placement)


REFUSED = [
    (
        {"slots": 2},
        "slots = 2, passes = 1: 24 neurons share 4 engines; accepted are at least 3 passes, or slots of at least 6",
    ),
    ({"weight_depth": 3}, "weight_depth = 3: neuron .* alone has .* different weights; accepted is at least"),
    (
        {"weight_depth": 20},
        "weight_depth = 20, .*: all 140 different weights share .*at least 2 passes, or weight_depth of at least 35",
    ),
    ({"rows": 3}, "rows = 3: neuron .* alone has .* sources"),
    (
        {"rows": 20},
        "rows = 20, .*: the events of all sources need at least 40 rows of .*at least 2 passes, or rows of at least 40",
    ),
    ({"weight_depth": 35}, "weight_depth = 35 binds; accepted are weight_depth = .. .a placement was found."),
    ({"rows": 41}, "rows = 41 binds; accepted are rows = .. .a placement was found."),
]


@pytest.mark.parametrize(("limits", "text"), REFUSED, ids=[str(limits) for limits, _ in REFUSED])
def test_refuses_what_does_not_fit(limits, text):
    with pytest.raises(InputError, match=text):
        place(random_problem(24, 20, 0.3, 11, **{"engines": 4, "slots": 6, **limits}), "greedy", seconds=2)


def test_refuses_wrong_values():
    table = own_weights(np.ones((3, 4), bool))
    for rest, text in (
        ({"engines": 0}, "engines = 0: accepted is an integer of at least 1"),
        ({"rates": np.ones(2)}, "rates of shape .2,.: accepted are 3"),
        ({"rates": np.array([1, -1, np.nan])}, "rates"),
        ({"shape": (1, 2, 3)}, "shape .1, 2, 3.: accepted is one of 4 neurons"),
    ):
        with pytest.raises(InputError, match=text):
            problem(table, **rest)
    with pytest.raises(InputError, match="method 'best': accepted are ilp, greedy, round_robin"):
        place(problem(table), "best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="seconds = -1"):
        place(problem(table), "greedy", seconds=-1)


def test_round_robin_says_what_it_lacks():
    with pytest.raises(
        InputError, match=r"round_robin needs 58 rows and .*; accepted are larger memories or the methods"
    ):
        place(random_problem(24, 20, 0.3, 11, engines=4, slots=6, rows=57), "round_robin")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ortools", None)
    with pytest.raises(ToolMissing, match=r"ortools.*spikeloom\[map\]"):
        place(random_problem(24, 20, 0.3, 11, engines=4, slots=6))


def test_convolution_shares_weights():
    """Synapses of a kernel position share a word; a weight of 0 is no synapse; a source is pooled with its window."""
    kernel = np.arange(1, 9).reshape(2, 1, 2, 2)
    kernel[1, 0, 1, 1] = 0
    conv = Connection(weights=kernel, source_shape=(1, 6, 6), pool=(2, 2))
    dense = Connection(weights=np.array([[3, 0, 3]] * 8), source="other")
    layer = IntegerLayer(name="both", connections=(conv, dense), weight_bits=8, potential_bits=12, threshold=9)
    given = problem_of(layer, engines=2, slots=4, weight_depth=99, rows=99)
    assert (given.sources, given.neurons, given.shape) == (36 + 3, 8, (2, 2, 2))
    assert given.targets.nnz == np.count_nonzero(conv.matrix.toarray()) + 16
    table = given.targets.toarray()
    assert len(np.unique(table[:36])) - 1 == 7  # the kernel without its zero
    for number in np.unique(table[:36]):
        if number:
            values = conv.matrix.toarray().T[table[:36] == number]
            assert len(values) == 4 * 4  # 4 positions of the kernel, 4 pixels of a pool window
            assert (values == values[0]).all()
    assert (np.bincount(table[36:].ravel())[1:] <= 1).all()
    assert not table[37].any()
    assert not set(table[:36].ravel().tolist()) & set(table[36:].ravel().tolist()) - {0}
    merged = reduced(given)
    assert merged.count.tolist() == [4] * 9 + [2]  # pixels of a window, and the two dense sources
    assert merged.bound == given.rates @ -(-given.fan_out // 2)


def test_regular_pattern_of_a_convolution_meets_the_bound():
    layer = IntegerLayer(
        name="conv",
        connections=(Connection(weights=np.ones((4, 1, 3, 3), np.int64), source_shape=(1, 16, 16), padding=(1, 1)),),
        weight_bits=4,
        potential_bits=8,
        threshold=9,
    )
    given = problem_of(layer, engines=16, slots=64, weight_depth=99, rows=9999)
    placement = place(given, "greedy", seconds=5)
    check(given, placement)
    assert placement.status == "optimal"
    assert placement.expected_rows < 0.6 * place(given, "round_robin").expected_rows


def test_measured_rates_are_events_per_input():
    rng = np.random.Generator(np.random.Philox(key=[1, 1]))
    layers = [
        IntegerLayer.dense(
            name=f"fc{n}", weights=rng.integers(-3, 8, shape), weight_bits=4, potential_bits=8, threshold=20
        )
        for n, shape in enumerate([(9, 12), (4, 9)])
    ]
    network = IntegerNetwork(name="net", layers=tuple(layers))
    spikes = (rng.random((5, 20, 12)) < 0.4).astype(np.uint8)
    first, second = measured_rates(network, spikes)
    np.testing.assert_allclose(first, spikes.sum(axis=(0, 1)) / 5)
    np.testing.assert_allclose(second, simulate(network, spikes).spikes[0].sum(axis=(0, 1)) / 5)
    assert second.any()


def test_rates_decide_what_is_balanced():
    """Where a frequent and a rare source cannot both be balanced, the frequent one is."""
    table = own_weights(np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0]], bool))  # a triangle: one pair must share
    for rare in range(3):
        rates = np.where(np.arange(3) == rare, 1.0, 10.0)
        placement = place(problem(table, rates=rates), "greedy", seconds=2)
        assert placement.expected_rows == 20 + 2
        assert lengths(problem(table), placement)[0, rare] == 2


def test_unplaced_neurons_are_named_by_construction():
    merged = reduced(random_problem(24, 20, 0.3, 11, engines=4, slots=6, rows=41))
    state = constructed(merged, 1)
    assert (state.bin < 0).any()
    assert state.rows.max() <= 41


def test_gap():
    placement = Placement(
        engine=np.zeros(1, np.int64), turn=np.zeros(1, np.int64), method="greedy", status="feasible",
        expected_rows=10.0, bound=9.0, bound_from="engines", fewest_passes=1,
    )  # fmt: skip
    assert placement.gap == pytest.approx(0.1)


def test_explains_itself():
    given = random_problem(24, 20, 0.3, 11, engines=4, slots=4, passes=2, weight_depth=40, rows=60)
    placement = place(given, "greedy", seconds=2)
    shown = explain(given, placement)
    each = lengths(given, placement)
    assert np.sum(shown["neurons"]) == 24
    assert np.sum(shown["words"]) == given.targets.nnz  # every synapse has a weight of its own
    assert np.sum(shown["served"]) == pytest.approx(given.useful)
    assert shown["rows"] == each.sum(axis=1).tolist()
    assert sum(shown["where"].values()) == pytest.approx(placement.expected_rows)
    assert min(shown["where"].values()) >= 0
    assert shown["used"]["slots"] == np.max(shown["neurons"]) / 4
    assert shown["useful"] == pytest.approx(given.useful / 4 / placement.expected_rows)
    assert "2 passes: slots = 4 asks for 2 of them; one pass needs slots of at least 6" in shown["text"]
    json.dumps(shown)


@pytest.mark.parametrize(("targets", "neurons", "engines"), [(3, 6, 3), (4, 7, 2), (1, 5, 5), (5, 8, 4), (2, 2, 2)])
def test_chances_of_a_length(targets, neurons, engines):
    """Against all subsets of the neurons."""
    load = np.arange(neurons) % engines
    longest = [max(np.bincount(load[list(chosen)])) for chosen in itertools.combinations(range(neurons), targets)]
    expected = np.bincount(longest) / len(longest)
    np.testing.assert_allclose(length_chances(targets, neurons, engines), expected, atol=1e-12)


def test_counting_bound_is_below_what_random_networks_need():
    """No random network of some is placed with fewer rows; the bound is above the proven one where that is loose."""
    for seed in range(3):
        given = random_problem(8, 12, 0.5, 30 + seed, engines=2, slots=4)
        assert counting_bound(given, delta=0.01) <= every_placement(given)
    given = random_problem(128, 300, 0.2, 1, engines=16, slots=8)
    bound = counting_bound(given)
    assert (-(-given.fan_out // 16)).sum() < bound <= place(given, "greedy", seconds=2).expected_rows


def test_rows_bind_the_program(need_tool):
    """One of three pairs must share an engine: cheapest is that of the three rare sources, which takes most rows."""
    need_tool("ortools")
    table = own_weights(np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1], [0, 1, 1], [0, 1, 1]], bool))
    free = problem(table, rates=np.array([9.0, 9.0, 1.0, 1.0, 1.0]))
    tight = dataclasses.replace(free, rows=7)
    cheapest, found = place(free, seconds=10), place(tight, seconds=10)
    check(tight, found)
    assert cheapest.expected_rows == every_placement(free) == 21 + 3
    assert found.expected_rows == every_placement(tight) == 21 + 9
    assert found.status == "optimal"
    solved = program.solve(State(reduced(tight), 1, np.array([0, 1, 1])), seconds=5, workers=1, seed=0)  # 8 rows
    assert solved.bound == pytest.approx(30)


def test_a_further_pass_is_proven_to_be_needed(need_tool):
    """Three neurons of two weights each fill six words; two engines of three words hold only one neuron each."""
    need_tool("ortools")
    given = problem(own_weights(np.ones((2, 3), bool)), slots=3, weight_depth=3, passes=2)
    found = place(given, seconds=10)
    check(given, found)
    assert (found.passes, found.fewest_passes, found.status) == (2, 2, "optimal")
    with pytest.raises(InputError, match="2 of 3 neurons found a place in 1 pass, and it is proven that not all can"):
        place(dataclasses.replace(given, passes=1), seconds=10)


def test_a_worse_answer_is_not_kept():
    state = State(reduced(problem(own_weights(np.ones((1, 4), bool)))), 1, np.array([0, 1, 0, 1]))
    assert not _keep(state, np.array([0, 0, 0, 1]))
    assert state.bin.tolist() == [0, 1, 0, 1]
    assert _keep(state, np.array([1, 0, 0, 1]))
    assert state.bin.tolist() == [1, 0, 0, 1]
