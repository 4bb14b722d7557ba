"""Closed-form neurons against numeric integration of their circuits."""

import dataclasses

import numpy as np
import pytest

import analog_oracle as oracle
from spikeloom.errors import InputError
from spikeloom_analog.neurons import IFNeuron, NeuronArray, dead_time, integrate, settled_share
from spikeloom_analog.streams import Purpose, stream

SWITCH = {
    "capacitance": 10e-12,
    "threshold": 0.5,
    "reset": "switch",
    "switch_resistance": 100.0,
    "release": 0.01,
    "pulse_width": 100e-9,
}
"""The integrator of docs/analog.md: 10 pF, 0.5 V, a switch of 100 ohm that opens at 10 mV."""


def _stimulus(lanes, pulses, neurons, window, width, largest, key=0):
    rng = stream(key, 9, Purpose.WRITE)
    start = np.sort(rng.uniform(0, window, (lanes, pulses)), axis=1)
    return start, start + width, rng.uniform(0, largest, (lanes, pulses, neurons))


KINDS = {
    "sky130": (IFNeuron.sky130(), 24e-6, 55e-9, 250e-9),
    "dead time": (IFNeuron.sky130(dead_time=30e-9), 24e-6, 55e-9, 250e-9),
    "bias": (IFNeuron.sky130(bias_current=1e-9), 24e-6, 55e-9, 250e-9),
    "leaky": (IFNeuron.sky130(leak_resistance=20e6), 24e-6, 55e-9, 250e-9),
    "switch": (IFNeuron(**SWITCH), 20e-6, 100e-9, 80e-6),
    "slow switch": (IFNeuron(**SWITCH | {"switch_resistance": 1000.0, "release": 0.1}), 20e-6, 100e-9, 80e-6),
    "leaky switch": (IFNeuron(**SWITCH, leak_resistance=500e3, dead_time=20e-9), 20e-6, 100e-9, 80e-6),
}


@pytest.mark.parametrize("kind", KINDS)
def test_equals_numeric_integration(kind):
    neuron, window, width, largest = KINDS[kind]
    start, stop, current = _stimulus(1, 50, 3, window, width, largest)
    found = integrate(neuron, start, stop, current, window=window)
    assert found.counts().min() >= 3
    for lane in range(1):
        for who in range(3):
            pulses = list(zip(start[lane], stop[lane], current[lane, :, who], strict=True))
            expected = oracle.neuron_spikes(neuron, pulses, window)
            times = found.of(lane, who)
            assert len(times) == len(expected)
            np.testing.assert_allclose(times, expected, rtol=0, atol=2e-12)


def test_hundreds_of_spikes_in_one_pulse():
    """A pulse much longer than the reset: n = floor(window / (theta C / I + reset)) by hand."""
    neuron = IFNeuron(capacitance=1e-12, threshold=0.1, reset_time=1e-9, pulse_width=1e-9)
    found = integrate(neuron, np.array([[0.0]]), np.array([[np.inf]]), np.array([[[1e-4]]]), window=5e-6 + 1e-12)
    np.testing.assert_allclose(found.of(0, 0), 1e-9 + 2e-9 * np.arange(2500))


def test_interception_arithmetic():
    """One pulse on w = 0.9 moves the membrane by 0.189 V: the second fires after 21 mV more; the reset is deaf."""
    neuron = IFNeuron.sky130()
    current = 0.05 * 0.9 / 178.2e3
    start = np.array([[0.0, 100e-9, 110e-9, 400e-9]])
    found = integrate(neuron, start, start + 55e-9, np.full((1, 4, 1), current), window=1e-6, probes=np.array([60e-9]))
    assert found.probes[0, 0, 0] == pytest.approx(0.9 * 0.21, rel=2e-3)
    first = 0.21 * 73.5e-15 / current - 55e-9  # what is missing, at the current of one pulse
    assert found.of(0, 0)[0] == pytest.approx(100e-9 + first)
    # The reset ends at 162.9 ns, inside the third pulse (110 to 165 ns): 2 ns of it count, and the last adds 55 ns.
    left = (165e-9 - (100e-9 + first + 55e-9)) * current / 73.5e-15
    assert len(found.time) == 1
    late = integrate(neuron, start, start + 55e-9, np.full((1, 4, 1), current), window=1e-6, probes=np.array([999e-9]))
    assert late.probes[0, 0, 0] == pytest.approx(left + 55e-9 * current / 73.5e-15)


