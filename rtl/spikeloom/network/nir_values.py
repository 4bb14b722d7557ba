"""The fields of NIR nodes, checked where they are read: every message names file, node and field."""

from typing import Any, NoReturn

import numpy as np

from ..errors import InputError
from .connections import Geometry
from .nir_graph import FIELDS, Node, text
from .nir_terms import as_map, without_batch

__all__ = ["Values", "stored_shape"]

OPTIONAL = ("v_reset", "w_in", "bias", "stride", "padding", "dilation", "groups", "linear_decay", "cloglog")
"""Fields that are checked where they are there."""


class Values:
    """Reads the fields of the nodes of one file, `origin` in messages."""

    def __init__(self, origin: str):
        self.origin = origin

    def fail(self, node: str, problem: str) -> NoReturn:
        """Refuse what node `node` holds."""
        raise InputError(f"{self.origin}: node {node!r}: {problem}")

    def check(self, key: str, node: Node):
        """Refuse missing fields and numbers that are not finite, before anything is computed."""
        for what in FIELDS[node.kind]:
            if node.values.get(what) is None:
                self.fail(key, f"{node.kind} without {what}; accepted are all of {', '.join(FIELDS[node.kind])}")
        for what in (*FIELDS[node.kind], *OPTIONAL):
            value = node.values.get(what)
            if value is None or (what == "padding" and isinstance(value, (str, bytes))):
                continue
            try:
                array = np.asarray(value, np.float64)
            except (TypeError, ValueError):
                self.fail(key, f"{what} = {value!r}; accepted are numbers")
            bad = ~np.isfinite(array)
            if bad.any():
                index = "".join(f"[{i}]" for i in np.argwhere(bad)[0]) if array.ndim else ""
                hint = "; IF has no leak" if what == "tau" else ""
                self.fail(key, f"{what}{index} is {array[bad].flat[0]}; accepted are finite numbers{hint}")
            if array.size == 0:
                self.fail(key, f"{what} of shape {list(array.shape)} is empty; accepted is at least one value")
            node.values[what] = array
        axes = {"Linear": 2, "Affine": 2, "Conv1d": 3, "Conv2d": 4}.get(node.kind)
        if axes is not None and np.ndim(node.values["weight"]) != axes:
            accepted = (
                "[neurons, inputs]"
                if axes == 2
                else "[channels, channels of a group, " + ("length]" if axes == 3 else "height, width]")
            )
            self.fail(key, f"weight of shape {list(np.shape(node.values['weight']))}; accepted is {accepted}")

    def integers(self, key: str, node: Node, what: str, count: int, default: tuple[int, ...]) -> tuple[int, ...]:
        """A field of one or `count` integers."""
        value = node.values.get(what)
        if value is None:
            return default
        flat = np.ravel(value)
        if flat.size not in (1, count) or (flat != np.rint(flat)).any() or flat.min() < 0:
            self.fail(key, f"{what} = {np.ravel(value).tolist()}; accepted are {count} integers of at least 0")
        return tuple(int(n) for n in np.broadcast_to(flat, (count,)))

    def per_neuron(self, key: str, node: Node, what: str, size: int) -> np.ndarray:
        """A field as one value per neuron, float64 [size]; a single value serves all."""
        value = np.ravel(node.values[what])
        if value.size not in (1, size):
            self.fail(key, f"{what} of shape {list(node.values[what].shape)} for {size} inputs; accepted is [{size}]")
        return np.broadcast_to(value, (size,))

    def convolution(
        self, key: str, node: Node, given: tuple[int, ...]
    ) -> tuple[tuple[int, ...], np.ndarray, dict[str, Any]]:
        """Shape sent, kernels [channels, channels of a group, height, width], and stride, padding and groups."""
        axes = 2 if node.kind == "Conv2d" else 1
        weight = node.values["weight"]
        given = without_batch(given, axes + 1)
        if len(given) != axes + 1:
            names = "[channels, height, width]" if axes == 2 else "[channels, length]"
            self.fail(key, f"its input has shape {list(given)}; accepted is {names}")
        stored = node.values.get("input_shape")
        stored = () if stored is None else tuple(int(n) for n in np.ravel(stored))
        if stored and stored != given[1:]:
            self.fail(key, f"input_shape {list(stored)} behind maps of {list(given[1:])}; accepted is the same of both")
        stride = self.integers(key, node, "stride", axes, (1,) * axes)
        dilation = self.integers(key, node, "dilation", axes, (1,) * axes)
        if any(n != 1 for n in dilation):
            self.fail(key, f"dilation {list(dilation)}; accepted is 1")
        mode = text(node.values.get("padding_mode", "zeros"))  # torch's name; no field of NIR, but some file may say so
        if mode != "zeros":
            self.fail(key, f"padding_mode {mode!r}; accepted is zeros")
        (groups,) = self.integers(key, node, "groups", 1, (1,))
        padding = node.values.get("padding")
        if isinstance(padding, (str, bytes)):
            mode = text(padding)
            if mode not in ("same", "valid"):
                self.fail(key, f"padding {mode!r}; accepted are numbers, same, valid")
            if mode == "same" and any(n != 1 for n in stride):
                self.fail(key, f"padding 'same' with stride {list(stride)}; accepted is a stride of 1, or numbers")
            padding = (0,) * axes
            if mode == "same":
                # (kernel - 1) // 2 zeros before and kernel // 2 behind: a row of zero weights makes both alike
                even = [(0, 0), (0, 0), *((1 - n % 2, 0) for n in weight.shape[2:])]
                weight = np.pad(weight, even)
                padding = tuple(n // 2 for n in weight.shape[2:])
        else:
            padding = self.integers(key, node, "padding", axes, (0,) * axes)
        if axes == 1:
            weight, stride, padding = weight[:, :, None], (1, *stride), (0, *padding)
        options = {"stride": stride, "padding": padding, "groups": groups}
        try:
            geometry = Geometry(weights=weight.shape, source_shape=as_map(given), **options)
        except InputError as error:
            self.fail(key, str(error))
        shape = geometry.shape if axes == 2 else (geometry.shape[0], geometry.shape[2])
        return shape, weight, options

    def pool(self, key: str, node: Node, given: tuple[int, ...]) -> tuple[int, int]:
        """The window of a pool node over maps of shape `given`."""
        kernel = self.integers(key, node, "kernel_size", 2, (1, 1))
        stride = self.integers(key, node, "stride", 2, kernel)
        padding = self.integers(key, node, "padding", 2, (0, 0))
        if min(kernel) < 1 or stride != kernel or any(padding):
            self.fail(
                key,
                f"kernel_size {list(kernel)}, stride {list(stride)}, padding {list(padding)}; accepted are windows "
                "that do not overlap: stride = kernel_size, padding = 0",
            )
        given = without_batch(given, 3)
        if len(given) != 3:
            self.fail(key, f"its input has shape {list(given)}; accepted is [channels, height, width]")
        if kernel[0] > given[1] or kernel[1] > given[2]:
            self.fail(key, f"kernel_size {list(kernel)} over a map of {list(given)}; accepted is at most the map")
        return kernel  # type: ignore[return-value]


def stored_shape(node: Node) -> tuple[int, ...]:
    """The stored shape of an Input or Output node; () where the file does not say."""
    stored = node.values.get("shape")
    return () if stored is None else tuple(int(n) for n in np.ravel(stored))
