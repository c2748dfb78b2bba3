"""The usable rate of the uplink, estimated from what comes back: for `auto`, and below a told budget.

Called by the governor each 100 ms. Pure. Two things limit what leaves: this rate and how much may be in flight.
A rate above what the path carries fills the flight, and from then on each record that leaves makes room for the
next: what is acknowledged meanwhile is what the path carries, as in BBR, and the rate follows it up and down.
While the flight has room the path carries all that is sent, and the rate grows, the faster the longer that
lasts: a far larger capacity is found within seconds, a steady one is overshot by little.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from uplink.meter import OUTAGE_S, SILENT_S

START_BYTES_PER_S: Final = 16_000.0
MIN_BYTES_PER_S: Final = 1_000.0
FLIGHT_S: Final = 0.25
FLIGHT_ROUND_TRIPS: Final = 8.0
FLIGHT_RECORDS: Final = 2.5
"""A producer has one request under way and the next one gathers, so half of the flight leaves in each. At a round trip
r a request of x seconds uses x / (x + r) of the path, and records wait about 2 (x + r)."""
FULL_S: Final = 0.3
"""Full for so long without a break: it is the path that limits, not a burst that passed."""
_BEYOND: Final = 1.03
"""The pace is so far above what a full path carries, so that the flight, not the bucket, is what limits."""
_FOLLOW_PER_S: Final = 3.0
_STARTUP_GROWTH_PER_S: Final = 1.0
_SLOWEST_GROWTH_PER_S: Final = 0.02
_FASTEST_GROWTH_PER_S: Final = 0.7
_DOUBLING_S: Final = 0.8
_RAMP_PER_S: Final = 0.1
_BLIND_CUT: Final = 0.7
_TRIED_SHARE: Final = 1.5
_WAKE_SHARE: Final = 0.7
_MEMORY_S: Final = 3.0


class RateEstimator:
    """One path's usable rate in bytes/s, between 1 kB/s and a ceiling (the told budget; infinite for `auto`).

    State: what the path is believed to carry, what it was last seen to carry, when growth began, and the beliefs
    of the last 3 s, from which it starts again after silence.
    """

    def __init__(self, now_s: float, ceiling_bytes_per_s: float = math.inf) -> None:
        self._ceiling = ceiling_bytes_per_s
        self._rate = START_BYTES_PER_S if math.isinf(ceiling_bytes_per_s) else ceiling_bytes_per_s
        self._carried = 0.0
        self._at_s = now_s
        self._calm_since_s = now_s
        self._was_full = False
        self._silence_s = 0.0
        self._growth_per_s = 0.0
        self._beliefs: deque[tuple[float, float]] = deque()

    @property
    def rate_bytes_per_s(self) -> float:
        """What may be sent: what the path is believed to carry."""
        return min(self._rate, self._ceiling)

    @property
    def pace_bytes_per_s(self) -> float:
        """How fast tokens flow: a little above the rate once the path was full."""
        return min(self._rate * (_BEYOND if self._was_full else 1.0), self._ceiling)

    @property
    def is_limiting(self) -> bool:
        """True while the estimate, not the ceiling, is what limits."""
        return self._rate < 0.98 * self._ceiling

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

    def flight_bytes(self, record_bytes: float, round_trip_s: float) -> float:
        """How much may be in flight: what passes in 0.25 s and eight round trips, and a record; at least 2.5."""
        seconds = FLIGHT_S + FLIGHT_ROUND_TRIPS * round_trip_s
        carried = seconds * (self._carried or self.rate_bytes_per_s)
        return max(carried + record_bytes, FLIGHT_RECORDS * record_bytes)

    def update(
        self,
        now_s: float,
        *,
        busy_bytes_per_s: float,
        full_s: float,
        record_bytes: float,
        silence_s: float,
        sent_bytes_per_s: float,
        is_used: bool,
    ) -> None:
        """The estimate agrees with one more sample.

        Args:
            now_s: the time of the sample.
            busy_bytes_per_s: acknowledged lately while something was always in flight; 0 if too little was.
            full_s: how long, without a break, what is in flight was in the way of a record that the rate allowed.
            record_bytes: size of a record.
            silence_s: how long nothing was acknowledged while something was in flight.
            sent_bytes_per_s: what left lately; the estimate never grows beyond half as much again.
            is_used: the rate was the limit lately; a rate that nobody used says nothing and is kept.
        """
        elapsed_s, self._at_s = now_s - self._at_s, now_s
        self._growth_per_s = 0.0
        if silence_s >= SILENT_S:
            self._silence_s = silence_s
            return
        self._carried = busy_bytes_per_s
        if self._silence_s >= OUTAGE_S:
            self._wake(now_s)
        elif self._silence_s > 0:
            self._silence_s = 0.0
            self._congested(now_s)
            self._rate = min(self._rate, busy_bytes_per_s or _BLIND_CUT * self._rate)
        elif full_s >= FULL_S:
            self._congested(now_s)
            if busy_bytes_per_s > 0:
                self._rate += min(_FOLLOW_PER_S * elapsed_s, 1.0) * (busy_bytes_per_s - self._rate)
        elif is_used:
            self._grow(now_s, elapsed_s, _TRIED_SHARE * (sent_bytes_per_s + record_bytes))
        self._rate = min(max(self._rate, MIN_BYTES_PER_S), self._ceiling)
        self._beliefs.append((now_s, self._rate))
        while self._beliefs[0][0] < now_s - _MEMORY_S:
            self._beliefs.popleft()

    def _wake(self, now_s: float) -> None:
        """After an outage start with most of what was carried before; the ramp finds the rest.

        A told budget that the path always carried is used in full at once.
        """
        self._silence_s = 0.0
        self._carried = 0.0
        if self._rate < self._ceiling:
            before = max((rate for _, rate in self._beliefs), default=self._rate)
            self._rate = _WAKE_SHARE * before
        self._calm_since_s = now_s - 2.0
        self._was_full = True

    def _congested(self, now_s: float) -> None:
        self._was_full = True
        self._calm_since_s = now_s

    def _grow(self, now_s: float, elapsed_s: float, tried_bytes_per_s: float) -> None:
        if self._rate >= tried_bytes_per_s:
            return
        growth = _STARTUP_GROWTH_PER_S
        if self._was_full:
            calm_s = now_s - self._calm_since_s
            growth = min(_SLOWEST_GROWTH_PER_S * 2.0 ** (calm_s / _DOUBLING_S), _FASTEST_GROWTH_PER_S)
        self._growth_per_s = growth
        self._rate = min(self._rate * (1.0 + growth * elapsed_s), tried_bytes_per_s)
