from __future__ import annotations

import math

import pytest

from lab.simulation.link import SimulatedLink
from lab.simulation.servers import SimulatedServers
from schemas.rates import Schedule, constant


def test_records_queue_behind_each_other_at_the_capacity() -> None:
    link = SimulatedLink(constant(1_000.0), delay_s=0.1)
    assert link.carry(500, 0.0) == pytest.approx((0.6, 0.7))
    assert link.carry(500, 0.2) == pytest.approx((1.1, 1.2))
    assert link.waiting_s(0.2) == pytest.approx(0.8)


def test_a_record_that_meets_an_outage_passes_after_it_or_never() -> None:
    link = SimulatedLink(Schedule((0.0, 1.0, 31.0), (1_000.0, 0.0, 1_000.0)), delay_s=0.0)
    assert link.carry(1_500, 0.0)[0] == pytest.approx(31.5)
    dead = SimulatedLink(Schedule((0.0, 1.0), (1_000.0, 0.0)))
    assert dead.carry(1_500, 0.0) == (math.inf, math.inf)


def test_servers_expire_what_comes_too_late_and_report_it() -> None:
    servers = SimulatedServers(constant(2.0))
    finals = [servers.take(0.0, 1.0) for _ in range(5)]
    assert finals == [0.5, 1.0, 1.5, None, None]
    report = servers.report(1.0)
    assert (report.received, report.finals_in_time, report.expired) == (5, 2, 0)
    report = servers.report(2.0)
    assert (report.received, report.finals_in_time, report.expired) == (0, 1, 2)
