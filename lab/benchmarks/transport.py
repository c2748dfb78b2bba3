"""Offload records through the project's own Kafka adapters and through Kafka's own tools, over loopback, in turns.

    python -m lab.benchmarks.transport [--records N] [--json FILE]

Records of 12 kB. Producer, broker and consumer are three processes on the same two cores. In each round each
client writes, reads, and does both at once, which is what counts: from the first record sent to the last one read.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from devstack.settings import load_settings
from lab.benchmarks import java_tools
from lab.benchmarks.machine import cpu_seconds
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import Testbed, testbed
from runtime.kafka_admin import create_topics
from runtime.kafka_generation import MAX_BATCH_BYTES
from runtime.kafka_source import KafkaSource
from saccade.event_loop import run
from schemas.topics import PARTITIONS, TopicSpec, offload_specs

RECORD_BYTES = 12_000
GOAL_PER_S = 8_000.0
GOAL_OF_JAVA = 0.8
_ROUNDS = 3


async def produce(bed: Testbed, topic: str, count: int) -> float:
    """Return the seconds until the broker had acknowledged `count` records."""
    noise = np.random.default_rng(0).bytes(2 * RECORD_BYTES)
    partitions = bed.settings.topics.partitions
    began_s = time.perf_counter()
    async with bed.sink() as sink:
        for index in range(count):
            start = index % RECORD_BYTES
            value = noise[start : start + RECORD_BYTES]
            await sink.send(topic, value, partition=(index >> 4) % partitions)
    return time.perf_counter() - began_s


async def consume(bootstrap_servers: str, topic: str, count: int) -> None:
    """Print a line when the group is joined, and one with the seconds of `count` records."""
    settings = load_settings(None, {"kafka": {"bootstrap_servers": bootstrap_servers}})
    async with KafkaSource(settings.kafka, [topic], group_id=f"ours-{topic}") as source:
        seen, began_s = 0, 0.0
        while not source.joined:
            seen += len(await source.getmany(500, 0.2))
        _say({"joined": True})
        while seen < count:
            records = await source.getmany(500, 1.0)
            began_s = began_s or time.perf_counter()
            seen += len(records)
        _say({"seconds": time.perf_counter() - began_s, "ended": time.time()})


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


@asynccontextmanager
async def consumer(bed: Testbed, topic: str, count: int) -> AsyncIterator[asyncio.StreamReader]:
    """Yield a consumer process that has joined its group; read its last line for the answer."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.benchmarks.transport", "--consume", bed.stack.bootstrap_servers),
        *("--topic", topic, "--records", str(count)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield process.stdout
    finally:
        await process.wait()


@dataclass(frozen=True, slots=True)
class Turn:
    """One client's turn: records a second, and the broker's processor time a record, in microseconds."""

    per_s: float
    broker_us: float


async def read_s(bed: Testbed, topic: str, count: int) -> float:
    """Return the seconds of our consumer for `count` records that are there."""
    async with consumer(bed, topic, count) as lines:
        return float(json.loads(await lines.readline())["seconds"])


async def both_s(bed: Testbed, topic: str, count: int) -> float:
    """Return the seconds from the first record that our producer sends to the last one that our consumer reads."""
    async with consumer(bed, topic, count) as lines:
        began = time.time()
        await produce(bed, topic, count)
        return float(json.loads(await lines.readline())["ended"] - began)


async def measure(count: int) -> list[Figure]:
    async with testbed("transport") as bed:
        servers = bed.stack.bootstrap_servers
        acts: dict[tuple[str, str], Callable[[str], Awaitable[float]]] = {
            ("produce", "ours"): lambda topic: produce(bed, topic, count),
            ("produce", "java"): lambda topic: java_tools.produce_s(servers, topic, count, RECORD_BYTES),
            ("consume", "ours"): lambda topic: read_s(bed, topic, count),
            ("consume", "java"): lambda topic: java_tools.consume_s(servers, topic, count),
            ("both at once", "ours"): lambda topic: both_s(bed, topic, count),
            ("both at once", "java"): lambda topic: java_tools.both_s(servers, topic, count, RECORD_BYTES),
        }
        turns: dict[tuple[str, str], list[Turn]] = {act: [] for act in acts}
        rounds = [
            {
                act: f"{act[1]}-{act[0].partition(' ')[0]}-{number}".replace("consume", "produce")
                for act in acts
            }
            for number in range(1 + _ROUNDS)  # the first one warms the broker
        ]
        # All at once, as the broker is busy for a while after it has told that they are there.
        names = {name for topics in rounds for name in topics.values()}
        await create_topics(bed.settings.kafka, [topic_spec(name) for name in sorted(names)])
        for topics in rounds:
            for act, run_act in acts.items():
                broker_s = cpu_seconds(bed.stack.kafka_pid)
                took_s = await run_act(topics[act])
                broker_s = cpu_seconds(bed.stack.kafka_pid) - broker_s
                turns[act].append(Turn(count / took_s, broker_s / count * 1e6))
    return [
        figure
        for what in ("produce", "consume", "both at once")
        for figure in figures_of(what, turns[what, "ours"][1:], turns[what, "java"][1:], count)
    ]


def topic_spec(name: str) -> TopicSpec:
    """Return a topic as `offload` is by default."""
    return offload_specs(name=name, partitions=PARTITIONS, max_offload_bytes=MAX_BATCH_BYTES)[0]


def figures_of(what: str, ours: list[Turn], java: list[Turn], count: int) -> list[Figure]:
    """Return our rate, the share of the Java client's in the same rounds, and both brokers' time a record."""
    ratios = [mine.per_s / its.per_s for mine, its in zip(ours, java, strict=True)]
    ours_us, java_us = (statistics.median(turn.broker_us for turn in turns) for turns in (ours, java))
    return [
        Figure(
            f"transport: {what}",
            statistics.median(turn.per_s for turn in ours),
            "records/s",
            GOAL_PER_S if what == "both at once" else None,
            note=f"{count} records of {RECORD_BYTES / 1e3:.0f} kB, two cores for all three",
        ),
        Figure(
            f"transport: {what}, against Kafka's own client",
            statistics.median(ratios),
            "of it",
            GOAL_OF_JAVA,
            note=f"{statistics.median(turn.per_s for turn in java):.0f} records/s; rounds "
            + ", ".join(f"{ratio:.2f}" for ratio in ratios),
        ),
        Figure(
            f"transport: {what}, the broker's time a record",
            ours_us,
            "µs",
            note=f"for Kafka's own {java_us:.0f}",
        ),
    ]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--records", type=int, default=30_000)
    parser.add_argument("--consume", metavar="HOST:PORT", help="be the consumer process")
    parser.add_argument("--topic", default="offload")
    arguments = parser.parse_args()
    if arguments.consume:
        run(consume(arguments.consume, arguments.topic, arguments.records))
    else:
        publish(run(measure(arguments.records)), arguments.json)


if __name__ == "__main__":
    main()
