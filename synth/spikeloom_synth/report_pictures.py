"""The figures of the report: what each shows of a build folder, its caption and its conditions."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from .figures import (
    Bar,
    Stage,
    Traces,
    area_by_block,
    confusion,
    cycles,
    draw,
    energy_by_block,
    input_picture,
    membrane,
    rasters,
    timing_path,
    widths,
)
from .report_build import Build, conditions, number, percent, si
from .report_cim import LANES, crossing, updates
from .report_virtual import placement_picture, placement_words

__all__ = ["Picture", "energies", "joined", "pictures"]

BUFFER = re.compile(r"^(INV|BUF|CLKBUF|TBUF)|_(inv|buf|clkbuf|bufbuf|clkinv)_", re.I)
UNNAMED = re.compile(r"(^|\.)(_\d+_|\$\S*)")
"""Nets that Yosys made: no terms of the source."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure of the page; `svg` is None where it is skipped, `why` then says why and how to get it."""

    name: str
    title: str
    svg: Markup | None = None
    caption: str = ""
    label: str = ""
    why: str = ""
    half: bool = False


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """A figure to be drawn: a function of `figures`, what it takes, and the words around it."""

    plot: Callable[..., Figure]
    arguments: tuple
    options: dict[str, Any] = field(default_factory=dict)
    alt: str
    caption: str
    label: str


def _picture(
    name: str, title: str, build: Build, steps: Sequence[str], plan: _Plan | None, *, half: bool = False
) -> Picture:
    """The picture of a plan, or the reason why there is none: that of the first of `steps` that was skipped."""
    if plan is None:
        return Picture(name=name, title=title, why=build.why(*steps), half=half)
    svg = draw(name, plan.plot, *plan.arguments, **plan.options)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(plan.alt)}" ', 1)
    return Picture(name=name, title=title, svg=Markup(svg), caption=plan.caption, label=plan.label, half=half)


def _input(build: Build) -> _Plan | None:
    arrays = build.arrays
    if "example_input" not in arrays:
        return None
    spikes = arrays["example_input"]
    shape = tuple(int(n) for n in arrays["example_shape"]) if "example_shape" in arrays else (spikes.shape[1],)
    given = arrays.get("example_values")
    values = np.asarray(spikes.sum(axis=0) if given is None else given, np.float64).ravel()
    if int(np.prod(shape)) != len(values):
        shape = (len(values),)
    index = int(arrays["example_index"].ravel()[0]) if "example_index" in arrays else 0
    label = int(arrays["labels"][index]) if index < len(arrays.get("labels", ())) else -1
    what = "values" if given is not None else "spikes per address"
    title = f"input {index}" + (f", label {label}" if label >= 0 else "")
    return _Plan(
        plot=input_picture,
        arguments=(values, shape, spikes),
        options={"title": f"{title}: {what}"},
        alt=f"Input {index} as a picture, and the {int(spikes.sum())} spikes that code it, address against step.",
        caption=f"Input {index} of the data set, and what the core is given: each stroke is a spike on one of "
        f"{spikes.shape[1]} addresses.",
        label=build.simulated(),
    )


def _spikes(build: Build) -> _Plan | None:
    arrays, layers = build.arrays, build.manifest["layers"]
    drawn = [
        (layers[n]["name"], arrays[f"example_spikes_{n}"])
        for n in build.layers()
        if layers[n]["threshold"] is not None and f"example_spikes_{n}" in arrays
    ]
    if not drawn:
        return None
    # The RTL's spikes are those of the last layer, so they belong on its panel only where it is drawn.
    output = arrays.get("example_output_rtl") if layers[-1]["threshold"] is not None else None
    total = ", ".join(f"{name} {int(spikes.sum())}" for name, spikes in drawn)
    rings = "; rings are the spikes that left the RTL" if output is not None else ""
    return _Plan(
        plot=rasters,
        arguments=(drawn, output),
        alt=f"Spike raster of each layer for one input, spikes: {total}.",
        caption=f"Spikes of each layer for the same input. Strokes are the reference{rings}.",
        label=build.simulated(),
    )


