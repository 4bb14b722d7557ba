"""What `spikeloom elaborate` leaves behind: Verilog, memory images, manifest, bench, in a folder that stands alone."""

import hashlib
import json
import platform as host
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from . import __version__
from .blocks.sram import VERILOG_MODULE, ExportPlatform, MemoryRecord, verilog_body
from .chip import UNREAD, chip_files, chip_manifest, chip_ports, layer_meaning
from .config import render_config
from .cores.accelerator import Accelerator
from .cores.crossbar.engine import COUNTERS
from .errors import InputError, SpikeloomError
from .host.generate import host_files
from .host.map import host_registers
from .mapping.image import build_image
from .mapping.plan import CorePlan
from .network.storage import network_bytes
from .output import check_replaceable, replace_folder
from .project import Inputs, Project
from .vectors import expected_streams, load_flag, load_stream, stimulus_words

__all__ = ["Exported", "check_fresh", "elaborate", "host_verilog", "read_manifest", "to_verilog", "verilog"]

SCHEMA = 1
BENCH_INPUTS = 3

# All modules of a design share a file, and bits of intermediate sums that nothing reads are left to synthesis.
LINT_OFF = "// verilator lint_off DECLFILENAME\n// verilator lint_off UNUSEDSIGNAL\n"
LINT_ON = "// verilator lint_on UNUSEDSIGNAL\n// verilator lint_on DECLFILENAME\n"

MEANINGS = {
    "clk": "clock, rising edge",
    "rst": "reset, synchronous, active high",
    "events_in": "input events {address, tick, last}, lowest bits first; with E events per cycle {E addresses within "
    "their banks, E valid bits, tick, last}",
    "events_out": "spikes and ticks of the last layer {address, tick, last}",
    "decision": "answer of an input {index, value}",
    "readout": "potentials of the read-out layer {index, value, last}",
    "load": "image words",
    "load_refused": "the latest image was for another core, or damaged",
    "load_complete": "the latest image was taken whole",
    "load_tile": "number of the tile of weights that must come next",
    "weight_waits": "cycles in which idle lanes waited for weights",
    "dropped": "input events whose address no neuron listens to, saturating",
}


TAKEN = tuple(VERILOG_MODULE.values())
"""Modules that come with every design."""

# IEEE 1800-2017, annex B: Verilator reads .v files as SystemVerilog.
KEYWORDS = frozenset(
    """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind bins
binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config const
constraint context continue cover covergroup coverpoint cross deassign default defparam design disable dist do edge
else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup endinterface endmodule
endpackage endprimitive endprogram endproperty endsequence endspecify endtable endtask enum event eventually expect
export extends extern final first_match for force foreach forever fork forkjoin function generate genvar global highz0
highz1 if iff ifnone ignore_bins illegal_bins implements implies import incdir include initial inout input inside
instance int integer interconnect interface intersect join join_any join_none large let liblist library local
localparam logic longint macromodule matches medium modport module nand negedge nettype new nexttime nmos nor
noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge primitive priority program
property protected pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1
s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal showcancelled signed small
soft solve specify specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on
sync_reject_on table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand
trior trireg type typedef union unique unique0 unsigned until until_with untyped use uwire var vectored virtual void
wait wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
""".split()
)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """Verilog of a core and the memories that it instantiates."""

    verilog: str
    memories: tuple[MemoryRecord, ...]
    ports: tuple[tuple[str, str, int], ...]
    """(name, input | output, bits) of each port of the top module."""


def verilog(plan: CorePlan, name: str, core: Accelerator | None = None) -> Exported:
    """Elaborate the core of `plan` (`core`, where it was made already) as Verilog module `name`.

    Amaranth writes RTLIL; Yosys turns it into Verilog that simulators read without time-zero unknowns. Cost grows
    with the lanes: about 10 ms each.

    Raises
    ------
    SpikeloomError
        If Yosys fails.
    """
    return to_verilog(core or Accelerator(plan), name)


def host_verilog(core: Accelerator, name: str, bus: Literal["axi4-lite", "wishbone"]) -> Exported:
    """Elaborate what stands around `core` as Verilog module `name`_host; it instantiates what `verilog` made of it.

    Raises
    ------
    InputError
        Where an event or a value of the core does not fit a register.
    SpikeloomError
        If Yosys fails.
    """
    from .host.system import HostedAccelerator

    return to_verilog(HostedAccelerator(core, bus=bus, name=name), f"{name}_host")


