"""Whether the files of a kit agree with its description, and with each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from spikeloom.errors import InputError

from .lef import Lef, read_lef
from .liberty import Cell, Library, load_libraries, read_liberty
from .pdks import Installed

__all__ = ["TOLERANCE", "Check", "check_pdk"]

TOLERANCE = 0.01
"""Liberty and LEF may differ by this share of a cell's area."""
LISTED = 5
"""How many names a result lists."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    what: str
    good: bool
    result: str


def check_pdk(installed: Installed) -> list[Check]:
    """Every corner that is here, the layout, the macros; a file that cannot be read is a failed check, not an error."""
    pdk = installed.pdk
    here = installed.corners()
    checks = [
        Check(
            what="corners",
            good=pdk.default_corner in here,
            result=f"{len(here)} of {len(pdk.corners)}: {', '.join(here)}",
        )
    ]
    corners = {}
    for name in here:
        try:
            corners[name] = load_libraries(list(installed.liberty(name)), installed.pdk)
        except InputError as error:
            checks.append(Check(what=f"corner {name}", good=False, result=str(error)))
        else:
            checks += _corner(installed, name, corners[name])
    libraries = next(iter(corners.values()), [])
    return [*checks, *_layout(installed, libraries), *_macros(installed)]


def _corner(installed: Installed, name: str, libraries: list[Library]) -> Iterator[Check]:
    """Cells, and the operating point that the files state against the one of the description."""
    corner = installed.pdk.corners[name]
    cells = {cell.name: cell for library in libraries for cell in library.cells.values()}
    unused = sum(cell.dont_use for cell in cells.values())
    yield Check(
        what=f"corner {name}", good=True, result=f"{len(cells)} cells, {unused} not to be used, {len(libraries)} files"
    )
    stated = {(library.voltage, library.temperature) for library in libraries}
    wanted = (corner.voltage, corner.temperature)
    points = ", ".join(f"{volt} V, {celsius} C" for volt, celsius in sorted(stated, key=str))
    yield Check(what=f"corner {name}: operating point", good=stated == {wanted}, result=points)
    buffers = [buffer.name for library in libraries if (buffer := library.buffer())]
    yield Check(what=f"corner {name}: buffer", good=bool(buffers), result=", ".join(buffers[:1]) or "none")


def _layout(installed: Installed, libraries: list[Library]) -> Iterator[Check]:
    """Sites, layers, cells that placing needs, and areas against the Liberty files."""
    layout = installed.pdk.layout
    found: dict[str, Lef] = {}
    for what, path, names in (
        ("technology LEF", installed.tech_lef, layout.tech_lef),
        ("cell LEF", installed.cell_lef, layout.cell_lef),
    ):
        if path is None:
            yield Check(what=what, good=False, result=f"not found: {', '.join(names)}")
            continue
        try:
            found[what] = read_lef(path)
        except InputError as error:
            yield Check(what=what, good=False, result=str(error))
        else:
            yield Check(what=what, good=True, result=path.name)
    if len(found) < 2 or not libraries:
        return
    tech, lef = found["technology LEF"], found["cell LEF"]
    site = (tech.sites | lef.sites).get(layout.site)
    yield Check(
        what=f"site {layout.site}", good=site is not None, result=f"{site[0]:g} x {site[1]:g} um" if site else "none"
    )
    named = [*layout.signal_layers, *layout.pin_layers]
    directions = [tech.routing.get(layer) for layer in layout.pin_layers]
    missing = [layer for layer in named if layer not in tech.routing]
    result = f"no {', '.join(missing)}" if missing else f"{len(tech.routing)} metals: {', '.join(tech.routing)}"
    yield Check(what="routing layers", good=not missing, result=result)
    if not missing:
        good = directions == ["HORIZONTAL", "VERTICAL"]
        yield Check(what="layers of the pins", good=good, result=", ".join(map(str, directions)))
    yield from _cells(installed, libraries, lef)
    yield _areas(libraries, lef, installed)


def _cells(installed: Installed, libraries: list[Library], lef: Lef) -> Iterator[Check]:
    """Tie, fill, tap and clock cells."""
    layout = installed.pdk.layout
    for value, pin in enumerate((layout.tie_low, layout.tie_high)):
        if pin:
            cell, _, name = pin.partition("/")
            owner = next((library.cells[cell] for library in libraries if cell in library.cells), None)
            good = owner is not None and _drives(owner, name, value)
            yield Check(what=f"tie cell of {value}", good=good, result=pin if good else f"{pin} does not drive {value}")
    for what, pattern in (*(("fill cell", each) for each in layout.fill), ("tap cell", layout.tap)):
        if pattern:
            matches = [cell for cell in lef.macros if fnmatchcase(cell, pattern)]
            yield Check(what=what, good=bool(matches), result=_listed(matches) or f"no {pattern}")
    here = any(layout.clock_buffer in library.cells for library in libraries)
    yield Check(what="clock buffer", good=here, result=layout.clock_buffer if here else f"no {layout.clock_buffer}")


def _drives(cell: Cell, pin: str, value: int) -> bool:
    known = pin in cell.pins and not cell.inputs and cell.pins[pin].function is not None
    return known and cell.truth_table(pin) == (value,)


def _areas(libraries: list[Library], lef: Lef, installed: Installed) -> Check:
    """Areas in the Liberty files against sizes in the LEF file."""
    scale = installed.pdk.layout.scale
    cells = [cell for library in libraries for cell in library.cells.values() if not cell.dont_use]
    absent = [cell.name for cell in cells if cell.name not in lef.macros]
    off = [each for cell in cells if (each := _differs(cell, lef, scale))]
    new = [cell.name for cell in cells if _differs(cell, lef, scale) and not _known(cell.name, installed)]
    parts = [f"{len(cells) - len(absent)} of {len(cells)} cells in both"]
    if absent:
        parts.append(f"not in the LEF: {_listed(absent)}")
    if off:
        parts.append(f"areas differ: {_listed(off)}")
    return Check(what="Liberty against LEF", good=not absent and not new, result="; ".join(parts))


def _macros(installed: Installed) -> Iterator[Check]:
    """Memory macros: Liberty against LEF, where there are both."""
    found = installed.macros()
    if not found:
        return
    wrong: list[str] = []
    differ: list[str] = []
    both = 0
    for name, (liberty, lef) in found.items():
        try:
            both += lef is not None
            cells = read_liberty(liberty).cells.values()
            sizes = read_lef(lef) if lef else None
            off = {cell.name: text for cell in cells if sizes and (text := _differs(cell, sizes))}
            differ += off.values()
            wrong += [name for name in off if not _known(name, installed)]
        except InputError as error:
            wrong.append(f"{name} ({error})")
    result = f"{len(found)}, {both} with LEF" + (f"; areas differ: {_listed(differ)}" if differ else "")
    yield Check(what="memory macros", good=not wrong, result=result)


def _differs(cell: Cell, lef: Lef, scale: float = 1.0) -> str:
    """Both areas of a cell, where they differ by more than `TOLERANCE`; else nothing."""
    if cell.name not in lef.macros:
        return ""
    drawn = lef.area(cell.name) / scale**2
    return (
        f"{cell.name} ({cell.area:g} um2, {drawn:g} in the LEF)" if abs(cell.area - drawn) > TOLERANCE * drawn else ""
    )


def _known(cell: str, installed: Installed) -> bool:
    return any(fnmatchcase(cell, each) for each in installed.pdk.areas_differ)


def _listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
