"""The interception task: a predator steered by a spiking network of 4-30-1 neurons catches a prey.

`prey` moves along seeded paths; `pursuit` closes the loop from what the predator sees to its heading; `code` turns
what it sees into spikes and spikes into an angle; `controllers` holds the network as real numbers and as integers;
`evolution` trains it. The rules are those of the published task (arXiv:2605.31299 and its authors' code).
"""

from .code import INPUTS, MAX_SPIKES, STEPS, decode, encode, spike_counts
from .controllers import Controller, IntegerController, ReferenceController
from .prey import FAMILIES, draw_prey
from .pursuit import Pursuit, pure_pursuit, pursue, steer
from .weights import Weights, integer_network, load_weights, network_nir, own_weights, read_weights

__all__ = [
    "FAMILIES",
    "INPUTS",
    "MAX_SPIKES",
    "STEPS",
    "Controller",
    "IntegerController",
    "Pursuit",
    "ReferenceController",
    "Weights",
    "decode",
    "draw_prey",
    "encode",
    "integer_network",
    "load_weights",
    "network_nir",
    "own_weights",
    "pure_pursuit",
    "pursue",
    "read_weights",
    "spike_counts",
    "steer",
]
