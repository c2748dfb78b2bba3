"""Frames for teaching, gathered while the page runs: follows the site's labels, fetches what is in doubt, keeps it.

One frame a second at most is fetched, whatever the number of cameras; each camera has its turn.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from page.frames import FrameWindow
from page.keeping import Doubt, Doubts, Reason, doubt_of
from page.kept_frames import KeptFrames, Outcome
from page.labels import FollowedLabels
from runtime.log import get_logger
from schemas.errors import DecodeError, TransientError
from schemas.label import Label

PACE_S: Final = 1.0
MAX_NAMES: Final = 5_000
_RETRY_S: Final = 1.0
_log = get_logger(__name__)


class Harvest:
    """Keeps frames of one site.

    State: the doubts that wait, the class names that labels had, and how many frames were left out, by cause.
    """

    def __init__(
        self, labels: FollowedLabels, window: FrameWindow, kept: KeptFrames, *, max_confidence: float
    ) -> None:
        self.kept = kept
        self.names: set[str] = set()
        self.left_out: Counter[str] = Counter()
        self._labels = labels
        self._window = window
        self._doubts = Doubts(max_confidence)
        self._seen = asyncio.Event()

    async def run(self) -> None:
        """Gathers until cancelled; rides out outages of the broker and of the disk."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="doubts")
            group.create_task(self._gather(), name="harvest")

    async def mark(self, label: Label) -> bool:
        """A person wants this frame kept; False where `frames` holds it no more, or there is no room.

        Raises:
            TransientError: the broker does not answer, or the disk is full.
            DecodeError: the frame is no picture.
        """
        outcome = await self._keep(doubt_of(None, label, Reason.MARKED))
        return outcome in (Outcome.KEPT, Outcome.KNOWN)

    async def _follow(self) -> None:
        async with self._labels.following() as followed:
            while True:
                for label in await followed.get():
                    if label.name and len(self.names) < MAX_NAMES:
                        self.names.add(label.name)
                    self._doubts.see(label)
                self._seen.set()

    async def _gather(self) -> None:
        doubt: Doubt | None = None
        while True:
            doubt = doubt or self._doubts.take()
            if doubt is None:
                self._seen.clear()
                await self._seen.wait()
                continue
            try:
                outcome = await self._keep(doubt)
                if outcome not in (Outcome.KEPT, Outcome.KNOWN):
                    self.left_out[outcome or "not_held"] += 1
            except DecodeError:
                self.left_out["undecodable"] += 1
            except TransientError as error:
                _log.warning("no frames are kept for now", error=str(error))
                await asyncio.sleep(_RETRY_S)  # neither the broker nor the disk tells when it is back
                continue
            doubt = None
            await asyncio.sleep(PACE_S)  # the bound of what gathering costs, not a poll

    async def _keep(self, doubt: Doubt) -> Outcome | None:
        """None where `frames` holds the frame no more."""
        frame = await self._window.find(doubt.camera, doubt.seq, doubt.captured_ns)
        if frame is None:
            return None
        thumbnail = await self._window.thumbnail(frame)
        return await asyncio.to_thread(self.kept.keep, doubt, frame, thumbnail)
