"""Two server workers beside two bare engines, a third one that comes and goes, how soon a new worker helps, and eight.

    python -m lab.benchmarks.scaling [--model deit|shipped] [--json FILE]

One thread and one core each; broker, Redis and observer run wherever there is room. 16 cameras. First two workers
answer an open loop while a third one joins and leaves. Then one worker is at a backlog that outlasts the run, the
second one is started as a user would, and both take turns with two bare engines. An edge worker is joined by a second
one in the same way. Last, eight server workers share both cores, and a ninth joins and leaves: that is about the group,
so they run the small shipped model.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import numpy as np

from lab.benchmarks.edge import NUM_SHOTS, edge_worker, frames_of
from lab.benchmarks.interleaved import CAMERAS, RecordAt, RecordFeed
from lab.benchmarks.machine import two_cores
from lab.benchmarks.model_only import ModelOnly, model_only, save_sets
from lab.benchmarks.models import BenchModel, deit_base, deit_tiny, shipped
from lab.benchmarks.recorded import KeptPatches, drawn_counts, mixed, offload_record, token_sets
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.server import NUM_SETS, server_worker
from lab.benchmarks.testbed import Testbed, WorkerProcess, Write, running, testbed
from schemas.topics import offload_partition

_SEQ_STEP = 2.5
"""40 % of a camera's frames are offloaded."""
_WINDOW_S = 2.0
_JOIN_LIMIT_S, _JOIN_GOAL_S = 20.0, 8.0
_PUBLISH_RATE = 2_000.0
_EDGE_RATE = 120.0
"""More than an edge worker answers a second."""
_BATCH = 4
_ROUNDS = 3
_SETTLE_S = 1.0
"""After standing still."""
_HALF = 0.5
"""The open loop's part of what two bare engines do."""
_OPEN_S, _STAYS_S = 24.0, 4.0
_MEMBERS, _GROUP_RATE = 8, 24.0
"""Offloads a second: few enough that what is late has waited for the group."""
_SESSION_MS = 120_000
"""Workers stay in their group while they stand still."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What two workers did of a backlog in turns with two bare engines: rates by round, and who did how much."""

    workers: list[float]
    bare: list[float]
    finals: list[float]
    left: list[float]


