"""Energy of an array core and of sequential updates, from the same counts: row activations, swings, column operations.

In place a row activation serves all columns. A sequential update activates a row for a word: the columns that share
its sense amplifiers discharge with it (`column_multiplex`). Nothing here is silicon: it is counts times parameters.
"""

from dataclasses import dataclass
from typing import ClassVar

from ..sourced import Sourced
from .cim import CimPlan, SequentialPlan
from .cim_cost import CimReport
from .cost import CycleReport
from .plan import CorePlan

__all__ = ["EnergyParameters", "energy_pj"]


@dataclass(frozen=True, kw_only=True)
class EnergyParameters(Sourced):
    """Energies in picojoule, standing power in picowatt, the clock in megahertz."""

    FILE: ClassVar = ("spikeloom.mapping", "cim_energy.toml")
    POSITIVE: ClassVar = ("clock_mhz", "column_multiplex")

    read_pj_per_bit: float
    write_pj_per_bit: float
    row_pj: float
    half_select_pj_per_bit: float
    column_multiplex: float
    column_pj: float
    adder_pj_per_bit: float
    standing_pw_per_bit: float
    clock_mhz: float


def energy_pj(plan: CorePlan, report: CycleReport, parameters: EnergyParameters) -> dict[str, float]:
    """Energy of an input in picojoule by part: rows, bitlines, columns (or adders), standing; and their total.

    `report` is one of `CimCost.cycles`.
    """
    p = parameters
    parts = dict.fromkeys(("rows", "bitlines", "columns", "standing"), 0.0)
    stored = 0
    for entry, done in zip(plan.layers, report.layers, strict=True):
        assert isinstance(done, CimReport)
        activations = done.sum_rows + done.weight_rows + done.sum_writes
        if isinstance(entry, CimPlan):
            beside = -(-entry.layer.neurons // entry.columns)
            idle = 0.0
            columns = p.column_pj
            stored += sum(array.rows * array.columns for array in entry.arrays)
        else:
            assert isinstance(entry, SequentialPlan)
            beside, columns = 1, p.adder_pj_per_bit
            idle = (p.column_multiplex - 1) * p.half_select_pj_per_bit
            stored += entry.groups * sum(entry.lane_bits) + entry.weight_depth * entry.weight_row_bits
        parts["rows"] += activations * beside * p.row_pj
        parts["bitlines"] += done.read_swings * (p.read_pj_per_bit + idle)
        parts["bitlines"] += done.write_swings * (p.write_pj_per_bit + idle)
        parts["columns"] += done.column_operations * columns
    parts["standing"] = stored * p.standing_pw_per_bit * report.latency / p.clock_mhz * 1e-6  # pW us = 1e-6 pJ
    return parts | {"total": sum(parts.values())}
