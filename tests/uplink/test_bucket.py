from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uplink.bucket import ByteBucket, burst_bytes

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
    bucket.correct(7_000, 10_000, 0.0)
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
