"""What the flow needs to know of a Liberty file: cells, areas, functions, units, operating point.

The reader understands the grammar of Liberty (groups, simple and complex attributes) and skips the groups that hold
tables, so that a library of ten megabytes takes about a second. Delay and power tables are left to OpenSTA and Yosys.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from spikeloom.errors import InputError

from .packed import read_packed
from .pdks import Pdk, pdk_of_library

__all__ = ["Cell", "Library", "Pin", "State", "evaluate", "inputs_of", "load_libraries", "read_liberty"]

_SKIPPED = frozenset(
    "timing internal_power lu_table_template power_lut_template wire_load wire_load_selection leakage_power "
    "lut_function output_current_template ccsn_first_stage ccsn_last_stage receiver_capacitance wire_load_table "
    "normalized_driver_waveform input_voltage output_voltage test_cell min_pulse_width pg_pin electromigration "
    "dynamic_current em_lut_template mode_definition base_curves compact_lut_template sensitization "
    "statetable intrinsic_parasitic max_trans max_cap scaling_factors power_supply "
    "hyperbolic_noise_low hyperbolic_noise_high receiver_capacitance1_rise".split()
)
ACCEPTED = "the path of a .lib or .lib.gz file, or a kit by its name: `spikeloom pdk list`"
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_WORD = r'(?:"(?:[^"\\]|\\.)*"|[^\s"(){}:;,\\]+)'
_STATEMENT = re.compile(
    r"[\s;\\]*(?:(?P<close>\})"
    rf"|(?P<name>{_WORD})\s*(?:"
    r":\s*(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"[ \t]*;?|(?P<value>[^;{}\n\"]*)(?:;|\n|(?=\})))"
    r"|\((?P<args>(?:\"(?:[^\"\\]|\\.)*\"|[^()\"]|\([^()]*\))*)\)[\s\\]*(?P<open>\{)?))",
    re.DOTALL,
)
_BRACE = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]', re.DOTALL)
_UNIT = re.compile(r"\s*([\d.]*(?:e[+-]?\d+)?)\s*([a-z]*)", re.IGNORECASE)
_PREFIX = {"": 1.0, "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3}


@dataclass
class _Group:
    """One `kind (args) { ... }` of the file."""

    kind: str
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    groups: list["_Group"] = field(default_factory=list)

    def of(self, *kinds: str) -> Iterator["_Group"]:
        """The direct sub-groups of these kinds, in order."""
        return (group for group in self.groups if group.kind in kinds)


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One pin (or bus) of a cell; `capacitance` in farad."""

    name: str
    direction: str
    capacitance: float = 0.0
    function: str | None = None
    clock: bool = False
    three_state: bool = False
    bits: int | None = None
    """Of a bus; None for a single pin."""


@dataclass(frozen=True, kw_only=True)
class State:
    """What a flip-flop holds and when: Liberty functions of its pins and of its own state."""

    variable: str
    inverse: str
    next_state: str
    clocked_on: str
    clear: str | None = None
    preset: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One library cell; `area` in the library's area unit (um2 by custom), `leakage` in watt or None if not stated."""

    name: str
    area: float
    leakage: float | None
    pins: dict[str, Pin]
    state: State | None = None
    """Of a flip-flop of one bit; None for everything else."""
    is_flip_flop: bool = False
    is_latch: bool = False
    is_macro: bool = False
    dont_use: bool = False

    @property
    def outputs(self) -> list[Pin]:
        """The output pins in the order of the file."""
        return [pin for pin in self.pins.values() if pin.direction == "output"]

    @property
    def inputs(self) -> list[Pin]:
        """The input pins in the order of the file."""
        return [pin for pin in self.pins.values() if pin.direction == "input"]

    @property
    def is_combinational(self) -> bool:
        """Whether every output is a stated function of the inputs."""
        return (
            not (self.is_flip_flop or self.is_latch or self.is_macro)
            and bool(self.outputs)
            and all(pin.function is not None and not pin.three_state for pin in self.outputs)
        )

    def truth_table(self, output: str) -> tuple[int, ...]:
        """Values of `output` for every input pattern; the first input pin is the least significant bit."""
        names = [pin.name for pin in self.inputs]
        function = self.pins[output].function
        if function is None:
            raise ValueError(f"{self.name}.{output} has no function")
        return tuple(
            evaluate(function, {name: pattern >> bit & 1 for bit, name in enumerate(names)})
            for pattern in range(1 << len(names))
        )


