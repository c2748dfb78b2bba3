"""When a picture is due, when it was captured, and which ones are left out: pure, seconds come in as arguments.

Every open source has a `Pace`. It turns the stream's own time and the time of arrival into the picture's moment
on the machine's clock: a moment ahead is waited for, a moment that has passed is when the picture was captured.
What happens when nobody takes the pictures is `drop_queue`'s question.
"""

from __future__ import annotations

import math
from collections import deque
from enum import Enum
from typing import Final, Protocol

MAX_CATCH_UP_S: Final = 1.0
"""A source held up for longer (a broker restart) moves its schedule instead of sending a long burst."""
EARLY: Final = 0.45
"""Share of a period by which a picture may come early. Below a half, so that of two pictures at equal distance
from the due time always the later one is taken: a 30 frames/s clip at 15 keeps every other frame."""
STREAM_MAX_GAP_S: Final = 10.0
"""A longer gap in a stream's time, or one back, is a jump of its clock and no pause (FFmpeg's dts_delta_threshold)."""
FILE_MAX_GAP_S: Final = 3600.0
"""A file that states its length may stand still for long: the frames of a time-lapse, a camera that saw nothing."""
USUAL_STEP_S: Final = 0.04
MAX_DELAY_S: Final = 10.0
"""How long the shortest delay of a live stream is remembered, and so the most that a stamp lies in the past."""


class Skip(Enum):
    """Why a picture is left out."""

    THINNED = "the source is faster than the rate that was asked for"
    LATE = "it comes too late, and the source may drop"


class Pace(Protocol):
    """Places one source's pictures in time, in their order."""

    def place(self, time_s: float | None, now_s: float) -> float | Skip:
        """Return the picture's moment on the clock of `now_s`, or why it is left out.

        A moment above `now_s` is to be waited for. `time_s` is the stream's own time, None without one.
        """


class PlaySchedule:
    """Even due times for pictures without a time of their own: one period apart, or at once without a rate.

    State is the last due time and changes only in `place`.
    """

    def __init__(self, fps: float | None, *, may_drop: bool) -> None:
        """Start an unused schedule.

        Args:
            fps: frames per second, above 0; None is as fast as possible.
            may_drop: whether a picture that comes too late is left out (as a real camera's would be) or sent.

        Raises:
            ValueError: fps is not a number above 0.
        """
        self._period_s = _period_s(fps)
        self._may_drop = may_drop
        self._due_s: float | None = None

    def place(self, time_s: float | None, now_s: float) -> float | Skip:  # noqa: ARG002 - has no time
        """Return when the next picture is due, or LATE.

        The first picture is due at once and starts the schedule. A late one is due at once too, so that the
        mean rate holds, but no more than `MAX_CATCH_UP_S` is ever caught up.
        """
        if self._period_s is None:
            return now_s
        if self._due_s is None:
            self._due_s = now_s
            return now_s
        due_s = self._due_s + self._period_s
        behind_s = now_s - due_s
        if self._may_drop:
            self._due_s = due_s
            return Skip.LATE if behind_s > self._period_s else due_s
        self._due_s = max(due_s, now_s - MAX_CATCH_UP_S)
        return self._due_s


class RateCap:
    """Thins pictures out to at most `fps` a second, evenly, by their times.

    Times jitter, so a picture that comes a little early is taken as on time; the long-run rate stays at or
    below `fps`. State is the next due time and changes only in `admit`.
    """

    def __init__(self, fps: float | None) -> None:
        """Start an unused cap; None lets every picture through.

        Raises:
            ValueError: fps is not a number above 0.
        """
        self._period_s = _period_s(fps)
        self._due_s: float | None = None

    def admit(self, time_s: float) -> bool:
        """Return whether the picture of `time_s` is kept; times do not go back."""
        if self._period_s is None:
            return True
        if self._due_s is None:
            self._due_s = time_s
        early_s = EARLY * self._period_s
        if time_s < self._due_s - early_s:
            return False
        self._due_s = max(self._due_s, time_s - early_s) + self._period_s
        return True


