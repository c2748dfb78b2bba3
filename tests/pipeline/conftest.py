"""What tests of the whole pipeline share: real `saccade` processes, a witness and the evidence they left."""
# ruff: noqa: ASYNC110 - neither Kafka nor a metric tells when it has what a test waits for

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devstack.demo.probe import counters
from devstack.settings import Settings, load_settings
from runtime.kafka_admin import read_all
from runtime.kafka_lag import group_lag
from runtime.redis_store import RedisStore
from schemas.frame import decode_frame
from schemas.label import AnswerSource, Label, LabelState
from schemas.offload import decode_offload
from schemas.topics import dead_topic
from tests.pipeline.processes import FIRST_SEED, ForkedWorker, scenes, toml_of

FrameId = tuple[str, int]
ALLOWED_STORIES = ([LabelState.FINAL], [LabelState.PROVISIONAL], [LabelState.PROVISIONAL, LabelState.FINAL])


@dataclass
class Evidence:
    """What a run left: frames and offload records in Kafka, label streams and label keys in Redis."""

    frames: set[FrameId] = field(default_factory=set)
    offloads: list[tuple[FrameId, int]] = field(default_factory=list)
    stories: dict[FrameId, list[Label]] = field(default_factory=lambda: defaultdict(list))
    labels: dict[FrameId, Label] = field(default_factory=dict)
    num_dead: int = 0

    @property
    def repeated_bytes(self) -> int:
        """Bytes of offload records whose frame had one before."""
        seen: set[FrameId] = set()
        total = 0
        for frame, num_bytes in self.offloads:
            total += num_bytes if frame in seen else 0
            seen.add(frame)
        return total

    def check_promises(self) -> None:
        """Every frame has a state, every offloaded one the server's; no final label ever changed."""
        assert self.num_dead == 0
        assert self.frames - set(self.labels) == set(), "frames without a state"
        for frame, story in self.stories.items():
            assert [label.state for label in story] in ALLOWED_STORIES, f"{frame}: {story}"
            assert story[-1] == self.labels[frame]
        assert set(self.stories) == set(self.labels)
        not_final = {
            frame: self.labels[frame]
            for frame, _ in self.offloads
            if (self.labels[frame].state, self.labels[frame].source)
            != (LabelState.FINAL, AnswerSource.SERVER)
        }
        assert not_final == {}, "offloaded frames without the server's final label"
        provisional = {frame for frame, label in self.labels.items() if label.state is LabelState.PROVISIONAL}
        assert provisional == set(), "frames whose record never reached the topic"


class Witness:
    """Follows the label streams, as any reader would, through every outage."""

    def __init__(self) -> None:
        self._finals: list[Label] = []
        self._more = asyncio.Event()

    async def follow(self, store: RedisStore) -> None:
        """Note the server's final labels until cancelled."""
        async for label in await store.watch(None):
            if label.source is AnswerSource.SERVER and label.state is LabelState.FINAL:
                self._finals.append(label)
                self._more.set()

    async def recovery_s(self, since_ns: int, timeout_s: float) -> float:
        """Return the seconds from `since_ns` to the first final label of a frame captured after it."""
        async with asyncio.timeout(timeout_s):
            while True:
                found = [each.labelled_ns for each in self._finals if each.captured_ns > since_ns]
                if found:
                    return (min(found) - since_ns) / 1e9
                self._more.clear()
                await self._more.wait()


