"""The analog side of a planned weight-shared core: the tables of its gangs on chips, and what its layers then do."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from spikeloom.errors import InputError
from spikeloom.mapping.plan import CorePlan, dense_weights
from spikeloom.mapping.shared import SharedPlan
from spikeloom.network.integer import INPUT, IntegerNetwork
from spikeloom.network.reference import LayerRun, Trace
from spikeloom.network.sharing import level_indices

from ..samples import noise_row
from ..streams import chip_seeds
from .table import ProgrammedTables, TableParameters, program_tables

__all__ = ["SharedChips", "shared_chips"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedChips:
    """The tables of all gangs of a plan on C chips: `tables` by name of the gang, `seeds` of the chips."""

    network: IntegerNetwork
    plans: tuple[SharedPlan, ...]
    tables: dict[str, ProgrammedTables]
    seeds: tuple[int, ...]

    def chip(self, index: int) -> "SharedChips":
        """One of the chips."""
        tables = {name: each.chip(index) for name, each in self.tables.items()}
        return replace(self, tables=tables, seeds=self.seeds[index : index + 1])

    def run(self, spikes: np.ndarray) -> list[np.ndarray]:
        """Spikes of each layer, uint8 [C, B, T, neurons], to inputs [B, T, inputs] since reset, in ascending order."""
        spikes = np.asarray(spikes)
        if spikes.ndim != 3 or spikes.shape[2] != self.network.inputs or spikes.max(initial=0) > 1:
            raise InputError(
                f"spikes: shape {spikes.shape} was given; accepted: [inputs, steps, {self.network.inputs}], 0 and 1"
            )
        chips = range(len(self.seeds))
        sources, found = {INPUT: [spikes] * len(chips)}, []
        for plan in self.plans:
            given, tables = sources[self.network.sources(plan.layer)[0]], self.tables[plan.gang.name]
            active, fired = _Active(plan, given[0], keep=len(chips) > 1), []
            for index in chips:
                if given[index] is not given[0]:
                    active = _Active(plan, given[index])
                summed = sums(plan, tables.chip(index), active)
                fired.append(LayerRun.of_sums(plan.layer, summed).run(plan.layer.leak)[0])
            sources[plan.name] = fired
            found.append(np.stack(fired))
        return found

    def trace(self, spikes: np.ndarray) -> Trace:
        """What the first chip does with inputs [B, T, inputs], as the first ones since its reset."""
        return Trace(spikes=tuple(fired[0] for fired in self.chip(0).run(spikes)), potentials=None, readout=None)


class _Active:
    """The spikes of a layer, [B, T, sources], and how many active synapses they make of each level.

    With `keep`, what was counted is kept for other chips that get the same spikes.
    """

    def __init__(self, plan: SharedPlan, spikes: np.ndarray, *, keep: bool = False):
        self.spikes, self._keep = spikes, keep
        table = np.array(sorted(set(plan.gang.table)))
        self.indices = level_indices(dense_weights(plan.layer), table).T.astype(np.int64)  # [sources, neurons]
        self._levels = [(self.indices == k).astype(np.float32) for k in range(len(table))]
        self._found: dict[tuple[int, int], list[np.ndarray]] = {}

    def counts(self, step: int, block: int, spikes: np.ndarray) -> list[np.ndarray]:
        """For each level, its active synapses of each neuron, [B, neurons], in one block of a step."""
        if (step, block) in self._found:
            return self._found[step, block]
        real = spikes.astype(np.float32)
        found = [np.rint(real @ level).astype(np.uint16) for level in self._levels]
        if self._keep:
            self._found[step, block] = found
        return found


def sums(plan: SharedPlan, tables: ProgrammedTables, active: _Active) -> np.ndarray:
    """What the conversions of each step add to each neuron, int64 [B, T, neurons], on one chip since its reset."""
    batch, steps, _ = active.spikes.shape
    samples = tables.samples()[0]
    result = np.zeros((batch, steps, plan.layer.neurons), np.int64)
    for t in range(steps):
        result[:, t] = _step(plan, tables, active, samples, t)
    return result


def _step(plan: SharedPlan, tables: ProgrammedTables, active: _Active, samples: np.ndarray, t: int) -> np.ndarray:
    """The sums of one step of each input."""
    gang, neurons = plan.gang, plan.layer.neurons
    spikes = active.spikes[:, t].astype(np.int64)
    at = np.arange(len(spikes)) * active.spikes.shape[1] + t
    counts = spikes.sum(axis=1)
    blocks = np.maximum(1, -(-counts // gang.block))
    rank = np.cumsum(spikes, axis=1) - 1  # of each spike within its step
    core, place = np.arange(neurons) % plan.lanes, np.arange(neurons) // plan.lanes
    group, lane = place // gang.lanes, place % gang.lanes
    within = np.where(group == plan.index_groups - 1, plan.tail, gang.lanes)
    total = np.zeros((len(spikes), neurons), np.int64)
    order = np.arange(int(blocks.max()))
    sizes = np.clip(counts[:, None] - order * gang.block, 0, gang.block)
    digits = np.vectorize(gang.digits)(sizes) * (order < blocks[:, None])
    before = np.cumsum(digits, axis=1) - digits
    for j in range(int(blocks.max())):
        mine = spikes * (rank // gang.block == j)
        drawn = _drawn(plan, tables, active, (t, j), mine, rank % gang.block, sizes[:, j])
        for digit, (charge, variance) in enumerate(drawn):
            number = (group * gang.lanes)[None] * digits.sum(axis=1)[:, None] + within * before[:, j : j + 1]
            number = number + lane * digits[:, j : j + 1] + digit
            z = samples[noise_row(at[:, None], gang.index, number), core]
            code = np.empty_like(charge)
            for c in range(plan.lanes):
                code[:, c :: plan.lanes] = tables.codes(
                    charge[:, c :: plan.lanes], variance[:, c :: plan.lanes], z[:, c :: plan.lanes], c
                )
            code[digits[:, j] <= digit] = 0  # not converted
            total += code << (gang.code_shift + gang.pulse_bits * digit)
    return total


def _drawn(plan: SharedPlan, tables: ProgrammedTables, active: _Active, which: tuple[int, int], spikes, rank, sizes):
    """(charge, variance) int64 [B, neurons] of each digit of a block."""
    gang, neurons = plan.gang, plan.layer.neurons
    core = np.arange(neurons) % plan.lanes
    charges, variances = tables.charge[0], tables.variance[0]  # [cores, copies, levels]
    if gang.replicates:
        charge, variance = np.zeros((2, len(spikes), neurons), np.int64)
        for p in range(gang.block):  # the latest spike is on the first copy
            chosen = spikes * (sizes[:, None] - 1 - rank == p)
            lanes, source = np.nonzero(chosen)
            charge[lanes] += charges[core, p][np.arange(neurons), active.indices[source]]
            variance[lanes] += variances[core, p][np.arange(neurons), active.indices[source]]
        return [(charge, variance)]
    levels, found = active.counts(*which, spikes=spikes), []
    for digit in range(gang.digits(int(sizes.max(initial=0)))):
        charge, variance = np.zeros((2, len(spikes), neurons), np.int64)
        for k, level in enumerate(levels):
            pulses = (level.astype(np.int64) >> (gang.pulse_bits * digit)) & ((1 << gang.pulse_bits) - 1)
            charge += pulses * charges[core, 0, k]
            if variances.any():
                variance += pulses * variances[core, 0, k]
        found.append((charge, variance))
    return found


def shared_chips(
    plan: CorePlan, *, seeds: int | Iterable[int] = 0, parameters: TableParameters | None = None
) -> SharedChips:
    """The tables of `plan` on chips of these seeds.

    Raises
    ------
    InputError
        For a core of another kind, layers that hear several sources, or networks that keep their state: there the order
        of spikes, or what an input meets, is not known here.
    """
    plans = tuple(entry for entry in plan.layers if isinstance(entry, SharedPlan))
    if len(plans) != len(plan.layers):
        raise InputError(f"core.kind: {plan.core.kind!r} was given; accepted for analog tables: 'shared'")
    if plan.network.state != "clear":
        raise InputError(f"network.state: {plan.network.state!r} was given; accepted for analog tables: 'clear'")
    for entry in plans:
        connections = entry.layer.connections
        if len(connections) != 1 or connections[0].delay or entry.layer.max_count > 1 or entry.layer.threshold is None:
            raise InputError(
                f"layer {entry.name!r}: several connections, a delay, several spikes of a source in a step, or a "
                "read-out; accepted for analog tables: one connection without a delay, into neurons that fire"
            )
    gangs = {entry.gang.name: entry.gang for entry in plans}
    chosen = chip_seeds(seeds)
    tables = {
        name: program_tables(gang, parameters, seeds=chosen, number=number)
        for number, (name, gang) in enumerate(gangs.items())
    }
    return SharedChips(network=plan.network, plans=plans, tables=tables, seeds=chosen)
