"""A seeded script of faults over a whole pipeline; a witness and an audit beside it say what that did.

It runs where it is told how long, as by `make chaos`:

    SACCADE_CHAOS_S=780 SACCADE_CHAOS_SEED=1 python -m pytest -q -s tests/pipeline/test_chaos.py

What it can do to one machine's stack stands in `Faults`. A seed that fails is run again with its number.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import zstandard
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from devstack import EmbeddedStack
from runtime.kafka_admin import create_topics, pipeline_topics, read_all
from runtime.redis_store import RedisStore
from schemas.errors import TransientError
from schemas.frame import decode_frame
from schemas.label import State
from schemas.topics import dead_topic

DURATION_S = float(os.environ.get("SACCADE_CHAOS_S", "0"))
SEED = int(os.environ.get("SACCADE_CHAOS_SEED", "7"))
pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(DURATION_S + 500),
    pytest.mark.skipif(DURATION_S == 0, reason="takes minutes: make chaos"),
]
RECOVERY_S = 15.0
OUTAGE_S = 3.0
STORIES = ([State.FINAL], [State.PROVISIONAL], [State.PROVISIONAL, State.FINAL])


@dataclass
class Faults:
    """What is done to the pipeline; each returns when its cause is over."""

    stack: EmbeddedStack
    pipeline: Any
    edge: Any
    server: Any
    producer: Any
    rng: random.Random
    num_poison: int = 0
    recreated: bool = False
    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.settings = self.pipeline.settings

    def named(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Every fault by its name."""
        return {
            "edge killed": lambda: self._restarted(self.edge),
            "server killed": lambda: self._restarted(self.server),
            "producer killed": lambda: self._restarted(self.producer),
            "edge stopped for a while": lambda: self._stopped(self.edge),
            "server stopped for a while": lambda: self._stopped(self.server),
            "broker killed": self._broker,
            "redis killed": self._redis,
            "redis out of memory": lambda: self._redis_config("maxmemory", "1", "0"),
            "redis read only": self._redis_replica,
            "redis password changed": lambda: self._redis_config("requirepass", "other", ""),
            "redis busy": self._redis_busy,
            "offload made anew": self._offload_anew,
            "offload grows": self._offload_grows,
            "poison": self._poison,
            "rebalances": self._rebalances,
        }

    async def _restarted(self, worker: Any) -> None:
        await worker.kill()
        await worker.start()

    async def _stopped(self, worker: Any) -> None:
        os.kill(worker._process.pid, signal.SIGSTOP)
        await asyncio.sleep(2 * OUTAGE_S)
        os.kill(worker._process.pid, signal.SIGCONT)

    async def _broker(self) -> None:
        await self.stack.kill_kafka()
        await self.stack.start_kafka()

    async def _redis(self) -> None:
        await self.stack.kill_redis()
        await self.stack.start_redis()

    async def _redis_config(self, key: str, bad: str, good: str) -> None:
        client: Any
        async with redis.asyncio.Redis.from_url(self.stack.redis_url) as client:
            await client.config_set(key, bad)
            await asyncio.sleep(OUTAGE_S)
            if key == "requirepass":
                await client.execute_command("AUTH", bad)
            await client.config_set(key, good)

    async def _redis_replica(self) -> None:
        client: Any
        async with redis.asyncio.Redis.from_url(self.stack.redis_url) as client:
            await client.execute_command("REPLICAOF", "127.0.0.1", "1")
            await asyncio.sleep(OUTAGE_S)
            await client.execute_command("REPLICAOF", "NO", "ONE")

    async def _redis_busy(self) -> None:
        busy = "local till = redis.call('TIME')[1] + 4 while redis.call('TIME')[1] + 0 < till do end"
        async with redis.asyncio.Redis.from_url(self.stack.redis_url, socket_timeout=20.0) as client:
            await client.eval(busy, 0)

    async def _offload_anew(self) -> None:
        self.recreated = True
        admin = AIOKafkaAdminClient(bootstrap_servers=self.stack.bootstrap_servers)
        await admin.start()
        try:
            await admin.delete_topics([self.settings.offload_topic])
        finally:
            await admin.close()
        await asyncio.sleep(OUTAGE_S)
        spec = pipeline_topics(self.settings)[2]
        while spec.name not in await create_topics(self.settings.kafka, [spec]):  # noqa: ASYNC110 - still going
            await asyncio.sleep(0.1)

    async def _offload_grows(self) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.stack.bootstrap_servers)
        await admin.start()
        try:
            (topic,) = await admin.describe_topics([self.settings.offload_topic])
            total = len(topic["partitions"]) + 2
            await admin.create_partitions({self.settings.offload_topic: NewPartitions(total)})
        finally:
            await admin.close()

    async def _poison(self) -> None:
        """Bytes that are no frame, an empty frame, a bomb: one dead letter each."""
        for codec, value in (
            (None, b"\xff" * 100),
            ("gzip", bytes(32 << 20)),
            (None, zstandard.compress(b"")),
        ):
            async with AIOKafkaProducer(
                bootstrap_servers=self.stack.bootstrap_servers,
                compression_type=codec,
                max_request_size=64 << 20,
            ) as producer:
                partition = self.rng.randrange(self.settings.topics.partitions)
                await producer.send_and_wait(self.settings.topics.frames, value, partition=partition)
                self.num_poison += 1

    async def _rebalances(self) -> None:
        for _ in range(2):
            other = self.pipeline.worker("edge")
            await other.start()
            await other.stop()


