"""Crossbars and neurons in ngspice against their closed form, at steps of 0.25 ns.

Ideal parts: an 8 x 4 crossbar with IF and LIF neurons (10 pF, 0.5 V, reset switch of 100 ohm, wires), and both layers
of the interception network on one of its inputs. Amplifiers of 100 MHz: one dead time, fitted on one netlist, scored on
others of other sizes, cells and inputs; with the bandwidth known to the closed form, and without.
Transistors: four columns of the first layer of the interception network; reported, not judged.
"""

from typing import Any

import numpy as np
from _common import main, stream, zoo_project

from spikeloom.config import CrossbarConfig
from spikeloom_analog import RRAM, AnalogNetwork, Crossbar, IFNeuron, Pulses, Wire, ideal
from spikeloom_analog.spice import (
    Amplifier,
    Circuit,
    Netlist,
    Waveforms,
    calibrate_dead_time,
    compare,
    netlist,
    run_ngspice,
    spiking_circuit,
)
from spikeloom_analog.spice.devices import SUPPLY, amplifier_lines, models

WINDOW, PULSE, GBW = 20e-6, 100e-9, 100e6
SLOW = Amplifier(kind="bandwidth", bandwidth=GBW)
NEURON = IFNeuron(
    capacitance=10e-12, threshold=0.5, reset="switch", switch_resistance=100.0, release=0.01, pulse_width=PULSE,
    drive=0.1,
)  # fmt: skip


def integrator(
    key: int, rows: int, columns: int, *, largest: float, density: float, leak: float | None = None,
    amplifier: Amplifier | None = None,
) -> Circuit:  # fmt: skip
    """A row-driven crossbar of random cells, random pulses of 100 ns, IF or LIF neurons."""
    rng = stream(20, key)
    g = rng.uniform(1e-6, largest, (rows, columns))
    crossbar = Crossbar(g, device=ideal(g_max=100e-6), topology="row_driven", wire=Wire(2.0, 2.0))
    on = (rng.random((1, round(WINDOW / PULSE), rows)) < density).astype(int)
    neuron = NEURON if leak is None else IFNeuron(**{**vars(NEURON), "leak_resistance": leak})
    pulses = Pulses.from_steps(on, step=PULSE, width=PULSE)
    return spiking_circuit((crossbar, neuron), pulses, window=WINDOW, amplifier=amplifier)


def interception(**options: Any) -> Circuit:
    """The interception network of the zoo on its crossbar, on the test input with the most spikes of ten."""
    project = zoo_project("interception", core=CrossbarConfig(kind="crossbar", read_noise=False))
    spikes = project.inputs(10).spikes
    busiest = int(spikes.sum(axis=(1, 2)).argmax())
    pulses = Pulses.from_steps(spikes[busiest : busiest + 1], step=480e-9, width=55e-9)
    return spiking_circuit(project.chip.network, pulses, virtual_ground=0.9, **options)


def figures(circuit: Circuit, waveforms: Waveforms) -> dict[str, Any]:
    """Of all stages together: the worst of them."""
    result = compare(circuit, waveforms).figures()
    stages = result["stages"]
    return {
        "spikes_spice": sum(s["spikes_spice"] for s in stages),
        "spikes_closed": sum(s["spikes_closed"] for s in stages),
        "equal_counts": all(s["neurons_of_other_count"] == 0 for s in stages),
        "error_percent": round(max(s["error_percent"] for s in stages), 5),
        "error_mean_ns": round(1e9 * max(s["error_mean_s"] for s in stages), 5),
        "error_max_ns": round(1e9 * max(s["error_max_s"] for s in stages), 4),
        "interval_ns": round(1e9 * stages[0]["interval_s"], 1),
        "membrane_rms_percent": round(max(s["membrane_rms_percent"] for s in stages), 4),
        "energy_worst_percent": round(
            max(100 * abs(e["spice"] / e["closed"] - 1) for s in stages for e in s["energy_j"].values()), 3
        ),
        "spice_seconds": round(result["spice_seconds"], 2),
        "closed_form_seconds": round(result["closed_form_seconds"], 4),
        "speed_ratio": round(result["speed_ratio"]),
    }


def run(circuit: Circuit) -> Waveforms:
    return run_ngspice(netlist(circuit))


def bandwidth() -> dict[str, Any]:
    """Fitted on 6 x 5 cells of up to 80 uS with 30 % active, scored on others."""
    fitted = integrator(1, 6, 5, largest=80e-6, density=0.3, amplifier=SLOW)
    shapes = {
        "8 x 4": (2, 8, 4, 100e-6, 0.35),
        "8 x 4, half the currents": (3, 8, 4, 50e-6, 0.35),
        "10 x 3, more rows": (4, 10, 3, 100e-6, 0.3),
        "8 x 4, sparse": (5, 8, 4, 100e-6, 0.15),
    }
    scored = {
        name: integrator(key, rows, columns, largest=largest, density=density, amplifier=SLOW)
        for name, (key, rows, columns, largest, density) in shapes.items()
    }
    first, runs = run(fitted), {name: run(circuit) for name, circuit in scored.items()}
    answer: dict[str, Any] = {}
    for kind, known in (("with_bandwidth", {"gain_bandwidth": GBW}), ("dead_time_alone", {})):
        seconds = calibrate_dead_time([(fitted.with_neurons(**known), first)])
        told = {
            name: figures(circuit.with_neurons(**known, dead_time=seconds), runs[name])
            for name, circuit in scored.items()
        }
        answer[kind] = {
            "dead_time_ns": round(1e9 * seconds, 3),
            "error_percent": {name: each["error_percent"] for name, each in told.items()},
            "worst_percent": max(each["error_percent"] for each in told.values()),
            "equal_counts": {name: each["equal_counts"] for name, each in told.items()},
        }
    blind = {name: figures(circuit, runs[name]) for name, circuit in scored.items()}
    answer["ideal_model_percent"] = {name: each["error_percent"] for name, each in blind.items()}
    return answer


