"""A video file, played in real time by its own times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from producers.sources.source import OpenOptions, Session
from producers.sources.video import VideoSession

FORM: Final = "a video file"


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video file."""

    live: ClassVar[bool] = False
    self_paced: ClassVar[bool] = False

    path: Path

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.path)

    def open(self, options: OpenOptions) -> Session:
        """Return an open session; `SourceError` where the file cannot be read or has no video."""
        # Without the scheme FFmpeg takes a name with a colon (2024-05-01T12:30:00.mp4) for a URL.
        modified_ns = self.path.stat().st_mtime_ns if self.path.exists() else None
        return VideoSession(self, f"file:{self.path}", options, modified_ns=modified_ns)


def claims(text: str) -> bool:
    """Return whether a file lies at this path."""
    return Path(text).expanduser().is_file()


def parse(text: str) -> VideoFile:
    """Return the file."""
    return VideoFile(Path(text).expanduser())
