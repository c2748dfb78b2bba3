from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.pacing import MAX_CATCH_UP_S, LivePace, Playback, PlaySchedule, RateCap, Skip, Timeline

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
        ([0, 3.5, 3.5, 3.5, 3.5], True, [0, Skip.LATE, Skip.LATE, 3, 4]),
    ],
)
def test_schedule_at_one_frame_per_second(
    arrivals_s: list[float], may_drop: bool, due_s: list[float | Skip]
) -> None:
    schedule = PlaySchedule(1.0, may_drop=may_drop)
    assert [schedule.place(None, now) for now in arrivals_s] == due_s


@given(gaps_s=GAPS_S)
def test_without_a_rate_everything_is_due_at_once(gaps_s: list[float]) -> None:
    schedule = PlaySchedule(None, may_drop=True)
    for now in itertools.accumulate(gaps_s):
        assert schedule.place(None, now) == now


@given(fps=FPS, gaps_s=GAPS_S, may_drop=st.booleans())
def test_frames_leave_in_order_and_never_faster_than_the_rate_plus_what_may_be_caught_up(
    fps: float, gaps_s: list[float], may_drop: bool
) -> None:
    schedule = PlaySchedule(fps, may_drop=may_drop)
    now, left_s = 0.0, []
    for gap in gaps_s:
        now += gap
        due = schedule.place(None, now)
        if not isinstance(due, Skip):
            now = max(now, due)
            left_s.append(now)
    assert left_s == sorted(left_s)
    for i, j in itertools.combinations(range(len(left_s)), 2):
        allowed = (left_s[j] - left_s[i] + max(MAX_CATCH_UP_S, 1 / fps)) * fps + 1
        assert j - i <= allowed + 1e-6


@given(fps=FPS, gaps_s=GAPS_S)
def test_a_schedule_that_may_not_drop_places_every_frame(fps: float, gaps_s: list[float]) -> None:
    schedule = PlaySchedule(fps, may_drop=False)
    assert not any(isinstance(schedule.place(None, now), Skip) for now in itertools.accumulate(gaps_s))


