"""The images of a measurement: files with labels, rendered scenes, or crops in memory. Numpy outside.

A corpus is a numbered list. Nothing is decoded before it is asked for, so 50,000 files need no memory.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from imaging.decode import decode_image
from lab.errors import EvaluationError
from lab.evaluation.labels import folder_labels, table_labels
from lab.progress import Progress
from lab.scenes.classes import CLASSES, IGNORE
from lab.scenes.seeds import CALIBRATION_SEEDS, TEST_SEEDS
from lab.scenes.views import render_view
from schemas.errors import DecodeError
from schemas.limits import MAX_FRAME_PIXELS
from vit.preprocess import Pixels, resize_crop

UNLABELLED: Final = -1
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
SEEDS_A_RUN: Final = 1_000_000
"""Scene seeds that belong to one `--seed`; two runs of different seeds share no scene."""
_MAGIC: Final = ((b"\xff\xd8", "jpeg"), (b"\x89PNG", "png"), (b"RIFF", "webp"))


class Corpus(Protocol):
    """A numbered list of images, some of which may turn out to be unreadable."""

    @property
    def description(self) -> str:
        """What the data is and how labels were read, for the report."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """One unique name an image; its hash decides the half it belongs to."""
        ...

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class index, `UNLABELLED` where none is known."""
        ...

    def fingerprint(self, idx: int) -> str:
        """Return a text that changes whenever the pixels of image `idx` may change."""
        ...

    def crop(self, idx: int) -> Pixels:
        """Return the (224, 224, 3) uint8 model input of image `idx` or raise DecodeError."""
        ...


@dataclass(frozen=True)
class FileCorpus:
    """Image files. Names are paths below the data folder; files are hashed and decoded when asked for."""

    description: str
    names: Sequence[str]
    labels: NDArray[np.int64]
    paths: Sequence[Path]
    _hashes: dict[int, str] = field(default_factory=dict, repr=False, compare=False)

    def fingerprint(self, idx: int) -> str:
        """Return the hash of the file's bytes, or why it cannot be read; each file is read once."""
        if idx not in self._hashes:
            try:
                self._hashes[idx] = blake2b(self.paths[idx].read_bytes(), digest_size=16).hexdigest()
            except OSError as error:
                self._hashes[idx] = f"unreadable: {error.strerror}"
        return self._hashes[idx]

    def crop(self, idx: int) -> Pixels:
        """Return the file's (224, 224, 3) model input; raises DecodeError if it is unreadable."""
        try:
            data = self.paths[idx].read_bytes()
        except OSError as error:
            raise DecodeError("unreadable", f"{self.names[idx]}: {error.strerror}") from None
        encoding = next((name for magic, name in _MAGIC if data.startswith(magic)), None)
        if encoding is None:
            raise DecodeError("bad_image", f"{self.names[idx]}: neither JPEG, PNG nor WebP")
        return resize_crop(decode_image(data, encoding, MAX_FRAME_PIXELS, as_shown=False))


@dataclass(frozen=True)
class MemoryCorpus:
    """Named (224, 224, 3) uint8 crops with labels, 150 kB each."""

    description: str
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    crops: Sequence[Pixels]
    _hashes: dict[int, str] = field(default_factory=dict, repr=False, compare=False)

    def fingerprint(self, idx: int) -> str:
        """Return the hash of the crop's pixels; each crop is hashed once."""
        if idx not in self._hashes:
            pixels = np.ascontiguousarray(self.crops[idx])
            self._hashes[idx] = blake2b(pixels.data, digest_size=16).hexdigest()
        return self._hashes[idx]

    def crop(self, idx: int) -> Pixels:
        """Return the crop itself."""
        return self.crops[idx]


