"""`spikeloom synth`, `spikeloom fpga`, `spikeloom report`, `spikeloom map` and `spikeloom pdk`."""

from typing import Annotated, Any

import typer

from spikeloom.cli import ConfigArgument, JsonOption, OutOption, VerboseOption, build_folder
from spikeloom.ui import session

from .map_command import map_network
from .pdk_command import pdk_app

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this package."""
    app.command()(synth)
    app.command()(fpga)
    app.command()(report)
    app.command("map")(map_network)
    app.add_typer(pdk_app, name="pdk")


def synth(
    config: ConfigArgument,
    pdk: Annotated[str | None, typer.Option(help="a name of `spikeloom pdk list`, or a TOML file (synth.pdk)")] = None,
    corner: Annotated[str | None, typer.Option(help="operating point of the kit (default: synth.corner)")] = None,
    pdk_root: Annotated[str | None, typer.Option(help="folder with the kit (default: synth.pdk_root)")] = None,
    liberty: Annotated[str | None, typer.Option(help="Liberty file in the kit's place (synth.liberty)")] = None,
    clock_mhz: Annotated[float | None, typer.Option(help="target clock (default: synth.clock_mhz)")] = None,
    recipe: Annotated[str, typer.Option(help="auto, area, balanced or speed")] = "auto",
    adders: Annotated[str | None, typer.Option(help="auto, gates or cells (default: synth.adders)")] = None,
    power: Annotated[bool, typer.Option(help="measure switching activity and power")] = True,
    skip_missing: Annotated[bool, typer.Option(help="leave out steps whose tools are missing")] = False,
    out: OutOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Synthesise the export: area, timing, power and energy, FPGA resources."""
    with session(as_json, verbose) as ui:
        from spikeloom.export import check_fresh
        from spikeloom.project import Project

        from .flow import synthesise
        from .options import SynthOptions

        project = Project.load(config)
        given = project.config.synth
        own = pdk is None  # another kit has other corners, and takes the place of the file's libraries
        options = SynthOptions(
            pdk=pdk or (str(project.folder / given.pdk) if given.pdk.endswith(".toml") else given.pdk),
            corner=corner or (given.corner if own else None) or None,
            pdk_root=pdk_root or (str(project.folder / given.pdk_root) if given.pdk_root else None),
            liberty=liberty or (tuple(str(project.folder / path) for path in given.liberty) if own else ()),
            clock_mhz=given.clock_mhz if clock_mhz is None else clock_mhz,
            macros=tuple(str(project.folder / path) for path in given.macros),
            memory_model=None if given.memory_model == "default" else str(project.folder / given.memory_model),
            memory_access_ns=None if given.memory_access_ns == "auto" else given.memory_access_ns,
            fpga=tuple(given.fpga),
            recipe=recipe,
            adders=adders or given.adders,
            power=power,
        )
        folder = build_folder(project.config.name, out)
        check_fresh(project, folder)
        with ui.progress("synth") as step:
            result = synthesise(folder, options, lambda text: step(text, None), skip_missing=skip_missing)
        rows = _rows(result)
        library = result["area"]["label"]["library"]
        ui.table(f"{project.config.name}: {library} at {options.clock_mhz:g} MHz", ["figure", "value"], rows)
        for name, reason in result["skipped"].items():
            ui.note(f"{name} skipped: {reason}")
        ui.done({**result, "folder": str(folder / "synth")}, f"wrote {folder / 'synth'}")


def _rows(result: dict[str, Any]) -> list[list[Any]]:
    """The headline figures of a synthesis, as far as they are there."""
    rows: list[list[Any]] = []
    if area := result.get("area"):
        rows.append(["cell area, memories outside", f"{area['um2']:.0f} um2, {area['flip_flops']} flip-flops"])
    if memories := result.get("memories"):
        rows.append(["memories", f"{memories['bits']} bits, {memories['um2']:.0f} um2; {memories['label']}"])
    if timing := result.get("timing"):
        registers = timing["registers"]
        if registers["fmax_mhz"] is not None:
            path = registers["critical_path"]
            rows.append(["clock, register to register", f"{registers['fmax_mhz']:.0f} MHz"])
            rows.append(["critical path", f"{path['start']} -> {path['end']}"])
        if (memories := timing.get("memories")) and memories["fmax_mhz"] is not None:
            rows.append(["clock with memories", f"{memories['fmax_mhz']:.0f} MHz"])
    if power := result.get("power"):
        for key, text, unit, scale in (
            ("energy_per_inference_j", "energy per inference", "nJ", 1e9),
            ("energy_per_sop_j", "energy per synaptic operation", "pJ", 1e12),
        ):
            if parts := power.get(key):
                logic, memory = parts["logic"] * scale, parts["memory_assumed"] * scale
                rows.append([text, f"{logic:.3g} {unit} logic + {memory:.3g} {unit} memories (assumed)"])
        tops = power.get("tops_per_w") or {}
        if tops.get("performed"):
            shown = f"{tops['performed']:.3g} performed, {tops['dense_equivalent']:.3g} dense-equivalent"
            rows.append(["TOPS/W, 2 per multiply-add", f"{shown} (memories assumed)"])
    for family, counts in (result.get("fpga") or {}).items():
        blocks = sum(counts["block_rams"].values())
        rows.append([f"FPGA {family}", f"{counts['luts']} LUT, {counts['flip_flops']} FF, {blocks} block RAM"])
    return rows


def fpga(
    config: ConfigArgument,
    board: Annotated[str, typer.Option(help="icebreaker, ulx3s or arty_a7_100 (synthesis only)")],
    baud: Annotated[int, typer.Option(help="rate of the serial line")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="seed of the placer")] = 1,
    place: Annotated[bool, typer.Option(help="place, route and write the bitstream, or stop after Yosys")] = True,
    out: OutOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Build the bitstream of a board: the core, its serial line and lights; needs no `elaborate` before."""
    with session(as_json, verbose) as ui:
        from spikeloom.host.board import board_named
        from spikeloom.project import Project

        from .fpga_build import FpgaOptions, build

        chosen = board_named(board)
        project = Project.load(config)
        folder = build_folder(project.config.name, out)
        target = folder / "fpga" / chosen.name
        with ui.progress("fpga") as step:
            result = build(
                project, chosen, target, FpgaOptions(baud=baud, seed=seed, place=place), lambda text: step(text, None)
            )
        used, have = {**result["mapped"], **result.get("placed", {})}, result["available"]
        names = {"luts": "LUT", "flip_flops": "FF", "block_rams": "block RAM", "sprams": "SPRAM", "dsps": "DSP"}
        rows = [[names[key], f"{used[key]} of {have[key]}"] for key in have if have[key]]
        if "fmax_mhz" in result:
            rows.append(["clock", f"{result['fmax_mhz']:.1f} MHz; the core runs at {result['clock_mhz']:g} MHz"])
        ui.table(f"{result['name']} on {result['chip']}", ["figure", "value"], rows)
        bitstream = result["bitstream"]
        ui.done(
            {**result, "folder": str(target)},
            f"wrote {target / bitstream}; next: load it, then spikeloom play {config} --port PORT"
            if bitstream
            else f"wrote {target} (no bitstream)",
        )


def report(
    config: ConfigArgument, out: OutOption = None, as_json: JsonOption = False, verbose: VerboseOption = False
) -> None:
    """Write one self-contained HTML page with everything that is known of the build."""
    with session(as_json, verbose) as ui:
        from spikeloom.config import load_config

        from .report import write_report

        folder = build_folder(load_config(config).name, out)
        page = write_report(folder)
        ui.done({"report": str(page)}, f"wrote {page}")
