"""Engines of virtual neurons as mixed-signal circuits: C-2C ladders, and op-amps with a capacitor for each neuron.

Ladders (`c2c`), amplifiers and capacitors (`integrator`), their numbers (`parameters`), energy by rail (`energy`), the
integers that gateware sees (`engine`), whole layers of them (`network`), and the cores of a plan (`chip`).
docs/virtual-analog.md has the equations.
"""

from .c2c import C2C, Ladders
from .chip import VirtualChips, virtual_chips
from .energy import EngineEnergy, engine_energy
from .engine import EngineState, ProgrammedEngines, program_engines
from .integrator import Integrator
from .network import Routes, as_integer_layer, run_layer
from .parameters import EngineParameters, load_engine

__all__ = [
    "C2C",
    "EngineEnergy",
    "EngineParameters",
    "EngineState",
    "Integrator",
    "Ladders",
    "ProgrammedEngines",
    "Routes",
    "VirtualChips",
    "as_integer_layer",
    "engine_energy",
    "load_engine",
    "program_engines",
    "run_layer",
    "virtual_chips",
]
