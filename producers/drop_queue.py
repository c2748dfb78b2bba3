"""A camera's bounded queue and its drop policy: pure, no locks, no waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class DropPolicy(StrEnum):
    """What a full queue drops. Each name says which frame is lost."""

    OLDEST = "oldest"
    """The frame that waited longest: what is sent stays fresh. Default of live cameras."""
    NEWEST = "newest"
    """The frame that just came: what waits is sent first, so runs of frames stay unbroken."""
    NEVER = "never"
    """Nothing: the source waits. Default of files and renderers."""


class Offer(Enum):
    """What became of an offered frame."""

    KEPT = "kept"
    KEPT_DROPPING_OLDEST = "kept, one or more of the oldest were dropped"
    DROPPED = "dropped"
    FULL = "not taken: offer it again after the next take"


class DropQueue(Generic[T]):
    """First in, first out, bounded by a count and by bytes; a queue that is full by either acts by its policy."""

    def __init__(
        self,
        max_frames: int,
        policy: DropPolicy,
        *,
        max_bytes: int | None = None,
        bytes_of: Callable[[T], int] = lambda _: 0,
    ) -> None:
        """Start empty.

        Args:
            max_frames: items at most.
            policy: what a full queue drops.
            max_bytes: of all items together, None for no bound; one item alone is kept whatever its size.
            bytes_of: an item's size, the same whenever it is asked.

        Raises:
            ValueError: max_frames is below 1.
        """
        if max_frames < 1:
            raise ValueError(f"max_frames {max_frames}: want at least 1")
        self._items: deque[T] = deque()
        self._num_bytes = 0
        self._max_frames = max_frames
        self._policy = policy
        self._max_bytes = max_bytes
        self._bytes_of = bytes_of

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: T) -> Offer:
        """Keep `item` if there is room, else do as the policy says and return what was done."""
        num_bytes = self._bytes_of(item)
        answer = Offer.KEPT
        while not self._has_room(num_bytes):
            match self._policy:
                case DropPolicy.OLDEST:
                    self.take()
                    answer = Offer.KEPT_DROPPING_OLDEST
                case DropPolicy.NEWEST:
                    return Offer.DROPPED
                case DropPolicy.NEVER:
                    return Offer.FULL
        self._items.append(item)
        self._num_bytes += num_bytes
        return answer

    def take(self) -> T | None:
        """Remove and return the item that waited longest, or None when empty."""
        if not self._items:
            return None
        item = self._items.popleft()
        self._num_bytes -= self._bytes_of(item)
        return item

    def clear(self) -> int:
        """Remove everything and return how many items that were."""
        count = len(self._items)
        self._items.clear()
        self._num_bytes = 0
        return count

    def _has_room(self, num_bytes: int) -> bool:
        if not self._items:
            return True
        fits = self._max_bytes is None or self._num_bytes + num_bytes <= self._max_bytes
        return fits and len(self._items) < self._max_frames
