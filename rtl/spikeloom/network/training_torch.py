"""The part of training that needs torch and snnTorch; `training` imports it when it is asked to train.

The loop of all recipes, and the model of those on pictures. The arithmetic is that of `straight_through`.
"""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from ..errors import InputError
from ..output import write_atomic
from .coding import rate
from .datasets import Dataset, EventData
from .distortion import distort
from .recipes import AnyRecipe, EventRecipe, FittedRecipe, Recipe, SequenceRecipe, StochasticRecipe
from .sequence import SequenceTask
from .sharing import centroids
from .straight_through import Leaks, lif, on_grid, parameter, stream, through
from .training_events import EventModel, SequenceModel
from .training_stochastic import StochasticModel
from .zoo import load

__all__ = ["fit"]

LOGIT_SCALE = 12.5  # from output spikes per step to the logits of the cross entropy
ACTIVE_INPUTS = 0.8  # share of the inputs that the first weights are scaled for
HIDDEN_WEIGHT = 0.01  # of the penalties, beside a cross entropy of order 1
NOISE_WEIGHT = 0.05
ACCUMULATOR_WEIGHT = 2.0
NOISE_BATCH = 2  # noise samples of each density beside a batch of pictures
WARM_UP = 0.1  # share of the cycle in which the learning rate rises


