"""What is needed of a LEF file: sites, layers, and sizes of macros; lengths in micrometres."""

from dataclasses import dataclass
from pathlib import Path

from spikeloom.errors import InputError

from .packed import read_packed

__all__ = ["Lef", "read_lef"]


@dataclass(frozen=True, kw_only=True)
class Lef:
    """One LEF file, reduced."""

    sites: dict[str, tuple[float, float]]
    """{site: (width, height)}"""
    routing: dict[str, str]
    """{layer of type ROUTING: its direction, `HORIZONTAL` or `VERTICAL`}, from the bottom."""
    macros: dict[str, tuple[float, float]]
    """{cell: (width, height)}"""

    def area(self, macro: str) -> float:
        """Area of a macro, in square micrometres."""
        width, height = self.macros[macro]
        return width * height


def read_lef(path: Path) -> Lef:
    """Read a LEF file, plain or packed.

    Raises
    ------
    InputError
        If it cannot be read, or has neither a macro with a size nor a routing layer.
    """
    text = read_packed(path, "LEF file", "the path of a .lef or .lef.gz file")
    sites: dict[str, tuple[float, float]] = {}
    macros: dict[str, tuple[float, float]] = {}
    directions: dict[str, str] = {}
    routing: list[str] = []
    sizes = {"SITE": sites, "MACRO": macros}
    block, name = "", ""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 2 and words[0] in ("SITE", "MACRO", "LAYER"):  # inside a block these end with a semicolon
            block, name = words
        elif words[:1] == ["SIZE"] and block in sizes and len(words) >= 4 and words[2] == "BY":
            try:
                sizes[block][name] = (float(words[1]), float(words[3].rstrip(";")))
            except ValueError:
                raise InputError(f"{path}: {block} {name}: {line.strip()!r}: not a size") from None
        elif block == "LAYER" and words[:2] == ["TYPE", "ROUTING"]:
            routing.append(name)
        elif block == "LAYER" and words[:1] == ["DIRECTION"]:
            directions.setdefault(name, words[1].rstrip(";"))
        elif words == ["END", name]:
            block, name = "", ""
    if not macros and not routing:
        raise InputError(
            f"{path}: no macro with a SIZE, and no routing layer; "
            "a LEF file with `MACRO name`, `SIZE w BY h ;` on lines of their own is needed"
        )
    return Lef(sites=sites, routing={layer: directions.get(layer, "") for layer in routing}, macros=macros)
