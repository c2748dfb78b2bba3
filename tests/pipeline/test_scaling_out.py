"""Workers join and are killed while frames come: each frame keeps one story, whoever works on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from devstack import EmbeddedStack
from runtime.kafka_admin import create_pipeline_topics

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
ROUNDS = 5
DRAIN_S = 120.0


async def started(*workers: Any) -> None:
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.start())


async def killed(*workers: Any) -> None:
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.kill())


async def test_after_ten_joins_and_ten_kills_no_frame_is_lost_or_labelled_twice(
    stack: EmbeddedStack,
    unique: Callable[[str], str],
    tree: dict[str, Any],
    site: Any,
    witnessing: Any,
    recovery_of: Any,
    reported_repeats: Any,
) -> None:
    """Each round an edge and a server worker join, and the two that worked before them are killed."""
    tree["site"] = unique("site")
    tree["kafka"]["bootstrap_servers"] = stack.bootstrap_servers
    tree["redis"]["url"] = stack.redis_url
    tree["topics"] = {"frames": unique("frames"), "offload": unique("offload"), "partitions": 12}
    tree["edge"]["group_id"], tree["server"]["group_id"] = unique("edges"), unique("servers")
    reported = 0.0
    async with site(tree) as pipeline, witnessing(pipeline.settings) as witness:
        await create_pipeline_topics(pipeline.settings)
        edge, server = pipeline.worker("edge"), pipeline.worker("serve")
        producer = pipeline.producer(num_cameras=3, fps=4.0)
        await started(edge, server, producer)
        await witness.recovery_s(0, timeout_s=60.0)
        for number in range(1, ROUNDS + 1):
            joining = pipeline.worker("edge"), pipeline.worker("serve")
            await started(*joining)
            await witness.recovery_s(time.time_ns(), timeout_s=60.0)
            reported += await reported_repeats([edge])
            await recovery_of(witness, f"round {number}", partial(killed, edge, server))
            edge, server = joining
        await producer.stop()
        await pipeline.drained(DRAIN_S)
        reported += await reported_repeats([edge])
        found = await pipeline.evidence()
    found.check_promises()
    assert len(found.frames) > 100
    assert found.repeated_bytes <= reported
