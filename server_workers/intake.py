"""The stage `read`: from Kafka to the batcher, records checked and their patches decoded in threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from runtime.clock import Clock
from runtime.codec_threads import CodecThreads
from runtime.dead_letters import DeadLetters
from runtime.intake import Delivery, Intake, RecordSource
from runtime.offsets import TopicPartition
from schemas.errors import DecodeError
from schemas.offload import Offload, decode_offload, positions_of
from schemas.topics import topic_site
from server_workers.batcher import Batcher
from server_workers.metrics import ServerTally
from server_workers.task import AnswerTask, Scoring, Verdict
from vit.codecs import decode_patches

_POLL_S = 1.0
_POLL_RECORDS_A_THREAD = 16
"""A site's record waits for one poll of each other site at most: some milliseconds' worth of decoding."""
_MAX_DRAIN_S = 1.0
"""Giving partitions back, all sites wait: not for labels that one site's silent Redis holds up, nor for a slow batch.
What is not done by then is served again."""
_RESUME_FILL = 0.5
"""A site is read again from here on."""

EngineOf = Callable[[Offload, float], Scoring | None]
"""(a record, its deadline in local monotonic s) -> the model that answers it; None where none has its class list."""
DeadlineOf = Callable[[str, int], float]
"""(site, deadline in ns on that site's clock, 0 = none) -> local monotonic time, `inf` for none."""


@dataclass(frozen=True, slots=True)
class RecordCheck:
    """What a record must meet to be worked on: a model of its class list, sizes, deadlines, topics by site."""

    engine_of: EngineOf
    max_offload_bytes: int
    deadline_of: DeadlineOf
    topic: str
    """The prefix of the topics of all sites."""

    def open(self, task: AnswerTask, clock: Clock) -> None:
        """The task has its verdict and, where it waits for the model, its patches.

        Raises:
            DecodeError: the record is to be refused.
        """
        came = task.delivery.record
        task.record = record = decode_offload(task.delivery.value, max_offload_bytes=self.max_offload_bytes)
        if record.site != topic_site(came.topic, self.topic):
            # The broker vouches for who may write to a topic, nothing vouches for what a record says.
            found = f"offload.camera: {record.camera!r:.80}"
            raise DecodeError("foreign_site", f"{found} is not of the site that {came.topic} is for")
        task.deadline_s = self.deadline_of(record.site, record.deadline_ns)
        engine = self.engine_of(record, task.deadline_s)
        if engine is None:
            found = f"offload.classes_hash: {record.classes_hash!r:.80}"
            raise DecodeError("classes", f"{found}, no model of this server has that class list")
        num_classes = len(engine.identity.classes)
        named = [label for label, _ in record.leading]
        if len(set(named)) != len(named) or max(named) >= num_classes:
            allowed = f"must be different ones in 0 to {num_classes - 1}"
            raise DecodeError("classes", f"offload.leading: classes {named}, {allowed}")
        task.engine = engine
        if task.deadline_s < clock.monotonic_s():
            task.verdict = Verdict.EXPIRED
            return
        task.positions = positions_of(record.bitmap)
        task.patches = decode_patches(record.codec, record.patches, task.positions)


class RecordReader:
    """Fills the batcher, no further ahead than its bounds.

    All state is touched from the event loop's thread only.
    """

    def __init__(
        self,
        source: RecordSource,
        batcher: Batcher[AnswerTask],
        letters: DeadLetters,
        threads: CodecThreads,
        *,
        check: RecordCheck,
        clock: Clock,
        tally: ServerTally,
    ) -> None:
        self._source = source
        self._batcher = batcher
        self._letters = letters
        self._threads = threads
        self._clock = clock
        self._tally = tally
        self._topic = check.topic
        self._open = partial(check.open, clock=clock)
        self.arrived = asyncio.Event()
        self.over = False
        self.intake = Intake(source, forget=self._forget, max_drain_s=_MAX_DRAIN_S)

    async def run(self) -> None:
        """Reads until cancelled; call `end` then, also when it was cancelled before it began."""
        num_records = _POLL_RECORDS_A_THREAD * self._threads.num_threads
        while True:
            if full := self._batcher.full_sites:
                self.intake.pause(each for each in self._source.assignment() if self._site(each) in full)
            await self._accept(await self.intake.poll(min(num_records, self._batcher.room), _POLL_S))

    def end(self) -> None:
        """Reading is over: what waits for the model is left to whoever reads it next."""
        self.over = True
        self._forget(None)
        self.arrived.set()

    def batch_left(self) -> None:
        """Sets have left the batcher: a site with room again is read again."""
        self.intake.resume(
            each for each in self.intake.paused if self._batcher.fill(self._site(each)) <= _RESUME_FILL
        )

    def _site(self, partition: TopicPartition) -> str:
        return topic_site(partition[0], self._topic)

    async def _accept(self, deliveries: Sequence[Delivery]) -> None:
        """Every record waits for the model, is finished as expired or is a dead letter; or has not begun."""
        if not deliveries:
            return
        read_s = self._clock.monotonic_s()
        tasks = [AnswerTask(delivery, read_s) for delivery in deliveries]
        self._tally.read(len(tasks))
        unplaced = dict.fromkeys(tasks)
        try:
            with self._tally.stage("decode"):
                outcomes = await self._threads.spread(self._open, tasks)
            for task, outcome in zip(tasks, outcomes, strict=True):
                if isinstance(outcome, DecodeError):
                    task.refuse(outcome.reason, str(outcome))
                await self._place(task)
                del unplaced[task]
        except asyncio.CancelledError:
            for task in unplaced:
                task.delivery.release()
            raise
        self.arrived.set()

    async def _place(self, task: AnswerTask) -> None:
        if task.verdict is Verdict.REFUSED:
            await self._letters.put(task.delivery, task.reason, task.error)
            self._tally.dead(task.reason)
            return
        self._tally.arrived(task, self._clock.monotonic_s(), self._clock.time_ns())
        if task.verdict is Verdict.EXPIRED:
            self._tally.too_late(task.site)
            task.delivery.ack()
        else:
            self._batcher.push(task, self._clock.monotonic_s())

    def _forget(self, partitions: frozenset[TopicPartition] | None) -> None:
        """The sets of the partitions (None = all) leave the batcher and are released."""
        for task in self._batcher.discard(lambda task: partitions is None or task.partition in partitions):
            task.delivery.release()