def to_verilog(component, name: str) -> Exported:
    """Elaborate any component as Verilog module `name`, its memories as instances.

    Raises
    ------
    SpikeloomError
        If Yosys fails.
    """
    from amaranth.back import rtlil

    target = ExportPlatform()
    text = rtlil.convert(component, name=name, platform=target, emit_src=False)
    text = re.sub(r"^( *(?:module|cell)) \\(\S+)", _plain_name, text, flags=re.M)
    with tempfile.TemporaryDirectory(prefix="spikeloom-") as scratch:
        source, result = Path(scratch, "core.il"), Path(scratch, "core.v")
        source.write_text(text)
        _run_backend(source, result)
        # Comments that Yosys writes name its own version and files of this run: not part of the design.
        lines = [line for line in result.read_text().splitlines() if not line.lstrip().startswith("/*")]
    body = LINT_OFF + "\n".join(lines).strip() + "\n" + LINT_ON
    memories = tuple(sorted(target.memories, key=lambda record: record.name))
    return Exported(verilog=body, memories=memories, ports=_ports(body, name))


def _plain_name(match: re.Match) -> str:
    """Module names without the dots of their hierarchy, which Verilog would have to escape."""
    return f"{match[1]} \\{re.sub(r'[^A-Za-z0-9_]', '_', match[2])}"


def _run_backend(source: Path, target: Path) -> None:
    command = [sys.executable, "-m", "spikeloom.verilog_backend", str(source), str(target)]
    done = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-6:])
        raise SpikeloomError(f"Yosys could not write the Verilog (exit {done.returncode}):\n{tail}")


