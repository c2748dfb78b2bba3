"""One camera from its source to Kafka: session after session, each frame encoded, numbered and published."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from producers.camera import CameraSpec
from producers.camera_stats import CameraStats, Cause, is_landmark
from producers.capture import Capture, SourceOpener, TimedImage
from producers.drop_queue import DropQueue
from producers.image import ImageLimits, ImageTooLarge, encode, fits
from producers.publish import FramePublisher
from producers.reconnect import ReconnectSchedule
from producers.settings import ProducerSettings
from producers.sources.source import EncodedImage
from producers.standstill import Standstill
from producers.trouble import CameraError, Trouble, trouble_of
from runtime.clock import Clock
from runtime.codec_threads import CodecThreads
from runtime.log import get_logger
from runtime.settings import MIB
from schemas.errors import DecodeError, SourceError
from schemas.frame import Frame

_log = get_logger(__name__)

CLOSE_WAIT_S: Final = 1.0
"""A capture thread that reads ends at its next picture; one that hangs is left behind after this."""
STALL_ALLOWANCE_S: Final = 2.0
"""FFmpeg's own time-outs should strike first; this much later the session is given up from outside."""
MAX_HANGING: Final = 2
"""Threads of one camera that may hang at a time; until one ends, no new session is started."""

MAX_WAITING_BYTES: Final = 24 * MIB
"""Pictures of one camera that wait: 4 of 1920x1080, 27 of 640x480. Decoded ones are large, and many cameras share
a machine's memory."""


class Numbers(Protocol):
    """Gives the camera's sequence numbers."""

    async def next(self) -> int:
        """Return a number above all before it, durably reserved."""


@dataclass(frozen=True, slots=True)
class CameraContext:
    """What a camera's pipeline shares with others (`threads`, `publisher`, `clock`) or has of its own."""

    site: str
    camera: str
    settings: ProducerSettings
    numbers: Numbers
    publisher: FramePublisher
    stats: CameraStats
    clock: Clock
    threads: CodecThreads
    open_source: SourceOpener


class CameraPipeline:
    """Runs one camera. `_hanging` holds the sessions whose threads could not be ended."""

    def __init__(self, spec: CameraSpec, context: CameraContext) -> None:
        self._spec = spec
        self._context = context
        settings = context.settings
        self._limits = ImageLimits(settings.max_frame_bytes, settings.max_frame_pixels, settings.jpeg_quality)
        self._reconnect = ReconnectSchedule(
            settings.reconnect_min_s, settings.reconnect_max_s, random.Random().random
        )
        wanted_fps = settings.fps if spec.fps is None else spec.fps
        self._fps = wanted_fps or None
        watched = spec.self_paced and settings.frozen_after_s > 0
        self._standstill = Standstill(settings.frozen_after_s) if watched else None
        self._num_sent = 0
        self._hanging: list[Capture] = []
        self._first_frame_s: float | None = None

    async def run(self) -> None:
        """Return when the file ended or the limit is reached; a stream or webcam is tried again for ever.

        Raises:
            SourceError: a file cannot be read.
        """
        self._context.stats.connected(False)
        while True:
            try:
                await self._session()
            except SourceError as error:
                if not self._spec.self_paced:
                    raise
                await self._wait_after(error)
            else:
                return

    async def _session(self) -> None:
        self._hanging = [capture for capture in self._hanging if capture.running]
        if len(self._hanging) >= MAX_HANGING:
            raise SourceError(f"{self._spec}: {len(self._hanging)} earlier sessions still hang")
        self._first_frame_s = None
        capture = self._start_capture()
        try:
            while (timed := await capture.next()) is not None:
                if self._first_frame_s is None:
                    self._mark_connected()
                await self._publish(timed)
                if self._num_sent == self._spec.limit:
                    return
            if self._spec.self_paced:
                raise CameraError(Trouble.ENDED, f"{self._spec}: the stream ended")
        finally:
            self._context.stats.connected(False)
            if not await capture.close(CLOSE_WAIT_S):
                self._hanging.append(capture)

    def _start_capture(self) -> Capture:
        settings = self._context.settings
        stall_s = None
        if self._spec.self_paced:
            stall_s = settings.open_timeout_s + settings.read_timeout_s + STALL_ALLOWANCE_S
        return Capture(
            self._context.camera,
            self._context.open_source,
            queue=DropQueue(
                settings.queue_frames,
                self._spec.drop_policy(settings.drop),
                max_bytes=MAX_WAITING_BYTES,
                bytes_of=lambda timed: timed.num_bytes,
            ),
            fps=self._fps,
            stats=self._context.stats,
            clock=self._context.clock,
            stall_s=stall_s,
            standstill=self._standstill,
            loop_source=self._spec.loop and not self._spec.self_paced,
        )

    def _mark_connected(self) -> None:
        self._first_frame_s = self._context.clock.monotonic_s()
        self._context.stats.connected(True)
        _log.info("camera gives frames", camera=self._context.camera, source=str(self._spec))

    async def _wait_after(self, error: SourceError) -> None:
        started_s = self._first_frame_s
        lived_s = 0.0 if started_s is None else self._context.clock.monotonic_s() - started_s
        delay_s = self._reconnect.lost(lived_s, longest=trouble_of(error) is Trouble.LOGIN_REFUSED)
        self._context.stats.lost(error)
        _log.warning(
            "camera lost",
            camera=self._context.camera,
            why=str(error),
            error=trouble_of(error).value,
            retry_s=round(delay_s, 1),
        )
        await asyncio.sleep(delay_s)

    async def _publish(self, timed: TimedImage) -> None:
        context = self._context
        try:
            image = await self._encoded(timed)
        except ImageTooLarge as error:
            self._drop(Cause.TOO_LARGE, error)
            return
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises costs its own picture only
            self._drop(Cause.UNREADABLE, error)
            return
        frame = Frame(
            site=context.site,
            camera=context.camera,
            seq=await context.numbers.next(),
            captured_ns=timed.captured_ns,
            width=image.width,
            height=image.height,
            encoding=image.encoding,
            image=image.data,
            live=self._spec.live,
            truth=timed.captured.truth,
            still=timed.captured.still,
        )
        await context.publisher.publish(frame, context.stats)
        self._num_sent += 1

    def _drop(self, cause: Cause, error: Exception) -> None:
        if is_landmark(count := self._context.stats.dropped(cause)):
            camera = self._context.camera
            _log.warning("frames dropped", camera=camera, cause=cause.value, count=count, why=str(error))

    async def _encoded(self, timed: TimedImage) -> EncodedImage:
        image = timed.captured.image
        region = self._spec.region
        if isinstance(image, EncodedImage) and not region and fits(image, self._limits):
            return image
        encoding = partial(encode, limits=self._limits, region=region)
        (encoded,) = await self._context.threads.spread(encoding, [image])
        if isinstance(encoded, DecodeError):
            raise encoded
        return encoded
