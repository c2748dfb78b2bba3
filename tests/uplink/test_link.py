from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from uplink.link import FULL_S, INITIAL_OVERHEAD_BYTES, START_BYTES_PER_S, RateEstimator, UplinkMeter
from uplink.round_trip import RoundTrip
from uplink.task import OffloadTask


def handed(meter: UplinkMeter, num_bytes: int, now_s: float) -> OffloadTask:
    task = OffloadTask(camera="cam", score=1.0, deadline_s=now_s + 2.0, num_bytes=num_bytes)
    meter.handed_over(task, now_s)
    return task


def test_what_was_handed_over_is_in_flight_until_it_lands() -> None:
    meter = UplinkMeter(0.0)
    first, second = handed(meter, 1_000, 0.0), handed(meter, 2_000, 0.1)
    assert meter.flight.estimate_bytes == 3_000 + 2 * INITIAL_OVERHEAD_BYTES
    meter.acknowledged(first, 0.2)
    meter.failed(second)
    assert (meter.flight.estimate_bytes, len(meter.flight)) == (0.0, 0)


def test_silence_counts_from_the_last_sign_while_something_is_in_flight() -> None:
    meter = UplinkMeter(0.0)
    assert meter.silence_s(9.0) == 0.0
    first = handed(meter, 1_000, 9.0)
    handed(meter, 1_000, 9.5)
    assert meter.silence_s(10.0) == 1.0
    meter.acknowledged(first, 10.0)
    assert meter.silence_s(10.5) == 0.5


@pytest.mark.parametrize("overhead", [100, 900])
def test_the_overhead_of_a_record_is_learnt_from_the_wire(overhead: int) -> None:
    meter, wire = UplinkMeter(0.0), 0
    for idx in range(1_000):
        sent = handed(meter, 3_000, idx / 10)
        wire += 3_000 + overhead
        meter.count(wire)
        meter.sample(idx / 10 + 0.05)
        meter.acknowledged(sent, idx / 10 + 0.06)
    assert meter.overhead_bytes == pytest.approx(overhead, rel=0.05)
    assert meter.wire_rate(1.0, 100.0) == pytest.approx(10 * (3_000 + overhead), rel=0.05)


def test_without_a_socket_acknowledged_records_are_counted() -> None:
    meter = UplinkMeter(0.0)
    meter.acknowledged(handed(meter, 1_000, 0.0), 0.1)
    handed(meter, 1_000, 0.1)
    assert meter.count(None) == 1_000 + INITIAL_OVERHEAD_BYTES


def test_what_was_acknowledged_has_left_also_where_the_counter_missed_it() -> None:
    meter = UplinkMeter(0.0)
    meter.count(360)
    meter.acknowledged(handed(meter, 1_000, 0.0), 0.1)
    assert meter.count(360) == 1_000
    meter.acknowledged(handed(meter, 500, 0.2), 0.3)
    assert meter.count(360 + 700) == 1_700  # seen again: all that leaves counts, with its overhead


def test_the_busy_rate_is_what_the_path_carried_while_it_was_never_idle() -> None:
    meter = UplinkMeter(0.0)
    flying = [handed(meter, 4_600, 5.0) for _ in range(4)]
    for idx in range(1, 20):
        flying.append(handed(meter, 4_600, 5.0 + idx / 10))
        meter.acknowledged(flying.pop(0), 5.0 + idx / 10)
    assert meter.busy_rate(50_000, 6.9) == pytest.approx(50_000, rel=0.01)


def test_records_that_are_acknowledged_together_passed_one_after_the_other() -> None:
    """Four records each 0.4 s: 46 kB/s, also when the first answer in the window had four."""
    meter = UplinkMeter(0.0)
    flying = [handed(meter, 4_600, 5.0) for _ in range(8)]
    for answer in range(1, 12):
        for idx in range(4):
            flying.append(handed(meter, 4_600, 5.0 + 0.4 * answer))
            meter.acknowledged(flying.pop(0), 5.0 + 0.4 * answer + idx * 1e-5)
    assert meter.busy_rate(50_000, 9.5) == pytest.approx(50_000, rel=0.01)


def test_a_request_on_its_way_is_no_standstill_until_it_is_overdue() -> None:
    """At 50 kB/s a request of 50 kB is silent for a second; when it takes three, the path has become slower."""
    meter = UplinkMeter(0.0)
    for idx in range(10):
        meter.acknowledged(handed(meter, 4_600, 5.0 + idx / 10), 5.1 + idx / 10)
    flying = [handed(meter, 4_600, 6.2) for _ in range(11)]
    meter.acknowledged(flying.pop(0), 6.7)
    assert meter.busy_rate(50_000, 7.6) == pytest.approx(10_000)
    assert meter.busy_rate(50_000, 9.2) == pytest.approx(55_000 / 3.0)


def test_one_record_after_the_other_keeps_a_path_busy() -> None:
    """Nothing is in flight for a moment between an answer and the next record: the path's rate is known."""
    meter = UplinkMeter(0.0)
    for idx in range(10):
        meter.acknowledged(handed(meter, 4_600, 5.0 + 0.3 * idx), 5.29 + 0.3 * idx)
    assert meter.busy_rate(50_000, 8.0) == pytest.approx(5_000 / 0.3, rel=0.01)


def test_the_busy_rate_of_nothing_is_none() -> None:
    assert UplinkMeter(0.0).busy_rate(50_000, 9.0) == 0.0


