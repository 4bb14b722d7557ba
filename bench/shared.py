"""The weight-shared core on MNIST, 784-512-10, T = 20: compiled RTL, frames per second, levels, errors of devices."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _common import data_folder, main, scratch, stream, zoo_project

from spikeloom.config import DataConfig, SharedConfig
from spikeloom.export import elaborate
from spikeloom.mapping.shared_cost import SharedCost
from spikeloom.network.integer import IntegerLayer, IntegerNetwork
from spikeloom.network.quantise import QuantiseOptions, quantise
from spikeloom.network.reference import simulate
from spikeloom.network.zoo import load
from spikeloom_analog.devices import ideal
from spikeloom_analog.shared import SharedChips, TableParameters, shared_chips
from spikeloom_sim.flow import SimulationOptions, simulate_build

CLOCK, PUBLISHED = 50e6, 148.2
IMAGES = {"one": 1_000, "published": 10_000}
"""Test images on compiled RTL, by configuration."""
ANALOG_IMAGES, CHIPS = 200, 3
SIGMAS = (0.0, 0.02, 0.05, 0.1, 0.2)
CORES = {
    "one": SharedConfig(kind="shared", gangs="one", cores=1, lanes=32),
    "published": SharedConfig(kind="shared", gangs="one", cores=24),
}
WIDTHS = {"one": (128, 256, 512, 1000), "published": (512, 1024, 2048, 4096, 8192)}
"""Neurons of the hidden layer, 784-N-10; fan-in ends at 8192."""
ACTIVITY = 0.05  # share of the hidden neurons that fire in a step


def measure() -> dict:
    """The figures of docs/shared.md."""
    return on_rtl() | by_size() | by_levels() | by_errors()


def on_rtl() -> dict:
    """Test images on one core, and on 24, spike for spike; cycles of each frame as measured."""
    answer = {}
    for which, core in CORES.items():
        data = DataConfig(set="mnist", path=str(data_folder("mnist")), inputs=IMAGES[which])
        with scratch() as place:
            project = zoo_project("mnist_shared16", core=core, data=data)
            elaborate(project, folder := Path(place, which))
            result = simulate_build(project, folder, SimulationOptions())
        cost = project.cost
        assert isinstance(cost, SharedCost)
        mean = float(result["latency_cycles"]["mean"])
        inputs = project.inputs(50)
        trace = project.reference(inputs)
        reports = cost.cycles(inputs.spikes, trace.spikes, gap="back_to_back")
        interval = float(np.mean([report.interval for report in reports[:-1]]))
        rows = float(np.mean([sum(layer.weight_rows for layer in report.layers) for report in reports]))
        bits = sum(layer.index_bits for report in reports for layer in report.layers) / len(reports)  # type: ignore[attr-defined]
        answer |= {
            f"{which}_images": result["inputs"],
            f"{which}_mismatches": sum(count or 0 for count in result["mismatches"].values()),
            f"{which}_compared": [name for name, count in result["mismatches"].items() if count is not None],
            f"{which}_accuracy": result["accuracy"]["rtl"],
            f"{which}_cycles": mean,
            f"{which}_frames_per_second": round(CLOCK / mean, 1),
            f"{which}_times_published": round(CLOCK / mean / PUBLISHED, 1),
            f"{which}_frames_per_second_back_to_back": round(CLOCK / interval, 1),
            f"{which}_devices": cost.devices,
            f"{which}_index_memory_bits": cost.index_memory_bits,
            f"{which}_index_rows_per_frame": rows,
            f"{which}_index_gigabytes_per_second": round(bits / 8 * CLOCK / mean / 1e9, 3),
        }
    return answer


def by_size() -> dict:
    """Frames per second of 784-N-10 against N, by the cost model (which is exact), pictures back to back."""
    project = zoo_project("mnist_shared16", data=DataConfig(set="mnist", path=str(data_folder("mnist")), inputs=4))
    inputs, answer = project.inputs(), {}
    for which, widths in WIDTHS.items():
        for width in widths:
            rng = stream(5, width)
            layers = tuple(
                IntegerLayer.dense(
                    name=f"fc{n}", weights=rng.integers(-8, 8, shape), weight_bits=4, potential_bits=13, threshold=1024
                )
                for n, shape in enumerate([(width, 784), (10, width)], 1)
            )
            network = IntegerNetwork(name="wide", layers=layers)
            fired = [
                (rng.random((4, 20, size)) < share).astype(np.uint8) for size, share in ((width, ACTIVITY), (10, 0.1))
            ]
            model = SharedCost(network, CORES[which], steps=20)
            reports = model.cycles(inputs.spikes, fired, gap="back_to_back")
            cycles = float(np.mean([report.interval for report in reports[:-1]]))
            answer[f"{which}_frames_per_second_{width}"] = round(CLOCK / cycles, 1)
    return answer


def by_levels() -> dict:
    """Accuracy of 10 000 images against K: clustered without training, and with it; unshared beside them."""
    project = zoo_project("mnist512", data=DataConfig(set="mnist", path=str(data_folder("mnist")), inputs=10_000))
    inputs = project.inputs()
    accuracies = {"accuracy_unshared": _accuracy(project.network, inputs)}
    for levels in (4, 8, 16, 32):
        options = QuantiseOptions(potential_bits=13, leak="shift", levels=levels, levels_of="network")
        clustered, _ = quantise(load("mnist512"), options)
        accuracies[f"accuracy_{levels}_clustered"] = _accuracy(clustered, inputs)
        accuracies[f"accuracy_{levels}_trained"] = _accuracy(zoo_project(f"mnist_shared{levels}").network, inputs)
    return accuracies


def _accuracy(network, inputs) -> float:
    parts = np.array_split(np.arange(len(inputs.labels)), 20)
    right = [simulate(network, inputs.spikes[part]).decision("count") == inputs.labels[part] for part in parts]
    return float(np.concatenate(right).mean())


def by_errors() -> dict:
    """Accuracy with analog tables: against the error of devices, and with each device of one core stuck."""
    core = dataclasses.replace(CORES["one"], engine="analog", pulse_bits=8)
    data = DataConfig(set="mnist", path=str(data_folder("mnist")), inputs=ANALOG_IMAGES)
    project = zoo_project("mnist_shared16", core=core, data=data)
    inputs, answer = project.inputs(), dict[str, object](analog_images=ANALOG_IMAGES, analog_chips=CHIPS)

    def accuracies(parameters: list[TableParameters], seeds: Sequence[int]) -> np.ndarray:
        """Of all chips at once, which share what is counted of the input."""
        made = [shared_chips(project.plan, seeds=seeds, parameters=each) for each in parameters]
        fired = together(made).run(inputs.spikes)[-1].sum(axis=2, dtype=np.int64)
        return (fired.argmax(axis=-1) == inputs.labels).mean(axis=1).reshape(len(parameters), len(seeds))

    answer["analog_accuracy_reference"] = _accuracy(project.network, inputs)
    kinds = [(sigma, name) for sigma in SIGMAS for name in CORRECTIONS]
    tried = [TableParameters(device=ideal(), sigma=sigma, **CORRECTIONS[name]) for sigma, name in kinds]
    for (sigma, name), found in zip(kinds, accuracies(tried, range(CHIPS)), strict=True):
        answer[f"sigma_{round(100 * sigma)}{name}"] = [round(float(n), 4) for n in (found.mean(), found.min())]
    (gang, *_) = {entry.gang.name: entry.gang for entry in project.plan.layers}.values()  # type: ignore[attr-defined]
    for end, what in ((-1, "low"), (1, "high")):
        for name in ("", "_remap"):
            devices = [(0, 0, level, side) for level in range(len(gang.table)) for side in (0, 1)]
            tried = [TableParameters(device=ideal(), stuck=((at, end),), remap=bool(name)) for at in devices]
            found = accuracies(tried, [0])[:, 0].tolist()
            answer[f"stuck_{what}{name}"] = [round(n, 3) for n in found]
            answer[f"stuck_{what}{name}_worst_and_mean"] = [round(min(found), 3), round(float(np.mean(found)), 3)]
    return answer


def together(made: Sequence[SharedChips]) -> SharedChips:
    """Chips of one plan as one set."""
    first, names = made[0], ("charge", "variance", "base", "decisions", "moved")
    tables = {}
    for gang, one in first.tables.items():
        each = [chips.tables[gang] for chips in made]
        arrays = {name: np.concatenate([getattr(table, name) for table in each]) for name in names}
        tables[gang] = dataclasses.replace(one, seeds=sum((table.seeds for table in each), ()), **arrays)
    return dataclasses.replace(first, tables=tables, seeds=sum((chips.seeds for chips in made), ()))


CORRECTIONS: dict[str, dict] = {
    "": {},
    "_calibrate": {"calibrate": True},
    "_remap": {"remap": True},
    "_calibrate_remap": {"calibrate": True, "remap": True},
}


if __name__ == "__main__":
    main(measure, __doc__ or "")
