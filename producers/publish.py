"""Numbered frames to the topic `frames`: sends are pipelined, acknowledgements are counted as they come."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from producers.camera_stats import CameraStats, Cause, is_landmark
from runtime.log import get_logger
from schemas.errors import StackError, TransientError
from schemas.frame import Frame, encode_frame
from schemas.topics import frames_partition

_log = get_logger(__name__)


class FrameSink(Protocol):
    """The part of `runtime.kafka_sink.Sink` that publishing needs."""

    async def send(
        self, topic: str, value: bytes, *, key: bytes | None = None, partition: int | None = None
    ) -> asyncio.Future[object]:
        """Hand the record over, waiting while too many bytes are in flight; return its delivery."""

    async def num_partitions(self, topic: str) -> int:
        """Return how many partitions the topic has, waiting for Kafka as long as that takes."""


class FramePublisher:
    """Sends frames of any number of cameras; a camera's frames stay in order in its one partition."""

    def __init__(self, sink: FrameSink, *, topic: str) -> None:
        self._sink = sink
        self._topic = topic
        self._num_partitions: int | None = None

    async def num_partitions(self) -> int:
        """Return how many partitions the topic had when Kafka first told; waits for that.

        A camera stays in its partition as long as this process lives, also when partitions are added.

        Raises:
            TransientError: the topic is missing, or Kafka does not tell.
        """
        if self._num_partitions is None:
            try:
                self._num_partitions = await self._sink.num_partitions(self._topic)
            except StackError as missing:
                raise TransientError(str(missing)) from None
        return self._num_partitions

    async def publish(self, frame: Frame, stats: CameraStats) -> None:
        """`frame` is in the client's hands; its acknowledgement or refusal will be counted in `stats`.

        Waits for Kafka's first answer, and while too many bytes are in flight. Cancelled while it waits, it has
        sent nothing.
        """
        value = encode_frame(frame)
        partition = frames_partition(frame.camera, await self.num_partitions())
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
