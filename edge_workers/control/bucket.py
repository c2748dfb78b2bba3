"""The hard cap: a token bucket in bytes, debited before a record is handed over, corrected by the meter.

Called by the governor only. Pure: time comes in as an argument and never goes back.
"""

from __future__ import annotations

import math
from typing import Final

BURST_S: Final = 0.5
MIN_BURST_BYTES: Final = 16_000.0
DEPTH_SHARE: Final = 0.9
"""The bucket holds this share of the burst; the rest covers bytes that are known only once measured."""


def burst_bytes(budget_bytes_per_s: float) -> float:
    """What may leave at once under a budget: half a second of it, at least 16 kB."""
    return max(BURST_S * budget_bytes_per_s, MIN_BURST_BYTES)


class ByteBucket:
    """Tokens flow in at the budget and never exceed the depth; each byte that leaves takes one out.

    Over any window at most ∫ budget dt + the largest depth is debited. Estimates that turn out too low are
    charged afterwards and may take the tokens below zero; estimates that turn out too high are given back.

    State: `_tokens` at `_at_s`; `_expected` bytes debited by estimate that the meter has not seen yet;
    `_refundable`, how much of it may still come back. A bucket with the true sizes is fuller than this one by
    what was estimated too high, but never fuller than its depth: what was too high before both were full is
    gone. So only debits made since count, less everything measured since, and at most the room left.
    """

    def __init__(self, budget_bytes_per_s: float, depth_bytes: float, now_s: float) -> None:
        self._rate = budget_bytes_per_s
        self._depth = depth_bytes
        self._tokens = depth_bytes
        self._at_s = now_s
        self._expected = 0.0
        self._refundable = 0.0
        self._measured: float | None = None

    def __repr__(self) -> str:
        return f"<ByteBucket {self._tokens:.0f}/{self._depth:.0f} B at {self._rate:.0f} B/s>"

    @property
    def budget_bytes_per_s(self) -> float:
        """The rate at which tokens flow in."""
        return self._rate

    @property
    def depth_bytes(self) -> float:
        """The most tokens it holds; a record above it can never pass."""
        return self._depth

    def tokens(self, now_s: float) -> float:
        """What may leave at `now_s`; negative while too much has left."""
        self._refill(now_s)
        return self._tokens

    def set_budget(self, budget_bytes_per_s: float, depth_bytes: float, now_s: float) -> None:
        """From `now_s` on tokens flow in at the new rate; tokens above the new depth are gone."""
        self._refill(now_s)
        self._rate = budget_bytes_per_s
        self._depth = depth_bytes
        self._tokens = min(self._tokens, depth_bytes)
        self._refundable = min(self._refundable, self._depth - self._tokens)

    def try_debit(self, num_bytes: float, now_s: float) -> bool:
        """True and the tokens are taken if there are enough of them, else False and nothing changed."""
        self._refill(now_s)
        if self._tokens < num_bytes:
            return False
        self._tokens -= num_bytes
        self._expected += num_bytes
        self._refundable += num_bytes
        return True

    def wait_s(self, num_bytes: float, now_s: float) -> float:
        """Seconds until `num_bytes` may leave; infinite if never under this budget."""
        self._refill(now_s)
        missing = num_bytes - self._tokens
        if missing <= 0:
            return 0.0
        if num_bytes > self._depth or self._rate <= 0:
            return math.inf
        return missing / self._rate

    def correct(self, measured_total_bytes: float, unacknowledged_bytes: float, now_s: float) -> None:
        """The debits of the past agree with what the meter saw.

        Args:
            measured_total_bytes: everything that ever left the host; the first call sets the zero.
            unacknowledged_bytes: the sum of the estimates of records handed over and not yet acknowledged;
                what is expected beyond it was estimated too high and is given back.
            now_s: when the meter was read.
        """
        self._refill(now_s)
        if self._measured is None:
            self._measured = measured_total_bytes
        left = measured_total_bytes - self._measured
        self._measured = measured_total_bytes
        foreseen = min(left, self._expected)
        self._tokens -= left - foreseen
        self._expected -= foreseen
        self._refundable = max(self._refundable - left, 0.0)
        surplus = max(self._expected - unacknowledged_bytes, 0.0)
        self._expected -= surplus
        returned = min(surplus, self._refundable)
        self._refundable -= returned
        self._tokens += returned

    def _refill(self, now_s: float) -> None:
        if now_s > self._at_s:
            self._tokens = min(self._tokens + self._rate * (now_s - self._at_s), self._depth)
            self._refundable = min(self._refundable, self._depth - self._tokens)
            self._at_s = now_s
