"""What may leave now: the told budget, this worker's share of it and what the link carries, in one bucket.

The hard cap is a token bucket in bytes, debited before a record is handed over and corrected by the meter. Steps
of the schedule and ends of leases take effect at their own time, also when nobody looked at that moment.

Called by admission only. Pure: time comes in as an argument and never goes back.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Final

from schemas.rates import Auto, RateSchedule
from uplink.leases import Grant, ShareHolder
from uplink.link import INITIAL_RECORD_BYTES, RateEstimator, UplinkMeter

MAX_HAND_OVER_S: Final = 1.0
UNLIMITED_HAND_OVER_BYTES: Final = 8e6
PATH_SHARE: Final = 1.3
"""A path holds a round trip of its rate. A little more lets a rate grow that is believed too low, and goes on while
what was lost is sent again; records then wait that much longer."""
DRAINED_SHARE: Final = 0.9
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

    def correct(self, measured_total_bytes: float, unseen_bytes: float, now_s: float) -> None:
        """What was seen to leave has taken its tokens.

        Args:
            measured_total_bytes: everything that left the host since the bucket was made.
            unseen_bytes: what of the records handed over is still expected to leave.
            now_s: when the meter was read.
        """
        self._refill(now_s)
        left = measured_total_bytes - self._measured
        self._measured = measured_total_bytes
        self._tokens -= left
        self._expected = unseen_bytes

    def _refill(self, now_s: float) -> None:
        if now_s > self._at_s:
            self._tokens = min(self._tokens + self._rate * (now_s - self._at_s), self._depth)
            self._at_s = now_s


class Allowance:
    """Rate and bucket of one worker.

    `budget` is a schedule in seconds since `origin_s` (the start without), `Auto` (the link's estimate is
    the only limit) or None (no limit). With `is_shared` nothing may leave without a lease.

    `rate_bytes_per_s` is what may be spent: the told budget's share, or less where the path is believed to carry less.

    State: the told rate, the share, the estimate and the bucket; `_at_s` is the time up to which steps were
    applied, `_next_edge_s` when the next one comes.
    """

    def __init__(
        self,
        budget: RateSchedule | Auto | None,
        *,
        is_shared: bool,
        start_s: float,
        origin_s: float | None = None,
    ) -> None:
        self._schedule = budget if isinstance(budget, RateSchedule) else None
        self._is_unlimited = budget is None
        self._is_shared = is_shared
        self._origin_s = start_s if origin_s is None else origin_s
        self._at_s = start_s
        self._told = math.inf if self._schedule is None else self._schedule.rate_at(start_s - self._origin_s)
        self.share = ShareHolder()
        self._next_edge_s = self._edge_after(start_s)
        self.estimator = RateEstimator(start_s, self._ceiling(start_s))
        self.rate_bytes_per_s = self._limited(self.estimator.rate_bytes_per_s, start_s)
        rate = self._limited(self.estimator.pace_bytes_per_s, start_s)
        self._waiting_bytes = self.estimator.waiting_bytes(INITIAL_RECORD_BYTES)
        self._path_bytes = 0.0
        self.bucket = ByteBucket(rate, self._depth(rate, start_s), start_s)

    @property
    def told_bytes_per_s(self) -> float:
        """The site's budget now; infinite without one."""
        return self._told

    @property
    def cause(self) -> str:
        """What sets the rate: `budget`, `link` or nothing (`none`)."""
        if self._is_unlimited:
            return "none"
        return "link" if self.estimator.is_limiting else "budget"

    @property
    def burst_bytes(self) -> float:
        """What may leave at once."""
        return self.bucket.depth_bytes / DEPTH_SHARE

    def fraction(self, now_s: float) -> float:
        """This worker's share of the told budget, in [0, 1]; 0 without a lease."""
        return self.share.share(now_s) if self._is_shared else 1.0

    def hand_over_bytes(self, request_timeout_s: float, *, drains: bool = False) -> float:
        """How much the producers may hold unacknowledged, so that little waits where it cannot expire.

        What the path itself holds for a round trip and a little, and what may wait on the way: at most a second of
        the rate and half a request's time, and under a told budget a burst. While the path is to drain, less than it
        holds.
        """
        if self._is_unlimited:
            return UNLIMITED_HAND_OVER_BYTES
        if drains:
            return DRAINED_SHARE * self._path_bytes
        seconds = min(0.5 * request_timeout_s, MAX_HAND_OVER_S)
        burst_bytes = self.burst_bytes if self._told < math.inf else math.inf
        waiting_bytes = min(burst_bytes, seconds * self.rate_bytes_per_s, self._waiting_bytes)
        return waiting_bytes + PATH_SHARE * self._path_bytes

    def advance(self, now_s: float) -> None:
        """Every step of the schedule and end of a lease up to `now_s` has taken effect at its time."""
        if now_s <= self._at_s:
            return
        if now_s < self._next_edge_s:
            self._at_s = now_s
            return
        edges = [self._origin_s + step for step in self._schedule.starts_s] if self._schedule else []
        edges.append(self.share.ends_s)
        for edge_s in sorted(edge for edge in edges if self._at_s < edge <= now_s):
            self._apply(edge_s)
        self._at_s = now_s
        self._next_edge_s = self._edge_after(now_s)

    def set_told(self, bytes_per_s: float, now_s: float) -> None:
        """The budget is another one from now on (a volume's rate of the hour)."""
        self.advance(now_s)
        self._schedule = None
        self._told = bytes_per_s
        self._next_edge_s = self._edge_after(now_s)
        self._apply(now_s)

    def leased(self, grant: Grant | None, asked_s: float, now_s: float) -> None:
        """A renewal sent at `asked_s` was granted, or failed (None)."""
        self.advance(now_s)
        if grant is None:
            self.share.failed()
        else:
            self.share.granted(grant, asked_s)
        self._next_edge_s = self._edge_after(now_s)
        self._apply(now_s)

    def estimate(self, meter: UplinkMeter, *, full_s: float, is_used: bool, now_s: float) -> None:
        """The estimate agrees with the meter's newest sample, and the rate with it."""
        self.advance(now_s)
        if self._is_unlimited:
            return
        self._waiting_bytes = self.estimator.waiting_bytes(meter.record_bytes)
        self._path_bytes = self.estimator.path_bytes(meter.round_trip)
        is_settled = meter.round_trip.is_settled(now_s)
        round_trip_s = meter.round_trip.seconds(self.rate_bytes_per_s)
        self.estimator.update(
            now_s,
            busy_bytes_per_s=meter.busy_rate(self.estimator.rate_bytes_per_s, now_s)
            if is_settled
            else self.estimator.carried_bytes_per_s,
            full_s=full_s if is_settled else 0.0,
            record_bytes=meter.record_bytes,
            silence_s=max(meter.silence_s(now_s) - round_trip_s, 0.0),
            sent_bytes_per_s=meter.wire_rate(1.0, now_s),
            is_used=is_used and is_settled,
        )
        if self.estimator.has_fallen:
            meter.round_trip.doubt(now_s)
        self._apply(now_s)

    def _edge_after(self, at_s: float) -> float:
        """When the next step comes or the lease ends."""
        starts = self._schedule.starts_s if self._schedule is not None else ()
        step = bisect_right(starts, at_s - self._origin_s)
        # The neighbours too: rounding may put a start on the other side of this moment.
        near = [self._origin_s + start for start in starts[max(step - 1, 0) : step + 2]]
        return min((edge for edge in (*near, self.share.ends_s) if edge > at_s), default=math.inf)

    def _apply(self, at_s: float) -> None:
        if self._schedule is not None:
            self._told = self._schedule.rate_at(at_s - self._origin_s)
        self.estimator.set_ceiling(self._ceiling(at_s))
        self.rate_bytes_per_s = self._limited(self.estimator.rate_bytes_per_s, at_s)
        rate = self._limited(self.estimator.pace_bytes_per_s, at_s)
        self.bucket.set_budget(rate, self._depth(rate, at_s), at_s)

    def _ceiling(self, at_s: float) -> float:
        return self._told * self.fraction(at_s) if self._told < math.inf else math.inf

    def _limited(self, bytes_per_s: float, at_s: float) -> float:
        """What is left of an estimate under the told budget and this worker's share of it."""
        return math.inf if self._is_unlimited else min(self._ceiling(at_s), bytes_per_s)

    def _depth(self, rate: float, at_s: float) -> float:
        if rate <= 0 or math.isinf(rate):
            return max(rate, 0.0)
        if self._told < math.inf:
            return DEPTH_SHARE * min(burst_bytes(rate), self.fraction(at_s) * burst_bytes(self._told))
        # Nobody told a cap: what a request takes with it must fit, and it waits a round trip for the next.
        return DEPTH_SHARE * max(burst_bytes(rate), 2 * (self._waiting_bytes + PATH_SHARE * self._path_bytes))
