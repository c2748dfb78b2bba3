"""Prepared batches through the model, one after the other on the device thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edge_workers.decode import Answered, Prepared
from edge_workers.incoming import Refused
from edge_workers.tally import EdgeTally
from runtime.channel import Channel
from runtime.clock import Clock
from runtime.device_thread import DeviceThread
from schemas.label import State

if TYPE_CHECKING:
    from edge_workers.engine import EdgeEngine


class Inference:
    """Answers prepared batches in their order; `batch_done` is called when the device is free again."""

    def __init__(
        self,
        engine: EdgeEngine,
        device: DeviceThread,
        *,
        batch_done: Callable[[], None],
        clock: Clock,
        tally: EdgeTally,
        prepared: Channel[Prepared],
        answered: Channel[Answered | list[Refused]],
    ) -> None:
        self._engine = engine
        self._device = device
        self._batch_done = batch_done
        self._clock = clock
        self._tally = tally
        self._prepared = prepared
        self._answered = answered

    async def run(self) -> None:
        """Answers until the end of the stream; then closes its own channel."""
        try:
            async for batch in self._prepared:
                began_s = time.perf_counter()
                output = await self._device.submit(self._engine.classify, batch.crops)
                self._batch_done()
                seconds = time.perf_counter() - began_s
                self._tally.computed(batch.frames, seconds, self._clock.monotonic_s())
                answered = Answered(batch, output.logits, output.attention)
                finite = [bool(np.isfinite(row).all()) for row in output.logits]
                if not all(finite):
                    answered, refused = split(answered, finite)
                    await self._answered.put(refused)
                if answered.batch.frames:
                    await self._answered.put(answered)
        finally:
            self._answered.close()


def split(answered: Answered, good: Sequence[bool]) -> tuple[Answered, list[Refused]]:
    """The rows that are good, and the frames of the others as undecodable."""
    batch = answered.batch
    refused = [
        Refused(frame, State.UNDECODABLE, "not_finite", "the edge model's scores are no numbers")
        for frame, is_good in zip(batch.frames, good, strict=True)
        if not is_good
    ]
    frames = [frame for frame, is_good in zip(batch.frames, good, strict=True) if is_good]
    rows = np.flatnonzero(good)
    kept = Prepared(frames, batch.crops[rows], [])
    return Answered(kept, answered.logits[rows], answered.attention[rows]), refused
