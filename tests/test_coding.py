"""Input coding against its equations, written out one element at a time."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikeloom.errors import InputError
from spikeloom.network import coding
from spikeloom.network.coding import CodingOptions
from spikeloom.network.integer import IntegerLayer

UNIT = st.floats(0, 1, allow_subnormal=False)


@st.composite
def batches(draw):
    inputs = draw(st.integers(1, 4))
    return np.array(draw(st.lists(st.lists(UNIT, min_size=inputs, max_size=inputs), min_size=1, max_size=4)))


def layer(weights, **options):
    return IntegerLayer.dense(
        name="fc1", weights=np.array(weights), weight_bits=17, potential_bits=32, reset="none", **options
    )


@given(batches(), st.integers(1, 40), st.floats(0.01, 1))
def test_rate_equation(values, steps, max_rate):
    spikes = coding.rate(values, steps, max_rate)
    assert spikes.dtype == np.uint8
    assert spikes.shape == (len(values), steps, values.shape[1])
    for (b, i), x in np.ndenumerate(values):
        n = round(x * max_rate * steps)  # Python rounds ties to even, as specified
        half = steps // 2
        expected = [((t + 1) * n + half) // steps - (t * n + half) // steps for t in range(steps)]
        assert spikes[b, :, i].tolist() == expected
        assert spikes[b, :, i].sum() == n


def test_rate_is_evenly_spaced():
    assert coding.rate(np.array([[0.0, 0.25, 0.5, 1.0]]), 8)[0].T.tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 1, 0, 0],
        [1, 0, 1, 0, 1, 0, 1, 0],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ]


def philox(counter, key):
    """Philox-4x64-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC11), in plain Python."""
    mask = (1 << 64) - 1
    x, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * x[0], 0xCA5A826395121157 * x[2]
        x = [(b >> 64) ^ x[1] ^ k[0], b & mask, (a >> 64) ^ x[3] ^ k[1], a & mask]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return x


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (7, 3), (2**64 - 1, 12345)])
def test_bernoulli_is_the_documented_stream(seed, index):
    steps, values = 5, np.array([[0.0, 0.3, 0.7, 1.0, 0.5]])
    stream = [word for block in range(1, 8) for word in philox((block, 0, 0, 0), (seed, index))]
    expected = [
        [int(stream[t * 5 + a] >> 11 < Fraction(x) * Fraction(0.9) * 2**53) for a, x in enumerate(values[0])]
        for t in range(steps)
    ]
    assert coding.bernoulli(values, steps, seed, 0.9, first_index=index)[0].tolist() == expected


@given(batches(), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_bernoulli_does_not_depend_on_the_batch(values, seed, first):
    whole = coding.bernoulli(values, 12, seed, first_index=first)
    for index in range(len(values)):
        alone = coding.bernoulli(values[index : index + 1], 20, seed, first_index=first + index)
        assert (whole[index] == alone[0, :12]).all()


def test_bernoulli_rate_and_extremes():
    values = np.tile([0.0, 0.25, 1.0], (50, 1))
    spikes = coding.bernoulli(values, 400, 1)
    assert not spikes[..., 0].any()
    assert spikes[..., 2].all()
    assert abs(spikes[..., 1].mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 20000)
    assert (coding.bernoulli(values, 40, 2) != spikes[:, :40]).any()


@given(batches(), st.integers(1, 40))
def test_latency_equation(values, steps):
    spikes = coding.latency(values, steps)
    for (b, i), x in np.ndenumerate(values):
        when = np.flatnonzero(spikes[b, :, i]).tolist()
        assert when == ([round((1 - x) * (steps - 1))] if x > 0 else [])
    assert spikes.max(initial=0) <= 1


@given(
    batches(),
    st.lists(st.integers(-(2**16), 2**16 - 1), min_size=12, max_size=12),
)
def test_current_is_exact_and_rounded_once(values, numbers):
    inputs = values.shape[1]
    weights = np.array(numbers).reshape(3, 4)[:, :inputs]
    result = coding.current(values, layer(weights))
    assert result.dtype == np.int64
    for (b, n), value in np.ndenumerate(result):
        exact = sum(
            Fraction(int(w)) * Fraction(round(x * 2**24), 2**24) for w, x in zip(weights[n], values[b], strict=True)
        )
        assert value == math.floor(exact + Fraction(1, 2))
        assert np.minimum(weights[n], 0).sum() <= value <= np.maximum(weights[n], 0).sum()


def test_current_with_sums_beyond_double_precision():
    weights = np.full((1, 40000), 65535)
    weights[0, 0] = 3
    values = np.full((1, 40000), 1 - 2**-24)
    assert 65535 * 39999 * (2**24 - 1) > 2**53
    exact = (65535 * 39999 + 3) * (2**24 - 1)
    assert coding.current(values, layer(weights)).tolist() == [[(exact + 2**23) >> 24]]


EVENTS = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 4)), max_size=60)


@given(EVENTS, st.integers(1, 200), st.integers(1, 12), st.booleans(), st.integers(1, 4))
def test_events_equation(events, step_us, steps, count, max_count):
    times = np.array([time for time, _ in events], np.int64)
    addresses = np.array([address for _, address in events], np.int64)
    result = coding.events_to_steps(times, addresses, step_us, steps, 5, count, max_count=max_count)
    for t in range(steps):
        for a in range(5):
            number = sum(1 for time, address in events if address == a and time // step_us == t)
            assert result[t, a] == min(number, max_count if count else 1)


def test_events_with_a_fractional_step():
    times, addresses = np.array([0.0, 0.9, 1.5, 2.99, 3.0]), np.array([0, 1, 0, 1, 1])
    assert coding.events_to_steps(times, addresses, 1.5, 2, 2).tolist() == [[1, 1], [1, 1]]
    assert coding.events_to_steps(np.array([]), np.array([]), 1.5, 2, 2).tolist() == [[0, 0], [0, 0]]


@dataclass
class Recorded:
    times_us: np.ndarray
    addresses: np.ndarray


def test_encode_dispatches():
    first = layer([[2, -3], [5, 7]], max_count=2)
    values = np.array([[0.5, 1.0], [0.0, 0.25]])

    def encode(data=values, **options):
        return coding.encode(CodingOptions(**options), data, first, first_index=3)

    assert (encode(steps=6, max_rate=0.5).spikes == coding.rate(values, 6, 0.5)).all()
    expected = coding.bernoulli(values, 6, 9, 0.5, first_index=3)
    assert (encode(coding="bernoulli", steps=6, max_rate=0.5, seed=9).spikes == expected).all()
    assert (encode(coding="latency", steps=6).spikes == coding.latency(values, 6)).all()
    assert encode(steps=6).current is None
    spikes, direct = encode(coding="current", steps=6)
    assert spikes.shape == (2, 6, 2)
    assert not spikes.any()
    assert direct is not None
    assert direct.tolist() == [[-2, 10], [-1, 2]]  # 1 - 3; 2.5 + 7; -0.75; 1.75: halves go up
    recorded = [Recorded(np.array([0, 5, 6, 12]), np.array([1, 0, 0, 1]))]
    assert encode(recorded, coding="events", steps=2, step_us=10).spikes.tolist() == [[[1, 1], [0, 1]]]
    assert encode(recorded, coding="events", steps=2, step_us=10, max_count=2).spikes.tolist() == [[[2, 1], [0, 1]]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coding": "rat"}, "coding = 'rat': accepted are rate, bernoulli, latency, current, events"),
        ({"steps": 0}, "steps = 0: accepted is an integer from 1 to 100000"),
        ({"steps": 2.0}, "steps = 2.0: accepted is an integer from 1 to 100000"),
        ({"max_rate": 1.5}, "max_rate = 1.5: accepted is a number above 0 and up to 1"),
        ({"max_rate": float("nan")}, "max_rate = nan: accepted is a number above 0 and up to 1"),
        ({"seed": -1}, "seed = -1: accepted is an integer from 0 to 18446744073709551615"),
        ({"step_us": 0}, "step_us = 0: accepted is a number of microseconds above 0"),
        ({"max_count": 256}, "max_count = 256: accepted is an integer from 1 to 255"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError) as error:
        CodingOptions(**options)
    assert str(error.value) == message


def test_bad_inputs():
    first = layer([[2, -3]])

    def message(function, *arguments, **options):
        with pytest.raises(InputError) as error:
            function(*arguments, **options)
        return str(error.value)

    assert message(coding.rate, np.array([[0.0, 0.5], [1.25, 0.0]]), 4) == (
        "input value 1.25 (sample 1, address 0): accepted is 0 to 1"
    )
    assert message(coding.latency, np.array([[0.0, np.nan]]), 4) == (
        "input value nan (sample 0, address 1): accepted is 0 to 1"
    )
    assert message(coding.rate, np.zeros(3), 4) == (
        "input values of shape (3,) and type float64: accepted are numbers [samples, inputs]"
    )
    assert message(coding.current, np.zeros((1, 3)), first) == (
        "layer 'fc1': inputs of 3 values; accepted are 2, its fan-in"
    )
    assert message(coding.encode, CodingOptions(), np.zeros((1, 3)), first) == (
        "inputs of 3 values; accepted are 2, the network's inputs"
    )
    assert message(coding.encode, CodingOptions(coding="events"), np.zeros((1, 2)), first) == (
        'coding = "events" was given values: accepted are recordings with times_us and addresses; '
        "use rate, bernoulli, latency or current for values"
    )
    assert message(coding.encode, CodingOptions(coding="events", max_count=2), [], first) == (
        "max_count = 2: layer 'fc1' accepts up to 1 spikes of one address in one step"
    )
    assert message(coding.events_to_steps, [3, -1], [0, 0], 10, 4, 2) == (
        "event 1 at -1 us: accepted is a time of at least 0"
    )
    assert message(coding.events_to_steps, [3, 4], [0, 2], 10, 4, 2) == (
        "event 1 has address 2: accepted is 0 to 1, the network's inputs"
    )
    assert message(coding.events_to_steps, [3, 4], [0], 10, 4, 2) == (
        "events with times of shape (2,) and addresses of shape (1,): accepted are two lists of the same length"
    )
    assert message(coding.events_to_steps, [3], [0.5], 10, 4, 2) == (
        "events with times of type int64 and addresses of type float64: "
        "accepted are numbers of microseconds and integer addresses"
    )
