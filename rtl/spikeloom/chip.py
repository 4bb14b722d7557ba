"""A core with what stands behind its analog ports: module NAME_chip, and the files of its arrays or engines."""

from collections.abc import Iterable

from .config import SharedConfig, VirtualConfig
from .index_memory import index_files
from .mapping.shared import SharedPlan
from .project import Inputs, Project

__all__ = [
    "UNREAD",
    "array_files",
    "chip_files",
    "chip_manifest",
    "chip_ports",
    "chip_verilog",
    "layer_meaning",
]

Ports = Iterable[tuple[str, str, int]]
"""(name, input | output, bits) of each port of a module."""

ANALOG = "analog_"
"""Ports of a core that begin so lead to an analog array, or to the analog engines of a virtual core."""
INDICES = "indices_"
"""Ports of a gang of weight-shared cores that lead to an index memory outside."""
UNREAD = ("stamps_", "outcome_")
"""Output streams that a bench takes and does not check."""
MEANINGS = {
    "analog": "the analog port of LAYER, see docs/crossbar.md or docs/virtual-analog.md",
    "indices": "rows of indices that LAYER asks for, and those that come, see docs/shared.md",
    "command": "programming commands for the array of layer LAYER {kind, row, column, cell, target}",
    "outcome": "what came of the commands for layer LAYER {code, pulses, fault}",
    "stamps": "layer LAYER: cycle within the step of every spike {flags, cycles, last}",
    "captured": "spikes of layer LAYER, saturating",
    "near_ties": "spikes of layer LAYER in the first or last cycle of a step, saturating",
    "repeated": "further spikes of a neuron of layer LAYER in one step: lost, saturating",
    "stray": "spikes of layer LAYER outside of windows: lost, saturating",
    "merged": "spikes into layer LAYER from a source that had one in the step: lost, saturating",
}

WINDOWS, ACCESSES = 16, 16
"""Windows, and pulses and reads of each cell, that an exported analog model has noise samples for."""
UNLIMITED = 1 << 31
"""Inputs that an exported model has samples for, where these repeat or there is no noise."""


def chip_files(project: Project, ports: Ports, inputs: Inputs) -> dict[str, str]:
    """A core with its arrays or engines as module NAME_chip: the same streams, no analog ports.

    `chip` has it with models that compute; `chip/replay` and `chip/black_box` have them as a recording of the inputs of
    the bench, and as empty modules.
    """
    if isinstance(project.config.core, VirtualConfig):
        return _virtual_files(project, ports, inputs)
    if isinstance(project.config.core, SharedConfig):
        return _shared_files(project, ports)
    from spikeloom_analog.verilog import black_box, record_windows, replay_files

    name, chip = project.config.name, project.chip
    found = {f"chip/{name}_chip.v": chip_verilog(ports, name)}
    found |= {f"chip/{file}": text for file, text in array_files(project, windows=WINDOWS).items()}
    given = inputs.spikes
    for (fired, _), behind, plan in zip(chip.run(inputs.spikes), chip.ports(), chip.plans, strict=True):
        recording = record_windows(behind, given, clears=chip.clears)
        for folder, files in (("replay", replay_files(name, plan, recording)), ("black_box", black_box(name, plan))):
            found |= {f"chip/{folder}/{file}": text for file, text in files.items()}
        given = fired[0]
    return found


def _virtual_files(project: Project, ports: Ports, inputs: Inputs) -> dict[str, str]:
    from spikeloom_analog.virtual.port import EnginePort, recorded, requests
    from spikeloom_analog.virtual.verilog import black_box_engines, model_engines, replay_engines

    name, chip = project.config.name, project.virtual_chips
    found = {f"chip/{name}_chip.v": chip_verilog(ports, name, "engines")}
    asked = requests(chip, inputs.spikes, [fired[0] for fired in chip.run(inputs.spikes)])
    for core, engines in chip.engines.items():
        layers = len(asked[core])
        recording = recorded(EnginePort(engines, layers=layers), asked[core])
        for folder, files in (
            ("", model_engines(name, core, engines, layers=layers)),
            ("replay/", replay_engines(name, core, engines, recording)),
            ("black_box/", black_box_engines(name, core, engines, layers=layers)),
        ):
            found |= {f"chip/{folder}{file}": text for file, text in files.items()}
    return found


def _gangs(project: Project) -> dict[str, list[SharedPlan]]:
    """The layers of each gang of weight-shared cores, by its name."""
    gangs: dict[str, list[SharedPlan]] = {}
    for entry in project.plan.layers:
        assert isinstance(entry, SharedPlan)
        gangs.setdefault(entry.gang.name, []).append(entry)
    return gangs


def _shared_files(project: Project, ports: Ports) -> dict[str, str]:
    from spikeloom_analog.shared.verilog import black_box_tables, model_tables

    name = project.config.name
    found = {f"chip/{name}_chip.v": chip_verilog(ports, name, "tables")}
    for gang, plans in _gangs(project).items():
        if plans[0].gang.streamed:
            found |= {f"chip/{file}": text for file, text in index_files(name, plans).items()}
        if plans[0].gang.analog:
            tables = project.shared_chips.tables[gang]
            found |= {f"chip/{file}": text for file, text in model_tables(name, tables).items()}
            boxes = black_box_tables(name, plans[0].gang)
            found |= {f"chip/black_box/{file}": text for file, text in boxes.items()}
    return found


