"""Prey: seeded paths of 50 points of four families, never faster than 1 per step.

A path starts at a distance of 3 to 10 from the predator, which stands at (0, 0), in any direction. With the numbers
u_j in [0, 1) of its own random stream::

    start    (3 + 7 u0) in the direction 2 pi u1         heading  h = 2 pi u2        speed  s = 0.3 + 0.7 u3
    line     s per step along h
    circle   radius 2 + 6 u4, s per step along the arc, tangent to h at the start; to the left where u5 < 1/2
    sine     s cos(a) per step along h, a = (15 + 45 u4) degrees; sideways s sin(a) / w sin(w k), period 2 pi / w =
             10 + 30 u5 steps
    walk     s per step, the heading of step k turned by (60 u_k+5 - 30) degrees before it
"""

import numpy as np

from ...errors import InputError

__all__ = ["FAMILIES", "POINTS", "draw_prey"]

POINTS = 50
FAMILIES = ("line", "circle", "sine", "walk")
"""Family of path number i: FAMILIES[i % 4]."""
DRAWS = 6 + POINTS - 1


def draw_prey(seed: int, numbers: np.ndarray | range) -> np.ndarray:
    """Paths with these numbers: float64 [paths, POINTS, 2].

    Path i draws from Philox-4x64-10 with key (seed, i): u_j is number j of the raw stream, its upper 53 bits / 2**53.
    So a path is the same in any batch and any order.

    Raises
    ------
    InputError
        Where the seed or a number is not an integer from 0 to 2**63 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 1 << 63:
        raise InputError(f"seed = {seed!r}: accepted is an integer from 0 to {(1 << 63) - 1}")
    if any(number < 0 for number in numbers):
        raise InputError(f"path number {min(numbers)}: accepted is an integer of at least 0")
    paths = [_path(int(seed), int(number)) for number in numbers]
    return np.array(paths).reshape(len(paths), POINTS, 2)


def _path(seed: int, number: int) -> np.ndarray:
    # random_raw: numpy promises that the raw stream never changes
    raw = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(DRAWS)
    u = (raw >> np.uint64(11)).astype(np.float64) / 2.0**53
    start, heading, speed = 3 + 7 * u[0], 2 * np.pi * u[2], 0.3 + 0.7 * u[3]
    step = np.arange(POINTS)
    family = FAMILIES[number % len(FAMILIES)]
    if family == "line":
        along, aside = speed * step, np.zeros(POINTS)
    elif family == "circle":
        radius, side = 2 + 6 * u[4], 1.0 if u[5] < 0.5 else -1.0
        angle = speed * step / radius
        along, aside = radius * np.sin(angle), side * radius * (1 - np.cos(angle))
    elif family == "sine":
        slope, w = np.radians(15 + 45 * u[4]), 2 * np.pi / (10 + 30 * u[5])
        along, aside = speed * np.cos(slope) * step, speed * np.sin(slope) / w * np.sin(w * step)
    else:
        turns = np.cumsum(np.radians(60 * u[6:] - 30))
        along = np.concatenate([[0.0], np.cumsum(speed * np.cos(turns))])
        aside = np.concatenate([[0.0], np.cumsum(speed * np.sin(turns))])
    c, s = np.cos(heading), np.sin(heading)
    bearing = 2 * np.pi * u[1]
    x = start * np.cos(bearing) + c * along - s * aside
    y = start * np.sin(bearing) + s * along + c * aside
    return np.stack([x, y], axis=1)
