"""A layer on a memristor crossbar: the numbers that gateware, analog models and export share."""

import hashlib
from dataclasses import dataclass

from ..errors import InputError
from ..network.integer import IntegerLayer
from ..windows import WindowTiming
from .write_verify import WriteVerifyPlan

__all__ = ["CrossbarPlan"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossbarPlan:
    """One layer on one array.

    Members
    -------
    layer : the network's layer: what the programmed array stands for.
    timing : its times in clock cycles.
    steps : of a window.
    cells : in parallel per synapse.
    stamps : whether time stamps leave on a stream of their own.
    clears : whether membranes start each input at rest.
    """

    layer: IntegerLayer
    timing: WindowTiming
    steps: int
    write_verify: WriteVerifyPlan
    cells: int = 2
    stamps: bool = False
    clears: bool = True

    def __post_init__(self):
        if self.steps < 1:
            raise InputError(f"steps: {self.steps} were given; accepted: at least 1")

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self.layer.name

    @property
    def rows(self) -> int:
        """Rows of the array."""
        return self.layer.fan_in

    @property
    def columns(self) -> int:
        """Columns of the array, in synapses."""
        return self.layer.neurons

    @property
    def input_addresses(self) -> int:
        """Addresses of the engine's input lie below this."""
        return self.layer.fan_in

    @property
    def output_addresses(self) -> int:
        """Addresses of the engine's output lie below this."""
        return self.layer.neurons

    @property
    def queue_rows(self) -> int:
        """Rows of the queue behind the capture.

        A window brings one row per step, at most `steps`, and starts only when all of them have room: a neuron fires
        at most once in a step (`WindowTiming`), so a row of a flag per neuron holds all spikes of one. Two windows
        fit, so that one can be captured while the one before it leaves.
        """
        return 2 * self.steps
