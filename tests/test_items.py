"""Words of event streams: there and back again, and everything that is no such stream is refused."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spikeloom.errors import InputError
from spikeloom.items import AddressMap, address_bits, decode_events, encode_events


def test_address_bits():
    assert [address_bits(n) for n in (1, 2, 3, 4, 5, 8, 9, 784, 1024)] == [1, 1, 2, 2, 3, 3, 4, 10, 10]


def test_words_by_hand():
    """Three addresses take two bits; tick is bit 2, last bit 3."""
    spikes = np.array([[[1, 0, 2], [0, 0, 0]], [[0, 1, 0], [0, 0, 1]]], np.uint8)
    words, counts = encode_events(spikes)
    assert words.tolist() == [0, 2, 2, 0b0100, 0b1100, 1, 0b0100, 2, 0b1100]
    assert counts.tolist() == [5, 4]
    assert words.dtype == np.uint32


shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9))
spike_counts = shapes.flatmap(
    lambda shape: (
        arrays(np.uint8, shape, elements=st.sampled_from([0, 1]))
        | arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 7]))
        | arrays(bool, shape)
    )
)


@given(spike_counts)
@settings(deadline=None)
def test_round_trip(spikes):
    words, counts = encode_events(spikes)
    batch, steps, addresses = spikes.shape
    np.testing.assert_array_equal(
        decode_events(words, batch=batch, steps=steps, addressing=AddressMap((addresses,))), spikes
    )
    assert counts.tolist() == [int(sample.sum()) + steps for sample in spikes]
    assert counts.sum() == len(words)
    # Each input by itself gives the same words: nothing carries over.
    alone = [encode_events(spikes[b : b + 1])[0].tolist() for b in range(batch)]
    assert list(itertools.chain(*alone)) == words.tolist()


@given(spike_counts, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_inside_a_step_is_free(spikes, random):
    words, _ = encode_events(spikes)
    batch, steps, addresses = spikes.shape
    ticks = np.flatnonzero(words >> address_bits(addresses) & 1)
    shuffled, start = [], 0
    for tick in ticks:
        step = words[start:tick].tolist()
        random.shuffle(step)
        shuffled += [*step, int(words[tick])]
        start = tick + 1
    decoded = decode_events(np.array(shuffled), batch=batch, steps=steps, addressing=AddressMap((addresses,)))
    np.testing.assert_array_equal(decoded, spikes)


TICK, LAST = 0b0100, 0b1100
STREAMS = "accepted are 2 inputs of 2 steps"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], f"0 ticks, 0 of them last; {STREAMS}"),
        ([TICK, LAST, TICK], f"3 ticks, 1 of them last; {STREAMS}"),
        ([TICK, TICK, TICK, LAST], f"4 ticks, 1 of them last; {STREAMS}"),
        ([TICK, LAST, TICK, LAST, 1], f"4 ticks, 2 of them last; {STREAMS}"),  # a spike after the end
        ([TICK, LAST, 0b1000, TICK, LAST], f"4 ticks, 3 of them last; {STREAMS}"),  # a spike that is last
        ([TICK, LAST, 3, TICK, LAST], "address 3: accepted are those of [3] neurons"),
        ([1] * 256 + [TICK, LAST, TICK, LAST], "256 spikes of one address in one step: accepted is up to 255"),
    ],
)
def test_what_is_no_stream_of_that_shape_is_refused(words, message):
    with pytest.raises(InputError) as caught:
        decode_events(np.array(words, np.uint32), batch=2, steps=2, addressing=AddressMap((3,)))
    assert str(caught.value) == message
