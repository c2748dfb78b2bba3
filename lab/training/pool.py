"""Rendered training crops on disk, as memory maps: one process fills them while others train on them."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from lab.progress import Progress
from lab.scenes.composition import View
from lab.scenes.seeds import Split, assert_split
from lab.scenes.views import render_view
from schemas.geometry import CROP_SIDE, GRID, NUM_PATCHES, PATCH_SIDE
from vit.preprocess import resize_crop

JPEG_QUALITIES = (70, 96)
META = np.dtype([("truth", "i2"), ("label", "i2"), ("side_px", "f4"), ("visible", "f4")])


@dataclass(frozen=True, slots=True)
class Pool:
    """``size`` crops with truths and masks; the first ``filled()`` are valid.

    crops: (size, 224, 224, 3) uint8. cover: (size, 196) uint8, share × 255 of each patch that the object
    covers. meta: (size,) of `META`.
    """

    folder: Path
    size: int
    crops: NDArray[np.uint8]
    cover: NDArray[np.uint8]
    meta: NDArray[np.void]

    @classmethod
    def open(cls, folder: Path, size: int, *, create: bool = False) -> Pool:
        """Return the pool in ``folder``; with ``create`` its files are made, sparse, if they are missing."""
        folder.mkdir(parents=True, exist_ok=True)
        shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
            "crops": ((size, CROP_SIDE, CROP_SIDE, 3), np.dtype(np.uint8)),
            "cover": ((size, NUM_PATCHES), np.dtype(np.uint8)),
            "meta": ((size,), META),
        }
        maps = {}
        for name, (shape, dtype) in shapes.items():
            path = folder / f"{name}.bin"
            mode: Literal["w+", "r+"] = "w+" if create and not path.exists() else "r+"
            maps[name] = np.memmap(path, dtype, mode, shape=shape)
        return cls(folder, size, maps["crops"], maps["cover"], maps["meta"])

    def filled(self) -> int:
        """Return how many crops are there."""
        path = self.folder / "filled.json"
        return int(json.loads(path.read_text())["filled"]) if path.exists() else 0

    def mark(self, filled: int) -> None:
        """Note that the first ``filled`` crops are valid."""
        partial = self.folder / "filled.partial"
        partial.write_text(json.dumps({"filled": filled}))
        partial.replace(self.folder / "filled.json")

    def put(self, index: int, view: View, crop: NDArray[np.uint8]) -> None:
        """Store one crop with what is known of it."""
        self.crops[index] = crop
        self.cover[index] = patch_cover(view.mask)
        self.meta[index] = (view.truth, view.label, view.side_px, view.visible)


def patch_cover(mask: Image.Image | None) -> NDArray[np.uint8]:
    """Return the (196,) share × 255 of each patch of the crop that the object's mask covers."""
    if mask is None:
        return np.zeros(NUM_PATCHES, np.uint8)
    crop = resize_crop(mask)[..., 0]
    cells = crop.reshape(GRID[0], PATCH_SIDE, GRID[1], PATCH_SIDE)
    shares: NDArray[np.uint8] = cells.mean((1, 3)).round().astype(np.uint8).reshape(-1)
    return shares


def camera_crop(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Return the (224, 224, 3) crop of a frame after the JPEG that a camera makes of it."""
    data = simplejpeg.encode_jpeg(image, quality=quality, colorspace="RGB", colorsubsampling="420")
    return resize_crop(simplejpeg.decode_jpeg(data, colorspace="RGB"))


def quality_of(seed: int) -> int:
    """Return the JPEG quality of a training scene, spread over what cameras use."""
    low, high = JPEG_QUALITIES
    return low + seed * 7919 % (high - low)


def fill(pool: Pool, first_seed: int, *, step: int = 250, easy: int = 0) -> None:
    """Render scenes ``first_seed + i`` into the pool until it is full, going on where it was left.

    The first ``easy`` scenes are easy ones, getting harder: they are what a model sees first.
    """
    for start in range(pool.filled(), pool.size, step):
        part = range(start, min(start + step, pool.size))
        fill_part(pool, part, first_seed, easy=easy)
        pool.mark(part.stop)


def fill_part(pool: Pool, part: range, first_seed: int, *, easy: int = 0) -> None:
    """Render the scenes of these indices into the pool, without marking them valid."""
    assert_split(range(first_seed, first_seed + pool.size), Split.TRAIN)
    for index in part:
        seed = first_seed + index
        ease = max(0.0, 1.0 - index / easy) if easy else 0.0
        view = render_view(seed, ease=ease, want_mask=True)
        pool.put(index, view, camera_crop(view.image, quality_of(seed)))


PART: Final = 250


def render_pool(
    folder: Path, size: int, first_seed: int, *, easy: int, processes: int, progress: Progress
) -> Pool:
    """Return the full pool in ``folder``, scene ``first_seed + i`` at index i for any ``processes``."""
    pool = Pool.open(folder, size, create=True)
    filled = pool.filled()
    progress.start("render scenes", size)
    progress.advance(filled)
    parts = [range(start, min(start + PART, size)) for start in range(filled, size, PART)]
    if not parts:
        return pool
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as workers:
        done = workers.map(_render, repeat(folder), repeat(size), parts, repeat(first_seed), repeat(easy))
        for part, _ in zip(parts, done, strict=True):
            pool.mark(part.stop)
            progress.advance(len(part))
    return pool


def _render(folder: Path, size: int, part: range, first_seed: int, easy: int) -> None:
    fill_part(Pool.open(folder, size), part, first_seed, easy=easy)
