"""ASIC synthesis: an exported design becomes a netlist of library cells, its memories stay memories.

Yosys runs in a process of its own, because an error of Yosys ends the process. The scripts that it runs are left in
the work folder, so that a run can be repeated by hand with any Yosys.

`python -m spikeloom_synth.yosys FILES... --top TOP` prints area, cells, memories and clock as JSON.
"""

import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from spikeloom.errors import InputError, SpikeloomError
from spikeloom.tools import require_tool

from .errors import FlowError
from .liberty import Library, load_libraries
from .memories import MEMORY_MODULES, Memory, memory_stubs, memory_wrappers
from .netlist import Netlist, load_netlist
from .options import ADDERS, CELLS, RECIPES, SynthOptions
from .packed import plain_file
from .pdks import find_pdk, pdk_named
from .processes import run_logged

__all__ = [
    "Coarse",
    "Design",
    "cell_models",
    "design_from_build",
    "elaborate",
    "liberty_files",
    "map_to_cells",
    "run_yosys",
    "yosys_version",
]

REGISTER = "spikeloom_register"
"""Attribute that marks the wires of registers until they have been listed."""

LOAD_INPUTS = 4
"""Every output port is loaded with this many inputs of the driving buffer."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Verilog to synthesise."""

    files: tuple[Path, ...]
    top: str
    folder: Path
    """Where the images of the memories are."""
    clock: str = "clk"
    reset: str = "rst"
    """Input ports; reset is synchronous and active high."""


def design_from_build(folder: Path) -> tuple[Design, dict]:
    """The design of a build folder of `spikeloom elaborate`, and its manifest.

    Raises
    ------
    InputError
        If the folder holds no manifest, or one of another schema, or files are missing.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        schema, top, files = manifest["schema"], manifest["top"], sorted(manifest["content"])
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}; give a folder made by `spikeloom elaborate`"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a manifest of `spikeloom elaborate` ({error})") from error
    if schema != 1:
        raise InputError(f"{path}: schema {schema!r} is not known; this version reads schema 1")
    sources = sorted({folder / name for name in files if Path(name).parent.name == "rtl" and name.endswith(".v")})
    missing = [str(each) for each in sources if not each.is_file()]
    if missing or not sources:
        raise InputError(f"{path}: {', '.join(missing) or 'no Verilog file'} is missing; elaborate again")
    design = Design(
        files=tuple(sources),
        top=top,
        folder=folder / "rtl",
        clock=manifest.get("clock", "clk"),
        reset=manifest.get("reset", "rst"),
    )
    return design, manifest


# ---------------------------------------------------------------------------------------------------------------------
# Running Yosys


def yosys_version() -> str:
    """Version of the Yosys in use."""
    return require_tool("yosys").version


def run_yosys(script: str, folder: Path, name: str, *, cwd: Path | None = None) -> str:
    """Run a Yosys script and return its log; `folder/name.ys` and `folder/name.log` stay.

    Raises
    ------
    ToolMissing
        If pyosys is not installed.
    FlowError
        If Yosys fails; the message has its error and the path of the log.
    """
    require_tool("yosys")
    source, log = folder / f"{name}.ys", folder / f"{name}.log"
    source.write_text(script)
    scratch = folder / "tmp"  # abc works in TMPDIR: what it leaves behind goes away with the folder
    scratch.mkdir(exist_ok=True)
    command = "import sys; from pyosys import libyosys; libyosys.run_pass('script ' + sys.argv[1])"
    code = run_logged(
        [sys.executable, "-c", command, str(source.absolute())],
        log=log,
        cwd=cwd or folder,
        env={**os.environ, "TMPDIR": str(scratch.absolute())},
    )
    text = log.read_text(errors="replace")
    if code:
        raise FlowError(f"Yosys failed ({name}): {_excerpt(text, code)}", log)
    return text


def _excerpt(text: str, code: int) -> str:
    """The lines of a log that say what went wrong."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [index for index, line in enumerate(lines) if "ERROR" in line or "rror:" in line]
    if errors:
        return "\n".join(lines[errors[0] : errors[0] + 4])
    ending = f"ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return "\n".join([ending, *lines[-4:]])


