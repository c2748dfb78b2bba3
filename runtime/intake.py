"""A group member's records and the offsets they hold back: poll, ack or release, commit, hand over.

Used by edge and server workers, on top of a `RecordSource`. Each record comes as a `Delivery`, which ends once.
Its offset is committed once everything below it in its partition is acknowledged. On revoke what has not begun
is left to the next owner, what has begun is drained within a limit, and later results of the old assignment
move no offset.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from runtime.kafka_connection import Record
from runtime.log import get_logger
from runtime.offsets import OffsetTracker, TopicPartition
from runtime.waiting import set_within
from schemas.errors import DecodeError, TransientError

_COMMIT_SHARE = 0.4
"""What a commit at revoke may take, as a share of `drain_s`: after one and a half of it the group goes on."""
_log = get_logger(__name__)

RebalanceCallback = Callable[[set[TopicPartition]], Awaitable[None]]


class RecordSource(Protocol):
    """One member of a consumer group: `runtime.kafka_source.KafkaSource`, or its twin in memory."""

    @property
    def drain_s(self) -> float:
        """How long `on_revoked` may finish what has begun: half of the group's rebalance timeout."""
        ...

    def listen(self, *, on_assigned: RebalanceCallback, on_revoked: RebalanceCallback) -> None:
        """Both are awaited at each rebalance from now on; to be called before the member joins."""
        ...

    @property
    def must_wait(self) -> bool:
        """True while no record comes before the last one is committed."""
        ...

    async def getmany(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Up to `max_records` records; empty after `timeout_s`."""
        ...

    def assignment(self) -> Collection[TopicPartition]:
        """The partitions now held."""
        ...

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """`getmany` returns none of these."""
        ...

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """The reverse of `pause`."""
        ...

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The next offsets are at the broker, of partitions still held."""
        ...


class Delivery:
    """A record that holds back its partition's offset until `ack`. It ends once: by `ack` or by `release`.

    Args:
        settle: called at the end with the record, and True for `ack`.
    """

    __slots__ = ("_settle", "record")

    def __init__(self, record: Record, settle: Callable[[Record, bool], None]) -> None:
        self.record = record
        self._settle: Callable[[Record, bool], None] | None = settle

    def __repr__(self) -> str:
        state = "open" if self._settle else "ended"
        return f"<Delivery {self.record.topic}/{self.record.partition}@{self.record.offset} {state}>"

    @property
    def partition(self) -> TopicPartition:
        """Where the record was read from."""
        return (self.record.topic, self.record.partition)

    @property
    def value(self) -> bytes:
        """The record's value, to be opened.

        Raises:
            DecodeError: `unreadable`: it must not be, or no client can.
        """
        if self.record.unreadable is not None:
            raise DecodeError("unreadable", self.record.unreadable)
        return self.record.value

    def ack(self) -> None:
        """The record is done: its label is in Redis and its offload settled, or it is a dead letter.

        Raises:
            ValueError: the delivery has ended before.
        """
        self._end(True)

    def release(self) -> None:
        """The record is not worked on here; its offset stays open, so that it comes again. Raises as `ack`."""
        self._end(False)

    def _end(self, is_done: bool) -> None:
        if self._settle is None:
            raise ValueError(f"{self} has ended before")
        settle, self._settle = self._settle, None
        settle(self.record, is_done)


class Intake:
    """What one group member has taken and not finished. All state is touched from the event loop's thread only.

    Args:
        source: listens to the intake from now on, so it must not have joined its group yet.
        forget: called at revoke with the partitions that leave; releases the deliveries of records that have
            not begun.
        max_drain_s: how long a revoke waits for what has begun, where the source would allow more.
    """

    def __init__(
        self,
        source: RecordSource,
        *,
        forget: Callable[[frozenset[TopicPartition]], None],
        max_drain_s: float | None = None,
    ) -> None:
        self._source = source
        self._forget = forget
        self._drain_s = source.drain_s if max_drain_s is None else min(max_drain_s, source.drain_s)
        self._trackers: dict[TopicPartition, OffsetTracker] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        # Deliveries that have not ended, by partition; those of earlier assignments too.
        self._open: Counter[TopicPartition] = Counter()
        self._changed = asyncio.Event()
        self.num_finished = 0
        source.listen(on_assigned=self._on_assigned, on_revoked=self._on_revoked)

    def __repr__(self) -> str:
        return f"<Intake open={self.num_open} finished={self.num_finished} partitions={len(self._trackers)}>"

    @property
    def num_open(self) -> int:
        """Deliveries that have not ended."""
        return self._open.total()

    @property
    def paused(self) -> frozenset[TopicPartition]:
        """The partitions that send nothing for now."""
        return frozenset(self._paused)

    async def poll(self, max_records: int, timeout_s: float) -> list[Delivery]:
        """Up to `max_records` new records."""
        if self._source.must_wait:
            await self._committed_within(timeout_s)
        deliveries = []
        for record in await self._source.getmany(max_records, timeout_s):
            key = (record.topic, record.partition)
            tracker = self._trackers.get(key)
            if tracker is None:  # its partition has just gone to somebody else
                continue
            if record.offset <= tracker.last_taken:
                tracker = self._begin_anew(record, tracker)
            tracker.take(record.offset)
            self._open[key] += 1
            deliveries.append(Delivery(record, partial(self._settle, tracker)))
        return deliveries

    async def _committed_within(self, timeout_s: float) -> None:
        """What was taken is committed, or time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.drained()
            await self.commit()

    async def drained(self) -> None:
        """Waits until nothing is open."""
        await self._closed(None)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """No records come from the partitions until `resume`."""
        fresh = set(partitions) - self._paused
        if fresh:
            self._paused |= fresh
            self._source.pause(fresh)

    def pause_all(self) -> None:
        """No records come from any partition now held until `resume`."""
        self.pause(self._source.assignment())

    def resume(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Records come again from the given, or all paused, partitions."""
        back = self._paused if partitions is None else self._paused & set(partitions)
        held = back & set(self._source.assignment())
        self._paused = self._paused - back
        if held:
            self._source.resume(held)

    async def commit(self) -> None:
        """What is finished is committed, as far as the broker answers; a failure is tried again next time."""
        due = self._due()
        if not due:
            return
        try:
            await self._source.commit(due)
        except TransientError as error:
            _log.warning("offsets not committed yet", error=str(error))
            return
        self._committed |= {each: mark for each, mark in due.items() if each in self._trackers}

    async def commit_until(self, stop: asyncio.Event, interval_s: float) -> None:
        """Commits every `interval_s` until `stop` is set, and once more then."""
        while not await set_within(stop, interval_s):
            await self.commit()
        await self.commit()

    async def _on_assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """The partitions start afresh, at their committed offsets, and none is paused.

        One that was paused since they were revoked, was so in an assignment that is over.
        """
        begun = frozenset(partitions)
        self._paused.clear()
        self._source.resume(begun)
        for each in begun:
            self._start(each)

    async def _on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """What has begun there is finished and committed, or time is up; then they are forgotten."""
        leaving = frozenset(partitions)
        self._paused -= leaving
        try:
            self._forget(leaving)
            try:
                async with asyncio.timeout(self._drain_s):
                    await self._closed(leaving)
            except TimeoutError:
                _log.warning("gave partitions back before all was finished", open=self.num_open)
            try:
                async with asyncio.timeout(_COMMIT_SHARE * self._source.drain_s):
                    await self.commit()
            except TimeoutError:
                _log.warning("gave partitions back before their offsets were committed")
        finally:
            for each in leaving:
                self._trackers.pop(each, None)
                self._committed.pop(each, None)

    def _start(self, partition: TopicPartition) -> OffsetTracker:
        tracker = self._trackers[partition] = OffsetTracker()
        self._committed.pop(partition, None)
        return tracker

    def _begin_anew(self, record: Record, tracker: OffsetTracker) -> OffsetTracker:
        """The client never goes back by itself: the topic was made anew, or its log's end was lost."""
        _log.warning(
            "the log begins anew",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            after=tracker.last_taken,
        )
        return self._start((record.topic, record.partition))

    def _due(self) -> dict[TopicPartition, int]:
        """The next offset to commit of each partition that moved since the last commit."""
        marks = {each: tracker.committable() for each, tracker in self._trackers.items()}
        return {
            each: mark
            for each, mark in marks.items()
            if mark is not None and mark != self._committed.get(each)
        }

    async def _closed(self, partitions: frozenset[TopicPartition] | None) -> None:
        """Waits until nothing of the partitions (None = of any) is open."""
        while self.num_open if partitions is None else any(self._open[each] for each in partitions):
            self._changed.clear()
            await self._changed.wait()

    def _settle(self, tracker: OffsetTracker, record: Record, is_done: bool) -> None:
        if is_done:
            tracker.finish(record.offset)  # of no effect where the tracker's assignment is over
            self.num_finished += 1
        key = (record.topic, record.partition)
        self._open[key] -= 1
        if not self._open[key]:
            del self._open[key]
        self._changed.set()
