from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from producers.capture import Capture, FilePace, LivePace, Pace, TimedImage
from producers.drop_queue import DropPolicy, DropQueue
from producers.pacing import RateCap, Schedule, Thinning
from producers.sources.captured import FrameSource, Unreadable
from producers.tally import Tally
from runtime.clock import SystemClock
from schemas.errors import SourceError

AT_ONCE = FilePace(Schedule(None, may_drop=False))


def start(
    open_source: Callable[[], FrameSource],
    tally: Tally,
    *,
    policy: DropPolicy = DropPolicy.NEVER,
    max_frames: int = 4,
    pace: Pace = AT_ONCE,
    stall_s: float | None = None,
    loop_source: bool = False,
) -> Capture:
    return Capture(
        "cam",
        open_source,
        queue=DropQueue[TimedImage](max_frames, policy),
        make_pace=lambda _: pace,
        tally=tally,
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
    memory_source: Any, pictures: Any, tally: Tally
) -> None:
    source = memory_source(pictures(100))
    capture = start(lambda: source, tally)
    assert await truths(capture) == list(range(100))
    assert await capture.close(5)
    assert source.closed.is_set()
    assert tally.summary().dropped == {}


@pytest.mark.parametrize(
    ("policy", "kept"), [(DropPolicy.OLDEST, [16, 17, 18, 19]), (DropPolicy.NEWEST, [0, 1, 2, 3])]
)
async def test_when_nobody_takes_the_policy_decides_and_the_rest_is_counted(
    memory_source: Any, pictures: Any, tally: Tally, policy: DropPolicy, kept: list[int]
) -> None:
    source = memory_source(pictures(20), wait=20)
    capture = start(lambda: source, tally, policy=policy)
    await asyncio.to_thread(source.blocked.wait)
    source.go.set()
    assert await truths(capture) == kept
    assert tally.summary().dropped == {"queue_full": 16}
    assert await capture.close(5)


async def test_an_error_comes_after_the_pictures_before_it(
    memory_source: Any, pictures: Any, tally: Tally
) -> None:
    capture = start(lambda: memory_source(pictures(3), error=SourceError("lost")), tally)
    assert await truths(capture, 3) == [0, 1, 2]
    with pytest.raises(SourceError, match="lost"):
        await capture.next()
    assert await capture.close(5)


async def test_whatever_a_driver_raises_becomes_one_line_without_credentials(
    memory_source: Any, pictures: Any, tally: Tally
) -> None:
    error = RuntimeError("cannot open rtsp://admin:hunter2@cam/live")
    capture = start(lambda: memory_source(pictures(0), error=error), tally)
    with pytest.raises(SourceError, match="cam: RuntimeError") as found:
        await capture.next()
    assert "hunter2" not in str(found.value)
    assert await capture.close(5)


async def test_unreadable_pictures_are_counted_and_left_out(
    memory_source: Any, pictures: Any, tally: Tally
) -> None:
    one, two = pictures(2)
    capture = start(lambda: memory_source([one, Unreadable("broken"), two]), tally)
    assert await truths(capture) == [0, 1]
    assert tally.summary().dropped == {"unreadable": 1}
    assert await capture.close(5)


async def test_a_looping_source_starts_again_at_its_end(
    memory_source: Any, pictures: Any, tally: Tally
) -> None:
    capture = start(lambda: memory_source(pictures(3)), tally, loop_source=True)
    assert await truths(capture, 8) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert await capture.close(5)


async def test_a_looping_source_without_pictures_is_an_error_and_no_endless_loop(
    memory_source: Any, tally: Tally
) -> None:
    capture = start(lambda: memory_source([]), tally, loop_source=True)
    with pytest.raises(SourceError, match="no pictures"):
        await capture.next()
    assert await capture.close(5)


async def test_a_schedule_spreads_the_pictures_over_time(
    memory_source: Any, pictures: Any, tally: Tally
) -> None:
    started_s = time.monotonic()
    capture = start(lambda: memory_source(pictures(5)), tally, pace=FilePace(Schedule(50, may_drop=False)))
    stamps = []
    while (timed := await capture.next()) is not None:
        stamps.append(timed.captured_ns)
    assert time.monotonic() - started_s >= 0.08
    assert stamps == sorted(stamps)
    assert await capture.close(5)


async def test_thinned_pictures_are_no_drops(memory_source: Any, pictures: Any, tally: Tally) -> None:
    pace = FilePace(Schedule(None, may_drop=False), Thinning(10, 5))
    capture = start(lambda: memory_source(pictures(6)), tally, pace=pace)
    assert await truths(capture) == [0, 2, 4]
    assert (tally.summary().thinned, tally.summary().dropped) == (3, {})
    assert await capture.close(5)


async def test_a_source_that_hangs_is_given_up_and_left_behind(
    memory_source: Any, pictures: Any, tally: Tally
) -> None:
    source = memory_source(pictures(2), wait=1)
    capture = start(lambda: source, tally, stall_s=0.1)
    assert await truths(capture, 1) == [0]
    with pytest.raises(SourceError, match=r"no sign of life for 0\.1 s"):
        await capture.next()
    assert not await capture.close(0.05)
    assert capture.running
    source.go.set()
    assert await capture.close(5)
    assert source.closed.is_set()


async def test_pictures_that_the_rate_leaves_out_are_a_sign_of_life(
    memory_source: Any, pictures: Any, tally: Tally
) -> None:
    class Ticking(memory_source):  # type: ignore[misc]
        def __iter__(self) -> Any:
            for picture in super().__iter__():
                yield picture
                time.sleep(0.02)  # a camera's own pace

    capture = start(
        lambda: Ticking(pictures(30)),
        tally,
        pace=LivePace(RateCap(0.01)),
        stall_s=0.3,
        policy=DropPolicy.OLDEST,
    )
    assert await truths(capture) == [0]
    assert tally.summary().thinned == 29
    assert await capture.close(5)


async def test_closing_frees_a_thread_that_waits_for_room_or_for_its_time(
    memory_source: Any, pictures: Any, tally: Tally
) -> None:
    full = start(lambda: memory_source(pictures(100)), tally, max_frames=1)
    await full.next()
    assert await full.close(5)
    slow = start(lambda: memory_source(pictures(5)), tally, pace=FilePace(Schedule(0.01, may_drop=False)))
    await slow.next()
    assert await slow.close(5)


async def test_a_cancelled_wait_has_taken_nothing(memory_source: Any, pictures: Any, tally: Tally) -> None:
    source = memory_source(pictures(1), wait=0)
    capture = start(lambda: source, tally)
    waiting = asyncio.create_task(capture.next())
    await asyncio.to_thread(source.blocked.wait)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    source.go.set()
    assert await truths(capture) == [0]
    assert await capture.close(5)


def test_a_thread_that_outlives_its_event_loop_ends_quietly(
    memory_source: Any, pictures: Any, tally: Tally
) -> None:
    source = memory_source(pictures(3), wait=1)

    async def main() -> None:
        capture = start(lambda: source, tally)
        await capture.next()
        await capture.close(0)

    asyncio.run(main())
    source.go.set()
    for thread in threading.enumerate():
        if thread.name == "capture-cam":
            thread.join(5)
            assert not thread.is_alive()
