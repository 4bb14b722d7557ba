"""What the engines are made of: SI, each number with its unit and its source."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from spikeloom.errors import InputError

from ..checks import fraction, not_negative, positive
from ..parameters import ASSUMED, described, load_parameters, sourced
from .c2c import C2C

__all__ = ["EngineParameters", "load_engine"]


@dataclass(frozen=True, kw_only=True)
class EngineParameters:
    """Circuit of one engine. `describe` lists unit and source of each; `load_engine` reads others from a file.

    The paper gives a 90 nm process and no circuit value, so nearly all are assumed; mismatch and parasitics are those
    at which the accuracy is asked for.
    """

    unit: float = sourced(2e-15, "F", f"{ASSUMED}: small metal capacitor")
    """C of the ladder."""
    reference: float = sourced(0.8, "V", f"{ASSUMED}: two thirds of the supply")
    """Vref: a bit moves its capacitor by it, up for positive weights, down for negative ones."""
    mismatch: float = sourced(0.005, "1", "the point that accuracy is asked for at; of a capacitor C, / sqrt(size)")
    """Relative standard deviation of C."""
    parasitic: float = sourced(0.01, "1", "the point that accuracy is asked for at")
    """Parasitic capacitance of each ladder node in parts of 3 C."""
    parasitic_spread: float = sourced(0.0, "1", f"{ASSUMED}: neutral; extracted parasitics repeat on every ladder")
    """Relative standard deviation of each parasitic."""
    compensated: bool = sourced(True, "1", f"{ASSUMED}: ladder sized for its parasitics")
    """Cs = 2 (C + Cp), Ct = C + Cp."""
    reference_mismatch: float = sourced(0.001, "1", f"{ASSUMED}: trimmed buffers")
    """Standard deviation of the ratio of both references, one value per chip."""
    temperature: float = sourced(300.0, "K", f"{ASSUMED}: room temperature")

    supply: float = sourced(1.2, "V", f"{ASSUMED}: nominal supply of 90 nm")
    """Rail of amplifiers, comparators and switches; the reference buffers draw from it too."""
    swing_low: float = sourced(0.8, "V", f"{ASSUMED}: rest 0.9 V above ground, 0.1 V for the output stage")
    """How far below rest a neuron can go."""
    swing_high: float = sourced(0.2, "V", f"{ASSUMED}: rest 0.3 V below the supply, 0.1 V for the output stage")
    """How far above rest."""
    gain: float = sourced(1000.0, "1", f"{ASSUMED}: 60 dB, a folded cascode")
    """Open-loop gain of the amplifier."""
    offset: float = sourced(5e-3, "V", f"{ASSUMED}: input pair of a few um2")
    """Standard deviation of the amplifier's offset."""
    auto_zero: bool = sourced(True, "1", f"{ASSUMED}: offset stored while the ladder is reset")
    """Leaves offset / (1 + gain); doubles the amplifier's noise."""
    input_capacitance: float = sourced(5e-15, "F", f"{ASSUMED}: gate of the input pair")
    switch_capacitance: float = sourced(0.1e-15, "F", f"{ASSUMED}: junction of a minimum switch")
    """Of each neuron's switch at the virtual ground."""
    load_capacitance: float = sourced(20e-15, "F", f"{ASSUMED}: comparator, wire, bottom plate")
    """At the amplifier's output, beside what feeds back."""
    injection: float = sourced(5e-18, "C", f"{ASSUMED}: 5 % of the 0.1 fC in the channel of a minimum switch remain")
    """Charge that the switches leave behind per row, and per reset."""
    injection_spread: float = sourced(2.5e-18, "C", f"{ASSUMED}: half of it")
    """Standard deviation of it over engines."""
    leak_spread: float = sourced(0.005, "1", f"{ASSUMED}: a ratio of two capacitors")
    """Relative standard deviation of the time constant of each neuron's leak."""
    hold_resistance: float = sourced(1e14, "ohm", f"{ASSUMED}: 2 fA at 0.2 V, a long-channel switch")
    """Of an open switch: what a neuron loses whether its layer leaks or not."""
    comparator_offset: float = sourced(2e-3, "V", f"{ASSUMED}: offset stored, or a large input pair")
    """Standard deviation over engines."""
    comparator_noise: float = sourced(0.3e-3, "V", f"{ASSUMED}")
    """Standard deviation of each comparison."""

    settling_error: float = sourced(2e-3, "1", f"{ASSUMED}: half a step of 8 bits")
    """Part of the jump of the amplifier's input that is left at the end of a row."""
    transfer_time: float = sourced(0.5, "1", f"{ASSUMED}: in the other half, ladder and offset are reset")
    """Part of a row's time in which the charge is transferred."""
    noise_factor: float = sourced(1.5, "1", f"{ASSUMED}: 2/3 of the input pair and as much again of its loads")
    """Of the amplifier, over 4 k T / gm."""
    noise_limit: float = sourced(0.5, "1", f"{ASSUMED}: half a weight step per row")
    """Noise of the amplifier in a row, in charges of one weight step; load is added where it needs less bandwidth."""
    gm_over_current: float = sourced(15.0, "1/V", f"{ASSUMED}: moderate inversion")
    """Transconductance per current of one input transistor."""
    current_factor: float = sourced(2.0, "1", f"{ASSUMED}: output branches of a folded cascode take as much again")
    """Supply current over tail current."""
    buffer_factor: float = sourced(2.0, "1", f"{ASSUMED}: a class-AB reference buffer")
    """Charge that a reference buffer draws from the supply per charge that it delivers."""
    gate_capacitance: float = sourced(0.2e-15, "F", f"{ASSUMED}: gate of a minimum switch in 90 nm")
    """Of each switch transistor."""
    comparator_capacitance: float = sourced(20e-15, "F", f"{ASSUMED}: dynamic latch")
    """Switched per comparison."""

    def __post_init__(self) -> None:
        neutral = {"mismatch", "parasitic", "parasitic_spread", "reference_mismatch", "offset", "leak_spread"}
        neutral |= {"switch_capacitance", "input_capacitance", "load_capacitance", "injection_spread"}
        neutral |= {"comparator_offset", "comparator_noise", "gate_capacitance", "comparator_capacitance"}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in ("compensated", "auto_zero"):
                if not isinstance(value, bool):
                    raise InputError(f"{each.name}: {value!r} was given; accepted: true, false")
            elif each.name == "injection":
                not_negative(each.name, abs(value) if isinstance(value, float) else value, "C")
            elif each.name in neutral:
                not_negative(each.name, value, each.metadata["unit"])
            else:
                positive(each.name, value, each.metadata["unit"])
        for name in ("settling_error", "transfer_time"):
            if fraction(name, getattr(self, name)) >= 1 and name == "settling_error":
                raise InputError(f"{name}: {self.settling_error:g} was given; accepted: below 1")
        if self.supply <= max(self.reference, self.swing_low + self.swing_high):
            raise InputError(
                f"supply: {self.supply:g} V was given; accepted: above reference ({self.reference:g} V) and "
                f"swing_low + swing_high ({self.swing_low + self.swing_high:g} V)"
            )
        self.ladder(7)

    def ladder(self, bits: int) -> C2C:
        """The ladder of so many magnitude bits."""
        return C2C(
            bits=bits, unit=self.unit, reference=self.reference, mismatch=self.mismatch, parasitic=self.parasitic,
            parasitic_spread=self.parasitic_spread, compensated=self.compensated,
        )  # fmt: skip

    @classmethod
    def describe(cls) -> dict[str, dict[str, Any]]:
        """{name: {"default", "unit", "source", "assumed"}}."""
        return described(cls)


def load_engine(path: Path | str) -> EngineParameters:
    """Parameters of a TOML file: schema = 1, and any of `EngineParameters`; the others keep their defaults.

    Raises
    ------
    InputError
        Naming file and key, what was given and what is accepted.
    """
    return load_parameters(EngineParameters, path, "engine parameters")
