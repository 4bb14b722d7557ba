"""Wire resistance of crossbars, solved exactly: one ladder of resistors, and the transfer matrix of an array.

Row i of an array is driven at its column 0; the bit line of column j runs down the rows to a virtual ground behind the
last one. `r_wl`, `r_bl` are ohms per segment; a word line has one segment before each cell, a bit line one after each.
"""

from functools import cache

import numpy as np
from scipy.linalg import get_lapack_funcs
from threadpoolctl import ThreadpoolController

from spikeloom.errors import SpikeloomError

__all__ = ["bit_line_currents", "bit_line_gains", "bit_line_voltages", "transfer_matrix"]

_POTRF, _POTRI, _PTSV = get_lapack_funcs(("potrf", "potri", "ptsv"), dtype=np.float64)


def bit_line_currents(g: np.ndarray, v: np.ndarray, r_bl: float) -> np.ndarray:
    """Current of bit lines whose source lines are ideal: A, broadcast of g and v without their rows.

    Norton equivalent (conductance H, current J), cell by cell towards the virtual ground:

        H <- H / (1 + r H) + g_i        J <- J / (1 + r H) + g_i v_i        I = J / (1 + r H) at the end

    with the common denominator D of H = N / D and J kept apart, so that no division is left:

        D_i = D_{i-1} + r N_{i-1}       N_i = N_{i-1} + g_i D_i             I = sum_i g_i v_i D_i / (D + r N) at the end

    Sums and products of positive numbers only, so nothing cancels; O(rows * columns), any leading dimensions.

    Parameters
    ----------
    g : S, [..., rows, columns]; 0 where a gate is closed.
    v : source voltage against the virtual ground, V, [..., rows, columns] or [..., rows, 1].
    """
    g = np.asarray(g, np.float64)
    if r_bl > 0 and g.size // g.shape[-2] < SMALL and np.ndim(v) <= g.ndim:
        return _by_tridiagonal_solver(g, v, r_bl)
    with np.errstate(over="ignore", invalid="ignore"):
        d, end = _denominators(g, r_bl)
        result = (d * g * v).sum(axis=-2) / end
    return result if np.isfinite(end).all() else (g * bit_line_gains(g, r_bl) * v).sum(axis=-2)


SMALL = 1024
"""Bit lines below which a step over one row costs more in overhead than in arithmetic."""


def _denominators(g: np.ndarray, r_bl: float) -> tuple[np.ndarray, np.ndarray]:
    """D of each row [..., rows, columns] and D + r N at the end [..., columns]."""
    scaled = np.ascontiguousarray(np.moveaxis(r_bl * g, -2, 0))  # one row after the other in memory; n is r N
    d, n = np.empty_like(scaled), scaled[0].copy()
    part = np.empty_like(n)
    d[0] = 1.0
    for before, row, cell in zip(d, d[1:], scaled[1:], strict=False):
        np.add(before, n, out=row)
        np.multiply(cell, row, out=part)
        np.add(n, part, out=n)
    return np.moveaxis(d, 0, -2), d[-1] + n


def _by_tridiagonal_solver(g: np.ndarray, v: np.ndarray, r_bl: float) -> np.ndarray:
    """The same currents from one call of LAPACK: all ladders behind one another, nothing couples them."""
    flow, c = np.swapaxes(g, -1, -2), 1 / r_bl
    diagonal = flow + 2 * c
    diagonal[..., 0] -= c  # no segment above the first row
    beside = np.full(flow.shape, -c)
    beside[..., -1] = 0.0
    source = np.ascontiguousarray(np.swapaxes(g * v, -1, -2))
    _, _, node, info = _PTSV(diagonal.ravel(), beside.ravel()[:-1], source.ravel())
    if info:
        raise SpikeloomError(f"the nodal matrix of these bit lines is not positive definite in row arithmetic ({info})")
    return node.reshape(flow.shape)[..., -1] * c


def bit_line_gains(g: np.ndarray, r_bl: float) -> np.ndarray:
    """Part of each cell's short-circuit current that reaches the virtual ground, shape of g [..., rows, columns].

    With H_k the Norton conductance above segment k, the product of 1 / (1 + r H_k) over the segments below the cell.
    """
    g = np.asarray(g)
    factors = np.empty(g.shape)
    h = np.zeros(g.shape[:-2] + g.shape[-1:])
    for i in range(g.shape[-2]):
        h = h + g[..., i, :]
        factors[..., i, :] = 1 / (1 + r_bl * h)
        h = h * factors[..., i, :]
    return np.cumprod(factors[..., ::-1, :], axis=-2)[..., ::-1, :]


