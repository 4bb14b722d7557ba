"""The command line. Imports that take time stay inside the commands: `--help` answers at once.

Commands of other packages join through the entry-point group `spikeloom.commands`: a function that is given the
application and adds its commands to it.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from . import __version__
from .errors import InputError, SpikeloomError, ToolMissing
from .ui import Session, session

__all__ = ["app", "main"]

app = typer.Typer(
    name="spikeloom",
    help="Trained spiking networks in; verified Verilog and its area, timing and energy out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigArgument = Annotated[Path, typer.Argument(metavar="CONFIG", help="configuration file (TOML)")]
JsonOption = Annotated[bool, typer.Option("--json", help="print one JSON object as the last line, nothing else on it")]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="say what is being done")]
OutOption = Annotated[Path | None, typer.Option("--out", help="folder that holds the builds (default: build)")]


RESETS = ("zero", "subtract", "delayed_zero", "delayed_subtract")
SYNAPSES = ("same_step", "next_step", "jump")
INTEGRATIONS = ("euler", "exponential")
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal."""


SynapseOption = Annotated[
    str | None, typer.Option(help="how spikes change a synaptic current: same_step (snnTorch), next_step, jump (Norse)")
]
IntegrationOption = Annotated[
    str | None, typer.Option(help="what a step leaves of a potential: euler, or exponential (sinabs)")
]


def _unstored(dt: float | None, reset: str | None, synapse: str | None, integration: str | None) -> dict[str, Any]:
    """What the user says of what NIR does not store; refused before anything is read."""
    words = {"reset": (reset, RESETS), "synapse": (synapse, SYNAPSES), "integration": (integration, INTEGRATIONS)}
    for option, (given, accepted) in words.items():
        if given is not None and given not in accepted:
            raise InputError(f"--{option}: {given!r} was given; accepted: {', '.join(accepted)}")
    if dt is not None and not 0 < dt < float("inf"):
        raise InputError(f"--dt: {dt} was given; accepted: a number above 0, in seconds")
    return {"dt": dt, "reset": reset, "synapse": synapse, "integration": integration}


