"""The whole server worker against its engine alone, on one core that both have for themselves.

    python -m lab.benchmarks.server [--model deit|shipped] [--rounds N] [--seconds S] [--json FILE]

As `lab.benchmarks.edge`: worker and engine take turns, one thread each, the engine at the batch size that the
worker formed. Records carry WebP-75 patches of rendered frames, their counts drawn from patch_counts.json.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import numpy as np

from lab.benchmarks.interleaved import CAMERAS, RecordAt, RecordFeed, lag_figure, ratio_figures, rounds_of
from lab.benchmarks.machine import pin, two_cores
from lab.benchmarks.model_only import model_only, save_sets
from lab.benchmarks.models import BenchModel, deit_base, shipped
from lab.benchmarks.recorded import KeptPatches, drawn_counts, mixed, offload_record, token_sets
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import MetricsReading, Testbed, WorkerProcess, testbed
from schemas.topics import offload_partition

NUM_SETS = 64


def records_of(sets: list[KeptPatches], num_partitions: int, classes_hash: str) -> RecordAt:
    """Return the sets in turn as offloads of the 16 cameras in turn."""

    def record_at(number: int, due_ns: int) -> tuple[bytes, int]:
        camera, seq = CAMERAS[number % len(CAMERAS)], number // len(CAMERAS)
        value = offload_record(sets[number % len(sets)], camera, seq, due_ns, classes_hash)
        return value, offload_partition(camera, seq, num_partitions)

    return record_at


def server_worker(bed: Testbed, chosen: BenchModel, cores: list[int], **flags: Any) -> WorkerProcess:
    """Return a server worker of one thread on the given cores."""
    return bed.worker(
        *("serve", cores),
        server__model=chosen.path,
        server__threads=1,
        server__decode_threads=1,
        **flags,
    )


def formed(before: MetricsReading, after: MetricsReading) -> int:
    """Return the mean batch that the worker formed, rounded."""
    return max(1, round(after.mean("batch_size", before)))


async def measure(arguments: argparse.Namespace) -> list[Figure]:
    chosen = shipped("server") if arguments.model == "shipped" else deit_base()
    counts = drawn_counts(NUM_SETS, seed=0)
    sets = token_sets(mixed(NUM_SETS, seed=0), counts, seed=0)
    own, other = two_cores()
    pin(other)
    async with testbed(f"server-{arguments.model}") as bed:
        inputs = save_sets(
            bed.run_dir / "sets.npz", [each.crop for each in sets], [each.positions for each in sets]
        )
        record_at = records_of(sets, bed.settings.topics.partitions, chosen.load().classes_hash)
        feed, worker = RecordFeed(bed, "offload", record_at), server_worker(bed, chosen, [own])
        async with model_only("server", chosen.path, inputs, own) as loop:
            await worker.start()
            try:
                before = await worker.metrics()
                rounds = await rounds_of(
                    *(bed, feed, worker, loop),
                    rounds=arguments.rounds,
                    seconds=arguments.seconds,
                    offload_share=0.0,
                    batch=formed,
                )
                after = await worker.metrics()
            finally:
                await worker.stop()
    batch = after.mean("batch_size", before)
    setting = f"{chosen.title}; 1 thread, batches of {batch:.1f}, {np.mean(counts):.0f} patches each"
    records = after.total("server_records_total") - before.total("server_records_total")
    decode_s = after.spent("stage_seconds", before, stage="decode")
    return [
        *ratio_figures("server", "model alone", 0.92, rounds, setting),
        Figure(
            "server worker: checking and decoding a record, wall",
            decode_s / records * 1e3,
            "ms/record",
            note="in its own thread, while the engine computes",
        ),
        lag_figure("server", before, after),
    ]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", choices=("deit", "shipped"), default="deit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments)), arguments.json)


if __name__ == "__main__":
    main()