def test_a_dropping_schedule_stays_within_a_period_of_real_time() -> None:
    schedule = PlaySchedule(10, may_drop=True)
    kept = [
        now
        for now in (i * 0.25 for i in range(100))
        if not isinstance(due := schedule.place(None, now), Skip) and due <= now
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


@given(jitter_s=st.lists(st.floats(-0.017, 0.017), min_size=50, max_size=50))
def test_rate_cap_at_the_cameras_own_rate_keeps_nearly_all_of_a_jittering_camera(
    jitter_s: list[float],
) -> None:
    cap = RateCap(25)
    kept = sum(cap.admit(1 + i / 25 + jitter) for i, jitter in enumerate(jitter_s))
    assert kept >= 48


def played(pace: Playback, times_s: list[float | None]) -> list[float]:
    """When pictures are shown by somebody who is never late, from time 0 on."""
    now, shown = 0.0, []
    for time_s in times_s:
        moment = pace.place(time_s, now)
        if not isinstance(moment, Skip):
            now = max(now, moment)
            shown.append(moment)
    return shown


@pytest.mark.parametrize(
    ("times_s", "fps", "shown_s"),
    [
        ([0, 0.1, 0.2, 0.3, 0.4], 5, [0, 0.2, 0.4]),
        ([0, 0.033, 0.067, 0.1, 0.133, 0.167, 0.2], 15, [0, 0.067, 0.133, 0.2]),
        ([7, 7.5, 8], 5, [0, 0.5, 1]),
        ([0, 0.1, 15, 20], 5, [0, 15, 20]),
        ([5, 6, 0, 1], 5, [0, 1, 2, 3]),
        ([0, 1, 1 + 2**33 / 90_000, 2 + 2**33 / 90_000], 5, [0, 1, 2, 3]),
        ([0, 0.5, None, 1.5], 5, [0, 0.5, 1, 2]),
        ([0, float("nan"), 0.5], 50, [0, 0.04, 0.54]),
    ],
    ids=["thinned", "rounded to ms", "any origin", "pause", "starts again", "jump", "no time", "no number"],
)
def test_a_clip_is_played_by_its_own_times(
    times_s: list[float | None], fps: float, shown_s: list[float]
) -> None:
    assert played(Playback(fps, max_gap_s=3600), times_s) == pytest.approx(shown_s)


@given(
    gaps_s=st.lists(st.floats(0.001, 2), min_size=1, max_size=80),
    fps=st.floats(0.5, 60),
    origin_s=st.floats(0, 1e6),
)
def test_a_clip_lasts_as_long_as_its_times_say_and_keeps_at_most_the_rate(
    gaps_s: list[float], fps: float, origin_s: float
) -> None:
    times_s: list[float | None] = [origin_s + at for at in itertools.accumulate([0.0, *gaps_s])]
    shown = played(Playback(fps, max_gap_s=3600), times_s)
    length_s = sum(gaps_s)
    assert shown == sorted(shown)
    assert shown[-1] <= length_s + 1e-6
    assert shown[-1] >= length_s - 1 / fps - max(gaps_s) - 1e-6
    assert len(shown) <= length_s * fps + 2


def test_who_is_late_catches_up_a_second_at_most_and_moves_the_rest() -> None:
    pace = Playback(10, max_gap_s=3600)
    assert [pace.place(at, now) for at, now in [(0, 0), (1, 6), (2, 6), (3, 6)]] == [0, 5, 6, 7]


def test_a_burst_of_a_live_stream_is_played_at_its_own_pace() -> None:
    pace = Playback(None, max_gap_s=10, catch_up_s=0)
    first = [pace.place(at, 100) for at in (0, 0.5, 1)]
    late = [pace.place(at, 102) for at in (1.5, 2)]
    assert [*first, *late] == [100, 100.5, 101, 102, 102.5]


def captured(pace: LivePace, pictures: list[tuple[float | None, float]]) -> list[float]:
    moments = [pace.place(time_s, now_s) for time_s, now_s in pictures]
    return [moment for moment in moments if not isinstance(moment, Skip)]


def test_a_live_picture_was_captured_when_the_least_delayed_ones_say() -> None:
    """Frames at 10 a second, held up for a second by the network: all are stamped as if they were not."""
    arrivals = [0.0, 0.1, 0.2, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3]
    pictures: list[tuple[float | None, float]] = [(i / 10, at) for i, at in enumerate(arrivals)]
    assert captured(LivePace(None), pictures) == pytest.approx([i / 10 for i in range(14)])
    assert captured(LivePace(5), pictures) == pytest.approx([i / 5 for i in range(7)])


@pytest.mark.parametrize("rate", [0.5, 0.9, 1.001, 2.0, 50.0])
def test_a_camera_with_a_wrong_clock_is_never_stamped_ahead_nor_far_behind(rate: float) -> None:
    pictures: list[tuple[float | None, float]] = [(i / 10 * rate, i / 10) for i in range(2000)]
    for moment, (_, now_s) in zip(captured(LivePace(None), pictures), pictures, strict=True):
        assert now_s - 10 - 1e-6 <= moment <= now_s + 1e-6


@pytest.mark.parametrize("jump_s", [-1e6, 1e6, 95443.7])
def test_a_jump_of_a_live_clock_costs_nothing(jump_s: float) -> None:
    pictures: list[tuple[float | None, float]] = [
        (i / 10 + (jump_s if i >= 50 else 0), i / 10) for i in range(100)
    ]
    assert captured(LivePace(None), pictures) == pytest.approx([i / 10 for i in range(100)], abs=0.11)


@given(
    steps=st.lists(
        st.tuples(st.floats(-100, 100) | st.none() | st.just(float("nan")), st.floats(0, 3)), max_size=60
    )
)
def test_live_stamps_never_go_back_nor_ahead_of_the_arrival(steps: list[tuple[float | None, float]]) -> None:
    pace, now_s, time_s, last = LivePace(None), 0.0, 0.0, -1e9
    for step, gap_s in steps:
        now_s += gap_s
        time_s = time_s + step if step is not None and step == step else time_s  # noqa: PLR0124 - NaN
        moment = pace.place(None if step is None else time_s, now_s)
        assert not isinstance(moment, Skip)
        assert last <= moment <= now_s + 1e-6
        last = moment


@given(times_s=st.lists(st.floats(allow_infinity=True, allow_nan=True) | st.none(), max_size=60))
def test_a_timeline_never_goes_back_nor_rests_longer_than_it_may(times_s: list[float | None]) -> None:
    timeline = Timeline(max_gap_s=10)
    places = [timeline.place(time_s) for time_s in times_s]
    assert all(0 <= after - before <= 10 + 1e-6 for before, after in itertools.pairwise(places))


@pytest.mark.parametrize("fps", [0, -1, float("inf"), float("nan")])
def test_a_rate_must_be_a_number_above_zero(fps: float) -> None:
    with pytest.raises(ValueError, match="fps"):
        PlaySchedule(fps, may_drop=False)
    with pytest.raises(ValueError, match="fps"):
        RateCap(fps)
