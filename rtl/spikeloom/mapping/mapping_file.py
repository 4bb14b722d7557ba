"""Mapping files: which engine and pass each neuron of a network has on a virtual core, as `spikeloom map` writes them.

JSON: `schema`, the SHA-256 of the integer network, `layers` {name: `engine` and `turn` of each neuron, and how good the
placement is known to be}. The last layer of a network is not in it: its neurons stay in order.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..network.integer import IntegerNetwork
from ..output import write_atomic
from .placement import Placement, Problem

__all__ = ["read_mapping", "write_mapping"]

SCHEMA = 1


def write_mapping(path: Path | str, network: IntegerNetwork, placements: Mapping[str, Placement]) -> Path:
    """Write the placements {layer: placement} of `network`; same placements, same bytes."""
    layers = {
        name: {
            "engine": placed.engine.tolist(),
            "turn": placed.turn.tolist(),
            "method": placed.method,
            "status": placed.status,
            "expected_rows": placed.expected_rows,
            "bound": placed.bound,
            "bound_from": placed.bound_from,
        }
        for name, placed in placements.items()
    }
    content = {"schema": SCHEMA, "network": network.content_hash(), "layers": layers}
    return write_atomic(path, json.dumps(content, sort_keys=True, indent=None, separators=(",", ":")) + "\n")


def read_mapping(
    path: Path | str, network: IntegerNetwork, problems: Mapping[str, Problem]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Engine and pass of each neuron, {layer: (engine, turn)}, of the layers in `problems`.

    Raises
    ------
    InputError
        For a file that is none, is of another network, or does not fit the engines and memories of `problems`.
    """
    try:
        content: Any = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: {reason}; accepted: a file that `spikeloom map` wrote") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not isinstance(content.get("layers"), dict):
        raise InputError(f"{path}: no mapping of schema {SCHEMA}; accepted: a file that `spikeloom map` wrote")
    digest = network.content_hash()
    if content.get("network") != digest:
        raise InputError(
            f"{path}: made for network {str(content.get('network'))[:16]}; accepted here is one for {digest[:16]}: run "
            "`spikeloom map` again, weights or number formats have changed"
        )
    found = {}
    for name, problem in problems.items():
        layer = content["layers"].get(name, {})
        try:
            engine, turn = (np.array(layer[key], np.int64) for key in ("engine", "turn"))
        except (KeyError, TypeError, ValueError, OverflowError):
            engine = turn = np.zeros(0, np.int64)
        if engine.shape != (problem.neurons,) or turn.shape != (problem.neurons,):
            raise InputError(f"{path}: layer {name!r}: accepted are `engine` and `turn` of {problem.neurons} neurons")
        for key, values, most in (("engine", engine, problem.engines), ("turn", turn, problem.passes)):
            if values.min() < 0 or values.max() >= most:
                raise InputError(
                    f"{path}: layer {name!r}: {key} {values.min()} to {values.max()}; accepted with this core are 0 to "
                    f"{most - 1}: run `spikeloom map` again"
                )
        fullest = int(np.bincount(turn * problem.engines + engine).max())
        if fullest > problem.slots:
            raise InputError(
                f"{path}: layer {name!r}: {fullest} neurons on one engine; accepted with this core are up to "
                f"{problem.slots}: run `spikeloom map` again"
            )
        found[name] = engine, turn
    return found
