"""What people look at in a site's Redis: the newest labels of many cameras in one round trip, and wake-ups."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from runtime.redis_store import RedisStore, decoded
from schemas import redis_keys
from schemas.label import Label

_WAKE_TIMEOUT_S = 5.0


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

    async def wakes(self) -> AsyncIterator[str]:
        """The id of each camera whose label changes, from now on. Raises `TransientError` when Redis goes."""
        with self._translated("SUBSCRIBE"):
            async with self._client.pubsub(ignore_subscribe_messages=True) as wakes:
                await wakes.subscribe(redis_keys.WAKE)
                while True:
                    message = await wakes.get_message(timeout=_WAKE_TIMEOUT_S)
                    if message is not None:
                        yield message["data"]
