from __future__ import annotations

import math

import pytest

from schemas.rates import Auto, Schedule, constant, parse_budget
from uplink.allowance import Allowance
from uplink.bucket import DEPTH_SHARE
from uplink.leases import LEASE_S, Grant
from uplink.meter import UplinkMeter


def test_a_step_takes_effect_at_its_own_time_also_when_nobody_looked() -> None:
    """Tokens that came at the old rate after the step would break the cap."""
    budget = parse_budget("800kbit@0,8kbit@10")
    assert not isinstance(budget, Auto)
    allowance = Allowance(budget, is_shared=False, start_s=100.0)  # type: ignore[arg-type]
    assert allowance.bucket.try_debit(45_000, 100.0)
    allowance.bucket.correct(45_000, 0.0, 100.0)
    allowance.advance(120.0)
    assert allowance.rate_bytes_per_s == 1_000.0
    assert allowance.bucket.tokens(120.0) == pytest.approx(DEPTH_SHARE * 16_000)


def test_without_a_lease_nothing_may_leave_and_a_share_brings_its_part_of_rate_and_burst() -> None:
    allowance = Allowance(constant(30_000.0), is_shared=True, start_s=0.0)
    assert (allowance.rate_bytes_per_s, allowance.bucket.depth_bytes) == (0.0, 0.0)
    allowance.leased(Grant(0.25, 4), asked_s=0.9, now_s=1.0)
    assert allowance.rate_bytes_per_s == 7_500.0
    assert allowance.burst_bytes == pytest.approx(4_000.0)


def test_a_lease_ends_at_its_own_time_and_takes_the_tokens_with_it() -> None:
    allowance = Allowance(constant(30_000.0), is_shared=True, start_s=0.0)
    allowance.leased(Grant(1.0, 1), asked_s=0.0, now_s=0.0)
    allowance.advance(60.0)
    assert (allowance.rate_bytes_per_s, allowance.bucket.tokens(60.0)) == (0.0, 0.0)
    allowance.leased(Grant(1.0, 1), asked_s=60.0, now_s=60.1)
    assert allowance.bucket.tokens(60.1) == 0.0
    assert allowance.bucket.tokens(60.1 + LEASE_S / 2) > 0.0


def test_all_shares_together_have_the_burst_of_the_budget() -> None:
    allowances = [Allowance(constant(8_000.0), is_shared=True, start_s=0.0) for _ in range(4)]
    for allowance in allowances:
        allowance.leased(Grant(0.25, 4), asked_s=0.0, now_s=0.0)
    assert sum(allowance.burst_bytes for allowance in allowances) == pytest.approx(16_000.0)


@pytest.mark.parametrize(
    ("rate", "timeout_s", "expected"),
    [(100_000.0, 3.0, 30_000.0), (10_000.0, 3.0, 10_000.0), (10_000.0, 1.0, 5_000.0), (1e3, 3.0, 1e3)],
)
def test_what_the_producer_may_hold_is_the_least_of_flight_burst_timeout_and_a_second(
    rate: float, timeout_s: float, expected: float
) -> None:
    allowance = Allowance(constant(rate), is_shared=False, start_s=0.0)
    assert allowance.hand_over_bytes(timeout_s) == pytest.approx(expected)


def test_a_long_round_trip_lets_the_producer_hold_more() -> None:
    """The budget's burst stays the limit where one was told; `auto` has none, and fills the path."""
    held = {}
    for budget in (Auto(), constant(100_000.0)):
        allowance = Allowance(budget, is_shared=False, start_s=0.0)
        meter = UplinkMeter(0.0)
        before = allowance.hand_over_bytes(3.0)
        meter.round_trip_s = 0.1
        allowance.estimate(meter, full_s=0.0, is_used=False, now_s=0.1)
        assert before < allowance.hand_over_bytes(3.0) <= allowance.rate_bytes_per_s
        held[type(budget)] = allowance.hand_over_bytes(3.0)
    assert held[Schedule] == 50_000.0


def test_no_budget_is_no_limit() -> None:
    allowance = Allowance(None, is_shared=False, start_s=0.0)
    assert allowance.rate_bytes_per_s == math.inf
    assert allowance.bucket.try_debit(1e12, 0.0)


def test_a_volume_sets_the_rate_from_outside() -> None:
    allowance = Allowance(constant(0.0), is_shared=False, start_s=0.0)
    allowance.set_told(2_000.0, 5.0)
    assert allowance.rate_bytes_per_s == 2_000.0


def test_a_schedule_may_have_begun_before() -> None:
    budget = parse_budget("800kbit@0,8kbit@10")
    allowance = Allowance(budget, is_shared=False, start_s=50.0, origin_s=35.0)  # type: ignore[arg-type]
    assert allowance.rate_bytes_per_s == 1_000.0


def test_each_step_takes_effect_at_its_time_also_when_several_passed_unseen() -> None:
    starts = tuple(float(second) for second in range(1_000))
    rates = tuple(1_000.0 * (1 + second % 7) for second in range(1_000))
    allowance = Allowance(Schedule(starts, rates), is_shared=False, start_s=50.0, origin_s=49.7)
    for at_s in (50.1, 50.69, 50.71, 51.7, 58.2, 58.3, 700.0, 700.69, 700.7, 2_000.0):
        allowance.advance(at_s)
        assert allowance.told_bytes_per_s == rates[min(int(at_s - 49.7 + 1e-9), 999)]
