"""`spikeloom task`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from spikeloom.cli import JsonOption, OutOption, VerboseOption, build_folder
from spikeloom.errors import InputError
from spikeloom.output import check_replaceable
from spikeloom.ui import Session, session

__all__ = ["tasks"]

MODELS = {"digital": "the integer reference", "crossbar": "the Python model of the chip"}

WeightsOption = Annotated[
    str,
    typer.Option(help="own, published (below SPIKELOOM_DATA), or a folder of fc1_weight.csv and fc2_weight.csv"),
]
tasks = typer.Typer(name="task", help="Close a loop around a core.", no_args_is_help=True)


@tasks.callback()
def _group() -> None:
    """Close a loop around a core: its answers decide what it is asked next."""


@tasks.command()
def interception(
    controller: Annotated[
        str, typer.Option(help="float, digital (RTL), crossbar (RTL), analog (models) or all")
    ] = "all",
    trajectories: Annotated[int, typer.Option(help="how many prey")] = 200,
    seed: Annotated[int, typer.Option(help="seed of the prey")] = 0,
    weights: WeightsOption = "own",
    chips: Annotated[int, typer.Option(help="chips of the Monte-Carlo figures of analog")] = 20,
    animation: Annotated[bool, typer.Option(help="write pursuit.gif")] = True,
    out: OutOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """A predator steered by spikes catches its prey: errors against the reference, captures, an animation."""
    with session(as_json, verbose) as ui:
        from spikeloom.errors import SpikeloomError

        from .interception.run import NAME, TaskOptions, run_task

        options = TaskOptions(
            controller=controller,
            trajectories=trajectories,
            seed=seed,
            weights=weights,
            chips=chips,
            animate=animation,
        )
        folder = build_folder(NAME, out)
        with ui.progress("interception") as step:
            result = run_task(options, folder, step)
        _show(ui, result)
        target = folder / "task"
        ui.done({**result, "folder": str(target)}, f"wrote {target}")
        wrong = [name for name, rtl in _on_rtl(result) if rtl["wrong_counts"] or rtl["wrong_spikes"]]
        if wrong:
            raise SpikeloomError(
                f"interception: the answers of {' and '.join(wrong)} on RTL differ from the model's: see the figures"
            )


@tasks.command()
def compare_interception(
    weights: WeightsOption = "own",
    pdk_root: Annotated[
        Path | None, typer.Option(help="folder of the kits sky130hd, nangate45, asap7 (see `spikeloom pdk list`)")
    ] = None,
    energy: Annotated[Path | None, typer.Option(help="TOML of analog energy parameters")] = None,
    trajectories: Annotated[int, typer.Option(help="how many prey give the inputs")] = 200,
    seed: Annotated[int, typer.Option(help="seed of the prey")] = 0,
    chips: Annotated[int, typer.Option(help="chips of the crossbar")] = 20,
    workload: Annotated[int, typer.Option(help="inputs that the netlists play")] = 64,
    out: OutOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Interception, analog against digital: energy, delay, area, accuracy; writes a table and pictures."""
    with session(as_json, verbose) as ui:
        from spikeloom_analog import EnergyParameters, load_energy

        from .interception.comparison import CompareOptions, compare_interception, pdk_libraries
        from .interception.comparison_page import short_rows, write_comparison

        libraries = pdk_libraries(pdk_root)
        if pdk_root and not libraries:
            raise InputError(f"{pdk_root}: no kit of sky130hd, nangate45, asap7; accepted: a folder that holds one")
        options = CompareOptions(
            weights=weights,
            trajectories=trajectories,
            seed=seed,
            chips=chips,
            workload=workload,
            energy=EnergyParameters() if energy is None else load_energy(energy),
            libraries=libraries,
        )
        folder = build_folder("interception_compare", out)
        check_replaceable(folder)
        with ui.progress("comparison") as step:
            result = compare_interception(options, lambda text: step(text, None))
        write_comparison(result, folder)
        if not libraries:
            ui.note("no digital rows: none of the kits was found; `spikeloom pdk list` says where they are looked for")
        header, rows = short_rows(result)
        ui.table(f"{result['observations']} inputs of the interception task, weights {weights}", header, rows)
        for sentence in result["conclusion"]:
            ui.note(sentence)
        ui.done({**result, "folder": str(folder)}, f"wrote {folder / 'comparison.html'}")


def _show(ui: Session, result: dict[str, Any]) -> None:
    """The tables of a result."""
    rows = []
    for name, figures in result["controllers"].items():
        open_loop, loop = figures.get("open_loop", {}), figures["closed_loop"]
        rows.append([name, *_errors(open_loop), f"{loop['capture_rate']:.1%}", f"{loop['mean_steps']:.2f}"])
    pure = result["pure_pursuit"]
    rows.append(["pure pursuit", None, None, None, f"{pure['capture_rate']:.1%}", f"{pure['mean_steps']:.2f}"])
    ui.table(
        f"interception, weights {result['weights']}: {result['trajectories']} prey, {result['observations']} "
        "observations of the float reference (1 of `out` is 120 degrees)",
        ["controller", "MSE of out", "correlation", "spike error, mean / max", "captured", "steps"],
        rows,
    )
    ui.table(
        "inputs, recorded from the closed loop of the float reference",
        ["input", "mean", "std", "quartile 1", "median", "quartile 3"],
        [[name, *(f"{value:.3f}" for value in row.values())] for name, row in result["inputs"].items()],
    )
    ladder = result["controllers"].get("analog", {}).get("ladder")
    if ladder:
        ui.table(
            "analog models, open loop, effect by effect",
            ["circuit", "chips", "MSE, median", "MSE, p95", "correlation, median", "spike bias"],
            [
                [name, row["chips"], f"{row['mse_median']:.2e}", f"{row['mse_p95']:.2e}",
                 None if row["correlation_median"] is None else f"{row['correlation_median']:.4f}",
                 f"{row['count_bias']:+.2f}"]
                for name, row in ladder.items()
            ],
        )  # fmt: skip
    for name, rtl in _on_rtl(result):
        ui.note(
            f"{name} on RTL in the loop: {rtl['inferences']} inferences, {rtl['wrong_counts']} spike counts and "
            f"{rtl['wrong_spikes']} spike trains differ from {MODELS[name]}, "
            f"{rtl['cycles_per_inference']} cycles per inference"
        )


def _on_rtl(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Controllers that ran on RTL, and how that went."""
    return [(name, figures["rtl"]) for name, figures in result["controllers"].items() if "rtl" in figures]


def _errors(figures: dict[str, Any]) -> list[str | None]:
    if not figures:
        return [None, None, None]
    correlation = figures["correlation"]
    return [
        f"{figures['mse']:.2e}",
        None if correlation is None else f"{correlation:.4f}",
        f"{figures['count_error_mean']:.3f} / {figures['count_error_max']}",
    ]
