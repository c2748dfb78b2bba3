"""Partitions of one topic read without a group: nothing is committed, so that no worker notices the reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Any, Self

from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.errors import KafkaError

from runtime.connections import KafkaSettings
from runtime.kafka_connection import Record, connection_arguments, record_of, started, stop, translated
from runtime.kafka_fetch import safe_consumer

_MAX_BEHIND = 200
"""`read` skips to the end of a partition that is more records ahead than this."""
_GATHER_MS = 100
"""The broker collects records for so long before it answers `read`: an answer costs as much as some ten records."""
_POLL_MS = 500
_LOOK_RECORDS = 256
_LOOK_BYTES = 1 << 20
"""One answer's bound where a record is looked up: it is near the beginning. A larger record comes all the same."""


class TopicReader:
    """Follows the newest records of some partitions, and looks old ones up by time.

    Use as an asynchronous context manager. All calls come from one event loop; `read` from one task only.

    Args:
        kafka: the cluster.
        topic: its topic.
        max_fetch_bytes: bound of one answer of the broker for a partition; at least one record comes.
    """

    def __init__(self, kafka: KafkaSettings, topic: str, *, max_fetch_bytes: int) -> None:
        self._kafka = kafka
        self._topic = topic
        self._max_fetch_bytes = max_fetch_bytes
        self._tail: Any = None
        self._looker: Any = None
        self._look_turn = asyncio.Lock()
        self._followed: frozenset[int] = frozenset()

    async def __aenter__(self) -> Self:
        """Connected.

        Raises:
            TransientError: no broker answers.
        """
        most = self._max_fetch_bytes
        self._tail = await started(
            lambda: self._make(max_fetch_bytes=most, fetch_min_bytes=most, fetch_max_wait_ms=_GATHER_MS),
            self._kafka,
        )
        self._looker = await started(lambda: self._make(max_fetch_bytes=min(most, _LOOK_BYTES)), self._kafka)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in (self._tail, self._looker):
            if each is not None:
                await stop(each)

    @property
    def followed(self) -> frozenset[int]:
        """The partitions that `read` returns records of."""
        return self._followed

    async def num_partitions(self) -> int:
        """The partitions of the topic, 0 while it does not exist; raises `TransientError`."""
        try:
            found = await self._looker._client._wait_on_metadata(self._topic)
        except KafkaError as error:
            raise translated(error, f"asking for the partitions of {self._topic}") from None
        return len(found or ())

    async def follow(self, partitions: Iterable[int], *, last: int = 1) -> None:
        """`read` returns records of these partitions from now on, beginning with the newest `last` of each.

        A partition that is followed already goes on where it stands. Raises `TransientError`.
        """
        wanted = frozenset(partitions)
        if wanted == self._followed:
            return
        try:
            stays = [KafkaTopicPartition(self._topic, each) for each in wanted & self._followed]
            positions = {each: await self._tail.position(each) for each in stays}
            fresh = [KafkaTopicPartition(self._topic, each) for each in wanted - self._followed]
            if not wanted:
                self._tail.unsubscribe()
                self._followed = wanted
                return
            self._tail.assign([*stays, *fresh])
            if fresh:
                begins = await self._tail.beginning_offsets(fresh)
                ends = await self._tail.end_offsets(fresh)
                positions |= {each: max(begins[each], ends[each] - last) for each in fresh}
            for each, offset in positions.items():
                self._tail.seek(each, offset)
        except KafkaError as error:
            raise translated(error, f"following {self._topic}") from None
        self._followed = wanted

    async def read(self, timeout_s: float) -> list[Record]:
        """The next records of the followed partitions; empty after `timeout_s`. Raises `TransientError`."""
        if not self._followed:
            await asyncio.sleep(timeout_s)
            return []
        try:
            found = await self._tail.getmany(timeout_ms=round(1000 * timeout_s))
            for each in found:
                newest = self._tail.highwater(each)
                position = await self._tail.position(each)
                if newest is not None and newest - position > _MAX_BEHIND:
                    self._tail.seek(each, newest - 1)
        except KafkaError as error:
            raise translated(error, f"reading {self._topic}") from None
        return [record_of(record) for records in found.values() for record in records]

    async def find(
        self, partition: int, time_ms: int, *, within_ms: int, wanted: Callable[[Record], bool]
    ) -> Record | None:
        """The partition's first record of broker time `time_ms` or later, up to `within_ms` after it, that is `wanted`.

        None where it is not among the first 256. Raises `TransientError`.
        """
        async with self._look_turn:
            try:
                async for found in self._look(KafkaTopicPartition(self._topic, partition), time_ms):
                    if found.timestamp > time_ms + within_ms:
                        return None
                    record = record_of(found)
                    if wanted(record):
                        return record
            except KafkaError as error:
                raise translated(error, f"looking up {self._topic}") from None
        return None

    async def _look(self, where: KafkaTopicPartition, time_ms: int) -> AsyncIterator[Any]:
        self._looker.assign([where])
        start = (await self._looker.offsets_for_times({where: max(0, time_ms)}))[where]
        if start is None:
            return
        end = min(start.offset + _LOOK_RECORDS, (await self._looker.end_offsets([where]))[where])
        self._looker.seek(where, start.offset)
        while await self._looker.position(where) < end:
            for each in (await self._looker.getmany(where, timeout_ms=_POLL_MS)).get(where, ()):
                yield each

    def _make(self, *, max_fetch_bytes: int, **how: int) -> Any:
        return safe_consumer(
            **connection_arguments(self._kafka),
            **how,
            auto_offset_reset="latest",
            max_partition_fetch_bytes=max_fetch_bytes,
            fetch_max_bytes=4 * max_fetch_bytes,
        )
