"""The contestants of the peers' benchmark: each answers every frame of one recorded stream, turn by turn."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from devstack.demo.processes import free_port
from lab.benchmarks.environments import python_of
from lab.benchmarks.http_load import answers, classify_all
from lab.benchmarks.machine import cores, cpu_seconds, tree_cpu_seconds
from lab.benchmarks.models import BenchModel
from lab.benchmarks.recorded import FPS, Shot, frame_record
from lab.benchmarks.testbed import FOLDER, Testbed, WorkerProcess
from schemas.operating_point import OperatingPoint
from schemas.topics import frames_partition

_LIMIT_S = 240.0
_LOOK_S = 0.1
_CALM_S = 3.0
"""Many times what an ask takes from the edge to its answer's label."""
Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Clip:
    """What everyone gets: `shots` of `names`, the cameras, each with its own numbers from 0."""

    streams: list[list[Shot]]

    @property
    def frames(self) -> list[tuple[Key, Shot]]:
        """All frames, cameras in turn."""
        length = len(self.streams[0])
        return [
            ((f"cam{index:02}", seq), stream[seq])
            for seq in range(length)
            for index, stream in enumerate(self.streams)
        ]

    def turn(self, number: int) -> list[tuple[Key, Shot]]:
        """All frames, as those of other cameras in every turn."""
        return [((f"turn{number}-{camera}", seq), shot) for (camera, seq), shot in self.frames]


@dataclass(frozen=True, slots=True)
class Result:
    """One turn of one contestant: seconds for the clip, bytes for the server, processor seconds, labels."""

    name: str
    seconds: float
    sent_bytes: float
    server_cpu_s: float
    all_cpu_s: float
    labels: dict[Key, int]

    @property
    def rate(self) -> float:
        return len(self.labels) / self.seconds

    def accuracy(self, clip: Clip) -> float:
        """Return the share of scored frames whose answer is right."""
        scored = [(key, shot.truth) for key, shot in clip.frames if shot.truth >= 0]
        return sum(self.labels.get(key) == truth for key, truth in scored) / len(scored)


Turn = Callable[[], Awaitable[Result]]
"""The contestant's result of the whole clip. The first turn is for warming up: a young broker spends as much time
compiling itself. Between its turns a contestant stands still: LitServe's workers poll, Saccade's have timers."""
_SESSION_MS = 120_000
"""Saccade's workers stay in their groups while they stand still."""
_AWAKE_S = 2.5
"""After standing still, until leases are renewed and servers heard again."""


@asynccontextmanager
async def saccade(
    bed: Testbed, clip: Clip, edge: BenchModel, server: BenchModel, how: Mapping[str, Any]
) -> AsyncIterator[Turn]:
    """Yield turns of Saccade's server worker and an edge worker a core, one thread each.

    `how` is what the edges' settings are beside, as of `believing` or `gated`.
    """
    edge_workers = [_edge_worker(bed, edge, how) for _ in cores()]
    server_worker = bed.worker(
        *("serve", cores()),
        server__model=server.path,
        server__threads=1,
        server__decode_threads=1,
        kafka__session_timeout_ms=_SESSION_MS,
    )
    workers, numbers = (*edge_workers, server_worker), itertools.count()

    async def turn() -> Result:
        frames = clip.turn(next(numbers))
        _signal(workers, signal.SIGCONT)
        await asyncio.sleep(_AWAKE_S)
        cpu_s, sent_bytes = [worker.cpu_s for worker in workers], await _sent_bytes(edge_workers)
        labelled, began = await bed.num_keys(), time.time()
        await publish(bed, frames)
        ended_s, labels = await _final(bed, frames, labelled)
        spent_s = [worker.cpu_s - used for worker, used in zip(workers, cpu_s, strict=True)]
        sent_bytes = await _sent_bytes(edge_workers) - sent_bytes
        _signal(workers, signal.SIGSTOP)
        return Result("Saccade", ended_s - began, sent_bytes, spent_s[-1], sum(spent_s), labels)

    try:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.start())
        try:
            yield turn
        finally:
            _signal(workers, signal.SIGCONT)
    finally:
        async with asyncio.TaskGroup() as group:
            for worker in workers:
                group.create_task(worker.stop())


def _signal(workers: Sequence[WorkerProcess], number: signal.Signals) -> None:
    for worker in workers:
        os.kill(worker.pid, number)


def _edge_worker(bed: Testbed, edge: BenchModel, how: Mapping[str, Any]) -> WorkerProcess:
    return bed.worker(
        *("edge", cores()),
        edge__model=edge.path,
        edge__threads=1,
        edge__decode_threads=1,
        edge__max_latency_ms=300_000,
        edge__max_frame_age_s=600,
        kafka__session_timeout_ms=_SESSION_MS,
        **how,
    )


def believing(*, stillness: str) -> dict[str, Any]:
    """Return how edges judge by their cameras' beliefs, with the shipped frontier and more bytes than they need."""
    return {"budget__rate": "1gbit", "edge__stillness": stillness}


