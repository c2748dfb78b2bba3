"""The event loop of every command: uvloop where it exists, asyncio's own elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from runtime.lifecycle import run_until_stopped

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run ``coroutine`` to its end on a new event loop and return its result."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(coroutine)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory, or None for asyncio's own loop where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run_worker(main: Callable[[asyncio.Event], Awaitable[None]], *, drain_s: float) -> int:
    """Run ``main(stop)`` until it ends or a signal asks it to stop; return the exit status 0 or 1."""
    return run(run_until_stopped(main, drain_s))


def run_interruptible(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run ``work()`` until it ends or a signal cancels it; return the exit status 0 or 1."""

    async def main(stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            working = group.create_task(work())
            working.add_done_callback(lambda _: stop.set())
            await stop.wait()
            working.cancel()

    return run_worker(main, drain_s=1.0)
