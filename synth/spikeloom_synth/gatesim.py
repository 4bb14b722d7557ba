"""A real workload on the mapped netlist: what comes out, in which cycle, and what every net does.

Cells behave as their Liberty functions say. There are no delays, so a net changes at most once a cycle. The clock has
one edge: every flip-flop of the netlist must take its input at the rising edge of the clock port.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from spikeloom.errors import InputError, SpikeloomError
from spikeloom.tools import require_tool

from .errors import FlowError
from .liberty import Cell, Library, evaluate, inputs_of
from .netlist import Instance, Netlist
from .processes import run_logged

__all__ = ["Activity", "Workload", "play", "read_stimulus"]

PATIENCE = 1_000_000
"""A run in which nothing is accepted or sent for so many cycles is stuck."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Items for the input streams, and what is known of them."""

    stimulus: Path
    """Hex words, one a line: the item in the lowest 32 bits (64 where an item of `events_in` is longer), above them its
    stream, 0 `events_in` or 1 `load`.

    An item of `events_in` has its address in the lowest bits, then the tick flag, then the `last` flag.
    """
    name: str
    """For labels: which data these items are."""
    warmup: int = 0
    """So many leading items (such as the loading of the weights) are played but not measured."""
    sops: int | None = None
    """Synaptic operations of the whole workload (spikes delivered to non-zero weights), if known."""
    dense_operations: int | None = None
    """Multiply-adds of networks of the same shape that are not event-driven, of the whole workload, if known."""
    expected: dict[str, Path] = field(default_factory=dict)
    """{output stream: file of the words that it must deliver, in hex, one a line}; others are not checked."""
    answers: dict[str, Path] = field(default_factory=dict)
    """{analog port: file of a replay memory}: the lowest bits of its words are what `spike` of that port is after each
    cycle in which its `run` or `clear` is 1; of engines, what `fired` is after each cycle in which `go` is 1."""


@dataclass(frozen=True, kw_only=True)
class Activity:
    """What one run did. Counted from the first measured item offered to the last output taken, without reset."""

    cycles: int
    inferences: int
    outputs: dict[str, list[tuple[int, int]]]
    """{output stream: [(cycle since reset, payload)]}, every item that it delivered."""
    nets: dict[int, tuple[float, float]]
    """{net: (changes per cycle, share of the cycles in which it was 1)}."""


INPUTS = ("events_in", "load")
"""Input streams, by the number that a stimulus word has above its item."""


def read_stimulus(path: Path, bits: Mapping[str, int]) -> list[tuple[int, int]]:
    """Read a stimulus file: [(number of the input stream, item)].

    Parameters
    ----------
    bits
        {input stream that the design has: bits of its items}.

    Raises
    ------
    InputError
        If it is missing, empty, not hexadecimal, or has items that no stream takes.
    """
    words, shift = [], 32 if max(bits.values()) <= 32 else 64
    for number, text in _hex_lines(path, "stimulus"):
        try:
            word = int(text, 16)
        except ValueError:
            raise InputError(f"{path}: line {number}: {text!r} is not a hexadecimal word") from None
        kind, item = word >> shift, word & ((1 << shift) - 1)
        if kind >= len(INPUTS) or INPUTS[kind] not in bits:
            raise InputError(f"{path}: line {number}: item for stream {kind}; the design has {', '.join(bits)}")
        if item >> bits[INPUTS[kind]]:
            raise InputError(
                f"{path}: line {number}: {text!r} has more than the {bits[INPUTS[kind]]} bits of {INPUTS[kind]}"
            )
        words.append((kind, item))
    if not words:
        raise InputError(f"{path}: the stimulus holds no item")
    return words


def _hex_lines(path: Path, what: str) -> list[tuple[int, str]]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {what} cannot be read: {error.strerror or error}") from error
    stripped = ((number, line.partition("//")[0].strip()) for number, line in enumerate(lines, 1))
    return [(number, text) for number, text in stripped if text]


