"""The pursuits as a moving picture: one prey, one panel per controller, below it the spikes of the step's inference."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from spikeloom.network.interception import STEPS, Controller, Pursuit, ReferenceController, encode
from spikeloom.network.interception.prey import POINTS
from spikeloom.network.interception.pursuit import observation_keys

from .analog import AnalogController
from .core import CoreController

__all__ = ["animate", "most_telling"]

FRAME_MS, PAUSE_MS = 330, 2000  # the end stays for a while
CANDIDATES = 200
PREY, PREDATOR, INPUT, HIDDEN, OUTPUT = "#c0392b", "#1f5fa8", "#555555", "#8fb4d9", "#1f5fa8"
TITLES = {
    "float": "float reference",
    "digital": "digital core, RTL",
    "crossbar": "crossbar core, RTL",
    "analog": "analog models",
}


def most_telling(loops: Mapping[str, Pursuit]) -> int:
    """The prey to show: the one that the reference needs longest for."""
    captured = loops["float"].captured[:CANDIDATES]
    return int(np.where(captured > 0, captured, POINTS).argmax())


def rasters(controller: Controller, values: np.ndarray, keys: np.ndarray) -> list[list[np.ndarray]]:
    """Spike times in steps of each observation [B, 4]: 4 inputs, the hidden neurons, the output."""
    if isinstance(controller, AnalogController):
        return controller.trains(values, keys) if len(values) else []
    if not isinstance(controller, (ReferenceController, CoreController)):
        raise TypeError(f"{controller.name} shows no spikes")
    given = encode(values)
    hidden, output = controller.spikes(values, keys)
    rows = np.concatenate([given, hidden, output[:, :, None]], axis=2)
    return [[np.flatnonzero(train) for train in one.T] for one in rows]


def animate(
    controllers: Mapping[str, Controller],
    loops: Mapping[str, Pursuit],
    target: Path,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Write the pursuits of one prey as a GIF. Axes and letters that stay are drawn once, for all frames."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    which = most_telling(loops)
    prey = loops["float"].prey[which]
    ends = {name: int(loop.captured[which]) or POINTS - 1 for name, loop in loops.items()}
    last = max(ends.values())
    shown = np.concatenate([prey[: last + 1], *(loop.predator[which, : last + 1] for loop in loops.values())])
    middle, half = (shown.max(axis=0) + shown.min(axis=0)) / 2, np.ptp(shown, axis=0).max() / 2 + 0.8
    figure = Figure(figsize=(4 * len(loops), 6.2), dpi=72)
    canvas = FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.2 / len(loops), right=0.97, bottom=0.08, top=0.91, hspace=0.25, wspace=0.3)
    axes = figure.subplots(2, len(loops), squeeze=False, height_ratios=[2, 1])
    panels = []
    for n, (name, loop) in enumerate(loops.items()):
        field = axes[0, n]
        field.set(xlim=(middle[0] - half, middle[0] + half), ylim=(middle[1] - half, middle[1] + half))
        field.set_aspect("equal")
        asked = loop.asked[which]
        keys = observation_keys(np.full(asked.sum(), which), np.flatnonzero(asked) + 1)
        trains = rasters(controllers[name], loop.values[which][asked], keys)
        panels.append(_Panel(field, axes[1, n], TITLES.get(name, name), prey, loop.predator[which], trains, ends[name],
                             bool(loop.captured[which])))  # fmt: skip

    canvas.draw()
    background = canvas.copy_from_bbox(figure.bbox)
    frames = []
    for step in range(last + 1):
        progress(step / (last + 1))
        canvas.restore_region(background)
        for panel in panels:
            panel.show(min(step, panel.end))
        frames.append(Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy()).quantize(64))
    times = [FRAME_MS] * last + [FRAME_MS + PAUSE_MS]
    frames[0].save(target, save_all=True, append_images=frames[1:], duration=times, loop=0, optimize=False)


class _Panel:
    """One controller: the field with both paths, and the spikes of the current inference."""

    def __init__(self, field, raster, title, prey, predator, trains, end: int, caught: bool):
        self.field, self.raster = field, raster
        self.prey, self.predator, self.trains, self.end, self.caught = prey, predator, trains, end, caught
        self.lines = [field.plot([], [], color=colour, lw=1)[0] for colour in (PREY, PREDATOR)]
        self.dots = [
            field.plot([], [], mark, color=colour, label=label)[0]
            for mark, colour, label in (("o", PREY, "prey"), ("^", PREDATOR, "predator"))
        ]
        field.legend(loc="upper right", fontsize=8)
        field.set_title(title, fontsize=10)
        self.state = field.text(0.03, 0.03, "", transform=field.transAxes, fontsize=9)
        self.answer = raster.text(0.5, 1.04, "", transform=raster.transAxes, fontsize=9, ha="center")
        raster.set(xlim=(-1, STEPS), ylim=(39, -1), yticks=[1.5, 19.5, 37])
        raster.set_xlabel("time step of the inference", fontsize=8)
        raster.set_yticklabels(["inputs", "hidden", "output"], fontsize=8, rotation=90, va="center")
        raster.tick_params(labelsize=8)
        places, lengths = [*range(4), *range(5, 35), 37], [0.8] * 34 + [2.0]
        colours = [INPUT] * 4 + [HIDDEN] * 30 + [OUTPUT]
        self.events = raster.eventplot(
            [[]] * 35, lineoffsets=places, linelengths=lengths, colors=colours, linewidths=1.2
        )
        self.moving = [*self.lines, *self.dots, self.state, self.answer, *self.events]
        for artist in self.moving:
            artist.set_animated(True)

    def show(self, step: int) -> None:
        """Draw the state after `step` steps, and the inference that followed."""
        for line, dot, path in zip(self.lines, self.dots, (self.prey, self.predator), strict=True):
            line.set_data(*path[: step + 1].T)
            dot.set_data(*path[step : step + 1].T)
        caught = self.caught and step == self.end
        self.state.set_text(f"step {step}{': caught' if caught else ''}")
        asked = 0 < step <= len(self.trains)
        trains = self.trains[step - 1] if asked else [[]] * 35
        for events, train in zip(self.events, trains, strict=True):
            events.set_positions(train)
        count = len(trains[-1])
        self.answer.set_text(f"{count} output spikes: {120 * count / 25 - 60:+.0f} degrees" if asked else "")
        for artist in self.moving:
            artist.axes.draw_artist(artist)
