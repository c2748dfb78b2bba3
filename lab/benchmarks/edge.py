"""The whole edge worker against its bound, on one core that both have for themselves.

    python -m lab.benchmarks.edge [--model deit|shipped] [--codec NAME] [--rounds N] [--seconds S] [--json FILE]

The bound is a bare loop that decodes and resizes the same frames and classifies them. It and the worker take turns
on one core, one thread each, the same batch size; broker, Redis and the producer of 640x480 JPEGs stand on the other.
While the bare loop runs, the other core carries the same load: a stand-in there reads the same frames, writes as many
labels and sends as many offloads. tau is set so that 40 % are offloaded. A ratio is the median over rounds of two
rates of the same round.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

import numpy as np

from gating.entropy import min_entropy_bits
from lab.benchmarks.interleaved import CAMERAS, RecordAt, RecordFeed, lag_figure, ratio_figures, rounds_of
from lab.benchmarks.machine import pin, two_cores
from lab.benchmarks.model_only import model_only, save_images
from lab.benchmarks.models import BenchModel, deit_tiny, shipped
from lab.benchmarks.recorded import Shot, frame_record, mixed
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import MetricsReading, Testbed, WorkerProcess, testbed
from schemas.topics import frames_partition
from vit.edge_forward import EdgeForward

GOALS = {"jpeg": 0.95, "webp": 0.90, "avif": 0.90}
OFFLOAD_SHARE = 0.4
BATCH = 8
NUM_SHOTS = 80


def tau_for(chosen: BenchModel, crops: list[np.ndarray], share: float) -> float:
    """Return the threshold at which this share of the crops is offloaded."""
    forward = EdgeForward(chosen.load(), threads=1)
    parts = [crops[start : start + BATCH] for start in range(0, len(crops), BATCH)]
    entropies = [min_entropy_bits(forward(np.stack(part)).logits) for part in parts]
    return float(np.quantile(np.concatenate(entropies), 1 - share))


def frames_of(shots: list[Shot], num_partitions: int) -> RecordAt:
    """Return the shots in turn as frames of the 16 cameras in turn, from files."""

    def record_at(number: int, due_ns: int) -> tuple[bytes, int]:
        camera = CAMERAS[number % len(CAMERAS)]
        value = frame_record(shots[number % len(shots)], camera, number // len(CAMERAS), due_ns)
        return value, frames_partition(camera, num_partitions)

    return record_at


def edge_worker(
    bed: Testbed, chosen: BenchModel, core: int, tau: float, codec: str = "webp", **flags: Any
) -> WorkerProcess:
    """Return an edge worker of one thread on one core."""
    return bed.worker(
        *("edge", [core]),
        edge__model=chosen.path,
        edge__tau=tau,
        edge__codec=codec,
        edge__threads=1,
        edge__decode_threads=1,
        edge__batch_frames=BATCH,
        edge__max_latency_ms=30_000,
        **flags,
    )


async def measure(arguments: argparse.Namespace) -> list[Figure]:
    chosen = shipped("edge") if arguments.model == "shipped" else deit_tiny()
    shots = mixed(NUM_SHOTS, seed=0)
    crops = [shot.crop() for shot in shots]
    tau = tau_for(chosen, crops, OFFLOAD_SHARE)
    own, other = two_cores()
    pin(other)
    async with testbed(f"edge-{arguments.model}-{arguments.codec}") as bed:
        inputs = save_images(bed.run_dir / "images.npz", [shot.image for shot in shots])
        feed = RecordFeed(bed, "frames", frames_of(shots, bed.settings.topics.partitions))
        worker = edge_worker(bed, chosen, own, tau, arguments.codec)
        async with model_only("frames", chosen.path, inputs, own) as loop:
            await worker.start()
            try:
                before = await worker.metrics()
                rounds = await rounds_of(
                    *(bed, feed, worker, loop),
                    rounds=arguments.rounds,
                    seconds=arguments.seconds,
                    offload_share=OFFLOAD_SHARE,
                    batch=lambda *_: BATCH,
                )
                after = await worker.metrics()
            finally:
                await worker.stop()
    image_bytes = np.mean([len(shot.image) for shot in shots])
    setting = f"{chosen.title}; 1 thread, batch {BATCH}; JPEGs of {image_bytes / 1e3:.0f} kB"
    return [
        *ratio_figures("edge", "decoding, resizing and model alone", GOALS[arguments.codec], rounds, setting),
        *_parts(before, after, arguments.codec),
        lag_figure("edge", before, after),
    ]


def _parts(before: MetricsReading, after: MetricsReading, codec: str) -> list[Figure]:
    """Return what the worker itself says of its stages."""
    frames = after.total("frames_total") - before.total("frames_total")
    offloads = after.total("patches_kept_count") - before.total("patches_kept_count")
    record_bytes = after.mean("offload_record_bytes", before)
    sent = (
        f"{codec}-75, {record_bytes / 1e3:.1f} kB and {after.mean('patches_kept', before):.0f} patches each"
    )
    figures = [Figure("edge worker: offloaded", offloads / frames * 100, "%", note=sent)]
    for stage, what in (("prepare", "JPEG decoding and resizing"), ("offer", "patch encoding")):
        spent = after.spent("stage_seconds", before, stage=stage)
        figures.append(Figure(f"edge worker: {what}, wall", spent / frames * 1e3, "ms/frame"))
    write_ms = after.mean("redis_write_seconds", before) * 1e3
    return [*figures, Figure("edge worker: one write to Redis, wall", write_ms, "ms")]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", choices=("deit", "shipped"), default="deit")
    parser.add_argument("--codec", choices=GOALS, default="webp")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments)), arguments.json)


if __name__ == "__main__":
    main()
