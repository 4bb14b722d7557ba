"""Power and energy from the switching activity of a real workload.

The mapped netlist plays the workload (`gatesim`); every net's toggles and time at 1 go to OpenSTA, which knows the
cells' internal energy, the loads and the leakage. Memories are in a column of their own: accesses x an assumed energy
of an access, whether or not the user gives a macro, and the leakage, which a given macro states.

The simulation has no delays, so glitches are not in the figures; neither are wires and a clock tree.
"""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spikeloom.errors import SpikeloomError

from .errors import FlowError
from .gatesim import Activity, Workload, play
from .liberty import Library
from .macros import MacroModel
from .netlist import Netlist
from .options import SynthOptions
from .timing import read_design, run_sta, sta_version, write_sdc

__all__ = ["Power", "measure", "power_of"]

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Power:
    """Power in watt, energy in joule; `label` says under which conditions."""

    cycles: int
    inferences: int
    sops: int | None
    dense_operations: int | None
    internal_w: float
    switching_w: float
    leakage_w: float
    clock_pins_w: float
    """Charging of the flip-flops' clock pins, which no cell of the netlist drives."""
    memory_w: float
    """Assumed: see `macros.MacroModel`."""
    blocks: dict[str, dict[str, float]]
    """{block: {"internal_w", "switching_w", "leakage_w", "clock_pins_w"}}; memories are apart."""
    memories: tuple[dict, ...]
    """[{"instance", "bits", "reads", "writes", "dynamic_j", "leakage_w"}], accesses of the whole workload."""
    period_ns: float
    label: dict

    @property
    def logic_w(self) -> float:
        """Power of cells and clock pins, without the memories."""
        return self.internal_w + self.switching_w + self.leakage_w + self.clock_pins_w

    @property
    def seconds_per_inference(self) -> float:
        """The whole interval of an inference, idle cycles included."""
        return self.cycles * self.period_ns * 1e-9 / self.inferences

    def summary(self) -> dict:
        """Figures with their label, ready for JSON."""
        logic = self.logic_w * self.seconds_per_inference
        memory = self.memory_w * self.seconds_per_inference
        per_sop = self.inferences / self.sops if self.sops else None

        def tops_per_w(operations: int | None) -> float | None:
            """A multiply-add counts as two operations; memories are included, with their assumed energy."""
            joule = (logic + memory) * self.inferences
            return 2 * operations / joule / 1e12 if operations and joule else None

        return {
            "power_w": {
                "internal": self.internal_w,
                "switching": self.switching_w,
                "leakage": self.leakage_w,
                "clock_pins": self.clock_pins_w,
                "logic": self.logic_w,
                "memory_assumed": self.memory_w,
                "total": self.logic_w + self.memory_w,
            },
            "energy_per_inference_j": {"logic": logic, "memory_assumed": memory, "total": logic + memory},
            "energy_per_sop_j": per_sop
            and {"logic": logic * per_sop, "memory_assumed": memory * per_sop, "total": (logic + memory) * per_sop},
            "tops_per_w": {
                "performed": tops_per_w(self.sops),
                "dense_equivalent": tops_per_w(self.dense_operations),
            },
            "cycles_per_inference": self.cycles / self.inferences,
            "inferences": self.inferences,
            "sops_per_inference": None if self.sops is None else self.sops / self.inferences,
            "by_block": {
                block: {**row, "energy_per_inference_j": sum(row.values()) * self.seconds_per_inference}
                for block, row in self.blocks.items()
            },
            "memories": list(self.memories),
            "label": self.label,
        }


def power_of(
    netlist: Netlist,
    libraries: list[Library],
    plain: list[Path],
    options: SynthOptions,
    nets: dict[int, tuple[float, float]],
    folder: Path,
    *,
    clock: str = "clk",
) -> dict[str, tuple[float, float, float]]:
    """Power of every cell for given activities of its nets, by OpenSTA.

    Parameters
    ----------
    nets
        {net: (transitions per clock cycle, share of the time at 1)}.

    Returns
    -------
    {instance: (internal, switching, leakage)} in watt, memories left out.
    """
    clock_nets = set(netlist.ports[clock][1])
    lines, saif = [], []
    for name, instance in netlist.instances.items():
        if instance.type not in netlist.library:
            continue
        rows = []
        for pin, bits in sorted(instance.pins.items()):
            net = bits[0] if bits else None
            if net in clock_nets:
                continue  # known to OpenSTA from the clock itself
            if isinstance(net, int):
                transitions, duty = nets.get(net, (0.0, 0.0))
            else:
                transitions, duty = 0.0, float(net == "1")
            lines.append(f"act {name}/{pin} {transitions:.9g} {duty:.9g}")
            rows.append((pin, transitions, duty))
        saif.append((name, rows))
    (folder / "design.sdc").write_text(write_sdc(netlist, libraries, options.period_ns, clock))
    if sta_version().startswith("2."):
        tell = (
            "proc act {pin transitions duty} { sta::set_power_pin_activity [get_pins $pin] $transitions $duty }\n"
            "source activity.tcl\n"
        )
        (folder / "activity.tcl").write_text("\n".join(lines) + "\n")
    else:  # inside 3.0 activities have another unit; its reader of SAIF takes care of it
        tell = f"read_saif -scope {netlist.top} activity.saif\n"
        (folder / "activity.saif").write_text(_saif(netlist.top, saif, options.period_ns))
    tcl = read_design(netlist, plain, "design.sdc", folder, "power", None) + (
        tell + 'puts "BEGIN"\nreport_power -instances [get_cells *] -digits 8\nputs "END"\n'
    )
    output = run_sta(tcl, folder, "power")
    table = output.partition("BEGIN")[2].partition("END")[0]
    result: dict[str, tuple[float, float, float]] = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) == 5 and re.fullmatch(r"[-+.\de]+", fields[0]) and fields[4] in netlist.instances:
            if netlist.instances[fields[4]].type in netlist.library:
                result[fields[4]] = (float(fields[0]), float(fields[1]), float(fields[2]))
    missing = len(saif) - len(result)
    if missing:
        raise FlowError(f"OpenSTA gave no power for {missing} of {len(saif)} cells", folder / "power.log")
    return result