class Timeline:
    """A stream's time without its jumps: seconds since its first picture, never back.

    A step back (a file that starts again, a counter that wraps) and a step above `max_gap_s` count as one usual
    step, as does a picture without a time.
    """

    def __init__(self, *, max_gap_s: float) -> None:
        self._max_gap_s = max_gap_s
        self._last_s: float | None = None
        self._usual_s = USUAL_STEP_S
        self._elapsed_s = 0.0

    def place(self, time_s: float | None, step_s: float | None = None) -> float:
        """Return the seconds since the first picture; `step_s` replaces a jump, else the usual step does."""
        if time_s is not None and not math.isfinite(time_s):
            time_s = None
        if self._last_s is None:
            self._last_s = time_s
            return self._elapsed_s
        step = self._max_gap_s + 1 if time_s is None else time_s - self._last_s
        if 0 <= step <= self._max_gap_s:
            self._usual_s = step if 0 < step <= 1 else self._usual_s
        else:
            step = self._usual_s if step_s is None else step_s
        self._last_s = self._last_s if time_s is None else time_s
        self._elapsed_s += step
        return self._elapsed_s


class Playback:
    """Plays a recorded or buffered stream in real time by its own times, thinned out to at most `fps`.

    A clip of 20 s lasts 20 s, whatever rate its header states.
    """

    def __init__(self, fps: float | None, *, max_gap_s: float, catch_up_s: float = MAX_CATCH_UP_S) -> None:
        """Start an unused playback.

        Args:
            fps: the most that is kept, None for every picture.
            max_gap_s: a longer gap in the stream's time is a jump.
            catch_up_s: how much lateness is caught up; what is later moves the rest.
        """
        self._timeline = Timeline(max_gap_s=max_gap_s)
        self._cap = RateCap(fps)
        self._catch_up_s = catch_up_s
        self._start_s: float | None = None

    def place(self, time_s: float | None, now_s: float) -> float | Skip:
        """Return when the picture is shown, or THINNED."""
        elapsed_s = self._timeline.place(time_s)
        if not self._cap.admit(elapsed_s):
            return Skip.THINNED
        if self._start_s is None:
            self._start_s = now_s - elapsed_s
        self._start_s = max(self._start_s, now_s - elapsed_s - self._catch_up_s)
        return self._start_s + elapsed_s


class LivePace:
    """A live camera: pictures leave as they arrive, capped to `fps` by the time at which they were captured.

    The network delays pictures, never hurries them. So a picture was captured at its stream time plus the
    shortest delay seen lately, and not later than it arrived. A stream without times, or whose clock jumps or
    runs wrong, is stamped by arrival.
    """

    def __init__(self, fps: float | None) -> None:
        self._cap = RateCap(fps)
        self._timeline = Timeline(max_gap_s=STREAM_MAX_GAP_S)
        self._delays: deque[tuple[float, float]] = deque()
        """(arrival, delay) of those that no later one undercuts: a sliding minimum."""
        self._last_arrival_s: float | None = None
        self._last_captured_s = -math.inf

    def place(self, time_s: float | None, now_s: float) -> float | Skip:
        """Return when the picture was captured, at most `now_s`, or THINNED."""
        captured_s = now_s if time_s is None else self._captured_s(time_s, now_s)
        self._last_captured_s = max(captured_s, self._last_captured_s)
        return self._last_captured_s if self._cap.admit(self._last_captured_s) else Skip.THINNED

    def _captured_s(self, time_s: float, now_s: float) -> float:
        since_last_s = None if self._last_arrival_s is None else now_s - self._last_arrival_s
        self._last_arrival_s = now_s
        elapsed_s = self._timeline.place(time_s, since_last_s)
        delay_s = now_s - elapsed_s
        while self._delays and self._delays[-1][1] >= delay_s:
            self._delays.pop()
        self._delays.append((now_s, delay_s))
        while self._delays[0][0] < now_s - MAX_DELAY_S:
            self._delays.popleft()
        return max(elapsed_s + self._delays[0][1], now_s - MAX_DELAY_S)


def _period_s(fps: float | None) -> float | None:
    if fps is not None and not (fps > 0 and math.isfinite(fps)):
        raise ValueError(f"fps {fps}: want a number above 0, or None for every picture")
    return None if fps is None else 1.0 / fps
