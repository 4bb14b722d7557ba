"""The analog port answered in Python, one clock cycle at a time: the same integers as `ProgrammedArray.run`."""

from dataclasses import replace

from spikeloom.errors import SpikeloomError

from .cells import RESET, SET, CellArray
from .programmed import ArrayState, ProgrammedArray, noise_samples

__all__ = ["ArrayPort"]


class ArrayPort:
    """What stands behind the analog port of one layer on one chip.

    Parameters
    ----------
    array : of one chip. steps : of a window. cells : what accesses to single cells meet, where they are made.

    A cell that was written moves the membrane by what its new conductance says.
    """

    def __init__(self, array: ProgrammedArray, *, steps: int, cells: CellArray | None = None):
        one = array.chip(0)
        self.array = replace(one, charge=one.charge.copy(), variance=one.variance.copy())  # writes change them
        self.steps, self.cells = steps, cells
        self._state = ArrayState(self.array, 1)
        self._window: int | None = None
        self._noise = None
        self._drives: dict[int, tuple] = {}

    def clock(self, *, run: int, clear: int, gate: int, cycle: int, window: int) -> int:
        """One clock edge, with the values that the port had before it; returns `spike` from this edge on.

        Raises
        ------
        SpikeloomError
            For gates that are open outside of a pulse, and a cycle beyond the window.
        """
        state, timing = self._state, self.array.timing
        if gate and (not run or cycle % timing.step >= timing.pulse):
            raise SpikeloomError(
                f"gates {gate:#x} open in cycle {cycle}, run {run}: the pulse is {timing.pulse} cycles"
            )
        if clear:
            state.clear()
        elif run:
            step, phase = divmod(cycle, timing.step)
            if step >= self.steps:
                raise SpikeloomError(f"cycle {cycle} of a window of {self.steps} steps of {timing.step}")
            if gate:
                drive, sigma = self._drive(gate)
                z = None
                if self.array.noisy:
                    if window != self._window:
                        self._window = window
                        self._noise = noise_samples(self.array, 0, window, self.steps)
                    assert self._noise is not None
                    z = self._noise[step * timing.slots + phase // timing.refresh]
                state.advance(drive, sigma, z)
            else:
                state.rest(1)
        shown = state.showing[0, 0]
        return sum(1 << n for n in shown.nonzero()[0].tolist())

    def _drive(self, gate: int) -> tuple:
        if gate not in self._drives:
            if len(self._drives) > 4096:
                self._drives.clear()
            self._drives[gate] = self.array.drive_of([gate >> n & 1 for n in range(self.array.rows)])
        return self._drives[gate]

    def access(self, *, kind: int, row: int, column: int, cell: int, amount: int) -> int:
        """One access to a cell (SET, RESET, READ, REFERENCE); returns the code, 0 for a pulse.

        Raises
        ------
        SpikeloomError
            If there are no cells to access.
        """
        if self.cells is None:
            raise SpikeloomError("an access to a cell, but the model was made without cells")
        code = self.cells.access(kind, row, column, cell, amount)
        if kind in (SET, RESET):
            charge, variance = self.cells.charge(row, column)
            self.array.charge[0, row, column] = charge
            self.array.variance[0, row, column] = variance
            self._drives.clear()
        return code
