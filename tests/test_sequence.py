"""The sequence task: the same on any machine, what the page says, and no hint at the answer in either half."""

from pathlib import Path

import numpy as np
import pytest

from spikeloom import project
from spikeloom.network import sequence
from spikeloom.network.coding import CodingOptions, encode_spikes
from spikeloom.network.datasets import load_dataset
from spikeloom.network.sequence import SequenceTask

OWN = sequence.INPUTS // sequence.SYMBOLS


def spikes_of(task, *, train):
    sequences, labels = task.half(train=train)
    coding = CodingOptions(coding="events", steps=sequence.STEPS, step_us=sequence.STEP_US)
    return encode_spikes(coding, sequences, sequence.INPUTS), labels


def test_drawn_from_the_documented_stream():
    """Written again from the docstring, event by event."""
    task = SequenceTask(seed=3, train=5, test=4)
    for train, offset in ((True, 0), (False, 1 << 32)):
        spikes, labels = spikes_of(task, train=train)
        for number in range(len(labels)):
            raw = [int(n) for n in np.random.Philox(key=[3, offset + number]).random_raw(4 + 60 * 12)]
            symbols, begins = [raw[0] % 3, raw[1] % 3], [raw[2] % 6, 24 + raw[3] % 24]
            assert labels[number] == sum(symbols) % 3
            for t in range(60):
                for a in range(12):
                    burst = any(b <= t < b + 4 and a // 4 == s for s, b in zip(symbols, begins, strict=True))
                    assert spikes[number, t, a] == (raw[4 + t * 12 + a] >> 11 < (0.6 if burst else 0.02) * 2**53)


def test_halves_differ_and_classes_are_balanced():
    task = load_dataset("sequence")
    train, labels = spikes_of(task, train=True)
    test, wanted = spikes_of(task, train=False)
    assert (len(train), len(test)) == (sequence.TRAIN, sequence.TEST)
    assert not {row.tobytes() for row in train} & {row.tobytes() for row in test}
    for classes in (labels, wanted):
        assert np.bincount(classes, minlength=3).min() > 0.28 * len(classes)


@pytest.mark.parametrize("part", [slice(0, 10), slice(24, 60)], ids=["first", "second"])
def test_one_symbol_says_nothing_about_the_answer(part):
    """The symbol is plain to see from its inputs; each answer is as frequent behind it as any other."""
    spikes, labels = spikes_of(SequenceTask(), train=True)
    seen = spikes[:, part].sum(axis=1).reshape(len(spikes), sequence.SYMBOLS, OWN).sum(axis=2).argmax(axis=1)
    for symbol in range(sequence.SYMBOLS):
        shares = np.bincount(labels[seen == symbol], minlength=3) / (seen == symbol).sum()
        assert np.abs(shares - 1 / 3).max() < 0.05


def test_long_input_is_the_sequences_in_a_row():
    task = SequenceTask(train=0, test=3)
    spikes, _ = spikes_of(task, train=False)
    assert (sequence.long_input(task, 3)[0] == spikes.reshape(180, 12)).all()


def test_calibration_takes_fewer_of_large_recordings(monkeypatch):
    monkeypatch.setattr(project, "CALIBRATION_PLACES", 7 * sequence.STEPS * sequence.INPUTS + 1)
    given = project.Project(config=project.propose("zoo:recurrent"), folder=Path())
    assert given._calibration().spikes.shape == (7, sequence.STEPS, sequence.INPUTS)
