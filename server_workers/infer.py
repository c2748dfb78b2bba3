"""The stage `infer`: batches formed when the device is free, computed on its thread, turned into labels."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gating.belief import fuse, spread
from gating.task import CLASSIFICATION, Answer
from runtime.channel import Channel
from runtime.clock import Clock
from runtime.dead_letters import DeadLetters
from runtime.device_thread import DeviceThread
from runtime.waiting import set_within
from schemas.answer import ServerAnswer
from schemas.errors import ModelError
from schemas.label import AnswerSource, Label, LabelState
from schemas.offload import Offload
from server_workers.batcher import Batch, Batcher
from server_workers.intake import RecordReader
from server_workers.metrics import ServerTally
from server_workers.publish import AnswerPublisher
from server_workers.sites import Sites
from server_workers.task import AnswerTask, Verdict
from server_workers.trace import ServerTracer
from vit.backends import PendingScores

T = TypeVar("T")
R = TypeVar("R")

_MAX_FAILED_IN_A_ROW = 8
"""So many records that fail even alone mean that the device is broken, not the records."""


@dataclass(frozen=True, slots=True)
class _Begun:
    """Sets of one model on the device since the local monotonic time `began_s`, or why they are not."""

    sets: list[AnswerTask]
    pending: PendingScores | Exception
    began_s: float


class ServerInference:
    """Empties the batcher, as fast as the device computes.

    Two stages: `begin` forms batches and hands them to the device while it has room, `collect` waits for
    their scores on a thread of its own and publishes labels.
    """

    def __init__(
        self,
        device: DeviceThread,
        results: DeviceThread,
        batcher: Batcher[AnswerTask],
        reader: RecordReader,
        *,
        publisher: AnswerPublisher,
        sites: Sites,
        letters: DeadLetters,
        tally: ServerTally,
        clock: Clock,
        tracer: ServerTracer | None = None,
        edge_weight: float = 0.0,
        batches_in_flight: int = 1,
    ) -> None:
        self._device = device
        self._results = results
        self._batcher = batcher
        self._reader = reader
        self._publisher = publisher
        self._sites = sites
        self._letters = letters
        self._tally = tally
        self._clock = clock
        self._tracer = tracer
        self._edge_weight = edge_weight
        self._failed_in_a_row = 0
        self._room = asyncio.Semaphore(batches_in_flight)
        self._begun: Channel[_Begun] = Channel(batches_in_flight)
        self._last_done_s = -math.inf

    async def begin(self) -> None:
        """Batches go to the device until the reader is over; then no more are to be collected."""
        try:
            while True:
                await self._room.acquire()
                batch = await self._next_batch()
                if batch is None:
                    return
                for task in batch.expired:
                    task.verdict = Verdict.EXPIRED
                    self._tally.too_late(task.site)
                    task.delivery.ack()
                groups = by_engine(batch.sets)
                if not groups:
                    self._room.release()
                for place, sets in enumerate(groups):
                    if place:
                        await self._room.acquire()
                    await self._begun.put(await self._submit(sets))
        finally:
            self._begun.close()

    async def collect(self) -> None:
        """Labels are published until nothing more is begun; then no more labels come.

        Raises:
            ModelError: the device fails on every record.
        """
        try:
            async for begun in self._begun:
                answers = await self._answers(begun)
                await self._publish(begun, answers)
        finally:
            self._publisher.close()

    async def _next_batch(self) -> Batch[AnswerTask] | None:
        """The next batch as soon as it is due, None when the reader is over."""
        while not self._reader.over:
            now_s = self._clock.monotonic_s()
            due_s = self._batcher.due_at()
            if due_s <= now_s:
                batch = self._batcher.take(now_s)
                self._reader.batch_left()
                self._tally.waiting(len(self._batcher))
                return batch
            self._reader.arrived.clear()
            await set_within(self._reader.arrived, None if np.isinf(due_s) else due_s - now_s)
        return None

    async def _submit(self, sets: Sequence[AnswerTask]) -> _Begun:
        began_s = self._clock.monotonic_s()
        patches, positions = [task.patches for task in sets], [task.positions for task in sets]
        pending: PendingScores | Exception
        try:
            pending = await self._device.submit(sets[0].engine.submit, patches, positions)
        except Exception as error:  # noqa: BLE001 - a model raises anything on a bad member, which `collect` finds
            pending = error
        return _Begun(list(sets), pending, began_s)

    async def _answers(self, begun: _Begun) -> Sequence[NDArray[np.float32] | Exception]:
        """The scores of each set, or its error where it fails even alone; the device has room again."""
        try:
            return await self._scores(begun)
        except Exception:  # noqa: BLE001 - told apart member by member
            return await each_apart(self._compute, begun.sets)
        finally:
            self._room.release()

    async def _compute(self, sets: Sequence[AnswerTask]) -> list[NDArray[np.float32]]:
        return await self._scores(await self._submit(sets))

    async def _scores(self, begun: _Begun) -> list[NDArray[np.float32]]:
        if isinstance(begun.pending, Exception):
            raise begun.pending
        scores = await self._results.submit(begun.pending.result)
        done_s = self._clock.monotonic_s()
        # A batch that waited behind another on the device began when that one was done.
        began_s, self._last_done_s = max(begun.began_s, self._last_done_s), done_s
        if not np.isfinite(scores).all():
            raise ModelError(f"scores of a batch of {len(begun.sets)} are no numbers")
        num_tokens = sum(task.num_tokens for task in begun.sets)
        self._batcher.learn(num_tokens, done_s - began_s)
        self._tally.computed(begun.sets, num_tokens, done_s - began_s, began_s)
        return list(scores)

    async def _publish(self, begun: _Begun, answers: Sequence[NDArray[np.float32] | Exception]) -> None:
        answered = []
        now_s = self._clock.monotonic_s()
        for task, scores in zip(begun.sets, answers, strict=True):
            if isinstance(scores, Exception):
                await self._refuse(task, scores)
                continue
            self._failed_in_a_row = 0
            (answer,) = CLASSIFICATION.decode(scores[None])
            if self._tracer is not None:
                task.trace = self._tracer.answered(task, answer, begun.sets, begun.began_s, now_s)
            task.answer = ServerAnswer(
                task.record.camera, task.record.seq, answer.classes, answer.probabilities
            )
            task.label = self._label(task, self._fused(task.record, scores), now_s)
            task.verdict = Verdict.ANSWERED
            answered.append(task)
        await self._publisher.put(answered)

    async def _refuse(self, task: AnswerTask, error: Exception) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row > _MAX_FAILED_IN_A_ROW:
            raise ModelError(f"the model failed on {self._failed_in_a_row} records in a row: {error}")
        task.refuse("engine", f"{type(error).__name__}: {error}")
        await self._letters.put(task.delivery, task.reason, task.error)
        self._tally.dead(task.reason)

    def _fused(self, record: Offload, scores: NDArray[np.float32]) -> Answer:
        """What both models say together: the edge saw the frame too, and two models err less than either."""
        classes = [label for label, _ in record.leading]
        edge = spread(classes, [p for _, p in record.leading], len(scores))
        (answer,) = CLASSIFICATION.decode(fuse(scores.astype(np.float64), edge, self._edge_weight)[None])
        return answer

    def _label(self, task: AnswerTask, answer: Answer, now_s: float) -> Label:
        record = task.record
        return Label(
            site=record.site,
            camera=record.camera,
            seq=record.seq,
            state=LabelState.FINAL,
            source=AnswerSource.SERVER,
            label=answer.label,
            name=task.engine.identity.classes[answer.label],
            confidence=answer.confidence,
            captured_ns=record.captured_ns,
            labelled_ns=self._sites.time_ns(record.site, now_s),
            deadline_ns=record.deadline_ns,
        )


def by_engine(tasks: Sequence[AnswerTask]) -> list[list[AnswerTask]]:
    """The tasks of each model; more than one only while a pair is swapped."""
    groups: dict[int, list[AnswerTask]] = {}
    for task in tasks:
        groups.setdefault(id(task.engine), []).append(task)
    return list(groups.values())


async def each_apart(
    compute: Callable[[Sequence[T]], Awaitable[Sequence[R]]], members: Sequence[T]
) -> list[R | Exception]:
    """The result of every member, or the error of one that fails even alone; in order.

    The batch is computed as one; where that fails, its halves are, down to single members, so that one bad
    member does not sink its neighbours: with one in n, about 2 log2 n more calls.
    """
    try:
        return list(await compute(members))
    except Exception as error:  # noqa: BLE001 - a model raises anything on a bad member; it is reported with it
        if len(members) == 1:
            return [error]
    half = len(members) // 2
    return await each_apart(compute, members[:half]) + await each_apart(compute, members[half:])
