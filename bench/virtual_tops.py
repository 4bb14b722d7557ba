"""TOPS/W of both example accelerators of virtual neurons, by controller, memories and engines, with every assumption.

Recordings go through the core with analog engines on compiled RTL, against the integers of the chip, and through its
digital twin, against the reference; then fewer of them through the mapped netlist of the controller, whose switching
gives its power and counts the accesses to the memories (SPIKELOOM_PDK: cells of IHP's SG13G2, 130 nm, 1.2 V). Engines
are those of 90 nm that docs/virtual-analog.md describes; controller and memories are scaled to 90 nm. A multiply-add
is two operations: `performed` counts those of spikes that met a weight, `dense` all weights in every step.

`halved_and_doubled` is what TOPS/W is multiplied by when one assumption is halved, or doubled; null: refused.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _common import data_folder, main, scratch

from spikeloom.config import Config, VirtualConfig
from spikeloom.errors import InputError
from spikeloom.export import elaborate
from spikeloom.network.reference import synaptic_operations
from spikeloom.project import Inputs, Project
from spikeloom_analog.virtual import EngineParameters, virtual_chips
from spikeloom_sim.batch import compile_design
from spikeloom_synth.flow import synthesise
from spikeloom_synth.options import SynthOptions

EXAMPLES = Path(__file__).parents[1] / "examples"
RUNS = {"virtual_small": (200, 20, 4), "virtual_large": (100, 10, 2)}
"""Recordings through the digital twin, through the core with analog engines, and through the netlist."""
LIBERTY = "ihp-sg13g2/lib/sg13g2_stdcell_typ_1p20V_25C.lib.gz"
NODE = 90 / 130
"""Energy of controller and memories at 90 nm by that at 130 nm: capacitances by length, the same 1.2 V."""
PAPER = 12.1
"""TOPS/W of MENAGE on a network for CIFAR10-DVS, by its abstract (arXiv 2410.08403); it says not what counts."""


def liberty() -> str:
    """The cell library."""
    root = os.environ.get("SPIKELOOM_PDK")
    if not root or not Path(root, LIBERTY).is_file():
        raise InputError(f"SPIKELOOM_PDK: {root!r} was given; accepted: a folder with {LIBERTY}")
    return str(Path(root, LIBERTY))


def example(name: str, engine: str) -> Project:
    """An example, on the data at hand."""
    project = Project.load(EXAMPLES / f"{name}.toml")
    config: Config = project.config
    assert isinstance(config.core, VirtualConfig)
    core, data = dataclasses.replace(config.core, engine=engine), config.data
    if data.set == "nmnist":
        data = dataclasses.replace(data, path=str(data_folder("nmnist")))
    return dataclasses.replace(project, config=dataclasses.replace(config, core=core, data=data))


def on_rtl(project: Project, inputs: Inputs, place: Path) -> dict:
    """Compiled RTL against what is to come: the integers of the chip, or of the network."""
    trace = project.reference(inputs)
    design = compile_design(place, elaborate(project, place, inputs=project.inputs(1)))
    result = design.run(inputs.spikes, processes=1)
    assert result.decisions is not None
    decided = result.decisions[:, 0]
    return {
        "recordings": len(inputs.spikes),
        "mismatches": {
            "spikes": int((result.spikes != trace.spikes[-1]).sum()),
            "decisions": int((decided != trace.spikes[-1].sum(axis=1).argmax(axis=1)).sum()),
        },
        "accuracy": float((decided == np.asarray(inputs.labels)).mean()),
        "cycles_per_recording": round(result.cycles / len(inputs.spikes), 1),
    }


class Energy:
    """Joules of all recordings of the netlist's workload, as a function of the assumptions."""

    def __init__(self, project: Project, inputs: Inputs, synthesis: dict):
        power = synthesis["power"]
        self.project, self.inputs = project, inputs
        self.fired = project.virtual_chips.run(inputs.spikes)
        self.cycles = power["cycles_per_inference"] * power["inferences"]
        self.clock = project.virtual_chips.clock
        seconds = self.cycles / self.clock
        self.logic = power["power_w"]["logic"] * seconds
        self.dynamic = sum(each["dynamic_j"] for each in power["memories"])
        self.leakage = sum(each["leakage_w"] for each in power["memories"]) * seconds
        spikes = [layer[0] for layer in self.fired]
        self.sops = int(synaptic_operations(project.network, inputs.spikes, spikes).sum())
        steps = len(inputs.spikes) * inputs.spikes.shape[1]
        self.dense = steps * sum(layer.dense_operations for layer in project.network.layers)

    def engines(self, parameters: EngineParameters | None = None, clock: float = 1.0) -> dict[str, float]:
        """By item."""
        config = self.project.config.core
        assert isinstance(config, VirtualConfig)
        chips = virtual_chips(
            self.project.plan, seeds=config.chip, parameters=parameters, clock=self.clock * clock,
            step=config.step_us * 1e-6,
        )  # fmt: skip
        energy = chips.energy(self.inputs.spikes, self.fired, cycles=self.cycles).values()
        return {item: sum(each.items[item] for each in energy) for item in next(iter(energy)).items}

    def parts(
        self,
        *,
        node: float = 1.0,
        logic: float = 1.0,
        access: float = 1.0,
        leakage: float = 1.0,
        clock: float = 1.0,
        parameters: EngineParameters | None = None,
    ) -> dict[str, float]:
        """Joules of controller, memories and engines, with assumptions multiplied by these numbers."""
        return {
            "controller": self.logic * NODE * node * logic,
            "memories": (self.dynamic * access * node) * NODE + self.leakage * leakage / clock,
            "engines": sum(self.engines(parameters, clock).values()),
        }  # fmt: skip


