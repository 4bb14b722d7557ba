"""Energy of mixed-signal engines by supply rail, over the whole time that a core is on.

    item          rail        of an interval of T seconds
    amplifiers    supply      V I T per engine, I from settling, slewing and noise (`integrator`); idle or not
    ladders       reference   V x buffer factor x the charge that the reference delivers for a code, per addition
    switches      supply      C V^2 per addition (two switches a bit, a reset switch a node, four at the amplifier, each
                              of two transistors), and of two per comparison
    comparators   supply      C V^2 per comparison

The charge that reaches a neuron comes out of the amplifier, whose current is counted for all of T.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from spikeloom.errors import InputError

from ..checks import count, not_negative, whole_array
from .c2c import Ladders
from .integrator import Integrator

__all__ = ["ITEMS", "EngineEnergy", "engine_energy"]

ITEMS = {"amplifiers": "supply", "ladders": "reference", "switches": "supply", "comparators": "supply"}
"""What is counted, and the rail it is drawn from."""


@dataclass(frozen=True)
class EngineEnergy:
    """J by item of ITEMS; `seconds` on, `additions` of a weight to a neuron, `comparisons`."""

    items: Mapping[str, float]
    seconds: float
    additions: int
    comparisons: int

    @property
    def total(self) -> float:
        """J, all rails."""
        return sum(self.items.values())

    @property
    def rails(self) -> dict[str, float]:
        """J by rail."""
        return {
            rail: sum(self.items[item] for item, of in ITEMS.items() if of == rail)
            for rail in dict.fromkeys(ITEMS.values())
        }


def engine_energy(
    integrator: Integrator, *, engines: int, magnitudes: np.ndarray, comparisons: int, seconds: float
) -> EngineEnergy:
    """Energy of `engines` in `seconds`.

    Parameters
    ----------
    magnitudes : whole numbers [2^bits], how many additions had a weight of each magnitude, of all engines together.
    comparisons : of all engines together. seconds : s, that the core is on, idle or not.

    Raises
    ------
    InputError
        For negative numbers.
    """
    p = integrator.parameters
    counts = whole_array("magnitudes", magnitudes, 0, 1 << 62)
    bits = len(counts).bit_length() - 1
    if counts.ndim != 1 or len(counts) != 1 << integrator.bits:
        raise InputError(f"magnitudes: shape {counts.shape} was given; accepted: [{1 << integrator.bits}]")
    nominal = Ladders(replace(p.ladder(bits), mismatch=0.0, parasitic_spread=0.0), 1)
    charge = nominal.charge_of_reference()[0, 0]
    additions, gate = int(counts.sum()), 2 * p.gate_capacitance * p.supply**2
    items = {
        "amplifiers": p.supply * integrator.supply_current * count("engines", engines, 1)
        * not_negative("seconds", seconds, "s"),
        "ladders": p.supply * p.buffer_factor * float(counts @ charge),
        "switches": gate * ((3 * bits + 4) * additions + 2 * count("comparisons", comparisons, 0)),
        "comparators": p.comparator_capacitance * p.supply**2 * comparisons,
    }  # fmt: skip
    return EngineEnergy(items, float(seconds), additions, comparisons)
