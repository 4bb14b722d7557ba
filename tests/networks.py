"""Networks for tests: hypothesis strategies of plain dicts as the oracle takes them, and their integer networks."""

import itertools
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import strategies as st

from spikeloom.network.integer import Adaptation, IntegerLayer, IntegerNetwork, Leak

RESETS = ("zero", "subtract", "delayed_zero", "delayed_subtract", "none")
LEAKS = (("none",), ("linear", 3), ("shift", 2), ("shift", 1, 3), ("multiply", 11, 4))


def seeds(count: int) -> list:
    """Seeds of a test; all but the first few are marked slow."""
    return [seed if seed < 4 else pytest.param(seed, marks=pytest.mark.slow) for seed in range(count)]


def leak_of(numbers) -> Leak:
    """The Leak of an oracle's leak tuple."""
    kind, *rest = numbers
    return {
        "none": lambda: Leak(),
        "linear": lambda: Leak(kind="linear", amount=rest[0]),
        "shift": lambda: Leak(kind="shift", shifts=tuple(rest)),
        "multiply": lambda: Leak(kind="multiply", factor=rest[0], fraction_bits=rest[1]),
    }[kind]()


def layer_of(spec: dict, name: str) -> IntegerLayer:
    """The IntegerLayer of an oracle's layer."""
    return IntegerLayer.dense(
        name=name,
        weights=np.array(spec["weights"]),
        weight_bits=spec["weight_bits"],
        potential_bits=spec["potential_bits"],
        bias=np.array(spec["bias"]),
        leak=leak_of(spec["leak"]),
        reset=spec["reset"],
        threshold=spec["theta"],
        reset_amount=spec["r"] if spec["theta"] is not None and spec["reset"].endswith("subtract") else None,
        max_count=spec.get("max_count", 1),
        refractory=spec.get("refractory", 0),
        **_further(spec),
    )


def _further(spec: dict) -> dict:
    """Options of a layer with a synaptic current or an adaptive threshold."""
    options = {}
    if "current" in spec:
        bits, leak, takes_bias = spec["current"]
        options |= {"current_bits": bits, "current_leak": leak_of(leak), "bias_in_current": takes_bias}
    if "adaptation" in spec:
        bits, leak, increment = spec["adaptation"]
        options["adaptation"] = Adaptation(bits=bits, leak=leak_of(leak), increment=increment)
    return options


def network_of(specs: list[dict], state: str = "clear", name: str = "net") -> IntegerNetwork:
    """The IntegerNetwork of a list of oracle's layers, named fc1, fc2, ..."""
    layers = tuple(layer_of(spec, f"fc{n}") for n, spec in enumerate(specs, 1))
    return IntegerNetwork(name=name, layers=layers, state=state)  # type: ignore[arg-type]


