"""Work on a list shared out over a few threads, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def spread(
    threads: Executor, num_threads: int, work: Callable[[Sequence[T]], R], items: Sequence[T]
) -> list[R]:
    """The results of `work` on up to `num_threads` runs of neighbouring items, in order; one for no items.

    One call a thread, not one an item: handing over costs more than a small image. A cancelled caller leaves
    what runs to end unheard.
    """
    parts = max(1, min(num_threads, len(items)))
    step = -(-len(items) // parts) or 1
    loop = asyncio.get_running_loop()
    chunks = [items[start : start + step] for start in range(0, max(1, len(items)), step)]
    calls = [loop.run_in_executor(threads, work, chunk) for chunk in chunks]
    return [await call for call in calls]
