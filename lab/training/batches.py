"""Batches from a pool: windows of patches early, whole crops later, with truths for every output."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.scenes.classes import IGNORE, NONE
from lab.scenes.truth import ABSENT_VISIBLE, CLEAR_SIDE_PX, CLEAR_VISIBLE
from lab.training.pool import Pool
from schemas.geometry import GRID

SIDE = GRID[0]
COVERED, BARE = 128, 13
"""Patch cover × 255 from which a patch shows the object, and up to which it shows none."""


class TrainingBatch(NamedTuple):
    """pixels: (B, 16 w, 16 w, 3) uint8. positions: (B, w²). truth: (B,), −1 ignored. patch_truth: (B, w²),
    −1 ignored.

    cover: (B, w²) float32, the share of each patch that the object covers.
    """

    pixels: NDArray[np.uint8]
    positions: NDArray[np.int64]
    truth: NDArray[np.int64]
    patch_truth: NDArray[np.int64]
    cover: NDArray[np.float32]


def sample(
    pool: Pool, random: np.random.Generator, count: int, window: int, available: range
) -> tuple[TrainingBatch, NDArray[np.int64]]:
    """Return ``count`` windows of ``window``² patches of random crops in ``available``, and which crops.

    Four of five windows hold the object, the others lie anywhere. Light varies per crop.
    """
    indices = random.integers(available.start, available.stop, count)
    covers = pool.cover[indices].reshape(count, SIDE, SIDE)
    meta = pool.meta[indices]
    corners = np.array([_corner(cover, random, window) for cover in covers])
    size = 16 * window
    pixels = np.empty((count, size, size, 3), np.uint8)
    windows = np.empty((count, window, window), np.uint8)
    for row, (index, (top, left)) in enumerate(zip(indices, corners, strict=True)):
        crop = pool.crops[index, 16 * top : 16 * top + size, 16 * left : 16 * left + size]
        pixels[row] = relit(crop, random)
        windows[row] = covers[row, top : top + window, left : left + window]
    total = covers.sum((1, 2), dtype=np.float64)
    share = np.divide(windows.sum((1, 2), dtype=np.float64), total, out=np.zeros(count), where=total > 0)
    offsets = np.arange(window)
    positions = (corners[:, :1, None] + offsets[:, None]) * SIDE + corners[:, 1:, None] + offsets
    labels = meta["label"].astype(np.int64)
    batch = TrainingBatch(
        pixels=pixels,
        positions=positions.reshape(count, -1).astype(np.int64),
        truth=window_truth(labels, share * meta["visible"], meta["side_px"]),
        patch_truth=patch_truth(labels, windows.reshape(count, -1)),
        cover=np.divide(windows.reshape(count, -1), 255, dtype=np.float32),
    )
    return batch, indices


def _corner(cover: NDArray[np.uint8], random: np.random.Generator, window: int) -> tuple[int, int]:
    """Return the upper left patch of a window: one that holds the object's middle, mostly."""
    free = SIDE - window
    total = int(cover.sum())
    if total == 0 or free == 0 or random.random() < 0.2:
        top, left = random.integers(0, free + 1, 2)
        return int(top), int(left)
    middle_row = float((cover.sum(1) * np.arange(SIDE)).sum() / total)
    middle_column = float((cover.sum(0) * np.arange(SIDE)).sum() / total)
    slack = window / 2 * random.uniform(-0.6, 0.6, 2)
    top = round(middle_row - (window - 1) / 2 + slack[0])
    left = round(middle_column - (window - 1) / 2 + slack[1])
    return min(max(top, 0), free), min(max(left, 0), free)


def window_truth(
    labels: NDArray[np.int64], visible: NDArray[np.float64], side_px: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the truth of windows by the rule of the whole view: clear, absent or ignored."""
    clear = (labels > NONE) & (visible >= CLEAR_VISIBLE) & (side_px >= CLEAR_SIDE_PX)
    absent = (labels == NONE) | (visible < ABSENT_VISIBLE)
    return np.where(clear, labels, np.where(absent, NONE, IGNORE))


def patch_truth(labels: NDArray[np.int64], cover: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return each patch's class: the object's where it is mostly covered, none where bare, −1 between."""
    shown = np.where(cover >= COVERED, labels[:, None], IGNORE)
    return np.where(cover <= BARE, NONE, shown)


def relit(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return pixels under slightly other light and colour, by one table per channel."""
    gain = random.uniform(0.8, 1.2) * random.uniform(0.94, 1.06, 3)
    shift = random.uniform(-15, 15)
    tables = (np.arange(256)[None] * gain[:, None] + shift).clip(0, 255).astype(np.uint8)
    out = np.empty_like(pixels)
    for channel in range(3):
        np.take(tables[channel], pixels[..., channel], out=out[..., channel])
    return out
