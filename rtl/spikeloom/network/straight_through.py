"""What the trained models share: integer arithmetic with the gradients of the reals (needs torch and snnTorch).

Straight-through estimation: a rounded quantity has its exact value in the forward pass and the gradient of the
quantity before rounding. Every number of the forward pass is an integer below 2**24, so single precision computes the
integer network exactly. The spike has the derivative of snnTorch's arc tangent (Fang et al., "Incorporating learnable
membrane time constant to enhance learning of spiking neural networks", ICCV 2021); the reset passes no gradient.

Weights are trained in the unit of the threshold: w_int = rint(clip(w theta)).
"""

import numpy as np
import snntorch.surrogate  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]

__all__ = ["clamp", "fire", "leak", "lif", "on_grid", "parameter", "stream", "through"]

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


def clamp(v: torch.Tensor, bits: int) -> torch.Tensor:
    """v within the width."""
    high = (1 << (bits - 1)) - 1
    return torch.clamp(v, -high - 1, high)


def fire(u: torch.Tensor, theta: int) -> torch.Tensor:
    """1.0 where u >= theta, for integers u."""
    return SPIKE((u - theta + 0.5) / theta)


def lif(current: torch.Tensor, shift: int, theta: int, bits: int) -> torch.Tensor:
    """Spikes of neurons with these summed inputs, both [T, ...]: the equations of `integer`, shift leak, reset zero."""
    v, fired = torch.zeros_like(current[0]), []
    for arriving in current:
        u = leak(v, shift) + arriving
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
