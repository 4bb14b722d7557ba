"""All 10 000 MNIST test images, and the digits, through arrays on compiled RTL, against the reference."""

import dataclasses
import os
import tempfile
import time
from pathlib import Path

from _common import data_folder, main, scratch, zoo_project

from spikeloom.config import CimConfig, DataConfig, QuantiseConfig
from spikeloom.export import elaborate
from spikeloom.project import Project
from spikeloom_sim.flow import SimulationOptions, simulate_build

IMAGES = 10_000


def linear(project: Project) -> Project:
    """The project with its leak converted to a linear one."""
    quantise = dataclasses.replace(project.config.quantise, leak="linear")
    assert isinstance(quantise, QuantiseConfig)
    return dataclasses.replace(project, config=dataclasses.replace(project.config, quantise=quantise))


def run(place: str, name: str, core: CimConfig, data: DataConfig | None) -> dict:
    """Simulate network `name` of the zoo on `core`."""
    project = linear(zoo_project(name, core=core, data=data))
    folder = Path(place, name)
    manifest = elaborate(project, folder)
    result = simulate_build(project, folder, SimulationOptions())
    layers = manifest["cost"]["layers"]
    return {
        f"{name}_images": result["inputs"],
        f"{name}_accuracy": result["accuracy"]["rtl"],
        f"{name}_mismatches": sum(count or 0 for count in result["mismatches"].values()),
        f"{name}_compared": [what for what, count in result["mismatches"].items() if count is not None],
        f"{name}_latency_cycles": result["latency_cycles"],
        f"{name}_bits": [layer["bits"] for layer in layers],
        f"{name}_arrays": [layer["arrays"] for layer in layers],
        f"{name}_leaks": [layer["leak"] for layer in manifest["layers"]],
    }


def measure() -> dict:
    """The figures of docs/cim.md."""
    mnist = DataConfig(set="mnist", path=str(data_folder("mnist")), inputs=IMAGES)
    with scratch() as place, tempfile.TemporaryDirectory(prefix="spikeloom-cache-") as cache:
        os.environ["SPIKELOOM_CACHE"] = cache  # nothing may be compiled already
        begin = time.monotonic()
        answer = run(place, "digits", CimConfig(kind="cim"), DataConfig(set="digits", inputs=360))
        answer |= run(place, "mnist8", CimConfig(kind="cim"), mnist)
        return answer | {"seconds": round(time.monotonic() - begin, 1)}


if __name__ == "__main__":
    main(measure, __doc__ or "")
