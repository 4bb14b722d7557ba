"""Cycles per inference and per synaptic operation, on compiled RTL and by the cost model."""

from pathlib import Path

import numpy as np
from _common import exact_events, fixed_project, main, random_network, scratch, silent_inputs, stream, zoo_project

from spikeloom.config import DigitalConfig
from spikeloom.export import elaborate, read_manifest
from spikeloom.mapping.cost import CostModel
from spikeloom.network.reference import simulate
from spikeloom_sim.batch import compile_design

STEPS = 100
DENSITIES = {"1": 8, "10": 78, "20": 157}


def run(project, folder, spikes) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Latencies of each input alone: on RTL (checked spike for spike) and by the cost model."""
    network = project.network
    if not (folder / "manifest.json").exists():
        elaborate(project, folder, inputs=silent_inputs(project))
    design = compile_design(folder, read_manifest(folder))
    result = design.run(spikes, isolated=True, processes=1)
    trace = simulate(network, spikes)
    if not np.array_equal(result.spikes, trace.spikes[-1]):
        raise SystemExit("the RTL's spikes differ from the reference")
    model = CostModel(network, project.config.core, steps=project.config.input.steps)
    reports = model.cycles(spikes, trace.spikes, gap="isolated")
    return result.latency, np.array([report.latency for report in reports]), (reports, model, trace)


def measure() -> dict:
    """The figures of the table in the README."""
    exact, wide, bound_ok = True, {}, True
    with scratch() as place:
        folder = Path(place)
        project = zoo_project("mnist4", steps=STEPS)
        for name, events in DENSITIES.items():
            spikes = exact_events(784, events, STEPS, 11, events, batch=8)
            rtl, model, (_, cost, trace) = run(project, folder / "wide", spikes)
            exact &= bool(np.array_equal(rtl, model))
            bound_ok &= bool((rtl <= cost.bound(spikes, trace.spikes, drain=False)).all())
            wide[name] = int(rtl.max())
        # Any stimulus: bursts and silence; the plain formula sum(busiest + 2) + 30 beside them. A burst drives the
        # inputs that excite the hidden layer on balance, so that both layers are busy.
        exciting = project.network.layers[0].weights.sum(axis=0) > 0
        bursts = {}
        silent = np.zeros((1, STEPS, 784), np.uint8)
        for name, every in (("silent", 0), ("burst_every_step", 1), ("burst_every_2nd", 2), ("burst_every_3rd", 3)):
            spikes = silent.copy()
            if every:
                spikes[:, ::every] = exciting
            rtl, model, (_, cost, trace) = run(project, folder / "wide", spikes)
            exact &= bool(np.array_equal(rtl, model))
            formula = int(cost.bound(spikes, trace.spikes, drain=False)[0])
            most = int(trace.spikes[0].sum(axis=2).max())
            bursts[name] = {"cycles": int(rtl[0]), "formula": formula, "most_hidden_spikes_in_a_step": most}

        network = random_network([256, 256], weight_bits=4, potential_bits=8)
        core = DigitalConfig(lanes=1, decision="none")
        serial = fixed_project(network, steps=20, core=core, name="serial")
        spikes = exact_events(256, 26, 20, 13)
        rtl, model, (reports, _, _) = run(serial, folder / "serial", spikes)
        exact &= bool(np.array_equal(rtl, model))
        sops = reports[0].layers[0].sops
        # Twice as many steps cost twice as many passes and nothing else: what is left over is leak.
        twice = np.concatenate([spikes, spikes], axis=1)
        rtl2, model2, _ = run(serial, folder / "serial", twice)
        exact &= bool(np.array_equal(rtl2, model2))
        events = int(spikes.sum())
        extra = int(rtl2[0] - rtl[0]) - events * 256

        # Useful lane slots per weight row read, for every number of lanes that divides, at 10 % density.
        use = []
        layer = random_network([256, 128], weight_bits=4, potential_bits=8)
        rng = stream(17)
        spikes = (rng.random((1, 20, 256)) < 0.1).astype(np.uint8)
        trace = simulate(layer, spikes)
        for lanes in (1, 2, 4, 8, 16, 32, 64, 128):
            cost = CostModel(layer, DigitalConfig(lanes=lanes, decision="none"), steps=20)
            use.append(cost.cycles(spikes, trace.spikes)[0].layers[0].lane_use)
        # The model's rows are what the RTL takes: checked on one of them, cycle for cycle.
        shared = fixed_project(layer, steps=20, core=DigitalConfig(lanes=16, decision="none"), name="shared")
        rtl, model, _ = run(shared, folder / "shared", spikes)
        exact &= bool(np.array_equal(rtl, model))
    return {
        "wide": wide,
        "model_exact": exact,
        "within_formula_steady": bound_ok,
        "any_stimulus": bursts,
        "serial_cycles_per_sop": round(float(rtl2[0]) / (2 * sops), 5),
        "serial_leak_cycles": extra,
        "lane_use": min(use),
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
