"""What the uplink exchanges with the site's Redis: on a stand-in, and on a real one that is killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from devstack.locks import Locks
from devstack.redis_server import RedisServer
from runtime.clock import SystemClock
from runtime.connections import RedisSettings
from runtime.redis_coordination import Coordination
from runtime.stores import Spent
from schemas.errors import TransientError
from schemas.operating_point import OperatingPoint
from schemas.rates import RateSchedule, Volume, constant
from schemas.server_report import ServerReport
from uplink.admission import AdmissionConfig
from uplink.default_curve import default_frontier
from uplink.scheduler import UplinkScheduler
from uplink.site_share import SiteShare
from uplink.volume import VolumePlan

T = TypeVar("T")
POINT = OperatingPoint(tau=0.8, delta=1.0)
CLOCK = SystemClock()


class FakeStore:
    """One site's Redis; `away` makes every call fail."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.states: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.spent = 0
        self.away = False
        self.asked = asyncio.Event()

    def _answer(self) -> None:
        self.asked.set()
        if self.away:
            raise TransientError("away")

    async def change_uplink_table(
        self, site: str, change: Callable[[dict[str, str], float, float], tuple[Mapping[str, str], T]]
    ) -> T:
        self._answer()
        rows, result = change(self.rows, CLOCK.monotonic_s(), 1e6)
        self.rows = dict(rows)
        return result

    async def read_reports(self, site: str) -> list[ServerReport]:
        self._answer()
        return [ServerReport("s", site, 7, 1.0, 9, 9, 0, 0.0, 0.0, "5eed")]

    async def publish_uplink(self, site: str, worker: str, text: str) -> None:
        self._answer()
        self.states.put_nowait(json.loads(text))

    async def add_spent(self, site: str, period_s: float, num_bytes: int) -> Spent:
        self._answer()
        self.spent += num_bytes
        return Spent(self.spent, 0.0)


def make_scheduler(budget: RateSchedule, *, is_shared: bool = True) -> UplinkScheduler:
    config = AdmissionConfig(budget=budget, is_shared=is_shared)
    return UplinkScheduler(config, default_frontier(), POINT, CLOCK.monotonic_s())


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker listens to the servers and shows its state many times a second."""
    monkeypatch.setattr("uplink.site_share.REPORT_S", 0.05)


@asynccontextmanager
async def sharing(share: SiteShare, scheduler: UplinkScheduler) -> AsyncIterator[None]:
    task = asyncio.create_task(share.run(scheduler))
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_the_only_worker_gets_the_whole_budget_hears_the_servers_and_shows_its_state() -> None:
    store, scheduler = FakeStore(), make_scheduler(constant(10_000.0))
    share = SiteShare(store, CLOCK, site="", worker="w", is_shared=True, about={"budget": "80kbit"})
    async with sharing(share, scheduler), asyncio.timeout(5):
        state = await store.states.get()
        assert (state["worker"], state["budget"], state["state"]) == ("w", "80kbit", "startup")
        assert scheduler.admission.allowance.fraction(CLOCK.monotonic_s()) == 1.0
        assert scheduler.claim("w", CLOCK.monotonic_s()).held == 1.0


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(("known", "warnings"), [("", 0), ("5eed", 0), ("0ther", 1)])
async def test_one_warning_tells_of_a_server_whose_model_the_frontier_does_not_know(
    known: str, warnings: int
) -> None:
    store, scheduler = FakeStore(), make_scheduler(constant(10_000.0))
    share = SiteShare(store, CLOCK, site="", worker="w", is_shared=False, server_hash=known)
    with capture_logs() as logs:
        async with sharing(share, scheduler), asyncio.timeout(10):
            await store.states.get()
            await store.states.get()
    told = [entry["calibrated_for"] for entry in logs if entry["log_level"] == "warning"]
    assert told == [known] * warnings


async def test_a_redis_that_does_not_answer_leaves_the_lease_to_end() -> None:
    store, scheduler = FakeStore(), make_scheduler(constant(10_000.0))
    store.away = True
    share = SiteShare(store, CLOCK, site="", worker="w", is_shared=True)
    async with sharing(share, scheduler), asyncio.timeout(5):
        await store.asked.wait()
        assert scheduler.admission.allowance.fraction(CLOCK.monotonic_s()) == 0.0
        store.away = False
        await store.states.get()
        store.asked.clear()
        await store.asked.wait()
    assert scheduler.admission.allowance.fraction(CLOCK.monotonic_s()) > 0.0


@pytest.mark.usefixtures("often")
async def test_a_volume_sets_the_rate_by_what_the_site_has_spent() -> None:
    store, scheduler = FakeStore(), make_scheduler(constant(0.0), is_shared=False)
    store.spent = 10**6
    plan = VolumePlan(Volume(10**6, 3600.0))
    share = SiteShare(store, CLOCK, site="", worker="w", is_shared=False, volume=plan)
    async with sharing(share, scheduler), asyncio.timeout(5):
        assert (await store.states.get())["spent_bytes"] == 10**6
        assert scheduler.admission.allowance.rate_bytes_per_s == 0.0
        store.spent = 0
        while (await store.states.get())["spent_bytes"] != 0:
            pass
        assert scheduler.admission.allowance.rate_bytes_per_s >= 10**6 / 3600


@pytest.fixture
async def own_redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    """A Redis of this test's own, which it may kill."""
    locks = Locks()
    server = RedisServer(tmp_path, tmp_path / "data", locks)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
        locks.release()


