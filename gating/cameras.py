"""What a worker knows of each of its cameras, bounded in number and in age. Pure, without clock or await."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

MAX_CAMERAS: Final = 10_000
"""The camera that was seen longest ago is forgotten for a new one beyond so many."""
IDLE_S: Final = 60.0
"""A camera not seen for so long is forgotten."""


class Cameras(Generic[T]):
    """One object a camera. Not thread-safe.

    Args:
        fresh: makes the object of a camera that is not known.
    """

    def __init__(self, fresh: Callable[[], T]) -> None:
        self._fresh = fresh
        self._known: OrderedDict[str, tuple[T, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, camera: str, now_s: float) -> T:
        """Return the camera's object, a fresh one where it has none; `now_s` is of a clock that never steps back."""
        found = self._known.pop(camera, None)
        self._expire(now_s)
        while len(self._known) >= MAX_CAMERAS:
            self._known.popitem(last=False)
        each = self._fresh() if found is None else found[0]
        self._known[camera] = (each, now_s)
        return each

    def known(self, camera: str) -> T | None:
        """Return the camera's object if it has one; this does not count as seeing it."""
        found = self._known.get(camera)
        return None if found is None else found[0]

    def _expire(self, now_s: float) -> None:
        while self._known:
            camera, (_, seen_s) = next(iter(self._known.items()))
            if now_s - seen_s <= IDLE_S:
                return
            del self._known[camera]
