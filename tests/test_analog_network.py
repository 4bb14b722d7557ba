"""Layers of crossbars and neurons: pulses, wires, noise, Monte-Carlo chips."""

import numpy as np
import pytest

import analog_oracle as oracle
from spikeloom.errors import InputError
from spikeloom_analog.crossbar import Crossbar, Wire
from spikeloom_analog.devices import RRAM, ideal
from spikeloom_analog.network import AnalogLayer, AnalogNetwork, Pulses
from spikeloom_analog.neurons import IFNeuron
from spikeloom_analog.streams import Purpose, stream

PULSE, WINDOW, SIEMENS = 55e-9, 24e-6, 1 / 178.2e3


def _weights(key=0):
    rng = stream(key, 9, Purpose.WRITE)
    hidden = np.where(rng.random((7, 4)) < 0.3, 0.03, rng.uniform(0.03, 0.9, (7, 4)))
    return [hidden, np.where(rng.random((1, 7)) < 0.2, 0.0, rng.uniform(0.03, 0.6, (1, 7)))]


def _network(seeds, *, read_noise=True, **neuron):
    return AnalogNetwork.from_weights(
        _weights(),
        siemens=SIEMENS,
        device=RRAM.sky130(read_noise=read_noise),
        cells=2,
        neuron=IFNeuron.sky130(**neuron),
        window=WINDOW,
        seeds=seeds,
    )


ALL = {"offset_high": 5e-3, "threshold_sigma": 3e-3, "dead_time": 2e-9}
COUNTS = np.array([[12, 25, 3, 20], [0, 0, 0, 0], [25, 25, 25, 25], [5, 14, 9, 1]])


def test_spread_pulses():
    pulses = Pulses.spread(np.array([[2, 0], [1, 3]]), window=10e-6, width=1e-6)
    np.testing.assert_allclose(pulses.start[0], [3e-6, 6e-6, np.inf, np.inf])
    np.testing.assert_allclose(pulses.start[1], [2.25e-6, 4.5e-6, 4.5e-6, 6.75e-6])
    assert sorted(pulses.row[1, 1:3].tolist()) == [0, 1]


def test_pulses_of_steps():
    spikes = np.zeros((1, 3, 2), np.uint8)
    spikes[0, 1] = [0, 1]
    spikes[0, 2] = [1, 1]
    pulses = Pulses.from_steps(spikes, step=480e-9, width=PULSE)
    np.testing.assert_allclose(pulses.start[0], [480e-9, 960e-9, 960e-9])
    assert pulses.row[0].tolist() == [1, 0, 1]


def test_two_layers_equal_circuit_simulation():
    """Both layers neuron by neuron with the oracle: every current from a nodal solve of the open rows."""
    network = _network([0], read_noise=False)
    found = network.run(Pulses.spread(COUNTS[:1], window=WINDOW, width=PULSE))
    pulses = [(k * (WINDOW - PULSE) / (n + 1), i) for i, n in enumerate(COUNTS[0]) for k in range(1, n + 1)]
    for layer, spikes in zip(network.layers, found, strict=True):
        g = layer.crossbar.chips.level_conductance
        columns, following = g.shape[1], []
        for j in range(columns):
            alone = []
            for start, i in pulses:
                active = np.arange(g.shape[0]) == i
                alone.append(
                    (start, start + PULSE, oracle.gated(g[:, j : j + 1], np.full(len(g), 0.05), active, 1.0)[0])
                )
            expected = oracle.neuron_spikes(layer.neuron, alone, WINDOW)
            np.testing.assert_allclose(spikes.of(0, j), expected, rtol=0, atol=1e-11)
            following += [(t, j) for t in expected]
        assert len(following) > 5
        pulses = sorted(following)


def test_any_order_and_batch():
    """Chips and inputs alone, together and in another order; blocks of another size."""
    pulses = Pulses.spread(COUNTS, window=WINDOW, width=PULSE)
    whole = _network([4, 9, 2], **ALL).run(pulses, index=10)
    shuffled = _network([2, 4], **ALL).run(pulses, index=10)
    counts = [layer.counts().reshape(3, 4, -1) for layer in whole]
    for layer, other in zip(counts, shuffled, strict=True):
        np.testing.assert_array_equal(layer[[2, 0]], other.counts().reshape(2, 4, -1))
    single = _network([9], **ALL).run(Pulses(pulses.start[2:3], pulses.row[2:3], PULSE, 4), index=12)
    for layer, other in zip(whole, single, strict=True):
        np.testing.assert_array_equal(layer.time[layer.lane == 1 * 4 + 2], other.time)
    assert (counts[1][0] != counts[1][1]).any()
    mixed = Pulses(pulses.start[[3, 0, 2]], pulses.row[[3, 0, 2]], PULSE, 4)
    picked = _network([4], **ALL).counts(mixed, index=np.array([13, 10, 12]))
    np.testing.assert_array_equal(picked[0], counts[1][0][[3, 0, 2]])
    with pytest.raises(InputError, match=r"index: shape \(2,\) was given; accepted: \(3,\)"):
        _network([4]).counts(mixed, index=np.array([1, 2]))


