"""Run every benchmark of `bench/` and end with one table of their answers: `make bench`.

Each is a program that prints one JSON object as its last line. `SPIKELOOM_DATA`, `SPIKELOOM_PDK` and `SPIKELOOM_FLOWS`
are set to the folders beside this project when they are there and not set yet.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"SPIKELOOM_DATA": "data", "SPIKELOOM_PDK": "pdk", "SPIKELOOM_FLOWS": "openroad"}


def environment() -> dict[str, str]:
    """Return this process's environment with the folders of test data that are there."""
    shared = ROOT.parent / "shared"
    found = {variable: str(shared / name) for variable, name in FOLDERS.items() if (shared / name).is_dir()}
    return found | dict(os.environ)


def main() -> int:
    """Run the benchmarks one after the other (they measure time); return 1 if one failed."""
    answers, failed = {}, []
    for program in sorted((ROOT / "bench").glob("[!_]*.py")):
        print(f"== {program.name}", flush=True)
        begin = time.monotonic()
        lines: list[str] = []
        with subprocess.Popen(
            [sys.executable, program, "--json"], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout or ():
                print(line, end="", flush=True)
                lines.append(line)
        try:
            answers[program.stem] = json.loads(lines[-1])
        except (IndexError, ValueError):
            answers[program.stem] = None
        if process.returncode or not isinstance(answers[program.stem], dict):
            failed.append(program.name)
        print(f"   {time.monotonic() - begin:.0f} s, exit code {process.returncode}", flush=True)
    print("== all answers")
    for name, answer in answers.items():
        print(f"{name}: {json.dumps(answer)}")
    if failed or not answers:
        print(f"error: {', '.join(failed) or 'bench/ holds no benchmark'}: failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
