"""How the networks of the zoo are trained: one table entry each."""

import itertools
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import InputError
from . import sequence
from .connections import Connection
from .integer import IntegerLayer, Leak

__all__ = [
    "RECIPES",
    "AnyRecipe",
    "EventRecipe",
    "EvolutionRecipe",
    "FittedRecipe",
    "Recipe",
    "SequenceRecipe",
    "StochasticRecipe",
]

EVENT_SHAPES = {"nmnist": (2, 34, 34), "moving": (2, 128, 128)}
"""(polarities, height, width) of the recordings of a data set."""
PRUNE_FROM, PRUNE_TO = 0.2, 0.6
"""Shares of the batches between which weights are pruned: those that stay are trained before, meanwhile and after."""


def convolution_maps(
    first: tuple[int, int, int], channels: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[tuple[int, int, int], ...]:
    """(channels, height, width) of the input map `first` and of each convolution, padded by half its kernel."""
    maps = [first]
    for count, size, step in zip(channels, kernel, stride, strict=True):
        _, height, width = maps[-1]
        high, wide = ((extent + 2 * (size // 2) - size) // step + 1 for extent in (height, width))
        maps.append((count, high, wide))
    return tuple(maps)


@dataclass(frozen=True, kw_only=True)
class FittedRecipe:
    """What every recipe has that gradients train: the leak of the potentials, and pruning.

    Parameters
    ----------
    leak : str
        shift: a step leaves v - (v >> k). linear: it leaves v - sign(v) min(abs(v), d).
    leak_shift : tuple of int
        k of each layer.
    linear_decay : tuple of int, optional
        d of each layer, at least 1 and at most the threshold; by default what the shift takes off half the threshold,
        theta / 2**(k + 1), so that the two kinds of leak can be compared under one recipe.
    learn_decay : bool
        Train d along with the weights, from there.
    threshold : tuple of int
        theta of each layer.
    prune : tuple of float
        Share of each array of weights that the training sets to 0, the smallest magnitudes first: none up to
        `PRUNE_FROM` of the batches, then more with each batch, all from `PRUNE_TO` on; none is pruned without it.

    Raises
    ------
    InputError
        Where these do not fit each other.
    """

    leak: Literal["shift", "linear"] = "shift"
    leak_shift: tuple[int, ...]
    linear_decay: tuple[int, ...] | None = None
    learn_decay: bool = False
    threshold: tuple[int, ...]
    prune: tuple[float, ...] = ()

    def __post_init__(self):
        if not all(0 <= share < 1 for share in self.prune):
            raise InputError(f"prune = {self.prune}: accepted are shares of at least 0 and below 1")
        if self.leak not in ("shift", "linear"):
            raise InputError(f"leak = {self.leak!r}: accepted are shift, linear")
        if self.leak != "linear" and (self.learn_decay or self.linear_decay is not None):
            raise InputError(f"a linear decay with leak = {self.leak!r}; accepted is leak = 'linear'")
        given = self.linear_decay
        if given is not None and (
            len(given) != len(self.threshold)
            or not all(1 <= d <= theta for d, theta in zip(given, self.threshold, strict=True))
        ):
            raise InputError(
                f"linear_decay = {given}: accepted is an integer of at least 1 for each of {len(self.threshold)} "
                f"layers, at most their thresholds {self.threshold}"
            )

    def pruned(self, done: float) -> tuple[float, ...]:
        """The share of each array that is 0 when this share of the batches is done; none for a recipe without pruning.

        S (1 - (1 - p)**3), p from 0 to 1 between `PRUNE_FROM` and `PRUNE_TO` (Zhu and Gupta, "To prune, or not to
        prune", 2017): fast while many weights matter little, slow towards the end.
        """
        part = min(1.0, max(0.0, (done - PRUNE_FROM) / (PRUNE_TO - PRUNE_FROM)))
        return tuple(share * (1 - (1 - part) ** 3) for share in self.prune)

    def amounts(self) -> tuple[int, ...]:
        """d of each layer before training; none for the shift."""
        if self.leak != "linear":
            return ()
        if self.linear_decay is not None:
            return self.linear_decay
        return tuple(max(1, theta >> (k + 1)) for theta, k in zip(self.threshold, self.leak_shift, strict=True))

    def leak_of(self, layer: int, amounts: tuple[int, ...] | None = None) -> Leak:
        """The leak of a layer, with the d that training found."""
        if self.leak == "linear":
            return Leak(kind="linear", amount=(amounts or self.amounts())[layer])
        return Leak(kind="shift", shifts=(self.leak_shift[layer],))


@dataclass(frozen=True, kw_only=True)
class Recipe(FittedRecipe):
    """How a network with one hidden layer is trained. Pairs hold the value of the hidden and of the output layer.

    Parameters
    ----------
    data : str
        digits or mnist.
    hidden : int
        Neurons of the hidden layer.
    weight_bits, potential_bits : int
        Widths, of both layers.
    threshold : (int, int)
        theta, powers of two: cheap comparators, and weights that are exact in any float.
    leak, leak_shift, linear_decay, learn_decay, prune
        See `FittedRecipe`.
    steps, max_rate : int, float
        Rate coding in training, and of the accuracy that is reported.
    also : tuple of (steps, max_rate)
        Other input codings to measure.
    epochs, batch, learning_rate : int, int, float
        Adam, one cycle.
    cycle : int, optional
        Epochs of that cycle, of which the first `epochs` are trained; all by default.
    start : str, optional
        A network of the zoo whose weights come first; random ones by default.
    samples : int, optional
        Train with the first so many pictures; with all by default.
    levels : int, optional
        Distinct weights of all layers together: k-means of the first weights, whose centres are then trained along with
        them.
    distortion : float
        Strength of random rotation, scaling, shear and shift of the training pictures; 0 is none, 1 is 10 degrees.
    accumulator_bits : (int, int) or None
        Widest accumulators that are wanted; weights that need more are penalised.
    hidden_limit : float or None
        Hidden spikes per step, summed over the layer and averaged over pictures, above which they are penalised.
    noise_events : tuple of int
        Numbers of random input events per step on which the hidden layer should stay quiet.
    noise_limit : float
        Hidden spikes per step on such noise above which they are penalised.
    """

    data: Literal["digits", "mnist"]
    hidden: int
    weight_bits: int
    potential_bits: int
    steps: int
    max_rate: float
    also: tuple[tuple[int, float], ...] = ()
    epochs: int
    batch: int
    learning_rate: float
    distortion: float = 1.0
    accumulator_bits: tuple[int, int] | None = None
    hidden_limit: float | None = None
    noise_events: tuple[int, ...] = ()
    noise_limit: float = 1.0
    cycle: int | None = None
    start: str | None = None
    samples: int | None = None
    levels: int | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.levels is not None and not (2 <= self.levels <= 256 and self.start is not None):
            raise InputError(
                f"levels = {self.levels}: accepted are 2 to 256 distinct weights, of a network to start with"
            )
        if self.cycle is not None and self.cycle < self.epochs:
            raise InputError(f"cycle = {self.cycle}: accepted is at least the {self.epochs} epochs that are trained")

    def layers(self, weights: list[np.ndarray], amounts: tuple[int, ...] | None = None) -> tuple[IntegerLayer, ...]:
        """The layers with these integer weights, [neurons, fan_in] each, and these linear decays."""
        return tuple(
            IntegerLayer.dense(
                name=f"fc{index + 1}",
                weights=array,
                weight_bits=self.weight_bits,
                potential_bits=self.potential_bits,
                leak=self.leak_of(index, amounts),
                reset="zero",
                threshold=self.threshold[index],
            )
            for index, array in enumerate(weights)
        )


@dataclass(frozen=True, kw_only=True)
class EventRecipe(FittedRecipe):
    """A network on recorded events: convolutions, then fully connected layers, the last one that of the classes.

    There may be no convolution. Tuples hold one value per layer.

    Parameters
    ----------
    data : str
        nmnist or moving.
    channels, kernel, stride : tuple of int
        Of the convolutions; a padding of half the kernel keeps the edges.
    hidden : tuple of int
        Neurons of the fully connected layers before that of the classes.
    weight_bits, potential_bits : int
        Widths, of all layers.
    threshold : tuple of int
        theta, powers of two.
    leak, leak_shift, linear_decay, learn_decay, prune
        See `FittedRecipe`.
    steps, step_us : int, float
        Time steps and their length in microseconds.
    epochs, batch, learning_rate : int, int, float
        Adam, one cycle.
    turn, stretch, shear : float
        Largest random distortion of a recording: radians; shares.
    shift, jitter_us, loss : float
        Largest random shift in pixels and in microseconds; share of events that may get lost.
    active : (float, float)
        Share of the sources that the first weights of a convolution and of other layers are scaled for.
    """

    data: Literal["nmnist", "moving"]
    channels: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    weight_bits: int
    potential_bits: int
    steps: int
    step_us: float
    epochs: int
    batch: int
    learning_rate: float
    turn: float = 0.2
    stretch: float = 0.12
    shear: float = 0.15
    shift: float = 2.5
    jitter_us: float = 5000.0
    loss: float = 0.2
    active: tuple[float, float] = (0.2, 0.1)

    def maps(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, height, width) of the input and of each convolution."""
        return convolution_maps(EVENT_SHAPES[self.data], self.channels, self.kernel, self.stride)

    def layers(self, weights: list[np.ndarray], amounts: tuple[int, ...] | None = None) -> tuple[IntegerLayer, ...]:
        """The layers with these weights: [channels, source channels, kernel, kernel] each, then [neurons, fan_in]."""
        layers, convolutions = [], len(self.channels)
        shapes: list[tuple[int, ...]] = [*self.maps(), *((neurons,) for neurons in self.hidden)]
        if not convolutions:  # of a flattened input, an import knows the size alone
            shapes[0] = (int(np.prod(shapes[0])),)
        for index, array in enumerate(weights):
            flat = index >= convolutions
            name = f"fc{index - convolutions + 1}" if self.hidden else "fc"
            layers.append(
                IntegerLayer(
                    name=name if flat else f"conv{index + 1}",
                    connections=(
                        Connection(weights=array, source_shape=shapes[index])
                        if flat
                        else Connection(
                            weights=array,
                            source_shape=shapes[index],
                            stride=(self.stride[index], self.stride[index]),
                            padding=(self.kernel[index] // 2, self.kernel[index] // 2),
                        ),
                    ),
                    weight_bits=self.weight_bits,
                    potential_bits=self.potential_bits,
                    leak=self.leak_of(index, amounts),
                    reset="zero",
                    threshold=self.threshold[index],
                )
            )
        return tuple(layers)


@dataclass(frozen=True, kw_only=True)
class SequenceRecipe(FittedRecipe):
    """A recurrent layer of neurons with a synaptic current, and a leaky read-out, on `sequence`.

    Pairs hold the value of the hidden layer and of the read-out.

    Parameters
    ----------
    data : str
        sequence.
    hidden : int
        Neurons of the recurrent layer.
    recurrent : bool
        False trains the same network without the feedback.
    weight_bits, potential_bits, current_bits : int
        Widths.
    threshold : (int, int)
        theta of the hidden layer, and the number that stands for 1 in the read-out; powers of two.
    leak, leak_shift, linear_decay, learn_decay, prune
        See `FittedRecipe`; the leak is that of the potentials.
    current_shift : int
        Of the synaptic current.
    epochs, batch, learning_rate, clip : int, int, float, float
        Adam, one cycle; longest gradient.
    """

    data: Literal["sequence"]
    hidden: int
    recurrent: bool = True
    weight_bits: int
    potential_bits: int
    current_bits: int
    current_shift: int
    epochs: int
    batch: int
    learning_rate: float
    clip: float = 1.0

    steps = sequence.STEPS
    step_us = float(sequence.STEP_US)

    def layers(self, weights: list[np.ndarray], amounts: tuple[int, ...] | None = None) -> tuple[IntegerLayer, ...]:
        """The layers with these integer weights: [hidden, inputs], [hidden, hidden], [classes, hidden]."""
        arriving, feedback, leaving = weights
        return (
            IntegerLayer(
                name="hidden",
                connections=(
                    Connection(weights=arriving, source="input"),
                    Connection(weights=feedback, source="hidden", delay=1),
                ),
                weight_bits=self.weight_bits,
                potential_bits=self.potential_bits,
                leak=self.leak_of(0, amounts),
                current_bits=self.current_bits,
                current_leak=Leak(kind="shift", shifts=(self.current_shift,)),
                reset="zero",
                threshold=self.threshold[0],
            ),
            IntegerLayer.dense(
                name="readout",
                weights=leaving,
                weight_bits=self.weight_bits,
                potential_bits=self.potential_bits,
                leak=self.leak_of(1, amounts),
                reset="none",
            ),
        )


@dataclass(frozen=True, kw_only=True)
class StochasticRecipe:
    """A network of stochastic neurons on pictures: convolutions, then fully connected layers, the last of the classes.

    Tuples hold one value per layer. A padding of half the kernel keeps the edges of a map.

    Parameters
    ----------
    data : str
        mnist.
    channels, kernel, stride : tuple of int
        Of the convolutions.
    hidden : tuple of int
        Neurons of the fully connected layers before that of the classes.
    weight_step : tuple of float
        Weight of one level in the unit of z, a power of two.
    levels : int
        Conductance levels of a cell, the lowest one 0; a weight is the difference of two cells. 0: real weights.
    fraction : int
        Units of a weight, and of the bias, in one level.
    weight_bits : int
        Width of a weight in units.
    activation : str
        cloglog, or relu for the artificial network beside it.
    sampled : bool
        Train with drawn spikes and varying chips; False: an artificial network.
    weight_sigma, offset_sigma : float
        Spread of the weights of a chip, relative; of z of its neurons.
    gain : float
        Variance of the first weights times the fan-in.
    samples : int
        Steps of an input in training.
    steps, measured : int
        Steps of an input, and test pictures, with which the accuracy is measured.
    epochs, batch, learning_rate : int, int, float
        Adam, one cycle.
    distortion : float
        Strength of random rotation, scaling, shear and shift of the training pictures; 1 is 10 degrees.
    """

    data: Literal["mnist"]
    channels: tuple[int, ...] = ()
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()
    weight_step: tuple[float, ...]
    levels: int = 16
    fraction: int = 8
    weight_bits: int = 8
    activation: Literal["cloglog", "relu"] = "cloglog"
    sampled: bool = True
    weight_sigma: float = 0.1
    offset_sigma: float = 0.4
    gain: float = 4.0
    samples: int = 4
    steps: int = 100
    measured: int = 10_000
    epochs: int
    batch: int
    learning_rate: float
    distortion: float = 1.0
    prune: tuple[float, ...] = ()

    input_shape = (1, 28, 28)
    classes = 10

    @property
    def units(self) -> tuple[float, ...]:
        """z of one unit of each layer."""
        return tuple(step / self.fraction for step in self.weight_step)

    @property
    def maps(self) -> tuple[tuple[int, int, int], ...]:
        """(channels, height, width) of the input and of each convolution."""
        return convolution_maps(self.input_shape, self.channels, self.kernel, self.stride)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of the weights of each layer."""
        maps, shapes = self.maps, []
        for before, after, kernel in zip(maps, maps[1:], self.kernel, strict=False):
            shapes.append((after[0], before[0], kernel, kernel))
        sizes = [int(np.prod(maps[-1])), *self.hidden, self.classes]
        return (*shapes, *((after, before) for before, after in itertools.pairwise(sizes)))

    def pruned(self, done: float) -> tuple[float, ...]:
        """No weights are pruned."""
        return ()


@dataclass(frozen=True, kw_only=True)
class EvolutionRecipe:
    """The network of the interception task, by evolution strategies; see `interception.evolution`.

    Parameters
    ----------
    data : str
        interception.
    population, prey : int
        Sets of weights, an even number, and prey of each generation.
    sigma : float
        Spread of the sets around their mean, in units of 1 / 256.
    low, high : int
        Smallest weight that is not 0, and largest weight, in 1 / 256.
    first : (int, int)
        The first weights of the hidden and of the output layer are uniform from 0 to these.
    epochs, learning_rate : int, float
        Generations; Adam, falling to 0 in a line, in 1 / 256.
    """

    data: Literal["interception"]
    population: int
    prey: int
    sigma: float
    low: int
    high: int
    first: tuple[int, int]
    epochs: int
    learning_rate: float


AnyRecipe = Recipe | EventRecipe | SequenceRecipe | EvolutionRecipe | StochasticRecipe


NMNIST = EventRecipe(
    data="nmnist",
    channels=(8, 16),
    kernel=(5, 3),
    stride=(2, 2),
    weight_bits=8,
    potential_bits=12,
    threshold=(256, 256, 256),
    leak_shift=(3, 3, 3),
    steps=15,
    step_us=20_000.0,
    epochs=80,
    batch=32,
    learning_rate=3e-3,
)
NMNIST_MLP = EventRecipe(
    data="nmnist",
    hidden=(100,),
    weight_bits=8,
    potential_bits=12,
    threshold=(256, 256),
    leak_shift=(3, 3),
    steps=15,
    step_us=20_000.0,
    epochs=80,
    batch=32,
    learning_rate=3e-3,
)
MOVING = EventRecipe(
    data="moving",
    channels=(8, 16, 32),
    kernel=(5, 3, 3),
    stride=(4, 2, 2),
    weight_bits=8,
    potential_bits=12,
    threshold=(128, 128, 128, 128),
    leak_shift=(3, 3, 3, 3),
    steps=10,
    step_us=10_000.0,
    epochs=8,
    batch=16,
    learning_rate=3e-3,
    turn=0.0,
    stretch=0.0,
    shear=0.0,
    shift=4.0,
    jitter_us=0.0,
)

MNIST_512 = Recipe(
    data="mnist",
    hidden=512,
    weight_bits=8,
    potential_bits=13,
    threshold=(1024, 1024),
    leak_shift=(3, 3),
    steps=20,
    max_rate=0.5,
    epochs=4,
    cycle=8,
    batch=128,
    learning_rate=2e-3,
    hidden_limit=24.0,
)
SHARED = replace(MNIST_512, start="mnist512", epochs=1, cycle=None, samples=12_800, learning_rate=5e-4, distortion=0.5)

RECIPES: dict[str, AnyRecipe] = {
    "digits": Recipe(
        data="digits",
        hidden=32,
        weight_bits=6,
        potential_bits=8,
        threshold=(64, 64),
        leak_shift=(2, 3),
        steps=16,
        max_rate=1.0,
        epochs=120,
        batch=32,
        learning_rate=5e-3,
    ),
    "interception": EvolutionRecipe(
        data="interception",
        population=32,
        prey=64,
        sigma=12.0,
        low=8,
        high=230,
        first=(120, 60),
        epochs=400,
        learning_rate=3.0,
    ),
    "mnist4": Recipe(
        data="mnist",
        hidden=128,
        weight_bits=4,
        potential_bits=7,
        threshold=(16, 16),
        leak_shift=(3, 3),
        steps=25,
        max_rate=1.0,
        also=((100, 1.0), (100, 0.25)),
        epochs=8,
        batch=128,
        learning_rate=2e-3,
        accumulator_bits=(8, 9),
        hidden_limit=8.0,
        noise_events=(8, 78, 157),
    ),
    "mnist8": Recipe(
        data="mnist",
        hidden=128,
        weight_bits=8,
        potential_bits=12,
        threshold=(512, 512),
        leak_shift=(3, 3),
        steps=20,
        max_rate=1.0,
        also=((25, 1.0), (100, 1.0)),
        epochs=8,
        batch=128,
        learning_rate=2e-3,
        hidden_limit=12.0,
    ),
    "mnist_linear": Recipe(
        data="mnist",
        hidden=128,
        weight_bits=8,
        potential_bits=12,
        threshold=(512, 512),
        leak="linear",
        leak_shift=(3, 3),
        steps=20,
        max_rate=1.0,
        also=((25, 1.0), (100, 1.0)),
        epochs=4,
        batch=128,
        learning_rate=2e-3,
        hidden_limit=12.0,
    ),
    "moving": MOVING,
    "mnist512": MNIST_512,
    **{f"mnist_shared{levels}": replace(SHARED, levels=levels) for levels in (4, 8, 16, 32)},
    "nmnist": NMNIST,
    "nmnist_mlp": NMNIST_MLP,
    "nmnist_mlp_pruned": replace(NMNIST_MLP, prune=(0.902, 0.5)),
    "nmnist_pruned": replace(NMNIST, prune=(0.5, 0.7, 0.71)),
    "recurrent": SequenceRecipe(
        data="sequence",
        hidden=48,
        weight_bits=8,
        potential_bits=12,
        current_bits=12,
        threshold=(128, 128),
        leak_shift=(3, 3),
        current_shift=2,
        epochs=32,
        batch=64,
        learning_rate=3e-3,
    ),
    "stochastic_cnn": StochasticRecipe(
        data="mnist",
        channels=(8, 16, 16, 24, 24),
        kernel=(3, 3, 3, 3, 3),
        stride=(2, 2, 1, 2, 1),
        weight_step=(1 / 4, 1 / 8, 1 / 8, 1 / 8, 1 / 8, 1 / 16),
        samples=1,
        measured=2000,
        epochs=5,
        batch=64,
        learning_rate=4e-3,
        distortion=0.3,
    ),
    "stochastic_mlp": StochasticRecipe(
        data="mnist",
        hidden=(300,),
        weight_step=(1 / 16, 1 / 4),
        samples=2,
        epochs=8,
        batch=128,
        learning_rate=3e-3,
        distortion=0.3,
    ),
}
"""The networks that `spikeloom train` knows."""