def fit(
    recipe: AnyRecipe,
    dataset: Dataset | EventData | SequenceTask,
    *,
    seed: int,
    threads: int,
    checkpoint: Path | None,
    key: str,
    advance: Callable[[int, int, str], None],
) -> tuple[list[np.ndarray], tuple[int, ...]]:
    """Train; the integer weights, int64, and the linear decays of the layers, as the recipe takes them.

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


def _fit(recipe, dataset, seed, checkpoint, key, advance) -> tuple[list[np.ndarray], tuple[int, ...]]:
    kinds = {
        Recipe: _Model, EventRecipe: EventModel, SequenceRecipe: SequenceModel, StochasticRecipe: StochasticModel,
    }  # fmt: skip
    model = kinds[type(recipe)](recipe, dataset, seed)
    batches = model.samples // recipe.batch
    if batches == 0:
        raise InputError(f"{model.samples} training samples: accepted are at least {recipe.batch}, one batch")
    total = batches * (getattr(recipe, "cycle", None) or recipe.epochs)
    pruning = Pruning(recipe, model.weights)
    optimiser = torch.optim.Adam(_parameters(model), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=total, pct_start=WARM_UP
    )
    parts = {"optimiser": optimiser, "schedule": schedule, "pruning": pruning}
    first = _load(checkpoint, key, model, parts)
    if checkpoint is not None:
        _save(checkpoint, key, model, parts, first)  # a disk that refuses says so before the work
    for epoch in range(first, recipe.epochs):
        rng = stream(seed, epoch + 1)
        order = rng.permutation(model.samples)
        right = 0
        for batch in range(batches):
            loss, good = model.loss(order[batch * recipe.batch : (batch + 1) * recipe.batch], rng)
            optimiser.zero_grad()
            loss.backward()
            if model.clip is not None:
                torch.nn.utils.clip_grad_norm_(_parameters(model), model.clip)
            optimiser.step()
            schedule.step()
            pruning.step((epoch * batches + batch + 1) / total)
            right += good
            share = right / ((batch + 1) * recipe.batch)
            advance(epoch * batches + batch + 1, total, f"epoch {epoch + 1}/{recipe.epochs}, training {share:.1%}")
        if checkpoint is not None:
            _save(checkpoint, key, model, parts, epoch + 1)
    return [array.detach().numpy().astype(np.int64) for array in model.integers()], model.leaks.amounts()


class Pruning:
    """The weights that a recipe prunes: what is 0 stays 0.

    Raises
    ------
    InputError
        Where the recipe does not say one share for each array of weights.
    """

    def __init__(self, recipe: FittedRecipe, weights: list[torch.Tensor]):
        self.recipe, self.weights = recipe, weights
        if len(recipe.prune) not in (0, len(weights)):
            raise InputError(
                f"prune = {recipe.prune}: accepted is a share for each of {len(weights)} arrays of weights"
            )
        self.masks = [torch.ones_like(array, dtype=torch.bool) for array in weights] if recipe.prune else []

    def step(self, done: float) -> None:
        """Set the weights that are to be 0 to 0, when this share of the batches is done."""
        with torch.no_grad():
            for number, (mask, share) in enumerate(zip(self.masks, self.recipe.pruned(done), strict=True)):
                array = self.weights[number]
                array *= mask
                if (least := round(share * array.numel())) > array.numel() - int(mask.sum()):
                    mask &= array.abs() > array.abs().view(-1).kthvalue(least).values
                    array *= mask

    def state_dict(self) -> dict:
        """What a checkpoint keeps."""
        return {"masks": self.masks}

    def load_state_dict(self, state: dict) -> None:
        """Go on with the masks of a checkpoint."""
        self.masks = state["masks"]


def _parameters(model) -> list[torch.Tensor]:
    """All that is trained."""
    return [*model.weights, *model.leaks.learnt, *getattr(model, "levels_learnt", ())]


class Sharing:
    """The levels that the weights of a recipe with `levels` take, from k-means of the first weights on.

    A level is an integer that is common to all layers, and is trained in units of the first threshold: its gradient is
    the sum of those of its synapses. The level nearest to 0 is 0; the one of largest magnitude is the largest that the
    width holds, which tells the quantiser the step. Weights go on being trained beside it, and change their level when
    another one is nearer.
    """

    def __init__(self, recipe: Recipe, weights: list[torch.Tensor]):
        self.recipe = recipe
        self.learnt: list[torch.Tensor] = []
        if recipe.levels is None:
            return
        unit, limit = recipe.threshold[0], self.limit / recipe.threshold[0]
        scaled = [
            array.detach().numpy().ravel() * (theta / unit)
            for array, theta in zip(weights, recipe.threshold, strict=True)
        ]
        found = centroids(np.clip(np.concatenate(scaled), -limit, limit), recipe.levels)
        levels = np.full(recipe.levels, limit, np.float32)  # also where fewer were needed
        levels[: len(found)] = found
        self.learnt = [torch.from_numpy(levels).requires_grad_()]

    @property
    def limit(self) -> int:
        """The largest integer weight."""
        return (1 << (self.recipe.weight_bits - 1)) - 1

    def levels(self) -> torch.Tensor:
        """The integers, ascending, with the gradients of the real levels."""
        real = self.learnt[0].sort().values * self.recipe.threshold[0]
        exact = torch.round(real.detach()).clamp(-self.limit, self.limit)
        exact[exact.abs().argmin()] = 0
        top = exact.abs().argmax()
        exact[top] = self.limit * torch.sign(exact[top])
        return through(exact, real)

    def share(self, weights: torch.Tensor, theta: int, levels: torch.Tensor) -> torch.Tensor:
        """Integer weights of a layer, each at the level nearest to it; the largest of them at the largest level."""
        fixed = levels.detach()
        scaled = torch.clamp(weights * theta, -self.limit, self.limit)
        index = torch.bucketize(scaled.detach(), (fixed[1:] + fixed[:-1]) / 2)
        top = int(fixed.abs().argmax())
        if not bool((index == top).any()):
            side = scaled.detach() * torch.sign(fixed[top])
            index.view(-1)[side.argmax()] = top
        own = levels[index]
        return own + (scaled - scaled.detach())


class _Model:
    """Weights and the forward pass of a `Recipe`."""

    clip = None

    def __init__(self, recipe: Recipe, dataset: Dataset, seed: int):
        self.recipe, self.shape, self.leaks = recipe, dataset.shape, Leaks(recipe)
        self.pictures, self.labels = torch.from_numpy(dataset.train_x), torch.from_numpy(dataset.train_y)
        rng = stream(seed, 0)
        inputs = dataset.train_x.shape[1]
        shapes = ((recipe.hidden, inputs), (dataset.classes, recipe.hidden))
        scales = ((inputs / ACTIVE_INPUTS) ** -0.5, recipe.hidden**-0.5)
        self.weights = [parameter(rng, shape, scale) for shape, scale in zip(shapes, scales, strict=True)]
        if recipe.start is not None:
            self.weights = [torch.from_numpy(array).requires_grad_() for array in _start(recipe.start, shapes)]
        self.sharing = Sharing(recipe, self.weights)
        # A pixel that is black in every training picture teaches nothing: its weights are 0, distortion or not.
        self.used = torch.from_numpy((dataset.train_x > 0).any(axis=0).astype(np.float32))
        self.patterns = torch.from_numpy(_patterns(recipe.steps))

    @property
    def samples(self) -> int:
        """Pictures to train with."""
        return len(self.pictures) if self.recipe.samples is None else min(self.recipe.samples, len(self.pictures))

    @property
    def levels_learnt(self) -> list[torch.Tensor]:
        """Levels of shared weights."""
        return self.sharing.learnt

    def integers(self) -> list[torch.Tensor]:
        """Integer weights of both layers, with the gradients of the real ones."""
        first, second = self.weights
        recipe = self.recipe
        pairs = zip((first * self.used, second), recipe.threshold, strict=True)
        if self.sharing.learnt:
            levels = self.sharing.levels()
            return [self.sharing.share(weights, theta, levels) for weights, theta in pairs]
        return [on_grid([weights], theta, recipe.weight_bits)[0] for weights, theta in pairs]

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[torch.Tensor, int]:
        """Loss of a batch, and how many of its decisions were right."""
        recipe, index = self.recipe, torch.from_numpy(chosen)
        labels = self.labels[index]
        spikes = self.encode(distort(self.pictures[index], self.shape, recipe.distortion, rng))
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
        """Spikes [T, B, neurons] of a layer: the equations of `integer`, with reset zero."""
        recipe = self.recipe
        steps, batch, inputs = spikes.shape
        current = (spikes.reshape(steps * batch, inputs) @ weights.T).view(steps, batch, -1)
        return lif(current, self.leaks.of(index), recipe.threshold[index], recipe.potential_bits)


def _start(name: str, shapes: tuple) -> list[np.ndarray]:
    """The weights of a network of the zoo, float32, in units of its thresholds.

    Raises
    ------
    InputError
        For a network of another shape.
    """
    weights = [layer.connections[0].weights.astype(np.float32) for layer in load(name).layers]
    if [array.shape for array in weights] != list(shapes):
        raise InputError(f"start = {name!r}: weights of {[array.shape for array in weights]}; accepted are {shapes}")
    return weights


def _patterns(steps: int) -> np.ndarray:
    """Spike trains float32 [T, T + 1] of the rate coding: column n has n spikes."""
    return rate(np.arange(steps + 1)[None] / steps, steps)[0].astype(np.float32)


def _save(path: Path, key: str, model, parts: dict, epoch: int) -> None:
    """Write all that the next epoch needs."""
    buffer = io.BytesIO()
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"key": key, "epoch": epoch, "weights": [w.detach() for w in _parameters(model)], **state}, buffer)
    write_atomic(path, buffer.getvalue())


def _load(path: Path | None, key: str, model, parts: dict) -> int:
    """Take up the state of a checkpoint, if there is one of this key; the epoch to go on with."""
    if path is None or not path.is_file():
        return 0
    try:
        state = torch.load(path, weights_only=True)
        if state["key"] != key:
            return 0
        with torch.no_grad():
            for weights, saved in zip(_parameters(model), state["weights"], strict=True):
                weights.copy_(saved)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return int(state["epoch"])
    except Exception as error:  # whatever torch says about a damaged file
        raise InputError(f"{path}: not a readable checkpoint ({error}); delete it to start again") from error
