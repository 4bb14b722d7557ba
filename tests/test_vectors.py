"""What benches play and expect, word for word by hand."""

import numpy as np

from networks import network_of
from spikeloom.config import DigitalConfig
from spikeloom.mapping.image import image_words
from spikeloom.mapping.plan import plan_core
from spikeloom.network.reference import simulate
from spikeloom.vectors import LOAD, expected_streams, stimulus_words


def spec(*, readout: bool = False) -> dict:
    return {
        "weights": [[3, 0], [-2, 4], [1, 1]],
        "bias": [0, 0, 0],
        "weight_bits": 4,
        "potential_bits": 6,
        "leak": ("none",),
        "reset": "none" if readout else "zero",
        "theta": None if readout else 3,
        "r": None if readout else 3,
    }


SPIKES = np.array([[[1, 0], [0, 1]], [[0, 0], [1, 1]]], np.uint8)
EVENTS = [0, 2, 1, 6, 2, 0, 1, 6]  # one address bit, then tick (2), last (4)


def plan_of(*, ends: bool = False, direct: bool = False, **core):
    return plan_core(network_of([spec(readout=ends)]), DigitalConfig(**core), steps=2, direct=direct)


def test_fixed_core():
    plan = plan_of()
    assert stimulus_words(plan, SPIKES) == EVENTS
    trace = simulate(plan.network, SPIKES)
    streams = expected_streams(plan, trace)
    # Potentials (3, -2, 1) fire 0; (0, 2, 2) is silent; then from 0 again: (3, 2, 2) fires 0.
    # Two address bits, tick 4, last 8.
    assert streams == {"events_out": [0, 4, 12, 4, 0, 12], "decision": [0 | 1 << 2, 0 | 1 << 2]}


def test_first_spike():
    plan = plan_of(decision="first")
    streams = expected_streams(plan, simulate(plan.network, SPIKES))
    assert streams["decision"] == [0 | 0 << 2, 0 | 1 << 2]
    silent = expected_streams(plan, simulate(plan.network, np.zeros((1, 2, 2), np.uint8)))
    assert silent == {"events_out": [4, 12], "decision": [0 | 7 << 2]}  # all ones: no spike


def test_readout_at_every_tick():
    plan = plan_of(ends=True, readout="tick")
    streams = expected_streams(plan, simulate(plan.network, SPIKES))
    shown = [[3, -2, 1], [3, 2, 2], [0, 0, 0], [3, 2, 2]]
    words = [n | (v & 63) << 2 for row in shown for n, v in enumerate(row)]
    words[5], words[11] = words[5] | 256, words[11] | 256  # last
    assert streams == {"events_out": [4, 12, 4, 12], "decision": [3 << 2, 3 << 2], "readout": words}


def test_no_decision():
    plan = plan_of(decision="none")
    assert set(expected_streams(plan, simulate(plan.network, SPIKES))) == {"events_out"}


def test_loaded_core_gets_its_network_first():
    plan = plan_of(weights="loaded")
    assert stimulus_words(plan, SPIKES) == [LOAD | word for word in image_words(plan)] + EVENTS


def test_currents_come_before_their_input():
    plan = plan_of(direct=True)
    current = np.array([[1, 2, 3], [-1, 0, 1]])
    load = [[LOAD | word for word in image_words(plan, current=row)] for row in current]
    first = [LOAD | word for word in image_words(plan)]
    assert stimulus_words(plan, SPIKES, current) == [*first, *load[0], *EVENTS[:4], *load[1], *EVENTS[4:]]
