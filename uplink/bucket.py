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
    """Tokens flow in at the budget and never exceed the depth; each byte that is seen to leave takes one out.

    A record may be handed over if the tokens cover it and everything that was handed over before it and was
    not seen to leave. So the tokens never fall below zero while estimates hold, and over any window at most
    ∫ budget dt + the largest depth leaves, also when what was handed over leaves late and all at once.
    Bytes nobody foresaw may take the tokens below zero: then nothing is handed over until they are earned.

    State: `_tokens` at `_at_s`; `_expected`, the estimates of what has not been seen to leave; what was
    measured so far.
    """

    def __init__(self, budget_bytes_per_s: float, depth_bytes: float, now_s: float) -> None:
        self._rate = budget_bytes_per_s
        self._depth = depth_bytes
        self._tokens = depth_bytes
        self._at_s = now_s
        self._expected = 0.0
        self._measured = 0.0

    def __repr__(self) -> str:
        left = self._tokens - self._expected
        return f"<ByteBucket {left:.0f}/{self._depth:.0f} B at {self._rate:.0f} B/s>"

    @property
    def budget_bytes_per_s(self) -> float:
        """The rate at which tokens flow in."""
        return self._rate

    @property
    def depth_bytes(self) -> float:
        """The most tokens it holds; a record above it can never pass."""
        return self._depth

    def tokens(self, now_s: float) -> float:
        """What may still be handed over at `now_s`; negative while too much has left."""
        self._refill(now_s)
        return self._tokens - self._expected

    def has_earned(self, num_bytes: float, now_s: float) -> bool:
        """The rate has allowed `num_bytes`, whether or not what was handed over before has left."""
        self._refill(now_s)
        return self._tokens >= num_bytes

    def set_budget(self, budget_bytes_per_s: float, depth_bytes: float, now_s: float) -> None:
        """From `now_s` on tokens flow in at the new rate; tokens above the new depth are gone."""
        self._refill(now_s)
        self._rate = budget_bytes_per_s
        self._depth = depth_bytes
        self._tokens = min(self._tokens, depth_bytes)

    def try_debit(self, num_bytes: float, now_s: float) -> bool:
        """True and `num_bytes` are expected to leave if there are tokens for them, else False."""
        if self.tokens(now_s) < num_bytes:
            return False
        self._expected += num_bytes
        return True

    def wait_s(self, num_bytes: float, now_s: float) -> float:
        """Seconds until `num_bytes` may leave, if nothing else does; infinite if never under this budget."""
        missing = num_bytes - self.tokens(now_s)
        if missing <= 0:
            return 0.0
        if num_bytes > self._depth or self._rate <= 0:
            return math.inf
        return missing / self._rate

    def correct(self, measured_total_bytes: float, unacknowledged_bytes: float, now_s: float) -> None:
        """What was seen to leave has taken its tokens.

        Args:
            measured_total_bytes: everything that left the host since the bucket was made.
            unacknowledged_bytes: the sum of the estimates of records handed over and not yet acknowledged;
                what is expected beyond it was estimated too high and is expected no more.
            now_s: when the meter was read.
        """
        self._refill(now_s)
        left = measured_total_bytes - self._measured
        self._measured = measured_total_bytes
        self._tokens -= left
        self._expected = min(max(self._expected - left, 0.0), unacknowledged_bytes)

    def _refill(self, now_s: float) -> None:
        if now_s > self._at_s:
            self._tokens = min(self._tokens + self._rate * (now_s - self._at_s), self._depth)
            self._at_s = now_s
