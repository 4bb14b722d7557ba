"""The tables of weight-shared cores as memristors behind a converter: see docs/shared.md."""

from .chip import SharedChips, shared_chips
from .table import ProgrammedTables, TableParameters, program_tables

__all__ = ["ProgrammedTables", "SharedChips", "TableParameters", "program_tables", "shared_chips"]
