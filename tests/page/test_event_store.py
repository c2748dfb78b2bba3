"""Events in a real Redis: written once, in order, with a mark for each outlet; one engine at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from runtime.redis_events import EventStore
from runtime.settings import ProgramSettings
from schemas.event import Event, Kind

pytestmark = pytest.mark.stack


def event(site: str, number: int) -> Event:
    return Event(f"gate:{number}:begun", site, "gate", Kind.BEGUN, "stop", "", number, 1, 1, 1, 0.9)


async def test_an_event_is_written_once_and_read_in_order(
    pipeline: ProgramSettings, unique: Callable[[str], str]
) -> None:
    site = unique("site")
    async with EventStore(pipeline.redis) as store:
        assert await store.after(site, "0-0", count=9, wait_s=0.01) == []
        assert await store.add(event(site, 1))
        assert not await store.add(event(site, 1))
        assert await store.add(event(site, 2))
        found = await store.after(site, "0-0", count=9, wait_s=1.0)
        assert [each for _, each in found] == [event(site, 1), event(site, 2)]
        assert await store.recent(site, 1) == [event(site, 2)]
        assert await store.newest_position(site) == found[-1][0]
        assert await store.position(site, "webhook") is None
        await store.sent(site, "webhook", found[0][0])
        assert await store.position(site, "webhook") == found[0][0]
        assert [each for _, each in await store.after(site, found[0][0], count=9, wait_s=1.0)] == [
            event(site, 2)
        ]


async def test_one_process_finds_events_at_a_time(
    pipeline: ProgramSettings, unique: Callable[[str], str]
) -> None:
    site = unique("site")
    async with EventStore(pipeline.redis) as store:
        assert await store.hold_engine(site, "one")
        assert not await store.hold_engine(site, "two")
        assert await store.hold_engine(site, "one")
