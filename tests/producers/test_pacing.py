from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.pacing import MAX_CATCH_UP_S, RateCap, Schedule, Thinning

FPS = st.floats(0.1, 240)
GAPS_S = st.lists(st.floats(0, 3), max_size=60)


@pytest.mark.parametrize(
    ("arrivals_s", "may_drop", "due_s"),
    [
        ([0, 0, 0], False, [0, 1, 2]),
        ([5, 5.2, 6.9], False, [5, 6, 7]),
        ([0, 1.5, 1.5], False, [0, 1, 2]),
        ([0, 10, 10, 10, 12], False, [0, 9, 10, 11, 12]),
        ([0, 1.5, 1.6], True, [0, 1, 2]),
        ([0, 3.5, 3.5, 3.5, 3.5], True, [0, None, None, 3, 4]),
    ],
)
def test_schedule_at_one_frame_per_second(
    arrivals_s: list[float], may_drop: bool, due_s: list[float | None]
) -> None:
    schedule = Schedule(1.0, may_drop=may_drop)
    assert [schedule.place(now) for now in arrivals_s] == due_s


@given(gaps_s=GAPS_S)
def test_without_a_rate_everything_is_due_at_once(gaps_s: list[float]) -> None:
    schedule = Schedule(None, may_drop=True)
    for now in itertools.accumulate(gaps_s):
        assert schedule.place(now) == now


@given(fps=FPS, gaps_s=GAPS_S, may_drop=st.booleans())
def test_frames_leave_in_order_and_never_faster_than_the_rate_plus_what_may_be_caught_up(
    fps: float, gaps_s: list[float], may_drop: bool
) -> None:
    schedule = Schedule(fps, may_drop=may_drop)
    now, left_s = 0.0, []
    for gap in gaps_s:
        now += gap
        due = schedule.place(now)
        if due is not None:
            now = max(now, due)
            left_s.append(now)
    assert left_s == sorted(left_s)
    for i, j in itertools.combinations(range(len(left_s)), 2):
        allowed = (left_s[j] - left_s[i] + max(MAX_CATCH_UP_S, 1 / fps)) * fps + 1
        assert j - i <= allowed + 1e-6


@given(fps=FPS, gaps_s=GAPS_S)
def test_a_schedule_that_may_not_drop_places_every_frame(fps: float, gaps_s: list[float]) -> None:
    schedule = Schedule(fps, may_drop=False)
    assert all(schedule.place(now) is not None for now in itertools.accumulate(gaps_s))


def test_a_dropping_schedule_stays_within_a_period_of_real_time() -> None:
    schedule = Schedule(10, may_drop=True)
    kept = [
        now
        for now in (i * 0.25 for i in range(100))
        if (due := schedule.place(now)) is not None and due <= now
    ]
    assert kept  # decoding at 4 frames/s under a 10 frames/s schedule: late frames go, the rest is on time
    assert len(kept) < 100


@pytest.mark.parametrize(
    ("fps", "camera_fps", "expected_fps"),
    [(10, 25, 10), (5, 30, 5), (25, 25, 25), (100, 25, 25), (None, 25, 25), (0.5, 10, 0.5)],
)
def test_rate_cap_thins_a_regular_camera_to_the_rate(
    fps: float | None, camera_fps: float, expected_fps: float
) -> None:
    cap = RateCap(fps)
    kept = sum(cap.admit(i / camera_fps) for i in range(int(camera_fps * 100)))
    assert kept == pytest.approx(expected_fps * 100, abs=2)


@given(fps=FPS, gaps_s=st.lists(st.floats(0, 2), max_size=100))
def test_rate_cap_never_exceeds_its_rate_by_more_than_two_frames_in_any_window(
    fps: float, gaps_s: list[float]
) -> None:
    cap = RateCap(fps)
    kept_s = [now for now in itertools.accumulate(gaps_s) if cap.admit(now)]
    for i, j in itertools.combinations(range(len(kept_s)), 2):
        assert j - i + 1 <= (kept_s[j] - kept_s[i]) * fps + 2.5 + 1e-6


@given(jitter_s=st.lists(st.floats(-0.019, 0.019), min_size=50, max_size=50))
def test_rate_cap_at_the_cameras_own_rate_keeps_nearly_all_of_a_jittering_camera(
    jitter_s: list[float],
) -> None:
    cap = RateCap(25)
    kept = sum(cap.admit(1 + i / 25 + jitter) for i, jitter in enumerate(jitter_s))
    assert kept >= 48


@pytest.mark.parametrize(
    ("own_fps", "fps", "kept"),
    [
        (25, 5, [0, 5, 10, 15, 20]),
        (4, 3, [0, 1, 2, 4, 5, 6, 8, 9, 10]),
        (10, 10, range(25)),
        (10, 50, range(25)),
    ],
)
def test_thinning_keeps_an_even_share_and_the_first(own_fps: float, fps: float, kept: list[int]) -> None:
    thinning = Thinning(own_fps, fps)
    found = [index for index in range(25) if thinning.keeps_next()]
    assert found[: len(kept)] == list(kept)


@given(own_fps=FPS, fps=FPS, num_frames=st.integers(1, 500))
def test_thinning_keeps_the_wanted_share_of_any_number_of_frames(
    own_fps: float, fps: float, num_frames: int
) -> None:
    thinning = Thinning(own_fps, fps)
    kept = sum(thinning.keeps_next() for _ in range(num_frames))
    assert kept == pytest.approx(num_frames * min(1.0, fps / own_fps), abs=1.001)
    assert kept >= 1


@pytest.mark.parametrize("fps", [0, -1, float("inf"), float("nan")])
def test_a_rate_must_be_a_number_above_zero(fps: float) -> None:
    with pytest.raises(ValueError, match="fps"):
        Schedule(fps, may_drop=False)
    with pytest.raises(ValueError, match="fps"):
        RateCap(fps)
