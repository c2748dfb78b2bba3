"""From Kafka to the backlog: messages opened, too old frames dropped, reading held back while much waits.

Runs on the event loop; nothing here is heavy.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from edge_workers.backlog import Backlog
from edge_workers.incoming import Incoming, Refused
from edge_workers.settings import EdgeProgramSettings
from edge_workers.tally import EdgeTally
from runtime.clock import Clock
from runtime.dead_letters import DeadLetters
from runtime.intake import Delivery, Intake, RecordSource
from runtime.offsets import TopicPartition
from runtime.waiting import set_within
from schemas.errors import DecodeError
from schemas.frame import decode_frame
from schemas.label import State

_NS_PER_S = 1_000_000_000
_POLL_S = 1.0
_POLL_RECORDS = 64
_HELD_POLL_S = 1.0
"""While reading is held back the client is still polled this often, or the group would expel the member."""
_BATCHES_AHEAD = 2
"""With so many waiting, reading rests until frames have left, for `_REST_S` at most."""
_REST_S = 0.05
_FILE_BATCHES = 4
"""Batches of one partition's file frames that may wait: files can come faster than live cameras, and without
this limit they would take all the room."""


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
        tally: EdgeTally,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._letters = letters
        self._tally = tally
        edge = settings.edge
        self.backlog: Backlog[Incoming] = Backlog(
            max_frames=edge.max_waiting_frames,
            max_bytes=edge.max_waiting_bytes,
            max_frame_age_ns=round(edge.max_frame_age_s * _NS_PER_S),
            newest_first_after_ns=edge.max_latency_ms * 1_000_000,
        )
        self._shed: list[Refused] = []
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
            if self.backlog.full:
                await self._hold()
                continue
            taken = await self.intake.poll(_POLL_RECORDS, _POLL_S)
            await self._accept(taken)
            is_trickle = 0 < len(taken) < self._batch_frames
            if is_trickle and len(self.backlog) >= _BATCHES_AHEAD * self._batch_frames:
                self._room.clear()
                await set_within(self._room, _REST_S)

    def end(self) -> None:
        """Reading is over: what has not begun is left to whoever reads it next."""
        self.over = True
        self._forget(None)
        self.arrived.set()

    def next_frames(self, max_frames: int) -> list[Incoming]:
        """The next frames to work on, at once and maybe none; what a partition may send again is resumed."""
        frames = self.backlog.take(max_frames, self._clock.time_ns())
        self._left(frames)
        if not self.backlog.full:
            self._room.set()
        return frames

    def refusals(self) -> list[Refused]:
        """The waiting frames that have become too old or had to make room, removed."""
        expired = self.backlog.expire(self._clock.time_ns())
        self._left(expired)
        refused = self._shed + [Refused(frame, State.DROPPED, "too_old") for frame in expired]
        self._shed = []
        if refused:
            self._room.set()
        return refused

    async def _hold(self) -> None:
        """The backlog has room: old frames were shed, or reading was paused until frames left."""
        if not self._shed:  # else nobody takes them: Redis is away, and reading on would lose frames
            shed = self.backlog.shed(self._clock.time_ns())
            self._left(shed)
            self._shed = [Refused(frame, State.DROPPED, "overload") for frame in shed]
            self.arrived.set()
            if shed:
                return
        self.intake.pause_all()
        self._room.clear()
        await set_within(self._room, _HELD_POLL_S)
        if self.backlog.full:
            await self._accept(await self.intake.poll(_POLL_RECORDS, 0.0))
        else:
            self.intake.resume(self._with_room())

    async def _accept(self, taken: list[Delivery]) -> None:
        read_s, utc_ns = self._clock.monotonic_s(), self._clock.time_ns()
        self._tally.read(len(taken))
        for index, each in enumerate(taken):
            try:
                incoming = self._open(each, read_s)
            except DecodeError as error:
                await self._refuse(taken[index:], error)
                continue
            self._tally.opened(incoming, utc_ns)
            self.backlog.push(incoming)
            if not incoming.live:
                self._files_waiting[incoming.partition] += 1
        self._tally.waiting(len(self.backlog), self.backlog.num_bytes)
        if len(self.backlog):
            self.arrived.set()
        self.intake.pause(key for key, count in self._files_waiting.items() if count > self._max_files)

    def _open(self, delivery: Delivery, read_s: float) -> Incoming:
        limits = self._settings.producer
        frame = decode_frame(
            delivery.record.value,
            max_frame_bytes=limits.max_frame_bytes,
            max_frame_pixels=limits.max_frame_pixels,
        )
        return Incoming(frame, delivery, read_s)

    async def _refuse(self, taken: list[Delivery], error: DecodeError) -> None:
        """The first record is a dead letter; cancelled while there is no room, none of them has begun."""
        try:
            await self._letters.put(taken[0], error.reason, str(error))
        except asyncio.CancelledError:
            for delivery in taken:
                delivery.release()
            raise
        self._tally.dead(error.reason)

    def _with_room(self) -> list[TopicPartition]:
        return [key for key in self.intake.paused if self._files_waiting[key] <= self._max_files // 2]

    def _left(self, frames: Iterable[Incoming]) -> None:
        for frame in frames:
            if not frame.live:
                self._files_waiting[frame.partition] -= 1
        if self.intake.paused and not self.backlog.full:
            self.intake.resume(self._with_room())

    def _forget(self, partitions: frozenset[TopicPartition] | None) -> None:
        """The frames of the partitions (None = all) leave the backlog and are released."""

        def is_leaving(frame: Incoming) -> bool:
            return partitions is None or frame.partition in partitions

        gone = self.backlog.discard(is_leaving)
        for frame in gone:
            if not frame.live:
                self._files_waiting[frame.partition] -= 1
        gone += [refused.incoming for refused in self._shed if is_leaving(refused.incoming)]
        self._shed = [refused for refused in self._shed if not is_leaving(refused.incoming)]
        for frame in gone:
            frame.delivery.release()
