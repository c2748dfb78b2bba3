"""A whole worker and its model alone, taking turns on one core while the other carries the same load."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from devstack.settings import load_settings
from lab.benchmarks.model_only import Burst, ModelOnly
from lab.benchmarks.report import Figure
from lab.benchmarks.testbed import MetricsReading, Testbed, WorkerProcess, paced, rate_of
from runtime.kafka_admin import create_topics, pipeline_topics
from runtime.kafka_source import KafkaSource
from runtime.redis_store import RedisStore
from schemas.label import AnswerSource as By
from schemas.label import Label, LabelState

CAMERAS = tuple(f"cam{index:02}" for index in range(16))
_STAND_IN = {"topics": {"frames": "frames_bare", "offload": "offload_bare"}}
_AHEAD = 1.15
"""How much faster than the model records come, so that the worker never waits for one."""
_OFFLOAD_BYTES = 9_000
_DRAIN_S = 90.0

RecordAt = Callable[[int, int], tuple[bytes, int]]
"""(number, due time in ns) -> the record's value and partition."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a worker did with one burst: frames/s and processor seconds a frame."""

    rate: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of each."""

    worker: Turn
    bare: Burst

    @property
    def ratio(self) -> float:
        return self.worker.rate / self.bare.rate


class RecordFeed:
    """A producer of one topic's records, numbered over the whole run; of 16 cameras in turn."""

    def __init__(
        self,
        bed: Testbed,
        topic: str,
        record_at: RecordAt,
        key_at: Callable[[int], bytes | None] = lambda _: None,
    ) -> None:
        self.topic = topic
        self._bed = bed
        self._record_at = record_at
        self._key_at = key_at
        self._numbers = itertools.count()

    async def publish(self, count: int, rate: float, topic: str | None = None, *, linger_ms: int = 2) -> None:
        """`count` records are acknowledged, offered at a constant rate."""
        async with self._bed.sink(linger_ms=linger_ms) as sink:

            async def send(_: int, due_ns: int) -> None:
                number = next(self._numbers)
                value, partition = self._record_at(number, due_ns)
                await sink.send(topic or self.topic, value, key=self._key_at(number), partition=partition)

            await paced(rate, count, send)


async def worker_turn(
    bed: Testbed, feed: RecordFeed, worker: WorkerProcess, rate: float, seconds: float
) -> Turn:
    """Return what the worker did of a stream that comes faster than it can answer."""
    count = max(8, int(rate * _AHEAD * seconds))
    before, seen, cpu_s = await bed.num_keys(), len(await bed.writes(CAMERAS)), worker.cpu_s
    await feed.publish(count, rate * _AHEAD)
    await bed.labelled(before, count, _DRAIN_S)
    cpu_s = worker.cpu_s - cpu_s
    return Turn(rate_of((await bed.writes(CAMERAS))[seen:]), cpu_s / count)


async def rounds_of(
    bed: Testbed,
    feed: RecordFeed,
    worker: WorkerProcess,
    loop: ModelOnly,
    *,
    rounds: int,
    seconds: float,
    offload_share: float,
    batch: Callable[[MetricsReading, MetricsReading], int],
) -> list[Round]:
    """Return `rounds` turns of both, after one of each that does not count.

    `batch` tells the loop's batch size from the worker's metrics before and after its turn.
    """
    await create_topics(bed.settings.kafka, pipeline_topics(load_settings(None, _STAND_IN)))
    alone = await loop.run(min(seconds, 2.0), 8)
    await worker_turn(bed, feed, worker, alone.rate, min(seconds, 2.0))
    found = []
    for _ in range(rounds):
        before = await worker.metrics()
        turn = await worker_turn(bed, feed, worker, alone.rate, seconds)
        size = batch(before, await worker.metrics())
        async with background(bed, feed, turn.rate, seconds + 2, offload_share):
            found.append(Round(turn, await loop.run(seconds, size)))
    return found


@contextlib.asynccontextmanager
async def background(
    bed: Testbed, feed: RecordFeed, rate: float, seconds: float, offload_share: float
) -> AsyncIterator[None]:
    """Within the block this process, broker and Redis carry the load of a worker at `rate`."""
    async with (
        KafkaSource(bed.settings.kafka, ["frames_bare"], group_id=f"stand-in-{time.time_ns()}") as source,
        asyncio.TaskGroup() as group,
    ):
        reading = group.create_task(_stand_in(bed, source, offload_share))
        sending = group.create_task(feed.publish(int(rate * seconds), rate, "frames_bare"))
        yield
        sending.cancel()
        reading.cancel()


async def _stand_in(bed: Testbed, source: KafkaSource, offload_share: float) -> None:
    """Do what a worker does around its model: read records, write labels, send offloads."""
    number, owed = 0, 0.0
    async with RedisStore(bed.settings.redis) as store, bed.sink() as sink:
        while True:
            records = await source.getmany(8, 1.0)
            await store.put([_label(number + index) for index in range(len(records))])
            number += len(records)
            for record in records:
                owed += offload_share
                if owed >= 1:
                    owed -= 1
                    await sink.send("offload_bare", record.value[:_OFFLOAD_BYTES], partition=number % 48)


def _label(number: int) -> Label:
    now_ns = time.time_ns()
    return Label(
        site="",
        camera=f"shadow{number % 16}",
        seq=number,
        state=LabelState.FINAL,
        source=By.EDGE,
        label=0,
        name="class",
        confidence=0.5,
        captured_ns=now_ns,
        labelled_ns=now_ns,
    )


def ratio_figures(who: str, bound: str, goal: float, rounds: Sequence[Round], setting: str) -> list[Figure]:
    """Return rates, their ratio against its goal, and processor time; `bound` names what the bare loop does."""
    middle = statistics.median
    worker_cpu_s = middle(each.worker.cpu_s for each in rounds)
    bare_cpu_s = middle(each.bare.cpu_s / each.bare.images for each in rounds)
    listed = ", ".join(f"{each.ratio:.3f}" for each in rounds)
    return [
        Figure(f"{who} worker: rate", middle(each.worker.rate for each in rounds), "frames/s", note=setting),
        Figure(f"{who}, {bound}: rate", middle(each.bare.rate for each in rounds), "frames/s"),
        Figure(
            f"{who} worker against {bound}",
            middle(each.ratio for each in rounds),
            "x",
            goal,
            note=f"median of {listed}",
        ),
        Figure(
            f"{who} worker: share of processor time in {bound}",
            bare_cpu_s / worker_cpu_s,
            "",
            note="the same ratio by processor time, which other load moves less",
        ),
        Figure(f"{who} worker: processor time", worker_cpu_s * 1e3, "ms/frame"),
        Figure(f"{who}, {bound}: processor time", bare_cpu_s * 1e3, "ms/frame"),
    ]


def lag_figure(who: str, before: MetricsReading, after: MetricsReading) -> Figure:
    """Return how often the worker's event loop was in time at full load."""
    share = after.share_up_to("loop_lag_seconds", "0.02", before)
    return Figure(
        f"{who} worker: timers at most 20 ms late at full load",
        share * 100,
        "%",
        99.0,
        note="99 % of them means a loop lag of p99 under 20 ms",
    )
