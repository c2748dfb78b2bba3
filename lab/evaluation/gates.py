"""Scores by which frames are kept or offloaded, and the thresholds that go with them.

Every score grows with doubt, so one rule serves all gates: offload iff score >= threshold. Pure numpy.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from gating.entropy import margin, min_entropy_bits, shannon_entropy_bits

Scores = NDArray[np.float64]
Mask = NDArray[np.bool_]
Logits = NDArray[np.float32] | NDArray[np.float64]

PAPER_TAUS: Final = (1.0, 0.8, 0.6, 0.4, 0.3, 0.2, 0.1)
"""The thresholds of the paper's Fig. 8, in bits."""

MATCHED_RATIOS: Final = tuple(round(0.1 * step, 1) for step in range(1, 10))
"""Offload ratios at which gates are compared with each other."""


def min_entropy_scores(logits: Logits) -> Scores:
    """Return H_min in bits for each row: the gate of the paper, eq. 13."""
    return min_entropy_bits(logits)


def shannon_scores(logits: Logits) -> Scores:
    """Return the Shannon entropy in bits for each row, eq. 12."""
    return shannon_entropy_bits(logits)


def margin_scores(logits: Logits) -> Scores:
    """Return 1 - (p1 - p2) for each row, in [0, 1]: 1 where the two best classes tie."""
    return np.asarray(1.0 - margin(logits))


def offloaded(scores: Scores, threshold: float) -> Mask:
    """Return which frames are offloaded: those whose score reaches `threshold`."""
    return np.asarray(scores >= threshold)


def oracle(edge_correct: Mask, server_correct: Mask) -> Mask:
    """Return the offloads of a gate that knows the truth: edge wrong, server right on that payload."""
    return ~edge_correct & server_correct


def threshold_for_ratio(scores: Scores, ratio: float) -> float:
    """Return the threshold whose offload ratio comes closest to `ratio`.

    Only values of `scores` are candidates, and infinity for "none"; equal scores go together. Of two equally
    close thresholds the one that offloads fewer frames is returned.

    Args:
        scores: (N,), N >= 1.
        ratio: wanted share of offloaded frames, in [0, 1].
    """
    if scores.size == 0:
        raise ValueError("scores: empty, a threshold needs at least one frame")
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio: {ratio}, must be in [0, 1]")
    values, counts = np.unique(scores, return_counts=True)
    # From "offload nothing" to "offload everything".
    candidates = np.concatenate([[np.inf], values[::-1]])
    ratios = np.concatenate([[0.0], np.cumsum(counts[::-1]) / scores.size])
    return float(candidates[int(np.argmin(np.abs(ratios - ratio)))])


def tau_grid(h_min: Scores) -> tuple[float, ...]:
    """Return the falling thresholds to report, in bits: the paper's seven and the deciles of `h_min`."""
    deciles = np.quantile(h_min, MATCHED_RATIOS)
    # Four digits are printed, so thresholds are rounded before use and a reader can repeat the point.
    rounded = {round(float(each), 4) for each in deciles}
    return tuple(sorted(rounded | set(PAPER_TAUS), reverse=True))


def h_min_quantiles(h_min: Scores) -> tuple[float, ...]:
    """Return the 101 percentiles 0..100 of `h_min` (bits), never falling."""
    percentiles = np.quantile(h_min, np.linspace(0.0, 1.0, 101))
    return tuple(float(each) for each in np.maximum.accumulate(np.maximum(percentiles, 0.0)))
