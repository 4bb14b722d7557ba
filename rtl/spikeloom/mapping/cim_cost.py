"""The cost model of a compute-in-memory core: memories, exact cycles, and what its arrays do for given spikes.

A pass takes B cycles. It adds a spike of each bank that has one waiting, or does one thing to all potentials; a tick
takes as many passes as `CimPlan.passes` lists, whatever the number of neurons. Energy is in `cim_energy`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..network.reference import synaptic_operations
from .cim import CimPlan, SequentialPlan
from .cost import CostModel, CycleReport, LayerReport
from .graph_cycles import CimWork, play_graph

__all__ = ["CimCost", "CimReport", "array_work"]


@dataclass(frozen=True, kw_only=True)
class CimReport(LayerReport):
    """What the arrays of a layer did for one input.

    Attributes
    ----------
    add_passes, tick_passes : int
        Passes of B cycles: those that add spikes, and those of ticks.
    conflicts : int
        Cycles in which a spike waited, and those behind it, because its bank was full while another had room.
    sum_rows, sum_writes : int
        Row activations that read, and that write, potentials and partial sums.
    column_operations : int
        Full additions of a bit, over all columns.
    read_swings, write_swings : int
        Bitline pairs discharged by row reads, and driven by row writes. A decay writes all columns at most; what a
        subtraction writes are the columns that fired; limits that are written (clamps) are left out.
    """

    add_passes: int
    tick_passes: int
    conflicts: int
    sum_rows: int
    sum_writes: int
    column_operations: int
    read_swings: int
    write_swings: int


def array_work(plan: CimPlan | SequentialPlan, work: CimWork, *, steps: int, fired: int) -> dict[str, int]:
    """Row activations, column operations and bitline swings of an input of `steps` steps and `fired` spikes out.

    Of a sequential update, whose words are read and written one row after the other, alike.
    """
    if isinstance(plan, SequentialPlan):
        weight_rows = work.spikes * plan.groups
        rows = (work.spikes + steps) * plan.groups
        word = plan.lanes * plan.bits
        return {
            "weight_rows": weight_rows,
            "sum_rows": rows,
            "sum_writes": rows,
            "column_operations": rows * word,
            "read_swings": rows * word + weight_rows * plan.weight_row_bits,
            "write_swings": rows * word,
        }
    bits, neurons = plan.bits, plan.layer.neurons
    adds = sum(work.passes.values())
    reads = writes = operations = adds * bits
    full = adds * bits  # writes of whole rows
    weight_rows = work.spikes * plan.weight_bits
    for name, level in plan.passes:
        halves = plan.tiles >> (level + 1)
        read = 2 * halves if name == "merge" else 1
        write = halves if name == "merge" else int(name != "compare")
        reads += steps * read * bits
        operations += steps * (halves if name == "merge" else 1) * bits
        writes += steps * write * bits
        if name in ("bias", "merge", "decay"):
            full += steps * write * bits
        if name == "bias":
            weight_rows += steps * plan.bias_row_count
    narrow = fired * bits if ("subtract", 0) in plan.passes else 0
    return {
        "weight_rows": weight_rows,
        "sum_rows": reads,
        "sum_writes": writes,
        "column_operations": operations * neurons,
        "read_swings": (reads + weight_rows) * neurons,
        "write_swings": full * neurons + narrow,
    }


def _pace(entry: CimPlan | SequentialPlan) -> int:
    """Cycles of a pass, or of a sweep."""
    return entry.bits if isinstance(entry, CimPlan) else entry.sweep


def _tick_passes(entry: CimPlan | SequentialPlan) -> int:
    """Passes of a tick; a sequential update does everything in one."""
    return len(entry.passes) if isinstance(entry, CimPlan) else 1


class CimCost(CostModel):
    """Memories and cycles of `network` on arrays; parameters and errors as of `CostModel`."""

    def cycles(
        self,
        inputs: np.ndarray,
        spikes: Sequence[np.ndarray],
        *,
        gap: Literal["isolated", "back_to_back"] = "isolated",
        after_reset: int | None = None,
    ) -> list[CycleReport]:
        """The cycles of each input, exactly; see `CostModel.cycles`. Its layers are `CimReport`s."""
        inputs, arrays = self._checked(inputs, spikes, gap)
        work: list[list[CimWork]] = []
        times = play_graph(self.plan, inputs, arrays, isolated=gap == "isolated", since_reset=after_reset, work=work)
        steps = inputs.shape[1]
        sops = synaptic_operations(self.network, inputs, arrays)
        brought = self._brought(inputs, arrays)
        reports = []
        for b, (first, last, interval) in enumerate(times):
            layers = tuple(
                self._report(
                    index, work[b][index], steps, int(brought[index][b]), arrays[index][b], int(sops[b, index])
                )
                for index in range(len(self.plan.layers))
            )
            reports.append(CycleReport(first_in=first, last_out=last, interval=interval, layers=layers))
        return reports

    def _report(self, index: int, work: CimWork, steps: int, events: int, after: np.ndarray, sops: int) -> CimReport:
        entry = self.plan.layers[index]
        assert isinstance(entry, CimPlan | SequentialPlan)
        fired, neurons = int(after.sum(dtype=np.int64)), entry.layer.neurons
        ticks = steps * _tick_passes(entry)
        decays = steps * _pace(entry) * (entry.layer.leak.kind == "linear")
        return CimReport(
            name=entry.name,
            events_in=events,
            events_out=fired,
            busy_cycles=(work.adds + ticks) * _pace(entry),
            leak_cycles=decays,
            lane_slots=events * entry.groups * entry.lanes,
            useful_lane_slots=events * neurons,
            sops=sops,
            dense_operations=steps * entry.layer.dense_operations,
            add_passes=work.adds,
            tick_passes=ticks,
            conflicts=work.conflicts,
            **array_work(entry, work, steps=steps, fired=fired),
        )

    def bound(self, inputs: np.ndarray, spikes: Sequence[np.ndarray], *, drain: bool = True) -> np.ndarray:
        """A plain upper bound of the cycles, int64 [B]: all layers one after the other, all banks in turn.

        With several banks or layers it is far from what they take; `cycles` knows.
        """
        inputs, arrays = self._checked(inputs, spikes)
        total = np.zeros(len(inputs), np.int64)
        steps = inputs.shape[1]
        for entry, events, after in zip(self.plan.layers, self._brought(inputs, arrays), arrays, strict=True):
            assert isinstance(entry, CimPlan | SequentialPlan)
            shown = entry.layer.neurons if entry.layer.threshold is None else 0
            total += (events + steps * _tick_passes(entry)) * _pace(entry) + steps * (shown + 12)
            total += after.sum(axis=(1, 2), dtype=np.int64)
        return total + inputs.sum(axis=(1, 2), dtype=np.int64) + 30

    def estimate(self, rates: Sequence[float]) -> float:
        """Cycles of an input from average activity; see `CostModel.estimate`.

        The slowest layer sets the pace: a step takes it a pass for every `banks` spikes in, its tick, or its spikes
        out, whichever takes longer.
        """
        self._check_rates(rates)
        rate = dict(zip(("input", *(layer.name for layer in self.network.layers)), map(float, rates), strict=True))
        paces, tails = [], []
        for entry in self.plan.layers:
            assert isinstance(entry, CimPlan | SequentialPlan)
            events = sum(rate[edge.source] for edge in self.plan.edges if edge.layer == entry.name)
            tick = _tick_passes(entry) * _pace(entry)
            at_once = entry.slots_in if isinstance(entry, CimPlan) else 1
            paces.append(max(events / at_once * _pace(entry) + tick + 1, rate[entry.name] + 1))
            tails.append(tick + rate[entry.name] + 6)
        slowest = max(range(len(paces)), key=lambda n: paces[n])
        return self.steps * paces[slowest] + sum(tails)

    def _placed(self, index: int) -> dict[str, Any]:
        entry = self.plan.layers[index]
        assert isinstance(entry, CimPlan | SequentialPlan)
        fields: dict[str, Any] = {
            "cycles_per_event": _pace(entry),
            "cycles_per_empty_step": _tick_passes(entry) * _pace(entry),
            "bits": entry.bits,
        }
        if isinstance(entry, CimPlan):
            passes = [f"{name} {level}" if name == "merge" else name for name, level in entry.passes]
            fields |= {"tiles": entry.tiles, "banks": entry.banks, "arrays": len(entry.arrays)}
            fields["tick_passes"] = passes
        return fields
