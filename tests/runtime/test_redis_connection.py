"""Calls of Redis that are cancelled at any moment, against a real server."""

from __future__ import annotations

import asyncio

import pytest

from devstack import EmbeddedStack
from runtime.connections import RedisSettings
from runtime.redis_store import RedisStore

pytestmark = pytest.mark.stack
MOMENTS = 60


@pytest.mark.parametrize("is_connected", [True, False])
async def test_a_call_cancelled_at_any_moment_ends_cancelled(
    stack: EmbeddedStack, is_connected: bool
) -> None:
    """Python 3.11's `wait_for`, which the library sends commands in, loses some cancellations."""
    deaf = []
    for moment in range(MOMENTS):
        async with RedisStore(RedisSettings(url=stack.redis_url)) as store:
            if is_connected:
                await store.time_ns()
            call = asyncio.create_task(store.read_reports("nowhere"))
            for _ in range(moment):  # one turn of the event loop each
                await asyncio.sleep(0)
            was_asked = call.cancel()
            await asyncio.wait([call])
            if was_asked and not call.cancelled():
                deaf.append(moment)
            assert await store.time_ns() > 0  # the store goes on
    assert not deaf


async def test_a_timeout_around_a_call_is_still_a_timeout(stack: EmbeddedStack) -> None:
    async with RedisStore(RedisSettings(url=stack.redis_url)) as store:
        await store.time_ns()
        for moment in range(MOMENTS):
            limit = asyncio.timeout(None)
            call = asyncio.create_task(_limited(store, limit))
            for _ in range(moment):
                await asyncio.sleep(0)
            if limit.when() is None and not call.done() and moment:
                limit.reschedule(0.0)
            await asyncio.wait([call])
            assert call.exception() is None or isinstance(call.exception(), TimeoutError)
            assert not call.cancelled()


async def _limited(store: RedisStore, limit: asyncio.Timeout) -> None:
    async with limit:
        await store.read_reports("nowhere")
