"""Simulation of an export against the reference: whole data sets on compiled RTL, or cocotb on Icarus and Verilator."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.chip import UNREAD
from spikeloom.errors import InputError, SpikeloomError
from spikeloom.export import check_fresh, verilog
from spikeloom.mapping.image import image_words, stream_words
from spikeloom.mapping.plan import CorePlan
from spikeloom.network.reference import Trace, synaptic_operations
from spikeloom.output import replace_folder
from spikeloom.project import Inputs, Project
from spikeloom.tools import require_tool, tool_environment
from spikeloom.vectors import expected_streams, load_flag, load_stream, stimulus_words

from .batch import BatchResult, CompiledDesign, compile_chip, compile_design, simulated

__all__ = ["ENGINES", "SimulationOptions", "simulate_build"]

SCHEMA = 1
ENGINES = ("batch", "icarus", "verilator")
CHUNK = 500
"""Inputs simulated and compared at a time: bounds the memory of traces and results."""
MODEL_INPUTS = 50
"""Inputs whose cycles are also predicted by the cost model, which walks through every event."""
COCOTB_INPUTS = 3

Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """What to run.

    `inputs` None takes `data.inputs` of the configuration (`batch`) or 3 (cocotb). `stall` pauses every stream with
    this probability in percent. `potentials` compares every membrane potential of the first input, on a second build
    that has probes. `waveform` writes a VCD file of the first input (Icarus: FST).
    """

    engine: str = "batch"
    inputs: int | None = None
    stall: int = 0
    seed: int = 0
    potentials: bool = False
    waveform: bool = False

    def __post_init__(self):
        if self.engine not in ENGINES:
            raise InputError(f"engine {self.engine!r}: accepted are {', '.join(ENGINES)}")
        if self.potentials and self.engine != "batch":
            raise InputError(f"potentials on engine {self.engine!r}: accepted on 'batch' only")
        if self.inputs is not None and self.inputs < 1:
            raise InputError(f"{self.inputs} inputs: accepted is at least 1")
        if not 0 <= self.stall <= 90:
            raise InputError(f"stall of {self.stall} percent: accepted is 0 to 90")


def simulate_build(
    project: Project, folder: Path, options: SimulationOptions, progress: Progress = lambda text, share: None
) -> dict[str, Any]:
    """Simulate the export in `folder`, compare it with the reference, write `folder/sim` as a whole.

    Returns what simulation.json holds. A mismatch is not an exception: it is in the result, and the command line
    makes an exit code of it.

    Raises
    ------
    InputError, ToolMissing
        Before anything is run.
    SpikeloomError
        If a simulator fails.
    """
    manifest = check_fresh(project, folder)
    if project.is_analog and options.potentials:
        raise InputError("potentials: accepted on a core whose neurons are digital; those of a crossbar are analog")
    run = _Batch if options.engine == "batch" else _Cocotb
    with replace_folder(folder / "sim") as target:
        result, arrays = run(project, folder, manifest, options, progress, target).run()
        (target / "simulation.npz").write_bytes(_npz(arrays))
        (target / "simulation.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    return result


class _Run:
    """What the engines share: the first input as an example, and the shape of the result."""

    def __init__(self, project: Project, folder: Path, manifest: dict, options, progress: Progress, target: Path):
        self.project, self.folder, self.manifest, self.options = project, folder, manifest, options
        self.progress, self.target = progress, target
        self.plan: CorePlan = project.plan
        self.cost = project.cost

    def count(self) -> int:
        wanted = self.options.inputs
        if wanted is None:
            wanted = self.project.config.data.inputs if self.options.engine == "batch" else COCOTB_INPUTS
        return wanted

    def trace(self, inputs: Inputs, potentials: bool = False) -> Trace:
        return self.project.reference(inputs, potentials=potentials)

    def model_latency(self, inputs: Inputs, trace: Trace) -> np.ndarray:
        reports = self.cost.cycles(inputs.spikes, trace.spikes, gap="isolated")
        return np.array([report.latency for report in reports])

    def example(self, inputs: Inputs) -> dict[str, np.ndarray]:
        first = _slice(inputs, 0, 1)
        trace = self.trace(first, potentials=True)
        arrays = {
            "example_index": np.array(0),
            "example_shape": np.array(inputs.shape),
            "example_input": first.spikes[0],
        }
        if inputs.values is not None:
            arrays["example_values"] = np.asarray(inputs.values[0], dtype=np.float64)
        arrays |= {f"example_spikes_{n}": spikes[0] for n, spikes in enumerate(trace.spikes)}
        for n, potentials in enumerate(trace.potentials or ()):
            arrays[f"example_potentials_{n}"] = potentials[0].astype(np.int32)
        return arrays

    def sops(self, inputs: Inputs, trace: Trace) -> np.ndarray:
        """Synaptic operations of each input: spikes delivered to weights that are not 0."""
        return synaptic_operations(self.project.network, inputs.spikes, trace.spikes).sum(axis=1)

    def summary(self, arrays: dict, mismatches: dict, versions: dict, waveform: str | None) -> dict[str, Any]:
        config, labels = self.project.config, arrays["labels"]
        known = labels >= 0
        latency, decisive = arrays["latency"], self.plan.decision != "none"

        def accuracy(name: str) -> float | None:
            if not known.any() or not decisive:
                return None
            return float(np.mean(arrays[name][known] == labels[known]))

        dense = sum(layer.dense_operations for layer in self.project.network.layers) * config.input.steps
        return {
            "schema": SCHEMA,
            "name": config.name,
            "hash": self.plan.hash,
            "network": self.project.network.content_hash(),
            "engine": self.options.engine,
            "versions": versions,
            "inputs": len(labels),
            "steps": config.input.steps,
            "data": "random spikes, 10 % density" if config.data.set == "none" else f"{config.data.set}, test half",
            "isolated": True,
            "stall": self.options.stall,
            "seed": self.options.seed,
            "mismatches": mismatches,
            "accuracy": {"rtl": accuracy("decision_rtl"), "reference": accuracy("decision_reference")},
            "latency_cycles": {
                "min": int(latency.min()),
                "median": float(np.median(latency)),
                "mean": float(latency.mean()),
                "max": int(latency.max()),
            },
            "sop_mean": float(arrays["sop"].mean()),
            "dense_operations_mean": float(dense),
            "input_events_mean": float(arrays["input_events"].mean()),
            "waveform": waveform,
        }


class _Batch(_Run):
    """Compiled RTL, no Python in the clock loop."""

    def run(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        with tempfile.TemporaryDirectory(prefix="spikeloom-") as scratch:
            return self._run(Path(scratch))

    def _run(self, scratch: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        options, plan = self.options, self.plan
        versions = {"verilator": str(require_tool("verilator").version)}
        self.progress("compiling", 0.0)
        inputs = self.project.inputs(self.count())
        batch = len(inputs.spikes)
        design = self._design(batch, scratch)
        mismatches: dict[str, int | None] = {"spikes": 0, "decisions": 0, "readouts": None, "potentials": None}
        mismatches |= {"cycles": 0 if options.stall == 0 else None}
        if plan.decision == "none":
            mismatches["decisions"] = None
        parts: dict[str, list[np.ndarray]] = {}
        for start in range(0, batch, CHUNK):
            self.progress("simulating", start / batch)
            part = _slice(inputs, start, min(batch, start + CHUNK))
            trace = self.trace(part)
            result = design.run(
                part.spikes, load=image_words(plan) if plan.loads else None,
                stream=stream_words(plan) if plan.streams else None, load_each=self._currents(part),
                isolated=True, stall=options.stall, seed=options.seed + start,
                readout_ticks=plan.core.readout == "tick",
            )  # fmt: skip
            _add(mismatches, "spikes", np.count_nonzero((result.spikes != trace.spikes[-1]).any(axis=(1, 2))))
            rtl = reference = np.full(len(part.spikes), -1)
            if result.decisions is not None:
                rtl, reference = result.decisions[:, 0], trace.decision(plan.decision)  # type: ignore[arg-type]
                _add(mismatches, "decisions", np.count_nonzero(rtl != reference))
            if result.readouts is not None and trace.readout is not None:
                shown = trace.readout if plan.core.readout == "tick" else trace.readout[:, -1:]
                _add(mismatches, "readouts", np.count_nonzero((result.readouts != shown).any(axis=(1, 2))))
            model = np.full(len(part.spikes), -1)
            predicted = min(len(model), max(0, MODEL_INPUTS - start)) if options.stall == 0 else 0
            if predicted:
                model[:predicted] = self.model_latency(_slice(part, 0, predicted), _cut(trace, predicted))
                _add(mismatches, "cycles", np.count_nonzero(model[:predicted] != result.latency[:predicted]))
            for name, values in {
                "labels": np.full(len(rtl), -1) if part.labels is None else np.asarray(part.labels),
                "decision_rtl": rtl,
                "decision_reference": reference,
                "latency": result.latency,
                "latency_model": model,
                "input_events": part.spikes.sum(axis=(1, 2), dtype=np.int64),
                "sop": self.sops(part, trace),
                "layer_spikes": np.stack([s.sum(axis=(1, 2), dtype=np.int64) for s in trace.spikes], axis=1),
            }.items():
                parts.setdefault(name, []).append(values)
        arrays = {name: np.concatenate(values) for name, values in parts.items()} | self.example(inputs)
        waveform = None
        if self.project.is_analog and options.waveform:
            waveform = "example.vcd"
            traced = self._design(1, scratch, waveforms=True)
            traced.run(_slice(inputs, 0, 1).spikes, isolated=True, waveform=self.target / waveform)
        elif options.potentials or options.waveform:
            waveform = "example.vcd" if options.waveform else None
            self.progress("potentials", 1.0)
            mismatches["potentials"] = self._potentials(inputs, arrays)
        return self.summary(arrays, mismatches, versions, waveform), arrays

    def _design(self, batch: int, scratch: Path, *, waveforms: bool = False) -> CompiledDesign:
        """The export as a program; of a chip, with noise samples for as many inputs as are played at a time."""
        chip, needed = self.manifest.get("chip"), min(batch, CHUNK)
        if chip is None or needed <= chip["windows"]:
            return compile_design(self.folder, self.manifest, waveforms=waveforms)
        windows = 1 << (needed - 1).bit_length()  # powers of two, so that few programs serve all batches
        return compile_chip(self.project, self.folder, self.manifest, scratch, windows=windows, waveforms=waveforms)

    def _currents(self, inputs: Inputs) -> list[list[int]] | None:
        if inputs.current is None:
            return None
        return [image_words(self.plan, current=current) for current in inputs.current]

    def _potentials(self, inputs: Inputs, arrays: dict[str, np.ndarray]) -> int:
        """Every potential of the first input, from a second build of the same core that has probes."""
        plan = dataclasses.replace(self.plan, core=dataclasses.replace(self.plan.core, probe=True))
        name = self.manifest["top"]
        with tempfile.TemporaryDirectory(prefix="spikeloom-") as scratch:
            rtl = Path(scratch, "rtl")
            rtl.mkdir()
            exported = verilog(plan, name)
            for source in (self.folder / "rtl").iterdir():
                (rtl / source.name).write_bytes(source.read_bytes())
            (rtl / f"{name}.v").write_text(exported.verilog)
            ports = [{"name": port, "direction": direction, "bits": bits} for port, direction, bits in exported.ports]
            manifest = {**self.manifest, "ports": ports}
            design = compile_design(Path(scratch), manifest, waveforms=self.options.waveform)
            first = _slice(inputs, 0, 1)
            result: BatchResult = design.run(
                first.spikes, load=image_words(plan) if plan.loads else None,
                stream=stream_words(plan) if plan.streams else None, load_each=self._currents(first),
                isolated=True, readout_ticks=plan.core.readout == "tick",
                waveform=self.target / "example.vcd" if self.options.waveform else None,
            )  # fmt: skip
        wrong = 0
        for n, layer in enumerate(self.project.network.layers):
            seen = result.potentials[layer.name][0]
            arrays[f"example_potentials_rtl_{n}"] = seen.astype(np.int32)
            wrong += int(np.count_nonzero(seen != arrays[f"example_potentials_{n}"]))
        arrays["example_output_rtl"] = result.spikes[0]
        return wrong


class _Cocotb(_Run):
    """A cocotb bench on Icarus or Verilator; fails at the first word that differs."""

    def run(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        tool = "iverilog" if self.options.engine == "icarus" else "verilator"
        for needed in (tool, "libpython", *(("make", "g++") if tool == "verilator" else ())):
            require_tool(needed)
        versions = {tool: str(require_tool(tool).version)}
        inputs = self.project.inputs(self.count())
        self.progress("cocotb", 0.0)
        # One input at a time, so that each has its own latency; then all of them back to back.
        parts = [_slice(inputs, b, b + 1) for b in range(len(inputs.spikes))]
        traces = [self.trace(part) for part in parts]  # from reset, also where potentials are kept between inputs
        spikes = tuple(np.concatenate(layer) for layer in zip(*(trace.spikes for trace in traces), strict=True))
        trace = dataclasses.replace(traces[0], spikes=spikes, potentials=None)
        reports = self._play([*parts, inputs])
        wrong = sum(report is None for report in reports)
        latency = [-1 if report is None else report["cycles"] for report in reports[:-1]]
        decisive = self.plan.decision != "none"
        decisions = np.full(len(latency), -1)
        if decisive:
            decisions = np.concatenate([each.decision(self.plan.decision) for each in traces])  # type: ignore[arg-type]
        model = np.full(len(latency), -1)
        if self.options.stall == 0 and not wrong:
            model = np.concatenate([self.model_latency(*each) for each in zip(parts, traces, strict=True)])
        arrays = {
            "labels": np.full(len(latency), -1) if inputs.labels is None else np.asarray(inputs.labels),
            "decision_rtl": decisions if not wrong else np.full(len(latency), -1),
            "decision_reference": decisions,
            "latency": np.array(latency),
            "latency_model": model,
            "input_events": inputs.spikes.sum(axis=(1, 2), dtype=np.int64),
            "sop": self.sops(inputs, trace),
            "layer_spikes": np.stack([s.sum(axis=(1, 2), dtype=np.int64) for s in trace.spikes], axis=1),
        } | self.example(inputs)
        cycles = int(np.count_nonzero(model != arrays["latency"])) if self.options.stall == 0 and not wrong else None
        mismatches = {
            "spikes": wrong,
            "decisions": wrong if decisive else None,
            "readouts": wrong if trace.readout is not None else None,
            "potentials": None,
            "cycles": cycles,
        }
        waveform = next((path.name for path in self.target.glob("example.*")), None)
        return self.summary(arrays, mismatches, versions, waveform), arrays

    def _play(self, parts: list[Inputs]) -> list[dict | None]:
        """Play each part back to back, from reset; the bench's report of each, or None where it failed."""
        manifest, sources, data = simulated(self.folder, self.manifest)
        names, reports = [port["name"] for port in manifest["ports"]], []
        unread = {name.split("__")[0] for name in names if name.startswith(UNREAD)}
        with tempfile.TemporaryDirectory(prefix="spikeloom-") as scratch:
            work = Path(scratch)
            plays = []
            for n, part in enumerate(parts):
                vectors = {
                    "load_flag": load_flag(self.plan.input_slots.bits),
                    "stimulus": stimulus_words(self.plan, part.spikes, part.current),
                    "stream": load_stream(self.plan),
                    "streams": expected_streams(self.plan, self.trace(part)),
                    "probes": [f"probe_{layer.name}" for layer in self.plan.layers] if self.plan.core.probe else [],
                    "idle": [name for name in names if name.startswith("command_") and not name.endswith("__ready")],
                    "commands": {},
                    "outcomes": {},
                    "stall": self.options.stall,
                    "seed": self.options.seed + n,
                    "settle": self.plan.settle,
                    "report": str(work / f"report{n}.json"),
                }
                vectors["probes"] += sorted(unread)
                (work / f"vectors{n}.json").write_text(json.dumps(vectors))
                plays.append({"SPIKELOOM_VECTORS": str(work / f"vectors{n}.json")})
            log = run_bench(
                sources=sources, top=manifest["top"], module="spikeloom_sim.digital_bench",
                engine=self.options.engine, work=work, data=data, waves=self.options.waveform, plays=plays,
                ports=names,
            )  # fmt: skip
            (self.target / "cocotb.log").write_text(log.replace(str(work), "."))
            if self.options.waveform:
                for source in [*work.glob("play0/**/*.fst"), *work.glob("play0/**/*.vcd")]:
                    (self.target / f"example{source.suffix}").write_bytes(source.read_bytes())
            for n in range(len(parts)):
                report = work / f"report{n}.json"
                reports.append(json.loads(report.read_text()) if report.exists() else None)
        return reports