def _saif(top: str, instances: list[tuple[str, list[tuple[str, float, float]]]], period_ns: float) -> str:
    """Activities as SAIF, on the pins of every cell, for OpenSTA 3; a million cycles long, in picoseconds."""
    duration = 1_000_000 * period_ns * 1000
    lines = [
        '(SAIFILE (SAIFVERSION "2.0") (DIRECTION "backward") (DIVIDER / ) (TIMESCALE 1 ps)',
        f"(DURATION {duration:.0f})",
        f"(INSTANCE {top}",
    ]
    for name, rows in instances:
        lines.append(f" (INSTANCE {name} (NET")
        for pin, transitions, duty in rows:
            high = duration * duty
            lines.append(
                f"  ({pin} (T0 {duration - high:.0f}) (T1 {high:.0f}) (TX 0) (TC {1_000_000 * transitions:.0f}))"
            )
        lines.append(" ))")
    lines.append("))")
    return "\n".join(lines) + "\n"


def measure(
    netlist: Netlist,
    libraries: list[Library],
    plain: list[Path],
    options: SynthOptions,
    workload: Workload,
    folder: Path,
    *,
    images: Path,
    clock: str = "clk",
    reset: str = "rst",
    progress: Progress = lambda text: None,
) -> tuple[Power, Activity]:
    """Simulate a workload on the netlist and compute its power and energy.

    Raises
    ------
    ToolMissing, InputError, SpikeloomError
        As `gatesim.play` and `timing.run_sta`.
    """
    progress("simulating the netlist")
    activity = play(netlist, libraries, workload, folder, images=images, clock=clock, reset=reset)
    nets = activity.nets
    progress("power")
    cells = power_of(netlist, libraries, plain, options, nets, folder, clock=clock)
    pin_capacitance = {
        (cell.name, pin.name): pin.capacitance
        for library in libraries
        for cell in library.cells.values()
        for pin in cell.inputs
    }
    voltage = next((library.voltage for library in libraries if library.voltage), None)
    if voltage is None:
        raise SpikeloomError(f"{libraries[0].path}: states no voltage, so no power can be computed")
    frequency = options.clock_mhz * 1e6
    clock_nets = set(netlist.ports[clock][1])
    blocks: dict[str, dict[str, float]] = defaultdict(
        lambda: {"internal_w": 0.0, "switching_w": 0.0, "leakage_w": 0.0, "clock_pins_w": 0.0}
    )
    for name, (internal, switching, leakage) in cells.items():
        row = blocks[netlist.blocks[name]]
        row["internal_w"] += internal
        row["switching_w"] += switching
        row["leakage_w"] += leakage
        instance = netlist.instances[name]
        for pin, bits in instance.pins.items():
            if bits and bits[0] in clock_nets:
                # One charge a cycle: C V^2 f.
                row["clock_pins_w"] += pin_capacitance[instance.type, pin] * voltage**2 * frequency
    model = MacroModel.of(libraries[0], options)
    memories = [_memory(netlist, name, nets, activity.cycles, model) for name in sorted(netlist.memories)]
    seconds = activity.cycles / frequency
    label = {
        "level": "switching activity of the mapped netlist in a zero-delay simulation of the workload; "
        "no glitches, no wires, no clock tree",
        "workload": workload.name,
        "clock_mhz": options.clock_mhz,
        "tool": f"OpenSTA {sta_version()}",
        **libraries[0].label(),
        "memory": model.energy_label(),
    }

    def total(key: str) -> float:
        return sum(row[key] for row in blocks.values())

    power = Power(
        cycles=activity.cycles,
        inferences=activity.inferences,
        sops=workload.sops,
        dense_operations=workload.dense_operations,
        internal_w=total("internal_w"),
        switching_w=total("switching_w"),
        leakage_w=total("leakage_w"),
        clock_pins_w=total("clock_pins_w"),
        memory_w=sum(each["dynamic_j"] / seconds + each["leakage_w"] for each in memories),
        blocks={block: blocks[block] for block in sorted(blocks)},
        memories=tuple(memories),
        period_ns=options.period_ns,
        label=label,
    )
    return power, activity


def _memory(netlist: Netlist, name: str, nets: dict[int, tuple[float, float]], cycles: int, model: MacroModel) -> dict:
    """Accesses and assumed energy of one memory."""
    memory, instance = netlist.memories[name], netlist.instances[name]

    def accesses(pin: str) -> int:
        bits = instance.pins.get(pin)
        if not bits:
            return 0
        return round(nets[bits[0]][1] * cycles) if isinstance(bits[0], int) else cycles * int(bits[0] == "1")

    reads, writes = accesses("r_en") + accesses("r2_en"), accesses("w_en")
    macro = model.macro(memory)
    leakage = memory.given.leakage if memory.given else None
    return {
        "instance": memory.name,
        "bits": memory.bits,
        "width": memory.width,
        "reads": reads,
        "writes": writes,
        "dynamic_j": (reads * macro.read_pj + writes * macro.write_pj) * 1e-12,
        "leakage_w": macro.leakage_w if leakage is None else leakage,
    }
