"""Crossbars and neurons as ngspice netlists, run and compared with the closed form.

    circuit = spiking_circuit(network, pulses, virtual_ground=0.9)
    waveforms = run_ngspice(netlist(circuit))
    compare(circuit, waveforms).figures()

`circuit` says what is simulated, `netlist` writes it as text, `run` runs ngspice, `compare` and `plot` set both sides
beside each other. Only `run` needs ngspice. docs/analog.md has what was measured.
"""

from .circuit import Amplifier, Circuit, Stage, spiking_circuit
from .compare import Comparison, StageComparison, calibrate_dead_time, compare, spike_times
from .netlist import Netlist, crossbar_netlist, netlist
from .plot import comparison_figure
from .run import Waveforms, column_currents, run_ngspice

__all__ = [
    "Amplifier",
    "Circuit",
    "Comparison",
    "Netlist",
    "Stage",
    "StageComparison",
    "Waveforms",
    "calibrate_dead_time",
    "column_currents",
    "compare",
    "comparison_figure",
    "crossbar_netlist",
    "netlist",
    "run_ngspice",
    "spike_times",
    "spiking_circuit",
]
