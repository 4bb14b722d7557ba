"""Decision units against counting by hand; events and values pass through unchanged."""

import random

import pytest
from amaranth.hdl import signed
from amaranth.sim import Simulator

from spikeloom.blocks.decision import DecisionUnit, ValueDecision
from spikeloom.cores.ports import ReadoutLayout
from spikeloom_sim.streams import held, stream_get, stream_put, watchdog


def decide_by_count(steps: list[list[int]], neurons: int, bits: int) -> tuple[int, int]:
    counts = [min((1 << bits) - 1, sum(n in step for step in steps)) for n in range(neurons)]
    best = max(counts)
    return counts.index(best), best


def decide_by_first(steps: list[list[int]], neurons: int, bits: int) -> tuple[int, int]:
    for number, step in enumerate(steps):
        if step:
            return min(step), min(number, (1 << bits) - 1)
    return 0, (1 << bits) - 1


def inputs_of(rng: random.Random, neurons: int, count: int, max_steps: int) -> list[list[list[int]]]:
    """Inputs of different lengths, each a list of steps, each the firing neurons in ascending order."""
    inputs = []
    for _ in range(count):
        rate = rng.choice([0, 0.1, 0.5, 1])
        steps = rng.randint(1, max_steps)
        inputs.append([[n for n in range(neurons) if rng.random() < rate] for _ in range(steps)])
    return inputs


def run_unit(dut, offered: list[dict], decisions: int, stall: tuple[int, int, int], rng) -> tuple[list, list]:
    """Play items through a unit; returns what passed, and the decisions, each with the number passed by then."""
    passed, decided = [], []

    async def producer(ctx):
        for item in offered:
            await stream_put(ctx, dut.i, item, pause=rng.randint(0, stall[0]))

    async def consumer(ctx):
        for _ in offered:
            passed.append(await stream_get(ctx, dut.o, pause=rng.randint(0, stall[1])))

    async def judge(ctx):
        for _ in range(decisions):
            answer = await stream_get(ctx, dut.decision, pause=rng.randint(0, stall[2]))
            decided.append((int(answer.index), int(answer.value), len(passed)))

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for bench in (producer, consumer, judge):
        sim.add_testbench(bench)
    sim.add_testbench(held(dut.o), background=True)
    sim.add_testbench(held(dut.decision), background=True)
    sim.add_testbench(watchdog(12_000), background=True)
    sim.run()
    return passed, decided


STALLS = [(0, 0, 0), (3, 0, 0), (0, 3, 0), (0, 0, 9), (2, 2, 4)]


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize(("neurons", "bits"), [(1, 3), (2, 2), (3, 4), (8, 2)])
@pytest.mark.parametrize("kind", ["count", "first"])
def test_events(kind, neurons, bits, stall):
    rng = random.Random(neurons)
    inputs = inputs_of(rng, neurons, 14, 7)  # longer than 2 bits can count
    offered, ends, expected = [], [], []
    for steps in inputs:
        for number, step in enumerate(steps):
            offered += [{"address": n, "tick": 0, "last": 0} for n in step]
            offered.append({"address": 0, "tick": 1, "last": int(number == len(steps) - 1)})
        ends.append(len(offered))
        expected.append((decide_by_count if kind == "count" else decide_by_first)(steps, neurons, bits))
    dut = DecisionUnit(neurons, kind=kind, value_bits=bits)
    passed, decided = run_unit(dut, offered, len(inputs), stall, rng)
    assert [{name: int(getattr(item, name)) for name in offered[0]} for item in passed] == offered
    assert [(index, value) for index, value, _ in decided] == expected
    assert all(before < end for (_, _, before), end in zip(decided, ends, strict=True)), (
        "before the last tick passes on"
    )
    if neurons > 1:
        assert len(set(expected)) > 2


def test_counts_do_not_depend_on_the_order_in_which_neurons_reach_them():
    cases = [
        [[1], [1], [0], [0]],  # the lower index comes level last
        [[0], [0], [1], [1]],  # and first
        [[2], [3], [3], [2]],
        [[3], [3], [3], [0], [0]],
    ]
    dut = DecisionUnit(4, kind="count", value_bits=4)
    offered = []
    for steps in cases:
        for number, step in enumerate(steps):
            offered += [{"address": n, "tick": 0, "last": 0} for n in step]
            offered.append({"address": 0, "tick": 1, "last": int(number == len(steps) - 1)})
    _, decided = run_unit(dut, offered, len(cases), (0, 0, 0), random.Random(0))
    assert [(index, value) for index, value, _ in decided] == [(0, 2), (0, 2), (2, 2), (3, 3)]


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("neurons", [1, 2, 5])
@pytest.mark.parametrize("reports", [1, 3])
def test_values(neurons, reports, stall):
    """The arg-max of the last report of an input, whatever the reports before it said."""
    rng, bits = random.Random(neurons), 4
    offered, expected, ends = [], [], []
    for _ in range(15):
        for report in range(reports):
            extreme = rng.choice([None, -8, 7])
            values = [rng.randrange(-8, 8) if extreme is None else extreme for _ in range(neurons)]
            final = report == reports - 1
            offered += [{"index": n, "value": v, "last": int(final and n == neurons - 1)} for n, v in enumerate(values)]
        expected.append((values.index(max(values)), max(values)))
        ends.append(len(offered))
    dut = ValueDecision(ReadoutLayout(neurons, bits), neurons=neurons)
    passed, decided = run_unit(dut, offered, 15, stall, rng)
    assert [{name: int(getattr(item, name)) for name in offered[0]} for item in passed] == offered
    assert [(index, value) for index, value, _ in decided] == expected
    assert all(before <= end for (_, _, before), end in zip(decided, ends, strict=True)), "before the next input"
    assert dut.decision.payload.shape().members["value"] == signed(bits)
