"""The stage `infer`: prepared batches through the model, one after the other on the device thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_workers.metrics import FrameMetrics
from edge_workers.prepare import Batch
from edge_workers.task import FrameTask
from runtime.channel import Channel
from runtime.device_thread import DeviceThread
from schemas.label import State

if TYPE_CHECKING:
    from edge_workers.engine import EdgeEngine


class Inference:
    """Answers prepared batches in their order."""

    def __init__(
        self,
        engine: EdgeEngine,
        device: DeviceThread,
        *,
        prepared: Channel[Batch],
        inferred: Channel[list[FrameTask]],
        metrics: FrameMetrics,
    ) -> None:
        self._engine = engine
        self._device = device
        self._prepared = prepared
        self._inferred = inferred
        self._metrics = metrics

    async def run(self) -> None:
        """Answers until the end of the stream; then closes its own channel."""
        try:
            async for batch in self._prepared:
                sound = [task for task in batch.tasks if task.refusal is None and not task.is_still]
                if sound:
                    await self._infer(batch, sound)
                for task in batch.tasks:
                    task.refusal = task.refusal or task.outputs.refusal
                await self._inferred.put(batch.tasks)
        finally:
            self._inferred.close()

    async def _infer(self, batch: Batch, tasks: list[FrameTask]) -> None:
        with self._metrics.stage("infer", tasks):
            output = await self._device.submit(self._engine.classify, batch.crops)
        self._metrics.inferred(tasks)
        rows = zip(tasks, output.logits, output.attention, output.embedding, strict=True)
        for task, logits, attention, embedding in rows:
            outputs = task.outputs
            outputs.logits, outputs.attention, outputs.embedding = logits, attention, embedding
            if not np.isfinite(logits).all():
                task.refuse(State.UNDECODABLE, "not_finite", "the edge model's scores are no numbers")
