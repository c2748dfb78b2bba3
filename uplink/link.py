"""The link as it shows itself: what left, what came back, and the rate that this tells of.

`UplinkMeter` counts what leaves and comes back: wire bytes, overhead per record, send delay, silence.
`RateEstimator` believes in a usable rate from that: for `auto`, and below a told budget. Called by admission each
100 ms. Pure: totals and times come in as arguments.

Two things limit what leaves: the rate and how much may be in flight. A rate above what the path carries fills the
flight, and from then on each record that leaves makes room for the next: what is acknowledged meanwhile is what the
path carries, as in BBR, and the rate follows it up and down. While the flight has room the path carries all that is
sent, and the rate grows, the faster the longer that lasts: a far larger capacity is found within seconds, a steady
one is overshot by little.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from uplink.round_trip import RoundTrip
from uplink.task import Flight, OffloadTask

INITIAL_OVERHEAD_BYTES: Final = 400.0
"""Measured beyond the value, unbatched: 370 B at records of 1 kB, 250 B at 4 kB (headers, request, TCP)."""
INITIAL_RECORD_BYTES: Final = 5_000.0
MAX_OVERHEAD_BYTES: Final = 4096.0
WINDOW_S: Final = 10.0
BUSY_S: Final = 1.0
IDLE_S: Final = 0.05
"""A pause of a path in use, as between an answer and the next request; a longer one says nothing of the path."""
BUSY_ANSWERS: Final = 4
ONE_ANSWER_S: Final = 0.005
"""The records of one request are acknowledged together; they passed the path one after the other."""
MIN_BUSY_S: Final = 0.25
OUTAGE_S: Final = 3.0
"""A silence so long is an outage, not a path that became slow."""
OVERDUE_S: Final = 0.3
OVERDUE_SHARE: Final = 2.0
SILENT_S: Final = 1.0
"""No acknowledgement for so long while something is in flight: the path is silent."""
NEWEST_DELAY_S: Final = 2.0
DELAY_MEMORY_S: Final = 4.0
_SIZE_WEIGHT: Final = 0.1
_OVERHEAD_RECORDS: Final = 32
_OVERHEAD_WEIGHT: Final = 0.3
START_BYTES_PER_S: Final = 16_000.0
MIN_BYTES_PER_S: Final = 1_000.0
FLIGHT_S: Final = 0.15
FLIGHT_RECORDS: Final = 2.5
"""What may be in flight beyond what the path itself holds, in seconds of its rate and in records."""
FULL_S: Final = 0.3
"""Full for so long without a break: it is the path that limits, not a burst that passed."""
_BEYOND: Final = 1.03
"""The pace is so far above what a full path carries, so that the flight, not the bucket, is what limits."""
_FOLLOW_PER_S: Final = 3.0
_STARTUP_GROWTH_PER_S: Final = 1.0
_SLOWEST_GROWTH_PER_S: Final = 0.02
_FASTEST_GROWTH_PER_S: Final = 0.7
_DOUBLING_S: Final = 0.8
_MOST_DOUBLINGS: Final = 10.0
_RAMP_PER_S: Final = 0.1
_BLIND_CUT: Final = 0.7
_TRIED_SHARE: Final = 1.5
_WAKE_SHARE: Final = 0.7
_MEMORY_S: Final = 3.0
_FALLEN_SHARE: Final = 0.75


class UplinkMeter:
    """Running totals over monotonic time.

    State: what is in flight, a sample of the totals each time `sample` is called, the delays and sizes of recent
    acknowledgements, and the round trip that they tell.
    """

    def __init__(self, now_s: float, num_producers: int = 1) -> None:
        self.round_trip = RoundTrip()
        self.flight = Flight(num_producers)
        self._acknowledged_bytes = 0.0
        self._last_sign_s = now_s
        self._overhead_bytes = INITIAL_OVERHEAD_BYTES
        self._record_bytes = INITIAL_RECORD_BYTES
        self._wire_bytes: float = 0.0
        self._wire_zero: float | None = None
        self._landed_values = 0
        self._acknowledged_values = 0
        self._landed_records = 0
        self._learnt_at = (0.0, 0, 0)
        self._samples: deque[tuple[float, float]] = deque([(now_s, 0.0)])
        self._newest_delay = (-math.inf, 0.0)
        self._sampled_delays: deque[tuple[float, float]] = deque()
        self._busy: deque[tuple[float, float]] = deque([(now_s, 0.0)])

    @property
    def wire_bytes(self) -> float:
        """Everything that left since the start, overhead included."""
        return self._wire_bytes

    @property
    def overhead_bytes(self) -> float:
        """Wire bytes of a record beyond its value, as measured lately."""
        return self._overhead_bytes

    @property
    def record_bytes(self) -> float:
        """The mean wire size of a record lately."""
        return self._record_bytes

    def estimate_bytes(self, num_bytes: float) -> float:
        """The wire bytes that a record with a value of `num_bytes` is expected to cost."""
        return num_bytes + self._overhead_bytes

    def handed_over(self, task: OffloadTask, now_s: float) -> None:
        """The task is in flight until `acknowledged` or `failed`."""
        task.handed_over_s = now_s
        task.estimate_bytes = self.estimate_bytes(task.num_bytes)
        if not len(self.flight):
            if now_s - self._last_sign_s > IDLE_S:
                self._busy.clear()
                self._busy.append((now_s, 0.0))
            self._last_sign_s = now_s
        self._record_bytes += _SIZE_WEIGHT * (task.estimate_bytes - self._record_bytes)
        self.flight.add(task)

    def acknowledged(self, task: OffloadTask, now_s: float) -> None:
        """The broker has the record: it is no longer in flight and its delay is known."""
        self.round_trip.took(task.handed_over_s, self.flight.request_bytes(task), now_s)
        self._land(task)
        if now_s - self._last_sign_s >= OUTAGE_S:
            self._busy.clear()  # an outage says nothing about what the path carries, a slow request does
        if not self.round_trip.is_settled(now_s):
            self._busy.clear()
        self._last_sign_s = now_s
        self._acknowledged_bytes += task.estimate_bytes
        self._acknowledged_values += task.num_bytes
        self._landed_records += 1
        if self._busy and now_s - self._busy[-1][0] < ONE_ANSWER_S:
            answered_s, num_bytes = self._busy.pop()
            self._busy.append((answered_s, num_bytes + task.estimate_bytes))
        else:
            self._busy.append((now_s, task.estimate_bytes))
        while len(self._busy) > BUSY_ANSWERS and self._busy[1][0] < now_s - BUSY_S:
            self._busy.popleft()
        self._newest_delay = (now_s, now_s - task.handed_over_s)

    def failed(self, task: OffloadTask) -> None:
        """The producer gave the record up; it is no longer in flight."""
        self._land(task)

    def count(self, wire_bytes: float | None) -> float:
        """Returns the total of bytes that left.

        Args:
            wire_bytes: the sockets' total, of which the first sets the zero; None where the system has none,
                then acknowledged records and their overhead are counted instead. What was acknowledged counts as
                left, also where the sockets' total misses it: a counter's fault must not let more leave.
        """
        if wire_bytes is None:
            self._wire_bytes = self._acknowledged_bytes
        else:
            if self._wire_zero is None:
                self._wire_zero = wire_bytes
            self._wire_zero = min(self._wire_zero, wire_bytes - self._acknowledged_values)
            self._wire_bytes = wire_bytes - self._wire_zero
            self._learn_overhead()
        return self._wire_bytes

    def sample(self, now_s: float) -> None:
        """The totals and the delay are as they are now."""
        self._samples.append((now_s, self._wire_bytes))
        while len(self._samples) > 2 and self._samples[1][0] <= now_s - WINDOW_S:
            self._samples.popleft()
        self._sampled_delays.append((now_s, self.delay_s(now_s)))
        _trim(self._sampled_delays, now_s - DELAY_MEMORY_S)

    def wire_rate(self, window_s: float, now_s: float) -> float:
        """Bytes/s that left over the last `window_s` seconds (at most 10)."""
        start = self._samples[0]
        for sample in reversed(self._samples):
            start = sample
            if sample[0] <= now_s - window_s:
                break
        elapsed_s = self._samples[-1][0] - start[0]
        return (self._samples[-1][1] - start[1]) / elapsed_s if elapsed_s > 0 else 0.0

    def busy_rate(self, believed_bytes_per_s: float, now_s: float) -> float:
        """Bytes/s that the path carried lately while something was always in flight; 0 if too little was seen.

        A producer's requests are acknowledged one by one, each with all its records. So this counts up to the
        last acknowledgement; once the next one takes twice as long as the believed rate explains, all that is
        in flight at most has passed by now.
        """
        first_s, first_bytes = self._busy[0]
        last_s = self._busy[-1][0]
        acknowledged = sum(num_bytes for _, num_bytes in self._busy) - first_bytes
        expected_s = OVERDUE_SHARE * self.flight.estimate_bytes / max(believed_bytes_per_s, 1.0)
        if len(self.flight) and now_s - last_s > max(expected_s, OVERDUE_S):
            return (acknowledged + self.flight.estimate_bytes) / (now_s - first_s)
        return acknowledged / (last_s - first_s) if last_s - first_s >= MIN_BUSY_S else 0.0

    def silence_s(self, now_s: float) -> float:
        """Seconds without any acknowledgement while something was in flight; 0 if nothing is."""
        return now_s - self._last_sign_s if len(self.flight) else 0.0

    def delay_s(self, now_s: float) -> float:
        """The age of the newest acknowledgement's record when it came, for 2 s, or of the oldest record in flight."""
        oldest_s = self.flight.oldest_s
        waiting = now_s - oldest_s if oldest_s is not None else 0.0
        came_s, newest_s = self._newest_delay
        return max(waiting, newest_s if now_s - came_s <= NEWEST_DELAY_S else 0.0)

    def longest_delay_s(self) -> float:
        """The longest of the delays at the samples of the last 4 s; 0 without a sample."""
        return max((delay_s for _, delay_s in self._sampled_delays), default=0.0)

    def _land(self, task: OffloadTask) -> None:
        self.flight.remove(task)
        self._landed_values += task.num_bytes

    def _learn_overhead(self) -> None:
        """Every 32 records: what left beyond the values that landed or are on their way."""
        wire, values, records = self._learnt_at
        landed = self._landed_records - records
        if landed < _OVERHEAD_RECORDS:
            return
        all_values = self._landed_values + self.flight.value_bytes
        observed = (self._wire_bytes - wire - (all_values - values)) / landed
        self._learnt_at = (self._wire_bytes, all_values, self._landed_records)
        bounded = min(max(observed, 0.0), MAX_OVERHEAD_BYTES)
        self._overhead_bytes += _OVERHEAD_WEIGHT * (bounded - self._overhead_bytes)


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
    def carried_bytes_per_s(self) -> float:
        """What the path was last seen to carry; 0 where too little was."""
        return self._carried

    @property
    def pace_bytes_per_s(self) -> float:
        """How fast tokens flow: a little above the rate once the path was full."""
        return min(self._rate * (_BEYOND if self._was_full else 1.0), self._ceiling)

    @property
    def is_limiting(self) -> bool:
        """True while the estimate, not the ceiling, is what limits."""
        return self._rate < 0.98 * self._ceiling

    @property
    def has_fallen(self) -> bool:
        """True while the rate is a quarter below what was believed within the last 3 s, and it is not the ceiling."""
        least = self._rate / _FALLEN_SHARE
        return least < self._ceiling and any(rate > least for _, rate in self._beliefs)

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

    def waiting_bytes(self, record_bytes: float) -> float:
        """How much may wait on the way: what passes in 0.15 s, and a record; at least 2.5 records."""
        carried = FLIGHT_S * (self._carried or self.rate_bytes_per_s)
        return max(carried + record_bytes, FLIGHT_RECORDS * record_bytes)

    def path_bytes(self, round_trip: RoundTrip) -> float:
        """How much is between here and the acknowledgement while the path is used and nothing waits."""
        rate = min(self._carried or math.inf, self.rate_bytes_per_s)
        return round_trip.seconds(rate) * rate

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
            # Bounded before the power is taken: after a quarter of an hour of calm that is no number any more.
            doublings = min(calm_s / _DOUBLING_S, _MOST_DOUBLINGS)
            growth = min(_SLOWEST_GROWTH_PER_S * 2.0**doublings, _FASTEST_GROWTH_PER_S)
        self._growth_per_s = growth
        self._rate = min(self._rate * (1.0 + growth * elapsed_s), tried_bytes_per_s)


def _trim(samples: deque[tuple[float, float]], from_s: float) -> None:
    while samples and samples[0][0] < from_s:
        samples.popleft()
