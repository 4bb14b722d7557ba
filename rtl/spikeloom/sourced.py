"""Numbers with their sources, in files that a user can copy and change: `[key]` with `value` and `source`."""

import dataclasses
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import ClassVar, Self

from .errors import InputError

__all__ = ["Sourced"]

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Sourced:
    """Base of a set of parameters. A subclass adds a `float` field for each key of its file.

    The file is TOML: `schema`, `name`, and a table {value, source} for each key and nothing else.
    """

    FILE: ClassVar[tuple[str, str]]
    """Package and file of the parameters that come with Spikeloom."""
    POSITIVE: ClassVar[tuple[str, ...]] = ()
    """Keys above 0; the others are at least 0."""

    name: str
    sources: dict[str, str]

    @classmethod
    def default(cls) -> Self:
        """Those that come with Spikeloom."""
        package, file = cls.FILE
        return cls._parse(resources.files(package).joinpath(file).read_text("utf-8"), file)

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Those of a file.

        Raises
        ------
        InputError
            For a file that cannot be read, of another schema, or with a parameter that is missing, unknown, not a
            number in its range or without a source.
        """
        try:
            return cls._parse(Path(path).read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text: {error}") from error

    @classmethod
    def _parse(cls, text: str, origin: str) -> Self:
        try:
            given = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{origin}: not TOML: {error}") from error
        if given.pop("schema", None) != SCHEMA:
            raise InputError(f"{origin}: schema: accepted is {SCHEMA}")
        name = given.pop("name", None)
        if not isinstance(name, str):
            raise InputError(f"{origin}: name: {name!r} was given; accepted is a text")
        keys = [f.name for f in dataclasses.fields(cls) if f.name not in ("name", "sources")]
        if set(given) != set(keys):
            odd = ", ".join(sorted(set(given) ^ set(keys)))
            raise InputError(f"{origin}: {odd}: missing or unknown; accepted are {', '.join(keys)}")
        values, sources = {}, {}
        for key in keys:
            entry, positive = given[key], key in cls.POSITIVE
            if not isinstance(entry, dict) or set(entry) != {"value", "source"} or not isinstance(entry["source"], str):
                raise InputError(f"{origin}: {key}: {entry!r} was given; accepted is {{value, source}}")
            value = entry["value"]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not (0 < value < float("inf") if positive else 0 <= value < float("inf")):
                accepted = "above 0" if positive else "of at least 0"
                raise InputError(f"{origin}: {key}: {value!r} was given; accepted is a number {accepted}")
            values[key], sources[key] = float(value), entry["source"]
        return cls(name=name, sources=sources, **values)
