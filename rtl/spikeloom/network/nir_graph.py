"""NIR files and graphs as plain nodes and edges: read, subgraphs replaced by their nodes, every kind known.

Files are read with h5py directly: the reader of `nir` fails without naming the node, and rejects files of other
versions of itself. Source of the format: the `nir` package 1.0.4 to 1.0.8.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

__all__ = ["FIELDS", "SUPPORTED", "Graph", "Node", "flatten", "from_object", "read", "text"]

FIELDS = {  # what each node must hold; v_reset is missing in files of nir before 1.0.5 and is then 0
    "Input": (),
    "Output": (),
    "Linear": ("weight",),
    "Affine": ("weight", "bias"),
    "Scale": ("scale",),
    "Conv1d": ("weight",),
    "Conv2d": ("weight",),
    "SumPool2d": ("kernel_size",),
    "AvgPool2d": ("kernel_size",),
    "Flatten": (),
    "Delay": ("delay",),
    "Threshold": ("threshold",),
    "IF": ("r", "v_threshold"),
    "LIF": ("tau", "r", "v_leak", "v_threshold"),
    "LI": ("tau", "r", "v_leak"),
    "I": ("r",),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak"),
}
SUPPORTED = tuple(FIELDS)
NOTES = ("linear_decay", "cloglog")
"""Fields of a node's metadata that are read beside its own."""


@dataclass
class Node:
    """One node: NIR class, and its numeric fields by name."""

    kind: str
    values: dict[str, Any]


@dataclass
class Graph:
    """Nodes by name (a subgraph is a Graph) and edges."""

    nodes: dict[str, "Node | Graph"]
    edges: list[tuple[str, str]]


def flatten(graph: Graph, origin: str, prefix: str = "") -> Graph:
    """The graph with each subgraph replaced by its nodes, named `subgraph.node`, and every node of a known kind."""
    nodes: dict[str, Node | Graph] = {}
    entry: dict[str, str] = {}
    leave: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for key, node in graph.nodes.items():
        full = prefix + key
        if isinstance(node, Node):
            if node.kind not in FIELDS:
                raise InputError(
                    f"{origin}: node {full!r}: {node.kind} is not supported; accepted are {', '.join(SUPPORTED)}"
                )
            nodes[full] = node
            entry[key] = leave[key] = full
            continue
        inner = flatten(node, origin, full + ".")
        ends = []
        for kind in ("Input", "Output"):
            # Inputs and Outputs of deeper subgraphs are already gone: they became plain connections.
            found = [name for name, item in inner.nodes.items() if isinstance(item, Node) and item.kind == kind]
            if len(found) != 1:
                raise InputError(f"{origin}: subgraph {full!r} has {len(found)} {kind} nodes; accepted is exactly one")
            ends += found
        for name, item in inner.nodes.items():
            # to a chain, the ends of a subgraph are a Flatten that changes nothing
            nodes[name] = Node("Flatten", {"passes": True}) if name in ends else item
        edges += inner.edges
        entry[key], leave[key] = ends
    for a, b in graph.edges:
        for key in (a, b):
            if key not in graph.nodes:
                raise InputError(
                    f"{origin}: edge {prefix + a!r} -> {prefix + b!r}: there is no node {prefix + key!r}; "
                    "accepted are edges between nodes of the graph"
                )
        edges.append((leave[a], entry[b]))
    return Graph(nodes, list(dict.fromkeys(edges)))  # some exporters write an edge twice


def from_object(graph: Any, origin: str, prefix: str) -> Graph:
    """A nir.NIRGraph as a Graph."""
    nodes: dict[str, Node | Graph] = {}
    for key, node in graph.nodes.items():
        if hasattr(node, "nodes") and hasattr(node, "edges"):
            nodes[key] = from_object(node, origin, f"{prefix}{key}.")
            continue
        kind = type(node).__name__
        values = dict(vars(node))
        notes = values.pop("metadata", None) or {}
        values |= {key: notes[key] for key in NOTES if key in notes}
        if kind in ("Input", "Output"):
            side = kind.lower()
            values = {"shape": (values.get(f"{side}_type") or {}).get(side)}
        elif kind == "Flatten":
            values["input_type"] = (values.get("input_type") or {}).get("input")
        nodes[key] = Node(kind, values)
    return Graph(nodes, [(str(a), str(b)) for a, b in graph.edges])


def read(path: Path) -> Graph:
    """The graph of a NIR file."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {what}; accepted is a NIR file (.nir)")
    import h5py  # a dependency of nir; slow to import, and needed here only

    try:
        with h5py.File(path, "r") as file:
            if "node" not in file:
                raise InputError(f"{path}: an HDF5 file without a NIR graph; accepted is a file that nir.write wrote")
            graph = _read_group(file["node"], str(path), "")
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{path}: not a readable NIR file ({reason}); accepted is one that nir.write wrote") from error
    if isinstance(graph, Node):
        raise InputError(f"{path}: a single {graph.kind} node; accepted is a NIRGraph")
    return graph


def _read_group(group: Any, origin: str, name: str) -> Node | Graph:
    """One node of the file; `name` is empty for the graph itself."""
    if not hasattr(group, "keys") or "type" not in group:
        raise InputError(f"{origin}: node {name!r} has no type; accepted is a file that nir.write wrote")
    kind = text(group["type"][()])
    if kind != "NIRGraph":
        values = {key: item[()] for key, item in group.items() if not hasattr(item, "keys")}
        notes = group["metadata"] if hasattr(group.get("metadata"), "keys") else {}
        return Node(kind, {**values, **{key: notes[key][()] for key in NOTES if key in notes}})
    prefix = name + "." if name else ""
    if "nodes" not in group or "edges" not in group:
        raise InputError(f"{origin}: graph {name!r} without nodes or edges; accepted is a file that nir.write wrote")
    nodes = {str(key): _read_group(item, origin, prefix + str(key)) for key, item in group["nodes"].items()}
    pairs = np.asarray(group["edges"][()])
    if pairs.size and (pairs.ndim != 2 or pairs.shape[1] != 2):
        raise InputError(f"{origin}: edges of shape {list(pairs.shape)}; accepted is [edges, 2]")
    return Graph(nodes, [(text(a), text(b)) for a, b in pairs.reshape(-1, 2)])


def text(value: Any) -> str:
    """A string of a file, where it may be bytes."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
