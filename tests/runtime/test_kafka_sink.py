"""The idempotent producer against a real broker: bounds, refusals, outages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from devstack import EmbeddedStack
from runtime import kafka_sink
from runtime.connections import KafkaSettings
from runtime.kafka import RecordRefused, Sink
from runtime.kafka_admin import create_topics, read_all
from schemas.errors import StackError, TransientError
from schemas.topics import TopicSpec

pytestmark = pytest.mark.stack


@pytest.fixture
def kafka(stack: EmbeddedStack) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=stack.bootstrap_servers, request_timeout_ms=2_000)


@pytest.fixture
async def topic(kafka: KafkaSettings, unique: Callable[[str], str]) -> str:
    name = unique("topic")
    await create_topics(kafka, [TopicSpec(name, 4, {"max.message.bytes": "20000"})])
    return name


async def values(kafka: KafkaSettings, topic: str) -> list[bytes]:
    return [record.value async for record in read_all(kafka, topic)]


async def test_bytes_in_flight_stay_within_the_bound_and_one_record_always_fits(
    kafka: KafkaSettings, topic: str
) -> None:
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=5_000) as sink:
        peak = 0
        deliveries = []
        for number in range(200):
            deliveries.append(await sink.send(topic, b"x" * 1_000, partition=number % 4))
            peak = max(peak, sink.in_flight_bytes)
        assert peak <= 5_000
        large = await sink.send(topic, b"y" * 10_000, partition=0)
        assert sink.in_flight_bytes > 10_000
        await sink.wait_room()
        await large
        assert await sink.flush(5.0)
        assert sink.in_flight_bytes == 0
        assert all(delivery.done() for delivery in deliveries)
    assert len(await values(kafka, topic)) == 201


async def test_a_record_that_is_too_large_is_refused_alone(kafka: KafkaSettings, topic: str) -> None:
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=100_000) as sink:
        by_client = await sink.send(topic, b"x" * 30_000)
        good = await sink.send(topic, b"good")
        with pytest.raises(RecordRefused):
            await by_client
        await good
    async with Sink(kafka, max_request_bytes=100_000, max_in_flight_bytes=100_000) as sink:
        by_broker = await sink.send(topic, b"x" * 30_000, partition=1)
        with pytest.raises(RecordRefused):
            await by_broker
        await (await sink.send(topic, b"good", partition=1))
        assert sink.in_flight_bytes == 0
    assert await values(kafka, topic) == [b"good", b"good"]


async def test_a_cancelled_send_sends_nothing_and_frees_its_room(kafka: KafkaSettings, topic: str) -> None:
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=2_000) as sink:
        first = await sink.send(topic, b"first" * 300, partition=0)
        waiting = asyncio.ensure_future(sink.send(topic, b"never" * 300, partition=0))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await first
        assert await sink.flush(5.0)
    assert await values(kafka, topic) == [b"first" * 300]


async def test_a_missing_topic_is_one_clear_line(kafka: KafkaSettings, unique: Callable[[str], str]) -> None:
    quick = kafka.model_copy(update={"request_timeout_ms": 1_000})
    async with Sink(quick, max_request_bytes=1_000, max_in_flight_bytes=1_000) as sink:
        with pytest.raises(StackError, match="saccade topics create makes it"):
            await sink.send(unique("missing"), b"x")
        with pytest.raises(StackError, match="saccade topics create makes it"):
            await sink.num_partitions(unique("missing"))
        assert sink.in_flight_bytes == 0


async def test_a_killed_broker_costs_time_and_no_record(
    stack: EmbeddedStack, kafka: KafkaSettings, topic: str
) -> None:
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=50_000) as sink:
        assert await sink.num_partitions(topic) == 4

        async def send_all() -> list[asyncio.Future[object]]:
            return [await sink.send(topic, str(n).encode() * 300, partition=n % 4) for n in range(400)]

        sending = asyncio.ensure_future(send_all())
        while sink.in_flight_bytes == 0:  # noqa: ASYNC110 - another task sends
            await asyncio.sleep(0)
        await stack.kill_kafka()
        await stack.start_kafka()
        async with asyncio.timeout(30.0):
            for delivery in await sending:
                await delivery
    found = [int(value[: len(value) // 300]) for value in await values(kafka, topic)]
    assert sorted(found) == list(range(400))


async def test_closing_without_a_broker_ends_and_fails_what_waits(
    stack: EmbeddedStack, kafka: KafkaSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_sink, "CLOSE_TIMEOUT_S", 1.0)
    async with Sink(kafka, max_request_bytes=20_000, max_in_flight_bytes=50_000) as sink:
        await (await sink.send(topic, b"first"))
        await stack.kill_kafka()
        try:
            delivery = await sink.send(topic, b"second")
            started_s = time.monotonic()
            await sink.__aexit__(None, None, None)
            assert time.monotonic() - started_s < 5.0
            with pytest.raises(TransientError, match="closed before"):
                await delivery
        finally:
            await stack.start_kafka()