_RUNNER = """
import json, sys
from pathlib import Path
from cocotb_tools.runner import get_runner
a = json.loads(sys.argv[1])
runner = get_runner(a["engine"])
if a["engine"] == "verilator":
    # The runner makes every signal accessible, which slows building and running down several times; the bench only
    # needs the ports, which the configuration file among the arguments names.
    commands = runner._build_command
    runner._build_command = lambda: [[w for w in c if w != "--public-flat-rw"] for c in commands()]
runner.build(sources=a["sources"], hdl_toplevel=a["top"], build_dir=a["work"] + "/build",
             timescale=("1ns", "1ps"), build_args=a["arguments"], waves=a["waves"])
for n, variables in enumerate(a["plays"]):
    folder = Path(a["work"], f"play{n}")
    folder.mkdir()
    for image in a["images"]:
        (folder / Path(image).name).symlink_to(image)
    print(f"== play {n}", flush=True)
    runner.test(hdl_toplevel=a["top"], hdl_toplevel_lang="verilog", test_module=a["module"],
                build_dir=a["work"] + "/build", test_dir=folder, waves=a["waves"], extra_env=variables)
    if a["waves"] and n == 0:  # Icarus writes every play to the same file
        for trace in Path(a["work"], "build").glob("*.fst"):
            (folder / trace.name).write_bytes(trace.read_bytes())
print("== played", flush=True)
"""


