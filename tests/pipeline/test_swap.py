"""Another pair for running workers: no frame without a label, no record refused, and a way back."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import runtime.deployment
from devstack.in_memory import MemorySite
from devstack.selftest import rendered_frames
from devstack.settings import Settings, load_settings
from edge_workers.worker import run_edge
from runtime.kafka_sink import Sink
from runtime.redis_store import RedisStore
from saccade.commands.models import pair_of, started_with
from schemas.deployment import Deployment, Pair, Role, WorkerModels
from schemas.frame import Frame, encode_frame
from schemas.label import AnswerSource, LabelState
from server_workers.worker import run_server

TIMEOUT_S = 60.0
MOST_UNANSWERED = 24
NEW_CLASSES = ("seven", "new", "classes", "in", "another", "order", "here")


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Two frames each of three cameras, in turn."""
    return rendered_frames(num_cameras=3, frames_a_camera=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair of other classes than the tiny model's."""
    from vit.architecture import Architecture
    from vit.model import random_model
    from vit.weights import ROLES, file_of, save_model

    made = tmp_path_factory.mktemp("pair")
    for seed, role in enumerate(ROLES, 7):
        shape = Architecture(embed_dim=48, depth=2, num_heads=3, mlp_ratio=2.0, num_classes=len(NEW_CLASSES))
        model = random_model(shape, seed=seed)
        path = file_of(made, role)
        save_model(path, model.vit, name=f"new {role}", mean=model.mean, std=model.std, classes=NEW_CLASSES)
    return made


@pytest.fixture
def settings(tiny_model: Path) -> Settings:
    """Every frame is asked about, so that each label shows both models at work."""
    model = {"model": str(tiny_model), "threads": 1, "dtype": "float32"}
    edge = {**model, "tau": 0, "max_latency_ms": 600_000, "max_frame_age_s": 600, "batch_frames": 4}
    return load_settings(None, {"edge": edge, "server": model}, {})


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.deployment, "BEAT_S", 0.05)


@asynccontextmanager
async def load(site: MemorySite, frames: list[Frame]) -> AsyncIterator[None]:
    """Frames come without a pause while the context is open, as fast as they are answered."""

    async def put() -> None:
        turn = 0
        while True:
            finals = [label for label in (await site.labels()).values() if label.state is LabelState.FINAL]
            if len(site.frames) - len(finals) < MOST_UNANSWERED:
                site.put([replace(frame, seq=1_000 * turn + frame.seq) for frame in frames])
                turn += 1
            await asyncio.sleep(0.02)

    putting = asyncio.create_task(put())
    try:
        yield
    finally:
        putting.cancel()
        await asyncio.wait([putting])


