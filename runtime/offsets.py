"""Which Kafka offsets may be committed: everything below is finished. Pure, no await, no client.

A tracker belongs to one partition of one assignment. After a rebalance the partition gets a new one, so that
a late result of an old assignment can never move the new one's offset.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

TopicPartition = tuple[str, int]


class OffsetTracker:
    """Offsets of one partition in one assignment, in the order they were taken; numbers may have gaps."""

    def __init__(self) -> None:
        # Taken and not yet passed, oldest first -> finished? Only `take`, `finish` and `_pass` touch it.
        self._open: dict[int, bool] = {}
        self._pending = 0
        self._last_taken = -1
        self._next_offset: int | None = None

    def __repr__(self) -> str:
        return f"<OffsetTracker next {self._next_offset} pending {self.pending} last {self._last_taken}>"

    def take(self, offset: int) -> None:
        """`offset` holds back the commit until it is finished.

        Raises:
            ValueError: it is not above the last one taken.
        """
        if offset <= self._last_taken:
            raise ValueError(f"offset {offset} taken after {self._last_taken}")
        self._last_taken = offset
        self._open[offset] = False
        self._pending += 1

    def finish(self, offset: int) -> None:
        """`offset` holds back nothing any more.

        Raises:
            ValueError: it was not taken, or is finished already.
        """
        if self._open.get(offset, True):
            raise ValueError(f"offset {offset} is not being worked on")
        self._open[offset] = True
        self._pending -= 1
        self._pass()

    def _pass(self) -> None:
        while self._open:
            oldest = next(iter(self._open))
            if not self._open[oldest]:
                return
            del self._open[oldest]
            self._next_offset = oldest + 1

    def committable(self) -> int | None:
        """The offset to commit (the next to read), or None while nothing is finished from the start on."""
        return self._next_offset

    @property
    def pending(self) -> int:
        """How many taken offsets are not finished."""
        return self._pending


@dataclass(frozen=True, slots=True)
class Ticket:
    """One taken record: where it stands and in which assignment it was taken."""

    topic: str
    partition: int
    offset: int
    generation: int


class OffsetLedger:
    """The trackers of all partitions now assigned, and what of them still has to be committed."""

    def __init__(self) -> None:
        self._trackers: dict[TopicPartition, tuple[int, OffsetTracker]] = {}
        self._committed: dict[TopicPartition, int] = {}

    def assign(self, partitions: Iterable[TopicPartition], generation: int) -> None:
        """Each partition starts afresh in `generation`; tickets of earlier ones count no more."""
        for each in partitions:
            self._trackers[each] = (generation, OffsetTracker())
            self._committed.pop(each, None)

    def revoke(self, partitions: Iterable[TopicPartition]) -> None:
        """The partitions are forgotten; their open tickets count no more."""
        for each in partitions:
            self._trackers.pop(each, None)
            self._committed.pop(each, None)

    def take(self, topic: str, partition: int, offset: int) -> Ticket | None:
        """The ticket that holds back the commit, or None when the partition is not assigned any more."""
        held = self._trackers.get((topic, partition))
        if held is None:
            return None
        generation, tracker = held
        tracker.take(offset)
        return Ticket(topic, partition, offset, generation)

    def finish(self, ticket: Ticket) -> bool:
        """True when the ticket now counts; False when its assignment is over."""
        held = self._trackers.get((ticket.topic, ticket.partition))
        if held is None or held[0] != ticket.generation:
            return False
        held[1].finish(ticket.offset)
        return True

    def due(self) -> dict[TopicPartition, int]:
        """Next offset to commit of each partition that moved since `committed`."""
        marks = {each: tracker.committable() for each, (_, tracker) in self._trackers.items()}
        return {
            each: mark
            for each, mark in marks.items()
            if mark is not None and mark != self._committed.get(each)
        }

    def committed(self, offsets: dict[TopicPartition, int]) -> None:
        """`offsets` are at the broker; partitions no longer assigned are ignored."""
        self._committed |= {each: mark for each, mark in offsets.items() if each in self._trackers}

    def pending(self, partitions: Iterable[TopicPartition] | None = None) -> int:
        """How many tickets are open, in all partitions or the given ones."""
        chosen = self._trackers if partitions is None else [p for p in partitions if p in self._trackers]
        return sum(self._trackers[each][1].pending for each in chosen)
