"""The steps in order: an exported design becomes area, timing, power and FPGA figures, each with its label."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from spikeloom.errors import InputError, SpikeloomError, ToolMissing
from spikeloom.output import replace_folder, write_atomic
from spikeloom.tools import require_tool

from .errors import FlowError
from .fpga import count
from .gatesim import Workload, read_stimulus
from .liberty import Library
from .macros import MacroModel, memory_lef, memory_liberty, read_given
from .memories import Memory
from .netlist import Netlist
from .options import CELLS, RECIPES, SynthOptions
from .power import measure
from .timing import Timing, analyse, memory_label
from .yosys import (
    Coarse,
    Design,
    cell_models,
    design_from_build,
    elaborate,
    liberty_files,
    map_to_cells,
    yosys_version,
)

__all__ = ["SCHEMA", "Asic", "asic", "bench_workload", "synthesise"]

SCHEMA = 1
"""Version of synthesis.json."""

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Asic:
    """Result of the ASIC flow up to timing; `folder` holds netlist.v, memories.v, scripts, logs, estimated macros."""

    coarse: Coarse
    netlist: Netlist
    libraries: list[Library]
    plain: list[Path]
    recipe: str
    adders: str
    """What became of additions: `gates`, or one of `ADDERS`."""
    tried: dict[str, dict]
    """{recipe or "recipe, adders": {"um2", "fmax_mhz"}} of everything that was run."""
    registers: Timing | None
    """Register to register; None when OpenSTA is missing."""
    memories: Timing | None
    """With the timing of the memories."""
    model: MacroModel
    """Estimate of the memories that are not the user's macros."""
    folder: Path

    def summary(self) -> dict:
        """Figures with their labels, ready for JSON."""
        flip_flops = self.netlist.flip_flops()
        memories = [self._memory(each) for each in self.coarse.memories]
        return {
            "area": {
                "um2": round(self.netlist.area(), 3),
                "cells": len(self.netlist.instances) - len(memories),
                "flip_flops": len(flip_flops),
                "flip_flop_um2": round(sum(self.netlist.library[each.type].area for each in flip_flops), 3),
                "by_cell": self.netlist.counts(),
                "by_block": self.netlist.area_by_block(),
                "label": {
                    "level": "cell area of the mapped netlist, memories outside, no layout",
                    "tool": f"Yosys {yosys_version()}",
                    "recipe": self.recipe,
                    "adders": self.adders,
                    **self.libraries[0].label(),
                },
            },
            "memories": {
                "bits": sum(each["bits"] for each in memories),
                "um2": round(sum(each["um2"] for each in memories), 3),
                "instances": memories,
                "label": memory_label(self.netlist, self.model.timing_label()),
            },
            "register_memories": list(self.coarse.register_memories),
            "tried": self.tried,
            "timing": self.registers
            and {"registers": timing_json(self.registers), "memories": timing_json(self.memories)},
        }

    def _memory(self, memory: Memory) -> dict:
        """One memory and its macro; access and set-up time of a user's macro are in its Liberty file alone."""
        row = {
            "instance": memory.name,
            "module": memory.module,
            "width": memory.width,
            "depth": memory.depth,
            "bits": memory.bits,
            "port_type": memory.port_type,
            "cell": memory.cell,
        }
        if memory.liberty and memory.given:
            return row | {"macro": memory.liberty.name, "um2": memory.given.area, "access_ns": None, "setup_ns": None}
        macro = self.model.macro(memory)
        sizes = {"um2": macro.um2, "access_ns": macro.access_ns, "setup_ns": macro.setup_ns}
        return row | {"macro": "estimate"} | {key: round(value, 4) for key, value in sizes.items()}


