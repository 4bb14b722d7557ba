"""Synthetic recordings: the same on any machine, what the page says, of the activity that is stated."""

import math

import numpy as np
import pytest

from spikeloom.network.coding import CodingOptions, encode_spikes
from spikeloom.network.datasets import load_dataset, load_digits_split
from spikeloom.network.moving import RATE, SIZE, STEP_US, STEPS, MovingDigits

INPUTS = 2 * SIZE * SIZE


def spikes_of(recordings):
    return encode_spikes(CodingOptions(coding="events", steps=STEPS, step_us=STEP_US), recordings, INPUTS)


def u(number):
    return (int(number) >> 11) / 2.0**53


def test_drawn_from_the_documented_stream():
    """Written again from the docstring, pixel by pixel, with the m that fits each event and each that did not come."""
    (recording,), labels = MovingDigits(seed=3, rate=0.1).half(train=False, count=1)
    digits = load_digits_split()
    assert labels.tolist() == [recording.label] == [digits.test_y[0]]
    picture = digits.test_x[0].reshape(8, 8)
    raw = np.random.Philox(key=[3, 1 << 32]).random_raw(2 + STEPS * INPUTS)

    def value(x, y, t):
        a = 2 * math.pi * (u(raw[0]) + (-1 if u(raw[1]) >= 0.5 else 1) * t / STEPS)
        column = (x - 63.5 - 6 * math.cos(a)) / 13 + 3.5
        row = (y - 63.5 - 6 * math.sin(a)) / 13 + 3.5
        left, above, total = math.floor(column), math.floor(row), 0.0
        for i in (above, above + 1):
            for j in (left, left + 1):
                if 0 <= i < 8 and 0 <= j < 8:
                    total += picture[i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
        return total

    some = range(0, SIZE, 4)
    change = np.diff([[[value(x, y, t) for x in some] for y in some] for t in range(STEPS + 1)], axis=0)
    likely = np.stack([np.maximum(-change, 0), np.maximum(change, 0)], axis=1)
    spikes = spikes_of([recording])[0].reshape(STEPS, 2, SIZE, SIZE)[:, :, ::4, ::4]
    draw = np.array([u(n) for n in raw[2:]]).reshape(STEPS, 2, SIZE, SIZE)[:, :, ::4, ::4]
    came, stayed = (spikes == 1) & (likely > 1e-9), (spikes == 0) & (likely > 1e-9)
    low, high = ((draw - 0.01)[came] / likely[came]).max(), ((draw - 0.01)[stayed] / likely[stayed]).min()
    assert 0 < low < high
    assert low / 1.1 < 0.09 / likely.mean() < high * 1.1  # the mean over some pixels is about that over all
    assert (spikes[likely < 1e-12] == (draw[likely < 1e-12] < 0.01)).all()


@pytest.mark.parametrize("rate", [0.02, RATE])
def test_activity_is_what_is_stated(rate):
    recordings, _ = MovingDigits(rate=rate).half(train=True, count=8)
    assert spikes_of(recordings).mean() == pytest.approx(rate, rel=0.02)
    for recording in recordings:
        assert recording.polarity.mean() == pytest.approx(0.5, abs=0.05)
        assert len(np.unique(recording.times_us)) == STEPS


def test_halves_differ_and_a_recording_does_not_depend_on_the_others():
    task = load_dataset("moving")
    assert isinstance(task, MovingDigits)
    train, _ = task.half(train=True, count=2)
    (test,), _ = task.half(train=False, count=1)
    (again,), labels = MovingDigits().half(train=True, count=1)
    assert events(train[0]) == events(again) != events(test)
    assert labels.tolist() == [train[0].label]
    assert len(MovingDigits(test=3).half(train=False)[1]) == 3


def events(recording):
    return recording.addresses.tobytes() + recording.times_us.tobytes()
