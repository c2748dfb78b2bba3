"""A batch that the model refuses is taken apart, so that one bad member does not sink its neighbours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def each_apart(
    compute: Callable[[Sequence[T]], Awaitable[Sequence[R]]], members: Sequence[T]
) -> list[R | Exception]:
    """The result of every member, or the error of one that fails even alone; in order.

    The batch is computed as one; where that fails, its halves are, down to single members: with one bad
    member in n, about 2 log2 n more calls.
    """
    try:
        return list(await compute(members))
    except Exception as error:  # noqa: BLE001 - a model raises anything on a bad member; it is reported with it
        if len(members) == 1:
            return [error]
    half = len(members) // 2
    return await each_apart(compute, members[:half]) + await each_apart(compute, members[half:])
