"""What a worker says about itself, asked over HTTP while it lives through an outage of its Redis."""
# ruff: noqa: ASYNC110 - a probe is asked again and again, nobody tells when its answer changes

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Self

import pytest

from devstack import EmbeddedStack
from devstack.demo.probe import get
from devstack.demo.processes import free_port
from devstack.settings import Settings
from edge_workers.worker import run_edge
from producers.camera import CameraSpec
from producers.run import run_producers
from runtime.kafka_admin import create_topics, pipeline_topics
from runtime.redis_store import RedisStore
from schemas.label import AnswerSource
from server_workers.worker import run_server

pytestmark = pytest.mark.stack
WAIT_S = 60.0
FRAMES = 6

CONSUMER = {
    "consumer_lag",
    "consumer_last_progress_timestamp_seconds",
    "consumer_records_total",
    "consumer_partitions",
    "rebalances_total",
    "consumer_missed_total",
    "queue_seconds_count",
    "compute_seconds_count",
    "batch_size_count",
    "stage_seconds_count",
    "labels_total",
    "redis_write_seconds_count",
    "redis_up",
    "clock_offset_seconds",
    "loop_lag_seconds_count",
    "process_state",
}
EDGE = CONSUMER | {
    "frames_total",
    "gate_score_count",
    "patches_kept_count",
    "offload_record_bytes_count",
    "offload_records_total",
    "offload_bytes_total",
    "offload_repeated_bytes_total",
    "uplink_bytes_total",
    "queue_items",
    "queue_bytes",
    "tau_bits",
    "delta",
    "codec_quality",
    "controller_state",
}
SERVER = CONSUMER | {
    "server_records_total",
    "offload_age_seconds_count",
    "batch_tokens_count",
    "server_tokens_total",
}


class Door:
    """A way to Redis that can be shut: connections through it end, new ones are refused."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = free_port()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        """Shut at first."""
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.shut()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def shut(self) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for writer in self._open:
            writer.transport.abort()
        await server.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        ends = {writer, far_writer}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(copied(reader, far_writer))
                group.create_task(copied(far_reader, writer))
        finally:
            self._open -= ends


async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


def changed(settings: Settings, **sections: dict[str, Any]) -> Settings:
    """Return the settings with other values in some sections."""
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()}
    )


@asynccontextmanager
async def running(
    worker: Callable[[Settings, asyncio.Event], Coroutine[None, None, None]], settings: Settings
) -> AsyncIterator[None]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(worker(settings, stop))
        yield
        stop.set()


async def until(port: int, path: str, status: int, *causes: str) -> dict[str, Any]:
    """Return the answer once it has this status and names these causes."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found, body = await get(port, path)
            if found == status:
                answer: dict[str, Any] = json.loads(body)
                if all(any(cause in told for told in answer["causes"]) for cause in causes):
                    return answer
            await asyncio.sleep(0.02)


async def until_counted(port: int, name: str, least: float) -> None:
    """Return once the samples of one metric sum up to `least`."""
    async with asyncio.timeout(WAIT_S):
        while total((await get(port, "/metrics"))[1], name) < least:
            await asyncio.sleep(0.02)


async def until_named(port: int, promised: set[str]) -> None:
    """Return once every promised metric has a sample."""
    missing = promised
    try:
        async with asyncio.timeout(WAIT_S):
            while missing := promised - names_of((await get(port, "/metrics"))[1]):
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"without a sample: {sorted(missing)}")


def total(exposition: str, name: str) -> float:
    lines = [line for line in exposition.splitlines() if line.partition(" ")[0].partition("{")[0] == name]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def names_of(exposition: str) -> set[str]:
    lines = [line for line in exposition.splitlines() if line and not line.startswith("#")]
    return {line.partition(" ")[0].partition("{")[0].removeprefix("saccade_") for line in lines}


async def publish(settings: Settings, camera: str) -> None:
    spec = CameraSpec.parse(f"{camera}=scenes:2900000011?width=320&height=240", fps=0, limit=FRAMES)
    summary = await run_producers(changed(settings, metrics={"port": None}), [spec], stop=asyncio.Event())
    assert summary.published == FRAMES


