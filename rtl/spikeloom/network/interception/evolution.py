"""Training of the interception network by evolution strategies, on the closed loop and as integers.

There is no teacher: the score of a set of weights is the mean number of steps to the capture over a batch of seeded
prey. Each generation draws P / 2 directions e, tries the mean m + sigma e and m - sigma e on the same prey, rounded to
integers, replaces scores by ranks in -1/2 .. 1/2 and follows the gradient estimate mean(rank e) with Adam
(Salimans et al., arXiv:1703.03864). Weights are what a cell can hold: 0, or from `low` to `high`; what lies between 0
and `low` goes to the nearer of both. The largest weight of a layer is at least 128 / 256, so that the quantiser finds
the step 1 / 256 again. The mean itself moves between 0 and `high`.
"""

import hashlib
import importlib.metadata
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtri

from ...errors import InputError
from ...output import write_atomic
from ..integer import IntegerNetwork
from ..recipes import RECIPES, EvolutionRecipe
from .code import STEPS, decode, encode
from .controllers import IntegerController
from .dataset import TEST_KEY
from .prey import POINTS, draw_prey
from .pursuit import CAPTURE, Pursuit, pure_pursuit, pursue, steer
from .weights import DT, HIDDEN, INPUTS, POTENTIAL_BITS, THRESHOLD, WEIGHT_BITS, Weights

__all__ = ["evolve", "record_table"]

GENES = HIDDEN * (INPUTS + 1)
FIRST_KEY = 1 << 32  # of the random stream of the first weights; generations have keys from 0
SAVE_EVERY = 20  # generations
TEST_PREY = 1000
KEPT, KEPT_SQUARE = 0.9, 0.99  # of the averages of Adam
CHECKPOINT_KEYS = {"key", "generation", "mean", "momentum", "square"}


