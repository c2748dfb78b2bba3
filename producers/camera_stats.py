"""What became of a camera's frames, by cause: counted by capture threads and the event loop alike, then told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Protocol

from producers.trouble import Trouble, trouble_of
from schemas.camera_state import CameraState
from schemas.errors import SourceError


class Cause(StrEnum):
    """Why a frame was not published."""

    QUEUE_FULL = "queue_full"
    """Nobody took it in time, and the drop policy chose it."""
    LATE = "late"
    """A paced source fell behind its schedule and may drop."""
    UNREADABLE = "unreadable"
    """The file or packet is damaged."""
    TOO_LARGE = "too_large"
    """It could not be brought below max_frame_bytes."""
    REFUSED = "refused"
    """Kafka does not take it, whatever one does."""
    UNACKNOWLEDGED = "unacknowledged"
    """Handed to Kafka, but not acknowledged before the drain's end; it may or may not be in the topic."""


class StatsSink(Protocol):
    """Where one camera's counts also go; every call is thread-safe."""

    def published(self, num_bytes: int) -> None:
        """Count one acknowledged frame of `num_bytes`."""

    def dropped(self, cause: str) -> None:
        """Count one frame that was not published."""

    def connected(self, up: bool) -> None:
        """State whether the source gives frames now."""

    def reconnected(self) -> None:
        """Count one lost session."""

    def frozen(self, yes: bool) -> None:
        """State whether the source gives the same picture again and again."""

    def troubled(self, trouble: str) -> None:
        """Count one error by its name."""


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """One camera's counts: captured = published + everything dropped.

    `thinned` frames were left out because the camera is faster than its `fps`; they count as not captured.
    `error` is why the camera ended early, or empty.
    """

    captured: int
    published: int
    published_bytes: int
    dropped: dict[str, int]
    thinned: int
    reconnects: int
    error: str

    def to_json(self) -> dict[str, object]:
        """Return the counts as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ProducerSummary:
    """Counts of every camera, by camera id."""

    cameras: dict[str, CameraSummary]

    @property
    def published(self) -> int:
        """Frames that Kafka acknowledged."""
        return sum(camera.published for camera in self.cameras.values())

    @property
    def dropped(self) -> dict[str, int]:
        """Dropped frames of all cameras by cause, without the causes that did not occur."""
        total: Counter[str] = Counter()
        for camera in self.cameras.values():
            total.update(camera.dropped)
        return dict(total)

    @property
    def errors(self) -> dict[str, str]:
        """The cameras that ended early, and why."""
        return {name: camera.error for name, camera in self.cameras.items() if camera.error}

    def to_json(self) -> dict[str, object]:
        """Return the totals and each camera's counts as JSON values."""
        return {
            "published": self.published,
            "dropped": self.dropped,
            "cameras": {name: camera.to_json() for name, camera in self.cameras.items()},
        }

    def __str__(self) -> str:
        lines = []
        for name, camera in self.cameras.items():
            dropped = ", ".join(f"{count} {cause}" for cause, count in sorted(camera.dropped.items()))
            lines.append(
                f"{name}: {camera.published} published of {camera.captured}, dropped: {dropped or 'none'}"
                + (f", {camera.reconnects} reconnects" if camera.reconnects else "")
                + (f" ({camera.error})" if camera.error else "")
            )
        return "\n".join(lines)


class CameraStats:
    """One camera's counts. `_lock` guards all of them."""

    def __init__(self, metrics: StatsSink) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        self._dropped: Counter[str] = Counter()
        self._published = 0
        self._published_bytes = 0
        self._pending = 0
        self._reconnects = 0
        self._thinned = 0
        self._last_trouble: tuple[Trouble, str, int] | None = None
        self._state = "starting"
        self._frozen = False
        self._last_frame_ns = 0
        self.error = ""

    @property
    def published(self) -> int:
        """Frames that Kafka acknowledged."""
        return self._published

    @property
    def pending(self) -> int:
        """Frames handed to Kafka and not yet acknowledged."""
        return self._pending

    def dropped(self, cause: Cause) -> int:
        """Count a lost frame; return how many this camera has lost to the same cause."""
        with self._lock:
            self._dropped[cause.value] += 1
            count = self._dropped[cause.value]
        self._metrics.dropped(cause.value)
        return count

    def unreadable(self, why: str) -> int:
        """Count a picture that could not be read, and remember why; return as `dropped` does."""
        self.troubled(Trouble.UNREADABLE, why)
        return self.dropped(Cause.UNREADABLE)

    def thinned(self) -> None:
        """Count a frame that the camera's rate leaves out."""
        with self._lock:
            self._thinned += 1

    def sent(self) -> None:
        """Count a frame that Kafka's client holds."""
        with self._lock:
            self._pending += 1

    def acknowledged(self, num_bytes: int) -> None:
        """Count a frame that was sent as published."""
        with self._lock:
            self._pending -= 1
            self._published += 1
            self._published_bytes += num_bytes
            self._last_frame_ns = time.time_ns()
        self._metrics.published(num_bytes)

    def failed(self, cause: Cause) -> int:
        """Count a frame that was sent as lost; return as `dropped` does."""
        with self._lock:
            self._pending -= 1
        return self.dropped(cause)

    def connected(self, up: bool) -> None:
        """State whether the source gives frames now."""
        with self._lock:
            self._state = "online" if up else "starting"
        self._metrics.connected(up)

    def frozen(self, yes: bool, why: str) -> bool:
        """State whether the source gives the same picture again and again; return whether that is news."""
        with self._lock:
            is_news = yes != self._frozen
            self._frozen = yes
        if is_news and yes:
            self.troubled(Trouble.FROZEN, why)
        if is_news:
            self._metrics.frozen(yes)
        return is_news

    def is_over(self, state: str) -> None:
        """The camera gives no more frames: `state` is ended or failed."""
        with self._lock:
            self._state = state

    def lost(self, error: SourceError) -> None:
        """Count a session that ended without being asked to, and why."""
        with self._lock:
            self._reconnects += 1
            self._state = "waiting"
        self.troubled(trouble_of(error), str(error))
        self._metrics.reconnected()

    def troubled(self, trouble: Trouble, why: str) -> None:
        """Remember what last kept the camera from giving frames, and when; counted by name."""
        with self._lock:
            self._last_trouble = (trouble, why, time.time_ns())
        self._metrics.troubled(trouble.value)

    def state(self, camera: str, source: str, *, fps: float) -> CameraState:
        """Return what the site is told of the camera now; `fps` is its measured rate."""
        with self._lock:
            trouble, message, error_ns = self._last_trouble or ("", "", 0)
            return CameraState(
                camera=camera,
                state="frozen" if self._frozen and self._state == "online" else self._state,
                source=source,
                told_ns=time.time_ns(),
                fps=fps,
                last_frame_ns=self._last_frame_ns,
                published=self._published,
                restarts=self._reconnects,
                dropped=dict(self._dropped),
                error=str(trouble),
                message=message,
                error_ns=error_ns,
            )

    def summary(self) -> CameraSummary:
        """Return the counts; what is still pending is in none of them."""
        with self._lock:
            dropped = dict(self._dropped)
            return CameraSummary(
                captured=self._published + sum(dropped.values()),
                published=self._published,
                published_bytes=self._published_bytes,
                dropped=dropped,
                thinned=self._thinned,
                reconnects=self._reconnects,
                error=self.error,
            )


def is_landmark(count: int) -> bool:
    """Return whether the first, tenth, hundredth … of something is worth a line in the log."""
    return str(count).strip("0") == "1"
