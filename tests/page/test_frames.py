"""Only what somebody looks at is read; thumbnails are made once; old frames are found by time."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import numpy as np
import pytest
from PIL import Image

from page.frames import FrameWindow, PictureLimits, small_jpeg
from runtime.kafka_connection import Record
from schemas.errors import DecodeError, TransientError
from schemas.frame import Frame, encode_frame
from schemas.topics import frames_partition

PARTITIONS = 4
LIMITS = PictureLimits(max_frame_bytes=100_000, max_frame_pixels=1_000_000)


def jpeg(width: int = 64, height: int = 48) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(out, "JPEG")
    return out.getvalue()


def record(camera: str, seq: int, value: bytes | None = None) -> Record:
    frame = Frame("", camera, seq, seq * 10**9, 64, 48, "jpeg", jpeg())
    return Record(
        topic="frames",
        partition=frames_partition(camera, PARTITIONS),
        offset=seq,
        key=camera.encode(),
        value=encode_frame(frame) if value is None else value,
        headers=(),
        timestamp_ms=seq * 1000,
    )


class FakeReader:
    """Gives what tests put in, and remembers what was followed."""

    def __init__(self) -> None:
        self.records: asyncio.Queue[list[Record] | TransientError] = asyncio.Queue()
        self.followed: list[frozenset[int]] = []
        self.kept: list[Record] = []

    async def num_partitions(self) -> int:
        return PARTITIONS

    async def follow(self, partitions: Collection[int], *, last: int = 1) -> None:
        if not self.followed or self.followed[-1] != frozenset(partitions):
            self.followed.append(frozenset(partitions))

    async def read(self, timeout_s: float) -> list[Record]:
        found = await self.records.get()
        self.records.task_done()
        if isinstance(found, TransientError):
            raise found
        return found

    async def find(
        self, partition: int, time_ms: int, *, within_ms: int, wanted: Callable[[Record], bool]
    ) -> Record | None:
        in_time = [
            each
            for each in self.kept
            if each.partition == partition and time_ms <= each.timestamp_ms <= time_ms + within_ms
        ]
        return next(filter(wanted, in_time), None)


@asynccontextmanager
async def running(reader: FakeReader, max_held: int = 10) -> AsyncIterator[FrameWindow]:
    with ThreadPoolExecutor(1) as threads:
        window = FrameWindow(reader, threads, LIMITS, max_held=max_held, thumbnail_pixels=32)
        task = asyncio.create_task(window.run())
        try:
            async with asyncio.timeout(10):
                yield window
        finally:
            task.cancel()


async def test_only_partitions_of_cameras_in_view_are_followed() -> None:
    reader = FakeReader()
    async with running(reader) as window:
        window.want("one", ["a", "b"])
        window.want("two", ["b"])
        await reader.records.put([record("a", 1), record("b", 1), record("elsewhere", 1)])
        await reader.records.join()
        window.want("one", [])
        await reader.records.put([record("a", 2), record("b", 2)])
        await reader.records.join()
        assert window.in_view == {"b"}
        held = {name: frame.seq for name in "ab" if (frame := window.newest(name))}
        assert held == {"a": 1, "b": 2}
        assert window.newest("elsewhere") is None
        window.want("two", [])
    assert {frames_partition("a", PARTITIONS), frames_partition("b", PARTITIONS)} in reader.followed


async def test_a_bad_record_and_an_outage_end_nothing() -> None:
    reader = FakeReader()
    async with running(reader) as window:
        window.want("one", ["a"])
        await reader.records.put([record("a", 1, b"no frame")])
        await reader.records.put(TransientError("away"))
        await reader.records.put([record("a", 2)])
        await reader.records.join()
        frame = window.newest("a")
        assert frame is not None
        assert frame.seq == 2


async def test_no_more_frames_are_held_than_allowed() -> None:
    reader = FakeReader()
    async with running(reader, max_held=3) as window:
        cameras = [f"camera-{number}" for number in range(9)]
        window.want("one", cameras)
        await reader.records.put([record(camera, 1) for camera in cameras])
        await reader.records.put([])
        await reader.records.join()
        assert [camera for camera in cameras if window.newest(camera)] == cameras[-3:]


async def test_a_thumbnail_is_small_and_made_once() -> None:
    async with running(FakeReader()) as window:
        frame = Frame("", "a", 1, 0, 640, 480, "jpeg", jpeg(640, 480))
        made = await window.thumbnail(frame)
        assert Image.open(io.BytesIO(made)).size == (32, 24)
        assert await window.thumbnail(frame) is made


async def test_an_old_frame_is_found_by_its_time() -> None:
    reader = FakeReader()
    reader.kept = [record("a", seq) for seq in range(1, 9)]
    async with running(reader) as window:
        found = await window.find("a", 5, 5 * 10**9)
        assert found is not None
        assert found.seq == 5
        assert await window.find("a", 99, 99 * 10**9) is None


@pytest.mark.parametrize("image", [b"", b"%!PS-Adobe", jpeg()[:40]])
def test_what_does_not_decode_is_refused(image: bytes) -> None:
    with pytest.raises(DecodeError):
        small_jpeg(image, 32, 1_000_000)


def test_too_many_pixels_are_refused() -> None:
    with pytest.raises(DecodeError, match="64x48 is outside"):
        small_jpeg(jpeg(), 32, 3_071)
