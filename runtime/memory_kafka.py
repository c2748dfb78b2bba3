"""Topics and consumer groups within one process, for tests and the self-test: twins of `KafkaSource` and `Sink`.

They keep what the workers rely on: order in a partition, one member a partition, offsets by group, a rebalance
that revokes everything before it assigns anew, a commit that leaves out what is not held.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from types import TracebackType
from typing import Self

from runtime.intake import RebalanceCallback
from runtime.kafka_connection import Record
from runtime.offsets import TopicPartition
from runtime.waiting import set_within
from schemas.errors import TransientError


class MemoryBroker:
    """The records of all topics and what each group has committed; one event loop only.

    While `away`, nothing is acknowledged, read or committed. What was handed over is acknowledged later.
    """

    def __init__(self, num_partitions: int = 4) -> None:
        self.num_partitions = num_partitions
        self.committed: dict[str, dict[TopicPartition, int]] = defaultdict(dict)
        self._logs: dict[TopicPartition, list[Record]] = defaultdict(list)
        self._groups: dict[str, _Group] = {}
        self._here = asyncio.Event()
        self._here.set()
        self._grown = asyncio.Event()

    def __repr__(self) -> str:
        num_records = sum(len(log) for log in self._logs.values())
        return f"<MemoryBroker records={num_records} groups={len(self._groups)}>"

    @property
    def away(self) -> bool:
        """True while it answers nobody."""
        return not self._here.is_set()

    @away.setter
    def away(self, is_away: bool) -> None:
        if is_away:
            self._here.clear()
        else:
            self._here.set()
            self._grown.set()

    def records(self, topic: str) -> list[Record]:
        """Everything in a topic, partition by partition."""
        return [record for key in sorted(self._logs) if key[0] == topic for record in self._logs[key]]

    def append(
        self,
        topic: str,
        partition: int,
        value: bytes,
        key: bytes | None = None,
        headers: Iterable[tuple[str, bytes]] = (),
    ) -> None:
        """The record is the last of its partition."""
        log = self._logs[topic, partition]
        log.append(Record(topic, partition, len(log), round(time.time() * 1000), key, value, tuple(headers)))
        self._grown.set()

    def log_of(self, partition: TopicPartition) -> list[Record]:
        """The records of one partition, in order."""
        return self._logs[partition]

    def group(self, group_id: str) -> _Group:
        """The group of that name."""
        return self._groups.setdefault(group_id, _Group())

    async def answering(self) -> None:
        """Waits until it is not away."""
        await self._here.wait()

    def wake(self) -> None:
        """A member that waits for records looks again."""
        self._grown.set()

    async def grown(self, timeout_s: float) -> bool:
        """True at the next record, when it is back or at `wake`; False after `timeout_s`."""
        self._grown.clear()
        return await set_within(self._grown, timeout_s)


class _Group:
    """The members of one group; one rebalance at a time."""

    def __init__(self) -> None:
        self.members: list[MemorySource] = []
        self.turn = asyncio.Lock()


class MemorySource:
    """One member of a group: the twin of `runtime.kafka_source.KafkaSource`."""

    def __init__(self, broker: MemoryBroker, topics: Iterable[str], *, group_id: str) -> None:
        self.drain_s = 15.0
        self.num_missed = 0
        self.trouble: str | None = None
        self.must_wait = False
        self._broker = broker
        self._topics = sorted(topics)
        self._group_id = group_id
        self._group = broker.group(group_id)
        self._on_assigned: RebalanceCallback | None = None
        self._on_revoked: RebalanceCallback | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        # When a topic, and one of its partitions, gave a record last.
        self._turns: dict[str | TopicPartition, int] = {}
        self._generation = 0
        self._holding = asyncio.Event()

    def __repr__(self) -> str:
        return f"<MemorySource {','.join(self._topics)} partitions={len(self._positions)}>"

    async def __aenter__(self) -> Self:
        async with self._group.turn:
            await self._rebalance([*self._group.members, self])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._group.turn:
            # Nobody asks a member that leaves to drain, as in the library.
            self._holding.clear()
            self._positions, self._paused = {}, set()
            self._group.members = [member for member in self._group.members if member is not self]
            await self._rebalance(self._group.members)

    def listen(
        self, *, on_assigned: RebalanceCallback | None = None, on_revoked: RebalanceCallback | None = None
    ) -> None:
        """Both are awaited at each rebalance from now on."""
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    @property
    def joined(self) -> bool:
        """True while it holds an assignment, even an empty one."""
        return self._holding.is_set()

    @property
    def is_paused(self) -> bool:
        """True while it asks for nothing of some partition."""
        return bool(self._paused)

    def generation(self) -> int:
        """How many assignments it has had."""
        return self._generation

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions now held, also while they are being revoked."""
        return frozenset(self._positions)

    async def getmany(self, max_records: int, timeout_s: float) -> list[Record]:
        """Up to `max_records` records of partitions held and not paused; empty after `timeout_s`."""
        if not await set_within(self._holding, timeout_s):
            return []
        records = self._next(max_records)
        if not records and timeout_s > 0 and await self._broker.grown(timeout_s):
            records = self._next(max_records)
        return records

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """`getmany` returns none of these."""
        self._paused |= set(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """The reverse of `pause`."""
        self._paused -= set(partitions)
        self._broker.wake()

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The offsets are kept for the group, of partitions still held.

        Raises:
            TransientError: the broker is away.
        """
        if self._broker.away:
            raise TransientError("the broker in memory is away")
        held = {each: offset for each, offset in offsets.items() if each in self._positions}
        self._broker.committed[self._group_id] |= held

    async def lag(self) -> int:
        """Records in the held partitions that `getmany` has not returned; raises as `commit`."""
        if self._broker.away:
            raise TransientError("the broker in memory is away")
        return sum(len(self._broker.log_of(each)) - at for each, at in self._positions.items())

    def _next(self, max_records: int) -> list[Record]:
        records: list[Record] = []
        if self._broker.away or not self.joined:
            return records
        turn = 1 + max(self._turns.values(), default=0)
        for each in sorted(set(self._positions) - self._paused, key=self._turn):
            position = self._positions[each]
            some = self._broker.log_of(each)[position : position + max_records - len(records)]
            if some:
                self._positions[each] += len(some)
                self._turns |= {each[0]: turn, each: turn}
            records += some
        return records

    def _turn(self, partition: TopicPartition) -> tuple[int, int, TopicPartition]:
        """Topics take turns, and so do the partitions of one: as in the library's hands."""
        return self._turns.get(partition[0], 0), self._turns.get(partition, 0), partition

    async def _rebalance(self, members: list[MemorySource]) -> None:
        for member in self._group.members:
            await member._revoke()
        self._group.members = members
        partitions = [(topic, each) for topic in self._topics for each in range(self._broker.num_partitions)]
        for index, member in enumerate(members):
            await member._assign(partitions[index :: len(members)])

    async def _revoke(self) -> None:
        self._holding.clear()
        if self._on_revoked is not None:
            await self._on_revoked(set(self._positions))
        self._positions, self._paused = {}, set()

    async def _assign(self, partitions: Iterable[TopicPartition]) -> None:
        committed = self._broker.committed[self._group_id]
        self._positions = {each: committed.get(each, 0) for each in partitions}
        self._generation += 1
        if self._on_assigned is not None:
            await self._on_assigned(set(self._positions))
        self._holding.set()


class MemorySink:
    """A producer: the twin of `runtime.kafka_sink.Sink`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self._turns = count()
        self._waiting: set[asyncio.Task[None]] = set()
        self.in_flight_bytes = 0
        self._sent_bytes = 0

    def __repr__(self) -> str:
        return f"<MemorySink in_flight_bytes={self.in_flight_bytes}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._waiting:
            task.cancel()
        if self._waiting:
            await asyncio.wait(self._waiting)

    def wire_bytes_sent(self) -> int | None:
        """The bytes of all values so far: there are no connections."""
        return self._sent_bytes

    async def ready(self, topic: str) -> None:
        """Nothing to wait for."""

    async def num_partitions(self, topic: str) -> int:  # noqa: ARG002 - as the twin
        """How many partitions each topic has."""
        return self._broker.num_partitions

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        partition: int | Callable[[int], int] | None = None,
        headers: list[tuple[str, bytes]] | None = None,
    ) -> asyncio.Future[object]:
        """The record is in its topic once the future is done: at once, or when the broker is back."""
        num_partitions = self._broker.num_partitions
        if callable(partition):
            partition = partition(num_partitions)
        where = next(self._turns) % num_partitions if partition is None else partition
        delivery: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.in_flight_bytes += len(value)
        self._sent_bytes += len(value)

        def deliver() -> None:
            self.in_flight_bytes -= len(value)
            self._broker.append(topic, where, value, key, headers or ())
            if not delivery.done():
                delivery.set_result(None)

        if not self._broker.away:
            deliver()
            return delivery

        async def wait() -> None:
            await self._broker.answering()
            deliver()

        task = asyncio.get_running_loop().create_task(wait())
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return delivery

    async def flush(self, timeout_s: float) -> bool:
        """True when everything was delivered, False after `timeout_s`."""
        if self._waiting:
            await asyncio.wait(self._waiting, timeout=timeout_s)
        return not self._waiting
