"""One idempotent producer of aiokafka, from its making to its end, and all that is known of its insides.

What aiokafka (0.14) does and this module relies on, read in its source: an idempotent producer never gives up a
batch while the broker is away; it counts a partition's sequence up when it takes a batch from its queue and never
back. So the first batch that the broker refuses leaves a gap in the sequence, and everything after it in that
partition is refused too: the producer is of no more use. `runtime/kafka_sink.py` then begins the next one. And while
a partition has no leader, or its topic is away, it asks the cluster for them again at once, without a pause.

A client that is closed has nobody left who asks the cluster, and whoever waits for what the cluster says, waits for
ever: a request that is to go once more, and a sender of ours that looks for a topic.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import ProducerClosed

from runtime.connections import KafkaSettings
from runtime.kafka_connection import RecordRefused, connection_arguments, ended, stop
from runtime.tcp_info import WireCounter

MAX_BATCH_BYTES = 128 * 1024

Partition = int | Callable[[int], int] | None
"""A number, a choice among the topic's number of partitions, or the library's choice by the key."""


def make_producer(kafka: KafkaSettings, *, max_request_bytes: int, linger_ms: int) -> Any:
    """The library's producer, not connected yet; it asks for topics and leaders at the pace of its retries."""
    producer = AIOKafkaProducer(
        **connection_arguments(kafka),
        enable_idempotence=True,
        max_request_size=max_request_bytes,
        max_batch_size=min(MAX_BATCH_BYTES, max_request_bytes),
        linger_ms=linger_ms,
    )
    _pace_metadata(producer.client, kafka.retry_backoff_ms / 1000)
    return producer


def _pace_metadata(client: Any, pause_s: float) -> None:
    """Else some hundred requests a second leave while a partition has no leader: more than a thin uplink carries."""
    update, last_s = client._metadata_update, -math.inf

    async def paced(cluster: Any, topics: Any) -> Any:
        nonlocal last_s
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, last_s + pause_s - loop.time()))
        try:
            return await update(cluster, topics)
        finally:
            last_s = loop.time()

    client._metadata_update = paced


@dataclass(slots=True, eq=False)
class Outgoing:
    """A record on its way, the generation that holds it, and whether it goes alone in its batch.

    A broker refuses whole batches. Their records then go one by one, so that only the culprit fails.
    """

    topic: str
    value: bytes
    key: bytes | None
    partition: Partition
    headers: list[tuple[str, bytes]] | None
    num_bytes: int
    delivery: asyncio.Future[object]
    generation: Generation | None = None
    goes_alone: bool = False

    def chosen_partition(self, known: frozenset[int]) -> int | None:
        """The partition among those of the topic; None leaves it to the library.

        Raises:
            RecordRefused: the topic has no such partition.
        """
        if self.partition is None:
            return None
        chosen = self.partition if isinstance(self.partition, int) else self.partition(len(known))
        if chosen not in known:
            raise RecordRefused(f"Kafka: topic {self.topic} has no partition {chosen}: [0, {len(known)})")
        return chosen


