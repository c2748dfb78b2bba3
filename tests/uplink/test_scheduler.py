"""The parts of the uplink's control together: what is sent, what is given up, and when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from schemas.operating_point import OperatingPoint
from schemas.rates import Auto, constant
from schemas.server_report import ServerReport
from uplink.admission import PROBE_SERVERS_S, AdmissionConfig
from uplink.default_curve import default_frontier
from uplink.leases import LEASE_S, Grant
from uplink.scheduler import UplinkScheduler
from uplink.task import Dropped, OffloadTask

POINT = OperatingPoint(tau=0.8, delta=1.0)
FRONTIER = default_frontier()
KB_10 = AdmissionConfig(budget=constant(10_000.0), watch_servers=False, num_producers=8)


def make_scheduler(
    config: AdmissionConfig = KB_10, *, is_fixed: bool = False, **changes: Any
) -> UplinkScheduler:
    scheduler = UplinkScheduler(replace(config, **changes), FRONTIER, POINT, 0.0, is_fixed=is_fixed)
    for number in range(config.num_producers):
        scheduler.admission.meter.flight.ready(number)
    return scheduler


def enqueue(
    scheduler: UplinkScheduler,
    name: str,
    now_s: float,
    num_bytes: int = 4_000,
    entropy: float = 1.0,
    camera: str = "cam",
) -> list[tuple[str, str]]:
    """The names and causes of the tasks that had to leave for it."""
    task = OffloadTask(
        camera=camera, score=entropy, deadline_s=now_s + 2.0, num_bytes=num_bytes, value=name.encode()
    )
    return ends(scheduler.enqueue(task, now_s))


def name(task: OffloadTask) -> str:
    return task.value.decode()


def ends(tasks: Iterable[OffloadTask]) -> list[tuple[str, str]]:
    return [(name(task), task.result.cause) for task in tasks if isinstance(task.result, Dropped)]


def report(second: float) -> ServerReport:
    return ServerReport("s", "", round(second * 1e9), 1.0, 9, 9, 0, 0.0, 0.0)


def test_records_leave_within_burst_and_hand_over_bound_most_uncertain_first() -> None:
    scheduler = make_scheduler()
    for idx in range(10):
        enqueue(scheduler, f"r{idx}", 0.0, entropy=float(idx))
    (first,), drops = scheduler.step(0.0)
    (second,), _ = scheduler.step(0.0)
    assert [name(task) for task in (first, second)] == ["r9", "r8"]  # 8.8 kB of at most 10 kB unacknowledged
    assert first.producer != second.producer
    assert drops == []
    assert scheduler.step(0.0)[0] == []
    scheduler.delivered(first, 0.1)
    sends, _ = scheduler.step(0.1)
    assert [name(task) for task in sends] == ["r7"]
    assert scheduler.admission.meter.flight.estimate_bytes <= 10_000


def test_what_finds_no_tokens_gives_way_with_its_cause() -> None:
    scheduler = make_scheduler()
    for idx in range(10):
        enqueue(scheduler, f"r{idx}", 0.0)
    scheduler.step(0.0)
    _, drops = scheduler.step(0.71)
    assert {cause for _, cause in ends(drops)} == {"no_tokens"}
    assert scheduler.admission.held_back == {"no_tokens": len(drops)}


def test_a_record_above_the_burst_is_refused_at_once_and_one_that_became_too_large_later() -> None:
    scheduler = make_scheduler(
        AdmissionConfig(budget=constant(10_000.0), is_shared=True, watch_servers=False)
    )
    scheduler.leased(Grant(1.0, 1), 0.0, 0.0)
    assert enqueue(scheduler, "huge", 0.0, 15_000) == [("huge", "over_burst")]
    assert scheduler.admission.max_record_bytes == pytest.approx(0.9 * 16_000 - 400)
    for ticket in ("a", "b", "c"):
        assert enqueue(scheduler, ticket, 1.0, 8_000) == []
    assert [name(task) for task in scheduler.step(1.0)[0]] == ["a"]
    scheduler.leased(Grant(0.3, 3), 1.05, 1.1)
    assert ends(scheduler.step(1.1)[1]) == [
        ("b", "over_burst"),
        ("c", "over_burst"),
    ]


def test_a_record_that_became_too_large_forgives_its_camera_no_debt() -> None:
    """The busy camera has had more than its part, so that the calm one's record goes first, after it as before."""
    scheduler = make_scheduler(
        AdmissionConfig(budget=constant(10_000.0), is_shared=True, watch_servers=False)
    )
    scheduler.leased(Grant(1.0, 1), 0.0, 0.0)
    enqueue(scheduler, "paid", 1.0, 8_000, camera="busy")
    (paid,) = scheduler.step(1.0)[0]
    scheduler.delivered(paid, 1.05)
    enqueue(scheduler, "too large soon", 1.05, 8_000, entropy=3.0, camera="busy")
    enqueue(scheduler, "busy", 1.05, 1_000, entropy=2.0, camera="busy")
    scheduler.leased(Grant(0.3, 3), 1.05, 1.1)
    sends, drops = scheduler.step(1.1)
    assert (sends, ends(drops)) == ([], [("too large soon", "over_burst")])
    enqueue(scheduler, "calm", 1.15, 1_000, entropy=1.0, camera="calm")
    following = scheduler.admission.queue.peek(3_000.0, 1.15)
    assert following is not None
    assert name(following) == "calm"


