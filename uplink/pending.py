"""Records that wait for tokens: most uncertain first, each with an end, and no camera starves.

Nothing waits where it cannot expire, so this queue, not the Kafka producer, is where records wait. Called by
the governor only. Pure.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

T = TypeVar("T")

ACTIVE_S: Final = 10.0
"""A camera counts among those that share the guaranteed part for this long after its last record."""


@dataclass(slots=True, eq=False)
class Waiting(Generic[T]):
    """One record: `num_bytes` of value, `min_entropy` in bits; it leaves the queue unsent at `expires_s`."""

    ticket: T
    num_bytes: int
    camera: str
    min_entropy: float
    offered_s: float
    expires_s: float
    late_cause: str
    gone: bool = False


@dataclass(slots=True)
class _Camera(Generic[T]):
    """A camera's waiting records, most uncertain first, and what it may still take of the guaranteed part."""

    weight: float
    credit_bytes: float = 0.0
    credited_s: float = 0.0
    seen_s: float = 0.0
    num_waiting: int = 0
    heap: list[tuple[float, int, Waiting[T]]] = field(default_factory=list)


class PendingQueue(Generic[T]):
    """An expirable priority queue over cameras.

    `min_share` of the budget is divided among the active cameras by their weights; a camera that has used
    less than its part goes first. The rest goes to the most uncertain record of all. Among equals, the older.
    """

    def __init__(
        self,
        *,
        max_items: int,
        max_wait_s: float,
        min_share: float,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        if not 0 <= min_share <= 1:
            raise ValueError(f"min_share: {min_share}, must be in [0, 1]")
        self._max_items = max_items
        self._max_wait_s = max_wait_s
        self._min_share = min_share
        self._weights = dict(weights or {})
        self._cameras: dict[str, _Camera[T]] = {}
        self._by_end: list[tuple[float, int, Waiting[T]]] = []
        self._order = itertools.count()
        self._num_waiting = 0
        self._waiting_bytes = 0
        self._total_weight = 0.0
        self._weighed_s = float("-inf")

    def __len__(self) -> int:
        return self._num_waiting

    def __repr__(self) -> str:
        return f"<PendingQueue {self._num_waiting} records {self._waiting_bytes} B>"

    @property
    def waiting_bytes(self) -> int:
        """The sum of the sizes of all records that wait."""
        return self._waiting_bytes

    def push(
        self, ticket: T, num_bytes: int, camera: str, min_entropy: float, deadline_s: float, now_s: float
    ) -> list[Waiting[T]]:
        """The record waits; returns those that had to leave for it (itself, if it is the least uncertain)."""
        waited = now_s + self._max_wait_s
        expires_s, cause = (deadline_s, "expired") if deadline_s <= waited else (waited, "no_tokens")
        item = Waiting(ticket, num_bytes, camera, min_entropy, now_s, expires_s, cause)
        state = self._camera(camera, now_s)
        state.seen_s = now_s
        order = next(self._order)
        heapq.heappush(state.heap, (-min_entropy, order, item))
        heapq.heappush(self._by_end, (expires_s, order, item))
        state.num_waiting += 1
        self._num_waiting += 1
        self._waiting_bytes += num_bytes
        if self._num_waiting <= self._max_items:
            return []
        least = min((entry for entry in self._by_end if not entry[2].gone), key=lambda e: e[2].min_entropy)[2]
        self._leave(least)
        return [least]

    def expire(self, now_s: float) -> list[Waiting[T]]:
        """Records whose end has come leave the queue, in order of their ends."""
        late: list[Waiting[T]] = []
        while self._by_end and (self._by_end[0][2].gone or self._by_end[0][0] <= now_s):
            item = heapq.heappop(self._by_end)[2]
            if not item.gone:
                self._leave(item)
                late.append(item)
        return late

    def next_end_s(self) -> float:
        """When the next record expires; infinite if none waits."""
        while self._by_end and self._by_end[0][2].gone:
            heapq.heappop(self._by_end)
        return self._by_end[0][0] if self._by_end else float("inf")

    def peek(self, budget_bytes_per_s: float, now_s: float) -> Waiting[T] | None:
        """The record to send next under this budget; it stays in the queue. None if none waits."""
        self._weigh(now_s)
        best: Waiting[T] | None = None
        best_rank = (True, 0.0, 0)
        for state in self._cameras.values():
            if not state.num_waiting:
                continue
            _drop_gone(state.heap, state.num_waiting)
            self._credit(state, budget_bytes_per_s, now_s)
            entropy, order, item = state.heap[0]
            rank = (state.credit_bytes < 0, entropy, order)
            if best is None or rank < best_rank:
                best, best_rank = item, rank
        return best

    def take(self, item: Waiting[T], sent_bytes: float) -> None:
        """`item` leaves the queue to be sent; its camera used `sent_bytes` and owes one record at most."""
        state = self._cameras[item.camera]
        state.credit_bytes = max(state.credit_bytes - sent_bytes, -sent_bytes)
        self._leave(item)

    def clear(self) -> list[Waiting[T]]:
        """The queue is empty; returns everything that waited."""
        rest = [entry[2] for entry in self._by_end if not entry[2].gone]
        for item in rest:
            self._leave(item)
        return rest

    def _leave(self, item: Waiting[T]) -> None:
        item.gone = True
        self._num_waiting -= 1
        self._waiting_bytes -= item.num_bytes
        self._cameras[item.camera].num_waiting -= 1

    def _camera(self, name: str, now_s: float) -> _Camera[T]:
        state = self._cameras.get(name)
        if state is None:
            state = _Camera(weight=self._weights.get(name, 1.0), credited_s=now_s)
            self._cameras[name] = state
            self._weighed_s = float("-inf")
        return state

    def _credit(self, state: _Camera[T], budget_bytes_per_s: float, now_s: float) -> None:
        """A camera gains its guaranteed rate, for at most a second in hand."""
        rate = self._min_share * budget_bytes_per_s * state.weight / max(self._total_weight, state.weight)
        gained = state.credit_bytes + rate * (now_s - state.credited_s)
        state.credit_bytes = min(gained, rate)
        state.credited_s = now_s

    def _weigh(self, now_s: float) -> None:
        """Once a second: forget cameras long silent, and sum the weights of the others."""
        if now_s - self._weighed_s < 1.0:
            return
        self._weighed_s = now_s
        for name in [
            n for n, s in self._cameras.items() if not s.num_waiting and now_s - s.seen_s > ACTIVE_S
        ]:
            del self._cameras[name]
        self._total_weight = sum(state.weight for state in self._cameras.values())


def _drop_gone(heap: list[tuple[float, int, Waiting[T]]], num_waiting: int) -> None:
    """The head still waits; records that are gone make up at most half of a long heap."""
    if len(heap) > 2 * num_waiting + 16:
        heap[:] = [entry for entry in heap if not entry[2].gone]
        heapq.heapify(heap)
    while heap[0][2].gone:
        heapq.heappop(heap)
