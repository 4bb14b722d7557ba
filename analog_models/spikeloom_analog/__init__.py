"""Device and circuit physics behind the analog ports of the gateware. NumPy and SciPy, SI units, no gateware.

Cells (`devices`), what happens to them in order (`chip`), wires (`crossbar`, `tiles`), neurons (`neurons`), layers of
both on many chips (`network`), converters (`converters`), the write path (`switching`, `writing`), devices from files
(`device_files`), energy by rail (`energy`), and the integers that gateware sees (`core`). docs/analog.md has the
equations, the sources of the defaults and what was measured.
"""

from .cells import CellArray, Written, cell_tables, write_verify
from .chip import Chips, StuckAt
from .converters import ADC, DAC, ConverterArray, DACArray
from .core import CodeCore
from .crossbar import Crossbar, IRLossWarning, Wire, differential
from .device_files import UserDevice, load_device
from .devices import PCM, RRAM, Device, ideal
from .energy import AnalogEnergy, EnergyParameters, analog_energy, load_energy
from .network import AnalogLayer, AnalogNetwork, Pulses
from .neurons import IFNeuron, NeuronArray, Spikes, dead_time, integrate
from .switching import VTEAM, StanfordPKU
from .tiles import TiledCrossbar
from .writing import GapPulse, TableResponse

__all__ = [
    "ADC",
    "DAC",
    "PCM",
    "RRAM",
    "VTEAM",
    "AnalogEnergy",
    "AnalogLayer",
    "AnalogNetwork",
    "CellArray",
    "Chips",
    "CodeCore",
    "ConverterArray",
    "Crossbar",
    "DACArray",
    "Device",
    "EnergyParameters",
    "GapPulse",
    "IFNeuron",
    "IRLossWarning",
    "NeuronArray",
    "Pulses",
    "Spikes",
    "StanfordPKU",
    "StuckAt",
    "TableResponse",
    "TiledCrossbar",
    "UserDevice",
    "Wire",
    "Written",
    "analog_energy",
    "cell_tables",
    "dead_time",
    "differential",
    "ideal",
    "integrate",
    "load_device",
    "load_energy",
    "write_verify",
]
