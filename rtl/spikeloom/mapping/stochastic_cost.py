"""The cost model of a stochastic core: that of its sweep engines, and how often its devices are switched."""

from dataclasses import dataclass

import numpy as np

from .cost import CostModel, LayerReport

__all__ = ["StochasticCost", "StochasticReport"]


@dataclass(frozen=True, kw_only=True)
class StochasticReport(LayerReport):
    """What a layer did for one input, and what its neurons took.

    Attributes
    ----------
    writes, reads : int
        Write pulses and reads of the neurons: one each per neuron and step.
    resets : int
        Reset pulses: of neurons that switched, which are those that spiked.
    """

    writes: int
    reads: int
    resets: int


class StochasticCost(CostModel):
    """Memories and cycles of `network` on stochastic neurons; parameters and errors as of `CostModel`."""

    reports = StochasticReport

    def _work(self, inputs: np.ndarray, spikes: list[np.ndarray]) -> list[list[dict]]:
        """Fields of `StochasticReport` for each layer and input."""
        found = super()._work(inputs, spikes)
        for work, after in zip(found, spikes, strict=True):
            pulses = after.shape[1] * after.shape[2]
            for report, resets in zip(work, after.sum(axis=(1, 2), dtype=np.int64).tolist(), strict=True):
                report |= {"writes": pulses, "reads": pulses, "resets": resets}
        return found
