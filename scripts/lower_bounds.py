"""Prove the lower bounds of the dependencies: print them as exact constraints, or check that they are installed.

    python scripts/lower_bounds.py > constraints.txt     # for `pip install --constraint`
    python scripts/lower_bounds.py --check               # fails unless exactly these versions are installed
    python scripts/lower_bounds.py --tests               # the test modules that show whether these versions will do

Taken are the dependencies of the package and its extra `map`, and those of the development extra that the tests import;
the other tools of that extra (linter, type checker, wheel builder) do not run on users' machines.
"""

import argparse
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
TESTS = {
    "amaranth": ("test_neuron", "test_sram", "test_serialiser", "test_events", "test_items"),
    "amaranth-boards": ("test_fpga_build",),
    "h5py": ("test_nir_import",),
    "jinja2": ("test_export", "test_report"),
    "matplotlib": ("test_report",),
    "nir": ("test_nir_import", "test_nir_graphs", "test_nir_maps"),
    "numpy": ("test_reference", "test_coding"),
    "ortools": ("test_placement",),
    "pillow": ("test_task",),
    "pydantic": ("test_config",),
    "pyosys": ("test_export",),
    "rich": ("test_cli",),
    "scikit-learn": ("test_datasets",),
    "scipy": ("test_analog_crossbar", "test_placement", "test_nir_maps"),
    "threadpoolctl": ("test_analog_crossbar",),
    "typer": ("test_cli",),
}
"""Modules in which the fast tests use most of what we call of a dependency. The other ones would try our own code
again, which does not depend on versions. What is not named here (the simulators) is run by CI through the command line.
"""
TEST_EXTRAS = ("hypothesis", "pytest-timeout", "pytest-xdist")


def lower_bound(requirement: str) -> tuple[str, str]:
    """Return name and lowest allowed version of a requirement such as `numpy>=1.26,<3`.

    Raises
    ------
    ValueError
        If it has no lower bound, or a marker or an extra, which nothing here needs.
    """
    found = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*>=\s*([0-9][0-9A-Za-z.]*)\s*(,[^;\[]*)?", requirement.strip())
    if found is None:
        raise ValueError(f"pyproject.toml: {requirement!r} has no lower bound; accepted: NAME>=VERSION[,<VERSION]")
    return found.group(1), found.group(2)


def lower_bounds(pyproject: Path = PYPROJECT) -> dict[str, str]:
    """Return the lowest allowed version of each dependency that the package or its tests import."""
    project = tomllib.loads(pyproject.read_text())["project"]
    bounds = dict(lower_bound(each) for each in project["dependencies"] + project["optional-dependencies"]["map"])
    development = dict(lower_bound(requirement) for requirement in project["optional-dependencies"]["dev"])
    return bounds | {name: development[name] for name in TEST_EXTRAS}


def same_version(installed: str, bound: str) -> bool:
    """Say whether two versions are equal, as 2.0 and 2.0.0 are."""

    def without_zeros(version: str) -> str:
        return re.sub(r"(\.0)+$", "", version)

    return without_zeros(installed) == without_zeros(bound)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print or check the lower bounds; return the exit code."""
    parser = argparse.ArgumentParser(description="Print the lower bounds of the dependencies, or check them.")
    parser.add_argument("--check", action="store_true", help="fail unless exactly these versions are installed")
    parser.add_argument("--tests", action="store_true", help="print the test modules that try them")
    options = parser.parse_args(arguments)
    if options.tests:
        print(*sorted({f"tests/{module}.py" for modules in TESTS.values() for module in modules}))
        return 0
    wrong = 0
    for name, bound in lower_bounds().items():
        if not options.check:
            print(f"{name}=={bound}")
            continue
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = "none"
        if not same_version(installed, bound):
            print(f"{name}: {installed} is installed, the lower bound is {bound}")
            wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
