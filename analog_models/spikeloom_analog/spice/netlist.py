"""Netlists for ngspice, as text: arrays alone (`crossbar_netlist`) and with neurons (`netlist`).

Only plain SPICE elements, no code models: also an ngspice without its start-up file runs them. Of a neuron:

```text
 row --[cell]--+--- bit line ---> n --+--|C|--+--> o      n : virtual ground, held by the amplifier at p
 gate ---------'                      |  reset|           o : membrane, rest + polarity u
                                      '-|>----'           f : 1 while the neuron resets
```

A comparator sees u >= threshold and raises f; f closes the reset switch across C, in series with a source that makes
the rest level. `timed` resets end by a ramp that takes the reset time, `switch` resets when u has fallen to `release`.
A pulse of `pulse_width` follows each rise of f and opens a row of the next array. Comparators, timers and pulse
generators are ideal switches with hysteresis in every kind of netlist; what the amplifier, the cells and the reset
switch are made of is the amplifier's kind.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from spikeloom.errors import InputError

from ..checks import count, finite_array
from ..crossbar import Crossbar
from ..laws import IVLaw, SinhIV
from .circuit import LEAD, Circuit, Stage, Timed
from .devices import ACCESS, LENGTH, RESET, SUPPLY, amplifier_lines, models, mos

__all__ = ["Netlist", "crossbar_netlist", "netlist"]

EDGE = 10e-12
"""s, of an input pulse, centred on its time: the charge is that of a rectangle."""
TIMER_GAIN = 20.0
"""Thresholds that the timer of a reset goes up: what is left of the membrane then hardly moves the end."""
TIMED_RESET = 1e-4
"""Ron of a timed reset in reset times per C: what flows meanwhile leaves this part of its charge."""
OFF = 1e14
"""ohm, of an open switch."""


@dataclass(frozen=True, kw_only=True)
class Netlist:
    """Text of a netlist; `saved` names the vectors that ngspice writes; `stop` [s], None for an operating point."""

    text: str
    saved: tuple[str, ...]
    stop: float | None


def number(value: float) -> str:
    """A number as SPICE reads it, to 15 digits."""
    return f"{value:.15g}"


class _Deck:
    def __init__(self, title: str) -> None:
        self.lines = [f"* {title}"]
        self.saved: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(f"* {text}")

    def add(self, name: str, nodes: str, value: object = "") -> None:
        text = number(float(value)) if isinstance(value, (int, float, np.floating)) else str(value)
        self.lines.append(f"{name} {nodes} {text}".rstrip())

    def corners(self, name: str, nodes: str, points: Sequence[tuple[float, float]]) -> None:
        """A source through points (time, value)."""
        pairs = [f"{number(t)} {number(v)}" for t, v in points]
        parts = [" ".join(pairs[k : k + 8]) for k in range(0, len(pairs), 8)]
        self.lines += [f"{name} {nodes} PWL({parts[0]}", *(f"+ {part}" for part in parts[1:])]
        self.lines[-1] += ")"

    def save(self, *names: str) -> None:
        self.saved += [name.lower() for name in names]

    def text(self, *commands: str) -> str:
        saved = [" ".join(self.saved[k : k + 12]) for k in range(0, len(self.saved), 12)]
        return "\n".join([*self.lines, *(f".save {some}" for some in saved), *commands, ".end", ""])


# --- arrays alone ----------------------------------------------------------------------------------------------------


def crossbar_netlist(crossbar: Crossbar, v: np.ndarray, active: np.ndarray | None = None, *, chip: int = 0) -> Netlist:
    """The array of one chip with row voltages v [V], [rows]: its operating point; currents of columns j are i(vcj).

    `active`, bool [rows]: open gates of gated_1t1r, default: where v is not 0. Wires, access resistance and I-V curves
    are there.

    Raises
    ------
    InputError
        For shapes that do not fit, and for an I-V curve that is neither sinh nor a polynomial of third order.
    """
    v = finite_array("v", v, 1, "V")
    rows, columns = crossbar.shape
    if v.shape != (rows,):
        raise InputError(f"v: shape {v.shape} was given; accepted: [{rows}]")
    if active is not None and crossbar.topology == "row_driven":
        raise InputError("active: accepted with gated_1t1r only; inactive rows of row_driven have 0 V")
    opened = np.ones(rows, bool) if crossbar.topology == "row_driven" else v != 0
    if active is not None:
        opened = np.asarray(active, bool)
        if opened.shape != v.shape:
            raise InputError(f"active: shape {opened.shape} was given; accepted: that of v, {v.shape}")
    chip = count("chip", chip, 0)
    if chip >= len(crossbar.seeds):
        raise InputError(f"chip: {chip} was given; accepted: 0 to {len(crossbar.seeds) - 1}")
    deck = _Deck(f"{crossbar.topology} {rows} x {columns}, operating point; rows r*, columns c*")
    for i in range(rows):
        deck.add(f"Vr{i}", f"r{i} 0", v[i])
    wires = _Wires(deck, "", crossbar, np.arange(columns), [f"r{i}" for i in range(rows)])
    for j in range(columns):
        deck.add(f"Vc{j}", f"{wires.column(j)} 0", 0.0)
        deck.save(f"i(vc{j})")
    for i, j, g in _cells(crossbar.conductance[chip]):
        if opened[i]:
            _resistor(deck, f"cell{i}_{j}", wires.ends(i, j), g, crossbar.device.iv)
    # ngspice adds gmin only to junctions, of which there are none; its default tolerances are too wide for 1e-6.
    text = deck.text(".options reltol=1e-9 abstol=1e-18 vntol=1e-12", ".op")
    return Netlist(text=text, saved=tuple(deck.saved), stop=None)


def _cells(g: np.ndarray) -> Iterable[tuple[int, int, float]]:
    for i, j in np.argwhere(g > 0):
        yield int(i), int(j), float(g[i, j])


def _resistor(deck: _Deck, name: str, ends: str, g: float, iv: IVLaw | None) -> None:
    if iv is None:
        deck.add(f"R{name}", ends, 1 / g)
        return
    across = f"v({ends.replace(' ', ',')})"
    if isinstance(iv, SinhIV):
        deck.add(f"B{name}", ends, f"I={number(g * iv.v0)}*sinh({across}/{number(iv.v0)})")
        return
    at = np.array([0.25, 0.5, -0.5, 0.4])
    amps = np.asarray(iv.current(np.full(4, g), at))
    a1, a2, a3 = np.linalg.solve(at[:3, None] ** np.arange(1, 4), amps[:3])
    if abs(a1 * at[3] + a2 * at[3] ** 2 + a3 * at[3] ** 3 - amps[3]) > 1e-9 * abs(amps[3]):
        raise InputError(f"iv: {type(iv).__name__} was given; accepted for a netlist: a sinh, or a cubic polynomial")
    powers = f"{number(a1)}*{across}+{number(a2)}*{across}*{across}+{number(a3)}*{across}*{across}*{across}"
    deck.add(f"B{name}", ends, f"I={powers}")


class _Wires:
    """Wire segments of an array, and where cells are connected. Segments of 0 ohm are one node."""

    def __init__(self, deck: _Deck, of: str, crossbar: Crossbar, columns: np.ndarray, drivers: list[str]) -> None:
        self._of, self._rows, self._drivers = of, crossbar.shape[0], drivers
        self._r_bl = crossbar.wire.r_bl
        self._r_wl = crossbar.wire.r_wl if crossbar.topology == "row_driven" else 0.0  # ideal source lines
        for i in range(self._rows):
            for j in range(len(columns)):
                if self._r_wl:
                    before = self._word(i, j - 1) if j else drivers[i]
                    deck.add(f"Rw{of}{i}_{j}", f"{before} {self._word(i, j)}", self._r_wl)
                if self._r_bl:
                    after = self._bit(i + 1, j) if i + 1 < self._rows else self.column(j)
                    deck.add(f"Rb{of}{i}_{j}", f"{self._bit(i, j)} {after}", self._r_bl)

    def _word(self, i: int, j: int) -> str:
        return f"w{self._of}{i}_{j}" if self._r_wl else self._drivers[i]

    def _bit(self, i: int, j: int) -> str:
        return f"b{self._of}{i}_{j}" if self._r_bl else self.column(j)

    def column(self, j: int) -> str:
        """Where the current of a column leaves."""
        return f"n{self._of}{j}"

    def ends(self, i: int, j: int) -> str:
        """Both nodes of a cell."""
        return f"{self._word(i, j)} {self._bit(i, j)}"


# --- arrays with neurons ---------------------------------------------------------------------------------------------


def netlist(circuit: Circuit) -> Netlist:
    """The circuit in time: `LEAD` seconds with all resets closed, then the window.

    Vectors, for stage s: v(oS_J) membrane of column J, v(fS_J) 1 while it resets, i(vrS) current of the source of its
    open rows (row_driven: i(vrS_I) of each row), i(voS_J) current out of each amplifier (i(vddS), the supply of all of
    them, with transistors; i(vgS_I) then is that of the gate line of row I). Stimulus, timers and switches come first.
    """
    deck = _Deck(
        f"{len(circuit.stages)} stage(s), {circuit.cells} synapses, {circuit.amplifier.kind} amplifiers, window "
        f"{circuit.window:g} s after {LEAD:g} s"
    )
    deck.add("Vone", "one 0", 1.0)
    deck.corners("Vpor", "por 0", [(0.0, 1.0), (LEAD - EDGE / 2, 1.0), (LEAD + EDGE / 2, 0.0)])
    deck.add(".model", "gate", "SW(vt=0.5 vh=0 ron=1 roff=1e12)")
    deck.add(".model", "idle", "SW(vt=-0.5 vh=0 ron=10 roff=1e12)")
    if circuit.amplifier.kind == "transistor":
        deck.lines += [*models(), *amplifier_lines(circuit.amplifier.scale)]
    for s, stage in enumerate(circuit.stages):
        _Stage(deck, circuit, s, stage).write()
    stop = LEAD + circuit.window
    step = number(circuit.step)
    tolerances = "abstol=1e-15 vntol=1e-7 chgtol=1e-18"
    if circuit.amplifier.kind == "transistor":  # whose models are not smooth to the last digit
        tolerances = "abstol=1e-12 vntol=1e-6 chgtol=1e-16 method=gear"
    text = deck.text(
        f".options reltol={number(circuit.reltol)} {tolerances}",
        f".tran {step} {number(stop)} 0 {step}",
    )
    return Netlist(text=text, saved=("time", *deck.saved), stop=stop)


class _Stage:
    def __init__(self, deck: _Deck, circuit: Circuit, s: int, stage: Stage) -> None:
        self.deck, self.circuit, self.s, self.stage = deck, circuit, s, stage
        self.real = circuit.amplifier.kind == "transistor"
        self.neuron = stage.neuron

    def write(self) -> None:
        deck, s, stage, circuit = self.deck, self.s, self.stage, self.circuit
        kind = f"{stage.crossbar.topology} {stage.rows} x {len(stage.columns)}"
        deck.note(f"stage {s}: {kind}, chip {stage.crossbar.seeds[stage.chip]}")
        deck.add(f"Vg{s}", f"vg{s} 0", circuit.virtual_ground)
        if self.real:
            deck.add(f"Vdd{s}", f"vdd{s} 0", SUPPLY)
            deck.save(f"i(vdd{s})")
        gated = stage.crossbar.topology == "gated_1t1r"
        self.gates()
        if gated:
            deck.add(f"Vr{s}", f"r{s} vg{s}", stage.level)
            deck.save(f"i(vr{s})")
            drivers = [f"r{s}"] * stage.rows
        else:
            drivers = [f"r{s}_{i}" for i in range(stage.rows)]
            for i, node in enumerate(drivers):
                # A source of 0 V in series measures the current: of E sources not every version tells it.
                deck.add(f"Er{s}_{i}", f"{node}x vg{s} g{s}_{i} 0", stage.level)
                deck.add(f"Vr{s}_{i}", f"{node}x {node}", 0.0)
                deck.save(f"i(vr{s}_{i})", f"v(g{s}_{i})")
        wires = _Wires(deck, f"{s}_", stage.crossbar, stage.columns, drivers)
        if gated and self.real:
            self.transistor_cells(wires)
        else:
            for i, j, g in _cells(stage.crossbar.conductance[stage.chip][:, stage.columns]):
                name = f"{s}_{i}_{j}"
                if gated:
                    deck.add(".model", f"cell{name}", f"SW(vt=0.5 vh=0 ron={number(1 / g)} roff={number(OFF)})")
                    deck.add(f"Scell{name}", wires.ends(i, j), f"g{s}_{i} 0 cell{name}")
                else:
                    deck.add(f"Rcell{name}", wires.ends(i, j), 1 / g)
        for j in range(len(stage.columns)):
            self.write_neuron(j)

    def gates(self) -> None:
        """Nodes g: 1 while a row is active."""
        deck, s = self.deck, self.s
        for i in range(self.stage.rows):
            if s == 0:
                deck.corners(f"Vin{i}", f"g0_{i} 0", _gate(self.circuit.pulses, i, self.circuit.window))
            elif _pulse_is_reset(self.circuit.stages[s - 1]):
                deck.add(f"Eg{s}_{i}", f"g{s}_{i} 0 f{s - 1}_{i} 0", 1.0)
            else:
                deck.add(f"Eg{s}_{i}", f"g{s}_{i} 0 q{s - 1}_{i} 0", 1.0)
            if self.real:
                deck.add(f"Egl{s}_{i}", f"gx{s}_{i} 0 g{s}_{i} 0", SUPPLY)
                deck.add(f"Vgl{s}_{i}", f"gx{s}_{i} gy{s}_{i}", 0.0)
                deck.add(f"Rgl{s}_{i}", f"gy{s}_{i} gl{s}_{i}", 10e3)
                deck.save(f"i(vgl{s}_{i})")

    def transistor_cells(self, wires: _Wires) -> None:
        deck, s, stage = self.deck, self.s, self.stage
        cells = stage.crossbar.chips.cell_conductance[stage.chip][:, :, stage.columns]
        for k, of in enumerate(cells):
            for i, j, g in _cells(of):
                line, bit = wires.ends(i, j).split()
                name = f"{s}_{k}_{i}_{j}"
                deck.add(f"Rcell{name}", f"{line} m{name}", 1 / g)
                deck.lines.append(mos(f"cell{name}", f"m{name} gl{s}_{i} {bit} 0", "nch", ACCESS, LENGTH))

    def write_neuron(self, j: int) -> None:
        deck, s, neuron, stage = self.deck, self.s, self.neuron, self.stage
        of, up = f"{s}_{j}", neuron.polarity > 0
        theta, offset = float(stage.threshold[j]), float(stage.offset[j])
        n, o, f, p, z, ref = (f"{name}{of}" for name in ("n", "o", "f", "p", "z", "ref"))
        deck.save(f"v({o})", f"v({f})")
        # An offset lowers the drive of active rows; the comparator's reference is against the same input.
        deck.add(f"Vp{of}", f"{p} vg{s}", -neuron.polarity * offset)
        deck.add(f"Vref{of}", f"{ref} {p}", neuron.rest - self.circuit.virtual_ground)
        deck.add(f"Vz{of}", f"{z} {n}", neuron.rest - self.circuit.virtual_ground)
        self.amplifier(of, n, o, p)
        deck.add(f"C{of}", f"{o} {z}", neuron.capacitance)
        if neuron.leak_resistance is not None:
            deck.add(f"Rleak{of}", f"{o} {z}", neuron.leak_resistance)
        if neuron.bias_current:
            deck.add(f"Ibias{of}", f"{n} 0" if up else f"0 {n}", neuron.bias_current)
        if neuron.floor is not None:
            u = f"{neuron.polarity:d}*(v({o})-v({z}))"
            deck.add(f"Bfloor{of}", f"{z} {o}" if up else f"{o} {z}", f"I=1e-3*uramp({number(neuron.floor)}-({u}))")
        self.reset_switch(of, o, z, f)
        # The comparator: f rises where u reaches theta.
        against = f"{o} {ref}" if up else f"{ref} {o}"
        if neuron.reset == "switch":
            middle, half = (theta + neuron.release) / 2, (theta - neuron.release) / 2
        else:
            # ... and falls when a ramp of `TIMER_GAIN` thresholds against u is over.
            extra = neuron.dead_time if self.circuit.amplifier.kind == "ideal" else 0.0
            self.ramp(f"t{of}", neuron.reset_time + extra, [f])
            deck.add(f"Et{of}", f"y{of} {o} t{of} 0", (-1 if up else 1) * TIMER_GAIN * theta)
            against = f"y{of} {ref}" if up else f"{ref} y{of}"
            middle, half = theta * (1 - TIMER_GAIN) / 2, theta * (1 + TIMER_GAIN) / 2
        deck.add(".model", f"fire{of}", f"SW(vt={number(middle)} vh={number(half)} ron=1 roff=1e12)")
        deck.add(f"Sf{of}", f"one {f}", f"{against} fire{of}")
        deck.add(f"Rf{of}", f"{f} 0", 1e6)
        if s + 1 < len(self.circuit.stages) and not _pulse_is_reset(stage):
            self.pulse(of, f)

    def ramp(self, node: str, seconds: float, while_on: list[str]) -> None:
        """A ramp to 1 V in `seconds` while one of the nodes is at 1 V; back to 0 when none is."""
        deck = self.deck
        deck.add(f"C{node}", f"{node} 0", 1e-12)
        control = while_on[0]
        if len(while_on) == 2:
            control = f"{node}on"
            for k, source in enumerate(while_on):
                deck.add(f"S{node}{k}", f"one {control}", f"{source} 0 gate")
            deck.add(f"R{control}", f"{control} 0", 1e6)
        deck.add(f"G{node}", f"0 {node} {control} 0", 1e-12 / seconds)
        deck.add(f"S{node}", f"{node} 0", f"0 {control} idle")

    def pulse(self, of: str, f: str) -> None:
        """Node q: 1 V for the pulse width after each rise of f, however long f lasts."""
        deck, gain = self.deck, TIMER_GAIN * 50
        neuron = self.neuron
        # q goes on at f >= 1/2, off when f - gain * ramp is down at its value at the end of the pulse.
        lasts = neuron.reset == "timed" and neuron.pulse_width <= neuron.reset_time
        end = (1.0 if lasts else 0.0) - gain
        self.ramp(f"d{of}", neuron.pulse_width, [f, f"q{of}"])
        deck.add(f"Ed{of}", f"e{of} {f} d{of} 0", -gain)
        deck.add(
            ".model", f"pulse{of}", f"SW(vt={number((0.5 + end) / 2)} vh={number((0.5 - end) / 2)} ron=1 roff=1e12)"
        )
        deck.add(f"Sq{of}", f"one q{of}", f"e{of} 0 pulse{of}")
        deck.add(f"Rq{of}", f"q{of} 0", 1e6)

    def amplifier(self, of: str, n: str, o: str, p: str) -> None:
        deck, amplifier = self.deck, self.circuit.amplifier
        if self.real:
            deck.add(f"Xa{of}", f"{p} {n} {o} vdd{self.s}", "amplifier")
            return
        if amplifier.kind == "ideal":
            deck.add(f"Ea{of}", f"{o}x {p} {p} {n}", amplifier.gain)
        else:
            # 1 mS into R || C: gain gm R, gain-bandwidth gm / (2 pi C)
            deck.add(f"Ga{of}", f"{p} a{of} {p} {n}", 1e-3)
            deck.add(f"Ra{of}", f"a{of} {p}", amplifier.gain / 1e-3)
            deck.add(f"Ca{of}", f"a{of} {p}", 1e-3 / (2 * np.pi * amplifier.bandwidth))
            deck.add(f"Ea{of}", f"{o}x 0 a{of} 0", 1.0)
        deck.add(f"Vo{of}", f"{o}x {o}", 0.0)
        deck.save(f"i(vo{of})")

    def reset_switch(self, of: str, o: str, z: str, f: str) -> None:
        deck, neuron = self.deck, self.neuron
        if self.real:
            # A transmission gate; its drivers are ideal with 50 ps edges (assumed).
            deck.add(f"Bh{of}", f"hx{of} 0", f"V={SUPPLY:g}*(v({f})+v(por))")
            deck.add(f"Bl{of}", f"lx{of} 0", f"V={SUPPLY:g}*(1-v({f})-v(por))")
            for gate in ("h", "l"):
                deck.add(f"R{gate}{of}", f"{gate}x{of} {gate}{of}", 10e3)
                deck.add(f"C{gate}{of}", f"{gate}{of} 0", 5e-15)
            deck.lines.append(mos(f"rn{of}", f"{o} h{of} {z} 0", "nch", RESET[0], LENGTH))
            deck.lines.append(mos(f"rp{of}", f"{o} l{of} {z} vdd{self.s}", "pch", RESET[1], LENGTH))
            return
        if neuron.reset == "switch":
            ron = neuron.switch_resistance
        else:
            ron = TIMED_RESET * neuron.reset_time / neuron.capacitance
        deck.add(".model", f"reset{of}", f"SW(vt=0.5 vh=0 ron={number(ron)} roff={number(OFF)})")
        deck.add(f"Sr{of}", f"{o} {z}", f"{f} 0 reset{of}")
        deck.add(f"Sp{of}", f"{o} {z}", f"por 0 reset{of}")


def _pulse_is_reset(stage: Stage) -> bool:
    """Whether the pulse of a spike lasts as long as its reset, so that one signal is both."""
    neuron = stage.neuron
    return neuron.reset == "timed" and neuron.dead_time == 0 and abs(neuron.pulse_width / neuron.reset_time - 1) < 1e-9


def _gate(pulses: Timed, row: int, window: float) -> list[tuple[float, float]]:
    """Corners of the gate signal of a row; pulses that touch are one."""
    merged: list[list[float]] = []
    for start in pulses.of_row(row):
        stop = min(start + pulses.width, window)
        if merged and start - merged[-1][1] < 2 * EDGE:
            merged[-1][1] = stop
        else:
            merged.append([start, stop])
    points = [(0.0, 0.0)]
    for start, stop in merged:
        for time, before in ((start, 0.0), (stop, 1.0)):
            points += [(LEAD + time - EDGE / 2, before), (LEAD + time + EDGE / 2, 1.0 - before)]
    return points