def sensitivity(energy: Energy) -> dict[str, dict]:
    """Of each assumption: its value, unit and source, and what halving and doubling it do to TOPS/W."""
    total, base = sum(energy.parts().values()), EngineParameters()

    def factors(change: Callable[[float], dict]) -> list[float | None]:
        found: list[float | None] = []
        for times in (0.5, 2.0):
            try:
                found.append(round(total / sum(energy.parts(**change(times)).values()), 3))
            except InputError:  # such as a supply below the swing
                found.append(None)
        return found

    rows: dict[str, dict] = {
        "node": {"value": round(NODE, 3), "unit": "1", "source": "energy of logic and memories at 90 nm by 130 nm"},
        "logic": {"value": 1.0, "unit": "1", "source": "netlist without wires, clock tree and glitches"},
        "access": {"value": 1.0, "unit": "1", "source": "energy per access of the macro estimate (docs/synthesis.md)"},
        "leakage": {"value": 1.0, "unit": "1", "source": "12.1 pW per bit, the same"},
        "clock": {"value": energy.clock / 1e6, "unit": "MHz", "source": "a row per cycle; amplifiers settle in it"},
    }
    for name, row in rows.items():
        row["halved_and_doubled"] = factors(lambda times, name=name: {name: times})
    for name, row in EngineParameters.describe().items():
        value = row["default"]
        if row["assumed"] and type(value) is float:
            changed = factors(
                lambda times, name=name, value=value: {"parameters": dataclasses.replace(base, **{name: value * times})}
            )
            rows[name] = {"value": value, "unit": row["unit"], "source": row["source"], "halved_and_doubled": changed}
    return rows


def configuration(name: str, place: Path) -> dict:
    """The figures of one example."""
    twin, mixed, netlist = RUNS[name]
    answer: dict = {}
    digital, project = example(name, "digital"), example(name, "analog")
    answer["digital_twin"] = on_rtl(digital, digital.inputs(twin), place / f"{name}_twin")
    answer["mixed_signal"] = on_rtl(project, project.inputs(mixed), place / f"{name}_mixed")
    build, few = place / name, project.inputs(netlist)
    elaborate(project, build, inputs=few)
    options = SynthOptions(liberty=liberty(), clock_mhz=project.virtual_chips.clock / 1e6, adders="gates", fpga=())
    synthesis = synthesise(build, options)
    energy = Energy(project, few, synthesis)
    parts, count = energy.parts(), len(few.spikes)
    total = sum(parts.values())

    def tops(joule: float) -> dict:
        return {
            "performed": round(2e-12 * energy.sops / joule, 4),
            "dense": round(2e-12 * energy.dense / joule, 4),
        }

    return answer | {
        "netlist": {
            "recordings": count,
            "equal_words": synthesis["netlist_check"]["equal_words"],
            "um2": synthesis["area"]["um2"],
            "cells": synthesis["area"]["cells"],
            "flip_flops": synthesis["area"]["flip_flops"],
            "clock_mhz": synthesis["timing"]["registers"]["fmax_mhz"],
            "memory_bits": synthesis["memories"]["bits"],
            "label": synthesis["power"]["label"],
        },
        "synaptic_operations_per_recording": round(energy.sops / count, 1),
        "cycles_per_recording": round(energy.cycles / count, 1),
        "nj_per_recording": {part: round(joule / count * 1e9, 2) for part, joule in parts.items()},
        "engine_nj_per_recording": {item: round(j / count * 1e9, 3) for item, j in energy.engines().items()},
        "pj_per_synaptic_operation": {part: round(joule / energy.sops * 1e12, 3) for part, joule in parts.items()},
        "tops_per_w": tops(total),
        "tops_per_w_without_memories": tops(parts["controller"] + parts["engines"]),
        "tops_per_w_of_engines": tops(parts["engines"]),
        "tail_ua": {n: round(each.tail * 1e6, 2) for n, each in project.virtual_chips.integrators.items()},
        "assumptions": sensitivity(energy),
    }


def measure() -> dict:
    """The figures of docs/virtual-analog.md."""
    liberty()
    with scratch() as place:
        return {"paper_tops_per_w": PAPER, "node_factor": round(NODE, 4)} | {
            name: configuration(name, Path(place)) for name in RUNS
        }


if __name__ == "__main__":
    main(measure, __doc__ or "")
