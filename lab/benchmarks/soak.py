"""An hour's frames of 16 cameras through one edge worker with beliefs, a server and the page: does their memory grow?

    python -m lab.benchmarks.soak [--frames N] [--json FILE]

The shipped pair; the page makes its events. Frames come as fast as the edge worker answers them, never more than a
few seconds ahead. A slope is a straight line through a process's resident memory over the last half of the frames.
"""

from __future__ import annotations

import asyncio

import numpy as np

from devstack.demo.processes import Worker, workers_running
from lab.benchmarks.edge import NUM_SHOTS, edge_worker, frames_of
from lab.benchmarks.interleaved import RecordFeed
from lab.benchmarks.machine import pin, rss_bytes, two_cores
from lab.benchmarks.models import shipped
from lab.benchmarks.recorded import mixed
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.server import server_worker
from lab.benchmarks.testbed import Testbed, running, testbed

HOUR_FRAMES = 16 * 5 * 3600
GOAL_MB = 1.0
_CHUNK = 2_000
_AHEAD_FRAMES = 2_000
_RATE = 5_000.0
_DISK_BYTES = 6 << 30
"""Three cameras may share one of the 48 partitions: at 2 GiB their part was deleted before it was read."""


async def drive(bed: Testbed, pids: dict[str, int], frames: int) -> list[tuple[int, dict[str, int]]]:
    """Return frames answered, and the resident bytes of each process, after each chunk of frames."""
    feed = RecordFeed(bed, "frames", frames_of(mixed(NUM_SHOTS, seed=0), bed.settings.topics.partitions))
    before, samples = await bed.num_keys(), []
    for sent in range(_CHUNK, frames + 1, _CHUNK):
        await feed.publish(_CHUNK, _RATE)
        await bed.labelled(before, sent - _AHEAD_FRAMES, 300)
        samples.append((await bed.num_keys() - before, {who: rss_bytes(pid) for who, pid in pids.items()}))
    await bed.labelled(before, frames // _CHUNK * _CHUNK, 300)
    return samples


async def measure(frames: int) -> list[Figure]:
    own, other = two_cores()
    pin(other)
    async with testbed("soak", topics__frames_disk_bytes=_DISK_BYTES) as bed:
        addresses = ["--kafka", bed.stack.bootstrap_servers, "--redis", bed.stack.redis_url]
        edge = edge_worker(bed, shipped("edge"), own, tau=0.0, budget__rate="10mbit")
        server = server_worker(bed, shipped("server"), [other])
        page = Worker(
            "page", bed.run_dir, ["page", *addresses], port_flag="--port", ready_path="/api/session"
        )
        async with running(edge), running(server), workers_running([page]):
            pids = {"edge": edge.pid, "server": server.pid, "page": page.child.pid}
            samples = await drive(bed, pids, frames)
    return [growth(who, [(count, sizes[who]) for count, sizes in samples]) for who in pids]


def growth(who: str, samples: list[tuple[int, int]]) -> Figure:
    half = np.array(samples[len(samples) // 2 :], dtype=float)
    slope = float(np.polyfit(half[:, 0] / 10_000, half[:, 1] / 1e6, 1)[0])
    note = f"{samples[-1][0]} frames, {samples[0][1] / 1e6:.0f} MB at first, {samples[-1][1] / 1e6:.0f} MB at last"
    return Figure(
        f"soak: memory growth of the {who}, last half",
        slope,
        "MB/10,000 frames",
        GOAL_MB,
        at_least=False,
        note=note,
    )


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--frames", type=int, default=HOUR_FRAMES)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments.frames)), arguments.json)


if __name__ == "__main__":
    main()
