"""Process design kits: what Spikeloom knows of each (one TOML file), and where its files are."""

from .description import Corner, Layout, Pdk, Place
from .find import Installed, find_pdk, installed_pdks, roots
from .registry import all_pdks, pdk_named, pdk_of_library

__all__ = [
    "Corner",
    "Installed",
    "Layout",
    "Pdk",
    "Place",
    "all_pdks",
    "find_pdk",
    "installed_pdks",
    "pdk_named",
    "pdk_of_library",
    "roots",
]
