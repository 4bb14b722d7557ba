"""Energy of stochastic neurons and their arrays for given inputs, on one chip.

    crossbar    row_voltage^2 x conductance of the row x tw, of each driven row of each position and step
    amplifiers  current x supply x tw, of each write
    write       V^2 (off conductance) tw; a device that switches conducts for half of the pulse, on average
    read        read_voltage^2 x conductance x its time, of each device as the write left it
    reset       reset_voltage^2 x on conductance x its time, of each device that switched

Row drivers, sensing and control are not in it: control is digital, and its energy comes from synthesis.
"""

from collections.abc import Iterable

import numpy as np

from .stochastic import QUANTUM, StochasticChips

__all__ = ["ITEMS", "stochastic_energy"]

ITEMS = ("crossbar", "amplifiers", "write", "read", "reset")


def stochastic_energy(
    chips: StochasticChips, spikes: np.ndarray, indices: Iterable[int] | None = None, *, chip: int = 0
) -> dict[str, float]:
    """J of each of ITEMS, and `writes`, `resets`: the mean over inputs [B, T, inputs]."""
    numbers = list(range(len(spikes)) if indices is None else indices)
    total = dict.fromkeys((*ITEMS, "writes", "resets"), 0.0)
    given = spikes
    for layer, fired in zip(chips.layers, chips.run(spikes, numbers, chip=chip), strict=True):
        n = layer.neuron
        for before, after in zip(given, fired, strict=True):
            rows = layer.patches.take(before)
            volts = layer.voltages(rows, chip) * QUANTUM  # [T, positions, N]
            switched = after.reshape(len(after), layer.channels, -1).transpose(0, 2, 1).astype(bool)
            on, writes = float(switched.sum()), float(switched.size)
            square, mean_on = volts**2, (n.on_conductance + n.off_conductance) / 2
            total["crossbar"] += float((rows.sum(axis=(0, 1)) @ layer.conductance) * n.row_voltage**2 * n.write)
            total["amplifiers"] += writes * n.amplifier_current * n.amplifier_supply * n.write
            total["write"] += float((square * np.where(switched, mean_on, n.off_conductance)).sum() * n.write)
            total["read"] += n.read_voltage**2 * n.read * (
                on * n.on_conductance + (writes - on) * n.off_conductance
            )  # fmt: skip
            total["reset"] += on * n.reset_voltage**2 * n.on_conductance * n.reset
            total["writes"] += writes
            total["resets"] += on
        given = fired
    return {key: value / len(spikes) for key, value in total.items()}
