"""Whether what passed a link stayed within the budget: pure arithmetic over a counter's samples."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.rates import Schedule

Sample = tuple[float, float]


def windows_over_cap(samples: Sequence[Sample], budget: Schedule, burst_bytes: float) -> int:
    """Return at how many samples some window that ends there holds more than ∫ budget dt + burst.

    Looks at every window between two samples: with D = bytes − ∫ budget, a window breaks the cap when D grows
    in it by more than the burst, so one pass with the smallest D so far is enough.

    Args:
        samples: (seconds since the budget's start, total bytes so far), both non-decreasing.
        budget: the told budget in bytes per second.
        burst_bytes: the largest burst that was in force.
    """
    over = 0
    lowest: float | None = None
    for at_s, total_bytes in samples:
        excess = total_bytes - budget.bytes_between(0.0, at_s)
        lowest = excess if lowest is None else min(lowest, excess)
        over += excess - lowest > burst_bytes
    return over


def mean_rate(samples: Sequence[Sample], from_s: float, to_s: float) -> float:
    """Return the mean rate in bytes per second over [from_s, to_s], 0 for an empty window.

    The counter is a step function: a moment's total is that of the last sample at or before it.
    """
    if to_s <= from_s:
        return 0.0
    return (total_at(samples, to_s) - total_at(samples, from_s)) / (to_s - from_s)


def total_at(samples: Sequence[Sample], at_s: float) -> float:
    """Return the total bytes at ``at_s``; before the first sample that is the first sample's total."""
    total = samples[0][1] if samples else 0.0
    for sampled_s, total_bytes in samples:
        if sampled_s > at_s:
            break
        total = total_bytes
    return total
