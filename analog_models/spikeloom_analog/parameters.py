"""Circuit parameters with units and sources: described, and read from TOML files."""

import difflib
import tomllib
from dataclasses import field, fields
from pathlib import Path
from typing import Any, TypeVar

from spikeloom.errors import InputError

__all__ = ["ASSUMED", "described", "load_parameters", "sourced"]

ASSUMED = "assumed"
"""How the source of a number begins that has no public value."""

P = TypeVar("P")


def sourced(default: Any, unit: str, source: str) -> Any:
    """A field of a dataclass of parameters."""
    return field(default=default, metadata={"unit": unit, "source": source})


def described(kind: Any) -> dict[str, dict[str, Any]]:
    """{name: {"default", "unit", "source", "assumed"}} of a dataclass of parameters."""
    return {
        each.name: {"default": each.default, **each.metadata, "assumed": each.metadata["source"].startswith(ASSUMED)}
        for each in fields(kind)
    }


def load_parameters(kind: type[P], path: Path | str, what: str) -> P:
    """Parameters of a TOML file: schema = 1, and any of the fields of `kind`; the others keep their defaults.

    Raises
    ------
    InputError
        Naming file and key, what was given and what is accepted.
    """
    try:
        with open(path, "rb") as file:
            given = tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: {reason}; accepted: a TOML file of {what}") from None
    schema = given.pop("schema", None)
    if type(schema) is not int or schema != 1:
        raise InputError(f"{path}: schema: {schema!r} was given; accepted: 1")
    names = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    for key in given:
        if key not in names:
            close = difflib.get_close_matches(key, names, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise InputError(f"{path}: {key}: no such parameter; accepted: schema, {', '.join(names)}{hint}")
    try:
        return kind(**given)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
