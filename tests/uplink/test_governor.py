"""The parts of the uplink's control together: what is sent, what is given up, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from schemas.operating_point import OperatingPoint
from schemas.rates import Auto, constant
from schemas.server_report import ServerReport
from uplink.default_curve import default_frontier
from uplink.governor import PROBE_SERVERS_S, Governor, GovernorConfig, Send
from uplink.leases import LEASE_S, Grant

POINT = OperatingPoint(tau=0.8, delta=1.0)
FRONTIER = default_frontier()
KB_10 = GovernorConfig(budget=constant(10_000.0), watch_servers=False)


def make_governor(config: GovernorConfig = KB_10, **changes: Any) -> Governor[str]:
    return Governor(replace(config, **changes), FRONTIER, POINT, 0.0)


def offer(
    governor: Governor[str], ticket: str, now_s: float, num_bytes: int = 4_000, entropy: float = 1.0
) -> Any:
    return governor.offer(ticket, num_bytes, "cam", entropy, now_s + 2.0, now_s)


def report(second: float) -> ServerReport:
    return ServerReport("s", "", round(second * 1e9), 1.0, 9, 9, 0, 0.0, 0.0)


def test_records_leave_within_burst_and_hand_over_bound_most_uncertain_first() -> None:
    governor = make_governor()
    for idx in range(10):
        offer(governor, f"r{idx}", 0.0, entropy=float(idx))
    sends, drops = governor.step(0.0)
    assert [send.ticket for send in sends] == ["r9", "r8"]  # 8.8 kB of at most 10 kB unacknowledged
    assert drops == []
    governor.delivered(sends[0], "cam", 1.0, 0.1)
    sends, _ = governor.step(0.1)
    assert [send.ticket for send in sends] == ["r7"]
    assert governor.meter.in_flight_bytes <= 10_000


def test_what_finds_no_tokens_gives_way_with_its_cause() -> None:
    governor = make_governor()
    for idx in range(10):
        offer(governor, f"r{idx}", 0.0)
    governor.step(0.0)
    _, drops = governor.step(0.71)
    assert {drop.cause for drop in drops} == {"no_tokens"}
    assert governor.held_back == {"no_tokens": len(drops)}


def test_a_record_above_the_burst_is_refused_at_once_and_one_that_became_too_large_later() -> None:
    governor = make_governor(GovernorConfig(budget=constant(10_000.0), is_shared=True, watch_servers=False))
    governor.leased(Grant(1.0, 1), 0.0, 0.0)
    assert [drop.cause for drop in offer(governor, "huge", 0.0, 15_000)] == ["over_burst"]
    assert governor.max_record_bytes == pytest.approx(0.9 * 16_000 - 400)
    for ticket in ("a", "b", "c"):
        assert offer(governor, ticket, 1.0, 8_000) == []
    assert [send.ticket for send in governor.step(1.0)[0]] == ["a"]
    governor.leased(Grant(0.3, 3), 1.05, 1.1)
    assert [(drop.ticket, drop.cause) for drop in governor.step(1.1)[1]] == [
        ("b", "over_burst"),
        ("c", "over_burst"),
    ]


def test_after_a_second_without_acknowledgement_nothing_more_is_handed_over() -> None:
    governor = make_governor()
    offer(governor, "first", 0.0)
    (flying,) = governor.step(0.0)[0]
    offer(governor, "second", 1.1)
    assert governor.step(1.1)[0] == []
    assert governor.controller.cause == "uplink_down"
    assert {drop.cause for drop in governor.step(2.0)[1]} == {"uplink_down"}
    governor.delivered(flying, "cam", 1.0, 5.0)
    offer(governor, "third", 5.1)
    assert [send.ticket for send in governor.step(5.1)[0]] == ["third"]


def test_after_a_failed_delivery_one_record_at_a_time_is_tried() -> None:
    governor = make_governor()
    offer(governor, "first", 0.0)
    (failed,) = governor.step(0.0)[0]
    governor.failed(failed, 0.1)
    offer(governor, "too soon", 0.2)
    assert governor.step(0.2)[0] == []
    for ticket in ("probe", "waits"):
        offer(governor, ticket, 1.2, 1_000, entropy=2.0)
    (probe,) = governor.step(1.2)[0]
    governor.delivered(probe, "cam", 1.0, 1.3)
    assert [send.ticket for send in governor.step(1.3)[0]] == ["waits"]


def test_a_thin_link_is_known_also_while_no_record_waits() -> None:
    """A link of 20 kB/s is full, but a record waits only now and then: the estimate does not grow between."""
    governor = make_governor(GovernorConfig(budget=Auto(), watch_servers=False))
    flying: list[tuple[float, Send[str]]] = []
    free_s, rates = 0.0, []
    for tick in range(1, 1_200):
        now_s = tick / 20
        while flying and flying[0][0] <= now_s:
            governor.delivered(flying.pop(0)[1], "cam", 1.0, now_s)
        if len(flying) < 2 or tick % 11 == 0:
            offer(governor, f"r{tick}", now_s, 5_600)
        for send in governor.step(now_s)[0]:
            free_s = max(free_s, now_s) + 0.3
            flying.append((free_s, send))
        if tick % 2 == 0:
            governor.measured(None, now_s)
            rates.append(governor.allowance.rate_bytes_per_s)
    assert 18_000 < min(rates[200:]) <= max(rates[200:]) < 22_000


def test_without_a_server_the_edge_goes_on_alone_but_for_a_probe() -> None:
    governor = make_governor(watch_servers=True)
    sent: list[tuple[float, Send[str]]] = []
    for step in range(200):
        now_s = step / 10
        offer(governor, f"r{step}", now_s, 1_000)
        for send in governor.step(now_s)[0]:
            governor.delivered(send, "cam", 1.0, now_s)
            sent.append((now_s, send))
        governor.measured(None, now_s)
    assert governor.controller.cause == "no_server"
    late = [at_s for at_s, _ in sent if at_s > 6.0]
    assert 0 < len(late) <= 14 / PROBE_SERVERS_S + 1
    governor.heard([report(20)], 20.0)
    governor.step(20.3)
    assert governor.controller.cause != "no_server"


def test_a_lease_that_lapsed_unseen_stops_everything() -> None:
    """A worker that was stopped and goes on finds its lease gone before it sends anything."""
    governor = make_governor(is_shared=True)
    governor.leased(Grant(1.0, 1), 0.0, 0.0)
    offer(governor, "before", 1.0, 1_000)
    assert len(governor.step(1.0)[0]) == 1
    offer(governor, "after", LEASE_S + 30, 1_000)
    assert governor.step(LEASE_S + 30)[0] == []
    assert governor._blocked(LEASE_S + 30) == "no_lease"


def test_without_a_budget_everything_leaves_and_the_point_stays() -> None:
    governor = make_governor(GovernorConfig(budget=None, watch_servers=False, fixed_point=True))
    for idx in range(300):
        governor.observe(5.0, idx / 100)
        offer(governor, f"r{idx}", idx / 100, 50_000)
        for send in governor.step(idx / 100)[0]:
            governor.delivered(send, "cam", 5.0, idx / 100)
    assert governor.point == POINT
    assert governor.held_back == {}


def test_the_wake_up_time_is_when_the_next_record_may_leave() -> None:
    governor = make_governor()
    for idx in range(4):
        offer(governor, f"r{idx}", 0.0)
    for send in governor.step(0.0)[0]:
        governor.delivered(send, "cam", 1.0, 0.0)
    (third,) = governor.step(0.0)[0]
    governor.delivered(third, "cam", 1.0, 0.0)
    assert governor.step(0.0)[0] == []
    wake_s = governor.wake_s(0.0)
    assert 0.0 < wake_s <= 0.1
    assert governor.stop()[0].cause == "stopped"


def test_it_explains_itself_in_json() -> None:
    governor = make_governor()
    governor.observe(1.0, 0.0)
    offer(governor, "r", 0.0)
    (send,) = governor.step(0.0)[0]
    governor.delivered(send, "cam", 1.0, 0.1)
    governor.measured(4_500, 0.1)
    told = governor.explain(1.0).to_json()
    assert told["budget_bytes_per_s"] == 10_000
    assert told["bytes_by_camera"] == {"cam": 4_400}
    assert told["max_records_per_s"] is None
    assert told["point"]["codec"] == governor.point.codec
    assert '"state":"startup"' in governor.explain(1.0).to_text()
