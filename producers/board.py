"""What a producer's site is told of its cameras each second: `saccade cameras` and the page show it."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from producers.camera import CameraSpec
from producers.camera_stats import CameraStats
from runtime.log import get_logger
from schemas.camera_state import CameraState
from schemas.errors import TransientError

_log = get_logger(__name__)

RATE_WINDOW_S: Final = 10.0


class CameraBoard(Protocol):
    """The part of `runtime.stores.SiteStores` that tells of cameras; all raise `TransientError`."""

    async def publish_cameras(self, site: str, states: Sequence[CameraState]) -> None:
        """Readers see how these cameras of a site are."""

    async def forget_camera(self, site: str, camera: str) -> None:
        """Nobody is told of the camera any more."""


class StateTeller:
    """Tells a site's board how cameras are, with the rate at which they published of late."""

    def __init__(self, board: CameraBoard, site: str) -> None:
        self._board = board
        self._site = site
        self._published: defaultdict[str, deque[tuple[float, int]]] = defaultdict(deque)

    async def tell(self, cameras: Iterable[tuple[str, CameraSpec, CameraStats]], now_s: float) -> None:
        """The board shows the cameras as they are now; a board that does not answer is told the next time."""
        by_site: defaultdict[str, list[CameraState]] = defaultdict(list)
        for camera, spec, stats in cameras:
            fps = self._fps(camera, stats.published, now_s)
            by_site[spec.site_or(self._site)].append(
                stats.state(camera, spec.source.shown, fps=round(fps, 2))
            )
        try:
            for site, states in by_site.items():
                await self._board.publish_cameras(site, states)
        except TransientError as away:
            _log.debug("states of cameras not told", why=str(away))

    async def forget(self, camera: str, spec: CameraSpec) -> None:
        """The board shows a camera that was taken away no more."""
        self._published.pop(camera, None)
        try:
            await self._board.forget_camera(self._site if spec.site is None else spec.site, camera)
        except TransientError as away:
            _log.debug("a camera's state not taken back", camera=camera, why=str(away))

    def _fps(self, camera: str, published: int, now_s: float) -> float:
        counts = self._published[camera]
        counts.append((now_s, published))
        while now_s - counts[0][0] > RATE_WINDOW_S and len(counts) > 2:
            counts.popleft()
        began_s, before = counts[0]
        return (published - before) / (now_s - began_s) if now_s > began_s else 0.0
