"""A testbed: the embedded stack, workers as a user starts them, and an observer beside them.

What workers did is read where readers see it: labels from Redis's streams, whose entries carry the time of
the write by Redis's clock (ms), offloads from the topic's end offsets. WorkerProcess metrics only explain.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis.asyncio

from devstack.child import GuardedChild
from devstack.demo.probe import get, is_ready
from devstack.demo.processes import free_port
from devstack.settings import Settings, load_settings
from devstack.stack import EmbeddedStack, embedded_stack
from lab.benchmarks.machine import cpu_seconds
from runtime.kafka_admin import create_topics, pipeline_topics
from runtime.kafka_sink import Sink
from schemas import redis_keys

FOLDER = Path("runs/bench")
_READY_TIMEOUT_S = 120.0
_LOOK_S = 0.01
_IN_FLIGHT_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Write:
    """One label as it was written: `written_s` by Redis's clock, to the millisecond."""

    written_s: float
    camera: str
    seq: int
    state: str
    source: str
    label: int
    captured_ns: int


class Testbed:
    """A running stack with its topics, and the way to ask it."""

    def __init__(self, run_dir: Path, stack: EmbeddedStack, settings: Settings, client: Any) -> None:
        self.run_dir = run_dir
        self.stack = stack
        self.settings = settings
        self._client = client

    async def num_keys(self) -> int:
        """Return how many keys Redis has: each labelled frame adds one, cameras and leases a few more."""
        return int(await self._client.dbsize())

    async def labelled(self, before: int, frames: int, timeout_s: float) -> None:
        """Wait until `frames` more keys than `before` are there.

        Raises:
            TimeoutError: they did not come.
        """
        async with asyncio.timeout(timeout_s):
            while await self.num_keys() - before < frames:  # noqa: ASYNC110 - another process writes
                await asyncio.sleep(_LOOK_S)

    async def writes(self, cameras: Sequence[str]) -> list[Write]:
        """Return every label change of the cameras in the order of their times."""
        found = []
        for camera in cameras:
            for entry, fields in await self._client.xrange(redis_keys.labels(camera)):
                found.append(
                    Write(
                        int(entry.partition("-")[0]) / 1e3,
                        camera,
                        int(fields["seq"]),
                        fields["state"],
                        fields["source"],
                        int(fields["label"]),
                        int(fields["captured_ns"]),
                    )
                )
        return sorted(found, key=lambda write: write.written_s)

    async def flush(self) -> None:
        """Redis is empty."""
        await self._client.flushall()

    def sink(self, *, linger_ms: int = 2) -> Sink:
        """Return a producer as the project's own ones are; enter it."""
        return Sink(
            self.settings.kafka,
            max_request_bytes=8 << 20,
            max_in_flight_bytes=_IN_FLIGHT_BYTES,
            linger_ms=linger_ms,
        )

    def worker(
        self, role: str, cores: Sequence[int], *, program: Sequence[str] = ("-m", "saccade"), **flags: object
    ) -> WorkerProcess:
        """Return a worker of `role` (edge, serve), not started; `flags` are SECTION__KEY=value settings."""
        addresses = [
            *("--kafka", self.stack.bootstrap_servers, "--redis", self.stack.redis_url),
            *(
                part
                for key, value in flags.items()
                for part in ("--set", f"{key.replace('__', '.')}={value}")
            ),
        ]
        return WorkerProcess(self.run_dir, [*program, role, *addresses], cores)


class WorkerProcess:
    """One worker process on given cores; it ends with this process, however that ends."""

    def __init__(self, run_dir: Path, arguments: Sequence[str], cores: Sequence[int]) -> None:
        self.port = free_port()
        name = f"worker-{self.port}"
        pinned = [sys.executable, "-m", "lab.benchmarks.pinned", ",".join(str(core) for core in cores)]
        quiet = ["--set", "log.format=json", "--set", "log.level=warning"]
        command = [*pinned, *arguments, *quiet, "--metrics-port", str(self.port)]
        self._child = GuardedChild(name, command, run_dir / f"{name}.log", grace_s=30.0, held_fds=())

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def cpu_s(self) -> float:
        """Processor time so far."""
        return cpu_seconds(self.pid)

    async def start(self) -> None:
        """It runs and is ready: model warm, in its group."""
        await self._child.start_until(lambda: is_ready(self.port), _READY_TIMEOUT_S)

    async def stop(self) -> None:
        """It has drained and is gone."""
        await self._child.stop()

    async def metrics(self) -> MetricsReading:
        """Return what it exports now."""
        _, body = await get(self.port, "/metrics")
        return MetricsReading(body)


