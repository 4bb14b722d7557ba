"""Ladders and engines as ngspice netlists, and how far the closed form is from them.

Plain SPICE elements only. `ladder_netlist` moves the bits of a code once; `engine_netlist` plays rows on the neurons of
an engine: ladder, switches, a transconductance with the output resistance and load of the designed amplifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spikeloom.errors import InputError

from ..checks import count, whole_array
from ..spice.netlist import Netlist, number
from ..spice.run import Waveforms, run_ngspice
from .c2c import Ladders
from .integrator import Integrator

__all__ = ["Difference", "compare_engine", "compare_ladder", "engine_netlist", "expected_voltages", "ladder_netlist"]

EDGE = 10e-12
"""s, of bits and switches."""
RON = 100.0
"""ohm, of a closed switch: its time constants are far below those of the amplifier."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Closed form against ngspice: `worst` in what a weight of 1 does; `seconds` of ngspice, all runs."""

    worst: float
    seconds: float
    version: str


def _elements(ladders: Ladders, chip: int, engine: int, load: float) -> list[str]:
    """The capacitors of one ladder: nodes n1 .., bottom plates b1 .. ."""
    n, lines = ladders.ladder.bits, [f"Ct n1 0 {number(ladders.termination[chip, engine])}"]
    for k in range(1, n + 1):
        lines.append(f"Cb{k} n{k} b{k} {number(ladders.bit[chip, engine, k - 1])}")
        if ladders.parasitic[chip, engine, k - 1]:
            lines.append(f"Cp{k} n{k} 0 {number(ladders.parasitic[chip, engine, k - 1])}")
        if k < n:
            lines.append(f"Cs{k} n{k} n{k + 1} {number(ladders.series[chip, engine, k - 1])}")
    return lines + ([f"Cl n{n} 0 {number(load)}"] if load else [])


def _steps(name: str, node: str, levels: Sequence[tuple[float, float]], start: float = 0.0) -> list[str]:
    """A source that is at `start` and goes to each level at its time."""
    points, now = [(0.0, start)], start
    for time, level in levels:
        if level != now:
            points += [(time, now), (time + EDGE, level)]
            now = level
    pairs = [f"{number(t)} {number(v)}" for t, v in points]
    lines = [f"{name} {node} 0 PWL({pairs[0]}", *(f"+ {pair}" for pair in pairs[1:])]
    lines[-1] += ")"
    return lines


def _text(title: str, lines: list[str], saved: Sequence[str], step: float, stop: float) -> Netlist:
    options = ".options reltol=1e-6 abstol=1e-18 vntol=1e-10 chgtol=1e-22 method=trap"
    text = [f"* {title}", *lines, *(f".save {name}" for name in saved), options]
    text += [f".tran {number(step)} {number(stop)} 0 {number(step)} uic", ".end", ""]
    return Netlist(text="\n".join(text), saved=("time", *saved), stop=stop)


def _switch(name: str, a: str, b: str, control: str) -> str:
    """A conductance in proportion to v(control), 0 to 1: SPICE's own switches jump, and time steps die there."""
    across = f"v({a})" if b == "0" else f"v({a},{b})"
    return f"B{name} {a} {b} I={across}*v({control})*{number(1 / RON)}"


def ladder_netlist(ladders: Ladders, code: int, *, chip: int = 0, engine: int = 0, load: float = 0.0) -> Netlist:
    """The bits of `code` go from ground to Vref after 1 ns; v(out) at the end is Vout, with `load` F.

    Raises
    ------
    InputError
        For a code that the ladder does not have.
    """
    n, vref = ladders.ladder.bits, ladders.ladder.reference
    if not 0 <= count("code", code, 0) < 1 << n:
        raise InputError(f"code: {code} was given; accepted: 0 to {(1 << n) - 1}")
    lines = _elements(ladders, chip, engine, load)
    for k in range(1, n + 1):
        lines += _steps(f"Vb{k}", f"b{k}", [(1e-9, vref * (code >> k - 1 & 1))])
    return _text(f"C-2C ladder of {n} bits, code {code}", lines, [f"v(n{n})"], 0.1e-9, 3e-9)


def compare_ladder(ladders: Ladders, codes: Sequence[int], *, load: float = 0.0) -> Difference:
    """Vout of `codes` on the first ladder; `worst` in Vref / 2^n."""
    expected, worst, seconds, version = ladders.voltages(load)[0, 0], 0.0, 0.0, ""
    for code in codes:
        found = run_ngspice(ladder_netlist(ladders, code, load=load))
        out = found[f"v(n{ladders.ladder.bits})"][-1]
        worst = max(worst, abs(out - expected[code]) * ladders.ladder.codes / ladders.ladder.reference)
        seconds, version = seconds + found.seconds, found.version
    return Difference(worst=float(worst), seconds=seconds, version=version)


