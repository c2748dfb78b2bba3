"""Which patches of a scene the measurement shows to the server, by name.

Every choice by the edge's attention has a twin that shows as many patches at random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gating.select import attention_sum_counts
from schemas.geometry import NUM_PATCHES

SHARES: Final = (0.75, 0.50, 0.25, 0.12)
DELTAS: Final = (0.9, 0.97)
FLOORS: Final = (12, 24)
GATED: Final = tuple((delta, floor) for delta in DELTAS for floor in FLOORS)
"""The (δ, min_patches) that the gate's operating points are made of."""


@dataclass(frozen=True, slots=True)
class PatchChoice:
    """A number of patches per scene, taken in an order: the edge's attention or chance.

    With ``share`` every scene keeps the same number; else the attention-sum rule decides, at ``delta`` and
    ``floor``.
    """

    share: float | None
    delta: float
    floor: int
    by_attention: bool

    @property
    def name(self) -> str:
        """Return a short name that is unique among the choices."""
        count = (
            f"share {self.share:.2f}" if self.share is not None else f"delta {self.delta} floor {self.floor}"
        )
        return f"{count} by {'attention' if self.by_attention else 'chance'}"

    def counts(self, attention: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return how many patches each of (n, 196) attention rows keeps."""
        if self.share is not None:
            return np.full(len(attention), round(self.share * NUM_PATCHES), np.int64)
        return attention_sum_counts(attention, self.delta, self.floor)


WHOLE: Final = PatchChoice(1.0, 0.0, 1, by_attention=True)


def share(value: float, *, by_attention: bool = True) -> PatchChoice:
    """Return the choice that keeps this share of the patches."""
    return PatchChoice(value, 0.0, 1, by_attention)


def gated(delta: float, floor: int, *, by_attention: bool = True) -> PatchChoice:
    """Return the choice that an operating point of this δ and floor makes."""
    return PatchChoice(None, delta, floor, by_attention)


CALIBRATED: Final = (WHOLE, *(gated(delta, floor) for delta, floor in GATED))
"""What is measured where an operating point is chosen."""

ALL: Final = (
    WHOLE,
    *(share(value, by_attention=way) for value in SHARES for way in (True, False)),
    *(gated(delta, floor, by_attention=way) for delta, floor in GATED for way in (True, False)),
)
"""What is measured on the test scenes."""
