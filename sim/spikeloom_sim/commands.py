"""`spikeloom simulate` and `spikeloom task`."""

from typing import Annotated

import typer

from spikeloom.cli import ConfigArgument, JsonOption, OutOption, VerboseOption, build_folder
from spikeloom.ui import session

from .tasks.commands import tasks

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands of this package."""
    app.command()(simulate)
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