def engine_netlist(
    integrator: Integrator, ladders: Ladders, rows: Sequence[tuple[int, int]], *, slots: int, chip: int = 0
) -> Netlist:
    """Rows (slot, weight) on the first engine, one per clock cycle: the voltages of all capacitors.

    In the first part of a cycle, ladder, input and output of the amplifier are reset; in the second, which lasts
    `integrator.time`, the last node of the ladder, the input and one capacitor are connected and the bits move.
    """
    p, d, n = integrator.parameters, integrator, ladders.ladder.bits
    slot = whole_array("slot", np.array([row[0] for row in rows]), 0, slots)
    period = d.time / p.transfer_time
    begins = [r * period + (period - d.time) for r in range(len(rows))]
    ends = [(r + 1) * period - 2 * EDGE for r in range(len(rows))]
    gm = d.settling / 2 * p.gm_over_current
    lines = _elements(ladders, chip, 0, 0.0)
    lines += [
        f"Cin x 0 {number(d.input)}",
        f"Gota o 0 x 0 {number(gm)}",
        f"Rota o 0 {number(p.gain / gm)}",
        f"Cload o 0 {number(d.load)}",
        _switch("transfer", f"n{n}", "x", "active"),
        _switch("in", "x", "0", "reset"),
        _switch("out", "o", "0", "reset"),
        *(_switch(f"n{k}", f"n{k}", "0", "reset") for k in range(1, n + 1)),
    ]
    active = [level for begin, end in zip(begins, ends, strict=True) for level in ((begin, 1.0), (end, 0.0))]
    # Never both: the reset opens before the transfer begins.
    resets = [
        level
        for begin, end in zip(begins, ends, strict=True)
        for level in ((begin - 3 * EDGE, 0.0), (end + 1.5 * EDGE, 1.0))
    ]
    lines += _steps("Vactive", "active", active) + _steps("Vreset", "reset", resets, 1.0)
    for k in range(slots):
        mine = [level for r in np.flatnonzero(slot == k) for level in ((begins[r], 1.0), (ends[r] - 1.5 * EDGE, 0.0))]
        lines += [
            f"Cf{k} p{k} o {number(d.feedback)} IC=0",
            _switch(f"k{k}", f"p{k}", "x", f"k{k}"),
            *_steps(f"Vk{k}", f"k{k}", mine),
        ]
    for k in range(1, n + 1):
        levels = []
        for r, (_, weight) in enumerate(rows):
            bit = min(abs(weight), ladders.ladder.codes - 1) >> k - 1 & 1
            levels += [(begins[r] + 2 * EDGE, float(np.sign(weight)) * p.reference * bit), (ends[r] + 2.5 * EDGE, 0.0)]
        lines += _steps(f"Vb{k}", f"b{k}", levels)
    saved = ["v(o)", "v(x)", *(f"v(p{k})" for k in range(slots))]
    title = f"engine of {slots} neurons, {len(rows)} rows"
    return _text(title, lines, saved, d.time / 200, len(rows) * period)


def expected_voltages(
    integrator: Integrator, ladders: Ladders, rows: Sequence[tuple[int, int]], *, slots: int
) -> np.ndarray:
    """Voltage of every capacitor after each row, by the closed form, float64 [rows, slots]."""
    charge, output = ladders.transferred()[0, 0], ladders.output_capacitance[0, 0]
    d, u = integrator, np.zeros(slots)
    kappa = (output + d.input) / (d.feedback * (1 + d.parameters.gain))
    found = np.empty((len(rows), slots))
    for r, (k, weight) in enumerate(rows):
        q = np.sign(weight) * charge[min(abs(weight), len(charge) - 1)]
        u[k] += q * (1 - d.missing) / (1 + kappa) / d.feedback - u[k] * (kappa / (1 + kappa) + d.slip)
        found[r] = u
    return found


def compare_engine(
    integrator: Integrator, ladders: Ladders, rows: Sequence[tuple[int, int]], *, slots: int
) -> tuple[Difference, Waveforms]:
    """Capacitor voltages after every row; `worst` in what a weight of 1 moves a neuron by."""
    found = run_ngspice(engine_netlist(integrator, ladders, rows, slots=slots))
    period = integrator.time / integrator.parameters.transfer_time
    at = (np.arange(len(rows)) + 1) * period - EDGE
    u = np.stack([np.interp(at, found["time"], found[f"v(p{k})"] - found["v(o)"]) for k in range(slots)], axis=1)
    worst = np.abs(u - expected_voltages(integrator, ladders, rows, slots=slots)).max()
    step = integrator.charge_step / integrator.feedback
    return Difference(worst=float(worst / step), seconds=found.seconds, version=found.version), found
