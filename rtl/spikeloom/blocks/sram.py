"""The one memory block: every memory of every core is an `Sram`, so that none becomes flip-flops unnoticed."""

from dataclasses import dataclass, field
from typing import Literal

from amaranth.hdl import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from ..items import address_bits

__all__ = ["FLIP_FLOP_ROWS", "ExportPlatform", "MemoryRecord", "Sram", "spram_count"]

PortType = Literal["rom", "rom2", "1r1w", "2r1w", "cim"]
VERILOG_MODULE: dict[PortType, str] = {
    "rom": "spikeloom_rom",
    "rom2": "spikeloom_rom2",
    "1r1w": "spikeloom_sram_1r1w",
    "2r1w": "spikeloom_sram_2r1w",
    "cim": "spikeloom_cim_array",
}
TWO_READS = ("rom2", "2r1w", "cim")
"""Port types with a second read port."""
WRITABLE = ("1r1w", "2r1w", "cim")


@dataclass(frozen=True, kw_only=True)
class MemoryRecord:
    """One memory of an exported design."""

    name: str
    port_type: PortType
    depth: int
    width: int
    contents: tuple[int, ...]
    exclusive: bool = False
    """Never read and written in one cycle: a memory with a single port does."""

    @property
    def module(self) -> str:
        """Verilog module that holds the memory's body."""
        return VERILOG_MODULE[self.port_type]

    @property
    def bits(self) -> int:
        """Capacity in bits."""
        return self.depth * self.width

    @property
    def image(self) -> str | None:
        """File of the initial contents, or None where the contents arrive at run time."""
        return f"{self.name.replace('.', '_')}.mem" if self.contents else None


@dataclass
class ExportPlatform:
    """Passed to `elaborate` when Verilog is written: memories become instances and are listed in `memories`."""

    memories: list[MemoryRecord] = field(default_factory=list)

    def body(self, record: MemoryRecord, ports: dict[str, Signal]) -> Elaboratable:
        """What stands for a memory: an instance of its Verilog module."""
        self.memories.append(record)
        return Instance(
            record.module,
            p_WIDTH=record.width,
            p_DEPTH=record.depth,
            p_ADDRESS=address_bits(record.depth),
            p_INIT_FILE=record.image or "",
            i_clk=ClockSignal(),
            **{("o_" if name in ("r_data", "r2_data") else "i_") + name: signal for name, signal in ports.items()},
        )


FLIP_FLOP_ROWS = 4
"""Memories of so few rows are flip-flops on an FPGA: its blocks are deep, and one holds 16 to 36 bits of a row."""

SPRAM_ROWS, SPRAM_BITS = 16384, 16
"""Of the large single-port memory of an iCE40 UltraPlus; it has no initial contents."""


