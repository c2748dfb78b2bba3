"""Leases, reports and the uplink's table in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from devstack import EmbeddedStack
from runtime.connections import RedisSettings
from runtime.redis_coordination import Coordination
from schemas.server_report import ServerReport

pytestmark = pytest.mark.stack


@pytest.fixture
async def redis(stack: EmbeddedStack) -> AsyncIterator[Coordination]:
    async with Coordination(RedisSettings(url=stack.redis_url)) as redis:
        yield redis


async def test_a_camera_has_one_holder_until_it_gives_back(
    redis: Coordination, unique: Callable[[str], str]
) -> None:
    camera = unique("camera")
    assert await redis.hold_camera(camera, "a")
    assert not await redis.hold_camera(camera, "b")
    await redis.release_camera(camera, "b")
    assert await redis.hold_camera(camera, "a")
    await redis.release_camera(camera, "a")
    assert await redis.hold_camera(camera, "b")


def make_report(site: str, server: str, received: int) -> ServerReport:
    return ServerReport(
        server=server,
        site=site,
        sent_ns=1,
        interval_s=1.0,
        received=received,
        finals_in_time=received,
        expired=0,
        queue_age_s=0.25,
        tokens_per_s=1000.0,
    )


async def test_a_site_reads_the_newest_report_of_each_of_its_servers(
    redis: Coordination, unique: Callable[[str], str]
) -> None:
    site = unique("site")
    await redis.publish_report(make_report(site, "two", 1))
    await redis.publish_report(make_report(site, "one", 2))
    await redis.publish_report(make_report(site, "one", 3))
    await redis.publish_report(make_report(unique("site"), "three", 4))
    assert await redis.read_reports(site) == [make_report(site, "one", 3), make_report(site, "two", 1)]
    assert await redis.read_reports(unique("site")) == []


async def test_what_edge_workers_tell_is_read_by_worker(
    redis: Coordination, unique: Callable[[str], str]
) -> None:
    site = unique("site")
    await redis.publish_uplink(site, "edge-1", "steady")
    await redis.publish_uplink(site, "edge-2", "probe")
    await redis.publish_uplink(site, "edge-1", "degrade")
    assert await redis.read_uplinks(site) == {"edge-1": "degrade", "edge-2": "probe"}


async def test_changes_of_the_uplinks_table_are_atomic_among_many_workers(
    stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    site = unique("site")

    def add_one(rows: dict[str, str], now_s: float, uptime_s: float) -> tuple[dict[str, str], int]:
        assert now_s > 1.7e9
        assert uptime_s >= 0
        total = int(rows.get("total", "0")) + 1
        return {**rows, "total": str(total)}, total

    async def work() -> list[int]:
        async with Coordination(RedisSettings(url=stack.redis_url)) as redis:
            return [await redis.change_uplink_table(site, add_one) for _ in range(10)]

    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(work()) for _ in range(6)]
    totals = sorted(total for worker in workers for total in worker.result())
    assert totals == list(range(1, 61))


async def test_spent_bytes_add_up_in_their_period_and_old_periods_go(
    redis: Coordination, unique: Callable[[str], str]
) -> None:
    site = unique("site")
    assert await redis.add_spent(site, 7, 100) == 100
    assert await redis.add_spent(site, 7, 23) == 123
    assert await redis.add_spent(site, 8, 5) == 5
    assert await redis.add_spent(site, 7, 0) == 123
    assert await redis.add_spent(site, 9, 0) == 0
    assert await redis.add_spent(site, 7, 0) == 0
