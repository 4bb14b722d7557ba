"""What the trained models share: integer arithmetic with the gradients of the reals (needs torch and snnTorch).

Straight-through estimation: a rounded quantity has its exact value in the forward pass and the gradient of the
quantity before rounding. Every number of the forward pass is an integer below 2**24, so single precision computes the
integer network exactly. The spike has the derivative of snnTorch's arc tangent (Fang et al., "Incorporating learnable
membrane time constant to enhance learning of spiking neural networks", ICCV 2021); the reset passes no gradient.

Weights are trained in the unit of the threshold: w_int = rint(clip(w theta)).
"""

from collections.abc import Callable

import numpy as np
import snntorch.surrogate  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]

from .recipes import FittedRecipe

__all__ = ["Leaks", "clamp", "fire", "leak", "lif", "linear_leak", "on_grid", "parameter", "stream", "through"]

SURROGATE_SLOPE = 2.0  # of the arc tangent, in thresholds
SPIKE = snntorch.surrogate.atan(alpha=SURROGATE_SLOPE)


def through(exact: torch.Tensor, smooth: torch.Tensor) -> torch.Tensor:
    """The value of `exact`, to the bit, with the gradient of `smooth`."""
    return exact.detach() + (smooth - smooth.detach())


def on_grid(weights: list[torch.Tensor], theta: int, bits: int) -> list[torch.Tensor]:
    """Integer weights of one layer's connections, with the gradients of the real ones.

    The largest of them all is the largest that the width holds: it tells the quantiser the step.
    """
    limit = (1 << (bits - 1)) - 1
    clipped = [torch.clamp(array * theta, -limit, limit) for array in weights]
    exact = [torch.round(array.detach()) for array in clipped]
    real = [array.detach() for array in weights]
    most = max(range(len(real)), key=lambda number: float(real[number].abs().max()))
    largest = real[most].abs().argmax()
    exact[most].view(-1)[largest] = limit * torch.sign(real[most].view(-1)[largest])
    return [through(a, b) for a, b in zip(exact, clipped, strict=True)]


def leak(v: torch.Tensor, shift: int) -> torch.Tensor:
    """v - (v >> shift)."""
    decay = 2.0**-shift
    return through(v - torch.floor(v * decay), v * (1 - decay))


def linear_leak(v: torch.Tensor, d: torch.Tensor | int) -> torch.Tensor:
    """v - sign(v) min(abs(v), d): the gradient of v where abs(v) > d, and there -sign(v) for d; else none."""
    if isinstance(d, int):
        return torch.nn.functional.softshrink(v, d)
    return torch.sign(v) * torch.relu(v.abs() - d)


class Leaks:
    """The leaks of the potentials of a recipe's layers, and what training learns of them.

    `learnt` are the linear decays in the unit of the threshold, one number per layer; empty where they are given.
    """

    def __init__(self, recipe: FittedRecipe):
        self.recipe, self.given = recipe, recipe.amounts()
        self.learnt: list[torch.Tensor] = []
        if recipe.learn_decay:
            shares = [d / theta for d, theta in zip(self.given, recipe.threshold, strict=True)]
            self.learnt = [torch.tensor(share, dtype=torch.float32, requires_grad=True) for share in shares]

    def amount(self, layer: int) -> torch.Tensor | int:
        """d of a linear leak: an integer from 1 up to the threshold, with the gradient of the real one."""
        if not self.learnt:
            return self.given[layer]
        theta = self.recipe.threshold[layer]
        return through(*(f(torch.clamp(self.learnt[layer] * theta, 1, theta)) for f in (torch.round, torch.clone)))

    def amounts(self) -> tuple[int, ...]:
        """The integers d of all layers; none for other kinds of leak."""
        return tuple(int(self.amount(layer)) for layer in range(len(self.given)))

    def of(self, layer: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """What a step does to the potentials of a layer."""
        if self.recipe.leak == "linear":
            d = self.amount(layer)
            return lambda v: linear_leak(v, d)
        return lambda v: leak(v, self.recipe.leak_shift[layer])


def clamp(v: torch.Tensor, bits: int) -> torch.Tensor:
    """v within the width."""
    high = (1 << (bits - 1)) - 1
    return torch.clamp(v, -high - 1, high)


def fire(u: torch.Tensor, theta: int) -> torch.Tensor:
    """1.0 where u >= theta, for integers u."""
    return SPIKE((u - theta + 0.5) / theta)


def lif(current: torch.Tensor, leaked: Callable[[torch.Tensor], torch.Tensor], theta: int, bits: int) -> torch.Tensor:
    """Spikes of neurons with these summed inputs, both [T, ...]: the equations of `integer`, reset zero."""
    v, fired = torch.zeros_like(current[0]), []
    for arriving in current:
        u = leaked(v) + arriving
        s = fire(u, theta)
        v = clamp(u, bits) * (1 - s.detach())
        fired.append(s)
    return torch.stack(fired)


def stream(seed: int, number: int) -> np.random.Generator:
    """A random stream of its own for each pair of numbers."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))


def parameter(rng: np.random.Generator, shape: tuple[int, ...], scale: float) -> torch.Tensor:
    """First weights, normally distributed."""
    return torch.from_numpy((rng.standard_normal(shape) * scale).astype(np.float32)).requires_grad_()
