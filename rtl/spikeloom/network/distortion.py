"""Random distortion of training pictures (needs torch)."""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

__all__ = ["distort"]

MAX_TURN, MAX_SCALE, MAX_SHEAR, MAX_SHIFT = 0.17, 0.1, 0.15, 0.1  # radians; shares; of half the picture


def distort(pictures: torch.Tensor, shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> torch.Tensor:
    """Each picture [B, inputs] turned, scaled, sheared and shifted at random; strength 1 turns by up to 10 degrees."""
    if strength == 0:
        return pictures
    draw = (2 * rng.random((6, len(pictures))) - 1) * strength
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
