"""Stochastic neurons in integers against the oracle, and their random words against chance."""

import itertools
import math
from dataclasses import replace

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import oracle
from spikeloom.errors import InputError
from spikeloom.network.float_network import HALF, simulate_float
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.nir_import import import_nir
from spikeloom.network.quantise import QuantiseOptions, quantise
from spikeloom.network.reference import simulate
from spikeloom.network.stochastic import Z_TOP, Stochastic, cloglog, cloglog_table, speck_keys, words
from spikeloom.network.storage import load_network, save_network

TABLE = cloglog_table(-5.5, 1 / 16)


def test_words_are_the_block_cipher_of_its_paper():
    """Speck32/64 of Beaulieu et al., appendix: its 22 rounds on its test vector."""
    x, y = 0x6574, 0x694C
    for key in speck_keys((0x0100, 0x0908, 0x1110, 0x1918), 22):
        x = ((x >> 7 | x << 9) + y & 0xFFFF) ^ key
        y = (y << 2 & 0xFFFF | y >> 14) ^ x
    assert (x, y) == (0xA868, 0x42F2)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_words_match_oracle(seed, stream, step):
    found = words(seed, stream, np.arange(5), step, 3)
    for t, row in enumerate(found):
        assert row.tolist() == [oracle.random_word(seed, stream, n, (step + t) % 2**32) for n in range(5)]


def test_words_are_uniform():
    """Chi-square of the high byte, the low byte and each bit, over neurons and steps of three streams."""
    for seed, stream in ((0, 0), (0, 1), (12345, 7)):
        drawn = words(seed, stream, np.arange(512), 0, 1024).ravel()
        for part in (drawn >> 8, drawn & 255):
            assert 1e-4 < stats.chisquare(np.bincount(part, minlength=256)).pvalue < 1 - 1e-4
        ones = (drawn[:, None] >> np.arange(16) & 1).mean(axis=0)
        assert np.abs(ones - 0.5).max() < 5 * 0.5 / math.sqrt(len(drawn))


@pytest.mark.parametrize("other", ["neuron", "step", "stream", "seed"])
def test_words_are_not_correlated(other):
    """Between neighbours of every kind, at many distances, no correlation above chance: 5 sigma of N samples."""
    steps, neurons = 4096, 64
    first = words(3, 0, np.arange(neurons), 0, steps).astype(np.float64)
    pairs = []
    for distance in (1, 2, 3, 4, 8, 16, 32):
        if other == "neuron":
            pairs.append((first[:, :-distance], first[:, distance:]))
        elif other == "step":
            pairs.append((first[:-distance], first[distance:]))
        elif other == "stream":
            pairs.append((first, words(3, distance, np.arange(neurons), 0, steps)))
        else:
            pairs.append((first, words(3 ^ distance, 0, np.arange(neurons), 0, steps)))
    for a, b in pairs:
        a, b = a.ravel(), b.astype(np.float64).ravel()
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(len(a))
        # spikes of probability 1/256: whether one is there says nothing about the other
        both = ((a < 256) & (b < 256)).mean()
        assert abs(both - 2.0**-16) < 5 * math.sqrt(2.0**-16 / len(a))


def test_period():
    """The words of 2**16 steps are those of a permutation; the next 2**16 steps have others."""
    once = words(9, 1, np.arange(1), 0, 1 << 16).ravel()
    again = words(9, 1, np.arange(1), 1 << 16, 1 << 16).ravel()
    assert (once == again).mean() < 1e-3
    assert np.array_equal(words(9, 1, np.arange(3), (1 << 32) - 2, 4)[2:], words(9, 1, np.arange(3), 0, 2))
    block = [np.stack([words(9, 1, np.arange(256), t, 1)[0]]) for t in range(256)]
    assert 1e-4 < stats.chisquare(np.bincount(np.concatenate(block).ravel() >> 8, minlength=256)).pvalue


