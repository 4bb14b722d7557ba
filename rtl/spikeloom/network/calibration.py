"""Inputs that a trained network and its integers are both run on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import InputError
from .coding import CodingOptions, EventRecording, current, encode_spikes, listening
from .float_network import FloatNetwork, simulate_float
from .integer import IntegerLayer, IntegerNetwork
from .reference import DecisionKind, Trace, simulate

__all__ = ["Calibration", "calibrate"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """Inputs that both networks are run on.

    Parameters
    ----------
    spikes : uint8 array [B, T, inputs]
        Coded inputs, B at least 1.
    values : float array [B, inputs], optional
        For direct current: what the first layer's weights multiply; `spikes` are then 0.
    labels : int array [B], optional
        Classes, for the accuracy.
    decision : str, optional
        count, first or value; by default value for a read-out, else count.

    Raises
    ------
    InputError
        Where the arrays do not fit each other.
    """

    spikes: np.ndarray
    values: np.ndarray | None = None
    labels: np.ndarray | None = None
    decision: DecisionKind | None = None

    def __post_init__(self):
        shape = np.shape(self.spikes)
        if len(shape) != 3 or 0 in shape:
            raise InputError(
                f"calibration spikes of shape {shape}: accepted is [samples, steps, inputs], none of them 0"
            )
        for what in ("values", "labels"):
            array = getattr(self, what)
            if array is not None and len(array) != shape[0]:
                raise InputError(f"calibration {what} for {len(array)} samples: accepted are {shape[0]}, one per input")

    def run(self, part: slice, network: IntegerNetwork) -> Trace:
        """Spikes and potentials of the integer network on some of the inputs."""
        return simulate(network, self.spikes[part], current=self.direct(part, network.layers[0]), potentials=True)

    def run_float(self, part: slice, network: FloatNetwork, state: Literal["clear", "keep"]) -> Trace:
        """Spikes and potentials of the real-valued network on some of the inputs."""
        direct = None
        if self.values is not None:
            values = np.asarray(self.values[part], np.float64)
            direct = (listening(network.layers[0]).matrix @ values.T).T
        return simulate_float(network, self.spikes[part], current=direct, potentials=True, state=state)

    def direct(self, part: slice, first: IntegerLayer) -> np.ndarray | None:
        """Direct current int [B, neurons] of some of the inputs into the first layer, if there is any."""
        return None if self.values is None else current(self.values[part], first)


def calibrate(
    options: CodingOptions,
    values: np.ndarray | list[EventRecording],
    inputs: int,
    *,
    labels: np.ndarray | None = None,
    decision: DecisionKind | None = None,
    first_index: int = 0,
) -> Calibration:
    """Calibration data from uncoded inputs: `values` float [B, inputs] in [0, 1], or recordings for `events`.

    Raises
    ------
    InputError
        Where the inputs do not fit the options or the network's `inputs` addresses.
    """
    return Calibration(
        spikes=encode_spikes(options, values, inputs, first_index=first_index),
        values=np.asarray(values, np.float64) if options.coding == "current" else None,
        labels=labels,
        decision=decision,
    )
