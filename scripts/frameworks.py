#!/usr/bin/env python3
"""Put the frameworks whose NIR files tests/test_frameworks.py imports into a folder: `frameworks.py FOLDER`.

They go beside the virtual environment, not into it, and without their dependencies but torch's, because sinabs pins a
version of nir that is too old for Spikeloom and works with newer ones. Use: `PYTHONPATH=FOLDER pytest
tests/test_frameworks.py`.

Where pip would bring a torch with CUDA (gigabytes), or cannot get one, nothing is installed and the line that this
program prints says so; the tests then skip themselves. The exit code is 0 all the same.
"""

import json
import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
FRAMEWORKS = ("snntorch==1.0.0", "norse==1.1.0", "nirtorch==2.6", "sinabs==3.1.3", "pbr==7.1.3")
"""Versions that were tested; pbr is how sinabs finds its own."""


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pip of this Python."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")


def packages(report: str) -> list[str]:
    """Names of what pip would install, from its JSON report."""
    return [str(item["metadata"]["name"]).lower() for item in json.loads(report)["install"]]


def too_large(names: list[str]) -> str | None:
    """Why these packages are not installed, or None."""
    cuda = [name for name in names if name.startswith(("nvidia", "cuda", "triton"))]
    return f"pip would bring torch with CUDA ({cuda[0]} and others); name an index of CPU builds" if cuda else None


def install(folder: Path) -> str | None:
    """Install all into `folder`; return why not, where that cannot be."""
    planned = pip("install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-", TORCH)
    if planned.returncode:
        return f"{TORCH} cannot be had: {planned.stderr.strip().splitlines()[-1:]}"
    reason = too_large(packages(planned.stdout))
    if reason:
        return reason
    for arguments in ((TORCH,), ("--no-deps", *FRAMEWORKS)):
        done = pip("install", "--quiet", "--target", str(folder), *arguments)
        if done.returncode:
            return f"{' '.join(arguments)} cannot be installed: {done.stderr.strip().splitlines()[-1:]}"
    return None


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: frameworks.py FOLDER")
    skipped = install(Path(sys.argv[1]))
    print(f"frameworks skipped: {skipped}" if skipped else f"frameworks: {', '.join(FRAMEWORKS)}, {TORCH}")
