"""Records that wait for tokens: best first, each with an end, and no camera starves.

Nothing waits where it cannot expire, so this queue, not the Kafka producer, is where records wait. Called by
admission only. Pure. Two rules are arguments: the discipline says which record goes first, the deadline rule
when one that found no tokens leaves. Another rule is another function of the same form.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from uplink.task import OffloadTask

ACTIVE_S: Final = 10.0
"""A camera counts among those that share the guaranteed part for this long after its last record."""

MAX_WAIT_S: Final = 0.4

Discipline = Callable[[OffloadTask], float]
"""The rank of a task that was just queued; the lowest goes first. Among equals, the older."""
DeadlineRule = Callable[[OffloadTask], tuple[float, str]]
"""When a task that was just queued leaves the queue unsent, and the cause that is told then."""


def most_uncertain(task: OffloadTask) -> float:
    """The highest score goes first."""
    return -task.score


def until_deadline(task: OffloadTask) -> tuple[float, str]:
    """A task waits as long as its answer can come in time."""
    return task.deadline_s, "expired"


def at_most(wait_s: float) -> DeadlineRule:
    """A task that found no tokens for `wait_s` gives way to newer ones."""

    def rule(task: OffloadTask) -> tuple[float, str]:
        waited_s = task.queued_s + wait_s
        return until_deadline(task) if task.deadline_s <= waited_s else (waited_s, "no_tokens")

    return rule


short_wait: Final[DeadlineRule] = at_most(MAX_WAIT_S)


@dataclass(slots=True)
class _Camera:
    """A camera's waiting tasks, best first, and what it may still take of the guaranteed part."""

    weight: float
    credit_bytes: float = 0.0
    credited_s: float = 0.0
    seen_s: float = 0.0
    num_waiting: int = 0
    heap: list[tuple[float, int, OffloadTask]] = field(default_factory=list)


class OffloadQueue:
    """An expirable priority queue over cameras.

    `min_share` of the budget is divided among the active cameras by their weights; a camera that has used
    less than its part goes first. The rest goes to the record that the discipline puts first.

    State: what waits (`_waiting`, each with its rank), the same by camera and by end; entries of the two heaps
    whose task waits no more are skipped.
    """

    def __init__(
        self,
        *,
        max_items: int,
        min_share: float,
        weights: Mapping[str, float] | None = None,
        discipline: Discipline = most_uncertain,
        deadline_rule: DeadlineRule = until_deadline,
    ) -> None:
        if not 0 <= min_share <= 1:
            raise ValueError(f"min_share: {min_share}, must be in [0, 1]")
        self._max_items = max_items
        self._min_share = min_share
        self._weights = dict(weights or {})
        self._discipline = discipline
        self._deadline_rule = deadline_rule
        self._waiting: dict[OffloadTask, float] = {}
        self._cameras: dict[str, _Camera] = {}
        self._by_end: list[tuple[float, int, OffloadTask, str]] = []
        self._order = itertools.count()
        self._total_weight = 0.0
        self._weighed_s = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<OffloadQueue {len(self)} records {self.waiting_bytes} B>"

    @property
    def waiting_bytes(self) -> int:
        """The sum of the sizes of all records that wait."""
        return sum(task.num_bytes for task in self._waiting)

    def push(self, task: OffloadTask, now_s: float) -> OffloadTask | None:
        """The task waits from now on; returns the one that had to leave for it (itself, if it ranks last)."""
        task.queued_s = now_s
        rank = self._discipline(task)
        expires_s, cause = self._deadline_rule(task)
        state = self._camera(task.camera, now_s)
        state.seen_s = now_s
        order = next(self._order)
        heapq.heappush(state.heap, (rank, order, task))
        heapq.heappush(self._by_end, (expires_s, order, task, cause))
        state.num_waiting += 1
        self._waiting[task] = rank
        if len(self._waiting) <= self._max_items:
            return None
        last = max(self._waiting, key=self._waiting.__getitem__)
        self.leave(last)
        return last

    def expire(self, now_s: float) -> list[tuple[OffloadTask, str]]:
        """Tasks whose end has come leave the queue, in order of their ends, each with its cause."""
        late: list[tuple[OffloadTask, str]] = []
        while self.next_end_s() <= now_s:
            _, _, task, cause = heapq.heappop(self._by_end)
            self.leave(task)
            late.append((task, cause))
        return late

    def next_end_s(self) -> float:
        """When the next task expires; infinite if none waits."""
        while self._by_end and self._by_end[0][2] not in self._waiting:
            heapq.heappop(self._by_end)
        return self._by_end[0][0] if self._by_end else float("inf")

    def peek(self, budget_bytes_per_s: float, now_s: float) -> OffloadTask | None:
        """The task to send next under this budget; it stays in the queue. None if none waits."""
        self._weigh(now_s)
        if not self._waiting:
            return None
        best: OffloadTask | None = None
        best_rank = (True, 0.0, 0)
        for state in self._cameras.values():
            if not state.num_waiting:
                continue
            self._drop_gone(state)
            self._credit(state, budget_bytes_per_s, now_s)
            own_rank, order, task = state.heap[0]
            rank = (state.credit_bytes < 0, own_rank, order)
            if best is None or rank < best_rank:
                best, best_rank = task, rank
        return best

    def take(self, task: OffloadTask, sent_bytes: float) -> None:
        """`task` leaves the queue to be sent; its camera used `sent_bytes` and owes one record at most."""
        state = self._cameras[task.camera]
        state.credit_bytes = max(state.credit_bytes - sent_bytes, -sent_bytes)
        self.leave(task)

    def leave(self, task: OffloadTask) -> None:
        """`task` leaves the queue unsent; what its camera used or owes stays as it is."""
        del self._waiting[task]
        self._cameras[task.camera].num_waiting -= 1

    def clear(self) -> list[OffloadTask]:
        """The queue is empty; returns everything that waited."""
        rest = list(self._waiting)
        for task in rest:
            self.leave(task)
        return rest

    def _camera(self, name: str, now_s: float) -> _Camera:
        state = self._cameras.get(name)
        if state is None:
            state = _Camera(weight=self._weights.get(name, 1.0), credited_s=now_s)
            self._cameras[name] = state
            self._weighed_s = float("-inf")
        return state

    def _credit(self, state: _Camera, budget_bytes_per_s: float, now_s: float) -> None:
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

    def _drop_gone(self, state: _Camera) -> None:
        """The head still waits; records that are gone make up at most half of a long heap."""
        heap = state.heap
        if len(heap) > 2 * state.num_waiting + 16:
            heap[:] = [entry for entry in heap if entry[2] in self._waiting]
            heapq.heapify(heap)
        while heap[0][2] not in self._waiting:
            heapq.heappop(heap)
