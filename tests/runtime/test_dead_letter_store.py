"""Dead letters on a real broker: written, listed, replayed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from devstack import EmbeddedStack
from devstack.settings import Settings, load_settings
from runtime.dead_letter_store import list_dead_letters, replay_dead_letters
from runtime.dead_letters import DeadLetters
from runtime.intake import Delivery
from runtime.kafka_admin import create_topics, pipeline_topics, read_all
from runtime.kafka_connection import Record
from runtime.kafka_sink import Sink
from schemas.limits import DEAD_LETTER_ROOM_BYTES
from schemas.topics import max_frame_record_bytes

pytestmark = pytest.mark.stack


@pytest.fixture
async def settings(stack: EmbeddedStack, unique: Callable[[str], str]) -> Settings:
    topics = {"frames": unique("frames"), "offload": unique("offload"), "partitions": 2}
    kafka = {"bootstrap_servers": stack.bootstrap_servers}
    settings = load_settings(None, {"topics": topics, "kafka": kafka}, environ={})
    await create_topics(settings.kafka, pipeline_topics(settings))
    return settings


def largest_letter_bytes(settings: Settings) -> int:
    return max_frame_record_bytes(settings.producer.max_frame_bytes) + DEAD_LETTER_ROOM_BYTES


def record_of(topic: str, value: bytes, partition: int = 1) -> Record:
    return Record(topic, partition, offset=7, timestamp_ms=0, key=b"gate", value=value)


async def write(settings: Settings, *refused: tuple[Record, str]) -> int:
    """Writes each as a dead letter; returns how many offsets were freed."""
    freed: list[Record] = []
    limit = largest_letter_bytes(settings)
    async with Sink(settings.kafka, max_request_bytes=limit, max_in_flight_bytes=limit) as sink:
        letters = DeadLetters(sink)
        async with asyncio.TaskGroup() as group:
            group.create_task(letters.run())
            for record, reason in refused:
                delivery = Delivery(record, lambda record, _: freed.append(record))
                await letters.put(delivery, reason, "because")
            letters.close()
    return len(freed)


async def test_letters_are_listed_with_origin_and_reason_and_replayed_to_where_they_came_from(
    settings: Settings,
) -> None:
    frames, offload = settings.topics.frames, settings.topics.offload
    refused = (
        (record_of(frames, b"broken"), "truncated"),
        (record_of(frames, b"strange", partition=0), "version"),
        (record_of(offload, b"bomb"), "bad_zstd"),
    )
    assert await write(settings, *refused) == 3
    listed = [letter.to_json() async for letter in list_dead_letters(settings)]
    assert [(each["topic"], each["partition"], each["offset"], each["reason"]) for each in listed] == [
        (frames, 1, 7, "truncated"),
        (frames, 0, 7, "version"),
        (offload, 1, 7, "bad_zstd"),
    ]
    assert await replay_dead_letters(settings, topic=frames, reason="version") == 1
    assert await values(settings, frames) == [(0, b"gate", b"strange")]
    assert await replay_dead_letters(settings) == 3
    assert await values(settings, offload) == [(1, b"gate", b"bomb")]


async def test_a_payload_that_never_fits_leaves_a_stub_that_is_not_replayed(settings: Settings) -> None:
    too_large = b"x" * (largest_letter_bytes(settings) + 1)
    frames = settings.topics.frames
    assert await write(settings, (record_of(frames, too_large), "too_large")) == 1
    (letter,) = [letter async for letter in list_dead_letters(settings)]
    assert letter.letter.stub
    assert letter.record.value == b""
    assert "no payload kept" in str(letter)
    assert await replay_dead_letters(settings) == 0


async def test_a_foreign_record_in_the_dead_letter_topic_is_shown_and_never_replayed(
    settings: Settings,
) -> None:
    async with Sink(settings.kafka, max_request_bytes=1_000, max_in_flight_bytes=1_000) as sink:
        await (await sink.send(f"{settings.topics.frames}.dead", b"who wrote this"))
    (letter,) = [letter async for letter in list_dead_letters(settings)]
    assert letter.letter.reason == "bad_headers"
    assert await replay_dead_letters(settings) == 0


async def values(settings: Settings, topic: str) -> list[tuple[Any, ...]]:
    return [(record.partition, record.key, record.value) async for record in read_all(settings.kafka, topic)]


async def test_a_record_that_comes_back_from_each_replay_is_left_alone_in_the_end(
    settings: Settings,
) -> None:
    """The worker is played: whatever is replayed is refused again, with what it carries."""
    frames = settings.topics.frames
    await write(settings, (record_of(frames, b"broken"), "version"))
    sent = []
    for _ in range(6):
        before = len([None async for _ in read_all(settings.kafka, frames)])
        sent.append(await replay_dead_letters(settings, topic=frames))
        again = [record async for record in read_all(settings.kafka, frames)][before:]
        await write(settings, *((record, "version") for record in again))
    assert sent == [1, 1, 1, 0, 0, 0]
