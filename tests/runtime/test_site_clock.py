import pytest

from runtime.site_clock import SiteClock

S = 1_000_000_000


def test_before_an_answer_there_is_no_time() -> None:
    clock = SiteClock()
    assert not clock.known
    with pytest.raises(RuntimeError, match="answered once"):
        clock.time_ns(1.0)
    with pytest.raises(RuntimeError, match="answered once"):
        clock.monotonic_s(S)


def test_an_answer_is_taken_as_given_half_way_and_carried_forward() -> None:
    clock = SiteClock()
    clock.learn(1000 * S, 10.0, 10.2)
    assert clock.time_ns(10.1) == 1000 * S
    assert clock.time_ns(15.1) == 1005 * S
    assert clock.monotonic_s(1005 * S) == pytest.approx(15.1)


def test_a_very_slow_answer_says_less_than_the_one_before() -> None:
    clock = SiteClock()
    clock.learn(1000 * S, 10.0, 13.0)
    assert clock.known
    clock.learn(2000 * S, 20.0, 20.01)
    clock.learn(1 * S, 30.0, 33.0)
    assert clock.time_ns(20.005) == 2000 * S