def timing_json(timing: Timing | None) -> dict | None:
    """A timing result, ready for JSON: the critical path in full, the other end points in one line each."""
    if timing is None:
        return None
    rows = [
        {"from": path.start, "to": path.end, "period_ns": round(path.period_ns, 4), "levels": len(path.stages) - 2}
        for path in timing.paths
    ]
    critical = asdict(timing.paths[0]) if timing.paths else None
    if critical:
        critical = {key: round(value, 4) if isinstance(value, float) else value for key, value in critical.items()}
    return {
        "fmax_mhz": None if timing.fmax_mhz is None else round(timing.fmax_mhz, 2),
        "critical_path": critical,
        "worst": rows,
        "label": timing.label,
    }


@dataclass(frozen=True, kw_only=True)
class _Mapped:
    """One way to map a design, left in the folder `work`."""

    netlist: Netlist
    timing: Timing | None
    work: Path
    recipe: str
    adders: str

    @property
    def clock(self) -> float:
        """Clock in MHz; infinite where nothing is known to limit it."""
        return self.timing.fmax_mhz if self.timing and self.timing.fmax_mhz else float("inf")


def _adders(options: SynthOptions, recipe: str, libraries: list[Library]) -> tuple[str, ...]:
    """What to try for additions: cells slow the clock, so `auto` leaves them out where speed is asked for."""
    if options.adders == "cells":
        return CELLS
    if options.adders == "auto":
        found = recipe == "area" and any(library.full_adder() for library in libraries)
        return ("gates", *CELLS) if found else ("gates",)
    return (options.adders,)


def asic(
    design: Design,
    options: SynthOptions,
    folder: Path,
    progress: Progress = lambda text: None,
    *,
    timed: bool = True,
) -> Asic:
    """Synthesise and time a design.

    With the recipe `auto`, recipes are tried smallest first until one reaches the target clock register to register;
    if none does, the fastest is kept. Without timing, the smallest is. With the adders `auto`, the recipe `area` is
    also tried with the library's full-adder cells, and what is smallest and reaches the clock is kept.

    Raises
    ------
    InputError, SpikeloomError, ToolMissing
        As the steps do: `liberty_files`, `elaborate`, `map_to_cells`, `analyse`.
    """
    libraries, plain = liberty_files(options, folder)
    model, given = MacroModel.of(libraries[0], options), read_given(options.macros, folder)
    progress("reading the Verilog")
    coarse = elaborate(design, options, folder)
    coarse = replace(coarse, memories=given.fit(coarse.memories))
    recipes = RECIPES if options.recipe == "auto" else (options.recipe,)
    results: dict[str, _Mapped] = {}
    reached: list[str] = []
    for recipe in recipes:
        for adders in _adders(options, recipe, libraries):
            name = recipe if adders in ("gates", options.adders) else f"{recipe}, {adders}"
            work = folder / f"map_{len(results)}"
            work.mkdir(exist_ok=True)
            progress(f"mapping to {libraries[0].name} ({name})")
            netlist = map_to_cells(coarse, libraries, plain, replace(options, adders=adders), work, recipe=recipe)
            timing = None
            if timed:
                progress(f"timing ({name})")
                timing = analyse(netlist, libraries, plain, options, work, clock=design.clock, memory_timing=False)
            results[name] = _Mapped(netlist=netlist, timing=timing, work=work, recipe=recipe, adders=adders)
            if results[name].clock >= options.clock_mhz:
                reached.append(name)
            elif options.adders == "auto":
                break  # cells are slower than gates
        if reached:
            break
    tried = {
        name: {
            "um2": round(each.netlist.area(), 3),
            "fmax_mhz": round(each.clock, 2) if each.clock < float("inf") else None,
        }
        for name, each in results.items()
    }
    if reached:
        best = results[min(reached, key=lambda name: results[name].netlist.area())]
    else:
        best = max(results.values(), key=lambda each: each.clock)
    netlist, timing, work = best.netlist, best.timing, best.work
    with_memories = None
    if timed:
        with_memories = analyse(netlist, libraries, plain, options, work, clock=design.clock, memory_timing=True)
    for path in list(work.iterdir()):
        if path.is_file():
            path.replace(folder / path.name)
    for each in results.values():
        shutil.rmtree(each.work)
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    estimated = [memory for memory in coarse.memories if memory.liberty is None]
    if estimated:
        (folder / "macros.lib").write_text(memory_liberty(estimated, model))
        (folder / "macros.lef").write_text(memory_lef(estimated, model))
    return Asic(
        coarse=coarse,
        netlist=netlist,
        libraries=libraries,
        plain=plain,
        recipe=best.recipe,
        adders=best.adders,
        tried=tried,
        registers=timing,
        memories=with_memories,
        model=model,
        folder=folder,
    )


