"""The integer crossbar against an ordinary differential equation in fine steps, and its keys and limits."""

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom.windows import WindowTiming
from spikeloom_analog.devices import RRAM
from spikeloom_analog.network import AnalogNetwork
from spikeloom_analog.neurons import IFNeuron
from spikeloom_analog.programmed import programmed_layer, quantum_tables

CLOCK = 200e6
TIMING = WindowTiming(step=96, pulse=11, reset=11)
UNIT = 178.2e3
READ = 4
"""Number of the purpose of read noise in the key of a stream."""


def sigma_of(g):
    """Read noise of SYSTEMS.md A."""
    r = 0.035 * (np.maximum(g, 1e-12) / 7e-6) ** -0.95
    return np.where(g > 0, g * 0.35 * r / (0.35 + r), 0.0)


def integrate(g, sigma, spikes, *, seed=0, core=0, window=0, leak=None, reset=55e-9, h=0.05e-9):
    """Crossing times in s of each column: Euler steps of h, reset from the very moment of crossing, float noise."""
    steps, columns = len(spikes), g.shape[1]
    noise = np.random.Generator(np.random.Philox(key=[seed, (core << 32) | READ], counter=[0, 0, window, 0]))
    z = noise.standard_normal((steps * 6, columns))
    per_cycle = round(5e-9 / h)
    v, until = np.zeros(columns), np.full(columns, -1.0)
    times = [[] for _ in range(columns)]
    for t in range(steps):
        current = 0.05 * spikes[t] @ g
        spread = 0.05 * np.sqrt(spikes[t] @ sigma**2)
        for k in range(96 * per_cycle):
            now = (t * 96 * per_cycle + k) * h
            i = 0.0
            if k < 11 * per_cycle:
                i = np.maximum(current + z[t * 6 + k // (2 * per_cycle)] * spread, 0.0)
            slope = i / 73.5e-15 - (0 if leak is None else v / (leak * 73.5e-15))
            v = np.where(now >= until - h / 2, v + h * slope, 0.0)
            for n in np.flatnonzero(v >= 0.21):
                times[n].append(now + h)
                v[n], until[n] = 0.0, now + h + reset
    return times


def tables(g, sigma=None, **changes):
    """Integer tables of conductances in S behind a drive of 50 mV, on the SKY130 neuron."""
    given = {"threshold": 0.21, "timing": TIMING, "clock": CLOCK, "capacitance": 73.5e-15} | changes
    return quantum_tables(0.05 * g, None if sigma is None else 0.05 * sigma, **given)


def interception_like(seed, rows=4, columns=12, steps=12, density=0.4):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.03, 0.9, (rows, columns)) * (rng.random((rows, columns)) < 0.8)
    return weights / UNIT, (rng.random((steps, rows)) < density).astype(np.uint8)


@pytest.mark.parametrize("leak", [None, 90e6], ids=["no leak", "90 MOhm"])
@pytest.mark.parametrize("noise", [False, True], ids=["quiet", "noisy"])
def test_within_a_cycle_of_the_differential_equation(noise, leak):
    """The step of every spike, and its time to one clock cycle (5 ns)."""
    g, spikes = interception_like(1)
    sigma = sigma_of(g) if noise else np.zeros_like(g)
    array = tables(g[None], sigma[None], leak_resistance=leak, seeds=[7], core=3)
    fired, cycles = array.run(spikes[None], windows=[5])
    times = integrate(g, sigma, spikes, seed=7, core=3, window=5, leak=leak)
    worst, count = 0.0, 0
    for n, expected in enumerate(times):
        steps = np.flatnonzero(fired[0, 0, :, n])
        assert steps.tolist() == [int(t / 480e-9) for t in expected]
        ours = (steps * 96 + cycles[0, 0, steps, n] + 0.5) * 5e-9  # a stamp names a cycle: its middle
        worst = max(worst, *np.abs(ours - expected), 0.0) if len(steps) else worst
        count += len(steps)
    assert count > 20
    assert worst <= 5e-9


def test_noise_changes_spikes_and_its_key_decides_which():
    """Two windows, two chips, two cores differ; the same key gives the same, in any batch and order."""
    g, spikes = interception_like(2, columns=30, steps=50)

    def run(seed, core, windows):
        array = tables(g[None], sigma_of(g)[None], seeds=[seed], core=core)
        return array.run(np.stack([spikes] * len(windows)), windows=windows)[1][0]

    base = run(1, 0, [0, 1, 2])
    assert (base[0] != base[1]).any()
    np.testing.assert_array_equal(run(1, 0, [2]), base[2:])
    np.testing.assert_array_equal(run(1, 0, [2, 0]), base[[2, 0]])
    assert (run(2, 0, [0]) != base[:1]).any()
    assert (run(1, 1, [0]) != base[:1]).any()


def test_chips_side_by_side_equal_chips_alone():
    g, spikes = interception_like(3)
    scale = np.array([0.9, 1.0, 1.1])[:, None, None]
    chips = tables(g * scale, sigma_of(g * scale), threshold=np.array([[0.2], [0.21], [0.23]]), seeds=[4, 5, 6])
    together = chips.run(spikes[None])
    for chip in range(3):
        alone = chips.chip(chip).run(spikes[None])
        np.testing.assert_array_equal(alone[1][0], together[1][chip])
    assert (together[1][0] != together[1][1]).any()


def test_kept_membranes_carry_over():
    """Half the threshold in one window and half in the next make a spike only where potentials are kept."""
    g = np.full((1, 1, 1), 0.6 / UNIT)
    array = tables(g)
    spikes = np.ones((2, 1, 1), np.uint8)
    assert array.run(spikes)[0].sum() == 0
    fired, cycles = array.run(spikes, clears=False)
    assert fired[0, :, 0, 0].tolist() == [0, 1]
    assert cycles[0, 1, 0, 0] == 7  # 0.6 + 0.4 of 11 cycles at 0.6: in the eighth


def test_inputs_during_reset_are_lost():
    """A neuron that fires in the first cycle of a strong pulse does not fire again in it."""
    array = tables(np.full((1, 1, 1), 11.5 / UNIT))
    fired, cycles = array.run(np.ones((1, 3, 1), np.uint8))
    assert fired.sum() == 3
    assert (cycles == 0).all()
    short = WindowTiming(step=12, pulse=3, reset=1, dead=1)
    array = tables(np.full((1, 1, 1), 3.8 / UNIT), timing=short)
    # 3.8 / 11 per cycle: over the threshold in cycle 2; the next pulse starts after the reset.
    assert (array.run(np.ones((1, 2, 1), np.uint8))[1] == 2).all()


def test_layer_of_the_analog_models():
    """Wires, levels and offsets come from the float layer; one pulse moves each membrane by what physics says."""
    weights = np.random.default_rng(4).uniform(0.03, 0.9, (6, 4))
    network = AnalogNetwork.from_weights(
        [weights], siemens=1 / UNIT, device=RRAM.sky130(), neuron=IFNeuron.sky130(offset_high=0.005), window=24e-6,
        seeds=[3, 9], cells=2,
    )  # fmt: skip
    (layer,) = network.layers
    array = programmed_layer(layer, step=480e-9, clock=CLOCK)
    assert array.timing == TIMING
    assert array.seeds == (3, 9)
    levels = 0.03 * 30 ** (np.arange(41) / 40)
    nearest = levels[np.abs(weights[:, :, None] - levels).argmin(axis=2)]
    ideal = 0.05 * nearest / UNIT / 73.5e-15 * 5e-9
    seen = array.charge * 1e-8
    assert (seen <= ideal.T * 1.0001).all()  # an offset of 0 to 5 mV and the wires take from 50 mV
    assert (seen >= ideal.T * 0.899).all()
    assert seen.std(axis=0).max() > 0


def test_neurons_without_terms_here_are_refused():
    network = AnalogNetwork.from_weights(
        [np.full((1, 1), 0.5)], siemens=1 / UNIT, device=RRAM.sky130(), neuron=IFNeuron.sky130(bias_current=1e-9),
        window=24e-6, cells=2,
    )  # fmt: skip
    with pytest.raises(InputError, match="accepted for a programmed array: a timed reset, no bias current"):
        programmed_layer(network.layers[0], step=480e-9, clock=CLOCK)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pulse": 97}, "pulse: 97 clock cycles were given; accepted: at most the 96"),
        ({"reset": 97}, "reset: 97 clock cycles"),
        ({"reset": 50, "dead": 47}, "together at most the 96"),
        ({"reset": 4, "dead": 5}, "accepted: together at least 10"),
        ({"pulse": 0}, "pulse: 0 clock cycles were given; accepted: at least 1"),
    ],
)
def test_times_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        WindowTiming(**{"step": 96, "pulse": 11, "reset": 11} | change)


def test_seconds_become_cycles():
    timing = WindowTiming.from_seconds(CLOCK, step=480e-9, pulse=55e-9, reset=55e-9)
    assert timing == WindowTiming(step=96, pulse=11, reset=11, dead=0, refresh=2)
    assert timing.slots == 6


@pytest.mark.parametrize(
    ("currents", "change", "message"),
    [
        (np.full((1, 1, 1), -1.0), {}, "currents: -1 A was given; accepted: 0 or more"),
        (np.full((1, 1, 1), np.nan), {}, "currents.* nan"),
        (np.ones((1, 1)), {}, "currents: shape"),
        (np.ones((1, 0, 1)), {}, "none of them 0"),
        (np.full((1, 1, 1), 1e-6), {"threshold": 0.0}, "threshold: 0 V was given; accepted: finite numbers above 0"),
        (np.full((1, 1, 1), 1.0), {}, "accepted: a larger quantum"),
    ],
)
def test_physics_that_cannot_be_is_refused(currents, change, message):
    with pytest.raises(InputError, match=message):
        tables(currents / 0.05, **change)
