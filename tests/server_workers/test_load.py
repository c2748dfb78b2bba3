from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from runtime.clock import ManualClock
from runtime.intake import Delivery
from runtime.kafka_connection import Record
from runtime.metrics import Metrics
from runtime.site_clock import SiteClock
from schemas.offload import Offload, bitmap_of
from schemas.server_report import ServerReport
from server_workers.batcher import Batcher
from server_workers.load import LoadReporter
from server_workers.metrics import ServerTally
from server_workers.sites import SiteRedis, Sites
from server_workers.task import AnswerTask
from vit.backends import Identity

S = 1_000_000_000


def task_of(site: str, at_ms: int = 0) -> AnswerTask:
    camera = f"{site}/c" if site else "c"
    positions = np.arange(3)
    record = Offload(camera, 0, 0, 0, bitmap_of(positions), "raw", 0, b"", ((0, 0.5),), "00000000")
    delivery = Delivery(Record("offload", 0, 0, at_ms, None, b""), lambda *_: None)
    task = AnswerTask(delivery, 0.0)
    task.record, task.positions, task.deadline_s = record, positions, 1e9
    return task


def redis(name: str, clock: ManualClock) -> SiteRedis:
    site_clock = SiteClock()
    site_clock.learn(7 * S, clock.monotonic_s(), clock.monotonic_s())
    store: Any = None
    return SiteRedis(name, store, site_clock)


class Bench:
    """Two Redis servers, one of them the site `far`'s own, and a reporter to each."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        default, own = redis("default", self.clock), redis("own", self.clock)
        sites = Sites(default, {"far": own})
        self.tally = ServerTally(Metrics("test"), "offload")
        self.batcher: Batcher[AnswerTask] = Batcher(
            max_batch_tokens=500,
            max_batch_s=1.0,
            max_wait_s=0.0,
            max_waiting_sets=10,
            max_waiting_tokens=500,
            max_set_tokens=197,
        )
        models: Any = SimpleNamespace(newest=SimpleNamespace(identity=Identity("fake", (), "0" * 16, "5eed")))
        self.reporters = [
            LoadReporter(
                "server-1",
                each,
                sites,
                known,
                models=models,
                tally=self.tally,
                batcher=self.batcher,
                clock=self.clock,
            )
            for each, known in ((default, [""]), (own, ["far"]))
        ]

    def arrive(self, site: str, waited_s: float = 0.0) -> AnswerTask:
        """A record comes that the broker took in so long ago."""
        utc_ns = self.clock.time_ns()
        task = task_of(site, at_ms=round(utc_ns / 1e6 - waited_s * 1e3))
        self.tally.arrived(task, self.clock.monotonic_s(), utc_ns)
        return task

    def reports(self) -> tuple[dict[str, ServerReport], dict[str, ServerReport]]:
        """What the default Redis and the site's own are told now, by site."""
        first, second = ({each.site: each for each in reporter.reports()} for reporter in self.reporters)
        return first, second


def test_each_redis_hears_of_its_sites_and_of_what_happened_since_the_last_time() -> None:
    bench = Bench()
    bench.tally.computed([bench.arrive(site) for site in ("", "far", "near")], 12, 0.1, 0.0)
    bench.tally.settled("", "final")
    bench.tally.settled("far", "late")
    bench.tally.settled("near", "final")
    bench.tally.too_late("near")
    bench.batcher.push(task_of("far"), bench.clock.monotonic_s())
    bench.clock.advance(2.0)
    at_default, at_own = bench.reports()
    assert sorted(at_default) == ["", "near"]
    assert at_own["far"] == ServerReport(
        server="server-1",
        site="far",
        sent_ns=9 * S,
        interval_s=2.0,
        received=1,
        finals_in_time=0,
        expired=1,
        queue_age_s=2.0,
        tokens_per_s=6.0,
        model="5eed",
    )
    assert at_default[""].queue_age_s == 0.0  # what waits of another site is not in its way
    near = at_default["near"]
    assert (near.received, near.finals_in_time, near.expired) == (2, 1, 1)
    bench.clock.advance(1.0)
    again, _ = bench.reports()
    assert sorted(again) == ["", "near"]
    assert (again["near"].received, again["near"].tokens_per_s) == (0, 0.0)


def test_what_waited_long_is_told_to_its_own_site_only_and_for_a_while() -> None:
    bench = Bench()
    bench.arrive("near", waited_s=0.25)
    bench.arrive("far", waited_s=3600.0)
    bench.clock.advance(1.0)
    at_default, at_own = bench.reports()
    assert at_own["far"].queue_age_s == pytest.approx(3600.0)
    assert at_default["near"].queue_age_s == pytest.approx(0.25)
    assert at_default[""].queue_age_s == 0.0
    bench.clock.advance(1.0)
    assert bench.reports()[1]["far"].queue_age_s == 0.0


def test_a_site_of_which_nothing_came_for_an_hour_is_forgotten_and_known_ones_never_are() -> None:
    bench = Bench()
    for site in ("near", "far"):
        bench.arrive(site)
    bench.clock.advance(3599.0)
    assert [sorted(each) for each in bench.reports()] == [["", "near"], ["far"]]
    bench.clock.advance(1.0)
    assert [sorted(each) for each in bench.reports()] == [[""], ["far"]]
