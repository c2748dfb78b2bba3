"""What one frame, one offload and one label cost each part of the pipeline: the numbers of docs/scaling.md.

    python -m lab.benchmarks.stage_cost [--records N] [--labels N] [--json FILE]

Processor time, not wall time, so that other load moves it little: of the calling thread for the edge's stages,
of the broker's and Redis's processes for theirs. One thread; DeiT-Tiny and DeiT-Base, 640x480 JPEGs.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import redis.asyncio

from gating.stillness import TILES
from imaging.decode import decode_image
from imaging.glance import glance
from lab.benchmarks.machine import cpu_seconds
from lab.benchmarks.models import deit_base, deit_tiny
from lab.benchmarks.recorded import (
    HEIGHT,
    MAX_PIXELS,
    WIDTH,
    KeptPatches,
    Shot,
    frame_record,
    mixed,
    offload_record,
    token_sets,
)
from lab.benchmarks.report import Figure, options, publish
from lab.benchmarks.testbed import Testbed, testbed
from runtime.kafka_source import KafkaSource
from runtime.redis_store import RedisStore
from saccade.event_loop import run
from schemas.label import AnswerSource as By
from schemas.label import Label, LabelState
from vit.codecs import decode_patches, encode_patches
from vit.edge_forward import EdgeForward
from vit.packed_forward import PackedForward
from vit.preprocess import crop_box
from vit.resize import one_thread, resize_crop_fast

BATCH = 8
KEPT = 147
_ROUNDS = 5
_SERVER_SETS = 8
_CAMERAS = 50
_SETTLE_S = 1.0


def cost_ms(work: Callable[[int], object], count: int) -> float:
    """Return the thread's processor time of one `work(index)`, ms: the median of rounds over all indices."""
    found = []
    for _ in range(_ROUNDS):
        began_s = time.thread_time()
        for index in range(count):
            work(index)
        found.append((time.thread_time() - began_s) / count * 1e3)
    return statistics.median(found)


def stages(shots: Sequence[Shot]) -> list[Figure]:
    """Return what each of the edge's stages takes of one core."""
    one_thread()
    images = [decode_image(shot.image, "jpeg", MAX_PIXELS) for shot in shots]
    crops = [resize_crop_fast(image) for image in images]
    forward = EdgeForward(deit_tiny().load(), threads=1)
    batches = [np.stack(crops[start : start + BATCH]) for start in range(0, len(crops), BATCH)]
    for batch in batches:
        forward(batch)
    sets = token_sets(shots, [KEPT] * len(shots), seed=0)
    image_bytes = np.mean([len(shot.image) for shot in shots])
    window = crop_box(WIDTH, HEIGHT)
    note = f"640x480 4:2:0, {image_bytes / 1e3:.0f} kB"
    figures = [
        Figure(
            "edge stage: JPEG decoding",
            cost_ms(lambda index: decode_image(shots[index].image, "jpeg", MAX_PIXELS), len(shots)),
            "ms/frame",
            note=note,
        ),
        Figure(
            "edge stage: glance at a frame, which may be still",
            cost_ms(
                lambda index: glance(shots[index].image, MAX_PIXELS, (WIDTH, HEIGHT), window, TILES),
                len(shots),
            ),
            "ms/frame",
        ),
        Figure(
            "edge stage: resizing to the crop",
            cost_ms(lambda index: resize_crop_fast(images[index]), len(shots)),
            "ms/frame",
        ),
        Figure(
            f"edge stage: DeiT-Tiny, batch {BATCH}",
            cost_ms(lambda index: forward(batches[index]), len(batches)) / BATCH,
            "ms/frame",
        ),
    ]
    for codec in ("webp", "jpeg", "avif"):
        sizes = [len(encode_patches(codec, 75, each.crop, each.positions)) for each in sets]
        spent_ms = cost_ms(
            lambda index, codec=codec: encode_patches(codec, 75, sets[index].crop, sets[index].positions),  # type: ignore[misc]
            len(sets),
        )
        note = f"{KEPT} patches, quality 75: {np.mean(sizes) / 1e3:.1f} kB"
        figures.append(Figure(f"edge stage: {codec} coding", spent_ms, "ms/offload", note=note))
    return figures


