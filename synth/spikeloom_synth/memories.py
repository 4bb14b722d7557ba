"""Memories of an exported design, which stay memories in the ASIC flow: stubs, geometry, wrappers.

An export instantiates `spikeloom_rom` and `spikeloom_sram_1r1w`, or their kin with two read ports, one file each. The
flow replaces these files by empty stubs, counts the bits from the parameters of the instances, and gives each geometry
a cell type of its own, because a Liberty file and a placer know no parameters.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .liberty import Cell

__all__ = ["MEMORY_MODULES", "OUTPUTS", "Memory", "memory_stubs", "memory_wrappers"]


def _port(name: str) -> tuple[tuple[str, str], ...]:
    return (f"{name}_en", "bit"), (f"{name}_addr", "address"), (f"{name}_data", "width")


OUTPUTS = ("r_data", "r2_data")
"""Pins that a memory drives."""
_CONTROL = {
    "spikeloom_rom": _port("r"),
    "spikeloom_rom2": _port("r") + _port("r2"),
    "spikeloom_sram_1r1w": _port("r") + _port("w"),
    "spikeloom_sram_2r1w": _port("r") + _port("r2") + _port("w"),
    "spikeloom_cim_array": (*_port("r"), *_port("r2"), *_port("w"), ("w_mask", "width")),
}
MEMORY_MODULES = tuple(_CONTROL)
"""Names of the Verilog modules that are memories."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory of the design."""

    instance: str
    """Hierarchical name, such as `fc1.weights`."""
    module: str
    """One of `MEMORY_MODULES`."""
    width: int
    depth: int
    address: int
    image: str = ""
    """Name of its $readmemh file; empty when its contents come at run time."""
    liberty: Path | None = None
    """Liberty file of the macro that the user gives for it, as plain text; None: the macro is estimated."""
    given: Cell | None = None
    """That macro."""

    @property
    def name(self) -> str:
        """Its name in reports: the generator wraps each memory in a module of its own, as instance `body`."""
        return self.instance.removesuffix(".body")

    @property
    def bits(self) -> int:
        """Storage, in bits."""
        return self.width * self.depth

    @property
    def port_type(self) -> str:
        """`rom`, `rom2`, `1r1w`, `2r1w`, or `cim` of an array to compute in."""
        return self.module.removeprefix("spikeloom_").removeprefix("sram_").removesuffix("_array")

    @property
    def macro(self) -> str:
        """Name that a user's macro of this size has."""
        return f"{self.module}_{self.depth}x{self.width}"

    @property
    def cell(self) -> str:
        """Name of the netlist cell type: the user's macro, or one for each instance, which has its own contents."""
        return self.macro if self.liberty else f"{self.macro}__" + re.sub(r"\W", "_", self.name)

    def pins(self) -> list[tuple[str, int | None]]:
        """(pin, bits) without the clock; None for a pin that is no bus."""
        size = {"address": self.address, "width": self.width}
        return [(pin, size.get(kind)) for pin, kind in _CONTROL[self.module]]


def memory_stubs() -> str:
    """Verilog of the memory modules without contents: Yosys keeps their instances as black boxes."""
    text = ""
    for module, pins in _CONTROL.items():
        ports = ["input clk"]
        for pin, kind in pins:
            size = {"address": "[ADDRESS-1:0] ", "width": "[WIDTH-1:0] "}.get(kind, "")
            ports.append(f"{'output' if pin in OUTPUTS else 'input'} {size}{pin}")
        text += (
            f"(* blackbox *)\nmodule {module} #(parameter WIDTH = 8, parameter DEPTH = 16, parameter ADDRESS = 4, "
            f'parameter INIT_FILE = "") (\n    {", ".join(ports)});\nendmodule\n'
        )
    return text


def memory_wrappers(memories: Iterable[Memory]) -> str:
    """Verilog that gives each memory cell of a netlist its behaviour: an instance of the exported module."""
    text = ""
    for memory in {each.cell: each for each in memories}.values():
        ports = ["input wire clk"]
        joined = [".clk(clk)"]
        for pin, bits in memory.pins():
            ports.append(f"{'output' if pin in OUTPUTS else 'input'} wire {f'[{bits - 1}:0] ' if bits else ''}{pin}")
            joined.append(f".{pin}({pin})")
        text += (
            f"module {memory.cell} ({', '.join(ports)});\n"
            f"    {memory.module} #(.WIDTH({memory.width}), .DEPTH({memory.depth}), .ADDRESS({memory.address}), "
            f'.INIT_FILE("{memory.image}")) contents ({", ".join(joined)});\nendmodule\n'
        )
    return text
