"""Records of a consumer group's member, which joins again whatever becomes of its connection, its rights or its topic.

What aiokafka does not say and this module relies on, read in its source (0.14): it rebalances eagerly, so
every partition is revoked and assigned anew; between the two the broker still takes commits of the old
generation, and no read returns records; a read that was waiting when the rebalance began goes on and returns
records of the new assignment, perhaps before the listener has heard of it; one partition that is not assigned
fails a whole commit; a failing listener is logged and forgotten. An error ends a member for good
(`runtime/kafka_member.py` says why), and a new one joins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from runtime.connections import KafkaSettings
from runtime.intake import RebalanceCallback
from runtime.kafka_admin import check_topics
from runtime.kafka_connection import (
    Passing,
    Record,
    attempts,
    connection_arguments,
    opened,
    started,
    stop,
    translated,
)
from runtime.kafka_member import KafkaMember
from runtime.log import get_logger
from runtime.offsets import OffsetGaps, TopicPartition
from runtime.waiting import set_within
from schemas.errors import SaccadeError
from schemas.topics import TopicSpec

_log = get_logger(__name__)


class KafkaSource:
    """One member of a consumer group. Reads from the earliest record, commits only what it is told to.

    Args:
        pattern: in place of topics, a regular expression of their names; topics that come later count too.
        group_instance_id: static membership; the member keeps its partitions over a restart.
        expects: how the topics, and those of their dead letters, should be; a member in the background warns of
            each difference before it joins.
        in_background: the source joins when the cluster lets it, in its own time; else entering it does, and
            raises `TransientError` when no broker answers, `StackError` when a topic is missing.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Iterable[str] = (),
        *,
        pattern: str = "",
        group_id: str,
        group_instance_id: str | None = None,
        fetch_max_bytes: int = 5 * 1024 * 1024,
        max_partition_fetch_bytes: int = 5 * 1024 * 1024,
        expects: Sequence[TopicSpec] = (),
        in_background: bool = False,
    ) -> None:
        self._kafka = kafka
        self._expects = tuple(expects)
        self._in_background = in_background
        self._needed = sorted(topics)
        self._topics = self._needed or [pattern]
        self._subscription: dict[str, Any] = {"pattern": pattern} if pattern else {"topics": self._topics}
        self._arguments: dict[str, Any] = {
            "group_id": group_id,
            "group_instance_id": group_instance_id,
            "fetch_max_bytes": fetch_max_bytes,
            "max_partition_fetch_bytes": max_partition_fetch_bytes,
        }
        self._on_assigned: RebalanceCallback | None = None
        self._on_revoked: RebalanceCallback | None = None
        # None between two members; set by `_make`.
        self._member: KafkaMember | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._trouble: str | None = "not connected yet"
        # Written by the listener only, which runs in aiokafka's own task between two awaits of ours.
        self._generation = 0
        self._holding = asyncio.Event()
        self._callback_error: Exception | None = None
        # Records that came before the listener knew their assignment, and that assignment.
        self._early: tuple[object, list[Record]] = (None, [])
        self._gaps = OffsetGaps()

    def __repr__(self) -> str:
        held = len(self.assignment())
        return f"<Source {','.join(self._topics)} partitions={held} generation={self._generation}>"

    async def __aenter__(self) -> Self:
        connection_arguments(self._kafka)  # what is wrong in the settings themselves is said at once
        first = None if self._in_background else await started(self._make, self._kafka)
        self._keeper = asyncio.create_task(self._keep_joined(first is not None), name="kafka member")
        if first is not None:
            try:
                await self._holding.wait()
            except BaseException:
                await self._close()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._member is not None and self._holding.is_set() and not isinstance(error, Exception):
            await self._member.places.end_in_order(self.assignment())
        await self._close()

    async def _close(self) -> None:
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        if self._member is not None:  # cancelled before it had begun
            await stop(self._member.consumer)

    def listen(
        self, *, on_assigned: RebalanceCallback | None = None, on_revoked: RebalanceCallback | None = None
    ) -> None:
        """Both are awaited at each rebalance from now on; to be called before the member joins.

        Args:
            on_assigned: awaited after partitions came, before their first record.
            on_revoked: awaited before partitions go, should take at most `drain_s`; commits still work in it.
        """
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    @property
    def drain_s(self) -> float:
        """How long `on_revoked` may finish what has begun: half of the group's rebalance timeout."""
        return self._kafka.revoke_drain_s

    @property
    def joined(self) -> bool:
        """True while this member is in the group and holds an assignment, even an empty one."""
        return self._holding.is_set()

    @property
    def trouble(self) -> str | None:
        """Why no records come, one line; None while this member is in its group, or joins it."""
        return self._trouble

    def generation(self) -> int:
        """How many assignments this member has had; the current one's number, 0 before the first."""
        return self._generation

    @property
    def num_missed(self) -> int:
        """Records that the broker had deleted before this member came to read them."""
        return self._gaps.num_missed

    @property
    def must_wait(self) -> bool:
        """True while no record comes before the last one is committed: one of them may have killed a worker."""
        return self._member is not None and self._member.places.attempts.must_wait

    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions now held, also while they are being revoked."""
        return frozenset() if self._member is None else self._member.assignment()

    async def getmany(self, max_records: int, timeout_s: float) -> list[Record]:
        """Up to `max_records` records of partitions held now.

        Empty after `timeout_s`, also during a rebalance and while this member is not in its group. Cancelled,
        it has taken nothing. What cannot be parsed is one `Record` that says so in `unreadable`.

        Raises:
            Exception: what a callback raised; aiokafka itself would only log it.
        """
        self._raise_callback_error()
        if self._keeper is not None and self._keeper.done():
            self._keeper.result()  # a bug, raised to whoever reads
        if self._member is not None:
            self._member.is_alive()
        if not await set_within(self._holding, timeout_s):
            self._look()
            return []
        early = self._take_early()
        if early:
            return await self._begun(self._told_gaps(early))
        if self.must_wait:
            return []
        member = self._member
        assert member is not None
        try:
            member.check(self._needed)
            records = await member.poll(max_records, timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever ends a member, another one may join
            self._end(error)
            return []
        if self._holding.is_set():
            return await self._begun(self._told_gaps(records))
        # Dropping them would lose them: the position of their partitions is already behind them.
        self._early = (member.current_assignment, records)
        return []

    async def _begun(self, records: list[Record]) -> list[Record]:
        """The records; that they are tried now is noted where a death would make that matter."""
        assert self._member is not None
        places = self._member.places
        marks, guilty = places.attempts.begin(((each.topic, each.partition), each.offset) for each in records)
        if guilty:
            records = [
                replace(each, unreadable="its worker died with it each time")
                if ((each.topic, each.partition), each.offset) in guilty
                else each
                for each in records
            ]
        if not marks:
            return records
        self._early = (self._member.current_assignment, records)  # a cancelled read has taken nothing
        await places.note(marks)
        return self._take_early()

    def _look(self) -> None:
        """A member that cannot come back into its group is over."""
        try:
            if self._member is not None:
                self._member.check(needed=())
        except Exception as error:  # noqa: BLE001 - as above
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """The member leaves, and another one will join in its place."""
        self._holding.clear()
        if self._member is not None and not self._member.over.done():
            self._member.over.set_result(None)
            self._trouble = str(translated(error, f"reading {', '.join(self._topics)}"))
            _log.warning("joins its group anew", group=self._arguments["group_id"], why=self._trouble)

    async def _keep_joined(self, is_connected: bool) -> None:
        while True:
            # A member that has read something ends the pauses: the next one joins at once.
            async for attempt in attempts():
                with attempt:
                    if not is_connected:
                        await self._connect()
                    is_connected = False
                    assert self._member is not None
                    await self._live_and_leave(self._member)

    async def _connect(self) -> None:
        try:
            await self._warn_of_differences()
            await opened(self._make, self._kafka)
        except SaccadeError as error:
            self._holding.clear()
            self._member = None
            self._trouble = str(error)
            raise Passing(self._trouble) from None

    async def _warn_of_differences(self) -> None:
        if self._expects:
            for problem in await check_topics(self._kafka, self._expects):
                _log.warning("a topic differs from the settings", problem=problem)
            self._expects = ()  # once told is enough

    async def _live_and_leave(self, member: KafkaMember) -> None:
        """In the group until something ends this member; then what it has begun is finished, as on a revoke.

        Raises:
            Passing: it has read nothing.
        """
        try:
            if not member.over.done():
                self._trouble = None
            await asyncio.wait([member.over])
            await self._revoked(set(self.assignment()))
        finally:
            await stop(member.consumer)
            self._member = None
        if not member.has_read:
            raise Passing(self._trouble)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """`getmany` returns none of these until `resume` or the next assignment; others are ignored."""
        if self._member is not None:
            self._member.pause(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """The reverse of `pause`."""
        if self._member is not None:
            self._member.resume(partitions)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The next offsets to read are at the broker, of those partitions that are still held.

        Raises:
            TransientError: the broker did not answer in time, or the group has gone on without this member.
        """
        if self._member is not None:
            await self._member.places.commit(offsets)

    async def lag(self) -> int:
        """Records in the held partitions that `getmany` has not returned yet; 0 without any.

        Raises:
            TransientError: the broker did not answer in time.
        """
        return 0 if self._member is None else await self._member.lag()

    def _make(self) -> Any:
        # Set at once: its start returns after the first assignment, which asks it for positions.
        self._member = KafkaMember(
            self._kafka,
            self._subscription,
            self._arguments,
            revoked=self._revoked,
            assigned=self._assigned,
            silent=self._gaps.silent,
        )
        return self._member.consumer

    def _take_early(self) -> list[Record]:
        """What an earlier read kept back, unless its assignment is over: then it comes again by itself."""
        (assignment, records), self._early = self._early, (None, [])
        is_over = self._member is None or assignment is not self._member.current_assignment
        return [] if is_over else records

    def _forget_early(self, misread: set[TopicPartition]) -> None:
        """What was read there before the listener knew better comes from places that mean nothing."""
        assignment, records = self._early
        kept = [each for each in records if (each.topic, each.partition) not in misread]
        self._early = (assignment, kept)

    def _told_gaps(self, records: list[Record]) -> list[Record]:
        """The records; what is missing before them is counted and told."""
        missed = self._gaps.read(((each.topic, each.partition), each.offset) for each in records)
        for (topic, partition), num_records in missed.items():
            _log.warning(
                "records were deleted before they were read: the topic keeps too little for this backlog",
                topic=topic,
                partition=partition,
                num_records=num_records,
            )
        return records

    async def _revoked(self, partitions: set[TopicPartition]) -> None:
        self._holding.clear()
        if partitions:
            # Longer than this and the group goes on without this member anyway.
            await self._call(self._on_revoked, partitions, 1.5 * self.drain_s)
            assert self._member is not None
            await self._member.places.end_in_order(partitions)

    async def _assigned(self, partitions: set[TopicPartition]) -> None:
        self._generation += 1
        self._gaps.restart()
        await self._call(self._on_assigned, partitions, self.drain_s)
        member = self._member
        assert member is not None
        self._forget_early(await member.places.learn(partitions, self.drain_s / 2))
        self._holding.set()
        # The client itself asks for a partition's position before it reads from it.
        self._gaps.begin_at(await member.positions(partitions, self.drain_s))

    async def _call(
        self, callback: RebalanceCallback | None, partitions: set[TopicPartition], timeout_s: float
    ) -> None:
        if callback is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await callback(partitions)
        except TimeoutError:  # the group goes on, and so does this member
            _log.warning("a rebalance was not waited for any longer", timeout_s=timeout_s)
        except Exception as error:  # noqa: BLE001 - raised by the next getmany
            self._callback_error = error

    def _raise_callback_error(self) -> None:
        if self._callback_error is not None:
            error, self._callback_error = self._callback_error, None
            raise error
