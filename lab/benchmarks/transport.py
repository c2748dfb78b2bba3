"""Offload records through the project's own Kafka adapters, over loopback, with a real broker.

    python -m lab.benchmarks.transport [--records N] [--json FILE]

Records of 12 kB of random bytes. Producer, broker and consumer are three processes on the same two cores.
First each direction alone, in turns with Kafka's own tools, then both at once, which is what counts: records
per second from the first send to the last one read.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from devstack.settings import load_settings
from lab.benchmarks import java_tools
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import Testbed, testbed
from runtime.kafka import KafkaSource
from saccade.event_loop import run

RECORD_BYTES = 12_000
GOAL_PER_S = 8_000.0
GOAL_OF_JAVA = 0.8
_ROUNDS = 3
_ALONE, _BOTH = "offload", "frames"
"""Two topics of the same shape, so that the second reader finds nothing old."""


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


async def consume(bootstrap_servers: str, topic: str, count: int, group: str) -> None:
    """Print a line when the group is joined, and one with the seconds of `count` records."""
    settings = load_settings(None, {"kafka": {"bootstrap_servers": bootstrap_servers}})
    async with KafkaSource(settings.kafka, [topic], group_id=group) as source:
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
async def consumer(
    bed: Testbed, topic: str, count: int, group: str = "both"
) -> AsyncIterator[asyncio.StreamReader]:
    """Yield a consumer process that has joined its group; read its last line for the answer."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.benchmarks.transport", "--consume", bed.stack.bootstrap_servers),
        *("--topic", topic, "--records", str(count), "--group", group),
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
    """Records a second of our own client and of Kafka's, one after the other."""

    ours: float
    java: float


async def alone(bed: Testbed, count: int) -> tuple[list[Turn], list[Turn]]:
    """Return the turns of producing and of consuming."""
    servers = bed.stack.bootstrap_servers
    await produce(bed, _ALONE, count // 5)
    produced, consumed = [], []
    for _ in range(_ROUNDS):
        ours = count / await produce(bed, _ALONE, count)
        produced.append(Turn(ours, await java_tools.produce_per_s(servers, _ALONE, count, RECORD_BYTES)))
    for number in range(_ROUNDS):
        async with consumer(bed, _ALONE, count, f"ours-{number}") as lines:
            ours = count / json.loads(await lines.readline())["seconds"]
        consumed.append(Turn(ours, await java_tools.consume_per_s(servers, _ALONE, count, f"java-{number}")))
    return produced, consumed


async def measure(count: int) -> list[Figure]:
    async with testbed("transport") as bed:
        produced, consumed = await alone(bed, count)
        async with consumer(bed, _BOTH, count) as lines:
            began = time.time()
            await produce(bed, _BOTH, count)
            both_s = json.loads(await lines.readline())["ended"] - began
    note = f"{count} records of {RECORD_BYTES / 1e3:.0f} kB, two cores for all three"
    return [
        *figures_of("produce", produced, note),
        *figures_of("consume", consumed, note),
        Figure("transport: produce and consume at once", count / both_s, "records/s", GOAL_PER_S, note=note),
    ]


def figures_of(what: str, turns: list[Turn], note: str) -> list[Figure]:
    ratios = [turn.ours / turn.java for turn in turns]
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    return [
        Figure(
            f"transport: {what} alone", statistics.median(turn.ours for turn in turns), "records/s", note=note
        ),
        Figure(f"transport: {what}, Java", statistics.median(turn.java for turn in turns), "records/s"),
        Figure(
            f"transport: {what}", statistics.median(ratios), "of Java", GOAL_OF_JAVA, note=f"rounds {each}"
        ),
    ]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--consume", metavar="HOST:PORT", help="be the consumer process")
    parser.add_argument("--topic", default=_ALONE)
    parser.add_argument("--group", default="both")
    arguments = parser.parse_args()
    if arguments.consume:
        run(consume(arguments.consume, arguments.topic, arguments.records, arguments.group))
    else:
        publish(run(measure(arguments.records)), arguments.json)


if __name__ == "__main__":
    main()
