"""More than one event per cycle: cycles and area of a 784-128-10 core, T = 100, 10 % of the inputs spiking in a step.

Cycles are those of the compiled RTL, from the first event in to the last output, the longest of the inputs; the cost
model must say the same for each, and every spike must be the reference's. Area is on OSU018, memories outside.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from _common import fixed_project, main, random_network, scratch, silent_inputs, stream

from spikeloom.config import DigitalConfig
from spikeloom.errors import SpikeloomError
from spikeloom.export import elaborate
from spikeloom.mapping.cost import CostModel
from spikeloom.network.reference import simulate
from spikeloom_sim.batch import compile_design
from spikeloom_synth.flow import synthesise
from spikeloom_synth.options import SynthOptions

INPUTS, STEPS, DENSITY = 8, 100, 0.1
WAYS: tuple[tuple[Literal[1, 2, 4], Literal[1, 2]], ...] = ((1, 1), (2, 1), (2, 2), (4, 1), (4, 2))


def measure() -> dict:
    network = random_network([784, 128, 10], weight_bits=4, potential_bits=8)
    spikes = (stream(3, 0).random((INPUTS, STEPS, 784)) < DENSITY).astype(np.uint8)
    trace = simulate(network, spikes)
    answer: dict = {"input_events": round(float(spikes.sum() / INPUTS)), "limit_2": 4450, "limit_2_two_ports": 4150}
    with scratch() as place:
        for events, ports in WAYS:
            core = DigitalConfig(events_per_cycle=events, weight_ports=ports)
            project = fixed_project(network, steps=STEPS, core=core, name="many")
            build = Path(place, f"{events}_{ports}")
            manifest = elaborate(project, build, inputs=silent_inputs(project))
            result = compile_design(build, manifest).run(spikes, isolated=True)
            if not np.array_equal(result.spikes, trace.spikes[-1]):
                raise SpikeloomError(f"events_per_cycle = {events}: spikes differ from the reference")
            reports = CostModel(network, core, steps=STEPS).cycles(spikes, trace.spikes)
            key = f"{events}" + ("_two_ports" if ports == 2 else "")
            answer[f"cycles_{key}"] = int(result.latency.max())
            answer[f"cost_model_equal_{key}"] = [each.latency for each in reports] == result.latency.tolist()
            synthesis = synthesise(build, SynthOptions(clock_mhz=200.0, power=False, fpga=()), skip_missing=True)
            answer[f"um2_{key}"] = round(synthesis["area"]["um2"])
            answer[f"area_{key}_to_1"] = round(answer[f"um2_{key}"] / answer["um2_1"], 3)
            answer[f"memory_bits_{key}"] = synthesis["memories"]["bits"]
            if synthesis["timing"]:
                answer[f"mhz_{key}"] = synthesis["timing"]["registers"]["fmax_mhz"]
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
