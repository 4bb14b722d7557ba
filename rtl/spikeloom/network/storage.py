"""The integer network as a file, the same bytes for the same network."""

import io
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..output import write_atomic
from .integer import IntegerLayer, IntegerNetwork, Leak

__all__ = ["load_network", "network_bytes", "save_network"]

SCHEMA = 1
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
    """The .npz archive of a network: header.json plus two arrays a layer. Deterministic: no time stamps."""
    header = {
        "schema": SCHEMA,
        "name": network.name,
        "state": network.state,
        "layers": [
            {
                "name": layer.name,
                "weight_bits": layer.weight_bits,
                "potential_bits": layer.potential_bits,
                "leak": {
                    "kind": layer.leak.kind,
                    "amount": layer.leak.amount,
                    "shifts": list(layer.leak.shifts),
                    "factor": layer.leak.factor,
                    "fraction_bits": layer.leak.fraction_bits,
                },
                "reset": layer.reset,
                "threshold": layer.threshold,
                "reset_amount": layer.reset_amount,
                "max_count": layer.max_count,
            }
            for layer in network.layers
        ],
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        entries = [("header.json", json.dumps(header, sort_keys=True, indent=1).encode())]
        for index, layer in enumerate(network.layers):
            for kind, array in (("weights", layer.weights), ("bias", layer.bias)):
                data = io.BytesIO()
                np.lib.format.write_array(data, np.ascontiguousarray(array.astype("<i8")), allow_pickle=False)
                entries.append((f"{index}.{kind}.npy", data.getvalue()))
        for name, data in entries:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


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
                arrays = {
                    kind: np.lib.format.read_array(io.BytesIO(archive.read(f"{index}.{kind}.npy")), allow_pickle=False)
                    for kind in ("weights", "bias")
                }
                leak = _leak(entry.pop("leak"))
                layers.append(IntegerLayer(leak=leak, weights=arrays["weights"], bias=arrays["bias"], **entry))
            return IntegerNetwork(name=header["name"], state=header["state"], layers=tuple(layers))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; accepted is a network.npz that `spikeloom elaborate` wrote") from error
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(f"{path}: ") else f"{path}: {error}") from error
    except _DAMAGE as error:
        text = f"{path}: not a readable network file ({error}); `spikeloom elaborate` writes a new one"
        raise InputError(text) from error


def _leak(entry: dict) -> Leak:
    return Leak(**{**entry, "shifts": tuple(entry["shifts"])})
