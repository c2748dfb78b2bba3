"""The newest record that fits, found by reading a partition backwards in growing steps, without a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.errors import KafkaError

from runtime.connections import KafkaSettings
from runtime.kafka_connection import Record, connection_arguments, record_of, started, stop, translated

_FIRST_STEP_RECORDS = 64
_POLL_MS = 1_000

T = TypeVar("T")


async def newest_match(
    kafka: KafkaSettings, topic: str, partition: int, match: Callable[[Record], T | None]
) -> T | None:
    """What `match` makes of the newest record for which it is not None, among those that are there now.

    Reads the last 64 records, then the 128 before them, and so on: little where a match is recent, the whole
    partition where there is none.

    Raises:
        TransientError: no broker answered in time.
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
            found = await _last_between(consumer, where, start, end, match)
            if found is not None:
                return found
            end, step = start, 2 * step
    except KafkaError as error:
        raise translated(error, f"reading {topic} backwards") from None
    finally:
        await stop(consumer)
    return None


async def _last_between(
    consumer: Any, where: KafkaTopicPartition, start: int, end: int, match: Callable[[Record], T | None]
) -> T | None:
    consumer.seek(where, start)
    last = None
    while await consumer.position(where) < end:
        batches = await consumer.getmany(where, timeout_ms=_POLL_MS)
        for record in batches.get(where, ()):
            if record.offset < end and (found := match(record_of(record))) is not None:
                last = found
    return last
