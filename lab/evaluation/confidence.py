"""How well a confidence tells right answers from wrong ones: AUROC, risk–coverage, calibration error. Pure
numpy.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Logits = NDArray[np.float32] | NDArray[np.float64]


def auroc(scores: Floats, positive: Mask) -> float:
    """Return the probability that a positive frame scores above a negative one, ties counting one half.

    NaN where one of the two kinds is missing. Rank form of Mann and Whitney's U.
    """
    num_positive = int(positive.sum())
    num_negative = positive.size - num_positive
    if num_positive == 0 or num_negative == 0:
        return float("nan")
    _, member, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_ranks = ends - (counts - 1) / 2.0  # ranks from 1, ties share their mean
    rank_sum = float(mean_ranks[member][positive].sum())
    return (rank_sum - num_positive * (num_positive + 1) / 2.0) / (num_positive * num_negative)


def risk_coverage(scores: Floats, correct: Mask) -> tuple[Floats, Floats]:
    """Return coverage and risk when the surest frames are kept first.

    Args:
        scores: (N,), larger = less sure.
        correct: (N,).

    Returns:
        coverage: (M,) rising shares of frames kept, one for each distinct score.
        risk: (M,) share of wrong answers among the frames kept.
    """
    order = np.argsort(scores, kind="stable")
    wrong = np.cumsum(~correct[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) > 0, True))
    kept = last + 1
    return kept / scores.size, wrong[last] / kept


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against accuracy in equal bins of confidence; empty bins hold NaN and a count of 0."""

    counts: NDArray[np.int64]
    mean_confidence: Floats
    accuracy: Floats
    error: float
    """The expected calibration error: the mean of |confidence - accuracy| over frames."""


def reliability(confidence: Floats, correct: Mask, bins: int = 15) -> Reliability:
    """Return the reliability diagram and expected calibration error with `bins` equal bins over [0, 1]."""
    member = np.clip((confidence * bins).astype(np.int64), 0, bins - 1)
    counts = np.bincount(member, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(member, weights=confidence, minlength=bins) / counts
        accuracy = np.bincount(member, weights=correct.astype(np.float64), minlength=bins) / counts
    gaps = np.where(counts > 0, np.abs(mean_confidence - accuracy), 0.0)
    return Reliability(counts, mean_confidence, accuracy, float((gaps * counts).sum() / confidence.size))
