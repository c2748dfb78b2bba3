"""What the pipeline adds to the model's own time, at half load, open loop.

    python -m lab.benchmarks.latency [--seconds S] [--json FILE]

Records come at constant intervals, whatever the answers take, at half the rate that the worker reached just
before. Added = the label's time in Redis, less when the record was due, less what the model alone takes for
that input, measured in the same run on the same core. Redis tells whole milliseconds; half of one is added.
The load generator lets no record wait for another, as an edge worker does with its offloads; a producer's
own `linger_ms` comes on top for frames.

A virtual machine stands still now and then, and a few such moments are more than one record in a hundred. So a
control runs beside: processes on the same two cores that only sleep until a record is due, and note how late they
woke. The goal is held against the p99 of all records less that of the control.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from itertools import chain

import numpy as np

from lab.benchmarks.edge import NUM_SHOTS, OFFLOAD_SHARE, edge_worker, frames_of, tau_for
from lab.benchmarks.interleaved import CAMERAS, RecordFeed, worker_turn
from lab.benchmarks.machine import pin, two_cores
from lab.benchmarks.model_only import model_only, save_crops, save_sets
from lab.benchmarks.models import deit_tiny, shipped
from lab.benchmarks.recorded import drawn_counts, mixed, token_sets
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.server import NUM_SETS, records_of, server_worker
from lab.benchmarks.testbed import Testbed, WorkerProcess, Write, testbed

GOAL_MS = 15.0
"""Of p99 above the control's; a server may wait for a batch beside."""
_REDIS_HALF_S = 0.0005
_CLOSED_S = 2.5
_SETTLE_S = 2.0


async def open_loop(
    bed: Testbed, feed: RecordFeed, worker: WorkerProcess, guess: float, seconds: float
) -> tuple[list[Write], list[float]]:
    """Return the writes of `seconds` of records at half the rate that the worker has just reached, and the control's
    lateness meanwhile, in seconds.

    The load begins a little earlier: the burst that found the rate has left offloads to encode.
    """
    await worker_turn(bed, feed, worker, guess, 1.0)
    full = await worker_turn(bed, feed, worker, guess, _CLOSED_S)
    before, seen = await bed.num_keys(), len(await bed.writes(CAMERAS))
    count = max(20, int(full.rate / 2 * (seconds + _SETTLE_S)))
    async with asyncio.TaskGroup() as group:
        controls = [group.create_task(control(core, full.rate / 2, seconds)) for core in two_cores()]
        await feed.publish(count, full.rate / 2, linger_ms=0)
    await bed.labelled(before, count, 60)
    writes = (await bed.writes(CAMERAS))[seen:]
    first_ns = min(write.captured_ns for write in writes) + int(_SETTLE_S * 1e9)
    after = [write for write in writes if write.captured_ns >= first_ns]
    return after, list(chain.from_iterable(each.result() for each in controls))


async def control(core: int, rate: float, seconds: float) -> list[float]:
    """Return how late a process on `core` woke that only sleeps, in seconds."""
    command = ["-m", "lab.benchmarks.pinned", str(core), "-m", "lab.benchmarks.sleeper"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, str(rate), str(seconds), stdout=PIPE
    )
    said, _ = await process.communicate()
    late_s: list[float] = json.loads(said)
    return late_s


def figures_of(
    who: str, writes: list[Write], control_s: list[float], model_s: list[float], goal_ms: float, note: str
) -> list[Figure]:
    """Return p50 and p99 of what was added to the model's time of each input, and p99 above the control's."""
    added_ms = []
    for write in sorted(writes, key=lambda write: write.captured_ns):
        number = write.seq * len(CAMERAS) + CAMERAS.index(write.camera)
        taken_s = write.written_s + _REDIS_HALF_S - write.captured_ns / 1e9
        added_ms.append((taken_s - model_s[number % len(model_s)]) * 1e3)
    p50, p99 = np.percentile(added_ms, [50, 99])
    control_ms = float(np.percentile(control_s, 99)) * 1e3
    counted = f"{note}; {len(added_ms)} records, model alone {np.median(model_s) * 1e3:.1f} ms"
    return [
        Figure(f"{who}: added latency p50", p50, "ms", note=counted),
        Figure(f"{who}: added latency p99 of all records", p99, "ms"),
        Figure(f"{who}: the control's p99", control_ms, "ms", note="two processes that only sleep and wake"),
        Figure(f"{who}: added p99 above the control's", p99 - control_ms, "ms", goal_ms, at_least=False),
    ]


async def edge_latency(own: int, seconds: float) -> list[Figure]:
    chosen, shots = deit_tiny(), mixed(NUM_SHOTS, seed=0)
    crops = [shot.crop() for shot in shots]
    tau = tau_for(chosen, crops, OFFLOAD_SHARE)
    async with testbed("latency-edge") as bed:
        inputs = save_crops(bed.run_dir / "crops.npz", crops)
        feed = RecordFeed(bed, "frames", frames_of(shots, bed.settings.topics.partitions))
        worker = edge_worker(bed, chosen, own, tau)
        async with model_only("edge", chosen.path, inputs, own) as loop:
            model_s = await loop.one_by_one(3)
        await worker.start()
        try:
            writes, control_s = await open_loop(bed, feed, worker, 0.6 / float(np.median(model_s)), seconds)
        finally:
            await worker.stop()
    first = [write for write in writes if write.source == "edge"]
    return figures_of("edge", first, control_s, model_s, GOAL_MS, chosen.title)


async def server_latency(own: int, seconds: float) -> list[Figure]:
    chosen = shipped("server")
    sets = token_sets(mixed(NUM_SETS, seed=0), drawn_counts(NUM_SETS, seed=0), seed=0)
    async with testbed("latency-server") as bed:
        inputs = save_sets(
            bed.run_dir / "sets.npz", [each.crop for each in sets], [each.positions for each in sets]
        )
        record_at = records_of(sets, bed.settings.topics.partitions, chosen.load().classes_hash)
        feed, worker = RecordFeed(bed, "offload", record_at), server_worker(bed, chosen, [own])
        async with model_only("server", chosen.path, inputs, own) as loop:
            model_s = await loop.one_by_one(3)
        await worker.start()
        try:
            writes, control_s = await open_loop(bed, feed, worker, 0.9 / float(np.median(model_s)), seconds)
        finally:
            await worker.stop()
        wait_ms = bed.settings.server.max_batch_wait_ms
    note = f"{chosen.title}; max_batch_wait_ms {wait_ms}"
    return figures_of("server", writes, control_s, model_s, GOAL_MS + wait_ms, note)


async def measure(seconds: float) -> list[Figure]:
    own, other = two_cores()
    pin(other)
    return await edge_latency(own, seconds) + await server_latency(own, seconds)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments.seconds)), arguments.json)


if __name__ == "__main__":
    main()
