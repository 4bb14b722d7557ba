"""Memory macros: the black box that stands for a memory in synthesis and timing, given by the user or estimated.

A memory with D words of W bits, M columns to a sense amplifier, R read ports and P ports in all::

    rows    = ceil(D / M)                       an array to compute in: M = 1
    columns = W M
    width   = P decoder + columns cell_width (1 + port_width (P - 1))
    height  = control + R sense column_multiplex / M + rows cell_height
    access  = access + access_per_row rows

in micrometres and nanoseconds of the parameters' process, scaled to another by feature size. Parameters and their
sources are in macros.toml; docs/synthesis.md compares the estimate with published macros.
"""

import itertools
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from spikeloom.errors import InputError
from spikeloom.sourced import Sourced

from .lef import read_lef
from .liberty import Cell, Library, read_liberty
from .memories import OUTPUTS, Memory
from .options import SynthOptions
from .packed import plain_file

__all__ = ["Given", "Macro", "MacroModel", "MacroParameters", "memory_lef", "memory_liberty", "read_given"]

PIN_METAL = 4
"""Pins are on this metal; those below are taken."""


@dataclass(frozen=True, kw_only=True)
class MacroParameters(Sourced):
    """What the estimate is made of; macros.toml says what each is."""

    FILE: ClassVar = ("spikeloom_synth", "macros.toml")
    POSITIVE: ClassVar = ("node_nm", "voltage", "cell_width_um", "cell_height_um", "column_multiplex", "access_ns")

    node_nm: float
    voltage: float
    cell_width_um: float
    cell_height_um: float
    port_width: float
    decoder_um: float
    control_um: float
    sense_um: float
    column_multiplex: float
    access_ns: float
    access_ns_per_row: float
    setup_ns: float
    input_pf: float
    read_pj_per_bit_64: float
    read_pj_per_bit_2048: float
    write_pj_per_bit_64: float
    write_pj_per_bit_2048: float
    leakage_pw_per_bit: float


@dataclass(frozen=True, kw_only=True)
class Macro:
    """The estimate of one memory."""

    width_um: float
    height_um: float
    access_ns: float
    """From the clock edge to the data."""
    setup_ns: float
    read_pj: float
    """One read of a whole word."""
    write_pj: float
    leakage_w: float

    @property
    def um2(self) -> float:
        """Area."""
        return self.width_um * self.height_um


