"""Which patches of an image travel, from the edge model's class-token attention.

Pure numpy, called by the edge worker and by evaluation. Must not import torch. Positions are row-major
indices 0..195 of the 14x14 grid. Everything runs in float32 with a stable order, so that two machines that
hold the same attention choose the same patches.
To add a rule, write it here and name it in `SELECTORS`.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from schemas.geometry import NUM_PATCHES, Attention, Positions
from schemas.operating_point import OperatingPoint


def rank(attention: Attention) -> Positions:
    """Return patch indices by falling attention over the last axis; of equals the lower index comes first."""
    if attention.ndim < 1 or attention.shape[-1] != NUM_PATCHES:
        raise ValueError(f"attention must be (..., {NUM_PATCHES}), got shape {attention.shape}")
    if not np.isfinite(attention).all():
        raise ValueError("attention must be finite, got NaN or infinity")
    return np.argsort(-attention.astype(np.float32, copy=False), axis=-1, kind="stable")


def attention_sum_counts(
    attention: Attention, delta: float, min_patches: int = 1, *, keep_crossing: bool = False
) -> Positions:
    """Return how many of the most attended patches the attention-sum rule keeps, for each row.

    Patches are taken in falling order while their running sum is at most `delta`; the patch that crosses
    `delta` stays out, as in the authors' code, unless `keep_crossing`, as their text says. `delta` >= 1
    keeps all 196 by definition, because a float32 sum may round past 1 one patch too early.

    Args:
        attention: (..., 196), each row non-negative with sum 1.
        delta: share of attention to keep, in [0, 1] (above 1 counts as 1).
        min_patches: floor of the count, in [1, 196].
        keep_crossing: also keep the first patch past `delta`.

    Returns:
        (...) int64 in [min_patches, 196].
    """
    _check(delta, min_patches)
    order = rank(attention)
    if delta >= 1:
        return np.full(attention.shape[:-1], NUM_PATCHES, dtype=np.int64)
    descending = np.take_along_axis(attention.astype(np.float32, copy=False), order, axis=-1)
    running = np.cumsum(descending, axis=-1, dtype=np.float32)
    counts = (running <= np.float32(delta)).sum(axis=-1, dtype=np.int64) + int(keep_crossing)
    return np.asarray(np.clip(counts, min_patches, NUM_PATCHES))


def attention_sum(
    attention: Attention, delta: float, min_patches: int = 1, *, keep_crossing: bool = False
) -> Positions:
    """Return the kept positions, ascending, of one (196,) attention row; see `attention_sum_counts`."""
    count = int(attention_sum_counts(attention, delta, min_patches, keep_crossing=keep_crossing))
    return np.sort(rank(attention)[:count])


def threshold(attention: Attention, least: float, min_patches: int = 1) -> Positions:
    """Return the ascending positions of patches whose attention is at least `least`.

    Where fewer than `min_patches` reach it, the `min_patches` most attended are returned.
    """
    _check(least, min_patches)
    count = int((attention.astype(np.float32, copy=False) >= np.float32(least)).sum())
    return np.sort(rank(attention)[: max(count, min_patches)])


def top_k(attention: Attention, k: int) -> Positions:
    """Return the ascending positions of the `k` most attended patches, k in [1, 196]."""
    _check(0.0, k)
    return np.sort(rank(attention)[:k])


Selector = Callable[[Attention, OperatingPoint], Positions]
"""(196,) attention and the point -> ascending positions of the kept patches, at least `point.min_patches`."""


def _by_attention_sum(attention: Attention, point: OperatingPoint) -> Positions:
    return attention_sum(attention, point.delta, point.min_patches)


def _by_threshold(attention: Attention, point: OperatingPoint) -> Positions:
    return threshold(attention, point.delta, point.min_patches)


def _by_count(attention: Attention, point: OperatingPoint) -> Positions:
    return top_k(attention, max(point.min_patches, round(point.delta * NUM_PATCHES)))


SELECTORS: Final[dict[str, Selector]] = {
    "attention_sum": _by_attention_sum,
    "threshold": _by_threshold,
    "top_k": _by_count,
}
"""Name in `OperatingPoint.selection` -> rule. `delta` is the kept attention share for `attention_sum`, the least
attention of a kept patch for `threshold`, and the kept share of the 196 patches for `top_k`."""


def check_selection(name: str) -> None:
    """Return where there is such a rule; ValueError, which names those that are, where not."""
    if name not in SELECTORS:
        raise ValueError(f"selection {name!r} is not one of {', '.join(sorted(SELECTORS))}")


def select(attention: Attention, point: OperatingPoint) -> Positions:
    """Return the ascending positions that the operating point keeps of one (196,) attention row.

    Raises:
        ValueError: no rule has the name `point.selection`.
    """
    check_selection(point.selection)
    return SELECTORS[point.selection](attention, point)


def _check(delta: float, min_patches: int) -> None:
    if not delta >= 0:
        raise ValueError(f"delta {delta} is below 0; allowed are 0 to 1")
    if not 1 <= min_patches <= NUM_PATCHES:
        raise ValueError(f"a patch count of {min_patches} is outside 1 to {NUM_PATCHES}")