class Site:
    """A pipeline of `saccade` processes under one settings file."""

    def __init__(self, folder: Path, tree: dict[str, Any]) -> None:
        self.settings: Settings = load_settings(None, tree, environ={})
        self.folder = folder
        self._config = folder / "saccade.toml"
        self._config.write_text(toml_of(tree))
        self._workers: list[ForkedWorker] = []

    def worker(self, *arguments: str) -> ForkedWorker:
        """Return a process, not started: `arguments` are the command and its flags."""
        worker = ForkedWorker([*arguments, "--config", str(self._config)])
        self._workers.append(worker)
        return worker

    def producer(self, num_cameras: int, fps: float) -> ForkedWorker:
        """Return the process of so many rendered cameras."""
        cameras = [
            part for index in range(num_cameras) for part in ("--camera", f"cam{index}={scenes(index)}")
        ]
        return self.worker("produce", "--fps", str(fps), *cameras)

    async def stop(self) -> None:
        """No process is left."""
        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(worker.kill())

    async def drained(self, timeout_s: float) -> None:
        """Return when both groups have finished everything in their topics."""
        settings = self.settings
        async with asyncio.timeout(timeout_s), group_lag(settings.kafka) as lag:
            while await lag.of(settings.edge.group_id, settings.topics.frames) or await lag.of(
                settings.server.group_id, settings.offload_topic
            ):
                await asyncio.sleep(0.2)

    async def evidence(self) -> Evidence:
        """Return what Kafka and Redis hold now."""
        settings = self.settings
        found = Evidence()
        async for record in read_all(settings.kafka, settings.topics.frames):
            frame = decode_frame(record.value, max_frame_bytes=10**7, max_frame_pixels=10**8)
            found.frames.add((frame.camera, frame.seq))
        async for record in read_all(settings.kafka, settings.offload_topic):
            offload = decode_offload(record.value, max_offload_bytes=10**6)
            found.offloads.append(((offload.camera, offload.seq), len(record.value)))
        for topic in (settings.topics.frames, settings.offload_topic):
            found.num_dead += len([None async for _ in read_all(settings.kafka, dead_topic(topic))])
        async with RedisStore(settings.redis) as store:
            for camera in {camera for camera, _ in found.frames}:
                async for label in store.history(camera):
                    found.stories[label.camera, label.seq].append(label)
            ids = sorted(found.frames)
            for frame_id, newest in zip(ids, await store.get_many(ids), strict=True):
                if newest is not None:
                    found.labels[frame_id] = newest
        return found


async def repeated_bytes(edge: ForkedWorker) -> float:
    """Return the repeated offload bytes that an edge worker reports."""
    return sum((await counters(edge.metrics_port, "saccade_offload_repeated_bytes_total")).values())


@pytest.fixture(scope="session")
def tau(tiny_model: Path) -> float:
    """The min-entropy that the tiny model exceeds on about half of what the rendered cameras show."""
    from edge_workers.engine import EdgeEngine
    from edge_workers.settings import EdgeSettings
    from gating.entropy import min_entropy_bits
    from lab.scenes.stream import SceneStream
    from vit.preprocess import resize_crop

    crops = [
        resize_crop(image)
        for index in range(3)
        for image, _ in islice(SceneStream(FIRST_SEED + index, width=320, height=240, fps=0.5), 12)
    ]
    engine = EdgeEngine(EdgeSettings(model=str(tiny_model), threads=1, dtype="float32"))
    logits = np.concatenate([engine.classify(crop[None]).logits for crop in crops])
    return float(np.median(min_entropy_bits(logits)))


@pytest.fixture
def tree(tiny_model: Path, tau: float, tmp_path: Path) -> dict[str, Any]:
    """Settings without addresses: deadlines that no outage reaches, numbers that no batch changes."""
    model = {"model": str(tiny_model), "threads": 1, "dtype": "float32"}
    return {
        "kafka": {"session_timeout_ms": 6_000},
        "redis": {},
        "producer": {"state_dir": str(tmp_path / "state")},
        "edge": {**model, "tau": tau, "max_latency_ms": 600_000, "max_frame_age_s": 600},
        "server": model,
    }


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Any]]:
    """Makes a context manager from settings: a `Site` whose processes are gone at its end."""

    @asynccontextmanager
    async def make(tree: dict[str, Any]) -> AsyncIterator[Site]:
        site = Site(tmp_path, tree)
        try:
            yield site
        finally:
            await site.stop()

    yield make


@pytest.fixture
def witnessing() -> Callable[[Settings], Any]:
    """Makes a context manager from settings: a `Witness` that follows all labels inside it."""

    @asynccontextmanager
    async def make(settings: Settings) -> AsyncIterator[Witness]:
        witness = Witness()
        async with RedisStore(settings.redis) as store, asyncio.TaskGroup() as group:
            following = group.create_task(witness.follow(store))
            yield witness
            following.cancel()

    return make


@pytest.fixture
def reported_repeats() -> Callable[[Sequence[ForkedWorker]], Any]:
    """Sums the repeated offload bytes that edge workers report now."""

    async def total(edges: Sequence[ForkedWorker]) -> float:
        return sum([await repeated_bytes(edge) for edge in edges])

    return total


@pytest.fixture
def recovery_of(record_property: Callable[[str, object], None]) -> Callable[..., Any]:
    """Runs an outage, returns the seconds to the first server label of a frame captured since its begin."""

    async def measure(witness: Witness, name: str, outage: Callable[[], Any]) -> float:
        began_ns = time.time_ns()
        await outage()
        again_s = (time.time_ns() - began_ns) / 1e9
        seconds = await witness.recovery_s(began_ns, timeout_s=60.0)
        record_property(f"recovery_s {name}", round(seconds, 2))
        logging.getLogger("recovery").info("%s %.2f s, started again after %.2f s", name, seconds, again_s)
        return seconds

    return measure
