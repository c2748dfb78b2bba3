from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.reconnect import ReconnectSchedule


def test_delays_double_up_to_the_cap_while_the_camera_stays_away() -> None:
    schedule = ReconnectSchedule(1, 60, random=lambda: 1.0)
    assert [schedule.lost(0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_session_that_outlives_the_last_delay_starts_over() -> None:
    schedule = ReconnectSchedule(1, 60, random=lambda: 1.0)
    assert [schedule.lost(lived) for lived in (0, 0, 0, 4, 4.5, 0)] == [1, 2, 4, 8, 16, 32]
    assert schedule.lost(33) == 1


def test_a_refused_login_takes_the_longest_pause_at_once() -> None:
    schedule = ReconnectSchedule(1, 60, random=lambda: 0.0)
    assert [schedule.lost(0, longest=True) for _ in range(3)] == [60, 60, 60]
    assert schedule.lost(61) == 0.5


def test_a_camera_that_dies_after_each_frame_is_not_hammered() -> None:
    schedule = ReconnectSchedule(1, 60, random=lambda: 0.0)
    attempts, clock_s = 0, 0.0
    while clock_s < 3600:
        clock_s += schedule.lost(lived_s=0.04)
        attempts += 1
    assert attempts < 130


@given(seed=st.integers(0, 99), lived_s=st.lists(st.floats(0, 100), max_size=40))
def test_every_delay_lies_between_half_the_first_and_the_cap(seed: int, lived_s: list[float]) -> None:
    schedule = ReconnectSchedule(0.5, 30, random=random.Random(seed).random)
    for lived in lived_s:
        assert 0.25 <= schedule.lost(lived) <= 30


def test_jitter_spreads_cameras_that_were_lost_together() -> None:
    delays = {ReconnectSchedule(1, 60, random=random.Random(seed).random).lost(0) for seed in range(50)}
    assert len(delays) == 50


@pytest.mark.parametrize(("first_s", "cap_s"), [(0, 1), (-1, 1), (2, 1)])
def test_impossible_delays_are_refused(first_s: float, cap_s: float) -> None:
    with pytest.raises(ValueError, match="first_s"):
        ReconnectSchedule(first_s, cap_s, random=random.random)
