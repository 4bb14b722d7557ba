"""The part of training that needs torch and snnTorch; `training` imports it when it is asked to train.

Straight-through estimation: a rounded quantity has its exact value in the forward pass and the gradient of the
quantity before rounding. Every number of the forward pass is an integer below 2**24, so single precision computes the
integer network exactly. The spike has the derivative of snnTorch's arc tangent (Fang et al., "Incorporating learnable
membrane time constant to enhance learning of spiking neural networks", ICCV 2021); the reset passes no gradient.

Weights are trained in the unit of the threshold: w_int = rint(clip(w theta)).
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import snntorch.surrogate  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]

from ..errors import InputError
from ..output import write_atomic
from .coding import rate
from .datasets import Dataset
from .training import Recipe

__all__ = ["fit"]

SURROGATE_SLOPE = 2.0  # of the arc tangent, in thresholds
LOGIT_SCALE = 12.5  # from output spikes per step to the logits of the cross entropy
ACTIVE_INPUTS = 0.8  # share of the inputs that the first weights are scaled for
HIDDEN_WEIGHT = 0.01  # of the penalties, beside a cross entropy of order 1
NOISE_WEIGHT = 0.05
ACCUMULATOR_WEIGHT = 2.0
NOISE_BATCH = 2  # noise samples of each density beside a batch of pictures
WARM_UP = 0.1  # share of the cycle in which the learning rate rises
MAX_TURN, MAX_SCALE, MAX_SHEAR, MAX_SHIFT = 0.17, 0.1, 0.15, 0.1  # radians; shares; of half the picture


def fit(
    recipe: Recipe,
    dataset: Dataset,
    *,
    seed: int,
    threads: int,
    checkpoint: Path | None,
    key: str,
    advance: Callable[[int, int, str], None],
) -> list[np.ndarray]:
    """Train; the integer weights, int64 [neurons, fan_in], of the hidden and of the output layer.

    Random numbers come from Philox streams with key (seed, epoch + 1), and (seed, 0) for the first weights, so a
    training that goes on from `checkpoint` ends like one that was never stopped. A checkpoint of another `key` is
    not used. `advance(done, total, note)` is called after every batch.

    Raises
    ------
    InputError
        Where the checkpoint cannot be written; at once.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _fit(recipe, dataset, seed, checkpoint, key, advance)
    finally:
        torch.set_num_threads(before)


def _fit(recipe, dataset, seed, checkpoint, key, advance) -> list[np.ndarray]:
    model = _Model(recipe, dataset, seed)
    batches = len(dataset.train_x) // recipe.batch
    if batches == 0:
        raise InputError(f"{len(dataset.train_x)} training samples: accepted are at least {recipe.batch}, one batch")
    total = batches * recipe.epochs
    optimiser = torch.optim.Adam(model.weights, lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=total, pct_start=WARM_UP
    )
    parts = {"optimiser": optimiser, "schedule": schedule}
    first = _load(checkpoint, key, model, parts)
    if checkpoint is not None:
        _save(checkpoint, key, model, parts, first)  # a disk that refuses says so before the work
    pictures, labels = torch.from_numpy(dataset.train_x), torch.from_numpy(dataset.train_y)
    for epoch in range(first, recipe.epochs):
        rng = _stream(seed, epoch + 1)
        order = torch.from_numpy(rng.permutation(len(pictures)))
        right = 0
        for batch in range(batches):
            chosen = order[batch * recipe.batch : (batch + 1) * recipe.batch]
            loss, good = model.loss(_distort(pictures[chosen], dataset.shape, recipe, rng), labels[chosen], rng)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            right += good
            share = right / ((batch + 1) * recipe.batch)
            advance(epoch * batches + batch + 1, total, f"epoch {epoch + 1}/{recipe.epochs}, training {share:.1%}")
        if checkpoint is not None:
            _save(checkpoint, key, model, parts, epoch + 1)
    return [array.detach().numpy().astype(np.int64) for array in model.integers()]


