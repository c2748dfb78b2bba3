"""What leaves and what comes back: wire bytes, overhead per record, send delay and its trend, silence.

Called by the governor. Pure: totals and times come in as arguments.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

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
TREND_S: Final = 2.0
_SIZE_WEIGHT: Final = 0.1
_OVERHEAD_RECORDS: Final = 32
_OVERHEAD_WEIGHT: Final = 0.3


@dataclass(slots=True, eq=False)
class HandOver:
    """A record in flight: its value's size, what it was debited for, and when it was handed over."""

    num_bytes: int
    estimate_bytes: float
    at_s: float


class UplinkMeter:
    """Running totals over monotonic time.

    State: what is in flight (`_flying`, oldest first), a sample of the totals each time `measure` is called,
    and the delays and sizes of recent acknowledgements. `round_trip_s` is the path's without any queue, as the
    sockets tell it; 0 where they do not.
    """

    def __init__(self, now_s: float) -> None:
        self.round_trip_s = 0.0
        self._flying: dict[HandOver, None] = {}
        self._in_flight_bytes = 0.0
        self._acknowledged_bytes = 0.0
        self._last_sign_s = now_s
        self._overhead_bytes = INITIAL_OVERHEAD_BYTES
        self._record_bytes = INITIAL_RECORD_BYTES
        self._wire_bytes: float = 0.0
        self._wire_zero: float | None = None
        self._flying_values = 0
        self._landed_values = 0
        self._landed_records = 0
        self._learnt_at = (0.0, 0, 0)
        self._samples: deque[tuple[float, float]] = deque([(now_s, 0.0)])
        self._delays: deque[tuple[float, float]] = deque()
        self._busy: deque[tuple[float, float]] = deque([(now_s, 0.0)])

    @property
    def in_flight_bytes(self) -> float:
        """Estimated wire bytes of the records handed over and not acknowledged."""
        return self._in_flight_bytes

    @property
    def num_in_flight(self) -> int:
        """Records handed over and not acknowledged."""
        return len(self._flying)

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

    def handed_over(self, num_bytes: int, now_s: float) -> HandOver:
        """A record is in flight; keep the result for `acknowledged` or `failed`."""
        sent = HandOver(num_bytes, self.estimate_bytes(num_bytes), now_s)
        if not self._flying:
            if now_s - self._last_sign_s > IDLE_S:
                self._busy.clear()
                self._busy.append((now_s, 0.0))
            self._last_sign_s = now_s
        self._record_bytes += _SIZE_WEIGHT * (sent.estimate_bytes - self._record_bytes)
        self._flying[sent] = None
        self._in_flight_bytes += sent.estimate_bytes
        self._flying_values += num_bytes
        return sent

    def acknowledged(self, sent: HandOver, now_s: float) -> None:
        """The broker has the record: it is no longer in flight and its delay is known."""
        self._land(sent)
        if now_s - self._last_sign_s >= OUTAGE_S:
            self._busy.clear()  # an outage says nothing about what the path carries, a slow request does
        self._last_sign_s = now_s
        self._acknowledged_bytes += sent.estimate_bytes
        self._landed_records += 1
        if self._busy and now_s - self._busy[-1][0] < ONE_ANSWER_S:
            answered_s, num_bytes = self._busy.pop()
            self._busy.append((answered_s, num_bytes + sent.estimate_bytes))
        else:
            self._busy.append((now_s, sent.estimate_bytes))
        while len(self._busy) > BUSY_ANSWERS and self._busy[1][0] < now_s - BUSY_S:
            self._busy.popleft()
        delay_s = now_s - sent.at_s
        self._delays.append((now_s, delay_s))
        _trim(self._delays, now_s - TREND_S)

    def failed(self, sent: HandOver) -> None:
        """The producer gave the record up; it is no longer in flight."""
        self._land(sent)

    def measure(self, wire_bytes: float | None, now_s: float) -> float:
        """A sample of the totals is taken; returns the total of bytes that left.

        Args:
            wire_bytes: the socket's total, of which the first sets the zero; None where the system has none,
                then acknowledged records and their overhead are counted instead.
            now_s: the time of the sample.
        """
        if wire_bytes is None:
            self._wire_bytes = self._acknowledged_bytes
        else:
            if self._wire_zero is None:
                self._wire_zero = wire_bytes
            self._wire_bytes = wire_bytes - self._wire_zero
            self._learn_overhead()
        self._samples.append((now_s, self._wire_bytes))
        while len(self._samples) > 2 and self._samples[1][0] <= now_s - WINDOW_S:
            self._samples.popleft()
        return self._wire_bytes

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
        expected_s = OVERDUE_SHARE * self._in_flight_bytes / max(believed_bytes_per_s, 1.0)
        if self._flying and now_s - last_s > max(expected_s, OVERDUE_S):
            return (acknowledged + self._in_flight_bytes) / (now_s - first_s)
        return acknowledged / (last_s - first_s) if last_s - first_s >= MIN_BUSY_S else 0.0

    def silence_s(self, now_s: float) -> float:
        """Seconds without any acknowledgement while something was in flight; 0 if nothing is."""
        return now_s - self._last_sign_s if self._flying else 0.0

    def delay_s(self, now_s: float) -> float:
        """The age of the newest acknowledgement's record when it came, or of the oldest record in flight."""
        oldest = next(iter(self._flying), None)
        waiting = now_s - oldest.at_s if oldest is not None else 0.0
        return max(waiting, self._delays[-1][1] if self._delays else 0.0)

    def delay_trend(self, now_s: float) -> float:
        """By how many seconds the delay grows per second, over the last 2 s; 0 with fewer than 3 samples."""
        _trim(self._delays, now_s - TREND_S)
        if len(self._delays) < 3:
            return 0.0
        mean_t = sum(t for t, _ in self._delays) / len(self._delays)
        mean_d = sum(d for _, d in self._delays) / len(self._delays)
        spread = sum((t - mean_t) ** 2 for t, _ in self._delays)
        if spread < 1e-6:
            return 0.0
        return sum((t - mean_t) * (d - mean_d) for t, d in self._delays) / spread

    def _land(self, sent: HandOver) -> None:
        del self._flying[sent]
        self._flying_values -= sent.num_bytes
        self._landed_values += sent.num_bytes
        self._in_flight_bytes -= sent.estimate_bytes
        if not self._flying:
            self._in_flight_bytes = 0.0

    def _learn_overhead(self) -> None:
        """Every 32 records: what left beyond the values that landed or are on their way."""
        wire, values, records = self._learnt_at
        landed = self._landed_records - records
        if landed < _OVERHEAD_RECORDS:
            return
        all_values = self._landed_values + self._flying_values
        observed = (self._wire_bytes - wire - (all_values - values)) / landed
        self._learnt_at = (self._wire_bytes, all_values, self._landed_records)
        bounded = min(max(observed, 0.0), MAX_OVERHEAD_BYTES)
        self._overhead_bytes += _OVERHEAD_WEIGHT * (bounded - self._overhead_bytes)


def _trim(samples: deque[tuple[float, float]], from_s: float) -> None:
    while samples and samples[0][0] < from_s:
        samples.popleft()
