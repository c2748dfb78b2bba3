"""The stage `publish`: the edge's labels on their way to Redis, many in one write.

The order is the delivery promise: a frame's label is in Redis first, and where it waited its final one after the
provisional one; then its record is offered to the uplink; its offset is free when the outcome of that is known,
at once where nothing is offloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_workers.gate import Gating
from edge_workers.metrics import FrameMetrics
from edge_workers.task import FrameTask
from edge_workers.trace import EdgeTracer
from runtime.channel import Channel, ChannelClosed
from runtime.dead_letters import DeadLetters
from runtime.label_writer import LabelWriter
from schemas.label import LabelState
from schemas.win_rule import PutResult

_MERGED_BATCHES = 4
"""Batches that one write to Redis may cover when it is slower than the model."""


class LabelPublisher:
    """Gates frames and writes their labels in the order they come; passes on what the server is to be asked."""

    def __init__(
        self,
        gating: Gating,
        writer: LabelWriter,
        letters: DeadLetters,
        *,
        inferred: Channel[list[FrameTask]],
        asking: Channel[list[FrameTask]],
        unasked: Callable[[FrameTask], None],
        tracer: EdgeTracer | None,
        metrics: FrameMetrics,
    ) -> None:
        self._gating = gating
        self._writer = writer
        self._letters = letters
        self._inferred = inferred
        self._asking = asking
        self._unasked = unasked
        self._tracer = tracer
        self._metrics = metrics

    async def run(self) -> None:
        """Publishes until the end of the stream; then closes its own channel."""
        try:
            while True:
                try:
                    batches = await self._inferred.get_batch(_MERGED_BATCHES)
                except ChannelClosed:
                    return
                tasks = [task for batch in batches for task in batch]
                ended = self._gating.decide(tasks)
                with self._metrics.stage("publish", tasks):
                    results = await self._writer.write([*(task.label for task in tasks), *ended])
                await self._settle(tasks, results[: len(tasks)])
        finally:
            self._asking.close()

    async def _settle(self, tasks: Sequence[FrameTask], results: Sequence[PutResult]) -> None:
        asking: list[FrameTask] = []
        for task, result in zip(tasks, results, strict=True):
            self._metrics.labelled(task.label, result)
            if self._tracer is not None:
                self._tracer.published(task, result)
            if task.refusal is not None and task.refusal.state is LabelState.UNDECODABLE:
                await self._letters.put(task.delivery, task.refusal.cause, task.refusal.error)
                self._metrics.dead(task.refusal.cause)
            elif task.asks and result is not PutResult.ALREADY_FINAL:
                task.repeated = result is not PutResult.WRITTEN
                asking.append(task)
            else:
                if task.asks:  # an earlier reading had its answer: nothing is asked twice
                    self._unasked(task)
                task.delivery.ack()
        if asking:
            await self._asking.put(asking)
