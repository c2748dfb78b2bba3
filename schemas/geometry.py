"""The fixed picture geometry that both sides share: a 224x224 crop cut into 14x14 patches of 16x16."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

CROP_SIDE: Final = 224
PATCH_SIDE: Final = 16
GRID: Final = (14, 14)
NUM_PATCHES: Final = GRID[0] * GRID[1]
FULL_TOKENS: Final = NUM_PATCHES + 1
"""Tokens of an image with every patch kept: 196 patches and the class token."""
BITMAP_BYTES: Final = (NUM_PATCHES + 7) // 8

Positions = NDArray[np.int64]
"""Row-major indices 0..195 of patches in the grid."""
Attention = NDArray[np.float32]
"""Class-token attention over the 196 patches, the last axis; each row is non-negative with sum 1."""
