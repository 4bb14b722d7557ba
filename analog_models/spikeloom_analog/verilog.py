"""What can stand behind an analog port in Verilog: a model that computes, a recording that answers, a black box.

All three are a module NAME_LAYER_array with the same ports; a folder holds one of them and its tables.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np

from spikeloom.items import address_bits
from spikeloom.mapping.crossbar import CrossbarPlan

from .cells import CellTables
from .port import ArrayPort
from .programmed import ProgrammedArray, noise_samples
from .streams import Purpose, normals

__all__ = [
    "Recording",
    "black_box",
    "fnv",
    "hex_words",
    "model_files",
    "noise_files",
    "quoted",
    "record_windows",
    "replay_files",
    "template",
]

FNV_START, FNV_PRIME, WORD = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1
CODE_BITS, AMOUNT_BITS = 12, 5


@dataclass(frozen=True, kw_only=True)
class _Ports:
    """Widths of the port of a layer."""

    rows: int
    columns: int
    cycle: int
    row: int
    column: int
    cell: int

    @staticmethod
    def of(plan: CrossbarPlan) -> "_Ports":
        return _Ports(
            rows=plan.rows, columns=plan.columns, cycle=max(1, (plan.cycles - 1).bit_length()),
            row=address_bits(plan.rows), column=address_bits(plan.columns), cell=address_bits(plan.cells),
        )  # fmt: skip

    @property
    def access(self) -> int:
        return 2 + self.row + self.column + self.cell + AMOUNT_BITS

    def access_word(self, kind: int, row: int, column: int, cell: int, amount: int) -> int:
        """An access as the bits of its payload."""
        word, position = 0, 0
        fields = ((kind, 2), (row, self.row), (column, self.column), (cell, self.cell), (amount, AMOUNT_BITS))
        for value, bits in fields:
            word |= value << position
            position += bits
        return word

    def header(self, name: str, layer: str) -> list[str]:
        def bits(width: int) -> str:
            return f"[{width - 1}:0] " if width > 1 else ""

        ports = [
            "input wire clk", "input wire run", f"input wire {bits(self.cycle)}cycle", "input wire [31:0] window",
            "input wire clear", f"input wire {bits(self.rows)}gate", f"output wire {bits(self.columns)}spike",
            "input wire access__valid", "output wire access__ready", f"input wire {bits(self.access)}access__payload",
            "output wire answer__valid", "input wire answer__ready", "output wire [11:0] answer__payload",
        ]  # fmt: skip
        return [f"module {name}_{layer}_array (", "  " + ",\n  ".join(ports), ");"]


CONNECTED = """    .clk(clk), .run(run), .cycle(cycle), .window(window), .clear(clear), .gate(gate), .spike(spike),
    .access_valid(access__valid), .access_ready(access__ready), .access_payload(access__payload),
    .answer_valid(answer__valid), .answer_ready(answer__ready), .answer_payload(answer__payload)"""


def _instance(body: str, parameters: dict) -> list[str]:
    text = ",\n".join(f"    .{key}({value})" for key, value in parameters.items())
    return [f"  {body} #(", text, "  ) array (", CONNECTED, "  );", "endmodule", ""]


def template(name: str) -> str:
    """Text of a Verilog module that comes with the models; a line `// ROOT` stands for the function of that name."""
    folder = files("spikeloom_analog").joinpath("templates")
    text = folder.joinpath(f"{name}.v").read_text()
    return text.replace("  // ROOT\n", folder.joinpath("root.v").read_text())


def hex_words(values: Iterable[int], bits: int) -> str:
    """Words for $readmemh."""
    digits, mask = -(-bits // 4), (1 << bits) - 1
    return "".join(f"{int(value) & mask:0{digits}x}\n" for value in values)


def quoted(text: str) -> str:
    """A Verilog string."""
    return f'"{text}"'


def model_files(
    name: str, plan: CrossbarPlan, array: ProgrammedArray, cells: CellTables, *, windows: int, accesses: int
) -> dict[str, str]:
    """The computing model of one layer on one chip; file name -> text.

    `windows` and `accesses` (of each kind to each cell) are how many there are noise samples for: beyond them, the
    simulation ends with a message.
    """
    ports, layer, timing = _Ports.of(plan), plan.name, array.timing
    one = array.chip(0)
    total = int(np.prod(cells.shape))
    drawn = [
        normals([cells.seed], (total,), core=cells.core, purpose=purpose, index=count)[0]
        for purpose in (Purpose.WRITE, Purpose.CONVERSION)
        for count in range(accesses)
    ]
    samples = np.clip(np.rint(np.concatenate(drawn) * 4096), -32767, 32767).astype(np.int64)
    tables = {
        "charge": (one.charge.ravel(), 64),
        "variance": (one.variance.ravel(), 64),
        "neurons": (np.stack([one.threshold[0], one.leak[0]], axis=1).ravel(), 64),
        "cells": (np.stack([cells.state, cells.strength, cells.stuck], axis=-1).ravel(), 64),
        "reads": (
            np.stack(
                [cells.code16, cells.variance, cells.charge, cells.charge_variance, cells.rise, cells.fall], axis=1
            ).ravel(),
            64,
        ),
        "columns": (np.stack([cells.offset, cells.gain, cells.drive], axis=1).ravel(), 64),
        "moves": (cells.step, 64),
        "samples": (samples, 16),
    }

    def file(table: str) -> str:
        return f"{name}_{layer}_{table}.mem"

    parameters = {
        "ROWS": ports.rows, "COLUMNS": ports.columns, "CELLS": plan.cells,
        "ROW_BITS": ports.row, "COLUMN_BITS": ports.column, "CELL_BITS": ports.cell, "CYCLE_BITS": ports.cycle,
        "STEP": timing.step, "RESET": timing.reset, "DEAD": timing.dead, "REFRESH": timing.refresh,
        "SLOTS": timing.slots, "STEPS": plan.steps, "WINDOWS": windows if one.noisy else 1, "NOISY": int(one.noisy),
        "STATES": len(cells.code16), "ACCESSES": accesses, "WRITE_NOISE": cells.write_noise,
        "REFERENCE": cells.reference,
        "CHARGE_FILE": quoted(file("charge")), "VARIANCE_FILE": quoted(file("variance")),
        "NEURON_FILE": quoted(file("neurons")), "NOISE_FILE": quoted(file("noise")),
        "STATE_FILE": quoted(file("cells")), "READ_FILE": quoted(file("reads")),
        "COLUMN_FILE": quoted(file("columns")), "STEP_FILE": quoted(file("moves")),
        "SAMPLE_FILE": quoted(file("samples")),
    }  # fmt: skip
    text = "\n".join([*ports.header(name, layer), *_instance("spikeloom_array_model", parameters)])
    return {
        "spikeloom_array_model.v": template("spikeloom_array_model"),
        f"{name}_{layer}_array.v": text,
        **noise_files(name, plan, one, range(windows)),
    } | {file(table): hex_words(values.tolist(), bits) for table, (values, bits) in tables.items()}


def noise_files(name: str, plan: CrossbarPlan, array: ProgrammedArray, windows: Iterable[int]) -> dict[str, str]:
    """The file of noise samples of the computing model; file name -> text, none for an array without noise.

    Its window number k has the samples of windows[k].
    """
    one = array.chip(0)
    if not one.noisy:
        return {}
    samples = [noise_samples(one, 0, window, plan.steps).ravel() for window in windows]
    digits = np.concatenate(samples).astype(">i2").tobytes().hex("\n", 2)  # as hex_words of 16 bits, but fast
    return {f"{name}_{plan.name}_noise.mem": f"{digits}\n"}


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a layer was asked and answered, in order.

    Members: `clocks`, (window, cycle, clear, gate, spike) of each cycle of analog time or of `clear`; `accesses`,
    (kind, row, column, cell, amount, code).
    """

    clocks: list[tuple[int, int, int, int, int]] = field(default_factory=list)
    accesses: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)