def test_after_a_second_without_acknowledgement_nothing_more_is_handed_over() -> None:
    scheduler = make_scheduler()
    enqueue(scheduler, "first", 0.0)
    (flying,) = scheduler.step(0.0)[0]
    enqueue(scheduler, "second", 1.1)
    assert scheduler.step(1.1)[0] == []
    assert scheduler.tuning.controller.cause == "uplink_down"
    assert {cause for _, cause in ends(scheduler.step(2.0)[1])} == {"uplink_down"}
    scheduler.delivered(flying, 5.0)
    enqueue(scheduler, "third", 5.1)
    assert [name(task) for task in scheduler.step(5.1)[0]] == ["third"]


def test_after_a_failed_delivery_one_record_at_a_time_is_tried() -> None:
    scheduler = make_scheduler()
    enqueue(scheduler, "first", 0.0)
    (failed,) = scheduler.step(0.0)[0]
    scheduler.failed(failed, 0.1)
    enqueue(scheduler, "too soon", 0.2)
    assert scheduler.step(0.2)[0] == []
    for ticket in ("probe", "waits"):
        enqueue(scheduler, ticket, 1.2, 1_000, entropy=2.0)
    (probe,) = scheduler.step(1.2)[0]
    scheduler.delivered(probe, 1.3)
    assert [name(task) for task in scheduler.step(1.3)[0]] == ["waits"]


def test_a_thin_link_is_known_also_while_no_record_waits() -> None:
    """A link of 20 kB/s is full, but a record waits only now and then: the estimate does not grow between."""
    scheduler = make_scheduler(AdmissionConfig(budget=Auto(), watch_servers=False, num_producers=8))
    flying: list[tuple[float, OffloadTask]] = []
    free_s, rates = 0.0, []
    for tick in range(1, 1_200):
        now_s = tick / 20
        while flying and flying[0][0] <= now_s:
            scheduler.delivered(flying.pop(0)[1], now_s)
        if len(flying) < 2 or tick % 11 == 0:
            enqueue(scheduler, f"r{tick}", now_s, 5_600)
        for task in scheduler.step(now_s)[0]:
            free_s = max(free_s, now_s) + 0.3
            flying.append((free_s, task))
        if tick % 2 == 0:
            scheduler.measured(None, now_s)
            rates.append(scheduler.admission.allowance.rate_bytes_per_s)
    assert 18_000 < min(rates[200:]) <= max(rates[200:]) < 22_000


