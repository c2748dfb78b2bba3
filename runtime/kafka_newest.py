"""The newest record of a key, found by reading a partition backwards in growing steps, without a group."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.errors import KafkaError

from runtime.connections import KafkaSettings
from runtime.kafka_connection import Record, connection_arguments, record_of, started, translated

_FIRST_STEP_RECORDS = 64
_POLL_MS = 1_000


async def newest_record(kafka: KafkaSettings, topic: str, *, partition: int, key: bytes) -> Record | None:
    """The record of `key` with the highest offset among those that the partition holds now, None without one.

    Reads the last 64 records, then the 128 before them, and so on: little for a key that is in use, the whole
    partition for one that it does not hold.

    Raises:
        TransientError: no broker answered in time.
        StackError: the topic does not exist.
    """

    def make() -> Any:
        return AIOKafkaConsumer(
            **connection_arguments(kafka), enable_auto_commit=False, auto_offset_reset="earliest"
        )

    consumer = await started(make, kafka)
    try:
        where = KafkaTopicPartition(topic, partition)
        consumer.assign([where])
        begin = (await consumer.beginning_offsets([where]))[where]
        end = (await consumer.end_offsets([where]))[where]
        step = _FIRST_STEP_RECORDS
        while end > begin:
            start = max(begin, end - step)
            found = await _newest_between(consumer, where, start, end, key)
            if found is not None:
                return record_of(found)
            end, step = start, 2 * step
    except KafkaError as error:
        raise translated(error, f"reading {topic} backwards") from None
    finally:
        await consumer.stop()
    return None


async def _newest_between(
    consumer: Any, where: KafkaTopicPartition, start: int, end: int, key: bytes
) -> Any | None:
    consumer.seek(where, start)
    found = None
    while await consumer.position(where) < end:
        batches = await consumer.getmany(where, timeout_ms=_POLL_MS)
        for record in batches.get(where, ()):
            if record.offset < end and record.key == key:
                found = record
    return found
