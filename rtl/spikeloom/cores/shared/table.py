"""The digital twin of the table of conductances: K constants, and the sum that a conversion reads."""

from amaranth.hdl import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ...mapping.shared import Gang
from ...network.integer import signed_bits
from .collector import DrawnLayout

__all__ = ["DigitalTable", "sum_bits"]


def sum_bits(gang: Gang) -> int:
    """Bits of the largest sum that one conversion reads."""
    most = min(gang.block, len(gang.table) * ((1 << gang.pulse_bits) - 1)) if not gang.replicates else gang.block
    return signed_bits(min(0, min(gang.table)) * most, max(0, max(gang.table)) * most)


class DigitalTable(wiring.Component):
    """sum_k count_k table_k, or sum_p table[pick_p] over the picks that are taken, in the same cycle.

    Members
    -------
    drawn : In(DrawnLayout)
    sum : Out(signed)
    """

    def __init__(self, gang: Gang):
        self.gang = gang
        super().__init__({"drawn": In(DrawnLayout(gang)), "sum": Out(signed(sum_bits(gang)))})

    def elaborate(self, platform):
        m, gang = Module(), self.gang
        bits = max(signed_bits(level, level) for level in gang.table)
        terms: list[Value] = []
        if gang.replicates:
            levels = Array([Const(level, signed(bits)) for level in gang.table])
            for p in range(gang.block):
                term = Signal(signed(bits), name=f"term{p}")
                m.d.comb += term.eq(Mux(self.drawn.taken[p], levels[self.drawn.picks[p]], 0))
                terms.append(term)
        else:
            for k, level in enumerate(gang.table):
                if level and level not in gang.table[:k]:
                    terms.append(self.drawn.counts[k] * Const(level, signed(bits)))
        while len(terms) > 1:  # a tree
            terms = [sum(terms[n : n + 2][1:], terms[n]) for n in range(0, len(terms), 2)]
        m.d.comb += self.sum.eq(terms[0] if terms else 0)
        return m
