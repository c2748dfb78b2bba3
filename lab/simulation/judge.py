"""Did more leave than the budget and one burst allow, in any window? Judged from a count of departures.

Used by the simulation on the bucket's exit, and on a relay's or an interface's counter by the demo and
benchmarks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from schemas.rates import Schedule


@dataclass(frozen=True, slots=True)
class Verdict:
    """`windows_over_cap` departures ended a window with too much; `worst_excess_bytes` by how much at most.

    Negative: no window came closer to the cap than that.
    """

    windows_over_cap: int
    worst_excess_bytes: float


def judge(
    departures: Iterable[tuple[float, float]], budget: Schedule, bursts: Sequence[tuple[float, float]]
) -> Verdict:
    """Check every window that begins and ends with a departure, or before the first.

    Args:
        departures: (second, bytes), in order of time, on the budget's time axis.
        budget: what was allowed per second.
        bursts: (second, bytes): the burst in force from each second on; the largest one within a window
        counts.

    With C(t) = bytes so far − ∫ budget, a window (s, t] is over by C(t) − C(s) − burst; for each level of
    burst only the smallest C(s) among the starts since it was exceeded matters.
    """
    levels: list[tuple[float, float]] = []  # (largest burst since, smallest C(s)), bursts descending
    pending = list(bursts)
    excess_so_far, left_bytes, allowed, at_s = 0.0, 0.0, 0.0, 0.0
    over, worst = 0, -float("inf")
    for second, num_bytes in departures:
        allowed += budget.bytes_between(at_s, second) if second > at_s else 0.0
        at_s = max(second, at_s)
        excess_so_far = left_bytes - allowed
        while pending and pending[0][0] <= second:
            _raise(levels, pending.pop(0)[1], excess_so_far)
        current = levels.pop() if levels else (0.0, excess_so_far)
        levels.append((current[0], min(current[1], excess_so_far)))
        left_bytes += num_bytes
        excess = max(left_bytes - allowed - low - burst for burst, low in levels)
        worst = max(worst, excess)
        over += excess > 1e-6 * (1.0 + left_bytes)
    return Verdict(over, worst)


def _raise(levels: list[tuple[float, float]], burst: float, excess: float) -> None:
    """From now on the burst is this one; earlier starts keep the larger of the two."""
    low = excess
    while levels and levels[-1][0] <= burst:
        low = min(low, levels.pop()[1])
    levels.append((burst, low))


def utilisation(
    departures: Iterable[tuple[float, float]], budget: Schedule, duration_s: float, *, window_s: float = 10.0
) -> list[float]:
    """Bytes that left over bytes allowed, for each window in turn; 0 where nothing was allowed."""
    num_windows = max(int(duration_s / window_s), 1)
    edges = [idx * window_s for idx in range(num_windows + 1)]
    left = np.zeros(num_windows)
    for second, num_bytes in departures:
        idx = int(second / window_s)
        if idx < num_windows:
            left[idx] += num_bytes
    allowed = [budget.bytes_between(edges[idx], edges[idx + 1]) for idx in range(num_windows)]
    return [float(b / a) if a > 0 else 0.0 for b, a in zip(left, allowed, strict=True)]
