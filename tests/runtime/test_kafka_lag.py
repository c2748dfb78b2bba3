"""A group's lag as asked from outside, on a real broker."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from devstack import EmbeddedStack
from runtime.connections import KafkaSettings
from runtime.kafka_admin import create_topics
from runtime.kafka_lag import group_lag
from runtime.kafka_sink import Sink
from runtime.kafka_source import KafkaSource
from schemas.errors import StackError
from schemas.topics import TopicSpec

pytestmark = pytest.mark.stack


async def test_the_lag_is_what_the_group_has_not_committed(
    stack: EmbeddedStack, unique: Callable[[str], str]
) -> None:
    kafka = KafkaSettings(bootstrap_servers=stack.bootstrap_servers)
    topic, group = unique("topic"), unique("group")
    await create_topics(kafka, [TopicSpec(topic, 3, {})])
    async with Sink(kafka, max_request_bytes=10_000, max_in_flight_bytes=10_000) as sink:
        for number in range(30):
            await sink.send(topic, b"x", partition=number % 3)
        assert await sink.flush(5.0)
    async with group_lag(kafka) as lag:
        assert await lag.of(group, topic) == 30
        async with KafkaSource(kafka, [topic], group_id=group) as source:
            await source.getmany(10, 5.0)
            await source.commit({(topic, 0): 4, (topic, 1): 10})
        assert await lag.of(group, topic) == 16
        with pytest.raises(StackError, match="has no topic"):
            await lag.of(group, unique("missing"))
