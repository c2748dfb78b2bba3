"""A local camera device: `webcam:0` or `/dev/video0`."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import ClassVar, Final

from producers.sources.source import OpenOptions, Session
from producers.sources.video import VideoSession
from schemas.errors import SettingsError

FORM: Final = "webcam:0 or /dev/video0"
_DEVICE = re.compile(r"/dev/video\d+")
_FORMATS: Final = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}


@dataclass(frozen=True, slots=True)
class Webcam:
    """A local camera device, such as /dev/video0."""

    live: ClassVar[bool] = True
    self_paced: ClassVar[bool] = True

    device: str

    @property
    def shown(self) -> str:
        """The device."""
        return self.device

    def open(self, options: OpenOptions) -> Session:
        """Return an open session; `SourceError` where there is no such device."""
        return VideoSession(self, self.device, options, container=_FORMATS.get(sys.platform, "v4l2"))


def claims(text: str) -> bool:
    """Return whether `text` is written like a webcam."""
    return text.lower().startswith("webcam:") or _DEVICE.fullmatch(text) is not None


def parse(text: str) -> Webcam:
    """Return the webcam; `SettingsError` where its number is none."""
    _, colon, number = text.partition(":")
    if not colon:
        return Webcam(text)
    if not (number.isascii() and number.isdigit()):
        raise SettingsError(f"source {text!r}: want webcam:N with N = 0, 1, … (the N of /dev/videoN)")
    return Webcam(f"/dev/video{int(number)}")
