"""Artificial networks against the spiking ones that they become."""

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom.network.coding import bernoulli, rate
from spikeloom.network.connections import FloatConnection
from spikeloom.network.conversion import ArtificialLayer, activations, compare, convert
from spikeloom.network.datasets import load_digits_split


def dense(name, weights, bias):
    return ArtificialLayer(name=name, connection=FloatConnection(weights=weights), bias=bias)


@pytest.fixture(scope="module")
def trained():
    """Digits, and a rectified network of scikit-learn on them."""
    from sklearn.neural_network import MLPClassifier

    data = load_digits_split()
    model = MLPClassifier((24,), max_iter=200, random_state=0, learning_rate_init=0.01, tol=1e-2)
    model.fit(data.train_x, data.train_y)
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    layers = [dense(f"fc{n}", weights.T, bias) for n, (weights, bias) in enumerate(pairs, 1)]
    assert np.array_equal(activations(layers, data.test_x, "relu")[-1].argmax(axis=1), model.predict(data.test_x))
    return data, layers


def test_relu_becomes_integrate_and_fire(trained):
    data, layers = trained
    network = convert(layers, "relu", data=data.train_x)
    spikes = rate(data.test_x, 100)
    report = compare(layers, "relu", network, data.test_x, spikes, data.test_y)
    assert report.artificial_accuracy > 0.95
    assert report.accuracy[100] > report.artificial_accuracy - 0.02
    assert report.accuracy[1] < report.accuracy[100]
    assert report.correlation["fc1"] > 0.98


def test_scales_keep_rates_below_one(trained):
    """Weights go by the largest activation of their layer, and of the layer before."""
    data, layers = trained
    network = convert(layers, "relu", data=data.train_x, percentile=100.0)
    tops = [1.0, *(x.max() for x in activations(layers, data.train_x, "relu"))]
    for n, (spiking, artificial) in enumerate(zip(network.layers, layers, strict=True)):
        weights = spiking.connections[0].weights
        np.testing.assert_allclose(weights * tops[n + 1], artificial.connection.weights * tops[n])
        np.testing.assert_allclose(spiking.bias * tops[n + 1], artificial.bias)


def test_cloglog_becomes_stochastic():
    """The first layer has the rates of its probabilities where inputs are 0 or 1; biases keep their meaning."""
    rng = np.random.Generator(np.random.Philox(3))
    kernel = FloatConnection(weights=rng.standard_normal((2, 1, 3, 3)), source_shape=(1, 4, 4), padding=(1, 1))
    layers = [
        ArtificialLayer(name="conv1", connection=kernel, bias=np.repeat(rng.standard_normal(2) - 1, 16)),
        ArtificialLayer(
            name="fc1",
            connection=FloatConnection(weights=rng.standard_normal((3, 8)) / 4, source_shape=(2, 4, 4), pool=(2, 2)),
            bias=np.zeros(3),
        ),
    ]
    network = convert(layers, "cloglog", seed=4)
    values = (rng.random((30, 16)) < 0.5).astype(float)
    report = compare(layers, "cloglog", network, values, bernoulli(values, 400, 0), np.zeros(30, int))
    assert report.correlation["conv1"] > 0.995
    assert report.correlation["fc1"] > 0.6


def test_refuses():
    layers = [dense("fc1", np.array([[-1.0]]), np.zeros(1))]
    with pytest.raises(InputError, match="data: none were given; accepted for relu"):
        convert(layers, "relu")
    with pytest.raises(InputError, match="layer 'fc1': silent on all data"):
        convert(layers, "relu", data=np.ones((1, 1)))
    with pytest.raises(InputError, match="activation: 'tanh' was given; accepted: relu, cloglog"):
        convert(layers, "tanh")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="percentile: 0 was given"):
        convert(layers, "relu", data=np.ones((1, 1)), percentile=0)