def _membrane(build: Build) -> _Plan | None:
    arrays, layers = build.arrays, build.manifest["layers"]
    traces = []
    for n in build.layers():
        if f"example_potentials_{n}" in arrays:
            reference = arrays[f"example_potentials_{n}"]
            traces.append(
                Traces(
                    name=layers[n]["name"],
                    reference=reference,
                    rtl=arrays.get(f"example_potentials_rtl_{n}"),
                    spikes=arrays.get(f"example_spikes_{n}", np.zeros_like(reference, np.uint8)),
                    threshold=layers[n]["threshold"],
                )
            )
    if not traces:
        return None
    probed = [trace for trace in traces if trace.rtl is not None]
    wrong = sum(int((trace.rtl != trace.reference).sum()) for trace in probed)
    compared = sum(trace.reference.size for trace in probed)
    text = f"{compared - wrong:,} of {compared:,} RTL potentials of this input equal the reference."
    if not probed:
        text = "This design has no probes, so the RTL's potentials are not seen: `core.probe = true` adds them."
    elif wrong:
        text += " Crosses mark those that do not."
    return _Plan(
        plot=membrane,
        arguments=(traces,),
        alt=f"Membrane potentials of up to four neurons in each layer, RTL upon reference. {text}",
        caption=f"Potentials stored after each step, in the hardware's integers: up to four neurons of a layer. {text}",
        label=build.simulated(),
    )


def _confusion(build: Build) -> _Plan | None:
    arrays = build.arrays
    if (
        "labels" not in arrays
        or "decision_rtl" not in arrays
        or not ((arrays["labels"] >= 0) & (arrays["decision_rtl"] >= 0)).any()
    ):
        build.skipped.setdefault(
            "labels", "no input has both a label and a decision; [data] of the configuration names a labelled set"
        )
        return None
    known = (arrays["labels"] >= 0) & (arrays["decision_rtl"] >= 0)
    labels, decided = arrays["labels"][known].astype(np.int64), arrays["decision_rtl"][known].astype(np.int64)
    classes = max(build.manifest.get("outputs", 0), int(labels.max()) + 1, int(decided.max()) + 1)
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, decided), 1)
    right = int(np.trace(matrix))
    off = matrix - np.diag(np.diag(matrix))
    worst = np.unravel_index(int(off.argmax()), off.shape)
    most = f" Most often confused: {worst[0]} taken for {worst[1]} ({off[worst]})." if off.any() else ""
    return _Plan(
        plot=confusion,
        arguments=(matrix,),
        alt=f"Confusion matrix of {len(labels)} inputs: {right} right.{most}",
        caption=f"{right:,} of {len(labels):,} inputs decided right ({percent(right / len(labels))}).{most} "
        "Shades are shares of a row.",
        label=build.simulated(),
    )


def _cycles(build: Build) -> _Plan | None:
    arrays, given = build.arrays, build.simulation
    if given is None or "latency" not in arrays or "input_events" not in arrays:
        return None
    played = arrays["latency"] >= 0
    if not played.any():
        return None
    events, rtl = arrays["input_events"][played].astype(np.int64), arrays["latency"][played].astype(np.int64)
    model = arrays["latency_model"][played] if "latency_model" in arrays else np.full(len(rtl), -1)
    asked = model >= 0
    pace = int(build.manifest["cost"]["layers"][0].get("cycles_per_event", 1))
    text = "Cycles from the first item in to the last out. "
    if asked.any():
        same = int((rtl == model)[asked].sum())
        text += (
            f"The cost model, which shares no code with the RTL, says the same for {same:,} of {asked.sum():,} inputs. "
        )
    sop, dense = given.get("sop_mean"), given.get("dense_operations_mean")
    if sop and dense:
        text += f"Synaptic operations per input: {sop:,.0f}, {sop / dense:.1%} of the {dense:,.0f} of a dense network."
    return _Plan(
        plot=cycles,
        arguments=(events, rtl, model),
        options={"pace": pace, "isolated": bool(given.get("isolated"))},
        alt=f"Latency against input events: {rtl.min()} to {rtl.max()} cycles "
        f"for {events.min()} to {events.max()} events.",
        caption=text.strip(),
        label=build.simulated(),
    )


def _block_name(name: str) -> str:
    """A block without the numbers that Yosys gives to instances."""
    return re.sub(r"\$\d+", "", name)


def joined(
    blocks: Mapping[str, Mapping[str, float]], keys: Sequence[str], size: Callable[[list[float]], float]
) -> dict[str, list[float]]:
    """Sums of these keys by displayed block, that of the largest `size` first."""
    rows: dict[str, list[float]] = {}
    for name, block in blocks.items():
        row = rows.setdefault(_block_name(name), [0.0] * len(keys))
        for n, key in enumerate(keys):
            row[n] += float(block[key])
    return dict(sorted(rows.items(), key=lambda item: (-size(item[1]), item[0])))


MOST_BLOCKS = 14


