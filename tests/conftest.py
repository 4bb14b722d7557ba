"""Fixtures that every test may use: where test data lies, and whether a tool is there.

What is missing skips a test with a reason that names the variable or the tool. In CI (`CI` is set) a missing tool
fails the run before it begins, so that nothing is silently left unproven there.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from spikeloom import tools
from spikeloom.errors import ToolMissing

EXTRAS = ("torch", "snntorch", "nextpnr-ice40", "icepack", "nextpnr-ecp5", "ecppack", "serial")
"""Not in the development extra, some are large: a test that trains, or places and routes, is skipped in CI, too."""

SYNTH_MODULES = ("test_flow", "test_fpga", "test_power", "test_timing", "test_yosys")
"""Modules in which every test runs Yosys or OpenSTA."""

# A loaded machine is no bug: no deadlines and no complaints about slow draws. CI tries the same examples every time.
settings.register_profile(
    "spikeloom", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("spikeloom")


def pytest_sessionstart(session: pytest.Session) -> None:
    """In CI, refuse to begin where a tool is missing that tests would be skipped for."""
    if os.environ.get("CI") and not hasattr(session.config, "workerinput"):
        missing = [tool.name for tool in tools.TOOLS if tool.name not in EXTRAS and tool.find() is None]
        if missing:
            raise pytest.UsageError(f"CI is set, and these tools are missing: {', '.join(missing)}; run `make setup`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of whole modules."""
    for item in items:
        if item.path.stem in SYNTH_MODULES:
            item.add_marker(pytest.mark.synth)


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
            pytest.skip(str(missing))

    return need
