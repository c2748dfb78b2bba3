"""The stage `read`: from Kafka to the backlog, and who of those that wait is next, too old, or must go.

Runs on the event loop; nothing here is heavy. Messages are opened, images are not.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from edge_workers.metrics import FrameMetrics
from edge_workers.settings import EdgeProgramSettings
from edge_workers.task import FrameTask
from runtime.clock import Clock
from runtime.dead_letters import DeadLetters
from runtime.intake import Delivery, Intake, RecordSource
from runtime.offsets import TopicPartition
from runtime.waiting import set_within
from schemas.errors import DecodeError
from schemas.frame import decode_frame, identity_of
from schemas.label import LabelState

_NS_PER_S = 1_000_000_000
_FOREIGN = "foreign_site"
_POLL_S = 1.0
_POLL_RECORDS = 64
_HELD_POLL_S = 1.0
"""While reading is held back the client is still polled this often, or the group would expel the member."""
_BATCHES_AHEAD = 2
"""With so many waiting, reading rests until frames have left, for `_REST_S` at most."""
_REST_S = 0.05
_MAX_REFUSED = 256
"""With so many refused frames not taken yet, reading rests: their labels wait for Redis."""
_FILE_BATCHES = 4
"""Batches of one partition's file frames that may wait: files can come faster than live cameras, and without
this limit they would take all the room."""


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
    """Frames that were read and wait for the model. No await, clock or I/O.

    Cameras take turns, one frame each. A camera's frames leave oldest first; once a live camera's oldest frame
    is older than `newest_first_after_ns`, its newest leaves first, so that a backlog never makes every answer
    late. Bounded by frames and bytes; a frame comes out once: of `take`, `expire`, `shed` or `discard`.

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


