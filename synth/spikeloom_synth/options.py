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

    The memory figures are assumptions, labelled as such wherever they enter a result. Their sources and the reasons
    for the defaults are in docs/synthesis.md. They are used only for memories that have no Liberty model.
    """

    liberty: str | tuple[str, ...] = "osu018"
    """`osu018`, a Liberty file, or several that together make one library."""
    clock_mhz: float = 100.0
    """Target clock: what mapping aims at, and the clock of the power figures."""
    recipe: str = "auto"
    """One of `RECIPES`; `auto` takes the first that reaches `clock_mhz`, else the fastest."""
    adders: str = "auto"
    """`gates`: the one of `ADDERS` measured best with the recipe; `cells`: the smaller of `CELLS`; `auto`: with
    the recipe `area` the smallest of these that reaches `clock_mhz`, else gates; or one of `ADDERS`."""
    memory_access_ns: float = 3.1
    """Assumed time from the clock edge to the data of a memory: that of IHP's 256 x 64 SRAM macro."""
    memory_setup_ns: float = 0.2
    """Assumed set-up time of the address, enable and data pins of a memory."""
    memory_read_pj_per_bit: float | None = None
    """Assumed energy of one read, per bit of the word; None: the model of `memories.MemoryEnergy`."""
    memory_write_pj_per_bit: float | None = None
    """Assumed energy of one write, per bit of the word; None: the model of `memories.MemoryEnergy`."""
    memory_leakage_pw_per_bit: float = 12.1
    """Assumed standing power of a memory, per bit stored, in picowatt: that of IHP's SRAM macros."""
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
