"""Whether what passed a link stayed within the budget, and how much of it was used: arithmetic over a counter.

Used on a relay's and an interface's counter by the demo and the benchmarks, and by the simulation on the bucket's
exit. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from schemas.rates import RateSchedule

Sample = tuple[float, float]
_ROUNDING: Final = 1e-9
_UTILISATION_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class CapVerdict:
    """`windows_over_cap` samples ended a window with too much; `worst_excess_bytes` by how much at most.

    Negative: no window came closer to the cap than that.
    """

    windows_over_cap: int
    worst_excess_bytes: float


def judge(
    samples: Iterable[Sample], budget: RateSchedule, bursts: Sequence[tuple[float, float]]
) -> CapVerdict:
    """Check every window between two samples: it may hold ∫ budget dt and one burst.

    Args:
        samples: (seconds since the budget's start, total bytes so far), both never falling.
        budget: what was allowed, in bytes per second.
        bursts: (second, bytes): the burst in force from each second on; the largest one within a window counts.

    With D = bytes − ∫ budget, a window breaks the cap when D grows in it by more than the burst. For each level of
    burst only the smallest D among the starts since it was exceeded matters.
    """
    levels: list[tuple[float, float]] = []  # (largest burst since, smallest D), bursts descending
    pending = list(bursts)
    allowed, at_s, over, worst = 0.0, 0.0, 0, -float("inf")
    for second, total in samples:
        allowed += budget.bytes_between(at_s, second) if second > at_s else 0.0
        at_s = max(second, at_s)
        excess = total - allowed
        while pending and pending[0][0] <= second:
            _raise(levels, pending.pop(0)[1], excess)
        burst, low = levels.pop() if levels else (0.0, excess)
        levels.append((burst, min(low, excess)))
        most = max(excess - low - burst for burst, low in levels)
        worst = max(worst, most)
        over += most > _ROUNDING * (1.0 + total)
    return CapVerdict(over, worst)


def windows_over_cap(samples: Sequence[Sample], budget: RateSchedule, burst_bytes: float) -> int:
    """Return at how many samples some window that ends there holds more than ∫ budget dt + `burst_bytes`."""
    return judge(samples, budget, [(-math.inf, burst_bytes)]).windows_over_cap


def counted(departures: Iterable[tuple[float, float]]) -> Iterator[Sample]:
    """Yield the samples of a counter that saw each (second, bytes) leave at once: its total before and after."""
    total = 0.0
    for second, num_bytes in departures:
        yield second, total
        total += num_bytes
        yield second, total


def _raise(levels: list[tuple[float, float]], burst: float, excess: float) -> None:
    """From now on the burst is this one; earlier starts keep the larger of the two."""
    low = excess
    while levels and levels[-1][0] <= burst:
        low = min(low, levels.pop()[1])
    levels.append((burst, low))


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


def utilisation(
    departures: Iterable[tuple[float, float]], budget: RateSchedule, duration_s: float
) -> list[float]:
    """Bytes that left over bytes allowed, for each ten seconds in turn; 0 where nothing was allowed."""
    num_windows = max(int(duration_s / _UTILISATION_S), 1)
    edges = [idx * _UTILISATION_S for idx in range(num_windows + 1)]
    left = np.zeros(num_windows)
    for second, num_bytes in departures:
        idx = int(second / _UTILISATION_S)
        if idx < num_windows:
            left[idx] += num_bytes
    allowed = [budget.bytes_between(edges[idx], edges[idx + 1]) for idx in range(num_windows)]
    return [float(b / a) if a > 0 else 0.0 for b, a in zip(left, allowed, strict=True)]
