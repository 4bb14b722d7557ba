"""Bitstreams: the digits network on an iCEBreaker, the MNIST network (mnist8) on a ULX3S, and on an iCEBreaker with
weights in SPRAM; and the MNIST network synthesised for an Arty."""

import dataclasses
from pathlib import Path

from _common import main, scratch, zoo_project

from spikeloom.config import DigitalConfig
from spikeloom.errors import ToolMissing
from spikeloom.host.board import BOARDS
from spikeloom_synth.fpga_build import FpgaOptions, build

CASES = (
    ("icebreaker", "digits", DigitalConfig(lanes=[8, 2])),
    ("icebreaker", "mnist8", DigitalConfig(weights="loaded", lanes=8)),
    ("ulx3s", "mnist8", DigitalConfig()),
    ("arty_a7_100", "mnist8", DigitalConfig()),
)


def measure() -> dict:
    answer = {}
    for board, network, core in CASES:
        project = zoo_project(network, core=core)
        with scratch() as folder:
            target = Path(folder, "build", network, "fpga", board)
            try:
                report = build(project, BOARDS[board], target, FpgaOptions())
            except ToolMissing as error:
                return {"skipped": str(error)}
        answer[f"{board}_{network}"] = {
            **report["mapped"],
            **report.get("placed", {}),
            "fmax_mhz": report.get("fmax_mhz"),
            "clock_mhz": report["clock_mhz"],
            "lanes": dataclasses.asdict(core)["lanes"],
            "seconds": report["seconds"],
            "tools": report["tools"],
        }
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
