"""Running ngspice on a netlist, and reading what it writes."""

import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikeloom.errors import InputError, SpikeloomError
from spikeloom.tools import require_tool, tool_environment

from ..checks import positive
from .circuit import LEAD
from .netlist import Netlist

__all__ = ["Waveforms", "column_currents", "read_raw", "run_ngspice"]

POLL = 0.1
"""s, between two looks at how far ngspice is."""
ONE_THREAD = {"OMP_THREAD_LIMIT": "1"}
"""ngspice deals its transistors out to threads, few here; on a busy machine they mostly wait for each other."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Waveforms:
    """What ngspice gave: `vectors` by lower-case name, each [points]; `seconds` that it took; its `version`.

    Times of a transient start with the window: `time` is that of ngspice less `LEAD`.
    """

    vectors: dict[str, np.ndarray]
    seconds: float
    version: str

    def __getitem__(self, name: str) -> np.ndarray:
        return self.vectors[name]

    @property
    def time(self) -> np.ndarray:
        """s, [points]."""
        return self.vectors["time"] - LEAD


def run_ngspice(
    netlist: Netlist,
    *,
    timeout: float = 3600.0,
    progress: Callable[[str, float | None], None] = lambda text, share: None,
) -> Waveforms:
    """Run ngspice on a netlist, in a folder that is gone afterwards. Ctrl-C ends ngspice, too.

    Raises
    ------
    ToolMissing
        If there is no ngspice; the message says how to get it. The closed form needs none.
    SpikeloomError
        If it fails, does not get to the end, or takes longer than `timeout` seconds.
    """
    positive("timeout", timeout, "s")
    found = require_tool("ngspice")
    with tempfile.TemporaryDirectory(prefix="spikeloom-spice-") as name:
        folder = Path(name)
        (folder / "circuit.cir").write_text(netlist.text)
        begin = time.monotonic()
        with (folder / "log").open("wb") as log, (folder / "state").open("wb") as state:
            process = subprocess.Popen(
                [found.path, "-n", "-b", "-r", "circuit.raw", "circuit.cir"],
                cwd=folder,
                env={**tool_environment("ngspice"), **ONE_THREAD},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=state,
            )
            told = 0.0
            try:
                while True:
                    try:
                        code = process.wait(timeout=POLL)
                        break
                    except subprocess.TimeoutExpired:
                        share = _share(folder / "state", netlist.stop)
                        if share is not None and share > told:
                            told = share
                            progress(f"ngspice {share:.0%}", share)
                    if time.monotonic() - begin > timeout:
                        raise SpikeloomError(
                            f"ngspice: not done after {timeout:g} s; a shorter window, a longer step, fewer columns or "
                            "a longer timeout help"
                        )
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        seconds = time.monotonic() - begin
        raw = folder / "circuit.raw"
        if code or not raw.is_file():
            raise SpikeloomError(f"ngspice {found.version} failed with code {code}: {_why(folder)}")
        vectors = read_raw(raw)
        reached = vectors["time"][-1] if netlist.stop is not None else 0.0
        if netlist.stop is not None and reached < netlist.stop * (1 - 1e-6):
            raise SpikeloomError(
                f"ngspice {found.version} stopped at {reached:.4g} of {netlist.stop:.4g} s: {_why(folder)}"
            )
    missing = [name for name in netlist.saved if name not in vectors]
    if missing:
        raise SpikeloomError(f"ngspice {found.version}: {missing[0]} is not in what it wrote")
    return Waveforms(vectors=vectors, seconds=seconds, version=found.version)


def column_currents(waveforms: Waveforms) -> np.ndarray:
    """Column currents [A], [columns], of the operating point of a `crossbar_netlist`."""
    columns = sum(name.startswith("i(vc") for name in waveforms.vectors)
    return np.array([waveforms[f"i(vc{j})"][0] for j in range(columns)])


def read_raw(path: Path) -> dict[str, np.ndarray]:
    """The vectors of a binary raw file of real numbers, float64 [points] each, by lower-case name.

    Raises
    ------
    InputError
        If it is no such file, or ends early.
    """
    data = path.read_bytes()
    head, mark, body = data.partition(b"Binary:\n")
    text = head.decode(errors="replace")
    counts = [re.search(rf"^No\. {what}: *(\d+)", text, re.MULTILINE) for what in ("Variables", "Points")]
    if not mark or None in counts or not re.search(r"^Flags:.*\breal\b", text, re.MULTILINE):
        raise InputError(f"{path}: no raw file of ngspice with real numbers; accepted: one that `ngspice -r` wrote")
    variables, points = (int(found.group(1)) for found in counts if found)
    names = re.findall(r"^\t\d+\t(\S+)\t", text, re.MULTILINE)
    if len(names) != variables or len(body) < 8 * variables * points:
        raise InputError(f"{path}: {len(body)} bytes of {variables} x {points} numbers; accepted: a whole file")
    table = np.frombuffer(body, np.float64, variables * points).reshape(points, variables)
    return {name.lower(): np.ascontiguousarray(column) for name, column in zip(names, table.T, strict=True)}


def _share(path: Path, stop: float | None) -> float | None:
    """How much of the time is simulated, from the lines that ngspice overwrites on standard error."""
    if stop is None:
        return None
    with path.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - 200))
        found = re.findall(rb"Reference value : +(\S+)", stream.read())
    try:
        return min(1.0, float(found[-1]) / stop) if found else None
    except ValueError:
        return None


def _why(folder: Path) -> str:
    """The lines of ngspice that tell of an error, or its last ones."""
    lines = []
    for name in ("state", "log"):
        text = (folder / name).read_text(errors="replace").replace("\r", "\n")
        lines += [line.strip() for line in text.splitlines() if line.strip() and "Reference value" not in line]
    told = [line for line in lines if re.search(r"error|singular|too small|failed|abort|unknown", line, re.IGNORECASE)]
    return " / ".join((told or lines)[-3:]) or "no output"
