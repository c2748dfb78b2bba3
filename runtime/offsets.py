"""Which Kafka offsets may be committed, and which records were deleted unread. Pure, no await, no client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

TopicPartition = tuple[str, int]


class OffsetTracker:
    """Offsets of one partition in one assignment, in the order they were taken; numbers may have gaps.

    After a rebalance, or when the partition's log begins anew, the partition gets another tracker, so that a
    late result can never move an offset that it does not belong to.
    """

    def __init__(self) -> None:
        # Taken and not yet passed, oldest first -> finished? Only `take`, `finish` and `_pass` touch it.
        self._open: dict[int, bool] = {}
        self._pending = 0
        self._last_taken = -1
        self._next_offset: int | None = None

    def __repr__(self) -> str:
        return f"<OffsetTracker next {self._next_offset} pending {self.pending} last {self._last_taken}>"

    @property
    def last_taken(self) -> int:
        """The highest offset taken, -1 before the first."""
        return self._last_taken

    @property
    def pending(self) -> int:
        """How many taken offsets are not finished."""
        return self._pending

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

    def committable(self) -> int | None:
        """The offset to commit (the next to read), or None while nothing is finished from the start on."""
        return self._next_offset

    def _pass(self) -> None:
        while self._open:
            oldest = next(iter(self._open))
            if not self._open[oldest]:
                return
            del self._open[oldest]
            self._next_offset = oldest + 1


class OffsetGaps:
    """Counts the records that the broker had deleted before one member of a group came to read them.

    A reader whose position is no longer kept is moved, in silence, to the earliest record that is. Saccade's
    topics are not compacted, so a gap between offsets has no other cause, except the offsets that the reader
    knows to be silent: marks of other people's transactions, and batches that nobody can read.
    """

    def __init__(self) -> None:
        self._next: dict[TopicPartition, int] = {}
        # Known ahead of the reader: begin -> end of offsets without records; forgotten once they are passed.
        self._silent: dict[TopicPartition, dict[int, int]] = {}
        self.num_missed = 0

    def __repr__(self) -> str:
        return f"<OffsetGaps partitions={len(self._next)} missed={self.num_missed}>"

    def restart(self) -> None:
        """Each partition counts from its first record to come, or from `begin_at`."""
        self._next = {}
        self._silent = {}

    def begin_at(self, positions: Mapping[TopicPartition, int]) -> None:
        """Reading began at `positions`; where records have come since the restart, those count."""
        self._next = {**positions, **self._next}

    def silent(self, partition: TopicPartition, ranges: Iterable[tuple[int, int]]) -> None:
        """No record is at the offsets of `ranges`, each [begin, end)."""
        self._silent.setdefault(partition, {}).update(ranges)

    def read(self, offsets: Iterable[tuple[TopicPartition, int]]) -> dict[TopicPartition, int]:
        """How many records were passed over on the way to these, by partition; added to `num_missed`.

        Args:
            offsets: of the records read, ascending in each partition.
        """
        missed: dict[TopicPartition, int] = {}
        for partition, offset in offsets:
            begin = self._next.get(partition, offset)
            gap = offset - begin - self._pass_silent(partition, begin, offset)
            if gap > 0:
                missed[partition] = missed.get(partition, 0) + gap
            self._next[partition] = offset + 1
        self.num_missed += sum(missed.values())
        return missed

    def _pass_silent(self, partition: TopicPartition, begin: int, end: int) -> int:
        """How many offsets of [begin, end) are silent; what is known below `end` is over."""
        known = self._silent.get(partition)
        if not known:
            return 0
        over = [each for each in known.items() if each[0] < end]
        for first, _ in over:
            del known[first]
        return sum(max(0, min(last, end) - max(first, begin)) for first, last in over)
