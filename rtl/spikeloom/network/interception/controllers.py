"""Controllers of the interception task: what they have in common, the network in real numbers, and in integers."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..integer import IntegerNetwork
from ..reference import simulate
from .code import encode
from .weights import Weights, integer_network

__all__ = ["Controller", "IntegerController", "ReferenceController"]


class Controller(Protocol):
    """From what the predator sees to a number of spikes; batched, and without memory from call to call."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def counts(self, values: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Output spikes, int64 [B], for `values` float64 [B, 4] in [0, 1].

        `keys` int64 [B] name each observation: whatever is random in a controller depends on the key, never on the
        place in the batch.
        """
        ...


@dataclass(frozen=True, eq=False)
class ReferenceController:
    """The network in double precision: T = 50 steps, threshold 1, reset to 0, no leak.

    In each step v_j <- v_j + sum_i W1_ji s_i; neuron j of 30 fires at v_j >= 1 and returns to 0; the output adds the
    weights of those that fired, in the same step, and does the same. Sums go from input to input, so an answer does
    not depend on the batch.
    """

    weights: Weights
    name: str = "float"

    def counts(self, values: np.ndarray, keys: np.ndarray | None = None) -> np.ndarray:
        """Output spikes, int64 [B]."""
        return self.spikes(values)[1].sum(axis=1, dtype=np.int64)

    def spikes(self, values: np.ndarray, keys: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Spikes of the hidden neurons, uint8 [B, STEPS, 30], and of the output, uint8 [B, STEPS]."""
        given = encode(values)
        batch, steps, _ = given.shape
        first, second = self.weights.hidden, self.weights.output
        hidden, output = np.zeros((batch, steps, len(first)), np.uint8), np.zeros((batch, steps), np.uint8)
        v, u = np.zeros((batch, len(first))), np.zeros(batch)
        for t in range(steps):
            for i in range(given.shape[2]):
                v += given[:, t, i, None] * first[:, i]
            fired = v >= 1
            v[fired] = 0
            for j in np.flatnonzero(fired.any(axis=0)):
                u += fired[:, j] * second[j]
            hidden[:, t], output[:, t] = fired, u >= 1
            u[u >= 1] = 0
        return hidden, output


class IntegerController:
    """The network with Q0.8 weights: the integer network and its reference simulator, which the core must equal."""

    def __init__(self, weights: Weights | IntegerNetwork, name: str = "integer"):
        self.network = integer_network(weights) if isinstance(weights, Weights) else weights
        self.name = name

    def counts(self, values: np.ndarray, keys: np.ndarray | None = None) -> np.ndarray:
        """Output spikes, int64 [B]."""
        return simulate(self.network, encode(values)).counts[:, 0]
