from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from producers.camera_stats import CameraStats
from producers.capture import Capture, TimedImage
from producers.drop_queue import DropPolicy, DropQueue
from producers.pacing import LivePace, Playback
from producers.sources.source import Captured, RawImage, Session, Unreadable
from runtime.clock import SystemClock
from schemas.errors import SourceError


def start(
    open_source: Callable[[], Session],
    stats: CameraStats,
    *,
    policy: DropPolicy = DropPolicy.NEVER,
    max_frames: int = 4,
    fps: float | None = None,
    stall_s: float | None = None,
    loop_source: bool = False,
) -> Capture:
    return Capture(
        "cam",
        lambda _: open_source(),
        queue=DropQueue[TimedImage](max_frames, policy),
        fps=fps,
        stats=stats,
        clock=SystemClock(),
        stall_s=stall_s,
        loop_source=loop_source,
    )


async def truths(capture: Capture, count: int = 10**6) -> list[int | None]:
    found: list[int | None] = []
    while len(found) < count and (timed := await capture.next()) is not None:
        found.append(timed.captured.truth)
    return found


async def test_never_dropping_hands_over_every_picture_in_order(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    source = memory_source(pictures(100))
    capture = start(lambda: source, stats)
    assert await truths(capture) == list(range(100))
    assert await capture.close(5)
    assert source.closed.is_set()
    assert stats.summary().dropped == {}


@pytest.mark.parametrize(
    ("policy", "kept"), [(DropPolicy.OLDEST, [16, 17, 18, 19]), (DropPolicy.NEWEST, [0, 1, 2, 3])]
)
async def test_when_nobody_takes_the_policy_decides_and_the_rest_is_counted(
    memory_source: Any, pictures: Any, stats: CameraStats, policy: DropPolicy, kept: list[int]
) -> None:
    source = memory_source(pictures(20), wait=20)
    capture = start(lambda: source, stats, policy=policy)
    await asyncio.to_thread(source.blocked.wait)
    source.go.set()
    assert await truths(capture) == kept
    assert stats.summary().dropped == {"queue_full": 16}
    assert await capture.close(5)


async def test_an_error_comes_after_the_pictures_before_it(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    capture = start(lambda: memory_source(pictures(3), error=SourceError("lost")), stats)
    assert await truths(capture, 3) == [0, 1, 2]
    with pytest.raises(SourceError, match="lost"):
        await capture.next()
    assert await capture.close(5)


async def test_whatever_a_driver_raises_becomes_one_line_without_credentials(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    error = RuntimeError("cannot open rtsp://admin:hunter2@cam/live")
    capture = start(lambda: memory_source(pictures(0), error=error), stats)
    with pytest.raises(SourceError, match="cam: RuntimeError") as found:
        await capture.next()
    assert "hunter2" not in str(found.value)
    assert await capture.close(5)


async def test_unreadable_pictures_are_counted_and_left_out(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    one, two = pictures(2)
    capture = start(lambda: memory_source([one, Unreadable("broken"), two]), stats)
    assert await truths(capture) == [0, 1]
    assert stats.summary().dropped == {"unreadable": 1}
    state = stats.state("cam", "x", fps=0.0)
    assert (state.error, state.message) == ("unreadable", "broken")
    assert await capture.close(5)


async def test_a_looping_source_starts_again_at_its_end(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    capture = start(lambda: memory_source(pictures(3)), stats, loop_source=True)
    assert await truths(capture, 8) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert await capture.close(5)


async def test_a_looping_source_without_pictures_is_an_error_and_no_endless_loop(
    memory_source: Any, stats: CameraStats
) -> None:
    capture = start(lambda: memory_source([]), stats, loop_source=True)
    with pytest.raises(SourceError, match="no pictures"):
        await capture.next()
    assert await capture.close(5)


async def test_a_schedule_spreads_the_pictures_over_time(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    started_s = time.monotonic()
    capture = start(lambda: memory_source(pictures(5)), stats, fps=50)
    stamps = []
    while (timed := await capture.next()) is not None:
        stamps.append(timed.captured_ns)
    assert time.monotonic() - started_s >= 0.08
    assert stamps == sorted(stamps)
    assert await capture.close(5)


async def test_pictures_with_a_time_are_played_by_it_and_those_left_out_are_no_drops(
    memory_source: Any, stats: CameraStats
) -> None:
    pixels = RawImage(np.zeros((16, 16, 3), np.uint8))
    timed = [Captured(pixels, truth=number, time_s=number * 0.01) for number in range(6)]
    capture = start(lambda: memory_source(timed, pace=Playback(50, max_gap_s=10)), stats)
    found = [await capture.next() for _ in range(3)]
    stamps = [image.captured_ns for image in found if image is not None]
    assert [image.captured.truth for image in found if image is not None] == [0, 2, 4]
    assert [after - before for before, after in itertools.pairwise(stamps)] == pytest.approx(
        [2e7, 2e7], abs=1e6
    )
    assert await capture.next() is None
    assert (stats.summary().thinned, stats.summary().dropped) == (3, {})
    assert await capture.close(5)


async def test_a_file_may_say_when_its_pictures_were_taken(memory_source: Any, stats: CameraStats) -> None:
    pixels = RawImage(np.zeros((16, 16, 3), np.uint8))
    capture = start(lambda: memory_source([Captured(pixels, taken_ns=1_600_000_000_000_000_001)]), stats)
    timed = await capture.next()
    assert timed is not None
    assert timed.captured_ns == 1_600_000_000_000_000_001
    assert await capture.close(5)


async def test_a_source_that_hangs_is_given_up_and_left_behind(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    source = memory_source(pictures(2), wait=1)
    capture = start(lambda: source, stats, stall_s=0.1)
    assert await truths(capture, 1) == [0]
    with pytest.raises(SourceError, match=r"no sign of life for 0\.1 s"):
        await capture.next()
    assert not await capture.close(0.05)
    assert capture.running
    source.go.set()
    assert await capture.close(5)
    assert source.closed.is_set()


async def test_pictures_that_the_rate_leaves_out_are_a_sign_of_life(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    class Ticking(memory_source):  # type: ignore[misc]
        def __iter__(self) -> Any:
            for picture in super().__iter__():
                yield picture
                time.sleep(0.02)  # a camera's own pace

    capture = start(
        lambda: Ticking(pictures(30), pace=LivePace(0.01)),
        stats,
        stall_s=0.3,
        policy=DropPolicy.OLDEST,
    )
    assert await truths(capture) == [0]
    assert stats.summary().thinned == 29
    assert await capture.close(5)


async def test_a_source_that_waits_on_purpose_is_alive(pictures: Any, stats: CameraStats) -> None:
    class Resting:
        """Waits longer than the patience before its picture, as a camera that is asked rarely."""

        def __init__(self, pause: Callable[[float], bool]) -> None:
            self.pauses = pause

        def pace(self, fps: float | None) -> LivePace:
            return LivePace(fps)

        def __iter__(self) -> Any:
            self.pauses(0.5)
            yield from pictures(1)

        def close(self) -> None:
            pass

    capture = Capture(
        "cam",
        Resting,
        queue=DropQueue(4, DropPolicy.OLDEST),
        fps=None,
        stats=stats,
        clock=SystemClock(),
        stall_s=0.3,
    )
    assert await truths(capture) == [0]
    assert await capture.close(5)


async def test_closing_frees_a_thread_that_waits_for_room_or_for_its_time(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    full = start(lambda: memory_source(pictures(100)), stats, max_frames=1)
    await full.next()
    assert await full.close(5)
    slow = start(lambda: memory_source(pictures(5)), stats, fps=0.01)
    await slow.next()
    assert await slow.close(5)


async def test_a_cancelled_wait_has_taken_nothing(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    source = memory_source(pictures(1), wait=0)
    capture = start(lambda: source, stats)
    waiting = asyncio.create_task(capture.next())
    await asyncio.to_thread(source.blocked.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    source.go.set()
    assert await truths(capture) == [0]
    assert await capture.close(5)


def test_a_thread_that_outlives_its_event_loop_ends_quietly(
    memory_source: Any, pictures: Any, stats: CameraStats
) -> None:
    source = memory_source(pictures(3), wait=1)

    async def main() -> None:
        capture = start(lambda: source, stats)
        await capture.next()
        await capture.close(0)

    asyncio.run(main())
    source.go.set()
    for thread in threading.enumerate():
        if thread.name == "capture-cam":
            thread.join(5)
            assert not thread.is_alive()