def test_table_is_the_complementary_log_log():
    for z8 in (-128, -40, 0, 50, 127):
        z = -5.5 + z8 / 16
        assert TABLE[z8 + 128] == min(65535, round((1 - math.exp(-math.exp(z))) * 65536))
    assert TABLE[0] == round(65536 * math.exp(-13.5))  # p = e^z where it is small
    assert cloglog(math.log(math.log(2))) == pytest.approx(0.5)


def stochastic(stream=0, **changes):
    return Stochastic(**{"table": TABLE, "shift": 2, "seed": 77, "stream": stream} | changes)


def layer(weights, bias, kind, name="fc1"):
    return IntegerLayer.dense(
        name=name, weights=np.array(weights), weight_bits=8, potential_bits=8, bias=np.array(bias), reset="none",
        threshold=1, stochastic=kind,
    )  # fmt: skip


@given(st.data(), st.sampled_from(["clear", "keep"]))
@settings(max_examples=25, deadline=None)
def test_network_matches_oracle(data, state):
    number = st.integers(-100, 100)
    shapes = [(3, 4), (4, 2)]
    specs, layers = [], []
    for depth, (fan_in, neurons) in enumerate(shapes):
        weights = data.draw(st.lists(st.lists(number, min_size=fan_in, max_size=fan_in), min_size=neurons,
                                     max_size=neurons))  # fmt: skip
        bias = data.draw(st.lists(st.integers(-300, 700), min_size=neurons, max_size=neurons))
        shift = data.draw(st.integers(0, 3))
        specs.append(
            {"weights": weights, "bias": bias, "leak": ("none",), "reset": "none", "theta": 1, "r": 0,
             "potential_bits": 8, "stochastic": (TABLE, shift, 77, depth)}
        )  # fmt: skip
        layers.append(layer(weights, bias, stochastic(depth, shift=shift), f"fc{depth}"))
    inputs = np.array(data.draw(st.lists(st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=3), min_size=40,
                                                  max_size=40), min_size=2, max_size=2)))  # fmt: skip
    network = IntegerNetwork(name="net", layers=tuple(layers), state=state)
    trace = simulate(network, inputs, potentials=True)
    wanted = oracle.simulate(specs, inputs.tolist(), state=state)
    assert [spikes.tolist() for spikes in trace.spikes] == wanted.spikes
    assert trace.potentials is not None
    assert [z8.tolist() for z8 in trace.potentials] == wanted.potentials


def test_rates_are_the_probabilities():
    """Over many steps a neuron of constant input spikes as often as its table says."""
    kind = stochastic(shift=0)
    network = IntegerNetwork(name="net", layers=(layer([[0]] * 5, [20, 60, 82, 95, 127], kind),))
    counts = simulate(network, np.zeros((1, 20_000, 1), np.uint8)).spikes[0].sum(axis=1)[0]
    for count, bias in zip(counts, [20, 60, 82, 95, 127], strict=True):
        p = TABLE[bias + 128] / 65536
        assert abs(count - 20_000 * p) < 5 * math.sqrt(20_000 * p * (1 - p)) + 1


def test_file_and_hash(tmp_path):
    network = IntegerNetwork(name="net", layers=(layer([[3]], [1], stochastic()),))
    again = load_network(save_network(network, tmp_path / "network.npz"))
    assert again.content_hash() == network.content_hash()
    assert again.layers[0].stochastic == network.layers[0].stochastic
    other = IntegerNetwork(name="net", layers=(layer([[3]], [1], stochastic(seed=78)),))
    assert other.content_hash() != network.content_hash()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"table": (0,) * 256}, "from 0 to 0 / 65536: its neurons never spike"),
        ({"table": (65535,) * 256}, "from 65535 to 65535 / 65536: its neurons always spike"),
        ({"table": (1, 2)}, "a table of 2 probabilities: accepted are 256"),
        ({"seed": 1 << 32}, "seed = 4294967296: accepted is an integer from 0 to 4294967295"),
        ({"stream": -1}, "stream = -1"),
        ({"shift": 32}, "shift = 32"),
    ],
)
def test_refuses(changes, text):
    with pytest.raises(InputError, match=text):
        stochastic(**changes)


