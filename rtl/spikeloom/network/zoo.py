"""The trained networks that come with Spikeloom, and how each was trained and is meant to be used.

`zoo/zoo.toml` has one table per network, with what NIR does not store (dt, reset), the number formats and input coding
that it was trained for, its data set, its measured accuracy, and the command and seed that made it.
"""

import difflib
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from .float_network import FloatNetwork

__all__ = ["load", "names", "path", "settings"]

SCHEMA = 1
FOLDER = Path(__file__).parent / "zoo"


def names() -> tuple[str, ...]:
    """Names of the networks, sorted."""
    return tuple(sorted(_tables()))


def path(name: str) -> Path:
    """The NIR file of a network.

    Raises
    ------
    InputError
        Where there is no network of that name.
    """
    return FOLDER / _known(name)["file"]


def settings(name: str) -> dict[str, Any]:
    """The table of a network in `zoo.toml`: among others dt, reset, weight_bits, potential_bits, leak, coding, steps.

    Raises
    ------
    InputError
        Where there is no network of that name.
    """
    return dict(_known(name))


def load(name: str) -> FloatNetwork:
    """The network itself, imported with its own dt and reset.

    Raises
    ------
    InputError
        Where there is no network of that name.
    """
    from .nir_import import import_nir  # not for `--help`

    table = _known(name)
    return import_nir(path(name), dt=table["dt"], reset=table["reset"], name=name)


def _known(name: str) -> dict[str, Any]:
    """The table of a network, or InputError that suggests the nearest name."""
    tables = _tables()
    if name not in tables:
        close = difflib.get_close_matches(str(name), tables, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"zoo network {name!r}: accepted are {', '.join(sorted(tables)) or 'none (empty zoo)'}{hint}")
    return tables[name]


@cache
def _tables() -> dict[str, dict[str, Any]]:
    """All tables of `zoo.toml`, with `file` filled in; empty where the package was built without its networks."""
    index = FOLDER / "zoo.toml"
    try:
        content = tomllib.loads(index.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{index}: not TOML: {error}; install the package again") from error
    if content.pop("schema", SCHEMA) != SCHEMA:
        raise InputError(f"{index}: unknown schema; accepted is {SCHEMA}: install the package again")
    return {name: {"file": f"{name}.nir", **table} for name, table in content.items()}