class Generation:
    """A connected producer of the library; `over` is done once it cannot be trusted with new records.

    Args:
        on_end: called when the library's own task ends by itself, with its error.
    """

    def __init__(self, producer: Any, on_end: Callable[[Generation, BaseException], None]) -> None:
        self.producer = producer
        self._requests = _watched_requests(producer._sender)
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_accepted = False
        self._on_end = on_end
        producer._sender.sender_task.add_done_callback(self._sender_ended)

    async def send(self, record: Outgoing, partition: int | None) -> asyncio.Future[object]:
        """The record is in one of the library's batches; the future tells what the broker said of it.

        Raises:
            KafkaError: it is not.
        """
        handed: asyncio.Future[object] = await self.producer.send(
            record.topic, record.value, key=record.key, partition=partition, headers=record.headers
        )
        return handed

    async def partitions_of(self, topic: str) -> frozenset[int] | None:
        """The topic's partitions; None where the cluster knows no such topic, or hides it.

        Raises:
            KafkaError: the generation is over.
        """
        client = self.producer.client
        if client.cluster.partitions_for_topic(topic) is None:
            client.add_topic(topic)
            await self._unless_over(client.force_metadata_update())
        if self.over.done():
            raise ProducerClosed
        found = client.cluster.partitions_for_topic(topic)
        return None if found is None else frozenset(found)

    def is_hidden(self, topic: str) -> bool:
        """True where the cluster does not let this client see the topic."""
        return topic in self.producer.client.cluster.unauthorized_topics

    async def connect_to_leaders(self, topic: str) -> None:
        """The brokers that lead the partitions of a known topic are connected.

        Raises:
            KafkaError: the generation is over.
        """
        client = self.producer.client
        partitions = client.cluster.partitions_for_topic(topic)
        for node in {client.cluster.leader_for_partition(TopicPartition(topic, n)) for n in partitions}:
            await self._unless_over(client.ready(node))

    async def _unless_over(self, asking: Awaitable[object]) -> None:
        """The library has its answer.

        Raises:
            ProducerClosed: the generation is over; what was asked has ended.
        """
        task = asyncio.ensure_future(asking)
        ends: list[asyncio.Future[Any]] = [task, self.over]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await ended([task])
        if self.over.done():
            raise ProducerClosed
        task.result()

    async def retire(self, answers_s: float) -> None:
        """Nothing of the producer is left; what it held and the broker did not acknowledge has failed.

        Requests under way have their answer first, for `answers_s` at most. Cancelled, it does not wait for them.
        """
        sender = self.producer._sender.sender_task
        # Cancelled, the library's sender takes no more batches and waits for its requests.
        sender.cancel()
        try:
            if answers_s:
                await asyncio.wait([sender], timeout=answers_s)
        finally:
            try:
                await ended([sender])
                await ended([*self._requests])  # those too that it had only just made
            finally:
                self._fail_what_is_held()
                await stop(self.producer)

    def _fail_what_is_held(self) -> None:
        waiting = self.producer._message_accumulator
        held = [*itertools.chain(*waiting._batches.values()), *waiting._pending_batches]
        # Each is taken out of there when it fails, also one that was put back to be sent again.
        waiting._pending_batches.update(held)
        waiting.fail_all(ProducerClosed())
        for batch in held:  # nobody waits for them any more
            batch._drain_waiter.exception()

    def _sender_ended(self, sender: asyncio.Task[None]) -> None:
        if not sender.cancelled():
            self._on_end(self, sender.exception() or ProducerClosed())


def _watched_requests(sender: Any) -> set[asyncio.Future[Any]]:
    """The tasks of the library's sender that are under way; it keeps them to itself."""
    send = sender._send_produce_req
    under_way: set[asyncio.Future[Any]] = set()

    async def watched(node: Any, batches: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        await send(node, batches)

    sender._send_produce_req = watched
    return under_way


class _WatchedConnections(dict[Any, Any]):
    """The library's connections by node; each one is counted from the moment that it is open."""

    def __init__(self, connections: dict[Any, Any], wire: WireCounter) -> None:
        super().__init__()
        self._wire = wire
        for node, connection in connections.items():
            self[node] = connection

    def __setitem__(self, node: Any, connection: Any) -> None:
        super().__setitem__(node, connection)
        if connection._writer is not None:
            transport = connection._writer.transport
            self._wire.watch(
                transport.get_extra_info("socket").fileno(),
                lambda: not transport.is_closing() or transport.get_write_buffer_size() > 0,
            )


def watch_connections(producer: Any, wire: WireCounter) -> None:
    """The producer's connections count in `wire`, those that are open and those to come."""
    producer.client._conns = _WatchedConnections(producer.client._conns, wire)
