"""Servers that finish so many records per second, expire what comes too late, report each second. Pure."""

from __future__ import annotations

from collections import deque

from lab.simulation.link import SimulatedLink
from schemas.rates import RateSchedule
from schemas.server_report import ServerReport

REPORT_S = 1.0


class SimulatedServers:
    """One queue in front of all servers of a site.

    `records_per_s`: a schedule of what they finish; None = at once. A record whose turn comes after its
    deadline is skipped at no cost. State: the starts of work in order of arrival, and the counts of this
    interval.
    """

    def __init__(self, records_per_s: RateSchedule | None) -> None:
        self._work = SimulatedLink(records_per_s, delay_s=0.0)
        self._waiting: deque[tuple[float, float]] = deque()
        self._finals: deque[float] = deque()
        self._expired: deque[float] = deque()
        self._received: deque[float] = deque()

    def take(self, arrived_s: float, deadline_s: float) -> float | None:
        """The record's turn comes; returns when it is final, None if it expired."""
        starts_s = arrived_s + self._work.waiting_s(arrived_s)
        self._received.append(arrived_s)
        self._waiting.append((arrived_s, starts_s))
        if starts_s > deadline_s:
            self._expired.append(starts_s)
            return None
        done_s = self._work.carry(1.0, arrived_s).arrives_s
        self._finals.append(done_s)
        return done_s

    def report(self, now_s: float) -> ServerReport:
        """What happened in the second before `now_s`."""
        while self._waiting and self._waiting[0][1] <= now_s:
            self._waiting.popleft()
        oldest_s = self._waiting[0][0] if self._waiting else now_s
        finals = _count(self._finals, now_s)
        return ServerReport(
            server="simulated",
            site="",
            sent_ns=round(now_s * 1e9),
            interval_s=REPORT_S,
            received=_count(self._received, now_s),
            finals_in_time=finals,
            expired=_count(self._expired, now_s),
            queue_age_s=max(now_s - oldest_s, 0.0),
            tokens_per_s=finals * 197.0,
        )


def _count(times: deque[float], until_s: float) -> int:
    """Removes the times up to now; those of before the interval were removed by earlier reports."""
    late = [time for time in times if time > until_s]
    counted = len(times) - len(late)
    times.clear()
    times.extend(late)
    return counted