@dataclass(frozen=True, kw_only=True)
class MacroModel:
    """The estimate of every memory beside cells of one library.

    Lengths and times scale with the feature size, energy with feature size and voltage squared; leakage does not
    scale. Figures that the options give take the place of the model's.
    """

    parameters: MacroParameters
    options: SynthOptions
    length: float
    """Feature size by that of the parameters; 1 where it is unknown."""
    energy: float
    node_nm: float | None
    voltage: float
    metal: str

    @classmethod
    def of(cls, library: Library, options: SynthOptions) -> "MacroModel":
        """The model for memories beside cells of `library`.

        Raises
        ------
        InputError
            If the options name a file of parameters that cannot be used.
        """
        file = options.memory_model
        p = MacroParameters.default() if file is None else MacroParameters.read(file)
        pdk = library.pdk
        node, metal = (pdk.node_nm, pdk.layout.metal) if pdk else (None, "metal")
        voltage = library.voltage or p.voltage
        length = (node or p.node_nm) / p.node_nm
        return cls(
            parameters=p,
            options=options,
            length=length,
            energy=length * (voltage / p.voltage) ** 2,
            node_nm=node,
            voltage=voltage,
            metal=metal,
        )

    def macro(self, memory: Memory) -> Macro:
        """The macro of a memory."""
        p, given = self.parameters, self.options
        pins = [pin for pin, _ in memory.pins()]
        ports, reads = sum(pin.endswith("_en") for pin in pins), sum(pin in OUTPUTS for pin in pins)
        multiplex = 1 if memory.port_type == "cim" else p.column_multiplex
        rows, columns = -(-memory.depth // multiplex), memory.width * multiplex
        width = ports * p.decoder_um + columns * p.cell_width_um * (1 + p.port_width * (ports - 1))
        height = p.control_um + reads * p.sense_um * p.column_multiplex / multiplex + rows * p.cell_height_um
        access = (p.access_ns + p.access_ns_per_row * rows) * self.length
        return Macro(
            width_um=width * self.length,
            height_um=height * self.length,
            access_ns=access if given.memory_access_ns is None else given.memory_access_ns,
            setup_ns=p.setup_ns * self.length if given.memory_setup_ns is None else given.memory_setup_ns,
            read_pj=self._energy(memory, p.read_pj_per_bit_64, p.read_pj_per_bit_2048, given.memory_read_pj_per_bit),
            write_pj=self._energy(
                memory, p.write_pj_per_bit_64, p.write_pj_per_bit_2048, given.memory_write_pj_per_bit
            ),
            leakage_w=memory.bits * self._leakage * 1e-12,
        )

    def _energy(self, memory: Memory, at_64: float, at_2048: float, flat: float | None) -> float:
        """Of one access; deeper memories are taken as banks of 2048 words."""
        words = min(memory.depth, 2048)
        per_bit = self.energy * (at_64 + (at_2048 - at_64) * (words - 64) / (2048 - 64))
        return memory.width * (per_bit if flat is None else flat)

    @property
    def _leakage(self) -> float:
        flat = self.options.memory_leakage_pw_per_bit
        return self.parameters.leakage_pw_per_bit if flat is None else flat

    @property
    def _process(self) -> str:
        p, node = self.parameters, f"{self.node_nm:g} nm" if self.node_nm else "an unknown feature size"
        return f"from {p.node_nm:g} nm, {p.voltage:g} V to {node}, {self.voltage:g} V"

    def timing_label(self) -> str:
        """What must be said beside areas and times of estimated memories."""
        given = self.options
        parts = [
            f"{what} {flat:g} ns for each memory"
            for what, flat in (("access", given.memory_access_ns), ("set-up", given.memory_setup_ns))
            if flat is not None
        ]
        if len(parts) < 2:
            parts.append(f"{self.parameters.name}, sizes and times x {self.length:.3g} ({self._process})")
        return "estimated: " + "; ".join(parts)

    def energy_label(self) -> str:
        """What must be said beside energies of estimated memories."""
        given = self.options
        model = f"{self.parameters.name} x {self.energy:.3g} ({self._process})"
        parts = [
            f"{what}: {model if flat is None else f'{flat:g} pJ per bit'}"
            for what, flat in (("read", given.memory_read_pj_per_bit), ("write", given.memory_write_pj_per_bit))
        ]
        return "assumed: " + "; ".join(parts) + f"; leakage: {self._leakage:g} pW per bit"


# ---------------------------------------------------------------------------------------------------------------------
# Files


def memory_liberty(memories: Iterable[Memory], model: MacroModel | None) -> str:
    """Liberty of memory cells: their estimate, or pins without load or time where there is no model.

    Access and set-up time do not depend on load and slew. Energy is that of the word, on the clock pin.
    """
    memories = list({each.cell: each for each in memories}.values())
    sizes = sorted({bits for memory in memories for _, bits in memory.pins() if bits})
    load = model.parameters.input_pf * model.length if model else 0
    # OpenSTA takes files with one name for one library, and a user may give back what an earlier run wrote.
    number = zlib.crc32(" ".join(memory.cell for memory in memories).encode())
    lines = [
        f"library (spikeloom_memories_{number:08x}) {{",
        '  delay_model : table_lookup; time_unit : "1ns"; voltage_unit : "1V"; current_unit : "1mA";',
        '  pulling_resistance_unit : "1kohm"; leakage_power_unit : "1nW"; capacitive_load_unit (1, pf);',
        *([_POWER_TABLE] if model else []),
        *([f"  nom_process : 1; nom_voltage : {model.voltage:g}; nom_temperature : 25;"] if model else []),
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
        macro = model.macro(memory) if model else None
        lines.append(
            f"  cell ({memory.cell}) {{ area : {macro.um2 if macro else 0:.3f}; dont_touch : true; "
            "is_macro_cell : true;"
        )
        if macro:
            lines.append(f"    cell_leakage_power : {macro.leakage_w * 1e9:.6g};")
        power = _internal_power(memory, macro) if macro else ""
        lines.append(f"    pin (clk) {{ direction : input; clock : true; capacitance : {load:.5g}; {power}}}")
        for pin, bits in memory.pins():
            output = pin in OUTPUTS
            arcs = ""
            if macro:
                kind = "rising_edge" if output else "setup_rising"
                tables = _delays(macro.access_ns) if output else _constraint(macro.setup_ns)
                arcs = f"timing () {{ related_pin : clk; timing_type : {kind}; {tables}}}"
            opening = f"bus ({pin}) {{ bus_type : bus{bits};" if bits else f"pin ({pin}) {{"
            way = "direction : output;" if output else f"direction : input; capacitance : {load:.5g};"
            lines.append(f"    {opening} {way} {arcs} }}")
        lines.append("  }")
    return "\n".join(lines) + "\n}\n"


# OpenSTA knows no scalar tables of power.
_POWER_TABLE = '  power_lut_template (edge) { variable_1 : input_transition_time; index_1 ("0.01, 1"); }'


def _delays(access_ns: float) -> str:
    values = {"cell_rise": access_ns, "cell_fall": access_ns, "rise_transition": 0.1, "fall_transition": 0.1}
    return "".join(f'{table} (scalar) {{ values ("{value:.5g}"); }} ' for table, value in values.items())


def _constraint(setup_ns: float) -> str:
    return "".join(f'{edge}_constraint (scalar) {{ values ("{setup_ns:.5g}"); }} ' for edge in ("rise", "fall"))


def _internal_power(memory: Memory, macro: Macro) -> str:
    """Energy of a clock edge for each choice of the ports that are used."""
    enables = [pin for pin, _ in memory.pins() if pin.endswith("_en")]
    text = ""
    for used in itertools.product((0, 1), repeat=len(enables)):
        when = " & ".join(pin if on else f"!{pin}" for pin, on in zip(enables, used, strict=True))
        energy = sum(
            (macro.write_pj if pin == "w_en" else macro.read_pj) * on for pin, on in zip(enables, used, strict=True)
        )
        text += f'internal_power () {{ when : "{when}"; rise_power (edge) {{ values ("{energy:.6g}, {energy:.6g}"); }} '
        text += 'fall_power (edge) { values ("0, 0"); } } '
    return text


def memory_lef(memories: Iterable[Memory], model: MacroModel) -> str:
    """LEF of estimated macros: their size, pins of the columns along the bottom, the others along the left edge."""
    lines = ["VERSION 5.7 ;", 'BUSBITCHARS "[]" ;', 'DIVIDERCHAR "/" ;']
    layers = [f"{model.metal}{level}" for level in range(1, PIN_METAL + 1)]
    half = 0.1 * model.length
    for memory in {each.cell: each for each in memories}.values():
        macro = model.macro(memory)
        width, height = macro.width_um, macro.height_um
        lines += [f"MACRO {memory.cell}", "  CLASS BLOCK ;", "  ORIGIN 0 0 ;"]
        lines += [f"  SIZE {width:.3f} BY {height:.3f} ;", "  SYMMETRY X Y R90 ;"]
        pins = [(pin, bits) for pin, bits in memory.pins() if bits == memory.width and "addr" not in pin]
        others = [("clk", None), *(each for each in memory.pins() if each not in pins)]
        data = [f"{pin}[{bit}]" for bit in range(memory.width) for pin, _ in pins]
        side = [name for pin, bits in others for name in ([f"{pin}[{n}]" for n in range(bits)] if bits else [pin])]
        rail = 4 * half
        for n, name in enumerate(data):
            x = width * (n + 0.5) / len(data)
            lines += _lef_pin(name, layers[-1], (x - half, 0, x + half, 2 * half))
        for n, name in enumerate(side):
            y = 4 * half + (height - 6 * rail) * (n + 0.5) / len(side)
            lines += _lef_pin(name, layers[-1], (0, y - half, 2 * half, y + half))
        for n, (name, use) in enumerate((("VDD", "POWER"), ("VSS", "GROUND"))):
            top = height - (2 * n + 1) * rail
            lines += _lef_pin(name, layers[-1], (0, top - rail, width, top), use)
        lines.append("  OBS")
        lines += [f"    LAYER {layer} ; RECT 0 0 {width:.3f} {height:.3f} ;" for layer in layers[:-1]]
        lines += ["  END", f"END {memory.cell}"]
    return "\n".join([*lines, "END LIBRARY"]) + "\n"


def _lef_pin(name: str, layer: str, box: tuple[float, ...], use: str = "") -> list[str]:
    way = "INOUT" if use else "OUTPUT" if name.partition("[")[0] in OUTPUTS else "INPUT"
    use = use or ("CLOCK" if name == "clk" else "SIGNAL")
    return [
        f"  PIN {name}",
        f"    DIRECTION {way} ; USE {use} ;",
        f"    PORT LAYER {layer} ; RECT {' '.join(f'{edge:.3f}' for edge in box)} ; END",
        f"  END {name}",
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Macros that a user gives


@dataclass(frozen=True, kw_only=True)
class Given:
    """Macros of the user: {name: (its Liberty file as plain text, its cell)}."""

    cells: dict[str, tuple[Path, Cell]]

    def fit(self, memories: Sequence[Memory]) -> tuple[Memory, ...]:
        """The memories, each with the macro of its module and size, where one is given.

        Raises
        ------
        InputError
            For a macro that no memory has a use for, one whose pins are not those of its memory, and a memory with
            contents from the start, which a macro cannot have.
        """
        sizes = {each.macro for each in memories}
        for name in self.cells:
            if name not in sizes:
                raise InputError(f"synth.macros: no memory is a {name}; accepted are {', '.join(sorted(sizes))}")
        return tuple(self._fit(each) if each.macro in self.cells else each for each in memories)

    def _fit(self, memory: Memory) -> Memory:
        path, cell = self.cells[memory.macro]
        wanted = {"clk": ("input", None)} | {
            pin: ("output" if pin in OUTPUTS else "input", bits) for pin, bits in memory.pins()
        }
        found = {pin.name: (pin.direction, pin.bits) for pin in cell.pins.values() if pin.direction in _WAYS}
        if found != wanted:
            wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            pins = [f"{way} {name}" + (f"[{bits - 1}:0]" if bits else "") for name, (way, bits) in wanted.items()]
            raise InputError(
                f"{path}: cell {cell.name}: {', '.join(wrong)}: not a pin of this memory; its are {', '.join(pins)}"
            )
        if memory.image:
            raise InputError(
                f"synth.macros: {memory.name} has contents from the start ({memory.image}), which a macro cannot have; "
                "accepted is core.weights = 'loaded' (and core.parameters, where there are biases)"
            )
        return replace(memory, liberty=path, given=cell)


_WAYS = ("input", "output")


def read_given(paths: Iterable[str | Path], folder: Path) -> Given:
    """The macros in Liberty files, with the sizes in LEF files; what is packed is written to `folder` as plain text.

    Raises
    ------
    InputError
        If a file cannot be read, is neither, or Liberty and LEF of a macro disagree by more than 1 % of its area.
    """
    cells: dict[str, tuple[Path, Cell]] = {}
    sizes: dict[str, tuple[Path, float]] = {}
    for path in map(Path, paths):
        name = path.name.removesuffix(".gz")
        if name.endswith(".lef"):
            lef = read_lef(path)
            sizes |= {macro: (path, lef.area(macro)) for macro in lef.macros}
        elif name.endswith(".lib"):
            library, plain = read_liberty(path), plain_file(path, folder).absolute()
            cells |= {each.name: (plain, each) for each in library.cells.values()}
        else:
            raise InputError(f"synth.macros: {path}: accepted are .lib and .lef files, or these with .gz")
    for macro, (path, area) in sizes.items():
        if macro not in cells:
            raise InputError(f"{path}: macro {macro} has no cell in the Liberty files of synth.macros")
        stated = cells[macro][1].area
        if abs(stated - area) > 0.01 * area:
            raise InputError(f"{path}: macro {macro}: {area:.1f} um2, but {stated:.1f} in {cells[macro][0]}")
    return Given(cells=cells)
