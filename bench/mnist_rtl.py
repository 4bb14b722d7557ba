"""All 10 000 MNIST test images through compiled RTL, compared with the reference; build included in the time."""

import os
import tempfile
import time
from pathlib import Path

from _common import data_folder, main, scratch, zoo_project

from spikeloom.config import DataConfig
from spikeloom.export import elaborate
from spikeloom_sim.flow import SimulationOptions, simulate_build

IMAGES = 10_000


def measure() -> dict:
    """The figures of the table in the README."""
    data = DataConfig(set="mnist", path=str(data_folder("mnist")), inputs=IMAGES)
    with scratch() as place, tempfile.TemporaryDirectory(prefix="spikeloom-cache-") as cache:
        os.environ["SPIKELOOM_CACHE"] = cache  # nothing may be compiled already
        begin = time.monotonic()
        project = zoo_project("mnist8", data=data)
        folder = Path(place, "mnist8")
        elaborate(project, folder)
        result = simulate_build(project, folder, SimulationOptions())
        seconds = time.monotonic() - begin
    return {
        "images": result["inputs"],
        "accuracy": result["accuracy"]["rtl"],
        "accuracy_reference": result["accuracy"]["reference"],
        "steps": result["steps"],
        "mismatches": sum(count or 0 for count in result["mismatches"].values()),
        "compared": [name for name, count in result["mismatches"].items() if count is not None],
        "latency_cycles": result["latency_cycles"],
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
