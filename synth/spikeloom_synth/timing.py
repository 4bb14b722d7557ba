"""Static timing by OpenSTA: the maximum clock, and the critical path in terms of the source.

The Tcl and SDC that are written here are read by OpenSTA 2.0.17 and by 3.x. The clock is ideal and ports carry no
constraint, so that every path analysed runs from a register (or memory) to a register (or memory).
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from spikeloom.tools import require_tool

from .errors import FlowError
from .liberty import Library
from .macros import MacroModel, memory_liberty
from .netlist import Netlist
from .options import SynthOptions

__all__ = ["Path_", "Timing", "analyse", "memory_label", "run_sta", "sta_version", "write_sdc"]

PATHS = 20
"""How many end points the report lists."""


@dataclass(frozen=True, kw_only=True)
class Path_:
    """One timing path; times in nanoseconds."""

    start: str
    """The register, memory or net where it starts, in source terms."""
    end: str
    arrival_ns: float
    """From the clock edge to the data pin of the end point."""
    setup_ns: float
    slack_ns: float
    stages: tuple[dict, ...]
    """[{"pin", "cell", "arrival_ns", "term"}] for each cell output on the way, then the end point."""

    @property
    def period_ns(self) -> float:
        """The shortest clock period that this path allows."""
        return self.arrival_ns + self.setup_ns


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Result of one analysis."""

    fmax_mhz: float | None
    """None when there is no path between registers."""
    paths: tuple[Path_, ...]
    """The worst path of each of the worst end points, worst first."""
    label: dict


def sta_version() -> str:
    """Version of the OpenSTA in use."""
    return require_tool("sta").version


