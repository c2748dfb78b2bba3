"""What people look at in a site's Redis: the newest labels of many cameras in one round trip, and what changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import stamina

from runtime.log import get_logger
from runtime.redis_store import RETRY, RedisStore, decoded
from schemas import redis_keys
from schemas.errors import SaccadeError, TransientError
from schemas.label import Label

_BLOCK_S = 1.0
"""The first label of a new camera is seen at most this late."""
_log = get_logger(__name__)


class SiteReader(RedisStore):
    """The label store with the reads of a page that shows many cameras."""

    async def latest_many(self, cameras: Sequence[str]) -> list[Label | None]:
        """The label of each camera's newest frame, None where there is none; one round trip."""
        keys = [redis_keys.camera(each) for each in cameras]
        try:
            return await self._labels_at(keys)
        except TransientError:
            raise
        except SaccadeError:  # one key holds something else: it does not hide the others
            return [await self._label_at(key) for key in keys]

    async def _label_at(self, key: str) -> Label | None:
        """One label; None, with a warning, where Redis refuses to read it."""
        try:
            (found,) = await self._labels_at([key])
        except TransientError:
            raise
        except SaccadeError as error:
            _log.warning("a label in Redis cannot be read", error=str(error))
            return None
        return found

    async def recent(self, camera: str, count: int) -> list[Label]:
        """The last `count` label changes of a camera, newest first."""
        with self._translated("XREVRANGE"):
            entries = await self._client.xrevrange(redis_keys.labels(camera), count=count)
        return [label for _, fields in entries if (label := decoded(fields)) is not None]

    async def batches(self, pause_s: float) -> AsyncGenerator[list[Label], None]:
        """Every label written from now on, of all cameras, each camera's in order, read once each `pause_s` at most.

        The first batch is empty: whatever is written after it comes. Rides out outages: what was written meanwhile
        follows. Cheaper than `watch` where labels are many, and later by `pause_s`.

        Where Redis refuses one camera's key for good, the others' labels come nevertheless.

        Raises:
            TransientError: Redis does not answer at the start.
        """
        positions = await self._ends_known(await self.cameras())
        yield []
        block_ms = round(1000 * min(_BLOCK_S, self._settings.timeout_s / 2))
        refused: set[str] = set()
        async for attempt in stamina.retry_context(**RETRY):
            with attempt:
                while True:
                    try:
                        with self._translated("XREAD"):
                            labels = await self._read_after(positions, block_ms=block_ms)
                    except TransientError:
                        raise
                    except SaccadeError:
                        labels = await self._read_apart(positions, refused)
                    if labels:
                        yield labels
                    await asyncio.sleep(pause_s)  # the bound of what reading costs, not a poll

    async def _ends_known(self, cameras: Sequence[str]) -> dict[str, str]:
        """Where each camera's stream ends now; without those that Redis refuses to read."""
        try:
            return await self._ends(cameras)
        except TransientError:
            raise
        except SaccadeError:
            if len(cameras) <= 1:
                return {}
            ends: dict[str, str] = {}
            for each in cameras:
                ends |= await self._ends_known([each])
            return ends

    async def _read_apart(self, positions: dict[str, str], refused: set[str]) -> list[Label]:
        """New entries, read camera by camera: one key that holds something else does not silence the others.

        `refused` are the cameras that were left out and told of.
        """
        labels: list[Label] = []
        for camera, place in list(positions.items()):
            mine = {camera: place}
            try:
                with self._translated("XREAD"):
                    labels += await self._read_after(mine, only=camera)
            except TransientError:
                raise
            except SaccadeError as error:
                # Whatever stream comes there again is a new one; and once the camera is listed no more, all is well.
                del positions[camera]
                if camera not in refused:
                    refused.add(camera)
                    _log.warning("a camera's labels cannot be read", camera=camera, error=str(error))
            else:
                positions |= mine
                refused.discard(camera)
        return labels
