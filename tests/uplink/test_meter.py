from __future__ import annotations

import pytest

from uplink.meter import INITIAL_OVERHEAD_BYTES, UplinkMeter


def test_what_was_handed_over_is_in_flight_until_it_lands() -> None:
    meter = UplinkMeter(0.0)
    first, second = meter.handed_over(1_000, 0.0), meter.handed_over(2_000, 0.1)
    assert meter.in_flight_bytes == 3_000 + 2 * INITIAL_OVERHEAD_BYTES
    meter.acknowledged(first, 0.2)
    meter.failed(second)
    assert (meter.in_flight_bytes, meter.num_in_flight) == (0.0, 0)


def test_silence_counts_from_the_last_sign_while_something_is_in_flight() -> None:
    meter = UplinkMeter(0.0)
    assert meter.silence_s(9.0) == 0.0
    first = meter.handed_over(1_000, 9.0)
    meter.handed_over(1_000, 9.5)
    assert meter.silence_s(10.0) == 1.0
    meter.acknowledged(first, 10.0)
    assert meter.silence_s(10.5) == 0.5


@pytest.mark.parametrize("overhead", [100, 900])
def test_the_overhead_of_a_record_is_learnt_from_the_wire(overhead: int) -> None:
    meter, wire = UplinkMeter(0.0), 0
    for idx in range(1_000):
        sent = meter.handed_over(3_000, idx / 10)
        wire += 3_000 + overhead
        meter.measure(wire, idx / 10 + 0.05)
        meter.acknowledged(sent, idx / 10 + 0.06)
    assert meter.overhead_bytes == pytest.approx(overhead, rel=0.05)
    assert meter.wire_rate(1.0, 100.0) == pytest.approx(10 * (3_000 + overhead), rel=0.05)


def test_without_a_socket_acknowledged_records_are_counted() -> None:
    meter = UplinkMeter(0.0)
    meter.acknowledged(meter.handed_over(1_000, 0.0), 0.1)
    meter.handed_over(1_000, 0.1)
    assert meter.measure(None, 0.2) == 1_000 + INITIAL_OVERHEAD_BYTES


def test_the_busy_rate_is_what_the_path_carried_while_it_was_never_idle() -> None:
    meter = UplinkMeter(0.0)
    flying = [meter.handed_over(4_600, 5.0) for _ in range(4)]
    for idx in range(1, 20):
        flying.append(meter.handed_over(4_600, 5.0 + idx / 10))
        meter.acknowledged(flying.pop(0), 5.0 + idx / 10)
    assert meter.busy_rate(50_000, 6.9) == pytest.approx(50_000, rel=0.01)


def test_records_that_are_acknowledged_together_passed_one_after_the_other() -> None:
    """Four records each 0.4 s: 46 kB/s, also when the first answer in the window had four."""
    meter = UplinkMeter(0.0)
    flying = [meter.handed_over(4_600, 5.0) for _ in range(8)]
    for answer in range(1, 12):
        for idx in range(4):
            flying.append(meter.handed_over(4_600, 5.0 + 0.4 * answer))
            meter.acknowledged(flying.pop(0), 5.0 + 0.4 * answer + idx * 1e-5)
    assert meter.busy_rate(50_000, 9.5) == pytest.approx(50_000, rel=0.01)


def test_a_request_on_its_way_is_no_standstill_until_it_is_overdue() -> None:
    """At 50 kB/s a request of 50 kB is silent for a second; when it takes three, the path has become slower."""
    meter = UplinkMeter(0.0)
    for idx in range(10):
        meter.acknowledged(meter.handed_over(4_600, 5.0 + idx / 10), 5.1 + idx / 10)
    flying = [meter.handed_over(4_600, 6.2) for _ in range(11)]
    meter.acknowledged(flying.pop(0), 6.7)
    assert meter.busy_rate(50_000, 7.6) == pytest.approx(10_000)
    assert meter.busy_rate(50_000, 9.2) == pytest.approx(55_000 / 3.0)


def test_one_record_after_the_other_keeps_a_path_busy() -> None:
    """Nothing is in flight for a moment between an answer and the next record: the path's rate is known."""
    meter = UplinkMeter(0.0)
    for idx in range(10):
        meter.acknowledged(meter.handed_over(4_600, 5.0 + 0.3 * idx), 5.29 + 0.3 * idx)
    assert meter.busy_rate(50_000, 8.0) == pytest.approx(5_000 / 0.3, rel=0.01)


def test_the_busy_rate_of_nothing_is_none() -> None:
    assert UplinkMeter(0.0).busy_rate(50_000, 9.0) == 0.0


def test_delays_that_grow_show_as_a_trend() -> None:
    meter = UplinkMeter(0.0)
    for idx in range(10):
        handed_s = idx / 10
        meter.acknowledged(meter.handed_over(100, handed_s), handed_s + 0.05 + 0.5 * handed_s)
    assert meter.delay_trend(1.4) == pytest.approx(0.333, rel=0.05)
    assert meter.delay_s(1.4) == pytest.approx(0.5)
