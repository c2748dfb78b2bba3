"""Pictures as another moment would show them: where few are at hand, each is shown a little differently every time."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_TURN: Final = 0.26
_MOVE: Final = 0.12
_STRETCH: Final = 1.25
"""How far a picture is changed at most: radians, parts of half its side, and its size up or down."""


def varied(pixels: Tensor, random: np.random.Generator) -> Tensor:
    """Return pictures (B, 3, height, width) turned, moved, stretched, and under other light and contrast.

    Values are -2 for black to 2 for white. Nothing is mirrored, for signs have a direction. What comes in from beyond
    the border repeats its pixels.
    """
    count = len(pixels)
    turn = random.uniform(-_TURN, _TURN, count)
    size = np.exp(random.uniform(-np.log(_STRETCH), np.log(_STRETCH), (2, count)))
    move = random.uniform(-_MOVE, _MOVE, (2, count))
    cosine, sine = np.cos(turn), np.sin(turn)
    rows = [[cosine / size[0], -sine / size[0], move[0]], [sine / size[1], cosine / size[1], move[1]]]
    affine = torch.from_numpy(np.array(rows, np.float32)).permute(2, 0, 1).to(pixels.device)
    grid = functional.affine_grid(affine, list(pixels.shape), align_corners=False)
    shown = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    contrast, light, lift = (
        torch.from_numpy(random.uniform(low, high, (count, 1, 1, 1)).astype(np.float32)).to(pixels.device)
        for low, high in ((0.4, 1.6), (0.5, 1.5), (-0.3, 0.3))
    )
    # Light multiplies grey levels above black, which is -2.
    mean = shown.mean((1, 2, 3), keepdim=True)
    return ((shown - mean) * contrast + (mean + 2.0) * light - 2.0 + lift).clamp(-2.0, 2.0)
