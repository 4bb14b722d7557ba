"""Networks of crossbars and switching neurons on many chips, in integers.

A layer has an array of pairs of cells, K rows and a pair of columns for each of its channels, and a device per channel.
A convolution plays the patch of each position of its map to the one array, in the order of positions: the devices have
no memory, so they serve one position after the other. A dense layer has one position.

The physics is rounded once, into tables in units of `QUANTUM` volts; from then on there are integers only::

    v = clamp(bias_n + sum_i s_i table_in, 0, clamp)      switched = v >= threshold

The threshold of a write is drawn from the Philox stream of (chip, layer, `Purpose.SWITCH`), counter = number of the
input: step by step, position by position, channel by channel, waits first, then noise. So a write depends on nothing
but what it is for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from spikeloom.errors import InputError
from spikeloom.network.float_network import HALF, FloatLayer, FloatNetwork

from .checks import not_negative
from .crossbar import Wire
from .devices import Device
from .laws import PowerLawDrift, RelativeNoise
from .streams import Purpose, Streams, chip_seeds, normals
from .switching_neuron import SwitchingNeuron
from .tiles import TiledCrossbar

__all__ = ["QUANTUM", "Patches", "StochasticChips", "StochasticLayer", "ideal_neuron", "synapse"]

QUANTUM = 1e-5
"""V of one unit."""
BLOCK = 1 << 22
"""Numbers of the largest array at a time."""
TILES = 1 << 12
"""Cores of the tiles of one layer lie below those of the next one."""


def synapse(*, levels: int | None = 16, sigma: float = 0.1, drift: bool = True) -> Device:
    """A cell of 1 to 20 uS: levels, relative spread of what is programmed, loss with time. Assumed, like no device."""
    return Device(
        name=f"levels{levels}",
        g_min=1e-6,
        g_max=20e-6,
        levels=levels,
        programming=(RelativeNoise(sigma),) if sigma else (),
        drift=PowerLawDrift(t0=20.0, mean=(0.0, 0.005), mean_range=(0.005, 0.005), spread=(0.0, 0.003),
                            spread_range=(0.003, 0.003)) if drift else None,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Where the rows of an array come from: a kernel that moves over a padded map; a dense layer has one position."""

    source: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def of(cls, layer: FloatLayer) -> "Patches":
        """Of a layer with one connection; InputError for one that an array does not do."""
        (connection, *others) = layer.connections
        if others or connection.delay or connection.groups != 1 or connection.pool != (1, 1):
            raise InputError(
                f"layer {layer.name!r}: {1 + len(others)} connections, delay {connection.delay}, groups "
                f"{connection.groups}, pool {list(connection.pool)}; accepted for an array: 1, 0, 1, [1, 1]"
            )
        shape = tuple(connection.source_shape or ())
        source = (shape[0], 1, 1) if len(shape) == 1 else shape
        if not connection.is_convolution:
            return cls(source=source, kernel=source[1:], stride=(1, 1), padding=(0, 0))  # type: ignore[arg-type]
        return cls(
            source=source,  # type: ignore[arg-type]
            kernel=connection.weights.shape[2:],  # type: ignore[arg-type]
            stride=tuple(connection.stride),  # type: ignore[arg-type]
            padding=tuple(connection.padding),  # type: ignore[arg-type]
        )

    @property
    def rows(self) -> int:
        """K: sources of a position."""
        return self.source[0] * self.kernel[0] * self.kernel[1]

    @property
    def map(self) -> tuple[int, int]:
        """Height and width of the target."""
        return tuple(
            (size + 2 * pad - kernel) // step + 1
            for size, pad, kernel, step in zip(self.source[1:], self.padding, self.kernel, self.stride, strict=True)
        )  # type: ignore[return-value]

    @property
    def positions(self) -> int:
        """Positions of the target map."""
        return self.map[0] * self.map[1]

    def take(self, spikes: np.ndarray) -> np.ndarray:
        """Rows [..., positions, K] of spikes [..., sources], in canonical order."""
        lead = spikes.shape[:-1]
        maps = spikes.reshape(-1, *self.source)
        if any(self.padding):
            pad = [(0, 0), (0, 0), *((p, p) for p in self.padding)]
            maps = np.pad(maps, pad)
        windows = np.lib.stride_tricks.sliding_window_view(maps, self.kernel, axis=(2, 3))  # type: ignore[arg-type]
        windows = windows[:, :, :: self.stride[0], :: self.stride[1]].transpose(0, 2, 3, 1, 4, 5)
        return windows.reshape(*lead, self.positions, self.rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class StochasticLayer:
    """One layer on C chips: `table` int64 [C, K, N], `bias` int64 [C, N], `v0` and `ln_tau0` of the devices [C, N]."""

    name: str
    index: int
    patches: Patches
    neuron: SwitchingNeuron
    table: np.ndarray
    bias: np.ndarray
    v0: np.ndarray
    ln_tau0: np.ndarray
    conductance: np.ndarray
    """Sum of all cells of a row [S], [K], without errors: what a driven row draws."""
    seeds: tuple[int, ...]

    @property
    def channels(self) -> int:
        """N."""
        return self.table.shape[2]

    @cached_property
    def clamp(self) -> int:
        """Highest voltage in units."""
        return round(self.neuron.clamp / QUANTUM)

    @cached_property
    def _exact(self) -> type:
        """The smallest floating type in which every sum is an exact integer."""
        largest = (np.abs(self.table).sum(axis=1) + np.abs(self.bias)).max()
        return np.float32 if largest < 1 << 24 else np.float64

    @cached_property
    def _real(self) -> np.ndarray:
        """`table` in that type."""
        return self.table.astype(self._exact)

    def thresholds(self, chip: int, index: int, steps: int) -> np.ndarray:
        """Thresholds of the writes of input `index` in units, int64 [steps, positions, N]."""
        generator = self._streams.at(self.seeds[chip], index)
        shape = (steps, self.patches.positions, self.channels)
        waits = np.empty(shape)
        noise = np.empty(shape)
        for t in range(steps):  # the first steps do not depend on how many follow
            waits[t] = generator.standard_exponential(shape[1:])
            noise[t] = generator.standard_normal(shape[1:])
        volts = self.neuron.thresholds(self.v0[chip], self.ln_tau0[chip], waits, noise)
        return np.rint(volts / QUANTUM).astype(np.int64)

    @cached_property
    def _streams(self) -> Streams:
        return Streams(self.index, Purpose.SWITCH)

    def voltages(self, rows: np.ndarray, chip: int) -> np.ndarray:
        """v int64 [..., N] in units of rows [..., K]."""
        flat = rows.reshape(-1, rows.shape[-1]).astype(self._exact)
        total = flat @ self._real[chip] + self.bias[chip].astype(self._exact)
        return np.clip(total, 0, self.clamp).astype(np.int64).reshape(*rows.shape[:-1], self.channels)

    def run(self, spikes: np.ndarray, indices: Sequence[int], chip: int) -> np.ndarray:
        """Spikes uint8 [B, T, neurons] of spikes [B, T, sources], the inputs of these numbers on one chip."""
        batch, steps, _ = spikes.shape
        fired = np.empty((batch, steps, self.channels * self.patches.positions), np.uint8)
        for b in range(batch):
            v = self.voltages(self.patches.take(spikes[b]), chip)
            switched = v >= self.thresholds(chip, indices[b], steps)
            fired[b] = switched.transpose(0, 2, 1).reshape(steps, -1)
        return fired


@dataclass(frozen=True, kw_only=True, eq=False)
class StochasticChips:
    """A network of stochastic neurons on C chips."""

    layers: tuple[StochasticLayer, ...]
    seeds: tuple[int, ...]

    @classmethod
    def of(
        cls,
        network: FloatNetwork,
        *,
        neuron: SwitchingNeuron | None = None,
        device: Device | None = None,
        seeds: int | Iterable[int] = 0,
        wire: Wire | None = None,
        tile: tuple[int, int] = (64, 64),
        seconds: float = 0.0,
    ) -> "StochasticChips":
        """The chips of a trained network; `seconds` have passed since its cells were programmed.

        Raises
        ------
        InputError
            For layers that are not stochastic, or no dense layer or convolution of the layer before; seeds that are
            the same; what `SwitchingNeuron` refuses.
        """
        neuron, device, numbers = neuron or SwitchingNeuron(), device or synapse(), chip_seeds(seeds)
        if len(set(numbers)) != len(numbers):
            twice = next(seed for seed in numbers if numbers.count(seed) > 1)
            raise InputError(f"seeds: {twice} was given {numbers.count(twice)} times; accepted: every chip its own")
        not_negative("seconds", seconds, "s")
        layers, before = [], "input"
        for index, layer in enumerate(network.layers):
            if layer.cloglog is None:
                raise InputError(f"layer {layer.name!r}: neurons with potentials; accepted: stochastic ones")
            if tuple(network.sources(layer)) != (before,):
                raise InputError(f"layer {layer.name!r}: listens to {network.sources(layer)}; accepted: ({before!r},)")
            before = layer.name
            layers.append(_layer(layer, index, neuron, device, numbers, wire or Wire(), tile, seconds))
        return cls(layers=tuple(layers), seeds=numbers)

    def run(self, spikes: np.ndarray, indices: Iterable[int] | None = None, *, chip: int = 0) -> list[np.ndarray]:
        """Spikes uint8 [B, T, neurons] of each layer on one chip; `indices` number the inputs, from 0 by default."""
        numbers = list(range(len(spikes)) if indices is None else indices)
        found, given = [], spikes
        for layer in self.layers:
            given = layer.run(given, numbers, chip)
            found.append(given)
        return found

    def counts(self, spikes: np.ndarray, indices: Iterable[int] | None = None, *, chip: int = 0) -> np.ndarray:
        """Spikes of the last layer up to each step, int64 [B, T, outputs]."""
        return self.run(spikes, indices, chip=chip)[-1].cumsum(axis=1, dtype=np.int64)


def _layer(
    layer: FloatLayer, index: int, neuron: SwitchingNeuron, device: Device, seeds: tuple[int, ...], wire: Wire,
    tile: tuple[int, int], seconds: float,
) -> StochasticLayer:  # fmt: skip
    patches = Patches.of(layer)
    assert layer.cloglog is not None
    weights = layer.connections[0].weights / layer.cloglog
    matrix = weights.reshape(len(weights), -1)  # [N, K]
    # A bias of each position would take a wire each: what differs is refused.
    bias = layer.z(layer.bias).reshape(len(matrix), -1)
    if np.ptp(bias, axis=1).max() > 1e-9 * np.abs(bias).max():
        raise InputError(f"layer {layer.name!r}: biases that differ within a channel; accepted: one per channel")
    array = TiledCrossbar(matrix, device=device, tile=tile, core=index * TILES, seeds=seeds, wire=wire)
    for crossbar, _, _ in array.tiles:
        crossbar.age(seconds)
    unit = np.eye(matrix.shape[1])
    seen = array.currents(unit) / array.siemens  # [C, K, N], in units of z
    shape = (2, len(matrix))
    off = normals(seeds, shape, core=index, purpose=Purpose.DEVICE)
    v0 = neuron.v0 * (1 + neuron.sigma_v0 * off[:, 0])
    ln_tau0 = np.log(neuron.tau0) + neuron.sigma_ln_tau0 * off[:, 1]
    volts = neuron.v0 * (bias.mean(axis=1) - neuron.log_ratio)
    volts = np.broadcast_to(volts, v0.shape)
    if neuron.trim:
        half = v0 * (HALF - (np.log(neuron.write) - ln_tau0))  # where the device switches half the time
        wanted = half - neuron.v0 * (HALF - neuron.log_ratio)
        volts = volts + np.rint(wanted / neuron.trim) * neuron.trim
    pairs = device.g_min * 2 * matrix.shape[0] + np.abs(matrix).sum(axis=0) * array.siemens
    return StochasticLayer(
        name=layer.name,
        index=index,
        patches=patches,
        neuron=neuron,
        table=np.rint(seen * neuron.v0 / QUANTUM).astype(np.int64),
        bias=np.rint(volts / QUANTUM).astype(np.int64),
        v0=v0,
        ln_tau0=ln_tau0,
        conductance=pairs,
        seeds=seeds,
    )


def ideal_neuron(neuron: SwitchingNeuron | None = None) -> SwitchingNeuron:
    """The same devices without spread or noise."""
    return replace(neuron or SwitchingNeuron(), sigma_v0=0.0, sigma_ln_tau0=0.0, cycle_ln_tau0=0.0, amplifier_noise=0.0)
