"""Rendered scenes as a source: endless, seeded, each picture with its true class.

A plug-in of the producers (entry point `scenes` of the group `saccade.sources`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from lab.scenes.seeds import TEST_SEEDS
from lab.scenes.stream import SceneStream
from producers.pacing import Pace, PlaySchedule
from producers.sources.source import Captured, OpenOptions, RawImage, Session
from schemas.errors import SettingsError

FORM: Final = "scenes:SEED[?width=640&height=480&live=false]"
DEFAULT_FPS: Final = 5.0
_MIN_SIDE, _MAX_SIDE = 64, 7680


@dataclass(frozen=True, slots=True)
class Scenes:
    """A rendered camera: the same seed and size give the same pictures with the same truth.

    `live` makes it count as a live camera, whose frames can grow too old.
    """

    seed: int
    width: int
    height: int
    live: bool = False

    @property
    def shown(self) -> str:
        """The source as it is written."""
        return f"scenes:{self.seed}?width={self.width}&height={self.height}"

    @property
    def self_paced(self) -> bool:
        """Never: it renders when it is asked."""
        return False

    def open(self, options: OpenOptions) -> Session:
        """Return the camera from its first picture on."""
        return RenderedScenes(self, fps=options.fps)


def claims(text: str) -> bool:
    """Return whether `text` is written like rendered scenes."""
    return text.startswith("scenes:")


def parse(text: str) -> Scenes:
    """Return the camera; `SettingsError` where seed, size or an option is wrong."""
    seed_text, _, query = text.removeprefix("scenes:").partition("?")
    seed = _integer(text, "seed", seed_text, 0, TEST_SEEDS[-1])
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise SettingsError(f"source {text!r}: want KEY=VALUE pairs joined by & after the ?") from None
    unknown = sorted(options.keys() - {"width", "height", "live"})
    if unknown:
        raise SettingsError(f"source {text!r}: unknown option {unknown[0]!r}; known are width, height, live")
    live = options.get("live", "false")
    if live not in {"true", "false"}:
        raise SettingsError(f"source {text!r}: live is {live!r}, want true or false")
    return Scenes(
        seed=seed,
        width=_integer(text, "width", options.get("width", "640"), _MIN_SIDE, _MAX_SIDE),
        height=_integer(text, "height", options.get("height", "480"), _MIN_SIDE, _MAX_SIDE),
        live=live == "true",
    )


class RenderedScenes:
    """The pictures of one rendered camera, from the first on."""

    def __init__(self, scenes: Scenes, *, fps: float | None) -> None:
        """Start the stream; `fps` tells how far the scene moves between two pictures, None is `DEFAULT_FPS`."""
        self._live = scenes.live
        self._stream = SceneStream(
            scenes.seed, width=scenes.width, height=scenes.height, fps=fps or DEFAULT_FPS
        )

    def pace(self, fps: float | None) -> Pace:
        """One picture a period; a live camera leaves out what it could not render in time."""
        return PlaySchedule(fps, may_drop=self._live)

    def __iter__(self) -> Iterator[Captured]:
        for pixels, truth in self._stream:
            yield Captured(RawImage(pixels), truth=truth)

    def close(self) -> None:
        """Nothing is held open."""


def _integer(source: str, name: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise SettingsError(f"source {source!r}: {name} is {text!r}, want an integer in [{low}, {high}]")
    return int(text)