@pytest.mark.parametrize(
    ("worker", "counted", "promised"),
    [
        (run_edge, "saccade_offload_bytes_total", EDGE),
        (run_server, "saccade_server_records_total", SERVER),
    ],
    ids=["edge", "server"],
)
async def test_probes_and_metrics_tell_start_work_outage_recovery_and_end(
    pipeline: Settings,
    stack: EmbeddedStack,
    unique: Callable[[str], str],
    worker: Callable[[Settings, asyncio.Event], Coroutine[None, None, None]],
    counted: str,
    promised: set[str],
) -> None:
    port, door = free_port(), Door(stack.redis.port)
    patient = changed(pipeline, edge={"max_latency_ms": 600_000, "max_frame_age_s": 600.0})
    behind_door = changed(
        patient,
        redis={"url": f"redis://127.0.0.1:{door.port}/0", "timeout_s": 0.5},
        metrics={"port": port, "stuck_after_s": 3.0},
    )
    async with door, running(worker, behind_door):
        answer = await until(port, "/readyz", 503, "starting", "redis_answers")
        assert answer["state"] == "starting"
        await door.open()
        answer = await until(port, "/readyz", 200)
        assert (answer["ok"], answer["state"]) == (True, "running")
        await until(port, "/healthz", 200)

        async with feeding(worker, patient):
            await publish(pipeline, unique("gate"))
            await until_counted(port, counted, 1)
            await until_named(port, promised)

            await door.shut()
            await until(port, "/readyz", 503, "redis_answers")
            await publish(pipeline, unique("yard"))
            answer = await until(port, "/healthz", 503, "none was finished")
            assert not answer["ok"]
            assert total((await get(port, "/metrics"))[1], "saccade_redis_up") == 0

            await door.open()
            await until(port, "/healthz", 200)
            await until(port, "/readyz", 200)
            await until_counted(port, "saccade_consumer_records_total", 2 * FRAMES)
    assert await get(port, "/readyz") == (0, "")


async def test_an_edge_without_its_offload_cluster_answers_frames_and_says_what_is_missing(
    pipeline: Settings, unique: Callable[[str], str], closed_port: int
) -> None:
    port, camera = free_port(), unique("gate")
    away = pipeline.kafka.model_copy(update={"bootstrap_servers": f"127.0.0.1:{closed_port}"})
    settings = changed(pipeline, metrics={"port": port}).model_copy(update={"offload_kafka": away})
    async with running(run_edge, settings), RedisStore(settings.redis) as store:
        await until(
            port, "/readyz", 200, f"offload_accepts: Kafka at 127.0.0.1:{closed_port} does not answer"
        )
        await publish(pipeline, camera)
        async with asyncio.timeout(WAIT_S):
            while None in await store.get_many([(camera, seq) for seq in range(FRAMES)]):
                await asyncio.sleep(0.02)
            while not any("uplink_down" in text for text in (await store.read_uplinks("")).values()):
                await asyncio.sleep(0.02)


async def test_a_server_without_one_sites_redis_serves_the_others_and_names_it(
    pipeline: Settings, unique: Callable[[str], str], closed_port: int
) -> None:
    port, here, away = free_port(), unique("here"), unique("away")
    site = changed(pipeline, metrics={"port": None}).model_copy(update={"site": here})
    urls = {here: pipeline.redis.url, away: f"redis://127.0.0.1:{closed_port}/0"}
    server = changed(pipeline, metrics={"port": port}, server={"redis_by_site": urls})
    await create_topics(site.kafka, pipeline_topics(site))
    camera = f"{here}/gate"
    async with running(run_server, server), running(run_edge, site), RedisStore(site.redis) as store:
        await until(port, "/readyz", 200, f"all_sites_answer: no answer from the Redis of {away}")
        await publish(site, "gate")
        async with asyncio.timeout(WAIT_S):
            while (label := await store.latest(camera)) is None or label.source is not AnswerSource.SERVER:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def feeding(worker: object, settings: Settings) -> AsyncIterator[None]:
    """Frames come from the producer; a server's records from an edge worker that keeps its Redis."""
    if worker is run_edge:
        yield
        return
    async with running(run_edge, changed(settings, metrics={"port": None})):
        yield
