"""What people look at in a site's Redis: the newest labels of many cameras in one round trip, and what changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import stamina

from runtime.redis_store import RETRY, RedisStore, decoded
from schemas import redis_keys
from schemas.label import Label

_BLOCK_S = 1.0
"""The first label of a new camera is seen at most this late."""


class SiteReader(RedisStore):
    """The label store with the reads of a page that shows many cameras."""

    async def latest_many(self, cameras: Sequence[str]) -> list[Label | None]:
        """The label of each camera's newest frame, None where there is none; one round trip."""
        return await self._labels_at([redis_keys.camera(each) for each in cameras])

    async def recent(self, camera: str, count: int) -> list[Label]:
        """The last `count` label changes of a camera, newest first."""
        with self._translated("XREVRANGE"):
            entries = await self._client.xrevrange(redis_keys.labels(camera), count=count)
        return [label for _, fields in entries if (label := decoded(fields)) is not None]

    async def batches(self, pause_s: float) -> AsyncGenerator[list[Label], None]:
        """Every label written from now on, of all cameras, each camera's in order, read once each `pause_s` at most.

        The first batch is empty: whatever is written after it comes. Rides out outages: what was written meanwhile
        follows. Cheaper than `watch` where labels are many, and later by `pause_s`.

        Raises:
            TransientError: Redis does not answer at the start.
        """
        positions = await self._ends(await self.cameras())
        yield []
        block_ms = round(1000 * min(_BLOCK_S, self._settings.timeout_s / 2))
        async for attempt in stamina.retry_context(**RETRY):
            with attempt, self._translated("XREAD"):
                while True:
                    labels = await self._read_after(positions, block_ms=block_ms)
                    if labels:
                        yield labels
                    await asyncio.sleep(pause_s)  # the bound of what reading costs, not a poll
