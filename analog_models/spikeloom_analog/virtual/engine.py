"""Engines of virtual neurons in integers: what stands behind the analog port of a virtual core.

The float physics (`c2c`, `integrator`) is rounded once, into tables; from then on there are only integers, so that this
model, the exported SystemVerilog model and the replay memory answer alike. A charge is counted in `quantum` coulomb,
1024 to the nominal charge of a weight of 1. A row that adds does, on engines m that take part, with slot k and code c,

    v[k, m] = clamp(v + charge[m, c] + ((z sigma[m] + 2**11) >> 12) - ((v loss[m]) >> 24))

and one that ends the step, for slot k on all engines,

    fires = v >= threshold[k, m] + ((z comparator[m] + 2**11) >> 12)
    v = 0 where the row clears; else (u kept[k, m]) >> 24, with u = v where it did not fire,
        and where it did: u = injection[m] (reset zero), or v - subtract[k, m] (reset subtract)

Elapsed time is the number of the step, which every request carries: between the firings of a slot lies one step, and
`kept` is what one step keeps. z is a sample of noise (`samples`). A chip has a memory of them, from a Philox stream
keyed by chip, core and purpose, in which row n of a step of a layer takes `noise_row`. Rows are counted from 0 in each
step of a layer, those that fire among them: how layers take turns on a core changes nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from spikeloom.errors import InputError

from ..checks import count, positive, whole_array
from ..samples import NOISE_ROWS, noise_row, scaled, whole_samples
from ..streams import Purpose, chip_seeds, normals
from .c2c import Ladders
from .integrator import Integrator
from .parameters import EngineParameters

__all__ = ["EngineState", "ProgrammedEngines", "program_engines"]

STEP_BITS = 10
"""log2 of quanta in the nominal charge of a weight of 1."""
LOSS_BITS = 24
"""Fraction bits of `loss` and `kept`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ProgrammedEngines:
    """Integer tables of M engines with N slots on C chips; see the module.

    Members
    -------
    charge : int64 [C, M, 2^(bits + 1)], of every weight as a word of two's complement; the lowest weight is clipped to
        the one above it, which the ladder has.
    sigma, loss, comparator, injection : int64 [C, M].
    threshold, subtract, kept : int64 [C, N, M].
    reset : "zero" or "subtract". low, high : rails.
    seeds : of the chips; `core` : number of the core on its chip. Both key the noise.
    quantum : C.
    """

    charge: np.ndarray
    sigma: np.ndarray
    loss: np.ndarray
    comparator: np.ndarray
    injection: np.ndarray
    threshold: np.ndarray
    subtract: np.ndarray
    kept: np.ndarray
    reset: Literal["zero", "subtract"]
    low: int
    high: int
    seeds: tuple[int, ...]
    core: int
    quantum: float

    def __post_init__(self) -> None:
        chips, engines, codes = self.charge.shape
        per_engine, per_slot = (chips, engines), (chips, self.threshold.shape[1], engines)
        shapes = dict.fromkeys(("sigma", "loss", "comparator", "injection"), per_engine)
        shapes |= dict.fromkeys(("threshold", "subtract", "kept"), per_slot)
        for name, shape in {"charge": (chips, engines, codes), **shapes}.items():
            table = getattr(self, name)
            if table.dtype != np.int64 or table.shape != shape:
                raise InputError(f"{name}: {table.dtype} {table.shape} was given; accepted: int64 {shape}")
            if table.size and max(-int(table.min()), int(table.max())) >= 1 << 37:
                raise InputError(f"{name}: values from {table.min()} to {table.max()}; accepted: below 2**37")
        if codes < 4 or codes & (codes - 1):
            raise InputError(f"charge: {codes} codes were given; accepted: a power of 2 of at least 4")
        for name in ("loss", "kept"):
            table = getattr(self, name)
            if table.size and (table.min() < 0 or table.max() > 1 << LOSS_BITS):
                raise InputError(f"{name}: accepted: 0 to 2**{LOSS_BITS}, a part of a neuron's charge")
        if self.reset not in ("zero", "subtract"):
            raise InputError(f"reset: {self.reset!r} was given; accepted: zero, subtract")
        if not -(1 << 37) < self.low < 0 < self.high < 1 << 37:
            raise InputError(f"rails: {self.low} and {self.high} were given; accepted: around 0, below 2**37")
        if len(self.seeds) != chips:
            raise InputError(f"seeds: {len(self.seeds)} were given; accepted: one for each of {chips} chips")

    @property
    def chips(self) -> int:
        """C."""
        return self.charge.shape[0]

    @property
    def engines(self) -> int:
        """M."""
        return self.charge.shape[1]

    @property
    def slots(self) -> int:
        """N."""
        return self.threshold.shape[1]

    @property
    def code_bits(self) -> int:
        """Bits of a weight."""
        return self.charge.shape[2].bit_length() - 1

    @property
    def noisy(self) -> bool:
        """Whether rows have noise."""
        return bool(self.sigma.any() or self.comparator.any())

    def chip(self, index: int) -> "ProgrammedEngines":
        """One of the chips."""
        cut = slice(index, index + 1)
        names = ("charge", "sigma", "loss", "comparator", "injection", "threshold", "subtract", "kept", "seeds")
        return replace(self, **{name: getattr(self, name)[cut] for name in names})

    def quiet(self) -> "ProgrammedEngines":
        """The same chips without noise."""
        nothing = np.zeros_like(self.sigma)
        return replace(self, sigma=nothing, comparator=nothing)

    def samples(self) -> np.ndarray:
        """The noise memory, int64 [C, 4096, M]."""
        z = normals(self.seeds, (NOISE_ROWS, self.engines), core=self.core, purpose=Purpose.READ)
        return whole_samples(z)


