"""What a frame costs one edge worker when its frames come from 1, 20 or 200 cameras.

    python -m lab.benchmarks.cameras [--rounds N] [--frames N] [--json FILE]

Processor time of the worker per frame, in bursts that take turns, with the model and with one that answers at
once: what is left then is the pipeline. How far apart the costs lie is the median over rounds of two costs of
the same round, as the machine's speed changes from round to round.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable

from lab.benchmarks.edge import BATCH, OFFLOAD_SHARE, edge_worker, tau_for
from lab.benchmarks.machine import pin, rss_bytes, two_cores
from lab.benchmarks.models import deit_tiny
from lab.benchmarks.recorded import Shot, frame_record, mixed
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import Testbed, WorkerProcess, paced, testbed
from schemas.topics import frames_partition

NUMBERS = (1, 20, 200)
GOAL = 0.10
_RATE = 400.0
"""Faster than any worker: it always has a backlog."""


async def burst(
    bed: Testbed, worker: WorkerProcess, shots: list[Shot], cameras: int, first_seq: int, frames: int
) -> float:
    """Return the worker's processor seconds a frame for `frames` frames spread over `cameras`."""
    before, cpu_s = await bed.num_keys(), worker.cpu_s
    partitions = bed.settings.topics.partitions
    async with bed.sink() as sink:

        async def send(index: int, due_ns: int) -> None:
            camera = f"of{cameras}-{index % cameras}"
            seq = first_seq + index // cameras
            value = frame_record(shots[index % len(shots)], camera, seq, due_ns)
            await sink.send("frames", value, partition=frames_partition(camera, partitions))

        await paced(_RATE, frames, send)
    await bed.labelled(before, frames, 120)
    return (worker.cpu_s - cpu_s) / frames


async def costs(
    bed: Testbed, worker: WorkerProcess, shots: list[Shot], rounds: int, frames: int
) -> tuple[dict[int, list[float]], int]:
    """Return the costs of a frame, round by round, by number of cameras, and how much memory grew meanwhile."""
    found: dict[int, list[float]] = {number: [] for number in NUMBERS}
    seqs = itertools.count(0, frames)
    await worker.start()
    try:
        await burst(bed, worker, shots, 4, next(seqs), frames)
        rss = rss_bytes(worker.pid)
        for _ in range(rounds):
            for number in NUMBERS:
                found[number].append(await burst(bed, worker, shots, number, next(seqs), frames))
        grown = rss_bytes(worker.pid) - rss
    finally:
        await worker.stop()
    return found, grown


def figures_of(who: str, found: dict[int, list[float]], grown: int, note: str) -> list[Figure]:
    """Return the median costs, how far they lie apart, and the growth of memory."""
    one = found[NUMBERS[0]]
    apart = max(
        abs(statistics.median(cost / first for cost, first in zip(costs, one, strict=True)) - 1)
        for costs in found.values()
    )
    listed = [
        Figure(f"{who}: cost of a frame, {number} cameras", statistics.median(costs) * 1e3, "ms processor")
        for number, costs in found.items()
    ]
    return [
        *listed,
        Figure(
            f"{who}: farthest from one camera's cost", apart * 100, "%", GOAL * 100, at_least=False, note=note
        ),
        Figure(f"{who}: memory grown, 1 to 200 cameras", grown / 1e6, "MB"),
    ]


async def measure(rounds: int, frames: int) -> list[Figure]:
    chosen, shots = deit_tiny(), mixed(40, seed=0)
    tau = tau_for(chosen, [shot.crop() for shot in shots], OFFLOAD_SHARE)
    own, other = two_cores()
    pin(other)
    figures = []
    kinds: list[tuple[str, str, Callable[[Testbed], WorkerProcess]]] = [
        ("edge worker", chosen.title, lambda bed: edge_worker(bed, chosen, own, tau)),
        ("pipeline without model", "a model that answers at once", lambda bed: stub_worker(bed, own)),
    ]
    for who, note, worker in kinds:
        async with testbed("cameras") as bed:
            found, grown = await costs(bed, worker(bed), shots, rounds, frames)
        figures += figures_of(who, found, grown, f"{note}; {frames} frames a burst")
    return figures


def stub_worker(bed: Testbed, core: int) -> WorkerProcess:
    """Return an edge worker without a model."""
    return bed.worker(
        *("edge", [core]),
        program=("-m", "lab.benchmarks.stub_edge"),
        edge__threads=1,
        edge__decode_threads=1,
        edge__batch_frames=BATCH,
        edge__max_latency_ms=30_000,
    )


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--frames", type=int, default=200)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments.rounds, arguments.frames)), arguments.json)


if __name__ == "__main__":
    main()
