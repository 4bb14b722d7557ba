"""The weights of the interception network: from files, as integers in Q0.8, and as a NIR file.

No weight is negative and there is no bias: the network fits a single-ended crossbar. In Q0.8 a weight is
rint(256 w), 0 to 255, and the threshold is 256. Integer layers are signed, so a stored weight has 9 bits of which the
sign is always 0.
"""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError, SpikeloomError
from ..integer import IntegerLayer, IntegerNetwork
from ..nir_import import import_nir
from ..quantise import QuantiseOptions, quantise
from .code import INPUTS

__all__ = [
    "DT",
    "POTENTIAL_BITS",
    "THRESHOLD",
    "WEIGHT_BITS",
    "Weights",
    "integer_network",
    "load_weights",
    "network_nir",
    "own_weights",
    "read_weights",
]

HIDDEN = 30
THRESHOLD = 256
WEIGHT_BITS, POTENTIAL_BITS = 9, 10
DT = 1e-3
FILES = ("fc1_weight.csv", "fc2_weight.csv")


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights in the unit of the threshold.

    Parameters
    ----------
    hidden : float64 [30, 4]
    output : float64 [30]
    origin : str
        Where they come from, for messages.

    Raises
    ------
    InputError
        For another shape, NaN, a negative weight or one that Q0.8 does not hold (255.5 / 256 and more).
    """

    hidden: np.ndarray
    output: np.ndarray
    origin: str = "weights"

    def __post_init__(self):
        for name, shape in (("hidden", (HIDDEN, INPUTS)), ("output", (HIDDEN,))):
            array = np.array(getattr(self, name), np.float64)
            if array.shape != shape:
                raise InputError(f"{self.origin}: {name} weights of shape {array.shape}: accepted is {shape}")
            limit = (THRESHOLD - 0.5) / THRESHOLD
            if not (np.isfinite(array).all() and array.min() >= 0 and array.max() < limit):
                raise InputError(
                    f"{self.origin}: {name} weights from {array.min():g} to {array.max():g}: accepted is 0 to below "
                    f"{limit:g}: the array is single-ended and weights are stored as Q0.8"
                )
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def quantised(self) -> tuple[np.ndarray, np.ndarray]:
        """rint(256 w), int64 [30, 4] and [1, 30]."""
        first, second = (np.rint(THRESHOLD * w).astype(np.int64) for w in (self.hidden, self.output))
        return first, second[None]


def read_weights(folder: Path | str) -> Weights:
    """Weights from `fc1_weight.csv` (30 lines of 4 numbers) and `fc2_weight.csv` (1 line of 30) in `folder`.

    Raises
    ------
    InputError
        Where a file is missing or is not such a table.
    """
    folder = Path(folder)
    hidden, output = (_read_table(folder / name) for name in FILES)
    if output.shape != (1, HIDDEN):
        raise InputError(
            f"{folder / FILES[1]}: {output.shape[0]} x {output.shape[1]} numbers: accepted is 1 x {HIDDEN}"
        )
    return Weights(hidden, output[0], origin=str(folder))


def _read_table(path: Path) -> np.ndarray:
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InputError(f"{path}: {reason}; accepted is a folder with {' and '.join(FILES)}") from error
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append([float(field) for field in line.split(",")])
        except ValueError as error:
            raise InputError(f"{path}: line {number}: {line!r}: accepted are numbers with commas between") from error
        if len(rows[-1]) != len(rows[0]):
            raise InputError(
                f"{path}: line {number}: {len(rows[-1])} numbers; accepted is {len(rows[0])}, as in line 1"
            )
    if not rows:
        raise InputError(f"{path}: no numbers")
    return np.array(rows)


def integer_network(weights: Weights, name: str = "interception") -> IntegerNetwork:
    """The network with Q0.8 weights: integrate and fire, no leak, threshold 256, reset to 0."""
    return IntegerNetwork(
        name=name,
        layers=tuple(
            IntegerLayer.dense(
                name=layer,
                weights=array,
                weight_bits=WEIGHT_BITS,
                potential_bits=POTENTIAL_BITS,
                reset="zero",
                threshold=THRESHOLD,
            )
            for layer, array in zip(("fc1", "fc2"), weights.quantised(), strict=True)
        ),
    )


def network_nir(weights: Weights, name: str = "interception") -> bytes:
    """The NIR file of the network with Q0.8 weights; the same bytes for the same weights.

    Weights are w / 256 and v_threshold is (256 - 1/4) / 256, so that u > v_threshold (NIR) and u >= 256 (integers) are
    the same; r = 1 / dt makes the gain of a step 1.

    Raises
    ------
    InputError
        Where the largest weight of a layer is below 128 / 256: the quantiser would then choose a finer step.
    SpikeloomError
        Where the file does not come back as the same integer network.
    """
    import nir

    wanted = integer_network(weights, name)
    nodes: dict[str, Any] = {"input": nir.Input({"input": np.array([INPUTS])})}
    edges, before = [], "input"
    for index, layer in enumerate(wanted.layers, 1):
        array = layer.connections[0].weights
        if array.max() < THRESHOLD // 2:
            raise InputError(
                f"{weights.origin}: the largest weight of layer {index} is {array.max()} / {THRESHOLD}: accepted is "
                f"{THRESHOLD // 2} / {THRESHOLD} or more"
            )
        neuron, ones = f"if{index}", np.ones(layer.neurons)
        nodes[layer.name] = nir.Linear(weight=(array / THRESHOLD).astype(np.float32))
        nodes[neuron] = nir.IF(r=ones / DT, v_threshold=(THRESHOLD - 0.25) / THRESHOLD * ones)
        edges += [(before, layer.name), (layer.name, neuron)]
        before = neuron
    nodes["output"] = nir.Output({"output": np.array([1])})
    edges.append((before, "output"))
    graph = nir.NIRGraph(nodes=nodes, edges=edges, metadata={})
    again, _ = quantise(import_nir(graph, dt=DT, reset="zero", name=name), quantise_options())
    if again.content_hash() != wanted.content_hash():
        raise SpikeloomError(f"{weights.origin}: the NIR file does not import to the same integer network")
    buffer = io.BytesIO()
    nir.write(buffer, graph)  # pyright: ignore[reportArgumentType] - h5py takes any binary file
    return buffer.getvalue()


def quantise_options() -> QuantiseOptions:
    """The number formats of the network."""
    return QuantiseOptions(weight_bits=WEIGHT_BITS, potential_bits=POTENTIAL_BITS, leak="none")


def own_weights() -> Weights:
    """The weights of `zoo:interception`, which Spikeloom trained."""
    from .. import zoo

    layers: Sequence = zoo.load("interception").layers
    hidden, output = (layer.connections[0].weights for layer in layers)
    return Weights(np.asarray(hidden), np.asarray(output)[0], origin="zoo:interception")


def load_weights(choice: str) -> Weights:
    """Weights by the user's word: own, published (below SPIKELOOM_DATA), or a folder.

    Raises
    ------
    InputError
        Where they are not there or do not fit.
    """
    if choice == "own":
        return own_weights()
    if choice == "published":
        root = os.environ.get("SPIKELOOM_DATA")
        if not root:
            raise InputError(
                "weights 'published': SPIKELOOM_DATA is not set; accepted: a folder that holds interception/ with "
                f"{' and '.join(FILES)}, or the name of such a folder in place of 'published'"
            )
        return read_weights(Path(root, "interception"))
    if not Path(choice).is_dir():
        raise InputError(f"weights {choice!r}: accepted are own, published, or a folder with {' and '.join(FILES)}")
    return read_weights(choice)