class EngineState:
    """The neurons of programmed engines, request by request, on C chips with B inputs each beside each other.

    Member `v` int64 [C, B, N, M]. All inputs get the same requests.
    """

    def __init__(self, engines: ProgrammedEngines, batch: int = 1):
        self.engines = engines
        self.v = np.zeros((engines.chips, count("batch", batch, 1), engines.slots, engines.engines), np.int64)
        self._samples = engines.samples() if engines.noisy else None
        self._rows: dict[int, tuple[int, int]] = {}

    def row(self, takes: np.ndarray, slot: np.ndarray, code: np.ndarray, *, step: int, layer: int = 0) -> None:
        """A row that adds: `takes` bool, `slot` and `code` (a weight, or its word) whole numbers, all [M]."""
        e = self.engines
        takes = np.asarray(takes, bool)
        m = np.flatnonzero(takes)
        k = whole_array("slot", np.asarray(slot)[m], 0, e.slots)
        c = np.asarray(code, np.int64)[m] & (e.charge.shape[2] - 1)
        z = self._noise(step, layer)
        v = self.v[:, :, k, m]
        added = e.charge[:, m, c] + scaled(z[:, m], e.sigma[:, m])
        v = v + added[:, None] - ((v * e.loss[:, None, m]) >> LOSS_BITS)
        self.v[:, :, k, m] = np.clip(v, e.low, e.high)

    def fire(self, slot: int, *, step: int, layer: int = 0, clears: bool = False) -> np.ndarray:
        """A row that ends the step for `slot`; returns which engines fire, bool [C, B, M]."""
        e = self.engines
        if not 0 <= slot < e.slots:
            raise InputError(f"slot: {slot} was given; accepted: 0 to {e.slots - 1}")
        z = self._noise(step, layer)
        v = self.v[:, :, slot]
        fired = v >= (e.threshold[:, slot] + scaled(z, e.comparator))[:, None]
        after = e.injection[:, None] if e.reset == "zero" else v - e.subtract[:, None, slot]
        after = (np.where(fired, after, v) * e.kept[:, None, slot]) >> LOSS_BITS
        self.v[:, :, slot] = 0 if clears else after
        return fired

    def _noise(self, step: int, layer: int) -> np.ndarray:
        """Samples of the next row, [C, M]."""
        before, row = self._rows.get(layer, (step, 0))
        row = row if before == step else 0
        self._rows[layer] = step, row + 1
        if self._samples is None:
            return np.zeros_like(self.engines.sigma)
        return self._samples[:, noise_row(step, layer, row)]


