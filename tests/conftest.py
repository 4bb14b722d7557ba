"""Fixtures that every test may use: where test data lies, and whether a tool is there.

What is missing skips a test with a reason that names the variable or the tool. In CI (`CI` is set) a missing tool
fails the test instead, so that nothing is silently left unproven there.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spikeloom import tools
from spikeloom.errors import ToolMissing

TRAINING = ("torch", "snntorch")
"""Not in the development extra: a test that trains is skipped in CI, too."""


def _folder(variable: str) -> Path:
    given = os.environ.get(variable)
    if not given:
        pytest.skip(f"{variable} is not set")
    folder = Path(given)
    if not folder.is_dir():
        pytest.fail(f"{variable}={given}: not a folder")
    return folder.absolute()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Data sets too large for the repository: `$SPIKELOOM_DATA`."""
    return _folder("SPIKELOOM_DATA")


@pytest.fixture(scope="session")
def pdk_folder() -> Path:
    """Liberty and LEF files of process design kits: `$SPIKELOOM_PDK`."""
    return _folder("SPIKELOOM_PDK")


@pytest.fixture(scope="session")
def flows_folder() -> Path:
    """Recorded runs of place and route: `$SPIKELOOM_FLOWS`."""
    return _folder("SPIKELOOM_FLOWS")


@pytest.fixture(scope="session")
def need_tool() -> Callable[[str], tools.Found]:
    """Return a function that gives the tool of a name, and skips the test where it is missing."""

    def need(name: str) -> tools.Found:
        try:
            return tools.require_tool(name)
        except ToolMissing as missing:
            if os.environ.get("CI") and name not in TRAINING:
                pytest.fail(str(missing))
            pytest.skip(str(missing))

    return need
