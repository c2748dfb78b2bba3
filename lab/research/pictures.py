"""Small labelled pictures in memory for the split networks: sign tracks from a folder, or drawn ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from lab.errors import EvaluationError


@dataclass(frozen=True)
class Pictures:
    """N square pictures. Frames of one track show one object, so splits and intervals go by track.

    pixels: (N, side, side, 3) uint8, RGB. truth: (N,), an index into classes. tracks: (N,), an id of its own.
    """

    pixels: NDArray[np.uint8]
    truth: NDArray[np.int64]
    tracks: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.truth)

    def only(self, chosen: NDArray[np.bool_]) -> Pictures:
        """Return the pictures where `chosen`, (N,), is true."""
        return Pictures(self.pixels[chosen], self.truth[chosen], self.tracks[chosen], self.classes)

    def hold_out(self, one_of: int) -> tuple[Pictures, Pictures]:
        """Return (all but every `one_of`-th track, those tracks), tracks counted by rising id."""
        place = np.unique(self.tracks, return_inverse=True)[1]
        held = place % one_of == one_of - 1
        return self.only(~held), self.only(held)


def read_tracks(folder: Path, side: int, *, limit: int | None = None) -> Pictures:
    """Return the pictures `folder/CLASS/TRACK_FRAME.jpg`, each scaled to `side`² pixels (bicubic).

    A file name without an underscore is a track of its own.

    Args:
        folder: one subfolder per class; classes are in alphabetical order.
        side: pixels.
        limit: at most so many pictures, evenly spread over the folder.

    Raises:
        EvaluationError: no folder, fewer than two classes, no pictures, or one that cannot be read.
    """
    if not folder.is_dir():
        raise EvaluationError(f"data {folder}: no such folder")
    classes = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    files = [(path, label) for label, each in enumerate(classes) for path in sorted(each.glob("*.*"))]
    if len(classes) < 2 or not files:
        raise EvaluationError(
            f"data {folder}: {len(classes)} class folders with {len(files)} pictures, at least 2 with one each"
        )
    if limit is not None and limit < len(files):
        files = [files[place] for place in np.linspace(0, len(files) - 1, limit).astype(int)]
    ids: dict[tuple[int, str], int] = {}
    pixels = np.empty((len(files), side, side, 3), np.uint8)
    tracks = np.empty(len(files), np.int64)
    for place, (path, label) in enumerate(files):
        pixels[place] = _read(path, side)
        tracks[place] = ids.setdefault((label, path.stem.partition("_")[0]), len(ids))
    truth = np.array([label for _, label in files], np.int64)
    return Pictures(pixels, truth, tracks, tuple(each.name for each in classes))


def _read(path: Path, side: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
    except (UnidentifiedImageError, OSError) as error:
        raise EvaluationError(f"picture {path}: cannot be read ({error})") from error


def drawn_tracks(num_tracks: int, side: int, *, seed: int, frames: int = 4, num_classes: int = 4) -> Pictures:
    """Return seeded pictures that a small network learns in seconds: bars of a class's slope and colour in noise.

    For tests and quick runs; their figures say nothing about signs.
    """
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(num_tracks) % num_classes, frames)
    tracks = np.repeat(np.arange(num_tracks), frames)
    rows, columns = np.mgrid[:side, :side] / side
    pixels = np.empty((len(truth), side, side, 3), np.uint8)
    for place, label in enumerate(truth):
        angle = np.pi * label / num_classes
        wave = np.sin(2 * np.pi * (3 * (rows * np.sin(angle) + columns * np.cos(angle)) + random.random()))
        colour = np.roll((1.0, 0.6, 0.2), label)
        shown = (
            128 + random.uniform(20, 60) * wave[..., None] * colour + random.normal(0, 25, (side, side, 3))
        )
        pixels[place] = shown.clip(0, 255)
    return Pictures(pixels, truth, tracks, tuple(f"bars {label}" for label in range(num_classes)))
