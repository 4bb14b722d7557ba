"""Both sides in one picture: membranes, spikes, errors."""

import io

import numpy as np

from .compare import Comparison, StageComparison

__all__ = ["comparison_figure"]

SHOWN = 4
"""Membranes of a stage that are drawn: those of the busiest neurons."""


def comparison_figure(comparison: Comparison, title: str = "") -> bytes:
    """A PNG. For each stage: membranes of its busiest neurons, all spikes, and the error of each spike over time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = comparison.stages
    figure = Figure(figsize=(13, 5.2 * len(stages)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    kind = comparison.circuit.amplifier.kind
    figure.suptitle(f"{title or 'crossbar and neurons'}: ngspice {comparison.version}, {kind} amplifiers; closed form")
    parts = figure.subfigures(len(stages), 1, squeeze=False)
    for s, stage in enumerate(stages):
        _draw(parts[s, 0], stage, comparison.circuit.window, s)
    stream = io.BytesIO()
    canvas.print_png(stream)
    return stream.getvalue()


def _draw(part, stage: StageComparison, window: float, s: int) -> None:
    spice, closed = stage.counts
    busiest = np.sort(np.argsort(-(spice + closed), kind="stable")[:SHOWN])
    membranes, spikes, errors = part.subplots(3, 1, sharex=True, height_ratios=[2, 1.2, 1])
    us = 1e6
    step = 1.2 * float(stage.threshold.max())
    for place, j in enumerate(busiest):
        base = place * step
        membranes.plot(stage.grid * us, stage.spice_u[:, j] + base, color="tab:blue", lw=1.4, alpha=0.8)
        membranes.plot(stage.grid * us, stage.closed_u[:, j] + base, color="tab:orange", lw=0.9, ls="--")
        membranes.axhline(base + stage.threshold[j], color="0.8", lw=0.5, zorder=0)
    membranes.set_yticks([place * step for place in range(len(busiest))], [f"neuron {j}" for j in busiest])
    membranes.set_ylabel("u, to threshold")
    membranes.plot([], [], color="tab:blue", label="ngspice")
    membranes.plot([], [], color="tab:orange", ls="--", label="closed form")
    membranes.legend(loc="upper right", ncols=2, fontsize="small")
    figures = stage.figures()
    percent = figures["error_percent"]
    membranes.set_title(
        f"stage {s}: {figures['spikes_spice']} spikes of ngspice, {figures['spikes_closed']} of the closed form"
        + ("" if percent is None else f", mean error {percent:.2g} % of the mean interval"),
        fontsize="medium",
    )
    for times, color, shift in ((stage.spice, "tab:blue", 0.0), (stage.closed, "tab:orange", 0.4)):
        spikes.eventplot(
            [t * us for t in times], lineoffsets=np.arange(len(times)) + shift, linelengths=0.4, colors=color
        )
    spikes.set_ylabel("neuron")
    for times, pairs in zip(stage.closed, stage.pairs, strict=True):
        errors.plot(times[: len(pairs)] * us, pairs * 1e9, ".", ms=4)
    errors.axhline(0, color="0.7", lw=0.5)
    errors.set_ylabel("error in ns")
    errors.set_xlabel("time in us")
    errors.set_xlim(0, window * us)
