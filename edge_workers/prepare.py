"""The stage `prepare`: images decoded, resized to 256 and cropped to 224 in threads, one batch ahead of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_workers.intake import FrameReader
from edge_workers.metrics import FrameMetrics
from edge_workers.task import FrameTask
from imaging.decode import decode_image
from runtime.channel import Channel
from runtime.spread import spread
from schemas.errors import DecodeError
from schemas.geometry import CROP_SIDE
from schemas.label import State
from vit.preprocess import Pixels


@dataclass(frozen=True, slots=True)
class Batch:
    """`tasks` in the order of their turns; `crops` (B, 224, 224, 3) uint8 of the B that are not refused."""

    tasks: list[FrameTask]
    crops: NDArray[np.uint8]


def prepare(
    tasks: Sequence[tuple[FrameTask, NDArray[np.uint8]]],
    *,
    max_frame_pixels: int,
    resize_crop: Callable[[Pixels], Pixels],
) -> None:
    """Every task has its crop, in the (224, 224, 3) array beside it, or is refused with the reason."""
    for task, crop in tasks:
        frame = task.frame
        try:
            size = (frame.width, frame.height)
            crop[...] = resize_crop(decode_image(frame.image, frame.encoding, max_frame_pixels, size=size))
        except DecodeError as error:
            task.refuse(State.UNDECODABLE, error.reason, str(error))
        else:
            task.crop = crop


class Preparer:
    """Takes frames from the reader when the model is about to need them, and prepares them in `threads`."""

    def __init__(
        self,
        reader: FrameReader,
        threads: Executor,
        num_threads: int,
        *,
        batch_frames: int,
        max_frame_pixels: int,
        resize_crop: Callable[[Pixels], Pixels],
        prepared: Channel[Batch],
        metrics: FrameMetrics,
    ) -> None:
        self._reader = reader
        self._metrics = metrics
        self._threads = threads
        self._num_threads = num_threads
        self._batch_frames = batch_frames
        self._prepare = partial(prepare, max_frame_pixels=max_frame_pixels, resize_crop=resize_crop)
        self._prepared = prepared

    async def run(self) -> None:
        """Prepares batches until the reader is over; then closes its channel.

        The channel keeps nothing: a batch waits here until the model takes it, and only then are the next
        frames chosen, as late as possible.
        """
        reader = self._reader
        try:
            while not reader.over:
                tasks = reader.next_tasks(self._batch_frames)
                if tasks:
                    await self._prepared.put(await self._batch(tasks))
                else:
                    reader.arrived.clear()
                    await reader.arrived.wait()
        finally:
            self._prepared.close()

    async def _batch(self, tasks: list[FrameTask]) -> Batch:
        fresh = [task for task in tasks if task.refusal is None]
        crops = np.empty((len(fresh), CROP_SIDE, CROP_SIDE, 3), np.uint8)
        if fresh:
            pairs = list(zip(fresh, crops, strict=True))
            with self._metrics.stage("prepare", fresh):
                await spread(self._threads, self._num_threads, self._prepare, pairs)
        sound = [row for row, task in enumerate(fresh) if task.refusal is None]
        return Batch(tasks, crops if len(sound) == len(fresh) else crops[sound])
