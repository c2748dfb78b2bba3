"""From Kafka to the batcher: records checked and their patches decoded in threads, off the critical path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial

from runtime.clock import Clock
from runtime.dead_letters import DeadLetters
from runtime.intake import Delivery, Intake, RecordSource
from runtime.offsets import TopicPartition
from runtime.spread import spread
from runtime.waiting import set_within
from schemas.errors import DecodeError
from schemas.offload import decode_offload, positions_of
from server_workers.batcher import Batcher
from server_workers.incoming import Expired, Opened, Ready, Rejected
from server_workers.tally import ServerTally
from vit.codecs import decode_patches

_POLL_S = 1.0
_POLL_RECORDS_A_THREAD = 16
_HELD_POLL_S = 1.0
"""While reading is held back the client is still polled this often, or the group would expel the member."""

DeadlineOf = Callable[[str, int], float]
"""(site, deadline in ns on that site's clock, 0 = none) -> local monotonic time, `inf` for none."""


def open_records(
    batch: Sequence[Delivery],
    *,
    classes_hash: str,
    max_offload_bytes: int,
    deadline_of: DeadlineOf,
    clock: Clock,
) -> list[Opened]:
    """Each record checked and decoded, in order; one that is not sound spoils no other."""
    return [
        _open(delivery, classes_hash, max_offload_bytes, deadline_of, clock.monotonic_s())
        for delivery in batch
    ]


def _open(
    delivery: Delivery, classes_hash: str, max_offload_bytes: int, deadline_of: DeadlineOf, now_s: float
) -> Opened:
    try:
        record = decode_offload(delivery.record.value, max_offload_bytes=max_offload_bytes)
        if not record.is_of_classes(classes_hash):
            found = f"offload.classes_hash: {record.classes_hash!r:.80}"
            return Rejected(delivery, "classes", f"{found}, this server's model has {classes_hash!r}")
        deadline_s = deadline_of(record.site, record.deadline_ns)
        if deadline_s < now_s:
            return Expired(delivery, record.site)
        positions = positions_of(record.bitmap)
        patches = decode_patches(record.codec, record.patches, positions)
    except DecodeError as error:
        return Rejected(delivery, error.reason, str(error))
    return Ready(delivery, record, positions, patches, deadline_s, now_s)


class RecordReader:
    """Fills the batcher, no further ahead than its bounds.

    All state is touched from the event loop's thread only.
    """

    def __init__(
        self,
        source: RecordSource,
        batcher: Batcher[Ready],
        letters: DeadLetters,
        threads: Executor,
        num_threads: int,
        *,
        clock: Clock,
        tally: ServerTally,
        classes_hash: str,
        max_offload_bytes: int,
        deadline_of: DeadlineOf,
    ) -> None:
        self._batcher = batcher
        self._letters = letters
        self._threads = threads
        self._num_threads = num_threads
        self._clock = clock
        self._tally = tally
        self._open = partial(
            open_records,
            classes_hash=classes_hash,
            max_offload_bytes=max_offload_bytes,
            deadline_of=deadline_of,
            clock=clock,
        )
        self.arrived = asyncio.Event()
        self._room = asyncio.Event()
        self.over = False
        self.intake = Intake(source, forget=self._forget)

    async def run(self) -> None:
        """Reads until cancelled; call `end` then, also when it was cancelled before it began."""
        while True:
            if self._batcher.full:
                await self._hold()
            else:
                self.intake.resume()
                num_records = _POLL_RECORDS_A_THREAD * self._num_threads
                await self._accept(await self.intake.poll(num_records, _POLL_S))

    def end(self) -> None:
        """Reading is over: what waits for the model is left to whoever reads it next."""
        self.over = True
        self._forget(None)
        self.arrived.set()

    def batch_left(self) -> None:
        """Sets have left the batcher."""
        self._room.set()

    async def _hold(self) -> None:
        """Reading paused until sets have left the batcher, or for a while."""
        self.intake.pause_all()
        self._room.clear()
        if not await set_within(self._room, _HELD_POLL_S):
            await self._accept(await self.intake.poll(_POLL_RECORDS_A_THREAD, 0.0))

    async def _accept(self, taken: list[Delivery]) -> None:
        """Every record waits for the model, is finished as expired or is a dead letter; or has not begun."""
        if not taken:
            return
        self._tally.read(taken, self._clock.monotonic_s(), self._clock.time_ns())
        unplaced = set(taken)
        try:
            with self._tally.stage("decode"):
                parts = await spread(self._threads, self._num_threads, self._open, taken)
            for part in parts:
                for opened in part:
                    await self._place(opened)
                    unplaced.discard(opened.delivery)
        except asyncio.CancelledError:
            for delivery in unplaced:
                delivery.release()
            raise
        self.arrived.set()

    async def _place(self, opened: Opened) -> None:
        match opened:
            case Ready():
                self._batcher.push(opened, self._clock.monotonic_s())
                self._tally.opened(opened, self._clock.time_ns())
            case Expired(site=site):
                self._tally.too_late(site)
                opened.delivery.ack()
            case Rejected(delivery=delivery, reason=reason, error=error):
                await self._letters.put(delivery, reason, error)
                self._tally.dead(reason)

    def _forget(self, partitions: frozenset[TopicPartition] | None) -> None:
        """The sets of the partitions (None = all) leave the batcher and are released."""
        for ready in self._batcher.discard(lambda ready: partitions is None or ready.partition in partitions):
            ready.delivery.release()
