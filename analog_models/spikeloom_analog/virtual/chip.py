"""The analog side of a planned virtual core: the engines of its cores on one chip or several, and what they do."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from spikeloom.errors import InputError
from spikeloom.mapping.plan import CorePlan
from spikeloom.mapping.virtual import VirtualPlan, analog_leak
from spikeloom.network.integer import INPUT, IntegerNetwork
from spikeloom.network.reference import Trace

from ..checks import positive
from ..streams import chip_seeds
from .energy import EngineEnergy, engine_energy
from .engine import ProgrammedEngines, program_engines
from .integrator import Integrator
from .network import Routes, as_integer_layer, run_layer
from .parameters import EngineParameters

__all__ = ["VirtualChips", "arrival", "routes_of", "virtual_chips"]


@dataclass(frozen=True, kw_only=True, eq=False)
class VirtualChips:
    """The engines of all cores of a plan on C chips.

    Members: `plans` of the layers; `engines` and `integrators` by name of the core; `seeds` of the chips; `clock` Hz.
    """

    network: IntegerNetwork
    plans: tuple[VirtualPlan, ...]
    engines: dict[str, ProgrammedEngines]
    integrators: dict[str, Integrator]
    seeds: tuple[int, ...]
    clock: float

    def chip(self, index: int) -> "VirtualChips":
        """One of the chips."""
        return VirtualChips(
            network=self.network, plans=self.plans, integrators=self.integrators, clock=self.clock,
            engines={name: engines.chip(index) for name, engines in self.engines.items()},
            seeds=self.seeds[index : index + 1],
        )  # fmt: skip

    def quiet(self) -> "VirtualChips":
        """The same chips without noise."""
        return VirtualChips(
            network=self.network, plans=self.plans, integrators=self.integrators, clock=self.clock, seeds=self.seeds,
            engines={name: engines.quiet() for name, engines in self.engines.items()},
        )  # fmt: skip

    def run(self, spikes: np.ndarray) -> list[np.ndarray]:
        """Spikes of each layer, uint8 [C, B, T, neurons], to inputs [B, T, inputs] since the cores' reset.

        Event by event, in the order in which spikes arrive (`arrival`), with everything that the engines do.
        """
        spikes = np.asarray(spikes)
        if spikes.ndim != 3 or spikes.shape[2] != self.network.inputs or spikes.max(initial=0) > 1:
            raise InputError(
                f"spikes: shape {spikes.shape} was given; accepted: [inputs, steps, {self.network.inputs}], 0 and 1"
            )
        sources, found = {INPUT: spikes}, []
        for plan in self.plans:
            given, order = sources[self.network.sources(plan.layer)[0]], arrival(self.network, plan)
            share, (batch, steps) = plan.share, given.shape[-3:-1]
            fired = np.empty((len(self.seeds), batch, steps, plan.layer.neurons), np.uint8)
            for turn in range(plan.turns):  # an input is played once for each
                flags = run_layer(
                    self.engines[share.core], routes_of(plan, turn, order), given[..., order], layer=share.index,
                    first_step=(np.arange(batch) * plan.turns + turn) * steps,
                    slots=slice(share.slot, share.slot + plan.groups),
                )  # fmt: skip
                mine = np.flatnonzero(plan.turn == turn)
                fired[..., mine] = flags[..., plan.slot[mine], plan.engine[mine]]
            found.append(fired)
            sources[plan.name] = fired
        return found

    def trace(self, spikes: np.ndarray) -> Trace:
        """What the first chip does with inputs [B, T, inputs], as the first ones since its reset."""
        return Trace(spikes=tuple(fired[0] for fired in self.chip(0).run(spikes)), potentials=None, readout=None)

    def integer_network(self, index: int = 0) -> IntegerNetwork:
        """One chip as an integer network; `network` says what that leaves out."""
        layers = []
        for plan in self.plans:
            engines = self.engines[plan.share.core].chip(index)
            layers.append(as_integer_layer(plan.layer, engines, plan.engine, plan.slot + plan.share.slot))
        return IntegerNetwork(name=f"{self.network.name}, chip {self.seeds[index]}", layers=tuple(layers))

    def energy(self, spikes: np.ndarray, fired: list[np.ndarray], cycles: float) -> dict[str, EngineEnergy]:
        """Energy of the engines of each core over all inputs, on the mean chip.

        Parameters
        ----------
        spikes, fired : as `run` takes and gives them. cycles : of the clock in which the cores are on, in all.
        """
        sources = {INPUT: np.asarray(spikes)[None]} | {p.name: s for p, s in zip(self.plans, fired, strict=True)}
        seconds, found = cycles / self.clock, {}
        for name, engines in self.engines.items():
            magnitudes = np.zeros(1 << (engines.code_bits - 1), np.int64)
            comparisons = 0
            for plan in self.plans:
                if plan.share.core != name:
                    continue
                given = sources[self.network.sources(plan.layer)[0]]
                sent = given.sum(axis=(1, 2), dtype=np.int64).mean(axis=0)  # of each source, on the mean chip
                for turn in range(plan.turns):
                    routes = routes_of(plan, turn)
                    source = np.repeat(np.arange(len(routes.length)), np.diff(routes.first))
                    height = np.minimum(np.abs(routes.code), len(magnitudes) - 1)
                    magnitudes += np.rint(np.bincount(height, sent[source], len(magnitudes))).astype(np.int64)
                    comparisons += given.shape[1] * given.shape[2] * plan.groups * plan.lanes
            found[name] = engine_energy(
                self.integrators[name], engines=engines.engines, magnitudes=magnitudes, comparisons=comparisons,
                seconds=seconds,
            )  # fmt: skip
        return found


def arrival(network: IntegerNetwork, plan: VirtualPlan) -> np.ndarray:
    """Sources of a layer in the order in which their spikes of a step arrive, int64 [sources].

    Inputs come in the order of their numbers; what a sweep or a store of spikes sends, in the order of addresses.
    """
    if plan.turns == 1 and network.sources(plan.layer)[0] == INPUT:
        return np.arange(len(plan.listens[0]))
    return np.argsort(plan.listens[0], kind="stable")


def routes_of(plan: VirtualPlan, turn: int = 0, order: np.ndarray | None = None) -> Routes:
    """What the spikes of each source of a layer do in a turn, sources in `order`."""
    tables = plan.tables
    order = np.arange(tables.base.shape[1]) if order is None else order
    code = np.zeros(tables.address.shape, np.int64)
    for engine, words in enumerate(tables.weights):
        code[:, engine] = words[tables.address[:, engine]]
    return Routes.of_rows(
        base=tables.base[turn, order], length=tables.length[turn, order], valid=tables.valid,
        slot=tables.slot + plan.share.slot, code=code,
    )  # fmt: skip


def virtual_chips(
    plan: CorePlan,
    *,
    seeds: int | Iterable[int] = 0,
    parameters: EngineParameters | None = None,
    clock: float = 100e6,
    step: float = 20e-6,
) -> VirtualChips:
    """The engines of `plan` on chips of these seeds.

    Parameters
    ----------
    clock : Hz, of rows. step : s, from tick to tick.

    Raises
    ------
    InputError
        For a core of another kind, layers that analog engines do not do, networks whose layers hear several sources or
        that keep their state between inputs: there the order of spikes, or what an input meets, is not known here.
    """
    p, network = EngineParameters() if parameters is None else parameters, plan.network
    plans = tuple(entry for entry in plan.layers if isinstance(entry, VirtualPlan))
    if len(plans) != len(plan.layers):
        raise InputError(f"core.kind: {plan.core.kind!r} was given; accepted for analog engines: 'virtual'")
    if network.state != "clear":
        raise InputError(f"network.state: {network.state!r} was given; accepted for analog engines: 'clear'")
    kept = {}
    for entry in plans:
        kept[entry.name] = analog_leak(entry.layer)
        if len(entry.layer.connections) != 1 or entry.layer.connections[0].delay:
            raise InputError(
                f"layer {entry.name!r}: {len(entry.layer.connections)} connections, or a delay; accepted for analog "
                "engines: one connection without a delay"
            )
        if any(int(c.weights.min()) == -(1 << (entry.share.weight_bits - 1)) for c in entry.layer.connections):
            raise InputError(
                f"layer {entry.name!r}: a weight of {-(1 << (entry.share.weight_bits - 1))}; accepted for analog "
                "engines: a sign and a magnitude, down to one above that"
            )
    seeds = chip_seeds(seeds)
    positive("clock", clock, "Hz")
    engines, integrators = {}, {}
    for number, name in enumerate(dict.fromkeys(entry.share.core for entry in plans)):
        members = [entry for entry in plans if entry.share.core == name]
        share, shape = members[0].share, (members[0].share.slots, members[0].lanes)
        theta, beta, subtract = np.zeros(shape, np.int64), np.ones(shape), np.zeros(shape, np.int64)
        if len({entry.layer.reset for entry in members}) > 1:
            raise InputError(
                f"layers {', '.join(entry.name for entry in members)}: resets of several kinds; accepted for analog "
                "engines that they share: one"
            )
        for entry in members:
            at = (entry.slot + entry.share.slot, entry.engine)
            beta[at] = kept[entry.name]
            theta[at] = np.asarray(entry.layer.threshold)
            subtract[at] = entry.layer.subtracts
        engines[name], integrators[name] = program_engines(
            p, threshold=theta, beta=beta, subtract=subtract if subtract.any() else None,
            weight_bits=share.weight_bits, potential_bits=max(e.layer.potential_bits for e in members),
            clock=clock, step=step, seeds=seeds, core=number,
        )  # fmt: skip
    return VirtualChips(
        network=network, plans=plans, engines=engines, integrators=integrators, seeds=seeds, clock=clock
    )
