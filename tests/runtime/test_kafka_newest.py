from __future__ import annotations

from collections.abc import Callable

import pytest

from devstack import EmbeddedStack
from runtime.connections import KafkaSettings
from runtime.kafka_admin import create_topics
from runtime.kafka_connection import Record
from runtime.kafka_newest import newest_by_key
from runtime.kafka_sink import Sink
from schemas.topics import TopicSpec

pytestmark = pytest.mark.stack
PARTITION = 1


async def filled(stack: EmbeddedStack, topic: str, keys: list[bytes]) -> KafkaSettings:
    """The cluster's settings; one partition of the topic holds a record a key, its value its number."""
    kafka = KafkaSettings(bootstrap_servers=stack.bootstrap_servers)
    await create_topics(kafka, [TopicSpec(topic, 2, {})])
    async with Sink(kafka, max_request_bytes=10_000, max_in_flight_bytes=10**6) as sink:
        for number, key in enumerate(keys):
            await sink.send(topic, str(number).encode(), key=key, partition=PARTITION)
    return kafka


def number(record: Record) -> int | None:
    return int(record.value)


@pytest.mark.parametrize("wanted", [0, 5, 300, 498])
async def test_the_newest_match_is_found_wherever_it_lies(
    stack: EmbeddedStack, unique: Callable[[str], str], wanted: int
) -> None:
    keys = [b"rare" if number in (0, wanted) else b"common" for number in range(500)]
    topic = unique("newest")
    kafka = await filled(stack, topic, keys)
    found = await newest_by_key(kafka, topic, PARTITION, {b"rare", b"common", b"never"}, number)
    assert found == {b"rare": wanted, b"common": 499}


async def test_records_that_cannot_be_read_do_not_count(
    stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    topic = unique("newest")
    kafka = await filled(stack, topic, [b"a"] * 9)
    found = await newest_by_key(
        kafka, topic, PARTITION, {b"a"}, lambda record: None if record.value == b"8" else record.value
    )
    assert found == {b"a": b"7"}


async def test_an_empty_partition_has_no_newest(stack: EmbeddedStack, unique: Callable[[str], str]) -> None:
    topic = unique("newest")
    kafka = await filled(stack, topic, [])
    assert await newest_by_key(kafka, topic, PARTITION, {b"a"}, number) == {}
