"""Each second every site hears, through its Redis, how much this server finishes in time for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from runtime.clock import Clock
from runtime.heartbeat import BEAT_S
from runtime.log import get_logger
from runtime.waiting import set_within
from schemas.errors import SaccadeError
from schemas.server_report import ServerReport
from server_workers.batcher import Batcher
from server_workers.metrics import ServerTally
from server_workers.models import ServerModels
from server_workers.sites import SiteRedis, Sites
from server_workers.task import AnswerTask

_log = get_logger(__name__)


class LoadReporter:
    """Reports to one Redis about the sites that keep their labels there.

    A site is reported on from its first record until an hour after its last; `known` sites always are, for
    silence means that the server is gone.
    """

    def __init__(
        self,
        server: str,
        redis: SiteRedis,
        routes: Sites,
        known: Iterable[str],
        *,
        models: ServerModels,
        tally: ServerTally,
        batcher: Batcher[AnswerTask],
        clock: Clock,
    ) -> None:
        self._server = server
        self._redis = redis
        self._routes = routes
        self._known = frozenset(known)
        self._models = models
        self._tally = tally
        self._batcher = batcher
        self._clock = clock
        self._last_s = clock.monotonic_s()
        self._last_tokens = 0

    async def run(self, until: asyncio.Event) -> None:
        """Reports each second until `until` is set; a Redis that does not take it misses its report."""
        while not await set_within(until, BEAT_S):
            try:
                await self._redis.store.publish_reports(self.reports())
            except SaccadeError as error:  # whatever it is, it is this site's own
                _log.warning("report not delivered", redis=self._redis.name, error=str(error))

    def reports(self) -> list[ServerReport]:
        """One report a site about the time since the last call."""
        now_s = self._clock.monotonic_s()
        interval_s, self._last_s = max(now_s - self._last_s, 1e-3), now_s
        num_tokens, self._last_tokens = self._tally.num_tokens - self._last_tokens, self._tally.num_tokens
        heard = {site for site in self._tally.sites(now_s) if self._routes.of(site) is self._redis}
        reports = []
        for site in sorted(self._known | heard):
            load = self._tally.take_load(site, now_s)
            reports.append(
                ServerReport(
                    server=self._server,
                    site=site,
                    sent_ns=self._redis.site_clock.time_ns(now_s),
                    interval_s=interval_s,
                    received=load.received,
                    finals_in_time=load.finals,
                    expired=load.expired,
                    queue_age_s=max(load.arrival_age_s, now_s - self._batcher.oldest_arrival_s(site)),
                    tokens_per_s=num_tokens / interval_s,
                    model=self._models.newest.identity.weights_hash,
                )
            )
        return reports
