"""Topics on a real broker: made, compared with the settings, read from beginning to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from devstack import EmbeddedStack
from devstack.settings import load_settings
from runtime.connections import KafkaSettings
from runtime.kafka_admin import (
    check_pipeline_topics,
    check_topics,
    create_pipeline_topics,
    create_topics,
    pipeline_topics,
    read_all,
)
from runtime.kafka_connection import connection_arguments
from runtime.kafka_sink import Sink
from schemas.errors import SettingsError, StackError
from schemas.topics import TopicSpec

pytestmark = pytest.mark.stack


@pytest.fixture
def kafka(stack: EmbeddedStack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=stack.bootstrap_servers)


async def test_the_pipelines_topics_are_made_once_and_then_agree_with_the_settings(
    kafka: KafkaSettings, unique: Callable[[str], str]
) -> None:
    names = {"frames": unique("frames"), "offload": unique("offload"), "partitions": 3}
    specs = pipeline_topics(load_settings(None, {"topics": names}, environ={}))
    assert len(await check_topics(kafka, specs)) == 4
    assert set(await create_topics(kafka, specs)) == {
        names["frames"],
        f"{names['frames']}.dead",
        names["offload"],
        f"{names['offload']}.dead",
    }
    assert await create_topics(kafka, specs) == []
    assert await check_topics(kafka, specs) == []


async def test_each_cluster_gets_the_topics_that_the_pipeline_keeps_there(
    kafka: KafkaSettings, unique: Callable[[str], str]
) -> None:
    names = {"frames": unique("frames"), "offload": unique("offload"), "partitions": 2}
    clusters = {"kafka": kafka.model_dump(), "offload_kafka": kafka.model_dump()}
    settings = load_settings(None, {"topics": names, **clusters}, environ={})
    assert len(await check_pipeline_topics(settings)) == 4
    assert len(await create_pipeline_topics(settings)) == 4
    assert await check_pipeline_topics(settings) == []


async def test_each_difference_is_one_line_and_a_larger_size_limit_is_none(
    kafka: KafkaSettings, unique: Callable[[str], str]
) -> None:
    made = TopicSpec(unique("topic"), 2, {"retention.ms": "60000", "max.message.bytes": "2000"})
    await create_topics(kafka, [made])
    smaller = replace(made, config={"max.message.bytes": "1000"})
    assert await check_topics(kafka, [smaller]) == []
    wanted = replace(made, partitions=5, config={"retention.ms": "90000", "max.message.bytes": "3000"})
    assert await check_topics(kafka, [wanted, TopicSpec("nowhere", 1, {})]) == [
        "topic nowhere: does not exist",
        f"topic {made.name}: 2 partitions, should be 5",
        f"topic {made.name}: retention.ms is 60000, should be 90000",
        f"topic {made.name}: max.message.bytes is 2000, should be 3000",
    ]


async def test_a_topic_that_the_broker_refuses_is_named(kafka: KafkaSettings) -> None:
    with pytest.raises(StackError, match="Kafka refuses topic 'odd'"):
        await create_topics(kafka, [TopicSpec("odd", 1, {"no.such.key": "1"})])


async def test_reading_all_ends_where_the_topic_ended_when_it_began(
    kafka: KafkaSettings, unique: Callable[[str], str]
) -> None:
    topic = unique("topic")
    await create_topics(kafka, [TopicSpec(topic, 4, {})])
    assert [record async for record in read_all(kafka, topic)] == []
    async with Sink(kafka, max_request_bytes=100_000, max_in_flight_bytes=100_000) as sink:
        for number in range(300):
            await sink.send(topic, str(number).encode(), partition=number % 3)
        assert await sink.flush(5.0)
        seen = []
        async for record in read_all(kafka, topic):
            seen.append(int(record.value))
            if len(seen) == 1:
                await (await sink.send(topic, b"-1", partition=0))
    assert sorted(seen) == list(range(300))


async def test_reading_a_missing_topic_is_one_clear_line(
    kafka: KafkaSettings, unique: Callable[[str], str]
) -> None:
    with pytest.raises(StackError, match="has no topic"):
        await anext(aiter(read_all(kafka, unique("missing"))))


def test_a_certificate_that_cannot_be_used_is_a_settings_error() -> None:
    kafka = KafkaSettings(security_protocol="SSL", ssl_cafile=Path(__file__))
    with pytest.raises(SettingsError, match=r"kafka\.ssl_cafile"):
        connection_arguments(kafka)
