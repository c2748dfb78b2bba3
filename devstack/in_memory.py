"""A whole pipeline in this process: edge and server workers on topics and a store in memory. No port is opened."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from devstack.settings import Settings
from edge_workers.worker import EdgePorts, run_edge
from runtime.clock import Clock
from runtime.memory_kafka import MemoryBroker, MemorySink, MemorySource
from runtime.memory_store import MemoryStore
from runtime.site_clock import SiteClock
from runtime.stores import SiteStores
from schemas.dead_letter import dead_letter_from_headers
from schemas.frame import Frame, encode_frame
from schemas.label import Label, LabelState
from schemas.topics import dead_topic, frames_partition
from server_workers.sites import SiteRedis, Sites
from server_workers.worker import ServerPorts, run_server

FrameId = tuple[str, int]


class MemorySite:
    """One site's broker and store, and the workers that run on them.

    Its offload cluster is the same broker. Tests may make `broker` or `store` be away.
    """

    def __init__(self, settings: Settings) -> None:
        metrics = settings.metrics.model_copy(update={"port": None})
        self.settings = settings.model_copy(update={"metrics": metrics})
        self.broker = MemoryBroker(num_partitions=4)
        self.store = MemoryStore(settings.redis)
        self.frames: set[FrameId] = set()

    @asynccontextmanager
    async def running(self, *, edges: int = 1, servers: int = 1) -> AsyncIterator[None]:
        """So many workers of each role work inside; at the end they have drained and left.

        Raises:
            ExceptionGroup: a worker failed.
        """
        async with AsyncExitStack() as stack:
            for _ in range(servers):
                await stack.enter_async_context(self.server())
            for _ in range(edges):
                await stack.enter_async_context(self.edge())
            yield

    @asynccontextmanager
    async def edge(self) -> AsyncIterator[asyncio.Event]:
        """An edge worker works inside, until the event is set."""
        stop = asyncio.Event()
        async with _until_drained(run_edge(self.settings, stop, self.edge_ports), stop):
            yield stop

    @asynccontextmanager
    async def server(self) -> AsyncIterator[asyncio.Event]:
        """A server worker works inside, until the event is set."""
        stop = asyncio.Event()
        async with _until_drained(run_server(self.settings, stop, self.server_ports), stop):
            yield stop

    def put(self, frames: Iterable[Frame]) -> None:
        """The frames are in their topic, as producers put them there."""
        for frame in frames:
            partition = frames_partition(frame.camera, self.broker.num_partitions)
            self.broker.append(self.settings.topics.frames, partition, encode_frame(frame))
            self.frames.add((frame.camera, frame.seq))

    async def labels(self) -> dict[FrameId, Label]:
        """What the store holds of the frames that were put."""
        ids = sorted(self.frames)
        found = await self.store.get_many(ids)
        return {frame: label for frame, label in zip(ids, found, strict=True) if label is not None}

    async def settled(self, timeout_s: float) -> dict[FrameId, Label]:
        """The labels once every frame has one that does not change any more.

        Raises:
            TimeoutError: some have none after `timeout_s`.
        """
        async with asyncio.timeout(timeout_s):
            changes = await self.store.watch()
            pending = asyncio.ensure_future(anext(changes))
            try:
                while True:
                    labels = await self.labels()
                    if len(labels) == len(self.frames) and not any(
                        label.state is LabelState.PROVISIONAL for label in labels.values()
                    ):
                        return labels
                    await pending
                    pending = asyncio.ensure_future(anext(changes))
            finally:
                pending.cancel()
                await asyncio.wait([pending])
                await changes.aclose()

    def num_offloads(self) -> int:
        """Records in the site's offload topic."""
        return len(self.broker.records(self.settings.offload_topic))

    def refusals(self) -> Counter[str]:
        """Dead letters by their reason."""
        topics = (self.settings.topics.frames, self.settings.offload_topic)
        letters = [record for topic in topics for record in self.broker.records(dead_topic(topic))]
        return Counter(dead_letter_from_headers(record.headers).reason for record in letters)

    async def edge_ports(self, _: object, stack: AsyncExitStack) -> EdgePorts:
        """What `run_edge` is connected to."""
        source = MemorySource(
            self.broker, [self.settings.topics.frames], group_id=self.settings.edge.group_id
        )
        letters = await stack.enter_async_context(MemorySink(self.broker))
        offload = await stack.enter_async_context(MemorySink(self.broker))
        return EdgePorts(source, self.store, letters, offload)

    async def server_ports(self, _: object, clock: Clock, stack: AsyncExitStack) -> ServerPorts:
        """What `run_server` is connected to."""
        source = MemorySource(
            self.broker, [self.settings.offload_topic], group_id=self.settings.server.group_id
        )
        letters = await stack.enter_async_context(MemorySink(self.broker))
        return ServerPorts(source, sites_of(self.store, clock), letters)


def sites_of(store: SiteStores, clock: Clock) -> Sites:
    """All sites keep their labels in one store."""
    site_clock, now_s = SiteClock(), clock.monotonic_s()
    site_clock.learn(clock.time_ns(), now_s, now_s)
    return Sites(SiteRedis("default", store, site_clock), {})


@asynccontextmanager
async def _until_drained(work: object, stop: asyncio.Event) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        group.create_task(work)  # type: ignore[arg-type]
        yield
        stop.set()
