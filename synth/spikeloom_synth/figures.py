"""The figures of the report: arrays in, SVG that stands inside an HTML page out.

Colours are variables of the page's style sheet, so that a figure follows its light and its dark theme; text is text,
in the page's font. The SVG depends on nothing but the data: no dates, no random ids, no settings of the user.
"""

import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

__all__ = [
    "COLOURS",
    "Bar",
    "Stage",
    "Traces",
    "area_by_block",
    "confusion",
    "cycles",
    "draw",
    "energy_by_block",
    "input_picture",
    "membrane",
    "rasters",
    "timing_path",
    "widths",
]

COLOURS = {
    "ink": "#1b1f24",
    "muted": "#5d6672",
    "grid": "#d8dce2",
    "blue": "#2f6db5",
    "orange": "#c9640a",
    "teal": "#15877a",
    "violet": "#7f56b8",
    "red": "#c4303b",
}
"""Variables of the style sheet and their values in its light theme."""
INK, MUTED, GRID = COLOURS["ink"], COLOURS["muted"], COLOURS["grid"]
BLUE, ORANGE, TEAL, VIOLET, RED = (COLOURS[name] for name in ("blue", "orange", "teal", "violet", "red"))
CELL, CELL_WRONG, ON_CELL = "#2e6cb4", "#c3303a", "#fefefe"
"""Cells of the confusion matrix, the same in both themes, and text upon the strong ones."""

WIDE, HALF = 11.0, 5.4
"""Widths of a figure in inches: across the page, and beside another one."""
MOST_STEPS = 400
"""Steps shown of a raster; of a trace a quarter of them."""
MOST_MARKS = 8000
"""Spikes drawn as lines of their own; a fuller raster is a picture."""
MOST_POINTS = 1200
"""Points of a scatter plot."""
MOST_STAGES = 40
"""Bars of a timing path; in longer ones unnamed cells share a bar."""

STYLE = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 5.0,
    "axes.labelsize": 9.0,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK,
    "text.parse_math": False,  # names hold dollars
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "hatch.linewidth": 0.7,
    "path.simplify": False,
}


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One row of a stacked bar chart: a name and the lengths of its parts."""

    name: str
    parts: tuple[float, ...]

    @property
    def total(self) -> float:
        """Length of the whole bar."""
        return sum(self.parts)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a timing path: from `start` to `end` in nanoseconds, through `cell`, to the net called `term`."""

    start: float
    end: float
    cell: str
    term: str
    kind: str
    """`launch`, `cell`, `buffer` or `setup`."""


# ---------------------------------------------------------------------------------------------------------------------
# From a figure to SVG inside a page


