"""The usable rate of the uplink, estimated from what comes back: for `auto`, and below a told budget.

Called by the governor each 100 ms. Pure. The sign of too much is a queue that stays (as in CoDel): bytes in
flight that never fall to what one round trip and a record or two explain. Then the rate falls to what was
delivered meanwhile, which is what the path carries, and a little below until the queue is gone. Otherwise
it grows, the faster the longer nothing stood in the way: a far larger capacity is found within seconds, a
steady one is overshot by little.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from edge_workers.control.meter import OUTAGE_S, SILENT_S

START_BYTES_PER_S: Final = 16_000.0
MIN_BYTES_PER_S: Final = 1_000.0
DRAIN_SHARE: Final = 0.8
MIN_WINDOW_S: Final = 0.5
MAX_WINDOW_S: Final = 2.0
_RECORDS_ALLOWED: Final = 2.0
_ROUND_TRIPS_ALLOWED: Final = 2.0
_QUEUE_ALLOWED_S: Final = 0.35
"""A producer has one request under way: at a share s of the capacity a round trip r makes the next one hold what comes
in r / (1 - s), so a path in good use always has this much on it (40 ms at 84 %)."""
_RECORDS_IN_WINDOW: Final = 3.0
_STARTUP_GROWTH_PER_S: Final = 1.0
_SLOWEST_GROWTH_PER_S: Final = 0.02
_FASTEST_GROWTH_PER_S: Final = 0.7
_DOUBLING_S: Final = 0.8
_RAMP_PER_S: Final = 0.1
_BEYOND_BUSY: Final = 1.15
_BLIND_CUT: Final = 0.7
_DOUBT: Final = 0.03
_MAX_DOUBT: Final = 0.25
_TRIED_SHARE: Final = 1.5
_WAKE_SHARE: Final = 0.7
_MEMORY_S: Final = 3.0


class RateEstimator:
    """One path's usable rate in bytes/s, between 1 kB/s and a ceiling (the told budget; infinite for `auto`).

    State: what the path is believed to carry, until when less is sent so that its queue drains, when growth
    began, and the beliefs of the last 3 s, from which it starts again after silence.
    """

    def __init__(self, now_s: float, ceiling_bytes_per_s: float = math.inf) -> None:
        self._ceiling = ceiling_bytes_per_s
        self._rate = START_BYTES_PER_S if math.isinf(ceiling_bytes_per_s) else ceiling_bytes_per_s
        self._at_s = now_s
        self._calm_since_s = now_s
        self._drains_until_s = -math.inf
        self._was_congested = False
        self._silence_s = 0.0
        self._judges_from_s = now_s
        self._growth_per_s = 0.0
        self._beliefs: deque[tuple[float, float]] = deque()

    @property
    def rate_bytes_per_s(self) -> float:
        """What may be sent: what the path is believed to carry, less while a queue drains."""
        is_draining = self._at_s < self._drains_until_s
        return min(self._rate, self._ceiling) * (DRAIN_SHARE if is_draining else 1.0)

    @property
    def is_limiting(self) -> bool:
        """True while the estimate, not the ceiling, is what limits."""
        return self._rate < 0.98 * self._ceiling or self._at_s < self._drains_until_s

    @property
    def is_ramping(self) -> bool:
        """True while more is tried than was carried before."""
        return self._growth_per_s > _RAMP_PER_S

    def set_ceiling(self, bytes_per_s: float) -> None:
        """The told budget changed; a path that was not the limit is believed to carry the new one too."""
        if self._rate >= self._ceiling:
            self._rate = bytes_per_s
        self._ceiling = bytes_per_s
        self._rate = min(self._rate, bytes_per_s)

    def window_s(self, record_bytes: float) -> float:
        """Over how long bytes must stay in flight to be a queue: long enough for a few records to pass."""
        return min(max(_RECORDS_IN_WINDOW * record_bytes / max(self._rate, 1.0), MIN_WINDOW_S), MAX_WINDOW_S)

    def update(
        self,
        now_s: float,
        *,
        busy_bytes_per_s: float,
        standing_bytes: float,
        base_delay_s: float,
        record_bytes: float,
        silence_s: float,
        sent_bytes_per_s: float,
        is_used: bool,
    ) -> None:
        """The estimate agrees with one more sample.

        Args:
            now_s: the time of the sample.
            busy_bytes_per_s: acknowledged lately while something was always in flight.
            standing_bytes: the least that was in flight over the last `window_s`.
            base_delay_s: the smallest delay of an acknowledgement lately.
            record_bytes: size of a record.
            silence_s: how long nothing was acknowledged while something was in flight.
            sent_bytes_per_s: what left lately; the estimate never grows beyond half as much again.
            is_used: the rate was the limit lately; a rate that nobody used says nothing and is kept.
        """
        elapsed_s, self._at_s = now_s - self._at_s, now_s
        self._growth_per_s = 0.0
        queue_s = max(_ROUND_TRIPS_ALLOWED * base_delay_s, _QUEUE_ALLOWED_S)
        carried = min(self._rate, busy_bytes_per_s or self._rate)
        allowed = queue_s * carried + _RECORDS_ALLOWED * record_bytes
        if silence_s >= SILENT_S:
            self._silence_s = silence_s
            return
        if self._silence_s >= OUTAGE_S:
            self._wake(now_s)
        elif standing_bytes > allowed or self._silence_s > 0:
            self._silence_s = 0.0
            if now_s >= self._judges_from_s:
                self._cut(now_s, busy_bytes_per_s, standing_bytes - allowed, record_bytes)
        elif is_used and now_s >= self._drains_until_s:
            tried = _TRIED_SHARE * (sent_bytes_per_s + record_bytes)
            if standing_bytes > 0 and busy_bytes_per_s > 0:
                tried = min(tried, _BEYOND_BUSY * busy_bytes_per_s + record_bytes)
            self._grow(now_s, elapsed_s, tried)
        self._beliefs.append((now_s, self._rate))
        while self._beliefs[0][0] < now_s - _MEMORY_S:
            self._beliefs.popleft()

    def _wake(self, now_s: float) -> None:
        """After an outage start with most of what was carried before; the ramp finds the rest.

        A told budget that the path always carried is used in full at once.
        """
        self._silence_s = 0.0
        if self._rate < self._ceiling:
            before = max((rate for _, rate in self._beliefs), default=self._rate)
            self._rate = min(max(_WAKE_SHARE * before, MIN_BYTES_PER_S), self._ceiling)
        self._drains_until_s = now_s
        self._calm_since_s = now_s - 2.0
        self._was_congested = True

    def _cut(self, now_s: float, busy_bytes_per_s: float, excess_bytes: float, record_bytes: float) -> None:
        """To what was carried, and below it until the excess is gone; what then still stands is judged anew."""
        self._was_congested = True
        self._calm_since_s = now_s
        # Over a second a few large records measure the path only roughly: what is near enough is no cut.
        doubt = min(_DOUBT + record_bytes / max(busy_bytes_per_s, 1.0), _MAX_DOUBT)
        if busy_bytes_per_s <= 0:
            self._rate *= _BLIND_CUT
        elif busy_bytes_per_s < (1.0 - doubt) * self._rate:
            self._rate = busy_bytes_per_s
        else:
            return
        self._rate = max(self._rate, MIN_BYTES_PER_S)
        drain_s = max(excess_bytes, 0.0) / max((1.0 - DRAIN_SHARE) * self._rate, 1.0)
        self._drains_until_s = now_s + min(drain_s, MAX_WINDOW_S)
        self._judges_from_s = self._drains_until_s + self.window_s(record_bytes)

    def _grow(self, now_s: float, elapsed_s: float, tried_bytes_per_s: float) -> None:
        limit = min(self._ceiling, tried_bytes_per_s)
        if self._rate >= limit:
            return
        growth = _STARTUP_GROWTH_PER_S
        if self._was_congested:
            calm_s = max(now_s - max(self._calm_since_s, self._drains_until_s), 0.0)
            growth = min(_SLOWEST_GROWTH_PER_S * 2.0 ** (calm_s / _DOUBLING_S), _FASTEST_GROWTH_PER_S)
        self._growth_per_s = growth
        self._rate = min(self._rate * (1.0 + growth * elapsed_s), limit)
