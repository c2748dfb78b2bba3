"""Finished work on disk: one file of arrays a chunk, named by the hash of everything that went into it.

A file is there whole or not at all, so a run that is stopped goes on where it was, and a run with other
settings uses what still holds.
"""

import json
import zipfile
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class ChunkStore:
    """A folder of finished chunks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"<ChunkStore {self._folder}>"

    def has(self, key: Mapping[str, object]) -> bool:
        """Return whether the chunk of `key` (JSON values) is finished."""
        return self._path(key).is_file()

    def load(self, key: Mapping[str, object]) -> Arrays | None:
        """Return the arrays saved under `key`, None if there are none or the file is damaged."""
        try:
            with self._path(key).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (FileNotFoundError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, key: Mapping[str, object], arrays: Arrays) -> None:
        """The arrays are on disk under `key`; an interruption leaves no half-written file of that name."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the names for its own flags
        partial.replace(path)

    def _path(self, key: Mapping[str, object]) -> Path:
        text = json.dumps(key, sort_keys=True, allow_nan=False)
        name = blake2b(text.encode(), digest_size=20).hexdigest()
        return self._folder / name[:2] / f"{name[2:]}.npz"
