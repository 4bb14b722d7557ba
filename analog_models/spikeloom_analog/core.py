"""A crossbar with converters as gateware sees it: integers, rounded once, a pure function of the ordered requests.

Tables are made from one programmed chip and are integers from then on; whoever computes from the same tables and the
same noise samples, in Python or in SystemVerilog, gets the same codes under any stalls. i_j = sum of table[i, j] over
the active rows + noise, in current units; code: bit by bit from the highest, kept if i_j >= thresholds[j, code - 1];
where thresholds ascend, the number of them at or below i_j. `programmed` is its counterpart for neurons.
"""

import numpy as np

from spikeloom.errors import InputError

from .checks import count, positive, whole_array
from .converters import ConverterArray, search
from .crossbar import Crossbar
from .streams import Purpose, stream

__all__ = ["CodeCore"]


class CodeCore:
    """Integer model of a crossbar with a converter at each column, of one chip.

    Members: `table` int64 [rows, columns], current units of each active row; `thresholds` int64 [columns, codes - 1].

    Parameters
    ----------
    v_read : V, on active rows. i_quantum : A, the current unit.
    """

    def __init__(
        self, crossbar: Crossbar, converters: ConverterArray, *, chip: int = 0, v_read: float, i_quantum: float
    ) -> None:
        self.v_read, self.i_quantum = positive("v_read", v_read, "V"), positive("i_quantum", i_quantum, "A")
        if count("chip", chip, 0) >= len(crossbar.seeds):
            raise InputError(f"chip: {chip} was given; accepted: 0 to {len(crossbar.seeds) - 1}")
        if converters.columns != crossbar.shape[1]:
            raise InputError(
                f"converters: {converters.columns} were given; accepted: {crossbar.shape[1]}, one per column"
            )
        self.seed, self.core = crossbar.seeds[chip], crossbar.chips.core
        self.table = np.rint(crossbar.transfer[chip] * v_read / i_quantum).astype(np.int64)
        self.thresholds = np.rint(converters.thresholds[chip] / i_quantum).astype(np.int64)
        self._variance = (v_read * crossbar.noise_weight()[chip] / i_quantum) ** 2
        self._converter = converters.noise / i_quantum
        self.rows, self.columns = self.table.shape

    def read(self, active: np.ndarray, index: int) -> np.ndarray:
        """Codes int64 [columns] of read `index`; active: rows as bool [rows] or their numbers, in any order."""
        given = np.asarray(active)
        rows = np.flatnonzero(given) if given.dtype == bool else np.unique(whole_array("active", given, 0, self.rows))
        current = self.table[rows].sum(axis=0)
        sigma = np.sqrt(self._variance[rows].sum(axis=0) + self._converter**2)
        z = stream(self.seed, self.core, Purpose.READ, count("index", index, 0)).standard_normal(self.columns)
        current = current + np.rint(sigma * z).astype(np.int64)
        return search(self.thresholds, current)
