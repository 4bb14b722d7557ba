"""Write-verify of 100 000 cells to 41 levels: noisy pulses, noisy reads, 5 % stuck cells.

Twice: the Python reference of the analog models, and the integer model of the gateware's state machine, which the
gateware equals pulse for pulse (tests/test_crossbar.py), with columns of unequal offset and gain, calibrated.
"""

import time

import numpy as np
from _common import main, stream

from spikeloom_analog import RRAM, Device, StuckAt, WritableCells, write_verify
from spikeloom_analog.cells import STATE, CellArray, cell_tables, levels_of, write_verify_plan
from spikeloom_analog.cells import write_verify as integer_write_verify

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
    return gateware(device) | {
        "cells": CELLS,
        "stuck": int((~good).sum()),
        "good_within_half_a_level": round(float(within[good].mean()), 5),
        "median_pulses": float(np.median(result.pulses[good])),
        "p99_pulses": float(np.percentile(result.pulses[good], 99)),
        "stuck_off_level_found": round(float(result.fault[wrong].mean()), 5),
        "good_called_faults": int(result.fault[good].sum()),
        "seconds": round(seconds, 2),
    }


def gateware(device: Device) -> dict:
    """The same for the integers of the gateware: 256 rows, 200 columns, two cells each."""
    tables = cell_tables(device, (256, 200, 2), seed=1, stuck=0.05)
    cells, plan = CellArray(tables), write_verify_plan(device)
    level = stream(9).integers(0, device.levels or 0, tables.shape)
    begin = time.perf_counter()
    result = integer_write_verify(cells, levels_of(device)[level], plan)
    seconds = time.perf_counter() - begin
    grid = device.level_conductances
    spacing = np.log(grid[1] / grid[0])
    g = device.g_min * np.exp(cells.state / STATE)
    within = np.abs(np.log(g / grid[level])) <= spacing / 2
    good = ~tables.stuck
    wrong = ~good & ~within
    return {
        "gateware_cells": level.size,
        "gateware_stuck": int((~good).sum()),
        "gateware_good_within_half_a_level": round(float(within[good].mean()), 5),
        "gateware_lowest_level_within_half_a_level": round(float(within[good & (level == 0)].mean()), 5),
        "gateware_median_pulses": float(np.median(result.pulses[good])),
        "gateware_p99_pulses": float(np.percentile(result.pulses[good], 99)),
        "gateware_stuck_off_level_found": round(float(result.fault[wrong].mean()), 5),
        "gateware_stuck_on_level": int((~good & within).sum()),
        "gateware_good_called_faults": int(result.fault[good].sum()),
        "gateware_read_us": 2**plan.average * 0.01,
        "gateware_seconds": round(seconds, 2),
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
