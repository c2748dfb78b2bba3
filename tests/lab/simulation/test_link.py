from __future__ import annotations

import math

import pytest

from lab.simulation.link import SimulatedLink
from lab.simulation.servers import SimulatedServers
from schemas.rates import RateSchedule, constant


def test_records_queue_behind_each_other_at_the_capacity() -> None:
    link = SimulatedLink(constant(1_000.0), delay_s=0.1)
    assert link.carry(500, 0.0) == pytest.approx((0.6, 0.7, 500))
    assert link.carry(500, 0.2) == pytest.approx((1.1, 1.2, 500))
    assert link.waiting_s(0.2) == pytest.approx(0.8)


def test_a_record_that_meets_an_outage_passes_after_it_or_never() -> None:
    link = SimulatedLink(RateSchedule((0.0, 1.0, 31.0), (1_000.0, 0.0, 1_000.0)), delay_s=0.0)
    assert link.carry(1_500, 0.0).arrives_s == pytest.approx(31.5)
    dead = SimulatedLink(RateSchedule((0.0, 1.0), (1_000.0, 0.0)))
    assert dead.carry(1_500, 0.0) == (math.inf, math.inf, 1_500)


def test_what_is_lost_is_sent_again_a_round_trip_later() -> None:
    link = SimulatedLink(None, delay_s=0.1, loss=0.1, seed=1)
    passages = [link.carry(15_000, 0.0) for _ in range(2_000)]
    again = sum(passage.sent_bytes - 15_000 for passage in passages) / sum(p.sent_bytes for p in passages)
    assert again == pytest.approx(0.1, rel=0.05)
    late = [round((passage.arrives_s - 0.1) / 0.2) for passage in passages]
    assert late.count(0) / len(late) == pytest.approx(0.9**10, rel=0.1)


def test_servers_expire_what_comes_too_late_and_report_it() -> None:
    servers = SimulatedServers(constant(2.0))
    finals = [servers.take(0.0, 1.0) for _ in range(5)]
    assert finals == [0.5, 1.0, 1.5, None, None]
    report = servers.report(1.0)
    assert (report.received, report.finals_in_time, report.expired) == (5, 2, 0)
    report = servers.report(2.0)
    assert (report.received, report.finals_in_time, report.expired) == (0, 1, 2)
