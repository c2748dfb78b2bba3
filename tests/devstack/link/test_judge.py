"""The judgement of a link: agrees with looking at every window, and with sums by hand."""

from __future__ import annotations

import itertools
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.link.judge import CapVerdict, counted, judge, mean_rate, total_at, utilisation, windows_over_cap
from schemas.rates import RateSchedule, constant


def test_a_burst_is_allowed_once_and_not_twice() -> None:
    within = [(0.0, 0.0), (0.1, 1000.0), (1.0, 1500.0)]
    assert windows_over_cap(within, constant(1000.0), 1000.0) == 0
    assert windows_over_cap([*within, (1.1, 2700.0)], constant(1000.0), 1000.0) == 1


def test_a_step_down_counts_from_its_second_on() -> None:
    budget = RateSchedule((0.0, 10.0), (1000.0, 100.0))
    samples = [(0.0, 0.0), (10.0, 10_000.0), (20.0, 11_000.0), (30.0, 13_500.0)]
    assert windows_over_cap(samples, budget, 500.0) == 1


@given(
    st.lists(st.tuples(st.floats(0.01, 2.0), st.floats(0.0, 3000.0)), min_size=1, max_size=30),
    st.floats(0.0, 2000.0),
    st.floats(0.0, 3000.0),
)
def test_every_window_is_looked_at(steps: list[tuple[float, float]], rate: float, burst: float) -> None:
    samples = [(0.0, 0.0)]
    for wait_s, num_bytes in steps:
        samples.append((samples[-1][0] + wait_s, samples[-1][1] + num_bytes))
    budget = constant(rate)
    slack = 1e-6
    broken = {
        end
        for end in range(len(samples))
        for start in range(end)
        if samples[end][1] - samples[start][1]
        > budget.bytes_between(samples[start][0], samples[end][0]) + burst + slack
    }
    assert len(broken) <= windows_over_cap(samples, budget, burst)
    assert windows_over_cap(samples, budget, burst + 2 * slack) <= len(broken)


def test_the_mean_rate_is_the_counters_growth_over_time() -> None:
    samples = [(0.0, 0.0), (1.0, 500.0), (2.0, 1500.0)]
    assert mean_rate(samples, 0.0, 2.0) == 750.0
    assert mean_rate(samples, 1.0, 2.0) == 1000.0
    assert mean_rate(samples, 2.0, 2.0) == 0.0
    assert [total_at(samples, at_s) for at_s, _ in pairwise([0.5, 1.5, 9.0, 9.0])] == [0.0, 500.0, 1500.0]


def judge_departures(
    departures: list[tuple[float, float]], budget: RateSchedule, bursts: list[tuple[float, float]]
) -> CapVerdict:
    return judge(counted(departures), budget, bursts)


def test_a_window_within_budget_and_burst_is_clean_and_one_byte_more_is_not() -> None:
    departures = [(0.0, 500.0), (1.0, 100.0), (2.0, 100.0)]
    assert judge_departures(departures, constant(100.0), [(0.0, 500.0)]).windows_over_cap == 0
    verdict = judge_departures([*departures, (3.0, 101.0)], constant(100.0), [(0.0, 500.0)])
    assert (verdict.windows_over_cap, verdict.worst_excess_bytes) == (1, pytest.approx(1.0))


def test_the_largest_burst_within_the_window_counts() -> None:
    """After a step down the tokens are clamped: a window that begins later has the small burst only."""
    budget = RateSchedule((0.0, 10.0), (100.0, 10.0))
    bursts = [(0.0, 500.0), (10.0, 50.0)]
    assert judge_departures([(9.9, 400.0), (10.0, 50.0)], budget, bursts).windows_over_cap == 0
    assert judge_departures([(9.9, 10.0), (20.0, 60.0)], budget, bursts).windows_over_cap == 1


@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 400.0)), max_size=15),
    st.lists(st.tuples(st.floats(0.5, 5.0), st.floats(0.0, 200.0), st.floats(0.0, 500.0)), max_size=4),
)
def test_departures_agree_with_looking_at_every_window(
    steps: list[tuple[float, float]], changes: list[tuple[float, float, float]]
) -> None:
    starts = [0.0, *itertools.accumulate(elapsed for elapsed, _, _ in changes)]
    budget = RateSchedule(tuple(starts), (100.0, *(rate for _, rate, _ in changes)))
    bursts = list(zip(starts, [300.0, *(burst for _, _, burst in changes)], strict=True))
    times = list(itertools.accumulate(elapsed for elapsed, _ in steps))
    departures = list(zip(times, (num_bytes for _, num_bytes in steps), strict=True))
    worst = -float("inf")
    for first, (from_s, _) in enumerate(departures):
        total = 0.0
        for to_s, num_bytes in departures[first:]:
            total += num_bytes
            inside = [
                burst
                for idx, (start, burst) in enumerate(bursts)
                if start <= to_s and (idx + 1 == len(bursts) or bursts[idx + 1][0] > from_s)
            ]
            worst = max(worst, total - budget.bytes_between(from_s, to_s) - max(inside))
    verdict = judge_departures(departures, budget, bursts)
    assert verdict.worst_excess_bytes == pytest.approx(worst, abs=1e-6)


def test_utilisation_is_by_window_and_zero_where_nothing_was_allowed() -> None:
    budget = RateSchedule((0.0, 10.0), (100.0, 0.0))
    assert utilisation([(1.0, 500.0), (9.0, 250.0), (11.0, 5.0)], budget, 20.0) == [0.75, 0.0]
