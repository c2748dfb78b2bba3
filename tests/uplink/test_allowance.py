from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.rates import Auto, RateSchedule, constant, parse_budget
from uplink.allowance import DEPTH_SHARE, Allowance, ByteBucket, burst_bytes
from uplink.leases import LEASE_S, Grant
from uplink.link import UplinkMeter


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
    [(100_000.0, 3.0, 20_000.0), (10_000.0, 3.0, 10_000.0), (10_000.0, 1.0, 5_000.0), (1e3, 3.0, 1e3)],
)
def test_what_the_producer_may_hold_is_the_least_of_flight_burst_timeout_and_a_second(
    rate: float, timeout_s: float, expected: float
) -> None:
    allowance = Allowance(constant(rate), is_shared=False, start_s=0.0)
    assert allowance.hand_over_bytes(timeout_s) == pytest.approx(expected)


@pytest.mark.parametrize("budget", [Auto(), constant(100_000.0)])
def test_a_long_way_lets_the_producers_hold_what_it_holds_itself(budget: Auto | RateSchedule) -> None:
    allowance, meter = Allowance(budget, is_shared=False, start_s=0.0), UplinkMeter(0.0)
    before = allowance.hand_over_bytes(3.0)
    meter.round_trip.took(0.0, 0.0, 0.5)
    allowance.estimate(meter, full_s=0.0, is_used=False, now_s=0.1)
    path_bytes = 1.3 * 0.5 * allowance.rate_bytes_per_s
    assert allowance.hand_over_bytes(3.0) == pytest.approx(before + path_bytes)


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
    allowance = Allowance(RateSchedule(starts, rates), is_shared=False, start_s=50.0, origin_s=49.7)
    for at_s in (50.1, 50.69, 50.71, 51.7, 58.2, 58.3, 700.0, 700.69, 700.7, 2_000.0):
        allowance.advance(at_s)
        assert allowance.told_bytes_per_s == rates[min(int(at_s - 49.7 + 1e-9), 999)]


STEPS = st.lists(
    st.tuples(
        st.floats(0.0, 5.0),  # seconds since the step before
        st.one_of(st.none(), st.floats(0.0, 100_000.0)),  # a new budget
        st.floats(0.0, 60_000.0),  # bytes that want to leave
    ),
    max_size=60,
)


def test_the_burst_is_half_a_second_of_the_budget_and_16_kb_at_least() -> None:
    assert burst_bytes(10_000) == 16_000
    assert burst_bytes(100_000) == 50_000


@given(STEPS)
def test_no_window_holds_more_than_the_budget_and_the_largest_burst(
    steps: list[tuple[float, float | None, float]],
) -> None:
    """The hard cap, over every window between two departures, whatever the budget does meanwhile."""
    now_s, rate, sent = 0.0, 20_000.0, 0.0
    bucket = ByteBucket(rate, burst_bytes(rate), now_s)
    history = [(now_s, rate)]
    left: list[tuple[float, float]] = []
    for elapsed_s, budget, num_bytes in steps:
        now_s += elapsed_s
        if budget is not None:
            bucket.set_budget(budget, burst_bytes(budget), now_s)
            history.append((now_s, budget))
        if bucket.try_debit(num_bytes, now_s):
            sent += num_bytes
            left.append((now_s, num_bytes))
            bucket.correct(sent, 0.0, now_s)
    assert_capped(left, history)


def assert_capped(left: list[tuple[float, float]], history: list[tuple[float, float]]) -> None:
    for first, (from_s, _) in enumerate(left):
        total = 0.0
        for to_s, num_bytes in left[first:]:
            total += num_bytes
            assert total <= allowed(history, from_s, to_s) * (1 + 1e-9) + 1e-3


def allowed(history: list[tuple[float, float]], from_s: float, to_s: float) -> float:
    """∫ budget dt over the window and the largest burst that was in force in it."""
    integral, burst = 0.0, 0.0
    for idx, (start_s, rate) in enumerate(history):
        end_s = history[idx + 1][0] if idx + 1 < len(history) else math.inf
        if end_s >= from_s and start_s <= to_s:
            burst = max(burst, burst_bytes(rate))
            integral += rate * max(min(end_s, to_s) - max(start_s, from_s), 0.0)
    return integral + burst


