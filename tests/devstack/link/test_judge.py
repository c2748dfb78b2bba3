"""The judgement of a link: agrees with looking at every window, and with sums by hand."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from devstack.link.judge import mean_rate, total_at, windows_over_cap
from schemas.rates import Schedule, constant


def test_a_burst_is_allowed_once_and_not_twice() -> None:
    within = [(0.0, 0.0), (0.1, 1000.0), (1.0, 1500.0)]
    assert windows_over_cap(within, constant(1000.0), 1000.0) == 0
    assert windows_over_cap([*within, (1.1, 2700.0)], constant(1000.0), 1000.0) == 1


def test_a_step_down_counts_from_its_second_on() -> None:
    budget = Schedule((0.0, 10.0), (1000.0, 100.0))
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
