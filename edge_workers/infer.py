"""The stage `infer`: prepared batches through the model, one after the other on the device thread."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_workers.metrics import FrameMetrics
from edge_workers.prepare import FrameBatch
from edge_workers.task import FrameTask
from runtime.channel import Channel
from runtime.device_thread import DeviceThread
from schemas.label import LabelState
from vit.backends import EdgeOutput, Identity


class Attending(Protocol):
    """What the inference needs of `edge_workers.engine.EdgeEngine`."""

    identity: Identity

    def classify(self, crops: NDArray[np.uint8]) -> EdgeOutput:
        """What the model says of (B, 224, 224, 3) crops."""
        ...


class Models(Protocol):
    """What the inference needs of `edge_workers.models.EdgeModels`."""

    @property
    def engine(self) -> Attending:
        """The engine that answers the next batch."""
        ...


class EdgeInference:
    """Answers prepared batches in their order, each by the engine that is then in use."""

    def __init__(
        self,
        models: Models,
        device: DeviceThread,
        *,
        prepared: Channel[FrameBatch],
        inferred: Channel[list[FrameTask]],
        metrics: FrameMetrics,
    ) -> None:
        self._models = models
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

    async def _infer(self, batch: FrameBatch, tasks: list[FrameTask]) -> None:
        engine = self._models.engine
        with self._metrics.stage("infer", tasks):
            output = await self._device.submit(engine.classify, batch.crops)
        self._metrics.inferred(tasks)
        rows = zip(tasks, output.logits, output.attention, output.embedding, strict=True)
        for task, logits, attention, embedding in rows:
            outputs = task.outputs
            outputs.logits, outputs.attention, outputs.embedding = logits, attention, embedding
            outputs.model = engine.identity
            # Attention is no number where the last block attends to the class token only: no patch can be chosen.
            if not all(np.isfinite(each).all() for each in (logits, attention, embedding)):
                task.refuse(LabelState.UNDECODABLE, "not_finite", "the edge model's outputs are no numbers")
