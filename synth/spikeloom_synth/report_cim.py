"""The figure of an array core: cycles of an update against the number of neurons, in place and word by word."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from .figures import BLUE, HALF, MUTED, ORANGE, TEAL, VIOLET

__all__ = ["crossing", "sequential_cycles", "updates"]

MOST_NEURONS = 4096
LANES = 8


def sequential_cycles(neurons: int, *, ports: str = "1r1w", lanes: int = 1) -> int:
    """Cycles of a sequential update of so many neurons, `lanes` words at a time: compare, reset and decay at once."""
    rows = -(-neurons // lanes)
    return 2 * rows if ports == "1rw" else rows + 1


def crossing(cycles: int, *, ports: str = "1r1w", lanes: int = 1) -> int:
    """The smallest number of neurons whose sequential update takes longer than `cycles`."""
    neurons = 1
    while sequential_cycles(neurons, ports=ports, lanes=lanes) <= cycles:
        neurons += 1
    return neurons


def updates(decay: int, tick: int, layers: Mapping[str, int]) -> Figure:
    """Cycles against neurons; `decay` and `tick` are those of arrays, dots are the `layers` {name: neurons}."""
    figure = Figure(figsize=(HALF, 4.6), layout="constrained")
    axes = figure.add_subplot()
    neurons = np.unique(np.geomspace(8, MOST_NEURONS, 80).astype(int))
    for label, colour, ports, lanes in (
        ("words, 1rw", ORANGE, "1rw", 1),
        ("words, 1r1w", VIOLET, "1r1w", 1),
        (f"{LANES} words at a time", TEAL, "1r1w", LANES),
    ):
        cycles = [sequential_cycles(int(n), ports=ports, lanes=lanes) for n in neurons]
        axes.plot(neurons, cycles, color=colour, label=label)
    axes.axhline(tick, color=BLUE, label="in place, whole tick")
    axes.axhline(decay, color=BLUE, linestyle=(0, (4, 3)), label="in place, decay alone")
    for name, count in layers.items():
        axes.plot([count], [tick], marker="o", color=BLUE, linestyle="none")
        axes.annotate(name, (count, tick), xytext=(4, 4), textcoords="offset points", color=MUTED)
    axes.set_xscale("log", base=2)
    # A digital core fires, resets and leaks in the pass of a step's last spike: nothing beside it.
    axes.axhline(0, color=MUTED, label="fused with a spike's pass (digital)")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=-0.2)
    axes.set_xlabel("neurons")
    axes.set_ylabel("cycles of an update")
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left")
    return figure