def _quoted(path: Path) -> str:
    """`path` for a Yosys script: quoted, because folders may hold spaces."""
    text = str(path)
    if '"' in text or "\n" in text:
        raise InputError(f"{text!r}: Yosys cannot read a path with quotation marks or line breaks")
    return f'"{text}"'


def liberty_files(options: SynthOptions, folder: Path) -> tuple[list[Library], list[Path]]:
    """Read and check the Liberty files of the options; the second list is plain text for tools that cannot unzip.

    Raises
    ------
    ToolMissing
        If the kit is not installed.
    InputError
        If the kit or its corner is not known, or a file is missing, damaged, or holds no flip-flop.
    """
    pdk = pdk_named(options.pdk)
    if options.liberty:
        paths = [Path(name) for name in ((options.liberty,) if isinstance(options.liberty, str) else options.liberty)]
    else:
        paths = list(find_pdk(pdk, options.pdk_root).liberty(options.corner))
    libraries = load_libraries(paths, pdk)
    return libraries, [plain_file(path, folder) for path in paths]


# ---------------------------------------------------------------------------------------------------------------------
# Coarse synthesis


@dataclass(frozen=True, kw_only=True)
class Coarse:
    """A flat design of word-level cells, before it is mapped to any library."""

    top: str
    path: Path
    registers: frozenset[str]
    """Hierarchical names of the wires that registers drive, each in the module that the register belongs to."""
    memories: tuple[Memory, ...]
    register_memories: tuple[dict, ...]
    """Memories small enough to become flip-flops: [{"instance", "bits"}]."""


