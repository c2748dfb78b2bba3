"""One record on its way to a server, from the gate at the edge until the broker has it or nobody waits any more.

The edge makes it and fills in the encoded value; the uplink adds what it decides and when. No other object of the
uplink holds a record's size, deadline or result. `Flight` is the one register of what is with the producer. Pure.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delivered:
    """The broker acknowledged the record; `num_bytes` is the size of its value."""

    num_bytes: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """Nobody waits for the record any more; the frame keeps its edge label. `cause` is a short slug.

    Causes: `expired` (its deadline came), `no_tokens` (others went first), `over_burst`, `queue_full`,
    `no_budget`, `no_lease`, `no_server`, `uplink_down`, `delivery_failed`, `stopped`.
    """

    cause: str


DeliveryResult = Delivered | Dropped


@dataclass(slots=True, eq=False, kw_only=True)
class OffloadTask:
    """A record that wants to leave before `deadline_s`.

    `score` is the gate's, in bits: the higher, the less sure the edge is. `value` is the encoded record and
    `num_bytes` its size. Times are monotonic seconds. `expected_gain` is how much likelier than the edge's a server's
    answer is right. `estimate_bytes` is what it was debited for on the wire, `producer` the number of the one that
    carries it. `result` is its end, None before. `delivery` tells it to whoever waits.
    """

    camera: str
    score: float
    deadline_s: float
    num_bytes: int
    value: bytes = b""
    queued_s: float = 0.0
    handed_over_s: float = 0.0
    producer: int = 0
    expected_gain: float = 0.0
    estimate_bytes: float = 0.0
    result: DeliveryResult | None = None
    delivery: asyncio.Future[DeliveryResult] | None = None

    def end(self, result: DeliveryResult) -> None:
        """The first result stands; later ones change nothing."""
        if self.result is None:
            self.result = result


@dataclass(slots=True)
class _Producer:
    """How many tasks it has, their bytes, those that did not leave yet as far as estimated, and its counter."""

    is_ready: bool = False
    num_tasks: int = 0
    request_bytes: float = 0.0
    unseen_bytes: float = 0.0
    counted_bytes: float = 0.0


class Flight:
    """The tasks that were handed to producers and are not acknowledged, oldest first.

    A producer has one request under way, so it gets tasks only while it has none. Those beside the first get none
    before they are connected, as a task that waits for a connection looks like one that waits on the path. What was
    estimated too high is forgotten whenever a producer has none.

    State: those tasks, the sums of their estimates and of their values, the same by producer, and the tasks by
    deadline; entries of that heap whose task has landed are skipped.
    """

    def __init__(self, num_producers: int = 1) -> None:
        self._producers = [_Producer() for _ in range(num_producers)]
        self.ready(0)
        self._tasks: dict[OffloadTask, None] = {}
        self._by_deadline: list[tuple[float, int, OffloadTask]] = []
        self._order = itertools.count()
        self.estimate_bytes = 0.0
        self.value_bytes = 0

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[OffloadTask]:
        return iter(self._tasks)

    def ready(self, producer: int) -> None:
        """The producer is connected: it may get tasks."""
        self._producers[producer].is_ready = True

    @property
    def num_ready(self) -> int:
        """How many producers may get tasks."""
        return sum(producer.is_ready for producer in self._producers)

    @property
    def idle_producer(self) -> int | None:
        """The first producer that is ready and has no request under way; None if there is none."""
        for number, producer in enumerate(self._producers):
            if producer.is_ready and not producer.num_tasks:
                return number
        return None

    @property
    def unseen_bytes(self) -> float:
        """The part of the estimates that was not seen to leave."""
        return sum(producer.unseen_bytes for producer in self._producers)

    @property
    def oldest_s(self) -> float | None:
        """When the oldest of them was handed over; None if none is in flight."""
        oldest = next(iter(self._tasks), None)
        return None if oldest is None else oldest.handed_over_s

    def add(self, task: OffloadTask) -> None:
        """The task was handed over with its estimate."""
        self._tasks[task] = None
        producer = self._producers[task.producer]
        producer.num_tasks += 1
        producer.request_bytes += task.estimate_bytes
        producer.unseen_bytes += task.estimate_bytes
        heapq.heappush(self._by_deadline, (task.deadline_s, next(self._order), task))
        self.estimate_bytes += task.estimate_bytes
        self.value_bytes += task.num_bytes

    def remove(self, task: OffloadTask) -> None:
        """The task was acknowledged or given up by the producer."""
        del self._tasks[task]
        producer = self._producers[task.producer]
        producer.num_tasks -= 1
        if not producer.num_tasks:
            producer.request_bytes = producer.unseen_bytes = 0.0
        self.value_bytes -= task.num_bytes
        self.estimate_bytes -= task.estimate_bytes
        if not self._tasks:
            self.estimate_bytes = 0.0

    def request_bytes(self, task: OffloadTask) -> float:
        """The bytes of everything that its producer was given with the task."""
        return self._producers[task.producer].request_bytes

    def count(self, totals: Sequence[float]) -> None:
        """Each producer's counter of what left the host stands there now; call it before `remove` too."""
        for producer, total in zip(self._producers, totals, strict=True):
            left = total - producer.counted_bytes
            producer.counted_bytes = total
            producer.unseen_bytes = max(producer.unseen_bytes - left, 0.0)

    def take_overdue(self, now_s: float) -> list[OffloadTask]:
        """The tasks whose deadline has come, each once; their bytes stay in flight until the producer is done."""
        overdue: list[OffloadTask] = []
        heap = self._by_deadline
        while heap and (heap[0][0] <= now_s or heap[0][2] not in self._tasks):
            task = heapq.heappop(heap)[2]
            if task in self._tasks:
                overdue.append(task)
        return overdue