def server_stages(sets: Sequence[KeptPatches]) -> list[Figure]:
    """Return what one offload takes of one core of a server worker."""
    chosen = deit_base()
    forward = PackedForward(chosen.load(), threads=1)
    patches = [decode_patches("webp", each.patches, each.positions) for each in sets]
    positions = [each.positions for each in sets]
    forward(patches[:_SERVER_SETS], positions[:_SERVER_SETS])
    return [
        Figure(
            "server stage: patch decoding",
            cost_ms(lambda index: decode_patches("webp", sets[index].patches, positions[index]), len(sets)),
            "ms/offload",
        ),
        Figure(
            "server stage: DeiT-Base, packed",
            cost_ms(lambda _: forward(patches[:_SERVER_SETS], positions[:_SERVER_SETS]), 1) / _SERVER_SETS,
            "ms/offload",
            note=f"{_SERVER_SETS} sets of {KEPT} patches, {chosen.title}",
        ),
    ]


async def through(bed: Testbed, topic: str, values: Sequence[bytes], count: int) -> Figure:
    """Return what the broker spends on one record, written once and read once."""
    partitions, kafka_pid = bed.settings.topics.partitions, bed.stack.kafka_pid
    async with (
        bed.sink() as sink,
        KafkaSource(bed.settings.kafka, [topic], group_id=f"sizing-{topic}") as source,
    ):
        # The first records warm the broker's compiler up.
        for counts in (False, True):
            began_s, seen = cpu_seconds(kafka_pid), 0
            for index in range(count):
                await sink.send(topic, values[index % len(values)], partition=index % partitions)
            while seen < count:
                seen += len(await source.getmany(500, 1.0))
            spent_s = cpu_seconds(kafka_pid) - began_s
            if counts:
                break
    record_bytes = np.mean([len(value) for value in values])
    note = f"{record_bytes / 1e3:.1f} kB a record; written once, read once, no replica"
    return Figure(f"broker: one record of {topic}", spent_s / count * 1e3, "ms/record", note=note)


def some_labels(first: int, count: int) -> list[Label]:
    """Return labels of 50 cameras in turn, as an edge writes them."""
    now_ns = time.time_ns()
    return [
        Label(
            site="",
            camera=f"camera{number % _CAMERAS:03}",
            seq=number // _CAMERAS,
            state=LabelState.FINAL,
            source=By.EDGE,
            label=417,
            name="balloon",
            confidence=0.8251953125,
            captured_ns=now_ns,
            labelled_ns=now_ns,
        )
        for number in range(first, first + count)
    ]


async def redis_costs(bed: Testbed, count: int) -> list[Figure]:
    """Return what one label costs Redis, the wire to it, and the worker that writes it."""
    client = redis.asyncio.from_url(bed.stack.redis_url, decode_responses=True)
    await bed.flush()
    async with RedisStore(bed.settings.redis) as store:
        await store.put(some_labels(0, 2 * _CAMERAS))
        before, began_s, thread_s = await client.info(), cpu_seconds(bed.stack.redis_pid), 0.0
        for first in range(2 * _CAMERAS, 2 * _CAMERAS + count, BATCH):
            labels = some_labels(first, BATCH)
            asked_s = time.thread_time()
            await store.put(labels)
            thread_s += time.thread_time() - asked_s
        await asyncio.sleep(_SETTLE_S)
        spent_s, after = cpu_seconds(bed.stack.redis_pid) - began_s, await client.info()
    await client.aclose()

    def grown(name: str) -> float:
        return float(after[name] - before[name]) / count

    return [
        Figure("Redis: one label", spent_s / count * 1e3, "ms/label", note=f"{BATCH} in one write"),
        Figure("Redis: memory of one label", grown("used_memory"), "B", note="its hash and its stream entry"),
        Figure("Redis: bytes to it for one label", grown("total_net_input_bytes"), "B"),
        Figure("worker: writing one label", thread_s / count * 1e3, "ms/label"),
    ]


async def measure(records: int, labels: int) -> list[Figure]:
    shots = mixed(40, seed=0)
    figures = stages(shots)
    frames = [frame_record(shot, "camera", index, time.time_ns()) for index, shot in enumerate(shots)]
    sets = token_sets(shots, [KEPT] * len(shots), seed=0)
    offloads = [offload_record(each, "camera", index, 1, "0" * 32) for index, each in enumerate(sets)]
    figures += server_stages(sets)
    async with testbed("stage-cost") as bed:
        figures.append(await through(bed, "frames", frames, records))
        figures.append(await through(bed, "offload", offloads, records))
        figures += await redis_costs(bed, labels)
    return figures


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--records", type=int, default=4_000)
    parser.add_argument("--labels", type=int, default=8_000)
    arguments = parser.parse_args()
    publish(run(measure(arguments.records, arguments.labels)), arguments.json)


if __name__ == "__main__":
    main()