@dataclass(frozen=True, kw_only=True)
class Library:
    """One Liberty file, reduced to what synthesis, timing and power need; SI units but for areas."""

    name: str
    path: Path
    cells: dict[str, Cell]
    time_unit: float
    capacitance_unit: float
    leakage_unit: float
    voltage: float | None
    temperature: float | None
    process: float | None
    corner: str | None
    default_wire_load: str | None = None
    pdk: Pdk | None = None
    """The kit that it belongs to, where that is known: cells that this one avoids are marked `dont_use`."""

    @property
    def flip_flops(self) -> list[Cell]:
        """Usable edge-triggered cells."""
        return [cell for cell in self.cells.values() if cell.is_flip_flop and not cell.dont_use]

    def buffer(self) -> Cell | None:
        """The smallest non-inverting buffer, used as the driving cell of inputs; None when the library has none."""
        found = [
            cell
            for cell in self.cells.values()
            if cell.is_combinational
            and not cell.dont_use
            and len(cell.inputs) == len(cell.outputs) == 1
            and cell.truth_table(cell.outputs[0].name) == (0, 1)
        ]
        return min(found, key=lambda cell: (cell.area, cell.name), default=None)

    def tie(self, value: int) -> tuple[str, str] | None:
        """(cell, pin) that drives the constant `value`; None when the library has no tie cell."""
        for cell in sorted(self.cells.values(), key=lambda cell: (cell.area, cell.name)):
            if cell.is_combinational and not cell.inputs:
                for pin in cell.outputs:
                    if cell.truth_table(pin.name) == (value,):
                        return cell.name, pin.name
        return None

    def full_adder(self) -> tuple[str, tuple[str, str, str], str, str] | None:
        """(cell, the three input pins, sum pin, carry pin) of the smallest full adder; None when there is none."""
        found = []
        for cell in self.cells.values():
            if not cell.is_combinational or cell.dont_use or len(cell.inputs) != 3 or len(cell.outputs) != 2:
                continue
            tables = {cell.truth_table(pin.name): pin.name for pin in cell.outputs}
            total = tables.get((0, 1, 1, 0, 1, 0, 0, 1))
            carry = tables.get((0, 0, 0, 1, 0, 1, 1, 1))
            if total and carry:
                # The pin with the least load takes the carry, which is the critical one of a ripple.
                first, second, last = sorted(cell.inputs, key=lambda pin: (-pin.capacitance, pin.name))
                found.append((cell.area, cell.name, (first.name, second.name, last.name), total, carry))
        if not found:
            return None
        _, name, inputs, total, carry = min(found)
        return name, inputs, total, carry

    def label(self) -> dict[str, object]:
        """What every figure made with this library must say about it."""
        kit: dict[str, object] = {"pdk": self.pdk.name} if self.pdk else {}
        return kit | {
            "library": self.name,
            "file": self.path.name,
            "corner": self.corner,
            "voltage_v": self.voltage,
            "temperature_c": self.temperature,
        }


# ---------------------------------------------------------------------------------------------------------------------
# Boolean functions


def _tokens(function: str) -> list[str]:
    tokens = re.findall(r"[A-Za-z_][\w.\[\]]*|[01]|[!'^*&+|()]", function)
    if "".join(tokens) != re.sub(r"[\s\"]", "", function):
        raise InputError(f"Liberty function {function!r} is not understood")
    return tokens


def inputs_of(function: str) -> list[str]:
    """Names of the pins that a Liberty function reads, in order of appearance."""
    return list(dict.fromkeys(token for token in _tokens(function) if re.match(r"[A-Za-z_]", token)))


@functools.lru_cache(maxsize=4096)
def _compiled(function: str) -> tuple:
    """`function` as a tree of ("or" | "and" | "xor" | "not", ...) | ("pin", name) | ("const", value)."""
    tokens = _tokens(function)
    position = 0

    def peek() -> str:
        return tokens[position] if position < len(tokens) else ""

    def take() -> str:
        nonlocal position
        position += 1
        return tokens[position - 1]

    # Liberty: ' and ! bind tightest, then ^, then AND (also by juxtaposition), then OR.
    def disjunction() -> tuple:
        node = conjunction()
        while peek() and peek() in "+|":
            take()
            node = ("or", node, conjunction())
        return node

    def conjunction() -> tuple:
        node = exclusive()
        while peek() and (peek() in "*&!(" or re.match(r"[\w]", peek())):
            if peek() in "*&":
                take()
            node = ("and", node, exclusive())
        return node

    def exclusive() -> tuple:
        node = unary()
        while peek() == "^":
            take()
            node = ("xor", node, unary())
        return node

    def unary() -> tuple:
        if position >= len(tokens):
            raise InputError(f"Liberty function {function!r} ends too early")
        token = take()
        if token == "!":
            node: tuple = ("not", unary())
        elif token == "(":
            node = disjunction()
            if position >= len(tokens) or take() != ")":
                raise InputError(f"Liberty function {function!r} lacks a closing parenthesis")
        elif token in "01":
            node = ("const", int(token))
        elif re.match(r"[A-Za-z_]", token):
            node = ("pin", token)
        else:
            raise InputError(f"Liberty function {function!r} is not understood at {token!r}")
        while peek() == "'":
            take()
            node = ("not", node)
        return node

    tree = disjunction()
    if position != len(tokens):
        raise InputError(f"Liberty function {function!r} is not understood at {peek()!r}")
    return tree


