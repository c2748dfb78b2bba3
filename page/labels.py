"""A site's labels, read once for everything in the page that follows them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from runtime.log import get_logger
from schemas.errors import SaccadeError
from schemas.label import Label

READ_S = 0.2
"""Labels are read this often at most, however many come."""
_MAX_BATCHES = 256
"""A follower may be so far behind: the events' engine reads the past of every camera first."""
_RETRY_S = 1.0
_log = get_logger(__name__)


class LabelBatches(Protocol):
    """What `runtime.redis_reader.SiteReader` reads for it."""

    def batches(self, pause_s: float) -> AsyncIterator[list[Label]]:
        """The labels written from now on; the first batch is empty."""
        ...


class FollowedLabels(Protocol):
    """What followers need of `SharedLabels`."""

    def following(self) -> AbstractAsyncContextManager[asyncio.Queue[list[Label]]]:
        """Where every label comes that is written inside the block, each camera's in order."""
        ...


class SharedLabels:
    """Hands each batch of labels to all who follow; the slowest of them sets the pace.

    State: a queue for each follower, and whether reading has begun.
    """

    def __init__(self, store: LabelBatches) -> None:
        self._store = store
        self._queues: set[asyncio.Queue[list[Label]]] = set()
        self._begun = asyncio.Event()

    async def run(self) -> None:
        """Reads until cancelled; rides out outages of Redis."""
        while True:
            try:
                async for labels in self._store.batches(READ_S):
                    self._begun.set()
                    for queue in list(self._queues):
                        await queue.put(labels)
            except SaccadeError as error:  # also what Redis refuses, such as a key that holds something else
                _log.warning("no labels for now", error=str(error))
                await asyncio.sleep(_RETRY_S)  # Redis tells nobody when it is back

    @asynccontextmanager
    async def following(self) -> AsyncIterator[asyncio.Queue[list[Label]]]:
        """Where every label comes that is written inside the block, each camera's in order."""
        queue: asyncio.Queue[list[Label]] = asyncio.Queue(_MAX_BATCHES)
        self._queues.add(queue)
        try:
            await self._begun.wait()
            yield queue
        finally:
            self._queues.discard(queue)
            while not queue.empty():
                queue.get_nowait()  # `run` may wait for a place