def program_engines(
    parameters: EngineParameters,
    *,
    threshold: np.ndarray,
    beta: np.ndarray | float = 1.0,
    subtract: np.ndarray | None = None,
    weight_bits: int = 8,
    potential_bits: int = 12,
    clock: float = 100e6,
    step: float = 20e-6,
    seeds: int | Iterable[int] = 0,
    core: int = 0,
) -> tuple[ProgrammedEngines, Integrator]:
    """Round the circuit of engines to integer tables: the tables, and the integrator that was designed for them.

    The lowest potential of the integer network lies at the lower rail, unless a threshold would then be above 0.8 of
    the upper one: a weight of 1 is so many volts, and Cf follows.

    Parameters
    ----------
    threshold : whole numbers [N, M], in weights of 1; 0 where there is no neuron.
    beta : part that a neuron of the integer network keeps in a step, [N, M] or a number.
    subtract : what a spike takes off, [N, M] in weights of 1; None: a spike resets to 0.
    clock : Hz, of rows. step : s, from tick to tick.

    Raises
    ------
    InputError
        For numbers out of range.
    """
    p = parameters
    seeds = chip_seeds(seeds)
    if not 2 <= count("weight_bits", weight_bits, 2) <= 12:
        raise InputError(f"weight_bits: {weight_bits} was given; accepted for analog engines: 2 to 12")
    theta = whole_array("threshold", threshold, 0, 1 << 30)
    if theta.ndim != 2 or not theta.size or not theta.any():
        raise InputError(f"threshold: shape {theta.shape} was given; accepted: [slots, engines], not all 0")
    slots, engines = theta.shape
    keeps = np.broadcast_to(np.asarray(beta, np.float64), theta.shape)
    if not ((keeps > 0) & (keeps <= 1)).all():
        raise InputError(f"beta: {keeps.min():g} to {keeps.max():g} was given; accepted: above 0, up to 1")
    positive("step", step, "s")
    lowest = 1 << (count("potential_bits", potential_bits, 2) - 1)
    volts = min(p.swing_low / lowest, 0.8 * p.swing_high / int(theta.max()))
    bits = weight_bits - 1
    integrator = Integrator.design(p, bits=bits, slots=slots, volts_per_step=volts, clock=clock)
    quantum = integrator.charge_step / (1 << STEP_BITS)

    def drawn(purpose: Purpose, *shape: int, index: int = 0) -> np.ndarray:
        return normals(seeds, shape, core=core, purpose=purpose, index=index)

    ladders = Ladders(p.ladder(bits), engines, seeds=seeds, core=core)
    output = ladders.output_capacitance
    kappa = (output + integrator.input) / (integrator.feedback * (1 + p.gain))  # [C, M]
    # Charge of every code: ladder, settling, what offset and switches add to each row, and what a finite gain takes.
    magnitude = ladders.transferred() * (1 - integrator.missing)
    skew = p.reference_mismatch * drawn(Purpose.ENGINE, 1)[:, :, None] / 2
    words = np.arange(1 << weight_bits)
    value = np.where(words < 1 << bits, words, words - (1 << weight_bits))
    height = np.minimum(np.abs(value), ladders.ladder.codes - 1)
    charge = np.where(value < 0, -(1 - skew), 1 + skew) * magnitude[:, :, height]
    offset = p.offset * drawn(Purpose.OFFSET, engines) / (1 + p.gain if p.auto_zero else 1)
    injected = p.injection + p.injection_spread * drawn(Purpose.AMPLIFIER, engines)
    charge = (charge + (output * offset + injected)[:, :, None]) / (1 + kappa)[:, :, None]
    sigma = np.sqrt(ladders.noise_charge(p.temperature) ** 2 + integrator.noise**2)
    # Cf differs from neuron to neuron: the same charge is another voltage, so the threshold is another charge.
    spread = p.mismatch * np.sqrt(p.unit / integrator.feedback)
    feedback = integrator.feedback * (1 + spread * drawn(Purpose.FEEDBACK, slots, engines))
    moved = p.comparator_offset * drawn(Purpose.THRESHOLD, engines)[:, None]
    level = (theta * volts * (1 + 1 / p.gain) + moved) * feedback
    # A capacitor loses through its leak, whose time constant is step / -ln beta, and through its open switch.
    rate = -np.log(keeps) * (1 + p.leak_spread * drawn(Purpose.DROOP, slots, engines))
    rate = np.maximum(rate, 0) + step / (p.hold_resistance * feedback)
    reset = p.injection + p.injection_spread * drawn(Purpose.AMPLIFIER, engines, index=1)
    shape = (len(seeds), slots, engines)
    high = p.swing_high * integrator.feedback
    top = 1 << 36
    tables = ProgrammedEngines(
        charge=_quanta(charge, quantum),
        sigma=_quanta(sigma, quantum),
        loss=_quanta(kappa / (1 + kappa) + integrator.slip, 2.0**-LOSS_BITS),
        comparator=_quanta(np.broadcast_to(p.comparator_noise * integrator.feedback, shape[::2]), quantum),
        injection=_quanta(reset, quantum),
        threshold=np.where(theta == 0, top, np.maximum(_quanta(level, quantum), 1)),
        subtract=np.zeros(shape, np.int64)
        if subtract is None
        else _quanta(np.asarray(subtract) * volts * feedback, quantum),
        kept=_quanta(np.exp(-rate), 2.0**-LOSS_BITS),
        reset="zero" if subtract is None else "subtract",
        low=-round(p.swing_low * integrator.feedback / quantum),
        high=round(high / quantum),
        seeds=seeds,
        core=core,
        quantum=quantum,
    )
    return tables, integrator


def _quanta(values: np.ndarray, quantum: float) -> np.ndarray:
    return np.rint(np.asarray(values) / quantum).astype(np.int64)
