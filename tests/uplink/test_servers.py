from __future__ import annotations

import math

import pytest

from schemas.server_report import ServerReport
from uplink.servers import RecordPacer, ServerWatch


def report(
    second: float, finals: int, expired: int = 0, queue_age_s: float = 0.0, server: str = "a"
) -> ServerReport:
    return ServerReport(
        server=server,
        site="",
        sent_ns=round(second * 1e9),
        interval_s=1.0,
        received=finals + expired,
        finals_in_time=finals,
        expired=expired,
        queue_age_s=queue_age_s,
        tokens_per_s=0.0,
    )


def hear(
    watch: ServerWatch, now_s: float, *reports: ServerReport, own: float = 20.0, link_delay_s: float = 0.0
) -> None:
    watch.update(reports, own_share=1.0, own_records_per_s=own, link_delay_s=link_delay_s, now_s=now_s)


def test_servers_that_cope_set_no_limit() -> None:
    watch = ServerWatch(0.0)
    hear(watch, 1.0, report(1, 30))
    assert watch.max_records_per_s == math.inf


@pytest.mark.parametrize("trouble", [{"expired": 2}, {"queue_age_s": 0.6}])
def test_late_records_limit_what_is_sent_below_the_goodput(trouble: dict[str, float]) -> None:
    watch = ServerWatch(0.0)
    hear(watch, 1.0, report(1, 20, **trouble))  # type: ignore[arg-type]
    assert watch.max_records_per_s < 20


def test_the_limit_rises_with_the_goodput_while_it_is_what_binds() -> None:
    watch = ServerWatch(0.0)
    hear(watch, 1.0, report(1, 20, queue_age_s=1.0))
    before = watch.max_records_per_s
    hear(watch, 2.0, report(2, 14), own=14.0)
    assert watch.max_records_per_s == pytest.approx(1.05 * before)
    hear(watch, 3.0, report(3, 2), own=2.0)
    assert watch.max_records_per_s == pytest.approx(1.05 * before)


def test_records_that_were_late_before_the_servers_are_not_their_fault() -> None:
    watch = ServerWatch(0.0)
    hear(watch, 1.0, report(1, 10, expired=10, queue_age_s=0.9), link_delay_s=0.6)
    assert (watch.max_records_per_s, watch.are_overrun()) == (math.inf, False)


def test_more_than_a_fifth_expired_is_an_overrun() -> None:
    watch = ServerWatch(0.0)
    hear(watch, 1.0, report(1, 8, expired=1), report(1, 8, expired=4, server="b"))
    assert watch.are_overrun()


def test_no_new_report_for_five_seconds_means_that_they_are_gone() -> None:
    watch = ServerWatch(0.0)
    assert not watch.are_gone(4.9)
    hear(watch, 4.0, report(1, 8))
    hear(watch, 8.0, report(1, 8))
    assert not watch.are_gone(8.9)
    assert watch.are_gone(9.1)
    hear(watch, 9.2, report(9, 8))
    assert not watch.are_gone(9.3)


def test_the_pacer_lets_the_limit_pass_and_a_quarter_second_at_once() -> None:
    pacer = RecordPacer(0.0)
    for _ in range(100):
        assert pacer.wait_s(0.0) == 0.0
        pacer.take(0.0)
    pacer.set_limit(20.0, 1.0)
    passed = 0
    for step in range(1, 1_001):
        while pacer.wait_s(1.0 + step / 100) == 0.0:
            pacer.take(1.0 + step / 100)
            passed += 1
    assert passed == pytest.approx(200, abs=2)
    assert pacer.wait_s(11.0) <= 0.05
