"""Area, FPGA look-up tables and clock of the wide and the serial core, weight memories outside."""

from pathlib import Path

import numpy as np
from _common import fixed_project, main, random_network, scratch, silent_inputs, zoo_project

from spikeloom.config import DigitalConfig
from spikeloom.export import elaborate
from spikeloom_synth.flow import synthesise
from spikeloom_synth.options import SynthOptions


def figures(project, folder: Path, clock_mhz: float) -> tuple[dict, dict]:
    """Synthesis of a project on OSU018 and Xilinx 7, and its manifest."""
    manifest = elaborate(project, folder, inputs=silent_inputs(project))
    return synthesise(folder, SynthOptions(clock_mhz=clock_mhz, power=False, fpga=("xc7",))), manifest


def measure() -> dict:
    """The figures of the table in the README; `spiker_` is the wide core at Spiker+'s sizes."""
    answer: dict = {}
    with scratch() as place:
        designs = {
            "wide": (zoo_project("mnist4", steps=100), 300.0),
            "spiker": (
                fixed_project(
                    random_network([784, 128, 10], weight_bits=4, potential_bits=6),
                    steps=100, core=DigitalConfig(), name="spiker",
                ),
                300.0,
            ),
            "serial": (
                fixed_project(
                    random_network([256, 256], weight_bits=4, potential_bits=8),
                    steps=100, core=DigitalConfig(lanes=1, decision="none"), name="serial",
                ),
                200.0,
            ),
        }  # fmt: skip
        for name, (project, clock) in designs.items():
            result, manifest = figures(project, Path(place, name), clock)
            answer[f"{name}_um2"] = result["area"]["um2"]
            bits = [bits for layer in manifest["layers"] for bits in layer["neuron_bits"]]
            if name != "serial":
                answer[f"{name}_lane_bits"] = round(float(np.mean(bits)), 4)
                answer[f"{name}_limit_um2"] = round(40_000 * float(np.mean(bits)) + 80_000)
                answer[f"{name}_limit_xc7_lut"] = round(370 * float(np.mean(bits)))
                answer[f"{name}_neuron_bits"] = {layer["name"]: layer["neuron_bits"] for layer in manifest["layers"]}
            answer[f"{name}_xc7_lut"] = result["fpga"]["xc7"]["luts"]
            answer[f"{name}_mhz"] = result["timing"]["registers"]["fmax_mhz"]
            answer[f"{name}_memory_bits"] = result["memories"]["bits"]
            answer["label"] = result["area"]["label"]
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