def evaluate(function: str, values: dict[str, int]) -> int:
    """Value (0 or 1) of a Liberty function for given pin values."""

    def walk(node: tuple) -> int:
        match node[0]:
            case "const":
                return node[1]
            case "pin":
                return values[node[1]]
            case "not":
                return 1 - walk(node[1])
            case "and":
                return walk(node[1]) & walk(node[2])
            case "or":
                return walk(node[1]) | walk(node[2])
            case _:
                return walk(node[1]) ^ walk(node[2])

    return walk(_compiled(function))


# ---------------------------------------------------------------------------------------------------------------------
# The file


def _parse(text: str, path: Path) -> _Group:
    # Comments keep their line breaks, so that messages name the right line.
    text = _COMMENT.sub(lambda comment: "\n" * comment.group().count("\n"), text)

    def fail(position: int, why: str) -> InputError:
        line = text.count("\n", 0, position) + 1
        return InputError(f"{path}: line {line}: {why}; a Liberty file (`library (name) {{ ... }}`) is needed")

    root = _Group("", "")
    stack = [root]
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _STATEMENT.match(text, position)
        if match is None:
            if not text[position:].strip(" \t\r\n;\\"):
                break
            if len(stack) > 1 and "}" not in text[position:]:
                break  # cut in the middle of a statement: said below
            raise fail(position, f"not Liberty: {text[position : position + 40].strip()!r}")
        position = match.end()
        if match["close"]:
            if len(stack) == 1:
                raise fail(position, "a closing brace without its group")
            stack.pop()
        elif match["open"]:
            if len(stack) > 1 and match["name"] in _SKIPPED:
                depth = 1
                while depth:
                    brace = _BRACE.search(text, position)
                    if brace is None:
                        raise fail(position, f"group `{match['name']}` is not closed")
                    depth += {"{": 1, "}": -1}.get(brace.group(), 0)
                    position = brace.end()
            else:
                group = _Group(match["name"], match["args"].strip().strip('"'))
                stack[-1].groups.append(group)
                stack.append(group)
        elif len(stack) == 1:
            raise fail(match.start(), "something outside the library group")
        elif match["args"] is not None:
            stack[-1].attributes.setdefault(match["name"], match["args"])
        else:
            value = match["value"] if match["quoted"] is None else match["quoted"]
            stack[-1].attributes[match["name"]] = value.strip()
    if len(stack) > 1:
        raise fail(end, f"the file ends inside group `{stack[-1].kind} ({stack[-1].name})`")
    libraries = list(root.of("library"))
    if len(libraries) != 1:
        raise fail(0, f"{len(libraries)} library groups")
    return libraries[0]


def _unit(text: str | None, default: str) -> float:
    match = _UNIT.match((text or default).replace('"', "").replace(",", " "))
    number, unit = match.groups() if match else ("1", "")
    return float(number or 1) * _PREFIX.get(unit[:-1].lower(), 1.0)


