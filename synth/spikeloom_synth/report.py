"""One HTML page about a design: pictures first, every figure with the conditions under which it holds.

The page is self-contained (SVG and style sheet inside, no script, nothing loaded) and depends on nothing but the build
folder: the same folder gives the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from spikeloom.output import write_atomic

from .figures import COLOURS
from .report_build import Build, conditions, listed, number, percent, plural, si
from .report_pictures import Picture, pictures
from .report_tables import Table, tables

__all__ = ["FIGURES", "write_report"]

FIGURES = (
    "fig-input",
    "fig-spikes",
    "fig-membrane",
    "fig-confusion",
    "fig-cycles",
    "fig-area",
    "fig-energy",
    "fig-timing",
    "fig-widths",
)
"""Ids of the figures of a page with nothing skipped. A skipped one leaves a paragraph `skipped-NAME` in its place."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A number of the first screen."""

    name: str
    value: str
    detail: str
    label: str
    mood: str = ""
    """`good`, `bad` or nothing."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what stands below it."""

    name: str
    title: str
    pictures: list[Picture]
    tables: list[Table]


# ---------------------------------------------------------------------------------------------------------------------
# First screen

COMPARED = {
    "spikes": "output spikes",
    "decisions": "decisions",
    "readouts": "read-outs",
    "potentials": "potentials of the first input",
}


def _mismatches(simulation: dict[str, Any]) -> tuple[dict[str, int], int | None]:
    """Mismatches of what was compared bit by bit, and those of the cycles (None where not compared)."""
    found = simulation["mismatches"]
    compared = {text: int(found[key]) for key, text in COMPARED.items() if found.get(key) is not None}
    return compared, None if found.get("cycles") is None else int(found["cycles"])


def _verdict(build: Build) -> tuple[str, str]:
    """(mood, sentence): whether the RTL does what the network says."""
    given = build.simulation
    if given is None:
        return "unknown", f"Not verified. Simulation skipped: {build.why('simulation')}."
    compared, wrong_cycles = _mismatches(given)
    total, workload = (
        sum(compared.values()),
        f"{plural(given['inputs'], 'input')} of {plural(given['steps'], 'step')}",
    )
    if not compared:
        return "unknown", f"Not verified: {workload} were simulated, and nothing was compared."
    cycles_text = ""
    if wrong_cycles:
        cycles_text = f" The cost model misses the cycles of {plural(wrong_cycles, 'input')}."
    elif wrong_cycles == 0:
        asked = int((build.arrays.get("latency_model", np.zeros(0)) >= 0).sum())
        cycles_text = f" Cycles of {plural(asked, 'input')} equal the cost model." if asked else ""
    if total:
        parts = [f"{count:,} in {key}" for key, count in compared.items() if count]
        return (
            "bad",
            f"Not bit-exact: {workload}, {plural(total, 'mismatch', 'mismatches')} ({listed(parts)})." + cycles_text,
        )
    return "good", f"Bit-exact: {workload}, 0 mismatches in {listed(list(compared))}." + cycles_text


def _tiles(build: Build) -> list[Tile]:
    tiles = []
    simulation, synthesis = build.simulation, build.synthesis
    if simulation:
        label = build.simulated()
        compared, _ = _mismatches(simulation)
        total = sum(compared.values())
        tiles.append(
            Tile(
                name="RTL against reference",
                value=plural(total, "mismatch", "mismatches"),
                detail=f"{plural(simulation['inputs'], 'input')}; compared: {', '.join(compared) or 'nothing'}",
                label=label,
                mood="bad" if total else "good",
            )
        )
        accuracy = simulation.get("accuracy") or {}
        if accuracy.get("rtl") is not None:
            tiles.append(
                Tile(
                    name="Accuracy",
                    value=percent(accuracy["rtl"]),
                    detail=f"RTL; reference {percent(accuracy.get('reference'))}",
                    label=label,
                    mood="" if accuracy["rtl"] == accuracy.get("reference") else "bad",
                )
            )
        latency = simulation.get("latency_cycles")
        if latency:
            median = latency["median"]
            tiles.append(
                Tile(
                    name="Latency, median",
                    value=f"{number(median)} cycles",
                    detail=f"{si(median / build.clock_mhz * 1e-6, 's')} at {build.clock_mhz:g} MHz; "
                    f"{number(latency['min'])} to {number(latency['max'])} cycles",
                    label=label,
                )
            )
    if synthesis:
        area, bits = synthesis["area"], synthesis["memories"]["bits"]
        tiles.append(
            Tile(
                name="Cell area",
                value=f"{area['um2']:,.0f} µm²",
                detail=f"{area['cells']:,} cells, {area['flip_flops']:,} flip-flops; {bits:,} memory bits outside",
                label=conditions(area["label"]),
            )
        )
        timing = (synthesis.get("timing") or {}).get("registers")
        if timing and timing["fmax_mhz"]:
            memories = (synthesis["timing"].get("memories") or {}).get("fmax_mhz")
            reached = timing["fmax_mhz"] >= build.clock_mhz
            tiles.append(
                Tile(
                    name="Maximum clock",
                    value=f"{timing['fmax_mhz']:,.1f} MHz",
                    detail="register to register" + (f"; {memories:,.1f} MHz with memories" if memories else ""),
                    label=conditions(timing["label"]),
                    mood="" if reached else "bad",
                )
            )
        power = synthesis.get("power")
        if power:
            energy, per_sop = power["energy_per_inference_j"], power.get("energy_per_sop_j")
            detail = f"cells {si(energy['logic'], 'J')}, memories (assumed) {si(energy['memory_assumed'], 'J')}"
            detail += f"; {si(per_sop['total'], 'J', 3)} per synaptic operation" if per_sop else ""
            tiles.append(
                Tile(
                    name="Energy per inference",
                    value=si(energy["total"], "J"),
                    detail=detail,
                    label=conditions(power["label"]),
                )
            )
    return tiles


