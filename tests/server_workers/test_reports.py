from typing import Any

import numpy as np

from runtime.clock import ManualClock
from runtime.intake import Delivery
from runtime.kafka import Record
from runtime.metrics import Metrics
from runtime.site_clock import SiteClock
from schemas.offload import Offload, bitmap_of
from schemas.server_report import ServerReport
from server_workers.batcher import Batcher
from server_workers.incoming import Ready
from server_workers.reports import Reporter
from server_workers.sites import SiteRedis, Sites
from server_workers.tally import ServerTally

S = 1_000_000_000


def ready(site: str) -> Ready:
    camera = f"{site}/c" if site else "c"
    positions = np.arange(3)
    record = Offload(camera, 0, 0, 0, bitmap_of(positions), "raw", 0, b"", ((0, 0.5),), "00000000")
    delivery = Delivery(Record("offload", 0, 0, 0, None, b""), lambda *_: None)
    return Ready(delivery, record, positions, np.zeros((3, 16, 16, 3), np.uint8), 1e9, 0.0)


def redis(name: str, clock: ManualClock) -> SiteRedis:
    site_clock = SiteClock()
    site_clock.learn(7 * S, clock.monotonic_s(), clock.monotonic_s())
    store: Any = None
    return SiteRedis(name, store, site_clock)


def test_each_redis_hears_of_its_sites_and_of_what_happened_since_the_last_time() -> None:
    clock = ManualClock()
    default, own = redis("default", clock), redis("own", clock)
    sites = Sites(default, {"far": own})
    tally = ServerTally(Metrics("test"), "offload")
    batcher: Batcher[Ready] = Batcher(
        max_batch_tokens=500,
        max_batch_s=1.0,
        max_wait_s=0.0,
        max_waiting_sets=10,
        max_waiting_tokens=500,
        max_set_tokens=197,
    )
    reporters = [
        Reporter("server-1", each, sites, known, model="5eed", tally=tally, batcher=batcher, clock=clock)
        for each, known in ((default, [""]), (own, ["far"]))
    ]
    tally.computed([ready(""), ready("far"), ready("near")], 12, 0.1, 0.0)
    tally.settled("", "final")
    tally.settled("far", "late")
    tally.settled("near", "final")
    tally.too_late("near")
    batcher.push(ready(""), clock.monotonic_s())
    clock.advance(2.0)
    at_default, at_own = ({each.site: each for each in reporter.reports()} for reporter in reporters)
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
    near = at_default["near"]
    assert (near.received, near.finals_in_time, near.expired) == (2, 1, 1)
    clock.advance(1.0)
    again = {each.site: each for each in reporters[0].reports()}
    assert sorted(again) == ["", "near"]
    assert (again["near"].received, again["near"].tokens_per_s) == (0, 0.0)
