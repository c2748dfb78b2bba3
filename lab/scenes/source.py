"""Rendered scenes as a source: endless, seeded, each picture with its true class."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lab.scenes import SceneStream
from producers.sources.captured import Captured, RawImage

DEFAULT_FPS: Final = 5.0


class RenderedScenes:
    """The pictures of one rendered camera, from the first on."""

    def __init__(self, seed: int, width: int, height: int, *, fps: float | None) -> None:
        """Start the stream that `seed` fixes.

        Args:
            seed: which camera.
            width: pixels.
            height: pixels.
            fps: how far the scene moves between two pictures; None is `DEFAULT_FPS`.
        """
        self._fps = fps or DEFAULT_FPS
        self._stream = SceneStream(seed, width=width, height=height, fps=self._fps)

    @property
    def fps(self) -> float | None:
        """The rate at which the scene moves at its natural speed."""
        return self._fps

    def __iter__(self) -> Iterator[Captured]:
        for pixels, truth in self._stream:
            yield Captured(RawImage(pixels), truth=truth)

    def close(self) -> None:
        """Nothing is held open."""
