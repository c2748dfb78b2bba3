"""A replay ends with a reason where the broker takes no record, such as from a user who may not write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import pytest

from runtime.dead_letter_store import replay_dead_letters
from runtime.kafka import Record
from runtime.settings import ProgramSettings
from schemas.dead_letter import DeadLetter
from schemas.errors import TransientError


class ForbiddenSink:
    """Takes the first record; no other is ever acknowledged."""

    trouble = "the user may not write"

    def __init__(self, *_: Any, **__: Any) -> None:
        self._num_sent = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def num_partitions(self, topic: str) -> int:
        return 1

    async def send(self, topic: str, value: bytes, **_: Any) -> asyncio.Future[object]:
        delivery: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._num_sent += 1
        if self._num_sent == 1:
            delivery.set_result(None)
        return delivery


async def test_a_replay_that_may_not_write_ends_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async def read_all(_: Any, topic: str) -> AsyncIterator[Record]:
        for offset in range(2):
            letter = DeadLetter("version", "because", "frames", 0, offset)
            yield Record(topic, 0, offset, 0, b"gate", b"frame %d" % offset, tuple(letter.headers()))

    monkeypatch.setattr("runtime.dead_letter_store.read_all", read_all)
    monkeypatch.setattr("runtime.dead_letter_store.Sink", ForbiddenSink)
    monkeypatch.setattr("runtime.dead_letter_store._ANSWER_S", 0.05)
    with pytest.raises(
        TransientError, match=r"^replay to frames: the user may not write; 1 records were sent$"
    ):
        await replay_dead_letters(ProgramSettings(), topic="frames")
