"""One reading of the labels serves all who follow them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from page.labels import SharedLabels
from schemas.errors import SaccadeError, TransientError
from schemas.label import AnswerSource, Label, LabelState


def label(seq: int) -> Label:
    return Label("", "gate", seq, LabelState.FINAL, AnswerSource.EDGE, 2, "stop", 0.9, seq, seq)


class FakeBatches:
    """Labels that tests write; away for the first `away` times."""

    def __init__(self, away: int = 0, error: SaccadeError | None = None) -> None:
        self.away = away
        self.error = error or TransientError("away")
        self.written: asyncio.Queue[list[Label]] = asyncio.Queue()
        self.read: asyncio.Queue[int] = asyncio.Queue()

    async def batches(self, pause_s: float) -> AsyncIterator[list[Label]]:
        if self.away:
            self.away -= 1
            raise self.error
        yield []
        while True:
            labels = await self.written.get()
            self.read.put_nowait(labels[0].seq)
            yield labels


async def test_all_who_follow_get_each_label_and_who_left_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("page.labels._RETRY_S", 0.0)
    monkeypatch.setattr("page.labels._MAX_BATCHES", 2)
    store = FakeBatches(away=1)
    shared = SharedLabels(store)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(shared.run())
        async with shared.following() as stays:
            assert await stays.get() == []
            async with shared.following() as slow:
                for seq in range(4):
                    store.written.put_nowait([label(seq)])
                while await store.read.get() < 2:
                    pass
                assert slow.full()  # it waits for nobody any more once this one has left
            assert [await stays.get() for _ in range(4)] == [[label(seq)] for seq in range(4)]
        running.cancel()


async def test_what_redis_refuses_for_good_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("page.labels._RETRY_S", 0.0)
    shared = SharedLabels(FakeBatches(away=3, error=SaccadeError("WRONGTYPE of a key")))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(shared.run())
        async with shared.following() as follows:
            assert await follows.get() == []
        running.cancel()
