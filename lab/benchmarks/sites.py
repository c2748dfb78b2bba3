"""What one site's backlog does to the time that another site's records wait for their labels.

    python -m lab.benchmarks.sites [--model deit|shipped] [--seconds S] [--json FILE]

One server worker of one thread on a core of its own; broker, Redis and this process have the other. One site sends a
quarter of what the engine can, at a steady rate, first alone, then while the other site's records, more than the
worker can answer in that time, all stand in Kafka already.
"""

from __future__ import annotations

import argparse
import asyncio
import time

import numpy as np

from lab.benchmarks.interleaved import RecordAt, RecordFeed
from lab.benchmarks.machine import pin, two_cores
from lab.benchmarks.model_only import model_only, save_sets
from lab.benchmarks.models import deit_base, shipped
from lab.benchmarks.recorded import KeptPatches, drawn_counts, mixed, offload_record, token_sets
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.server import NUM_SETS, server_worker
from lab.benchmarks.testbed import Testbed, running, testbed
from runtime.kafka_admin import create_topics
from schemas.topics import offload_partition, offload_specs, offload_topic

_STEADY, _BEHIND = "steady", "behind"
_LOAD = 0.25
_MORE_THAN_ENOUGH = 1.5
_PUBLISH_RATE = 2_000.0
_TIMEOUT_S = 60.0


def records_of(site: str, sets: list[KeptPatches], num_partitions: int, classes_hash: str) -> RecordAt:
    """Return the sets in turn as offloads of the site's one camera."""

    def record_at(number: int, due_ns: int) -> tuple[bytes, int]:
        camera = f"{site}/cam"
        value = offload_record(sets[number % len(sets)], camera, number, due_ns, classes_hash)
        return value, offload_partition(camera, number, num_partitions)

    return record_at


async def ages_of(bed: Testbed, feed: RecordFeed, seconds: float, rate: float) -> list[float]:
    """Return the ages in seconds of the steady site's labels, of records sent now."""
    count, camera = int(rate * seconds), f"{_STEADY}/cam"
    seen = len(await bed.writes([camera]))
    await feed.publish(count, rate, linger_ms=0)
    async with asyncio.timeout(_TIMEOUT_S):
        while len(writes := (await bed.writes([camera]))[seen:]) < count:  # noqa: ASYNC110 - another process writes
            await asyncio.sleep(0.1)
    return [write.written_s - write.captured_ns / 1e9 for write in writes]


async def measure(arguments: argparse.Namespace) -> list[Figure]:
    chosen = shipped("server") if arguments.model == "shipped" else deit_base()
    sets = token_sets(mixed(NUM_SETS, seed=0), drawn_counts(NUM_SETS, seed=0), seed=0)
    own, other = two_cores()
    pin(other)
    async with testbed(f"sites-{arguments.model}") as bed:
        topics, edge = bed.settings.topics, bed.settings.edge
        for site in (_STEADY, _BEHIND):
            name = offload_topic(site, topics.offload)
            specs = offload_specs(
                partitions=topics.partitions, max_offload_bytes=edge.max_offload_bytes, name=name
            )
            await create_topics(bed.settings.kafka, specs)
        inputs = save_sets(
            bed.run_dir / "sets.npz", [each.crop for each in sets], [each.positions for each in sets]
        )
        async with model_only("server", chosen.path, inputs, own) as loop:
            rate = (await loop.run(2.0, 4)).rate
        classes_hash = chosen.load().classes_hash
        steady, behind = (
            RecordFeed(
                bed,
                offload_topic(site, topics.offload),
                records_of(site, sets, topics.partitions, classes_hash),
            )
            for site in (_STEADY, _BEHIND)
        )
        async with running(server_worker(bed, chosen, [own])):
            await ages_of(bed, steady, 3.0, _LOAD * rate)
            alone = await ages_of(bed, steady, arguments.seconds, _LOAD * rate)
            num_behind = int(_MORE_THAN_ENOUGH * rate * arguments.seconds)
            await behind.publish(num_behind, _PUBLISH_RATE)
            began_s = time.time()
            beside = await ages_of(bed, steady, arguments.seconds, _LOAD * rate)
            answered = [each for each in await bed.writes([f"{_BEHIND}/cam"]) if each.written_s > began_s]
    return figures(alone, beside, f"{chosen.title}; {_LOAD * rate:.1f} records/s", len(answered), num_behind)


def figures(
    alone: list[float], beside: list[float], setting: str, num_answered: int, num_behind: int
) -> list[Figure]:
    found = [
        Figure(
            f"sites: age of the steady site's label {name}, {when}",
            float(np.quantile(ages, share)),
            "s",
            note=f"{len(ages)} records; {setting}",
        )
        for when, ages in (("alone", alone), ("beside the other's backlog", beside))
        for name, share in (("p50", 0.5), ("p99", 0.99))
    ]
    done = Figure(
        "sites: of the backlog answered meanwhile", float(num_answered), "", note=f"of {num_behind}"
    )
    return [*found, done]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--model", choices=("deit", "shipped"), default="deit")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each part")
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments)), arguments.json)


if __name__ == "__main__":
    main()
