"""784-1024-1024-10 folded on one engine of 32 lanes, on MNIST: compiled RTL against the reference, cycles, lane use.

The hidden layers are random, with thresholds that make about a tenth of the neurons fire in a step; the read-out is
fitted to the labels by ridge regression on the potentials that these layers drive. `--images N` plays fewer images.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
from _common import data_folder, fixed_project, main, random_network, scratch, silent_inputs, stream

from spikeloom.config import DigitalConfig
from spikeloom.export import elaborate, read_manifest
from spikeloom.mapping.cost import CostModel
from spikeloom.mapping.folded_cost import FoldedCost, FoldedReport
from spikeloom.mapping.image import image_words, stream_words
from spikeloom.network.coding import CodingOptions, encode_spikes
from spikeloom.network.datasets import load_mnist
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import simulate
from spikeloom_sim.batch import compile_design
from spikeloom_synth.flow import synthesise
from spikeloom_synth.options import SynthOptions

SIZES = (784, 1024, 1024, 10)
STEPS = 20
LANES = 32
RATE = 0.1
WEIGHT_BITS, POTENTIAL_BITS = 8, 16
LEAK = Leak(kind="shift", shifts=(3,))
FIT_IMAGES = 4000
IMAGES = int(sys.argv.pop(sys.argv.index("--images") + 1)) if "--images" in sys.argv else 1000
if "--images" in sys.argv:
    sys.argv.remove("--images")
STREAMED_IMAGES = 50
MODELLED_IMAGES = 20
"""Images whose cycles on a pipeline are taken from its cost model."""
CLOCK_MHZ = 100.0
BUFFER = 2 * 4 * 1024
"""Rows of the weight buffer: four groups of a hidden layer in each half."""


def hidden(name: str, fan_in: int, neurons: int, spikes: np.ndarray, key: int) -> tuple[IntegerLayer, np.ndarray]:
    """A random layer whose neurons fire in a share RATE of the steps of `spikes`, and its spikes."""
    weights = np.clip(np.rint(stream(31, key).normal(0, 28, (neurons, fan_in))), -127, 127).astype(np.int64)
    low, high = 1, (1 << (POTENTIAL_BITS - 1)) - 1
    while True:
        threshold = (low + high) // 2
        layer = IntegerLayer.dense(
            name=name, weights=weights, weight_bits=WEIGHT_BITS, potential_bits=POTENTIAL_BITS, leak=LEAK,
            reset="subtract", threshold=threshold,
        )  # fmt: skip
        sent = simulate(IntegerNetwork(name=name, layers=(layer,)), spikes).spikes[-1]
        if high - low < 2:
            return layer, sent
        low, high = (threshold, high) if sent.mean() > RATE else (low, threshold)


def build() -> tuple[IntegerNetwork, np.ndarray, np.ndarray]:
    """The network, and the spikes and labels of the test images."""
    folder = data_folder("mnist")
    coding = CodingOptions(coding="rate", steps=STEPS)
    train, test = (load_mnist(folder, train=train) for train in (True, False))
    known, labels = train.train_x[:FIT_IMAGES], train.train_y[:FIT_IMAGES]
    spikes = encode_spikes(coding, known, SIZES[0])
    layers, few = [], spikes[:100]
    for n in range(2):
        layer, few = hidden(f"fc{n + 1}", SIZES[n], SIZES[n + 1], few, n)
        layers.append(layer)
    each = 64 * np.eye(SIZES[2], dtype=np.int64)  # one potential for each spike train, well above the leak's rounding
    unit = IntegerLayer.dense(name="all", weights=each, weight_bits=8, potential_bits=24, leak=LEAK, reset="none")
    probe = IntegerNetwork(name="probe", layers=(*layers, unit))
    parts = [simulate(probe, spikes[n : n + 500]).readout[:, -1] for n in range(0, len(spikes), 500)]  # type: ignore[index]
    drive = np.concatenate(parts).astype(np.float64)
    drive -= drive.mean()
    wanted = np.eye(SIZES[3])[labels] - 0.1
    ridge = drive.T @ drive + 0.01 * np.trace(drive.T @ drive) / SIZES[2] * np.eye(SIZES[2])
    fitted = np.linalg.solve(ridge, drive.T @ wanted).T
    weights = np.rint(fitted * 127 / np.abs(fitted).max()).astype(np.int64)
    out = IntegerLayer.dense(
        name="fc3", weights=weights, weight_bits=WEIGHT_BITS, potential_bits=20, leak=LEAK, reset="none"
    )
    tested = encode_spikes(coding, test.test_x[:IMAGES], SIZES[0])
    return IntegerNetwork(name="folded", layers=(*layers, out)), tested, test.test_y[:IMAGES]


def play(network: IntegerNetwork, core: DigitalConfig, spikes: np.ndarray, folder: Path) -> dict:
    """Compiled RTL against the reference and the cost model."""
    project = fixed_project(network, steps=STEPS, core=core, name="folded")
    elaborate(project, folder, inputs=silent_inputs(project))
    design = compile_design(folder, read_manifest(folder))
    plan = project.plan
    model = FoldedCost(network, core, steps=STEPS)
    wrong = exact = 0
    cycles, use, waits, decisions = [], [], [], []
    for start in range(0, len(spikes), 250):
        part = spikes[start : start + 250]
        result = design.run(
            part, isolated=True, load=image_words(plan) if plan.loads else None,
            stream=stream_words(plan) if plan.streams else None,
        )  # fmt: skip
        trace = simulate(network, part)
        assert result.readouts is not None
        assert result.decisions is not None
        assert trace.readout is not None
        differs = (result.readouts != trace.readout[:, -1:]).any(axis=(1, 2))
        wrong += int((differs | (result.decisions[:, 0] != trace.decision("value"))).sum())
        decisions.append(result.decisions[:, 0])
        cycles.append(result.latency)
        for report, latency in zip(model.cycles(part, trace.spikes), result.latency.tolist(), strict=True):
            assert isinstance(report, FoldedReport)
            exact += report.latency == latency
            useful = sum(layer.useful_lane_slots for layer in report.layers)
            use.append(useful / (LANES * latency))  # of the RTL's own cycles
            waits.append(report.weight_waits)
    return {
        "images": len(spikes),
        "images_that_differ": wrong,
        "images_with_the_cycles_of_the_model": exact,
        "cycles_per_image": round(float(np.concatenate(cycles).mean()), 1),
        "lane_use": round(float(np.mean(use)), 4),
        "lane_use_min": round(float(np.min(use)), 4),
        "weight_waits_per_image": round(float(np.mean(waits)), 1),
        "memory_bits": model.memory_bits,
        "memories": {memory.name: memory.bits for memory in model.memories},
        "decisions": np.concatenate(decisions),
    }


def area(network: IntegerNetwork, core: DigitalConfig, folder: Path) -> dict:
    """Logic on OSU018, memories outside."""
    project = fixed_project(network, steps=STEPS, core=core, name="folded")
    elaborate(project, folder, inputs=silent_inputs(project))
    result = synthesise(folder, SynthOptions(clock_mhz=CLOCK_MHZ, power=False, fpga=()))
    return {
        "um2": result["area"]["um2"],
        "mhz": result["timing"]["registers"]["fmax_mhz"],
        "memory_bits": result["memories"]["bits"],
        "label": result["area"]["label"],
    }


def measure() -> dict:
    """The figures, with weights on chip and streamed."""
    network, spikes, labels = build()
    trace = simulate(network, spikes[:100])
    answer: dict = {
        "steps": STEPS,
        "lanes": LANES,
        "rates": [round(float(part.mean()), 4) for part in (spikes, *trace.spikes[:-1])],
    }
    on_chip = DigitalConfig(schedule="folded", lanes=LANES)
    pipeline = DigitalConfig(lanes=LANES)
    sent = [part[:MODELLED_IMAGES] for part in trace.spikes]
    reports = CostModel(network, pipeline, steps=STEPS).cycles(spikes[:MODELLED_IMAGES], sent)
    answer["pipeline_cycles_per_image"] = round(float(np.mean([report.latency for report in reports])), 1)
    streamed = dataclasses.replace(on_chip, weights="loaded", weight_buffer=BUFFER)
    with scratch() as place:
        result = play(network, on_chip, spikes, Path(place, "chip"))
        answer["accuracy"] = round(float((result.pop("decisions") == labels).mean()), 4)
        answer["on_chip"] = result
        for bits in (256, 64):
            core = dataclasses.replace(streamed, load_bits=bits)
            result = play(network, core, spikes[:STREAMED_IMAGES], Path(place, f"streamed{bits}"))
            del result["decisions"]
            answer[f"streamed_{bits}_bits"] = result
        # Of a random network of the same shape.
        network = random_network(list(SIZES), weight_bits=WEIGHT_BITS, potential_bits=POTENTIAL_BITS)
        wide = dataclasses.replace(streamed, load_bits=256)
        for name, core in (("folded", on_chip), ("streamed_256_bits", wide), ("pipeline", pipeline)):
            answer[f"area_{name}"] = area(network, core, Path(place, f"area_{name}"))
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