def test_block_size_changes_nothing(monkeypatch):
    pulses = Pulses.spread(COUNTS, window=WINDOW, width=PULSE)
    whole = _network(range(3), **ALL).run(pulses)
    monkeypatch.setattr("spikeloom_analog.network.BLOCK", 1500)
    for one, two in zip(whole, _network(range(3), **ALL).run(pulses), strict=True):
        np.testing.assert_array_equal(one.time, two.time)
        np.testing.assert_array_equal(one.lane, two.lane)


def test_read_noise_counts_as_pulses_do():
    """The mean of a pulse's noise values, and each of them: same spread of what a pulse leaves on the membrane."""
    g = np.full((1, 200), 2e-6)
    neuron = IFNeuron.sky130(threshold=10.0)
    layer = AnalogLayer(
        Crossbar(g, device=RRAM.sky130(), topology="gated_1t1r", cells=2, wire=Wire(0, 0), seeds=range(40)), neuron
    )
    one = Pulses.spread(np.full((40, 1), 3), window=1e-6, width=PULSE)
    settings = {"chip": np.arange(40), "index": np.zeros(40, np.int64), "window": 1e-6, "probes": np.array([0.99e-6])}
    level, sigma = layer.crossbar.chips.level_conductance[0, 0], layer.crossbar.read_sigma[0, 0, 0]
    mean = 3 * 0.05 * level * PULSE / 73.5e-15
    part = np.sqrt(3 * (5 * 10**2 + 5**2)) / (3 * 55)  # 10 ns each, and 5 ns at the end
    for noise in ("mean", "refresh"):
        u = layer.run(one, noise=noise, **settings).probes[:, 0]
        assert u.mean() == pytest.approx(mean, rel=3e-3)
        assert u.std() == pytest.approx(mean * sigma / level * part, rel=0.05)


def test_effects_change_counts_as_they_must():
    pulses = Pulses.spread(COUNTS[:1], window=WINDOW, width=PULSE)
    plain = _network([0], read_noise=False).run(pulses)[0].counts().sum()
    slow = _network([0], read_noise=False, dead_time=400e-9).run(pulses)[0].counts().sum()
    weak = _network([0], read_noise=False, offset_low=5e-3, offset_high=5e-3).run(pulses)[0].counts().sum()
    assert slow < plain
    assert weak == pytest.approx(0.9 * plain, rel=0.06)


def test_delays_of_input_neurons():
    pulses = Pulses.spread(COUNTS, window=WINDOW, width=PULSE)
    network = _network([0, 1], read_noise=False)
    late = AnalogNetwork(network.layers, window=WINDOW, input_delay_sigma=50e-9)
    times = [n.run(pulses)[0].time for n in (network, late)]
    assert len(times[0]) > 50
    assert not np.array_equal(times[0], times[1])


def test_mapping_errors_are_reported():
    network = AnalogNetwork.from_weights(
        [np.array([[0.0, 0.01, 0.02, 0.5]])],
        siemens=SIEMENS,
        device=RRAM.sky130(),
        cells=2,
        neuron=IFNeuron.sky130(),
        window=WINDOW,
    )
    chips = network.layers[0].crossbar.chips
    np.testing.assert_allclose(chips.level_conductance[:3, 0] / SIEMENS, [0.0, 0.0, 0.03])
    np.testing.assert_allclose(chips.mapping_error[:3, 0] / SIEMENS, [0.0, -0.01, 0.01], atol=1e-12)
    assert 0 < abs(chips.mapping_error[3, 0]) / SIEMENS < 0.5 * 0.09


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Pulses.from_steps(np.ones((1, 1, 1)), step=50e-9, width=PULSE),
            "pulse width: 5.5e-08 s was given; acc",
        ),
        (lambda: Pulses.from_steps(2 * np.ones((1, 1, 1)), step=1e-6, width=PULSE), "accepted: 0 or 1, .inputs, steps"),
        (
            lambda: Pulses.spread(np.array([[500]]), window=WINDOW, width=PULSE),
            "input 0, row 0 at .* at least the pulse",
        ),
        (lambda: Pulses.spread(np.array([[-1]]), window=WINDOW, width=PULSE), "accepted: whole numbers"),
        (lambda: _network([0], pulse_width=60e-9), "pulse_width: 6e-08 s was given; accepted: up to the reset"),
        (lambda: _network([]), "seeds: none was given"),
        (
            lambda: _network([0]).run(Pulses.spread(np.array([[1]]), window=WINDOW, width=PULSE)),
            "pulses: 1 rows were given; accepted: 4",
        ),
        (
            lambda: AnalogNetwork.from_weights(
                [np.array([[0.95]])],
                siemens=SIEMENS,
                device=RRAM.sky130(),
                cells=2,
                neuron=IFNeuron.sky130(),
                window=1e-6,
            ),
            r"conductance\[0, 0\]: 5.33\S+ S was given; accepted: 1.68\S+ to 5.05\S+ S",
        ),
        (
            lambda: AnalogNetwork.from_weights(
                [np.array([[-0.5]])], siemens=SIEMENS, device=RRAM.sky130(), neuron=IFNeuron.sky130(), window=1e-6
            ),
            "weights of layer 0: -0.5 was given; accepted: 0 or more",
        ),
        (
            lambda: AnalogLayer(Crossbar(np.ones((1, 1)) * 1e-6, device=ideal()), IFNeuron.sky130()),
            "topology: row_driven",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(InputError, match=message):
        build()
