"""Energy of an array core and of sequential updates, from the same counts: row activations, swings, column operations.

In place a row activation serves all columns. A sequential update activates a row for a word: the columns that share
its sense amplifiers discharge with it (`column_multiplex`). Nothing here is silicon: it is counts times parameters.
"""

import dataclasses
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ..errors import InputError
from .cim import CimPlan, SequentialPlan
from .cim_cost import CimReport
from .cost import CycleReport
from .plan import CorePlan

__all__ = ["EnergyParameters", "energy_pj"]

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class EnergyParameters:
    """Energies in picojoule, standing power in picowatt, the clock in megahertz; `sources` says where each is from."""

    name: str
    read_pj_per_bit: float
    write_pj_per_bit: float
    row_pj: float
    half_select_pj_per_bit: float
    column_multiplex: float
    column_pj: float
    adder_pj_per_bit: float
    standing_pw_per_bit: float
    clock_mhz: float
    sources: dict[str, str]

    @classmethod
    def default(cls) -> "EnergyParameters":
        """Those that come with Spikeloom."""
        return cls._parse(
            resources.files("spikeloom.mapping").joinpath("cim_energy.toml").read_text("utf-8"), "cim_energy.toml"
        )

    @classmethod
    def read(cls, path: Path | str) -> "EnergyParameters":
        """Those of a file like `cim_energy.toml`.

        Raises
        ------
        InputError
            For a file that cannot be read, of another schema, or with a parameter that is missing, unknown, not a
            number of at least 0 (the clock, the multiplex: above 0) or without a source.
        """
        try:
            return cls._parse(Path(path).read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text: {error}") from error

    @classmethod
    def _parse(cls, text: str, origin: str) -> "EnergyParameters":
        try:
            given = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{origin}: not TOML: {error}") from error
        if given.pop("schema", None) != SCHEMA:
            raise InputError(f"{origin}: schema: accepted is {SCHEMA}")
        name = given.pop("name", None)
        if not isinstance(name, str):
            raise InputError(f"{origin}: name: {name!r} was given; accepted is a text")
        wanted = [f.name for f in dataclasses.fields(cls) if f.name not in ("name", "sources")]
        if set(given) != set(wanted):
            odd = ", ".join(sorted(set(given) ^ set(wanted)))
            raise InputError(f"{origin}: {odd}: missing or unknown; accepted are {', '.join(wanted)}")
        values, sources = {}, {}
        for key in wanted:
            entry = given[key]
            if not isinstance(entry, dict) or set(entry) != {"value", "source"} or not isinstance(entry["source"], str):
                raise InputError(f"{origin}: {key}: {entry!r} was given; accepted is {{value, source}}")
            value, positive = entry["value"], key in ("clock_mhz", "column_multiplex")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not (value > 0 if positive else value >= 0):
                accepted = "above 0" if positive else "of at least 0"
                raise InputError(f"{origin}: {key}: {value!r} was given; accepted is a number {accepted}")
            values[key], sources[key] = float(value), entry["source"]
        return cls(name=name, sources=sources, **values)


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
