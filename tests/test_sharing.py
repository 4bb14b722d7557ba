"""Weight sharing: k-means in one dimension, tables of levels and indices into them."""

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom.network.integer import IntegerLayer
from spikeloom.network.sharing import centroids, distinct_levels, level_indices, share_weights, shared_weights


def layers_of(*weights: np.ndarray) -> list[IntegerLayer]:
    return [
        IntegerLayer.dense(name=f"fc{n}", weights=array, weight_bits=9, potential_bits=12, threshold=100)
        for n, array in enumerate(weights, 1)
    ]


def test_centroids_are_the_means_of_their_values():
    """The fixed point of Lloyd's iteration; with weights of both signs, the centre nearest to 0 then is 0."""
    values = np.random.default_rng(3).normal(size=500)
    found = centroids(values + 10, 8)
    nearest = np.abs(values[:, None] + 10 - found).argmin(axis=1)
    assert found.tolist() == pytest.approx([10 + values[nearest == n].mean() for n in range(8)])
    both = centroids(values, 8)
    assert np.sort(np.abs(found - 10 - both)).tolist() == pytest.approx([0] * 7 + [np.abs(found - 10).min()])
    assert (both == 0).sum() == 1


def test_centroids_find_clusters_and_count_repeated_values():
    rng = np.random.default_rng(1)
    centres = np.array([-50.0, -3.0, 0.0, 20.0])
    values = np.concatenate([centre + rng.uniform(-0.4, 0.4, 60) for centre in centres])
    assert centroids(values, 4) == pytest.approx(centres, abs=0.1)
    unique, counts = np.unique(np.rint(values), return_counts=True)
    assert centroids(unique, 2, counts=counts).tolist() == centroids(np.rint(values), 2).tolist()


def test_few_values_stay_as_they_are():
    layers = layers_of(np.array([[1, 2], [3, 3]]), np.array([[7, -7]]))
    assert share_weights(layers, 3) == layers
    (first, second) = share_weights(layers, 4, across="network")
    assert len(distinct_levels([first, second])) <= 4


@pytest.mark.parametrize("across", ["layer", "network"])
def test_shared_layers_have_few_levels_near_their_weights(across):
    rng = np.random.default_rng(2)
    layers = layers_of(rng.integers(-200, 200, (30, 20)), rng.integers(-40, 40, (5, 30)))
    shared = share_weights(layers, 16, across=across)
    assert len(distinct_levels(shared)) <= (16 if across == "network" else 32)
    for layer, before in zip(shared, layers, strict=True):
        assert len(distinct_levels([layer])) <= 16
        away = np.abs(layer.connections[0].weights - before.connections[0].weights)
        span = np.ptp(distinct_levels([before] if across == "layer" else layers))
        assert away.max() <= span / 15  # half the largest distance of centres that began evenly spaced, and their moves


def test_indices_lead_back_to_the_weights():
    weights = np.array([[5, -3, 0], [0, 5, 5]])
    table = np.array([-3, 0, 5])
    indices = level_indices(weights, table)
    assert indices.tolist() == [[2, 0, 1], [1, 2, 2]]
    np.testing.assert_array_equal(shared_weights(indices, table), weights)
    with pytest.raises(InputError, match=r"weight 5 of synapse \[0, 0\]: accepted are the levels \[-3, 0\]"):
        level_indices(weights, table[:2])
    with pytest.raises(InputError, match=r"index 2 of synapse \[0, 0\]: accepted is 0 to 1: the table has 2 levels"):
        shared_weights(indices, table[:2])


@pytest.mark.parametrize("levels", [1, 257])
def test_numbers_of_levels(levels):
    with pytest.raises(InputError, match=f"{levels} levels: accepted are 2 to 256"):
        centroids(np.arange(5.0), levels)
