"""From waiting frames to a batch of model inputs: images decoded in threads, one batch ahead of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_workers.incoming import Incoming, Refused
from edge_workers.intake import FrameReader
from edge_workers.tally import EdgeTally
from runtime.channel import Channel
from runtime.spread import spread
from schemas.errors import DecodeError
from schemas.geometry import CROP_SIDE
from schemas.label import State
from vit.preprocess import Pixels, decode_image

_BATCHES_AHEAD = 2
"""One batch on the device and one decoded behind it: frames are chosen as late as that allows."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """`crops` (B, 224, 224, 3) uint8 of the B frames in `frames`; `refused` are those that do not decode."""

    frames: list[Incoming]
    crops: NDArray[np.uint8]
    refused: list[Refused]


@dataclass(frozen=True, slots=True)
class Answered:
    """A prepared batch of B frames, its scores (B, C) float32 and attention (B, 196) float32."""

    batch: Prepared
    logits: NDArray[np.float32]
    attention: NDArray[np.float32]


def prepare(
    frames: Sequence[Incoming], *, max_frame_pixels: int, resize_crop: Callable[[Pixels], Pixels]
) -> Prepared:
    """Every image decoded, resized to 256 and cropped to 224, or refused with its reason."""
    crops = np.empty((len(frames), CROP_SIDE, CROP_SIDE, 3), np.uint8)
    good: list[Incoming] = []
    refused: list[Refused] = []
    for incoming in frames:
        frame = incoming.frame
        try:
            crops[len(good)] = resize_crop(decode_image(frame.image, frame.encoding, max_frame_pixels))
        except DecodeError as error:
            refused.append(Refused(incoming, State.UNDECODABLE, error.reason, str(error)))
        else:
            good.append(incoming)
    return Prepared(good, crops[: len(good)], refused)


def merge(parts: Sequence[Prepared]) -> Prepared:
    """One batch of the parts that several threads have prepared."""
    if len(parts) == 1:
        return parts[0]
    return Prepared(
        [frame for part in parts for frame in part.frames],
        np.concatenate([part.crops for part in parts]),
        [refused for part in parts for refused in part.refused],
    )


class Preparer:
    """Takes frames from the reader when the model is about to need them, and decodes them in `threads`."""

    def __init__(
        self,
        reader: FrameReader,
        threads: Executor,
        num_threads: int,
        *,
        batch_frames: int,
        max_frame_pixels: int,
        resize_crop: Callable[[Pixels], Pixels],
        prepared: Channel[Prepared],
        refused: Channel[Answered | list[Refused]],
        tally: EdgeTally,
    ) -> None:
        self._reader = reader
        self._tally = tally
        self._threads = threads
        self._num_threads = num_threads
        self._batch_frames = batch_frames
        self._prepare = partial(prepare, max_frame_pixels=max_frame_pixels, resize_crop=resize_crop)
        self._prepared = prepared
        self._refused = refused
        self._slots = asyncio.Semaphore(_BATCHES_AHEAD)

    def batch_done(self) -> None:
        """The model is done with a batch: the next may be decoded."""
        self._slots.release()

    async def run(self) -> None:
        """Prepares batches until the reader is over; then closes its channel."""
        reader = self._reader
        try:
            while not reader.over:
                if not await self._refuse(reader.refusals()) and not len(reader.backlog):
                    reader.arrived.clear()
                    await reader.arrived.wait()
                    continue
                await self._slots.acquire()
                frames = reader.next_frames(self._batch_frames)
                if not frames:
                    self._slots.release()
                    continue
                with self._tally.stage("decode"):
                    parts = await spread(self._threads, self._num_threads, self._prepare, frames)
                batch = merge(parts)
                await self._refuse(batch.refused)
                if batch.frames:
                    await self._prepared.put(batch)
                else:
                    self._slots.release()
        finally:
            self._prepared.close()

    async def _refuse(self, refused: list[Refused]) -> bool:
        if refused:
            await self._refused.put(refused)
        return bool(refused)
