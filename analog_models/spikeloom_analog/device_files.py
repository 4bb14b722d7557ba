"""Devices of users: a TOML file, with measured curves in CSV files beside it.

schema = 1
name = "mine"
g_min = 1e-6               # S
g_max = 50e-6              # S
levels = 16                # optional; spacing = "linear" or "log"
programming = "prog.csv"   # conductance_S, sigma_S; or a number: the same sigma [S] everywhere
read = 0.2e-6              # as programming
read_refresh = 1e-8        # s
potentiation = "up.csv"    # pulse, conductance_S: the conductance after each pulse, from pulse 0
depression = "down.csv"
cycle_to_cycle = 0.3       # spread of one pulse
activation_energy = 0.05   # eV
source = "wafer 7, 2026-05"
"""

import csv
import difflib
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from spikeloom.errors import InputError

from .devices import Device
from .laws import FixedNoise, NoiseLaw, TableNoise
from .writing import TableResponse

__all__ = ["UserDevice", "load_device", "read_table"]

KEYS = {
    "schema": "1",
    "name": "a text",
    "g_min": "a number in S",
    "g_max": "a number in S",
    "levels": "a whole number of at least 2",
    "spacing": '"linear" or "log"',
    "programming": "a number in S, or the name of a CSV file",
    "read": "a number in S, or the name of a CSV file",
    "read_refresh": "a number in s",
    "potentiation": "the name of a CSV file",
    "depression": "the name of a CSV file",
    "cycle_to_cycle": "a number",
    "activation_energy": "a number in eV",
    "source": "a text",
}


@dataclass(frozen=True)
class UserDevice:
    """A device from a file, and how write pulses move it (None where no curves were measured)."""

    device: Device
    response: TableResponse | None


def read_table(path: Path, columns: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Two columns of a CSV file with a header, as float64.

    Raises
    ------
    InputError
        Naming file and line, for a missing file or column, NaN, infinity, a negative number or what is no number.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        raise InputError(f"{path}: {reason}; accepted: a CSV file with columns {', '.join(columns)}") from None
    header = [name.strip() for name in rows[0]] if rows else []
    for name in columns:
        if name not in header:
            raise InputError(f"{path}: line 1: {', '.join(header) or 'nothing'} was given; accepted: a column {name}")
    places = [header.index(name) for name in columns]
    values: list[list[float]] = []
    for number, row in enumerate(rows[1:], 2):
        if not row:
            continue
        line = []
        for place, name in zip(places, columns, strict=True):
            text = row[place].strip() if place < len(row) else ""
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not math.isfinite(value) or value < 0:
                raise InputError(f"{path}: line {number}: {name}: {text!r} was given; accepted: a number of 0 or more")
            line.append(value)
        values.append(line)
    if len(values) < 2:
        raise InputError(f"{path}: {len(values)} lines of numbers were given; accepted: at least 2")
    table = np.array(values)
    return table[:, 0], table[:, 1]


def load_device(path: Path | str) -> UserDevice:
    """The device of a TOML file; CSV files are named relative to it.

    Raises
    ------
    InputError
        Naming the file, the key or line, what was given and what is accepted.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; accepted: a device file in TOML") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}; accepted: a device file in TOML") from None
    for key in values:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{path}: {key}: unknown key; accepted are {', '.join(KEYS)}{hint}")
    for key in ("schema", "name", "g_min", "g_max"):
        if key not in values:
            raise InputError(f"{path}: {key}: missing; accepted: {KEYS[key]}")
    if values["schema"] != 1 or isinstance(values["schema"], bool):
        raise InputError(f"{path}: schema: {values['schema']!r} was given; accepted: 1")
    for key in ("name", "source", "spacing", "potentiation", "depression"):
        if key in values and not isinstance(values[key], str):
            raise InputError(f"{path}: {key}: {values[key]!r} was given; accepted: {KEYS[key]}")
    g_min, g_max = _number(path, values, "g_min"), _number(path, values, "g_max")
    source = str(values.get("source", path.name))
    optional: dict[str, Any] = {}
    if "levels" in values:
        optional["levels"] = values["levels"]
    if "spacing" in values:
        optional["spacing"] = values["spacing"]
        if values["spacing"] not in ("linear", "log"):
            raise InputError(f"{path}: spacing: {values['spacing']!r} was given; accepted: {KEYS['spacing']}")
    for key in ("read_refresh", "activation_energy"):
        if key in values:
            optional[key] = _number(path, values, key)
    try:
        device = Device(
            name=values["name"],
            g_min=g_min,
            g_max=g_max,
            programming=_noise(path, values, "programming", g_min, g_max),
            read=_noise(path, values, "read", g_min, g_max),
            sources=MappingProxyType({key: source for key in values if key not in ("schema", "name", "source")}),
            **optional,
        )
        return UserDevice(device, _response(path, values, g_min, g_max))
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path.parent)) else f"{path}: {text}") from None


def _number(path: Path, values: dict[str, Any], key: str) -> float:
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{path}: {key}: {value!r} was given; accepted: {KEYS[key]}")
    return float(value)


def _noise(path: Path, values: dict[str, Any], key: str, g_min: float, g_max: float) -> tuple[NoiseLaw, ...]:
    if key not in values:
        return ()
    if not isinstance(values[key], str):
        return (FixedNoise(_number(path, values, key)),)
    file = path.parent / values[key]
    g, sigma = read_table(file, ("conductance_S", "sigma_S"))
    if (np.diff(g) <= 0).any():
        raise InputError(f"{file}: conductance_S: accepted: ascending conductances")
    _check_range(file, g, g_min, g_max)
    return (TableNoise(g, sigma),)


def _response(path: Path, values: dict[str, Any], g_min: float, g_max: float) -> TableResponse | None:
    given = [key for key in ("potentiation", "depression") if key in values]
    if not given:
        return None
    if len(given) == 1:
        raise InputError(f"{path}: {given[0]} was given alone; accepted: potentiation and depression, or neither")
    curves = []
    for key, sign in (("potentiation", 1), ("depression", -1)):
        file = path.parent / values[key]
        pulse, g = read_table(file, ("pulse", "conductance_S"))
        if not np.array_equal(pulse, np.arange(len(pulse))):
            raise InputError(f"{file}: pulse: accepted: 0, 1, 2, ...")
        if (sign * np.diff(g) <= 0).any():
            line = int(np.argmax(sign * np.diff(g) <= 0)) + 3
            word = "rise" if sign > 0 else "fall"
            raise InputError(f"{file}: line {line}: conductance_S: accepted: conductances that {word} with every pulse")
        _check_range(file, g, g_min, g_max)
        curves.append(g)
    spread = _number(path, values, "cycle_to_cycle") if "cycle_to_cycle" in values else 0.0
    return TableResponse(curves[0], curves[1], spread)


def _check_range(file: Path, g: np.ndarray, g_min: float, g_max: float) -> None:
    wrong = (g < g_min * (1 - 1e-9)) | (g > g_max * (1 + 1e-9))
    if wrong.any():
        line = int(np.argmax(wrong)) + 2
        raise InputError(
            f"{file}: line {line}: conductance_S: {g[wrong][0]:g} was given; accepted: {g_min:g} to {g_max:g} S"
        )
