"""Frames in doubt are fetched and kept while labels come; outages are ridden out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from page.frames import FrameWindow, PictureLimits
from page.harvest import Harvest
from page.kept_frames import KeptFrames
from runtime.kafka_connection import Record
from schemas.errors import TransientError
from schemas.frame import Frame, encode_frame
from schemas.label import AnswerSource, Label, LabelState

S = 1_000_000_000
Jpeg = Callable[[int], bytes]


def label(seq: int, confidence: float = 0.3, camera: str = "gate") -> Label:
    return Label(
        "", camera, seq, LabelState.FINAL, AnswerSource.EDGE, 2, "stop", confidence, seq * S, seq * S
    )


def record(seq: int, image: bytes, camera: str = "gate") -> Record:
    value = encode_frame(Frame("", camera, seq, seq * S, 64, 64, "jpeg", image))
    return Record("frames", 0, seq, seq * 1000, camera.encode(), value)


class FlakySite:
    """The topic, which is away `away` times before it answers."""

    def __init__(self, site: Any, away: int) -> None:
        self._site = site
        self._away = away

    def __getattr__(self, name: str) -> Any:
        return getattr(self._site, name)

    async def find(self, *arguments: Any, **how: Any) -> Record | None:
        if self._away:
            self._away -= 1
            raise TransientError("the broker is away")
        found: Record | None = await self._site.find(*arguments, **how)
        return found


class Done:
    """The file, telling each frame that it has dealt with."""

    def __init__(self, kept: KeptFrames) -> None:
        self._kept = kept
        self._loop = asyncio.get_running_loop()
        self.outcomes: asyncio.Queue[str] = asyncio.Queue()

    def keep(self, *arguments: Any) -> Any:
        outcome = self._kept.keep(*arguments)
        self._loop.call_soon_threadsafe(self.outcomes.put_nowait, outcome)
        return outcome


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("page.harvest.PACE_S", 0.0)
    monkeypatch.setattr("page.harvest._RETRY_S", 0.0)


@asynccontextmanager
async def harvesting(site: Any, kept: KeptFrames, away: int = 0) -> AsyncIterator[tuple[Harvest, Done]]:
    with ThreadPoolExecutor(1) as threads:
        window = FrameWindow(
            FlakySite(site, away), threads, PictureLimits(100_000, 1_000_000), max_held=4, thumbnail_pixels=64
        )
        done: Any = Done(kept)
        harvest = Harvest(site, window, done, max_confidence=0.6)
        task = asyncio.create_task(harvest.run())
        async with asyncio.timeout(20):
            yield harvest, done
        task.cancel()


async def test_a_frame_in_doubt_is_kept_and_a_sure_one_is_not(
    site: Any, kept: KeptFrames, jpeg: Jpeg
) -> None:
    site.records = [record(seq, jpeg(seq)) for seq in (1, 2)]
    async with harvesting(site, kept) as (harvest, done):
        site.followed.put_nowait([label(1, confidence=0.9)])
        site.followed.put_nowait([label(2)])
        assert await done.outcomes.get() == "kept"
        assert harvest.names == {"stop"}
    assert [each.seq for each in kept.frames()] == [2]


async def test_outages_of_the_broker_are_ridden_out(site: Any, kept: KeptFrames, jpeg: Jpeg) -> None:
    site.records = [record(1, jpeg(1))]
    async with harvesting(site, kept, away=2) as (_, done):
        site.followed.put_nowait([label(1)])
        assert await done.outcomes.get() == "kept"


async def test_what_is_left_out_is_counted_by_cause(site: Any, kept: KeptFrames, jpeg: Jpeg) -> None:
    site.records = [
        record(2, b"no picture", "b"),
        record(3, jpeg(3), "c"),
        record(4, jpeg(3), "c"),
        record(5, jpeg(5), "d"),
    ]
    async with harvesting(site, kept) as (harvest, done):
        assert await harvest.mark(label(3, camera="c"))
        assert await done.outcomes.get() == "kept"
        for seq, camera in [(1, "a"), (2, "b"), (4, "c"), (5, "d")]:
            site.followed.put_nowait([label(seq, camera=camera)])
        assert [await done.outcomes.get() for _ in range(2)] == ["near_duplicate", "kept"]
    assert harvest.left_out == {"not_held": 1, "undecodable": 1, "near_duplicate": 1}


async def test_a_marked_frame_is_kept_however_sure_its_answer_was(
    site: Any, kept: KeptFrames, jpeg: Jpeg
) -> None:
    site.records = [record(1, jpeg(1))]
    async with harvesting(site, kept) as (harvest, _):
        assert await harvest.mark(label(1, confidence=0.99))
        assert not await harvest.mark(label(2))
    assert [(each.seq, each.reason) for each in kept.frames()] == [(1, "marked")]