@asynccontextmanager
async def running(worker: WorkerProcess) -> AsyncIterator[None]:
    """The worker is ready within the block, and gone after it."""
    await worker.start()
    try:
        yield
    finally:
        await worker.stop()


class MetricsReading:
    """One reading of a worker's metrics."""

    def __init__(self, body: str) -> None:
        self._samples: dict[str, float] = {}
        for line in body.splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                self._samples[name] = float(value)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that carry the labels; `name` without the prefix."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            value
            for sample, value in self._samples.items()
            if sample.partition("{")[0] == f"saccade_{name}" and all(each in sample for each in wanted)
        )

    def mean(self, name: str, since: MetricsReading, **labels: str) -> float:
        """Return the mean of a histogram's observations since an earlier reading."""
        count = self.total(f"{name}_count", **labels) - since.total(f"{name}_count", **labels)
        total = self.total(f"{name}_sum", **labels) - since.total(f"{name}_sum", **labels)
        return total / count if count else 0.0

    def spent(self, name: str, since: MetricsReading, **labels: str) -> float:
        """Return the sum of a histogram's observations since an earlier reading."""
        return self.total(f"{name}_sum", **labels) - since.total(f"{name}_sum", **labels)

    def share_up_to(self, name: str, limit: str, since: MetricsReading) -> float:
        """Return which share of a histogram's observations since an earlier reading is at most `limit`."""
        count = self.total(f"{name}_count") - since.total(f"{name}_count")
        under = self.total(f"{name}_bucket", le=limit) - since.total(f"{name}_bucket", le=limit)
        return under / count if count else 1.0


@asynccontextmanager
async def testbed(name: str, **settings: object) -> AsyncIterator[Testbed]:
    """Yield a fresh stack under `runs/bench/{name}`; `settings` are SECTION__KEY=value overrides."""
    run_dir = FOLDER / name
    shutil.rmtree(run_dir, ignore_errors=True)
    run_dir.mkdir(parents=True)
    # A new topic's first moments and a worker's leaving are no news here.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    async with embedded_stack(run_dir / "stack", topics=False) as stack:
        tree: dict[str, Any] = {
            "kafka": {"bootstrap_servers": stack.bootstrap_servers},
            "redis": {"url": stack.redis_url},
        }
        for key, value in settings.items():
            section, _, leaf = key.partition("__")
            tree.setdefault(section, {})[leaf] = value
        checked = load_settings(None, tree)
        await create_topics(checked.kafka, pipeline_topics(checked))
        client = redis.asyncio.from_url(stack.redis_url, decode_responses=True)
        try:
            yield Testbed(run_dir, stack, checked, client)
        finally:
            await client.aclose()


def rate_of(writes: Sequence[Write]) -> float:
    """Return frames per second between batches of writes, the first tenth of them left out.

    Counted from the end of one batch to the end of the last, so that no part of a batch is cut.
    """
    times = sorted(write.written_s for write in writes)
    begin_s = times[len(times) // 10]
    after = [each for each in times if each > begin_s]
    if not after:
        raise ValueError(f"{len(times)} labels came all at once: no rate")
    return len(after) / (after[-1] - begin_s)


async def paced(rate: float, count: int, send: Any) -> None:
    """Call `send(index, due_ns)` `count` times, at constant intervals whatever the answers take.

    `due_ns` (UTC) is when the call was due; one that is late is made at once and keeps its due time.
    """
    begin_s, begin_ns = time.perf_counter(), time.time_ns()
    for index in range(count):
        wait_s = begin_s + index / rate - time.perf_counter()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        await send(index, begin_ns + int(index / rate * 1e9))
