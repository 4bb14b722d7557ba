"""Whole layers on programmed engines: event by event on many chips and inputs at once, or as an integer network.

`run_layer` does what `EngineState` does request by request, noise included, for inputs that each meet their own events.
`as_integer_layer` is an `IntegerLayer` with the charges for weights: step by step, so without noise, without what a
finite gain takes in each row, and with rails that count once per step. The reference simulator then runs a chip as fast
as any network.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse

from spikeloom.errors import InputError
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, Leak

from ..checks import whole_array
from ..samples import noise_row, scaled
from .engine import LOSS_BITS, ProgrammedEngines

__all__ = ["Routes", "as_integer_layer", "run_layer"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Routes:
    """What a spike of each source makes the engines do.

    Members
    -------
    length : int64 [sources], rows of a spike.
    first : int64 [sources + 1], where the additions of a source begin; then, of each addition, int64:
    row : within the spike; engine, slot; code : the weight.

    A source may add to a neuron once.
    """

    length: np.ndarray
    first: np.ndarray
    row: np.ndarray
    engine: np.ndarray
    slot: np.ndarray
    code: np.ndarray

    @classmethod
    def of_rows(
        cls, *, base: np.ndarray, length: np.ndarray, valid: np.ndarray, slot: np.ndarray, code: np.ndarray
    ) -> "Routes":
        """From dispatch rows: `base`, `length` [sources]; `valid`, `slot`, `code` [rows, engines]."""
        rows = np.concatenate([np.arange(b, b + n) for b, n in zip(base, length, strict=True)] or [np.zeros(0, int)])
        rows = rows.astype(np.int64)
        source = np.repeat(np.arange(len(length)), length)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(length) - length, length)
        at, engine = np.nonzero(valid[rows])
        counts = np.bincount(source[at], minlength=len(length))
        return cls(
            length=np.asarray(length, np.int64), first=np.concatenate([[0], np.cumsum(counts)]), row=within[at],
            engine=engine, slot=slot[rows[at], engine], code=code[rows[at], engine],
        )  # fmt: skip


def run_layer(
    engines: ProgrammedEngines,
    routes: Routes,
    spikes: np.ndarray,
    *,
    first_step: np.ndarray | None = None,
    layer: int = 0,
    slots: slice = slice(None),
) -> np.ndarray:
    """Spikes of every neuron on every chip, uint8 [C, B, T, N, M].

    Parameters
    ----------
    spikes : [C, B, T, sources], or [B, T, sources] where all chips get the same; in a step, sources come in order.
    first_step : number of the first step of each input, which keys its noise; b T by default, as in a row of inputs.
    layer, slots : which of the layers of the core it is, and where its neurons are.

    Neurons start each input at 0.
    """
    spikes = np.asarray(spikes)
    if spikes.ndim == 3:
        spikes = np.broadcast_to(spikes, (engines.chips, *spikes.shape))
    if spikes.ndim != 4 or spikes.shape[0] != engines.chips or spikes.shape[3] != len(routes.length):
        raise InputError(
            f"spikes: shape {spikes.shape} was given; accepted: [{engines.chips}, inputs, steps, {len(routes.length)}]"
        )
    chips, batch, steps, _ = spikes.shape
    numbers = np.arange(batch) * steps if first_step is None else whole_array("first_step", first_step, 0, 1 << 32)
    if numbers.shape != (batch,):
        raise InputError(f"first_step: shape {numbers.shape} was given; accepted: [{batch}]")
    swept = range(engines.slots)[slots]
    fired = np.empty((chips, batch, steps, len(swept), engines.engines), np.uint8)
    for chip in range(chips):  # one at a time: its neurons then stay in the cache
        _run_chip(engines.chip(chip), routes, spikes[chip], numbers, layer, swept, fired[chip])
    return fired


def _run_chip(
    e: ProgrammedEngines,
    routes: Routes,
    spikes: np.ndarray,
    numbers: np.ndarray,
    layer: int,
    swept: range,
    fired: np.ndarray,
) -> None:
    batch, steps, _ = spikes.shape
    size = e.engines
    place = (routes.slot - swept.start) * size + routes.engine
    charge = e.charge[0, routes.engine, routes.code & (e.charge.shape[2] - 1)]
    sigma, loss = e.sigma[0, routes.engine], e.loss[0, routes.engine]
    noisy, lossy = e.noisy, bool(e.loss.any())
    samples = e.samples()[0].reshape(-1) if noisy else np.zeros(0, np.int64)
    v = np.zeros((batch, len(swept) * size), np.int64)
    threshold, kept, subtract = (
        table[0, swept.start : swept.stop].reshape(-1) for table in (e.threshold, e.kept, e.subtract)
    )
    injection, comparator = (np.tile(table[0], len(swept)) for table in (e.injection, e.comparator))
    for t in range(steps):
        step = numbers + t
        row = np.zeros(batch, np.int64)
        source, lane = np.nonzero(spikes[:, t].T)
        ends = np.searchsorted(source, np.arange(len(routes.length) + 1))
        for s in np.unique(source).tolist():
            lanes = lane[ends[s] : ends[s + 1]]
            cut = slice(routes.first[s], routes.first[s + 1])
            at = (lanes[:, None], place[cut])
            u = v[at]
            new = u + charge[cut]
            if noisy:
                z = noise_row(step[lanes, None], layer, row[lanes, None] + routes.row[cut])
                new += scaled(samples[z * size + routes.engine[cut]], sigma[cut])
            if lossy:
                new -= (u * loss[cut]) >> LOSS_BITS
            v[at] = np.minimum(np.maximum(new, e.low), e.high)
            row[lanes] += routes.length[s]
        level = threshold
        if noisy:
            z = noise_row(step[:, None], layer, row[:, None] + np.arange(len(swept)))
            level = threshold + scaled(samples.reshape(-1, size)[z].reshape(batch, -1), comparator)
        spike = v >= level
        fired[:, t] = spike.reshape(batch, len(swept), size)
        after = injection if e.reset == "zero" else v - subtract
        v = (np.where(spike, after, v) * kept) >> LOSS_BITS


class _Charged(Connection):
    """A convolution whose weights are those of the engine of each target."""

    charges: np.ndarray
    """[neurons, codes]."""

    @classmethod
    def of(cls, connection: Connection, charges: np.ndarray) -> "_Charged":
        made = cls(
            weights=connection.weights, source=connection.source, delay=connection.delay, pool=connection.pool,
            source_shape=connection.source_shape, stride=connection.stride, padding=connection.padding,
            groups=connection.groups,
        )  # fmt: skip
        object.__setattr__(made, "charges", charges)
        return made

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """The connection as a sparse matrix [neurons, sources]."""
        return _charged(self.geometry.matrix(self.weights), self.charges)


def _charged(matrix: sparse.csr_array, charges: np.ndarray) -> sparse.csr_array:
    matrix = matrix.copy()
    matrix.eliminate_zeros()  # a weight of 0 is no synapse, and sends no row
    target = np.repeat(np.arange(len(charges)), np.diff(matrix.indptr))
    matrix.data = charges[target, matrix.data & (charges.shape[1] - 1)]
    return matrix


def as_integer_layer(
    layer: IntegerLayer, engines: ProgrammedEngines, engine: np.ndarray, slot: np.ndarray
) -> IntegerLayer:
    """The layer as an integer layer with the charges of the first chip; see the module for what that leaves out.

    engine, slot : of each neuron, int64 [neurons]. A neuron that fired starts from 0, not from what the reset switch
    leaves.
    """
    charges = engines.charge[0, engine]
    connections = []
    for connection in layer.connections:
        if connection.is_convolution or connection.sources != connection.weights.shape[1]:
            connections.append(_Charged.of(connection, charges))
            continue
        codes = connection.weights & (charges.shape[1] - 1)
        weights = np.where(connection.weights != 0, np.take_along_axis(charges, codes, axis=1), 0)
        connections.append(replace(connection, weights=weights))
    bits = (-engines.low - 1).bit_length() + 1
    largest = int(np.abs(engines.charge[0]).max())
    subtracts = engines.reset == "subtract"
    return IntegerLayer(
        name=layer.name, connections=tuple(connections), weight_bits=largest.bit_length() + 1, potential_bits=bits,
        threshold=engines.threshold[0, slot, engine], reset=engines.reset,
        reset_amount=engines.subtract[0, slot, engine] if subtracts else None,
        leak=Leak(
            kind="multiply", factor=tuple(engines.kept[0, slot, engine].tolist()), fraction_bits=LOSS_BITS
        ), max_count=layer.max_count,
    )  # fmt: skip
