"""The images of a measurement: files with labels, or rendered scenes. Numpy outside, Pillow inside.

A corpus is a numbered list. Nothing is decoded before it is asked for, so 50,000 files need no memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.errors import EvaluationError
from lab.evaluation.labels import folder_labels, table_labels
from schemas.errors import DecodeError
from schemas.limits import MAX_FRAME_PIXELS
from vit.preprocess import Pixels, decode_image, resize_crop

UNLABELLED: Final = -1
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})
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
        return resize_crop(decode_image(data, encoding, MAX_FRAME_PIXELS))


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