def _bars(rows: Mapping[str, list[float]]) -> list[Bar]:
    """Bars of the largest blocks; the small rest shares one."""
    bars = [Bar(name=name, parts=tuple(parts)) for name, parts in rows.items()]
    if len(bars) <= MOST_BLOCKS:
        return bars
    rest = bars[MOST_BLOCKS - 1 :]
    parts = tuple(sum(column) for column in zip(*(bar.parts for bar in rest), strict=True))
    return [*bars[: MOST_BLOCKS - 1], Bar(name=f"{len(rest)} others", parts=parts)]


def _area(build: Build) -> _Plan | None:
    if build.synthesis is None or not build.synthesis["area"]["by_block"]:
        return None
    area = build.synthesis["area"]
    rows = {
        name: [flip_flops, total - flip_flops]
        for name, (total, flip_flops) in joined(
            area["by_block"], ("area", "flip_flop_area"), lambda row: row[0]
        ).items()
    }
    share = area["flip_flop_um2"] / area["um2"]
    first = next(iter(rows))
    found = energies(build)
    rows_beside = sum(min(len(part), MOST_BLOCKS) for part in found) + 3 if found else 0
    return _Plan(
        plot=area_by_block,
        arguments=(_bars(rows),),
        options={"rows": rows_beside},
        alt=f"Cell area by block, {area['um2']:,.0f} square micrometres in all; the largest block is {first}.",
        caption=f"{area['um2']:,.0f} µm² of cells, {share:.0%} of it flip-flops. "
        "Memories are outside: see their table.",
        label=conditions(area["label"]),
    )


POWER_KEYS = ("internal_w", "switching_w", "clock_pins_w", "leakage_w")


def energies(build: Build) -> tuple[dict[str, list[float]], dict[str, list[float]]] | None:
    """Joule per inference: {block: [internal, switching, clock pins, leakage]}, {memory: [accesses, leakage]}."""
    power = (build.synthesis or {}).get("power")
    if not power:
        return None
    interval = power["cycles_per_inference"] / (power["label"]["clock_mhz"] * 1e6)
    blocks = {
        name: [value * interval for value in row] for name, row in joined(power["by_block"], POWER_KEYS, sum).items()
    }
    memories = {
        each["instance"]: [each["dynamic_j"] / power["inferences"], each["leakage_w"] * interval]
        for each in power["memories"]
    }
    return blocks, dict(sorted(memories.items(), key=lambda item: (-sum(item[1]), item[0])))


def _energy(build: Build) -> _Plan | None:
    found = energies(build)
    if found is None or build.synthesis is None:
        return None
    blocks, memories = found
    power = build.synthesis["power"]
    energy = power["energy_per_inference_j"]
    leakage = sum(row[-1] for row in (*blocks.values(), *memories.values()))
    return _Plan(
        plot=energy_by_block,
        arguments=(_bars(blocks), _bars(memories)),
        alt=f"Energy of an inference by block: cells {si(energy['logic'], 'J')}, "
        f"memories {si(energy['memory_assumed'], 'J')}, assumed.",
        caption=f"{si(energy['total'], 'J')} per inference over {number(power['cycles_per_inference'])} cycles, "
        f"idle ones included; leakage is {si(leakage, 'J', 3)} of it. Hatched bars are assumptions, no measurement.",
        label=conditions(power["label"]),
    )


def _end(name: str) -> str:
    """An end of a path; a register that the source gives no name is one of its block."""
    block = UNNAMED.split(name)[0] if UNNAMED.search(name) else ""
    return f"{block} (a register without a name)" if block else name


def _stages(timing: dict[str, Any]) -> list[Stage]:
    """The critical path as stages in terms of the source."""
    path = timing["critical_path"]
    stages, before = [], 0.0
    for n, stage in enumerate(path["stages"][:-1]):
        term = stage["term"] or ""
        term = _end(path["start"]) if n == 0 else "" if UNNAMED.search(term) else term
        kind = "launch" if n == 0 else "buffer" if BUFFER.search(stage["cell"]) else "cell"
        stages.append(Stage(start=before, end=stage["arrival_ns"], cell=stage["cell"], term=term, kind=kind))
        before = stage["arrival_ns"]
    end = path["arrival_ns"] + path["setup_ns"]
    stages.append(Stage(start=before, end=end, cell="set-up", term=_end(path["end"]), kind="setup"))
    return stages