def run_sta(tcl: str, folder: Path, name: str) -> str:
    """Run a Tcl script in OpenSTA; `folder/name.tcl` and `folder/name.log` stay. Returns the output.

    Raises
    ------
    ToolMissing
        If there is no `sta`.
    FlowError
        If OpenSTA reports an error. It goes on after errors, so its output is searched for them.
    """
    program = require_tool("sta").path
    script, log = folder / f"{name}.tcl", folder / f"{name}.log"
    script.write_text(tcl)
    done = subprocess.run(
        [program, "-no_splash", "-exit", script.absolute()],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    log.write_text(done.stdout)
    errors = [line for line in done.stdout.splitlines() if re.match(r"(\[ERROR|Error\b)", line)]
    # 2.0.17 puts the message behind the last line of output when that has no line break.
    errors += re.findall(r"\S(Error: .*)", done.stdout)
    if errors or done.returncode:
        excerpt = "\n".join(errors[:4]) or f"ended with code {done.returncode}"
        raise FlowError(f"OpenSTA failed ({name}): {excerpt}", log)
    return done.stdout


def write_sdc(netlist: Netlist, libraries: list[Library], period_ns: float, clock: str) -> str:
    """Constraints: an ideal clock, a buffer before each input, the load of four buffers behind each output."""
    buffer = next((cell for library in libraries if (cell := library.buffer())), None)
    lines = [f"create_clock -name {clock} -period {period_ns:.6f} [get_ports {{{clock}}}]"]
    if buffer:
        inputs = " ".join(name for name, (way, _) in netlist.ports.items() if way == "input" and name != clock)
        outputs = " ".join(name for name, (way, _) in netlist.ports.items() if way == "output")
        load = 4 * buffer.inputs[0].capacitance / 1e-12
        if inputs:
            lines.append(f"set_driving_cell -lib_cell {buffer.name} [get_ports {{{_ports(netlist, inputs)}}}]")
        if outputs:
            lines.append(f"set_load {load:.6f} [get_ports {{{_ports(netlist, outputs)}}}]")
    return "\n".join(lines) + "\n"


def _ports(netlist: Netlist, names: str) -> str:
    """Every bit of these ports: a pattern of a bus alone finds nothing in some versions."""
    bits = []
    for name in names.split():
        width = len(netlist.ports[name][1])
        bits += [name] if width == 1 else [f"{name}[{bit}]" for bit in range(width)]
    return " ".join(bits)


def read_design(
    netlist: Netlist, plain: list[Path], sdc: str, folder: Path, name: str, model: MacroModel | None
) -> str:
    """Tcl that reads libraries, netlist and constraints, with the units that this package uses.

    With a model, memories are the macros of the user or their estimate, in `folder/name.lib`; without one, they are
    pins.
    """
    memories = netlist.memories.values()
    given = sorted({memory.liberty for memory in memories if memory.liberty}) if model else []
    others = [memory for memory in memories if not (model and memory.liberty)]
    lines = [f"read_liberty {{{path}}}" for path in (*plain, *given)]
    if others:
        (folder / f"{name}.lib").write_text(memory_liberty(others, model))
        lines.append(f"read_liberty {name}.lib")
    lines += [
        "read_verilog netlist.v",
        f"link_design {netlist.top}",
        "set_cmd_units -time ns -capacitance pF",
        f"read_sdc {sdc}",
    ]
    return "\n".join(lines) + "\n"


_REPORT = """
if {[catch {set ends [find_timing_paths -path_delay max -group_count COUNT]}]} {
    set ends [find_timing_paths -path_delay max -group_path_count COUNT]
}
foreach end $ends {
    puts "PATH [get_property $end slack]"
    foreach point [get_property $end points] {
        set pin [get_property $point pin]
        puts "POINT [get_property $point arrival] [get_full_name $pin]"
    }
}
puts "DONE"
"""


def analyse(
    netlist: Netlist,
    libraries: list[Library],
    plain: list[Path],
    options: SynthOptions,
    folder: Path,
    *,
    clock: str = "clk",
    memory_timing: bool,
    paths: int = PATHS,
) -> Timing:
    """Find the maximum clock of `folder/netlist.v`.

    With `memory_timing` false, paths from and to memories are left out: register to register. With it true, the
    memories are the macros of the user, or estimated ones, which `folder/macros.lib` then holds.

    Raises
    ------
    ToolMissing, FlowError
        As `run_sta`.
    InputError
        As `MacroModel.of`.
    """
    name = "timing_memory" if memory_timing else "timing"
    model = MacroModel.of(libraries[0], options) if memory_timing else None
    (folder / "design.sdc").write_text(write_sdc(netlist, libraries, options.period_ns, clock))
    macros = "macros" if model else name
    tcl = read_design(netlist, plain, "design.sdc", folder, macros, model) + _REPORT.replace("COUNT", str(paths))
    output = run_sta(tcl, folder, name)
    if "DONE" not in output:
        raise FlowError(f"OpenSTA failed ({name}): the report ends too early", folder / f"{name}.log")
    found = [_path(netlist, part, options.period_ns) for part in output.split("PATH ")[1:]]
    found.sort(key=lambda path: -path.period_ns)
    label = {
        "level": "static timing of the mapped netlist, no layout, ideal clock",
        "paths": "registers and memories" if memory_timing else "register to register",
        "wires": _wires(libraries),
        "tool": f"OpenSTA {sta_version()}",
        **libraries[0].label(),
    }
    if model:
        label["memory"] = memory_label(netlist, model.timing_label())
    return Timing(fmax_mhz=1000 / found[0].period_ns if found else None, paths=tuple(found), label=label)


def memory_label(netlist: Netlist, estimate: str) -> str:
    """Where figures of the memories come from: the estimate, files of the user, or both."""
    memories = netlist.memories.values()
    files = sorted({memory.liberty.name for memory in memories if memory.liberty})
    parts = [estimate] if not files or any(memory.liberty is None for memory in memories) else []
    return "; ".join([*parts, *(f"given: {name}" for name in files)])


def _wires(libraries: list[Library]) -> str:
    model = next((library.default_wire_load for library in libraries if library.default_wire_load), None)
    if model and sta_version().startswith("2."):
        return f"the library's default wire load, {model}"
    return "none"


def _path(netlist: Netlist, text: str, period_ns: float) -> Path_:
    lines = text.splitlines()
    slack = float(lines[0])
    points = []
    for line in lines[1:]:
        if line.startswith("POINT "):
            _, arrival, pin = line.split(None, 2)
            points.append((float(arrival), pin))
    stages = []
    for index, (arrival, pin) in enumerate(points):
        instance, _, port = pin.replace("\\", "").rpartition("/")
        cell = netlist.instances.get(instance)
        kind = netlist.kind(cell) if cell else None
        last = index == len(points) - 1
        output = (port in kind.outputs) if kind else port.startswith(("r_data", "r2_data"))
        if cell and (output or last):
            stages.append(
                {
                    "pin": f"{instance}/{port}",
                    "cell": cell.type if kind else netlist.memories[instance].module,
                    "arrival_ns": round(arrival, 4),
                    "term": None if last else netlist.pin_term(instance, port),
                }
            )
    arrival, pin = points[-1]
    return Path_(
        start=_end_point(netlist, points[0][1]),
        end=_end_point(netlist, pin),
        arrival_ns=arrival,
        setup_ns=period_ns - slack - arrival,
        slack_ns=slack,
        stages=tuple(stages),
    )


def _end_point(netlist: Netlist, pin: str) -> str:
    """Name of an end point: the register that a flip-flop holds, or `memory.pin`."""
    instance, _, port = pin.replace("\\", "").rpartition("/")
    cell = netlist.instances.get(instance)
    if cell is None:
        return pin
    kind = netlist.kind(cell)
    if kind is None:
        return f"{netlist.memories[instance].name}.{port}"
    for output in sorted(kind.outputs):
        for net in cell.pins.get(output, ()):
            if name := netlist.net_name(net):
                return name
    return pin