def test_waveform_probes():
    """u at given times against numeric sums, without a spike on the way."""
    neuron = IFNeuron(capacitance=1e-12, threshold=1e3, leak_resistance=1e6, pulse_width=1e-9)
    start, stop, current = _stimulus(1, 20, 2, 2e-6, 100e-9, 1e-6)
    at = np.linspace(0, 2e-6, 9)[1:-1]
    found = integrate(neuron, start, stop, current, window=2e-6, probes=at)
    tau = 1e-6
    for k, t in enumerate(at):
        for who in range(2):
            u = 0.0
            for s, e, i in zip(start[0], stop[0], current[0, :, who], strict=True):
                if s < t:
                    u += i * 1e6 * (np.exp(-max(t - e, 0) / tau) - np.exp(-(t - s) / tau))
            assert found.probes[0, k, who] == pytest.approx(u, rel=1e-10)


def test_lanes_do_not_see_each_other():
    neuron = IFNeuron.sky130(leak_resistance=30e6)
    start, stop, current = _stimulus(5, 40, 4, 24e-6, 55e-9, 250e-9)
    start[3, 20:] = stop[3, 20:] = np.inf  # a lane with fewer pulses
    whole = integrate(neuron, start, stop, current, window=24e-6)
    for lane in range(5):
        part = slice(lane, lane + 1)
        alone = integrate(neuron, start[part], stop[part], current[part], window=24e-6)
        np.testing.assert_array_equal(whole.time[whole.lane == lane], alone.time)
        np.testing.assert_array_equal(whole.neuron[whole.lane == lane], alone.neuron)


def test_floor_holds_negative_currents():
    neuron = IFNeuron(capacitance=1e-12, threshold=0.1, pulse_width=1e-9, floor=-0.05)
    start = np.array([[0.0, 2e-6]])
    current = np.array([[[-1e-6], [1e-6]]])
    found = integrate(neuron, start, start + 1e-6, current, window=5e-6)
    assert found.time[0] == pytest.approx(2e-6 + 0.15e-6)


def test_spread_of_neurons():
    neuron = IFNeuron.sky130(threshold_sigma=5e-3, offset_low=0.0, offset_high=5e-3)
    some = NeuronArray(neuron, 400, seeds=range(20))
    assert some.threshold.mean() == pytest.approx(0.21, abs=3e-4)
    assert some.threshold.std() == pytest.approx(5e-3, rel=0.05)
    assert 0 <= some.offset.min() < 1e-4
    assert 4.9e-3 < some.offset.max() <= 5e-3
    np.testing.assert_allclose(some.gain, 1 - some.offset / 0.05)
    np.testing.assert_array_equal(NeuronArray(neuron, 400, seeds=[13]).threshold[0], some.threshold[13])