def _warnings(build: Build) -> list[str]:
    """What a reader must know before believing the numbers above."""
    found = []
    timing = ((build.synthesis or {}).get("timing") or {}).get("registers") or {}
    if timing.get("fmax_mhz") and timing["fmax_mhz"] < build.clock_mhz:
        found.append(
            f"The netlist reaches {timing['fmax_mhz']:,.1f} MHz, not the {build.clock_mhz:g} MHz that times and powers "
            "are stated at."
        )
    turned = (build.synthesis or {}).get("register_memories")
    if turned:
        names = ", ".join(each if isinstance(each, str) else str(each.get("instance", each)) for each in turned)
        found.append(f"Memories that became flip-flops, as allowed by register_memory_bits: {names}.")
    arrays = [each for each in build.manifest["memories"] if each["port_type"] == "cim" and each["image"]]
    if build.synthesis and arrays:
        found.append(
            "Arrays hold their weights from the start, which simulations and FPGAs can do and silicon cannot: there, "
            'weights (and biases) are loaded: core.weights = "loaded".'
        )
    if build.synthesis and any(port["name"].startswith("probe_") for port in build.manifest["ports"]):
        found.append("Area, clock and energy include the probe streams of this design (core.probe = true).")
    found += [f"Quantisation: {text}." for text in (build.quantisation or {}).get("warnings", [])]
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The page


ARRANGEMENT = (
    ("activity", "Activity", ("fig-input", "fig-spikes"), ()),
    ("equality", "RTL against the reference", ("fig-membrane", "fig-confusion", "fig-cycles", "fig-updates"), ()),
    (
        "cost",
        "Area, energy, timing",
        ("fig-area", "fig-energy", "fig-timing", "fig-timing-memory"),
        ("area", "energy", "paths", "recipes", "fpga", "check"),
    ),
    ("network", "Network and memories", ("fig-widths", "fig-placement"), ("layers", "memories", "quantisation")),
    ("interface", "Interface", (), ("ports", "load")),
    ("versions", "Versions", (), ("versions",)),
)
"""(id, heading, figures, tables) of each section; a design without a table or a second path has none."""


def _sections(build: Build) -> list[Section]:
    drawn, listed_tables = pictures(build), tables(build)
    return [
        Section(
            name=name,
            title=title,
            pictures=[drawn[each] for each in figures if each in drawn],
            tables=[listed_tables[each] for each in rows if each in listed_tables],
        )
        for name, title, figures, rows in ARRANGEMENT
    ]


def _facts(build: Build) -> str:
    """The design in one line."""
    manifest = build.manifest
    layers = manifest["layers"]
    shapes = [manifest.get("input_shape", [layers[0]["fan_in"]])]
    shapes += [layer.get("shape", [layer["neurons"]]) for layer in layers]
    shape = "-".join("x".join(map(str, each)) for each in shapes)
    lanes = ", ".join("full" if layer["lanes"] == layer["neurons"] else str(layer["lanes"]) for layer in layers)
    core = manifest.get("core", "digital")
    steps = plural(manifest["steps"], "step")
    return f"{core} core · {shape} neurons · lanes {lanes} · {steps} · design {manifest['hash']}"


def write_report(build: Path | str, *, skipped: Mapping[str, str] | None = None) -> Path:
    """Write `report.html` into a build folder of `spikeloom elaborate`, and return its path.

    Parameters
    ----------
    build
        Folder with manifest.json; what is there of quantisation.json, sim/ and synth/ is shown, what is missing or
        belongs to another design is named with the reason.
    skipped
        Why steps were left out, where the caller knows: {"simulation" | "synthesis" | "timing" | "power": reason}.

    Raises
    ------
    InputError
        If the folder holds no manifest, or a file in it is damaged or of another schema; nothing is then written.
    """
    folder = Path(build)
    content = Build(folder, skipped or {})
    mood, verdict = _verdict(content)
    sections = _sections(content)
    environment = Environment(
        loader=PackageLoader("spikeloom_synth", "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    page = environment.get_template("report.html.j2").render(
        name=content.manifest["name"],
        facts=_facts(content),
        mood=mood,
        verdict=verdict,
        tiles=_tiles(content),
        warnings=_warnings(content),
        sections=sections,
        skipped=sorted(content.skipped.items()),
        colours=COLOURS,
        version=content.manifest["versions"].get("spikeloom", ""),
    )
    return write_atomic(folder / "report.html", page)
