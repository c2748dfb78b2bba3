"""The newest record of each key, found by reading a partition backwards in growing steps, without a group."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.errors import KafkaError

from runtime.connections import KafkaSettings
from runtime.kafka_connection import Record, connection_arguments, record_of, started, stop, translated
from runtime.kafka_fetch import safe_consumer

_FIRST_STEP_RECORDS = 64
_POLL_MS = 1_000

T = TypeVar("T")


async def newest_by_key(
    kafka: KafkaSettings,
    topic: str,
    partition: int,
    keys: Collection[bytes],
    value_of: Callable[[Record], T | None],
) -> dict[bytes, T]:
    """For each key what `value_of` makes of its newest record, among those that are there now.

    A record of which it makes None does not count; a key without a record is left out. Reads the last 64 records,
    then the 128 before them, and so on until every key is found: little where all are recent, the whole partition
    where one has no record.

    Raises:
        TransientError: no broker answered in time.
    """

    def make() -> Any:
        return safe_consumer(**connection_arguments(kafka), auto_offset_reset="earliest")

    found: dict[bytes, T] = {}
    consumer = await started(make, kafka)
    try:
        where = KafkaTopicPartition(topic, partition)
        consumer.assign([where])
        begin = (await consumer.beginning_offsets([where]))[where]
        end = (await consumer.end_offsets([where]))[where]
        step = _FIRST_STEP_RECORDS
        while end > begin and (missing := set(keys) - found.keys()):
            start = max(begin, end - step)
            found |= await _newest_between(consumer, where, start, end, missing, value_of)
            end, step = start, 2 * step
    except KafkaError as error:
        raise translated(error, f"reading {topic} backwards") from None
    finally:
        await stop(consumer)
    return found


async def _newest_between(
    consumer: Any,
    where: KafkaTopicPartition,
    start: int,
    end: int,
    keys: Collection[bytes],
    value_of: Callable[[Record], T | None],
) -> dict[bytes, T]:
    consumer.seek(where, start)
    newest: dict[bytes, T] = {}
    while await consumer.position(where) < end:
        batches = await consumer.getmany(where, timeout_ms=_POLL_MS)
        for raw in batches.get(where, ()):
            record = record_of(raw)
            if raw.offset >= end or record.key is None or record.key not in keys:
                continue
            if (value := value_of(record)) is not None:
                newest[record.key] = value
    return newest
