"""A layer on a memristor crossbar: the numbers that gateware, analog models and export share."""

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from ..config import CrossbarConfig
from ..errors import InputError
from ..network.integer import IntegerLayer, IntegerNetwork
from ..windows import WindowTiming
from .plan import LayerPlan
from .write_verify import WriteVerifyPlan

__all__ = ["CrossbarPlan", "crossbar_timing", "place_crossbar", "relative_weights"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CrossbarPlan(LayerPlan):
    """One layer on one array.

    Members
    -------
    timing : its times in clock cycles. steps : of a window. cells : in parallel per synapse.
    stamps : whether time stamps leave on a stream of their own.
    """

    timing: WindowTiming
    steps: int
    write_verify: WriteVerifyPlan
    cells: int = 2
    stamps: bool = False

    @property
    def rows(self) -> int:
        """Rows of the array."""
        return self.layer.fan_in

    @property
    def columns(self) -> int:
        """Columns of the array, in synapses."""
        return self.layer.neurons

    @property
    def queue_rows(self) -> int:
        """Rows of the queue behind the capture.

        A window brings one row per step, at most `steps`, and starts only when all of them have room; a neuron fires
        at most once in a step (`WindowTiming`), so a row of a flag per neuron holds all spikes of one. Two windows
        fit, so that one can be captured while the one before it leaves.
        """
        return 2 * self.steps

    @property
    def flag_bits(self) -> int:
        """Bits of a row of that queue."""
        stamp = (self.timing.step - 1).bit_length() if self.stamps else 0
        return self.columns * (1 + stamp) + 1

    @property
    def cycles(self) -> int:
        """Clock cycles of analog time in the longest window."""
        return self.steps * self.timing.step

    # Potentials are charges on capacitors and weights are conductances: neither takes a bit here.

    @property
    def weight_depth(self) -> int:
        """0: no row of weights is stored."""
        return 0

    @cached_property
    def neuron_bits(self) -> np.ndarray:
        """0 for each neuron."""
        return np.zeros(self.layer.neurons, np.int64)

    @cached_property
    def lane_bits(self) -> tuple[int, ...]:
        """0 for each neuron."""
        return (0,) * self.lanes

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        return {
            "engine": "crossbar",
            "name": self.name,
            "rows": self.rows,
            "columns": self.columns,
            "cells": self.cells,
            "timing": asdict(self.timing),
            "steps": self.steps,
            "stamps": self.stamps,
            "clears": self.clears,
            "write_verify": asdict(self.write_verify),
        }


def crossbar_timing(core: CrossbarConfig) -> WindowTiming:
    """The times of `core` in clock cycles.

    Raises
    ------
    InputError
        For a pulse or a reset that is longer than the time step, or rounds to no cycle at all.
    """
    for name in ("pulse_ns", "reset_ns"):
        if getattr(core, name) > core.step_ns:
            raise InputError(
                f"core.{name}: {getattr(core, name):g} was given; accepted: at most step_ns, {core.step_ns:g}"
            )
    clock = core.clock_mhz * 1e6
    try:
        return WindowTiming.from_seconds(
            clock, step=core.step_ns * 1e-9, pulse=core.pulse_ns * 1e-9, reset=core.reset_ns * 1e-9,
            dead=core.dead_ns * 1e-9,
        )  # fmt: skip
    except InputError as error:
        raise InputError(f"core: at {core.clock_mhz:g} MHz, {error}") from error


def relative_weights(layer: IntegerLayer) -> np.ndarray:
    """Weights over the threshold of their neuron, float64 [neurons, sources]: what conductances are made from."""
    threshold = np.broadcast_to(np.asarray(layer.threshold, np.float64), (layer.neurons,))
    return np.asarray(layer.connections[0].weights, np.float64) / threshold[:, None]


def place_crossbar(
    network: IntegerNetwork, core: CrossbarConfig, *, steps: int, direct: bool
) -> tuple[CrossbarPlan, ...]:
    """An array for each layer.

    Raises
    ------
    InputError
        For a layer that is not dense, integrate-and-fire, reset to zero, without bias and with weights of at least 0;
        for one that does not fit the tile, and for times that do not fit a step.
    """
    for key, accepted in (("weights", "fixed"), ("parameters", "fixed")):
        if getattr(core, key) != accepted:
            raise InputError(
                f"core.{key}: {getattr(core, key)!r} was given; accepted on a crossbar is {accepted!r}: conductances "
                "are programmed through the command stream, neurons are circuits"
            )
    if core.probe:
        raise InputError("core.probe: true was given; accepted on a crossbar is false: its potentials are analog")
    if direct:
        raise InputError("input.coding: 'current' was given; accepted on a crossbar: codings by spikes")
    if network.state != "clear":
        raise InputError(
            f"network.state: {network.state!r} was given; accepted on a crossbar is 'clear': between windows nothing "
            "is known of the charge on a capacitor"
        )
    timing = crossbar_timing(core)
    before, plans = "input", []
    for layer in network.layers:

        def refuse(given: str, accepted: str, layer: IntegerLayer = layer) -> None:
            raise InputError(f"layer {layer.name!r}: {given}; accepted on a crossbar: {accepted}")

        if not layer.is_plain or list(network.sources(layer)) != [before] or layer.connections[0].delay:
            refuse("not dense, or hears others than the layer before it", "dense layers in a chain")
        if layer.threshold is None:
            refuse("a read-out", "neurons that fire")
        if layer.leak.kind != "none" or layer.reset != "zero":
            refuse(f"leak {layer.leak.kind}, reset {layer.reset}", "leak none, reset zero (integrate and fire)")
        if layer.bias.any():
            refuse("a bias", "no bias")
        if layer.max_count != 1:
            refuse(f"max_count {layer.max_count}", "spikes of 0 or 1")
        if layer.connections[0].weights.min() < 0:
            refuse(
                f"a weight of {int(layer.connections[0].weights.min())}",
                "weights of at least 0 (the array is single-ended)",
            )
        if layer.fan_in > core.tile_rows or layer.neurons > core.tile_columns:
            refuse(
                f"{layer.fan_in} rows and {layer.neurons} columns",
                f"up to tile_rows = {core.tile_rows} and tile_columns = {core.tile_columns}",
            )
        plans.append(
            CrossbarPlan(
                layer=layer,
                lanes=layer.neurons,
                weights="fixed",
                parameters="fixed",
                direct=False,
                clears=network.state == "clear",
                timing=timing,
                steps=steps,
                stamps=core.stamps,
                cells=core.cells,
                write_verify=WriteVerifyPlan(tolerance=core.tolerance, most_pulses=core.most_pulses),
            )
        )
        before = layer.name
    return tuple(plans)
