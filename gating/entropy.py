"""How unsure a classifier is of an image, from its logits, and the scores of the gate made of that.

Every score grows with doubt, so that one rule serves all: a frame asks the server where its score reaches tau.
To add one, write its function here and name it in `SCORES`.
Pure numpy, called by the gate and by evaluation. All entropies are in bits. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32] | NDArray[np.float64]
Score = Callable[[FloatArray], NDArray[np.float64]]
"""(B, C) finite outputs -> (B,) doubts, >= 0."""

_LN2 = float(np.log(2.0))


def softmax(logits: FloatArray) -> NDArray[np.float64]:
    """Return probabilities over the last axis, float64, of the same shape as `logits`."""
    shifted = _shifted(logits)
    weights = np.exp(shifted)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def min_entropy_bits(logits: FloatArray) -> NDArray[np.float64]:
    """Return H_min = -log2 max p for each row.

    Args:
        logits: (..., C), finite.

    Returns:
        (...) float64 in [0, log2 C] bits; 0 means certain.

    Source: eq. 13 of Im et al., arXiv 2404.07217.
    """
    # max p = 1 / sum exp(l - max l), so no quotient and no logarithm of a tiny number is needed.
    return np.asarray(np.log(np.exp(_shifted(logits)).sum(axis=-1)) / _LN2)


def shannon_entropy_bits(logits: FloatArray) -> NDArray[np.float64]:
    """Return H = -sum p log2 p for each row of (..., C) logits: (...) float64 in [0, log2 C] bits.

    Source: eq. 12 of Im et al., arXiv 2404.07217.
    """
    shifted = _shifted(logits)
    weights = np.exp(shifted)
    total = weights.sum(axis=-1)
    mean_shifted = (weights * shifted).sum(axis=-1) / total
    return np.asarray(np.maximum((np.log(total) - mean_shifted) / _LN2, 0.0))


def confidence(logits: FloatArray) -> NDArray[np.float64]:
    """Return max p for each row of (..., C) logits: (...) float64 in [1/C, 1]."""
    return np.asarray(1.0 / np.exp(_shifted(logits)).sum(axis=-1))


def margin(logits: FloatArray) -> NDArray[np.float64]:
    """Return the gap between the two largest probabilities of (..., C) logits, C >= 2: (...) in [0, 1]."""
    if logits.shape[-1] < 2:
        raise ValueError(f"a margin needs at least 2 classes, got {logits.shape[-1]}")
    top_two = np.partition(softmax(logits), -2, axis=-1)[..., -2:]
    return np.asarray(top_two[..., 1] - top_two[..., 0])


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


def _shifted(logits: FloatArray) -> NDArray[np.float64]:
    """Return logits minus their row maximum, in float64, so that exp never overflows."""
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise ValueError(f"logits must be (..., C) with C >= 1, got shape {logits.shape}")
    wide = logits.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("logits must be finite, got NaN or infinity")
    return np.asarray(wide - wide.max(axis=-1, keepdims=True))
