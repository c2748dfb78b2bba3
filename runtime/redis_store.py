"""Labels in Redis: which one wins, reading them back, and watching them change.

The stream of a camera is the truth about what changed; Pub/Sub only wakes those who read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, Final

import msgpack
import stamina

from runtime.log import get_logger
from runtime.redis_connection import FROM_START, ScriptCall
from runtime.redis_coordination import Coordination
from runtime.redis_scripts import PUT_LABELS
from runtime.traces import TracePart, readable_trace
from schemas import redis_keys
from schemas.errors import DecodeError, TransientError
from schemas.label import Label, label_fields, label_from_fields
from schemas.trace import Trace
from schemas.win_rule import PutResult

_PAGE_ENTRIES = 500
_WAKE_TIMEOUT_S = 1.0
"""A lost wake-up costs a watcher at most this long."""
_PUT_LABELS = 64
"""Labels that one call of the script may hold: Redis serves nobody else meanwhile."""
RETRY: Final[dict[str, Any]] = {
    "on": TransientError,
    "attempts": None,
    "timeout": None,
    "wait_initial": 0.1,
    "wait_max": 2.0,
}
"""How a reader that never ends rides out an outage."""
_log = get_logger(__name__)


class RedisStore(Coordination):
    """All that a site remembers (`runtime.stores.SiteStores`), in one Redis.

    Every method raises `TransientError` when it does not answer.
    """

    async def put(self, labels: Sequence[Label]) -> list[PutResult]:
        """Each label was judged by the win rule in turn and, if it won, written with its stream entry.

        One round trip. Nothing overwrites a final label, a provisional one overwrites nothing, a server's
        label is refused after deadline and grace. Doing it again changes nothing.

        Raises:
            TransientError: Redis does not answer; some labels may have been written.
        """
        if not labels:
            return []
        parts = [labels[start : start + _PUT_LABELS] for start in range(0, len(labels), _PUT_LABELS)]
        answers = await self._run(PUT_LABELS, [self._put_call(part) for part in parts])
        return [PutResult(answer) for verdicts in answers for answer in verdicts]

    def _put_call(self, labels: Sequence[Label]) -> ScriptCall:
        ttl_s = self._settings.label_ttl_s
        limits = [
            ttl_s,
            self._settings.stream_max_len,
            max(ttl_s, redis_keys.STREAM_TTL_S),
            redis_keys.CAMERA_TTL_S,
            redis_keys.MAX_CAMERAS,
            self._settings.deadline_grace_ms,
        ]
        keys = [redis_keys.CAMERAS, redis_keys.WAKE]
        for label in labels:
            keys += [
                redis_keys.label(label.camera, label.seq),
                redis_keys.labels(label.camera),
                redis_keys.camera(label.camera),
            ]
        fields = [[part for pair in label_fields(label).items() for part in pair] for label in labels]
        return keys, [msgpack.packb([*limits, *fields])]

    async def get(self, camera: str, seq: int) -> Label | None:
        """The label of one frame, None without one."""
        return (await self.get_many([(camera, seq)]))[0]

    async def get_many(self, frames: Sequence[tuple[str, int]]) -> list[Label | None]:
        """The label of each frame (camera, seq), None without one; in one round trip."""
        return await self._labels_at([redis_keys.label(camera, seq) for camera, seq in frames])

    async def _labels_at(self, keys: Sequence[str]) -> list[Label | None]:
        """The label that each hash holds, None without one; in one round trip."""
        if not keys:
            return []
        with self._translated("HGETALL"):
            async with self._client.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.hgetall(key)
                found = await pipe.execute()
        return [decoded(fields) if fields else None for fields in found]

    async def put_traces(self, parts: Sequence[TracePart]) -> None:
        """Each part stands in its frame's trace, for `TRACE_TTL_S` from the last one; one round trip.

        Raises:
            TransientError: Redis does not answer.
        """
        with self._translated("HSET"):
            async with self._client.pipeline(transaction=False) as pipe:
                for each in parts:
                    key = redis_keys.trace(each.camera, each.seq)
                    pipe.hset(key, each.part, each.text)
                    pipe.expire(key, redis_keys.TRACE_TTL_S)
                await pipe.execute()

    async def trace(self, camera: str, seq: int) -> Trace:
        """What is kept of one frame's way; parts that are missing or cannot be read are None."""
        with self._translated("HGETALL"):
            found = await self._client.hgetall(redis_keys.trace(camera, seq))
        return readable_trace(found)

    async def cameras(self) -> list[str]:
        """The cameras that had a label within `CAMERA_TTL_S`, sorted; the latest `MAX_CAMERAS` of them."""
        with self._translated("ZRANGE"):
            return sorted(await self._client.zrange(redis_keys.CAMERAS, 0, -1))

    async def newest_seq(self, camera: str) -> int | None:
        """The highest sequence number that has a label, None for an unknown camera."""
        with self._translated("HGET"):
            found = await self._client.hget(redis_keys.camera(camera), "seq")
        return None if found is None else int(found)

    async def latest(self, camera: str) -> Label | None:
        """The label of the camera's newest frame, None for an unknown camera."""
        return (await self._labels_at([redis_keys.camera(camera)]))[0]

    async def history(self, camera: str) -> AsyncIterator[Label]:
        """Every label change that the camera's stream still holds, oldest first."""
        after = "-"
        while True:
            with self._translated("XRANGE"):
                entries = await self._client.xrange(redis_keys.labels(camera), min=after, count=_PAGE_ENTRIES)
            for label in _labels_of(entries):
                yield label
            if len(entries) < _PAGE_ENTRIES:
                return
            after = f"({entries[-1][0]}"

    async def watch(self, camera: str | None = None) -> AsyncGenerator[Label, None]:
        """Every label written after the call, of one camera or all, each camera's in order; never ends.

        Rides out outages: what was written meanwhile follows.

        Raises:
            TransientError: Redis does not answer at the start.
        """
        return self._changes(await self._ends([camera] if camera else await self.cameras()), camera)

    async def _changes(self, positions: dict[str, str], camera: str | None) -> AsyncGenerator[Label, None]:
        """New entries of all streams after `positions`, through every outage."""
        async for attempt in stamina.retry_context(**RETRY):
            with attempt, self._translated("watch"):
                async with self._client.pubsub(ignore_subscribe_messages=True) as wakes:
                    await wakes.subscribe(redis_keys.WAKE)
                    async for label in self._follow(positions, wakes, only=camera):
                        yield label

    async def _ends(self, cameras: Sequence[str]) -> dict[str, str]:
        """Where each camera's stream ends now."""
        with self._translated("XREVRANGE"):
            async with self._client.pipeline(transaction=False) as pipe:
                for each in cameras:
                    pipe.xrevrange(redis_keys.labels(each), count=1)
                newest = await pipe.execute()
        return {
            each: found[0][0] if found else FROM_START for each, found in zip(cameras, newest, strict=True)
        }

    async def _follow(
        self, positions: dict[str, str], wakes: Any, *, only: str | None
    ) -> AsyncIterator[Label]:
        """New entries of all streams, again and again; `positions` moves on with what was yielded."""
        while True:
            found = await self._read_after(positions, only=only)
            for label in found:
                yield label
            if not found:
                await _next_wake(wakes, only)

    async def _read_after(
        self, positions: dict[str, str], *, only: str | None = None, block_ms: int | None = None
    ) -> list[Label]:
        """New entries of all streams, each camera's in order; `positions` moves on. May wait for the first.

        A camera that is not listed any more keeps its position until nothing of it is left to read.
        """
        listed = [only] if only else await self.cameras()
        for each in listed:
            positions.setdefault(each, FROM_START)
        cameras = {redis_keys.labels(each): each for each in positions}
        streams = {key: positions[each] for key, each in cameras.items()}
        found = await self._client.xread(streams, count=_PAGE_ENTRIES, block=block_ms) if streams else []
        for key, entries in found:
            positions[cameras[key]] = entries[-1][0]
        if len(positions) > len(listed):
            for each in positions.keys() - set(listed) - {cameras[key] for key, _ in found}:
                del positions[each]
        return [label for _, entries in found for label in _labels_of(entries)]


async def _next_wake(wakes: Any, only: str | None) -> None:
    """Returns at a wake-up of `only` (None = any camera), or after a while; takes all that wait."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + _WAKE_TIMEOUT_S
    while (left_s := until_s - loop.time()) > 0:
        message = await wakes.get_message(timeout=left_s)
        if message is not None and only in (None, message["data"]):
            break
    while await wakes.get_message(timeout=0.0) is not None:
        pass


def decoded(fields: dict[str, str]) -> Label | None:
    """The label of a hash; None, and a warning, where it cannot be read."""
    try:
        return label_from_fields(fields)
    except DecodeError as error:
        _log.warning("a label in Redis cannot be read", error=str(error))
        return None


def _labels_of(entries: Sequence[tuple[str, dict[str, str]]]) -> list[Label]:
    return [label for _, fields in entries if (label := decoded(fields)) is not None]