def evolve(
    recipe: EvolutionRecipe,
    *,
    seed: int,
    checkpoint: Path | None = None,
    advance: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> Weights:
    """Train; weights that are multiples of 1 / 256.

    Random numbers come from Philox streams with key (seed, generation), prey from path numbers of their own, so a
    training that goes on from `checkpoint` ends like one that was never stopped. A checkpoint of another recipe or
    seed is not used. `advance(done, total, note)` is called after every generation.

    Raises
    ------
    InputError
        Where the checkpoint is damaged or cannot be written.
    """
    key = hashlib.sha256(json.dumps([asdict(recipe), seed], sort_keys=True).encode()).hexdigest()
    state = _first(recipe, seed, key) if checkpoint is None else _load(checkpoint, recipe, seed, key)
    mean, momentum, square = (state[name] for name in ("mean", "momentum", "square"))
    for generation in range(int(state["generation"]), recipe.epochs):
        if checkpoint is not None and generation % SAVE_EVERY == 0:
            _save(checkpoint, key=key, generation=generation, mean=mean, momentum=momentum, square=square)
        half = _normals(seed, generation, (recipe.population // 2, GENES))
        directions = np.concatenate([half, -half])
        tried = _held(mean + recipe.sigma * directions, recipe)
        first = generation * recipe.prey
        steps = _steps(tried, draw_prey(seed, range(first, first + recipe.prey)))
        ranks = np.empty(recipe.population)
        ranks[np.argsort(-steps, kind="stable")] = np.linspace(-0.5, 0.5, recipe.population)
        gradient = (ranks[:, None] * directions).mean(axis=0)
        momentum = KEPT * momentum + (1 - KEPT) * gradient
        square = KEPT_SQUARE * square + (1 - KEPT_SQUARE) * gradient**2
        size = recipe.learning_rate * (1 - generation / recipe.epochs)
        slope = momentum / (1 - KEPT ** (generation + 1))
        mean = mean + size * slope / (np.sqrt(square / (1 - KEPT_SQUARE ** (generation + 1))) + 1e-12)
        mean = np.clip(mean, 0, recipe.high)
        advance(generation + 1, recipe.epochs, f"{steps.mean():.2f} steps to the capture")
    final = _held(mean, recipe) / THRESHOLD
    return Weights(final[: HIDDEN * INPUTS].reshape(HIDDEN, INPUTS), final[HIDDEN * INPUTS :], origin="evolved weights")


def record_table(recipe: EvolutionRecipe, seed: int, network: IntegerNetwork, content: bytes) -> dict[str, Any]:
    """The network's table of the record: how to use it, how it was made, what it reached on prey kept for the test."""
    prey = draw_prey(seed, range(TEST_KEY, TEST_KEY + TEST_PREY))
    reached = pursue(prey, steer(IntegerController(network)))
    pure = pursue(prey, pure_pursuit)
    command = f"spikeloom train interception --out interception.nir --seed {seed}"
    if recipe.epochs != RECIPES["interception"].epochs:
        command += f" --epochs {recipe.epochs}"
    return {
        "data": "interception",
        "dt": DT,
        "reset": "zero",
        "weight_bits": WEIGHT_BITS,
        "potential_bits": POTENTIAL_BITS,
        "leak": "none",
        "coding": "events",
        "decision": "count",
        "steps": STEPS,
        "step_us": DT * 1e6,
        "capture_rate": round(reached.capture_rate, 6),
        "mean_steps": round(reached.mean_steps, 4),
        "pure_pursuit": {"capture_rate": round(pure.capture_rate, 6), "mean_steps": round(pure.mean_steps, 4)},
        "test_prey": TEST_PREY,
        "threshold": {layer.name: layer.threshold for layer in network.layers},
        "sha256": hashlib.sha256(content).hexdigest(),
        "network": network.content_hash(),
        "command": command,
        "seed": seed,
        "epochs": recipe.epochs,
        "versions": {package: importlib.metadata.version(package) for package in ("numpy", "scipy", "nir")},
    }


def _held(mean: np.ndarray, recipe: EvolutionRecipe) -> np.ndarray:
    """The nearest weights that a cell can hold, as whole numbers, [..., GENES]."""
    whole = np.rint(np.clip(mean, 0, recipe.high))
    whole = np.where(whole < recipe.low / 2, 0, np.maximum(whole, recipe.low))
    for part in (whole[..., : HIDDEN * INPUTS], whole[..., HIDDEN * INPUTS :]):
        largest = part.argmax(axis=-1)[..., None]
        raised = np.maximum(np.take_along_axis(part, largest, -1), THRESHOLD // 2)
        np.put_along_axis(part, largest, raised, -1)
    return whole


def _steps(genes: np.ndarray, prey: np.ndarray) -> np.ndarray:
    """Mean steps to the capture of each set of weights [P, GENES]; a prey that got away adds twice its distance.

    The moment of the capture is interpolated between two steps: ranks then differ where whole steps would not.
    """
    population, count = len(genes), len(prey)
    hidden = genes[:, : HIDDEN * INPUTS].reshape(population, HIDDEN, INPUTS).astype(np.float32)
    output = genes[:, HIDDEN * INPUTS :].astype(np.float32)

    def steering(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
        which = keys // 64 // count  # path number p * count + b is prey b before the weights p
        return decode(_counts(hidden[which], output[which], values))

    result: Pursuit = pursue(np.tile(prey, (population, 1, 1)), steering)
    caught, distance = result.captured, result.distance
    rows = np.arange(len(caught))
    after, before = distance[rows, caught], distance[rows, np.maximum(caught - 1, 0)]
    share = (before - CAPTURE) / np.maximum(before - after, 1e-12)
    score = np.where(caught > 0, caught - 1 + share, POINTS - 1 + 2 * distance[:, -1])
    return score.reshape(population, count).mean(axis=1)


def _counts(hidden: np.ndarray, output: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Output spikes [B] where each observation has its own weights, [B, HIDDEN, INPUTS] and [B, HIDDEN].

    Single precision is exact: sums of integers below 2**24.
    """
    spikes = encode(values).astype(np.float32)
    columns = np.ascontiguousarray(hidden.transpose(2, 0, 1))
    v, u = np.zeros(output.shape, np.float32), np.zeros(len(values), np.float32)
    counts = np.zeros(len(values), np.int64)
    for t in range(STEPS):
        given = spikes[:, t]
        if not given.any():
            continue
        for i in range(INPUTS):
            v += given[:, i, None] * columns[i]
        fired = v >= THRESHOLD
        v *= ~fired
        u += (fired * output).sum(axis=1)
        answered = u >= THRESHOLD
        counts += answered
        u *= ~answered
    return counts


def _uniforms(seed: int, key: int, count: int) -> np.ndarray:
    """Numbers in (0, 1) from the raw Philox stream with key (seed, key)."""
    raw = np.random.Philox(key=np.array([seed, key], np.uint64)).random_raw(count)
    return ((raw >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def _normals(seed: int, generation: int, shape: tuple[int, int]) -> np.ndarray:
    return ndtri(_uniforms(seed, generation, shape[0] * shape[1])).reshape(shape)


def _first(recipe: EvolutionRecipe, seed: int, key: str) -> dict[str, Any]:
    """The state before the first generation: weights uniform from 0 to the limit of their layer."""
    u = _uniforms(seed, FIRST_KEY, GENES)
    mean = np.repeat(recipe.first, [HIDDEN * INPUTS, HIDDEN]) * u
    return {"key": key, "generation": 0, "mean": mean, "momentum": np.zeros(GENES), "square": np.zeros(GENES)}


def _save(path: Path, **state: Any) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **state)
    write_atomic(path, buffer.getvalue())


def _load(path: Path, recipe: EvolutionRecipe, seed: int, key: str) -> dict[str, Any]:
    """The state of a checkpoint of this key, or the first one."""
    first = _first(recipe, seed, key)
    if not path.is_file():
        return first
    try:
        with np.load(path, allow_pickle=False) as file:
            state = {name: file[name] for name in CHECKPOINT_KEYS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable checkpoint ({error}); delete it to start again") from error
    return state if str(state["key"]) == key else first
