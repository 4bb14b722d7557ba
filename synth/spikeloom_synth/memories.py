"""Memories of an exported design, which stay memories in the ASIC flow: stubs, geometry, timing model, wrappers.

An export instantiates `spikeloom_rom` and `spikeloom_sram_1r1w`, or their kin with two read ports, one file each. The
flow replaces these files by empty stubs, counts the bits from the parameters of the instances, and gives each geometry
a cell type of its own, because a Liberty file and a placer know no parameters.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from .liberty import Library
from .options import SynthOptions

__all__ = ["MEMORY_MODULES", "Memory", "MemoryEnergy", "memory_liberty", "memory_stubs", "memory_wrappers"]


def _port(name: str) -> tuple[tuple[str, str], ...]:
    return (f"{name}_en", "bit"), (f"{name}_addr", "address"), (f"{name}_data", "width")


_OUTPUTS = ("r_data", "r2_data")
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
    def cell(self) -> str:
        """Name of the netlist cell type: one for each instance, because each has its own contents."""
        return f"{self.module}_{self.depth}x{self.width}__" + re.sub(r"\W", "_", self.name)

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
            ports.append(f"{'output' if pin in _OUTPUTS else 'input'} {size}{pin}")
        text += (
            f"(* blackbox *)\nmodule {module} #(parameter WIDTH = 8, parameter DEPTH = 16, parameter ADDRESS = 4, "
            f'parameter INIT_FILE = "") (\n    {", ".join(ports)});\nendmodule\n'
        )
    return text


def memory_wrappers(memories: Iterable[Memory]) -> str:
    """Verilog that gives each memory cell of a netlist its behaviour: an instance of the exported module."""
    text = ""
    for memory in memories:
        ports = ["input wire clk"]
        joined = [".clk(clk)"]
        for pin, bits in memory.pins():
            ports.append(f"{'output' if pin in _OUTPUTS else 'input'} wire {f'[{bits - 1}:0] ' if bits else ''}{pin}")
            joined.append(f".{pin}({pin})")
        text += (
            f"module {memory.cell} ({', '.join(ports)});\n"
            f"    {memory.module} #(.WIDTH({memory.width}), .DEPTH({memory.depth}), .ADDRESS({memory.address}), "
            f'.INIT_FILE("{memory.image}")) contents ({", ".join(joined)});\nendmodule\n'
        )
    return text


def memory_liberty(memories: Iterable[Memory], access_ns: float, setup_ns: float, *, timed: bool) -> str:
    """Liberty of the memory cells: pins only, or with an assumed access and set-up time that no load changes.

    The area is 0 because it is not known; pin capacitances are 0 for the same reason.
    """
    memories = list(memories)
    sizes = sorted({bits for memory in memories for _, bits in memory.pins() if bits})
    lines = [
        "library (spikeloom_memories) {",
        '  delay_model : table_lookup; time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1mA";',
        '  pulling_resistance_unit : "1kohm"; leakage_power_unit : "1nW"; capacitive_load_unit (1, pf);',
        "  input_threshold_pct_rise : 50; input_threshold_pct_fall : 50;",
        "  output_threshold_pct_rise : 50; output_threshold_pct_fall : 50;",
        "  slew_lower_threshold_pct_rise : 20; slew_upper_threshold_pct_rise : 80;",
        "  slew_lower_threshold_pct_fall : 20; slew_upper_threshold_pct_fall : 80;",
    ]
    lines += [
        f"  type (bus{bits}) {{ base_type : array; data_type : bit; bit_width : {bits}; bit_from : {bits - 1}; "
        "bit_to : 0; downto : true; }"
        for bits in sizes
    ]
    for memory in memories:
        lines.append(f"  cell ({memory.cell}) {{ area : 0; dont_touch : true; is_macro_cell : true;")
        lines.append("    pin (clk) { direction : input; clock : true; capacitance : 0; }")
        for pin, bits in memory.pins():
            output = pin in _OUTPUTS
            arcs = ""
            if timed and output:
                tables = "".join(
                    f'{table} (scalar) {{ values ("{value}"); }} '
                    for table, value in (
                        ("cell_rise", access_ns),
                        ("cell_fall", access_ns),
                        ("rise_transition", 0.1),
                        ("fall_transition", 0.1),
                    )
                )
                arcs = f"timing () {{ related_pin : clk; timing_type : rising_edge; {tables}}}"
            elif timed:
                tables = "".join(
                    f'{edge}_constraint (scalar) {{ values ("{setup_ns}"); }} ' for edge in ("rise", "fall")
                )
                arcs = f"timing () {{ related_pin : clk; timing_type : setup_rising; {tables}}}"
            opening = f"bus ({pin}) {{ bus_type : bus{bits};" if bits else f"pin ({pin}) {{"
            way = "direction : output;" if output else "direction : input; capacitance : 0;"
            lines.append(f"    {opening} {way} {arcs} }}")
        lines.append("  }")
    return "\n".join(lines) + "\n}\n"


_NODE_NM = (("osu018", 180), ("gf180", 180), ("sky130", 130), ("sg13g2", 130), ("nangate", 45), ("asap7", 7))
"""Feature size by a part of the library's name."""


