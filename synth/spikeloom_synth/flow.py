"""The steps in order: an exported design becomes area, timing, power and FPGA figures, each with its label."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from .liberty import Library
from .netlist import Netlist
from .options import RECIPES, SynthOptions
from .timing import Timing, analyse
from .yosys import Coarse, Design, elaborate, liberty_files, map_to_cells, yosys_version

__all__ = ["Asic", "asic"]

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Asic:
    """Result of the ASIC flow up to timing; `folder` holds netlist.v, memories.v, scripts and logs."""

    coarse: Coarse
    netlist: Netlist
    libraries: list[Library]
    plain: list[Path]
    recipe: str
    tried: dict[str, dict]
    """{recipe: {"area", "fmax_mhz"}} of every recipe that was run."""
    registers: Timing
    memories: Timing
    folder: Path

    def summary(self) -> dict:
        """Figures with their labels, ready for JSON."""
        flip_flops = self.netlist.flip_flops()
        memories = [
            {
                "instance": each.name,
                "module": each.module,
                "width": each.width,
                "depth": each.depth,
                "bits": each.bits,
                "port_type": each.port_type,
            }
            for each in self.coarse.memories
        ]
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
                    **self.libraries[0].label(),
                },
            },
            "memories": {"bits": sum(each["bits"] for each in memories), "instances": memories},
            "register_memories": list(self.coarse.register_memories),
            "tried": self.tried,
            "timing": {"registers": timing_json(self.registers), "memories": timing_json(self.memories)},
        }


def timing_json(timing: Timing) -> dict:
    """A timing result, ready for JSON: the critical path in full, the other end points in one line each."""
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


def asic(design: Design, options: SynthOptions, folder: Path, progress: Progress = lambda text: None) -> Asic:
    """Synthesise and time a design.

    With the recipe `auto`, recipes are tried smallest first until one reaches the target clock register to register;
    if none does, the fastest is kept.

    Raises
    ------
    InputError, SpikeloomError, ToolMissing
        As the steps do: `liberty_files`, `elaborate`, `map_to_cells`, `analyse`.
    """
    libraries, plain = liberty_files(options, folder)
    progress("reading the Verilog")
    coarse = elaborate(design, options, folder)
    recipes = RECIPES if options.recipe == "auto" else (options.recipe,)
    results: dict[str, tuple[Netlist, Timing, Path]] = {}
    for recipe in recipes:
        work = folder / f"map_{recipe}"
        work.mkdir(exist_ok=True)
        progress(f"mapping to {libraries[0].name} ({recipe})")
        netlist = map_to_cells(coarse, libraries, plain, options, work, recipe=recipe)
        progress(f"timing ({recipe})")
        timing = analyse(netlist, libraries, plain, options, work, memory_timing=False)
        results[recipe] = netlist, timing, work
        if timing.fmax_mhz is None or timing.fmax_mhz >= options.clock_mhz:
            break
    tried = {
        recipe: {"um2": round(netlist.area(), 3), "fmax_mhz": timing.fmax_mhz and round(timing.fmax_mhz, 2)}
        for recipe, (netlist, timing, _) in results.items()
    }

    def clock(recipe: str) -> float:
        return results[recipe][1].fmax_mhz or float("inf")

    reached = [recipe for recipe in results if clock(recipe) >= options.clock_mhz]
    best = reached[0] if reached else max(results, key=clock)
    netlist, timing, work = results[best]
    with_memories = analyse(netlist, libraries, plain, options, work, memory_timing=True)
    for path in list(work.iterdir()):
        if path.is_file():
            path.replace(folder / path.name)
    for recipe in results:
        shutil.rmtree(folder / f"map_{recipe}")
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    return Asic(
        coarse=coarse,
        netlist=netlist,
        libraries=libraries,
        plain=plain,
        recipe=best,
        tried=tried,
        registers=timing,
        memories=with_memories,
        folder=folder,
    )
