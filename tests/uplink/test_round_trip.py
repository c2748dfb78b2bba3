"""The round trip that requests tell, with a queue of our own in the way."""

from __future__ import annotations

import pytest

from uplink.round_trip import LONGEST_S, MEMORY_S, PAUSE_S, RoundTrip


def asked(round_trip: RoundTrip, from_s: float, to_s: float, delay_s: float, num_bytes: float = 0.0) -> None:
    """A request each 100 ms, all of which take so long."""
    for tick in range(round(10 * from_s), round(10 * to_s)):
        round_trip.took(tick / 10 - delay_s, num_bytes, tick / 10)


def test_the_time_of_the_requests_own_bytes_is_taken_off() -> None:
    round_trip = RoundTrip()
    assert round_trip.seconds(1_000.0) == 0.0
    round_trip.took(1.0, 5_000.0, 1.5)
    assert round_trip.seconds(50_000.0) == pytest.approx(0.4)
    assert round_trip.seconds(10_000.0) == 0.0


def test_a_queue_does_not_make_the_path_longer_and_ends_in_a_probe_that_begins_without_it() -> None:
    round_trip = RoundTrip()
    asked(round_trip, 1.0, 2.0, 0.3)
    asked(round_trip, 2.0, MEMORY_S, 0.7)
    assert (round_trip.seconds(1e9), round_trip.is_probing) == (pytest.approx(0.3), False)
    asked(round_trip, MEMORY_S, MEMORY_S + 2.0, 0.7)
    assert round_trip.is_probing


def test_a_path_that_became_longer_is_known_after_a_probe() -> None:
    """What was handed over before the probe does not count; the rate is judged a round trip later."""
    round_trip = RoundTrip()
    round_trip.took(0.0, 0.0, 0.04)
    round_trip.took(19.0, 0.0, 20.0)
    assert round_trip.is_probing
    round_trip.took(19.9, 0.0, 20.5)
    assert (round_trip.is_probing, round_trip.seconds(1e9)) == (True, pytest.approx(0.04))
    round_trip.took(20.1, 0.0, 20.7)
    assert (round_trip.is_probing, round_trip.seconds(1e9)) == (False, pytest.approx(0.6))
    assert (round_trip.is_settled(21.2), round_trip.is_settled(21.4)) == (False, True)


def test_a_path_that_became_shorter_is_known_at_once() -> None:
    round_trip = RoundTrip()
    asked(round_trip, 1.0, 5.0, 0.6)
    asked(round_trip, 5.0, 5.2, 0.04)
    assert round_trip.seconds(1e9) == pytest.approx(0.04)


def test_a_doubt_begins_a_probe_at_once_but_not_one_after_the_other() -> None:
    round_trip = RoundTrip()
    asked(round_trip, 1.0, 2.0, 0.3)
    round_trip.doubt(2.0)
    assert round_trip.is_probing
    round_trip.took(2.1, 0.0, 2.7)
    assert (round_trip.is_probing, round_trip.seconds(1e9)) == (False, pytest.approx(0.6))
    round_trip.doubt(2.0 + PAUSE_S - 0.1)
    assert not round_trip.is_probing
    round_trip.doubt(2.0 + PAUSE_S)
    assert round_trip.is_probing


def test_an_outage_is_no_round_trip() -> None:
    round_trip = RoundTrip()
    round_trip.took(0.0, 0.0, LONGEST_S + 1.0)
    assert round_trip.seconds(1e9) == 0.0
