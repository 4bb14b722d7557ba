"""Memristive devices that switch at random, as neurons: written, read, and reset where they switched. SI units.

A device off waits a time of mean tau = tau0 exp(-V / V0) under a voltage V before it switches on. In a write pulse of
length tw it switches with probability::

    P = 1 - exp(-(tw / tau0) exp(V / V0)) = 1 - exp(-exp(z))          z = V / V0 + ln(tw / tau0)

the complementary log-log function. Exactly, and for any pulse, it switches when its hazard reaches a number E drawn
from the exponential distribution of mean 1: sum of dt / tau(V) >= E. For a rectangular pulse that is a threshold on the
voltage, drawn anew for each write::

    V >= V0 (ln E - ln(tw / tau0)) - noise

which is all that is left of the device once the draw is made: an integer comparison, here and behind an analog port.

V is what a transimpedance amplifier makes of a pair of crossbar columns, between 0 and `clamp`::

    V = clamp(V_bias + R_t I)       R_t I = V0 sum_i w_i s_i       V_bias = V0 (b - ln(tw / tau0))

with the V0 and tau0 of the process; V0 and ln tau0 of a device are off by normal numbers of its chip.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from spikeloom.errors import InputError
from spikeloom.network.stochastic import cloglog

from .checks import not_negative, positive
from .parameters import ASSUMED, described, load_parameters, sourced

__all__ = ["SwitchingNeuron", "describe_neuron", "hazard", "load_neuron", "switches"]

REMEMBERED = f"{ASSUMED}: Ag / a-Si, remembered, not confirmed"
RARE = 2.0**-16
"""A probability that 16 bits do not tell from 0, or from 1."""


@dataclass(frozen=True, kw_only=True)
class SwitchingNeuron:
    """The device and its amplifier, each number with its unit and source in the metadata of its field.

    Raises
    ------
    InputError
        For what is not above 0, and a write pulse in which the device switches always or never, whatever the input.
    """

    tau0: float = sourced(2.85e5, "s", REMEMBERED)
    """Mean waiting time without a voltage."""
    v0: float = sourced(0.155, "V", REMEMBERED)
    """Voltage that makes it e times shorter."""
    write: float = sourced(1e-6, "s", f"{ASSUMED}: with these tau0 and v0 half of the devices switch at 4 V")
    """Length of a write pulse."""
    clamp: float = sourced(4.8, "V", f"{ASSUMED}: 4 v0 above the voltage at which half of the devices switch")
    """Highest voltage of the amplifier; the lowest is 0."""
    sigma_v0: float = sourced(0.02, "1", f"{ASSUMED}: the spread asked for")
    """Standard deviation of v0 from device to device, relative."""
    sigma_ln_tau0: float = sourced(0.3, "1", f"{ASSUMED}: the spread asked for")
    """Standard deviation of ln tau0 from device to device."""
    cycle_ln_tau0: float = sourced(0.1, "1", f"{ASSUMED}")
    """Standard deviation of ln tau0 from write to write."""
    amplifier_noise: float = sourced(5e-3, "V", f"{ASSUMED}: 10 MHz bandwidth")
    """Standard deviation of V from write to write."""
    trim: float = sourced(0.0, "V", "a choice: 0 is no trimming")
    """Step of V_bias of each neuron, set so that its device switches half the time where it should; 0: not set."""
    read: float = sourced(20e-9, "s", f"{ASSUMED}")
    """Length of a read pulse."""
    reset: float = sourced(1e-6, "s", f"{ASSUMED}: as long as a write")
    """Length of a reset pulse."""
    read_voltage: float = sourced(0.5, "V", f"{ASSUMED}: a device that is off waits 3 hours")
    reset_voltage: float = sourced(2.0, "V", f"{ASSUMED}")
    on_conductance: float = sourced(1e-6, "S", f"{ASSUMED}")
    off_conductance: float = sourced(1e-9, "S", f"{ASSUMED}")
    amplifier_current: float = sourced(10e-6, "A", f"{ASSUMED}")
    """Of a transimpedance amplifier while it is written."""
    amplifier_supply: float = sourced(5.0, "V", f"{ASSUMED}: above the clamp")
    row_voltage: float = sourced(0.2, "V", f"{ASSUMED}: of a read that changes no cell")
    """On a row of the crossbar whose source spikes."""

    def __post_init__(self) -> None:
        for each in fields(self):
            check = not_negative if each.name.startswith(("sigma", "cycle", "amplifier_noise", "trim")) else positive
            check(each.name, getattr(self, each.name), each.metadata["unit"])
        low, high = (float(cloglog(np.array(self.z(v)))) for v in (0.0, self.clamp))
        if high < RARE or low > 1 - RARE:
            what = "never" if high < RARE else "always"
            shortest, longest = self.tau0 * RARE * np.exp(-self.clamp / self.v0), self.tau0 * -np.log(RARE)
            raise InputError(
                f"write: {self.write:g} s was given: with tau0 = {self.tau0:g} s and v0 = {self.v0:g} V the device "
                f"{what} switches, with a probability of {low:.3g} at 0 V and {high:.3g} at the clamp of "
                f"{self.clamp:g} V; accepted: {shortest:.3g} to {longest:.3g} s"
            )

    @property
    def log_ratio(self) -> float:
        """ln(tw / tau0)."""
        return float(np.log(self.write / self.tau0))

    def z(self, v: float | np.ndarray) -> float | np.ndarray:
        """z = V / V0 + ln(tw / tau0) of voltages."""
        return v / self.v0 + self.log_ratio

    def probability(self, v: float | np.ndarray) -> np.ndarray:
        """P of a write pulse of voltages v."""
        return cloglog(np.asarray(self.z(v)))

    def thresholds(self, v0: np.ndarray, ln_tau0: np.ndarray, waits: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Voltage from which on a write switches.

        `v0`, `ln_tau0` of the devices, `waits` draws of the exponential distribution, `noise` standard normal numbers.
        """
        spread = np.sqrt(self.amplifier_noise**2 + (self.v0 * self.cycle_ln_tau0) ** 2)
        return v0 * (np.log(waits) - (np.log(self.write) - ln_tau0)) - spread * noise


def hazard(neuron: SwitchingNeuron, v: np.ndarray, dt: np.ndarray) -> np.ndarray:
    """Sum of dt / tau(V) over the last axis: pieces of a pulse, voltages v [..., pieces] for times dt."""
    return (np.asarray(dt) / neuron.tau0 * np.exp(np.asarray(v) / neuron.v0)).sum(axis=-1)


def switches(neuron: SwitchingNeuron, v: np.ndarray, dt: np.ndarray, waits: np.ndarray) -> np.ndarray:
    """Whether devices with these draws switch in a pulse of pieces: the exact form."""
    return hazard(neuron, v, dt) >= waits


def describe_neuron() -> dict:
    """Unit, default and source of each parameter."""
    return described(SwitchingNeuron)


def load_neuron(path: Path | str) -> SwitchingNeuron:
    """Parameters of a TOML file; see `parameters.load_parameters`."""
    return load_parameters(SwitchingNeuron, path, "a switching neuron")
