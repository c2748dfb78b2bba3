"""One frame through both workers, and `saccade trace` on what they tell of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import simplejpeg

from devstack.settings import Settings
from edge_workers.worker import run_edge
from runtime.kafka_sink import Sink
from runtime.redis_store import RedisStore
from schemas.frame import Frame, encode_frame
from schemas.label import AnswerSource
from server_workers.worker import run_server

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]
WAIT_S = 60.0
STAGES = ["read", "prepare", "infer", "gate", "publish", "offer", "queue", "send"]


async def saccade(*arguments: str) -> tuple[int | None, str]:
    """Return the status and the output of a command."""
    command = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "saccade", *arguments),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
    )
    out, _ = await command.communicate()
    return command.returncode, out.decode()


async def test_trace_shows_every_stage_of_a_frame_that_a_server_answered(
    pipeline: Settings, unique: Callable[[str], str]
) -> None:
    camera, stop = unique("camera"), asyncio.Event()
    settings = pipeline.model_copy(update={"redis": pipeline.redis.model_copy(update={"traces": True})})
    pixels = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    image = bytes(simplejpeg.encode_jpeg(pixels, colorspace="RGB"))
    frame = Frame("", camera, 7, time.time_ns(), 320, 240, "jpeg", image, live=False)
    offload_bytes = settings.edge.max_offload_bytes
    sink = Sink(settings.kafka, max_request_bytes=1 << 20, max_in_flight_bytes=offload_bytes)
    async with sink, RedisStore(settings.redis) as store, asyncio.TaskGroup() as group:
        watching = await store.watch(camera)
        first = asyncio.ensure_future(anext(watching))
        for worker in (run_edge, run_server):
            group.create_task(worker(settings, stop))
        await (await sink.send(settings.topics.frames, encode_frame(frame), partition=0))
        async with asyncio.timeout(WAIT_S):
            label = await first
            while label.source is not AnswerSource.SERVER:
                label = await anext(watching)
        await watching.aclose()
        stop.set()
    arguments = ("trace", camera, "7", "--redis", settings.redis.url)
    status, out = await saccade(*arguments, "--json")
    assert status == 0
    told: dict[str, Any] = json.loads(out)
    assert told["label"] == label.to_json()
    trace = told["trace"]
    names = [name for name, _, _ in trace["stages"]]
    assert [name for name in names if not name.startswith("server ")] == STAGES
    server = [name for name in names if name.startswith("server ")]
    assert server == ["server read", "server batch", "server infer", "server publish"]
    assert all(ended >= began for _, began, ended in trace["stages"])
    assert trace["why"].startswith("the server agreed" if trace["agrees"] else "the server answered in place")
    assert (trace["result"], trace["codec"], trace["written"]) == ("delivered", "webp", "WRITTEN")
    assert trace["server"][0][0] == label.name
    assert len(trace["attention"]) == 196
    assert trace["batch_tokens"] == len(trace["patches"]) + 1
    status, out = await saccade(*arguments)
    assert status == 0
    assert out.splitlines()[0].startswith(f"{camera} 7: final by server, ")
    assert all(any(line.startswith(f"{name} ") for line in out.splitlines()) for name in names)
    status, _ = await saccade("trace", camera, "8", "--redis", settings.redis.url)
    assert status == 1
