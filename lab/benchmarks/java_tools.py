"""Kafka's own load tools, in the version of the embedded broker: what its Java client does on the same machine."""

from __future__ import annotations

import asyncio
import re

from devstack.jars import broker_jars, java_command
from runtime.kafka_sink import MAX_BATCH_BYTES
from schemas.errors import StackError

_HEAP = "-Xmx512m"
_SENT = re.compile(r"^\d+ records sent, ([\d.]+) records/sec", re.MULTILINE)


async def produce_per_s(bootstrap_servers: str, topic: str, count: int, record_bytes: int) -> float:
    """Return the records a second that `kafka-producer-perf-test` tells, with acknowledgements as our own sink asks."""
    settings = {
        "bootstrap.servers": bootstrap_servers,
        "acks": "all",
        "enable.idempotence": "true",
        "linger.ms": "2",
        "batch.size": str(MAX_BATCH_BYTES),
    }
    said = await _run(
        "org.apache.kafka.tools.ProducerPerformance",
        *("--topic", topic, "--num-records", str(count), "--record-size", str(record_bytes)),
        *("--throughput", "-1", "--producer-props", *(f"{key}={value}" for key, value in settings.items())),
    )
    return float(_SENT.findall(said)[-1])


async def consume_per_s(bootstrap_servers: str, topic: str, count: int, group: str) -> float:
    """Return the records a second that `kafka-consumer-perf-test` tells, from its first fetch on."""
    said = await _run(
        "org.apache.kafka.tools.ConsumerPerformance",
        *("--bootstrap-server", bootstrap_servers, "--topic", topic, "--group", group),
        *("--messages", str(count), "--hide-header", "--timeout", "20000"),
    )
    return float(said.strip().splitlines()[-1].rpartition(",")[2])


async def _run(tool: str, *arguments: str) -> str:
    command = [java_command(), _HEAP, "-cp", f"{broker_jars()}/*", tool, *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complaint = await process.communicate()
    if process.returncode != 0:
        raise StackError(f"{tool} ended with {process.returncode}: {complaint.decode()[-500:]}")
    return said.decode()
