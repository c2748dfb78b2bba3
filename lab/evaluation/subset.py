"""The readable part of a corpus, numbered anew."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lab.evaluation.corpus import Corpus
from vit.preprocess import Pixels


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
