"""One consumer of aiokafka in its group, from its making until another one has to join in its place.

What aiokafka (0.14) does not say and this module relies on, read in its source: an error that its tasks meet is raised
by the next read, and some of those tasks never run again. So an error ends the member, and a new one joins. And it
gives all that it holds of a partition before it comes to the next one, for as long as it holds some: partitions that
have much to catch up would shut out the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import ConsumerStoppedError, KafkaError, UnknownTopicOrPartitionError

from runtime.connections import KafkaSettings
from runtime.intake import RebalanceCallback
from runtime.kafka_connection import Record, connection_arguments, translated
from runtime.kafka_fetch import SafeFetch
from runtime.kafka_places import Places
from runtime.offsets import TopicPartition

_EXPANDED_PER_FETCHED = 2
"""A batch may be this much larger without its compression than a partition's whole answer may be with it."""


class KafkaMember:
    """A consumer that is not started yet; `over` is done once it cannot be trusted any more.

    Args:
        subscription: what the library's `subscribe` takes.
        arguments: what the consumer is built with beside the connection, `max_partition_fetch_bytes` among them.
        revoked, assigned: awaited in the library's own task at each rebalance.
        silent: called with a partition and its offsets [begin, end) that hold no record.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        subscription: Mapping[str, Any],
        arguments: Mapping[str, Any],
        *,
        revoked: RebalanceCallback,
        assigned: RebalanceCallback,
        silent: Callable[[TopicPartition, list[tuple[int, int]]], None],
    ) -> None:
        self._timeout_s = kafka.request_timeout_ms / 1000
        # The library keeps an assignor's memory on the class: each member needs its own.
        assignor = type("StickyAssignor", (StickyPartitionAssignor,), {})
        self.consumer = AIOKafkaConsumer(
            **connection_arguments(kafka),
            **arguments,
            partition_assignment_strategy=(assignor,),
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=kafka.session_timeout_ms,
            heartbeat_interval_ms=kafka.heartbeat_interval_ms,
            rebalance_timeout_ms=kafka.rebalance_timeout_ms,
            max_poll_interval_ms=kafka.max_poll_interval_ms,
            check_crcs=False,  # `SafeFetch` has checked them
        )
        self.consumer.subscribe(**subscription, listener=_Listener(revoked, assigned))
        self._fetch = SafeFetch(
            self.consumer,
            max_batch_bytes=_EXPANDED_PER_FETCHED * arguments["max_partition_fetch_bytes"],
            silent=silent,
        )
        self.places = Places(self.consumer, self._timeout_s)
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.has_read = False
        self._readable = _Readable(self.consumer)

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions now held, also while they are being revoked."""
        return frozenset((each.topic, each.partition) for each in self.consumer.assignment())

    @property
    def current_assignment(self) -> object:
        """The library's own object, which is another one after each rebalance."""
        return self.consumer._subscription.subscription.assignment

    async def poll(self, max_records: int, timeout_s: float) -> list[Record]:
        """Up to `max_records` records, one where a worker died of one; empty after `timeout_s`.

        Raises:
            Exception: what ends this member.
        """
        await self.places.check_topics()
        if self.places.attempts.is_careful:
            max_records = 1
        try:
            # aiokafka forgets its own time limit when a rebalance begins while it waits.
            async with asyncio.timeout(timeout_s + 0.1):
                found = await self._fetched(max_records, timeout_s)
        except TimeoutError:
            return []
        self._to_the_end(found)
        records = [self._fetch.record(each) for some in found.values() for each in some]
        self.has_read |= bool(records)
        return records

    def is_alive(self) -> None:
        """Its reader lives, though it takes nothing now: else the library leaves the group, and does not come back."""
        self.consumer._subscription._last_fetch_ended = time.monotonic()

    async def _fetched(self, max_records: int, timeout_s: float) -> dict[KafkaTopicPartition, list[Any]]:
        """The library's `getmany`, but for paused partitions, and right in its counts when cancelled."""
        if self.consumer._closed:
            raise ConsumerStoppedError
        self._check_coordination()
        subscription = self.consumer._subscription
        subscription._fetch_count += 1
        try:
            found: dict[KafkaTopicPartition, list[Any]] = await self.consumer._fetcher.fetched_records(
                self._readable, timeout_s, max_records=max_records
            )
        finally:
            subscription._fetch_count -= 1
            self.is_alive()
        return found

    def _to_the_end(self, served: Collection[KafkaTopicPartition]) -> None:
        """Topics take turns, and so do the partitions of one."""
        held = self.consumer._fetcher._records
        topics = {each.topic for each in served}
        of_topics = [each for each in held if each.topic in topics]
        for each in sorted(of_topics, key=lambda each: each in served):
            held.move_to_end(each)

    def check(self, needed: Iterable[str]) -> None:
        """Returns while the library's tasks run and the topics are there.

        Raises:
            Exception: what one of its tasks met.
        """
        if self.consumer._coordinator is None:
            return  # about to join
        self._check_coordination()
        if self.consumer._fetcher._fetch_task.done():
            raise KafkaError("the client has stopped to fetch")
        cluster = self.consumer._client.cluster
        if any(cluster.partitions_for_topic(each) is None for each in needed):
            raise UnknownTopicOrPartitionError

    def _check_coordination(self) -> None:
        """Raises what the library's coordination met.

        One that was cancelled is an error as any other: let through, it would end the reader as if that had been
        cancelled itself, and nobody would hear of it.
        """
        try:
            self.consumer._coordinator.check_errors()
        except asyncio.CancelledError:  # nothing was awaited: it is the task's, not ours
            raise KafkaError("the client has stopped to coordinate") from None

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """No later `poll` returns any of these until `resume` or the next assignment; others are ignored."""
        if held := self.places.held(partitions):
            self.consumer.pause(*held)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """The reverse of `pause`."""
        if held := self.places.held(partitions):
            self.consumer.resume(*held)
            # A poll that waits for the others looks again: there may be records here that were fetched before.
            for waiter in self.consumer._fetcher._fetch_waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def lag(self) -> int:
        """Records in the held partitions that `poll` has not returned yet; 0 without any.

        Raises:
            TransientError: the broker did not answer in time.
        """
        held = self.consumer.assignment()
        try:
            async with asyncio.timeout(self._timeout_s):
                ends = await self.consumer.end_offsets(held) if held else {}
                positions = {each: await self.consumer.position(each) for each in ends}
        except (TimeoutError, KafkaError) as error:
            raise translated(error, "asking for the lag") from None
        return sum(max(0, end - positions[each]) for each, end in ends.items())

    async def positions(
        self, partitions: Iterable[TopicPartition], timeout_s: float
    ) -> dict[TopicPartition, int]:
        """Where reading begins: at what the group has committed, kept or not; empty without an answer."""
        try:
            async with asyncio.timeout(timeout_s):
                return {each: await self.consumer.position(KafkaTopicPartition(*each)) for each in partitions}
        except (TimeoutError, KafkaError):
            return {}


class _Readable:
    """The partitions that are held now and not paused; the library asks for each of which it has something."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def __contains__(self, partition: KafkaTopicPartition) -> bool:
        subscription = self._consumer._subscription
        return subscription.is_assigned(partition) and not subscription._assigned_state(partition).paused


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    def __init__(self, revoked: RebalanceCallback, assigned: RebalanceCallback) -> None:
        self._revoked = revoked
        self._assigned = assigned

    async def on_partitions_revoked(self, revoked: Iterable[KafkaTopicPartition]) -> None:
        await self._revoked({(each.topic, each.partition) for each in revoked})

    async def on_partitions_assigned(self, assigned: Iterable[KafkaTopicPartition]) -> None:
        await self._assigned({(each.topic, each.partition) for each in assigned})
