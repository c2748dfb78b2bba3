"""The stage `prepare`: images decoded, resized to 256 and cropped to 224 in threads, one batch ahead of the model.

Where stillness is on, each camera's frames are glanced at first, also in threads. Whether they are still is decided
here, on the event loop, in the order of their turns; only those that are not are decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_workers.intake import FrameReader
from edge_workers.metrics import FrameMetrics
from edge_workers.task import FrameTask, Outputs
from gating.cameras import Cameras
from gating.stillness import TILES, CameraStillness, Tiles
from imaging.decode import decode_image
from imaging.glance import glance
from runtime.channel import Channel
from runtime.clock import Clock
from runtime.codec_threads import CodecThreads
from schemas.errors import DecodeError
from schemas.geometry import CROP_SIDE
from schemas.label import LabelState
from vit.preprocess import Pixels, crop_box

Prepare = Callable[[tuple[FrameTask, Pixels]], None]
"""`prepare` for one model and limit."""
_MOST_BATCHES = 4
"""So many batches of frames are glanced at for one batch that the model sees; those found still wait for it."""


@dataclass(frozen=True, slots=True)
class FrameBatch:
    """`tasks` in the order of their turns; `crops` (B, 224, 224, 3) uint8 of the B that the model is to see."""

    tasks: list[FrameTask]
    crops: NDArray[np.uint8]


def prepare(
    pair: tuple[FrameTask, Pixels],
    *,
    max_frame_pixels: int,
    resize_crop: Callable[[Pixels], Pixels],
) -> None:
    """The (224, 224, 3) array beside the task holds its crop. The task itself is not touched.

    Raises:
        DecodeError: the frame's image cannot be read, or is not what the frame says.
    """
    task, crop = pair
    frame, size = task.frame, (task.frame.width, task.frame.height)
    crop[...] = resize_crop(decode_image(frame.image, frame.encoding, max_frame_pixels, size=size))


def glance_at(task: FrameTask, *, max_frame_pixels: int) -> Tiles | None:
    """Return what the frame roughly shows of what the model would see; None where only decoding it can tell."""
    frame = task.frame
    if frame.encoding != "jpeg" or frame.still:
        return None
    size = (frame.width, frame.height)
    return glance(frame.image, max_frame_pixels, size, crop_box(*size), TILES)


async def crop_all(
    threads: CodecThreads,
    prepare: Prepare,
    pairs: Sequence[tuple[FrameTask, Pixels]],
) -> None:
    """Every task has its crop, in the array beside it, or is refused with the reason."""
    outcomes = await threads.spread(prepare, pairs)
    for (task, crop), outcome in zip(pairs, outcomes, strict=True):
        if isinstance(outcome, DecodeError):
            task.refuse(LabelState.UNDECODABLE, outcome.reason, str(outcome))
        else:
            task.crop = crop


class Preparer:
    """Takes frames from the reader when the model is about to need them, and prepares them in `threads`.

    `stillness` gives what each camera showed last, as long as unchanged frames are not to be classified again; it is
    asked for each batch, as another pair may have another calibration. None where every frame is classified.
    """

    def __init__(
        self,
        reader: FrameReader,
        threads: CodecThreads,
        *,
        batch_frames: int,
        max_frame_pixels: int,
        prepare: Prepare,
        prepared: Channel[FrameBatch],
        metrics: FrameMetrics,
        clock: Clock,
        stillness: Callable[[], Cameras[CameraStillness[Outputs]] | None],
    ) -> None:
        self._reader = reader
        self._metrics = metrics
        self._threads = threads
        self._batch_frames = batch_frames
        self._prepare = prepare
        self._glance_at = partial(glance_at, max_frame_pixels=max_frame_pixels)
        self._prepared = prepared
        self._clock = clock
        self._stillness = stillness

    async def run(self) -> None:
        """Prepares batches until the reader is over; then closes its channel.

        The channel keeps nothing: a batch waits here until the model takes it, and only then are the next
        frames chosen, as late as possible.
        """
        reader = self._reader
        try:
            while not reader.over:
                tasks, moving = await self._next()
                if tasks:
                    await self._prepared.put(await self._batch(tasks, moving))
                else:
                    reader.arrived.clear()
                    await reader.arrived.wait()
        finally:
            self._prepared.close()

    async def _next(self) -> tuple[list[FrameTask], list[FrameTask]]:
        """Return the next frames, maybe none, and those of them for the model: a full batch where enough wait."""
        tasks: list[FrameTask] = []
        moving: list[FrameTask] = []
        while len(moving) < self._batch_frames and len(tasks) < _MOST_BATCHES * self._batch_frames:
            more = self._reader.next_tasks(self._batch_frames - len(moving))
            if not more:
                break
            tasks += more
            moving += await self._moving([task for task in more if task.refusal is None])
        return tasks, moving

    async def _moving(self, tasks: list[FrameTask]) -> list[FrameTask]:
        """Return the frames that are to be classified; the others have the outputs of those that they look like."""
        cameras = self._stillness()
        if cameras is None or not tasks:
            return tasks
        with self._metrics.stage("glance", tasks):
            glanced = await self._threads.spread(self._glance_at, tasks)
            now_s = self._clock.monotonic_s()
            for task, tiles in zip(tasks, glanced, strict=True):
                if task.frame.still:
                    continue
                camera = cameras.of(task.camera, now_s)
                if tiles is None or isinstance(tiles, DecodeError):
                    camera.forget()
                    continue
                before = camera.look(task.frame.seq, task.captured_ns, tiles, task.outputs)
                if before is not None and before.refusal is None and not before.in_doubt:
                    task.outputs = before
        self._metrics.still([task for task in tasks if task.is_still])
        return [task for task in tasks if not task.is_still]

    async def _batch(self, tasks: list[FrameTask], moving: list[FrameTask]) -> FrameBatch:
        crops = await self._crops(moving)
        orphans = [task for task in tasks if task.is_still and task.outputs.refusal is not None]
        if not orphans:
            sound = [row for row, task in enumerate(moving) if task.refusal is None]
            return FrameBatch(tasks, crops if len(sound) == len(moving) else crops[sound])
        # What one frame's decoder does must not cost those that look like it.
        for task in orphans:
            task.outputs = Outputs(task.frame.seq)
        await self._crops(orphans)
        sound_crops = [task.crop for task in tasks if task.refusal is None and not task.is_still]
        return FrameBatch(tasks, np.stack(sound_crops) if sound_crops else crops[:0])

    async def _crops(self, tasks: list[FrameTask]) -> NDArray[np.uint8]:
        """Return a row for each frame, its crop unless it is refused now."""
        crops = np.empty((len(tasks), CROP_SIDE, CROP_SIDE, 3), np.uint8)
        if tasks:
            with self._metrics.stage("prepare", tasks):
                await crop_all(self._threads, self._prepare, list(zip(tasks, crops, strict=True)))
        return crops
