"""Each second every site hears, through its Redis, how much this server finishes in time for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from runtime.clock import Clock
from runtime.heartbeat import BEAT_S
from runtime.log import get_logger
from runtime.waiting import set_within
from schemas.errors import TransientError
from schemas.server_report import ServerReport
from server_workers.batcher import Batcher
from server_workers.incoming import Ready
from server_workers.sites import SiteRedis, Sites
from server_workers.tally import ServerTally

_log = get_logger(__name__)


class Reporter:
    """Reports to one Redis about the sites that keep their labels there.

    A site is reported on from its first record; `sites` are from the start, for silence means that the server
    is gone.
    """

    def __init__(
        self,
        server: str,
        redis: SiteRedis,
        routes: Sites,
        sites: Iterable[str],
        *,
        model: str,
        tally: ServerTally,
        batcher: Batcher[Ready],
        clock: Clock,
    ) -> None:
        self._server = server
        self._redis = redis
        self._routes = routes
        self._sites = set(sites)
        self._model = model
        self._tally = tally
        self._batcher = batcher
        self._clock = clock
        self._last_s = clock.monotonic_s()
        self._received: Counter[str] = Counter()
        self._finals: Counter[str] = Counter()
        self._expired: Counter[str] = Counter()
        self._tokens = 0

    async def run(self, until: asyncio.Event) -> None:
        """Reports each second until `until` is set; a Redis that does not answer misses its report."""
        while not await set_within(until, BEAT_S):
            try:
                await self._redis.store.publish_reports(self.reports())
            except TransientError as error:
                _log.warning("report not delivered", redis=self._redis.name, error=str(error))

    def reports(self) -> list[ServerReport]:
        """One report a site about the time since the last call."""
        now_s = self._clock.monotonic_s()
        interval_s, self._last_s = max(now_s - self._last_s, 1e-3), now_s
        tally = self._tally
        self._sites |= {site for site in tally.received if self._routes.of(site) is self._redis}
        waited_s = max(0.0, now_s - self._batcher.oldest_arrival_s) if len(self._batcher) else 0.0
        reports = [
            ServerReport(
                server=self._server,
                site=site,
                sent_ns=self._redis.site_clock.time_ns(now_s),
                interval_s=interval_s,
                received=tally.received[site] - self._received[site],
                finals_in_time=tally.finals[site] - self._finals[site],
                expired=tally.expired[site] - self._expired[site],
                queue_age_s=max(tally.arrival_age_s(now_s), waited_s),
                tokens_per_s=(tally.num_tokens - self._tokens) / interval_s,
                model=self._model,
            )
            for site in sorted(self._sites)
        ]
        self._received, self._finals = tally.received.copy(), tally.finals.copy()
        self._expired, self._tokens = tally.expired.copy(), tally.num_tokens
        return reports