def records_of(sets: list[KeptPatches], num_partitions: int, classes_hash: str) -> RecordAt:
    """Return the sets in turn as offloads of the 16 cameras in turn, with the gaps of frames that stayed."""

    def record_at(number: int, due_ns: int) -> tuple[bytes, int]:
        camera, seq = CAMERAS[number % len(CAMERAS)], int(number // len(CAMERAS) * _SEQ_STEP)
        value = offload_record(sets[number % len(sets)], camera, seq, due_ns, classes_hash)
        return value, offload_partition(camera, seq, num_partitions)

    return record_at


async def while_one_comes_and_goes(
    bed: Testbed, feed: RecordFeed, other: WorkerProcess | None, rate: float
) -> list[float]:
    """Return the ages of all labels in seconds, while a worker, if one is given, joins, stays a little and leaves."""
    count = int(rate * _OPEN_S)
    before, seen = await bed.num_keys(), len(await bed.writes(CAMERAS))
    async with asyncio.TaskGroup() as group:
        group.create_task(feed.publish(count, rate, linger_ms=0))
        if other is not None:
            await asyncio.sleep(2.0)
            await other.start()
            await asyncio.sleep(_STAYS_S)
            await other.stop()
    await bed.labelled(before, count, 60)
    return [write.written_s - write.captured_ns / 1e9 for write in (await bed.writes(CAMERAS))[seen:]]


async def joined_s(bed: Testbed, second: WorkerProcess) -> float:
    """Return the seconds from starting a second worker beside one that runs, at a backlog, to its effect."""
    begin_s = time.time() + _SETTLE_S
    await asyncio.sleep(_SETTLE_S + 2 * _WINDOW_S)
    started_s = time.time()
    await second.start()
    await asyncio.sleep(max(0.0, started_s + _JOIN_LIMIT_S - time.time()))
    writes = await bed.writes(CAMERAS)
    return joined_after(writes, started_s, 1.5 * rate_between(writes, begin_s, started_s))


async def in_turns(
    bed: Testbed, workers: Sequence[WorkerProcess], loops: Sequence[ModelOnly], seconds: float
) -> Shared:
    """Return what workers and bare engines did, who stand still while the others run."""
    before = [await each.metrics() for each in workers]
    spans, bare = [], []
    for _ in range(_ROUNDS):
        begin_s = time.time() + _SETTLE_S
        await asyncio.sleep(_SETTLE_S + seconds)
        spans.append((begin_s, time.time()))
        after = [await each.metrics() for each in workers]
        for each in workers:
            os.kill(each.pid, signal.SIGSTOP)
        try:
            async with asyncio.TaskGroup() as group:
                both = [group.create_task(loop.run(seconds, _BATCH)) for loop in loops]
        finally:
            for each in workers:
                os.kill(each.pid, signal.SIGCONT)
        bare.append(sum(each.result().rate for each in both))
    writes = await bed.writes(CAMERAS)
    done = "server_records_total"
    finals = [late.total(done, outcome="final") for late in after]
    finals = [late - early.total(done, outcome="final") for late, early in zip(finals, before, strict=True)]
    left = [each.total("consumer_lag") + each.total("queue_items") for each in after]
    return Shared([rate_between(writes, *span) for span in spans], bare, finals, left)


def rate_between(writes: Sequence[Write], begin_s: float, end_s: float) -> float:
    """Return labels per second, from the last batch before `begin_s` to the last one before `end_s`."""
    times = [write.written_s for write in writes]
    start_s = max((each for each in times if each <= begin_s), default=begin_s)
    inside = [each for each in times if start_s < each <= end_s]
    return len(inside) / (inside[-1] - start_s) if inside else 0.0


def joined_after(writes: Sequence[Write], started_s: float, wanted: float) -> float:
    """Return the seconds from `started_s` to the end of the first window that reaches the wanted rate.

    The window begins after the start, and the one after it reaches the rate too: some batches in a row are no worker.
    """
    for write in writes:
        end_s = write.written_s
        windows = [(end_s - _WINDOW_S, end_s), (end_s, end_s + _WINDOW_S)]
        if windows[0][0] >= started_s and all(rate_between(writes, *each) >= wanted for each in windows):
            return end_s - started_s
    return float("inf")


async def servers(chosen: BenchModel, seconds: float) -> list[Figure]:
    sets = token_sets(mixed(NUM_SETS, seed=0), drawn_counts(NUM_SETS, seed=0), seed=0)
    cores = two_cores()
    async with testbed("scaling-server", kafka__session_timeout_ms=_SESSION_MS) as bed:
        inputs = save_sets(
            bed.run_dir / "sets.npz", [each.crop for each in sets], [each.positions for each in sets]
        )
        record_at = records_of(sets, bed.settings.topics.partitions, chosen.load().classes_hash)
        feed = RecordFeed(bed, "offload", record_at)
        first, second, third, again = (
            server_worker(bed, chosen, [core], kafka__session_timeout_ms=_SESSION_MS)
            for core in (*cores, cores[1], cores[1])
        )
        async with (
            model_only("server", chosen.path, inputs, cores[0]) as one,
            model_only("server", chosen.path, inputs, cores[1]) as other,
            running(first),
        ):
            guess = 2 * (await one.run(2.0, _BATCH)).rate
            async with running(second):
                ages = await while_one_comes_and_goes(bed, feed, third, _HALF * guess)
            await feed.publish(int(guess * (_JOIN_LIMIT_S + 10 + _ROUNDS * (seconds + 2))), _PUBLISH_RATE)
            joined = await joined_s(bed, again)
            try:
                shared = await in_turns(bed, (first, again), (one, other), seconds)
            finally:
                await again.stop()
    return [*server_figures(chosen, shared, ages), joined_figure("server", joined)]


async def edges() -> list[Figure]:
    chosen, cores = deit_tiny(), two_cores()
    async with testbed("scaling-edge") as bed:
        shots = mixed(NUM_SHOTS, seed=0)
        feed = RecordFeed(bed, "frames", frames_of(shots, bed.settings.topics.partitions))
        first, second = (edge_worker(bed, chosen, core, tau=float("inf")) for core in cores)
        async with running(first):
            await feed.publish(int(2 * _EDGE_RATE * _JOIN_LIMIT_S), _PUBLISH_RATE)
            try:
                joined = await joined_s(bed, second)
            finally:
                await second.stop()
    return [joined_figure("edge", joined)]


async def group_of_eight() -> list[Figure]:
    chosen, cores = shipped("server"), list(two_cores())
    sets = token_sets(mixed(NUM_SETS, seed=0), [12] * NUM_SETS, seed=0)
    async with testbed("scaling-group") as bed, AsyncExitStack() as running_all:
        record_at = records_of(sets, bed.settings.topics.partitions, chosen.load().classes_hash)
        feed = RecordFeed(bed, "offload", record_at)
        workers = [server_worker(bed, chosen, cores) for _ in range(_MEMBERS)]
        began_s = time.time()
        async with asyncio.TaskGroup() as group:
            for each in workers:
                group.create_task(running_all.enter_async_context(running(each)))
        started = time.time() - began_s
        calm = await while_one_comes_and_goes(bed, feed, None, _GROUP_RATE)
        done = [(await each.metrics()).total("server_records_total", outcome="final") for each in workers]
        ages = await while_one_comes_and_goes(bed, feed, server_worker(bed, chosen, cores), _GROUP_RATE)
    listed = ", ".join(f"{each:.0f}" for each in done)
    about = f"{len(ages)} records at {_GROUP_RATE:.0f} a second, two cores, the shipped model"
    return [
        Figure(f"scaling: group of {_MEMBERS}, all ready after", started, "s", note="started at once"),
        Figure(
            f"scaling: group of {_MEMBERS}, largest share against an even one",
            max(done) / (sum(done) / len(done)),
            "x",
            note=f"{listed} records",
        ),
        Figure(
            f"scaling: group of {_MEMBERS}, age of a label p99",
            float(np.quantile(calm, 0.99)),
            "s",
            note=f"p50 {statistics.median(calm):.2f} s; {about}",
        ),
        Figure(
            f"scaling: group of {_MEMBERS}, another joins and leaves, age of a label p99",
            float(np.quantile(ages, 0.99)),
            "s",
            2.0,
            at_least=False,
            note=f"p50 {statistics.median(ages):.2f} s, slowest {max(ages):.2f}; {about}",
        ),
    ]


def joined_figure(role: str, joined: float) -> Figure:
    return Figure(
        f"scaling: {role}, a worker's start shows in throughput after",
        joined,
        "s",
        _JOIN_GOAL_S,
        at_least=False,
        note=f"end of the first {_WINDOW_S:.0f} s at 1.5 times one worker's rate",
    )


def server_figures(chosen: BenchModel, shared: Shared, ages: list[float]) -> list[Figure]:
    ratios = [mine / its for mine, its in zip(shared.workers, shared.bare, strict=True)]
    listed = ", ".join(f"{each:.2f}" for each in ratios)
    rates = f"{statistics.median(shared.workers):.1f} and {statistics.median(shared.bare):.1f} frames/s"
    return [
        Figure(
            "scaling: two workers against two bare engines, in turns",
            statistics.median(ratios),
            "x",
            0.95,
            note=f"{chosen.title}; 1 thread each; {rates}; rounds {listed}",
        ),
        Figure(
            "scaling: larger share of two workers",
            max(shared.finals) / sum(shared.finals) * 100,
            "%",
            55.0,
            at_least=False,
            note=f"{shared.finals[0]:.0f} and {shared.finals[1]:.0f} records",
        ),
        Figure(
            "scaling: larger part of the backlog left",
            max(shared.left) / max(1.0, sum(shared.left)) * 100,
            "%",
            55.0,
            at_least=False,
            note=f"{shared.left[0]:.0f} and {shared.left[1]:.0f} records",
        ),
        Figure(
            "scaling: a third worker joins and leaves, age of a label p99",
            float(np.quantile(ages, 0.99)),
            "s",
            2.0,
            at_least=False,
            note=f"p50 {statistics.median(ages):.2f} s; {len(ages)} records at half of two engines' rate",
        ),
    ]


async def measure(model: str, seconds: float) -> list[Figure]:
    chosen = shipped("server") if model == "shipped" else deit_base()
    return [*await servers(chosen, seconds), *await edges(), *await group_of_eight()]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", choices=("deit", "shipped"), default="deit")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn")
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments.model, arguments.seconds)), arguments.json)


if __name__ == "__main__":
    main()
