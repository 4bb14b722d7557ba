"""The kits that Spikeloom knows: the TOML files beside this module, and any that a user names."""

import difflib
import functools
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path

from spikeloom.errors import InputError

from .description import Pdk, parse_pdk

__all__ = ["all_pdks", "pdk_named", "pdk_of_library"]


@functools.cache
def all_pdks() -> dict[str, Pdk]:
    """{name: kit} of those that come with Spikeloom, in alphabetical order."""
    files = sorted(
        (item for item in resources.files("spikeloom_synth.pdks").iterdir() if item.name.endswith(".toml")),
        key=lambda item: item.name,
    )
    pdks = [parse_pdk(item.read_text("utf-8"), item.name) for item in files]
    return {pdk.name: pdk for pdk in pdks}


def pdk_named(name: str) -> Pdk:
    """The kit of that name, or the one that the TOML file of that path describes.

    Raises
    ------
    InputError
        If there is no such kit; the message has the nearest name. If the file cannot be read or used.
    """
    known = all_pdks()
    if name in known:
        return known[name]
    if name.endswith(".toml"):
        try:
            return parse_pdk(Path(name).read_text("utf-8"), name)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{name}: cannot be read as text: {error}") from error
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise InputError(
        f"pdk: {name!r} is not known; accepted are {', '.join(known)}, or a TOML file that describes one{hint}"
    )


def pdk_of_library(library: str, *more: Pdk) -> Pdk | None:
    """The kit whose Liberty files call themselves `library`; None when no known one does. `more` are asked first."""
    return next(
        (pdk for pdk in (*more, *all_pdks().values()) if any(fnmatchcase(library, each) for each in pdk.libraries)),
        None,
    )
