"""A link whose capacity steps: first in, first out, a propagation delay each way, silence at 0, and losses.

Pure: a request's whole way is known when it enters, as the capacity's future and the losses are.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from schemas.rates import RateSchedule

SEGMENT_BYTES: Final = 1_500.0
Delay = float | Callable[[float], float]
"""One way, in seconds: always the same, or that of a byte which leaves the queue at the given time."""


class Passage(NamedTuple):
    """When a request arrives and when its acknowledgement does (inf: never), and what left the host for it."""

    arrives_s: float
    acknowledged_s: float
    sent_bytes: float


class SimulatedLink:
    """Serves bytes in order at the capacity of the moment.

    `capacity` is in seconds since 0 of the simulation; None never queues. `delay_s` is one way. Each segment is lost
    with the probability `loss` and sent again, a round trip later. That is what a loss costs at least: no congestion
    window is simulated.
    State: when the last byte that entered leaves the queue, and the sum of bytes carried.
    """

    def __init__(
        self, capacity: RateSchedule | None, *, delay_s: Delay = 0.02, loss: float = 0.0, seed: int = 0
    ) -> None:
        self._capacity = capacity
        self._delay_s = delay_s
        self._loss = loss
        self._luck = np.random.default_rng(seed)
        self._free_s = 0.0

    def carry(self, num_bytes: float, now_s: float) -> Passage:
        """The request enters now."""
        again, num_rounds = self._lost(num_bytes) if self._loss else (0.0, 0)
        num_bytes += again
        if self._capacity is None:
            left_s = now_s
        else:
            left_s = _served_by(self._capacity, max(now_s, self._free_s), num_bytes)
            self._free_s = left_s
        delay_s = self._delay_s(left_s) if callable(self._delay_s) else self._delay_s
        arrives_s = left_s + delay_s + num_rounds * 2 * delay_s
        return Passage(arrives_s, arrives_s + delay_s, num_bytes)

    def waiting_s(self, now_s: float) -> float:
        """How long a byte that entered now would wait."""
        return max(self._free_s - now_s, 0.0)

    def _lost(self, num_bytes: float) -> tuple[float, int]:
        """The bytes that are sent again, and in how many rounds, as what is sent again may be lost too."""
        again, num_rounds = 0.0, 0
        num_lost = int(self._luck.binomial(math.ceil(num_bytes / SEGMENT_BYTES), self._loss))
        while num_lost:
            again += SEGMENT_BYTES * num_lost
            num_rounds += 1
            num_lost = int(self._luck.binomial(num_lost, self._loss))
        return again, num_rounds


def _served_by(capacity: RateSchedule, from_s: float, num_bytes: float) -> float:
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
