"""Every process of the pipeline is killed in turn, and no frame notices for long."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from devstack import embedded_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
RECOVERY_S = 15.0
BROKER_START_S = 5.0
"""What the broker's own start may take of that. It is not the pipeline's: what a busy machine adds is not held
against it."""
DRAIN_S = 120.0


async def restart(worker: Any) -> None:
    """What a supervisor does, who gives its worker the same static membership again."""
    await worker.kill()
    await worker.start()


async def test_kills_of_every_process_in_turn_lose_nothing_and_labels_flow_again_within_15_seconds(
    tree: dict[str, Any],
    site: Any,
    witnessing: Any,
    recovery_of: Any,
    reported_repeats: Any,
    tmp_path: Path,
) -> None:
    async with embedded_stack(tmp_path / "stack", data=tmp_path / "data") as stack:
        tree["kafka"]["bootstrap_servers"] = stack.bootstrap_servers
        tree["redis"]["url"] = stack.redis_url

        limits_s: dict[str, float] = defaultdict(lambda: RECOVERY_S)

        async def kafka_again() -> None:
            await stack.kill_kafka()
            began_s = time.monotonic()
            await stack.start_kafka()
            limits_s["broker"] += max(0.0, time.monotonic() - began_s - BROKER_START_S)

        async def redis_again() -> None:
            await stack.kill_redis()
            await stack.start_redis()

        async with site(tree) as pipeline, witnessing(pipeline.settings) as witness:
            edge = pipeline.worker("edge", "--set", "edge.group_instance_id=edge")
            server = pipeline.worker("serve", "--set", "server.group_instance_id=server")
            other_server = pipeline.worker("serve", "--set", "server.group_instance_id=other")
            producer = pipeline.producer(num_cameras=3, fps=3.0)
            outages: dict[str, Callable[[], Awaitable[None]]] = {
                "server": lambda: restart(server),
                "edge": lambda: restart(edge),
                "producer": lambda: restart(producer),
                "broker": kafka_again,
                "redis": redis_again,
            }
            async with asyncio.TaskGroup() as group:
                for worker in (edge, server, other_server, producer):
                    group.create_task(worker.start())
            await witness.recovery_s(0, timeout_s=60.0)
            seconds = {name: await recovery_of(witness, name, outage) for name, outage in outages.items()}
            await producer.stop()
            await pipeline.drained(DRAIN_S)
            reported = await reported_repeats([edge])
            found = await pipeline.evidence()
    found.check_promises()
    assert 0.2 < len({frame for frame, _ in found.offloads}) / len(found.frames) < 0.8
    assert found.repeated_bytes <= reported
    assert {name: each for name, each in seconds.items() if each > limits_s[name]} == {}