@dataclass(frozen=True)
class Subset:
    """The rows `kept` of another corpus, in that order."""

    whole: Corpus
    kept: NDArray[np.int64]

    @property
    def description(self) -> str:
        """The whole corpus's description."""
        return self.whole.description

    @cached_property
    def names(self) -> Sequence[str]:
        """The kept images' names."""
        return tuple(self.whole.names[idx] for idx in self.kept)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(M,) class index of the kept images."""
        return self.whole.labels[self.kept]

    def fingerprint(self, idx: int) -> str:
        """Return the fingerprint of the kept image `idx`."""
        return self.whole.fingerprint(int(self.kept[idx]))

    def crop(self, idx: int) -> Pixels:
        """Return the crop of the kept image `idx`."""
        return self.whole.crop(int(self.kept[idx]))


def folder_corpus(data: Path, classes: Sequence[str], limit: int | None = None) -> FileCorpus:
    """Return the images below `data`, one folder a class.

    Raises:
        EvaluationError: there are no class folders, no images, or the folders do not match the classes.
    """
    folders = sorted(each.name for each in _existing(data).iterdir() if each.is_dir())
    by_folder = {folder: image_paths(data / folder) for folder in folders}
    by_folder = {folder: paths for folder, paths in by_folder.items() if paths}
    if not by_folder:
        raise EvaluationError(f"{data}: no folders with images; give a table with --labels FILE.csv")
    found = folder_labels(list(by_folder), classes)
    pairs = [(path, found.index[folder]) for folder, paths in by_folder.items() for path in paths]
    return _file_corpus(data, pairs, f"{data.name}, {found.reading}", limit)


def table_corpus(data: Path, table: Path, classes: Sequence[str], limit: int | None = None) -> FileCorpus:
    """Return the images that `table` lists, found below `data` by relative path or by their unique name.

    Raises:
        EvaluationError: the table is malformed, or a listed file is missing or ambiguous.
    """
    labels = table_labels(table, classes)
    by_name: dict[str, list[Path]] = {}
    for path in image_paths(_existing(data)):
        by_name.setdefault(path.name, []).append(path)
    pairs = [(_find(data, file, by_name), label) for file, label in labels.items()]
    return _file_corpus(data, pairs, f"{data.name}, labels from {table.name}", limit)


def unlabelled_corpus(data: Path, limit: int | None = None) -> FileCorpus:
    """Return every image below `data`, without labels."""
    pairs = [(path, UNLABELLED) for path in image_paths(_existing(data))]
    return _file_corpus(data, pairs, f"{data.name}, unlabelled", limit)


def image_paths(folder: Path) -> list[Path]:
    """Return the image files below `folder`, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _existing(data: Path) -> Path:
    if not data.is_dir():
        raise EvaluationError(f"{data}: no such folder")
    return data


def _find(data: Path, file: str, by_name: Mapping[str, Sequence[Path]]) -> Path:
    direct = data / file
    if direct.is_file():
        return direct
    candidates = by_name.get(Path(file).name, ())
    if len(candidates) != 1:
        raise EvaluationError(f"{file}: {len(candidates) or 'no'} files of this name below {data}")
    return candidates[0]


def _file_corpus(
    data: Path, pairs: Iterable[tuple[Path, int]], description: str, limit: int | None
) -> FileCorpus:
    chosen = list(pairs)
    if limit is not None and limit < len(chosen):
        # Evenly spread, so that a limit does not mean "the first classes only".
        chosen = [chosen[idx] for idx in np.linspace(0, len(chosen) - 1, limit).round().astype(int)]
    if not chosen:
        raise EvaluationError(f"{data}: no images ({', '.join(sorted(SUFFIXES))})")
    names = tuple(path.relative_to(data).as_posix() for path, _ in chosen)
    labels = np.asarray([label for _, label in chosen], dtype=np.int64)
    return FileCorpus(description, names, labels, tuple(path for path, _ in chosen))


def scene_corpus(
    num_scenes: int, seed: int, classes: tuple[str, ...], progress: Progress, *, calibration: bool = False
) -> MemoryCorpus:
    """Return `num_scenes` scenes of the test seeds, or of the calibration seeds, with clear truth.

    Scenes that are neither object nor empty are skipped.

    Raises:
        EvaluationError: the model's classes are not the scenes' classes, or the seed leaves its range.
    """
    if classes != CLASSES:
        raise EvaluationError(
            f"rendered scenes show {len(CLASSES)} classes ({CLASSES[1]}, ...), the model knows "
            f"{len(classes)} others ({classes[0]}, ...); use --edge-model shipped --server-model shipped, or "
            "--data with images of the model's classes"
        )
    pool = CALIBRATION_SEEDS if calibration else TEST_SEEDS
    most = len(pool) // SEEDS_A_RUN
    if not 0 <= seed < most or not 1 <= num_scenes <= SEEDS_A_RUN // 2:
        raise EvaluationError(
            f"scenes {num_scenes} at seed {seed}: need 1 to {SEEDS_A_RUN // 2} scenes and a seed below {most}"
        )
    progress.start("render scenes", num_scenes)
    names, labels, crops = [], [], []
    for scene_seed, label, crop in _scored(pool[seed * SEEDS_A_RUN : (seed + 1) * SEEDS_A_RUN]):
        names.append(f"scene-{scene_seed}")
        labels.append(label)
        crops.append(crop)
        progress.advance()
        if len(names) == num_scenes:
            break
    kind = "calibration" if calibration else "test"
    description = f"{num_scenes} rendered scenes, {kind} seeds, seed {seed}"
    return MemoryCorpus(description, tuple(names), np.asarray(labels, dtype=np.int64), tuple(crops))


def _scored(seeds: range) -> Iterator[tuple[int, int, Pixels]]:
    for seed in seeds:
        view = render_view(seed)
        if view.truth != IGNORE:
            yield seed, view.truth, resize_crop(view.image)


def calibration_half(names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which frames belong to the calibration half; the others are the test half.

    Args:
        names: one a frame: the file's name without its folder, or for streams the camera or clip, so that
            neighbouring frames never stand on both sides.

    The half of a name never depends on the other names.
    """
    halves = {name: blake2b(name.encode(), digest_size=1).digest()[0] & 1 == 0 for name in set(names)}
    return np.asarray([halves[name] for name in names], dtype=np.bool_)
