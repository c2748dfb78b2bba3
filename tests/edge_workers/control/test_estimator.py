from __future__ import annotations

import math
from typing import Any

import pytest

from edge_workers.control.estimator import DRAIN_SHARE, RateEstimator


def sample(estimator: RateEstimator, now_s: float, **changes: Any) -> None:
    values: dict[str, Any] = {
        "busy_bytes_per_s": 50_000.0,
        "standing_bytes": 0.0,
        "base_delay_s": 0.04,
        "record_bytes": 5_000.0,
        "silence_s": 0.0,
        "sent_bytes_per_s": math.inf,
        "is_used": True,
    }
    estimator.update(now_s, **(values | changes))


def test_it_doubles_in_a_second_until_a_queue_stays() -> None:
    estimator = RateEstimator(0.0)
    for idx in range(1, 21):
        sample(estimator, idx / 10)
    assert estimator.rate_bytes_per_s == pytest.approx(16_000 * 1.1**20)
    assert estimator.is_ramping


def test_a_queue_that_stays_cuts_it_to_what_was_delivered_and_drains() -> None:
    estimator = RateEstimator(0.0, 200_000.0)
    sample(estimator, 0.1, standing_bytes=60_000.0)
    assert estimator.is_limiting
    assert estimator.rate_bytes_per_s == pytest.approx(DRAIN_SHARE * 50_000)
    for idx in range(2, 40):
        sample(estimator, idx / 10)
    assert estimator.rate_bytes_per_s > 50_000


def test_a_rate_that_nobody_used_is_kept() -> None:
    estimator = RateEstimator(0.0)
    for idx in range(1, 50):
        sample(estimator, idx / 10, is_used=False)
    assert estimator.rate_bytes_per_s == 16_000


def test_it_never_grows_far_beyond_what_was_sent() -> None:
    estimator = RateEstimator(0.0)
    for idx in range(1, 100):
        sample(estimator, idx / 10, sent_bytes_per_s=20_000.0)
    assert estimator.rate_bytes_per_s <= 1.5 * 25_000


def test_a_queue_that_is_only_a_little_too_long_is_no_cut() -> None:
    estimator = RateEstimator(0.0, 52_000.0)
    sample(estimator, 0.1, standing_bytes=60_000.0)
    assert estimator.rate_bytes_per_s == 52_000


def test_it_grows_little_beyond_what_a_busy_path_carries() -> None:
    estimator = RateEstimator(0.0)
    for idx in range(1, 100):
        sample(estimator, idx / 10, standing_bytes=5_000.0)
    assert 50_000 < estimator.rate_bytes_per_s <= 1.15 * 50_000 + 5_000


def test_after_an_outage_it_starts_with_most_of_what_was_carried_before() -> None:
    estimator = RateEstimator(0.0, 100_000.0)
    for idx in range(1, 20):
        sample(estimator, idx / 10)
    sample(estimator, 2.0, busy_bytes_per_s=20_000.0, standing_bytes=50_000.0)
    sample(estimator, 5.0, silence_s=3.0)
    sample(estimator, 30.0)
    assert estimator.rate_bytes_per_s == pytest.approx(70_000)


def test_a_told_budget_that_was_always_carried_is_used_in_full_after_an_outage() -> None:
    estimator = RateEstimator(0.0, 100_000.0)
    sample(estimator, 1.0)
    estimator.set_ceiling(0.0)
    sample(estimator, 9.0, silence_s=5.0)
    estimator.set_ceiling(50_000.0)
    sample(estimator, 10.0)
    assert estimator.rate_bytes_per_s == 50_000


def test_a_path_that_became_slow_is_believed_as_slow_as_it_was_seen() -> None:
    """Two seconds without an acknowledgement, then one: that is a slow request, not an outage."""
    estimator = RateEstimator(0.0, 100_000.0)
    sample(estimator, 1.0, silence_s=1.0)
    sample(estimator, 2.0, silence_s=2.0)
    sample(estimator, 2.1, busy_bytes_per_s=20_000.0)
    assert estimator.rate_bytes_per_s == 20_000


def test_a_path_that_was_not_the_limit_is_believed_to_carry_a_new_budget() -> None:
    estimator = RateEstimator(0.0, 50_000.0)
    estimator.set_ceiling(200_000.0)
    assert (estimator.rate_bytes_per_s, estimator.is_limiting) == (200_000.0, False)
    sample(estimator, 0.1, standing_bytes=100_000.0)
    estimator.set_ceiling(400_000.0)
    assert estimator.is_limiting
