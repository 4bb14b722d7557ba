"""Write-verify of 100 000 cells to 41 levels: noisy pulses, noisy reads, 5 % stuck cells, unequal columns calibrated.

The integers are those of the gateware's state machine, which equals them pulse for pulse (tests/test_crossbar.py).
"""

import time

import numpy as np
from _common import main, stream

from spikeloom.mapping.write_verify import WriteVerifyPlan
from spikeloom_analog import RRAM, CellArray, cell_tables, write_verify
from spikeloom_analog.cells import conductances, levels_of

SHAPE = (256, 200, 2)
"""Rows, columns, cells per synapse."""


def measure() -> dict:
    """How many good cells arrive, in how many pulses, and whether the stuck ones are found."""
    device = RRAM.sky130()
    tables = cell_tables(device, SHAPE, seed=1, stuck=0.05)
    cells, plan = CellArray(tables), WriteVerifyPlan()
    level = stream(9).integers(0, device.levels or 0, tables.shape)
    begin = time.perf_counter()
    result = write_verify(cells, levels_of(device)[level], plan)
    seconds = time.perf_counter() - begin
    grid = device.level_conductances
    spacing = np.log(grid[1] / grid[0])
    within = np.abs(np.log(conductances(cells) / grid[level])) <= spacing / 2
    good = ~tables.stuck
    wrong = ~good & ~within
    return {
        "cells": level.size,
        "stuck": int((~good).sum()),
        "good_within_half_a_level": round(float(within[good].mean()), 5),
        "lowest_level_within_half_a_level": round(float(within[good & (level == 0)].mean()), 5),
        "median_pulses": float(np.median(result.pulses[good])),
        "p99_pulses": float(np.percentile(result.pulses[good], 99)),
        "stuck_off_level_found": round(float(result.fault[wrong].mean()), 5),
        "stuck_on_level": int((~good & within).sum()),
        "good_called_faults": int(result.fault[good].sum()),
        "read_us": 2**plan.average * 0.01,
        "seconds": round(seconds, 2),
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
