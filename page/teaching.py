"""The page's addresses for teaching: frames that are kept, labels for them, marking one more.

The guard of `page.app` has let the request through: whoever changes something may.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from page.feed import PageStore
from page.harvest import Harvest
from page.kept_frames import SHOWN
from page.requests import integer, json_of, picture, refusal
from schemas.errors import SaccadeError
from schemas.limits import MAX_SEQ

MAX_LABELS: Final = 1_000
MAX_LABEL_CHARS: Final = 256
_NOT_KEPT: Final = "this frame is not kept any more: there was no room"


class Teaching:
    """The handlers; without a harvest each says how to have one."""

    def __init__(self, harvest: Harvest | None, store: PageStore) -> None:
        self._harvest = harvest
        self._store = store

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route("/api/kept", self.kept),
            Route("/api/kept/thumbnail", self.thumbnail),
            Route("/api/kept/image", self.image),
            Route("/api/kept/label", self.label, methods=["POST"]),
            Route("/api/kept/mark", self.mark, methods=["POST"]),
        ]

    async def kept(self, request: Request) -> Response:
        """Frames kept for teaching: those to `show`, counts of each camera, class names, and what was left out."""
        harvest = self._keeping()
        show = request.query_params.get("show", "open")
        if show not in SHOWN:
            raise SaccadeError(f"show: {show!r:.40}, want one of {', '.join(SHOWN)}")
        limit = integer(request.query_params, "count", 200, 1, 1_000)
        frames = await asyncio.to_thread(harvest.kept.frames, show, limit=limit)
        names = harvest.names | await asyncio.to_thread(harvest.kept.names)
        return JSONResponse(
            {
                "frames": [asdict(each) for each in frames],
                "cameras": await asyncio.to_thread(harvest.kept.counts),
                "max_bytes": harvest.kept.max_bytes,
                "classes": sorted(names),
                "left_out": harvest.left_out,
            }
        )

    async def thumbnail(self, request: Request) -> Response:
        """A kept frame as a small JPEG."""
        found = await asyncio.to_thread(self._keeping().kept.thumbnail, _kept_id(request))
        return refusal(404, _NOT_KEPT) if found is None else picture(found, "jpeg")

    async def image(self, request: Request) -> Response:
        """A kept frame as its producer encoded it."""
        found = await asyncio.to_thread(self._keeping().kept.image, _kept_id(request))
        return refusal(404, _NOT_KEPT) if found is None else picture(found[1], found[0])

    async def label(self, request: Request) -> Response:
        """Kept frames get labels; the answer, sent here again, takes it back."""
        harvest = self._keeping()
        labels = _labels(await json_of(request))
        before = await asyncio.to_thread(harvest.kept.label, labels)
        return JSONResponse({"labels": before})

    async def mark(self, request: Request) -> Response:
        """A frame that a person wants kept is."""
        harvest = self._keeping()
        body = await json_of(request)
        camera, seq = str(body.get("camera", "")), integer(body, "seq", 0, 0, MAX_SEQ)
        label = await self._store.get(camera, seq)
        if label is None or not await harvest.mark(label):
            return refusal(404, "not kept: the frame is not held any more, or there is no room")
        return JSONResponse({"kept": True})

    def _keeping(self) -> Harvest:
        if self._harvest is None:
            raise SaccadeError("no frames are kept for teaching: start the page with --harvest FILE")
        return self._harvest


def _kept_id(request: Request) -> int:
    return integer(request.query_params, "id", 0, 0, MAX_SEQ)


def _labels(body: Mapping[str, Any]) -> dict[int, str | None]:
    """The frames' ids and labels in `{"labels": {ID: NAME or null}}`."""
    labels = body.get("labels")
    if not isinstance(labels, dict) or len(labels) > MAX_LABELS:
        raise SaccadeError(f"labels: want an object of at most {MAX_LABELS} frames")
    return {integer({"id": key}, "id", 0, 0, MAX_SEQ): _name(value) for key, value in labels.items()}


def _name(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_LABEL_CHARS or not value.isprintable():
        raise SaccadeError(
            f"labels: {value!r:.40}, want a name of at most {MAX_LABEL_CHARS} printable characters"
        )
    return value.strip()
