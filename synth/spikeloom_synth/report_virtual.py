"""The figure of a virtual core: how full its engines are, how full the rows that spikes take, and what limits."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .figures import BLUE, MUTED, ORANGE, TEAL, VIOLET, WIDE

__all__ = ["placement_picture", "placement_words"]


def placement_words(layer: Mapping[str, Any]) -> str:
    """What limits a layer, in words, from the cost model's entry of it."""
    used = layer["slots_used"]
    even = np.mean(used) / max(used)
    text = (
        f"{layer['name']}: {layer['dispatch_use']:.0%} of the places in {layer['dispatch_rows']} dispatch rows hold a "
        f"synapse; slots {np.mean(used):.0f} of {max(used)} on the average engine"
    )
    if layer["dispatch_use"] > 0.95:
        return text + "; rows are as full as they can be: only more engines make it faster"
    if even < 0.9:
        return text + "; engines are unevenly filled: a multiple of the engines, or other engines, would help"
    return text + "; places stay empty where the targets of a source do not come out even on the engines"


def placement_picture(layers: Sequence[Mapping[str, Any]]) -> Figure:
    """Of each layer: slots and weights in use by engine, and how the places of its dispatch rows are used."""
    figure = Figure(figsize=(WIDE, 0.9 + 1.9 * len(layers)), layout="constrained")
    grid = figure.subplots(len(layers), 3, squeeze=False, width_ratios=[2, 2, 1.2])
    for row, layer in zip(grid, layers, strict=True):
        engines = np.arange(layer["engines"])
        for axes, values, colour, what in (
            (row[0], layer["slots_used"], BLUE, "neurons"),
            (row[1], layer["weights_used"], TEAL, "weights"),
        ):
            axes.bar(engines, values, color=colour, width=0.8)
            axes.axhline(max(values), color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.set_ylabel(what)
            axes.set_title(f"{layer['name']}: {what} on each engine", loc="left")
            axes.set_xlabel("engine")
        use = layer["dispatch_use"]
        row[2].barh([0], [use], color=VIOLET)
        row[2].barh([0], [1 - use], left=[use], color=ORANGE, alpha=0.35)
        row[2].set_xlim(0, 1)
        row[2].set_yticks([])
        row[2].set_xlabel("places of dispatch rows in use")
        row[2].set_title(f"{layer['dispatch_rows']} rows, {use:.0%} in use", loc="left")
    return figure
