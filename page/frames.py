"""Pictures for the page: the newest frame of each camera in view, old ones by time, thumbnails made once.

Reads `frames` without a group. Only partitions of cameras that somebody looks at are followed.
"""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import simplejpeg
from PIL import Image

from imaging.header import check_size
from runtime.kafka_connection import Record
from runtime.log import get_logger
from schemas.errors import DecodeError, TransientError
from schemas.frame import Frame, decode_frame
from schemas.topics import frames_partition

_POLL_S = 0.5
_LOOK_BACK_MS = 2_000
_LOOK_AHEAD_MS = 60_000
_MAX_FOUND = 32
_FORMATS = ("JPEG", "PNG", "WEBP")
_log = get_logger(__name__)


class PartitionReader(Protocol):
    """What the window needs of `runtime.kafka_reader.TopicReader`."""

    async def num_partitions(self) -> int:
        """Partitions of the topic."""
        ...

    async def follow(self, partitions: Collection[int], *, last: int = 1) -> None:
        """`read` returns records of these from now on."""
        ...

    async def read(self, timeout_s: float) -> list[Record]:
        """The next records; empty after `timeout_s`."""
        ...

    async def find(
        self, partition: int, time_ms: int, *, within_ms: int, wanted: Callable[[Record], bool]
    ) -> Record | None:
        """The first record of that time that is wanted."""
        ...


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Sizes that a frame may have, as the edge holds it to them."""

    max_frame_bytes: int
    max_frame_pixels: int


class FrameWindow:
    """The frames that viewers look at.

    State: the cameras that each viewer wants, the newest frame of each camera in view, the last frames that
    were looked up, thumbnails by camera and seq. All of it is touched from the event loop's thread only;
    pictures are decoded in `threads`.
    """

    def __init__(
        self,
        reader: PartitionReader,
        threads: Executor,
        limits: PictureLimits,
        *,
        max_held: int,
        thumbnail_pixels: int,
    ) -> None:
        self._reader = reader
        self._threads = threads
        self._limits = limits
        self._max_held = max_held
        self._thumbnail_pixels = thumbnail_pixels
        self._wanted: dict[object, frozenset[str]] = {}
        self._in_view: frozenset[str] = frozenset()
        self._newest: OrderedDict[str, Frame] = OrderedDict()
        self._found: OrderedDict[tuple[str, int], Frame] = OrderedDict()
        self._thumbnails: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._changed = asyncio.Event()
        self._num_partitions = 0

    @property
    def in_view(self) -> frozenset[str]:
        """Every camera that somebody looks at."""
        return self._in_view

    def want(self, viewer: object, cameras: Collection[str]) -> None:
        """`viewer` looks at these cameras; none ends it."""
        if cameras:
            self._wanted[viewer] = frozenset(cameras)
        else:
            self._wanted.pop(viewer, None)
        self._in_view = frozenset().union(*self._wanted.values())
        self._changed.set()

    def newest(self, camera: str) -> Frame | None:
        """The camera's newest frame that was read."""
        return self._newest.get(camera)

    async def run(self) -> None:
        """Reads while somebody looks, and waits while nobody does; ends by cancellation."""
        while True:
            if not self._in_view:
                await self._reader.follow(())
                self._changed.clear()
                await self._changed.wait()
            try:
                await self._follow()
                for record in await self._reader.read(_POLL_S):
                    self._take(record)
            except TransientError as error:
                _log.warning("no pictures for now", error=str(error))
                await asyncio.sleep(_POLL_S)  # the broker tells nobody when it is back

    async def _follow(self) -> None:
        if not self._num_partitions:
            self._num_partitions = await self._reader.num_partitions()
        if self._num_partitions:
            await self._reader.follow(
                {frames_partition(each, self._num_partitions) for each in self._in_view}, last=4
            )

    def _take(self, record: Record) -> None:
        camera = (record.key or b"").decode(errors="replace")
        if camera in self._in_view and (frame := self._decoded(record)) is not None:
            self._newest[camera] = frame
            self._newest.move_to_end(camera)
            while len(self._newest) > self._max_held:
                self._newest.popitem(last=False)

    def _decoded(self, record: Record) -> Frame | None:
        try:
            return decode_frame(
                record.value,
                max_frame_bytes=self._limits.max_frame_bytes,
                max_frame_pixels=self._limits.max_frame_pixels,
            )
        except DecodeError:
            return None  # the edge writes its dead letter

    async def find(self, camera: str, seq: int, captured_ns: int) -> Frame | None:
        """The frame, as long as `frames` keeps it; None after that.

        Raises:
            TransientError: the broker does not answer.
        """
        newest = self._newest.get(camera)
        if newest is not None and newest.seq == seq:
            return newest
        if (found := self._found.get((camera, seq))) is not None:
            return found
        if not self._num_partitions:
            self._num_partitions = await self._reader.num_partitions()
        if not self._num_partitions:
            return None
        partition = frames_partition(camera, self._num_partitions)
        from_ms = captured_ns // 1_000_000 - _LOOK_BACK_MS

        def wanted(record: Record) -> bool:
            return (
                record.key == camera.encode()
                and (frame := self._decoded(record)) is not None
                and frame.seq == seq
            )

        record = await self._reader.find(partition, from_ms, within_ms=_LOOK_AHEAD_MS, wanted=wanted)
        found = None if record is None else self._decoded(record)
        if found is not None:
            self._found[camera, seq] = found
            while len(self._found) > _MAX_FOUND:
                self._found.popitem(last=False)
        return found

    async def thumbnail(self, frame: Frame) -> bytes:
        """The frame as a small JPEG, made once.

        Raises:
            DecodeError: the image does not decode.
        """
        key = (frame.camera, frame.seq)
        made = self._thumbnails.get(key)
        if made is None:
            loop = asyncio.get_running_loop()
            made = await loop.run_in_executor(
                self._threads, small_jpeg, frame.image, self._thumbnail_pixels, self._limits.max_frame_pixels
            )
            self._thumbnails[key] = made
            while len(self._thumbnails) > self._max_held:
                self._thumbnails.popitem(last=False)
        return made


def small_jpeg(image: bytes, longest_pixels: int, max_pixels: int) -> bytes:
    """A JPEG whose longer side is at most `longest_pixels`; a JPEG is decoded at the least scale that suffices.

    Raises:
        DecodeError: not an image of a known kind, too many pixels, or damaged.
    """
    try:
        with Image.open(io.BytesIO(image), formats=_FORMATS) as opened:
            check_size(str(opened.format), *opened.size, max_pixels)
            share = min(1.0, longest_pixels / max(opened.size))
            width, height = (max(1, round(share * side)) for side in opened.size)
            if (opened.format, opened.mode) == ("JPEG", "RGB"):
                least = {"min_width": width, "min_height": height}
                picture = Image.fromarray(simplejpeg.decode_jpeg(image, **least, fastdct=True))
            else:
                picture = opened.convert("RGB")
        small = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        made: bytes = simplejpeg.encode_jpeg(
            np.asarray(small), quality=75, colorsubsampling="420", fastdct=True
        )
    except DecodeError:
        raise
    except Exception as error:  # noqa: BLE001 - decoders of hostile bytes raise anything
        raise DecodeError("bad_image", f"image: {error}") from None
    return made