def transfer_matrix(g: np.ndarray, r_wl: float, r_bl: float) -> np.ndarray:
    """T [S] of one row-driven array of ohmic cells, [rows, columns]: I = V @ T, every wire and every path included.

    Forward elimination of the rows, with c and a the segment conductances of bit and word line, G_i the diagonal of row
    i and W_i the tridiagonal matrix of its word line:

        S_i = G_i - G_i W_i^-1 G_i      u_i = a G_i W_i^-1 e_0
        P_1 = S_1 + c , P_i = S_i + 2c - c^2 P_{i-1}^-1
        T_i = u_i;  T_1..i <- c T_1..i P_i^-1

    P_i is symmetric positive definite: Cholesky. Memory N^2 + M N. Without wires T is g; with wires on one side only,
    the ladders of the other side are independent.
    """
    g = np.asarray(g, np.float64)
    rows, columns = g.shape
    if r_wl == 0 and r_bl == 0:
        return g.copy()
    if r_wl == 0:
        return g * bit_line_gains(g, r_bl)
    if r_bl == 0:  # a word line is a ladder of cells to ground: by reciprocity, the gain of each towards the driver
        return g * bit_line_gains(g[:, ::-1].T, r_wl).T[:, ::-1]
    a, c = 1 / r_wl, 1 / r_bl
    transfer = np.empty((rows, columns))
    above = np.zeros((columns, columns))  # seen from the bit-line nodes of row i: c - c^2 P^-1 of the row before
    diagonal = np.diag_indices(columns)
    lower = np.tri(columns, dtype=bool)
    word_lines = _word_lines(g, a)
    # Many products of small matrices: threads of the linear algebra wait for each other longer than they work.
    with _pools().limit(limits=1, user_api="blas"):
        for i in range(rows):
            inverse = _word_line_inverse(word_lines[0][i], word_lines[1][i], lower)
            transfer[i] = a * g[i] * inverse[:, 0]
            inverse *= g[i]
            inverse *= g[i][:, None]
            above -= inverse
            above[diagonal] += g[i] + c
            above = _invert(above, lower)
            transfer[: i + 1] = transfer[: i + 1] @ above
            transfer[: i + 1] *= c
            above *= -c * c
            above[diagonal] += c
    return transfer


@cache
def _pools() -> ThreadpoolController:
    """The thread pools of NumPy's and SciPy's linear algebra, looked for once."""
    return ThreadpoolController()


def _word_lines(g: np.ndarray, a: float) -> tuple[np.ndarray, np.ndarray]:
    """Of all word lines, each a tridiagonal matrix W (a to both neighbours and the driver, g to the bit lines):

    the diagonal of W^-1, and the logarithm of the product of the dividers from node 0 to node j; [rows, columns].
    """
    left, right = (
        np.empty(g.shape),
        np.empty(g.shape),
    )  # conductance to the driver's side, to the far side, of each node
    left[:, 0], right[:, -1] = a, 0.0
    for j in range(1, g.shape[1]):
        behind = left[:, j - 1] + g[:, j - 1]
        left[:, j] = a * behind / (a + behind)
        behind = right[:, -j] + g[:, -j]
        right[:, -j - 1] = a * behind / (a + behind)
    # A current into node j raises node j - 1 by the divider of the segment between them and what is on that side.
    step = a / (a + left[:, :-1] + g[:, :-1])
    logs = np.concatenate([np.zeros((len(g), 1)), np.cumsum(np.log(step), axis=1)], axis=1)
    return 1 / (left + g + right), logs


def _word_line_inverse(diagonal: np.ndarray, logs: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """W^-1 of one word line: semiseparable, W^-1[i, j] = diagonal_j * (product of the dividers from j down to i)."""
    if logs[-1] > -450:
        along = np.exp(logs)
        inverse = diagonal * along / along[:, None]  # right for i <= j
    else:  # longer than doubles reach: what they can hardly hold is 0
        logs = logs - logs[:, None]
        inverse = diagonal * np.where((logs > -350) & (logs <= 0), np.exp(np.clip(logs, -350, 0)), 0.0)
    return np.where(lower, inverse.T, inverse)


def _invert(p: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """Inverse of a symmetric positive definite matrix; `lower` is True on and below the diagonal."""
    factor, info = _POTRF(p.T, lower=1, overwrite_a=1, clean=0)
    if info == 0:
        factor, info = _POTRI(factor, lower=1, overwrite_c=1)
    if info:
        raise SpikeloomError(f"the nodal matrix of this array is not positive definite in row arithmetic ({info})")
    return np.where(lower, factor, factor.T)


def bit_line_voltages(
    g: np.ndarray, v: np.ndarray, r_bl: float, inject: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Node voltages [V], shape of g, and currents into the virtual ground [A] of the ladders of `bit_line_currents`.

    `inject` [A], shape of g, flows into each node besides g (v - node): what a nonlinear cell carries more than g.
    """
    g = np.broadcast_to(g, np.broadcast_shapes(np.shape(g), np.shape(v), np.shape(inject)))
    source = g * v + inject
    rows = g.shape[-2]
    h, j = np.empty(g.shape), np.empty(g.shape)
    h[..., 0, :], j[..., 0, :] = g[..., 0, :], source[..., 0, :]
    for i in range(1, rows):
        scale = 1 / (1 + r_bl * h[..., i - 1, :])
        h[..., i, :] = h[..., i - 1, :] * scale + g[..., i, :]
        j[..., i, :] = j[..., i - 1, :] * scale + source[..., i, :]
    node = np.empty(g.shape)
    below = np.zeros(g.shape[:-2] + g.shape[-1:])
    for i in range(rows - 1, -1, -1):
        below = (r_bl * j[..., i, :] + below) / (1 + r_bl * h[..., i, :])
        node[..., i, :] = below
    return node, j[..., -1, :] / (1 + r_bl * h[..., -1, :])
