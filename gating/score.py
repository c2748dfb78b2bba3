"""The scores of the gate: how much a frame's answer is to be doubted, each from the model's outputs.

Every score grows with doubt, so that one rule serves all: a frame asks the server where its score reaches tau.
To add one, write its function here and name it in `SCORES`. Pure numpy. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gating.entropy import FloatArray, margin, min_entropy_bits, shannon_entropy_bits

Score = Callable[[FloatArray], NDArray[np.float64]]
"""(B, C) finite outputs -> (B,) doubts, >= 0."""


def closeness(outputs: FloatArray) -> NDArray[np.float64]:
    """Return 1 - (p1 - p2) of the two most probable classes, in [0, 1]: 1 where they tie."""
    return np.asarray(1.0 - margin(outputs))


SCORES: Final[dict[str, Score]] = {
    "min_entropy": min_entropy_bits,
    "shannon_entropy": shannon_entropy_bits,
    "margin": closeness,
}
"""Name in the settings -> score of a classifier. Entropies are in bits."""
CALIBRATED: Final = "min_entropy"
"""The score whose thresholds stand in a calibrated frontier."""


def check_score(name: str, known: Mapping[str, Score] = SCORES) -> None:
    """Return where there is such a score; ValueError, which names those that are, where not."""
    if name not in known:
        raise ValueError(f"score {name!r} is not one of {', '.join(sorted(known))}")