def play(
    netlist: Netlist,
    libraries: Sequence[Library],
    workload: Workload,
    folder: Path,
    *,
    images: Path,
    clock: str = "clk",
    reset: str = "rst",
    patience: int = PATIENCE,
) -> Activity:
    """Play a workload into the input streams, item after item, every output ready; other inputs are 0.

    `images` is the folder in which the memory images are, as named in the netlist; memories without one start at 0.

    Raises
    ------
    ToolMissing
        If there is no C++ compiler.
    InputError
        If the stimulus cannot be used, or the design has no `events_in`, or no output that tells the end of an input.
    SpikeloomError
        If the netlist has a loop of gates or cells that cannot be simulated, if it stops answering, or if an output
        differs from what the workload expects.
    """
    compiler = require_tool("g++").path
    if "events_in__payload" not in netlist.ports:
        raise InputError(
            f"{netlist.top}: has no stream events_in, so no workload can be played; its ports: "
            + ", ".join(netlist.ports)
        )
    bits = {name: len(netlist.ports[f"{name}__payload"][1]) for name in INPUTS if f"{name}__payload" in netlist.ports}
    items = read_stimulus(workload.stimulus, bits)
    last = bits["events_in"] - 1
    inferences = sum(item >> last for kind, item in items if kind == 0)
    if not inferences:
        raise InputError(f"{workload.stimulus}: no item has the `last` flag (bit {last}), so no input ends")
    table = _Table(netlist, libraries, images, clock, reset)
    for port, path in workload.answers.items():
        table.answer(port, [text for _, text in _hex_lines(path, "recording")])
    source, program, result = folder / "gatesim.cpp", folder / "gatesim", folder / "gatesim.txt"
    gates, played = folder / "gatesim.gates", folder / "gatesim.items"
    gates.write_text(table.text())
    played.write_text("".join(f"{kind} {item:x}\n" for kind, item in items))
    source.write_text((resources.files("spikeloom_synth") / "gatesim.cpp").read_text())
    _run([str(compiler), "-O2", "-std=c++17", "-o", str(program.absolute()), source.name], folder, "compiler")
    _run(
        [
            str(program.absolute()),
            gates.name,
            played.name,
            result.name,
            *(str(number) for number in (workload.warmup, inferences, patience)),
        ],
        folder,
        f"simulation of {workload.name} on the netlist of {netlist.top}",
        stuck=result,
    )
    activity = _parse(result, inferences, table)
    for stream, path in workload.expected.items():
        _compare(activity, stream, path, netlist.top)
    for path in (source, program, result, gates, played):
        path.unlink()
    return activity


