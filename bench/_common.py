"""What the benchmarks share: designs to measure, stimuli, and how an answer is printed."""

import argparse
import dataclasses
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from spikeloom.config import Config, CoreConfig, DataConfig, InputConfig, NetworkConfig
from spikeloom.errors import InputError
from spikeloom.mapping.plan import CorePlan
from spikeloom.mapping.sweep import SweepPlan
from spikeloom.network.integer import INPUT, IntegerLayer, IntegerNetwork, Leak
from spikeloom.project import Inputs, Project, propose


def main(measure: Callable[[], dict], describe: str) -> None:
    """Run `measure` and print its answer: readable, and with `--json` as one object in the last line."""
    parser = argparse.ArgumentParser(description=describe)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    given = parser.parse_args()
    try:
        answer = measure()
    except InputError as error:
        if "SPIKELOOM_DATA is not set" not in str(error):
            raise
        answer = {"skipped": str(error)}
    for key, value in answer.items():
        print(f"{key}: {value}", file=sys.stderr if given.json else sys.stdout)
    if "skipped" in answer:
        print(answer["skipped"], file=sys.stderr)
    if given.json:
        print(json.dumps(answer))


def data_folder(name: str) -> Path:
    """Folder `name` below SPIKELOOM_DATA."""
    root = os.environ.get("SPIKELOOM_DATA")
    if not root:
        raise InputError(f"SPIKELOOM_DATA is not set; accepted: a folder that holds {name}/")
    return Path(root, name)


def stream(*key: int) -> np.random.Generator:
    """A random stream of its own for each key."""
    return np.random.Generator(np.random.Philox(key=[key[0], key[1] if len(key) > 1 else 0]))


def exact_events(inputs: int, events: int, steps: int, *key: int, batch: int = 1) -> np.ndarray:
    """Spikes uint8 [batch, steps, inputs] with exactly `events` random addresses in each step."""
    rng = stream(*key)
    spikes = np.zeros((batch * steps, inputs), np.uint8)
    for row in spikes:
        row[rng.choice(inputs, events, replace=False)] = 1
    return spikes.reshape(batch, steps, inputs)


def random_network(sizes: list[int], *, weight_bits: int, potential_bits: int, name: str = "random") -> IntegerNetwork:
    """Fully connected LIF layers with uniform random weights, none of them 0."""
    rng, layers, most = stream(7, sizes[0]), [], (1 << (weight_bits - 1)) - 1
    for index, (fan_in, neurons) in enumerate(itertools.pairwise(sizes), 1):
        weights = rng.integers(1, most + 1, (neurons, fan_in)) * rng.choice([-1, 1], (neurons, fan_in))
        layers.append(
            IntegerLayer.dense(
                name=f"fc{index}",
                weights=weights,
                weight_bits=weight_bits,
                potential_bits=potential_bits,
                leak=Leak(kind="shift", shifts=(3,)),
                threshold=1 << (potential_bits - 2),
            )
        )
    return IntegerNetwork(name=name, layers=tuple(layers))


def fixed_project(network: IntegerNetwork, *, steps: int, core: CoreConfig, name: str) -> Project:
    """A project around an integer network that does not come from a NIR file."""
    from spikeloom.network.quantise import QuantisationReport

    config = Config(
        name=name,
        network=NetworkConfig(file="-", dt=1e-3),
        input=InputConfig(steps=steps),
        core=core,  # pyright: ignore[reportArgumentType]
        data=DataConfig(),
    )
    project = Project(config=config, folder=Path.cwd())
    project.__dict__["quantised"] = (network, QuantisationReport(network=network.name, layers=()))  # what it caches
    return project


def zoo_project(
    name: str, *, steps: int | None = None, core: CoreConfig | None = None, data: DataConfig | None = None
) -> Project:
    """A project of the zoo with other steps, core or data."""
    config = propose(f"zoo:{name}")
    if steps is not None:
        config = dataclasses.replace(config, input=dataclasses.replace(config.input, steps=steps))
    config = dataclasses.replace(config, core=core or config.core, data=data or config.data)
    return Project(config=config, folder=Path.cwd())


def scratch() -> tempfile.TemporaryDirectory:
    """A temporary folder for builds."""
    return tempfile.TemporaryDirectory(prefix="spikeloom-bench-")


def touched_rows(plan: CorePlan, spikes: np.ndarray, fired: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Rows of P outputs that the spikes of each step touch, by layer: int64 [B, T].

    `spikes` are those of the input, `fired` those of each layer, all [B, T, neurons].
    """
    network = plan.network
    arrays = {INPUT: spikes} | {layer.name: array for layer, array in zip(network.layers, fired, strict=True)}
    rows = {}
    for engine in plan.layers:
        total = np.zeros(spikes.shape[:2], np.int64)
        for n, source in enumerate(network.sources(engine.layer)):
            delay = engine.layer.connections[n].delay
            given = arrays[source][:, : spikes.shape[1] - delay]
            if isinstance(engine, SweepPlan):
                each = engine.connections[n].touched_rows()
            else:
                each = np.full(given.shape[2], engine.groups, np.int64)
            total[:, delay:] += given @ each
        rows[engine.name] = total
    return rows


def silent_inputs(project: Project) -> Inputs:
    """One input without a spike: a bench for an export that is not to be simulated."""
    network = project.network
    spikes = np.zeros((1, project.config.input.steps, network.inputs), np.uint8)
    return Inputs(spikes=spikes, current=None, labels=None, values=None, shape=(network.inputs,))
