"""Switching devices against their law, and chips of them against the probabilities of the network."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom.network.connections import FloatConnection
from spikeloom.network.float_network import HALF, FloatLayer, FloatNetwork
from spikeloom_analog.stochastic import QUANTUM, Patches, StochasticChips, ideal_neuron, synapse
from spikeloom_analog.stochastic_energy import stochastic_energy
from spikeloom_analog.switching_neuron import SwitchingNeuron, describe_neuron, hazard, load_neuron, switches

NEURON = SwitchingNeuron()


def rng(key):
    return np.random.Generator(np.random.Philox(key=[8, key]))


def test_probability_of_a_pulse():
    """The law, written out; half of the devices switch where z = ln ln 2."""
    for v in (3.0, 3.8, 4.03, 4.3):
        wanted = 1 - math.exp(-(NEURON.write / NEURON.tau0) * math.exp(v / NEURON.v0))
        assert NEURON.probability(v) == pytest.approx(wanted)
    half = NEURON.v0 * (HALF - NEURON.log_ratio)
    assert NEURON.probability(half) == pytest.approx(0.5)
    assert 4.0 < half < 4.1


def test_hazard_of_pieces():
    """A pulse of four pieces: the part that switches is 1 - exp(-hazard), and a piece may be cut in two."""
    v, dt = np.array([3.9, 4.1, 3.5, 4.0]), np.array([2e-7, 3e-7, 4e-7, 1e-7])
    total = float(hazard(NEURON, v, dt))
    waits = rng(1).standard_exponential(200_000)
    share = switches(NEURON, v, dt, waits).mean()
    p = 1 - math.exp(-total)
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / len(waits))
    cut = hazard(NEURON, np.repeat(v, 2), np.repeat(dt / 2, 2))
    assert float(cut) == pytest.approx(total)


def test_threshold_is_the_exact_form_of_a_rectangular_pulse():
    waits, v = rng(2).standard_exponential(5000), 3.6 + 0.8 * rng(3).random(5000)
    limits = NEURON.thresholds(np.array(NEURON.v0), np.log(NEURON.tau0), waits, np.zeros(5000))
    exact = switches(NEURON, v[:, None], np.array([NEURON.write]), waits)
    assert np.array_equal(v >= limits, exact)
    assert 0.1 < exact.mean() < 0.9


def network(positions=1, seed=0) -> FloatNetwork:
    """A convolution on a 5 x 4 map and a dense layer, or a dense layer alone."""
    draw = rng(seed + 10)
    layers = []
    if positions > 1:
        kernel = FloatConnection(weights=draw.integers(-15, 16, (3, 2, 3, 3)) / 16, source_shape=(2, 5, 4),
                                 stride=(2, 1), padding=(1, 1))  # fmt: skip
        layers.append(FloatLayer(name="conv1", connections=(kernel,), threshold=1.0, cloglog=1.0,
                                 bias=np.repeat([0.5, 0.0, 1.0], 12)))  # fmt: skip
        dense = FloatConnection(weights=draw.integers(-15, 16, (4, 36)) / 16, source_shape=(3, 3, 4))
    else:
        dense = FloatConnection(weights=draw.integers(-15, 16, (4, 6)) / 16)
    layers.append(FloatLayer(name="fc1", connections=(dense,), threshold=1.0, cloglog=0.5, bias=draw.random(4)))
    return FloatNetwork(name="net", layers=tuple(layers), dt=1e-3)


def test_patches_are_the_convolution():
    (layer, _) = network(positions=12).layers
    spikes = (rng(4).random((3, 40)) < 0.5).astype(np.uint8)
    patches = Patches.of(layer)
    assert (patches.rows, patches.map, patches.positions) == (18, (3, 4), 12)
    kernel = layer.connections[0].weights.reshape(3, -1)
    found = (patches.take(spikes) @ kernel.T).transpose(0, 2, 1).reshape(3, -1)
    np.testing.assert_allclose(found, (layer.connections[0].matrix @ spikes.T).T)


def test_ideal_chip_spikes_with_the_probabilities():
    """Cells on exact levels, devices without spread: rates of the first layer are those of the law, within 5 sigma."""
    net = network(positions=12)
    chips = StochasticChips.of(net, neuron=ideal_neuron(), device=synapse(levels=16, sigma=0.0, drift=False), seeds=3)
    spikes = np.repeat((rng(5).random((1, 1, 40)) < 0.5).astype(np.uint8), 3000, axis=1)
    first, _ = chips.run(spikes)
    layer = net.layers[0]
    z = layer.connections[0].matrix @ spikes[0, 0] + layer.bias - 1.0 + HALF
    p = 1 - np.exp(-np.exp(z))
    # 1 ohm per segment takes a little of the current: about 0.1 % of z, allowed for beside the 5 sigma
    error = np.abs(first[0].mean(axis=0) - p)
    assert (error < 5 * np.sqrt(p * (1 - p) / 3000) + 0.01).all()
    assert (p < 0.2).any()
    assert (p > 0.8).any()


def test_a_write_depends_on_what_it_is_for():
    """On the chip, the input and the step; not on other inputs, later steps, or what ran before."""
    chips = StochasticChips.of(network(positions=12), seeds=(5, 6))
    spikes = (rng(6).random((4, 6, 40)) < 0.5).astype(np.uint8)
    whole = chips.run(spikes, range(4), chip=1)
    one = chips.run(spikes[2:3, :4], [2], chip=1)
    for a, b in zip(whole, one, strict=True):
        assert np.array_equal(a[2:3, :4], b)
    alone = StochasticChips.of(network(positions=12), seeds=6).run(spikes, range(4))
    assert all(np.array_equal(a, b) for a, b in zip(whole, alone, strict=True))
    other = chips.run(spikes, range(4), chip=0)
    assert any((a != b).any() for a, b in zip(whole, other, strict=True))


def test_integers_decide():
    """v is a clamped sum of whole units, in the order of nothing."""
    (layer,) = StochasticChips.of(network(), seeds=1).layers
    rows = (rng(7).random((50, 1, 6)) < 0.5).astype(np.uint8)
    v = layer.voltages(rows, 0)
    for b, n in itertools.product(range(50), range(4)):
        total = int(layer.bias[0, n]) + sum(int(layer.table[0, i, n]) for i in range(6) if rows[b, 0, i])
        assert v[b, 0, n] == min(max(total, 0), round(NEURON.clamp / QUANTUM))


def test_spread_and_trimming():
    """sigma(V0) / V0 of 2 % and sigma(ln tau0) of 0.3 move z by 0.6; a trimmed bias leaves half a step."""
    big = FloatConnection(weights=np.eye(400)[:, :8] + 0.01)
    net = FloatNetwork(name="net", dt=1e-3, layers=(
        FloatLayer(name="fc1", connections=(big,), threshold=1.0, cloglog=1.0, bias=np.full(400, 1.0)),
    ))  # fmt: skip

    def off(neuron):
        (layer,) = StochasticChips.of(net, neuron=neuron, seeds=range(5)).layers
        z = layer.bias * QUANTUM / layer.v0 + np.log(neuron.write) - layer.ln_tau0
        return z - HALF

    assert off(NEURON).std() == pytest.approx(math.hypot(0.02 * 26.0, 0.3), rel=0.1)
    step = 0.02
    assert np.abs(off(replace(NEURON, trim=step))).max() < 0.5 * step / NEURON.v0 * 1.1


@pytest.mark.parametrize(("write", "what"), [(1e-20, "never"), (1e8, "always")])
def test_refuses_pulses_that_decide_nothing(write, what):
    with pytest.raises(InputError, match=rf"write: .* the device {what} switches, with a probability of .* accepted: "):
        SwitchingNeuron(write=write)


def test_refuses(tmp_path):
    with pytest.raises(InputError, match="seeds: 4 was given 2 times; accepted: every chip its own"):
        StochasticChips.of(network(), seeds=(4, 1, 4))
    pooled = FloatConnection(weights=np.ones((2, 2)), source_shape=(2, 2, 2), pool=(2, 2))
    layer = FloatLayer(name="fc1", connections=(pooled,), threshold=1.0, cloglog=1.0)
    with pytest.raises(InputError, match=r"layer 'fc1': 1 connections, .* pool \[2, 2\]; accepted for an array"):
        Patches.of(layer)
    plain = replace(layer, cloglog=None, connections=(FloatConnection(weights=np.ones((2, 2))),))
    with pytest.raises(InputError, match="layer 'fc1': neurons with potentials"):
        StochasticChips.of(FloatNetwork(name="net", layers=(plain,), dt=1e-3))
    assert describe_neuron()["tau0"]["assumed"]
    (tmp_path / "n.toml").write_text("schema = 1\nv0 = 0.2\n")
    assert load_neuron(tmp_path / "n.toml").v0 == 0.2


def test_energy_of_one_neuron():
    """Written out for a single device under a voltage that always switches, and one that never does."""
    for bias, fires in ((60.0, 1), (-15.0, 0)):
        layer = FloatLayer(name="fc1", connections=(FloatConnection(weights=np.array([[1.0]])),), threshold=1.0,
                           cloglog=1.0, bias=np.array([bias]))  # fmt: skip
        net = FloatNetwork(name="net", layers=(layer,), dt=1e-3)
        exact = synapse(levels=None, sigma=0.0, drift=False)
        chips = StochasticChips.of(net, neuron=ideal_neuron(), device=exact, seeds=0)
        found = stochastic_energy(chips, np.ones((1, 3, 1), np.uint8))
        n, volts = NEURON, NEURON.clamp if fires else NEURON.v0 * (1 + bias - 1 + HALF - NEURON.log_ratio)
        on, off = n.on_conductance, n.off_conductance
        assert found["writes"] == 3
        assert found["resets"] == 3 * fires
        assert found["crossbar"] == pytest.approx(3 * n.row_voltage**2 * 21e-6 * n.write)
        assert found["amplifiers"] == pytest.approx(3 * 10e-6 * 5.0 * 1e-6)
        assert found["write"] == pytest.approx(3 * volts**2 * ((on + off) / 2 if fires else off) * n.write, rel=1e-2)
        assert found["read"] == pytest.approx(3 * 0.25 * 20e-9 * (on if fires else off))
        assert found["reset"] == pytest.approx(3 * fires * 4.0 * on * 1e-6)
