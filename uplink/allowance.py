"""What may leave now: the told budget, this worker's share of it and what the link carries, in one bucket.

Called by the governor. Pure. Steps of the schedule and ends of leases take effect at their own time, also
when nobody looked at that moment.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Final

from schemas.rates import Auto, Schedule
from uplink.bucket import DEPTH_SHARE, ByteBucket, burst_bytes
from uplink.estimator import RateEstimator
from uplink.leases import Grant, ShareHolder
from uplink.meter import INITIAL_RECORD_BYTES, UplinkMeter

MAX_HAND_OVER_S: Final = 1.0
UNLIMITED_HAND_OVER_BYTES: Final = 8e6


class Allowance:
    """Rate and bucket of one worker.

    `budget` is a schedule in seconds since `origin_s` (the start without), `Auto` (the link's estimate is
    the only limit) or None (no limit). With `is_shared` nothing may leave without a lease.

    State: the told rate, the share, the estimate and the bucket; `_at_s` is the time up to which steps were
    applied, `_next_edge_s` when the next one comes.
    """

    def __init__(
        self,
        budget: Schedule | Auto | None,
        *,
        is_shared: bool,
        start_s: float,
        origin_s: float | None = None,
    ) -> None:
        self._schedule = budget if isinstance(budget, Schedule) else None
        self._is_unlimited = budget is None
        self._is_shared = is_shared
        self._origin_s = start_s if origin_s is None else origin_s
        self._at_s = start_s
        self._told = math.inf if self._schedule is None else self._schedule.rate_at(start_s - self._origin_s)
        self.share = ShareHolder()
        self._next_edge_s = self._edge_after(start_s)
        self.estimator = RateEstimator(start_s, self._ceiling(start_s))
        rate = self._limited(self.estimator.pace_bytes_per_s, start_s)
        self._flight_bytes = self.estimator.flight_bytes(INITIAL_RECORD_BYTES, 0.0)
        self.bucket = ByteBucket(rate, self._depth(rate, start_s), start_s)

    @property
    def told_bytes_per_s(self) -> float:
        """The site's budget now; infinite without one."""
        return self._told

    @property
    def rate_bytes_per_s(self) -> float:
        """What may be spent: the told budget's share, or less where the path is believed to carry less."""
        return self._limited(self.estimator.rate_bytes_per_s, self._at_s)

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

    def hand_over_bytes(self, request_timeout_s: float) -> float:
        """How much the producer may hold unacknowledged, so that little waits where it cannot expire.

        What fills the path, at most a second of the rate and half a request's time, and under a told budget
        a burst.
        """
        if self._is_unlimited:
            return UNLIMITED_HAND_OVER_BYTES
        seconds = min(0.5 * request_timeout_s, MAX_HAND_OVER_S)
        burst_bytes = self.burst_bytes if self._told < math.inf else math.inf
        return min(burst_bytes, seconds * self.rate_bytes_per_s, self._flight_bytes)

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
        self._flight_bytes = self.estimator.flight_bytes(meter.record_bytes, meter.round_trip_s)
        self.estimator.update(
            now_s,
            busy_bytes_per_s=meter.busy_rate(self.estimator.rate_bytes_per_s, now_s),
            full_s=full_s,
            record_bytes=meter.record_bytes,
            silence_s=meter.silence_s(now_s),
            sent_bytes_per_s=meter.wire_rate(1.0, now_s),
            is_used=is_used,
        )
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
        return DEPTH_SHARE * max(burst_bytes(rate), 2 * self._flight_bytes)
