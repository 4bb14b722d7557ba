"""The description of a process design kit: a TOML file, read and validated. It names files; `find` looks for them."""

import json
import tomllib
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from spikeloom.errors import InputError

__all__ = ["Corner", "Layout", "Pdk", "Place", "parse_pdk"]

_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Names = list[Annotated[str, Field(min_length=1)]]
"""Names of files or cells, or shell patterns of names."""
Folders = Annotated[Names, Field(min_length=1)]
Pin = Annotated[str, Field(pattern=r"^(\w+/\w+)?$")]
"""CELL/PIN, or nothing."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Corner:
    """One operating point; voltage in volt, temperature in degrees Celsius."""

    liberty: Annotated[Names, Field(min_length=1)]
    """Files that together are the library; of several that match a pattern, the last in alphabetical order."""
    voltage: Annotated[float, Field(gt=0)]
    temperature: float


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Layout:
    """What placing and routing needs."""

    tech_lef: Annotated[Names, Field(min_length=1)]
    """The first of these that is there."""
    cell_lef: Annotated[Names, Field(min_length=1)]
    scale: Annotated[float, Field(gt=0)]
    """Lengths in these files, divided by real ones."""
    site: str
    metal: str
    """Metals are called this and a number from 1."""
    signal_layers: tuple[str, str]
    """Lowest and highest metal of signals."""
    pin_layers: tuple[str, str]
    """Metals of the ports: horizontal, vertical."""
    power: str
    ground: str
    """Pins of the cells."""
    tie_high: Pin
    tie_low: Pin
    """Cells that drive a constant; empty where the library has none."""
    fill: Names
    tap: str
    clock_buffer: str


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Place:
    """One way in which the kit's files lie in a folder of the user."""

    what: str
    folders: Folders
    """Below the folder given, or `.` for that folder itself."""
    lib: Folders
    lef: Folders
    """Below that: folders of Liberty and LEF files."""


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Pdk:
    """A process design kit."""

    schema: Literal[1]
    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    title: str
    licence: str
    manufacturable: bool
    node_nm: Annotated[float, Field(gt=0)]
    libraries: Annotated[Names, Field(min_length=1)]
    """Names that its Liberty libraries give themselves."""
    dont_use: Names
    areas_differ: Names
    """Cells whose areas in Liberty and LEF are known to differ: said by a check, not held against the kit."""
    default_corner: str
    macros: Names
    """Memory macros: names of their Liberty and LEF files."""
    corners: Annotated[dict[str, Corner], Field(min_length=1)]
    layout: Layout
    places: Annotated[list[Place], Field(min_length=1)]

    def corner(self, name: str | None = None) -> Corner:
        """The corner of that name, or the default one.

        Raises
        ------
        InputError
            If there is none; the message lists them.
        """
        chosen = name or self.default_corner
        if chosen not in self.corners:
            raise InputError(f"corner: {self.name} has no {chosen!r}; accepted are {', '.join(self.corners)}")
        return self.corners[chosen]


def parse_pdk(text: str, origin: str) -> Pdk:
    """Read the description in `text`; messages name `origin` as the file.

    Raises
    ------
    InputError
        With every key that is missing, unknown, or has a value that is not accepted.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{origin}: not TOML: {error}") from error
    if values.get("schema") != 1:
        raise InputError(f"{origin}: schema: {values.get('schema')!r} was given; accepted is 1")
    try:
        pdk = TypeAdapter(Pdk).validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise InputError(
            "\n".join(
                f"{origin}: {'.'.join(map(str, item['loc']))}: {item['input']!r} was given; {item['msg']}"
                for item in error.errors(include_url=False)
            )
        ) from None
    try:
        pdk.corner()
    except InputError as error:
        raise InputError(f"{origin}: default_corner: {error}") from None
    return pdk
