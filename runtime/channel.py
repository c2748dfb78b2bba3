"""A bounded queue between two stages that can end: by number of items and by their cost (such as bytes).

One event loop only. Closing is synchronous; what is inside is still read, then readers meet `ChannelClosed`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ChannelClosed(Exception):  # noqa: N818 - an end of stream, not an error
    """Nothing more will come (readers), or nothing more is taken (writers)."""


class ChannelFull(Exception):  # noqa: N818 - an answer, not an error
    """`put_nowait` met a full channel."""


def _one(_: object) -> int:
    return 1


class Channel(Generic[T]):
    """First in, first out; writers wait in order of arrival while it is full.

    `max_items` bounds the count, `max_cost` the sum of `cost(item)`; an item that alone is above `max_cost`
    enters an empty channel. A cancelled `put` has put nothing, a cancelled `get` has taken nothing.

    With `max_items` 0 writer and reader meet: `put` returns once its item is taken. So the writer begins its
    next item only when the reader is free for it. Cancelled or closed before that, the item is withdrawn.
    """

    def __init__(self, max_items: int, max_cost: int | None = None, cost: Callable[[T], int] = _one) -> None:
        if max_items < 0:
            raise ValueError(f"max_items: {max_items}, must be at least 0")
        self._max_items = max_items
        self._max_cost = max_cost
        self._cost_of = cost
        self._items: deque[tuple[T, int]] = deque()
        self._total_cost = 0
        self._closed = False
        # The locks keep writers (readers) in order; only the first of them waits on the event.
        self._putting = asyncio.Lock()
        self._getting = asyncio.Lock()
        self._changed_room = asyncio.Event()
        self._changed_items = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Channel {len(self)}/{self._max_items} cost {self._total_cost}/{self._max_cost} {state}>"

    @property
    def cost(self) -> int:
        """The sum of the costs of what is inside."""
        return self._total_cost

    @property
    def closed(self) -> bool:
        """True once `close` was called; items may still be inside."""
        return self._closed

    def close(self) -> None:
        """No item enters any more; waiting writers and, once it is empty, readers meet `ChannelClosed`."""
        self._closed = True
        self._changed_room.set()
        self._changed_items.set()

    async def put(self, item: T) -> None:
        """`item` is inside, or taken where nothing may stay inside. Waits while the channel is full.

        Raises:
            ChannelClosed: the channel is closed, also while waiting; the item is not inside.
        """
        cost = self._cost_of(item)
        async with self._putting:
            while not self._closed and not self._has_room(cost):
                self._changed_room.clear()
                await self._changed_room.wait()
            self._append(item, cost)
            if self._max_items == 0:
                await self._taken()

    def put_nowait(self, item: T) -> None:
        """`item` is inside, or `ChannelFull` (also while other writers wait), or `ChannelClosed`."""
        cost = self._cost_of(item)
        is_met = self._max_items > 0 or self._getting.locked()
        if not self._closed and (self._putting.locked() or not is_met or not self._has_room(cost)):
            raise ChannelFull
        self._append(item, cost)

    async def get(self) -> T:
        """The oldest item. Waits while the channel is empty.

        Raises:
            ChannelClosed: the channel is closed and empty.
        """
        return (await self.get_batch(1))[0]

    async def get_batch(self, max_items: int) -> list[T]:
        """The oldest 1 to `max_items` items: waits for the first only. Raises `ChannelClosed` as `get`."""
        async with self._getting:
            while not self._items:
                if self._closed:
                    raise ChannelClosed
                self._changed_items.clear()
                await self._changed_items.wait()
            return self.take_ready(max_items)

    def take_ready(self, max_items: int) -> list[T]:
        """The oldest 0 to `max_items` items that are inside now."""
        taken = [self._items.popleft() for _ in range(min(max_items, len(self._items)))]
        self._total_cost -= sum(cost for _, cost in taken)
        if taken:
            self._changed_room.set()
        return [item for item, _ in taken]

    async def __aiter__(self) -> AsyncIterator[T]:
        """Items until the end of the stream."""
        while True:
            try:
                item = await self.get()
            except ChannelClosed:
                return
            yield item

    async def _taken(self) -> None:
        """The one item inside was taken. Withdraws it when cancelled, or closed (`ChannelClosed`)."""
        try:
            while self._items:
                if self._closed:
                    raise ChannelClosed
                self._changed_room.clear()
                await self._changed_room.wait()
        finally:
            self.take_ready(1)

    def _has_room(self, cost: int) -> bool:
        if not self._items:
            return True
        fits = self._max_cost is None or self._total_cost + cost <= self._max_cost
        return fits and len(self._items) < self._max_items

    def _append(self, item: T, cost: int) -> None:
        if self._closed:
            raise ChannelClosed
        self._items.append((item, cost))
        self._total_cost += cost
        self._changed_items.set()
