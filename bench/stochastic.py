"""Networks of stochastic neurons on memristive chips: accuracy with everything on, over chips, steps and sigma(V0).

Each chip takes test pictures of its own, so that all chips together take the first CHIPS * PICTURES; beside them the
artificial network of the same weights, whose neurons hand on their probabilities, and the integer network. Everything
on: 16 levels, sigma_G 10 %, 1 ohm per segment in arrays of 64 x 64, a day of drift, sigma(V0) / V0 = 2 %,
sigma(ln tau0) = 0.3, cycle-to-cycle and amplifier noise.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from _common import data_folder, main

from spikeloom.network import zoo
from spikeloom.network.coding import bernoulli
from spikeloom.network.datasets import load_mnist
from spikeloom.network.float_network import FloatNetwork
from spikeloom.network.stochastic import cloglog
from spikeloom_analog.stochastic import StochasticChips, ideal_neuron, synapse
from spikeloom_analog.switching_neuron import SwitchingNeuron

CHIPS, PICTURES, STEPS = 20, 50, 100
SWEPT_CHIPS, SWEPT_STEPS = 8, 50
SHOWN = (1, 2, 5, 10, 20, 50, 100)
SIGMAS = (0.0, 0.01, 0.02, 0.04, 0.08)
DAY = 86_400.0
TRIM = 0.02
ENDURANCE = 1e9
"""Writes that a device survives: assumed."""


def measure() -> dict:
    """The figures, by network."""
    data = load_mnist(data_folder("mnist"))
    names = [name for name in zoo.names() if zoo.settings(name).get("core") == "stochastic"]
    return {name: one(zoo.load(name), data.test_x, data.test_y) for name in names}


def one(network: FloatNetwork, pictures: np.ndarray, labels: np.ndarray) -> dict:
    """The figures of a network."""
    neuron, many = SwitchingNeuron(), CHIPS * PICTURES
    ann = (artificial(network, pictures) == labels).mean()
    ann_same = (artificial(network, pictures[:many]) == labels[:many]).mean()
    good = accuracies(StochasticChips.of(network, seeds=range(CHIPS), seconds=DAY), pictures, labels, STEPS)
    trimmed = SwitchingNeuron(trim=TRIM)
    better = accuracies(
        StochasticChips.of(network, seeds=range(CHIPS), seconds=DAY, neuron=trimmed), pictures, labels, STEPS
    )
    exact = synapse(sigma=0.0, drift=False)
    ideal = StochasticChips.of(network, seeds=(0,), neuron=ideal_neuron(), device=exact)
    reference = accuracies(ideal, pictures, labels, STEPS, pictures=many)
    sweep = {}
    for sigma in SIGMAS:
        chips = StochasticChips.of(
            network, seeds=range(SWEPT_CHIPS), seconds=DAY, neuron=SwitchingNeuron(sigma_v0=sigma)
        )
        found = accuracies(chips, pictures, labels, SWEPT_STEPS)[:, -1]
        sweep[f"{sigma:g}"] = {"mean": float(found.mean()), "worst": float(found.min())}
    neurons = sum(layer.neurons for layer in network.layers)
    devices = sum(layer.channels for layer in ideal.layers)
    positions = max(layer.patches.positions for layer in ideal.layers)
    phases = neuron.write + neuron.read + neuron.reset
    return {
        "layers": len(network.layers),
        "neurons": neurons,
        "devices": devices,
        "chips": CHIPS,
        "pictures": many,
        "artificial_accuracy_all": float(ann),
        "artificial_accuracy": float(ann_same),
        "ideal_accuracy_by_steps": by_steps(reference),
        "accuracy_by_steps": by_steps(good),
        "accuracy": float(good[:, -1].mean()),
        "accuracy_spread": float(good[:, -1].std()),
        "accuracy_worst": float(good[:, -1].min()),
        "loss_points": float(100 * (ann_same - good[:, -1].mean())),
        "trimmed_accuracy": float(better[:, -1].mean()),
        "trimmed_loss_points": float(100 * (ann_same - better[:, -1].mean())),
        "accuracy_by_sigma_v0": sweep,
        "steps": STEPS,
        "phase_seconds": phases,
        "latency_seconds": (len(network.layers) + STEPS - 1) * positions * phases,
        "writes_per_input": STEPS * neurons,
        "writes_per_device_and_input_most": STEPS * positions,
        "inputs_until_worn": ENDURANCE / (STEPS * positions),
    }


def artificial(network: FloatNetwork, pictures: np.ndarray) -> np.ndarray:
    """Decisions of the network whose neurons hand on their probabilities."""
    x = pictures.astype(np.float64)
    for layer in network.layers:
        x = cloglog(layer.z((layer.connections[0].matrix @ x.T).T + layer.bias))
    return x.argmax(axis=1)


def accuracies(
    chips: StochasticChips, x: np.ndarray, labels: np.ndarray, steps: int, *, pictures: int = PICTURES
) -> np.ndarray:
    """Part of right decisions of each chip after each of SHOWN steps, float64 [C, steps shown]."""
    shown = [step for step in SHOWN if step <= steps]
    found = []
    for chip in range(len(chips.seeds)):
        first = chip * pictures
        part = slice(first, first + pictures)
        spikes = bernoulli(x[part], steps, 0, first_index=first)
        counts = chips.counts(spikes, range(first, first + pictures), chip=chip)
        found.append([(counts[:, step - 1].argmax(axis=1) == labels[part]).mean() for step in shown])
    return np.array(found)


def by_steps(found: np.ndarray) -> dict:
    """Mean over the chips, by number of steps."""
    return {str(step): float(mean) for step, mean in zip(SHOWN, found.mean(axis=0), strict=False)}


if __name__ == "__main__":
    main(measure, __doc__ or "")
