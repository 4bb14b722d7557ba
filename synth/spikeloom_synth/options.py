"""Options of a synthesis run, with the assumptions that stand in for data which no open library gives."""

import math
from dataclasses import dataclass

from spikeloom.errors import InputError

__all__ = ["ADDERS", "CELLS", "FPGA_FAMILIES", "RECIPES", "SynthOptions"]

ADDERS = ("brent-kung", "sklansky", "han-carlson", "kogge-stone", "ripple", "full-adder", "full-adder-inverted")
"""How additions become gates: a carry network, a plain ripple, or the library's full-adder cells."""

CELLS = ("full-adder", "full-adder-inverted")
"""Those of `ADDERS` that use full-adder cells: on the bits as they are, or on inverted bits."""

RECIPES = ("area", "balanced", "speed")
"""Technology-mapping scripts, smallest result first."""

FPGA_FAMILIES = ("ice40", "ecp5", "xc7")


@dataclass(frozen=True, kw_only=True)
class SynthOptions:
    """What to synthesise for, and what to assume.

    Memories that have no macro of the user's are estimated (`macros.MacroModel`), and labelled so wherever they enter
    a result; a figure given here takes the place of the estimate, for every such memory.
    """

    pdk: str = "osu018"
    """Process design kit: a name that `pdks` knows, or the path of a TOML file that describes one."""
    corner: str | None = None
    """One of the kit's; None: its default."""
    pdk_root: str | None = None
    """Folder in which the kit is; None: where `pdks.roots` looks."""
    liberty: str | tuple[str, ...] = ()
    """A Liberty file in the place of the kit's, or several that together make one library."""
    clock_mhz: float = 100.0
    """Target clock: what mapping aims at, and the clock of the power figures."""
    recipe: str = "auto"
    """One of `RECIPES`; `auto` takes the first that reaches `clock_mhz`, else the fastest."""
    adders: str = "auto"
    """`gates`: the one of `ADDERS` measured best with the recipe; `cells`: the smaller of `CELLS`; `auto`: with
    the recipe `area` the smallest of these that reaches `clock_mhz`, else gates; or one of `ADDERS`."""
    macros: tuple[str, ...] = ()
    """Liberty and LEF files with macros of the user, each called by its memory's module and size."""
    memory_model: str | None = None
    """File of parameters of the estimate, like macros.toml; None: that one."""
    memory_access_ns: float | None = None
    """Time from the clock edge to the data of a memory; None: the estimate."""
    memory_setup_ns: float | None = None
    """Set-up time of the address, enable and data pins of a memory; None: the estimate."""
    memory_read_pj_per_bit: float | None = None
    """Energy of one read, per bit of the word; None: the estimate."""
    memory_write_pj_per_bit: float | None = None
    """Energy of one write, per bit of the word; None: the estimate."""
    memory_leakage_pw_per_bit: float | None = None
    """Standing power of a memory, per bit stored, in picowatt; None: the estimate."""
    register_memory_bits: int = 0
    """Memories of at most this many bits may become flip-flops; a larger one is an error. Those that do are listed."""
    dont_use: tuple[str, ...] = ()
    """Library cells (shell patterns) that must not be used, on top of those that the library itself forbids."""
    power: bool = True
    """Whether to measure switching activity on a workload and compute power from it."""
    fpga: tuple[str, ...] = FPGA_FAMILIES
    """FPGA families to count resources for; empty for none."""

    def __post_init__(self):
        if not math.isfinite(self.clock_mhz) or self.clock_mhz <= 0:
            raise InputError(f"clock_mhz: must be a positive number of megahertz, not {self.clock_mhz!r}")
        for name in (
            "memory_access_ns",
            "memory_setup_ns",
            "memory_read_pj_per_bit",
            "memory_write_pj_per_bit",
            "memory_leakage_pw_per_bit",
            "register_memory_bits",
        ):
            value = getattr(self, name)
            if value is not None and (not math.isfinite(value) or value < 0):
                raise InputError(f"{name}: must be a number of at least 0, not {value!r}")
        for name, accepted in (("recipe", RECIPES), ("adders", ("gates", "cells", *ADDERS))):
            if getattr(self, name) not in ("auto", *accepted):
                raise InputError(f"{name}: {getattr(self, name)!r} is not known; accepted: auto, {', '.join(accepted)}")
        for family in self.fpga:
            if family not in FPGA_FAMILIES:
                raise InputError(f"fpga: {family!r} is not known; accepted: {', '.join(FPGA_FAMILIES)}")

    @property
    def period_ns(self) -> float:
        """Target clock period."""
        return 1000.0 / self.clock_mhz
