"""What the servers finish in time, from their reports: a limit on records/s, and whether they are there.

Called by admission when reports were read (once a second). Pure. Bytes are not the only scarce thing:
records beyond what the servers finish cost uplink and expire.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from schemas.server_report import ServerReport

HEARTBEAT_S: Final = 5.0
EXPIRED_LIMIT: Final = 0.2
MIN_RECORDS_PER_S: Final = 1.0
PACE_BURST_S: Final = 0.25
_HEADROOM: Final = 1.05
_DRAIN: Final = 0.7
_BINDING_SHARE: Final = 0.7
_FORGET_S: Final = 60.0
_LATE_AGE_S: Final = 0.5
_EXPIRED_TROUBLE: Final = 0.02


class ServerWatch:
    """Follows the reports of all servers of one site; one that does not watch believes that they cope.

    State: when each server was last heard and its newest report, the present limit, and the expired share.
    """

    def __init__(self, now_s: float, *, is_watching: bool = True) -> None:
        self._is_watching = is_watching
        self._heard_s = now_s
        self._reports: dict[str, tuple[float, ServerReport]] = {}
        self._limit = math.inf
        self._bound_s = now_s
        self._expired_share = 0.0

    @property
    def max_records_per_s(self) -> float:
        """What this worker may send at most so that the servers finish it in time; infinite if they cope."""
        return self._limit

    @property
    def expired_share(self) -> float:
        """The share of the servers' last records that had expired on arrival, in [0, 1]."""
        return self._expired_share

    def are_gone(self, now_s: float) -> bool:
        """True without any heartbeat for 5 s."""
        return self._is_watching and now_s - self._heard_s > HEARTBEAT_S

    def are_overrun(self) -> bool:
        """True while more than a fifth of the records expire at the servers."""
        return self._expired_share > EXPIRED_LIMIT

    def update(
        self,
        reports: Iterable[ServerReport],
        *,
        own_share: float,
        own_records_per_s: float,
        link_delay_s: float,
        now_s: float,
    ) -> None:
        """The limit agrees with the newest reports; reports seen before change nothing.

        Args:
            reports: the newest report of each server.
            own_share: this worker's part of the site's offloads, in (0, 1].
            own_records_per_s: what this worker sent lately.
            link_delay_s: the longest delay on the way there lately; ages at the servers begin at hand-over, and
                what the way took is not their doing.
            now_s: when they were read.
        """
        fresh = [report for report in reports if self._is_new(report)] if self._is_watching else []
        for report in fresh:
            self._reports[report.server] = (now_s, report)
        if not fresh:
            return
        self._heard_s = now_s
        for server in [s for s, (heard, _) in self._reports.items() if now_s - heard > HEARTBEAT_S]:
            del self._reports[server]
        newest = [report for _, report in self._reports.values()]
        finals = sum(r.finals_in_time / max(r.interval_s, 1e-3) for r in newest)
        expired = sum(r.expired / max(r.interval_s, 1e-3) for r in newest)
        done = finals + expired
        self._expired_share = expired / done if done > 0 and link_delay_s < _LATE_AGE_S else 0.0
        queue_age_s = max(r.queue_age_s for r in newest) - link_delay_s
        self._set_limit(queue_age_s, finals * own_share, own_records_per_s, now_s)

    def _is_new(self, report: ServerReport) -> bool:
        known = self._reports.get(report.server)
        return known is None or known[1].sent_ns != report.sent_ns

    def _set_limit(self, queue_age_s: float, goodput: float, own_records_per_s: float, now_s: float) -> None:
        if queue_age_s > _LATE_AGE_S or self._expired_share > _EXPIRED_TROUBLE:
            # Below the goodput, or the backlog that made the records late would never drain.
            self._limit = max(min(_DRAIN * goodput, self._limit), MIN_RECORDS_PER_S)
            self._bound_s = now_s
        elif self._limit < math.inf:
            if own_records_per_s > _BINDING_SHARE * self._limit:
                self._bound_s = now_s
                self._limit = max(self._limit, goodput) * _HEADROOM
            elif now_s - self._bound_s > _FORGET_S:
                self._limit = math.inf


class RecordPacer:
    """Lets records pass at a limit per second, a quarter of a second's worth at once.

    State: the records in hand at `_at_s`.
    """

    def __init__(self, now_s: float) -> None:
        self._limit = math.inf
        self._in_hand = 1.0
        self._at_s = now_s

    def set_limit(self, records_per_s: float, now_s: float) -> None:
        """From `now_s` on this limit holds; infinite is none."""
        self._earn(now_s)
        self._limit = records_per_s
        self._earn(now_s)

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next record may pass; 0 if it may now."""
        self._earn(now_s)
        return max(1.0 - self._in_hand, 0.0) / self._limit

    def take(self, now_s: float) -> None:
        """A record passes."""
        self._earn(now_s)
        self._in_hand -= 1.0

    def _earn(self, now_s: float) -> None:
        if math.isinf(self._limit):
            self._in_hand = 1.0
        else:
            most = max(PACE_BURST_S * self._limit, 1.0)
            self._in_hand = min(self._in_hand + self._limit * (now_s - self._at_s), most)
        self._at_s = now_s
