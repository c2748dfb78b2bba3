"""A consumer of aiokafka that only meets batches which it can parse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.protocol.fetch import FetchRequest

from runtime.kafka_batches import Readable, is_compressed, readable
from runtime.kafka_connection import Record, record_of
from runtime.offsets import TopicPartition

MAX_BATCH_BYTES: Final = 16 * 1024 * 1024
"""What a batch may come to without its compression, where a reader has no bound of its own."""
_HANDLED_BY_LIBRARY: Final = frozenset({0, 1, 3, 6, 29})
"""Error codes of a fetched partition that aiokafka reacts to; at others it asks again at once."""
_PAUSE_S: Final = 0.5
_MAX_NOTED: Final = 10_000
"""Stand-ins whose reasons wait for their record; a reader that never asks for them keeps no more."""


def safe_consumer(**arguments: Any) -> Any:
    """A consumer without a group, whose records are empty where nobody can read them."""
    consumer = AIOKafkaConsumer(**arguments, enable_auto_commit=False, check_crcs=False)
    SafeFetch(consumer)
    return consumer


class SafeFetch:
    """Makes readable what `consumer` fetches from now on, and its records.

    Large or compressed batches are expanded and checked in a thread.

    Args:
        max_batch_bytes: what one batch may come to without its compression.
        silent: called with a partition and its offsets [begin, end) that hold no record.
    """

    def __init__(
        self,
        consumer: Any,
        *,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        silent: Callable[[TopicPartition, list[tuple[int, int]]], None] | None = None,
    ) -> None:
        self._max_batch_bytes = max_batch_bytes
        self._silent = silent
        self._unreadable: dict[tuple[str, int, int], str] = {}
        client = consumer._client
        self._send = client.send
        client.send = self._fetch

    def record(self, found: Any) -> Record:
        """The record that the library found; a stand-in says why."""
        if not self._unreadable:
            return record_of(found)
        return record_of(found, self._unreadable.pop((found.topic, found.partition, found.offset), None))

    async def _fetch(self, node: Any, request: Any, **how: Any) -> Any:
        response = await self._send(node, request, **how)
        if not isinstance(request, FetchRequest):
            return response
        begins = {
            (topic, partition): offset
            for topic, partitions in request.topics
            for partition, offset, _ in partitions
        }
        response.topics = [
            (topic, [await self._readable(topic, part, begins) for part in partitions])
            for topic, partitions in response.topics
        ]
        codes = {part[1] for _, partitions in response.topics for part in partitions}
        if not codes <= _HANDLED_BY_LIBRARY:
            await asyncio.sleep(_PAUSE_S)
        return response

    async def _readable(self, topic: str, part: Any, begins: dict[tuple[str, int], int]) -> Any:
        """One partition's part of the answer: number, error code, ..., and the batches at its end."""
        fetched = part[-1]
        if not fetched:
            return part
        key = (topic, part[0])
        if is_compressed(fetched):
            found = await asyncio.to_thread(readable, fetched, begins[key], self._max_batch_bytes)
        else:
            found = readable(fetched, begins[key], self._max_batch_bytes)
        self._note(key, found)
        return (*part[:-1], found.batches)

    def _note(self, key: TopicPartition, found: Readable) -> None:
        self._unreadable |= {(*key, offset): why for offset, why in found.unreadable.items()}
        while len(self._unreadable) > _MAX_NOTED:
            del self._unreadable[next(iter(self._unreadable))]
        if self._silent is not None and found.silent:
            self._silent(key, found.silent)
