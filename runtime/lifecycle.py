"""A process's life: run until a signal, drain within a limit, then stop for good."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from runtime.log import get_logger
from schemas.errors import SaccadeError, leaves

CUT_OFF_S = 10.0
"""What a cancelled process may take to close its connections before what is left is cancelled again."""
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


def _let_signals_kill() -> None:
    loop = asyncio.get_running_loop()
    for each in _SIGNALS:
        loop.remove_signal_handler(each)
        signal.signal(each, signal.SIG_DFL)


async def _limit_drain(stop: asyncio.Event, deadline: asyncio.Timeout, drain_s: float) -> None:
    await stop.wait()
    if deadline.when() is None:  # else a second signal was quicker
        deadline.reschedule(asyncio.get_running_loop().time() + drain_s)


class StoppedEarly(Exception):  # noqa: N818 - reads as what happened
    """A signal came before the work had begun: there is nothing to drain."""


@asynccontextmanager
async def cut_short_by(stop: asyncio.Event) -> AsyncIterator[None]:
    """What is inside is cancelled as soon as `stop` is set.

    Raises:
        StoppedEarly: `stop` was set before the end.
    """
    loop = asyncio.get_running_loop()

    def end(watching: asyncio.Task[bool]) -> None:
        if not watching.cancelled():
            limit.reschedule(loop.time())

    try:
        async with asyncio.timeout(None) as limit:
            watcher = loop.create_task(stop.wait())
            watcher.add_done_callback(end)
            try:
                yield
            finally:
                watcher.remove_done_callback(end)
                watcher.cancel()
                await asyncio.wait([watcher])
    except TimeoutError:
        if not limit.expired():
            raise
        raise StoppedEarly from None


class _CutOff:
    """Cancels what is left `cut_off_s` after the deadline, and again, until the process is at its end.

    A group that is ending cancels nobody a second time, so that one task that missed its cancellation would
    keep the process for ever. Each such task is named in the log with the place where it waits.
    """

    def __init__(self, deadline: asyncio.Timeout, cut_off_s: float) -> None:
        self._deadline = deadline
        self._cut_off_s = cut_off_s
        self._own = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(cut_off_s, self._look)

    def close(self) -> None:
        """Nothing is cancelled any more."""
        self._handle.cancel()

    def _look(self) -> None:
        when_s = self._deadline.when()
        overdue_s = -1.0 if when_s is None else self._loop.time() - when_s
        if overdue_s >= self._cut_off_s:
            for task in asyncio.all_tasks() - {self._own}:
                _log.error("did not end when it was cancelled", task=task.get_name(), at=_where(task))
                task.cancel()
        self._handle = self._loop.call_later(self._cut_off_s, self._look)


def _where(task: asyncio.Task[object]) -> str:
    """The calls that a task is in, outermost first."""
    calls = []
    coroutine: object = task.get_coro()
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None:
            calls.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        coroutine = getattr(coroutine, "cr_await", None)
    return " > ".join(calls)


async def run_until_stopped(
    main: Callable[[asyncio.Event], Awaitable[None]], drain_s: float, cut_off_s: float = CUT_OFF_S
) -> int:
    """The exit status after `main(stop)` has ended.

    The first SIGINT or SIGTERM sets `stop`; `main` then has `drain_s` seconds to finish and return. After
    that, or at a second signal, it is cancelled; tasks that are still there `cut_off_s` later are logged and
    cancelled one by one. A third signal ends the process on the spot, as any signal does without a handler:
    a thread that loads a model cannot be cancelled, and the end waits some seconds for it (`DeviceThread`).

    Returns:
        0 when `main` returned by itself or was `StoppedEarly`, 1 when it was cut off or failed with a
        `SaccadeError` (logged as one line each).

    Raises:
        Any other error of `main`: a bug, which keeps its traceback.
    """
    stop = asyncio.Event()
    deadline = asyncio.timeout(None)
    cut_off = _CutOff(deadline, cut_off_s)

    def on_signal() -> None:
        if stop.is_set():
            _let_signals_kill()
            if not deadline.expired():
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
        if all(isinstance(leaf, StoppedEarly) for leaf in leaves(error)):
            return 0
        if not all(isinstance(leaf, SaccadeError) for leaf in leaves(error)):
            raise
        for leaf in leaves(error):
            _log.error(str(leaf), kind=type(leaf).__name__)
        return 1
    finally:
        cut_off.close()
    return 0
