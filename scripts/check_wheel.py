"""Check that a wheel holds every file of the four packages that git knows: `python scripts/check_wheel.py WHEEL`."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("rtl", "analog_models", "sim", "synth")


def missing_files(wheel: Path) -> list[str]:
    """Return the committed package files that the wheel lacks: modules, `py.typed` and package data alike."""
    listed = subprocess.run(["git", "ls-files", *SOURCES], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    return [name for name in listed.stdout.splitlines() if name.split("/", 1)[1] not in inside]


def main() -> int:
    """Check the wheel named on the command line; return the exit code."""
    if len(sys.argv) != 2:
        print("usage: check_wheel.py WHEEL", file=sys.stderr)
        return 2
    missing = missing_files(Path(sys.argv[1]))
    for name in missing:
        print(f"{sys.argv[1]}: lacks {name}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