def draw(name: str, plot: Callable[..., Figure], *arguments: object, **options: object) -> str:
    """The SVG element of `plot(*arguments, **options)`, for the page; `name` keeps its ids apart from other figures."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        style: dict[Any, Any] = {**STYLE, "svg.hashsalt": name}
        matplotlib.rcParams.update(style)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # the page's fonts know more letters
            figure = plot(*arguments, **options)
            target = io.StringIO()
            nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
            figure.savefig(target, format="svg", metadata=nothing)
    return _inline(target.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """An SVG file as an element of an HTML page: no prologue, no name spaces, ids of its own, colours of the page."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href=", "href=")
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    svg = re.sub(r'\sid="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'<svg\b[^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 preserveAspectRatio="xMidYMid meet">', svg, count=1)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.S)
    for variable, value in COLOURS.items():
        svg = svg.replace(f": {value}", f": var(--{variable})")
    # Hundredths of a point are finer than any screen.
    svg = re.sub(r'\s(?:d|x|y)="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg)
    return re.sub(r"\n\s*", "\n", svg)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _thin(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


# ---------------------------------------------------------------------------------------------------------------------
# What went in, what came out


def _raster(axes: Axes, spikes: np.ndarray, colour: str, height: float) -> None:
    """Spikes [T, N] as strokes; `height` of the axes in points decides how long a stroke can be."""
    steps, neurons = spikes.shape
    times, rows = np.nonzero(spikes)
    if len(times) > MOST_MARKS:
        picture = np.zeros((neurons, steps, 4))
        picture[..., :3] = to_rgb(colour)
        picture[..., 3] = spikes.T > 0
        axes.imshow(
            picture, origin="lower", aspect="auto", interpolation="none", extent=(0.5, steps + 0.5, -0.5, neurons - 0.5)
        )
    elif len(times):
        reach = max(0.38, 0.9 * neurons / height)  # a stroke is never shorter than 1.8 points
        gap = np.full(len(times), np.nan)
        x = np.stack([times + 1, times + 1, gap], axis=1).ravel()
        y = np.stack([rows - reach, rows + reach, gap], axis=1).ravel()
        axes.plot(x, y, color=colour, linewidth=float(np.clip(250 / steps, 0.6, 3.4)), solid_capstyle="butt")
    axes.set_xlim(0.5, steps + 0.5)
    axes.set_ylim(-0.9, neurons - 0.1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=min(5, max(1, int(height / 18))), integer=True))


def _planes(values: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The pictures [rows, columns] that the inputs are; none where they are no picture."""
    if len(shape) == 2:
        return [values.reshape(shape)]
    if len(shape) == 3 and shape[0] <= 3:
        return list(values.reshape(shape))
    if len(shape) == 3 and shape[2] <= 3:
        return [values.reshape(shape)[:, :, n] for n in range(shape[2])]
    return []


def input_picture(values: np.ndarray, shape: tuple[int, ...], spikes: np.ndarray, *, title: str) -> Figure:
    """The first input as a picture, beside its spikes [T, inputs]."""
    spikes = spikes[:MOST_STEPS]
    planes = _planes(values, shape)
    figure = _figure(WIDE, 3.0)
    grid = figure.add_gridspec(1, max(1, len(planes)) + 1, width_ratios=[1.0] * max(1, len(planes)) + [3.2])
    for n, plane in enumerate(planes):
        axes = figure.add_subplot(grid[0, n])
        axes.imshow(plane, cmap="gray", interpolation="none", vmin=0, vmax=max(1e-12, float(values.max())))
        axes.set_title(title if n == 0 else "")
        axes.set_axis_off()
    if not planes:
        axes = figure.add_subplot(grid[0, 0])
        axes.step(values, np.arange(len(values)), color=BLUE, where="mid", linewidth=0.9)
        axes.set_title(title)
        axes.set_xlabel("value")
        axes.set_ylabel("input address")
    axes = figure.add_subplot(grid[0, -1])
    _raster(axes, spikes, BLUE, 165)
    axes.set_title(f"input spikes: {int(spikes.sum())} in {len(spikes)} steps")
    axes.set_xlabel("time step")
    axes.set_ylabel("input address")
    return figure


def rasters(layers: Sequence[tuple[str, np.ndarray]], output_rtl: np.ndarray | None) -> Figure:
    """Spikes [T, N] of every layer that fires, over the same steps; those that left the RTL as rings on the last."""
    heights = [float(np.clip(0.55 + spikes.shape[1] * 0.035, 0.8, 2.4)) for _, spikes in layers]
    figure = _figure(WIDE, sum(heights) + 0.55 + 0.25 * len(layers))
    panels = figure.subplots(len(layers), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for index, (axes, (name, spikes), height) in enumerate(zip(panels, layers, heights, strict=True)):
        shown = spikes[:MOST_STEPS]
        _raster(axes, shown, TEAL, 72 * height)
        axes.set_ylabel("neuron")
        axes.set_title(f"{name}: {int(spikes.sum())} spikes of {spikes.shape[1]} neurons")
        if index == len(layers) - 1 and output_rtl is not None:
            times, rows = np.nonzero(output_rtl[:MOST_STEPS])
            style = {"markersize": 6.5, "markerfacecolor": "none", "markeredgewidth": 1.0, "linestyle": "none"}
            axes.plot(times + 1, rows, marker="o", color=ORANGE, **style)
            handles = [
                Line2D([], [], color=TEAL, marker="|", markersize=8, markeredgewidth=2, linestyle="none"),
                Line2D([], [], color=ORANGE, marker="o", **style),
            ]
            axes.legend(
                handles, ["reference", "RTL"], ncols=2, loc="lower right", bbox_to_anchor=(1.0, 0.98), borderpad=0
            )
    panels[-1].set_xlabel("time step")
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# RTL against the reference


@dataclass(frozen=True, kw_only=True)
class Traces:
    """Membrane potentials [T, N] of a layer for one input."""

    name: str
    reference: np.ndarray
    rtl: np.ndarray | None
    spikes: np.ndarray
    threshold: int | None


def _chosen(layer: Traces) -> list[int]:
    """Up to four neurons worth looking at.

    Those that differ first; then the busiest, the one that fires nearest to every third step, the one that fires
    least but does, and the one whose potential swings furthest.
    """
    steps = len(layer.reference)
    busy = layer.spikes.sum(axis=0, dtype=np.int64)
    picked = [] if layer.rtl is None else np.flatnonzero((layer.rtl != layer.reference).any(axis=0)).tolist()
    for rank in (-busy, abs(3 * busy - steps), np.where(busy > 0, busy, steps + 1), -np.ptp(layer.reference, axis=0)):
        order = np.argsort(rank, kind="stable")
        picked.append(next((n for n in order if n not in picked), order[0]))
    return sorted(list(dict.fromkeys(int(n) for n in picked))[:4])


def membrane(layers: Sequence[Traces]) -> Figure:
    """Potentials after each step: the reference as a line, the RTL as rings upon it, four neurons of each layer."""
    figure = _figure(WIDE, 0.5 + 1.85 * len(layers))
    panels = figure.subplots(len(layers), 4, squeeze=False, sharex=True)
    for row, layer in zip(panels, layers, strict=True):
        steps = min(len(layer.reference), MOST_STEPS // 4)
        time = np.arange(1, steps + 1)
        for axes, neuron in zip(row, _chosen(layer), strict=False):
            reference = layer.reference[:steps, neuron]
            axes.axhline(0, color=GRID, linewidth=0.7)
            if layer.threshold is not None:
                axes.axhline(layer.threshold, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.plot(time, reference, color=BLUE, linewidth=1.4)
            if layer.rtl is not None:
                rtl = layer.rtl[:steps, neuron]
                size = float(np.clip(140 / steps, 2.4, 4.6))
                axes.plot(
                    time, rtl, marker="o", linestyle="none", color=ORANGE, markerfacecolor="none",
                    markersize=size, markeredgewidth=0.9,
                )  # fmt: skip
                wrong = rtl != reference
                if wrong.any():
                    axes.plot(time[wrong], rtl[wrong], marker="x", linestyle="none", color=RED, markersize=8)
            fired = np.flatnonzero(layer.spikes[:steps, neuron]) + 1
            if len(fired):  # an empty line outside the axes has no extent, and the layout needs one
                axes.plot(
                    fired, np.full(len(fired), 1.0), marker="v", linestyle="none", color=TEAL, markersize=4.5,
                    transform=axes.get_xaxis_transform(), clip_on=False,
                )  # fmt: skip
            axes.set_title(f"{layer.name}, neuron {neuron}: {len(fired)} spike{'s' * (len(fired) != 1)}", pad=8)
            axes.set_xlim(0.5, steps + 0.5)
            axes.margins(y=0.08)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        for axes in row[layer.reference.shape[1] :]:
            axes.set_axis_off()
        row[0].set_ylabel("potential v")
    for axes in panels[-1]:
        axes.set_xlabel("time step")
    entries = [(Line2D([], [], color=BLUE, linewidth=1.4), "reference")]
    if any(layer.rtl is not None for layer in layers):
        ring = Line2D([], [], marker="o", linestyle="none", color=ORANGE, markerfacecolor="none", markersize=4.5)
        entries.append((ring, "RTL"))
    entries.append((Line2D([], [], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3))), "threshold"))
    entries.append((Line2D([], [], marker="v", linestyle="none", color=TEAL, markersize=4.5), "spike"))
    figure.legend(*zip(*entries, strict=True), ncols=len(entries), loc="outside upper right")
    return figure


def confusion(matrix: np.ndarray) -> Figure:
    """Inputs of class (row) that were decided as class (column), each cell shaded by its share of the row."""
    classes = len(matrix)
    figure = _figure(HALF, 4.6)
    axes = figure.add_subplot()
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    for row, column in zip(*np.nonzero(matrix), strict=True):
        share = float(shares[row, column])
        right = row == column
        shade = 0.12 + 0.88 * share if right else min(1.0, 0.25 + 2 * share)
        cell = Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=CELL if right else CELL_WRONG, alpha=shade)
        axes.add_patch(cell)
        if classes <= 20:
            size = float(np.clip(90 / classes, 4.5, 9) * (1.0 if matrix.max() < 1000 else 0.8))
            colour = ON_CELL if shade > 0.55 else INK
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=size)
    axes.set_xlim(-0.5, classes - 0.5)
    axes.set_ylim(classes - 0.5, -0.5)
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=20, integer=True))
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("decided by the RTL")
    axes.set_ylabel("label")
    return figure


def cycles(events: np.ndarray, rtl: np.ndarray, model: np.ndarray, *, pace: int, isolated: bool) -> Figure:
    """Latency against input events: the RTL as dots, the cost model as rings, and the pace of the first layer alone.

    `model` is negative where it was not asked.
    """
    figure = _figure(HALF, 4.6)
    axes = figure.add_subplot()
    order = np.lexsort((rtl, events))[_thin(len(events), MOST_POINTS)]
    x, size = events[order], 3.2 if len(order) < 300 else 2.2
    asked = np.flatnonzero(model >= 0)
    if len(asked):
        asked = asked[_thin(len(asked), MOST_POINTS)]
        axes.plot(
            events[asked], model[asked], marker="o", linestyle="none", color=BLUE, markerfacecolor="none",
            markersize=size + 3, markeredgewidth=0.8, alpha=1.0 if len(asked) < 300 else 0.6, label="cost model",
        )  # fmt: skip
    axes.plot(
        x, rtl[order], marker="o", linestyle="none", color=ORANGE, markersize=size, markeredgewidth=0, label="RTL"
    )
    if isolated:
        ends = np.array([events.min(), events.max()])
        label = f"{pace} cycle{'s' * (pace != 1)} per input event"
        axes.plot(ends, pace * ends, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), label=label)
    axes.set_xlabel("input events of an input")
    axes.set_ylabel("latency in cycles")
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    axes.margins(0.05)
    axes.legend(loc="upper left")
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# Area, energy, timing


def _bars(axes: Axes, bars: Sequence[Bar], colours: Sequence[str], *, hatch: str = "") -> None:
    """Stacked horizontal bars, first on top."""
    rows = np.arange(len(bars))
    left = np.zeros(len(bars))
    for n, colour in enumerate(colours):
        lengths = np.array([bar.parts[n] for bar in bars])
        if hatch:
            axes.barh(
                rows, lengths, left=left, height=0.72, facecolor="none", edgecolor=colour, hatch=hatch, linewidth=0.9
            )
        else:
            axes.barh(rows, lengths, left=left, height=0.72, color=colour)
        left += lengths
    axes.set_yticks(rows, [bar.name for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)


def _values(axes: Axes, bars: Sequence[Bar], texts: Sequence[str], reach: float) -> None:
    for row, (bar, text) in enumerate(zip(bars, texts, strict=True)):
        axes.text(bar.total + 0.01 * reach, row, text, va="center", fontsize=8)
    axes.set_xlim(0, reach * 1.24)


def area_by_block(bars: Sequence[Bar], *, rows: int = 0) -> Figure:
    """Cell area by block in square micrometres; parts: flip-flops, logic. As tall as for `rows` bars at least."""
    figure = _figure(HALF, 1.1 + 0.27 * max(len(bars), rows))
    axes = figure.add_subplot()
    _bars(axes, bars, (TEAL, BLUE))
    total = sum(bar.total for bar in bars)
    reach = max(bar.total for bar in bars)
    _values(axes, bars, [f"{bar.total:,.0f} ({bar.total / total:.0%})" for bar in bars], reach)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("cell area in µm²")
    handles = [Patch(color=TEAL), Patch(color=BLUE)]
    figure.legend(handles, ["flip-flops", "logic"], ncols=2, loc="outside upper right")
    return figure


def energy_by_block(logic: Sequence[Bar], memories: Sequence[Bar]) -> Figure:
    """Energy of an inference in joule. Parts of logic: internal, switching, clock pins, leakage; of memories, which
    are assumed: accesses, leakage.
    """
    rows = len(logic) + len(memories)
    figure = _figure(HALF, 1.55 + 0.27 * rows + (0.35 if memories else 0))
    heights = [len(logic) + 0.4] + ([len(memories) + 0.4] if memories else [])
    panels = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    reach = max(bar.total for bar in (*logic, *memories))
    unit = EngFormatter(unit="J", places=2, sep=" ")
    colours = (BLUE, TEAL, VIOLET, RED)
    _bars(panels[0], logic, colours)
    _values(panels[0], logic, [unit(bar.total) for bar in logic], reach)
    panels[0].set_title("cells")
    if memories:
        _bars(panels[1], memories, (ORANGE, RED), hatch="////")
        _values(panels[1], memories, [unit(bar.total) for bar in memories], reach)
        panels[1].set_title("memories, assumed")
    panels[-1].xaxis.set_major_locator(MaxNLocator(nbins=4))
    panels[-1].xaxis.set_major_formatter(EngFormatter(unit="J", sep=" "))
    panels[-1].set_xlabel("energy of an inference")
    handles = [Patch(color=colour) for colour in colours]
    texts = ["internal", "switching", "clock pins", "leakage"]
    if memories:
        handles.append(Patch(facecolor="none", edgecolor=ORANGE, hatch="////"))
        texts.append("accesses")
    figure.legend(handles, texts, ncols=3, loc="outside upper right", columnspacing=1.2, handlelength=1.4)
    return figure


def _merged(stages: Sequence[Stage]) -> list[Stage]:
    """At most about `MOST_STAGES` bars: neighbours without a name of the source share one."""
    share = 1
    result = list(stages)
    while len(result) > MOST_STAGES and share < len(stages):
        share += 1
        result, run = [], []

        def close(run: list[Stage], result: list[Stage]) -> None:
            if run:
                cell = run[0].cell if len(run) == 1 else f"{len(run)} cells"
                result.append(Stage(start=run[0].start, end=run[-1].end, cell=cell, term="", kind="cell"))
                run.clear()

        for stage in stages:
            if stage.term or stage.kind in ("launch", "setup"):
                close(run, result)
                result.append(stage)
                continue
            run.append(stage)
            if len(run) == share:
                close(run, result)
        close(run, result)
    return result


def timing_path(stages: Sequence[Stage]) -> Figure:
    """A path as a waterfall: a bar for each cell, as long as its delay; names of the source where nets have one."""
    stages = _merged(stages)
    figure = _figure(WIDE, 0.75 + 0.185 * len(stages))
    axes = figure.add_subplot()
    colours = {"launch": TEAL, "cell": BLUE, "buffer": VIOLET, "setup": ORANGE}
    rows = np.arange(len(stages))
    starts = np.array([stage.start for stage in stages])
    lengths = np.array([stage.end - stage.start for stage in stages])
    axes.barh(rows, lengths, left=starts, height=0.8, color=[colours[stage.kind] for stage in stages])
    axes.hlines(rows[1:] - 0.5, 0, starts[1:], color=GRID, linewidth=0.4)
    axes.vlines(starts[1:], rows[1:] - 0.6, rows[1:] - 0.4, color=MUTED, linewidth=0.7)
    period = stages[-1].end
    for row, stage in enumerate(stages):
        if stage.term:
            # Beside the bar, on the side with more room.
            after = stage.end < 0.72 * period
            x = stage.end + 0.006 * period if after else stage.start - 0.006 * period
            axes.text(x, row, stage.term, va="center", ha="left" if after else "right", fontsize=8.5, fontweight="bold")
    axes.set_yticks(rows, [f"{stage.cell}  {stage.end - stage.start:.3f}" for stage in stages], fontsize=7.2)
    axes.set_ylim(len(stages) - 0.4, -0.6)
    axes.set_xlim(0, period * 1.01)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("time after the clock edge in ns; beside each cell its delay in ns")
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    kinds = [kind for kind in colours if any(stage.kind == kind for stage in stages)]
    texts = {"launch": "clock to output", "cell": "logic", "buffer": "buffers and inverters", "setup": "set-up"}
    handles = [Patch(color=colours[kind]) for kind in kinds]
    figure.legend(handles, [texts[kind] for kind in kinds], ncols=len(kinds), loc="outside upper right")
    return figure


def widths(layers: Mapping[str, Sequence[int]]) -> Figure:
    """Number of neurons by proven accumulator width, one panel for each layer."""
    figure = _figure(WIDE, 2.2)
    panels = figure.subplots(1, len(layers), squeeze=False, sharex=True)[0]
    every = np.concatenate([np.asarray(bits) for bits in layers.values()])
    low, high = int(every.min()), int(every.max())
    for axes, (name, bits) in zip(panels, layers.items(), strict=True):
        sizes = np.arange(low, high + 1)
        counts = np.array([int((np.asarray(bits) == size).sum()) for size in sizes])
        axes.bar(sizes, counts, width=0.82, color=VIOLET)
        for size, count in zip(sizes, counts, strict=True):
            if count:
                axes.text(size, count, f"{count}", ha="center", va="bottom", fontsize=8)
        margin = max(0.9, (9 - (high - low)) / 2)  # a bar alone is not a wall
        axes.set_xlim(low - margin, high + margin)
        axes.set_ylim(0, counts.max() * 1.15)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axes.set_title(f"{name}: {len(bits)} neurons, mean {np.mean(bits):.2f} bits")
        axes.set_xlabel("accumulator bits")
    panels[0].set_ylabel("neurons")
    return figure
