"""Where one member of a group stands in the logs of its partitions: what it commits, and what others noted there.

A commit that is under way while its topic is made anew may put an old place into the new log, whose first records
would then be passed over. Hence each place says whose it is (`attempts.Note`), and one of another topic counts for
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from runtime.attempts import Attempts, Marks, Note
from runtime.kafka_connection import translated
from runtime.kafka_topic_ids import topic_ids
from runtime.log import get_logger
from runtime.offsets import TopicPartition

_log = get_logger(__name__)


class Places:
    """Of one consumer of the library, from one assignment to the next.

    Args:
        consumer: an `AIOKafkaConsumer`, not started yet.
        timeout_s: how long its broker may take for one answer.
    """

    def __init__(self, consumer: Any, timeout_s: float) -> None:
        self.attempts = Attempts()
        self._consumer = consumer
        self._timeout_s = timeout_s
        # Of the topics held, as they were when the assignment began, and whether there may be others by now.
        self._topic_ids: dict[str, str] = {}
        self._may_differ = False
        consumer._client.cluster.add_listener(self._metadata_came)

    def held(self, partitions: Iterable[TopicPartition]) -> list[KafkaTopicPartition]:
        """Those of the partitions that are held now."""
        held = self._consumer.assignment()
        wanted = [KafkaTopicPartition(*each) for each in partitions]
        return [each for each in wanted if each in held]

    async def learn(self, partitions: Iterable[TopicPartition], timeout_s: float) -> set[TopicPartition]:
        """A new assignment begins with what members before noted of it; without an answer, with nothing.

        Returns:
            The partitions whose log is another one than that of their committed place. Reading begins anew there.
        """
        wanted = self.held(partitions)
        committed: dict[TopicPartition, tuple[int, int]] = {}
        logs: dict[TopicPartition, tuple[int, int]] = {}
        anew: set[TopicPartition] = set()
        self._topic_ids, self._may_differ = {}, False
        try:
            async with asyncio.timeout(timeout_s):
                if wanted:
                    self._topic_ids = await topic_ids(self._consumer._client, {each.topic for each in wanted})
                found = await self._consumer._coordinator.fetch_committed_offsets(wanted)
                for each, told in found.items():
                    note = Note.parse(told.metadata or "")
                    if self._is_foreign(each.topic, note):
                        self._consumer.seek(each, 0)
                        anew.add((each.topic, each.partition))
                    else:
                        committed[each.topic, each.partition] = (told.offset, note.num_tries)
                noted = [each for each, (_, num_tries) in committed.items() if num_tries]
                logs = await self._logs(noted)
        except (TimeoutError, KafkaError) as error:
            _log.warning("not known what was tried before", why=str(error) or type(error).__name__)
        if anew:
            _log.warning("begins at the beginning: the topic was made anew", partitions=sorted(anew))
        self.attempts.assigned(committed, logs)
        if self.attempts.is_careful:
            _log.warning("a worker died here: its records go one by one", partitions=len(logs))
        return anew

    def _is_foreign(self, topic: str, note: Note) -> bool:
        return bool(note.topic_id) and self._topic_ids.get(topic, note.topic_id) != note.topic_id

    async def _logs(self, partitions: list[TopicPartition]) -> dict[TopicPartition, tuple[int, int]]:
        """Where the logs of the partitions begin and end."""
        wanted = [KafkaTopicPartition(*each) for each in partitions]
        if not wanted:
            return {}
        begins, ends = (
            await self._consumer.beginning_offsets(wanted),
            await self._consumer.end_offsets(wanted),
        )
        return {(each.topic, each.partition): (begins[each], ends[each]) for each in wanted}

    def _metadata_came(self, _: object) -> None:
        self._may_differ = bool(self._topic_ids)

    async def check_topics(self) -> None:
        """Returns while the topics held are those that the assignment began with, as far as a broker tells.

        Raises:
            KafkaError: one was made anew: other records are at this member's places.
        """
        if not self._may_differ:
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                now = await topic_ids(self._consumer._client, self._topic_ids)
        except (TimeoutError, KafkaError):
            return  # asked again with the next read
        self._may_differ = False
        anew = sorted(each for each, topic_id in now.items() if topic_id != self._topic_ids[each])
        if anew:
            raise KafkaError(f"{', '.join(anew)} was made anew")

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The next offsets to read are at the broker, of those partitions that are still held.

        Raises:
            TransientError: the broker did not answer in time, or the group has gone on without this member.
        """
        held = {
            (each.topic, each.partition): (offsets[each.topic, each.partition], 0)
            for each in self.held(offsets)
        }
        if not held:
            return
        try:
            await self._write(held)
        except (TimeoutError, KafkaError) as error:
            raise translated(error, f"committing {len(held)} offsets") from None
        self.attempts.committed({each: offset for each, (offset, _) in held.items()})

    async def note(self, marks: Marks) -> None:
        """What is tried now stands beside the offsets, as far as the broker answers."""
        try:
            await self._write(marks)
        except (TimeoutError, KafkaError) as error:
            _log.warning("what is tried now is not noted", why=str(error) or type(error).__name__)

    async def end_in_order(self, partitions: Iterable[TopicPartition]) -> None:
        """Nobody takes this member for one that died with these partitions."""
        marks = self.attempts.ended(partitions)
        if marks:
            await self.note(marks)

    async def _write(self, marks: Marks) -> None:
        """Tried once: the library would go on for as long as one topic is away, and hold up those of all sites."""
        offsets = {}
        for each in self.held(marks):
            offset, num_tries = marks[each.topic, each.partition]
            note = Note(num_tries, self._topic_ids.get(each.topic, ""))
            offsets[each] = OffsetAndMetadata(offset, str(note))
        coordinator = self._consumer._coordinator
        async with asyncio.timeout(self._timeout_s):
            await coordinator.ensure_coordinator_known()
            async with coordinator._commit_lock:
                await asyncio.shield(coordinator._do_commit_offsets(None, offsets))
