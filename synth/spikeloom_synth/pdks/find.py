"""Where the files of a kit are on this machine: below a folder that is given, or those that the environment names."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from spikeloom.errors import InputError, ToolMissing
from spikeloom.tools import find_tool

from .description import Pdk, Place
from .registry import pdk_named

__all__ = ["VARIABLES", "Installed", "find_pdk", "installed_pdks", "roots"]

VARIABLES = ("SPIKELOOM_PDK", "PDK_ROOT", "FLOW_HOME")
"""Environment variables that name folders of kits: one of one's own, that of ciel, that of OpenROAD-flow-scripts."""
HOMES = (".ciel", ".volare")
"""Folders of the home directory into which ciel and its forerunner install."""


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A kit with its files."""

    pdk: Pdk
    folder: Path
    place: Place

    def liberty(self, corner: str | None = None) -> tuple[Path, ...]:
        """The Liberty files of a corner, in the order of the description.

        Raises
        ------
        InputError
            If the kit has no such corner, or its files are not here; the message lists the corners that are.
        """
        wanted = self.pdk.corner(corner).liberty
        found = [self._file(name, self.place.lib) for name in wanted]
        if missing := [name for name, path in zip(wanted, found, strict=True) if path is None]:
            raise InputError(
                f"corner: {corner or self.pdk.default_corner}: {self.folder} has no {', '.join(missing)}; "
                f"the corners of {self.pdk.name} that are there: {', '.join(self.corners()) or 'none'}"
            )
        return tuple(path for path in found if path)

    def corners(self) -> list[str]:
        """The corners whose files are here."""
        return [
            name
            for name, corner in self.pdk.corners.items()
            if all(self._file(file, self.place.lib) for file in corner.liberty)
        ]

    @property
    def tech_lef(self) -> Path | None:
        """Layers, vias and sites."""
        return self._first(self.pdk.layout.tech_lef)

    @property
    def cell_lef(self) -> Path | None:
        """Sizes and pins of the cells."""
        return self._first(self.pdk.layout.cell_lef)

    def macros(self) -> dict[str, tuple[Path, Path | None]]:
        """{file name without suffix: (Liberty file, LEF file or None)} of the memory macros, a corner each."""
        lefs = {_stem(path): path for path in self._files(self.place.lef, ".lef") if self._is_macro(path)}
        found = {}
        for path in self._files(self.place.lib, ".lib"):
            if self._is_macro(path):
                name = _stem(path)
                owner = max((each for each in lefs if name.startswith(each)), key=len, default=None)
                found[name] = (path, lefs[owner] if owner else None)
        return found

    def _is_macro(self, path: Path) -> bool:
        return any(fnmatchcase(_stem(path), each) for each in self.pdk.macros)

    def _first(self, names: list[str]) -> Path | None:
        return next((path for name in names if (path := self._file(name, self.place.lef))), None)

    def _file(self, name: str, folders: list[str]) -> Path | None:
        """The last file that matches `name`, packed or not, in the first folder that has one."""
        for folder in folders:
            place = self.folder / folder
            matches = [path for pattern in (name, f"{name}.gz") for path in place.glob(pattern) if path.is_file()]
            if matches:
                return max(matches, key=lambda path: path.name)
        return None

    def _files(self, folders: list[str], suffix: str) -> Iterator[Path]:
        for folder in folders:
            for path in sorted((self.folder / folder).glob("*")):
                if path.name.removesuffix(".gz").endswith(suffix):
                    yield path


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0]


def roots(given: str | Path | None = None) -> list[Path]:
    """The folders in which kits are looked for: the one given, else those of `VARIABLES` and of `HOMES`.

    Raises
    ------
    InputError
        If the folder given is none.
    """
    if given is not None:
        root = Path(given).expanduser()
        if not root.is_dir():
            raise InputError(f"pdk_root: {root} is not a folder; accepted is a folder that holds process design kits")
        return [root]
    named = [Path(value) for name in VARIABLES if (value := os.environ.get(name))]
    return [root for root in (*named, *(Path.home() / home for home in HOMES)) if root.is_dir()]


def find_pdk(pdk: Pdk, root: str | Path | None = None) -> Installed:
    """The kit with its files: the first place that has those of a corner, the default one if any has.

    osu018 is also found where `make setup` or Debian put it.

    Raises
    ------
    ToolMissing
        If no folder has it.
    InputError
        As `roots`.
    """
    searched = roots(root)
    if root is None and pdk.name == "osu018" and (tool := find_tool("osu018")):
        searched.append(tool.path.parent)
    found = [
        installed
        for folder in searched
        for place in pdk.places
        for below in place.folders
        if (installed := Installed(pdk=pdk, folder=folder / below, place=place)).corners()
    ]
    if not found:
        where = ", ".join(map(str, searched)) or f"nowhere: none of {', '.join(VARIABLES)} is set"
        ways = "; ".join(f"{place.what} ({' or '.join(place.folders)})" for place in pdk.places)
        raise ToolMissing(
            f"pdk: the files of {pdk.name} were not found (searched: {where}); give synth.pdk_root or --pdk-root, "
            f"a folder with the files as in: {ways}"
        )
    return next((each for each in found if pdk.default_corner in each.corners()), found[0])


def installed_pdks(names: Iterable[str], root: str | Path | None = None) -> dict[str, Installed]:
    """Those of the kits of these names that are here, in this order; errors other than missing files as `find_pdk`."""
    found = {}
    for name in names:
        with contextlib.suppress(ToolMissing):
            found[name] = find_pdk(pdk_named(name), root)
    return found
