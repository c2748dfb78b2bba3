"""A user's own images, one folder per class, as a pool to learn from and one to watch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from lab.errors import TrainingError
from lab.progress import Progress
from lab.training.pool import Pool
from schemas.errors import DecodeError
from schemas.fields import Fields
from schemas.geometry import CROP_SIDE
from vit.preprocess import Pixels, resize_crop

ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
INDEX: Final = "index.json"
"""What `saccade harvest export` writes beside the class folders: of which camera each image is."""
HELD_OUT_SHARE: Final = 0.2
COVER_UNKNOWN: Final = 64
"""Cover of every patch: between bare and covered, so that no patch is told a class that nobody knows."""
_MOST_HELD_OUT: Final = 0.5
_SMALLEST_PIECE: Final = 0.6
_LARGEST_PIXELS: Final = 64_000_000
_MAX_TEXT: Final = 4_096
_MAX_IMAGES: Final = 1_000_000

Images = tuple[tuple[Path, int], ...]
"""Path and class index of each image."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The images of a data folder, those to learn from and those that are held out.

    `classes` names each index. `held_out_by` says what was held out whole: camera or image. `is_extended`: the
    class list is that of the starting pair, followed by the folder's new ones.
    """

    classes: tuple[str, ...]
    learnt: Images
    watched: Images
    held_out_by: str = "image"
    is_extended: bool = False


def read_folder(data: Path, known: Sequence[str] = (), *, seed: int = 1) -> Folder:
    """Return the images under ``data/CLASS/…``, about a fifth of them held out.

    With an `INDEX` whole cameras are held out, where that leaves enough to learn from; else single images.

    The class list is ``known``, that of the starting pair, followed by the folder's new classes in alphabetical order.
    A folder without an index that shares no class with the pair teaches other classes: the list is its own.

    Raises:
        TrainingError: no folder, too few classes or images, or an index that cannot be read.

    """
    if not data.is_dir():
        raise TrainingError(f"data {data}: no such folder")
    index = _index(data)
    found = _by_folder(data) if index is None else _by_index(index)
    is_extended = bool(known) and (index is not None or not set(known).isdisjoint(found))
    _check(data, found, least_images=1 if is_extended else 2, least_classes=1 if is_extended else 2)
    classes = (*known, *(name for name in found if name not in known)) if is_extended else tuple(found)
    images = [(path, classes.index(name)) for name, paths in found.items() for path in paths]
    num_known = len(known) if is_extended else 0
    held: set[int] = set()
    by = "camera"
    if index is not None:
        held = hold_out(
            [label for _, label in images], [index[path].camera for path, _ in images], num_known, seed
        )
    if not held:
        by = "image"
        held = hold_out([label for _, label in images], [str(path) for path, _ in images], num_known, seed)
    if not held:
        raise TrainingError(
            f"data {data}: no image can be held out to watch; give a second one of some class"
        )
    return Folder(
        classes,
        tuple(image for number, image in enumerate(images) if number not in held),
        tuple(images[number] for number in sorted(held)),
        by,
        is_extended,
    )


def hold_out(labels: Sequence[int], groups: Sequence[str], num_known: int, seed: int) -> set[int]:
    """Return the indices of the images that are held out: whole groups, in a seeded order even over the classes.

    Groups are held out until a fifth of the images are. One is passed over where half of the images would be
    held out with it, or where nothing would be left to learn a class from that the pair does not know.

    Args:
        labels: of each image.
        groups: the name of each image's group.
        num_known: classes below this are known to the pair.
        seed: of the order.

    """
    random = np.random.default_rng(seed)
    members: dict[str, list[int]] = {}
    for number in random.permutation(len(labels)):
        members.setdefault(groups[number], []).append(int(number))
    turns: Counter[int] = Counter()
    order = []
    for name, numbers in members.items():
        label = labels[numbers[0]]
        order.append((turns[label], name))
        turns[label] += 1
    left, held = Counter(labels), set[int]()
    for _, name in sorted(order, key=lambda each: each[0]):
        if len(held) >= HELD_OUT_SHARE * len(labels):
            break
        shown = Counter(labels[number] for number in members[name])
        fits = len(held) + len(members[name]) <= _MOST_HELD_OUT * len(labels)
        if fits and all(label < num_known or left[label] > count for label, count in shown.items()):
            held.update(members[name])
            left -= shown
    return held


class Exported(NamedTuple):
    """What an index says of an image."""

    name: str
    """Of its class, which its folder's name may only resemble."""
    camera: str


def _by_folder(data: Path) -> dict[str, list[Path]]:
    """Return the images of each class folder."""
    folders = sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {
        folder.name: sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
        for folder in folders
    }


def _by_index(index: dict[Path, Exported]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path, exported in sorted(index.items()):
        found.setdefault(exported.name, []).append(path)
    return dict(sorted(found.items()))


def _index(data: Path) -> dict[Path, Exported] | None:
    """Return what the folder's index says of each image; None without an index."""
    path = data / INDEX
    if not path.exists():
        return None
    try:
        listed = Fields.of(f"index {path}", json.loads(path.read_text(encoding="utf-8")))
        found = {}
        for number, entry in enumerate(listed.sequence("images", _MAX_IMAGES)):
            each = Fields.of(f"index {path}: images[{number}]", entry)
            file, name = each.text("file", _MAX_TEXT), each.text("class", _MAX_TEXT)
            found[data / file] = Exported(name, each.text("camera", _MAX_TEXT))
    except DecodeError as error:
        raise TrainingError(str(error)) from error
    except (OSError, ValueError) as error:
        raise TrainingError(f"index {path}: cannot be read ({error})") from error
    return found


def _check(data: Path, found: dict[str, list[Path]], *, least_images: int, least_classes: int) -> None:
    if len(found) < least_classes:
        raise TrainingError(
            f"data {data}: {len(found)} class folders, at least {least_classes} are needed (data/CLASS/image.jpg)"
        )
    for name, paths in found.items():
        if len(paths) < least_images:
            raise TrainingError(
                f"class {name}: {len(paths)} images in {data}, at least {least_images} are needed"
            )


def fill_from_images(folder: Path, images: Images, copies: int, seed: int, progress: Progress) -> Pool:
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
