"""What travels along the edges of a NIR graph while it is folded: sums of linear maps of spikes, and neurons."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .connections import Geometry
from .integer import ResetKind

__all__ = ["Population", "Signal", "Term", "as_map", "resolve", "takes", "times", "without_batch"]


@dataclass(frozen=True, kw_only=True)
class Term:
    """A linear map of the spikes of one population: pool, then `gain` or `weights`.

    `source` is INPUT or a neuron node. `weights` are None (the pooled spikes themselves, times `gain`), a matrix, or
    kernels. `shape` is the source's, with the axes that NIR gives it; (C, L) is (C, 1, L) to a convolution.
    """

    source: str
    shape: tuple[int, ...]
    delay: int = 0
    pool: tuple[int, int] = (1, 1)
    gain: np.ndarray | None = None
    weights: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1

    @property
    def plain(self) -> bool:
        """Whether the term is the spikes themselves."""
        return self.weights is None and self.gain is None and self.pool == (1, 1) and self.delay == 0

    @property
    def is_convolution(self) -> bool:
        """Whether a kernel moves over the source."""
        return self.weights is not None and self.weights.ndim == 4

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """The source as a map (C, H, W)."""
        c, *rest = self.shape
        return (c, *rest) if len(rest) == 2 else (c, 1, rest[0])  # type: ignore[return-value]

    @property
    def pooled(self) -> tuple[int, ...]:
        """Shape of the source after the pool."""
        if self.pool == (1, 1):
            return self.shape
        c, h, w = self.map_shape
        return (c, h // self.pool[0], w // self.pool[1])

    def geometry(self) -> Geometry:
        """Of a term with weights."""
        assert self.weights is not None
        shape = self.map_shape if self.is_convolution or self.pool != (1, 1) else (math.prod(self.shape),)
        return Geometry(
            weights=self.weights.shape,
            source_shape=shape,
            pool=self.pool,
            stride=self.stride,
            padding=self.padding,
            groups=self.groups,
        )


@dataclass(frozen=True, kw_only=True)
class Signal:
    """What a node sends: the sum of its terms and a bias [size]; or the potentials of the neuron `analog`.

    `shape` has the axes that Flatten has not yet removed; `nodes` are what it went through since the last neurons.
    """

    shape: tuple[int, ...]
    terms: tuple[Term, ...] = ()
    bias: np.ndarray | None = None
    nodes: tuple[str, ...] = ()
    name: str | None = None
    analog: str | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def plain(self) -> bool:
        """Whether the signal is the spikes of one population."""
        return self.bias is None and len(self.terms) == 1 and self.terms[0].plain


@dataclass(kw_only=True)
class Population:
    """Neurons on their way to a layer: potentials v <- decay v + gain (what enters) + drive, all arrays [neurons].

    `lost` is what a linear decay takes off instead. `theta` is None for a read-out; `current_decay` is None without a
    synaptic current, into which `gain` then goes; `width` is None where spikes do not come at random.
    """

    key: str
    enters: Signal
    gain: np.ndarray
    drive: np.ndarray
    decay: np.ndarray
    lost: np.ndarray
    theta: np.ndarray | None
    reset: ResetKind
    current_decay: np.ndarray | None = None
    width: np.ndarray | None = None
    nodes: tuple[str, ...] = ()


def takes(term: Term, factor: np.ndarray) -> bool:
    """Whether the weights of a term can take a factor per target."""
    if term.weights is None:
        channels = term.pooled[0] if len(term.pooled) == 3 else 0
    else:
        channels = len(term.weights) if term.is_convolution else 0
    if not channels:
        return True
    if term.weights is None and term.gain is not None:
        factor = factor * term.gain
    table = factor.reshape(channels, -1)
    return bool((table == table[:, :1]).all())


def times(term: Term, factor: np.ndarray) -> Term:
    """A term with weights that hold its gain and a factor per target, which they take."""
    weights = term.weights
    if weights is None:
        factor = factor if term.gain is None else factor * term.gain
        if len(term.pooled) != 3:
            return replace(term, gain=None, weights=np.diag(factor))
        channels = term.pooled[0]  # each element to itself: a kernel of one weight per channel
        kernels = factor.reshape(channels, -1)[:, :1, None, None]
        return replace(term, gain=None, weights=kernels, groups=channels)
    if term.is_convolution:
        return replace(term, weights=weights * factor.reshape(len(weights), -1)[:, :1, None, None])
    return replace(term, weights=weights * factor[:, None])


def resolve(term: Term, aliases: Mapping[str, Term]) -> Term:
    """A term whose source is no threshold that only passes spikes on."""
    while term.source in aliases:
        passed = aliases[term.source]
        term = replace(term, source=passed.source, delay=term.delay + passed.delay)
    return term


def without_batch(shape: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """`shape` without the axes of length 1 before its last `axes`, which some exporters keep."""
    while len(shape) > axes and shape[0] == 1:
        shape = shape[1:]
    return shape


def as_map(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(C, H, W) of a map or, with H = 1, of a sequence (C, L)."""
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape
