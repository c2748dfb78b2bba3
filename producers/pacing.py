"""When frames are due and which ones to leave out: pure, time in seconds comes in as an argument.

Files follow a `Schedule` (the capture thread waits until a frame is due); live cameras set their own pace and
a `RateCap` thins them out. What happens when nobody takes the frames is `drop_queue`'s question.
"""

from __future__ import annotations

import math
from typing import Final

MAX_CATCH_UP_S: Final = 1.0
"""A source held up for longer (a broker restart) moves its schedule instead of sending a long burst."""


class Thinning:
    """Leaves frames of a video out evenly, so that it plays in real time at a lower rate.

    Which frames are kept depends on their number alone: two runs keep the same ones.
    """

    def __init__(self, own_fps: float, fps: float) -> None:
        """Keep `fps` of every `own_fps` frames; all of them if `fps` is not below `own_fps`."""
        self._share = min(fps / own_fps, 1.0)
        self._num_seen = 0

    def keeps_next(self) -> bool:
        """Return whether the next frame is kept; the first always is."""
        before = math.ceil(self._num_seen * self._share)
        self._num_seen += 1
        return math.ceil(self._num_seen * self._share) > before


class Schedule:
    """Due times of a file's or renderer's frames: one period apart, or at once without a rate.

    State is the last due time and changes only in `place`.
    """

    def __init__(self, fps: float | None, *, may_drop: bool) -> None:
        """Start an unused schedule.

        Args:
            fps: frames per second, above 0; None is as fast as possible.
            may_drop: whether a frame that comes too late is left out (as a real camera's would be) or sent.

        Raises:
            ValueError: fps is not a number above 0.
        """
        if fps is not None and not (fps > 0 and math.isfinite(fps)):
            raise ValueError(f"fps {fps}: want a number above 0, or None for as fast as possible")
        self._period_s = None if fps is None else 1.0 / fps
        self._may_drop = may_drop
        self._due_s: float | None = None

    def place(self, now_s: float) -> float | None:
        """Return when the next frame is due (not after `now_s`: at once), or None to leave it out.

        The first frame is due at once and starts the schedule. A late frame is due at once too, so that the
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
            return None if behind_s > self._period_s else due_s
        self._due_s = max(due_s, now_s - MAX_CATCH_UP_S)
        return self._due_s


class RateCap:
    """Thins a live camera out to at most `fps` frames per second, evenly, without adding delay.

    A camera's frames jitter, so one that comes up to half a period early is taken as on time; the long-run
    rate stays at or below `fps`. State is the next due time and changes only in `admit`.
    """

    def __init__(self, fps: float | None) -> None:
        """Start an unused cap; None lets every frame through.

        Raises:
            ValueError: fps is not a number above 0.
        """
        if fps is not None and not (fps > 0 and math.isfinite(fps)):
            raise ValueError(f"fps {fps}: want a number above 0, or None for the camera's own rate")
        self._period_s = None if fps is None else 1.0 / fps
        self._due_s: float | None = None

    def admit(self, now_s: float) -> bool:
        """Return whether the frame that arrived at `now_s` is kept."""
        if self._period_s is None:
            return True
        if self._due_s is None:
            self._due_s = now_s
        if now_s < self._due_s - self._period_s / 2:
            return False
        self._due_s = max(self._due_s, now_s - self._period_s / 2) + self._period_s
        return True
