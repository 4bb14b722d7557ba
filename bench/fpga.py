"""Bitstreams of two boards: the digits network on an iCEBreaker, the MNIST network (mnist8) on a ULX3S."""

import dataclasses
from pathlib import Path

from _common import main, scratch, zoo_project

from spikeloom.config import DigitalConfig
from spikeloom.errors import ToolMissing
from spikeloom.host.board import BOARDS
from spikeloom_synth.fpga_build import FpgaOptions, build

CASES = (("icebreaker", "digits", DigitalConfig(lanes=[8, 2])), ("ulx3s", "mnist8", DigitalConfig()))


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
        placed = {**report["mapped"], **report["placed"]}
        answer[board] = {
            "network": network,
            **placed,
            "fmax_mhz": report["fmax_mhz"],
            "clock_mhz": report["clock_mhz"],
            "lanes": dataclasses.asdict(core)["lanes"],
            "seconds": report["seconds"],
            "tools": report["tools"],
        }
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