class FrameReader:
    """Fills the backlog, and hands out its frames.

    All state is touched from the event loop's thread only.
    """

    def __init__(
        self,
        source: RecordSource,
        settings: EdgeProgramSettings,
        clock: Clock,
        letters: DeadLetters,
        metrics: FrameMetrics,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._letters = letters
        self._metrics = metrics
        edge = settings.edge
        self.backlog: Backlog[FrameTask] = Backlog(
            max_frames=edge.max_waiting_frames,
            max_bytes=edge.max_waiting_bytes,
            max_frame_age_ns=round(edge.max_frame_age_s * _NS_PER_S),
            newest_first_after_ns=edge.max_latency_ms * 1_000_000,
        )
        self._shed: list[FrameTask] = []
        """Refused, and not taken yet."""
        self._files_waiting: Counter[TopicPartition] = Counter()
        self._batch_frames = edge.batch_frames
        self._max_files = _FILE_BATCHES * edge.batch_frames
        self.arrived = asyncio.Event()
        self._room = asyncio.Event()
        self.over = False
        # Offloads in the uplink's queue end at their deadline; waiting longer would only hold up the group.
        self.intake = Intake(source, forget=self._forget, max_drain_s=edge.max_latency_ms / 1000)

    async def run(self) -> None:
        """Reads until cancelled; call `end` then, also when it was cancelled before it began.

        A request costs the same however few records it brings, so that one record at a time is read only
        while the model would have to wait for it.
        """
        while True:
            if self.full:
                await self._hold()
                continue
            taken = await self.intake.poll(_POLL_RECORDS, _POLL_S)
            await self._accept(taken)
            is_trickle = 0 < len(taken) < self._batch_frames
            if is_trickle and len(self.backlog) >= _BATCHES_AHEAD * self._batch_frames:
                self._room.clear()
                await set_within(self._room, _REST_S)

    @property
    def full(self) -> bool:
        """True when no more frames should come in."""
        return self.backlog.full or len(self._shed) >= _MAX_REFUSED

    def end(self) -> None:
        """Reading is over: what has not begun is left to whoever reads it next."""
        self.over = True
        self._forget(None)
        self.arrived.set()

    def next_tasks(self, max_frames: int) -> list[FrameTask]:
        """What is to leave now, at once and maybe nothing; what a partition may send again is resumed.

        First those that have become too old or had to make room, refused; then up to `max_frames` others.
        """
        refused, self._shed = self._shed, []
        expired = self.backlog.expire(self._clock.time_ns())
        for task in expired:
            task.refuse(LabelState.DROPPED, "too_old")
        taken = self.backlog.take(max_frames, self._clock.time_ns())
        self._left(expired + taken)
        if refused or expired or not self.backlog.full:
            self._room.set()
        return refused + expired + taken

    async def _hold(self) -> None:
        """The backlog has room: old frames were shed, or reading was paused until frames left."""
        if not self._shed:  # else nobody takes them: Redis is away, and reading on would lose frames
            self._shed = self.backlog.shed(self._clock.time_ns())
            self._left(self._shed)
            for task in self._shed:
                task.refuse(LabelState.DROPPED, "overload")
            if self._shed:
                self.arrived.set()
                return
        self.intake.pause_all()
        self._room.clear()
        await set_within(self._room, _HELD_POLL_S)
        if self.full:
            await self._accept(await self.intake.poll(_POLL_RECORDS, 0.0))
        else:
            self.intake.resume(self._with_room())

    async def _accept(self, taken: list[Delivery]) -> None:
        read_s, utc_ns = self._clock.monotonic_s(), self._clock.time_ns()
        self._metrics.read(len(taken))
        for index, each in enumerate(taken):
            try:
                task = self._open(each, read_s)
            except DecodeError as error:
                if not self._refused_with_state(each, error, read_s):
                    await self._refuse(taken[index:], error)
                continue
            self._metrics.opened(task, utc_ns)
            self.backlog.push(task)
            if not task.live:
                self._files_waiting[task.partition] += 1
        self._metrics.waiting(len(self.backlog), self.backlog.num_bytes)
        if len(self.backlog) or self._shed:
            self.arrived.set()
        self.intake.pause(key for key, count in self._files_waiting.items() if count > self._max_files)

    def _open(self, delivery: Delivery, read_s: float) -> FrameTask:
        limits = self._settings.producer
        frame = decode_frame(
            delivery.value,
            max_frame_bytes=limits.max_frame_bytes,
            max_frame_pixels=limits.max_frame_pixels,
        )
        if frame.site != self._settings.site:
            found = f"frame.site: {frame.site!r:.80}"
            raise DecodeError(_FOREIGN, f"{found}, this worker serves {self._settings.site!r}")
        return FrameTask(delivery, frame, read_s)

    def _refused_with_state(self, delivery: Delivery, error: DecodeError, read_s: float) -> bool:
        """True where it can be read whose frame it is: it goes the way of all others, to its label."""
        frame = None if error.reason == _FOREIGN else identity_of(delivery.record.value)
        if frame is None or frame.site != self._settings.site:
            return False
        task = FrameTask(delivery, frame, read_s)
        task.refuse(LabelState.UNDECODABLE, error.reason, str(error))
        self._shed.append(task)
        return True

    async def _refuse(self, taken: list[Delivery], error: DecodeError) -> None:
        """The first record is a dead letter; cancelled while there is no room, none of them has begun."""
        try:
            await self._letters.put(taken[0], error.reason, str(error))
        except asyncio.CancelledError:
            for delivery in taken:
                delivery.release()
            raise
        self._metrics.dead(error.reason)

    def _with_room(self) -> list[TopicPartition]:
        return [key for key in self.intake.paused if self._files_waiting[key] <= self._max_files // 2]

    def _left(self, tasks: Iterable[FrameTask]) -> None:
        for task in tasks:
            if not task.live:
                self._files_waiting[task.partition] -= 1
        if self.intake.paused and not self.backlog.full:
            self.intake.resume(self._with_room())

    def _forget(self, partitions: frozenset[TopicPartition] | None) -> None:
        """The frames of the partitions (None = all) leave the backlog and are released."""

        def is_leaving(task: FrameTask) -> bool:
            return partitions is None or task.partition in partitions

        gone = self.backlog.discard(is_leaving)
        for task in gone:
            if not task.live:
                self._files_waiting[task.partition] -= 1
        gone += [task for task in self._shed if is_leaving(task)]
        self._shed = [task for task in self._shed if not is_leaving(task)]
        for task in gone:
            task.delivery.release()
