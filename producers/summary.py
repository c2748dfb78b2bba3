"""What `run_producers` hands back: each camera's counts, for people and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass


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
        return {
            "captured": self.captured,
            "published": self.published,
            "published_bytes": self.published_bytes,
            "dropped": self.dropped,
            "thinned": self.thinned,
            "reconnects": self.reconnects,
            "error": self.error,
        }


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
