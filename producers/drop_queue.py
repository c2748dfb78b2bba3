"""A camera's bounded queue and its drop policy: pure, no locks, no waiting."""

from __future__ import annotations

from collections import deque
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
    KEPT_DROPPING_OLDEST = "kept, the oldest was dropped"
    DROPPED = "dropped"
    FULL = "not taken: offer it again after the next take"


class DropQueue(Generic[T]):
    """First in, first out, at most `max_frames` items; a full queue acts by its policy."""

    def __init__(self, max_frames: int, policy: DropPolicy) -> None:
        """Start empty.

        Raises:
            ValueError: max_frames is below 1.
        """
        if max_frames < 1:
            raise ValueError(f"max_frames {max_frames}: want at least 1")
        self._items: deque[T] = deque()
        self._max_frames = max_frames
        self._policy = policy

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: T) -> Offer:
        """Keep `item` if there is room, else do as the policy says and return what was done."""
        if len(self._items) < self._max_frames:
            self._items.append(item)
            return Offer.KEPT
        match self._policy:
            case DropPolicy.OLDEST:
                self._items.popleft()
                self._items.append(item)
                return Offer.KEPT_DROPPING_OLDEST
            case DropPolicy.NEWEST:
                return Offer.DROPPED
            case DropPolicy.NEVER:
                return Offer.FULL

    def take(self) -> T | None:
        """Remove and return the item that waited longest, or None when empty."""
        return self._items.popleft() if self._items else None

    def clear(self) -> int:
        """Remove everything and return how many items that were."""
        count = len(self._items)
        self._items.clear()
        return count
