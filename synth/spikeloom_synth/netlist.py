"""A mapped netlist: what Yosys wrote as JSON, with areas, and with the names of the source attached to its cells."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from spikeloom.errors import SpikeloomError

from .liberty import Library
from .memories import Memory

__all__ = ["Instance", "Netlist", "block_of", "load_netlist"]

_PRIVATE = re.compile(r"(.*\.)?_\d+_(\[\d+\])?")
"""Names that a Verilog writer makes up for signals without one."""
_BIT = re.compile(r"\[\d+\]$")
_NUMBERING = re.compile(r"\[\d+\]|\$\d+$")
"""What Verilog's generate loops and Amaranth's name clashes add to the name of an instance."""
OUTSIDE = "top"
"""Block of what belongs to no instance."""


@dataclass(frozen=True)
class Instance:
    """One cell: its library type and the net (a number, or "0" / "1") on each pin, least significant bit first."""

    name: str
    type: str
    pins: dict[str, tuple[int | str, ...]]


@dataclass
class Netlist:
    """Cells, nets and ports of one mapped, flat module.

    Nets are the numbers of the Yosys JSON. `names` gives every net all its source names, the one in the module that
    drives it first.
    """

    top: str
    instances: dict[str, Instance]
    ports: dict[str, tuple[str, tuple[int | str, ...]]]
    names: dict[int, list[str]]
    registers: dict[int, str]
    library: dict[str, "CellKind"]
    memories: dict[str, Memory]
    blocks: dict[str, str] = field(default_factory=dict)

    def kind(self, instance: Instance) -> "CellKind | None":
        """What the library says about the type of an instance; None for a memory."""
        return self.library.get(instance.type)

    def area(self) -> float:
        """Area of all standard cells, in the library's unit; memories are not in it."""
        return sum(kind.area for kind in map(self.kind, self.instances.values()) if kind)

    def flip_flops(self) -> list[Instance]:
        """All instances of flip-flops."""
        return [each for each in self.instances.values() if (kind := self.kind(each)) and kind.is_flip_flop]

    def counts(self) -> dict[str, int]:
        """Number of instances of each cell type."""
        return dict(sorted(Counter(instance.type for instance in self.instances.values()).items()))

    def area_by_block(self) -> dict[str, dict[str, float]]:
        """{block: {"cells", "flip_flops", "area", "flip_flop_area"}}; the areas add up to `area()`."""
        rows: dict[str, dict[str, float]] = defaultdict(
            lambda: {"cells": 0, "flip_flops": 0, "area": 0.0, "flip_flop_area": 0.0}
        )
        for instance in self.instances.values():
            kind = self.kind(instance)
            if kind is None:
                continue
            row = rows[self.blocks[instance.name]]
            row["cells"] += 1
            row["area"] += kind.area
            if kind.is_flip_flop:
                row["flip_flops"] += 1
                row["flip_flop_area"] += kind.area
        return {block: rows[block] for block in sorted(rows)}

    def net_name(self, net: int | str) -> str | None:
        """Name of a net in source terms, such as `fc1.lane[3].potential[7]`; None for a net that mapping made."""
        names = self.names.get(net) if isinstance(net, int) else None
        return names[0] if names else None

    def pin_term(self, instance: str, pin: str) -> str | None:
        """Name in source terms of the net on a pin such as `_123_/Q`, or `w_data[3]` of a memory."""
        bus = re.fullmatch(r"(.+)\[(\d+)\]", pin)
        pins = self.instances[instance].pins
        if bus and bus[1] in pins:
            return self.net_name(pins[bus[1]][int(bus[2])])
        return self.net_name(pins[pin][0]) if pin in pins else None


@dataclass(frozen=True)
class CellKind:
    """The part of a library cell that a netlist needs."""

    area: float
    outputs: frozenset[str]
    is_flip_flop: bool


def _depth(name: str) -> int:
    return name.count(".")


def block_of(path: Iterable[str], depth: int = 2) -> str:
    """Block that an instance path belongs to: the first `depth` instances, numbering removed; `top` if there are none.

    >>> block_of(["fc1", "lane[3]", "neuron"])
    'fc1.lane'
    >>> block_of(["fc1", "flags$200"])
    'fc1.flags'
    """
    parts = [_NUMBERING.sub("", part) for part in path]
    return ".".join(parts[:depth]) or OUTSIDE


