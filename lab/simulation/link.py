"""A link whose capacity steps: first in, first out, a propagation delay each way, nothing lost, silence at 0.

Pure: a record's whole way is known when it enters, as the capacity's future is.
"""

from __future__ import annotations

import math
from bisect import bisect_right

from schemas.rates import Schedule


class SimulatedLink:
    """Serves bytes in order at the capacity of the moment.

    `capacity` is in seconds since 0 of the simulation; None never queues. `delay_s` is one way.
    State: when the last byte that entered leaves the queue, and the sum of bytes carried.
    """

    def __init__(self, capacity: Schedule | None, *, delay_s: float = 0.02) -> None:
        self._capacity = capacity
        self._delay_s = delay_s
        self._free_s = 0.0
        self.carried_bytes = 0.0

    def carry(self, num_bytes: float, now_s: float) -> tuple[float, float]:
        """The record enters now; returns when it arrives and when its acknowledgement does (inf: never)."""
        self.carried_bytes += num_bytes
        if self._capacity is None:
            left_s = now_s
        else:
            left_s = _served_by(self._capacity, max(now_s, self._free_s), num_bytes)
            self._free_s = left_s
        return left_s + self._delay_s, left_s + 2 * self._delay_s

    @property
    def round_trip_s(self) -> float:
        """The round trip of a byte that meets no queue."""
        return 2 * self._delay_s

    def waiting_s(self, now_s: float) -> float:
        """How long a byte that entered now would wait."""
        return max(self._free_s - now_s, 0.0)


def _served_by(capacity: Schedule, from_s: float, num_bytes: float) -> float:
    """When `num_bytes` have passed, if they begin at `from_s`."""
    starts, rates = capacity.starts_s, capacity.rates_bytes_per_s
    step = max(bisect_right(starts, from_s) - 1, 0)
    at_s, left = from_s, num_bytes
    while True:
        end_s = starts[step + 1] if step + 1 < len(starts) else math.inf
        rate = rates[step]
        if rate > 0 and left <= rate * (end_s - at_s):
            return at_s + left / rate
        if math.isinf(end_s):
            return math.inf
        left -= rate * (end_s - at_s)
        at_s, step = end_s, step + 1
