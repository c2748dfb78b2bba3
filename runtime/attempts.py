"""Which records a member had in hand each time when it died. Pure, no await, no client.

A record that kills its worker is read again by the next one, for ever. So a member notes, beside the committed
offset of a partition and before it hands out the partition's first record, that it is about to try what lies
there. Progress or an orderly end removes the note. A member that finds one is **careful**: it hands out one record
at a time, each with a note of its own, until what may be guilty is behind it. A record whose note says that
`MAX_DEATHS` members died with it is handed out as one that must not be opened.

Notes travel as Kafka's metadata of a committed offset: they belong to the group, cost one commit an assignment,
and outlive the machine. They also say whose log an offset belongs to: of a topic that is made anew under its old
name, an offset that was committed late would else be taken for a place in the new log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from runtime.offsets import TopicPartition

MAX_DEATHS: Final = 3
_CAREFUL_RECORDS: Final = 64
"""As many records of a partition are handed out one by one: more than a member takes before it commits."""

Marks = dict[TopicPartition, tuple[int, int]]
"""Offset to commit and how many members tried what lies there, by partition."""


@dataclass(frozen=True, slots=True)
class Note:
    """What stands beside a committed offset.

    Attributes:
        num_tries: so many members began here and none has said more.
        topic_id: the topic that the offset belongs to; empty where the broker does not tell.
    """

    num_tries: int = 0
    topic_id: str = ""

    def __str__(self) -> str:
        tries = f"tries={self.num_tries}" if self.num_tries else ""
        return f"{tries} topic={self.topic_id}".strip() if self.topic_id else tries

    @classmethod
    def parse(cls, metadata: str) -> Self:
        """The reverse of `str`; empty of what other people write."""
        told = dict(each.split("=", 1) for each in metadata.split() if "=" in each)
        tries = told.get("tries", "")
        is_number = tries.isascii() and tries.isdigit() and len(tries) < 4
        return cls(int(tries) if is_number else 0, told.get("topic", ""))


class Attempts:
    """What one member tries, from one assignment to the next."""

    def __init__(self) -> None:
        # Told at the assignment: where a partition begins, and how many died there.
        self._found: dict[TopicPartition, tuple[int, int]] = {}
        # Marked partitions with the place of the mark, until something behind it is committed.
        self._marked: dict[TopicPartition, int] = {}
        self._begun: set[TopicPartition] = set()
        # Partitions whose records go one by one, with the offset where that ends.
        self._careful: dict[TopicPartition, int] = {}
        self._alone: tuple[TopicPartition, int] | None = None

    def __repr__(self) -> str:
        return f"<Attempts marked={len(self._marked)} careful={len(self._careful)} alone={self._alone}>"

    @property
    def is_careful(self) -> bool:
        """True while records go one by one."""
        return bool(self._careful)

    @property
    def must_wait(self) -> bool:
        """True while the one record that was handed out is not done with."""
        return self._alone is not None

    def assigned(
        self,
        committed: Mapping[TopicPartition, tuple[int, int]],
        logs: Mapping[TopicPartition, tuple[int, int]],
    ) -> None:
        """A new assignment.

        Args:
            committed: offset and `num_tries` of each partition that has any.
            logs: where the partitions begin and end that have a note; without it, there is none to be careful with.
        """
        # Where the record that members may have died of was deleted, its deaths are not those of the next one. But
        # they may have died of one that they took together with it.
        self._found = {
            each: (offset, num_tries) if logs.get(each, (0, 0))[0] <= offset else (logs[each][0], 0)
            for each, (offset, num_tries) in committed.items()
        }
        self._careful = {
            each: min(self._found[each][0] + _CAREFUL_RECORDS, end)
            for each, (_, end) in logs.items()
            if committed[each][1] and end > self._found[each][0]
        }
        self._marked, self._begun, self._alone = {}, set(), None

    def begin(
        self, records: Iterable[tuple[TopicPartition, int]]
    ) -> tuple[Marks, set[tuple[TopicPartition, int]]]:
        """What is to be noted before these records are handed out, and which of them must not be opened.

        Args:
            records: partition and offset, ascending in each partition; one at most while `is_careful`.
        """
        marks: Marks = {}
        guilty: set[tuple[TopicPartition, int]] = set()
        for partition, offset in records:
            is_first = partition not in self._begun
            self._begun.add(partition)
            if offset >= self._careful.get(partition, offset + 1):
                del self._careful[partition]
            if self.is_careful:
                self._alone = (partition, offset)
            elif not is_first:
                continue
            begin, deaths = self._found.get(partition, (offset, 0))
            at_begin = is_first and begin <= offset  # what lies between was deleted, or holds no record
            num_deaths = deaths if at_begin else 0
            if num_deaths >= MAX_DEATHS:
                guilty.add((partition, offset))
            place = begin if at_begin else offset
            marks[partition] = (place, num_deaths + 1)
            self._marked[partition] = place
        return marks, guilty

    def committed(self, offsets: Mapping[TopicPartition, int]) -> None:
        """The offsets are at the broker, without a note."""
        for partition, offset in offsets.items():
            if offset > self._marked.get(partition, offset):
                del self._marked[partition]
            if self._alone is not None and self._alone[0] == partition and offset > self._alone[1]:
                self._alone = None
            if offset >= self._careful.get(partition, offset + 1):
                del self._careful[partition]

    def ended(self, partitions: Iterable[TopicPartition]) -> Marks:
        """What removes the notes of partitions that are given back in good order."""
        return {each: (self._marked.pop(each), 0) for each in set(partitions) & self._marked.keys()}
