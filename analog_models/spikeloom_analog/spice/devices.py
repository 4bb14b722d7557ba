"""Transistors and the amplifier made of them: ngspice's built-in BSIM3v3.3 (level 8) with a short parameter list.

No foundry card: round numbers of a 180 nm node, each with what it was chosen from; what is not listed is the default of
the model. They are good for finite gain, slew, on-resistance and gate feed-through of the right size, not for sign-off.
"""

from typing import Any

__all__ = ["ACCESS", "AMPLIFIER", "RESET", "SINK_CURRENT", "SUPPLY", "TRANSISTORS", "amplifier_lines", "models", "mos"]

SUPPLY = 1.8
"""V, of the interception circuit (arXiv 2605.31141)."""

ASSUMED = "assumed, round number usual at 180 nm"
TRANSISTORS = {
    "tox": (4e-9, 4e-9, "m", "oxide, as the predictive 180 nm models (PTM, Cao et al., CICC 2000)"),
    "vth0": (0.42, -0.42, "V", "threshold of a long transistor; PTM 180 nm: about 0.40 and -0.42"),
    "u0": (350.0, 90.0, "cm2/Vs", ASSUMED + "; PTM: 350 and 80"),
    "vsat": (9e4, 9e4, "m/s", ASSUMED),
    "nch": (4e17, 4e17, "1/cm3", ASSUMED),
    "xj": (1e-7, 1e-7, "m", ASSUMED),
    "k1": (0.55, 0.55, "V^0.5", "body effect; PTM: 0.56"),
    "k2": (0.0, 0.0, "1", ASSUMED),
    "nlx": (0.0, 0.0, "m", "no reverse short-channel effect: assumed"),
    "rdsw": (250.0, 450.0, "ohm um", "PTM 180 nm: 250 and 450"),
    "cgso": (3e-10, 3e-10, "F/m", "gate overlap, 0.3 fF/um: assumed"),
    "cgdo": (3e-10, 3e-10, "F/m", "as cgso"),
    "cj": (1e-3, 1e-3, "F/m2", ASSUMED),
    "cjsw": (2e-10, 2e-10, "F/m", ASSUMED),
}
"""Parameter: value of the NMOS, of the PMOS, unit, where it comes from."""

LENGTH = 0.18
"""um, of switches."""
ACCESS = 0.42
"""um, width of the access transistor of a cell: the smallest, assumed."""
RESET = (0.42, 0.84)
"""um, widths of NMOS and PMOS of the reset switch: the smallest, assumed."""

AMPLIFIER = {
    "reference": ((1.0, 0.5), "um", ASSUMED),
    "tail": ((2.0, 0.5), "um", "twice the reference: assumed"),
    "sink": ((3.0, 0.5), "um", "three times the reference: assumed"),
    "pair": ((3.0, 0.3), "um", "input pair: assumed"),
    "load": ((2.0, 0.5), "um", "mirror of the first stage: assumed"),
    "driver": ((6.0, 0.5), "um", "transistor of the output stage: assumed"),
    "current": (0.6, "uA", "of the reference; with its mirrors 5.9 uA, the 6 uA of the interception circuit"),
    "miller": (50.0, "fF", "for a phase margin near 60 degrees: assumed"),
    "zero": (25.0, "kohm", "moves the zero of the Miller capacitor: assumed"),
}
"""Sizes (width, length) and values of the amplifier, unit, where they come from. Gain, bandwidth and slew rate follow
from them and are measured (docs/analog.md)."""

SINK_CURRENT = 3e-6
"""A, what the output stage can take from a column, per `scale`."""


def models() -> list[str]:
    """The .model lines."""
    lines = []
    for k, (name, kind) in enumerate((("nch", "nmos"), ("pch", "pmos"))):
        values = " ".join(f"{key}={row[k]:g}" for key, row in TRANSISTORS.items())
        lines.append(f".model {name} {kind} level=8 version=3.3.0 paramchk=0 capmod=3 {values}")
    return lines


def mos(name: str, nodes: str, kind: str, width: float, length: float, number: int = 1) -> str:
    """A transistor; nodes are drain gate source bulk, sizes in um; source and drain are 0.5 um long (assumed)."""
    area, edge = width * 0.5, 2 * (width + 0.5)
    many = f" m={number}" if number > 1 else ""
    return (
        f"M{name} {nodes} {kind} w={width:g}u l={length:g}u ad={area:g}p as={area:g}p pd={edge:g}u ps={edge:g}u{many}"
    )


def amplifier_lines(scale: int) -> list[str]:
    """The subcircuit `amplifier` (inputs p and n, output, supply), `scale` of them in parallel."""
    size: dict[str, Any] = {name: value for name, (value, _, _) in AMPLIFIER.items()}

    def transistor(name: str, nodes: str, kind: str, of: str) -> str:
        width, length = size[of]
        return mos(name, nodes, kind, width, length, scale)

    return [
        ".subckt amplifier p n out vdd",
        f"Iref vdd r {scale * size['current']:g}u",
        transistor("8", "r r 0 0", "nch", "reference"),
        transistor("5", "s r 0 0", "nch", "tail"),
        transistor("1", "a n s 0", "nch", "pair"),
        transistor("2", "b p s 0", "nch", "pair"),
        transistor("3", "a a vdd vdd", "pch", "load"),
        transistor("4", "b a vdd vdd", "pch", "load"),
        transistor("6", "out b vdd vdd", "pch", "driver"),
        transistor("7", "out r 0 0", "nch", "sink"),
        f"Rz b c {size['zero'] / scale:g}k",
        f"Cc c out {scale * size['miller']:g}f",
        ".ends",
    ]