def gated(point: OperatingPoint) -> dict[str, Any]:
    """Return how edges judge each frame by itself, at this point."""
    return {
        "edge__tau": point.tau,
        "edge__delta": point.delta,
        "edge__min_patches": point.min_patches,
        "edge__selection": point.selection,
        "edge__codec": point.codec,
        "edge__quality": point.quality,
    }


async def _sent_bytes(edge_workers: Sequence[WorkerProcess]) -> float:
    return sum([(await worker.metrics()).total("uplink_bytes_total") for worker in edge_workers])


async def publish(bed: Testbed, frames: Sequence[tuple[Key, Shot]]) -> None:
    """All frames are in `frames`, as fast as the broker takes them, as files of cameras with `FPS` frames a second."""
    partitions, began_ns = bed.settings.topics.partitions, time.time_ns()
    async with bed.sink() as sink:
        for (camera, seq), shot in frames:
            value = frame_record(shot, camera, seq, began_ns + int(seq / FPS * 1e9))
            await sink.send("frames", value, partition=frames_partition(camera, partitions))


async def _final(
    bed: Testbed, frames: Sequence[tuple[Key, Shot]], labelled: int
) -> tuple[float, dict[Key, int]]:
    """Return when the last label of the frames was written, and all of them; `labelled` were there before.

    A camera that stops in doubt leaves its last frames with a provisional label: nothing more comes of them. So it is
    over when every frame has its final label, or when each has one and none was written for a while.
    Looking at labels takes processor time that the workers lack: until all frames have one they are counted.
    """
    cameras = sorted({camera for (camera, _), _ in frames})
    await bed.labelled(labelled, len(frames), _LIMIT_S)
    async with asyncio.timeout(_LIMIT_S):
        while True:
            writes = await bed.writes(cameras)
            num_final = sum(write.state == "final" for write in writes)
            ended_s = writes[-1].written_s
            if num_final >= len(frames) or ended_s < time.time() - _CALM_S:
                return ended_s, {_key(write.camera, write.seq): write.label for write in writes}
            await asyncio.sleep(_LOOK_S)


def _key(camera: str, seq: int) -> Key:
    """The clip's own name of a frame of a turn."""
    return camera.partition("-")[2], seq


@asynccontextmanager
async def litserve(clip: Clip, server: BenchModel, engine: str) -> AsyncIterator[Turn]:
    """Yield turns of LitServe with one worker of one thread a core; whole camera JPEGs over HTTP."""
    port, folder = free_port(), FOLDER / "peers"
    command = [
        str(python_of("litserve")),
        "-m",
        "lab.benchmarks.rivals.litserve_server",
        str(port),
        server.path,
    ]
    with (folder / f"litserve-{engine}.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            str(len(cores())),
            engine,
            stdin=asyncio.subprocess.PIPE,  # the server and its workers end when this closes
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdin is not None

    async def turn() -> Result:
        os.killpg(process.pid, signal.SIGCONT)
        cpu_s, began_s = tree_cpu_seconds(process.pid), time.perf_counter()
        labels, sent = await classify_all(port, [shot.image for _, shot in clip.frames])
        seconds, cpu_s = time.perf_counter() - began_s, tree_cpu_seconds(process.pid) - cpu_s
        os.killpg(process.pid, signal.SIGSTOP)
        by_key = {key: label for (key, _), label in zip(clip.frames, labels, strict=True)}
        return Result(f"LitServe, {engine} engine", seconds, sent, cpu_s, cpu_s, by_key)

    try:
        async with asyncio.timeout(_LIMIT_S):
            while not await answers(port):
                if process.returncode is not None:
                    raise RuntimeError(f"LitServe has ended with status {process.returncode}: see {log.name}")
                await asyncio.sleep(_LOOK_S)
        yield turn
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGCONT)
        process.stdin.close()
        await process.wait()


@asynccontextmanager
async def plain(bed: Testbed, clip: Clip, server: BenchModel) -> AsyncIterator[Turn]:
    """Yield turns of an aiokafka consumer that classifies one whole frame at a time, with as many threads as pay."""
    arguments = [bed.stack.bootstrap_servers, bed.stack.redis_url, server.path, str(len(cores()))]
    process = await asyncio.create_subprocess_exec(
        *(str(python_of("plain")), "-m", "lab.benchmarks.rivals.plain_consumer", *arguments),
        str(len(clip.frames)),
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 22,
    )
    lines = process.stdout
    assert lines is not None
    try:
        threads = json.loads(await lines.readline())["threads"]
        name, numbers = f"plain consumer, {threads} thread{'s' if threads > 1 else ''}", itertools.count()

        async def turn() -> Result:
            cpu_s, began_s = cpu_seconds(process.pid), time.perf_counter()
            await publish(bed, clip.turn(next(numbers)))
            answer = json.loads(await lines.readline())["labels"]
            seconds, cpu_s = time.perf_counter() - began_s, cpu_seconds(process.pid) - cpu_s
            sent = sum(len(shot.image) for _, shot in clip.frames)
            labels = {_key(camera, seq): label for camera, seq, label in answer}
            return Result(name, seconds, sent, cpu_s, cpu_s, labels)

        yield turn
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