def _version(wanted: bool) -> None:
    if wanted:
        print(f"spikeloom {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    pass


@app.command()
def new(
    network: Annotated[str, typer.Argument(metavar="NET.nir", help="NIR file, or zoo:NAME")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="file to write (default: NAME.toml)")] = None,
    dt: Annotated[
        float | None, typer.Option(help="time step of the training in seconds; NIR does not store it")
    ] = None,
    reset: Annotated[str | None, typer.Option(help="zero, subtract, delayed_zero or delayed_subtract")] = None,
    synapse: SynapseOption = None,
    integration: IntegrationOption = None,
    core: Annotated[str, typer.Option(help="architecture: digital, cim, crossbar or virtual")] = "digital",
    force: Annotated[bool, typer.Option(help="replace an existing file")] = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Write a commented configuration for a network."""
    with session(as_json, verbose) as ui:
        from .config import render_config
        from .network.nir_import import import_nir
        from .output import write_atomic
        from .project import ZOO, propose

        given = _unstored(dt, reset, synapse, integration)
        named = network.startswith(ZOO)
        config = propose(network, core=core, **given)
        target = output or Path(f"{config.name}.toml")
        if not named:
            how = config.network  # wrong files are told now
            import_nir(Path(network), dt=how.dt, reset=how.reset, synapse=how.synapse, integration=how.integration)
            relative = os.path.relpath(network, target.resolve().parent)
            config = propose(relative, core=core, **given)
        if target.exists() and not force:
            raise InputError(f"{target}: exists; give another --output, or --force to replace it")
        write_atomic(target, render_config(config))
        ui.done({"config": str(target), "name": config.name}, f"wrote {target}; next: spikeloom elaborate {target}")


@app.command()
def inspect(
    network: Annotated[str, typer.Argument(metavar="NET.nir", help="NIR file, zoo:NAME, or a configuration (.toml)")],
    dt: Annotated[float | None, typer.Option(help="time step of the training in seconds")] = None,
    reset: Annotated[str | None, typer.Option(help="zero, subtract, delayed_zero or delayed_subtract")] = None,
    synapse: SynapseOption = None,
    integration: IntegrationOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Show what a network holds and what quantisation makes of it."""
    with session(as_json, verbose) as ui:
        import numpy as np

        from .config import CrossbarConfig
        from .mapping.cim import CimPlan
        from .project import ZOO, Project, propose

        given = _unstored(dt, reset, synapse, integration)
        if network.endswith(".toml"):
            project = Project.load(network)
        elif network.startswith(ZOO):
            project = Project(config=propose(network, **given), folder=Path.cwd(), origin=network)
        else:
            # Time constants are not needed to look inside: say what was assumed.
            given |= {"dt": 1e-3 if dt is None else dt, "reset": reset or "zero"}
            config = propose(network, **given)
            project = Project(config=config, folder=Path.cwd(), origin=network)
            if dt is None or reset is None:
                ui.note("assumed --dt 1e-3 --reset zero where not given: NIR stores neither")
        floating = project.float_network
        layers = [
            {
                "name": layer.name,
                "sources": ", ".join(
                    source + (f" (delay {c.delay})" if c.delay else "")
                    for source, c in zip(floating.sources(layer), layer.connections, strict=True)
                ),
                "fan_in": layer.fan_in,
                "neurons": layer.neurons,
                "shape": "x".join(map(str, layer.shape)),
                "decay": float(np.mean(layer.decay)),
                "threshold": None if layer.threshold is None else float(np.max(layer.threshold)),
                "reset": layer.reset,
                "bias": bool(layer.bias.any()),
            }
            for layer in floating.layers
        ]
        integer, report = project.quantised
        ui.table(
            f"{floating.name}: as trained (dt {floating.dt:g} s)",
            list(layers[0]),
            [[f"{v:.4g}" if isinstance(v, float) else v for v in layer.values()] for layer in layers],
        )
        ui.render(report.table())
        for warning in report.warnings:
            ui.note(f"warning: {warning}")
        plan = project.plan
        answer: dict = {
            "layers": layers, "quantisation": report.to_json(), "network": integer.content_hash(), "hash": plan.hash
        }  # fmt: skip
        if isinstance(project.config.core, CrossbarConfig):
            arrays = answer["arrays"] = project.chip.placement()
            rows = [
                [a["layer"], f"{a['rows']} x {a['columns']} x {a['cells']}", f"{a['level_error_mean']:.1%}",
                 f"{a['level_error_max']:.1%}", a["to_zero"], a["raised"], f"{a['ir_loss']:.2%}"]
                for a in arrays
            ]  # fmt: skip
            columns = ["layer", "array", "level error", "at most", "to 0", "to g_min", "wires take"]
            ui.table(f"on arrays of {arrays[0]['device']}, rows x columns x cells", columns, rows)
            ui.done(answer)
            return
        rows = [
            [p.name, p.lanes, p.groups, f"{min(p.lane_bits)} to {max(p.lane_bits)}", p.weight_depth * p.weight_row_bits]
            for p in plan.layers
        ]
        ui.table("on the core", ["layer", "lanes", "rows", "accumulator bits", "weight memory bits"], rows)
        arrays = [p for p in plan.layers if isinstance(p, CimPlan)]
        if arrays:
            rows = [
                [p.name, len(p.arrays), p.tiles, p.banks,
                 ", ".join(dict.fromkeys(f"{a.rows}x{a.columns}" for a in p.arrays)),
                 p.bits, ", ".join(name for name, _ in p.passes)]
                for p in arrays
            ]  # fmt: skip
            columns = ["layer", "arrays", "tiles", "banks", "rows x columns", "cycles of a pass", "passes of a tick"]
            ui.table("arrays", columns, rows)
        ui.done(answer)


def build_folder(name: str, out: Path | None) -> Path:
    """Where the build of the design `name` goes."""
    return (out or Path("build")) / name


@app.command()
def elaborate(
    config: ConfigArgument, out: OutOption = None, as_json: JsonOption = False, verbose: VerboseOption = False
) -> None:
    """Write the Verilog, its memory images, a manifest and a self-checking bench to build/NAME."""
    with session(as_json, verbose) as ui:
        from .export import elaborate as write
        from .project import Project

        project = Project.load(config)
        folder = build_folder(project.config.name, out)
        with ui.progress("elaborate") as step:
            manifest = write(project, folder, progress=lambda text: step(text, None))
        for warning in project.quantised[1].warnings:
            ui.note(f"warning: {warning}")
        memories = manifest["memories"]
        bits = sum(memory["bits"] for memory in memories)
        ui.table(
            f"{manifest['name']}: core {manifest['hash']}",
            ["layer", "fan-in", "neurons", "lanes", "accumulator bits", "leak", "reset", "threshold"],
            [
                [x["name"], x["fan_in"], x["neurons"], x["lanes"],
                 f"{min(x['accumulator_bits'])} to {max(x['accumulator_bits'])}", x["leak"], x["reset"], x["threshold"]]
                for x in manifest["layers"]
            ],
        )  # fmt: skip
        ui.done(
            {"folder": str(folder), "hash": manifest["hash"], "memory_bits": bits, "files": len(manifest["content"])},
            f"wrote {folder} ({len(manifest['content'])} files, {bits} memory bits); next: spikeloom simulate {config}",
        )


@app.command()
def image(
    config: ConfigArgument,
    network: Annotated[
        Path | None, typer.Argument(metavar="OTHER.toml", help="configuration of the network to load")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="file to write")] = None,
    check: Annotated[Path | None, typer.Option(help="image file: say whether it is whole and for this core")] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make the image that loads the network of OTHER.toml into the core of CONFIG, or --check one."""
    with session(as_json, verbose) as ui:
        from .mapping.image import build_image, read_image
        from .output import write_atomic
        from .project import Project

        if (check is None) == (network is None) or (network is None) != (output is None):
            raise InputError("accepted are OTHER.toml with --output FILE, or --check FILE")
        core = Project.load(config)
        if not core.plan.loads:
            raise InputError(
                f"{config}: this core loads nothing: weights and parameters are fixed; "
                "set core.weights or core.parameters to 'loaded'"
            )
        if network is None:
            assert check is not None
            try:
                data = check.read_bytes()
            except OSError as error:
                raise InputError(f"{check}: cannot be read: {error.strerror or error}; accepted is an image") from error
            read_image(data, core.plan, origin=str(check))
            ui.done(
                {"image": str(check), "bytes": len(data), "hash": core.plan.hash},
                f"{check}: whole, and for core {core.plan.hash}",
            )
            return
        assert output is not None
        other = Project.load(network).network
        try:
            data = build_image(core.plan, other)
        except InputError as error:
            raise InputError(f"{network}: {error}") from error
        write_atomic(output, data)
        ui.done(
            {"image": str(output), "bytes": len(data), "hash": core.plan.hash}, f"wrote {output} ({len(data)} bytes)"
        )


@app.command()
def play(
    config: ConfigArgument,
    port: Annotated[str, typer.Option(help="serial port of the board, such as /dev/ttyUSB1")],
    baud: Annotated[int, typer.Option(help="rate of the line, as the bitstream was built")] = 1_000_000,
    inputs: Annotated[int | None, typer.Option(help="how many test inputs (default: data.inputs)")] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Play the data set to an FPGA board and compare every word with the reference."""
    with session(as_json, verbose) as ui:
        from .host.player import SerialLine
        from .host.player import play as run
        from .project import Project

        project = Project.load(config)
        with SerialLine(port, baud) as line, ui.progress("play") as step:
            result = run(project, line, inputs=inputs, baud=baud, progress=step)
        wrong = {name: count for name, count in result["mismatches"].items() if count}
        accuracy = result["accuracy"]
        ui.table(
            f"{result['name']}: {result['inputs']} inputs over {port}",
            ["figure", "value"],
            [
                ["compared with the reference", ", ".join(f"{n}: {c} words" for n, c in result["words"].items())],
                ["mismatches", ", ".join(f"{n}: {c}" for n, c in wrong.items()) or "none"],
                ["accuracy", None if accuracy is None else f"{accuracy:.2%}"],
                ["inputs per second", result["inputs_per_s"]],
                ["line", ", ".join(f"{n.replace('_', ' ')}: {c}" for n, c in result["line"].items())],
            ],
        )  # fmt: skip
        ui.done(result)
        if result["image_refused"]:
            raise SpikeloomError(f"{result['name']}: the board refused the image of its network")
        if wrong:
            text = ", ".join(f"{count} words of {name}" for name, count in wrong.items())
            raise SpikeloomError(f"{result['name']}: {text} differ from the reference")


@app.command()
def train(
    name: Annotated[
        str,
        typer.Argument(
            help="recipe: the name of a network that comes with Spikeloom, as in zoo:NAME; another name lists them"
        ),
    ],
    data: Annotated[Path | None, typer.Option(help="folder of MNIST or N-MNIST (the others need none)")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--out", help="NIR file to write (default: NAME.nir)")] = None,
    seed: Annotated[int, typer.Option(help="seed of weights, order and noise")] = 0,
    epochs: Annotated[int | None, typer.Option(help="other than the recipe's")] = None,
    record: Annotated[Path | None, typer.Option(help="TOML file in which to note settings and accuracy")] = None,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 1,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Train a network (needs torch and snntorch, but for interception) and write it as NIR."""
    with session(as_json, verbose) as ui:
        from .network.training import train as run

        target = output or Path(f"{name}.nir")
        result = run(
            name, data=data, out=target, seed=seed, epochs=epochs, record=record, threads=threads, progress=not as_json
        )
        measure = "accuracy" if "accuracy" in result.table else "capture_rate"
        reached = float(result.table[measure])
        text = f"wrote {target}: {measure.replace('_', ' ')} {reached:.2%} as integers"
        ui.done({"file": str(target), measure: reached}, text)


@app.command()
def schema(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="file to write (default: standard output)")
    ] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Print the JSON schema of the configuration file."""
    with session(as_json, verbose) as ui:
        from .config import json_schema
        from .output import write_atomic

        text = json.dumps(json_schema(), indent=2, sort_keys=True)
        if output is None:
            ui.done(json_schema(), text)
        else:
            write_atomic(output, text + "\n")
            ui.done({"schema": str(output)}, f"wrote {output}")


@app.command()
def doctor(as_json: JsonOption = False, verbose: VerboseOption = False) -> None:
    """List every tool: found or not, version, what needs it, how to get it."""
    with session(as_json, verbose) as ui:
        from .tools import doctor_rows, doctor_table

        ui.render(doctor_table())
        ui.done({"tools": doctor_rows()})


@app.command()
def demo(
    out: OutOption = None,
    network: Annotated[str, typer.Option(help="zoo network to show")] = "digits",
    inputs: Annotated[int | None, typer.Option(help="how many test inputs to simulate")] = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Digits end to end: elaborate, simulate, synthesise, report. What is missing is skipped, and said."""
    with session(as_json, verbose) as ui:
        from .config import render_config
        from .output import check_replaceable, write_atomic
        from .project import propose

        config = propose(f"zoo:{network}")
        path = (out or Path("build")) / f"{network}.toml"
        check_replaceable(build_folder(config.name, out))
        text = render_config(config)
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
            raise InputError(f"{path}: exists and differs from the demo's; accepted is another --out, or move it away")
        write_atomic(path, text)
        ui.note(f"configuration: {path}")
        folder = build_folder(config.name, out)
        where = [] if out is None else ["--out", str(out)]
        counted = [] if inputs is None else ["--inputs", str(inputs)]
        skipped: dict[str, str] = {}
        worst = 0
        for words in (
            ["elaborate", str(path)],
            ["simulate", str(path), "--potentials", *counted],
            ["synth", str(path), "--skip-missing"],
        ):
            ui.note(f"\n$ spikeloom {' '.join([*words, *where])}")
            try:
                with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
                    code = app([*words, *where], prog_name="spikeloom", standalone_mode=False)
                if code == INTERRUPTED:
                    raise KeyboardInterrupt
            except ToolMissing as error:
                skipped[words[0]] = str(error)
                ui.note(f"skipped: {error}")
            except SpikeloomError as error:  # a mismatch is worth a report, too
                if words[0] == "elaborate" or isinstance(error, InputError):
                    raise
                ui.note(f"error: {error}")
                worst = max(worst, error.exit_code)
        from spikeloom_synth.report import write_report

        parts = {"simulate": "simulation", "synth": "synthesis"}
        report = write_report(folder, skipped={parts[name]: reason for name, reason in skipped.items()})
        ui.done({"report": str(report), "skipped": skipped}, f"\nreport: {report.resolve()}")
        if worst:
            raise typer.Exit(worst)


def _register() -> None:
    for point in sorted(entry_points(group="spikeloom.commands"), key=lambda entry: entry.name):
        register: Callable[[typer.Typer], None] = point.load()
        register(app)


def _stop(number: int, frame: Any) -> NoReturn:
    """On a signal that asks to end: run the clean-ups, as Ctrl-C does."""
    sys.exit(128 + number)


def main() -> NoReturn:
    """Entry point of `spikeloom`; exit codes: 0 good, 1 mismatch or missed check, 2 bad input, 3 tool missing."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    code: Any = 0
    try:
        _register()
        code = app(prog_name="spikeloom", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except SystemExit as stop:
        code = stop.code
    except OSError as error:  # such as a full disk under a file that is only of use inside
        if isinstance(error, BrokenPipeError):
            code = 1
        else:
            where = "" if error.filename is None else f"{error.filename}: "
            print(f"error: {where}{error.strerror or error}", file=sys.stderr)
            code = 2
        with contextlib.suppress(OSError, ValueError):  # what is still to be written would fail again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except SpikeloomError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except typer.Exit as stop:
        code = stop.exit_code
    except Exception as error:
        if not hasattr(error, "format_message"):  # click's own: a wrong option or argument
            raise
        context = getattr(error, "ctx", None)
        if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
            print(context.get_help(), file=sys.stderr)
        else:
            usage = f"\n{context.get_usage()}" if context is not None else ""
            print(f"error: {error.format_message()}{usage}", file=sys.stderr)  # type: ignore[attr-defined]
        code = 2
    if code in (INTERRUPTED, 128 + signal.SIGTERM, 128 + signal.SIGHUP):
        print("stopped: nothing half-written was left", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()

__all__ += ["ConfigArgument", "JsonOption", "OutOption", "Session", "VerboseOption", "build_folder"]