async def labelled_after(settings: Any, since_ns: int, timeout_s: float) -> float:
    """Seconds from `since_ns` to the first label of a frame captured after it."""
    async with asyncio.timeout(timeout_s), RedisStore(settings.redis) as store:
        while True:
            with suppress(TransientError):
                for camera in await store.cameras():
                    label = await store.latest(camera)
                    if label is not None and label.captured_ns > since_ns:
                        return (label.labelled_ns - since_ns) / 1e9
            await asyncio.sleep(0.05)


def rss_mb(worker: Any) -> float:
    for line in Path(f"/proc/{worker._process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


async def test_a_script_of_faults_leaves_every_frame_with_one_state_and_no_final_label_changed(
    tree: dict[str, Any], site: Any, tmp_path: Path
) -> None:
    rng = random.Random(SEED)
    stack = EmbeddedStack(tmp_path / "stack", data=tmp_path / "data", open_redis=True)
    await stack.start()
    try:
        tree["kafka"]["bootstrap_servers"] = stack.bootstrap_servers
        tree["redis"]["url"] = stack.redis_url
        tree["topics"] = {"partitions": 4}
        async with site(tree) as pipeline:
            settings = pipeline.settings
            await create_topics(settings.kafka, pipeline_topics(settings))
            edge, server = pipeline.worker("edge"), pipeline.worker("serve")
            producer = pipeline.producer(num_cameras=3, fps=2.0)
            faults = Faults(stack, pipeline, edge, server, producer, rng)
            async with asyncio.TaskGroup() as group:
                for worker in (edge, server, producer):
                    group.create_task(worker.start())
            await labelled_after(settings, time.time_ns(), 60.0)
            before_mb = {"edge": rss_mb(edge), "server": rss_mb(server)}
            began_s = time.monotonic()
            script: list[tuple[str, Callable[[], Awaitable[None]]]] = []
            while time.monotonic() - began_s < DURATION_S:
                if not script:
                    script = list(faults.named().items())
                    rng.shuffle(script)
                name, fault = script.pop()
                await fault()
                seconds = await labelled_after(settings, time.time_ns(), 60.0)
                faults.times[name].append(seconds)
                print(f"{name}: labels again after {seconds:.1f} s", flush=True)  # noqa: T201 - with -s
            after_mb = {"edge": rss_mb(edge), "server": rss_mb(server)}
            await producer.stop()
            await pipeline.drained(180.0)
            await audit(faults)
    finally:
        await stack.kill()
    print(f"seed {SEED}: memory in MB {before_mb} -> {after_mb}")  # noqa: T201 - with -s
    slow = {name: max(each) for name, each in faults.times.items() if max(each) > RECOVERY_S}
    assert slow == {}, f"seed {SEED}"


async def audit(faults: Faults) -> None:
    """Every frame has a state, no story is other than the allowed ones, each poison is one dead letter."""
    settings = faults.settings
    frames, num_poison = set(), 0
    async for record in read_all(settings.kafka, settings.topics.frames):
        try:
            frame = decode_frame(record.value, max_frame_bytes=10**7, max_frame_pixels=10**8)
        except ValueError:
            num_poison += 1
        else:
            frames.add((frame.camera, frame.seq))
    num_dead = len([None async for _ in read_all(settings.kafka, dead_topic(settings.topics.frames))])
    stories = defaultdict(list)
    async with RedisStore(settings.redis) as store:
        labels = dict(zip(sorted(frames), await store.get_many(sorted(frames)), strict=True))
        for camera in {camera for camera, _ in frames}:
            async for label in store.history(camera):
                stories[label.camera, label.seq].append(label.state)
    missing = {frame for frame, label in labels.items() if label is None}
    odd = {frame: story for frame, story in stories.items() if story not in STORIES}
    provisional = sum(label is not None and label.state is State.PROVISIONAL for label in labels.values())
    print(  # noqa: T201 - with -s
        f"seed {SEED}: {len(frames)} frames, {len(missing)} without a state, {len(odd)} odd stories, "
        f"{provisional} provisional, {num_dead} dead letters of {faults.num_poison} poison"
    )
    assert (missing, odd) == (set(), {})
    assert num_poison == faults.num_poison <= num_dead
    assert provisional == 0 or faults.recreated