# ---------------------------------------------------------------------------------------------------------------------
# A build folder


def bench_workload(build: Path, manifest: dict) -> Workload:
    """The stimulus of a build folder's bench, with the answers of the reference simulator and the synaptic operations.

    Raises
    ------
    InputError
        If a file of the bench is missing or damaged.
    """
    stimulus = build / "bench" / "stimulus.mem"
    widths = {port["name"]: port["bits"] for port in manifest["ports"]}
    bits = {name: widths[f"{name}__payload"] for name in ("events_in", "load") if f"{name}__payload" in widths}
    items = read_stimulus(stimulus, bits)
    image = build / f"{manifest['name']}.image"
    warmup = image.stat().st_size // 4 if image.is_file() else 0
    expected = {
        name: path
        for name in ("events_out", "decision", "readout")
        if (path := build / "bench" / f"expected_{name}.mem").is_file()
    }
    if not expected:
        raise InputError(f"{build / 'bench'}: no expected_*.mem; elaborate again")
    name, chip, replay = manifest["name"], manifest.get("chip", {}), build / "chip" / "replay"
    answers = {f"analog_{x['name']}": replay / f"{name}_{x['name']}_clocks.mem" for x in chip.get("layers", ())}
    for core in chip.get("cores", ()):
        if len(core["layers"]) > 1:
            raise InputError(
                f"core {core['name']!r}: analog engines that several layers share, which take turns in no "
                "recorded order; accepted for power: core.cores = 'layer'"
            )
        answers[f"analog_{core['name']}"] = replay / f"{name}_{core['name']}_rows.mem"
    inferences = sum(item >> (bits["events_in"] - 1) for kind, item in items if kind == 0)
    # With direct input currents, part of the work comes through the load port and is no synaptic operation.
    direct = any(kind == 1 for kind, _ in items[warmup:])
    # Of a chip the synapses are analog: no operation of them is in this netlist.
    counted = not direct and not answers
    events = [item for kind, item in items if kind == 0]
    sops, dense = _operations(build, manifest, events) if counted else (None, None)
    return Workload(
        stimulus=stimulus,
        name=f"{manifest['name']}: the {inferences} inputs of its bench",
        warmup=warmup,
        sops=sops,
        dense_operations=dense,
        expected=expected,
        answers=answers,
    )


