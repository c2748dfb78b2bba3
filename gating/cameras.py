"""What a worker knows of each of its cameras, bounded in number and in age. Pure, without clock or await."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Cameras(Generic[T]):
    """One object a camera. Not thread-safe.

    Args:
        fresh: makes the object of a camera that is not known.
        max_cameras: the camera that was seen longest ago is forgotten for a new one beyond so many.
        idle_s: a camera not seen for so long is forgotten.
    """

    def __init__(self, fresh: Callable[[], T], *, max_cameras: int = 10_000, idle_s: float = 60.0) -> None:
        self._fresh = fresh
        self._max_cameras, self._idle_s = max_cameras, idle_s
        self._known: OrderedDict[str, tuple[T, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, camera: str, now_s: float) -> T:
        """Return the camera's object, a fresh one where it has none; `now_s` is of a clock that never steps back."""
        found = self._known.pop(camera, None)
        self._expire(now_s)
        while len(self._known) >= max(1, self._max_cameras):
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
            if now_s - seen_s <= self._idle_s:
                return
            del self._known[camera]
