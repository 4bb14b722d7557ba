"""Training of networks of stochastic neurons, and of the artificial networks beside them (needs torch).

A neuron spikes in a step with probability p = 1 - exp(-exp(z)), z = sum_i w_i s_i + b: the complementary log-log
activation. The forward pass draws the spikes of some steps, s ~ Bernoulli(p), from inputs s ~ Bernoulli(pixel), and
passes the gradient of p; an artificial network hands on p itself. The loss is the likelihood of the output neurons,
each by itself, by its mean p over the steps: -log p of the class, -log(1 - p) of every other; that of the artificial
network is added, whose gradient has no noise.

What a chip does to the network is part of the training: each batch is another chip, with weights that are off by a
relative normal error and neurons whose z is off by a normal number, the same at all positions of a map.
"""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from .datasets import Dataset
from .distortion import distort
from .recipes import StochasticRecipe
from .straight_through import parameter, stream, through

__all__ = ["StochasticModel"]

FIRST_BIAS = -1.0  # a quarter of the neurons fires at first
Z_LOW, Z_HIGH = -12.0, 2.4  # beyond, P is 0 or 1 to 16 bits


class StochasticModel:
    """Weights, biases and the forward pass of a `StochasticRecipe`."""

    clip = 5.0

    def __init__(self, recipe: StochasticRecipe, dataset: Dataset, seed: int):
        self.recipe, self.shape, self.leaks = recipe, dataset.shape, _None()
        self.pictures, self.labels = torch.from_numpy(dataset.train_x), torch.from_numpy(dataset.train_y)
        rng = stream(seed, 0)
        self.weights: list[torch.Tensor] = []
        for shape in recipe.shapes:
            fan_in = int(np.prod(shape[1:]))
            if recipe.activation == "relu":
                scale, bias = (2 / fan_in) ** 0.5, 0.0
            else:
                scale, bias = (recipe.gain / fan_in) ** 0.5, FIRST_BIAS
            self.weights += [parameter(rng, shape, scale), torch.full((shape[0],), bias, requires_grad=True)]

    @property
    def samples(self) -> int:
        """Pictures to train with."""
        return len(self.pictures)

    def integers(self) -> list[torch.Tensor]:
        """Weights and biases of each layer in its units, in turn: what the file and the core have."""
        found = []
        for weights, bias, unit in zip(self.weights[::2], self.weights[1::2], self.recipe.units, strict=True):
            found += [self._grid(weights, unit) / unit, torch.round(bias / unit)]
        return found

    def _grid(self, weights: torch.Tensor, unit: float) -> torch.Tensor:
        """Weights on the levels of the cells, with the gradient of those within; the largest is the largest level."""
        recipe = self.recipe
        step, limit = unit * recipe.fraction, recipe.levels - 1
        clipped = torch.clamp(weights, -limit * step, limit * step)
        exact = torch.round(clipped.detach() / step)
        most = weights.detach().abs().argmax()
        exact.view(-1)[most] = limit * torch.sign(weights.detach().view(-1)[most])
        return through(exact * step, clipped)

    def forward(self, spikes: torch.Tensor, rng: np.random.Generator | None) -> torch.Tensor:
        """z of the outputs [B, classes] from inputs [B, inputs]; `rng` where chips and spikes vary."""
        recipe = self.recipe
        layers = list(zip(self.weights[::2], self.weights[1::2], recipe.units, strict=True))
        x = spikes
        if recipe.channels:
            x = x.view(-1, 1, *self.shape)
        for index, (weights, bias, unit) in enumerate(layers):
            if recipe.levels:
                weights = self._grid(weights, unit)
            if rng is not None and recipe.sampled:
                weights = weights * (1 + recipe.weight_sigma * _normal(rng, weights.shape))
                bias = bias + recipe.offset_sigma * _normal(rng, bias.shape)
            if weights.dim() == 4:
                stride, padding = recipe.stride[index], weights.shape[-1] // 2
                z = torch.nn.functional.conv2d(x, weights, bias, stride=stride, padding=padding)
            else:
                z = torch.nn.functional.linear(x.flatten(1), weights, bias)
            if index == len(layers) - 1:
                return z
            if recipe.activation == "relu":
                x = torch.relu(z)
                continue
            x = _likely(z)
            if rng is not None and recipe.sampled:
                draw = torch.from_numpy(rng.random(tuple(x.shape), dtype=np.float32))
                x = through((draw < x).float(), x)
        raise AssertionError("a network without layers")

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, int]:
        """Loss of a batch, and how many of its decisions were right."""
        recipe, index = self.recipe, torch.from_numpy(chosen)
        labels = self.labels[index]
        x = distort(self.pictures[index], self.shape, recipe.distortion, rng)
        if recipe.activation == "relu":
            z = self.forward(x, rng)
            return torch.nn.functional.cross_entropy(z, labels), int((z.argmax(dim=1) == labels).sum())
        p = _likely(self.forward(x, None))
        loss = _missed(p, labels)
        if recipe.sampled:
            x = x.repeat(recipe.samples, 1)
            x = (torch.from_numpy(rng.random(tuple(x.shape), dtype=np.float32)) < x).float()
            p = _likely(self.forward(x, rng)).view(recipe.samples, len(labels), -1).mean(dim=0)
            loss = loss + _missed(p, labels)
        return loss, int((p.argmax(dim=1) == labels).sum())


class _None:
    """Leaks of neurons that have none."""

    learnt: tuple = ()

    def amounts(self) -> tuple[int, ...]:
        """Linear decays: none."""
        return ()


def _likely(z: torch.Tensor) -> torch.Tensor:
    """p = 1 - exp(-exp(z))."""
    return -torch.expm1(-torch.exp(torch.clamp(z, Z_LOW, Z_HIGH)))


def _missed(p: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log of the likelihood of the classes, [B, classes] and [B], mean over the batch."""
    hot = torch.nn.functional.one_hot(labels, p.shape[1]).float()
    return torch.nn.functional.binary_cross_entropy(p, hot, reduction="sum") / len(labels)


def _normal(rng: np.random.Generator, shape) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(shape), dtype=np.float32))
