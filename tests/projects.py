"""Small projects on disk: a NIR network and a configuration, as a user has them."""

import itertools
import tomllib
from pathlib import Path

import nir
import numpy as np

from spikeloom.config import Config, DigitalConfig, InputConfig, NetworkConfig
from spikeloom.network.integer import IntegerNetwork
from spikeloom.network.quantise import QuantisationReport
from spikeloom.project import Project

SIZES = (6, 5, 3)
DT = 1e-3


def graph(
    sizes=SIZES,
    *,
    bias: bool = False,
    readout: bool = False,
    decay: float = 0.75,
    linear: float | None = None,
    seed: int = 0,
    scale: int = 8,
) -> nir.NIRGraph:
    """A chain of Affine or Linear and LIF (IF where nothing decays, at the end LI for a read-out).

    `linear` is what a step takes off the potentials, in place of the share of `decay`.

    Weights are multiples of 1 / `scale`.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, 1]))
    nodes: dict = {"input": nir.Input(input_type=np.array([sizes[0]]))}
    for n, (wide, high) in enumerate(itertools.pairwise(sizes), 1):
        weight = np.minimum(rng.integers(-scale // 2, scale, (high, wide)), scale - 1) / scale
        weight[0, 0] = (scale - 1) / scale  # the step of the quantiser is the step of the weights
        bias_of = rng.integers(-2, 3, high) / scale
        nodes[f"w{n}"] = nir.Affine(weight, bias_of) if bias else nir.Linear(weight)
        if decay == 1:
            nodes[f"fc{n}"] = nir.IF(r=np.full(high, 1 / DT), v_threshold=np.ones(high))
            continue
        tau = np.full(high, DT / (1 - decay))
        leak = {"tau": tau, "r": tau / DT, "v_leak": np.zeros(high)}
        if linear is not None:
            leak["metadata"] = {"linear_decay": np.full(high, linear / DT)}
        last = n == len(sizes) - 1
        nodes[f"fc{n}"] = nir.LI(**leak) if readout and last else nir.LIF(**leak, v_threshold=np.ones(high))
    nodes["output"] = nir.Output(output_type=np.array([sizes[-1]]))
    names = list(nodes)
    return nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(names)))


def write_network(path: Path, **options) -> Path:
    nir.write(str(path), graph(**options))
    return path


def _toml(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def write_config(path: Path, sections: dict) -> Path:
    """A configuration; `sections` holds keys, and dicts of keys for sections."""
    lines = [f"{key} = {_toml(value)}" for key, value in sections.items() if not isinstance(value, dict)]
    for key, values in sections.items():
        if isinstance(values, dict):
            lines += [f"[{key}]", *(f"{name} = {_toml(value)}" for name, value in values.items())]
    path.write_text("\n".join(lines) + "\n")
    tomllib.loads(path.read_text())
    return path


def make_project(
    folder: Path,
    *,
    name: str = "tiny",
    network: dict | None = None,
    reset: str = "zero",
    state: str = "clear",
    habits: dict | None = None,
    data: dict | None = None,
    **sections,
) -> Path:
    """Write `folder`/NAME.nir, values.npz where `data` asks for them, and NAME.toml; returns the configuration.

    `habits` are keys of [network] about neurons that NIR does not store.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = network or {}
    write_network(folder / f"{name}.nir", **network)
    if data is not None:
        sizes = network.get("sizes", SIZES)
        write_values(folder / "values.npz", inputs=sizes[0], classes=sizes[-1], **data)
    merged = {
        "name": name,
        "network": {"file": f"{name}.nir", "dt": DT, "reset": reset, "state": state} | (habits or {}),
        "quantise": {"weight_bits": 4, "potential_bits": 8} | sections.pop("quantise", {}),
        "input": {"steps": 6} | sections.pop("input", {}),
        "data": {"set": "npz", "path": "values.npz"} if data is not None else {"set": "none"},
        **sections,
    }
    return write_config(folder / f"{name}.toml", merged)


def write_values(path: Path, *, inputs: int, classes: int, count: int = 20, seed: int = 0) -> None:
    """Labelled values in 0 to 1, an eighth apart."""
    rng = np.random.Generator(np.random.Philox(key=[seed, 2]))
    x, y = rng.integers(0, 9, (count, inputs)) / 8, rng.integers(0, classes, count)
    np.savez(path, x=x, y=y)


def load(path: Path) -> Project:
    return Project.load(path)


def of_network(network: IntegerNetwork, folder: Path, *, name: str, steps: int = 6, **core) -> Project:
    """A project whose integer network is given: for kinds that no quantiser need produce."""
    config = Config(
        name=name,
        network=NetworkConfig(file=f"{name}.nir", dt=DT, state=network.state),
        input=InputConfig(steps=steps),
        core=DigitalConfig(**core),
    )
    project = Project(config=config, folder=folder)
    project.__dict__["quantised"] = network, QuantisationReport(network=network.name, layers=())
    return project
