"""How far a consumer group is behind, asked from outside the group."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import stamina
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError

from runtime.connections import KafkaSettings
from runtime.kafka_connection import connection_arguments, started, stop, translated
from schemas.errors import StackError

_START_TIMEOUT_S = 10.0


class GroupLag:
    """Asks one cluster; made by `group_lag`."""

    def __init__(self, consumer: Any, admin: Any) -> None:
        self._consumer = consumer
        self._admin = admin

    async def of(self, group_id: str, topic: str) -> int:
        """Records of `topic` that the group has not committed; before its first commit all that are kept.

        Raises:
            StackError: the topic does not exist.
            TransientError: the broker does not answer.
        """
        try:
            if topic not in await self._admin.list_topics():
                raise StackError(f"Kafka has no topic {topic!r}: saccade topics create makes it")
            (description,) = await self._admin.describe_topics([topic])
            partitions = [KafkaTopicPartition(topic, part["partition"]) for part in description["partitions"]]
            committed = await self._committed(group_id, partitions)
            begins = await self._consumer.beginning_offsets(partitions)
            ends = await self._consumer.end_offsets(partitions)
        except (TimeoutError, KafkaError) as error:
            raise translated(error, f"asking for the lag of {group_id}") from None
        return sum(
            max(0, ends[each] - max(committed[each].offset if each in committed else 0, begins[each]))
            for each in partitions
        )

    async def _committed(self, group_id: str, partitions: list[KafkaTopicPartition]) -> Any:
        # A cluster that never had a group makes its topic of offsets at the first question.
        async for attempt in stamina.retry_context(
            on=GroupCoordinatorNotAvailableError, attempts=None, timeout=_START_TIMEOUT_S, wait_max=0.5
        ):
            with attempt:
                return await self._admin.list_consumer_group_offsets(group_id, partitions=partitions)
        raise AssertionError("a retry either returns or raises")


@asynccontextmanager
async def group_lag(kafka: KafkaSettings) -> AsyncIterator[GroupLag]:
    """Yield somebody to ask about any group of the cluster; its connections end with the block.

    Raises:
        TransientError: no broker answers.
    """
    arguments = connection_arguments(kafka)
    consumer = await started(
        lambda: AIOKafkaConsumer(**arguments, enable_auto_commit=False), kafka, _START_TIMEOUT_S
    )
    try:
        admin = AIOKafkaAdminClient(**arguments)
        try:
            await admin.start()
            yield GroupLag(consumer, admin)
        finally:
            await admin.close()
    finally:
        await stop(consumer)
