from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import pytest

from producers.newest import MAX_SCANS, NewestNumbers
from schemas.errors import TransientError
from schemas.topics import frames_partition

PARTITIONS = 8


class Topic:
    """Knows a number for every camera; holds scans until `go` is set, and counts them."""

    def __init__(self) -> None:
        self.scans: list[tuple[int, set[bytes]]] = []
        self.at_once = self.most_at_once = 0
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.fail = False

    async def scan(self, partition: int, keys: Collection[bytes]) -> dict[bytes, int]:
        self.scans.append((partition, set(keys)))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.begun.set()
        await self.go.wait()
        self.at_once -= 1
        if self.fail:
            raise TransientError("Kafka is away")
        return {key: number(key.decode()) for key in keys if key != b"new"}


def has(num_partitions: int) -> Callable[[], Awaitable[int]]:
    async def told() -> int:
        return num_partitions

    return told


def number(camera: str) -> int:
    return int(camera.removeprefix("cam"))


async def test_two_hundred_cameras_take_two_scans_a_partition_at_most_and_few_at_a_time() -> None:
    topic = Topic()
    numbers = NewestNumbers(topic.scan, num_partitions=has(PARTITIONS))
    cameras = [f"cam{n}" for n in range(200)]
    asking = [asyncio.create_task(numbers(camera)) for camera in cameras]
    await topic.begun.wait()
    topic.go.set()
    assert await asyncio.gather(*asking) == [number(camera) for camera in cameras]
    assert len(topic.scans) <= 2 * PARTITIONS
    assert topic.most_at_once <= MAX_SCANS


async def test_who_asks_during_a_scan_is_answered_by_the_next_one() -> None:
    topic = Topic()
    numbers = NewestNumbers(topic.scan, num_partitions=has(1))
    first = asyncio.create_task(numbers("cam1"))
    await topic.begun.wait()
    second, third = asyncio.create_task(numbers("cam2")), asyncio.create_task(numbers("new"))
    await asyncio.sleep(0)
    topic.go.set()
    assert [await first, await second, await third] == [1, 2, None]
    assert topic.scans == [(0, {b"cam1"}), (0, {b"cam2", b"new"})]


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_scan_that_fails_or_is_cut_short_fails_all_who_wait_for_it_and_can_be_asked_again(
    cancelled: bool,
) -> None:
    topic = Topic()
    numbers = NewestNumbers(topic.scan, num_partitions=has(1))
    first = asyncio.create_task(numbers("cam0"))
    await topic.begun.wait()
    leader = asyncio.create_task(numbers("cam1"))
    follower = asyncio.create_task(numbers("cam2"))
    await asyncio.sleep(0)
    if cancelled:
        leader.cancel()
    topic.fail = True
    topic.go.set()
    with pytest.raises(TransientError):
        await first
    with pytest.raises(TransientError):
        await follower
    with pytest.raises(asyncio.CancelledError if cancelled else TransientError):
        await leader
    topic.fail = False
    assert await numbers("cam3") == 3
    assert frames_partition("cam3", 1) == 0
