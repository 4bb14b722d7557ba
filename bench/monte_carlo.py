"""1000 Monte-Carlo chips of the published 4-30-1 interception network, each over 200 inputs, on two processes.

Everything is on: 41 levels, wires, spread of thresholds and offsets, dead time, read noise, delays of inputs. Inputs
are random spike counts 0 to 25; errors on the inputs of the closed loop are another bench.
"""

import itertools
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the processes are the parallelism
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from _common import data_folder, main, stream

from spikeloom_analog import RRAM, AnalogNetwork, IFNeuron, Pulses

CHIPS, INPUTS, PROCESSES = 1000, 200, 2
WINDOW, PULSE = 24e-6, 55e-9


def network(folder: Path, seeds: range, *, effects: bool = True) -> AnalogNetwork:
    """The published weights on the 41-level device."""
    weights = [np.loadtxt(folder / f"fc{k}_weight.csv", delimiter=",", ndmin=2) for k in (1, 2)]
    spread = {"offset_high": 5e-3, "threshold_sigma": 2e-3, "dead_time": 2e-9} if effects else {}
    return AnalogNetwork.from_weights(
        weights,
        siemens=1 / 178.2e3,
        device=RRAM.sky130(read_noise=effects),
        cells=2,
        neuron=IFNeuron.sky130(**spread),
        window=WINDOW,
        seeds=seeds,
        input_delay_sigma=5e-9 if effects else 0.0,
    )


def part(folder: Path, counts: np.ndarray, first: int) -> tuple[np.ndarray, float]:
    """Output spikes of some of the inputs on all chips, and the seconds of one processor."""
    pulses = Pulses.spread(counts, window=WINDOW, width=PULSE)
    return network(folder, range(CHIPS)).counts(pulses, index=first)[:, :, 0], time.process_time()


def measure() -> dict:
    """Time of the whole run, and how far chips are from the same circuit without effects."""
    folder = data_folder("interception")
    counts = stream(8).integers(0, 26, (INPUTS, 4))
    begin = time.perf_counter()
    with ProcessPoolExecutor(PROCESSES) as pool:
        bounds = np.linspace(0, INPUTS, PROCESSES + 1).astype(int)
        jobs = [pool.submit(part, folder, counts[a:b], int(a)) for a, b in itertools.pairwise(bounds)]
        found = np.concatenate([job.result()[0] for job in jobs], axis=1)
    seconds = time.perf_counter() - begin
    pulses = Pulses.spread(counts, window=WINDOW, width=PULSE)
    ideal = network(folder, range(1), effects=False).counts(pulses)[0, :, 0]
    again = network(folder, range(700, 703)).counts(
        Pulses.spread(counts[150:153], window=WINDOW, width=PULSE), index=150
    )
    error = (found - ideal) / 25
    mse = (error**2).mean(axis=1)
    return {
        "chips": CHIPS,
        "inputs": INPUTS,
        "processes": PROCESSES,
        "seconds": round(seconds, 1),
        "processor_seconds": round(sum(job.result()[1] for job in jobs), 1),
        "microseconds_per_inference": round(1e6 * seconds / (CHIPS * INPUTS), 1),
        "same_alone": bool(np.array_equal(again[:, :, 0], found[700:703, 150:153])),
        "mse_to_ideal_circuit_median": round(float(np.median(mse)), 5),
        "mse_to_ideal_circuit_p95": round(float(np.percentile(mse, 95)), 5),
        "mean_output_spikes": round(float(found.mean()), 3),
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
