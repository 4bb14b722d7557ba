"""Energy of an input on stochastic memristive neurons: arrays, amplifiers, writes, reads and resets, on one chip.

Beside it what the integers do for the same inputs on the digital twin: cycles and synaptic operations. The energy of
the twin comes from `spikeloom report`.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from _common import data_folder, main

from spikeloom.network import zoo
from spikeloom.network.coding import bernoulli
from spikeloom.network.datasets import load_mnist
from spikeloom.network.quantise import QuantiseOptions, quantise
from spikeloom.network.reference import simulate, synaptic_operations
from spikeloom_analog.stochastic import StochasticChips
from spikeloom_analog.stochastic_energy import ITEMS, stochastic_energy

INPUTS, STEPS = 20, 100


def measure() -> dict:
    """The figures, by network."""
    pictures = load_mnist(data_folder("mnist")).test_x[:INPUTS]
    found = {}
    for name in zoo.names():
        if zoo.settings(name).get("core") != "stochastic":
            continue
        network = zoo.load(name)
        spikes = bernoulli(pictures, STEPS, 0)
        energy = stochastic_energy(StochasticChips.of(network, seeds=0), spikes)
        integer, _ = quantise(network, QuantiseOptions(weight_bits=8))
        operations = synaptic_operations(integer, spikes, simulate(integer, spikes).spikes)
        total = sum(energy[item] for item in ITEMS)
        found[name] = {
            **{f"{item}_joule": energy[item] for item in ITEMS},
            "joule_per_input": total,
            "writes_per_input": energy["writes"],
            "resets_per_input": energy["resets"],
            "synaptic_operations_per_input": float(np.mean(operations.sum(axis=1))),
            "joule_per_synaptic_operation": total / float(np.mean(operations.sum(axis=1))),
            "steps": STEPS,
        }
    return found


if __name__ == "__main__":
    main(measure, __doc__ or "")
