"""95 % bootstrap intervals of means and of paired differences, by frame or by whole cameras. Pure numpy.

Values are shares of being right and take few distinct values, so resampling N independent frames is drawing
how often each value occurs: one multinomial draw, exact and as cheap for 50,000 images as for 50.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 2000
LEVEL: Final = 0.95
_SEED: Final = 20260101

Floats = NDArray[np.float64]
Interval = tuple[float, float]


def mean_interval(values: Floats, clusters: NDArray[np.int64] | None = None) -> Interval:
    """Return the percentile interval of the mean of `values`.

    Args:
        values: (N,), N >= 1.
        clusters: (N,) camera, clip or track of each frame; whole clusters are then resampled. None = every
            frame stands for itself.

    The result depends on the arguments alone: the random stream is seeded. With one cluster nothing can be
    said, and the interval is (-inf, inf) clipped to the values' own range.
    """
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"values: shape {values.shape}, must be (N,) with N >= 1")
    means = _frame_means(values) if clusters is None else _cluster_means(values, clusters)
    if means is None:
        return float(values.min()), float(values.max())
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(means, (tail, 1.0 - tail))
    mean = float(values.mean())
    # A skewed resample may leave the mean outside by rounding alone; an interval has to hold its estimate.
    return min(float(low), mean), max(float(high), mean)


def paired_difference(
    values: Floats, others: Floats, clusters: NDArray[np.int64] | None = None
) -> tuple[float, Interval]:
    """Return mean(values - others) on the same frames, and its interval."""
    if values.shape != others.shape:
        raise ValueError(f"values {values.shape} and others {others.shape} must be of the same frames")
    difference = values - others
    return float(difference.mean()), mean_interval(difference, clusters)


def _frame_means(values: Floats) -> Floats:
    distinct, counts = np.unique(values, return_counts=True)
    drawn = np.random.default_rng(_SEED).multinomial(values.size, counts / values.size, size=RESAMPLES)
    return np.asarray(drawn @ distinct / values.size)


def _cluster_means(values: Floats, clusters: NDArray[np.int64]) -> Floats | None:
    if clusters.shape != values.shape:
        raise ValueError(f"clusters {clusters.shape} must be (N,) as values {values.shape}")
    _, member = np.unique(clusters, return_inverse=True)
    num_clusters = int(member.max()) + 1
    if num_clusters == 1:
        return None
    sums = np.bincount(member, weights=values, minlength=num_clusters)
    sizes = np.bincount(member, minlength=num_clusters)
    drawn = np.random.default_rng(_SEED).integers(0, num_clusters, size=(RESAMPLES, num_clusters))
    return np.asarray(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