def _width(attributes: dict[str, str]) -> int | None:
    """Bits of a bus type."""
    bits = _number(attributes.get("bit_width"))
    if bits is not None:
        return int(bits)
    first, last = _number(attributes.get("bit_from")), _number(attributes.get("bit_to"))
    return None if first is None or last is None else int(abs(first - last)) + 1


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _cell(
    group: _Group, capacitance_unit: float, leakage_unit: float, path: Path, widths: dict[str, int | None]
) -> Cell:
    area = _number(group.attributes.get("area", "0"))
    if area is None or not area >= 0:
        raise InputError(f"{path}: cell {group.name}: area {group.attributes['area']!r} is not a number >= 0")
    pins = {}
    pin_groups = list(group.of("pin", "bus", "bundle"))
    for outer in group.of("bus", "bundle"):
        if "direction" not in outer.attributes:  # given by its members
            for inner in outer.of("pin"):
                outer.attributes.setdefault("direction", inner.attributes.get("direction", ""))
    for pin in pin_groups:
        for name in re.split(r"[\s,]+", pin.name):  # pin (A, B) { ... } declares both
            name = name.strip('"')
            pins[name] = Pin(
                name=name,
                direction=pin.attributes.get("direction", ""),
                capacitance=(_number(pin.attributes.get("capacitance")) or 0.0) * capacitance_unit,
                function=pin.attributes.get("function"),
                clock=pin.attributes.get("clock", "") == "true",
                three_state="three_state" in pin.attributes,
                bits=widths.get(pin.attributes.get("bus_type", "")),
            )
    leakage = _number(group.attributes.get("cell_leakage_power"))
    state = None
    for flip_flop in group.of("ff"):
        variables = [name.strip(' "') for name in flip_flop.name.split(",")]
        if len(variables) == 2 and {"next_state", "clocked_on"} <= flip_flop.attributes.keys():
            state = State(
                variable=variables[0],
                inverse=variables[1],
                next_state=flip_flop.attributes["next_state"],
                clocked_on=flip_flop.attributes["clocked_on"],
                clear=flip_flop.attributes.get("clear"),
                preset=flip_flop.attributes.get("preset"),
            )
    return Cell(
        name=group.name,
        area=area,
        leakage=None if leakage is None else leakage * leakage_unit,
        pins=pins,
        state=state,
        is_flip_flop=any(True for _ in group.of("ff", "ff_bank")),
        is_latch=any(True for _ in group.of("latch", "latch_bank")),
        is_macro=any(True for _ in group.of("memory")) or group.attributes.get("is_macro_cell") == "true",
        dont_use=group.attributes.get("dont_use", "") == "true",
    )


def read_liberty(path: Path | str) -> Library:
    """Read one Liberty file, plain or gzipped.

    Raises
    ------
    InputError
        If the file is missing, not Liberty, or cut short; the message names the line.
    """
    path = Path(path)
    top = _parse(read_packed(path, "Liberty file", ACCEPTED), path)
    get = top.attributes.get
    capacitance_unit = _unit(get("capacitive_load_unit"), "1,pf")
    leakage_unit = _unit(get("leakage_power_unit"), "1nW")
    corner = get("default_operating_conditions")
    conditions = {group.name: group.attributes for group in top.of("operating_conditions")}
    point = conditions.get(corner or "", {})
    if corner is None and len(conditions) == 1:
        corner, point = next(iter(conditions.items()))
    cells = {}
    types = {group.name: group.attributes for group in top.of("type")}
    for group in top.of("cell"):
        local = types | {inner.name: inner.attributes for inner in group.of("type")}
        widths = {name: _width(attributes) for name, attributes in local.items()}
        cells[group.name] = _cell(group, capacitance_unit, leakage_unit, path, widths)
    return Library(
        name=top.name,
        path=path,
        cells=cells,
        time_unit=_unit(get("time_unit"), "1ns"),
        capacitance_unit=capacitance_unit,
        leakage_unit=leakage_unit,
        voltage=_number(point.get("voltage")) or _number(get("nom_voltage")),
        temperature=_first(_number(point.get("temperature")), _number(get("nom_temperature"))),
        process=_number(point.get("process")) or _number(get("nom_process")),
        corner=corner,
        default_wire_load=get("default_wire_load"),
    )


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def load_libraries(paths: list[Path], *kits: Pdk) -> list[Library]:
    """Read the Liberty files of one synthesis run, find their kit and check that registers can be mapped to them.

    `kits` are asked before those that come with Spikeloom.

    Raises
    ------
    InputError
        As `read_liberty`; or if no file holds a flip-flop, or no combinational cell.
    """
    libraries = [_of_kit(read_liberty(path), kits) for path in paths]
    names = ", ".join(str(path) for path in paths)
    if not any(library.flip_flops for library in libraries):
        raise InputError(
            f"{names}: no flip-flop (no usable cell with an `ff` group), so registers cannot be mapped; "
            "give a standard-cell library with flip-flops, such as osu018"
        )
    if not any(cell.is_combinational for library in libraries for cell in library.cells.values()):
        raise InputError(f"{names}: no combinational cell with a `function`; give a standard-cell library")
    return libraries


def _of_kit(library: Library, kits: tuple[Pdk, ...]) -> Library:
    """The library with its kit, whose cells to avoid are marked."""
    pdk = pdk_of_library(library.name, *kits)
    if pdk is None:
        return library
    cells = {
        name: replace(cell, dont_use=True) if any(fnmatchcase(name, each) for each in pdk.dont_use) else cell
        for name, cell in library.cells.items()
    }
    return replace(library, cells=cells, pdk=pdk)