def test_padded_spikes():
    neuron = IFNeuron.sky130()
    start, stop, current = _stimulus(3, 50, 4, 24e-6, 55e-9, 250e-9)
    current[1] = 0.0
    found = integrate(neuron, start, stop, current, window=24e-6)
    time, who = found.padded()
    assert np.isinf(time[1]).all()
    for lane in (0, 2):
        number = int(found.counts()[lane].sum())
        assert (np.diff(time[lane, :number]) >= 0).all()
        for neuron_index in range(4):
            at = (who[lane] == neuron_index) & np.isfinite(time[lane])
            np.testing.assert_array_equal(time[lane, at], found.of(lane, neuron_index))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: IFNeuron(capacitance=0.0, threshold=1.0),
            "capacitance: 0.0 was given; accepted: a finite number above 0",
        ),
        (lambda: IFNeuron(**SWITCH | {"release": 0.0}), "release: 0.0 was given; accepted: above 0 and below"),
        (lambda: IFNeuron.sky130(leak_resistance=-9e6), "leak_resistance: -9000000.0 was given"),
        (lambda: IFNeuron.sky130(reset="soft"), "reset: 'soft' was given; accepted: timed, switch"),
        (
            lambda: IFNeuron.sky130().check_step(50e-9),
            "pulse_width: 5.5e-08 s was given; accepted: up to the time step",
        ),
        (lambda: IFNeuron.sky130(dead_time=1e-6).check_step(480e-9), "reset_time [+] dead_time: 1.055e-06 s was given"),
        (lambda: IFNeuron(**SWITCH).check_current(200e-6), "0.02 V, were given; accepted: below release, 0.01 V"),
        (lambda: IFNeuron.sky130(pulse_width=60e-9).check_pulses(), "pulse_width: 6e-08 s was given; accepted: up to"),
        (lambda: dead_time(0.0), "gain_bandwidth: 0.0 was given"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(InputError, match=message):
        build()


def _lagging(neuron, siemens, pulses, window, dt=0.01e-9):
    """Spikes of an integrator whose amplifier has one pole, in small steps: C holds v, the output u follows it with

    u' = 2 pi GBW (v - u), and v - u is what the virtual ground gives way by.
    """
    omega, v, u, closed, found = 2 * np.pi * neuron.gain_bandwidth, 0.0, 0.0, False, []
    for n in range(round(window / dt)):
        now = n * dt
        into = sum(siemens * (neuron.drive - (v - u)) for start, stop in pulses if start <= now < stop)
        if closed:
            into -= v / neuron.switch_resistance
        v, u = v + dt * into / neuron.capacitance, u + dt * omega * (v - u)
        if not closed and u >= neuron.threshold:
            closed = True
            found.append(now)
        elif closed and u <= neuron.release:
            closed = False
    return np.array(found)


@pytest.mark.parametrize(("gain_bandwidth", "siemens"), [(100e6, 400e-6), (100e6, 150e-6), (1e9, 400e-6)])
def test_finite_bandwidth(gain_bandwidth, siemens):
    """What it takes off the current and adds to a reset; the lag at the threshold is a dead time of 1 / (2 pi GBW)."""
    lag = 1 / (2 * np.pi * gain_bandwidth)
    neuron = IFNeuron(**SWITCH, drive=0.1, gain_bandwidth=gain_bandwidth, dead_time=lag)
    pulses, window = [(0.0, 900e-9), (1e-6, 3e-6)], 3e-6
    wanted = _lagging(neuron, siemens, pulses, window)
    start, stop = (np.array([[pulse[k] for pulse in pulses]]) for k in (0, 1))
    plain = dataclasses.replace(neuron, gain_bandwidth=None, dead_time=0.0)
    amps = np.full((1, 2, 1), 0.1 * siemens)
    found, blind = (
        integrate(n, start, stop, amps * settled_share(np.array(siemens), n), window=window) for n in (neuron, plain)
    )
    assert len(found.time) == len(wanted) >= 7
    errors = np.abs(found.time + lag - wanted)  # the lag of the first spike
    assert errors.max() < 3e-9
    if len(blind.time) == len(wanted):
        assert np.abs(blind.time - wanted).max() > 3 * errors.max()
    else:
        assert len(blind.time) > len(wanted)


def test_bandwidth_that_is_refused():
    with pytest.raises(InputError, match="gain_bandwidth: 0 was given"):
        IFNeuron.sky130(gain_bandwidth=0)
    assert settled_share(np.array([0.0, 1e-3]), IFNeuron.sky130()) == pytest.approx(1.0)
