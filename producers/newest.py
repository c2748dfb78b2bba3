"""Which number of each camera is the newest in `frames`: cameras that ask together share one scan."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from schemas.errors import TransientError
from schemas.topics import frames_partition

MAX_SCANS: Final = 4
"""Partitions read at a time: each takes a connection and, for a camera that was never seen, the whole partition."""

Scan = Callable[[int, Collection[bytes]], Awaitable[dict[bytes, int]]]
"""Finds the newest number of each key in a partition."""


@dataclass(slots=True)
class _Asked:
    """Cameras that wait for the next scan of their partition."""

    keys: set[bytes]
    found: asyncio.Future[dict[bytes, int]]


class NewestNumbers:
    """Answers by scans that begin after the question; at most one at a time of a partition."""

    def __init__(self, scan: Scan, *, num_partitions: Callable[[], Awaitable[int]]) -> None:
        self._scan = scan
        self._num_partitions = num_partitions
        self._locks: dict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._at_a_time = asyncio.Semaphore(MAX_SCANS)
        self._asked: dict[int, _Asked] = {}

    async def __call__(self, camera: str) -> int | None:
        """Return the number of the camera's newest frame that the topic still holds, None without one.

        Raises:
            TransientError: Kafka does not answer, or the scan was cut short.
        """
        partition, key = frames_partition(camera, await self._num_partitions()), camera.encode()
        asked = self._asked.get(partition)
        if asked is not None:
            asked.keys.add(key)
            return (await asyncio.shield(asked.found)).get(key)
        asked = self._asked[partition] = _Asked({key}, asyncio.get_running_loop().create_future())
        try:
            return (await self._lead(partition, asked)).get(key)
        except BaseException as error:
            why = error if isinstance(error, TransientError) else TransientError("the scan was cut short")
            asked.found.set_exception(why)
            asked.found.exception()  # perhaps nobody else asked
            raise

    async def _lead(self, partition: int, asked: _Asked) -> dict[bytes, int]:
        try:
            async with self._locks[partition], self._at_a_time:
                del self._asked[partition]  # who asks from now on waits for the next scan
                found = await self._scan(partition, asked.keys)
        finally:
            if self._asked.get(partition) is asked:
                del self._asked[partition]
        asked.found.set_result(found)
        return found