def test_without_a_server_the_edge_goes_on_alone_but_for_a_probe() -> None:
    scheduler = make_scheduler(watch_servers=True)
    sent: list[tuple[float, OffloadTask]] = []
    for step in range(200):
        now_s = step / 10
        enqueue(scheduler, f"r{step}", now_s, 1_000)
        for task in scheduler.step(now_s)[0]:
            scheduler.delivered(task, now_s)
            sent.append((now_s, task))
        scheduler.measured(None, now_s)
    assert scheduler.tuning.controller.cause == "no_server"
    late = [at_s for at_s, _ in sent if at_s > 6.0]
    assert 0 < len(late) <= 14 / PROBE_SERVERS_S + 1
    scheduler.heard([report(20)], 20.0)
    scheduler.step(20.3)
    assert scheduler.tuning.controller.cause != "no_server"


def test_a_lease_that_lapsed_unseen_stops_everything() -> None:
    """A worker that was stopped and goes on finds its lease gone before it sends anything."""
    scheduler = make_scheduler(is_shared=True)
    scheduler.leased(Grant(1.0, 1), 0.0, 0.0)
    enqueue(scheduler, "before", 1.0, 1_000)
    assert len(scheduler.step(1.0)[0]) == 1
    enqueue(scheduler, "after", LEASE_S + 30, 1_000)
    assert scheduler.step(LEASE_S + 30)[0] == []
    assert scheduler.admission.blocked(LEASE_S + 30) == "no_lease"


def test_without_a_budget_everything_leaves_and_the_point_stays() -> None:
    scheduler = make_scheduler(AdmissionConfig(budget=None, watch_servers=False), is_fixed=True)
    for idx in range(300):
        scheduler.observe(5.0, idx / 100)
        enqueue(scheduler, f"r{idx}", idx / 100, 50_000)
        for task in scheduler.step(idx / 100)[0]:
            scheduler.delivered(task, idx / 100)
    assert scheduler.tuning.point == POINT
    assert scheduler.admission.held_back == {}


def test_the_wake_up_time_is_when_the_next_record_may_leave() -> None:
    scheduler = make_scheduler()
    for idx in range(4):
        enqueue(scheduler, f"r{idx}", 0.0)
    for _ in range(3):
        (task,), _ = scheduler.step(0.0)
        scheduler.delivered(task, 0.0)
    assert scheduler.step(0.0)[0] == []
    wake_s = scheduler.wake_s(0.0)
    assert 0.0 < wake_s <= 0.1
    assert ends(scheduler.stop()) == [("r3", "stopped")]


def test_it_explains_itself_in_json() -> None:
    scheduler = make_scheduler()
    scheduler.observe(1.0, 0.0)
    enqueue(scheduler, "r", 0.0)
    (task,) = scheduler.step(0.0)[0]
    scheduler.delivered(task, 0.1)
    scheduler.measured([4_500, *[0] * 7], 0.1)
    told = scheduler.explain(1.0).to_json()
    assert told["budget_bytes_per_s"] == 10_000
    assert told["bytes_by_camera"] == {"cam": 4_400}
    assert told["max_records_per_s"] is None
    assert told["point"]["codec"] == scheduler.tuning.point.codec
    assert told["state"] == "startup"


def test_of_many_cameras_it_tells_those_that_were_sent_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uplink.scheduler.MAX_CAMERAS_TOLD", 2)
    scheduler = make_scheduler()
    for camera in ("a", "b", "a", "c"):
        scheduler.enqueue(
            OffloadTask(camera=camera, score=1.0, deadline_s=2.0, num_bytes=400, value=b"r"), 0.0
        )
        (sent,) = scheduler.step(0.0)[0]
        scheduler.delivered(sent, 0.0)
    assert scheduler.explain(1.0).bytes_by_camera.keys() == {"a", "c"}
