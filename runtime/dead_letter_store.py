"""Dead letters read back from their topics: listed, and sent to where they came from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from runtime.connections import KafkaSettings
from runtime.kafka_admin import read_all
from runtime.kafka_connection import Record
from runtime.kafka_sink import Sink
from runtime.settings import ProgramSettings
from schemas.dead_letter import MAX_REPLAYS, DeadLetter, dead_letter_from_headers, replay_headers
from schemas.errors import DecodeError
from schemas.topics import dead_topic, max_frame_record_bytes, max_offload_record_bytes

_UNKNOWN_ORIGIN = "unknown"


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """A dead letter as it lies in its topic: where it came from and why, and the record with its value."""

    letter: DeadLetter
    record: Record

    def __str__(self) -> str:
        letter = self.letter
        kept = "no payload kept" if letter.stub else f"{len(self.record.value)} bytes"
        return (
            f"{letter.topic}[{letter.partition}]@{letter.offset}  {letter.reason}: {letter.error}  ({kept})"
        )

    def to_json(self) -> dict[str, Any]:
        """The letter as a JSON object; topic, partition and offset are those it came from."""
        return {
            "topic": self.letter.topic,
            "partition": self.letter.partition,
            "offset": self.letter.offset,
            "reason": self.letter.reason,
            "error": self.letter.error,
            "stub": self.letter.stub,
            "num_bytes": len(self.record.value),
            "dead_topic": self.record.topic,
            "dead_offset": self.record.offset,
            "dead_timestamp_ms": self.record.timestamp_ms,
        }


async def list_dead_letters(settings: ProgramSettings) -> AsyncIterator[StoredLetter]:
    """Every letter of both dead-letter topics, oldest first in each.

    Raises:
        StackError: a dead-letter topic does not exist.
        TransientError: a broker does not answer.
    """
    for kafka, topic in _sources(settings):
        async for record in read_all(kafka, dead_topic(topic)):
            yield _stored(record)


async def replay_dead_letters(
    settings: ProgramSettings, *, topic: str | None = None, reason: str | None = None
) -> int:
    """The letters' records were sent unchanged to the partitions they came from; returns how many.

    Letters stay where they are. So each record goes once, however many letters it has by now, and a record that
    came back from `MAX_REPLAYS` replays is left alone: what cannot be repaired would double with each replay.
    Letters without payload are left out.

    Args:
        topic: only letters that came from this topic.
        reason: only letters with this reason.

    Raises:
        StackError: a topic does not exist.
        TransientError: a broker does not answer.
    """
    num_sent = 0
    limits = (
        max_frame_record_bytes(settings.producer.max_frame_bytes),
        max_offload_record_bytes(settings.edge.max_offload_bytes),
    )
    for (kafka, source), limit_bytes in zip(_sources(settings), limits, strict=True):
        if topic not in (None, source):
            continue
        async with Sink(kafka, max_request_bytes=limit_bytes, max_in_flight_bytes=2 * limit_bytes) as sink:
            num_partitions = await sink.num_partitions(source)
            deliveries = []
            replays = await _replays(kafka, source)
            async for record in read_all(kafka, dead_topic(source)):
                letter = _stored(record).letter
                if letter.stub or letter.topic != source or reason not in (None, letter.reason):
                    continue
                num_replays = replays.pop(_identity(letter, record), MAX_REPLAYS)
                if num_replays >= MAX_REPLAYS:
                    continue
                partition = letter.partition if letter.partition < num_partitions else None
                headers = replay_headers(num_replays)
                deliveries.append(
                    await sink.send(
                        source, record.value, key=record.key, partition=partition, headers=headers
                    )
                )
            for delivery in deliveries:
                await delivery
            num_sent += len(deliveries)
    return num_sent


async def _replays(kafka: KafkaSettings, source: str) -> dict[bytes, int]:
    """How often each record that has a letter was sent again, by `_identity`."""
    found: dict[bytes, int] = {}
    async for record in read_all(kafka, dead_topic(source)):
        letter = _stored(record).letter
        identity = _identity(letter, record)
        found[identity] = max(letter.replays, found.get(identity, 0))
    return found


def _identity(letter: DeadLetter, record: Record) -> bytes:
    """The same for all letters of one record, wherever it was sent again."""
    origin = f"{letter.topic} {letter.partition}".encode()
    return blake2b(record.value, key=blake2b(origin + (record.key or b"")).digest()).digest()


def _sources(settings: ProgramSettings) -> tuple[tuple[KafkaSettings, str], tuple[KafkaSettings, str]]:
    frames = (settings.kafka, settings.topics.frames)
    return frames, (settings.offload_cluster, settings.offload_topic)


def _stored(record: Record) -> StoredLetter:
    try:
        letter = dead_letter_from_headers(record.headers)
    except DecodeError as error:
        # Somebody else wrote into the topic: shown, never replayed.
        letter = DeadLetter("bad_headers", str(error), _UNKNOWN_ORIGIN, 0, record.offset)
    return StoredLetter(letter, record)