def spram_count(record: MemoryRecord) -> int:
    """Blocks of SB_SPRAM256KA that hold a memory."""
    return -(-record.depth // SPRAM_ROWS) * -(-record.width // SPRAM_BITS)


class Sram(wiring.Component):
    """A memory with a declared port type; synchronous read, one cycle.

    `r_data` holds its value while `r_en` is low; a read of the row that is being written returns the old contents.

    Parameters
    ----------
    name : str
        Hierarchical name such as `fc1.weights`: names the instance, its image and its line in every report.
    depth, width : int
        Rows, and bits of a row.
    port_type : str
        `rom` (one read port, contents fixed), `1r1w` (one read and one write port); `rom2` and `2r1w` have a second
        read port. `cim` is an array to compute in: two row reads and one row write with a mask bit per column; no row
        may be read while it is written, which simulations check.
    contents : sequence of int
        Initial rows. A ROM needs all of them; a RAM may start unknown.
    exclusive : bool
        The caller never reads and writes in one cycle, so that a single port would do.

    Members
    -------
    r_en, r_addr, r_data : read port
    r2_en, r2_addr, r2_data : second read port (rom2, 2r1w, cim)
    w_en, w_addr, w_data : write port (1r1w, 2r1w, cim)
    w_mask : bits that are written (cim)
    """

    def __init__(self, *, name: str, depth: int, width: int, port_type: PortType, contents=(), exclusive: bool = False):
        if port_type.startswith("rom") and len(contents) != depth:
            raise ValueError(f"memory {name}: a ROM of {depth} rows was given {len(contents)} rows of contents")
        self.record = MemoryRecord(
            name=name, port_type=port_type, depth=depth, width=width, contents=tuple(contents), exclusive=exclusive
        )
        bits = address_bits(depth)
        ports = {"r_en": In(1), "r_addr": In(bits), "r_data": Out(width)}
        if port_type in TWO_READS:
            ports |= {"r2_en": In(1), "r2_addr": In(bits), "r2_data": Out(width)}
        if port_type in WRITABLE:
            ports |= {"w_en": In(1), "w_addr": In(bits), "w_data": In(width)}
        if port_type == "cim":
            ports["w_mask"] = In(width)
        super().__init__(ports)

    def elaborate(self, platform):
        m, record = Module(), self.record
        ports = {name: getattr(self, name) for name in self.signature.members}
        if isinstance(platform, ExportPlatform):
            m.submodules.body = platform.body(record, ports)
            return m
        if record.name in getattr(platform, "spram_memories", ()):
            self._spram(m)
            return m
        style = "registers" if record.depth <= FLIP_FLOP_ROWS else "block"
        m.submodules.body = body = memory.Memory(
            shape=record.width, depth=record.depth, init=record.contents, attrs={"ram_style": style}
        )
        for read in ("r", "r2") if "r2_en" in ports else ("r",):
            port = body.read_port()
            m.d.comb += [port.en.eq(ports[f"{read}_en"]), port.addr.eq(ports[f"{read}_addr"])]
            m.d.comb += ports[f"{read}_data"].eq(port.data)
        if "w_en" in ports:
            masked = record.port_type == "cim"
            write = body.write_port(granularity=1 if masked else None)
            enable = self.w_mask & self.w_en.replicate(record.width) if masked else self.w_en
            m.d.comb += [write.en.eq(enable), write.addr.eq(self.w_addr), write.data.eq(self.w_data)]
            if masked:
                for en, addr in ((self.r_en, self.r_addr), (self.r2_en, self.r2_addr)):
                    m.d.sync += Assert(~(self.w_en & en & (addr == self.w_addr)))
                for en, addr in ((self.r_en, self.r_addr), (self.r2_en, self.r2_addr), (self.w_en, self.w_addr)):
                    m.d.sync += Assert(~en | (addr < record.depth))
        return m

    def _spram(self, m: Module) -> None:
        """The memory in SB_SPRAM256KA: a platform lists the names of those it places there in `spram_memories`."""
        record = self.record
        if not record.exclusive or record.contents or record.port_type != "1r1w":
            raise ValueError(f"memory {record.name}: an SPRAM has one port and no contents")
        address = Signal(range(max(2, record.depth)))
        m.d.comb += address.eq(Mux(self.w_en, self.w_addr, self.r_addr))
        banks = []
        shown = Signal(max(1, len(address) - 14))  # the bank that was read
        with m.If(self.r_en & ~self.w_en):
            m.d.sync += shown.eq(address[14:])
        for bank in range(-(-record.depth // SPRAM_ROWS)):
            selected = (address[14:] == bank) & (self.r_en | self.w_en)
            row = Signal(-(-record.width // SPRAM_BITS) * SPRAM_BITS, name=f"row{bank}")
            written = Signal.like(row, name=f"written{bank}")
            m.d.comb += written.eq(self.w_data)
            for n in range(len(row) // SPRAM_BITS):
                m.submodules[f"bank{bank}_{n}"] = Instance(
                    "SB_SPRAM256KA",
                    i_ADDRESS=(address[:14] | C(0, 14))[:14],
                    i_DATAIN=written.word_select(n, SPRAM_BITS),
                    i_MASKWREN=C(0b1111, 4),
                    i_WREN=self.w_en,
                    i_CHIPSELECT=selected,
                    i_CLOCK=ClockSignal(),
                    i_STANDBY=C(0, 1),
                    i_SLEEP=C(0, 1),
                    i_POWEROFF=C(1, 1),  # active low
                    o_DATAOUT=row.word_select(n, SPRAM_BITS),
                )
            banks.append(row[: record.width])
        m.d.comb += self.r_data.eq(Array(banks)[shown] if len(banks) > 1 else banks[0])


def verilog_body(port_type: PortType) -> str:
    """Behavioural Verilog of a memory module; a macro or a black box of the same ports can take its place."""
    write, reads = port_type in WRITABLE, ("r", "r2") if port_type in TWO_READS else ("r",)
    masked = port_type == "cim"
    ports = ["input wire clk"]
    for r in reads:
        ports += [f"input wire {r}_en", f"input wire [ADDRESS-1:0] {r}_addr", f"output reg [WIDTH-1:0] {r}_data"]
    if write:
        ports += ["input wire w_en", "input wire [ADDRESS-1:0] w_addr", "input wire [WIDTH-1:0] w_data"]
    if masked:
        ports += ["input wire [WIDTH-1:0] w_mask"]
    title = {
        "rom": "Read-only memory: one synchronous read port.",
        "rom2": "Read-only memory: two synchronous read ports.",
        "2r1w": "Two synchronous read ports, one write port; reading the row being written returns the old contents.",
        "1r1w": "One synchronous read port, one write port; reading the row being written returns the old contents.",
        "cim": "Array to compute in: at most two row reads and one masked row write a cycle, never of the same row.",
    }[port_type]
    lines = [
        f"// {title} {' and '.join(f'{r}_data holds while {r}_en is low' for r in reads)}.",
        f"module {VERILOG_MODULE[port_type]} #(",
        '  parameter WIDTH = 1, parameter DEPTH = 2, parameter ADDRESS = 1, parameter INIT_FILE = ""',
        ") (",
        "  " + ",\n  ".join(ports),
        ");",
        '  (* ram_style = "block", rom_style = "block", syn_ramstyle = "block_ram" *)',
        "  reg [WIDTH-1:0] contents [0:DEPTH-1];",
        '  initial if (INIT_FILE != "") $readmemh(INIT_FILE, contents);',
        "  always @(posedge clk) begin",
        *(f"    if ({r}_en) {r}_data <= contents[{r}_addr];" for r in reads),
    ]
    if masked:
        lines.append("    if (w_en) contents[w_addr] <= (contents[w_addr] & ~w_mask) | (w_data & w_mask);")
    elif write:
        lines.append("    if (w_en) contents[w_addr] <= w_data;")
    lines.append("  end")
    if masked:
        lines += [*_PROTOCOL]
    return "\n".join([*lines, "endmodule"]) + "\n"


_PROTOCOL = """
`ifndef SYNTHESIS
  // The port protocol: rows exist, and none is read while it is written.
  wire [31:0] depth = DEPTH;
  always @(posedge clk) begin
    if ((r_en && {{32-ADDRESS{1'b0}}, r_addr} >= depth) || (r2_en && {{32-ADDRESS{1'b0}}, r2_addr} >= depth)
        || (w_en && {{32-ADDRESS{1'b0}}, w_addr} >= depth)) begin
      $display("%m: no such row: %0d, %0d, %0d", r_addr, r2_addr, w_addr);
      $fatal;
    end
    if (w_en && ((r_en && r_addr == w_addr) || (r2_en && r2_addr == w_addr))) begin
      $display("%m: row %0d is read while it is written", w_addr);
      $fatal;
    end
  end
`endif
""".strip("\n").splitlines()
