"""The one thread that a model runs on, so that the event loop never waits for arithmetic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class DeviceThread:
    """Runs calls one after the other on one thread; joined, off the loop, when the context ends.

    A call that runs cannot be cancelled: its result is dropped, and the exit waits for it to end. Calls that
    have not begun by then never do.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._executor.shutdown, wait=True)

    async def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `call(*args)` returned or raised on the device thread, after all calls before it.

        Raises:
            RuntimeError: the context has ended.
        """
        future = self._executor.submit(call, *args, **kwargs)
        return await asyncio.wrap_future(future)