def _operations(build: Path, manifest: dict, events: list[int]) -> tuple[int, int]:
    """Spikes delivered to non-zero weights, counted by the reference simulator, and dense multiply-adds."""
    import numpy as np

    from spikeloom.items import AddressMap, EventSlots, decode_events
    from spikeloom.network.reference import simulate, synaptic_operations
    from spikeloom.network.storage import load_network

    network = load_network(build / "network.npz")
    steps = manifest["steps"]
    addressing = AddressMap(network.input_shape)
    slots = EventSlots(addressing.addresses, manifest.get("events_per_cycle", 1), manifest.get("weight_ports", 1))
    ticks = sum(word >> (slots.bits - 2) & 1 for word in events)
    words = np.array(events, dtype=np.uint64)
    spikes = decode_events(words, batch=ticks // steps, steps=steps, addressing=addressing, slots=slots)
    sops = int(synaptic_operations(network, spikes, simulate(network, spikes).spikes).sum())
    return sops, ticks * sum(layer.dense_operations for layer in network.layers)


def synthesise(
    build: Path,
    options: SynthOptions,
    progress: Progress = lambda text: None,
    *,
    skip_missing: bool = False,
) -> dict:
    """Synthesise a build folder of `spikeloom elaborate`; writes `build/synth/` as a whole.

    Parameters
    ----------
    build
        Folder with manifest.json.
    progress
        Called with a few words at the start of each step.
    skip_missing
        Leave out the steps whose tools are missing, each with its reason in the result; otherwise they are an error.

    Returns
    -------
    What synthesis.json holds: `area`, `memories`, `timing`, `power`, `fpga`, each with its label; `skipped`.

    Raises
    ------
    ToolMissing
        If a tool is missing, before any work is done.
    InputError
        If the folder, the library or an option cannot be used.
    SpikeloomError
        If a tool fails (its log is then beside the folder, in synth_failed.log), if a memory became flip-flops, or if
        the netlist answers the bench's stimulus otherwise than the reference simulator.
    """
    design, manifest = design_from_build(build)
    skipped: dict[str, str] = {}
    needed = {"area": ["yosys"], "timing": ["sta"], "power": ["sta", "g++"] if options.power else [], "fpga": []}
    if not options.liberty and options.pdk == "osu018":
        needed["area"].append("osu018")
    for step, tools in needed.items():
        for tool in tools:
            try:
                require_tool(tool)
            except ToolMissing as error:
                if not skip_missing or step == "area":
                    raise
                skipped[step] = str(error)
    if options.power and manifest.get("streams"):
        skipped["power"] = "weights are streamed, and the netlist's bench feeds no load port beside the events"
    chip = manifest.get("chip", {})
    if options.power and (chip.get("index_memories") or chip.get("tables")):
        skipped["power"] = "index memories or tables stand outside of the netlist, and nothing of theirs is recorded"
    workload = bench_workload(build, manifest) if options.power and "power" not in skipped else None
    try:
        with replace_folder(build / "synth") as folder:
            result = _figures(build, design, manifest, workload, options, folder, progress, skipped)
            (folder / "synthesis.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    except FlowError as error:
        # The folder is gone with its half-made files; the log is what the user needs.
        kept = build / "synth_failed.log"
        write_atomic(kept, error.log.read_bytes() if error.log.is_file() else error.reason)
        raise SpikeloomError(f"{error.reason}\nlog: {kept}") from error
    return result


def _figures(
    build: Path,
    design: Design,
    manifest: dict,
    workload: Workload | None,
    options: SynthOptions,
    folder: Path,
    progress: Progress,
    skipped: dict[str, str],
) -> dict:
    """All steps, in `folder`."""
    result = asic(design, options, folder, progress, timed="timing" not in skipped)
    bits = sum(memory.bits for memory in result.coarse.memories)
    promised = sum(memory["bits"] for memory in manifest["memories"])
    if bits != promised:
        raise SpikeloomError(f"{design.top}: the netlist has {bits} bits of memory, its manifest {promised}")
    figures = {
        "schema": SCHEMA,
        "name": manifest["name"],
        "hash": manifest["hash"],
        "options": asdict(options),
        **result.summary(),
        "power": None,
        "netlist_check": None,
        "fpga": {},
        "skipped": skipped,
    }
    cell_models(result.netlist, result.plain, folder)
    if workload and "power" not in skipped:
        power, activity = measure(
            result.netlist,
            result.libraries,
            result.plain,
            options,
            workload,
            folder,
            images=design.folder,
            clock=design.clock,
            reset=design.reset,
            progress=progress,
        )
        figures["power"] = power.summary()
        figures["netlist_check"] = {
            "level": "mapped netlist against the reference simulator on the bench's stimulus",
            "equal_words": {name: len(activity.outputs[name]) for name in sorted(workload.expected)},
        }
    for family in options.fpga:
        progress(f"counting {family} resources")
        figures["fpga"][family] = count(design, family, folder).summary()
    for name in ("mapped.json", "coarse.il", "memories.json", "registers.txt"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    for path in result.plain:
        if path.parent == folder:  # unzipped for the tools
            path.unlink()
    return figures
