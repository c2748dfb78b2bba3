"""A user's own images, one folder per class, as a pool to learn from and one to watch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from lab.errors import TrainingError
from lab.progress import Progress
from lab.training.pool import Pool
from schemas.geometry import CROP_SIDE
from vit.preprocess import Pixels, resize_crop

ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
WATCHED_ONE_OF: Final = 10
COVER_UNKNOWN: Final = 64
"""Cover of every patch: between bare and covered, so that no patch is told a class that nobody knows."""
_SMALLEST_PIECE: Final = 0.6
_LARGEST_PIXELS: Final = 64_000_000


@dataclass(frozen=True, slots=True)
class Folder:
    """The images of a data folder: class names in alphabetical order, (path, class index) of each image."""

    classes: tuple[str, ...]
    learnt: tuple[tuple[Path, int], ...]
    watched: tuple[tuple[Path, int], ...]


def read_folder(data: Path) -> Folder:
    """Return the images under ``data/CLASS/…``; of each class every tenth, by name, is only watched.

    Raises:
        TrainingError: no folder, fewer than two classes, or a class with fewer than two images.

    """
    if not data.is_dir():
        raise TrainingError(f"data {data}: no such folder")
    folders = sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(folders) < 2:
        raise TrainingError(
            f"data {data}: {len(folders)} class folders, at least 2 are needed (data/CLASS/image.jpg)"
        )
    learnt: list[tuple[Path, int]] = []
    watched: list[tuple[Path, int]] = []
    for label, folder in enumerate(folders):
        images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
        if len(images) < 2:
            raise TrainingError(
                f"class {folder.name}: {len(images)} images in {folder}, at least 2 are needed"
            )
        for number, path in enumerate(images):
            (watched if number % WATCHED_ONE_OF == WATCHED_ONE_OF - 1 or number == 1 else learnt).append(
                (path, label)
            )
    return Folder(tuple(folder.name for folder in folders), tuple(learnt), tuple(watched))


def fill_from_images(
    folder: Path, images: tuple[tuple[Path, int], ...], copies: int, seed: int, progress: Progress
) -> Pool:
    """Return a full pool of ``copies`` crops of each image: the usual crop first, then random pieces of it.

    Raises:
        TrainingError: an image that cannot be read.

    """
    pool = Pool.open(folder, len(images) * copies, create=True)
    progress.start("read images", pool.size)
    progress.advance(pool.filled())
    for index in range(pool.filled(), pool.size):
        path, label = images[index % len(images)]
        random = np.random.default_rng([seed, index])
        pool.crops[index] = read_crop(path, random if index >= len(images) else None)
        pool.cover[index] = COVER_UNKNOWN
        pool.meta[index] = (label, label, CROP_SIDE, 1.0)
        if (index + 1) % 100 == 0 or index + 1 == pool.size:
            pool.mark(index + 1)
        progress.advance()
    return pool


def read_crop(path: Path, random: np.random.Generator | None) -> Pixels:
    """Return an image's (224, 224, 3) crop; with ``random`` of a random piece of 60 to 100 % of its sides."""
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > _LARGEST_PIXELS:
                raise TrainingError(
                    f"image {path}: {opened.width}×{opened.height}, at most {_LARGEST_PIXELS} pixels"
                )
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise TrainingError(f"image {path}: cannot be read ({error})") from error
    if random is not None:
        width, height = (max(1, round(side * random.uniform(_SMALLEST_PIECE, 1.0))) for side in image.size)
        left, top = (
            int(random.integers(0, free + 1)) for free in (image.width - width, image.height - height)
        )
        image = image.crop((left, top, left + width, top + height))
    return resize_crop(image)