def array_files(project: Project, *, windows: int) -> dict[str, str]:
    """The arrays of a crossbar core as models that compute, with noise of so many windows: file name -> text."""
    from spikeloom_analog.verilog import model_files

    name, chip, found = project.config.name, project.chip, {}
    for plan, array, cells in zip(chip.plans, chip.arrays, chip.cells, strict=True):
        found |= model_files(name, plan, array, cells, windows=windows, accesses=ACCESSES)
    return found


def chip_verilog(ports: Ports, name: str, kind: str = "array") -> str:
    """Module `name`_chip: the core `name` and, behind each analog port X, a module `name`_X_`kind`."""
    arrays: dict[str, list[str]] = {}
    outside, wires, core = [], [], []
    for port, direction, bits in ports:
        core.append(f".{port}({port})")
        span = f"[{bits - 1}:0] " if bits > 1 else ""
        if not port.startswith((ANALOG, INDICES)):
            outside.append(f"{direction} wire {span}{port}")
            continue
        owner, member = port.split("__", 1)
        behind = (
            f"{owner.removeprefix(ANALOG)}_{kind}"
            if port.startswith(ANALOG)
            else f"{owner.removeprefix(INDICES)}_indices"
        )
        wires.append(f"  wire {span}{port};")
        arrays.setdefault(behind, [".clk(clk)"]).append(f".{member}({port})")
    lines = [
        f"// {name} and what stands behind its analog ports, which is decided by the files beside this one.",
        f"module {name}_chip (",
    ]
    lines += ["  " + ",\n  ".join(outside), ");", *wires, f"  {name} core (", "    " + ",\n    ".join(core), "  );"]
    for behind, connections in sorted(arrays.items()):
        lines += [f"  {name}_{behind} {behind} (", "    " + ",\n    ".join(connections), "  );"]
    return "\n".join([*lines, "endmodule", ""])


def chip_ports(ports: Ports) -> list[tuple[str, str, int]]:
    """Those of the ports of a core that its chip has."""
    return [port for port in ports if not port[0].startswith((ANALOG, INDICES))]


def chip_manifest(project: Project, ports: Ports) -> dict:
    """What the manifest says about the chip."""
    name, layers = project.config.name, []
    if isinstance(project.config.core, VirtualConfig):
        return _virtual_manifest(project, ports)
    if isinstance(project.config.core, SharedConfig):
        return _shared_manifest(project, ports)
    chip = project.chip
    for plan, array in zip(chip.plans, chip.arrays, strict=True):
        timing = array.timing
        layers.append(
            {
                "name": plan.name, "module": f"{name}_{plan.name}_array", "rows": plan.rows, "columns": plan.columns,
                "cells": plan.cells, "step_cycles": timing.step, "pulse_cycles": timing.pulse,
                "reset_cycles": timing.reset, "dead_cycles": timing.dead, "noise_refresh_cycles": timing.refresh,
                "window_cycles": plan.cycles, "capture_rows": plan.queue_rows, "volts_per_unit": array.quantum,
                "noise": array.noisy,
            }
        )  # fmt: skip
    return {
        "top": f"{name}_chip",
        "hash": chip.content_hash(),
        "seed": chip.arrays[0].seeds[0],
        "windows": WINDOWS,
        "layers": layers,
        "ports": [{"name": port, "direction": way, "bits": bits} for port, way, bits in chip_ports(ports)],
    }


def _virtual_manifest(project: Project, ports: Ports) -> dict:
    name, chip = project.config.name, project.virtual_chips
    cores = [
        {
            "name": core, "module": f"{name}_{core}_engines", "engines": engines.engines, "slots": engines.slots,
            "layers": [plan.name for plan in chip.plans if plan.share.core == core],
            "coulomb_per_unit": engines.quantum, "farad_per_neuron": chip.integrators[core].feedback,
            "tail_ampere": chip.integrators[core].tail, "noise": engines.noisy,
        }
        for core, engines in chip.engines.items()
    ]  # fmt: skip
    return {
        "top": f"{name}_chip",
        "seed": chip.seeds[0],
        "windows": UNLIMITED,
        "cores": cores,
        "ports": [{"name": port, "direction": way, "bits": bits} for port, way, bits in chip_ports(ports)],
    }


def _shared_manifest(project: Project, ports: Ports) -> dict:
    name, memories, tables = project.config.name, [], []
    for gang, plans in _gangs(project).items():
        first = plans[0].gang
        if first.analog:
            programmed = project.shared_chips.tables[gang]
            tables.append(
                {
                    "name": gang, "module": f"{name}_{gang}_tables", "devices": first.devices,
                    "seed": programmed.seeds[0], "noise": programmed.noisy, "code_bits": first.code_bits,
                    "weights_per_code": 1 << first.code_shift, "charge": programmed.charge[0].tolist(),
                    "moved": programmed.moved[0].tolist(),
                }
            )  # fmt: skip
        if first.streamed:
            memories.append(
                {
                    "name": gang, "module": f"{name}_{gang}_indices", "rows": first.rows, "row_bits": first.row_bits,
                    "latency_cycles": first.latency, "rows_under_way": first.buffer,
                }
            )  # fmt: skip
    return {
        "top": f"{name}_chip",
        "windows": UNLIMITED,
        "index_memories": memories,
        "tables": tables,
        "ports": [{"name": port, "direction": way, "bits": bits} for port, way, bits in chip_ports(ports)],
    }


def layer_meaning(stem: str) -> str:
    """What the port `stem`, MEMBER_LAYER, of a crossbar core is."""
    member = next(member for member in MEANINGS if stem.startswith(f"{member}_"))
    return MEANINGS[member].replace("LAYER", stem.removeprefix(f"{member}_"))
