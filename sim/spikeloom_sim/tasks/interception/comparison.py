"""Analog against digital: energy, delay, area and accuracy of one network on the same inputs, each with its level.

The analog core is the published SKY130 circuit (`spikeloom_analog.energy`), with every effect of the ladder on. The
digital core is synthesised for each library, one lane per neuron and one lane in all, and plays recorded inputs.
Nothing is scaled but in rows that say so.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.config import DigitalConfig
from spikeloom.errors import InputError
from spikeloom.export import elaborate
from spikeloom.network.interception import (
    IntegerController,
    ReferenceController,
    draw_prey,
    encode,
    load_weights,
    pursue,
    spike_counts,
    steer,
)
from spikeloom.project import Inputs
from spikeloom_analog import (
    RRAM,
    AnalogEnergy,
    AnalogNetwork,
    EnergyParameters,
    IFNeuron,
    Pulses,
    analog_energy,
    dead_time,
)

from .analog import BANDWIDTH, OFFSET, PULSE, UNIT_RESISTANCE, WINDOW
from .core import task_project
from .measure import compare, compare_chips, describe_inputs

__all__ = ["CLOCKS", "PUBLISHED", "CompareOptions", "compare_interception", "pdk_libraries"]

PUBLISHED = {
    "energy_ratio": 12.7,
    "delay_ratio": 1.26,
    "what": "digital / analog, analog at 45 nm against digital at 5 nm",
    "source": "arXiv 2605.31299",
}
NEURON_UM2, SPIKE_PJ = 906.0, 10.67  # arXiv 2605.31141, SKY130
NODES = {"sky130hd": "130 nm", "nangate45": "45 nm, predictive", "asap7": "7 nm, predictive"}
CLOCKS = {"sky130hd": 100.0, "nangate45": 500.0, "asap7": 500.0}
"""Clock of each digital row in MHz, which all of them reach."""
DESIGNS: dict[str, Any] = {"parallel": "full", "serial": 1}
SWEEP = tuple(PULSE * factor for factor in (0.25, 0.5, 1, 2, 4, 8))
SWEEP_INPUTS, SWEEP_CHIPS = 300, 5

Progress = Callable[[str], None]


def pdk_libraries(root: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Liberty files of the kits of a comparison, as far as they are in `root` (None: where kits are looked for)."""
    from spikeloom_synth.pdks import installed_pdks

    return {name: tuple(map(str, kit.liberty())) for name, kit in installed_pdks(CLOCKS, root).items()}


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What to compare.

    `weights`: own, published or a folder. `trajectories` prey of `seed` give the inputs; `workload` of them, evenly
    chosen, are played by the netlists. `chips` of the analog core. `libraries`: {name: Liberty files}.
    """

    weights: str = "own"
    trajectories: int = 200
    seed: int = 0
    chips: int = 20
    workload: int = 64
    energy: EnergyParameters = field(default_factory=EnergyParameters)
    libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self):
        for name, most in (("trajectories", 100_000), ("chips", 10_000), ("workload", 10_000)):
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise InputError(f"{name}: {value} was given; accepted: 1 to {most}")
        for name in self.libraries:
            if name not in CLOCKS:
                raise InputError(f"libraries: {name!r} was given; accepted: {', '.join(CLOCKS)}")


def _network(weights, chips, *, pulse=PULSE, window=WINDOW, dead=None) -> AnalogNetwork:
    """All effects on. Pulse and reset last `pulse`; C follows it, so that a pulse moves the membrane as before."""
    return AnalogNetwork.from_weights(
        [weights.hidden, weights.output[None]],
        siemens=1 / UNIT_RESISTANCE,
        device=RRAM.sky130(),
        cells=2,
        neuron=IFNeuron.sky130(
            capacitance=73.5e-15 * pulse / PULSE,
            pulse_width=pulse,
            reset_time=pulse,
            dead_time=dead_time(BANDWIDTH) if dead is None else dead,
            offset_high=OFFSET,
        ),
        window=window,
        seeds=chips,
    )


def _inference(network: AnalogNetwork, values: np.ndarray, pulse: float, p: EnergyParameters):
    """Spike counts int64 [chips, B] and a function from parameters to the energy of this one run."""
    pulses = Pulses.spread(spike_counts(values), window=network.window, width=pulse)
    spikes = network.run(pulses)
    counts = spikes[-1].counts().reshape(len(network.seeds), len(values))

    def energy(parameters: EnergyParameters = p) -> AnalogEnergy:
        return analog_energy(network, pulses, spikes, parameters)

    return counts, energy


def compare_interception(options: CompareOptions, progress: Progress = lambda text: None) -> dict[str, Any]:
    """The comparison, ready for JSON: rows, sweep, sensitivity, what comes out.

    Raises
    ------
    InputError, ToolMissing, SpikeloomError
        As synthesis does.
    """
    weights = load_weights(options.weights)
    reference = ReferenceController(weights)
    progress("inputs from the closed loop of the float reference")
    values = pursue(draw_prey(options.seed, range(options.trajectories)), steer(reference)).recorded()
    if not len(values):
        raise InputError(f"trajectories: {options.trajectories} was given, all caught at once; accepted: more")
    wanted = reference.counts(values)
    p = options.energy
    progress(f"analog core, {options.chips} chips")
    counts, energy_of = _inference(_network(weights, range(options.chips)), values, PULSE, p)
    energy, errors = energy_of(), compare_chips(counts, wanted)
    rows = _analog_rows(energy, energy_of, errors, p)
    digital = compare(IntegerController(weights).counts(values, None), wanted)
    accuracy = {"mse": digital.mse, "correlation": digital.correlation}
    for name, files in options.libraries.items():
        for design, lanes in DESIGNS.items():
            progress(f"digital core, {design}, on {name}")
            rows += _digital_rows(weights, values, name, files, design, lanes, options, accuracy)
    progress("pulse width")
    some = np.linspace(0, len(values) - 1, min(len(values), SWEEP_INPUTS)).astype(int)
    return {
        "schema": 1,
        "weights": options.weights,
        "observations": len(values),
        "inputs": describe_inputs(values),
        "inputs_from": "closed loop of the float reference",
        "accuracy": "MSE and correlation of `out` (1 is 120 degrees), open loop, against the float reference",
        "rows": rows,
        "sweep": _sweep(weights, values[some], wanted[some], p),
        "sensitivity": _sensitivity(energy_of, p, rows),
        "parameters": {name: {**row, "value": getattr(p, name)} for name, row in EnergyParameters.describe().items()},
        "published": PUBLISHED,
        "conclusion": _conclusion(rows),
    }


def _analog_rows(energy: AnalogEnergy, energy_of, errors: dict, p: EnergyParameters) -> list[dict[str, Any]]:
    neurons = 31 + p.input_neurons
    split, spikes = energy.summary(), float(energy.spikes.mean())
    base = {
        "kind": "analog",
        "mse": errors["mse_median"],
        "correlation": errors["correlation_median"],
        "delay_s": WINDOW,
        "chips": errors["chips"],
    }
    own = {
        **base,
        "name": "analog, SKY130 values as given",
        "node": "130 nm (SKY130)",
        "energy_j": split["energy_j"],
        "split_j": split["items_j"],
        "rails_j": split["rails_j"],
        "cell_heat_j": split["cell_heat_j"],
        "spikes": split["spikes"],
        "energy_per_spike_j": split["energy_per_spike_j"],
        "area_um2": neurons * NEURON_UM2,
        "level": "behavioural model x circuit values; no layout",
        "assumptions": f"see parameters; area: {neurons} neurons x 906 um2 [published], cells above them",
    }
    low = dataclasses.replace(p, supply=max(1.1, p.read_rail), read_supply=max(1.1, p.read_rail))
    scaled = energy_of(low).summary()
    shrunk = {
        **base,
        "name": "analog scaled to 45 nm",
        "node": "45 nm (scaled from SKY130)",
        "energy_j": scaled["energy_j"],
        "split_j": scaled["items_j"],
        "rails_j": scaled["rails_j"],
        "area_um2": neurons * NEURON_UM2 * (45 / 130) ** 2,
        "level": "scaled, no circuit",
        "assumptions": "rails 1.1 V; all currents, capacitances, levels and times kept; area x (45 / 130)^2",
    }
    quoted = {
        **base,
        "name": "analog, published energy per spike x our spikes",
        "node": "130 nm (SKY130)",
        "energy_j": SPIKE_PJ * 1e-12 * spikes,
        "split_j": {},
        "area_um2": neurons * NEURON_UM2,
        "level": "published figure, arXiv 2605.31141",
        "assumptions": f"10.67 pJ per spike x {spikes:.1f} spikes of all neurons; what it includes is not stated there",
    }
    return [own, shrunk, quoted]


def _digital_rows(weights, values, name, files, design, lanes, options: CompareOptions, accuracy) -> list[dict]:
    from spikeloom_synth.flow import synthesise
    from spikeloom_synth.options import SynthOptions

    chosen = values[np.linspace(0, len(values) - 1, options.workload).astype(int)]
    given = Inputs(spikes=encode(chosen), current=None, labels=None, values=None, shape=(chosen.shape[1],))
    with tempfile.TemporaryDirectory(prefix="spikeloom-") as scratch:
        project = task_project(weights, Path(scratch, "network"), DigitalConfig(lanes=lanes))
        elaborate(project, Path(scratch, "build"), inputs=given)
        result = synthesise(
            Path(scratch, "build"), SynthOptions(liberty=files, clock_mhz=CLOCKS[name], fpga=()), lambda text: None
        )
    power, timing, area = result["power"], result["timing"]["registers"], result["area"]
    watts, cycles = power["power_w"], power["cycles_per_inference"]
    delay = cycles / (CLOCKS[name] * 1e6)
    split = {key: watts[key] * delay for key in ("internal", "switching", "clock_pins", "leakage", "memory_assumed")}
    row = {
        "kind": "digital",
        "name": f"digital, {design}, {name}",
        "design": design,
        "library": name,
        "node": NODES[name],
        **accuracy,
        "energy_j": sum(split.values()),
        "split_j": split,
        "delay_s": delay,
        "cycles": cycles,
        "clock_mhz": CLOCKS[name],
        "fmax_mhz": timing["fmax_mhz"],
        "sops": power["sops_per_inference"],
        "energy_per_sop_j": sum(split.values()) / power["sops_per_inference"],
        "area_um2": area["um2"],
        "memory_bits": result["memories"]["bits"],
        "level": "mapped cells, pre-layout timing, power from the netlist's activity on recorded inputs; "
        "delay: mean interval of an inference",
        "assumptions": f"no wires, glitches, clock tree; {result['memories']['bits']} bits of memory outside the area; "
        + power["label"]["memory"],
        "label": {**area["label"], **{key: power["label"][key] for key in ("workload", "clock_mhz")},
                  "timing": timing["label"]},
    }  # fmt: skip
    slow_split = {**split, "leakage": watts["leakage"] * WINDOW}
    slow = {
        **row,
        "name": f"{row['name']}, slowed to the analog window",
        "split_j": slow_split,
        "energy_j": sum(slow_split.values()),
        "energy_per_sop_j": sum(slow_split.values()) / power["sops_per_inference"],
        "delay_s": WINDOW,
        "clock_mhz": cycles / WINDOW / 1e6,
        "level": "computed from the row above: dynamic energy kept, leakage over the window",
    }
    return [row, slow]


def _sweep(weights, values: np.ndarray, wanted: np.ndarray, p: EnergyParameters) -> list[dict[str, Any]]:
    """Pulse = reset, C in proportion: with the window kept, or in proportion too, then with the amplifiers' or not."""
    rows = []
    for mode in ("window kept", "window in proportion", "window and bandwidth in proportion"):
        for pulse in SWEEP:
            ratio = pulse / PULSE
            window = WINDOW if mode == "window kept" else WINDOW * ratio
            follows = mode == "window and bandwidth in proportion"
            dead = dead_time(BANDWIDTH) * (ratio if follows else 1.0)
            parameters = dataclasses.replace(p, bias_current=p.bias_current / ratio) if follows else p
            network = _network(weights, range(SWEEP_CHIPS), pulse=pulse, window=window, dead=dead)
            counts, energy = _inference(network, values, pulse, parameters)
            errors = compare_chips(counts, wanted)
            rows.append(
                {
                    "mode": mode,
                    "pulse_s": pulse,
                    "delay_s": window,
                    "energy_j": energy().summary()["energy_j"],
                    "mse": errors["mse_median"],
                    "correlation": errors["correlation_median"],
                }
            )
    return rows