def load_netlist(
    json_path: Path,
    top: str,
    libraries: list[Library],
    memories: Iterable[Memory],
    source_registers: Collection[str] = (),
    depth: int = 2,
) -> Netlist:
    """Read the JSON of a mapped design and attribute each cell to a block of the source.

    `source_registers` are the names of the wires that registers drive in the source.
    A flip-flop belongs to the module that declares its register. Logic is lost to its module in technology mapping;
    it counts to the block whose registers, memories or ports it feeds, when that is one block, otherwise to the one
    block that feeds it, otherwise to `shared`.

    Raises
    ------
    SpikeloomError
        If a cell is neither of the library nor a memory: the design holds something that could not be mapped.
    """
    data = json.loads(json_path.read_text())["modules"][top]
    library = {
        cell.name: CellKind(cell.area, frozenset(pin.name for pin in cell.outputs), cell.is_flip_flop)
        for each in libraries
        for cell in each.cells.values()
    }
    known = {memory.instance: memory for memory in memories}
    instances = {
        name: Instance(name, cell["type"], {pin: tuple(nets) for pin, nets in cell["connections"].items()})
        for name, cell in data["cells"].items()
    }
    unmapped = Counter(each.type for each in instances.values() if each.type not in library and each.name not in known)
    if unmapped:
        listed = ", ".join(f"{count} x {kind}" for kind, count in sorted(unmapped.items()))
        raise SpikeloomError(f"{top}: cells that the library cannot implement are left after mapping: {listed}")
    names: dict[int, list[tuple[tuple, str]]] = defaultdict(list)
    registers: dict[int, str] = {}
    for name, net in data["netnames"].items():
        if net.get("hide_name") or _PRIVATE.fullmatch(name):
            continue
        offset = net.get("offset", 0)
        owned = name in source_registers or _BIT.sub("", name) in source_registers
        for position, bit in enumerate(net["bits"]):
            if isinstance(bit, int):
                full = name if len(net["bits"]) == 1 else f"{name}[{position + offset}]"
                names[bit].append(((not owned, _depth(full), full), full))
    for bit, found in names.items():
        found.sort()
        if not found[0][0][0]:
            registers[bit] = found[0][1]
    netlist = Netlist(
        top=top,
        instances=instances,
        ports={name: (port["direction"], tuple(port["bits"])) for name, port in data["ports"].items()},
        names={bit: [full for _, full in found] for bit, found in names.items()},
        registers=registers,
        library=library,
        memories=known,
    )
    netlist.blocks = _blocks(netlist, depth)
    return netlist


def _blocks(netlist: Netlist, depth: int) -> dict[str, str]:
    """{instance: block} by the rules of `load_netlist`."""
    block: dict[str, str] = {}
    driver: dict[int, str] = {}
    loads: dict[int, list[str]] = defaultdict(list)
    logic: list[str] = []
    for instance in netlist.instances.values():
        kind = netlist.kind(instance)
        if kind is None:
            block[instance.name] = block_of(netlist.memories[instance.name].name.split(".")[:-1], depth)
            outputs = frozenset({"r_data", "r2_data"})
        else:
            outputs = kind.outputs
            if kind.is_flip_flop:
                q = [net for pin in outputs for net in instance.pins.get(pin, ()) if isinstance(net, int)]
                term = next((netlist.registers[net] for net in q if net in netlist.registers), None)
                term = term or next((name for net in q if (name := netlist.net_name(net))), "")
                block[instance.name] = block_of(term.split(".")[:-1], depth)
            else:
                logic.append(instance.name)
        for pin, nets in instance.pins.items():
            for net in nets:
                if isinstance(net, int):
                    if pin in outputs:
                        driver[net] = instance.name
                    else:
                        loads[net].append(instance.name)
    # A set of blocks travels against the signal flow (who is fed) and along it (who feeds); sets only grow, so the
    # passes end. Two blocks or more are one state: shared.
    output_nets = {net for way, nets in netlist.ports.values() if way == "output" for net in nets}
    fed = _spread(netlist, logic, block, driver, loads, forward=False, ports=output_nets)
    feeds = _spread(netlist, logic, block, driver, loads, forward=True, ports=set())
    for name in logic:
        for found in (fed[name], feeds[name]):
            if len(found) == 1:
                block[name] = next(iter(found))
                break
        else:
            block[name] = "shared"
    return block


def _spread(
    netlist: Netlist,
    logic: list[str],
    fixed: dict[str, str],
    driver: dict[int, str],
    loads: dict[int, list[str]],
    *,
    forward: bool,
    ports: set,
) -> dict[str, set[str]]:
    """{combinational instance: blocks of the registers and memories that it feeds (or, forward, that feed it)}."""
    result: dict[str, set[str]] = {name: set() for name in logic}
    outputs = {name: netlist.library[netlist.instances[name].type].outputs for name in logic}

    def neighbours(name: str, *, downstream: bool) -> Iterable[str]:
        for pin, nets in netlist.instances[name].pins.items():
            if (pin in outputs[name]) == downstream:
                for net in nets:
                    if isinstance(net, int):
                        if downstream:
                            yield from loads[net]
                        elif net in driver:
                            yield driver[net]

    work = []
    for name in logic:
        for other in neighbours(name, downstream=not forward):
            if other in fixed:
                result[name].add(fixed[other])
        if not forward:
            for pin in outputs[name]:
                if any(net in ports for net in netlist.instances[name].pins.get(pin, ())) and not result[name]:
                    result[name].add(_port_block(netlist, name, pin))
        if result[name]:
            work.append(name)
    while work:
        name = work.pop()
        for other in neighbours(name, downstream=forward):
            if other in result and len(result[other]) < 2 and not result[name] <= result[other]:
                result[other] |= result[name]
                work.append(other)
    return result


def _port_block(netlist: Netlist, name: str, pin: str) -> str:
    """Block of logic that drives a port: the deepest source name of the net tells the module that computes it."""
    net = netlist.instances[name].pins[pin][0]
    names = netlist.names.get(net, []) if isinstance(net, int) else []
    deepest = max(names, key=lambda each: (_depth(each), each), default="")
    return block_of(deepest.split(".")[:-1])
