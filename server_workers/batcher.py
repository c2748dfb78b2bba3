"""Which waiting token sets go into the next packed forward, and when.

A plain object without await, clock, torch or I/O. The server worker's infer stage asks `due_at` when to call
`take`, and calls it only when the device is free, so that a batch is formed as late as possible.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class TokenSet(Protocol):
    """What the batcher needs to know of a waiting record."""

    @property
    def num_tokens(self) -> int:
        """Kept patches and the class token."""
        ...

    @property
    def deadline_s(self) -> float:
        """On the caller's monotonic clock, `inf` for none."""
        ...


T = TypeVar("T", bound=TokenSet)

_PATIENCE_S = 30.0
"""A set that has waited this long goes before all that came later, however urgent: nothing starves."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """`sets` to compute, most urgent first, within the budget; `expired` can no longer be in time."""

    sets: list[T]
    expired: list[T]

    @property
    def num_tokens(self) -> int:
        """Tokens of `sets` together."""
        return sum(item.num_tokens for item in self.sets)


@dataclass(order=True, slots=True)
class _Entry(Generic[T]):
    urgency_s: float
    order: int
    arrived_s: float
    item: T


class Batcher(Generic[T]):
    """Waiting token sets, earliest deadline first.

    Args:
        max_batch_tokens: tokens of a batch; at least those of the largest possible set.
        max_batch_sets: sets of a batch.
        max_wait_s: how long the oldest set may wait for company while the device is free.
        max_waiting_tokens: `full` is True from here on.

    Raises:
        ValueError: `max_set_tokens` exceeds `max_batch_tokens`: such a set would wait for ever.
    """

    def __init__(
        self,
        *,
        max_batch_tokens: int,
        max_batch_sets: int,
        max_wait_s: float,
        max_waiting_tokens: int,
        max_set_tokens: int,
    ) -> None:
        if max_set_tokens > max_batch_tokens:
            raise ValueError(
                f"max_batch_tokens: {max_batch_tokens}, must be >= {max_set_tokens}, the largest token set"
            )
        self._max_batch_tokens = max_batch_tokens
        self._max_batch_sets = max_batch_sets
        self._max_wait_s = max_wait_s
        self._max_waiting_tokens = max_waiting_tokens
        self._heap: list[_Entry[T]] = []
        self._num_tokens = 0
        self._order = 0
        self._oldest_arrival_s = math.inf

    def __len__(self) -> int:
        return len(self._heap)

    def __repr__(self) -> str:
        return f"<Batcher sets={len(self._heap)} tokens={self._num_tokens}>"

    @property
    def num_tokens(self) -> int:
        """Tokens of all waiting sets."""
        return self._num_tokens

    @property
    def full(self) -> bool:
        """True when no more should be decoded for now."""
        return self._num_tokens >= self._max_waiting_tokens

    @property
    def oldest_arrival_s(self) -> float:
        """When the longest-waiting set came, `inf` when none waits."""
        return self._oldest_arrival_s

    def push(self, item: T, now_s: float) -> None:
        """The set waits from `now_s` on.

        Raises:
            ValueError: it can never fit a batch.
        """
        if item.num_tokens > self._max_batch_tokens:
            raise ValueError(f"token set of {item.num_tokens} tokens, at most {self._max_batch_tokens} fit")
        urgency_s = min(item.deadline_s, now_s + _PATIENCE_S)
        heapq.heappush(self._heap, _Entry(urgency_s, self._order, now_s, item))
        self._order += 1
        self._num_tokens += item.num_tokens
        self._oldest_arrival_s = min(self._oldest_arrival_s, now_s)

    def due_at(self, service_s: float) -> float:
        """The time from which `take` should be called on a free device: `inf` when nothing waits.

        That is at once when a whole batch waits, else when the oldest set has waited `max_wait_s` or the most
        urgent one must start to be in time, given that a batch takes `service_s`.
        """
        if not self._heap:
            return math.inf
        if self._num_tokens >= self._max_batch_tokens or len(self._heap) >= self._max_batch_sets:
            return -math.inf
        return min(self._oldest_arrival_s + self._max_wait_s, self._heap[0].item.deadline_s - 2 * service_s)

    def take(self, now_s: float, service_s: float = 0.0) -> Batch[T]:
        """Remove and return the next batch and what expired before it.

        A set whose deadline comes before `now_s + service_s` is expired. The most urgent set is always in
        the batch; others follow by urgency, and one that does not fit lets smaller ones pass but is first
        next time unless more urgent ones came.
        """
        sets: list[T] = []
        expired: list[T] = []
        passed: list[_Entry[T]] = []
        room = self._max_batch_tokens
        while self._heap and len(sets) < self._max_batch_sets and len(passed) < self._max_batch_sets:
            entry = heapq.heappop(self._heap)
            if entry.item.deadline_s < now_s + service_s:
                expired.append(entry.item)
            elif entry.item.num_tokens <= room:
                sets.append(entry.item)
                room -= entry.item.num_tokens
            else:
                passed.append(entry)
        for entry in passed:
            heapq.heappush(self._heap, entry)
        self._num_tokens -= sum(item.num_tokens for item in sets) + sum(item.num_tokens for item in expired)
        self._oldest_arrival_s = min((entry.arrived_s for entry in self._heap), default=math.inf)
        return Batch(sets, expired)

    def drain(self) -> list[T]:
        """Remove and return every waiting set."""
        items = [entry.item for entry in sorted(self._heap)]
        self._heap.clear()
        self._num_tokens = 0
        self._oldest_arrival_s = math.inf
        return items
