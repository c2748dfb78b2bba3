"""The whole edge worker against its model alone, on one core that both have for themselves.

    python -m benchmarks.edge [--rounds N] [--seconds S] [--json FILE]

Worker and bare loop take turns on one core, one thread each, the same batch size; broker, Redis and the
producer of 640x480 JPEGs stand on the other. While the bare loop runs, the other core carries the same load:
a stand-in there reads the same frames, writes the same labels and sends the same offloads. tau is set so that
40 % are offloaded. A ratio is the median over rounds of two rates of the same round.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bare import Bare, Burst, bare, save_crops
from benchmarks.machine import pin, two_cores
from benchmarks.models import Chosen, deit_tiny, shipped
from benchmarks.recorded import Shot, frame_record, record
from benchmarks.report import Figure, publish
from benchmarks.testbed import Metrics, Testbed, Worker, paced, rate_of, testbed
from edge_workers.gate import gate
from runtime.kafka import Source
from runtime.kafka_admin import create_topics, pipeline_topics
from runtime.redis_store import LabelStore
from runtime.settings import load_settings
from schemas import label as labels
from schemas.topics import frames_partition
from vit.edge_forward import EdgeForward

CAMERAS = tuple(f"cam{index:02}" for index in range(16))
OFFLOAD_SHARE = 0.4
BATCH = 8
STAND_IN = {"topics": {"frames": "frames_bare", "offload": "offload_bare"}}
_AHEAD = 1.15
"""How much faster than the model frames come, so that the worker never waits for one."""


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of each: frames/s and processor seconds a frame."""

    worker_rate: float
    worker_cpu_s: float
    bare: Burst
    offload_share: float


def tau_for(chosen: Chosen, crops: list[np.ndarray], share: float) -> float:
    """Return the threshold at which this share of the crops is offloaded."""
    forward = EdgeForward(chosen.load(), threads=1)
    entropies = np.concatenate(
        [
            gate(forward(np.stack(crops[start : start + BATCH])).logits, 0.0).min_entropies
            for start in range(0, len(crops), BATCH)
        ]
    )
    return float(np.quantile(entropies, 1 - share))


