"""Crossbar solvers: equal to a sparse nodal solve, and how much faster, side by side in one run (medians).

The sparse solve is assembled from the incidence matrix of the array and factorised anew for each vector, as a program
does that gets a vector and an array.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "2")  # of a machine with two cores, whatever it has
os.environ.setdefault("OMP_NUM_THREADS", "2")

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _common import main, stream
from scipy.sparse import csc_matrix, diags
from scipy.sparse.linalg import spsolve

from spikeloom_analog.crossbar import Crossbar, IRLossWarning, Wire
from spikeloom_analog.devices import ideal
from spikeloom_analog.ladder import bit_line_currents, transfer_matrix

SIZES = [(64, 64, 2.0, 2.0), (128, 128, 2.0, 2.0), (256, 256, 2.0, 2.0), (96, 40, 2.0, 2.0), (64, 64, 0.5, 3.0)]
BATCH, TURNS = 1024, 7


def sparse_solve(g: np.ndarray, v: np.ndarray, r_wl: float | None, r_bl: float) -> np.ndarray:
    """Column currents by Kirchhoff's law, A' C (A x - e) = 0. r_wl None: ideal source lines, cells where v is not 0."""
    bit = np.arange(g.size).reshape(g.shape)
    word = bit + g.size
    ends, siemens, source = [], [], []

    def branches(p: Any, q: Any, y: Any, e: Any = 0.0) -> None:  # from p to q; -1 is ground; e is a source in series
        p, q = np.broadcast_arrays(p, q)
        ends.append(np.stack([p.ravel(), q.ravel()]))
        siemens.append(np.broadcast_to(y, p.shape).ravel())
        source.append(np.broadcast_to(e, p.shape).ravel())

    if r_wl is None:
        branches(-1, bit, np.where(v[:, None] != 0, g, 0.0), v[:, None])
    else:
        branches(word, bit, g)
        branches(-1, word[:, 0], 1 / r_wl, v)
        branches(word[:, :-1], word[:, 1:], 1 / r_wl)
    branches(bit[:-1], bit[1:], 1 / r_bl)
    branches(bit[-1], -1, 1 / r_bl)
    (p, q), y, e = np.concatenate(ends, axis=1), np.concatenate(siemens), np.concatenate(source)
    size, branch = g.size * (1 if r_wl is None else 2), np.arange(len(y))
    sign = np.concatenate([np.ones(len(y)), -np.ones(len(y))])
    node = np.concatenate([p, q])
    kept = node >= 0
    incidence = csc_matrix((sign[kept], (np.tile(branch, 2)[kept], node[kept])), shape=(len(y), size))
    weighted = incidence.T @ diags(y)
    x = spsolve((weighted @ incidence).tocsc(), -weighted @ e, permc_spec="MMD_AT_PLUS_A")
    return np.asarray(x)[bit[-1]] / r_bl


def seconds(run: Callable[[], object], turns: int = TURNS) -> float:
    """Median time."""
    times = []
    for _ in range(turns + 1):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return float(np.median(times[1:]))


def measure() -> dict:
    """Equality of both topologies, times, ratios."""
    answer: dict = {"row_driven_worst_relative_error": 0.0, "gated_worst_relative_error": 0.0}
    warnings.simplefilter("ignore", IRLossWarning)
    for number, (rows, columns, r_wl, r_bl) in enumerate(SIZES):
        rng = stream(5, number)
        g, v = rng.uniform(1e-6, 100e-6, (rows, columns)), rng.uniform(0.0, 0.3, rows)
        error = np.abs(v @ transfer_matrix(g, r_wl, r_bl) / sparse_solve(g, v, r_wl, r_bl) - 1).max()
        answer["row_driven_worst_relative_error"] = max(answer["row_driven_worst_relative_error"], float(error))
        v[rng.random(rows) < 0.5] = 0.0
        found = Crossbar(g, device=ideal(g_max=100e-6), topology="gated_1t1r", wire=Wire(r_wl, r_bl)).currents(v[None])
        error = np.abs(found[0, 0] / sparse_solve(g, v, None, r_bl) - 1).max()
        answer["gated_worst_relative_error"] = max(answer["gated_worst_relative_error"], float(error))

    rng = stream(6)
    g, batch = rng.uniform(1e-6, 100e-6, (128, 128)), rng.uniform(0.0, 0.3, (BATCH, 128))
    crossbar = Crossbar(g, device=ideal(g_max=100e-6), wire=Wire(2.0, 2.0))
    crossbar.currents(batch)  # builds the matrix
    fresh, read = [], []
    for _ in range(TURNS):
        fresh.append(seconds(lambda: sparse_solve(g, batch[0], 2.0, 2.0), turns=1))
        read.append(seconds(lambda: crossbar.currents(batch)) / BATCH)
    answer["row_driven_128_us_per_vector"] = round(1e6 * float(np.median(read)), 3)
    answer["row_driven_128_times_faster_than_sparse"] = round(float(np.median(fresh) / np.median(read)))
    g = rng.uniform(1e-6, 100e-6, (256, 256))
    answer["build_256_seconds"] = round(seconds(lambda: transfer_matrix(g, 2.0, 2.0), turns=5), 3)

    for size in (64, 128):
        g, v = rng.uniform(1e-6, 100e-6, (size, size)), rng.uniform(0.01, 0.3, size)
        fresh, single = [], []
        for _ in range(TURNS):
            fresh.append(seconds(lambda g=g, v=v: sparse_solve(g, v, None, 2.0), turns=1))
            single.append(seconds(lambda g=g, v=v: bit_line_currents(g, v[:, None], 2.0), turns=5))
        crossbar = Crossbar(g, device=ideal(g_max=100e-6), topology="gated_1t1r", wire=Wire(2.0, 2.0))
        batch = rng.uniform(0.01, 0.3, (256, size))
        batched = seconds(lambda crossbar=crossbar, batch=batch: crossbar.currents(batch), turns=3) / len(batch)
        answer[f"gated_{size}_us_per_vector_batched"] = round(1e6 * batched, 1)
        answer[f"gated_{size}_us_per_vector"] = round(1e6 * float(np.median(single)), 1)
        answer[f"gated_{size}_times_faster_than_sparse"] = round(float(np.median(fresh) / np.median(single)))
        answer[f"gated_{size}_times_faster_than_sparse_batched"] = round(float(np.median(fresh) / batched))
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