@pytest.mark.stack
async def test_a_volume_survives_a_restart_of_the_worker_and_of_redis(own_redis: RedisServer) -> None:
    """What the first worker spent is missing in the rate of the second, after Redis was killed between them."""
    plan = VolumePlan(Volume(10**6, 30 * 86_400.0))
    rates = []
    for spent in (600_000.0, 0.0):
        scheduler = make_scheduler(constant(0.0), is_shared=False)
        for total in (0.0, spent):
            scheduler.measured([total], CLOCK.monotonic_s())
        async with Coordination(RedisSettings(url=own_redis.url)) as store, asyncio.timeout(20):
            share = SiteShare(store, CLOCK, site="s", worker="w", is_shared=False, volume=plan)
            async with sharing(share, scheduler):
                while scheduler.admission.allowance.told_bytes_per_s == 0:  # noqa: ASYNC110 - another process counts
                    await asyncio.sleep(0.02)
            rates.append(scheduler.admission.allowance.told_bytes_per_s)
            assert (await store.add_spent("s", plan.period_s, 0)).num_bytes == 600_000
        await own_redis.kill()
        await own_redis.start()
    # The rest is spread over what is left of the period, however much that is today.
    assert rates[1] == pytest.approx(rates[0], rel=0.05)


@pytest.mark.stack
async def test_shares_never_sum_to_more_than_one_while_redis_is_killed_and_restarted(
    own_redis: RedisServer,
) -> None:
    """Three workers on a real Redis: fair before, nobody richer during the restart, fair again after it."""
    schedulers = [make_scheduler(constant(30_000.0)) for _ in range(3)]
    sums: list[float] = []

    def shares() -> list[float]:
        now_s = CLOCK.monotonic_s()
        for scheduler in schedulers:
            scheduler.observe(4.0, now_s)
            scheduler.step(now_s)
        held = [scheduler.admission.allowance.fraction(now_s) for scheduler in schedulers]
        sums.append(sum(held))
        return held

    async def until_fair(*, fresh: int) -> None:
        """All three hold a third, for so many looks in a row."""
        in_row = 0
        while in_row < fresh:
            in_row = in_row + 1 if all(0.31 < share < 0.35 for share in shares()) else 0
            await asyncio.sleep(0.05)

    async with AsyncExitStack() as stack, asyncio.timeout(40), asyncio.TaskGroup() as group:
        settings = RedisSettings(url=own_redis.url)
        stores = [await stack.enter_async_context(Coordination(settings)) for _ in schedulers]
        tasks = [
            group.create_task(SiteShare(store, CLOCK, site="s", worker=name, is_shared=True).run(scheduler))
            for store, scheduler, name in zip(stores, schedulers, "abc", strict=True)
        ]
        await until_fair(fresh=1)
        await own_redis.kill()
        shares()
        await own_redis.start()
        await until_fair(fresh=100)
        for task in tasks:
            task.cancel()
    assert max(sums) <= 1.0 + 1e-9
