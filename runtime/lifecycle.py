"""A process's life: run until a signal, drain within a limit, then stop for good."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from runtime.errors import SaccadeError, leaves
from runtime.log import get_logger

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_log = get_logger(__name__)


@contextmanager
def _handling(handler: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for each in _SIGNALS:
        loop.add_signal_handler(each, handler)
    try:
        yield
    finally:
        for each in _SIGNALS:
            loop.remove_signal_handler(each)


async def _limit_drain(stop: asyncio.Event, deadline: asyncio.Timeout, drain_s: float) -> None:
    await stop.wait()
    if deadline.when() is None:  # else a second signal was quicker
        deadline.reschedule(asyncio.get_running_loop().time() + drain_s)


async def run_until_stopped(main: Callable[[asyncio.Event], Awaitable[None]], drain_s: float) -> int:
    """The exit status after `main(stop)` has ended.

    The first SIGINT or SIGTERM sets `stop`; `main` then has `drain_s` seconds to finish and return. After
    that, or at a second signal, it is cancelled.

    Returns:
        0 when `main` returned by itself, 1 when it was cut off or failed with a `SaccadeError` (logged as one
        line each).

    Raises:
        Any other error of `main`: a bug, which keeps its traceback.
    """
    stop = asyncio.Event()
    deadline = asyncio.timeout(None)

    def on_signal() -> None:
        if stop.is_set() and not deadline.expired():
            deadline.reschedule(asyncio.get_running_loop().time())
        stop.set()

    try:
        async with deadline, asyncio.TaskGroup() as group:
            with _handling(on_signal):
                limiter = group.create_task(_limit_drain(stop, deadline, drain_s))
                await main(stop)
                limiter.cancel()
    except TimeoutError:
        if not deadline.expired():
            raise
        _log.error("stopped before everything was drained", drain_s=drain_s)
        return 1
    except (SaccadeError, ExceptionGroup) as error:
        if not all(isinstance(leaf, SaccadeError) for leaf in leaves(error)):
            raise
        for leaf in leaves(error):
            _log.error(str(leaf), kind=type(leaf).__name__)
        return 1
    return 0
