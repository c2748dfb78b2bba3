"""Crops that are already in memory as a corpus: rendered scenes, frames of a stream, decoded video."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from vit.preprocess import Pixels


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
