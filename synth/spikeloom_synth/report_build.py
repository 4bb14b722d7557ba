"""What the report knows: the files of a build folder, and its numbers as text."""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.errors import InputError

__all__ = ["Build", "conditions", "listed", "number", "percent", "plural", "si"]

SCHEMA = 1
MOST_LAYERS = 6  # drawn as traces and rasters: the first ones and the last
ENGINES = {
    "batch": "exported Verilog compiled by Verilator, batch runner",
    "verilator": "exported Verilog in Verilator, driven by cocotb",
    "icarus": "exported Verilog in Icarus, driven by cocotb",
}
NOT_SIMULATED = "no simulation in this build folder; `spikeloom simulate` adds one"
NOT_SYNTHESISED = "no synthesis in this build folder; `spikeloom synth` adds one"

# ---------------------------------------------------------------------------------------------------------------------
# Numbers as text


def si(value: float, unit: str, digits: int = 4) -> str:
    """A value with a prefix: 1.337e-7 J is 133.7 nJ."""
    if value == 0:
        return f"0 {unit}"
    exponent = int(np.floor(np.log10(abs(value)) / 3))
    exponent = max(-6, min(4, exponent))
    if abs(float(f"{value / 1000.0**exponent:.{digits}g}")) >= 1000 and exponent < 4:
        exponent += 1
    scaled = value / 1000.0**exponent
    prefix = {-6: "a", -5: "f", -4: "p", -3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T"}[exponent]
    return f"{scaled:.{digits}g} {prefix}{unit}"


def number(value: float | None, digits: int = 1) -> str:
    """Thousands apart; as many decimals as asked for where the value is no integer."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.{digits}f}"


def percent(value: float | None, digits: int = 2) -> str:
    """A share in percent; `-` for None."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """`1 step`, `16 steps`."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def conditions(label: Mapping[str, Any] | None) -> str:
    """All that a label says, in one line."""
    if not label:
        return ""
    parts = [str(label["level"])] if label.get("level") else []
    if label.get("workload"):
        parts.append(f"workload {label['workload']}")
    if label.get("library"):
        parts.append(f"library {label['library']}")
        parts.append(f"corner {label['corner']}" if label.get("corner") else "corner not stated")
        for key, unit in (("voltage_v", "V"), ("temperature_c", "°C")):
            if label.get(key) is not None:
                parts.append(f"{label[key]:g} {unit}")
    if label.get("clock_mhz"):
        parts.append(f"clock {label['clock_mhz']:g} MHz")
    for key, text in (("paths", "{}"), ("wires", "wires: {}"), ("recipe", "recipe {}"), ("memory", "memories {}")):
        if label.get(key):
            parts.append(text.format(label[key]))
    if label.get("tool"):
        parts.append(str(label["tool"]))
    return " · ".join(parts)


def listed(words: Sequence[str]) -> str:
    """The words with commas and a last `and`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# ---------------------------------------------------------------------------------------------------------------------
# What the build folder holds


def _read_json(path: Path, keys: Sequence[str], maker: str) -> dict[str, Any]:
    """The object in a JSON file of schema 1 that has these keys."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}; {maker} writes it") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); {maker} writes it anew") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}; accepted is what {maker} writes")
    if "schema" in keys and content.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema {content.get('schema')!r} is not known; this version reads {SCHEMA}")
    missing = [key for key in keys if key not in content]
    if missing:
        raise InputError(f"{path}: no {', '.join(missing)}; {maker} writes it anew")
    return content


class Build:
    """The files of a build folder, each read once; a part that belongs to another design counts as missing."""

    def __init__(self, folder: Path, skipped: Mapping[str, str]):
        self.folder = folder
        keys = ("schema", "name", "hash", "layers", "memories", "ports", "cost", "versions", "steps")
        self.manifest = _read_json(folder / "manifest.json", keys, "`spikeloom elaborate`")
        self.skipped = dict(skipped)
        self.simulation = self._part(
            "simulation",
            folder / "sim" / "simulation.json",
            ("schema", "hash", "inputs", "steps", "mismatches"),
            NOT_SIMULATED,
        )
        self.synthesis = self._part(
            "synthesis", folder / "synth" / "synthesis.json", ("schema", "hash", "area", "memories"), NOT_SYNTHESISED
        )
        for part, noun in ((self.simulation, "simulation"), (self.synthesis, "synthesis")):
            for step, why in ((part or {}).get("skipped") or {}).items():
                self.skipped.setdefault(noun if step == noun else step, str(why))
        if self.synthesis is not None:
            power_off = not (self.synthesis.get("options") or {}).get("power", True)
            if not self.synthesis.get("power"):
                why = "switched off in this synthesis" if power_off else "no power in this synthesis"
                self.skipped.setdefault("power", f"{why}; `spikeloom synth` measures it")

    def _part(self, step: str, path: Path, keys: Sequence[str], missing: str) -> dict[str, Any] | None:
        if not path.exists():
            self.skipped.setdefault(step, missing)
            return None
        content = _read_json(path, keys, f"`spikeloom {'simulate' if step == 'simulation' else 'synth'}`")
        if content["hash"] != self.manifest["hash"]:
            other = (
                f"{path.parent.name}/{path.name} is of design {content['hash']}, this one is {self.manifest['hash']}"
            )
            self.skipped[step] = f"{other}; {missing.partition('; ')[2]}"
            return None
        return content

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """simulation.npz; empty without a simulation."""
        if self.simulation is None:
            return {}
        path = self.folder / "sim" / "simulation.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path}: not a readable .npz file ({error}); `spikeloom simulate` writes it") from error

    @cached_property
    def quantisation(self) -> dict[str, Any] | None:
        """quantisation.json, where there is one."""
        path = self.folder / "quantisation.json"
        return _read_json(path, ("layers",), "`spikeloom elaborate`") if path.exists() else None

    @cached_property
    def clock_mhz(self) -> float:
        """The clock that times are stated at: that of the synthesis, else that of the configuration."""
        options = (self.synthesis or {}).get("options") or {}
        if "clock_mhz" in options:
            return float(options["clock_mhz"])
        from spikeloom.config import load_config

        return load_config(self.folder / "config.toml").synth.clock_mhz

    def layers(self) -> list[int]:
        """Numbers of the layers that are drawn."""
        count = len(self.manifest["layers"])
        return list(range(count)) if count <= MOST_LAYERS else [*range(MOST_LAYERS - 1), count - 1]

    def why(self, *steps: str) -> str:
        """The reason why the first of these steps that was skipped is missing."""
        return next((self.skipped[step] for step in steps if step in self.skipped), "nothing to show for this design")

    def simulated(self) -> str:
        """Conditions of everything that was simulated."""
        given = self.simulation
        if given is None:
            return ""
        engine = given.get("engine", "")
        parts = [ENGINES.get(engine, f"engine {engine}"), f"workload {given.get('data', 'not stated')}"]
        parts.append("each input alone" if given.get("isolated") else "inputs back to back")
        parts.append(f"streams stalled {given['stall']} % of the time" if given.get("stall") else "no stalls")
        parts += [f"{name.capitalize()} {version}" for name, version in sorted((given.get("versions") or {}).items())]
        return " · ".join(parts)
