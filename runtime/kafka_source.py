"""One member of a consumer group.

What aiokafka does not say and this module relies on, read in its source (0.14): it rebalances eagerly, so
every partition is revoked and assigned anew; between the two the broker still takes commits of the old
generation, and no read returns records; a read that was waiting when the rebalance began goes on and returns
records of the new assignment, perhaps before the listener has heard of it; one partition that is not assigned
fails a whole commit; a failing listener is logged and forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

from runtime.connections import KafkaSettings
from runtime.intake import RebalanceCallback
from runtime.kafka_connection import (
    Record,
    connection_arguments,
    record_of,
    started,
    stop,
    translated,
)
from runtime.log import get_logger
from runtime.offsets import OffsetGaps, TopicPartition
from runtime.waiting import set_within

_log = get_logger(__name__)


class Source:
    """One member of a consumer group. Reads from the earliest record, commits only what it is told to.

    Args:
        group_instance_id: static membership; the member keeps its partitions over a restart.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Iterable[str],
        *,
        group_id: str,
        group_instance_id: str | None = None,
        fetch_max_bytes: int = 5 * 1024 * 1024,
        max_partition_fetch_bytes: int = 5 * 1024 * 1024,
    ) -> None:
        self._kafka = kafka
        self._topics = sorted(topics)
        self._arguments: dict[str, Any] = {
            "group_id": group_id,
            "group_instance_id": group_instance_id,
            "fetch_max_bytes": fetch_max_bytes,
            "max_partition_fetch_bytes": max_partition_fetch_bytes,
        }
        self._on_assigned: RebalanceCallback | None = None
        self._on_revoked: RebalanceCallback | None = None
        self._consumer: Any = None
        # Written by the listener only, which runs in aiokafka's own task between two awaits of ours.
        self._generation = 0
        self._holding = asyncio.Event()
        self._callback_error: Exception | None = None
        # Records that came before the listener knew their assignment, and that assignment.
        self._early: tuple[object, list[Record]] = (None, [])
        self._gaps = OffsetGaps()

    def __repr__(self) -> str:
        held = len(self.assignment())
        return f"<Source {','.join(self._topics)} partitions={held} generation={self._generation}>"

    async def __aenter__(self) -> Self:
        await started(self._make, self._kafka)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await stop(self._consumer)

    def listen(
        self, *, on_assigned: RebalanceCallback | None = None, on_revoked: RebalanceCallback | None = None
    ) -> None:
        """Both are awaited at each rebalance from now on; to be called before the member joins.

        Args:
            on_assigned: awaited after partitions came, before their first record.
            on_revoked: awaited before partitions go, should take at most `drain_s`; commits still work in it.
        """
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    @property
    def drain_s(self) -> float:
        """How long `on_revoked` may finish what has begun: half of the group's rebalance timeout."""
        return self._kafka.revoke_drain_s

    @property
    def joined(self) -> bool:
        """True while this member is in the group and holds an assignment, even an empty one."""
        return self._holding.is_set()

    def generation(self) -> int:
        """How many assignments this member has had; the current one's number, 0 before the first."""
        return self._generation

    @property
    def num_missed(self) -> int:
        """Records that the broker had deleted before this member came to read them."""
        return self._gaps.num_missed

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions now held, also while they are being revoked."""
        if self._consumer is None:
            return frozenset()
        return frozenset((each.topic, each.partition) for each in self._consumer.assignment())

    async def getmany(self, max_records: int, timeout_s: float) -> list[Record]:
        """Up to `max_records` records of partitions held now.

        Empty after `timeout_s`, also during a rebalance. Cancelled, it has taken nothing.

        Raises:
            SaccadeError: the brokers refuse this member.
            Exception: what a callback raised; aiokafka itself would only log it.
        """
        self._raise_callback_error()
        if not await set_within(self._holding, timeout_s):
            return []
        early = self._take_early()
        if early:
            return self._told_gaps(early)
        found: dict[KafkaTopicPartition, list[Any]] = {}
        try:
            # aiokafka forgets its own time limit when a rebalance begins while it waits.
            async with asyncio.timeout(timeout_s + 0.1):
                found = await self._consumer.getmany(
                    timeout_ms=int(timeout_s * 1000), max_records=max_records
                )
        except TimeoutError:
            return []
        except KafkaError as error:
            raise translated(error, f"reading {self._topics}") from None
        records = [record_of(each) for some in found.values() for each in some]
        if self._holding.is_set():
            return self._told_gaps(records)
        # Dropping them would lose them: the position of their partitions is already behind them.
        self._early = (self._current_assignment, records)
        return []

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """`getmany` returns none of these until `resume` or the next assignment; others are ignored."""
        self._consumer.pause(*self._held(partitions))

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """The reverse of `pause`."""
        self._consumer.resume(*self._held(partitions))

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The next offsets to read are at the broker, of those partitions that are still held.

        Raises:
            TransientError: the broker did not answer in time, or the group has gone on without this member.
            SaccadeError: the brokers refuse the commit.
        """
        held = {each: offsets[each.topic, each.partition] for each in self._held(offsets)}
        if not held:
            return
        try:
            async with asyncio.timeout(self._kafka.request_timeout_ms / 1000):
                await self._consumer.commit(held)
        except (TimeoutError, KafkaError) as error:
            raise translated(error, f"committing {len(held)} offsets") from None

    async def lag(self) -> int:
        """Records in the held partitions that `getmany` has not returned yet.

        Raises:
            TransientError: the broker did not answer in time.
        """
        held = self._consumer.assignment()
        try:
            async with asyncio.timeout(self._kafka.request_timeout_ms / 1000):
                ends = await self._consumer.end_offsets(list(held)) if held else {}
                positions = {each: await self._consumer.position(each) for each in ends}
        except (TimeoutError, KafkaError) as error:
            raise translated(error, "asking for the lag") from None
        return sum(max(0, end - positions[each]) for each, end in ends.items())

    def _make(self) -> Any:
        # The library keeps an assignor's memory on the class: each member needs its own.
        assignor = type("StickyAssignor", (StickyPartitionAssignor,), {})
        consumer = AIOKafkaConsumer(
            **connection_arguments(self._kafka),
            **self._arguments,
            partition_assignment_strategy=(assignor,),
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            session_timeout_ms=self._kafka.session_timeout_ms,
            heartbeat_interval_ms=self._kafka.heartbeat_interval_ms,
            rebalance_timeout_ms=self._kafka.rebalance_timeout_ms,
            max_poll_interval_ms=self._kafka.max_poll_interval_ms,
        )
        consumer.subscribe(self._topics, listener=_Listener(self._revoked, self._assigned))
        self._consumer = consumer  # its start returns after the first assignment, which asks it for positions
        return consumer

    @property
    def _current_assignment(self) -> object:
        """The library's own object, which is another one after each rebalance."""
        return self._consumer._subscription.subscription.assignment

    def _take_early(self) -> list[Record]:
        """What an earlier read kept back, unless its assignment is over: then it comes again by itself."""
        (assignment, records), self._early = self._early, (None, [])
        return records if assignment is self._current_assignment else []

    def _told_gaps(self, records: list[Record]) -> list[Record]:
        """The records; what is missing before them is counted and told."""
        missed = self._gaps.read(((each.topic, each.partition), each.offset) for each in records)
        for (topic, partition), num_records in missed.items():
            _log.warning(
                "records were deleted before they were read: the topic keeps too little for this backlog",
                topic=topic,
                partition=partition,
                num_records=num_records,
            )
        return records

    def _held(self, partitions: Iterable[TopicPartition]) -> list[KafkaTopicPartition]:
        held = self.assignment()
        return [KafkaTopicPartition(*each) for each in partitions if each in held]

    async def _revoked(self, partitions: set[TopicPartition]) -> None:
        self._holding.clear()
        if partitions:
            # Longer than this and the group goes on without this member anyway.
            await self._call(self._on_revoked, partitions, 1.5 * self.drain_s)

    async def _assigned(self, partitions: set[TopicPartition]) -> None:
        self._generation += 1
        self._gaps.restart()
        await self._call(self._on_assigned, partitions, self.drain_s)
        self._holding.set()
        # The client itself asks for a partition's position before it reads from it.
        self._gaps.begin_at(await self._positions(partitions))

    async def _positions(self, partitions: set[TopicPartition]) -> dict[TopicPartition, int]:
        """Where reading begins: at what the group has committed, kept or not; empty without an answer."""
        try:
            async with asyncio.timeout(self.drain_s):
                return {
                    each: await self._consumer.position(KafkaTopicPartition(*each)) for each in partitions
                }
        except (TimeoutError, KafkaError):
            return {}

    async def _call(
        self, callback: RebalanceCallback | None, partitions: set[TopicPartition], timeout_s: float
    ) -> None:
        if callback is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await callback(partitions)
        except TimeoutError:  # the group goes on, and so does this member
            _log.warning("a rebalance was not waited for any longer", timeout_s=timeout_s)
        except Exception as error:  # noqa: BLE001 - raised by the next getmany
            self._callback_error = error

    def _raise_callback_error(self) -> None:
        if self._callback_error is not None:
            error, self._callback_error = self._callback_error, None
            raise error


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    def __init__(self, revoked: RebalanceCallback, assigned: RebalanceCallback) -> None:
        self._revoked = revoked
        self._assigned = assigned

    async def on_partitions_revoked(self, revoked: Iterable[KafkaTopicPartition]) -> None:
        await self._revoked({(each.topic, each.partition) for each in revoked})

    async def on_partitions_assigned(self, assigned: Iterable[KafkaTopicPartition]) -> None:
        await self._assigned({(each.topic, each.partition) for each in assigned})