def _timing(build: Build, kind: str) -> _Plan | None:
    timing = ((build.synthesis or {}).get("timing") or {}).get(kind)
    if not timing or not timing["critical_path"]:
        return None
    path, stages = timing["critical_path"], _stages(timing)
    period = path["arrival_ns"] + path["setup_ns"]
    what = f"From {_end(path['start'])} to {_end(path['end'])}: {period:.3f} ns, {len(stages) - 2} cells between them"
    return _Plan(
        plot=timing_path,
        arguments=(stages,),
        alt=f"Waterfall of the critical path. {what}.",
        caption=f"{what}, so the clock can be {timing['fmax_mhz']:,.1f} MHz. Bold names are those of the source.",
        label=conditions(timing["label"]),
    )


def _widths(build: Build) -> _Plan | None:
    layers = [build.manifest["layers"][n] for n in build.layers()]
    bits = {layer["name"]: layer["neuron_bits"] for layer in layers if layer.get("neuron_bits")}
    if not bits:
        return None
    means = ", ".join(f"{name} {np.mean(row):.2f}" for name, row in bits.items())
    return _Plan(
        plot=widths,
        arguments=(bits,),
        alt=f"Histogram of the accumulator width of each neuron; mean bits: {means}.",
        caption="Accumulator bits that each neuron needs, proven from its own weights: no order of events overflows "
        f"them. Mean: {means}.",
        label="proof over the integer network, no tools",
    )


def _updates(build: Build) -> _Plan | None:
    """Of a core of arrays: sequential updates of the same neurons beside it."""
    placed = [entry for entry in build.manifest["cost"]["layers"] if "tick_passes" in entry]
    if not placed:
        return None
    slowest = max(placed, key=lambda entry: entry["cycles_per_empty_step"])
    decay, tick = slowest["bits"], slowest["cycles_per_empty_step"]
    crossings = {
        "1r1w": crossing(tick), "1rw": crossing(tick, ports="1rw"), f"{LANES} words": crossing(tick, lanes=LANES)
    }  # fmt: skip
    said = ", ".join(f"{count} neurons ({name})" for name, count in crossings.items())
    return _Plan(
        plot=updates,
        arguments=(decay, tick, {entry["name"]: entry["lanes"] for entry in placed}),
        alt=f"Cycles of an update against the number of neurons: in place {tick}, whatever their number; "
        f"word by word more from {said} on.",
        caption=f"A tick of {slowest['name']} ({', '.join(slowest['tick_passes'])}) takes {tick} cycles in place, its "
        f"decay {decay}, for any number of neurons. A sequential update, everything in one sweep, takes longer from "
        f"{said} on. The fused pass of a digital core adds none in a step with a spike.",
        label="cost model, equal to RTL",
    )


def _placement(build: Build) -> _Plan | None:
    """Of a virtual core: what its engines and its dispatch rows hold."""
    placed = [entry for entry in build.manifest["cost"]["layers"] if "slots_used" in entry]
    if not placed:
        return None
    return _Plan(
        plot=placement_picture,
        arguments=(placed,),
        alt="Neurons and weights on each engine, and how full the dispatch rows of each layer are.",
        caption=". ".join(placement_words(entry) for entry in placed) + ".",
        label="cost model, no tools",
    )


def pictures(build: Build) -> dict[str, Picture]:
    """Every figure by its id, those that are skipped with their reason; `fig-timing-memory` only where it differs."""
    run, synth = ("simulation",), ("synthesis", "area")
    found = [
        _picture("fig-input", "Input", build, run, _input(build)),
        _picture("fig-spikes", "Spikes", build, run, _spikes(build)),
        _picture("fig-membrane", "Membrane potentials", build, run, _membrane(build)),
        _picture("fig-confusion", "Decisions", build, (*run, "labels"), _confusion(build), half=True),
        _picture("fig-cycles", "Cycles against activity", build, run, _cycles(build), half=True),
        _picture("fig-area", "Area by block", build, synth, _area(build), half=True),
        _picture("fig-energy", "Energy by block", build, ("synthesis", "power"), _energy(build), half=True),
        _picture("fig-timing", "Critical path", build, ("synthesis", "timing"), _timing(build, "registers")),
        _picture("fig-widths", "Accumulator widths", build, (), _widths(build)),
    ]
    placed = _placement(build)
    if placed is not None:
        found.append(_picture("fig-placement", "Neurons on engines", build, (), placed))
    in_place = _updates(build)
    if in_place is not None:
        found.append(_picture("fig-updates", "Updates against neurons", build, (), in_place, half=True))
    timing = (build.synthesis or {}).get("timing") or {}
    with_memories, without = timing.get("memories"), timing.get("registers")
    if with_memories and (not without or with_memories["critical_path"] != without["critical_path"]):
        title = "Critical path through memories"
        found.append(_picture("fig-timing-memory", title, build, ("timing",), _timing(build, "memories")))
    return {picture.name: picture for picture in found}