class _Model:
    """Weights and the forward pass."""

    def __init__(self, recipe: Recipe, dataset: Dataset, seed: int):
        self.recipe = recipe
        rng = _stream(seed, 0)
        inputs = dataset.train_x.shape[1]
        shapes = ((recipe.hidden, inputs), (dataset.classes, recipe.hidden))
        scales = ((inputs / ACTIVE_INPUTS) ** -0.5, recipe.hidden**-0.5)
        self.weights = [
            torch.from_numpy((rng.standard_normal(shape) * scale).astype(np.float32)).requires_grad_()
            for shape, scale in zip(shapes, scales, strict=True)
        ]
        # A pixel that is black in every training picture teaches nothing: its weights are 0, distortion or not.
        self.used = torch.from_numpy((dataset.train_x > 0).any(axis=0).astype(np.float32))
        self.patterns = torch.from_numpy(_patterns(recipe.steps))
        self.spike = snntorch.surrogate.atan(alpha=SURROGATE_SLOPE)

    def integers(self) -> list[torch.Tensor]:
        """Integer weights of both layers, with the gradients of the real ones."""
        limit = (1 << (self.recipe.weight_bits - 1)) - 1
        result = []
        for index, (weights, theta) in enumerate(zip(self.weights, self.recipe.threshold, strict=True)):
            scaled = weights * self.used if index == 0 else weights
            clipped = torch.clamp(scaled * theta, -limit, limit)
            exact = torch.round(clipped.detach())
            largest = scaled.detach().abs().argmax()  # one weight at the limit: it tells the quantiser the step
            exact.view(-1)[largest] = limit * torch.sign(scaled.detach().view(-1)[largest])
            result.append(_through(exact, clipped))
        return result

    def loss(self, pictures: torch.Tensor, labels: torch.Tensor, rng: np.random.Generator):
        """Loss of a batch, and how many of its decisions were right."""
        recipe = self.recipe
        spikes = self.encode(pictures)
        if recipe.noise_events:
            density = np.repeat(np.array(recipe.noise_events, np.float32) / spikes.shape[2], NOISE_BATCH)
            draw = rng.random((recipe.steps, len(density), spikes.shape[2]), dtype=np.float32)
            spikes = torch.cat([spikes, torch.from_numpy((draw < density[:, None]).astype(np.float32))], dim=1)
        first, second = self.integers()
        hidden = self.layer(0, spikes, first)
        counts = self.layer(1, hidden[:, : len(labels)], second).sum(dim=0)
        loss = torch.nn.functional.cross_entropy(counts * (LOGIT_SCALE / recipe.steps), labels)
        active = hidden.sum(dim=2).mean(dim=0)  # spikes per step of each sample
        if recipe.hidden_limit is not None:
            loss = loss + HIDDEN_WEIGHT * torch.relu(active[: len(labels)].mean() - recipe.hidden_limit)
        if recipe.noise_events:
            loss = loss + NOISE_WEIGHT * torch.relu(active[len(labels) :] - recipe.noise_limit).mean()
        if recipe.accumulator_bits is not None:
            for weights, bits in zip((first, second), recipe.accumulator_bits, strict=True):
                # what the proven width leaves to the weights of either sign, beside a potential at its limit
                room = (1 << (bits - 1)) - (1 << (recipe.potential_bits - 1))
                for sign in (1, -1):
                    excess = torch.relu(torch.relu(sign * weights).sum(dim=1) - room)
                    loss = loss + ACCUMULATOR_WEIGHT * excess.mean() / room
        return loss, int((counts.argmax(dim=1) == labels).sum())

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """`coding.rate` of values [B, inputs]: float [T, B, inputs]."""
        number = torch.round(pictures.double() * self.recipe.max_rate * self.recipe.steps).long()
        return self.patterns.index_select(1, number.view(-1)).view(-1, *pictures.shape)

    def layer(self, index: int, spikes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Spikes [T, B, neurons] of a layer: the equations of `integer`, with leak shift and reset zero."""
        recipe = self.recipe
        theta, decay = recipe.threshold[index], 2.0 ** -recipe.leak_shift[index]
        high = (1 << (recipe.potential_bits - 1)) - 1
        steps, batch, inputs = spikes.shape
        current = (spikes.reshape(steps * batch, inputs) @ weights.T).view(steps, batch, -1)
        v, fired = torch.zeros_like(current[0]), []
        for arriving in current:
            a = _through(v - torch.floor(v * decay), v * (1 - decay)) + arriving
            s = self.spike((a - theta + 0.5) / theta)  # a is an integer: above 0 where a >= theta
            v = torch.clamp(a, -high - 1, high) * (1 - s.detach())
            fired.append(s)
        return torch.stack(fired)


def _through(exact: torch.Tensor, smooth: torch.Tensor) -> torch.Tensor:
    """The value of `exact`, to the bit, with the gradient of `smooth`."""
    return exact.detach() + (smooth - smooth.detach())


def _stream(seed: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))


def _patterns(steps: int) -> np.ndarray:
    """Spike trains float32 [T, T + 1] of the rate coding: column n has n spikes."""
    return rate(np.arange(steps + 1)[None] / steps, steps)[0].astype(np.float32)


def _distort(pictures: torch.Tensor, shape: tuple[int, ...], recipe: Recipe, rng: np.random.Generator) -> torch.Tensor:
    """Each picture [B, inputs] turned, scaled, sheared and shifted at random, as far as the recipe wants."""
    if recipe.distortion == 0:
        return pictures
    draw = (2 * rng.random((6, len(pictures))) - 1) * recipe.distortion
    turn, shear = draw[0] * MAX_TURN, draw[3] * MAX_SHEAR
    wide, tall = 1 + draw[1] * MAX_SCALE, 1 + draw[2] * MAX_SCALE
    matrix = np.stack(
        [
            np.stack([np.cos(turn) * wide, -np.sin(turn) * tall + shear, draw[4] * MAX_SHIFT], axis=1),
            np.stack([np.sin(turn) * wide, np.cos(turn) * tall, draw[5] * MAX_SHIFT], axis=1),
        ],
        axis=1,
    )
    size = (len(pictures), 1, shape[0], shape[1])
    theta = torch.from_numpy(matrix.astype(np.float32))
    grid = torch.nn.functional.affine_grid(theta, list(size), align_corners=False)
    moved = torch.nn.functional.grid_sample(pictures.view(size), grid, align_corners=False)
    return moved.view(len(pictures), -1).clamp(0, 1)


def _save(path: Path, key: str, model: _Model, parts: dict, epoch: int) -> None:
    """Write all that the next epoch needs."""
    buffer = io.BytesIO()
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"key": key, "epoch": epoch, "weights": [w.detach() for w in model.weights], **state}, buffer)
    write_atomic(path, buffer.getvalue())


def _load(path: Path | None, key: str, model: _Model, parts: dict) -> int:
    """Take up the state of a checkpoint, if there is one of this key; the epoch to go on with."""
    if path is None or not path.is_file():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        if state["key"] != key:
            return 0
        with torch.no_grad():
            for weights, saved in zip(model.weights, state["weights"], strict=True):
                weights.copy_(saved)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return int(state["epoch"])
    except Exception as error:  # whatever torch says about a damaged file
        raise InputError(f"{path}: not a readable checkpoint ({error}); delete it to start again") from error
