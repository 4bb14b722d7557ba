"""FPGA boards: a linked core on their pins, with their clock and lights, by the definitions of amaranth-boards."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.build import Platform
from amaranth.hdl import *
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from ..blocks.sram import FLIP_FLOP_ROWS, ExportPlatform, MemoryRecord, spram_count
from ..errors import InputError
from ..mapping.plan import CorePlan
from .link import LinkedCore
from .uart import divisor_of

__all__ = [
    "BAUD",
    "BOARDS",
    "Board",
    "BoardTop",
    "board_named",
    "check_memories",
    "memories_of",
    "place_memories",
    "prepare",
]

BAUD = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board and what its chip holds; sources: the data sheets of the chips."""

    name: str
    title: str
    family: str
    """ice40 | ecp5 | xc7"""
    input_hz: float
    """The oscillator on the board."""
    clock_hz: float
    """The clock of the core: that, or a PLL's."""
    luts: int
    flip_flops: int
    block_rams: int
    """Of `block_shapes`."""
    block_shapes: tuple[tuple[int, int], ...]
    """(rows, bits) that one block of memory can be."""
    dsps: int
    sprams: int = 0
    place_and_route: bool = True
    """Whether open tools go all the way to a bitstream."""
    platform: Callable[[], Any]
    """Makes the platform of amaranth-boards."""

    @property
    def block_bits(self) -> int:
        """Capacity of one block."""
        return max(rows * bits for rows, bits in self.block_shapes)

    def blocks(self, record: MemoryRecord) -> int:
        """Blocks that a memory takes, in the shape that suits it best; shallow ones are flip-flops."""
        if record.depth <= FLIP_FLOP_ROWS:
            return 0
        return min(-(-record.depth // rows) * -(-record.width // bits) for rows, bits in self.block_shapes)


def _icebreaker() -> Any:
    from amaranth_boards.icebreaker import ICEBreakerPlatform

    platform = ICEBreakerPlatform()
    platform.add_resources(platform.break_off_pmod)
    return platform


def _ulx3s() -> Any:
    from amaranth_boards.ulx3s import ULX3S_85F_Platform

    return ULX3S_85F_Platform()


def _arty() -> Any:
    from amaranth_boards.arty_a7 import ArtyA7_100Platform

    class Platform(ArtyA7_100Platform):
        """Only its RTLIL is wanted; the files of Vivado would hold Verilog, for which Amaranth looks for a Yosys."""

        file_templates = {"{{name}}.il": "{{emit_rtlil()}}"}  # noqa: RUF012
        command_templates = ()

    return Platform(toolchain="Vivado")


BOARDS = {
    board.name: board
    for board in (
        Board(
            name="icebreaker",
            title="iCEBreaker, iCE40UP5K-SG48",
            family="ice40",
            input_hz=12e6,
            clock_hz=12e6,
            luts=5280,
            flip_flops=5280,
            block_rams=30,
            block_shapes=((256, 16), (512, 8), (1024, 4), (2048, 2)),
            dsps=8,
            sprams=4,
            platform=_icebreaker,
        ),
        Board(
            name="ulx3s",
            title="ULX3S, LFE5U-85F",
            family="ecp5",
            input_hz=25e6,
            clock_hz=50e6,
            luts=83640,
            flip_flops=83640,
            block_rams=208,
            block_shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
            dsps=156,
            platform=_ulx3s,
        ),
        Board(
            name="arty_a7_100",
            title="Arty A7-100T, XC7A100T",
            family="xc7",
            input_hz=100e6,
            clock_hz=100e6,
            luts=63400,
            flip_flops=126800,
            block_rams=270,  # halves of the 135 blocks of 36 kbit
            block_shapes=((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)),
            dsps=240,
            place_and_route=False,
            platform=_arty,
        ),
    )
}


def board_named(name: str) -> Board:
    """The board `name`.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in BOARDS:
        raise InputError(f"--board: {name!r} was given; accepted: {', '.join(BOARDS)}")
    return BOARDS[name]


class BoardTop(Elaboratable):
    """A linked core on the pins of a board: the serial line of its USB, its clock, its lights.

    Lights, in the order of `_lights`: heartbeat, busy, error, then the bits of the latest decision, lowest first, as
    many as there are.
    """

    def __init__(self, plan: CorePlan, board: Board, *, baud: int = BAUD, **times: int):
        self.board = board
        self.core = LinkedCore(plan, divisor=divisor_of(board.clock_hz, baud), clock_hz=board.clock_hz, **times)

    def elaborate(self, platform: Platform):
        m = Module()
        if self.board.clock_hz != self.board.input_hz:
            self._pll(m, platform)
        m.submodules.linked = core = self.core
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx_pin = rx = io.Buffer("i", uart.rx)
        m.submodules.tx_pin = tx = io.Buffer("o", uart.tx)
        m.d.comb += [core.rx.eq(rx.i), tx.o.eq(core.tx)]
        shown = [core.heartbeat, core.busy, core.error]
        if hasattr(core, "answer"):
            shown += list(core.answer)
        for n, (pin, value) in enumerate(zip(self._lights(platform), shown, strict=False)):
            m.submodules[f"light{n}_pin"] = light = io.Buffer("o", pin)
            m.d.comb += light.o.eq(value)
        return m

    def _lights(self, platform: Platform) -> list:
        def pins(*names):
            return [platform.request(name, number, dir="-") for name, number in names]

        if self.board.name == "icebreaker":  # green: alive; the five on the break-off board: busy, then the decision
            green, red, busy = pins(("led_g", 0), ("led_r", 0), ("led_r", 1))
            return [green, busy, red, *pins(*(("led_g", n) for n in range(1, 5)))]
        if self.board.name == "arty_a7_100":
            colours = [platform.request("rgb_led", n, dir="-").g for n in range(4)]
            return [*pins(*(("led", n) for n in range(3))), *colours]
        return pins(*(("led", n) for n in range(8)))

    def _pll(self, m: Module, platform: Platform) -> None:
        """25 MHz to 50 MHz on ECP5; the oscillator of the PLL runs at 600 MHz (400 to 800 are allowed)."""
        pin = platform.request(platform.default_clk, dir="-")
        m.submodules.clock_pin = buffer = io.Buffer("i", pin)
        multiply = round(self.board.clock_hz / self.board.input_hz)
        divide = round(600e6 / self.board.clock_hz)
        clock, locked = Signal(), Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.board.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.board.clock_hz / 1e6:g}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_CLKI_DIV=1,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=divide,
            p_CLKOP_CPHASE=divide // 2 - 1,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_CLKFB_DIV=multiply,
            i_RST=C(0, 1),
            i_STDBY=C(0, 1),
            i_CLKI=buffer.i,
            i_CLKFB=clock,
            i_PHASESEL0=C(0, 1),
            i_PHASESEL1=C(0, 1),
            i_PHASEDIR=C(1, 1),
            i_PHASESTEP=C(1, 1),
            i_PHASELOADREG=C(1, 1),
            i_PLLWAKESYNC=C(0, 1),
            i_ENCLKOP=C(0, 1),
            o_CLKOP=clock,
            o_LOCK=locked,
        )
        m.domains.sync = ClockDomain()
        m.d.comb += ClockSignal().eq(clock)
        m.submodules.reset = ResetSynchronizer(~locked)
        platform.add_clock_constraint(clock, self.board.clock_hz)


def memories_of(plan: CorePlan, board: Board, *, baud: int = BAUD) -> tuple[MemoryRecord, ...]:
    """Every memory of the board's design, its link's included; nothing is synthesised for it."""
    target = ExportPlatform()
    core = LinkedCore(plan, divisor=divisor_of(board.clock_hz, baud), clock_hz=board.clock_hz)
    Fragment.get(core, target)
    return tuple(target.memories)


def prepare(top: BoardTop, spram_memories: frozenset[str] = frozenset()) -> dict[str, str]:
    """The files of a board's design: `top.il` (RTLIL), and `top.pcf` or `top.lpf` with its pins and clocks."""
    platform = top.board.platform()
    platform.spram_memories = spram_memories
    files = platform.prepare(top, name="top").files
    return {
        name: text if isinstance(text, str) else text.decode()
        for name, text in files.items()
        if name.rpartition(".")[2] in ("il", "pcf", "lpf")
    }


def place_memories(board: Board, memories: tuple[MemoryRecord, ...]) -> tuple[frozenset[str], int, int]:
    """Which memories go to SPRAM, and how many blocks of memory and of SPRAM are taken then.

    The blocks of memory are used first, because the SPRAM is slower; then the largest memories that can move, do.
    """
    moved: list[MemoryRecord] = []
    movable = sorted(
        (m for m in memories if m.exclusive and m.port_type == "1r1w" and not m.contents),
        key=lambda m: (-board.blocks(m), m.name),
    )

    def blocks() -> int:
        return sum(board.blocks(m) for m in memories if m not in moved)

    while board.sprams and blocks() > board.block_rams and movable:
        moved.append(movable.pop(0))
    return frozenset(m.name for m in moved), blocks(), sum(spram_count(m) for m in moved)


def check_memories(board: Board, memories: tuple[MemoryRecord, ...], weights_fixed: bool) -> frozenset[str]:
    """Refuse a board whose memories are too small; otherwise say which memories go to SPRAM.

    Raises
    ------
    InputError
        With the resource and how far it is exceeded.
    """
    moved, blocks, sprams = place_memories(board, memories)
    if blocks <= board.block_rams and sprams <= board.sprams:
        return moved
    kbit = board.block_bits / 1024
    problems = []
    if blocks > board.block_rams:
        problems.append(f"{blocks} blocks of memory of {kbit:g} kbit are needed, {blocks / board.block_rams:.1f} times")
    if sprams > board.sprams:
        problems.append(f"{sprams} SPRAM of 256 kbit are needed, {sprams / board.sprams:.1f} times")
    accepted = f"at most {board.block_rams} blocks ({board.block_rams * kbit:g} kbit)"
    if board.sprams:
        accepted += f" and {board.sprams} SPRAM ({board.sprams * 256} kbit, loaded weights only)"
    taken = {m.name: spram_count(m) if m.name in moved else board.blocks(m) for m in memories}
    most = max(memories, key=lambda m: taken[m.name])
    hints = []
    if most.width > most.depth:
        hints.append("fewer core.lanes make rows narrower and memories deeper")
    elif weights_fixed and _would_fit(board, memories):
        hints.append("with core.weights = 'loaded' the weights fit into the SPRAM")
    raise InputError(
        f"{board.name}: memories of {sum(m.bits for m in memories) / 1024:.0f} kbit are too large: "
        f"{' and '.join(problems)} what is there; accepted is {accepted}; the most, {taken[most.name]}, are taken by "
        f"{most.name} with {most.depth} rows of {most.width} bits{''.join(f'; {hint}' for hint in hints)}"
    )


def _would_fit(board: Board, memories: tuple[MemoryRecord, ...]) -> bool:
    """Whether weights that are loaded, not fixed, would leave enough blocks."""
    loaded = tuple(
        dataclasses.replace(m, port_type="1r1w", contents=(), exclusive=True)
        if m.port_type == "rom" and m.name.endswith(".weights") else m
        for m in memories
    )  # fmt: skip
    _, blocks, sprams = place_memories(board, loaded)
    return blocks <= board.block_rams and sprams <= board.sprams
