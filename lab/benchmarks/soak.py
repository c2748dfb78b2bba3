"""An hour's frames of 16 cameras through one edge worker without a model: does its memory grow?

    python -m lab.benchmarks.soak [--frames N] [--json FILE]

Frames come as fast as the worker answers them, never more than a few seconds ahead. The slope is a straight
line through the worker's resident memory over the last half of the frames.
"""

from __future__ import annotations

import asyncio

import numpy as np

from lab.benchmarks.cameras import stub_worker
from lab.benchmarks.edge import frames_of
from lab.benchmarks.interleaved import RecordFeed
from lab.benchmarks.machine import pin, rss_bytes, two_cores
from lab.benchmarks.recorded import mixed
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import Testbed, WorkerProcess, testbed

HOUR_FRAMES = 16 * 5 * 3600
GOAL_MB = 1.0
_CHUNK = 2_000
_AHEAD_FRAMES = 2_000
_RATE = 5_000.0
_DISK_BYTES = 6 << 30
"""Three cameras may share one of the 48 partitions: at 2 GiB their part was deleted before it was read."""


async def drive(bed: Testbed, worker: WorkerProcess, frames: int) -> list[tuple[int, int]]:
    """Return (frames answered, resident bytes) after each chunk of frames."""
    feed = RecordFeed(bed, "frames", frames_of(mixed(20, seed=0), bed.settings.topics.partitions))
    before, samples = await bed.num_keys(), []
    for sent in range(_CHUNK, frames + 1, _CHUNK):
        await feed.publish(_CHUNK, _RATE)
        await bed.labelled(before, sent - _AHEAD_FRAMES, 300)
        samples.append((await bed.num_keys() - before, rss_bytes(worker.pid)))
    await bed.labelled(before, frames // _CHUNK * _CHUNK, 300)
    return samples


async def measure(frames: int) -> list[Figure]:
    own, other = two_cores()
    pin(other)
    async with testbed("soak", topics__frames_disk_bytes=_DISK_BYTES) as bed:
        worker = stub_worker(bed, own)
        await worker.start()
        try:
            samples = await drive(bed, worker, frames)
        finally:
            await worker.stop()
    half = np.array(samples[len(samples) // 2 :], dtype=float)
    slope = float(np.polyfit(half[:, 0] / 10_000, half[:, 1] / 1e6, 1)[0])
    begin, end = samples[0][1] / 1e6, samples[-1][1] / 1e6
    note = f"{samples[-1][0]} frames, {begin:.0f} MB at first, {end:.0f} MB at last"
    return [
        Figure(
            "soak: memory growth, last half", slope, "MB/10,000 frames", GOAL_MB, at_least=False, note=note
        )
    ]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--frames", type=int, default=HOUR_FRAMES)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments.frames)), arguments.json)


if __name__ == "__main__":
    main()