def edges(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers that like the ends of their range."""
    return st.one_of(st.sampled_from(sorted({low, high, max(low, min(0, high))})), st.integers(low, high))


@st.composite
def leaks(draw, potential_bits: int) -> tuple:
    kind = draw(st.sampled_from(["none", "linear", "shift", "shift2", "multiply"]))
    if kind == "linear":
        return ("linear", draw(edges(1, 1 << potential_bits)))  # also larger than any potential
    if kind.startswith("shift"):
        return ("shift", *(draw(edges(1, potential_bits + 2)) for _ in range(1 + (kind == "shift2"))))
    if kind == "multiply":
        bits = draw(edges(1, min(24, 62 - potential_bits)))
        return ("multiply", draw(edges(0, 1 << bits)), bits)
    return ("none",)


@st.composite
def layer_specs(draw, *, fan_in: int, neurons: int, last: bool, max_count: int = 1) -> dict:
    """A layer with its potentials driven to their limits: sums reach a little further than the stored width."""
    bits = draw(st.sampled_from([2, 3, 4, 5, 6, 8, 15, 16, 17, 24, 31, 32, 33, 48]))
    weight_bits = draw(st.integers(1, min(32, bits + 1)))
    weight = edges(-(1 << weight_bits - 1), (1 << weight_bits - 1) - 1)
    row = st.lists(weight, min_size=fan_in, max_size=fan_in)
    v_max = (1 << bits - 1) - 1
    readout = last and draw(st.booleans())
    return {
        "weights": draw(st.lists(row, min_size=neurons, max_size=neurons)),
        "bias": draw(
            st.one_of(
                st.just([0] * neurons), st.lists(edges(-v_max - 2, v_max + 1), min_size=neurons, max_size=neurons)
            )
        ),
        "weight_bits": weight_bits,
        "potential_bits": bits,
        "leak": draw(leaks(bits)),
        "reset": "none" if readout else draw(st.sampled_from(RESETS)),
        "theta": None if readout else draw(edges(1, v_max)),
        "r": None if readout else draw(edges(1, v_max)),
        "max_count": max_count,
    }


@st.composite
def kinds(draw, spec: dict) -> dict:
    """The layer with a synaptic current, a refractory period and an adaptive threshold, or some of them."""
    spec = dict(spec)
    if draw(st.booleans()):
        bits = draw(st.sampled_from([2, 3, 6, 14, 15, 24, 32]))
        spec["current"] = (bits, draw(leaks(bits)), draw(st.booleans()))
    if spec["theta"] is not None and draw(st.booleans()):
        spec["refractory"] = draw(st.integers(1, 3))
    if spec["theta"] is not None and not spec["reset"].startswith("delayed") and draw(st.booleans()):
        bits = draw(st.sampled_from([1, 3, 8, 24]))
        spec["adaptation"] = (bits, draw(leaks(bits)), draw(edges(1, (1 << bits) - 1)))
    return spec


@st.composite
def network_specs(draw, *, max_layers: int = 3, max_width: int = 4, counts: bool = True) -> list[dict]:
    depth = draw(st.integers(1, max_layers))
    widths = draw(st.lists(st.integers(1, max_width), min_size=depth + 1, max_size=depth + 1))
    return [
        draw(
            layer_specs(
                fan_in=widths[n],
                neurons=widths[n + 1],
                last=n == depth - 1,
                max_count=draw(st.sampled_from([1, 1, 3])) if counts and n == 0 else 1,
            )
        )
        for n in range(depth)
    ]


@st.composite
def stimuli(draw, sources: int, max_count: int = 1, *, max_inputs: int = 3, max_steps: int = 6) -> list:
    """Spike counts [input][step][source] as nested lists: silence, everything at once, and what lies between."""
    inputs, steps = draw(st.integers(1, max_inputs)), draw(st.integers(1, max_steps))
    count = st.sampled_from([0, max_count]) | st.integers(0, max_count)
    step = st.lists(count, min_size=sources, max_size=sources)
    one = st.lists(step, min_size=steps, max_size=steps)
    return draw(st.lists(one, min_size=inputs, max_size=inputs))


def random_spec(
    rng: random.Random,
    *,
    fan_in: int,
    neurons: int,
    leak: tuple = ("none",),
    reset: str = "zero",
    readout: bool = False,
    bias: bool = False,
    weight_bits: int = 4,
    potential_bits: int = 6,
    theta: int | None = None,
    r: int | None = None,
) -> dict:
    """A layer with random numbers that fires now and then and whose potentials reach both of their limits."""
    half, v_max = 1 << weight_bits - 1, (1 << potential_bits - 1) - 1
    theta = theta or max(1, v_max // 2)

    def weight() -> int:  # of the whole range, more often above 0, or deep layers would be silent
        return min(half - 1, math.floor(rng.triangular(-half, half, half // 2)))

    return {
        "weights": [[weight() for _ in range(fan_in)] for _ in range(neurons)],
        "bias": [rng.randrange(-half, half) if bias else 0 for _ in range(neurons)],
        "weight_bits": weight_bits,
        "potential_bits": potential_bits,
        "leak": leak,
        "reset": "none" if readout else reset,
        "theta": None if readout else theta,
        "r": None if readout else r or theta,
    }


def random_spikes(key: int, batch: int, steps: int, inputs: int) -> np.ndarray:
    """Silence, everything at once, and what lies between, step by step."""
    rng = np.random.Generator(np.random.Philox(key))
    spikes = rng.random((batch, steps, inputs)) < rng.random((batch, steps, 1))
    kinds = rng.integers(0, 6, (batch, steps, 1))
    return np.where(kinds == 0, 0, np.where(kinds == 1, 1, spikes)).astype(np.uint8)


def random_chain(
    rng: random.Random, weight: Callable[[int], int], *, weight_bits: Sequence[int] = (2, 4, 5)
) -> IntegerNetwork:
    """Dense layers in a row, of any leak and reset, the last one perhaps a read-out; `weight` changes each weight."""
    sizes = [rng.randint(1, 23) for _ in range(rng.randint(2, 4))]
    readout = rng.random() < 0.3
    specs = []
    for n, (fan_in, neurons) in enumerate(itertools.pairwise(sizes)):
        bits = rng.choice([3, 5, 6, 8])
        top = (1 << bits - 1) - 1
        spec = random_spec(
            rng, fan_in=fan_in, neurons=neurons, leak=rng.choice(LEAKS), reset=rng.choice(RESETS),
            bias=rng.random() < 0.4, weight_bits=rng.choice(weight_bits), potential_bits=bits,
            theta=rng.randint(1, top), r=rng.randint(1, top), readout=readout and n == len(sizes) - 2,
        )  # fmt: skip
        spec["weights"] = [[weight(w) for w in row] for row in spec["weights"]]
        specs.append(spec)
    return network_of(specs, state=rng.choice(["clear", "keep"]))
