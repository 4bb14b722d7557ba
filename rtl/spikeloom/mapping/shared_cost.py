"""The cost model of weight-shared cores: memories, devices, exact cycles, and what a gang does for given spikes.

A step of n spikes takes a layer of G groups about G max(n, L D) cycles, where L neurons of each core are read in D
digits while the next n rows come in. Cycles are played job by job in `graph_cycles`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..network.reference import arriving, synaptic_operations
from .cost import LayerReport, TurnsCost
from .shared import SharedPlan
from .shared_cycles import Job

__all__ = ["SharedCost", "SharedReport"]


@dataclass(frozen=True, kw_only=True)
class SharedReport(LayerReport):
    """What a gang did for a layer and one input.

    `weight_rows` are rows of indices, of all cores at once; `lane_slots` the indices in them.

    Attributes
    ----------
    conversions : int
        Reads of a table, of all cores together.
    index_bits : int
        Bits of the indices that were read.
    membrane_reads, membrane_writes : int
        Words of membrane memories.
    """

    conversions: int
    index_bits: int
    membrane_reads: int
    membrane_writes: int


class SharedCost(TurnsCost):
    """Memories and cycles of `network` on weight-shared cores; parameters and errors as of `CostModel`."""

    reports = SharedReport

    @property
    def _entries(self) -> tuple[SharedPlan, ...]:
        return tuple(entry for entry in self.plan.layers if isinstance(entry, SharedPlan))

    @property
    def devices(self) -> int:
        """Memristors of all tables."""
        return sum(gang.devices for gang in {entry.gang.name: entry.gang for entry in self._entries}.values())

    @property
    def index_memory_bits(self) -> int:
        """Bits of the indices of all synapses, wherever they are."""
        return sum(entry.index_depth * entry.gang.row_bits for entry in self._entries)

    def job_cycles(self, index: int, spikes: int) -> int:
        """Cycles from one step to the next of a layer that gets so many spikes, and that nothing holds up."""
        job = Job(self._entries[index], spikes, 0)
        return list(job.neurons())[-1][1] + 1

    def _steps(self, brought: Sequence[np.ndarray]) -> np.ndarray:
        """Spikes that reach a layer in each step, int64 [B, T]."""
        return np.sum([part.sum(axis=2, dtype=np.int64) for part in brought], axis=0)

    def _conversions(self, entry: SharedPlan, spikes: np.ndarray) -> np.ndarray:
        """Draws of one neuron for steps of so many spikes."""
        unique, where = np.unique(spikes, return_inverse=True)
        each = [sum(entry.gang.digits(size) for size in entry.gang.blocks(int(n))) for n in unique]
        return np.array(each, np.int64)[where.reshape(spikes.shape)]

    def _work(self, inputs: np.ndarray, spikes: list[np.ndarray]) -> list[list[dict]]:
        """Fields of `SharedReport` for each layer and input."""
        steps = inputs.shape[1]
        sops = synaptic_operations(self.network, inputs, spikes)
        result = []
        for index, (brought, after) in enumerate(zip(arriving(self.network, inputs, spikes), spikes, strict=True)):
            entry, counts = self._entries[index], self._steps(brought)
            gang, neurons = entry.gang, entry.layer.neurons
            rows = counts.sum(axis=1) * entry.index_groups
            draws = self._conversions(entry, counts).sum(axis=1) * entry.groups
            jobs = {int(n): self.job_cycles(index, int(n)) for n in np.unique(counts)}
            busy = np.array([sum(jobs[n] for n in row) for row in counts.tolist()], np.int64)
            columns = {
                "events_in": counts.sum(axis=1),
                "events_out": after.sum(axis=(1, 2), dtype=np.int64),
                "busy_cycles": busy,
                "leak_cycles": (counts == 0).sum(axis=1) * jobs.get(0, 0),
                "weight_rows": rows,
                "lane_slots": rows * gang.cores * gang.lanes,
                "useful_lane_slots": counts.sum(axis=1) * neurons,
                "sops": sops[:, index],
                "dense_operations": np.full(len(counts), steps * entry.layer.dense_operations),
                "conversions": draws * gang.cores,
                "index_bits": rows * gang.row_bits,
                "membrane_reads": draws * gang.cores,
                "membrane_writes": draws * gang.cores,
            }
            values = zip(*(column.tolist() for column in columns.values()), strict=True)
            result.append([{"name": entry.name} | dict(zip(columns, row, strict=True)) for row in values])
        return result

    def estimate(self, rates: Sequence[float]) -> float:
        """Cycles of an input from average activity; see `CostModel.estimate`.

        Layers of a gang take turns; the slowest gang sets the pace.
        """
        self._check_rates(rates)
        rate = dict(zip(("input", *(layer.name for layer in self.network.layers)), map(float, rates), strict=True))
        paces: dict[str, float] = {}
        steps = []
        for index, entry in enumerate(self._entries):
            brought = sum(rate[edge.source] for edge in self.plan.edges if edge.layer == entry.name)
            steps.append(self.job_cycles(index, round(brought)))
            paces[entry.gang.name] = paces.get(entry.gang.name, 0) + max(steps[-1], rate[entry.name] + 1)
        return self.steps * max(paces.values()) + sum(steps) + rate["input"]

    def to_json(self) -> dict[str, Any]:
        """Memories, devices and the placement, as JSON values."""
        return super().to_json() | {"devices": self.devices, "index_memory_bits": self.index_memory_bits}

    def _placed(self, index: int) -> dict[str, Any]:
        entry = self._entries[index]
        gang = entry.gang
        return {
            "cycles_per_event": entry.index_groups,
            "cycles_per_empty_step": self.job_cycles(index, 0),
            "gang": gang.name,
            "cores": gang.cores,
            "levels": sorted(set(gang.table)),
            "devices": gang.devices,
            "index_bits": entry.index_depth * gang.row_bits,
        }
