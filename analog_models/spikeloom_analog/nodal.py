"""General nodal analysis of an array with wires: any row or column driven, grounded or floating; nonlinear cells.

Slower than `ladder`, for what has no transfer matrix. Nodes: word line (i, j), bit line (i, j); row i is driven before
column 0, column j is read behind the last row.
"""

import numpy as np
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import splu

from spikeloom.errors import InputError, SpikeloomError

from .laws import IVLaw

__all__ = ["ArrayNodes"]


class ArrayNodes:
    """The factorised nodal matrix of one array of conductances g [S], [rows, columns].

    `driven` (rows) and `read` (columns) are True where a line has a source or a virtual ground; others float. At least
    one line must be connected. Wires have r_wl and r_bl ohms per segment, above 0.
    """

    def __init__(self, g: np.ndarray, r_wl: float, r_bl: float, driven: np.ndarray, read: np.ndarray) -> None:
        if r_wl <= 0 or r_bl <= 0:
            raise InputError(f"wire: {r_wl} and {r_bl} ohm were given; accepted by the nodal solver: above 0")
        if not (driven.any() or read.any()):
            raise InputError("every line floats; accepted: at least one driven row or one read column")
        self.g, self.a, self.c = g, 1 / r_wl, 1 / r_bl
        self.driven, self.read = driven, read
        rows, columns = g.shape
        word = np.arange(g.size).reshape(g.shape)
        bit = word + g.size
        pairs = [
            (word.ravel(), bit.ravel(), g.ravel()),
            (word[:, :-1].ravel(), word[:, 1:].ravel(), np.full(rows * (columns - 1), self.a)),
            (bit[:-1].ravel(), bit[1:].ravel(), np.full((rows - 1) * columns, self.c)),
        ]
        p, q, y = (np.concatenate(part) for part in zip(*pairs, strict=True))
        outside = np.concatenate([word[driven, 0], bit[-1, read]])
        tied = np.concatenate([np.full(driven.sum(), self.a), np.full(read.sum(), self.c)])
        size = 2 * g.size
        self._lu = splu(
            csc_matrix(
                (
                    np.concatenate([y, y, -y, -y, tied]),
                    (np.concatenate([p, q, p, q, outside]), np.concatenate([p, q, q, p, outside])),
                ),
                shape=(size, size),
            )
        )

    def solve(
        self, row_voltage: np.ndarray, column_voltage: np.ndarray, iv: IVLaw | None = None, limit: int = 60
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Currents out of the columns [A], [batch, columns]; into the rows [batch, rows]; through cells [batch, M, N].

        row_voltage [batch, rows], column_voltage [batch, columns]; entries of floating lines are ignored. With `iv`,
        chord iteration: the linear matrix stays, and what a cell carries more than g V is moved to the right-hand side.

        Raises
        ------
        SpikeloomError
            If the chord iteration does not converge: the cells are too nonlinear for their wires.
        """
        batch, (rows, columns) = len(row_voltage), self.g.shape
        tied = np.zeros((2, rows, columns, batch))
        tied[0, self.driven, 0] = self.a * row_voltage.T[self.driven]
        tied[1, -1, self.read] = self.c * column_voltage.T[self.read]
        extra = np.zeros((rows, columns, batch))
        scale = max(
            np.abs(row_voltage[:, self.driven]).max(initial=0), np.abs(column_voltage[:, self.read]).max(initial=0)
        )
        last = None
        for _ in range(limit):
            right = tied.copy()
            right[0] -= extra
            right[1] += extra
            nodes = self._lu.solve(right.reshape(-1, batch)).reshape(2, rows, columns, batch)
            across = nodes[0] - nodes[1]
            linear = self.g[..., None] * across
            if iv is None or (last is not None and np.abs(nodes - last).max() <= 1e-13 * scale):
                break
            last, extra = nodes, iv.current(self.g[..., None], across) - linear
        else:
            raise SpikeloomError(f"chord iteration: no convergence in {limit} steps; wires of less resistance help")
        out = np.where(self.read[:, None], self.c * (nodes[1, -1] - column_voltage.T), 0.0)
        into = np.where(self.driven[:, None], self.a * (row_voltage.T - nodes[0, :, 0]), 0.0)
        return out.T, into.T, np.moveaxis(linear + extra, -1, 0)