def test_refuses_what_a_neuron_without_potential_cannot_have():
    with pytest.raises(InputError, match=r"layer 'fc1': stochastic neurons with 9 potential_bits, .* accepted are 8"):
        IntegerLayer.dense(
            name="fc1", weights=np.ones((1, 1), int), weight_bits=8, potential_bits=9, reset="zero", threshold=1,
            leak=Leak(kind="shift", shifts=(2,)), stochastic=stochastic(),
        )  # fmt: skip


def test_refuses_seeds_that_collide():
    layers = layer([[1]], [0], stochastic(4), "a"), layer([[1]], [0], stochastic(4), "b")
    with pytest.raises(InputError, match="layers 'a' and 'b' both draw the random words of seed 77, stream 4"):
        IntegerNetwork(name="net", layers=layers)


def graph_of(width, threshold=1.0, weight=None, bias=None):
    """A NIR graph of one convolution and one dense layer, both stochastic."""
    rng = np.random.Generator(np.random.Philox(5))
    kernel = rng.integers(-15, 16, (3, 1, 3, 3)) / 8 if weight is None else weight
    shape = (3, 3, 3)
    nodes = {
        "input": nir.Input({"input": np.array([1, 6, 6])}),
        "conv": nir.Conv2d(
            input_shape=(6, 6), weight=kernel, stride=(2, 2), padding=(1, 1), dilation=(1, 1), groups=1,
            bias=np.zeros(3) if bias is None else bias,
        ),
        "one": nir.Threshold(threshold=np.full(shape, threshold), metadata={"cloglog": np.full(shape, width)}),
        "flatten": nir.Flatten({"input": np.array(shape)}, start_dim=0),
        "fc": nir.Affine(weight=rng.standard_normal((2, 27)) / 2, bias=np.array([0.5, -1.0])),
        "two": nir.Threshold(threshold=np.ones(2), metadata={"cloglog": np.full(2, 0.5)}),
        "output": nir.Output({"output": np.array([2])}),
    }  # fmt: skip
    names = list(nodes)
    return nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(names)), metadata={})


def test_imports_and_quantises():
    """z8 of the integers stands for z of the real numbers, to half a step of the table and the error of the weights."""
    network = replace(import_nir(graph_of(0.25), dt=1e-3, reset="zero"), seed=11)
    assert [layer.cloglog for layer in network.layers] == [0.25, 0.5]
    integer, report = quantise(network, QuantiseOptions(weight_bits=8))
    assert [layer.stochastic.seed for layer in integer.layers] == [11, 11]
    assert [layer.stochastic.stream for layer in integer.layers] == [0, 1]
    spikes = (np.random.Generator(np.random.Philox(6)).random((20, 30, 36)) < 0.5).astype(np.uint8)
    real, got = (f(net, spikes, potentials=True) for f, net in ((simulate_float, network), (simulate, integer)))
    for index, (layer, row) in enumerate(zip(network.layers, report.layers, strict=True)):
        assert 1 / 24 < row.z_step <= 1 / 12
        z = (real.potentials[index] - layer.threshold) / layer.cloglog + HALF
        wanted = (z - (Z_TOP - 127 * row.z_step)) / row.z_step
        error = got.potentials[index] - np.clip(wanted, -128, 127)
        if index == 0:  # on the grid of the weights, and of the same inputs
            assert row.on_grid
            assert np.abs(error).max() <= 0.5 + 0.5 / (1 << integer.layers[0].stochastic.shift) + 1e-6
    assert (real.spikes[0] != got.spikes[0]).mean() < 0.01


@pytest.mark.parametrize("width", [0.0, -1.0])
def test_refuses_widths(width):
    with pytest.raises(InputError, match=r"node 'one': cloglog = .* accepted is a width above 0"):
        import_nir(graph_of(width), dt=1e-3, reset="zero")