RECORDS = st.lists(
    st.tuples(
        st.floats(0.0, 0.5),  # seconds since the step before
        st.floats(0.0, 9_000.0),  # estimate of a record that wants to leave
        st.floats(0.3, 1.0),  # its true size over the estimate
        st.integers(0, 4),  # how many records leave now, in order; the others wait with the producer
        st.booleans(),  # whether the meter is read
    ),
    max_size=80,
)


@given(RECORDS)
def test_the_cap_holds_on_the_wire_however_late_and_lumped_records_leave(
    steps: list[tuple[float, float, float, int, bool]],
) -> None:
    """Records that stall with the producer and leave all at once do not come on top of a full burst."""
    now_s, rate, sent = 0.0, 20_000.0, 0.0
    bucket = ByteBucket(rate, burst_bytes(rate), now_s)
    left: list[tuple[float, float]] = []
    waiting: list[tuple[float, float]] = []
    for elapsed_s, estimate, true_share, num_leave, is_read in steps:
        now_s += elapsed_s
        if bucket.try_debit(estimate, now_s):
            waiting.append((estimate, estimate * true_share))
        for _, num_bytes in waiting[:num_leave]:
            sent += num_bytes
            left.append((now_s, num_bytes))
        waiting = waiting[num_leave:]
        if is_read:
            bucket.correct(sent, sum(estimate for estimate, _ in waiting), now_s)
    assert_capped(left, [(0.0, rate)])


@given(st.lists(st.tuples(st.floats(0.01, 1.0), st.floats(100.0, 9_000.0), st.floats(0.5, 2.0)), max_size=50))
def test_estimates_that_were_too_low_are_made_good_at_the_next_measurement(
    records: list[tuple[float, float, float]],
) -> None:
    """What really left exceeds the cap at most by the error of the records since the last measurement."""
    rate, depth = 10_000.0, 16_000.0
    bucket = ByteBucket(rate, depth, 0.0)
    now_s, sent, worst_error = 0.0, 0.0, 0.0
    for elapsed_s, estimate, factor in records:
        now_s += elapsed_s
        if bucket.try_debit(estimate, now_s):
            sent += estimate * factor
            worst_error = max(worst_error, estimate * (factor - 1))
        bucket.correct(sent, 0.0, now_s)
        assert sent <= rate * now_s + depth + worst_error + 1e-3


def test_an_estimate_that_was_too_high_is_expected_no_more_once_acknowledged() -> None:
    bucket = ByteBucket(1_000.0, 16_000.0, 0.0)
    assert bucket.try_debit(10_000, 0.0)
    bucket.correct(7_000, 3_000, 0.0)
    assert bucket.tokens(0.0) == 6_000
    bucket.correct(7_000, 0.0, 0.0)
    assert bucket.tokens(0.0) == 9_000


def test_bytes_nobody_foresaw_take_the_tokens_below_zero_and_stop_everything() -> None:
    bucket = ByteBucket(1_000.0, 16_000.0, 0.0)
    bucket.correct(20_000, 0.0, 0.0)
    assert bucket.tokens(0.0) == -4_000
    assert not bucket.try_debit(1, 3.9)
    assert bucket.try_debit(1, 4.1)


def test_a_step_down_clamps_the_tokens_to_the_new_depth() -> None:
    bucket = ByteBucket(100_000.0, 50_000.0, 0.0)
    bucket.set_budget(10_000.0, 16_000.0, 1.0)
    assert bucket.tokens(1.0) == 16_000


def test_the_wait_is_the_time_until_the_record_fits() -> None:
    bucket = ByteBucket(1_000.0, 16_000.0, 0.0)
    assert bucket.try_debit(16_000, 0.0)
    assert bucket.wait_s(500, 0.0) == pytest.approx(0.5)
    assert bucket.wait_s(16_001, 0.0) == math.inf
    bucket.set_budget(0.0, 0.0, 0.0)
    assert bucket.wait_s(500, 0.0) == math.inf