class Stream:
    """The producer: shots in turn, each camera's numbers ascending over the whole run."""

    def __init__(self, bed: Testbed, shots: list[Shot]) -> None:
        self._bed = bed
        self._shots = shots
        self._sent = 0

    async def publish(self, count: int, rate: float, topic: str) -> None:
        """`count` frames are acknowledged, offered at a constant rate."""
        partitions = self._bed.settings.topics.partitions
        async with self._bed.sink() as sink:

            async def send(_: int, due_ns: int) -> None:
                camera = CAMERAS[self._sent % len(CAMERAS)]
                shot = self._shots[self._sent % len(self._shots)]
                value = frame_record(shot, camera, self._sent // len(CAMERAS), due_ns)
                self._sent += 1
                await sink.send(topic, value, partition=frames_partition(camera, partitions))

            await paced(rate, count, send)


async def worker_turn(bed: Testbed, stream: Stream, worker: Worker, rate: float, seconds: float) -> Round:
    """Return what the worker did of a stream that comes faster than it can answer."""
    count = int(rate * _AHEAD * seconds)
    before, offloads_before = await bed.num_keys(), await bed.records_in("offload")
    seen = len(await bed.writes(CAMERAS))
    cpu_s = worker.cpu_s
    await stream.publish(count, rate * _AHEAD, "frames")
    await bed.labelled(before, count, 60)
    cpu_s = worker.cpu_s - cpu_s
    writes = (await bed.writes(CAMERAS))[seen:]
    offloads = await bed.records_in("offload") - offloads_before
    first = [write for write in writes if (write.state, write.source) != ("final", "server")]
    return Round(rate_of(first), cpu_s / count, Burst(0, 1.0, 0.0), offloads / count)


async def stand_in(bed: Testbed, source: Source) -> None:
    """Do what the worker does around its model: read frames, write labels, send every offload."""
    tick = 0
    async with LabelStore(bed.settings.redis) as store, bed.sink() as sink:
        while True:
            records = await source.getmany(BATCH, 1.0)
            now_ns = time.time_ns()
            for record_ in records:
                tick += 1
                if tick % 5 < 5 * OFFLOAD_SHARE:
                    await sink.send("offload_bare", record_.value[:9000], partition=tick % 48)
            if records:
                await store.put(
                    [
                        labels.Label(
                            site="",
                            camera=f"shadow{tick % 16}",
                            seq=tick * BATCH + index,
                            state=labels.State.FINAL,
                            source=labels.Source.EDGE,
                            label=0,
                            name="class",
                            confidence=0.5,
                            captured_ns=now_ns,
                            labelled_ns=now_ns,
                        )
                        for index in range(len(records))
                    ]
                )


@contextlib.asynccontextmanager
async def background(bed: Testbed, stream: Stream, rate: float, seconds: float) -> AsyncIterator[None]:
    """Within the block the other core carries the load of a worker at `rate`."""
    async with (
        Source(bed.settings.kafka, ["frames_bare"], group_id=f"stand-in-{time.time_ns()}") as source,
        asyncio.TaskGroup() as group,
    ):
        reading = group.create_task(stand_in(bed, source))
        sending = group.create_task(stream.publish(int(rate * seconds), rate, "frames_bare"))
        yield
        sending.cancel()
        reading.cancel()


async def rounds_of(
    bed: Testbed, stream: Stream, worker: Worker, loop: Bare, rounds: int, seconds: float
) -> list[Round]:
    """Return `rounds` turns of both, after one of each that does not count."""
    alone = await loop.run(1.0, BATCH)
    await worker_turn(bed, stream, worker, alone.rate, 1.0)
    found = []
    for _ in range(rounds):
        turn = await worker_turn(bed, stream, worker, alone.rate, seconds)
        async with background(bed, stream, turn.worker_rate, seconds + 2):
            burst = await loop.run(seconds, BATCH)
        found.append(Round(turn.worker_rate, turn.worker_cpu_s, burst, turn.offload_share))
    return found


async def measure(arguments: argparse.Namespace) -> list[Figure]:
    chosen = shipped("edge") if arguments.model == "shipped" else deit_tiny()
    shots = [shot for stream in record([1, 2, 3, 4], 24, every=5) for shot in stream]
    crops = [shot.crop() for shot in shots]
    tau = tau_for(chosen, crops, OFFLOAD_SHARE)
    own, other = two_cores()
    pin(other)
    async with testbed("edge") as bed:
        await create_topics(bed.settings.kafka, pipeline_topics(load_settings(None, STAND_IN)))
        inputs = save_crops(bed.run_dir / "crops.npz", crops)
        worker = bed.worker(
            *("edge", [own]),
            edge__model=chosen.path,
            edge__tau=tau,
            edge__threads=1,
            edge__decode_threads=1,
            edge__batch_frames=BATCH,
            edge__max_latency_ms=30_000,
        )
        async with bare("edge", chosen.path, inputs, own) as loop:
            await worker.start()
            try:
                stream = Stream(bed, shots)
                before = await worker.metrics()
                rounds = await rounds_of(bed, stream, worker, loop, arguments.rounds, arguments.seconds)
                after = await worker.metrics()
            finally:
                await worker.stop()
    return figures_of(chosen, rounds, before, after)


def figures_of(chosen: Chosen, rounds: list[Round], before: Metrics, after: Metrics) -> list[Figure]:
    middle = statistics.median
    offloaded = middle(each.offload_share for each in rounds)
    setting = f"{chosen.title}; 1 thread, batch {BATCH}, {offloaded:.0%} offloaded as WebP-75"
    cpu_s, bare_cpu_s = (
        middle(each.worker_cpu_s for each in rounds),
        middle(each.bare.cpu_s / each.bare.images for each in rounds),
    )
    frames = after.total("frames_total") - before.total("frames_total")
    figures = [
        Figure("edge worker: rate", middle(each.worker_rate for each in rounds), "frames/s", note=setting),
        Figure("edge model alone: rate", middle(each.bare.rate for each in rounds), "frames/s"),
        Figure(
            "edge worker against its model alone",
            middle(each.worker_rate / each.bare.rate for each in rounds),
            "x",
            0.90,
            note=f"{len(rounds)} rounds: " + ", ".join(f"{r.worker_rate / r.bare.rate:.2f}" for r in rounds),
        ),
        Figure("the same by processor time", bare_cpu_s / cpu_s, "x", note="immune to other load"),
        Figure("edge worker: processor time", cpu_s * 1e3, "ms/frame"),
        Figure("edge model alone: processor time", bare_cpu_s * 1e3, "ms/frame"),
    ]
    for stage in ("decode", "encode"):
        spent = after.spent("stage_seconds", before, stage=stage)
        figures.append(Figure(f"edge worker: {stage}, wall", spent / frames * 1e3, "ms/frame"))
    lag = after.share_up_to("loop_lag_seconds", "0.02", before)
    return [
        *figures,
        Figure("edge worker: Redis write", after.mean("redis_write_seconds", before) * 1e3, "ms/batch"),
        Figure(
            "edge worker: timers at most 20 ms late at full load",
            lag * 100,
            "%",
            99.0,
            note="99 % of them = p99 under 20 ms",
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("deit", "shipped"), default="deit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    publish(asyncio.run(measure(arguments)), arguments.json)


if __name__ == "__main__":
    main()
