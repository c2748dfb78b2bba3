"""Numbered frames to the topic `frames`: sends are pipelined, acknowledgements are counted as they come."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from producers.camera_stats import CameraStats, Cause, is_landmark
from runtime.log import get_logger
from schemas.errors import TransientError
from schemas.frame import Frame, encode_frame
from schemas.topics import frames_partition

_log = get_logger(__name__)


class FrameSink(Protocol):
    """The part of `runtime.kafka.Sink` that publishing needs."""

    async def send(
        self, topic: str, value: bytes, *, key: bytes | None = None, partition: int | None = None
    ) -> asyncio.Future[object]:
        """Hand the record over, waiting while too many bytes are in flight; return its delivery."""


class Publisher:
    """Sends frames of any number of cameras; a camera's frames stay in order in its one partition."""

    def __init__(self, sink: FrameSink, *, topic: str, num_partitions: int) -> None:
        self._sink = sink
        self._topic = topic
        self._num_partitions = num_partitions

    async def publish(self, frame: Frame, stats: CameraStats) -> None:
        """`frame` is in the client's hands; its acknowledgement or refusal will be counted in `stats`.

        Waits while too many bytes are in flight. Cancelled while it waits, it has sent nothing.
        """
        value = encode_frame(frame)
        partition = frames_partition(frame.camera, self._num_partitions)
        delivery = await self._sink.send(self._topic, value, key=frame.camera.encode(), partition=partition)
        stats.sent()
        delivery.add_done_callback(partial(_count, stats, frame.camera, len(value)))


def _count(stats: CameraStats, camera: str, num_bytes: int, delivery: asyncio.Future[object]) -> None:
    error = TransientError("cancelled") if delivery.cancelled() else delivery.exception()
    if error is None:
        stats.acknowledged(num_bytes)
        return
    cause = Cause.UNACKNOWLEDGED if isinstance(error, TransientError) else Cause.REFUSED
    if is_landmark(count := stats.failed(cause)):
        _log.warning("frames lost on the way", camera=camera, cause=cause.value, count=count, why=str(error))