@dataclass(frozen=True, kw_only=True)
class MemoryEnergy:
    """Assumed energy of memory accesses, for memories that have no Liberty model.

    The reference are the Liberty files of IHP's SG13G2 SRAM macros (130 nm, 1.2 V, typical), 64 bits wide:

        rows    read pJ/bit   write pJ/bit   leakage pW/bit
        64      0.610         0.789          12.1
        256     0.776         0.991          12.1
        1024    1.435         1.733          12.1
        2048    1.912         2.428          12.1

    A straight line through the first and the last row is at most 14 % off in between. Deeper memories are taken as
    banks of 2048 rows. Another library scales it by capacitance (feature size, where known) and voltage squared.
    """

    scale: float
    node_nm: int | None
    voltage: float
    options: SynthOptions

    @classmethod
    def of(cls, library: Library, options: SynthOptions) -> "MemoryEnergy":
        """The model for memories beside cells of `library`."""
        node = next((size for part, size in _NODE_NM if part in library.name.lower()), None)
        voltage = library.voltage or 1.2
        return cls(scale=(node or 130) / 130 * (voltage / 1.2) ** 2, node_nm=node, voltage=voltage, options=options)

    def read_pj(self, memory: Memory) -> float:
        """Energy of one read of a whole word, in picojoule."""
        flat = self.options.memory_read_pj_per_bit
        return memory.width * (self._per_bit(memory, 0.610, 1.912) if flat is None else flat)

    def write_pj(self, memory: Memory) -> float:
        """Energy of one write of a whole word, in picojoule."""
        flat = self.options.memory_write_pj_per_bit
        return memory.width * (self._per_bit(memory, 0.789, 2.428) if flat is None else flat)

    def leakage_w(self, memory: Memory) -> float:
        """Standing power of a memory, in watt; not scaled."""
        return memory.bits * self.options.memory_leakage_pw_per_bit * 1e-12

    def _per_bit(self, memory: Memory, at_64: float, at_2048: float) -> float:
        rows = min(memory.depth, 2048)
        return self.scale * (at_64 + (at_2048 - at_64) * (rows - 64) / (2048 - 64))

    def label(self) -> str:
        """What must be said beside every figure that this model enters."""
        given = self.options
        model = (
            f"IHP SG13G2 macros x {self.scale:.3g} (from 130 nm, 1.2 V to "
            f"{f'{self.node_nm} nm' if self.node_nm else 'an unknown feature size'}, {self.voltage:g} V)"
        )
        parts = [
            f"{what}: {model if flat is None else f'{flat:g} pJ per bit'}"
            for what, flat in (("read", given.memory_read_pj_per_bit), ("write", given.memory_write_pj_per_bit))
        ]
        return "assumed: " + "; ".join(parts) + f"; leakage: {given.memory_leakage_pw_per_bit:g} pW per bit"