def elaborate(design: Design, options: SynthOptions, folder: Path) -> Coarse:
    """Read the Verilog, flatten it and find its memories.

    Raises
    ------
    InputError
        If a source file mixes a memory module with others.
    SpikeloomError
        If Yosys refuses the Verilog, or if a memory would turn into more flip-flops than the options allow.
    """
    sources = []
    for path in design.files:
        modules = re.findall(r"^\s*module\s+([A-Za-z_]\w*)", path.read_text(errors="replace"), re.MULTILINE)
        black = [name for name in modules if name in MEMORY_MODULES]
        if black and len(black) != len(modules):
            raise InputError(f"{path}: {black[0]} must be in a file of its own, so that a flow can leave it out")
        if not black:
            sources.append(path.absolute())
    (folder / "memory_stubs.v").write_text(memory_stubs())
    script = [
        *(f"read_verilog {_quoted(path)}" for path in [(folder / "memory_stubs.v").absolute(), *sources]),
        f"hierarchy -check -top {design.top}",
        "proc",
        # Names for reports: the wire that a register drives in its own module keeps this mark when it is flattened.
        f"setattr -set {REGISTER} 1 t:$*dff* %co1:+[Q] w:* %i",
        "flatten -noscopeinfo",
        # Silicon has no initial values: the design must work from its reset alone.
        "setattr -unset init w:*",
        "synth -run coarse:fine",
        "write_rtlil coarse.il",
        f"tee -o registers.txt select -list a:{REGISTER}",
        "select t:$mem* " + " ".join(f"t:{name}" for name in MEMORY_MODULES),
        "write_json -selected memories.json",
    ]
    run_yosys("\n".join(script) + "\n", folder, "elaborate", cwd=folder)
    found = json.loads((folder / "memories.json").read_text())["modules"].get(design.top, {"cells": {}})
    memories, registers = [], []
    for name, cell in sorted(found["cells"].items()):
        parameters = {
            key: int(value, 2) if set(value) <= {"0", "1"} and len(value) >= 32 else value
            for key, value in cell["parameters"].items()
        }
        if cell["type"] in MEMORY_MODULES:
            memories.append(
                Memory(
                    instance=name,
                    module=cell["type"],
                    width=parameters.get("WIDTH", 8),
                    depth=parameters.get("DEPTH", 16),
                    address=parameters.get("ADDRESS", 4),
                    image=str(parameters.get("INIT_FILE", "")),
                )
            )
        else:
            memory_id = str(cell["parameters"].get("MEMID", name)).lstrip("\\")
            bits = parameters["WIDTH"] * parameters["SIZE"]
            registers.append({"instance": memory_id, "bits": bits})
    large = [each for each in registers if each["bits"] > options.register_memory_bits]
    if large:
        listed = ", ".join(f"{each['instance']} ({each['bits']} bits)" for each in large)
        raise SpikeloomError(
            f"{design.top}: would turn into flip-flops: {listed}; make each an instance of "
            f"{' or '.join(MEMORY_MODULES)}, or allow it by register_memory_bits (now {options.register_memory_bits})"
        )
    return Coarse(
        top=design.top,
        path=folder / "coarse.il",
        registers=frozenset(
            line.partition("/")[2].strip() for line in (folder / "registers.txt").read_text().splitlines()
        ),
        memories=tuple(memories),
        register_memories=tuple(sorted(registers, key=lambda each: each["instance"])),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Mapping

# Measured on OSU018, see docs/synthesis.md. `amap` covers for area; `if -g` first balances the logic for delay. Both
# ways of buffering bound the fan-out; the one with -c keeps the area lower, the plain one the delay.
_START = "strash\nifraig\nscorr\ndc2\n"
_SIZE = "upsize -D {ps}\ndnsize -D {ps}\nstime -p\n"
_ABC = {
    "area": _START + "dch -f\namap -x -m\ntopo\nbuffer -c -N 12\n" + _SIZE,
    "balanced": _START + "dch -f\namap -m\ntopo\nbuffer\n" + _SIZE,
    "speed": _START + "if -g -K 6\ndch -f\namap -m\ntopo\nbuffer -c -N 16\n" + _SIZE,
}
_BEST_ADDERS = {"area": "ripple", "balanced": "sklansky", "speed": "ripple"}

_RIPPLE = """
(* techmap_celltype = "$lcu" *)
module _70_spikeloom_ripple (P, G, CI, CO);
    parameter WIDTH = 2;
    input [WIDTH-1:0] P, G;
    input CI;
    output [WIDTH-1:0] CO;
    wire [WIDTH:0] C;
    assign C[0] = CI;
    assign CO = C[WIDTH:1];
    genvar i;
    generate for (i = 0; i < WIDTH; i = i + 1) begin : bits assign C[i+1] = G[i] | P[i] & C[i]; end endgenerate
endmodule
"""

_FULL_ADDER = """
(* techmap_celltype = "$alu" *)
module _70_spikeloom_full_adder (A, B, CI, BI, X, Y, CO);
    parameter A_SIGNED = 0; parameter B_SIGNED = 0;
    parameter A_WIDTH = 1; parameter B_WIDTH = 1; parameter Y_WIDTH = 1;
    parameter _TECHMAP_CONSTMSK_A_ = 0; parameter _TECHMAP_CONSTMSK_B_ = 0;
    input [A_WIDTH-1:0] A; input [B_WIDTH-1:0] B; input CI, BI; output [Y_WIDTH-1:0] X, Y, CO;
    // A comparison with a constant, or a very short sum, is smaller in plain gates.
    wire _TECHMAP_FAIL_ = (&_TECHMAP_CONSTMSK_A_) || (&_TECHMAP_CONSTMSK_B_) || Y_WIDTH < 3;
    wire [Y_WIDTH-1:0] a, b;
    \\$pos #(.A_SIGNED(A_SIGNED), .A_WIDTH(A_WIDTH), .Y_WIDTH(Y_WIDTH)) extend_a (.A(A), .Y(a));
    \\$pos #(.A_SIGNED(B_SIGNED), .A_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH)) extend_b (.A(B), .Y(b));
    wire [Y_WIDTH-1:0] bb = BI ? ~b : b;
    wire [Y_WIDTH:0] c;
    assign c[0] = CI;
    function integer lowest(input dummy);
        integer k;
        begin
            lowest = Y_WIDTH;
            for (k = Y_WIDTH - 1; k >= 0; k = k - 1)
                if (!(k < A_WIDTH ? _TECHMAP_CONSTMSK_A_[k] : !A_SIGNED) &&
                    !(k < B_WIDTH ? _TECHMAP_CONSTMSK_B_[k] : !B_SIGNED)) lowest = k;
        end
    endfunction
    // Bits with a constant operand stay gates. So does the first bit that has none: its carry may come from a net
    // that feeds every adder of the design, and only gates are buffered.
    localparam FIRST = lowest(0);
    genvar i;
    generate
        for (i = 0; i < Y_WIDTH; i = i + 1) begin : bits
            if (i > FIRST && i < Y_WIDTH - 1 && (i < A_WIDTH || A_SIGNED) && (i < B_WIDTH || B_SIGNED)) begin
                wire s, k;
                CELL cell (.PIN_A(NOT a[i]), .PIN_B(NOT bb[i]), .PIN_C(NOT c[i]), .PIN_SUM(s), .PIN_CARRY(k));
                assign Y[i] = NOT s, c[i+1] = NOT k;
            end else begin
                assign Y[i] = a[i] ^ bb[i] ^ c[i];
                assign c[i+1] = a[i] & bb[i] | (a[i] | bb[i]) & c[i];
            end
        end
    endgenerate
    assign CO = c[Y_WIDTH:1];
    assign X = a ^ bb;
endmodule
"""


def _adder_steps(adders: str, libraries: list[Library], folder: Path) -> list[str]:
    """Yosys commands that turn `$alu` into gates as asked; Yosys' own default (Brent-Kung) needs none."""
    prepare, tidy = ["opt -fast -full", "opt -undriven -fine"], ["opt -fast", "opt -undriven"]
    if adders == "brent-kung":
        return []
    if adders in CELLS:
        found = next((each for library in libraries if (each := library.full_adder())), None)
        if found is None:
            names = ", ".join(library.name for library in libraries)
            raise InputError(f"adders: {adders} needs a library with a full-adder cell, {names} has none")
        cell, (first, second, carry_in), total, carry = found
        text = _FULL_ADDER
        for key, value in {
            # Sum and carry of inverted bits are the inverted sum and carry, so a cell works either way round; which one
            # needs fewer inverters depends on the gates around it.
            "NOT": "~" if adders == "full-adder-inverted" else "",
            "CELL": cell,
            "PIN_A": first,
            "PIN_B": second,
            "PIN_CARRY": carry,
            "PIN_C": carry_in,
            "PIN_SUM": total,
        }.items():
            text = re.sub(rf"\b{key}\b", value, text)
        (folder / "adders.v").write_text(text)
        return [*prepare, "techmap -map adders.v", *tidy]
    if adders == "ripple":
        (folder / "adders.v").write_text(_RIPPLE)
        return [*prepare, "techmap -map +/techmap.v -map adders.v", *tidy]
    if adders not in ADDERS:
        raise InputError(f"adders: {adders!r} is not known; accepted: {', '.join(ADDERS)}")
    return [*prepare, f"techmap -map +/techmap.v -map +/choices/{adders}.v", *tidy]


def map_to_cells(
    coarse: Coarse,
    libraries: list[Library],
    plain: list[Path],
    options: SynthOptions,
    folder: Path,
    *,
    recipe: str,
) -> Netlist:
    """Map a coarse design to library cells; leaves `netlist.v` and `memories.v` in `folder`.

    Raises
    ------
    InputError
        If the library lacks what the options need.
    SpikeloomError
        If Yosys fails, or if something remains that the library cannot implement.
    """
    if recipe not in RECIPES:
        raise InputError(f"recipe: {recipe!r} is not known; accepted: auto, {', '.join(RECIPES)}")
    adders = _BEST_ADDERS[recipe] if options.adders in ("auto", "gates") else options.adders
    picoseconds = max(1, round(1000 * options.period_ns))
    (folder / "abc.script").write_text(_ABC[recipe].format(ps=picoseconds))
    buffer = next((cell for library in libraries if (cell := library.buffer())), None)
    constraints = ""
    if buffer:
        load = LOAD_INPUTS * buffer.inputs[0].capacitance / 1e-15
        constraints = f"set_driving_cell {buffer.name}\nset_load {load:.3f} [all_outputs]\n"
    (folder / "abc.constr").write_text(constraints)
    files = " ".join(f"-liberty {_quoted(path)}" for path in plain)
    avoid = " ".join(
        f"-dont_use {cell}"
        for cell in [
            *options.dont_use,
            *(cell.name for library in libraries for cell in library.cells.values() if cell.dont_use),
        ]
    )
    ties = {value: next((tie for each in libraries if (tie := each.tie(value))), None) for value in (0, 1)}
    script = [
        *(f"read_liberty -overwrite -lib -ignore_miss_func {_quoted(path)}" for path in plain),
        f"read_rtlil {_quoted(coarse.path.absolute())}",
        *_adder_steps(adders, libraries, folder),
        "synth -run fine:check",
        f"dfflibmap {files} {avoid}",
        "opt",
        f"abc {files} {avoid} -D {picoseconds} -constr abc.constr -script abc.script",
        "setundef -zero",
    ]
    if ties[0] and ties[1]:
        (low, low_pin), (high, high_pin) = ties[0], ties[1]
        script.append(f"hilomap -hicell {high} {high_pin} -locell {low} {low_pin}")
    # Without -purge here: the JSON keeps every source name of a net, to find the one of its register.
    script += ["splitnets", "opt_clean", "rename -enumerate -pattern _%_"]
    for memory in coarse.memories:
        escaped = re.sub(r"([\[\]*?\\])", r"\\\1", memory.instance)
        script += [
            *(f"setparam -unset {name} c:{escaped}" for name in ("WIDTH", "DEPTH", "ADDRESS", "INIT_FILE")),
            f"chtype -set {memory.cell} c:{escaped}",
        ]
    script += ["write_json mapped.json", "opt_clean -purge", "write_verilog -noattr -noexpr -nohex -nodec netlist.v"]
    run_yosys("\n".join(script) + "\n", folder, f"map_{recipe}", cwd=folder)
    (folder / "memories.v").write_text(memory_wrappers(coarse.memories))
    return load_netlist(folder / "mapped.json", coarse.top, libraries, coarse.memories, coarse.registers)


def cell_models(netlist: Netlist, plain: list[Path], folder: Path) -> Path:
    """Write `cells.v`: what the cells of a netlist do, from the functions in the Liberty files.

    With it, `netlist.v`, `memories.v` and the memory modules of the export make a netlist that any simulator runs.
    """
    used = sorted({each.type for each in netlist.instances.values() if each.type in netlist.library})
    script = [
        *(f"read_liberty -overwrite -ignore_miss_func {_quoted(path)}" for path in plain),
        "setattr -mod -unset blackbox =*",
        "setattr -mod -unset whitebox =*",
        "select " + " ".join(f"={name}" for name in used),
        "opt_clean -purge",
        # Silicon starts in some state of 0 and 1; an unknown state would never leave some netlists in a simulator
        # that computes with X, although reset clears it.
        "setattr -set init 1'b0 t:$*_DFF* t:$*dff* t:$*DLATCH* %u %u %co1:+[Q] w:* %i",
        "write_verilog -noattr -selected cells.v",
    ]
    run_yosys("\n".join(script) + "\n", folder, "cells", cwd=folder)
    return folder / "cells.v"


# ---------------------------------------------------------------------------------------------------------------------
# By hand


def main(arguments: list[str] | None = None) -> None:
    """Synthesise Verilog files and print the figures as JSON: the quick look while a design is being written."""
    import argparse
    import contextlib
    import tempfile

    from .flow import asic  # here, because the flow imports this module

    parser = argparse.ArgumentParser(prog="python -m spikeloom_synth.yosys", description=main.__doc__)
    parser.add_argument("files", nargs="+", type=Path, help="Verilog files")
    parser.add_argument("--top", required=True, help="name of the top module")
    parser.add_argument("--pdk", default="osu018", help="kit: a name of `spikeloom pdk list`, or a TOML file")
    parser.add_argument("--liberty", action="append", help="Liberty file in its place; may be repeated")
    parser.add_argument("--mhz", type=float, default=100.0, help="target clock")
    parser.add_argument("--recipe", default="auto", help=f"auto, {', '.join(RECIPES)}")
    parser.add_argument("--adders", default="auto", help=f"auto, gates, cells, {', '.join(ADDERS)}")
    parser.add_argument("--register-memory-bits", type=int, default=0, help="memories that may become flip-flops")
    parser.add_argument("--work", type=Path, help="keep scripts, logs and netlist in this folder")
    given = parser.parse_args(arguments)
    try:
        options = SynthOptions(
            pdk=given.pdk,
            liberty=tuple(given.liberty or ()),
            clock_mhz=given.mhz,
            recipe=given.recipe,
            adders=given.adders,
            register_memory_bits=given.register_memory_bits,
        )
        design = Design(files=tuple(given.files), top=given.top, folder=Path.cwd())
        with contextlib.ExitStack() as stack:
            work = given.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spikeloom-synth-")))
            work.mkdir(parents=True, exist_ok=True)
            result = asic(design, options, work).summary()
    except SpikeloomError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
