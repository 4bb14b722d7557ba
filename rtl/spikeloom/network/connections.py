"""How spikes reach a layer: dense and convolutional connections.

Cost: the matrix of a connection holds O(weights) entries where it is dense and O(targets * kernel) for a convolution.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from ..errors import InputError

__all__ = ["Connection", "FloatConnection", "Geometry", "Synapses"]


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Which sources reach which targets, without the weights.

    A population is (N,), or a map (C, H, W) whose neuron (c, y, x) has number ``(c H + y) W + x``, the order in which
    NIR and PyTorch flatten. Spikes are first summed over windows of `pool` that do not overlap (what a last window
    lacks is dropped). Then::

        dense        target n              sum over all pooled sources i of w[n, i]
        convolution  target (o, y, x)      sum over i, ky, kx of w[o, i, ky, kx] at source
                                           (g I + i, y stride + ky - padding, x stride + kx - padding)

    with I source channels per group and g the group of o.

    Parameters
    ----------
    weights : shape of the weights
        (neurons, pooled sources), or (channels, source channels of a group, kernel height, kernel width).
    source_shape : tuple of int
        (N,) or (C, H, W).

    Raises
    ------
    InputError
        Where these do not fit each other.
    """

    weights: tuple[int, ...]
    source_shape: tuple[int, ...]
    pool: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    def __post_init__(self):
        source = self.source_shape
        if len(source) not in (1, 3) or min(source) < 1:
            raise InputError(f"source of shape {list(source)}: accepted are [neurons] and [channels, height, width]")
        if len(self.weights) not in (2, 4) or min(self.weights) < 1:
            raise InputError(
                f"weights of shape {list(self.weights)}: accepted are [neurons, sources] and "
                "[channels, source channels of a group, kernel height, kernel width]"
            )
        for name in ("pool", "stride"):
            if min(getattr(self, name)) < 1:
                raise InputError(f"{name} {list(getattr(self, name))}: accepted are numbers of at least 1")
        if len(source) == 1 and tuple(self.pool) != (1, 1):
            raise InputError(f"a pool of {list(self.pool)} over a flat source: accepted is a source of shape [C, H, W]")
        if min(self.pooled_shape) < 1:
            raise InputError(f"a pool of {list(self.pool)} over a map of {list(source)}: accepted is at most the map")
        if not self.is_convolution:
            if tuple(self.stride) != (1, 1) or tuple(self.padding) != (0, 0) or self.groups != 1:
                raise InputError("stride, padding or groups of a dense connection: accepted are those of a convolution")
            if self.weights[1] != math.prod(self.pooled_shape):
                raise InputError(
                    f"weights of shape {list(self.weights)} from {math.prod(self.pooled_shape)} sources "
                    f"({list(source)}): accepted is one column for each"
                )
            return
        if len(source) != 3:
            raise InputError(f"a convolution over a source of shape {list(source)}: accepted is [C, H, W]")
        if not (min(self.padding) >= 0 and self.groups >= 1):
            raise InputError(f"padding {list(self.padding)}, groups {self.groups}: accepted are at least 0 and 1")
        channels, inner = self.weights[0], self.weights[1]
        if channels % self.groups or inner * self.groups != source[0]:
            raise InputError(
                f"{self.groups} groups with weights of shape {list(self.weights)} from {source[0]} channels: accepted "
                "are groups that divide both numbers of channels, and weights for the source channels of one group"
            )
        pooled = self.pooled_shape[1:]
        for axis, (size, kernel, padding) in enumerate(zip(pooled, self.weights[2:], self.padding, strict=True)):
            if kernel > size + 2 * padding:
                raise InputError(
                    f"a kernel of {kernel} over {'height' if axis == 0 else 'width'} {size} with padding {padding}: "
                    f"accepted is a kernel of at most {size + 2 * padding}"
                )

    @property
    def is_convolution(self) -> bool:
        """Whether a kernel moves over the source."""
        return len(self.weights) == 4

    @property
    def sources(self) -> int:
        """Size of the source population."""
        return math.prod(self.source_shape)

    @property
    def pooled_shape(self) -> tuple[int, ...]:
        """Shape of the source after pooling."""
        if len(self.source_shape) == 1:
            return tuple(self.source_shape)
        channels, height, width = self.source_shape
        return channels, height // self.pool[0], width // self.pool[1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the targets: (neurons,), or (channels, height, width) of a convolution."""
        if not self.is_convolution:
            return (self.weights[0],)
        sizes = (
            (size + 2 * padding - kernel) // stride + 1
            for size, padding, kernel, stride in zip(
                self.pooled_shape[1:], self.padding, self.weights[2:], self.stride, strict=True
            )
        )
        return (self.weights[0], *sizes)

    @property
    def neurons(self) -> int:
        """Number of targets."""
        return math.prod(self.shape)

    def matrix(self, weights: np.ndarray) -> sparse.csr_array:
        """The connection as a sparse matrix [targets, sources] of the type of `weights`."""
        pooled = self._pooled_index()
        if not self.is_convolution:
            used = np.flatnonzero(pooled >= 0)
            dense = np.zeros((self.weights[0], self.sources), weights.dtype)
            dense[:, used] = weights[:, pooled[used]]
            return sparse.csr_array(dense)
        channels, inner, high, wide = self.weights
        _, height, width = self.pooled_shape
        _, rows, columns = self.shape
        o, i, ky, kx, y, x = np.meshgrid(
            *(np.arange(n) for n in (channels, inner, high, wide, rows, columns)), indexing="ij", sparse=True
        )
        sy, sx = y * self.stride[0] + ky - self.padding[0], x * self.stride[1] + kx - self.padding[1]
        inside = (sy >= 0) & (sy < height) & (sx >= 0) & (sx < width)
        source = ((o // (channels // self.groups) * inner + i) * height + sy) * width + sx
        target = (o * rows + y) * columns + x
        full = np.broadcast_shapes(source.shape, target.shape, inside.shape)
        chosen = np.broadcast_to(inside, full)
        values = np.broadcast_to(weights[:, :, :, :, None, None], full)[chosen]
        coordinates = (np.broadcast_to(target, full)[chosen], np.broadcast_to(source, full)[chosen])
        matrix = sparse.csr_array((values, coordinates), shape=(self.neurons, math.prod(self.pooled_shape)))
        if tuple(self.pool) == (1, 1):
            return matrix
        used = np.flatnonzero(pooled >= 0)
        ones = np.ones(len(used), weights.dtype)
        summing = sparse.csr_array((ones, (pooled[used], used)), shape=(math.prod(self.pooled_shape), self.sources))
        return sparse.csr_array(matrix @ summing)

    def _pooled_index(self) -> np.ndarray:
        """Number of the pooled source that each source is summed into; -1 where it is dropped."""
        if len(self.source_shape) == 1:
            return np.arange(self.sources)
        c, y, x = np.indices(self.source_shape)
        _, height, width = self.pooled_shape
        y, x = y // self.pool[0], x // self.pool[1]
        return np.where((y < height) & (x < width), (c * height + y) * width + x, -1).reshape(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Synapses:
    """Weights from one population to a layer; the base of `Connection` (integers) and `FloatConnection`.

    Parameters
    ----------
    weights : array
        [neurons, pooled sources] (dense), or [channels, source channels of a group, kernel height, kernel width].
    source : str or None
        The layer whose spikes arrive, or "input"; None: the layer before (the input for the first).
    delay : int
        Steps: step t integrates the source's spikes of step t - delay.
    source_shape, pool, stride, padding, groups
        See `Geometry`. The shape of a dense connection's source is flat by default.

    Raises
    ------
    InputError
        Where these do not fit each other.
    """

    weights: np.ndarray
    source: str | None = None
    delay: int = 0
    source_shape: tuple[int, ...] | None = None
    pool: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    def __post_init__(self):
        weights = self._checked(np.array(self.weights))
        weights.flags.writeable = False
        object.__setattr__(self, "weights", weights)
        if self.source_shape is None:
            if weights.ndim == 4:
                raise InputError("a convolution needs the shape of its source; accepted is source_shape = (C, H, W)")
            object.__setattr__(self, "source_shape", (weights.shape[1],))
        if self.delay < 0:
            raise InputError(f"delay = {self.delay}: accepted is at least 0 steps")
        _ = self.geometry

    @staticmethod
    def _checked(weights: np.ndarray) -> np.ndarray:
        """The weights in their type, or InputError."""
        raise NotImplementedError

    @cached_property
    def geometry(self) -> Geometry:
        """Which sources reach which targets."""
        assert self.source_shape is not None
        return Geometry(
            weights=self.weights.shape,
            source_shape=tuple(self.source_shape),
            pool=tuple(self.pool),  # type: ignore[arg-type]
            stride=tuple(self.stride),  # type: ignore[arg-type]
            padding=tuple(self.padding),  # type: ignore[arg-type]
            groups=self.groups,
        )

    @property
    def is_convolution(self) -> bool:
        """Whether a kernel moves over the source."""
        return self.geometry.is_convolution

    @property
    def sources(self) -> int:
        """Size of the source population."""
        return self.geometry.sources

    @property
    def pooled_shape(self) -> tuple[int, ...]:
        """Shape of the source after pooling."""
        return self.geometry.pooled_shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the targets."""
        return self.geometry.shape

    @property
    def neurons(self) -> int:
        """Number of targets."""
        return self.geometry.neurons

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """The connection as a sparse matrix [neurons, sources]."""
        return self.geometry.matrix(self.weights)

    @cached_property
    def fan_out(self) -> np.ndarray:
        """Weights other than 0 that a spike of each source meets, int64 [sources]."""
        matrix = self.matrix
        return np.bincount(matrix.indices[matrix.data != 0], minlength=self.sources).astype(np.int64)

    def sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Sum of the negative and of the positive weights of each target, int64 [neurons] each."""
        if not self.is_convolution and self.sources == self.weights.shape[1]:
            return np.minimum(self.weights, 0).sum(axis=1), np.maximum(self.weights, 0).sum(axis=1)
        ones = np.ones(self.sources, self.weights.dtype)
        return self.matrix.minimum(0) @ ones, self.matrix.maximum(0) @ ones


class Connection(Synapses):
    """Synapses with integer weights."""

    @staticmethod
    def _checked(weights: np.ndarray) -> np.ndarray:
        if weights.ndim not in (2, 4) or 0 in weights.shape or weights.dtype.kind not in "iu":
            raise InputError(
                f"weights of shape {weights.shape} and type {weights.dtype}: accepted is [neurons, fan_in] or "
                "[channels, source channels of a group, kernel height, kernel width] of integers"
            )
        if max(abs(int(weights.min())), abs(int(weights.max()))) >= 1 << 62:
            raise InputError(f"weights from {weights.min()} to {weights.max()} need more than 62 bits")
        return weights.astype(np.int64)


class FloatConnection(Synapses):
    """Synapses with real weights, float64."""

    @staticmethod
    def _checked(weights: np.ndarray) -> np.ndarray:
        if weights.ndim not in (2, 4) or 0 in weights.shape or weights.dtype.kind not in "iuf":
            raise InputError(
                f"weights of shape {weights.shape}: accepted is [neurons, fan_in] or "
                "[channels, source channels of a group, kernel height, kernel width]"
            )
        weights = weights.astype(np.float64)
        if not np.isfinite(weights).all():
            index = tuple(int(i) for i in np.argwhere(~np.isfinite(weights))[0])
            raise InputError(f"weights{list(index)} = {weights[index]}: accepted are finite numbers")
        return weights
