"""Two server worker processes against one, beside two bare engine processes against one.

    python -m lab.benchmarks.scaling [--model deit|shipped] [--json FILE]

One thread and one core each; broker, Redis and observer run wherever there is room. 16 cameras, a backlog
that outlasts the run. The second worker joins in the middle, as a user would start it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from lab.benchmarks.interleaved import CAMERAS, RecordAt, RecordFeed
from lab.benchmarks.machine import two_cores
from lab.benchmarks.model_only import ModelOnly, model_only, save_sets
from lab.benchmarks.models import BenchModel, deit_base, shipped
from lab.benchmarks.recorded import KeptPatches, drawn_counts, mixed, offload_record, token_sets
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.server import NUM_SETS, server_worker
from lab.benchmarks.testbed import Testbed, Write, testbed
from schemas.topics import offload_partition

_SEQ_STEP = 2.5
"""40 % of a camera's frames are offloaded."""
_WINDOW_S = 4.0
_JOIN_LIMIT_S = 15.0
_PUBLISH_RATE = 2_000.0


@dataclass(frozen=True, slots=True)
class Joined:
    """Rates of one and two workers, seconds from starting the second to its effect, who did how much."""

    one: float
    two: float
    joined_s: float
    finals: tuple[float, float]
    left: tuple[float, float]


def records_of(sets: list[KeptPatches], num_partitions: int, classes_hash: str) -> RecordAt:
    """Return the sets in turn as offloads of the 16 cameras in turn, with the gaps of frames that stayed."""

    def record_at(number: int, due_ns: int) -> tuple[bytes, int]:
        camera, seq = CAMERAS[number % len(CAMERAS)], int(number // len(CAMERAS) * _SEQ_STEP)
        value = offload_record(sets[number % len(sets)], camera, seq, due_ns, classes_hash)
        return value, offload_partition(camera, seq, num_partitions)

    return record_at


async def bare_scaling(
    loops: Sequence[ModelOnly], seconds: float, batch: int, rounds: int
) -> tuple[float, float]:
    """Return images/s of one bare engine and of two at once; medians of rounds in turn."""
    ones, twos = [], []
    for _ in range(rounds):
        ones.append((await loops[0].run(seconds, batch)).rate)
        async with asyncio.TaskGroup() as group:
            both = [group.create_task(loop.run(seconds, batch)) for loop in loops]
        twos.append(sum(each.result().rate for each in both))
    return statistics.median(ones), statistics.median(twos)


async def worker_scaling(bed: Testbed, chosen: BenchModel, cores: tuple[int, int], seconds: float) -> Joined:
    """Return what one worker and then two did of a backlog."""
    first, second = (server_worker(bed, chosen, [core]) for core in cores)
    await first.start()
    try:
        await asyncio.sleep(seconds)
        started_s = time.time()
        await second.start()
        await asyncio.sleep(max(0.0, started_s + _JOIN_LIMIT_S - time.time()))
        settled_s, before = time.time(), [await each.metrics() for each in (first, second)]
        await asyncio.sleep(1.5 * seconds)
        ended_s, after = time.time(), [await each.metrics() for each in (first, second)]
    finally:
        async with asyncio.TaskGroup() as group:
            for each in (first, second):
                group.create_task(each.stop())
    writes = await bed.writes(CAMERAS)
    one = rate_between(writes, started_s - seconds + 1.0, started_s)
    finals = [
        late.total("server_records_total", outcome="final")
        - early.total("server_records_total", outcome="final")
        for early, late in zip(before, after, strict=True)
    ]
    left = [each.total("consumer_lag") + each.total("queue_items") for each in after]
    return Joined(
        one,
        rate_between(writes, settled_s, ended_s),
        joined_after(writes, started_s, 1.5 * one),
        (finals[0], finals[1]),
        (left[0], left[1]),
    )


def rate_between(writes: Sequence[Write], begin_s: float, end_s: float) -> float:
    """Return labels per second, from the last batch before `begin_s` to the last one before `end_s`."""
    times = [write.written_s for write in writes]
    start_s = max((each for each in times if each <= begin_s), default=begin_s)
    inside = [each for each in times if start_s < each <= end_s]
    return len(inside) / (inside[-1] - start_s) if inside else 0.0


def joined_after(writes: Sequence[Write], started_s: float, wanted: float) -> float:
    """Return the seconds from `started_s` to the end of the first window that reaches the wanted rate."""
    for write in writes:
        end_s = write.written_s
        if end_s > started_s and rate_between(writes, end_s - _WINDOW_S, end_s) >= wanted:
            return end_s - started_s
    return float("inf")


async def measure(model: str, seconds: float) -> list[Figure]:
    chosen = shipped("server") if model == "shipped" else deit_base()
    sets = token_sets(mixed(NUM_SETS, seed=0), drawn_counts(NUM_SETS, seed=0), seed=0)
    cores = two_cores()
    async with testbed(f"scaling-{model}") as bed:
        inputs = save_sets(
            bed.run_dir / "sets.npz", [each.crop for each in sets], [each.positions for each in sets]
        )
        async with (
            model_only("server", chosen.path, inputs, cores[0]) as one,
            model_only("server", chosen.path, inputs, cores[1]) as other,
        ):
            bare_one, bare_two = await bare_scaling([one, other], seconds / 3, 4, 3)
        record_at = records_of(sets, bed.settings.topics.partitions, chosen.load().classes_hash)
        backlog = int(bare_two * (seconds + _JOIN_LIMIT_S + 2.5 * seconds))
        await RecordFeed(bed, "offload", record_at).publish(backlog, _PUBLISH_RATE)
        joined = await worker_scaling(bed, chosen, cores, seconds)
    return figures_of(chosen, bare_one, bare_two, joined)


def figures_of(chosen: BenchModel, bare_one: float, bare_two: float, joined: Joined) -> list[Figure]:
    ratio, bare_ratio = joined.two / joined.one, bare_two / bare_one
    share = max(joined.finals) / sum(joined.finals)
    left = max(joined.left) / max(1.0, sum(joined.left))
    note = f"{chosen.title}; 1 thread each"
    return [
        Figure(
            "scaling: one bare engine, then two", bare_ratio, "x", note=f"{note}, {bare_one:.1f} images/s"
        ),
        Figure(
            "scaling: one worker, then two", ratio, "x", note=f"{joined.one:.1f}, {joined.two:.1f} frames/s"
        ),
        Figure("scaling: workers against bare engines", ratio / bare_ratio, "x", 0.95),
        Figure(
            "scaling: larger share of two workers",
            share * 100,
            "%",
            55.0,
            at_least=False,
            note=f"{joined.finals[0]:.0f} and {joined.finals[1]:.0f} records; within 10 % of an even share",
        ),
        Figure(
            "scaling: larger part of the backlog left",
            left * 100,
            "%",
            note=f"{joined.left[0]:.0f} and {joined.left[1]:.0f} records; 50 % is even",
        ),
        Figure(
            "scaling: a worker's start shows in throughput after",
            joined.joined_s,
            "s",
            _JOIN_LIMIT_S,
            at_least=False,
            note=f"end of the first {_WINDOW_S:.0f} s at 1.5 times one worker's rate",
        ),
    ]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", choices=("deit", "shipped"), default="deit")
    parser.add_argument("--seconds", type=float, default=15.0)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments.model, arguments.seconds)), arguments.json)


if __name__ == "__main__":
    main()
