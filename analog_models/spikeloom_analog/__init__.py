"""Device and circuit physics behind the analog ports of the gateware. NumPy and SciPy, SI units, no gateware.

Cells (`devices`), what happens to them in order (`chip`), wires (`crossbar`), neurons (`neurons`), layers of both on
many chips (`network`). docs/analog.md has the equations, the sources of the defaults and what was measured.
"""

from .chip import Chips, StuckAt
from .crossbar import Crossbar, IRLossWarning, Wire, differential
from .devices import PCM, RRAM, Device, ideal
from .network import AnalogLayer, AnalogNetwork, Pulses
from .neurons import IFNeuron, NeuronArray, Spikes, dead_time, integrate

__all__ = [
    "PCM",
    "RRAM",
    "AnalogLayer",
    "AnalogNetwork",
    "Chips",
    "Crossbar",
    "Device",
    "IFNeuron",
    "IRLossWarning",
    "NeuronArray",
    "Pulses",
    "Spikes",
    "StuckAt",
    "Wire",
    "dead_time",
    "differential",
    "ideal",
    "integrate",
]
