"""The MNIST network on one 16-lane engine, through synthesis, timing and power on each kit that is here.

Cell area at the recipe that reaches the clock, clock register to register, with estimated memories, energy of an
inference on the bench's inputs, and how long OSU018 takes from Yosys to power.
"""

import time
from pathlib import Path

from _common import data_folder, main, scratch, zoo_project

from spikeloom.config import DataConfig, DigitalConfig
from spikeloom.export import elaborate
from spikeloom_synth.flow import synthesise
from spikeloom_synth.options import SynthOptions
from spikeloom_synth.pdks import installed_pdks

CLOCKS = {"osu018": 200, "sky130hd": 150, "gf180": 80, "ihp-sg13g2": 150, "nangate45": 500, "asap7": 1000}
"""Target clock of each kit in MHz."""
INPUTS = 2


def measure() -> dict:
    """The figures."""
    data = DataConfig(set="mnist", path=str(data_folder("mnist")))
    project = zoo_project("mnist4", data=data, core=DigitalConfig(lanes=16))
    answer: dict = {"inputs": INPUTS, "steps": project.config.input.steps}
    with scratch() as place:
        build = Path(place, "mnist4")
        elaborate(project, build, inputs=project.inputs(INPUTS))
        for name in installed_pdks(CLOCKS):
            start = time.perf_counter()
            result = synthesise(build, SynthOptions(pdk=name, clock_mhz=CLOCKS[name], fpga=()))
            timing, power = result["timing"], result["power"]
            answer[name] = {
                "clock_mhz": CLOCKS[name],
                "um2": result["area"]["um2"],
                "flip_flops": result["area"]["flip_flops"],
                "recipe": result["area"]["label"]["recipe"],
                "mhz": timing["registers"]["fmax_mhz"],
                "mhz_with_memories": timing["memories"]["fmax_mhz"],
                "memory_um2": result["memories"]["um2"],
                "logic_nj_per_inference": power["energy_per_inference_j"]["logic"] * 1e9,
                "memory_nj_per_inference": power["energy_per_inference_j"]["memory_assumed"] * 1e9,
                "corner": result["area"]["label"]["corner"],
                "volt": result["area"]["label"]["voltage_v"],
                "seconds": round(time.perf_counter() - start, 1),
            }
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
