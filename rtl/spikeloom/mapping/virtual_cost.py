"""The cost model of a virtual core: memories, exact cycles, and what its controller and engines do for given spikes.

A spike takes as many cycles as it has dispatch rows (one, if it has none), a tick as many as there are slots in use,
and two more. Cycles are played item by item in `graph_cycles`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network.reference import arriving, synaptic_operations
from .cost import LayerReport, TurnsCost
from .virtual import VirtualPlan

__all__ = ["VirtualCost", "VirtualReport"]

TICK_EXTRA = 2
"""Cycles of a tick beside its sweep."""


@dataclass(frozen=True, kw_only=True)
class VirtualReport(LayerReport):
    """What the controller and the engines of a layer did for one input.

    `weight_rows` are rows of the dispatch memory, `lane_slots` places in them, `useful_lane_slots` those in use.

    Attributes
    ----------
    lookups : int
        Reads of the event table: one for each spike.
    sweep_rows : int
        Slots, of all engines at once, that were fired.
    membrane_reads, membrane_writes : int
        Words of membrane memories: of each synapse, and of each slot of each engine in a sweep.
    """

    lookups: int
    sweep_rows: int
    membrane_reads: int
    membrane_writes: int


class VirtualCost(TurnsCost):
    """Memories and cycles of `network` on engines of virtual neurons; parameters and errors as of `CostModel`."""

    reports = VirtualReport

    @property
    def _entries(self) -> tuple[VirtualPlan, ...]:
        return tuple(entry for entry in self.plan.layers if isinstance(entry, VirtualPlan))

    def _work(self, inputs: np.ndarray, spikes: list[np.ndarray]) -> list[list[dict]]:
        """Fields of `VirtualReport` for each layer and input."""
        steps = inputs.shape[1]
        sops = synaptic_operations(self.network, inputs, spikes)
        result = []
        for index, (brought, after) in enumerate(zip(arriving(self.network, inputs, spikes), spikes, strict=True)):
            entry = self._entries[index]
            events, rows, cycles = (np.zeros(len(inputs), np.int64) for _ in range(3))
            for sent, touched in zip(brought, self._touched[index], strict=True):
                counts = sent.sum(axis=1, dtype=np.int64)
                events += counts.sum(axis=1)
                rows += counts @ touched
                cycles += counts @ np.maximum(touched, 1)
            sweep = np.full(len(events), steps * entry.groups)
            words = sops[:, index] + sweep * entry.lanes
            columns = {
                "events_in": events,
                "events_out": after.sum(axis=(1, 2), dtype=np.int64),
                "busy_cycles": cycles + sweep,
                "leak_cycles": sweep,
                "weight_rows": rows,
                "lane_slots": rows * entry.lanes,
                "useful_lane_slots": sops[:, index],
                "sops": sops[:, index],
                "dense_operations": np.full(len(events), steps * entry.layer.dense_operations),
                "lookups": events,
                "sweep_rows": sweep,
                "membrane_reads": words,
                "membrane_writes": words,
            }
            values = zip(*(column.tolist() for column in columns.values()), strict=True)
            result.append([{"name": entry.name} | dict(zip(columns, row, strict=True)) for row in values])
        return result

    def estimate(self, rates: Sequence[float]) -> float:
        """Cycles of an input from average activity; see `CostModel.estimate`.

        The slowest layer sets the pace: a step takes it the rows of its spikes in and its sweep, or its spikes out.
        All sources are taken as equally active.
        """
        self._check_rates(rates)
        rate = dict(zip(("input", *(layer.name for layer in self.network.layers)), map(float, rates), strict=True))
        paces, tails = [], []
        for index, entry in enumerate(self._entries):
            edges = [edge for edge in self.plan.edges if edge.layer == entry.name]
            rows = sum(
                rate[edge.source] * float(np.maximum(self._touched[index][edge.connection], 1).mean()) for edge in edges
            )
            paces.append(max(rows + entry.groups + TICK_EXTRA + entry.share.late, rate[entry.name] + 1))
            tails.append(entry.groups + rate[entry.name] + 6)
        slowest = max(range(len(paces)), key=lambda n: paces[n])
        return self.steps * paces[slowest] + sum(tails)

    def _placed(self, index: int) -> dict[str, Any]:
        entry = self._entries[index]
        touched = np.concatenate(self._touched[index])
        synapses = int(entry.tables.valid.sum())
        return {
            "cycles_per_event": float(np.maximum(touched, 1).mean()),
            "cycles_per_empty_step": entry.groups + TICK_EXTRA + entry.share.late,
            "engines": entry.lanes,
            "slots_used": np.bincount(entry.engine, minlength=entry.lanes).tolist(),
            "dispatch_rows": int(touched.sum()),
            "dispatch_use": synapses / max(1, int(touched.sum()) * entry.lanes),
            "weights_used": [len(words) for words in entry.tables.weights],
        }
