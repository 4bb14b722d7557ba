"""`spikeloom simulate`, `spikeloom spice` and `spikeloom task`."""

from typing import Annotated, Any

import typer

from spikeloom.cli import ConfigArgument, JsonOption, OutOption, VerboseOption, build_folder
from spikeloom.ui import Session, session

from .tasks.commands import tasks

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this package."""
    app.command()(simulate)
    app.command()(spice)
    app.add_typer(tasks)


def simulate(
    config: ConfigArgument,
    engine: Annotated[
        str, typer.Option(help="batch (compiled, whole data sets), icarus or verilator (cocotb)")
    ] = "batch",
    inputs: Annotated[int | None, typer.Option(help="how many test inputs (batch: data.inputs, cocotb: 3)")] = None,
    stall: Annotated[int, typer.Option(help="pause every stream with this probability in percent")] = 0,
    seed: Annotated[int, typer.Option(help="seed of the pauses")] = 0,
    potentials: Annotated[
        bool, typer.Option(help="compare every membrane potential of the first input (batch)")
    ] = False,
    waveform: Annotated[bool, typer.Option(help="write a waveform of the first input")] = False,
    out: OutOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run the exported Verilog and compare every spike with the reference."""
    with session(as_json, verbose) as ui:
        from spikeloom.errors import SpikeloomError
        from spikeloom.project import Project

        from .flow import SimulationOptions, simulate_build

        options = SimulationOptions(
            engine=engine, inputs=inputs, stall=stall, seed=seed, potentials=potentials, waveform=waveform
        )
        project = Project.load(config)
        folder = build_folder(project.config.name, out)
        with ui.progress("simulate") as step:
            result = simulate_build(project, folder, options, step)
        wrong = {name: count for name, count in result["mismatches"].items() if count}
        compared = [name for name, count in result["mismatches"].items() if count is not None]
        latency, accuracy = result["latency_cycles"], result["accuracy"]
        spread = f"{latency['min']} / {latency['median']:g} / {latency['max']}"
        ui.table(
            f"{result['name']}: {result['inputs']} inputs of {result['steps']} steps on {engine}",
            ["figure", "value"],
            [
                ["compared with the reference", ", ".join(compared)],
                ["mismatches", ", ".join(f"{n}: {c}" for n, c in wrong.items()) or "none"],
                ["latency in cycles, min / median / max", spread],
                ["synaptic operations per input", f"{result['sop_mean']:.0f}"],
                *([["accuracy, RTL / reference", f"{accuracy['rtl']:.2%} / {accuracy['reference']:.2%}"]]
                  if accuracy["rtl"] is not None else []),
            ],
        )  # fmt: skip
        ui.done({**result, "folder": str(folder / "sim")}, f"wrote {folder / 'sim'}")
        if wrong:
            text = ", ".join(f"{count} {name}" for name, count in wrong.items())
            raise SpikeloomError(f"{result['name']}: {text} differ from the reference; see {folder / 'sim'}")


def spice(
    config: ConfigArgument,
    amplifier: Annotated[
        str, typer.Option(help="ideal | bandwidth (one pole) | transistor (CMOS, with access transistors)")
    ] = "ideal",
    bandwidth_mhz: Annotated[float, typer.Option(help="gain-bandwidth product of `bandwidth` in MHz")] = 100.0,
    input_number: Annotated[int, typer.Option("--input", help="which test input, from 0")] = 0,
    layer: Annotated[int | None, typer.Option(help="this layer alone, from 0 (default: all in a row)")] = None,
    columns: Annotated[int | None, typer.Option(help="only so many columns of one layer")] = None,
    window_us: Annotated[float | None, typer.Option(help="simulated time in us (default: a window)")] = None,
    step_ns: Annotated[float, typer.Option(help="longest time step of ngspice in ns")] = 0.25,
    timeout: Annotated[float, typer.Option(help="seconds that ngspice may take; more is refused beforehand")] = 600.0,
    netlist_only: Annotated[bool, typer.Option(help="write the netlist, run nothing; needs no ngspice")] = False,
    out: OutOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Run the analog side of a crossbar core in ngspice, beside its closed form."""
    with session(as_json, verbose) as ui:
        from spikeloom.errors import SpikeloomError
        from spikeloom.project import Project

        from .spice import SpiceOptions, missed, spice_project

        options = SpiceOptions(
            amplifier=amplifier,
            bandwidth=bandwidth_mhz * 1e6,
            input=input_number,
            layer=layer,
            columns=columns,
            window=None if window_us is None else window_us * 1e-6,
            step=step_ns * 1e-9,
            timeout=timeout,
            netlist_only=netlist_only,
        )
        project = Project.load(config)
        folder = build_folder(project.config.name, out) / "spice"
        with ui.progress("spice") as step:
            result = spice_project(project, folder, options, step)
        if not netlist_only:
            _show_spice(ui, result)
        ui.done({**result, "folder": str(folder)}, f"wrote {folder}")
        wrong = missed(result)
        if wrong:
            raise SpikeloomError(f"{project.config.name}: {wrong}; see {folder}")


def _show_spice(ui: Session, result: dict[str, Any]) -> None:
    def cell(value: float | None, scale: float, form: str) -> str | None:
        return None if value is None else format(value * scale, form)

    rows = []
    for name, stage in zip(result["layers"], result["stages"], strict=True):
        energy = [f"{e['spice'] * 1e15:.4g} / {e['closed'] * 1e15:.4g}" for e in stage["energy_j"].values()]
        rows.append(
            [name, f"{stage['spikes_spice']} / {stage['spikes_closed']}", cell(stage["error_mean_s"], 1e9, ".3g"),
             cell(stage["error_max_s"], 1e9, ".3g"), cell(stage["error_percent"], 1, ".3g"),
             f"{stage['membrane_rms_percent']:.3g}", *energy, *([None] * (2 - len(energy)))]
        )  # fmt: skip
    ui.table(
        f"ngspice {result['ngspice']} / closed form, {result['amplifier']} amplifiers, steps of at most "
        f"{result['step_s'] * 1e9:g} ns",
        ["layer", "spikes", "error, mean ns", "max ns", "% of interval", "membrane rms, % of threshold",
         "from rows, fJ", "from amplifiers, fJ"],
        rows,
    )  # fmt: skip
    if result["rails_j"]:
        ui.table(
            "energy by rail, without wires",
            ["item", "ngspice, pJ", "closed form, pJ"],
            [[item, f"{e['spice'] * 1e12:.4g}", f"{e['closed'] * 1e12:.4g}"] for item, e in result["rails_j"].items()],
        )
    ui.note(
        f"ngspice {result['spice_seconds']:.1f} s, closed form {result['closed_form_seconds'] * 1e3:.1f} ms: "
        f"{result['speed_ratio']:.0f} times"
    )
