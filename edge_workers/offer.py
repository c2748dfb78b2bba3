"""The stage `offer`: patches chosen and encoded in the codec threads, and the records offered to the uplink.

Records are encoded before they wait for their tokens: no codec of today leans on what was sent before. One that
did would have to encode at the hand-over to Kafka, when it is known what the server will hold.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_workers.metrics import FrameMetrics
from edge_workers.prepare import Prepare, crop_all
from edge_workers.task import FrameTask
from edge_workers.trace import EdgeTracer
from gating.select import select
from runtime.channel import Channel, ChannelClosed
from runtime.codec_threads import CodecThreads
from runtime.site_clock import SiteClock
from schemas.geometry import CROP_SIDE, NUM_PATCHES
from schemas.offload import Offload, bitmap_of, encode_offload
from schemas.operating_point import OperatingPoint
from uplink.shell import Uplink
from uplink.task import DeliveryResult, Dropped, OffloadTask
from vit.codecs import CODECS, encode_patches

_MERGED_BATCHES = 4
_LEAST_QUALITY = 10
_LEADING = 2
"""Classes of the edge's answer that a record carries: the server weighs them with its own."""
_STOPPED = Dropped("stopped")


def cheaper(point: OperatingPoint) -> Iterator[OperatingPoint]:
    """The point itself, then ever smaller ways to send the same frame: lower quality, then fewer patches."""
    yield point
    if CODECS[point.codec].lossless:
        point = replace(point, codec="webp", quality=75)
        yield point
    while point.quality > _LEAST_QUALITY:
        point = replace(point, quality=max(_LEAST_QUALITY, point.quality // 2))
        yield point
    kept = NUM_PATCHES // 2
    while kept >= 1:
        yield replace(point, selection="top_k", delta=kept / NUM_PATCHES, min_patches=1)
        kept //= 4


def encode(task: FrameTask, *, max_record_bytes: int) -> None:
    """The task has its record, encoded at its point or at the first cheaper one within the limit, its new point."""
    for point in cheaper(task.point):
        task.point = point
        positions = select(task.outputs.attention, point)
        task.num_patches = len(positions)
        task.record = _record(task, point, positions)
        data = encode_offload(task.record)
        task.data = data if len(data) <= max_record_bytes else None
        if task.data is not None:
            break


def _record(task: FrameTask, point: OperatingPoint, positions: NDArray[np.int64]) -> Offload:
    frame, label, answer = task.frame, task.label, task.gate.answer
    return Offload(
        camera=frame.camera,
        seq=frame.seq,
        captured_ns=frame.captured_ns,
        deadline_ns=label.deadline_ns,
        bitmap=bitmap_of(positions),
        codec=point.codec,
        quality=point.quality,
        patches=encode_patches(point.codec, point.quality, task.crop, positions),
        leading=tuple(zip(answer.classes, answer.probabilities, strict=True))[:_LEADING],
        classes_hash=task.model.classes_hash,
    )


class Offerer:
    """Encodes and offers; a frame's offset is free when its record is acknowledged or given up."""

    def __init__(
        self,
        uplink: Uplink,
        threads: CodecThreads,
        *,
        site_clock: SiteClock,
        max_offload_bytes: int,
        prepare: Prepare,
        asking: Channel[list[FrameTask]],
        unasked: Callable[[FrameTask], None],
        tracer: EdgeTracer | None,
        metrics: FrameMetrics,
    ) -> None:
        self._uplink = uplink
        self._threads = threads
        self._site_clock = site_clock
        self._max_offload_bytes = max_offload_bytes
        self._prepare = prepare
        self._asking = asking
        self._unasked = unasked
        self._tracer = tracer
        self._metrics = metrics

    async def run(self) -> None:
        """Offers until the end of the stream."""
        while True:
            try:
                batches = await self._asking.get_batch(_MERGED_BATCHES)
            except ChannelClosed:
                return
            tasks = [task for batch in batches for task in batch]
            with self._metrics.stage("offer", tasks):
                tasks = await self._decoded(tasks)
                outcomes = await self._threads.spread(self._encoding(), tasks)
            for task, outcome in zip(tasks, outcomes, strict=True):
                if outcome is not None:  # it was left behind
                    task.data = None
                self._offer(task)

    async def _decoded(self, tasks: list[FrameTask]) -> list[FrameTask]:
        """Return those that have their crops: still frames, which the model did not need, are decoded now."""
        stills = [task for task in tasks if task.is_still]
        if not stills:
            return tasks
        pairs = [(task, np.empty((CROP_SIDE, CROP_SIDE, 3), np.uint8)) for task in stills]
        await crop_all(self._threads, self._prepare, pairs)
        for task in stills:
            if task.refusal is not None:  # its label is that of the frame that it looks like
                self._unasked(task)
                task.delivery.ack()
        return [task for task in tasks if task.refusal is None]

    def _encoding(self) -> partial[None]:
        burst_bytes = self._uplink.max_record_bytes
        limit = self._max_offload_bytes if burst_bytes is None else min(burst_bytes, self._max_offload_bytes)
        return partial(encode, max_record_bytes=limit)

    def _offer(self, task: FrameTask) -> None:
        if task.data is None:
            self._settled(task, None, Dropped("over_burst"))
            return
        record = task.record
        offload = OffloadTask(
            camera=record.camera,
            score=task.gate.score,
            deadline_s=self._site_clock.monotonic_s(record.deadline_ns),
            num_bytes=len(task.data),
            value=task.data,
        )
        delivery = self._uplink.enqueue(offload)
        delivery.add_done_callback(lambda done: self._settled(task, offload, _result_of(done)))

    def _settled(self, task: FrameTask, offload: OffloadTask | None, result: DeliveryResult) -> None:
        self._metrics.offered(task, result)
        if self._tracer is not None:
            self._tracer.offloaded(task, offload, result)
        if isinstance(result, Dropped):
            self._unasked(task)
        if result == _STOPPED:  # whoever reads the frame next may still have the time to send it
            task.delivery.release()
        else:
            task.delivery.ack()


def _result_of(done: asyncio.Future[DeliveryResult]) -> DeliveryResult:
    return _STOPPED if done.cancelled() else done.result()
