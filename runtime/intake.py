"""A group member's records and the offsets they hold back: take, finish, commit, hand over on a rebalance.

Used by edge and server workers, on top of `runtime.kafka.Source`. A record's offset is committed once
everything below it in its partition is finished. On revoke what has not begun is left to the next owner, what
has begun is drained within a limit, and later results of the old assignment move no offset.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runtime.kafka import Record
from runtime.log import get_logger
from runtime.offsets import OffsetLedger, Ticket, TopicPartition
from runtime.waiting import set_within
from schemas.errors import TransientError

_log = get_logger(__name__)


class RecordSource(Protocol):
    """What the intake needs of `runtime.kafka.Source`."""

    async def getmany(self, max_records: int, timeout_s: float) -> Sequence[Record]:
        """Up to `max_records` records; empty after `timeout_s`."""
        ...

    def assignment(self) -> Iterable[TopicPartition]:
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


@dataclass(frozen=True, slots=True)
class Taken:
    """A record and the ticket that holds back its offset."""

    record: Record
    ticket: Ticket


class Intake:
    """What one consumer has taken and not finished.

    Give `on_assigned` and `on_revoked` to the source, then the source to `attach`. All state is touched from
    the event loop's thread only.

    Args:
        drain_s: how long a revoke waits for what has begun; at most half of the group's rebalance timeout.
        forget: called at revoke with the partitions; returns the tickets of records that have not begun and
            that the worker has just forgotten.
    """

    def __init__(
        self, *, drain_s: float, forget: Callable[[frozenset[TopicPartition]], Iterable[Ticket]]
    ) -> None:
        self._drain_s = drain_s
        self._forget = forget
        self._ledger = OffsetLedger()
        self._generation = 0
        self._paused: set[TopicPartition] = set()
        # Taken, neither finished nor abandoned, by partition and generation.
        self._open: Counter[tuple[str, int, int]] = Counter()
        self._changed = asyncio.Event()
        self._source: RecordSource | None = None
        self.num_finished = 0

    def __repr__(self) -> str:
        return f"<Intake open={self.num_open} finished={self.num_finished} generation={self._generation}>"

    @property
    def num_open(self) -> int:
        """Records taken and neither finished nor abandoned."""
        return self._open.total()

    @property
    def paused(self) -> frozenset[TopicPartition]:
        """The partitions that send nothing for now."""
        return frozenset(self._paused)

    def attach(self, source: RecordSource) -> None:
        """Records come from `source` from now on."""
        self._source = source

    async def on_assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """The partitions start afresh, at their committed offsets."""
        self._generation += 1
        self._ledger.assign(partitions, self._generation)

    async def on_revoked(self, partitions: Iterable[TopicPartition]) -> None:
        """What has begun there is finished and committed, or time is up; then they are forgotten."""
        leaving = frozenset((topic, partition) for topic, partition in partitions)
        self._paused -= leaving
        self.abandon(self._forget(leaving))
        try:
            async with asyncio.timeout(self._drain_s):
                while self._has_open(leaving):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            _log.warning("gave partitions back before all was finished", open=self.num_open)
        await self.commit()
        self._ledger.revoke(leaving)

    async def poll(self, max_records: int, timeout_s: float) -> list[Taken]:
        """Up to `max_records` new records, each holding back its offset until `finish`."""
        records = await self._held_source().getmany(max_records, timeout_s)
        taken = []
        for record in records:
            ticket = self._ledger.take(record.topic, record.partition, record.offset)
            if ticket is not None:  # else its partition has just gone to somebody else
                self._open[ticket.topic, ticket.partition, ticket.generation] += 1
                taken.append(Taken(record, ticket))
        return taken

    def finish(self, ticket: Ticket) -> None:
        """The record is done: its label is in Redis and its offload settled, or it is a dead letter."""
        self._ledger.finish(ticket)
        self.num_finished += 1
        self._close(ticket)

    def abandon(self, tickets: Iterable[Ticket]) -> None:
        """The records will not be worked on here; their offsets stay open, so that they come again."""
        for ticket in tickets:
            self._close(ticket)

    async def drained(self) -> None:
        """Waits until nothing is open."""
        while self.num_open:
            self._changed.clear()
            await self._changed.wait()

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """No records come from the partitions until `resume`."""
        fresh = set(partitions) - self._paused
        if fresh:
            self._paused |= fresh
            self._held_source().pause(fresh)

    def pause_all(self) -> None:
        """No records come from any partition now held until `resume`."""
        self.pause(self._held_source().assignment())

    def resume(self, partitions: Iterable[TopicPartition] | None = None) -> None:
        """Records come again from the given, or all paused, partitions."""
        back = self._paused if partitions is None else self._paused & set(partitions)
        held = back & set(self._held_source().assignment())
        self._paused = self._paused - back
        if held:
            self._held_source().resume(held)

    async def commit(self) -> None:
        """What is finished is committed, as far as the broker answers; a failure is tried again next time."""
        due = self._ledger.due()
        if not due:
            return
        try:
            await self._held_source().commit(due)
        except TransientError as error:
            _log.warning("offsets not committed yet", error=str(error))
            return
        self._ledger.committed(due)

    async def commit_until(self, stop: asyncio.Event, interval_s: float) -> None:
        """Commits every `interval_s` until `stop` is set, and once more then."""
        while not await set_within(stop, interval_s):
            await self.commit()
        await self.commit()

    def _held_source(self) -> RecordSource:
        if self._source is None:
            raise RuntimeError("attach a source first")
        return self._source

    def _has_open(self, partitions: frozenset[TopicPartition]) -> bool:
        return any(count > 0 and key[:2] in partitions for key, count in self._open.items())

    def _close(self, ticket: Ticket) -> None:
        key = (ticket.topic, ticket.partition, ticket.generation)
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]
        self._changed.set()
