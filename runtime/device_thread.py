"""The one thread that a model runs on, so that the event loop never waits for arithmetic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar

from runtime.log import get_logger

P = ParamSpec("P")
R = TypeVar("R")

EXIT_LIMIT_S: Final = 5.0
"""Many times what a batch takes; a call that takes longer reads from a disk or asks a device that does not answer."""
_log = get_logger(__name__)


class DeviceThread:
    """Runs calls one after the other on one thread; joined, off the loop, when the context ends.

    A call that runs cannot be cancelled: its result is dropped, and the exit waits for it to end, `exit_limit_s`
    at most. Then the thread is left behind, and being a daemon it does not keep the process either. Calls that
    have not begun by then never do.
    """

    def __init__(self, name: str, *, exit_limit_s: float = EXIT_LIMIT_S) -> None:
        self._name = name
        self._exit_limit_s = exit_limit_s
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._is_over = True

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._thread = Thread(target=self._serve, args=(loop,), name=self._name, daemon=True)
        self._thread.start()
        self._is_over = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        with suppress(Empty):
            while (call := self._calls.get_nowait()) is not None:
                call[0].cancel()
        self._calls.put(None)
        await asyncio.wait([self._ended], timeout=self._exit_limit_s)
        if self._ended.done():
            self._thread.join()  # it has nothing left to do
        else:
            _log.error("a thread is left behind with a call that does not end", thread=self._name)

    async def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `call(*args)` returned or raised on the device thread, after all calls before it.

        Raises:
            RuntimeError: the context has ended.
        """
        if self._is_over:
            raise RuntimeError(f"{self._name} takes calls inside its context only")
        future: Future[R] = Future()
        self._calls.put((future, partial(call, *args, **kwargs)))
        return await asyncio.wrap_future(future)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        while (item := self._calls.get()) is not None:
            _run(*item)
            del item  # a thread that waits keeps no model alive
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


def _run(future: Future[R], call: Callable[[], R]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - raised where it is awaited
        future.set_exception(error)
    else:
        future.set_result(result)
