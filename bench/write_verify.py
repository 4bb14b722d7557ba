"""Write-verify of 100 000 cells to 41 levels: noisy pulses, noisy reads, 5 % stuck cells (the Python reference)."""

import time

import numpy as np
from _common import main, stream

from spikeloom_analog import RRAM, StuckAt, WritableCells, write_verify

CELLS = 100_000


def measure() -> dict:
    """How many good cells arrive, in how many pulses, and whether the stuck ones are found."""
    device = RRAM.sky130()
    cells = WritableCells(device, CELLS, seed=1, faults=StuckAt(0.025, 0.025))
    level = stream(9).integers(0, device.levels or 0, CELLS)
    begin = time.perf_counter()
    result = write_verify(cells, level)
    seconds = time.perf_counter() - begin
    grid = device.level_conductances
    edge = np.concatenate([[0.0], (grid[1:] + grid[:-1]) / 2, [np.inf]])
    within = (cells.conductance > edge[level]) & (cells.conductance < edge[level + 1])
    good = cells.stuck == 0
    wrong = ~good & ~within
    return {
        "cells": CELLS,
        "stuck": int((~good).sum()),
        "good_within_half_a_level": round(float(within[good].mean()), 5),
        "median_pulses": float(np.median(result.pulses[good])),
        "p99_pulses": float(np.percentile(result.pulses[good], 99)),
        "stuck_off_level_found": round(float(result.fault[wrong].mean()), 5),
        "good_called_faults": int(result.fault[good].sum()),
        "seconds": round(seconds, 2),
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
