"""How many records the broker had deleted before they were read. Pure, no await, no client.

A reader whose position is no longer kept is moved, in silence, to the earliest record that is. Saccade's topics
are neither compacted nor written in transactions, so a gap between offsets has no other cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from runtime.offsets import TopicPartition


class OffsetGaps:
    """Follows the offsets that one member of a group reads."""

    def __init__(self) -> None:
        self._next: dict[TopicPartition, int] = {}
        self.num_missed = 0

    def __repr__(self) -> str:
        return f"<OffsetGaps partitions={len(self._next)} missed={self.num_missed}>"

    def restart(self) -> None:
        """Each partition counts from its first record to come, or from `begin_at`."""
        self._next = {}

    def begin_at(self, positions: Mapping[TopicPartition, int]) -> None:
        """Reading began at `positions`; where records have come since the restart, those count."""
        self._next = {**positions, **self._next}

    def read(self, offsets: Iterable[tuple[TopicPartition, int]]) -> dict[TopicPartition, int]:
        """How many records were passed over on the way to these, by partition; added to `num_missed`.

        Args:
            offsets: of the records read, ascending in each partition.
        """
        missed: dict[TopicPartition, int] = {}
        for partition, offset in offsets:
            gap = offset - self._next.get(partition, offset)
            if gap > 0:
                missed[partition] = missed.get(partition, 0) + gap
            self._next[partition] = offset + 1
        self.num_missed += sum(missed.values())
        return missed
