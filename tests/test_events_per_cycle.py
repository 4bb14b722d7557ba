"""Two and four spikes per cycle: the same answers as with one, in fewer cycles; words, drops, what is refused."""

import itertools
import random

import numpy as np
import pytest
from amaranth.sim import Simulator

from core_bench import check_cycles, check_memories, words_of
from networks import RESETS, network_of, random_spec
from spikeloom.config import DigitalConfig
from spikeloom.cores.accelerator import Accelerator
from spikeloom.errors import InputError
from spikeloom.items import AddressMap, EventSlots, decode_events, encode_events
from spikeloom.mapping.cost import CostModel
from spikeloom.mapping.plan import plan_core
from spikeloom.network.reference import simulate
from spikeloom_sim.streams import stream_put, watchdog
from test_digital import LEAKS, pairwise, play, random_spikes, unknown_memories  # noqa: F401

CASES = pairwise(
    {
        "events": [(2, 1), (2, 2), (4, 1), (4, 2)],
        "sizes": [[9, 5, 6, 3], [4, 4], [13, 17, 4], [6, 8, 5]],
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


def small_network(rng: random.Random, sizes: list[int], **options):
    readout = options.pop("readout", False)
    state = options.pop("state", "clear")
    specs = [
        random_spec(rng, fan_in=a, neurons=b, readout=readout and n == len(sizes) - 2, **options)
        for n, (a, b) in enumerate(itertools.pairwise(sizes))
    ]
    return network_of(specs, state)


@pytest.mark.parametrize("part", range(4))
def test_equals_the_reference(part):
    """Every spike, decision, read-out and potential, whatever the banks, resets, leaks, sizes and stalls."""
    fired = 0
    for number, case in list(enumerate(CASES))[part::4]:
        rng = random.Random(number)
        events, ports = case["events"]
        network = small_network(
            rng, case["sizes"], leak=LEAKS[case["leak"]], reset=case["reset"], bias=case["bias"],
            readout=case["readout"],
            state=case["state"] if case["parameters"] == "fixed" else "clear",  # loading parameters clears
        )  # fmt: skip
        core = DigitalConfig(
            events_per_cycle=events, weight_ports=ports, weights=case["weights"], parameters=case["parameters"],
            probe=True, readout="tick" if number % 2 else "last",
        )  # fmt: skip
        spikes = random_spikes(rng, 2, 6, case["sizes"][0])
        trace = play(network, core, spikes, stall=case["stall"], seed=number)
        fired += sum(int(each.sum()) for each in trace.spikes)
    assert fired > 100


@pytest.mark.parametrize(("events", "ports"), [(2, 1), (2, 2), (4, 1), (4, 2)])
def test_counts_and_extremes(events, ports):
    """Sources that spike several times in a step, weights at their limits: the adder tree cannot overflow."""
    rng = random.Random(events)
    specs = [
        random_spec(rng, fan_in=7, neurons=5, weight_bits=3, potential_bits=9, theta=40) | {"max_count": 3},
        random_spec(rng, fan_in=5, neurons=3),
    ]
    for sign in (-4, 3):
        specs[0]["weights"][0] = [sign] * 7
        network = network_of(specs)
        spikes = np.array(
            [[[rng.choice([0, 1, 3, 3]) for _ in range(7)] for _ in range(8)] for _ in range(2)], np.uint8
        )
        play(network, DigitalConfig(events_per_cycle=events, weight_ports=ports, probe=True), spikes, stall=1)


@pytest.mark.parametrize(("events", "ports"), [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2)])
@pytest.mark.parametrize("readout", [False, True])
def test_cost_model_is_exact(events, ports, readout):
    """Cycles of each input, isolated and back to back, as the gateware takes them."""
    rng = random.Random(events * 10 + ports)
    network = small_network(
        rng, [23, 19, 11, 4], leak=("shift", 3), readout=readout, bias=readout, weight_bits=4, potential_bits=8, theta=9
    )
    core = DigitalConfig(events_per_cycle=events, weight_ports=ports, readout="tick" if events == 4 else "last")
    spikes = random_spikes(rng, 4, 9, 23, 0.4)
    plan = plan_core(network, core, steps=9)
    model = CostModel(network, core, steps=9)
    trace = simulate(network, spikes)
    check_cycles(plan, model, spikes, trace, rest=100)
    check_memories(plan, model)


@pytest.mark.parametrize(("events", "ports"), [(1, 1), (2, 1), (2, 2), (4, 1), (4, 2)])
@pytest.mark.parametrize("inputs", [4, 5, 16, 37, 200])
def test_words_go_there_and_back(events, ports, inputs):
    """What is packed comes back, in as many words as the fullest bank needs."""
    rng = np.random.default_rng(inputs)
    spikes = (rng.random((3, 5, inputs)) < 0.4).astype(np.uint8) * rng.integers(1, 3, (3, 5, inputs), dtype=np.uint8)
    slots, addressing = EventSlots(inputs, events, ports), AddressMap((inputs,))
    words, counts = encode_events(spikes, addressing, slots=slots)
    assert int(words.max()) >> slots.bits == 0
    assert np.array_equal(decode_events(words, batch=3, steps=5, addressing=addressing, slots=slots), spikes)
    banks = events // ports
    for b in range(3):
        needed = [max(-(-int(step[bank::banks].sum()) // ports) for bank in range(banks)) for step in spikes[b]]
        assert counts[b] == sum(needed) + 5


def test_a_word_by_hand():
    """Neurons 0, 1, 2, 5 of 6 in two banks: rows 0 and 0, then 1 and 2."""
    words, counts = encode_events(np.array([[[1, 1, 1, 0, 0, 1]]], np.uint8), slots=EventSlots(6, 2))
    assert words.tolist() == [0b00_11_00_00, 0b00_11_10_01, 0b11_00_00_00]
    assert counts.tolist() == [3]
    words, _ = encode_events(np.array([[[1, 1, 1, 0, 0, 1]]], np.uint8), slots=EventSlots(6, 2, 2))
    assert words.tolist() == [0b00_11_001_000, 0b00_11_101_010, 0b11_00_000_000]


@pytest.mark.parametrize(("events", "ports"), [(2, 1), (4, 2)])
def test_wrong_spikes_are_dropped_and_counted(events, ports):
    """Slots beyond the inputs, and spikes beside a tick, change nothing and are counted up to 255."""
    rng = random.Random(4)
    network = small_network(rng, [5, 4, 3])
    plan = plan_core(network, DigitalConfig(events_per_cycle=events, weight_ports=ports, probe=False), steps=1)
    slots = plan.input_slots
    dut = Accelerator(plan)
    outside = (1 << slots.row_bits) - 1
    wrong = {"rows": [outside] * events, "valid": (1 << events) - 1, "tick": 0, "last": 0}
    beside = {"rows": [0] * events, "valid": (1 << events) - 1, "tick": 1, "last": 1}
    sim, seen = Simulator(dut), []
    sim.add_clock(1e-6)

    async def bench(ctx):
        ctx.set(dut.events_out.ready, 1)
        ctx.set(dut.decision.ready, 1)
        await stream_put(ctx, dut.events_in, wrong)
        seen.append(ctx.get(dut.dropped))
        await stream_put(ctx, dut.events_in, beside)
        seen.append(ctx.get(dut.dropped))
        for _ in range(300):
            await stream_put(ctx, dut.events_in, wrong)
        seen.append(ctx.get(dut.dropped))

    sim.add_testbench(bench)
    sim.add_testbench(watchdog(5000), background=True)
    sim.run()
    assert seen == [events, 2 * events, 255]


@pytest.mark.parametrize(
    ("core", "message"),
    [
        (
            {"events_per_cycle": 2, "lanes": 2},
            r"core.events_per_cycle: 2 was given with 2 lanes .*'fc1'; accepted is 1",
        ),
        (
            {"events_per_cycle": 2, "schedule": "folded", "lanes": 2},
            r"core.events_per_cycle: 2 .* schedule = .folded.; accepted",
        ),
        ({"weight_ports": 2}, r"core.weight_ports: 2 was given with events_per_cycle = 1; accepted is 1, or 2 with"),
        ({"events_per_cycle": 4}, r"core.events_per_cycle: 4 was given, but layer 'fc2' has 3 inputs; accepted"),
    ],
)
def test_what_is_refused(core, message):
    network = small_network(random.Random(1), [6, 3, 4])
    with pytest.raises(InputError, match=message):
        plan_core(network, DigitalConfig(**core), steps=4)


def test_bench_packs_differently_from_the_encoder():
    """The bench fills words in arrival order; both packings take the same number of words."""
    items = [{"address": a, "tick": 0, "last": 0} for a in (5, 1, 3, 0)] + [{"address": 0, "tick": 1, "last": 1}]
    words = words_of(items, EventSlots(6, 2))
    assert [word["valid"] for word in words] == [3, 2, 2, 0]
