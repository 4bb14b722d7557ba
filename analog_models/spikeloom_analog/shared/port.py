"""The analog port of a gang of weight-shared cores answered in Python, one clock cycle at a time."""

import numpy as np

from ..samples import noise_row
from .table import ProgrammedTables

__all__ = ["TablesPort"]


class TablesPort:
    """What stands behind the analog port of a gang on one chip."""

    def __init__(self, tables: ProgrammedTables):
        self.tables, self.gang = tables.chip(0), tables.gang
        self._samples = self.tables.samples()[0]
        self._numbers: dict[int, tuple[int, int]] = {}  # of each layer: its step, and conversions of that
        self._codes = 0

    def clock(self, *, go: int, layer: int, step: int, drawn: int) -> int:
        """One clock edge, with the values that the port had before it; returns the codes from this edge on."""
        if not go:
            return self._codes
        before, number = self._numbers.get(layer, (step, 0))
        number = number if before == step else 0
        self._numbers[layer] = step, number + 1
        row = int(noise_row(step, layer, number))
        gang, width = self.gang, drawn_bits(self.gang)
        self._codes = 0
        for core in range(gang.cores):
            charge, variance = self._sum(core, drawn >> core * width & ((1 << width) - 1))
            z = self._samples[row, core : core + 1]
            (code,) = self.tables.codes(np.array([charge]), np.array([variance]), z, core).tolist()
            self._codes |= (code & ((1 << gang.code_bits) - 1)) << core * gang.code_bits
        return self._codes

    def _sum(self, core: int, drawn: int) -> tuple[int, int]:
        """Charge and variance of a conversion of one core."""
        gang, tables = self.gang, self.tables
        charge = variance = 0
        if not gang.replicates:
            for level in range(len(gang.table)):
                pulses = drawn >> level * gang.pulse_bits & ((1 << gang.pulse_bits) - 1)
                charge += pulses * int(tables.charge[0, core, 0, level])
                variance += pulses * int(tables.variance[0, core, 0, level])
            return charge, variance
        for copy in range(gang.block):
            if drawn >> (gang.block * gang.index_bits + copy) & 1:
                level = drawn >> copy * gang.index_bits & ((1 << gang.index_bits) - 1)
                charge += int(tables.charge[0, core, copy, level])
                variance += int(tables.variance[0, core, copy, level])
        return charge, variance


def drawn_bits(gang) -> int:
    """Bits of what one core draws in a conversion."""
    return gang.block * (gang.index_bits + 1) if gang.replicates else len(gang.table) * gang.pulse_bits
