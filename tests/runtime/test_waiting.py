import asyncio

from runtime.waiting import set_within


async def test_an_event_that_is_set_is_told_at_once_even_without_time() -> None:
    event = asyncio.Event()
    assert not await set_within(event, 0.0)
    event.set()
    assert await set_within(event, 0.0)


async def test_it_waits_without_limit_when_none_is_given() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(set_within(event, None))
    await asyncio.sleep(0)
    event.set()
    assert await waiting