async def when(site: MemorySite, holds: Callable[[list[WorkerModels]], bool]) -> list[WorkerModels]:
    """What the workers tell, once it is so."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            workers = await site.store.read_models()
            if workers and holds(workers):
                return workers
            await asyncio.sleep(0.02)


async def seen_by(site: MemorySite, names: tuple[str, ...]) -> None:
    """The server has answered a frame in these classes from now on."""
    async with asyncio.timeout(TIMEOUT_S):
        async for label in await site.store.watch():
            if label.source is AnswerSource.SERVER and label.name in names:
                return


def in_force(generation: int) -> Callable[[list[WorkerModels]], bool]:
    def holds(workers: list[WorkerModels]) -> bool:
        return all(each.generation == generation and not each.trouble for each in workers)

    return holds


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_a_pair_of_other_classes_is_taken_under_load_and_given_back(
    settings: Settings, frames: list[Frame], folder: Path
) -> None:
    old = tuple(f"class {index}" for index in range(5))
    site = MemorySite(settings)
    async with site.running(edges=2, servers=2):
        async with load(site, frames):
            workers = await when(site, lambda workers: len(workers) == 4)
            await seen_by(site, old)
            deployment = Deployment(1, pair_of(folder), started_with(workers))
            await site.store.deploy(deployment)
            await when(site, in_force(1))
            await seen_by(site, NEW_CLASSES)
            async with site.edge(), site.server():  # who comes later begins with what is deployed
                await when(site, lambda workers: len(workers) == 6 and in_force(1)(workers))
            await site.store.deploy(deployment.taken_back())
            await when(site, in_force(2))
            await seen_by(site, old)
        labels = await site.settled(TIMEOUT_S)
    assert site.refusals() == {}
    assert set(labels) == site.frames
    assert {(label.state, label.source) for label in labels.values()} == {
        (LabelState.FINAL, AnswerSource.SERVER)
    }
    for camera in await site.store.cameras():
        by_frame: dict[int, list[str]] = {}
        async for label in site.store.history(camera):
            by_frame.setdefault(label.seq, []).append(label.name)
        for names in by_frame.values():
            assert set(names) <= set(old) or set(names) <= set(NEW_CLASSES), (
                "both models of one frame are a pair"
            )


@pytest.mark.parametrize(
    "change", [{"server_hash": "f" * 32}, {"edge_hash": "f" * 32}, {"folder": "/nowhere"}]
)
async def test_a_pair_that_is_not_what_was_deployed_leaves_the_old_one_at_work(
    settings: Settings, frames: list[Frame], folder: Path, change: dict[str, str]
) -> None:
    site = MemorySite(settings)
    async with site.running():
        workers = await when(site, lambda workers: len(workers) == 2)
        before = {each.worker: each.weights for each in workers}
        wrong = replace(pair_of(folder), **change)
        await site.store.deploy(Deployment(1, wrong, Pair("")))
        told = await when(site, lambda workers: any(each.failed for each in workers))
        site.put(frames)
        labels = await site.settled(TIMEOUT_S)
        told = await when(
            site, lambda workers: all(each.trouble for each in workers) or "edge_hash" in change
        )
    assert {each.worker: each.weights for each in told if each.role is Role.EDGE}.items() <= before.items()
    assert {label.name for label in labels.values()} <= {f"class {index}" for index in range(5)}
    assert site.refusals() == {}


async def saccade(*arguments: str) -> tuple[int | None, str]:
    """Return the status and the output of a command."""
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "saccade", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1"},
    )
    out, _ = await command.communicate()
    return command.returncode, out.decode()


@pytest.mark.stack
@pytest.mark.timeout(240)
async def test_the_command_deploys_a_pair_and_takes_it_back(
    pipeline: Settings, unique: Callable[[str], str], frames: list[Frame], folder: Path
) -> None:
    # In a database of its own: workers of other tests would follow the deployment.
    redis = pipeline.redis.model_copy(update={"url": pipeline.redis.url.removesuffix("/0") + "/8"})
    settings = pipeline.model_copy(update={"redis": redis})
    camera, stop = unique("camera"), asyncio.Event()
    sink = Sink(settings.kafka, max_request_bytes=1 << 20, max_in_flight_bytes=1 << 20)

    async def label_of(seq: int) -> str:
        """The final label of a new frame."""
        frame = replace(frames[0], camera=camera, seq=seq, captured_ns=time.time_ns())
        await (await sink.send(settings.topics.frames, encode_frame(frame), partition=0))
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                found = await store.get(camera, seq)
                if found is not None and found.state is LabelState.FINAL:
                    return found.name
                await asyncio.sleep(0.05)

    async with sink, RedisStore(redis) as store, asyncio.TaskGroup() as group:
        for worker in (run_edge, run_server):
            group.create_task(worker(settings, stop))
        async with asyncio.timeout(TIMEOUT_S):
            while len(await store.read_models()) < 2:  # noqa: ASYNC110 - a store tells nobody who comes
                await asyncio.sleep(0.05)
        assert await label_of(1) not in NEW_CLASSES
        status, out = await saccade("models", "deploy", str(folder), "--redis", redis.url)
        assert (status, out.count("runs it")) == (0, 2), out
        assert await label_of(2) in NEW_CLASSES
        status, out = await saccade("models", "--json", "--redis", redis.url)
        told = [json.loads(line) for line in out.splitlines()]
        assert {(each["role"], each["model"], each["generation"]) for each in told} == {
            ("edge", "new edge", 1),
            ("server", "new server", 1),
        }
        status, out = await saccade("models", "back", "--redis", redis.url)
        assert status == 0, out
        assert await label_of(3) not in NEW_CLASSES
        stop.set()
