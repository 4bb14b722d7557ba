"""Area per column and clock of the column periphery in the default library, with one bank and with eight."""

import dataclasses
from pathlib import Path

from _common import fixed_project, main, scratch, silent_inputs
from cim_cycles import network

from spikeloom.config import CimConfig
from spikeloom.export import elaborate
from spikeloom.network.integer import IntegerNetwork
from spikeloom_synth.flow import synthesise
from spikeloom_synth.options import SynthOptions

NEURONS = 64


def measure() -> dict:
    """The figures of docs/cim.md."""
    answer: dict = {"columns": NEURONS}
    subtracting = network(NEURONS)
    zeroing = IntegerNetwork(name="zero", layers=(dataclasses.replace(subtracting.layers[0], reset="zero"),))
    with scratch() as place:
        one, eight = (CimConfig(kind="cim", banks=banks, decision="none") for banks in (1, 8))
        for name, net, core in (
            ("zero", zeroing, one),
            ("subtract", subtracting, one),
            ("zero_8_banks", zeroing, eight),
        ):
            project = fixed_project(net, steps=8, core=core, name=name)
            folder = Path(place, name)
            elaborate(project, folder, inputs=silent_inputs(project))
            result = synthesise(folder, SynthOptions(clock_mhz=300.0, power=False, fpga=()))
            blocks = result["area"]["by_block"]
            columns = blocks["fc1.columns0"]
            answer[f"{name}_um2_per_column"] = round(columns["area"] / NEURONS, 1)
            answer[f"{name}_flip_flops_per_column"] = columns["flip_flops"] / NEURONS
            answer[f"{name}_um2"] = result["area"]["um2"]
            answer[f"{name}_columns_um2"] = columns["area"]
            answer[f"{name}_mhz"] = result["timing"]["registers"]["fmax_mhz"]
            answer["label"] = result["area"]["label"]
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