def _ports(body: str, name: str) -> tuple[tuple[str, str, int], ...]:
    """Ports of module `name`, read back from the Verilog itself."""
    start = body.index(f"module {name}(")
    block = body[start : body.index("endmodule", start)]
    ports = []
    for direction, high, port in re.findall(r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", block, re.M):
        ports.append((port, direction, int(high or 0) + 1))
    return tuple(sorted(ports))


def elaborate(
    project: Project, folder: Path, *, inputs: Inputs | None = None, progress: Callable[[str], None] = lambda text: None
) -> dict:
    """Write the export of `project` to `folder`, as a whole, and return its manifest.

    Raises
    ------
    InputError
        Where the configuration, the network or the folder cannot be used; before anything is written.
    """
    config = project.config
    if config.name in KEYWORDS or config.name in TAKEN:
        what = "a word of SystemVerilog" if config.name in KEYWORDS else "the name of a memory module"
        raise InputError(f"{project.origin}: name: {config.name!r} was given, {what}; accepted is any other name")
    check_replaceable(folder)
    progress("network")
    plan = project.plan
    network = project.network
    if project.is_analog:
        # What the device or the circuit cannot do is told before gateware is made.
        _ = project.analog_side
    inputs = inputs or project.inputs(BENCH_INPUTS)
    if config.host.bus != "none":
        with project.named("host"):  # what a host cannot have is told before the long work
            if project.is_analog:
                raise InputError(f"bus: {config.host.bus!r} was given; accepted with an analog core: 'none'")
            host_registers(plan, config.name)
    progress("gateware")
    core = Accelerator(plan)
    exported = verilog(plan, config.name, core)
    hosted = _host(project, core, exported)
    progress("bench")
    trace = project.reference(inputs)
    chip = chip_files(project, exported.ports, inputs) if project.has_chip else {}
    with replace_folder(folder) as temporary:
        files: dict[str, str | bytes] = {
            "config.toml": render_config(config),
            "network.npz": network_bytes(network),
            "quantisation.json": json.dumps(project.quantised[1].to_json(), indent=1, sort_keys=True) + "\n",
            f"rtl/{config.name}.v": exported.verilog,
        }
        for record in exported.memories + (hosted.memories if hosted else ()):
            files[f"rtl/{record.module}.v"] = verilog_body(record.port_type)
        if hosted:
            files[f"rtl/{config.name}_host.v"] = hosted.verilog
            files |= host_files(plan, config.name)
        for record in exported.memories:
            if record.image:
                digits = -(-record.width // 4)
                image = "".join(f"{row:0{digits}x}\n" for row in record.contents)
                files[f"rtl/{record.image}"] = image
                if project.has_chip:  # the chip reads all that it needs in its own folder
                    files[f"chip/{record.image}"] = image
        if plan.loads:
            files[f"{config.name}.image"] = build_image(plan)
        if plan.streams:
            files[f"{config.name}.tiles"] = build_image(plan, tiles=True)
        files |= chip
        files |= _bench(project, plan, exported, inputs, trace)
        manifest = _manifest(project, plan, exported, files)
        if hosted:
            manifest["host"] = _host_manifest(project, hosted)
        if project.has_chip:
            manifest["chip"] = chip_manifest(project, exported.ports)
        files["manifest.json"] = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        for name, content in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return manifest


def _host(project: Project, core: Accelerator, exported: Exported) -> Exported | None:
    """What stands around the core, where the configuration asks for it."""
    name, bus = project.config.name, project.config.host.bus
    if bus == "none":
        return None
    with project.named("host"):
        hosted = host_verilog(core, name, bus)
        ours, theirs = (set(re.findall(r"^module (\w+)", each.verilog, re.M)) for each in (hosted, exported))
        if ours & theirs:
            module = min(ours & theirs)
            raise InputError(f"a layer of the core has the module name {module!r}; accepted are other names of layers")
    return hosted


def _host_manifest(project: Project, hosted: Exported) -> dict:
    name = project.config.name
    return {
        "bus": project.config.host.bus,
        "top": f"{name}_host",
        "registers": host_registers(project.plan, name).to_json(),
        "ports": [{"name": port, "direction": direction, "bits": bits} for port, direction, bits in hosted.ports],
        "memories": [_memory(record) for record in hosted.memories],
    }


def _memory(record: MemoryRecord) -> dict:
    return {
        "instance": record.name,
        "module": record.module,
        "port_type": record.port_type,
        "depth": record.depth,
        "width": record.width,
        "bits": record.bits,
        "image": record.image,
    }


def _bench(project: Project, plan: CorePlan, exported: Exported, inputs: Inputs, trace) -> dict[str, str | bytes]:
    """A plain-Verilog bench with its stimulus and the answers of the reference."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    stimulus = stimulus_words(plan, inputs.spikes, inputs.current)
    item_bits = load_flag(plan.input_slots.bits).bit_length() - 1
    streams = expected_streams(plan, trace)
    fed, again = load_stream(plan)
    widths = {port: bits for port, _, bits in exported.ports}
    outside = chip_ports(exported.ports)
    probes = [
        port.removesuffix("__valid")
        for port, _, _ in exported.ports
        if port.startswith(("probe_", *UNREAD)) and port.endswith("__valid")
    ]
    environment = Environment(
        loader=PackageLoader("spikeloom", "templates"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    bench = environment.get_template("bench.v.j2").render(
        name=project.config.name,
        top=f"{project.config.name}_chip" if project.has_chip else project.config.name,
        arrays=[entry.name for entry in plan.layers] if project.has_chip else [],
        tied=[
            (port, bits) for port, direction, bits in outside if direction == "input" and port.startswith("command_")
        ],
        untaken=[
            port
            for port, direction, _ in outside
            if direction == "output" and port.startswith(("command_", *(f"{counter}_" for counter in COUNTERS)))
        ],
        items=len(stimulus),
        streams=[{"name": n, "bits": widths[f"{n}__payload"], "count": len(words)} for n, words in streams.items()],
        input_bits=widths["events_in__payload"],
        item_bits=item_bits,
        loads=plan.loads,
        load_bits=plan.load_bits,
        fed=len(fed) + len(again),
        fed_again=len(fed),
        probes=[{"name": probe, "bits": widths[f"{probe}__payload"]} for probe in probes],
        settle=plan.settle,
        files=sorted({record.module for record in exported.memories}),
    )
    files: dict[str, str | bytes] = {f"bench/{project.config.name}_tb.v": bench}
    if again:
        digits = plan.load_bits // 4
        files["bench/load.mem"] = "".join(f"{word:0{digits}x}\n" for word in fed + again)
    files["bench/stimulus.mem"] = "".join(f"{word:0{item_bits // 4 + 2}x}\n" for word in stimulus)
    for name, words in streams.items():
        digits = -(-widths[f"{name}__payload"] // 4)
        files[f"bench/expected_{name}.mem"] = "".join(f"{word:0{digits}x}\n" for word in words)
    return files


def read_manifest(folder: Path) -> dict:
    """The manifest of a build folder.

    Raises
    ------
    InputError
        If there is none, or it is damaged or of another schema.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `spikeloom elaborate CONFIG` writes it") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); `spikeloom elaborate CONFIG` writes a new one") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        given = manifest.get("schema") if isinstance(manifest, dict) else manifest
        raise InputError(f"{path}: schema {given!r} was given; accepted is {SCHEMA}")
    return manifest


def check_fresh(project: Project, folder: Path) -> dict:
    """The manifest of `folder`, if it is what `project` would elaborate to.

    Raises
    ------
    InputError
        If nothing was elaborated, or from another configuration or network.
    """
    manifest = read_manifest(folder)
    plan = project.plan
    now = {"hash": plan.hash, "network": plan.network.content_hash(), "steps": plan.steps}
    if any(manifest.get(key) != value for key, value in now.items()):
        raise InputError(
            f"{folder}: elaborated from another configuration or network "
            f"(core {manifest.get('hash')}, now {plan.hash}); "
            "run `spikeloom elaborate` again"
        )
    chip = manifest.get("chip", {}).get("hash")
    if chip is not None and chip != project.chip.content_hash():
        raise InputError(f"{folder}: elaborated for another chip or device file; run `spikeloom elaborate` again")
    return manifest


def _tiles(plan: CorePlan, layer: int) -> list[list[int]]:
    """First group and number of groups of each tile of a folded layer; empty for an engine of its own."""
    tiles = plan.folded.tiles if plan.folded is not None else ()
    return [[tile.first_group, tile.groups] for tile in tiles if tile.layer == layer]


def _manifest(project: Project, plan: CorePlan, exported: Exported, files: dict) -> dict:
    config = project.config
    cost = project.cost

    def meaning(port: str) -> str:
        stem = port.split("__")[0]
        if stem.startswith("probe_"):
            return f"potentials of layer {stem.removeprefix('probe_')} after each step {{row, values}}"
        return MEANINGS.get(stem) or layer_meaning(stem)

    return {
        "schema": SCHEMA,
        "name": config.name,
        "core": config.core.kind,
        "hash": plan.hash,
        "network": plan.network.content_hash(),
        "top": config.name,
        "clock": "clk",
        "reset": "rst",
        "state": plan.network.state,
        "decision": plan.decision,
        "steps": config.input.steps,
        "events_per_cycle": plan.input_slots.events,
        "weight_ports": plan.input_slots.ports,
        "load_bits": plan.load_bits,
        "streams": plan.streams,
        "inputs": plan.network.inputs,
        "outputs": plan.network.outputs,
        "settle": plan.settle,
        "input_shape": list(plan.network.input_shape),
        "output_shape": list(plan.network.layers[-1].shape),
        "ports": [
            {"name": port, "direction": direction, "bits": bits, "meaning": meaning(port)}
            for port, direction, bits in exported.ports
        ],
        "layers": [
            {
                "name": entry.name,
                "fan_in": entry.layer.fan_in,
                "neurons": entry.layer.neurons,
                "shape": list(entry.layer.shape),
                "lanes": entry.lanes,
                "rows": entry.groups,
                "tiles": _tiles(plan, index),
                "chunk_steps": plan.folded.steps if plan.folded is not None else 0,
                "accumulator_bits": list(entry.lane_bits),
                "neuron_bits": entry.neuron_bits.tolist(),
                "bias_bits": entry.bias_bits,
                "weight_bits": entry.layer.weight_bits,
                "potential_bits": entry.layer.potential_bits,
                "threshold": np.asarray(entry.layer.threshold).tolist(),
                "leak": entry.layer.leak.describe(),
                "reset": entry.layer.reset,
                "weights": entry.layer.synapses,
                "nonzero_weights": sum(int(np.count_nonzero(c.weights)) for c in entry.layer.connections),
            }
            for index, entry in enumerate(plan.layers)
        ],
        "memories": [_memory(record) for record in exported.memories],
        "load_map": [
            {"region": number, "layer": layer, "kind": kind, "rows": rows, "row_bits": bits}
            for number, (layer, kind, rows, bits) in enumerate(plan.regions)
        ],
        "cost": cost.to_json(),
        "versions": {
            "spikeloom": __version__,
            "python": ".".join(host.python_version_tuple()[:2]),
            **{package: version(package) for package in ("amaranth", "pyosys", "numpy", "nir")},
        },
        "content": {
            name: hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
            for name, content in sorted(files.items())
        },
    }
