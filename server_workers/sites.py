"""Which Redis holds which site's labels, and the time there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from runtime.clock import Clock
from runtime.connections import RedisSettings
from runtime.redis_store import RedisStore
from runtime.site_clock import SiteClock
from runtime.stores import SiteStores
from server_workers.settings import ServerProgramSettings


@dataclass(frozen=True, slots=True)
class SiteRedis:
    """One Redis: `name` for people, its store and its clock."""

    name: str
    store: SiteStores
    site_clock: SiteClock


class Sites:
    """The default Redis and those of named sites."""

    def __init__(self, default: SiteRedis, by_site: Mapping[str, SiteRedis]) -> None:
        self._default = default
        self._by_site = by_site
        # Several sites may name one Redis.
        self.redises = list({each.name: each for each in (default, *by_site.values())}.values())

    def __repr__(self) -> str:
        return f"<Sites redises={len(self.redises)} named={len(self._by_site)}>"

    @property
    def named(self) -> frozenset[str]:
        """The sites that name their own Redis."""
        return frozenset(self._by_site)

    def of(self, site: str) -> SiteRedis:
        """The Redis of a site."""
        return self._by_site.get(site, self._default)

    def deadline_s(self, site: str, deadline_ns: int) -> float:
        """The local monotonic time of a deadline on the site's clock; `inf` for 0, which means none."""
        return self.of(site).site_clock.monotonic_s(deadline_ns) if deadline_ns else math.inf

    def time_ns(self, site: str, now_s: float) -> int:
        """The site's time at a local monotonic time."""
        return self.of(site).site_clock.time_ns(now_s)


async def connect_sites(settings: ServerProgramSettings, clock: Clock, stack: AsyncExitStack) -> Sites:
    """One client for each Redis of the settings, closed with `stack`.

    Until a Redis answers, its clock is taken to be this machine's: a dead one must not stop others' labels.
    """

    async def connect(redis: RedisSettings, name: str) -> SiteRedis:
        site_clock, now_s = SiteClock(), clock.monotonic_s()
        site_clock.learn(clock.time_ns(), now_s, now_s)
        store = await stack.enter_async_context(RedisStore(redis))
        return SiteRedis(name, store, site_clock)

    connected: list[tuple[RedisSettings, SiteRedis]] = []

    async def of(redis: RedisSettings, name: str) -> SiteRedis:
        """Who logs in differently is another client, also at one address."""
        for known, site_redis in connected:
            if known == redis:
                return site_redis
        connected.append((redis, await connect(redis, name)))
        return connected[-1][1]

    by_site = {
        site: await of(settings.redis_for(site), site) for site in sorted(settings.server.redis_by_site)
    }
    return Sites(await of(settings.redis, "default"), by_site)
