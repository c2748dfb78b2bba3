"""Kafka's own load tools, in the version of the embedded broker: what its Java client does on the same machine."""

from __future__ import annotations

import asyncio
import re
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient

from devstack.jars import broker_jars, java_command
from runtime.kafka_generation import MAX_BATCH_BYTES
from schemas.errors import StackError

_HEAP = "-Xmx512m"
_SENT = re.compile(r"^\d+ records sent, ([\d.]+) records/sec", re.MULTILINE)
_JOIN_TIMEOUT_S = 30.0
_LOOK_S = 0.1


async def produce_s(servers: str, topic: str, count: int, record_bytes: int) -> float:
    """The seconds that `kafka-producer-perf-test` tells, with acknowledgements as our own sink asks."""
    settings = {
        "bootstrap.servers": servers,
        "acks": "all",
        "enable.idempotence": "true",
        "linger.ms": "2",
        "batch.size": str(MAX_BATCH_BYTES),
    }
    process = await _started(
        "org.apache.kafka.tools.ProducerPerformance",
        *("--topic", topic, "--num-records", str(count), "--record-size", str(record_bytes)),
        *("--throughput", "-1", "--producer-props", *(f"{key}={value}" for key, value in settings.items())),
    )
    return count / float(_SENT.findall(await _said(process))[-1])


async def consume_s(servers: str, topic: str, count: int) -> float:
    """The seconds that `kafka-consumer-perf-test` tells, from its first fetch to the last of `count` records."""
    said = await _said(await _started(*_consumer(servers, topic, count)))
    return count / float(said.strip().splitlines()[-1].rpartition(",")[2])


async def both_s(servers: str, topic: str, count: int, record_bytes: int) -> float:
    """The seconds from the first record that is sent to the last one read, by both tools at once."""
    reader = await _started(*_consumer(servers, topic, count))
    async with _admin(servers) as admin, asyncio.timeout(_JOIN_TIMEOUT_S):
        while not await _is_joined(admin, topic):  # noqa: ASYNC110 - Kafka tells nobody
            await asyncio.sleep(_LOOK_S)
    sent_s = await produce_s(servers, topic, count, record_bytes)
    began_s = time.perf_counter() - sent_s
    await _said(reader)
    # Both processes need the same time to end, so it falls out.
    return time.perf_counter() - began_s


def _consumer(servers: str, topic: str, count: int) -> list[str]:
    return [
        "org.apache.kafka.tools.ConsumerPerformance",
        *("--bootstrap-server", servers, "--topic", topic, "--group", f"java-{topic}"),
        *("--messages", str(count), "--hide-header", "--timeout", "20000"),
    ]


@asynccontextmanager
async def _admin(servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _is_joined(admin: AIOKafkaAdminClient, topic: str) -> bool:
    (answer,) = await admin.describe_consumer_groups([f"java-{topic}"])
    return any(group[2] == "Stable" for group in answer.groups)


async def _started(tool: str, *arguments: str) -> Process:
    command = [java_command(), _HEAP, "-cp", f"{broker_jars()}/*", tool, *arguments]
    return await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)


async def _said(process: Process) -> str:
    said, complaint = await process.communicate()
    if process.returncode != 0:
        raise StackError(f"a tool of Kafka's ended with {process.returncode}: {complaint.decode()[-500:]}")
    return said.decode()