def follower(points: str, stop: float) -> Waveforms:
    """The transistor amplifier as a follower of a source through points, 25 fF at its output."""
    lines = [
        "* follower", *models(), *amplifier_lines(1), f"Vdd vdd 0 {SUPPLY}", f"Vin p 0 PWL({points})",
        "Xa p o o vdd amplifier", "Cl o 0 25f", ".options method=gear reltol=1e-5", ".save v(o) v(p) i(vdd)",
        f".tran 20p {stop} 0 20p", ".end", "",
    ]  # fmt: skip
    return run_ngspice(Netlist(text="\n".join(lines), saved=("time", "v(o)", "v(p)", "i(vdd)"), stop=stop))


def amplifier() -> dict[str, Any]:
    """Gain, offset, bandwidth of a small step as a follower, slew rate and current of the amplifier of transistors."""
    lines = [
        "* open loop", *models(), *amplifier_lines(1), f"Vdd vdd 0 {SUPPLY}", "Vin p 0 0.9", "Vn n 0 0.9",
        "Xa p n o vdd amplifier", ".save v(o) v(p) i(vdd)", ".dc Vin 0.898 0.902 2u", ".end", "",
    ]  # fmt: skip
    still = run_ngspice(Netlist(text="\n".join(lines), saved=("v(o)", "v(p)", "i(vdd)"), stop=None))
    at = int(np.argmin(np.abs(still["v(o)"] - 0.9)))
    slope = np.gradient(still["v(o)"], still["v(p)"])
    small = follower("0 0.9 50n 0.9 50.02n 0.902", 150e-9)
    rise = small["time"][np.argmax(small["v(o)"] > small["v(o)"][-1] - 0.002 / np.e)] - 50.02e-9
    large = follower("0 0.7 50n 0.7 50.02n 1.0 150n 1.0 150.02n 0.7", 250e-9)
    time, v = large["time"], large["v(o)"]
    up = 0.15 / (time[np.argmax(v > 0.9)] - time[np.argmax(v > 0.75)])
    falling = time > 150e-9
    down = 0.15 / (time[falling][np.argmax(v[falling] < 0.8)] - time[falling][np.argmax(v[falling] < 0.95)])
    return {
        "gain": round(float(slope[at])),
        "offset_mv": round(1e3 * float(still["v(p)"][at] - 0.9), 3),
        "follower_mhz": round(1e-6 / (2 * np.pi * float(rise)), 1),
        "slew_v_per_us": [round(float(up) / 1e6, 1), round(float(down) / 1e6, 1)],
        "current_ua": round(-1e6 * float(still["i(vdd)"][at]), 2),
    }


def one_pulse() -> dict[str, Any]:
    """What one pulse of transistors moves a membrane beyond the closed form, by weight, and what a reset leaves, mV."""
    weights, start, before, after = (0.03, 0.3, 0.9), 300e-9, 290e-9, 900e-9
    net = AnalogNetwork.from_weights(
        [np.array(weights)[:, None]], siemens=1 / 178.2e3, device=RRAM.sky130(read_noise=False), cells=2,
        neuron=IFNeuron.sky130(), window=1e-6,
    )  # fmt: skip
    pulses = Pulses(np.array([[start]]), np.array([[0]]), 55e-9, 1)
    circuit = spiking_circuit(net, pulses, virtual_ground=0.9, amplifier=Amplifier(kind="transistor"))
    stage = compare(circuit, run(circuit)).stages[0]
    at = np.searchsorted(stage.grid, [before, after])
    spice, closed = (np.diff(u[at], axis=0)[0] for u in (stage.spice_u, stage.closed_u))
    return {
        "pulse_extra_mv": {str(w): round(1e3 * float(x), 2) for w, x in zip(weights, spice - closed, strict=True)},
        "reset_leaves_mv": round(1e3 * float(stage.spice_u[at[0]].mean()), 2),
    }


def measure() -> dict:
    """Everything, one run after the other."""
    plain = {
        "if": integrator(2, 8, 4, largest=100e-6, density=0.35),
        "lif": integrator(2, 8, 4, largest=100e-6, density=0.35, leak=500e3),
        "interception": interception(),
    }
    answer: dict[str, Any] = {}
    for name, circuit in plain.items():
        waveforms = run(circuit)
        answer[name] = figures(circuit, waveforms)
        answer["ngspice"] = waveforms.version
    answer["step_ns"] = 0.25
    answer["bandwidth_100_mhz"] = bandwidth()
    real = interception(layer=0, columns=4, window=10e-6, amplifier=Amplifier(kind="transistor"))
    waveforms = run(real)
    answer["transistors"] = {
        **figures(real, waveforms),
        **one_pulse(),
        "amplifier": amplifier(),
    }
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
