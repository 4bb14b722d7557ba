"""The cost model of a crossbar core: memories, and the exact cycles of an input.

Times of transfers, from the first item of an input on (cycle 0), layer after layer. The last tick comes in at a:

    push of step t      a + 6 + reset + (t + 1) step      clear, fetch, the pulses, what the capture lags behind
    start of step t     max(push + queue, tick of the step before)
    tick of step t      start + 1 + spikes of the step

The queue takes 1 cycle, or 3 where it is a memory. A window is as long whatever comes in: that is what it is for.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ..config import CrossbarConfig
from ..errors import InputError
from ..network.integer import IntegerNetwork
from ..network.reference import synaptic_operations
from ..windows import CAPTURE_LATENCY
from .bursts import LAST, TICK, Decision, Outputs
from .cost import CostModel, CycleReport, LayerReport
from .crossbar import CrossbarPlan
from .memories import REGISTER_DEPTH
from .plan import CorePlan

__all__ = ["CrossbarCost"]

LONG = 1 << 30


class CrossbarCost(CostModel):
    """Memories and cycles of `network` on arrays; parameters and errors as of `CostModel`."""

    def __init__(
        self,
        network: IntegerNetwork,
        core: CrossbarConfig,
        *,
        steps: int,
        direct: bool = False,
        plan: CorePlan | None = None,
    ):
        # It is planned with this configuration, and no more.
        super().__init__(network, core, steps=steps, direct=direct, plan=plan)  # type: ignore[arg-type]
        self._arrays = [entry for entry in self.plan.layers if isinstance(entry, CrossbarPlan)]

    def cycles(
        self,
        inputs: np.ndarray,
        spikes: Sequence[np.ndarray],
        *,
        gap: Literal["isolated", "back_to_back"] = "isolated",
        after_reset: int | None = None,
    ) -> list[CycleReport]:
        """The cycles of each input that finds the core at rest, when all sinks are always ready.

        Raises
        ------
        InputError
            For arrays that do not fit the network or the window, and for `gap` = back_to_back: inputs that follow each
            other overlap by as much as their windows allow, one per `window_cycles` at most.
        """
        inputs, spikes = self._checked(inputs, spikes)
        if gap != "isolated":
            raise InputError(f"gap {gap!r}: accepted on a crossbar is isolated")
        if inputs.shape[1] > self.steps:
            raise InputError(f"inputs of {inputs.shape[1]} steps: accepted are up to {self.steps}, a window")
        since = LONG if after_reset is None else after_reset
        reports, work = [], self._work(inputs, spikes)
        for b in range(len(inputs)):
            last = self._last(int(inputs[b].sum()), [layer[b].sum(axis=1).tolist() for layer in spikes], since)
            layers = tuple(LayerReport(**entry[b]) for entry in work)
            reports.append(CycleReport(first_in=0, last_out=last, interval=self.interval, layers=layers))
        return reports

    @property
    def interval(self) -> int:
        """Cycles between two inputs of whole windows that follow each other."""
        timing = self._arrays[0].timing
        # Going, clearing and fetching in front, the lag of the capture behind.
        return self.steps * timing.step + timing.reset + 3 + CAPTURE_LATENCY

    def _last(self, events: int, counts: list[list[int]], since: int) -> int:
        """Cycle of the last output of an input of `events` spikes, whose layers have `counts` spikes in each step."""
        end = events + len(counts[0]) - 1
        outputs = Outputs()
        decision: Any = outputs
        if self.decision in ("count", "first"):
            decision = Decision(outputs, neurons=self.network.outputs, kind=self.decision, since_reset=since)
        for n, (entry, steps) in enumerate(zip(self._arrays, counts, strict=True)):
            timing, begin, free = entry.timing, end, 0
            queue = 3 if entry.queue_rows > REGISTER_DEPTH else 1
            for t, spikes in enumerate(steps):
                push = begin + 3 + CAPTURE_LATENCY + timing.reset + (t + 1) * timing.step
                start = max(push + queue, free)
                free = start + 1 + spikes
                if n == len(self._arrays) - 1:
                    free = decision.burst(spikes, LAST if t == len(steps) - 1 else TICK, start + 1)
            end = free
        return outputs.last

    def _work(self, inputs: np.ndarray, spikes: list[np.ndarray]) -> list[list[dict]]:
        """Fields of `LayerReport`: a layer is busy for its window, and reads no weight."""
        steps, sops = inputs.shape[1], synaptic_operations(self.network, inputs, spikes)
        result = []
        for index, (events, after) in enumerate(zip(self._brought(inputs, spikes), spikes, strict=True)):
            entry = self._arrays[index]
            result.append(
                [
                    {
                        "name": entry.name, "events_in": int(events[b]), "events_out": int(after[b].sum()),
                        "busy_cycles": steps * entry.timing.step + entry.timing.reset, "leak_cycles": 0,
                        "weight_rows": 0, "lane_slots": 0, "useful_lane_slots": 0, "sops": int(sops[b, index]),
                        "dense_operations": steps * entry.layer.dense_operations,
                    }
                    for b in range(len(inputs))
                ]
            )  # fmt: skip
        return result

    def bound(self, inputs: np.ndarray, spikes: Sequence[np.ndarray], *, drain: bool = True) -> np.ndarray:
        """The exact latency: there is nothing to bound."""
        return np.array([report.latency for report in self.cycles(inputs, spikes)], np.int64)

    def estimate(self, rates: Sequence[float]) -> float:
        """Expected cycles of an input, from mean spikes per step of the input and of each layer."""
        self._check_rates(rates)
        counts = [[round(rate)] * self.steps for rate in rates[1:]]
        return float(self._last(round(rates[0] * self.steps), counts, LONG) + 1)

    def to_json(self) -> dict[str, Any]:
        """Memories and the placement, as JSON values."""
        return super().to_json() | {"interval": self.interval}

    def _placed(self, index: int) -> dict[str, Any]:
        entry = self._arrays[index]
        return {
            "cycles_per_event": 0,
            "cycles_per_empty_step": entry.timing.step,
            "window_cycles": entry.cycles,
        }