def _compare(activity: Activity, stream: str, path: Path, top: str) -> None:
    """Check the words of one output stream against a file of the reference."""
    expected = [int(text, 16) for _, text in _hex_lines(path, "expected output")]
    given = [word for _, word in activity.outputs.get(stream, [])]
    if given == expected:
        return
    place = next((n for n, pair in enumerate(zip(given, expected, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        what = f"delivered {len(given)} words, expected {len(expected)}"
    else:
        what = f"word {place} is {given[place]:x}, expected {expected[place]:x}"
    raise SpikeloomError(f"netlist of {top}: {stream} differs from {path}: {what}")


class _Table:
    """The netlist as the simulator reads it. Nets 0 and 1 are constants, then those of the netlist, then inner ones."""

    def __init__(self, netlist: Netlist, libraries: Sequence[Library], images: Path, clock: str, reset: str):
        self.netlist = netlist
        self.cells = {name: cell for library in libraries for name, cell in library.cells.items()}
        nets = {net for instance in netlist.instances.values() for bits in instance.pins.values() for net in bits}
        nets |= {net for _, bits in netlist.ports.values() for net in bits}
        self.order = sorted(net for net in nets if isinstance(net, int))
        self.number: dict[int | str, int] = {net: index for index, net in enumerate(self.order, 2)}
        self.number |= {"0": 0, "1": 1, "x": 0, "z": 0}
        self.size = len(self.order) + 2
        self.answers: list[str] = []
        self.tables: dict[str, int] = {}
        self.gates: list[tuple[int, int, list[int]]] = []
        self.flops: list[tuple[int, int, int, int]] = []
        self.memories: list[str] = []
        self.images = images
        self.clock = netlist.ports[clock][1][0]
        self.reset = netlist.ports[reset][1][0] if reset in netlist.ports else "0"
        for instance in netlist.instances.values():
            if instance.name in netlist.memories:
                self._memory(instance)
            else:
                self._cell(instance, self.cells[instance.type])
        self._sort()
        self._ports(clock, reset)

    def _new(self) -> int:
        self.size += 1
        return self.size - 1

    def _gate(self, function: str, values: Mapping[str, int], output: int | None = None) -> int:
        """Add a gate for a Liberty function of named nets; returns its output net."""
        names = inputs_of(function)
        bits = "".join(
            str(evaluate(function, {name: pattern >> bit & 1 for bit, name in enumerate(names)}))
            for pattern in range(1 << len(names))
        )
        output = self._new() if output is None else output
        self.gates.append((self.tables.setdefault(bits, len(self.tables)), output, [values[name] for name in names]))
        return output

    def _cell(self, instance: Instance, cell: Cell) -> None:
        pins = {pin: self.number[bits[0]] for pin, bits in instance.pins.items() if bits}
        values = {pin.name: pins.get(pin.name, 0) for pin in cell.inputs}
        if cell.state is not None:
            state = cell.state
            if (
                inputs_of(state.clocked_on) == []
                or evaluate(state.clocked_on, dict.fromkeys(inputs_of(state.clocked_on), 1)) != 1
                or any(instance.pins.get(pin, ("",))[0] != self.clock for pin in inputs_of(state.clocked_on))
            ):
                raise SpikeloomError(
                    f"{instance.name} ({cell.name}) is not clocked by the rising edge of the clock port: "
                    "the gate-level simulation has one clock edge only"
                )
            held = self._new()
            values[state.variable] = held
            values[state.inverse] = self._gate("!q", {"q": held})
            self.flops.append(
                (
                    held,
                    self._gate(state.next_state, values),
                    self._gate(state.clear, values) if state.clear else -1,
                    self._gate(state.preset, values) if state.preset else -1,
                )
            )
        elif not cell.is_combinational:
            raise SpikeloomError(
                f"{instance.name}: cell {cell.name} cannot be simulated: it is no gate and no flip-flop"
            )
        for pin in cell.outputs:
            if pin.name in pins and pin.function:
                self._gate(pin.function, values, pins[pin.name])

    def _memory(self, instance: Instance) -> None:
        memory = self.netlist.memories[instance.name]

        def nets(pin: str, bits: int) -> list[int]:
            given = [self.number[net] for net in instance.pins.get(pin, ())]
            return (given + [0] * bits)[:bits]

        def listed(values: Sequence[int]) -> str:
            return " ".join(map(str, (len(values), *values)))

        writes = "w_en" in instance.pins
        write_enable = nets("w_en", 1)[0] if writes else -1
        rows = _image(self.images / memory.image, memory.width, memory.depth) if memory.image else {}
        # Each read port is a memory of its own that sees the same writes.
        for read in ("r", "r2") if "r2_en" in instance.pins else ("r",):
            self.memories.append(
                "\n".join(
                    [
                        f"{memory.width} {memory.depth} {nets(f'{read}_en', 1)[0]} {write_enable}",
                        listed(nets(f"{read}_addr", memory.address)),
                        # A read bit that nobody uses has no net: 0 is never written.
                        listed(nets(f"{read}_data", memory.width)),
                        listed(nets("w_addr", memory.address) if writes else []),
                        listed(nets("w_data", memory.width) if writes else []),
                        listed(nets("w_mask", memory.width) if "w_mask" in instance.pins else []),
                        str(len(rows)),
                        *(f"{row} {value:x}" for row, value in rows.items()),
                    ]
                )
            )

    def _sort(self) -> None:
        """Put the gates in evaluation order."""
        driver = {output: index for index, (_, output, _) in enumerate(self.gates)}
        waiting = [0] * len(self.gates)
        users: dict[int, list[int]] = {}
        for index, (_, _, inputs) in enumerate(self.gates):
            for net in inputs:
                if net in driver:
                    waiting[index] += 1
                    users.setdefault(driver[net], []).append(index)
        ready = [index for index, count in enumerate(waiting) if not count]
        for index in ready:  # grows while it is read
            for user in users.get(index, ()):
                waiting[user] -= 1
                if not waiting[user]:
                    ready.append(user)
        if len(ready) != len(self.gates):
            raise SpikeloomError(f"{self.netlist.top}: the netlist has a loop of gates without a flip-flop")
        self.gates = [self.gates[index] for index in ready]

    def _ports(self, clock: str, reset: str) -> None:
        ports = self.netlist.ports

        def nets(name: str) -> list[int]:
            return [self.number[net] for net in ports[name][1]]

        self.streams = sorted(
            name.removesuffix("__payload")
            for name, (way, _) in ports.items()
            if way == "output" and name.endswith("__payload") and f"{name.removesuffix('__payload')}__valid" in ports
        )
        # An input has ended when each of these streams has said so: by a decision, else by an item with `last`.
        ends = [
            nets(f"{name}__valid") + ([] if name == "decision" else nets(f"{name}__payload")[-1:])
            for name in ("events_out", "decision", "readout")
            if name in self.streams
        ]
        if not ends:
            raise InputError(
                f"{self.netlist.top}: no output stream events_out, decision or readout tells when an input has ended"
            )
        inputs = [name for name in INPUTS if f"{name}__payload" in ports]
        high = [
            net for name, (way, _) in ports.items() if way == "input" and name.endswith("__ready") for net in nets(name)
        ]

        def listed(values: Sequence[int]) -> str:
            return " ".join(map(str, (len(values), *values)))

        self.harness = [
            str(self.number[self.reset]),
            listed(high),
            str(len(inputs)),
            *(
                f"{nets(f'{name}__valid')[0]} {nets(f'{name}__ready')[0]} {listed(nets(f'{name}__payload'))}"
                for name in inputs
            ),
            str(len(ends)),
            *(listed(end) for end in ends),
            listed([net for name in self.streams for net in nets(f"{name}__valid")]),
            listed([net for name in self.streams for net in (*nets(f"{name}__payload"), *nets(f"{name}__valid"))]),
        ]

    def answer(self, port: str, words: Sequence[str]) -> None:
        """Let the analog `port` be answered by `words`."""

        def nets(member: str) -> list[int]:
            return [self.number[net] for net in self.netlist.ports[f"{port}__{member}"][1]]

        if f"{port}__go" in self.netlist.ports:
            when, pins = nets("go"), nets("fired")
        else:
            when, pins = nets("run") + nets("clear"), nets("spike")
        heads = " ".join(map(str, (len(when), *when, len(pins), *pins, len(words))))
        self.answers.append("\n".join([heads, *words]))

    def text(self) -> str:
        """The file that the simulator reads."""
        tables = sorted(self.tables, key=self.tables.__getitem__)
        lines = [f"{self.size} {len(self.order) + 2}", str(len(tables)), *tables, str(len(self.gates))]
        lines += [
            f"{table} {output} {len(inputs)} {' '.join(map(str, inputs))}" for table, output, inputs in self.gates
        ]
        lines += [str(len(self.flops)), *(" ".join(map(str, flop)) for flop in self.flops)]
        lines += [str(len(self.memories)), *self.memories, *self.harness]
        lines += [str(len(self.answers)), *self.answers]
        return "\n".join(lines) + "\n"

    def items(self, cycle: int, bits: str, outputs: dict[str, list[tuple[int, int]]]) -> None:
        """Split what one cycle delivered into its streams."""
        position = len(bits)
        for name in self.streams:
            width = len(self.netlist.ports[f"{name}__payload"][1])
            valid = bits[position - width - 1]
            if valid == "1":
                outputs[name].append((cycle, int(bits[position - width : position], 2)))
            position -= width + 1


def _image(path: Path, width: int, depth: int) -> dict[int, int]:
    """Rows of a $readmemh file."""
    rows, row = {}, 0
    for number, text in _hex_lines(path, "memory image"):
        for token in text.split():
            try:
                if token.startswith("@"):
                    row = int(token[1:], 16)
                    continue
                value = int(token.replace("_", ""), 16)
            except ValueError:
                raise InputError(f"{path}: line {number}: {token!r} is not a hexadecimal word") from None
            if value >> width or row >= depth:
                raise InputError(f"{path}: line {number}: does not fit a memory of {depth} rows of {width} bits")
            rows[row] = value
            row += 1
    return rows


def _run(command: list[str], folder: Path, what: str, *, stuck: Path | None = None) -> None:
    log = folder / f"{re.sub(r'[^a-z]', '', what.split()[0].lower())}.log"
    code = run_logged(command, log=log, cwd=folder)
    if code:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if stuck and stuck.is_file():
            lines += [line for line in stuck.read_text().splitlines()[-1:] if line.startswith("stuck")]
        reason = "\n".join(lines[-3:]) or f"ended with code {code}"
        raise FlowError(f"{what} failed: {reason}", log)
    log.unlink()


def _parse(path: Path, inferences: int, table: _Table) -> Activity:
    outputs: dict[str, list[tuple[int, int]]] = {name: [] for name in table.streams}
    counts: list[tuple[int, int]] = []
    cycles = None
    with path.open() as lines:
        for line in lines:
            kind, *fields = line.split()
            if kind == "out":
                table.items(int(fields[0]), fields[1], outputs)
            elif kind == "net":
                counts.append((int(fields[0]), int(fields[1])))
            elif kind == "end":
                cycles = int(fields[0])
    if cycles is None:
        raise SpikeloomError(f"{path}: the simulation ended too early")
    return Activity(
        cycles=cycles,
        inferences=inferences,
        outputs=outputs,
        nets={net: (toggles / cycles, ones / cycles) for net, (toggles, ones) in zip(table.order, counts, strict=True)},
    )
