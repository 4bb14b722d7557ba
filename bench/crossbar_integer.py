"""The integers behind the analog port against the closed-form float neuron, noise off, on 4-30-1 and random inputs."""

import numpy as np
from _common import main, stream

from spikeloom_analog import RRAM, AnalogNetwork, IFNeuron, Pulses
from spikeloom_analog.programmed import programmed_layer

INPUTS, STEPS, STEP, CLOCK = 200, 50, 480e-9, 200e6


def measure() -> dict:
    """Spikes of the first layer in other steps, and how far its time stamps are from the float times."""
    random = stream(4)
    weights = np.exp(random.uniform(np.log(0.03), np.log(0.9), (30, 4)))
    spikes = (random.random((INPUTS, STEPS, 4)) < 0.3).astype(np.uint8)
    network = AnalogNetwork.from_weights(
        [weights], siemens=1 / 178.2e3, device=RRAM.sky130(read_noise=False), neuron=IFNeuron.sky130(offset_high=0.005),
        window=STEPS * STEP, seeds=[1], cells=2,
    )  # fmt: skip
    (layer,) = network.layers
    fired, cycles = programmed_layer(layer, step=STEP, clock=CLOCK, noise=False).run(spikes)
    ((found),) = network.run(Pulses.from_steps(spikes, step=STEP, width=55e-9))
    step = np.floor(found.time / STEP).astype(np.int64)
    place = np.ravel_multi_index((found.lane, step, found.neuron), fired.shape[1:])
    expected = np.bincount(place, minlength=fired[0].size).reshape(fired.shape)
    ours = cycles[0, found.lane, step, found.neuron]
    both = ours >= 0
    stamp = (step[both] * round(STEP * CLOCK) + ours[both] + 0.5) / CLOCK
    error = np.abs(stamp - found.time[both]) * CLOCK
    counts = np.abs(fired[0].sum(axis=1, dtype=np.int64) - expected[0].sum(axis=1))
    return {
        "inputs": INPUTS,
        "float_spikes": int(expected.sum()),
        "steps_that_differ": int((fired != expected).sum()),
        "count_errors": int(counts.sum()),
        "stamp_error_cycles_mean": round(float(error.mean()), 3),
        "stamp_error_cycles_max": round(float(error.max()), 3),
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
