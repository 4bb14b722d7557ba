"""The analog models of the published circuit as controller, effect by effect: no gateware, no clock.

Defaults are those of the published SKY130 circuit (`IFNeuron.sky130`, `RRAM.sky130`): weight w is a resistance of
178.2 kOhm / w, gated cells, pulses and reset of 55 ns, a window of 24 us. The 4 input neurons stand for the pulse
generator: they give the encoder's spikes and change nothing.
"""

from dataclasses import dataclass, replace

import numpy as np

from spikeloom.errors import InputError
from spikeloom.network.interception import STEPS, Weights, encode, spike_counts
from spikeloom_analog import RRAM, AnalogNetwork, IFNeuron, Pulses, dead_time, ideal

__all__ = ["ALL_EFFECTS", "LADDER", "PULSE", "WINDOW", "AnalogController", "Effects", "analog_network"]

WINDOW = 24e-6
PULSE = 55e-9
UNIT_RESISTANCE = 178.2e3
"""Ohm of weight 1: a pulse then moves the membrane by 0.21 V, the distance from rest to threshold."""
BANDWIDTH = 100e6
"""Hz, gain-bandwidth product of the op-amp of an integrator: assumed."""
OFFSET = 5e-3
"""V, largest amplifier offset; uniform from 0."""


@dataclass(frozen=True, kw_only=True)
class Effects:
    """What of the circuit is not ideal.

    Attributes
    ----------
    spread : bool
        Input spikes evenly over the window, at k (window - pulse) / (n + 1); else at the beginning of the encoder's
        steps.
    levels : bool
        41 levels of resistance, two cells per synapse; else any conductance.
    dead_time : float
        Seconds after each reset in which the integrator does not follow.
    offset : float
        Largest offset of an amplifier in volts, uniform from 0, drawn for each neuron of a chip.
    read_noise : bool
        Noise of each cell, new every 10 ns of a pulse.
    """

    spread: bool = False
    levels: bool = False
    dead_time: float = 0.0
    offset: float = 0.0
    read_noise: bool = False

    def __post_init__(self):
        if self.read_noise and not self.levels:
            raise InputError("read noise without levels: accepted with the 41-level device only, whose noise is known")

    @property
    def varies(self) -> bool:
        """Whether chips, or runs, differ from each other."""
        return bool(self.offset) or self.read_noise


def _ladder() -> dict[str, Effects]:
    steps = {"spikes on step boundaries": Effects()}
    effects = Effects()
    for name, change in (
        ("spread over the window", {"spread": True}),
        ("+ 41 levels", {"levels": True}),
        ("+ dead time", {"dead_time": dead_time(BANDWIDTH)}),
        ("+ offset", {"offset": OFFSET}),
        ("+ read noise", {"read_noise": True}),
    ):
        steps[name] = effects = replace(effects, **change)
    steps["the same, on step boundaries"] = replace(effects, spread=False)
    return steps


LADDER: dict[str, Effects] = _ladder()
"""One effect after the other, by name; the last one takes the spread back."""
ALL_EFFECTS = LADDER["+ read noise"]


def analog_network(weights: Weights, effects: Effects, chips: int | range | list[int] = 0) -> AnalogNetwork:
    """The network on crossbars and analog neurons; `chips` are the seeds of the chips."""
    return AnalogNetwork.from_weights(
        [weights.hidden, weights.output[None]],
        siemens=1 / UNIT_RESISTANCE,
        device=RRAM.sky130(read_noise=effects.read_noise) if effects.levels else ideal(),
        cells=2 if effects.levels else 1,
        neuron=IFNeuron.sky130(dead_time=effects.dead_time, offset_high=effects.offset),
        window=WINDOW,
        seeds=chips,
    )


class AnalogController:
    """One chip, or several at once for Monte-Carlo figures."""

    def __init__(
        self, weights: Weights, effects: Effects = ALL_EFFECTS, chips: int | range | list[int] = 0, name="analog"
    ):
        self.effects, self.name = effects, name
        self.network = analog_network(weights, effects, chips)

    def pulses(self, values: np.ndarray) -> Pulses:
        """Input pulses of observations [B, 4]."""
        if self.effects.spread:
            return Pulses.spread(spike_counts(values), window=WINDOW, width=PULSE)
        return Pulses.from_steps(encode(values), step=WINDOW / STEPS, width=PULSE)

    def counts(self, values: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Output spikes of the first chip, int64 [B]; read noise belongs to the key of an observation."""
        return self.chip_counts(values, keys)[0]

    def chip_counts(self, values: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Output spikes of every chip, int64 [chips, B]."""
        if not len(values):
            return np.zeros((len(self.network.seeds), 0), np.int64)
        return self.network.counts(self.pulses(values), index=np.asarray(keys, np.int64))[:, :, 0]

    def trains(self, values: np.ndarray, keys: np.ndarray) -> list[list[np.ndarray]]:
        """Spike times of each observation on the first chip in encoder steps: inputs, hidden neurons, output."""
        pulses, step = self.pulses(values), WINDOW / STEPS
        layers = self.network.run(pulses, index=np.asarray(keys, np.int64))
        found = []
        for b, (start, row) in enumerate(zip(pulses.start, pulses.row, strict=True)):
            rows = [start[(row == i) & np.isfinite(start)] / step for i in range(pulses.rows)]
            rows += [layer.of(b, j) / step for layer in layers for j in range(layer.neurons)]
            found.append(rows)
        return found
