"""The integer network as a file, the same bytes for the same network."""

import dataclasses
import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..output import write_atomic
from .connections import Connection
from .integer import Adaptation, IntegerLayer, IntegerNetwork, Leak
from .stochastic import Stochastic

__all__ = ["load_network", "network_bytes", "save_network"]

SCHEMA = 2
SCALARS = (
    "name", "weight_bits", "potential_bits", "reset", "max_count", "current_bits", "bias_in_current", "refractory"
)  # fmt: skip
CONNECTION = ("source", "delay", "source_shape", "pool", "stride", "padding", "groups")
# What reading a damaged archive can raise: broken structure, broken compression, a method or encryption unknown here.
_DAMAGE = (
    OSError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def network_bytes(network: IntegerNetwork) -> bytes:
    """The .npz archive of a network: header.json and the arrays of each layer. Deterministic: no time stamps."""
    header = {
        "schema": SCHEMA,
        "name": network.name,
        "state": network.state,
        "layers": [
            {
                **{name: getattr(layer, name) for name in SCALARS},
                "threshold": _plain(layer.threshold),
                "reset_amount": _plain(layer.reset_amount),
                "leak": dataclasses.asdict(layer.leak),
                "current_leak": dataclasses.asdict(layer.current_leak),
                "adaptation": None if layer.adaptation is None else dataclasses.asdict(layer.adaptation),
                **({} if layer.stochastic is None else {"stochastic": dataclasses.asdict(layer.stochastic)}),
                "connections": [
                    {name: getattr(connection, name) for name in CONNECTION} for connection in layer.connections
                ],
            }
            for layer in network.layers
        ],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:

        def write(name: str, data: bytes) -> None:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)

        write("header.json", json.dumps(header, sort_keys=True, indent=1).encode())
        for index, layer in enumerate(network.layers):
            arrays = {f"weights{n}": connection.weights for n, connection in enumerate(layer.connections)}
            for kind, array in (arrays | {"bias": layer.bias}).items():
                data = io.BytesIO()
                np.lib.format.write_array(data, _narrowest(array), allow_pickle=False)
                write(f"{index}.{kind}.npy", data.getvalue())
    return buffer.getvalue()


def _narrowest(array: np.ndarray) -> np.ndarray:
    """`array` in the smallest integers that hold it: millions of weights are a byte each."""
    low, high = int(array.min()), int(array.max())
    kinds = ("<i1", "<i2", "<i4", "<i8")
    kind = next(kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return np.ascontiguousarray(array.astype(kind))


def _plain(value: int | np.ndarray | None) -> int | list[int] | None:
    return value.tolist() if isinstance(value, np.ndarray) else value


def save_network(network: IntegerNetwork, path: Path | str) -> Path:
    """Write `network` to `path`, whole or not at all."""
    return write_atomic(path, network_bytes(network))


def load_network(path: Path | str) -> IntegerNetwork:
    """Read a network that `save_network` wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, or of another schema.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            header = json.loads(archive.read("header.json"))
            if header.get("schema") != SCHEMA:
                raise InputError(f"{path}: schema {header.get('schema')!r}; accepted is {SCHEMA}")
            layers = []
            for index, entry in enumerate(header["layers"]):

                def array(kind: str, index: int = index) -> np.ndarray:
                    data = io.BytesIO(archive.read(f"{index}.{kind}.npy"))
                    return np.lib.format.read_array(data, allow_pickle=False)

                connections = tuple(
                    Connection(weights=array(f"weights{n}"), **_tuples(given))
                    for n, given in enumerate(entry.pop("connections"))
                )
                for name in ("threshold", "reset_amount"):
                    if isinstance(entry[name], list):
                        entry[name] = np.array(entry[name], np.int64)
                for name in ("leak", "current_leak"):
                    entry[name] = Leak(**_tuples(entry[name]))
                if entry["adaptation"] is not None:
                    given = entry["adaptation"]
                    entry["adaptation"] = Adaptation(**given | {"leak": Leak(**_tuples(given["leak"]))})
                if "stochastic" in entry:
                    entry["stochastic"] = Stochastic(**_tuples(entry["stochastic"]))
                layers.append(IntegerLayer(connections=connections, bias=array("bias"), **entry))
            return IntegerNetwork(name=header["name"], state=header["state"], layers=tuple(layers))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; accepted is a network.npz that `spikeloom elaborate` wrote") from error
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(f"{path}: ") else f"{path}: {error}") from error
    except _DAMAGE as error:
        text = f"{path}: not a readable network file ({error}); `spikeloom elaborate` writes a new one"
        raise InputError(text) from error


def _tuples(entry: dict) -> dict:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