def record_windows(port: ArrayPort, spikes: np.ndarray, *, clears: bool = True) -> Recording:
    """What `port` answers to windows of `spikes` [B, T, rows], asked as the gateware asks."""
    recording, timing = Recording(), port.array.timing
    for window, steps in enumerate(np.asarray(spikes)):
        for _ in range(timing.reset if clears or window == 0 else 0):
            spike = port.clock(run=0, clear=1, gate=0, cycle=0, window=window)
            recording.clocks.append((window, 0, 1, 0, spike))
        for t, row in enumerate(steps):
            word = sum(1 << int(n) for n in np.flatnonzero(row))
            for c in range(timing.step):
                gate = word if c < timing.pulse else 0
                cycle = t * timing.step + c
                spike = port.clock(run=1, clear=0, gate=gate, cycle=cycle, window=window)
                recording.clocks.append((window, cycle, 0, gate, spike))
    return recording


def fnv(words: Iterable[int], chunks: int = 1, start: int = FNV_START) -> int:
    """FNV-1a over words of `chunks` times 64 bits, lowest chunk first; `start` is the hash of what came before."""
    value = start
    for word in words:
        for n in range(chunks):
            value = ((value ^ (word >> 64 * n & WORD)) * FNV_PRIME) & WORD
    return value


def replay_files(name: str, plan: CrossbarPlan, recording: Recording) -> dict[str, str]:
    """The recording of one layer as a module; file name -> text."""
    ports, layer = _Ports.of(plan), plan.name
    clocks = []
    for window, cycle, clear, gate, spike in recording.clocks or [(0, 0, 0, 0, 0)]:
        request = ((window << ports.cycle | cycle) << 1 | clear) << ports.rows | gate
        clocks.append(request << ports.columns | spike)
    accesses = [ports.access_word(*request) << CODE_BITS | code for *request, code in recording.accesses]
    accesses.append(0)  # a mark behind the last one: a memory of no words cannot be read
    width = 32 + ports.cycle + 1 + ports.rows + ports.columns
    value = fnv(accesses, 1, fnv(clocks, -(-width // 64)))
    parameters = {
        "ROWS": ports.rows, "COLUMNS": ports.columns, "ACCESS_BITS": ports.access, "CYCLE_BITS": ports.cycle,
        "CLOCKS": len(clocks), "ACCESSES": len(accesses), "HASH": f"64'h{value:016x}",
        "CLOCK_FILE": quoted(f"{name}_{layer}_clocks.mem"), "ACCESS_FILE": quoted(f"{name}_{layer}_accesses.mem"),
    }  # fmt: skip
    return {
        "spikeloom_array_replay.v": template("spikeloom_array_replay"),
        f"{name}_{layer}_array.v": "\n".join(
            [*ports.header(name, layer), *_instance("spikeloom_array_replay", parameters)]
        ),
        f"{name}_{layer}_clocks.mem": hex_words(clocks, width),
        f"{name}_{layer}_accesses.mem": hex_words(accesses, ports.access + CODE_BITS),
    }


def black_box(name: str, plan: CrossbarPlan) -> dict[str, str]:
    """An empty module of the ports of one layer's array, to be replaced by the macro."""
    lines = ["(* blackbox *)", *_Ports.of(plan).header(name, plan.name), "endmodule", ""]
    return {f"{name}_{plan.name}_array.v": "\n".join(lines)}
