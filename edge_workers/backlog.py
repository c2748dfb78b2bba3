"""Frames that were read from Kafka and wait for the model: who is next, who is too old, what must go.

A plain object without await, clock or I/O; the edge worker's intake fills it, its prepare stage empties it.
Cameras take turns, one frame each. A camera's frames leave oldest first; once a live camera's oldest frame is
older than `newest_first_after_ns`, its newest leaves first, so that a backlog never makes every answer late.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What the backlog needs to know of a frame."""

    @property
    def camera(self) -> str:
        """The camera's id."""
        ...

    @property
    def captured_ns(self) -> int:
        """Capture time, UTC."""
        ...

    @property
    def live(self) -> bool:
        """False for files, which are never too old."""
        ...

    @property
    def num_bytes(self) -> int:
        """The memory that the frame holds."""
        ...


W = TypeVar("W", bound=Waiting)


class Backlog(Generic[W]):
    """Bounded by frames and bytes; a frame comes out once: of `take`, `expire`, `shed` or `discard`.

    Args:
        max_frames: `full` is True from here on; the caller then sheds or stops reading.
        max_bytes: the same for the memory of all frames.
        max_frame_age_ns: live frames older than this come out of `expire`; None = never.
        newest_first_after_ns: age of a live camera's oldest frame from which its newest is served first.
    """

    def __init__(
        self, *, max_frames: int, max_bytes: int, max_frame_age_ns: int | None, newest_first_after_ns: int
    ) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._max_frame_age_ns = max_frame_age_ns
        self._newest_first_after_ns = newest_first_after_ns
        # One queue a camera, each in the order of arrival and never empty. The dictionary's order is the
        # order of turns: a camera that was served moves to the end.
        self._queues: dict[str, deque[W]] = {}
        self._num_frames = 0
        self._num_bytes = 0

    def __len__(self) -> int:
        return self._num_frames

    def __repr__(self) -> str:
        return f"<Backlog cameras={len(self._queues)} frames={self._num_frames} bytes={self._num_bytes}>"

    @property
    def num_bytes(self) -> int:
        """Bytes of the frames that wait."""
        return self._num_bytes

    @property
    def full(self) -> bool:
        """True when no more frames should come in."""
        return self._num_frames >= self._max_frames or self._num_bytes >= self._max_bytes

    def push(self, frame: W) -> None:
        """The frame waits behind the others of its camera."""
        queue = self._queues.get(frame.camera)
        if queue is None:
            queue = self._queues[frame.camera] = deque()
        queue.append(frame)
        self._num_frames += 1
        self._num_bytes += frame.num_bytes

    def take(self, max_frames: int, now_ns: int) -> list[W]:
        """Remove and return up to `max_frames` frames, one a camera and turn; `now_ns` is UTC."""
        taken: list[W] = []
        while self._queues and len(taken) < max_frames:
            camera = next(iter(self._queues))
            taken.append(self._pop(camera, newest=self._is_behind(self._queues[camera][0], now_ns)))
            queue = self._queues.pop(camera, None)
            if queue is not None:
                self._queues[camera] = queue
        return taken

    def expire(self, now_ns: int) -> list[W]:
        """Remove and return the live frames that are older than `max_frame_age_ns`."""
        if self._max_frame_age_ns is None:
            return []
        oldest_ns = now_ns - self._max_frame_age_ns
        expired: list[W] = []
        for camera in list(self._queues):
            while camera in self._queues:
                head = self._queues[camera][0]
                if not head.live or head.captured_ns >= oldest_ns:
                    break
                expired.append(self._pop(camera, newest=False))
        return expired

    def shed(self, now_ns: int) -> list[W]:
        """Remove and return old frames of live cameras in backlog until `full` is False or none is left.

        The camera with the most waiting frames gives first; frames that are not behind are never shed.
        """
        shed: list[W] = []
        while self.full:
            behind = [camera for camera, queue in self._queues.items() if self._is_behind(queue[0], now_ns)]
            if not behind:
                break
            shed.append(self._pop(max(behind, key=lambda camera: len(self._queues[camera])), newest=False))
        return shed

    def discard(self, unwanted: Callable[[W], bool]) -> list[W]:
        """Remove and return every frame for which `unwanted` is true."""
        discarded: list[W] = []
        for camera, queue in list(self._queues.items()):
            gone = [frame for frame in queue if unwanted(frame)]
            if not gone:
                continue
            discarded += gone
            kept = deque(frame for frame in queue if not unwanted(frame))
            self._num_frames -= len(gone)
            self._num_bytes -= sum(frame.num_bytes for frame in gone)
            if kept:
                self._queues[camera] = kept
            else:
                del self._queues[camera]
        return discarded

    def _is_behind(self, oldest: W, now_ns: int) -> bool:
        return oldest.live and now_ns - oldest.captured_ns > self._newest_first_after_ns

    def _pop(self, camera: str, *, newest: bool) -> W:
        queue = self._queues[camera]
        frame = queue.pop() if newest else queue.popleft()
        if not queue:
            del self._queues[camera]
        self._num_frames -= 1
        self._num_bytes -= frame.num_bytes
        return frame
