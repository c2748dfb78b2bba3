"""From an address to an open source; the only place that names the concrete sources."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from producers.address import Address, ImageFiles, Scenes
from producers.sources.captured import FrameSource
from producers.sources.image_files import ImageFolder
from producers.sources.video import Timeouts, Video
from schemas.errors import SourceError


def open_source(address: Address, *, fps: float | None, timeouts: Timeouts, max_pixels: int) -> FrameSource:
    """Return an open session with the source at `address`. Blocks: called from a capture thread.

    Args:
        address: where the pictures come from.
        fps: the rate that was asked for, which tells a renderer how far its scene moves between pictures.
        timeouts: for networks and devices.
        max_pixels: larger pictures that must be decoded are scaled down or refused.

    Raises:
        SourceError: it cannot be opened; one line, without credentials.
    """
    match address:
        case ImageFiles(path):
            return ImageFolder(path, max_pixels=max_pixels)
        case Scenes(seed, width, height):
            # The renderer draws with numpy and Pillow; a process without rendered cameras does not load it.
            opener: Callable[..., FrameSource] = _plugin("scenes").RenderedScenes
            return opener(seed, width, height, fps=fps)
        case _:
            return Video(address, timeouts=timeouts, max_pixels=max_pixels)


def _plugin(kind: str) -> Any:
    """The module that the entry point `kind` of the group `saccade.sources` names."""
    for found in entry_points(group="saccade.sources", name=kind):
        return found.load()
    raise SourceError(f"source kind {kind!r} is not part of this installation; install the whole package")
