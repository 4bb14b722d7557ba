"""The analog port of a virtual core answered in Python, one clock cycle at a time, and what a core asks of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spikeloom.errors import SpikeloomError
from spikeloom.items import address_bits
from spikeloom.network.integer import INPUT

from .chip import VirtualChips, arrival, routes_of
from .engine import EngineState, ProgrammedEngines
from .network import Routes

__all__ = ["EnginePort", "PortBits", "Request", "recorded", "requests"]


BEFORE = (1 << 32) - 1
"""Number of the step before the first."""


@dataclass(frozen=True, kw_only=True)
class PortBits:
    """Widths of a port: `engines`, and bits of a slot, a weight and the number of a layer; `layers` of the core."""

    engines: int
    slot: int
    code: int
    layer: int
    layers: int

    @classmethod
    def of(cls, engines: ProgrammedEngines, layers: int) -> "PortBits":
        """Those of the port of these engines."""
        return cls(
            engines=engines.engines, slot=address_bits(engines.slots), code=engines.code_bits,
            layer=address_bits(layers), layers=layers,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """One row as it goes over the port: numbers of the bits of each member, engine 0 lowest."""

    layer: int
    step: int
    fires: int
    clears: int
    takes: int
    slot: int
    code: int

    def word(self, bits: PortBits) -> int:
        """All members but `layer` as one number, `code` lowest."""
        word = 0
        for value, width in (
            (self.fires, 1), (self.clears, 1), (self.step, 32), (self.takes, bits.engines),
            (self.slot, bits.engines * bits.slot), (self.code, bits.engines * bits.code),
        ):  # fmt: skip
            word = word << width | value
        return word


class EnginePort:
    """What stands behind the analog port of a core on one chip."""

    def __init__(self, engines: ProgrammedEngines, *, layers: int = 1):
        self.engines, self.bits = engines.chip(0), PortBits.of(engines, layers)
        self._state = EngineState(self.engines)
        self._fired = 0

    def clock(self, *, go: int, request: Request) -> int:
        """One clock edge, with the values that the port had before it; returns `fired` from this edge on.

        Raises
        ------
        SpikeloomError
            For a row that ends a step on some engines only, or on different slots.
        """
        if not go:
            return self._fired
        bits, state, r = self.bits, self._state, request
        slots = [r.slot >> n * bits.slot & ((1 << bits.slot) - 1) for n in range(bits.engines)]
        if r.fires:
            if r.takes != (1 << bits.engines) - 1 or len(set(slots)) != 1:
                raise SpikeloomError(f"a row that ends a step, with takes {r.takes:#x} and slots {slots}")
            flags = state.fire(slots[0], step=r.step, layer=r.layer, clears=bool(r.clears))[0, 0]
            self._fired = sum(1 << n for n in np.flatnonzero(flags).tolist())
        else:
            takes = [bool(r.takes >> n & 1) for n in range(bits.engines)]
            codes = [r.code >> n * bits.code & ((1 << bits.code) - 1) for n in range(bits.engines)]
            state.row(np.array(takes), np.array(slots), np.array(codes), step=r.step, layer=r.layer)
        return self._fired


def requests(chips: VirtualChips, spikes: np.ndarray, fired: list[np.ndarray]) -> dict[str, list[list[Request]]]:
    """What the cores ask for inputs [B, T, inputs] one after the other since reset: by core, of each of its layers.

    A core begins with a sweep over all its slots that clears them, as step `BEFORE` of its first layer.

    fired : of each layer on one chip, [B, T, neurons], whose spikes go to the next layer.
    """
    sources = {INPUT: np.asarray(spikes)} | {p.name: s for p, s in zip(chips.plans, fired, strict=True)}
    found: dict[str, list[list[Request]]] = {name: [] for name in chips.engines}
    for plan in chips.plans:
        layers = sum(other.share.core == plan.share.core for other in chips.plans)
        bits = PortBits.of(chips.engines[plan.share.core], layers)
        given = sources[chips.network.sources(plan.layer)[0]]
        order = arrival(chips.network, plan)
        rows = [] if found[plan.share.core] else _sweep(bits, range(plan.share.slots), layer=0, step=BEFORE, clears=1)
        found[plan.share.core].append([*rows, *_of_layer(plan, bits, given, order)])
    return found


def _sweep(bits: PortBits, slots: range, *, layer: int, step: int, clears: int) -> list[Request]:
    spread = sum(1 << m * bits.slot for m in range(bits.engines))
    every = (1 << bits.engines) - 1
    return [
        Request(layer=layer, step=step, fires=1, clears=clears, takes=every, slot=k * spread, code=0) for k in slots
    ]


def _of_layer(plan, bits: PortBits, given: np.ndarray, order: np.ndarray) -> Iterator[Request]:
    share = plan.share
    turns = [_rows(routes_of(plan, turn, order), bits) for turn in range(plan.turns)]
    batch, steps, _ = given.shape
    number = 0
    for b in range(batch):
        for rows in turns:
            for t in range(steps):
                common = {"layer": share.index, "step": number}
                for s in np.flatnonzero(given[b, t, order]).tolist():
                    for takes, slot, code in rows[s]:
                        yield Request(**common, fires=0, clears=0, takes=takes, slot=slot, code=code)
                slots = range(share.slot, share.slot + plan.groups)
                yield from _sweep(bits, slots, **common, clears=int(t + 1 == steps))
                number += 1


def _rows(routes: Routes, bits: PortBits) -> list[list[list[int]]]:
    """The rows of each source: takes, slot, code."""
    mask = (1 << bits.code) - 1
    rows: list[list[list[int]]] = [[[0, 0, 0] for _ in range(n)] for n in routes.length.tolist()]
    source = np.repeat(np.arange(len(routes.length)), np.diff(routes.first))
    for s, r, m, k, c in zip(
        *(a.tolist() for a in (source, routes.row, routes.engine, routes.slot, routes.code)), strict=True
    ):
        row = rows[s][r]
        row[0] |= 1 << m
        row[1] |= k << m * bits.slot
        row[2] |= (c & mask) << m * bits.code
    return rows


def recorded(port: EnginePort, layers: list[list[Request]]) -> list[list[tuple[Request, int]]]:
    """The requests of each layer with `fired` behind each."""
    return [[(request, port.clock(go=1, request=request)) for request in rows] for rows in layers]