def run_bench(
    *,
    sources: list[Path],
    top: str,
    module: str,
    engine: str,
    work: Path,
    data: Path,
    waves: bool,
    plays: list[dict],
    ports: list[str],
) -> str:
    """Build a design once and run a cocotb module on it for each of `plays` (environment variables); returns the log.

    The memory images in `data` are linked beside each simulation. A bench that fails is not an exception here.

    Raises
    ------
    SpikeloomError
        If the simulator could not be built or run.
    """
    environment = tool_environment("iverilog" if engine == "icarus" else "verilator")
    environment["TMPDIR"] = str(work)  # a compiler that is killed cleans nothing
    environment.pop("PYTEST_CURRENT_TEST", None)  # the runner would stop at the first bench that fails
    arguments = {
        "engine": engine, "top": top, "module": module, "sources": [str(path.resolve()) for path in sources],
        "work": str(work), "waves": waves, "plays": plays, "images": [str(p.resolve()) for p in data.glob("*.mem")],
        "arguments": ["-Wno-fatal", "-O1", "-CFLAGS", "-O1"] if engine == "verilator" else ["-g2012"],
    }  # fmt: skip
    if engine == "verilator":
        access = work / "ports.vlt"
        lines = [f'public_flat_rw -module "{top}" -var "{port}"' for port in ports]
        access.write_text("\n".join(["`verilator_config", *lines]) + "\n")
        arguments["arguments"].append(str(access))
    # In a process of its own: the runner changes the environment and the working folder.
    paths = [str(Path(__file__).parents[1]), *(path for path in sys.path if path)]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    process = subprocess.Popen(
        [sys.executable, "-c", _RUNNER, json.dumps(arguments)], cwd=work, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        text, _ = process.communicate()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if "== played" not in text and "FAIL" not in text:
        tail = "\n".join(text.strip().splitlines()[-12:])
        raise SpikeloomError(f"{top}: the {engine} simulation could not be run (exit {process.returncode}):\n{tail}")
    return text


def _slice(inputs: Inputs, start: int, end: int) -> Inputs:
    def cut(array):
        return None if array is None else array[start:end]

    return Inputs(
        spikes=inputs.spikes[start:end],
        current=cut(inputs.current),
        labels=cut(inputs.labels),
        values=cut(inputs.values),
        shape=inputs.shape,
    )


def _cut(trace: Trace, count: int) -> Trace:
    return dataclasses.replace(trace, spikes=tuple(spikes[:count] for spikes in trace.spikes))


def _add(mismatches: dict[str, int | None], name: str, count) -> None:
    mismatches[name] = (mismatches[name] or 0) + int(count)


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    """An .npz archive without time stamps."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(arrays):
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), data.getvalue())
    return buffer.getvalue()
