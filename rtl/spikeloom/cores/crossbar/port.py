"""The analog port: every signal between the digital side of a crossbar layer and its array of cells and neurons."""

from amaranth.hdl import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ...items import address_bits
from ...mapping.write_verify import AMPLITUDES, CODE_BITS

__all__ = ["AccessKind", "AccessLayout", "AnalogPort"]


class AccessKind(enum.Enum, shape=2):
    """What one access to a cell does."""

    SET = 0
    """One pulse that raises the conductance."""
    RESET = 1
    """One pulse that lowers it."""
    READ = 2
    """Read the cell."""
    REFERENCE = 3
    """Read the reference row of the column (`row` 1), or the column with all gates closed (`row` 0)."""


class AccessLayout(data.StructLayout):
    """One access: {kind, row, column, cell, amount}: the amplitude of a pulse, or log2 of the readings averaged."""

    def __init__(self, rows: int, columns: int, cells: int):
        super().__init__(
            {
                "kind": AccessKind,
                "row": address_bits(rows),
                "column": address_bits(columns),
                "cell": address_bits(cells),
                "amount": (AMPLITUDES - 1).bit_length(),
            }
        )


class AnalogPort(wiring.Signature):
    """Between the digital side and an array of `rows` x `columns` synapses of `cells` cells each.

    Members
    -------
    run : Out(1)
        A window is under way: in each cycle in which it is high, one clock period of analog time passes.
    cycle : Out
        Number of that cycle since the start of the window. Elapsed time is this field and nothing else.
    window : Out(32)
        Number of the window since reset.
    clear : Out(1)
        All membranes to rest; high for the reset time before a window that starts an input.
    gate : Out(rows)
        Opens the access transistors of a row and drives it. From flip-flops; 0 outside of windows.
    spike : In(columns)
        Asynchronous. Rises when a neuron crosses its threshold, at the latest one clock period later, and stays high
        for the reset time (at least one period); low for at least one period between two spikes.
    access : Out(stream of AccessLayout)
        Writes and reads of single cells, only while `run` and `clear` are low. One at a time.
    answer : In(stream(12))
        The code of each READ and REFERENCE, 0 after a pulse: one per access, in order. Taken when it is offered.
    """

    def __init__(self, rows: int, columns: int, *, cells: int, cycles: int):
        super().__init__(
            {
                "run": Out(1),
                "cycle": Out(range(max(2, cycles))),
                "window": Out(32),
                "clear": Out(1),
                "gate": Out(rows),
                "spike": In(columns),
                "access": Out(stream.Signature(AccessLayout(rows, columns, cells))),
                "answer": In(stream.Signature(CODE_BITS)),
            }
        )
