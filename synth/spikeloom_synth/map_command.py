"""`spikeloom map`: which engine of a virtual core emulates which neuron."""

from pathlib import Path
from typing import Annotated, Any

import typer

from spikeloom.cli import ConfigArgument, JsonOption, VerboseOption
from spikeloom.ui import session

__all__ = ["map_network"]


def map_network(
    config: ConfigArgument,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="mapping file (default: NAME.map.json)")] = None,
    method: Annotated[str, typer.Option(help="ilp (needs the extra spikeloom[map]), greedy or round_robin")] = "ilp",
    seconds: Annotated[float, typer.Option(help="longest search for a layer")] = 60.0,
    seed: Annotated[int, typer.Option(help="seed of the search")] = 0,
    workers: Annotated[int, typer.Option(help="threads of the solver")] = 2,
    inputs: Annotated[int, typer.Option(help="how many training inputs the firing rates are measured on")] = 100,
    picture: Annotated[Path | None, typer.Option(help="write the picture of the mapping there (.svg or .png)")] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Place the neurons on the engines of a virtual core, and say how good that is."""
    with session(as_json, verbose) as ui:
        import contextlib
        import dataclasses

        from spikeloom.config import VirtualConfig
        from spikeloom.errors import InputError
        from spikeloom.mapping.mapping_file import write_mapping
        from spikeloom.mapping.placement import explain, measured_rates, place
        from spikeloom.mapping.virtual import placement_problems
        from spikeloom.project import Project

        if picture is not None and picture.suffix not in (".svg", ".png"):
            raise InputError(f"--picture: {picture} was given; accepted: a name that ends in .svg or .png")
        if inputs < 1:
            raise InputError(f"--inputs: {inputs} was given; accepted: at least 1")
        project = Project.load(config)
        core = project.config.core
        if not isinstance(core, VirtualConfig):
            raise InputError(f"{config}: core.kind: {core.kind!r} was given; accepted for a mapping: 'virtual'")
        network, rates = project.network, None
        target = output or Path(f"{project.config.name}.map.json")
        with ui.progress("map") as step:
            if project.has_data:
                step("firing rates", None)
                given = project.inputs(inputs, train=True)
                inputs = len(given.spikes)
                rates = measured_rates(network, given.spikes, current=given.current)
            with project.named("core"):
                problems = placement_problems(network, core, rates=rates)
                placements = {
                    name: place(
                        problem, method, seconds=seconds, seed=seed, workers=workers,  # type: ignore[arg-type]
                        progress=lambda text, share, name=name: step(f"{name}: {text}", share),
                    )
                    for name, problem in problems.items()
                }  # fmt: skip
                plain: dict[str, float] = {}  # to compare with, where that fits
                for name, problem in problems.items():
                    with contextlib.suppress(InputError):
                        plain[name] = place(problem, "round_robin").expected_rows
        told = {name: explain(problem, placements[name]) for name, problem in problems.items()}
        write_mapping(target, network, placements)
        ui.table(
            f"{project.config.name}: expected rows of an input, rates "
            + ("alike (no data set)" if rates is None else f"measured on {inputs} inputs"),
            ["layer", "engines", "passes", "round-robin", "rows", "bound", "gap", "places in use", "status"],
            [
                [name, told[name]["engines"], each.passes, f"{plain[name]:.0f}" if name in plain else "does not fit",
                 f"{each.expected_rows:.0f}", f"{each.bound:.0f} ({each.bound_from})", f"{each.gap:.1%}",
                 f"{told[name]['useful']:.1%}", each.status]
                for name, each in placements.items()
            ],
        )  # fmt: skip
        for name in placements:
            for text in told[name]["text"]:
                ui.note(f"{name}: {text}")
        if picture is not None:
            _draw(picture, project, dataclasses.replace(core, mapping=str(target)))
        result: dict[str, Any] = {
            "mapping": str(target),
            "picture": None if picture is None else str(picture),
            "layers": {name: told[name] | {"round_robin": plain.get(name)} for name in placements},
        }
        ui.done(result, f'wrote {target}; next: mapping = "{target}" in [core], spikeloom elaborate {config}')


def _draw(picture: Path, project: Any, core: Any) -> None:
    import io

    from spikeloom.mapping.cost_models import cost_model
    from spikeloom.output import write_atomic

    from .report_virtual import placement_picture

    cost = cost_model(project.network, core, steps=project.config.input.steps)
    buffer = io.BytesIO()
    placement_picture(cost.to_json()["layers"]).savefig(
        buffer, format=picture.suffix[1:], metadata={"Date": None} if picture.suffix == ".svg" else None
    )
    write_atomic(picture, buffer.getvalue())