def test_the_delay_is_that_of_the_newest_acknowledgement() -> None:
    meter = UplinkMeter(0.0)
    for idx in range(10):
        handed_s = idx / 10
        meter.acknowledged(handed(meter, 100, handed_s), handed_s + 0.05 + 0.5 * handed_s)
    assert meter.delay_s(1.4) == pytest.approx(0.5)
    assert meter.delay_s(4.0) == 0.0


def sample(estimator: RateEstimator, now_s: float, **changes: Any) -> None:
    values: dict[str, Any] = {
        "busy_bytes_per_s": 50_000.0,
        "full_s": 0.0,
        "record_bytes": 5_000.0,
        "silence_s": 0.0,
        "sent_bytes_per_s": math.inf,
        "is_used": True,
    }
    estimator.update(now_s, **(values | changes))


def full(estimator: RateEstimator, from_s: float, to_s: float, busy_bytes_per_s: float) -> None:
    for idx in range(1, round((to_s - from_s) * 10) + 1):
        sample(estimator, from_s + idx / 10, full_s=FULL_S + idx / 10, busy_bytes_per_s=busy_bytes_per_s)


def test_it_doubles_in_a_second_until_the_path_is_full() -> None:
    estimator = RateEstimator(0.0)
    for idx in range(1, 21):
        sample(estimator, idx / 10)
    assert estimator.rate_bytes_per_s == pytest.approx(START_BYTES_PER_S * 1.1**20)
    assert estimator.is_ramping


def test_what_a_full_path_carries_is_the_rate_within_a_second_or_two_up_and_down() -> None:
    estimator = RateEstimator(0.0, 1e6)
    for second, carried in ((0.0, 200_000.0), (2.0, 40_000.0), (4.0, 100_000.0)):
        full(estimator, second, second + 2.0, carried)
        assert estimator.rate_bytes_per_s == pytest.approx(carried, rel=0.02)
        assert carried < estimator.pace_bytes_per_s <= 1.06 * carried
        assert estimator.is_limiting
        assert not estimator.is_ramping


def test_a_full_path_of_an_unknown_rate_is_not_tried_harder() -> None:
    estimator = RateEstimator(0.0)
    full(estimator, 0.0, 5.0, 0.0)
    assert estimator.rate_bytes_per_s == START_BYTES_PER_S


def test_a_burst_that_passes_is_no_full_path() -> None:
    estimator = RateEstimator(0.0, 200_000.0)
    sample(estimator, 0.1, full_s=0.9 * FULL_S)
    assert (estimator.rate_bytes_per_s, estimator.is_limiting) == (200_000.0, False)


def test_a_path_with_room_again_is_tried_the_faster_the_longer_it_has() -> None:
    estimator = RateEstimator(0.0)
    full(estimator, 0.0, 3.0, 50_000.0)
    rates = [estimator.rate_bytes_per_s]
    for idx in range(31, 101):
        sample(estimator, idx / 10)
        rates.append(estimator.rate_bytes_per_s)
    steps = [after / before for before, after in pairwise(rates)]
    assert steps[0] < 1.005
    assert all(after >= before - 1e-9 for before, after in pairwise(steps))
    assert rates[-1] > 2 * rates[0]


def test_a_calm_of_any_length_is_only_a_calm() -> None:
    estimator = RateEstimator(0.0)
    full(estimator, 0.0, 3.0, 50_000.0)
    sample(estimator, 1e6)
    before = estimator.rate_bytes_per_s
    sample(estimator, 1e6 + 0.1)
    assert before < estimator.rate_bytes_per_s < 1.2 * before


def test_the_flight_holds_what_the_path_carried_and_more_over_a_long_way() -> None:
    estimator = RateEstimator(0.0)
    full(estimator, 0.0, 2.0, 100_000.0)
    assert estimator.waiting_bytes(5_000.0) == pytest.approx(0.15 * 100_000 + 5_000)
    assert estimator.waiting_bytes(80_000.0) == 200_000
    short, long = RoundTrip(), RoundTrip()
    long.took(0.0, 0.0, 0.5)
    assert (estimator.path_bytes(short), estimator.path_bytes(long)) == (
        0.0,
        0.5 * estimator.rate_bytes_per_s,
    )


def test_a_rate_that_nobody_used_is_kept() -> None:
    estimator = RateEstimator(0.0)
    for idx in range(1, 50):
        sample(estimator, idx / 10, is_used=False)
    assert estimator.rate_bytes_per_s == START_BYTES_PER_S


def test_it_never_grows_far_beyond_what_was_sent() -> None:
    estimator = RateEstimator(0.0)
    for idx in range(1, 100):
        sample(estimator, idx / 10, sent_bytes_per_s=20_000.0)
    assert estimator.rate_bytes_per_s <= 1.5 * 25_000


def test_after_an_outage_it_starts_with_most_of_what_was_carried_before() -> None:
    estimator = RateEstimator(0.0, 100_000.0)
    full(estimator, 0.0, 2.0, 50_000.0)
    sample(estimator, 5.0, silence_s=3.0)
    before = estimator.rate_bytes_per_s
    sample(estimator, 30.0)
    assert 0.7 * 50_000 <= estimator.rate_bytes_per_s < before * 2


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
    full(estimator, 0.0, 2.0, 100_000.0)
    estimator.set_ceiling(400_000.0)
    assert estimator.is_limiting
