"""Waiting for an event, but not longer than a time limit."""

from __future__ import annotations

import asyncio


async def set_within(event: asyncio.Event, timeout_s: float | None) -> bool:
    """True as soon as `event` is set, False after `timeout_s` seconds (None = no limit) without it."""
    if event.is_set():
        return True
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
