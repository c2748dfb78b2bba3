"""A few threads that open what came from outside, and that neither a call without end nor the exit waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from runtime.log import get_logger
from schemas.errors import DecodeError

T = TypeVar("T")
R = TypeVar("R")

LIMIT_S: Final = 5.0
"""Ten times what the largest allowed picture takes, and in time for a worker that is declared dead after 30 s."""
LOOKS: Final = 5
"""So often an item must be found in hand. A process that stood still itself has found it once only."""
MAX_LEFT_BEHIND: Final = 8
"""With so many calls that do not end, the next one is waited for, until the worker is found stuck and replaced."""
_log = get_logger(__name__)


class CodecThreads:
    """`num_threads` daemon threads, of which each runs one call after the other.

    Python cannot end a thread. One whose call exceeds `limit_s` is left behind: another takes its place, and what
    the call gives at last is dropped. At the exit of the process none of them is waited for.

    Args:
        initializer: called first in each thread.
    """

    def __init__(
        self, num_threads: int, *, initializer: Callable[[], object] | None = None, limit_s: float = LIMIT_S
    ) -> None:
        self.num_threads = num_threads
        self._initializer = initializer
        self._limit_s = limit_s
        self._runs: SimpleQueue[_Run[Any, Any] | None] = SimpleQueue()
        self._num_left_behind = 0
        for _ in range(num_threads):
            self._start_thread()

    def __repr__(self) -> str:
        return f"<CodecThreads {self.num_threads}, left behind {self._num_left_behind}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """The threads end after what waits for them; nobody waits for the threads."""
        for _ in range(self.num_threads):
            self._runs.put(None)

    async def spread(self, work: Callable[[T], R], items: Sequence[T]) -> list[R | DecodeError]:
        """What `work` returned for each item, in order; or the `DecodeError` that it raised, or that it took too long.

        A bug that one item meets is logged and is a `DecodeError` too, `unforeseen`.

        Items that are neighbours go to one thread in one run: handing over costs more than a small image. A
        cancelled caller leaves what runs to end unheard.
        """
        step = -(-len(items) // self.num_threads) or 1
        runs = [_Run(work, items[start : start + step]) for start in range(0, len(items), step)]
        for run in runs:
            self._runs.put(run)
        try:
            parts = await asyncio.gather(*map(self._outcomes, runs))
        finally:
            for run in runs:
                run.done.cancel()
        return [outcome for part in parts for outcome in part]

    async def _outcomes(self, run: _Run[T, R]) -> list[R | DecodeError]:
        found, num_looks = run.in_hand, 0
        while not run.done.done():
            await asyncio.wait([run.done], timeout=self._limit_s / LOOKS)
            num_looks = num_looks + 1 if run.in_hand == found is not None else 0
            found = run.in_hand
            if num_looks >= LOOKS and self._num_left_behind < MAX_LEFT_BEHIND:
                return await self._without_the_late(run)
        run.done.result()
        return run.outcomes

    async def _without_the_late(self, run: _Run[T, R]) -> list[R | DecodeError]:
        run.left_behind = True
        before = list(run.outcomes)
        late = DecodeError("too_slow", f"not opened within {self._limit_s:g} s")
        self._num_left_behind += 1
        _log.error("a thread is left behind with what it opens", left_behind=self._num_left_behind)
        self._start_thread()
        return [*before, late, *await self.spread(run.work, run.items[len(before) + 1 :])]

    def _start_thread(self) -> None:
        Thread(target=self._serve, name="codec", daemon=True).start()

    def _serve(self) -> None:
        if self._initializer is not None:
            self._initializer()
        while (run := self._runs.get()) is not None:
            run()
            if run.left_behind:  # and has come to its end after all
                run.tell(self._came_back)
                return

    def _came_back(self) -> None:
        self._num_left_behind -= 1


class _Run(Generic[T, R]):
    """Items for one thread; `done` is on the loop that made it."""

    def __init__(self, work: Callable[[T], R], items: Sequence[T]) -> None:
        self.work = work
        self.items = items
        self.outcomes: list[R | DecodeError] = []
        self.left_behind = False
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self.in_hand: int | None = None
        """Which item is worked on; None before the first and after the last."""

    def __call__(self) -> None:
        """Works on the items, in the calling thread."""
        for index, item in enumerate(self.items):
            self.in_hand = index
            outcome: R | DecodeError
            try:
                outcome = self.work(item)
            except DecodeError as refused:
                outcome = refused
            except Exception as unforeseen:  # noqa: BLE001 - a bug, but no reason to end for one item of one party
                _log.exception("a bug met one item", work=repr(self.work))
                outcome = DecodeError("unforeseen", f"{type(unforeseen).__name__}: {str(unforeseen)[:300]}")
            if self.left_behind:
                return
            self.outcomes.append(outcome)
        self.in_hand = None
        self.tell(self._end)

    def tell(self, what: Callable[[], None]) -> None:
        """Call it on the loop, which may have ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(what)

    def _end(self) -> None:
        if not self.done.done():  # else it was cancelled
            self.done.set_result(None)
