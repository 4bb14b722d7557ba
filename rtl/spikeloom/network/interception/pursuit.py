"""The closed loop: the predator sees, the controller answers, the predator turns.

Predator A starts at (0, 0), heading to the first point of the prey B. In each step, angles in degrees::

    A moves 1.3 along its heading; B moves to the next point of its path
    deg_AB  line of sight from A to B;  S1, S2  distance before and after the move
    caught  where S2 <= 1: the pursuit ends, the controller is not asked
    theta2  old heading - deg_AB
    theta1  (new heading - deg_AB) of the step before, 0 in the first
    x       S1 / 10, S2 / 10, (theta1 + 60) / 120, (theta2 + 100) / 200, each clamped to [0, 1]
    CAB     120 out(x) - 60;   new heading = deg_AB + CAB

Angles are wrapped to [-180, 180).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from .code import INPUTS, decode
from .controllers import Controller
from .prey import POINTS

__all__ = ["CAPTURE", "SPEED", "Pursuit", "Steering", "observation_keys", "pure_pursuit", "pursue", "steer"]

SPEED = 1.3
CAPTURE = 1.0

Steering = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From values float64 [B, INPUTS] and their keys int64 [B] to out, float64 [B]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pursuit:
    """N pursuits of K = POINTS - 1 steps.

    Attributes
    ----------
    prey, predator : float64 [N, POINTS, 2]
        Positions; the predator stays where it has caught its prey.
    distance : float64 [N, POINTS]
        Between both after each step; that of the capture from then on.
    values, out : float64 [N, K, INPUTS], [N, K]
        What the controller saw and answered; NaN after the capture.
    captured : int64 [N]
        Step of the capture, 1 to K; 0 where the prey got away.
    """

    prey: np.ndarray
    predator: np.ndarray
    distance: np.ndarray
    values: np.ndarray
    out: np.ndarray
    captured: np.ndarray

    @property
    def asked(self) -> np.ndarray:
        """Steps in which the controller was asked: bool [N, K]."""
        return ~np.isnan(self.out)

    def recorded(self) -> np.ndarray:
        """All values that the controller saw, pursuit by pursuit: float64 [B, INPUTS]."""
        return self.values[self.asked]

    def recorded_keys(self, numbers: np.ndarray | range | None = None) -> np.ndarray:
        """The keys that belong to `recorded`: int64 [B]; `numbers` are those of the paths (default: 0, 1, ...)."""
        pursuits, steps = self.asked.shape
        named = np.arange(pursuits) if numbers is None else np.asarray(numbers, np.int64)
        return observation_keys(named[:, None], np.arange(1, steps + 1))[self.asked]

    @property
    def capture_rate(self) -> float:
        """Share of the prey that was caught."""
        return float((self.captured > 0).mean())

    @property
    def mean_steps(self) -> float:
        """Mean number of steps to the capture; a prey that got away counts with all steps."""
        return float(np.where(self.captured > 0, self.captured, self.asked.shape[1]).mean())


def observation_keys(numbers: np.ndarray, step: np.ndarray | int) -> np.ndarray:
    """One number for each path and step, for random effects of a controller: number * 64 + step."""
    return numbers * 64 + step


def steer(controller: Controller) -> Steering:
    """The steering of a controller that answers in spikes."""
    return lambda values, keys: decode(controller.counts(values, keys))


def pure_pursuit(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Always straight to where the prey is: out = 1/2, CAB = 0."""
    return np.full(len(values), 0.5)


def pursue(
    prey: np.ndarray,
    steering: Steering,
    *,
    numbers: np.ndarray | range | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Pursuit:
    """Run N pursuits side by side; all that are still going on ask the controller as one batch in each step.

    Parameters
    ----------
    prey : float64 [N, POINTS, 2]
    steering : Steering
        `steer(controller)`, or a function such as `pure_pursuit`.
    numbers : int [N], optional
        Numbers of the paths, of which the keys are made (default: 0, 1, ...).
    progress : function
        Called with the share of the steps that is done.

    Raises
    ------
    InputError
        For paths of another shape or with a number that is not finite.
    """
    prey = np.asarray(prey, np.float64)
    if prey.ndim != 3 or prey.shape[1:] != (POINTS, 2) or not np.isfinite(prey).all():
        raise InputError(f"prey of shape {prey.shape}: accepted are finite numbers [pursuits, {POINTS}, 2]")
    count, steps = len(prey), POINTS - 1
    named = np.arange(count) if numbers is None else np.asarray(numbers, np.int64)
    predator = np.zeros_like(prey)
    distance = np.empty((count, POINTS))
    distance[:, 0] = np.hypot(prey[:, 0, 0], prey[:, 0, 1])
    values, out = np.full((count, steps, INPUTS), np.nan), np.full((count, steps), np.nan)
    captured = np.zeros(count, np.int64)
    heading = np.degrees(np.arctan2(prey[:, 0, 1], prey[:, 0, 0]))
    theta1 = np.zeros(count)
    for step in range(1, POINTS):
        progress((step - 1) / steps)
        going = captured == 0
        angle = np.radians(heading)
        move = SPEED * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        predator[:, step] = predator[:, step - 1] + move * going[:, None]
        sight = prey[:, step] - predator[:, step]
        distance[:, step] = np.where(going, np.hypot(sight[:, 0], sight[:, 1]), distance[:, step - 1])
        captured[going & (distance[:, step] <= CAPTURE)] = step
        at = np.flatnonzero(captured == 0)
        if not len(at):
            predator[:, step + 1 :], distance[:, step + 1 :] = predator[:, step, None], distance[:, step, None]
            break
        line = np.degrees(np.arctan2(sight[at, 1], sight[at, 0]))
        theta2 = _wrapped(heading[at] - line)
        seen = [distance[at, step - 1] / 10, distance[at, step] / 10, (theta1[at] + 60) / 120, (theta2 + 100) / 200]
        values[at, step - 1] = np.clip(np.stack(seen, axis=1), 0, 1)
        out[at, step - 1] = steering(values[at, step - 1], observation_keys(named[at], step))
        theta1[at] = 120 * out[at, step - 1] - 60
        heading[at] = line + theta1[at]
    progress(1.0)
    return Pursuit(prey=prey, predator=predator, distance=distance, values=values, out=out, captured=captured)


def _wrapped(degrees: np.ndarray) -> np.ndarray:
    """Angles in [-180, 180)."""
    return (degrees + 180) % 360 - 180