def _baseline(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The digital row to divide by: parallel, on the analog circuit's published node, else the first there is."""
    parallel = [row for row in rows if row["kind"] == "digital" and row["design"] == "parallel"]
    return next((row for row in parallel if row["library"] == "nangate45"), parallel[0] if parallel else None)


def _sensitivity(energy_of, p: EnergyParameters, rows: list[dict]) -> list[dict[str, Any]]:
    """Energy of the analog core, or of the digital baseline, with each number doubled and halved; largest first."""
    found = []
    analog: float = rows[0]["energy_j"]
    baseline = _baseline(rows)
    other: float | None = baseline["energy_j"] if baseline else None

    def add(name: str, side: str, base: float, half: float | None, double: float | None, assumed: bool) -> None:
        # ratio: digital / analog energy
        turned = {}
        for key, value in (("half", half), ("double", double)):
            turned[f"{key}_j"] = value
            top, bottom = (other, value) if side == "analog" else (value, analog)
            turned[f"{key}_ratio"] = top / bottom if top and bottom else None
        span = max(abs(value / base - 1) for value in (half, double) if value is not None)
        found.append({"name": name, "side": side, "base_j": base, **turned, "assumed": assumed, "span": span})

    for name, row in EnergyParameters.describe().items():
        if name in ("read_rail", "virtual_ground", "conversion_energy"):
            continue  # the weights were mapped to this drive; there are no conversions
        energies: dict[float, float | None] = {}
        for factor in (0.5, 2):
            value = getattr(p, name) * factor
            if name == "comparator_current" and not value and factor > 1:
                value = p.bias_current  # nothing to double: a third amplifier instead
            try:
                changed = dataclasses.replace(p, **{name: int(value) if name == "input_neurons" else value})
                energies[factor] = energy_of(changed).summary()["energy_j"]
            except InputError:
                energies[factor] = None  # below what the circuit needs
        add(name, "analog", analog, energies[0.5], energies[2], row["assumed"])
    if baseline:
        split, base = baseline["split_j"], baseline["energy_j"]
        groups = {
            "cells (wires, glitches, clock tree missing)": ("internal", "switching", "clock_pins"),
            "leakage": ("leakage",),
            "memory energy per bit": ("memory_assumed",),
        }
        for name, keys in groups.items():
            part = sum(split[key] for key in keys)
            add(name, "digital", base, base - part / 2, base + part, True)
    return sorted(found, key=lambda row: -row["span"])


def _conclusion(rows: list[dict]) -> list[str]:
    """What comes out beside what was published, a sentence for each digital row."""
    analog = rows[0]
    bias = analog["split_j"]["bias"] / analog["energy_j"]
    found = [
        f"The analog core takes {analog['energy_j'] * 1e9:.3g} nJ and {analog['delay_s'] * 1e6:.3g} us per inference; "
        f"{bias:.1%} of it is amplifier bias over the window, {analog['cell_heat_j'] * 1e12:.2g} pJ heat in the "
        "cells."
    ]
    for row in rows:
        if row["kind"] != "digital" or row["delay_s"] == WINDOW:
            continue
        energy, delay = row["energy_j"] / analog["energy_j"], row["delay_s"] / analog["delay_s"]
        found.append(
            f"{row['name']} at {row['clock_mhz']:g} MHz: digital / analog is {energy:.3g} in energy (published "
            f"{PUBLISHED['energy_ratio']}) and {delay:.3g} in delay (published {PUBLISHED['delay_ratio']}): "
            + ("both ratios are contradicted." if energy < 1 and delay < 1 else
               "the analog core needs less energy, and is slower." if delay < 1 else "the order is as published.")
        )  # fmt: skip
    return found
