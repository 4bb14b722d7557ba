"""Failures of external tools, with the log that tells the rest."""

from pathlib import Path

from spikeloom.errors import SpikeloomError

__all__ = ["FlowError"]


class FlowError(SpikeloomError):
    """A tool failed; the message has its own words and the path of its log."""

    def __init__(self, reason: str, log: Path):
        super().__init__(f"{reason}\nlog: {log}")
        self.reason = reason
        self.log = log
