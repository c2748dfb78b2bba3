"""An edge worker's uplink alone, as a process: `sharing_process.py NAME REDIS_URL SOCKET BYTES_PER_S FPS`.

Records of 2 kB at a steady pace; what the scheduler lets go is written to the Unix socket, one letter and then
the record, and counts as acknowledged at once.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np

from runtime.clock import SystemClock
from runtime.connections import RedisSettings
from runtime.redis_coordination import Coordination
from schemas.operating_point import OperatingPoint
from schemas.rates import constant
from uplink.admission import AdmissionConfig
from uplink.shell import Uplink
from uplink.site_share import SiteShare
from uplink.task import OffloadTask

RECORD_BYTES = 2_000
LATENCY_S = 1.0


class SocketSink:
    """Everything arrives at once; `sent_bytes` is what was written."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._sent_bytes = 0

    async def send(
        self, topic: str, value: bytes, *, key: bytes | None = None, partition: object = None
    ) -> asyncio.Future[object]:
        self._writer.write(value)
        await self._writer.drain()
        self._sent_bytes += len(value)
        landed: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        landed.set_result(None)
        return landed

    def wire_bytes_sent(self) -> int:
        return self._sent_bytes

    async def ready(self, topic: str) -> None:
        """Everything always arrives."""


async def main(name: str, redis_url: str, socket: str, bytes_per_s: float, fps: float) -> None:
    _, writer = await asyncio.open_unix_connection(socket)
    clock = SystemClock()
    async with Coordination(RedisSettings(url=redis_url)) as store:
        share = SiteShare(store, clock, site="s", worker=name, is_shared=True)
        config = AdmissionConfig(budget=constant(bytes_per_s), is_shared=True, watch_servers=False)
        uplink = Uplink(
            SocketSink(writer), clock, OperatingPoint(tau=0.0, delta=1.0), config=config, share=share
        )
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(uplink.run(stop))
            await show(uplink, clock, name, fps)


async def show(uplink: Uplink, clock: SystemClock, name: str, fps: float) -> None:
    """Frames of all entropies, until the process is killed."""
    rng = np.random.default_rng(ord(name))
    value = name.encode() * RECORD_BYTES
    due_s = clock.monotonic_s()
    while True:
        due_s = max(due_s + 1.0 / fps, clock.monotonic_s())
        await asyncio.sleep(due_s - clock.monotonic_s())
        entropy = float(rng.uniform(0.0, 6.0))
        uplink.observe(entropy)
        if entropy >= uplink.point.tau:
            task = OffloadTask(
                camera=f"cam-{name}",
                score=entropy,
                deadline_s=clock.monotonic_s() + LATENCY_S,
                num_bytes=len(value),
                value=value,
            )
            uplink.enqueue(task)


if __name__ == "__main__":
    name, redis_url, socket, bytes_per_s, fps = sys.argv[1:]
    asyncio.run(main(name, redis_url, socket, float(bytes_per_s), float(fps)))
