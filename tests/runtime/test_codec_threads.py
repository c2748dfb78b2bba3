from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from runtime import codec_threads
from runtime.codec_threads import CodecThreads
from schemas.errors import DecodeError

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a decoder waits for that hangs; it comes when the test is over."""
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("num_items", [0, 1, 2, 7, 9])
async def test_outcomes_are_in_order_and_neighbours_share_a_thread(num_items: int) -> None:
    with CodecThreads(3) as threads:
        outcomes = await threads.spread(lambda item: (item, threading.get_ident()), range(num_items))
    found = [each for each in outcomes if not isinstance(each, DecodeError)]
    assert [item for item, _ in found] == list(range(num_items))
    assert len({thread for _, thread in found}) <= 3
    assert all(
        found[index][1] == found[index + 1][1] for index in range(0, num_items - 1, 3) if num_items == 9
    )


async def test_what_is_refused_or_meets_a_bug_spoils_no_neighbour() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise DecodeError("bad_image", "no image")
        if item > 9:
            raise ValueError(f"cannot do {item}")
        return item

    with CodecThreads(2) as threads:
        first, second, refused, last = await threads.spread(work, [0, 1, 2, 3])
        assert (first, second, last) == (0, 1, 3)
        assert isinstance(refused, DecodeError)
        with capture_logs() as logs:
            three, bug, four = await threads.spread(work, [3, 10, 4])
        assert (three, four) == (3, 4)
        assert isinstance(bug, DecodeError)
        assert (bug.reason, str(bug)) == ("unforeseen", "ValueError: cannot do 10")
        assert [each["event"] for each in logs] == ["a bug met one item"]


async def test_a_call_without_end_is_left_behind_and_its_neighbours_go_on(never: threading.Event) -> None:
    def work(item: int) -> int:
        if item % 4 == 1:
            never.wait()
        return item

    with CodecThreads(1, limit_s=0.1) as threads:
        outcomes = await threads.spread(work, range(8))
        assert [each for each in outcomes if not isinstance(each, DecodeError)] == [0, 2, 3, 4, 6, 7]
        late = [each for each in outcomes if isinstance(each, DecodeError)]
        assert {each.reason for each in late} == {"too_slow"}
        never.set()
        assert await threads.spread(work, [4, 5]) == [4, 5]
        while threads._num_left_behind:  # noqa: ASYNC110 - they end in threads of their own
            await asyncio.sleep(0.01)


async def test_no_more_are_left_behind_than_a_machine_can_bear(
    never: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec_threads, "MAX_LEFT_BEHIND", 1)
    with CodecThreads(1, limit_s=0.05) as threads:
        assert len(await threads.spread(lambda _: never.wait(), [0])) == 1
        waiting = asyncio.ensure_future(threads.spread(lambda _: never.wait(), [0]))
        await asyncio.wait([waiting], timeout=0.3)
        assert not waiting.done()
        never.set()
        assert await waiting == [True]


async def test_a_cancelled_caller_leaves_the_threads_to_others(never: threading.Event) -> None:
    with CodecThreads(1) as threads:
        waiting = asyncio.ensure_future(threads.spread(lambda _: never.wait(), [0]))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        never.set()
        assert await threads.spread(lambda item: item, [4]) == [4]


def test_the_exit_waits_for_no_call_that_hangs() -> None:
    program = """
import asyncio, threading
from runtime.codec_threads import CodecThreads
async def main():
    with CodecThreads(1, limit_s=0.1) as threads:
        print(await threads.spread(lambda _: threading.Event().wait(), [0]))
asyncio.run(main())
"""
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert "not opened within 0.1 s" in told.stdout
