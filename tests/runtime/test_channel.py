"""The bounded channel: order, bounds by count and cost, an end, and nothing lost on cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.channel import Channel, ChannelClosed, ChannelFull


async def settle() -> None:
    """Every task has run as far as it can without a timer."""
    for _ in range(10):
        await asyncio.sleep(0)


async def started(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    task = asyncio.create_task(work)
    await settle()
    return task


async def test_items_come_out_in_order_until_the_end() -> None:
    channel: Channel[int] = Channel(3)
    seen: list[int] = []

    async def read() -> None:
        seen.extend([item async for item in channel])

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        for item in range(100):
            await channel.put(item)
            assert len(channel) <= 3
        channel.close()
    assert seen == list(range(100))


async def test_a_full_channel_makes_writers_wait_in_their_order() -> None:
    channel: Channel[str] = Channel(1)
    await channel.put("a")
    writers = [await started(channel.put(item)) for item in "bcd"]
    with pytest.raises(ChannelFull):
        channel.put_nowait("x")
    assert [await channel.get() for _ in range(4)] == list("abcd")
    await asyncio.wait(writers)
    assert len(channel) == 0


async def test_without_room_a_writer_goes_on_when_its_item_is_taken() -> None:
    channel: Channel[str] = Channel(0)
    first, second = await started(channel.put("a")), await started(channel.put("b"))
    assert (first.done(), second.done(), len(channel)) == (False, False, 1)
    assert await channel.get_batch(9) == ["a"]
    await settle()
    assert (first.done(), second.done()) == (True, False)
    assert await channel.get() == "b"
    await second


async def test_without_room_an_item_enters_at_once_only_if_a_reader_waits() -> None:
    channel: Channel[str] = Channel(0)
    with pytest.raises(ChannelFull):
        channel.put_nowait("a")
    reader = await started(channel.get())
    channel.put_nowait("b")
    with pytest.raises(ChannelFull):
        channel.put_nowait("c")
    assert await reader == "b"


async def test_without_room_an_item_that_nobody_took_is_withdrawn() -> None:
    channel: Channel[str] = Channel(0)
    cancelled = await started(channel.put("a"))
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert len(channel) == 0
    closed = await started(channel.put("b"))
    channel.close()
    with pytest.raises(ChannelClosed):
        await closed
    with pytest.raises(ChannelClosed):
        await channel.get()


async def test_nobody_overtakes_a_writer_that_waits_for_room() -> None:
    channel: Channel[int] = Channel(10, max_cost=10, cost=lambda item: item)
    await channel.put(6)
    large = await started(channel.put(8))
    small = await started(channel.put(1))
    with pytest.raises(ChannelFull):
        channel.put_nowait(1)
    assert not large.done()
    assert not small.done()
    assert await channel.get() == 6
    await settle()
    assert (await channel.get_batch(5), channel.cost) == ([8, 1], 0)


async def test_an_item_above_the_cost_limit_enters_an_empty_channel_alone() -> None:
    channel: Channel[int] = Channel(10, max_cost=10, cost=lambda item: item)
    channel.put_nowait(99)
    with pytest.raises(ChannelFull):
        channel.put_nowait(1)
    assert await channel.get() == 99
    channel.put_nowait(1)
    assert channel.cost == 1


async def test_a_batch_waits_for_one_item_and_takes_what_is_there() -> None:
    channel: Channel[int] = Channel(10)
    reader = await started(channel.get_batch(4))
    assert not reader.done()
    for item in range(6):
        channel.put_nowait(item)
    assert await reader == [0, 1, 2, 3]
    assert channel.take_ready(9) == [4, 5]
    assert channel.take_ready(9) == []


async def test_closing_ends_writers_at_once_and_readers_after_the_last_item() -> None:
    channel: Channel[int] = Channel(1)
    await channel.put(1)
    writer = await started(channel.put(2))
    channel.close()
    with pytest.raises(ChannelClosed):
        await writer
    with pytest.raises(ChannelClosed):
        channel.put_nowait(3)
    assert await channel.get() == 1
    with pytest.raises(ChannelClosed):
        await channel.get()


async def test_closing_wakes_every_waiting_reader() -> None:
    channel: Channel[int] = Channel(1)
    readers = [await started(channel.get()) for _ in range(3)]
    channel.close()
    results = [await asyncio.wait_for(asyncio.wait([reader]), 5) for reader in readers]
    assert all(isinstance(done.pop().exception(), ChannelClosed) for done, _ in results)


async def test_a_cancelled_writer_has_put_nothing_and_the_next_one_goes_on() -> None:
    channel: Channel[str] = Channel(1)
    await channel.put("a")
    leaving = await started(channel.put("b"))
    staying = await started(channel.put("c"))
    leaving.cancel()
    await settle()
    assert await channel.get() == "a"
    await staying
    assert channel.take_ready(9) == ["c"]


async def test_a_reader_cancelled_as_an_item_arrives_takes_nothing() -> None:
    channel: Channel[str] = Channel(1)
    leaving = await started(channel.get())
    staying = await started(channel.get())
    channel.put_nowait("a")
    leaving.cancel()
    assert await staying == "a"
    assert leaving.cancelled()


async def test_a_writer_cancelled_as_room_appears_puts_nothing() -> None:
    channel: Channel[str] = Channel(1)
    channel.put_nowait("a")
    leaving = await started(channel.put("b"))
    staying = await started(channel.put("c"))
    assert channel.take_ready(1) == ["a"]
    leaving.cancel()
    await staying
    assert leaving.cancelled()
    assert channel.take_ready(9) == ["c"]


@given(st.lists(st.integers(1, 8), max_size=60), st.integers(1, 5), st.integers(1, 12))
def test_bounds_hold_and_order_is_kept(costs: list[int], max_items: int, max_cost: int) -> None:
    async def run() -> list[int]:
        channel: Channel[int] = Channel(max_items, max_cost, cost=lambda idx: costs[idx])

        async def write() -> None:
            for idx in range(len(costs)):
                await channel.put(idx)
                assert len(channel) <= max_items
                assert channel.cost <= max_cost or len(channel) == 1
            channel.close()

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            return [idx async for idx in channel]

    assert asyncio.run(run()) == list(range(len(costs)))


def test_a_channel_of_negative_room_is_refused() -> None:
    with pytest.raises(ValueError, match="max_items: -1"):
        Channel(-1)
