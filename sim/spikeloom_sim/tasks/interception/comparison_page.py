"""The comparison as one HTML page that needs nothing else: table, sentences, pictures as SVG in it."""

import html
import io
import json
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from spikeloom.output import replace_folder

__all__ = ["short_rows", "write_comparison"]

ANALOG, DIGITAL, GREY = "#c0392b", "#1f5fa8", "#777777"
STYLE = (
    "body{font:15px/1.45 sans-serif;margin:2em auto;max-width:75em;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:.3em .6em;border-bottom:1px solid #ddd;"
    "text-align:left;vertical-align:top}svg{max-width:100%;height:auto}"
)


def short_rows(result: dict[str, Any]) -> tuple[list[str], list[list[str | None]]]:
    """Header and rows of the main table."""
    header = ["core", "node", "energy, nJ", "delay, us", "clock, MHz", "area, um2", "MSE of out", "correlation"]
    rows: list[list[str | None]] = [
        [
            row["name"],
            row["node"],
            f"{row['energy_j'] * 1e9:.3g}",
            f"{row['delay_s'] * 1e6:.3g}",
            f"{row['clock_mhz']:.3g}" if "clock_mhz" in row else None,
            f"{row['area_um2']:.0f}",
            f"{row['mse']:.2e}",
            None if row["correlation"] is None else f"{row['correlation']:.4f}",
        ]
        for row in result["rows"]
    ]
    return header, rows


def write_comparison(result: dict[str, Any], folder: Path) -> None:
    """Write comparison.json and comparison.html to `folder`, replaced as a whole."""
    page = _page(result)
    with replace_folder(folder) as target:
        (target / "comparison.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
        (target / "comparison.html").write_text(page)


def _page(result: dict[str, Any]) -> str:
    header, rows = short_rows(result)
    header += ["energy split, pJ", "level", "assumptions"]
    for short, row in zip(rows, result["rows"], strict=True):
        split = "; ".join(f"{name} {value * 1e12:.3g}" for name, value in row["split_j"].items() if value)
        short += [split, row["level"], row["assumptions"]]
    published = result["published"]
    parameters = [
        [name, f"{row['value']:g} {row['unit']}", "yes" if row["assumed"] else "", row["source"]]
        for name, row in result["parameters"].items()
    ]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Interception: analog against digital</title>",
        f"<style>{STYLE}</style><h1>Interception: analog against digital</h1>",
        f"<p>{result['observations']} inputs from the {_text(result['inputs_from'])}, weights "
        f"{_text(result['weights'])}. {_text(result['accuracy'])}. Published ({_text(published['source'])}, "
        f"{_text(published['what'])}): {published['energy_ratio']} in energy, {published['delay_ratio']} in delay.</p>",
        "<ul>" + "".join(f"<li>{_text(sentence)}</li>" for sentence in result["conclusion"]) + "</ul>",
        _table(header, rows),
        "<h2>Energy by item</h2>" + _svg(_split_picture(result)),
        "<h2>Pulse width</h2><p>Pulse = reset; C in proportion, so that a pulse moves the membrane as before.</p>"
        + _svg(_sweep_picture(result)),
        "<h2>Each number doubled and halved</h2>" + _svg(_tornado(result)),
        "<h2>Parameters of the analog core</h2>" + _table(["name", "value", "assumed", "source"], parameters),
        "</html>\n",
    ]
    return "\n".join(parts)


def _text(value: Any) -> str:
    return "" if value is None else html.escape(str(value))


def _table(header: list[str], rows: list[list[Any]]) -> str:
    head = "".join(f"<th>{_text(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    FigureCanvasSVG(figure).print_svg(text, metadata={"Date": None})
    return text.getvalue().partition("<svg")[2].join(["<svg", ""])


def _split_picture(result: dict[str, Any]) -> Figure:
    """Stacked bars of each row's energy items, on a linear axis per row: shares."""
    rows = [row for row in result["rows"] if row["split_j"]]
    names = list(dict.fromkeys(name for row in rows for name, value in row["split_j"].items() if value))
    figure = Figure(figsize=(10, 0.4 * len(rows) + 1.6), layout="constrained")
    axes = figure.subplots()
    left = [0.0] * len(rows)
    for n, name in enumerate(names):
        shares = [row["split_j"].get(name, 0.0) / row["energy_j"] for row in rows]
        axes.barh(range(len(rows)), shares, left=left, label=name, color=f"C{n}" if n < 10 else GREY)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(rows)), [f"{row['name']}: {row['energy_j'] * 1e9:.3g} nJ" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("share of the energy of an inference")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    return figure


def _sweep_picture(result: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for axes, (key, label, scale) in zip(
        figure.subplots(1, 3),
        (("mse", "MSE of out", 1.0), ("delay_s", "delay, us", 1e6), ("energy_j", "energy, nJ", 1e9)),
        strict=True,
    ):
        for mode, mark in zip(dict.fromkeys(row["mode"] for row in result["sweep"]), ("o-", "s-", "^--"), strict=False):
            rows = [row for row in result["sweep"] if row["mode"] == mode]
            axes.plot([row["pulse_s"] * 1e9 for row in rows], [row[key] * scale for row in rows], mark, label=mode)
        axes.set(xscale="log", yscale="log", xlabel="pulse width, ns", ylabel=label)
    figure.axes[0].legend(fontsize=7)
    return figure


def _tornado(result: dict[str, Any]) -> Figure:
    """Energy with each number halved and doubled, relative to the base of its side."""
    rows = result["sensitivity"]
    figure = Figure(figsize=(10, 0.3 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(rows):
        colour = ANALOG if row["side"] == "analog" else DIGITAL
        for key, alpha in (("half_j", 0.5), ("double_j", 1.0)):
            if row[key] is not None:
                axes.barh(y, row[key] / row["base_j"] - 1, color=colour, alpha=alpha)
    labels = [f"{row['name']} ({row['side']}{', assumed' if row['assumed'] else ''})" for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color=GREY, lw=0.8)
    axes.set_xlabel("change of that core's energy; pale: halved, full: doubled")
    axes.set_xscale("symlog", linthresh=1e-3)
    return figure
